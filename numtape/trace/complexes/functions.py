"""NumPy's functions of complex numbers: by parts where linear, products expanded.

Which are linear is said where their rules for real values are registered.
"""

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from numtape.errors import TraceError, UnsupportedError
from numtape.trace.complexes.pair import TracedComplex, as_complex, pair, part_of, parts
from numtape.trace.functions.common import (
    LINEAR,
    axes_of,
    constants_of,
    is_kept,
    numpy_function,
)
from numtape.trace.functions.creation import CONVERSIONS, FILLING, make_like
from numtape.trace.locations import user_location
from numtape.trace.traced import (
    COMPLEX_FUNCTIONS,
    LIKE_FUNCTIONS,
    NUMPY_FUNCTIONS,
    Traced,
    TracedArray,
    has_complex,
    innermost,
)

__all__ = ["complex_rule"]


def complex_rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what NumPy's functions of these names do where an argument is complex."""

    def register(rule: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            function = numpy_function(name)
            if function is not None:
                COMPLEX_FUNCTIONS[function] = rule
        return rule

    return register


def _without_dtype(options: dict[str, Any]) -> dict[str, Any]:
    """Return options without a dtype that is that of complex results."""
    dtype = options.get("dtype")
    if dtype is None or np.dtype(dtype) != np.complex128:
        return options
    return {name: value for name, value in options.items() if name != "dtype"}


# linear in some parameters


def _by_parts(
    implementation: Callable[..., Any], linear: tuple[str, ...], arguments: Any, options: Any
) -> Any:
    """Apply the function to the real parts, and to the imaginary ones."""
    bound = inspect.signature(implementation).bind(*arguments, **_without_dtype(options))
    if has_complex(*(each for name, each in bound.arguments.items() if name not in linear)):
        raise UnsupportedError(
            f"{implementation.__name__.lstrip('_')} with a complex number for an option at "
            f"{user_location()}: numtape has no rule for it. Write it with the real and the "
            "imaginary part",
            code="complex-value",
        )
    found = []
    for number in (0, 1):
        own = {
            name: part_of(each, number) if name in linear else each
            for name, each in bound.arguments.items()
        }
        chosen = inspect.BoundArguments(bound.signature, own)
        found.append(implementation(*chosen.args, **chosen.kwargs))
    return _joined(*found, *(bound.arguments.get(name) for name in linear))


def _joined(real: Any, imag: Any, *operands: Any) -> Any:
    """Return a complex value of two parts, or a list; an operand itself if they are its parts."""
    if isinstance(real, list | tuple):
        return type(real)(_joined(*each, *operands) for each in zip(real, imag, strict=True))
    for operand in operands:
        if isinstance(operand, list | tuple):
            operands += tuple(operand)
    for operand in operands:
        is_pair = isinstance(operand, TracedComplex)
        if is_pair and real is operand.real and imag is operand.imag:
            return operand
    recorder = innermost(real, imag)
    if (
        isinstance(real, TracedArray)
        and isinstance(imag, TracedArray)
        and (real.recorder is imag.recorder)
    ):
        return TracedComplex(recorder, real, imag)  # views stay views
    return pair(real, imag)


def _install_linear() -> None:
    for function, implementation, linear in LINEAR:

        def rule(
            *arguments: Any,
            _implementation: Any = implementation,
            _linear: Any = linear,
            **options: Any,
        ) -> Any:
            return _by_parts(_implementation, _linear, arguments, options)

        COMPLEX_FUNCTIONS[function] = rule


_install_linear()


@complex_rule("where")
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    condition = _nonzero(condition)
    if x is None or y is None:
        return np.nonzero(condition)
    return _joined(*(np.where(condition, part_of(x, k), part_of(y, k)) for k in (0, 1)))


@complex_rule("pad")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    if mode in ("maximum", "minimum", "median"):
        raise UnsupportedError(
            f"np.pad(..., mode={mode!r}) of complex values at {user_location()}: complex numbers "
            "have no order. Use another mode, or pad z.real and z.imag",
            code="complex-value",
        )

    def padded(number: int) -> Any:
        own = {
            name: part_of(each, number) if name in ("constant_values", "end_values") else each
            for name, each in options.items()
        }
        return np.pad(part_of(array, number), pad_width, mode, **own)

    return _joined(padded(0), padded(1))


@complex_rule("insert")
def _insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    if not has_complex(arr):
        raise UnsupportedError(
            f"np.insert of complex values into a real array at {user_location()}: NumPy would "
            "discard their imaginary parts. Write x.astype(complex), or values.real",
            code="complex-value",
        )
    return _joined(*(np.insert(part_of(arr, k), obj, part_of(values, k), axis) for k in (0, 1)))


# products: linear in each of some arguments


def _expanded(
    function: Any, operands: list[Any], conjugated: tuple[int, ...], **options: Any
) -> TracedComplex:
    """Compute a product of all real and imaginary parts, with the signs of powers of i."""
    split = []
    for k, operand in enumerate(operands):
        real, imag = parts(operand)
        if has_complex(operand):
            split.append([(0, 1.0, real), (1, -1.0 if k in conjugated else 1.0, imag)])
        else:
            split.append([(0, 1.0, real)])
    sums: list[Any] = [None, None]
    for terms in product(*split):
        power = sum(each for each, _, _ in terms)
        sign = (-1.0) ** (power // 2) * float(np.prod([sign for _, sign, _ in terms]))
        term = function(*(part for _, _, part in terms), **options)
        before = sums[power % 2]
        if before is None:
            sums[power % 2] = term if sign > 0.0 else -term
        else:
            sums[power % 2] = before + term if sign > 0.0 else before - term
    return pair(*sums)


def _product(name: str, *conjugated: int) -> None:
    function = numpy_function(name)

    @complex_rule(name)
    def rule(*arguments: Any, **options: Any) -> Any:
        names = ("a", "b", "x1", "x2", "v")
        operands = [*arguments[:2], *(options.pop(each) for each in names if each in options)]
        rest = arguments[2:]
        return _expanded(
            lambda *each, **chosen: function(*each, *rest, **chosen),
            operands[:2],
            conjugated,
            **_without_dtype(options),
        )


for _name in ("matmul", "matvec", "dot", "inner", "outer", "tensordot", "kron", "cross"):
    _product(_name)
for _name in ("linalg.matmul", "linalg.outer", "linalg.tensordot", "linalg.cross", "convolve"):
    _product(_name)
for _name in ("vdot", "vecdot", "vecmat", "linalg.vecdot"):
    _product(_name, 0)
_product("correlate", 1)


@complex_rule("einsum")
def _einsum(*operands: Any, **options: Any) -> Any:
    options = _without_dtype(options)
    if isinstance(operands[0], str):
        pattern, *arrays = operands
        return _sums_of_products(lambda *each: np.einsum(pattern, *each, **options), arrays)
    count = len(operands) // 2
    axes = operands[1 : 2 * count : 2]
    rest = operands[2 * count :]

    def function(*each: Any) -> Any:
        given = [x for both in zip(each, axes, strict=True) for x in both]
        return np.einsum(*given, *rest, **options)

    return _sums_of_products(function, list(operands[0 : 2 * count : 2]))


def _sums_of_products(function: Callable[..., Any], arrays: list[Any]) -> Any:
    if len(arrays) == 1:  # it may be a view
        return _joined(*(function(part_of(arrays[0], number)) for number in (0, 1)))
    return _expanded(function, arrays, ())


# reductions


@complex_rule("prod")
def _prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    keepdims: Any = np._NoValue,
    initial: Any = np._NoValue,
    where: Any = np._NoValue,
) -> Any:
    _only_complex(dtype)
    array = as_complex(a)
    if where is not np._NoValue and where is not True:
        array = np.where(where, array, 1.0)
    axes = axes_of(axis, array.ndim)
    shape = [1 if k in axes else n for k, n in enumerate(array.shape)]
    moved = np.moveaxis(array, axes, range(len(axes)))
    rows: Any = np.reshape(moved, (-1, *moved.shape[len(axes) :]))
    if not len(rows):
        rows = np.ones((1, *rows.shape[1:]), like=rows) + 0j
    while len(rows) > 1:  # by halves
        half, odd = len(rows) // 2, rows[2 * (len(rows) // 2) :]
        rows = np.concatenate([rows[:half] * rows[half : 2 * half], odd])
    result = rows[0] if initial is np._NoValue else rows[0] * initial
    return np.reshape(result, shape) if is_kept(keepdims) else result


def _only_complex(dtype: Any) -> None:
    if dtype is not None and np.dtype(dtype) != np.complex128:
        raise UnsupportedError(
            f"dtype={dtype!r} was asked for of complex traced values at {user_location()}: they "
            "are complex128. Leave dtype out",
            code="unsupported-option",
        )


@complex_rule("cumprod")
def _cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    _only_complex(dtype)
    array = as_complex(a)
    if axis is None or not array.ndim:
        array, axis = np.ravel(array), 0
    rows = list(np.moveaxis(array, axis, 0))
    for k in range(1, len(rows)):
        rows[k] = rows[k - 1] * rows[k]
    return np.stack(rows, axis=axis) if rows else array


@complex_rule("average")
def _average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = np._NoValue,
) -> Any:
    if returned or has_complex(weights):
        raise UnsupportedError(
            f"np.average with returned=True or complex weights at {user_location()}: numtape has "
            "no rule for it. Write np.sum(weights * a) / np.sum(weights)",
            code="complex-value",
        )
    average = NUMPY_FUNCTIONS[np.average]
    options = {"keepdims": keepdims}
    return _joined(*(average(part_of(a, k), axis, weights, **options) for k in (0, 1)))


@complex_rule("var")
def _var(a: Any, axis: Any = None, dtype: Any = None, **options: Any) -> Any:
    """Return the mean of |z - mean|**2, which is the sum of both parts' variances."""
    return np.var(part_of(a, 0), axis, dtype, **options) + np.var(
        part_of(a, 1), axis, dtype, **options
    )


@complex_rule("std")
def _std(a: Any, axis: Any = None, dtype: Any = None, **options: Any) -> Any:
    return np.hypot(*(np.std(part_of(a, number), axis, dtype, **options) for number in (0, 1)))


def _of_truth(name: str) -> None:
    function = numpy_function(name)

    @complex_rule(name)
    def rule(a: Any, *arguments: Any, **options: Any) -> Any:
        return function(_nonzero(a), *arguments, **options)


def _nonzero(a: Any) -> Any:
    return np.not_equal(a, 0.0) if has_complex(a) else a


for _name in ("any", "all", "count_nonzero", "nonzero", "flatnonzero", "argwhere"):
    _of_truth(_name)


# parts and tests


@complex_rule("real")
def _real(val: Any) -> Any:
    return val.real


@complex_rule("imag")
def _imag(val: Any) -> Any:
    return val.imag


@complex_rule("angle")
def _angle(z: Any, deg: bool = False) -> Any:
    real, imag = parts(z)
    angle = np.arctan2(imag, real)
    return angle * (180.0 / np.pi) if deg else angle


@complex_rule("real_if_close")
def _real_if_close(a: Any, tol: Any = 100) -> Any:
    limit = tol * np.finfo(np.float64).eps if tol > 1 else tol
    return a.real if np.all(np.abs(a.imag) < limit) else a  # which is guarded


@complex_rule("iscomplexobj")
def _iscomplexobj(x: Any) -> bool:
    return True


@complex_rule("isrealobj")
def _isrealobj(x: Any) -> bool:
    return False


@complex_rule("iscomplex")
def _iscomplex(x: Any) -> Any:
    return x.imag != 0.0


@complex_rule("isreal")
def _isreal(x: Any) -> Any:
    return x.imag == 0.0


@complex_rule("isclose")
def _isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    near = np.logical_and(np.abs(a - b) <= atol + rtol * np.abs(b), np.isfinite(b))
    close = np.logical_or(near, np.equal(a, b))
    return np.logical_or(close, np.logical_and(np.isnan(a), np.isnan(b))) if equal_nan else close


# Composed of functions that have rules for complex numbers, these are right as they stand.
for _name in (
    *("allclose", "array_equal", "array_equiv", "trapezoid", "trapz", "polyval", "polyder"),
    *("polyint", "polyadd", "polysub", "polymul", "vander", "linspace", "apply_along_axis"),
    *("apply_over_axes", "trim_zeros", "shape", "ndim", "size", "result_type", "common_type"),
    *("may_share_memory", "shares_memory", "fft.fftshift", "fft.ifftshift"),
    *("diag_indices_from", "tril_indices_from", "triu_indices_from"),
):
    _function = numpy_function(_name)
    if _function in NUMPY_FUNCTIONS:
        COMPLEX_FUNCTIONS[_function] = NUMPY_FUNCTIONS[_function]


def _text(name: str) -> None:
    function = numpy_function(name)

    @complex_rule(name)
    def rule(a: Any, *arguments: Any, **options: Any) -> str:
        text: str = function(np.asarray(as_complex(a).values()), *arguments, **options)
        return text


for _name in ("array2string", "array_repr", "array_str"):
    _text(_name)


@complex_rule("astype")
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


# making arrays


def _filled(name: str, value: float) -> None:
    of_real = NUMPY_FUNCTIONS[numpy_function(name)]

    def implementation(
        a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
    ) -> Any:
        is_complex = np.dtype(a.dtype if dtype is None else dtype) == np.complex128
        like = a.real if isinstance(a, TracedComplex) else a
        if not is_complex:
            return of_real(like, dtype, order, subok, shape)
        made = [
            np.full_like(np.asarray(like.primals), each, np.float64, order, shape=shape)
            for each in (value, 0.0)
        ]
        return TracedComplex(a.recorder, *(constants_of(a.recorder, each) for each in made))

    NUMPY_FUNCTIONS[numpy_function(name)] = implementation
    COMPLEX_FUNCTIONS[numpy_function(name)] = implementation


for _name, _value in FILLING.items():
    _filled(_name, _value)


@complex_rule("full_like")
def _full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    kind = np.dtype(a.dtype if dtype is None else dtype)
    if kind != np.complex128:
        raise UnsupportedError(
            f"np.full_like of {kind} with {fill_value!r} at {user_location()}: an array of real "
            "numbers cannot hold it. Write dtype=complex, or fill_value.real",
            code="complex-value",
        )
    made = np.zeros_like(a if isinstance(a, Traced) else np.asarray(a, like=fill_value), kind)
    made = made if shape is None else np.zeros_like(made, order=order, shape=shape)
    made[...] = fill_value
    return made


def _made_like(like: Any, function: Any, arguments: tuple[Any, ...], options: Any) -> Any:
    """Return what ``np.zeros(n, dtype=complex, like=x)`` and its siblings give."""
    dtype = options.get("dtype")
    if dtype is None and len(arguments) > 1 and function not in (np.full, np.arange):
        dtype = arguments[1]
    is_complex = dtype is not None and np.dtype(dtype) == np.complex128
    if not is_complex and not has_complex(*arguments):
        return make_like(like, function, arguments, options)
    if function in CONVERSIONS:
        whole = as_complex(arguments[0])
        if dtype is not None and not is_complex:
            whole.astype(dtype)  # which is refused
        rest = {name: option for name, option in options.items() if name != "dtype"}
        given = (None, *arguments[2:])
        made = [
            make_like(like, function, (part, *given), rest) for part in (whole.real, whole.imag)
        ]
        return _joined(*made, whole)
    if function is np.full:
        shape, value, *_ = (*arguments, options.get("fill_value"))
        return as_complex(np.copy(np.broadcast_to(as_complex(value), shape)))
    values = np.asarray(function(*arguments, **options), np.complex128)
    return TracedComplex(
        like.recorder,
        *(constants_of(like.recorder, part) for part in (values.real, values.imag)),
    )


for _function in list(LIKE_FUNCTIONS):
    LIKE_FUNCTIONS[_function] = _made_like


# assigning


def _assigns(name: str, position: int) -> None:
    """Register a function that assigns its argument at that position into its first."""
    function = numpy_function(name)

    @complex_rule(name)
    def rule(array: Any, *arguments: Any, **options: Any) -> None:
        if not isinstance(array, TracedComplex):
            raise TraceError(
                f"{name} of complex traced values into an array of real or plain numbers at "
                f"{user_location()}, which cannot hold them. Make it with "
                "np.zeros_like(x, dtype=complex)",
                code="plain-array",
            )
        for number, own in enumerate((array.real, array.imag)):
            given = list(arguments)
            if len(given) >= position:
                given[position - 1] = part_of(given[position - 1], number)
            chosen = {
                key: part_of(each, number) if key in _VALUES else each
                for key, each in options.items()
            }
            function(own, *given, **chosen)


_VALUES = ("v", "vals", "values", "src", "val")
for _name, _position in (
    *(("put", 2), ("place", 2), ("putmask", 2), ("copyto", 1), ("fill_diagonal", 1)),
    ("put_along_axis", 2),
):
    _assigns(_name, _position)
