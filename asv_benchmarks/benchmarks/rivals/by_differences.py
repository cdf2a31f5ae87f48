"""SciPy's forward differences: one evaluation of plain NumPy code for each variable."""

from ..problems import Batch, Problem
from .common import Call, Derivative, Floats, module, one_by_one

__all__ = ["batch", "single"]


def _derivative(problem: Problem) -> Derivative:
    optimize = module("scipy.optimize")
    if len(problem.point) > 100:
        raise NotImplementedError("one evaluation for each of so many variables takes too long")
    if not problem.scalar_code:
        return lambda point: optimize.approx_fprime(point, problem.function)
    # Python floats make a loop of scalars several times faster than NumPy's do.
    return lambda point: optimize.approx_fprime(point, lambda x: problem.function(x.tolist()))


def single(problem: Problem, point: Floats) -> Call:
    derivative = _derivative(problem)
    return lambda: derivative(point)


def batch(batch: Batch, points: Floats) -> Call:
    if batch.wanted == "greeks":
        raise NotImplementedError("differences of differences are too coarse")
    return one_by_one(_derivative(batch.problem), points)
