"""Traced scalars and arrays: what a function sees in place of floats and arrays.

A traced value holds slots, its value at the recording point, and the recorder
that its operations write to. A traced array's `slots` is an integer array of
the array's own shape: whatever only moves elements about (indexing, slicing,
transposing, assigning) is done by NumPy on `slots` and `values` alike, and
records nothing. Only arithmetic records.

Here are the two classes and how operands of any type are lifted to slots. What
NumPy does with them is added by `ufuncs.py`, `operators.py` and `functions`.
"""

import math
import operator
import sys
from collections.abc import Callable, Iterator
from functools import cache
from operator import attrgetter, itemgetter
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import AttributeUnsupportedError, InputError, TraceError, UnsupportedError
from numtape.tape.regular import RegularSlots, layout_of
from numtape.trace.escapes import escaped, is_formatting, refuse
from numtape.trace.recorder import (
    CONSTANTS,
    RESULTS,
    Recorder,
    Slots,
    active_recorder,
    user_location,
)

__all__ = [
    "COMPLEX_FUNCTIONS",
    "LIKE_FUNCTIONS",
    "NUMPY_FUNCTIONS",
    "Traced",
    "TracedArray",
    "TracedBool",
    "TracedFloat",
    "TracedInteger",
    "TracedPair",
    "TracedScalar",
    "as_computed",
    "as_floats",
    "as_integers",
    "as_python",
    "as_traced",
    "assign_out",
    "call_complex",
    "call_function",
    "check_casting",
    "guarded",
    "has_complex",
    "has_places",
    "has_traced",
    "innermost",
    "is_object_array",
    "is_traced",
    "laid_out",
    "lift",
    "mend_attributes",
    "moved",
    "owner",
    "plain_key",
    "read",
    "scalar_of",
    "settle",
    "shown",
    "wrap",
    "writable",
    "write",
]

_Values = npt.NDArray[Any]

# Filled by `functions`: what to do for each NumPy function given a traced value;
# a ufunc's method is found under (ufunc, name of the method).
NUMPY_FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# The same for functions called as ``np.zeros(n, like=x)``.
LIKE_FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# What NumPy's functions do where an argument is complex, and which of our own do it as they
# stand; filled by `complexes`.
COMPLEX_FUNCTIONS: dict[Any, Callable[..., Any]] = {}


# What a series, a frame or a labelled array becomes.
_FOR_LABELS = (
    "Of a series or frame only the values are recorded: to use its labels, pass a dict, "
    "x.to_dict() or {name: x[name].to_numpy() for name in x.columns}"
)


class Traced:
    """What traced scalars and traced arrays have in common.

    Attributes
    ----------
    recorder : Recorder
        Where operations on the value are written.
    """

    __slots__ = ()

    recorder: Recorder
    _apply_ufunc: Callable[..., Any]  # set by `ufuncs.py`
    _apply_complex_ufunc: Callable[..., Any]  # these two by `complexes`
    _operate_complex: Callable[..., Any]
    _get_at: Callable[..., Any]  # these two by `functions/indexing.py`
    _set_at: Callable[..., Any]
    astype: Callable[..., Any]  # this by `functions/methods.py`
    copy: Callable[..., Any]  # of each class its own
    _mirror_of: Callable[..., Any]  # by `sharing.py`

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        try:
            return self._apply_ufunc(ufunc, method, inputs, options)
        except TraceError as error:
            if error.code != "complex-value" or not has_complex(*inputs):
                refuse(self.recorder, error)
        try:  # a complex operand was met on the way: from the beginning, by the rules for these
            return self._apply_complex_ufunc(ufunc, method, inputs, options)
        except TraceError as error:
            refuse(self.recorder, error)

    def __array_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        like = LIKE_FUNCTIONS.get(function)
        try:
            if like is not None:
                return like(self, function, arguments, options)
            return call_function(function, arguments, options)
        except TraceError as error:
            refuse(self.recorder, error)

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    # conversions that would lose the derivative

    def __float__(self) -> float:
        escaped(self.recorder, "float(...)")

    def __complex__(self) -> complex:
        error = TraceError(
            f"a traced value at {user_location()} was to become a plain complex number, of "
            "complex(...) or in a plain complex array: its derivative would be lost. Write x + 0j "
            "for a complex value, and np.zeros_like(x, dtype=complex) for an array",
            code="complex-value",
        )
        refuse(self.recorder, error)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            if name == "__array__":
                _note_objects(self.recorder, sys._getframe(1))
            raise AttributeError(name)  # Python and NumPy ask for these
        is_label = not hasattr(np, name) and not hasattr(np.ndarray, name)
        raise AttributeUnsupportedError(
            f"a traced value has no attribute {name!r} (at {user_location()}): numtape has no rule "
            f"for it. Write np.{name}(x) if that is supported, or operations that are: arithmetic, "
            "ufuncs, indexing, sums, products" + f". {_FOR_LABELS}" * is_label
        )

    def __hash__(self) -> int:
        error = TraceError(
            f"hash(...) of a traced value at {user_location()}: as a key it would be silently "
            "constant. Use an integer or a string as the key of dicts, sets and caches; of a "
            "function with a cache call f.__wrapped__",
            code="hashed-value",
        )
        refuse(self.recorder, error)


def mend_attributes() -> None:
    """Have Python ask traced values' `__getattr__` again, where it has come to ignore it.

    CPython looks for the method whenever an attribute is missing, and once it has found none it
    never looks again. With an exception set it finds none, and C code may go on with one set, as
    SciPy's root finders did that were given a traced value by the user's function.
    """
    for probe in _probes():
        try:
            probe._missing_  # noqa: B018
        except AttributeError as error:
            if error.args != ("_missing_",):  # not what ours says
                Traced.__getattr__ = Traced.__dict__["__getattr__"]  # type: ignore[method-assign]


@cache
def _probes() -> list[Any]:
    """An object of each class of traced values; but for those that are NumPy's arrays too."""
    found: list[Any] = []
    kinds: list[type] = [Traced]
    while kinds:
        kinds += (kind := kinds.pop()).__subclasses__()
        if not issubclass(kind, np.ndarray):
            found.append(object.__new__(kind))
    return found


def _note_objects(recorder: Recorder, frame: FrameType) -> None:
    """Note that NumPy makes an array of objects for a frame, if that is not our own."""
    if not frame.f_globals.get("__name__", "").startswith("numtape."):
        recorder.has_objects = True


class TracedPair(Traced):
    """Base of complex values under trace, which have no slots but those of their parts."""

    __slots__ = ()

    @property
    def slots(self) -> Slots:
        """There are none: this is where rules for real values end."""
        raise _complex_operand("a complex value")

    primals = slots


def _complex_operand(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} met what is of real numbers at {user_location()}: the result of the function, an "
        "array of floats that is assigned to, or an operation without a rule for complex ones. "
        "Write z.real and z.imag, or np.stack([z.real, z.imag]), for two real values, and "
        "np.zeros_like(x, dtype=complex) for an array that is to hold complex ones",
        code="complex-value",
    )


class _Float64:
    """The dtype of a traced float: float64, but that its `type` keeps a traced value as it is.

    NumPy's `mean` and `var` convert by it what they computed of an object array.
    """

    dtype = np.dtype(np.float64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dtype, name)

    def type(self, value: Any) -> Any:
        """The value, traced or not, as a float."""
        return value if isinstance(value, Traced) else np.float64(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Float64) or bool(self.dtype == other)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return repr(self.dtype)


_FLOAT64 = _Float64()


class TracedScalar(Traced):
    """A float under trace.

    Parameters
    ----------
    recorder : Recorder
    slot : int
        The slot that holds it.
    primal : float or bool
        Its value at the recording point; bool for the outcome of a comparison.
    """

    __slots__ = ("primal", "recorder", "slot")

    def __init__(self, recorder: Recorder, slot: int, primal: Any) -> None:
        self.recorder = recorder
        self.slot = slot
        self.primal = primal

    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What the plain value is an instance of: so `isinstance` answers as in the plain call."""
        return self._plain

    _plain: Any = np.float64

    @property
    def slots(self) -> Slots:
        """The slot as an array of shape ()."""
        return np.array(self.slot)

    @property
    def primals(self) -> _Values:
        """The value as an array of shape ()."""
        return np.array(self.primal)

    @property
    def dtype(self) -> Any:
        """float64."""
        return _FLOAT64

    @property
    def T(self) -> "TracedScalar":  # noqa: N802 (NumPy's name)
        """Itself."""
        return self

    # text: of an integer or a bool it may decide something, of a float it is for people

    def __repr__(self) -> str:
        return f"Traced({self._shown()!r})"

    def __str__(self) -> str:
        return str(self._shown())

    def __format__(self, specification: str) -> str:
        return format(self._shown(), specification)

    def _shown(self) -> Any:
        """The value, guarded if it is not a float."""
        if type(self.primal) is not float:
            self.recorder.guard(self.slot, float(self.primal))
        return self.primal

    def __float__(self) -> float:
        if type(self.primal) is not float or is_formatting(sys._getframe(1)):
            return float(self._shown())
        escaped(self.recorder, "float(...)")

    # guards

    def __bool__(self) -> bool:
        if isinstance(self.primal, bool):
            self.recorder.guard(self.slot, float(self.primal))
            return self.primal
        return bool(self.__ne__(0.0))

    def __int__(self) -> int:
        return self._rounded("trunc")

    def __trunc__(self) -> int:
        return self._rounded("trunc")

    def __floor__(self) -> int:
        return self._rounded("floor")

    def __ceil__(self) -> int:
        return self._rounded("ceil")

    def __round__(self, digits: int | None = None) -> Any:
        return self._rounded("rint") if digits is None else np.round(self, digits)

    def __index__(self) -> int:
        self.recorder.guard(self.slot, float(self.primal))
        _check_whole(self.primal)
        return int(self.primal)

    def _rounded(self, name: str) -> int:
        """The integer, guarded: another point with another integer takes another path.

        So does one that is nan or infinite, for which Python raises.
        """
        rounded = self if isinstance(self.primal, int) else getattr(np, name)(self)
        self.recorder.guard(rounded.slot, float(rounded.primal))
        return int(rounded.primal)

    # what NumPy's scalars can do

    def item(self) -> "TracedScalar":
        """As Python's number."""
        return as_python(self)

    tolist = item

    def copy(self) -> "TracedScalar":
        """Itself."""
        return self

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        """As an array of that shape; a scalar for the shape ()."""
        slots, values = self.slots[()].reshape(*shape), self.primals[()].reshape(*shape)
        return moved(self.recorder, slots, values)

    def ravel(self, order: Any = "C") -> "TracedArray":
        """As an array of one element."""
        array: TracedArray = self.reshape(1)
        return array

    flatten = ravel

    def transpose(self, *axes: Any) -> "TracedScalar":
        """Itself."""
        return self


class TracedBool(TracedScalar):
    """A bool under trace: the outcome of a comparison."""

    __slots__ = ()
    _plain: Any = np.bool_

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        # NumPy asks for this in lists, np.array([v > 0.0 for v in x]) for example.
        return np.array(bool(self), dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """bool."""
        return np.dtype(bool)


class TracedFloat(TracedScalar):
    """A float of Python's under trace, and not one of NumPy's.

    They compute alike, but that this one raises where NumPy's is infinite or nan, and is
    rounded to digits in another way (set by `functions/numeric.py`).
    """

    __slots__ = ()
    _plain = float


class TracedInteger(TracedScalar):
    """An integer under trace: a position (`np.argmax`) or a count, whose derivative is 0.

    Where Python or NumPy need a plain integer, it is guarded.
    """

    __slots__ = ()
    _plain: Any = np.int64

    def __repr__(self) -> str:
        return repr(np.int64(self._shown()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """int64."""
        return np.dtype(np.int64)

    def __bool__(self) -> bool:
        return bool(int(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        # NumPy asks for this in lists of indices, y[[np.argmin(x), np.argmax(x)]] for example.
        return np.array(int(self), dtype)

    def __hash__(self) -> int:
        return hash(int(self))


class TracedInt(TracedInteger):
    """One of Python's, as a list has it that was an array."""

    __slots__ = ()
    _plain: Any = int

    def __repr__(self) -> str:
        return repr(self._shown())


class TracedTruth(TracedBool):
    """Likewise a bool."""

    __slots__ = ()
    _plain: Any = bool

    def __repr__(self) -> str:
        return repr(self._shown())


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
            slots, primals = _same_layout(np.asarray(slots), primals)
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
        slots = self._viewed(arrange, values)
        return self._part(slots, values)

    def _viewed(self, arrange: Callable[[Any], Any], values: Any) -> Any:
        """Return the slots of what a function made of the values; regular ones of a view."""
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
            _note_objects(self.recorder, sys._getframe(1))
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
        if type(key) is not slice and not _is_basic(key):
            if type(key) is str:
                raise _no_label(key)
            if has_places(key):
                return self._get_at(self, key)
            key = plain_key(key)
        return self._arranged(itemgetter(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is not slice and not _is_basic(key):
            if type(key) is str:
                raise _no_label(key)
            if has_places(key) and self._set_at(self, key, value):
                return
            if _is_mask_of(key, self) and np.ndim(value) == 0:
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
            _note_arguments(recorder, self._slots)
        self._primals[key] = values  # first: it may be read-only
        self._slots[key] = slots

    # array methods that only move elements

    def copy(self, order: Any = "C") -> "TracedArray":
        """A copy: assigning into it does not change this one."""
        slots, primals = self.slots.copy(order), self.primals.copy(order)
        return TracedArray(self.recorder, slots, primals)

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        """As `ndarray.reshape`."""
        return self._arranged(lambda elements: elements.reshape(*shape, order=order))

    def ravel(self, order: Any = "C") -> "TracedArray":
        """As `ndarray.ravel`."""
        vector: TracedArray = self._arranged(lambda elements: elements.ravel(order))
        return vector

    def flatten(self, order: Any = "C") -> "TracedArray":
        """As `ndarray.flatten`."""
        return TracedArray(self.recorder, self.slots.flatten(order), self.primals.flatten(order))

    def transpose(self, *axes: Any) -> "TracedArray":
        """As `ndarray.transpose`."""
        transposed: TracedArray = self._arranged(lambda elements: elements.transpose(*axes))
        return transposed

    def item(self, *index: Any) -> Any:
        """The one element, still traced."""
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
        """Nested lists of traced scalars."""
        if not self.ndim:
            return self.item()
        return [row.tolist() for row in self]

    def fill(self, value: Any) -> None:
        """Assign one value to every element."""
        self[...] = value

    def view(self, dtype: Any = None, type: Any = None) -> "TracedArray":  # noqa: A002
        """Another array of the same memory, of the same dtype."""
        if dtype not in (None, np.ndarray) and np.dtype(dtype) != self.dtype:
            raise UnsupportedError(
                f"view({dtype!r}) of a traced array at {user_location()}: its elements are "
                f"{self.dtype}, and their bytes those of one point. Leave the dtype out, or write "
                "x.astype(float) for a copy",
                code="unsupported-option",
            )
        return TracedArray(self.recorder, self.slots.view(), self.primals.view())

    def setflags(self, write: Any = None, align: Any = None, uic: Any = None) -> None:
        """As of an ndarray: whether it may be written to."""
        if type(self._read) is RegularSlots:
            self._slots = self._slots.view()  # others keep writing to the memory that it is of
        for elements in (self._primals, self._slots):
            elements.setflags(write=write)


_TRANSPOSED = attrgetter("T")


def _same_layout(slots: Slots, values: _Values) -> tuple[Slots, _Values]:
    """Slots and values with equal layouts in memory, so that views of both are views alike."""
    # (Those of float64 with equal strides do not come here.)
    if all(
        a * values.itemsize == b * slots.itemsize or n == 1
        for a, b, n in zip(slots.strides, values.strides, slots.shape, strict=True)
    ):
        return slots, values
    return laid_out(slots, values), laid_out(values, values)


def laid_out(elements: _Values, like: _Values) -> _Values:
    """A copy that lies in memory as another array does, gaps included: it is viewed alike."""
    if like.flags.forc or 0 in like.strides:
        copy = np.empty_like(like, elements.dtype)
    else:
        low, high = np.lib.array_utils.byte_bounds(like)
        offset = like.__array_interface__["data"][0] - low
        # Steps in elements: of a field of a structure several times what they are.
        unit = math.gcd(like.itemsize, *like.strides)
        memory = np.empty((high - low) // unit, elements.dtype)
        size = elements.itemsize
        strides = [stride // unit * size for stride in like.strides]
        copy = np.ndarray(like.shape, elements.dtype, memory, offset // unit * size, strides)
    copy[...] = elements
    return copy


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
        """As of a flatiter: a vector."""
        return self._array.flatten()

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))


# memory that others share


def settle(recorder: Recorder) -> None:
    """Take over what was written to arrays that NumPy made of traced ones, see `sharing.py`."""
    mirrors, recorder.mirrors = recorder.mirrors, []
    for mirror in mirrors:
        mirror.settle()
    # Those that nobody has any more cannot be written to again.
    recorder.mirrors += [mirror for mirror in mirrors if mirror.is_alive()]


def write(array: TracedArray, change: Callable[..., None], *lifted: tuple[Any, Any]) -> None:
    """Change an array in place: ``change(elements, *operands)`` for values, and for slots.

    All assigning comes here, because of those who share the memory and are no views of it.
    """
    recorder = array.recorder
    slots = array.slots
    if recorder.sharers:
        recorder.sharers = [each for each in recorder.sharers if each.is_alive()]
        for each in recorder.sharers:
            each.expect(slots)
    if recorder.arguments and not recorder.writes:
        _note_arguments(recorder, slots)
    change(array._primals, *(values for _, values in lifted))
    change(slots, *(slots for slots, _ in lifted))
    for each in recorder.sharers:
        each.update()


def owner(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array whose memory a view is of."""
    base: Any = array
    while (base := getattr(base, "base", None)) is not None:
        if isinstance(base, np.ndarray):  # (what `as_strided` puts between them is none)
            array = base
    return array


def _note_arguments(recorder: Recorder, slots: Slots) -> None:
    """Note whether what is assigned to is an argument's memory."""
    base = slots.base  # as a rule the owner, but this is quicker
    root = slots if base is None else base if type(base) is np.ndarray else owner(slots)
    recorder.writes = id(root) in recorder.arguments


# calling NumPy's functions


def call_function(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What one of NumPy's functions does given traced values: what was registered for it."""
    implementation = NUMPY_FUNCTIONS.get(function)
    if has_complex(*arguments) or (options and has_complex(*options.values())):
        return call_complex(function, implementation, arguments, options)
    if implementation is None:
        name = f"{function.__module__}.{function.__name__}"
        raise UnsupportedError(
            f"{name} was called with a traced value, and numtape has no rule for it. Write it "
            "with operations that are recorded (arithmetic, ufuncs, indexing, sums, products), "
            f"or apply it to numtape.stop_gradient(x) values outside the recorded function; "
            f"at {user_location()}"
        )
    out = options.get("out")
    if out is None:
        return implementation(*arguments, **options)
    del options["out"]
    if not has_traced(*arguments, *options.values()):
        return assign_out(function.__name__, out, function(*arguments, **options))
    return assign_out(function.__name__, out, implementation(*arguments, **options))


def call_complex(
    function: Any, implementation: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """What a function does where an argument is complex, and `implementation` is for real ones."""
    rule = COMPLEX_FUNCTIONS.get(function) or COMPLEX_FUNCTIONS.get(implementation)
    if rule is None:
        module = getattr(function, "__module__", "numpy")  # ufuncs have none
        raise UnsupportedError(
            f"{module}.{function.__name__} was called with complex numbers beside "
            f"traced values at {user_location()}, and numtape has no rule for that. Write it with "
            "the real and the imaginary part, z.real and z.imag, or with operations that take "
            "complex numbers: arithmetic, exp, log, powers, sums, products, np.fft",
            code="complex-value",
        )
    out = options.get("out")
    if out is None:
        return rule(*arguments, **options)
    del options["out"]
    return assign_out(function.__name__, out, rule(*arguments, **options))


def assign_out(name: str, out: Any, result: Any) -> Any:
    """Put a result into the array given as ``out=``, which must be able to hold traced values."""
    if is_object_array(out):
        out[...] = np.asarray(result)
        return out
    out = writable(out, result)
    if not isinstance(out, TracedArray | TracedPair):
        plain = result if not isinstance(result, Traced) else None
        if isinstance(result, Traced) and result.dtype.kind in "ib":
            plain = guarded(result)
        if isinstance(out, np.ndarray) and plain is not None and not has_traced(plain):
            np.copyto(out, plain)
            return out
        raise TraceError(
            f"{name}(..., out=y) at {user_location()}: y is a plain array, which cannot "
            "hold traced values. Make it with np.zeros_like(x), or with like=x: "
            "np.array(y, like=x)",
            code="plain-array",
        )
    extents = zip(reversed(np.shape(result)), reversed(out.shape), strict=False)
    if np.ndim(result) > out.ndim or any(a not in (1, b) for a, b in extents):
        raise InputError(
            f"{name}(..., out=y) at {user_location()}: the result has shape {np.shape(result)} "
            f"and y has {out.shape}; give y the shape of the result"
        )
    check_casting(name, result, out)
    out[...] = result
    return out


def writable(array: Any, *values: Any) -> Any:
    """An array that is to be written to: a fresh one is traced from now on if the values are."""
    become_traced = getattr(array, "become_traced", None)  # see `fresh.py`
    if become_traced is not None and has_traced(*values):
        become_traced(*values)
    return array


def check_casting(name: str, result: Any, out: Any, casting: Any = "same_kind") -> None:
    """Raise where NumPy would not put a result of its type into an array of another."""
    kind = np.dtype(result.dtype if isinstance(result, Traced) else np.asarray(result).dtype)
    if kind.kind != "O" and not np.can_cast(kind, out.dtype, casting):
        raise UnsupportedError(
            f"{name} at {user_location()} gives {kind}, which NumPy does not put into an array "
            f"of {out.dtype}. Make that y.astype({kind}) before, or write y = y + ... for y += ...",
            code="unsupported-dtype",
        )


# lifting operands to slots


def wrap(recorder: Recorder, slots: Slots, values: Any) -> Any:
    """What was computed: a traced array, or a traced scalar where the shape is ().

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
    """Values that are not bool, int64 or float64: integers, each guarded; else an error."""
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
    """What NumPy made by moving elements: an array, of any rank, where it made an array."""
    if values.dtype.char not in _CARRIED:
        return _not_carried(recorder, slots, values)
    if isinstance(slots, _ARRAYS):
        return TracedArray(recorder, slots, np.asarray(values))
    return scalar_of(recorder, int(slots), values.item())


_ARRAYS = (np.ndarray, RegularSlots)


def scalar_of(recorder: Recorder, slot: int, value: Any) -> TracedScalar:
    """A traced scalar of the class that its value asks for."""
    return _SCALARS[type(value)](recorder, slot, value)


_SCALARS: dict[type, type[TracedScalar]] = {
    float: TracedScalar,
    bool: TracedBool,
    int: TracedInteger,
}


def as_computed(result: Any) -> Any:
    """A result as ufuncs give it: a scalar where its rank is 0."""
    is_array = isinstance(result, np.ndarray)  # or claims to be one
    return result[()] if is_array and not result.ndim else result


def lift(recorder: Recorder, operand: Any) -> tuple[Slots, Any]:
    """The slots and values of any operand: traced, a number, an array, nested lists.

    Views of a traced array's slots are views of the array. See `read` for errors.
    """
    found: tuple[Any, Any] = read(recorder, operand)
    slots, values = found
    if type(slots) is RegularSlots:
        is_own = isinstance(operand, TracedArray) and operand.recorder is recorder
        slots = operand._slots if is_own else np.asarray(slots)
    return slots, values


def read(recorder: Recorder, operand: Any) -> tuple[Slots, Any]:
    """As `lift`, for who only reads: slots may not be written out.

    Raises
    ------
    TraceError
        Where the operand belongs to another recording, or is no number.
    """
    if isinstance(operand, Traced):
        if operand.recorder is not recorder:
            return _captured(recorder, operand)
        # (Asked by `issubclass`, because classes of traced values claim to be others.)
        kind = type(operand)
        if issubclass(kind, TracedScalar):
            return np.array(operand.slot), operand.primal
        if not issubclass(kind, TracedArray):
            raise _complex_operand("a complex value")
        if recorder.mirrors:
            settle(recorder)
        slots = operand._read if operand._whole is None else operand._now()
        return slots, operand._primals
    array = np.asarray(operand)
    if array.dtype is _DOUBLE:
        if recorder.writes:
            _not_an_argument(recorder, array)
        return recorder.constant_array(array), array.copy()
    if array.dtype == object:
        return _lift_objects(recorder, array)
    if array.dtype.kind == "c":
        raise _complex_operand(f"a number or an array of {array.dtype}")
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
    """Slots for a value of a recording around this one, as further inputs of this one."""
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


def is_object_array(operand: Any) -> bool:
    """Whether an operand is an array as NumPy makes of a list of traced scalars."""
    return isinstance(operand, np.ndarray) and operand.dtype == object


def innermost(*operands: Any) -> Recorder:
    """The recorder to write an operation to: of several nested ones the innermost.

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
        elif type(operand) in _PLAIN:
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


def _lift_objects(recorder: Recorder, array: npt.NDArray[Any]) -> tuple[Slots, _Values]:
    """An object array of traced scalars and numbers, as NumPy makes them of lists."""
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


def has_traced(*operands: Any) -> bool:
    """Whether any of the operands is a traced value, or a list or array that holds one."""
    for operand in operands:
        if isinstance(operand, Traced):
            return True
    return _recorder_of(operands) is not None


def has_complex(*operands: Any) -> bool:
    """Whether any of the operands is complex, traced or plain, or a list that holds one."""
    for operand in operands:
        kind = type(operand)
        if kind is TracedArray or kind in _REAL:
            continue
        if kind is list or kind is tuple:
            if has_complex(*operand):
                return True
        elif isinstance(operand, np.ndarray):
            if operand.dtype.kind == "c" or (
                operand.dtype.kind == "O" and has_complex(*operand.flat)
            ):
                return True
        elif isinstance(operand, TracedPair | complex | np.complexfloating):
            return True
    return False


# The types of most arguments, none of which is complex; of these, those that are not traced.
_PLAIN = frozenset({float, int, bool, str, type(None), np.float64, type(np._NoValue)})
_REAL = _PLAIN | {TracedScalar, TracedFloat, TracedBool, TracedInteger}
_SEQUENCES = (list, tuple)


def is_traced(operand: Any) -> bool:
    """Whether an operand is a traced value, or an object array that holds one."""
    return isinstance(operand, (Traced, np.ndarray)) and has_traced(operand)


def as_traced(recorder: Recorder, operand: Any) -> Any:
    """Any operand as a traced value."""
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
    """A value as floats: bools, if it has any, count as 0.0 and 1.0."""
    if not isinstance(operand, Traced):
        return np.asarray(operand, np.float64)
    return operand if operand.dtype == np.float64 else _converted(operand, np.float64)


def as_integers(operand: Any) -> Any:
    """A traced value of whole numbers or bools as integers."""
    if operand.dtype == bool:
        operand.recorder.note_range(operand.slots, 0.0, 1.0)
    return operand if operand.dtype == np.int64 else _converted(operand, np.int64)


def _converted(operand: Any, dtype: Any) -> Any:
    if isinstance(operand, TracedScalar):
        return scalar_of(operand.recorder, operand.slot, operand.primals.astype(dtype).item())
    return TracedArray(operand.recorder, operand.slots.copy("K"), operand.primals.astype(dtype))


def guarded(array: Any) -> _Values:
    """The values of a traced array or scalar, each of them guarded."""
    location = user_location()
    guard = array.recorder.guard
    pairs = zip(array.slots.ravel().tolist(), array.primals.ravel().tolist(), strict=True)
    for slot, value in pairs:
        guard(slot, float(value), location)
    values: _Values = array.primals
    return values


def shown(array: Any) -> _Values:
    """The values of a traced array for a text: integers and bools are guarded, floats are not."""
    return array.primals if array.dtype == np.float64 else guarded(array)


_PYTHONS = {float: TracedFloat, int: TracedInt, bool: TracedTruth}


def as_python(scalar: TracedScalar) -> TracedScalar:
    """A traced scalar as a number of Python's, which differs in what it raises and shows."""
    return _PYTHONS[type(scalar.primal)](scalar.recorder, scalar.slot, scalar.primal)


def _is_mask_of(key: Any, array: TracedArray) -> bool:
    """Whether an index is a traced mask of an array, or of its leading axes."""
    is_mask = isinstance(key, TracedArray) and key.dtype == bool
    return is_mask and key.shape == array.shape[: key.ndim]


def _is_basic(key: Any) -> bool:
    """Return whether an index is of plain integers, slices and the like."""
    if type(key) is not tuple:
        return type(key) is int
    return _BASIC.issuperset(map(type, key))


_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})


def has_places(key: Any) -> bool:
    """Whether an index has traced integers in it: places that are found during the run."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, Traced) and part.dtype.kind == "i" for part in parts)


def _check_whole(values: Any) -> None:
    """Raise unless what is used as an index, all of it, is a whole number."""
    odd = np.ravel(values)[np.ravel(np.trunc(values) != values)]
    if odd.size:
        raise TraceError(
            f"a traced value of {odd[0]} was used as an index at {user_location()}: an index must "
            "be an integer. Write int(x), which is guarded, or x.astype(int)",
            code="not-an-index",
        )


def _no_label(key: str) -> IndexError:
    return IndexError(
        f"a traced array has no label {key!r}: only integers, slices, '...', None and arrays "
        f"of integers or bools are its indices. {_FOR_LABELS}"
    )


def plain_key(key: Any) -> Any:
    """An index without traced values: those are guarded."""
    if isinstance(key, tuple):
        return tuple(plain_key(part) for part in key)
    if isinstance(key, TracedArray):
        values = guarded(key)
        _check_whole(values)
        return values.astype(np.int64) if values.dtype.kind == "f" else values
    if isinstance(key, TracedScalar):
        return bool(key) if isinstance(key.primal, bool) else operator.index(key)
    if isinstance(key, list):
        return [plain_key(part) for part in key]
    return key
