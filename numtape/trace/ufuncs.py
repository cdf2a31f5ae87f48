"""Ufuncs of traced values, for `__array_ufunc__`: rows of the table, recorded.

Values come from NumPy itself, so a recording gives what the plain call gives.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TraceError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS, Row, load_ufunc, row_of_ufunc
from numtape.ops.values import value_of_row
from numtape.trace.recorder import user_location
from numtape.trace.traced import NUMPY_FUNCTIONS, Traced, TracedArray, TracedScalar, innermost, lift

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
        value = value_of_row(row, values)
    slots = [slots for slots, _ in lifted]
    if all(array.ndim == 0 for array in slots):
        first, second = int(slots[0]), int(slots[1]) if len(slots) == 2 else 0
        return TracedScalar(
            recorder, recorder.scalar(OPCODE[row.name], first, second), np.asarray(value).item()
        )
    value = np.asarray(value)
    order = _memory_order(value)
    if order is not None:
        # NumPy lays the result out like its operands, not row by row; so do we, for
        # later sums to walk it in the same order and round the same.
        slots = [np.broadcast_to(array, value.shape).transpose(order) for array in slots]
        result = recorder.elementwise(OPCODE[row.name], slots)
        return TracedArray(recorder, result.transpose(np.argsort(order)), value)
    return TracedArray(recorder, recorder.elementwise(OPCODE[row.name], slots), value)


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


def _apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `__array_ufunc__` does: record a ufunc, or one of its methods."""
    out = options.pop("out", None)
    if options.get("where") is True:
        del options["where"]
    if method != "__call__":
        implementation = NUMPY_FUNCTIONS.get((ufunc, method))
        result = NotImplemented if implementation is None else implementation(*inputs, **options)
    elif options:
        result = NotImplemented
    else:
        result = _call_ufunc(ufunc, inputs)
    if result is NotImplemented:
        details = "".join(f", {name}={value!r}" for name, value in options.items())
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise UnsupportedError(
            f"{call}(...{details}) was called with a traced value at {user_location()}, and "
            "numtape has no rule for it. Write it with operations that are recorded (arithmetic, "
            "the ufuncs in the table of operations, sums, products), without these options"
        )
    if out is None:
        return result
    (target,) = out
    if not isinstance(target, TracedArray):
        raise TraceError(
            f"{ufunc.__name__}(..., out=y) at {user_location()}: y is a plain array, which cannot "
            "hold traced values. Make it with np.zeros_like(x) or np.zeros(n, like=x)"
        )
    target[...] = result
    return target


def _call_ufunc(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    if len(inputs) == 1 and type(inputs[0]) is TracedScalar:  # the hot path of scalar code
        row = _row_of(ufunc)
        (x,) = inputs
        if row is not None and type(x.primal) is float:
            slot = x.recorder.scalar(OPCODE[row.name], x.slot, 0)
            return TracedScalar(x.recorder, slot, ufunc(x.primal).item())
    if ufunc is np.matmul:
        return NUMPY_FUNCTIONS[np.matmul](*inputs)
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
    if row.name in ("power", "pow") and _is_constant(operands[1]):
        row = ROWS[OPCODE[f"{row.name}_constant"]]
    return apply_row(row, operands)


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
    if ufunc.__name__ == "clip":
        return NUMPY_FUNCTIONS[np.clip](*inputs)
    path = f"scipy.special.{ufunc.__name__}"
    if path in NUMPY_FUNCTIONS and load_ufunc(path) is ufunc:
        return NUMPY_FUNCTIONS[path](*inputs)
    return NotImplemented


Traced._apply_ufunc = staticmethod(_apply_ufunc)
