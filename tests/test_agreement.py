"""Every way of running a random program gives the same; what once did not is run again.

``python -m tests.agreement`` looks further, by hand.
"""

import numpy as np
import pytest
from agreement import compare, regressions
from agreement.compare import Disagreement, check, check_branches, check_quickly
from agreement.programs import Program, draw_points
from agreement.search import cases
from hypothesis import HealthCheck, Phase, given, settings

_MANY = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate, Phase.shrink],  # explaining a failure can take hours
}


@given(cases(3))
@settings(max_examples=2000, **_MANY)
def test_recordings_agree_with_the_plain_function(case):
    program, points, _, _ = case
    check_quickly(program, points)


@given(cases(5))
@settings(max_examples=80, **_MANY)
def test_all_ways_agree(case):
    check(*case)


@given(cases(30, branchy=True))
@settings(max_examples=40, **_MANY)
def test_branches_never_lie(case):
    program, points, _, _ = case
    check_branches(program, points)


@pytest.mark.parametrize("path", sorted(regressions.FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_regressions(path):
    program, points, generic = regressions.read(path)
    check(program, points, generic, way=-1)
    check_branches(program, points)


PROGRAM = Program("def program(x, y, t):\n    return np.sin(x) * t, t * 0.5\n", 3, True)


@pytest.mark.parametrize("name", ["_evaluate", "_by_point", "_unpacked", "numbers"])
def test_a_difference_is_noticed(name, monkeypatch):
    """The comparison is not blind: one wrong number in any of its ways is a disagreement."""
    right = getattr(compare, name)

    def wrong(*arguments):
        found = right(*arguments)
        first = found[0] if isinstance(found, tuple) else found
        first.flat[0] += 1e-3 * wrong.calls  # another at each call
        wrong.calls += 1
        return found

    wrong.calls = 1
    points = draw_points("normal", 3, 4, 1)
    assert check(PROGRAM, points) == 4
    monkeypatch.setattr(compare, name, wrong)
    with pytest.raises(Disagreement):
        check(PROGRAM, points)


def test_what_is_kept_is_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(regressions, "FOLDER", tmp_path)
    points = draw_points("special", 3, 5, 2)
    path = regressions.write(PROGRAM, points, False, Disagreement("a gave 1"))
    program, read, generic = regressions.read(path)
    assert (program, generic) == (PROGRAM, False)
    for one, other in zip(read, points):
        for part, expected in zip(one, other):
            np.testing.assert_array_equal(part, expected)
            np.testing.assert_array_equal(np.signbit(part), np.signbit(expected))
