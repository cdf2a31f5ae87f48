"""Every row of the table against mpmath: value, first and second derivatives.

Each row is recorded with `apply_row` on traced scalars, which makes scalar
instructions, and on arrays of 20 elements, which makes vector instructions. The
references are the row's own `reference` at 50 digits, and mpmath's numerical
derivatives of it; no derivative rule is consulted.

An error is allowed relative to the result and to what rounding an operand would
change of it: a result near a zero of its function cannot be better than that.
"""

import itertools
import zlib
from functools import cache

import mpmath
import numpy as np
import pytest
from checks import evaluate, sweep

import numtape as nt
from numtape.ops.table import ROWS, UNKNOWN
from numtape.trace.ufuncs import apply_row
from numtape.transform.derivative import (
    adjoint,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)

POINTS = 20
EPS = np.finfo(float).eps

# Operands that are never traced: the row is only used where they are constants.
CONSTANT = {"power_constant": 1, "pow_constant": 1}
CONSTANT |= {row.name: row.partials.index(UNKNOWN) for row in ROWS if UNKNOWN in row.partials}

# mpmath's numerical derivatives of linear functions are 0 up to this.
NOISE = 1e-40

# The errors of NumPy's and SciPy's own functions, in units of the last place: theirs are the
# values we give.
ULPS = {row.name: 64 for row in ROWS if row.ufunc is not None and row.ufunc.startswith("scipy.")}

_NAMES = {"mp": mpmath, "sqrt": mpmath.sqrt, "abs": abs, "min": min, "max": max}


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


def _reference(row):
    text = row.reference or row.primal
    assert text is not None, f"{row.name} has neither a reference nor a primal"
    code = compile(text, row.name, "eval")

    def value(x, y=None):
        return mpmath.mpf(eval(code, _NAMES, {"x": x, "y": y}))

    return value


@cache
def _operands(row):
    """Operands inside the row's domain, one row of the result for each operand."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    return np.array([rng.uniform(*row.domain[k], POINTS) for k in range(row.arity)])


def _points(row):
    """The operands that are traced."""
    return np.delete(_operands(row), [CONSTANT[row.name]] if row.name in CONSTANT else [], axis=0)


def _units(row):
    """For each traced operand, the order of differentiation by every operand."""
    return np.delete(np.eye(row.arity, dtype=int), CONSTANT.get(row.name, []), axis=0)


def _derivative(row, point, orders):
    """A partial derivative by mpmath at 50 digits."""
    if row.name == "stop_gradient":
        return 0.0
    with mpmath.workdps(50):
        return mpmath.diff(_reference(row), tuple(map(mpmath.mpf, point)), orders)


@cache
def _value(row):
    with mpmath.workdps(50):
        return [_reference(row)(*map(mpmath.mpf, point)) for point in _operands(row).T]


@cache
def _first(row):
    """Partials by each traced operand at each point."""
    units = _units(row)
    return np.array(
        [[float(_derivative(row, p, tuple(u))) for p in _operands(row).T] for u in units.tolist()]
    )


@cache
def _second(row):
    """Second derivatives by each pair of traced operands at each point."""
    units, points = _units(row), _operands(row).T
    pairs = [[tuple(a + b) for b in units] for a in units]
    return np.array(
        [[[float(_derivative(row, p, pair)) for p in points] for pair in line] for line in pairs]
    )


@cache
def _third_scale(row):
    """What a relative change of the operands would change of the second derivatives."""
    units = _units(row)
    scale = np.zeros((len(units), len(units), POINTS))
    for j, k, m in np.ndindex(len(units), len(units), len(units)):
        orders = tuple(units[j] + units[k] + units[m])
        for number, point in enumerate(_operands(row).T):
            x = _points(row)[m, number]
            scale[j, k, number] += abs(float(x * _derivative(row, point, orders)))
    return scale


def _first_scale(row):
    moved = np.einsum("jkn,kn->jn", abs(_second(row)), abs(_points(row)))
    return abs(_first(row)) + moved


def _assert_first(row, found):
    assert (abs(found - _first(row)) <= 1e-13 * _first_scale(row) + NOISE).all()


def _assert_second(row, found):
    allowed = 1e-12 * (abs(_second(row)) + _third_scale(row)) + NOISE
    assert (abs(found - _second(row)) <= allowed).all()


def _function(row, number=slice(None)):
    """The row as a function of its traced operands; of one point, or of all."""
    if row.name not in CONSTANT:
        return lambda *operands: apply_row(row, operands)
    place = CONSTANT[row.name]
    constant = _operands(row)[place][number]
    return lambda x: apply_row(row, (constant, x) if place == 0 else (x, constant))


def _record_scalars(row):
    """For each point, the point and the row's tape there."""
    for number, point in enumerate(_points(row).T):
        yield point, nt.record(_function(row, number), *map(float, point)).flat


def _record_arrays(row):
    flat = nt.record(_function(row), *_points(row)).flat
    assert [v.kind for v in flat.vectors] == ["map"]
    return flat


def test_value(row):
    arrays = evaluate(_record_arrays(row), _points(row))
    scalars = [evaluate(flat, point)[0] for point, flat in _record_scalars(row)]
    with mpmath.workdps(50):
        for number, value in enumerate(_value(row)):
            moved = abs(_points(row)[:, number] * _first(row)[:, number]).sum()
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
    flat, point = _record_arrays(row), _points(row).ravel()
    reverse = evaluate(adjoint(flat), np.concatenate([point, np.ones(POINTS)]))[POINTS:]
    _assert_first(row, reverse.reshape(-1, POINTS))
    forward = []
    for k in range(len(_points(row))):
        direction = np.zeros(_points(row).shape)
        direction[k] = 1.0
        both = np.concatenate([point, direction.ravel()])
        forward.append(evaluate(tangent(flat), both)[POINTS:])
    _assert_first(row, np.array(forward))


def test_second_derivatives_of_arrays(row):
    """Elementwise operations have diagonal Hessians: one direction for each operand gives all."""
    function = _function(row)
    flat = nt.record(lambda *operands: np.sum(function(*operands)), *_points(row)).flat
    first = jacobian_by_rows(flat, np.arange(flat.inputs))
    product = tangent(first)
    found = []
    for k in range(len(_points(row))):
        direction = np.zeros(_points(row).shape)
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
            flat = nt.record(_function(row), *point).flat
        for way in sweep(flat, point):
            assert (way == 0.0).all()
