"""Elements at places that are found during the run: indices that are traced integers.

Such an index is no constant of the recording. That it stays inside the array is
one guard for the whole index; where it does not hold, the function is recorded
afresh, and NumPy's rules apply there.
"""

from typing import Any

import numpy as np

from numtape.errors import BoundsError
from numtape.trace.functions.common import (
    constants_of,
    implements,
    move,
    no_options,
    traced_or_array,
)
from numtape.trace.locations import user_location
from numtape.trace.sharing import Row
from numtape.trace.traced import (
    Traced,
    TracedArray,
    as_floats,
    as_integers,
    as_traced,
    innermost,
    lift,
    plain_key,
    wrap,
)

__all__ = ["add_at", "clipped", "places_of", "rows_at", "take_along"]


def _is_place(key: Any) -> bool:
    return isinstance(key, Traced) and key.dtype.kind == "i"


def _check(places: Any, extent: int, axis: int) -> None:
    """Raise where places are outside, and guard whether they are."""
    if places.recorder.ranges.are_below(places.slots, extent):
        return
    if not np.all((places >= -extent) & (places < extent)):
        values = np.asarray(places.primals)
        raise BoundsError(
            f"an index from {values.min()} to {values.max()} at {user_location()} is out of bounds "
            f"for axis {axis} with {extent} elements. Clip it to that, or make the axis longer"
        )


def rows_at(array: Any, places: Any) -> Any:
    """Return the elements of each row of a matrix at `places`, which are known to be inside."""
    recorder = innermost(array, places)
    (slots, values), (at, numbers) = lift(recorder, array), lift(recorder, places)
    taken = np.take_along_axis(np.asarray(values), np.asarray(numbers).astype(np.int64), 1)
    return wrap(recorder, recorder.take(slots, at), taken)


def take_along(array: Any, places: Any, axis: int, checked: bool = False) -> Any:
    """Take elements as `np.take_along_axis` does, at traced places."""
    array = as_traced(innermost(array, places), array)
    places = as_traced(array.recorder, places)
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    if not checked:
        _check(places, array.shape[axis], axis)
    array, places = np.moveaxis(array, axis, -1), np.moveaxis(places, axis, -1)
    rest = np.broadcast_shapes(array.shape[:-1], places.shape[:-1])
    if 0 in (*rest, places.shape[-1]):
        empty = np.zeros((*rest, places.shape[-1]))
        return np.moveaxis(constants_of(array.recorder, empty), -1, axis)
    rows = [
        np.reshape(np.broadcast_to(each, (*rest, each.shape[-1])), (-1, each.shape[-1]))
        for each in (array, places)
    ]
    taken = np.reshape(rows_at(*rows), (*rest, places.shape[-1]))
    return np.copy(np.moveaxis(taken, -1, axis), order="C")


def add_at(terms: Any, places: Any, size: int) -> Any:
    """Return `size` sums: of a vector's elements at equal places, which are known to be inside."""
    recorder = innermost(terms, places)
    (slots, values), (at, numbers) = lift(recorder, terms), lift(recorder, places)
    sums = np.zeros(size)
    np.add.at(sums, np.asarray(numbers).astype(np.int64), np.asarray(values, np.float64))
    if not slots.size or not size:
        return constants_of(recorder, sums)
    return wrap(recorder, recorder.spread(slots[None], at[None], size)[0], sums)


def places_of(array: TracedArray, key: Any) -> Any:
    """Return, for an index with traced integers, each chosen element's place in the flat array."""
    key = list(key) if isinstance(key, tuple) else [key]
    key = [
        plain_key(part) if isinstance(part, Traced) and not _is_place(part) else part
        for part in key
    ]
    ellipsis = array.ndim - sum(_consumes(part) for part in key)
    axes, axis = [], 0  # the axis that each part of the key stands for
    for part in key:
        axes.append(axis)
        axis += ellipsis if part is Ellipsis else _consumes(part)
    plain = [np.zeros(np.shape(part), np.int64)[()] if _is_place(part) else part for part in key]
    everything = np.arange(array.size).reshape(array.shape)
    flat: Any = everything[tuple(plain)]
    strides = [step // everything.itemsize for step in everything.strides]
    block, start = _block(plain, ellipsis)
    behind = np.ndim(flat) - start - len(block)
    for part, axis in zip(key, axes, strict=True):
        if not _is_place(part):
            continue
        extent = array.shape[axis]
        _check(part, extent, axis)
        if not part.recorder.ranges.are_below(part.slots, extent):
            part = part + extent * as_integers(part < 0)
        step = part if strides[axis] == 1 else part * strides[axis]
        flat = np.reshape(np.broadcast_to(step, block), (*block, *(1,) * behind)) + flat
    return flat


def _consumes(part: Any) -> int:
    """Return how many axes a part of a key stands for."""
    if part is None or part is Ellipsis:
        return 0
    mask = np.asarray(getattr(part, "primals", part)).dtype.kind == "b"
    return int(np.ndim(part)) if mask else 1


def _block(parts: list[Any], ellipsis: int) -> tuple[tuple[int, ...], int]:
    """Return the shape that index arrays broadcast to, and the result's axis where it begins."""
    is_slice = [part is None or part is Ellipsis or isinstance(part, slice) for part in parts]
    chosen = [k for k, each in enumerate(is_slice) if not each]
    arrays = [np.asarray(parts[k]) for k in chosen]
    if all(array.ndim == 0 for array in arrays):
        return (), 0
    shape = np.broadcast_shapes(
        *((np.count_nonzero(array),) if array.dtype == bool else array.shape for array in arrays)
    )
    if chosen[-1] - chosen[0] >= len(chosen):  # with slices between them, they go to the front
        return shape, 0
    return shape, sum(ellipsis if part is Ellipsis else 1 for part in parts[: chosen[0]])


def _get(array: TracedArray, key: Any) -> Any:
    """Return ``array[key]`` for a key with traced integers."""
    result = _taken(array, key)
    if isinstance(result, TracedArray) and _is_basic(key):
        result = result.copy(order="K")
        array.recorder.sharers.append(Row(result, array, key, _taken, _put))
    return result


def _is_basic(key: Any) -> bool:
    """Return whether NumPy gives a view: a key of single integers, slices, None and ellipsis."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None
        or part is Ellipsis
        or isinstance(part, slice)
        or (np.ndim(part) == 0 and np.asarray(getattr(part, "primals", part)).dtype.kind in "iu")
        for part in parts
    )


def _taken(array: TracedArray, key: Any) -> Any:
    if _is_place(key) and not (array.ndim == 1 and np.ndim(key) == 0):
        _check(key, array.shape[0], 0)
        rows = np.reshape(np.moveaxis(array, 0, -1), (-1, array.shape[0]))  # the others, as rows
        places = np.broadcast_to(np.ravel(np.atleast_1d(key)), (len(rows), np.size(key)))
        taken = np.reshape(rows_at(rows, places), (*array.shape[1:], *np.shape(key)))
        return np.moveaxis(taken, range(array.ndim - 1, taken.ndim), range(np.ndim(key)))
    flat = places_of(array, key)
    taken = rows_at(np.ravel(array)[None], np.reshape(flat, (1, -1)))
    return np.reshape(taken, np.shape(flat))[()] if np.shape(flat) else taken[0, 0]


def _set(array: TracedArray, key: Any, value: Any) -> bool:
    """Do ``array[key] = value`` for a key with traced integers; False if a place is met twice."""
    if any(
        isinstance(each, Row) and each.holds(value, array, key) for each in array.recorder.sharers
    ):
        return True
    if _is_basic(key):
        _put(array, key, value)
        return True
    flat = places_of(array, key)
    shape, size = np.shape(flat), array.size
    flat = np.ravel(np.atleast_1d(flat))
    numbers = np.asarray(flat.primals)
    if (np.diff(np.sort(numbers)) == 0).any():
        return False
    recorder = array.recorder
    value = np.ravel(np.broadcast_to(as_floats(as_traced(recorder, value)), shape or (1,)))
    hits = add_at(np.ones(numbers.size), flat, size)
    if numbers.size > 1:
        recorder.guard(np.all(hits <= 1.0).slot, 1.0)
        which = add_at(np.arange(float(numbers.size)), flat, size)
        value = rows_at(value[None], which[None])[0]  # taken, because a sum has no -0.0
    new = np.where(hits > 0.0, value, np.ravel(array))
    array[...] = np.reshape(new, array.shape)
    return True


def _put(array: TracedArray, key: Any, value: Any) -> None:
    """Do the same where the key chooses one place along each of some axes.

    They are chosen among all elements that the rest of the key chooses, by comparing places.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    ellipsis = array.ndim - sum(_consumes(part) for part in parts)
    chosen: Any = True
    axes, axis, own = [], 0, 0  # an axis of what the rest chooses, and one of the array's
    for number, part in enumerate(parts):
        if _is_place(part):
            _check(part, array.shape[own], own)
            axes.append((axis, own, part))
            parts[number] = slice(None)
        is_axis = _is_place(part) or part is None or isinstance(part, slice)
        axis += ellipsis if part is Ellipsis else int(is_axis)
        own += ellipsis if part is Ellipsis else _consumes(part)
    region = array[tuple(parts)]
    for axis, own, place in axes:
        if not place.recorder.ranges.are_below(place.slots, array.shape[own]):
            place = place + array.shape[own] * as_integers(place < 0)
        behind = (1,) * (region.ndim - axis - 1)
        chosen = chosen & (np.reshape(np.arange(array.shape[own]), (-1, *behind)) == place)
    within = tuple(each for each, _, _ in axes)
    shape = tuple(n for k, n in enumerate(region.shape) if k not in within)
    value = np.broadcast_to(as_traced(array.recorder, value), shape)
    array[tuple(parts)] = np.where(chosen, np.expand_dims(value, within), region)


Traced._get_at = staticmethod(_get)
Traced._set_at = staticmethod(_set)


@implements("take", linear="a")
def _take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    no_options("take", out=out)
    if isinstance(indices, Traced) and not _is_place(indices):
        indices = plain_key(indices)
    if not _is_place(indices):
        return move(lambda elements: np.take(elements, indices, axis, mode=mode), a)
    array = as_traced(innermost(a, indices), a)
    if axis is None:
        array, axis = np.ravel(array), 0
    extent = array.shape[axis]
    if mode != "raise":
        indices = indices % extent if mode == "wrap" else clipped(indices, extent)
    taken = np.moveaxis(array, axis, 0)[indices]
    rank = np.ndim(indices)
    return np.moveaxis(taken, range(rank), range(axis, axis + rank)) if rank else taken


def clipped(places: Any, extent: int) -> Any:
    """Return places with those outside moved to the first or the last."""
    return as_integers(np.maximum(np.minimum(places, extent - 1), 0))


@implements("take_along_axis", linear="arr")
def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        arr, indices, axis = np.ravel(traced_or_array(arr)), np.ravel(indices), 0
    if not _is_place(indices):
        return move(lambda elements: np.take_along_axis(elements, indices, axis), arr)
    return take_along(arr, indices, axis)
