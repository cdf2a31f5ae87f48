"""A bounded run of `fuzz.py`; a longer one is for hands."""

from fuzz import fuzz


def test_mutated_and_random_files_are_refused_or_run():
    report = fuzz(seed=0, first=0, cases=300)
    assert report.bugs == []
    assert sum(report.values()) == 300
    assert report["refused"] > 100
    assert report["run"] > 30
