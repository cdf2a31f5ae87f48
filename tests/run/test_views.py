"""How vector instructions read their operands, and where chunks begin and end.

Every program is compared with plain NumPy bit for bit, at the recording point
and at another, and with the naive interpreter.
"""

from dataclasses import replace

import naive
import numpy as np
import pytest
from checks import assert_replays, assert_same_bits, evaluate

import numtape as nt
from numtape.tape.flat import VECTOR, View

SIZES = [9, 1023, 1024, 1025, 2048, 5000]


def _points(*shape):
    rng = np.random.default_rng(sum(shape))
    return [(rng.uniform(0.1, 2.0, shape),), (rng.uniform(-2.0, 2.0, shape),)]


def _check(function, *shape):
    points = _points(*shape)
    tape = assert_replays(function, *points).flat
    assert tape.vectors
    for (x,) in points:
        # NumPy's own loops round differently for one element and for many, now and then.
        np.testing.assert_array_max_ulp(naive.run(tape, x.ravel()), np.ravel(function(x)), 4)
    return tape


@pytest.mark.parametrize("size", SIZES)
def test_contiguous(size):
    tape = _check(lambda x: np.sin(x) * x, size)
    assert all(view.table is None for v in tape.vectors for view in v.operands)


@pytest.mark.parametrize("size", SIZES)
def test_row_without_a_loop_of_its_own(size):
    """Rows that only the kernels know are written out and run chunk by chunk."""
    _check(lambda x: np.clip(np.sinc(x), 0.2, 0.7), size)
    _check(lambda x: np.clip(np.sinc(x[::-1]), 0.2, 0.7), size)


@pytest.mark.parametrize("size", SIZES)
def test_broadcast_scalar(size):
    _check(lambda x: x * x[0] + 2.0 / x[1], size)


@pytest.mark.parametrize("size", [18, 2046, 2048, 2050, 10000])
@pytest.mark.parametrize("step", [2, -1, -2])
def test_strided(size, step):
    tape = _check(lambda x: np.cos(x[::step]) + x[::step], size)
    assert all(view.table is None for v in tape.vectors for view in v.operands)


@pytest.mark.parametrize(
    "view",
    {
        "transposed": lambda x: x.T,
        "every other column": lambda x: x[:, ::2],
        "rows reversed": lambda x: x[::-1],
        "both reversed": lambda x: x[::-1, ::-1],
        "inner block": lambda x: x[3:-2, 1:-1],
        "column": lambda x: x[:, 2],
        "transposed and strided": lambda x: x.T[1::2, ::-3],
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("shape", [(10, 12), (45, 61)])
def test_rank_two(view, shape):
    function = view[1]
    tape = _check(lambda x: function(x) * 2.0 - np.exp(function(x)), *shape)
    assert all(operand.table is None for v in tape.vectors for operand in v.operands)


@pytest.mark.parametrize(
    "view",
    {
        "permuted": lambda x: x.transpose(2, 0, 1),
        "strided": lambda x: x[::2, :, ::3],
        "reversed": lambda x: x[::-1, ::-1, ::-1],
        "swapped": lambda x: np.swapaxes(x, 0, 2)[:, 1:],
        "moved": lambda x: np.moveaxis(x, 0, -1)[..., ::-1],
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("shape", [(4, 5, 6), (11, 13, 17)])
def test_rank_three(view, shape):
    function = view[1]
    _check(lambda x: np.tanh(function(x)) + function(x) * function(x), *shape)


@pytest.mark.parametrize("shape", [(7, 9), (40, 50), (3, 700)])
def test_broadcast_rows_and_columns(shape):
    _check(lambda x: x * x[0] + x[:, :1] - x[:1, :] * x[-1], *shape)


def test_outer_product_by_broadcast():
    _check(lambda x: x[:, None] * x[None, :] + x[:, None], 40)


def test_broadcast_rank_three():
    _check(lambda x: x[:, None, :] - x[None, :, :], 12, 9)


@pytest.mark.parametrize("size", [20, 1023, 1024, 1025, 5000])
def test_gather(size):
    index = np.random.default_rng(size).integers(0, size, 3 * size // 2)
    tape = _check(lambda x: np.sin(x[index]) * x[index][::-1], size)
    assert any(view.table is not None for v in tape.vectors for view in v.operands)


def test_gather_with_broadcast():
    index = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
    _check(lambda x: x[index][:, None] * x[None, :], 10)
    _check(lambda x: x[index, None] * x[None, index] + x[index], 10)


def test_gather_over_constants_and_inputs():
    """Slots of different regions (inputs, constants, results) meet in one operand."""

    def function(x):
        y = np.zeros_like(x)
        y[::2] = x[::2]
        y[1] = np.sin(x[0])
        y[3:5] = 7.0
        return y * 3.0 + np.concatenate([x[:5], np.arange(float(len(x) - 5))])

    _check(function, 20)
    _check(function, 2050)


def test_scalar_and_vector_instructions_alternate():
    def function(x):
        total = 0.0
        for k in range(4):
            x = np.sin(x) + total
            total = total + x[k] * x[k + 1]
        return x * total

    _check(function, 30)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_empty_arrays(shape):
    x = np.zeros(shape)
    assert_replays(lambda x, y: np.sin(x) * 2.0 + y, (x, 3.0))
    assert_replays(lambda x, y: np.sum(x * y) + y, (x, 3.0))
    assert_replays(lambda x, y: np.sum(x, axis=0) + y, (x, 3.0))
    assert_replays(lambda x, y: np.prod(x * y, axis=-1) + y, (x, 3.0))


def test_zero_strides_and_extent_one():
    _check(lambda x: np.broadcast_to(x[:, :1], (9, 8)) * np.broadcast_to(x[0], (9, 8)), 9, 8)
    _check(lambda x: x[:, None, :1, None] + x[None, :, None, 1:2], 9, 8)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_by_a_gather_table(shape):
    """No recording makes one, a tape made by hand may."""
    x = np.linspace(0.1, 1.0, 12)
    tape = nt.record(np.sin, x).flat
    (vector,) = tape.vectors
    table = tape.first_input + np.array([3, 7])
    view = View(1, (0,) * len(shape), table)
    one = replace(vector, shape=shape, operands=(view,), result=shape)
    code = np.array([[VECTOR, 0, 1]], np.int32)
    outputs = np.array([tape.first_result])
    tape = replace(tape, vectors=(one,), code=code, outputs=outputs)
    assert_same_bits(evaluate(tape, x), np.sin(x[7:8]))
    assert_same_bits(naive.run(tape, x), np.sin(x[7:8]))
