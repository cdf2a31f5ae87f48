"""Random Python programs with loops: rolled up, they are what plain Python has."""

import looping_programs
import pytest
from looping_programs import Program, compare

from numtape.transform import rolling


@pytest.fixture(autouse=True)
def _short_tapes(monkeypatch):
    for name in ("_LEAST", "_LEAST_BODY", "_LEAST_PART"):
        monkeypatch.setattr(rolling, name, getattr(rolling, name))  # put back afterwards
    looping_programs.look_at_short_tapes()


@pytest.mark.filterwarnings("ignore::numtape.PathsWarning")
@pytest.mark.parametrize("seed", range(40))
def test_as_plain_python(seed):
    compare(Program(seed), thorough=seed % 4 == 0)


def test_most_have_loops():
    assert sum(compare(Program(seed)) for seed in range(10)) > 5
