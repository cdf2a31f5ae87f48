"""numtape, in four ways.

A tape whose result is a new array, a tape that writes into an array it is given, the
function that keeps its tapes by itself, and a tape compiled to machine code.
"""

from types import SimpleNamespace

import numpy as np

import numtape

from ..problems import Batch, Problem
from .common import Call, Floats, composed, wanted

__all__ = ["batch", "batch_native", "single", "single_function", "single_into", "single_native"]


def single(problem: Problem, point: Floats) -> Call:
    return _call(numtape.record(problem.function, point), problem, point)


def _call(tape: numtape.Tape, problem: Problem, point: Floats) -> Call:
    if wanted(problem) == "jacobian":
        return lambda: tape.jacobian(point)
    return lambda: tape.gradient(point)


def single_into(problem: Problem, point: Floats) -> Call:
    if wanted(problem) == "jacobian":
        raise NotImplementedError("Tape.jacobian has no out=")
    tape = numtape.record(problem.function, point)
    out = np.empty_like(point)
    return lambda: tape.gradient(point, out=out)


def single_function(problem: Problem, point: Floats) -> Call:
    by = numtape.jacobian if wanted(problem) == "jacobian" else numtape.grad
    derivative = by(problem.function)
    return lambda: derivative(point)


def single_native(problem: Problem, point: Floats) -> Call:
    return _call(_compiled(problem, point), problem, point)


def _compiled(problem: Problem, point: Floats) -> numtape.Tape:
    tape = numtape.record(problem.function, point)
    if not hasattr(tape, "compile"):
        raise NotImplementedError("this numtape compiles no tapes")
    tape.compile()
    return tape


def batch(batch: Batch, points: Floats) -> Call:
    if batch.wanted != "greeks":
        return _batch_call(numtape.record(batch.problem.function, points[0]), batch, points)
    library = SimpleNamespace(
        value_and_grad=numtape.value_and_grad,
        grad=numtape.grad,
        jvp=numtape.jvp,
        first=lambda x: np.eye(1, len(x))[0],
        hstack=np.hstack,
    )
    mapped = numtape.vmap(composed(library, batch.problem.function, "greeks"), num_threads=1)
    return lambda: mapped(points)


def _batch_call(tape: numtape.Tape, batch: Batch, points: Floats) -> Call:
    by = tape.jacobian if batch.wanted == "jacobian" else tape.gradient
    return lambda: by(points, num_threads=1)


def batch_native(batch: Batch, points: Floats) -> Call:
    if batch.wanted == "greeks":
        raise NotImplementedError("a function under vmap has no tape to compile")
    return _batch_call(_compiled(batch.problem, points[0]), batch, points)
