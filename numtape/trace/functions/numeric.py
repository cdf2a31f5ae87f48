"""Elementwise functions that are no ufuncs, tests of values, and what depends on shapes alone."""

import itertools
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import implements, no_options, traced, traced_or_array
from numtape.trace.integers import are_whole, check_type, plainly, typed
from numtape.trace.locations import user_location
from numtape.trace.ranges import EXACT
from numtape.trace.sharing import memories
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedFloat,
    as_computed,
    as_floats,
    as_python,
    as_traced,
    innermost,
    shown,
)
from numtape.trace.ufuncs import apply_row

__all__ = ["rounded_as_python"]


@implements("sinc")
def _sinc(x: Any) -> Any:
    return apply_row(ROWS[OPCODE["sinc"]], (x,))


@implements("i0")
def _i0(x: Any) -> Any:
    return np.asarray(apply_row(ROWS[OPCODE["i0"]], (x,)), like=x)


@implements("round", "around", linear="a")
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    no_options("round", out=out)
    array = traced(a)
    if are_whole(array):
        rounded = np.round(typed(array), decimals)
        check_type("round", rounded.dtype)
        return np.copy(array) if decimals >= 0 else plainly(np.round, array, decimals=decimals)
    if decimals == 0:
        return np.rint(array)
    scale = 10.0 ** abs(decimals)
    return np.rint(array * scale) / scale if decimals > 0 else np.rint(array / scale) * scale


def rounded_as_python(x: Any, digits: int) -> Any:
    """Round a float as Python's `round` does: its exact value, and ties to even.

    NumPy rounds the product with a power of ten, which has been rounded before.
    """
    if not -22 <= digits <= 22:  # where that power is no float
        raise UnsupportedError(
            f"round(x, {digits}) of a traced float at {user_location()}: numtape has a rule for 22 "
            "digits at most. Leave it out, or give fewer digits",
            code="unsupported-option",
        )
    scale = 10.0 ** abs(digits)
    if digits > 0:
        scaled = x * scale
        rest = _rest_of_product(x, scale, scaled)
    else:
        scaled = x / scale
        product = scaled * scale
        rest = ((x - product) - _rest_of_product(scaled, scale, product)) / scale
    nearest = np.rint(scaled)
    beyond = scaled - nearest
    up = (beyond + rest > 0.5) | ((beyond == 0.5) & (rest > 0.0))
    down = (beyond + rest < -0.5) | ((beyond == -0.5) & (rest < 0.0))
    nearest = np.copysign(nearest + 1.0 * up - 1.0 * down, x)
    rounded = nearest / scale if digits > 0 else nearest * scale
    return np.where(np.abs(scaled) < EXACT, rounded, x) if digits > 0 else rounded


def _python_round(self: TracedFloat, digits: int | None = None) -> Any:
    return (
        self._rounded("rint")
        if digits is None
        else as_python(as_computed(rounded_as_python(self, digits)))
    )


setattr(TracedFloat, "__round__", _python_round)  # noqa: B010


def _rest_of_product(x: Any, y: Any, product: Any) -> Any:
    """Return what a product lost when it was rounded (Dekker's)."""
    (a, b), (c, d) = _halves(x), _halves(y)
    return ((a * c - product) + a * d + b * c) + b * d


def _halves(x: Any) -> tuple[Any, Any]:
    """Return a float as a sum of two with half as many digits each."""
    high = 134217729.0 * x
    high = high - (high - x)
    return high, x - high


@implements("fix")
def _fix(x: Any, out: Any = None) -> Any:
    no_options("fix", out=out)
    return np.trunc(x)


@implements("nan_to_num", linear="x")
def _nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    given = traced(x)
    if are_whole(given):
        return np.copy(given) if copy else given
    x = as_floats(given)
    largest = np.finfo(np.float64).max
    result = np.where(np.isnan(x), nan, x)
    result = np.where(x == np.inf, largest if posinf is None else posinf, result)
    result = np.where(x == -np.inf, -largest if neginf is None else neginf, result)
    if not copy and isinstance(x, TracedArray):
        x[...] = result
        result = x
    return result if np.ndim(given) else as_computed(result)


# what complex numbers are for; traced values are real


@implements("real")
def _real(val: Any) -> Any:
    return traced(val)


@implements("imag")
def _imag(val: Any) -> Any:
    return val.imag


@implements("real_if_close")
def _real_if_close(a: Any, tol: Any = 100) -> Any:
    return np.asarray(traced(a), like=a)


@implements("angle")
def _angle(z: Any, deg: bool = False) -> Any:
    z = traced(z)
    angle = as_computed(np.where(np.isnan(z), z, np.where(np.signbit(z), np.pi, 0.0)))
    return np.rad2deg(angle) if deg else angle


@implements("iscomplexobj")
def _iscomplexobj(x: Any) -> bool:
    return False


@implements("isrealobj")
def _isrealobj(x: Any) -> bool:
    return True


@implements("iscomplex")
def _iscomplex(x: Any) -> Any:
    return np.zeros(np.shape(x), bool)[()]


@implements("isreal")
def _isreal(x: Any) -> Any:
    return np.ones(np.shape(x), bool)[()]


# tests of values


@implements("isposinf")
def _isposinf(x: Any, out: Any = None) -> Any:
    no_options("isposinf", out=out)
    return traced(x) == np.inf


@implements("isneginf")
def _isneginf(x: Any, out: Any = None) -> Any:
    no_options("isneginf", out=out)
    return traced(x) == -np.inf


@implements("isclose")
def _isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    recorder = innermost(a, b, rtol, atol)
    a, b = as_traced(recorder, a), as_floats(as_traced(recorder, b))
    close = (np.abs(a - b) <= atol + rtol * np.abs(b)) & np.isfinite(b) | (a == b)
    return close | (np.isnan(a) & np.isnan(b)) if equal_nan else close


@implements("allclose")
def _allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    return np.all(np.isclose(a, b, rtol, atol, equal_nan))


@implements("array_equal")
def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    if np.shape(a1) != np.shape(a2):
        return False
    equal = traced_or_array(a1) == traced_or_array(a2)
    if equal_nan:
        equal = equal | (np.isnan(a1) & np.isnan(a2))
    return np.all(equal)


@implements("array_equiv")
def _array_equiv(a1: Any, a2: Any) -> Any:
    try:
        np.broadcast_shapes(np.shape(a1), np.shape(a2))
    except ValueError:
        return False
    return np.all(traced_or_array(a1) == traced_or_array(a2))


@implements("isin")
def _isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> Any:
    found = np.expand_dims(traced_or_array(element), -1) == np.ravel(traced_or_array(test_elements))
    found = np.any(found, axis=-1)
    return np.logical_not(found) if invert else found


# what does not depend on values


def _shape(a: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = a.shape if isinstance(a, Traced) else np.shape(a)
    return shape


implements("shape")(_shape)


@implements("ndim")
def _ndim(a: Any) -> int:
    return len(_shape(a))


@implements("size")
def _size(a: Any, axis: int | None = None) -> int:
    shape = _shape(a)
    return int(np.prod(shape, dtype=np.int64)) if axis is None else shape[axis]


def _of_types(name: str) -> None:
    """Register a function that looks at the types of its arguments alone."""
    function = getattr(np, name)

    @implements(name)
    def implementation(*arrays: Any) -> Any:
        return function(*(np.empty(0, x.dtype) if isinstance(x, Traced) else x for x in arrays))


for _name in ("result_type", "common_type"):
    _of_types(_name)


def _of_shape(name: str) -> None:
    """Register a function that looks at the shape of its first argument alone."""
    function = getattr(np, name)

    @implements(name)
    def implementation(arr: Any, *arguments: Any, **options: Any) -> Any:
        return function(np.empty(_shape(arr)), *arguments, **options)


for _name in ("diag_indices_from", "tril_indices_from", "triu_indices_from"):
    _of_shape(_name)


def _text(name: str) -> None:
    function = getattr(np, name)

    @implements(name)
    def implementation(a: Any, *arguments: Any, **options: Any) -> str:
        text: str = function(np.asarray(shown(traced(a))), *arguments, **options)
        return text


for _name in ("array2string", "array_repr", "array_str"):
    _text(_name)


@implements("astype")
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


def _asks_memory(name: str) -> None:
    function = getattr(np, name)

    @implements(name)
    def implementation(a: Any, b: Any, max_work: Any = None) -> bool:
        pairs = itertools.product(memories(a), memories(b))
        return any(function(one, other, max_work) for one, other in pairs)


_asks_memory("may_share_memory")
_asks_memory("shares_memory")
