"""Flat tapes: regions of slots, producers, and what a view reads."""

import numpy as np
import pytest

import numtape as nt
from numtape.tape.flat import View


def _tape():
    return nt.record(lambda x: np.sum(np.sin(x) * 2.0) + x[0] * 3.0, np.arange(10.0)).flat


def test_regions():
    tape = _tape()
    assert sorted(tape.constants) == [2.0, 3.0]
    assert tape.first_input == 3
    assert tape.first_result == 13
    assert tape.results.tolist() == [13, 23, 33, 34, 35, 36]
    assert tape.slots == 36
    assert tape.outputs.tolist() == [35]


def test_producer():
    tape = _tape()
    assert tape.producer(0) is None
    assert tape.producer(tape.first_input) is None
    assert [tape.producer(s) for s in (13, 22, 23, 33, 35)] == [0, 0, 1, 2, 4]


def test_the_recording_point_is_kept():
    np.testing.assert_array_equal(_tape().point, np.arange(10.0))


@pytest.mark.parametrize(
    ("view", "shape", "expected"),
    [
        (View(5, (1,)), (3,), [5, 6, 7]),
        (View(5, (-2,)), (3,), [5, 3, 1]),
        (View(5, (0, 1)), (2, 2), [[5, 6], [5, 6]]),
        (View(5, ()), (), 5),
        (View(1, (1,), np.array([9, 7, 8])), (2,), [7, 8]),
    ],
)
def test_view(view, shape, expected):
    np.testing.assert_array_equal(view.slots(shape), expected)


def test_tapes_are_small():
    """12 bytes of instruction, and of run-time state 8 to evaluate and 24 more to sweep."""
    from checks import workspace

    def f(x):
        for _ in range(100):
            x = np.sin(x) * 1.5
        return x

    tape = nt.record(f, 0.3).flat
    assert tape.code.nbytes == 12 * tape.instructions
    memory = workspace(tape, sweeps=True)
    fields = [a for a in memory._owned if a.dtype == np.float64 and a.size >= tape.instructions]
    assert sum(array.nbytes for array in fields) <= 32 * tape.slots
