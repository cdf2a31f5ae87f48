"""Matrix products, batched and broadcast, equal to NumPy's bit for bit; sums by index.

Both go through the same BLAS with the same strides, so that even their rounding
must agree wherever NumPy hands the operands to BLAS as they lie.
"""

import naive
import numpy as np
import pytest
from checks import assert_replays, assert_same_bits, evaluate

import numtape as nt
from numtape.transform.derivative import adjoint

PAIRS = [
    ((3, 4), (4, 5)),
    ((30, 40), (40, 20)),
    ((1, 5), (5, 1)),
    ((4,), (4,)),
    ((50,), (50,)),
    ((3, 4), (4,)),
    ((4,), (4, 3)),
    ((6, 3, 4), (6, 4, 5)),
    ((6, 3, 4), (4, 5)),
    ((3, 4), (6, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((6, 3, 4), (4,)),
    ((4,), (6, 4, 5)),
]


def _points(*shapes):
    rng = np.random.default_rng(7)
    return [tuple(rng.normal(size=shape) for shape in shapes) for _ in range(2)]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_matmul(pair):
    points = _points(*pair)
    tape = assert_replays(lambda a, b: a @ b, *points).flat
    for a, b in points:
        expected = naive.run(tape, np.concatenate([a.ravel(), b.ravel()]))
        assert_same_bits(expected, np.ravel(a @ b))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_matmul_with_a_constant(pair):
    (a, b), (c, d) = _points(*pair)
    assert_replays(lambda x: np.matmul(x, b), (a,), (c,))
    assert_replays(lambda x: np.matmul(a, x), (b,), (d,))


@pytest.mark.parametrize(
    "function", [np.dot, np.inner, np.outer, np.vdot], ids=lambda f: f.__name__
)
def test_products_of_vectors(function):
    assert_replays(function, *_points((6,), (6,)))
    assert_replays(function, *_points((50,), (50,)))


@pytest.mark.parametrize("pair", [((3, 4), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4,))], ids=str)
def test_dot(pair):
    assert_replays(np.dot, *_points(*pair))


def test_dot_of_higher_rank():
    """np.dot of rank 3 by rank 3 is a sum over the last axis and the last but one."""
    assert_replays(np.dot, *_points((2, 3, 4), (5, 4, 6)))


@pytest.mark.parametrize("pair", [((3, 4), (5, 4)), ((4,), (5, 4)), ((2, 3, 4), (4,))], ids=str)
def test_inner(pair):
    assert_replays(np.inner, *_points(*pair))


def test_transposed_and_strided_operands():
    points = _points((8, 6), (8, 5))
    for function in (
        lambda a, b: a.T @ b,
        lambda a, b: b.T @ a,
        lambda a, b: a[::2, ::2].T @ b[::2],
        lambda a, b: a[:, ::-1].T @ b[:, 1:],
    ):
        assert_replays(function, *points)


def test_gathered_operands():
    rows = np.array([3, 0, 2, 2])
    assert_replays(lambda a, b: a[rows] @ b[:, [4, 1, 1]], *_points((5, 6), (6, 5)))


@pytest.mark.parametrize(("m", "n", "p"), [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty_products(m, n, p):
    (a, b), _ = _points((m, n), (n, p))
    assert_replays(lambda a, b, z: a @ b + z, (a, b, 1.0))


@pytest.mark.parametrize("size", [12, 1025])
def test_scatter(size):
    """Sums by index appear in adjoints of gathers; here against np.add.at."""
    index = np.random.default_rng(size).integers(0, size, 2 * size)
    x, w = (
        np.random.default_rng(1).normal(size=size),
        np.random.default_rng(2).normal(size=2 * size),
    )
    flat = adjoint(nt.record(lambda x: 2.0 * x[index], x).flat)
    assert any(v.kind == "scatter" for v in flat.vectors)
    expected = np.zeros(size)
    np.add.at(expected, index, 2.0 * w)
    both = np.concatenate([x, w])
    found = evaluate(flat, both)
    np.testing.assert_allclose(found[2 * size :], expected, rtol=1e-14, atol=1e-15)
    assert_same_bits(found, naive.run(flat, both))
