"""Kernels that find places, and read and add there: every kind of view, every kind of place."""

import naive
import numpy as np
import pytest
from checks import assert_same_bits, evaluate

from numtape.trace.recorder import Recorder

PLACES = [0.0, 1.0, 4.0, -1.0, -5.0, 5.0, -6.0, 1e300, -np.inf, np.inf, np.nan, 0.7, -0.7]


def _tape(build, *arrays):
    """A tape of what `build` records of slots of inputs."""
    recorder = Recorder(sum(array.size for array in arrays))
    slots, start = [], 1
    for array in arrays:
        slots.append(np.arange(start, start + array.size).reshape(array.shape))
        start += array.size
    outputs = build(recorder, *slots)
    return recorder.finish(outputs, np.concatenate([array.ravel() for array in arrays]))


VIEWS = {
    "as it is": lambda m: m,
    "transposed": lambda m: m.T,
    "backwards": lambda m: m[::-1, ::-1],
    "every other": lambda m: m[:, ::2],
    "a row repeated": lambda m: np.broadcast_to(m[0], (3, m.shape[1])),
    "gathered": lambda m: m[:, np.arange(m.shape[1]) ** 2 % m.shape[1]],
    "one column": lambda m: m[:, :1],
}


@pytest.mark.parametrize("kind", ["quicksort", "stable"])
@pytest.mark.parametrize("view", VIEWS)
def test_order(view, kind):
    matrix = np.random.default_rng(0).integers(0, 5, (4, 30)).astype(float)
    matrix[1, 3], matrix[2, :2] = np.nan, [np.inf, -np.inf]
    tape = _tape(lambda recorder, m: recorder.order(VIEWS[view](m), kind), matrix)
    expected = np.argsort(np.ascontiguousarray(VIEWS[view](matrix)), kind=kind)
    assert_same_bits(evaluate(tape, matrix), expected.ravel())


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_search(size, right):
    numbers = np.sort(np.random.default_rng(1).integers(0, 4, size).astype(float))
    numbers[-1:] = np.nan if size == 9 else numbers[-1:]
    points = np.concatenate([np.arange(-1.0, 6.0, 0.5), [np.nan, np.inf, -np.inf, -0.0]])
    tape = _tape(lambda recorder, *slots: recorder.search(*slots, right), numbers, points)
    expected = np.searchsorted(numbers, points, side="right" if right else "left")
    assert_same_bits(evaluate(tape, tape.point), expected)


@pytest.mark.parametrize("view", VIEWS)
def test_take_and_spread(view):
    """Whatever the place, nothing outside of the row is touched; as the twin has it."""
    matrix = np.random.default_rng(2).normal(size=(5, 5))
    elements = VIEWS[view](matrix)
    places = np.resize(PLACES, (len(elements), elements.shape[1]))

    def take(recorder, m, p):
        return recorder.take(VIEWS[view](m), p).ravel()

    def spread(recorder, m, p):
        return recorder.spread(VIEWS[view](m), p, 5).ravel()

    for build in (take, spread):
        tape = _tape(build, matrix, places)
        assert_same_bits(evaluate(tape, tape.point), naive.run(tape, tape.point))


def test_places_count_from_the_end():
    elements, places = np.array([[10.0, 20.0, 30.0]]), np.array([[2.0, -1.0, -3.0, 0.0]])
    tape = _tape(lambda recorder, *slots: recorder.take(*slots).ravel(), elements, places)
    assert_same_bits(evaluate(tape, tape.point), [30.0, 30.0, 10.0, 10.0])
