"""Guards: every kernel returns the first one that does not hold, as the naive interpreter does."""

import pickle

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
@pytest.mark.parametrize("kernel", ["evaluate", "linearize", "gradient"])
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


def whole_or_not(x):
    try:
        return x[0] * int(x[1])
    except ValueError:
        return -x[0]


@pytest.mark.parametrize("kernel", ["evaluate", "linearize", "gradient"])
def test_a_guard_of_what_is_nan(kernel):
    at_nan = nt.record(whole_or_not, np.array([2.0, np.nan])).flat
    at_a_number = nt.record(whole_or_not, np.array([2.0, 1.5])).flat
    assert np.isnan(at_nan.guards[0].outcome)
    for tape in (at_nan, at_a_number):
        memory = workspace(tape, sweeps=kernel in ("linearize", "gradient"))
        for x in (np.array([3.0, np.nan]), np.array([3.0, 1.5])):
            expected = naive.failed_guard(tape, naive.evaluate(tape, x))
            assert expected == (-1 if np.isnan(x[1]) == (tape is at_nan) else 0)
            result = np.empty(2 if kernel == "gradient" else 1)
            assert getattr(_kernels, kernel)(memory.handle, x, result) == expected


@pytest.mark.parametrize("compiled", [False, True])
def test_a_guard_of_what_is_nan_in_lanes_and_machine_code(compiled):
    points = np.array([[3.0, np.nan]] * 20)
    tape = nt.record(whole_or_not, np.array([2.0, np.nan]))
    if compiled:
        tape.compile()
    np.testing.assert_array_equal(tape(points), np.full(20, -3.0))
    assert tape(points[0]) == -3.0
    points[7, 1] = 1.5
    with pytest.raises(nt.BranchError, match=r"is 1.0, and it was nan") as caught:
        tape(points)
    assert caught.value.point == 7
    with pytest.raises(nt.BranchError, match="it was nan"):
        tape(points[7])
    copied = pickle.loads(pickle.dumps(tape))
    np.testing.assert_array_equal(copied(points[:7]), np.full(7, -3.0))
