"""Slots that share places: never two that are live at once, nothing that is needed lost.

Liveness is worked out here by brute force, slot by slot, and says both what an
assignment of places must not do and how much memory no assignment can save.
"""

from dataclasses import replace

import naive
import numpy as np
import pytest
from checks import assert_same_bits, evaluate, workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import SCALAR_STEPS, STEPS, point, random_tape, reads

import numtape as nt
from numtape.run.memory import addresses, unshared
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import VECTOR
from numtape.transform.derivative import adjoint, jacobian_by_rows, tangent
from numtape.transform.passes import optimize

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")


def _last_reads(tape):
    """For each slot the last instruction that reads it; those needed at the end, for ever."""
    last = {}
    for number in range(tape.instructions):
        for slot in reads(tape, number):
            last[slot] = number
    for slot in [*tape.outputs.tolist(), *(guard.slot for guard in tape.guards)]:
        last[slot] = tape.instructions
    return last


def _assert_places_hold(tape):
    """Run the tape on places that remember which slot they hold."""
    places, size = addresses(tape)
    places = np.asarray(places)
    assert len(places) == tape.slots
    assert places.min() >= 0
    assert places.max() < size
    np.testing.assert_array_equal(places[: tape.first_result], np.arange(tape.first_result))
    assert (places[tape.first_result :] >= tape.first_result).all()
    last = _last_reads(tape)
    holds = dict(enumerate(range(tape.first_result)))
    for number in range(tape.instructions):
        made = range(tape.results[number], tape.results[number + 1])
        operands = reads(tape, number)
        for slot in operands:
            assert holds[places[slot]] == slot, f"instruction {number} reads what is not there"
        written = {int(places[slot]) for slot in made}
        assert len(written) == len(made)
        if tape.code[number, 0] == VECTOR:  # it may read after it has begun to write
            _assert_written_as_read(tape.vectors[tape.code[number, 1]], made, places)
        for slot in made:
            before = holds.get(places[slot])
            if before is not None:
                assert last.get(before, -1) <= number, f"{before} is overwritten by {slot}"
            holds[places[slot]] = slot
    for slot in [*tape.outputs.tolist(), *(guard.slot for guard in tape.guards)]:
        assert holds[places[slot]] == slot
    _assert_views_step_evenly(tape, places)


def _assert_written_as_read(instruction, made, places):
    """No element is written over one that is still to be read."""
    written = places[list(made)].reshape(instruction.result)
    for slots in instruction.operand_slots():
        if instruction.kind == "map":
            shared = np.isin(places[slots], written)
            np.testing.assert_array_equal(places[slots][shared], written[shared])
        else:
            assert not np.isin(places[slots], written).any()


def _assert_views_step_evenly(tape, places):
    """What a view without a table reads keeps its distances."""
    for instruction in tape.vectors:
        for view, slots in zip(instruction.operands, instruction.operand_slots()):
            if view.table is None and slots.size:
                base = slots.ravel()[0]
                np.testing.assert_array_equal(places[slots] - places[base], slots - base)
        results = tape.results[:-1][tape.code[:, 0] == VECTOR]
        sizes = tape.code[tape.code[:, 0] == VECTOR, 2]
        for start, count in zip(results.tolist(), sizes.tolist()):
            np.testing.assert_array_equal(np.diff(places[start : start + count]), 1)


def minimum(tape):
    """The most slots that are live at once: operands and results of an instruction both are.

    A scalar or an elementwise instruction may write where it reads for the last time.
    """
    last = _last_reads(tape)
    dying = [[] for _ in range(tape.instructions + 1)]
    for slot, number in last.items():
        if slot >= tape.first_result:
            dying[number].append(slot)
    live = peak = 0
    for number in range(tape.instructions):
        made = range(tape.results[number], tape.results[number + 1])
        opcode, vector, _ = tape.code[number]
        in_place = opcode != VECTOR or tape.vectors[vector].kind == "map"
        if in_place:
            live -= len(dying[number])
        live += len(made)
        peak = max(peak, live)
        if not in_place:
            live -= len(dying[number])
        live -= sum(slot not in last for slot in made)
    return tape.first_result + peak


# random tapes


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=150)
def test_no_place_is_taken_twice(steps, seed):
    tape = random_tape(steps, seed)
    for each in (tape, replace(tape, guards=()), optimize(tape)):
        _assert_places_hold(each)


@given(SCALAR_STEPS, st.integers(0, 1000))
@settings(max_examples=100)
def test_scalar_tapes_need_the_minimum(steps, seed):
    """One place for each slot that is live: nothing has to lie side by side."""
    tape = replace(random_tape(steps, seed), guards=())
    _assert_places_hold(tape)
    assert addresses(tape)[1] == minimum(tape)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=100)
def test_runs_are_as_without_sharing(steps, seed):
    """Kernels with shared places, kernels with a place for each slot, and the interpreter."""
    tape = random_tape(steps, seed)
    bare = replace(tape, guards=())
    with np.errstate(all="ignore"):
        for name in ("normal", "special"):
            x = point(name, seed + 1)
            values = naive.evaluate(tape, x)
            y, z = np.empty(len(tape.outputs)), np.empty(len(tape.outputs))
            one, other = workspace(tape), Workspace(Plan(tape, share=False))
            failed = one.plan.evaluate(one.handle, x, y)
            assert failed == other.plan.evaluate(other.handle, x, z)
            expected = naive.failed_guard(tape, values)
            assert failed == expected
            free = workspace(bare)
            assert free.plan.evaluate(free.handle, x, y) == -1
            np.testing.assert_allclose(y, values[tape.outputs], rtol=1e-12)
            if failed < 0:
                assert_same_bits(z, y)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=30)
def test_a_workspace_serves_again_and_again(steps, seed):
    """Nothing of one run is left for the next."""
    tape = replace(random_tape(steps, seed), guards=())
    memory = workspace(tape)
    with np.errstate(all="ignore"):
        for k in range(4):
            x, y = point(["normal", "special"][k % 2], seed + k), np.empty(len(tape.outputs))
            memory.plan.evaluate(memory.handle, x, y)
            fresh, z = workspace(tape), np.empty(len(tape.outputs))
            fresh.plan.evaluate(fresh.handle, x, z)
            assert_same_bits(y, z)


def test_unshared():
    tape = nt.record(lambda x: np.sum(np.sin(x) * x), np.linspace(0.1, 1.0, 12)).flat
    places, size = unshared(tape)
    np.testing.assert_array_equal(places, np.arange(tape.slots))
    assert size == tape.slots


# recorded programs


def scalars_read_as_an_array(x):
    a = np.array([np.sin(value) for value in x])
    b = np.array([np.cos(value) for value in x[::-1]])
    return np.sum(np.exp(a) * b[::-1]) + np.prod(a[::2]) + b[3]


def in_pieces(x):
    y = np.zeros_like(x)
    for k in range(0, len(x), 3):
        y[k : k + 3] = np.tanh(x[k : k + 3]) * y[k - 1]
        y = y * 1.5
    return np.cumsum(y @ np.outer(y, x))


def outputs_in_between(x):
    outputs = []
    for _ in range(5):
        x = np.sin(x) + x[::-1]
        outputs += [x[3], np.sum(x), x[2:4]]
    return outputs


def inputs_and_constants_as_outputs(x):
    return [x, 3.0, x[::-1] * 1.0, np.arange(3.0)]


PROGRAMS = [
    scalars_read_as_an_array,
    in_pieces,
    outputs_in_between,
    inputs_and_constants_as_outputs,
]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_recorded_programs(function):
    x = np.linspace(0.3, 1.4, 12)
    flat = nt.record(function, x).flat
    for tape in (flat, optimize(flat), jacobian_by_rows(flat, np.arange(12))):
        _assert_places_hold(tape)
        np.testing.assert_allclose(evaluate(tape, x), naive.run(tape, x), rtol=1e-12, atol=1e-14)


def test_values_of_guards_are_there_to_be_told():
    """A failing guard names both values it compared, though much ran after it."""

    def f(x):
        total = np.sum(np.sin(x))
        if total * 2.0 > x[0]:
            for _ in range(20):
                x = np.cos(x) * total
        return np.sum(x)

    tape = nt.record(f, np.full(12, 0.5))
    x = np.full(12, -0.5)
    total = 2.0 * float(np.sum(np.sin(x)))
    for call in (tape, tape.gradient, tape.adjoint()):
        with pytest.raises(nt.BranchError) as caught:
            call(x)
        assert f"{total!r} > -0.5 is False" in str(caught.value)


# layers


def layers(count):
    weights = np.cos(np.arange(count)) * 0.1 + 1.0

    def network(x):
        for weight in weights.tolist():
            x = np.tanh(x * weight) + 0.1 * x[::-1]
        return np.sum(x * x)

    return network


def dense(count, width):
    matrices = np.sin(np.arange(count * width * width)).reshape(count, width, width) / width

    def network(x):
        for matrix in matrices:
            x = np.tanh(matrix @ x) + x
        return np.sum(x * x)

    return network


def _memory_of_gradient(function, x):
    tape = jacobian_by_rows(nt.record(function, x, roll=False).flat, np.arange(len(x)))
    return tape, addresses(tape)[1] - tape.first_result, minimum(tape) - tape.first_result


@pytest.mark.parametrize("size", [20, 1000])
def test_gradient_of_a_hundred_layers(size):
    tape, places, least = _memory_of_gradient(layers(100), np.linspace(-1.0, 1.0, size))
    assert least <= places <= 1.3 * least
    assert places < 0.6 * (tape.slots - tape.first_result)


def test_gradient_of_dense_layers():
    _, places, least = _memory_of_gradient(dense(100, 12), np.linspace(-1.0, 1.0, 12))
    assert least <= places <= 1.3 * least


def test_arrays_of_different_sizes():
    """Gaps are filled by what fits."""

    def f(x):
        total = 0.0
        for k in range(20):
            piece = np.exp(x[: 20 + 37 * k % 40] * 0.01)
            total = total + np.sum(np.outer(piece[:4], piece[:5]) * 2.0) + np.sum(piece)
        return total

    tape, places, least = _memory_of_gradient(f, np.linspace(-1.0, 1.0, 60))
    _assert_places_hold(tape)
    assert least <= places <= 1.3 * least


def test_a_long_loop_needs_two_arrays():
    flat = nt.record(lambda x: layers(50)(x), np.linspace(-1.0, 1.0, 500)).flat
    assert addresses(flat)[1] - flat.first_result <= 4 * 500


def test_seeded_tapes():
    flat = nt.record(layers(100), np.linspace(-1.0, 1.0, 50)).flat
    for tape in (tangent(flat), adjoint(flat)):
        least = minimum(tape) - tape.first_result
        assert least <= addresses(tape)[1] - tape.first_result <= 1.3 * least


def test_a_scalar_loop_of_a_thousand_steps_needs_few_places():
    def f(x):
        for _ in range(1000):
            x = np.sin(x) * 1.1 + 0.1
        return x

    flat = nt.record(f, 0.5).flat
    assert addresses(flat)[1] - flat.first_result <= 2
