"""Results that do not depend on the arguments: derivatives are zero, and a warning says so."""

import warnings

import numpy as np
import pytest

import numtape as nt

X = np.array([0.5, 1.5, 2.5])
POINTS = np.array([[0.5, 1.5, 2.5], [3.0, -1.0, 0.0]])
ZERO = np.zeros(3)
QUIET = pytest.mark.filterwarnings("ignore::numtape.ConstantResultWarning")
CONSTANT = pytest.warns(nt.ConstantResultWarning, match=r"returned 7\.0.*0\.0 \* x")


def same(found, wanted):
    np.testing.assert_equal(found, wanted)
    assert not isinstance(found, np.ndarray) or found.dtype == np.float64


def seven(x):
    return 7.0


def tree(x):
    return {"a": 1.0, "b": np.ones(2)}


def _vjp(function, x, weights):
    value, pull_back = nt.vjp(function, x)
    return value, pull_back(weights)


def _linear(function, x):
    value, push_forward = nt.linearize(function, x)
    return value, push_forward(x)


WAYS = {
    "grad": (lambda f: nt.grad(f)(X), ZERO),
    "grad of a number": (lambda f: nt.grad(f)(2.0), 0.0),
    "value_and_grad": (lambda f: nt.value_and_grad(f)(X), (7.0, ZERO)),
    "argnums": (
        lambda f: nt.grad(lambda x, y: f(x), argnums=(0, 1))(X, {"a": 1.0}),
        (ZERO, {"a": 0.0}),
    ),
    "aux": (lambda f: nt.grad(lambda x: (f(x), 2.0 * x), has_aux=True)(X), (ZERO, 2.0 * X)),
    "jacobian": (lambda f: nt.jacobian(f)(X), ZERO),
    "jacfwd": (lambda f: nt.jacfwd(f)(X), ZERO),
    "jacrev": (lambda f: nt.jacrev(f)(X), ZERO),
    "hessian": (lambda f: nt.hessian(f)(X), np.zeros((3, 3))),
    "jvp": (lambda f: nt.jvp(f, (X,), (X,)), (7.0, 0.0)),
    "vjp": (lambda f: _vjp(f, X, 1.0), (7.0, (ZERO,))),
    "hvp": (lambda f: nt.hvp(f, (X,), (X,)), (ZERO,)),
    "linearize": (lambda f: _linear(f, X), (7.0, 0.0)),
    "vmap": (lambda f: nt.vmap(f)(POINTS), np.full(2, 7.0)),
    "vmap of grad": (lambda f: nt.vmap(nt.grad(f))(POINTS), np.zeros((2, 3))),
    "inner": (lambda f: nt.grad(lambda x: x[0] * (1.0 + nt.grad(f)(x)[0]))(X), [1.0, 0.0, 0.0]),
    "inner jvp": (lambda f: nt.grad(lambda x: x[1] + nt.jvp(f, (x,), (x,))[1])(X), [0.0, 1.0, 0.0]),
    "no argument": (lambda f: nt.record(lambda: f(0.0))(), 7.0),
    "check": (lambda f: nt.check_derivatives(f, X).jacobian, np.zeros((1, 3))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_constant_has_no_derivative_and_is_told_of(way):
    run, wanted = WAYS[way]
    with CONSTANT:
        found = run(lambda x: 7.0)
    same(found, wanted)


METHODS = {
    "value": (lambda tape, x: tape(x), 7.0),
    "gradient": (lambda tape, x: tape.gradient(x), ZERO),
    "value_and_gradient": (lambda tape, x: tape.value_and_gradient(x), (7.0, ZERO)),
    "jacobian": (lambda tape, x: tape.jacobian(x), ZERO),
    "forward": (lambda tape, x: tape.jacobian(x, mode="forward"), ZERO),
    "value_and_jacobian": (lambda tape, x: tape.value_and_jacobian(x), (7.0, ZERO)),
    "hessian": (lambda tape, x: tape.hessian(x), np.zeros((3, 3))),
    "jvp": (lambda tape, x: tape.jvp(x, x), (7.0, 0.0)),
    "vjp": (lambda tape, x: tape.vjp(x, 1.0), (7.0, (ZERO,))),
    "hvp": (lambda tape, x: tape.hvp(x, x), (ZERO,)),
    "adjoint": (lambda tape, x: tape.adjoint()(x), (7.0, ZERO)),
    "tangent": (lambda tape, x: tape.tangent()(x), (7.0, ZERO)),
    "optimized": (lambda tape, x: tape.optimize().gradient(x), ZERO),
}


@pytest.mark.parametrize("method", METHODS)
def test_tapes(method):
    run, wanted = METHODS[method]
    with CONSTANT:
        tape = nt.record(seven, X)
    same(run(tape, X), wanted)
    found = run(tape, POINTS)
    if isinstance(wanted, tuple):
        for part, whole in zip(wanted, found, strict=True):
            part, whole = np.squeeze(part), np.squeeze(whole)
            same(whole, np.broadcast_to(part, whole.shape))
    else:
        same(found, np.broadcast_to(wanted, (2, *np.shape(wanted))))


def test_compiled_and_saved(tmp_path):
    with CONSTANT:
        tape = nt.record(seven, X)
    tape.compile()
    same(tape.gradient(X), ZERO)
    same(tape.jacobian(POINTS), np.zeros((2, 3)))
    tape.save(tmp_path / "seven.tape")
    same(nt.load(tmp_path / "seven.tape").value_and_gradient(X), (7.0, ZERO))


def test_once_for_each_recording():
    gradient = nt.value_and_grad(seven)
    with CONSTANT as caught:
        for _ in range(3):
            same(gradient(X), (7.0, ZERO))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert caught[0].message.code == "constant-result"
    with CONSTANT as caught:  # another shape
        same(gradient(2.0), (7.0, 0.0))
        same(gradient(2.0), (7.0, 0.0))
    assert len(caught) == 1


def test_as_an_error_it_is_one_at_every_call():
    gradient = nt.grad(seven)
    with warnings.catch_warnings():
        warnings.simplefilter("error", nt.ConstantResultWarning)
        for _ in range(3):
            with pytest.raises(nt.ConstantResultWarning):
                gradient(X)
    with CONSTANT:
        same(gradient(X), ZERO)


def test_trees():
    with pytest.warns(nt.ConstantResultWarning):
        found = nt.jacobian(tree)({"x": X, "y": 1.0})
    same(found, {"a": {"x": ZERO, "y": 0.0}, "b": {"x": np.zeros((2, 3)), "y": np.zeros(2)}})
    with pytest.warns(nt.ConstantResultWarning):
        value, derivative = nt.jvp(tree, (X,), (X,))
    same(value, tree(X))
    same(derivative, {"a": 0.0, "b": np.zeros(2)})


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x: {"a": 1.0, "b": x[0] ** 2}, {"a": ZERO, "b": [1.0, 0.0, 0.0]}),
        (lambda x: np.array([x[0], 3.0]), [[1.0, 0.0, 0.0], ZERO]),
        (lambda x: np.zeros_like(x), np.zeros((3, 3))),
        (lambda x: 3.0 + 0.0 * x, np.zeros((3, 3))),
        (lambda x: nt.stop_gradient(x[0]), ZERO),
        (lambda x: 3.0 if x[0] > 0.0 else x[0], ZERO),
        (lambda x: 0 if x[0] > 0.0 else x[0], ZERO),
        (lambda x: max(x[0] - 9.0, 0), ZERO),
        (lambda x: nt.jacobian(lambda y: 3.0 * y)(x), np.zeros((3, 3, 3))),
        (lambda x: nt.grad(lambda y: x[0])(x), np.zeros((3, 3))),
    ],
)
def test_nothing_is_said_of_a_part_or_of_a_branch(function, wanted):
    """(Warnings are errors in these tests.)"""
    jacobian = nt.jacobian(function)
    for _ in range(2):
        for found in (jacobian(X), nt.jacfwd(function)(X), nt.record(function, X).jacobian(X)):
            np.testing.assert_equal(found, wanted)


def test_a_result_without_elements_is_checked():
    assert nt.check_derivatives(lambda x: x[:0], X, order=2).jacobian.shape == (0, 3)


def test_second_derivatives_of_linear_functions():
    np.testing.assert_array_equal(
        nt.hessian(lambda x: x @ x[::-1] * 0.0 + x[0])(X), np.zeros((3, 3))
    )
    np.testing.assert_array_equal(nt.hessian(np.sum)(X), np.zeros((3, 3)))
    np.testing.assert_array_equal(nt.hvp(np.sum, X, X)[0], ZERO)


def test_a_branch_that_returns_an_integer_constant():
    relu = nt.value_and_grad(lambda x: x if x > 0 else 0)
    for x in (-1.0, 2.0, -3.0):
        same(relu(x), (max(x, 0.0), float(x > 0)))
    np.testing.assert_array_equal(nt.vmap(relu)(np.array([-1.0, 2.0]))[1], [0.0, 1.0])


COUNTS = [
    np.argmax,
    lambda x: np.sum(x > 1.0),
    lambda x: x[0] > 1.0,
    lambda x: np.floor(x[0]).astype(int),
]


@pytest.mark.parametrize("function", COUNTS)
def test_integers_have_jacobians_of_zero_and_no_gradients(function, tmp_path):
    for derive in (nt.jacobian, nt.jacfwd, nt.jacrev):
        same(derive(function)(X), ZERO)
    value = float(function(X))
    same(nt.jvp(function, X, X), (value, 0.0))
    same(_vjp(function, X, 1.0), (value, (ZERO,)))
    tape = nt.record(function, X)
    tape.save(tmp_path / "counts.tape")
    for each in (tape, tape.optimize(), nt.load(tmp_path / "counts.tape")):
        same(each(X), value)
        for method in ("gradient", "value_and_gradient", "hessian"):
            for x in (X, POINTS):
                with pytest.raises(
                    nt.OutputError, match=r"integer or a bool.*Return 1\.0 \* value"
                ):
                    getattr(each, method)(x)
    # What the message says.
    same(nt.grad(lambda x: 1.0 * function(x))(X), ZERO)
    same(nt.hessian(lambda x: 1.0 * function(x))(X), np.zeros((3, 3)))


@QUIET
@pytest.mark.parametrize("number", [3, True, np.int64(3), np.array(3)])
def test_constant_integers(number):
    same(nt.jacobian(lambda x: number)(X), ZERO)
    same(nt.vmap(lambda x: number)(POINTS), np.full(2, float(number)))
    for derive in (nt.grad, nt.value_and_grad, nt.hessian):
        derivative = derive(lambda x: number)
        for _ in range(2):
            with pytest.raises(nt.OutputError, match=r"Return 1\.0 \* value"):
                derivative(X)
    same(nt.grad(lambda x: 1.0 * number)(X), ZERO)


class Labelled:
    """As an array of xarray's, which holds traced values as objects."""

    def __init__(self, values):
        self.values = np.empty(len(values), object)
        for k, value in enumerate(values):
            self.values[k] = value
        self.dtype = self.values.dtype

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_a_labelled_result_is_opened():
    """It is not what it looks like: constant."""

    def square(x):
        return Labelled([x[0] * x[0], x[1]])

    np.testing.assert_array_equal(nt.jacobian(square)(X), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    aux = nt.grad(lambda x: (x[0], Labelled([x[1], 2.0])), has_aux=True)(X)[1]
    np.testing.assert_array_equal(aux, [1.5, 2.0])
    labelled = Labelled([1.5, 2.0])
    assert nt.grad(lambda x: (x[0], labelled), has_aux=True)(X)[1] is labelled
    with pytest.warns(nt.ConstantResultWarning):
        np.testing.assert_array_equal(nt.jacobian(lambda x: Labelled([1.0]))(X), [ZERO])
