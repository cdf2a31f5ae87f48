"""What a new function costs before its derivatives are cheap.

For numtape that is recording: a little Python for each scalar operation, nothing for an
element. Its rivals record too, or build graphs, or compile; what they do is timed here,
from the function to its first derivative.
"""

import time
from types import FunctionType
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds, best_seconds_together, sized
from .problems import ARRAYS, GRADIENTS, JACOBIANS, Problem
from .rivals import RIVALS, prepare

_LOOPS = [name for name, problem in GRADIENTS.items() if problem.scalar_code]


class ScalarLoop:
    """A Python loop of scalars, by problem."""

    params = tuple(_LOOPS)
    param_names = ("problem",)

    problem: Problem
    instructions: int

    def setup(self, name: str) -> None:
        self.problem = GRADIENTS[name]
        self.instructions = numtape.record(
            self.problem.function, self.problem.point
        ).flat.instructions

    def time_record(self, name: str) -> None:
        numtape.record(self.problem.function, self.problem.point)

    def track_microseconds_per_operation(self, name: str) -> float:
        seconds = best_seconds(lambda: numtape.record(self.problem.function, self.problem.point))
        return seconds * 1e6 / self.instructions

    track_microseconds_per_operation.unit = "µs"


def array_expression(x: Any) -> Any:
    return np.sum(np.exp(-x * x) * np.sin(x) + np.sqrt(x[::-1]))


class ArrayExpression:
    """The same few array operations on few and on many elements."""

    params = (10, 1_000, 100_000)
    param_names = ("elements",)

    point: np.ndarray

    def setup(self, elements: int) -> None:
        self.point = np.linspace(0.1, 2.0, elements)
        numtape.record(array_expression, self.point)

    def time_record(self, elements: int) -> None:
        numtape.record(array_expression, self.point)

    def time_plain_numpy(self, elements: int) -> None:
        array_expression(self.point)

    def track_microseconds_beyond_numpy(self, elements: int) -> float:
        recording = best_seconds(lambda: numtape.record(array_expression, self.point))
        return (recording - best_seconds(lambda: array_expression(self.point))) * 1e6

    track_microseconds_beyond_numpy.unit = "µs"


def _helper(a: Any, b: Any) -> Any:
    return a * b + 1.0


def calls_of_ufuncs(x: Any) -> Any:
    """Two ufuncs of scalars and four operators, again and again."""
    total = 0.0
    for k in range(200):
        total = total + np.sin(x[0] * k) * x[1] - np.exp(-x[2])
    return total


def calls_of_functions(x: Any) -> Any:
    """A short function of Python's, again and again."""
    total = x[0]
    for _ in range(400):
        total = _helper(total, x[1])
    return total


def calls_of_reductions(x: Any) -> Any:
    """Array functions of short arrays."""
    return sum(np.sum(np.sin(x * k) @ x) for k in range(30))


_CALLS = {
    each.__name__: each for each in (calls_of_ufuncs, calls_of_functions, calls_of_reductions)
}


class AsWritten:
    """Recording with each call resolved, beside the same code where none is."""

    params = tuple(_CALLS)
    param_names = ("function",)

    def track_ratio(self, name: str) -> float:
        function, point = _CALLS[name], np.linspace(0.3, 1.2, 5)
        # (As a function of a library it is called as it is.)
        bare = FunctionType(function.__code__, globals() | {"__name__": "numpy.bare"}, name)
        seconds = best_seconds_together(
            {
                "resolved": lambda: numtape.record(function, point),
                "bare": lambda: numtape.record(bare, point),
            }
        )
        return seconds["resolved"] / seconds["bare"]

    track_ratio.unit = "times"


_NEW = {
    name: (GRADIENTS | JACOBIANS | ARRAYS)[name]
    for name in ("rosenbrock loop 100", "heston path 50", "bundle adjustment", "gaussian mixture")
}


class FirstDerivative:
    """Seconds from the function to its first derivative: recording, graphs and compilation.

    What a library does once in a process (importing, compiling kernels of its own) has
    been done before.
    """

    params = (
        list(_NEW),
        [rival for rival in RIVALS if rival not in ("numtape out=", "casadi buffer")],
    )
    param_names = ("problem", "rival")
    timeout = 300

    def setup(self, problem: str, rival: str) -> None:
        prepare(rival, _NEW[problem])

    def track_seconds(self, problem: str, rival: str) -> float:
        best = float("inf")
        for _ in range(sized(3, 1)):
            start = time.perf_counter()
            prepare(rival, _NEW[problem])
            best = min(best, time.perf_counter() - start)
        return best

    track_seconds.unit = "s"
