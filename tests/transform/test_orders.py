"""Every row of the table to third order against mpmath, through nested derivative tapes.

One scalar tape a row is differentiated three times in all eight nestings of
forward and reverse; one array tape by a gradient tape whose product with a
direction is differentiated once more, forward and reverse. References are
mpmath's numerical derivatives at 50 digits: no derivative rule is consulted.

An error is allowed relative to the result and to what rounding an operand would
change of it.
"""

import itertools
import zlib
from dataclasses import replace
from functools import cache

import mpmath
import numpy as np
import pytest
from checks import evaluate, evaluation

import numtape as nt
from numtape.ops.table import ROWS, UNKNOWN
from numtape.trace.ufuncs import apply_row
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent

# More than eight, so that arrays are recorded as such.
POINTS = 10

# Operands that are never traced: the row is only used where they are constants.
CONSTANT = {"power_constant": 1, "pow_constant": 1}
CONSTANT |= {row.name: row.partials.index(UNKNOWN) for row in ROWS if UNKNOWN in row.partials}

# By shapes and orders there are two derivatives, which tests/trace/test_shapes.py has.
CONSTANT |= dict.fromkeys(("gammainc", "gammaincc", "chdtr", "chdtrc", "stdtr"), 0)
CONSTANT |= dict.fromkeys(("iv", "ive", "jv", "yv", "kv", "kve"), 0)
CONSTANT |= {row.name: 0 for row in ROWS if row.name.endswith("_d1")}

# mpmath's numerical derivatives of functions without any are 0 up to this.
NOISE = 1e-35

TOLERANCE = 1e-14

# Differences of nearly equal terms: each differentiation loses a digit's part.
CANCELLING = (
    "erfcx",
    "log_ndtr",
    "ive",
    "boxcox1p",
    "inv_boxcox",
    "inv_boxcox1p",
    "ellipk",
    "dawsn",
)

_NAMES = {"mp": mpmath, "sqrt": mpmath.sqrt, "abs": abs, "min": min, "max": max}


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


def _traced(row):
    return [k for k in range(row.arity) if k != CONSTANT.get(row.name)]


@cache
def _operands(row):
    """Operands inside the row's domain; one that is held constant is the same at every point."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    columns = np.array([rng.uniform(*row.domain[k], POINTS) for k in range(row.arity)])
    if row.name in CONSTANT:
        columns[CONSTANT[row.name]] = columns[CONSTANT[row.name], 0]
    return columns


def _function(row):
    if row.name not in CONSTANT:
        return lambda *operands: apply_row(row, operands)
    place = CONSTANT[row.name]
    constant = float(_operands(row)[place, 0])
    return lambda x: apply_row(row, (constant, x) if place == 0 else (x, constant))


def _derivatives(row, order, digits=50):
    """All derivatives of an order at all points: an axis for each differentiation, then points."""
    traced = _traced(row)
    found = np.zeros((len(traced),) * order + (POINTS,))
    if row.name == "stop_gradient":
        return found
    code = compile(row.reference or row.primal, row.name, "eval")

    def value(x, y=None):
        return mpmath.mpf(eval(code, _NAMES, {"x": x, "y": y}))

    with mpmath.workdps(digits):
        for place in itertools.combinations_with_replacement(range(len(traced)), order):
            orders = tuple(place.count(k) for k in range(len(traced)))
            every = tuple(orders[traced.index(k)] if k in traced else 0 for k in range(row.arity))
            for number, point in enumerate(_operands(row).T):
                slope = float(mpmath.diff(value, tuple(map(mpmath.mpf, point)), every))
                for permuted in itertools.permutations(place):
                    found[(*permuted, number)] = slope
    return found


@cache
def _third(row):
    """The third derivatives, and the errors allowed."""
    # The fourth are for a tolerance: at 15 digits mpmath takes a fraction of the time.
    third, fourth = _derivatives(row, 3), _derivatives(row, 4, digits=15)
    moved = np.einsum("ijkmn,mn->ijkn", abs(fourth), abs(_operands(row)[_traced(row)]))
    tolerance = 10 * TOLERANCE if row.name in CANCELLING else TOLERANCE
    allowed = tolerance * (abs(third) + moved) + NOISE
    return third, allowed


def _assert_third(row, found):
    expected, allowed = _third(row)
    worst = (abs(found - expected) - allowed).max()
    assert worst <= 0.0, f"{(abs(found - expected) / allowed).max():.3g} times what is allowed"


NESTINGS = list(itertools.product((jacobian_by_rows, jacobian_by_columns), repeat=3))


def test_third_derivatives_of_scalars(row):
    """Rows of rows of rows, columns of rows of rows, and so on."""
    points = _operands(row)[_traced(row)].T
    flat = nt.record(_function(row), *map(float, points[0])).flat
    inputs = np.arange(len(points[0]))
    for nesting in NESTINGS:
        derived = flat
        for by in nesting:
            count = len(derived.outputs)
            derived = by(derived, inputs)
            derived = replace(derived, outputs=derived.outputs[count:])
        found = np.array(list(map(evaluation(derived), points)))
        shape = (POINTS,) + (len(inputs),) * 3
        _assert_third(row, np.moveaxis(found.reshape(shape), 0, -1))


def test_third_derivatives_of_arrays(row):
    """Elementwise operations have diagonal derivatives: a direction for each operand gives all."""
    function, columns = _function(row), _operands(row)[_traced(row)]
    flat = nt.record(lambda *operands: np.sum(function(*operands)), *columns).flat
    assert {vector.kind for vector in flat.vectors} == {"map", "reduce"}
    n, count = flat.inputs, len(columns)
    gradient = jacobian_by_rows(flat, np.arange(n))
    gradient = replace(gradient, outputs=gradient.outputs[1:])
    product = tangent(gradient)
    product = replace(product, outputs=product.outputs[n:])  # of (x, dx): H dx
    forward, reverse = tangent(product), adjoint(product)
    units = np.kron(np.eye(count), np.ones(POINTS))
    found = np.zeros((2, count, count, count, POINTS))
    for j, k in np.ndindex(count, count):
        along = [flat.point, units[j], units[k], np.zeros(n)]
        found[0, j, k] = evaluate(forward, np.concatenate(along))[n:].reshape(count, POINTS)
        weighted = [flat.point, units[j], units[k]]
        y = evaluate(reverse, np.concatenate(weighted))[n : 2 * n]
        found[1, j, k] = y.reshape(count, POINTS)
    for way in found:
        _assert_third(row, way)


def _jacobians_nest(row, flat):
    inputs = np.arange(flat.inputs)
    for by in (jacobian_by_rows, jacobian_by_columns):
        yield by(by(flat, inputs), inputs)


def test_values_and_lower_orders_stay_in_the_tape(row):
    """A derivative tape's first outputs are the function's, bit for bit, whatever the order."""
    points = _operands(row)[_traced(row)].T
    flat = nt.record(_function(row), *map(float, points[0])).flat
    value = evaluation(flat)
    for nested in map(evaluation, _jacobians_nest(row, flat)):
        for point in points:
            assert nested(point)[0] == value(point)[0]


@pytest.mark.parametrize("x", [0.0, 1e-8, 1e-3, 0.1, 0.2499, 0.2501, 0.3, -0.3])
def test_sinc_beside_its_seam(x):
    """By its series near 0, and beyond by (cos(pi x) - f) / x, which cancels: eps / x**3."""
    flat = nt.record(np.sinc, x).flat
    for by in (jacobian_by_rows, jacobian_by_columns):
        derived = flat
        for _ in range(3):
            derived = by(derived, np.arange(1))
        found = evaluate(derived, [x])[-1]
        with mpmath.workdps(60):
            expected = float(mpmath.diff(mpmath.sincpi, mpmath.mpf(x), 3)) if x else 0.0
        assert abs(found - expected) <= 1e-13 * (abs(expected) + 1.0)


# to higher orders


def _power_of_derivative(by, order):
    flat = nt.record(lambda x: np.exp(np.sin(x)), 0.7).flat
    for _ in range(order):
        flat = by(flat, np.arange(1))
        flat = replace(flat, outputs=flat.outputs[1:])
    return flat


@pytest.mark.parametrize("by", [jacobian_by_rows, jacobian_by_columns], ids=["rows", "columns"])
def test_six_orders(by):
    for order in range(1, 7):
        found = evaluate(_power_of_derivative(by, order), [0.7])[0]
        with mpmath.workdps(60):
            expected = float(mpmath.diff(lambda x: mpmath.exp(mpmath.sin(x)), 0.7, order))
        assert abs(found - expected) <= 1e-13 * (1.0 + abs(expected))


def test_growth_with_the_order_is_moderate():
    """Sharing keeps the n-th derivative from doubling with each order."""
    lengths = [_power_of_derivative(jacobian_by_columns, n).instructions for n in range(1, 7)]
    assert lengths[-1] <= 400, lengths
