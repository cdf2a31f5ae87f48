"""Medians, quantiles and percentiles, with and without nan."""

from typing import Any

import numpy as np

from numtape.errors import BoundsError, InputError, UnsupportedError
from numtape.trace.functions.common import (
    axes_of,
    implements,
    is_kept,
    no_options,
    traced,
    traced_or_array,
)
from numtape.trace.functions.indexing import clipped, take_along
from numtape.trace.functions.order import argsort
from numtape.trace.locations import user_location
from numtape.trace.traced import Traced, as_computed, as_floats, as_traced, has_traced, innermost

__all__: list[str] = []


def _last(a: Any, axis: Any) -> tuple[Any, Any]:
    """Return an array with the given axes last and as one, and these axes."""
    array = as_floats(traced(a))
    axes = axes_of(axis, array.ndim)
    kept = [k for k in range(array.ndim) if k not in axes]
    shape = [array.shape[k] for k in kept]
    length = int(np.prod([array.shape[k] for k in axes], dtype=np.int64))
    return np.reshape(np.transpose(array, (*kept, *axes)), (*shape, length)), axes


def _with_axes(result: Any, axes: tuple[int, ...], keepdims: Any, leading: int = 0) -> Any:
    if not is_kept(keepdims):
        return as_computed(result)
    return np.expand_dims(result, tuple(leading + k for k in axes))


def _picked(array: Any, order: Any, places: Any) -> Any:
    """Return elements along the last axis by their rank; ranks are plain, or traced integers."""
    if isinstance(places, Traced):
        return take_along(array, take_along(order, places, -1, checked=True), -1, checked=True)
    return take_along(array, order[..., places], -1, checked=True)


@implements("median")
def _median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    no_options("median", out=out)
    array, axes = _last(a, axis)
    n = array.shape[-1]
    if n == 0:
        return _with_axes(np.mean(array, axis=-1), axes, keepdims)
    order = argsort(array)
    middle = [n // 2] if n % 2 else [n // 2 - 1, n // 2]
    picked = _picked(array, order, [*middle, n - 1])
    largest = picked[..., -1]
    median = np.mean(picked[..., :-1], axis=-1)
    return _with_axes(np.where(np.isnan(largest), largest, median), axes, keepdims)


@implements("nanmedian")
def _nanmedian(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = np._NoValue,
) -> Any:
    no_options("nanmedian", out=out)
    return _nan_quantile(a, 0.5, axis, keepdims, _mean_of_two)


def _mean_of_two(low: Any, high: Any, weight: Any) -> Any:
    return np.where(weight > 0.0, (low + high) / 2.0, low)


def _between(low: Any, high: Any, weight: Any) -> Any:
    """Interpolate as NumPy does: it rounds alike from both ends."""
    rise = high - low
    return np.where(weight >= 0.5, high - rise * (1.0 - weight), low + rise * weight)


@implements("quantile")
def _quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
    interpolation: Any = None,
) -> Any:
    no_options("quantile", out=out, weights=weights, interpolation=interpolation)
    recorder = innermost(a, q)
    given = as_traced(recorder, a)
    # Of integers, methods that choose elements give integers.
    kind = np.quantile(np.zeros(2, given.dtype), 0.5, method=method).dtype
    array, axes = _last(given, axis)
    n = array.shape[-1]
    if n == 0:
        raise BoundsError(
            "np.quantile of no elements: there must be one at least. Handle the empty case before"
        )
    shape = np.shape(q)
    if has_traced(q):
        low, weight = _rank_of(as_traced(recorder, q), n, method)
    else:
        low, weight = _plain_rank(np.ravel(np.asarray(q, np.float64)), n, method)
    order = argsort(array)
    flat = (1,) * (array.ndim - 1) + (-1,)
    if isinstance(low, Traced):
        above = clipped(low + 1, n)
        low, above = (
            np.broadcast_to(np.reshape(each, flat), (*array.shape[:-1], np.size(each)))
            for each in (low, above)
        )
    else:
        above = np.minimum(low + 1, n - 1)
    largest = _picked(array, order, [n - 1])
    lows, highs = _picked(array, order, low), _picked(array, order, above)
    result = _between(lows, highs, np.reshape(weight, flat))
    result = np.where(np.isnan(largest), largest, result)
    result = np.reshape(np.moveaxis(result, -1, 0), (*shape, *array.shape[:-1]))
    result = result if kind == np.float64 else result.astype(kind)
    return _with_axes(result, axes, keepdims, len(shape))


def _plain_rank(q: Any, n: int, method: str) -> tuple[Any, Any]:
    """Return the rank below each quantile, and how far it is from there to the next."""
    numbers = np.arange(n, dtype=np.float64)
    low = np.floor(np.quantile(numbers, q, method=method)).astype(np.int64)
    low = np.clip(low, 0, n - 1)
    # Of numbers that step from 0 to 1 there, the quantile is that weight, exactly.
    weight = [
        float(np.quantile((numbers > k).astype(np.float64), p, method=method))
        for k, p in zip(low, q, strict=True)
    ]
    return low, np.array(weight)


def _rank_of(q: Any, n: int, method: str) -> tuple[Any, Any]:
    if method != "linear":
        raise UnsupportedError(
            f"np.quantile(x, q, method={method!r}) with a traced q at {user_location()}: numtape "
            "has a rule for traced q with the default method 'linear' alone. Leave method out",
            code="unsupported-option",
        )
    _check_quantiles(q)
    rank = np.ravel(np.atleast_1d((n - 1) * q))
    low = clipped(np.floor(rank).astype(np.int64), n)
    return low, rank - as_floats(low)


def _check_quantiles(q: Any) -> None:
    if not np.all((q >= 0.0) & (q <= 1.0)):
        raise InputError(f"np.quantile(x, q={q!r}): q must be between 0 and 1. Clip it to that")


@implements("percentile")
def _percentile(a: Any, q: Any, *arguments: Any, **options: Any) -> Any:
    q = np.true_divide(q, 100) if not isinstance(q, list | tuple) else np.array(q) / 100
    return _quantile(a, q, *arguments, **options)


def _nan_quantile(a: Any, q: Any, axis: Any, keepdims: Any, between: Any) -> Any:
    array, axes = _last(a, axis)
    n = array.shape[-1]
    shape, q = np.shape(q), np.ravel(traced_or_array(q))
    _check_quantiles(q)
    if array.size == 0:  # as NumPy has it, whatever the shape of q
        return _with_axes(np.mean(array, axis=-1), axes, keepdims)
    valid = np.logical_not(np.isnan(array))
    count = np.sum(1.0 * valid, axis=-1, keepdims=True)
    rank = np.maximum(count - 1.0, 0.0) * q
    low = clipped(np.floor(rank).astype(np.int64), n)
    high = clipped(np.ceil(rank).astype(np.int64), n)
    order = argsort(array)
    lows, highs = _picked(array, order, low), _picked(array, order, high)
    result = between(lows, highs, rank - as_floats(low))
    result = np.reshape(np.moveaxis(result, -1, 0), (*shape, *array.shape[:-1]))
    return _with_axes(result, axes, keepdims, len(shape))


@implements("nanquantile")
def _nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = np._NoValue,
    *,
    weights: Any = None,
    interpolation: Any = None,
) -> Any:
    no_options("nanquantile", out=out, weights=weights, interpolation=interpolation)
    if method != "linear":
        raise UnsupportedError(
            f"np.nanquantile(..., method={method!r}) of a traced value at {user_location()}: how "
            "many elements count depends on the point, and numtape has a rule for the default "
            "method 'linear' alone"
        )
    return _nan_quantile(as_traced(innermost(a, q), a), q, axis, keepdims, _between)


@implements("nanpercentile")
def _nanpercentile(a: Any, q: Any, *arguments: Any, **options: Any) -> Any:
    q = np.true_divide(q, 100) if not isinstance(q, list | tuple) else np.array(q) / 100
    return _nanquantile(a, q, *arguments, **options)
