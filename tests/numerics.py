"""How accurate every operation is, and what it gives at special values: measured, and a page of it.

    python tests/numerics.py     # writes docs/reference/accuracy.md anew, in a minute

Values are compared with mpmath at points of each row's domain, and for NumPy's
functions and our own also at tiny, huge and denormal numbers, at kinks and just
beside them, and just below overflow; derivatives at the points of the domain.
`ops/test_accuracy.py` holds every operation to what the page states.
"""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
from references import CONSTANT, first_of, operands_of, points_of, reference_of, second_of

import numtape as nt
from numtape.ops.table import ROWS, Row
from numtape.trace.ufuncs import apply_row

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "accuracy.md"

# The ways of running: one point at a time, an array in one instruction, many points in lanes.
WAYS = ("one", "array", "many")

_POSITIVE = [5e-324, 1e-310, 2.0**-1022, 1e-200, 1e-20, 1e-8, 1e-3, 0.25, 0.5, 1.0 - 2.0**-53]
_POSITIVE += [1.0, 1.0 + 2.0**-52, np.pi / 2, np.pi, 2.0, 10.5, 100.0, 709.7, 745.1, 1e5, 1e15]
_POSITIVE += [1e22, 1e100, np.finfo(float).max]
ONE_OPERAND = [sign * x for x in _POSITIVE for sign in (1.0, -1.0)]
TWO_OPERANDS = [5e-324, -1e-310, 1e-300, -1e-8, 0.5, -0.5, 1.0, 3.0, -3.0, 1e8, -1e300, 1e300]

# NumPy's sinc overflows inside.
LARGEST = {"sinc": 1e300}

DIGITS = 700  # a remainder of 1e300 and 5e-324 needs as many
NOISE = 1e-40  # mpmath's numerical derivatives of linear functions are 0 up to this

SPECIAL = [-np.inf, -np.finfo(float).max, -0.0, 0.0, 5e-324, np.finfo(float).max, np.inf, np.nan]
SPECIAL_PAIRS = [(0.0, 0.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.5), (2.0, 2.0), (np.inf, 1.0)]
SPECIAL_PAIRS += [(1.0, np.inf), (np.inf, np.inf), (np.inf, -np.inf), (np.nan, 1.0), (1.0, np.nan)]


def has_derivative(row: Row) -> bool:
    return set(row.partials) != {"0"}


def is_wide(row: Row) -> bool:
    """Whether it is tried far outside of its domain.

    SciPy's functions are there what they are, and `merge` is the sum of what is nowhere
    else both not 0.
    """
    return row.name != "merge" and (row.ufunc is None or row.ufunc.startswith("numpy."))


# Running a row every way: `points` has a row for each operand, held constant or not.


def _with_constant(row: Row, constant) -> Callable:
    """The row as a function of the vector of its traced operands."""
    if row.name not in CONSTANT:
        return lambda v: apply_row(row, tuple(v))
    place = CONSTANT[row.name]
    return lambda v: apply_row(row, (constant, v[0]) if place == 0 else (v[0], constant))


def _traced(row: Row, points: np.ndarray) -> np.ndarray:
    return np.delete(points, [CONSTANT[row.name]] if row.name in CONSTANT else [], axis=0)


def _every_way(row: Row, points: np.ndarray, of_tape: Callable, of_array: Callable) -> dict:
    """`of_tape` of each constant's tape by points alone and in lanes, `of_array` of the array."""
    traced = _traced(row, points)
    constants = points[CONSTANT[row.name]] if row.name in CONSTANT else np.zeros(points.shape[1])
    one: list = [None] * len(constants)
    many: list = [None] * len(constants)
    for constant in np.unique(constants):
        chosen = np.flatnonzero(
            (constants == constant) | (np.isnan(constants) & np.isnan(constant))
        )
        tape = nt.record(_with_constant(row, float(constant)), traced[:, chosen[0]])
        together = of_tape(tape, traced[:, chosen].T)
        for place, number in enumerate(chosen.tolist()):
            one[number] = of_tape(tape, traced[:, number])
            many[number] = together[place]
    return {
        "one": np.moveaxis(np.array(one), 0, -1),
        "array": of_array(_with_constant(row, constants), traced),
        "many": np.moveaxis(np.array(many), 0, -1),
    }


def values(row: Row, points: np.ndarray) -> dict:
    """The row's values, every way."""
    return _every_way(
        row, points, lambda tape, x: tape(x), lambda f, array: nt.record(f, array)(array)
    )


def slopes(row: Row, points: np.ndarray) -> dict:
    """First derivatives by each traced operand, every way."""
    return _every_way(
        row,
        points,
        lambda tape, x: tape.jacobian(x),  # (of what compares or counts there is no gradient)
        lambda f, array: nt.grad(lambda v: np.sum(1.0 * f(v)))(array),
    )


def curvatures(row: Row, points: np.ndarray) -> dict:
    """Second derivatives by each pair of traced operands, every way."""

    def of_array(f, array):
        found = []
        for k in range(len(array)):
            direction = np.zeros(array.shape)
            direction[k] = 1.0  # an elementwise operation's Hessian is diagonal in the elements
            (product,) = nt.hvp(lambda v: np.sum(f(v)), (array,), (direction,))
            found.append(product)
        return np.array(found)

    return _every_way(row, points, lambda tape, x: tape.hessian(x), of_array)


# Errors in units in the last place.


def _unit(reference: mpmath.mpf) -> mpmath.mpf:
    if reference == 0:  # that of 1, for sinc(1) and the like
        return mpmath.mpf(2) ** -52
    exponent = int(mpmath.floor(mpmath.log(abs(reference), 2)))
    return mpmath.mpf(2) ** max(exponent - 52, -1074)


def _error(found: float, reference) -> float:
    if not np.isfinite(found):
        return np.inf
    return float(abs(mpmath.mpf(float(found)) - reference) / _unit(reference))


def wide_points(row: Row) -> tuple[np.ndarray, list]:
    """Points at which the value is real and finite, in and out of the domain, and the values."""
    grid = list(operands_of(row).T)
    if is_wide(row):
        grid += itertools.product(ONE_OPERAND if row.arity == 1 else TWO_OPERANDS, repeat=row.arity)
    found, exact = [], []
    reference = reference_of(row)
    with mpmath.workdps(DIGITS if is_wide(row) else 50):
        for point in grid:
            if max(map(abs, point)) > LARGEST.get(row.name, np.inf):
                continue
            try:
                value = reference(*map(mpmath.mpf, point))
            except (TypeError, ValueError, ZeroDivisionError, OverflowError):
                continue  # a pole, or not real
            if mpmath.isfinite(value) and abs(value) <= np.finfo(float).max:
                found.append(point)
                exact.append(value)
    return np.array(found, float).T, exact


def measure(row: Row) -> dict[str, dict[str, float]]:
    """The largest error in units in the last place: of values, slopes, curvatures, each way."""
    points, exact = wide_points(row)
    with np.errstate(all="ignore"):
        found = values(row, points)
    errors = {"value": {}}
    with mpmath.workdps(DIGITS if is_wide(row) else 50):
        for way in WAYS:
            errors["value"][way] = max(map(_error, found[way], exact))
    if not has_derivative(row):
        return errors
    assert points_of(row).size
    for name, ways, expected in (
        ("first", slopes(row, operands_of(row)), first_of(row)),
        ("second", curvatures(row, operands_of(row)), second_of(row)),
    ):
        expected = np.where(abs(expected) < NOISE, 0.0, expected)
        unit = np.where(expected == 0.0, 2.0**-52, np.spacing(abs(expected)))
        errors[name] = {way: float((abs(ways[way] - expected) / unit).max()) for way in WAYS}
    return errors


# Special values.


def at_special_values(row: Row) -> list[tuple[tuple, dict, dict]]:
    """Points, with values and slopes every way."""
    points = [(x,) for x in SPECIAL] if row.arity == 1 else SPECIAL_PAIRS
    with np.errstate(all="ignore"):
        value, slope = (kind(row, np.array(points).T) for kind in (values, slopes))
    return [
        (point, {way: value[way][k] for way in WAYS}, {way: slope[way][:, k] for way in WAYS})
        for k, point in enumerate(points)
    ]


# The page.


def stated(error: float, row: Row) -> float:
    """What the page states for a measured error: twice as much, for other processors."""
    if error <= 0.5 and row.primal is not None and not row.is_power:
        return 0.5
    return 2.0 ** int(np.ceil(np.log2(max(2.0 * error, 1.0))))


def _cell(errors: dict[str, float] | None, row: Row) -> str:
    if errors is None:
        return "none"
    texts = [_short(stated(errors[way], row)) for way in WAYS]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _short(number: float) -> str:
    return f"{number:.0f}" if 1.0 <= number < 1e5 else f"{number:.3g}"


def _special_cell(value: dict, slope: dict) -> str:
    return f"{_number(value['one'])} \\| {', '.join(map(_number, slope['one']))}"


def _number(x: float) -> str:
    return f"{x:.4g}"


def page() -> str:
    """The page of the documentation about accuracy."""
    rows = _HEAD.strip().split("\n")
    rows += [
        "",
        "| operation | value | first derivative | second derivative |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        errors = measure(row)
        cells = (_cell(errors.get(kind), row) for kind in ("value", "first", "second"))
        rows.append(f"| `{row.name}` | {' | '.join(cells)} |")
    rows += ["", *_SPECIAL_HEAD.strip("\n").split("\n")]
    rows += special_tables()
    return "\n".join(rows) + "\n"


def special_tables() -> list[str]:
    """The tables of values and slopes at special values, line by line."""
    rows = []
    for arity, title, points in (
        (1, "Of one operand", [(x,) for x in SPECIAL]),
        (2, "Of two operands", SPECIAL_PAIRS),
    ):
        names = [", ".join(map(_number, point)) for point in points]
        rows += ["", f"### {title}", "", f"| operation | {' | '.join(names)} |"]
        rows.append("|---" * (1 + len(points)) + "|")
        for row in ROWS:
            if row.arity == arity:
                cells = [_special_cell(*found[1:]) for found in at_special_values(row)]
                rows.append(f"| `{row.name}` | {' | '.join(cells)} |")
    return rows


def bounds_of_page() -> dict[str, dict[str, dict[str, float]]]:
    """What the page states, read back: operation, kind, way."""
    found = {}
    table = PAGE.read_text().split("## Special values")[0]
    for name, *cells in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", table, re.MULTILINE):
        kinds = zip(("value", "first", "second"), cells, strict=True)
        found[name] = {
            kind: dict(zip(WAYS, itertools.cycle(map(float, cell.split(", ")))))
            for kind, cell in kinds
            if cell != "none"
        }
    return found


_HEAD = """
# Accuracy

How far results are from the exact ones, in units in the last place, for every operation:
measured against mpmath, and rounded up to a power of two that is at least twice what was
found, because other processors round otherwise. ½ a unit (0.5) is correctly rounded. This
page is written by `python tests/numerics.py`, and the tests hold every operation to it.

Three numbers are for the three ways of running, in this order: one point at a time, arrays
in one instruction, and many points in lanes; one number is for all three. Values of one
point and of arrays are those of NumPy and SciPy themselves, bit for bit; so are their errors.
Derivatives of arrays and everything over many points may use the C library's vector
functions, which are within 4 units (see
[architecture](../explanation/architecture.md)).

Values are tried at 20 points inside of the domain, and those of NumPy's functions also at
denormal, tiny and huge numbers, at kinks and just beside them, at multiples of π and just
below overflow; derivatives at the 20 points. A large number belongs to a function near one
of its zeros, where an operand's own rounding changes as much: the sine of a huge number over
many points, differences such as `gammaln` near 1 and 2, or a derivative that changes sign.
Whether results are as right as their operands' rounding allows is tested by itself
(`tests/ops/test_rows.py`), for every operation to the second derivative.
"""

_SPECIAL_HEAD = """
## Where numbers cancel

The errors above are of each operation's own result. A difference of nearly equal numbers has
the errors of these, in units of their last place, whichever way a tape is run; and the
difference of equal numbers is 0 in lanes, in arrays and in machine code where it is 0 at a
single point in the interpreter, which computes as NumPy does. Nothing is contracted,
reassociated or estimated, and a sum is added up in NumPy's order everywhere (see
[architecture](../explanation/architecture.md#running-numtaperun)). Narrow products of matrices
for derivatives are the exception: those agree with BLAS's to rounding, as BLAS's do from one
machine to the next.

## Special values

Each cell has the value, and after the bar the derivative by each operand that can be traced.
Values are NumPy's, or SciPy's, bit for bit. All ways of running agree on them.

What may surprise:

- A derivative is its limit where there is one, also if that is infinite: `sqrt` at 0, `log`
  at 0. At -0.0 it is -inf for both, the limit of their formulas 0.5 / sqrt(x) and 1 / x.
- Where a value is nan because a point is outside of the domain, the derivative is what its
  formula gives there: that of `log` at -2 is -0.5. Look at values first.
- Where a value is nan because an operand is, the derivative is nan too, unless it is
  constant: that of `x + y` is 1 whatever they are, and `maximum` chose neither, so 0 by both.
- At infinity a derivative is right, or nan where its formula is inf / inf or 0 * inf: `hypot`
  and `arctan2` of an infinite operand, `gammaln` at -inf, `rgamma` at inf.
- `logaddexp` of two equal infinities has 1 by both.
- Derivatives of functions that are made of other functions of SciPy are nan where those are:
  its `iv`, of order 2, at 5e-324, and so the derivative of `i1` there.
"""


if __name__ == "__main__":
    PAGE.write_text(page())
