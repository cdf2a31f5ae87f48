"""Slots by their strides against the same slots written out: every operation gives the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numtape.tape.flat import View, contiguous_strides
from numtape.tape.regular import RegularSlots, broadcast_slots, slots_of_view
from numtape.trace.recorder import RESULTS, view_of

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

AXES = st.lists(st.tuples(st.integers(1, 4), st.integers(-7, 7)), min_size=0, max_size=4)
VIEWS = st.tuples(AXES, st.sampled_from([100, RESULTS + 5000, 1 << 40]))

ARRANGEMENTS = {
    "reshape": lambda a: a.reshape((-1,)),
    "reshape to rows": lambda a: a.reshape(a.shape[0] if a.ndim else 1, -1),
    "ravel": lambda a: a.ravel(),
    "transpose": lambda a: a.transpose(tuple(reversed(range(a.ndim)))),
    "T": lambda a: a.T,
    "swapaxes": lambda a: a.swapaxes(0, -1) if a.ndim else a,
    "first": lambda a: a[:1] if a.ndim else a,
    "reversed": lambda a: a[..., ::-1] if a.ndim else a,
    "every other": lambda a: a[::2] if a.ndim else a,
    "new axis": lambda a: a[..., None],
    "nothing": lambda a: a[0:0] if a.ndim else a,
    "by places": lambda a: a[np.zeros(2, int)] if a.ndim else a,
    "one": lambda a: a[(0,) * a.ndim],
}


def _pair(view):
    axes, base = view
    shape, strides = tuple(n for n, _ in axes), tuple(s for _, s in axes)
    return RegularSlots.of(base, strides, shape), View(base, strides).slots(shape)


def _assert_same(regular, written):
    assert regular.shape == written.shape
    np.testing.assert_array_equal(np.asarray(regular), written)
    if isinstance(regular, RegularSlots):
        assert regular.size == written.size
        assert regular.ndim == written.ndim
        assert regular.any() == bool(written.any())
        assert regular.all()
        if written.size:
            assert regular.bounds() == (written.min(), written.max())
            assert (regular.min(), regular.max()) == regular.bounds()
            assert regular.item(0) == written.item(0)
            assert regular.item(-1) == written.item(-1)
            again = View(regular.item(0), regular.slot_strides()).slots(regular.shape)
            np.testing.assert_array_equal(again, written)


@given(VIEWS)
def test_it_is_the_slots_of_its_view(view):
    _assert_same(*_pair(view))


@pytest.mark.parametrize("name", ARRANGEMENTS)
@given(view=VIEWS)
def test_arranged_as_an_array_is(name, view):
    regular, written = _pair(view)
    found, expected = ARRANGEMENTS[name](regular), ARRANGEMENTS[name](written)
    _assert_same(found, expected)
    if isinstance(found, RegularSlots) and found.size:
        steps = [n > 1 for n in found.shape]
        axes = [k for k, does in enumerate(steps) if does]
        assert [found.strides[k] for k in axes] == [expected.strides[k] for k in axes]


@given(VIEWS)
def test_broadcast_and_back(view):
    regular, written = _pair(view)
    shape = (3, *regular.shape)
    wide = broadcast_slots(regular, shape)
    np.testing.assert_array_equal(np.asarray(wide), broadcast_slots(written, shape))
    assert set(np.asarray(wide.once()).ravel()) == set(written.ravel())
    assert wide.once().size <= written.size


@given(VIEWS, st.integers(-50, 50))
def test_numbers(view, shift):
    regular, written = _pair(view)
    np.testing.assert_array_equal(np.asarray(regular + shift), written + shift)
    np.testing.assert_array_equal(np.asarray(regular - shift), written - shift)
    middle = int(np.median(written))
    for found, expected in (
        (regular == middle, written == middle),
        (regular != middle, written != middle),
        (regular < middle, written < middle),
        (regular <= middle, written <= middle),
        (regular > middle, written > middle),
        (regular >= middle, written >= middle),
    ):
        np.testing.assert_array_equal(found, expected)
    assert regular.tolist() == written.tolist()
    copied = regular.copy()
    copied[...] = 0  # is its own
    np.testing.assert_array_equal(np.asarray(regular), written)


@given(VIEWS)
def test_the_view_of_slots_is_that_of_the_same_slots_written_out(view):
    regular, written = _pair(view)
    found, expected = view_of(regular), view_of(written)
    if expected.table is None:  # not so where places overlap in ways that no array has
        assert found == expected
    np.testing.assert_array_equal(found.slots(regular.shape), written)


@given(VIEWS, st.sampled_from([1, 100_000]))
def test_slots_of_a_view_step_evenly_unless_they_are_far_apart(view, apart):
    axes, base = view
    shape, strides = tuple(n for n, _ in axes), tuple(apart * s for _, s in axes)
    slots = slots_of_view(base, strides, shape)
    np.testing.assert_array_equal(np.asarray(slots), View(base, strides).slots(shape))
    is_far = any(n > 1 and s for n, s in zip(shape, strides)) and apart > 1
    assert isinstance(slots, np.ndarray) == is_far


def test_equal_layouts_are_one_however_they_were_made():
    slots = RegularSlots.of(RESULTS, contiguous_strides((1000, 1000)), (1000, 1000))
    assert slots.reshape((-1,)).layout is RegularSlots.contiguous(5, (1_000_000,)).layout
    assert slots.T.T.layout is slots.layout
    assert slots[1:, 2].layout is slots.shifted(7)[:-1, 5].layout
