"""Calls that take the quick way: it looks at what it takes as closely as the other."""

import math
import os
import pickle
import threading
from collections import OrderedDict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

import numtape as nt


class Float(float):
    """A subclass that computes otherwise."""

    def __mul__(self, other):
        return float(self) * 2.0 * other


Pair = namedtuple("Pair", "a b")


@dataclass
class Fields:
    a: float
    b: float


class Counted:
    """A function that counts how often it is called, which is how often it is recorded."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def square(x):
    return x * x


def dot(x, y):
    return np.sum(x * y)


def same(found, expected):
    """Equal, of the same types and structure."""
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(found, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            same(*pair)
    elif isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


# each is called several times, so that later calls take the quick way

TREES = [
    (1.5,),
    (np.float64(1.5),),
    (np.array([1.0, 2.0]),),
    (np.arange(6.0).reshape(2, 3),),
    (np.array(1.5),),
    ([1.0, 2.0, 3.0],),
    ((1.0, 2.0),),
    ({"a": 1.0, "b": 2.0},),
    ([1.0, np.float64(2.0)],),
    ([1.0, [2.0, (3.0,)], {"c": 4.0}],),
    ([np.array([1.0, 2.0]), 3.0],),
    ({"w": np.ones((2, 2)), "b": [np.zeros(2), 1.0]},),
    ([1.0, None, 2.0],),
    (Pair(1.0, 2.0),),
    (Fields(1.0, 2.0),),
    (OrderedDict(a=1.0, b=2.0),),
    ([],),
]


def total(tree):
    """A sum of squares of all that there is in a tree."""
    if tree is None:
        return 0.0
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, Fields):
        tree = [tree.a, tree.b]
    if isinstance(tree, list | tuple):
        return sum((total(part) for part in tree), 0.0)
    return np.sum(tree * tree)


def doubled(tree):
    """Its gradient."""
    if isinstance(tree, OrderedDict | dict):
        return type(tree)((name, doubled(part)) for name, part in tree.items())
    if isinstance(tree, Pair):
        return Pair(*map(doubled, tree))
    if isinstance(tree, Fields):
        return Fields(doubled(tree.a), doubled(tree.b))
    if isinstance(tree, list | tuple):
        return type(tree)(map(doubled, tree))
    if tree is None:
        return None
    return 2.0 * tree if np.ndim(tree) else float(2.0 * tree)


@pytest.mark.parametrize("arguments", TREES[:-1], ids=str)
def test_every_call_gives_what_the_first_gives(arguments):
    function = Counted(total)
    gradient, both = nt.grad(function), nt.value_and_grad(total)
    first, expected = gradient(*arguments), doubled(arguments[0])
    same(first, expected)
    for _ in range(3):
        same(gradient(*arguments), first)
        value, derivative = both(*arguments)
        assert type(value) is float
        assert value == total(arguments[0])
        same(derivative, first)
    assert function.calls == 1


def test_a_tree_without_floats_is_refused_each_time():
    gradient = nt.grad(total)
    for _ in range(3):
        with pytest.raises(nt.InputError, match="no float in it"):
            gradient([])


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), (1,), (1, 0)])
def test_several_arguments(argnums):
    gradient = nt.grad(lambda x, y: x * x * y, argnums)
    partials = (2.0 * 3.0 * 5.0, 9.0)
    expected = (
        tuple(partials[number] for number in argnums)
        if isinstance(argnums, tuple)
        else partials[argnums]
    )
    for _ in range(3):
        same(gradient(3.0, 5.0), expected)


def test_other_types_after_quick_calls():
    """Each is told apart from the floats of the calls before, and looked at."""
    gradient = nt.grad(square)
    for x in (1.5, np.float64(2.5), 3, np.int64(3), np.float32(0.5), True + 1, 2.5):
        for _ in range(2):
            same(gradient(x), float(2 * x))
    for wrong in ("text", True, None, 1j, [1, 2]):
        gradient(1.5)
        with pytest.raises(nt.InputError):
            gradient(wrong)
        same(gradient(1.5), 3.0)
    same(gradient(np.array([1.5])[0]), 3.0)
    with pytest.raises(nt.OutputError):
        gradient(np.ones(2))
    same(gradient(1.5), 3.0)


def test_the_same_types_inside_a_list():
    gradient = nt.grad(lambda values: sum(value * value for value in values))
    same(gradient([1.0, 2.0]), [2.0, 4.0])
    same(gradient([1.0, 3.0]), [2.0, 6.0])
    with pytest.raises(nt.InputError, match="holds 3 of type int"):
        gradient([1.0, 3])
    with pytest.raises(nt.InputError, match="holds True of type bool"):
        gradient([True, 3.0])
    same(gradient([np.float64(1.0), 3.0]), [2.0, 6.0])
    same(gradient([1.0, 3.0, 4.0]), [2.0, 6.0, 8.0])
    same(gradient((1.0, 3.0)), (2.0, 6.0))
    same(gradient([1.0, 3.0]), [2.0, 6.0])


def test_names_of_a_dict_count_in_their_order():
    gradient = nt.grad(lambda tree: sum(k * v for k, v in enumerate(tree.values(), 1)))
    for _ in range(2):
        same(gradient({"a": 1.0, "b": 1.0}), {"a": 1.0, "b": 2.0})
        same(gradient({"b": 1.0, "a": 1.0}), {"b": 1.0, "a": 2.0})
        same(gradient({"a": 1.0}), {"a": 1.0})


def test_subclasses_of_float():
    """What they do of their own is not lost: they are looked at as in the first call."""
    fresh, used = nt.grad(square), nt.grad(square)
    used(1.5)
    assert used(Float(1.5)) == fresh(Float(1.5))


def test_python_floats_and_numpys_are_told_apart():
    """Python's raise where NumPy's are infinite."""

    def f(x):
        try:
            return 1.0 / x
        except ZeroDivisionError:
            return 7.0 * x

    gradient = nt.grad(f)
    for _ in range(3):
        same(gradient(2.0), -0.25)
        same(gradient(np.float64(2.0)), -0.25)
        same(gradient(0.0), 7.0)
        with np.errstate(all="ignore"):
            same(gradient(np.float64(0.0)), -math.inf)


def test_shapes_types_and_layouts_of_arrays():
    gradient = nt.grad(lambda x: np.sum(x * x * x))
    x = np.arange(12.0).reshape(3, 4)
    arrays = [
        *(x, x.T, x[:, ::2], x[::-1], np.asfortranarray(x), x.ravel(), x[0]),
        *(x.astype(np.float32), x.astype(int), x.astype(">f8"), np.ones(0), np.ones((2, 0))),
    ]
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(np.float64)
    assert not unaligned.flags.aligned
    for each in [*arrays, frozen, unaligned] * 2:
        expected = 3.0 * np.asarray(each, np.float64) ** 2
        np.testing.assert_allclose(gradient(each), expected, rtol=1e-15)
    with pytest.raises(nt.InputError, match="mask"):
        gradient(np.ma.MaskedArray(x, x > 2.0))


def test_static_arguments_beside_floats():
    power = Counted(lambda x, n: x**n)
    gradient = nt.grad(power)
    for _ in range(2):
        for n in (2, 3, 2, 3):
            same(gradient(2.0, n), n * 2.0 ** (n - 1))
    assert power.calls == 2
    gradient(2.0, True)
    assert power.calls == 3  # equals 1, and is another
    gradient(2.0, 1)
    assert power.calls == 4
    same(gradient(2.0, 2.0), 4.0)
    same(nt.grad(power, argnums=(0, 1))(2.0, 3), nt.grad(power, argnums=(0, 1))(2.0, 3.0))


def test_static_leaves_in_trees_and_arrays_of_integers():
    def f(tree, table):
        return tree["x"] * tree["n"] + table[0] + (1.0 if tree["s"] == "on" else 0.0)

    jacobian = nt.jacobian(lambda x, n, s, table: f({"x": x, "n": n, "s": s}, table))
    for _ in range(2):
        for n, s in ((2, "on"), (3, "off")):
            for table in (np.array([1, 2]), np.array([3, 4])):
                same(jacobian(1.5, n, s, table), float(n))


def test_named_arguments_beside_quick_calls():
    gradient = nt.grad(lambda x, k=1.0: x * x * k)
    for _ in range(2):
        same(gradient(3.0), 6.0)
        same(gradient(3.0, k=2.0), 12.0)
        same(gradient(3.0, 2.0), 12.0)
    with pytest.raises(nt.InputError, match="0 positional arguments"):
        gradient()
    with pytest.raises(TypeError):
        gradient(1.0, 2.0, 3.0)


def test_arguments_that_the_function_writes_to():
    def f(x, y):
        y[0] = x[0] * 2.0
        return np.sum(x * y)

    gradient = nt.grad(f)
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    for _ in range(3):
        np.testing.assert_array_equal(gradient(x, y), [4.0, 4.0])
        np.testing.assert_array_equal(gradient(x, x.copy()), [4.0, 2.0])
    np.testing.assert_array_equal(y, [3.0, 4.0])
    together = x.copy()
    expected = nt.grad(f)(together, together)
    np.testing.assert_array_equal(gradient(together, together), expected)


def test_results_are_the_callers_own():
    jacobian = nt.jacobian(lambda x: x * x)
    x = np.arange(3.0)
    for function in (nt.grad(lambda x: np.sum(x * x)), jacobian):
        function(x)
        first = function(x)
        kept = first.copy()
        second = function(x + 1.0)
        np.testing.assert_array_equal(first, kept)
        second[...] = 7.0
        np.testing.assert_array_equal(function(x), kept)


def test_auxiliary_results_of_quick_calls():
    def f(x, y):
        return x * y, {"sum": x + y, "name": "it"}

    gradient, both = (make(f, has_aux=True) for make in (nt.grad, nt.value_and_grad))
    jacobian = nt.jacobian(f, has_aux=True)
    for x in (2.0, 3.0, 4.0):
        aux = {"sum": x + 5.0, "name": "it"}
        same(gradient(x, 5.0), (5.0, aux))
        same(both(x, 5.0), ((x * 5.0, aux), 5.0))
        same(jacobian(x, 5.0), (5.0, aux))


def test_jacobians_of_trees():
    jacobian = nt.jacobian(lambda x, p: {"a": x * p[0], "b": np.stack([x, x * x])}, (0, 1))
    for _ in range(3):
        found = jacobian(3.0, [2.0, 5.0])
        same(found["a"], (2.0, [3.0, 0.0]))
        np.testing.assert_array_equal(found["b"][0], [1.0, 6.0])
        np.testing.assert_array_equal(found["b"][1][1], [0.0, 0.0])


@pytest.mark.parametrize("compiled", [False, True])
def test_jacobians_stay_the_same_however_they_are_computed(compiled):
    """After some hundred calls they come from a tape of their own."""
    tape = nt.record(lambda x: np.stack([x[0] * x[1], np.sin(x[1])]), np.ones(2))
    if compiled:
        tape.compile()
    x = np.array([2.0, 3.0])
    first = tape.value_and_jacobian(x)
    for _ in range(300):
        value, jacobian = tape.value_and_jacobian(x)
        np.testing.assert_array_equal(value, first[0])
        np.testing.assert_allclose(jacobian, first[1], rtol=1e-15)


def test_a_tape_that_is_compiled_between_calls():
    tape = nt.record(lambda x, y: x * x * y, 2.0, 3.0)
    before = [tape.gradient(2.0, 3.0, argnums=k) for k in (0, 1, (0, 1))]
    tape.compile()
    assert [tape.gradient(2.0, 3.0, argnums=k) for k in (0, 1, (0, 1))] == before
    assert tape.value_and_gradient(2.0, 3.0) == (12.0, 12.0)


# inside other recordings, in threads and in other processes


def test_calls_inside_recordings_and_outside_in_turn():
    gradient = nt.grad(square)
    outer = nt.grad(lambda x: gradient(x) * gradient(2.0) * x)
    for _ in range(3):
        same(gradient(1.5), 3.0)
        same(outer(3.0), 4.0 * 4.0 * 3.0)
    same(nt.grad(lambda x: gradient([x][0]))(1.0), 2.0)


def test_a_list_that_holds_traced_values_after_quick_calls():
    gradient = nt.grad(lambda values: values[0] * values[1])
    same(gradient([2.0, 3.0]), [3.0, 2.0])
    same(nt.grad(lambda x: gradient([x, 3.0])[1] * x)(2.0), 4.0)
    same(gradient([2.0, 3.0]), [3.0, 2.0])


def test_threads_share_a_function():
    def f(x, values):
        total = x * values[0]
        return total * values[1] if total > 0.0 else total

    gradient, start = nt.grad(f, argnums=(0, 1)), threading.Barrier(8)

    def run(k):
        start.wait()
        for number in range(200):
            a, b, x = float(number + 1), float(k + 2), float((-1) ** (number + k) * (k + 1))
            expected = (a * b, [x * b, x * a]) if x > 0 else (a, [x, 0.0])
            same(gradient(x, [a, b]), expected)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))


def test_a_list_that_another_thread_changes():
    """A call takes it as it was at some time, or refuses it."""
    gradient = nt.grad(lambda values: sum(value * value for value in values))
    values, done = [1.0, 2.0, 3.0], threading.Event()

    def change():
        while not done.is_set():
            values.append(4.0)
            values[0] = 5.0
            values.pop()
            values[0] = 1.0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(500):
            found = gradient(values)
            assert found[0] in (2.0, 10.0)
            assert found[1:] in ([4.0, 6.0], [4.0, 6.0, 8.0])
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_process_goes_on():
    gradient = nt.grad(lambda x, y: x * y if x > y else x)
    gradient(3.0, 2.0), gradient(1.0, 2.0)
    pid = os.fork()
    if pid == 0:
        fine = [gradient(3.0, 2.0), gradient(1.0, 2.0), gradient(5.0, 4.0)] == [2.0, 1.0, 4.0]
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gradient(3.0, 2.0) == 2.0


def test_pickles_of_functions_that_were_called():
    for make in (nt.grad, nt.value_and_grad, nt.jacobian, nt.jacfwd, nt.jacrev, nt.hessian):
        function = make(square)
        expected = function(1.5), function(1.5)
        copy = pickle.loads(pickle.dumps(function))
        assert (copy(1.5), copy(1.5)) == expected


# branches


def signs(x, y):
    """Four paths."""
    first = x * x if x > 0.0 else -3.0 * x
    return first * y if y > 0.0 else first + y


def slopes(x, y):
    first = 2.0 * x if x > 0.0 else -3.0
    return first * y if y > 0.0 else first


POINTS = [(2.0, 3.0), (-2.0, 3.0), (2.0, -3.0), (-2.0, -3.0)]


@pytest.mark.parametrize("pattern", ["01", "0123", "0102", "3210", "0000111122223333", "03120213"])
def test_branches_in_turn(pattern):
    function = Counted(signs)
    gradient = nt.grad(function)
    for _ in range(5):
        for number in pattern:
            assert gradient(*POINTS[int(number)]) == slopes(*POINTS[int(number)])
    assert function.calls == len(set(pattern))


def test_branches_in_turn_of_one_array_and_of_every_derivative():
    def f(x):
        return x[0] * x[1] if x[0] > x[1] else x[0] * x[0]

    a, b = np.array([3.0, 2.0]), np.array([2.0, 3.0])
    makes = (nt.grad, nt.value_and_grad, nt.jacobian, nt.jacfwd, nt.jacrev, nt.hessian)
    for function in (make(f) for make in makes):
        expected = [function(a), function(b)]
        for _ in range(300):
            for point, result in zip((a, b), expected, strict=True):
                found = function(point)
                if isinstance(found, tuple):
                    assert found[0] == result[0]
                    found, result = found[1], result[1]
                np.testing.assert_array_equal(found, result)
    for point in (a, b, a, b):
        value, along = nt.jvp(f, (point,), (point,))
        assert (value, along) == (f(point), 2.0 * f(point))
        value, pull_back = nt.vjp(f, point)
        np.testing.assert_array_equal(pull_back(1.0)[0], nt.grad(f)(point))


def test_a_change_of_branch_costs_two_runs(monkeypatch):
    """The one that fails, and the one that is right; also where there are other paths."""
    function = nt.grad(signs)
    for point in POINTS * 2:
        function(*point)
    runs = []
    run = nt.functions.programs.Program.run
    monkeypatch.setattr(
        "numtape.functions.programs.Program.run", lambda self, x: runs.append(x) or run(self, x)
    )
    for point in (POINTS[0], POINTS[1]) * 2:
        function(*point)
    del runs[:]
    for point in (POINTS[0], POINTS[1]) * 10:
        function(*point)
    assert len(runs) == 40


def test_guards_that_are_equal_in_the_derivative_tape():
    """They are one guard there, and are told apart all the same."""

    def f(x):
        total = np.sum(np.sin(x)) * 0.0 + x[0]
        first = 1.0 if x[0] * 2.0 > 3.0 else 2.0
        second = 10.0 if 2.0 * x[0] > 3.0 else 20.0
        third = 100.0 if x[1] > 0.0 else 200.0
        return total * first * second * third

    gradient = nt.grad(f)
    points = [np.full(20, 2.0), np.full(20, 1.0), np.full(20, 2.0), np.full(20, 1.0)]
    points[2][1] = points[3][1] = -1.0
    for _ in range(3):
        for point, slope in zip(points, (1000.0, 4000.0, 2000.0, 8000.0), strict=True):
            assert gradient(point)[0] == slope


def test_integers_and_nan_as_outcomes():
    function = Counted(lambda x: x * int(x) if x == x else 5.0 * x)
    gradient = nt.grad(function)
    for _ in range(3):
        for x, slope in ((2.5, 2.0), (np.nan, 5.0), (7.5, 7.0), (3.25, 3.0)):
            assert gradient(x) == slope
    assert function.calls == 4


def test_functions_without_guards_are_not_asked_about_them(monkeypatch):
    """The first gradient makes what runs the gradient, and nothing else."""
    made = []
    plan = nt.functions.runner.Plan

    def counted(tape, *arguments, **named):
        made.append(tape)
        return plan(tape, *arguments, **named)

    monkeypatch.setattr("numtape.functions.runner.Plan", counted)
    for x in (1.5, np.ones(3), np.ones(30)):
        del made[:]
        nt.grad(lambda x: np.sum(np.sin(x) * x))(x)
        assert len(made) == 1
    del made[:]
    nt.grad(lambda x: x * x if x > 0.0 else x)(1.5)
    assert len(made) == 1
