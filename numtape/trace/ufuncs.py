"""Ufuncs of traced values, for `__array_ufunc__`: rows of the table, recorded.

Values come from NumPy itself, so a recording gives what the plain call gives.
"""

import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS, Row, load_ufunc, row_of_ufunc
from numtape.ops.values import value_of_row
from numtape.tape.regular import broadcast_slots
from numtape.trace.exceptions import QUIET, guard_errors
from numtape.trace.handlers import CALM, errors_set, watches
from numtape.trace.integers import are_whole, call_of_whole, plainly
from numtape.trace.locations import user_location
from numtape.trace.ranges import EXACT
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    Traced,
    TracedArray,
    TracedBool,
    TracedFloat,
    TracedScalar,
    as_computed,
    as_floats,
    assign_out,
    has_complex,
    has_traced,
    innermost,
    is_object_array,
    lift,
    plain_key,
    read,
    scalar_of,
)

__all__ = ["OF_A_NUMBER", "apply_row", "apply_to_scalars", "of_scalars"]

_Values = npt.NDArray[Any]

# By ufunc, the operator of a number and a traced scalar: NumPy's numbers come this way.
OF_A_NUMBER: dict[Any, Any] = {}

_ROWS_OF_UFUNCS: dict[Any, Row | None] = {}


def _row_of(ufunc: Any) -> Row | None:
    try:
        return _ROWS_OF_UFUNCS[ufunc]
    except KeyError:
        row = _ROWS_OF_UFUNCS[ufunc] = row_of_ufunc(ufunc)
        return row


# the hot path of scalar code

_FLOATS = frozenset({float, np.float64})


def apply_to_scalars(opcode: int, compute: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """Record a row of two floats, of which one at least is traced, and compute its value.

    None is returned where one is something else, or NumPy's errors may be exceptions.
    """
    kind, other = type(x), type(y)
    if kind is TracedScalar or kind is TracedFloat:
        recorder = x.recorder
        a, left = x.slot, x.primal
        if (other is TracedScalar or other is TracedFloat) and y.recorder is recorder:
            b, right = y.slot, y.primal
        elif other in _FLOATS or (other is int and -EXACT < y < EXACT):
            right = float(y)
            b = recorder.constant(right)
        else:
            return None
    elif (other is TracedScalar or other is TracedFloat) and (
        kind in _FLOATS or (kind is int and -EXACT < x < EXACT)
    ):
        recorder = y.recorder
        left = float(x)
        a, b, right = recorder.constant(left), y.slot, y.primal
    else:
        return None
    if errors_set() is not CALM.errors or warnings.filters != CALM.filters:
        return None
    value = compute(left, right)
    made = TracedScalar if type(value) is float else TracedBool
    return made(recorder, recorder.scalar(opcode, a, b), value)


def of_scalars(ufunc: Any) -> Callable[..., Any] | None:
    """Return what a ufunc does of floats, quickly, if it is a row; it may return None likewise."""
    try:
        return _OF_SCALARS[ufunc]
    except KeyError:
        row = _row_of(ufunc)
        quick = None
        if row is not None and row.name not in ("power", "pow"):
            quick = (_unary if row.arity == 1 else _binary)(ufunc, OPCODE[row.name])
        _OF_SCALARS[ufunc] = quick
        return quick


_OF_SCALARS: dict[Any, Callable[..., Any] | None] = {}


def _unary(ufunc: Any, opcode: int) -> Callable[[Any], Any]:
    compute = _PYTHONS.get(ufunc) or (lambda x: ufunc(x).item())

    def apply(x: Any) -> Any:
        kind = type(x)
        if kind is not TracedScalar and kind is not TracedFloat:
            return None
        if errors_set() is not CALM.errors or warnings.filters != CALM.filters:
            return None
        recorder = x.recorder
        value = compute(x.primal)
        made = TracedScalar if type(value) is float else TracedBool
        return made(recorder, recorder.scalar(opcode, x.slot, 0), value)

    return apply


def _binary(ufunc: Any, opcode: int) -> Callable[[Any, Any], Any]:
    compute = _PYTHONS.get(ufunc) or (lambda x, y: ufunc(x, y).item())
    return partial(apply_to_scalars, opcode, compute)


def _maximum(x: float, y: float) -> Any:
    return x if x > y else y if x < y else np.maximum(x, y).item()


def _minimum(x: float, y: float) -> Any:
    return x if x < y else y if x > y else np.minimum(x, y).item()


# What Python computes like NumPy, and sooner.
_PYTHONS: dict[Any, Callable[..., Any]] = {
    np.absolute: operator.abs,
    np.negative: operator.neg,
    np.maximum: _maximum,
    np.minimum: _minimum,
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
}


def apply_row(row: Row, operands: Sequence[Any], value: Any = None) -> Any:
    """Record a row over operands of any type, of which one at least is traced.

    The value is NumPy's own of floats, unless it is given.
    """
    recorder = innermost(*operands)
    lifted = [
        read(recorder, each if isinstance(each, Traced) else _rounded(each)) for each in operands
    ]
    if value is None:
        values = [
            each if type(each) is float else np.asarray(each, np.float64)[()] for _, each in lifted
        ]
        if row.name not in QUIET and watches(recorder):
            return _watched_row(row, operands, lifted, values)
        value = value_of_row(row, values)
    slots = [slots for slots, _ in lifted]
    value = np.asarray(value)
    if not value.ndim:
        first, second = int(slots[0]), int(slots[1]) if len(slots) == 2 else 0
        slot = recorder.scalar(OPCODE[row.name], first, second)
        return scalar_of(recorder, slot, value.item())
    order = _memory_order(value)
    if order is not None:
        # NumPy lays the result out like its operands, not row by row; so do we, for
        # later sums to walk it in the same order and round the same.
        slots = [broadcast_slots(array, value.shape).transpose(order) for array in slots]
        result = recorder.elementwise(OPCODE[row.name], slots)
        return TracedArray(recorder, result.transpose(np.argsort(order)), value)
    return TracedArray(recorder, recorder.elementwise(OPCODE[row.name], slots), value)


def _rounded(operand: Any) -> Any:
    """Return plain integers as floats, rounded as NumPy does it."""
    if type(operand) is float or is_object_array(operand):
        return operand
    plain = np.asarray(operand)
    return plain.astype(np.float64) if plain.dtype.kind in "iu" else operand


def _watched_row(
    row: Row, operands: Sequence[Any], lifted: Sequence[Any], floats: Sequence[Any]
) -> Any:
    """Do the same where NumPy may raise: what decides whether it does is guarded before."""
    recorder = innermost(*operands)

    def compute() -> Any:
        return value_of_row(row, floats)

    with np.errstate(all="ignore"):
        result = apply_row(row, operands, compute())
    slots, values = lift(recorder, result)
    if np.asarray(values).dtype.kind == "f":
        guard_errors(recorder, row.name, lifted, (np.asarray(slots), np.asarray(values)), compute)
    return result


def _memory_order(values: _Values) -> tuple[int, ...] | None:
    """Return the axes from the slowest to the fastest in memory, or None for row by row."""
    if values.flags.c_contiguous:
        return None
    return tuple(sorted(range(values.ndim), key=lambda axis: -values.strides[axis]))


_REMEDY = (
    "Write it with operations that are recorded (arithmetic, the ufuncs in the table of "
    "operations, sums, products), without these options"
)
_WHOLE = "It is of integers: write x.astype(int), or np.floor, // and % of floats"
_OF_BOOLS = "NumPy refuses it of bools too. Write np.logical_xor(a, b) for a - b, or 1.0 * a - b"
_REMEDIES = dict.fromkeys(("gcd", "lcm", "left_shift", "right_shift", "bitwise_count"), _WHOLE)
_REMEDIES |= dict.fromkeys(("subtract", "negative", "positive", "sign"), _OF_BOOLS)
_REMEDIES |= {
    "frexp": "Write e = np.floor(np.log2(abs(x))) + 1.0 for the exponent, x / 2.0**e for the rest",
    "nextafter": "Its derivative by x would be 1: write x, or x * (1.0 + np.finfo(float).eps)",
    "spacing": "It has no derivative: take it of plain numbers, outside the recorded function",
    "isnat": "It is of dates. Write np.isnan(x)",
}


def _apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do what `__array_ufunc__` does: record a ufunc, or one of its methods."""
    if method == "__call__" and not options:  # the hot path
        quick = of_scalars(ufunc)
        if quick is not None and len(inputs) == ufunc.nin:
            result = quick(*inputs)
            if result is not None:
                return result
        if ufunc not in _GENERALIZED:
            result = _call_ufunc(ufunc, inputs)
        else:
            result = NotImplemented if has_complex(*inputs) else NUMPY_FUNCTIONS[ufunc](*inputs)
        if result is not NotImplemented:
            return result
    if has_complex(*inputs, *options.values()):
        return Traced._apply_complex_ufunc(ufunc, method, inputs, options)
    out = options.pop("out", None) or (None,) * max(ufunc.nout, 1)
    if method == "at":
        return call_method(ufunc, method, inputs, options)
    where = options.pop("where", True) if method == "__call__" else True
    is_plain_call = method == "__call__" and out[0] is None
    if not is_plain_call and _goes_on_with_plain(method, inputs, out):
        options |= {"where": where} if where is not True else {}
        options |= {"out": out} if out[0] is not None else {}
        options = {name: plain_key(option) for name, option in options.items()}
        return plainly(getattr(ufunc, method), *inputs, **options)
    if not (has_traced(*inputs) or (options and has_traced(*options.values()))):
        with _quiet(where):
            result = getattr(ufunc, method)(*inputs, **options)
    elif method == "__call__":
        dtype = options.pop("dtype", None)
        known = set(options) <= {"axis", "axes", "keepdims"} if ufunc in _GENERALIZED else False
        if options and not known:
            result = NotImplemented
        elif dtype is not None:
            result = _of_type(ufunc, inputs, np.dtype(dtype), options)
        elif ufunc in _GENERALIZED:
            result = NUMPY_FUNCTIONS[ufunc](*inputs, **options)
        elif where is True:
            result = _call_ufunc(ufunc, inputs)
        else:
            with _quiet(where):
                result = _call_ufunc(ufunc, inputs)
    else:
        result = call_method(ufunc, method, inputs, options)
    if result is NotImplemented:
        details = "".join(f", {name}={value!r}" for name, value in options.items())
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise UnsupportedError(
            f"{call}(...{details}) was called with a traced value at {user_location()}, and "
            f"numtape has no rule for it. {_REMEDIES.get(ufunc.__name__, _REMEDY)}"
        )
    if where is not True:
        if out[0] is None:
            raise UnsupportedError(
                f"{ufunc.__name__}(..., where=mask) without out= at {user_location()}: elements "
                "left out would be undefined. Give out=, or write np.where(mask, f(x), y)",
                code="unsupported-option",
            )
        results = result if isinstance(result, tuple) else (result,)
        result = tuple(np.where(where, r, old) for r, old in zip(results, out, strict=True))
        result = result if ufunc.nout > 1 else result[0]
    return _assigned(ufunc, out, result)


def _quiet(where: Any) -> Any:
    """Silence the warnings about elements that `where` leaves out."""
    return nullcontext() if where is True else np.errstate(all="ignore")


def _goes_on_with_plain(method: str, inputs: tuple[Any, ...], out: tuple[Any, ...]) -> bool:
    """Return whether bools and integers alone are traced where plain numbers are wanted.

    The result goes into a plain array, or it is a method of one that computes: y.std(where=mask).
    """
    if any(has_traced(each) and not are_whole(each) for each in inputs):
        return False
    if method == "__call__":
        plain = (each for each in out if not isinstance(each, Traced))
        return any(isinstance(each, np.ndarray) and each.dtype != object for each in plain)
    return bool(sys._getframe(3).f_globals.get("__name__") == "numpy._core._methods")


def _of_type(ufunc: Any, inputs: tuple[Any, ...], dtype: Any, options: dict[str, Any]) -> Any:
    """Compute a ufunc in a type: float64, or what NumPy does of bools and integers."""
    if dtype != np.float64:
        return plainly(ufunc, *inputs, dtype=dtype, **options)
    inputs = tuple(as_floats(each) if isinstance(each, Traced) else each for each in inputs)
    return ufunc(*inputs, **options)


def call_method(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call a ufunc's `reduce`, `accumulate`, `reduceat`, `outer` or `at`."""
    implementation = NUMPY_FUNCTIONS.get(method)
    return NotImplemented if implementation is None else implementation(ufunc, *inputs, **options)


def _assigned(ufunc: Any, out: tuple[Any, ...], result: Any) -> Any:
    """Return the result, or the arrays given as ``out=`` with it assigned."""
    if ufunc.nout == 1 or not isinstance(result, tuple):
        return result if out[0] is None else assign_out(ufunc.__name__, out[0], result)
    return tuple(
        each if target is None else assign_out(ufunc.__name__, target, each)
        for target, each in zip(out, result, strict=True)
    )


def _call_ufunc(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    if type(inputs[0]) is np.float64 and type(inputs[-1]) is TracedScalar:  # as y[0] / x
        reflected = OF_A_NUMBER.get(ufunc)
        is_calm = errors_set() is CALM.errors and warnings.filters == CALM.filters
        if reflected is not None and is_calm:
            return reflected(inputs[1], inputs[0])
    value = None
    result: Any
    if are_whole(*inputs) and not _is_of_objects(ufunc):
        result, value = call_of_whole(ufunc, innermost(*inputs), inputs)
        if result is not None:
            return result
    row = _row_of(ufunc)
    if row is None:
        return _call_composed(ufunc, inputs)
    if row.name in ("power", "pow") and not has_traced(inputs[1]):
        row = ROWS[OPCODE[f"{row.name}_constant"]]
    return apply_row(row, inputs, value)


# Ufuncs of whole vectors and matrices, registered like functions.
_GENERALIZED = {
    getattr(np, name) for name in ("matmul", "vecdot", "matvec", "vecmat") if hasattr(np, name)
}


def _call_composed(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    """Call a ufunc that is other ufuncs of floats put together."""
    if _is_of_objects(ufunc):
        return ufunc(*(_as_objects(operand) for operand in inputs))
    inputs = tuple(as_floats(each) if isinstance(each, Traced) else each for each in inputs)
    if ufunc is np.fabs:
        return np.absolute(*inputs)
    if ufunc in (np.radians, np.degrees):
        return (np.deg2rad if ufunc is np.radians else np.rad2deg)(*inputs)
    if ufunc is np.divmod:
        return inputs[0] // inputs[1], inputs[0] % inputs[1]
    if ufunc is np.conjugate:
        return +inputs[0]
    if ufunc is np.signbit:
        return np.copysign(1.0, inputs[0]) < 0.0
    if ufunc is np.modf:
        x = inputs[0]
        part = np.where(np.isinf(x), np.copysign(0.0, x), np.fmod(x, 1.0))
        return as_computed(part), np.trunc(x)
    if ufunc is np.ldexp:
        exponent = np.clip(1.0 * inputs[1], -2046.0, 2046.0)
        half = np.trunc(0.5 * exponent)  # 2.0**exponent may be infinite where the result is not
        return inputs[0] * np.exp2(half) * np.exp2(exponent - half)
    if ufunc.__name__ == "clip":
        return NUMPY_FUNCTIONS[np.clip](*inputs)
    path = f"scipy.special.{ufunc.__name__}"
    if path in NUMPY_FUNCTIONS and load_ufunc(path) is ufunc:
        return NUMPY_FUNCTIONS[path](*inputs)
    return NotImplemented


def _is_of_objects(ufunc: Any) -> bool:
    """Return whether a ufunc was made of a Python function."""
    return bool(ufunc.types == ["O" * ufunc.nin + "->" + "O" * ufunc.nout])


def _as_objects(operand: Any) -> Any:
    """Return an array of traced scalars, for NumPy to walk."""
    if isinstance(operand, TracedScalar):
        elements = np.empty((), object)
        elements[()] = operand
        return elements
    return np.asarray(operand)


Traced._apply_ufunc = staticmethod(_apply_ufunc)
