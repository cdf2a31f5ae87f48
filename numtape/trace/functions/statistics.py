"""Means, variances and covariances."""

from typing import Any

import numpy as np

from numtape.errors import InputError
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
from numtape.trace.functions.reductions import masks, reduced
from numtape.trace.traced import as_computed, as_floats, as_traced, innermost
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


def _count(array: Any, axis: Any) -> int:
    """Return how many elements each mean is of."""
    return int(np.prod([array.shape[k] for k in axes_of(axis, array.ndim)], dtype=np.int64))


def _total(array: Any, axis: Any, where: Any) -> Any:
    """Return how many elements each mean is of, an array if `where` tells them."""
    if not masks(where):
        return _count(array, axis)
    chosen = np.broadcast_to(traced_or_array(where), array.shape)
    return np.sum(1.0 * chosen, axis=axis, keepdims=True)


@implements("mean", linear="a")
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
    if masks(where):
        mean = reduced("add", array, axis, True, where=where) / _total(array, axis, where)
        return mean if is_kept(keepdims) else _without_axes(mean, axis)
    return reduced("add", array, axis, keepdims) / _count(array, axis)


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
        mean = reduced("add", array, axis, True, where=where) / total
    deviations = array - mean
    squares = reduced("add", deviations * deviations, axis, keepdims, where=where)
    if masks(where):
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
        return (mean, as_computed(scale)) if returned else mean
    weights = as_floats(traced_or_array(weights))
    axes = () if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, array.ndim)
    if weights.shape != array.shape:
        if axis is None or weights.shape != tuple(array.shape[k] for k in axes):
            raise InputError(
                f"np.average: weights have shape {weights.shape}, which is neither that of the "
                f"array, {array.shape}, nor that of its axis {axis}; give one of these"
            )
        weights = np.transpose(weights, np.argsort(axes))
        shape = [n if k in axes else 1 for k, n in enumerate(array.shape)]
        weights = np.reshape(weights, shape)
    scale = np.sum(np.broadcast_to(weights, array.shape), axis=axis, keepdims=is_kept(keepdims))
    if np.any(scale == 0.0):
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    mean = np.sum(array * weights, axis=axis, keepdims=is_kept(keepdims)) / scale
    if not returned:
        return mean
    return mean, as_computed(np.copy(np.broadcast_to(scale, np.shape(mean))))


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
    for each in (m, y):
        if np.ndim(each) > 2:
            raise InputError(
                f"np.cov of an array of shape {np.shape(each)}: it must have at most 2 axes. "
                "Reshape it"
            )
    rows = [np.atleast_2d(traced_or_array(each)) for each in (m, y) if each is not None]
    rows = [each if rowvar or np.ndim(given) == 1 else each.T for each, given in zip(rows, (m, y))]
    data = np.concatenate(rows) if len(rows) > 1 else rows[0]
    weights = None if fweights is None else traced_or_array(fweights)
    if aweights is not None:
        if np.any(aweights < 0):
            raise InputError(
                f"np.cov(..., aweights={aweights}): weights cannot be negative. Take positive ones"
            )
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
