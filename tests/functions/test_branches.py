"""A bare tape knows one path: what it says where a point would take another."""

import re

import numpy as np
import pytest

import numtape as nt


def f(x):
    y = x[0] * 2.0
    if y > x[1]:
        return y * x[1]
    return y


def _line_of_the_branch():
    return f.__code__.co_firstlineno + 2


METHODS = {
    "call": lambda tape, x: tape(x),
    "gradient": lambda tape, x: tape.gradient(x),
    "value_and_gradient": lambda tape, x: tape.value_and_gradient(x),
    "jacobian forward": lambda tape, x: tape.jacobian(x, mode="forward"),
    "jacobian reverse": lambda tape, x: tape.jacobian(x, mode="reverse"),
    "jvp": lambda tape, x: tape.jvp((x,), (x,)),
    "vjp": lambda tape, x: tape.vjp((x,), 1.0),
}


@pytest.mark.parametrize("method", METHODS)
def test_message(method):
    """File, line, the comparison and both values, and the remedy."""
    tape = nt.record(f, np.array([2.0, 3.0]))
    with pytest.raises(nt.BranchError) as caught:
        METHODS[method](tape, np.array([1.25, 3.5]))
    message = str(caught.value)
    assert f"{__file__}:{_line_of_the_branch()}" in message
    assert "2.5 > 3.5 is False" in re.sub(r"greater\(([^,]*), ([^)]*)\)", r"\1 > \2", message)
    assert "it was True" in message
    assert "numtape.grad" in message
    assert caught.value.guard == 0
    assert caught.value.outcome == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_vector_tapes(method):
    def g(x):
        total = np.sum(np.sin(x))
        return total * 2.0 if total > 0.0 else total

    tape = nt.record(g, np.full(20, 0.5))
    with pytest.raises(nt.BranchError, match=r"is False, and it was True"):
        METHODS[method](tape, np.full(20, -0.5))


def test_the_other_way_round():
    tape = nt.record(f, np.array([1.0, 3.0]))
    with pytest.raises(nt.BranchError, match="is True, and it was False"):
        tape(np.array([2.0, 3.0]))


def test_guarded_integer():
    tape = nt.record(lambda x: x * int(x), 2.5)
    with pytest.raises(nt.BranchError, match=r"trunc\(3\.5\) is 3\.0, and it was 2\.0"):
        tape(3.5)


def test_the_first_guard_that_fails_is_named():
    def g(x):
        a = x * 2.0 if x > 1.0 else x
        return a * 3.0 if x > 2.0 else a

    tape = nt.record(g, 3.0)
    for x, guard in ((1.5, 1), (0.5, 0)):
        with pytest.raises(nt.BranchError) as caught:
            tape(x)
        assert caught.value.guard == guard


def test_a_tape_is_usable_after_an_error():
    tape = nt.record(f, np.array([2.0, 3.0]))
    with pytest.raises(nt.BranchError):
        tape.gradient(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(tape.gradient(np.array([4.0, 3.0])), [6.0, 8.0])


def test_nan_fails_a_guard():
    tape = nt.record(lambda x: x * 2.0 if x > 0 else x, 1.0)
    with pytest.raises(nt.BranchError, match="nan"):
        tape(np.nan)


def test_line_in_a_function_of_the_users_that_is_called():
    def helper(v):
        return v if v > 0 else -v

    tape = nt.record(lambda x: helper(x[0]) * x[1], np.array([1.0, 2.0]))
    with pytest.raises(nt.BranchError, match=f":{helper.__code__.co_firstlineno + 1}:"):
        tape(np.array([-1.0, 2.0]))


def test_line_of_a_guard_inside_builtin_functions():
    tape = nt.record(lambda x: max(x[0], x[1]) * 2.0, np.array([1.0, 2.0]))
    with pytest.raises(nt.BranchError, match=re.escape(__file__)):
        tape(np.array([3.0, 2.0]))
