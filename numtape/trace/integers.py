"""Bools and integers under trace: what NumPy computes of them, in NumPy's own types.

A slot holds a float64. Bools are 0.0 and 1.0 there, integers are whole and never -0.0, and
their magnitudes stay below 2**53, so that the floats are exact. For each result the
range of its integers is known from those of the operands; where it does not end below
that limit, one guard says that it does. A ufunc is recorded where operations on
floats give the same integers. What is left (bitwise operations, other types such as int8,
integers that overflow) NumPy computes itself, of values that are guarded: another
point with other integers is another path.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.handlers import watches
from numtape.trace.locations import user_location
from numtape.trace.ranges import EXACT
from numtape.trace.recorder import Recorder
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedScalar,
    as_floats,
    as_traced,
    guarded,
    has_traced,
    is_object_array,
    wrap,
)

__all__ = [
    "are_whole",
    "call_of_whole",
    "check_type",
    "plainly",
    "range_of",
    "to_integers",
    "typed",
    "whole",
]

_Range = tuple[float, float]

# What a guard says of the magnitude of integers whose range is not known to be small enough.
_TIERS = (2.0**31, EXACT)


def are_whole(*operands: Any) -> bool:
    """Return whether traced bools or integers are among the operands."""
    for each in operands:
        kind = type(each)
        if kind is TracedScalar or (kind is TracedArray and each._primals.dtype.char == "d"):
            continue
        if isinstance(each, Traced) and each.dtype.kind in "ib":
            return True
    return False


def typed(operand: Any) -> Any:
    """Return the value of an operand as NumPy would meet it."""
    kind = type(operand)
    if kind is np.ndarray:
        return operand
    if issubclass(kind, TracedArray):
        return operand.primals
    return operand.dtype.type(operand.primal) if issubclass(kind, TracedScalar) else operand


def plainly(function: Callable[..., Any], *operands: Any, **options: Any) -> Any:
    """Return what NumPy itself gives for traced bools and integers, each of them guarded.

    It is NotImplemented where a traced float is among them: its derivative would be lost.
    """
    for operand in operands:
        if isinstance(operand, Traced) and operand.dtype.kind not in "ib":
            return NotImplemented
    for operand in operands:
        if isinstance(operand, Traced):
            guarded(operand)
    return function(*(typed(operand) for operand in operands), **options)


# ranges


def range_of(operand: Any) -> _Range:
    """Return the least and the largest that bools or integers can be."""
    values = np.asarray(typed(operand))
    if values.dtype.kind == "b":
        return 0.0, 1.0
    if not isinstance(operand, Traced):
        return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return operand.recorder.ranges.of(operand.slots, values)


def whole(result: Any, low: float, high: float, size: Any = None) -> Any:
    """Return whole floats as integers, guarded to be exact; None where they are not.

    Parameters
    ----------
    result : traced floats
    low, high : float
        The range they are known to be in.
    size : traced floats, optional
        What bounds all that was computed on the way; by default the result itself.
    """
    recorder: Recorder = result.recorder
    if not -EXACT < low <= high < EXACT:
        size = result if size is None else size
        largest = np.max(np.abs(typed(size)), initial=0.0)
        tier = next((tier for tier in _TIERS if largest < tier), None)
        if tier is None:
            return None
        fits: Any = np.all(np.abs(size) < tier)
        recorder.guard(fits.slot, 1.0)
        low, high = max(low, -tier), min(high, tier)
    recorder.ranges.note(result.slots, low, high)
    return wrap(recorder, result.slots, np.asarray(typed(result)).astype(np.int64))


# ufuncs


def _product_range(a: _Range, b: _Range) -> _Range:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _largest(a: _Range) -> float:
    return max(abs(a[0]), abs(a[1]))


def _around(size: float) -> _Range:
    return -size, size


def _multiply(a: Any, b: Any) -> Any:
    return a * b + 0.0  # no -0.0


def _divided(divide: Any) -> Callable[[Any, Any], Any]:
    """Return the division of integers, which gives 0 where the divisor is 0."""

    def rule(a: Any, b: Any) -> Any:
        if not has_traced(b) and np.all(b != 0.0):
            return divide(a, b) + 0.0
        by_zero = b == 0.0
        return np.where(by_zero, 0.0, divide(a, np.where(by_zero, 1.0, b)) + 0.0)

    return rule


def _power(a: Any, b: Any) -> Any:
    if not has_traced(b) and np.ndim(b) == 0 and 0.0 <= b <= 64.0:
        result, exponent = np.ones_like(a), int(b)
        for bit in f"{exponent:b}":
            result = result * result * a if bit == "1" else result * result
        return result + 0.0
    return np.rint(np.power(a, b)) + 0.0


def _same(a: Any) -> Any:
    return +a


# By the ufunc's name: how integers are computed as floats, and the range that comes out.
_OF_INTEGERS: dict[str, tuple[Callable[..., Any], Callable[..., _Range]]] = {
    "add": (lambda a, b: a + b, lambda a, b: (a[0] + b[0], a[1] + b[1])),
    "subtract": (lambda a, b: a - b, lambda a, b: (a[0] - b[1], a[1] - b[0])),
    "multiply": (_multiply, _product_range),
    "square": (lambda a: a * a, lambda a: (0.0, _largest(a) ** 2)),
    "negative": (lambda a: 0.0 - a, lambda a: (-a[1], -a[0])),
    "positive": (_same, lambda a: a),
    "conjugate": (_same, lambda a: a),
    "floor": (_same, lambda a: a),
    "ceil": (_same, lambda a: a),
    "trunc": (_same, lambda a: a),
    "absolute": (np.absolute, lambda a: (0.0, _largest(a))),
    "sign": (np.sign, lambda a: (-1.0, 1.0)),
    "maximum": (np.maximum, lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "minimum": (np.minimum, lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))),
    "fmax": (np.maximum, lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "fmin": (np.minimum, lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))),
    "floor_divide": (_divided(np.floor_divide), lambda a, b: _around(_largest(a))),
    "remainder": (_divided(np.remainder), lambda a, b: _around(_largest(b))),
    "fmod": (_divided(np.fmod), lambda a, b: _around(_largest(a))),
    "power": (_power, lambda a, b: _around(np.inf)),
    "invert": (lambda a: -1.0 - a, lambda a: (-1.0 - a[1], -1.0 - a[0])),
}

_OF_BOOLS: dict[str, Callable[..., Any]] = {
    "add": np.logical_or,
    "multiply": np.logical_and,
    "maximum": np.logical_or,
    "minimum": np.logical_and,
    "fmax": np.logical_or,
    "fmin": np.logical_and,
    "bitwise_and": np.logical_and,
    "bitwise_or": np.logical_or,
    "bitwise_xor": np.logical_xor,
    "invert": np.logical_not,
    "absolute": lambda a: np.logical_and(a, True),
    "conjugate": lambda a: np.logical_and(a, True),
}


def call_of_whole(ufunc: Any, recorder: Recorder, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    """Call a ufunc with operands of which some are traced bools or integers.

    Return its result and the values that NumPy gives. The result is None where it is
    recorded as that of floats, and NotImplemented where NumPy refuses it.
    """
    operands = [
        as_traced(recorder, each) if isinstance(each, list) or is_object_array(each) else each
        for each in inputs
    ]
    is_watched = watches(recorder)
    try:
        with np.errstate(all="ignore") if is_watched else nullcontext():
            value = ufunc(*(typed(each) for each in operands))
    except TypeError:
        return NotImplemented, None
    except ValueError:  # integers to negative powers
        return plainly(ufunc, *operands), None
    results = value if isinstance(value, tuple) else (value,)
    dtypes = {np.asarray(each).dtype for each in results}
    if dtypes <= {np.dtype(np.float64), np.dtype(bool)} or any(each.kind == "c" for each in dtypes):
        are_bools = all(np.asarray(typed(each)).dtype == bool for each in operands)
        if are_bools and ufunc.__name__ in _OF_BOOLS:
            return _OF_BOOLS[ufunc.__name__](*operands), value
        return None, None if is_watched else value
    for dtype in dtypes:
        check_type(ufunc.__name__, dtype)
    if is_watched:  # an integer divided by 0 raises
        return plainly(ufunc, *operands), value
    if ufunc is np.divmod and dtypes == {np.dtype(np.int64)}:
        return (np.floor_divide(*operands), np.remainder(*operands)), value
    if dtypes == {np.dtype(np.int64)} and ufunc.__name__ in _OF_INTEGERS:
        result = _of_integers(ufunc, operands)
        if result is not None:
            return result, value
    return plainly(lambda *_: value, *operands), value


def check_type(name: str, dtype: np.dtype[Any]) -> None:
    """Refuse to compute floats of another precision."""
    if dtype.kind == "f" and dtype != np.float64:
        raise UnsupportedError(
            f"{name} of bools or integers at {user_location()} gives {dtype} in NumPy, and numtape "
            "computes in float64. Make them floats before, with 1.0 * mask or y.astype(float)",
            code="unsupported-dtype",
        )


def _of_integers(ufunc: Any, operands: list[Any]) -> Any:
    """Record a ufunc that gives integers, computed as floats; None where these are not exact."""
    for operand in operands:
        if not isinstance(operand, Traced) and _largest(range_of(operand)) >= EXACT:
            return None
    if ufunc is np.power and isinstance(operands[1], Traced):  # NumPy raises for others
        exponent: Any = operands[1]
        is_positive: Any = np.all(exponent >= 0)
        exponent.recorder.guard(is_positive.slot, 1.0)
    compute, ranges = _OF_INTEGERS[ufunc.__name__]
    floats = [
        as_floats(each) if isinstance(each, Traced) else np.asarray(each, np.float64)[()]
        for each in operands
    ]
    with np.errstate(all="ignore"):
        result = compute(*floats)
    return whole(result, *ranges(*(range_of(each) for each in operands)))


def to_integers(operand: Any) -> Any:
    """Return a traced value as int64: floats are cut off towards 0."""
    if operand.dtype.kind in "ib":
        return wrap(operand.recorder, operand.slots, np.asarray(operand.primals, np.int64))
    result = whole(np.trunc(operand) + 0.0, -np.inf, np.inf)
    if result is None:
        recorder = operand.recorder
        fits: Any = np.all(np.abs(operand) < EXACT)
        recorder.guard(fits.slot, 0.0)
        if watches(recorder):  # NumPy says what it thinks of numbers that int64 does not have
            guarded(np.abs(operand) < 2.0**63)
            typed(operand).astype(np.int64)
        values = np.atleast_1d(typed(operand))
        value = values[~(np.abs(values) < EXACT)][0]
        raise UnsupportedError(
            f"{value} was to become an integer at {user_location()}: it must be finite and below "
            "2**53, to be exact. Write np.floor(x) or np.trunc(x), which stay floats, or "
            "np.clip(x, low, high) before",
            code="not-an-integer",
        )
    return result
