"""When tapes are compiled: by themselves, in the background, and what if that fails."""

import itertools
import multiprocessing
import sys
import threading
import warnings

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions import runner as runner_module
from numtape.jit import compiling
from numtape.jit.compiling import settle
from numtape.run import batch as batch_module
from numtape.run import machine_code

X = np.array([0.3, 0.7, 1.1])
MANY = np.random.default_rng(0).uniform(0.2, 2, (40, 3))


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Tapes are compiled after twenty runs, or a hundred points."""
    monkeypatch.setattr(runner_module, "OFTEN", 20)
    monkeypatch.setattr(runner_module, "_OFTEN", 5)  # when Jacobians leave the sweeps
    monkeypatch.setattr(batch_module, "MANY_POINTS", 100)
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")
    yield
    settle()  # before LLVM is itself again


def function(x):
    return np.exp(x[0]) * x[1] - x[0] / x[1] + x[2] ** 3


def residual(x):
    return np.array([x[0] * x[1], np.sin(x[1]) - x[2]])


WAYS = {
    "value": lambda tape: tape(X),
    "gradient": lambda tape: tape.gradient(X),
    "value and gradient": lambda tape: np.append(*tape.value_and_gradient(X)[::-1]),
    "hessian": lambda tape: tape.hessian(X),
    "hessian times vector": lambda tape: tape.hvp((X,), (X,))[0],
    "jvp": lambda tape: tape.jvp((X,), (X,))[1],
    "vjp": lambda tape: tape.vjp((X,), 2.0)[1][0],
    "values": lambda tape: tape(MANY),
    "gradients": lambda tape: tape.gradient(MANY),
}


def codes(runner) -> int:
    """How many plans of a runner, and of what is made from its tape, have machine code."""
    plans = []
    for each in runner.family():
        plans += [*each.plans.values(), *(batch.plan for batch in each.batches.values())]
    return sum(plan.machine_code is not None for plan in plans)


@pytest.mark.parametrize("way", WAYS)
def test_by_itself(way):
    tape = nt.record(function, X)
    expected = WAYS[way](tape)
    for _ in range(30):
        found = WAYS[way](tape)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    settle()
    for _ in range(30):  # of a tape that took over from sweeps after twenty
        found = WAYS[way](tape)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    settle()
    assert codes(tape.runner) == 1
    for _ in range(3):
        np.testing.assert_allclose(WAYS[way](tape), expected, rtol=1e-14)


@pytest.mark.parametrize("way", WAYS)
def test_on_request(way):
    tape = nt.record(function, X)
    expected = WAYS[way](tape)
    assert tape.compile() is tape
    np.testing.assert_allclose(WAYS[way](tape), expected, rtol=1e-14)
    fresh = nt.record(function, X).compile()
    before = codes(fresh.runner)
    np.testing.assert_allclose(WAYS[way](fresh), expected, rtol=1e-14)
    assert codes(fresh.runner) == before + (way != "value")
    np.testing.assert_allclose(WAYS[way](tape), expected, rtol=1e-14)
    assert codes(tape.runner) >= codes(fresh.runner)  # what was derived before is compiled whole


def test_of_several_outputs_and_with_an_auxiliary_result():
    tape = nt.record(residual, X)
    expected = tape(X), tape.jacobian(X), tape.jacobian(MANY)
    tape.compile()
    assert_same_bits(tape(X), expected[0])
    np.testing.assert_allclose(tape.jacobian(X), expected[1], rtol=1e-15)
    assert_same_bits(tape.jacobian(MANY), expected[2])


def test_with_an_auxiliary_result():
    differentiate = nt.value_and_grad(lambda x: (function(x), x * 2.0), has_aux=True)
    (value, aux), expected = differentiate(X)
    for _ in range(60):
        (again, other), found = differentiate(X)
        assert again == value
        assert_same_bits(other, aux)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        settle()


def test_functions_with_branches():
    def branching(x):
        return np.exp(x[0]) if x[0] > 0.5 else x[0] * x[1] ** 2

    gradient = nt.grad(branching)
    points = np.random.default_rng(1).uniform(0, 1, (200, 3))
    expected = [nt.grad(branching)(x) for x in points[:50]]
    for _ in range(3):
        for x, wanted in zip(points[:50], expected):
            np.testing.assert_allclose(gradient(x), wanted, rtol=1e-15)
        settle()


def test_the_switch(monkeypatch):
    monkeypatch.setenv("NUMTAPE_NATIVE", "off")
    tape = nt.record(function, X)
    for _ in range(60):
        tape(X)
        tape.gradient(X)
        tape.gradient(MANY)
        tape.jvp((X,), (X,))
    settle()
    assert codes(tape.runner) == 0
    assert codes(tape.compile().runner) >= 1


def test_calls_do_not_wait(monkeypatch):
    """While LLVM is at work, and holds on, calls are interpreted."""
    entered, leave = threading.Event(), threading.Event()
    make = machine_code.machine_code

    def slow(*arguments):
        entered.set()
        assert leave.wait(60)
        return make(*arguments)

    monkeypatch.setattr("numtape.run.workspace.machine_code", slow)
    tape = nt.record(function, X)
    expected = tape.gradient(X)
    for _ in range(30):
        tape.gradient(X)
    assert entered.wait(60)
    for _ in range(30):
        assert_same_bits(tape.gradient(X), expected)
        np.testing.assert_allclose(tape.value_and_gradient(X)[1], expected, rtol=1e-15)
    assert codes(tape.runner) == 0
    leave.set()
    settle()
    assert codes(tape.runner) >= 1


@pytest.mark.parametrize("error", [RuntimeError("LLVM is not well\nat all"), MemoryError()])
def test_where_llvm_refuses_the_interpreter_goes_on(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("numtape.run.machine_code.binding.parse_assembly", refuse)
    monkeypatch.setenv("NUMTAPE_NATIVE", "off")  # but for what is asked for
    tape = nt.record(function, X)
    expected = tape(X), tape.gradient(X), tape.gradient(MANY)
    with pytest.warns(nt.NativeCodeWarning, match="interpreted as before"):
        tape.compile()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert tape(X) == expected[0]
        np.testing.assert_allclose(tape.gradient(X), expected[1], rtol=1e-15)
        assert_same_bits(tape.gradient(MANY), expected[2])
        nt.record(function, X).compile()
    assert [warning.category for warning in caught] == [nt.NativeCodeWarning]


def test_a_refusal_in_the_background(monkeypatch):
    monkeypatch.setattr(
        "numtape.run.machine_code.binding.parse_assembly",
        lambda *_: (_ for _ in ()).throw(RuntimeError("no")),
    )
    tape = nt.record(function, X)
    expected = tape.gradient(X)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        for _ in range(50):
            assert_same_bits(tape.gradient(X), expected)
        settle()
        for _ in range(50):
            assert_same_bits(tape.gradient(X), expected)


@pytest.mark.parametrize("step", range(12))
def test_an_interruption_while_a_job_is_left_for_later(step):
    """After each step of leaving it: whatever was left then is done, and the process can end."""
    background, done, steps = compiling._Worker(), [], itertools.count()

    def interrupt(frame, event, argument):
        if frame.f_code.co_name == "later" and event == "line" and next(steps) == step:
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        background.later(lambda: done.append("first"))
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    background.later(lambda: done.append("second"))
    ends = threading.Thread(target=lambda: [background.settle(), background.end()], daemon=True)
    ends.start()
    ends.join(60)
    assert not ends.is_alive()
    assert sorted(done) == (["second"] if step < 2 else ["first", "second"])  # before it was put


def _in_child(queue, tape) -> None:
    for _ in range(50):
        found = tape.gradient(X)
    settle()
    queue.put((found, codes(tape.runner), tape.compile()(X)))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_after_a_fork():
    tape = nt.record(function, X)
    for _ in range(30):
        expected = tape.gradient(X)
    settle()  # the background thread is there, and will not be in the child
    other = nt.record(function, X)
    other.gradient(X)
    context = multiprocessing.get_context("fork")
    for each in (tape, other):
        queue = context.Queue()
        process = context.Process(target=_in_child, args=(queue, each))
        process.start()
        found, count, value = queue.get(timeout=60)
        process.join(60)
        np.testing.assert_allclose(found, expected, rtol=1e-15)
        assert count >= 1
        assert value == function(X)
