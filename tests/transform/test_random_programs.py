"""Ways to second derivatives that random programs are compared in, and Jacobians used often.

First derivatives, passes and values of the same programs are compared in `test_agreement`.
"""

from dataclasses import replace

import numpy as np
import pytest
from agreement.programs import draw_points, programs
from checks import evaluate, hessian
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

import numtape as nt
from numtape.functions import runner
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent

# Bounded, smooth functions of any shape, so that long programs stay well conditioned.
UNARY = [
    np.sin,
    np.cos,
    np.tanh,
    np.arctan,
    lambda a: np.exp(-a * a),
    lambda a: np.sqrt(1.0 + a * a),
    lambda a: 1.0 / (2.0 + a * a),
    lambda a: np.log(1.5 + np.sin(a)),
    lambda a: 0.3 * a**3 / (1.0 + a**4),
    lambda a: (1.2 + np.sin(a)) ** 1.7,
    lambda a: np.where(a > 0.3, np.sin(a - 0.3), 0.5 * (a - 0.3)),
    lambda a: np.maximum(a, 0.1 - 0.5 * a),
    lambda a: np.clip(a, -1.1, 1.3),
    lambda a: np.hypot(a, 0.7),
    lambda a: -a,
]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a - 0.5 * b,
    lambda a, b: np.tanh(a) * np.tanh(b),
    lambda a, b: a / (1.5 + np.sin(b)),
    lambda a, b: np.minimum(a, b + 0.123),
    lambda a, b: np.where(a > b + 0.217, np.sin(a), np.cos(b)),
    lambda a, b: np.arctan2(a, 2.0 + b * b),
    lambda a, b: np.logaddexp(a, b),
    lambda a, b: (1.1 + np.tanh(a)) ** np.sin(b),
]


_QUIETLY = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def _total(program):
    def total(x, y, t):
        return sum(np.sum(leaf) for leaf in program.function(x.copy(), y.copy(), t))

    return total


@given(programs(), st.integers(0, 1000))
@settings(max_examples=60, **_QUIETLY)
def test_products_with_the_hessian(program, seed):
    """Forward over reverse, reverse over reverse, over forward, and the Hessian times v."""
    assume(1 <= program.size <= 4)
    function, n = _total(program), program.size
    (point,) = draw_points("normal", n, 1, seed)
    tape = nt.record(function, *point)
    flat, n = tape.flat, tape.flat.inputs
    v = np.random.default_rng(seed).normal(size=n)
    one, zero = np.ones(1), np.zeros(1)
    first = tangent(adjoint(flat))
    ways = [evaluate(first, np.concatenate([flat.point, one, v, zero]))[n + 2 :]]
    second = adjoint(adjoint(flat))
    ways.append(evaluate(second, np.concatenate([flat.point, one, zero, v]))[n + 1 : 2 * n + 1])
    third = adjoint(tangent(flat))
    ways.append(evaluate(third, np.concatenate([flat.point, v, zero, one]))[2 : n + 2])
    vectors = (v[: n // 3], v[n // 3 : -1].reshape(2, -1), float(v[-1]))
    for products in (tape.hvp(point, vectors), nt.hvp(function, point, vectors)):
        ways.append(np.concatenate([np.ravel(product) for product in products]))
    inputs = np.arange(n)
    for inner in (jacobian_by_rows, jacobian_by_columns):
        for outer in (jacobian_by_rows, jacobian_by_columns):
            gradient = inner(flat, inputs)
            gradient = replace(gradient, outputs=gradient.outputs[1:])
            ways.append(evaluate(outer(gradient, inputs), flat.point)[n:].reshape(n, n) @ v)
    scale = 1.0 + abs(ways[0]).max() + abs(hessian(function, *point)).max()
    for way in ways:
        np.testing.assert_allclose(way, ways[0], rtol=1e-10, atol=1e-11 * scale)


def _every_number(tree):
    if not isinstance(tree, tuple | list):
        return np.ravel(tree)
    return np.concatenate([_every_number(leaf) for leaf in tree])


@pytest.mark.parametrize("mode", [nt.jacfwd, nt.jacrev, nt.jacobian])
def test_often_used_jacobians(mode, monkeypatch):
    """By sweeps at first, and by a derivative tape after some calls: the same to rounding."""
    monkeypatch.setattr(runner, "_OFTEN", 5)
    rng = np.random.default_rng(0)
    for seed in range(12):
        chosen = rng.integers(0, len(UNARY) + len(BINARY), 12).tolist()

        def function(x, chosen=chosen):
            values = list(x)
            for k in chosen:
                a, b = values[-1], values[-3]
                every = UNARY[k](a) if k < len(UNARY) else BINARY[k - len(UNARY)](a, b)
                values.append(every)
            return np.array(values[-4:])

        x = np.random.default_rng(seed).normal(size=3)
        derivative = mode(function)
        found = [derivative(x) for _ in range(9)]
        for k, later in enumerate(found):
            np.testing.assert_allclose(later, found[0], rtol=1e-12, atol=1e-13)
            assert k <= 4 or np.array_equal(later, found[5])
        moved = x * 1.25
        fresh = mode(lambda x: function(x))(moved)
        np.testing.assert_allclose(derivative(moved), fresh, rtol=1e-12, atol=1e-13)


def test_the_switch_itself():
    """At the number of calls that is really used, with branches, and a part of the arguments."""

    def function(x, y):
        scale = np.exp(y) if x[0] > 0.0 else y * y
        return np.array([scale * x[0] * x[1], np.sin(x[1]) / scale])

    derivative = nt.jacobian(function, (0, 1))
    one, other = (np.array([0.7, 1.1]), 0.3), (np.array([-0.7, 1.1]), 0.3)
    fresh = [nt.jacobian(lambda *a: function(*a), (0, 1))(*point) for point in (one, other)]
    expected = [_every_number(jacobian) for jacobian in fresh]
    for k in range(2 * runner._OFTEN + 20):
        which = (k // 3) % 2
        found = _every_number(derivative(*(one, other)[which]))
        np.testing.assert_allclose(found, expected[which], rtol=1e-14)


@given(programs(), st.integers(0, 1000))
@settings(max_examples=60, **_QUIETLY)
def test_calls_inside_recordings(program, seed):
    """A gradient taken inside a recorded function is the gradient, and so are its derivatives."""
    function = _total(program)
    (point,) = draw_points("normal", program.size, 1, seed)
    argnums = (0, 1, 2)
    slope = nt.grad(function, argnums)

    def along(*arguments):  # the sum of the gradient's elements
        return sum(np.sum(part) for part in slope(*arguments))

    try:
        inner = along(*point)
    except nt.UnsupportedError:
        reject()  # numtape says that it cannot record the program
    value, gradient = nt.value_and_grad(along, argnums)(*point)
    np.testing.assert_allclose(value, inner, rtol=1e-11, atol=1e-12)
    ones = tuple(np.ones_like(part) if np.ndim(part) else 1.0 for part in point)
    product = nt.hvp(function, point, ones)
    scale = 1.0 + max(np.max(np.abs(part), initial=0.0) for part in product)
    for found, expected in zip(gradient, product):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * scale)
