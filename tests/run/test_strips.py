"""Groups that run strip by strip: which there are, their places, and the same bits as without."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from checks import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import STEPS, long_point, long_tape, point, random_tape

import numtape as nt
from numtape.functions.trees import flatten
from numtape.jit.compiling import QUICK, settle
from numtape.run import _kernels, fusion
from numtape.run import strips as strips_module
from numtape.run.memory import addresses
from numtape.run.strips import NO_STRIPS, Strips, strips_of
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import VECTOR

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

STRIP = 64 if numba.config.DISABLE_JIT else _kernels.STRIP
LONG = 3 * STRIP + 5
WORTH_CODE = 8192
_NUMBER = st.integers(0, 2**16)
_KINDS = ["map"] * 8 + ["view", "scalar", "reduce", "gather"]
LONG_STEPS = st.lists(
    st.tuples(st.sampled_from(_KINDS), _NUMBER, _NUMBER, _NUMBER), min_size=4, max_size=24
)


@pytest.fixture(scope="module", autouse=True)
def short_arrays():
    """Strips also where arrays are short, and of few elements where Python runs the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips_module, "_LONG", 2)
        patch.setattr(_kernels, "STRIP", STRIP)
        yield


# Which there are.


def groups_of(function, *arguments):
    return [rows.tolist() for rows in strips_of(nt.record(function, *arguments).flat).groups]


X = np.linspace(0.1, 1.0, 24)


def test_what_follows_element_by_element_is_a_group():
    assert groups_of(lambda x: np.exp(np.sin(x) * x), X) == [[0, 1, 2]]


def test_inputs_may_be_read_in_any_even_order():
    assert groups_of(lambda x: np.exp(np.sin(x[::-1])) * x[3], X) == [[0, 1, 2]]
    assert groups_of(lambda x: np.exp(np.sin(x[::2])) * x[12:], X) == [[0, 1, 2]]


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y[::-1],
        lambda y: y[[*range(1, 24), 0]],
        lambda y: y.reshape(4, 6)[:, ::-1],
        np.cumsum,
    ],
)
def test_results_of_a_group_are_read_in_order(change):
    def f(x):
        y = np.exp(np.sin(x))
        z = change(y)
        return np.cos(np.tanh(z)) + 2.0

    first, second = groups_of(f, X)
    assert first == [0, 1]
    assert first[-1] < second[0]


def test_other_sizes_and_single_instructions_make_no_group():
    assert groups_of(lambda x: np.sin(x[:20]) * np.exp(x[1]), X) == []
    assert groups_of(lambda x: (np.sin(x), np.sin(x[:20])), X) == []
    assert groups_of(lambda x: np.sin(np.zeros(0)) * x[:0], X) == []


def test_what_stands_between_runs_afterwards():
    """A sum of what the group makes, that the group does not need."""

    def f(x):
        y = np.sin(x)
        total = np.sum(y)
        return total * 2.0, np.exp(y) * y

    tape = nt.record(f, X).flat
    strips = strips_of(tape)
    (rows,) = strips.groups
    order = strips.order(tape.instructions)
    np.testing.assert_array_equal(order[: len(rows)], rows)
    assert sorted(order.tolist()) == list(range(tape.instructions))


def test_what_is_needed_in_between_ends_a_group():
    def f(x):
        y = np.exp(np.sin(x))
        total = np.sum(y)
        return np.exp(y * total)

    assert len(groups_of(f, X)) == 2


def test_members_are_near_each_other(monkeypatch):
    def f(x):
        y = np.exp(np.sin(x))
        total = x[0]
        for _ in range(5):
            total = np.sin(total) * total
        return total, np.cos(np.tanh(y))

    tape = nt.record(f, X, roll=False).flat
    assert len(strips_of(tape).groups) == 1
    monkeypatch.setattr(strips_module, "_BETWEEN", 4)
    assert len(strips_of(tape).groups) == 2


# Their places.


def _slots_and_places(tape, strips):
    """The place of each slot while it is there, and how many there are."""
    places, size = addresses(tape, strips=strips)
    found = np.asarray(places)
    for rows in strips.groups:
        for row in rows.tolist():
            start, stop = tape.results[row : row + 2]
            if found[start] >= places.strips:
                found[start:stop] = found[start] + np.arange(stop - start) % _kernels.STRIP
    assert found.min() >= 0
    assert found.max() < size
    return found


def _assert_strips_hold(tape, strips):
    """Run the tape, groups strip by strip, on places that remember which slot they hold."""
    places = _slots_and_places(tape, strips)
    holds = dict(zip(places[: tape.first_result].tolist(), range(tape.first_result)))
    groups = {int(rows[0]): rows.tolist() for rows in strips.groups}
    members = {row for rows in groups.values() for row in rows}

    def run(row, part=slice(None)):
        opcode, a, b = tape.code[row].tolist()
        made = np.arange(*tape.results[row : row + 2])[part]
        operands = [np.array([a, b])]
        if opcode == VECTOR:
            operands = [slots.ravel()[part] for slots in tape.vectors[a].operand_slots()]
        for slots in operands:
            assert all(holds[places[slot]] == slot for slot in slots.tolist()), f"instruction {row}"
            if opcode == VECTOR and tape.vectors[a].kind == "map":
                shared = np.isin(places[slots], places[made])
                np.testing.assert_array_equal(places[slots][shared], places[made][shared])
        holds.update(zip(places[made].tolist(), made.tolist()))

    for row in strips.order(tape.instructions).tolist():
        if row in groups:
            for start in range(0, int(tape.code[row, 2]), _kernels.STRIP):
                for member in groups[row]:
                    run(member, slice(start, start + _kernels.STRIP))
        elif row not in members:
            run(row)
    for slot in [*tape.outputs.tolist(), *(guard.slot for guard in tape.guards)]:
        assert holds[places[slot]] == slot


@given(STEPS, st.integers(0, 1000), st.sampled_from([1, 3, 4, 8, 30]))
@settings(max_examples=150)
def test_no_place_is_taken_before_its_time(steps, seed, strip):
    tape = random_tape(steps, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "STRIP", strip)
        for each in (tape, replace(tape, guards=())):
            _assert_strips_hold(each, strips_of(each))


@given(LONG_STEPS, st.integers(0, 1000), st.sampled_from([3, 7, 16]))
@settings(max_examples=150)
def test_no_place_is_taken_before_its_time_among_many_maps(steps, seed, strip):
    tape = long_tape(steps, seed, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "STRIP", strip)
        _assert_strips_hold(tape, strips_of(tape))


# The same bits as without.


def run(plan, x):
    """The outputs at x, and the guard that does not hold."""
    memory, y = Workspace(plan), np.empty(len(plan.tape.outputs))
    with np.errstate(all="ignore"):
        failed = plan.evaluate(memory.handle, x, y)
    return failed, y


def assert_same_run(plan, other, x):
    one, two = run(plan, x), run(other, x)
    assert one[0] == two[0]
    if one[0] == _kernels.FINE:
        assert_same_bits(one[1], two[1])


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=60)
def test_random_tapes(steps, seed):
    tape = random_tape(steps, seed)
    stripped, plain = Plan(tape, strips=strips_of(tape)), Plan(tape, share=False)
    for name in ("normal", "special"):
        assert_same_run(stripped, plain, point(name, seed + 1))


@pytest.mark.parametrize("size", [STRIP - 1, STRIP, STRIP + 1, LONG])
@given(LONG_STEPS, st.integers(0, 1000))
@settings(max_examples=12)
def test_random_long_tapes(size, steps, seed):
    tape = long_tape(steps, seed, size)
    strips = strips_of(tape)
    assert_same_run(Plan(tape, strips=strips), Plan(tape, share=False), long_point(seed + 1, size))


@given(LONG_STEPS, st.integers(0, 1000))
@settings(max_examples=12)
def test_random_long_tapes_with_machine_code(steps, seed):
    """Functions of other instructions beside strips."""
    tape = long_tape(steps, seed, 4096)
    strips = strips_of(tape)
    compiled = Plan(tape, strips=strips)
    compiled.compile(QUICK)
    assert_same_run(compiled, Plan(tape, share=False), long_point(seed + 1, 4096))


def chain(x, steps=5):
    y = x
    for _ in range(steps):
        y = np.sin(y) * x + np.exp(-y * y)
    return y


def in_between(x):
    """A sum, a guard and a gather on the way, and outputs inside groups."""
    y = np.sin(x) * x
    total = np.sum(y)
    z = np.exp(-y) + y[::-1]
    if total > 0.0:
        z = z * total
    w = np.tanh(z) + z
    return w[::3], np.sum(w * y), z[5], np.max(w[np.arange(len(x)) * 7 % len(x)])


def backwards(x):
    """What a group reads backwards has to be there for all of its strips."""
    a = np.cumsum(x)
    y = np.sin(a[::-1])
    z = np.exp(y) * 2.0
    return z, np.sum(z[::-1] * y)


@pytest.mark.parametrize("function", [chain, in_between, backwards], ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [STRIP, LONG])
def test_recorded_programs_have_numpys_bits(function, size):
    tape = nt.record(function, np.linspace(0.1, 1.0, size))
    x = np.linspace(0.2, 2.0, size)
    expected = function(x)
    assert tape.runner.plan().strips.groups
    for one, other in zip(flatten(tape(x))[0], flatten(expected)[0]):
        assert_same_bits(one, other)


def test_a_guard_after_a_group_is_told():
    def f(x):
        y = np.exp(np.sin(x))
        return y * 2.0 if np.sum(y) > 24.0 else y

    tape = nt.record(f, X)
    assert tape.runner.plan().strips.groups
    with pytest.raises(nt.BranchError, match=r"> 24.0 is False"):
        tape(-X)


def loss(x):
    return np.sum(chain(x))


@pytest.mark.parametrize("ways", [nt.grad, nt.value_and_grad])
def test_a_gradient_of_elementwise_code_needs_few_arrays(ways):
    """Forward and backward, also beside the value, what is computed on the way is private."""
    size = 40 * STRIP
    x = np.linspace(0.1, 1.0, size)
    tape = nt.record(loss, x)
    (tape.gradient if ways is nt.grad else tape.value_and_gradient)(x)
    (runner,) = tape.runner.derived.values()
    (rows,) = runner.plan().strips.groups
    assert len(rows) > 70
    assert runner.plan().size < 3.7 * size + 30 * STRIP
    plain = Plan(runner.tape, vector_maths=runner._vector_maths)
    assert plain.size > 20 * size
    assert_same_run(runner.plan(), plain, x)


# Machine code in place of strips.


def test_code_takes_the_place_of_strips():
    x = np.linspace(0.1, 1.0, WORTH_CODE)
    tape = nt.record(loss, x)
    before = tape.gradient(x)
    (runner,) = tape.runner.derived.values()
    assert runner.plan().strips.groups
    tape.compile()
    assert not runner.plan().strips.groups
    assert runner.plan().machine_code is not None
    np.testing.assert_allclose(tape.gradient(x), before, rtol=1e-14)
    # Its own way is chosen anew.
    assert runner.workspace().plan is runner.plan()


def test_groups_without_code_stay():
    """NumPy's sine is nothing that machine code has."""
    x = np.linspace(0.1, 1.0, WORTH_CODE)

    def f(x):
        y = np.sin(x) * x + 1.0
        return y, np.sum(np.sqrt(y) * y - 2.0)

    tape = nt.record(f, x)
    before = tape(x)
    tape.compile()
    assert tape.runner.plan().machine_code is not None
    (rows,) = tape.runner.plan().strips.groups
    assert len(rows) == 6
    for one, other, plain in zip(tape(x), before, f(x)):
        assert_same_bits(one, other)
        assert_same_bits(one, plain)


def test_functions_run_beside_strips():
    """What a function writes a group reads, and the other way round."""
    x = np.linspace(0.1, 1.0, WORTH_CODE)

    def f(x):
        y = np.sqrt(x) * x + 1.0
        z = np.sin(y[::-1]) + y
        w = np.sqrt(z[::-1]) * 3.0 - np.sum(z)
        return np.cos(w) * y, w

    tape = nt.record(f, x)
    everything = strips_of(tape.flat)
    left = fusion.unfused(tape.flat, everything, None)
    assert 0 < len(left.groups) < len(everything.groups)
    tape.compile()
    for one, plain in zip(tape(x), f(x)):
        assert_same_bits(one, plain)


def test_code_made_in_the_background_takes_over():
    x = np.linspace(0.1, 1.0, WORTH_CODE)
    tape = nt.record(loss, x)
    before = tape.gradient(x)
    (runner,) = tape.runner.derived.values()
    runner.plan().notice_after(3)
    for _ in range(4):
        assert_same_bits(tape.gradient(x), before)
    settle()
    assert runner.plan().machine_code is not None
    assert not runner.plan().strips.groups
    np.testing.assert_allclose(tape.gradient(x), before, rtol=1e-14)


def test_nothing_of_a_tape_of_scalars_is_in_strips():
    tape = nt.record(lambda x: np.sin(x) * x, 0.5).flat
    assert strips_of(tape) is NO_STRIPS
    assert fusion.unfused(tape, NO_STRIPS, None) is NO_STRIPS
    np.testing.assert_array_equal(Strips(()).order(3), [0, 1, 2])
