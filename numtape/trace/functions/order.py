"""Order statistics: sorting, medians, quantiles, positions of extremes, searching.

The order is found during the run, by instructions that give places as whole
numbers, and the elements there are taken; so no ordering makes a recording of
its own. Equal elements keep the order that NumPy gives them, and nan come last.
"""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.functions.common import (
    axes_of,
    implements,
    integers_of,
    is_kept,
    no_options,
    traced,
    traced_or_array,
)
from numtape.trace.functions.indexing import add_at, clipped, take_along
from numtape.trace.recorder import user_location
from numtape.trace.traced import Traced, as_floats, as_traced, guarded, has_traced, innermost, wrap

__all__: list[str] = []


def _last(a: Any, axis: Any) -> tuple[Any, Any]:
    """An array with the given axes last and as one, and these axes."""
    array = as_floats(traced(a))
    axes = axes_of(axis, array.ndim)
    kept = [k for k in range(array.ndim) if k not in axes]
    shape = [array.shape[k] for k in kept]
    length = int(np.prod([array.shape[k] for k in axes], dtype=np.int64))
    return np.reshape(np.transpose(array, (*kept, *axes)), (*shape, length)), axes


# sorting


@implements("argsort")
def _argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    array = as_floats(traced(a))
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), 0
    is_stable = stable or kind in ("stable", "mergesort")
    kind = "stable" if is_stable else "quicksort"
    if array.size == 0:
        return integers_of(array.recorder, np.argsort(array.primals, axis))
    moved = np.moveaxis(array, axis, -1)
    rows = np.reshape(moved, (-1, moved.shape[-1]))
    slots = rows.recorder.order(rows.slots, kind).reshape(moved.shape)
    # Row by row and contiguous, as the kernel sorts: ties may come out otherwise in place.
    places = np.argsort(np.ascontiguousarray(moved.primals), axis=-1, kind=kind)
    return np.moveaxis(wrap(array.recorder, slots, places), -1, axis)


@implements("sort")
def _sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    array = traced(a)
    if axis is None:
        array, axis = np.ravel(array), 0
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    if array.size == 0:
        return array
    return take_along(array, _argsort(array, axis, kind, stable=stable), axis, checked=True)


@implements("partition")
def _partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return _sort(a, axis)  # one of the arrays that NumPy could give


@implements("argpartition")
def _argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return _argsort(a, axis)


@implements("lexsort")
def _lexsort(keys: Any, axis: int = -1) -> Any:
    keys = list(keys)
    recorder = innermost(*keys)
    places: Any = None
    for key in keys:  # the last one decides first
        key = as_traced(recorder, key)
        if places is None:
            places = _argsort(key, axis, "stable")
        else:
            within = _argsort(take_along(key, places, axis, checked=True), axis, "stable")
            places = take_along(places, within, axis, checked=True)
    return places


@implements("sort_complex")
def _sort_complex(a: Any) -> Any:
    raise UnsupportedError(
        f"np.sort_complex of a traced value at {user_location()}: its result is complex, and "
        "numtape differentiates real float64 code. Write np.sort(x)"
    )


# positions of extremes


def _position(name: str, extreme: Any, ignores_nan: bool) -> None:
    @implements(name)
    def implementation(
        a: Any, axis: int | None = None, out: Any = None, *, keepdims: Any = np._NoValue
    ) -> Any:
        no_options(name, out=out)
        array = as_floats(traced(a))
        kept, shape = is_kept(keepdims), None
        if axis is None or array.ndim == 0:
            shape = (1,) * array.ndim if kept else ()
            array, axis, kept = np.ravel(array), axis or 0, False
        axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
        if array.shape[axis] == 0:
            raise ValueError(f"{name} of no elements (shape {array.shape}): it has no position")
        if ignores_nan:
            worst = -np.inf if extreme is np.max else np.inf
            if np.any(np.all(np.isnan(array), axis=axis)):
                raise ValueError(f"{name}: some row has no element that is not nan")
            array = np.where(np.isnan(array), worst, array)
        best = array == extreme(array, axis=axis, keepdims=True)
        # nan is the extreme of what holds one, and equals nothing.
        best = best | np.isnan(array)
        count = array.shape[axis]
        numbers = np.arange(count, dtype=np.float64).reshape(
            [-1 if k == axis else 1 for k in range(array.ndim)]
        )
        first = np.min(np.where(best, numbers, float(count - 1)), axis=axis, keepdims=kept)
        places = wrap(first.recorder, first.slots, np.asarray(first.primals).astype(np.int64))
        for slot in np.ravel(places.slots):
            places.recorder.note_bound(np.array([slot]), count)
        return np.reshape(places, shape) if shape else places


_position("argmax", np.max, False)
_position("argmin", np.min, False)
_position("nanargmax", np.max, True)
_position("nanargmin", np.min, True)


# medians and quantiles


def _with_axes(result: Any, axes: tuple[int, ...], keepdims: Any, leading: int = 0) -> Any:
    if not is_kept(keepdims):
        return result
    return np.expand_dims(result, tuple(leading + k for k in axes))


def _picked(array: Any, order: Any, places: Any) -> Any:
    """Elements along the last axis by their rank; ranks are plain, or traced integers."""
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
    order = _argsort(array)
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
    """NumPy's interpolation, which rounds alike from both ends."""
    rise = high - low
    if isinstance(weight, Traced):
        return np.where(weight >= 0.5, high - rise * (1.0 - weight), low + rise * weight)
    return np.where(weight >= 0.5, high - rise * (1.0 - weight), low + rise * weight)


_METHODS = "linear"


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
    array, axes = _last(as_traced(recorder, a), axis)
    n = array.shape[-1]
    if n == 0:
        raise IndexError("np.quantile of no elements: give an array with elements")
    shape = np.shape(q)
    if has_traced(q):
        low, weight = _rank_of(as_traced(recorder, q), n, method)
    else:
        low, weight = _plain_rank(np.ravel(np.asarray(q, np.float64)), n, method)
    order = _argsort(array)
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
    return _with_axes(result, axes, keepdims, len(shape))


def _plain_rank(q: Any, n: int, method: str) -> tuple[Any, Any]:
    """The rank below each quantile, and how far it is from there to the next."""
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
            "has a rule for traced q with the default method 'linear' alone"
        )
    if not np.all((q >= 0.0) & (q <= 1.0)):
        raise ValueError("np.quantile: q must be between 0 and 1")
    rank = np.ravel(np.atleast_1d((n - 1) * q))
    low = clipped(np.floor(rank).astype(np.int64), n)
    return low, rank - as_floats(low)


@implements("percentile")
def _percentile(a: Any, q: Any, *arguments: Any, **options: Any) -> Any:
    q = np.true_divide(q, 100) if not isinstance(q, list | tuple) else np.array(q) / 100
    return _quantile(a, q, *arguments, **options)


def _nan_quantile(a: Any, q: Any, axis: Any, keepdims: Any, between: Any) -> Any:
    array, axes = _last(a, axis)
    n = array.shape[-1]
    shape, q = np.shape(q), np.ravel(traced_or_array(q))
    if array.size == 0:  # as NumPy has it, whatever the shape of q
        return _with_axes(np.mean(array, axis=-1), axes, keepdims)
    valid = np.logical_not(np.isnan(array))
    count = np.sum(1.0 * valid, axis=-1, keepdims=True)
    rank = np.maximum(count - 1.0, 0.0) * q
    low = clipped(np.floor(rank).astype(np.int64), n)
    high = clipped(np.ceil(rank).astype(np.int64), n)
    order = _argsort(array)
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


# searching


@implements("searchsorted")
def _searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    recorder = innermost(a, v, sorter)
    numbers, points = as_floats(as_traced(recorder, a)), as_floats(as_traced(recorder, v))
    if side not in ("left", "right"):
        raise ValueError(f"np.searchsorted(..., side={side!r}): it must be 'left' or 'right'")
    if sorter is not None:
        numbers = numbers[sorter]
    flat = np.ravel(np.atleast_1d(points))
    values = np.searchsorted(numbers.primals, points.primals, side)
    if not numbers.size or not flat.size:
        return integers_of(recorder, values)
    slots = recorder.search(numbers.slots, flat.slots, side == "right")
    return wrap(recorder, slots.reshape(points.shape), values)


@implements("digitize")
def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    bins = traced_or_array(bins)
    if bins[0] <= bins[-1]:
        return np.searchsorted(bins, x, side="left" if right else "right")
    return len(bins) - np.searchsorted(bins[::-1], x, side="right" if right else "left")


@implements("interp")
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    recorder = innermost(x, xp, fp, left, right, period)
    x, xp, fp = (as_floats(as_traced(recorder, each)) for each in (x, xp, fp))
    n = len(xp)
    if n != len(fp) or n == 0:
        raise ValueError(
            f"np.interp: xp has {n} elements and fp {len(fp)}; give as many of both, at least one"
        )
    if period is not None:
        x, xp = x % period, xp % period
        order = _argsort(xp)
        xp, fp = (take_along(each, order, 0, checked=True) for each in (xp, fp))
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
        left = right = None
        n += 2
    points = np.ravel(np.atleast_1d(x))
    # The knot at or before each point; the slope of the last interval serves the last knot too.
    found = np.searchsorted(xp, points, side="right")
    knot = clipped(found - 1, n)
    left, right = (
        end if given is None else given for given, end in ((left, fp[0]), (right, fp[-1]))
    )
    result = take_along(fp, knot, 0, checked=True)
    if n > 1:
        slopes = (fp[1:] - fp[:-1]) / (xp[1:] - xp[:-1])
        slope = take_along(slopes, clipped(knot, n - 1), 0, checked=True)
        rise = slope * (points - take_along(xp, knot, 0, checked=True))
        result = np.where(np.isnan(rise) & (points == xp[-1]), result, rise + result)
    result = np.where(points < xp[0], left, result)
    result = np.where(points > xp[-1], right, result)
    return np.reshape(result, x.shape) if np.ndim(x) else result[0]


@implements("bincount")
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    recorder = innermost(x, weights)
    places = as_traced(recorder, x) if has_traced(x) else np.asarray(x)
    numbers = np.asarray(getattr(places, "primals", places))
    size = max(int(minlength), int(numbers.max()) + 1 if numbers.size else 0)
    if isinstance(places, Traced):
        # How long the result is, is fixed by the recording.
        largest = np.max(places)
        fits = largest < size if size == minlength else largest == size - 1
        recorder.guard(fits.slot, 1.0)
        recorder.guard(np.all(places >= 0).slot, 1.0)
    terms = np.ones(numbers.size) if weights is None else as_traced(recorder, weights)
    sums = add_at(terms, as_traced(recorder, places), size)
    return _counts(sums) if weights is None else sums


def _counts(sums: Any) -> Any:
    return wrap(sums.recorder, sums.slots, np.asarray(sums.primals).astype(np.int64))


@implements("histogram")
def _histogram(
    a: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002 (NumPy's name)
    density: Any = None,
    weights: Any = None,
) -> Any:
    points = np.ravel(as_traced(innermost(a, bins, range, weights), a))
    if isinstance(bins, str):
        raise UnsupportedError(
            f"np.histogram(..., bins={bins!r}) of a traced value at {user_location()}: how many "
            "bins there are would depend on the point. Give their number or their edges"
        )
    if np.ndim(bins) == 0:
        low, high = (np.min(points), np.max(points)) if range is None else range
        if not has_traced(low) and not has_traced(high) and low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, int(bins) + 1)
    else:
        edges = traced_or_array(bins)
    count = len(edges) - 1
    recorder = points.recorder
    inside = (points >= edges[0]) & (points <= edges[-1])
    found = np.searchsorted(edges, points, side="right") - 1
    places = clipped(found, count)
    terms = np.ones(points.size) if weights is None else np.ravel(traced_or_array(weights))
    sums = add_at(np.where(inside, terms, 0.0), places, count)
    sums = as_traced(recorder, sums)
    if density:
        return sums / np.diff(edges) / np.sum(sums), edges
    return (_counts(sums) if weights is None else sums), edges


# sets of numbers; how many differ is guarded


@implements("unique")
def _unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,  # noqa: A002 (NumPy's name)
) -> Any:
    array = traced(ar)
    if axis is not None and array.ndim > 1:
        raise UnsupportedError(
            f"np.unique(..., axis={axis}) of a traced value at {user_location()}: numtape has a "
            "rule for single elements alone. Leave axis out"
        )
    flat = np.ravel(array)
    if flat.size == 0:
        return np.unique(flat.primals, return_index, return_inverse, return_counts)
    order = _argsort(flat, 0, "stable" if return_index else None)
    ascending = take_along(flat, order, 0, checked=True)
    differs = ascending[1:] != ascending[:-1]
    if equal_nan:
        differs = differs & np.logical_not(np.isnan(ascending[:-1]))
    is_first = np.concatenate([[True], guarded(differs)]) if flat.size > 1 else np.array([True])
    results = [ascending[is_first]]
    if return_index:
        results.append(order[is_first])
    if return_inverse:
        numbers = np.cumsum(is_first) - 1.0
        results.append(np.reshape(_counts(add_at(numbers, order, flat.size)), array.shape))
    if return_counts:
        results.append(np.diff(np.append(np.flatnonzero(is_first), flat.size)))
    return results[0] if len(results) == 1 else tuple(results)


@implements("unique_values")
def _unique_values(x: Any, /) -> Any:
    return _unique(x, equal_nan=False)


@implements("unique_counts")
def _unique_counts(x: Any, /) -> Any:
    return _unique(x, return_counts=True, equal_nan=False)


@implements("unique_inverse")
def _unique_inverse(x: Any, /) -> Any:
    return _unique(x, return_inverse=True, equal_nan=False)


@implements("unique_all")
def _unique_all(x: Any, /) -> Any:
    return _unique(x, True, True, True, equal_nan=False)


@implements("union1d")
def _union1d(ar1: Any, ar2: Any) -> Any:
    return _unique(np.concatenate([np.ravel(traced_or_array(each)) for each in (ar1, ar2)]))


def _members(name: str, invert: bool) -> None:
    @implements(name)
    def implementation(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
        ar1 = np.ravel(traced_or_array(ar1))
        if not assume_unique or name == "intersect1d":
            ar1 = np.unique(ar1)
        return ar1[np.isin(ar1, ar2, invert=invert)]


_members("intersect1d", False)
_members("setdiff1d", True)


@implements("setxor1d")
def _setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    return _unique(np.concatenate([np.setdiff1d(ar1, ar2), np.setdiff1d(ar2, ar1)]))
