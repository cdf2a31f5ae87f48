"""Infinite slopes that meet an exact 0: the 0 wins, whatever the size, the mode, the batch.

The right values are those of the same function written so that nothing is infinite.
"""

import numpy as np
import pytest
from checks import derivatives_every_way

import numtape as nt

SIZES = [1, 2, 3, 7, 8, 9, 20]


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def _distances(x):
    points = np.stack([x, 2.0 * x, np.arange(len(x)) * 1.5], axis=1)
    return np.sum(np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)))


def _distances_by_loops(x):
    total = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            total = total + np.sqrt((x[i] - x[j]) ** 2 + (2.0 * (x[i] - x[j])) ** 2)
    return total


FLAT = {
    "root of squares": lambda x: np.sqrt(np.sum(x**2)),
    "root of products": lambda x: np.sqrt(np.sum(x * x)),
    "root of a dot product": lambda x: np.sqrt(x @ x),
    "root of a loop": lambda x: np.sqrt(sum(v * v for v in x)),
    "of matrices": lambda x: np.sqrt(np.sum((np.eye(len(x)) @ x) ** 2)),
    "through a product": lambda x: np.sum(np.sqrt((x**2) @ np.ones((len(x), 3)))),
    "power": lambda x: np.sum(x**2) ** 0.5,
    "cube root": lambda x: np.cbrt(np.sum(x**4)),
    "logarithm": lambda x: np.log(np.sum(x**2)) * 0.0 + np.sum(x**2) ** 0.25,
    "fourth root": lambda x: np.sqrt(np.sqrt(np.sum(x**4))),
    "arccos": lambda x: np.arccos(1.0 - np.sum(x**2)),
    "running sums": lambda x: np.sum(np.sqrt(np.cumsum(x**2))),
    "running products": lambda x: np.sqrt(np.sum(np.cumprod(x**2))),
    "quotient": lambda x: 1.0 / np.sum(x**2),
    "of products of all": lambda x: np.sqrt(np.prod(x**2)),
    "of sums of outer products": lambda x: np.sqrt(np.sum(np.outer(x, x) ** 2)),
    "taken": lambda x: np.sum(np.sqrt((x**2)[np.argsort(x)])),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FLAT)
def test_flat_at_zero(name, size):
    """Of squares the slope is an exact 0 at 0, whatever the function of them has."""
    for way in derivatives_every_way(FLAT[name], np.zeros(size)):
        np.testing.assert_array_equal(way, np.zeros((1, size)))


@pytest.mark.parametrize("size", [2, 9])
@pytest.mark.parametrize("name", FLAT)
def test_flat_at_zero_in_batches(name, size):
    points = np.zeros((70, size))
    for way in (nt.grad, nt.jacfwd, nt.jacrev):
        np.testing.assert_array_equal(nt.vmap(way(FLAT[name]))(points), points)
    tape = nt.record(FLAT[name], points[0])
    np.testing.assert_array_equal(tape.gradient(points), points)
    np.testing.assert_array_equal(tape.compile().gradient(points), points)
    np.testing.assert_array_equal(tape.gradient(points[0]), points[0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("function", [_distances, _distances_by_loops])
def test_distances_leave_the_zero_diagonal_out(function, size):
    x = np.linspace(-1.0, 2.0, size) ** 2 + np.arange(size)
    if function is _distances_by_loops:
        expected = np.sqrt(5.0) * 2.0 * np.sign(x[:, None] - x).sum(axis=1)
    else:
        step = 1.5 * (np.arange(size)[:, None] - np.arange(size))
        apart = x[:, None] - x
        length = np.sqrt(5.0 * apart**2 + step**2) + np.eye(size)
        expected = 2.0 * (5.0 * apart / length).sum(axis=1)
    for way in derivatives_every_way(function, x):
        np.testing.assert_allclose(way, [expected], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        nt.vmap(nt.grad(function))(np.array([x, x])), [expected] * 2, rtol=1e-12, atol=1e-13
    )
    for hessian in (nt.hessian(function), nt.jacrev(nt.jacrev(function))):
        assert np.isfinite(hessian(x)).all()


def _network(product):
    """Of which one row is infinite, and left out."""

    def function(x):
        rows = product(np.stack([x, x / 0.0, x]), np.ones((len(x), 4)))
        return np.sum(np.where(np.array([True, False, True])[:, None], rows, 0.0) ** 2)

    return function


PRODUCTS = {
    "matmul": np.matmul,
    "batched": lambda a, b: np.matmul(a[:, None], b)[:, 0],
    "transposed": lambda a, b: (b.T @ a.T).T,
    "einsum": lambda a, b: np.einsum("ij,jk->ik", a, b),
    "tensordot": lambda a, b: np.tensordot(a, b, 1),
}


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_several_terms_with_an_arm_not_taken(name, size):
    x = np.linspace(0.5, 1.5, size)
    expected = np.full(size, 16.0 * x.sum())
    for way in derivatives_every_way(_network(PRODUCTS[name]), x):
        np.testing.assert_allclose(way, [expected], rtol=1e-13)
    hessian = nt.hessian(_network(PRODUCTS[name]))(x)
    np.testing.assert_allclose(hessian, np.full((size, size), 16.0), rtol=1e-13)


def test_a_nan_that_is_no_product_with_0_stays():
    def function(x):
        return np.sum(np.sqrt((x @ np.array([[1.0, np.nan], [1.0, 1.0]])) ** 2))

    for mode in (nt.jacfwd, nt.jacrev):
        assert np.isnan(mode(function)(np.array([1.0, 2.0]))).all()


@pytest.mark.parametrize("size", [2, 9])
def test_infinite_slopes_that_meet_no_0_stay_infinite(size):
    x = np.zeros(size)
    for way in derivatives_every_way(lambda x: np.sum(np.sqrt(x)) * 2.0, x):
        np.testing.assert_array_equal(way, np.full((1, size), np.inf))
    for way in derivatives_every_way(lambda x: 1.0 / np.sum(x), x):
        np.testing.assert_array_equal(way, np.full((1, size), -np.inf))
