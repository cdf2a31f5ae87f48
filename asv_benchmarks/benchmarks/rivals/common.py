"""What the modules of several rivals share."""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..problems import Problem

__all__ = ["Call", "Derivative", "Floats", "composed", "module", "one_by_one", "wanted"]

Call = Callable[[], Any]
Derivative = Callable[[Any], Any]
Floats = npt.NDArray[np.float64]


def module(name: str) -> Any:
    """A library's module; where it is not installed, the benchmark is skipped."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotImplementedError(f"{name} is not installed") from None


def wanted(problem: Problem) -> str:
    """What is asked for at one point: "jacobian" of a vector, "gradient" of a number."""
    return "jacobian" if np.ndim(problem.function(problem.point)) > 0 else "gradient"


def composed(library: SimpleNamespace, function: Callable[[Any], Any], what: str) -> Derivative:
    """What a batch wants, written with a library's own grad, jvp and jacobian.

    The namespace has ``jacrev``, ``grad``, ``value_and_grad`` and ``jvp``, ``hstack``, and
    ``first(x)``, the unit vector along the first variable.
    """
    if what == "jacobian":
        return cast(Derivative, library.jacrev(function))
    if what == "gradient":
        return cast(Derivative, library.grad(function))

    def greeks(x: Any) -> Any:
        price, slopes = library.value_and_grad(function)(x)
        _, bend = library.jvp(library.grad(function), (x,), (library.first(x),))
        return library.hstack([price, slopes, bend[0]])

    return greeks


def one_by_one(derivative: Derivative, points: Floats) -> Call:
    """A loop over the points, for a library that has no other way."""
    return lambda: np.array([derivative(point) for point in points])
