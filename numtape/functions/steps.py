"""Steps that are recorded once: the body of a loop, from a function that does one step.

A function is recorded at the values of the first step, inside of the recording that is going on,
and its tape becomes a body: the values of outside that it uses are the same in all steps, and what
it compares is written, so that the recording around has a guard for each step. The kernels run
the loop for its values. `loops.py` has what users call.
"""

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
from numtape.transform.checkpoints import recorded_rows
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
    rows_of = recorded_rows(recorder, body, steps, [each for each, _ in operands], room)
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
