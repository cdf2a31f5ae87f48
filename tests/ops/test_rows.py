"""Every row of the table against mpmath: value, first and second derivatives.

Each row is recorded with `apply_row` on traced scalars, which makes scalar
instructions, and on arrays of 20 elements, which makes vector instructions. The
references are mpmath's (see `references.py`); no derivative rule is consulted.

An error is allowed relative to the result and to what rounding an operand would
change of it: a result near a zero of its function cannot be better than that.
"""

import itertools

import mpmath
import numpy as np
import pytest
from checks import evaluate, sweep
from references import (
    POINTS,
    first_of,
    function_of,
    points_of,
    second_of,
    third_scale_of,
    value_of,
)

import numtape as nt
from numtape.ops.table import ROWS
from numtape.transform.derivative import (
    adjoint,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)

EPS = np.finfo(float).eps

# mpmath's numerical derivatives of linear functions are 0 up to this.
NOISE = 1e-40

# The errors of SciPy's functions and of ours like them, in units of the last place: those are the
# values we give.
ULPS = {row.name: 64 for row in ROWS if row.ufunc is not None and "numpy." not in row.ufunc}


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


def _first_scale(row):
    moved = np.einsum("jkn,kn->jn", abs(second_of(row)), abs(points_of(row)))
    return abs(first_of(row)) + moved


def _assert_first(row, found):
    assert (abs(found - first_of(row)) <= 1e-13 * _first_scale(row) + NOISE).all()


def _assert_second(row, found):
    allowed = 1e-12 * (abs(second_of(row)) + third_scale_of(row)) + NOISE
    assert (abs(found - second_of(row)) <= allowed).all()


def _record_scalars(row):
    """For each point, the point and the row's tape there."""
    for number, point in enumerate(points_of(row).T):
        yield point, nt.record(function_of(row, number), *map(float, point)).flat


def _record_arrays(row):
    flat = nt.record(function_of(row), *points_of(row)).flat
    assert [v.kind for v in flat.vectors] == ["map"]
    return flat


def test_value(row):
    arrays = evaluate(_record_arrays(row), points_of(row))
    scalars = [evaluate(flat, point)[0] for point, flat in _record_scalars(row)]
    with mpmath.workdps(50):
        for number, value in enumerate(value_of(row)):
            moved = abs(points_of(row)[:, number] * first_of(row)[:, number]).sum()
            allowed = ULPS.get(row.name, 4) * EPS * (abs(value) + moved)
            assert abs(mpmath.mpf(scalars[number]) - value) <= allowed
            assert abs(mpmath.mpf(arrays[number]) - value) <= allowed


def test_first_derivatives_of_scalars(row):
    """By tangent and adjoint sweeps, and by derivative tapes both ways."""
    ways = [[], [], [], []]
    for point, flat in _record_scalars(row):
        inputs = np.arange(len(point))
        forward, reverse = sweep(flat, point)
        ways[0].append(forward[0])
        ways[1].append(reverse[0])
        ways[2].append(evaluate(jacobian_by_rows(flat, inputs), point)[1:])
        ways[3].append(evaluate(jacobian_by_columns(flat, inputs), point)[1:])
    for way in ways:
        _assert_first(row, np.array(way).T)


def test_second_derivatives_of_scalars(row):
    """By rows of rows and by columns of rows."""
    ways = [[], []]
    for point, flat in _record_scalars(row):
        n = len(point)
        first = jacobian_by_rows(flat, np.arange(n))
        for way, by in zip(ways, (jacobian_by_rows, jacobian_by_columns)):
            y = evaluate(by(first, np.arange(n)), point)[1 + n :]
            way.append(y.reshape(1 + n, n)[1:])
    for way in ways:
        _assert_second(row, np.moveaxis(way, 0, -1))


def test_first_derivatives_of_arrays(row):
    flat, point = _record_arrays(row), points_of(row).ravel()
    reverse = evaluate(adjoint(flat), np.concatenate([point, np.ones(POINTS)]))[POINTS:]
    _assert_first(row, reverse.reshape(-1, POINTS))
    forward = []
    for k in range(len(points_of(row))):
        direction = np.zeros(points_of(row).shape)
        direction[k] = 1.0
        both = np.concatenate([point, direction.ravel()])
        forward.append(evaluate(tangent(flat), both)[POINTS:])
    _assert_first(row, np.array(forward))


def test_second_derivatives_of_arrays(row):
    """Elementwise operations have diagonal Hessians: one direction for each operand gives all."""
    function = function_of(row)
    flat = nt.record(lambda *operands: np.sum(function(*operands)), *points_of(row)).flat
    first = jacobian_by_rows(flat, np.arange(flat.inputs))
    product = tangent(first)
    found = []
    for k in range(len(points_of(row))):
        direction = np.zeros(points_of(row).shape)
        direction[k] = 1.0
        y = evaluate(product, np.concatenate([flat.point, direction.ravel()]))
        found.append(y[len(first.outputs) + 1 :].reshape(-1, POINTS))
    _assert_second(row, np.array(found))


FLAT = [row for row in ROWS if set(row.partials) == {"0"}]


@pytest.mark.parametrize("row", FLAT, ids=lambda row: row.name)
def test_flat_rows_have_no_derivative_at_all(row):
    """Where every partial is "0" the derivative is exactly 0, kinks and infinities included."""
    special = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan]
    for point in itertools.product(special, repeat=row.arity):
        with np.errstate(all="ignore"):
            flat = nt.record(function_of(row), *point).flat
        for way in sweep(flat, point):
            assert (way == 0.0).all()
