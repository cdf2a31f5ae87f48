"""Series, frames and labelled arrays: their values, and others under the same labels.

They are known by what they have, so no library is imported: series and frames of pandas
have an `index` and `iloc`, arrays of xarray `coords`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "have_same_labels",
    "is_labelled",
    "labelled_values",
    "labels_of",
    "plain_values",
    "told",
    "with_values",
]

_NUMBERS = frozenset("efdbhilqBHILQ")  # what fits a float64, or is an integer


def is_labelled(leaf: Any) -> bool:
    """Return whether a leaf is a series, a frame or an array of real numbers with labels."""
    return labelled_values(leaf) is not None


def labelled_values(leaf: Any) -> npt.NDArray[Any] | None:
    """Return the values of a labelled leaf, in the order they lie in; None of others."""
    kind = type(leaf)
    if not (hasattr(kind, "to_numpy") and hasattr(kind, "__array__") and hasattr(kind, "shape")):
        return None
    if not (hasattr(leaf, "coords") or (hasattr(leaf, "index") and hasattr(kind, "iloc"))):
        return None
    values = np.asarray(leaf.to_numpy())
    return values if values.dtype.char in _NUMBERS else None


def plain_values(leaf: Any) -> Any:
    """Return the values of a labelled leaf; others as they are."""
    values = labelled_values(leaf)
    return leaf if values is None else values


def told(leaf: Any) -> str:
    """Tell how to write the plain values of an array of another library."""
    if hasattr(leaf, "columns"):
        return "x.to_numpy(), or its columns: {name: x[name].to_numpy() for name in x.columns}"
    if hasattr(leaf, "iloc"):
        return "x.to_numpy(), or x.to_dict() to keep its labels"
    return "x.to_numpy()" if hasattr(leaf, "to_numpy") else "np.asarray(x)"


def with_values(leaf: Any, values: Any) -> Any:
    """Return something like `leaf`, of its labels, with other values."""
    values = np.asarray(values)
    if hasattr(leaf, "coords"):
        return leaf.copy(data=values)
    if hasattr(leaf, "columns"):
        return type(leaf)(values, index=leaf.index, columns=leaf.columns)
    return type(leaf)(values, index=leaf.index, name=leaf.name)


def labels_of(leaves: Mapping[int, Any]) -> list[Any]:
    """Return what decides how labelled leaves meet, besides their values: types and labels."""
    found: list[Any] = []
    for place, leaf in leaves.items():
        found += [place, type(leaf)]
        if hasattr(leaf, "coords"):
            found += [leaf.dims, *(part for pair in leaf.indexes.items() for part in pair)]
        else:
            found += [leaf.index, getattr(leaf, "columns", None)]
    return found


def have_same_labels(some: list[Any], others: list[Any]) -> bool:
    """Return whether two of `labels_of` are equal."""
    return len(some) == len(others) and all(map(_are_equal, some, others))


def _are_equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return bool(one.equals(other) if hasattr(one, "equals") else np.array_equal(one, other))
