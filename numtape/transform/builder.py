"""Writing a tape that is simpler than what it is written from.

A `Builder` is a recorder that looks at each instruction before it records it.
It folds constants, applies identities that are exact in floating point (but for
the sign of a zero or the bits of a nan), and returns the slot of an equal
instruction that is there already. `replay` feeds it an existing tape; the
derivative transforms write to it directly, so a derivative tape is simplified
while it is made.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

import numpy as np

from numtape.ops.structured import (
    ACCUMULATE,
    FUNCTION,
    MAP,
    ORDER,
    ORDER_OPCODES,
    PRODUCT,
    REDUCE,
    SAFE_PRODUCT_OPCODE,
    SEARCH,
    SPREAD,
    TAKE,
    function_of,
)
from numtape.ops.table import OPCODE, ROWS
from numtape.ops.values import value_of_row
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.regular import RegularSlots, broadcast_slots
from numtape.trace.recorder import Recorder, Slots, contiguous_strides, view_of
from numtape.transform.blocks import Blocks, blocks_of

__all__ = ["ALL_RULES", "NO_RULES", "Builder", "Rules", "arranged", "replay", "uniform"]

_ADD, _SUBTRACT, _MULTIPLY = OPCODE["add"], OPCODE["subtract"], OPCODE["multiply"]
_DIVIDE, _NEGATIVE, _SCALE = OPCODE["divide"], OPCODE["negative"], OPCODE["scale"]
_COMMUTATIVE = frozenset(
    OPCODE[name] for name in ("add", "multiply", "scale", "equal", "not_equal", "logical_and")
)

# A tape with more constants than this keeps them as they are: they are data.
_FEW_CONSTANTS = 10_000


@dataclass(frozen=True)
class Rules:
    """What a builder does to instructions.

    Attributes
    ----------
    fold : bool
        Compute operations on constants.
    simplify : bool
        Apply identities: ``x * 1``, ``x + (-y)``, ``-(-x)`` and their like.
    share : bool
        Record equal instructions once.
    """

    fold: bool = True
    simplify: bool = True
    share: bool = True


ALL_RULES = Rules()
NO_RULES = Rules(False, False, False)


class Builder(Recorder):
    """A recorder that simplifies.

    Parameters
    ----------
    inputs : int
        How many input slots the tape has.
    rules : Rules
    """

    __slots__ = ("_negated", "_negated_arrays", "_scalars", "_vectors", "_written", "rules")

    def __init__(self, inputs: int, rules: Rules = ALL_RULES) -> None:
        super().__init__(inputs)
        self.rules = rules
        self._scalars: dict[tuple[int, int, int], int] = {}
        self._vectors: dict[Any, Slots] = {}
        self._written: dict[int, float] = {0: 0.0}  # constants by slot
        self._negated: dict[int, int] = {}  # what a slot is the negative of
        self._negated_arrays: dict[tuple[int, int], Slots] = {}  # by first slot and size

    # constants

    def constant(self, value: float) -> int:
        """The slot of a constant; equal bits share one."""
        slot = super().constant(value)
        self._written[slot] = value
        return slot

    def known(self, slot: int) -> float | None:
        """The value of a slot, where it is a constant that instructions may be folded with."""
        return self._written.get(slot)

    # instructions

    def scalar(self, opcode: int, a: int, b: int) -> int:
        """Record a scalar instruction, unless a simpler slot will do."""
        written = self._written
        if self.rules.fold and a in written and b in written:
            return self._fold(opcode, a, b)
        if self.rules.simplify:
            rule = _IDENTITIES.get(opcode)
            if rule is not None:
                simpler = rule(self, a, b)
                if simpler is not None:
                    return simpler
        if not self.rules.share:
            slot = super().scalar(opcode, a, b)
        else:
            key = (opcode, b, a) if a > b and opcode in _COMMUTATIVE else (opcode, a, b)
            known = self._scalars.get(key)
            if known is not None:
                return known
            slot = self._scalars[key] = super().scalar(opcode, a, b)
        if opcode == _NEGATIVE:
            self._negated[slot] = a
        return slot

    def _fold(self, opcode: int, a: int, b: int) -> int:
        row = ROWS[opcode]
        operands = (self._written[a], self._written[b])[: row.arity]
        with np.errstate(all="ignore"):
            return self.constant(float(value_of_row(row, operands)))

    def elementwise(self, opcode: int, operands: Sequence[Slots]) -> Slots:
        """Record a row over arrays, unless simpler slots will do."""
        if self.rules.fold or self.rules.simplify:
            repeated = [uniform(operand) for operand in operands]
            simpler = self._simpler_array(opcode, operands, repeated)
            if simpler is not None:
                shape = np.broadcast_shapes(*(operand.shape for operand in operands))
                found: Slots = broadcast_slots(simpler, shape)
                return found
        result = super().elementwise(opcode, operands)
        if opcode == _NEGATIVE and result.size > 1 and _is_whole(result):
            self._negated_arrays[result.item(0), result.size] = operands[0]
        return result

    def _simpler_array(
        self, opcode: int, operands: Sequence[Slots], repeated: Sequence[int | None]
    ) -> Slots | None:
        """Operands that are one constant throughout can do to an array what they do to a scalar."""
        constants = [None if slot is None else self.known(slot) for slot in repeated]
        if None not in constants:
            if not self.rules.fold:
                return None
            a, b = (*repeated, 0)[:2]
            return np.array(self._fold(opcode, int(a or 0), int(b or 0)))
        if not self.rules.simplify or len(operands) == 1:
            return None
        x, y = constants
        left, right = operands
        name = ROWS[opcode].name
        if name in ("multiply", "scale") and 1.0 in (x, y):
            return _as_new(right if x == 1.0 else left)
        if name in ("multiply", "scale") and -1.0 in (x, y):
            return self.elementwise(_NEGATIVE, (right if x == -1.0 else left,))
        if name in ("multiply", "scale") and constants != [None, None]:
            constant, other = (x, right) if x is not None else (y, left)
            negated = self._negated_arrays.get((other.item(0), other.size))
            if negated is not None and _is_whole(other) and constant is not None:
                turned = np.array(self.constant(-constant))  # the same, bit for bit
                return super().elementwise(opcode, (turned, negated.reshape(other.shape)))
        if name == "scale" and 0.0 in (x, y):
            return np.array(self.constant(0.0))
        if name == "scale" and any(each is not None and isfinite(each) for each in (x, y)):
            return self.elementwise(_MULTIPLY, operands)
        if name in ("divide", "pow", "pow_constant", "power", "power_constant") and y == 1.0:
            return _as_new(left)
        if name in ("keep", "drop") and x is not None:
            kept = (x != 0.0) == (name == "keep")
            return _as_new(right) if kept else np.array(self.constant(0.0))
        if name == "merge" and _is_plus_zero(x):
            return _as_new(right)
        if name == "merge" and _is_plus_zero(y):
            return _as_new(left)
        return None

    def _array(self, start: int, size: int, shape: tuple[int, ...]) -> Any:
        return RegularSlots.contiguous(start, shape, size)

    def _vector(self, instruction: VectorInstruction) -> Slots:
        if not self.rules.share:
            return super()._vector(instruction)
        key = (
            instruction.kind,
            instruction.opcode,
            instruction.shape,
            instruction.result,
            instruction.result_strides,
            _digest(instruction.targets),
            *((view.base, view.strides, _digest(view.table)) for view in instruction.operands),
        )
        slots = self._vectors.get(key)
        if slots is None:
            slots = self._vectors[key] = super()._vector(instruction)
        return slots


def _as_new(slots: Slots) -> Slots | None:
    """An operand in place of its copy, if it lies in memory as the copy would.

    Otherwise a matrix product of it could round differently.
    """
    return slots if _is_whole(slots) else None


def _is_whole(slots: Slots) -> bool:
    """Whether slots follow one another in the array's own order."""
    view = view_of(slots)
    return view.table is None and view.strides == contiguous_strides(slots.shape)


def uniform(slots: Slots) -> int | None:
    """The slot that an array repeats, or None."""
    if slots.size == 0:
        return None
    first = slots.item(0)
    if isinstance(slots, RegularSlots):
        return None if any(slots.slot_strides()) else first
    if slots.size == 1:
        return first
    return first if slots.item(-1) == first and (slots == first).all() else None


def _is_plus_zero(value: float | None) -> bool:
    return value == 0.0 and not np.signbit(value)


def _digest(table: Slots | None) -> bytes | None:
    if table is None:
        return None
    return blake2b(np.ascontiguousarray(table).data.cast("B"), digest_size=16).digest()


# Identities of scalar instructions. Each gives a slot of the same value, or None.


def _add(builder: Builder, a: int, b: int) -> int | None:
    negated = builder._negated
    if b in negated:
        return builder.scalar(_SUBTRACT, a, negated[b])
    if a in negated:
        return builder.scalar(_SUBTRACT, b, negated[a])
    return None


def _subtract(builder: Builder, a: int, b: int) -> int | None:
    if b in builder._negated:
        return builder.scalar(_ADD, a, builder._negated[b])
    return a if _is_plus_zero(builder.known(b)) else None


def _multiply_by(opcode: int) -> Callable[[Builder, int, int], int | None]:
    """`multiply` and `scale`: signs move outwards, where sums take them up."""

    def multiply(builder: Builder, a: int, b: int) -> int | None:
        negated, written = builder._negated, builder._written
        if a in written:
            return by_constant(builder, b, a, written[a])
        if b in written:
            return by_constant(builder, a, b, written[b])
        if a in negated:
            product = builder.scalar(opcode, negated[a], negated.get(b, b))
            return product if b in negated else builder.scalar(_NEGATIVE, product, 0)
        if b in negated:
            return builder.scalar(_NEGATIVE, builder.scalar(opcode, a, negated[b]), 0)
        return None

    def by_constant(builder: Builder, other: int, slot: int, value: float) -> int | None:
        if value == 1.0:
            return other
        if value == -1.0:
            return builder.scalar(_NEGATIVE, other, 0)
        if other in builder._negated:
            return builder.scalar(opcode, builder.constant(-value), builder._negated[other])
        if opcode == _SCALE and value == 0.0:
            return builder.constant(0.0)
        if opcode == _SCALE and isfinite(value):
            return builder.scalar(_MULTIPLY, slot, other)
        return None

    return multiply


def _divide(builder: Builder, a: int, b: int) -> int | None:
    negated = builder._negated
    if builder.known(b) == 1.0:
        return a
    if builder.known(b) == -1.0:
        return builder.scalar(_NEGATIVE, a, 0)
    if a in negated:
        quotient = builder.scalar(_DIVIDE, negated[a], negated.get(b, b))
        return quotient if b in negated else builder.scalar(_NEGATIVE, quotient, 0)
    return None


def _negative(builder: Builder, a: int, b: int) -> int | None:
    return builder._negated.get(a)


def _positive(builder: Builder, a: int, b: int) -> int | None:
    return a


def _power(builder: Builder, a: int, b: int) -> int | None:
    exponent = builder.known(b)
    if exponent == 1.0:
        return a
    return builder.constant(1.0) if exponent == 0.0 else None


def _masked(when: bool) -> Callable[[Builder, int, int], int | None]:
    def mask(builder: Builder, a: int, b: int) -> int | None:
        condition = builder.known(a)
        if condition is None:
            return None
        return b if (condition != 0.0) == when else builder.constant(0.0)

    return mask


def _merge(builder: Builder, a: int, b: int) -> int | None:
    if _is_plus_zero(builder.known(a)):
        return b
    return a if _is_plus_zero(builder.known(b)) else None


_IDENTITIES: dict[int, Callable[[Builder, int, int], int | None]] = {
    OPCODE[name]: rule
    for name, rule in {
        "add": _add,
        "subtract": _subtract,
        "multiply": _multiply_by(_MULTIPLY),
        "scale": _multiply_by(_SCALE),
        "divide": _divide,
        "negative": _negative,
        "positive": _positive,
        "pow": _power,
        "pow_constant": _power,
        "power": _power,
        "power_constant": _power,
        "keep": _masked(True),
        "drop": _masked(False),
        "merge": _merge,
    }.items()
}


# Existing tapes.


def replay(
    tape: FlatTape,
    recorder: Recorder,
    inputs: Sequence[int] | Slots,
    needed: Any = None,
    made: tuple[Slots, Slots] | None = None,
) -> Blocks:
    """Record a tape's instructions again, on other inputs.

    Parameters
    ----------
    tape : FlatTape
    recorder : Recorder
        Where to.
    inputs : sequence of int
        The slots that take the place of the tape's inputs.
    needed : sequence of bool, optional
        Which instructions to record; all by default.
    made : pair of int64 arrays, optional
        Slots of `tape` that the recorder has already, and its slots for them.

    Returns
    -------
    Blocks
        For every slot of `tape`, its slot in `recorder`; none where it was not recorded.
    """
    starts = blocks_of(tape)
    slots = Blocks(starts, np.array(starts))
    singles = _Singles(tape, slots)
    singles.set_block(1, _replayed_constants(tape, recorder))
    singles.set_block(2, _in_order(np.asarray(inputs, np.int64)))
    if made is not None:
        slots.put(*made)
    scalar = recorder.scalar
    flat: Any = slots.flat.tolist() if tape.is_scalar else slots.flat
    results = slots.starts[3:]
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        if needed is not None and not needed[number]:
            continue
        if opcode != VECTOR:
            flat[results[number]] = scalar(opcode, int(flat[a]), int(flat[b]))
            continue
        instruction = tape.vectors[a]
        operands = tuple(map(slots.read, instruction.operands_read()))
        singles.set_block(3 + number, _replay_vector(recorder, instruction, operands))
    if tape.is_scalar:
        slots.flat = np.array(flat, np.int64)
    for guard, slot in zip(tape.guards, slots.at(tape.guard_slots).tolist(), strict=True):
        recorder.guard(slot, guard.outcome, guard.location)
    return slots


class _Singles:
    """Slots of a replayed tape that scalar instructions read: these are also written out.

    Parameters
    ----------
    tape : FlatTape
    slots : Blocks
    """

    def __init__(self, tape: FlatTape, slots: Blocks) -> None:
        self.slots = slots
        self.read = np.unique(tape.code[tape.code[:, 0] != VECTOR, 1:]).astype(np.int64)
        self.ends = np.searchsorted(self.read, slots.listed).tolist()

    def set_block(self, block: int, new: Any) -> None:
        """Give a block its slots."""
        slots = self.slots
        slots.set_block(block, new)
        first, last = self.ends[block], self.ends[block + 1]
        whole = slots.whole.get(block)
        if first < last and whole is not None:
            places = self.read[first:last]
            slots.flat[places] = whole.ravel()[places - slots.starts[block]]


def _in_order(slots: Slots) -> Any:
    """Slots that follow one another as an array that steps evenly, others as they are."""
    if len(slots) and (np.diff(slots) == 1).all():
        return RegularSlots.contiguous(int(slots[0]), slots.shape, len(slots))
    return slots


def _replayed_constants(tape: FlatTape, recorder: Recorder) -> Any:
    """The slots of a tape's constants."""
    if tape.is_scalar:
        return np.array([recorder.constant(value) for value in tape.constants.tolist()], np.int64)
    # Vector instructions may read them as arrays, so they stay together.
    new = recorder.constant_array(tape.constants)
    if isinstance(recorder, Builder):
        for slot in _read_alone(tape):
            recorder._written.setdefault(int(new[slot - 1]), float(tape.constants[slot - 1]))
    return _in_order(new)


def _read_alone(tape: FlatTape) -> Iterable[int]:
    """The slots of constants that some instruction reads as one number: those simplify."""
    first = tape.first_input
    if len(tape.constants) <= _FEW_CONSTANTS:
        return range(1, first)
    scalars = tape.code[tape.code[:, 0] != VECTOR, 1:]
    found = set(scalars[(scalars > 0) & (scalars < first)].tolist())
    for instruction in tape.vectors:
        for view, shape in zip(instruction.operands, instruction.operand_shapes(), strict=True):
            pairs = zip(shape, view.strides, strict=True)
            is_one = view.table is None and all(stride == 0 or n == 1 for n, stride in pairs)
            if is_one and 0 < view.base < first:
                found.add(view.base)
    return found


def _replay_vector(
    recorder: Recorder, instruction: VectorInstruction, operands: tuple[Slots, ...]
) -> Slots:
    if instruction.kind == MAP:
        return recorder.elementwise(instruction.opcode, operands)
    if instruction.kind == PRODUCT:
        left, right = operands
        before, after = (view.base for view in instruction.operands)
        if left.item(0) == right.item(0) and before != after:
            # BLAS rounds otherwise for a matrix and its own transpose than for a copy.
            left = recorder.copy(left)
        return recorder.product(left, right, instruction.opcode == SAFE_PRODUCT_OPCODE)
    if instruction.kind == FUNCTION:
        function = function_of(instruction.opcode)
        extents = instruction.shape[len(instruction.shape) - len(function.names) :]
        chosen = dict(zip(function.names, extents, strict=True))
        parts = recorder.function(function.name, operands, **chosen)
        flat = [part.ravel() for part in parts]
        return flat[0] if len(flat) == 1 else np.concatenate(flat)
    if instruction.kind == TAKE:
        return recorder.take(operands[0], operands[1])
    if instruction.kind == SPREAD:
        return recorder.spread(operands[0], operands[1], instruction.shape[-1])
    if instruction.kind == SEARCH:
        return recorder.search(operands[0], operands[1], right=bool(instruction.opcode))
    (operand,) = operands
    if instruction.kind == ORDER:
        kinds = {opcode: kind for kind, opcode in ORDER_OPCODES.items()}
        return recorder.order(operand, kinds[instruction.opcode])
    if instruction.kind == REDUCE:
        order, reduced = arranged(instruction)
        return recorder.reduce(ROWS[instruction.opcode].name, operand.transpose(order), reduced)
    if instruction.kind == ACCUMULATE:
        running = recorder.accumulate(ROWS[instruction.opcode].name, operand, -1)
        order, _ = arranged(instruction)
        return running.transpose(order)
    assert instruction.targets is not None
    return recorder.scatter(operand, instruction.targets, instruction.size)


def arranged(instruction: VectorInstruction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of a reduction or accumulation in the order of its result, reduced ones last.

    Returns
    -------
    order, reduced : tuple of int
        How to transpose the walked axes, and which of the transposed are reduced.
    """
    strides = instruction.result_strides
    axes = range(len(strides))
    kept = sorted((k for k in axes if strides[k]), key=lambda k: -strides[k])
    dropped = [k for k in axes if not strides[k]]
    return (*kept, *dropped), tuple(range(len(kept), len(strides)))
