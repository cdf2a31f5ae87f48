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
from numtape.trace.traced import Traced, TracedArray, TracedInteger, TracedScalar

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
            slot, value = other.slot, other.primal
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        try:
            value = compute(self.primal, value)
            if type(value) is not float:
                return _other_operand(ufunc, self, other)
        except (ArithmeticError, ValueError):
            value = ufunc(self.primal, value).item()
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), value)

    def reflected(self: TracedScalar, other: Any) -> Any:
        if type(other) not in _NUMBERS:
            return _other_operand(ufunc, other, self)
        value = float(other)
        recorder = self.recorder
        slot = recorder.constant(value)
        try:
            value = compute(value, self.primal)
            if type(value) is not float:
                return _other_operand(ufunc, other, self)
        except (ArithmeticError, ValueError):
            value = ufunc(value, self.primal).item()
        return TracedScalar(recorder, recorder.scalar(opcode, slot, self.slot), value)

    return forward, reflected


def _scalar_comparison(name: str, compute: Callable[[Any, Any], Any], ufunc: Any) -> Any:
    opcode = OPCODE[name]

    def compare(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.primal
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        outcome = compute(self.primal, value)
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), outcome)

    return compare


def _other_operand(ufunc: Any, left: Any, right: Any) -> Any:
    """An operator with an operand that is no plain number: let NumPy's protocol sort it out."""
    for operand in (left, right):
        if not isinstance(operand, Traced | np.ndarray | np.generic | float | int | list):
            return _not_a_number(ufunc, operand)
    if _is_bool_scalar(left) and _is_bool_scalar(right) and ufunc in (np.add, np.multiply):
        raise UnsupportedError(
            f"{ufunc.__name__} of two comparisons at {user_location()}: Python and NumPy disagree "
            "on what it means. Write 1.0 * (x < y) to count, or & and | to combine",
            code="bool-arithmetic",
        )
    return ufunc(left, right)


def _not_a_number(ufunc: Any, operand: Any) -> Any:
    """What an operator gives for an operand that it does not know."""
    if isinstance(operand, complex):
        raise UnsupportedError(
            f"{ufunc.__name__} of a traced value and the complex number {operand!r} at "
            f"{user_location()}: numtape differentiates real float64 code. Keep the real and the "
            "imaginary part as two values",
            code="complex-value",
        )
    return NotImplemented


def _scalar_invert(self: TracedScalar) -> Any:
    raise UnsupportedError(
        f"~ of the comparison {self!r} at {user_location()}: of a Python bool it is -1 or -2, of "
        "a NumPy bool the opposite. Write np.logical_not(c), or not c in a condition",
        code="bool-arithmetic",
    )


def _integer_binary(ufunc: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A binary operator of traced integers and its reflection: by the ufunc, which keeps them."""

    def forward(self: TracedInteger, other: Any) -> Any:
        return _other_operand(ufunc, self, other)

    def reflected(self: TracedInteger, other: Any) -> Any:
        return _other_operand(ufunc, other, self)

    return forward, reflected


def _is_bool_scalar(operand: Any) -> bool:
    return isinstance(getattr(operand, "primal", operand), bool | np.bool_)


def _array_binary(
    ufunc: Any, compute: Callable[[Any, Any], Any] | None = None
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """A binary operator of traced arrays, its reflection, and in place.

    Of an array of rank 0 with floats `compute` is applied to its scalar, which is quicker.
    """

    def forward(self: TracedArray, other: Any) -> Any:
        if compute is not None and not self._slots.ndim and self._primals.dtype.char == "d":
            return compute(_scalar_of(self), other)
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return _not_a_number(ufunc, other)
        return ufunc(self, other)

    def reflected(self: TracedArray, other: Any) -> Any:
        if compute is not None and not self._slots.ndim and self._primals.dtype.char == "d":
            return compute(other, _scalar_of(self))
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return _not_a_number(ufunc, other)
        return ufunc(other, self)

    def in_place(self: TracedArray, other: Any) -> TracedArray:
        self[...] = ufunc(self, other)
        return self

    return forward, reflected, in_place


def _scalar_of(array: TracedArray) -> TracedScalar:
    """The one float of an array of rank 0."""
    return TracedScalar(array.recorder, array.slots.item(), array.primals.item())


def _array_power(self: TracedArray, exponent: Any) -> Any:
    """NumPy's own shortcuts for ``array ** number``."""
    shortcut = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt, -1.0: np.reciprocal}
    if type(exponent) in _NUMBERS and float(exponent) in shortcut:
        return shortcut[float(exponent)](self)
    return np.power(self, exponent)


def _scalar_power(self: TracedScalar, exponent: Any, modulus: Any = None) -> Any:
    power = _constant_power if type(exponent) in _NUMBERS else _variable_power
    return power(self, exponent)


def _unary_method(ufunc: Any) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        return ufunc(self)

    return method


_constant_power, _ = _scalar_binary("pow_constant", operator.pow, np.power)
_variable_power, _ = _scalar_binary("pow", operator.pow, np.power)

_ARITHMETIC: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    ("add", operator.add, np.add),
    ("sub", operator.sub, np.subtract),
    ("mul", operator.mul, np.multiply),
    ("truediv", operator.truediv, np.divide),
    ("mod", lambda x, y: np.remainder(x, y).item(), np.remainder),
    ("floordiv", lambda x, y: np.floor_divide(x, y).item(), np.floor_divide),
    ("pow", operator.pow, np.power),
)
_COMPARISONS: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    ("lt", operator.lt, np.less),
    ("le", operator.le, np.less_equal),
    ("gt", operator.gt, np.greater),
    ("ge", operator.ge, np.greater_equal),
    ("eq", operator.eq, np.equal),
    ("ne", operator.ne, np.not_equal),
)
_ONLY_BY_UFUNC: tuple[tuple[str, Any], ...] = (
    ("and", np.bitwise_and),
    ("or", np.bitwise_or),
    ("xor", np.bitwise_xor),
    ("matmul", np.matmul),
)
_UNARY: tuple[tuple[str, Any], ...] = (
    ("neg", np.negative),
    ("pos", np.positive),
    ("abs", np.absolute),
    ("invert", np.invert),
)


def _set(kind: type, name: str, method: Callable[..., Any]) -> None:
    setattr(kind, f"__{name}__", method)


def _install() -> None:
    """Give both classes their operators."""
    for name, compute, ufunc in _ARITHMETIC:
        row = "pow" if name == "pow" else ufunc.__name__
        forward, reflected = _scalar_binary(row, compute, ufunc)
        _set(TracedScalar, name, forward)
        _set(TracedScalar, f"r{name}", reflected)
        # The others are of Python floats what they are not of arrays.
        alike = compute if name in ("add", "sub", "mul") else None
        forward, reflected, in_place = _array_binary(ufunc, alike)
        _set(TracedArray, name, forward)
        _set(TracedArray, f"r{name}", reflected)
        _set(TracedArray, f"i{name}", in_place)
        forward, reflected = _integer_binary(np.float_power if name == "pow" else ufunc)
        _set(TracedInteger, name, forward)
        _set(TracedInteger, f"r{name}", reflected)
    _set(TracedScalar, "pow", _scalar_power)
    _set(TracedArray, "pow", _array_power)
    for name, compute, ufunc in _COMPARISONS:
        _set(TracedScalar, name, _scalar_comparison(ufunc.__name__, compute, ufunc))
        _set(TracedArray, name, _array_binary(ufunc, compute)[0])
        _set(TracedInteger, name, _integer_binary(ufunc)[0])
    for name, ufunc in _ONLY_BY_UFUNC:
        forward, reflected, _ = _array_binary(ufunc)
        for kind in (TracedScalar, TracedArray):
            _set(kind, name, forward)
            _set(kind, f"r{name}", reflected)
    for kind in (TracedScalar, TracedArray):
        _set(kind, "divmod", lambda self, other: (self // other, self % other))
        _set(kind, "rdivmod", lambda self, other: (other // self, other % self))
    for name, ufunc in _UNARY:
        for kind in (TracedScalar, TracedArray):
            _set(kind, name, _unary_method(ufunc))
    _set(TracedScalar, "invert", _scalar_invert)
    # NumPy calls these on the elements of object arrays: np.sin(np.array([x, y])).
    for each in ROWS:
        is_numpy = each.ufunc is not None and each.ufunc.startswith("numpy.")
        if each.arity == 1 and is_numpy and not hasattr(TracedScalar, each.name):
            setattr(TracedScalar, each.name, _unary_method(getattr(np, each.name)))


_install()
