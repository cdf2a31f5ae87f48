"""One tape, one function, many threads at once: each thread has memory of its own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numtape as nt

POINTS = [np.linspace(0.1, 1.0, 12) * k for k in range(1, 9)]


def _in_threads(function, rounds=30):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, POINTS * rounds))


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_one_tape(kind):
    def scalar(x):
        total = 0.0
        for value in x:
            total = total + np.sin(value) * value
        return total

    def vector(x):
        return np.sum(np.sin(x) * x)

    tape = nt.record(scalar if kind == "scalar" else vector, POINTS[0])
    assert tape.flat.is_scalar == (kind == "scalar")

    def run(x):
        value, gradient = tape.value_and_gradient(x)
        return value, gradient, tape(x), tape.jacobian(x), tape.jvp((x,), (x,))[1]

    expected = [run(x) for x in POINTS] * 30
    for found, wanted in zip(_in_threads(run), expected):
        for a, b in zip(found, wanted):
            np.testing.assert_array_equal(a, b)


def test_one_function_recorded_by_all_threads_at_once():
    def f(x):
        return np.sum(x * x) if x[-1] > 4.0 else np.sum(x)

    for _ in range(5):
        gradient = nt.grad(f)
        for x, found in zip(POINTS * 10, _in_threads(gradient, 10)):
            np.testing.assert_array_equal(found, 2 * x if x[-1] > 4.0 else np.ones(12))


def test_recordings_at_the_same_time_do_not_mix():
    def make(k):
        return lambda x: np.sum(np.sin(x * k)) * x[0]

    def run(k):
        x = POINTS[0]
        found = nt.grad(make(float(k)))(x)
        expected = np.cos(x * k) * k * x[0]
        expected[0] += np.sum(np.sin(x * k))
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(1, 60)))
