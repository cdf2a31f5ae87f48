"""Trace tables: the textbook's numbers, and adjoints of every slot against differences."""

import naive
import numpy as np
import pytest

import numtape as nt
from numtape.functions.traces import adjoints_of_slots, tangents_of_slots
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR

NAMES = ("v1", "v2", "v3", "v4", "v5")


def wengert(x1, x2):
    v1 = np.log(x1)
    v2 = x1 * x2
    v3 = np.sin(x2)
    v4 = v1 + v2
    return v4 - v3


def column(table, field, names=NAMES):
    return [getattr(table[name], field) for name in names]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


# the acceptance list


def test_primal_trace():
    table = nt.record(wengert, 2.0, 5.0).trace_table(2.0, 5.0)
    expected = [0.6931471805599453, 10, -0.9589242746631385, 10.693147180559945, 11.652071455223084]
    close(column(table, "value"), expected)
    assert column(table, "tangent") == column(table, "adjoint") == [None] * 5


def test_tangent_trace():
    tape = nt.record(wengert, 2.0, 5.0)
    table = tape.trace_table(2.0, 5.0, mode="tangent", seed=(1.0, 0.0))
    close(column(table, "tangent"), [0.5, 5.0, 0.0, 5.5, 5.5])
    close(column(table, "tangent", ("x1", "x2")), [1.0, 0.0])


def test_adjoint_trace():
    table = nt.record(wengert, 2.0, 5.0).trace_table(2.0, 5.0, mode="adjoint")
    close(column(table, "adjoint", ("x1", "x2")), [5.5, 1.7163378145367738])
    close(column(table, "adjoint"), [1.0, 1.0, -1.0, 1.0, 1.0])


def test_text():
    tape = nt.record(wengert, 2.0, 5.0)
    table = tape.trace_table(2.0, 5.0, mode="tangent", seed=(1.0, 0.0), digits=4)
    assert str(table).splitlines() == [
        "variable  expression  value    tangent  partials",
        "--------  ----------  -------  -------  -----------------------",
        "x1                    2        1",
        "x2                    5        0",
        "v1        log(x1)     0.6931   0.5      by x1: 1.0 / x1",
        "v2        x1 * x2     10       5        by x1: x2; by x2: x1",
        "v3        sin(x2)     -0.9589  0        by x2: cos(x2)",
        "v4        v1 + v2     10.69    5.5      by v1: 1.0; by v2: 1.0",
        "v5        v4 - v3     11.65    5.5      by v4: 1.0; by v3: -1.0",
        "outputs: v5",
    ]
    assert repr(table) == str(table)


def test_html():
    def f(x):
        return np.sin(x) if x < 3.0 else x

    page = nt.record(f, 2.0).trace_table(2.0)._repr_html_()
    assert page.startswith("<table><thead><tr><th ")
    assert ">x &lt; 3.0</td>" in page
    assert page.count("<tr>") == 4
    assert "guarded: v1 == 1 at " in page


def test_guards_and_outputs_are_named():
    def f(x):
        return (x[0], 2.0 * x[1]) if x[0] > 1.0 else x

    tape = nt.record(f, np.array([2.0, 3.0]))
    first, second = tape.trace_table(np.array([4.0, 3.0])).notes
    assert first == "outputs: x[0] v2"
    assert second.startswith("guarded: v1 == 1 at ")
    assert ":" in second.rpartition(" at ")[2]
    with pytest.raises(nt.BranchError, match="another path"):
        tape.trace_table(np.array([0.0, 3.0]))


# arrays


def matrices(a, b, c):
    y = np.tanh(a @ b) + c * a[:, 0] * a.T[1]
    z = np.linalg.solve(a, y) * y[0]
    order = np.sort(z)
    running = np.cumsum(np.exp(y)[::2])
    return np.sum(z) + order[3] * running[4] + np.prod(y[:9]) + np.max(y) + a[2].sum()


def at():
    random = np.random.default_rng(5)
    return random.normal(size=(10, 10)), np.linspace(0.1, 1.0, 10), 0.5


def test_operands_are_written_as_in_numpy():
    tape = nt.record(matrices, *at())
    texts = [row.expression for row in tape.trace_table(*at()).rows]
    for expected in ("x1 @ x2", "solve(x1, v", "x3 * x1[:, 0]", "v3 * x1[:, 1]", "exp(v", "[:9])"):
        assert any(expected in text for text in texts), expected
    shapes = {row.name: np.shape(row.value) for row in tape.trace_table(*at()).rows}
    assert (shapes["x1"], shapes["x2"], shapes["x3"]) == ((10, 10), (10,), ())


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda y: y, "x"),
        (lambda y: y[2], "x[2]"),
        (lambda y: y[:, 1], "x[:, 1]"),
        (lambda y: y[1:, ::2], "x[1:, ::2]"),
        (lambda y: y[1:4, 3:20:3], "x[1:4, 3::3]"),
        (lambda y: y.reshape(4, 45), "x"),
        (lambda y: y[::-1], "x[...]"),
        (lambda y: y[[0, 1, 3]], "x[...]"),
        (lambda y: np.concatenate([y[0], np.zeros(2)]), "[x[0, 0], x[0, 1], ..., 0.0, 0.0]"),
    ],
)
def test_parts_of_arrays(function, text):
    x = np.ones((9, 20))
    row = nt.record(lambda x: np.exp(function(x)), x).trace_table(x).rows[-1]
    assert row.expression == f"exp({text})"


def test_transposed_operands():
    x = np.ones((9, 20))
    assert nt.record(lambda x: x.T @ x, x).trace_table(x)["v1"].expression == "x.T @ x"


def test_broadcast_operands_are_written_once():
    x, w = np.ones((9, 20)), np.ones(20)
    row = nt.record(lambda x, w: x * w, x, w).trace_table(x, w)["v1"]
    assert (row.expression, row.partials) == ("x1 * x2", "by x1: x2; by x2: x1")


def bumped(tape, x, slot, step):
    """The outputs where one slot is moved by a step after it is computed."""
    values = np.zeros(tape.slots)
    values[1 : tape.first_input] = tape.constants
    values[tape.first_input : tape.first_result] = x
    if slot < tape.first_result:
        values[slot] += step
    for (opcode, a, b), start in zip(tape.code.tolist(), tape.results.tolist()):
        if opcode == VECTOR:
            values[start : start + b] = naive._vector(tape.vectors[a], values)
            stop = start + b
        else:
            values[start] = naive.row_value(ROWS[opcode], values[a], values[b])
            stop = start + 1
        if start <= slot < stop:
            values[slot] += step
    return values[tape.outputs]


def whole_numbers(tape):
    """Slots that hold places and outcomes of comparisons, which cannot be moved a little."""
    slots = {guard.slot for guard in tape.guards}
    for (opcode, a, b), start in zip(tape.code.tolist(), tape.results.tolist()):
        if opcode == VECTOR and tape.vectors[a].kind == "order":
            slots |= set(range(start, start + b))
    return slots


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (wengert, (2.0, 5.0)),
        (lambda x: x[0] ** 3 * x[1] ** x[0], (np.array([1.5, 0.5]),)),
        (lambda x: x * x + 2.0 * x, (1.5,)),
        (matrices, at()),
    ],
)
def test_adjoints_of_every_slot_agree_with_differences(function, arguments):
    tape = nt.record(function, *arguments).flat
    x = tape.point
    adjoints = adjoints_of_slots(tape, naive.evaluate(tape, x), np.ones(1))
    step = 1e-6
    for slot in range(tape.first_input, tape.slots):
        if slot in whole_numbers(tape):
            continue
        (up,), (down,) = bumped(tape, x, slot, step), bumped(tape, x, slot, -step)
        np.testing.assert_allclose(adjoints[slot], (up - down) / (2 * step), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "arguments"), [(wengert, (2.0, 5.0)), (matrices, at())], ids=["scalar", "arrays"]
)
def test_tangents_of_every_slot_agree_with_differences(function, arguments):
    tape = nt.record(function, *arguments).flat
    direction = np.random.default_rng(1).normal(size=tape.inputs)
    tangents = tangents_of_slots(tape, tape.point, direction)
    step = 1e-6
    up = naive.evaluate(tape, tape.point + step * direction)
    down = naive.evaluate(tape, tape.point - step * direction)
    np.testing.assert_allclose(tangents, (up - down) / (2 * step), rtol=1e-4, atol=1e-5)


def test_adjoints_of_arguments_are_the_gradient():
    tape = nt.record(matrices, *at())
    table = tape.trace_table(*at(), mode="adjoint")
    gradients = nt.grad(matrices, argnums=(0, 1, 2))(*at())
    for name, gradient in zip(("x1", "x2", "x3"), gradients):
        np.testing.assert_allclose(table[name].adjoint, gradient, rtol=1e-12, atol=1e-13)


def test_orders_held_constant_have_no_adjoint():
    """The partial by the order of a Bessel function is unknown, and not asked for."""
    from scipy.special import jv

    x = np.linspace(0.5, 2.0, 9)
    tape = nt.record(lambda x, t: np.sum(jv(2.0, x)) * jv(1.5, t), x, 0.5)
    table = tape.trace_table(x, 0.5, mode="adjoint")
    close(table["x1"].adjoint, tape.gradient(x, 0.5))


def test_what_a_mask_hides_adds_nothing():
    """The arm that is not taken has an infinite partial and a weight of 0."""

    def f(x):
        return np.sum(np.where(x > 0.0, np.sqrt(x), 0.0))

    for size in (2, 20):
        x = np.zeros(size)
        x[0] = 4.0
        table = nt.record(f, x).trace_table(x, mode="adjoint")
        close(table["x"].adjoint, np.where(x > 0.0, 0.25, 0.0))


def test_seeds_are_trees():
    def f(p):
        return {"a": p["x"] * p["y"], "b": p["x"] + p["y"]}

    point = {"x": 2.0, "y": 3.0}
    tape = nt.record(f, point)
    table = tape.trace_table(point, mode="adjoint", seed={"a": 1.0, "b": 10.0})
    assert column(table, "adjoint", ("x1", "x2")) == [13.0, 12.0]
    table = tape.trace_table(point, mode="tangent", seed=({"x": 1.0, "y": 10.0},))
    assert column(table, "tangent", ("v1", "v2")) == [23.0, 11.0]


def test_auxiliary_results_are_not_differentiated():
    def f(x):
        return x * x, {"twice": 2.0 * x}

    from numtape.functions.recording import record_call
    from numtape.functions.signature import read_call

    tape = record_call(f, read_call((3.0,)), has_aux=True)
    assert tape.trace_table(3.0, mode="adjoint")["x"].adjoint == 6.0


# errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "dual"}, "mode='dual'.*'primal'"),
        ({"mode": "tangent"}, "2 inputs.*seed=\\(1.0, 0.0\\)"),
        ({"mode": "adjoint"}, "2 outputs.*weights"),
        ({"seed": (1.0, 0.0)}, "leave seed out"),
        ({"mode": "tangent", "seed": (1.0,)}, "seed of structure"),
        ({"mode": "tangent", "seed": (np.ones(2), 1.0)}, "leading axes"),
        ({"mode": "adjoint", "seed": 1.0}, "seed of structure"),
        ({"mode": "adjoint", "seed": (1.0, np.ones(2))}, "leading axes"),
    ],
)
def test_wrong_modes_and_seeds(options, words):
    tape = nt.record(lambda x, y: (x * y, x + y), 2.0, 3.0)
    with pytest.raises(nt.InputError, match=words):
        tape.trace_table(2.0, 3.0, **options)


def test_rows_that_do_not_exist():
    with pytest.raises(nt.InputError, match=r"'v9'.*x1 to v5"):
        nt.record(wengert, 2.0, 5.0).trace_table(2.0, 5.0)["v9"]
