"""The structure of Jacobians: kernels against twins in Python, tapes against their derivatives."""

import numpy as np
import pytest
from checks import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from random_loops import random_loops
from random_tapes import POINTS, STEPS, point, random_tape

import numtape as nt
from numtape.kinds import KINDS
from numtape.kinds.flow import RESULT, ROOM
from numtape.ops.table import ROWS
from numtape.sparse.dependencies import dependencies
from numtape.sparse.sets import LIMIT
from numtape.tape.flat import VECTOR, FlatTape
from numtape.transform.derivative import jacobian_by_columns
from numtape.transform.unrolling import unrolled


def structure(tape: FlatTape) -> np.ndarray:
    """Return the dependencies as a matrix of bools."""
    indptr, indices = dependencies(tape)
    found = np.zeros((len(tape.outputs), tape.inputs), bool)
    for row in range(len(tape.outputs)):
        own = indices[indptr[row] : indptr[row + 1]]
        assert (np.diff(own) > 0).all()
        found[row, own] = True
    return found


def twin(tape: FlatTape) -> np.ndarray:
    """Find the dependencies with Python's sets, element by element."""
    tape = unrolled(tape)
    sets: list[set[int]] = [set() for _ in range(tape.slots)]
    for k in range(tape.inputs):
        sets[tape.first_input + k] = {k}
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        start = int(tape.results[number])
        if opcode != VECTOR:
            for partial, slot in zip(ROWS[opcode].partials, (a, b), strict=False):
                if partial != "0":
                    sets[start] = sets[start] | sets[slot]
            continue
        instruction = tape.vectors[a]
        kind = KINDS[instruction.kind]
        if kind.is_flat(instruction):
            continue
        room: dict[int, set[int]] = {}
        for flow in kind.flows(instruction):
            slots = None
            if flow.source >= 0:
                slots = instruction.operand_slots()[flow.source]
            for place, at in enumerate(np.ndindex(*flow.shape)):
                if slots is not None:
                    own = sets[int(slots[at])]
                else:
                    source = flow.source_start + int(np.dot(at, flow.by))
                    own = sets[start + source] if flow.source == RESULT else room.get(source, set())
                if flow.table is not None:
                    target = int(flow.table[place])
                else:
                    target = flow.target_start + int(np.dot(at, flow.to))
                if flow.target == ROOM:
                    room[target] = room.get(target, set()) | own
                else:
                    sets[start + target] = sets[start + target] | own
    found = np.zeros((len(tape.outputs), tape.inputs), bool)
    for row, slot in enumerate(tape.outputs.tolist()):
        found[row, list(sets[slot])] = True
    return found


def nonzeros(tape: FlatTape, x: np.ndarray) -> np.ndarray:
    rows, columns = len(tape.outputs), tape.inputs
    flat = jacobian_by_columns(tape, np.arange(columns), with_value=False)
    found = evaluate(flat, x).reshape(rows, columns)
    return (found != 0) & ~np.isnan(found)  # a dense row may be nan all over


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 10**6), st.sampled_from(POINTS))
def test_random_tapes(steps, seed, kind):
    tape = random_tape(steps, seed).changed(guards=())
    found = structure(tape)
    np.testing.assert_array_equal(found, twin(tape))
    try:
        moved = nonzeros(tape, point(kind, seed))
    except nt.UnsupportedError:  # a partial without a closed form
        return
    assert not (moved & ~found).any()


@pytest.mark.parametrize("seed", range(12))
def test_loops(seed):
    tape = random_loops(seed).changed(guards=())
    found = structure(tape)
    np.testing.assert_array_equal(found, twin(tape))
    x = np.random.default_rng(seed).uniform(0.2, 1.0, tape.inputs)
    assert not (nonzeros(tape, x) & ~found).any()


def matrices(x):
    return np.linalg.solve(np.stack([x[:2, :2] + 2.0, x[2:4, 2:4] + 3.0]), np.ones((2, 2, 1)))


EXACT = {
    "shifted": (lambda x: x[1:] * x[:-1] - np.sin(x[1:]), np.linspace(0.5, 1.5, 30)),
    "running sum": (np.cumsum, np.linspace(0.5, 1.5, 20)),
    "running sum of a matrix": (
        lambda x: x.T[::-1].cumsum(1),
        np.linspace(0.5, 1.5, 30).reshape(6, 5),
    ),
    "product": (lambda x: x[:3] @ x[3:].T, np.linspace(0.5, 1.5, 30).reshape(6, 5)),
    "systems": (matrices, np.linspace(0.5, 1.5, 30).reshape(6, 5)),
    "reduced": (lambda x: x.sum(0) * x, np.linspace(0.5, 1.5, 30).reshape(6, 5)),
    "gathered": (lambda x: x[np.arange(30) % 7] * x, np.linspace(0.5, 1.5, 30)),
    "scattered": (lambda x: np.add.reduceat(x, [0, 4, 9]), np.linspace(0.5, 1.5, 30)),
    "products": (lambda x: np.prod(x, axis=1), np.linspace(0.5, 1.5, 30).reshape(6, 5)),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_structure_is_exact(name):
    function, x = EXACT[name]
    tape = nt.record(function, x)
    np.testing.assert_array_equal(structure(tape.flat), nonzeros(tape.flat, x.ravel()))


def test_what_is_read_at_places_found_during_the_run_may_be_any_of_its_row():
    tape = nt.record(lambda x: np.sort(x, axis=1), np.random.default_rng(0).random((2, 10)))
    found = structure(tape.flat)
    np.testing.assert_array_equal(found, np.kron(np.eye(2, dtype=bool), np.ones((10, 10), bool)))


def test_long_rows_are_unions_of_others():
    count = 3 * LIMIT
    tape = nt.record(lambda x: np.cumsum(x) * np.sum(x[::2]), np.ones(count))
    found = structure(tape.flat)
    expected = np.tri(count, dtype=bool)
    expected[:, ::2] = True
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, twin(tape.flat))


def test_much_that_is_read_again_and_again():
    def mixed(x):
        for _ in range(12):
            x = x * x[::-1] + np.roll(x, 17)
        return x

    tape = nt.record(mixed, np.linspace(0.1, 0.2, 300))
    np.testing.assert_array_equal(structure(tape.flat), twin(tape.flat))


def test_a_tape_without_outputs_or_without_inputs():
    assert structure(nt.record(lambda x: x[:0], np.ones(3)).flat).shape == (0, 3)
    with pytest.warns(nt.ConstantResultWarning):
        tape = nt.record(lambda x: np.ones(2), np.ones(0))
    assert structure(tape.flat).shape == (2, 0)
