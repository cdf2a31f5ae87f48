"""Making arrays: ``np.zeros_like(x)``, ``np.full(n, v, like=x)`` and their like."""

from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.trace.functions.common import implements, no_dtype
from numtape.trace.traced import LIKE_FUNCTIONS, Traced, as_traced, innermost, is_traced, wrap

__all__: list[str] = []


def _constants(like: Traced, values: npt.NDArray[Any]) -> Any:
    recorder = like.recorder
    floats = np.array(values, np.float64)
    return wrap(recorder, recorder.constant_array(floats).copy(), floats)


def _is_other(dtype: Any) -> bool:
    """Whether an array of that type is asked for that cannot hold traced values."""
    return dtype is not None and np.dtype(dtype) != np.float64


@implements("zeros_like", "empty_like")
def _zeros_like(array: Traced, dtype: Any = None, shape: Any = None, **options: Any) -> Any:
    values = np.zeros(np.shape(array) if shape is None else shape)
    return values.astype(dtype) if _is_other(dtype) else _constants(array, values)


@implements("ones_like")
def _ones_like(array: Traced, dtype: Any = None, shape: Any = None, **options: Any) -> Any:
    values = np.ones(np.shape(array) if shape is None else shape)
    return values.astype(dtype) if _is_other(dtype) else _constants(array, values)


@implements("full_like")
def _full_like(
    array: Any, fill_value: Any, dtype: Any = None, shape: Any = None, **options: Any
) -> Any:
    shape = np.shape(array) if shape is None else shape
    if _is_other(dtype) and not is_traced(fill_value):
        return np.full(shape, fill_value, dtype)
    no_dtype(dtype)
    return np.copy(np.broadcast_to(as_traced(innermost(array, fill_value), fill_value), shape))


def make_like(like: Traced, function: Any, arguments: tuple[Any, ...], options: Any) -> Any:
    """What ``np.zeros(..., like=x)`` and its siblings return for a traced x."""
    if _is_other(options.get("dtype")):
        return function(*arguments, **options)
    options = {name: value for name, value in options.items() if name != "dtype"}
    if function in (np.array, np.asarray):
        return np.copy(as_traced(like.recorder, arguments[0]))
    if function is np.full:
        shape, value, *_ = (*arguments, options.get("fill_value"))
        return np.copy(np.broadcast_to(as_traced(like.recorder, value), shape))
    return _constants(like, function(*arguments, **options))


for _name in ("zeros", "ones", "empty", "full", "array", "asarray", "eye", "identity"):
    LIKE_FUNCTIONS[getattr(np, _name)] = make_like
