"""Steps that are recorded once: the body of a loop, from a function that does one step.

A function is recorded at the values of the first step, inside of the recording that is going on,
and its tape becomes a body: the values of outside that it uses are the same in all steps, and what
it compares is written, so that the recording around has a guard for each step. The kernels run
the loop for its values. `loops.py` has what users call.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.inner import InnerTape
from numtape.functions.runner import Runner
from numtape.functions.selection import cut
from numtape.functions.trees import flatten
from numtape.tape.body import Body
from numtape.trace.recorder import Recorder
from numtape.trace.resolve import resolved
from numtape.trace.traced import Traced, lift, wrap
from numtape.transform.pruning import parts_of

__all__ = ["recorded_again", "recorded_once"]

Floats = npt.NDArray[np.float64]


def recorded_once(
    recorder: Recorder,
    step: Callable[[Any, Any], Any],
    init: Any,
    first: Any,
    xs: Any,
    steps: int,
    reverse: bool,
    room: float,
) -> tuple[Any, Any] | None:
    """Record a loop; return what `scan` gives, or None where each step is to be recorded.

    Parameters
    ----------
    recorder : Recorder
    step : callable
        From what is carried and the elements of `xs` at a step to a checked pair.
    init, first, xs : tree
        What is carried into the first step, what that reads, and of what.
    steps : int
    reverse : bool
    room : float
        How many bytes may be kept for derivatives.
    """
    if not all(map(_is_float, flatten((init, xs))[0])):
        return None
    guards, writes = len(recorder.guards), recorder.writes
    inner = InnerTape(recorder, step, [init, first])
    if len(recorder.guards) != guards or recorder.writes != writes:
        return None  # it assigned to what it was given, or met an error
    return _looped(recorder, inner, init, xs, steps, reverse, room)


def recorded_again(recorder: Recorder, f: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Record a call of a function that is computed again for derivatives; return its result."""
    inner = InnerTape(recorder, f, list(arguments))
    slots, values = lift(recorder, inner.point)
    flat, result = inner.tape.flat, inner.tape.result
    if np.size(values) == 0 or len(flat.outputs) == 0:
        return resolved(f)(*arguments)
    outputs = np.concatenate([flat.outputs, flat.guard_slots])
    tape = flat.changed(outputs=outputs, guards=(), point=np.zeros(0))
    body = Body(tape, (), (), (np.shape(values),), (outputs.shape,), recomputes=True)
    found = _run(body, 1, [values])
    made = recorder.loop(body, 1, [slots])
    for guard, slot in zip(flat.guards, made[len(flat.outputs) :].tolist(), strict=True):
        recorder.guard(slot, guard.outcome, guard.location)
    count = len(flat.outputs)
    return result.build(wrap(recorder, made[:count], found[:count]))


def _is_float(leaf: Any) -> bool:
    """Return whether a leaf is of floats: what counts is another number in each step."""
    kind = leaf.dtype if isinstance(leaf, Traced) else np.result_type(leaf)
    return bool(kind == np.float64)


def _looped(
    recorder: Recorder,
    inner: InnerTape,
    init: Any,
    xs: Any,
    steps: int,
    reverse: bool,
    room: float,
) -> tuple[Any, Any] | None:
    """Record a loop of a step that was recorded at the first one's values.

    None where the step does not stand for all: where a comparison comes out otherwise. `room` is
    how many bytes may be kept for derivatives.
    """
    flat, result = inner.tape.flat, inner.tape.result
    carried, structure = flatten(init)
    slots, values = inner.captured
    turn = slice(None, None, -1) if reverse else slice(None)
    operands = [lift(recorder, leaf) for leaf in carried]
    for leaf in flatten(xs)[0]:
        read, numbers = lift(recorder, leaf)
        operands.append((read[turn], np.asarray(numbers)[turn]))
    operands += [(np.array(slot), value) for slot, value in zip(slots, values, strict=True)]
    shapes = [np.shape(numbers) for _, numbers in operands]
    split = len(operands) - len(slots)
    body = Body(
        flat.changed(
            outputs=np.concatenate([flat.outputs, flat.guard_slots]), guards=(), point=np.zeros(0)
        ),
        tuple(shapes[: len(carried)]),
        tuple(shape[1:] for shape in shapes[len(carried) : split]),
        ((),) * len(slots),
        (*result.shapes[len(carried) :], *((),) * len(flat.guards)),
    )
    found = _run(body, steps, [numbers for _, numbers in operands])
    parts = parts_of(body, steps)[1:]
    split = len(parts) - len(flat.guards)
    written, compared = parts[:split], parts[split:]
    for guard, (begin, rows, _) in zip(flat.guards, compared, strict=True):
        outcomes = found[begin : begin + rows]
        if not np.array_equal(outcomes, np.full(rows, guard.outcome), equal_nan=True):
            return None
    rows_of = _recorded_rows(recorder, body, steps, [each for each, _ in operands], room)
    last = 1 + len(written)
    for step in range(steps):
        for guard, slots in zip(flat.guards, rows_of[last:], strict=True):
            recorder.guard(slots.item(step), guard.outcome, guard.location)
    carry = wrap(recorder, rows_of[0], found[: body.carried])
    ys = [  # which lie in memory as if they had been stacked
        wrap(recorder, slots, found[begin : begin + rows * width].reshape(slots.shape))[turn].copy()
        for slots, (begin, rows, width) in zip(rows_of[1:last], written, strict=True)
    ]
    return structure.build(cut(carry, body.carries)), result.structure.children[1].build(ys)


def _recorded_rows(
    recorder: Recorder, body: Body, steps: int, operands: list[Any], room: float
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
        carried, *more = _recorded_rows(recorder, body, steps - whole, left, math.inf)
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


def _run(body: Body, steps: int, numbers: list[Any]) -> Floats:
    """Return the results of a loop of these operands."""
    sizes = [np.size(each) for each in numbers]
    recorder = Recorder(sum(sizes))
    ends = np.cumsum([0, *sizes])
    slots = [
        np.arange(1 + start, 1 + stop).reshape(np.shape(each))
        for each, start, stop in zip(numbers, ends, ends[1:], strict=False)
    ]
    made = recorder.loop(body, steps, slots)
    flat = recorder.finish(np.asarray(made), np.zeros(sum(sizes)))
    results = np.empty(len(flat.outputs))
    Runner(flat).evaluate(np.concatenate([np.zeros(0), *map(np.ravel, numbers)]), results)
    return results
