"""How each library is made to differentiate a workload, in the way its own users would.

A module for each library, with `single` for one point and `batch` for many. Both
return a call without arguments: the derivative at points in memory that the caller
may change. Everything a library does only once (recording, building its graph,
compiling) has been done after the first call. Libraries that are not installed, and
workloads that a library cannot take, raise `NotImplementedError`, which asv
understands as "skip".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..problems import Batch, Problem
from . import (
    by_autograd,
    by_casadi,
    by_cpp,
    by_differences,
    by_jax,
    by_numtape,
    by_torch,
    by_xad,
)
from .common import Call, Floats

__all__ = [
    "BATCH_LIMITS",
    "BATCH_RIVALS",
    "RIVALS",
    "TOLERANCE",
    "Call",
    "Prepared",
    "points_for",
    "prepare",
    "prepare_batch",
]

RIVALS: dict[str, Callable[[Problem, Floats], Call]] = {
    "numtape": by_numtape.single,
    "numtape out=": by_numtape.single_into,
    "numtape function": by_numtape.single_function,
    "numtape native": by_numtape.single_native,
    "casadi": by_casadi.single,
    "casadi buffer": by_casadi.single_buffer,
    "jax": by_jax.single,
    "torch": by_torch.single,
    "autograd": by_autograd.single,
    "xad": by_xad.single,
    "c++": by_cpp.single,
    "scipy differences": by_differences.single,
}

BATCH_RIVALS: dict[str, Callable[[Batch, Floats], Call]] = {
    "numtape": by_numtape.batch,
    "numtape native": by_numtape.batch_native,
    "casadi map": by_casadi.batch,
    "casadi map buffer": by_casadi.batch_buffer,
    "jax vmap": by_jax.batch,
    "torch vmap": by_torch.batch,
    "autograd loop": by_autograd.batch,
    "xad loop": by_xad.batch,
    "c++ loop": by_cpp.batch,
    "scipy differences loop": by_differences.batch,
}

# Points that a rival is measured at, where all of them would take minutes.
BATCH_LIMITS = {
    "autograd loop": 20,
    "xad loop": 200,
    "scipy differences loop": 20,
    "torch vmap": 10_000,
}

# How far a rival may be from the others, relative to the derivative's largest element:
# rounding for the exact ones, the step's error for differences.
TOLERANCE = {rival: 1e-4 if "differences" in rival else 1e-8 for rival in (*RIVALS, *BATCH_RIVALS)}


class Prepared(NamedTuple):
    """A derivative ready to be called.

    Attributes
    ----------
    point : float64 vector
        Where `call` differentiates; write into it to move.
    call : callable
        The gradient, or the Jacobian of a workload that returns a vector.
    """

    point: Floats
    call: Callable[[], Any]


def prepare(rival: str, problem: Problem) -> Prepared:
    """A rival's derivative of a problem, called once so that everything is compiled."""
    point = problem.point.copy()
    prepared = Prepared(point, RIVALS[rival](problem, point))
    prepared.call()
    return prepared


def points_for(rival: str, batch: Batch) -> Floats:
    """The points at which a rival is measured."""
    return batch.points(min(batch.count, BATCH_LIMITS.get(rival, batch.count)))


def prepare_batch(rival: str, batch: Batch, points: Floats) -> Call:
    """A rival's derivatives at points, called once so that everything is compiled.

    What is wanted of each point is a row of the result (a matrix, for a Jacobian).
    """
    call = BATCH_RIVALS[rival](batch, points)
    call()
    return call
