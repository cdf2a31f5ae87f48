"""Arguments and results that are trees, argnums, has_aux, and the shapes of what comes back."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

import numtape as nt


class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass
class Model:
    slope: object
    offset: object


X = np.array([1.0, 2.0, 3.0])


# arguments


def test_dict():
    found = nt.grad(lambda p: p["a"] * np.sum(p["b"]))({"a": 2.0, "b": X})
    assert list(found) == ["a", "b"]
    assert found["a"] == 6.0
    assert isinstance(found["a"], float)
    np.testing.assert_array_equal(found["b"], [2.0, 2.0, 2.0])


@pytest.mark.parametrize("kind", [list, tuple])
def test_list_and_tuple(kind):
    found = nt.grad(lambda p: p[0] ** 2 * p[1])(kind([3.0, 5.0]))
    assert type(found) is kind
    assert found == kind([30.0, 9.0])


def test_named_tuple():
    assert nt.grad(lambda p: p.a * p.b)(Pair(3.0, 5.0)) == Pair(5.0, 3.0)


def test_dataclass():
    found = nt.grad(lambda m: m.slope**2 + 3.0 * m.offset)(Model(2.0, 1.0))
    assert found == Model(4.0, 3.0)


def test_none_is_a_branch_without_leaves():
    found = nt.grad(lambda p: p["a"] * 2.0 if p["b"] is None else p["a"])({"a": 3.0, "b": None})
    assert found == {"a": 2.0, "b": None}


def test_nested():
    tree = {"layers": [Pair(X, 1.0), Pair(X * 2, 2.0)], "rate": (0.5,)}

    def f(p):
        total = p["rate"][0]
        for layer in p["layers"]:
            total = total * np.sum(layer.a) + layer.b
        return total

    found = nt.grad(f)(tree)
    assert isinstance(found["layers"][0], Pair)
    assert found["rate"] == (72.0,)
    np.testing.assert_array_equal(found["layers"][0].a, [6.0] * 3)
    assert found["layers"][1].b == 1.0


def test_order_of_dict_keys_is_kept():
    """A function may walk over a dict, so another order is another recording."""
    calls = []

    def f(p):
        calls.append(1)
        return p["a"] * 2.0 + p["b"]

    gradient = nt.grad(f)
    assert gradient({"a": 1.0, "b": 2.0}) == {"a": 2.0, "b": 1.0}
    assert gradient({"b": 2.0, "a": 1.0}) == {"a": 2.0, "b": 1.0}
    assert len(calls) == 2
    first = nt.grad(lambda p: next(iter(p.values())) * 3.0)
    assert first({"b": 2.0, "a": 1.0}) == {"b": 3.0, "a": 0.0}


def test_named_arguments():
    def f(x, *, scale, shift=0.0):
        return x * x * scale + shift

    assert nt.grad(f)(3.0, scale=2.0) == 12.0
    assert nt.grad(f)(3.0, scale=5.0, shift=1.0) == 30.0


# argnums


def f3(x, y, z):
    return x * y**2 * np.sum(z)


def test_argnums():
    call = (2.0, 3.0, X)
    assert nt.grad(f3)(*call) == 54.0
    assert nt.grad(f3, 1)(*call) == 72.0
    np.testing.assert_array_equal(nt.grad(f3, 2)(*call), [18.0] * 3)
    np.testing.assert_array_equal(nt.grad(f3, -1)(*call), [18.0] * 3)
    assert nt.grad(f3, (0,))(*call) == (54.0,)
    pair = nt.grad(f3, (1, 0))(*call)
    assert pair == (72.0, 54.0)
    first, last = nt.grad(f3, argnums=[0, -1])(*call)
    assert first == 54.0
    np.testing.assert_array_equal(last, [18.0] * 3)


def test_argnums_of_jacobians():
    def f(x, y):
        return np.array([x * y[0], y[1]])

    call = (2.0, np.array([3.0, 4.0]))
    for jacobian in (nt.jacobian, nt.jacfwd, nt.jacrev):
        by_y, by_x = jacobian(f, (1, 0))(*call)
        np.testing.assert_array_equal(by_y, [[2.0, 0.0], [0.0, 1.0]])
        np.testing.assert_array_equal(by_x, [3.0, 0.0])
        np.testing.assert_array_equal(jacobian(f, -1)(*call), by_y)


@pytest.mark.parametrize("argnums", [3, -4, (0, 3)])
def test_argnums_out_of_range(argnums):
    with pytest.raises(nt.InputError, match=r"3 positional arguments.*correct argnums"):
        nt.grad(f3, argnums)(2.0, 3.0, X)


def test_argnums_by_an_integer_argument():
    """It is meant as a float; inside a tree it stays an integer."""
    assert nt.grad(lambda x, n: x**n, 1)(2.0, 3) == pytest.approx(8.0 * np.log(2.0), rel=1e-15)
    with pytest.raises(nt.InputError, match=r"argument 1\['n'\] holds 3 of type int.*to float"):
        nt.grad(lambda x, p: x ** p["n"], 1)(2.0, {"n": 3})


def test_argnums_by_none():
    with pytest.raises(nt.InputError, match="no float in it"):
        nt.grad(lambda x, n: x * 2.0, 1)(2.0, None)


# shapes


@pytest.mark.parametrize("jacobian", [nt.jacobian, nt.jacfwd, nt.jacrev])
@pytest.mark.parametrize("output", [(), (1,), (4,), (2, 3)])
@pytest.mark.parametrize("given", [(), (1,), (5,), (2, 2)])
def test_jacobian_has_output_shape_plus_input_shape(jacobian, output, given):
    size = int(np.prod(output, dtype=int))
    weights = np.arange(1.0, size + 1).reshape(output)

    def f(x):
        return weights * np.sum(x * x)

    x = np.linspace(1.0, 2.0, int(np.prod(given, dtype=int))).reshape(given)
    argument = x if given else float(x)
    found = jacobian(f)(argument)
    assert np.shape(found) == output + given
    expected = weights.reshape(output + (1,) * len(given)) * 2.0 * x
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    if output + given == ():
        assert type(found) is float


@pytest.mark.parametrize("jacobian", [nt.jacobian, nt.jacfwd, nt.jacrev])
def test_jacobian_is_a_tree_of_trees(jacobian):
    def f(p):
        return {"y": p["a"] * p["b"], "z": (np.sum(p["b"]), 2.0)}

    found = jacobian(f)({"a": 3.0, "b": X})
    np.testing.assert_array_equal(found["y"]["a"], X)
    np.testing.assert_array_equal(found["y"]["b"], 3.0 * np.eye(3))
    assert found["z"][0]["a"] == 0.0
    np.testing.assert_array_equal(found["z"][0]["b"], np.ones(3))
    assert found["z"][1]["a"] == 0.0
    np.testing.assert_array_equal(found["z"][1]["b"], np.zeros(3))


def test_results_of_every_kind():
    def f(x):
        return {
            "d": x[0],
            "l": [x, 1.0, 3],
            "t": (x * 2.0,),
            "n": None,
            "p": Pair(x[1], Model(x, 1)),
        }

    value = nt.record(f, X)(X)
    assert value["d"] == 1.0
    np.testing.assert_array_equal(value["l"][0], X)
    assert value["l"][1:] == [1.0, 3.0]
    np.testing.assert_array_equal(value["t"][0], X * 2)
    assert value["n"] is None
    assert value["p"].a == 2.0
    assert isinstance(value["p"].b, Model)


def test_empty_argument():
    found = nt.grad(lambda x, y: np.sum(x) + y)(np.zeros(0), 2.0)
    assert found.shape == (0,)


def test_empty_output():
    found = nt.jacobian(lambda x: x[:0] * 2.0)(X)
    assert found.shape == (0, 3)


# auxiliary results


def test_aux_of_grad():
    def f(x):
        y = np.sin(x)
        return np.sum(y), {"y": y, "name": "sine", "count": 3}

    gradient, aux = nt.grad(f, has_aux=True)(X)
    np.testing.assert_array_equal(gradient, np.cos(X))
    np.testing.assert_array_equal(aux["y"], np.sin(X))
    assert aux["name"] == "sine"
    assert aux["count"] == 3


def test_aux_of_value_and_grad():
    (value, aux), gradient = nt.value_and_grad(lambda x: (x * x, x * 3.0), has_aux=True)(2.0)
    assert (value, aux, gradient) == (4.0, 6.0, 4.0)


def test_aux_follows_the_point():
    f = nt.grad(lambda x: (x * x, x * 3.0), has_aux=True)
    assert [f(x) for x in (2.0, 5.0, 2.0)] == [(4.0, 6.0), (10.0, 15.0), (4.0, 6.0)]


@pytest.mark.parametrize("jacobian", [nt.jacobian, nt.jacfwd, nt.jacrev])
def test_aux_of_jacobians(jacobian):
    found, aux = jacobian(lambda x: (x * x, np.sum(x)), has_aux=True)(X)
    np.testing.assert_array_equal(found, np.diag(2.0 * X))
    assert aux == 6.0


def test_aux_of_jvp_and_vjp():
    def f(x):
        return x * x, x * 3.0

    assert nt.jvp(f, (2.0,), (1.0,), has_aux=True) == (4.0, 4.0, 6.0)
    value, pull_back, aux = nt.vjp(f, 2.0, has_aux=True)
    assert (value, aux, pull_back(1.0)) == (4.0, 6.0, (4.0,))


def test_aux_of_named_arguments():
    gradient, aux = nt.grad(lambda x, *, k: (x * k, x + k), has_aux=True)(2.0, k=3.0)
    assert (gradient, aux) == (3.0, 5.0)


def test_aux_that_is_no_pair():
    with pytest.raises(nt.OutputError, match=r"pair \(output, aux\)"):
        nt.grad(lambda x: x * x, has_aux=True)(2.0)
