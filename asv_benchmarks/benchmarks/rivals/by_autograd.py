"""autograd: the function runs anew, on its boxes, at each call; many points are a loop."""

from typing import Any, cast

from ..problems import Batch, Problem
from .common import Call, Derivative, Floats, module, one_by_one, wanted

__all__ = ["batch", "single"]


class _NumPy:
    """autograd's NumPy, with its error function and what it has under another name."""

    def __init__(self) -> None:
        self._numpy = module("autograd.numpy")
        self.erf = module("autograd.scipy.special").erf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)


def _derivative(problem: Problem, what: str) -> Derivative:
    autograd = module("autograd")
    autograd_numpy = _NumPy()

    def function(x: Any) -> Any:
        return problem.workload(autograd_numpy, x)

    if what == "jacobian":
        return cast(Derivative, autograd.jacobian(function))
    gradient: Derivative = autograd.grad(function)
    if what == "gradient":
        return gradient
    both = autograd.value_and_grad(function)
    bend = autograd.grad(lambda x: gradient(x)[0])

    def greeks(x: Any) -> Any:
        price, slopes = both(x)
        return autograd_numpy.hstack([price, slopes, bend(x)[0]])

    return greeks


def single(problem: Problem, point: Floats) -> Call:
    derivative = _derivative(problem, wanted(problem))
    return lambda: derivative(point)


def batch(batch: Batch, points: Floats) -> Call:
    return one_by_one(_derivative(batch.problem, batch.wanted), points)
