"""Writing a tape that is simpler than what it is written from.

A `Builder` is a recorder that looks at each instruction before it records it.
It folds constants, applies identities that are exact in floating point (but for
the sign of a zero or the bits of a nan), and returns the slot of an equal
instruction that is there already. `replay` feeds it an existing tape; the
derivative transforms write to it directly, so a derivative tape is simplified
while it is made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.regular import Layout, RegularSlots, broadcast_slots, in_order
from numtape.trace.recorder import (
    CONSTANTS,
    RESULTS,
    SMALL,
    Recorder,
    Slots,
    contiguous_strides,
    view_of,
)
from numtape.transform import walk as walking
from numtape.transform.blocks import Blocks, blocks_of
from numtape.transform.store import Store
from numtape.transform.walk import CONSTANT, NEXT
from numtape.transform.walk import CONSTANTS as CONSTANT_COUNT

__all__ = [
    "ALL_RULES",
    "NO_RULES",
    "Builder",
    "Rules",
    "regular",
    "replay",
    "uniform",
]

_MULTIPLY, _NEGATIVE = OPCODE["multiply"], OPCODE["negative"]


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

    __slots__ = ("_negated_arrays", "_pair", "_vectors", "rules", "store")

    def __init__(self, inputs: int, rules: Rules = ALL_RULES) -> None:
        self.rules = rules
        super().__init__(inputs)
        self._vectors: dict[tuple[int, tuple[int, ...]], int] = {}  # first slots by form and bases
        self._negated_arrays: dict[tuple[int, int], Slots] = {}  # by first slot and size
        self._pair = np.zeros((3, 1), np.int64)

    def _begin(self) -> None:
        self.store = Store(self.inputs, self.rules.fold, self.rules.simplify, self.rules.share)

    @property
    def next_slot(self) -> int:  # type: ignore[override]
        """The slot of the next result."""
        return RESULTS + int(self.store.w[NEXT]) - self.inputs - 1

    @property
    def _constant_count(self) -> int:  # type: ignore[override]
        return int(self.store.w[CONSTANT_COUNT])

    # constants

    def constant(self, value: float) -> int:
        """Return the slot of a constant; equal bits share one."""
        return CONSTANTS + self.store.constant(value)

    def known(self, slot: int) -> float | None:
        """Return the value of a slot, where it is a constant."""
        if slot == 0:
            return 0.0
        return float(self.store.f[slot - CONSTANTS]) if CONSTANTS <= slot < RESULTS else None

    def _append_constants(self, values: npt.NDArray[np.float64]) -> int:
        return CONSTANTS + self.store.append_constants(values)

    def _constants(self) -> npt.NDArray[np.float64]:
        return self.store.constants()

    # instructions

    def scalar(self, opcode: int, a: int, b: int) -> int:
        """Record a scalar instruction, unless a simpler slot will do."""
        pair = self._pair
        pair[:, 0] = opcode, a, b
        self.store.walk(walking.EMIT, 0, 1, columns=pair)
        return int(pair[0, 0])

    def _scalars(
        self, opcode: int, operands: Sequence[Slots], shape: tuple[int, ...], size: int
    ) -> Slots:
        columns: Slots = np.zeros((3, size), np.int64)
        columns[0] = opcode
        for column, operand in zip(columns[1:], operands, strict=False):
            column.reshape(shape)[...] = operand
        self.store.walk(walking.EMIT, 0, size, columns=columns)
        made: Slots = columns[0].reshape(shape)
        return made

    def instructions(self) -> Slots:
        """Return the instructions so far, as an array of opcodes and operands."""
        code = self.store.code().astype(np.int64)
        is_scalar = code[:, 0] != VECTOR
        slots = code[is_scalar, 1:]
        late = np.where(slots > self.inputs, slots + (RESULTS - self.inputs - 1), slots)
        code[is_scalar, 1:] = np.where(slots >= CONSTANT, slots + (CONSTANTS - CONSTANT), late)
        return code

    def _final_code(self) -> npt.NDArray[np.int32]:
        code = self.store.code().copy()
        is_scalar = code[:, 0] != VECTOR
        slots = code[is_scalar, 1:]
        count = self._constant_count
        others = np.where(slots > 0, slots + count, 0)
        code[is_scalar, 1:] = np.where(slots >= CONSTANT, slots - (CONSTANT - 1), others)
        return code

    def elementwise(self, opcode: int, operands: Sequence[Slots]) -> Slots:
        """Record a row over arrays, unless simpler slots will do."""
        constants = [self._value(operand) for operand in operands]
        if any(constant is not None for constant in constants):
            simpler = self._simpler_array(opcode, operands, constants)
            if simpler is not None:
                shape = np.broadcast_shapes(*(operand.shape for operand in operands))
                found: Slots = broadcast_slots(simpler, shape)
                return found
        result = super().elementwise(opcode, operands)
        if opcode == _NEGATIVE and result.size > 1 and _is_whole(result):
            self._negated_arrays[result.item(0), result.size] = operands[0]
        return result

    def _value(self, slots: Any) -> float | None:
        """Return the number that an array has throughout, where it is a constant."""
        if type(slots) is RegularSlots:
            slot = slots.base if slots.layout.is_one else None
        else:
            slot = uniform(slots)
        return None if slot is None else self.known(slot)

    def _simpler_array(
        self, opcode: int, operands: Sequence[Slots], constants: Sequence[float | None]
    ) -> Slots | None:
        """Fold or simplify by operands that are one constant throughout, as for scalars."""
        if None not in constants:
            if not self.rules.fold:
                return None
            a, b = (*(operand.item(0) for operand in operands), 0)[:2]
            return np.array(self.scalar(opcode, a, b))
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

    def again(self, form: int, layout: Layout, bases: tuple[int, ...]) -> Any:
        """Record an instruction that cannot be simplified, by its form; return its slots."""
        result: Any = super().again(form, layout, bases)
        own = self.forms.all[form]
        if own.instruction.opcode == _NEGATIVE and own.instruction.kind == MAP:
            read = own.layouts[0]
            if read is not None:
                self._negated_arrays[result.base, layout.size] = RegularSlots(bases[0], read)  # type: ignore[assignment]
        return result

    def _append_vector(self, form: int, layout: Layout, bases: tuple[int, ...]) -> Any:
        key = form, bases
        start = self._vectors.get(key)
        if start is None:
            start = self.store.append_vector(len(self.which), layout.size)
            start += RESULTS - self.inputs - 1
            self.which.append(form)
            self.bases += bases
            if self.rules.share:
                self._vectors[key] = start
        return RegularSlots(start, layout)


def _as_new(slots: Slots) -> Slots | None:
    """Return an operand in place of its copy, if it lies in memory as the copy would.

    Otherwise a matrix product of it could round differently.
    """
    return slots if _is_whole(slots) else None


def _is_whole(slots: Slots) -> bool:
    """Return whether slots follow one another in the array's own order."""
    if isinstance(slots, RegularSlots):
        return slots.layout.is_contiguous
    view = view_of(slots)
    return view.table is None and view.strides == contiguous_strides(slots.shape)


def uniform(slots: Slots) -> int | None:
    """Return the slot that an array repeats, or None."""
    if slots.size == 0:
        return None
    first = slots.item(0)
    if isinstance(slots, RegularSlots):
        return first if slots.layout.is_one else None
    if slots.size == 1:
        return first
    return first if slots.item(-1) == first and (slots == first).all() else None


def _is_plus_zero(value: float | None) -> bool:
    return value == 0.0 and not np.signbit(value)


# Existing tapes.


def replay(
    tape: FlatTape,
    recorder: Recorder,
    inputs: Sequence[int] | Slots,
    needed: Any = None,
    made: tuple[Slots, Slots] | None = None,
    others: Mapping[int, Callable[..., Any]] = MappingProxyType({}),
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
    others : mapping, optional
        What records some of the vector instructions, by their numbers, in place of their kinds:
        given the recorder, the instruction, the slots of its operands, and what reads such slots.

    Returns
    -------
    Blocks
        For every slot of `tape`, its slot in `recorder`; none where it was not recorded.
    """
    starts = blocks_of(tape)
    is_scalar = tape.is_scalar
    slots = Blocks(starts if is_scalar else starts.tolist(), starts, {1, 2} if is_scalar else ())
    singles = slots if is_scalar else _Singles(tape, slots)
    moves = _Moves(tape, recorder, slots)
    singles.set_block(1, _replayed_constants(tape, recorder))
    if isinstance(inputs, range) and inputs:  # NumPy would look at each
        own: Any = RegularSlots.contiguous(inputs.start, (len(inputs),))
    else:
        own = regular(np.asarray(inputs, np.int64))
    singles.set_block(2, own)
    if made is not None:
        slots.put(*made)
    vectors = np.flatnonzero(tape.code[:, 0] == VECTOR).tolist()

    def read(instruction: VectorInstruction) -> tuple[Any, ...]:
        return tuple(map(slots.read, instruction.operands_read()))

    done = 0
    for number in (*vectors, tape.instructions):
        _replay_scalars(tape, recorder, slots, done, number, needed)
        done = number + 1
        if number == tape.instructions or (needed is not None and not needed[number]):
            continue
        vector = int(tape.code[number, 1])
        new = None if vector in others else moves.moved(vector)
        if new is None:
            instruction = tape.vectors[vector]
            operands = read(instruction)
            if vector in others:
                new = others[vector](recorder, instruction, operands, read)
            else:
                new = KINDS[instruction.kind].again(recorder, instruction, operands)
        singles.set_block(3 + number, new)
    for guard, slot in zip(tape.guards, slots.at(tape.guard_slots).tolist(), strict=True):
        recorder.guard(slot, guard.outcome, guard.location)
    return slots


def _replay_scalars(
    tape: FlatTape, recorder: Recorder, slots: Blocks, first: int, last: int, needed: Any
) -> None:
    """Record scalar instructions again, which follow one another."""
    if first == last:
        return
    if isinstance(recorder, Builder):
        wanted = np.ones(last, np.uint8) if needed is None else np.asarray(needed, np.uint8)
        recorder.store.walk(
            walking.REPLAY,
            first,
            last,
            code=tape.code,
            starts=slots.listed[3:],
            columns=slots.flat.reshape(1, -1),
            marks=(wanted, wanted, wanted),
        )
        return
    scalar, flat = recorder.scalar, slots.flat
    for number, (opcode, a, b) in enumerate(tape.code[first:last].tolist(), first):
        if needed is None or needed[number]:
            flat[slots.starts[3 + number]] = scalar(opcode, int(flat[a]), int(flat[b]))


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


def regular(slots: Slots) -> Any:
    """Return slots by their strides, where they step evenly and none is the null slot."""
    view = view_of(slots)
    if view.table is None and slots.size and slots.item(0):
        return view.arranged(slots.shape)
    return slots


def _replayed_constants(tape: FlatTape, recorder: Recorder) -> Any:
    """Record a tape's constants; return their slots."""
    if tape.is_scalar and isinstance(recorder, Builder):
        return recorder.store.constants_of(tape.constants)
    if tape.is_scalar:
        return np.array([recorder.constant(value) for value in tape.constants.tolist()], np.int64)
    # Vector instructions may read them as arrays, so they stay together.
    return regular(recorder.constant_array(tape.constants))


class _Moves:
    """The vector instructions of a tape, where they may be recorded as they are, at other slots.

    Parameters
    ----------
    tape : FlatTape
    recorder : Recorder
    slots : Blocks
        For every slot of the tape its slot in the recorder.
    """

    def __init__(self, tape: FlatTape, recorder: Recorder, slots: Blocks) -> None:
        self.recorder, self.slots, self.vectors = recorder, slots, tape.vectors
        if tape.is_scalar:
            return
        survey = tape.vectors.survey
        # Of each view the base, the first block (-1 by a table), and what it reads.
        blocks = np.searchsorted(slots.listed, survey.low, side="right") - 1
        blocks[survey.has_table] = -1
        views = np.column_stack([survey.base, blocks, survey.low, survey.high])
        self.views = list(map(tuple, views.tolist()))
        self.starts, self.which = tape.vectors.starts.tolist(), tape.vectors.which.tolist()
        self.forms: dict[int, tuple[int, Layout] | None] = {}

    def moved(self, vector: int) -> Any:
        """Return the result of an instruction recorded at other slots; None where it may not be."""
        recorder, slots = self.recorder, self.slots
        number = self.which[vector]
        form = self.vectors.forms[number]
        if number not in self.forms:
            self.forms[number] = self._form_here(form.instruction)
        known = self.forms[number]
        if known is None:
            return None
        kind, bases, is_known = form.instruction.kind, [], False
        views = self.views[self.starts[vector] : self.starts[vector + 1]]
        for view in views:
            base = None if view[1] < 0 else slots.moved(*view)
            if base is None:
                return None
            is_known |= view[2] == view[3] and CONSTANTS <= base < RESULTS
            bases.append(base)
        if kind == MAP and is_known:  # a number over an array, so it may be simpler
            if None in form.layouts:
                return None
            read: Any = tuple(map(RegularSlots, bases, form.layouts))
            return recorder.elementwise(form.instruction.opcode, read)
        if not KINDS[kind].moves(form.instruction, [view[0] for view in views], bases):
            return None
        return recorder.again(*known, tuple(bases))

    def _form_here(self, instruction: VectorInstruction) -> tuple[int, Layout] | None:
        """Return the form in the recorder, and the layout of the result.

        None where it may be recorded otherwise: over few elements as scalar instructions, and
        tables have slots.
        """
        is_small = instruction.size <= SMALL and instruction.kind == MAP
        if is_small or any(view.table is not None for view in instruction.operands):
            return None
        return self.recorder.forms.number(instruction), in_order(instruction.result)
