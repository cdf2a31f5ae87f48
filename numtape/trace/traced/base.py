"""What all traced values have in common, and what complex ones are to rules for real ones.

`Traced` is the class of whatever stands for numbers while a function is recorded. Here is what
it refuses: conversions that would lose the derivative, attributes without a rule, hashing. What it
does is added elsewhere, as its attributes say.
"""

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

import numpy as np

from numtape.errors import AttributeUnsupportedError, TraceError, UnsupportedError
from numtape.trace.escapes import escaped, refuse
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.views import Slots

__all__ = [
    "FOR_LABELS",
    "Traced",
    "TracedPair",
    "complex_operand",
    "mend_attributes",
    "note_objects",
]


# What a series, a frame or a labelled array becomes.
FOR_LABELS = (
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
    __array_ufunc__: Callable[..., Any]  # these two by `calls.py`
    __array_function__: Callable[..., Any]
    own_slots: Callable[..., Any]  # of each class its own

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
                note_objects(self.recorder, sys._getframe(1))
            raise AttributeError(name)  # Python and NumPy ask for these
        is_label = not hasattr(np, name) and not hasattr(np.ndarray, name)
        raise AttributeUnsupportedError(
            f"a traced value has no attribute {name!r} (at {user_location()}): numtape has no rule "
            f"for it. Write np.{name}(x) if that is supported, or operations that are: arithmetic, "
            "ufuncs, indexing, sums, products" + f". {FOR_LABELS}" * is_label
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
    """Return an object of each class of traced values, but for NumPy's arrays among them."""
    found: list[Any] = []
    kinds: list[type] = [Traced]
    while kinds:
        kinds += (kind := kinds.pop()).__subclasses__()
        if not issubclass(kind, np.ndarray):
            found.append(object.__new__(kind))
    return found


def note_objects(recorder: Recorder, frame: FrameType) -> None:
    """Note that NumPy makes an array of objects for a frame, if that is not our own."""
    if not frame.f_globals.get("__name__", "").startswith("numtape."):
        recorder.has_objects = True


class TracedPair(Traced):
    """Base of complex values under trace, which have no slots but those of their parts."""

    __slots__ = ()

    @property
    def slots(self) -> Slots:
        """There are none: this is where rules for real values end."""
        raise complex_operand("a complex value")

    primals = slots

    def own_slots(self) -> Any:
        """Raise: see `slots`."""
        raise complex_operand("a complex value")


def complex_operand(what: str) -> UnsupportedError:
    """Return the error of a complex number where real ones are wanted."""
    return UnsupportedError(
        f"{what} met what is of real numbers at {user_location()}: the result of the function, an "
        "array of floats that is assigned to, or an operation without a rule for complex ones. "
        "Write z.real and z.imag, or np.stack([z.real, z.imag]), for two real values, and "
        "np.zeros_like(x, dtype=complex) for an array that is to hold complex ones",
        code="complex-value",
    )
