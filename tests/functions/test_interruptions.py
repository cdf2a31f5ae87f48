"""Interruptions, exhausted memory, errors of the user's: whatever ends a call, the next is right.

An exception is raised at the n-th event that the interpreter reports (a call or a return,
in Python or C), for many n: these are the places at which it looks for signals.
"""

import gc
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from numba.core import event

import numtape as nt
from numtape.jit.compile import kernel
from numtape.trace.record import active_recorder
from numtape.trace.substitutes import BINDINGS

X = np.linspace(0.2, 1.0, 12)
POINTS = X * np.arange(1.0, 40.0)[:, None]
ORIGINAL = scipy.special.logsumexp


def bent(x):
    """With a branch, a function of SciPy and a derivative inside."""
    inner = nt.grad(lambda y: np.sum(y * y * x))(x)
    value = scipy.special.logsumexp(x) + np.sum(inner)
    return value if x[0] > 0.0 else 2.0 * value


def slope(x):
    return (scipy.special.softmax(x) + 4 * x) * (1.0 if x[0] > 0.0 else 2.0)


def loop(x):
    total = 0.0
    for value in x:
        total = total + np.sin(value) * value
    return total


class At:
    """Raises at the n-th event; how many there were, if it did not."""

    def __init__(self, number, kind):
        self.number, self.kind, self.count = number, kind, 0

    def __call__(self, frame, event, argument):
        if event == "c_call" and argument.__name__ == "__exit__":
            return  # of a lock; an interruption never comes between a block and its end
        self.count += 1
        if self.count == self.number:
            raise self.kind("injected")

    def run(self, call):
        """Whether the call was ended."""
        # Python drops what is raised while it clears away a generator; the call goes on then.
        hook, sys.unraisablehook = sys.unraisablehook, lambda dropped: None
        sys.setprofile(self)
        try:
            call()
        except (KeyboardInterrupt, MemoryError):
            return True
        finally:
            sys.setprofile(None)
            sys.unraisablehook = hook
        return False


def first_gradient():
    """Returns a call, and the check to make after it ended in any way."""
    gradient = nt.grad(bent)

    def check():
        np.testing.assert_allclose(gradient(X), slope(X), rtol=1e-12)
        np.testing.assert_allclose(gradient(-X), slope(-X), rtol=1e-12)

    return lambda: gradient(X), check


def other_branch():
    gradient = nt.grad(lambda x: loop(x) if x[0] > 0.0 else np.sum(x * x))
    gradient(X)

    def check():
        np.testing.assert_allclose(gradient(X), np.cos(X) * X + np.sin(X), rtol=1e-12)
        np.testing.assert_array_equal(gradient(-X), -2 * X)

    return lambda: gradient(-X), check


def derivatives_of_a_tape():
    tape = nt.record(lambda x: np.sum(np.sin(x) * x), X)

    def check():
        expected = np.cos(X) * X + np.sin(X)
        np.testing.assert_allclose(tape.gradient(X), expected, rtol=1e-12)
        np.testing.assert_allclose(tape.jacobian(X, mode="forward"), expected, rtol=1e-12)
        second = np.diag(2 * np.cos(X) - np.sin(X) * X)
        np.testing.assert_allclose(tape.hessian(X), second, rtol=1e-12)

    return check, check


def sweeps():
    tape = nt.record(loop, X)
    tape.gradient(X)
    fresh = nt.Tape(tape.flat, tape.signature, tape.result)

    def check():
        expected = np.cos(X) * X + np.sin(X)
        np.testing.assert_allclose(fresh.gradient(X), expected, rtol=1e-12)
        np.testing.assert_allclose(fresh.jvp((X,), (X,))[1], expected @ X, rtol=1e-12)

    return check, check


def batch():
    tape = nt.record(loop, X)

    def check():
        expected = np.cos(POINTS) * POINTS + np.sin(POINTS)
        np.testing.assert_allclose(tape.gradient(POINTS), expected, rtol=1e-11, atol=1e-11)

    return check, check


def vectorized():
    mapped = nt.vmap(nt.grad(lambda x: np.sum(x * x) if x[0] > 0.0 else np.sum(x)))
    points = np.concatenate([POINTS[:5], -POINTS[:5]])

    def check():
        expected = np.concatenate([2 * POINTS[:5], np.ones((5, 12))])
        np.testing.assert_array_equal(mapped(points), expected)

    return check, check


def end_at(make, number, kind):
    """End a fresh call at an event and check everything after it; whether it was ended."""
    call, check = make()
    ended = At(number, kind).run(call)
    gc.collect()  # what the traceback held
    assert active_recorder() is None
    check()
    assert scipy.special.logsumexp is ORIGINAL
    assert not len(BINDINGS.running)
    return ended


def count_events(make):
    for _ in range(2):  # the first time more is imported, compiled and kept
        counter = At(0, KeyboardInterrupt)
        assert not counter.run(make()[0])
    return counter.count


MAKERS = [first_gradient, other_branch, derivatives_of_a_tape, sweeps, batch, vectorized]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("make", MAKERS)
def test_whatever_ends_a_call_the_next_one_is_right(make, kind):
    """At some of the events; ``python tests/functions/test_interruptions.py 1`` takes each."""
    events = count_events(make)
    places = {
        *np.geomspace(1, events // 2, 8).astype(int),
        *range(events // 14, events, events // 7),
    }
    assert sum(end_at(make, number, kind) for number in sorted(places)) >= 8


def test_interrupted_while_recording():
    calls = []

    def interrupted(x):
        calls.append(x)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return np.sum(x * x)

    gradient = nt.grad(interrupted)
    with pytest.raises(KeyboardInterrupt):
        gradient(X)
    assert active_recorder() is None
    np.testing.assert_array_equal(gradient(X), 2 * X)
    assert len(calls) == 2


@pytest.mark.parametrize("threads", [1, 4])
def test_interrupted_in_a_long_batch(threads, monkeypatch):
    """From the first chunk on; most of the others are not run."""
    monkeypatch.setattr("numtape.run.batch._CHUNK", 1 << 16)
    tape = nt.record(loop, X)
    points = np.tile(POINTS, (8000, 1))
    told = []

    def progress(done, total):
        told.append(done)
        if len(told) == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tape.gradient(points, num_threads=threads, progress=progress)
    assert max(told) < len(points) // 2
    found = tape.gradient(points[:50], num_threads=threads)
    expected = np.cos(points[:50]) * points[:50] + np.sin(points[:50])
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_no_memory_for_a_workspace(monkeypatch):
    """For all allocations one after the other, by the names they are made by."""
    tape = nt.record(loop, X)
    points = np.tile(POINTS, (400, 1))
    expected = np.cos(POINTS) * POINTS + np.sin(POINTS)
    for module in ("numtape.run.workspace", "numtape.run.lanes"):
        allocate, failures = np.zeros, 0
        for number in range(40):
            calls = 0

            def zeros(*arguments, number=number, allocate=allocate, **options):
                nonlocal calls
                calls += 1
                if calls - 1 == number:
                    raise MemoryError("injected")
                return allocate(*arguments, **options)

            fresh = nt.Tape(tape.flat, tape.signature, tape.result)
            with monkeypatch.context() as patch:
                patch.setattr(np, "zeros", zeros)
                try:
                    fresh.gradient(points, num_threads=3)
                except MemoryError:
                    failures += 1
            np.testing.assert_allclose(fresh.gradient(POINTS), expected, rtol=1e-11, atol=1e-11)
        assert failures > 5, module


def test_results_too_large_for_the_memory():
    mapped = nt.vmap(lambda x: x * np.ones(1 << 20))
    with pytest.raises(MemoryError):
        mapped(np.broadcast_to(1.0, (1 << 33,)))
    np.testing.assert_array_equal(mapped(np.ones(2)), np.ones((2, 1 << 20)))


class Mine(Exception):
    pass


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_error_in_the_middle_of_nested_recordings(depth):
    fails = True

    def innermost(x):
        y = np.sin(x)
        if fails:
            raise Mine("on purpose")
        return np.sum(y)

    def nest(function, levels):
        if levels == 0:
            return function
        return nest(lambda x: np.sum(nt.grad(function)(x) ** 2), levels - 1)

    gradient = nt.grad(nest(innermost, depth - 1))
    with pytest.raises(Mine, match="on purpose"):
        gradient(X)
    assert active_recorder() is None
    assert scipy.special.logsumexp is ORIGINAL
    fails = False
    expected = {1: np.cos(X), 2: -np.sin(2 * X)}
    found = gradient(X)
    if depth in expected:
        np.testing.assert_allclose(found, expected[depth], rtol=1e-12)
    else:
        nt.check_derivatives(lambda x: np.sum(np.sin(2 * x) ** 2), X)
        np.testing.assert_allclose(found, 2 * np.sin(4 * X), rtol=1e-12)


def test_an_error_caught_by_the_recorded_function():
    """The inner recording is over, the outer one goes on."""

    def inner(x):
        raise Mine("on purpose")

    def outer(x):
        try:
            return nt.grad(inner)(x)
        except Mine:
            return np.sum(x * x)

    np.testing.assert_array_equal(nt.grad(outer)(X), 2 * X)


def test_a_warning_made_an_error_while_recording():
    def warns(x):
        warnings.warn("on purpose", UserWarning, stacklevel=1)
        return np.sum(x * x)

    gradient = nt.grad(warns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="on purpose"):
            gradient(X)
    with pytest.warns(UserWarning, match="on purpose"):
        np.testing.assert_array_equal(gradient(X), 2 * X)


if __name__ == "__main__":
    for every in MAKERS:
        most = count_events(every)
        places = range(1, most, int(sys.argv[1]))
        ended = sum(end_at(every, place, KeyboardInterrupt) for place in places)
        print(f"{every.__name__}: ended at {ended} of {len(places)} places", flush=True)


def test_wherever_an_interruption_comes():
    script = Path(__file__).with_name("interrupted.py")
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-5000:]
    assert int(ran.stdout) > 250


def twice(x):
    return 2.0 * x


class WhereCompiled(event.Listener):
    """Notes the threads in which Numba compiles."""

    def __init__(self):
        self.threads = set()

    def on_start(self, event):
        self.threads.add(threading.get_ident())

    def on_end(self, event):
        pass


def test_kernels_are_compiled_where_no_interruption_comes(tmp_path, monkeypatch):
    """Interrupted while it compiles, Numba may be of no more use to this process."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    doubled, noted = kernel(twice), WhereCompiled()
    with event.install_listener("numba:compile", noted):
        assert doubled(1.5) == 3.0
    assert len(noted.threads) == 1
    assert threading.get_ident() not in noted.threads
