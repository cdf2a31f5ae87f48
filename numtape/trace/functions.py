"""NumPy's functions on traced values, for `__array_function__`.

Two groups. Functions that only move elements are NumPy's own, applied to slots
and values alike; they record nothing. The others are written with ufuncs,
reductions and products of traced values. Anything that is not here raises,
naming the function (see `Traced.__array_function__`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS, load_ufunc
from numtape.trace.recorder import user_location
from numtape.trace.traced import (
    LIKE_FUNCTIONS,
    NUMPY_FUNCTIONS,
    Traced,
    as_floats,
    as_traced,
    innermost,
    is_traced,
    lift,
    wrap,
)
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


def _implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            NUMPY_FUNCTIONS[function] = implementation
        return implementation

    return register


def _traced(operand: Any) -> Any:
    return as_traced(innermost(operand), operand)


# moving elements


def _moves(function: Callable[..., Any]) -> None:
    """Apply `function`, which only moves its first argument's elements, to slots and values."""

    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        array = _traced(array)
        recorder = array.recorder
        slots = function(array.slots, *arguments, **options)
        values = function(np.asarray(array.primals), *arguments, **options)
        if isinstance(slots, list | tuple):
            return [wrap(recorder, s, v) for s, v in zip(slots, values, strict=True)]
        return wrap(recorder, slots, values)

    NUMPY_FUNCTIONS[function] = implementation


_MOVES: tuple[Any, ...] = (
    *(np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.expand_dims),
    *(np.squeeze, np.broadcast_to, np.tile, np.repeat, np.roll, np.rot90, np.flip, np.fliplr),
    *(np.flipud, np.diagonal, np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.take),
    *(np.copy, np.delete, np.resize),
)
for _function in _MOVES:
    _moves(_function)


def _joins(function: Callable[..., Any]) -> None:
    """Apply `function`, which joins a sequence of arrays, to slots and values."""

    def implementation(arrays: Any, *arguments: Any, **options: Any) -> Any:
        arrays = list(arrays)
        _no_dtype(options.pop("dtype", None))
        recorder = innermost(*arrays)
        lifted = [lift(recorder, array) for array in arrays]
        slots = function([np.asarray(slots) for slots, _ in lifted], *arguments, **options)
        values = function([np.asarray(values) for _, values in lifted], *arguments, **options)
        return wrap(recorder, slots, values)

    NUMPY_FUNCTIONS[function] = implementation


_JOINS: tuple[Any, ...] = (
    *(np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack),
)
for _function in _JOINS:
    _joins(_function)


@_implements(np.append)
def _append(array: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        array, values = np.ravel(array), np.ravel(values)
        axis = 0
    return np.concatenate((array, values), axis=axis)


def _each(function: Callable[..., Any]) -> None:
    """`np.atleast_1d` and its like: one array or several."""

    def implementation(*arrays: Any) -> Any:
        recorder = innermost(*arrays)
        lifted = [lift(recorder, array) for array in arrays]
        results = [wrap(recorder, function(s), function(np.asarray(v))) for s, v in lifted]
        return results[0] if len(results) == 1 else results

    NUMPY_FUNCTIONS[function] = implementation


for _name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    _each(getattr(np, _name))


@_implements(np.broadcast_arrays)
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*(np.shape(array) for array in arrays))
    recorder = innermost(*arrays)
    return tuple(np.broadcast_to(as_traced(recorder, array), shape) for array in arrays)


def _with_zeros(function: Callable[..., Any]) -> None:
    """Functions that put zeros beside the elements they move: `np.diag`, `np.tril`, `np.triu`."""

    def implementation(array: Any, *arguments: Any, **options: Any) -> Any:
        array = _traced(array)
        # The null slot would do, but it may not be assigned to a tape's own constant.
        zero = array.recorder.constant(0.0)
        slots = function(array.slots + 1, *arguments, **options) - 1
        slots = np.where(slots < 0, zero, slots)
        return wrap(array.recorder, slots, function(array.primals, *arguments, **options))

    NUMPY_FUNCTIONS[function] = implementation


for _name in ("diag", "diagflat", "tril", "triu"):
    _with_zeros(getattr(np, _name))


# making arrays


def _constants(like: Traced, values: npt.NDArray[Any]) -> Any:
    recorder = like.recorder
    floats = np.array(values, np.float64)
    return wrap(recorder, recorder.constant_array(floats).copy(), floats)


def _is_other(dtype: Any) -> bool:
    """Whether an array of that type is asked for that cannot hold traced values."""
    return dtype is not None and np.dtype(dtype) != np.float64


@_implements(np.zeros_like, np.empty_like)
def _zeros_like(array: Traced, dtype: Any = None, shape: Any = None, **options: Any) -> Any:
    values = np.zeros(_shape_of(array) if shape is None else shape)
    return values.astype(dtype) if _is_other(dtype) else _constants(array, values)


@_implements(np.ones_like)
def _ones_like(array: Traced, dtype: Any = None, shape: Any = None, **options: Any) -> Any:
    values = np.ones(_shape_of(array) if shape is None else shape)
    return values.astype(dtype) if _is_other(dtype) else _constants(array, values)


@_implements(np.full_like)
def _full_like(
    array: Any, fill_value: Any, dtype: Any = None, shape: Any = None, **options: Any
) -> Any:
    shape = np.shape(array) if shape is None else shape
    if _is_other(dtype) and not is_traced(fill_value):
        return np.full(shape, fill_value, dtype)
    _no_dtype(dtype)
    return np.copy(np.broadcast_to(as_traced(innermost(array, fill_value), fill_value), shape))


def make_like(like: Traced, function: Any, arguments: tuple[Any, ...], options: Any) -> Any:
    """What ``np.zeros(..., like=x)`` and its siblings return for a traced x."""
    if _is_other(options.get("dtype")):
        return function(*arguments, **options)
    options = {name: value for name, value in options.items() if name != "dtype"}
    if function in (np.array, np.asarray):
        return np.copy(as_traced(like.recorder, arguments[0]))
    if function is np.full:
        shape, value, *_ = (*arguments, options.get("fill_value"))
        return np.copy(np.broadcast_to(as_traced(like.recorder, value), shape))
    return _constants(like, function(*arguments, **options))


for _name in ("zeros", "ones", "empty", "full", "array", "asarray", "eye", "identity"):
    LIKE_FUNCTIONS[getattr(np, _name)] = make_like


# reductions


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(np.lib.array_utils.normalize_axis_index(int(a), rank) for a in axes))


def _reduce(name: str, array: Any, axis: Any, keepdims: bool) -> Any:
    """Reduce by the ufunc `name`; values by NumPy's own reduction."""
    array = _traced(array)
    if name in ("add", "multiply"):
        array = as_floats(array)
    if array.ndim == 0:
        return array
    axes = _axes(axis, array.ndim)
    if array.size == 0 and name in ("maximum", "minimum"):
        raise ValueError(
            f"{name} of no elements (shape {array.shape}, axis {axis}): it has no identity; "
            "handle the empty case before"
        )
    values = getattr(np, name).reduce(np.asarray(array.primals), axis=axes, keepdims=keepdims)
    slots = array.recorder.reduce(name, array.slots, axes)
    return wrap(array.recorder, slots.reshape(np.shape(values)), values)


def _kept(keepdims: Any) -> bool:
    return keepdims is not np._NoValue and bool(keepdims)


def _no_dtype(dtype: Any) -> None:
    if dtype is not None and np.dtype(dtype) != np.float64:
        raise UnsupportedError(
            f"dtype={dtype!r} was asked for, of a traced value at {user_location()}: numtape "
            "computes in float64. Leave dtype out, or convert outside the recorded function"
        )


def _no_options(function: str, **options: Any) -> None:
    """Refuse options that have no rule, unless they have their default value."""
    for name, value in options.items():
        if (
            value is not np._NoValue
            and value is not None
            and not (name == "where" and value is True)
        ):
            raise UnsupportedError(
                f"np.{function}(..., {name}={value!r}) of a traced value at {user_location()}: "
                f"numtape has no rule for {name}. Select or combine the elements before, for "
                "example with np.where"
            )


def _reduction(name: str, function: Any, method: str) -> None:
    ufunc = getattr(np, name)
    no_value: Any = np._NoValue

    def implementation(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = no_value,
        initial: Any = no_value,
        where: Any = no_value,
    ) -> Any:
        _no_options(method, out=out, initial=initial, where=where)
        _no_dtype(dtype)
        return _reduce(name, a, axis, _kept(keepdims))

    def ufunc_method(a: Any, axis: Any = 0, dtype: Any = None, keepdims: Any = False) -> Any:
        _no_dtype(dtype)
        return _reduce(name, a, axis, _kept(keepdims))

    NUMPY_FUNCTIONS[function] = implementation
    NUMPY_FUNCTIONS[(ufunc, "reduce")] = ufunc_method


_reduction("add", np.sum, "sum")
_reduction("multiply", np.prod, "prod")


def _extreme(name: str, function: Any, method: str) -> None:
    _reduction(name, function, method)
    implementation = NUMPY_FUNCTIONS[function]

    def without_dtype(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, **options: Any
    ) -> Any:
        return implementation(a, axis, None, out, keepdims, **options)

    NUMPY_FUNCTIONS[function] = without_dtype


_extreme("maximum", np.max, "max")
_extreme("minimum", np.min, "min")
NUMPY_FUNCTIONS[np.amax] = NUMPY_FUNCTIONS[np.max]
NUMPY_FUNCTIONS[np.amin] = NUMPY_FUNCTIONS[np.min]


def _logical(name: str, function: Any) -> None:
    def implementation(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, **options: Any
    ) -> Any:
        _no_options(function.__name__, out=out, **options)
        array = _traced(a)
        if array.dtype != bool:
            array = array != 0.0
        return _reduce(name, array, axis, _kept(keepdims))

    NUMPY_FUNCTIONS[function] = implementation


_logical("maximum", np.any)
_logical("minimum", np.all)


def _count(array: Any, axis: Any) -> int:
    """How many elements each mean is of."""
    return int(np.prod([array.shape[k] for k in _axes(axis, array.ndim)], dtype=np.int64))


@_implements(np.mean)
def _mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
) -> Any:
    _no_options("mean", out=out, where=where)
    _no_dtype(dtype)
    array = as_floats(_traced(a))
    count = _count(array, axis)
    return _reduce("add", array, axis, _kept(keepdims)) / count


@_implements(np.var)
def _var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
    mean: Any = np._NoValue,
    correction: Any = np._NoValue,
) -> Any:
    _no_options("var", out=out, where=where, mean=mean)
    _no_dtype(dtype)
    ddof = ddof if correction is np._NoValue else correction
    array = as_floats(_traced(a))
    count = _count(array, axis)
    deviations = array - _reduce("add", array, axis, True) / count
    squares = _reduce("add", deviations * deviations, axis, _kept(keepdims))
    return squares / max(count - ddof, 0)


@_implements(np.std)
def _std(a: Any, *arguments: Any, **options: Any) -> Any:
    # The root of a sum of squares is flat where all deviations are 0.
    return apply_row(ROWS[OPCODE["norm_root"]], (_var(a, *arguments, **options),))


@_implements(np.cumprod)
def _cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    # One product after the other: rounds like NumPy, and is right where factors are 0.
    _no_options("cumprod", out=out)
    _no_dtype(dtype)
    array = as_floats(_traced(a))
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), 0
    factors = np.moveaxis(array, axis, 0)
    products = [factors[k] for k in range(min(1, len(factors)))]
    for k in range(1, len(factors)):
        products.append(products[-1] * factors[k])
    return np.stack(products, axis=axis) if products else array


@_implements(np.cumsum)
def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    _no_options("cumsum", out=out)
    _no_dtype(dtype)
    array = as_floats(_traced(a))
    if axis is None or array.ndim == 0:
        array, axis = np.ravel(array), 0
    if array.size == 0:
        return array
    slots = array.recorder.accumulate("add", array.slots, axis)
    return wrap(array.recorder, slots, np.cumsum(array.primals, axis))


NUMPY_FUNCTIONS[(np.add, "accumulate")] = lambda a, axis=0, dtype=None: _cumsum(a, axis, dtype)


@_implements(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue) -> Any:
    _no_options("ptp", out=out)
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


# products


def _product(left: Any, right: Any, values: Any) -> Any:
    """Record a matrix product as `np.matmul` defines it, with the values it gave."""
    recorder = innermost(left, right)
    (a, _), (b, _) = lift(recorder, left), lift(recorder, right)
    a, b = np.asarray(a), np.asarray(b)
    slots = recorder.product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
    return wrap(recorder, slots.reshape(np.shape(values)), values)


def _values(operand: Any) -> npt.NDArray[Any]:
    """The values of an operand as floats; lists may hold traced scalars."""
    if isinstance(operand, Traced):
        return np.asarray(operand.primals, np.float64)
    try:
        return np.asarray(lift(innermost(operand), operand)[1], np.float64)
    except LookupError:
        return np.asarray(operand)


@_implements(np.matmul)
def _matmul(left: Any, right: Any) -> Any:
    return _product(left, right, np.matmul(_values(left), _values(right)))


@_implements(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    _no_options("dot", out=out)
    left, right = _values(a), _values(b)
    if left.ndim == 0 or right.ndim == 0:
        return np.multiply(a, b)
    if right.ndim <= 2 and left.ndim <= 2:
        return _product(a, b, np.dot(left, right))
    # NumPy takes a dot product for each element of the result; so a batch of them is recorded.
    rows, columns = _traced_or_array(a), _traced_or_array(b)
    if right.ndim > 1:
        columns = np.moveaxis(columns, -2, -1)
    rows = np.reshape(rows, left.shape[:-1] + (1,) * (columns.ndim - 1) + (1, left.shape[-1]))
    return np.matmul(rows, columns[..., None])[..., 0, 0]


def _traced_or_array(operand: Any) -> Any:
    return operand if isinstance(operand, Traced) else np.asarray(operand)


@_implements(np.inner)
def _inner(a: Any, b: Any) -> Any:
    if np.ndim(_values(b)) > 1:
        axes = (*range(np.ndim(_values(b)) - 2), -1, -2)
        b = np.transpose(_traced_or_array(b), axes)
    return np.dot(a, b)


@_implements(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.ravel(_traced_or_array(a)), np.ravel(_traced_or_array(b)))


@_implements(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    _no_options("outer", out=out)
    return np.ravel(_traced_or_array(a))[:, None] * np.ravel(_traced_or_array(b))[None, :]


def _ufunc_outer(ufunc: Any) -> Callable[[Any, Any], Any]:
    def implementation(a: Any, b: Any) -> Any:
        a, b = _traced_or_array(a), _traced_or_array(b)
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)

    return implementation


for _row in ROWS:
    if _row.arity == 2 and _row.ufunc is not None and _row.ufunc.startswith("numpy."):
        _ufunc = load_ufunc(_row.ufunc)
        NUMPY_FUNCTIONS[(_ufunc, "outer")] = _ufunc_outer(_ufunc)


@_implements(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    array = as_floats(_traced(x))
    root = ROWS[OPCODE["norm_root"]]
    if axis is None and (ord is None or (ord == 2 and array.ndim == 1) or ord in ("f", "fro")):
        flat = np.ravel(array)
        result = apply_row(root, (np.dot(flat, flat),))
        return np.reshape(result, (1,) * array.ndim) if keepdims else result
    axes = _axes(axis, array.ndim)
    if len(axes) == 1 or ord is None:
        if ord is None or ord == 2:
            return apply_row(root, (np.sum(array * array, axis=axes, keepdims=keepdims),))
        if ord == 1:
            return np.sum(abs(array), axis=axes, keepdims=keepdims)
        if ord == np.inf:
            return np.max(abs(array), axis=axes, keepdims=keepdims)
        if ord == -np.inf:
            return np.min(abs(array), axis=axes, keepdims=keepdims)
        if isinstance(ord, int | float) and ord != 0:
            powers = np.sum(abs(array) ** ord, axis=axes, keepdims=keepdims)
            return powers ** (1.0 / ord)
    raise UnsupportedError(
        f"np.linalg.norm(x, ord={ord!r}, axis={axis!r}) of a traced value of shape {array.shape} "
        f"at {user_location()}: numtape has no rule for this norm. Use the default, 1, 2, inf, "
        "-inf or a power for vectors, and the default or 'fro' for matrices"
    )


# choices


@_implements(np.where)
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise UnsupportedError(
            f"np.where(condition) of a traced condition at {user_location()}: the indices would "
            "depend on the point. Use np.where(condition, a, b), or index with the mask x[mask], "
            "which is guarded"
        )
    recorder = innermost(condition, x, y)
    (slots_x, values_x), (slots_y, values_y) = lift(recorder, x), lift(recorder, y)
    if not isinstance(condition, Traced):
        condition = np.asarray(condition)
        return wrap(
            recorder,
            np.where(condition, slots_x, slots_y),
            np.where(condition, np.asarray(values_x, float), np.asarray(values_y, float)),
        )
    slots, chosen = lift(recorder, condition)
    keep, drop, merge = (OPCODE[name] for name in ("keep", "drop", "merge"))
    taken = recorder.elementwise(keep, (slots, slots_x))
    other = recorder.elementwise(drop, (slots, slots_y))
    result = recorder.elementwise(merge, (taken, other))
    values = np.where(chosen, np.asarray(values_x, float), np.asarray(values_y, float))
    return wrap(recorder, result, values)


@_implements(np.clip)
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
) -> Any:
    _no_options("clip", out=out)
    low = a_min if a_min is not None else min
    high = a_max if a_max is not None else max
    result = as_traced(innermost(a, low, high), a)
    if low is not None:
        result = apply_row(ROWS[OPCODE["clip_low"]], (result, low))
    if high is not None:
        result = apply_row(ROWS[OPCODE["clip_high"]], (result, high))
    return result


@_implements(np.sinc)
def _sinc(x: Any) -> Any:
    return apply_row(ROWS[OPCODE["sinc"]], (x,))


# what does not depend on values


@_implements(np.shape)
def _shape_of(a: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = a.shape if isinstance(a, Traced) else np.shape(a)
    return shape


@_implements(np.ndim)
def _ndim(a: Any) -> int:
    return len(_shape_of(a))


@_implements(np.size)
def _size(a: Any, axis: int | None = None) -> int:
    shape = _shape_of(a)
    return int(np.prod(shape, dtype=np.int64)) if axis is None else shape[axis]


@_implements(np.iscomplexobj)
def _iscomplexobj(x: Any) -> bool:
    return False


@_implements(np.isrealobj)
def _isrealobj(x: Any) -> bool:
    return True


@_implements(np.real)
def _real(x: Any) -> Any:
    return x


@_implements(np.result_type)
def _result_type(*arrays: Any) -> np.dtype[Any]:
    return np.dtype(np.float64)


# methods of traced arrays and scalars that are these functions


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return NUMPY_FUNCTIONS[function](self, *arguments, **options)

    method.__doc__ = f"As `numpy.{function.__name__}`."
    return method


for _name in (
    *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "cumsum", "cumprod"),
    *("ptp", "dot", "clip"),
    *("squeeze", "swapaxes", "diagonal", "repeat", "take"),
):
    setattr(Traced, _name, _method(getattr(np, _name)))
