"""Kinks and arms not taken at second order, in every nesting of forward and reverse.

Each case is asked as scalars, by the four nestings of derivative tapes and by
seeded tapes of seeded tapes; by those also as an array; and by calls of calls.
"""

import numpy as np
import pytest
import scipy.special
from checks import SEEDED, WAYS, hessian_by

import numtape as nt

INF, NAN = np.inf, np.nan


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def _check(way, function, point, expected, rtol=1e-13, arrays=True):
    """Of a few floats; by a seeded tape also of twelve equal elements of each at once."""
    found = hessian_by(way, nt.record(function, *point).flat)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-14)
    if arrays and way in SEEDED.values():
        columns = [np.full(12, value) for value in point]
        flat = nt.record(lambda *x: np.sum(function(*x)), *columns).flat
        direction = np.random.default_rng(3).normal(size=flat.inputs)
        wanted = np.kron(expected, np.eye(12)) @ direction
        np.testing.assert_allclose(way(flat)(direction), wanted, rtol=rtol, atol=1e-14)


# the table, where it is flat or smooth at second order


SECOND = {
    "abs at 0": (lambda x: np.abs(x) * 1.0, [0.0], [[0.0]]),
    "abs**2 at 0": (lambda x: np.abs(x) ** 2, [0.0], [[2.0]]),
    "abs**2": (lambda x: np.abs(x) ** 2, [-1.0], [[2.0]]),
    "hypot of equals": (lambda x: np.hypot(x, x), [2.0], [[0.0]]),
    "hypot of negative equals": (lambda x: np.hypot(x, -x), [-2.0], [[0.0]]),
    "hypot": (np.hypot, [3.0, 4.0], np.array([[16.0, -12.0], [-12.0, 9.0]]) / 125.0),
    "sinc at 0": (np.sinc, [0.0], [[-(np.pi**2) / 3]]),
    "maximum tie": (np.maximum, [1.5, 1.5], np.zeros((2, 2))),
    "minimum tie": (np.minimum, [1.5, 1.5], np.zeros((2, 2))),
    "fmax tie": (np.fmax, [1.5, 1.5], np.zeros((2, 2))),
    "squared maximum tie": (
        lambda x, y: np.maximum(x, y) ** 2,
        [1.5, 1.5],
        [[0.5, 0.5], [0.5, 0.5]],
    ),
    "maximum of itself": (lambda x: np.maximum(x, x) ** 2, [1.5], [[2.0]]),
    "minimum of itself": (lambda x: np.minimum(x, x) ** 3, [1.5], [[9.0]]),
    "maximum of equal functions": (lambda x: np.maximum(x * x, x**2.0), [1.5], [[2.0]]),
    "clip at the low bound": (lambda x: np.clip(x, 0.5, 2.0) ** 2, [0.5], [[2.0]]),
    "clip at the high bound": (lambda x: np.clip(x, 0.5, 2.0) ** 2, [2.0], [[2.0]]),
    "clip below": (lambda x: np.clip(x, 0.5, 2.0) ** 2, [0.1], [[0.0]]),
    "clip by a traced bound": (
        lambda x, low: np.clip(x, low, 9.0) ** 2,
        [0.1, 0.5],
        [[0.0, 0.0], [0.0, 2.0]],
    ),
    "x**2 at 0": (lambda x: x**2, [0.0], [[2.0]]),
    "x**y at y = 0": (lambda x, y: x**y, [4.0, 0.0], [[0.0, 0.25], [0.25, np.log(4.0) ** 2]]),
    "power at y = 0": (np.power, [0.5, 0.0], [[0.0, 2.0], [2.0, np.log(0.5) ** 2]]),
    "x**y at 1, 0": (lambda x, y: x**y, [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]),
    "x**1 at 0": (lambda x: x**1, [0.0], [[0.0]]),
    "x**3 at 0": (lambda x: x**3, [0.0], [[0.0]]),
    "x**4 at 0": (lambda x: x**4, [0.0], [[0.0]]),
    "x**0.0 at 0": (lambda x: x**0.0 + x * x, [0.0], [[2.0]]),
    "x**0.0 at 2": (lambda x: x**0.0 + x * x, [2.0], [[2.0]]),
    "x**0 at 0": (lambda x: x**0 + x * x, [0.0], [[2.0]]),
    "np.power(x, 0) at 0": (lambda x: np.power(x, 0.0) + x * x, [0.0], [[2.0]]),
    "np.power(x, 2) at 0": (lambda x: np.power(x, 2.0), [0.0], [[2.0]]),
    "0**y": (lambda y: 0.0**y + y * y, [2.0], [[2.0]]),
    "0**y at 0": (lambda y: 0.0**y + y * y, [0.0], [[2.0]]),
    "np.power(0, y)": (lambda y: np.power(0.0, y) + y * y, [3.0], [[2.0]]),
    "x**y at (0, 3)": (lambda x, y: x**y, [0.0, 3.0], np.zeros((2, 2))),
    "x**y at (0, 2)": (lambda x, y: x**y, [0.0, 2.0], [[2.0, 0.0], [0.0, 0.0]]),
    "square of x**y at (0, 1)": (lambda x, y: (x**y) ** 2, [0.0, 1.0], [[2.0, 0.0], [0.0, 0.0]]),
    "floor": (lambda x: np.floor(x) * x + x * x, [2.0], [[2.0]]),
    "sign": (lambda x: np.sign(x) * x * x, [-2.0], [[-2.0]]),
    "comparison": (lambda x: (x >= 0.0) * x * x, [0.0], [[2.0]]),
    "mod": (lambda x, y: (x % y) ** 2, [7.5, 2.0], [[2.0, -6.0], [-6.0, 18.0]]),
    "mod, alone": (lambda x, y: (x % y) * 1.0, [7.5, 2.0], np.zeros((2, 2))),
    "arctan2 on an axis": (np.arctan2, [0.0, 2.0], [[0.0, -0.25], [-0.25, 0.0]]),
    "logaddexp far apart": (np.logaddexp, [1000.0, -1000.0], np.zeros((2, 2))),
    "logaddexp at -inf and 1": (np.logaddexp, [-INF, 1.0], np.zeros((2, 2))),
    "logaddexp of equals": (lambda x: np.logaddexp(x, x), [1.0], [[0.0]]),
    "tanh far out": (np.tanh, [400.0], [[0.0]]),
    "expit far out": (scipy.special.expit, [-800.0], [[0.0]]),
    "heaviside": (lambda x: np.heaviside(x, 0.5) * x * x, [1.0], [[2.0]]),
    "copysign": (lambda x, y: np.copysign(x, y) ** 2, [-2.0, 3.0], [[2.0, 0.0], [0.0, 0.0]]),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_order(name, way):
    _check(way, *SECOND[name])


@pytest.mark.parametrize("size", [2, 3, 12])
@pytest.mark.parametrize("reduce", [np.max, np.min])
def test_tied_extremes(reduce, size, way):
    tie = np.full(size, 1.5)
    found = hessian_by(way, nt.record(lambda x: reduce(x) ** 2, tie).flat)
    np.testing.assert_allclose(found, np.full((size, size), 2.0 / size**2), rtol=1e-14)
    product = way(nt.record(lambda x: reduce(x) * 1.0, tie).flat)
    assert not product(np.arange(1.0, size + 1)).any()


@pytest.mark.parametrize("size", [3, 7, 12])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_with_zeros(zeros, size, way):
    x = np.linspace(0.5, 1.5, size)
    x[:zeros] = 0.0
    expected = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        if i != j:
            expected[i, j] = np.prod(np.delete(x, [i, j]))
    direction = np.arange(1.0, size + 1)
    found = way(nt.record(np.prod, x).flat)(direction)
    np.testing.assert_allclose(found, expected @ direction, rtol=1e-13)


@pytest.mark.parametrize("function", [np.linalg.norm, lambda x: np.hypot(x[0], x[1])])
def test_norms_at_zero_are_finite(function, way):
    for size in (2, 12) if way in SEEDED.values() else (2,):
        assert np.isfinite(hessian_by(way, nt.record(function, np.zeros(size)).flat)).all()


def test_logaddexp_at_minus_infinity_is_finite(way):
    assert np.isfinite(hessian_by(way, nt.record(np.logaddexp, -INF, -INF).flat)).all()


# arms that are not taken


SINGULAR = {
    "sqrt": (np.sqrt, 0.0),
    "sqrt of a negative": (np.sqrt, -1.0),
    "log": (np.log, 0.0),
    "log of a negative": (np.log, -1.0),
    "reciprocal": (lambda x: 1.0 / x, 0.0),
    "np.reciprocal": (np.reciprocal, 0.0),
    "power": (lambda x: x**-1.5, 0.0),
    "root of a negative": (lambda x: x**0.5, -1.0),
    "variable power": (lambda x: x**x, -0.5),
    "np.power": (lambda x: np.power(x, x * 1.5), -0.5),
    "arccos": (np.arccos, -2.0),
    "arctanh": (np.arctanh, -1.0),
    "exp": (lambda x: np.exp(1000.0 - x), -1.0),
    "exp of exp": (lambda x: np.exp(np.exp(800.0 - x) * x), -1.0),
    "x log x": (lambda x: x * np.log(x), 0.0),
    "0 / 0": (lambda x: (x + 0.5) / (x + 0.5), -0.5),
    "log of sqrt": (lambda x: np.log(np.sqrt(x)), 0.0),
    "nan constant": (lambda x: x * NAN, -1.0),
    "inf constant": (lambda x: x * x * INF, -1.0),
    "inf - inf": (lambda x: x / 0.0 - 2.0 * x / 0.0, -1.0),
    "deep": (lambda x: np.sqrt(np.sin(x) - 5.0) / x, -0.5),
    "sum of many": (lambda x: np.log(x) * np.sqrt(x) + 1.0 / np.log(x) - x**0.3, -0.5),
    "gammaln at a pole": (lambda x: scipy.special.gammaln(x), -1.0),
    "xlogy": (lambda x: scipy.special.xlogy(x, x), 0.0),
    "cbrt": (np.cbrt, 0.0),
    "tan of inf": (lambda x: np.tan(1.0 / x), 0.0),
    "maximum of nans": (lambda x: np.maximum(np.log(x), np.sqrt(x)) * x, -1.0),
    "hypot of inf": (lambda x: np.hypot(1.0 / x, x), 0.0),
    "another where": (lambda x: np.where(x < 5.0, np.log(x), np.sqrt(x)), -1.0),
}

GUARDS = {
    "first arm": lambda f, x: np.where(x > 0.0, f(x), 3.0 * x * x),
    "second arm": lambda f, x: np.where(x <= 0.0, 3.0 * x * x, f(x)),
    "used twice": lambda f, x: np.where(x <= 0.0, 3.0 * x, f(x)) * np.where(x > 0.0, f(x), x),
    "one of both": lambda f, x: np.where(x > 0.0, f(x) * f(x), 0.0) + 3.0 * x**2,
    "times what follows": lambda f, x: np.sin(np.where(x > 0.0, f(x), 0.0)) * x + 3.0 * x * x,
    "double": lambda f, x: np.where(x > 0.0, np.where(x > 0.0, f(x), x), 3.0 * x * x),
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", SINGULAR)
def test_the_arm_not_taken_contributes_nothing(name, guard):
    function, x = SINGULAR[name]
    for way in WAYS.values():
        arrays = guard in ("second arm", "times what follows")
        _check(way, lambda x: GUARDS[guard](function, x), [x], [[6.0]], arrays=arrays)


CHOICES = {
    "maximum": (lambda x: np.maximum(np.sqrt(x), 1.0 + x * x), 0.0, 2.0),
    "minimum": (lambda x: np.minimum(1.0 / x, x * x), 0.0, 2.0),
    "fmax and nan": (lambda x: np.fmax(np.log(x), x * x), -1.0, 2.0),
    "fmin and nan": (lambda x: np.fmin(np.sqrt(x), x * x), -1.0, 2.0),
    "clip from above": (lambda x: np.clip(1.0 / x, 0.0, 5.0) + x * x, 0.0, 2.0),
    "clip from below": (lambda x: np.clip(np.log(x), -7.0, 5.0) + x * x, 0.0, 2.0),
    "abs of a where": (lambda x: np.abs(np.where(x > 0, np.log(x), x)) ** 2, -1.0, 2.0),
    "masked by a comparison": (lambda x: np.where(x > 0, 1.0, 0.0) * x + x * x, -1.0, 2.0),
    "maximum of masked": (
        lambda x: np.maximum(np.where(x > 0, np.log(x), -9.0), x * x),
        -1.0,
        2.0,
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_leave_the_other_out(name, way):
    function, x, expected = CHOICES[name]
    _check(way, function, [x], [[expected]])


# Those that are finite where they are taken.
FINITE_BEYOND = [name for name in SINGULAR if not {"exp", "inf", "nan"} & set(name.split())]


@pytest.mark.parametrize("name", FINITE_BEYOND)
def test_by_calls_of_calls(name):
    """The same through the public names, and with an array in which both arms are taken."""
    function, x = SINGULAR[name]

    def f(x):
        return np.sum(np.where(x > 0.5, function(x + 1.0), 0.0) + np.where(x > 0.5, 0.0, x**3))

    points = np.array([x, 0.75, x, -0.25, x, x, 0.8, x, x, x])
    smooth = nt.hessian(lambda x: np.sum(function(x + 1.0)))(np.array([0.75, 0.8]))
    expected = np.diag(6.0 * points)
    expected[[1, 6], [1, 6]] = np.diag(smooth)
    ways = [
        nt.hessian(f),
        lambda x: np.array([nt.hvp(f, (x,), (u,))[0] for u in np.eye(10)]),
        lambda x: nt.record(f, x).hessian(x),
    ]
    for way in ways:
        np.testing.assert_allclose(way(points), expected, rtol=1e-11, atol=1e-13)
