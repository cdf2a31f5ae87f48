"""Vector instructions as members of a group: their first axis made the rows.

An instruction may go through its elements in several ways. Here is found whether it can go through
so many rows one after the other, and how it reads and writes then.
"""

import math
from dataclasses import dataclass

from numtape.ops.structured import MAP, REDUCE
from numtape.ops.table import ROWS
from numtape.run.groups import Member, Operand, expression_of
from numtape.run.traffic import Program, Range, extent_of
from numtape.tape.flat import VectorInstruction, contiguous_strides

__all__ = ["Candidate", "candidate_of", "walk_of"]


@dataclass(frozen=True)
class Candidate:
    """An instruction whose first axis has been made the rows; operands are still slots."""

    segment: int
    first: int  # its first result's slot
    member: Member
    reads: tuple[Range, ...]  # the slots of each operand

    @property
    def width(self) -> int:
        """How many elements it goes through in a row."""
        return math.prod(self.member.extents[1:])


def candidate_of(program: Program, segment: int, rows: int) -> Candidate | None:
    """Return a segment's instruction with so many rows; None where that is not possible."""
    key = segment, rows
    if key not in program.candidates:
        program.candidates[key] = _made(program, segment, rows)
    found: Candidate | None = program.candidates[key]
    return found


def _made(program: Program, segment: int, rows: int) -> Candidate | None:
    if not program.is_vector(segment):
        return None
    vector, number = program.vector(segment), program.numbers[segment]
    exact = not program.free[number]
    if vector.kind not in (MAP, REDUCE):
        return None
    if expression_of(vector.opcode, exact) is None:
        return None
    run = 0
    if vector.kind == REDUCE:
        name = ROWS[vector.opcode].name
        if name in ("add", "multiply") and vector.result_strides[-1] == 0:
            run = vector.shape[-1]
        # Of zeros and nans NumPy's largest may be another one; a product along a run goes one
        # after the other; and a run is not to vanish where axes of 1 do.
        in_order = name == "add" or (name == "multiply" and not run)
        if run == 1 or not (in_order or (name in ("maximum", "minimum") and not exact)):
            return None
    if not vector.size or 0 in vector.shape or any(v.table is not None for v in vector.operands):
        return None
    found = _by_rows(vector, rows)
    if found is None:
        return None
    extents, (*operands, results) = found
    width = _width(extents, results)
    if width is None:
        return None
    first = program.results[number]
    member = Member(
        vector.opcode,
        vector.kind == REDUCE,
        exact,
        extents,
        tuple(
            Operand(-1, view.base, strides)
            for view, strides in zip(vector.operands, operands, strict=True)
        ),
        results,
        width,
        vector.size,
        int(program.places[first]),
        run,
    )
    reads = tuple(extent_of(each.base, extents, each.strides) for each in member.operands)
    return Candidate(segment, first, member, reads)


def walk_of(vector: VectorInstruction) -> list[tuple[int, tuple[int, ...]]]:
    """Return extents, with the strides of operands and result, joined where even.

    Of the largest or smallest the longer steps come first. Sums are walked as NumPy does.
    """
    results = vector.result_strides if vector.kind == REDUCE else contiguous_strides(vector.shape)
    views = [*(view.strides for view in vector.operands), results]
    order = list(range(len(vector.shape)))
    is_sum = vector.kind == REDUCE and ROWS[vector.opcode].name in ("add", "multiply")
    if vector.kind == REDUCE and not is_sum:
        order.sort(key=lambda axis: -abs(views[0][axis]))
    axes: list[tuple[int, tuple[int, ...]]] = []
    for axis in order:
        extent, steps = vector.shape[axis], tuple(each[axis] for each in views)
        if extent == 1:
            continue
        if axes and not is_sum and axes[-1][1] == tuple(step * extent for step in steps):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    return axes


def _by_rows(
    vector: VectorInstruction, rows: int
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Return extents that begin with the rows, and the strides of each operand and the result."""
    axes = walk_of(vector)
    if not axes or axes[0][0] % rows or not _are_rows(vector.shape, rows):
        return None
    (extent, steps), *rest = axes
    each = extent // rows
    axes = [(rows, tuple(step * each for step in steps))]
    axes += [(each, steps), *rest] if each > 1 else rest
    strides = list(zip(*(steps for _, steps in axes), strict=True))
    return tuple(extent for extent, _ in axes), strides


def _are_rows(shape: tuple[int, ...], rows: int) -> bool:
    """Return whether some leading axes are the rows, or a part of the first one is."""
    size = 1
    for extent in shape:
        if extent > 1:
            if size == 1 and extent % rows == 0:
                return True
            size *= extent
            if size >= rows:
                break
    return size == rows


def _width(extents: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """Return a row's number of results, 0 for sums over the rows; None for results out of order."""
    width = 1
    for extent, stride in zip(reversed(extents[1:]), reversed(strides[1:]), strict=True):
        if stride:
            if stride != width:
                return None
            width *= extent
    if strides[0] == 0:
        return 0
    return width if strides[0] == width else None
