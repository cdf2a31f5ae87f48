"""Derivatives of loops, as loops.

While a tape is differentiated its loops keep, at each step, all that their bodies compute
(`keeping`), or what is carried into it where the rest is to be computed again. The tangents of a
loop are then a loop forward over what was kept, and its adjoints one backward. Their bodies are
made by differentiating the body as a tape by itself, and leaving out what it computed already. What
no derivative reads is not kept in the end (`pruning.py`).

What is the same in all steps has its adjoint summed up by the loop backward, which carries it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import Given
from numtape.ops.table import ROWS
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.reads import slots_read
from numtape.tape.regular import RegularSlots
from numtape.trace.recorder import Recorder, Slots
from numtape.transform.builder import Builder, regular, replay
from numtape.transform.passes import remove_dead
from numtape.transform.pruning import parts_of

__all__ = ["Rules", "as_written", "keeping"]

Shape = tuple[int, ...]
Bools = npt.NDArray[np.bool_]

# What is computed again rather than kept, of what need not be kept.
_CHEAP = frozenset(
    k for k, row in enumerate(ROWS) if row.name in ("add", "subtract", "multiply", "negative")
)


def keeping(tape: FlatTape) -> dict[int, Any]:
    """Return what records the loops of a tape so that they keep everything, for `replay`."""
    loops = [
        number
        for number, form in enumerate(tape.vectors.which.tolist())
        if tape.vectors.forms[form].instruction.body is not None
    ]
    return dict.fromkeys(loops, _record_keeping)


def _record_keeping(recorder: Recorder, instruction: Any, operands: Sequence[Any], _: Any) -> Any:
    """Record a loop that keeps everything; return the slots of what it wrote before."""
    body = _keeps_all(instruction.body)
    return recorder.loop(body, instruction.shape[0], operands)[: instruction.size]


@lru_cache(maxsize=1 << 10)
def _keeps_all(body: Body) -> Body:
    """Return a body that writes all that it carries and computes, and so do loops in it."""
    tape = body.tape
    if body.keeps_all:
        return body
    others = {} if body.recomputes else keeping(tape)
    if others:
        recorder = Builder(tape.inputs)
        slots = replay(tape, recorder, range(1, tape.inputs + 1), others=others)
        tape = recorder.finish(slots.at(tape.outputs), np.zeros(tape.inputs))
    results = np.arange(tape.first_result, tape.first_result if body.recomputes else tape.slots)
    kept = np.concatenate([tape.first_input + np.arange(body.carried), results])
    if len(kept) == 0:
        return body
    tape = tape.giving(np.concatenate([tape.outputs, kept]))
    writes = (*body.writes, (len(kept),))
    groups = body.carries, body.reads, body.same, writes
    return Body(tape, *groups, keeps_all=True, recomputes=body.recomputes)


def as_written(tape: FlatTape) -> FlatTape:
    """Return a tape whose loops write what they keep like anything else.

    It is differentiated in its turn then, whoever reads it.
    """
    if not any(map(_has_kept, tape.bodies)):
        return tape
    vectors = [
        each if each.body is None else replace(each, body=_as_written(each.body))
        for each in tape.vectors
    ]
    return tape.changed(vectors=vectors)


@lru_cache(maxsize=1 << 10)
def _as_written(body: Body) -> Body:
    return replace(body, tape=as_written(body.tape), keeps_all=False) if _has_kept(body) else body


def _has_kept(body: Body) -> bool:
    return body.keeps_all or any(map(_has_kept, body.tape.bodies))


@dataclass(frozen=True)
class _Kept:
    """What a derivative's body reads of what was kept: columns from one to another."""

    first: int
    count: int


@dataclass(frozen=True)
class _Derivative:
    """The body of a derivative's loop, and what its operands are.

    Attributes
    ----------
    body : Body
    carries, reads, same : tuple of int
        The operands of the loop that is differentiated whose derivatives it carries, reads or
        has the same in all steps. Backward these are seeds and adjoints: it carries adjoints of
        what is carried and then of what is the same, and writes those of what is read.
    writes : tuple of int
        The numbers of the parts of the results whose tangents it writes, or whose adjoints it
        reads.
    kept : tuple of _Kept
    again_read, again_same : tuple of int
        The operands that it reads as the loop itself did.
    """

    body: Body
    carries: tuple[int, ...]
    reads: tuple[int, ...]
    same: tuple[int, ...]
    writes: tuple[int, ...]
    kept: tuple[_Kept, ...]
    again_read: tuple[int, ...]
    again_same: tuple[int, ...]


class Rules:
    """The rules of loops, which differentiate bodies.

    Parameters
    ----------
    derivation : class
        `numtape.transform.derivation.Derivation`.
    """

    def __init__(self, derivation: Any) -> None:
        self.derivation = derivation

    def loop_tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of a loop's results."""
        body, steps = given.instruction.body, given.instruction.shape[0]
        moving = tuple(map(_has_any, tangents))
        made = _tangent(self.derivation, body, moving, given.safe)
        if made is None:
            return np.zeros(given.instruction.size, np.int64)
        operands = [
            *(_seed(tangents[k], body.carries[k]) for k in made.carries),
            *_kept(given, made, forward=True),
            *(given.operands[k] for k in made.again_read),
            *(tangents[k] for k in made.reads),
            *(given.operands[k] for k in made.again_same),
            *(tangents[k] for k in made.same),
        ]
        result = given.builder.loop(made.body, steps, operands)
        found = np.zeros(given.instruction.size, np.int64)
        ends = [*accumulate(map(math.prod, body.carries), initial=0)]
        parts = parts_of(made.body, steps)
        start = 0
        for k in made.carries:
            size = ends[k + 1] - ends[k]
            found[ends[k] : ends[k + 1]] = np.asarray(result[start : start + size])
            start += size
        into = parts_of(body, steps)
        for k, (begin, rows, width) in zip(made.writes, parts[1:], strict=True):
            at = into[k][0]
            found[at : at + rows * width] = np.asarray(result[begin : begin + rows * width])
        return found

    def loop_adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        body, steps = given.instruction.body, given.instruction.shape[0]
        ends = [*accumulate(map(math.prod, body.carries), initial=0)]
        finals = [adjoints[start:stop] for start, stop in pairwise(ends)]
        written = [
            adjoints[begin : begin + rows * width].reshape(rows, width)
            for begin, rows, width in parts_of(body, steps)[1:]
        ]
        seeded = tuple(map(_has_any, (*finals, *written)))
        made = _adjoint(self.derivation, body, wanted, seeded, given.safe)
        if made is None:
            return
        start = len(body.carries)
        split = start + len(body.reads)
        accumulated = [body.same[k - split] for k in made.same]
        operands = [
            *(_seed(finals[k], body.carries[k]) for k in made.carries),
            *(np.zeros(shape, np.int64) for shape in accumulated),
            *_kept(given, made, forward=False),
            *(given.operands[k][::-1] for k in made.again_read),
            *(written[k - 1].reshape(steps, *body.writes[k - 1])[::-1] for k in made.writes),
            *(given.operands[k] for k in made.again_same),
        ]
        result = given.builder.loop(made.body, steps, operands)
        at = 0
        for k, shape in (
            *((k, body.carries[k]) for k in made.carries),
            *zip(made.same, accumulated, strict=True),
        ):
            size = math.prod(shape)
            if wanted[k]:
                yield places[k], result[at : at + size].reshape(shape)
            at += size
        for k, (begin, rows, width) in zip(made.reads, parts_of(made.body, steps)[1:], strict=True):
            part = result[begin : begin + rows * width]
            yield places[k], part.reshape(rows, *body.reads[k - start])[::-1]


def _has_any(slots: Any) -> bool:
    """Return whether some derivatives are not zero by structure."""
    return slots is not None and (isinstance(slots, RegularSlots) or bool(np.any(slots)))


def _seed(slots: Any, shape: Shape) -> Any:
    """Return the derivative that is carried first, which may be zero by structure."""
    if slots is None:
        return np.zeros(shape, np.int64)
    return regular(np.asarray(slots)).reshape(shape)


def _kept(given: Given, made: _Derivative, forward: bool) -> Iterator[Any]:
    """Yield the slots that a loop kept, in the order in which they are read."""
    body, steps = given.instruction.body, given.instruction.shape[0]
    begin, rows, width = parts_of(body, steps)[-1]
    every = given.result[begin : begin + rows * width].reshape(rows, width)
    for columns in made.kept:
        part = every[:, columns.first : columns.first + columns.count]
        part = part[:, 0] if columns.count == 1 else part
        yield part if forward else part[::-1]


# Derivatives of bodies.


@lru_cache(maxsize=1 << 8)
def _tangent(
    derivation: Any, body: Body, moving: tuple[bool, ...], safe: bool
) -> _Derivative | None:
    """Return how the tangents of a loop are made; None where all are zero.

    `moving` says of which operands there are tangents.
    """
    tape, groups = body.tape, _Groups(body)
    carried = len(body.carries)
    while True:
        chosen = [k for k, moves in enumerate(moving) if moves]
        inputs = groups.inputs(chosen)
        made = derivation(tape.giving(groups.written), len(inputs), kept=groups.kept)
        seeds = tape.inputs + 1 + np.arange(len(inputs))
        found = made.forward(inputs, seeds[:, None], risky=safe)[:, 0]
        parts = groups.by_output(found)
        more = tuple(
            moving[k] or (k < carried and bool(parts[k].any())) for k in range(len(moving))
        )
        if more == moving:
            break
        moving = more
    if made.risky.any() and not safe:  # and so may be what the next step is given
        return _tangent(derivation, body, moving, True)
    carries = tuple(k for k in chosen if k < carried)
    writes = tuple(k for k in range(len(body.writes) - body.keeps_all) if parts[carried + k].any())
    outputs = [*(parts[k] for k in carries), *(parts[carried + k] for k in writes)]
    if not outputs:
        return None
    split = carried + len(body.reads)
    reads = tuple(k for k in chosen if carried <= k < split)
    same = tuple(k for k in chosen if k >= split)
    shapes = groups.shapes
    cut = _Cut(made, body, groups, outputs)
    seed = dict(zip(chosen, _split(seeds, [shapes[k] for k in chosen]), strict=True))
    body_left = cut.body(
        [(seed[k], shapes[k]) for k in carries],
        [(seed[k], shapes[k]) for k in reads],
        [(seed[k], shapes[k]) for k in same],
        tuple(body.writes[k] for k in writes),
    )
    return _Derivative(body_left, carries, reads, same, tuple(k + 1 for k in writes), *cut.operands)


@lru_cache(maxsize=1 << 8)
def _adjoint(
    derivation: Any, body: Body, wanted: tuple[bool, ...], seeded: tuple[bool, ...], safe: bool
) -> _Derivative | None:
    """Return how the adjoints of a loop are made; None where all are zero.

    `wanted` says which operands depend on an input; `seeded`, of what is carried out of the
    loop and of each of what it writes, whether there are adjoints.
    """
    tape, groups = body.tape, _Groups(body)
    carried, split = len(body.carries), len(body.carries) + len(body.reads)
    moving = _moving(derivation, body, groups, wanted)
    active = [k for k, moves in enumerate(moving) if moves]
    same = tuple(k for k in active if k >= split)
    while True:
        outputs = [k for k, has in enumerate(seeded) if has and (k >= carried or moving[k])]
        if not outputs:
            return None
        slots = [groups.outputs[k] for k in outputs] + [groups.input_slots[k] for k in same]
        sizes = [len(each) for each in slots]
        total = sum(sizes)
        every = np.concatenate([np.zeros(0, np.int64), *slots])
        made = derivation(tape.giving(every), total, kept=groups.kept)
        seeds = tape.inputs + 1 + np.arange(total)
        ends = [*accumulate(sizes, initial=0)]
        parts = [slice(*each) for each in pairwise(ends)]
        inputs = groups.inputs(active)
        found = made.backward(inputs, seeds[:, None], parts, risky=safe)[:, 0]
        adjoints = dict(zip(active, _split(found, [groups.shapes[k] for k in active]), strict=True))
        more = tuple(
            has or (k < carried and k in adjoints and bool(adjoints[k].any()))
            for k, has in enumerate(seeded)
        )
        if more == seeded:
            break
        seeded = more
    if made.risky.any() and not safe:  # and so may be what the next step is given
        return _adjoint(derivation, body, wanted, seeded, True)
    carries = tuple(k for k in outputs if k < carried)
    writes = tuple(k for k in outputs if k >= carried)
    reads = tuple(k for k in active if carried <= k < split and adjoints[k].any())
    seed = [seeds[part] for part in parts]
    of_output = dict(zip(outputs, seed, strict=False))
    of_same = dict(zip(same, seed[len(outputs) :], strict=True))
    same = tuple(k for k in same if not np.array_equal(adjoints[k], of_same[k]))
    results = [adjoints[k] for k in (*carries, *same, *reads)]
    if not results:
        return None
    cut = _Cut(made, body, groups, results)
    body_left = cut.body(
        [
            *((of_output[k], groups.shapes[k]) for k in carries),
            *((of_same[k], groups.shapes[k]) for k in same),
        ],
        [(of_output[k], body.writes[k - carried]) for k in writes],
        [],
        tuple(groups.shapes[k] for k in reads),
    )
    return _Derivative(
        body_left, carries, reads, same, tuple(k - carried + 1 for k in writes), *cut.operands
    )


def _moving(derivation: Any, body: Body, groups: "_Groups", wanted: tuple[bool, ...]) -> list[bool]:
    """Return which operands depend on an input: of what is carried, in any step."""
    moving = list(wanted)
    while True:
        chosen = [k for k, moves in enumerate(moving) if moves]
        made = derivation(body.tape.giving(groups.written), 0)
        active = made.active_outputs(groups.inputs(chosen))
        more = [
            moves or (k < len(body.carries) and bool(active[groups.output_part(k)].any()))
            for k, moves in enumerate(moving)
        ]
        if more == moving:
            return moving
        moving = more


class _Groups:
    """The inputs and outputs of a body, group by group.

    Attributes
    ----------
    shapes : tuple of shapes
        Of what is carried, read and the same.
    input_slots : list of int64 array
        The slots of each of these inputs.
    outputs : list of int64 array
        The slots of what is carried out, and of each of what is written but for what is kept.
    written : int64 array
        The same end to end.
    kept : int64 array
        The slots of what is kept.
    """

    def __init__(self, body: Body) -> None:
        tape = body.tape
        self.shapes = (*body.carries, *body.reads, *body.same)
        self._input_ends = [*accumulate(map(math.prod, self.shapes), initial=0)]
        self.input_slots = [
            tape.first_input + np.arange(start, stop)
            for start, stop in zip(self._input_ends, self._input_ends[1:], strict=False)
        ]
        own = body.writes[: len(body.writes) - body.keeps_all]
        self._output_shapes = [*body.carries, *own]
        self._output_ends = [*accumulate(map(math.prod, self._output_shapes), initial=0)]
        self.written = tape.outputs[: self._output_ends[-1]]
        self.kept = tape.outputs[self._output_ends[-1] :]
        self.outputs = [self.written[self.output_part(k)] for k in range(len(self._output_shapes))]

    def output_part(self, number: int) -> slice:
        """Return where an output lies among all."""
        return slice(self._output_ends[number], self._output_ends[number + 1])

    def inputs(self, chosen: Sequence[int]) -> Slots:
        """Return the numbers of the inputs of some operands."""
        each = [np.arange(self._input_ends[k], self._input_ends[k + 1]) for k in chosen]
        return np.concatenate([np.zeros(0, np.int64), *each])

    def by_output(self, found: Slots) -> list[Slots]:
        """Return what was found for each output, for each group."""
        return [found[self.output_part(k)] for k in range(len(self._output_shapes))]


def _split(slots: Slots, shapes: Sequence[Shape]) -> list[Slots]:
    """Return the parts of slots that have some shapes, one after the other."""
    ends = [*accumulate(map(math.prod, shapes), initial=0)]
    return [slots[start:stop] for start, stop in pairwise(ends)]


class _Cut:
    """A body's derivative without what the loop itself computes: that is read where it was kept.

    Parameters
    ----------
    made : Derivation
        Of the body, walked.
    body : Body
    groups : _Groups
    outputs : list of int64 array
        The derivatives that are wanted, as the derivation's slots.
    """

    def __init__(self, made: Any, body: Body, groups: _Groups, outputs: Sequence[Slots]) -> None:
        builder, own = made.builder, body.tape
        slots = np.concatenate(outputs)
        self.groups, self.source = groups, body
        self.full = full = builder.finish(slots, np.zeros(builder.inputs))
        kept = builder._final(made.kept)
        needed = full.needed(full.outputs)
        primal = np.arange(full.instructions) < made.count
        wanted, again = self._wanted(needed, primal, kept)
        self.needed = (needed & ~primal) | again
        # The columns of what is kept, by slot: of equal ones the first.
        column = np.full(full.slots, -1)
        column[kept[::-1]] = np.arange(len(kept))[::-1]
        outside = slice(full.first_input + body.carried, full.first_result)
        column[outside] = -1
        self.wanted = np.flatnonzero(wanted & (column >= 0))
        columns = column[self.wanted]
        breaks = np.flatnonzero((np.diff(columns) != 1) | (np.diff(self.wanted) != 1)) + 1
        self.kept = tuple(
            _Kept(int(part[0]), len(part)) for part in np.split(columns, breaks) if len(part)
        )
        # What it reads of the operands that are not carried.
        inputs = wanted[full.first_input : full.first_input + own.inputs]
        read = [bool(inputs[groups.inputs([k])].any()) for k in range(len(groups.shapes))]
        carried, split = len(body.carries), len(body.carries) + len(body.reads)
        self.again_read = tuple(k for k in range(carried, split) if read[k])
        self.again_same = tuple(k for k in range(split, len(read)) if read[k])
        self.operands = self.kept, self.again_read, self.again_same

    def _wanted(self, needed: Bools, primal: Bools, kept: Slots) -> tuple[Bools, Bools]:
        """Return which slots are read of what the loop computes, and what is computed again.

        That is what costs little and follows from what need not be kept, and what was not kept.
        """
        full, body = self.full, self.source
        wanted = np.zeros(full.slots, bool)
        for slots in slots_read(full, needed & ~primal):
            wanted[slots] = True
        wanted[full.outputs] = True
        is_kept = np.zeros(full.slots, bool)
        is_kept[kept] = True
        is_free = np.zeros(full.slots, bool)  # needs no keeping
        is_free[: full.first_result] = True
        is_free[full.first_input : full.first_input + body.carried] = False
        again = np.zeros(full.instructions, bool)
        numbers = np.flatnonzero(primal).tolist()
        cheap = []
        for number in numbers:
            opcode, a, b = full.code[number].tolist()
            result = int(full.results[number])
            if opcode != VECTOR and opcode in _CHEAP and is_free[a] and is_free[b]:
                is_free[result] = True
                cheap.append(number)
        is_cheap = np.zeros(full.instructions, bool)
        is_cheap[cheap] = True
        for number in reversed(numbers):
            own = slice(int(full.results[number]), int(full.results[number + 1]))
            found = wanted[own]
            if found.any() and (is_cheap[number] or not is_kept[own][found].all()):
                again[number] = True
                wanted[own] = False
                if full.code[number, 0] != VECTOR:
                    wanted[full.code[number, 1:]] = True
                    continue
                for slots in slots_read(full, np.arange(full.instructions) == number):
                    wanted[slots] = True
        wanted[full.first_result :] &= np.repeat(primal, np.diff(full.results))
        wanted[: full.first_input] = False
        return wanted, again

    def body(
        self,
        carries: Sequence[tuple[Slots, Shape]],
        reads: Sequence[tuple[Slots, Shape]],
        same: Sequence[tuple[Slots, Shape]],
        writes: tuple[Shape, ...],
    ) -> Body:
        """Return the body that has these seeds, each an array of inputs of the derivation."""
        groups = self.groups
        again = [
            [(1 + groups.inputs([k]), groups.shapes[k]) for k in which]
            for which in (self.again_read, self.again_same)
        ]
        kept_shapes = [() if each.count == 1 else (each.count,) for each in self.kept]
        first = [*carries]
        last = [*again[0], *reads, *again[1], *same]
        count = sum(len(slots) for slots, _ in (*first, *last)) + len(self.wanted)
        recorder = Builder(count)
        inputs = np.zeros(self.full.inputs, np.int64)
        place = 1
        for slots, _ in first:
            inputs[slots - 1] = place + np.arange(len(slots))
            place += len(slots)
        kept = place + np.arange(len(self.wanted))
        place += len(kept)
        for slots, _ in last:
            inputs[slots - 1] = place + np.arange(len(slots))
            place += len(slots)
        made = replay(self.full, recorder, inputs, self.needed, (self.wanted, kept))
        tape = remove_dead(recorder.finish(made.at(self.full.outputs), np.zeros(count)))
        each_read = [
            *kept_shapes,
            *(shape for _, shape in again[0]),
            *(shape for _, shape in reads),
        ]
        return Body(
            tape,
            tuple(shape for _, shape in carries),
            tuple(each_read),
            tuple(shape for _, shape in (*again[1], *same)),
            writes,
            recomputes=self.source.recomputes,
        )
