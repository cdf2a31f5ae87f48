"""C++: adjoints written by hand, compiled by the system's compiler for this machine.

Each source in ``cpp`` has one function, which takes points one after the other:
``derivative(count, points, size, data, results)``. It is what a programmer would write
for speed alone, without vector intrinsics. One point is a batch of one.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..problems import (
    FOUND,
    NORMALS,
    STEPS,
    YEARS,
    Batch,
    Problem,
    black_scholes,
    heston_path,
    reprojection,
    rosenbrock_loop,
)
from .common import Call, Floats, wanted

__all__ = ["FLAGS", "batch", "compiler", "jacobians_of", "single"]

FLAGS = ("-std=c++17", "-O3", "-march=native")

_SOURCES = Path(__file__).with_name("cpp")

# By workload and what is wanted: its source, and the data that it closes over.
_WRITTEN: dict[tuple[Callable[..., Any], str], tuple[str, Floats]] = {
    (rosenbrock_loop, "gradient"): ("rosenbrock", np.empty(0)),
    (reprojection, "jacobian"): ("bundle_adjustment", np.array(FOUND)),
    (heston_path, "gradient"): ("heston", np.array([STEPS, YEARS, *np.ravel(NORMALS)])),
    (black_scholes, "gradient"): ("black_scholes_gradient", np.empty(0)),
    (black_scholes, "greeks"): ("black_scholes_greeks", np.empty(0)),
}


def compiler() -> str | None:
    """The system's C++ compiler: what CXX says, or the first that is found."""
    return os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")


def _library(name: str) -> Any:
    """A source, compiled and loaded; the file is not kept."""
    found = compiler()
    if found is None:
        raise NotImplementedError("there is no C++ compiler")
    with tempfile.TemporaryDirectory() as directory:
        library, source = f"{directory}/{name}.so", str(_SOURCES / f"{name}.cpp")
        subprocess.run([found, *FLAGS, "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(library)


def jacobians_of(problem: Problem, points: Floats, result: Floats) -> Call:
    """The Jacobians at all rows of `points`, one after the other in `result`."""
    return _call(problem, "jacobian", points, (), result)


def _call(
    problem: Problem,
    what: str,
    points: Floats,
    each: tuple[int, ...],
    result: Floats | None = None,
) -> Call:
    """The derivatives at all rows of `points`, of the shape `each`, in memory used again."""
    if (problem.workload, what) not in _WRITTEN:
        raise NotImplementedError("no adjoint of it was written by hand")
    name, data = _WRITTEN[problem.workload, what]
    function = _library(name).derivative
    function.restype = None
    count, size = points.shape
    result = np.empty((count, *each)) if result is None else result
    long, address = ctypes.c_long, ctypes.c_void_p
    arguments = (
        long(count),
        address(points.ctypes.data),
        long(size),
        address(data.ctypes.data),
        address(result.ctypes.data),
    )

    # The function gets bare addresses: what they lead to must live as long as the call.
    def call(keep: Any = (points, data)) -> Floats:
        function(*arguments)
        return result

    return call


def single(problem: Problem, point: Floats) -> Call:
    what = wanted(problem)
    each = (2, len(point)) if what == "jacobian" else (len(point),)
    many = _call(problem, what, point[None], each)
    result: Floats = many()[0]

    def call() -> Floats:
        many()
        return result

    return call


def batch(batch: Batch, points: Floats) -> Call:
    size = points.shape[1]
    each = {"jacobian": (2, size), "gradient": (size,), "greeks": (size + 2,)}[batch.wanted]
    return _call(batch.problem, batch.wanted, points, each)
