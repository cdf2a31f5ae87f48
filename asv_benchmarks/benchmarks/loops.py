"""Python loops of many steps, beside JAX's `scan` of the same steps, jitted.

numtape records what the loop does and rolls it up; JAX has it rewritten. Machine code on both
sides, one thread. Ratios are JAX's seconds over numtape's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds_together, sized
from .rivals.common import module

__all__ = ["LOOPS", "Loop", "Loops", "Recorded"]

Step = Callable[[Any, Any, Any, Any], Any]


@dataclass(frozen=True)
class Loop:
    """A loop over data.

    Attributes
    ----------
    begin : callable
        From the point and the library's NumPy to what is carried first.
    step : callable
        From the point, what is carried, what is read at this step, and the library's NumPy to
        what is carried on.
    result : callable
        From what is carried last to a number.
    read : array
        What is read, step by step.
    point : array
    """

    begin: Callable[[Any, Any], Any]
    step: Step
    result: Callable[[Any], Any]
    read: Any
    point: Any

    def plain(self, x: Any) -> Any:
        """Compute the result by a Python loop."""
        carried = self.begin(x, np)
        for read in self.read:
            carried = self.step(x, carried, read, np)
        return self.result(carried)

    def scanned(self, x: Any) -> Any:
        """Compute the result by JAX's `scan`."""
        jax: Any = module("jax")
        library = jax.numpy
        carried, _ = jax.lax.scan(
            lambda carried, read: (self.step(x, carried, read, library), None),
            self.begin(x, library),
            self.read,
        )
        return self.result(carried)


def _garch(steps: int) -> Loop:
    returns = 0.01 * np.random.default_rng(0).normal(size=steps)

    def step(x: Any, carried: Any, read: Any, np: Any) -> Any:
        variance, total = carried
        total = total + np.log(variance) + read * read / variance
        return x[0] + x[1] * read * read + x[2] * variance, total

    def begin(x: Any, np: Any) -> Any:
        return np.var(returns) + 0.0 * x[0], 0.0 * x[0]

    return Loop(begin, step, lambda carried: carried[1], returns, np.array([1e-6, 0.1, 0.8]))


def _kalman(steps: int) -> Loop:
    rng = np.random.default_rng(0)
    moves, sees = np.eye(4) + 0.1 * rng.normal(size=(4, 4)), rng.normal(size=(2, 4))

    def begin(x: Any, np: Any) -> Any:
        return np.zeros(4) + 0.0 * x[0], np.eye(4) + 0.0 * x[0], 0.0 * x[0]

    def step(x: Any, carried: Any, read: Any, np: Any) -> Any:
        mean, spread, total = carried
        move = moves * x[0]
        mean, spread = move @ mean, move @ spread @ move.T + 0.1 * x[1] * np.eye(4)
        noise, missed = sees @ spread @ sees.T + 0.5 * x[2] * np.eye(2), read - sees @ mean
        inverse = np.linalg.inv(noise)
        gain = spread @ sees.T @ inverse
        total = total + missed @ inverse @ missed + np.log(np.linalg.det(noise))
        return mean + gain @ missed, spread - gain @ noise @ gain.T, total

    read = rng.normal(size=(steps, 2))
    return Loop(begin, step, lambda carried: carried[2], read, np.array([0.95, 1.0, 1.0]))


def _lotka_volterra(steps: int) -> Loop:
    h = 0.001

    def slopes(p: Any, x: Any, y: Any) -> tuple[Any, Any]:
        return p[0] * x - p[1] * x * y, p[2] * x * y - p[3] * y

    def step(p: Any, carried: Any, read: Any, np: Any) -> Any:
        x, y = carried
        k1, l1 = slopes(p, x, y)
        k2, l2 = slopes(p, x + h / 2 * k1, y + h / 2 * l1)
        k3, l3 = slopes(p, x + h / 2 * k2, y + h / 2 * l2)
        k4, l4 = slopes(p, x + h * k3, y + h * l3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), y + h / 6 * (l1 + 2 * l2 + 2 * l3 + l4)

    point = np.array([1.1, 0.4, 0.1, 0.4, 10.0, 5.0])
    return Loop(lambda p, np: (p[4], p[5]), step, sum, np.zeros(steps), point)


LOOPS = {
    "garch": lambda: _garch(sized(5000, 200)),
    "kalman": lambda: _kalman(sized(500, 60)),
    "lotka volterra": lambda: _lotka_volterra(sized(10_000, 100)),
}


class Loops:
    """Derivatives of a loop, by machine code: how many times as long JAX's jitted scan takes."""

    params = (tuple(LOOPS), ("gradient", "value and gradient", "hessian"))
    param_names = ("loop", "what")
    unit = "ratio"
    timeout = 600

    def setup(self, name: str, what: str) -> None:
        from .rivals.by_jax import one_threaded

        self.jax = one_threaded()  # where it is missing, this is skipped

    def track_ratio(self, name: str, what: str) -> float:
        loop, jax = LOOPS[name](), self.jax
        tape = numtape.record(loop.plain, loop.point).compile()
        mine, rival = {
            "gradient": (tape.gradient, jax.grad),
            "value and gradient": (tape.value_and_gradient, jax.value_and_grad),
            "hessian": (tape.hessian, jax.hessian),
        }[what]
        jitted = jax.jit(rival(loop.scanned))
        for one, other in zip(_leaves(mine(loop.point)), _leaves(jitted(loop.point)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        seconds = best_seconds_together(
            {
                "numtape": lambda: mine(loop.point),
                "jax": lambda: jax.block_until_ready(jitted(loop.point)),
            }
        )
        return seconds["jax"] / seconds["numtape"]


def _leaves(found: Any) -> list[Any]:
    return [np.asarray(each) for each in (found if isinstance(found, tuple) else (found,))]


class Recorded:
    """What comes before the first replay of a loop, with kernels loaded."""

    params = tuple(LOOPS)
    param_names = ("loop",)
    timeout = 600

    def setup(self, name: str) -> None:
        self.loop = LOOPS[name]()
        numtape.record(self.loop.plain, self.loop.point).gradient(self.loop.point)

    def track_first_gradient(self, name: str) -> float:
        """Return the seconds of the first gradient, in times of recording."""
        best = float("inf")
        for _ in range(sized(3, 1)):
            start = time.perf_counter()
            tape = numtape.record(self.loop.plain, self.loop.point)
            recorded = time.perf_counter()
            tape.gradient(self.loop.point)
            best = min(best, (time.perf_counter() - recorded) / (recorded - start))
        return best

    def track_rolling_up(self, name: str) -> float:
        """Return the microseconds that rolling up takes for each instruction recorded."""
        from numtape.transform.rolling import roll

        flat = numtape.record(self.loop.plain, self.loop.point, roll=False).flat
        best = float("inf")
        for _ in range(sized(5, 1)):
            start = time.perf_counter()
            roll(flat)
            best = min(best, time.perf_counter() - start)
        return 1e6 * best / flat.instructions
