"""Kinks that smooth out: squares, and other even functions, of roots.

|x|, hypot and norms have a kink at 0, where their slope is a choice (0). Their squares have
none: |x|² is x², whose second derivative is 2. Differentiated step by step that is lost,
because the slope of the root, ±1 on either side, enters the second derivative squared, and
the chosen 0 has another square. So what is an even function of a root is differentiated
by what is under the root:

    d(r²) = ds  for r = √s,   d(cos r) = -½ (sin r / r) ds,   and their like.

A *root* is what `absolute`, `hypot`, `norm_root`, ``maximum(x, -x)`` or ``minimum(x, -x)``
made, the `sqrt` of a sum of squares, and any of these negated, or multiplied or divided by
something. The *terms* of an instruction are its derivative as a sum: pairs of slots and the
factor of their tangents. They take the place of partials by its operands, in forward and in
reverse mode alike, so every nesting of them sees the smooth function.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import MAP, PRODUCT, REDUCE
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.flat import VECTOR, VectorInstruction, contiguous_strides
from numtape.tape.regular import RegularSlots
from numtape.trace.recorder import RESULTS, SMALL, Slots
from numtape.transform import walk as walking
from numtape.transform.builder import Builder
from numtape.transform.expressions import Expression, even_slope

__all__ = ["MAKES_ROOTS", "Roots", "Terms"]

Terms = list[tuple[Slots, Expression]]

# What an instruction reads: an array of slots, or one slot as a plain integer, which is quicker.
_Operand = Any

_POWERS = ("pow_constant", "power_constant")
MAKES_ROOTS = frozenset(opcode for opcode, row in enumerate(ROWS) if row.roots == "makes")

# How many roots may be made of each other, one after the other: a square at the end of such a
# chain has a term for each, so that squares all along it would have terms without number.
_LONGEST = 8


class Roots:
    """The roots among a builder's instructions, and the terms of their even functions.

    Parameters
    ----------
    builder : Builder
        With the instructions of one tape and nothing else yet.
    owners : int32 array (instructions, 2)
        The blocks of the scalar instructions' operands, as `walk` takes them.
    """

    def __init__(self, builder: Builder, owners: npt.NDArray[np.int32]) -> None:
        self.builder = builder
        self.vectors = builder.vectors
        self.code = builder.store.code()
        self.starts: list[int] = []
        self.end = builder.next_slot
        self.roots: dict[int, int] = {}  # instructions that are roots: made of how many others
        self.norms: list[int] = []  # those of them that are the `sqrt` of a sum of squares
        self.readers: set[int] = set()  # instructions that read roots, and may have terms
        self._flat: dict[int, bool] = {}  # whether instructions are sums of squares
        by_vectors = [form.instruction.opcode for form in self.vectors.forms]
        opcodes = np.concatenate([self.code[:, 0], by_vectors])
        if np.isin(opcodes, list(MAKES_ROOTS)).any():
            self.code = self.code.copy()
            self.starts = self._listed_starts()
            for number in self._concerned(owners).tolist():
                opcode, vector, _ = self.code[number].tolist()
                if opcode != VECTOR or self._may_concern(self.vectors[vector]):
                    self._look(number)

    def _concerned(self, owners: npt.NDArray[np.int32]) -> Slots:
        """Return the instructions that may make roots, or read some; any vector instruction may."""
        is_vector = self.code[:, 0] == VECTOR
        may_be, look = np.zeros((2, 2 + len(self.code)), np.uint8)
        may_be[2:] = look[2:] = is_vector
        done = 0
        for number in (*np.flatnonzero(is_vector).tolist(), len(self.code)):
            if done < number:
                marks = may_be, look, may_be
                self.builder.store.walk(walking.ROOTS, done, number, marks=marks, owners=owners)
            done = number + 1
        return np.flatnonzero(look[2:])

    def _may_concern(self, instruction: VectorInstruction) -> bool:
        """Return whether an instruction makes a root, or may read one."""
        return instruction.opcode in MAKES_ROOTS or any(
            view.table is not None or self._is_root(view.base) for view in instruction.operands
        )

    def _is_root(self, slot: int) -> bool:
        """Return whether the instruction that made a slot is a root."""
        return slot >= RESULTS and bisect_right(self.starts, slot) - 1 in self.roots

    def _look(self, number: int) -> None:
        """Find out whether an instruction is a root, or reads one."""
        name, operands = self._row(number)
        read = [self._root_at(operand) for operand in operands]
        if not name:  # small vectors are made of scalars
            read = [
                any(self._is_root(each.item(k)) for k in range(min(SMALL, each.size)))
                for each in operands
            ]
        depth = max((self._depth(operand) for operand in operands), default=0)
        is_root = name in ("absolute", "hypot", "norm_root")
        if name in ("negative", "positive", "divide"):
            is_root = read[0] and depth < _LONGEST
        elif name == "multiply":
            is_root = read[0] != read[1] and depth < _LONGEST
        elif name in ("maximum", "minimum"):
            is_root = self._negates(operands[0], operands[1])
        elif name == "sqrt" and self._is_flat_at_zero(operands[0]):
            is_root = True
            self.norms.append(number)
        if is_root:
            self.roots[number] = depth % _LONGEST
        if any(read) and (not is_root or (name == "hypot" and self.roots[number])):
            self.readers.add(number)

    def is_sum_of_squares(self, slot: int) -> bool:
        """Return whether a slot has a sum of squares, and is not 0 whatever the inputs are."""
        if not self.starts:
            self.starts = self._listed_starts()
        return slot >= RESULTS and self._is_flat_at_zero(slot)

    def _listed_starts(self) -> list[int]:
        first = RESULTS - 1 - self.builder.inputs
        starts: list[int] = (self.builder.store.starts().astype(np.int64) + first).tolist()
        return starts

    def among(self, slots: npt.ArrayLike) -> bool:
        """Return whether roots are among what some slots have."""
        if not self.roots:
            return False
        late = np.unique(np.asarray(slots, np.int64))
        late = late[late >= RESULTS]
        numbers = np.unique(np.searchsorted(self.starts, late, side="right") - 1)
        return not self.roots.keys().isdisjoint(numbers.tolist())

    # the instructions behind slots

    def _number(self, slots: _Operand) -> int | None:
        """Return the instruction that made all of some slots, None where there is no such one."""
        if isinstance(slots, int):
            return bisect_right(self.starts, slots) - 1 if slots >= RESULTS else None
        if slots.size == 0:
            return None
        low, high = slots.min(), slots.max()
        if low < RESULTS or high >= self.end:
            return None
        number = bisect_right(self.starts, low) - 1
        is_one = number + 1 == len(self.starts) or high < self.starts[number + 1]
        return number if is_one else None

    def _row(self, number: int) -> tuple[str, list[_Operand]]:
        """Return the row that an instruction applies, "" for one of another kind, and operands."""
        opcode, a, b = self.code[number].tolist()
        if opcode != VECTOR:
            row, w = ROWS[opcode], self.builder.store.w
            operands = [int(walking.decoded(w, slot)) for slot in (a, b)]
            return row.name, operands[: row.arity]
        instruction = self.vectors[a]
        name = ROWS[instruction.opcode].name if instruction.kind == MAP else ""
        return name, list(instruction.operands_read())

    def _made_by(self, slots: _Operand) -> tuple[str, list[_Operand]]:
        """Return the row that made some slots, and its operands in the slots' shape."""
        number = self._number(slots)
        if number is None:
            return "", []
        name, operands = self._row(number)
        if not name:
            return "", []
        if self.code[number, 0] != VECTOR:
            is_one = isinstance(slots, int)
            return name, operands if is_one else [np.full(slots.shape, each) for each in operands]
        chosen = slots - self.starts[number]
        return name, [_chosen(operand, chosen) for operand in operands]

    def _root_at(self, slots: _Operand) -> bool:
        return self._number(slots) in self.roots

    def _depth(self, slots: _Operand) -> int:
        """Return how deep a root made of these would be: 0 if they are none."""
        number = self._number(slots)
        return 0 if number is None or number not in self.roots else self.roots[number] + 1

    def _negates(self, a: _Operand, b: _Operand) -> bool:
        """Return whether one of two operands is the negative of the other."""
        return any(
            name == "negative" and _are_same(operands[0], other)
            for (name, operands), other in ((self._made_by(a), b), (self._made_by(b), a))
        )

    def _is_flat_at_zero(self, slots: _Operand) -> bool:
        """Return whether slots are sums of squares: not negative, and with no slope at 0."""
        found: list[int] = []
        todo = [slots]
        while todo:
            slots = todo.pop()
            number = self._number(slots)
            parts: list[_Operand] | None = None
            if number is None:
                parts = [] if self._constant(slots) == 0.0 else None
            elif self._flat.get(number, True):
                found.append(number)
                parts = [] if number in self._flat else self._flat_parts(number)
            if parts is None:
                self._flat.update(dict.fromkeys(found[:1], False))
                return False
            todo += parts
        self._flat.update(dict.fromkeys(found, True))
        return True

    def _flat_parts(self, number: int) -> list[_Operand] | None:
        """Return what must be sums of squares for an instruction to be one; None if it is none."""
        name, operands = self._row(number)
        if not name:
            instruction = self.vectors[self.code[number, 1]]
            if _is_dot(instruction):
                a, b = (self._uncopied(operand.ravel()) for operand in operands)
                return [] if _are_same(a, b) else None
            is_sum = instruction.kind == REDUCE and ROWS[instruction.opcode].name == "add"
            return operands if is_sum else None
        if name in ("add", "positive"):
            return operands
        if name in ("multiply", "divide") and not _are_same(operands[0], operands[1]):
            for factor, other in ((1, 0), (0, 1)) if name == "multiply" else ((1, 0),):
                constant = self._constant(operands[factor])
                if constant is not None:
                    return [operands[other]] if constant > 0.0 else None
            return None
        is_even = name in _POWERS and _is_even(self._constant(operands[1]))
        return [] if name in ("square", "multiply") or is_even else None

    def _uncopied(self, slots: Slots) -> Slots:
        name, operands = self._made_by(slots)
        return operands[0] if name == "positive" else slots

    def _constant(self, slots: _Operand) -> float | None:
        if isinstance(slots, int):
            return self.builder.known(slots)
        return Expression(self.builder, slots).constant

    def _expression(self, slots: _Operand) -> Expression:
        return Expression(self.builder, _array(slots))

    # terms

    def terms(self, number: int) -> Terms | None:
        """Return the terms of an instruction; None where its operands' partials will do."""
        name, operands = self._row(number)
        if not name:
            return self._dot(operands) if _is_dot(self.vectors[self.code[number, 1]]) else None
        if name == "multiply":
            return self._product(operands[0], operands[1])
        if name in _POWERS:
            return self._even_power(name, operands[0], self._constant(operands[1]))
        if name == "hypot":
            shape = np.shape(operands[0])
            slots = self.starts[number] + np.arange(np.size(operands[0])).reshape(shape)
            f = Expression(self.builder, slots)
            return _scaled(self._square(slots), f.apply("norm_slope", f))
        slope = even_slope(OPCODE[name])
        x = self._expression(operands[0])
        return None if slope is None else _scaled(self._square(operands[0]), slope(x))

    def _dot(self, operands: Sequence[Slots]) -> Terms | None:
        """Return the terms of a product of two vectors that have the same roots."""
        a, b = (self._uncopied(operand.ravel()) for operand in operands)
        if a.size > SMALL or self._number(a) is not None:
            return self._product(a, b)
        terms: Terms = []  # of few elements each is an instruction of its own
        for x, y in zip(a, b, strict=True):
            one = self._product(int(x), int(y))
            if one is None:
                return None
            terms += one
        return terms

    def _even_power(self, name: str, base: _Operand, exponent: float | None) -> Terms | None:
        if exponent is None or not _is_even(exponent):
            return None
        x = self._expression(base)
        power = 1.0 if exponent == 2.0 else x.apply(name, x, exponent - 2.0)
        return _scaled(self._square(base), 0.5 * exponent * power)

    def _square(self, root: _Operand) -> Terms:
        """Return the terms of a root's square."""
        name, operands = self._made_by(root)
        if name in ("norm_root", "sqrt"):
            one = Expression(self.builder, np.array(self.builder.constant(1.0)))
            return [(_array(operands[0]), one)]
        if name in ("maximum", "minimum"):
            return self._plain_square(operands[0])
        if name in ("absolute", "hypot"):
            number = self._number(root)
            reads = number in self.readers or name == "absolute"
            pairs = [(each, reads and self._root_at(each)) for each in operands]
            return [
                term
                for each, is_root in pairs
                for term in (self._square(each) if is_root else self._plain_square(each))
            ]
        terms = self._product(root, root)
        assert terms is not None
        return terms

    def _plain_square(self, slots: _Operand) -> Terms:
        return [(_array(slots), 2.0 * self._expression(slots))]

    def _product(self, a: _Operand, b: _Operand) -> Terms | None:
        """Return the terms of a product of two that have the same root; None where they do not."""
        for first, other in ((a, b), (b, a)):
            name, operands = self._made_by(first)
            is_root = [self._root_at(operand) for operand in operands]
            if name in ("negative", "positive") and is_root[0]:
                terms = self._product(operands[0], other)
                return terms if terms is None or name == "positive" else _scaled(terms, -1.0)
            if name in ("multiply", "divide") and is_root[0] != is_root[1]:
                root, factor = operands if is_root[0] else reversed(operands)
                return self._times(name, self._product(root, other), root, factor, other)
        return self._square(a) if self._root_at(a) and _are_same(a, b) else None

    def _times(
        self, name: str, terms: Terms | None, root: _Operand, factor: _Operand, other: _Operand
    ) -> Terms | None:
        """Return the terms of a product by a root that is multiplied or divided before."""
        if terms is None:
            return None
        r, c, b = (self._expression(slots) for slots in (root, factor, other))
        if name == "multiply":
            return [*_scaled(terms, c), (c.slots, r * b)]
        return [*_scaled(terms, 1.0 / c), (c.slots, -(r * b / (c * c)))]


def _scaled(terms: Terms, times: Any) -> Terms:
    """Multiply terms by a number or an expression."""
    return [(slots, times * factor) for slots, factor in terms]


def _chosen(slots: Any, places: Any) -> Any:
    """Return the slots at some places of an array, in the places' shape."""
    if isinstance(places, RegularSlots):
        is_whole = places.size == slots.size and places.item(0) == 0
        if is_whole and places.slot_strides() == contiguous_strides(places.shape):
            return slots.reshape(places.shape)
    return slots.ravel()[np.asarray(places)]


def _array(slots: _Operand) -> Any:
    """Return a slot as an array of one, an array as it is."""
    return np.array(slots) if isinstance(slots, int) else slots


def _are_same(a: _Operand, b: _Operand) -> bool:
    if isinstance(a, RegularSlots) and isinstance(b, RegularSlots):
        same_start = a.shape == b.shape and a.item(0) == b.item(0)
        return same_start and a.slot_strides() == b.slot_strides()
    return a == b if isinstance(a, int) and isinstance(b, int) else np.array_equal(a, b)


def _is_even(exponent: float | None) -> bool:
    return exponent is not None and exponent >= 2.0 and exponent % 2.0 == 0.0


def _is_dot(instruction: VectorInstruction) -> bool:
    """Return whether an instruction is the product of two vectors."""
    shape = instruction.shape
    return instruction.kind == PRODUCT and (len(shape), shape[0], shape[-1]) == (3, 1, 1)
