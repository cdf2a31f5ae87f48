"""Loops that end when a condition does: how many steps they make is found during the run.

A step is recorded once and becomes the body of a loop with room for so many steps: for 7, or twice
as many and one as often as it takes. Steps after the last one carry on what they are given, and
derivatives pass them. One guard asks how much room a point needs, so all numbers of steps up to a
thousand are eight recordings. In a step of another loop there is room for what any step needs.

A condition that has branches (``a and b``) is recorded for each of its paths that are met, all in
the same body; a step asks the one whose guards hold. Where they were met is remembered for the
next recording, so that points do not take turns with recordings that know one path each.
`loops.py` has what users call.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from numtape.functions.inner import plain_values
from numtape.functions.runner import Runner
from numtape.functions.steps import ROOM, Step, plain_like, rooms_in, run_loop
from numtape.functions.trees import flatten
from numtape.ops.table import OPCODE
from numtape.tape.flat import Guard
from numtape.trace.recorder import Recorder
from numtape.trace.resolve import resolved
from numtape.trace.running import active_recorder
from numtape.trace.traced import (
    Traced,
    TracedFloat,
    TracedInt,
    TracedTruth,
    as_python,
    lift,
    wrap,
)
from numtape.transform.pruning import parts_of

__all__ = ["recorded_search"]

Floats = npt.NDArray[np.float64]

# A loop asks so many times whether to go on, or twice as often: shorter ones are not worth a
# recording of their own.
_LEAST = 8

_MOST = 8  # paths of a condition

# By the code of conditions and shapes: what was carried where they took another path.
_met: WeakKeyDictionary[Any, dict[Any, tuple[Floats, ...]]] = WeakKeyDictionary()

_ADD, _MULTIPLY = OPCODE["add"], OPCODE["multiply"]
_AND, _OR = OPCODE["logical_and"], OPCODE["logical_or"]


def recorded_search(
    recorder: Recorder,
    cond: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    bound: int | None,
    endless: Callable[[Any], Exception],
) -> tuple[Any] | None:
    """Record a loop; return what is carried in the end, or None where each step is to be recorded.

    Parameters
    ----------
    recorder : Recorder
    cond, body : callable
        Of what is carried: whether to go on, and what is carried on, checked.
    init : tree
    bound : int or None
        How many steps there may be.
    endless : callable
        Gives the error, of what is carried after so many.
    """
    code = getattr(cond, "__code__", None)
    shapes = tuple(map(np.shape, flatten(init)[0]))
    # What is carried where the condition takes other paths.
    others = list(_met.get(code, {}).get(shapes, ())) if code is not None else []
    before = recorder.rooms
    try:
        while len(others) < _MOST:
            search = _Search.recorded(recorder, cond, body, init, others)
            if search is None:
                return None
            count = search.count(bound, endless)
            if count is not None:
                recorder.rooms = before
                if others and code is not None:
                    _met.setdefault(code, {})[shapes] = tuple(others)
                return (search.record(recorder, count, bound),)
            if search.is_condition:
                others.append(search.carry)
            elif search.rooms > recorder.rooms:
                recorder.rooms = search.rooms
            else:
                return None
        return None
    finally:
        recorder.rooms = before


class _Search:
    """A step that is made as long as its condition holds.

    Parameters
    ----------
    made : Step
        Gives whether it was to be made.
    asked : int
        How many of its guards its condition has.

    Attributes
    ----------
    carry : array
        What is carried into the step at which `count` ended.
    is_condition : bool
        Whether it was the condition that took another path there.
    rooms : int
        How much room loops in that step need.
    """

    def __init__(self, made: Step, asked: int) -> None:
        flat = made.inner.tape.flat
        self._made, self._asked, self._guards = made, asked, flat.guards
        self._point, self._body = flat.point.copy(), made.body(())
        self.carry = self._point[: self._body.carried]
        self.is_condition = False
        self.rooms = 0

    @classmethod
    def recorded(
        cls,
        recorder: Recorder,
        cond: Callable[[Any], Any],
        body: Callable[[Any], Any],
        init: Any,
        others: Sequence[Floats],
    ) -> "_Search | None":
        """Record a step; None where that cannot be."""
        asked: list[int] = []

        def step(carry: Any, _: Any) -> Any:
            inner = active_recorder()
            assert inner is not None
            goes = _goes(inner, cond, carry, [plain_like(init, each) for each in others])
            asked.append(len(inner.guards))
            if goes is None:
                return carry, None
            old, structure = flatten(carry)
            # What the body warns of where it is not run is not told.
            with np.errstate() if goes.primal else np.errstate(all="ignore"):
                new = flatten(body(carry))[0]
            pairs = zip(new, old, strict=True)
            return structure.build(np.where(goes, one, other)[()] for one, other in pairs), goes

        made = Step.recorded(recorder, step, init, is_attempt=True)
        return cls(made, asked[-1]) if made is not None and made.rows else None

    def count(self, bound: int | None, endless: Callable[[Any], Exception]) -> int | None:
        """Return how many steps there are; None where one of them takes another path."""
        runner, carried = Runner(self._body.tape), self._body.carried
        results = np.empty(carried + self._body.written)
        outcomes, asked = np.array([each.outcome for each in self._guards]), self._asked
        steps = 0
        while True:
            runner.evaluate(self._point, results)
            goes, found = results[carried] != 0.0, results[carried + 1 :]
            if not _agree(found[:asked], outcomes[:asked]):
                self.is_condition = True
                return None
            if not goes:
                return steps
            if not _agree(found[asked:], outcomes[asked:]):
                self.rooms = rooms_in(outcomes[asked:], found[asked:])
                return None
            if steps == bound:
                raise endless(plain_like(self._made.init, self.carry))
            self.carry[:] = results[:carried]
            steps += 1

    def record(self, recorder: Recorder, count: int, bound: int | None) -> Any:
        """Record a loop with room for so many steps; return what is carried in the end."""
        most = np.inf if bound is None else bound + 1
        rooms = [_LEAST << recorder.rooms]
        while rooms[-1] <= count:
            rooms.append(2 * rooms[-1])
        rooms = [int(min(room, most)) for room in rooms]
        made, body, steps = self._made, self._body, rooms[-1]
        operands = made.operands(recorder)
        found = run_loop(body, steps, [numbers for _, numbers in operands])
        slots = np.asarray(recorder.loop(body, steps, [each for each, _ in operands]))
        parts = [slice(begin, begin + rows) for begin, rows, _ in parts_of(body, steps)[1:]]
        goes, compared = parts[0], parts[1:]
        room = recorder.constant(ROOM + recorder.rooms)
        for each in rooms:
            room = recorder.scalar(_ADD, room, slots[goes].item(each - 1))
        recorder.guard(room, ROOM + recorder.rooms + len(rooms) - 1)
        asks = wrap(recorder, slots[goes], found[goes].astype(bool))
        before = np.concatenate([[True], asks[:-1]])
        for number, (guard, part) in enumerate(zip(self._guards, compared, strict=True)):
            is_relied = before if number < self._asked else asks
            kept = np.where(is_relied, wrap(recorder, slots[part], found[part]), guard.outcome)
            for slot in lift(recorder, kept)[0].tolist():
                recorder.guard(slot, guard.outcome, guard.location)
        return made.carried(recorder, slots[: body.carried], found[: body.carried])


def _agree(found: Floats, outcomes: Floats) -> bool:
    return bool(np.array_equal(found, outcomes, equal_nan=True))


def _goes(recorder: Recorder, cond: Callable[[Any], Any], carry: Any, others: Sequence[Any]) -> Any:
    """Record a condition on the paths of several points; return what it says, a traced bool.

    None where it is the same in all steps. Of one path the guards stay; of several there is one:
    that it is among them. Its value tells these paths apart from other ones, as recordings are told
    apart by values of guards.
    """
    leaves, structure = flatten(carry)
    points = [leaves]
    for other in others:
        pairs = zip(leaves, flatten(other)[0], strict=True)
        points.append([_with_values(leaf, values) for leaf, values in pairs])
    begin, guarded = len(recorder.guards), set(recorder.guarded)
    paths: dict[tuple[str, ...], tuple[Any, list[Guard]]] = {}
    for point in points:
        goes = resolved(cond)(structure.build(point))
        if np.shape(goes) != ():
            return None
        guards = recorder.guards[begin:]
        paths.setdefault(tuple(str(guard.outcome) for guard in guards), (goes, guards))
        if others:
            del recorder.guards[begin:]
            recorder.guarded = set(guarded)
    first, guards = next(iter(paths.values()))
    if len(paths) == 1:
        if others:
            for guard in guards:
                recorder.guard(guard.slot, guard.outcome, guard.location)
        if not isinstance(first, Traced):
            return None
        return first if first.dtype == bool else np.not_equal(first, 0)
    holds = is_known = recorder.constant(0.0)
    for goes, taken in paths.values():
        path = recorder.constant(1.0)
        for guard in taken:
            path = recorder.scalar(_AND, path, _equals(recorder, guard.slot, guard.outcome))
        is_known = recorder.scalar(_OR, is_known, path)
        said = lift(recorder, goes)[0].item()
        holds = recorder.scalar(_OR, holds, recorder.scalar(_AND, path, said))
    digest = blake2b(repr(sorted(paths)).encode(), digest_size=6).digest()
    name = ROOM + int.from_bytes(digest, "big")
    known = recorder.scalar(_MULTIPLY, is_known, recorder.constant(name))
    recorder.guard(known, name, guards[0].location)
    return wrap(recorder, np.array(holds), np.array(bool(plain_values(first))))


def _with_values(leaf: Any, values: Any) -> Any:
    """Return a traced leaf as it is at another point."""
    found = wrap(leaf.recorder, np.asarray(leaf.slots), np.asarray(values).astype(leaf.dtype))
    return as_python(found) if isinstance(leaf, TracedFloat | TracedInt | TracedTruth) else found


def _equals(recorder: Recorder, slot: int, outcome: float) -> int:
    """Record whether a guard holds; return the slot."""
    if outcome == outcome:
        return recorder.scalar(OPCODE["equal"], slot, recorder.constant(outcome))
    return recorder.scalar(OPCODE["not_equal"], slot, slot)  # nan alone does
