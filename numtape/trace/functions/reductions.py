"""Sums, extremes, means and their like, along axes or running."""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import (
    axes_of,
    implements,
    is_kept,
    no_dtype,
    no_options,
    traced,
)
from numtape.trace.recorder import user_location
from numtape.trace.traced import NUMPY_FUNCTIONS, as_floats, wrap
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


def _reduce(name: str, array: Any, axis: Any, keepdims: bool) -> Any:
    """Reduce by the ufunc `name`; values by NumPy's own reduction."""
    array = traced(array)
    if name in ("add", "multiply"):
        array = as_floats(array)
    if array.ndim == 0:
        return array
    axes = axes_of(axis, array.ndim)
    if array.size == 0 and name in ("maximum", "minimum"):
        raise ValueError(
            f"{name} of no elements (shape {array.shape}, axis {axis}): it has no identity; "
            "handle the empty case before"
        )
    values = getattr(np, name).reduce(np.asarray(array.primals), axis=axes, keepdims=keepdims)
    slots = array.recorder.reduce(name, array.slots, axes)
    return wrap(array.recorder, slots.reshape(np.shape(values)), values)


def _reduction(name: str, function: Any, method: str) -> None:
    ufunc = getattr(np, name)
    no_value: Any = np._NoValue

    def implementation(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = no_value,
        initial: Any = no_value,
        where: Any = no_value,
    ) -> Any:
        no_options(method, out=out, initial=initial, where=where)
        no_dtype(dtype)
        return _reduce(name, a, axis, is_kept(keepdims))

    def ufunc_method(a: Any, axis: Any = 0, dtype: Any = None, keepdims: Any = False) -> Any:
        no_dtype(dtype)
        return _reduce(name, a, axis, is_kept(keepdims))

    NUMPY_FUNCTIONS[function] = implementation
    NUMPY_FUNCTIONS[(ufunc, "reduce")] = ufunc_method


_reduction("add", np.sum, "sum")
_reduction("multiply", np.prod, "prod")


def _extreme(name: str, function: Any, method: str) -> None:
    _reduction(name, function, method)
    implementation = NUMPY_FUNCTIONS[function]

    def without_dtype(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, **options: Any
    ) -> Any:
        return implementation(a, axis, None, out, keepdims, **options)

    NUMPY_FUNCTIONS[function] = without_dtype


_extreme("maximum", np.max, "max")
_extreme("minimum", np.min, "min")
NUMPY_FUNCTIONS[np.amax] = NUMPY_FUNCTIONS[np.max]
NUMPY_FUNCTIONS[np.amin] = NUMPY_FUNCTIONS[np.min]


def _logical(name: str, function: Any) -> None:
    def implementation(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, **options: Any
    ) -> Any:
        no_options(function.__name__, out=out, **options)
        array = traced(a)
        if array.dtype != bool:
            array = array != 0.0
        return _reduce(name, array, axis, is_kept(keepdims))

    NUMPY_FUNCTIONS[function] = implementation


_logical("maximum", np.any)
_logical("minimum", np.all)


def _count(array: Any, axis: Any) -> int:
    """How many elements each mean is of."""
    return int(np.prod([array.shape[k] for k in axes_of(axis, array.ndim)], dtype=np.int64))


@implements("mean")
def _mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
) -> Any:
    no_options("mean", out=out, where=where)
    no_dtype(dtype)
    array = as_floats(traced(a))
    count = _count(array, axis)
    return _reduce("add", array, axis, is_kept(keepdims)) / count


@implements("var")
def _var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
    mean: Any = np._NoValue,
    correction: Any = np._NoValue,
) -> Any:
    no_options("var", out=out, where=where, mean=mean)
    no_dtype(dtype)
    ddof = ddof if correction is np._NoValue else correction
    array = as_floats(traced(a))
    count = _count(array, axis)
    deviations = array - _reduce("add", array, axis, True) / count
    squares = _reduce("add", deviations * deviations, axis, is_kept(keepdims))
    return squares / max(count - ddof, 0)


@implements("std")
def _std(a: Any, *arguments: Any, **options: Any) -> Any:
    # The root of a sum of squares is flat where all deviations are 0.
    return apply_row(ROWS[OPCODE["norm_root"]], (_var(a, *arguments, **options),))


@implements("cumprod")
def _cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    # One product after the other: rounds like NumPy, and is right where factors are 0.
    no_options("cumprod", out=out)
    no_dtype(dtype)
    array = as_floats(traced(a))
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), 0
    factors = np.moveaxis(array, axis, 0)
    products = [factors[k] for k in range(min(1, len(factors)))]
    for k in range(1, len(factors)):
        products.append(products[-1] * factors[k])
    return np.stack(products, axis=axis) if products else array


@implements("cumsum")
def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    no_options("cumsum", out=out)
    no_dtype(dtype)
    array = as_floats(traced(a))
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), 0
    if array.size == 0:
        return array
    slots = array.recorder.accumulate("add", array.slots, axis)
    return wrap(array.recorder, slots, np.cumsum(array.primals, axis))


NUMPY_FUNCTIONS[(np.add, "accumulate")] = lambda a, axis=0, dtype=None: _cumsum(a, axis, dtype)


@implements("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue) -> Any:
    no_options("ptp", out=out)
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@implements("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    array = as_floats(traced(x))
    root = ROWS[OPCODE["norm_root"]]
    if axis is None and (ord is None or (ord == 2 and array.ndim == 1) or ord in ("f", "fro")):
        flat = np.ravel(array)
        result = apply_row(root, (np.dot(flat, flat),))
        return np.reshape(result, (1,) * array.ndim) if keepdims else result
    axes = axes_of(axis, array.ndim)
    if len(axes) == 1 or ord is None:
        if ord is None or ord == 2:
            return apply_row(root, (np.sum(array * array, axis=axes, keepdims=keepdims),))
        if ord == 1:
            return np.sum(abs(array), axis=axes, keepdims=keepdims)
        if ord == np.inf:
            return np.max(abs(array), axis=axes, keepdims=keepdims)
        if ord == -np.inf:
            return np.min(abs(array), axis=axes, keepdims=keepdims)
        if isinstance(ord, int | float) and ord != 0:
            powers = np.sum(abs(array) ** ord, axis=axes, keepdims=keepdims)
            return powers ** (1.0 / ord)
    raise UnsupportedError(
        f"np.linalg.norm(x, ord={ord!r}, axis={axis!r}) of a traced value of shape {array.shape} "
        f"at {user_location()}: numtape has no rule for this norm. Use the default, 1, 2, inf, "
        "-inf or a power for vectors, and the default or 'fro' for matrices"
    )
