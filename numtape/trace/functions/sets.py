"""Arrays as sets of numbers. How many differ is guarded."""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.functions.common import implements, traced, traced_or_array
from numtape.trace.functions.indexing import add_at, take_along
from numtape.trace.functions.order import argsort
from numtape.trace.locations import user_location
from numtape.trace.traced import as_integers, guarded

__all__: list[str] = []


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
            "rule for single elements alone. Leave axis out",
            code="unsupported-option",
        )
    flat = np.ravel(array)
    if flat.size == 0:
        return np.unique(flat.primals, return_index, return_inverse, return_counts)
    order = argsort(flat, 0, "stable" if return_index else None)
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
        results.append(np.reshape(as_integers(add_at(numbers, order, flat.size)), array.shape))
    if return_counts:
        results.append(np.diff(np.append(np.flatnonzero(is_first), flat.size)))
    return results[0] if len(results) == 1 else tuple(results)


@implements("unique_values")
def _unique_values(x: Any, /) -> Any:
    return _unique(x, equal_nan=False)


@implements("unique_counts")
def _uniqueas_integers(x: Any, /) -> Any:
    return _unique(x, return_counts=True, equal_nan=False)


@implements("unique_inverse")
def _unique_inverse(x: Any, /) -> Any:
    return _unique(x, return_inverse=True, equal_nan=False)


@implements("unique_all")
def _unique_all(x: Any, /) -> Any:
    return _unique(x, True, True, True, equal_nan=False)


@implements("union1d")
def _union1d(ar1: Any, ar2: Any) -> Any:
    return np.unique(np.concatenate([np.ravel(traced_or_array(each)) for each in (ar1, ar2)]))


def _members(name: str, invert: bool) -> None:
    @implements(name)
    def implementation(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
        ar1 = np.ravel(traced_or_array(ar1))
        if not assume_unique or name == "intersect1d":
            ar1 = np.unique(ar1)
        if name == "intersect1d":  # of the type that both have in common
            ar1 = np.concatenate([ar1, np.ravel(traced_or_array(ar2))])[: len(ar1)]
        return ar1[np.isin(ar1, ar2, invert=invert)]


_members("intersect1d", False)
_members("setdiff1d", True)


@implements("setxor1d")
def _setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    return np.unique(np.concatenate([np.setdiff1d(ar1, ar2), np.setdiff1d(ar2, ar1)]))
