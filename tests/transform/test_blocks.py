"""Slots by place, in pieces or one by one, against one plain array of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from numtape.tape.regular import RegularSlots
from numtape.trace.recorder import RESULTS
from numtape.transform.blocks import Blocks

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

STARTS = [0, 1, 13, 14, 15, 27, 39, 40, 64]

# Slots for a block of 12 places: steps of the array that they are in, and its shape.
FORMS = [
    ((12,), (1,)),
    ((12,), (-1,)),
    ((12,), (3,)),
    ((12,), (0,)),
    ((3, 4), (1, 3)),
    ((3, 4), (0, 1)),
    ((3, 4), (1, 0)),
]
_NUMBER = st.integers(0, 1000)
STEPS = st.lists(st.tuples(st.integers(0, 4), _NUMBER, _NUMBER), max_size=25)


def _regular_places(block, number):
    start, stop = STARTS[block : block + 2]
    size = stop - start
    choices = [
        RegularSlots.of(start, (1,), (size,)),
        RegularSlots.of(stop - 1, (-1,), (size,)),
        RegularSlots.of(start, (1,), (max(size - 3, 1),)),
        RegularSlots.of(start, (2,), ((size + 1) // 2,)),
        RegularSlots.of(start, (0,), (5,)),
    ]
    if size % 12 == 0:
        choices += [
            RegularSlots.of(start, (size // 3, 1), (3, size // 3)),
            RegularSlots.of(start, (1, size // 3), (size // 3, 3)),
            RegularSlots.of(start, (0, size // 3, 1), (2, 3, size // 3)),
        ]
    if block + 2 < len(STARTS):  # across the end of the block
        choices.append(RegularSlots.of(start, (1,), (size + 1,)))
    return choices[number % len(choices)]


@given(STEPS, st.sets(st.integers(1, 7), max_size=2))
@settings(max_examples=300)
def test_against_one_plain_array(steps, apart):
    blocks = Blocks(STARTS, np.array(STARTS), apart)
    plain = np.zeros(STARTS[-1], np.int64)
    for k, (kind, first, second) in enumerate(steps):
        block = 1 + first % 7
        start, stop = STARTS[block : block + 2]
        if kind == 0:
            shape, strides = FORMS[second % len(FORMS)] if stop - start == 12 else ((1,), (0,))
            if stop - start in (1, 12):
                slots = RegularSlots.of(RESULTS + 100 * k, strides, shape)
                blocks.set_block(block, slots)
                plain[start:stop] = np.asarray(slots).ravel()
        elif kind == 1:
            slots = np.arange(stop - start) * (second % 5) + second
            blocks.set_block(block, slots)
            plain[start:stop] = slots
        elif kind == 2:
            places = np.unique(np.array([first, second, first + second]) % STARTS[-1])
            blocks.put(places, RESULTS + k + places)
            plain[places] = RESULTS + k + places
        elif kind == 3:
            whole, expected = blocks.of_block(block, (stop - start, 1)), plain[start:stop]
            assert (whole is None) == (not expected.any())
            if whole is not None:
                np.testing.assert_array_equal(np.asarray(whole)[:, 0], expected)
            places = _regular_places(block, second)
            found, expected = blocks.get(places), plain[np.asarray(places)]
            assert (found is None) == (not expected.any())
            np.testing.assert_array_equal(np.asarray(blocks.read(places)), expected)
        else:
            places = np.array([[first, second], [second, first]]) % STARTS[-1]
            np.testing.assert_array_equal(np.asarray(blocks.read(places)), plain[places])
            low = min(first % STARTS[-1], second % STARTS[-1])
            high = max(first % STARTS[-1], second % STARTS[-1])
            own = int(np.searchsorted(STARTS, low, side="right")) - 1
            moved = blocks.moved(high, own, low, high)
            run = plain[low : high + 1]
            if moved is not None:
                assert moved == plain[high]
                assert (np.diff(run) == 1).all()
    np.testing.assert_array_equal(blocks.at(np.arange(STARTS[-1])), plain)
