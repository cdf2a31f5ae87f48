"""Ufuncs of traced values, for `__array_ufunc__`: rows of the table, recorded.

Values come from NumPy itself, so a recording gives what the plain call gives.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS, Row, load_ufunc, row_of_ufunc
from numtape.ops.values import value_of_row
from numtape.trace.recorder import user_location
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    Traced,
    TracedArray,
    TracedScalar,
    as_computed,
    assign_out,
    has_traced,
    innermost,
    lift,
    scalar_of,
)

__all__ = ["apply_row"]

_Values = npt.NDArray[Any]

_ROWS_OF_UFUNCS: dict[Any, Row | None] = {}


def _row_of(ufunc: Any) -> Row | None:
    try:
        return _ROWS_OF_UFUNCS[ufunc]
    except KeyError:
        row = _ROWS_OF_UFUNCS[ufunc] = row_of_ufunc(ufunc)
        return row


def apply_row(row: Row, operands: Sequence[Any], value: Any = None) -> Any:
    """Record a row over operands of any type, of which one at least is traced.

    The value is NumPy's own, unless it is given.
    """
    recorder = innermost(*operands)
    lifted = [lift(recorder, operand) for operand in operands]
    values = [values for _, values in lifted]
    if value is None:
        value = _value(row, operands, values)
    slots = [slots for slots, _ in lifted]
    if all(array.ndim == 0 for array in slots):
        first, second = int(slots[0]), int(slots[1]) if len(slots) == 2 else 0
        slot = recorder.scalar(OPCODE[row.name], first, second)
        return scalar_of(recorder, slot, np.asarray(value).item())
    value = np.asarray(value)
    order = _memory_order(value)
    if order is not None:
        # NumPy lays the result out like its operands, not row by row; so do we, for
        # later sums to walk it in the same order and round the same.
        slots = [np.broadcast_to(array, value.shape).transpose(order) for array in slots]
        result = recorder.elementwise(OPCODE[row.name], slots)
        return TracedArray(recorder, result.transpose(np.argsort(order)), value)
    return TracedArray(recorder, recorder.elementwise(OPCODE[row.name], slots), value)


# Rows of which integers give an integer, the same as of floats.
_KEEP_INTEGERS = (
    *("add", "subtract", "multiply", "negative", "positive", "absolute", "square"),
    *("maximum", "minimum", "sign", "clip_low", "clip_high"),
)


def _value(row: Row, operands: Sequence[Any], values: list[Any]) -> Any:
    """The row's value: an integer where all operands are, and it keeps them; else a float."""
    kinds = [np.asarray(value).dtype.kind for value in values]
    if "i" not in kinds:
        return value_of_row(row, values)
    are_integers = all(np.asarray(_primal(operand)).dtype.kind in "iu" for operand in operands)
    # Of integers NumPy gives 0 where it divides by 0, and the kernels do not.
    by_constant = row.name in ("floor_divide", "remainder") and kinds[-1] == "f"
    if are_integers and (row.name in _KEEP_INTEGERS or (by_constant and np.all(values[-1]))):
        whole = [np.asarray(value).astype(np.int64)[()] for value in values]
        return np.asarray(value_of_row(row, whole)).astype(np.int64)
    return value_of_row(row, [np.asarray(value, np.float64)[()] for value in values])


_DIVIDES = ("reciprocal", "floor_divide", "remainder", "fmod")


def _no_rounding_to_zero(row: Row, operands: Sequence[Any]) -> None:
    """Refuse what NumPy makes 0 of integers, and a tape would make a fraction or infinite."""
    if row.arity == 1 or not np.all(operands[1] != 0):
        raise UnsupportedError(
            f"{row.name} of integers at {user_location()}: NumPy rounds it to 0, or divides by 0. "
            "Write it with floats, 1.0 / x for example",
            code="bool-arithmetic",
        )


def _primal(operand: Any) -> Any:
    if isinstance(operand, TracedScalar):
        return operand.primal
    return operand.primals if isinstance(operand, TracedArray) else operand


def _memory_order(values: _Values) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest in memory, or None for row by row."""
    if values.flags.c_contiguous:
        return None
    return tuple(sorted(range(values.ndim), key=lambda axis: -values.strides[axis]))


# What NumPy's arithmetic on two bools means.
_ON_BOOLS = {
    "add": "logical_or",
    "multiply": "logical_and",
    "maximum": "logical_or",
    "minimum": "logical_and",
}
_BITWISE = {
    np.bitwise_and: "logical_and",
    np.bitwise_or: "logical_or",
    np.bitwise_xor: "logical_xor",
    np.invert: "logical_not",
}


_REMEDY = (
    "Write it with operations that are recorded (arithmetic, the ufuncs in the table of "
    "operations, sums, products), without these options"
)
_WHOLE = "It is of whole numbers: keep them plain, or write np.floor, // and % of floats"
_REMEDIES = dict.fromkeys(("gcd", "lcm", "left_shift", "right_shift", "bitwise_count"), _WHOLE) | {
    "frexp": "Write e = np.floor(np.log2(abs(x))) + 1.0 for the exponent, x / 2.0**e for the rest",
    "nextafter": "Its derivative by x would be 1: write x, or x * (1.0 + np.finfo(float).eps)",
    "spacing": "It has no derivative: take it of plain numbers, outside the recorded function",
    "isnat": "It is of dates. Write np.isnan(x)",
}


def _apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `__array_ufunc__` does: record a ufunc, or one of its methods."""
    out = options.pop("out", None) or (None,) * max(ufunc.nout, 1)
    if method == "at":
        return call_method(ufunc, method, inputs, options)
    if not has_traced(*inputs):
        return _assigned(ufunc, out, getattr(ufunc, method)(*inputs, **options))
    where = True
    if method == "__call__":
        where = options.pop("where", True)
        dtype = options.pop("dtype", None)
        known = set(options) <= {"axis", "axes", "keepdims"} if ufunc in _GENERALIZED else False
        if (options and not known) or (dtype is not None and np.dtype(dtype) != np.float64):
            result = NotImplemented
        elif ufunc in _GENERALIZED:
            result = NUMPY_FUNCTIONS[ufunc](*inputs, **options)
        else:
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


def call_method(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A ufunc's `reduce`, `accumulate`, `reduceat`, `outer` or `at`."""
    implementation = NUMPY_FUNCTIONS.get(method)
    return NotImplemented if implementation is None else implementation(ufunc, *inputs, **options)


def _assigned(ufunc: Any, out: tuple[Any, ...], result: Any) -> Any:
    """The result, or the arrays given as ``out=`` with it assigned."""
    if ufunc.nout == 1 or not isinstance(result, tuple):
        return result if out[0] is None else assign_out(ufunc.__name__, out[0], result)
    return tuple(
        each if target is None else assign_out(ufunc.__name__, target, each)
        for target, each in zip(out, result, strict=True)
    )


def _call_ufunc(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    if len(inputs) == 1 and type(inputs[0]) is TracedScalar:  # the hot path of scalar code
        row = _row_of(ufunc)
        (x,) = inputs
        if row is not None and type(x.primal) is float:
            slot = x.recorder.scalar(OPCODE[row.name], x.slot, 0)
            return TracedScalar(x.recorder, slot, ufunc(x.primal).item())
    row = _row_of(ufunc)
    if ufunc in _BITWISE:
        row = ROWS[OPCODE[_BITWISE[ufunc]]]
        for operand in inputs:
            if getattr(operand, "dtype", np.dtype(type(operand))).kind != "b":
                return NotImplemented
    if row is None:
        return _call_composed(ufunc, inputs)
    operands: list[Any] = [
        operand if isinstance(operand, Traced) else np.asarray(operand) for operand in inputs
    ]
    if all(operand.dtype == bool for operand in operands):
        if row.name not in _ON_BOOLS:
            if row.ufunc in ("numpy.subtract", "numpy.negative"):
                return NotImplemented  # NumPy refuses them too
        else:
            row = ROWS[OPCODE[_ON_BOOLS[row.name]]]
    if row.name in _DIVIDES and all(operand.dtype.kind in "iu" for operand in operands):
        _no_rounding_to_zero(row, operands)
    if row.name in ("power", "pow") and _is_constant(operands[1]):
        row = ROWS[OPCODE[f"{row.name}_constant"]]
    return apply_row(row, operands)


# Ufuncs of whole vectors and matrices, registered like functions.
_GENERALIZED = {
    getattr(np, name) for name in ("matmul", "vecdot", "matvec", "vecmat") if hasattr(np, name)
}


def _is_constant(operand: Any) -> bool:
    return not isinstance(operand, Traced) and operand.dtype != object


def _call_composed(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    """Ufuncs that are other ufuncs put together."""
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
        return inputs[0] * np.exp2(inputs[1])
    if ufunc.types == ["O" * ufunc.nin + "->" + "O" * ufunc.nout]:  # made of a Python function
        return ufunc(*(_as_objects(operand) for operand in inputs))
    if ufunc.__name__ == "clip":
        return NUMPY_FUNCTIONS[np.clip](*inputs)
    path = f"scipy.special.{ufunc.__name__}"
    if path in NUMPY_FUNCTIONS and load_ufunc(path) is ufunc:
        return NUMPY_FUNCTIONS[path](*inputs)
    return NotImplemented


def _as_objects(operand: Any) -> Any:
    """An array of traced scalars, for NumPy to walk."""
    if isinstance(operand, TracedScalar):
        elements = np.empty((), object)
        elements[()] = operand
        return elements
    return np.asarray(operand)


Traced._apply_ufunc = staticmethod(_apply_ufunc)
