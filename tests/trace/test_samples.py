"""Statistics of samples of `scipy.stats` that are traced."""

import numpy as np
import pytest
import scipy.stats as stats
from checks import assert_first_derivatives, assert_second_derivatives
from scipy.stats import linregress

import numtape as nt

RNG = np.random.default_rng(0)
X = RNG.normal(size=7) + 3.0
Y = 0.7 * X + RNG.normal(size=7)
TABLE = RNG.random((5, 4)) + 0.2
OTHER = TABLE[::-1] ** 2 + 0.3


def _cases():
    for axis in (0, 1, None):
        yield f"zscore by {axis}", lambda a, k=axis: stats.zscore(a, axis=k, ddof=1), TABLE
        for bias in (True, False):
            yield f"skew by {axis}, {bias}", lambda a, k=axis, b=bias: stats.skew(a, k, b), TABLE
            yield (
                f"kurtosis by {axis}, {bias}",
                lambda a, k=axis, b=bias: stats.kurtosis(a, axis=k, bias=b, fisher=b),
                TABLE,
            )
        yield f"gmean by {axis}", lambda a, k=axis: stats.gmean(a, axis=k), TABLE
        yield f"hmean by {axis}", lambda a, k=axis: stats.hmean(a, axis=k), TABLE
        yield (
            f"weighted gmean by {axis}",
            lambda a, w, k=axis: stats.gmean(a, axis=k, weights=w),
            *(TABLE, OTHER),
        )
        yield f"entropy by {axis}", lambda a, k=axis: stats.entropy(a, base=2, axis=k), TABLE
        yield (
            f"relative entropy by {axis}",
            lambda a, b, k=axis: stats.entropy(a, b, axis=k),
            *(TABLE, OTHER),
        )
        yield (
            f"pearsonr by {axis}",
            lambda a, b, k=axis: np.stack([*stats.pearsonr(a, b, axis=k)]),
            *(TABLE, OTHER),
        )
    yield "skew, kept", lambda a: stats.skew(a, axis=1, keepdims=True), TABLE
    yield "gmean, all kept", lambda a: stats.gmean(a, axis=None, keepdims=True), TABLE
    yield "zmap", lambda a, b: stats.zmap(a, b), X, Y
    yield "list", lambda a: stats.gmean([a[0], a[1], 2.0]), X
    for tail in ("two-sided", "less", "greater"):
        yield f"p, {tail}", lambda a, b, t=tail: stats.pearsonr(a, b, alternative=t).pvalue, X, Y
        yield f"line, {tail}", lambda a, b, t=tail: np.stack([*linregress(a, b, t)]), X, Y
    yield "line's error", lambda a, b: linregress(a, b).intercept_stderr, X, Y
    yield "two points", lambda a, b: np.stack([*linregress(a, b)]), X[:2], Y[:2]


CASES = {name: (function, *arrays) for name, function, *arrays in _cases()}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, *arrays = CASES[name]
    tape = nt.record(function, *arrays)
    for point in (arrays, [array + 0.02 * array**2 for array in arrays]):
        expected = function(*point)
        assert np.shape(tape(*point)) == np.shape(expected)
        np.testing.assert_allclose(tape(*point), expected, rtol=1e-12, atol=1e-14)
    assert_first_derivatives(function, *arrays)
    assert_second_derivatives(function, RNG.normal(size=np.shape(expected)), *arrays)


def test_results_have_scipys_names():
    nt.record(lambda a, b: _named(stats.pearsonr(a, b), linregress(a, b)), X, Y)


def _named(correlation, line):
    r, p = correlation
    assert (r, p) == (correlation.statistic, correlation.pvalue)
    slope, intercept, *_ = line
    assert (slope, intercept) == (line.slope, line.intercept)
    return r + line.rvalue


def test_constant_samples_are_another_path():
    constant = np.full(7, 3.0)
    for function in (
        lambda a: np.sum(stats.zscore(a)),
        stats.skew,
        stats.kurtosis,
        lambda a: stats.pearsonr(a, Y).statistic,
    ):
        value = nt.value_and_grad(function)
        for a in (X, constant, Y):
            with np.errstate(all="ignore"):
                found = value(a)[0]
            assert np.isnan(found) == (a is constant)
    with pytest.raises(ValueError, match="equal"):
        nt.grad(lambda a: linregress(a, Y).slope)(constant)
    value = nt.value_and_grad(lambda a: linregress(X, a).rvalue)
    found = [value(a)[0] for a in (Y, constant)]
    np.testing.assert_allclose(found, [linregress(X, Y).rvalue, 0.0], rtol=1e-13)


def test_correlation_of_two_points():
    value = nt.value_and_grad(lambda a: sum(stats.pearsonr(a, np.array([1.0, 2.0]))))
    assert value(np.array([1.0, 3.0]))[0] == 2.0
    assert value(np.array([3.0, 1.0]))[0] == 0.0


def test_batches():
    points = RNG.normal(size=(6, 7))
    tape = nt.record(lambda a: stats.kurtosis(a), points[0])
    np.testing.assert_allclose(tape(points), stats.kurtosis(points, axis=1), rtol=1e-12)
    slopes = nt.vmap(nt.grad(lambda a: linregress(X, a).slope))(points)
    expected = (X - X.mean()) / np.sum((X - X.mean()) ** 2)
    np.testing.assert_allclose(slopes, np.tile(expected, (6, 1)), rtol=1e-12)


REFUSED = {
    "nan_policy": (lambda a: stats.skew(a, nan_policy="omit"), "nan_policy"),
    "resampling": (
        lambda a: stats.pearsonr(a, Y, method=stats.PermutationMethod()).pvalue, "resampling",
    ),
    "confidence interval": (
        lambda a: stats.pearsonr(a, Y).confidence_interval().low, "confidence_interval",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(function)(X)
