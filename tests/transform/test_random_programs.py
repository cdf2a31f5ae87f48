"""Random programs over scalars and arrays: every way to run and to differentiate must agree.

Hypothesis draws programs of smooth elementwise operations, views, assignments,
reductions, matrix products, `where` and `maximum`. Each is compared as plain
NumPy, by the naive interpreter, by kernels, forward, reverse, by derivative
tapes, and with central differences as a coarse net.
"""

from dataclasses import replace

import naive
import numpy as np
import pytest
from checks import central_jacobian, derivatives_every_way, evaluate, hessian
from hypothesis import given, settings
from hypothesis import strategies as st

import numtape as nt
from numtape.functions import runner
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent
from numtape.transform.passes import optimize

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

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


def _scatter(a):
    b = np.zeros_like(a)
    b[::2] = a[::2] * 0.5
    b[-1] = np.sin(a[0])
    return b


def _recur(a):
    b = a * 1.0
    b[1:] += 0.5 * b[:-1]
    b *= 0.7
    b[0] = 0.3
    return b


SHAPED = [
    lambda a: a[::-1],
    lambda a: a[1:] * a[:-1] if len(a) > 1 else a,
    lambda a: a[::2],
    lambda a: np.concatenate([a, np.tanh(a[:2])]),
    lambda a: a[np.arange(len(a) + 2) * 3 % len(a)],
    lambda a: np.cumsum(a, axis=0) / len(a),
    lambda a: a - np.mean(a),
    lambda a: np.outer(np.ravel(a)[:5], np.sin(np.ravel(a)[:4])),
    lambda a: a.T,
    lambda a: np.ravel(a)[:, None] * np.ravel(a)[None, :3],
    lambda a: np.stack([np.ravel(a), np.cos(np.ravel(a))]),
    lambda a: np.reshape(a, (-1, 1)),
    _scatter,
    _recur,
]
REDUCTIONS = [
    np.sum,
    np.mean,
    lambda a: np.max(a) + np.min(a),
    lambda a: np.prod(1.0 + 0.1 * np.tanh(a)),
    lambda a: np.linalg.norm(np.ravel(a)),
    lambda a: np.sum(a, axis=0),
    lambda a: np.mean(a, axis=-1),
    lambda a: np.max(a, axis=0),
    lambda a: np.ravel(a)[0] * 1.0,
]


def _product(a, b):
    a, b = np.atleast_2d(np.tanh(a)), np.atleast_2d(np.tanh(b))
    a, b = a[:6, :4], b[:6, :4]
    return a.T @ a if a.shape[0] != b.shape[0] else a.T @ b


def _step(values, step):
    """Append the result of one step, on earlier values chosen by its numbers."""
    kind, operation, first, second = step
    a, b = values[first % len(values)], values[second % len(values)]
    if kind == "unary" or (kind != "binary" and np.ndim(a) == 0):
        return UNARY[operation % len(UNARY)](a)
    if kind == "binary":
        try:
            np.broadcast_shapes(np.shape(a), np.shape(b))
        except ValueError:
            b = np.sum(np.tanh(b)) * 0.2
        return BINARY[operation % len(BINARY)](a, b)
    if kind == "shaped":
        return SHAPED[operation % len(SHAPED)](a)
    if kind == "product":
        return _product(a, b if np.ndim(b) else a) * 0.5
    return REDUCTIONS[operation % len(REDUCTIONS)](a)


def _program(steps):
    def run(x, y, t):
        values = [x, y, t]
        for step in steps:
            value = _step(values, step)
            if np.size(value) <= 80 and np.ndim(value) <= 2:
                values.append(value)
        return [np.sum(np.sin(v)) for v in values[3:][-3:]] + [np.ravel(values[-1])[:4], np.sum(x)]

    return run


KINDS = ["unary", "binary", "binary", "shaped", "shaped", "reduce", "product"]
NUMBER = st.integers(0, 2**16)
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), NUMBER, NUMBER, NUMBER), min_size=1, max_size=10)
SIZES = st.sampled_from([2, 5, 12])


def _point(seed, size):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size), rng.normal(size=(3, size)), float(rng.normal())


def _flat(function, size):
    def flat(v):
        x, y, t = v[:size], v[size : 4 * size].reshape(3, size), float(v[-1])
        return np.concatenate([np.ravel(leaf) for leaf in function(x, y, t)])

    return flat


@given(STEPS, SIZES, st.integers(0, 1000))
@settings(max_examples=150)
def test_values(steps, size, seed):
    """Plain NumPy, kernels and naive, at the recording point and at another."""
    function = _program(steps)
    tape = nt.record(function, *_point(seed, size))
    for other in (seed, seed + 1):
        point = _point(other, size)
        flat = np.concatenate([np.ravel(part) for part in point])
        expected = _flat(function, size)(flat)
        found = evaluate(tape.flat, flat)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(naive.run(tape.flat, flat), expected, rtol=1e-12, atol=1e-13)


@given(STEPS, SIZES, st.integers(0, 1000))
@settings(max_examples=80)
def test_derivatives_by_every_way(steps, size, seed):
    """Forward, reverse, products, sweeps and derivative tapes, against the naive sweeps."""
    function = _program(steps)
    point = _point(seed, size)
    flat = nt.record(function, *point).flat
    values = naive.evaluate(flat, flat.point)
    rng = np.random.default_rng(seed)
    v, w = rng.normal(size=flat.inputs), rng.normal(size=len(flat.outputs))
    tangents, adjoints = naive.tangents(flat, values, v), naive.adjoints(flat, values, w)
    scale = 1.0 + abs(tangents).max() + abs(adjoints).max()
    assert abs(w @ tangents - adjoints @ v) <= 1e-11 * scale * len(v)
    for way in derivatives_every_way(function, *point):
        np.testing.assert_allclose(way @ v, tangents, rtol=1e-11, atol=1e-12 * scale)
        np.testing.assert_allclose(w @ way, adjoints, rtol=1e-11, atol=1e-12 * scale)


@given(STEPS, st.sampled_from([2, 10]), st.integers(0, 1000))
@settings(max_examples=60)
def test_central_differences(steps, size, seed):
    """A coarse net, with no derivative rule in it. Points beside a kink are caught by its width."""
    function = _program(steps)
    point = _point(seed, size)
    x = np.concatenate([np.ravel(part) for part in point])
    plain = _flat(function, size)
    fine, coarse = central_jacobian(plain, x, 1e-4), central_jacobian(plain, x, 5e-4)
    smooth = abs(fine - coarse) <= 1e-5 * (1.0 + abs(fine))
    found = derivatives_every_way(function, *point)[0]
    allowed = 1e-6 * (1.0 + abs(fine))
    assert (abs(found - fine) <= allowed)[smooth].all()


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=25)
def test_second_order(steps, seed):
    """Hessians by two derivative tapes: symmetric, and the differences of the gradient's tape."""
    function = _program(steps)
    point = _point(seed, 2)

    def total(x, y, t):
        return np.sum(np.concatenate([np.ravel(leaf) for leaf in function(x, y, t)]))

    found = hessian(total, *point)
    scale = 1.0 + abs(found).max()
    np.testing.assert_allclose(found, found.T, rtol=1e-10, atol=1e-11 * scale)
    flat = nt.record(total, *point).flat
    gradient = jacobian_by_rows(flat, np.arange(flat.inputs))

    def slope(v):
        return evaluate(gradient, v)[1:]

    fine, coarse = (central_jacobian(slope, flat.point, step) for step in (1e-4, 5e-4))
    smooth = abs(fine - coarse) <= 1e-5 * scale
    assert (abs(found - fine) <= 1e-6 * scale)[smooth].all()


def _total(function):
    def total(x, y, t):
        return np.sum(np.concatenate([np.ravel(leaf) for leaf in function(x, y, t)]))

    return total


@given(STEPS, st.sampled_from([2, 10]), st.integers(0, 1000))
@settings(max_examples=40)
def test_seeded_tapes(steps, size, seed):
    """Tangent and adjoint tapes with random seeds, optimised or not, against the naive sweeps."""
    flat = nt.record(_program(steps), *_point(seed, size)).flat
    values = naive.evaluate(flat, flat.point)
    rng = np.random.default_rng(seed)
    v, w = rng.normal(size=flat.inputs), rng.normal(size=len(flat.outputs))
    count = len(flat.outputs)
    for derive, seeds, naively in (
        (tangent, v, naive.tangents(flat, values, v)),
        (adjoint, w, naive.adjoints(flat, values, w)),
    ):
        tape = derive(flat)
        for each in (tape, optimize(tape), derive(optimize(flat))):
            y = evaluate(each, np.concatenate([flat.point, seeds]))
            np.testing.assert_allclose(y[:count], values[flat.outputs], rtol=1e-12, atol=1e-13)
            allowed = 1e-12 * (1.0 + abs(naively).max())
            np.testing.assert_allclose(y[count:], naively, rtol=1e-11, atol=allowed)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=25)
def test_products_with_the_hessian(steps, seed):
    """Forward over reverse, reverse over reverse, over forward, and the Hessian times v."""
    function = _total(_program(steps))
    point = _point(seed, 2)
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
    vectors = (v[:2], v[2:8].reshape(3, 2), float(v[8]))
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


@given(STEPS, st.sampled_from([2, 10]), st.integers(0, 1000))
@settings(max_examples=30)
def test_calls_inside_recordings(steps, size, seed):
    """A gradient taken inside a recorded function is the gradient, and so are its derivatives."""
    function = _total(_program(steps))
    point = _point(seed, size)
    argnums = (0, 1, 2)
    slope = nt.grad(function, argnums)

    def along(*arguments):  # the sum of the gradient's elements
        return sum(np.sum(part) for part in slope(*arguments))

    inner = along(*point)
    value, gradient = nt.value_and_grad(along, argnums)(*point)
    np.testing.assert_allclose(value, inner, rtol=1e-11, atol=1e-12)
    ones = tuple(np.ones_like(part) if np.ndim(part) else 1.0 for part in point)
    product = nt.hvp(function, point, ones)
    scale = 1.0 + max(abs(np.max(part)) for part in product)
    for found, expected in zip(gradient, product):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * scale)


SCALAR_STEPS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=25)


@given(SCALAR_STEPS, st.integers(0, 1000))
@settings(max_examples=80)
def test_scalar_programs(steps, seed):
    """Straight-line scalar code: sweeps against derivative tapes, bit for bit in the values."""

    def function(x):
        values = list(x)
        for operation, first, second in steps:
            a, b = values[first % len(values)], values[second % len(values)]
            every = len(UNARY) + len(BINARY)
            k = operation % every
            values.append(UNARY[k](a) if k < len(UNARY) else BINARY[k - len(UNARY)](a, b))
        return np.array([values[-1], values[len(values) // 2]])

    x = np.random.default_rng(seed).normal(size=3)
    flat = nt.record(function, x).flat
    assert flat.is_scalar
    np.testing.assert_array_equal(evaluate(flat, x), naive.run(flat, x))
    expected = naive.jacobian(flat, x)
    for way in derivatives_every_way(function, x):
        np.testing.assert_allclose(
            way, expected, rtol=1e-11, atol=1e-12 * (1 + abs(expected).max())
        )
