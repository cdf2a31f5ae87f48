"""The table of values at kinks and edges, for scalars, short arrays and long ones, by every way.

Each case is asked by sweeps forward and reverse, by derivative tapes forward
and reverse, and by products; they must all give the one value of the table.
"""

import numpy as np
import pytest
import scipy.special
from checks import derivatives_every_way, hessian

import numtape as nt

INF, NAN = np.inf, np.nan


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def _check(function, point, expected):
    """The gradient of a function of a few floats: scalars, and 3 and 20 equal rows at once."""
    for way in derivatives_every_way(function, *point):
        np.testing.assert_allclose(way, [expected], rtol=1e-14)
    for count in (3, 20):
        columns = [np.full(count, value) for value in point]
        for way in derivatives_every_way(lambda *a: function(*a) * 1.0, *columns):
            blocks = [np.diag(np.full(count, slope)) for slope in expected]
            np.testing.assert_allclose(way, np.hstack(blocks), rtol=1e-14)


FIRST = {
    "abs at 0": (abs, [0.0], [0.0]),
    "abs at -0": (np.abs, [-0.0], [0.0]),
    "hypot at 0": (np.hypot, [0.0, 0.0], [0.0, 0.0]),
    "arctan2 at 0": (np.arctan2, [0.0, 0.0], [0.0, 0.0]),
    "sinc at 0": (np.sinc, [0.0], [0.0]),
    "maximum tie": (np.maximum, [1.5, 1.5], [0.5, 0.5]),
    "minimum tie": (np.minimum, [1.5, 1.5], [0.5, 0.5]),
    "maximum tie at 0": (np.maximum, [0.0, -0.0], [0.5, 0.5]),
    "fmax tie": (np.fmax, [1.5, 1.5], [0.5, 0.5]),
    "fmin tie": (np.fmin, [1.5, 1.5], [0.5, 0.5]),
    "fmax ignores nan": (np.fmax, [NAN, 1.5], [0.0, 1.0]),
    "fmin ignores nan": (np.fmin, [1.5, NAN], [1.0, 0.0]),
    "maximum of infinities": (np.maximum, [INF, INF], [0.5, 0.5]),
    "maximum, clear": (np.maximum, [2.0, 1.0], [1.0, 0.0]),
    "clip at the low bound": (lambda x: np.clip(x, 0.5, 2.0), [0.5], [1.0]),
    "clip at the high bound": (lambda x: np.clip(x, 0.5, 2.0), [2.0], [1.0]),
    "clip below": (lambda x: np.clip(x, 0.5, 2.0), [0.1], [0.0]),
    "clip by traced bounds": (lambda x, low: np.clip(x, low, 9.0), [0.1, 0.5], [0.0, 1.0]),
    "clip at a traced bound": (lambda x, low: np.clip(x, low, 9.0), [0.5, 0.5], [1.0, 0.0]),
    "sqrt at 0": (np.sqrt, [0.0], [INF]),
    "x**2 at 0": (lambda x: x**2, [0.0], [0.0]),
    "x**1 at 0": (lambda x: x**1, [0.0], [1.0]),
    "x**3 at 0": (lambda x: x**3, [0.0], [0.0]),
    "x**0.0 at 0": (lambda x: x**0.0, [0.0], [0.0]),
    "x**0 at 0": (lambda x: x**0, [0.0], [0.0]),
    "x**0.0 at 2": (lambda x: x**0.0, [2.0], [0.0]),
    "np.power(x, 2) at 0": (lambda x: np.power(x, 2.0), [0.0], [0.0]),
    "np.power(x, 0) at 0": (lambda x: np.power(x, 0.0), [0.0], [0.0]),
    "x**y at (0, 0)": (lambda x, y: x**y, [0.0, 0.0], [0.0, 0.0]),
    "x**y at (0, 2)": (lambda x, y: x**y, [0.0, 2.0], [0.0, 0.0]),
    "x**y at (0, 1)": (lambda x, y: x**y, [0.0, 1.0], [1.0, 0.0]),
    "x**y at x < 0": (lambda x, y: x**y, [-2.0, 3.0], [12.0, NAN]),
    "x**y at y = 0": (lambda x, y: x**y, [2.0, 0.0], [0.0, np.log(2.0)]),
    "0**y": (lambda y: 0.0**y, [2.0], [0.0]),
    "np.power(0, y)": (lambda y: np.power(0.0, y), [2.0], [0.0]),
    "0**y at 0": (lambda y: 0.0**y, [0.0], [0.0]),
    "1**y": (lambda y: 1.0**y, [2.0], [0.0]),
    "floor": (lambda x: np.floor(x) + x, [2.0], [1.0]),
    "ceil, trunc, rint": (lambda x: np.ceil(x) + np.trunc(x) + np.rint(x) + x, [2.0], [1.0]),
    "sign": (lambda x: np.sign(x) * 3.0 + x, [0.0], [1.0]),
    "comparison": (lambda x: (x > 0.0) * 2.0 + x, [0.0], [1.0]),
    "mod": (lambda x, y: x % y, [7.5, 2.0], [1.0, -3.0]),
    "mod of a negative": (lambda x, y: x % y, [-7.5, 2.0], [1.0, 4.0]),
    "mod at a jump": (lambda x, y: x % y, [4.0, 2.0], [1.0, -2.0]),
    "fmod of a negative": (np.fmod, [-7.5, 2.0], [1.0, 3.0]),
    "floor division": (lambda x, y: x // y + x, [7.5, 2.0], [1.0, 0.0]),
    "logaddexp at -inf and 1": (np.logaddexp, [-INF, 1.0], [0.0, 1.0]),
    "logaddexp2 at -inf and 1": (np.logaddexp2, [1.0, -INF], [1.0, 0.0]),
    "logaddexp far apart": (np.logaddexp, [1000.0, -1000.0], [1.0, 0.0]),
    "hypot of equals": (lambda x: np.hypot(x, x), [2.0], [np.sqrt(2.0)]),
    "hypot of huge": (np.hypot, [3e200, 4e200], [0.6, 0.8]),
    "arctan2 of huge": (np.arctan2, [0.0, 1e200], [1e-200, -0.0]),
    "arctan2 of tiny": (np.arctan2, [0.0, 1e-200], [1e200, -0.0]),
    "tanh far out": (np.tanh, [800.0], [0.0]),
    "expit far out": (scipy.special.expit, [-800.0], [0.0]),
    "xlogy at (0, 0)": (scipy.special.xlogy, [0.0, 0.0], [-INF, 0.0]),
    "copysign": (np.copysign, [-2.0, 3.0], [-1.0, 0.0]),
}


@pytest.mark.parametrize("name", FIRST)
def test_first_order(name):
    function, point, expected = FIRST[name]
    _check(function, point, expected)


def test_logaddexp_at_minus_infinity_is_finite():
    for way in derivatives_every_way(np.logaddexp, -INF, -INF):
        assert np.isfinite(way).all()


# reductions


@pytest.mark.parametrize("size", [3, 4, 7, 9, 20])
@pytest.mark.parametrize("ties", [1, 2, 3])
@pytest.mark.parametrize("reduce", [np.max, np.min])
def test_extreme_ties_share_evenly(reduce, ties, size):
    x = np.linspace(0.0, 1.0, size)
    best = 5.0 if reduce is np.max else -5.0
    places = np.linspace(0, size - 1, ties).astype(int)
    x[places] = best
    expected = np.zeros(size)
    expected[places] = 1.0 / ties
    for way in derivatives_every_way(reduce, x):
        np.testing.assert_allclose(way, [expected], rtol=1e-15)


@pytest.mark.parametrize("shape", [(2, 3), (4, 5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_extreme_ties_along_an_axis(shape, axis):
    x = np.ones(shape)
    expected = np.full(shape, 1.0 / shape[axis])
    for way in derivatives_every_way(lambda x: np.sum(np.max(x, axis=axis)), x):
        np.testing.assert_allclose(way, [expected.ravel()], rtol=1e-15)


@pytest.mark.parametrize("size", [3, 7, 9, 20])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_with_zeros(zeros, size):
    x = np.linspace(0.5, 1.5, size)
    x[:zeros] = 0.0
    expected = np.array([np.prod(np.delete(x, k)) for k in range(size)])
    for way in derivatives_every_way(np.prod, x):
        np.testing.assert_allclose(way, [expected], rtol=1e-13)


@pytest.mark.parametrize("size", [3, 7, 9, 14])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_with_zeros_to_second_order(zeros, size):
    x = np.linspace(0.5, 1.5, size)
    x[:zeros] = 0.0
    expected = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        if i != j:
            expected[i, j] = np.prod(np.delete(x, [i, j]))
    np.testing.assert_allclose(hessian(np.prod, x), expected, rtol=1e-13)


@pytest.mark.parametrize("size", [2, 3, 9, 20])
def test_norm_at_zero(size):
    for way in derivatives_every_way(np.linalg.norm, np.zeros(size)):
        np.testing.assert_array_equal(way, np.zeros((1, size)))
    x = np.zeros((2, size))
    x[1, 0] = -3.0
    expected = np.zeros((1, 2 * size))
    expected[0, size] = -1.0
    for way in derivatives_every_way(lambda x: np.sum(np.linalg.norm(x, axis=1)), x):
        np.testing.assert_array_equal(way, expected)


def test_norm_at_zero_to_second_order():
    for size in (2, 3, 9, 20):
        found = hessian(np.linalg.norm, np.zeros(size))
        assert np.isfinite(found).all()


# where


SINGULAR = {
    "sqrt": (np.sqrt, 0.0),
    "sqrt of a negative": (np.sqrt, -1.0),
    "log": (np.log, 0.0),
    "log of a negative": (np.log, -1.0),
    "reciprocal": (lambda x: 1.0 / x, 0.0),
    "power": (lambda x: x**-1.5, 0.0),
    "root of a negative": (lambda x: x**0.5, -1.0),
    "arccos": (np.arccos, -2.0),
    "arcsin": (np.arcsin, -1.0),
    "exp": (lambda x: np.exp(1000.0 - x), -1.0),
    "x times log x": (lambda x: x * np.log(x), 0.0),
    "0 / 0": (lambda x: (x + 0.5) / (x + 0.5), -0.5),
    "log of sqrt": (lambda x: np.log(np.sqrt(x)), 0.0),
    "nan constant": (lambda x: x * NAN, -1.0),
    "inf constant": (lambda x: x * INF, -1.0),
    "tan, deep": (lambda x: np.sqrt(np.sin(x) - 5.0) / x, -0.5),
    "variable power": (lambda x: x**x, -0.5),
    "gammaln at a pole": (lambda x: scipy.special.gammaln(x), -1.0),
    "cbrt": (np.cbrt, 0.0),
    "arctanh": (np.arctanh, -1.0),
}


def _guarded(function, x):
    return np.where(x > 0.0, function(x), 3.0 * x)


def _guarded_other_arm(function, x):
    return np.where(x <= 0.0, 3.0 * x, function(x))


@pytest.mark.parametrize("guard", [_guarded, _guarded_other_arm], ids=["first", "second"])
@pytest.mark.parametrize("name", SINGULAR)
def test_the_arm_not_taken_contributes_nothing(name, guard):
    function, x = SINGULAR[name]
    _check(lambda x: guard(function, x), [x], [3.0])


@pytest.mark.parametrize("guard", [_guarded, _guarded_other_arm], ids=["first", "second"])
@pytest.mark.parametrize("name", SINGULAR)
def test_the_arm_not_taken_contributes_nothing_to_second_order(name, guard):
    function, x = SINGULAR[name]
    np.testing.assert_array_equal(hessian(lambda x: guard(function, x), x), [[0.0]])
    array = np.full(12, x)
    found = hessian(lambda x: np.sum(guard(function, x)), array)
    np.testing.assert_array_equal(found, np.zeros((12, 12)))


@pytest.mark.parametrize("size", [4, 20])
def test_both_arms_in_one_array(size):
    x = np.linspace(-1.0, 1.0, size)
    x[1] = 0.0
    slopes = np.where(x > 0, 0.5 / np.sqrt(np.where(x > 0, x, 1.0)), 3.0)
    for way in derivatives_every_way(lambda x: np.where(x > 0.0, np.sqrt(x), 3.0 * x), x):
        np.testing.assert_allclose(way, np.diag(slopes), rtol=1e-14)


def test_value_of_where_keeps_the_sign_of_zero():
    for size in (3, 20):
        x = np.full(size, -0.0)
        value = nt.record(lambda x: np.where(x > 0.0, 1.0, x), x)(x)
        assert np.signbit(value).all()


def test_nan_where_it_is_taken_passes_through():
    tape = nt.record(lambda x: np.where(x > 0.0, np.sqrt(x), np.log(x)), -1.0)
    assert np.isnan(tape(-1.0))


def test_sum_of_masked_terms():
    """The usual masked loss: x log x summed where x is positive."""

    def entropy(x):
        return np.sum(np.where(x > 0.0, x * np.log(x), 0.0))

    for size in (4, 20):
        x = np.linspace(0.0, 1.0, size)
        expected = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)) + 1.0, 0.0)
        for way in derivatives_every_way(entropy, x):
            np.testing.assert_allclose(way, [expected], rtol=1e-13, atol=1e-15)


OVERFLOWING = {
    "exp": (np.exp, 1000.0, np.exp),
    "square": (lambda x: x * x * 1e300, 1e200, lambda x: 2e300 * x),
    "sinh": (np.sinh, 1000.0, np.cosh),
}


@pytest.mark.parametrize("size", [3, 12, 30])
@pytest.mark.parametrize("name", OVERFLOWING)
def test_an_infinite_slope_stays_where_it_is(name, size):
    """What no input moves is 0 by structure, whatever its neighbours in the array are."""
    function, big, slope = OVERFLOWING[name]
    x = np.linspace(0.1, 1.0, size)
    x[1] = big
    for mode in (nt.jacfwd, nt.jacrev):
        np.testing.assert_allclose(mode(function)(x), np.diag(slope(x)), rtol=1e-14)


# second order


SECOND = {
    "hypot of equals": (lambda x: np.hypot(x, x), [2.0], [[0.0]]),
    "x**0.0 at 2": (lambda x: x**0.0 + x * x, [2.0], [[2.0]]),
    "x**0.0 at 0": (lambda x: x**0.0 + x * x, [0.0], [[2.0]]),
    "x**1 at 0": (lambda x: x**1 + x * x, [0.0], [[2.0]]),
    "x**2 at 0": (lambda x: x**2, [0.0], [[2.0]]),
    "x**3 at 0": (lambda x: x**3, [0.0], [[0.0]]),
    "x**4 at 0": (lambda x: x**4, [0.0], [[0.0]]),
    "np.power(x, 2) at 0": (lambda x: np.power(x, 2.0), [0.0], [[2.0]]),
    "np.power(x, 3) at 0": (lambda x: np.power(x, 3.0), [0.0], [[0.0]]),
    "np.power(x, 0) at 0": (lambda x: np.power(x, 0.0) + x * x, [0.0], [[2.0]]),
    "0**y": (lambda y: 0.0**y + y * y, [2.0], [[2.0]]),
    "np.power(0, y)": (lambda y: np.power(0.0, y) + y * y, [3.0], [[2.0]]),
    "maximum tie": (lambda x, y: np.maximum(x, y) ** 2, [1.5, 1.5], [[0.5, 0.5], [0.5, 0.5]]),
    "maximum of itself": (lambda x: np.maximum(x, x) ** 2, [1.5], [[2.0]]),
    "minimum of itself": (lambda x: np.minimum(x, x) ** 2, [1.5], [[2.0]]),
    "abs at 0": (lambda x: abs(x) * 1.0, [0.0], [[0.0]]),
    "square of abs at 1": (lambda x: abs(x) ** 2, [-1.0], [[2.0]]),
    "clip at a bound": (lambda x: np.clip(x, 0.5, 2.0) ** 2, [0.5], [[2.0]]),
    "sinc at 0": (np.sinc, [0.0], [[-(np.pi**2) / 3]]),
    "mod": (lambda x, y: (x % y) ** 2, [7.5, 2.0], [[2.0, -6.0], [-6.0, 18.0]]),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_order(name):
    function, point, expected = SECOND[name]
    np.testing.assert_allclose(hessian(function, *point), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", SECOND)
def test_second_order_of_arrays(name):
    function, point, expected = SECOND[name]
    columns = [np.full(12, value) for value in point]
    found = hessian(lambda *arguments: np.sum(function(*arguments)), *columns)
    wanted = np.kron(expected, np.eye(12))
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("size", [2, 3, 12])
@pytest.mark.parametrize("reduce", [np.max, np.min])
def test_tied_extremes_to_second_order(reduce, size):
    found = hessian(lambda x: reduce(x) ** 2, np.full(size, 1.5))
    np.testing.assert_allclose(found, np.full((size, size), 2.0 / size**2), rtol=1e-14)


def test_logsumexp_of_minus_infinities_is_finite_where_it_is_guarded():
    def f(x):
        top = np.maximum(np.max(x), -1e300)
        return np.log(np.sum(np.exp(x - top))) + top

    x = np.array([-INF, 0.5, -INF])
    for way in derivatives_every_way(f, x):
        np.testing.assert_allclose(way, [[0.0, 1.0, 0.0]], atol=1e-15)
