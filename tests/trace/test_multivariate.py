"""Multivariate distributions of `scipy.stats` with traced points and parameters."""

import numpy as np
import pytest
import scipy.stats as stats
from checks import assert_first_derivatives, assert_second_derivatives, central_jacobian
from scipy.stats import multivariate_normal as normal

import numtape as nt

RNG = np.random.default_rng(0)
SPREAD = RNG.normal(size=(3, 3))
SPREAD = SPREAD @ SPREAD.T + np.eye(3)
MEAN, POINT, POINTS, DF = *RNG.normal(size=(2, 3)), RNG.normal(size=(4, 3)), np.array([3.5])
ALPHA, SHARES = np.array([1.5, 2.5, 0.7]), np.array([[0.2, 0.3], [0.1, 0.4]])
ROOT, NARROW, INSIDE = np.linalg.cholesky(SPREAD), RNG.normal(size=(3, 2)), np.array([0.3, 0.5])

# Matrices are made of their factors, because they must stay symmetric.
CASES = {
    "normal": (lambda x, m, s: normal.logpdf(x, m, s), POINT, MEAN, SPREAD),
    "normal, frozen": (lambda x, m, s: normal(m, s).pdf(x), POINTS, MEAN, SPREAD),
    "normal, one row": (lambda x: normal(MEAN, SPREAD).logpdf(x), POINTS[:1]),
    "normal, no parameters": (lambda x: normal.logpdf(x), POINT),
    "normal's entropy": (lambda s: normal.entropy(MEAN, s), SPREAD),
    "frozen normal's entropy": (lambda s: normal(MEAN, s).entropy(), SPREAD),
    "normal, perhaps singular": (
        lambda x, b: normal.logpdf(x, MEAN, b @ b.T, allow_singular=True), POINT, ROOT,
    ),
    "normal, singular": (
        lambda z, b: normal.logpdf(MEAN + b @ z, MEAN, b @ b.T, allow_singular=True),
        *(INSIDE, NARROW),
    ),
    "normal, singular and frozen": (
        lambda z: normal(MEAN, NARROW @ NARROW.T, allow_singular=True).pdf(MEAN + NARROW @ z),
        INSIDE,
    ),
    "singular normal's entropy": (lambda b: normal.entropy(MEAN, b @ b.T), NARROW),
    "t": (
        lambda x, m, r, d: stats.multivariate_t.logpdf(x, m, r @ r.T, d[0]), POINT, MEAN, ROOT, DF,
    ),
    "t, density": (
        lambda x, m, s, d: stats.multivariate_t.pdf(x, m, s, d[0]), POINTS, MEAN, SPREAD, DF,
    ),
    "t, frozen": (lambda x, d: stats.multivariate_t(MEAN, SPREAD, d[0]).logpdf(x), POINTS, DF),
    "t, frozen before": (lambda x: stats.multivariate_t(MEAN, SPREAD, 4.5).logpdf(x), POINTS),
    "t, infinitely many": (lambda x: stats.multivariate_t.logpdf(x, MEAN, SPREAD, np.inf), POINTS),
    "dirichlet": (lambda x, a: stats.dirichlet.logpdf(x, a), SHARES[:, 0], ALPHA),
    "dirichlet, frozen": (lambda x, a: stats.dirichlet(a).pdf(x), SHARES, ALPHA),
    "dirichlet, frozen before": (lambda x: stats.dirichlet(ALPHA).pdf(x), SHARES),
    "dirichlet's mean": (lambda a: stats.dirichlet.mean(a), ALPHA),
    "dirichlet's variance": (lambda a: stats.dirichlet(a).var(), ALPHA),
    "dirichlet's covariance": (lambda a: stats.dirichlet.cov(a), ALPHA),
    "dirichlet's entropy": (lambda a: stats.dirichlet.entropy(a), ALPHA),
    "wishart": (lambda r, d, s: stats.wishart.logpdf(r @ r.T, d[0], s), ROOT + 0.2, DF, SPREAD),
    "wishart, stacked": (
        lambda r, d: stats.wishart(d[0], SPREAD).pdf(np.stack([r @ r.T, 2.0 * r @ r.T], -1)),
        *(ROOT + 0.2, DF),
    ),
    "wishart of numbers": (lambda x, d: stats.wishart.logpdf(x, d[0], 1.3), SHARES[0], DF),
    "invwishart": (
        lambda r, d, s: stats.invwishart.logpdf(r @ r.T, d[0], s), ROOT + 0.2, DF, SPREAD,
    ),
    "invwishart, frozen before": (
        lambda r: stats.invwishart(5.5, SPREAD).pdf(r @ r.T), ROOT + 0.2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, *arrays = CASES[name]
    tape = nt.record(function, *arrays)
    for point in (arrays, [1.01 * array for array in arrays]):
        expected = function(*point)
        assert np.shape(tape(*point)) == np.shape(expected)
        np.testing.assert_allclose(tape(*point), expected, rtol=1e-10, atol=1e-12)
    assert_first_derivatives(function, *arrays)
    assert_second_derivatives(function, RNG.normal(size=np.shape(expected)), *arrays)


def test_outside_of_a_singular_covariance():
    value = nt.value_and_grad(
        lambda x: np.sum(normal.pdf(x, MEAN, NARROW @ NARROW.T, allow_singular=True))
    )
    inside = MEAN + NARROW @ INSIDE
    for x in (inside, np.stack([inside, inside + 1.0]), inside + 1.0):
        expected = normal.pdf(x, MEAN, NARROW @ NARROW.T, allow_singular=True)
        np.testing.assert_allclose(value(x)[0], np.sum(expected), rtol=1e-12)


def test_another_rank_is_another_path():
    value = nt.value_and_grad(lambda b: normal.logpdf(MEAN, MEAN, b @ b.T, allow_singular=True))
    for b in (ROOT, np.hstack([NARROW, np.zeros((3, 1))]), np.diag([1.0, 2.0, 0.0]), ROOT):
        expected = normal.logpdf(MEAN, MEAN, b @ b.T, allow_singular=True)
        np.testing.assert_allclose(value(b)[0], expected, rtol=1e-12)


def test_batches():
    tape = nt.record(lambda x, a: stats.dirichlet.logpdf(x, a), SHARES[:, 0], ALPHA)
    alphas = ALPHA + RNG.random((5, 3))
    expected = [stats.dirichlet.logpdf(SHARES[:, 0], a) for a in alphas]
    np.testing.assert_allclose(tape(np.tile(SHARES[:, 0], (5, 1)), alphas), expected, rtol=1e-12)
    slopes = nt.vmap(nt.grad(lambda a: stats.dirichlet.entropy(a)))(alphas)
    differences = [central_jacobian(lambda a: stats.dirichlet.entropy(a), a) for a in alphas]
    np.testing.assert_allclose(slopes, differences, rtol=1e-8, atol=1e-9)


INVALID = {
    "negative alpha": (lambda a: stats.dirichlet.mean(-a), "positive"),
    "outside of the simplex": (lambda a: stats.dirichlet.logpdf(2.0 * a, ALPHA), "simplex"),
    "a zero where the density is infinite": (
        lambda a: stats.dirichlet.logpdf(a * np.array([1.0, 2.0, 0.0]) / 4.0, ALPHA), "below 1",
    ),
    "few degrees of freedom": (lambda a: stats.wishart.logpdf(SPREAD, a[0], SPREAD), "df must"),
    "negative degrees": (lambda a: stats.multivariate_t.logpdf(POINT, MEAN, SPREAD, -a[0]), "df"),
    "negative variance": (lambda a: normal.entropy(MEAN, np.diag(a - 2.0)), "semidefinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name):
    function, words = INVALID[name]
    with pytest.raises(ValueError, match=words):
        nt.record(function, np.array([1.0, 1.5, 2.5]))
