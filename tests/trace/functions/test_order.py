"""Order statistics: one recording for all orderings, ties, nan, zeros of both signs, masks."""

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt

ONE_RECORDING = {
    "sort": lambda x: np.sort(x) * np.arange(1.0, 8.0),
    "sort rows": lambda x: np.sort(np.outer(x, x), axis=0),
    "argsort": lambda x: np.argsort(x) * x,
    "stable argsort": lambda x: np.argsort(x, kind="stable") * x,
    "partition": lambda x: np.partition(x, 3)[3] * x,
    "median": lambda x: np.median(x) * x,
    "median of six": lambda x: np.median(x[:6]) * x,
    "nanmedian": lambda x: np.nanmedian(np.where(x > 1.0, np.nan, x)) * x,
    "quantile": lambda x: np.quantile(x, [0.1, 0.77]) * x[:2],
    "nanquantile": lambda x: np.nanquantile(np.where(x > 1.0, np.nan, x), 0.4) * x,
    "percentile": lambda x: np.percentile(x, 35.0) * x,
    "argmax": lambda x: np.argmax(x) * x,
    "argmin": lambda x: x[np.argmin(x)] * x,
    "nanargmax": lambda x: np.nanargmax(x) * x if not np.isnan(x).any() else x,
    "searchsorted": lambda x: np.searchsorted(np.sort(x), 0.1 * x) * x,
    "digitize": lambda x: np.digitize(x, [-1.0, 0.0, 0.5]) * x,
    "interp": lambda x: np.interp(x, [-1.0, 0.0, 0.5], [3.0, 4.0, -1.0]),
    "histogram": lambda x: np.histogram(x, 3, (-2.0, 2.0))[0] * x[:3],
    "lexsort": lambda x: np.lexsort((x, np.floor(x))) * x,
}


@pytest.mark.parametrize("name", ONE_RECORDING)
def test_one_recording_for_all_orderings(name):
    function = ONE_RECORDING[name]
    rng = np.random.default_rng(0)
    tape = nt.record(function, rng.uniform(-1.5, 1.5, 7))
    for _ in range(10):
        x = rng.uniform(-1.5, 1.5, 7)
        assert_same_bits(tape(x), function(x))
        nt.check_derivatives(function, x, step=1e-5)


@pytest.mark.parametrize("kind", [None, "stable"])
@pytest.mark.parametrize("size", [5, 40, 3000])
def test_ties_come_out_in_numpys_order(kind, size):
    rng = np.random.default_rng(1)

    def function(x):
        return np.argsort(x, kind=kind) * 1.0, np.argsort(x.reshape(5, -1), axis=0) * 1.0

    tape = nt.record(function, rng.normal(size=size))
    for _ in range(5):
        x = rng.integers(0, 4, size).astype(float)
        for one, other in zip(tape(x), function(x), strict=True):
            assert_same_bits(one, other)


def test_nan_come_last():
    functions = [
        *(np.sort, np.median, np.nanmedian, np.nanmax, lambda x: x[np.argsort(x)]),
        *(lambda x: np.quantile(x, [0.3, 0.9]), lambda x: np.nanquantile(x, 0.3)),
        *(lambda x: np.argmax(x) * 1.0, lambda x: np.argmin(x) * 1.0),
        lambda x: np.searchsorted([0.0, 1.0, np.nan], x) * 1.0,
        lambda x: np.searchsorted([0.0, 1.0, np.nan], x, side="right") * 1.0,
    ]
    for function in functions:
        tape = nt.record(function, np.array([1.0, 2.0, 0.0, 5.0, 3.0]))
        for x in ([1.0, np.nan, 0.0, 5.0, np.nan], [np.nan, 3.0, 2.0, 1.0, 0.0]):
            assert_same_bits(tape(np.array(x)), function(np.array(x)))


def test_no_element_but_nan():
    x = np.full(3, np.nan)
    for function in (np.nanmax, np.nanmean, np.nanmedian):
        tape = nt.record(lambda x, function=function: function(x), np.arange(3.0))
        assert np.isnan(tape(x))
    with pytest.raises(ValueError, match="not nan"):
        nt.record(np.nanargmax, x)


@pytest.mark.parametrize("n", [2, 3, 9, 10])
@pytest.mark.parametrize(
    "method",
    [
        *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "nearest", "lower"),
        *("interpolated_inverted_cdf", "hazen", "weibull", "linear", "median_unbiased"),
        *("normal_unbiased", "higher", "midpoint"),
    ],
)
def test_quantiles_are_numpys(method, n):
    rng = np.random.default_rng(n)
    q = np.concatenate([np.linspace(0.0, 1.0, 2 * n + 1), rng.uniform(size=20)])

    def function(x):
        return np.quantile(x, q, method=method)

    tape = nt.record(function, rng.normal(size=n))
    for _ in range(3):
        x = rng.normal(size=n)
        assert_same_bits(tape(x), function(x))


def test_batches():
    """Many points at once, each in its own order."""
    points = np.random.default_rng(4).uniform(-1.5, 1.5, (20, 7))
    for name in ("sort", "median", "nanmedian", "quantile", "argmin", "interp"):
        function = ONE_RECORDING[name]
        expected = np.array([function(x) for x in points])
        assert_same_bits(nt.vmap(function)(points), expected)
        jacobians = np.array([nt.jacobian(function)(x) for x in points])
        np.testing.assert_allclose(nt.vmap(nt.jacobian(function))(points), jacobians)


# kinks


def test_ties_give_the_derivative_to_the_element_at_that_place():
    x = np.array([1.0, 2.0, 2.0, 2.0, 3.0])
    np.testing.assert_array_equal(nt.grad(np.median)(x), [0.0, 0.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(nt.jacobian(np.sort)(x), np.eye(5))
    np.testing.assert_array_equal(nt.grad(lambda x: x[np.argmax(x)])(x), np.eye(5)[4])
    np.testing.assert_array_equal(nt.grad(lambda x: x[np.argmax(x)])(x[:4]), np.eye(4)[1])


def test_median_of_an_even_count_is_shared():
    x = np.array([4.0, 1.0, 3.0, 2.0])
    np.testing.assert_array_equal(nt.grad(np.median)(x), [0.0, 0.0, 0.5, 0.5])


def test_quantile_at_an_element():
    """Of traced q, the derivative to the right; of the elements, that element alone."""
    x = np.array([0.0, 1.0, 3.0, 7.0, 8.0])
    np.testing.assert_array_equal(nt.grad(lambda x: np.quantile(x, 0.5))(x), np.eye(5)[2])
    assert nt.grad(lambda q: np.quantile(x * (1.0 + 0.0 * q), q))(0.5) == 4.0 * 4.0


def test_what_is_not_chosen_contributes_nothing():
    """Elements whose own slope is infinite, and which are not picked, do not make nan."""
    x = np.array([1.0, 0.0, 2.0, 3.0, 4.0])
    root = 0.5 / np.sqrt(2.0)
    functions = [
        *(np.median, np.nanmedian, lambda y: np.sort(y)[2], lambda y: np.quantile(y, 0.5)),
        *(lambda y: y[np.argsort(y)[2]], lambda y: np.partition(y, 2)[2]),
        *(lambda y: np.unique(y)[2], lambda y: np.interp(1.5, [0.0, 1.0, 2.0], y[2:]) * 0.0 + y[2]),
    ]
    for function in functions:
        for derivative in (nt.grad, nt.jacfwd):
            found = derivative(lambda x, f=function: f(np.sqrt(x)))(x)
            np.testing.assert_allclose(found, [0.0, 0.0, root, 0.0, 0.0], rtol=1e-15)


def test_interp_at_knots_and_outside():
    """At a knot the slope to the right, at the last one that to the left; outside 0."""
    knots, values = [0.0, 1.0, 3.0], [0.0, 2.0, 3.0]
    slope = nt.grad(lambda x: np.interp(x, knots, values))
    at = {-1.0: 0.0, 0.0: 2.0, 0.5: 2.0, 1.0: 0.5, 2.0: 0.5, 3.0: 0.5, 4.0: 0.0}
    assert [slope(x) for x in at] == list(at.values())
    weights = nt.grad(lambda y: np.interp(5.0, knots, y))
    np.testing.assert_array_equal(weights(np.array(values)), [0.0, 0.0, 1.0])


def test_interp_where_slopes_are_infinite():
    for knots, values in (
        ([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 3.0, 4.0]),
        ([0.0, 1.0], [0.0, np.inf]),
    ):
        tape = nt.record(lambda x, k=knots, v=values: np.interp(x, k, v), 0.5)
        for x in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, np.nan):
            assert_same_bits(tape(x), np.interp(x, knots, values))


def test_unique_shares_nothing():
    """Of equal elements the first in order counts; another number of them is another path."""
    function = nt.grad(lambda x: np.sum(np.unique(x) ** 2))
    np.testing.assert_array_equal(function(np.array([3.0, 1.0, 3.0])), [6.0, 2.0, 0.0])
    np.testing.assert_array_equal(function(np.array([3.0, 1.0, 2.0])), [6.0, 2.0, 4.0])


def test_refusals_name_the_remedy():
    x = np.arange(4.0)
    cases = {
        "linear": lambda x: np.quantile(x, x[0], method="hazen"),
        "no rule for weights": lambda x: np.quantile(x, 0.5, weights=x, method="inverted_cdf"),
        "axis": lambda x: np.unique(x.reshape(2, 2), axis=0),
        "edges": lambda x: np.histogram(x, "auto"),
        "np.sort": lambda x: np.sort_complex(x),
    }
    for word, function in cases.items():
        with pytest.raises(nt.UnsupportedError, match=word):
            nt.record(function, x)
