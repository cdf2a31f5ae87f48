"""Recordings kept by path: how a function with branches meets new points.

A function's recordings under one signature form a trie. Each recording's guards
were passed in order with certain outcomes; two recordings share the guards up
to the first that came out differently. A point is run on the tape used last; if
a guard does not hold there, which is no error but part of what a run returns, the trie says
which recordings agree with the outcome found, and the one of these used last is run; if none
does the function is recorded afresh at that point.

A function keeps a bounded number of recordings, of all signatures and paths together.
When one more is made, the one used longest ago is forgotten; a later call that
needs it records again. A run in progress holds its tape, so nothing can be taken
from under it.
"""

import inspect
import math
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, OutputError, PathsWarning
from numtape.functions.agreement import check_agreement
from numtape.functions.branching import SELECT, Branching, mode_of
from numtape.functions.inner import InnerTape
from numtape.functions.labels import have_same_labels, labels_of
from numtape.functions.readers import reader_of
from numtape.functions.recording import record_call
from numtape.functions.runner import Failed
from numtape.functions.sieve import Decisions, Sieve
from numtape.functions.signature import Call, Signature, read_call
from numtape.functions.tape import Tape
from numtape.locks import fresh_lock
from numtape.trace.branches.choices import Choices
from numtape.trace.recorder import Recorder, user_location
from numtape.trace.resolve import callback

__all__ = ["Action", "Paths", "Recordings"]

# How many recordings a function keeps, unless NUMTAPE_MAX_PATHS says otherwise. Measured,
# one that has been differentiated takes 27 kB (25 instructions) to 130 kB (500, and 100
# guards): some 50 MB in all.
_MAX_PATHS = 1000

# A long recording counts as several, one for each so many slots, which take 1 MB: so
# the longest ones that a function keeps take 1 GB.
_SLOTS = 10_000

# Beyond so many instructions decisions at a point cost less than derivatives on other paths.
_LONG = 500

Floats = npt.NDArray[np.float64]
Key = tuple[Signature, tuple[bool, ...], bool]

# Runs a tape at a point; gives the guard that does not hold there, or None and a result.
Action = Callable[[Tape, Floats], tuple[Failed | None, Any]]


@dataclass
class _Node:
    """The recordings that agree on some first guards; `children` by the next outcome.

    `tape` is one of them, to be run first, and `end` the one that has no further guards.
    """

    tape: Tape
    end: Tape | None = None
    children: dict[float | None, "_Node"] = field(default_factory=dict)


class Paths:
    """All recordings of a function under one signature.

    Parameters
    ----------
    recordings : Recordings
        Of the function; it counts what is kept, and tells what to forget.
    key : tuple
        Under which they are kept there.

    Attributes
    ----------
    read : Reader
        Reads nearly all calls of this signature.
    latest : Tape or None
        The recording used last.
    root : node or None
        The trie; None where there is no recording.
    walks : dict
        For each recording the nodes that it passes.
    branching : Branching
        How its tests are recorded.
    foreseen : int
        How many paths a batch was seen to take, at least.
    """

    def __init__(self, recordings: "Recordings", key: Key) -> None:
        self._recordings = recordings
        self.key = key
        self.root: _Node | None = None
        self.walks: dict[Tape, list[_Node]] = {}
        self._agreed: dict[Tape, list[Any]] = {}  # the last labels seen to change nothing
        self.latest: Tape | None = None
        self.branching = Branching.by(recordings.branches)
        self.foreseen = 0
        self._sieve: Sieve | None = None
        self._decisions: Decisions = {}
        self._asked = 0  # how often a sieve that is not fresh
        signature, pythons, named = key
        points = set(range(len(pythons))) if named else set(signature.points)
        self.read = reader_of(
            signature,
            [
                None if number in points else float if python else np.float64
                for number, python in enumerate(pythons)
            ],
        )

    def tape_at(self, call: Call) -> Tape:
        """Return the tape whose path this point takes, recorded if there is none yet.

        The answer is found by evaluating the point, so it costs one evaluation
        where the tape used last is right. What labelled arguments do to the function is
        checked, where it is not known of these labels.
        """
        tape = self._tape_at(call)
        if call.labelled:
            labels = labels_of(call.labelled)
            known = self._agreed.get(tape)
            if known is None or not have_same_labels(known, labels):
                check_agreement(tape, self._recordings.called(self.key), call)
                if tape in self.walks:
                    self._agreed[tape] = labels
        return tape

    def _tape_at(self, call: Call) -> Tape:
        point = call.point()
        tape, _ = self.run_known(point, lambda tape, x: (tape.failed_guard(x), None))
        if tape is not None:
            self._recordings.note_use(tape)
            return tape
        tape = self._recordings.record(self, call)
        if tape.failed_guard(point) is None:
            return tape
        # The kernels round a guarded value otherwise than NumPy did while recording
        # (see "Whose arithmetic?" in the architecture). The recording saw what the
        # function does here, so it is right.
        return tape.without_guards()

    def sieve(self, is_fresh: bool = True) -> Sieve | None:
        """Return what tells the paths of points; None of one path.

        Where it need not be fresh it is made anew when there are half as many paths again, or when
        it was asked for as often as there are paths.
        """
        tapes, known = list(self.walks), self._sieve
        if len(tapes) < 2:
            return None
        if known is not None and known.size != len(tapes):
            self._asked += 1
            is_stale = self._asked > len(tapes) or 1.5 * known.size <= len(tapes)
            known = None if is_fresh or is_stale else known
        if known is None:
            known = self._sieve = Sieve(tapes, self._decisions)
            self._asked = 0
        return known

    def following(self, tape: Tape, guard: int, outcome: float) -> Tape | None:
        """Return the tape known for points that leave one at a guard with some outcome.

        None also where that one was forgotten meanwhile.
        """
        walk = self.walks.get(tape)
        node = None if walk is None else walk[guard].children.get(_branch(outcome))
        return None if node is None else node.tape

    def run(self, call: Call, action: Action, x: Floats | None = None) -> Any:
        """Return what `action` gives for the tape whose path the call takes.

        The tape used last is simply tried: where its guards hold, nothing else is run. `x` is
        the call's point, if it was read already.
        """
        if x is None:
            x = call.point()
        if call.labelled:
            tape: Tape | None = self.tape_at(call)
        else:
            tape, result = self.run_known(x, action)
            if tape is not None:
                return result
            tape = self._recordings.record(self, call)
        assert tape is not None
        failed, result = action(tape, x)
        if failed is not None:  # kernels round otherwise, see `_tape_at`
            _, result = action(tape.without_guards(), x)
        return result

    def run_known(self, x: Floats, action: Action) -> tuple[Tape | None, Any]:
        """Run a point on the tape whose path it takes: that tape, and what `action` gave for it.

        None where no recording has this path.
        """
        tape = self.latest
        if tape is None:
            return None, None
        failed, result = action(tape, x)
        return (tape, result) if failed is None else self.run_after(tape, failed, x, action)

    def run_after(
        self, tape: Tape, failed: Failed, x: Floats, action: Action
    ) -> tuple[Tape | None, Any]:
        """Do what `run_known` does, where a tape's guard has just failed."""
        first: tuple[int, _Node] | None = None  # where another tape was tried before
        agreed = -1
        while True:
            guard, outcome = failed
            walk = self.walks.get(tape)  # None of one that was forgotten meanwhile
            if walk is None or guard <= agreed:  # or that rounds otherwise than the one before
                return None, None
            node = walk[guard].children.get(_branch(outcome))
            if node is None:
                return None, None
            tape = self._likely(node, tape, guard, outcome, x) if first is None else node.tape
            agreed = guard
            failed_next, result = action(tape, x)
            if failed_next is None:
                self.latest = tape
                self._recordings.note_use(tape)
                if first is not None:
                    self._recordings.prefer(self, *first, tape)
                return tape, result
            failed, first = failed_next, first or (guard + 1, node)

    def _likely(self, node: _Node, tape: Tape, guard: int, outcome: float, x: Floats) -> Tape:
        """Return the tape to run at a point at which a guard came out so, which leads to a node."""
        is_long = tape.flat.instructions > _LONG
        sieve = self.sieve(is_fresh=False) if is_long and len(self.walks) > 2 else None
        if sieve is None:
            return node.tape
        likely = sieve.after(tape, guard, outcome, x)
        walk = self.walks.get(likely)
        agrees = walk is not None and len(walk) > guard + 1 and walk[guard + 1] is node
        return likely if agrees else node.tape

    # what `Recordings` does with its lock taken

    def insert(self, tape: Tape) -> Tape:
        """Put a tape into the trie; returns the one that is there for its path."""
        found = self.root.tape if self.root is not None else tape
        before, now = found.result, tape.result
        if (before.structure, before.shapes) != (now.structure, now.shapes):
            raise OutputError(
                f"the function returned {now.structure} of shapes {now.shapes} here, and "
                f"{before.structure} of shapes {before.shapes} on another path: the result "
                "must have one structure for arguments of one kind. Return the same on every "
                "path, padded if need be",
                code="result-varies",
            )
        if self.root is None:
            self.root = _Node(tape)
        node = self.root
        walk = [node]
        for guard in tape.flat.guards:
            node = node.children.setdefault(_branch(guard.outcome), _Node(tape))
            walk.append(node)
        if node.end is None:  # else another thread recorded the same path meanwhile
            node.end = tape
            for node in walk:
                node.tape = tape
            self.walks[tape] = walk
        self.latest = walk[-1].end
        assert self.latest is not None
        return self.latest

    def prefer(self, depth: int, node: _Node, tape: Tape) -> None:
        """Have a tape tried first at a node, if it still passes that after so many guards."""
        walk = self.walks.get(tape)
        if walk is not None and walk[depth] is node:
            node.tape = tape

    def forget(self, tape: Tape) -> None:
        """Take a tape out of the trie, and the nodes that only it passed."""
        self._agreed.pop(tape, None)
        walk = self.walks.pop(tape, None)
        if walk is None:
            return
        self._sieve = None
        self._decisions.pop(tape, None)
        walk[-1].end = None
        for k in range(len(walk) - 1, -1, -1):
            node = walk[k]
            if node.end is None and not node.children:
                if k:
                    del walk[k - 1].children[_branch(tape.flat.guards[k - 1].outcome)]
                else:
                    self.root = None
            elif node.tape is tape:
                node.tape = node.end or next(iter(node.children.values())).tape
        if self.latest is tape:
            self.latest = None if self.root is None else self.root.tape

    @property
    def is_empty(self) -> bool:
        """Return whether there is no recording."""
        return self.root is None


class Recordings:
    """A Python function, and its recordings by signature and path.

    Parameters
    ----------
    function : callable
    has_aux : bool
        Whether it returns ``(output, aux)``.
    optimized : bool
        Whether recordings are simplified: worth it where many points follow.
    branches : str, optional
        How its tests are recorded, see `branching.py`; by default as the function says itself.
    room : float
        How many bytes each loop may keep for derivatives.

    Attributes
    ----------
    made : int
        How many recordings were made. Callers may note whose `latest` they run without asking
        `paths`, for as long as none is made: then what is in use shows itself again, so uses
        are told apart by the recordings between them.
    by_key : dict
        The recordings of each signature.
    kept : dict
        All recordings, the one used last at the end, with those of its signature.
    weight : int
        As how many recordings these count.
    lock : lock
        Taken where these are changed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        has_aux: bool = False,
        optimized: bool = False,
        branches: str | None = None,
        room: float = math.inf,
    ) -> None:
        self.function = function
        self.room = room
        self.branches = mode_of(function, branches)
        self.has_aux = has_aux
        self.optimized = optimized
        self.lock = fresh_lock()
        self.by_key: dict[Key, Paths] = {}
        self.kept: OrderedDict[Tape, Paths] = OrderedDict()
        self.weight = 0
        self.made = 0
        self._has_warned = False
        self._writes = False  # whether it was seen to assign to its arguments

    def paths(
        self, arguments: tuple[Any, ...], named: dict[str, Any], by: tuple[int, ...] = ()
    ) -> tuple[Paths, Call]:
        """Return the recordings under a call's signature, and the call read.

        Named arguments become one more argument, a dict.
        """
        call = read_call((*arguments, named) if named else arguments, by)
        if self._writes:
            call = call.with_memory()
        return self._paths_of((call.signature, call.pythons, bool(named))), call

    def _paths_of(self, key: Key) -> Paths:
        paths = self.by_key.get(key)
        if paths is None:
            with self.lock:
                # What was made for calls that failed, or is forgotten, is cleared at times.
                if len(self.by_key) > 2 * len(self.kept) + 16:
                    self.by_key = {k: kept for k, kept in self.by_key.items() if not kept.is_empty}
                paths = self.by_key.setdefault(key, Paths(self, key))
        elif paths.latest is not None:
            self.note_use(paths.latest)
        return paths

    def note_use(self, tape: Tape) -> None:
        """Note that a tape is used now; it will be among the last to be forgotten."""
        try:  # noqa: SIM105 (five times as quick)
            self.kept.move_to_end(tape)
        except KeyError:  # forgotten meanwhile
            pass

    def prefer(self, paths: Paths, depth: int, node: _Node, tape: Tape) -> None:
        """Have a tape tried first at a node of its path."""
        with self.lock:
            paths.prefer(depth, node, tape)

    def record(self, paths: Paths, call: Call) -> Tape:
        """Record the function at a call, and keep the recording."""
        function = self.called(paths.key)
        kept = None
        while kept is None:
            paths = self.by_key.get(paths.key, paths)
            before = paths.branching
            tape, after = before.record(
                function,
                call,
                lambda choices: record_call(
                    function, call, self.has_aux, choices=choices, room=self.room
                ),
                list(paths.walks),
                paths.foreseen,
            )
            if self.optimized:
                tape = tape.optimize()
            if tape.signature.memory is not None and paths.key[0].memory is None:
                # It holds for arguments that lie in memory alike: not for all of this signature.
                self._writes = True
                paths = self._paths_of((tape.signature, *paths.key[1:]))
                before = paths.branching
            kept = self._keep(paths, tape, before, after)
        return kept

    def _keep(self, paths: Paths, tape: Tape, before: Branching, after: Branching) -> Tape | None:
        """Keep a recording; return it, or the one that is there for its path.

        `before` and `after` it say how tests were recorded, and are from now on. None where
        another thread has changed that meanwhile: among recordings with other guards the trie
        would not be one.
        """
        most = _max_paths()
        with self.lock:
            owner = self.by_key.setdefault(paths.key, paths)
            if owner.branching is not before:
                return None
            self.made += 1
            if after.choices is not before.choices:
                for each in list(owner.walks):
                    self.weight -= _weight(each)
                    del self.kept[each]
                    owner.forget(each)
            owner.branching = after
            kept = owner.insert(tape)
            if kept is tape:
                self.kept[tape] = owner
                self.weight += _weight(tape)
            else:
                self.note_use(kept)
            forgot = 0
            while self.weight > most and len(self.kept) > 1:
                oldest, owner = self.kept.popitem(last=False)
                self.weight -= _weight(oldest)
                owner.forget(oldest)
                if owner.is_empty:
                    self.by_key.pop(owner.key, None)
                forgot += 1
            warns = forgot > 0 and not self._has_warned
            self._has_warned |= warns
            others = len(self.by_key)
        if warns:
            self._warn(most, others)
        return kept

    def _warn(self, most: int, signatures: int) -> None:
        function = inspect.unwrap(self.function)
        code = getattr(function, "__code__", None)
        name = getattr(function, "__qualname__", repr(function))
        where = "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"
        location = user_location()
        warnings.warn_explicit(
            PathsWarning(
                f"{name}{where} has been recorded {self.made} times, for {signatures} "
                "combinations of shapes and static arguments: a recording serves one such "
                f"combination and one path through the branches, and at most {most} are kept "
                "(a long one counts as several). Those used longest ago are forgotten now, and "
                "made again where they are needed. Replace branches by np.where, loops over a "
                "traced count by fixed ones, static arguments that change often by floats; pad "
                "arrays to few shapes; or let it keep more with NUMTAPE_MAX_PATHS"
            ),
            None,
            location.file,
            location.line,
        )

    def inner(
        self,
        outer: Recorder,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
        by: tuple[int, ...],
    ) -> InnerTape:
        """Record inside another recording, whose values may be used; nothing is kept."""
        function = self._with_named if named else self.function
        every = (*arguments, named) if named else arguments
        # Where the outer one selects, so does this.
        is_asked = self.branches == SELECT and outer.arms is None
        choices = Choices() if is_asked else None
        return InnerTape(outer, function, every, self.has_aux, by, choices, self.room)

    def called(self, key: Key) -> Callable[..., Any]:
        """Return the function of a call's arguments, whose last may be the named ones."""
        return self._with_named if key[-1] else self.function

    def _with_named(self, *arguments: Any) -> Any:
        *positional, named = arguments
        return callback(self.function)(*positional, **named)


def _branch(outcome: float) -> float | None:
    """Return the key of an outcome among a node's children; nan, which equals nothing, has one."""
    return outcome if outcome == outcome else None


def _weight(tape: Tape) -> int:
    """Return as how many recordings one counts."""
    return 1 + tape.flat.slots // _SLOTS


def _max_paths() -> int:
    """Return how many recordings a function may keep."""
    given = os.environ.get("NUMTAPE_MAX_PATHS") or _MAX_PATHS
    try:
        most = int(given)
    except ValueError:
        most = 0
    if most < 1:
        raise InputError(
            f"NUMTAPE_MAX_PATHS={given!r} was given: it must be how many recordings a function "
            f"keeps, 1 or more, or be left out for {_MAX_PATHS}",
            code="wrong-option",
        )
    return most
