"""First calls of many small problems, where nothing is replayed: recording and deriving is all.

Problems as collections for testing optimizers have them, written as plain NumPy: loops over
elements, slices, sums of squares, at several sizes. Of each the first gradient, the first
product of its Hessian and the first products of its residuals' Jacobian, beside autograd.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import numtape

from .measure import sized
from .rivals.common import module

__all__ = ["PROBLEMS", "Problem", "seconds"]

SIZES = (4, 8, 16, 32, 64)


# Residuals of a point; `np` is the library's module.


def rosenbrock(x: Any, np: Any) -> Any:
    return np.concatenate([10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]])


def rosenbrock_loop(x: Any, np: Any) -> Any:
    found = []
    for i in range(len(x) - 1):
        found += [10.0 * (x[i + 1] - x[i] * x[i]), 1.0 - x[i]]
    return np.array(found)


def powell_singular(x: Any, np: Any) -> Any:
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    return np.concatenate(
        [a + 10.0 * b, np.sqrt(5.0) * (c - d), (b - 2.0 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2]
    )


def wood(x: Any, np: Any) -> Any:
    found = []
    for i in range(0, len(x) - 3, 2):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        found += [10.0 * (b - a**2), 1.0 - a, np.sqrt(90.0) * (d - c**2), 1.0 - c]
        found += [np.sqrt(10.0) * (b + d - 2.0), (b - d) / np.sqrt(10.0)]
    return np.array(found)


def broyden_tridiagonal(x: Any, np: Any) -> Any:
    zero = np.zeros(1)
    before, after = np.concatenate([zero, x[:-1]]), np.concatenate([x[1:], zero])
    return (3.0 - 2.0 * x) * x - before - 2.0 * after + 1.0


def broyden_banded(x: Any, np: Any) -> Any:
    found = []
    for i in range(len(x)):
        total = x[i] * (2.0 + 5.0 * x[i] ** 2) + 1.0
        for j in range(max(0, i - 5), min(len(x), i + 2)):
            if j != i:
                total = total - x[j] * (1.0 + x[j])
        found.append(total)
    return np.array(found)


def trigonometric(x: Any, np: Any) -> Any:
    i = np.arange(1, len(x) + 1)
    return len(x) - np.sum(np.cos(x)) + i * (1.0 - np.cos(x)) - np.sin(x)


def discrete_boundary(x: Any, np: Any) -> Any:
    n = len(x)
    h = 1.0 / (n + 1)
    found = []
    for i in range(n):
        before = x[i - 1] if i > 0 else 0.0
        after = x[i + 1] if i < n - 1 else 0.0
        found.append(2.0 * x[i] - before - after + 0.5 * h * h * (x[i] + (i + 1) * h + 1.0) ** 3)
    return np.array(found)


def discrete_integral(x: Any, np: Any) -> Any:
    n = len(x)
    t = np.arange(1, n + 1) / (n + 1.0)
    cubes = (x + t + 1.0) ** 3
    kernel = np.minimum(t[:, None], t) * (1.0 - np.maximum(t[:, None], t))
    return x + 0.5 / (n + 1) * (kernel @ cubes)


def variably_dimensioned(x: Any, np: Any) -> Any:
    i = np.arange(1, len(x) + 1)
    total = np.sum(i * (x - 1.0))
    return np.concatenate([x - 1.0, np.array([total, total**2])])


def penalty(x: Any, np: Any) -> Any:
    return np.concatenate([np.sqrt(1e-5) * (x - 1.0), np.array([np.sum(x**2) - 0.25])])


def brown_almost_linear(x: Any, np: Any) -> Any:
    product = 1.0
    for each in x:
        product = product * each
    total = np.sum(x) - (len(x) + 1)
    return np.concatenate([x[:-1] + total, np.array([product - 1.0])])


def chebyquad(x: Any, np: Any) -> Any:
    found, before, now = [], 1.0, 2.0 * x - 1.0
    for k in range(1, len(x) + 1):
        integral = -1.0 / (k * k - 1.0) if k % 2 == 0 else 0.0
        found.append(np.mean(now) - integral)
        before, now = now, 2.0 * (2.0 * x - 1.0) * now - before
    return np.array(found)


def exponentials(x: Any, np: Any) -> Any:
    t = 0.1 * np.arange(1, 11)
    return sum(x[k] * np.exp(-(k + 1.0) * t * x[k + 1]) for k in range(0, len(x) - 1, 2)) - 1.0


def chained_singular(x: Any, np: Any) -> Any:
    found = []
    for i in range(0, len(x) - 3, 2):
        found += [x[i] + 10.0 * x[i + 1], np.sqrt(5.0) * (x[i + 2] - x[i + 3])]
        found += [(x[i + 1] - 2.0 * x[i + 2]) ** 2, np.sqrt(10.0) * (x[i] - 10.0 * x[i + 3]) ** 2]
    return np.array(found)


def springs(x: Any, np: Any) -> Any:
    points = x.reshape(-1, 2)
    lengths = np.sqrt(np.sum((points[1:] - points[:-1]) ** 2 + 1e-3, axis=1))
    return np.concatenate([lengths - 1.0, 0.1 * points[:, 1]])


def logistic(x: Any, np: Any) -> Any:
    rows = np.sin(np.outer(np.arange(1.0, 21.0), np.arange(1.0, len(x) + 1.0)))
    return np.log(1.0 + np.exp(-(rows @ x)))


def minimal_surface(x: Any, np: Any) -> Any:
    side = int(np.sqrt(len(x)))
    z = x[: side * side].reshape(side, side)
    right, up = z[:-1, 1:] - z[:-1, :-1], z[1:, :-1] - z[:-1, :-1]
    return np.sqrt(1.0 + right**2 + up**2).reshape(-1)


def ladder(x: Any, np: Any) -> Any:
    state, found = 0.5, []
    for each in x:
        state = state + 0.1 * (each - state * state)
        found.append(state if state < 0.75 else 0.75 + 0.1 * (state - 0.75))
    return np.array(found)


def quadratic(x: Any, np: Any) -> Any:
    return np.sqrt(np.arange(1.0, len(x) + 1.0)) * x + 0.1 * np.sum(x)


PROBLEMS: tuple[Callable[[Any, Any], Any], ...] = (
    *(rosenbrock, rosenbrock_loop, powell_singular, wood, broyden_tridiagonal, broyden_banded),
    *(trigonometric, discrete_boundary, discrete_integral, variably_dimensioned, penalty),
    *(brown_almost_linear, chebyquad, exponentials, chained_singular, springs, logistic),
    *(minimal_surface, ladder, quadratic),
)


class Problem:
    """A problem of one size, for one library.

    Parameters
    ----------
    residuals : callable
    size : int
    library : module
        In place of NumPy.
    """

    def __init__(self, residuals: Callable[[Any, Any], Any], size: int, library: Any) -> None:
        self.point = 0.4 + 0.3 * np.cos(np.arange(size))
        self.along = np.sin(1.0 + np.arange(size))
        self.residuals = lambda x: residuals(x, library)
        self.objective = lambda x: library.sum(residuals(x, library) ** 2)
        self.weights = np.cos(np.arange(len(residuals(self.point, np))))


def _numtape(problem: Problem) -> None:
    x = problem.point
    numtape.grad(problem.objective)(x)
    numtape.hvp(problem.objective, (x,), (problem.along,))
    numtape.jvp(problem.residuals, (x,), (problem.along,))
    numtape.vjp(problem.residuals, x)[1](problem.weights)


def _autograd(problem: Problem) -> None:
    autograd: Any = module("autograd")
    x = problem.point
    autograd.grad(problem.objective)(x)
    autograd.hessian_vector_product(problem.objective)(x, problem.along)
    autograd.make_jvp(problem.residuals)(x)(problem.along)
    autograd.make_vjp(problem.residuals)(x)[0](problem.weights)


def seconds(residuals: Callable[[Any, Any], Any], size: int, rival: bool) -> float:
    """Seconds of all first calls of a problem; the best of several problems that are new."""
    library: Any = module("autograd.numpy") if rival else np
    best = float("inf")
    for _ in range(sized(3, 1)):
        problem = Problem(residuals, size, library)
        start = time.perf_counter()
        (_autograd if rival else _numtape)(problem)
        best = min(best, time.perf_counter() - start)
    return best


class FirstCalls:
    """All first calls, in times of autograd's."""

    params = tuple(problem.__name__ for problem in PROBLEMS)
    param_names = ("problem",)
    unit = "ratio"
    timeout = 600

    def setup(self, name: str) -> None:
        module("autograd")  # where it is missing, this is skipped

    def track_ratio(self, name: str) -> float:
        (problem,) = (each for each in PROBLEMS if each.__name__ == name)
        mine = rivals = 0.0
        for size in SIZES[:: sized(1, 4)]:
            mine += seconds(problem, size, False)
            rivals += seconds(problem, size, True)
        return mine / rivals
