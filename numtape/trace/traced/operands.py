"""Operands of any type as slots and values: traced ones, numbers, arrays, nested lists.

And what is asked of operands before: whether any of them is traced, and by which recording.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, TraceError, UnsupportedError
from numtape.tape.regular import RegularSlots
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.running import active_recorder
from numtape.trace.traced.base import Traced, complex_operand
from numtape.trace.traced.memory import settle
from numtape.trace.views import Slots

__all__ = [
    "PLAIN",
    "guarded",
    "has_traced",
    "innermost",
    "is_object_array",
    "is_traced",
    "lift",
    "read",
    "shown",
]

_Values = npt.NDArray[Any]


def lift(recorder: Recorder, operand: Any) -> tuple[Slots, Any]:
    """Return the slots and values of any operand: traced, a number, an array, nested lists.

    Views of a traced array's slots are views of the array. See `read` for errors.
    """
    found: tuple[Any, Any] = read(recorder, operand)
    slots, values = found
    if type(slots) is RegularSlots:
        is_own = isinstance(operand, Traced) and operand.recorder is recorder
        slots = operand.slots if is_own else np.asarray(slots)
    return slots, values


def read(recorder: Recorder, operand: Any) -> tuple[Slots, Any]:
    """Do as `lift`, for who only reads: slots may not be written out.

    Raises
    ------
    TraceError
        Where the operand belongs to another recording, or is no number.
    """
    if isinstance(operand, Traced):
        if operand.recorder is not recorder:
            return _captured(recorder, operand)
        if recorder.mirrors:
            settle(recorder)
        return operand.own_slots()  # type: ignore[no-any-return]
    array = np.asarray(operand)
    if array.dtype is _DOUBLE:
        if recorder.writes:
            _not_an_argument(recorder, array)
        return recorder.constant_array(array), array.copy()
    if array.dtype == object:
        return _lift_objects(recorder, array)
    if array.dtype.kind == "c":
        raise complex_operand(f"a number or an array of {array.dtype}")
    if array.dtype.kind not in "fiub":
        raise TraceError(
            f"an operand of type {array.dtype} met a traced value at {user_location()}: numtape "
            "differentiates real float64 code. Convert it to floats",
            code="not-a-number",
        )
    if array.dtype.itemsize > 8:
        raise UnsupportedError(
            f"an operand of type {array.dtype} met a traced value at {user_location()}: numtape "
            "computes in float64, which has fewer digits. Write y.astype(float)",
            code="unsupported-dtype",
        )
    if recorder.writes:
        _not_an_argument(recorder, array)
    floats = array.astype(np.float64)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and (floats != array).any():
        raise UnsupportedError(
            f"the integer {array[floats != array].flat[0]} met a traced value at "
            f"{user_location()}: it is beyond 2**53 and no float64. Write it as a float",
            code="unsupported-dtype",
        )
    return recorder.constant_array(floats, is_own=True), array.copy()


_DOUBLE = np.dtype(np.float64)


def _not_an_argument(recorder: Recorder, array: npt.NDArray[Any]) -> None:
    """Refuse a plain array that the plain call would have changed by assigning to an argument."""
    if any(np.may_share_memory(array, given) for _, given in recorder.arguments.values()):
        raise InputError(
            f"an array is used at {user_location()} that shares memory with an argument, and the "
            "function has assigned to that: in the plain call both change, while numtape leaves "
            "the caller's arrays alone. Use the argument, or pass both as arguments",
            code="shared-memory",
        )


def _captured(recorder: Recorder, operand: Traced) -> tuple[Slots, Any]:
    """Return slots for a value of a recording around this one, as further inputs of this one."""
    parent = recorder.parent
    if parent is None or operand.recorder.depth >= recorder.depth:
        raise TraceError(
            f"a value {operand!r} of one recording was used in another at {user_location()}: "
            "traced values live as long as the call that recorded them. Return the value "
            "instead of storing it, and pass it to the other function as an argument",
            code="other-recording",
        )
    slots, values = lift(parent, operand)
    return recorder.capture(np.asarray(slots), np.asarray(values, np.float64)), values


def _lift_objects(recorder: Recorder, array: npt.NDArray[Any]) -> tuple[Slots, _Values]:
    """Return an object array of traced scalars and numbers, as NumPy makes them of lists."""
    slots = np.empty(array.shape, np.int64)
    values = np.empty(array.shape, object)
    for index, element in np.ndenumerate(array):
        if not isinstance(element, Traced | float | int | np.generic):
            raise TraceError(
                f"{element!r} of type {type(element).__name__} stands in an array with traced "
                f"values at {user_location()}: every element must be a number. Leave it out, or "
                "make rows of the same length",
                code="not-a-number",
            )
        element_slots, element_value = lift(recorder, element)
        slots[index] = element_slots
        values[index] = element_value
    # Of the type that NumPy finds for these numbers.
    return slots, np.array(values.tolist()) if values.size else np.zeros(values.shape)


# who is traced


def innermost(*operands: Any) -> Recorder:
    """Return the recorder to write an operation to: of several nested ones the innermost.

    Looks into lists, tuples and object arrays. Where nothing is traced it is that of the
    function being recorded: another argument is traced, or an option.
    """
    found = _recorder_of(operands) or active_recorder()
    assert found is not None
    return found


def _recorder_of(operands: Any) -> Recorder | None:
    found: Recorder | None = None
    for operand in operands:
        if isinstance(operand, Traced):
            recorder: Recorder | None = operand.recorder
        elif type(operand) in PLAIN:
            continue
        elif isinstance(operand, np.ndarray):
            if operand.dtype.char != "O":
                continue
            recorder = _recorder_of(operand.flat)
        elif isinstance(operand, _SEQUENCES):
            recorder = _recorder_of(operand)
        else:
            continue
        if recorder is not None and (found is None or recorder.depth > found.depth):
            found = recorder
    return found


# The types of most arguments, none of which is complex; of these, those that are not traced.
PLAIN = frozenset({float, int, bool, str, type(None), np.float64, type(np._NoValue)})


_SEQUENCES = (list, tuple)


def is_object_array(operand: Any) -> bool:
    """Return whether an operand is an array as NumPy makes of a list of traced scalars."""
    return isinstance(operand, np.ndarray) and operand.dtype == object


def has_traced(*operands: Any) -> bool:
    """Return whether any of the operands is a traced value, or a list or array that holds one."""
    for operand in operands:
        if isinstance(operand, Traced):
            return True
    return _recorder_of(operands) is not None


def is_traced(operand: Any) -> bool:
    """Return whether an operand is a traced value, or an object array that holds one."""
    return isinstance(operand, (Traced, np.ndarray)) and has_traced(operand)


# values that a text or a choice depends on


def guarded(array: Any) -> _Values:
    """Return the values of a traced array or scalar, each of them guarded."""
    location = user_location()
    guard = array.recorder.guard
    pairs = zip(array.slots.ravel().tolist(), array.primals.ravel().tolist(), strict=True)
    for slot, value in pairs:
        guard(slot, float(value), location)
    values: _Values = array.primals
    return values


def shown(array: Any) -> _Values:
    """Return the values of a traced array for a text: integers and bools are guarded."""
    return array.primals if array.dtype == np.float64 else guarded(array)
