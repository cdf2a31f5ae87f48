"""What a function keeps is bounded: recordings by use, derivatives of a tape by use."""

import gc
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numtape as nt
from numtape.functions.kept import KEPT
from numtape.functions.recent import Recent
from numtape.functions.specification import Specification


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setenv("NUMTAPE_MAX_PATHS", "4")


@nt.branches("paths")
def staircase(x):
    """A path for each number of steps: no two points need share one."""
    total = 0.0 * x
    while total < 10.0:
        total = total + x
    return total * x


def slope(x):
    """Of the staircase: of n * x**2."""
    n = 0
    while n * x < 10.0:
        n += 1
    return 2.0 * n * x


STEPS = [10.5 / n for n in range(1, 13)]


def kept(function):
    return len(function.recordings.kept)


def quietly(call, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nt.PathsWarning)
        return call(*arguments)


def test_paths_are_bounded_and_forgotten_ones_recorded_again():
    gradient = nt.grad(staircase)
    for x in STEPS + STEPS[::-1] + STEPS:
        assert quietly(gradient, x) == pytest.approx(slope(x), rel=1e-14)
        assert kept(gradient) <= 4


def test_shapes_are_bounded():
    gradient = nt.grad(lambda x: np.sum(x * x))
    for n in [*range(1, 20), *range(1, 20)]:
        x = np.arange(n, dtype=float)
        np.testing.assert_array_equal(quietly(gradient, x), 2 * x)
        assert kept(gradient) <= 4
        assert len(gradient.recordings.by_key) <= 4


def test_static_arguments_are_bounded():
    power = nt.jacobian(lambda x, n: x**n)
    for n in range(1, 30):
        assert quietly(power, 2.0, n) == pytest.approx(n * 2.0 ** (n - 1), rel=1e-13)
    assert kept(power) <= 4


def test_calls_that_fail_leave_nothing():
    def refuses(x):
        raise ArithmeticError("on purpose")

    gradient = nt.grad(refuses)
    for n in range(100):
        with pytest.raises(ArithmeticError):
            gradient(np.ones(n))
    assert len(gradient.recordings.by_key) < 40


def test_what_is_used_is_kept():
    """The path that is used between the others is never recorded again."""
    calls = []

    def counted(x):
        calls.append(float(x.primal))
        return staircase(x)

    gradient = nt.grad(counted)
    for x in STEPS[1:]:
        quietly(gradient, x)
        quietly(gradient, STEPS[0])
    assert calls.count(STEPS[0]) == 1
    assert len(calls) == len(STEPS)


def test_the_quick_way_of_one_array_counts_as_use():
    calls = []

    def counted(x):
        calls.append(x.shape)
        return np.sum(x * x)

    gradient = nt.grad(counted)
    for n in range(2, 14):
        for _ in range(3):
            quietly(gradient, np.ones(1))
        quietly(gradient, np.ones(n))
    assert calls.count((1,)) == 1


def test_long_recordings_count_as_several(monkeypatch):
    monkeypatch.setattr("numtape.functions.paths._SLOTS", 1000)
    gradient = nt.grad(lambda x: np.sum(np.sin(x)))
    for n in (500, 501, 502, 503, 504):
        quietly(gradient, np.ones(n))
    assert kept(gradient) == 2
    quietly(gradient, np.ones(100_000))  # alone it is kept, whatever its length
    assert kept(gradient) == 1


def test_forgotten_tapes_are_freed():
    gradient = nt.grad(staircase)
    gradient(STEPS[0])
    tape = weakref.ref(next(iter(gradient.recordings.kept)))
    for x in STEPS[1:]:
        quietly(gradient, x)
    gc.collect()
    assert tape() is None


def test_a_warning_once_with_name_line_number_and_remedy():
    gradient = nt.grad(staircase)
    with pytest.warns(nt.PathsWarning) as caught:
        [gradient(x) for x in STEPS]
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "staircase" in message
    assert f"{__file__}:{staircase.__code__.co_firstlineno}" in message
    assert "has been recorded 5 times" in message
    assert "NUMTAPE_MAX_PATHS" in message
    assert "np.where" in message
    assert message.endswith("[docs: reference/errors.md#endless-paths]")
    assert caught[0].filename == __file__
    assert issubclass(nt.PathsWarning, nt.NumtapeWarning)


def test_the_warning_names_the_function_behind_jvp_and_hessian():
    mapped = nt.vmap(staircase)
    for call in (
        lambda x: nt.jvp(staircase, (x,), (1.0,)),
        nt.hessian(staircase),
        lambda x: mapped(np.array([x])),
    ):
        with pytest.warns(nt.PathsWarning, match="^staircase") as caught:
            [call(x) for x in STEPS]
        assert len(caught) == 1
    KEPT.clear()


def test_a_warning_made_an_error_leaves_everything_usable():
    gradient = nt.grad(staircase)
    raised = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in STEPS:
            try:
                assert gradient(x) == pytest.approx(slope(x), rel=1e-14)
            except nt.PathsWarning:
                raised += 1
    assert raised == 1
    assert gradient(STEPS[4]) == pytest.approx(slope(STEPS[4]), rel=1e-14)


def test_the_setting_is_checked(monkeypatch):
    for text in ("many", "0", "-3"):
        monkeypatch.setenv("NUMTAPE_MAX_PATHS", text)
        with pytest.raises(nt.InputError, match=r"NUMTAPE_MAX_PATHS.*1 or more"):
            nt.grad(staircase)(1.0)


def test_vmap_with_more_paths_than_are_kept():
    points = np.array(STEPS * 5)
    found = quietly(nt.vmap(nt.grad(staircase)), points)
    np.testing.assert_allclose(found, [slope(x) for x in points.tolist()], rtol=1e-13)


def test_many_threads_on_more_paths_than_are_kept():
    gradient = nt.grad(staircase)
    values = nt.vmap(staircase)
    start = threading.Barrier(16)

    def run(k):
        start.wait()
        rng = np.random.default_rng(k)
        for x in rng.choice(STEPS, 20).tolist():
            assert gradient(x) == pytest.approx(slope(x), rel=1e-13)
        points = rng.choice(STEPS, 10)
        np.testing.assert_allclose(values(points), [slope(x) * x / 2 for x in points], rtol=1e-13)
        return True

    with warnings.catch_warnings(), ThreadPoolExecutor(16) as pool:
        warnings.simplefilter("ignore", nt.PathsWarning)
        assert all(pool.map(run, range(16)))
    assert kept(gradient) <= 4
    recordings = gradient.recordings
    assert recordings.weight == kept(gradient)
    assert sum(len(paths.walks) for paths in recordings.by_key.values()) == kept(gradient)


def nodes(node):
    return 1 + sum(nodes(child) for child in node.children.values())


def test_the_trie_holds_what_is_kept_and_no_more():
    gradient = nt.grad(staircase)
    for x in STEPS * 2:
        quietly(gradient, x)
    (paths,) = gradient.recordings.by_key.values()
    every = {id(node) for walk in paths.walks.values() for node in walk}
    assert nodes(paths.root) == len(every)
    assert all(node.tape in paths.walks for walk in paths.walks.values() for node in walk)


def test_the_same_path_recorded_at_once_is_kept_once():
    both = threading.Barrier(2)

    def slowly(x):
        both.wait()
        return np.sum(x * x)

    gradient = nt.grad(slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(gradient, [np.ones(3), np.full(3, 2.0)]))
    np.testing.assert_array_equal(found, [[2.0] * 3, [4.0] * 3])
    assert kept(gradient) == 1


def test_another_structure_on_another_path_is_refused():
    jacobian = nt.jacobian(lambda x: x if x > 0.0 else (x, x))
    jacobian(1.0)
    for _ in range(2):
        with pytest.raises(nt.OutputError, match="one structure") as caught:
            jacobian(-1.0)
        assert caught.value.code == "result-varies"
    assert jacobian(2.0) == 1.0


# the derivatives of one tape


def test_recent_keeps_what_was_used_last():
    recent = Recent(3)
    for key in range(3):
        assert recent.keep(key, str(key)) == str(key)
    assert recent.get(0) == "0"
    assert recent.keep(1, "another") == "1"
    assert recent.keep(3, "3") == "3"
    assert [recent.get(key) for key in range(4)] == ["0", None, "2", "3"]
    assert len(recent) == 3


def test_derivatives_of_a_tape_are_bounded():
    """By each of many arguments, in a way that makes a tape for each."""
    arguments = [np.full(3, float(k + 1)) for k in range(80)]
    tape = nt.record(lambda *xs: np.sum(np.prod(np.stack(xs), axis=0) ** 0.01), *arguments)
    first = tape.gradient(*arguments, argnums=0)
    for k in range(80):
        tape.jacobian(*arguments, argnums=k, mode="reverse")
    assert len(tape.runner.derived) <= 64
    np.testing.assert_array_equal(tape.gradient(*arguments, argnums=0), first)


def test_a_gradient_outlives_its_derivative_tape():
    """The memory that its kernel is given belongs to a derivative that may be forgotten."""
    tape = nt.record(lambda x: np.sum(np.sin(x) * x), np.ones(20))
    x = np.linspace(0.0, 1.0, 20)
    expected = tape.gradient(x)
    for k in range(70):
        places = np.array([k % 20, k // 20])
        tape.runner.derivative(Specification("reverse", places.tobytes()))
    gc.collect()
    junk = [np.full(400, np.nan) for _ in range(200)]
    np.testing.assert_array_equal(tape.gradient(x), expected)
    assert len(junk) == 200
