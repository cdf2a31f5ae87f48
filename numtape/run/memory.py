"""Where the slots of a tape are kept during a run: slot reuse by liveness.

A tape assigns every slot once; a run needs memory only for what is still to be
read. `addresses` gives every slot a place such that a place is used again when
what it held has been read for the last time. Results that some instruction
reads side by side stay side by side. Inputs and constants keep their places,
and what outputs and guards need is kept to the end.
"""

from bisect import insort

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import MAP
from numtape.tape.flat import VECTOR, FlatTape, View, contiguous_strides

__all__ = ["addresses", "unshared"]

Ints = npt.NDArray[np.int64]


def unshared(tape: FlatTape) -> tuple[Ints, int]:
    """Every slot at its own place: what sweeps need."""
    return np.arange(tape.slots), tape.slots


def addresses(tape: FlatTape, apart: bool = False) -> tuple[Ints, int]:
    """A place for every slot, and how many places there are.

    Where `apart` is true, no scalar instruction writes its result where one of its
    operands is: a loop over lanes is then free to work on many at once. Costs
    about a microsecond an instruction.
    """
    first = tape.first_result
    block_of, sizes = _blocks(tape)
    defined, last = _lifetimes(tape, block_of, len(sizes))
    heads = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else np.zeros(0, np.int64)
    starts, single_places, array_places = _allocate(
        (apart | (tape.code[:, 0] == VECTOR)).tolist(),
        sizes.tolist(),
        defined,
        last,
        _heirs(tape, block_of, sizes, heads, last),
    )
    places = np.arange(tape.slots)
    offsets = np.arange(tape.slots - first) - heads[block_of]
    base = np.where(sizes > 1, first + single_places, first) + starts
    places[first:] = base[block_of] + offsets
    return places, first + single_places + array_places


def _allocate(
    is_apart: list[bool], sizes: list[int], defined: Ints, last: Ints, heirs: dict[int, int]
) -> tuple[Ints, int, int]:
    """Where each block starts, among single places or among those of arrays, and how many of each.

    An operand that is read for the last time gives its place to the result of a
    scalar instruction, but not to that of one apart: a vector instruction's is
    written while its operands are read. `heirs` has for some instructions, by number,
    the operand's block whose place the result may take all the same.
    """
    starts = [0] * len(sizes)
    free: list[int] = []
    single_places = 0
    arrays = _Arrays()
    by_birth = np.argsort(defined, kind="stable").tolist()
    by_death = np.argsort(last, kind="stable").tolist()
    births, deaths = defined.tolist(), last.tolist()
    born = dead = 0
    for number, apart in enumerate(is_apart):
        late = []
        while dead < len(by_death) and deaths[by_death[dead]] == number:
            block = by_death[dead]
            dead += 1
            if apart or sizes[block] > 1 or births[block] == number:
                late.append(block)
            else:
                free.append(starts[block])
        while born < len(by_birth) and births[by_birth[born]] == number:
            block = by_birth[born]
            born += 1
            if number in heirs:
                starts[block] = starts[heirs[number]]
                late.remove(heirs[number])
            elif sizes[block] > 1:
                starts[block] = arrays.take(sizes[block])
            elif free:
                starts[block] = free.pop()
            else:
                starts[block] = single_places
                single_places += 1
        for block in late:
            if sizes[block] > 1:
                arrays.release(starts[block], sizes[block])
            else:
                free.append(starts[block])
    return np.array(starts, np.int64), single_places, arrays.size


def _heirs(tape: FlatTape, block_of: Ints, sizes: Ints, heads: Ints, last: Ints) -> dict[int, int]:
    """Elementwise instructions over arrays that may write over an operand, and its block.

    The operand is read here for the last time, element by element in the order in which
    the result is written, and no other operand reads it in another order. Half as much
    memory goes through the caches then.
    """
    first, results = tape.first_result, tape.results
    heirs = {}
    for number in np.flatnonzero(tape.code[:, 0] == VECTOR).tolist():
        instruction = tape.vectors[int(tape.code[number, 1])]
        size = instruction.size
        if instruction.kind != MAP or size < 2 or sizes[block_of[results[number] - first]] != size:
            continue
        reads = [
            (view, np.unique(block_of[slots[slots >= first] - first]).tolist())
            for view, slots in zip(instruction.operands, instruction.operand_slots(), strict=True)
        ]
        for view, blocks in reads:
            if view.table is not None or view.base < first or len(blocks) != 1:
                continue
            (block,) = blocks
            whole = (view.base, contiguous_strides(instruction.shape))
            if (
                last[block] == number
                and sizes[block] == size
                and heads[block] + first == view.base
                and all(
                    block not in others or _reads(other, instruction.shape) == whole
                    for other, others in reads
                )
                and _reads(view, instruction.shape) == whole
            ):
                heirs[number] = block
                break
    return heirs


def _reads(view: View, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Where a view begins and how it steps; axes of one element step as if contiguous."""
    if view.table is not None:
        return None
    whole = contiguous_strides(shape)
    triples = zip(shape, view.strides, whole, strict=True)
    return view.base, tuple(w if extent == 1 else stride for extent, stride, w in triples)


def _blocks(tape: FlatTape) -> tuple[Ints, Ints]:
    """For each result slot its block, and the sizes of the blocks.

    A block is the result of one instruction, or of several whose results some
    view reads as one.
    """
    first = tape.first_result
    is_head = np.zeros(tape.slots - first + 1, bool)
    is_head[tape.results - first] = True
    for instruction in tape.vectors:
        for view, shape in zip(instruction.operands, instruction.operand_shapes(), strict=True):
            if view.table is None:
                ends = [
                    (extent - 1) * stride
                    for extent, stride in zip(shape, view.strides, strict=True)
                ]
                low = view.base + sum(min(end, 0) for end in ends)
                high = view.base + sum(max(end, 0) for end in ends)
                if low >= first:
                    is_head[low - first + 1 : high - first + 1] = False
    is_head = is_head[:-1]
    if len(is_head):
        is_head[0] = True
    heads = np.flatnonzero(is_head)
    sizes = np.diff(np.append(heads, len(is_head)))
    return np.cumsum(is_head) - 1, sizes


def _lifetimes(tape: FlatTape, block_of: Ints, blocks: int) -> tuple[Ints, Ints]:
    """The instruction that first writes each block, and the last that reads it."""
    first, count = tape.first_result, tape.instructions
    results = tape.results
    defined = np.full(blocks, count, np.int64)
    last = np.zeros(blocks, np.int64)
    numbers = np.arange(count)
    makes = results[1:] > results[:-1]
    np.minimum.at(defined, block_of[results[:-1][makes] - first], numbers[makes])
    scalars = tape.code[:, 0] != VECTOR
    for number in np.flatnonzero(~scalars).tolist():  # in order, so the last one to write stands
        for slots in tape.vectors[int(tape.code[number, 1])].operand_slots():
            read = slots[slots >= first]
            last[block_of[read - first]] = number
    for column in (1, 2):
        operands = tape.code[scalars, column].astype(np.int64)
        is_result = operands >= first
        np.maximum.at(last, block_of[operands[is_result] - first], numbers[scalars][is_result])
    np.maximum.at(last, block_of[results[1:][makes] - 1 - first], numbers[makes])
    # A number that arrays are combined with is kept: that takes 8 bytes, and with it machine
    # code can compute an array again instead of keeping that (see `fusion.py`).
    uniform = [
        view.base
        for instruction in tape.vectors
        for view in instruction.operands
        if view.table is None and view.base >= first and not any(view.strides)
    ]
    alone = block_of[np.array(uniform, np.int64) - first]
    last[alone[np.bincount(block_of, minlength=blocks)[alone] == 1]] = count
    # Outputs and guards are read at the end, and with a guard the operands that explain it.
    guarded = tape.guard_slots
    producers = np.searchsorted(results, guarded[guarded >= first], side="right") - 1
    explaining = tape.code[producers][scalars[producers], 1:].astype(np.int64)
    slots = np.concatenate([tape.outputs, guarded, explaining.ravel()])
    last[block_of[slots[slots >= first] - first]] = count
    return defined, last


class _Arrays:
    """Places for blocks of many slots: the smallest gap that fits, else at the end."""

    def __init__(self) -> None:
        self.size = 0
        self._gaps: list[tuple[int, int]] = []  # start and size, in order of start

    def take(self, size: int) -> int:
        fitting = [gap for gap in self._gaps if gap[1] >= size]
        if fitting:
            start, room = min(fitting, key=lambda gap: gap[1])
            self._gaps.remove((start, room))
            if room > size:
                insort(self._gaps, (start + size, room - size))
            return start
        start = self.size
        if self._gaps and sum(self._gaps[-1]) == self.size:  # grow the gap at the end
            start, _ = self._gaps.pop()
        self.size = start + size
        return start

    def release(self, start: int, size: int) -> None:
        insort(self._gaps, (start, size))
        merged: list[tuple[int, int]] = []
        for gap in self._gaps:
            if merged and sum(merged[-1]) == gap[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + gap[1])
            else:
                merged.append(gap)
        self._gaps = merged
