"""Loops and choices as functions, and Python loops that are rolled up, beside plain Python."""

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.run.workspace import Plan

RNG = np.random.default_rng(5)
X = RNG.normal(size=12)
P = np.array([[0.5, 0.1], [-0.2, 0.3]])
PAIRS = RNG.normal(size=(7, 2))


def plain_scan(f, init, xs=None, length=None, reverse=False):
    """What `scan` is, of one array and one result."""
    steps = range(len(xs) if xs is not None else length)
    rows = {}
    for step in reversed(steps) if reverse else steps:
        init, rows[step] = f(init, None if xs is None else xs[step])
    return init, np.stack([rows[step] for step in steps])


def weighted(scan):
    def f(x, a):
        last, rows = scan(lambda level, each: (np.tanh(a * level + each), level * each), 0.3, x)
        return last + np.sum(rows * np.arange(len(x)))

    return f


def backward(scan):
    def f(x, a):
        last, rows = scan(lambda s, each: (a * np.sin(s) + each, s), 0.1, x, reverse=True)
        return last * rows[0] + np.sum(rows**2)

    return f


def powers(scan):
    def f(x, a):
        last, rows = scan(lambda s, _: (s * a, np.array([s, s * s])), x[0], length=9)
        return last + np.sum(rows[3:] * x[:2])

    return f


def nested(scan):
    def f(x, a):
        def outer(total, each):
            inner, rows = scan(lambda s, y: (np.cos(s + y * a), s * each), each, x[:4])
            return total + inner, np.sum(rows)

        total, rows = scan(outer, 0.0, x[4:])
        return total + rows[-1]

    return f


FUNCTIONS = [weighted, backward, powers, nested]


@pytest.mark.parametrize("make", FUNCTIONS)
def test_as_a_plain_loop(make):
    mine, plain = make(nt.scan), make(plain_scan)
    assert_same_bits(mine(X, 0.7), plain(X, 0.7))  # outside of a recording
    tape = nt.record(mine, X, 0.7)
    assert tape.flat.has_loops
    for point in (X, X + 0.1, -X):
        assert_same_bits(tape(point, 0.4), plain(point, 0.4))
        for one, other in zip(
            nt.grad(mine, (0, 1))(point, 0.4), nt.grad(plain, (0, 1))(point, 0.4), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        nt.hessian(mine)(X, 0.4), nt.hessian(plain)(X, 0.4), rtol=1e-9, atol=1e-11
    )
    nt.check_derivatives(mine, X, 0.7)
    many = np.array([X, X + 0.1, -X])
    np.testing.assert_allclose(
        nt.vmap(nt.grad(mine), (0, None))(many, 0.7),
        [nt.grad(plain)(point, 0.7) for point in many],
        rtol=1e-9,
        atol=1e-11,
    )


def on_trees(p, x):
    def step(carry, each):
        m = carry["m"] @ p + each["a"]
        inner = nt.scan(lambda q, w: (q * 0.5 + w * p[0, 0], None), carry["s"], m)[0]
        return {"m": np.tanh(m), "s": inner + each["b"]}, (m, [inner])

    carry, (rows, (inners,)) = nt.scan(
        step, {"m": np.zeros(2), "s": 0.0}, {"a": x, "b": x[:, 0]}, reverse=True
    )
    return carry["s"] + np.sum(rows) + np.sum(inners**2) + np.sum(carry["m"])


def test_trees():
    tape = nt.record(on_trees, P, PAIRS)
    assert tape.flat.has_loops
    for factor in (1.0, -0.5):
        assert_same_bits(tape(P * factor, PAIRS), on_trees(P * factor, PAIRS))
    nt.check_derivatives(on_trees, P, PAIRS)


def test_derivatives_inside_of_steps():
    def f(x):
        def step(s, each):
            return s + nt.grad(lambda y: np.sin(y) * each * s)(each), s

        return np.sum(nt.scan(step, 1.0, x)[1])

    nt.check_derivatives(f, X[:5])
    assert_same_bits(nt.record(f, X[:5])(X[5:10]), f(X[5:10]))


def signs(x):
    return nt.scan(lambda s, each: (s + each * each if each > 0.0 else s - each, None), 0.0, x)[0]


def test_a_guard_stands_for_each_step():
    tape = nt.record(signs, np.array([1.0, 2.0, 3.0]))
    assert tape.flat.has_loops
    assert len(tape.flat.guards) == 3
    assert tape(np.array([3.0, 2.0, 1.0])) == 14.0
    with pytest.raises(nt.BranchError, match=r"test_loops.py:\d+: -3.0 > 0.0 is False") as caught:
        tape(np.array([1.0, 2.0, -3.0]))
    assert caught.value.guard == 2


def test_branches_that_differ_from_step_to_step_are_selections():
    tape = nt.record(signs, np.array([1.0, -2.0, 3.0]))
    assert tape.flat.has_loops
    assert not tape.flat.guards
    gradient = nt.grad(signs)
    for point in ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], [-1.0, -1.0, 2.0]):
        x = np.array(point)
        np.testing.assert_array_equal(gradient(x), np.where(x > 0.0, 2.0 * x, -1.0))


def test_steps_that_differ_in_another_way_are_recorded_each():
    def told(x):
        def step(c, each):
            return c + (each if str(each > 0.0) == "True" else -2.0 * each), None

        return nt.scan(step, 0.0, x)[0]

    x = np.array([1.0, -2.0, 3.0])
    assert not nt.record(told, x).flat.has_loops
    gradient = nt.grad(told)
    for point in (x, -x, np.ones(3)):
        np.testing.assert_array_equal(gradient(point), np.where(point > 0.0, 1.0, -2.0))


def test_integers_and_assignments_are_recorded_step_by_step():
    def counted(x):
        return nt.scan(lambda c, each: ((c[0] + 1, c[1] + c[0] * each), c[1]), (0, 0.0), x)[0][1]

    def assigned(x):
        def step(c, each):
            c[0] = c[0] * each
            return c, c[1] * each

        return np.sum(nt.scan(step, np.ones(2), x)[1])

    for f in (counted, assigned):
        nt.check_derivatives(f, X[:4])
        assert nt.record(f, X[:4])(X[4:8]) == f(X[4:8])


def test_other_loops():
    def f(x):
        return nt.fori_loop(2, 5, lambda k, y: y + k * y * x, x)

    def g(x):
        return nt.while_loop(lambda y: y < 10.0, lambda y: y * y, x, max_steps=10)

    def h(x):
        rows = nt.map(lambda y: np.array([y, np.sin(y)]), x)
        return np.sum(rows[:, 0] * rows[:, 1])

    nt.check_derivatives(f, 0.7)
    nt.check_derivatives(g, 1.5)
    nt.check_derivatives(h, X)
    assert nt.fori_loop(3, 3, None, 2.0) == 2.0
    assert nt.record(h, X).flat.has_loops


def test_cond_selects():
    def f(x):
        return nt.scan(
            lambda s, each: (
                s + nt.cond(each > 0.0, np.sqrt, lambda v: 0.1 * v * s, each),
                None,
            ),
            1.0,
            x,
        )[0]

    tape = nt.record(f, X)
    assert not tape.flat.guards
    with np.errstate(invalid="ignore"):
        for point in (X, -X, np.abs(X)):
            assert_same_bits(tape(point), f(point))
            central = [(f(point + step) - f(point - step)) / 2e-6 for step in 1e-6 * np.eye(len(X))]
            np.testing.assert_allclose(tape.gradient(point), central, rtol=1e-6, atol=1e-8)
    assert nt.cond(1, lambda a, b: {"k": a}, None, 3.0, 4.0) == {"k": 3.0}
    for pred in (lambda x: np.asarray(x) > 1.0, lambda x: x, lambda x: np.floor(x).astype(int)):
        chosen = nt.record(lambda x, p=pred: nt.cond(p(x), np.sin, np.cos, x), 2.0)
        assert chosen(2.0) == np.sin(2.0)
        assert chosen(0.0) == 1.0


def test_no_steps():
    def f(c, x):
        return c * 2.0, np.outer(x, x)

    carry, rows = nt.scan(f, 1.5, np.zeros((0, 3)))
    assert carry == 1.5
    assert rows.shape == (0, 3, 3)
    assert nt.grad(lambda x: nt.scan(f, x, np.zeros((0, 3)))[0])(2.0) == 1.0
    assert nt.scan(f, 1.0, np.ones((1, 3)))[1].shape == (1, 3, 3)


BAD = {
    "no number of steps": (lambda: nt.scan(signs, 0.0), nt.InputError, "length=None"),
    "two numbers of steps": (
        lambda: nt.scan(signs, 0.0, [np.ones(3), np.ones(4)]),
        nt.InputError,
        r"\[3, 4\]",
    ),
    "another length": (
        lambda: nt.scan(signs, 0.0, np.ones(3), length=4),
        nt.InputError,
        "length=4",
    ),
    "a negative length": (lambda: nt.scan(signs, 0.0, length=-1), nt.InputError, "length=-1"),
    "a length that is none": (lambda: nt.scan(signs, 0.0, length=2.5), nt.InputError, "2.5"),
    "a number to go along": (lambda: nt.scan(signs, 0.0, 3.0), nt.InputError, "no axes"),
    "no pair": (lambda: nt.scan(lambda c, x: c, 0.0, X), nt.OutputError, "a pair"),
    "another tree": (
        lambda: nt.scan(lambda c, x: ((c, c), x), 0.0, X),
        nt.OutputError,
        "keeps its structure",
    ),
    "another shape": (
        lambda: nt.scan(lambda c, x: (c + np.ones(2), x), 0.0, X),
        nt.OutputError,
        r"shape \(2,\)",
    ),
    "a bound that is none": (
        lambda: nt.fori_loop(0, 2.5, lambda k, c: c, 0.0),
        nt.InputError,
        "upper=2.5",
    ),
    "a traced bound": (
        lambda: nt.grad(lambda x: nt.fori_loop(0, x, lambda k, c: c, x))(2.0),
        nt.InputError,
        "upper=2.0",
    ),
    "no end": (
        lambda: nt.while_loop(lambda c: True, lambda c: c + 1.0, 0.0, max_steps=5),
        nt.InputError,
        "max_steps=5 steps and its condition still holds, of 5.0",
    ),
    "several choices": (
        lambda: nt.cond(X > 0.0, np.sin, np.cos, 1.0),
        nt.InputError,
        "np.where",
    ),
    "results that are not alike": (
        lambda: nt.grad(lambda x: nt.cond(x > 0.0, lambda y: (y, y), lambda y: y, x))(1.0),
        nt.OutputError,
        "must be alike",
    ),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("recorded", [False, True])
def test_bad_input(what, recorded):
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        nt.record(lambda x: call() and x, 1.0) if recorded else call()


# What a Python loop repeats.


def garch(p):
    variance, total = 1e-4, 0.0
    for r in np.random.default_rng(0).normal(size=500) * 0.01:
        total = total + np.log(variance) + r * r / variance
        variance = p[0] + p[1] * r * r + p[2] * variance
    return total


GARCH = np.array([1e-6, 0.1, 0.8])


def test_a_python_loop_is_rolled_up():
    rolled, plain = nt.record(garch, GARCH), nt.record(garch, GARCH, roll=False)
    assert rolled.flat.in_all < 30 < plain.flat.instructions
    assert not plain.flat.has_loops
    assert not nt.record(garch, GARCH, lines=True).flat.has_loops
    for point in (GARCH, GARCH * 1.1):
        assert rolled(point) == plain(point) == garch(point)
        np.testing.assert_allclose(rolled.gradient(point), plain.gradient(point), rtol=1e-12)
        np.testing.assert_allclose(rolled.hessian(point), plain.hessian(point), rtol=1e-10)
    rolled.compile()
    assert rolled(GARCH) == garch(GARCH)
    np.testing.assert_allclose(rolled.gradient(GARCH), plain.gradient(GARCH), rtol=1e-12)


def test_the_environment_turns_it_off(monkeypatch):
    monkeypatch.setenv("NUMTAPE_ROLL", "off")
    assert not nt.record(garch, GARCH).flat.has_loops


def test_rolled_tapes_are_saved(tmp_path):
    tape = nt.record(garch, GARCH)
    for name, each in (("value", tape), ("adjoint", tape.adjoint())):
        each.save(tmp_path / name)
        assert str(nt.load(tmp_path / name)) == str(each)
    again = nt.load(tmp_path / "value")
    assert again(GARCH) == tape(GARCH)
    assert_same_bits(again.gradient(GARCH), tape.gradient(GARCH))


def test_a_guard_that_fails_in_a_rolled_loop_is_explained():
    def f(x):
        total = 0.0
        for k in range(1500):
            total = total + x * k if x * k < 1250.0 else total - 1.0
        return np.sin(total)

    rolled, plain = nt.record(f, 0.5), nt.record(f, 0.5, roll=False)
    assert rolled.flat.has_loops
    messages = []
    for tape in (rolled, plain):
        with pytest.raises(nt.BranchError) as caught:
            tape(0.9)
        messages.append((str(caught.value), caught.value.guard))
    assert messages[0] == messages[1]
    assert "1250.1000000000001 < 1250.0 is False" in messages[0][0]


def test_a_product_of_scalars_put_into_an_array_rounds_as_numpys():
    weights = RNG.normal(size=40)

    def f(p):
        out = np.zeros(40)
        for k in range(40):
            out[k] = np.sin(p[0] * k) * p[1] + p[2]
        return np.dot(out, weights) + out.reshape(8, 5).T[1] @ weights[:8]

    tape = nt.record(f, np.ones(3))
    for _ in range(50):
        p = RNG.normal(size=3)
        assert tape(p) == f(p)


def test_rolled_tapes_show_themselves():
    def f(x):
        return nt.scan(lambda c, each: (np.tanh(c * x[0] + each), c), 0.3, x)[0]

    def plain(x):
        c = 0.3
        for k in range(3):
            c = np.tanh(c * x[0] + x[k])
        return c

    x = np.array([0.1, 0.2, 0.3])
    tape, written = nt.record(f, x), nt.record(plain, x)
    assert "repeat(3, carry=(0.3), read=(x), same=(x[0]))" in str(tape.graph())
    assert tape.expression_size() == written.expression_size()
    for mode in ("primal", "adjoint"):
        assert str(tape.trace_table(x, mode=mode)) == str(written.trace_table(x, mode=mode))
    graph = tape.graph(x, mode="adjoint")
    assert "repeat" in str(graph)
    pytest.importorskip("sympy")
    assert str(tape.to_sympy()) == str(written.to_sympy())
    assert tape.to_latex() == written.to_latex()


# Memory of derivatives.


def kept(scan_checkpoint):
    def f(x, a):
        last, rows = nt.scan(
            lambda s, each: (np.tanh(a * s + each) * np.cos(s), s * each),
            0.3,
            x,
            checkpoint=scan_checkpoint,
        )
        return last + np.sum(rows)

    return f


@pytest.mark.parametrize("length", [2, 3, 4, 9, 103])
def test_checkpoints_change_nothing(length):
    x = RNG.normal(size=length)
    for one, other in zip(
        nt.grad(kept(True), (0, 1))(x, 0.5), nt.grad(kept(None), (0, 1))(x, 0.5), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        nt.hessian(kept(True))(x, 0.5), nt.hessian(kept(None))(x, 0.5), rtol=1e-11, atol=1e-13
    )
    forward = [nt.jvp(kept(each), (x, 0.5), (x, 1.0))[1] for each in (True, None)]
    np.testing.assert_allclose(*forward, rtol=1e-13)
    assert_same_bits(nt.record(kept(True), x, 0.5)(x, 0.2), kept(None)(x, 0.2))


def places_of(tape):
    """How many numbers a gradient's run holds, with the memory of its loops' bodies."""
    gradient = tape.gradient_tape((0, 1)).flat
    todo, total = [Plan(gradient)], 0
    while todo:
        plan = todo.pop()
        total += plan.size
        todo += plan.bodies
    return total


def test_checkpoints_bound_memory_and_cost_one_more_run():
    steps = 2500
    x = RNG.normal(size=steps)
    tapes = {each: nt.record(kept(each), x, 0.5) for each in (None, True, 10**9, 1000)}
    sizes = {each: places_of(tape) for each, tape in tapes.items()}
    around = 3 * steps  # the inputs, what is written, and the gradient
    assert sizes[None] > around + 2 * steps
    assert sizes[True] < around + 20 * 50
    assert sizes[10**9] == sizes[None]
    assert sizes[1000] == sizes[True]
    runs = {
        each: tape.gradient_tape((0, 1)).flat.written_out / tape.flat.written_out
        for each, tape in tapes.items()
    }
    assert 0.5 < runs[True] - runs[None] < 1.5


def test_checkpoints_of_a_python_loop():
    tapes = [nt.record(garch, GARCH, checkpoint=each) for each in (None, True)]
    sizes = [Plan(tape.gradient_tape(0).flat).size for tape in tapes]
    assert sizes[1] < sizes[0] - 400
    assert tapes[1](GARCH) == garch(GARCH)
    for order in ("gradient", "hessian"):
        found, expected = (getattr(tape, order)(GARCH * 1.1) for tape in reversed(tapes))
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_derivatives_take_checkpoints():
    around = np.array([GARCH, GARCH * 1.1])
    for derive in (nt.grad, nt.jacobian, nt.jacrev, nt.hessian):
        few, all_ = derive(garch, checkpoint=True), derive(garch)
        np.testing.assert_allclose(few(GARCH), all_(GARCH), rtol=1e-11)
        np.testing.assert_allclose(nt.vmap(few)(around), nt.vmap(all_)(around), rtol=1e-9)
    gradient = nt.grad(garch, checkpoint=True)
    gradient(GARCH)
    (tape,) = gradient.recordings.kept
    assert any(body.recomputes for body in tape.flat.bodies)
    value, found = nt.value_and_grad(garch, checkpoint=1000)(GARCH)
    assert value == garch(GARCH)
    np.testing.assert_allclose(found, gradient(GARCH), rtol=1e-13)
    for run in (lambda p: nt.vjp(garch, p, checkpoint=True)[1](1.0)[0], gradient):
        np.testing.assert_allclose(run(GARCH), gradient(GARCH), rtol=1e-13)
        inside = nt.jacobian(run)(GARCH)
        np.testing.assert_allclose(inside, nt.hessian(garch)(GARCH), rtol=1e-10)
    with pytest.raises(nt.InputError, match="checkpoint=-1"):
        nt.grad(garch, checkpoint=-1)


def test_a_checkpoint_of_a_piece():
    def piece(x, a):
        y = np.exp(np.sin(x) * a)
        return {"y": y if y[0] > 0.0 else -y, "z": np.sum(y * y)}

    def f(around):
        def g(x, a):
            made = around(piece)(x, a * 2.0)
            return np.sum(made["y"] ** 3) + made["z"]

        return g

    x = RNG.normal(size=20)
    mine, plain = f(nt.checkpoint), f(lambda piece: piece)
    assert_same_bits(mine(x, 0.4), plain(x, 0.4))
    tape = nt.record(mine, x, 0.4)
    assert len(tape.flat.guards) == 1
    assert_same_bits(tape(-x, 0.4), plain(-x, 0.4))
    for derive in (nt.grad, nt.hessian):
        np.testing.assert_allclose(derive(mine)(x, 0.4), derive(plain)(x, 0.4), rtol=1e-11)
    forward, backward = [each for each in tape.gradient_tape(0).flat.vectors if each.body]
    assert forward.body.written == 21  # the sum is not read
    assert backward.body.tape.instructions > forward.body.tape.instructions


def test_bytes_that_are_none():
    with pytest.raises(nt.InputError, match="checkpoint=-1 was given"):
        nt.scan(signs, 0.0, X, checkpoint=-1)
