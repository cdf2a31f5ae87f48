"""The kernels of scalar tapes against the naive interpreter, bit for bit.

Evaluate, linearize, tangents, adjoints and gradient run on recorded tapes that
between them hold every row of the table, at the recording point and elsewhere.
"""

import naive
import numpy as np
import pytest
from checks import assert_same_bits, workspace

import numtape as nt
from numtape.ops.table import ROWS
from numtape.run import _kernels
from numtape.run.workspace import Plan, Workspace
from numtape.tape.body import Body
from numtape.trace.ufuncs import apply_row


def logistic(x):
    for _ in range(5):
        x = 4.0 * x * (1.0 - x)
    return x


def rosenbrock(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def many_outputs(x):
    a, b, c = x
    return [np.sin(a) * b, np.exp(-c) / (1.0 + b * b), 3.0, a, np.hypot(a, c) ** 1.5]


def every_row(x):
    """All rows, each on its own slightly different operands inside its domain."""
    results = []
    for number, row in enumerate(ROWS):
        operands = []
        for k in range(row.arity):
            low, high = row.domain[k]
            share = (x[(number + k) % 5] + 0.37 * number) % 1.0
            operands.append(low + (high - low) * share if high > low else low + 0.0 * share)
        results.append(apply_row(row, operands))
    return results


PROGRAMS = {
    "logistic": (logistic, [np.array(0.2), np.array(0.7)]),
    "rosenbrock": (rosenbrock, [np.linspace(-1, 1, 6), np.linspace(2, 0, 6)]),
    "many outputs": (many_outputs, [np.array([0.3, -0.7, 1.1]), np.array([-2.0, 0.0, 0.5])]),
    "every row": (every_row, [np.linspace(0.05, 0.93, 5), np.linspace(0.9, 0.1, 5)]),
}


def _argument(point):
    return point if point.ndim else float(point)


@pytest.fixture(params=PROGRAMS)
def case(request):
    function, points = PROGRAMS[request.param]
    return nt.record(function, _argument(points[0])).flat, [point.reshape(-1) for point in points]


def test_tape_is_scalar(case):
    assert case[0].is_scalar


def test_evaluate(case):
    tape, points = case
    memory, sharing = Workspace(Plan(tape, share=False)), workspace(tape)
    for x in points:
        y = np.empty(len(tape.outputs))
        assert _kernels.evaluate(sharing.handle, x, y) == -1
        assert_same_bits(y, naive.run(tape, x))
        assert _kernels.evaluate(memory.handle, x, y) == -1
        assert_same_bits(memory.values, naive.evaluate(tape, x))


def test_evaluate_mixed_runs_scalar_tapes_too_as_loops_do(case):
    tape, points = case
    memory = Workspace(
        Plan(tape, body=Body(tape, (), ((tape.inputs,),), (), ((len(tape.outputs),),)))
    )
    for x in points:
        y = np.empty(len(tape.outputs))
        assert _kernels.evaluate_mixed(memory.handle, x, y) == -1
        assert_same_bits(y, naive.run(tape, x))


def test_linearize(case):
    tape, points = case
    memory = workspace(tape, sweeps=True)
    for x in points:
        y = np.empty(len(tape.outputs))
        assert _kernels.linearize(memory.handle, x, y) == -1
        assert_same_bits(y, naive.run(tape, x))


def test_tangents(case):
    tape, points = case
    memory = workspace(tape, sweeps=True)
    seeds = np.random.default_rng(1).normal(size=(3, tape.inputs))
    for x in points:
        _kernels.linearize(memory.handle, x, np.empty(len(tape.outputs)))
        found = np.empty((3, len(tape.outputs)))
        _kernels.tangents(memory.handle, seeds, found)
        values = naive.evaluate(tape, x)
        assert_same_bits(found, [naive.tangents(tape, values, seed) for seed in seeds])


def test_adjoints(case):
    tape, points = case
    memory = workspace(tape, sweeps=True)
    seeds = np.random.default_rng(2).normal(size=(3, len(tape.outputs)))
    for x in points:
        _kernels.linearize(memory.handle, x, np.empty(len(tape.outputs)))
        found = np.empty((3, tape.inputs))
        _kernels.adjoints(memory.handle, seeds, found)
        values = naive.evaluate(tape, x)
        # Contributions of the two operands of one instruction may be added in either order.
        expected = np.array([naive.adjoints(tape, values, seed) for seed in seeds])
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)


def test_gradient(case):
    tape, points = case
    memory = workspace(tape, sweeps=True)
    unit = np.eye(len(tape.outputs))[0]
    for x in points:
        g = np.empty(tape.inputs)
        assert _kernels.gradient(memory.handle, x, g) == -1
        values = naive.evaluate(tape, x)
        np.testing.assert_allclose(g, naive.adjoints(tape, values, unit), rtol=1e-14, atol=1e-14)
        assert_same_bits(memory.gradient_output, values[tape.outputs])


def test_sweeps_leave_nothing_behind(case):
    """A workspace used for one point gives the next the same answer as a fresh one."""
    tape, (first, second) = case
    used, fresh = workspace(tape, sweeps=True), workspace(tape, sweeps=True)
    g, h = np.empty(tape.inputs), np.empty(tape.inputs)
    _kernels.gradient(used.handle, first, g)
    _kernels.gradient(used.handle, second, g)
    _kernels.gradient(fresh.handle, second, h)
    assert_same_bits(g, h)


def test_every_row_is_covered(case):
    codes = {row.name for row in ROWS}
    tape = nt.record(every_row, PROGRAMS["every row"][1][0]).flat
    assert {ROWS[opcode].name for opcode in tape.code[:, 0].tolist()} >= codes
