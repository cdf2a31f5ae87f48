"""Factorizations and functions of matrices of `scipy.linalg`, and roots of polynomials."""

import numpy as np
import pytest
import scipy.linalg as L
from checks import (
    assert_first_derivatives,
    assert_second_derivatives,
    central_jacobian,
    derivatives_every_way,
)

import numtape as nt


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


SQUARE, TALL, WIDE, STACK = (
    _normal(0, 4, 4),
    _normal(1, 5, 3),
    _normal(2, 3, 5),
    _normal(3, 2, 3, 3),
)
SYMMETRIC = SQUARE + SQUARE.T
POSITIVE = SQUARE @ SQUARE.T + np.eye(4)
HOLLOW = np.ones((4, 4)) - np.eye(4)  # ties, and blocks of two
SHAPES = {"square": SQUARE, "tall": TALL, "wide": WIDE, "stack": STACK}


def _cases():
    for name, a in SHAPES.items():
        yield f"l, {name}", lambda a: L.lu(a)[1], a
        yield f"u, {name}", lambda a: L.lu(a)[2], a
        yield f"permuted l, {name}", lambda a: L.lu(a, permute_l=True)[0], a
        yield f"product, {name}", lambda a: L.lu(a)[0] @ L.lu(a)[1] @ L.lu(a)[2], a
        yield f"lu_factor, {name}", lambda a: L.lu_factor(a)[0], a
        for side in ("right", "left"):
            yield f"orthogonal, {side}, {name}", lambda a, s=side: L.polar(a, s)[0], a
            yield f"positive, {side}, {name}", lambda a, s=side: L.polar(a, s)[1], a
    yield "rows by places", lambda a: a[L.lu(a, p_indices=True)[0]] ** 2, TALL
    yield "polar, equal values", lambda a: L.polar(a)[1], 2.0 * np.linalg.qr(SQUARE)[0]
    for trans in (0, 1):
        yield (
            f"lu_solve, {trans}",
            lambda a, b, t=trans: L.lu_solve(L.lu_factor(a), b, trans=t),
            *(SQUARE, _normal(4, 4)),
        )
        yield (
            f"lu_solve of constants, {trans}",
            lambda b, t=trans: L.lu_solve(L.lu_factor(SQUARE), b, trans=t),
            _normal(5, 4, 2),
        )
    for lower in (True, False):
        for name, a in {
            "positive": POSITIVE,
            "indefinite": SYMMETRIC,
            "large": _normal(6, 7, 7),
        }.items():
            yield f"ldl, {lower}, {name}", lambda a, k=lower: L.ldl(a, k)[0], a
            yield f"diagonal, {lower}, {name}", lambda a, k=lower: L.ldl(a, k)[1], a
    for function in (L.cosm, L.sinm, L.tanm, L.coshm, L.sinhm, L.tanhm):
        yield function.__name__, lambda a, f=function.__name__: getattr(L, f)(a), SQUARE[:3, :3]
    yield "cosm of a stack", lambda a: L.cosm(a), STACK[:, :2, :2]
    yield "logm", lambda a: L.logm(a), POSITIVE[:3, :3]
    yield "logm, near one", lambda a: L.logm(np.eye(4) + 0.01 * a), SQUARE
    yield "logm, large", lambda a: L.logm(30.0 * a), POSITIVE[:2, :2]
    yield "logm, complex eigenvalues", lambda a: L.logm(a), np.array([[2.0, -1.0], [1.0, 2.0]])
    yield "logm, one vector for both", lambda a: L.logm(a), np.array([[2.0, 1.0], [0.0, 2.0]])
    yield "logm of one number", lambda a: L.logm(a), np.array([[2.0]])
    yield "logm of a stack", lambda a: L.logm(a), np.stack([POSITIVE[:2, :2], np.eye(2)])
    yield "roots", lambda p: np.roots(p), np.poly([1.0, 2.0, -4.0])
    yield "roots and zeros", lambda p: np.roots([0.0, *p, 0.0, 0.0]), np.poly([1.0, -4.0])


CASES = {name: (function, *arrays) for name, function, *arrays in _cases()}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, *arrays = CASES[name]
    tape = nt.record(function, *arrays)
    for point in (arrays, [array + 0.001 * array**2 for array in arrays]):
        expected = function(*point)
        found, size = tape(*point), abs(expected).max()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * size)
    assert_first_derivatives(function, *arrays)
    assert_second_derivatives(function, _normal(7, *expected.shape), *arrays)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("a", [HOLLOW, SYMMETRIC * (1.0 - np.eye(4)), np.zeros((3, 3)), POSITIVE])
def test_ldl_with_ties_and_zeros(a, lower):
    places = []
    tape = nt.record(lambda a: _noted(L.ldl(a, lower), places), a)
    triangle, middle, order = L.ldl(a, lower)
    np.testing.assert_allclose(tape(a), [triangle, middle], rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(places[0], order)


def _noted(factors, places):
    places.append(factors[2])
    return np.stack(factors[:2])


def test_other_pivots_are_another_path():
    for function in (
        lambda a: np.sum(L.lu(a)[1] * SQUARE) + np.sum(L.lu(a)[0] * SQUARE),
        lambda a: np.sum(L.lu_factor(a)[1] * np.arange(4)) + np.sum(L.lu_factor(a)[0]),
        lambda a: np.sum(L.ldl(a + a.T)[0] * SQUARE) + np.sum(L.ldl(a + a.T)[1]),
    ):
        value = nt.value_and_grad(function)
        for seed in range(20):
            a = _normal(seed, 4, 4)
            np.testing.assert_allclose(value(a)[0], function(a), rtol=1e-10)


def test_a_zero_pivot_is_another_path():
    singular = np.array([[0.0, 1.0], [0.0, 2.0]])
    value = nt.value_and_grad(lambda a: np.sum(L.lu(a)[2]))
    for a in (SQUARE[:2, :2], singular, SQUARE[:2, :2]):
        np.testing.assert_allclose(value(a)[0], np.sum(L.lu(a)[2]), rtol=1e-13)


def test_third_derivatives_of_the_polar_factor():
    def third(function, a):
        for _ in range(3):
            function = nt.grad(lambda a, f=function: np.sum(f(a) * np.cos(a)))
        return function(a)

    a = SQUARE[:2, :2]
    found = third(lambda a: L.polar(a)[1], a)
    expected = third(lambda a: L.sqrtm(a.T @ a), a)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_functions_undo_each_other():
    a = POSITIVE[:3, :3]
    np.testing.assert_allclose(nt.record(lambda a: L.expm(L.logm(a)), a)(a), a)
    jacobian = nt.jacobian(lambda a: L.expm(L.logm(a)))(a).reshape(9, 9)
    np.testing.assert_allclose(jacobian, np.eye(9), atol=1e-9)
    jacobian = nt.jacobian(lambda a: L.cosm(a) @ L.cosm(a) + L.sinm(a) @ L.sinm(a))(a)
    np.testing.assert_allclose(jacobian, 0.0, atol=1e-10)


def test_roots_that_lie_close_have_derivatives_as_by_newton():
    """Where the companion matrix's eigenvectors are useless."""
    places = np.arange(1.0, 11.0)
    jacobian = nt.jacobian(lambda p: np.roots(p))(np.poly(places))
    found = np.roots(np.poly(places))
    slopes = np.polyval(np.polyder(np.poly(places)), found)
    expected = -(found[:, None] ** np.arange(10, -1, -1)) / slopes[:, None]
    np.testing.assert_allclose(jacobian, expected, rtol=1e-6)


def test_complex_roots_are_another_path():
    value = nt.value_and_grad(lambda c: np.sum(np.roots([1.0, c[0], c[1]]) ** 2))
    np.testing.assert_allclose(value(np.array([-3.0, 2.0]))[0], 5.0)
    with pytest.raises(nt.UnsupportedError, match="complex"):
        value(np.array([0.0, 1.0]))


def test_batches():
    points = np.eye(3) + 0.1 * _normal(8, 3, 3, 3)
    for function in (lambda a: L.lu(a)[2], lambda a: L.polar(a)[0], lambda a: L.logm(a)):
        found = nt.vmap(nt.jacobian(function))(points)
        for each, a in zip(found, points):
            expected = central_jacobian(lambda z, f=function: f(z.reshape(3, 3)).ravel(), a.ravel())
            np.testing.assert_allclose(each.reshape(9, 9), expected, rtol=1e-6, atol=1e-7)


def test_both_modes_agree_where_differences_are_rough():
    ways = derivatives_every_way(lambda a: L.logm(a), np.diag([1e-2, 1e2]) + 0.01)
    for way in ways[1:]:
        np.testing.assert_allclose(way, ways[0], rtol=1e-6, atol=1e-7 * abs(ways[0]).max())
