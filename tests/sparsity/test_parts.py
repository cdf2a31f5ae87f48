"""Views of views, against indexing what they are written out to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numtape.sparse.parts import part_of
from numtape.tape.regular import RegularSlots, slots_of_view

SHAPES = [(7,), (4, 5), (3, 1, 4), (2, 3, 4)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_views_of_views(data):
    shape = data.draw(st.sampled_from(SHAPES))
    strides = tuple(data.draw(st.integers(-3, 6)) for _ in shape)
    array = slots_of_view(1000, strides, shape)
    counted = np.arange(np.prod(shape)).reshape(shape)
    view = counted
    for axis, extent in enumerate(shape):
        start = data.draw(st.integers(0, extent - 1))
        step = data.draw(st.sampled_from([1, 2, -1]))
        view = np.moveaxis(np.moveaxis(view, axis, 0)[start::step], 0, axis)
    if data.draw(st.booleans()):
        view = view.T
    steps = tuple(stride // 8 for stride in view.strides)
    places = RegularSlots.of(int(view.flat[0]), steps, view.shape)
    found = part_of(array, places)
    expected = np.asarray(array).ravel()[view]
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert isinstance(found, RegularSlots)


@pytest.mark.parametrize("step", [3, 5, 7])
def test_steps_across_the_ends_of_rows_are_written_out(step):
    array = RegularSlots.of(0, (10, 1), (4, 6))
    places = RegularSlots.of(1, (step,), (3,))
    np.testing.assert_array_equal(
        np.asarray(part_of(array, places)), np.asarray(array).ravel()[1 + step * np.arange(3)]
    )


def test_tables():
    array = RegularSlots.of(0, (10, 1), (4, 6))
    places = np.array([[3, 3], [20, 0]])
    np.testing.assert_array_equal(part_of(array, places), np.asarray(array).ravel()[places])
    np.testing.assert_array_equal(part_of(np.asarray(array), places), part_of(array, places))
