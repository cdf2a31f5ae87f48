"""Python's operators on traced scalars and arrays.

The scalar ones are the hot path of recording, and are written for speed: an
operation on plain floats costs under half a microsecond.
"""

import numbers
import operator
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.escapes import refuse
from numtape.trace.exceptions import check_division, check_overflow, check_power
from numtape.trace.handlers import CALM, errors_set, handled, is_watched
from numtape.trace.locations import user_location
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedBool,
    TracedFloat,
    TracedInteger,
    TracedPair,
    TracedScalar,
    TracedTruth,
    as_floats,
    as_python,
    as_traced,
    check_casting,
    innermost,
)
from numtape.trace.ufuncs import OF_A_NUMBER, of_scalars

__all__: list[str] = []

# What NumPy's protocol sorts out beside a traced value.
_OPERANDS = (Traced, np.ndarray, np.generic, float, int, list)

_NUMBERS = frozenset({float, int, np.float64, np.int64, np.int32, np.float32, np.uint64})
_PYTHONS = frozenset({float, int})

_Check = Callable[[Any, Any], None]


def _scalar_binary(
    name: str, compute: Callable[[Any, Any], Any], ufunc: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a binary operator of traced scalars and its reflection: the hot path of recording.

    What `Recorder` does in most cases is written out in it, which pays for looking at
    NumPy's errors.
    """
    opcode = OPCODE[name]

    def forward(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.primal
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constants.get(value)
            if slot is None:
                slot = recorder.constant(value)
        elif (kind is TracedBool or kind is TracedInteger) and other.recorder is recorder:
            slot, value = other.slot, float(other.primal)
        else:
            return _other_operand(ufunc, self, other)
        is_calm = errors_set() is CALM.errors and warnings.filters == CALM.filters
        if not is_calm and is_watched(recorder):
            return _other_operand(ufunc, self, other)
        try:
            value = compute(self.primal, value)
            if type(value) is not float:
                return _other_operand(ufunc, self, other)
        except (ArithmeticError, ValueError):
            value = ufunc(self.primal, value).item()
        recorder.code.extend((opcode, self.slot, slot))
        slot = recorder.next_slot
        recorder.next_slot = slot + 1
        if recorder.keep_lines:
            recorder.lines.append(user_location())
        return TracedScalar(recorder, slot, value)

    def reflected(self: TracedScalar, other: Any) -> Any:
        if type(other) not in _NUMBERS:
            return _other_operand(ufunc, other, self)
        value = float(other)
        recorder = self.recorder
        slot = recorder.constants.get(value)
        if slot is None:
            slot = recorder.constant(value)
        is_calm = errors_set() is CALM.errors and warnings.filters == CALM.filters
        if not is_calm and is_watched(recorder):
            return _other_operand(ufunc, other, self)
        try:
            value = compute(value, self.primal)
            if type(value) is not float:
                return _other_operand(ufunc, other, self)
        except (ArithmeticError, ValueError):
            value = ufunc(value, self.primal).item()
        recorder.code.extend((opcode, slot, self.slot))
        slot = recorder.next_slot
        recorder.next_slot = slot + 1
        if recorder.keep_lines:
            recorder.lines.append(user_location())
        return TracedScalar(recorder, slot, value)

    return forward, reflected


def _python_binary(
    name: str,
    operate: Callable[[Any, Any], Any],
    ufunc: Any,
    before: _Check | None = None,
    after: Callable[[Any, Any, Any], None] | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the same of floats of Python's, where the other is one too; else they are NumPy's.

    `before` and `after` look at the operands and the result where a handler is around.
    """
    opcode = OPCODE[name]

    def forward(self: TracedFloat, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedFloat and other.recorder is recorder:
            slot, value = other.slot, other.primal
        elif kind in _PYTHONS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return rest(self, other, self, other)
        if before is not None and handled(recorder):
            before(self, other)
        try:
            found = operate(self.primal, value)
        except ArithmeticError:
            found = None
        if type(found) is not float:  # or it is complex
            found = _as_of_numpys(ufunc, self.primal, value)
        made = TracedFloat(recorder, recorder.scalar(opcode, self.slot, slot), found)
        if after is not None and handled(recorder):
            after(self, other, made)
        return made

    def reflected(self: TracedFloat, other: Any) -> Any:
        if type(other) not in _PYTHONS:
            return rest(self, other, other, self)
        value = float(other)
        recorder = self.recorder
        slot = recorder.constant(value)
        if before is not None and handled(recorder):
            before(other, self)
        try:
            found = operate(value, self.primal)
        except ArithmeticError:
            found = None
        if type(found) is not float:
            found = _as_of_numpys(ufunc, value, self.primal)
        made = TracedFloat(recorder, recorder.scalar(opcode, slot, self.slot), found)
        if after is not None and handled(recorder):
            after(other, self, made)
        return made

    def rest(self: TracedFloat, other: Any, left: Any, right: Any) -> Any:
        kind = type(other)
        if kind is TracedScalar or kind in _NUMBERS:
            return operate(_as_numpys(left), _as_numpys(right))
        if type(other) is not bool and not isinstance(other, TracedFloat):
            return _other_operand(ufunc, left, right)
        # A bool, or a float of a recording around this one, which may have caught it here.
        recorder = innermost(left, right)
        left, right = (as_python(as_floats(as_traced(recorder, each))) for each in (left, right))
        return forward(left, right)

    return forward, reflected


def _as_of_numpys(ufunc: Any, left: float, right: float) -> float:
    """Return what NumPy gives where Python's floats raise, and nobody would catch it."""
    with np.errstate(all="ignore"):
        value: float = ufunc(left, right).item()
    return value


def _as_numpys(operand: Any) -> Any:
    """Return a float of Python's as one of NumPy's, anything else as it is."""
    if type(operand) is TracedFloat:
        return TracedScalar(operand.recorder, operand.slot, operand.primal)
    return operand


_OF_PYTHON = frozenset({TracedFloat, float, int, bool})


def _scalar_comparison(name: str, compute: Callable[[Any, Any], Any], ufunc: Any) -> Any:
    opcode = OPCODE[name]

    def compare(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if (kind is TracedScalar or kind is TracedFloat) and other.recorder is recorder:
            slot, value = other.slot, other.primal
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        elif (kind is TracedBool or kind is TracedInteger) and other.recorder is recorder:
            slot, value = other.slot, other.primal
        else:
            return _other_operand(ufunc, self, other)
        # (Of Python's floats the outcome is Python's bool, which is True or False by identity.)
        made = TracedTruth if type(self) is TracedFloat and kind in _OF_PYTHON else TracedBool
        outcome = compute(self.primal, value)
        return made(recorder, recorder.scalar(opcode, self.slot, slot), outcome)

    return compare


def _other_operand(ufunc: Any, left: Any, right: Any) -> Any:
    """Apply an operator to an operand that is no plain number: let NumPy's protocol sort it out."""
    if type(left) is TracedArray or type(right) is TracedArray:
        other = right if type(left) is TracedArray else left
        if type(other) is TracedScalar or type(other) is TracedFloat:
            return ufunc(left, right)
    if isinstance(left, TracedPair | complex) or isinstance(right, TracedPair | complex):
        return Traced._operate_complex(ufunc, left, right)
    for operand, other in ((left, right), (right, left)):
        if not isinstance(operand, _OPERANDS):
            if _is_fraction(ufunc, operand):
                return ufunc(*(float(x) if x is operand else x for x in (left, right)))
            return _not_a_number(ufunc, operand, other)
    if _is_bool_scalar(left) and _is_bool_scalar(right) and ufunc in (np.add, np.multiply):
        error = UnsupportedError(
            f"{ufunc.__name__} of two comparisons at {user_location()}: Python and NumPy disagree "
            "on what it means. Write 1.0 * (x < y) to count, or & and | to combine",
            code="bool-arithmetic",
        )
        refuse(innermost(left, right), error)
    return ufunc(left, right)


def _is_fraction(ufunc: Any, operand: Any) -> bool:
    """Return whether an operand is a fraction that Python makes a float; they compare exactly."""
    return isinstance(operand, numbers.Rational) and ufunc not in _COMPARING


_COMPARING = {getattr(np, name) for name in ("less", "less_equal", "greater", "greater_equal")}
_COMPARING |= {np.equal, np.not_equal}


def _not_a_number(ufunc: Any, operand: Any, traced: Traced) -> Any:
    """Return what an operator gives for an operand that it does not know."""
    if isinstance(operand, numbers.Number):
        error = UnsupportedError(
            f"{ufunc.__name__} of a traced value and {operand!r} of type {type(operand).__name__} "
            f"at {user_location()}: numtape computes in float64. Write float(y) for it",
            code="not-a-number",
        )
        refuse(traced.recorder, error)
    return NotImplemented


def _scalar_invert(self: TracedBool) -> Any:
    error = UnsupportedError(
        f"~ of the comparison {self!r} at {user_location()}: of a Python bool it is -1 or -2, of "
        "a NumPy bool the opposite. Write np.logical_not(c), or not c in a condition",
        code="bool-arithmetic",
    )
    refuse(self.recorder, error)


def _whole_binary(
    by_floats: tuple[Callable[..., Any], Callable[..., Any]], ufunc: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a binary operator of traced bools and integers, and its reflection.

    With a float it is that of floats; otherwise the ufunc keeps the type.
    """
    float_forward, float_reflected = by_floats

    def forward(self: Any, other: Any) -> Any:
        if type(other) is TracedScalar or type(other) is float:
            return float_forward(self, other)
        return _other_operand(ufunc, self, other)

    def reflected(self: Any, other: Any) -> Any:
        if type(other) is TracedScalar:  # Python asks a subclass first
            return float_forward(other, self)
        if type(other) is float:
            return float_reflected(self, other)
        return _other_operand(ufunc, other, self)

    return forward, reflected


def _is_bool_scalar(operand: Any) -> bool:
    return isinstance(getattr(operand, "primal", operand), bool | np.bool_)


def _array_binary(
    ufunc: Any, compute: Callable[[Any, Any], Any] | None = None
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return a binary operator of traced arrays, its reflection, and the one in place.

    Of an array of rank 0 with floats `compute` is applied to its scalar, which is quicker.
    """

    def forward(self: TracedArray, other: Any) -> Any:
        if compute is not None and not self._primals.ndim and self._primals.dtype.char == "d":
            return compute(_scalar_of(self), other)
        if not isinstance(other, _OPERANDS):
            return _other_operand(ufunc, self, other)
        return ufunc(self, other)

    def reflected(self: TracedArray, other: Any) -> Any:
        if compute is not None and not self._primals.ndim and self._primals.dtype.char == "d":
            return compute(other, _scalar_of(self))
        if not isinstance(other, _OPERANDS):
            return _other_operand(ufunc, other, self)
        return ufunc(other, self)

    def in_place(self: TracedArray, other: Any) -> TracedArray:
        result = ufunc(self, other)
        check_casting(ufunc.__name__, result, self)
        self[...] = result
        return self

    return forward, reflected, in_place


def _in_place_matmul(self: TracedArray, other: Any) -> TracedArray:
    """Multiply matrices in place: arrays alone, where the product has the shape of the array."""
    if not self.ndim or np.ndim(other) < 2:
        raise InputError(
            f"x @= y of shapes {self.shape} and {np.shape(other)} at {user_location()}: in place, "
            "x must have one axis at least and y two. Write x = x @ y"
        )
    result = np.matmul(self, other)
    if result.shape != self.shape:
        raise InputError(
            f"x @= y at {user_location()}: the product has shape {result.shape}, and x has "
            f"{self.shape}. Write x = x @ y"
        )
    check_casting("matmul", result, self)
    self[...] = result
    return self


def _scalar_of(array: TracedArray) -> TracedScalar:
    """Return the one float of an array of rank 0."""
    return TracedScalar(array.recorder, array.slots.item(), array.primals.item())


def _array_power(self: TracedArray, exponent: Any) -> Any:
    """Compute ``array ** number`` by NumPy's own shortcuts."""
    shortcut = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt, -1.0: np.reciprocal}
    if type(exponent) in _NUMBERS and float(exponent) in shortcut:
        return shortcut[float(exponent)](self)
    return np.power(self, exponent)


def _scalar_power(binary: Callable[..., Any], *checks: Any) -> Callable[..., Any]:
    of_constant, _ = binary("pow_constant", operator.pow, np.power, *checks)
    of_variable, _ = binary("pow", operator.pow, np.power, *checks)

    def power(self: TracedScalar, exponent: Any, modulus: Any = None) -> Any:
        if type(exponent) in _NUMBERS:
            return of_constant(self, exponent)
        # NumPy's function rounds otherwise than the operator, so it is not left to that.
        if isinstance(exponent, TracedInteger):
            exponent = as_floats(exponent)
        if isinstance(exponent, TracedScalar) and exponent.recorder is not self.recorder:
            recorder, is_python = innermost(self, exponent), type(self) is TracedFloat
            base, exponent = as_traced(recorder, self), as_traced(recorder, exponent)
            return of_variable(as_python(base) if is_python else base, exponent)
        return of_variable(self, exponent)

    return power


def _power_of(power: Callable[..., Any], reflected: Callable[..., Any]) -> Callable[..., Any]:
    """Return what integers do as exponents: of a float, which Python asks after them, its power."""

    def rpow(self: Any, base: Any, modulus: Any = None) -> Any:
        return power(base, self) if type(base) is TracedScalar else reflected(self, base)

    return rpow


def _unary_method(ufunc: Any) -> Callable[[Any], Any]:
    quick = of_scalars(ufunc) or (lambda _: None)

    def method(self: Any) -> Any:
        result = quick(self)
        return ufunc(self) if result is None else result

    return method


def _binary_method(ufunc: Any) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return ufunc(self, other)

    return method


def _python_unary(ufunc: Any, operate: Callable[[float], float]) -> Callable[[TracedFloat], Any]:
    opcode = OPCODE[ufunc.__name__]

    def method(self: TracedFloat) -> Any:
        recorder = self.recorder
        return TracedFloat(recorder, recorder.scalar(opcode, self.slot, 0), operate(self.primal))

    return method


_ARITHMETIC: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    ("add", operator.add, np.add),
    ("sub", operator.sub, np.subtract),
    ("mul", operator.mul, np.multiply),
    ("truediv", operator.truediv, np.divide),
    ("mod", lambda x, y: np.remainder(x, y).item(), np.remainder),
    ("floordiv", lambda x, y: np.floor_divide(x, y).item(), np.floor_divide),
    ("pow", operator.pow, np.power),
)
# What Python's floats compute, and look at before and after where they may raise.
_PYTHONS_OWN: dict[str, tuple[Any, ...]] = {
    "add": (operator.add,),
    "sub": (operator.sub,),
    "mul": (operator.mul,),
    "truediv": (operator.truediv, partial(check_division, operator.truediv)),
    "mod": (operator.mod, partial(check_division, operator.mod)),
    "floordiv": (operator.floordiv, partial(check_division, operator.floordiv)),
    "pow": (operator.pow, check_power, check_overflow),
}
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
    ("lshift", np.left_shift),
    ("rshift", np.right_shift),
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
    """Give the classes their operators."""
    for name, compute, ufunc in _ARITHMETIC:
        row = "pow" if name == "pow" else ufunc.__name__
        forward, reflected = _scalar_binary(row, compute, ufunc)
        _set(TracedScalar, name, forward)
        _set(TracedScalar, f"r{name}", reflected)
        if name in ("add", "sub", "mul", "truediv"):
            OF_A_NUMBER[ufunc] = reflected
        operate, *checks = _PYTHONS_OWN[name]
        forward, reflected = _python_binary(row, operate, ufunc, *checks)
        _set(TracedFloat, name, forward)
        _set(TracedFloat, f"r{name}", reflected)
        # The others are of Python floats what they are not of arrays.
        alike = compute if name in ("add", "sub", "mul") else None
        forward, reflected, in_place = _array_binary(ufunc, alike)
        _set(TracedArray, name, forward)
        _set(TracedArray, f"r{name}", reflected)
        _set(TracedArray, f"i{name}", in_place)
        forward, reflected = _whole_binary(_scalar_binary(row, compute, ufunc), ufunc)
        for whole in (TracedInteger, TracedBool):
            _set(whole, name, forward)
            _set(whole, f"r{name}", reflected)
    power = _scalar_power(_scalar_binary)
    _set(TracedScalar, "pow", power)
    for whole in (TracedInteger, TracedBool):
        _set(whole, "rpow", _power_of(power, getattr(whole, "__rpow__")))  # noqa: B009
    _set(TracedFloat, "pow", _scalar_power(_python_binary, check_power, check_overflow))
    _set(TracedArray, "pow", _array_power)
    for name, compute, ufunc in _COMPARISONS:
        _set(TracedScalar, name, _scalar_comparison(ufunc.__name__, compute, ufunc))
        _set(TracedArray, name, _array_binary(ufunc, compute)[0])
    for name, ufunc in _ONLY_BY_UFUNC:
        forward, reflected, in_place = _array_binary(ufunc)
        for kind in (TracedScalar, TracedArray):
            _set(kind, name, forward)
            _set(kind, f"r{name}", reflected)
        _set(TracedArray, f"i{name}", _in_place_matmul if name == "matmul" else in_place)
    for kind in (TracedScalar, TracedArray):
        _set(kind, "divmod", lambda self, other: (self // other, self % other))
        _set(kind, "rdivmod", lambda self, other: (other // self, other % self))
    for name, ufunc in _UNARY:
        for kind in (TracedScalar, TracedArray):
            _set(kind, name, _unary_method(ufunc))
        if name != "invert":
            _set(TracedFloat, name, _python_unary(ufunc, getattr(operator, name)))
    _set(TracedBool, "invert", _scalar_invert)
    # NumPy calls these on the elements of object arrays: np.sin(np.array([x, y])).
    for each in ROWS:
        is_numpy = each.ufunc is not None and each.ufunc.startswith("numpy.")
        if each.arity == 1 and is_numpy and not hasattr(TracedScalar, each.name):
            setattr(TracedScalar, each.name, _unary_method(getattr(np, each.name)))
    for ufunc in (np.arctan2, np.hypot, np.fmod):
        setattr(TracedScalar, ufunc.__name__, _binary_method(ufunc))


_install()
