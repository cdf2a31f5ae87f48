"""The figures that numtape is to reach, and what was measured, one line each."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# First of all: it keeps NumPy to one thread.
from benchmarks.batch import by_length, rare_branch, record_to_result, speed_up
from benchmarks.cold_start import first_gradient_seconds, import_seconds
from benchmarks.derivative_tapes import (
    build_microseconds,
    counts,
    growing,
    layers_memory,
    ratios,
)
from benchmarks.first_derivatives import nanoseconds_per_instruction, one_instruction
from benchmarks.measure import best_seconds, best_seconds_together
from benchmarks.memory import marginal_bytes
from benchmarks.problems import ARRAYS, GRADIENTS, PROBLEMS
from benchmarks.tapes import tape_of

import numpy as np  # isort: skip

import numtape

__all__ = ["Target", "targets"]

# Seconds a point, by problem and rival.
Measured = Mapping[str, Mapping[str, float]]

# Tapes of 1,000 to 10,000 instructions.
_LONG_TAPES = (
    "rosenbrock loop 1000",
    "speelpenning loop 1000",
    "helmholtz loop 30",
    "heston path 50",
)


class Target(NamedTuple):
    """Something to reach: what was measured and the bound, which is an upper one unless said."""

    name: str
    measured: float
    bound: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        sign = "≥" if self.at_least else "≤"
        return (
            f"{'met   ' if met else 'MISSED'}  {self.name:60}"
            f"{self.measured:10.3g} {sign} {self.bound:g} {self.unit}"
        )


def targets(one_point: Measured, many_points: Measured) -> Iterator[Target]:
    """All targets, each measured when it is asked for."""
    yield from _first_derivatives(one_point)
    yield from _derivative_tapes()
    yield from _batches(many_points)
    yield from _arrays(one_point)
    yield from _native(one_point, many_points)


def _first_derivatives(one_point: Measured) -> Iterator[Target]:
    """Speed and memory of single points."""
    valley = one_point["rosenbrock loop 10"]
    for rival, bound in (("casadi", 8.0), ("autograd", 100.0)):
        yield from _over(valley, rival, "numtape", f"Rosenbrock of 10: {rival} over numtape", bound)
    for name in _LONG_TAPES:
        nanoseconds = nanoseconds_per_instruction(GRADIENTS[name])
        yield Target(f"linearize and adjoint: {name}", nanoseconds, 10.0, "ns an instruction")
    yield from _calls()
    for name in _LONG_TAPES:
        yield Target(f"recording: {name}", _recording(name), 1.5, "µs an operation")
    instruction, state = marginal_bytes()
    yield Target("memory of a scalar instruction", instruction, 12.0, "bytes")
    yield Target("memory of a run, for each instruction", state, 32.0, "bytes")
    yield Target("import beyond Numba's", import_seconds(), 0.2, "s")
    for code in ("scalar", "array"):
        seconds = first_gradient_seconds(code, "warm")
        yield Target(f"first gradient, warm cache, {code} code", seconds, 0.5, "s")
    for code, bound in (("scalar", 3.0), ("array", 8.0)):
        seconds = first_gradient_seconds(code, "cold")
        yield Target(f"first gradient, cold cache, {code} code", seconds, bound, "s")


def _over(
    seconds: Mapping[str, float], rival: str, numtape_way: str, name: str, bound: float
) -> Iterator[Target]:
    """A rival's time over numtape's, where both were measured."""
    if rival in seconds and numtape_way in seconds:
        yield Target(name, seconds[rival] / seconds[numtape_way], bound, "times", True)


def _calls() -> Iterator[Target]:
    point, out = np.array([3.0]), np.empty(1)
    tape = numtape.record(one_instruction, point)
    derivative = numtape.grad(one_instruction)
    seconds = best_seconds_together(
        {
            "tape.gradient(x, out=g)": lambda: tape.gradient(point, out=out),
            "grad(f)(x)": lambda: derivative(point),
        }
    )
    for (name, found), bound in zip(seconds.items(), (1.5, 5.0), strict=True):
        yield Target(f"a call of one instruction: {name}", found * 1e6, bound, "µs")


def _recording(name: str) -> float:
    problem = GRADIENTS[name]
    seconds = best_seconds(lambda: tape_of(problem))
    return seconds * 1e6 / tape_of(problem).flat.instructions


def _derivative_tapes() -> Iterator[Target]:
    """How long derivative tapes are, how soon made, how costly to run."""
    for name, bound in (("rosenbrock loop 100", 1700), ("bundle adjustment", 310)):
        derivative = counts(tape_of(PROBLEMS[name]))[1]
        yield Target(f"derivative tape: {name}", derivative, bound, "instructions")
    for name in _LONG_TAPES:
        microseconds = build_microseconds(tape_of(GRADIENTS[name]))
        yield Target(f"making the gradient's tape: {name}", microseconds, 6.0, "µs an instruction")
    for name, problem in growing().items():
        tape = tape_of(problem)
        if tape.flat.instructions >= 1000:
            found = ratios(tape, problem.point)
            shown = f"{name}, {tape.flat.instructions} instructions"
            yield Target(f"gradient: {shown}", found["gradient"], 4.0, "values")
            yield Target(f"its tape: {shown}", found["gradient by tape"], 4.0, "values")
            yield Target(f"Hessian product: {shown}", found["product"], 10.0, "values")
    yield Target("memory of a 100-layer gradient", layers_memory(), 1.3, "times the least")


def _batches(many_points: Measured) -> Iterator[Target]:
    """Running at many points."""
    for name, rival, bound in (
        ("bundle adjustment", "casadi map", 12.0),
        ("bundle adjustment", "jax vmap", 4.0),
        ("heston path 50", "casadi map", 15.0),
        ("rosenbrock loop 100", "casadi map", 40.0),
        ("rosenbrock loop 100", "jax vmap", 8.0),
        ("black scholes", "jax vmap", 2.0),
    ):
        shown = f"many points, {name}: {rival} over numtape"
        yield from _over(many_points[name], rival, "numtape", shown, bound)
    yield Target("heston path 50, from function to result", record_to_result(), 2.0, "s")
    yield Target("two threads", speed_up(), 1.8, "times one", True)
    lengths = by_length()
    flat = max(lengths) / lengths[0]
    yield Target("a point in 10⁴ to 10⁷, over one in 10⁴", flat, 1.2, "times")
    yield Target("3 of 10⁶ points on a rare branch", rare_branch(), 1.2, "times none")


def _arrays(one_point: Measured) -> Iterator[Target]:
    """Array programs: the compiled rival's time, or less."""
    found = {name: one_point[name] for name in ARRAYS if "jax" in one_point[name]}
    over = {name: seconds["numtape"] / seconds["jax"] for name, seconds in found.items()}
    for name, ratio in over.items():
        shown = f"arrays, {name} ({found[name]['numtape'] * 1e3:.2f} ms)"
        yield Target(shown, ratio, 1.3, "times jax")
    if over:
        faster = sum(ratio <= 1.0 for ratio in over.values())
        yield Target("arrays: problems at least as fast as jax", faster, len(over) / 2, "", True)


def _native(one_point: Measured, many_points: Measured) -> Iterator[Target]:
    """Tapes compiled to machine code, where numtape has them."""
    native = "numtape native"
    for name, rival, bound in (
        ("bundle adjustment", "casadi map", 60.0),
        ("bundle adjustment", "jax vmap", 20.0),
        ("bundle adjustment", "c++ loop", 2.0),
        ("heston path 50", "casadi map", 40.0),
    ):
        shown = f"native, many points, {name}: {rival} over numtape"
        yield from _over(many_points[name], rival, native, shown, bound)
    shown = "native, heston path 50: casadi buffer over numtape"
    yield from _over(one_point["heston path 50"], "casadi buffer", native, shown, 6.0)
    for name in ("gaussian mixture", "log-sum-exp", "k-means", "network of two layers"):
        yield from _over(one_point[name], "jax", native, f"native, {name}: jax over numtape", 1.2)
    if native in one_point["bundle adjustment"]:
        kernel = _native_kernel_microseconds()
        yield Target("native, bundle adjustment: beyond the call", kernel, 0.25, "µs")
        yield Target("native, heston path 50: compiling", _compiling("heston path 50"), 0.1, "s")


def _native_kernel_microseconds() -> float:
    """A compiled Jacobian's time beyond that of a call of one instruction."""
    problem = PROBLEMS["bundle adjustment"]
    tapes = {
        "one instruction": numtape.record(lambda x: x[:2] * 2.0, problem.point),
        "all": tape_of(problem),
    }
    for tape in tapes.values():
        tape.compile()
    seconds = best_seconds_together(
        {name: functools.partial(tape.jacobian, problem.point) for name, tape in tapes.items()}
    )
    return (seconds["all"] - seconds["one instruction"]) * 1e6


def _compiling(name: str) -> float:
    best = float("inf")
    for _ in range(3):
        tape = tape_of(PROBLEMS[name])
        start = time.perf_counter()
        tape.compile()
        best = min(best, time.perf_counter() - start)
    return best
