"""Array programs: what a gradient costs beside the plain NumPy evaluation of the function."""

from collections.abc import Callable
from typing import Any

import numtape

from .problems import ARRAYS, GRADIENTS, Problem
from .rivals import RIVALS, prepare

_ARRAYS = {name: problem for name, problem in GRADIENTS.items() if not problem.scalar_code}


class Gradient:
    """The gradient of an array program, by problem and rival."""

    params = (list(_ARRAYS), list(RIVALS))
    param_names = ("problem", "rival")

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.call = prepare(rival, _ARRAYS[problem]).call

    def time_gradient(self, problem: str, rival: str) -> None:
        self.call()


class Fits:
    """The gradients of programs of the size that people fit, beside the compiled rival's."""

    params = (list(ARRAYS), ["numtape", "jax"])
    param_names = ("problem", "rival")
    timeout = 300

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.call = prepare(rival, ARRAYS[problem]).call

    def time_gradient(self, problem: str, rival: str) -> None:
        self.call()


class Value:
    """The function's value: plain NumPy, and the tape of it."""

    params = tuple(_ARRAYS)
    param_names = ("problem",)

    problem: Problem
    tape: Callable[[Any], Any]

    def setup(self, problem: str) -> None:
        self.problem = _ARRAYS[problem]
        self.tape = numtape.record(self.problem.function, self.problem.point)
        self.tape(self.problem.point)

    def time_plain_numpy(self, problem: str) -> None:
        self.problem.function(self.problem.point)

    def time_tape(self, problem: str) -> None:
        self.tape(self.problem.point)
