"""Distributions of `scipy.stats` with traced points and parameters."""

import numpy as np
import pytest
import scipy.stats as stats
from checks import central_jacobian, derivatives_every_way, hessian
from scipy.stats import dirichlet, multivariate_normal, norm

import numtape as nt

POINTS = np.array([0.3, 0.8, 0.55])

# Shapes, and whether the cumulative functions have a derivative by them.
CONTINUOUS = {
    "norm": ((), True),
    "expon": ((), True),
    "uniform": ((), True),
    "gamma": ((2.5,), False),
    "beta": ((1.5, 2.5), False),
    "lognorm": ((0.7,), True),
    "t": ((3.5,), False),
    "chi2": ((3.0,), False),
    "cauchy": ((), True),
    "logistic": ((), True),
    "laplace": ((), True),
    "gumbel_r": ((), True),
    "weibull_min": ((1.7,), True),
    "invgamma": ((2.5,), False),
    "halfnorm": ((), True),
    "rayleigh": ((), True),
    "pareto": ((2.5,), True),
    "skewnorm": ((1.5,), False),
    "vonmises": ((1.5,), False),
    "exponnorm": ((1.5,), True),
}
ONLY_DENSITIES = {"skewnorm", "vonmises"}
METHODS = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf")
DISCRETE = {
    "poisson": (2.5,),
    "geom": (0.3,),
    "bernoulli": (0.3,),
    "binom": (5, 0.3),
    "nbinom": (2.5, 0.3),
}


def _location(name):
    return (-1.5 if name == "pareto" else -0.1), 1.3


def _cases():
    for name, (shapes, smooth) in CONTINUOUS.items():
        for method in METHODS[:2] if name in ONLY_DENSITIES else METHODS:
            yield name, method, shapes, smooth or method in METHODS[:2]


@pytest.mark.parametrize(("name", "method", "shapes", "smooth"), list(_cases()))
def test_continuous(name, method, shapes, smooth):
    """Value and derivatives by the points and all parameters, or those that have one."""
    loc, scale = _location(name)
    moving = [*(shapes if smooth else ()), loc, scale]
    fixed = () if smooth else shapes

    def function(x, *parameters):
        return getattr(getattr(stats, name), method)(x, *fixed, *parameters)

    def flat(z):
        return function(z[:3], *z[3:])

    point = np.concatenate([POINTS, moving])
    tape = nt.record(function, POINTS, *moving)
    np.testing.assert_allclose(tape(POINTS, *moving), flat(point), rtol=1e-11)
    expected = central_jacobian(flat, point)
    for way in derivatives_every_way(function, POINTS, *moving):
        np.testing.assert_allclose(way, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["norm", "gamma", "beta", "t", "lognorm", "weibull_min"])
def test_second_derivatives_of_log_densities(name):
    moving = [*CONTINUOUS[name][0], *_location(name)]

    def total(x, *parameters):
        return np.sum(getattr(stats, name).logpdf(x, *parameters))

    def flat(z):
        slopes = nt.grad(total, argnums=tuple(range(1 + len(moving))))(z[:3], *z[3:])
        return np.concatenate([np.ravel(slope) for slope in slopes])

    found = hessian(total, POINTS, *moving)
    expected = central_jacobian(flat, np.concatenate([POINTS, moving]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("method", ["logpmf", "pmf", "cdf", "sf"])
def test_discrete(name, method):
    k = np.array([1, 1, 0] if name == "bernoulli" else [1, 4, 2])
    *fixed, p = DISCRETE[name]

    def function(p):
        return getattr(getattr(stats, name), method)(k, *fixed, p)

    np.testing.assert_allclose(nt.record(function, p)(p), function(p), rtol=1e-12)
    expected = central_jacobian(lambda z: function(z[0]), np.array([p]))
    for way in derivatives_every_way(function, p):
        np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-9)


def test_quantiles():
    q = np.array([0.1, 0.5, 0.9])
    for name in ("norm", "expon", "uniform", "logistic", "lognorm"):
        shapes = CONTINUOUS[name][0]

        def function(q, loc, scale, name=name, shapes=shapes):
            return getattr(stats, name).ppf(q, *shapes, loc, scale)

        expected = central_jacobian(
            lambda z, f=function: f(z[:3], z[3], z[4]), np.array([*q, 0.2, 1.5])
        )
        for way in derivatives_every_way(function, q, 0.2, 1.5):
            np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-9)


def test_outside_the_support():
    x = np.array([-1.0, 0.5, 2.0])
    values = nt.value_and_grad(lambda x: np.sum(stats.uniform.pdf(x)))(x)
    np.testing.assert_array_equal(values[1], np.zeros(3))
    tape = nt.record(lambda x: stats.expon.logpdf(x), x)
    np.testing.assert_array_equal(tape(x), stats.expon.logpdf(x))
    slopes = nt.jacobian(lambda x: stats.gamma.logpdf(x, 2.0))(x)
    np.testing.assert_allclose(np.diag(slopes), [0.0, 1.0 / 0.5 - 1.0, 1.0 / 2.0 - 1.0])
    masses = nt.record(lambda p: stats.poisson.pmf([-1.0, 1.5, 2.0], p), 2.0)(2.0)
    np.testing.assert_allclose(masses, stats.poisson.pmf([-1.0, 1.5, 2.0], 2.0))


def test_at_the_edge_of_the_support():
    """Densities that are powers there have the slope of the power."""
    for function, slope in (
        (lambda x: stats.beta.pdf(x, 2.0, 2.0), 6.0),
        (lambda x: stats.gamma.pdf(x, 2.0), 1.0),
        (lambda x: stats.chi2.pdf(x, 4.0), 0.25),
        (lambda x: stats.expon.pdf(x), -1.0),
        (lambda x: stats.norm.pdf(x), 0.0),
    ):
        np.testing.assert_allclose(nt.grad(function)(0.0), slope, rtol=1e-15)


def test_many_degrees_of_freedom():
    for df in (1e4, 1e10, 1e300, np.inf):
        slope = nt.grad(lambda x, df=df: stats.t.cdf(x, df))(0.5)
        np.testing.assert_allclose(slope, stats.norm.pdf(0.5), rtol=1 / df + 1e-12)


def test_leaving_the_support_takes_another_path():
    gradient = nt.grad(lambda x: np.sum(stats.beta.logpdf(x, 2.0, 3.0)))
    assert gradient(0.5) == 1.0 / 0.5 - 2.0 / 0.5
    assert gradient(1.5) == 0.0
    invalid = nt.record(lambda s: stats.norm.logpdf(0.5, 0.0, s), -1.0)(-1.0)
    assert np.isnan(invalid)


def test_frozen_distributions_and_imported_ones():
    def function(x, loc, scale):
        return np.sum(norm(loc, scale).logpdf(x)) + np.sum(stats.gamma(2.0, scale=scale).cdf(x))

    nt.check_derivatives(function, POINTS, 0.2, 1.5)
    nt.check_derivatives(lambda x: np.sum(norm.logpdf(x, scale=[1.0, 2.0, 3.0])), POINTS)


ENTROPIES = {
    **{name: shapes for name, (shapes, _) in CONTINUOUS.items()},
    "f": (3.0, 5.0),
    "bernoulli": (0.3,),
    "geom": (0.3,),
}
NUMERICAL = {"entropy": {"skewnorm", "exponnorm"}, "mean": {"vonmises", "pareto"}}
NUMERICAL |= {"var": NUMERICAL["mean"], "std": NUMERICAL["mean"]}


@pytest.mark.parametrize("name", ENTROPIES)
@pytest.mark.parametrize("method", ["entropy", "mean", "var", "std"])
def test_what_has_no_point(name, method):
    """Entropies and moments, by all parameters, frozen and with arrays of them."""
    if name in NUMERICAL[method] or (name == "cauchy" and method != "entropy"):
        return
    distribution = getattr(stats, name)
    moving = np.array([*ENTROPIES[name], *_location(name)])
    if name in DISCRETE:
        moving = moving[:-1]

    def function(*parameters):
        return getattr(distribution(*parameters), method)()

    tape = nt.record(function, *moving)
    for point in (moving, 1.01 * moving):
        np.testing.assert_allclose(tape(*point), function(*point), rtol=1e-11)
    expected = central_jacobian(lambda z: function(*z), moving)
    for way in derivatives_every_way(function, *moving):
        np.testing.assert_allclose(way, [expected], rtol=1e-7, atol=1e-8)

    def flat(z):
        return np.array(nt.grad(function, argnums=tuple(range(len(z))))(*z))

    found = hessian(function, *moving)
    np.testing.assert_allclose(found, central_jacobian(flat, moving), rtol=1e-6, atol=1e-7)
    if name not in ("t", "beta", "bernoulli", "geom"):  # whose formulas SciPy has for numbers
        several = nt.record(
            lambda s: getattr(distribution, method)(*ENTROPIES[name], 0.0, s), POINTS
        )
        expected = getattr(distribution, method)(*ENTROPIES[name], 0.0, POINTS)
        np.testing.assert_allclose(several(POINTS), expected, rtol=1e-11)


# the multivariate normal distribution

MEAN, COV = np.array([0.1, -0.3]), np.array([[1.5, 0.4], [0.4, 0.8]])
X = np.random.default_rng(0).normal(size=(4, 2))
MULTIVARIATE = {
    "points": lambda x, m, c: multivariate_normal.logpdf(x, MEAN, COV),
    "all": lambda x, m, c: multivariate_normal.logpdf(x, m, c @ c.T),
    "pdf": lambda x, m, c: stats.multivariate_normal.pdf(x, m, c @ c.T),
    "one point": lambda x, m, c: multivariate_normal.logpdf(x[0], m, c @ c.T),
    "without a mean": lambda x, m, c: multivariate_normal.logpdf(x, cov=c @ c.T),
    "variances": lambda x, m, c: multivariate_normal.logpdf(x, m, abs(c[0])),
    "one variance": lambda x, m, c: multivariate_normal.logpdf(x, m, c[0, 0]),
    "frozen": lambda x, m, c: multivariate_normal(m, c @ c.T).logpdf(x),
    "frozen, points alone": lambda x, m, c: multivariate_normal(MEAN, COV).logpdf(x),
    "entropy": lambda x, m, c: multivariate_normal.entropy(m, c @ c.T) * x[0],
    "of one dimension": lambda x, m, c: multivariate_normal.logpdf(x[:, 0], m[0], c[0, 0]),
}


@pytest.mark.parametrize("name", MULTIVARIATE)
def test_multivariate_normal(name):
    function = MULTIVARIATE[name]
    arrays = X, MEAN, COV
    np.testing.assert_allclose(nt.record(function, *arrays)(*arrays), function(*arrays), rtol=1e-12)

    def flat(z):
        return np.ravel(function(z[:8].reshape(4, 2), z[8:10], z[10:].reshape(2, 2)))

    expected = central_jacobian(flat, np.concatenate([X.ravel(), MEAN, COV.ravel()]))
    for way in derivatives_every_way(function, *arrays):
        np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-9)


# the Dirichlet distribution

ALPHA = np.array([1.5, 2.5, 1.0])
SIMPLEX = np.random.default_rng(0).dirichlet(ALPHA, 4).T
DIRICHLET = {
    "points": lambda x, a: dirichlet.logpdf(x / np.sum(x, 0), ALPHA),
    "all": lambda x, a: dirichlet.logpdf(x / np.sum(x, 0), a),
    "pdf": lambda x, a: stats.dirichlet.pdf(x / np.sum(x, 0), a),
    "one point": lambda x, a: dirichlet.logpdf(x[:, 0] / np.sum(x[:, 0]), a),
    "one of several": lambda x, a: dirichlet.logpdf(x[:, :1] / np.sum(x[:, 0]), a),
    "without the last": lambda x, a: dirichlet.logpdf((x / np.sum(x, 0))[:-1], a),
    "frozen": lambda x, a: dirichlet(a).logpdf(x / np.sum(x, 0)),
    "frozen, points alone": lambda x, a: dirichlet(ALPHA).pdf(x / np.sum(x, 0)),
}


@pytest.mark.parametrize("name", DIRICHLET)
def test_dirichlet(name):
    function = DIRICHLET[name]
    arrays = SIMPLEX, ALPHA
    assert_allclose = np.testing.assert_allclose
    assert_allclose(nt.record(function, *arrays)(*arrays), function(*arrays), rtol=1e-13)

    def flat(z):
        return np.ravel(function(z[:12].reshape(3, 4), z[12:]))

    expected = central_jacobian(flat, np.concatenate([SIMPLEX.ravel(), ALPHA]))
    for way in derivatives_every_way(function, *arrays):
        assert_allclose(way, expected, rtol=1e-7, atol=1e-9)
    nt.check_derivatives(function, *arrays, order=2)


@pytest.mark.parametrize(
    ("x", "alpha", "words"),
    [
        ([0.5, 0.6, -0.1], [1.0, 1.0, 2.0], "simplex|greater than or equal"),
        ([0.5, 0.6, 0.1], [1.0, 1.0, 2.0], "simplex"),
        ([0.5, 0.4, 0.1], [1.0, 0.0, 2.0], "one vector of positive|greater than 0"),
        ([0.5, 0.5, 0.0], [1.0, 2.0, 0.5], "must be positive|alpha is less than one"),
        ([0.5], [1.0, 2.0, 0.5], "Give 3 of them|same number"),
    ],
)
def test_what_dirichlet_raises(x, alpha, words):
    with pytest.raises(ValueError, match=words):
        dirichlet.logpdf(x, alpha)
    with pytest.raises(ValueError, match=words):
        nt.grad(dirichlet.logpdf)(np.array(x), np.array(alpha))


def test_a_point_that_leaves_the_simplex_is_noticed():
    logpdf = nt.grad(lambda x: dirichlet.logpdf(x, ALPHA))
    x = np.array([0.2, 0.3, 0.5])
    logpdf(x)
    with pytest.raises(ValueError, match="simplex"):
        logpdf(1.5 * x)


# refusals

REFUSED = {
    "a quantile by a shape": (lambda a: stats.gamma.ppf(0.5, a), r"gamma\.ppf"),
    "a method found numerically": (lambda x: stats.vonmises.ppf(x, 2.0), "numerically|record"),
    "a routine without a rule": (lambda p: stats.cosine.cdf(p), r"cosine\.cdf"),
    "an entropy found numerically": (lambda a: stats.burr.entropy(a, 2.0), "numerically"),
    "a mean found numerically": (lambda a: stats.exponpow.mean(a), "numerically"),
    "a variance found numerically": (lambda a: stats.exponpow.var(a), "numerically"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(function)(0.5)
