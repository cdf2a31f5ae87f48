"""Running a Python function under trace: from values in to a flat tape out."""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import numtape.trace.branches.choosing
import numtape.trace.constructors
import numtape.trace.factorizations
import numtape.trace.fourier
import numtape.trace.functions
import numtape.trace.integration
import numtape.trace.interpolation
import numtape.trace.linalg
import numtape.trace.matrix_functions
import numtape.trace.multivariate
import numtape.trace.operators
import numtape.trace.pseudoinverse
import numtape.trace.pythons
import numtape.trace.roots
import numtape.trace.rotations
import numtape.trace.samples
import numtape.trace.scipy_linalg
import numtape.trace.signal
import numtape.trace.sparse
import numtape.trace.special
import numtape.trace.statistics  # noqa: F401 (these teach traced values NumPy and SciPy)
from numtape.errors import OutputError, TraceError, UnsupportedError
from numtape.tape.flat import FlatTape
from numtape.trace.branches.arms import Arms
from numtape.trace.branches.choices import Choices, Unselected
from numtape.trace.handlers import RECORDING
from numtape.trace.locations import end_at_user
from numtape.trace.recorder import Recorder
from numtape.trace.running import RUNNING, active_recorder
from numtape.trace.sharing import share
from numtape.trace.substitutes import BINDINGS, explained, learn
from numtape.trace.traced import (
    Traced,
    as_python,
    is_object_array,
    laid_out,
    lift,
    mend_attributes,
    moved,
    wrap,
)

__all__ = ["Recording", "active_recorder", "record_flat"]

Floats = npt.NDArray[np.float64]


class Recording(NamedTuple):
    """What came of recording a function.

    Attributes
    ----------
    tape : FlatTape
        Its last inputs are the captured values.
    values : list of float64 arrays
        The leaves of the result.
    captured : list of int
        Slots of the recording around this one whose values were used.
    writes : bool
        Whether the function assigns to an array that it was given.
    is_thorough : bool
        Whether it took thorough copies of the function to record it, see `resolve.py`.
    """

    tape: FlatTape
    values: list[Floats]
    captured: list[int]
    writes: bool
    is_thorough: bool


def record_flat(
    function: Callable[[list[Any]], Sequence[Any]],
    inputs: Sequence[Floats],
    given: Sequence[Any] = (),
    keep_lines: bool = False,
    pythons: Sequence[bool] = (),
    failed: Callable[[FlatTape, list[int]], None] | None = None,
    is_thorough: bool = False,
    choices: Choices | None = None,
) -> Recording:
    """Call `function` on traced versions of `inputs` and keep what it records.

    Parameters
    ----------
    function : callable
        Takes a list of traced values, returns a sequence of leaves: traced
        values, numbers, arrays, object arrays of traced scalars.
    inputs : sequence of float64 arrays
        The recording point.
    given : sequence, optional
        What each input was made of: a number, or an array, which may share memory with others.
    keep_lines : bool
        Whether to keep the source line of every instruction.
    pythons : sequence of bool, optional
        For each input whether it is a float of Python's, and not one of NumPy's.
    failed : callable, optional
        Is given what had been recorded when the function raised: the tape, without outputs,
        and the captured slots.
    is_thorough : bool
        Whether to begin with thorough copies.
    choices : Choices, optional
        Given, tests on traced values are selections, see `arms.py`; what is found out about
        them is noted there. A recording inside another one does what that does.

    Returns
    -------
    Recording

    Raises
    ------
    OutputError
        Where a leaf is no number.
    """
    parent = active_recorder()
    mend_attributes()
    while True:
        recorder = Recorder(sum(value.size for value in inputs), keep_lines, parent)
        recorder.is_thorough |= is_thorough
        if choices is not None:
            choices.selected.clear()
            recorder.arms = Arms(recorder, choices)
        elif parent is not None and parent.arms is not None:
            recorder.arms = Arms(recorder, parent.arms.choices)
            parent.arms.choices.nests = True
        known = BINDINGS.load()
        try:
            with np.errstate():  # which an arm that ended early has changed
                leaves = _called(function, inputs, given, recorder, pythons)
            if choices is not None and recorder.arms.refused is not None:
                raise recorder.arms.refused  # somebody caught it
        except Unselected as refused:
            if choices is None:
                raise
            choices = choices.without(refused.sites, refused.why)
            continue
        except Exception as error:
            if choices is not None and recorder.arms.open:
                why = f"an arm raises {type(error).__name__}: {error}"
                choices = choices.without([recorder.arms.open[-1].site], why)
                continue
            if learn(error, known):
                continue  # it called functions of SciPy by names that are known only now
            reason = explained(error)
            is_refused = reason is not error or isinstance(error, TraceError | UnsupportedError)
            if not recorder.is_thorough and (is_refused or recorder.escaped is not None):
                is_thorough = True
                continue
            if failed is not None:
                point = _point(inputs, recorder)
                failed(recorder.finish(np.zeros(0, np.int64), point), list(recorder.captured))
            if reason is error:
                reason = _cause(error, recorder.escaped) or error
            end_at_user(error)
            if reason is error:
                raise
            raise reason.with_traceback(error.__traceback__) from None
        if recorder.escaped is None:
            break
        if not learn(recorder.escaped, known):
            if recorder.is_thorough:  # the function caught what the plain call has not
                end_at_user(recorder.escaped)
                raise recorder.escaped
            is_thorough = True
    lifted = [_output(recorder, leaf) for leaf in leaves]
    outputs = np.concatenate([np.zeros(0, np.int64), *(slots.ravel() for slots, _ in lifted)])
    return Recording(
        recorder.finish(outputs, _point(inputs, recorder)),
        [values for _, values in lifted],
        list(recorder.captured),
        recorder.writes,
        recorder.is_thorough,
    )


def _point(inputs: Sequence[Floats], recorder: Recorder) -> Floats:
    """Return the values of all inputs of a recording, captured ones last."""
    captured = np.array(recorder.captured_values)
    return np.concatenate([*(value.ravel() for value in inputs), captured])


def _called(
    function: Callable[[list[Any]], Sequence[Any]],
    inputs: Sequence[Floats],
    given: Sequence[Any],
    recorder: Recorder,
    pythons: Sequence[bool],
) -> Sequence[Any]:
    """Return the result of a function on traced inputs, with its recorder the active one."""
    traced: list[Any] = []
    start = 1
    for value, original, is_python in itertools.zip_longest(inputs, given, pythons):
        slots = np.arange(start, start + value.size).reshape(value.shape)
        is_array = isinstance(original, np.ndarray)
        argument = (moved if is_array else wrap)(recorder, slots, laid_out(value, value))
        traced.append(as_python(argument) if is_python else argument)
        start += value.size
    arrays = [k for k, each in enumerate(given) if isinstance(each, np.ndarray)]
    share([traced[k] for k in arrays], [given[k] for k in arrays])
    if not hasattr(RUNNING, "stack"):
        RUNNING.stack = []
    stack = RUNNING.stack
    depth = len(stack)
    # In this form, and not in a context manager's, no interruption leaves it on the stack.
    try:
        stack.append(recorder)
        if recorder.is_thorough:
            BINDINGS.begin(recorder)
        return function(traced)
    finally:
        del stack[depth:]
        BINDINGS.end(recorder)


RECORDING.append(_called.__code__)


def _cause(error: BaseException | None, escaped: Exception | None) -> Exception | None:
    """Return the error of ours that NumPy or Python made another of, if it did."""
    while escaped is not None and error is not None:
        if error is escaped:
            return escaped
        error = error.__cause__ or error.__context__
    return None


def _forked() -> None:
    """Leave in a child only the recording that its one thread is making."""
    BINDINGS.restart(getattr(RUNNING, "stack", []))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _output(recorder: Recorder, leaf: Any) -> tuple[npt.NDArray[np.int64], Floats]:
    kind = np.asarray(leaf).dtype.kind if not isinstance(leaf, Traced) else "f"
    if kind not in "fiub" and not is_object_array(leaf):
        raise OutputError(
            f"the function returned {leaf!r}: numtape differentiates real float64 results. Return "
            "numbers or arrays of floats; return other things as aux with has_aux=True"
        )
    slots, values = lift(recorder, leaf)
    return np.asarray(slots), np.array(values, np.float64)
