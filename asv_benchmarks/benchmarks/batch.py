"""One tape at many points: nanoseconds a point, by problem and rival, on one thread.

And what decides whether that holds for any number of points: threads, the length of
the batch, and rare branches.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds, best_seconds_together, sized
from .problems import BATCHES
from .rivals import BATCH_RIVALS, points_for, prepare_batch


class Points:
    """Derivatives at many points."""

    params = (list(BATCHES), list(BATCH_RIVALS))
    param_names = ("problem", "rival")
    timeout = 300

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        self.points = points_for(rival, BATCHES[problem])
        self.call = prepare_batch(rival, BATCHES[problem], self.points)

    def track_nanoseconds_a_point(self, problem: str, rival: str) -> float:
        return best_seconds(self.call, 3) / len(self.points) * 1e9

    track_nanoseconds_a_point.unit = "ns"


def record_to_result(name: str = "heston path 50") -> float:
    """Seconds from a Python function to its derivative at all points, nothing kept before."""
    batch = BATCHES[name]
    points = batch.points()
    best = float("inf")
    for _ in range(sized(3, 1)):
        start = time.perf_counter()
        numtape.record(batch.problem.function, points[0]).gradient(points, num_threads=1)
        best = min(best, time.perf_counter() - start)
    return best


def speed_up(name: str = "heston path 50", threads: int = 2) -> float:
    """One thread's time over that of several."""
    batch = BATCHES[name]
    points = batch.points()
    tape = numtape.record(batch.problem.function, points[0])
    out = np.empty_like(points)
    seconds = best_seconds_together(
        {
            "one": lambda: tape.gradient(points, out=out, num_threads=1),
            "several": lambda: tape.gradient(points, out=out, num_threads=threads),
        },
        9,
    )
    return seconds["one"] / seconds["several"]


def by_length() -> list[float]:
    """Nanoseconds a point of a gradient, for batches of 10⁴ points to 10⁷."""
    batch = BATCHES["black scholes"]
    tape = numtape.record(batch.problem.function, batch.problem.point)
    found = []
    for length in (sized(10**exponent, 100 * exponent) for exponent in (4, 5, 6, 7)):
        points = batch.points(length)
        out = np.empty_like(points)
        seconds = best_seconds(functools.partial(tape.gradient, points, out=out, num_threads=1), 5)
        found.append(seconds / length * 1e9)
    return found


def rare_branch(count: int = sized(1_000_000, 3000), rare: int = 3) -> float:
    """The time with a few points on another path, over the time with none."""

    def function(x: Any) -> Any:
        if x > 20.0:
            return 3.0 * x
        return np.tanh(x) * np.exp(-x * x)

    slope = numtape.vmap(numtape.grad(function), num_threads=1)
    common = np.random.default_rng(4).standard_normal(count)
    mixed = common.copy()
    mixed[:: count // rare] = 50.0
    out = np.empty(count)
    slope(mixed)
    slope(common)
    seconds = best_seconds_together(
        {"mixed": lambda: slope(mixed, out=out), "common": lambda: slope(common, out=out)}, 5
    )
    return seconds["mixed"] / seconds["common"]


class Scaling:
    """How the cost of a point depends on what is around it."""

    timeout = 300

    def track_two_threads(self) -> float:
        return speed_up()

    def track_longest_over_shortest(self) -> float:
        found = by_length()
        return max(found) / found[0]

    def track_rare_branch(self) -> float:
        return rare_branch()

    def track_record_to_result(self) -> float:
        return record_to_result()

    track_record_to_result.unit = "s"
