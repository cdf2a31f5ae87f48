"""Loops: values and derivatives are those of the tape with every step written out."""

import pickle

import naive
import numpy as np
import pytest
from checks import assert_same_bits
from random_loops import INPUTS, random_loops, written_out

from numtape.ops.table import OPCODE
from numtape.run.workspace import Plan, Workspace
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape
from numtape.tape.text import program, summary
from numtape.trace.recorder import Recorder
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent
from numtape.transform.passes import optimize, remove_dead

ALL = np.arange(INPUTS)
SEEDS = range(30)


def run(tape, x, compiled=False):
    plan = Plan(tape)
    if compiled:
        plan.compile(0)
    y = np.zeros(len(tape.outputs))
    assert plan.evaluate(Workspace(plan).handle, x, y) == -1
    return y


def point(seed):
    return np.random.default_rng(seed).normal(size=INPUTS)


def assert_close(found, expected):
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_values(seed):
    tape, x = random_loops(seed, products=False), point(seed)
    expected = run(written_out(tape), x)
    assert_same_bits(naive.run(tape, x), expected)
    for compiled in (False, True):
        assert_same_bits(run(tape, x, compiled), expected)
        assert_same_bits(run(remove_dead(tape), x, compiled), expected)
    np.testing.assert_array_equal(run(optimize(tape), x), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_values_with_products(seed):
    tape, x = random_loops(seed), point(seed)
    for compiled in (False, True):
        assert_close(run(tape, x, compiled), run(written_out(tape), x))


@pytest.mark.parametrize("derive", [jacobian_by_rows, jacobian_by_columns])
@pytest.mark.parametrize("seed", SEEDS)
def test_jacobians(seed, derive):
    tape, x = random_loops(seed), point(seed)
    found = derive(tape, ALL)
    expected = run(derive(written_out(tape), ALL), x)
    assert_close(run(found, x), expected)
    assert_close(run(found, x, compiled=True), expected)
    assert_close(naive.run(found, x), expected)


@pytest.mark.parametrize("outer", [jacobian_by_rows, jacobian_by_columns])
@pytest.mark.parametrize("inner", [jacobian_by_rows, jacobian_by_columns])
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_hessians(seed, inner, outer):
    tape, x = random_loops(seed), point(seed)
    found = []
    for each in (tape, written_out(tape)):
        gradient = inner(each.changed(outputs=each.outputs[-1:]), ALL)
        hessian = outer(gradient.changed(outputs=gradient.outputs[1:]), ALL)
        found.append(run(hessian, x))
    np.testing.assert_allclose(*found, rtol=1e-7, atol=1e-10 * np.abs(found[1]).max())


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_tangents_and_adjoints_are_of_one_jacobian(seed):
    tape, x, rng = random_loops(seed), point(seed), np.random.default_rng(seed)
    count = len(tape.outputs)
    dx, weights = rng.normal(size=INPUTS), rng.normal(size=count)
    dy = run(tangent(tape), np.append(x, dx))[count:]
    wj = run(adjoint(tape), np.append(x, weights))[count:]
    assert_close(dy @ weights, wj @ dx)


# One loop by hand: a variance that follows squares, and what is summed of it.


def garch(steps: int = 40) -> FlatTape:
    step = Recorder(5)
    variance, read, a, b, c = range(1, 6)
    square = step.scalar(OPCODE["multiply"], read, read)
    ratio = step.scalar(OPCODE["divide"], square, variance)
    term = step.scalar(OPCODE["add"], step.scalar(OPCODE["log"], variance, 0), ratio)
    first, second = (
        step.scalar(OPCODE["multiply"], *pair) for pair in ((a, square), (b, variance))
    )
    sums = step.scalar(OPCODE["add"], first, second)
    following = step.scalar(OPCODE["add"], c, sums)
    unused = step.scalar(OPCODE["exp"], term, 0)
    body = step.finish(np.array([following, term, unused]), np.zeros(5))
    tape = Recorder(4)
    data = tape.constant_array(np.random.default_rng(0).normal(size=steps))
    one = [np.array(slot) for slot in (1, 2, 3, 4)]
    loop = Body(body, ((),), ((),), ((), (), ()), ((), ()))
    results = tape.loop(loop, steps, [one[0], data, *one[1:]])
    total = tape.reduce("add", results[1 : 1 + steps], (0,))
    return tape.finish(np.array([int(total)]), np.zeros(4))


X = np.array([0.3, 0.1, 0.8, 0.2])


def test_what_nobody_reads_is_left_out():
    tape = remove_dead(garch())
    (loop,) = [each for each in tape.vectors if each.body]
    assert loop.body.writes == ((),)
    assert OPCODE["exp"] not in loop.body.tape.opcodes
    assert remove_dead(tape) is tape


def test_reverse_keeps_what_it_reads():
    gradient = jacobian_by_rows(garch(), np.arange(4))
    forward, backward = [each for each in gradient.vectors if each.body]
    # The variance, and its ratio; not the square, which is quickly computed again.
    assert forward.body.written == 3
    assert backward.body.writes == ()
    assert gradient.instructions == 3


def test_by_one_input_alone():
    whole = run(jacobian_by_rows(garch(), np.arange(4)), X)
    for k in range(4):
        for derive in (jacobian_by_rows, jacobian_by_columns):
            assert_close(run(derive(garch(), np.array([k])), X), whole[[0, 1 + k]])


def test_zero_by_structure():
    """A parameter that only what is left out depends on has no adjoint, and costs nothing."""
    step = Recorder(3)
    doubled = step.scalar(OPCODE["add"], 1, 1)
    other = step.scalar(OPCODE["multiply"], 2, 3)
    body = Body(step.finish(np.array([doubled, other]), np.zeros(3)), ((), ()), (), ((),), ())
    tape = Recorder(3)
    results = tape.loop(body, 5, [np.array(k) for k in (1, 2, 3)])
    flat = tape.finish(np.array([int(results[0])]), np.zeros(3))
    for derive in (jacobian_by_rows, jacobian_by_columns):
        found = derive(flat, np.arange(3))
        assert found.outputs[2:].tolist() == [0, 0]
        assert_same_bits(run(found, np.array([1.0, 2.0, 3.0])), np.array([32.0, 32.0, 0.0, 0.0]))


def test_saved_and_read():
    gradient = jacobian_by_rows(garch(), np.arange(4))
    again = pickle.loads(pickle.dumps(gradient))
    assert program(again) == program(gradient)
    assert_same_bits(run(again, X), run(gradient, X))


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_nested_loops_are_saved_and_read(seed):
    tape, x = random_loops(seed, products=False), point(seed)
    again = pickle.loads(pickle.dumps(tape))
    assert program(again) == program(tape)
    assert_same_bits(run(again, x), run(tape, x))


def test_equal_bodies_are_one():
    (one,), (other,) = (
        [each.body for each in garch(steps).vectors if each.body] for steps in (40, 30)
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one is not other
    assert one != Body(one.tape, one.carries, one.reads, one.same, ((2,),))


def test_text():
    assert program(remove_dead(garch())).splitlines() == [
        "inputs: s1 s2 s3 s4",
        "s5..s45 = repeat(40, carry=(s1), read=(constant(40,)), same=(s2, s3, s4))",
        "    carry s1; read s2; same s3 s4 s5",
        "    s6 = s2 * s2",
        "    s7 = s6 / s1",
        "    s8 = log(s1)",
        "    s9 = s8 + s7",
        "    s10 = s3 * s6",
        "    s11 = s4 * s1",
        "    s12 = s10 + s11",
        "    s13 = s5 + s12",
        "    next s13; write s9",
        "s46 = sum(s6..s45)",
        "outputs: s46",
    ]
    assert "1 loop of 40 steps in all, 10 instructions with their bodies, 321 written out" in (
        summary(remove_dead(garch()))
    )
