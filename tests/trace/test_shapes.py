"""Derivatives by shapes of distributions and by orders of Bessel functions.

The shapes' references are power series of positive terms, summed by mpmath at 130 digits and
differentiated numerically there.
"""

import mpmath
import numpy as np
import pytest
import scipy.special as special
import scipy.stats as stats
from checks import assert_both_orders, assert_every_point_alike
from mpmath import mp

import numtape as nt
from numtape.ops.table import load_ufunc

DIGITS = 130


def _summed(term, ratio):
    """A series of positive terms, of its first one and the ratio of the next to the n-th."""
    total, n = mpmath.mpf(0), 0
    while term > total * mpmath.mpf(10) ** (-mp.dps - 5):
        total += term
        term *= ratio(n)
        n += 1
    return total


def _gamma(a, x):
    first = mpmath.exp(a * mpmath.log(x) - x - mpmath.loggamma(a + 1))
    return _summed(first, lambda n: x / (a + n + 1))


def _low_beta(a, b, x):
    first = mpmath.exp(
        a * mpmath.log(x)
        + b * mpmath.log(1 - x)
        - mpmath.loggamma(a + 1)
        - mpmath.loggamma(b)
        + mpmath.loggamma(a + b)
    )
    return _summed(first, lambda n: x * (a + b + n) / (a + 1 + n))


def _beta(a, b, x):
    """Less 1 for large x, so that no digits are lost there."""
    return _low_beta(a, b, x) if x < 0.5 else -_low_beta(b, a, 1 - x)


def _student(v, t):
    z = v / (v + t * t)
    if z < 0.5:
        tail = _low_beta(v / 2, mpmath.mpf(0.5), z) / 2
    else:
        tail = mpmath.mpf(0.5) - _low_beta(mpmath.mpf(0.5), v / 2, 1 - z) / 2
    return 1 - tail if t > 0 else tail


def _derivative(function, point, orders):
    """A first or second partial derivative, by differences of so many digits."""
    with mpmath.workdps(DIGITS):
        point = [mpmath.mpf(x) for x in point]
        moving = [k for k, order in enumerate(orders) for _ in range(order)]
        steps = [point[k] * mpmath.mpf(10) ** -25 for k in moving]

        def at(*signs):
            moved = list(point)
            for k, step, sign in zip(moving, steps, signs):
                moved[k] += sign * step
            return function(*moved)

        if len(moving) == 1:
            return (at(1) - at(-1)) / (2 * steps[0])
        rise = at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)
        return rise / (4 * steps[0] * steps[1])


def _assert_close(name, function, orders, points, within):
    ufunc = load_ufunc(f"numtape.run.shapes.{name}")
    for point in points:
        expected = _derivative(function, point, orders)
        # A second derivative changes its sign; it is as right as the function's scale asks for.
        with mpmath.workdps(DIGITS):
            value = function(*map(mpmath.mpf, point))
            scale = min(abs(value), 1 - abs(value))
        for shape, order in zip(point, orders):
            scale /= (1.0 + abs(shape)) ** (0.5 * order)
        error = float(abs(ufunc(*point) - expected) / (abs(expected) + scale))
        assert error < within, (point, ufunc(*point), float(expected))


_GAMMA = [
    (a, x)
    for a in (1e-6, 0.3, 1.0, 7.5, 12.5, 300.0, 1e4)
    for x in (1e-30, 0.2, 1.6, 9.0, a + 0.3 * a**0.5, a - 2.0 * a**0.5, 1.1 * a, a + 9.0 * a**0.5)
    if x > a / 3.0 or (a < 10.0 and x > 0.0)  # elsewhere it is below 1e-50
]
_BETA = [
    (a, b, x)
    for a, b in [
        *((0.004, 800.0), (0.5, 0.5), (1.0, 1.0), (2.5, 0.7), (0.02, 0.03)),
        *((11.0, 30.0), (150.0, 90.0), (1500.0, 0.2), (2000.0, 2500.0)),
    ]
    for x in (1e-9, 0.2, 0.5, 0.9, a / (a + b), a / (a + b) * 0.98, 1.0 - 2.0**-20)
    if 0.0 < x < 1.0 and abs(x - a / (a + b)) < 12 * (a * b / (a + b + 1)) ** 0.5 / (a + b)
]
_STUDENT = [
    (v, t)
    for v in (0.1, 1.0, 4.5, 19.9, 20.1, 150.0, 1e4, 1e7)
    for t in (-1e5, -2.0, -1e-5, 0.4, 1.5, 1.6, 5.0)
    if abs(t) < 10.0 or v < 10.0
]


@pytest.mark.parametrize("order", [1, 2])
def test_gamma(order):
    _assert_close(f"gammainc_d{order}", _gamma, (order, 0), _GAMMA, 3e-13)


@pytest.mark.parametrize(
    ("name", "orders"),
    [("a", (1, 0, 0)), ("b", (0, 1, 0)), ("aa", (2, 0, 0)), ("ab", (1, 1, 0)), ("bb", (0, 2, 0))],
)
def test_beta(name, orders):
    _assert_close(f"betainc_{name}", _beta, orders, _BETA, 5e-13)


@pytest.mark.parametrize("order", [1, 2])
def test_student(order):
    _assert_close(f"stdtr_d{order}", _student, (order, 0), _STUDENT, 3e-13)


def _positive(v, x):
    """Of J and Y, what their oscillation has as its size."""
    return mpmath.hypot(mpmath.besselj(v, x), mpmath.bessely(v, x)) if x > abs(v) else 0


BESSEL = {
    "jv": mpmath.besselj,
    "yv": mpmath.bessely,
    "ive": lambda v, x: mpmath.exp(-x) * mpmath.besseli(v, x),
    "kve": lambda v, x: mpmath.exp(x) * mpmath.besselk(v, x),
}
_ORDERS = [
    (v, x)
    for v in (-2.7, -1.0, -0.3, 0.0, 1.0, 2.4, 11.3, 60.1)
    for x in (1e-4, 1.3, 2.1, 9.0, 11.5, 23.0, 49.0, 51.0, 61.0, 400.0)
    if x > abs(v) / 20.0
]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", BESSEL)
def test_orders(name, order):
    """Against differences at 100 digits; integer orders beside themselves, for mpmath's speed."""
    ufunc, function = load_ufunc(f"numtape.run.bessel.{name}_d{order}"), BESSEL[name]
    for v, x in _ORDERS:
        with mpmath.workdps(100):
            at, step, x_ = mpmath.mpf(v) + mpmath.mpf("1e-35"), mpmath.mpf("1e-15"), mpmath.mpf(x)
            a, b, c, d, e = (function(at + k * step, x_) for k in (-2, -1, 0, 1, 2))
            if order == 1:
                expected = (8 * (d - b) - (e - a)) / (12 * step)
            else:
                expected = (16 * (d + b) - (e + a) - 30 * c) / (12 * step**2)
            size = abs(c) if name in ("ive", "kve") else _positive(v, x)
        error = float(abs(ufunc(v, x) - expected) / (abs(expected) + size))
        assert error < 2e-13, (v, x, ufunc(v, x), float(expected))


def test_orders_at_edges():
    for name in BESSEL:
        ufunc = load_ufunc(f"numtape.run.bessel.{name}_d1")
        assert np.isnan(ufunc(1.5, -1.0))
        assert np.isnan(ufunc(np.nan, 1.0))
        assert ufunc(1.5, np.inf) == 0.0
    assert nt.grad(special.jv)(1.5, 0.0) == nt.grad(special.iv)(1.5, 0.0) == 0.0
    assert np.isnan(nt.grad(special.jv)(0.0, 0.0))  # J_v(0) is 1 there, and 0 beside it
    # Even and odd in the order.
    assert nt.grad(special.kv)(0.0, 2.0) == 0.0
    assert nt.grad(special.kv)(-1.5, 2.0) == -nt.grad(special.kv)(1.5, 2.0)


FUNCTIONS = {
    **{
        name: (getattr(special, name), [(1.3, 2.2), (0.4, 0.6), (5.2, 30.0)])
        for name in ("jv", "yv", "iv", "ive", "kv", "kve")
    },
    "gammainc": (special.gammainc, [(2.5, 1.2), (0.3, 0.8), (20.0, 25.0)]),
    "gammaincc": (special.gammaincc, [(2.5, 1.2), (0.3, 4.0)]),
    "chdtr": (special.chdtr, [(2.5, 1.2), (7.0, 11.0)]),
    "chdtrc": (special.chdtrc, [(2.5, 1.2), (7.0, 11.0)]),
    "stdtr": (special.stdtr, [(2.5, 1.2), (40.0, -0.7)]),
    "betainc": (special.betainc, [(2.5, 1.2, 0.3), (0.4, 7.0, 0.1), (9.0, 8.0, 0.6)]),
    "betaincc": (special.betaincc, [(2.5, 1.2, 0.3)]),
    "fdtr": (special.fdtr, [(2.5, 6.0, 1.3), (12.0, 9.0, 0.4)]),
    "fdtrc": (special.fdtrc, [(2.5, 6.0, 1.3)]),
    "gamma.cdf": (lambda x, a, s: stats.gamma.cdf(x, a, scale=s), [(2.0, 1.5, 1.2)]),
    "gamma.logsf": (lambda x, a, s: stats.gamma.logsf(x, a, scale=s), [(2.0, 1.5, 1.2)]),
    "beta.cdf": (lambda x, a, b: stats.beta.cdf(x, a, b), [(0.3, 2.0, 3.5)]),
    "beta.sf": (lambda x, a, b: stats.beta.sf(x, a, b), [(0.3, 2.0, 3.5)]),
    "t.cdf": (lambda x, v: stats.t.cdf(x, v), [(0.3, 2.0), (-2.0, 5.0)]),
    "t.sf": (lambda x, v: stats.t.sf(x, v), [(0.3, 2.0)]),
    "f.cdf": (lambda x, m, n: stats.f.cdf(x, m, n), [(1.3, 2.0, 3.5)]),
    "f.sf": (lambda x, m, n: stats.f.sf(x, m, n), [(1.3, 2.0, 3.5)]),
    "chi2.cdf": (lambda x, v: stats.chi2.cdf(x, v), [(1.3, 2.0)]),
    "chi2.sf": (lambda x, v: stats.chi2.sf(x, v), [(1.3, 2.0)]),
    "nbinom.cdf": (lambda n, p: stats.nbinom.cdf(3, n, p), [(2.5, 0.4)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_functions(name):
    function, points = FUNCTIONS[name]
    for point in points:
        assert_both_orders(function, point, first=(1e-8, 1e-10), second=(1e-7, 1e-9))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_and_batches(name):
    """Many points at once, and one after the other on one recording."""
    function, points = FUNCTIONS[name]
    operands = [x * np.linspace(0.7, 1.3, 12) for x in points[0]]
    assert_every_point_alike(function, operands)


@pytest.mark.parametrize("name", ["gammainc", "stdtr", "betainc", "jv"])
def test_a_third_derivative_by_the_shape_is_refused(name):
    function, (point, *_) = FUNCTIONS[name]
    third = nt.grad(nt.grad(nt.grad(function)))
    with pytest.raises(nt.UnsupportedError, match=f"{name}_.*first operand has no closed form"):
        third(*point)
    # By the other operand there is one.
    last = len(point) - 1
    mixed = nt.grad(nt.grad(nt.grad(function, argnums=0), argnums=0), argnums=last)
    assert np.isfinite(mixed(*point))


def test_edges():
    assert nt.grad(special.gammainc)(2.0, 0.0) == 0.0
    assert nt.grad(special.gammainc)(2.0, np.inf) == 0.0
    assert np.isnan(nt.grad(special.gammainc)(-1.0, 1.0))
    # A shape of 0 has all its weight at 0: the slope there is that of E1.
    np.testing.assert_allclose(
        load_ufunc("numtape.run.shapes.gammainc_d1")(0.0, [0.3, 2.0, 9.0]),
        -special.exp1([0.3, 2.0, 9.0]),
        rtol=1e-13,
    )
    for x in (0.0, 1.0):
        assert nt.grad(special.betainc, argnums=(0, 1))(2.0, 3.0, x) == (0.0, 0.0)
    assert nt.grad(special.stdtr)(3.0, 0.0) == 0.0
    assert nt.grad(special.stdtr)(3.0, np.inf) == 0.0
    with pytest.raises(AttributeError):
        load_ufunc("numtape.run.shapes.nothing")


def test_counts():
    """They are rounded down, so slopes by them are 0; those by the probability are masses."""
    for function, mass in (
        (special.bdtr, -stats.binom.pmf(2, 6, 0.3) * 4 / 0.7),
        (special.bdtrc, stats.binom.pmf(2, 6, 0.3) * 4 / 0.7),
    ):
        assert nt.grad(function, argnums=(0, 2))(2.0, 6, 0.3)[0] == 0.0
        np.testing.assert_allclose(nt.grad(function, argnums=2)(2, 6, 0.3), mass, rtol=1e-12)
        found = nt.record(lambda p, f=function: f(2, 6, p), 0.3)(0.3)
        np.testing.assert_allclose(found, function(2, 6, 0.3), rtol=1e-14)
    for function in (special.nbdtr, special.nbdtrc):
        slope = (function(2, 6, 0.3001) - function(2, 6, 0.2999)) / 2e-4
        np.testing.assert_allclose(nt.grad(function, argnums=2)(2, 6, 0.3), slope, rtol=1e-6)
        assert nt.grad(function, argnums=(0, 1))(2.0, 6.0, 0.3) == (0.0, 0.0)
    k = np.array([-1.0, 0.0, 2.0, 6.0, 7.0])
    for function in (special.bdtr, special.bdtrc):
        expected = function(k, 6, 0.3)
        np.testing.assert_allclose(nt.record(lambda p, f=function: f(k, 6, p), 0.3)(0.3), expected)
