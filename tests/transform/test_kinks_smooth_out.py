"""Even functions of |x|, hypot and norms have the derivatives of the smooth functions they are.

Each is compared with a twin that never forms a root, at the kink and beside it, to third order.
"""

import numpy as np
import pytest
import scipy.special
from checks import SEEDED, WAYS, hessian_by

import numtape as nt
from numtape.testing import DerivativeError

SCALES = np.array([0.5, -2.0, 1.5, 3.0, -1.0, 0.25, 2.0, 1.0, 4.0, -0.5, 1.25, 0.75])


def _scales(x):
    return SCALES[: len(x)]


def _pseudo_huber(r):
    return np.where(r <= 1.0, 0.5 * r * r, r - 0.5)


# Functions of a vector, and their twins.
TWINS = {
    "square of abs": (lambda x: np.sum(np.abs(x) ** 2), lambda x: np.sum(x * x)),
    "np.square": (lambda x: np.sum(np.square(np.abs(x))), lambda x: np.sum(x * x)),
    "np.power": (lambda x: np.sum(np.power(np.abs(x), 2)), lambda x: np.sum(x * x)),
    "abs times abs": (lambda x: np.sum(abs(x) * abs(x)), lambda x: np.sum(x * x)),
    "dot of abs": (lambda x: abs(x) @ abs(x), lambda x: np.sum(x * x)),
    "vdot of abs": (lambda x: np.vdot(abs(x), 3.0 * abs(x)), lambda x: 3.0 * np.sum(x * x)),
    "einsum of abs": (lambda x: np.einsum("i,i->", abs(x), abs(x)), lambda x: np.sum(x * x)),
    "loop of abs": (lambda x: sum(abs(v) ** 2 for v in x), lambda x: np.sum(x * x)),
    "square of norm": (lambda x: np.linalg.norm(x) ** 2, lambda x: np.sum(x * x)),
    "root by hand": (lambda x: np.sqrt(np.sum(x**2)) ** 2, lambda x: np.sum(x * x)),
    "root of a mean": (lambda x: np.sqrt(np.mean(x * x)) ** 2, lambda x: np.mean(x * x)),
    "root of a loop": (lambda x: np.sqrt(sum(v * v for v in x)) ** 2, lambda x: np.sum(x * x)),
    "root of a dot product": (lambda x: np.sqrt(x @ x) ** 2, lambda x: np.sum(x * x)),
    "norm times norm": (
        lambda x: np.linalg.norm(x) * np.linalg.norm(x),
        lambda x: np.sum(x * x),
    ),
    "norms of rows": (
        lambda x: np.sum(np.linalg.norm(np.outer(x, [1.0, 2.0]), axis=1) ** 2),
        lambda x: 5.0 * np.sum(x * x),
    ),
    "norm of norms": (
        lambda x: np.linalg.norm(np.linalg.norm(np.outer(x, [1.0, 2.0]), axis=1)) ** 2,
        lambda x: 5.0 * np.sum(x * x),
    ),
    "fourth power": (lambda x: np.linalg.norm(x) ** 4, lambda x: np.sum(x * x) ** 2),
    "sixth power": (lambda x: np.sum(abs(x) ** 6.0), lambda x: np.sum((x * x) ** 3)),
    "hypot": (
        lambda x: np.sum(np.hypot(x, 2.0 * x) ** 2),
        lambda x: 5.0 * np.sum(x * x),
    ),
    "hypot of hypot": (
        lambda x: np.sum(np.hypot(np.hypot(x, x), x) ** 2),
        lambda x: 3.0 * np.sum(x * x),
    ),
    "hypot of 1 and a norm": (
        lambda x: np.hypot(1.0, np.linalg.norm(x)),
        lambda x: np.sqrt(1.0 + np.sum(x * x)),
    ),
    "hypot of 1 and abs": (
        lambda x: np.sum(np.hypot(abs(x), 1.0)),
        lambda x: np.sum(np.sqrt(1.0 + x * x)),
    ),
    "root of 1 and a square": (
        lambda x: np.sqrt(1.0 + np.linalg.norm(x) ** 2),
        lambda x: np.sqrt(1.0 + np.sum(x * x)),
    ),
    "maximum of x and -x": (lambda x: np.sum(np.maximum(x, -x) ** 2), lambda x: np.sum(x * x)),
    "maximum of -x and x": (lambda x: np.sum(np.maximum(-x, x) ** 2), lambda x: np.sum(x * x)),
    "minimum of x and -x": (lambda x: np.sum(np.minimum(x, -x) ** 2), lambda x: np.sum(x * x)),
    "where": (lambda x: np.sum(np.where(x > 0, x, -x) ** 2), lambda x: np.sum(x * x)),
    "scaled": (
        lambda x: np.sum((np.abs(x) * _scales(x)) ** 2),
        lambda x: np.sum((x * _scales(x)) ** 2),
    ),
    "divided": (
        lambda x: np.sum((np.abs(x) / _scales(x)) ** 2),
        lambda x: np.sum((x / _scales(x)) ** 2),
    ),
    "scaled on one side": (
        lambda x: np.sum(0.5 * np.abs(x) * np.abs(x)),
        lambda x: 0.5 * np.sum(x * x),
    ),
    "negated": (lambda x: np.sum((-np.abs(x)) ** 2), lambda x: np.sum(x * x)),
    "negated on one side": (
        lambda x: np.sum(-np.abs(x) * np.abs(x)),
        lambda x: -np.sum(x * x),
    ),
    "scaled by what moves": (
        lambda x: (np.linalg.norm(x) * np.exp(x[0])) ** 2,
        lambda x: np.sum(x * x) * np.exp(2.0 * x[0]),
    ),
    "divided by what moves": (
        lambda x: (np.linalg.norm(x) / (2.0 + x[0])) ** 2,
        lambda x: np.sum(x * x) / (2.0 + x[0]) ** 2,
    ),
    "a kernel": (
        lambda x: np.exp(-0.5 * (np.linalg.norm(x) / 3.0) ** 2),
        lambda x: np.exp(-np.sum(x * x) / 18.0),
    ),
    "cosine of a norm": (
        lambda x: np.cos(np.linalg.norm(x)),
        lambda x: _cosine_of_root(np.sum(x * x)),
    ),
    "cosh of abs": (lambda x: np.sum(np.cosh(np.abs(x))), lambda x: np.sum(np.cosh(x))),
    "cosine of abs": (lambda x: np.sum(np.cos(2.0 * np.abs(x))), lambda x: np.sum(np.cos(2.0 * x))),
    "log cosh": (
        lambda x: np.sum(np.log(np.cosh(np.abs(x)))),
        lambda x: np.sum(np.log(np.cosh(x))),
    ),
    "Huber": (
        lambda x: np.sum(_pseudo_huber(np.abs(x))),
        lambda x: np.sum(np.where(np.abs(x) <= 1.0, 0.5 * x * x, np.abs(x) - 0.5)),
    ),
    "squared deviation": (lambda x: np.std(x) ** 2, lambda x: np.var(x)),
    "deviation times itself": (lambda x: np.std(x) * np.std(x), lambda x: np.var(x)),
    "ridge": (
        lambda x: np.sum((x - 1.0) ** 2) + 0.1 * np.linalg.norm(x) ** 2,
        lambda x: np.sum((x - 1.0) ** 2) + 0.1 * np.sum(x * x),
    ),
}


def _cosine_of_root(s):
    """cos(√s), by its series."""
    total = term = 1.0 + 0.0 * s
    for k in range(1, 14):
        term = -term * s / ((2 * k - 1) * (2 * k))
        total = total + term
    return total


POINTS = {
    "at 0": lambda n: np.zeros(n),
    "some at 0": lambda n: np.where(np.arange(n) % 2, 0.0, 0.3),
    "beside it": lambda n: np.linspace(-0.4, 0.7, n),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", TWINS)
def test_second_order(name, point):
    function, twin = TWINS[name]
    for size in (2, 9):
        x = POINTS[point](size)
        expected = nt.hessian(twin)(x)
        assert np.isfinite(expected).all()
        flat = nt.record(function, x).flat
        ways = WAYS if size == 2 else SEEDED
        for way in ways.values():
            np.testing.assert_allclose(hessian_by(way, flat), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", TWINS)
def test_by_the_public_names(name):
    function, twin = TWINS[name]
    for size in (2, 9):
        x = np.zeros(size)
        expected = nt.hessian(twin)(x)
        ways = [
            nt.hessian(function),
            nt.jacfwd(nt.jacfwd(function)),
            nt.jacrev(nt.jacrev(function)),
            lambda x: nt.record(function, x).hessian(x),
            lambda x: np.array([nt.hvp(function, (x,), (u,))[0] for u in np.eye(len(x))]),
            lambda x: nt.vmap(nt.hessian(function))(np.array([x, x + 0.1, x]))[2],
        ]
        for way in ways:
            np.testing.assert_allclose(way(x), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", TWINS)
def test_first_and_third_order(name):
    function, twin = TWINS[name]
    x, u = np.zeros(9), np.linspace(-1.0, 1.0, 9)

    def along(f):
        return lambda x: nt.jvp(lambda x: nt.hessian(f)(x), (x,), (u,))[1]

    np.testing.assert_allclose(nt.grad(function)(x), nt.grad(twin)(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(along(function)(x), along(twin)(x), rtol=1e-11, atol=1e-12)
    beside = np.linspace(-0.5, 0.8, 9)
    np.testing.assert_allclose(nt.grad(function)(beside), nt.grad(twin)(beside), rtol=1e-12)


def test_long_chains():
    """Of scaled roots, of sums of squares and of hypots: right, and derived in no time."""
    x = np.array([0.0, 0.9, 0.3])

    def scaled(x):
        root, total = abs(x[0]), 0.0
        for _ in range(300):
            root = root * x[1]
            total = total + root * root
        return total

    def twin(x):
        return sum(x[0] ** 2 * x[1] ** (2 * k) for k in range(1, 301))

    def sums(x):
        square, total = 0.0, 0.0
        for k in range(300):
            square = square + (x[k % 3] - x[2]) ** 2
            total = total + np.sqrt(square) ** 2
        return total

    def sums_twin(x):
        return sum((300 - k) * (x[k % 3] - x[2]) ** 2 for k in range(300))

    def lengths(x):
        length = x[0]
        for k in range(100):
            length = np.hypot(length, x[k % 3])
        return length**2

    def lengths_twin(x):
        return x[0] ** 2 + sum(x[k % 3] ** 2 for k in range(100))

    for function, smooth in ((scaled, twin), (sums, sums_twin), (lengths, lengths_twin)):
        for at in (x, x + 0.1):
            np.testing.assert_allclose(
                nt.grad(function)(at), nt.grad(smooth)(at), rtol=1e-10, atol=1e-12
            )
    for at in (x, x + 0.1, np.ones(3)):
        np.testing.assert_allclose(
            nt.hessian(sums)(at), nt.hessian(sums_twin)(at), rtol=1e-10, atol=1e-12
        )
    at = x + 0.1
    np.testing.assert_allclose(nt.hessian(scaled)(at), nt.hessian(twin)(at), rtol=1e-9)
    np.testing.assert_allclose(nt.hessian(lengths)(at), nt.hessian(lengths_twin)(at), atol=1e-10)


def test_what_is_under_a_root_need_not_be_a_sum_of_squares():
    """The square of √x is x, but at 0 its slope is inf times 0."""
    for size in (1, 9):
        found = nt.grad(lambda x: np.sum(np.sqrt(x) ** 2))(np.full(size, 4.0))
        np.testing.assert_allclose(found, np.ones(size), rtol=1e-15)
        np.testing.assert_array_equal(nt.grad(lambda x: np.sum(np.sqrt(x) ** 2))(np.zeros(size)), 0)


def test_elements_of_what_has_more_results_than_operands():
    x = np.array([0.3, -0.7])
    found = nt.hessian(lambda x: np.sum(np.maximum(x, np.fft.rfft(x).real) ** 2))(x)
    expected = nt.hessian(lambda x: x[0] ** 2 + (x[0] - x[1]) ** 2)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_products_of_different_roots_are_no_squares():
    x = np.array([0.3, -0.7])
    found = nt.hessian(lambda x: abs(x[0]) * abs(x[1]) * scipy.special.expit(abs(x[0])))(x)
    expected = nt.hessian(lambda x: -x[0] * x[1] * scipy.special.expit(x[0]))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


# kinks that smooth out unseen


def _matern(x):
    r = np.linalg.norm(x)
    return (1.0 + r) * np.exp(-r)


UNSEEN = {
    "a Matern kernel": _matern,
    "different roots": lambda x: np.sum(np.abs(x - 1.0 + 1.0) * np.abs(0.5 * x)),
    "odd powers": lambda x: np.linalg.norm(x) * np.tanh(np.linalg.norm(x)),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_they_are_noticed(name):
    """By a comparison of second derivatives; first ones are right."""
    nt.check_derivatives(UNSEEN[name], np.zeros(2))
    with pytest.raises(DerivativeError, match=r"second derivative .*\(the page on kinks") as caught:
        nt.check_derivatives(UNSEEN[name], np.zeros(2), order=2)
    assert caught.value.code == "derivative-mismatch"


def test_the_remedy_works():
    def function(x):
        r = np.linalg.norm(x)
        return np.where(r > 0.0, (1.0 + r) * np.exp(-r), 1.0 - r**2 / 2.0)

    np.testing.assert_allclose(nt.hessian(function)(np.zeros(2)), -np.eye(2), rtol=1e-15)
    assert nt.check_derivatives(function, np.zeros(2), order=2, rtol=1e-3).second < 1e-3


@pytest.mark.parametrize("name", TWINS)
def test_those_that_are_seen_pass(name):
    assert nt.check_derivatives(TWINS[name][0], np.zeros(2), order=2).second < 1e-6


def test_second_derivatives_of_trees():
    def function(x, tree):
        return {"a": x * tree["y"], "b": np.exp(x) * tree["y"] ** 3}

    found = nt.check_derivatives(function, 2.0, {"y": np.array([0.5, 1.5])}, order=2)
    assert found.second < 1e-8
    assert nt.check_derivatives(function, 2.0, {"y": np.array([0.5, 1.5])}).second == 0.0
    with pytest.raises(nt.InputError, match=r"order=3.*order=1 or order=2"):
        nt.check_derivatives(function, 2.0, {"y": np.ones(2)}, order=3)
