"""Every operation is as accurate as docs/reference/accuracy.md states, and does what it says."""

import numerics
import numpy as np
import pytest
from checks import assert_same_bits

from numtape.ops.table import ROWS, load_ufunc

STATED = numerics.bounds_of_page()


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


def test_the_page_has_every_operation():
    assert list(STATED) == [row.name for row in ROWS]


def test_errors(row):
    """None is larger than stated, and what is stated is stated for what there is."""
    measured, stated = numerics.measure(row), STATED[row.name]
    assert measured.keys() == stated.keys()
    worse = [
        (kind, way, error, stated[kind][way])
        for kind, ways in measured.items()
        for way, error in ways.items()
        if not error <= stated[kind][way]
    ]
    assert not worse


def test_special_values(row):
    """NumPy's values and SciPy's, bit for bit, and the same derivatives every way of running."""
    for point, values, slopes in numerics.at_special_values(row):
        if row.ufunc is not None:
            with np.errstate(all="ignore"):
                assert_same_bits(values["one"], float(load_ufunc(row.ufunc)(*point)))
        for way in numerics.WAYS:
            np.testing.assert_allclose(values[way], values["one"], rtol=1e-14, atol=0)
            np.testing.assert_allclose(slopes[way], slopes["one"], rtol=1e-13, atol=0)


def test_the_tables_of_special_values_are_fresh():
    """They are what `python tests/numerics.py` writes."""
    page = numerics.PAGE.read_text().splitlines()
    assert page[page.index("### Of one operand") - 1 :] == numerics.special_tables()
