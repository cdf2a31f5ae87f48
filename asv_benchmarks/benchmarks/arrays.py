"""Array programs: what a gradient costs, by problem and rival, and beside the plain value."""

from collections.abc import Callable
from typing import Any

from .problems import ARRAYS, GRADIENTS, Problem
from .rivals import RIVALS, prepare
from .tapes import Tapes, tapes_of

_PROBLEMS = {
    name: problem for name, problem in (GRADIENTS | ARRAYS).items() if not problem.scalar_code
}


class Gradient:
    """The gradient of an array program."""

    params = (list(_PROBLEMS), [rival for rival in RIVALS if rival not in ("xad", "c++")])
    param_names = ("problem", "rival")
    timeout = 300

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.call = prepare(rival, _PROBLEMS[problem]).call

    def time_gradient(self, problem: str, rival: str) -> None:
        self.call()


class Value:
    """The function's value: plain NumPy, and the tape of it."""

    params = tuple(_PROBLEMS)
    param_names = ("problem",)

    problem: Problem
    tape: Callable[[Any], Any]

    def setup_cache(self) -> Tapes:
        return tapes_of(_PROBLEMS)

    def setup(self, tapes: Tapes, problem: str) -> None:
        self.problem = _PROBLEMS[problem]
        self.tape = tapes[problem]
        self.tape(self.problem.point)

    def time_plain_numpy(self, tapes: Tapes, problem: str) -> None:
        self.problem.function(self.problem.point)

    def time_tape(self, tapes: Tapes, problem: str) -> None:
        self.tape(self.problem.point)
