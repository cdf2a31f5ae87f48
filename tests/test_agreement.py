"""Every way of running a random program gives the same; what once did not is run again.

``python -m tests.agreement`` looks further, by hand.
"""

import pytest
from agreement import regressions
from agreement.compare import check, check_branches
from agreement.search import cases
from hypothesis import HealthCheck, given, settings

_MANY = {"deadline": None, "print_blob": True, "suppress_health_check": list(HealthCheck)}


@given(cases(6))
@settings(max_examples=300, **_MANY)
def test_all_ways_agree(case):
    check(*case)


@given(cases(40, branchy=True))
@settings(max_examples=60, **_MANY)
def test_branches_never_lie(case):
    program, points, _, _ = case
    check_branches(program, points)


@pytest.mark.parametrize("path", sorted(regressions.FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_regressions(path):
    program, points, generic = regressions.read(path)
    check(program, points, generic, way=-1)
    check_branches(program, points)
