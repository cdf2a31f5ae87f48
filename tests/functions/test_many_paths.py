"""Batches whose points take many paths: each result is that of its point alone, bit for bit."""

import threading

import numpy as np
import pytest

import numtape as nt

DEPTH = 5


def decided(x, a=0.5):
    """Return two results, after decisions that cannot be selected; only exact operations."""
    total, product = x[0] * a, x[1] + a
    for k in range(DEPTH):
        match bool(x[k] * total > product - a):
            case True:
                total = total * 0.75 + np.sqrt(x[k] * x[k] + a)
            case False:
                product = product * x[k] - total
    return total, product


def points_of(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, DEPTH))


def one_by_one(function, points):
    return [np.array(column) for column in zip(*map(function, points), strict=True)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_values_are_those_of_python():
    points = points_of(300)
    assert_same(nt.vmap(decided)(points), one_by_one(decided, points))


def test_unknown_paths_arrive_in_later_batches():
    mapped = nt.vmap(decided)
    for seed, count in enumerate((1, 3, 40, 300)):
        points = points_of(count, seed)
        assert_same(mapped(points), one_by_one(decided, points))


@pytest.mark.parametrize("most", [1, 2, 7])
def test_forgotten_paths_are_recorded_again(monkeypatch, most):
    monkeypatch.setenv("NUMTAPE_MAX_PATHS", str(most))
    mapped, points = nt.vmap(decided), points_of(60)
    with pytest.warns(nt.PathsWarning):
        assert_same(mapped(points), one_by_one(decided, points))
    assert_same(mapped(points[::-1]), one_by_one(decided, points[::-1]))


def test_nan_takes_the_path_that_python_takes():
    points = points_of(120)
    points[::3, 1], points[1::5, 4], points[2::7, 0] = np.nan, np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = one_by_one(decided, points)
    mapped = nt.vmap(decided)
    for _ in range(2):
        assert_same(mapped(points), expected)


def test_results_are_written_where_out_says():
    points = points_of(100)
    out = np.full((2, 100), 7.0)
    nt.vmap(decided)(points, out=(out[0], out[1]))
    assert_same(out, one_by_one(decided, points))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shared_inputs_and_threads(threads):
    points = points_of(2000)
    mapped = nt.vmap(decided, in_axes=(0, None), num_threads=threads)
    for a in (0.25, 1.5):
        assert_same(mapped(points, a), one_by_one(lambda x, a=a: decided(x, a), points))


def test_gradients_do_not_depend_on_the_other_points():
    slope = nt.grad(lambda x: decided(x)[0] + np.tanh(decided(x)[1]))
    points = points_of(200)
    together, alone = nt.vmap(slope), nt.vmap(slope)
    expected = np.concatenate([alone(point[None]) for point in points])
    for _ in range(2):
        np.testing.assert_array_equal(together(points), expected)


def test_single_points_that_alternate_over_paths():
    points = points_of(60)
    slope = nt.grad(lambda x: decided(x)[0])
    first = [slope(point) for point in points]
    for point, expected in zip(points[::-1], first[::-1], strict=True):
        np.testing.assert_array_equal(slope(point), expected)


def test_one_mapped_function_in_several_threads(monkeypatch):
    monkeypatch.setenv("NUMTAPE_MAX_PATHS", "200")
    mapped, found = nt.vmap(decided, num_threads=1), {}

    def work(seed):
        found[seed] = [mapped(points_of(80, seed)) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        for result in found[seed]:
            assert_same(result, one_by_one(decided, points_of(80, seed)))
