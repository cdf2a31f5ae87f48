"""Methods of traced arrays and scalars that are functions of NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.trace.traced import NUMPY_FUNCTIONS, Traced

__all__: list[str] = []


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return NUMPY_FUNCTIONS[function](self, *arguments, **options)

    method.__doc__ = f"As `numpy.{function.__name__}`."
    return method


for _name in (
    *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "cumsum", "cumprod"),
    *("ptp", "dot", "clip"),
    *("squeeze", "swapaxes", "diagonal", "repeat", "take"),
):
    setattr(Traced, _name, _method(getattr(np, _name)))
