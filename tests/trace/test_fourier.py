"""`numpy.fft` and `scipy.fft` of traced arrays: spectra as pairs, and functions of them."""

import numpy as np
import pytest
import scipy.fft
from checks import central_jacobian, derivatives_every_way, hessian

import numtape as nt

RNG = np.random.default_rng(0)
EVEN, ODD, TABLE = RNG.normal(size=12), RNG.normal(size=9), RNG.normal(size=(4, 6))
FILTER = np.exp(1j * np.arange(7.0)) / (1.0 + np.arange(7.0))


def _both(z):
    return np.concatenate([np.ravel(z.real), np.ravel(z.imag)])


CASES = {
    "rfft": (lambda x: _both(np.fft.rfft(x)), EVEN),
    "rfft of an odd number": (lambda x: _both(np.fft.rfft(x)), ODD),
    "rfft of fewer": (lambda x: _both(np.fft.rfft(x, 7)), EVEN),
    "rfft of more": (lambda x: _both(np.fft.rfft(x, 14, norm="forward")), EVEN),
    "rfft of columns": (lambda x: _both(np.fft.rfft(x, axis=0, norm="ortho")), TABLE),
    "fft": (lambda x: _both(np.fft.fft(x)), ODD),
    "fft of columns": (lambda x: _both(np.fft.fft(x, axis=0, norm="ortho")), TABLE),
    "ifft": (lambda x: _both(np.fft.ifft(x)), EVEN),
    "irfft": (lambda x: np.fft.irfft(np.fft.rfft(x) * FILTER), EVEN),
    "irfft of an odd number": (lambda x: np.fft.irfft(np.fft.rfft(x) / FILTER[:5], 9), ODD),
    "irfft of real numbers": (lambda x: np.fft.irfft(x), ODD),
    "hfft": (lambda x: np.fft.hfft(x, norm="ortho"), ODD),
    "ihfft": (lambda x: _both(np.fft.ihfft(x, 8)), EVEN),
    "fft2": (lambda x: _both(np.fft.fft2(x)), TABLE),
    "fftn": (lambda x: _both(np.fft.fftn(x, (3, 5), (0, 1))), TABLE),
    "ifftn": (lambda x: _both(np.fft.ifftn(x, norm="forward")), TABLE),
    "rfft2": (lambda x: _both(np.fft.rfft2(x)), TABLE),
    "irfft2": (lambda x: np.fft.irfft2(np.fft.rfft2(x) ** 2), TABLE),
    "irfftn": (lambda x: np.fft.irfftn(np.fft.rfftn(x), (4, 6), (0, 1)), TABLE),
    "power spectrum": (lambda x: np.abs(np.fft.rfft(x)) ** 2, EVEN),
    "angles": (lambda x: np.angle(np.fft.rfft(x)[1:-1]), EVEN),
    "shifted": (lambda x: abs(np.fft.fftshift(np.fft.fft(x))), ODD),
    "shifted back": (lambda x: np.fft.ifftshift(x) * x, TABLE),
    "convolution": (lambda x: np.fft.ifft(np.fft.fft(x) * np.fft.fft(x[::-1])).real, EVEN),
    "arithmetic": (lambda x: _both((1 - 2j) / (2.0 + np.fft.rfft(x) * 1j - x[:7]).conj()), EVEN),
    "sums": (lambda x: _both(np.sum(np.exp(0.1j * np.fft.fft2(x)), axis=0)), TABLE),
    "joined": (lambda x: _both(np.concatenate([np.fft.rfft(x), [1.0 + 2j], x[:2]])), ODD),
    "scipy's rfft": (lambda x: _both(scipy.fft.rfft(x, norm="ortho", workers=1)), EVEN),
    "scipy's irfft": (lambda x: scipy.fft.irfft(scipy.fft.rfft(x) ** 2), EVEN),
    "dct": (lambda x: scipy.fft.dct(x), EVEN),
    "dct of a type": (lambda x: scipy.fft.dct(x, 3, 8, norm="ortho"), EVEN),
    "idct of columns": (lambda x: scipy.fft.idct(x, axis=0), TABLE),
    "dst": (lambda x: scipy.fft.dst(x, 1), EVEN),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, x = CASES[name]
    tape = nt.record(function, x)
    for moved in (x, x + 0.1 * x**2):
        np.testing.assert_allclose(tape(moved), function(moved), rtol=1e-12, atol=1e-13)
    expected = central_jacobian(lambda z: np.ravel(function(z.reshape(x.shape))), x.ravel(), 1e-3)
    for way in derivatives_every_way(function, x):
        np.testing.assert_allclose(way, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["power spectrum", "irfft of an odd number", "angles"])
def test_second_derivatives(name):
    function, x = CASES[name]

    def total(x):
        return np.sum(function(x) ** 3)

    expected = central_jacobian(nt.grad(total), x, 1e-3)
    np.testing.assert_allclose(
        hessian(total, x), expected, rtol=1e-6, atol=1e-7 * abs(expected).max()
    )


def test_the_shape_and_parts_of_a_spectrum():
    def function(x):
        z = np.fft.rfft(x)
        assert z.shape == (7,)
        assert (z.ndim, z.size, len(z)) == (1, 7, 7)
        assert z.dtype == complex
        assert np.iscomplexobj(z)
        z[0] = 2.0 - 1.0j
        return np.sum(np.real(z.copy()) + np.imag(z.reshape(7))) + z.sum().real

    nt.check_derivatives(function, EVEN)


REFUSED = {
    "as a result": (lambda x: np.fft.rfft(x), "real"),
    "a function without a rule": (lambda x: np.rint(np.fft.rfft(x)), "rint.*complex"),
    "another": (lambda x: np.sort(np.fft.rfft(x)), "sort.*complex"),
    "of complex numbers": (lambda x: np.fft.rfft(np.fft.rfft(x)).real, "it is of real ones"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, words = REFUSED[name]
    with pytest.raises(nt.TraceError, match=words):
        nt.jacobian(function)(EVEN)
