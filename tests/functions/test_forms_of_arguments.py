"""One argument without its tuple, leaves that are no floats, and how long messages are."""

import dataclasses

import numpy as np
import pytest

import numtape as nt

N = 1327
X = np.linspace(0.5, 2.0, N)
V = np.cos(X)


def cubes(x):
    return np.sum(x**3)


def pair(x, y):
    return np.sum(x * y * y)


TAPE = nt.record(cubes, X)


@pytest.mark.parametrize("of", [lambda x: x, lambda x: (x,), lambda x: [x]])
@pytest.mark.parametrize("along", [lambda x: x, lambda x: (x,), lambda x: [x]])
def test_the_only_argument_may_come_without_a_tuple(of, along):
    value, slope, product = np.sum(X**3), np.sum(3 * X**2 * V), 6 * X * V
    for found in (TAPE.jvp(of(X), along(V)), nt.jvp(cubes, of(X), along(V))):
        np.testing.assert_allclose(found, (value, slope), rtol=1e-13)
    for found in (TAPE.hvp(of(X), along(V)), nt.hvp(cubes, of(X), along(V))):
        np.testing.assert_allclose(found[0], product, rtol=1e-13)
    np.testing.assert_allclose(TAPE.vjp(of(X), 2.0)[1][0], 6 * X**2, rtol=1e-13)
    np.testing.assert_allclose(TAPE.linearize(of(X))[1](V), slope, rtol=1e-13)


def test_the_only_argument_is_a_number_a_dict_or_many_points():
    assert nt.record(lambda x: x**3, 2.0).hvp(2.0, 1.0) == (12.0,)
    assert nt.hvp(lambda x: x**3, 2.0, 1.0) == (12.0,)
    f, p, v = lambda p: p["a"] ** 2 * p["b"], {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 0.0}
    assert nt.record(f, p).hvp(p, v) == nt.hvp(f, p, v) == ({"a": 4.0, "b": 2.0},)
    products = TAPE.hvp(np.stack([X, 2 * X]), V)[0]
    np.testing.assert_allclose(products, [6 * X * V, 12 * X * V], rtol=1e-13)


def test_the_only_argument_may_be_traced():
    found = nt.grad(lambda x: nt.jvp(cubes, x, x)[1])(X)
    np.testing.assert_allclose(found, 9 * X**2, rtol=1e-13)
    found = nt.grad(lambda x: nt.hvp(cubes, x, x)[0][0])(X)
    np.testing.assert_allclose(found[:2], [12 * X[0], 0.0], rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: TAPE.hvp(list(X), list(V)), "(1327,)"),
        (lambda: TAPE.hvp((X, X), (V, V)), "(1327,)"),
        (lambda: TAPE.hvp(X, V[:5]), "(1327,)"),
        (lambda: TAPE.hvp(X, list(V)), "(1327,)"),
        (lambda: TAPE.jvp(X, None), "(1327,)"),
        (lambda: TAPE.jvp(X, "abc"), "float"),
        (lambda: TAPE.vjp(list(X), 1.0), "(1327,)"),
        (lambda: TAPE.vjp(X, list(V)), "*"),
        (lambda: TAPE.linearize(X)[1](V, V), "(1327,)"),
        (lambda: TAPE.linearize(X)[1](V[:3]), "(1327,)"),
        (lambda: TAPE(list(X)), "(1327,)"),
        (lambda: TAPE.gradient(list(X)), "(1327,)"),
        (lambda: nt.hvp(cubes, X, V[:4]), "(1327,)"),
        (lambda: nt.jvp(cubes, X, list(V)), "(1327,)"),
        (lambda: nt.jvp(pair, (X, X), V), "((1327,), (1327,))"),
        (lambda: nt.record(pair, X, X).hvp(X, V), "((1327,), (1327,))"),
        (lambda: nt.grad(lambda x: nt.jvp(cubes, x, x[:4])[1])(X), "(1327,)"),
        (lambda: nt.grad(cubes)([int(v) for v in X]), "argument 0[0]"),
        (lambda: nt.grad(cubes)([[]] * N), "no float"),
        (lambda: nt.grad(cubes)(np.arange(N) > 3), "array of bool"),
        (lambda: nt.grad(lambda x, y: x)(1.0, [{}, *range(N), {1, 2}]), "hashable"),
    ],
)
def test_messages_are_short_and_name_what_is_wanted(call, wanted):
    with pytest.raises(nt.InputError) as caught:
        call()
    assert wanted in str(caught.value)
    assert len(str(caught.value)) < 500


# Leaves that are no floats.


@dataclasses.dataclass
class Model:
    k: float
    degrees: list


def power(p):
    return p["k"] ** p["a"] + p["k"]


def polynomial(model):
    return sum(model.k**degree for degree in model.degrees)


P, MODEL = {"a": 2, "k": 0.5}, Model(0.5, [1, 3])


def test_the_static_leaf_of_the_recording_works():
    tape = nt.record(power, P)
    assert tape(P) == 0.75
    assert tape({"a": 2, "k": 1.0}) == 2.0
    np.testing.assert_array_equal(tape({"a": 2, "k": np.array([0.5, 1.0])}), [0.75, 2.0])
    assert tape.jvp(P, P) == (0.75, 1.0)  # the seed of what is static is itself
    assert tape.vjp(P, 1.0) == (0.75, ({"a": None, "k": 2.0},))
    assert nt.vjp(power, P)[1](1.0) == ({"a": None, "k": 2.0},)
    assert nt.record(polynomial, MODEL).vjp(MODEL, 1.0)[1] == (Model(1.75, [None, None]),)
    points = ({"a": 2, "k": np.array([0.5, 1.0])},)
    (found,) = tape.vjp(points, 1.0)[1]
    assert found["a"] is None
    np.testing.assert_array_equal(found["k"], [2.0, 3.0])


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: nt.record(power, P)({"a": 3, "k": 0.5}), r"0\['a'\] is 3 of type int, and 2 of"),
        (lambda: nt.record(power, P)({"a": 2.0, "k": 0.5}), r"0\['a'\] is a float.*2 of type int"),
        (
            lambda: nt.record(polynomial, MODEL)(Model(0.5, [1, 4])),
            r"argument 0\.degrees\[1\] is 4 of type int, and 3 of",
        ),
    ],
)
def test_another_static_leaf_is_named(call, names):
    with pytest.raises(nt.InputError, match=f"{names}.*Record another tape"):
        call()


@pytest.mark.parametrize(
    "derive",
    [
        lambda: nt.grad(power)(P),
        lambda: nt.jacobian(power)(P),
        lambda: nt.hessian(power)(P),
        lambda: nt.hvp(power, P, P),
        lambda: nt.record(power, P).gradient(P),
        lambda: nt.record(power, P).value_and_gradient(P),
        lambda: nt.record(power, P).gradient({"a": 2, "k": np.ones(3)}),
        lambda: nt.record(power, P).jacobian(P),
        lambda: nt.record(power, P).value_and_jacobian(P),
        lambda: nt.record(power, P).hessian(P),
        lambda: nt.record(power, P).hvp((P,), (P,)),
        lambda: nt.record(power, P).tangent(),
        lambda: nt.record(power, P).adjoint(),
    ],
)
def test_the_derivative_by_a_static_leaf(derive):
    with pytest.raises(nt.InputError, match=r"argument 0\['a'\] holds 2 of type int.*to float"):
        derive()
    # What the message says.
    floats = {"a": 2.0, "k": 0.5}
    assert nt.record(power, floats).gradient(floats)["k"] == 2.0
    assert nt.grad(lambda k, a: power({"a": a, "k": k}))(0.5, 2) == 2.0
