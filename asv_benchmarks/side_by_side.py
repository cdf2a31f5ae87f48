"""numtape and every installed rival in one process, then numtape against its targets.

Run ``python side_by_side.py``, or name problems to compare only those. First
every derivative is checked against numtape's, at the problem's point and at
another one. Then the calls are measured interleaved, in an order drawn anew for
each round, and each one's best time is shown with its ratio to numtape's. The
targets follow if no problem was named.

``--check`` stops after the checks. ``--readme`` measures what the README compares and
writes its table and its plot; ``--redraw`` writes them from the numbers kept last.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import readme
from benchmarks.measure import best_seconds_together
from benchmarks.problems import ARRAYS, BATCHES, PROBLEMS, Batch, Problem
from benchmarks.rivals import (
    BATCH_RIVALS,
    RIVALS,
    TOLERANCE,
    Prepared,
    points_for,
    prepare,
    prepare_batch,
)
from benchmarks.rivals.by_cpp import FLAGS, compiler

# After `benchmarks`, which keeps NumPy to one thread.
import numpy as np  # isort: skip

import numtape

_EVERY = PROBLEMS | ARRAYS

_LIBRARIES = {
    "NumPy": "numpy",
    "Numba": "numba",
    "CasADi": "casadi",
    "JAX": "jax",
    "PyTorch": "torch",
    "XAD": "xad",
    "autograd": "autograd",
    "SciPy": "scipy",
}


# one point


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
        # A copy: some rivals write their results where the last ones were.
        expected = np.array(_at(prepared["numtape"], problem.point * move))
        for rival, its in prepared.items():
            found = np.reshape(np.asarray(_at(its, problem.point * move)), expected.shape)
            error = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
            if not error <= TOLERANCE[rival]:
                raise SystemExit(_disagreement(problem.name, rival, error))
    for its in prepared.values():
        its.point[:] = problem.point


def _at(prepared: Prepared, point: Any) -> Any:
    prepared.point[:] = point
    return prepared.call()


def _disagreement(problem: str, rival: str, error: float) -> str:
    return (
        f"{problem}: the derivative by {rival!r} differs from numtape's by {error:.1e} of its "
        f"largest element, and {TOLERANCE[rival]:.0e} is allowed"
    )


def measure_one(problem: Problem) -> dict[str, float]:
    """Seconds by rival, once all agree; of the function's value in plain NumPy too."""
    prepared = prepare_all(problem)
    check_agreement(problem, prepared)
    calls = {rival: its.call for rival, its in prepared.items()}
    calls["plain value"] = lambda: problem.function(problem.point)
    return best_seconds_together(calls)


def compare(problems: Iterable[Problem]) -> dict[str, dict[str, float]]:
    """Measure and print; seconds by problem and rival."""
    measured = {}
    names = [rival for rival in RIVALS if rival != "numtape"]
    print("Microseconds for one gradient or Jacobian (times numtape's in brackets)\n")
    print(f"{'':26}{'numtape':>9}" + "".join(f"{name:>20}" for name in names))
    for problem in problems:
        seconds = measured[problem.name] = measure_one(problem)
        cells = [_cell(seconds, name, 1e6, 20) for name in names]
        print(f"{problem.name:26}{seconds['numtape'] * 1e6:9.2f}" + "".join(cells), flush=True)
    print("\nGradient or Jacobian over the function's value in plain NumPy\n")
    for name, seconds in measured.items():
        print(f"{name:26}{seconds['numtape'] / seconds['plain value']:9.2f}")
    return measured


def _cell(seconds: dict[str, float], rival: str, units: float, width: int) -> str:
    if rival not in seconds:
        return f"{'-':>{width}}"
    ratio = seconds[rival] / seconds["numtape"]
    return f"{seconds[rival] * units:{width - 9}.2f} {f'({ratio:.3g})':>8}"


# many points


def prepare_batches(batch: Batch) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """The calls of every rival that takes the batch, and at how many points each one is."""
    calls, counts = {}, {}
    for rival in random.sample(list(BATCH_RIVALS), len(BATCH_RIVALS)):
        points = points_for(rival, batch)
        try:
            calls[rival] = prepare_batch(rival, batch, points)
        except NotImplementedError:
            continue
        counts[rival] = len(points)
    return calls, counts


def check_batch(batch: Batch, calls: dict[str, Callable[[], Any]]) -> None:
    """Raise where a rival's derivatives at the first points are not numtape's.

    Where a rival gives nan they are left out: several multiply an infinite slope by 0
    at points where the variance of a path reaches 0.
    """
    expected = np.asarray(calls["numtape"]())
    count = min(20, len(expected))
    for rival, call in calls.items():
        found = np.asarray(call())
        if rival == "casadi map":  # a matrix of a column for each point, or for each of its inputs
            found = found.T.reshape(len(expected), -1, len(found)).swapaxes(1, 2)
            found = found.reshape(expected.shape)
        error = np.nanmax(np.abs(found[:count] - expected[:count])) / np.max(np.abs(expected))
        if not error <= TOLERANCE[rival]:
            raise SystemExit(_disagreement(f"{batch.problem.name}, many points", rival, error))


def measure_many(batch: Batch) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds a point by rival, once all agree, and at how many points each was measured."""
    calls, counts = prepare_batches(batch)
    check_batch(batch, calls)
    seconds = best_seconds_together(calls, 5)
    return {rival: seconds[rival] / counts[rival] for rival in calls}, counts


def compare_batches() -> dict[str, dict[str, float]]:
    """Measure and print derivatives at many points; seconds a point by problem and rival."""
    measured = {}
    names = [rival for rival in BATCH_RIVALS if rival != "numtape"]
    print("\nNanoseconds a point, at many points (times numtape's in brackets)\n")
    print(f"{'':26}{'numtape':>9}" + "".join(f"{name:>24}" for name in names))
    for name, batch in BATCHES.items():
        seconds = measured[name] = measure_many(batch)[0]
        cells = [_cell(seconds, rival, 1e9, 24) for rival in names]
        print(f"{name:26}{seconds['numtape'] * 1e9:9.1f}" + "".join(cells), flush=True)
    return measured


# what to do


def check() -> None:
    """Every rival against numtape, for every problem; prints who took part."""
    for problem in _EVERY.values():
        prepared = prepare_all(problem)
        check_agreement(problem, prepared)
        _print_agreement(problem.name, prepared)
    for name, batch in BATCHES.items():
        calls, _ = prepare_batches(batch)
        check_batch(batch, calls)
        _print_agreement(f"{name}, many points", calls)


def _print_agreement(name: str, rivals: Iterable[str]) -> None:
    print(f"{name} agree: {', '.join(sorted(rivals))}", flush=True)


def measure_for_readme() -> readme.Results:
    """What the README compares."""
    one_point: list[readme.Row] = []
    for name in readme.POINTS:
        print(name, flush=True)
        problem, seconds = _EVERY[name], measure_one(_EVERY[name])
        one_point.append(
            {
                "problem": name,
                "variables": len(problem.point),
                "points": dict.fromkeys(seconds, 1),
                "seconds": _ordered(seconds),
            }
        )
    many_points: list[readme.Row] = []
    for name, batch in BATCHES.items():
        print(f"{name}, many points", flush=True)
        seconds, counts = measure_many(batch)
        many_points.append(
            {
                "problem": name,
                "variables": len(batch.problem.point),
                "points": _ordered(counts),
                "seconds": _ordered(seconds),
            }
        )
    return {
        "date": datetime.date.today().isoformat(),
        "machine": _machine(),
        "versions": _versions(),
        "flags": " ".join(FLAGS),
        "one_point": one_point,
        "many_points": many_points,
    }


def _ordered(found: dict[str, Any]) -> dict[str, Any]:
    """By name: rivals are prepared in an order drawn at random."""
    return dict(sorted(found.items()))


def _machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = named[0] if named else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _versions() -> dict[str, str]:
    versions = {"numtape": numtape.__version__, "Python": platform.python_version()}
    for name, package in _LIBRARIES.items():
        try:
            versions[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if (found := compiler()) is not None:
        command = [found, "-dumpfullversion", "-dumpversion"]
        versions["C++ compiler"] = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    return versions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("problem", nargs="*", help=f"of: {', '.join(_EVERY)}")
    parser.add_argument("--check", action="store_true", help="only check that all agree")
    parser.add_argument("--readme", action="store_true", help="write the README's table and plot")
    parser.add_argument("--redraw", action="store_true", help="the same from numbers kept last")
    given = parser.parse_args()
    unknown = [name for name in given.problem if name not in _EVERY]
    if unknown:
        parser.error(f"there is no problem {unknown[0]!r}; choose from {', '.join(_EVERY)}")
    if given.check:
        check()
    elif given.readme or given.redraw:
        if given.readme:
            readme.save(measure_for_readme())
        readme.draw(readme.load())
        readme.update(readme.load())
    else:
        print(f"numtape {numtape.__version__}, NumPy {np.__version__}, Python {sys.version[:6]}")
        measured = compare(_EVERY[name] for name in given.problem or _EVERY)
        if not given.problem:
            _show_targets(measured)


def _show_targets(measured: dict[str, dict[str, float]]) -> None:
    from targets import targets  # what measures numtape alone is needed here only

    batches = compare_batches()
    print("\nTargets\n")
    for target in targets(measured, batches):
        print(target, flush=True)


if __name__ == "__main__":
    main()
