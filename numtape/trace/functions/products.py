"""Products of vectors and matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.table import ROWS, load_ufunc
from numtape.trace.functions.common import implements, no_options, traced_or_array
from numtape.trace.traced import NUMPY_FUNCTIONS, Traced, innermost, lift, wrap

__all__: list[str] = []


def _product(left: Any, right: Any, values: Any) -> Any:
    """Record a matrix product as `np.matmul` defines it, with the values it gave."""
    recorder = innermost(left, right)
    (a, _), (b, _) = lift(recorder, left), lift(recorder, right)
    a, b = np.asarray(a), np.asarray(b)
    slots = recorder.product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
    return wrap(recorder, slots.reshape(np.shape(values)), values)


def _values(operand: Any) -> npt.NDArray[Any]:
    """The values of an operand as floats; lists may hold traced scalars."""
    if isinstance(operand, Traced):
        return np.asarray(operand.primals, np.float64)
    try:
        return np.asarray(lift(innermost(operand), operand)[1], np.float64)
    except LookupError:
        return np.asarray(operand)


@implements("matmul")
def _matmul(left: Any, right: Any) -> Any:
    return _product(left, right, np.matmul(_values(left), _values(right)))


@implements("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    no_options("dot", out=out)
    left, right = _values(a), _values(b)
    if left.ndim == 0 or right.ndim == 0:
        return np.multiply(a, b)
    if right.ndim <= 2 and left.ndim <= 2:
        return _product(a, b, np.dot(left, right))
    # NumPy takes a dot product for each element of the result; so a batch of them is recorded.
    rows, columns = traced_or_array(a), traced_or_array(b)
    if right.ndim > 1:
        columns = np.moveaxis(columns, -2, -1)
    rows = np.reshape(rows, left.shape[:-1] + (1,) * (columns.ndim - 1) + (1, left.shape[-1]))
    return np.matmul(rows, columns[..., None])[..., 0, 0]


@implements("inner")
def _inner(a: Any, b: Any) -> Any:
    if np.ndim(_values(b)) > 1:
        axes = (*range(np.ndim(_values(b)) - 2), -1, -2)
        b = np.transpose(traced_or_array(b), axes)
    return np.dot(a, b)


@implements("vdot")
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.ravel(traced_or_array(a)), np.ravel(traced_or_array(b)))


@implements("outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    no_options("outer", out=out)
    return np.ravel(traced_or_array(a))[:, None] * np.ravel(traced_or_array(b))[None, :]


def _ufunc_outer(ufunc: Any) -> Callable[[Any, Any], Any]:
    def implementation(a: Any, b: Any) -> Any:
        a, b = traced_or_array(a), traced_or_array(b)
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)

    return implementation


for _row in ROWS:
    if _row.arity == 2 and _row.ufunc is not None and _row.ufunc.startswith("numpy."):
        _ufunc = load_ufunc(_row.ufunc)
        NUMPY_FUNCTIONS[(_ufunc, "outer")] = _ufunc_outer(_ufunc)
