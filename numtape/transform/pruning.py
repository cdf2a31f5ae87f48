"""Loops that do no more than is read of them.

What a loop writes and nobody reads is left out of its body, and with it what only that needs:
instructions, what is carried, operands. Derivatives rely on it: they ask a loop to keep
everything, see `loops.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction, View
from numtape.tape.forms import Vectors
from numtape.tape.reads import inputs_needed
from numtape.trace.recorder import Slots, view_of
from numtape.transform.builder import NO_RULES, Builder, replay

__all__ = ["parts_of", "prune"]

Bools = npt.NDArray[np.bool_]
RemoveDead = Callable[[FlatTape], FlatTape]


def prune(tape: FlatTape, remove_dead: RemoveDead) -> FlatTape:
    """Return a tape whose loops do what is read of them; the same tape where they do already.

    `remove_dead` removes instructions that no output needs.
    """
    if not tape.has_loops:
        return tape
    instructions = list(tape.vectors)
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)
    starts = tape.results[rows].tolist()
    loops = {
        number: _Loop(each, starts[number])
        for number, each in enumerate(instructions)
        if each.body is not None
    }
    read = _Read(list(loops.values()))
    scalars = tape.code[:, 0] != VECTOR
    for slots in (tape.code[scalars, 1:], tape.outputs, tape.guard_slots):
        read.mark(slots)
    for number in range(len(instructions) - 1, -1, -1):
        each = instructions[number]
        if number in loops:
            loops[number].cut(remove_dead)
            each = loops[number].left
        for view, shape in zip(each.operands, each.operand_shapes(), strict=True):
            read.mark_view(view, shape)
    if not any(loop.is_cut for loop in loops.values()):
        return tape
    return _cut(tape, instructions, loops)


def parts_of(body: Body, steps: int) -> list[tuple[int, int, int]]:
    """Return the parts of a loop's results: where each begins, how many rows, how wide they are.

    First what is carried, and then each of what is written.
    """
    widths = [*map(math.prod, body.writes)]
    begins = [body.carried, *(steps * width for width in widths)]
    return [
        (0, 1, body.carried),
        *zip(accumulate(begins), [steps] * len(widths), widths, strict=False),
    ]


class _Loop:
    """A loop, what is read of its results, and what is left of it.

    Parameters
    ----------
    instruction : VectorInstruction
    start : int
        The slot of its first result.
    """

    def __init__(self, instruction: VectorInstruction, start: int) -> None:
        self.instruction = self.left = instruction
        self.start, self.stop = start, start + instruction.size
        assert instruction.body is not None
        self.body: Body = instruction.body
        self.parts = parts_of(self.body, instruction.shape[0])
        self.begins = np.array([begin for begin, _, _ in self.parts])
        self.widths = np.array([width for _, _, width in self.parts])
        self.wanted = [np.zeros(width, bool) for width in self.widths.tolist()]
        self.is_cut = False

    def mark(self, slots: Slots) -> None:
        """Note that some of the results are read."""
        part, column, _ = self._places(slots)
        for k in np.unique(part).tolist():
            self.wanted[k][column[part == k]] = True

    def _places(self, slots: Slots) -> tuple[Slots, Slots, Slots]:
        """Return for each of some results its part, its column and its row."""
        offsets = slots - self.start
        part = np.searchsorted(self.begins, offsets, side="right") - 1
        row, column = np.divmod(offsets - self.begins[part], self.widths[part])
        return part, column, row

    def part(self, low: int, high: int) -> int | None:
        """Return the part that has all results from one to another; None where several have."""
        first, last = np.searchsorted(self.begins, np.array([low, high]) - self.start, "right")
        return int(first) - 1 if first == last else None

    def cut(self, remove_dead: RemoveDead) -> None:
        """Leave out what is not read."""
        body, columns, operands = _body_left(self.body, self.wanted, remove_dead)
        self.columns = columns
        if body is self.body:
            return
        self.is_cut = True
        steps, views = self.instruction.shape[0], self.instruction.operands
        self.left = VectorInstruction(
            self.instruction.kind,
            0,
            (steps,),
            tuple(views[k] for k in operands),
            (body.results(steps),),
            body=body,
        )
        # Of each part that is left, where it begins and how wide it is.
        kept = [k for k, wanted in enumerate(columns) if k == 0 or wanted.any()]
        self.new_begins = np.zeros(len(self.parts), np.int64)
        self.new_widths = np.zeros(len(self.parts), np.int64)
        for k, (begin, _, width) in zip(kept, parts_of(body, steps), strict=True):
            self.new_begins[k], self.new_widths[k] = begin, width

    @cached_property
    def _new_columns(self) -> list[Slots]:
        return [np.cumsum(wanted) - 1 for wanted in self.columns]

    def at(self, slots: Slots, new_start: int) -> Slots:
        """Return results that are read, where the loop's results begin at another slot."""
        if not self.is_cut:
            return slots - self.start + new_start
        part, column, row = self._places(slots)
        new = np.zeros(slots.shape, np.int64)
        for k in np.unique(part).tolist():
            new[part == k] = self._new_columns[k][column[part == k]]
        return new_start + self.new_begins[part] + row * self.new_widths[part] + new

    def moved(self, view: View, shape: tuple[int, ...], new_start: int) -> View | None:
        """Return a view of results where these lie now; None where that is not arithmetic."""
        if not self.is_cut:
            return View(view.base - self.start + new_start, view.strides)
        part = self.part(*view.reach(shape))
        if part is None:
            return None
        width, new_width = self.widths.item(part), self.new_widths.item(part)
        is_down = [step % width == 0 for step in view.strides]  # from row to row
        across = tuple(
            0 if down else step for step, down in zip(view.strides, is_down, strict=True)
        )
        once = tuple(1 if down else n for n, down in zip(shape, is_down, strict=True))
        row = view_of(self.at(View(view.base, across).slots(once), new_start))
        if row.table is not None:
            return None
        strides = (
            step // width * new_width if down else along
            for step, along, down in zip(view.strides, row.strides, is_down, strict=True)
        )
        return View(row.base, tuple(strides))


def _body_left(
    body: Body, wanted: Sequence[Bools], remove_dead: RemoveDead
) -> tuple[Body, list[Bools], list[int]]:
    """Return a body that does what is wanted, which columns of each part that is, and operands.

    What is wanted of what is carried widens to all that it depends on.
    """
    sizes = [[*map(math.prod, shapes)] for shapes in (body.carries, body.reads, body.same)]
    ends = [*accumulate((0, *sizes[0], *sizes[1], *sizes[2]))]  # of the inputs of each operand
    groups = [slice(*each) for each in pairwise(ends)]
    is_carried = np.array([wanted[0][part].any() for part in groups[: len(body.carries)]], bool)
    written = np.concatenate([np.zeros(0, bool), *wanted[1:]])
    while True:
        kept = np.concatenate([np.repeat(is_carried, sizes[0]), written])
        needed = inputs_needed(body.tape, body.tape.outputs[kept])
        is_used = np.array([needed[part].any() for part in groups], bool)
        more = is_carried | is_used[: len(is_carried)]
        if (more == is_carried).all():
            break
        is_carried = more
    is_used[: len(is_carried)] = is_carried
    tape = body.tape if kept.all() else body.tape.giving(body.tape.outputs[kept])
    tape = remove_dead(tape)
    columns = [kept[: body.carried], *wanted[1:]]
    operands = np.flatnonzero(is_used).tolist()
    if tape is body.tape and is_used.all():
        return body, columns, operands
    chosen = np.concatenate(
        [np.zeros(0, np.int64), *(np.arange(ends[-1])[groups[k]] for k in operands)]
    )
    if len(chosen) < tape.inputs:
        tape = _with_inputs(tape, chosen)
    split = len(body.carries), len(body.carries) + len(body.reads)
    shapes = (*body.carries, *body.reads, *body.same)
    writes = tuple(
        shape if each.all() else (int(each.sum()),)
        for shape, each in zip(body.writes, wanted[1:], strict=True)
        if each.any()
    )
    left = Body(
        tape,
        tuple(shapes[k] for k in operands if k < split[0]),
        tuple(shapes[k] for k in operands if split[0] <= k < split[1]),
        tuple(shapes[k] for k in operands if k >= split[1]),
        writes,
        recomputes=body.recomputes,
    )
    return left, columns, operands


def _with_inputs(tape: FlatTape, chosen: Slots) -> FlatTape:
    """Return a tape of some of its inputs, which are all that it reads."""
    recorder = Builder(len(chosen), NO_RULES)
    inputs = np.zeros(tape.inputs, np.int64)
    inputs[chosen] = 1 + np.arange(len(chosen))
    slots = replay(tape, recorder, inputs)
    return recorder.finish(slots.at(tape.outputs), np.zeros(len(chosen)))


@dataclass
class _Read:
    """What is read of the results of some loops, in order."""

    loops: list[_Loop]

    @cached_property
    def starts(self) -> Slots:
        return np.array([loop.start for loop in self.loops])

    def mark(self, slots: Any) -> None:
        """Note that slots are read, whoever makes them."""
        slots = np.asarray(slots, np.int64).ravel()
        which = np.searchsorted(self.starts, slots, side="right") - 1
        for number in np.unique(which[which >= 0]).tolist():
            loop = self.loops[number]
            mine = slots[which == number]
            loop.mark(mine[mine < loop.stop])

    def mark_view(self, view: View, shape: tuple[int, ...]) -> None:
        """Note what a view reads: of the same columns in many rows, those of one."""
        if view.table is not None:
            self.mark(view.table if math.prod(shape) >= len(view.table) else view.slots(shape))
            return
        low, high = view.reach(shape)
        which = int(np.searchsorted(self.starts, high, side="right")) - 1
        if which < 0 or (self.loops[which].stop <= low and self._end_before(which) <= low):
            return
        loop = self.loops[which]
        part = loop.part(low, high) if loop.start <= low and high < loop.stop else None
        if part is None:
            self.mark(view.slots(shape))
            return
        width = loop.widths.item(part)
        once = [(n, s) for n, s in zip(shape, view.strides, strict=True) if s % width]
        column = View(low, tuple(abs(s) for _, s in once))
        loop.mark(column.slots(tuple(n for n, _ in once)))

    def _end_before(self, which: int) -> int:
        """Return where the results of the loop before one end."""
        return self.loops[which - 1].stop if which else 0


def _cut(
    tape: FlatTape, instructions: list[VectorInstruction], loops: dict[int, _Loop]
) -> FlatTape:
    """Return the tape with what is left of its loops."""
    code = tape.code.astype(np.int64)
    rows = np.flatnonzero(code[:, 0] == VECTOR)
    for number, loop in loops.items():
        code[rows[number], 2] = loop.left.size
    sizes = np.where(code[:, 0] == VECTOR, code[:, 2], 1)
    heads = np.concatenate([[0], tape.results])  # of blocks: what is early, instructions
    new_heads = np.concatenate([[0], tape.first_result + np.cumsum(np.append(0, sizes))])
    is_loop = {int(rows[number]) + 1: loop for number, loop in loops.items() if loop.is_cut}

    def at(slots: Slots) -> Slots:
        block = np.searchsorted(heads, slots, side="right") - 1
        found: Slots = slots + (new_heads - heads)[block]
        for number, loop in is_loop.items():
            mine = block == number
            if mine.any():
                found[mine] = loop.at(slots[mine], int(new_heads[number]))
        return found

    def moved(view: View, shape: tuple[int, ...]) -> View:
        if view.table is not None:
            return View(view.base, view.strides, at(view.table))
        low, high = view.reach(shape)
        first, last = (np.searchsorted(heads, [low, high], side="right") - 1).tolist()
        shifts = (new_heads - heads)[first : last + 1]
        if first == last and first in is_loop:
            found = is_loop[first].moved(view, shape, int(new_heads[first]))
            if found is not None:
                return found
        elif (shifts == shifts[0]).all() and not any(first <= k <= last for k in is_loop):
            return View(view.base + int(shifts[0]), view.strides)
        return view_of(at(view.slots(shape)))

    vectors = []
    for number, each in enumerate(instructions):
        if number in loops:
            each = loops[number].left
        views = zip(each.operands, each.operand_shapes(), strict=True)
        vectors.append(each.reading(tuple(moved(view, shape) for view, shape in views)))
    scalars = code[:, 0] != VECTOR
    code[scalars, 1:] = at(code[scalars, 1:])
    guards = zip(tape.guards, at(tape.guard_slots).tolist(), strict=True)
    return tape.changed(
        code=code.astype(np.int32),
        vectors=Vectors.of(vectors),
        outputs=at(tape.outputs),
        guards=tuple(type(guard)(slot, guard.outcome, guard.location) for guard, slot in guards),
    )
