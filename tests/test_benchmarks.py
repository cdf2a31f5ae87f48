"""Rivals compute what numtape computes, and the README shows what was measured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The scripts' folder can be imported from; the environment stays as it is."""
    monkeypatch.syspath_prepend(FOLDER)
    for library in ("OPENBLAS", "MKL", "OMP"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")


def test_installed_rivals_agree():
    environment = os.environ | {
        "NUMTAPE_BENCHMARKS_SMALL": "1",
        "PYTHONPATH": str(FOLDER.parent),
    }
    script = [sys.executable, FOLDER / "side_by_side.py", "--check"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rivals = {}
    for line in done.stdout.splitlines():
        problem, _, names = line.partition(" agree: ")
        rivals[problem] = set(names.split(", "))
    # One of each kind that is always there: a loop, an array program, a Jacobian, many points.
    for problem in ("heston path 50", "gaussian mixture", "bundle adjustment"):
        assert {"numtape", "numtape function", "scipy differences"} <= rivals[problem]
    assert {"numtape", "scipy differences loop"} <= rivals["heston path 50, many points"]


def test_a_wrong_derivative_is_found(scripts):
    from benchmarks.problems import BATCHES, rosenbrock
    from benchmarks.rivals import Prepared, prepare, prepare_batch
    from side_by_side import check_agreement, check_batch

    problem = rosenbrock(5)
    right, point = prepare("numtape", problem), problem.point.copy()
    check_agreement(problem, {"numtape": right, "jax": right})
    wrong = Prepared(point, lambda: right.call() * (1.0 + 1e-6))
    with pytest.raises(SystemExit, match="rosenbrock loop 5: the derivative by 'jax' differs"):
        check_agreement(problem, {"numtape": right, "jax": wrong})
    # One that does not see that its point moves.
    stale = right.call()
    with pytest.raises(SystemExit, match="'jax' differs"):
        check_agreement(problem, {"numtape": right, "jax": Prepared(point, lambda: stale)})

    batch = BATCHES["bundle adjustment"]
    many = prepare_batch("numtape", batch, batch.points(3))
    check_batch(batch, {"numtape": many, "jax vmap": many})
    with pytest.raises(SystemExit, match=r"bundle adjustment, many points: .* 'jax vmap' differs"):
        check_batch(batch, {"numtape": many, "jax vmap": lambda: many() * (1.0 + 1e-6)})


def test_the_readme_shows_what_was_measured(scripts):
    import readme

    text = readme.README.read_text(encoding="utf-8")
    shown = text.split(readme.START)[1].split(readme.END)[0]
    assert shown.strip() == readme.section(readme.load()), (
        "the README's table was changed by hand, or readme.py without it: "
        "run `python asv_benchmarks/side_by_side.py --redraw`"
    )
    assert readme.PLOT.exists()
