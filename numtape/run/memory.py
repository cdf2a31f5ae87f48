"""Where the slots of a tape are kept during a run: slot reuse by liveness.

A tape assigns every slot once; a run needs memory only for what is still to be
read. `addresses` gives every slot a place such that a place is used again when
what it held has been read for the last time. Results that some instruction
reads side by side stay side by side. Inputs and constants keep their places,
and what outputs and guards need is kept to the end. What is private to a group that
runs strip by strip has places for one strip, at the end of the memory.
"""

from bisect import bisect_left, bisect_right, insort
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.jit.compile import Lazy
from numtape.ops.structured import MAP
from numtape.run import _kernels
from numtape.run.strips import NO_STRIPS, Strips
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.reads import nodes, nodes_once, reads_of

__all__ = ["Places", "addresses", "unshared"]

Ints = npt.NDArray[np.int64]

_NOWHERE = 1 << 62


class Places:
    """The place of every slot: of one slot, or of an array of them, by ``places[slots]``.

    Parameters
    ----------
    heads, starts : int64 array
        The slots at which blocks begin, in order, and their places.
    slots : int
    strips : int, optional
        The place from which on those of one strip lie; None if there are none.

    Attributes
    ----------
    strips : int
        The same; beyond all places if there are none.
    """

    def __init__(self, heads: Ints, starts: Ints, slots: int, strips: int | None = None) -> None:
        self.heads, self.starts, self.size = heads, starts, slots
        self.strips = _NOWHERE if strips is None else strips
        self._shifts = starts - heads
        # After the first block every slot is one by itself, as on tapes of scalars.
        self._is_single = len(heads) > 1 and len(heads) == slots - int(heads[1]) + 1

    @cached_property
    def _listed(self) -> tuple[list[int], list[int]]:
        """Heads and starts as lists, in which one is found sooner."""
        return self.heads.tolist(), self.starts.tolist()

    def __getitem__(self, slots: Any) -> Any:
        if isinstance(slots, int | np.integer):
            heads, starts = self._listed
            block = bisect_right(heads, slots) - 1
            return starts[block] + int(slots) - heads[block]
        if self._is_single:
            block = np.maximum(slots - (int(self.heads[1]) - 1), 0)
        else:
            block = np.searchsorted(self.heads, slots, side="right") - 1
        return slots + self._shifts[block]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self[np.arange(self.size)]
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.size


def unshared(tape: FlatTape) -> tuple[Places, int]:
    """Return every slot at its own place: what sweeps need."""
    start = np.zeros(1, np.int64)
    return Places(start, start, tape.slots), tape.slots


def addresses(
    tape: FlatTape, apart: bool = False, strips: Strips = NO_STRIPS
) -> tuple[Places, int]:
    """Return a place for every slot, and how many places there are.

    Where `apart` is true, no scalar instruction writes its result where one of its
    operands is: a loop over lanes is then free to work on many at once. Costs
    about a microsecond an instruction.
    """
    first = tape.first_result
    block_of = _blocks(tape)
    results = tape.results
    firsts = np.flatnonzero(np.diff(block_of, prepend=-1))
    heads = results[:-1][firsts]
    sizes = np.diff(heads, append=tape.slots)
    order = strips.order(tape.instructions)
    turns = np.argsort(order, kind="stable")  # when each instruction runs
    defined, last = _lifetimes(tape, block_of, firsts, turns)
    is_apart = apart | (tape.code[order, 0] == VECTOR)
    starts = np.zeros(len(sizes), np.int64)
    births, deaths = (np.argsort(each, kind="stable") for each in (defined, last))
    single_places = _place_singles(
        tape.instructions // 8, is_apart, defined, last, sizes == 1, births, deaths, starts
    )
    size, strip_start = first + single_places, None
    base = first + starts
    is_array = sizes > 1
    if is_array.any():
        group = np.append(strips.group_of(tape.instructions)[order], -1)  # by turn
        # Of several results that are read as one, some reader is no member.
        is_private = (group[defined] >= 0) & (group[defined] == group[last])
        heirs = _heirs(tape, block_of, sizes, heads, last, turns, group, is_private)
        is_whole = births[(is_array & ~is_private)[births]]
        base[is_whole] = size
        size += _place_arrays(is_whole, sizes, defined, _ends(group)[last], heirs, starts)
        if is_private.any():
            blocks, strip_start = births[is_private[births]], size
            base[blocks] = size
            size += _place_arrays(
                blocks, np.full_like(sizes, _kernels.STRIP), defined, last, heirs, starts
            )
        base[is_array] += starts[is_array]
    early = np.zeros(1, np.int64)
    heads, base = np.concatenate([early, heads]), np.concatenate([early, base])
    return Places(heads, base, tape.slots, strip_start), size


@Lazy
def _place_singles(is_apart, defined, last, is_single, births, deaths, starts):  # type: ignore[no-untyped-def]
    """Write where each block of one place starts; return how many places they take.

    An operand that is read for the last time gives its place to the result of a
    scalar instruction, but not to that of one apart: a vector instruction's is
    written while its operands are read. `births` has the blocks in the order in which they are
    defined, and `deaths` in that in which they are last read.
    """
    free = np.zeros(len(defined), np.int64)
    count = places = born = dead = 0
    for number in range(len(is_apart)):
        stop = dead
        while stop < len(deaths) and last[deaths[stop]] == number:
            block = deaths[stop]
            if is_single[block] and not is_apart[number] and defined[block] < number:
                free[count] = starts[block]
                count += 1
            stop += 1
        while born < len(births) and defined[births[born]] == number:
            block = births[born]
            if is_single[block]:
                if count > 0:
                    count -= 1
                    starts[block] = free[count]
                else:
                    starts[block] = places
                    places += 1
            born += 1
        while dead < stop:
            block = deaths[dead]
            if is_single[block] and (is_apart[number] or defined[block] == number):
                free[count] = starts[block]
                count += 1
            dead += 1
    return places


def _place_arrays(
    blocks: Ints, sizes: Ints, defined: Ints, ends: Ints, heirs: Ints, starts: Ints
) -> int:
    """Write where some blocks start among all of these; return how many places they take.

    `blocks` are in the order in which they are defined; from the turn after its end on, a
    block's place is free. `heirs` has for each turn the operand's block whose place the result
    takes, or -1.
    """
    arrays = _Arrays()
    is_taken = np.zeros(len(sizes), bool)
    is_taken[heirs[heirs >= 0]] = True  # its last reader takes over its place
    deaths = blocks[~is_taken[blocks]]
    deaths = deaths[np.argsort(ends[deaths], kind="stable")]
    births = defined[blocks]
    released, extents = deaths.tolist(), sizes.tolist()
    expired, dead = ends[deaths].tolist(), 0
    for block, turn, heir in zip(
        blocks.tolist(), births.tolist(), heirs[births].tolist(), strict=True
    ):
        while dead < len(released) and expired[dead] < turn:
            arrays.release(int(starts[released[dead]]), extents[released[dead]])
            dead += 1
        starts[block] = arrays.take(extents[block]) if heir < 0 else starts[heir]
    return arrays.size


def _ends(group: Ints) -> Ints:
    """Return for each turn the last one of its group, by the group of each turn."""
    is_last = np.append(group[1:] != group[:-1], True) | (group < 0)
    last = np.flatnonzero(is_last)
    ends: Ints = last[np.searchsorted(last, np.arange(len(group)))]
    return ends


def _heirs(
    tape: FlatTape,
    block_of: Ints,
    sizes: Ints,
    heads: Ints,
    last: Ints,
    turns: Ints,
    group: Ints,
    is_private: npt.NDArray[np.bool_],
) -> Ints:
    """Return for each turn the operand's block whose place the result takes; -1 for none.

    Elementwise instructions over arrays may write over an operand that is read here for the
    last time, element by element in the order in which the result is written, if no other
    operand reads it in another order, nor another member of the same group. Half as much
    memory goes through the caches then.
    """
    heirs = np.full(tape.instructions + 1, -1)  # the last is for what is kept to the end
    vectors, survey = tape.vectors, tape.vectors.survey
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)  # where each vector instruction is
    size = vectors.each(lambda each: each.size)
    may = vectors.are(MAP) & (size > 1) & (sizes[block_of[rows]] == size)
    owner, row = survey.owner, rows[survey.owner]
    is_result = ~survey.has_table & (survey.base >= tape.first_result)
    block = np.full(len(owner), -1)
    made = np.searchsorted(tape.results, survey.base[is_result], side="right") - 1
    block[is_result] = block_of[made]
    in_order = (survey.base == heads[block]) & survey.in_order
    fits = may[owner] & (block >= 0) & in_order & (last[block] == turns[row])
    fits &= (sizes[block] == size[owner]) & (is_private[block] == is_private[block_of[row]])
    of = group[turns[row]]
    for view in np.flatnonzero((of >= 0) & (block >= 0) & ~in_order).tolist():
        fits &= (of != of[view]) | (block != block[view])
    counts, first = vectors.operands, vectors.starts
    for k in range(int(counts[may].max(initial=0))):
        other = np.minimum(first[owner] + k, len(owner) - 1)
        is_other = k < counts[owner]
        fits &= ~is_other | (block[other] != block) | in_order[other]
        for view in np.flatnonzero(fits & is_other & survey.has_table[other]).tolist():
            slots, base = vectors.slots_read(int(other[view])), heads[block[view]]
            fits[view] = not ((slots >= base) & (slots < base + size[owner[view]])).any()
    chosen = np.flatnonzero(fits)[::-1]  # of several the first
    heirs[turns[row[chosen]]] = block[chosen]
    return heirs


def _blocks(tape: FlatTape) -> Ints:
    """Return the block of each instruction's results.

    A block is the result of one instruction, or of several whose results some
    view reads as one.
    """
    survey, results = tape.vectors.survey, tape.results
    is_read = ~survey.has_table & (survey.low >= tape.first_result)
    low, high = (
        np.searchsorted(results, ends[is_read], side="right") for ends in (survey.low, survey.high)
    )
    # From the second of them on, what is read as one is no head.
    depth = np.bincount(low, minlength=tape.instructions + 1)
    depth -= np.bincount(high, minlength=tape.instructions + 1)
    is_head = np.cumsum(depth)[: tape.instructions] == 0
    is_head[:1] = True
    return np.cumsum(is_head) - 1


def _lifetimes(tape: FlatTape, block_of: Ints, firsts: Ints, turns: Ints) -> tuple[Ints, Ints]:
    """Return the turn that first writes each block, and the last that reads it.

    `firsts` has the first instruction of each block.
    """
    first, count = tape.first_result, tape.instructions
    results = tape.results
    defined = np.minimum.reduceat(turns, firsts) if count else turns
    # At least until the last of its instructions, which stands.
    last = np.maximum.reduceat(turns, firsts) if count else turns
    blocks = len(firsts)
    reads = reads_of(tape)
    readers = np.repeat(turns, np.diff(reads.starts))
    early = 1 + tape.inputs
    is_result = reads.last >= early
    readers, low, high = readers[is_result], reads.first[is_result], reads.last[is_result]
    low, high = np.maximum(low, early) - early, high - early
    np.maximum.at(last, block_of[low], readers)
    for number, one, other in zip(*(each[low != high].tolist() for each in (readers, low, high))):
        read = block_of[one : other + 1]
        last[read] = np.maximum(last[read], number)
    # A number that arrays are combined with is kept: that takes 8 bytes, and with it machine
    # code can compute an array again instead of keeping that (see `fusion.py`).
    survey = tape.vectors.survey
    uniform = survey.base[~survey.has_table & (survey.base >= first) & ~survey.steps]
    sizes = np.bincount(block_of, weights=np.diff(results), minlength=blocks)
    alone = block_of[nodes(tape, uniform, results) - early]
    last[alone[sizes[alone] == 1]] = count
    # Outputs and guards are read at the end, and with a guard the operands that explain it.
    guarded = tape.guard_slots
    producers = np.searchsorted(results, guarded[guarded >= first], side="right") - 1
    scalars = tape.code[:, 0] != VECTOR
    explaining = tape.code[producers][scalars[producers], 1:].astype(np.int64)
    slots = np.concatenate([tape.outputs, guarded, explaining.ravel()])
    last[block_of[nodes_once(tape, slots[slots >= first]) - early]] = count
    return defined, last


class _Arrays:
    """Places for blocks of many slots: the smallest gap that fits, else at the end."""

    def __init__(self) -> None:
        self.size = 0
        self._gaps: list[tuple[int, int]] = []  # size and start, in this order
        self._sizes: dict[int, int] = {}  # by where a gap starts
        self._starts: dict[int, int] = {}  # by where it ends

    def take(self, size: int) -> int:
        """Return where so many places begin."""
        found = bisect_left(self._gaps, (size,))
        if found < len(self._gaps):
            room, start = self._gaps[found]
            self._remove(start)
            if room > size:
                self._add(start + size, room - size)
            return start
        start = self._starts.get(self.size, self.size)  # grow the gap at the end
        if start < self.size:
            self._remove(start)
        self.size = start + size
        return start

    def release(self, start: int, size: int) -> None:
        """Give places back."""
        before = self._starts.get(start)
        if before is not None:
            start, size = before, size + self._remove(before)
        if start + size in self._sizes:
            size += self._remove(start + size)
        self._add(start, size)

    def _add(self, start: int, size: int) -> None:
        insort(self._gaps, (size, start))
        self._sizes[start], self._starts[start + size] = size, start

    def _remove(self, start: int) -> int:
        size = self._sizes.pop(start)
        del self._starts[start + size]
        del self._gaps[bisect_left(self._gaps, (size, start))]
        return size
