"""What the instructions of a tape read, as ranges of its *nodes*.

A node is what is made at once: node 0 has the null slot and all constants, every input is a
node, and so is every instruction, whatever the number of its results. Which instructions are
needed, what moves with which input, where a place may be used again: all that follows from
who reads whom, and takes no time by the element of an array.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from numtape.jit.compile import Lazy

if TYPE_CHECKING:
    from numtape.tape.flat import FlatTape

__all__ = ["Reads", "needed", "nodes", "ranges_of", "reads_of"]

Ints = npt.NDArray[np.int64]

_VECTOR = -1


@dataclass(frozen=True)
class Reads:
    """Ranges of nodes, those of instruction i at ``starts[i]`` to ``starts[i + 1]``.

    Attributes
    ----------
    starts : int64 array (instructions + 1)
    first, last : int64 array
        The first and the last node of each range; each node between is read too, unless it has
        no elements.
    inputs : int
        How many input nodes there are.
    """

    starts: Ints
    first: Ints
    last: Ints
    inputs: int


def reads_of(tape: FlatTape) -> Reads:
    """Return what each instruction reads.

    Costs a microsecond for each operand of a vector instruction, and more by the element where
    it has a table, or skips whole nodes.
    """
    results = tape.results
    scalars = tape.code[:, 0] != _VECTOR
    counts = np.full(tape.instructions, 2, np.int64)
    vectors = np.flatnonzero(~scalars)
    found = tape.read_by_vectors
    counts[vectors] = [len(ranges) for ranges in found]
    starts = np.zeros(tape.instructions + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    first, last = np.empty((2, int(starts[-1])), np.int64)
    for k in (0, 1):
        places = starts[:-1][scalars] + k
        first[places] = last[places] = nodes(tape, tape.code[scalars, 1 + k], results)
    for number, ranges in zip(vectors.tolist(), found, strict=True):
        start = int(starts[number])
        for k, (low, high) in enumerate(ranges, start):
            first[k], last[k] = low, high
    return Reads(starts, first, last, tape.inputs)


def needed(tape: FlatTape, slots: Ints) -> npt.NDArray[np.bool_]:
    """Return for each instruction whether one of some slots depends on it."""
    first_node = tape.inputs + 1
    live = np.zeros(first_node + tape.instructions, np.uint8)
    live[nodes(tape, slots, tape.results)] = 1
    if tape.vectors:
        reads = reads_of(tape)
        arrays = reads.starts, reads.first, reads.last
        _spread(tape.instructions, live, *arrays, first_node)
    else:
        _spread_scalars(tape.instructions, live, tape.code, tape.first_input - 1, first_node)
    return live[first_node:].astype(bool)


@Lazy
def _spread(live, starts, first, last, first_node):  # type: ignore[no-untyped-def]
    """Mark what the marked nodes read, and what that reads."""
    for number in range(len(starts) - 2, -1, -1):
        if live[first_node + number]:
            for k in range(starts[number], starts[number + 1]):
                for node in range(first[k], last[k] + 1):
                    live[node] = 1


@Lazy
def _spread_scalars(live, code, constants, first_node):  # type: ignore[no-untyped-def]
    """As `_spread`, for a tape of scalar instructions with so many constants."""
    for number in range(len(code) - 1, -1, -1):
        if live[first_node + number]:
            for k in range(1, 3):
                node = code[number, k] - constants
                if node > 0:
                    live[node] = 1


def ranges_of(tape: FlatTape) -> list[list[tuple[int, int]]]:
    """Return the ranges of nodes that each vector instruction reads, in the order of the code."""
    if not tape.vectors:
        return []
    results = tape.results.tolist()
    vectors = tape.code[tape.code[:, 0] == _VECTOR, 1]
    return [_ranges(tape, number, results) for number in vectors.tolist()]


def nodes(tape: FlatTape, slots: npt.NDArray[np.integer], results: Ints) -> Ints:
    """Return the node of each of some slots."""
    early = np.maximum(slots.astype(np.int64) - (tape.first_input - 1), 0)
    if not tape.vectors:
        return early
    late = np.searchsorted(results, slots, side="right") + tape.inputs
    return np.where(slots >= tape.first_result, late, early)


def _ranges(tape: FlatTape, number: int, results: list[int]) -> list[tuple[int, int]]:
    """The ranges that a vector instruction reads."""
    instruction = tape.vectors[number]
    first_input, first_result, inputs = tape.first_input, tape.first_result, tape.inputs
    ranges: list[tuple[int, int]] = []
    for view, shape in zip(instruction.operands, instruction.operand_shapes(), strict=True):
        if view.table is None:
            ends = [
                bisect_right(results, slot) + inputs
                if slot >= first_result
                else max(slot - first_input + 1, 0)
                for slot in view.reach(shape)
            ]
            if ends[0] == ends[1] or _is_dense(shape, view.strides):
                if ends[0]:
                    ranges.append((ends[0], ends[1]))
                continue
        read = np.unique(view.slots(shape))
        alone = np.unique(nodes(tape, read, tape.results))
        alone = alone[alone > 0]
        if len(alone):
            breaks = np.flatnonzero(np.diff(alone) != 1)
            lows = alone[np.concatenate([[0], breaks + 1])].tolist()
            highs = alone[np.concatenate([breaks, [len(alone) - 1]])].tolist()
            ranges += zip(lows, highs, strict=True)
    return ranges


def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a view reads each slot from its first to its last."""
    reach = 1
    for stride, extent in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True)):
        if extent > 1:
            if stride > reach:
                return False
            reach += (extent - 1) * stride
    return True
