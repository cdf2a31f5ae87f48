"""What cancels: the difference of equal numbers is 0, however a tape is run.

Where two numbers are nearly equal, their difference is good to a few units in the last
place of the larger one. The interpreter at a single point computes as NumPy does, and is
what everything else is compared with: where it gives exactly 0, so does everything.
"""

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.run import fusion

EPS = np.finfo(float).eps


@pytest.fixture(autouse=True)
def _small_groups_too(monkeypatch):
    monkeypatch.setattr(fusion, "_WORTH", 0)
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")


def every_way(function, *arguments, compiled):
    """Value and first derivatives at a point, alone and as one of several points."""
    tape = nt.record(function, *arguments)
    if compiled:
        tape.compile()
    argnums = tuple(range(len(arguments)))
    several = [np.stack([a, 0.5 * np.asarray(a), a]) for a in arguments]
    shared = [*several[:1], *arguments[1:]]  # the first alone varies
    for points, which in ((arguments, ...), (several, 0), (several, 2), (shared, 2)):
        with np.errstate(all="ignore"):
            yield np.asarray(tape(*points))[which]
            found = [
                tape.jacobian(*points, argnums=argnums, mode=mode)
                for mode in ("forward", "reverse")
            ]
            both = tape.value_and_jacobian(*points, argnums=argnums)
        yield np.asarray(both[0])[which]
        yield tuple(np.asarray(part)[which] for part in found[0])
        yield tuple(np.asarray(part)[which] for part in found[1])
        yield tuple(np.asarray(part)[which] for part in both[1])


X = np.random.default_rng(1).normal(size=300)
POSITIVE = np.exp(X)
TABLE = X.reshape(20, 15)


def guarded(x):
    a, b = np.exp(x[0]), np.tanh(x[1])
    if a > 0.0 and b > -2.0:
        return (a - np.exp(x[0] * 1.0)) + (b - np.tanh(x[1] + 0.0)) + (a - np.exp(x[2]))
    return x[0]


def guarded_arrays(x):
    powers = np.exp(x)
    if np.sum(powers) > 0.0:
        return np.sum(powers - np.exp(x * 1.0)) + (powers[3] - np.exp(x[4]))
    return x[0]


# Each gives exactly 0 in NumPy, alone and at half the point.
ZEROS = {
    "a sum by itself": (lambda x: 1.0 - np.sum(x) / np.sum(x), POSITIVE),
    "a sum and twice as much": (lambda x: np.sum(x) - np.sum(2.0 * x) / 2.0, X),
    "a sum and a long way round": (lambda x: np.sum(-x) + np.sum(np.where(x > 9.0, 0.0, x)), X),
    "sums of two layouts": (lambda x: np.sum(x) - np.sum(x.T), TABLE),
    "sums of a table and of its copy": (
        lambda x: np.sum(x * 0.3) - np.sum((x * 0.3).ravel()),
        TABLE,
    ),
    "sums along rows": (lambda x: np.sum(x, axis=1) - 0.25 * np.sum(4.0 * x, axis=1), TABLE),
    "sums down columns": (lambda x: np.sum(x, axis=0) - 0.25 * np.sum(4.0 * x, axis=0), TABLE),
    "equal products": (
        lambda x: x[0] * x[1] - x[2] * x[3],
        np.array([0.1, 0.7, 0.7, 0.1]),
    ),
    "equal products of arrays": (lambda x: x * x[::-1] - x[::-1] * x, X),
    "parallel vectors": (lambda x: np.cross(x, 2.0 * x), np.array([0.1, 0.3, 0.7])),
    "a determinant": (
        lambda x: x[0, 0] * x[1, 1] - x[0, 1] * x[1, 0],
        np.outer([0.1, 0.7], [0.3, 0.6]),
    ),
    "the variance of equal numbers": (lambda x: np.sum((x - x[0]) ** 2) / 64.0, np.full(64, 0.1)),
    "a guarded function": (guarded, np.array([0.3, 0.7, 0.3])),
    "a guarded function of arrays": (guarded_arrays, np.full(40, 0.3)),
    "logarithms of equal numbers": (
        lambda s, k: np.log(s) - np.log(k),
        np.array(1.7),
        np.array(1.7),
    ),
    "exponentials of what is shared": (
        lambda x, y: np.sum(np.exp(x) - np.exp(y)),
        X[:20],
        X[:20],
    ),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ZEROS)
def test_what_is_exactly_zero(name, compiled):
    function, *arguments = ZEROS[name]
    expected = np.asarray(function(*arguments))
    assert not expected.any()
    for found in every_way(function, *arguments, compiled=compiled):
        if not isinstance(found, tuple):
            np.testing.assert_array_equal(found, expected)


def softmax(x):
    powers = np.exp(x - np.max(x))
    return powers / np.sum(powers)


def log_sum_exp(x):
    largest = np.max(x)
    return largest + np.log(np.sum(np.exp(x - largest)))


def entropy(x):
    shares = softmax(x)
    return -np.sum(shares * np.log(shares))


# Functions, and the largest of the numbers that cancel in a derivative of them.
NEARLY = {
    "x - x y / y": (lambda x: x[:20] - x[:20] * x[20:40] / x[20:40], POSITIVE, 4.0),
    "shares of all": (lambda x: np.sum(softmax(x)), X, 1.0),
    "a softmax": (softmax, X[:30], 1.0),
    "a log-sum-exp": (log_sum_exp, X, 1.0),
    "a long log-sum-exp": (lambda x: log_sum_exp(np.tile(x, 100)), X, 1.0),
    "the variance by squares": (lambda x: np.mean(x * x) - np.mean(x) ** 2, X, 1.0),
    "the variance of numbers far from 0": (lambda x: np.var(x + 1e6), X, 1e4),
    "an entropy": (entropy, X, 1.0),
    "a projection": (lambda x: x[:20] - x[:20] * (np.sum(x * x) / np.sum(x * x)), X, 10.0),
    "a circle": (lambda x: np.sin(x[:20]) ** 2 + np.cos(x[:20]) ** 2 - 1.0, X, 4.0),
    "odd parts": (lambda x: np.sum(np.tanh(x)) + np.sum(np.tanh(-x)), X, 1.0),
    "logistic": (lambda x: np.sum(1.0 / (1.0 + np.exp(-x)) - 0.5 * (1 + np.tanh(x / 2))), X, 1.0),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NEARLY)
def test_what_is_nearly_zero(name, compiled):
    function, x, largest = NEARLY[name]
    value = np.asarray(nt.record(function, x)(x))
    assert_same_bits(value, function(x))
    tape = nt.record(function, x)
    derivatives = {mode: tape.jacobian(x, mode=mode) for mode in ("forward", "reverse")}
    between = np.max(np.abs(derivatives["forward"] - derivatives["reverse"]))
    tolerance = 16 * EPS * largest
    assert between <= tolerance
    for found in every_way(function, x, compiled=compiled):
        if isinstance(found, tuple):
            assert np.max(np.abs(found[0] - derivatives["forward"])) <= tolerance
        else:
            np.testing.assert_allclose(found, value, rtol=1e-14, atol=tolerance)


SIZES = [10, 1000, 65_537, 300_000]


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_of_a_log_sum_exp_at_its_largest_element(size):
    """There 1 - sum/sum is to leave what is a millionth of 1."""
    x = np.random.default_rng(5).normal(size=size)
    powers = np.exp(x.astype(np.longdouble))
    exact = powers / np.sum(powers)
    plain, tape = nt.record(log_sum_exp, x), nt.record(log_sum_exp, x).compile()
    expected = plain.gradient(x)
    for found in (
        expected,
        tape.gradient(x),
        tape.value_and_gradient(x)[1],
        tape.gradient(x[None])[0],
    ):
        error = np.abs(found - exact)
        assert error.max() <= 8 * EPS  # of 1, which cancels
        error[np.argmax(x)] = 0.0
        assert (error <= 16 * EPS * exact).all()
    assert_same_bits(tape.gradient(x), expected)


@pytest.mark.parametrize("size", [12, 100, 5000])
def test_compiled_and_interpreted_derivatives_have_the_same_bits(size):
    x = np.random.default_rng(7).normal(size=size)

    def function(x):
        table = x.reshape(-1, 4)
        shares = np.exp(table - np.max(table, axis=1, keepdims=True))
        shares = shares / np.sum(shares, axis=1, keepdims=True)
        return np.sum(np.log(shares) * np.sin(table)) + np.var(x) * log_sum_exp(x)

    plain, tape = nt.record(function, x), nt.record(function, x).compile()
    assert_same_bits(tape.gradient(x), plain.gradient(x))
    assert_same_bits(tape.value_and_gradient(x)[1], plain.value_and_gradient(x)[1])
    assert_same_bits(tape.jvp(x, x)[1], plain.jvp(x, x)[1])
    assert_same_bits(tape.hvp(x, x)[0], plain.hvp(x, x)[0])
    points = np.stack([x, 2.0 * x])
    assert_same_bits(tape.gradient(points), plain.gradient(points))
