"""What a test selects of two values: numbers, arrays, tuples; and logic on traced bools.

Nothing here knows about arms. Values that cannot be selected from raise `UnmergedError`, which
says why.
"""

import math
from typing import Any

import numpy as np

from numtape.ops.table import OPCODE
from numtape.trace.integers import range_of
from numtape.trace.ranges import EXACT
from numtape.trace.traced import Traced, TracedArray, TracedScalar, as_python, lift, scalar_of

__all__ = ["MISSING", "UnmergedError", "land", "lor", "merged", "negation", "selected"]

_AND, _OR, _NOT = (OPCODE[f"logical_{name}"] for name in ("and", "or", "not"))
_KEEP, _DROP, _MERGE = (OPCODE[name] for name in ("keep", "drop", "merge"))


class UnmergedError(Exception):
    """Two values cannot be selected from; the message says why."""


class _Missing:
    """What stands for a variable, or an attribute, that was not assigned."""

    def _refuse(self, *arguments: Any, **options: Any) -> Any:
        raise UnboundLocalError("a local variable is read before it is assigned")

    __array_ufunc__ = __array__ = __iter__ = __call__ = __getitem__ = __bool__ = _refuse
    __float__ = __int__ = __len__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = _refuse
    __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = __abs__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __mod__ = __floordiv__ = __matmul__ = _refuse


MISSING: Any = _Missing()


# logic


def negation(value: Any) -> Any:
    """Return ``not value`` of a bool, traced or not; twice, it is the bool itself."""
    if not isinstance(value, Traced):
        return not value
    recorder = value.recorder
    opposites = recorder.arms.opposites
    slot = opposites.get(value.slot)
    if slot is None:
        slot = recorder.scalar(_NOT, value.slot, 0)
        opposites[value.slot], opposites[slot] = slot, value.slot
    return _bool(recorder, slot, not value.primal)


def land(a: Any, b: Any) -> Any:
    """Return ``a and b`` of bools, traced or not."""
    return _joined(_AND, False, a, b)


def lor(a: Any, b: Any) -> Any:
    """Return ``a or b`` of bools, traced or not."""
    return _joined(_OR, True, a, b)


def _joined(opcode: int, decisive: bool, a: Any, b: Any) -> Any:
    """Return two bools joined by a row, for which one of them may decide alone."""
    if not isinstance(a, Traced):
        return decisive if bool(a) is decisive else b
    if not isinstance(b, Traced):
        return decisive if bool(b) is decisive else a
    recorder = a.recorder
    if a.slot == b.slot:
        return a
    if recorder.arms.opposites.get(a.slot) == b.slot:
        return decisive
    value = decisive if decisive in (a.primal, b.primal) else not decisive
    return _bool(recorder, recorder.scalar(opcode, a.slot, b.slot), value)


def _bool(recorder: Any, slot: int, value: bool) -> Any:
    return as_python(scalar_of(recorder, slot, bool(value)))


# selecting


def merged(test: TracedScalar, a: Any, b: Any) -> Any:
    """Return `a` where a test is true, else `b`.

    Parameters
    ----------
    test : traced bool
    a, b : object
    """
    if a is b:
        return a
    if a is MISSING or b is MISSING:
        raise UnmergedError("a variable is assigned in one arm alone, and read later")
    kind_a, kind_b = _kind_of(a), _kind_of(b)
    if kind_a and kind_b:
        return _number(test, a, b, kind_a + kind_b)
    if (_is_array(a) or kind_a) and (_is_array(b) or kind_b):
        return _array(test, a, b)
    if type(a) is not type(b):
        raise UnmergedError(f"the arms leave a {_named(a)} and a {_named(b)}")
    if isinstance(a, tuple) and len(a) == len(b):
        parts = [merged(test, x, y) for x, y in zip(a, b, strict=True)]
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    if isinstance(a, str | bytes | range | slice | frozenset | type) and a == b:
        return a
    raise UnmergedError(f"the arms leave two different {_named(a)}s")


def _named(value: Any) -> str:
    return "array" if _is_array(value) else "number" if _kind_of(value) else type(value).__name__


def _is_array(value: Any) -> bool:
    return isinstance(value, TracedArray | np.ndarray)


def _kind_of(value: Any) -> str:
    """Return b, i or f of a bool, an integer or a float, traced or not; nothing of others."""
    primal = value.primal if isinstance(value, TracedScalar) else value
    if isinstance(primal, bool | np.bool_):
        return "b"
    if isinstance(primal, int | np.integer):
        return "i"
    return "f" if isinstance(primal, float) else ""


def _array(test: TracedScalar, a: Any, b: Any) -> Any:
    if np.shape(a) != np.shape(b):
        raise UnmergedError(f"the arms leave arrays of shapes {np.shape(a)} and {np.shape(b)}")
    types = [each.dtype if _is_array(each) else np.result_type(each) for each in (a, b)]
    if types[0] != types[1] or types[0].kind not in "fib":
        raise UnmergedError(f"the arms leave arrays of {types[0]} and {types[1]}")
    return np.where(test, a, b)


def _number(test: TracedScalar, a: Any, b: Any, kinds: str) -> Any:
    are_plain = not isinstance(a, Traced) and not isinstance(b, Traced)
    if are_plain and type(a) is type(b) and _are_same(a, b):
        return a
    if kinds in ("bf", "fb", "bi", "ib"):
        raise UnmergedError("the arms leave a bool and a number")
    if kinds == "bb":
        return _truth(test, a, b)
    recorder = test.recorder
    slot_a, value_a, low_a, high_a = _read(recorder, a)
    slot_b, value_b, low_b, high_b = _read(recorder, b)
    if _is_zero(b):  # which is what the other arm makes of what is not kept
        slot = recorder.scalar(_KEEP, test.slot, slot_a)
    elif _is_zero(a):
        slot = recorder.scalar(_DROP, test.slot, slot_b)
    else:
        slot = selected(recorder, test.slot, slot_a, slot_b)
    value = value_a if test.primal else value_b
    if kinds == "ii":
        found = scalar_of(recorder, slot, int(value))
        recorder.ranges.note(found.slots, min(low_a, low_b), max(high_a, high_b))
    else:
        found = scalar_of(recorder, slot, float(value))
    return as_python(found) if _is_pythons(a) and _is_pythons(b) else found


def selected(recorder: Any, test: int, a: int, b: int) -> int:
    """Record the choice between two slots by a third; return the result's."""
    taken, other = recorder.scalar(_KEEP, test, a), recorder.scalar(_DROP, test, b)
    return int(recorder.scalar(_MERGE, taken, other))


def _read(recorder: Any, number: Any) -> tuple[int, Any, float, float]:
    """Return a number's slot and value, and from where to where it goes if it is an integer."""
    if isinstance(number, Traced):
        slots, values = lift(recorder, number)
        low, high = range_of(number) if number.dtype.kind == "i" else (0.0, 0.0)
        return int(slots), np.asarray(values).item(), low, high
    if isinstance(number, int | np.integer) and abs(int(number)) >= EXACT:
        raise UnmergedError("an integer is beyond 2**53")
    return recorder.constant(float(number)), number, float(number), float(number)


def _truth(test: TracedScalar, a: Any, b: Any) -> Any:
    if not isinstance(a, Traced):
        return lor(test, b) if a else land(negation(test), b)
    if not isinstance(b, Traced):
        return lor(negation(test), a) if b else land(test, a)
    recorder = test.recorder
    a, b = (
        each
        if each.recorder is recorder
        else _bool(recorder, int(lift(recorder, each)[0]), each.primal)
        for each in (a, b)
    )
    opposite = recorder.arms.opposites.get(test.slot)
    if b.slot == test.slot:  # false wherever it is chosen
        return land(test, a)
    if b.slot == opposite:
        return lor(b, a)
    if a.slot == test.slot:
        return lor(test, b)
    if a.slot == opposite:
        return land(a, b)
    return lor(land(test, a), land(negation(test), b))


def _is_zero(number: Any) -> bool:
    is_plain = not isinstance(number, Traced)
    return is_plain and float(number) == 0.0 and math.copysign(1.0, number) > 0.0


def _is_pythons(number: Any) -> bool:
    return number.__class__ in (float, int, bool)


def _are_same(a: Any, b: Any) -> bool:
    if isinstance(a, float):
        return (a == b and math.copysign(1.0, a) == math.copysign(1.0, b)) or (a != a and b != b)
    return bool(a == b)
