"""Guards: every kernel returns the first one that does not hold, as the naive interpreter does."""

import naive
import numpy as np
import pytest
from checks import workspace

import numtape as nt
from numtape.run import _kernels


def branching(x):
    y = x[0] * x[1]
    if y > 1.0:
        y = y + 1.0
    if x[0] < x[1]:
        y = y * 2.0
    return y if x[1] >= 0.0 else -y


def branching_arrays(x):
    y = np.sin(x) * 2.0
    total = np.sum(y)
    if total > 1.0:
        total = total * 2.0
    if x[0] < x[1]:
        total = total + 1.0
    return total


POINTS = [(2.0, 3.0), (0.1, 0.2), (3.0, 2.0), (-3.0, -2.0), (np.nan, 1.0), (2.0, np.nan)]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kernel", ["evaluate", "evaluate_mixed", "linearize", "gradient"])
def test_scalar_kernels(kernel, point):
    tape = nt.record(branching, np.array([2.0, 3.0])).flat
    x = np.array(point)
    expected = naive.failed_guard(tape, naive.evaluate(tape, x))
    memory = workspace(tape, sweeps=kernel in ("linearize", "gradient"))
    result = np.empty(2 if kernel == "gradient" else 1)
    assert getattr(_kernels, kernel)(memory.handle, x, result) == expected


@pytest.mark.parametrize("shift", [0.0, -2.0, np.nan])
def test_mixed_kernel(shift):
    tape = nt.record(branching_arrays, np.linspace(0.1, 1.0, 20)).flat
    for x in (np.linspace(0.1, 1.0, 20) + shift, np.linspace(1.0, 0.1, 20) + shift):
        expected = naive.failed_guard(tape, naive.evaluate(tape, x))
        memory = workspace(tape)
        assert _kernels.evaluate_mixed(memory.handle, x, np.empty(1)) == expected


def test_every_outcome_is_met():
    tape = nt.record(branching, np.array([2.0, 3.0])).flat
    found = {naive.failed_guard(tape, naive.evaluate(tape, p)) for p in POINTS}
    assert found == {-1, 0, 1, 2}
