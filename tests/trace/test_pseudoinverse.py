"""Pseudoinverses and least squares where the rank is less than full, and constant."""

import numpy as np
import pytest
import scipy.linalg
from checks import assert_first_derivatives, assert_second_derivatives

import numtape as nt


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# Matrices of rank 2, made of factors of that rank, so that the rank stays when they move.
FACTORS = {
    "tall": (_normal(0, 5, 2), _normal(1, 2, 3)),
    "wide": (_normal(2, 3, 2), _normal(3, 2, 6)),
    "square": (_normal(4, 4, 2), _normal(5, 2, 4)),
    "equal singular values": (np.eye(4)[:, :2], 3.0 * np.eye(4)[1:3]),
    "stacked": (_normal(6, 3, 4, 2), _normal(7, 3, 2, 3)),
}


@pytest.mark.parametrize("name", FACTORS)
def test_pinv(name):
    def function(a, b):
        return np.linalg.pinv(a @ b, 1e-12)

    tape = nt.record(function, *FACTORS[name])
    for factors in (FACTORS[name], [1.1 * factor + 0.1 * factor**2 for factor in FACTORS[name]]):
        expected = function(*factors)
        found = tape(*factors)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11 * abs(expected).max())
    assert_first_derivatives(function, *FACTORS[name])
    assert_second_derivatives(function, _normal(10, *expected.shape), *FACTORS[name])


def test_singular_values_far_apart():
    a, b = _normal(8, 4, 2) * [1e4, 1e-4], _normal(9, 2, 4)
    exact = np.linalg.pinv(b) @ np.linalg.pinv(a)
    numpys = abs(np.linalg.pinv(a @ b, 1e-12) - exact).max()
    recorded = nt.record(lambda a, b: np.linalg.pinv(a @ b, 1e-12), a, b)
    assert abs(recorded(a, b) - exact).max() <= 3.0 * numpys


def test_the_formula_of_golub_and_pereyra():
    a, b = FACTORS["tall"]
    matrix = a @ b
    inverse = np.linalg.pinv(matrix, 1e-12)
    change = _normal(11, 5, 2) @ b + a @ _normal(12, 2, 3)  # along matrices of rank 2
    _, found = nt.jvp(lambda m: np.linalg.pinv(m, 1e-12), (matrix,), (change,))
    left = np.eye(3) - inverse @ matrix
    right = np.eye(5) - matrix @ inverse
    expected = (
        -inverse @ change @ inverse
        + inverse @ inverse.T @ change.T @ right
        + left @ change.T @ inverse.T @ inverse
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["tall", "wide", "square"])
def test_lstsq(name):
    b = _normal(13, len(FACTORS[name][0]), 2)
    assert_first_derivatives(lambda p, q, b: np.linalg.lstsq(p @ q, b, 1e-12)[0], *FACTORS[name], b)
    recorded = nt.record(lambda p, q: np.linalg.lstsq(p @ q, b, 1e-12)[0], *FACTORS[name])
    factors = [1.3 * factor for factor in FACTORS[name]]
    expected = np.linalg.lstsq(factors[0] @ factors[1], b, 1e-12)[0]
    np.testing.assert_allclose(recorded(*factors), expected, rtol=1e-10, atol=1e-12)


def test_hermitian_reads_the_lower_triangle():
    a = _normal(14, 4, 2)
    changed = a @ a.T + np.triu(_normal(15, 4, 4), 1)
    expected = np.linalg.pinv(changed, 1e-10, hermitian=True)
    found = nt.record(lambda m: np.linalg.pinv(m, 1e-10, hermitian=True), changed)(changed)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda a: np.linalg.pinv(a),
        lambda a: scipy.linalg.pinv(a),
        lambda a: np.linalg.lstsq(a, np.arange(3.0))[0],
        lambda a: scipy.linalg.lstsq(a, np.arange(3.0))[0],
    ],
)
def test_another_rank_is_another_path(function):
    full, single, none = _normal(16, 3, 2), np.outer([1.0, 2.0, 3.0], [1.0, -2.0]), np.zeros((3, 2))
    value = nt.value_and_grad(lambda a: np.sum(function(a)))
    for a in (full, single, none, 2.0 * full, 2.0 * single, none):
        np.testing.assert_allclose(value(a)[0], np.sum(function(a)), rtol=1e-10, atol=1e-12)
    with pytest.raises(nt.BranchError):
        nt.record(function, full)(single)


def test_scipys_rank():
    a, b = FACTORS["tall"]
    ranks = []
    nt.record(lambda p, q: ranks.append(scipy.linalg.pinv(p @ q, return_rank=True)[1]) or p, a, b)
    assert ranks == [2]
