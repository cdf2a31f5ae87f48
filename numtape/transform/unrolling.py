"""Unrolling: plain instructions in place of loops, in the order in which loops do them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import LOOP
from numtape.tape.flat import VECTOR, FlatTape, Location, VectorInstruction, View
from numtape.tape.instruction import contiguous_strides
from numtape.trace.recorder import Recorder, Slots, view_of
from numtape.transform.builder import NO_RULES, Builder, replay

__all__ = ["unrolled"]

Ints = npt.NDArray[np.int64]


def unrolled(tape: FlatTape) -> FlatTape:
    """Return a tape with plain instructions in place of loops; the same where it has none."""
    if not tape.has_loops:
        return tape
    try:
        return _Unrolling(tape).tape()
    except _NotRegularError:
        return _recorded(tape)


class _NotRegularError(Exception):
    """An instruction of a body that may not gather would have to."""


@dataclass
class _Steps:
    """The instructions of a loop, unrolled.

    Attributes
    ----------
    body : FlatTape
    slots : int64 array (steps, slots of the body)
        Where what is in each slot of the body is at each step.
    row : int
        The loop's own row.
    """

    body: FlatTape
    slots: Slots
    row: int


class _Unrolling:
    """A tape without its loops.

    Parameters
    ----------
    tape : FlatTape
    """

    def __init__(self, tape: FlatTape) -> None:
        self.old = tape
        is_loop = np.zeros(tape.instructions, bool)
        is_loop[tape.code[:, 0] == VECTOR] = tape.vectors.are(LOOP)
        self.rows = np.flatnonzero(is_loop).tolist()
        self.loops = [tape.vectors[tape.code.item(row, 1)] for row in self.rows]
        self.bodies = []
        for each in self.loops:
            assert each.body is not None
            self.bodies.append(unrolled(each.body.tape))

    def tape(self) -> FlatTape:
        """Return the tape."""
        old = self.old
        constants = [*(body.constants for body in self.bodies), old.constants]
        before = sum(map(len, constants)) - len(old.constants)
        self.first_result = old.first_result + before
        self.new: Slots = np.arange(old.slots) + before
        self.new[0] = 0
        parts: list[_Steps] = []
        done, slot, known = old.first_result, self.first_result, 1
        for row, loop, body in zip(self.rows, self.loops, self.bodies, strict=True):
            start = old.results.item(row)
            self.new[done:start] = slot + np.arange(start - done)
            slot += start - done
            slots = self._slots(loop, body, known, slot)
            known += len(body.constants)
            slot += (body.slots - body.first_result) * len(slots)
            done = start + loop.size
            self.new[start:done] = _results(loop, slots[:, body.outputs])
            parts.append(_Steps(body, slots, row))
        self.new[done:] = slot + np.arange(old.slots - done)
        guards = zip(old.guards, self.new[old.guard_slots].tolist(), strict=True)
        return FlatTape.unchecked(
            **self._instructions(parts),
            constants=np.concatenate(constants),
            inputs=old.inputs,
            outputs=self.new[old.outputs],
            guards=tuple(replace(guard, slot=slot) for guard, slot in guards),
            point=old.point,
        )

    def _slots(self, loop: VectorInstruction, body: FlatTape, known: int, slot: int) -> Slots:
        """Return where each slot of a body is at each step.

        `known` is the slot of the first of its constants, `slot` that of its first result.
        """
        steps, own = loop.shape[0], loop.body
        assert own is not None
        operands = [self.new[slots] for slots in loop.operand_slots()]
        split = len(own.carries), len(own.carries) + len(own.reads)
        slots = np.zeros((steps, body.slots), np.int64)
        first = body.first_input
        slots[:, 1:first] = known + np.arange(first - 1)
        size = body.slots - body.first_result
        begins = slot + size * np.arange(steps)
        slots[:, body.first_result :] = np.add.outer(begins, np.arange(size))
        at = first + own.carried
        for number, each in enumerate(operands[split[0] :], split[0]):
            rows = each.reshape(steps, -1) if number < split[1] else each.reshape(1, -1)
            slots[:, at : at + rows.shape[1]] = rows
            at += rows.shape[1]
        carried = np.arange(first, first + own.carried)
        if steps and len(carried):
            slots[0, carried] = np.concatenate([each.ravel() for each in operands[: split[0]]])
            following = body.outputs[: own.carried]
            slots[1:, carried] = slots[:-1, following]
            late = (following >= first) & (following < first + own.carried)
            for step in range(1, steps) if late.any() else ():
                slots[step, carried[late]] = slots[step - 1, following[late]]
        return slots

    def _instructions(self, parts: list[_Steps]) -> Any:
        """Return code, vector instructions and lines."""
        old, lines = self.old, self.old.lines
        code: list[Ints] = []
        vectors: list[VectorInstruction] = []
        left_lines: list[Location] = []
        done = 0
        for each in (*parts, None):
            stop = old.instructions if each is None else each.row
            rows = old.code[done:stop]
            code.append(_moved(rows, self.new[None]))
            vectors += self._vectors(old, rows, self.new)
            left_lines += () if lines is None else lines[done:stop]
            if each is not None:
                body = each.body
                code.append(_moved(body.code, each.slots))
                for slots in each.slots if len(body.vectors) else ():
                    vectors += self._vectors(body, body.code, slots)
                of_body = body.lines
                if lines is not None and of_body is None:
                    of_body = (lines[each.row],) * body.instructions
                left_lines += (of_body or ()) * len(each.slots)
            done = stop + 1
        joined = np.concatenate(code)
        joined[joined[:, 0] == VECTOR, 1] = np.arange(len(vectors))
        return {
            "code": joined.astype(np.int32),
            "vectors": vectors,
            "lines": None if lines is None else tuple(left_lines),
        }

    def _vectors(self, tape: FlatTape, rows: Any, slots: Slots) -> list[VectorInstruction]:
        """Return the vector instructions of some rows of a tape, given where its slots are."""
        found = []
        for number in rows[rows[:, 0] == VECTOR, 1].tolist():
            each = tape.vectors[number]
            views = tuple(
                apart(slots[view.slots(shape)], self.first_result) if 0 not in shape else view
                for view, shape in zip(each.operands, each.operand_shapes(), strict=True)
            )
            gathers = any(view.table is not None for view in views)
            if gathers and not KINDS[each.kind].may_gather:
                raise _NotRegularError
            found.append(each.reading(views))
        return found


def apart(slots: Slots, results: int) -> View:
    """Return the simplest view that reads slots, of which results have memory of their own.

    `results` is the slot of the first result.
    """
    view = view_of(slots)
    if view.table is None and slots.size > 1:
        low, high = view.reach(slots.shape)
        if low < results <= high:
            return View(0, contiguous_strides(slots.shape), slots.ravel())
    return view


def _moved(rows: Any, slots: Slots) -> Ints:
    """Return scalar instructions at other slots, for each row of these."""
    code: Ints = np.empty((len(slots), len(rows), 3), np.int64)
    code[:] = rows
    is_scalar = rows[:, 0] != VECTOR
    for operand in (1, 2):
        code[:, is_scalar, operand] = slots[:, rows[is_scalar, operand]]
    return code.reshape(-1, 3)


def _results(loop: VectorInstruction, outputs: Slots) -> Slots:
    """Return the slots of a loop's results, given those of its body's outputs at each step."""
    body = loop.body
    assert body is not None
    ends = accumulate(map(prod, body.writes), initial=body.carried)
    written = (outputs[:, start:stop].ravel() for start, stop in pairwise(ends))
    return np.concatenate([outputs[-1, : body.carried], *written])


# By recording: copies are made of what may not be read by a table.


def _recorded(tape: FlatTape) -> FlatTape:
    builder = Builder(tape.inputs, NO_RULES)
    slots = replay(tape, builder, range(1, tape.inputs + 1), others=_loops(tape))
    return builder.finish(slots.at(tape.outputs), tape.point)


def _loops(tape: FlatTape) -> dict[int, Any]:
    """Return what records the loops of a tape step by step, by their numbers."""
    return dict.fromkeys(np.flatnonzero(tape.vectors.are(LOOP)).tolist(), _record_steps)


def _record_steps(
    recorder: Recorder, loop: VectorInstruction, operands: Sequence[Any], _: Any
) -> Slots:
    """Record the steps of a loop one after the other; return the slots of its results."""
    body = loop.body
    assert body is not None
    steps, split = loop.shape[0], len(body.carries)
    operands = [np.asarray(each) for each in operands]
    carried = np.concatenate([np.zeros(0, np.int64), *map(np.ravel, operands[:split])])
    read = [each.reshape(steps, -1) for each in operands[split : split + len(body.reads)]]
    same = [np.ravel(each) for each in operands[split + len(body.reads) :]]
    outputs = np.zeros((steps, body.carried + body.written), np.int64)
    others = _loops(body.tape)
    for step in range(steps):
        inputs = np.concatenate([carried, *(each[step] for each in read), *same])
        slots = replay(body.tape, recorder, inputs, others=others)
        outputs[step] = slots.at(body.tape.outputs)
        carried = outputs[step, : body.carried]
    return _results(loop, outputs)
