"""Making arrays: ``np.zeros_like(x)``, ``np.full(n, v, like=x)``, `np.linspace` and their like."""

from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import (
    check_finite,
    constants_of,
    implements,
    move,
    no_dtype,
    traced_or_array,
)
from numtape.trace.integers import typed
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import (
    LIKE_FUNCTIONS,
    Traced,
    as_traced,
    innermost,
    is_traced,
    lift,
    moved,
)

__all__ = ["CONVERSIONS", "FILLING", "make_like"]


def _constants(like: Traced, values: npt.NDArray[Any]) -> Any:
    return constants_of(like.recorder, values)


def _is_other(dtype: Any) -> bool:
    """Return whether an array of that type is asked for that cannot hold traced values."""
    return dtype is not None and np.dtype(dtype) != np.float64


def _filled(name: str, value: float) -> None:
    @implements(name)
    def implementation(
        a: Traced, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
    ) -> Any:
        values = np.full_like(a.primals, value, dtype, order, shape=shape)
        return values if _is_other(dtype) else _constants(a, values)


# What fills an array like another, and with which number.
FILLING = {"zeros_like": 0.0, "empty_like": 0.0, "ones_like": 1.0}

for _name, _value in FILLING.items():
    _filled(_name, _value)


@implements("full_like")
def _full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    plain = np.asarray(typed(a))
    if _is_other(dtype) and not is_traced(fill_value):
        return np.full_like(plain, fill_value, dtype, order, shape=shape)
    recorder = innermost(a, fill_value)
    value = as_traced(recorder, fill_value)
    kind = plain.dtype if dtype is None else np.dtype(dtype)
    value = value if value.dtype == kind else value.astype(kind)
    fill, value = lift(recorder, value)
    slots = np.empty_like(plain, np.int64, order, shape=shape)
    values = np.empty_like(plain, kind, order, shape=shape)
    slots[...], values[...] = fill, value
    return moved(recorder, slots, values)


def make_like(like: Traced, function: Any, arguments: tuple[Any, ...], options: Any) -> Any:
    """Return what ``np.zeros(..., like=x)`` and its siblings return for a traced x."""
    if _is_other(options.get("dtype")):
        return function(*arguments, **options)
    options = {name: value for name, value in options.items() if name != "dtype"}
    if function in CONVERSIONS:
        options |= dict(zip(("dtype", "order"), arguments[1:], strict=False))
        options.pop("dtype", None)
        array = as_traced(like.recorder, arguments[0])
        return move(lambda elements: function(elements, **options), array)
    if function is np.full:
        shape, value, *_ = (*arguments, options.get("fill_value"))
        return np.copy(np.broadcast_to(as_traced(like.recorder, value), shape))
    if function is np.arange:
        if any(getattr(bound, "dtype", None) == np.float64 for bound in arguments):
            raise UnsupportedError(
                f"np.arange with a traced bound at {user_location()}: how many numbers there are "
                "would depend on the point. Write start + step * np.arange(n), or np.linspace",
                code="unsupported-option",
            )
        return function(*arguments, **options)
    return _constants(like, function(*arguments, **options))


# What makes an array of what it is given.
CONVERSIONS = (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
for _function in (
    *CONVERSIONS,
    *(np.zeros, np.ones, np.empty, np.full, np.eye, np.identity, np.tri, np.arange),
):
    LIKE_FUNCTIONS[_function] = make_like


@stands_in_for("numpy", "asarray_chkfinite")
def _asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Any:
    check_finite("np.asarray_chkfinite", a)
    return np.asarray(a, dtype, order)


# evenly spaced numbers


@implements("linspace")
def _linspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    no_dtype(dtype)
    start, stop = (1.0 * traced_or_array(end) for end in (start, stop))
    num = int(num)
    if num < 0:
        raise InputError(f"np.linspace of {num} numbers: there cannot be fewer than 0. Give more")
    divisions = num - 1 if endpoint else num
    start, stop = np.broadcast_arrays(start, stop)
    delta = stop - start
    steps = np.arange(num, dtype=float).reshape((-1,) + (1,) * np.ndim(delta))
    step = delta / divisions if divisions > 0 else delta * np.nan
    numbers = (steps * step if divisions > 0 else steps * delta) + start
    if endpoint and num > 1:
        numbers = np.concatenate([numbers[:-1], np.expand_dims(stop, 0)])
    numbers = np.moveaxis(numbers, 0, axis)
    return (numbers, step) if retstep else numbers


@implements("logspace")
def _logspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    no_dtype(dtype)
    exponents = np.linspace(start, stop, num, endpoint, axis=axis)
    if np.ndim(base):
        base = np.expand_dims(base, axis)
    return np.power(base, exponents)


@implements("geomspace")
def _geomspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    no_dtype(dtype)
    start, stop = np.broadcast_arrays(start, stop)
    sign = np.sign(start)
    logarithms = np.log10(start / sign), np.log10(stop / sign)
    numbers = np.logspace(*logarithms, num, endpoint)
    ends = [np.expand_dims(start / sign, 0)] if num > 0 else []
    parts = [*ends, numbers[1:-1] if endpoint else numbers[1:]]
    if endpoint and num > 1:
        parts.append(np.expand_dims(stop / sign, 0))
    return np.moveaxis(np.concatenate(parts) * sign, 0, axis)
