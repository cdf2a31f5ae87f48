"""Sums, products, extremes and tests of all elements, along axes or running."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.trace.functions.common import (
    axes_of,
    implements,
    is_kept,
    no_dtype,
    no_options,
    traced,
)
from numtape.trace.recorder import Slots
from numtape.trace.traced import as_computed, as_integers, wrap

__all__ = ["accumulate_by", "is_given", "masks", "reduce_by", "reduced"]

_IDENTITY = {"add": 0.0, "multiply": 1.0}


def is_given(option: Any) -> bool:
    """Whether an option was given a value."""
    return option is not None and option is not np._NoValue


def masks(where: Any) -> bool:
    """Whether `where` leaves anything out."""
    return is_given(where) and where is not True


def reduced(
    name: str, a: Any, axis: Any, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Any:
    """Reduce by the ufunc `name`; values by NumPy's own reduction."""
    array = traced(a)
    if array.dtype == bool and name in ("add", "multiply"):
        array = as_integers(array)
    if masks(where):
        start = _IDENTITY.get(name, initial)
        if not is_given(start):
            raise InputError(
                f"{name} with where= has no identity to put in place of what is left out: give "
                "initial="
            )
        array = np.where(where, array, start)
    axes = axes_of(axis, array.ndim)
    empty = 0 in [array.shape[k] for k in axes]
    if empty and name in ("maximum", "minimum"):
        if not is_given(initial):
            raise InputError(
                f"{name} of no elements (shape {array.shape}, axis {axis}): it has no identity; "
                "handle the empty case before, or give initial="
            )
        shape = [1 if k in axes else n for k, n in enumerate(array.shape) if is_kept(keepdims)]
        shape = shape or [n for k, n in enumerate(array.shape) if k not in axes]
        return np.full_like(array, initial, shape=tuple(shape))
    if array.ndim == 0 or not axes:
        result = as_computed(np.copy(array))
    else:
        kept = is_kept(keepdims)
        values = getattr(np, name).reduce(np.asarray(array.primals), axis=axes, keepdims=kept)
        slots = np.empty_like(values, np.int64)  # laid out as NumPy's result
        walked = slots if is_kept(keepdims) else np.expand_dims(slots, axes)
        operand, order, merged = _as_walked(array.slots, axes)
        found = array.recorder.reduce(name, operand, merged)
        walked.transpose(order)[...] = found.reshape(walked.transpose(order).shape)
        result = wrap(array.recorder, slots, values)
    return getattr(np, name)(initial, result) if is_given(initial) else result


def _as_walked(
    slots: Slots, axes: tuple[int, ...]
) -> tuple[Slots, tuple[int, ...], tuple[int, ...]]:
    """Slots in the order in which NumPy walks an array without gaps, neighbours joined.

    Returns
    -------
    slots : int64 array
        Transposed, with reduced axes that are neighbours in memory as one, because NumPy
        adds them up as one run.
    order : tuple of int
        How it was transposed.
    axes : tuple of int
        The reduced axes of what is returned.
    """
    order = tuple(sorted(range(slots.ndim), key=lambda axis: -slots.strides[axis]))
    walked = slots.transpose(order)
    if not walked.flags.c_contiguous or walked.size == 0:
        return slots, tuple(range(slots.ndim)), axes
    shape: list[int] = []
    merged: list[int] = []
    for axis, extent in zip(order, walked.shape, strict=True):
        if axis in axes and merged and merged[-1] == len(shape) - 1:
            shape[-1] *= extent
            continue
        if axis in axes:
            merged.append(len(shape))
        shape.append(extent)
    return walked.reshape(shape), order, tuple(merged)


def _reduction(name: str, *functions: str) -> None:
    no_value: Any = np._NoValue

    @implements(*functions)
    def implementation(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = no_value,
        initial: Any = no_value,
        where: Any = no_value,
    ) -> Any:
        no_options(functions[0], out=out)
        no_dtype(dtype)
        return reduced(name, a, axis, keepdims, initial, where)


def _extreme(name: str, *functions: str) -> None:
    no_value: Any = np._NoValue

    @implements(*functions)
    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = no_value,
        initial: Any = no_value,
        where: Any = no_value,
    ) -> Any:
        no_options(functions[0], out=out)
        return reduced(name, a, axis, keepdims, initial, where)


_reduction("add", "sum")
_reduction("multiply", "prod")
_extreme("maximum", "max", "amax")
_extreme("minimum", "min", "amin")


def _logical(name: str, function: str, neutral: bool) -> None:
    no_value: Any = np._NoValue

    @implements(function)
    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = no_value,
        *,
        where: Any = no_value,
    ) -> Any:
        no_options(function, out=out)
        array = _truths(traced(a))
        initial = neutral if array.size == 0 or masks(where) else None
        return reduced(name, array, axis, keepdims, initial, where)


def _truths(array: Any) -> Any:
    return array if array.dtype == bool else array != 0.0


_logical("maximum", "any", False)
_logical("minimum", "all", True)


@implements("count_nonzero")
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(_truths(traced(a)), axis=axis, keepdims=keepdims)


@implements("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue) -> Any:
    no_options("ptp", out=out)
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@implements("trace")
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    no_options("trace", out=out)
    no_dtype(dtype)
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


# running


def _along(a: Any, axis: int | None) -> tuple[Any, int]:
    """An array and the axis to run along; flattened for no axis."""
    array = traced(a)
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), axis or 0
    return array, np.lib.array_utils.normalize_axis_index(axis, array.ndim)


@implements("cumprod")
def _cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    # One product after the other: rounds like NumPy, and is right where factors are 0.
    no_options("cumprod", out=out)
    no_dtype(dtype)
    return accumulate_by(np.multiply, *_along(a, axis))


@implements("cumsum")
def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    no_options("cumsum", out=out)
    no_dtype(dtype)
    return accumulate_by(np.add, *_along(a, axis))


def _cumulative(name: str, running: Callable[..., Any], start: float) -> None:
    @implements(name)
    def implementation(
        x: Any,
        /,
        *,
        axis: int | None = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        if axis is None and np.ndim(x) > 1:
            raise InputError(
                f"np.{name} of an array of shape {np.shape(x)}: it has more than one axis, so say "
                "which with axis="
            )
        axis = 0 if axis is None else axis
        result = running(x, axis, dtype, out)
        if include_initial:
            shape = tuple(1 if k == axis % result.ndim else n for k, n in enumerate(result.shape))
            result = np.concatenate([np.full(shape, start), result], axis)
        return result


_cumulative("cumulative_sum", _cumsum, 0.0)
_cumulative("cumulative_prod", _cumprod, 1.0)


# any ufunc of two operands

_STRUCTURED = {np.add, np.multiply, np.maximum, np.minimum}
_LOGICAL = {np.logical_and: np.all, np.logical_or: np.any}


def reduce_by(
    ufunc: Any,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = np._NoValue,
    where: Any = True,
) -> Any:
    """``ufunc.reduce``: an instruction for sums and their like, one after the other for others."""
    no_dtype(dtype)
    if ufunc in _STRUCTURED:
        return reduced(ufunc.__name__, array, axis, keepdims, initial, where)
    if ufunc in _LOGICAL and not is_given(initial):
        return _LOGICAL[ufunc](array, axis=axis, keepdims=keepdims, where=where)
    no_options(f"{ufunc.__name__}.reduce", where=where)
    array = traced(array)
    axes = axes_of(axis, array.ndim)
    moved = np.moveaxis(array, axes, range(len(axes)))
    rest = moved.shape[len(axes) :]
    rows = list(np.reshape(moved, (-1, *rest)))
    rows = [initial, *rows] if is_given(initial) else rows
    if not rows:
        raise InputError(
            f"{ufunc.__name__}.reduce of no elements: it has no identity. Handle the empty case "
            "before, or give initial="
        )
    result = reduce(ufunc, rows)
    return np.expand_dims(result, axes) if keepdims else result


def accumulate_by(ufunc: Any, array: Any, axis: int = 0, dtype: Any = None) -> Any:
    """``ufunc.accumulate``: an instruction for running sums, one after the other for others."""
    no_dtype(dtype)
    array = traced(array)
    array = as_integers(array) if array.dtype == bool else array
    if array.size == 0:
        return array
    if ufunc is np.add:
        slots = array.recorder.accumulate("add", array.slots, axis)
        return wrap(array.recorder, slots, np.cumsum(array.primals, axis))
    rows = list(np.moveaxis(array, axis, 0))
    for k in range(1, len(rows)):
        rows[k] = ufunc(rows[k - 1], rows[k])
    return np.stack(rows, axis=axis)
