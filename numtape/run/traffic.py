"""A plan's segments: what each reads and writes, and who reads what.

*Traffic* is the places that a segment reads and writes; places are used again, so it tells of more
than slots do. `fusion.py` asks which segments may change their order.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.run.groups import Operand
from numtape.run.memory import Places
from numtape.run.strips import NO_STRIPS, Strips
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction

__all__ = ["NO_TRAFFIC", "Program", "Range", "Traffic", "extent_of", "overlap"]

Ints = npt.NDArray[np.int64]
Range = tuple[int, int]  # the first and the last

_RANGES = 64  # traffic in more pieces than these is taken for one


@dataclass(frozen=True)
class Traffic:
    """The places that are read and written, beyond those that are never written."""

    reads: tuple[Range, ...]
    writes: tuple[Range, ...]

    def meets(self, other: "Traffic") -> bool:
        """Return whether the order of the two matters."""
        return (
            overlap(self.writes, other.reads)
            or overlap(self.reads, other.writes)
            or overlap(self.writes, other.writes)
        )


NO_TRAFFIC = Traffic((), ())


def overlap(left: tuple[Range, ...], right: tuple[Range, ...]) -> bool:
    """Return whether some ranges have a place that others have too."""
    return any(a <= d and c <= b for a, b in left for c, d in right)


class Program:
    """A plan's segments, with their traffic and with who reads what."""

    def __init__(
        self,
        tape: FlatTape,
        places: Places,
        segments: Ints,
        free: npt.NDArray[np.bool_] | None,
        strips: Strips = NO_STRIPS,
    ) -> None:
        self.tape, self.places = tape, places
        self.vectors: list[VectorInstruction] = list(tape.vectors)  # they are looked at often
        self.free = np.zeros(tape.instructions, bool) if free is None else free
        self.results = tape.results.tolist()
        self.numbers = [int(start) for start in segments[:, 0]]
        self.candidates: dict[tuple[int, int], Any] = {}  # see `candidates.py`
        # For each instruction the segments that read it; those of scalars and the end are -1.
        self.readers: dict[int, set[int]] = {}
        self.traffic: list[Traffic] = []
        groups = {int(rows[0]): rows.tolist() for rows in strips.groups}
        self.in_strips = {segment for segment, n in enumerate(self.numbers) if n in groups}
        self.segment_of: dict[int, int] = {}  # of each instruction the last one
        for segment, (start, stop, _, words) in enumerate(segments.tolist()):
            numbers = groups.get(start, range(start, stop))
            self.segment_of.update(dict.fromkeys(numbers, segment))
            self.traffic.append(
                self._of_scalars(start, stop) if words < 0 else self._of_vectors(segment, numbers)
            )
        explaining = [tape.producer(slot) for slot in tape.guard_slots.tolist()]
        explained = [
            tape.code[number, 1:]
            for number in explaining
            if number is not None and tape.code[number, 0] != VECTOR
        ]
        ends = np.concatenate([tape.outputs, tape.guard_slots, *explained]).astype(np.int64)
        self._note(ends, -1)

    def vector(self, segment: int) -> VectorInstruction:
        """Return a segment's vector instruction."""
        return self.vectors[int(self.tape.code[self.numbers[segment], 1])]

    def readers_of(self, segment: int) -> set[int]:
        """Return the segments that read a segment's result; -1 for scalars and for the end."""
        return self.readers.get(self.numbers[segment], set())

    def producer(self, operand: Operand) -> int | None:
        """Return the segment that makes what an operand, by its slot, begins with."""
        number = self.tape.producer(operand.base)
        return None if number is None else self.segment_of[number]

    def is_vector(self, segment: int) -> bool:
        """Return whether a segment is a vector instruction by itself."""
        is_vector = self.tape.code[self.numbers[segment], 0] == VECTOR
        return bool(is_vector) and segment not in self.in_strips

    def _of_scalars(self, start: int, stop: int) -> Traffic:
        operands = self.tape.code[start:stop, 1:].astype(np.int64).ravel()
        operands = operands[operands >= self.tape.first_result]
        self._note(operands, -1)
        results = np.arange(self.results[start], self.results[stop])
        return Traffic(_ranges(self.places[operands]), _ranges(self.places[results]))

    def _of_vectors(self, segment: int, numbers: Sequence[int]) -> Traffic:
        """Return the traffic of a vector instruction, or of all that run strip by strip."""
        first, strips = self.tape.first_result, self.places.strips
        reads: list[Range] = []
        writes: list[Range] = []
        for number in numbers:
            vector = self.vectors[int(self.tape.code[number, 1])]
            for view, shape in zip(vector.operands, vector.operand_shapes(), strict=True):
                if view.table is not None:
                    slots = view.table[view.table >= first]
                    self._note(slots, segment)
                    reads += _ranges(self.places[slots])
                    continue
                low, high = view.reach(shape)
                if high >= first:
                    low = max(low, first)
                    self._note_run(low, high, segment)
                    reads.append((int(self.places[low]), int(self.places[high])))
            if vector.size:
                place = int(self.places[self.results[number]])
                writes.append((place, place + vector.size - 1))
        # What is private to strips meets nothing else.
        reads = [each for each in reads if each[0] < strips]
        return Traffic(tuple(reads), tuple(each for each in writes if each[0] < strips))

    def _note(self, slots: Ints, segment: int) -> None:
        for low, high in _runs(slots[slots >= self.tape.first_result]):
            self._note_run(low, high, segment)

    def _note_run(self, low: int, high: int, segment: int) -> None:
        first = bisect_right(self.results, low) - 1
        for number in range(first, bisect_right(self.results, high)):
            self.readers.setdefault(number, set()).add(segment)


def extent_of(base: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Range:
    """Return the first and the last place of a walk."""
    ends = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    return base + sum(min(end, 0) for end in ends), base + sum(max(end, 0) for end in ends)


def _ranges(places: Ints) -> tuple[Range, ...]:
    """Return places as ranges, or as one range where they are scattered."""
    runs = _runs(places)
    return tuple(runs) if len(runs) <= _RANGES else ((runs[0][0], runs[-1][1]),)


def _runs(numbers: Ints) -> list[Range]:
    """Return numbers as ranges."""
    if not len(numbers):
        return []
    steps = np.diff(numbers)
    if (steps < 0).any():
        numbers = np.sort(numbers)
        steps = np.diff(numbers)
    breaks = np.flatnonzero(steps > 1)
    starts = numbers[np.concatenate([[0], breaks + 1])]
    ends = numbers[np.concatenate([breaks, [len(numbers) - 1]])]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
