"""Loops that go side by side, as one.

The tangents by several inputs are as many loops, one after the other; so are the adjoints of
several outputs. Each waits for its own last step, so a processor does them in the time of one if
they are one loop. What both read or compute is then read and computed once.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction, View
from numtape.trace.recorder import Recorder, Slots
from numtape.transform.builder import NO_RULES, Builder, replay
from numtape.transform.pruning import parts_of

__all__ = ["merge_loops"]

# Operations of a body: longer ones keep a processor busy by themselves.
_LONGEST = 1000


def merge_loops(tape: FlatTape) -> FlatTape:
    """Return a tape whose loops that may go side by side do; the same tape where there are none."""
    if not tape.has_loops:
        return tape
    groups = [group for group in _groups(tape) if len(group) > 1]
    if not groups:
        return tape
    others: dict[int, Callable[..., Any]] = {}
    for group in groups:
        merged = _Merged(tape, group)
        others |= dict.fromkeys(group, merged.record)
    recorder = Builder(tape.inputs, NO_RULES)
    slots = replay(tape, recorder, range(1, tape.inputs + 1), others=others)
    return recorder.finish(slots.at(tape.outputs), tape.point)


def _groups(tape: FlatTape) -> list[list[int]]:
    """Return the numbers of vector instructions that are loops of as many steps, side by side.

    All that the later ones read is there before the first.
    """
    groups: list[list[int]] = []
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)
    start, length = 0, 0
    for number, each in enumerate(tape.vectors):
        if each.body is None:
            continue
        length += _operations(each.body)
        first = groups[-1][0] if groups else None
        if (
            first is not None
            and tape.vectors[first].shape == each.shape
            and length <= _LONGEST
            and _highest(each) < start
        ):
            groups[-1].append(number)
            continue
        groups.append([number])
        start, length = int(tape.results[rows[number]]), _operations(each.body)
    return groups


def _operations(body: Body) -> int:
    tape = body.tape
    return tape.in_all + int(tape.vectors.each(lambda each: math.prod(each.shape)).sum())


def _highest(instruction: VectorInstruction) -> int:
    """Return the last slot that an instruction reads."""
    views = zip(instruction.operands, instruction.operand_shapes(), strict=True)
    return max(
        (
            int(view.table.max()) if view.table is not None else view.reach(shape)[1]
            for view, shape in views
        ),
        default=0,
    )


class _Merged:
    """Some loops as one.

    Parameters
    ----------
    tape : FlatTape
    group : list of int
        The numbers of the loops, in order.
    """

    def __init__(self, tape: FlatTape, group: list[int]) -> None:
        self.loops = [tape.vectors[number] for number in group]
        self.left: list[Slots] = []  # results of those that are still to be asked for

    def record(
        self, recorder: Recorder, _: VectorInstruction, __: Any, read: Callable[..., Any]
    ) -> Slots:
        """Record all where the first one was; return the results of one after the other."""
        if not self.left:
            self.left = self._results(recorder, read)
        return self.left.pop(0)

    def _results(self, recorder: Recorder, read: Callable[..., Any]) -> list[Slots]:
        """Record one loop for all, and return the results of each."""
        bodies = [each.body for each in self.loops if each.body is not None]
        steps = self.loops[0].shape[0]
        operands: list[list[Any]] = [[], [], []]  # carried, read, the same
        shapes: list[list[tuple[int, ...]]] = [[], [], []]
        known: dict[Any, tuple[int, int]] = {}  # operands that are there, by what they read
        used: list[list[tuple[int, int]]] = []  # for each loop, where its operands are
        for each, body in zip(self.loops, bodies, strict=True):
            slots = read(each)
            groups = (0, body.carries), (1, body.reads), (2, body.same)
            kinds = [(kind, shape) for kind, group in groups for shape in group]
            own = []
            for (kind, shape), view, found in zip(kinds, each.operands, slots, strict=True):
                key = len(known) if kind == 0 else (kind, shape, *_key(view))
                if key not in known:
                    known[key] = kind, len(operands[kind])
                    operands[kind].append(found)
                    shapes[kind].append(shape)
                own.append(known[key])
            used.append(own)
        merged = _body(bodies, shapes, used)
        result = recorder.loop(merged, steps, [each for group in operands for each in group])
        parts = parts_of(merged, steps)[1:]
        results, carried = [], 0
        for body in bodies:
            last = np.asarray(result[carried : carried + body.carried])
            carried += body.carried
            mine, parts = parts[: len(body.writes)], parts[len(body.writes) :]
            written = [
                np.asarray(result[begin : begin + rows * width]) for begin, rows, width in mine
            ]
            results.append(np.concatenate([last, *written]))
        return results


def _key(view: View) -> tuple[Any, ...]:
    return view.base, view.strides, None if view.table is None else view.table.tobytes()


def _body(
    bodies: list[Body],
    shapes: list[list[tuple[int, ...]]],
    used: list[list[tuple[int, int]]],
) -> Body:
    """Return the body that does what some bodies do, of operands that they share."""
    sizes = [[math.prod(shape) for shape in group] for group in shapes]
    builder = Builder(sum(map(sum, sizes)))
    places: dict[tuple[int, int], Slots] = {}
    start = 1
    for kind, group in enumerate(sizes):
        for number, size in enumerate(group):
            places[kind, number] = np.arange(start, start + size)
            start += size
    none = np.zeros(0, np.int64)
    carried, written = [none], [none]
    for body, own in zip(bodies, used, strict=True):
        inputs = np.concatenate([none, *(places[each] for each in own)])
        made = replay(body.tape, builder, inputs).at(body.tape.outputs)
        carried.append(made[: body.carried])
        written.append(made[body.carried :])
    tape = builder.finish(np.concatenate([*carried, *written]), np.zeros(builder.inputs))
    writes = tuple(shape for body in bodies for shape in body.writes)
    recomputes = any(body.recomputes for body in bodies)
    groups = tuple(shapes[0]), tuple(shapes[1]), tuple(shapes[2]), writes
    return Body(tape, *groups, recomputes=recomputes)
