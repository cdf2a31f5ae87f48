"""What instructions read, as ranges of nodes, against the slots one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import SCALAR_STEPS, STEPS, random_tape
from random_tapes import reads as slots_read

from numtape.ops.table import OPCODE
from numtape.tape.reads import needed, nodes_once, reads_of
from numtape.trace.recorder import Recorder
from numtape.transform.passes import remove_dead

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")


def _node(tape, slot):
    if slot < tape.first_input:
        return 0
    if slot < tape.first_result:
        return slot - tape.first_input + 1
    return tape.producer(slot) + 1 + tape.inputs


def _assert_right(tape):
    reads = reads_of(tape)
    for number in range(tape.instructions):
        found = set()
        for k in range(reads.starts[number], reads.starts[number + 1]):
            found.update(range(reads.first[k], reads.last[k] + 1))
        assert found - {0} == {_node(tape, slot) for slot in slots_read(tape, number)} - {0}


@given(st.one_of(STEPS, SCALAR_STEPS), st.integers(0, 1000))
def test_ranges_are_the_nodes_of_the_slots(steps, seed):
    tape = random_tape(steps, seed)
    _assert_right(tape)
    _assert_right(remove_dead(tape))  # where they are taken over


@given(st.one_of(STEPS, SCALAR_STEPS), st.integers(0, 1000))
def test_needed(steps, seed):
    tape = random_tape(steps, seed)
    wanted = tape.outputs[seed % len(tape.outputs) :][:1]
    live, expected = set(wanted.tolist()), np.zeros(tape.instructions, bool)
    for number in range(tape.instructions - 1, -1, -1):
        made = range(tape.results[number], tape.results[number + 1])
        if live.intersection(made):
            expected[number] = True
            live |= slots_read(tape, number)
    np.testing.assert_array_equal(needed(tape, wanted), expected)


@given(st.one_of(STEPS, SCALAR_STEPS), st.integers(0, 1000))
def test_nodes_once(steps, seed):
    """Of slots in any order, of some that follow one another, and of all."""
    tape = random_tape(steps, seed)
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, tape.slots, 2))
    runs = np.concatenate([np.arange(low, high + 1), np.arange(low // 2, low + 1)])
    for slots in (rng.integers(0, tape.slots, 9), runs, np.arange(tape.slots), runs[:0]):
        found = set(nodes_once(tape, slots).tolist())
        assert found == {_node(tape, slot) for slot in slots.tolist()}


@pytest.mark.parametrize("step", [1, 2, 3])
def test_views_over_many_nodes(step):
    """Every node between is read where a view has no gaps, and only some where it has."""
    recorder = Recorder(2)
    slots = np.array([recorder.scalar(OPCODE["sin"], 1, 0) for _ in range(40)])
    total = recorder.reduce("add", slots[::step], (0,))
    tape = recorder.finish(np.ravel(total), np.zeros(2))
    _assert_right(tape)
    assert needed(tape, tape.outputs).sum() == len(slots[::step]) + 1
