"""Products of vectors, matrices and arrays of any rank; see `einsum.py` for `np.einsum`."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.trace.exceptions import computed
from numtape.trace.functions.common import implements, no_options, traced_or_array
from numtape.trace.handlers import watches
from numtape.trace.integers import are_whole, check_type, plainly, range_of, typed, whole
from numtape.trace.ranges import EXACT
from numtape.trace.recorder import Recorder, contiguous_strides, view_of
from numtape.trace.traced import (
    as_computed,
    as_floats,
    as_traced,
    has_traced,
    innermost,
    read,
    wrap,
)

__all__: list[str] = []

# A convolution with at most so many weights is a sum of shifted arrays, whose derivatives
# are as quick; with more it is a matrix product, which takes no longer to record.
_FEW_WEIGHTS = 400


def _product(left: Any, right: Any, multiply: Any) -> Any:
    """Record a matrix product as `np.matmul` defines it, with the values that a function gives."""
    recorder = innermost(left, right)
    left, right = _operand(recorder, left), _operand(recorder, right)
    if not are_whole(left, right):
        if not watches(recorder):
            return _of_floats(recorder, left, right, multiply(typed(left), typed(right)))
        return computed(
            recorder,
            "matmul",
            [left, right],
            lambda: multiply(typed(left), typed(right)),
            lambda values: _of_floats(recorder, left, right, values),
        )
    values = multiply(typed(left), typed(right))
    if values.dtype == bool:  # is there a place where both are true?
        return _of_floats(recorder, left, right, multiply(_floats(left), _floats(right))) != 0.0
    if values.dtype == np.int64:
        result = _of_floats(recorder, left, right, multiply(_floats(left), _floats(right)))
        length = left.shape[-1]
        sizes = (max(map(abs, range_of(x))) for x in (left, right))
        bound = math.prod(sizes) * length
        size = None
        if bound >= EXACT:
            first, second = (np.abs(as_floats(as_traced(recorder, x))) for x in (left, right))
            size = _product(first, second, multiply)
        exact = whole(result + 0.0, -bound, bound, size)
        return plainly(multiply, left, right) if exact is None else exact
    check_type(multiply.__name__, values.dtype)
    return (
        plainly(multiply, left, right)
        if values.dtype.kind in "iu"
        else _of_floats(recorder, left, right, values)
    )


def _operand(recorder: Recorder, operand: Any) -> Any:
    return as_traced(recorder, operand) if has_traced(operand) else np.asarray(operand)


def _of_floats(recorder: Recorder, left: Any, right: Any, values: Any) -> Any:
    a, b = (_as_in_memory(recorder, *read(recorder, each)) for each in (left, right))
    values = np.asarray(values, np.float64)
    a = a.reshape(1, -1) if len(a.shape) == 1 else a
    b = b.reshape(-1, 1) if len(b.shape) == 1 else b
    slots = recorder.product(a, b)
    return wrap(recorder, slots.reshape(values.shape), values)


def _as_in_memory(recorder: Recorder, slots: Any, values: Any) -> Any:
    """Return slots that lie as the array does, if that has no gaps: BLAS rounds by how it does.

    Scalars that were put into an array have slots wherever they were computed.
    """
    view, size = view_of(slots), values.itemsize
    memory = tuple(
        step // size if extent > 1 else 0
        for step, extent in zip(values.strides, values.shape, strict=True)
    )
    if view.table is not None or view.strides == memory:
        return slots
    order = sorted(range(values.ndim), key=lambda axis: -memory[axis])
    shape = tuple(values.shape[axis] for axis in order)
    if contiguous_strides(shape) != tuple(memory[axis] for axis in order):
        return slots
    return recorder.copy(slots.transpose(order)).transpose(np.argsort(order).tolist())


def _floats(operand: Any) -> npt.NDArray[Any]:
    return np.asarray(typed(operand), np.float64)


def _on_axes(product: Any, x1: Any, x2: Any, axes: Any) -> Any:
    """Compute a product whose last axes are these of the operands, and of the result."""
    if axes is None:
        return product(x1, x2)
    named = [axis if isinstance(axis, tuple) else (axis,) for axis in axes]
    first, second, *of_result = ([int(axis) for axis in each] for each in named)
    x1 = np.moveaxis(traced_or_array(x1), first, range(-len(first), 0))
    x2 = np.moveaxis(traced_or_array(x2), second, range(-len(second), 0))
    result = product(x1, x2)
    for own in of_result:
        result = np.moveaxis(result, range(-len(own), 0), own)
    return result


@implements("matmul", "linalg.matmul")
def _matmul(x1: Any, x2: Any, *, axes: Any = None, axis: Any = None, keepdims: Any = None) -> Any:
    if axis is axes is keepdims is None:
        return _product(x1, x2, np.matmul)
    no_options("matmul", axis=axis, keepdims=keepdims)
    return _on_axes(lambda a, b: _product(a, b, np.matmul), x1, x2, axes)


@implements("vecdot", "linalg.vecdot")
def _vecdot(x1: Any, x2: Any, *, axis: Any = None, axes: Any = None, keepdims: bool = False) -> Any:
    if axes is not None:
        no_options("vecdot", axis=axis, keepdims=keepdims or None)
        return _on_axes(_vecdot, x1, x2, [axis for axis in axes if axis != ()])
    axis = -1 if axis is None else axis
    x1, x2 = (np.moveaxis(traced_or_array(x), axis, -1) for x in (x1, x2))
    result = as_computed(np.matmul(x1[..., None, :], x2[..., :, None])[..., 0, 0])
    return np.expand_dims(result, axis) if keepdims else result


@implements("matvec")
def _matvec(x1: Any, x2: Any, *, axis: Any = None, axes: Any = None) -> Any:
    no_options("matvec", axis=axis)
    if np.ndim(x1) < 2 or np.ndim(x2) < 1:
        np.matvec(typed(x1), typed(x2))  # which refuses these ranks

    def product(a: Any, b: Any) -> Any:
        return as_computed(np.matmul(a, traced_or_array(b)[..., :, None])[..., 0])

    return _on_axes(product, x1, x2, axes)


@implements("vecmat")
def _vecmat(x1: Any, x2: Any, *, axis: Any = None, axes: Any = None) -> Any:
    no_options("vecmat", axis=axis)
    if np.ndim(x1) < 1 or np.ndim(x2) < 2:
        np.vecmat(typed(x1), typed(x2))  # which refuses these ranks

    def product(a: Any, b: Any) -> Any:
        return np.matmul(traced_or_array(a)[..., None, :], b)[..., 0, :]

    return _on_axes(product, x1, x2, axes)


@implements("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    no_options("dot", out=out)
    left, right = traced_or_array(a), traced_or_array(b)
    if left.ndim == 0 or right.ndim == 0:
        return np.multiply(a, b)
    if right.ndim <= 2 and left.ndim <= 2:
        return _product(a, b, np.dot)
    # NumPy takes a dot product for each element of the result; so a batch of them is recorded.
    rows, columns = left, right
    if right.ndim > 1:
        columns = np.moveaxis(columns, -2, -1)
    rows = np.reshape(rows, left.shape[:-1] + (1,) * (columns.ndim - 1) + (1, left.shape[-1]))
    return as_computed(np.matmul(rows, columns[..., None])[..., 0, 0])


@implements("inner")
def _inner(a: Any, b: Any) -> Any:
    b = traced_or_array(b)
    if b.ndim > 1 and np.ndim(a) > 0:
        b = np.transpose(b, (*range(b.ndim - 2), -1, -2))
    return np.dot(a, b)


@implements("vdot")
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.ravel(traced_or_array(a)), np.ravel(traced_or_array(b)))


@implements("outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    no_options("outer", out=out)
    return traced_or_array(a).reshape(-1, 1) * traced_or_array(b).reshape(1, -1)


@implements("linalg.outer")
def _outer_of_vectors(x1: Any, x2: Any, /) -> Any:
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise InputError(
            f"np.linalg.outer of arrays of shapes {np.shape(x1)} and {np.shape(x2)}: it is of "
            "vectors. Write np.outer, or np.multiply.outer"
        )
    return np.outer(x1, x2)


@implements("tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = traced_or_array(a), traced_or_array(b)
    if np.ndim(axes) == 0:
        axes = (range(-int(axes), 0), range(int(axes)))
    of_a, of_b = ([int(k) for k in np.atleast_1d(each)] for each in axes)
    alike = len(of_a) == len(of_b) and len(set(of_a)) == len(of_a) and len(set(of_b)) == len(of_b)
    if not alike or any(a.shape[i] != b.shape[j] for i, j in zip(of_a, of_b)):
        raise InputError(
            f"np.tensordot: axes {of_a} of shape {a.shape} and axes {of_b} of shape {b.shape} "
            "are of different lengths, or named twice; give axes of equal lengths in the same order"
        )
    of_a, of_b = [k % a.ndim for k in of_a], [k % b.ndim for k in of_b]
    free_a = [k for k in range(a.ndim) if k not in of_a]
    free_b = [k for k in range(b.ndim) if k not in of_b]
    of_free_a, of_free_b = [a.shape[k] for k in free_a], [b.shape[k] for k in free_b]
    length = math.prod(a.shape[k] for k in of_a)
    left = np.reshape(np.transpose(a, (*free_a, *of_a)), (math.prod(of_free_a), length))
    right = np.reshape(np.transpose(b, (*of_b, *free_b)), (length, math.prod(of_free_b)))
    return np.reshape(np.dot(left, right), of_free_a + of_free_b)


@implements("linalg.tensordot")
def _tensordot_of_linalg(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return np.tensordot(x1, x2, axes)


@implements("kron")
def _kron(a: Any, b: Any) -> Any:
    a, b = traced_or_array(a), traced_or_array(b)
    rank = max(a.ndim, b.ndim)
    if rank == 0:
        return np.multiply(a, b)
    a, b = (np.reshape(x, (1,) * (rank - x.ndim) + x.shape) for x in (a, b))
    odd, even = tuple(range(1, 2 * rank, 2)), tuple(range(0, 2 * rank, 2))
    product = np.expand_dims(a, odd) * np.expand_dims(b, even)
    return np.reshape(product, [m * n for m, n in zip(a.shape, b.shape, strict=True)])


@implements("linalg.cross")
def _cross_of_linalg(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    x1, x2 = traced_or_array(x1), traced_or_array(x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise InputError(
            f"np.linalg.cross of vectors of {x1.shape[axis]} and {x2.shape[axis]} elements: they "
            "must have 3. Give such vectors, or say which axis has them"
        )
    return np.cross(x1, x2, axis=axis)


@implements("cross")
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(traced_or_array(a), axisa, -1), np.moveaxis(traced_or_array(b), axisb, -1)
    if (a.shape[-1], b.shape[-1]) not in ((2, 2), (2, 3), (3, 2), (3, 3)):
        raise InputError(
            f"np.cross of vectors of {a.shape[-1]} and {b.shape[-1]} elements: they must have 2 "
            "or 3. Give such vectors, or say which axis has them"
        )
    a0, a1, b0, b1 = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    last = a0 * b1 - a1 * b0
    if a.shape[-1] == b.shape[-1] == 2:
        return last
    a2 = a[..., 2] if a.shape[-1] == 3 else np.zeros_like(a0)
    b2 = b[..., 2] if b.shape[-1] == 3 else np.zeros_like(b0)
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, last], axis=axisc)


def _vectors(*operands: Any) -> list[Any]:
    arrays = [traced_or_array(operand) for operand in operands]
    for array in arrays:
        if array.ndim > 1:
            raise InputError(
                f"np.convolve of an array of shape {array.shape}: it is of vectors. Ravel it, or "
                "convolve row by row"
            )
    return [np.ravel(array) for array in arrays]


@implements("convolve")
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = _vectors(a, v)
    return np.correlate(a, v[::-1], mode) if len(a) >= len(v) else np.correlate(v, a[::-1], mode)


@implements("correlate")
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    if np.ndim(a) == 0 or np.ndim(v) == 0:
        np.correlate(typed(a), typed(v), mode)  # which refuses scalars
    a, v = _vectors(a, v)
    if not len(a) or not len(v):
        raise InputError(
            "np.correlate of an empty array: both must have elements. Handle the empty case before"
        )
    if len(v) > len(a):
        return np.correlate(v, a, mode)[::-1]
    n, k = len(a), len(v)
    modes = {"valid": (0, 0), "same": (k // 2, (k - 1) // 2), "full": (k - 1, k - 1)}
    if mode not in modes:
        raise InputError(
            f"np.correlate(..., mode={mode!r}): it must be one of {list(modes)}. Give one of these"
        )
    before, after = modes[mode]
    if k > _FEW_WEIGHTS:
        return np.matmul(_windows(innermost(a, v), np.pad(a, (before, after)), k), v)
    inside: Any = v[0] * a[: n - k + 1]
    for j in range(1, k):
        inside = inside + v[j] * a[j : n - k + 1 + j]
    parts = [np.expand_dims(np.dot(v[i:], a[: k - i]), 0) for i in range(before, 0, -1)]
    parts.append(inside)
    parts += [np.expand_dims(np.dot(v[: k - i], a[n - k + i :]), 0) for i in range(1, after + 1)]
    return np.concatenate(parts)


def _windows(recorder: Any, array: Any, length: int) -> Any:
    """Return each run of so many elements as a row: a view that steps evenly, of one copy."""
    array = as_traced(recorder, array)
    once = wrap(recorder, recorder.copy(array.slots), array.primals)
    return np.lib.stride_tricks.sliding_window_view(once, length)
