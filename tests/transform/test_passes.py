"""Each pass alone and all together: the same bits, the same guards, fewer instructions.

Passes meet random tapes, which hold whatever may be recorded and much that no
program would, recorded programs, and an example of each identity. Values are
compared as bits (any nan equals any nan) by the naive interpreter and by the
kernels; only the simplification of `scale` may change the sign of a zero.
"""

import functools
from dataclasses import replace

import naive
import numpy as np
import pytest
from checks import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import (
    INPUTS,
    PLAIN,
    POINTS,
    SCALAR_STEPS,
    STEPS,
    assert_valid,
    point,
    random_tape,
)

import numtape as nt
from numtape.functions.runner import Runner
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.regular import RegularSlots
from numtape.tape.text import program
from numtape.trace.recorder import Recorder
from numtape.transform.passes import fold_constants, optimize, remove_dead, share, simplify

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

PASSES = {f.__name__: f for f in (fold_constants, simplify, share, remove_dead, optimize)}


@pytest.fixture(params=PASSES)
def transform(request):
    return PASSES[request.param]


def _run(tape, x):
    """The first guard that fails, by its line, and the outputs whatever guards say."""
    with np.errstate(all="ignore"):
        y = np.empty(len(tape.outputs))
        failed = Runner(tape).evaluate(x, y)
        assert Runner(replace(tape, guards=())).evaluate(x, y) is None
    return None if failed is None else tape.guards[failed[0]].location.line, y


def _run_naive(tape, x):
    with np.errstate(all="ignore"):
        values = naive.evaluate(tape, x)
    failed = naive.failed_guard(tape, values)
    return None if failed < 0 else tape.guards[failed].location.line, values[tape.outputs]


def _assert_same(tape, new, x, same=assert_same_bits):
    """Equal outputs and equal failing guards, by the interpreter and by kernels."""
    for run in (_run, _run_naive):
        expected, found = run(tape, x), run(new, x)
        same(found[1], expected[1])
        assert found[0] == expected[0]


# random tapes


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=90)
def test_random_tapes(steps, seed):
    tape = random_tape(steps, seed)
    for transform in PASSES.values():
        new = transform(tape)
        assert_valid(new)
        assert new.inputs == tape.inputs
        assert_same_bits(new.point, tape.point)
        for name in POINTS:
            _assert_same(tape, new, point(name, seed + 1))
        _assert_same(tape, new, tape.point)


@given(SCALAR_STEPS, st.integers(0, 1000))
@settings(max_examples=120)
def test_random_scalar_tapes(steps, seed):
    tape = random_tape(steps, seed)
    assert tape.is_scalar
    for name, transform in PASSES.items():
        new = transform(tape)
        assert_valid(new)
        if name != "simplify":
            assert new.instructions <= tape.instructions + (name == "optimize") * _negations(tape)
        for at in POINTS:
            _assert_same(tape, new, point(at, seed + 1))


def _negations(tape):
    """Signs that move outwards may be written where they came from and where they went."""
    signs = (OPCODE["multiply"], OPCODE["divide"], OPCODE["negative"])
    return int(np.isin(tape.code[:, 0], signs).sum())


# Operations to which the sign of a zero makes no difference.
_NAMES = "scale scale negative add subtract sin exp equal keep fmax fmin"
SMOOTH = [OPCODE[name] for name in _NAMES.split()]


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=60)
def test_random_tapes_with_scale(steps, seed):
    """Equal but for the sign of a zero."""
    tape = random_tape(steps, seed, SMOOTH)
    for transform in PASSES.values():
        new = transform(tape)
        for name in POINTS:
            _assert_same(tape, new, point(name, seed + 1), np.testing.assert_array_equal)


@given(STEPS, st.integers(0, 1000))
@settings(max_examples=40)
def test_passes_in_any_order(steps, seed):
    tape = random_tape(steps, seed, PLAIN)
    order = np.random.default_rng(seed).permutation(list(PASSES)).tolist()
    new = tape
    for name in order:
        new = PASSES[name](new)
    _assert_same(tape, new, point("special", seed))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_folding_gives_what_the_kernels_give(row):
    """Every row on constants, for one element and for many."""
    # NumPy's own differ in the sign of a zero between one element and many.
    same = np.testing.assert_array_equal if row.name in ("fmax", "fmin") else assert_same_bits
    values = [-0.0, 0.3, -2.7, 1e300, -np.inf, np.nan]
    for x in values:
        for y in values if row.arity == 2 else values[:1]:
            recorder = Recorder(1)
            a, b = recorder.constant(x), recorder.constant(y) if row.arity == 2 else 0
            scalar = recorder.scalar(OPCODE[row.name], a, b)
            operands = [np.full(12, slot) for slot in (a, b)][: row.arity]
            array = recorder.elementwise(OPCODE[row.name], operands)
            tape = recorder.finish(np.array([scalar, array[0], array[11]]), np.zeros(1))
            folded = optimize(tape)
            assert folded.instructions == 0
            same(_run(folded, np.zeros(1))[1], _run(tape, np.zeros(1))[1])


# recorded programs


def bundle(x):
    angle = np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
    c, s = np.cos(angle), np.sin(angle)
    return [x[3] * np.cos(angle) + s * x[4] * 1.0, -x[3] * np.sin(angle) + c * x[4] / -1.0]


def branching(x):
    a = np.sum(x) * 2.0
    if a > 1.0 and x[0] < x[1]:
        return np.negative(-a) * np.sin(a) + np.sin(a)
    return a


def arrays(x):
    a = np.exp(x * 1.0) + np.exp(x)[::-1] * -1.0
    a[::3] = 2.0 * a[1::3]
    b = a[np.array([0, 5, 5, 2, 11, 3, 3, 3, 8, 1])] ** 2
    return [np.cumsum(b), np.max(a), np.prod(1.0 + 0.1 * np.sin(a))]


def matrices(x):
    a = np.outer(x, np.arange(12.0)) @ np.outer(x[::-1], x) * 1.0
    return [a @ x, np.sum(a, axis=0), np.where(a > 0.0, a, -a)[3]]


def masked(x):
    return np.where(x > 0.0, np.sqrt(x), np.where(x < -1.0, 1.0 / x, x * x)) + np.maximum(x, -x)


PROGRAMS = (bundle, branching, arrays, matrices, masked)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_recorded_programs(transform, program):
    x = np.linspace(0.2, 1.3, INPUTS)
    tape = nt.record(program, x).flat
    new = transform(tape)
    assert_valid(new)
    for at in (x, x[::-1].copy(), point("zeros", 1), point("special", 2), np.zeros(INPUTS)):
        _assert_same(tape, new, at)


def test_the_order_of_sums_is_kept():
    """A view in place of a copy must not be added up in another order."""
    functions = [
        lambda x: np.sum(x.T * 1.0),
        lambda x: np.sum(x[::-1] * 1.0),
        lambda x: np.sum(x[:, :1] * np.ones((13, 17))),
        lambda x: np.sum((x[::-1, ::2] * 1.0) * -1.0, axis=0),
        lambda x: np.cumsum((x.T * 1.0)[::-1], axis=0),
        lambda x: np.sum(np.cumsum(x, axis=0)),
        lambda x: np.sum(np.cumsum(x[::-1], axis=0) * x.T.T, axis=1),
    ]
    for function in functions:
        for seed in range(20):
            x = np.random.default_rng(seed).normal(size=(13, 17))
            tape = nt.record(function, x)
            assert_same_bits(tape(x), function(x))
            assert_same_bits(tape.optimize()(x), tape(x))


def test_the_order_of_matrix_products_is_kept():
    """BLAS rounds otherwise for a transposed operand than for a copy of it."""
    functions = [
        lambda x: np.sum((x.T * 1.0) @ x),
        lambda x: np.sum((x[::-1].T / 1.0) @ (x * 1.0)),
        lambda x: np.sum(np.exp(x.T) @ (x**1)),
    ]
    for function in functions:
        for seed in range(30):
            x = np.random.default_rng(seed).normal(size=(13, 17))
            tape = nt.record(function, x)
            assert_same_bits(tape.optimize()(x), tape(x))
            assert nt.value_and_grad(function)(x)[0] == function(x)


# examples


def _tape(build):
    """The tape that `build` writes: integers are slots of two inputs, floats constants."""
    recorder = Recorder(2)

    def slot(operand):
        return recorder.constant(operand) if isinstance(operand, float) else operand

    def apply(name, *operands):
        a, b = (*(slot(operand) for operand in operands), 0)[:2]
        return recorder.scalar(OPCODE[name], a, b)

    output = slot(build(apply))
    return recorder.finish(np.array([output]), np.zeros(2))


def _array_tape(build):
    """The same over twelve elements."""
    recorder = Recorder(24)

    def slots(operand):
        if isinstance(operand, np.ndarray | RegularSlots):
            return operand
        if isinstance(operand, float):
            return np.full(12, recorder.constant(operand))
        return np.arange(12) + 1 + 12 * (operand - 1)

    def apply(name, *operands):
        return recorder.elementwise(OPCODE[name], [slots(operand) for operand in operands])

    return recorder.finish(slots(build(apply)), np.zeros(24))


# For arrays too.
IDENTITIES = {
    "x * 1": (lambda o: o("multiply", 1, 1.0), lambda o: 1),
    "1 * x": (lambda o: o("multiply", 1.0, 1), lambda o: 1),
    "x * -1": (lambda o: o("multiply", 1, -1.0), lambda o: o("negative", 1)),
    "-1 * x": (lambda o: o("multiply", -1.0, 1), lambda o: o("negative", 1)),
    "x / 1": (lambda o: o("divide", 1, 1.0), lambda o: 1),
    "scale by 1": (lambda o: o("scale", 1.0, 1), lambda o: 1),
    "pow 1": (lambda o: o("pow", 1, 1.0), lambda o: 1),
    "pow_constant 1": (lambda o: o("pow_constant", 1, 1.0), lambda o: 1),
    "power_constant 1": (lambda o: o("power_constant", 1, 1.0), lambda o: 1),
    "keep, true": (lambda o: o("keep", 1.0, 1), lambda o: 1),
    "keep, false": (lambda o: o("keep", 0.0, 1), lambda o: 0.0),
    "drop, true": (lambda o: o("drop", 1.0, 1), lambda o: 0.0),
    "drop, false": (lambda o: o("drop", 0.0, 1), lambda o: 1),
    "drop, nan": (lambda o: o("drop", np.nan, 1), lambda o: 0.0),
    "merge with 0": (lambda o: o("merge", 0.0, 1), lambda o: 1),
    "0 merged": (lambda o: o("merge", 1, 0.0), lambda o: 1),
    "constants": (lambda o: o("multiply", o("add", 2.0, 3.0), 1), lambda o: o("multiply", 5.0, 1)),
    "constants alone": (lambda o: o("sin", o("divide", 1.0, 0.0)), lambda o: np.nan),
    "equal ones": (
        lambda o: o("add", o("sin", 1), o("sin", 1)),
        lambda o: (lambda s: o("add", s, s))(o("sin", 1)),
    ),
}

SCALAR_IDENTITIES = {
    "-(-x)": (lambda o: o("negative", o("negative", 1)), lambda o: 1),
    "+x": (lambda o: o("positive", 1), lambda o: 1),
    "x - 0": (lambda o: o("subtract", 1, 0.0), lambda o: 1),
    "x / -1": (lambda o: o("divide", 1, -1.0), lambda o: o("negative", 1)),
    "x + (-y)": (lambda o: o("add", 1, o("negative", 2)), lambda o: o("subtract", 1, 2)),
    "(-x) + y": (lambda o: o("add", o("negative", 1), 2), lambda o: o("subtract", 2, 1)),
    "x - (-y)": (lambda o: o("subtract", 1, o("negative", 2)), lambda o: o("add", 1, 2)),
    "(-x) * (-y)": (
        lambda o: o("multiply", o("negative", 1), o("negative", 2)),
        lambda o: o("multiply", 1, 2),
    ),
    "(-x) * y": (
        lambda o: o("multiply", o("negative", 1), 2),
        lambda o: o("negative", o("multiply", 1, 2)),
    ),
    "x * (-y), added": (
        lambda o: o("add", 1, o("multiply", 1, o("negative", 2))),
        lambda o: (lambda p: o("subtract", 1, p))(o("multiply", 1, 2)),
    ),
    "(-x) / y": (
        lambda o: o("divide", o("negative", 1), 2),
        lambda o: o("negative", o("divide", 1, 2)),
    ),
    "(-x) / (-y)": (
        lambda o: o("divide", o("negative", 1), o("negative", 2)),
        lambda o: o("divide", 1, 2),
    ),
    "2 * (-x)": (lambda o: o("multiply", 2.0, o("negative", 1)), lambda o: o("multiply", -2.0, 1)),
    "x ** 0": (lambda o: o("pow", 1, 0.0), lambda o: 1.0),
    "np.power(x, 0)": (lambda o: o("power", 1, 0.0), lambda o: 1.0),
    "x * y and y * x": (
        lambda o: o("subtract", o("multiply", 1, 2), o("multiply", 2, 1)),
        lambda o: (lambda p: o("subtract", p, p))(o("multiply", 1, 2)),
    ),
    "dead code": (lambda o: (o("sin", 1), o("cos", 2))[1], lambda o: o("cos", 2)),
}

# What looks like an identity and is none, for zeros' signs, infinities or nans.
KEPT = {
    "x + 0": lambda o: o("add", 1, 0.0),
    "0 - x": lambda o: o("subtract", 0.0, 1),
    "x - (-0)": lambda o: o("subtract", 1, -0.0),
    "x * 0": lambda o: o("multiply", 1, 0.0),
    "0 / x": lambda o: o("divide", 0.0, 1),
    "x - x": lambda o: o("subtract", 1, 1),
    "x / x": lambda o: o("divide", 1, 1),
    "x == x": lambda o: o("equal", 1, 1),
    "1 ** x": lambda o: o("pow", 1.0, 1),
    "merge with -0": lambda o: o("merge", -0.0, 1),
    "merge of itself": lambda o: o("merge", 1, 1),
    "(x + y) - y": lambda o: o("subtract", o("add", 1, 2), 2),
    "x / 2": lambda o: o("divide", 1, 2.0),
    "maximum of itself": lambda o: o("maximum", 1, 1),
}

SPECIAL = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan]


def _assert_becomes(tape, expected, scaled):
    new = optimize(tape)
    assert program(new) == program(remove_dead(expected))
    same = np.testing.assert_array_equal if scaled else assert_same_bits
    for x in SPECIAL:
        for y in SPECIAL:
            at = np.repeat([x, y], tape.inputs // 2)
            _assert_same(tape, new, at, same)
            _assert_same(tape, simplify(tape), at, same)


@pytest.mark.parametrize("name", IDENTITIES | SCALAR_IDENTITIES)
def test_identities(name):
    build, expected = (IDENTITIES | SCALAR_IDENTITIES)[name]
    _assert_becomes(_tape(build), _tape(expected), "scale" in name)


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_of_arrays(name):
    build, expected = IDENTITIES[name]
    _assert_becomes(_array_tape(build), _array_tape(expected), "scale" in name)


@pytest.mark.parametrize("build", KEPT.values(), ids=KEPT)
def test_what_is_no_identity_is_kept(build):
    for tape in (_tape(build), _array_tape(build)):
        assert program(optimize(tape)) == program(tape)


@pytest.mark.parametrize(
    "name", ["divide", "subtract", "pow", "remainder", "arctan2", "less", "copysign"]
)
def test_operations_that_do_not_commute_are_not_shared(name):
    tape = _tape(lambda o: o("add", o(name, 1, 2), o(name, 2, 1)))
    assert optimize(tape).instructions == 3


# counts


def test_each_pass_does_its_own_work():
    tape = _tape(
        lambda o: (
            o("exp", 1),  # dead
            o("add", o("sin", 2), o("multiply", o("sin", 2), o("multiply", 2.0, 3.0))),
        )[1]
    )
    assert tape.instructions == 6
    assert fold_constants(tape).instructions == 5
    assert share(tape).instructions == 5
    assert simplify(tape).instructions == 6
    assert remove_dead(tape).instructions == 5
    assert optimize(tape).instructions == 3


def test_vector_instructions_are_shared():
    def f(x):
        index = np.array([3, 3, 0, 11, 7, 2, 2, 9, 1, 5])
        parts = [np.sin(x), np.sin(x), x[index] * 2.0, x[index] * 2.0, np.cumsum(x), np.cumsum(x)]
        a = np.outer(x, x) @ np.outer(x, x)
        return [np.sum(part) for part in (*parts, *parts)] + [a[0, 0], (np.outer(x, x) @ x)[1]]

    x = np.linspace(0.1, 1.0, 12)
    tape = nt.record(f, x).flat
    kinds = [vector.kind for vector in optimize(tape).vectors]
    assert kinds.count("accumulate") == 1
    assert kinds.count("reduce") == 3
    assert kinds.count("product") == 2
    # sin, the gathered product, the outer product, and a copy of that: BLAS rounds otherwise
    # for a product of one matrix with itself than for one of two.
    assert kinds.count("map") == 4
    _assert_same(tape, optimize(tape), x)


def test_dead_vector_instructions_are_removed():
    def f(x):
        np.exp(x)
        np.sum(np.cos(x) @ np.outer(x, x))
        return np.sin(x)[3:]

    tape = nt.record(f, np.linspace(0.1, 1.0, 12)).flat
    new = remove_dead(tape)
    assert [ROWS[vector.opcode].name for vector in new.vectors] == ["sin"]
    assert new.constants.size <= tape.constants.size


def test_optimised_twice_is_optimised_once():
    for function in PROGRAMS:
        once = optimize(nt.record(function, np.linspace(0.2, 1.3, INPUTS)).flat)
        assert program(optimize(once)) == program(once)


def test_a_tape_without_instructions():
    tape = nt.record(lambda x: [x[1], 3.0, x[0]], np.array([1.0, 2.0])).flat
    for transform in PASSES.values():
        assert_same_bits(_run(transform(tape), np.array([5.0, 6.0]))[1], [6.0, 3.0, 5.0])


# guards


def _two_branches(x):
    y = x[0] * 1.0 * x[1]
    total = np.sum(np.sin(x))
    if y > x[2]:
        y = y * total
    if x[1] * x[0] > x[2]:  # the same comparison once more
        y = y + 1.0
    return y if total > 0.0 else -y


FLIPS = {
    "first": np.concatenate([[-1.0, 2.0, 1.0], np.full(9, 1.0)]),
    "last": np.concatenate([[1.0, 2.0, 1.0], np.full(9, -1.0)]),
}


@pytest.mark.parametrize("flip", FLIPS)
def test_flipped_guards_are_noticed(transform, flip):
    x = np.concatenate([[1.0, 2.0, 1.0], np.full(9, 1.0)])
    tape = nt.record(_two_branches, x).flat
    new = transform(tape)
    expected, _ = _run(tape, FLIPS[flip])
    assert expected is not None
    assert _run(new, FLIPS[flip])[0] == expected
    assert _run(new, x)[0] is None


def test_equal_guards_become_one():
    x = np.concatenate([[1.0, 2.0, 1.0], np.full(9, 1.0)])
    tape = nt.record(_two_branches, x).flat
    assert len(tape.guards) == 3
    assert len(share(tape).guards) == 3  # x * 1.0 * y is not y * x, before it is simplified
    assert len(optimize(tape).guards) == 2


def test_what_only_a_guard_needs_is_kept():
    def f(x):
        if np.exp(x[0]) > 2.0:
            return x[1] * 2.0
        return x[1]

    tape = optimize(nt.record(f, np.array([1.0, 1.0])).flat)
    assert [ROWS[opcode].name for opcode in tape.code[:, 0]] == ["exp", "greater", "multiply"]


# the method that users call


def test_tape_optimize():
    tape = nt.record(_two_branches, FLIPS["first"] * np.r_[-1.0, np.ones(11)])
    better = tape.optimize()
    x = FLIPS["first"] * np.r_[-1.5, np.ones(11)]
    assert better(x) == tape(x)
    assert better.flat.instructions < tape.flat.instructions
    assert "add" in tape.summary()
    assert tape.summary() != better.summary()
    np.testing.assert_allclose(better.gradient(x), tape.gradient(x), rtol=1e-15)
    with pytest.raises(nt.BranchError):
        better(FLIPS["first"])


def test_optimize_keeps_trees_and_static_arguments():
    def f(p, n, scale):
        return {"a": p["x"] ** n * scale[0] * 1.0, "b": [p["x"] * 1.0, 3.0]}

    arguments = ({"x": 2.0}, 3, np.array([0.5]))
    tape = nt.record(f, *arguments)
    assert tape.optimize()(*arguments) == tape(*arguments)
    with pytest.raises(nt.InputError):
        tape.optimize()({"x": 2.0}, 4, np.array([0.5]))


def test_optimising_reduces_what_it_can():
    def powers(x):
        return functools.reduce(lambda total, k: total + x ** (k % 3) * 1.0, range(30), 0.0)

    tape = nt.record(powers, 1.5).flat
    # 0.0 + 1.0 is folded, x**2 written once, and 29 sums remain.
    assert optimize(tape).instructions <= 31
