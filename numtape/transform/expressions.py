"""The table's partials, ready to be written to a tape.

An `Expression` is an array of slots of a builder, with Python's operators and a
function for every row: what the text of a partial is evaluated on. Evaluating
text for each of a hundred thousand scalar instructions would be slow, so for
those a partial is evaluated once and kept as a `Template`: a few instructions
on x, y and f, to be copied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS, UNKNOWN, Row
from numtape.trace.recorder import RESULTS, Slots
from numtape.transform.builder import Builder, uniform

__all__ = [
    "NAMES",
    "Expression",
    "Template",
    "as_expression",
    "even_slope",
    "function_call",
    "partial_of",
    "template",
]


class Expression:
    """An array of slots, shape () for a single one.

    Parameters
    ----------
    builder : Builder
    slots : int64 array
    """

    __slots__ = ("builder", "slots")

    def __init__(self, builder: Builder, slots: Slots) -> None:
        self.builder = builder
        self.slots = slots

    @property
    def constant(self) -> float | None:
        """The value, where all slots are one and the same constant."""
        slot = uniform(self.slots)
        return None if slot is None else self.builder.known(slot)

    def apply(self, name: str, *operands: Any) -> "Expression":
        """Record a row of expressions and numbers."""
        builder = self.builder
        expressions = [as_expression(builder, operand) for operand in operands]
        exponent = expressions[-1].constant
        if name in _POWERS and exponent == 2.0:
            name, expressions = "square", expressions[:1]
        slots = [expression.slots for expression in expressions]
        if any(array.ndim for array in slots):
            return Expression(builder, builder.elementwise(OPCODE[name], slots))
        a, b = (*(int(slot) for slot in slots), 0)[:2]
        return Expression(builder, np.array(builder.scalar(OPCODE[name], a, b)))

    def __add__(self, other: Any) -> "Expression":
        return self.apply("add", self, other)

    def __radd__(self, other: Any) -> "Expression":
        return self.apply("add", other, self)

    def __sub__(self, other: Any) -> "Expression":
        return self.apply("subtract", self, other)

    def __rsub__(self, other: Any) -> "Expression":
        return self.apply("subtract", other, self)

    def __mul__(self, other: Any) -> "Expression":
        return self.apply("multiply", self, other)

    def __rmul__(self, other: Any) -> "Expression":
        return self.apply("multiply", other, self)

    def __truediv__(self, other: Any) -> "Expression":
        return self.apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> "Expression":
        return self.apply("divide", other, self)

    def __neg__(self) -> "Expression":
        return self.apply("negative", self)

    # of matrices: the last two axes

    def __matmul__(self, other: "Expression") -> "Expression":
        return Expression(self.builder, self.builder.product(self.slots, other.slots))

    @property
    def T(self) -> "Expression":  # noqa: N802 (NumPy's name)
        """The matrices transposed."""
        return Expression(self.builder, self.slots.swapaxes(-1, -2))

    def __getitem__(self, key: Any) -> "Expression":
        return Expression(self.builder, self.slots[key])

    def sum(self, axes: tuple[int, ...]) -> "Expression":
        """Sum over some axes, counted from the end: -1, -2."""
        rank = self.slots.ndim
        places = tuple(sorted(axis % rank for axis in axes))
        return Expression(self.builder, self.builder.reduce("add", self.slots, places))


def function_call(name: str, *operands: Expression, **chosen: int) -> tuple[Expression, ...]:
    """Record one of `FUNCTIONS`; return its results."""
    builder = operands[0].builder
    results = builder.function(name, [operand.slots for operand in operands], **chosen)
    return tuple(Expression(builder, slots) for slots in results)


_POWERS = ("power", "power_constant", "pow", "pow_constant")


def as_expression(builder: Builder, operand: Any) -> Expression:
    """Return an expression as it is, a number as a constant."""
    if isinstance(operand, Expression):
        return operand
    return Expression(builder, np.array(builder.constant(float(operand))))


def _row_function(row: Row) -> Callable[..., Any]:
    def function(*operands: Any) -> Any:
        for operand in operands:
            if isinstance(operand, Expression):
                return operand.apply(row.name, *operands)
        raise TypeError(f"{row.name} of numbers alone in a partial: write the number")

    return function


def _where(condition: Expression, taken: Any, otherwise: Any) -> Any:
    chosen = condition.constant
    if chosen is not None:
        return taken if chosen != 0.0 else otherwise
    kept = condition.apply("keep", condition, taken)
    dropped = condition.apply("drop", condition, otherwise)
    return condition.apply("merge", kept, dropped)


_ORDINALS = ("first", "second")

# What the text of a partial may call.
NAMES = {row.name: _row_function(row) for row in ROWS} | {"where": _where, "__builtins__": {}}


@cache
def partial_of(opcode: int, operand: int) -> Callable[..., Any] | float | None:
    """Return a row's partial by an operand: a function of x, y and f, a number, or None for 0."""
    row = ROWS[opcode]
    text = row.partials[operand]
    if text == "0":
        return None
    if text == UNKNOWN:
        raise UnsupportedError(
            f"the derivative of {row.name} ({row.synopsis}) by its {_ORDINALS[operand]} operand "
            f"has no closed form. Differentiate by the other operand only, or hold this one "
            "constant: pass numtape.stop_gradient(a), or an int",
            code="no-derivative",
        )
    try:
        return float(text)
    except ValueError:
        function: Callable[..., Any] = eval(f"lambda x, y, f: {text}", dict(NAMES))
        return function


@cache
def even_slope(opcode: int) -> Callable[[Expression], Any] | None:
    """Return the slope of a row's function by its operand's square, where the row has one."""
    text = ROWS[opcode].even
    if text is None:
        return None
    function: Callable[[Expression], Any] = eval(f"lambda x: {text}", dict(NAMES))
    return function


@dataclass(frozen=True)
class Template:
    """A partial of scalars as instructions to be copied.

    A reference is a float for a constant, -1, -2, -3 or -4 for x, y, f or the null
    slot, and k for the result of the k-th instruction.

    Attributes
    ----------
    instructions : tuple of (opcode, a, b)
        With references for a and b.
    result : float or int
        The reference of the partial itself.
    singular : bool
        Whether it may be infinite, or a mask; see `Row.finite`.
    """

    instructions: tuple[tuple[int, float | int, float | int], ...]
    result: float | int
    singular: bool


@lru_cache(maxsize=4096)
def template(opcode: int, operand: int, exponent: float | None) -> Template | None:
    """Return a row's partial as a template, None where it is 0.

    Parameters
    ----------
    opcode, operand : int
    exponent : float or None
        The second operand, for a row that holds it constant.
    """
    rule = partial_of(opcode, operand)
    if rule is None:
        return None
    if isinstance(rule, float):
        return Template((), rule, False)
    builder = Builder(3)
    x, y, f = (Expression(builder, np.array(slot)) for slot in (1, 2, 3))
    if exponent is not None:
        y = as_expression(builder, exponent)
    partial = as_expression(builder, rule(x, y, f))
    code = [tuple(row) for row in builder.instructions().tolist()]

    def reference(slot: int) -> float | int:
        if slot == 0:
            return -4
        value = builder.known(slot)
        if value is not None:
            return value
        return slot - RESULTS if slot >= RESULTS else -slot

    # What folding left over is not copied.
    needed, wanted = set(), [int(partial.slots)]
    while wanted:
        slot = wanted.pop()
        if slot >= RESULTS and slot not in needed:
            needed.add(slot)
            wanted += code[slot - RESULTS][1:]
    numbers = {slot - RESULTS: number for number, slot in enumerate(sorted(needed))}

    def renumbered(slot: int) -> float | int:
        place = reference(slot)
        return numbers[place] if isinstance(place, int) and place >= 0 else place

    return Template(
        tuple(
            (code[k][0], renumbered(code[k][1]), renumbered(code[k][2])) for k in sorted(numbers)
        ),
        renumbered(int(partial.slots)),
        ROWS[opcode].name == "scale" or not all(ROWS[code[k][0]].finite for k in numbers),
    )
