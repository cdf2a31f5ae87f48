"""Traced scalars and arrays: what a function sees in place of floats and arrays.

A traced value holds slots, its value at the recording point, and the recorder
that its operations write to. A traced array's `slots` is an integer array of
the array's own shape: whatever only moves elements about (indexing, slicing,
transposing, assigning) is done by NumPy on `slots` and `values` alike, and
records nothing. Only arithmetic records.

Here are the two classes, how operands of any type are lifted to slots, and how
ufuncs are recorded. NumPy functions that are not ufuncs are in `functions.py`.
"""

import linecache
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numtape.errors import TraceError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS, Row, load_ufunc, row_of_ufunc
from numtape.trace.recorder import Recorder, Slots, user_location

__all__ = [
    "Traced",
    "TracedArray",
    "TracedScalar",
    "apply_row",
    "apply_ufunc",
    "lift",
    "value_of_row",
    "wrap",
]

_Values = npt.NDArray[Any]

# Filled by `functions.py`: what to do for each NumPy function given a traced value.
NUMPY_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}

# The same for functions called as ``np.zeros(n, like=x)``.
LIKE_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}

_ROWS_OF_UFUNCS: dict[Any, Row | None] = {}


def _row_of(ufunc: Any) -> Row | None:
    try:
        return _ROWS_OF_UFUNCS[ufunc]
    except KeyError:
        row = _ROWS_OF_UFUNCS[ufunc] = row_of_ufunc(ufunc)
        return row


def _escaped(what: str) -> NoReturn:
    """Raise for a conversion that would lose the derivative, naming the line and the remedy."""
    location = user_location()
    source = linecache.getline(location.file, location.line).strip()
    assigned = re.search(r"(\w+)\[[^=]*\]\s*[-+*/]?=[^=]", source)
    if assigned:
        y = assigned[1]
        remedy = (
            f"make the array that is assigned into able to hold traced values: "
            f"{y} = np.zeros(n, like=x) or {y} = np.zeros_like(x), where x is an argument; or "
            f"collect the values in a list and write {y} = np.array(values)"
        )
    elif "math." in source:
        remedy = "write np.sin(x) for math.sin(x), and so on: NumPy's functions are recorded"
    elif "float(" in source:
        remedy = "drop the float(...); for a constant copy, write numtape.stop_gradient(x)"
    elif "array(" in source:
        remedy = "drop the conversion, or convert without dtype: np.array([x, y])"
    else:
        remedy = "keep the traced value, or write numtape.stop_gradient(x) if it is to be constant"
    where = f" (in `{source}`, {location})" if source else f" ({location})"
    raise TraceError(
        f"{what} would turn a traced value into a plain number{where}: its derivative would be "
        f"lost. Instead, {remedy}"
    )


class Traced:
    """What traced scalars and traced arrays have in common.

    Attributes
    ----------
    recorder : Recorder
        Where operations on the value are written.
    """

    __slots__ = ("recorder",)

    recorder: Recorder

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return apply_ufunc(self.recorder, ufunc, method, inputs, options)

    def __array_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        like = LIKE_FUNCTIONS.get(function)
        if like is not None:
            return like(self, function, arguments, options)
        implementation = NUMPY_FUNCTIONS.get(function)
        if implementation is None:
            name = f"{function.__module__}.{function.__name__}"
            raise UnsupportedError(
                f"{name} was called with a traced value, and numtape has no rule for it. Write it "
                "with operations that are recorded (arithmetic, ufuncs, indexing, sums, products), "
                f"or apply it to numtape.stop_gradient(x) values outside the recorded function; "
                f"at {user_location()}"
            )
        return implementation(*arguments, **options)

    # conversions that would lose the derivative

    def __float__(self) -> float:
        _escaped("float(...)")

    def __complex__(self) -> complex:
        raise TraceError(
            f"complex(...) of a traced value at {user_location()}: numtape differentiates real "
            "float64 code. Write the real and the imaginary part as two real values"
        )

    def __hash__(self) -> int:
        raise TraceError(
            f"hash(...) of a traced value at {user_location()}: as a key it would be silently "
            "constant. Use an integer or a string as the key of dicts, sets and caches"
        )


class TracedScalar(Traced):
    """A float under trace.

    Parameters
    ----------
    recorder : Recorder
    slot : int
        The slot that holds it.
    value : float or bool
        Its value at the recording point; bool for the outcome of a comparison.
    """

    __slots__ = ("slot", "value")

    def __init__(self, recorder: Recorder, slot: int, value: Any) -> None:
        self.recorder = recorder
        self.slot = slot
        self.value = value

    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    @property
    def slots(self) -> Slots:
        """The slot as an array of shape ()."""
        return np.array(self.slot)

    @property
    def values(self) -> _Values:
        """The value as an array of shape ()."""
        return np.array(self.value)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64, or bool for the outcome of a comparison."""
        return np.dtype(bool if isinstance(self.value, bool) else np.float64)

    @property
    def T(self) -> "TracedScalar":  # noqa: N802 (NumPy's name)
        """Itself."""
        return self

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, specification: str) -> str:
        return format(self.value, specification)

    def __copy__(self) -> "TracedScalar":
        return self

    def __deepcopy__(self, memo: Any) -> "TracedScalar":
        return self

    # guards

    def __bool__(self) -> bool:
        if isinstance(self.value, bool):
            self.recorder.guard(self.slot, float(self.value))
            return self.value
        return bool(self != 0.0)

    def __int__(self) -> int:
        return self._rounded("trunc")

    def __trunc__(self) -> int:
        return self._rounded("trunc")

    def __floor__(self) -> int:
        return self._rounded("floor")

    def __ceil__(self) -> int:
        return self._rounded("ceil")

    def __round__(self, digits: int | None = None) -> int:
        if digits is not None:
            raise UnsupportedError(
                f"round(x, {digits}) of a traced value at {user_location()}: its derivative is 0 "
                "almost everywhere. Round outside the recorded function, or use round(x)"
            )
        return self._rounded("rint")

    def __index__(self) -> int:
        if self.value != int(self.value):
            raise TraceError(
                f"a traced value of {self.value} was used as an index at {user_location()}: an "
                "index must be an integer. Write int(x), which is guarded"
            )
        return self._rounded("trunc")

    def _rounded(self, name: str) -> int:
        """The integer, guarded: another point with another integer takes another path."""
        rounded = self if isinstance(self.value, bool) else apply_row(ROWS[OPCODE[name]], (self,))
        if np.isfinite(rounded.value):
            self.recorder.guard(rounded.slot, float(rounded.value))
        return int(rounded.value)

    # what NumPy's scalars can do

    def item(self) -> "TracedScalar":
        """Itself."""
        return self

    copy = item

    def reshape(self, *shape: Any) -> Any:
        """As an array of that shape."""
        return TracedArray(self.recorder, self.slots, self.values).reshape(*shape)


class TracedArray(Traced):
    """An array under trace, of rank 1 or more.

    Parameters
    ----------
    recorder : Recorder
    slots : int64 array
        The slot of each element.
    values : float64 or bool array
        Its values at the recording point, of the same shape.
    """

    __slots__ = ("slots", "values")

    def __init__(self, recorder: Recorder, slots: Slots, values: _Values) -> None:
        self.recorder = recorder
        self.slots = slots
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an ndarray."""
        return self.slots.shape

    @property
    def ndim(self) -> int:
        """As of an ndarray."""
        return self.slots.ndim

    @property
    def size(self) -> int:
        """As of an ndarray."""
        return self.slots.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64, or bool for the outcome of a comparison."""
        return self.values.dtype

    @property
    def T(self) -> "TracedArray":  # noqa: N802 (NumPy's name)
        """The transpose, a view."""
        return TracedArray(self.recorder, self.slots.T, self.values.T)

    @property
    def flat(self) -> "TracedArray":
        """The elements in row-major order."""
        return self.ravel()

    def __len__(self) -> int:
        return len(self.slots)

    def __repr__(self) -> str:
        return f"Traced({self.values!r})"

    def __str__(self) -> str:
        return str(self.values)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth value of a traced array of shape {self.shape} is ambiguous: write "
                "np.all(...) or np.any(...)"
            )
        return bool(self.ravel()[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if dtype is not None and dtype != object:
            _escaped("a conversion to an array of numbers")
        elements = np.empty(self.shape, object)
        for index in np.ndindex(self.shape):
            elements[index] = self[index]
        return elements

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 1:
            for slot, value in zip(self.slots.tolist(), self.values.tolist(), strict=True):
                yield TracedScalar(self.recorder, slot, value)
        else:
            for slots, values in zip(self.slots, self.values, strict=True):
                yield TracedArray(self.recorder, slots, values)

    def __getitem__(self, key: Any) -> Any:
        if type(key) is int and self.slots.ndim == 1:
            return TracedScalar(self.recorder, self.slots.item(key), self.values.item(key))
        key = _plain_key(key)
        return wrap(self.recorder, self.slots[key], self.values[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = _plain_key(key)
        slots, values = lift(self.recorder, value)
        self.slots[key] = slots
        self.values[key] = values

    def __copy__(self) -> "TracedArray":
        return self.copy()

    def __deepcopy__(self, memo: Any) -> "TracedArray":
        return self.copy()

    # array methods that only move elements

    def copy(self, order: str = "C") -> "TracedArray":
        """A copy: assigning into it does not change this one."""
        return TracedArray(self.recorder, self.slots.copy(), self.values.copy())

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        """As `ndarray.reshape`."""
        slots = self.slots.reshape(*shape, order=order)
        return wrap(self.recorder, slots, self.values.reshape(*shape, order=order))

    def ravel(self, order: Any = "C") -> "TracedArray":
        """As `ndarray.ravel`."""
        return TracedArray(self.recorder, self.slots.ravel(order), self.values.ravel(order))

    def flatten(self, order: Any = "C") -> "TracedArray":
        """As `ndarray.flatten`."""
        return TracedArray(self.recorder, self.slots.flatten(order), self.values.flatten(order))

    def transpose(self, *axes: Any) -> "TracedArray":
        """As `ndarray.transpose`."""
        return TracedArray(self.recorder, self.slots.transpose(*axes), self.values.transpose(*axes))

    def item(self, *index: Any) -> Any:
        """The one element, still traced."""
        if index:
            return self[index[0] if isinstance(index[0], tuple) else index]
        if self.size != 1:
            raise ValueError(
                f"item() of a traced array of shape {self.shape}: it must have one element; "
                "give an index"
            )
        return self.ravel()[0]

    def tolist(self) -> list[Any]:
        """Nested lists of traced scalars."""
        return [row.tolist() if isinstance(row, TracedArray) else row for row in self]

    def astype(self, dtype: Any, **options: Any) -> Any:
        """A copy as float64; as integers or bools, the values, each guarded."""
        kind = np.dtype(dtype).kind
        if kind == "f":
            return as_floats(self.copy())
        if kind == "b" and self.dtype != bool:
            return self != 0.0
        if kind in "iu":
            rounded = apply_row(ROWS[OPCODE["trunc"]], (self,))
            return _guarded(rounded).astype(dtype)
        if kind == "b":
            return self.copy()
        raise UnsupportedError(
            f"astype({dtype!r}) of a traced array: numtape differentiates real float64 code. "
            "Keep the values as floats"
        )

    def fill(self, value: Any) -> None:
        """Assign one value to every element."""
        self[...] = value


# lifting operands to slots


def wrap(recorder: Recorder, slots: Slots, values: Any) -> Any:
    """A traced array, or a traced scalar where the shape is ()."""
    if np.ndim(slots) == 0:
        return TracedScalar(recorder, int(slots), np.asarray(values).item())
    return TracedArray(recorder, slots, np.asarray(values))


def lift(recorder: Recorder, operand: Any) -> tuple[Slots, Any]:
    """The slots and values of any operand: traced, a number, an array, nested lists.

    Raises
    ------
    TraceError
        Where the operand belongs to another recording, or is no number.
    """
    if isinstance(operand, Traced):
        if operand.recorder is not recorder:
            raise TraceError(
                f"a value {operand!r} of one recording was used in another at {user_location()}: "
                "traced values live as long as the call that recorded them. Return the value "
                "instead of storing it, and pass it to the other function as an argument"
            )
        return operand.slots, operand.values if isinstance(operand, TracedArray) else operand.value
    array = np.asarray(operand)
    if array.dtype == object:
        return _lift_objects(recorder, array)
    if array.dtype.kind not in "fiub":
        raise TraceError(
            f"an operand of type {array.dtype} met a traced value at {user_location()}: numtape "
            "differentiates real float64 code. Convert it to floats, or write the real and the "
            "imaginary part as two real values"
        )
    floats = array.astype(np.float64)
    return recorder.constant_array(floats), array if array.dtype.kind == "b" else floats


def _lift_objects(recorder: Recorder, array: npt.NDArray[Any]) -> tuple[Slots, _Values]:
    """An object array of traced scalars and numbers, as NumPy makes them of lists."""
    slots = np.empty(array.shape, np.int64)
    values = np.empty(array.shape)
    for index, element in np.ndenumerate(array):
        if not isinstance(element, Traced | float | int | np.generic):
            raise TraceError(
                f"{element!r} of type {type(element).__name__} stands in an array with traced "
                f"values at {user_location()}: every element must be a number. Leave it out, or "
                "make rows of the same length"
            )
        element_slots, element_value = lift(recorder, element)
        slots[index] = element_slots
        values[index] = element_value
    return slots, values


def as_traced(recorder: Recorder, operand: Any) -> Any:
    """Any operand as a traced value."""
    if isinstance(operand, Traced) and operand.recorder is recorder:
        return operand
    slots, values = lift(recorder, operand)
    return wrap(recorder, slots.copy(), values)


def as_floats(operand: Any) -> Any:
    """A traced value whose bools, if it has any, count as 0.0 and 1.0."""
    if operand.dtype != bool:
        return operand
    return wrap(operand.recorder, operand.slots, np.asarray(operand.values, np.float64))


def _guarded(array: TracedArray) -> _Values:
    """The values of an array, each of them guarded."""
    for slot, value in zip(
        array.slots.ravel().tolist(), array.values.ravel().tolist(), strict=True
    ):
        array.recorder.guard(slot, float(value))
    return array.values


def _plain_key(key: Any) -> Any:
    """An index without traced values: those are guarded."""
    if isinstance(key, tuple):
        return tuple(_plain_key(part) for part in key)
    if isinstance(key, TracedArray):
        return _guarded(key) if key.dtype == bool else key.astype(np.int64)
    if isinstance(key, TracedScalar) and isinstance(key.value, bool):
        return bool(key)
    if isinstance(key, list):
        return [_plain_key(part) for part in key]
    return key


# recording ufuncs


def apply_row(row: Row, operands: Sequence[Any], value: Any = None) -> Any:
    """Record a row over operands of any type, of which one at least is traced.

    The value is NumPy's own, unless it is given.
    """
    recorder = next(operand.recorder for operand in operands if isinstance(operand, Traced))
    lifted = [lift(recorder, operand) for operand in operands]
    values = [values for _, values in lifted]
    if value is None:
        value = value_of_row(row, values)
    slots = [slots for slots, _ in lifted]
    if all(array.ndim == 0 for array in slots):
        first, second = int(slots[0]), int(slots[1]) if len(slots) == 2 else 0
        return TracedScalar(
            recorder, recorder.scalar(OPCODE[row.name], first, second), np.asarray(value).item()
        )
    value = np.asarray(value)
    order = _memory_order(value)
    if order is not None:
        # NumPy lays the result out like its operands, not row by row; so do we, for
        # later sums to walk it in the same order and round the same.
        slots = [np.broadcast_to(array, value.shape).transpose(order) for array in slots]
        result = recorder.elementwise(OPCODE[row.name], slots)
        return TracedArray(recorder, result.transpose(np.argsort(order)), value)
    return TracedArray(recorder, recorder.elementwise(OPCODE[row.name], slots), value)


def _memory_order(values: _Values) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest in memory, or None for row by row."""
    if values.flags.c_contiguous:
        return None
    return tuple(sorted(range(values.ndim), key=lambda axis: -values.strides[axis]))


def value_of_row(row: Row, values: Sequence[Any]) -> Any:
    """A row at values, as NumPy computes it."""
    if row.ufunc is not None:
        return load_ufunc(row.ufunc)(*values)
    return _COMPUTED[row.name](*(np.asarray(value, np.float64) for value in values))


# Rows without a ufunc, in NumPy.
_COMPUTED: dict[str, Callable[..., Any]] = {
    "pow": lambda x, y: np.float64(x) ** np.float64(y),
    "pow_constant": lambda x, y: np.float64(x) ** np.float64(y),
    "norm_root": np.sqrt,
    "sinc": np.sinc,
    "clip_low": lambda x, y: np.where((x >= y) | (x != x), x, y),
    "clip_high": lambda x, y: np.where((x <= y) | (x != x), x, y),
    "keep": lambda x, y: np.where(x != 0.0, y, 0.0),
    "drop": lambda x, y: np.where(x != 0.0, 0.0, y),
    "merge": lambda x, y: np.where((x == 0.0) & ~np.signbit(x), y, x),
    "stop_gradient": np.positive,
}

# What NumPy's arithmetic on two bools means.
_ON_BOOLS = {
    "add": "logical_or",
    "multiply": "logical_and",
    "maximum": "logical_or",
    "minimum": "logical_and",
}
_BITWISE = {
    np.bitwise_and: "logical_and",
    np.bitwise_or: "logical_or",
    np.bitwise_xor: "logical_xor",
    np.invert: "logical_not",
}


def apply_ufunc(
    recorder: Recorder, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """What `__array_ufunc__` does: record a ufunc, or one of its methods."""
    out = options.pop("out", None)
    if options.get("where") is True:
        del options["where"]
    if method != "__call__":
        implementation = NUMPY_FUNCTIONS.get((ufunc, method))  # type: ignore[call-overload]
        result = NotImplemented if implementation is None else implementation(*inputs, **options)
    elif options:
        result = NotImplemented
    else:
        result = _call_ufunc(recorder, ufunc, inputs)
    if result is NotImplemented:
        details = "".join(f", {name}={value!r}" for name, value in options.items())
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise UnsupportedError(
            f"{call}(...{details}) was called with a traced value at {user_location()}, and "
            "numtape has no rule for it. Write it with operations that are recorded (arithmetic, "
            "the ufuncs in the table of operations, sums, products), without these options"
        )
    if out is None:
        return result
    (target,) = out
    if not isinstance(target, TracedArray):
        raise TraceError(
            f"{ufunc.__name__}(..., out=y) at {user_location()}: y is a plain array, which cannot "
            "hold traced values. Make it with np.zeros_like(x) or np.zeros(n, like=x)"
        )
    target[...] = result
    return target


def _call_ufunc(recorder: Recorder, ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    if len(inputs) == 1 and type(inputs[0]) is TracedScalar:  # the hot path of scalar code
        row = _row_of(ufunc)
        (x,) = inputs
        if row is not None and type(x.value) is float:
            slot = recorder.scalar(OPCODE[row.name], x.slot, 0)
            return TracedScalar(recorder, slot, ufunc(x.value).item())
    if ufunc is np.matmul:
        return NUMPY_FUNCTIONS[np.matmul](*inputs)
    row = _row_of(ufunc)
    if ufunc in _BITWISE:
        row = ROWS[OPCODE[_BITWISE[ufunc]]]
        for operand in inputs:
            if getattr(operand, "dtype", np.dtype(type(operand))) != bool:
                return NotImplemented
    if row is None:
        return _call_composed(ufunc, inputs)
    operands = [
        operand if isinstance(operand, Traced) else np.asarray(operand) for operand in inputs
    ]
    if all(operand.dtype == bool for operand in operands):
        if row.name not in _ON_BOOLS:
            if row.ufunc in ("numpy.subtract", "numpy.negative"):
                return NotImplemented  # NumPy refuses them too
        else:
            row = ROWS[OPCODE[_ON_BOOLS[row.name]]]
    if row.name == "power" and _is_constant(operands[1]):
        row = ROWS[OPCODE["power_constant"]]
    return apply_row(row, operands)


def _is_constant(operand: Any) -> bool:
    return not isinstance(operand, Traced) and operand.dtype != object


def _call_composed(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    """Ufuncs that are other ufuncs put together."""
    if ufunc is np.float_power:
        return np.power(*inputs)
    if ufunc is np.fabs:
        return np.absolute(*inputs)
    if ufunc in (np.radians, np.degrees):
        return (np.deg2rad if ufunc is np.radians else np.rad2deg)(*inputs)
    if ufunc is np.divmod:
        return inputs[0] // inputs[1], inputs[0] % inputs[1]
    if ufunc is np.conjugate:
        return +inputs[0]
    if ufunc.__name__ == "clip":
        return NUMPY_FUNCTIONS[np.clip](*inputs)
    return NotImplemented


# operators


_NUMBERS = frozenset({float, int, np.float64, np.int64, np.int32, np.float32, np.uint64})


def _scalar_binary(
    name: str, compute: Callable[[Any, Any], Any], ufunc: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A binary operator of traced scalars and its reflection: the hot path of recording."""
    opcode = OPCODE[name]

    def forward(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.value
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        try:
            value = compute(self.value, value)
            if type(value) is not float:
                return _other_operand(ufunc, self, other)
        except (ArithmeticError, ValueError):
            value = ufunc(self.value, value).item()
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), value)

    def reflected(self: TracedScalar, other: Any) -> Any:
        if type(other) not in _NUMBERS:
            return _other_operand(ufunc, other, self)
        value = float(other)
        recorder = self.recorder
        slot = recorder.constant(value)
        try:
            value = compute(value, self.value)
            if type(value) is not float:
                return _other_operand(ufunc, other, self)
        except (ArithmeticError, ValueError):
            value = ufunc(value, self.value).item()
        return TracedScalar(recorder, recorder.scalar(opcode, slot, self.slot), value)

    return forward, reflected


def _scalar_comparison(name: str, compute: Callable[[Any, Any], Any], ufunc: Any) -> Any:
    opcode = OPCODE[name]

    def compare(self: TracedScalar, other: Any) -> Any:
        kind = type(other)
        recorder = self.recorder
        if kind is TracedScalar and other.recorder is recorder:
            slot, value = other.slot, other.value
        elif kind in _NUMBERS:
            value = float(other)
            slot = recorder.constant(value)
        else:
            return _other_operand(ufunc, self, other)
        outcome = compute(self.value, value)
        return TracedScalar(recorder, recorder.scalar(opcode, self.slot, slot), outcome)

    return compare


def _other_operand(ufunc: Any, left: Any, right: Any) -> Any:
    """An operator with an operand that is no plain number: let NumPy's protocol sort it out."""
    for operand in (left, right):
        if not isinstance(operand, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
    if _is_bool_scalar(left) and _is_bool_scalar(right) and ufunc in (np.add, np.multiply):
        raise UnsupportedError(
            f"{ufunc.__name__} of two comparisons at {user_location()}: Python and NumPy disagree "
            "on what it means. Write 1.0 * (x < y) to count, or & and | to combine"
        )
    return ufunc(left, right)


def _is_bool_scalar(operand: Any) -> bool:
    return isinstance(getattr(operand, "value", operand), bool | np.bool_)


def _array_binary(ufunc: Any) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    def forward(self: TracedArray, other: Any) -> Any:
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
        return ufunc(self, other)

    def reflected(self: TracedArray, other: Any) -> Any:
        if not isinstance(other, Traced | np.ndarray | np.generic | float | int | list):
            return NotImplemented
        return ufunc(other, self)

    def in_place(self: TracedArray, other: Any) -> TracedArray:
        self[...] = ufunc(self, other)
        return self

    return forward, reflected, in_place


def _array_power(self: TracedArray, exponent: Any) -> Any:
    """NumPy's own shortcuts for ``array ** number``."""
    shortcut = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt, -1.0: np.reciprocal}
    if type(exponent) in _NUMBERS and float(exponent) in shortcut:
        return shortcut[float(exponent)](self)
    return np.power(self, exponent)


def _scalar_power(self: TracedScalar, exponent: Any, modulus: Any = None) -> Any:
    if type(exponent) in _NUMBERS:
        return _constant_power(self, exponent)
    return _variable_power(self, exponent)


def _install() -> None:
    """Give both classes their operators, from the table's names."""
    binary = (
        ("add", operator.add, np.add),
        ("sub", operator.sub, np.subtract),
        ("mul", operator.mul, np.multiply),
        ("truediv", operator.truediv, np.divide),
        ("mod", lambda x, y: np.remainder(x, y).item(), np.remainder),
        ("floordiv", lambda x, y: np.floor_divide(x, y).item(), np.floor_divide),
        ("pow", operator.pow, np.power),
    )
    for name, compute, ufunc in binary:
        row = "pow" if name == "pow" else ufunc.__name__
        forward, reflected = _scalar_binary(row, compute, ufunc)
        setattr(TracedScalar, f"__{name}__", forward)
        setattr(TracedScalar, f"__r{name}__", reflected)
        forward, reflected, in_place = _array_binary(ufunc)
        setattr(TracedArray, f"__{name}__", forward)
        setattr(TracedArray, f"__r{name}__", reflected)
        setattr(TracedArray, f"__i{name}__", in_place)
    TracedScalar.__pow__ = _scalar_power  # type: ignore[attr-defined]
    TracedArray.__pow__ = _array_power  # type: ignore[attr-defined]
    for name, compute, ufunc in (
        ("lt", operator.lt, np.less),
        ("le", operator.le, np.less_equal),
        ("gt", operator.gt, np.greater),
        ("ge", operator.ge, np.greater_equal),
        ("eq", operator.eq, np.equal),
        ("ne", operator.ne, np.not_equal),
    ):
        setattr(TracedScalar, f"__{name}__", _scalar_comparison(ufunc.__name__, compute, ufunc))
        setattr(TracedArray, f"__{name}__", _array_binary(ufunc)[0])
    for name, ufunc in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        for kind in (TracedScalar, TracedArray):
            forward, reflected, in_place = _array_binary(ufunc)
            setattr(kind, f"__{name}__", forward)
            setattr(kind, f"__r{name}__", reflected)
    TracedArray.__matmul__, TracedArray.__rmatmul__, _ = _array_binary(np.matmul)  # type: ignore[attr-defined]
    for name, ufunc in (
        ("neg", np.negative),
        ("pos", np.positive),
        ("abs", np.absolute),
        ("invert", np.invert),
    ):
        for kind in (TracedScalar, TracedArray):
            setattr(kind, f"__{name}__", _unary_method(ufunc))
    # NumPy calls these on the elements of object arrays: np.sin(np.array([x, y])).
    for row in ROWS:
        if row.arity == 1 and row.ufunc is not None and row.ufunc.startswith("numpy."):
            ufunc = getattr(np, row.name)
            if not hasattr(TracedScalar, row.name):
                setattr(TracedScalar, row.name, _unary_method(ufunc))


def _unary_method(ufunc: Any) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        return ufunc(self)

    return method


_constant_power, _ = _scalar_binary("pow_constant", operator.pow, np.power)
_variable_power, _ = _scalar_binary("pow", operator.pow, np.power)
_install()
