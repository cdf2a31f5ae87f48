"""What a builder has recorded, as arrays that `walk` works on.

A `Store` owns the arrays, makes room in them, and answers what `walk` asks for: the value of
an operation on constants, and the code of a partial.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numtape.ops.table import OPCODE, ROWS
from numtape.ops.values import value_of_row
from numtape.tape.flat import VECTOR
from numtape.transform import walk as walking
from numtape.transform.walk import (
    CODE,
    CONSTANT,
    CONSTANT_ROOM,
    CONSTANTS,
    COUNT,
    DONE,
    FIELDS,
    LONGEST,
    MADE,
    MARGIN,
    MEMO,
    MEMO_MASK,
    NEEDS_PARTIAL,
    NEEDS_VALUE,
    NEGATED,
    NEGATED_MASK,
    NEGATIVES,
    NEXT,
    POOL,
    POOL_MASK,
    ROOM,
    SHARED,
    SHARED_MASK,
    STARTS,
    STATUS,
    TRAITS,
    WANTED,
)

if TYPE_CHECKING:
    from numtape.transform.partials import Partials

__all__ = ["Store"]

Ints = npt.NDArray[np.int64]

_RULES = {
    "add": walking.IS_ADD,
    "subtract": walking.IS_SUBTRACT,
    "multiply": walking.IS_MULTIPLY,
    "scale": walking.IS_SCALE,
    "divide": walking.IS_DIVIDE,
    "negative": walking.IS_NEGATIVE,
    "positive": walking.IS_POSITIVE,
    "keep": walking.IS_KEEP,
    "drop": walking.IS_DROP,
    "merge": walking.IS_MERGE,
}

_NO_CODE = np.zeros((0, 3), np.int32)
_NO_STARTS = np.zeros(0, np.int64)
_NO_COLUMNS = np.zeros((0, 0), np.int64)
_NO_MARKS = (np.zeros(0, np.uint8),) * 3
_NO_OWNERS = np.zeros((0, 2), np.int32)
NO_PARTIALS = (np.zeros((0, 4), np.int32), np.zeros((0, 3), np.int32), np.zeros(0))


_OPCODES = {
    walking.ADD: OPCODE["add"],
    walking.SUBTRACT: OPCODE["subtract"],
    walking.MULTIPLY: OPCODE["multiply"],
    walking.SCALE: OPCODE["scale"],
    walking.NEGATIVE: OPCODE["negative"],
}

# The fields that stay as they are when a store grows.
_KEPT = (
    *(COUNT, NEXT, CONSTANTS, walking.INPUTS, walking.FOLDS, walking.SIMPLIFIES, walking.SHARES),
    *_OPCODES,
)


def _traits() -> npt.NDArray[np.int32]:
    traits = np.zeros(len(ROWS), np.int32)
    for opcode, row in enumerate(ROWS):
        traits[opcode] = walking.IS_POWER if row.is_power else _RULES.get(row.name, 0)
        traits[opcode] |= walking.COMMUTES * row.commutes
        traits[opcode] |= walking.FLAT * row.is_flat
        traits[opcode] |= walking.HOLDS * row.holds_constant
        traits[opcode] |= walking.MAKES_ROOTS * (row.roots == "makes")
        traits[opcode] |= walking.PASSES_ROOTS * (row.roots in ("makes", "passes"))
    return traits


_TRAITS = _traits()


class Store:
    """The instructions and constants of a builder.

    Parameters
    ----------
    inputs : int
    fold, simplify, share : bool
        See `Rules`.
    """

    def __init__(self, inputs: int, fold: bool, simplify: bool, share: bool) -> None:
        self.memo: dict[tuple[int, int, int], int] = {}
        self.known: dict[float | bytes, int] = {}  # constants that Python has asked for
        self.f, self.bits = _numbers(256)
        self.w = _made(_Sizes(512, 256, 256, 256))
        fixed = {
            walking.INPUTS: inputs,
            NEXT: inputs + 1,
            walking.FOLDS: fold,
            walking.SIMPLIFIES: simplify,
            walking.SHARES: share,
        }
        for field, value in {**fixed, **_OPCODES}.items():
            self.w[field] = value
        self.sizes = _Sizes(512, 256, 256, 256)

    # room

    def reserve(self, instructions: int = 0, constants: int = 0, columns: int = 0) -> None:
        """Make room for so many more instructions and constants, and what `walk` wants besides."""
        w, sizes = self.w, self.sizes
        margin = MARGIN + walking.MARGIN_EACH * columns
        wanted = _Sizes(
            _grown(sizes.instructions, int(w[COUNT]) + instructions + margin),
            _grown(sizes.constants, int(w[CONSTANTS]) + constants + margin),
            _grown(sizes.negatives, int(w[NEGATIVES]) + margin),
            _grown(sizes.memo, len(self.memo) + 1),
        )
        if wanted != sizes:
            self._move(wanted)

    def _move(self, sizes: "_Sizes") -> None:
        """Move to arrays of other sizes."""
        old, numbers, w = self.w, self.f, _made(sizes)
        count, constants = int(old[COUNT]), int(old[CONSTANTS])
        for field in _KEPT:
            w[field] = old[field]
        for field, each in ((CODE, 3), (STARTS, 1)):
            start, before = int(w[field]), int(old[field])
            w[start : start + each * count] = old[before : before + each * count]
        self.w, self.sizes = w, sizes
        if sizes.constants > len(numbers):
            self.f, self.bits = _numbers(sizes.constants)
            self.f[:constants] = numbers[:constants]
        pool = int(old[POOL])
        known = old[pool : pool + int(old[POOL_MASK]) + 1]
        numbers_known = known[known > 0].astype(np.int64) - 1
        self.walk(walking.POOLED, 0, len(numbers_known), starts=numbers_known)
        if w[walking.SHARES]:
            self.walk(walking.REHASH, 0, count)
        for key, found in self.memo.items():
            self._enter(key, found)

    # constants

    def constant(self, value: float) -> int:
        """Return the slot of a constant; equal bits share one."""
        # 0.0 equals -0.0, and nan nothing: these go by their bits.
        key = value if value and value == value else struct.pack("d", value)
        number = self.known.get(key)
        if number is None:
            self.reserve(constants=1)
            with np.errstate(over="ignore"):
                found = walking.constant(self.w, self.f, self.bits, value)
            number = self.known[key] = int(found) - CONSTANT
        return number

    def constants_of(self, values: npt.NDArray[np.float64]) -> Ints:
        """Return the slots of some constants; equal bits share one."""
        self.reserve(constants=len(values))
        columns = values.view(np.int64).reshape(1, -1).copy()
        self.walk(walking.KNOW, 0, len(values), columns=columns)
        slots: Ints = columns[0]
        return slots

    def append_constants(self, values: npt.NDArray[np.float64]) -> int:
        """Return the number of the first of some constants, which stay together."""
        self.reserve(constants=len(values))
        start = int(self.w[CONSTANTS])
        self.f[start : start + len(values)] = values
        self.w[CONSTANTS] = start + len(values)
        return start

    def constants(self) -> npt.NDArray[np.float64]:
        """Return all constants."""
        return self.f[: int(self.w[CONSTANTS])].copy()

    # instructions

    def code(self) -> npt.NDArray[np.int32]:
        """Return the instructions, with slots as the store numbers them."""
        start, count = int(self.w[CODE]), int(self.w[COUNT])
        return self.w[start : start + 3 * count].reshape(-1, 3)

    def starts(self) -> npt.NDArray[np.int32]:
        """Return the number of the first result of each instruction."""
        start, count = int(self.w[STARTS]), int(self.w[COUNT])
        return self.w[start : start + count]

    def append_vector(self, number: int, size: int) -> int:
        """Note a vector instruction and its results; return the number of the first."""
        w = self.w
        count = int(w[COUNT])
        if count >= self.sizes.instructions:
            self.reserve(instructions=1)
            w = self.w
        at = int(w[CODE]) + 3 * count
        w[at], w[at + 1], w[at + 2] = VECTOR, number, size
        start = int(w[NEXT])
        w[int(w[STARTS]) + count] = start
        w[COUNT] = count + 1
        w[NEXT] = start + size
        return start

    # walking

    def walk(
        self,
        mode: int,
        first: int,
        last: int,
        *,
        code: Any = _NO_CODE,
        starts: Any = _NO_STARTS,
        columns: Any = _NO_COLUMNS,
        marks: Any = _NO_MARKS,
        owners: Any = _NO_OWNERS,
        is_seeded: bool = False,
        partials: "Partials | None" = None,
    ) -> None:
        """Do one of the things that `walk` does for some instructions, to the end."""
        backward = mode == walking.BACKWARD
        while True:
            table = NO_PARTIALS if partials is None else partials.table
            arrays = self.w, self.f, self.bits, table, code, starts
            stop: int = walking.walk(
                last - first, mode, *arrays, first, last, columns, marks, owners, is_seeded
            )
            status = int(self.w[STATUS])
            if status == DONE:
                return
            first, last = (first, stop) if backward else (stop, last)
            a, b, c = (int(self.w[WANTED + k]) for k in range(3))
            if status == NEEDS_VALUE:
                self._find_value(a, b, c)
            elif status == NEEDS_PARTIAL:
                assert partials is not None
                self._find_partial(partials, a, b)
            else:
                self.reserve(instructions=2 * (last - first), columns=len(columns))

    def _find_value(self, opcode: int, a: int, b: int) -> None:
        """Compute an operation on two constants."""
        row = ROWS[opcode]
        operands = tuple(float(self.f[slot - CONSTANT]) if slot else 0.0 for slot in (a, b))
        with np.errstate(all="ignore"):
            value = float(value_of_row(row, operands[: row.arity]))
        self._remember((opcode, a, b), CONSTANT + self.constant(value))

    def _find_partial(self, partials: "Partials", key: int, held: int) -> None:
        """Have a partial made, for an exponent that is held constant or for any."""
        exponent = float(self.f[held - CONSTANT]) if held else None
        number = partials.made(key, exponent)
        if held:
            self._remember((walking.PARTIALS + key, held, 0), number)

    def _remember(self, key: tuple[int, int, int], found: int) -> None:
        self.memo[key] = found
        if len(self.memo) > self.sizes.memo:
            self.reserve()
        else:
            self._enter(key, found)

    def _enter(self, key: tuple[int, int, int], found: int) -> None:
        """Put an entry of the memo where `walk` finds it."""
        w, (kind, a, b) = self.w, key
        memo, mask = int(w[MEMO]), int(w[MEMO_MASK])
        place = (kind * 40503 + a * 9973 + b * 31) & mask
        while w[memo + 4 * place]:
            place = (place + 1) & mask
        w[memo + 4 * place : memo + 4 * place + 4] = kind + 1, a, b, found


@dataclass(frozen=True)
class _Sizes:
    """How many instructions, constants, negatives and entries of the memo there is room for."""

    instructions: int
    constants: int
    negatives: int
    memo: int


def _made(sizes: _Sizes) -> npt.NDArray[np.int32]:
    """Make the array of an empty store."""
    parts = {
        TRAITS: len(ROWS),
        MADE: LONGEST,
        CODE: 3 * sizes.instructions,
        STARTS: sizes.instructions,
        SHARED: _power(2 * sizes.instructions),
        POOL: _power(2 * sizes.constants),
        NEGATED: 2 * _power(4 * sizes.negatives),
        MEMO: 4 * _power(2 * sizes.memo),
    }
    w = np.zeros(FIELDS + sum(parts.values()), np.int32)
    at = FIELDS
    for field, size in parts.items():
        w[field] = at
        at += size
    w[ROOM], w[CONSTANT_ROOM] = sizes.instructions, sizes.constants
    w[SHARED_MASK], w[POOL_MASK] = parts[SHARED] - 1, parts[POOL] - 1
    w[NEGATED_MASK], w[MEMO_MASK] = parts[NEGATED] // 2 - 1, parts[MEMO] // 4 - 1
    w[FIELDS : FIELDS + len(ROWS)] = _TRAITS
    return w


def _numbers(room: int) -> tuple[npt.NDArray[np.float64], Ints]:
    """Make memory for constants, as floats and as their bits."""
    numbers = np.zeros(room)
    return numbers, numbers.view(np.int64)


def _power(size: int) -> int:
    """Return the least power of two that is not smaller."""
    return 1 << (size - 1).bit_length()


def _grown(room: int, wanted: int) -> int:
    """Return room for so many: what there is, or twice as much and more."""
    return room if wanted <= room else max(2 * room, wanted + wanted // 4)
