"""Guards of what may raise: an exception that the function catches is a branch.

What raises in the plain call because of a value raises while it is recorded, and what
decided it is guarded before: the same guard where nothing is raised, with the other
outcome. `handlers.py` says where operations are looked at that raise by another rule than
NumPy's own: those of Python's floats, and floating-point errors that are exceptions.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE
from numtape.trace.escapes import refuse
from numtape.trace.handlers import raises_underflow, watches
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced import TracedArray, TracedScalar, guarded, lift
from numtape.trace.views import CONSTANTS, RESULTS, Slots

__all__ = [
    "QUIET",
    "check_division",
    "check_domain",
    "check_overflow",
    "check_power",
    "computed",
    "guard_errors",
]

_Lifted = tuple[Slots, npt.NDArray[Any]]


# Python's floats, of which one at least is traced. To ask a traced comparison is to guard it.


def check_division(divide: Callable[[Any, Any], Any], left: Any, right: Any) -> None:
    """Raise what Python raises where a float is divided by zero, and guard whether it is."""
    if right == 0.0:
        divide(1.0, 0.0)


def check_power(left: Any, right: Any) -> None:
    """Raise what Python raises where zero is divided by, and refuse complex powers."""
    if _may_be(right < 0.0) and left == 0.0 and right < 0.0 and right > -math.inf:
        operator.pow(0.0, -1.0)
    _check_real(left, right)


def check_overflow(left: Any, right: Any, power: Any) -> None:
    """Raise what Python raises where a power is too large, and guard whether it is."""
    if abs(power) == math.inf and abs(left) < math.inf and abs(right) < math.inf:
        operator.pow(10.0, 400.0)


def check_domain(function: Callable[..., Any], arguments: Sequence[Any], result: Any) -> None:
    """Raise what a function of `math` raises, and guard whether it does.

    It raises nothing where the result is finite. Elsewhere it goes by what the arguments are:
    nan, infinite, zero, negative.
    """
    if result.dtype != np.float64 or np.isfinite(result):
        return
    recorder = result.recorder
    for each in arguments:
        if isinstance(each, TracedScalar):
            _guard_kinds(recorder, each.slots.ravel(), each.primals.ravel())
            bool(each.__lt__(0.0))
    function(*(getattr(each, "primal", each) for each in arguments))


def _check_real(left: Any, right: Any) -> None:
    """Refuse a power that is complex, and guard that it is not."""
    base, exponent = (getattr(operand, "primal", operand) for operand in (left, right))
    if not isinstance(right, TracedScalar) and float(exponent).is_integer():
        return
    if _may_be(left < 0.0) and left < 0.0 and left > -math.inf and np.floor(right) < right:
        error = UnsupportedError(
            f"{base!r} ** {exponent!r} at {user_location()}: of Python's floats this is a complex "
            "number, and numtape differentiates real float64 code. Take the power of a positive "
            "number, or write np.power(x, y), which gives nan here",
            code="complex-value",
        )
        refuse((left if isinstance(left, TracedScalar) else right).recorder, error)


def _may_be(outcome: Any) -> bool:
    """Return whether a comparison may come out true at some point: a plain one always or never."""
    return isinstance(outcome, TracedScalar) or bool(outcome)


# NumPy's floating-point errors

# Operations that only choose among numbers and round them have no errors.
QUIET = frozenset(
    {"negative", "positive", "absolute", "sign", "copysign", "floor", "ceil", "trunc", "rint"}
    | {"maximum", "minimum", "fmax", "fmin", "clip_low", "clip_high", "stop_gradient"}
)

# Where the result of these is so small that others would lose digits, it is exact.
_EXACT = frozenset({"add", "subtract", "remainder", "fmod", "floor_divide"})
_SMALLEST = float(np.finfo(np.float64).smallest_normal)


def computed(
    recorder: Recorder,
    name: str,
    operands: Sequence[Any],
    compute: Callable[[], Any],
    record: Callable[[Any], Any],
) -> Any:
    """Record a NumPy function of whole arrays, and guard what it raises."""
    if not watches(recorder):
        return record(compute())
    with np.errstate(all="ignore"):
        result = record(compute())
    lifted = [lift(recorder, operand) for operand in operands]
    guard_errors(recorder, name, lifted, lift(recorder, result), compute, False)
    return result


def guard_errors(
    recorder: Recorder,
    name: str,
    operands: Sequence[_Lifted],
    result: _Lifted,
    compute: Callable[[], Any],
    elementwise: bool = True,
) -> None:
    """Compute as the function has NumPy do it, which may raise, and guard what decides it.

    Most results are finite, and not so small that digits are lost: that they are is one
    guard. Otherwise there is one for each element, and of the others there are guards of
    which are nan, infinite and zero, and so are their operands: that tells what NumPy does.
    """
    is_under = name not in _EXACT and raises_underflow()
    slots, values = np.ravel(result[0]), np.ravel(result[1])
    calm = _calm(recorder, slots, values, is_under)
    if np.all(calm):
        return
    guarded(calm)
    bad = ~calm.primals
    _guard_kinds(recorder, slots[bad], values[bad])
    for own, numbers in operands:
        if elementwise:
            own, numbers = _chosen(own, bad, result[0]), _chosen(numbers, bad, result[0])
        _guard_kinds(recorder, np.ravel(own), np.ravel(numbers))
    compute()
    if is_under and elementwise:  # nothing was lost, which only these very operands say
        tiny = bad & (np.abs(values) < _SMALLEST)
        for own, numbers in operands:
            own, numbers = _chosen(own, tiny, result[0]), _chosen(numbers, tiny, result[0])
            guarded(TracedArray(recorder, own, numbers))


def _chosen(operand: Any, mask: Any, result: Slots) -> Any:
    """Broadcast an operand to a result and return its elements for some of it."""
    return np.broadcast_to(operand, np.shape(result)).ravel()[mask]


def _calm(recorder: Recorder, slots: Slots, values: Any, is_under: bool) -> TracedArray:
    """Record which numbers are finite and, if it matters, not too small."""
    found = recorder.elementwise(OPCODE["isfinite"], (slots,))
    calm = np.isfinite(values)
    if is_under:
        size = recorder.elementwise(OPCODE["absolute"], (slots,))
        limit = np.array(recorder.constant(_SMALLEST))
        large = recorder.elementwise(OPCODE["greater_equal"], (size, limit))
        found = recorder.elementwise(OPCODE["logical_and"], (found, large))
        calm = calm & (np.abs(values) >= _SMALLEST)
    return TracedArray(recorder, found, calm)


def _guard_kinds(recorder: Recorder, slots: Slots, values: Any) -> None:
    """Guard of numbers whether they are nan, infinite and zero."""
    varies = (slots < CONSTANTS) | (slots >= RESULTS)
    slots, values = slots[varies], np.asarray(values, np.float64)[varies]
    zero = np.array(recorder.constant(0.0))
    for name, operands, found in (
        ("isnan", (slots,), np.isnan(values)),
        ("isinf", (slots,), np.isinf(values)),
        ("equal", (slots, zero), values == 0.0),
    ):
        guarded(TracedArray(recorder, recorder.elementwise(OPCODE[name], operands), found))
