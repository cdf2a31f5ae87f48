"""Recording a Python function as a `Tape`: its arguments and its result are trees."""

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from numtape.errors import ConstantResultWarning, InputError, OutputError, TraceError
from numtape.functions.agreement import check_agreement
from numtape.functions.branching import Branching, mode_of
from numtape.functions.result import TRACED, Result
from numtape.functions.signature import Call, read_call
from numtape.functions.tape import Tape
from numtape.functions.trees import flatten, shown
from numtape.tape.flat import FlatTape
from numtape.trace.branches.choices import Choices
from numtape.trace.fresh import plain
from numtape.trace.record import record_flat
from numtape.trace.recorder import user_location
from numtape.trace.resolve import is_thorough, note_thorough, resolved
from numtape.trace.traced import Traced, is_traced
from numtape.transform.checkpoints import checkpointed, room_of
from numtape.transform.rolling import roll as roll_up

__all__ = ["check_callable", "check_no_named", "record", "record_call", "record_call_inside"]


def record(
    function: Callable[..., Any],
    *arguments: Any,
    lines: bool = False,
    roll: bool = True,
    checkpoint: bool | int | None = None,
    branches: str | None = None,
    **named: Any,
) -> Tape:
    """Record a function at a point.

    Parameters
    ----------
    function : callable
        Plain NumPy code. It is called once.
    *arguments
        Where to record it: trees of floats and arrays. Floats and float arrays
        become inputs of the tape; ints, bools, strings, None and integer arrays
        are static. Where there is no float at all, the arguments that are integers
        or arrays of them become inputs.
    lines : bool
        Whether to keep the source line of every instruction, for
        ``tape.text(lines=True)``. Recording is slower by about 1 µs an operation, and
        nothing is rolled up.
    roll : bool
        Whether repetition in a long recording becomes loops: what a Python loop does in each
        step is then on the tape once. With ``NUMTAPE_ROLL=off`` in the environment nothing does,
        here and in `grad` and its like.
    checkpoint : bool or int, optional
        Whether derivatives of its loops keep little and compute steps again, or from how many
        bytes on; see `scan`.
    branches : {"select", "paths"}, optional
        Whether both arms of tests on traced values are recorded, of which a point selects one, or
        the path that this point takes; see the decorator of this name.
    **named
        Refused: a tape takes its arguments by position.

    Returns
    -------
    Tape

    Raises
    ------
    InputError
        Where an argument is of a type that is not taken: complex or an array of objects,
        for example.
    TraceError
        Where the function would lose a derivative, for example by ``float(x)``.
    OutputError
        Where it returns anything but numbers and arrays.

    Notes
    -----
    Costs 0.5 to 1.5 µs a scalar operation; an array operation costs as much as
    NumPy's own, 20 to 30 µs more, and 1 to 2 ns an element.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(lambda x, y: np.log(x) + x * y - np.sin(y), 2.0, 5.0)
    >>> print(tape)
    inputs: s1 s2
    s3 = log(s1)
    s4 = s1 * s2
    s5 = s3 + s4
    s6 = sin(s2)
    s7 = s5 - s6
    outputs: s7
    >>> tape(2.0, 5.0)
    11.652071455223084
    """
    check_callable(function, "record", "record(f, x)")
    check_no_named("record", named)
    call = read_call(arguments)
    room = room_of(checkpoint)
    tape, _ = Branching.by(mode_of(function, branches)).record(
        function,
        call,
        lambda choices: record_call(
            function, call, lines=lines, rolled=roll, choices=choices, room=room
        ),
        [],
    )
    if call.labelled:
        check_agreement(tape, function, call)
    return tape


def check_callable(function: Any, name: str, example: str) -> None:
    """Raise unless a function was given where one is needed."""
    if not callable(function):
        raise InputError(
            f"{name} was given {function!r}, which cannot be called: it takes a function of floats "
            f"and arrays. Pass one, as in {example}",
            code="not-callable",
        )


def check_no_named(name: str, named: Mapping[str, Any]) -> None:
    """Raise where named arguments were given to what takes them by position."""
    if named:
        given = ", ".join(f"{key}={shown(value)}" for key, value in named.items())
        key = next(iter(named))
        raise InputError(
            f"{name} was given {given}: the function's arguments are taken by position. Fix them, "
            f"functools.partial(f, {given}), or make inputs of them, as in {name}(lambda x, {key}: "
            f"f(x, {key}={key}), x, {key})"
        )


def record_call(
    function: Callable[..., Any],
    call: Call,
    has_aux: bool = False,
    lines: bool = False,
    rolled: bool = True,
    choices: Choices | None = None,
    room: float = math.inf,
) -> Tape:
    """Record a function at a call that has been read; see `record_call_inside` for the options."""
    tape, captured = record_call_inside(
        function, call, has_aux, lines, rolled=rolled, choices=choices, room=room
    )
    if captured:
        raise TraceError(
            "numtape.record was called inside a function that is being recorded, on a function "
            "that uses values of the outer one: such a tape could not be run elsewhere. Pass the "
            "values as arguments, or use numtape.grad and its like, which work inside",
            code="record-inside",
        )
    return tape


def record_call_inside(
    function: Callable[..., Any],
    call: Call,
    has_aux: bool = False,
    lines: bool = False,
    failed: Callable[[FlatTape, list[int]], None] | None = None,
    rolled: bool = True,
    choices: Choices | None = None,
    room: float = math.inf,
) -> tuple[Tape, list[int]]:
    """Do what `record_call` does, and return the slots captured of the recording around.

    See `record_flat` for `failed` and `choices`; `room` is how many bytes each loop may keep for
    derivatives.
    """
    seen: dict[str, Any] = {}

    def run(traced: list[Any]) -> list[Any]:
        output = resolved(function)(*call.arguments(traced))
        aux_leaves: list[Any] = []
        if has_aux:
            if not isinstance(output, tuple) or len(output) != 2:
                raise OutputError(
                    f"the function returned {output!r}, and with has_aux=True it must return a "
                    "pair (output, aux). Return such a pair, or leave has_aux out"
                )
            output, aux = output
            aux_leaves, seen["aux"] = flatten(aux)
        leaves, seen["structure"] = flatten(output)
        if not leaves:
            raise OutputError(
                f"the function returned {shown(output)}, in which there is no number: it must "
                "return a number, an array or a tree of them. Return one; what was assigned to "
                "an argument must be returned too"
            )
        seen["leaves"] = leaves = list(map(_opened, leaves))
        opened = list(map(_opened, aux_leaves))
        pairs = zip(opened, aux_leaves, strict=True)
        seen["aux_leaves"] = [TRACED if is_traced(each) else plain(leaf) for each, leaf in pairs]
        return leaves + [each for each in opened if is_traced(each)]

    recording = record_flat(
        *(run, call.inputs, call.given, lines, call.pythons, failed),
        is_thorough(function),
        choices,
    )
    if recording.is_thorough:
        note_thorough(function)
    signature = call.with_memory().signature if recording.writes else call.signature
    shapes = tuple(value.shape for value in recording.values)
    leaves = seen["leaves"]
    is_constant = not any(map(is_traced, leaves)) and not recording.tape.guards
    if is_constant:
        _warn_of_constant(leaves)
    result = Result(
        seen["structure"],
        shapes[: len(leaves)],
        seen.get("aux"),
        tuple(seen["aux_leaves"]),
        shapes[len(leaves) :],
        len(leaves) == 1 and _counts(leaves[0], is_constant),
    )
    # Whoever wants to see the line of each instruction wants to see each.
    flat = recording.tape if lines or not _is_rolled(rolled) else roll_up(recording.tape)
    tape = Tape(checkpointed(flat, room), signature, result)
    tape.choices = choices and choices.copy()
    return tape, recording.captured


def _is_rolled(wanted: bool) -> bool:
    return wanted and os.environ.get("NUMTAPE_ROLL", "").lower() != "off"


def _opened(leaf: Any) -> Any:
    """Return a leaf of a result; of a labelled array of objects, the array."""
    is_labelled = not isinstance(leaf, Traced) and getattr(leaf, "dtype", None) == np.dtype(object)
    return np.asarray(leaf) if is_labelled else leaf


def _counts(leaf: Any, is_constant: bool) -> bool:
    """Return whether a result is an integer or a bool; on a branch a plain one is a float."""
    if isinstance(leaf, Traced):
        return leaf.dtype.kind in "iub"
    return is_constant and np.asarray(leaf).dtype.kind in "iub"


def _warn_of_constant(leaves: Sequence[Any]) -> None:
    location = user_location()
    returned = shown(leaves[0] if len(leaves) == 1 else leaves)
    warnings.warn_explicit(
        ConstantResultWarning(
            f"the function returned {returned}, which no recorded operation connects to the "
            "arguments: it is constant, and its derivatives are zero. If that is meant, return "
            "value + 0.0 * x, or filter numtape.ConstantResultWarning out; if not, compute the "
            "result from the arguments with NumPy's operations"
        ),
        None,
        location.file,
        location.line,
    )
