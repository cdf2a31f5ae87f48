"""One tape, one function, many threads at once: each thread has memory of its own."""

import importlib.util
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.special

import numtape as nt
from numtape.trace.record import active_recorder

POINTS = [np.linspace(0.1, 1.0, 12) * k for k in range(1, 9)]


def _in_threads(function, rounds=30):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, POINTS * rounds))


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_one_tape(kind):
    def scalar(x):
        total = 0.0
        for value in x:
            total = total + np.sin(value) * value
        return total

    def vector(x):
        return np.sum(np.sin(x) * x)

    tape = nt.record(scalar if kind == "scalar" else vector, POINTS[0])
    assert tape.flat.is_scalar == (kind == "scalar")

    def run(x):
        value, gradient = tape.value_and_gradient(x)
        return value, gradient, tape(x), tape.jacobian(x), tape.jvp((x,), (x,))[1]

    expected = [run(x) for x in POINTS] * 30
    for found, wanted in zip(_in_threads(run), expected):
        for a, b in zip(found, wanted):
            np.testing.assert_array_equal(a, b)


def test_one_function_recorded_by_all_threads_at_once():
    def f(x):
        return np.sum(x * x) if x[-1] > 4.0 else np.sum(x)

    for _ in range(5):
        gradient = nt.grad(f)
        for x, found in zip(POINTS * 10, _in_threads(gradient, 10)):
            np.testing.assert_array_equal(found, 2 * x if x[-1] > 4.0 else np.ones(12))


def test_recordings_at_the_same_time_do_not_mix():
    def make(k):
        return lambda x: np.sum(np.sin(x * k)) * x[0]

    def run(k):
        x = POINTS[0]
        found = nt.grad(make(float(k)))(x)
        expected = np.cos(x * k) * k * x[0]
        expected[0] += np.sum(np.sin(x * k))
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(1, 60)))


def test_functions_that_are_gone_are_forgotten_by_all_threads():
    def run(number):
        for k in range(100):  # each function is copied, and its copy soon of no use
            function = lambda x, k=k: k * np.sum(np.zeros(3) + x)  # noqa: E731
            assert nt.record(function, np.ones(3))(np.ones(3)) == 3.0 * k
        return number

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert _at_once(run, 8) == list(range(8))
    finally:
        sys.setswitchinterval(before)


def _at_once(work, count=16):
    """What `work` gives for 0, 1, ..., each in a thread, all begun at the same moment."""
    start = threading.Barrier(count)

    def run(number):
        start.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def _scalars(x):
    total = 0.0
    for value in x:
        total = total + np.sin(value) * value
    return total


def _arrays(x):
    return np.sum(np.sin(x) * x * x[0])


def _ways(tape, x):
    """Everything that can be asked of a tape of a scalar function."""
    points = np.stack([x, 2 * x, 3 * x])
    value, push = tape.linearize((x,))
    yield value
    yield push(x)
    yield tape(x)
    yield tape.gradient(x)
    yield from tape.value_and_gradient(x)
    yield tape.jacobian(x, mode="forward")
    yield tape.jacobian(x, mode="reverse")
    yield tape.hessian(x)
    yield tape.hvp((x,), (x,))[0]
    yield tape.jvp((x,), (x,))[1]
    yield tape.vjp((x,), 2.0)[1][0]
    yield tape(points)
    yield tape.gradient(points, num_threads=2)
    yield tape.jacobian(points)
    yield tape.hessian(points)
    yield tape.hvp((points,), (x,))[0]
    yield tape.text(values=True)


@pytest.mark.parametrize("function", [_scalars, _arrays])
def test_one_tape_in_every_way_by_16_threads_from_its_first_use_on(function):
    points = [np.linspace(0.1, 1.0, 12) * (1 + k % 4) for k in range(16)]
    alone = nt.record(function, points[0])
    expected = [list(_ways(alone, x)) for x in points]
    for _ in range(2):
        tape = nt.record(function, points[0])
        found = _at_once(lambda k, tape=tape: list(_ways(tape, points[k])))
        for mine, wanted in zip(found, expected):
            for a, b in zip(mine, wanted):
                np.testing.assert_array_equal(a, b)


def _bent(x):
    """Four paths."""
    total = np.sum(np.sin(x)) if x[0] > 0.5 else np.sum(x * x)
    return total if x[1] > 0.8 else total * x[2]


@pytest.mark.filterwarnings("ignore::numtape.SelectionWarning")
def test_functions_with_branches_in_every_way_by_16_threads():
    rng = np.random.default_rng(5)
    points = rng.uniform(0.0, 1.5, (16, 12))
    makers = [nt.grad, nt.hessian, nt.jacfwd, nt.value_and_grad, lambda f: nt.vmap(nt.grad(f))]

    def use(functions, k):
        *single, many = functions
        results = [function(x) for x in np.roll(points, k, axis=0)[:6] for function in single]
        return [np.concatenate([np.ravel(a) for a in _flat(results)]), many(np.roll(points, k, 0))]

    expected = [use([make(_bent) for make in makers], k) for k in range(16)]
    functions = [make(_bent) for make in makers]
    for mine, wanted in zip(_at_once(lambda k: use(functions, k)), expected):
        for a, b in zip(mine, wanted):
            np.testing.assert_allclose(a, b, rtol=1e-13)
    assert active_recorder() is None


def _flat(results):
    for result in results:
        yield from _flat(result) if isinstance(result, tuple) else [result]


# SciPy's functions, which are stood in for while recording

_BY_NAME = """
import numpy as np
from scipy.special import logsumexp as total, softmax as shares

def f(x, meet):
    chosen = total
    meet(x)
    return chosen(x) + np.sum(shares(x) ** 2)
"""


def test_names_learnt_by_one_thread_serve_the_others(tmp_path):
    """All recordings fail at first, for all meet the original; one finds the name, all go on."""
    original = scipy.special.logsumexp
    for round_ in range(3):
        path = tmp_path / f"by_name_{round_}.py"
        path.write_text(_BY_NAME)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        everyone, first = threading.Barrier(8), threading.local()

        def meet(x, everyone=everyone, first=first):
            if not hasattr(first, "done"):
                first.done = True
                everyone.wait(60)

        x = np.linspace(0.1, 1.0, 9)
        shares = scipy.special.softmax(x)
        expected = shares + 2 * shares * (shares - np.sum(shares**2))
        for found in _at_once(lambda k, f=module.f, x=x, meet=meet: nt.grad(f)(x, meet), 8):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert module.total is original
    assert scipy.special.logsumexp is original


def test_other_threads_see_scipy_as_it_is_while_one_records():
    inside, over = threading.Event(), threading.Event()
    original, x = scipy.special.logsumexp, np.linspace(0.1, 1.0, 9)

    def waits(x):
        inside.set()
        assert over.wait(60)
        return scipy.special.logsumexp(x)

    with ThreadPoolExecutor(1) as pool:
        gradient = pool.submit(nt.grad(waits), x)
        assert inside.wait(60)
        assert scipy.special.logsumexp(x) == original(x)
        np.testing.assert_allclose(
            nt.grad(scipy.special.logsumexp)(x), scipy.special.softmax(x), rtol=1e-13
        )
        assert scipy.special.logsumexp is original  # though the other one is still at it
        over.set()
        np.testing.assert_allclose(gradient.result(60), scipy.special.softmax(x), rtol=1e-13)
    assert scipy.special.logsumexp is original


def test_a_thread_of_the_recorded_function_is_not_recording():
    """Which values are recorded is a matter of the thread that records."""

    def f(x):
        with ThreadPoolExecutor(1) as pool:
            inner = pool.submit(nt.grad(lambda y: np.sum(y**3)), np.ones(3)).result(60)
        return np.sum(x * inner)

    np.testing.assert_allclose(nt.grad(f)(np.ones(3)), np.full(3, 3.0), rtol=1e-15)
