"""Stand-ins for what makes arrays and numbers: `np.array`, `np.zeros`, `float` and their like.

They are called in place of the originals by code that is being recorded, see `resolve.py`. Of
plain values they give what the original gives, as an array that may be written to by traced
values; of traced ones a traced array. So are `np.where` and `np.clip`, for floats.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.trace.fresh import Fresh, fresh
from numtape.trace.functions.creation import CONVERSIONS
from numtape.trace.functions.selection import choice_of_floats, clip_of_floats
from numtape.trace.lists import LISTS, gathered, is_of_numbers, with_arrays
from numtape.trace.resolve import made, stands_for
from numtape.trace.traced import (
    LIKE_FUNCTIONS,
    Traced,
    TracedArray,
    TracedScalar,
    as_floats,
    as_python,
    as_traced,
    has_traced,
    innermost,
    scalar_of,
)

__all__: list[str] = []


def _converting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have `np.array` and the other functions that make an array of a value take traced ones."""

    @stands_for(function)
    def converted(*arguments: Any, **options: Any) -> Any:
        if not arguments:
            given = "object" if "object" in options else "a"
            if given not in options:
                return function(**options)
            arguments = (options.pop(given),)
        value = arguments[0]
        if type(value) is Fresh:
            result = made(function(*arguments, **options))
            return value if _is_same(result, value) else result
        if not has_traced(value):
            return made(function(*arguments, **options))
        options.pop("like", None)
        options |= dict(zip(("dtype", "order"), arguments[1:], strict=False))
        dtype = options.pop("dtype", None)
        if dtype is not None and np.dtype(dtype).kind == "O":
            return function(value, dtype, **options)
        if not isinstance(value, Traced):
            if type(value) in LISTS and not is_of_numbers(value):
                return function(*arguments, **options)
            value = gathered(value) if type(value) in LISTS else as_traced(innermost(value), value)
        if dtype is not None and np.dtype(dtype) != value.dtype:
            value = value.astype(dtype)
            if not isinstance(value, Traced):
                return function(value, **options)
        return LIKE_FUNCTIONS[function](value, function, (value,), options)

    return converted


_STAND_INS = {function: _converting(function) for function in CONVERSIONS}
_ARRAY, _ASARRAY = _STAND_INS[np.array], _STAND_INS[np.asarray]


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two arrays are the same elements of the same memory."""
    return (
        isinstance(one, np.ndarray)
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.strides == other.strides
        and one.__array_interface__["data"][0] == other.__array_interface__["data"][0]
    )


@stands_for(np.require)
def _require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Any:
    if not has_traced(a):
        return made(np.require(a, dtype, requirements))
    array = _ASARRAY(a, dtype)
    wants = {str(each).upper() for each in requirements or ()}
    order = "F" if wants & {"F", "F_CONTIGUOUS", "FORTRAN"} else None
    order = "C" if wants & {"C", "C_CONTIGUOUS", "CONTIGUOUS"} else order
    is_owned = bool(wants & {"O", "OWNDATA"}) or (bool(wants & {"W"}) and not array.flags.writeable)
    return array.copy(order or "K") if is_owned else _ASARRAY(array, None, order)


def _making(function: Callable[..., Any]) -> None:
    """Have `np.zeros` and the others that make an array of numbers make a fresh one."""

    @stands_for(function)
    def construct(*arguments: Any, **options: Any) -> Any:
        array = function(*arguments, **options)
        return fresh(array) if type(array) is np.ndarray else array


_MAKERS: list[Any] = [np.zeros, np.ones, np.eye, np.identity, np.tri, np.arange]
for _maker in _MAKERS:
    _making(_maker)


@stands_for(np.empty)
def _empty(*arguments: Any, **options: Any) -> Any:
    """Return zeros: what is left as it is would be other numbers at each recording."""
    array = np.empty(*arguments, **options)
    if type(array) is not np.ndarray:  # like=x
        return array
    if array.dtype.kind in "fc":
        array[...] = 0.0
    return fresh(array)


@stands_for(np.full)
def _full(shape: Any, fill_value: Any, dtype: Any = None, *arguments: Any, **options: Any) -> Any:
    if not has_traced(fill_value):
        return made(np.full(shape, fill_value, dtype, *arguments, **options))
    value = _ASARRAY(fill_value, dtype)
    if not isinstance(value, Traced):
        return made(np.full(shape, value, dtype, *arguments, **options))
    return LIKE_FUNCTIONS[np.full](value, np.full, (shape, value), {})


@stands_for(np.fromiter)
def _fromiter(iter: Any, dtype: Any, count: int = -1, **options: Any) -> Any:  # noqa: A002
    values = (
        list(iter) if count < 0 else [each for each, _ in zip(iter, range(count), strict=False)]
    )
    if has_traced(values):
        return _ARRAY(values, dtype)
    return made(np.fromiter(values, dtype, count, **options))


# choices among floats, which are found without asking NumPy's protocol


def _choosing(function: Callable[..., Any], of_floats: Callable[..., Any]) -> None:
    @stands_for(function)
    def choose(*arguments: Any, **options: Any) -> Any:
        if len(arguments) == 3 and not options:
            chosen = of_floats(*arguments)
            if chosen is not None:
                return chosen
        return made(function(*with_arrays(arguments), **options))


_choosing(np.where, choice_of_floats)
_choosing(np.clip, clip_of_floats)


# numbers and types


def _one(value: Any) -> Any:
    """Return the one element of a traced value, for NumPy's error if there are more."""
    if isinstance(value, TracedScalar):
        return value
    if value.size != 1:
        return float(value.primals)
    return value.ravel()[0]


@stands_for(float)
def _float(*arguments: Any) -> Any:
    if len(arguments) == 1 and isinstance(arguments[0], TracedScalar | TracedArray):
        return as_python(as_floats(_one(arguments[0])))
    return float(*arguments)


@stands_for(np.float64)
def _float64(*arguments: Any) -> Any:
    if len(arguments) != 1 or not has_traced(*arguments):
        return np.float64(*arguments)
    value = as_floats(_ASARRAY(arguments[0]))
    return (
        scalar_of(value.recorder, int(value.slots), value.primals.item())
        if not value.ndim
        else value
    )


def _of_type(kind: Any) -> None:
    """Have a type of integers or bools, called as ``np.int64(x)``, convert elements of arrays."""

    @stands_for(kind)
    def construct(*arguments: Any) -> Any:
        if len(arguments) == 1 and has_traced(*arguments) and np.ndim(arguments[0]):
            return _ASARRAY(arguments[0]).astype(kind)
        return kind(*arguments)


for _kind in {np.dtype(each).type for each in np.typecodes["AllInteger"] + "?"}:
    _of_type(_kind)


@stands_for(type)
def _type(*arguments: Any, **options: Any) -> Any:
    if len(arguments) == 1 and isinstance(arguments[0], Traced | Fresh):
        return arguments[0].__class__
    return type(*arguments, **options)
