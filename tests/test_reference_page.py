"""The page of linear algebra and special functions lists what there is, and nothing else."""

import re
from pathlib import Path

import pytest

import numtape.trace.record  # noqa: F401 (registers everything)
from numtape.ops.table import ROWS
from numtape.trace.substitutes import _SUBSTITUTES
from numtape.trace.traced import NUMPY_FUNCTIONS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "linalg_and_special.md"


def _section(title):
    text = PAGE.read_text()
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def _names(text):
    """Names in backticks before the section's first table or prose about them."""
    return set(re.findall(r"`([a-z_]\w*)`", text))


def _paragraphs(title, count):
    return _names("\n\n".join(_section(title).strip().split("\n\n")[:count]))


@pytest.mark.parametrize(
    ("title", "module", "count"),
    [
        (r"numpy\.linalg", "numpy.linalg", 1),
        (r"scipy\.linalg", "scipy.linalg", 2),
        (r"numpy\.fft and scipy\.fft", "scipy.fft", 1),
        (r"scipy\.signal", "scipy.signal", 1),
    ],
)
def test_functions(title, module, count):
    assert _paragraphs(title, count) == set(_SUBSTITUTES[module])


def test_special_functions():
    rows = {row.name for row in ROWS if f"scipy.special.{row.name}" == row.ufunc}
    copies = {"log1p", "expm1", "cbrt", "exp2"}
    others = {name.rpartition(".")[2] for name in NUMPY_FUNCTIONS if "scipy.special." in str(name)}
    expected = rows | set(_SUBSTITUTES["scipy.special"]) | copies | others
    assert _paragraphs(r"scipy\.special", 2) == expected


def test_statistics():
    methods = {name.rpartition(".")[2] for name in _SUBSTITUTES["scipy.stats"]}
    listed = _paragraphs(r"scipy\.stats", 1)
    assert methods == listed - {"loc", "scale"}


def test_integrals():
    assert set(_SUBSTITUTES["scipy.integrate"]) == _names(
        _section(r"scipy\.interpolate and scipy\.integrate").strip().split("\n\n")[-1]
    )
