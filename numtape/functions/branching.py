"""When tests on traced values are selections, and when each outcome is a path of its own.

A path is the cheaper to run, and there are as many as there are ways through a function. So a
function begins with paths; when there are more than a handful, it is recorded with both arms of
its tests, and what comes of it is compared with the plain call, to the bit. Whoever knows says so
beforehand: ``branches="select"`` or ``"paths"``, or the decorator `branches`.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numtape.errors import InputError, SelectionWarning
from numtape.functions.agreement import arguments_at
from numtape.functions.signature import Call
from numtape.functions.tape import Tape
from numtape.functions.trees import flatten
from numtape.trace.branches.choices import Choices
from numtape.trace.fresh import plain
from numtape.trace.recorder import user_location

__all__ = ["AUTO", "PATHS", "SELECT", "Branching", "branches", "mode_of"]

AUTO, SELECT, PATHS = "auto", "select", "paths"

# So many paths are a handful. If selections are not taken over, they are tried again when there
# are four times as many.
_MANY = 8
_AGAIN = 4

# A selection computes both arms: it may take so many times a path's instructions, or half as many
# times as there are paths.
_MOST = 6.0

_ATTRIBUTE = "__numtape_branches__"


def branches(mode: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that says how a function's branches are recorded.

    Parameters
    ----------
    mode : {"auto", "select", "paths"}
        With "select" both arms of a test on a traced value are recorded, and each point selects
        one. With "paths" a test is a guard, and there is a recording for each way through the
        function. With "auto", which holds for functions without a decorator, there are paths
        first, and selections where these become many.

    Returns
    -------
    callable
        Returns the function it is given, with the mode noted.

    Raises
    ------
    InputError
        Where the mode is none of these.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> @nt.branches("select")
    ... def huber(x):
    ...     if abs(x) < 1.0:
    ...         return 0.5 * x * x
    ...     return abs(x) - 0.5
    >>> nt.vmap(nt.grad(huber))(np.array([-3.0, 0.5, 2.0]))
    array([-1. ,  0.5,  1. ])
    """
    _check(mode)

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, _ATTRIBUTE, mode)
        return function

    return note


def mode_of(function: Any, given: str | None) -> str:
    """Return how a function's branches are recorded, given what was said beside it, if anything."""
    if given is not None:
        _check(given)
        return given
    while function is not None:
        noted = getattr(function, _ATTRIBUTE, None)
        if noted is not None:
            return str(noted)
        function = getattr(function, "__wrapped__", None)
    return AUTO


def _check(mode: Any) -> None:
    if mode not in (AUTO, SELECT, PATHS):
        raise InputError(
            f"branches={mode!r} was given: it must be 'auto', 'select' for both arms of each test, "
            "or 'paths' for a recording for each way through the function. Give one of these",
            code="wrong-option",
        )


@dataclass(frozen=True)
class Branching:
    """How the tests of a function are recorded under one signature.

    Attributes
    ----------
    mode : str
    choices : Choices or None
        Where tests are selections, what is known of them.
    next_try : int
        When there are so many paths, selections are tried.
    """

    mode: str
    choices: Choices | None = None
    next_try: int = _MANY

    @classmethod
    def by(cls, mode: str) -> "Branching":
        """Return how it begins in a mode."""
        return cls(mode, Choices() if mode == SELECT else None)

    def record(
        self,
        function: Callable[..., Any],
        call: Call,
        record: Callable[[Choices | None], Tape],
        others: Sequence[Tape] = (),
        foreseen: int = 0,
    ) -> "tuple[Tape, Branching]":
        """Return a recording, and how tests are recorded from now on.

        Parameters
        ----------
        function : callable
            Of the call's arguments.
        call : Call
        record : callable
            Records the function there; with selections where it is given choices.
        others : sequence of Tape
            The recordings so far. With other choices than these, it takes their place.
        foreseen : int
            How many paths a batch takes at least. It is sorted by them, so they count twice.
        """
        if self.choices is not None:
            choices = self.choices.copy()
            tape = record(choices)
            if _agrees(tape, function, call):
                is_same = choices.kept == self.choices.kept
                return tape, self if is_same else replace(self, choices=choices)
            _warn_of_difference(function)
            return record(None), Branching(PATHS)
        paths = max(len(others), 2 * foreseen)
        if self.mode != AUTO or paths < self.next_try:
            return record(None), self
        choices = Choices()
        tape = record(choices)
        if choices.selected and _pays(tape, others, paths) and _agrees(tape, function, call):
            _warn_of_selections(function, choices)
            return tape, replace(self, choices=choices)
        return record(None), replace(self, next_try=_AGAIN * max(len(others), _MANY))


def _pays(tape: Tape, others: Sequence[Tape], paths: int) -> bool:
    """Return whether selections are worth what they cost, instead of so many paths."""
    mean = np.mean([each.flat.written_out for each in others])
    return bool(tape.flat.written_out <= mean * max(_MOST, paths / 2))


def _agrees(tape: Tape, function: Callable[..., Any], call: Call) -> bool:
    """Return whether the plain function gives what a tape does, to the bit.

    Where it takes derivatives, to rounding: the plain function computes them in other ways.
    """
    if tape.choices is None or not tape.choices.selected:
        return True
    point = call.point().copy()
    found = np.empty(len(tape.flat.outputs))
    if tape.runner.evaluate(point, found) is not None:
        return False
    result = tape.result
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            returned = function(*arguments_at(call, point))
        if result.aux is not None:
            returned = returned[0]
        leaves, structure = flatten(returned)
        expected = [np.asarray(plain(leaf), np.float64) for leaf in leaves]
    except Exception:
        return False
    if structure != result.structure or tuple(map(np.shape, expected)) != result.shapes:
        return False
    own, plain_one = found[: result.size], np.concatenate([np.zeros(0), *map(np.ravel, expected)])
    if tape.choices.nests:
        size = np.max(np.abs(plain_one), initial=0.0, where=np.isfinite(plain_one))
        return np.allclose(own, plain_one, rtol=1e-9, atol=1e-12 * size, equal_nan=True)
    return own.tobytes() == plain_one.tobytes()


def _named(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def _warn(text: str) -> None:
    location = user_location()
    warnings.warn_explicit(SelectionWarning(text), None, location.file, location.line)


def _warn_of_selections(function: Callable[..., Any], choices: Choices) -> None:
    kept = [f"{file}:{line} stays a branch, for {why}" for (file, line, _), why in choices.told()]
    others = "; ".join(["", *kept[:3]]) + f" and {len(kept) - 3} more" * (len(kept) > 3)
    _warn(
        f"{_named(function)} takes many paths through its branches, so both arms of "
        f"{len(choices.selected)} of its tests are computed from now on, and each point selects "
        f"one{others}. Say branches='select' to have this at once, branches='paths' to have none "
        "of it, or filter numtape.SelectionWarning out"
    )


def _warn_of_difference(function: Callable[..., Any]) -> None:
    _warn(
        f"{_named(function)} gives another value in the plain call than with both arms of its "
        "tests computed: it depends on something else, or changes it. A recording is made for "
        "each path through its branches instead. Take out what it changes outside of itself, or "
        "say branches='paths'"
    )
