"""Steps that are recorded once: the body of a loop, from a function that does one step.

A function is recorded at the values of the first step, inside of the recording that is going on,
and its tape becomes a body: the values of outside that it uses are the same in all steps, and what
it compares is written, so that the recording around has a guard for each step. The kernels run
the loop for its values. `loops.py` has what users call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.inner import InnerTape
from numtape.functions.runner import Runner
from numtape.functions.selection import cut
from numtape.functions.trees import flatten, map_leaves
from numtape.ops.structured import TAKE
from numtape.ops.table import OPCODE
from numtape.tape.body import Body
from numtape.trace.branches.choices import Choices
from numtape.trace.integers import range_of
from numtape.trace.ranges import EXACT
from numtape.trace.recorder import Recorder
from numtape.trace.resolve import resolved
from numtape.trace.traced import (
    Traced,
    TracedInt,
    TracedTruth,
    as_floats,
    as_python,
    is_traced,
    lift,
    wrap,
)
from numtape.transform.checkpoints import recorded_rows
from numtape.transform.pruning import parts_of

__all__ = ["ROOM", "Step", "plain_like", "recorded_again", "recorded_once", "rooms_in", "run_loop"]

Floats = npt.NDArray[np.float64]

# Guards of other kinds than those of comparisons and integers have values between whole numbers,
# for recordings are told apart by values of guards: those that ask for how many steps there is room
# (`searches.py`), and in loops that count.
ROOM = 0.5
_COUNTING = 0.25

_KINDS = frozenset(map(np.dtype, (np.float64, np.int64, np.bool_)))


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
    before, choices = recorder.rooms, None
    try:
        while True:
            made = Step.recorded(recorder, step, init, first, xs, choices)
            if made is None:
                return None
            found = _looped(recorder, made, xs, steps, reverse, room)
            if isinstance(found, tuple):
                return found
            if found > recorder.rooms:
                recorder.rooms = found
            elif choices is None and recorder.arms is None:
                choices = Choices()  # branches that differ from step to step are selections
            else:
                return None
    finally:
        recorder.rooms = before


@dataclass(frozen=True)
class Step:
    """A step that was recorded, and the trees of what it is given and returns.

    Attributes
    ----------
    inner : InnerTape
        Its arguments are what is carried and what is read, integers and bools as floats.
    init : tree
        What is carried into the first step.
    rows : tuple of dtype
        Of what else it returns.
    counts : bool
        Whether bools or integers are carried or read.
    """

    inner: InnerTape
    init: Any
    rows: tuple[Any, ...]
    counts: bool

    @classmethod
    def recorded(
        cls,
        recorder: Recorder,
        step: Callable[[Any, Any], Any],
        init: Any,
        first: Any = None,
        xs: Any = None,
        choices: Choices | None = None,
        is_attempt: bool = False,
    ) -> "Step | None":
        """Record a step; return None where that does not stand for all.

        What is carried and read may be bools and integers, which are traced in the step. What
        cannot be done with such is done where each step is recorded; and so is looking up what
        stands at one, because the way back would add to the whole array in each step. An error
        stands for None where such are among them, or in an attempt. With `choices`, branches are
        selections.
        """
        given = flatten((init, first))[0]
        kinds = [*map(_kind_of, given)]
        if not _KINDS.issuperset(kinds) or not all(map(_is_exact, flatten((init, xs))[0])):
            return None
        count = len(flatten(init)[0])
        ranges = [range_of(leaf) for leaf in flatten(xs)[0]]
        seen: dict[str, Any] = {}

        def typed(carry: Any, x: Any) -> Any:
            leaves, structure = flatten((carry, x))
            pairs = zip(leaves, given, strict=True)
            leaves = [_typed(leaf, like) for leaf, like in pairs]
            for leaf, each in zip(leaves[count:], ranges, strict=True):
                if leaf.dtype.kind == "i":
                    leaf.recorder.ranges.note(leaf.slots, *each)
            new, y = step(*structure.build(leaves))
            found = [*map(_kind_of, flatten(new)[0])]
            seen["fits"] = all(
                one == other or one.kind == "f"
                for one, other in zip(kinds[:count], found, strict=True)
            )
            seen["rows"] = tuple(map(_kind_of, flatten(y)[0]))
            return map_leaves(_as_float, new), y

        counts = any(kind.kind != "f" for kind in kinds)
        guards, writes = len(recorder.guards), recorder.writes
        try:
            arguments = [map_leaves(_as_float, each) for each in (init, first)]
            inner = InnerTape(recorder, typed, arguments, choices=choices)
        except Exception:
            if not counts and not is_attempt:
                raise
            return None  # it may need plain integers
        if len(recorder.guards) != guards or recorder.writes != writes or not seen["fits"]:
            return None  # it assigned to what it was given, or met an error
        if counts and any(each.kind == TAKE for each in inner.tape.flat.vectors):
            return None
        if not len(inner.captured[0]) and not any(map(is_traced, flatten((init, xs))[0])):
            return None  # there is nothing to record
        return cls(inner, init, seen["rows"], counts)

    def operands(self, recorder: Recorder, reads: Sequence[Any] = ()) -> list[tuple[Any, Any]]:
        """Return the slots and values of a loop's operands, given those that are read."""
        slots, values = self.inner.captured
        same = [(np.array(slot), value) for slot, value in zip(slots, values, strict=True)]
        return [*(lift(recorder, leaf) for leaf in flatten(self.init)[0]), *reads, *same]

    def body(self, reads: Sequence[tuple[int, ...]]) -> Body:
        """Return the body of a loop; the values of its guards are the last that is written."""
        flat, result = self.inner.tape.flat, self.inner.tape.result
        outputs = np.concatenate([flat.outputs, flat.guard_slots])
        carries = tuple(np.shape(leaf) for leaf in flatten(self.init)[0])
        return Body(
            flat.changed(outputs=outputs, guards=(), point=np.zeros(0)),
            carries,
            tuple(reads),
            ((),) * len(self.inner.captured[0]),
            (*result.shapes[len(carries) :], *((),) * len(flat.guards)),
        )

    def carried(self, recorder: Recorder, slots: Any, values: Floats) -> Any:
        """Return what is carried out of a loop of it."""
        leaves, structure = flatten(self.init)
        found = cut(wrap(recorder, slots, values), [np.shape(leaf) for leaf in leaves])
        return structure.build(_typed(leaf, like) for leaf, like in zip(found, leaves, strict=True))


def plain_like(tree: Any, numbers: Floats) -> Any:
    """Return plain values as what the leaves of a tree are."""
    leaves, structure = flatten(tree)
    found = cut(numbers, [np.shape(leaf) for leaf in leaves])
    return structure.build(
        value.astype(_kind_of(leaf)) if np.ndim(value) else _kind_of(leaf).type(value).item()
        for value, leaf in zip(found, leaves, strict=True)
    )


def _kind_of(leaf: Any) -> Any:
    return leaf.dtype if isinstance(leaf, Traced) else np.result_type(leaf)


def _is_exact(leaf: Any) -> bool:
    """Return whether a plain leaf is of floats, or of integers that are exact as floats."""
    if is_traced(leaf) or _kind_of(leaf).kind != "i":
        return True
    return bool(np.all(np.abs(leaf) < EXACT))


def _as_float(leaf: Any) -> Any:
    """Return a leaf as floats, an input of the step."""
    if _kind_of(leaf).kind == "f":
        return leaf
    if is_traced(leaf):
        return as_floats(leaf)
    return np.asarray(leaf, np.float64) if isinstance(leaf, np.ndarray) else float(leaf)


def _typed(leaf: Any, like: Any) -> Any:
    """Return traced floats as what they stand for."""
    kind = _kind_of(like)
    if kind.kind == "f":
        return leaf
    typed = wrap(leaf.recorder, np.asarray(leaf.slots), np.asarray(leaf.primals).astype(kind))
    return as_python(typed) if isinstance(like, int | TracedInt | TracedTruth) else typed


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
    found = run_loop(body, 1, [values])
    made = recorder.loop(body, 1, [slots])
    for guard, slot in zip(flat.guards, made[len(flat.outputs) :].tolist(), strict=True):
        recorder.guard(slot, guard.outcome, guard.location)
    count = len(flat.outputs)
    return result.build(wrap(recorder, made[:count], found[:count]))


def _looped(
    recorder: Recorder,
    made: Step,
    xs: Any,
    steps: int,
    reverse: bool,
    room: float,
) -> tuple[Any, Any] | int:
    """Record a loop of a step that was recorded at the first one's values.

    Where the step does not stand for all, because a comparison comes out otherwise, how much room
    loops in it need. `room` is how many bytes may be kept for derivatives.
    """
    flat, result = made.inner.tape.flat, made.inner.tape.result
    turn = slice(None, None, -1) if reverse else slice(None)
    lifted = [lift(recorder, leaf) for leaf in flatten(xs)[0]]
    reads = [(slots[turn], np.asarray(numbers)[turn]) for slots, numbers in lifted]
    operands = made.operands(recorder, reads)
    body = made.body([np.shape(numbers)[1:] for _, numbers in reads])
    found = run_loop(body, steps, [numbers for _, numbers in operands])
    parts = parts_of(body, steps)[1:]
    split = len(parts) - len(flat.guards)
    written, compared = parts[:split], parts[split:]
    outcomes = [found[begin : begin + rows] for begin, rows, _ in compared]
    expected = [np.full(steps, guard.outcome) for guard in flat.guards]
    if not np.array_equal(outcomes, expected, equal_nan=True):
        return max(map(rooms_in, expected, outcomes))
    rows_of = recorded_rows(recorder, body, steps, [each for each, _ in operands], room)
    last = 1 + len(written)
    shift = _COUNTING if made.counts else 0.0
    for step in range(steps):
        for guard, slots in zip(flat.guards, rows_of[last:], strict=True):
            slot = slots.item(step)
            if shift:
                slot = recorder.scalar(OPCODE["add"], slot, recorder.constant(shift))
            recorder.guard(slot, guard.outcome + shift, guard.location)
    carry = made.carried(recorder, rows_of[0], found[: body.carried])
    ys = [  # which lie in memory as if they had been stacked
        wrap(
            recorder, slots, found[begin : begin + rows * width].reshape(slots.shape).astype(kind)
        )[turn].copy()
        for slots, (begin, rows, width), kind in zip(
            rows_of[1:last], written, made.rows, strict=True
        )
    ]
    return carry, result.structure.children[1].build(ys)


def rooms_in(expected: Floats, found: Floats) -> int:
    """Return the most room that is asked for where guards have other values; 0 if none is."""
    with np.errstate(invalid="ignore"):
        is_room = (expected % 1.0 == ROOM) & (found % 1.0 == ROOM) & (expected != found)
    return int(np.max(found, where=is_room, initial=0.0))


def run_loop(body: Body, steps: int, numbers: list[Any]) -> Floats:
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
