"""What recording costs: a little Python for each scalar operation, nothing for an element."""

from typing import Any

import numpy as np

import numtape

from .measure import best_seconds
from .problems import GRADIENTS, Problem

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
