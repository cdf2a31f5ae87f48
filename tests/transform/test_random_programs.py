"""Random programs over scalars and arrays: every way to run and to differentiate must agree.

Hypothesis draws programs of smooth elementwise operations, views, assignments,
reductions, matrix products, `where` and `maximum`. Each is compared as plain
NumPy, by the naive interpreter, by kernels, forward, reverse, by derivative
tapes, and with central differences as a coarse net.
"""

import naive
import numpy as np
from checks import central_jacobian, derivatives_every_way, evaluate, hessian
from hypothesis import given, settings
from hypothesis import strategies as st

import numtape as nt
from numtape.transform.derivative import jacobian_by_rows

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
