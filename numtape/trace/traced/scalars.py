"""Traced floats, bools and integers, NumPy's and Python's; each claims to be of its value's class.

A float is guarded only where a branch depends on it. Bools and integers are where Python or
NumPy need a plain one: as conditions, indices, text.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TraceError
from numtape.trace.escapes import escaped, is_formatting
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced.base import Traced
from numtape.trace.views import Slots

__all__ = [
    "TracedBool",
    "TracedFloat",
    "TracedInt",
    "TracedInteger",
    "TracedScalar",
    "TracedTruth",
    "as_python",
    "check_whole",
    "scalar_of",
    "settled",
]

_Values = npt.NDArray[Any]


class _Float64:
    """The dtype of a traced float: float64, but that its `type` keeps a traced value as it is.

    NumPy's `mean` and `var` convert by it what they computed of an object array.
    """

    dtype = np.dtype(np.float64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dtype, name)

    def type(self, value: Any) -> Any:
        """Return the value, traced or not, as a float."""
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
        """Return the value, guarded if it is not a float."""
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
        check_whole(self.primal)
        return int(self.primal)

    def _rounded(self, name: str) -> int:
        """Return the integer, guarded: another point with another integer takes another path.

        So does one that is nan or infinite, for which Python raises.
        """
        rounded = self if isinstance(self.primal, int) else getattr(np, name)(self)
        self.recorder.guard(rounded.slot, float(rounded.primal))
        return int(rounded.primal)

    # what NumPy's scalars can do

    reshape: Callable[..., Any]  # by `arrays.py`

    def own_slots(self) -> tuple[Slots, Any]:
        """Return the slot, of shape (), and the value."""
        return np.array(self.slot), self.primal

    def item(self) -> "TracedScalar":
        """Return it as Python's number."""
        return as_python(self)

    tolist = item

    def copy(self) -> "TracedScalar":
        """Return itself."""
        return self

    def ravel(self, order: Any = "C") -> Any:
        """Return an array of one element."""
        return self.reshape(1)

    flatten = ravel

    def transpose(self, *axes: Any) -> "TracedScalar":
        """Return itself."""
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


def scalar_of(recorder: Recorder, slot: int, value: Any) -> TracedScalar:
    """Return a traced scalar of the class that its value asks for."""
    return _SCALARS[type(value)](recorder, slot, value)


_SCALARS: dict[type, type[TracedScalar]] = {
    float: TracedScalar,
    bool: TracedBool,
    int: TracedInteger,
}


def as_python(scalar: TracedScalar) -> TracedScalar:
    """Return a traced scalar as a number of Python's, which differs in what it raises and shows."""
    return _PYTHONS[type(scalar.primal)](scalar.recorder, scalar.slot, scalar.primal)


_PYTHONS = {float: TracedFloat, int: TracedInt, bool: TracedTruth}


def settled(value: Any) -> Any:
    """Return a value with traced bools as plain ones, guarded: what is looked at by identity."""
    if isinstance(value, TracedBool):
        return bool(value) if isinstance(value, TracedTruth) else np.bool_(bool(value))
    if type(value) in (tuple, list) and any(isinstance(each, TracedBool) for each in value):
        return type(value)(map(settled, value))
    return value


def check_whole(values: Any) -> None:
    """Raise unless what is used as an index, all of it, is a whole number."""
    odd = np.ravel(values)[np.ravel(np.trunc(values) != values)]
    if odd.size:
        raise TraceError(
            f"a traced value of {odd[0]} was used as an index at {user_location()}: an index must "
            "be an integer. Write int(x), which is guarded, or x.astype(int)",
            code="not-an-index",
        )
