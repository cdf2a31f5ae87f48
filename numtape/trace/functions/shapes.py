"""Functions that only move elements.

NumPy's own function is applied to slots and values alike; nothing is recorded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.trace.functions.common import implements, no_dtype, traced
from numtape.trace.traced import NUMPY_FUNCTIONS, as_traced, innermost, lift, wrap

__all__: list[str] = []


def _moves(function: Callable[..., Any]) -> None:
    """Apply `function`, which only moves its first argument's elements, to slots and values."""

    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        array = traced(array)
        recorder = array.recorder
        slots = function(array.slots, *arguments, **options)
        values = function(np.asarray(array.primals), *arguments, **options)
        if isinstance(slots, list | tuple):
            return [wrap(recorder, s, v) for s, v in zip(slots, values, strict=True)]
        return wrap(recorder, slots, values)

    NUMPY_FUNCTIONS[function] = implementation


_MOVES: tuple[Any, ...] = (
    *(np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.expand_dims),
    *(np.squeeze, np.broadcast_to, np.tile, np.repeat, np.roll, np.rot90, np.flip, np.fliplr),
    *(np.flipud, np.diagonal, np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.take),
    *(np.copy, np.delete, np.resize),
)
for _function in _MOVES:
    _moves(_function)


def _joins(function: Callable[..., Any]) -> None:
    """Apply `function`, which joins a sequence of arrays, to slots and values."""

    def implementation(arrays: Any, *arguments: Any, **options: Any) -> Any:
        arrays = list(arrays)
        no_dtype(options.pop("dtype", None))
        recorder = innermost(*arrays)
        lifted = [lift(recorder, array) for array in arrays]
        slots = function([np.asarray(slots) for slots, _ in lifted], *arguments, **options)
        values = function([np.asarray(values) for _, values in lifted], *arguments, **options)
        return wrap(recorder, slots, values)

    NUMPY_FUNCTIONS[function] = implementation


_JOINS: tuple[Any, ...] = (
    *(np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack),
)
for _function in _JOINS:
    _joins(_function)


@implements("append")
def _append(array: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        array, values = np.ravel(array), np.ravel(values)
        axis = 0
    return np.concatenate((array, values), axis=axis)


def _each(function: Callable[..., Any]) -> None:
    """`np.atleast_1d` and its like: one array or several."""

    def implementation(*arrays: Any) -> Any:
        recorder = innermost(*arrays)
        lifted = [lift(recorder, array) for array in arrays]
        results = [wrap(recorder, function(s), function(np.asarray(v))) for s, v in lifted]
        return results[0] if len(results) == 1 else results

    NUMPY_FUNCTIONS[function] = implementation


for _name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    _each(getattr(np, _name))


@implements("broadcast_arrays")
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*(np.shape(array) for array in arrays))
    recorder = innermost(*arrays)
    return tuple(np.broadcast_to(as_traced(recorder, array), shape) for array in arrays)


def _with_zeros(function: Callable[..., Any]) -> None:
    """Functions that put zeros beside the elements they move: `np.diag`, `np.tril`, `np.triu`."""

    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        array = traced(array)
        # The null slot would do, but it may not be assigned to a tape's own constant.
        zero = array.recorder.constant(0.0)
        slots = function(array.slots + 1, *arguments, **options) - 1
        slots = np.where(slots < 0, zero, slots)
        return wrap(array.recorder, slots, function(array.primals, *arguments, **options))

    NUMPY_FUNCTIONS[function] = implementation


for _name in ("diag", "diagflat", "tril", "triu"):
    _with_zeros(getattr(np, _name))
