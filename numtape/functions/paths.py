"""Recordings kept by path: how a function with branches meets new points.

A function's recordings under one signature form a trie. Each recording's guards
were passed in order with certain outcomes; two recordings share the guards up
to the first that came out differently. A point is run on the tape used last; if
a guard does not hold there, the trie says which recordings agree with the
outcome found, and if none does the function is recorded afresh at that point.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numtape.errors import BranchError, OutputError
from numtape.functions.inner import InnerTape
from numtape.functions.recording import record_call
from numtape.functions.signature import Call, Signature, read_call
from numtape.functions.tape import Tape
from numtape.trace.recorder import Recorder

__all__ = ["Paths", "Recordings"]


@dataclass
class _Node:
    """The recordings that agree on some first guards; `children` by the next outcome."""

    tape: Tape
    children: dict[float, "_Node"] = field(default_factory=dict)


class Paths:
    """All recordings of a function under one signature.

    Parameters
    ----------
    record : callable
        Makes a tape from a call.
    """

    def __init__(self, record: Callable[[Call], Tape]) -> None:
        self._record = record
        self._lock = threading.RLock()
        self._root: _Node | None = None
        self._walks: dict[Tape, list[_Node]] = {}
        self.latest: Tape | None = None

    def tape_at(self, call: Call) -> Tape:
        """The tape whose path this point takes, recorded if there is none yet.

        The answer is found by evaluating the point, so it costs one evaluation
        where the tape used last is right.
        """
        tape = self.latest
        point = call.point()
        if not point.flags.writeable:
            point = point.copy()
        while tape is not None:
            failed = tape.failed_guard(point)
            if failed is None:
                self.latest = tape
                return tape
            tape = self.following(tape, *failed)
        tape = self._record_at(call)
        if tape.failed_guard(point) is None:
            return tape
        # The kernels round a guarded value otherwise than NumPy did while recording
        # (see "Whose arithmetic?" in the architecture). The recording saw what the
        # function does here, so it is right.
        return tape.without_guards()

    def following(self, tape: Tape, guard: int, outcome: float) -> Tape | None:
        """The tape known for points that leave one at a guard with some outcome."""
        node = self._walks[tape][guard].children.get(outcome)
        return None if node is None else node.tape

    def run(self, call: Call, action: Callable[[Tape], Any]) -> Any:
        """What `action` gives for the tape whose path the call takes.

        The tape used last is simply tried: where its guards hold, nothing else is run.
        """
        if self.latest is not None:
            try:
                return action(self.latest)
            except BranchError:
                pass
        return action(self.tape_at(call))

    def _record_at(self, call: Call) -> Tape:
        tape = self._record(call)
        with self._lock:
            before, now = (self.latest or tape).result, tape.result
            if (before.structure, before.shapes) != (now.structure, now.shapes):
                raise OutputError(
                    f"the function returned {now.structure} of shapes {now.shapes} here, and "
                    f"{before.structure} of shapes {before.shapes} on another path: the result "
                    "must have one structure for arguments of one kind. Return the same on every "
                    "path, padded if need be"
                )
            self._insert(tape)
            self.latest = tape
        return tape

    def _insert(self, tape: Tape) -> None:
        if self._root is None:
            self._root = _Node(tape)
        node = self._root
        walk = [node]
        for guard in tape.flat.guards:
            node.tape = tape
            node = node.children.setdefault(guard.outcome, _Node(tape))
            walk.append(node)
        node.tape = tape
        self._walks[tape] = walk


class Recordings:
    """A Python function, and its recordings by signature and path.

    Parameters
    ----------
    function : callable
    has_aux : bool
        Whether it returns ``(output, aux)``.
    optimized : bool
        Whether recordings are simplified: worth it where many points follow.
    """

    def __init__(
        self, function: Callable[..., Any], has_aux: bool = False, optimized: bool = False
    ) -> None:
        self.function = function
        self.has_aux = has_aux
        self.optimized = optimized
        self._paths: dict[tuple[Signature, bool], Paths] = {}

    def paths(
        self, arguments: tuple[Any, ...], named: dict[str, Any], by: tuple[int, ...] = ()
    ) -> tuple[Paths, Call]:
        """The recordings under a call's signature, and the call read.

        Named arguments become one more argument, a dict.
        """
        call = read_call((*arguments, named) if named else arguments, by)
        key = (call.signature, bool(named))
        paths = self._paths.get(key)
        if paths is None:
            function = self._with_named if named else self.function

            def record(call: Call) -> Tape:
                tape = record_call(function, call, self.has_aux)
                return tape.optimize() if self.optimized else tape

            paths = self._paths.setdefault(key, Paths(record))
        return paths, call

    def inner(
        self, outer: Recorder, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> InnerTape:
        """A recording inside another, of which nothing is kept: it may use the other's values."""
        function = self._with_named if named else self.function
        every = (*arguments, named) if named else arguments
        return InnerTape(outer, function, every, self.has_aux)

    def _with_named(self, *arguments: Any) -> Any:
        *positional, named = arguments
        return self.function(*positional, **named)
