"""Loops by the kernels and by machine code, against the slow interpreter."""

import naive
import numpy as np
import pytest
from checks import assert_same_bits
from random_loops import INPUTS, random_loops

from numtape.ops.table import OPCODE
from numtape.run.workspace import Plan, Workspace
from numtape.tape.body import Body
from numtape.trace.recorder import Recorder
from numtape.transform.derivative import jacobian_by_rows


def run(tape, x, compiled):
    plan = Plan(tape)
    if compiled:
        plan.compile(0)
    y = np.zeros(len(tape.outputs))
    memory = Workspace(plan)
    for _ in range(2):  # what a body holds of the run before does not matter
        assert plan.evaluate(memory.handle, x, y) == -1
    return y


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_loops(seed, compiled):
    x = np.random.default_rng(seed).normal(size=INPUTS)
    tape = random_loops(seed, products=False)
    assert_same_bits(run(tape, x, compiled), naive.run(tape, x))


def turning(steps):
    """What is carried changes places, and one is carried on as it is; another is put into both."""
    step = Recorder(5)
    total = step.scalar(OPCODE["add"], 1, 4)
    body = step.finish(np.array([2, 3, 1, total, 4, 5]), np.zeros(5))
    loop = Body(body, ((3,), ()), ((),), (), ((), ()))
    tape = Recorder(4)
    results = tape.loop(loop, steps, [np.array([1, 2, 3]), np.array(4), np.full(steps, 2)])
    return tape.finish(np.asarray(results), np.zeros(4))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_what_is_carried_may_change_places(steps, compiled):
    x = np.array([1.0, 2.0, 3.0, 0.5])
    assert_same_bits(run(turning(steps), x, compiled), naive.run(turning(steps), x))


@pytest.mark.parametrize("compiled", [False, True])
def test_zero_times_infinity(compiled):
    """An adjoint of 0 meets an infinite slope: machine code leaves such a loop to the kernel."""
    step = Recorder(3)
    root = step.scalar(OPCODE["sqrt"], 2, 0)
    total = step.scalar(OPCODE["add"], 1, step.scalar(OPCODE["multiply"], 3, root))
    body = step.finish(np.array([total]), np.zeros(3))
    tape = Recorder(4)
    loop = Body(body, ((),), ((),), ((),), ())
    results = tape.loop(loop, 3, [np.array(0), np.array([1, 2, 3]), np.array(4)])
    gradient = jacobian_by_rows(tape.finish(np.asarray(results), np.zeros(4)), np.arange(4))
    x = np.array([4.0, 0.0, 9.0, 0.0])
    found = run(gradient, x, compiled)
    assert_same_bits(found, naive.run(gradient, x))
    assert_same_bits(found, np.array([0.0, 0.0, 0.0, 0.0, 5.0]))


@pytest.mark.parametrize("name", ["log", "arctan2"])
@pytest.mark.parametrize("steps", [20, 128, 150])
def test_calls_for_blocks_of_steps(name, steps):
    """Calls that wait for nothing, for each other, for what is carried; one is in a circle."""
    step = Recorder(4)
    angle, total, read, same = 1, 2, 3, 4
    first = step.scalar(OPCODE[name], read, same if name == "arctan2" else 0)
    second = step.scalar(OPCODE["tanh"], step.scalar(OPCODE["add"], first, same), 0)
    angle = step.scalar(OPCODE["sin"], step.scalar(OPCODE["add"], angle, read), 0)
    third = step.scalar(OPCODE["exp"], step.scalar(OPCODE["multiply"], angle, second), 0)
    total = step.scalar(OPCODE["add"], total, third)
    body = step.finish(np.array([angle, total, second, read, same, first]), np.zeros(4))
    loop = Body(body, ((), ()), ((),), ((),), ((2,), (2,)))
    tape = Recorder(steps + 3)
    data = np.arange(4, steps + 4)[::-1]
    results = tape.loop(loop, steps, [np.array(1), np.array(2), data, np.array(3)])
    flat = tape.finish(np.asarray(results), np.zeros(steps + 3))
    x = np.random.default_rng(0).uniform(0.5, 2.0, steps + 3)
    expected = naive.run(flat, x)
    for compiled in (False, True):
        assert_same_bits(run(flat, x, compiled), expected)
