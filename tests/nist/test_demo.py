"""The demo prints its table and reports by its exit status whether every fit is right.

How fast anything is goes untested: only that a positive time was measured.
"""

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from numtape.nist import demo
from numtape.nist.problems import load


def _console() -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=80), output


def test_table_and_status() -> None:
    console, output = _console()
    assert demo.run(console, limit=2) == 0
    text = " ".join(output.getvalue().split())
    assert "Bennett5" in text
    assert "BoxBOD" in text
    assert "Chwirut1" not in text
    assert "4 of 4 fits agree with the certified parameters to at least 6 digits" in text


def test_one_wrong_fit_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        demo,
        "numtape_jacobian",
        lambda problem, start: (lambda b: problem.y, lambda b: np.zeros((problem.y.size, b.size))),
    )
    console, output = _console()
    assert demo.run(console, limit=1) == 1
    assert "0 of 2 fits agree" in output.getvalue()


def test_times_are_measured() -> None:
    row = demo._measure(load("Misra1a"), 1)
    assert row.succeeded
    assert row.numtape_microseconds > 0
    assert row.ratio == row.difference_microseconds / row.numtape_microseconds


def test_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"limit is 0.*pass a positive"):
        demo.run(limit=0)


def test_missing_rich_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(SystemExit, match=r'pip install "numtape\[cli\]"'):
        demo.run(limit=1)
