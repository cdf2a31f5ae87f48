"""`numpy.fft` and `scipy.fft` on traced values, by NumPy's own transforms.

A spectrum is a `TracedComplex`, a pair of traced arrays; NumPy's loops want real and
imaginary part side by side, so the pair is stacked before a transform.

Cosine and sine transforms are real and linear: they are products with a matrix.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import load_ufunc
from numtape.trace.complexes import TracedComplex
from numtape.trace.complexes.pair import pair, parts
from numtape.trace.linalg import call_function, matrix_of
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import COMPLEX_FUNCTIONS, NUMPY_FUNCTIONS, has_complex

__all__: list[str] = []


# transforms


def _factor(n: int, norm: Any, forward: bool) -> float:
    """Return what a transform of n numbers is multiplied with, by NumPy's names."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise InputError(
            f'norm={norm!r} of a Fourier transform: it must be "backward", "ortho" or "forward". '
            "Give one of these, or leave it out"
        )
    if norm == "ortho":
        return float(np.reciprocal(np.sqrt(n)))
    return 1.0 if ((norm or "backward") == "backward") == forward else 1.0 / n


def _resized(a: Any, n: int, axis: int = -1) -> Any:
    """Return the first n along an axis, zeros where there are fewer."""
    have = a.shape[axis]
    if have >= n:
        return a[(..., slice(n), *(slice(None),) * (-1 - axis))]
    shape = list(a.shape)
    shape[axis] = n - have
    return np.concatenate([a, np.zeros(shape)], axis)


def _no_out(name: str, out: Any) -> None:
    if out is not None:
        raise UnsupportedError(
            f"np.fft.{name}(..., out) of traced values at {user_location()}: numtape has no rule "
            "for out. Leave it out, and assign the result",
            code="unsupported-option",
        )


def _length(n: Any, default: int) -> int:
    length = default if n is None else int(n)
    if length < 1:
        raise InputError(
            f"a Fourier transform of {length} points: there must be one at least. Give n=1 or more"
        )
    return length


def _applied(name: str, a: Any, factor: float, values: Any, **chosen: int) -> Any:
    return call_function(name, (a, factor), (values,), **chosen)[0]


def _pairs(a: Any, axis: int) -> Any:
    """Return the parts of any operand side by side, with that axis last before them."""
    z = pair(*(matrix_of(part, a) for part in parts(a)))
    return np.stack([np.moveaxis(part, axis, -1) for part in (z.real, z.imag)], axis=-1)


def _unstacked(pairs: Any, axis: int) -> TracedComplex:
    real, imag = (np.copy(np.moveaxis(pairs[..., k], -1, axis)) for k in (0, 1))
    return TracedComplex(pairs.recorder, real, imag)


def _complex_values(pairs: Any) -> Any:
    plain = np.ascontiguousarray(pairs.primals, np.float64)
    return plain.view(np.complex128)[..., 0]


def _pairs_of(values: Any) -> Any:
    return np.stack([values.real, values.imag], axis=-1)


def _full(name: str, forward: bool) -> Callable[..., Any]:
    plain = getattr(np.fft, name)

    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
        _no_out(name, out)
        pairs = _pairs(a, axis)
        n = _length(n, pairs.shape[-2])
        pairs = _resized(pairs, n, -2)
        values = plain(_complex_values(pairs), norm=norm)
        return _unstacked(_applied(name, pairs, _factor(n, norm, forward), _pairs_of(values)), axis)

    return transform


def _rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    _no_out("rfft", out)
    if has_complex(a):
        raise UnsupportedError(
            f"np.fft.rfft of complex numbers at {user_location()}: it is of real ones, and NumPy "
            "refuses them too or discards the imaginary part. Write np.fft.fft(z), or "
            "np.fft.rfft(z.real)",
            code="complex-value",
        )
    a = np.moveaxis(matrix_of(a), axis, -1)
    n = _length(n, a.shape[-1])
    a = _resized(a, n)
    values = _pairs_of(np.fft.rfft(np.asarray(a.primals), norm=norm))
    name = "rfft_n_odd" if n % 2 else "rfft_n_even"
    return _unstacked(_applied(name, a, _factor(n, norm, True), values, h=n // 2 + 1), axis)


def _irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    _no_out("irfft", out)
    pairs = _pairs(a, axis)
    n = _length(n, 2 * (pairs.shape[-2] - 1))
    pairs = _resized(pairs, n // 2 + 1, -2)
    values = np.fft.irfft(_complex_values(pairs), n, norm=norm)
    result = _applied("irfft", pairs, _factor(n, norm, False), values, n=n)
    return np.moveaxis(result, -1, axis)


_fft, _ifft = _full("fft", True), _full("ifft", False)


def _over_axes(
    a: Any, s: Any, axes: Any, default: Any, steps: Callable[[int], Callable[..., Any]]
) -> Any:
    """Apply one transform after the other, along the last axis first."""
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
    COMPLEX_FUNCTIONS[getattr(np.fft, _name)] = _transform
    stands_in_for("numpy.fft", _name)(_transform)


def _scipy_transform(name: str) -> None:
    transform = _TRANSFORMS[name]

    def implementation(x: Any, *arguments: Any, **options: Any) -> Any:
        for option in ("overwrite_x", "workers", "plan"):  # they only save work
            options.pop(option, None)
        return transform(x, *arguments, **options)

    COMPLEX_FUNCTIONS[implementation] = implementation
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
