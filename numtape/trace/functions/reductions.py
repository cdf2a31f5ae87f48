"""Sums, extremes, means and their like, along axes or running."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import (
    axes_of,
    implements,
    is_kept,
    no_dtype,
    no_options,
    traced,
    traced_or_array,
)
from numtape.trace.traced import as_floats, as_integers, as_traced, innermost, wrap
from numtape.trace.ufuncs import apply_row

__all__ = ["accumulate_by", "reduce_by"]

_IDENTITY = {"add": 0.0, "multiply": 1.0}


def _given(option: Any) -> bool:
    """Whether an option was given a value."""
    return option is not None and option is not np._NoValue


def _masks(where: Any) -> bool:
    """Whether `where` leaves anything out."""
    return _given(where) and where is not True


def _reduced(
    name: str, a: Any, axis: Any, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Any:
    """Reduce by the ufunc `name`; values by NumPy's own reduction."""
    array = traced(a)
    if array.dtype == bool and name in ("add", "multiply"):
        array = as_integers(array)
    if _masks(where):
        start = initial if _given(initial) else _IDENTITY.get(name)
        if start is None:
            raise ValueError(
                f"{name} with where= has no identity to put in place of what is left out: give "
                "initial="
            )
        array = np.where(where, array, start)
    axes = axes_of(axis, array.ndim)
    empty = 0 in [array.shape[k] for k in axes]
    if empty and name in ("maximum", "minimum"):
        if not _given(initial):
            raise ValueError(
                f"{name} of no elements (shape {array.shape}, axis {axis}): it has no identity; "
                "handle the empty case before, or give initial="
            )
        shape = [1 if k in axes else n for k, n in enumerate(array.shape) if is_kept(keepdims)]
        shape = shape or [n for k, n in enumerate(array.shape) if k not in axes]
        return np.full_like(array, initial, shape=tuple(shape))
    if array.ndim == 0 or not axes:
        result = +array if array.dtype != bool else array
    else:
        kept = is_kept(keepdims)
        values = getattr(np, name).reduce(np.asarray(array.primals), axis=axes, keepdims=kept)
        slots = array.recorder.reduce(name, array.slots, axes)
        result = wrap(array.recorder, slots.reshape(np.shape(values)), values)
    return getattr(np, name)(initial, result) if _given(initial) else result


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
        return _reduced(name, a, axis, keepdims, initial, where)


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
        return _reduced(name, a, axis, keepdims, initial, where)


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
        initial = neutral if array.size == 0 or _masks(where) else None
        return _reduced(name, array, axis, keepdims, initial, where)


def _truths(array: Any) -> Any:
    return array if array.dtype == bool else array != 0.0


_logical("maximum", "any", False)
_logical("minimum", "all", True)


@implements("count_nonzero")
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(_truths(traced(a)), axis=axis, keepdims=keepdims)


# means


def _count(array: Any, axis: Any) -> int:
    """How many elements each mean is of."""
    return int(np.prod([array.shape[k] for k in axes_of(axis, array.ndim)], dtype=np.int64))


def _total(array: Any, axis: Any, where: Any) -> Any:
    """How many elements each mean is of, an array if `where` tells them."""
    if not _masks(where):
        return _count(array, axis)
    chosen = np.broadcast_to(traced_or_array(where), array.shape)
    return np.sum(1.0 * chosen, axis=axis, keepdims=True)


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
    no_options("mean", out=out)
    no_dtype(dtype)
    array = as_floats(traced(a))
    if _masks(where):
        mean = _reduced("add", array, axis, True, where=where) / _total(array, axis, where)
        return mean if is_kept(keepdims) else _without_axes(mean, axis)
    return _reduced("add", array, axis, keepdims) / _count(array, axis)


def _without_axes(array: Any, axis: Any) -> Any:
    return np.squeeze(array, axes_of(axis, array.ndim))


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
    no_options("var", out=out)
    no_dtype(dtype)
    ddof = ddof if correction is np._NoValue else correction
    array = as_floats(traced(a))
    total = _total(array, axis, where)
    if mean is np._NoValue:
        mean = _reduced("add", array, axis, True, where=where) / total
    deviations = array - mean
    squares = _reduced("add", deviations * deviations, axis, keepdims, where=where)
    if _masks(where):
        total = total if is_kept(keepdims) else _without_axes(total, axis)
        return squares / np.maximum(total - ddof, 0)
    return squares / max(total - ddof, 0)


@implements("std")
def _std(a: Any, *arguments: Any, **options: Any) -> Any:
    # The root of a sum of squares is flat where all deviations are 0.
    return apply_row(ROWS[OPCODE["norm_root"]], (_var(a, *arguments, **options),))


@implements("average")
def _average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = np._NoValue,
) -> Any:
    array = as_floats(as_traced(innermost(a, weights), a))
    if weights is None:
        mean = np.mean(array, axis, keepdims=keepdims)
        scale: Any = np.full_like(mean, _count(array, axis))
        return (mean, scale) if returned else mean
    weights = traced_or_array(weights)
    if weights.shape != array.shape:
        shape = [n if k in axes_of(axis, array.ndim) else 1 for k, n in enumerate(array.shape)]
        if weights.shape != tuple(n for n in shape if n != 1) and weights.ndim != np.size(axis):
            raise ValueError(
                f"np.average: weights have shape {weights.shape}, which is neither that of the "
                f"array, {array.shape}, nor that of its axis {axis}; give one of these"
            )
        if isinstance(axis, tuple):
            weights = np.transpose(weights, np.argsort(axis))
        weights = np.reshape(weights, shape)
    scale = np.sum(np.broadcast_to(weights, array.shape), axis=axis, keepdims=is_kept(keepdims))
    mean = np.sum(array * weights, axis=axis, keepdims=is_kept(keepdims)) / scale
    return (mean, np.broadcast_to(scale, np.shape(mean))) if returned else mean


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


@implements("cov")
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    no_dtype(dtype)
    rows = [np.atleast_2d(traced_or_array(each)) for each in (m, y) if each is not None]
    rows = [each if rowvar or np.ndim(given) == 1 else each.T for each, given in zip(rows, (m, y))]
    data = np.concatenate(rows) if len(rows) > 1 else rows[0]
    weights = None if fweights is None else traced_or_array(fweights)
    if aweights is not None:
        weights = aweights if weights is None else weights * aweights
    ddof = (0 if bias else 1) if ddof is None else ddof
    if weights is None:
        factor: Any = max(data.shape[1] - ddof, 0)
    else:
        total = np.sum(weights)
        spread = total if aweights is None else np.sum(weights * aweights) / total
        factor = total - ddof * (1 if aweights is None else spread)
    deviations = data - np.average(data, axis=1, weights=weights)[:, None]
    weighted = deviations if weights is None else deviations * weights
    return np.squeeze(np.dot(deviations, weighted.T) * np.true_divide(1, factor))


@implements("corrcoef")
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    covariance = np.cov(x, y, rowvar, dtype=dtype)
    if np.ndim(covariance) == 0:
        return covariance / covariance
    deviation = np.sqrt(np.diag(covariance))
    return np.clip(covariance / deviation[:, None] / deviation[None, :], -1, 1)


# what leaves nan out


def _filled(a: Any, value: float) -> tuple[Any, Any]:
    """An array with its nan replaced, and where they were."""
    array = as_floats(traced(a))
    missing = np.isnan(array)
    return np.where(missing, value, array), missing


def _ignoring_nan(name: str, function: Callable[..., Any], value: float) -> None:
    @implements(name)
    def implementation(a: Any, *arguments: Any, **options: Any) -> Any:
        filled, _ = _filled(a, value)
        return function(filled, *arguments, **options)


_ignoring_nan("nansum", np.sum, 0.0)
_ignoring_nan("nanprod", np.prod, 1.0)
_ignoring_nan("nancumsum", np.cumsum, 0.0)
_ignoring_nan("nancumprod", np.cumprod, 1.0)


def _nan_extreme(name: str, function: Callable[..., Any], value: float) -> None:
    @implements(name)
    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = np._NoValue,
        initial: Any = np._NoValue,
        where: Any = np._NoValue,
    ) -> Any:
        no_options(name, out=out)
        filled, missing = _filled(a, value)
        options = {"keepdims": is_kept(keepdims), "initial": initial, "where": where}
        result = function(filled, axis, **options)
        if _given(initial):
            return result
        none = np.all(missing, axis=axis, keepdims=is_kept(keepdims), where=where)
        return np.where(none, np.nan, result)


_nan_extreme("nanmax", np.max, -np.inf)
_nan_extreme("nanmin", np.min, np.inf)


def _valid(missing: Any, where: Any) -> Any:
    """Where elements are that count."""
    valid = np.logical_not(missing)
    return np.logical_and(valid, where) if _masks(where) else valid


@implements("nanmean")
def _nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
) -> Any:
    no_options("nanmean", out=out)
    no_dtype(dtype)
    filled, missing = _filled(a, 0.0)
    options = {"axis": axis, "keepdims": is_kept(keepdims), "where": where}
    return np.sum(filled, **options) / np.sum(1.0 * np.logical_not(missing), **options)


def _nan_spread(name: str, function: Callable[..., Any]) -> None:
    @implements(name)
    def implementation(
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
        no_options(name, out=out)
        filled, missing = _filled(a, 0.0)
        valid = _valid(missing, where)
        options = {"keepdims": keepdims, "where": valid, "mean": mean, "correction": correction}
        return function(filled, axis, dtype, ddof=ddof, **options)


_nan_spread("nanvar", np.var)
_nan_spread("nanstd", np.std)


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
            raise ValueError(
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
        return _reduced(ufunc.__name__, array, axis, keepdims, initial, where)
    if ufunc in _LOGICAL and not _given(initial):
        return _LOGICAL[ufunc](array, axis=axis, keepdims=keepdims, where=where)
    no_options(f"{ufunc.__name__}.reduce", where=where)
    array = traced(array)
    axes = axes_of(axis, array.ndim)
    moved = np.moveaxis(array, axes, range(len(axes)))
    rest = moved.shape[len(axes) :]
    rows = list(np.reshape(moved, (-1, *rest)))
    rows = [initial, *rows] if _given(initial) else rows
    if not rows:
        raise ValueError(f"{ufunc.__name__}.reduce of no elements: give initial=")
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
