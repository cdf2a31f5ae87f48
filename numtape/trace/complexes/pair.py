"""The class of complex traced values, and what takes operands apart and puts results together.

The parts of an array are traced arrays of one shape, those of a scalar traced scalars.
Indexing and reshaping give views of both parts, so views are views as in NumPy; what
computes gives parts of their own.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from numtape.errors import (
    AttributeUnsupportedError,
    InputError,
    TraceError,
    UnsupportedError,
)
from numtape.trace.escapes import refuse
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedPair,
    TracedScalar,
    as_computed,
    as_floats,
    as_traced,
    has_complex,
    has_traced,
    innermost,
)

__all__ = ["TracedComplex", "as_complex", "pair", "part_of", "parts"]


class TracedComplex(TracedPair):
    """A complex number or array under trace.

    Parameters
    ----------
    recorder : Recorder
    real, imag : traced arrays or scalars
        Of equal shapes, of that recorder, and nobody else's: assigning changes them.
    """

    # No `__slots__`, as of traced arrays.

    def __init__(self, recorder: Recorder, real: Any, imag: Any) -> None:
        self.recorder = recorder
        self._real = real
        self._imag = imag

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What the plain value is an instance of."""
        return np.ndarray if self.is_array() else np.complex128

    @property
    def real(self) -> Any:
        """The real part, of an array a view."""
        return self._real

    @real.setter
    def real(self, value: Any) -> None:
        self._real[...] = value

    @property
    def imag(self) -> Any:
        """The imaginary part, of an array a view."""
        return self._imag

    @imag.setter
    def imag(self, value: Any) -> None:
        self._imag[...] = value

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an ndarray."""
        shape: tuple[int, ...] = self._real.shape
        return shape

    @property
    def ndim(self) -> int:
        """As of an ndarray."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """As of an ndarray."""
        return int(self._real.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """complex128."""
        return np.dtype(np.complex128)

    @property
    def flags(self) -> Any:
        """As of an ndarray."""
        return self._real.flags

    @property
    def strides(self) -> tuple[int, ...]:
        """As of an ndarray."""
        return tuple(2 * stride for stride in self._real.strides)

    @property
    def T(self) -> "TracedComplex":  # noqa: N802 (NumPy's name)
        """The transpose, a view."""
        return self._mapped(lambda part: part.T)

    @property
    def flat(self) -> "_Flat":
        """As of an ndarray."""
        return _Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        self.flat[:] = value

    def is_array(self) -> bool:
        """Return whether it is an array, perhaps of rank 0, and no scalar."""
        return isinstance(self._real, TracedArray)

    def _mapped(self, function: Callable[[Any], Any]) -> "TracedComplex":
        """Return what a function that only moves elements makes of both parts."""
        return TracedComplex(self.recorder, function(self._real), function(self._imag))

    def values(self) -> Any:
        """Return the plain numbers at the recording point."""
        values = np.empty(self.shape, np.complex128)
        for name, part in (("real", self._real), ("imag", self._imag)):
            setattr(values, name, part.primals)  # (a sum of both would lose signs of zeros)
        return values if self.is_array() else values[()]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        try:
            return self._apply_complex_ufunc(ufunc, method, inputs, options)
        except TraceError as error:
            refuse(self.recorder, error)

    # conversions

    def __repr__(self) -> str:
        return f"Traced({self.values()!r})"

    def __str__(self) -> str:
        return str(self.values())

    def __format__(self, specification: str) -> str:
        return format(self.values(), specification)

    def __float__(self) -> float:
        self._refuse("float(...)")

    def __int__(self) -> int:
        self._refuse("int(...)")

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._refuse("np.array(...), np.asarray(...) or a function that has no rule")

    def _refuse(self, what: str) -> NoReturn:
        error = UnsupportedError(
            f"a complex value, {self!r}, at {user_location()} was to be converted by {what}: it "
            "stands for the numbers of every point. Leave that out; write z.real or abs(z) for a "
            "real number, np.stack([z, w]) or np.array([z, w], like=z) for an array of scalars",
            code="complex-value",
        )
        refuse(self.recorder, error)

    def __bool__(self) -> bool:
        return bool(np.not_equal(self, 0))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattr__(name)
        raise AttributeUnsupportedError(
            f"complex traced values have no {name!r} (at {user_location()}). Write np.{name}(z) if "
            "that is supported, or use z.real and z.imag",
            code="complex-value",
        )

    # elements

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any) -> "TracedComplex":
        if not self.is_array() and (key is Ellipsis or key == ()):
            return self
        return self._mapped(lambda part: part[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        real, imag = parts(value)
        self._real[key] = real
        self._imag[key] = imag

    # methods of arrays that only move elements

    def copy(self, order: Any = "C") -> "TracedComplex":
        """Return a copy: assigning into it does not change this one."""
        return self._mapped(lambda part: part.copy(order)) if self.is_array() else self

    def reshape(self, *shape: Any, order: Any = "C") -> "TracedComplex":
        """Return what `ndarray.reshape` does."""
        return self._mapped(lambda part: part.reshape(*shape, order=order))

    def ravel(self, order: Any = "C") -> "TracedComplex":
        """Return what `ndarray.ravel` does."""
        return self._mapped(lambda part: part.ravel(order))

    def flatten(self, order: Any = "C") -> "TracedComplex":
        """Return what `ndarray.flatten` does."""
        return self._mapped(lambda part: part.flatten(order))

    def transpose(self, *axes: Any) -> "TracedComplex":
        """Return what `ndarray.transpose` does."""
        return self._mapped(lambda part: part.transpose(*axes))

    def view(self, dtype: Any = None) -> "TracedComplex":
        """Return another array of the same memory, of the same dtype."""
        if dtype is not None and np.dtype(dtype) != self.dtype:
            raise UnsupportedError(
                f"view({dtype!r}) of complex traced values at {user_location()}: their parts do "
                "not lie side by side. Write np.stack([z.real, z.imag], axis=-1), a copy",
                code="unsupported-option",
            )
        return self._mapped(lambda part: part.view())

    def item(self, *index: Any) -> "TracedComplex":
        """Return the one element, still traced."""
        return self._mapped(lambda part: part.item(*index))

    def tolist(self) -> Any:
        """Return nested lists of complex scalars."""
        return [row.tolist() for row in self] if self.ndim else self.item()

    def fill(self, value: Any) -> None:
        """Assign one value to every element."""
        self[...] = value

    def setflags(self, write: Any = None, align: Any = None, uic: Any = None) -> None:
        """Set whether it may be written to, as of an ndarray."""
        for each in (self._real, self._imag):
            each.setflags(write, align, uic)

    def conjugate(self) -> Any:
        """Return the complex conjugate."""
        return np.conjugate(self)

    conj = conjugate

    def astype(
        self,
        dtype: Any,
        order: Any = "K",
        casting: Any = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> "TracedComplex":
        """Return a copy, as complex128."""
        if np.dtype(dtype) != self.dtype:
            error = UnsupportedError(
                f"astype({dtype!r}) of complex traced values at {user_location()}: NumPy would "
                "discard the imaginary part, or digits. Write z.real",
                code="complex-value",
            )
            refuse(self.recorder, error)
        return self.copy(order) if copy else self


class _Flat:
    """What ``z.flat`` is: the elements in row-major order, to be read and assigned to."""

    def __init__(self, array: TracedComplex) -> None:
        self._array = array

    def __len__(self) -> int:
        return self._array.size

    def __getitem__(self, key: Any) -> TracedComplex:
        return self._array._mapped(lambda part: part.flat[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._array.real.flat[key], self._array.imag.flat[key] = parts(value)

    def copy(self) -> TracedComplex:
        """Return a vector, as a flatiter's `copy` does."""
        return self._array.flatten()

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))


# taking apart, putting together


def parts(operand: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part of any operand, as floats: traced, or plain.

    A plain 0.0 is the imaginary part of what is real.
    """
    if isinstance(operand, TracedComplex):
        return operand.real, operand.imag
    if isinstance(operand, Traced):
        return as_floats(operand), 0.0
    if isinstance(operand, float | int | complex | np.number | np.bool_):
        return float(operand.real), float(operand.imag)
    if has_traced(operand):
        if has_complex(operand):
            joined = as_complex(operand)
            return joined.real, joined.imag
        return as_floats(as_traced(innermost(operand), operand)), 0.0
    array = np.asarray(operand)
    if array.dtype.kind not in "fiubc" or array.dtype.itemsize > (8, 16)[array.dtype.kind == "c"]:
        raise UnsupportedError(
            f"an operand of type {array.dtype} met complex traced values at {user_location()}: "
            "numtape computes in float64, and complex numbers are pairs of those. Convert it with "
            "y.astype(complex)",
            code="unsupported-dtype",
        )
    imag: Any = array.imag.astype(np.float64) if array.dtype.kind == "c" else 0.0
    return array.real.astype(np.float64), imag


def part_of(operand: Any, number: int) -> Any:
    """Return one part of an operand, or of each in a list; what is no number is left as it is."""
    if operand is None or operand is np._NoValue or isinstance(operand, str):
        return operand
    if isinstance(operand, list | tuple):
        return type(operand)(part_of(each, number) for each in operand)
    found = parts(operand)[number]
    return found if np.ndim(found) == np.ndim(operand) else np.zeros(np.shape(operand))


def pair(real: Any, imag: Any, *operands: Any) -> TracedComplex:
    """Return a complex value of its parts, which are broadcast to one shape.

    They become its own: a part that is one of the operands' own is copied.
    """
    if type(real) is type(imag) is TracedScalar and real.recorder is imag.recorder:
        return TracedComplex(real.recorder, real, imag)
    recorder = innermost(real, imag)
    shape = np.broadcast_shapes(*(getattr(part, "shape", ()) for part in (real, imag)))
    own = [
        _own(as_floats(as_traced(recorder, part)), shape, [x for each in operands for x in each])
        for part in (real, imag)
    ]
    if not (isinstance(own[0], TracedArray) and isinstance(own[1], TracedArray)):
        own = [as_computed(part) for part in own]  # of a scalar and an array of rank 0
    return TracedComplex(recorder, *own)


def _own(part: Any, shape: tuple[int, ...], taken: list[Any]) -> Any:
    if part.shape != shape:
        part = np.broadcast_to(part, shape)
    elif not isinstance(part, TracedArray) or not any(part is each for each in taken):
        return part
    return np.copy(part)


def as_complex(operand: Any) -> Any:
    """Return any operand as a complex traced value; lists of scalars and arrays are stacked."""
    if isinstance(operand, TracedComplex):
        return operand
    if isinstance(operand, np.ndarray) and operand.dtype == object:
        operand = operand.tolist()
    if isinstance(operand, list | tuple):
        if not has_traced(operand):
            return pair(*parts(np.asarray(operand)))
        rows = [as_complex(each) for each in operand]
        if len({row.shape for row in rows}) > 1:
            raise InputError(
                f"an array of rows of shapes {[row.shape for row in rows]} at {user_location()}: "
                "they must be of one shape. Make them so"
            )
        return pair(*(np.stack([getattr(z, name) for z in rows]) for name in ("real", "imag")))
    found = parts(operand)
    return pair(*found, found)
