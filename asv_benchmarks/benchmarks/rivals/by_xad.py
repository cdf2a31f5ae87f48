"""XAD: C++ reals with operators overloaded, recorded anew at each call; loops of scalars."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..problems import Batch, Problem
from .common import Call, Derivative, Floats, module, one_by_one, wanted

__all__ = ["batch", "single"]


def _numpy(maths: Any) -> Any:
    """XAD's functions under NumPy's names."""
    return SimpleNamespace(
        array=list,
        cos=maths.cos,
        erf=maths.erf,
        exp=maths.exp,
        log=maths.log,
        maximum=maths.max,
        sin=maths.sin,
        sqrt=maths.sqrt,
    )


def _derivative(problem: Problem, what: str) -> Derivative:
    if not problem.scalar_code:
        raise NotImplementedError("XAD has scalars, and no arrays")
    if what == "greeks":
        raise NotImplementedError("XAD's Python package has first derivatives only")
    adjoint = module("xad.adj_1st")
    xad_numpy = _numpy(module("xad.math"))
    tape = adjoint.Tape()  # one for all calls: it keeps its memory

    def rows(point: Floats) -> list[list[float]]:
        """The gradient of each output."""
        tape.activate()
        try:
            x = [adjoint.Real(value) for value in point.tolist()]
            tape.registerInputs(x)
            tape.newRecording()
            result = problem.workload(xad_numpy, x)
            outputs = result if what == "jacobian" else [result]
            tape.registerOutputs(outputs)
            found = []
            for output in outputs:
                tape.clearDerivatives()
                output.derivative = 1.0
                tape.computeAdjoints()
                found.append([variable.derivative for variable in x])
        finally:
            tape.deactivate()
        return found

    if what == "jacobian":
        return lambda point: np.array(rows(point))
    return lambda point: np.array(rows(point)[0])


def single(problem: Problem, point: Floats) -> Call:
    derivative = _derivative(problem, wanted(problem))
    return lambda: derivative(point)


def batch(batch: Batch, points: Floats) -> Call:
    return one_by_one(_derivative(batch.problem, batch.wanted), points)
