"""Groups of vector instructions as machine code, against the same tapes interpreted.

Values have to agree to the bit: NumPy's rounding is what a compiled tape has to keep.
Derivatives may round otherwise, in sums and in vector maths.
"""

import functools
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.specification import GRADIENT
from numtape.jit.compiling import THOROUGH
from numtape.ops.table import ROWS
from numtape.run import fusion, traffic
from numtape.run.groups import split
from numtape.run.products import Product, is_narrow
from numtape.run.workspace import Plan, Workspace
from numtape.trace.recorder import Recorder

sys.path.append(str(Path(__file__).parents[2] / "asv_benchmarks"))

from benchmarks.problems import ARRAYS

PROBLEMS = ["gaussian mixture", "log-sum-exp", "k-means", "network of two layers"]


@pytest.fixture(autouse=True)
def _small_groups_too(monkeypatch):
    """Arrays of the tests are small; and nothing is kept on disk."""
    monkeypatch.setattr(fusion, "_WORTH", 0)
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")


def test_small_arrays_make_no_groups(monkeypatch):
    monkeypatch.undo()
    tape = nt.record(lambda x: np.sum(np.exp(x) * x), np.ones(1000)).compile()
    assert groups(tape.runner.plan()) == []


def groups(plan):
    """The groups of a plan, as they are written."""
    program = traffic.Program(plan.tape, plan.places, plan.segments, plan.free)
    return [group.finished(program) for group in fusion._chosen(program)]


def program_groups(plan):
    """The groups of a plan, as they were chosen."""
    return fusion._chosen(traffic.Program(plan.tape, plan.places, plan.segments, plan.free))


def plan_of(tape, what=GRADIENT):
    return tape.derivatives.derived.get(what).plan()


def has_products(tape):
    """Whether a gradient multiplies matrices by code of its own."""
    plan = plan_of(tape)
    program = traffic.Program(plan.tape, plan.places, plan.segments, plan.free)
    return bool(list(fusion._products(program)))


def check(function, point, rtol=1e-12, points=()):
    """Compiled and interpreted agree at some points, in values and in gradients."""
    plain, compiled = nt.record(function, point), nt.record(function, point)
    compiled.compile()
    for each in (point, *points):
        assert_same_bits(plain(each), compiled(each))
        with np.errstate(all="ignore"):
            expected, found = plain.gradient(each), compiled.gradient(each)
        if not has_products(compiled):
            assert_same_bits(found, expected)
        scale = np.max(np.abs(expected), where=np.isfinite(expected), initial=1e-300)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale)
        # The value beside a derivative is still NumPy's.
        assert_same_bits(compiled.value_and_gradient(each)[0], plain(each))
    return compiled


# Random programs.

UNARY = [np.negative, np.square, np.absolute, np.exp, np.sin, np.tanh, np.sign, np.arctan]
BINARY = [np.add, np.subtract, np.multiply, np.maximum, np.minimum]
REDUCTIONS = [np.sum, np.max, np.min, np.sum]


def random_program(seed):
    """A function of a vector that computes with arrays of a few shapes, and a point."""
    random = np.random.default_rng(seed)
    rows, inner = random.integers(1, 40), random.integers(1, 24, random.integers(0, 3))
    shape = (int(rows) + 8, *map(int, inner))
    size = int(np.prod(shape))
    steps = random.integers(4, 18)
    choices = random.integers(0, 1 << 30, (steps, 4)).tolist()
    constants = random.standard_normal((3, *shape))

    def function(x):
        pool = [x.reshape(shape), constants[0], x.reshape(shape) * constants[1]]
        for kind, first, second, how in choices:
            a, b = pool[first % len(pool)], pool[second % len(pool)]
            if kind % 8 < 2:
                pool.append(UNARY[how % len(UNARY)](a))
            elif kind % 8 < 5:
                pool.append(combined(BINARY[how % len(BINARY)], a, b, how // 8))
            elif kind % 8 < 7 and a.ndim:
                axis = how // 8 % (a.ndim + 1)
                axis = None if axis == a.ndim else axis
                reduced = REDUCTIONS[how % 4](a, axis=axis, keepdims=how // 64 % 2 == 0)
                pool.append(reduced if reduced.ndim else reduced * constants[2])
            elif a.ndim:
                pool.append(np.flip(a, how % a.ndim) if how // 8 % 2 else overlapping(a))
        return functools.reduce(np.add, [np.sum(0.1 * np.tanh(each)) for each in pool])

    return function, 0.5 * random.standard_normal(size)


def combined(ufunc, a, b, how):
    """Of two arrays that can be broadcast, else of the first with its own mean over an axis."""
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return ufunc(a, np.sum(a, axis=how % a.ndim, keepdims=True)) if a.ndim else a
    return ufunc(a, b)


def overlapping(a):
    """The sum of two views of an array that overlap, or of its outer parts."""
    return a[1:] + a[:-1] if len(a) > 9 else a


@pytest.mark.parametrize("seed", range(24))
def test_random_programs_give_the_same_compiled(seed):
    function, point = random_program(seed)
    check(function, point, rtol=1e-10, points=[point * 0.7 + 0.01])


@pytest.mark.parametrize("name", PROBLEMS)
def test_benchmark_problems_give_the_same_compiled(name):
    problem = ARRAYS[name]
    plain = nt.record(problem.function, problem.point)
    compiled = nt.record(problem.function, problem.point).compile()
    expected, found = plain.gradient(problem.point), compiled.gradient(problem.point)
    # A sum of a million numbers near 1/2**20 stands in the logarithm's gradient beside 1.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    plan = plan_of(compiled)
    assert len(groups(plan)) <= 6
    assert plan.native[-1]


# Lengths, and what is in the elements.


@pytest.mark.parametrize("size", [9, *range(16, 33), 100, 1023, 1024, 1025, 2500])
def test_every_length_of_the_rest(size):
    def function(x):
        largest = np.max(x)
        return np.sum(np.exp(x - largest) * x) + largest * np.min(x * x) + np.sum(x[::2] * x[::2])

    check(function, np.cos(np.arange(size) * 0.37))


@pytest.mark.parametrize("inner", [*range(1, 18), 40])
def test_every_length_of_a_row(inner):
    weights = np.linspace(-1.0, 2.0, inner)

    def function(x):
        table = x.reshape(13, inner)
        smallest = np.min(table * weights, axis=1, keepdims=True)
        shares = np.exp(smallest - table) / (1.0 + np.sum(table * table, axis=1, keepdims=True))
        return np.sum(np.sum(shares, axis=0) ** 2) + np.sum(shares * weights)

    check(function, np.sin(np.arange(13 * inner) * 0.61))


def test_special_numbers():
    x = np.linspace(-2.0, 2.0, 50)
    points = []
    for number in (np.nan, np.inf, -np.inf, -0.0, 1e308, 5e-324, -746.5, 800.0):
        points.append(np.where(np.arange(50) % 7 == 3, number, x))
        points.append(np.where(np.arange(50) == 49, number, -0.0))

    def function(x):
        table = x.reshape(10, 5)
        top = np.maximum(table, -table) - np.minimum(table, 0.25)
        return np.sum(np.exp(top) * 1e-3 + np.sign(table)) + np.sum(np.max(table, axis=0) * 2.0)

    with np.errstate(all="ignore"):
        check(function, x, points=points)


def test_zero_times_infinite_is_zero_in_a_group():
    def function(x):
        return np.sum(np.where(x > 0.0, np.sqrt(np.maximum(x, 0.0)), 0.0) * np.ones((3, 1)))

    point = np.array([0.0, 1.0, -1.0, 4.0] * 5)
    found = nt.record(function, point).compile().gradient(point)
    assert_same_bits(found, nt.record(function, point).gradient(point))
    assert np.isfinite(found).all()


def test_axes_in_another_order():
    def function(x):
        table = x.reshape(12, 5, 7)
        turned = np.transpose(table, (2, 0, 1)) * 1.5
        return np.sum(np.sum(turned, axis=2) ** 2) + np.sum(
            np.max(turned + np.sum(table, axis=(0, 1))[:, None, None], axis=(0, 2)) ** 3
        )

    check(function, np.cos(np.arange(420) * 1.3))


def test_empty_arrays_and_axes_of_one():
    def function(x):
        table = x.reshape(4, 1, 5)
        nothing = table[:, :, 5:] * 2.0 + np.sum(x[:0])
        return np.sum(nothing) + np.sum(np.exp(table) * table[:, :, :1]) + np.sum(table[:1] * table)

    check(function, np.sin(np.arange(20.0)))


def test_sums_too_large_to_keep_aside():
    weights = np.cos(np.arange(10_000.0))
    check(lambda x: np.sum(np.sum(x[:, None] * weights, axis=0) ** 2), np.sin(np.arange(12.0)))


# What makes a group.


def test_elementwise_instructions_become_one_nest_and_keep_nothing_between():
    tape = nt.record(lambda x: np.sum(np.sin(x) * np.exp(-x) + x / 3.0), np.linspace(0, 1, 200))
    tape.gradient(np.linspace(0, 1, 200))
    (group,) = groups(plan_of(tape))
    assert (len(group.nests), len(group.kept), len(group.passed_on)) == (1, 1, 0)


def test_a_row_s_reduction_is_used_in_the_same_group():
    def softmax(x):
        table = x.reshape(50, 20)
        table = np.exp(table - np.max(table, axis=1, keepdims=True))
        return np.sum((table / np.sum(table, axis=1, keepdims=True)) ** 2)

    tape = check(softmax, np.sin(np.arange(1000.0)))
    found = groups(plan_of(tape))
    assert max(len(group.nests) for group in found) > 2
    assert max(len(group.members) for group in found) > 10


def test_an_exact_tape_has_exact_members_alone():
    x = np.linspace(0.1, 1.0, 300)
    tape = nt.record(lambda x: np.sum(np.exp(x) * x - x / 2.0), x)
    found = groups(tape.runner.plan())
    assert found
    for group in found:
        assert all(member.exact for member in group.members)
    # NumPy's exponential is called, and then what is added up goes through the same rows.
    assert [member.reduces for member in found[0].members].count(True) == 1


def test_largest_numbers_that_values_need_are_left_to_numpy():
    x = np.linspace(-0.1, 1.0, 300)
    tape = nt.record(lambda x: np.max(x * 2.0) + np.prod(x + 1.0) + np.sum(np.abs(x)), x)
    tape.compile()
    assert_same_bits(tape(x), np.max(x * 2.0) + np.prod(x + 1.0) + np.sum(np.abs(x)))
    reducing = [
        ROWS[member.opcode].name
        for group in groups(tape.runner.plan())
        for member in group.members
        if member.reduces
    ]
    assert reducing == ["add"]


@pytest.mark.parametrize("free", [False, True])
def test_all_rows_in_one_group(free, monkeypatch):
    """Every row over arrays, in one function and one module, with a sum of each."""
    for name in ("_MEMBERS", "_WINDOW", "_AHEAD"):
        monkeypatch.setattr(fusion, name, 1 << 20)
    count = 64
    recorder = Recorder(2 * count)
    x, y = 1 + np.arange(count), 1 + count + np.arange(count)
    results, sums = [], []
    for opcode, row in enumerate(ROWS):
        results.append(recorder.elementwise(opcode, (x, y)[: row.arity]))
    for result in results:
        sums.append(np.ravel(recorder.reduce("add", result, (0,))))
    point = np.linspace(0.1, 0.9, 2 * count)
    tape = recorder.finish(np.concatenate([*results, *sums]), point)
    wanted = np.full(tape.instructions, free)
    out = []
    for compiled in (False, True):
        plan = Plan(tape, vector_maths=wanted)
        if compiled:
            plan.compile(THOROUGH)
            assert plan.machine_code is not None
            found = [member for group in groups(plan) for member in group.members]
            assert len({member.opcode for member in found}) > (60 if free else 30)
        out.append(np.empty(len(tape.outputs)))
        assert plan.evaluate(Workspace(plan).handle, point, out[-1]) == -1
    assert_same_bits(*out)


def test_what_is_cheap_is_computed_again(monkeypatch):
    monkeypatch.setattr(fusion, "_LARGE", 9)
    x = np.sin(np.arange(3000.0))

    def function(x):
        largest = np.max(x)
        return largest + np.log(np.sum(np.exp(x - largest)))

    found = program_groups(plan_of(check(function, x, points=[x[::-1] * 3.0, np.zeros(3000)])))
    assert sum(len(group.again) for group in found) >= 2


@pytest.mark.parametrize("seed", range(100, 112))
def test_random_programs_that_compute_again(seed, monkeypatch):
    monkeypatch.setattr(fusion, "_LARGE", 9)
    function, point = random_program(seed)
    check(function, point, rtol=1e-10, points=[point * 0.7 + 0.01])


def test_extents_are_cut_up():
    assert split((250,), (1,), (25, 10)) == (10, 1)
    assert split((25, 10), (0, 3), (25, 10)) == (0, 3)
    assert split((25, 10), (0, 3), (10, 25)) is None
    assert split((), (), ()) == ()


# Products.

EXTENTS = [(1, 1, 8), (9, 3, 8), (7, 16, 9), (13, 5, 31), (32, 40, 32), (50, 2, 33), (6, 30, 128)]


@pytest.mark.parametrize("extents", EXTENTS)
@pytest.mark.parametrize("turned", ["neither", "left", "right"])
def test_narrow_products(extents, turned):
    m, n, p = extents

    def function(x):
        left, right = np.sin(x[: m * n]), x[m * n :]
        left = left.reshape(n, m).T if turned == "left" else left.reshape(m, n)
        right = right.reshape(p, n).T if turned == "right" else right.reshape(n, p)
        return np.sum(np.tanh(left @ right) * np.linspace(0.5, 1.0, m * p).reshape(m, p))

    point = np.cos(np.arange(m * n + n * p) * 0.7)
    tape = check(function, point, rtol=1e-11, points=[point * 3.0])
    plan = plan_of(tape)
    program = traffic.Program(plan.tape, plan.places, plan.segments, plan.free)
    assert any(product.p == p for _, product in fusion._products(program))
    assert not list(fusion._products(traffic.Program(plan.tape, plan.places, plan.segments, None)))


def test_a_product_of_one_column_or_of_many_is_left_to_blas():
    narrow = Product(10, 10, 10, 0, (10, 1), 0, (10, 1), 0)
    assert is_narrow(narrow)
    assert not is_narrow(replace(narrow, p=1))
    assert not is_narrow(replace(narrow, p=1000))
    assert not is_narrow(replace(narrow, n=5000, right_steps=(1, 5000)))


# Threads.


def test_threads_may_run_while_the_code_is_put_in_place():
    def function(x):
        table = x.reshape(40, 25)
        return np.sum(np.exp(table - np.max(table, axis=1, keepdims=True)) * table)

    x = np.sin(np.arange(1000.0))
    tape = nt.record(function, x)
    expected = tape.gradient(x)
    wrong, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            if not np.allclose(tape.gradient(x), expected, rtol=1e-12, atol=1e-15):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    tape.compile()
    for _ in range(200):
        np.testing.assert_allclose(tape.gradient(x), expected, rtol=1e-12, atol=1e-15)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
