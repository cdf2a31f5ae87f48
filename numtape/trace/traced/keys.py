"""Indices of traced arrays: which are plain, which are found during the run, which are guarded."""

import operator
from typing import Any

import numpy as np

from numtape.trace.traced.base import FOR_LABELS, Traced, TracedPair
from numtape.trace.traced.operands import guarded
from numtape.trace.traced.scalars import TracedScalar, check_whole

__all__ = [
    "has_places",
    "is_basic",
    "is_mask_of",
    "no_label",
    "plain_key",
]


def is_basic(key: Any) -> bool:
    """Return whether an index is of plain integers, slices and the like."""
    if type(key) is not tuple:
        return type(key) is int
    return _BASIC.issuperset(map(type, key))


_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})


def _is_array(key: Any) -> bool:
    return isinstance(key, Traced) and not isinstance(key, (TracedScalar, TracedPair))


def is_mask_of(key: Any, array: Any) -> bool:
    """Return whether an index is a traced mask of an array, or of its leading axes."""
    is_mask = _is_array(key) and key.dtype == bool
    return is_mask and key.shape == array.shape[: key.ndim]


def has_places(key: Any) -> bool:
    """Return whether an index has traced integers in it: places that are found during the run."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, Traced) and part.dtype.kind == "i" for part in parts)


def plain_key(key: Any) -> Any:
    """Return an index without traced values: those are guarded."""
    if isinstance(key, tuple):
        return tuple(plain_key(part) for part in key)
    if _is_array(key):
        values = guarded(key)
        check_whole(values)
        return values.astype(np.int64) if values.dtype.kind == "f" else values
    if isinstance(key, TracedScalar):
        return bool(key) if isinstance(key.primal, bool) else operator.index(key)
    if isinstance(key, list):
        return [plain_key(part) for part in key]
    return key


def no_label(key: str) -> IndexError:
    """Return the error of a text as an index."""
    return IndexError(
        f"a traced array has no label {key!r}: only integers, slices, '...', None and arrays "
        f"of integers or bools are its indices. {FOR_LABELS}"
    )
