"""Methods and attributes of traced arrays and scalars that are functions of NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.escapes import refuse
from numtape.trace.integers import plainly, to_integers, typed
from numtape.trace.locations import user_location
from numtape.trace.traced import Traced, TracedArray, TracedScalar, as_floats, call_function

__all__: list[str] = []


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return call_function(function, (self, *arguments), options)

    method.__name__ = name
    method.__doc__ = f"As `numpy.{name}`."
    return method


for _name in (
    *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "cumsum", "cumprod"),
    *("dot", "clip", "round", "trace", "nonzero", "put", "choose"),
    *("squeeze", "swapaxes", "diagonal", "repeat", "take"),
    *("argmax", "argmin", "argsort", "argpartition", "searchsorted"),
):
    setattr(Traced, _name, _method(_name))


def _sort(self: Any, axis: int = -1, kind: Any = None, order: Any = None, **options: Any) -> None:
    """Sort in place."""
    self[...] = np.sort(self, axis, kind, **options)


def _partition(self: Any, kth: Any, axis: int = -1, kind: Any = None, order: Any = None) -> None:
    """Partition in place."""
    self[...] = np.partition(self, kth, axis)


def _compress(self: Any, condition: Any, axis: int | None = None, out: Any = None) -> Any:
    """Compress as `numpy.compress`, which takes the condition first."""
    return np.compress(condition, self, axis, out)


setattr(Traced, "compress", _compress)  # noqa: B010
setattr(Traced, "sort", _sort)  # noqa: B010 (mypy knows of no such attributes)
setattr(Traced, "partition", _partition)  # noqa: B010


def _astype(
    self: Any,
    dtype: Any,
    order: Any = "K",
    casting: Any = "unsafe",
    subok: bool = True,
    copy: bool = True,
) -> Any:
    """Return float64, bools or integers; integers of other types are guarded, and plain."""
    wanted, is_array = np.dtype(dtype), isinstance(self, TracedArray)
    if not np.can_cast(self.dtype, wanted, casting):
        return typed(self).astype(wanted, casting=casting)  # NumPy's error
    if is_array and not copy and self.primals.astype(wanted, order, copy=False) is self.primals:
        return self
    own = self.copy(order) if is_array else self
    result = _as_type(own, wanted)
    if is_array and not self.ndim and isinstance(result, TracedScalar):
        return TracedArray(self.recorder, result.slots, result.primals)  # an array of rank 0
    return result


def _as_type(self: Any, wanted: Any) -> Any:
    if wanted in (self.dtype, np.float64):
        return self if wanted == self.dtype else as_floats(self)
    if wanted.kind == "b":
        return self != 0
    if wanted.kind in "iu":
        integers = to_integers(self)
        # Cut off and guarded as int64, and then what NumPy makes of the values themselves.
        return (
            integers
            if wanted == np.int64
            else plainly(lambda _: typed(self).astype(wanted), integers)
        )
    if wanted == np.complex128:
        return np.array(self, complex, like=self)
    if self.dtype.kind in "ib" and wanted.kind in "fUSO":
        return plainly(lambda values: values.astype(wanted), self)
    error = UnsupportedError(
        f"astype({wanted!r}) of a traced value at {user_location()}: numtape differentiates real "
        "float64 code. Keep the values as floats",
        code="unsupported-option",
    )
    refuse(self.recorder, error)


setattr(Traced, "astype", _astype)  # noqa: B010


def _itself(self: Any) -> Any:
    """Return the value itself, which is real."""
    return self


def _assigned(self: Any, value: Any) -> None:
    self[...] = value


def _zeros(self: Any) -> Any:
    """Return zeros that may not be assigned to, as NumPy's: the value is real."""
    zeros = np.zeros_like(self)
    zeros.setflags(write=False)
    return zeros if self.ndim or isinstance(self, TracedArray) else zeros[()]


def _matrix_transposed(self: Any) -> Any:
    """Exchange the last two axes."""
    return np.matrix_transpose(self)


def _bytes(self: Any) -> int:
    """Return how many bytes all elements take, as of an ndarray."""
    return int(self.size * self.dtype.itemsize)


def _itemsize(self: Any) -> int:
    """Return how many bytes an element takes, as of an ndarray."""
    return int(self.dtype.itemsize)


def _refused(name: str, remedy: str) -> None:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        where = user_location()
        error = UnsupportedError(f"x.{name}(...) of a traced array at {where}: {remedy}")
        refuse(self.recorder, error)

    method.__name__ = name
    method.__doc__ = f"Refused: {remedy}."
    setattr(Traced, name, method)


for _name in ("conj", "conjugate"):
    setattr(Traced, _name, _itself)
setattr(Traced, "real", property(_itself, _assigned))  # noqa: B010 (mypy knows of no such attributes)
setattr(Traced, "imag", property(_zeros))  # noqa: B010
setattr(Traced, "mT", property(_matrix_transposed))  # noqa: B010
setattr(Traced, "nbytes", property(_bytes))  # noqa: B010
setattr(Traced, "itemsize", property(_itemsize))  # noqa: B010
_LOSES = (
    "its bytes are those of one point. Keep the values, or convert outside the recorded function"
)
for _name in ("tobytes", "tofile", "dump", "dumps"):
    _refused(_name, _LOSES)
_refused("byteswap", "it would change the numbers. Convert outside the recorded function")
_refused("resize", "its size is fixed. Write np.resize(x, shape)")
