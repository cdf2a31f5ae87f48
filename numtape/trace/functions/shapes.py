"""Functions that only move elements: nothing is recorded.

NumPy's own function is applied to slots and values alike. Modes of `np.pad` that
compute what they pad with are written with operations that are recorded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.functions.common import (
    implements,
    in_type,
    move,
    numpy_function,
    traced,
    traced_or_array,
)
from numtape.trace.integers import are_whole, plainly
from numtape.trace.locations import user_location
from numtape.trace.traced import guarded, has_traced, plain_key, wrap

__all__: list[str] = []


def _moves(name: str) -> None:
    """Register a function that moves its first argument's elements; other arguments are plain."""
    function = numpy_function(name)
    if function is None:
        return

    @implements(name, linear="array")
    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        arguments = plain_key(arguments)
        options = {key: plain_key(option) for key, option in options.items()}
        if not has_traced(array):
            return function(array, *arguments, **options)
        return move(lambda elements: function(elements, *arguments, **options), array)


for _name in (
    *("reshape", "ravel", "transpose", "permute_dims", "matrix_transpose", "swapaxes", "moveaxis"),
    *("rollaxis", "expand_dims", "squeeze", "broadcast_to", "tile", "repeat", "roll", "rot90"),
    *("flip", "fliplr", "flipud", "diagonal", "split", "array_split", "hsplit", "vsplit"),
    *("dsplit", "unstack", "copy", "delete", "resize"),
    *("fft.fftshift", "fft.ifftshift", "linalg.diagonal", "linalg.matrix_transpose"),
):
    _moves(_name)


def _joins(name: str) -> None:
    """Register a function that joins a sequence of arrays."""
    function = getattr(np, name)

    @implements(name, linear="arrays")
    def implementation(arrays: Any, *arguments: Any, **options: Any) -> Any:
        dtype = options.pop("dtype", None)
        if dtype is not None:
            arrays = [in_type(traced(each, *arrays), dtype) for each in arrays]
            if not has_traced(*arrays):
                return function(arrays, *arguments, dtype=dtype, **options)
        return move(lambda *each: function(each, *arguments, **options), *arrays)


for _name in ("concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"):
    _joins(_name)


def _each(name: str) -> None:
    """Register a function of several arrays, each of which is moved."""
    function = getattr(np, name)

    @implements(name, linear="arrays")
    def implementation(*arrays: Any, **options: Any) -> Any:
        return move(lambda *each: function(*each, **options), *arrays)


for _name in ("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "meshgrid"):
    _each(_name)


@implements("lib.stride_tricks.sliding_window_view", linear="x")
def _sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view
    return move(lambda elements: windows(elements, window_shape, axis, writeable=writeable), x)


@implements("ix_")
def _ix(*arrays: Any) -> Any:
    arrays = tuple(
        np.flatnonzero(array) if traced_or_array(array).dtype.kind == "b" else array
        for array in arrays
    )
    return move(np.ix_, *arrays) if has_traced(*arrays) else np.ix_(*arrays)


@implements("append", linear="arr values")
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return move(lambda a, v: np.append(a, v, axis), arr, values)


@implements("insert")
def _insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    obj = plain_key(obj)
    if not has_traced(arr, values):
        return np.insert(arr, obj, values, axis)
    arr, values = traced_or_array(arr), traced(values, arr)
    if values.dtype != arr.dtype:
        values = values.astype(arr.dtype)
    if not has_traced(arr, values):
        return np.insert(arr, obj, values, axis)
    return move(lambda a, v: np.insert(a, obj, v, axis), arr, values)


@implements("block", linear="arrays")
def _block(arrays: Any) -> Any:
    leaves: list[Any] = []

    def numbered(nest: Any) -> Any:
        if isinstance(nest, list):
            return [numbered(part) for part in nest]
        leaves.append(nest)
        return len(leaves) - 1

    nest = numbered(arrays)

    def filled(nest: Any, parts: Any) -> Any:
        return [filled(each, parts) for each in nest] if isinstance(nest, list) else parts[nest]

    return move(lambda *parts: np.block(filled(nest, parts)), *leaves)


def _with_zeros(name: str) -> None:
    """Register a function that puts zeros beside the elements it moves."""
    function = getattr(np, name)

    @implements(name, linear="array")
    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        array = traced(array)
        if name == "diag" and array.ndim == 2:  # a view, as NumPy's
            return move(lambda elements: function(elements, *arguments, **options), array)
        # The null slot would do, but it may not be assigned to a tape's own constant.
        zero = array.recorder.constant(0.0)
        slots = function(array.slots + 1, *arguments, **options) - 1
        slots = np.where(slots < 0, zero, slots)
        return wrap(array.recorder, slots, function(array.primals, *arguments, **options))


for _name in ("diag", "diagflat", "tril", "triu"):
    _with_zeros(_name)


@implements("trim_zeros")
def _trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    array = traced(filt)
    if not array.ndim:
        return array
    is_kept = guarded(np.atleast_1d(array != 0.0))
    key = [slice(None)] * is_kept.ndim
    axes = range(is_kept.ndim) if axis is None else np.atleast_1d(axis)
    for k in axes:
        (kept,) = np.nonzero(is_kept.any(axis=tuple(j for j in range(is_kept.ndim) if j != k)))
        first, last = (kept[0], kept[-1] + 1) if kept.size else (0, 0)
        key[k] = slice(first if "f" in trim else 0, last if "b" in trim else None)
    return array[tuple(key)]


# padding


@implements("pad")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    if isinstance(pad_width, dict):
        pad_width = {axis: plain_key(width) for axis, width in pad_width.items()}
    pad_width = plain_key(pad_width)
    if mode in ("edge", "wrap", "reflect", "symmetric") and (
        options.get("reflect_type", "even") == "even"
    ):
        return move(lambda elements: np.pad(elements, pad_width, mode, **options), array)
    rank = np.ndim(traced_or_array(array))
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(k, pad_width.get(k - rank, (0, 0))) for k in range(rank)]
    widths = np.broadcast_to(np.asarray(pad_width, np.int64), (rank, 2)).tolist()
    if mode in ("constant", "empty"):
        values = options.get("constant_values", 0.0)
        return _padded(array, widths, lambda part, axis, end, n: _pair(values, rank)[axis, end])
    if are_whole(array) and mode in ("linear_ramp", "mean", "median"):  # which are rounded
        return plainly(lambda values: np.pad(values, widths, mode, **options), array)
    if mode == "linear_ramp":
        values = options.get("end_values", 0.0)
        return _padded(array, widths, lambda *edge: _ramp(_pair(values, rank), *edge))
    if mode in ("maximum", "minimum", "mean", "median"):
        statistic = {"maximum": np.max, "minimum": np.min}.get(mode) or getattr(np, mode)
        length = options.get("stat_length")
        return _padded(array, widths, lambda *edge: _statistic(statistic, length, rank, *edge))
    raise UnsupportedError(
        f"np.pad(..., mode={mode!r}) of a traced value at {user_location()}: numtape has no rule "
        "for it. Use another mode (with reflect_type='even'), or write np.concatenate of the parts"
    )


def _padded(array: Any, widths: Any, padding: Callable[[Any, int, int, int], Any]) -> Any:
    """Pad along one axis after the other with what ``padding(array, axis, end, width)`` gives."""
    result = traced_or_array(array)
    for axis, (before, after) in enumerate(widths):
        parts = []
        for end, width in ((0, before), (1, after)):
            shape = (*result.shape[:axis], width, *result.shape[axis + 1 :])
            part = traced_or_array(padding(result, axis, end, width))
            parts.append(np.broadcast_to(part, shape).astype(result.dtype))
        result = np.concatenate([parts[0], result, parts[1]], axis)
    return result


def _pair(values: Any, rank: int) -> Any:
    """Return values given for all axes and ends, for each end or for each axis and end."""
    return np.broadcast_to(traced_or_array(values), (rank, 2))


def _edge(array: Any, axis: int, end: int, length: int) -> Any:
    extent = array.shape[axis]
    chosen = slice(0, length) if end == 0 else slice(extent - length, extent)
    return array[(slice(None),) * axis + (chosen,)]


def _ramp(values: Any, array: Any, axis: int, end: int, width: int) -> Any:
    edge = _edge(array, axis, end, 1)
    # Counted from the far end, for which NumPy computes it.
    steps = np.arange(width).reshape((-1,) + (1,) * (array.ndim - axis - 1))
    far = values[axis, end]
    ramp = far + steps * ((edge - far) / max(width, 1))
    return ramp if end == 0 else np.flip(ramp, axis)


def _statistic(
    statistic: Any, length: Any, rank: int, array: Any, axis: int, end: int, width: int
) -> Any:
    extent = array.shape[axis]
    if length is not None:
        extent = min(extent, int(np.broadcast_to(np.asarray(length), (rank, 2))[axis, end]))
    return statistic(_edge(array, axis, end, extent), axis=axis, keepdims=True)
