"""Batches of points against the slow interpreter, point by point."""

import naive
import numpy as np
import pytest
from checks import assert_same_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_tapes import INPUTS, PLAIN, SCALAR_STEPS, STEPS, point, random_tape

from numtape.errors import TapeError
from numtape.ops.table import OPCODE, ROWS
from numtape.run import batch as batch_module
from numtape.run import lanes as lanes_module
from numtape.run.batch import Batch
from numtape.run.lanes import LanePlan, LaneWorkspace
from numtape.tape.flat import Guard, Location
from numtape.trace.recorder import Recorder

COUNTS = [0, 1, 7, 8, 9, 255, 256, 257, 1000]

# Rows that lanes run by the very arithmetic of single points: results agree to the bit.
# (sinc calls sin, and NumPy has no loop for it.)
EXACT = [opcode for opcode in PLAIN if ROWS[opcode].vector is None and ROWS[opcode].name != "sinc"]
NO_SHARED = np.zeros(INPUTS, bool)


def points_of(kind: str, count: int, seed: int = 0) -> np.ndarray:
    return np.array([point(kind, seed + k) for k in range(count)]).reshape(count, INPUTS)


def run(tape, x, shared=NO_SHARED, **options):
    """Outputs at the points and failures; the shared inputs are those of the first point."""
    outputs = np.full((len(x), len(tape.outputs)), 77.0)
    varying = [x[:, k] for k in np.flatnonzero(~shared)]
    first = x[0][shared] if len(x) else np.zeros(shared.sum())
    failures = Batch(tape, shared).run(first, varying, [outputs], len(x), **options)
    return outputs, failures


def with_shared(x, shared):
    return np.where(shared, x[:1], x) if len(x) else x


def assert_as_naive(tape, x, outputs, failures) -> None:
    expected = naive.evaluate_batch(tape, x)
    assert_same_bits(outputs, expected.outputs)
    assert failures.points.tolist() == expected.points
    assert failures.guards.tolist() == expected.guards
    assert_same_bits(failures.outcomes, expected.outcomes)


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(
    steps=st.one_of(SCALAR_STEPS, STEPS),
    seed=st.integers(0, 2**16),
    mask=st.integers(0, 2**INPUTS - 1),
    kind=st.sampled_from(["normal", "zeros", "special"]),
)
def test_random_tapes(steps, seed, mask, kind):
    tape = random_tape(steps, seed, EXACT)
    shared = np.array([mask >> k & 1 for k in range(INPUTS)], bool)
    x = with_shared(points_of(kind, 19, seed), shared)
    x[11] = with_shared(np.array([x[0], tape.point]), shared)[1]  # where guards may hold
    assert_as_naive(tape, x, *run(tape, x, shared))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(steps=SCALAR_STEPS, seed=st.integers(0, 2**16))
def test_random_tapes_with_vector_maths(steps, seed):
    """To rounding where no guard looks on; guards and what they depend on to the bit."""
    tape = random_tape(steps, seed)
    x = points_of("normal", 19, seed)
    x[3] = tape.point
    _, failures = run(tape, x)
    expected = naive.evaluate_batch(tape, x)
    assert failures.points.tolist() == expected.points
    assert failures.guards.tolist() == expected.guards
    assert_same_bits(failures.outcomes, expected.outcomes)


def test_values_with_vector_maths():
    recorder = Recorder(2)
    names = ["exp", "log", "sin", "cos", "tanh", "erf", "log1p", "arctan", "sqrt"]
    results = [recorder.scalar(OPCODE[name], 1, 0) for name in names]
    results += [recorder.scalar(OPCODE[name], 1, 2) for name in ("pow", "hypot", "arctan2")]
    tape = recorder.finish(np.array(results), np.array([1.0, 2.0]))
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 5, (300, 2))
    for shared in ([False, False], [True, False], [False, True], [True, True]):
        same = np.where(shared, x[0], x)
        outputs = np.empty((300, len(results)))
        varying = [same[:, k] for k in range(2) if not shared[k]]
        Batch(tape, np.array(shared)).run(x[0][shared], varying, [outputs], 300)
        np.testing.assert_allclose(outputs, [naive.run(tape, row) for row in same], rtol=2e-15)


# one tape of every kind for what follows


def _steps(kinds, count=30):
    rng = np.random.default_rng(4)
    return [(kinds[k % len(kinds)], *rng.integers(0, 2**16, 3).tolist()) for k in range(count)]


def _tape(kind):
    if kind == "scalar":
        return random_tape(_steps(["scalar"]), 3)
    return random_tape(_steps(["scalar", "map", "view", "reduce", "accumulate", "scatter"]), 3)


TAPES = ["scalar", "array"]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", TAPES)
def test_counts(kind, count):
    """Any number of points gives the first of many, to the bit."""
    tape = _tape(kind)
    assert tape.is_scalar == (kind == "scalar")
    x = points_of("normal", 1000)
    whole, failed = run(tape, x)
    outputs, failures = run(tape, x[:count])
    assert_same_bits(outputs, whole[:count])
    inside = failed.points < count
    assert_same_bits(failures.points, failed.points[inside])
    assert_same_bits(failures.outcomes, failed.outcomes[inside])


@pytest.mark.parametrize("kind", TAPES)
def test_block_size_threads_and_position_do_not_matter(kind, monkeypatch):
    tape, x = _tape(kind), points_of("normal", 700)
    whole, failed = run(tape, x)
    order = np.random.default_rng(1).permutation(700)
    mixed, _ = run(tape, x[order])
    assert_same_bits(mixed, whole[order])
    monkeypatch.setattr(batch_module, "_WORTH_A_THREAD", 1)
    for cache, chunk, threads in [(1, 1, 1), (1 << 12, 1 << 9, 3), (1 << 40, 1 << 12, 4)]:
        monkeypatch.setattr(lanes_module, "_CACHE", cache)
        monkeypatch.setattr(batch_module, "_CHUNK", chunk)
        lanes = LanePlan(tape, NO_SHARED).lanes
        if kind == "scalar":
            assert lanes % 8 == 0
            assert lanes == {1: 8, 1 << 40: 512}.get(cache, lanes)
        else:
            assert lanes == 1
        outputs, failures = run(tape, x, num_threads=threads)
        assert_same_bits(outputs, whole)
        assert_same_bits(failures.points, failed.points)
        assert_same_bits(failures.guards, failed.guards)
        assert_same_bits(failures.outcomes, failed.outcomes)


def _layouts(x):
    """The same points in arrays of other kinds, and what they are rounded to."""
    wide = np.full((3 * len(x), 2 * INPUTS), np.nan)
    wide[::3, ::2] = x
    bytes_ = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = bytes_[1:].view(np.float64).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.setflags(write=False)
    return {
        "strided": wide[::3, ::2],
        "reversed": x[::-1].copy()[::-1],
        "columns": np.asfortranarray(x),
        "misaligned": misaligned,
        "read-only": read_only,
        "big-endian": x.astype(">f8"),
        "float32": x.astype(np.float32),
        "float16": x.astype(np.float16),
        "longdouble": x.astype(np.longdouble),
        "integers": np.round(x).astype(np.int32),
        "booleans": x > 0,
        "one for all": np.broadcast_to(x[0], x.shape),
    }


@pytest.mark.parametrize("kind", TAPES)
@pytest.mark.parametrize("layout", _layouts(np.zeros((1, INPUTS))))
@pytest.mark.parametrize("whole", [True, False])
def test_inputs_of_any_layout(kind, layout, whole):
    """As one leaf, and as a leaf for each input, of which only some are odd."""
    tape, x = _tape(kind), points_of("normal", 41)
    given = _layouts(x)[layout]
    expected, failed = run(tape, given.astype(np.float64))
    leaves = [given] if whole else [given[:, 0], *x[:, 1:5].T, given[:, 5:]]
    if not whole:
        same = given.astype(np.float64)
        same[:, 1:5] = x[:, 1:5]
        expected, failed = run(tape, same)
    outputs = np.empty(expected.shape)
    some = np.array([40, 3, 3, 17, 0, 39])
    for numbers in (None, some, np.arange(0)):
        outputs[...] = 5.5
        count = 41 if numbers is None else len(numbers)
        failures = Batch(tape, NO_SHARED).run(np.zeros(0), leaves, [outputs], count, numbers)
        written = np.arange(41) if numbers is None else numbers
        assert_same_bits(outputs[written], expected[written])
        assert (np.delete(outputs, written, axis=0) == 5.5).all()
        assert set(failures.points) == set(failed.points) & set(written)


@pytest.mark.parametrize("kind", TAPES)
def test_outputs_in_any_layout(kind):
    tape, x = _tape(kind), points_of("normal", 41)
    expected, _ = run(tape, x)
    size = expected.shape[1]
    wide = np.full((82, size, 3), 5.5)
    targets = [wide[::2, :, 1], wide[::-2, :, 2], np.full((41, size), 5.5, order="F")]
    for target in targets:
        Batch(tape, NO_SHARED).run(np.zeros(0), [x], [target], 41)
        assert_same_bits(target, expected)
    assert (wide[:, :, 0] == 5.5).all()
    assert (wide[1::2, :, 1] == 5.5).all()
    parts = [np.empty((41, 2)), np.empty(41), np.empty((41, 0)), np.empty((41, 1, size - 3))]
    Batch(tape, NO_SHARED).run(np.zeros(0), [x], parts, 41)
    assert_same_bits(np.concatenate([p.reshape(41, -1) for p in parts], axis=1), expected)


@pytest.mark.parametrize("kind", TAPES)
def test_only_some_points(kind):
    """Others are neither read nor written; points may come twice, and in any order."""
    tape, x = _tape(kind), points_of("normal", 600)
    expected, failed = run(tape, x)
    numbers = np.random.default_rng(2).integers(0, 600, 300)
    outputs = np.full(expected.shape, 5.5)
    failures = Batch(tape, NO_SHARED).run(np.zeros(0), [x], [outputs], 300, numbers)
    assert_same_bits(outputs[numbers], expected[numbers])
    others = np.setdiff1d(np.arange(600), numbers)
    assert (outputs[others] == 5.5).all()
    assert sorted(failures.points) == sorted(n for n in numbers if n in set(failed.points))
    for number, guard, outcome in zip(failures.points, failures.guards, failures.outcomes):
        place = failed.points.tolist().index(number)
        assert guard == failed.guards[place]
        assert_same_bits(outcome, failed.outcomes[place])


@pytest.mark.parametrize("kind", TAPES)
def test_guards_may_be_left_alone(kind):
    tape, x = _tape(kind), points_of("normal", 30)
    outputs, failures = run(tape, x, guarded=False)
    assert len(failures.points) == 0
    assert_same_bits(outputs, run(tape, x)[0])
    assert len(run(tape, x)[1].points) > 0


@pytest.mark.parametrize("is_scalar", [True, False])
def test_constants_and_inputs_as_outputs_and_guards(is_scalar):
    """Whatever slot it is: a constant, a shared input, one that varies, or a result."""
    recorder = Recorder(INPUTS)
    constant = recorder.constant(4.25)
    inputs = np.arange(1, INPUTS + 1)
    recorder.scalar(OPCODE["add"], 1, 2)
    if not is_scalar:
        recorder.elementwise(OPCODE["square"], [inputs])
    total = recorder.scalar(OPCODE["add"], 2, constant)
    slots = [constant, 1, 2, 2, 0, total, constant]
    flat = recorder.finish(np.array(slots), np.arange(INPUTS) * 1.0)
    outputs = flat.outputs.tolist()
    at = [Location("f", 1)]
    for slot, outcome in [(outputs[0], 4.25), (outputs[1], 1.5), (outputs[2], 2.5), (0, 0.0)]:
        guard = Guard(slot, outcome, *at)
        tape = type(flat)(**{**flat.__dict__, "guards": (guard,)})
        assert tape.is_scalar == is_scalar
        x = points_of("normal", 11)
        x[5, :2] = 1.5, 2.5
        for shared in (NO_SHARED, np.arange(INPUTS) == 0, np.arange(INPUTS) == 1, ~NO_SHARED):
            same = with_shared(x, shared)
            assert_as_naive(tape, same, *run(tape, same, shared))


def test_the_first_guard_that_fails_is_told():
    recorder = Recorder(2)
    less = recorder.scalar(OPCODE["less"], 1, 2)
    more = recorder.scalar(OPCODE["add"], 1, 2)
    flat = recorder.finish(np.array([less, more]), np.array([1.0, 2.0]))
    less, more = flat.outputs.tolist()  # slots have moved: constants come first
    at = Location("f", 1)
    guards = (Guard(less, 1.0, at), Guard(more, 3.0, at), Guard(1, 1.0, at))
    tape = type(flat)(**{**flat.__dict__, "guards": guards})
    x = np.array([[1.0, 2.0], [2.0, 1.0], [0.5, 2.5], [1.0, 5.0], [np.nan, 1.0], [0.0, 3.0]])
    outputs = np.empty((6, 2))
    failures = Batch(tape, np.zeros(2, bool)).run(np.zeros(0), [x], [outputs], 6)
    assert failures.points.tolist() == [1, 2, 3, 4, 5]
    assert failures.guards.tolist() == [0, 2, 1, 0, 2]
    assert_same_bits(failures.outcomes, [0.0, 0.5, 6.0, 0.0, 0.0])


def test_squares_written_as_powers():
    recorder = Recorder(1)
    two, three = recorder.constant(2.0), recorder.constant(3.0)
    names = ["power", "power_constant", "pow", "pow_constant"]
    results = [recorder.scalar(OPCODE[name], 1, e) for name in names for e in (two, three)]
    results.append(recorder.scalar(OPCODE["pow"], two, 1))
    tape = recorder.finish(np.array(results), np.array([1.5]))
    x = np.array([1.5, -3.0, 0.0, np.inf, -np.inf, np.nan, 1e200, 1e-170, 0.1, 7.0])
    outputs = np.empty((10, len(results)))
    Batch(tape, np.zeros(1, bool)).run(np.zeros(0), [x.reshape(10, 1)], [outputs], 10)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(outputs[:, :8:2], np.tile(x * x, (4, 1)).T, rtol=1e-15)
        np.testing.assert_allclose(outputs[:, 1:8:2], np.tile(x**3, (4, 1)).T, rtol=1e-15)
        np.testing.assert_allclose(outputs[:, 8], 2.0**x, rtol=1e-15)


def test_no_result_is_written_over_an_operand():
    """Loops over lanes may then work on many at once."""
    for seed in range(20):
        tape = random_tape(_steps(["scalar"], 40), seed)
        code = LanePlan(tape, NO_SHARED).placed_code
        arity = np.array([row.arity for row in ROWS])[LanePlan(tape, NO_SHARED).tape.code[:, 0]]
        assert (code[:, 0] >> 9 != code[:, 1]).all()
        assert (code[:, 0] >> 9 != code[:, 2])[arity == 2].all()


def test_lanes_begin_on_a_cache_line():
    plan = LanePlan(_tape("scalar"), NO_SHARED)
    for _ in range(5):
        address = LaneWorkspace(plan)._aligned(3).ctypes.data
        assert address % 64 == 0


def test_progress_counts_every_point_once(monkeypatch):
    monkeypatch.setattr(batch_module, "_CHUNK", 1 << 10)
    monkeypatch.setattr(batch_module, "_WORTH_A_THREAD", 1)
    for kind in TAPES:
        for threads in (1, 3):
            told = []
            run(_tape(kind), points_of("normal", 2000), num_threads=threads, progress=told.append)
            assert sum(told) == 2000
            assert len(told) > 1
            assert min(told) > 0


def test_an_error_in_one_thread_ends_all(monkeypatch):
    monkeypatch.setattr(batch_module, "_CHUNK", 1)
    monkeypatch.setattr(batch_module, "_WORTH_A_THREAD", 1)
    told = []

    def fail(more):
        told.append(more)
        if len(told) == 3:
            raise ZeroDivisionError("from progress")

    with pytest.raises(ZeroDivisionError, match="from progress"):
        run(_tape("scalar"), points_of("normal", 4000), num_threads=4, progress=fail)
    assert len(told) < 100


def test_more_places_than_fit_beside_an_opcode(monkeypatch):
    """In lanes an opcode takes a bit more, so there is room for half as many."""
    tape = _tape("scalar")
    monkeypatch.setattr(lanes_module, "_MOST_PLACES", int(LanePlan(tape, NO_SHARED).size) // 2)
    with pytest.raises(TapeError, match="alive at once"):
        LanePlan(tape, NO_SHARED)
