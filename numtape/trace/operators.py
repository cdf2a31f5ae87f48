"""Python's operators on traced scalars and arrays.

The scalar ones are the hot path of recording, and are written for speed: an
operation on plain floats costs under half a microsecond.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.recorder import user_location
from numtape.trace.traced import Traced, TracedArray, TracedScalar

__all__: list[str] = []

_NUMBERS = frozenset({float, int, np.float64, np.int64, np.int32, np.float32, np.uint64})


def _scalar_binary(
    name: str, compute: Callable[[Any, Any], Any], ufunc: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A binary operator of traced scalars and its reflection: the hot path of recording."""
    opcode = OPCODE[name]

    def forward(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.value
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        try:
            value = compute(self.value, value)
            if type(value) is not float:
                return _other_operand(ufunc, self, other)
        except (ArithmeticError, ValueError):
            value = ufunc(self.value, value).item()
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), value)

    def reflected(self: TracedScalar, other: Any) -> Any:
        if type(other) not in _NUMBERS:
            return _other_operand(ufunc, other, self)
        value = float(other)
        recorder = self.recorder
        slot = recorder.constant(value)
        try:
            value = compute(value, self.value)
            if type(value) is not float:
                return _other_operand(ufunc, other, self)
        except (ArithmeticError, ValueError):
            value = ufunc(value, self.value).item()
        return TracedScalar(recorder, recorder.scalar(opcode, slot, self.slot), value)

    return forward, reflected


def _scalar_comparison(name: str, compute: Callable[[Any, Any], Any], ufunc: Any) -> Any:
    opcode = OPCODE[name]

    def compare(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.value
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        outcome = compute(self.value, value)
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), outcome)

    return compare


def _other_operand(ufunc: Any, left: Any, right: Any) -> Any:
    """An operator with an operand that is no plain number: let NumPy's protocol sort it out."""
    for operand in (left, right):
        if not isinstance(operand, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
    if _is_bool_scalar(left) and _is_bool_scalar(right) and ufunc in (np.add, np.multiply):
        raise UnsupportedError(
            f"{ufunc.__name__} of two comparisons at {user_location()}: Python and NumPy disagree "
            "on what it means. Write 1.0 * (x < y) to count, or & and | to combine"
        )
    return ufunc(left, right)


def _is_bool_scalar(operand: Any) -> bool:
    return isinstance(getattr(operand, "value", operand), bool | np.bool_)


def _array_binary(ufunc: Any) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    def forward(self: TracedArray, other: Any) -> Any:
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
        return ufunc(self, other)

    def reflected(self: TracedArray, other: Any) -> Any:
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
        return ufunc(other, self)

    def in_place(self: TracedArray, other: Any) -> TracedArray:
        self[...] = ufunc(self, other)
        return self

    return forward, reflected, in_place


def _array_power(self: TracedArray, exponent: Any) -> Any:
    """NumPy's own shortcuts for ``array ** number``."""
    shortcut = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt, -1.0: np.reciprocal}
    if type(exponent) in _NUMBERS and float(exponent) in shortcut:
        return shortcut[float(exponent)](self)
    return np.power(self, exponent)


def _scalar_power(self: TracedScalar, exponent: Any, modulus: Any = None) -> Any:
    if type(exponent) in _NUMBERS:
        return _constant_power(self, exponent)
    return _variable_power(self, exponent)


def _install() -> None:
    """Give both classes their operators, from the table's names."""
    binary = (
        ("add", operator.add, np.add),
        ("sub", operator.sub, np.subtract),
        ("mul", operator.mul, np.multiply),
        ("truediv", operator.truediv, np.divide),
        ("mod", lambda x, y: np.remainder(x, y).item(), np.remainder),
        ("floordiv", lambda x, y: np.floor_divide(x, y).item(), np.floor_divide),
        ("pow", operator.pow, np.power),
    )
    for name, compute, ufunc in binary:
        row = "pow" if name == "pow" else ufunc.__name__
        forward, reflected = _scalar_binary(row, compute, ufunc)
        setattr(TracedScalar, f"__{name}__", forward)
        setattr(TracedScalar, f"__r{name}__", reflected)
        forward, reflected, in_place = _array_binary(ufunc)
        setattr(TracedArray, f"__{name}__", forward)
        setattr(TracedArray, f"__r{name}__", reflected)
        setattr(TracedArray, f"__i{name}__", in_place)
    TracedScalar.__pow__ = _scalar_power  # type: ignore[attr-defined]
    TracedArray.__pow__ = _array_power  # type: ignore[attr-defined]
    for name, compute, ufunc in (
        ("lt", operator.lt, np.less),
        ("le", operator.le, np.less_equal),
        ("gt", operator.gt, np.greater),
        ("ge", operator.ge, np.greater_equal),
        ("eq", operator.eq, np.equal),
        ("ne", operator.ne, np.not_equal),
    ):
        setattr(TracedScalar, f"__{name}__", _scalar_comparison(ufunc.__name__, compute, ufunc))
        setattr(TracedArray, f"__{name}__", _array_binary(ufunc)[0])
    for name, ufunc in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        for kind in (TracedScalar, TracedArray):
            forward, reflected, in_place = _array_binary(ufunc)
            setattr(kind, f"__{name}__", forward)
            setattr(kind, f"__r{name}__", reflected)
    TracedArray.__matmul__, TracedArray.__rmatmul__, _ = _array_binary(np.matmul)  # type: ignore[attr-defined]
    for name, ufunc in (
        ("neg", np.negative),
        ("pos", np.positive),
        ("abs", np.absolute),
        ("invert", np.invert),
    ):
        for kind in (TracedScalar, TracedArray):
            setattr(kind, f"__{name}__", _unary_method(ufunc))
    # NumPy calls these on the elements of object arrays: np.sin(np.array([x, y])).
    for row in ROWS:
        if row.arity == 1 and row.ufunc is not None and row.ufunc.startswith("numpy."):
            ufunc = getattr(np, row.name)
            if not hasattr(TracedScalar, row.name):
                setattr(TracedScalar, row.name, _unary_method(ufunc))


def _unary_method(ufunc: Any) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        return ufunc(self)

    return method


_constant_power, _ = _scalar_binary("pow_constant", operator.pow, np.power)
_variable_power, _ = _scalar_binary("pow", operator.pow, np.power)
_install()
