"""What the instructions of a tape read, as ranges of its *nodes*.

A node is what is made at once: node 0 has the null slot and all constants, every input is a
node, and so is every instruction, whatever the number of its results. Which instructions are
needed, what moves with which input, where a place may be used again: all that follows from
who reads whom, and takes no time by the element of an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numtape.jit.compile import Lazy
from numtape.tape.regular import by_parts

if TYPE_CHECKING:
    from numtape.tape.flat import FlatTape

__all__ = [
    *("Reads", "inputs_needed", "is_dense", "needed", "nodes"),
    *("nodes_once", "ranges_of", "reads_of", "slots_read", "without"),
]

Ints = npt.NDArray[np.int64]

# Slots that are looked up one by one, however few the tape has; and so many are looked up at once.
_FEW, _MANY = 64, 1 << 18

_NOTHING = np.zeros(0, np.int64)
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
    """

    starts: Ints
    first: Ints
    last: Ints


def reads_of(tape: FlatTape) -> Reads:
    """Return what each instruction reads.

    Costs by the element where an operand has a table, or skips whole nodes.
    """
    scalars = tape.code[:, 0] != _VECTOR
    by_vectors = tape.read_by_vectors
    counts = np.full(tape.instructions, 2, np.int64)
    counts[~scalars] = np.diff(by_vectors.starts)
    starts = np.zeros(tape.instructions + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    first, last = np.empty((2, int(starts[-1])), np.int64)
    alone = np.repeat(scalars, counts)
    first[~alone], last[~alone] = by_vectors.first, by_vectors.last
    first[alone] = last[alone] = nodes(tape, tape.code[scalars, 1:].ravel(), tape.results)
    return Reads(starts, first, last)


def needed(tape: FlatTape, slots: Ints) -> npt.NDArray[np.bool_]:
    """Return for each instruction whether one of some slots depends on it."""
    return _nodes_needed(tape, slots)[tape.inputs + 1 :]


def inputs_needed(tape: FlatTape, slots: Ints) -> npt.NDArray[np.bool_]:
    """Return for each input whether one of some slots depends on it."""
    return _nodes_needed(tape, slots)[1 : tape.inputs + 1]


def _nodes_needed(tape: FlatTape, slots: Ints) -> npt.NDArray[np.bool_]:
    """Return for each node whether one of some slots depends on it."""
    first_node = tape.inputs + 1
    if len(slots) == 0:
        return np.zeros(first_node + tape.instructions, bool)
    live = np.zeros(first_node + tape.instructions, np.uint8)
    live[nodes_once(tape, slots)] = 1
    if tape.vectors:
        reads = reads_of(tape)
        arrays = reads.starts, reads.first, reads.last
        _spread(tape.instructions // 8, live, *arrays, first_node)
    else:
        _spread_scalars(tape.instructions // 8, live, tape.code, tape.first_input - 1, first_node)
    return live.astype(bool)


@Lazy
def _spread(live, starts, first, last, first_node):  # type: ignore[no-untyped-def]
    """Mark what the marked nodes read, and what that reads."""
    for number in range(len(starts) - 2, -1, -1):
        if live[first_node + number]:
            for k in range(starts[number], starts[number + 1]):
                live[first[k] : last[k] + 1] = 1


@Lazy
def _spread_scalars(live, code, constants, first_node):  # type: ignore[no-untyped-def]
    """Mark as `_spread` does, for a tape of scalar instructions with so many constants."""
    for number in range(len(code) - 1, -1, -1):
        if live[first_node + number]:
            for k in range(1, 3):
                node = code[number, k] - constants
                if node > 0:
                    live[node] = 1


def ranges_of(tape: FlatTape) -> Reads:
    """Return what each vector instruction reads, in the order of the code."""
    survey = tape.vectors.survey
    first, last = (nodes(tape, slots, tape.results) for slots in (survey.low, survey.high))
    is_range = ~survey.has_table & ((first == last) | survey.is_dense)
    first = np.maximum(first, 1)  # constants are never asked for
    counts = (is_range & (last > 0)).astype(np.int64)
    view, lows, highs = _apart(tape, np.flatnonzero(~is_range).tolist())
    counts += np.bincount(view, minlength=len(counts))
    every = np.repeat(np.arange(len(counts)), counts)
    first, last = first[every], last[every]
    first[~is_range[every]], last[~is_range[every]] = lows, highs
    starts = np.zeros(len(tape.vectors) + 1, np.int64)
    np.cumsum(np.bincount(survey.owner[every], minlength=len(tape.vectors)), out=starts[1:])
    return Reads(starts, first, last)


def slots_read(tape: FlatTape, which: npt.NDArray[np.bool_]) -> Iterator[Any]:
    """Yield the slots that some instructions read."""
    code = tape.code[which]
    is_vector = code[:, 0] == _VECTOR
    yield code[~is_vector, 1:]
    for number in code[is_vector, 1].tolist():
        instruction = tape.vectors[number]
        for view, shape in zip(instruction.operands, instruction.operand_shapes(), strict=True):
            low, high = view.reach(shape)
            if view.table is None and is_dense(shape, view.strides):
                yield slice(low, high + 1)
            else:
                yield view.slots(shape)


def without(reads: Reads, inputs: int, kept: npt.NDArray[np.bool_], which: Any) -> Reads:
    """Return what is read by vector instructions of a tape of which some are left out.

    Parameters
    ----------
    reads : Reads
        What the vector instructions read before.
    inputs : int
    kept : bool array
        For each instruction, whether it stays.
    which : bool array
        The same for each vector instruction.
    """
    ranges = np.repeat(which, np.diff(reads.starts))
    counts = np.diff(reads.starts)[which]
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    gone = np.zeros(1 + inputs + len(kept), np.int64)  # nodes left out, up to each
    np.cumsum(~kept, out=gone[1 + inputs :])
    first, last = reads.first[ranges], reads.last[ranges]
    return Reads(starts, first - gone[first], last - gone[last])


def nodes(tape: FlatTape, slots: npt.NDArray[np.integer], results: Ints) -> Ints:
    """Return the node of each of some slots."""

    def found(part: Ints) -> Ints:
        early = np.maximum(part.astype(np.int64) - (tape.first_input - 1), 0)
        if not tape.vectors:
            return early
        late = np.searchsorted(results, part, side="right") + tape.inputs
        return np.where(part >= tape.first_result, late, early)

    return by_parts(found, slots)  # type: ignore[arg-type]


def nodes_once(tape: FlatTape, slots: npt.NDArray[np.integer]) -> Ints:
    """Return the nodes of some slots, those of slots that follow one another once.

    Nodes without elements may be among them.
    """
    if len(slots) > max(tape.slots // 8, _FEW):
        return _nodes_present(tape, slots)
    breaks = np.flatnonzero(np.diff(slots) != 1)
    if len(breaks) >= len(slots) // 4:
        return nodes(tape, slots, tape.results)
    first = nodes(tape, slots[np.append(0, breaks + 1)], tape.results)
    last = nodes(tape, slots[np.append(breaks, len(slots) - 1)], tape.results)
    counts = last - first + 1
    begins = np.cumsum(counts) - counts
    found: Ints = np.arange(counts.sum()) + np.repeat(first - begins, counts)
    return found


def _nodes_present(tape: FlatTape, slots: npt.NDArray[np.integer]) -> Ints:
    """Return the nodes of many slots, in order: a mark for each takes a tenth of looking it up."""
    marks = np.zeros(tape.slots, np.int8)
    marks[slots] = 1
    first_input, results = tape.first_input, tape.results
    found = [np.zeros(int(marks[:first_input].any()), np.int64)]  # constants are one node
    found.append(1 + np.flatnonzero(marks[first_input : tape.first_result]))
    if len(results) > 1:
        own = np.maximum.reduceat(marks, results[:-1])
        found.append(1 + tape.inputs + np.flatnonzero(own))
    return np.concatenate(found)


def _apart(tape: FlatTape, views: list[int]) -> tuple[Ints, Ints, Ints]:
    """Return the ranges that some views read by tables, or over nodes that they do not read.

    Returns
    -------
    view, first, last : int64 array
        Of each range its view, in order, and its ends.
    """
    # Each view has numbers of its own for the nodes, so one sorting does for all.
    count = tape.inputs + 1 + tape.instructions
    found, done, size = [_NOTHING], 0, 0
    read: list[Ints] = []
    for number, view in enumerate(views, 1):
        read.append(tape.vectors.slots_read(view).ravel())
        size += len(read[-1])
        if size >= _MANY or number == len(views):  # not all at once, for memory's sake
            owner = np.repeat(np.array(views[done:number], np.int64), list(map(len, read)))
            own = nodes(tape, np.concatenate(read), tape.results)
            found.append(_distinct((owner * count + own)[own > 0]))
            read, done, size = [], number, 0
    alone = np.concatenate(found)
    is_first = np.diff(alone, prepend=-1) != 1
    view, first = np.divmod(alone[is_first], count)
    return view, first, alone[np.append(is_first[1:], True)[: len(alone)]] - view * count


def _distinct(numbers: Ints) -> Ints:
    """Return the different ones among some numbers, in order.

    Most are equal to the one before, and there `np.unique`, which hashes all, takes 50 times as
    long.
    """
    changing: Ints = numbers[np.diff(numbers, prepend=-1) != 0]
    changing.sort()
    found: Ints = changing[np.diff(changing, prepend=-1) != 0]
    return found


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether a view reads each slot from its first to its last."""
    reach = 1
    for stride, extent in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True)):
        if extent > 1:
            if stride > reach:
                return False
            reach += (extent - 1) * stride
    return True
