"""Differences, gradients and integrals of sampled functions."""

from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.trace.functions.common import axes_of, implements, traced, traced_or_array
from numtape.trace.integers import are_whole, plainly
from numtape.trace.traced import as_integers, as_traced, has_traced, innermost

__all__: list[str] = []


def _steps(array: Any, axis: int) -> Any:
    """Return each element less the one before it."""
    before = (slice(None),) * (axis % array.ndim)
    return array[(*before, slice(1, None))] - array[(*before, slice(None, -1))]


@implements("diff", linear="a prepend append")
def _diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    if n < 0:
        raise InputError(f"np.diff(..., n={n}): the order must be 0 or more. Give one")
    array = traced_or_array(a)
    if n == 0:
        return array
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    edge = (*array.shape[:axis], 1, *array.shape[axis + 1 :])
    parts = [
        np.broadcast_to(traced_or_array(part), edge) if np.ndim(part) == 0 else part
        for part in (prepend, array, append)
        if part is not np._NoValue and part is not array
    ]
    if prepend is not np._NoValue:
        parts.insert(1, array)
    else:
        parts.insert(0, array)
    array = traced(np.concatenate(parts, axis)) if len(parts) > 1 else traced(array)
    for _ in range(n):
        # Of bools, which differ from the one before?
        array = (
            _steps(as_integers(array), axis) != 0 if array.dtype == bool else _steps(array, axis)
        )
    return array


@implements("ediff1d", linear="ary to_end to_begin")
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    flat = np.ravel(traced_or_array(ary))
    ends = [None if end is None else np.ravel(traced_or_array(end)) for end in (to_begin, to_end)]
    parts = [ends[0], flat[1:] - flat[:-1], ends[1]]
    return np.concatenate([part for part in parts if part is not None])


@implements("gradient", linear="f")
def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    recorder = innermost(f, *varargs)
    array = as_traced(recorder, f)
    axes = axes_of(None, array.ndim) if axis is None else tuple(np.atleast_1d(axis).tolist())
    axes = tuple(np.lib.array_utils.normalize_axis_index(k, array.ndim) for k in axes)
    spacings = list(varargs) or [1.0]
    spacings = (
        spacings * len(axes) if len(spacings) == 1 and np.ndim(spacings[0]) == 0 else spacings
    )
    if len(spacings) != len(axes):
        raise InputError(
            f"np.gradient: {len(spacings)} spacings were given for {len(axes)} axes; give none, "
            "one number, or one for each axis"
        )
    if edge_order not in (1, 2):
        raise InputError(
            f"np.gradient(..., edge_order={edge_order}): it must be 1 or 2. Give one of these"
        )
    results = []
    for k, spacing in zip(axes, spacings, strict=True):
        if array.shape[k] < edge_order + 1:
            raise InputError(
                f"np.gradient: axis {k} has {array.shape[k]} elements, and "
                f"edge_order={edge_order} needs at least {edge_order + 1}; give more, or a lower "
                "order"
            )
        results.append(_gradient_along(array, k, spacing, edge_order))
    return results[0] if len(results) == 1 else tuple(results)


def _gradient_along(array: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    y = np.moveaxis(array, axis, 0)
    if np.ndim(spacing) == 0:
        inner = (y[2:] - y[:-2]) / (2.0 * spacing)
        before = after = spacing
    else:
        steps = np.diff(traced_or_array(spacing))
        column = (slice(None),) + (None,) * (y.ndim - 1)
        if not has_traced(steps) and (steps == steps[0]).all():
            return _gradient_along(array, axis, steps[0], edge_order)
        h, k = steps[:-1], steps[1:]
        left, middle, right = -k / (h * (h + k)), (k - h) / (h * k), h / (k * (h + k))
        inner = left[column] * y[:-2] + middle[column] * y[1:-1] + right[column] * y[2:]
        before, after = steps[0], steps[-1]
    if edge_order == 1:
        first, last = (y[1] - y[0]) / before, (y[-1] - y[-2]) / after
    elif np.ndim(spacing) == 0:
        a, b, c = -1.5 / spacing, 2.0 / spacing, -0.5 / spacing
        first = a * y[0] + b * y[1] + c * y[2]
        a, b, c = 0.5 / spacing, -2.0 / spacing, 1.5 / spacing
        last = a * y[-3] + b * y[-2] + c * y[-1]
    else:
        h, k = steps[0], steps[1]
        a, b, c = -(2.0 * h + k) / (h * (h + k)), (h + k) / (h * k), -h / (k * (h + k))
        first = a * y[0] + b * y[1] + c * y[2]
        h, k = steps[-2], steps[-1]
        a, b, c = k / (h * (h + k)), -(k + h) / (h * k), (2.0 * k + h) / (k * (h + k))
        last = a * y[-3] + b * y[-2] + c * y[-1]
    ends = (np.expand_dims(end, 0) for end in (first, last))
    return np.moveaxis(np.concatenate([next(ends), inner, next(ends)]), 0, axis)


@implements("trapezoid", "trapz")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = traced_or_array(y)
    place = np.lib.array_utils.normalize_axis_index(axis, y.ndim)
    steps = dx
    if x is not None:
        x = traced_or_array(x)
        steps = np.diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            steps = np.reshape(steps, (-1,) + (1,) * (y.ndim - place - 1))
    before = (slice(None),) * place
    pairs = y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]
    return np.sum(steps * pairs / 2.0, axis=axis)  # of all axes that x and y have together


@implements("unwrap")
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    p = traced_or_array(p)
    if are_whole(p) and isinstance(period, int):
        return plainly(lambda values: np.unwrap(values, discont, axis, period=period), p)
    steps = np.diff(p, axis=axis)
    discont = period / 2 if discont is None else discont
    high = period / 2
    wrapped = np.mod(steps + high, period) - high
    wrapped = np.where((wrapped == -high) & (steps > 0), high, wrapped)
    correction = np.where(np.abs(steps) < discont, 0.0, wrapped - steps)
    axis = axis % p.ndim
    before = (slice(None),) * axis
    first = p[(*before, slice(0, 1))]
    rest = p[(*before, slice(1, None))] + np.cumsum(correction, axis)
    return np.concatenate([first, rest], axis)


@implements("apply_along_axis")
def _apply_along_axis(func1d: Any, axis: int, arr: Any, *arguments: Any, **options: Any) -> Any:
    moved = np.moveaxis(traced(arr), axis, -1)
    rest = moved.shape[:-1]
    results = [func1d(moved[index], *arguments, **options) for index in np.ndindex(rest)]
    stacked = np.stack([traced_or_array(result) for result in results])
    shape = stacked.shape[1:]
    axis = axis % np.ndim(arr)
    axes = (*range(axis), *range(len(rest), len(rest) + len(shape)), *range(axis, len(rest)))
    return np.transpose(np.reshape(stacked, (*rest, *shape)), axes)


@implements("apply_over_axes")
def _apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    result = traced(a)
    for axis in np.atleast_1d(axes).tolist():
        reduced = func(result, axis)
        result = reduced if np.ndim(reduced) == result.ndim else np.expand_dims(reduced, axis)
    return result
