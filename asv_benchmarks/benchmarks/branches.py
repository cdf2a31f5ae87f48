"""Functions with branches at many points: written with `if`, with `np.where`, and in JAX.

What is computed is `vmap` of value and gradient. JAX has the functions written with its `where`,
jitted. One thread. Ratios are the others' seconds over numtape's for the function with `if`.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds_together, sized

__all__ = ["PROGRAMS", "Branches", "BranchesBesideJax", "Program"]


@dataclass(frozen=True)
class Program:
    """A function with branches, written twice.

    Attributes
    ----------
    plain : callable
        With `if`.
    selecting : callable
        The same with `where`, of a point and the library's NumPy.
    points : callable
        From a generator and a count to that many points.
    count : int
    """

    plain: Callable[[Any], Any]
    selecting: Callable[[Any, Any], Any]
    points: Callable[[Any, int], Any]
    count: int


# A barrier option: it is worth nothing once the price has been below 80.


def _barrier(x: Any) -> Any:
    s, alive = 100.0, True
    for k in range(12):
        s = s * np.exp(0.1 * x[k] - 0.005)
        if s < 80.0:
            alive = False
    return max(s - 100.0, 0.0) if alive else 0.0


def _barrier_selecting(x: Any, np: Any) -> Any:
    s, alive = 100.0, True
    for k in range(12):
        s = s * np.exp(0.1 * x[k] - 0.005)
        alive = np.where(s < 80.0, False, alive)
    return np.where(alive, np.where(s > 100.0, s - 100.0, 0.0), 0.0)


# An Asian option with a knock-out.


def _asian(x: Any) -> Any:
    s, total = 100.0, 0.0
    for k in range(12):
        s = s * np.exp(0.1 * x[k] - 0.005)
        if s > 130.0:
            return 0.0
        total += s
    mean = total / 12.0
    return mean - 100.0 if mean > 100.0 else 0.0


def _asian_selecting(x: Any, np: Any) -> Any:
    s, total, alive = 100.0, 0.0, True
    for k in range(12):
        s = s * np.exp(0.1 * x[k] - 0.005)
        alive = np.where(s > 130.0, False, alive)
        total += s
    mean = total / 12.0
    return np.where(alive, np.where(mean > 100.0, mean - 100.0, 0.0), 0.0)


# Heston's model, with the variance truncated where it is used.


def _heston(x: Any) -> Any:
    s, v, h = 0.0, 0.04, 1.0 / 12.0
    for k in range(12):
        used = v
        if used < 0.0:
            used = 0.0
        root = np.sqrt(used * h) if used > 0.0 else 0.0
        s = s - 0.5 * used * h + root * x[2 * k]
        v = v + 2.0 * (0.04 - used) * h + 0.6 * root * x[2 * k + 1]
    price = 100.0 * np.exp(s)
    return price - 100.0 if price > 100.0 else 0.0


def _heston_selecting(x: Any, np: Any) -> Any:
    s, v, h = 0.0, 0.04, 1.0 / 12.0
    for k in range(12):
        used = np.where(v < 0.0, 0.0, v)
        is_positive = used > 0.0
        root = np.where(is_positive, np.sqrt(np.where(is_positive, used, 1.0) * h), 0.0)
        s = s - 0.5 * used * h + root * x[2 * k]
        v = v + 2.0 * (0.04 - used) * h + 0.6 * root * x[2 * k + 1]
    price = 100.0 * np.exp(s)
    return np.where(price > 100.0, price - 100.0, 0.0)


# The slope limiter of a scheme for a conservation law.


def _smaller(a: Any, b: Any) -> Any:
    if a * b <= 0.0:
        return 0.0
    elif abs(a) < abs(b):
        return a
    else:
        return b


def _limiter(u: Any) -> Any:
    slopes = np.zeros(10)
    for i in range(10):
        slopes[i] = _smaller(u[i] - u[i - 1], u[(i + 1) % 10] - u[i])
    return np.sum(slopes * slopes)


def _limiter_selecting(u: Any, np: Any) -> Any:
    total = 0.0
    for i in range(10):
        a, b = u[i] - u[i - 1], u[(i + 1) % 10] - u[i]
        slope = np.where(a * b <= 0.0, 0.0, np.where(abs(a) < abs(b), a, b))
        total = total + slope * slope
    return total


# A root by Newton's method, to a tolerance; with `where`, in as many steps as any point needs.


def _root(a: Any) -> Any:
    x = a[0]
    while abs(x * x - a[0]) > 1e-9:
        x = 0.5 * (x + a[0] / x)
    return x


def _root_selecting(a: Any, np: Any) -> Any:
    x = a[0]
    for _ in range(9):
        x = np.where(abs(x * x - a[0]) > 1e-9, 0.5 * (x + a[0] / x), x)
    return x


def _normal(size: int) -> Callable[[Any, int], Any]:
    return lambda rng, count: rng.normal(size=(count, size))


PROGRAMS = {
    "barrier": Program(_barrier, _barrier_selecting, _normal(12), sized(200_000, 200)),
    "asian": Program(_asian, _asian_selecting, _normal(12), sized(200_000, 200)),
    "heston": Program(_heston, _heston_selecting, _normal(24), sized(200_000, 200)),
    "limiter": Program(_limiter, _limiter_selecting, _normal(10), sized(100_000, 200)),
    "root": Program(
        _root,
        _root_selecting,
        lambda rng, count: rng.uniform(0.5, 50.0, size=(count, 1)),
        sized(1_000_000, 200),
    ),
}


class _OfPrograms:
    """Values and gradients at many points."""

    params = tuple(PROGRAMS)
    param_names = ("program",)
    timeout = 600

    def setup(self, name: str) -> None:
        program = PROGRAMS[name]
        self.program = program
        self.points = program.points(np.random.default_rng(0), program.count)

    def _mapped(self) -> Any:
        gradient = numtape.value_and_grad(self.program.plain)
        return numtape.vmap(gradient, num_threads=1)

    def _beside(self, rival: Callable[[], Any]) -> float:
        mapped = self._mapped()

        def mine() -> Any:
            return mapped(self.points)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", numtape.SelectionWarning)
            (values, slopes), (others, other_slopes) = mine(), rival()
        np.testing.assert_allclose(values, others, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(slopes, other_slopes, rtol=1e-6, atol=1e-6)
        for _ in range(sized(5, 0)):  # until machine code is there
            mine(), rival()
        seconds = best_seconds_together({"numtape": mine, "rival": rival})
        return seconds["rival"] / seconds["numtape"]


class Branches(_OfPrograms):
    """First calls, and calls beside the function written with `where`."""

    def track_first_call(self, name: str) -> float:
        """Return the seconds of the first call, in which the function is recorded."""
        best = float("inf")
        for _ in range(sized(3, 1)):
            mapped = self._mapped()
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", numtape.SelectionWarning)
                mapped(self.points)
            best = min(best, time.perf_counter() - start)
        return best

    def track_beside_where(self, name: str) -> float:
        """Return how many times as long numtape takes for the function written with `where`."""
        selecting = numtape.value_and_grad(lambda x: self.program.selecting(x, np))
        mapped = numtape.vmap(selecting, num_threads=1)
        return self._beside(lambda: mapped(self.points))


class BranchesBesideJax(_OfPrograms):
    """The same beside JAX."""

    def setup(self, name: str) -> None:
        from .rivals.by_jax import one_threaded

        self.jax = one_threaded()  # where it is missing, this is skipped
        super().setup(name)

    def track_beside_jax(self, name: str) -> float:
        """Return how many times as long JAX takes."""
        jax, program = self.jax, self.program
        of_jax = jax.value_and_grad(lambda x: program.selecting(x, jax.numpy))
        jitted = jax.jit(jax.vmap(of_jax))
        return self._beside(lambda: jax.block_until_ready(jitted(self.points)))


def _decided(x: Any) -> Any:
    total = x[0]
    for k in range(len(x)):
        for j in range(5):
            total = np.sin(total) * 0.9 + x[k] * (0.1 * (j + 1))
        match bool(x[k] > 0.0):
            case True:
                total = total + np.tanh(total) * x[k]
            case False:
                total = total * 0.8 - np.exp(-x[k] * x[k]) * total
    return total


class ManyPaths:
    """Gradients of a function whose decisions stay paths: two to each of so many."""

    params = (1, 3, 9)
    param_names = ("decisions",)

    def setup(self, decisions: int) -> None:
        points = np.random.default_rng(0).normal(size=(sized(20_000, 100), decisions))
        self.points, self.single = points, points[:64]
        self.mapped = numtape.vmap(numtape.grad(_decided), num_threads=1)
        self.slope = numtape.grad(_decided)
        self.mapped(points)
        for point in self.single:
            self.slope(point)

    def time_batch(self, decisions: int) -> None:
        self.mapped(self.points)

    def time_single_points_that_alternate(self, decisions: int) -> None:
        for point in self.single:
            self.slope(point)
