"""Each row of the table of docs/explanation/kinks.md, tried every way there is to a derivative."""

import re
from pathlib import Path

import numpy as np
import pytest
from checks import derivatives_every_way
from scipy import special

import numtape as nt

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "kinks.md"
TABLE = re.findall(r"^\| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)[1:]
INF = np.inf

# For each row, by how it begins: functions of a vector, points, gradients. A value
# at which the derivative is nan is written as nan.
ROWS = {
    "`abs` at 0": [
        (lambda x: np.abs(x[0]), [0.0], [0.0]),
        (lambda x: np.linalg.norm(x), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.arctan2(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: np.sinc(x[0]), [0.0], [0.0]),
    ],
    "`maximum`, `minimum`": [
        (lambda x: np.maximum(x[0], x[1]), [2.0, 2.0], [0.5, 0.5]),
        (lambda x: np.minimum(x[0], x[1]), [2.0, 2.0], [0.5, 0.5]),
        (lambda x: np.max(x), [1.0, 3.0, 3.0, 3.0], [0.0, 1 / 3, 1 / 3, 1 / 3]),
        (lambda x: np.min(x), [1.0] * 10, [0.1] * 10),
    ],
    "`clip` at a bound": [
        (lambda x: np.clip(x[0], 1.0, 2.0), [1.0], [1.0]),
        (lambda x: np.clip(x[0], 1.0, 2.0), [2.0], [1.0]),
    ],
    "`sqrt` at 0": [(lambda x: np.sqrt(x[0]), [0.0], [INF])],
    "`x**2` at 0": [
        (lambda x: x[0] ** 2, [0.0], [0.0]),
        (lambda x: x[0] ** 1, [0.0], [1.0]),
        (lambda x: x[0] ** 0.0, [0.0], [0.0]),
        (lambda x: x[0] ** x[1], [0.0, 0.0], [0.0, 0.0]),
    ],
    "`x**y` at x < 0": [(lambda x: x[0] ** x[1], [-2.0, 3.0], [12.0, np.nan])],
    "`floor`, `ceil`": [
        (lambda x, f=f: f(x[0]), [point], [0.0])
        for f in (np.floor, np.ceil, np.round, np.sign, lambda x: np.where(x > 1.0, 1.0, 0.0))
        for point in (1.0, 2.5, 0.0)
    ],
    "`mod(x, y)`": [(lambda x: np.mod(x[0], x[1]), [7.5, -2.0], [1.0, 4.0])],
    "`prod`, `cumprod`": [
        (lambda x: np.prod(x), [2.0, 0.0, 5.0], [0.0, 10.0, 0.0]),
        (lambda x: np.prod(x), [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (lambda x: np.cumprod(x)[2], [2.0, 0.0, 5.0, 3.0], [0.0, 10.0, 0.0, 0.0]),
    ],
    "`std`, `var`": [
        (lambda x: np.std(x), [3.0], [0.0]),
        (lambda x: np.std(x), [3.0] * 3, [0.0] * 3),
        (lambda x: np.var(x), [3.0] * 12, [0.0] * 12),
        (lambda x: np.std(x), [3.0] * 12, [0.0] * 12),
    ],
    "`sort`, `partition`": [
        (lambda x: np.sort(x)[1], [2.0, 1.0, 1.0], [0.0, 0.0, 1.0]),
        (lambda x: np.median(x), [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]),
        (lambda x: x[np.argmax(x)], [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    ],
    "`median` of an even count": [
        (lambda x: np.median(x), [4.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.5, 0.5])
    ],
    "`quantile` at an element": [
        (lambda x: np.quantile(x, 0.5), [4.0, 1.0, 2.0], [0.0, 0.0, 1.0]),
        (lambda x: np.quantile([1.0, 2.0, 4.0], x[0]), [0.5], [4.0]),
    ],
    "`argsort`, `argmax`": [
        (lambda x: np.argsort(x)[0] * 1.0, [2.0, 1.0], [0.0, 0.0]),
        (lambda x: np.argmax(x) * 1.0, [2.0, 1.0], [0.0, 0.0]),
        (lambda x: np.searchsorted([1.0, 2.0], x[0]) * 1.0, [1.5], [0.0]),
        (lambda x: np.count_nonzero(x > 1.0) * 1.0, [2.0, 1.0], [0.0, 0.0]),
    ],
    "`interp` at a knot": [
        (lambda x, at=at: np.interp(x[0], [0.0, 1.0, 2.0], [0.0, 1.0, 3.0]), [at], [slope])
        for at, slope in ((1.0, 2.0), (2.0, 2.0), (0.0, 1.0), (-1.0, 0.0), (3.0, 0.0))
    ],
    "`unique` of equal": [(lambda x: np.unique(x)[0], [1.0, 2.0, 1.0], [1.0, 0.0, 0.0])],
    "`nansum`, `nanmean`": [
        (lambda x: np.nansum(x), [1.0, np.nan, 2.0], [1.0, 0.0, 1.0]),
        (lambda x: np.nanmean(x), [1.0, np.nan, 2.0], [0.5, 0.0, 0.5]),
        (lambda x: np.nanmax(x), [1.0, np.nan, 2.0], [0.0, 0.0, 1.0]),
    ],
    "`unwrap`": [(lambda x: np.unwrap(x)[1], [0.0, 6.0], [0.0, 1.0])],
    "`where(c, a, b)`": [
        (lambda x: np.where(x[0] > 0.0, np.sqrt(x[0]), 2.0 * x[0]), [0.0], [2.0]),
        (lambda x: np.where(x[0] > 0.0, np.log(x[0]) / x[0], x[0]), [0.0], [1.0]),
        (lambda x: np.sum(np.where(x > 0.0, np.sqrt(x), 2.0 * x)), [0.0] * 12, [2.0] * 12),
    ],
    "`logaddexp(-inf, -inf)`": [
        (lambda x: np.logaddexp(x[0], x[1]), [-INF, -INF], [1.0, 1.0]),
        (lambda x: special.logsumexp(x), [0.0, -INF], [1.0, 0.0]),
    ],
}
CASES = [(name, *case) for name, cases in ROWS.items() for case in cases]


def test_every_row_of_the_page_is_tried():
    unknown = [case for case, _ in TABLE if not case.startswith(tuple(ROWS))]
    assert not [case for case in unknown if set(case) - set("-|")]
    assert len(TABLE) >= len(ROWS)
    assert all(any(case.startswith(name) for case, _ in TABLE) for name in ROWS)


@pytest.mark.parametrize(("name", "function", "point", "expected"), CASES)
def test_derivatives(name, function, point, expected):
    with np.errstate(all="ignore"):
        for way in derivatives_every_way(function, np.array(point)):
            np.testing.assert_allclose(way.reshape(-1), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("name", "function", "point", "expected"), CASES)
def test_derivatives_in_a_batch(name, function, point, expected):
    """At the point and beside it, many points at once."""
    with np.errstate(all="ignore"):
        points = np.array([point, point, np.array(point) + 0.25])
        found = nt.vmap(nt.grad(function))(points)
    np.testing.assert_allclose(found[:2], [expected, expected], rtol=1e-14, atol=0)
