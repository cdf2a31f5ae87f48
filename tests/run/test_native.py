"""Machine code against the interpreter: the same bits, whatever is run."""

import numpy as np
import pytest
from checks import assert_same_bits, evaluate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_tapes import INPUTS, POINTS, SCALAR_STEPS, STEPS, point, random_tape

import numtape as nt
from numtape.jit.compiling import QUICK, THOROUGH
from numtape.ops.table import OPCODE, ROWS
from numtape.run import emitter, native
from numtape.run.batch import Batch
from numtape.run.emitter import Form
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import Guard, Location
from numtape.trace.recorder import Recorder

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -2.5, 1e-320, -1e-320, 1e308, np.inf, -np.inf, np.nan]
NO_SHARED = np.zeros(INPUTS, bool)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Tapes of the tests are short; so are the functions then that they are cut into."""
    monkeypatch.setattr(native, "_CHUNK", 7)


def compiled(tape, x, effort=QUICK):
    """Outputs and status of machine code at x."""
    plan = Plan(tape)
    plan.compile(effort)
    workspace, y = Workspace(plan), np.empty(len(tape.outputs))
    assert plan.machine_code is not None
    return y, plan.evaluate(workspace.handle, x, y)


def interpreted(tape, x):
    plan, y = Plan(tape), np.empty(len(tape.outputs))
    return y, plan.evaluate(Workspace(plan).handle, x, y)


OPERANDS = np.array([(a, b) for a in SPECIAL for b in SPECIAL])


def random_points(kind: str, seed: int, count: int = 19) -> np.ndarray:
    return np.array([point(kind, seed + k) for k in range(count)])


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(
    steps=st.one_of(SCALAR_STEPS, STEPS),
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(POINTS),
    effort=st.sampled_from([QUICK, THOROUGH]),
)
def test_random_tapes_at_a_point(steps, seed, kind, effort):
    tape = random_tape(steps, seed)
    plan, other = Plan(tape), Plan(tape)
    plan.compile(effort)
    workspace, memory = Workspace(plan), Workspace(other)
    for x in (*random_points(kind, seed, 4), tape.point):
        y, expected = np.empty(len(tape.outputs)), np.empty(len(tape.outputs))
        status = other.evaluate(memory.handle, x, expected)
        assert plan.evaluate(workspace.handle, x, y) == status
        if status < 0:
            assert_same_bits(y, expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    steps=SCALAR_STEPS,
    seed=st.integers(0, 2**16),
    mask=st.integers(0, 2**INPUTS - 1),
    kind=st.sampled_from(POINTS),
)
def test_random_tapes_in_lanes(steps, seed, mask, kind):
    tape = random_tape(steps, seed)
    shared = np.array([mask >> k & 1 for k in range(INPUTS)], bool)
    x = random_points(kind, seed)
    x = np.where(shared, x[:1], x)
    assert_batches_agree(tape, x, shared)


def assert_batches_agree(tape, x, shared, pairs: bool = False) -> None:
    """The same bits but for sines and cosines that come together, and the same failures."""
    results = []
    for is_native in (False, True):
        batch = Batch(tape, shared)
        if is_native:
            batch.compile(QUICK)
            assert batch.plan.machine_code is not None
        outputs = np.full((len(x), len(tape.outputs)), 77.0)
        varying = [np.ascontiguousarray(x[:, ~shared])]
        failures = batch.run(x[0][shared], varying, [outputs], len(x))
        results.append((outputs, failures))
    (expected, failed), (outputs, found) = results
    if pairs:
        np.testing.assert_allclose(outputs, expected, rtol=1e-15)
    else:
        assert_same_bits(outputs, expected)
    assert found.points.tolist() == failed.points.tolist()
    assert found.guards.tolist() == failed.guards.tolist()
    assert_same_bits(found.outcomes, failed.outcomes)


WIDTHS = {"avx512f": Form(8, "e"), "avx2": Form(4, "d"), "sse2": Form(2, "b")}


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row(width, monkeypatch):
    """All rows on one tape, at special numbers: at a point, and in lanes of every width."""
    if emitter.vector_form().mark in "edb" and WIDTHS[width] <= emitter.vector_form():
        monkeypatch.setattr(emitter, "vector_form", lambda: WIDTHS[width])
    recorder = Recorder(2)
    results = [recorder.scalar(opcode, 1, 2 * row.arity - 2) for opcode, row in enumerate(ROWS)]
    tape = recorder.finish(np.array(results), np.array([0.5, 0.75]))
    plan = Plan(tape)
    plan.compile(QUICK)
    workspace, out = Workspace(plan), np.empty(len(ROWS))
    for pair in OPERANDS:
        assert plan.evaluate(workspace.handle, pair, out) == -1
        assert_same_bits(out, evaluate(tape, pair))
    assert_batches_agree(tape, OPERANDS, np.zeros(2, bool), pairs=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_with_every_other(width, monkeypatch):
    """All forms of all rows in one module: free, as guards need them, and with 2.0 for y."""
    monkeypatch.setattr(native, "_CHUNK", 1 << 20)
    if emitter.vector_form().mark in "edb" and WIDTHS[width] <= emitter.vector_form():
        monkeypatch.setattr(emitter, "vector_form", lambda: WIDTHS[width])
    recorder = Recorder(3)
    two = recorder.constant(2.0)
    binary = [opcode for opcode, row in enumerate(ROWS) if row.arity == 2]
    results = [recorder.scalar(opcode, 1, 2 * row.arity - 2) for opcode, row in enumerate(ROWS)]
    results += [recorder.scalar(opcode, 1, two) for opcode in binary]
    guarded = [recorder.scalar(opcode, 3, 3 * row.arity - 3) for opcode, row in enumerate(ROWS)]
    guarded += [recorder.scalar(opcode, 3, two) for opcode in binary]
    for slot in guarded:  # is it itself, or is it not?
        same, other = (recorder.scalar(OPCODE[n], slot, slot) for n in ("equal", "not_equal"))
        recorder.guard(recorder.scalar(OPCODE["logical_or"], same, other), 1.0, Location("f", 1))
    tape = recorder.finish(np.array([*results, *guarded]), np.array([0.5, 0.75, 0.5]))
    plan = Plan(tape)
    plan.compile(THOROUGH)
    workspace, out = Workspace(plan), np.empty(len(tape.outputs))
    points = np.column_stack([OPERANDS, OPERANDS[::-1, 0]])
    for x in points:
        assert plan.evaluate(workspace.handle, x, out) == -1
        assert_same_bits(out, evaluate(tape, x))
    assert_batches_agree(tape, points, np.zeros(3, bool), pairs=True)


def test_guards_end_a_run_early():
    def function(x):
        total = x[0] * 2.0
        for k in range(1, 12):
            total = total + x[k] if x[k] > 0.0 else total * x[k]
        return total

    x = np.ones(12)
    tape = nt.record(function, x)
    plain = nt.record(function, x)
    tape.compile(quick=True)
    for k in range(1, 12):
        other = x.copy()
        other[k:] = -1.0
        with pytest.raises(nt.BranchError) as found:
            tape(other)
        with pytest.raises(nt.BranchError) as expected:
            plain(other)
        assert str(found.value) == str(expected.value)
        assert found.value.guard == expected.value.guard
    assert tape(x) == plain(x) == function(x)


def test_guards_out_of_order_are_looked_at_in_order():
    recorder = Recorder(1)
    results = [
        recorder.scalar(OPCODE["greater"], 1, recorder.constant(0.0)),
        recorder.scalar(OPCODE["less"], 1, recorder.constant(5.0)),
    ]
    tape = recorder.finish(np.array(results), np.array([1.0]))
    first, second = tape.outputs.tolist()
    here = Location("here", 1)
    tape = tape.changed(guards=(Guard(second, 1.0, here), Guard(first, 1.0, here)))
    for value, status in ((1.0, -1), (-1.0, 1), (7.0, 0)):
        x = np.array([value])
        assert compiled(tape, x)[1] == interpreted(tape, x)[1] == status


def test_a_product_of_zero_and_infinity_is_zero():
    """What `scale` is for: the machine code leaves such a run to the kernel."""
    tape = nt.record(lambda x: np.sqrt(np.maximum(x[0], 0.0)) + x[1] * x[1], np.array([2.0, 3.0]))
    expected = tape.gradient(np.array([-1.0, 3.0]))
    tape.compile(quick=True)
    assert_same_bits(tape.gradient(np.array([-1.0, 3.0])), expected)
    assert_same_bits(expected, [0.0, 6.0])
    many = np.array([[-1.0, 3.0], [4.0, 1.0]] * 40)
    assert_same_bits(tape.gradient(many), [[0.0, 6.0], [0.25, 2.0]] * 40)


def test_sines_and_cosines_of_one_argument_come_together():
    def function(x):
        return np.sin(x[0]) * np.cos(x[0]) + np.sin(x[2])

    x = np.random.default_rng(0).normal(size=(50, 12)) * 3
    tape = nt.record(function, x[0]).flat
    code = Batch(tape, NO_SHARED)
    code.compile(QUICK)
    text = "".join(code.plan._native_code().modules)
    if hasattr(emitter.vector_library(), native._sincos(emitter.vector_form())):
        assert text.count("call void @_ZGV") == 1
    assert_batches_agree(tape, x, NO_SHARED, pairs=True)


def test_outputs_that_are_inputs_constants_or_the_same_twice():
    recorder = Recorder(2)
    f = recorder.scalar(OPCODE["multiply"], 1, 2)
    slots = [1, f, recorder.constant(3.0), f, 2]
    tape = recorder.finish(np.array(slots), np.array([1.0, 2.0]))
    many = np.random.default_rng(0).normal(size=(11, 2))
    for shared in ([False, False], [True, False], [True, True]):
        shared = np.array(shared)
        assert_batches_agree(tape, np.where(shared, many[:1], many), shared)
    assert_same_bits(compiled(tape, many[3])[0], interpreted(tape, many[3])[0])


def test_tapes_without_instructions():
    tape = nt.record(lambda x: x, np.ones(3)).compile()
    assert_same_bits(tape(np.arange(3.0)), np.arange(3.0))
    assert_same_bits(tape(np.ones((5, 3))), np.ones((5, 3)))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 71, 72, 73, 145])
def test_any_number_of_points(count):
    tape = nt.record(lambda x: np.exp(x[0]) / x[1] + x[2], np.ones(3))
    x = np.random.default_rng(0).uniform(0.5, 2, (count, 3))
    expected = tape.value_and_gradient(x)
    tape.compile(quick=True)
    found = tape.value_and_gradient(x)
    assert_same_bits(found[0], expected[0])
    assert_same_bits(found[1], expected[1])


def test_many_short_runs_of_scalars_are_left_to_the_interpreter():
    """A loop over small matrices would take LLVM minutes, and gain nothing."""

    def steps(x, count):
        matrix = np.outer(x, x) + np.eye(4)
        for _ in range(count):
            matrix = matrix @ matrix / (np.sin(matrix[0, 0]) + 3.0)
        return matrix[0, 1]

    x = np.linspace(0.1, 0.4, 4)
    for count, is_compiled in ((10, True), (100, False)):
        tape = nt.record(lambda x, count=count: steps(x, count), x)
        plan = Plan(tape.flat)
        code = native.point_code(plan.tape, plan.places, plan.segments)
        assert bool(code.functions) == is_compiled
        expected = tape(x), tape.gradient(x)
        tape.compile()
        assert_same_bits(tape(x), expected[0])
        np.testing.assert_allclose(tape.gradient(x), expected[1], rtol=1e-12)


@pytest.mark.parametrize("width", WIDTHS)
def test_what_one_mask_keeps_and_drops_is_one_choice(width, monkeypatch):
    if emitter.vector_form().mark in "edb" and WIDTHS[width] <= emitter.vector_form():
        monkeypatch.setattr(emitter, "vector_form", lambda: WIDTHS[width])
    monkeypatch.setattr(native, "_CHUNK", 100)
    keep, drop, merge = (OPCODE[name] for name in ("keep", "drop", "merge"))
    recorder = Recorder(3)
    kept, dropped = recorder.scalar(keep, 1, 2), recorder.scalar(drop, 1, 3)
    other = recorder.scalar(keep, 3, 2)  # of another mask
    pairs = [(kept, dropped), (dropped, kept), (other, dropped), (kept, kept), (2, dropped)]
    outputs = [recorder.scalar(merge, *pair) for pair in pairs]
    tape = recorder.finish(np.array([*outputs, kept]), np.zeros(3))
    points = np.array([(m, a, b) for m in SPECIAL for a in SPECIAL for b in SPECIAL])
    source = native.Source(tape, Plan(tape).places)
    assert sorted(native._choices(source, 0, len(tape.code))) == [3, 4]
    assert_batches_agree(tape, points, np.zeros(3, bool))
    plan = Plan(tape)
    plan.compile(QUICK)
    workspace, y = Workspace(plan), np.empty(6)
    for each in points:
        plan.evaluate(workspace.handle, each, y)
        assert_same_bits(y, interpreted(tape, each)[0])
