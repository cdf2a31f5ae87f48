"""What happens between a recording and the first derivative, beside recording and replaying.

Long loops and large arrays, where it shows: a derivative tape and its plan are made once, in
time that goes by the number of instructions and not of elements. Memory is in arrays as large as
the one that the function works on: that of Python's and NumPy's objects, and on Linux what the
process has of it, which leaves out what is reserved and never written to.
"""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import numtape

from .measure import best_seconds, sized
from .rivals.common import module

__all__ = ["FUNCTIONS", "first_and_later", "peak_and_kept", "resident_peak_and_kept"]


def garch(returns: Any, x: Any, np: Any = np) -> Any:
    """Twice the negative log-likelihood of GARCH(1,1)."""
    variance, total = np.var(returns), 0.0
    for each in returns.tolist():
        total = total + np.log(variance) + each * each / variance
        variance = x[0] + x[1] * (each * each) + x[2] * variance
    return total


def kalman(observed: Any, x: Any, np: Any = np) -> Any:
    """The likelihood of a target that moves in a plane, seen with noise."""
    step = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    seen = np.array([[1, 0, 0, 0], [0, 1, 0, 0.0]])
    moves, noise = np.exp(x[0]) * np.eye(4), np.exp(x[1]) * np.eye(2)
    mean, spread, total = np.zeros(4), np.exp(x[2]) * np.eye(4), 0.0
    for each in observed:
        mean, spread = step @ mean, step @ spread @ step.T + moves
        expected = seen @ spread @ seen.T + noise
        gain = np.linalg.solve(expected, seen @ spread).T
        missed = each - seen @ mean
        mean, spread = mean + gain @ missed, spread - gain @ seen @ spread
        total = total + missed @ np.linalg.solve(expected, missed)
        total = total + np.log(np.linalg.det(expected))
    return total


def asian(normals: Any, x: Any, np: Any = np) -> Any:
    """The price of an Asian option on a basket by Monte Carlo: start, volatility, rate."""
    steps = (x[6] - 0.5 * x[3:6] ** 2) / 12 + x[3:6] * np.sqrt(1 / 12) * normals
    prices = x[:3] * np.exp(np.cumsum(steps, axis=1))
    return np.exp(-x[6]) * np.maximum(np.mean(prices, axis=(1, 2)) - 1.0, 0.0).mean()


def chain(data: Any, x: Any, np: Any = np) -> Any:
    """Five steps over one long array."""
    y = x
    for _ in range(5):
        y = np.sin(y) * x + np.exp(-y * y)
    return np.sum(y)


def _functions() -> dict[str, tuple[Callable[..., Any], Any, Any]]:
    rng = np.random.default_rng(0)
    size = sized(1_000_000, 1000)
    return {
        "garch": (garch, 0.01 * rng.normal(size=sized(5000, 50)), np.array([1e-6, 0.05, 0.9])),
        "kalman": (kalman, rng.normal(size=(sized(500, 5), 2)), np.array([-2.0, 0.1, 0.3])),
        "asian": (
            asian,
            rng.normal(size=(sized(200_000, 100), 12, 3)),
            np.array([1.0, 1.1, 0.9, 0.2, 0.25, 0.3, 0.02]),
        ),
        "chain": (chain, None, np.linspace(0.1, 1.0, size)),
    }


FUNCTIONS = tuple(_functions())


def _function(name: str) -> tuple[Callable[[Any], Any], Any, int]:
    """A function of the point alone, the point, and how many numbers the function works on."""
    function, data, point = _functions()[name]
    return lambda x: function(data, x), point, point.size if data is None else data.size


def first_and_later(name: str, order: int = 1) -> dict[str, float]:
    """Seconds to record, of the first derivative after that, and of later ones."""
    function, point, _ = _function(name)
    derive = numtape.grad if order == 1 else numtape.hessian
    numtape.grad(_function("garch")[0])(np.ones(3))  # what is done once in a process
    recording = total = float("inf")
    for _ in range(sized(3, 1)):
        start = time.perf_counter()
        numtape.record(function, point)
        recording = min(recording, time.perf_counter() - start)
        derivative = derive(lambda x: function(x))
        start = time.perf_counter()
        derivative(point)
        total = min(total, time.perf_counter() - start)
    later = best_seconds(lambda: derivative(point), rounds=3)
    return {"recording": recording, "first": total, "later": later}


def peak_and_kept(name: str) -> tuple[float, float]:
    """The most memory during a first gradient and what is kept after it, in arrays."""
    function, point, size = _function(name)
    numtape.grad(lambda x: function(x))(point)
    gradient = numtape.grad(function)
    tracemalloc.start()
    gradient(point)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (8 * size), kept / (8 * size)


def resident_peak_and_kept(name: str) -> tuple[float, float]:
    """The same of the process's memory, as far as it has been written to."""
    function, point, size = _function(name)
    numtape.grad(lambda x: function(x))(point[:64])
    gradient = numtape.grad(function)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    result = gradient(point)
    peak = _resident("VmHWM")
    del result
    return (peak - before) / (8 * size), (_resident("VmRSS") - before) / (8 * size)


def _resident(field: str) -> int:
    """A field of the process's state, in bytes."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    )
    return 1024 * int(line.split()[1])


class FirstGradient:
    """The first gradient, recording included, in times of the recording and of a later one."""

    params = FUNCTIONS
    param_names = ("function",)
    timeout = 600

    def track_over_recording(self, name: str) -> float:
        seconds = first_and_later(name)
        return seconds["first"] / seconds["recording"]

    def track_over_later(self, name: str) -> float:
        seconds = first_and_later(name)
        return seconds["first"] / seconds["later"]

    track_over_recording.unit = track_over_later.unit = "times"


class FirstHessian:
    """The first Hessian of a long loop, recording included, in times of the recording."""

    timeout = 600

    def track_over_recording(self) -> float:
        seconds = first_and_later("garch", order=2)
        return seconds["first"] / seconds["recording"]

    track_over_recording.unit = "times"


class BesideAutograd:
    """The first gradient of loops, recording included, in times of autograd's first."""

    params = ("garch", "kalman")
    param_names = ("function",)
    timeout = 600

    def setup(self, name: str) -> None:
        module("autograd.numpy")

    def track_ratio(self, name: str) -> float:
        function, data, point = _functions()[name]
        autograd, anp = module("autograd"), module("autograd.numpy")
        theirs = float("inf")
        for _ in range(sized(3, 1)):
            start = time.perf_counter()
            autograd.grad(lambda x: function(data, x, anp))(point)
            theirs = min(theirs, time.perf_counter() - start)
        return first_and_later(name)["first"] / theirs

    track_ratio.unit = "times"


class Memory:
    """Memory of a first gradient over large arrays, in arrays."""

    params = ("asian", "chain")
    param_names = ("function",)
    timeout = 600

    def track_peak(self, name: str) -> float:
        return peak_and_kept(name)[0]

    def track_kept(self, name: str) -> float:
        return peak_and_kept(name)[1]

    def track_resident_peak(self, name: str) -> float:
        return resident_peak_and_kept(name)[0]

    def track_resident_kept(self, name: str) -> float:
        return resident_peak_and_kept(name)[1]

    track_peak.unit = track_kept.unit = "arrays"
    track_resident_peak.unit = track_resident_kept.unit = "arrays"
