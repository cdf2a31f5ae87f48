"""Loops that keep little for derivatives: in stretches, which are computed again.

Of a loop of n steps derivatives keep what they read of each. Made of about √n stretches of √n
steps, it keeps what is carried into each stretch, and of one stretch at a time the steps.
(Griewank and Walther's binomial schedules need less memory yet, and two to four times as long.)
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape, VectorInstruction
from numtape.trace.recorder import Recorder, Slots
from numtape.transform.builder import NO_RULES, Builder, replay
from numtape.transform.pruning import parts_of

__all__ = ["checkpointed", "recorded_rows", "room_of"]


def room_of(checkpoint: bool | int | None) -> float:
    """Return how many bytes a loop may keep for derivatives, of what a user has said.

    Raises
    ------
    InputError
        Where it is neither a bool nor a number of bytes.
    """
    if checkpoint is None or checkpoint is False:
        return math.inf
    if checkpoint is True:
        return 0.0
    try:
        room = operator.index(checkpoint)
    except TypeError:
        room = -1
    if room < 0:
        raise InputError(
            f"checkpoint={checkpoint!r} was given: it is a number of bytes, or a bool. Pass True "
            "to keep as little as possible"
        )
    return float(room)


def checkpointed(tape: FlatTape, room: float) -> FlatTape:
    """Return a tape whose loops keep at most so many bytes each, or as few as stretches can."""
    if room == math.inf or not tape.has_loops:
        return tape

    def record(
        recorder: Recorder, instruction: VectorInstruction, operands: Sequence[Any], _: Any
    ) -> Slots:
        body = instruction.body
        assert body is not None
        rows = recorded_rows(recorder, body, instruction.shape[0], operands, room)
        return np.concatenate([np.asarray(each).ravel() for each in rows])

    loops = [number for number, each in enumerate(tape.vectors) if each.body is not None]
    builder = Builder(tape.inputs, NO_RULES)
    slots = replay(tape, builder, range(1, tape.inputs + 1), others=dict.fromkeys(loops, record))
    return builder.finish(slots.at(tape.outputs), tape.point)


def recorded_rows(
    recorder: Recorder, body: Body, steps: int, operands: Sequence[Any], room: float
) -> list[Any]:
    """Record a loop; return the slots of what is carried out, and the rows of what is written."""
    length = math.isqrt(steps)
    if 8 * steps * (body.carried + body.tape.slots - body.tape.first_result) <= room or length < 2:
        return _results(body, steps, recorder.loop(body, steps, operands))
    # A loop of stretches, of which what is carried in is kept; and what steps are left.
    carries, split = len(body.carries), len(body.carries) + len(body.reads)
    count = steps // length
    whole = count * length
    reads = [
        each[:whole].reshape(count, length, *each.shape[1:]) for each in operands[carries:split]
    ]
    stretch = _stretch(body, length)
    made = recorder.loop(stretch, count, [*operands[:carries], *reads, *operands[split:]])
    carried, *written = _results(stretch, count, made)
    rows = [each.reshape(whole, *each.shape[2:]) for each in written]
    if whole < steps:
        ends = np.cumsum([0, *(math.prod(shape) for shape in body.carries)]).tolist()
        first = [
            carried[start:stop].reshape(shape)
            for start, stop, shape in zip(ends, ends[1:], body.carries, strict=False)
        ]
        rest = [each[whole:] for each in operands[carries:split]]
        left = [*first, *rest, *operands[split:]]
        carried, *more = recorded_rows(recorder, body, steps - whole, left, math.inf)
        rows = [
            np.concatenate([np.asarray(each), np.asarray(other)])
            for each, other in zip(rows, more, strict=True)
        ]
    return [carried, *rows]


def _results(body: Body, steps: int, made: Any) -> list[Any]:
    """Return the slots of what is carried out of a loop, and the rows of what is written."""
    parts = parts_of(body, steps)[1:]
    return [
        made[: body.carried],
        *(
            made[begin : begin + rows * width].reshape(rows, *shape)
            for shape, (begin, rows, width) in zip(body.writes, parts, strict=True)
        ),
    ]


def _stretch(body: Body, length: int) -> Body:
    """Return the body that makes so many steps, and is computed again for derivatives."""
    groups = body.carries, tuple((length, *shape) for shape in body.reads), body.same
    shapes = [shape for group in groups for shape in group]
    ends = np.cumsum([0, *map(math.prod, shapes)]).tolist()
    recorder = Recorder(ends[-1])
    operands = [
        np.arange(1 + start, 1 + stop).reshape(shape)
        for shape, start, stop in zip(shapes, ends, ends[1:], strict=False)
    ]
    made = recorder.loop(body, length, operands)
    tape = recorder.finish(np.asarray(made), np.zeros(ends[-1]))
    writes = tuple((length, *shape) for shape in body.writes)
    return Body(tape, *groups, writes, recomputes=True)
