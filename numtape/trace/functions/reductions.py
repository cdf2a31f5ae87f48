"""Sums, products, extremes and tests of all elements, along axes or running."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.trace.exceptions import computed
from numtape.trace.functions.common import (
    axes_of,
    implements,
    in_type,
    is_kept,
    no_options,
    traced,
)
from numtape.trace.integers import are_whole, plainly, range_of, typed, whole
from numtape.trace.ranges import EXACT
from numtape.trace.traced import (
    Traced,
    as_computed,
    as_floats,
    as_integers,
    plain_key,
    read,
    wrap,
)
from numtape.trace.views import Slots

__all__ = ["accumulate_by", "is_given", "masks", "reduce_by", "reduced"]

_IDENTITY = {"add": 0.0, "multiply": 1.0}


def is_given(option: Any) -> bool:
    """Return whether an option was given a value."""
    return option is not None and option is not np._NoValue


def masks(where: Any) -> bool:
    """Return whether `where` leaves anything out."""
    return is_given(where) and where is not True


def reduced(
    name: str, a: Any, axis: Any, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Any:
    """Reduce by the ufunc `name`; values by NumPy's own reduction."""
    array = traced(a, initial, where)
    if array.dtype == bool and name in ("add", "multiply"):
        array = as_integers(array)
    initial = _initial(array, initial)
    if masks(where):
        start = typed(array).dtype.type(_IDENTITY[name]) if name in _IDENTITY else initial
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
        return as_computed(np.full_like(array, initial, shape=tuple(shape)))
    if array.ndim == 0 or not axes:
        result = as_computed(np.copy(array))
    else:
        kept, ufunc = is_kept(keepdims), getattr(np, name)
        is_integer = array.dtype.kind == "i"
        numbers = np.asarray(array.primals, np.float64 if is_integer else None)

        def compute() -> Any:
            return ufunc.reduce(numbers, axis=axes, keepdims=kept)

        def record(values: Any) -> Any:
            recorder = array.recorder
            own, numbers = read(recorder, array)
            operand, order, merged = _as_walked(own, numbers, axes)
            found = recorder.reduce(name, operand, merged)
            if not values.ndim:
                return wrap(recorder, found, values)
            if values.flags.c_contiguous and [*order] == [*range(len(order))]:
                return wrap(recorder, found.reshape(values.shape), values)
            slots = np.empty_like(values, np.int64)  # laid out as NumPy's result
            walked = slots if kept else np.expand_dims(slots, axes)
            walked.transpose(order)[...] = found.reshape(walked.transpose(order).shape)
            return wrap(recorder, slots, values)

        if name in _IDENTITY and array.dtype.kind == "f":
            result = computed(array.recorder, name, [array], compute, record)
        else:
            result = record(compute())
        if is_integer:
            count = max(int(np.prod([array.shape[k] for k in axes], dtype=np.int64)), 1)
            result = _of_integers(name, array, result, count, axes, kept)
            if result is None:
                result = plainly(ufunc.reduce, array, axis=axes, keepdims=kept)
    return getattr(np, name)(initial, result) if is_given(initial) else result


def _initial(array: Any, initial: Any) -> Any:
    """Return ``initial=`` in the type of the array, as NumPy has it."""
    if not is_given(initial) or not are_whole(array):
        return initial
    return traced(initial, array).astype(array.dtype)


def _of_integers(
    name: str, array: Any, result: Any, count: int, axes: tuple[int, ...], kept: bool
) -> Any:
    """Return as integers what a reduction of integers gave as floats; None if it is not exact."""
    low, high = range_of(array)
    if name == "multiply":
        return whole(result + 0.0, -np.inf, np.inf)  # no -0.0
    if name != "add":
        return whole(result, low, high)
    low, high = min(low, 0.0) * count, max(high, 0.0) * count
    size = None
    if max(-low, high) >= EXACT:
        size = reduced("add", np.abs(as_floats(array)), axes, kept)
    return whole(result, low, high, size)


def _as_walked(
    slots: Slots, values: npt.NDArray[Any], axes: tuple[int, ...]
) -> tuple[Slots, tuple[int, ...], tuple[int, ...]]:
    """Return slots in the order in which NumPy walks an array without gaps, neighbours joined.

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
    memory = slots.strides
    order = tuple(sorted(range(slots.ndim), key=lambda axis: -memory[axis]))
    if not values.transpose(order).flags.c_contiguous or values.size == 0:
        return slots, tuple(range(slots.ndim)), axes
    walked = slots.transpose(order)
    shape: list[int] = []
    merged: list[int] = []
    for axis, extent in zip(order, walked.shape, strict=True):
        if axis in axes and merged and merged[-1] == len(shape) - 1:
            shape[-1] *= extent
            continue
        if axis in axes:
            merged.append(len(shape))
        shape.append(extent)
    return walked.reshape(tuple(shape)), order, tuple(merged)


def _reduction(name: str, *functions: str) -> None:
    no_value: Any = np._NoValue

    @implements(*functions, linear="a initial" if name == "add" else "")
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
        array = in_type(traced(a, initial, where), dtype)
        if not isinstance(array, Traced):
            options = {"keepdims": is_kept(keepdims), "initial": initial, "where": plain_key(where)}
            return getattr(np, name).reduce(array, axis, dtype, **_given(options))
        return reduced(name, array, axis, keepdims, initial, where)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not np._NoValue}


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
        array = _truths(traced(a, where))
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


@implements("trace", linear="a")
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    no_options("trace", out=out)
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


# running


def _along(a: Any, axis: int | None) -> tuple[Any, int]:
    """Return an array and the axis to run along; flattened for no axis."""
    array = traced(a)
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), axis or 0
    return array, np.lib.array_utils.normalize_axis_index(axis, array.ndim)


@implements("cumprod")
def _cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    # One product after the other: rounds like NumPy, and is right where factors are 0.
    no_options("cumprod", out=out)
    return accumulate_by(np.multiply, *_along(a, axis), dtype)


@implements("cumsum", linear="a")
def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    no_options("cumsum", out=out)
    return accumulate_by(np.add, *_along(a, axis), dtype)


def _cumulative(name: str, running: Callable[..., Any], start: float) -> None:
    @implements(name, linear="x" if running is _cumsum else "")
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
            result = np.concatenate([np.full(shape, start, result.dtype), result], axis)
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
    """Record ``ufunc.reduce``: one instruction for sums and the like, else one after the other."""
    array = in_type(traced(array, initial, where), dtype)
    if not isinstance(array, Traced):
        options = {"keepdims": keepdims, "initial": initial, "where": plain_key(where)}
        return ufunc.reduce(array, axis, dtype, **_given(options))
    if ufunc in _STRUCTURED:
        return reduced(ufunc.__name__, array, axis, keepdims, initial, where)
    if ufunc in _LOGICAL and not is_given(initial):
        return _LOGICAL[ufunc](array, axis=axis, keepdims=keepdims, where=where)
    no_options(f"{ufunc.__name__}.reduce", where=where)
    axes = axes_of(axis, array.ndim)
    moved = np.moveaxis(array, axes, range(len(axes)))
    rest = moved.shape[len(axes) :]
    rows = list(np.reshape(moved, (-1, *rest)))
    rows = [_initial(array, initial), *rows] if is_given(initial) else rows
    if not rows:
        raise InputError(
            f"{ufunc.__name__}.reduce of no elements: it has no identity. Handle the empty case "
            "before, or give initial="
        )
    result = reduce(ufunc, rows)
    return np.expand_dims(result, axes) if keepdims else result


def accumulate_by(ufunc: Any, array: Any, axis: int = 0, dtype: Any = None) -> Any:
    """Record ``ufunc.accumulate``: one instruction for running sums, else one after the other."""
    array = in_type(traced(array), dtype)
    if not isinstance(array, Traced):
        return ufunc.accumulate(array, axis, dtype)
    if array.dtype == bool and ufunc in (np.add, np.multiply):
        array = as_integers(array)
    if array.size == 0:
        return array
    if ufunc is np.add:
        floats = np.asarray(array.primals, np.float64)

        def record(values: Any) -> Any:
            slots = array.recorder.accumulate("add", read(array.recorder, array)[0], axis)
            return wrap(array.recorder, slots, values)

        if array.dtype.kind == "i":
            result = record(np.cumsum(floats, axis))
            result = _of_integers("add", array, result, array.shape[axis], (axis,), False)
            return plainly(np.cumsum, array, axis=axis) if result is None else result
        return computed(array.recorder, "add", [array], lambda: np.cumsum(floats, axis), record)
    rows = list(np.moveaxis(array, axis, 0))
    for k in range(1, len(rows)):
        rows[k] = ufunc(rows[k - 1], rows[k])
    return np.stack(rows, axis=axis)
