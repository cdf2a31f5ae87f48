"""Methods of ufuncs: `reduce`, `accumulate`, `reduceat`, `outer` and `at`.

They are registered under their names, and get the ufunc as their first argument.
"""

from typing import Any

import numpy as np

from numtape.errors import TraceError
from numtape.trace.functions.common import no_dtype, traced, traced_or_array
from numtape.trace.functions.indexing import add_at, places_of
from numtape.trace.functions.reductions import accumulate_by, reduce_by
from numtape.trace.locations import user_location
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    TracedArray,
    as_traced,
    has_places,
    is_object_array,
    plain_key,
    wrap,
    writable,
)

__all__: list[str] = []


def _reduce(ufunc: Any, array: Any, axis: Any = 0, *arguments: Any, **options: Any) -> Any:
    return reduce_by(ufunc, array, axis, *arguments, **options)


def _accumulate(ufunc: Any, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    return accumulate_by(ufunc, array, axis, dtype)


def _reduceat(
    ufunc: Any, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
) -> Any:
    no_dtype(dtype)
    rows = np.moveaxis(traced(array), axis, 0)
    starts = [int(start) for start in np.asarray(indices)]
    stops = [*starts[1:], len(rows)]
    parts = [
        ufunc.reduce(rows[start:stop], axis=0) if start < stop else rows[start]
        for start, stop in zip(starts, stops, strict=True)
    ]
    return np.stack(parts, axis=axis)


def _outer(ufunc: Any, a: Any, b: Any, **options: Any) -> Any:
    a, b = traced_or_array(a), traced_or_array(b)
    return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b, **options)


def _at(ufunc: Any, a: Any, indices: Any, *operands: Any) -> None:
    """Apply to chosen elements in place; to one that is chosen twice, twice."""
    if is_object_array(a):
        ufunc.at(a, plain_key(indices), *(np.asarray(each, object) for each in operands))
        return
    a = writable(a, indices, *operands)
    if not isinstance(a, TracedArray):
        raise TraceError(
            f"{ufunc.__name__}.at(y, ...) at {user_location()}: y is a plain array, which cannot "
            "hold traced values. Make it with np.zeros_like(x), or with like=x: "
            "np.array(y, like=x)",
            code="plain-array",
        )
    is_sum = ufunc in (np.add, np.subtract) and a.dtype == np.float64
    if has_places(indices) and is_sum:
        flat = places_of(a, indices)
        (terms,) = operands
        terms = np.ravel(np.broadcast_to(as_traced(a.recorder, terms), np.shape(flat)))
        sums = add_at(terms, np.ravel(np.atleast_1d(flat)), a.size)
        a[...] = ufunc(a, np.reshape(sums, a.shape))
        return
    indices = plain_key(indices)
    places = np.arange(a.size).reshape(a.shape)[indices]
    flat = a.flat
    operands = tuple(np.broadcast_to(traced_or_array(each), places.shape) for each in operands)
    places = np.ravel(places)
    operands = tuple(np.ravel(each) for each in operands)
    if is_sum and places.size:
        (terms,) = operands
        recorder = a.recorder
        chosen, targets = np.unique(places, return_inverse=True)
        terms = as_traced(recorder, terms if ufunc is np.add else -terms)
        # What is there comes first, as NumPy adds the terms up.
        terms = np.concatenate([flat[chosen], terms])
        targets = np.concatenate([np.arange(chosen.size), targets])
        values = np.zeros(chosen.size)
        np.add.at(values, targets, terms.primals)
        flat[chosen] = wrap(recorder, recorder.scatter(terms.slots, targets, chosen.size), values)
        return
    while places.size:
        _, first = np.unique(places, return_index=True)
        flat[places[first]] = ufunc(flat[places[first]], *(each[first] for each in operands))
        later = np.ones(places.size, bool)
        later[first] = False
        places, operands = places[later], tuple(each[later] for each in operands)


NUMPY_FUNCTIONS |= {
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
    "outer": _outer,
    "at": _at,
}
