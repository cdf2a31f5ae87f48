"""The simplifying recorder by itself: what it shares and knows; replaying a tape."""

import itertools

import naive
import numpy as np
import pytest
from checks import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import INPUTS, STEPS, assert_valid, point, random_tape, reads

from numtape.kinds import axes_by_result
from numtape.ops.table import OPCODE
from numtape.tape.flat import Location
from numtape.tape.text import program
from numtape.trace.recorder import RESULTS, SMALL, Recorder
from numtape.transform.builder import ALL_RULES, NO_RULES, Builder, Rules, replay
from numtape.transform.passes import optimize, remove_dead

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

ADD, MULTIPLY, SIN, NEGATIVE = (OPCODE[name] for name in ("add", "multiply", "sin", "negative"))


# constants


def test_equal_bits_share_a_constant():
    builder = Builder(1)
    assert builder.constant(1.5) == builder.constant(1.5)
    assert builder.constant(0.0) != builder.constant(-0.0)
    assert builder.constant(np.nan) == builder.constant(np.nan)


def test_known_values():
    builder = Builder(2)
    assert builder.known(0) == 0.0
    assert builder.known(1) is None
    assert builder.known(builder.constant(2.5)) == 2.5
    assert np.signbit(builder.known(builder.constant(-0.0)))
    assert builder.known(builder.scalar(SIN, 1, 0)) is None
    assert builder.known(builder.scalar(SIN, builder.constant(0.0), 0)) == 0.0


def test_folded_to_nan_is_shared():
    builder = Builder(1)
    zero = builder.constant(0.0)
    first = builder.scalar(OPCODE["divide"], zero, zero)
    assert first == builder.scalar(OPCODE["log"], builder.constant(-1.0), 0)
    assert np.isnan(builder.known(first))


# sharing


def test_equal_instructions_share_a_slot():
    builder = Builder(2)
    assert builder.scalar(SIN, 1, 0) == builder.scalar(SIN, 1, 0)
    assert builder.scalar(SIN, 1, 0) != builder.scalar(SIN, 2, 0)
    assert builder.scalar(ADD, 1, 2) == builder.scalar(ADD, 2, 1)
    assert builder.scalar(OPCODE["subtract"], 1, 2) != builder.scalar(OPCODE["subtract"], 2, 1)


VIEWS = {
    "contiguous": np.arange(1, 13),
    "reversed": np.arange(1, 13)[::-1],
    "strided": np.arange(1, 25)[::2],
    "gathered": np.array([4, 4, 1, 9, 2, 2, 7, 8, 3, 11]),
    "transposed": np.arange(1, 25).reshape(4, 6).T,
    "broadcast": np.broadcast_to(np.arange(1, 5), (3, 4)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_equal_vector_instructions_share_their_slots(name):
    slots = VIEWS[name]
    builder = Builder(30)

    def record(slots):
        yield builder.elementwise(SIN, [slots])
        yield builder.elementwise(ADD, [slots, slots])
        yield builder.reduce("add", slots, (0,))
        yield builder.accumulate("add", slots, 0)
        yield builder.scatter(slots, np.arange(slots.size) % 3, 3)
        yield builder.product(slots.reshape(2, -1), slots.reshape(-1, 2))

    first = list(record(slots))
    instructions = len(builder.vectors)
    for one, other in zip(first, record(slots.copy("K"))):  # laid out alike: sums round alike
        np.testing.assert_array_equal(one, other)
    assert len(builder.vectors) == instructions
    for one, other in zip(first, record(slots + 3)):
        assert (one != other).all()


def test_what_differs_is_not_shared():
    builder = Builder(24)
    a = np.arange(1, 13)
    distinct = [
        builder.elementwise(SIN, [a]),
        builder.elementwise(NEGATIVE, [a]),
        builder.elementwise(SIN, [a.reshape(3, 4)]),
        builder.elementwise(SIN, [a[::-1]]),
        builder.reduce("add", a.reshape(3, 4), (0,)),
        builder.reduce("add", a.reshape(3, 4), (1,)),
        builder.reduce("maximum", a.reshape(3, 4), (1,)),
        builder.scatter(a, np.arange(12) % 3, 3),
        builder.scatter(a, np.arange(12)[::-1] % 3, 3),
        builder.scatter(a, np.arange(12) % 3, 4),
    ]
    for one, other in itertools.combinations(distinct, 2):
        assert not np.intersect1d(one, other).size


def test_a_shared_array_keeps_no_hold_on_the_callers_slots():
    """A traced array's slots change when it is assigned to."""
    builder = Builder(24)
    index = np.array([4, 4, 1, 9, 2, 2, 7, 8, 3, 11])
    first = builder.elementwise(SIN, [index])
    index[0] = 12
    assert (builder.elementwise(SIN, [index]) != first).all()


# rules


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=3)))
def test_each_rule_can_be_switched(flags):
    fold, simplify, share = flags
    builder = Builder(12, Rules(*flags))
    two = builder.constant(2.0)
    folded = builder.scalar(ADD, two, two)
    assert (builder.known(folded) == 4.0) == fold
    assert (builder.scalar(MULTIPLY, 1, builder.constant(1.0)) == 1) == simplify
    assert (builder.scalar(SIN, 1, 0) == builder.scalar(SIN, 1, 0)) == share
    array = np.arange(1, 13)
    ones = np.full(12, builder.constant(1.0))
    simpler = builder.elementwise(MULTIPLY, [array, ones])
    assert np.array_equal(simpler, array) == simplify


def test_all_rules_are_the_default():
    assert Builder(1).rules == ALL_RULES == Rules(True, True, True)
    assert Rules(False, False, False) == NO_RULES


# guards


def test_guards_on_constants_are_dropped_and_equal_ones_shared():
    builder = Builder(2)
    less = OPCODE["less"]
    builder.guard(builder.scalar(less, 1, 2), 1.0, Location("f", 1))
    builder.guard(builder.scalar(less, 1, 2), 1.0, Location("f", 2))
    builder.guard(
        builder.scalar(less, builder.constant(1.0), builder.constant(2.0)), 1.0, Location("f", 3)
    )
    tape = builder.finish(np.array([1]), np.zeros(2))
    assert [guard.location.line for guard in tape.guards] == [1]


# replaying


def _may_be_written_otherwise(vector):
    """Running sums come out with the summed axis last, copies of a few elements as scalars."""
    return vector.kind == "accumulate" or (vector.kind == "map" and vector.size <= SMALL)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=80)
def test_replay_without_rules_gives_the_tape_again(steps, seed):
    tape = random_tape(steps, seed)
    for recorder in (Recorder(INPUTS), Builder(INPUTS, NO_RULES)):
        slots = replay(tape, recorder, range(1, INPUTS + 1))
        new = recorder.finish(slots.at(tape.outputs), tape.point)
        assert_valid(new)
        if not any(_may_be_written_otherwise(vector) for vector in tape.vectors):
            assert program(new) == program(tape)
        with np.errstate(all="ignore"):
            assert_same_bits(naive.run(new, tape.point), naive.run(tape, tape.point))
        assert [g.location for g in new.guards] == [g.location for g in tape.guards]


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=40)
def test_replay_on_other_inputs(steps, seed):
    """Behind instructions of another, whose results are its inputs."""
    tape = random_tape(steps, seed)
    builder = Builder(INPUTS)
    moved = [builder.scalar(NEGATIVE, slot, 0) for slot in range(INPUTS, 0, -1)]
    slots = replay(tape, builder, moved)
    new = optimize(builder.finish(slots.at(tape.outputs), tape.point))
    x = point("special", seed)
    with np.errstate(all="ignore"):
        assert_same_bits(naive.run(new, x), naive.run(tape, -x[::-1]))


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=40)
def test_two_copies_are_one(steps, seed):
    """A tape written twice to a builder shares every instruction."""
    tape = optimize(random_tape(steps, seed))
    builder = Builder(INPUTS)
    first = replay(tape, builder, range(1, INPUTS + 1)).at(np.arange(tape.slots))
    count = len(builder.code)
    second = replay(tape, builder, range(1, INPUTS + 1)).at(np.arange(tape.slots))
    assert len(builder.code) == count
    np.testing.assert_array_equal(first, second)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=40)
def test_needed_instructions_alone(steps, seed):
    tape = random_tape(steps, seed)
    new = remove_dead(tape)
    assert_valid(new)
    live = set(new.outputs.tolist()) | {guard.slot for guard in new.guards}
    for number in range(new.instructions - 1, -1, -1):
        made = range(new.results[number], new.results[number + 1])
        assert live.intersection(made)
        live |= reads(new, number)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (12, 1), (1, 12), (5, 1, 3)])
def test_arranged(shape):
    """The walked axes of a reduction, transposed, are those of its result and then the reduced."""
    size = int(np.prod(shape))
    for count in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            for order in itertools.permutations(range(len(shape))):
                recorder = Recorder(size)
                slots = np.arange(1, size + 1).reshape(shape).transpose(order)
                recorder.reduce("maximum", slots, axes)
                if not recorder.vectors:
                    continue
                (instruction,) = recorder.vectors
                arrangement, reduced = axes_by_result(instruction)
                walked = instruction.operand_slots()[0].transpose(arrangement)
                kept = walked.shape[: walked.ndim - len(reduced)]
                assert np.prod(kept) == np.prod(instruction.result)
                rest = tuple(k for k in range(len(shape)) if k not in axes)
                expected = slots.transpose(*rest, *axes).reshape(instruction.size, -1)
                found = walked.reshape(instruction.size, -1)
                np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))


# stores


def test_more_operations_on_constants_than_the_memo_begins_with():
    builder, tape = Builder(1), Recorder(1)
    for k in range(600):
        assert builder.known(builder.scalar(SIN, builder.constant(k + 0.5), 0)) == np.sin(k + 0.5)
        tape.scalar(OPCODE["power_constant"], 1, tape.constant(0.5 + k))
    slots = replay(tape.finish(np.arange(RESULTS, RESULTS + 600), np.ones(1)), builder, [1])
    assert len(np.unique(slots.at(np.arange(602, 1202)))) == 600
