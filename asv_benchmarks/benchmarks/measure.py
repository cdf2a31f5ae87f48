"""The stopwatch: fair times of short calls on a machine that has other things to do.

A call's time is the best of several rounds, since everything that disturbs a
call makes it slower. Calls that are compared run in the same rounds, in an
order drawn anew for each round, so that a slow stretch of the machine, or what
one call leaves behind in its caches, falls on all of them.

Where the environment variable NUMTAPE_BENCHMARKS_SMALL is set, workloads are small and
calls are measured once: that shows that every benchmark runs, and nothing else.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["SMALL", "best_seconds", "best_seconds_together", "sized"]

SMALL = bool(os.environ.get("NUMTAPE_BENCHMARKS_SMALL"))


def sized(full: int, small: int) -> int:
    """The size of a workload: the one to measure, or the one to see that it runs."""
    return small if SMALL else full


# One measurement lasts about this long: far above the clock's resolution.
_MEASUREMENT = 0.0 if SMALL else 0.01


def best_seconds(call: Callable[[], Any], rounds: int = 9) -> float:
    """Seconds that one call takes."""
    return best_seconds_together({"it": call}, rounds)["it"]


def best_seconds_together(
    calls: Mapping[str, Callable[[], Any]], rounds: int = 9
) -> dict[str, float]:
    """Seconds that each of several calls takes, measured interleaved."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    order = list(calls)
    shuffle = random.Random(0).shuffle
    for _ in range(sized(rounds, 1)):
        shuffle(order)
        for name in order:
            seconds = _seconds(calls[name], repeats[name]) / repeats[name]
            best[name] = min(best[name], seconds)
    return best


def _repeats(call: Callable[[], Any]) -> int:
    """How many calls fill one measurement."""
    call()
    repeats = 1
    while (seconds := _seconds(call, repeats)) < _MEASUREMENT / 4:
        repeats *= 4
    return max(1, round(repeats * _MEASUREMENT / seconds))


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    turns = range(repeats)
    start = time.perf_counter()
    for _ in turns:
        call()
    return time.perf_counter() - start
