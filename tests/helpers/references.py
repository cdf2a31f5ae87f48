"""References for rows of the table: values and derivatives by mpmath, at 50 digits.

The references are the row's own `reference`, and mpmath's numerical derivatives
of it; no derivative rule is consulted.
"""

import zlib
from functools import cache

import mpmath
import numpy as np

from numtape.ops.table import ROWS, UNKNOWN
from numtape.trace.ufuncs import apply_row

POINTS = 20

# Operands that are never traced: the row is only used where they are constants.
CONSTANT = {"power_constant": 1, "pow_constant": 1}
CONSTANT |= {row.name: row.partials.index(UNKNOWN) for row in ROWS if UNKNOWN in row.partials}
# By the shape these have a first derivative and no second one: tests/trace/test_shapes.py has it.
CONSTANT |= {row.name: 0 for row in ROWS if row.name.endswith("_d1")}

_NAMES = {"mp": mpmath, "sqrt": mpmath.sqrt, "abs": abs, "min": min, "max": max}


def reference_of(row):
    text = row.reference or row.primal
    assert text is not None, f"{row.name} has neither a reference nor a primal"
    code = compile(text, row.name, "eval")

    def value(x, y=None):
        return mpmath.mpf(eval(code, _NAMES, {"x": x, "y": y}))

    return value


@cache
def operands_of(row):
    """Operands inside the row's domain, one row of the result for each operand."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    return np.array([rng.uniform(*row.domain[k], POINTS) for k in range(row.arity)])


def points_of(row):
    """The operands that are traced."""
    return np.delete(operands_of(row), [CONSTANT[row.name]] if row.name in CONSTANT else [], axis=0)


def units_of(row):
    """For each traced operand, the order of differentiation by every operand."""
    return np.delete(np.eye(row.arity, dtype=int), CONSTANT.get(row.name, []), axis=0)


@cache
def _partials_of(row, orders, digits=50):
    """A partial derivative at each point, by mpmath at so many digits."""
    if row.name == "stop_gradient":
        return np.zeros(POINTS)
    with mpmath.workdps(digits):
        return np.array(
            [
                float(mpmath.diff(reference_of(row), tuple(map(mpmath.mpf, point)), orders))
                for point in operands_of(row).T
            ]
        )


@cache
def value_of(row):
    with mpmath.workdps(50):
        return [reference_of(row)(*map(mpmath.mpf, point)) for point in operands_of(row).T]


@cache
def first_of(row):
    """Partials by each traced operand at each point."""
    return np.array([_partials_of(row, tuple(unit)) for unit in units_of(row).tolist()])


@cache
def second_of(row):
    """Second derivatives by each pair of traced operands at each point."""
    units = units_of(row)
    return np.array([[_partials_of(row, tuple((a + b).tolist())) for b in units] for a in units])


@cache
def third_scale_of(row):
    """What a relative change of the operands would change of the second derivatives."""
    units = units_of(row)
    scale = np.zeros((len(units), len(units), POINTS))
    for j, k, m in np.ndindex(len(units), len(units), len(units)):
        orders = tuple((units[j] + units[k] + units[m]).tolist())
        # It is a tolerance: at 15 digits mpmath takes a tenth of the time, and linear functions
        # have less than 1e-28.
        scale[j, k] += abs(points_of(row)[m] * _partials_of(row, orders, 15))
    return scale


def function_of(row, number=slice(None)):
    """The row as a function of its traced operands; of one point, or of all."""
    if row.name not in CONSTANT:
        return lambda *operands: apply_row(row, operands)
    place = CONSTANT[row.name]
    constant = operands_of(row)[place][number]
    return lambda x: apply_row(row, (constant, x) if place == 0 else (x, constant))
