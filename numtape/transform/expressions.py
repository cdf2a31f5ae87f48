"""Arithmetic on slots: what the partials of the table are evaluated with.

An `Expression` is an array of slots that arithmetic and the rows' functions
record on. Constants are folded and neutral factors dropped while recording,
where that is exact; scalar instructions that were recorded before are used
again. No values are involved.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from numtape.ops.table import OPCODE, ROWS, Row
from numtape.ops.values import value_of_row
from numtape.trace.recorder import Recorder, Slots

__all__ = ["Algebra", "Expression", "partial_of"]


class Algebra:
    """Records expressions; one for each tape that is being written."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._known: dict[tuple[int, int, int], int] = {}

    def constant(self, value: float) -> "Expression":
        """A constant as an expression of shape ()."""
        return Expression(self, np.array(self.recorder.constant(value)))

    def slots(self, slots: Slots) -> "Expression":
        """Slots as an expression."""
        return Expression(self, slots)

    def apply(self, name: str, *operands: "Expression") -> "Expression":
        """The row `name` of expressions, broadcast together."""
        constants = [operand.constant for operand in operands]
        if all(constant is not None for constant in constants):
            with np.errstate(all="ignore"):
                value = float(value_of_row(ROWS[OPCODE[name]], constants))
            shape = np.broadcast_shapes(*(operand.slots.shape for operand in operands))
            return Expression(self, np.broadcast_to(self.constant(value).slots, shape))
        simpler = _SIMPLER.get(name)
        result = simpler(self, *operands) if simpler is not None else None
        return self._record(name, operands) if result is None else result

    def _record(self, name: str, operands: Sequence["Expression"]) -> "Expression":
        slots = [operand.slots for operand in operands]
        if any(array.ndim for array in slots):
            return Expression(self, self.recorder.elementwise(OPCODE[name], slots))
        key = (OPCODE[name], int(slots[0]), int(slots[1]) if len(slots) == 2 else 0)
        slot = self._known.get(key)
        if slot is None:
            slot = self._known[key] = self.recorder.scalar(*key)
        return Expression(self, np.array(slot))

    def sum(self, operand: "Expression", axes: tuple[int, ...]) -> "Expression":
        """The sum over some axes."""
        if not axes:
            return operand
        return Expression(self, self.recorder.reduce("add", operand.slots, axes))


class Expression:
    """An array of slots, shape () for a single one."""

    __slots__ = ("algebra", "slots")

    def __init__(self, algebra: Algebra, slots: Slots) -> None:
        self.algebra = algebra
        self.slots = slots

    @property
    def constant(self) -> float | None:
        """The value, where all slots are one and the same constant."""
        if self.slots.ndim == 0:
            return self.algebra.recorder.constant_value(int(self.slots))
        if self.slots.size == 0 or (self.slots != self.slots.flat[0]).any():
            return None
        return self.algebra.recorder.constant_value(int(self.slots.flat[0]))

    def __add__(self, other: Any) -> "Expression":
        return self.algebra.apply("add", self, self._operand(other))

    def __radd__(self, other: Any) -> "Expression":
        return self.algebra.apply("add", self._operand(other), self)

    def __sub__(self, other: Any) -> "Expression":
        return self.algebra.apply("subtract", self, self._operand(other))

    def __rsub__(self, other: Any) -> "Expression":
        return self.algebra.apply("subtract", self._operand(other), self)

    def __mul__(self, other: Any) -> "Expression":
        return self.algebra.apply("multiply", self, self._operand(other))

    def __rmul__(self, other: Any) -> "Expression":
        return self.algebra.apply("multiply", self._operand(other), self)

    def __truediv__(self, other: Any) -> "Expression":
        return self.algebra.apply("divide", self, self._operand(other))

    def __rtruediv__(self, other: Any) -> "Expression":
        return self.algebra.apply("divide", self._operand(other), self)

    def __neg__(self) -> "Expression":
        return self.algebra.apply("negative", self)

    def _operand(self, other: Any) -> "Expression":
        return other if isinstance(other, Expression) else self.algebra.constant(float(other))


def _simpler_product(algebra: Algebra, x: Expression, y: Expression) -> Expression | None:
    shape = np.broadcast_shapes(x.slots.shape, y.slots.shape)
    for factor, other in ((x.constant, y), (y.constant, x)):
        if factor in (1.0, -1.0):
            result = other if factor == 1.0 else algebra.apply("negative", other)
            return Expression(algebra, np.broadcast_to(result.slots, shape))
    return None


def _simpler_power(algebra: Algebra, x: Expression, y: Expression) -> Expression | None:
    exponent = y.constant
    if exponent not in (0.0, 1.0, 2.0):
        return None
    if exponent == 2.0:
        return algebra.apply("square", x)
    result = x if exponent == 1.0 else algebra.constant(1.0)
    shape = np.broadcast_shapes(x.slots.shape, y.slots.shape)
    return Expression(algebra, np.broadcast_to(result.slots, shape))


def _simpler_division(algebra: Algebra, x: Expression, y: Expression) -> Expression | None:
    return x if y.constant == 1.0 and not y.slots.ndim else None


_SIMPLER: dict[str, Callable[..., Expression | None]] = {
    "multiply": _simpler_product,
    "scale": _simpler_product,
    "divide": _simpler_division,
    **dict.fromkeys(("power", "power_constant", "pow", "pow_constant"), _simpler_power),
}


def _as_expressions(operands: Sequence[Any]) -> list[Expression]:
    algebra = next(operand.algebra for operand in operands if isinstance(operand, Expression))
    return [
        operand if isinstance(operand, Expression) else algebra.constant(float(operand))
        for operand in operands
    ]


def _row_function(row: Row) -> Callable[..., Any]:
    def apply(*operands: Any) -> Expression:
        expressions = _as_expressions(operands)
        result: Expression = expressions[0].algebra.apply(row.name, *expressions)
        return result

    return apply


def _where(condition: Any, taken: Any, otherwise: Any) -> Expression:
    chosen, a, b = _as_expressions((condition, taken, otherwise))
    if chosen.constant is not None:
        return a if chosen.constant != 0.0 else b
    apply = chosen.algebra.apply
    return apply("merge", apply("keep", chosen, a), apply("drop", chosen, b))


_NAMES = {row.name: _row_function(row) for row in ROWS} | {"where": _where, "__builtins__": {}}


@cache
def partial_of(opcode: int, operand: int) -> Callable[..., Any] | float | None:
    """A row's partial by an operand: a function of x, y and f, a number, or None for 0."""
    text = ROWS[opcode].partials[operand]
    if text == "0":
        return None
    try:
        return float(text)
    except ValueError:
        function: Callable[..., Any] = eval(f"lambda x, y, f: {text}", dict(_NAMES))
        return function
