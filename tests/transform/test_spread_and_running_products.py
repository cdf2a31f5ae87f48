"""`var`, `std`, `cumprod`: values bit for bit, derivatives at their kinks to second order."""

import numpy as np
import pytest
from checks import assert_replays

import numtape as nt

RNG = np.random.default_rng(0)
SHAPES = [(5,), (30,), (4, 6), (3, 4, 5)]


@pytest.mark.parametrize("name", ["var", "std", "cumprod"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values(name, shape):
    function = getattr(np, name)
    points = [(RNG.normal(1.0, 0.3, shape),) for _ in range(3)]
    for axis in (None, *range(-1, len(shape))):
        assert_replays(lambda x, axis=axis: function(x, axis=axis), *points)
        assert_replays(lambda x, axis=axis: getattr(x, name)(axis=axis), *points)
    if name != "cumprod":
        assert_replays(lambda x: function(x, ddof=1), *points)
        assert_replays(lambda x: function(x, axis=0, keepdims=True), *points)


@pytest.mark.parametrize("name", ["var", "std", "cumprod"])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives(name, shape):
    function = getattr(np, name)
    x = RNG.normal(1.0, 0.3, shape)
    assert nt.check_derivatives(lambda x: function(x, axis=0), x).error < 1e-7
    assert nt.check_derivatives(nt.grad(lambda x: np.sum(function(x) ** 2)), x).error < 1e-6


@pytest.mark.parametrize("size", [1, 3, 20])
def test_spread_of_equal_numbers_is_flat(size):
    x = np.full(size, 0.75)
    for function in (np.var, np.std):
        np.testing.assert_array_equal(nt.grad(function)(x), np.zeros(size))
        np.testing.assert_array_equal(nt.jacfwd(function)(x), np.zeros(size))
    np.testing.assert_array_equal(nt.hessian(np.std)(x), np.zeros((size, size)))


@pytest.mark.parametrize("zeros", [[0], [2], [1, 3], [0, 1, 2, 3, 4]])
def test_running_products_through_zeros(zeros):
    x = np.array([2.0, 3.0, 0.5, -1.0, 4.0])
    x[zeros] = 0.0
    expected = np.zeros((5, 5))
    for i in range(5):
        for j in range(i + 1):
            expected[i, j] = np.prod(np.delete(x[: i + 1], j))
    for jacobian in (nt.jacfwd, nt.jacrev):
        np.testing.assert_array_equal(jacobian(np.cumprod)(x), expected)
    second = nt.hessian(lambda x: np.cumprod(x)[-1])(x)
    for i in range(5):
        for j in range(5):
            want = 0.0 if i == j else np.prod(np.delete(x, [i, j]))
            assert second[i, j] == want
