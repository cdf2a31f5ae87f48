"""numtape and every installed rival in one process, then numtape against its targets.

Run ``python side_by_side.py``, or name problems to compare only those. First
every derivative is checked against numtape's, at the problem's point and at
another one. Then the calls are measured interleaved, in an order drawn anew for
each round, and each one's best time is shown with its ratio to numtape's. The
targets follow if no problem was named.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.batch import by_length, points_for, rare_branch, record_to_result, speed_up
from benchmarks.cold_start import first_gradient_seconds, import_seconds
from benchmarks.derivative_tapes import (
    build_microseconds,
    counted,
    counts,
    growing,
    layers_memory,
    ratios,
)
from benchmarks.first_derivatives import nanoseconds_per_instruction, one_instruction
from benchmarks.measure import best_seconds, best_seconds_together
from benchmarks.memory import marginal_bytes
from benchmarks.problems import BATCHES, GRADIENTS, PROBLEMS, Batch, Problem
from benchmarks.rivals import BATCH_RIVALS, RIVALS, TOLERANCE, Prepared, prepare, prepare_batch

# After `benchmarks`, which keeps NumPy to one thread.
import numpy as np  # isort: skip

import numtape

# The tapes that the target for an instruction speaks of: 1,000 to 10,000 long.
_LONG_TAPES = (
    "rosenbrock loop 1000",
    "speelpenning loop 1000",
    "helmholtz loop 30",
    "heston path 50",
)


def prepare_all(problem: Problem) -> dict[str, Prepared]:
    """Every rival that is installed and takes the problem, in an order drawn at random."""
    prepared = {}
    for rival in random.sample(list(RIVALS), len(RIVALS)):
        try:
            prepared[rival] = prepare(rival, problem)
        except NotImplementedError:
            continue
    return prepared


def check_agreement(problem: Problem, prepared: dict[str, Prepared]) -> None:
    """Raise where a rival's derivative is not numtape's, at two points.

    The second point shows that a rival reads its point anew at each call.
    """
    for move in (1.0, 1.001):
        expected = np.array(_at(prepared["numtape"], problem.point * move))
        for rival, its in prepared.items():
            found = np.reshape(np.array(_at(its, problem.point * move)), expected.shape)
            error = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
            if not error <= TOLERANCE[rival]:
                raise SystemExit(
                    f"{problem.name}: the derivative by {rival!r} differs from numtape's by "
                    f"{error:.1e} of its largest element, and {TOLERANCE[rival]:.0e} is allowed"
                )
    for its in prepared.values():
        its.point[:] = problem.point


def _at(prepared: Prepared, point: Any) -> Any:
    prepared.point[:] = point
    return prepared.call()


def compare(problems: dict[str, Problem]) -> dict[str, dict[str, float]]:
    """Measure and print; seconds by problem and rival."""
    measured = {}
    names = [rival for rival in RIVALS if rival != "numtape"]
    print("Microseconds for one gradient or Jacobian (times numtape's in brackets)\n")
    print(f"{'':24}{'numtape':>9}" + "".join(f"{name:>20}" for name in names))
    for problem in problems.values():
        prepared = prepare_all(problem)
        check_agreement(problem, prepared)
        calls = {rival: its.call for rival, its in prepared.items()}
        calls["plain value"] = lambda problem=problem: problem.function(problem.point)
        seconds = measured[problem.name] = best_seconds_together(calls)
        cells = [_cell(seconds, name) for name in names]
        print(f"{problem.name:24}{seconds['numtape'] * 1e6:9.2f}" + "".join(cells), flush=True)
    print("\nGradient or Jacobian over the function's value in plain NumPy\n")
    for name, seconds in measured.items():
        print(f"{name:24}{seconds['numtape'] / seconds['plain value']:9.2f}")
    return measured


def _cell(seconds: dict[str, float], rival: str) -> str:
    if rival not in seconds:
        return f"{'-':>20}"
    ratio = seconds[rival] / seconds["numtape"]
    return f"{seconds[rival] * 1e6:11.2f} {f'({ratio:.3g})':>8}"


def compare_batches() -> dict[str, dict[str, float]]:
    """Measure and print derivatives at many points; nanoseconds a point by problem and rival."""
    measured = {}
    names = [rival for rival in BATCH_RIVALS if rival != "numtape"]
    print("\nNanoseconds a point, at many points (times numtape's in brackets)\n")
    print(f"{'':24}{'numtape':>9}" + "".join(f"{name:>24}" for name in names))
    for name, batch in BATCHES.items():
        calls, counts = {}, {}
        for rival in random.sample(list(BATCH_RIVALS), len(BATCH_RIVALS)):
            points = points_for(rival, batch)
            try:
                calls[rival] = prepare_batch(rival, batch, points)
            except NotImplementedError:
                continue
            counts[rival] = len(points)
        check_batch(name, batch, calls)
        seconds = best_seconds_together(calls, 5)
        found = {rival: seconds[rival] / counts[rival] * 1e9 for rival in calls}
        measured[name] = found
        cells = [_batch_cell(found, rival) for rival in names]
        print(f"{name:24}{found['numtape']:9.1f}" + "".join(cells), flush=True)
    return measured


def _batch_cell(found: dict[str, float], rival: str) -> str:
    if rival not in found:
        return f"{'-':>24}"
    ratio = found[rival] / found["numtape"]
    return f"{found[rival]:15.1f} {f'({ratio:.3g})':>8}"


def check_batch(name: str, batch: Batch, calls: dict[str, Any]) -> None:
    """Raise where a rival's derivatives at the first points are not numtape's.

    Where a rival gives nan they are left out: several multiply an infinite slope by 0
    at points where the variance of a path reaches 0.
    """
    count = 20
    expected = np.asarray(calls["numtape"]())[:count]
    for rival, call in calls.items():
        if rival == "casadi map":  # a matrix of CasADi's own; its buffer form is compared
            continue
        found = np.asarray(call())[:count]
        error = np.nanmax(np.abs(found - expected)) / np.max(np.abs(expected))
        if not error <= 1e-8:
            raise SystemExit(f"{name}: {rival!r} differs from numtape by {error:.1e}")


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
            f"{'met   ' if met else 'MISSED'}  {self.name:52}"
            f"{self.measured:10.3g} {sign} {self.bound:g} {self.unit}"
        )


def targets(measured: dict[str, dict[str, float]]) -> Iterator[Target]:
    """The targets of speed and memory, measured one after the other."""
    valley = measured["rosenbrock loop 10"]
    for rival, bound in (("casadi", 8.0), ("autograd", 100.0)):
        if rival in valley:
            ratio = valley[rival] / valley["numtape"]
            yield Target(f"Rosenbrock of 10: {rival} over numtape", ratio, bound, "times", True)
    for name in _LONG_TAPES:
        nanoseconds = nanoseconds_per_instruction(name)
        yield Target(f"linearize and adjoint: {name}", nanoseconds, 10.0, "ns an instruction")
    yield from _call_targets()
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


def derivative_tape_targets() -> Iterator[Target]:
    """The targets of derivative tapes: how long, how soon made, how costly to run."""
    problems = counted()
    for name, bound in (("rosenbrock loop 100", 1700), ("bundle adjustment", 310)):
        derivative = counts(problems[name])[1]
        yield Target(f"derivative tape: {name}", derivative, bound, "instructions")
    for name in _LONG_TAPES:
        microseconds = build_microseconds(GRADIENTS[name])
        yield Target(f"making the gradient's tape: {name}", microseconds, 6.0, "µs an instruction")
    for (name, n), problem in growing().items():
        instructions, found = ratios(problem)
        if instructions >= 1000:
            shown = f"{name} {n}, {instructions} instructions"
            yield Target(f"gradient: {shown}", found["gradient"], 4.0, "values")
            yield Target(f"its tape: {shown}", found["gradient by tape"], 4.0, "values")
            yield Target(f"Hessian product: {shown}", found["product"], 10.0, "values")
    yield Target("memory of a 100-layer gradient", layers_memory(), 1.3, "times the least")


def batch_targets(measured: dict[str, dict[str, float]]) -> Iterator[Target]:
    """The targets of running at many points."""
    for name, rival, bound in (
        ("bundle adjustment", "casadi map", 12.0),
        ("bundle adjustment", "jax vmap", 4.0),
        ("heston path 50", "casadi map", 15.0),
        ("rosenbrock loop 100", "casadi map", 40.0),
        ("rosenbrock loop 100", "jax vmap", 8.0),
        ("black scholes", "jax vmap", 2.0),
    ):
        if rival in measured[name]:
            ratio = measured[name][rival] / measured[name]["numtape"]
            yield Target(f"many points, {name}: {rival} over numtape", ratio, bound, "times", True)
    yield Target("heston path 50, from function to result", record_to_result(), 2.0, "s")
    yield Target("two threads", speed_up(), 1.8, "times one", True)
    lengths = by_length()
    flat = max(lengths.values()) / lengths[10**4]
    yield Target("a point in 10⁴ to 10⁷, over one in 10⁴", flat, 1.2, "times")
    yield Target("3 of 10⁶ points on a rare branch", rare_branch(), 1.2, "times none")


def _call_targets() -> Iterator[Target]:
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
    instructions = numtape.record(problem.function, problem.point).flat.instructions
    seconds = best_seconds(lambda: numtape.record(problem.function, problem.point))
    return seconds * 1e6 / instructions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("problem", nargs="*", help=f"of: {', '.join(PROBLEMS)}")
    chosen = parser.parse_args().problem or list(PROBLEMS)
    unknown = [name for name in chosen if name not in PROBLEMS]
    if unknown:
        parser.error(f"there is no problem {unknown[0]!r}; choose from {', '.join(PROBLEMS)}")
    print(f"numtape {numtape.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
    measured = compare({name: PROBLEMS[name] for name in chosen})
    if len(chosen) == len(PROBLEMS):
        batches = compare_batches()
        print("\nTargets\n")
        every = targets(measured), derivative_tape_targets(), batch_targets(batches)
        for target in itertools.chain(*every):
            print(target, flush=True)


if __name__ == "__main__":
    main()
