"""What the kernels write out themselves equals the row's own ufunc, bit for bit.

Over ordinary numbers and over every pair of special ones: zeros of both signs,
infinities, nan, the smallest and the largest floats.
"""

import itertools

import naive
import numpy as np
import pytest
from checks import assert_same_bits, evaluate, evaluation

import numtape as nt
from numtape.ops.table import ROWS, load_ufunc
from numtape.ops.values import value_of_row
from numtape.trace.ufuncs import apply_row

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e300, -1e-300, 5e-324, np.inf, -np.inf, np.nan]


def _operands(row):
    rng = np.random.default_rng(3)
    ordinary = [rng.uniform(-4.0, 4.0, 50) for _ in range(row.arity)]
    special = np.array(list(itertools.product(SPECIAL, repeat=row.arity))).T
    return [np.concatenate([o, s]) for o, s in zip(ordinary, special)]


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def _expected(row, operands):
    if row.ufunc is not None:
        return np.asarray(load_ufunc(row.ufunc)(*operands), float)
    return np.array([naive.row_value(row, *point) for point in zip(*operands)])


def test_array_path(row):
    operands = _operands(row)
    flat = nt.record(lambda *args: apply_row(row, args), *operands).flat
    assert_same_bits(evaluate(flat, np.concatenate(operands)), _expected(row, operands))


def test_scalar_path(row):
    operands = _operands(row)
    at = evaluation(nt.record(lambda *args: apply_row(row, args), *(1.5,) * row.arity).flat)
    for point in zip(*operands):
        expected = [naive.row_value(row, *point)]
        assert_same_bits(at(point), expected)
        if row.ufunc is not None:
            assert_same_bits(expected, [float(load_ufunc(row.ufunc)(*point))])


def test_value_while_recording(row):
    operands = _operands(row)
    if row.ufunc is not None:
        assert_same_bits(np.asarray(value_of_row(row, operands), float), _expected(row, operands))
    for point in zip(*operands):
        assert_same_bits(float(value_of_row(row, point)), naive.row_value(row, *point))
