"""Tests on traced values as selections: values to the bit, derivatives as of paths, what stays."""

import collections
import contextlib
import io
import pickle
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from branching_programs import Program, compare

import numtape as nt
from numtape.trace.branches import arms

# Functions as people write them, each with points.


def huber(x):
    if abs(x) < 1.0:
        return 0.5 * x * x
    return abs(x) - 0.5


def barrier(x):
    s, alive = 100.0, True
    for k in range(6):
        s = s * np.exp(0.2 * x[k])
        if s < 80.0:
            alive = False
    return max(s - 100.0, 0.0) if alive else 0.0


def minmod(a, b):
    if a * b <= 0:
        return 0.0
    elif abs(a) < abs(b):
        return a
    else:
        return b


def limiter(u):
    slopes = np.zeros(len(u))
    for i in range(1, len(u) - 1):
        slopes[i] = minmod(u[i] - u[i - 1], u[i + 1] - u[i])
    return np.sum(slopes * slopes)


def newton(a):
    x = a
    while abs(x * x - a) > 1e-9:
        x = 0.5 * (x + a / x)
    return x


def first_passage(x):
    total = 0.0
    for i in range(6):
        total = total + x[i]
        if total > 1.0:
            break
    return total * (i + 1)


def first_passage_or_none(x):
    for i in range(6):
        if x[i] > 1.0:
            return x[i] * i
    return -x[0]


def skipping(x):
    total = 0.0
    for v in x:
        if v < 0.0:
            continue
        total += v * v
    return total


def state(x):
    count, values, slopes, names = 0, [0.0, 1.0], np.zeros(3), {"a": x[0]}
    if (x[0] > 0 and x[1] > 0) or not x[2] < 0.5:
        values[0], slopes[1], names["a"] = x[0], x[2] * 3.0, x[1]
        count += 2
    else:
        values[1] += x[1]
        slopes[:2] -= x[0]
    return values[0] + values[1] + np.sum(slopes * slopes) * count + names["a"]


def bracket(x):
    return 1.0 if 0.0 < x <= 1.0 <= x + 1.0 else x * 2.0


def bisection(a):
    low, high = 0.0, 10.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        if middle * middle > a:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high) + 0.1 * a


def in_a_loop(x):
    # Rolled up, a step selects by itself.
    w, total = x[0], 0.0
    for k in range(400):
        slope = 2.0 * (w - np.sin(0.1 * k)) * x[1]
        if slope > 1.0:
            slope = 1.0
        elif slope < -1.0:
            slope = -1.0
        w = w - 0.05 * slope
        total += (w - np.sin(0.1 * k)) ** 2
    return total


class Spring:
    def __init__(self, y):
        self.y, self.turns = y, 0

    def pull(self, x):
        if x > self.y:
            self.y = 0.5 * (self.y + x)
            self.turns += 1
        return self.y


def methods(x):
    spring = Spring(0.1)
    for v in x:
        spring.pull(v)
    return spring.y * spring.turns


def closures(x):
    total = 0.0

    def add(v):
        nonlocal total
        if v > 0.0:
            total += v
        return total

    for v in x:
        add(v)
    return total * (lambda y: y if y > 0.5 else -y)(x[0])


def largest(x):
    best, place = x[0], 0
    for k, v in enumerate(x):
        if v > best:
            best, place = v, k
    return best * (1 + place)


def counting(x):
    return (
        x[int(abs(x[0]) * 2.0) % 3]
        if bool(x[1] > 0)
        else 1.0 * min(x) + (1.0 if any(x > 1) else 0.0)
    )


def _vectors(size):
    return lambda rng: rng.normal(size=size)


PROGRAMS = {
    huber: lambda rng: float(rng.normal()) * 2,
    barrier: _vectors(6),
    limiter: _vectors(8),
    newton: lambda rng: float(rng.uniform(0.5, 9.0)),
    first_passage: _vectors(6),
    first_passage_or_none: _vectors(6),
    skipping: _vectors(5),
    state: _vectors(3),
    bracket: lambda rng: float(rng.normal()) * 2,
    bisection: lambda rng: float(rng.uniform(1.0, 50.0)),
    in_a_loop: _vectors(2),
    methods: _vectors(4),
    closures: _vectors(4),
    largest: _vectors(5),
    counting: _vectors(3),
}


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_values_have_the_bits_of_the_call_and_derivatives_are_those_of_paths(function):
    rng = np.random.default_rng(5)
    points = [PROGRAMS[function](rng) for _ in range(30)]
    expected = np.array([function(x) for x in points])
    by_paths = nt.value_and_grad(function, branches="paths")
    slopes = np.array([by_paths(x)[1] for x in points])
    selecting = nt.value_and_grad(function, branches="select")
    for _ in range(2):
        found = [selecting(x) for x in points]
        assert np.array([value for value, _ in found]).tobytes() == expected.tobytes()
        np.testing.assert_allclose([slope for _, slope in found], slopes, rtol=1e-10, atol=1e-12)
    values, gradients = nt.vmap(selecting)(np.array(points))
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradients, slopes, rtol=1e-10, atol=1e-12)
    recordings = selecting.recordings.made
    assert recordings < (4 if function in (newton, counting) else 3)


def test_a_step_of_a_loop_selects_by_itself():
    tape = nt.record(in_a_loop, np.array([0.3, 0.7]), branches="select")
    assert tape.flat.has_loops
    assert tape.flat.instructions < 20
    assert not tape.flat.guards


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed):
    with np.errstate(all="ignore"):
        compare(Program(seed))


def test_second_derivatives():
    x = np.array([0.4, 1.3, -0.2, 0.9, 0.1, 0.7])
    for function in (limiter, skipping, barrier):
        by_paths = nt.hessian(function, branches="paths")(x)
        np.testing.assert_allclose(
            nt.hessian(function, branches="select")(x), by_paths, rtol=1e-10, atol=1e-12
        )
    jacobian = nt.jacobian(lambda u: np.array([minmod(u[0], u[1]), huber(u[2])]), branches="select")
    np.testing.assert_array_equal(jacobian(x), [[1, 0, 0, 0, 0, 0], [0, 0, -0.2, 0, 0, 0]])


# What an arm that is not taken does.


def test_an_arm_that_is_not_taken_contributes_nothing_and_warns_of_nothing():
    def root(x):
        if x > 0.0:
            return np.sqrt(x)
        return 0.0 * x

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        slope = nt.grad(root, branches="select")
        assert slope(4.0) == 0.25
        assert slope(-4.0) == 0.0
        assert nt.vmap(slope)(np.array([4.0, 0.0, -1.0])).tolist() == [0.25, 0.0, 0.0]


def test_guards_in_an_arm_hold_where_it_is_taken():
    table = [2.0, 3.0, 5.0]

    def looked_up(x):
        if x > 0.0:
            return table[int(np.floor(x)) % 3] * x
        return -x

    slope = nt.value_and_grad(looked_up, branches="select")
    for x in (0.5, -7.0, 1.5, -1.5, 2.5, 0.7, -0.2):
        assert slope(x)[0] == looked_up(x)
    assert slope.recordings.made == 3  # by the entry that is looked up
    slope = nt.value_and_grad(looked_up, branches="select")
    for x in (-7.0, 0.5, -1.5, 1.5, 2.5):
        assert slope(x)[0] == looked_up(x)


def test_a_guard_in_an_arm_is_told_as_it_is_written():
    tape = nt.record(lambda x: [2.0, 3.0][round(x)] * x if x > 0.0 else -x, 0.7, branches="select")
    assert tape(-5.0) == 5.0
    with pytest.raises(nt.BranchError, match=r"rint\(\.\.\.\) is 0\.0, and it was 1\.0"):
        tape(0.2)


def test_what_an_arm_changes_in_place():
    def views(x):
        a = x * 1.0
        b = a[1:]
        if x[0] > 0.0:
            b[0] = 7.0 * x[0]
            a[2] *= 2.0
        return np.sum(a * np.arange(1.0, 4.0)) + b[0]

    def aliases(x):
        a, b = x * 1.0, x * 2.0
        c = a if x[0] > 0.0 else b
        c[0] = 5.0
        return a[0] + 10.0 * b[0] + c[1]

    def later(x):
        a, b = x * 1.0, x * 2.0
        c = a if x[0] > 0.0 else b
        a[1] = 3.0
        return c[1] + b[1]

    def zero_dimensional(x):
        a = np.where(x[0] > 0.5, x[0], x[1])
        if x[1] > 0.0:
            a += 1.0
        return a * 2.0

    def sorted_in_an_arm(x):
        a = x * 1.0
        if x[0] > 0.0:
            a.sort()
            a.fill(x[1])
        return a[0]

    for function in (views, aliases, later, zero_dimensional, sorted_in_an_arm):
        slope = nt.value_and_grad(function, branches="select")
        for x in np.random.default_rng(3).normal(size=(12, 3)):
            value, gradient = slope(x)
            assert value == function(x), function.__name__
            steps = 1e-6 * np.eye(3)
            differences = [(function(x + h) - function(x - h)) / 2e-6 for h in steps]
            np.testing.assert_allclose(gradient, differences, atol=1e-6)


# What stays a guard, and why.

log: list = []


class Counted:
    def __init__(self, x):
        self.x, self.asked = x, 0

    def __add__(self, other):
        self.asked += 1
        return self.x + other

    @property
    def value(self):
        self.asked += 1
        return self.x


def appending(x):
    if x > 0.0:
        log.append(1)
    return x * x


def printing(x):
    if x > 0.0:
        print("positive")
    return x * x


def of_other_shapes(x):
    y = np.ones(2) * x if x > 0.0 else x
    return np.sum(y)


def of_text(x):
    name = "a" if x > 0.0 else "b"
    return x if name == "a" else 2.0 * x


def plain_array(x):
    counts = np.zeros(2, int)
    if x > 0.0:
        counts[0] += 1
    return x * counts[0]


def operators(x):
    held = Counted(x)
    y = held + 1.0 if x > 0.0 else 2.0
    return y + held.asked


def properties(x):
    held = Counted(x)
    y = held.value if x > 0.0 else 2.0
    return y + held.asked


def drawing(x):
    y = x
    if x > 0.0:
        y = y + np.random.default_rng(0).normal()
    return y


def unassigned(x):
    if x > 0.0:
        y = x * x
    if x > 0.0:
        return y
    return -x


def raising_in_an_arm(x):
    if 0.0 <= x < 3.0:
        return [1.0, 4.0, 9.0][int(x)] * x
    return 2.0 * x


KEPT = {
    appending: "a list of different lengths",
    printing: "calls print",
    of_other_shapes: r"arrays of shapes \(2,\) and \(\)",
    of_text: "two different strs",
    plain_array: "writes to a plain array",
    operators: "computes with a Counted",
    properties: "reads Counted.value",
    drawing: "calls default_rng",
    unassigned: "assigned in one arm alone, and read later",
    raising_in_an_arm: "an arm raises IndexError",
}


@pytest.mark.parametrize("function", KEPT, ids=lambda function: function.__name__)
def test_what_cannot_be_selected_is_guarded_and_told(function):
    slope = nt.value_and_grad(function, branches="select")
    with contextlib.redirect_stdout(io.StringIO()):
        for x in (0.7, -0.6, 1.7, -5.0):
            assert slope(x)[0] == function(x)
        tape = nt.record(function, -5.0, branches="select")
    assert tape.choices.kept
    with pytest.raises(nt.BranchError):
        tape(0.6)
    summary = tape.summary()
    assert f"{__file__}:" in summary
    assert re.search(KEPT[function], summary), summary


def with_a_handler(x):
    try:
        return x if x > 0.0 else 1.0 / 0.0
    except ZeroDivisionError:
        return 2.0 * x


def raising(x):
    if x < 0.0:
        raise ValueError("negative")
    return np.sqrt(x)


def generating(x):
    def parts():
        if x > 0.0:
            yield x
        yield 2.0 * x

    return sum(parts())


def naming(x):
    if (y := 2.0 * x) > 1.0 and (z := 2.0 * y) > 3.0:
        return z
    return y


def matching(x):
    match x > 0.0:
        case True:
            return x
        case _:
            return 2.0 * x


def recursive(x):
    return x if x < 1.0 else 1.0 + recursive(0.5 * x)


def list_of_conditions(x):
    return sum([v for v in (x, 2.0 * x, -x) if v > 0.0])


def after_all(x):
    for v in (x, 2.0 * x):
        if v > 3.0:
            return v
    else:
        x = x + 1.0
    return x


AS_WRITTEN = [with_a_handler, raising, generating, naming, matching, recursive]
AS_WRITTEN += [list_of_conditions, after_all]


@pytest.mark.parametrize("function", AS_WRITTEN, ids=lambda function: function.__name__)
def test_what_is_left_as_it_is_written_gives_what_the_call_gives(function):
    slope = nt.value_and_grad(function, branches="select")
    for x in (0.7, -0.6, 1.7, -1.9, 2.5):
        try:
            expected = function(x)
        except ValueError:
            with pytest.raises(ValueError, match="negative"):
                slope(x)
            continue
        assert slope(x)[0] == expected


def test_code_without_source_has_guards():
    scope = {"np": np}
    exec("def f(x):\n    return x * x if x > 0.0 else -x", scope)
    slope = nt.value_and_grad(scope["f"], branches="select")
    assert [slope(x) for x in (2.0, -3.0)] == [(4.0, 4.0), (3.0, -1.0)]
    tape = nt.record(scope["f"], 2.0, branches="select")
    assert "no test selects" in tape.summary()


def test_a_function_that_depends_on_something_else_is_recorded_by_paths():
    calls = []

    def drifting(x):
        calls.append(1)
        return x + len(calls) if x > 0.0 else x

    with pytest.warns(nt.SelectionWarning, match="another value in the plain call"):
        assert nt.grad(drifting, branches="select")(1.0) == 1.0


# When.


def test_selections_take_over_when_paths_become_many():
    points = np.random.default_rng(1).normal(size=(200, 6))
    mapped = nt.vmap(nt.value_and_grad(barrier))
    with pytest.warns(nt.SelectionWarning, match=r"^barrier .* takes many paths .* of its tests"):
        values, slopes = mapped(points)
    expected = nt.vmap(nt.value_and_grad(barrier), branches="paths")(points)
    np.testing.assert_allclose(values, expected[0], rtol=1e-13)
    np.testing.assert_allclose(slopes, expected[1], rtol=1e-13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped(points)
    slope = nt.grad(barrier)
    with pytest.warns(nt.SelectionWarning):
        found = [slope(x) for x in points]
    assert slope.recordings.made < 12
    np.testing.assert_allclose(found, expected[1], rtol=1e-13)


@pytest.mark.filterwarnings("ignore::numtape.SelectionWarning")
def test_many_threads_while_selections_take_over():
    points = np.random.default_rng(1).normal(size=(40, 6))
    expected = [nt.grad(barrier, branches="paths")(x) for x in points]
    for _ in range(10):
        slope, mapped = nt.grad(barrier), nt.vmap(nt.grad(barrier))
        start = threading.Barrier(8)

        def run(k, slope=slope, mapped=mapped, start=start):
            start.wait()
            order = np.random.default_rng(k).permutation(40)
            found = [slope(points[n]) for n in order[:20]]
            np.testing.assert_allclose(found, [expected[n] for n in order[:20]], rtol=1e-13)
            found = mapped(points[order])
            np.testing.assert_allclose(found, [expected[n] for n in order], rtol=1e-13)
            return True

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(8)))


def test_paths_on_request():
    points = np.random.default_rng(1).normal(size=(60, 6))
    slope = nt.grad(barrier, branches="paths")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [slope(x) for x in points]
    assert slope.recordings.made > 12
    np.testing.assert_allclose(found, nt.vmap(nt.grad(barrier, branches="select"))(points))


def test_selections_that_cost_too_much_are_not_taken():
    def steps(x):
        for k in range(9):
            if x < k:
                for _ in range(40):
                    x = np.sin(x) + 0.1 * k
                return x
        return x

    slope = nt.value_and_grad(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in np.arange(-0.5, 9.5).tolist():
            assert slope(x)[0] == steps(x)
    assert slope.recordings.made == 10


def test_the_decorator_and_those_who_ask_it():
    @nt.branches("select")
    def f(x):
        return x * x if x > 0.0 else -x

    assert nt.jvp(f, (2.0,), (1.0,)) == (4.0, 4.0)
    assert nt.jvp(f, (-2.0,), (1.0,)) == (2.0, -1.0)
    assert nt.vjp(f, -2.0)[1](1.0) == (-1.0,)
    assert not nt.record(f, 1.0).flat.guards
    assert nt.record(f, 1.0, branches="paths").flat.guards
    inside = nt.record(lambda x: nt.grad(f)(x) * x, 3.0)
    assert [inside(x) for x in (3.0, -3.0)] == [18.0, 3.0]
    outside = nt.vmap(nt.grad(f))
    assert outside(np.array([1.0, -1.0])).tolist() == [2.0, -1.0]
    again = pickle.loads(pickle.dumps(nt.grad(huber, branches="select")))
    assert [again(x) for x in (0.5, 3.0)] == [0.5, 1.0]
    assert again.recordings.made == 1


def test_a_wrong_mode_is_refused():
    with pytest.raises(nt.InputError, match="branches='both' was given: it must be 'auto'"):
        nt.grad(huber, branches="both")


def test_counts_of_a_loop_make_few_recordings():
    slope = nt.value_and_grad(newton, branches="select")
    for a in np.geomspace(1e-3, 1e6, 200).tolist():
        assert slope(a)[0] == newton(a)
    counts = collections.Counter(map(_steps, np.geomspace(1e-3, 1e6, 200).tolist()))
    assert len(counts) > 8
    assert slope.recordings.made <= 3


def _steps(a):
    x, count = a, 0
    while abs(x * x - a) > 1e-9:
        x, count = 0.5 * (x + a / x), count + 1
    return count


def test_recording_leaves_nothing_open_when_it_fails():
    def failing(x):
        if x > 0.0:
            return x + undefined  # noqa: F821
        return x

    for _ in range(2):
        with pytest.raises(NameError):
            nt.grad(failing, branches="select")(1.0)
        assert arms.arms_now() is None
    assert np.geterr() == {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


# In lanes.


def test_a_point_on_the_boundary_takes_the_same_arm_in_a_batch_as_alone():
    bounds = np.sort(np.random.default_rng(1).uniform(0.2, 3.0, size=500))
    x = np.log(bounds)

    def chosen(x, c):
        return np.where(np.sin(np.exp(x)) >= c, 1.0 * x, -2.0 * x)

    def written(x, c):
        return 1.0 * x if np.sin(np.exp(x)) >= c else -2.0 * x

    c = np.array([np.sin(np.exp(v)) for v in x])
    for function in (chosen, nt.branches("select")(written)):
        assert (nt.vmap(nt.grad(function))(x, c) == 1.0).all()
        assert (nt.vmap(nt.value_and_grad(function))(x, c)[1] == 1.0).all()


def test_an_iterator_that_is_read_on_ends_where_it_does_in_the_call():
    def two_loops(x):
        numbers, total = iter(x), 0.0
        for v in numbers:
            if v > 0.5:
                break
            total += v
        for v in numbers:
            total += 10.0 * v
        return total

    slope = nt.value_and_grad(two_loops, branches="select")
    for x in np.random.default_rng(2).normal(size=(20, 4)):
        assert slope(x)[0] == two_loops(x)
