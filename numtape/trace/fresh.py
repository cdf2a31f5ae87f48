"""Arrays that a function makes while it is recorded: plain ones, until something traced is written.

``y = np.zeros(n)`` holds numbers, and costs what NumPy's array costs, as long as numbers are
written to it. At the first traced value it becomes a traced array, and so does each view of
it: the class of these objects changes, so that whoever holds one sees the same array. Its
memory is given up then, filled with nan, and to C code its elements are opaque bytes: nothing
that still reads there gets a number that was right before.

Which arrays become fresh ones is decided by `resolve.py`. An array that was there before the
recording began is never one that changes: no later run would fill it.
"""

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TraceError
from numtape.trace.complexes.pair import TracedComplex
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.running import RUNNING, active_recorder
from numtape.trace.traced import Traced, TracedArray, call_function, has_traced

__all__ = ["Fresh", "fresh", "plain", "viewed"]

_FLOAT, _COMPLEX = np.dtype(np.float64), np.dtype(np.complex128)
_OPAQUE = {_FLOAT: np.dtype("V8"), _COMPLEX: np.dtype("V16")}
_set_class = object.__dict__["__class__"].__set__


class Fresh(np.ndarray[Any, Any]):
    """A plain array of floats, or of complex numbers, that becomes a traced one.

    It does when a traced value is written to it.
    """

    home: Any = None  # the token of the recording that made it; None of what was there before
    is_alone = False  # whether nobody else could have had its memory when it was made
    _views: "list[weakref.ref[Fresh]]"  # of an array that is no view of a fresh one
    _most: int

    def __array_finalize__(self, obj: Any) -> None:
        base, root = self.base, _root_of(self)
        if root is not self:
            _note_view(root, self)
        elif base is None or not (base is obj or np.may_share_memory(base, obj)):
            recorder = active_recorder()  # it was computed of another fresh one
            self.home = recorder and recorder.home

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return np.ndarray

    def __setitem__(self, key: Any, value: Any) -> None:
        if _is_traced(value) or _is_traced(key):
            become_traced(self, key, value)[key] = value
        else:
            np.ndarray.__setitem__(self, key, value)

    def fill(self, value: Any) -> None:
        """Fill as an ndarray does."""
        self[...] = value

    def put(self, indices: Any, values: Any, mode: Any = "raise") -> None:
        """Put values at indices, as an ndarray does."""
        if _is_traced(values) or _is_traced(indices):
            call_function(np.put, (self, indices, values, mode), {})
        else:
            np.ndarray.put(self, indices, values, mode)

    @property
    def flat(self) -> Any:
        """As of an ndarray."""
        return _Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        self.flat[:] = value

    @property
    def real(self) -> Any:
        """As of an ndarray: a view."""
        return np.ndarray.real.__get__(self)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Any:
        """As of an ndarray: a view."""
        return np.ndarray.imag.__get__(self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()

    def become_traced(self, *values: Any) -> Any:
        """See `become_traced`."""
        return become_traced(self, *values)


class _FreshTraced(TracedArray, Fresh):  # type: ignore[misc, override]
    """What a fresh array becomes: a traced array that still is the object that it was."""

    become_traced = None  # type: ignore[assignment]
    home = None

    def __array_finalize__(self, obj: Any) -> None:
        pass

    def __reduce__(self) -> Any:
        return TracedArray.__reduce__(self)


class _FreshTracedComplex(TracedComplex, Fresh):  # type: ignore[misc, override]
    """The same of complex numbers."""

    become_traced = None  # type: ignore[assignment]
    home = None

    def __array_finalize__(self, obj: Any) -> None:
        pass

    def __reduce__(self) -> Any:
        return TracedComplex.__reduce__(self)


class _Flat:
    """What ``y.flat`` is of a fresh array."""

    def __init__(self, array: Fresh) -> None:
        self._array = array

    def __getattr__(self, name: str) -> Any:
        return getattr(np.asarray(self._array).flat, name)

    def __len__(self) -> int:
        return self._array.size

    def __iter__(self) -> Any:
        return (self[k] for k in range(self._array.size))

    def __getitem__(self, key: Any) -> Any:
        array = self._array
        return array.flat[key] if isinstance(array, Traced) else np.asarray(array).flat[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        array = self._array
        if isinstance(array, Traced) or _is_traced(value) or _is_traced(key):
            become_traced(array, key, value).flat[key] = value
        else:
            np.asarray(array).flat[key] = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(np.asarray(self._array).flat, dtype)


def fresh(array: npt.NDArray[Any]) -> Any:
    """Return the array as one that may become traced, if it can: it was made just now."""
    if array.dtype not in _OPAQUE:
        return array
    own: Fresh = array.view(Fresh)
    stack = RUNNING.stack
    own.home = stack[-1].home if stack else None
    own.is_alone = True
    return own


def viewed(array: npt.NDArray[Any]) -> Any:
    """Return the same of an array that was there before: results of it may become traced."""
    return array.view(Fresh) if array.dtype in _OPAQUE else array


def plain(value: Any) -> Any:
    """Return what outlives the recording: a fresh array as an ordinary one, all else as it is."""
    return np.asarray(value) if type(value) is Fresh else value


def _is_traced(value: Any) -> bool:
    kind = type(value)
    if kind is float or kind is int or kind is np.float64 or kind is slice or kind is complex:
        return False
    if kind is tuple:
        return any(map(_is_traced, value))
    return has_traced(value)


def _root_of(array: Fresh) -> Fresh:
    """Return the fresh array whose memory a view is of: the outermost that is known."""
    root, base = array, array.base
    while isinstance(base, np.ndarray):
        if type(base) is Fresh:
            root = base
        base = base.base
    return root


def _note_view(root: Fresh, view: Fresh) -> None:
    views = root.__dict__.get("_views")
    if views is None:
        views, root._most = [], 32
        root._views = views
    elif len(views) > root._most:
        views[:] = [each for each in views if each() is not None]
        root._most = 32 + 2 * len(views)
    views.append(weakref.ref(view))


def become_traced(array: Any, *values: Any) -> Any:
    """Make a fresh array, and all that shares its memory, traced; return the array.

    Parameters
    ----------
    array : Fresh
    *values
        What is to be written: where, and what.
    """
    if isinstance(array, Traced):
        return array
    root = _root_of(array)
    recorder = _recorder_of(root)
    views = (each() for each in root.__dict__.get("_views", ()))
    members = [root, *(each for each in views if each is not None)]
    kinds = {_FLOAT} | ({_COMPLEX} if root.dtype == _COMPLEX else set())
    if recorder is None or not {each.dtype for each in members} <= kinds:
        raise TraceError(
            f"a traced value was written at {user_location()} to an array that the recorded "
            "function has not made: it would be changed by this call alone, and by none that "
            "replays what was recorded. Write to an array that the function makes, as np.zeros(n) "
            "or y.copy(), and return it",
            code="plain-array",
        )
    numbers = np.asarray(root)
    low, _ = np.lib.array_utils.byte_bounds(numbers)
    parts = [_Part(recorder, root, low, part) for part in _parts_of(numbers)]
    for each in members:
        is_complex = each.dtype == _COMPLEX
        if is_complex:
            each._real, each._imag = (part.view(each) for part in parts)
        else:
            part = parts[_address(each) // 8 % len(parts) - low // 8 % len(parts)]
            view = part.view(each)
            each._primals, each._read = view._primals, view._slots
        each.recorder = recorder
    if root.is_alone:
        numbers[...] = np.nan
    for each in members:
        opaque = _OPAQUE[each.dtype]
        _set_class(each, _FreshTracedComplex if each.dtype == _COMPLEX else _FreshTraced)
        np.ndarray.dtype.__set__(each, opaque)  # type: ignore[attr-defined]
    return array


def _parts_of(numbers: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [numbers.real, numbers.imag] if numbers.dtype == _COMPLEX else [numbers]


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class _Part:
    """The numbers of a fresh array, or their real or imaginary parts, in memory of their own.

    Parameters
    ----------
    recorder : Recorder
    root : Fresh
    low : int
        Where the memory begins.
    numbers : array
        Those of the root.
    """

    def __init__(
        self, recorder: Recorder, root: Fresh, low: int, numbers: npt.NDArray[Any]
    ) -> None:
        self._recorder, self._low = recorder, low
        self._scale = root.itemsize // 8
        _, high = np.lib.array_utils.byte_bounds(np.asarray(root))
        count = (high - low) // root.itemsize
        self._primals, self._slots = np.zeros(count), np.zeros(count, np.int64)
        self._place(root, self._primals)[...] = numbers
        self._place(root, self._slots)[...] = recorder.constant_array(numbers)

    def view(self, member: Fresh) -> TracedArray:
        """Return what stands for a view of the root."""
        primals, slots = (self._place(member, each) for each in (self._primals, self._slots))
        primals.flags.writeable = slots.flags.writeable = member.flags.writeable
        return TracedArray(self._recorder, slots, primals)

    def _place(self, member: Fresh, memory: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scale = self._scale
        offset = (_address(member) - self._low) // (8 * scale) * 8 if member.size else 0
        strides = [stride // scale for stride in member.strides]
        return np.ndarray(member.shape, memory.dtype, memory, offset, strides)


def _recorder_of(root: Fresh) -> Recorder | None:
    """Return the recorder of the recording that made an array, if it is still going on."""
    stack: list[Recorder] = getattr(RUNNING, "stack", [])
    return next((each for each in reversed(stack) if each.home is root.home), None)
