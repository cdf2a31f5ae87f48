"""Which instructions run strip by strip.

One by one, elementwise instructions over a long array pass everything through memory. A *group*
of them is run for a strip of some thousand elements, then for the next: what only the group
reads is *private* to it, has places for one strip, and stays in the cache. Members of a group
read what there was before the first of them, or each other's results element by element. So
they can run where the first one stands; what stands between them runs afterwards.

This module finds groups. Places are `memory.py`'s part, words `encoding.py`'s.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import MAP
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.instruction import VectorInstruction, joined

__all__ = ["NO_STRIPS", "Strips", "strips_of"]

Ints = npt.NDArray[np.int64]

# Arrays of fewer elements stay in the second-level cache in between.
_LONG = 1 << 13

# How many instructions may stand between two members: what a group makes for others is kept
# until these have run.
_BETWEEN = 32


@dataclass(frozen=True)
class Strips:
    """Groups of instructions that run strip by strip.

    Attributes
    ----------
    groups : tuple of int64 arrays
        The numbers of each group's instructions.
    """

    groups: tuple[Ints, ...]

    def group_of(self, instructions: int) -> Ints:
        """Return the number of each instruction's group, -1 for none."""
        found = np.full(instructions, -1)
        for number, members in enumerate(self.groups):
            found[members] = number
        return found

    def order(self, instructions: int) -> Ints:
        """Return the instructions in the order in which they run."""
        turn = np.arange(instructions)
        if not self.groups:
            return turn
        for members in self.groups:
            turn[members] = members[0]
        return np.argsort(turn, kind="stable")


NO_STRIPS = Strips(())


def strips_of(tape: FlatTape) -> Strips:
    """Return the groups of a tape."""
    vectors = tape.vectors
    size = vectors.each(_elements)
    if not size.any():
        return NO_STRIPS
    rows, starts, survey = np.flatnonzero(tape.code[:, 0] == VECTOR), vectors.starts, vectors.survey
    groups: list[list[int]] = []
    made: set[int] = set()  # the first results of the last group's members
    elements = first = 0
    for number in np.flatnonzero(size).tolist():
        row, views = int(rows[number]), slice(starts[number], starts[number + 1])
        read = zip(
            *(each[views].tolist() for each in (survey.base, survey.high, survey.in_order)),
            strict=True,
        )
        joins = bool(groups) and size[number] == elements and row - groups[-1][-1] <= _BETWEEN
        if not joins or not all(
            high < first or (in_order and base in made) for base, high, in_order in read
        ):
            groups.append([])
            made.clear()
            elements, first = size[number], tape.results[row]
        groups[-1].append(row)
        made.add(int(tape.results[row]))
    return Strips(tuple(np.array(members) for members in groups if len(members) > 1))


def _elements(instruction: VectorInstruction) -> int:
    """Return how many elements an instruction goes through, if a strip of them can be run."""
    size = math.prod(instruction.shape)
    may = (
        instruction.kind == MAP
        and size >= _LONG
        and all(
            view.table is None and len(joined(instruction.shape, [view.strides])) <= 1
            for view in instruction.operands
        )
    )
    return size if may else 0
