"""Loops that end when a condition does: each point's own number of steps, beside plain Python."""

import threading

import mpmath
import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt

COUNTS = np.array([1.3, 2.0, 50.0, 1e4, 1e7, 1e12])  # 4 to 25 steps of Newton's method


def plain_while(cond, body, init, max_steps=None):
    """What `while_loop` is."""
    while cond(init):
        init = body(init)
    return init


def root(loop):
    """The square root, by Newton's method."""

    def f(a):
        return loop(lambda x: abs(x * x - a) > 1e-9 * a, lambda x: 0.5 * (x + a / x), 1.0)

    return f


def decay(loop):
    """A tree of arrays, an integer and a bool."""

    def f(a):
        def body(c):
            x = np.tanh(c["x"] * a) - 0.1 * c["n"]
            return {"x": x, "n": c["n"] + 2, "last": c["n"] > 3}

        c = loop(lambda c: c["n"] < 11, body, {"x": np.array([a, 2.0 * a]), "n": 0, "last": False})
        return np.sum(c["x"] * c["n"]) + c["last"]

    return f


def weighed(loop):
    """Values of outside, of which derivatives are taken, and a square root of what ends at 0."""

    def f(a):
        weight = np.sin(a)
        total, left = loop(
            lambda c: c[1] > 0.05, lambda c: (c[0] + np.sqrt(c[1]), c[1] * 0.7), (weight, a * a)
        )
        return total * weight + left

    return f


def none(loop):
    """No step at all, where the body would be infinite."""

    def f(a):
        return loop(lambda x: x < 0.0, lambda x: np.log(x - x), a * 1.0)

    return f


def at_most(loop):
    """A condition with branches: two ends, one of them in Python's way."""

    def f(a):
        def goes(c):
            x, n = c
            if n > 30:
                return False
            return not abs(x * x - a) <= 1e-9 * a and 0 <= n < 5

        x, n = loop(goes, lambda c: (0.5 * (c[0] + a / c[0]), c[1] + 1), (a, 0))
        return x + n * a

    return f


@pytest.mark.parametrize("make", [root, decay, weighed, none, at_most])
def test_as_a_plain_loop(make):
    mine, plain = make(nt.while_loop), make(plain_while)
    tape = nt.record(mine, 2.0)
    assert tape.flat.has_loops
    gradient, hessian = nt.grad(mine), nt.hessian(mine)
    for point in (2.0, 0.7, 1.5):
        assert mine(point) == plain(point)
        assert_same_bits(nt.value_and_grad(mine)(point)[0], plain(point))
        np.testing.assert_allclose(gradient(point), nt.grad(plain)(point), rtol=1e-10)
        np.testing.assert_allclose(hessian(point), nt.hessian(plain)(point), rtol=1e-9)
        value, forward = nt.jvp(mine, (point,), (1.0,))
        assert value == plain(point)
        np.testing.assert_allclose(forward, gradient(point), rtol=1e-12)
        nt.check_derivatives(mine, point)


def test_paths_of_a_condition_are_one_recording():
    mine, plain = at_most(nt.while_loop), at_most(plain_while)
    gradient = nt.grad(mine)
    for a in (2.0, 1.01, 50.0, 1e6, 1.2, 2e5):
        np.testing.assert_allclose(gradient(a), nt.grad(plain)(a), rtol=1e-12)
    made = gradient.recordings.made
    assert made <= 4
    for a in (2.0, 1.01, 50.0, 1e6, 1.2, 2e5):
        gradient(a)
    assert gradient.recordings.made == made
    points = np.array([2.0, 1.01, 50.0, 1e6, 1.2, 2e5])
    values, slopes = nt.vmap(nt.value_and_grad(mine))(points)
    assert_same_bits(values, np.array([plain(a) for a in points]))
    np.testing.assert_allclose(slopes, [nt.grad(plain)(a) for a in points], rtol=1e-12)


def test_numbers_of_steps_share_recordings():
    mine = root(nt.while_loop)
    gradient, seconds = nt.grad(mine), nt.hessian(mine)
    with mpmath.workdps(30):
        for a in np.tile(COUNTS, 3):
            np.testing.assert_allclose(gradient(a), float(mpmath.diff(mpmath.sqrt, a)), rtol=1e-8)
            np.testing.assert_allclose(seconds(a), float(mpmath.diff(mpmath.sqrt, a, 2)), rtol=1e-4)
    assert gradient.recordings.made == 3


def test_each_point_of_a_batch_makes_its_own_number():
    mine, plain = root(nt.while_loop), root(plain_while)
    points = np.exp(np.random.default_rng(3).uniform(0.0, 25.0, 200))
    values, gradients = nt.vmap(nt.value_and_grad(mine))(points)
    assert_same_bits(values, np.array([plain(a) for a in points]))
    np.testing.assert_allclose(gradients, [nt.grad(plain)(a) for a in points], rtol=1e-12)


def test_a_way_that_only_some_steps_go_is_recorded_step_by_step():
    def make(loop):
        def f(a):
            def body(x):
                return x + a if x < 3.0 else x * a

            return loop(lambda x: x < 50.0, body, a * 1.0)

        return f

    gradient = nt.grad(make(nt.while_loop))
    for a in (2.0, 1.5, 4.0, 60.0, 1.5):
        np.testing.assert_allclose(gradient(a), nt.grad(make(plain_while))(a), rtol=1e-12)


def test_a_guard_in_a_step_holds_for_the_steps_that_are_made():
    def f(a):
        def body(x):
            return x * a if x > 0.5 else x + 1.0

        return nt.while_loop(lambda x: x < 20.0, body, a * 1.0)

    tape = nt.record(f, 2.0)
    assert tape.flat.has_loops
    assert tape(3.0) == f(3.0)
    with pytest.raises(nt.BranchError, match=r"test_while_loops.py:\d+"):
        tape(0.4)
    assert nt.grad(f)(2.0) == 5.0 * 2.0**4


def test_loops_in_steps():
    def make(loop):
        def f(x):
            def step(total, each):
                found = loop(
                    lambda y: abs(y * y - each) > 1e-9, lambda y: 0.5 * (y + each / y), 1.0
                )
                return total * 0.5 + found, found

            total, rows = nt.scan(step, 0.0, x)
            return total + np.sum(rows**2)

        return f

    x = np.array([1.5, 2.0, 30.0, 1e4])
    mine, plain = make(nt.while_loop), make(plain_while)
    gradient = nt.grad(mine)
    tape = nt.record(mine, x)
    assert [vector.body.depth for vector in tape.flat.vectors if vector.body] == [2]
    assert tape(x[::-1].copy()) == plain(x[::-1])
    for point in (x, x[::-1].copy(), x * 0.1):
        np.testing.assert_allclose(gradient(point), nt.grad(plain)(point), rtol=1e-10)
        assert_same_bits(nt.value_and_grad(mine)(point)[0], plain(point))
    many = np.array([x, x[::-1], x * 0.1])
    np.testing.assert_allclose(
        nt.vmap(nt.grad(mine))(many), [nt.grad(plain)(point) for point in many], rtol=1e-10
    )


def test_loops_in_loops_that_end():
    def make(loop):
        def f(a):
            def body(c):
                y = loop(lambda y: y < c * 9.0, lambda y: y * y + a, a * 1.0)
                return c + np.sqrt(y)

            return loop(lambda c: c < 3e3, body, a * 1.0)

        return f

    mine, plain = make(nt.while_loop), make(plain_while)
    tape = nt.record(mine, 0.5)
    assert [vector.body.depth for vector in tape.flat.vectors if vector.body] == [2]
    gradient = nt.grad(mine)
    for a in (0.5, 1.5, 0.3):
        assert_same_bits(nt.value_and_grad(mine)(a)[0], plain(a))
        np.testing.assert_allclose(gradient(a), nt.grad(plain)(a), rtol=1e-9)


def test_more_steps_than_there_may_be_are_an_error_at_later_points_too():
    def f(a):
        return nt.while_loop(lambda x: x < 100.0, lambda x: x + a, 0.0, max_steps=20)

    gradient = nt.grad(f)
    assert gradient(5.0) == 20.0  # as many as there may be
    assert gradient(40.0) == 3.0
    for call in (gradient, f):
        with pytest.raises(
            nt.InputError,
            match=r"max_steps=20 steps and its condition still holds, of 20.0 at .*loops.py:\d+",
        ):
            call(1.0)
    assert gradient(10.0) == 10.0


def test_a_loop_that_does_not_end_can_be_interrupted():
    passed = threading.Event()

    class Stop(Exception):
        pass

    def cond(x):
        return x < 1.0

    def f(a):
        return nt.while_loop(cond, lambda x: x * a, 0.5)

    gradient = nt.grad(f)

    def interrupt():
        import _thread

        passed.set()
        _thread.interrupt_main()

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        gradient(0.9)
    assert passed.is_set()
    assert gradient(1.5) == 1.5


@pytest.mark.parametrize("given", [-1, 2.5])
def test_bounds_that_are_none(given):
    with pytest.raises(nt.InputError, match=f"max_steps={given}"):
        nt.while_loop(lambda x: x < 1.0, lambda x: x, 0.0, max_steps=given)


def test_bad_carries_are_told_as_in_plain_python():
    for body, message in (
        (lambda c: (c, c), "keeps its structure"),
        (lambda c: c + np.ones(2), r"shape \(2,\)"),
    ):
        for call in (
            lambda x, body=body: nt.while_loop(lambda c: c < 9.0, body, x),
            nt.grad(lambda x, body=body: nt.while_loop(lambda c: c < 9.0, body, x)),
        ):
            with pytest.raises(nt.OutputError, match=message):
                call(2.0)


def test_integers_that_become_floats():
    def f(a):
        return nt.while_loop(lambda c: c < 10, lambda c: c * a, 1)

    gradient = nt.grad(f)
    for a in (2.0, 3.0, 1.2):
        assert nt.record(f, a)(a) == f(a)
        np.testing.assert_allclose(gradient(a), nt.grad(lambda a: f(a))(a))
        nt.check_derivatives(f, a)


# Integers in loops whose number of steps is known.


def test_fori_loops_are_recorded_once():
    def f(x):
        return nt.fori_loop(2, 40, lambda k, y: 0.5 * np.sin(y + k) + y / k + (k % 3 == 0) * x, x)

    tape = nt.record(f, 0.7)
    assert tape.flat.has_loops
    for x in (0.7, -0.3):
        assert tape(x) == f(x)
    nt.check_derivatives(f, 0.7)

    data = np.linspace(0.0, 1.0, 40)
    listed = data.tolist()
    for table in (data, listed):

        def looked_up(x, table=table):
            return nt.fori_loop(0, 40, lambda k, y: np.sin(y) + table[k] * x, x)

        tape = nt.record(looked_up, 0.7)
        assert tape(0.3) == looked_up(0.3)
        nt.check_derivatives(looked_up, 0.3)


def test_elements_of_traced_arrays_by_number():
    def f(x):
        return nt.fori_loop(0, 20, lambda k, y: y * 0.5 + x[k] ** 2 * k, 0.0)

    x = np.linspace(0.1, 0.9, 20)
    assert nt.record(f, x)(x[::-1].copy()) == f(x[::-1])
    nt.check_derivatives(f, x)


def test_integers_are_carried_and_read():
    def f(x):
        def step(c, i):
            n, total, flag = c
            return (n + i, total * 0.9 + x[0] * n, total > 1.0), (n * 2, flag, total)

        (n, total, flag), (doubles, flags, rows) = nt.scan(step, (1, x[1], False), np.arange(3, 15))
        return n * total + flag + np.sum(doubles * rows) + np.sum(rows[1:][flags[1:]])

    x = np.array([0.3, 0.5])
    tape = nt.record(f, x)
    assert tape.flat.has_loops
    assert_same_bits(tape(x), f(x))
    nt.check_derivatives(f, x)
    kinds = nt.scan(lambda c, i: ((c[0] + i, c[1]), c[0] > 4), (0, 1.0), np.arange(4))
    assert kinds[1].dtype == bool


def test_powers_of_values_of_outside_round_as_scalars_do():
    exponents = np.linspace(0.3, 6.7, 7)

    def f(x):
        rows = nt.scan(lambda c, k: (c, x[0] ** k), x[0], exponents)[1]
        return rows, nt.fori_loop(0, 7, lambda k, y: y * 0.5 + x[1] ** k, x[0])

    tape = nt.record(f, np.array([1.1, 1.2]))
    for x in np.random.default_rng(7).uniform(0.5, 2.0, (200, 2)):
        for one, other in zip(tape(x), f(x), strict=True):
            assert_same_bits(one, other)
