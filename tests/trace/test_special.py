"""SciPy's special functions of traced arguments: those that are compositions, kinks, refusals.

The ufuncs are rows of the table and are tested in `tests/ops`.
"""

import mpmath
import numpy as np
import pytest
import scipy.special as special
from checks import assert_replays, central_jacobian, derivatives_every_way, hessian
from scipy.special import logsumexp

import numtape as nt

INF = np.inf


def _points(shape, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape),) for _ in range(2)]


COMPOSED = {
    "logsumexp": lambda x: special.logsumexp(x),
    "logsumexp by rows": lambda x: special.logsumexp(x, axis=1),
    "logsumexp by columns": lambda x: special.logsumexp(x, 0, keepdims=True),
    "logsumexp with signs": lambda x: special.logsumexp(x, axis=-1, return_sign=True)[0],
    "logsumexp over two axes": lambda x: special.logsumexp(x, axis=(0, 1)),
    "softmax": lambda x: special.softmax(x),
    "softmax by rows": lambda x: special.softmax(x, axis=1),
    "log_softmax": lambda x: special.log_softmax(x),
    "log_softmax by columns": lambda x: special.log_softmax(x, axis=0),
    "softplus": lambda x: special.softplus(x),
    "polygamma": lambda x: special.polygamma(2, np.exp(x)),
    "polygamma of order 0": lambda x: special.polygamma(0, np.exp(x)),
    "polygamma of several orders": lambda x: special.polygamma(np.arange(4), np.exp(x)),
    "zeta": lambda x: special.zeta(2.5, np.exp(x)),
    "multigammaln": lambda x: special.multigammaln(np.exp(x) + 1.5, 3),
    "yn": lambda x: special.yn(3, np.exp(x)),
    "kn": lambda x: special.kn(2, np.exp(x)),
    "gammasgn": lambda x: special.gammasgn(3.0 * x) * x,
}


@pytest.mark.parametrize("name", COMPOSED)
def test_values_are_those_of_scipy(name):
    first, second = _points((3, 4))
    if name == "yn":  # which is yv here
        found = nt.record(COMPOSED[name], *first)(*second)
        np.testing.assert_allclose(found, COMPOSED[name](*second), rtol=1e-13)
    else:
        assert_replays(COMPOSED[name], first, second)


def test_signs_of_gamma_at_its_poles():
    x = np.array([0.0, -0.0, -1.0, -2.0, -2.5, 2.0, np.nan, np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        expected = special.gammasgn(x)
        np.testing.assert_array_equal(nt.record(special.gammasgn, np.ones(9))(x), expected)


@pytest.mark.parametrize("name", COMPOSED)
def test_first_derivatives(name):
    function = COMPOSED[name]
    ((x,), _) = _points((3, 4))
    expected = central_jacobian(lambda flat: np.ravel(function(flat.reshape(3, 4))), x.ravel())
    for way in derivatives_every_way(function, x):
        np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", COMPOSED)
def test_second_derivatives(name):
    function, x = COMPOSED[name], np.array([[0.3, -0.2], [1.1, 0.5]])
    weights = np.arange(1.0, 17.0)
    if name.endswith("orders"):
        x = np.full(4, 0.3)

    def total(x):
        result = np.ravel(function(x))
        return np.sum(result * weights[: result.size])

    def gradient(flat):
        return np.ravel(nt.grad(total)(flat.reshape(x.shape)))

    np.testing.assert_allclose(
        hessian(total, x), central_jacobian(gradient, x.ravel()), rtol=1e-6, atol=1e-8
    )


def test_weighted_logsumexp():
    a, b = np.array([[0.5, -1.0, 2.0], [1.0, 0.1, -0.4]]), np.array([1.0, 2.0, -0.5])
    for options in ({}, {"axis": 0}, {"axis": 0, "keepdims": True}):
        for sign in (False, True):

            def function(a, b, options=options, sign=sign):
                result = special.logsumexp(
                    a, b=b * b if not sign else b, return_sign=sign, **options
                )
                return result[0] if sign else result

            np.testing.assert_allclose(nt.record(function, a, b)(a, b), function(a, b), rtol=1e-14)
            expected = central_jacobian(
                lambda z, f=function: np.ravel(f(z[:6].reshape(2, 3), z[6:])),
                np.concatenate([a.ravel(), b]),
            )
            for way in derivatives_every_way(function, a, b):
                np.testing.assert_allclose(way, expected, rtol=1e-8, atol=1e-9)


def test_signs_of_weighted_sums():
    a, b = np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([1.0, -1.0])
    signs = nt.record(lambda a: special.logsumexp(a, b=b, axis=1, return_sign=True)[1], a)(a)
    np.testing.assert_array_equal(signs, [-1.0, 1.0])


def test_a_weight_of_zero_hides_its_term():
    a, b = np.array([1.0, 2000.0]), np.array([2.0, 0.0])
    for way in derivatives_every_way(lambda a: special.logsumexp(a, b=b), a):
        np.testing.assert_allclose(way, [[1.0, 0.0]])


def test_infinite_terms():
    for size in (2, 3, 20):
        for way in derivatives_every_way(logsumexp, np.full(size, -INF)):
            np.testing.assert_allclose(way, np.full((1, size), 1.0 / size))
    for way in derivatives_every_way(logsumexp, np.array([INF, 1.0, 2.0])):
        np.testing.assert_array_equal(way, [[1.0, 0.0, 0.0]])
    for way in derivatives_every_way(logsumexp, np.array([-INF, 1.0, 2.0])):
        np.testing.assert_allclose(way, [[0.0, *special.softmax([1.0, 2.0])]])


def test_a_small_sum_beside_the_largest_is_kept():
    x = np.array([0.0, -50.0])
    assert nt.record(logsumexp, x)(x) == special.logsumexp(x) == float(mpmath.exp(-50))


# far out and at edges, against mpmath


@pytest.mark.parametrize("x", [-1e3, -30.0, 5.0, 29.0, 31.0, 200.0, 1e6])
def test_erfcx_far_out(x):
    """The slope neither cancels nor overflows before its value does."""
    if x == -1e3:
        assert nt.grad(special.erfcx)(x) == -INF
        return
    with mpmath.workdps(60):
        slopes = [
            mpmath.diff(lambda t: mpmath.exp(t * t) * mpmath.erfc(t), x, n, h=mpmath.mpf("1e-8"))
            for n in (1, 2)
        ]
    if x > 1e5:  # leading terms
        slopes = [-1 / (mpmath.sqrt(mpmath.pi) * x**2), 2 / (mpmath.sqrt(mpmath.pi) * x**3)]
    np.testing.assert_allclose(nt.grad(special.erfcx)(x), float(slopes[0]), rtol=1e-11)
    second = nt.grad(nt.grad(special.erfcx))(x)
    np.testing.assert_allclose(second, float(slopes[1]), rtol=1e-8)


@pytest.mark.parametrize("x", [-1e4, -100.0, -5.0, 0.0, 5.0, 30.0])
def test_log_ndtr_far_out(x):
    with mpmath.workdps(60):
        density = mpmath.npdf(x)
        ratio = density / (mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2)
        second = -ratio * (x + ratio)
    np.testing.assert_allclose(nt.grad(special.log_ndtr)(x), float(ratio), rtol=1e-12)
    np.testing.assert_allclose(
        nt.grad(nt.grad(special.log_ndtr))(x), float(second), rtol=1e-9, atol=1e-150
    )


EDGES = {
    "rgamma at a pole of gamma": (special.rgamma, -2.0, [2.0, None]),
    "rgamma at 0": (special.rgamma, 0.0, [1.0, 2 * np.euler_gamma]),
    "gammainc at 0 of order 1": (lambda x: special.gammainc(1.0, x), 0.0, [1.0, -1.0]),
    "gammainc at 0 of order 2": (lambda x: special.gammainc(2.0, x), 0.0, [0.0, 1.0]),
    "gammaincc at 0 of order 2": (lambda x: special.gammaincc(2.0, x), 0.0, [0.0, -1.0]),
    "chdtr at 0": (lambda x: special.chdtr(4.0, x), 0.0, [0.0, 0.25]),
    "i1 at 0": (special.i1, 0.0, [0.5, 0.0]),
    "j1 at 0": (special.j1, 0.0, [0.5, 0.0]),
    "i0 at 0": (special.i0, 0.0, [0.0, 0.5]),
    "jv at 0": (lambda x: special.jv(2, x), 0.0, [0.0, 0.25]),
    "boxcox of power 0": (lambda x: special.boxcox(x, 0.0), 2.0, [0.5, -0.25]),
    "boxcox by the power at 0": (
        lambda y: special.boxcox(2.0, y), 0.0, [np.log(2.0) ** 2 / 2, np.log(2.0) ** 3 / 3],
    ),
    "boxcox1p by the power at 0": (
        lambda y: special.boxcox1p(1.0, y), 0.0, [np.log(2.0) ** 2 / 2, np.log(2.0) ** 3 / 3],
    ),
    "boxcox of 0 by the power": (lambda y: special.boxcox(0.0, y), 2.0, [0.25, None]),
    "inv_boxcox by the power at 0": (
        lambda y: special.inv_boxcox(1.0, y), 0.0, [-np.e / 2, np.e * (0.25 + 2 / 3)],
    ),
    "gammainc at infinity": (lambda x: special.gammainc(2.0, x), INF, [0.0, None]),
    "entr at 0": (special.entr, 0.0, [INF, None]),
    "xlog1py at (0, -1)": (lambda y: special.xlog1py(0.0, y), -1.0, [0.0, None]),
    "rel_entr at (0, 0)": (lambda y: special.rel_entr(0.0, y), 0.0, [0.0, None]),
    "kl_div at (0, 0)": (lambda y: special.kl_div(0.0, y), 0.0, [1.0, None]),
    "log_expit far out": (special.log_expit, -800.0, [1.0, 0.0]),
    "stdtr of infinitely many": (
        lambda x: special.stdtr(INF, x), 0.0, [1 / np.sqrt(2 * np.pi), 0.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    function, x, (first, second) = EDGES[name]
    with np.errstate(all="ignore"):
        for way in derivatives_every_way(function, x):
            np.testing.assert_allclose(way, [[first]], rtol=1e-12, atol=1e-15)
        for way in derivatives_every_way(lambda x: function(x) * 1.0, np.full(10, x)):
            np.testing.assert_allclose(way, np.diag(np.full(10, first)), rtol=1e-12, atol=1e-15)
        if second is not None:
            np.testing.assert_allclose(hessian(function, x), [[second]], rtol=1e-12, atol=1e-15)


# derivatives without closed form


def test_a_derivative_without_closed_form_is_refused_where_it_is_needed():
    function = special.zeta
    with pytest.raises(nt.UnsupportedError, match=r"zeta .*first operand"):
        nt.grad(function)(1.5, 2.0)
    with pytest.raises(nt.UnsupportedError, match=r"zeta .*first operand"):
        nt.jacobian(function)(np.full(10, 1.5), np.full(10, 2.0))
    plain = nt.grad(lambda y: function(1.5, y))(2.0)
    assert nt.grad(function, argnums=1)(1.5, 2.0) == plain
    assert nt.grad(lambda x, y: function(nt.stop_gradient(x), y), argnums=(0, 1))(1.5, 2.0) == (
        0.0,
        plain,
    )


def test_orders_must_not_be_traced():
    with pytest.raises(nt.UnsupportedError, match="order"):
        nt.grad(lambda n: special.polygamma(n, 2.0))(1.0)
    with pytest.raises(nt.UnsupportedError, match="order"):
        nt.grad(lambda s: special.zeta(s))(2.0)
    with pytest.raises(ValueError, match="multigammaln"):
        nt.grad(lambda a: special.multigammaln(a, 4))(1.0)


@pytest.mark.parametrize("function", [special.betainc, special.betaincc])
def test_betainc(function):
    x = np.linspace(0.1, 0.9, 12)
    for a, b in ((2.5, 0.7), (3, 2)):
        expected = central_jacobian(lambda x, a=a, b=b: function(a, b, x), x)
        for way in derivatives_every_way(lambda x, a=a, b=b: function(a, b, x), x):
            np.testing.assert_allclose(way, expected, rtol=1e-8, atol=1e-10)
        second = hessian(lambda x, a=a, b=b: np.sum(function(a, b, x)), x)
        expected = central_jacobian(nt.grad(lambda x, a=a, b=b: np.sum(function(a, b, x))), x)
        np.testing.assert_allclose(second, expected, rtol=1e-6, atol=1e-8)
    assert nt.grad(lambda x: special.betainc(1.0, 1.0, x))(0.0) == 1.0
    assert nt.grad(nt.grad(lambda x: special.betainc(2.0, 1.0, x)))(0.0) == 2.0
    assert nt.grad(function, argnums=2)(1.5, 2.0, 0.5) == nt.grad(lambda x: function(1.5, 2.0, x))(
        0.5
    )
