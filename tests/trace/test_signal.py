"""`scipy.signal`'s convolutions and filters on traced values."""

from itertools import product

import numpy as np
import pytest
from checks import central_jacobian, derivatives_every_way
from scipy import signal

import numtape as nt

RNG = np.random.default_rng(0)
SHAPES = [
    *(((), ()), ((5,), (3,)), ((3,), (5,)), ((4,), (4,)), ((6,), (2,)), ((1,), (3,))),
    *(((5, 6), (2, 3)), ((2, 3), (5, 6)), ((3, 6), (5, 2)), ((4, 4), (4, 4))),
    *(((4, 3, 5), (2, 2, 2)), ((5,), (2, 2))),
]


def _check(function, *arrays):
    """The value is SciPy's, and what SciPy refuses is refused."""
    try:
        expected = function(*arrays)
    except ValueError as error:
        with pytest.raises(ValueError, match=r"scipy\.signal|" + str(error)[:9]):
            nt.record(function, *arrays)
        return
    found = nt.record(function, *arrays)(*arrays)
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve", "oaconvolve"])
def test_convolutions(name):
    for (one, other), mode in product(SHAPES, ("full", "same", "valid")):
        a, v = RNG.normal(size=one), RNG.normal(size=other)
        _check(lambda a, v, m=mode: getattr(signal, name)(a, v, m), a, v)


@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_beyond_the_ends(name):
    choices = [("fill", 0.0), ("fill", 1.5), ("wrap", 0.0), ("symm", 0.0), ("other", 0.0)]
    for shapes, mode, options in product(SHAPES[5:10], ("full", "same", "valid"), choices):
        a, v = (RNG.normal(size=shape) for shape in shapes)
        _check(lambda a, v, o=(mode, *options): getattr(signal, name)(a, v, *o), a, v)


def test_filters():
    for orders, shape, axis in product(
        ((0, 0), (3, 0), (0, 2), (1, 2), (2, 1)), ((7,), (3, 6), (6, 2)), (-1, 0)
    ):
        b, a = RNG.normal(size=orders[0] + 1), RNG.uniform(0.5, 1.0, orders[1] + 1)
        x = RNG.normal(size=shape)
        _check(lambda b, a, x, k=axis: signal.lfilter(b, a, x, k), b, a, x)
        begin = list(shape)
        begin[axis] = max(orders)
        for part in (0, 1):
            _check(
                lambda b, a, x, z, o=(axis, part): signal.lfilter(b, a, x, o[0], z)[o[1]],
                *(b, a, x, RNG.normal(size=begin)),
            )


DERIVATIVES = {
    "convolve": (lambda a, v: signal.convolve(a, v, "same"), (6,), (3,)),
    "convolve of two axes": (lambda a, v: signal.convolve(a, v), (3, 4), (2, 2)),
    "correlate": (lambda a, v: signal.correlate(a, v, "valid"), (6,), (3,)),
    "fftconvolve": (lambda a, v: signal.fftconvolve(a, v, "same"), (3, 4), (2, 3)),
    "convolve2d": (lambda a, v: signal.convolve2d(a, v, "same", "symm"), (3, 4), (2, 3)),
    "correlate2d": (lambda a, v: signal.correlate2d(a, v, "full", "wrap"), (3, 4), (2, 2)),
    "lfilter": (lambda b, x: signal.lfilter(b, b + 2.0, x), (3,), (6,)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name):
    function, *shapes = DERIVATIVES[name]
    arrays = [RNG.normal(size=shape) for shape in shapes]
    ends = np.cumsum([array.size for array in arrays])[:-1]

    def flat(z):
        parts = [p.reshape(shape) for p, shape in zip(np.split(z, ends), shapes)]
        return np.ravel(function(*parts))

    expected = central_jacobian(flat, np.concatenate([array.ravel() for array in arrays]))
    for way in derivatives_every_way(function, *arrays):
        np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-8)
    nt.check_derivatives(lambda *x: np.sin(function(*x)), *arrays, order=2)
    batch = [np.stack([array, 2.0 * array]) for array in arrays]
    np.testing.assert_allclose(
        nt.vmap(function)(*batch),
        [function(*arrays), function(*(2.0 * array for array in arrays))],
        rtol=1e-12,
        atol=1e-13,
    )


def test_axes_are_refused():
    a, v = np.ones((3, 4)), np.ones((3, 2))
    with pytest.raises(nt.UnsupportedError, match="axes=1"):
        nt.record(lambda a, v: signal.fftconvolve(a, v, axes=1), a, v)
