"""`numpy.fft` and `scipy.fft` on traced values, by NumPy's own transforms.

numtape differentiates real code. A Fourier transform is complex, so its result is a
`ComplexArray`: a pair of traced arrays, the real and the imaginary part, with the
arithmetic that spectra are used with (sums, products, quotients, absolute values and
angles, conjugates, indexing, transforms back). A function must return real values:
``.real``, ``.imag``, ``abs(...)`` or a transform back.

Cosine and sine transforms are real and linear: they are products with a matrix.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from numtape.errors import InputError, TraceError, UnsupportedError
from numtape.ops.table import load_ufunc
from numtape.trace.linalg import call_function, matrix_of
from numtape.trace.recorder import user_location
from numtape.trace.substitutes import PairOfTraced, stands_in_for
from numtape.trace.traced import NUMPY_FUNCTIONS, Traced

__all__ = ["ComplexArray"]

_UFUNCS: dict[Any, Callable[..., Any]] = {}
_FUNCTIONS: dict[Any, Callable[..., Any]] = {}


class ComplexArray(PairOfTraced):
    """Complex numbers under trace.

    Parameters
    ----------
    real, imag : traced arrays or scalars
        Of equal shapes.
    """

    __slots__ = ("imag", "real")

    def __init__(self, real: Any, imag: Any) -> None:
        self.real = real
        self.imag = imag

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an ndarray."""
        shape: tuple[int, ...] = self.real.shape
        return shape

    @property
    def ndim(self) -> int:
        """As of an ndarray."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """As of an ndarray."""
        return int(np.prod(self.shape, dtype=np.int64))

    dtype = np.dtype(np.complex128)

    def __len__(self) -> int:
        return len(self.real)

    def __repr__(self) -> str:
        return f"Traced({np.asarray(self.real.primals) + 1j * np.asarray(self.imag.primals)!r})"

    def __getitem__(self, key: Any) -> "ComplexArray":
        return ComplexArray(self.real[key], self.imag[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        real, imag = _parts(value)
        self.real[key] = real
        self.imag[key] = imag

    def conjugate(self) -> "ComplexArray":
        """The complex conjugate."""
        return ComplexArray(self.real, -self.imag)

    conj = conjugate

    def copy(self) -> "ComplexArray":
        """A copy: assigning into it does not change this one."""
        return ComplexArray(np.copy(self.real), np.copy(self.imag))

    def sum(self, axis: Any = None, **options: Any) -> "ComplexArray":
        """As `ndarray.sum`."""
        return _mapped(np.sum, self, axis=axis, **options)

    def reshape(self, *shape: Any) -> "ComplexArray":
        """As `ndarray.reshape`."""
        return ComplexArray(self.real.reshape(*shape), self.imag.reshape(*shape))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        rule = _UFUNCS.get(ufunc)
        if rule is None or method != "__call__" or options:
            _refused(ufunc.__name__)
        return rule(*inputs)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        rule = _FUNCTIONS.get(function)
        if rule is None:
            _refused(f"{function.__module__}.{function.__name__}")
        return rule(*arguments, **options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TraceError(
            f"complex traced values were to become an array, or the function's result, at "
            f"{user_location()}: numtape differentiates real results. Use their .real and .imag, "
            "abs(...), or transform back with np.fft.irfft",
            code="complex-value",
        )


def _refused(name: str) -> NoReturn:
    raise UnsupportedError(
        f"{name} of complex traced values at {user_location()}: there are rules for + - * /, abs, "
        "np.angle, conj, exp, sums, means, indexing, joining and np.fft. Write the rest with "
        "their .real and .imag",
        code="complex-value",
    )


def _parts(value: Any) -> tuple[Any, Any]:
    """Real and imaginary part of any operand."""
    if isinstance(value, ComplexArray | complex | np.complexfloating):
        return value.real, value.imag
    if isinstance(value, Traced):
        return value, 0.0
    array = np.asarray(value)
    if np.iscomplexobj(array):
        return array.real, array.imag
    return array, 0.0


def _pair(real: Any, imag: Any) -> ComplexArray:
    return ComplexArray(*np.broadcast_arrays(matrix_of(real, imag), matrix_of(imag, real)))


# arithmetic


def _add(a: Any, b: Any) -> ComplexArray:
    (p, q), (r, s) = _parts(a), _parts(b)
    return _pair(p + r, q + s)


def _subtract(a: Any, b: Any) -> ComplexArray:
    (p, q), (r, s) = _parts(a), _parts(b)
    return _pair(p - r, q - s)


def _multiply(a: Any, b: Any) -> ComplexArray:
    (p, q), (r, s) = _parts(a), _parts(b)
    return _pair(p * r - q * s, p * s + q * r)


def _divide(a: Any, b: Any) -> ComplexArray:
    (p, q), (r, s) = _parts(a), _parts(b)
    size = r * r + s * s
    return _pair((p * r + q * s) / size, (q * r - p * s) / size)


def _power(a: Any, n: Any) -> ComplexArray:
    if not isinstance(n, int | float) or n != int(n) or not 1 <= n <= 8:
        _refused(f"power with the exponent {n!r}")
    result: ComplexArray = a
    for _ in range(int(n) - 1):
        result = _multiply(result, a)
    return result


def _exp(a: ComplexArray) -> ComplexArray:
    size = np.exp(a.real)
    return ComplexArray(size * np.cos(a.imag), size * np.sin(a.imag))


_UFUNCS |= {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.power: _power,
    np.square: lambda a: _multiply(a, a),
    np.negative: lambda a: ComplexArray(-a.real, -a.imag),
    np.positive: lambda a: a.copy(),
    np.conjugate: lambda a: a.conjugate(),
    np.absolute: lambda a: np.hypot(a.real, a.imag),
    np.exp: _exp,
}


def _operator(ufunc: Any, reflected: bool) -> Callable[[Any, Any], Any]:
    def method(self: ComplexArray, other: Any) -> Any:
        return _UFUNCS[ufunc](other, self) if reflected else _UFUNCS[ufunc](self, other)

    return method


for _name, _ufunc in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply)):
    setattr(ComplexArray, f"__{_name}__", _operator(_ufunc, False))
    setattr(ComplexArray, f"__r{_name}__", _operator(_ufunc, True))
setattr(ComplexArray, "__truediv__", _operator(np.divide, False))  # noqa: B010
setattr(ComplexArray, "__rtruediv__", _operator(np.divide, True))  # noqa: B010
setattr(ComplexArray, "__pow__", _operator(np.power, False))  # noqa: B010
setattr(ComplexArray, "__neg__", lambda self: _UFUNCS[np.negative](self))  # noqa: B010
setattr(ComplexArray, "__abs__", lambda self: _UFUNCS[np.absolute](self))  # noqa: B010


# NumPy's functions of them


def _mapped(function: Any, a: ComplexArray, *arguments: Any, **options: Any) -> ComplexArray:
    """A function that treats the parts alike."""
    return ComplexArray(
        function(a.real, *arguments, **options), function(a.imag, *arguments, **options)
    )


def _treats_parts_alike(function: Any) -> None:
    _FUNCTIONS[function] = lambda a, *arguments, **options: _mapped(
        function, a, *arguments, **options
    )


for _function in (
    *(np.sum, np.mean, np.reshape, np.ravel, np.transpose, np.moveaxis, np.swapaxes, np.roll),
    *(np.squeeze, np.expand_dims, np.flip, np.take, np.copy),
):
    _treats_parts_alike(_function)


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> ComplexArray:
    pairs = [_parts(array) for array in arrays]
    filled = [(real, imag + 0.0 * real) for real, imag in pairs]
    return ComplexArray(*(np.concatenate(parts, axis=axis) for parts in zip(*filled, strict=True)))


def _angle(z: ComplexArray, deg: bool = False) -> Any:
    angle = np.arctan2(z.imag, z.real)
    return angle * (180.0 / np.pi) if deg else angle


_FUNCTIONS |= {
    np.real: lambda a: a.real,
    np.imag: lambda a: a.imag,
    np.angle: _angle,
    np.concatenate: _concatenate,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.iscomplexobj: lambda a: True,
}


# transforms


def _factor(n: int, norm: Any, forward: bool) -> float:
    """What a transform of n numbers is multiplied with, by NumPy's names."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise InputError(
            f'norm={norm!r} of a Fourier transform: it must be "backward", "ortho" or "forward". '
            "Give one of these, or leave it out"
        )
    if norm == "ortho":
        return float(np.reciprocal(np.sqrt(n)))
    return 1.0 if ((norm or "backward") == "backward") == forward else 1.0 / n


def _resized(a: Any, n: int) -> Any:
    """The first n along the last axis, zeros where there are fewer."""
    have = a.shape[-1]
    if have > n:
        return a[..., :n]
    if have < n:
        zeros = np.zeros((*a.shape[:-1], n - have))
        return np.concatenate([a, zeros], axis=-1)
    return a


def _length(n: Any, default: int) -> int:
    length = default if n is None else int(n)
    if length < 1:
        raise InputError(
            f"a Fourier transform of {length} points: there must be one at least. Give n=1 or more"
        )
    return length


def _applied(name: str, a: Any, factor: float, values: Any, **chosen: int) -> Any:
    return call_function(name, (a, factor), (values,), **chosen)[0]


def _stacked(z: ComplexArray) -> Any:
    return np.stack([z.real, z.imag], axis=-1)


def _unstacked(pairs: Any, axis: int) -> ComplexArray:
    return ComplexArray(np.moveaxis(pairs[..., 0], -1, axis), np.moveaxis(pairs[..., 1], -1, axis))


def _complex_values(pairs: Any) -> Any:
    plain = np.ascontiguousarray(pairs.primals, np.float64)
    return plain.view(np.complex128)[..., 0]


def _pairs_of(values: Any) -> Any:
    return np.stack([values.real, values.imag], axis=-1)


def _full(name: str, forward: bool) -> Callable[..., Any]:
    plain = getattr(np.fft, name)

    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
        if out is not None:
            _refused(f"np.fft.{name}(..., out)")
        real, imag = _parts(a)
        real, imag = np.broadcast_arrays(matrix_of(real, imag), matrix_of(imag, real))
        z = _mapped(np.moveaxis, ComplexArray(real, imag), axis, -1)
        n = _length(n, z.shape[-1])
        pairs = _stacked(_mapped(_resized, z, n))
        values = plain(_complex_values(pairs), norm=norm)
        return _unstacked(_applied(name, pairs, _factor(n, norm, forward), _pairs_of(values)), axis)

    return transform


def _rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    if out is not None or isinstance(a, ComplexArray):
        _refused("np.fft.rfft(..., out), or np.fft.rfft")
    a = np.moveaxis(matrix_of(a), axis, -1)
    n = _length(n, a.shape[-1])
    a = _resized(a, n)
    values = _pairs_of(np.fft.rfft(np.asarray(a.primals), norm=norm))
    name = "rfft_n_odd" if n % 2 else "rfft_n_even"
    return _unstacked(_applied(name, a, _factor(n, norm, True), values, h=n // 2 + 1), axis)


def _irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    if out is not None:
        _refused("np.fft.irfft(..., out)")
    real, imag = _parts(a)
    real, imag = np.broadcast_arrays(matrix_of(real, imag), matrix_of(imag, real))
    z = _mapped(np.moveaxis, ComplexArray(real, imag), axis, -1)
    n = _length(n, 2 * (z.shape[-1] - 1))
    pairs = _stacked(_mapped(_resized, z, n // 2 + 1))
    values = np.fft.irfft(_complex_values(pairs), n, norm=norm)
    result = _applied("irfft", pairs, _factor(n, norm, False), values, n=n)
    return np.moveaxis(result, -1, axis)


_fft, _ifft = _full("fft", True), _full("ifft", False)


def _over_axes(
    a: Any, s: Any, axes: Any, default: Any, steps: Callable[[int], Callable[..., Any]]
) -> Any:
    """One transform after the other, along the last axis first."""
    axes = default if axes is None else axes
    if axes is None:
        axes = tuple(range(-len(s), 0)) if s is not None else tuple(range(-a.ndim, 0))
    sizes = [None] * len(axes) if s is None else list(s)
    for k in reversed(range(len(axes))):
        a = steps(k)(a, None if sizes[k] == -1 else sizes[k], axes[k])
    return a


def _many(one: Callable[..., Any], default: Any) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        return _over_axes(a, s, axes, default, lambda k: partial(one, norm=norm))

    return transform


def _many_real(default: Any) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        count = len(axes) if axes is not None else len(s) if s is not None else np.ndim(a)
        return _over_axes(
            a,
            s,
            axes,
            default,
            lambda k: partial(_rfft if k == count - 1 else _fft, norm=norm),
        )

    return transform


def _many_to_real(default: Any) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        axes = tuple(range(-np.ndim(a), 0)) if axes is None else axes
        sizes = [None] * len(axes) if s is None else list(s)
        for axis, size in zip(axes[:-1], sizes[:-1], strict=True):
            a = _ifft(a, size, axis, norm)
        return _irfft(a, sizes[-1], axes[-1], norm)

    return transform


def _shifted(sign: int) -> Callable[..., Any]:
    def shift(x: Any, axes: Any = None) -> Any:
        axes = tuple(range(x.ndim)) if axes is None else axes
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        moves = [x.shape[axis] // 2 if sign > 0 else -(x.shape[axis] // 2) for axis in axes]
        return np.roll(x, moves, axes)

    return shift


_OTHER_WAY = {None: "forward", "backward": "forward", "forward": "backward"}


def _hfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return _irfft(np.conjugate(a), n, axis, _OTHER_WAY.get(norm, norm), out)


def _ihfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return np.conjugate(_rfft(a, n, axis, _OTHER_WAY.get(norm, norm), out))


_TRANSFORMS: dict[str, Callable[..., Any]] = {
    "hfft": _hfft,
    "ihfft": _ihfft,
    "fft": _fft,
    "ifft": _ifft,
    "rfft": _rfft,
    "irfft": _irfft,
    "fft2": _many(_fft, (-2, -1)),
    "ifft2": _many(_ifft, (-2, -1)),
    "fftn": _many(_fft, None),
    "ifftn": _many(_ifft, None),
    "rfft2": _many_real((-2, -1)),
    "rfftn": _many_real(None),
    "irfft2": _many_to_real((-2, -1)),
    "irfftn": _many_to_real(None),
    "fftshift": _shifted(1),
    "ifftshift": _shifted(-1),
}

for _name, _transform in _TRANSFORMS.items():
    NUMPY_FUNCTIONS[getattr(np.fft, _name)] = _transform
    _FUNCTIONS[getattr(np.fft, _name)] = _transform
    stands_in_for("numpy.fft", _name)(_transform)


def _scipy_transform(name: str) -> None:
    transform = _TRANSFORMS[name]

    def implementation(x: Any, *arguments: Any, **options: Any) -> Any:
        for option in ("overwrite_x", "workers", "plan"):  # they only save work
            options.pop(option, None)
        return transform(x, *arguments, **options)

    stands_in_for("scipy.fft", name)(implementation)


for _name in _TRANSFORMS:
    _scipy_transform(_name)


def _trigonometric(name: str) -> None:
    def transform(
        x: Any,
        type: int = 2,  # noqa: A002 (SciPy's name)
        n: Any = None,
        axis: int = -1,
        norm: Any = None,
        overwrite_x: bool = False,
        workers: Any = None,
        orthogonalize: Any = None,
    ) -> Any:
        x = np.moveaxis(matrix_of(x), axis, -1)
        x = _resized(x, _length(n, x.shape[-1]))
        original = load_ufunc(f"scipy.fft.{name}")
        unit = np.eye(x.shape[-1])
        matrix = original(unit, type, norm=norm, axis=0, orthogonalize=orthogonalize)
        return np.moveaxis(x @ matrix.T, -1, axis)

    stands_in_for("scipy.fft", name)(transform)


for _name in ("dct", "idct", "dst", "idst"):
    _trigonometric(_name)
