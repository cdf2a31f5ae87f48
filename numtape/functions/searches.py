"""Loops that end when a condition does: how many steps they make is found during the run.

A step is recorded once and becomes the body of a loop with room for so many steps: for 7, or twice
as many and one as often as it takes. Steps after the last one carry on what they are given, and
derivatives pass them. One guard asks how much room a point needs, so all numbers of steps up to a
thousand are eight recordings. In a step of another loop there is room for what any step needs.
Branches of the condition and the body are selections, so a step stands for all. `loops.py` has
what users call.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.runner import Runner
from numtape.functions.steps import ROOM, Step, plain_like, rooms_in, run_loop
from numtape.functions.trees import flatten
from numtape.ops.table import OPCODE
from numtape.trace.branches.arms import truth
from numtape.trace.branches.choices import Choices
from numtape.trace.recorder import Recorder
from numtape.trace.resolve import resolved
from numtape.trace.traced import is_traced, lift, wrap
from numtape.transform.pruning import parts_of

__all__ = ["recorded_search"]

Floats = npt.NDArray[np.float64]

# A loop asks so many times whether to go on, or twice as often: shorter ones are not worth a
# recording of their own.
_LEAST = 8

_ADD = OPCODE["add"]


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
    before = recorder.rooms
    try:
        while True:
            search = _Search.recorded(recorder, cond, body, init)
            if search is None:
                return None
            count = search.count(bound, endless)
            if count is not None:
                recorder.rooms = before
                return (search.record(recorder, count, bound),)
            if search.rooms <= recorder.rooms:
                return None
            recorder.rooms = search.rooms
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
    rooms : int
        How much room loops in that step need.
    """

    def __init__(self, made: Step, asked: int) -> None:
        flat = made.inner.tape.flat
        self._made, self._asked, self._guards = made, asked, flat.guards
        self._point, self._body = flat.point.copy(), made.body(())
        self.carry = self._point[: self._body.carried]
        self.rooms = 0

    @classmethod
    def recorded(
        cls,
        recorder: Recorder,
        cond: Callable[[Any], Any],
        body: Callable[[Any], Any],
        init: Any,
    ) -> "_Search | None":
        """Record a step; None where that cannot be."""
        asked: list[int] = []

        def step(carry: Any, _: Any) -> Any:
            goes = truth(resolved(cond)(carry))
            if not is_traced(goes):
                return carry, None
            asked.append(len(goes.recorder.guards))
            old, structure = flatten(carry)
            # What the body warns of where it is not run is not told.
            with np.errstate() if goes.primal else np.errstate(all="ignore"):
                new = flatten(body(carry))[0]
            pairs = zip(new, old, strict=True)
            return structure.build(np.where(goes, one, other)[()] for one, other in pairs), goes

        made = Step.recorded(recorder, step, init, choices=Choices(), is_attempt=True)
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
