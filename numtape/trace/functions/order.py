"""Sorting and the positions of extremes.

The order is found during the run, by an instruction that gives places as whole
numbers, and the elements there are taken; so no ordering makes a recording of
its own. Equal elements keep the order that NumPy gives them, and nan come last.
"""

from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import implements, integers_of, is_kept, no_options, traced
from numtape.trace.functions.indexing import take_along
from numtape.trace.locations import user_location
from numtape.trace.traced import as_floats, as_traced, innermost, wrap

__all__ = ["argsort"]


@implements("argsort")
def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Sort indices as `numpy.argsort` does."""
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
    result = array.copy("K")  # laid out as NumPy does
    result[...] = take_along(array, argsort(array, axis, kind, stable=stable), axis, checked=True)
    return result


@implements("partition")
def _partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return _sort(a, axis)  # one of the arrays that NumPy could give


@implements("argpartition")
def _argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return argsort(a, axis)


@implements("lexsort")
def _lexsort(keys: Any, axis: int = -1) -> Any:
    keys = list(keys)
    recorder = innermost(*keys)
    places: Any = None
    for key in keys:  # the last one decides first
        key = as_traced(recorder, key)
        if places is None:
            places = argsort(key, axis, "stable")
        else:
            within = argsort(take_along(key, places, axis, checked=True), axis, "stable")
            places = take_along(places, within, axis, checked=True)
    return places


@implements("sort_complex")
def _sort_complex(a: Any) -> Any:
    raise UnsupportedError(
        f"np.sort_complex of a traced value at {user_location()}: its result is complex, and "
        "numtape differentiates real float64 code. Write np.sort(x)",
        code="complex-value",
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
            raise InputError(
                f"{name} of no elements (shape {array.shape}): it has no position. Handle the "
                "empty case before"
            )
        if ignores_nan:
            worst = -np.inf if extreme is np.max else np.inf
            if np.any(np.all(np.isnan(array), axis=axis)):
                raise InputError(
                    f"{name}: some row has no element that is not nan, so none has a position. "
                    "Replace the nan before, with np.where"
                )
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
        places.recorder.ranges.note(places.slots, 0.0, count - 1.0)
        return np.reshape(places, shape) if shape else places


_position("argmax", np.max, False)
_position("argmin", np.min, False)
_position("nanargmax", np.max, True)
_position("nanargmin", np.min, True)
