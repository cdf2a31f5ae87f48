"""Both arms of a test on a traced value, run one after the other while a function is recorded.

What `lowering.py` writes into a function calls what is here. `choice` opens a choice: of a plain
test it is one arm and nothing else. Of a traced one the first arm runs, then all that it changed is
put back, then the second runs from the same state; in the end each variable, and each thing
that was changed in place, is what the test selects of both (`merging.py`). What may be changed in
place is noted first: traced arrays by `write`, like all who share their memory; lists, dicts,
attributes and plain arrays by `touch`.

A test that cannot be a selection becomes a guard for good, and the recording starts anew
(`Unselected`): where an arm raises, does what cannot be undone, or leaves what cannot be merged. A
guard in an arm counts only at points that take the arm. Where a handler is around, no choice is
opened: an exception that it catches would leave an arm.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.trace.branches.choices import Choices, Site, Unselected
from numtape.trace.branches.merging import (
    MISSING,
    UnmergedError,
    land,
    lor,
    merged,
    negation,
    selected,
)
from numtape.trace.branches.saved import (
    Saved,
    saved_array,
)
from numtape.trace.fresh import Fresh, become_traced
from numtape.trace.handlers import handled
from numtape.trace.recorder import Recorder
from numtape.trace.running import active_recorder
from numtape.trace.traced import Traced, TracedArray, TracedScalar, lift, owner, scalar_of

__all__ = [
    "Arms",
    "arms_now",
    "both",
    "choice",
    "either",
    "loop",
    "memory_of",
    "negated",
    "none",
    "result",
    "truth",
    "unset",
]

# After so many steps a loop asks, by a guard, whether to go on; then after half as many again, and
# after twice as many, and so forth. A loop that ends by itself has more of them.
_STEPS, _STEPS_OF_FOR = 8, 64


class Arms:
    """The arms that are open in a recording.

    Parameters
    ----------
    recorder : Recorder
    choices : Choices

    Attributes
    ----------
    open : list of _Arm
        The innermost last.
    refused : Unselected or None
        What was raised, should somebody have caught it.
    """

    def __init__(self, recorder: Recorder, choices: Choices) -> None:
        self.recorder, self.choices = recorder, choices
        self.open: list[_Arm] = []
        self.refused: Unselected | None = None
        self.opposites: dict[int, int] = {}  # slots of bools by those of their negations
        self._guarded: set[tuple[int, int]] = set()
        # Arrays that were selected, by the memory of their values, with what they may stand for.
        self.selected: list[_Selected] = []

    # guards

    def mask(self) -> Any:
        """Return whether all open arms are really taken: True, or a traced bool."""
        mask: Any = True
        for arm in self.open:
            if arm.mask is None:
                condition = negation(arm.test) if arm.is_second else arm.test
                arm.mask = land(mask, condition)
            mask = arm.mask
        return mask

    def where_taken(self, slot: int, outcome: float) -> int | None:
        """Return a slot to be guarded instead: it has the outcome where the arm is not taken.

        None where it is guarded already.
        """
        mask, recorder = self.mask(), self.recorder
        if mask is True:
            return slot
        if mask is False or (mask.slot, slot) in self._guarded:
            return None
        self._guarded.add((mask.slot, slot))
        return selected(recorder, mask.slot, slot, recorder.constant(outcome))

    # what is changed in place

    def is_alive(self) -> bool:
        """Return whether writing matters: to who shares memory, see `sharing.py`."""
        return bool(self.open)

    def expect(self, array: TracedArray) -> None:
        """Note what a traced array's memory holds before it is written to."""
        key = id(owner(array._primals))
        for arm in reversed(self.open):
            if key in arm.saved:
                break
            saved = saved_array(array)
            if saved is None:
                self.refuse("an arm writes to an array that is part of another one")
            else:
                arm.saved[key] = saved

    def update(self) -> None:
        """Do nothing: what was written is looked at when the arm ends."""

    def save(self, key: Any, thing: Any, saved: Callable[[], Saved]) -> None:
        """Note what something holds, in each arm that began after it was made."""
        now: Saved | None = None
        for arm in reversed(self.open):
            if key in arm.saved or id(thing) in arm.made:
                break
            arm.saved[key] = now = now or saved()

    def refuse(self, why: str) -> None:
        """Have all tests be guards in whose arms we are."""
        if self.open:
            self.raise_for([arm.site for arm in self.open], why)

    def raise_for(self, sites: Iterable[Site], why: str) -> None:
        """Have tests be guards."""
        self.refused = Unselected(sites, why)
        raise self.refused


class _Arm:
    """An arm that is running."""

    __slots__ = ("errors", "is_second", "made", "mask", "saved", "site", "test")

    def __init__(self, test: TracedScalar, site: Site, is_second: bool) -> None:
        self.test, self.site, self.is_second = test, site, is_second
        self.mask: Any = None
        self.saved: dict[Any, Saved] = {}
        self.made: dict[int, Any] = {}  # what did not exist before
        self.errors: Any = None


def arms_now() -> Arms | None:
    """Return the arms of the function that is being recorded, if its tests are selections."""
    recorder = active_recorder()
    return None if recorder is None else recorder.arms


class _Selected:
    """An array that was selected, and those that it may stand for: none is written to any more.

    In the plain call it is one of them, so that writing to it is writing to that one.
    """

    def __init__(self, arms: Arms, site: Site, arrays: Iterable[Any]) -> None:
        self._arms, self._site = arms, site
        self._memory = [weakref.ref(memory_of(each)) for each in arrays]

    def is_alive(self) -> bool:
        """Return whether the array and one of the others are in use."""
        selected, *others = (each() is not None for each in self._memory)
        return selected and any(others)

    def expect(self, array: TracedArray) -> None:
        """Have the test be a guard if one of them is about to be written to."""
        self.look_at(owner(array._primals))

    def look_at(self, memory: Any) -> None:
        """Do that for what has its elements there."""
        if self.is_alive() and any(each() is memory for each in self._memory):
            why = "an array is written to that a test has selected, or one of those it chose from"
            self._arms.raise_for([self._site], why)

    def update(self) -> None:
        """Do nothing."""


def memory_of(array: Any) -> npt.NDArray[Any]:
    """Return the array whose memory the values of an array are in."""
    return owner(array._primals if isinstance(array, TracedArray) else array)


# choices


class _Taken:
    """A choice on a plain value: one arm runs."""

    __slots__ = ("first", "second")

    def __init__(self, first: bool) -> None:
        self.first, self.second = first, not first

    def turn(self, state: Any) -> Any:
        """Return the variables after the first arm, or before."""
        return state

    def end(self, state: Any, is_read: Any) -> Any:
        """Return them after the second."""
        return state

    def turned(self) -> bool:
        """Return whether the second expression is to be computed."""
        return self.second

    def chosen(self, first: Any, second: Any) -> Any:
        """Return the one that was computed."""
        return first if self.first else second


_FIRST, _SECOND = _Taken(True), _Taken(False)


class _Choice:
    """A choice on a traced value, of which both arms run."""

    __slots__ = ("_arms", "_changed", "_held", "_made", "_site", "_state", "_test", "_then")

    first = second = True

    def __init__(self, arms: Arms, test: TracedScalar, site: Site, state: Any) -> None:
        self._arms, self._test, self._site, self._state = arms, test, site, state
        self._then: Any = None
        self._changed: dict[Any, Saved] = {}
        self._held: list[dict[Any, Any]] = []
        self._made: dict[int, Any] = {}
        selected = arms.choices.selected
        selected[site] = selected.get(site, 0) + 1
        self._open(False)

    def _open(self, is_second: bool) -> None:
        arms = self._arms
        if not arms.open and arms not in arms.recorder.sharers:
            arms.recorder.sharers.append(arms)
        arm = _Arm(self._test, self._site, is_second)
        if bool(self._test.primal) == is_second:  # what it warns of is not what the call does
            arm.errors = np.seterr(all="ignore")
        arms.open.append(arm)

    def _close(self) -> None:
        """End an arm, and put back what it changed."""
        arms = self._arms
        arm = arms.open.pop()
        if arm.errors is not None:
            np.seterr(**arm.errors)
        self._held.append({key: each.content() for key, each in arm.saved.items()})
        for each in reversed(arm.saved.values()):
            each.put(each.before)
        self._changed |= {key: each for key, each in arm.saved.items() if key not in self._changed}
        self._made |= arm.made

    def turn(self, state: Any) -> Any:
        """Begin the second arm; return the variables as they were before the first."""
        self._then = state
        self._close()
        self._open(True)
        return self._state

    def turned(self) -> bool:
        """Do the same where the arms are expressions."""
        self.turn(())
        return True

    def end(self, state: Any, is_read: Any) -> Any:
        """Return the variables after either arm; of those that are not read later, none."""
        if self._then is None:  # there is no second arm
            self._then, state = state, self._state
        self._close()
        self._merge_changed()
        ends, self._then, self._state = (self._then, state), None, None  # which nobody needs now
        return tuple(
            self._left(read, one, two) for read, one, two in zip(is_read, *ends, strict=True)
        )

    def _left(self, is_read: bool | None, one: Any, two: Any) -> Any:
        """Return what a variable is after the arms; None is of one that was assigned or not."""
        if not is_read:
            if one is two:
                return one
            if is_read is False:
                return MISSING
            if one is MISSING or two is MISSING:
                return two if one is MISSING else one
        return self._merged(one, two)

    def chosen(self, first: Any, second: Any) -> Any:
        """Return the one that the test selects."""
        self._close()
        self._merge_changed()
        return self._merged(first, second)

    def _merge_changed(self) -> None:
        first, second = self._held[0], self._held[1] if len(self._held) > 1 else {}
        # What arrays hold comes first: variables, attributes and lists may hold these.
        for key, each in sorted(self._changed.items(), key=lambda item: not item[1].comes_first):
            one, two = (held.get(key, each.before) for held in (first, second))
            with self._explained():
                each.put(each.merged(self._test, one, two))
        if self._arms.open:
            self._arms.open[-1].made |= self._made
        self._held, self._changed = [], {}

    def _merged(self, one: Any, two: Any) -> Any:
        with self._explained():
            found = merged(self._test, one, two)
        if isinstance(found, TracedArray) and found is not one and found is not two:
            arms = self._arms
            sources = [_as_noted(each) for each in (one, two) if not isinstance(each, TracedScalar)]
            sources = [each for each in sources if isinstance(each, np.ndarray)]
            noted = _Selected(arms, self._site, [found, *sources])
            arms.recorder.sharers.append(noted)
            arms.selected = [each for each in arms.selected if each.is_alive()]
            arms.selected.append(noted)
        return found

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except UnmergedError as error:
            self._arms.raise_for([self._site], str(error))


def _as_noted(array: Any) -> Any:
    """Return an array that was chosen from, as one whose writing is noticed."""
    if type(array) is Fresh:
        with contextlib.suppress(Exception):
            return become_traced(array)
    return array


def choice(test: Any, site: Site, state: Any) -> Any:
    """Open a choice; `state` has the variables that its arms assign."""
    truth_of = truth(test)
    if isinstance(truth_of, Traced):
        arms = arms_now()
        if arms is not None and site not in arms.choices.kept and not handled(arms.recorder):
            return _Choice(arms, _own(arms, truth_of), site, state)
    return _FIRST if truth_of else _SECOND


def truth(value: Any) -> Any:
    """Return whether a value is true: a traced bool, or what is to be asked for it."""
    if isinstance(value, TracedScalar):
        return value if type(value.primal) is bool else value.__ne__(0.0)
    if isinstance(value, TracedArray) and value.size == 1:
        return truth(value.ravel()[0])
    return value


def _own(arms: Arms, test: Any) -> Any:
    """Return a traced bool as one of this recording."""
    recorder = arms.recorder
    if test.recorder is recorder:
        return test
    slots, _ = lift(recorder, test)
    return scalar_of(recorder, int(slots), bool(test.primal))


# and, or, not


class _Joined:
    """``a and b`` or ``a or b`` of a plain `a`: `b` is computed or not."""

    __slots__ = ("_value", "first")

    def __init__(self, value: Any, first: bool) -> None:
        self._value, self.first = value, first

    def joined(self, second: Any) -> Any:
        """Return the one that it is."""
        return second if self.first else self._value


class _Both:
    """The same of a traced one: `b` is computed in an arm."""

    __slots__ = ("_choice", "_is_tested", "_value")

    first = True

    def __init__(self, opened: _Choice, value: Any, is_tested: bool) -> None:
        self._choice, self._value, self._is_tested = opened, value, is_tested

    def joined(self, second: Any) -> Any:
        """Return the one that the first selects."""
        if self._is_tested:
            second = truth(second)
            second = second if isinstance(second, Traced) else bool(second)
        return self._choice.chosen(second, self._value)


def both(value: Any, site: Site, is_tested: bool) -> Any:
    """Begin ``value and ...``."""
    return _begun(value, site, True, is_tested)


def either(value: Any, site: Site, is_tested: bool) -> Any:
    """Begin ``value or ...``."""
    return _begun(value, site, False, is_tested)


def _begun(value: Any, site: Site, is_and: bool, is_tested: bool) -> Any:
    test = truth(value)
    if isinstance(test, Traced):
        arms = arms_now()
        if arms is not None and site not in arms.choices.kept and not handled(arms.recorder):
            own = _own(arms, test)
            opened = _Choice(arms, own if is_and else negation(own), site, ())
            return _Both(opened, own if is_tested else value, is_tested)
    return _Joined(value, bool(test) is is_and)


def negated(value: Any) -> Any:
    """Return ``not value``."""
    test = truth(value)
    arms = arms_now()
    if not isinstance(test, Traced) or arms is None:
        return not test
    return negation(_own(arms, test))


def none(*flags: Any) -> Any:
    """Return whether no flag is set."""
    found: Any = False
    for each in flags:
        found = lor(found, each)
    return negation(found)


# loops


class _Loop:
    """A loop with a flag that says whether to go on.

    Parameters
    ----------
    site : Site
    items : iterator or None
    first : int
        After so many steps it is asked for the first time, by a guard; 0 has it asked each time.
    """

    def __init__(self, site: Site, items: Any, first: int) -> None:
        self.items = items
        self._site, self._steps, self._next = site, 0, first

    def is_over(self, goes_on: Any) -> bool:
        """Return whether Python is to leave the loop."""
        if not isinstance(goes_on, Traced):
            return not goes_on
        steps = self._steps
        self._steps += 1
        arms = arms_now()
        if arms is None or self._site in arms.choices.kept or not self._next:
            return not goes_on
        if steps < self._next:
            return False
        is_power = steps & (steps - 1) == 0
        self._next = steps * 3 // 2 if is_power else steps * 4 // 3
        return not goes_on


def loop(site: Site, items: Any = None, is_kept: bool = False) -> _Loop:
    """Begin a loop; `is_kept` says whether somebody else has what it goes through."""
    if items is None:
        return _Loop(site, None, _STEPS)
    iterator = iter(items)
    # How far an iterator has gone may be seen later, so its loop ends where the plain one does.
    is_seen = is_kept and iterator is items
    return _Loop(site, iterator, 0 if is_seen else _STEPS_OF_FOR)


def unset() -> Any:
    """Return what stands for a variable that was not assigned."""
    return MISSING


def result(value: Any, is_returned: Any) -> Any:
    """Return what a function gives that may have returned nothing at some points."""
    return value if is_returned else None
