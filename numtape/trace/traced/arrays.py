"""Traced arrays: slots beside values, of the same shape, and what makes them.

Whatever only moves elements about (indexing, slicing, transposing, assigning) is done by NumPy
on slots and values alike, and records nothing.
"""

import operator
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, UnsupportedError
from numtape.tape.regular import RegularSlots, layout_of
from numtape.trace.escapes import escaped
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced.base import Traced, note_objects
from numtape.trace.traced.keys import has_places, is_basic, is_mask_of, no_label, plain_key
from numtape.trace.traced.memory import note_arguments, owner, same_layout, settle, write
from numtape.trace.traced.operands import lift, shown
from numtape.trace.traced.scalars import TracedScalar, as_python, scalar_of
from numtape.trace.views import CONSTANTS, RESULTS, Slots

__all__ = [
    "TracedArray",
    "as_computed",
    "as_floats",
    "as_integers",
    "as_traced",
    "moved",
    "wrap",
]

_Values = npt.NDArray[Any]


class TracedArray(Traced):
    """An array under trace, of any rank.

    Parameters
    ----------
    recorder : Recorder
    slots : int64 array
        The slot of each element.
    primals : float64 or bool array
        Its values at the recording point, of the same shape.
    """

    # No `__slots__`: with them no array of NumPy's could become one, see `fresh.py`.

    def __init__(self, recorder: Recorder, slots: Any, primals: _Values) -> None:
        if slots.strides != primals.strides:
            slots, primals = same_layout(np.asarray(slots), primals)
        self.recorder = recorder
        self._read = slots
        self._primals = primals

    # Slots that step evenly are written out when they are first looked at one by one, or may be
    # written to: operands never are. A view that was made before is one of what is written out.

    _whole: "TracedArray | None" = None

    @property
    def _slots(self) -> Slots:
        slots = self._read
        if type(slots) is RegularSlots:
            whole = self._whole
            slots = np.asarray(slots) if whole is None else whole._written_at(self._primals)
            self._read, self._whole = slots, None
        return slots  # type: ignore[no-any-return]

    @_slots.setter
    def _slots(self, slots: Slots) -> None:
        self._read = slots

    def _written_at(self, primals: _Values) -> Slots:
        """Return a view of the slots, written out: where a view of the values is."""
        memory = owner(self._slots).ravel("K")  # it has no gaps
        start = (
            primals.__array_interface__["data"][0] - self._primals.__array_interface__["data"][0]
        )
        view: Slots = np.ndarray(primals.shape, np.int64, memory, start, primals.strides)
        return view

    def _now(self) -> Any:
        """Return the slots to be read only: regular ones, unless they were written out."""
        whole = self._whole
        if whole is not None and type(whole._read) is not RegularSlots:
            return self._slots
        return self._read

    def _arranged(self, arrange: Callable[[Any], Any]) -> Any:
        """Return what a function that only moves elements makes of slots and values alike."""
        recorder = self.recorder
        if recorder.mirrors:
            settle(recorder)
        values = arrange(self._primals)
        return self._part(self._viewed(arrange), values)

    def _viewed(self, arrange: Callable[[Any], Any]) -> Any:
        """Return what a function that only moves elements makes of the slots; regular of a view."""
        slots = self._now()
        if type(slots) is RegularSlots:
            layout = slots.layout
            if layout.raw == layout.memory and (
                self._whole is not None or self._primals.flags.forc
            ):
                steps = layout.counted()
                part = arrange(steps)
                start = slots.base + layout.low
                if type(part) is np.int64:
                    return start + part
                if type(part) is np.ndarray and part.base is steps.base and part.size:
                    new = layout_of(part.shape, part.strides, part.strides)
                    return RegularSlots(start + part.item(0), new)
            slots = self._slots
        return arrange(slots)

    def _part(self, slots: Any, values: Any) -> Any:
        """Return slots and values as an array or a scalar: a view of this one's where regular."""
        part = moved(self.recorder, slots, values)
        if type(slots) is RegularSlots:
            whole = self._whole
            part._whole = self if whole is None else whole
        return part

    def own_slots(self) -> tuple[Any, _Values]:
        """Return slots to be read only, and values."""
        return self._read if self._whole is None else self._now(), self._primals

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """As of an ndarray, so that `isinstance` answers as in the plain call."""
        return np.ndarray

    @property
    def slots(self) -> Slots:
        """The slot of each element, as of now."""
        if self.recorder.mirrors:
            settle(self.recorder)
        return self._slots

    @property
    def primals(self) -> _Values:
        """The values at the recording point, as of now."""
        if self.recorder.mirrors:
            settle(self.recorder)
        return self._primals

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an ndarray."""
        return self._primals.shape

    @property
    def ndim(self) -> int:
        """As of an ndarray."""
        return self._primals.ndim

    @property
    def size(self) -> int:
        """As of an ndarray."""
        return self._primals.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64; bool for outcomes of comparisons, int64 for positions and counts."""
        return self._primals.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """As of an ndarray."""
        return self._primals.strides

    @property
    def flags(self) -> Any:
        """As of an ndarray."""
        return self._primals.flags

    @property
    def T(self) -> "TracedArray":  # noqa: N802 (NumPy's name)
        """The transpose, a view."""
        transposed: TracedArray = self._arranged(_TRANSPOSED)
        return transposed

    @property
    def flat(self) -> "_Flat":
        """As of an ndarray."""
        return _Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        self.flat[:] = value

    def __len__(self) -> int:
        return len(self._primals)

    def __repr__(self) -> str:
        text = repr(shown(self))
        return f"Traced({text})" if self.dtype == np.float64 else text

    def __str__(self) -> str:
        return str(shown(self))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise InputError(
                f"the truth value of a traced array of shape {self.shape} at {user_location()} is "
                "ambiguous: "
                "a condition needs one bool. Write np.all(...) or np.any(...)",
                code="ambiguous-truth",
            )
        return bool(self.ravel()[0])

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        is_integer = not self.ndim and self.dtype.kind == "i"
        return operator.index(self.item() if is_integer else self._primals)  # NumPy refuses those

    def __float__(self) -> float:
        return float(self.item())

    def __format__(self, specification: str) -> str:
        return format(self._primals, specification)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.dtype.kind == "f" and dtype is not None and np.dtype(dtype).kind != "O":
            escaped(self.recorder, "a conversion to an array of numbers")
        if self.dtype.kind == "f":
            note_objects(self.recorder, sys._getframe(1))
        mirror: npt.NDArray[Any] = self._mirror_of(self)
        if copy or (dtype is not None and np.dtype(dtype) != mirror.dtype):
            return np.array(mirror, dtype)
        return mirror

    def __iter__(self) -> Iterator[Any]:
        # Element by element, as NumPy does: the array may be assigned to meanwhile.
        return (self[k] for k in range(len(self._primals)))

    def __getitem__(self, key: Any) -> Any:
        recorder = self.recorder
        if recorder.mirrors:
            settle(recorder)
        if type(key) is int and self._primals.ndim == 1:
            slots = self._read if self._whole is None else self._now()
            return scalar_of(recorder, slots.item(key), self._primals.item(key))
        if type(key) is not slice and not is_basic(key):
            if type(key) is str:
                raise no_label(key)
            if has_places(key):
                return self._get_at(self, key)
            key = plain_key(key)
        return self._arranged(itemgetter(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is not slice and not is_basic(key):
            if type(key) is str:
                raise no_label(key)
            if has_places(key) and self._set_at(self, key, value):
                return
            if is_mask_of(key, self) and np.ndim(value) == 0:
                # One number where the mask is true: whatever the mask, nothing needs a guard.
                mask = key.reshape(key.shape + (1,) * (self.ndim - key.ndim))
                value = np.where(mask, value, self)
                key = ...
            key = plain_key(key)
        recorder = self.recorder
        slots: Any
        if type(value) is TracedScalar and value.recorder is recorder:
            slots, values = value.slot, value.primal
        else:
            slots, values = lift(recorder, value)
        if self._primals.dtype.char != "d" and np.asarray(values).dtype != self._primals.dtype:
            slots, values = lift(recorder, as_traced(recorder, value).astype(self.dtype))
        if recorder.sharers:
            write(self, lambda elements, each: elements.__setitem__(key, each), (slots, values))
            return
        if recorder.arguments and not recorder.writes:
            note_arguments(recorder, self._slots)
        self._primals[key] = values  # first: it may be read-only
        self._slots[key] = slots

    # array methods that only move elements

    def copy(self, order: Any = "C") -> "TracedArray":
        """Return a copy: assigning into it does not change this one."""
        slots, primals = self.slots.copy(order), self.primals.copy(order)
        return TracedArray(self.recorder, slots, primals)

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        """Return what `ndarray.reshape` does."""
        return self._arranged(lambda elements: elements.reshape(*shape, order=order))

    def ravel(self, order: Any = "C") -> "TracedArray":
        """Return what `ndarray.ravel` does."""
        vector: TracedArray = self._arranged(lambda elements: elements.ravel(order))
        return vector

    def flatten(self, order: Any = "C") -> "TracedArray":
        """Return what `ndarray.flatten` does."""
        return TracedArray(self.recorder, self.slots.flatten(order), self.primals.flatten(order))

    def transpose(self, *axes: Any) -> "TracedArray":
        """Return what `ndarray.transpose` does."""
        transposed: TracedArray = self._arranged(lambda elements: elements.transpose(*axes))
        return transposed

    def item(self, *index: Any) -> Any:
        """Return the one element, still traced."""
        if len(index) == 1 and not isinstance(index[0], tuple):
            return as_python(self.ravel()[index[0]])
        if index:
            return as_python(self[index[0] if isinstance(index[0], tuple) else index])
        if self.size != 1:
            raise InputError(
                f"item() of a traced array of shape {self.shape}: it must have one element; "
                "give an index"
            )
        return as_python(self.ravel()[0])

    def tolist(self) -> Any:
        """Return nested lists of traced scalars."""
        if not self.ndim:
            return self.item()
        return [row.tolist() for row in self]

    def fill(self, value: Any) -> None:
        """Assign one value to every element."""
        self[...] = value

    def view(self, dtype: Any = None, type: Any = None) -> "TracedArray":  # noqa: A002
        """Return another array of the same memory, of the same dtype."""
        if dtype not in (None, np.ndarray) and np.dtype(dtype) != self.dtype:
            raise UnsupportedError(
                f"view({dtype!r}) of a traced array at {user_location()}: its elements are "
                f"{self.dtype}, and their bytes those of one point. Leave the dtype out, or write "
                "x.astype(float) for a copy",
                code="unsupported-option",
            )
        return TracedArray(self.recorder, self.slots.view(), self.primals.view())

    def setflags(self, write: Any = None, align: Any = None, uic: Any = None) -> None:
        """Set whether it may be written to, as of an ndarray."""
        if self._slots.base is None:
            self._slots = self._slots.view()  # others keep writing to the memory that it is of
        for elements in (self._primals, self._slots):
            elements.setflags(write=write)


_TRANSPOSED = attrgetter("T")


class _Flat:
    """What ``x.flat`` is: the elements in row-major order, to be read and assigned to."""

    def __init__(self, array: TracedArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return self._array.size

    def __getitem__(self, key: Any) -> Any:
        array = self._array
        return moved(array.recorder, array.slots.flat[key], array.primals.flat[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        array = self._array
        if array.dtype.char != "d":
            value = as_traced(array.recorder, value).astype(array.dtype)
        lifted = lift(array.recorder, value)
        write(array, lambda elements, each: elements.flat.__setitem__(key, each), lifted)

    def copy(self) -> "TracedArray":
        """Return a vector, as a flatiter's `copy` does."""
        return self._array.flatten()

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))


def _reshape(self: TracedScalar, *shape: Any, order: Any = "C") -> Any:
    """Return an array of that shape; a scalar for the shape ()."""
    slots, values = self.slots[()].reshape(*shape), self.primals[()].reshape(*shape)
    return moved(self.recorder, slots, values)


TracedScalar.reshape = _reshape


# what was computed or moved


def wrap(recorder: Recorder, slots: Slots, values: Any) -> Any:
    """Return what was computed: a traced array, or a traced scalar where the shape is ().

    Values of types that traced values do not have, as int8, are guarded and returned.
    """
    values = np.asarray(values)
    if values.dtype.char not in _CARRIED:
        return _not_carried(recorder, slots, values)
    if values.ndim:
        return TracedArray(recorder, slots, values)
    return scalar_of(recorder, int(slots), values.item())


_CARRIED = frozenset({"d", "?", np.dtype(np.int64).char})


def _not_carried(recorder: Recorder, slots: Slots, values: _Values) -> Any:
    """Return values that are not bool, int64 or float64: integers, each guarded; else an error."""
    if values.dtype == np.int64:  # by another of its names
        return wrap(recorder, slots, values.astype(np.int64))
    if ((slots >= CONSTANTS) & (slots < RESULTS)).all():
        return values[()]
    if values.dtype.kind not in "iu":
        raise UnsupportedError(
            f"traced values and plain ones met at {user_location()} and gave {values.dtype} in "
            "NumPy: numtape computes in float64. Make the plain ones floats before, with "
            "y.astype(float)",
            code="unsupported-dtype",
        )
    location = user_location()
    pairs = zip(np.ravel(slots).tolist(), values.ravel().tolist(), strict=True)
    for slot, value in pairs:
        recorder.guard(slot, float(value), location)
    return values[()]


def moved(recorder: Recorder, slots: Any, values: Any) -> Any:
    """Return what NumPy made by moving elements: an array, of any rank, where it made an array."""
    if values.dtype.char not in _CARRIED:
        return _not_carried(recorder, slots, values)
    if isinstance(slots, _ARRAYS):
        return TracedArray(recorder, slots, np.asarray(values))
    return scalar_of(recorder, int(slots), values.item())


_ARRAYS = (np.ndarray, RegularSlots)


def as_computed(result: Any) -> Any:
    """Return a result as ufuncs give it: a scalar where its rank is 0."""
    is_array = isinstance(result, np.ndarray)  # or claims to be one
    return result[()] if is_array and not result.ndim else result


# operands as traced values of a type


def as_traced(recorder: Recorder, operand: Any) -> Any:
    """Return any operand as a traced value."""
    if isinstance(operand, Traced) and operand.recorder is recorder:
        return operand
    slots, values = lift(recorder, operand)
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    elif values.dtype.kind != "b":
        values = values.astype(np.int64)
    is_array = isinstance(operand, np.ndarray)  # or claims to be one
    return (moved if is_array else wrap)(recorder, np.array(slots), values)


def as_floats(operand: Any) -> Any:
    """Return a value as floats: bools, if it has any, count as 0.0 and 1.0."""
    if not isinstance(operand, Traced):
        return np.asarray(operand, np.float64)
    return operand if operand.dtype == np.float64 else _converted(operand, np.float64)


def as_integers(operand: Any) -> Any:
    """Return a traced value of whole numbers or bools as integers."""
    if operand.dtype == bool:
        operand.recorder.ranges.note(operand.slots, 0.0, 1.0)
    return operand if operand.dtype == np.int64 else _converted(operand, np.int64)


def _converted(operand: Any, dtype: Any) -> Any:
    if isinstance(operand, TracedScalar):
        return scalar_of(operand.recorder, operand.slot, operand.primals.astype(dtype).item())
    return TracedArray(operand.recorder, operand.slots.copy("K"), operand.primals.astype(dtype))
