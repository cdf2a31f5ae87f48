"""`scipy.linalg` of traced matrices: values, derivatives to second order, refusals."""

import numpy as np
import pytest
import scipy.linalg as L
from checks import assert_first_derivatives, assert_second_derivatives
from scipy.linalg import cho_factor, cho_solve

import numtape as nt


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def _positive(seed, n=4):
    a = _normal(seed, n, n)
    return a @ a.T + np.eye(n)


SQUARE, RIGHT, VECTOR, POSITIVE = _normal(0, 4, 4), _normal(1, 4, 3), _normal(2, 4), _positive(3)
TALL, BANDS = _normal(4, 5, 3), _normal(5, 4, 6) + np.array([0.0, 0.0, 5.0, 0.0])[:, None]

_UPPER_BANDS = _normal(7, 2, 5) + np.array([[0.0], [5.0]])

CASES = {
    "solve": (lambda *a: L.solve(*a), SQUARE, RIGHT),
    "solve for a vector": (lambda *a: L.solve(*a), SQUARE, VECTOR),
    "solve, transposed": (lambda a, b: L.solve(a, b, transposed=True), SQUARE, VECTOR),
    "solve, positive": (lambda a, b: L.solve(a, b, assume_a="pos"), POSITIVE, RIGHT),
    "solve, symmetric": (lambda a, b: L.solve(a, b, assume_a="sym", lower=True), POSITIVE, RIGHT),
    "solve, triangular": (lambda a, b: L.solve(a, b, assume_a="lower triangular"), SQUARE, RIGHT),
    "solve, diagonal": (lambda a, b: L.solve(a, b, assume_a="diagonal"), SQUARE, RIGHT),
    "solve, tridiagonal": (lambda a, b: L.solve(a, b, assume_a="tridiagonal"), POSITIVE, RIGHT),
    "solve_triangular": (lambda *a: L.solve_triangular(*a), POSITIVE, RIGHT),
    "solve_triangular, lower": (
        lambda a, b: L.solve_triangular(a, b, lower=True), POSITIVE, VECTOR,
    ),
    "solve_triangular, transposed": (
        lambda a, b: L.solve_triangular(a, b, trans="T", unit_diagonal=True), POSITIVE, RIGHT,
    ),
    "inv": (lambda *a: L.inv(*a), SQUARE),
    "det": (lambda *a: L.det(*a), SQUARE),
    "cholesky": (lambda *a: L.cholesky(*a), POSITIVE),
    "cholesky, lower": (lambda a: L.cholesky(a, lower=True), POSITIVE),
    "cho_factor": (lambda a: cho_factor(a)[0], POSITIVE),
    "cho_solve": (lambda a, b: cho_solve(cho_factor(a), b), POSITIVE, RIGHT),
    "cho_solve, lower": (lambda a, b: cho_solve(cho_factor(a, True), b), POSITIVE, VECTOR),
    "solve_banded": (lambda ab, b: L.solve_banded((1, 2), ab, b), BANDS, _normal(6, 6)),
    "solveh_banded": (
        lambda ab, b: L.solveh_banded(ab, b), _UPPER_BANDS, _normal(8, 5, 2),
    ),
    "solveh_banded, lower": (
        lambda ab, b: L.solveh_banded(ab, b, lower=True),
        _UPPER_BANDS[::-1],
        _normal(8, 5),
    ),
    "solve_sylvester": (lambda *a: L.solve_sylvester(*a), SQUARE, _positive(9, 3), RIGHT),
    "solve_continuous_lyapunov": (lambda *a: L.solve_continuous_lyapunov(*a), POSITIVE, SQUARE),
    "solve_discrete_lyapunov": (lambda *a: L.solve_discrete_lyapunov(*a), 0.2 * SQUARE, POSITIVE),
    "lstsq": (lambda a, b: L.lstsq(a, b)[0], TALL, _normal(10, 5)),
    "lstsq, misfit": (lambda a, b: L.lstsq(a, b)[1], TALL, _normal(10, 5)),
    "pinv": (lambda *a: L.pinv(*a), TALL),
    "eigh": (lambda a: abs(L.eigh(a)[1]), POSITIVE),
    "eigh of the upper triangle": (lambda a: L.eigh(a, lower=False, eigvals_only=True), POSITIVE),
    "eigvalsh": (lambda *a: L.eigvalsh(*a), POSITIVE),
    "svd": (lambda a: L.svd(a, full_matrices=False)[2], TALL),
    "svdvals": (lambda *a: L.svdvals(*a), TALL),
    "qr": (lambda a: L.qr(a, mode="economic")[0], TALL),
    "norm": (lambda a: L.norm(a, "nuc"), TALL),
    "expm": (lambda *a: L.expm(*a), SQUARE),
    "expm, small": (lambda a: L.expm(0.01 * a), SQUARE),
    "expm, large": (lambda a: L.expm(-10.0 * a), POSITIVE),
    "expm in batches": (lambda *a: L.expm(*a), _normal(11, 2, 3, 3)),
    "sqrtm": (lambda *a: L.sqrtm(*a), POSITIVE),
    "sqrtm of complex eigenvalues": (lambda *a: L.sqrtm(*a), np.array([[2.0, -1.0], [1.0, 2.0]])),
    "sqrtm of equal eigenvalues": (lambda *a: L.sqrtm(*a), 2.0 * np.eye(3)),
    "block_diag": (lambda *a: L.block_diag(*a), SQUARE[:2], VECTOR, RIGHT),
    "toeplitz": (lambda *a: L.toeplitz(*a), VECTOR, _normal(12, 3)),
    "toeplitz, symmetric": (lambda *a: L.toeplitz(*a), VECTOR),
    "circulant": (lambda *a: L.circulant(*a), VECTOR),
    "hankel": (lambda *a: L.hankel(*a), VECTOR, _normal(13, 3)),
    "companion": (lambda *a: L.companion(*a), VECTOR),
    "leslie": (lambda *a: L.leslie(*a), VECTOR, _normal(13, 3)),
    "fiedler": (lambda *a: L.fiedler(*a), VECTOR),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    function, *arrays = CASES[name]
    tape = nt.record(function, *arrays)
    for moved in (arrays, [array + 0.001 * array**2 for array in arrays]):
        expected = function(*moved)
        size = abs(expected).max()
        np.testing.assert_allclose(tape(*moved), expected, rtol=1e-11, atol=1e-12 * size)


@pytest.mark.parametrize("name", CASES)
def test_first_derivatives(name):
    assert_first_derivatives(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(name):
    function, *arrays = CASES[name]
    weights = _normal(14, *np.shape(function(*arrays)))
    assert_second_derivatives(function, weights, *arrays)


def test_only_what_is_read_has_a_derivative():
    upper = np.triu_indices(4, 1)
    for assume in ("pos", "sym", "upper triangular"):
        jacobian = nt.jacobian(lambda a, s=assume: L.solve(a, VECTOR, assume_a=s))(POSITIVE)
        assert (jacobian[:, upper[1], upper[0]] == 0.0).all()


def test_expm_takes_another_path_for_another_size():
    value = nt.value_and_grad(lambda t: L.expm(t * SQUARE)[0, 1])
    for t in (0.001, 0.5, 3.0, 20.0, -2.0):
        found, slope = value(t)
        np.testing.assert_allclose(found, L.expm(t * SQUARE)[0, 1], rtol=1e-11)
        np.testing.assert_allclose(slope, (SQUARE @ L.expm(t * SQUARE))[0, 1], rtol=1e-10)


REFUSED = {
    "sqrtm of a negative": (lambda a: L.sqrtm(a), np.diag([1.0, -2.0]), "negative eigenvalue"),
    "logm of a negative": (lambda a: L.logm(a), np.diag([1.0, -2.0]), "negative eigenvalue"),
    "logm with an error": (lambda a: L.logm(a, disp=False)[0], POSITIVE, "disp"),
    "schur": (lambda a: L.schur(a)[0], POSITIVE, "schur"),
    "polar without full rank": (lambda a: L.polar(a)[0], np.ones((3, 2)), "full rank"),
    "qr with all vectors": (lambda a: L.qr(a)[0], TALL, "economic"),
    "generalized eigenvalues": (lambda a: L.eigh(a, np.eye(4))[0], POSITIVE, "b="),
    "large sylvester": (
        lambda a: L.solve_sylvester(a, np.eye(50), np.ones((50, 50))), np.eye(50), "dense",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, a, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(lambda a: np.sum(function(a)))(a)
