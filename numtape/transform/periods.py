"""Where a tape repeats itself: stretches of instructions that do the same again and again.

A *stretch* is a first instruction, a period and a number of steps. In each step the same
instructions are made, and each of their operands is one of

- a result of the same step, or of one of the few steps before: then in the first steps
  anything that there was before;
- what was there before the stretch, at slots that move on by the same number at each step, or
  by none;
- a constant, whichever it is.

Instructions are hashed so that those that do the same in each step come out alike: what is
near is hashed by how near it is, and what is far by how far it is from what was read last
where instructions around were like these. Where windows of 4, 16, 64, ... hashes come again a
period is proposed. It is then tested exactly, so a collision costs time alone. Hashing is done
block by block, testing goes on as far as the stretch does.

This module finds stretches; `rolling.py` makes loops of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.forms import Form
from numtape.transform.matching import STEPS, search

__all__ = ["Items", "stretches"]

Ints = npt.NDArray[np.int64]


_BLOCK, _LARGEST_BLOCK = 1 << 12, 1 << 18
_WORK = 100  # tests look at so many instructions for each that there is, and then give up
_CONTEXTS = 1 << 12  # what is remembered of what was read last
_FORM = 1 << 12  # added to the numbers of forms, which are opcodes otherwise
_LOOP = 32  # what a loop counts, in instructions


@dataclass(frozen=True)
class Items:
    """A tape's instructions, scalar ones and vector ones alike.

    Attributes
    ----------
    tape : FlatTape
    tokens : int64 array
        What each does, but for where it reads: its opcode or its form.
    starts : int64 array
        Where the operands of each begin, and at the end how many there are.
    slots : int64 array
        What each operand reads: a slot, the base of a view, or the lowest slot of a table.
    low, reach : int64 array
        How far the lowest slot that it reads is from there, and the highest from the lowest.
        One number, which is 0, where all instructions are scalar.
    """

    tape: FlatTape
    tokens: Ints
    starts: Ints
    slots: Ints
    low: Ints
    reach: Ints

    @classmethod
    def of(cls, tape: FlatTape) -> "Items":
        """Return the instructions of a tape."""
        code = tape.code
        if tape.is_scalar:
            slots = code[:, 1:].astype(np.int64).ravel()
            starts = np.arange(0, 2 * len(code) + 1, 2)
            zero = np.zeros(1, np.int64)
            return cls(tape, code[:, 0].astype(np.int64), starts, slots, zero, zero)
        vectors, is_vector = tape.vectors, code[:, 0] == VECTOR
        tokens = code[:, 0].astype(np.int64)
        tokens[is_vector] = _FORM + vectors.which
        counts = np.full(len(code), 2)
        counts[is_vector] = vectors.operands
        starts = np.zeros(len(code) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        slots, low, reach = np.zeros((3, starts[-1]), np.int64)
        scalars = starts[:-1][~is_vector]
        slots[scalars], slots[scalars + 1] = code[~is_vector, 1], code[~is_vector, 2]
        of_vectors = np.repeat(is_vector, counts)
        every = np.array([each for form in vectors.forms for each in _ranges(form)], np.int64)
        sizes = np.array([len(form.shapes) for form in vectors.forms])
        begins = (np.cumsum(sizes) - sizes)[vectors.which]
        views = np.arange(len(vectors.bases)) + np.repeat(
            begins - vectors.starts[:-1], vectors.operands
        )
        first, low[of_vectors], reach[of_vectors] = every.reshape(-1, 3)[views].T
        slots[of_vectors] = vectors.bases + first
        return cls(tape, tokens, starts, slots, low, reach)

    @property
    def worth(self) -> Ints:
        """How many instructions there are before each, counting a loop as more than one."""
        sizes = np.ones(len(self.tokens), np.int64)
        if not self.tape.is_scalar:
            loops = self.tape.vectors.each(lambda each: each.body is not None)
            sizes[self.tape.code[:, 0] == VECTOR] += loops * (_LOOP - 1)
        return np.concatenate([[0], np.cumsum(sizes)])


def _ranges(form: Form) -> list[tuple[int, int, int]]:
    """Return of each view what is added to its base, then what `Items` says of it."""
    found = []
    for view, shape, reads in zip(form.instruction.operands, form.shapes, form.reads, strict=True):
        if 0 in shape:
            found.append((0, 0, 0))
        elif view.table is None:
            found.append((0, reads[0], reads[1] - reads[0]))
        else:
            first = int(view.table.min())
            found.append((first, 0, int(view.table.max()) - first))
    return found


def stretches(items: Items) -> list[tuple[int, int, int]]:
    """Return where a tape repeats itself: first instructions, periods and numbers of steps.

    In order, without overlaps.
    """
    tape = items.tape
    count = len(items.tokens)
    found: Ints = np.zeros((count // STEPS + 1, 3), np.int64)
    failed: Ints = np.full(count // STEPS + 2, -1)
    scratch = np.zeros((2, count // STEPS + 2), np.int64)
    state = np.zeros(3, np.int64)  # where it is, how many there are, the work that was done
    block, worth = _BLOCK, items.worth
    known = (items.tokens, items.starts, items.slots, items.low, items.reach, tape.results)
    room = np.zeros(0, np.uint64)
    while state[0] < count - STEPS and state[2] < _WORK * count + 1000:
        first, before = int(state[0]), int(state[1])
        size = min(block, count - first)
        levels = 2  # without how far operands move, and by 4; then by 16, 64, ...
        while 4**levels * 2 < size:
            levels += 1
        if len(room) < size:
            room = np.zeros(size, np.uint64)
            refined, following = np.zeros(size, np.uint64), np.zeros((16, size), np.int32)
            table = np.zeros(1 << max(4, (size - 1).bit_length()), np.int32)
        last: Ints = np.zeros(_CONTEXTS, np.int64)
        parts = room[:size], refined[:size], following[:levels], table, last
        numbers = tape.first_input, first, size, levels, _WORK * count + 1000
        steps = 2 * size + (count - first) // 5  # to hash a block, and to follow a stretch
        search(steps, *known, worth, *parts, failed, *scratch, found, state, *numbers)
        if state[1] == before and first + size < count and block < _LARGEST_BLOCK:
            state[0] = first
            block *= 4
    return [tuple(each) for each in found[: state[1]].tolist()]
