"""Batches are sorted by their paths before these are run."""

import threading

import numpy as np
import pytest

import numtape as nt
from numtape.functions import paths, sieve, vmap

POINTS = np.random.default_rng(0).normal(size=(300, 4))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sort few points too."""
    monkeypatch.setattr(vmap, "_MANY", 8)
    monkeypatch.setattr(sieve, "_FEW", 4)
    monkeypatch.setattr(paths, "_LONG", 0)


def branching(x):
    total = x[0] * 0.0
    for k in range(4):
        with np.errstate(all="ignore"):  # in which tests stay guards
            if x[k] > 0.0:
                total = total + np.sin(x[k]) * (k + 1.0)
            elif x[k] > -1.0:
                total = total - x[k] ** 3
    return total


def one_by_one(function, points):
    return np.stack([function(x) for x in points])


def decisions(monkeypatch):
    """Return a list that says how many points each decision was made for."""
    made = []
    sort = sieve.Sieve.sort

    def noted(self, numbers, decide):
        return sort(
            self, numbers, lambda runner, here: made.append(len(here)) or decide(runner, here)
        )

    monkeypatch.setattr(sieve.Sieve, "sort", noted)
    return made


def test_values_and_gradients(monkeypatch):
    made = decisions(monkeypatch)
    both = nt.vmap(nt.value_and_grad(branching), branches="paths")
    for _ in range(3):
        values, slopes = both(POINTS)
        np.testing.assert_allclose(values, [branching(x) for x in POINTS], rtol=1e-14)
        expected = one_by_one(nt.grad(branching), POINTS)
        np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-15)
    assert made[0] == 300
    assert len(made) > 10


def test_each_point_runs_once_where_paths_are_known(monkeypatch):
    mapped = nt.vmap(nt.grad(branching), branches="paths")
    first = mapped(POINTS)
    mapped(POINTS)
    counts = np.zeros(len(POINTS), int)
    evaluate = vmap.evaluate_many

    def counted(runner, points, outputs, options, progress, numbers=None, guarded=True):
        if runner.tape.guards:  # decisions have none
            counts[slice(None) if numbers is None else numbers] += 1
        return evaluate(runner, points, outputs, options, progress, numbers, guarded)

    monkeypatch.setattr(vmap, "evaluate_many", counted)
    monkeypatch.setattr(sieve, "_FEW", 1)
    np.testing.assert_array_equal(mapped(POINTS), first)
    assert counts.max() == 1


def test_paths_that_were_not_known():
    mapped, gradient = nt.vmap(nt.grad(branching), branches="paths"), nt.grad(branching)
    rng = np.random.default_rng(1)
    for spread in (0.0, 0.5, 2.0, 0.1):
        points = 1.0 + spread * rng.normal(size=(50, 4))
        expected = one_by_one(gradient, points)
        np.testing.assert_allclose(mapped(points), expected, rtol=1e-13, atol=1e-15)


def test_paths_that_are_forgotten(monkeypatch):
    monkeypatch.setenv("NUMTAPE_MAX_PATHS", "5")
    mapped, gradient = nt.vmap(nt.grad(branching), branches="paths"), nt.grad(branching)
    with pytest.warns(nt.PathsWarning):
        expected = one_by_one(gradient, POINTS[:60])
    with pytest.warns(nt.PathsWarning):
        found = [mapped(POINTS[:60]) for _ in range(3)]
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=1e-13, atol=1e-15)


def test_not_a_number():
    def counting(x):
        with np.errstate(all="ignore"):
            return x * 2.0 if np.sqrt(x) > 1.0 else x * 3.0

    mapped = nt.vmap(nt.grad(counting), branches="paths")
    x = np.linspace(-3.0, 3.0, 40)
    with np.errstate(invalid="ignore"):
        for _ in range(3):
            np.testing.assert_array_equal(mapped(x), np.where(x > 1.0, 2.0, 3.0))


def test_traced_places():
    def chosen(x):
        with np.errstate(all="ignore"):
            return [np.sin, np.cos, np.exp, np.tanh][int(np.floor(x[0]))](x[1])

    mapped, gradient = nt.vmap(nt.grad(chosen), branches="paths"), nt.grad(chosen)
    points = np.random.default_rng(2).uniform(0.0, 4.0, (80, 2))
    for _ in range(3):
        np.testing.assert_allclose(mapped(points), one_by_one(gradient, points), rtol=1e-13)


def test_what_points_share_and_where_results_go():
    def scaled(x, a):
        with np.errstate(all="ignore"):
            return a * x**2 if x > a else (x if a > 1.0 else -x)

    mapped = nt.vmap(nt.grad(scaled), in_axes=(0, None), branches="paths", num_threads=2)
    x = np.linspace(-2.0, 2.0, 60)
    out = np.empty(60)
    for a in (0.5, 1.5, 0.5, 1.5):
        expected = np.where(x > a, 2.0 * a * x, 1.0 if a > 1.0 else -1.0)
        mapped(x, a, out=out)
        np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_progress_counts_each_point_once():
    told = []
    mapped = nt.vmap(
        nt.grad(branching),
        branches="paths",
        progress=lambda done, total: told.append((done, total)),
    )
    for _ in range(3):
        told.clear()
        mapped(POINTS)
        assert told[-1] == (300, 300)
        assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_threads():
    mapped = nt.vmap(nt.grad(branching), branches="paths", num_threads=2)
    expected = one_by_one(nt.grad(branching), POINTS)
    wrong = []

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(POINTS))
        for _ in range(5):
            if not np.allclose(mapped(POINTS[order]), expected[order], rtol=1e-12, atol=1e-14):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_decisions_that_take_all_of_a_function_are_left_out(monkeypatch):
    made = decisions(monkeypatch)

    def late(x):
        y = x
        for _ in range(10):
            y = np.sin(y) + x
        with np.errstate(all="ignore"):
            return y if y > 0.0 else -y

    mapped = nt.vmap(late, branches="paths")
    x = np.linspace(-2.0, 2.0, 40)
    for _ in range(3):
        np.testing.assert_allclose(mapped(x), [late(each) for each in x], rtol=1e-13)
    assert made == []


def test_single_points(monkeypatch):
    gradient, plain = nt.grad(branching, branches="paths"), nt.grad(branching, branches="select")
    for _ in range(8):
        for x in POINTS[:100]:
            np.testing.assert_allclose(gradient(x), plain(x), rtol=1e-13, atol=1e-15)
    tried = []
    failing = paths.Paths.run_after

    def noted(self, tape, failed, x, action):
        return failing(self, tape, failed, x, lambda tape, x: tried.append(tape) or action(tape, x))

    monkeypatch.setattr(paths.Paths, "run_after", noted)
    for x in POINTS[:100]:
        tried.clear()
        gradient(x)
        assert len(tried) <= 1  # the right one at once


def test_single_points_on_new_paths():
    gradient, plain = nt.grad(branching, branches="paths"), nt.grad(branching, branches="select")
    for x in POINTS:  # one new path after the other
        np.testing.assert_allclose(gradient(x), plain(x), rtol=1e-13, atol=1e-15)
