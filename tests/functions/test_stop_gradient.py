"""stop_gradient: the same value, held constant by every derivative."""

import numpy as np
import pytest
from checks import derivatives_every_way, hessian

import numtape as nt


def test_scalar():
    assert nt.value_and_grad(lambda x: x * nt.stop_gradient(x))(3.0) == (9.0, 3.0)


@pytest.mark.parametrize("size", [3, 30])
def test_array_by_every_way(size):
    x = np.linspace(0.5, 1.5, size)
    for way in derivatives_every_way(lambda x: x * nt.stop_gradient(x * x), x):
        np.testing.assert_allclose(way, np.diag(x * x), rtol=1e-15)


def test_tree():
    def f(p):
        q = nt.stop_gradient(p)
        assert list(q) == ["a", "b"]
        return p["a"] * q["b"] + q["a"] * p["b"]

    assert nt.grad(f)({"a": 2.0, "b": 5.0}) == {"a": 5.0, "b": 2.0}


def test_outside_a_recording():
    assert nt.stop_gradient(3.0) == 3.0
    assert nt.stop_gradient({"a": [1, None]}) == {"a": [1, None]}


def test_second_order():
    np.testing.assert_array_equal(hessian(lambda x: x * x * nt.stop_gradient(x), 3.0), [[6.0]])


def test_value_follows_the_point():
    gradient = nt.grad(lambda x: x * nt.stop_gradient(x))
    assert [gradient(x) for x in (1.0, 2.0, -3.0)] == [1.0, 2.0, -3.0]
