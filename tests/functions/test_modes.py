"""Forward, reverse, products and derivative tapes agree, and are adjoint to each other."""

import numpy as np
import pytest
from checks import central_jacobian, derivatives_every_way

import numtape as nt


def small(x):
    a, b, c = x
    return np.array([np.sin(a * b), np.exp(c) / (1 + a * a), b * c, a])


def long(x):
    y = np.tanh(x) * x[::-1]
    return np.concatenate([np.cumsum(y), [np.sum(y * y), np.max(x)]])


def matrix(x):
    a = x[:9].reshape(3, 3)
    return (a @ a.T + np.outer(x[:3], x[3:6])) / (1.0 + np.sum(a * a))


def gathered(x):
    index = np.array([0, 3, 3, 1, 7, 7, 7, 2, 5, 0, 4])
    y = np.exp(-x[index]) * x[index][::-1]
    return np.where(y > 0.1, y, y * y) * np.linalg.norm(x)


def one_number(x):
    return np.log(np.sum(np.exp(x))) + np.prod(x) + np.mean(x) ** 2


def one_input(t):
    return np.cos(t * np.arange(1.0, 31.0)) * t


CASES = {
    "small": (small, np.array([0.3, -0.7, 1.2])),
    "long": (long, np.linspace(-1.0, 1.3, 15)),
    "longer than unrolled": (long, np.linspace(-1.0, 1.3, 40)),
    "matrix": (matrix, np.linspace(0.2, 1.1, 12)),
    "gathered": (gathered, np.linspace(0.4, 1.9, 10)),
    "one number": (one_number, np.linspace(0.4, 1.3, 12)),
    "one input": (one_input, 0.7),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def _flat(function):
    def flat(x):
        return np.ravel(function(x))

    return flat


def test_every_way_agrees(case):
    function, x = case
    ways = derivatives_every_way(function, x)
    for way in ways[1:]:
        np.testing.assert_allclose(way, ways[0], rtol=1e-12, atol=1e-14)


def test_central_differences(case):
    function, x = case
    found = derivatives_every_way(function, x)[0]
    start = np.atleast_1d(x)
    plain = _flat(function if np.ndim(x) else lambda v: function(float(v[0])))
    np.testing.assert_allclose(found, central_jacobian(plain, start), rtol=1e-9, atol=1e-9)


def test_adjoint_identity(case):
    """<w, J v> = <J^T w, v>"""
    function, x = case
    rng = np.random.default_rng(8)
    for _ in range(3):
        v = rng.normal(size=np.shape(x)) if np.ndim(x) else float(rng.normal())
        value, tangent = nt.jvp(function, (x,), (v,))
        w = rng.normal(size=np.shape(value)) if np.ndim(value) else float(rng.normal())
        same, pull_back = nt.vjp(function, x)
        np.testing.assert_array_equal(same, value)
        assert np.sum(w * tangent) == pytest.approx(np.sum(pull_back(w)[0] * v), rel=1e-12)


def test_products_are_the_jacobian_times_a_vector(case):
    function, x = case
    rng = np.random.default_rng(9)
    jacobian = nt.jacobian(function)(x)
    v = rng.normal(size=np.shape(x)) if np.ndim(x) else float(rng.normal())
    value, tangent = nt.jvp(function, (x,), (v,))
    expected = np.tensordot(jacobian, v, np.ndim(x)) if np.ndim(x) else jacobian * v
    np.testing.assert_allclose(tangent, expected, rtol=1e-12, atol=1e-13)
    w = rng.normal(size=np.shape(value)) if np.ndim(value) else float(rng.normal())
    (gradient,) = nt.vjp(function, x)[1](w)
    expected = np.tensordot(w, jacobian, np.ndim(value)) if np.ndim(value) else w * jacobian
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)


def test_values_equal_the_plain_call(case):
    function, x = case
    expected = function(x)
    assert np.array_equal(nt.record(function, x)(x), expected)
    assert np.array_equal(nt.jvp(function, (x,), (x,))[0], expected)
    assert np.array_equal(nt.vjp(function, x)[0], expected)
    if np.ndim(expected) == 0:
        assert nt.value_and_grad(function)(x)[0] == expected


def test_seeds_of_integers():
    assert nt.jvp(lambda x: x * x, (3.0,), (1,)) == (9.0, 6.0)
    assert nt.vjp(lambda x: x * x, 3.0)[1](1) == (6.0,)


def test_only_chosen_inputs_are_differentiated():
    def f(x, data):
        return np.sum(np.sin(x * data))

    x, data = np.linspace(0.1, 1.0, 12), np.linspace(1.0, 2.0, 12)
    for jacobian in (nt.jacobian, nt.jacfwd, nt.jacrev):
        np.testing.assert_allclose(jacobian(f)(x, data), np.cos(x * data) * data, rtol=1e-14)
        np.testing.assert_allclose(jacobian(f, 1)(x, data), np.cos(x * data) * x, rtol=1e-14)


def test_check_derivatives():
    found = nt.check_derivatives(long, np.linspace(-1.0, 1.3, 15))
    assert found.error < 1e-8
    assert found.modes < 1e-12
    assert found.jacobian.shape == found.differences.shape == (17, 15)


def test_check_derivatives_finds_a_kink():
    with pytest.raises(AssertionError, match=r"central differences give.*kink"):
        nt.check_derivatives(lambda x: np.maximum(x, 0.0), 1e-4)


def test_check_derivatives_of_trees():
    nt.check_derivatives(lambda p, n: {"y": p["a"] ** n * p["b"]}, {"a": 2.0, "b": np.ones(3)}, 3)


def test_check_derivatives_finds_randomness():
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="random"):
        nt.check_derivatives(lambda x: x * rng.normal(), 1.0)
