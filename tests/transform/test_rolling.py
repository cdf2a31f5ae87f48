"""Rolling up: what is repeated becomes loops, which do the same in the same order.

What is rolled up and unrolled again is compared with what was recorded, instruction by
instruction; values of loops are compared as bits.
"""

import numpy as np
import pytest
from checks import evaluate
from repeating import assert_in_order, assert_same, repeating

import numtape as nt
from numtape.ops.structured import FUNCTION, LOOP, PRODUCT, PRODUCT_OPCODE, REDUCE
from numtape.ops.table import OPCODE
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location, VectorInstruction, View
from numtape.transform import matching, periods, rolling
from numtape.transform.builder import NO_RULES, Builder
from numtape.transform.rolling import roll
from numtape.transform.unrolling import unrolled

P = np.array([0.3, 0.4, 0.2, 0.1])
RNG = np.random.default_rng(0)
DATA = RNG.standard_normal(60)


@pytest.fixture(autouse=True)
def _short_tapes(monkeypatch):
    monkeypatch.setattr(rolling, "_LEAST", 1)
    monkeypatch.setattr(rolling, "_LEAST_BODY", 1)
    monkeypatch.setattr(rolling, "_LEAST_PART", 0.0)


def _rolled(function, *arguments):
    """The tape of a function, and the same rolled up, which was checked."""
    tape = nt.record(function, *arguments, roll=False).flat
    return tape, _checked(tape)


def _checked(tape):
    rolled = roll(tape)
    assert_in_order(rolled)
    assert_same(unrolled(rolled), tape)
    values, expected = (evaluate(each, tape.point) for each in (rolled, tape))
    assert values.tobytes() == expected.tobytes()
    return rolled


def _loops(tape):
    return [each for each in tape.vectors if each.kind == LOOP]


def _shapes(loop):
    return loop.body.carries, loop.body.reads, loop.body.same, loop.body.writes


def same_slots_of(p, steps):
    h = p[0]
    for _ in range(steps):
        h = h * p[1] + p[2]
    return h


def same_slots(p, x):
    return same_slots_of(p, 40)


def moving_inputs(p, x):
    h = p[0]
    for each in x:
        h = h * p[1] + each
    return h


def moving_backward(p, x):
    h = p[0]
    for each in x[::-1]:
        h = h * p[1] + each
    return h


def two_at_a_time(p, x):
    h = p[0]
    for k in range(0, 60, 2):
        h = h * x[k] + x[k + 1]
    return h


def a_window(p, x):
    h = p[0]
    for k in range(2, 58):
        h = h * p[1] + (x[k - 2] + x[k - 1] + x[k] + x[k + 1] + x[k + 2])
    return h


def constants_of_all_sorts(p, x):
    h = p[0]
    for each in np.round(DATA, 1):  # zeros, and numbers that come again
        h = h * p[1] + float(each) * p[2]
    return h


def one_constant(p, x):
    h = p[0]
    for _ in range(40):
        h = h * p[1] + 0.25
    return h


def carried_from_a_constant(p, x):
    total = 0.0
    for each in x:
        total = total + each * each
    return total


OPERANDS = {
    same_slots: (((),), ()),
    moving_inputs: (((),), ((),)),
    moving_backward: (((),), ((),)),
    two_at_a_time: (((),), ((2,),)),
    a_window: (((),), ((5,),)),
    constants_of_all_sorts: (((),), ((),)),
    one_constant: (((),), ()),
    carried_from_a_constant: (((),), ((),)),
}


@pytest.mark.parametrize("function", OPERANDS, ids=lambda function: function.__name__)
def test_each_operand_is_what_it_is(function):
    _, rolled = _rolled(function, P, DATA)
    (loop,) = _loops(rolled)
    assert rolled.instructions <= 3
    carries, reads, _, writes = _shapes(loop)
    assert writes == ()  # only the last value is read
    assert (carries, reads) == OPERANDS[function]


def test_a_constant_of_all_steps_stays_one():
    _, rolled = _rolled(one_constant, P, DATA)
    (loop,) = _loops(rolled)
    assert loop.body.tape.constants.tolist() == [0.25]
    assert len(rolled.constants) == 0


def test_constants_of_each_step_lie_in_order():
    def function(p):
        h = p[0]
        for k in range(30):
            h = h * np.sin(0.1 * k) + p[1] * np.sin(0.1 * k)
        return h

    _, rolled = _rolled(function, P)
    np.testing.assert_array_equal(rolled.constants, np.sin(0.1 * np.arange(30)))
    assert [view.strides for view in _loops(rolled)[0].operands[1:2]] == [(1,)]


@pytest.mark.parametrize("lag", [2, 3, 4])
def test_chains_of_carries(lag):
    def function(p, x):
        states = [p[0], 0.5, p[1], x[7]][:lag]
        for each in x:
            states = [*states[1:], states[0] * p[2] + states[-1] * each]
        return states[0] * states[-1]

    _, rolled = _rolled(function, P, DATA)
    (loop,) = _loops(rolled)
    assert loop.body.carried == lag
    assert rolled.instructions < 8
    assert loop.body.writes == ()


def test_states_from_far_away_are_no_carries():
    def function(p, x):
        states = list(x[:30])
        for k in range(120):
            states.append(states[k] * p[0] + p[1])
        return states[-1]

    _, rolled = _rolled(function, P, DATA)
    first, *_, last = _loops(rolled)
    assert first.body.carries == ()
    assert first.body.writes == ((1,),)
    assert first.shape[0] <= 30
    assert last.operands[0].base == 0  # the last value is handed out as if it were carried


def test_loops_in_loops():
    def function(u, c):
        for _ in range(12):
            inside = [u[k] + c * (u[k - 1] - 2.0 * u[k] + u[k + 1]) for k in range(1, len(u) - 1)]
            u = [u[0], *inside, u[-1]]
        return sum(each * each for each in u)

    tape, rolled = _rolled(function, RNG.standard_normal(30), 0.1)
    assert rolled.instructions < 10
    inner = [each for loop in _loops(rolled) for each in _loops(loop.body.tape)]
    assert inner
    assert tape.instructions > 1500


def test_inner_loops_are_found_first_where_outer_ones_are_long(monkeypatch):
    monkeypatch.setattr(periods, "_BLOCK", 128)
    monkeypatch.setattr(periods, "_LARGEST_BLOCK", 128)

    def function(p, x):
        total = 0.0
        for a in x[:20]:
            s = a
            for b in x:
                s = s * p[0] + b * a
            total = total + s * s
        return total

    _, rolled = _rolled(function, P, DATA)
    assert rolled.instructions < 40
    assert any(_loops(loop.body.tape) for loop in _loops(rolled))


def test_garch_with_data_as_constants():
    data = RNG.standard_normal(400) * 0.01

    def function(p):
        mu, omega, alpha, beta = p
        h = omega / (1.0 - alpha - beta)
        total = 0.0
        for x in data:
            e = x - mu
            total = total + np.log(h) + e * e / h
            h = omega + alpha * e * e + beta * h
        return 0.5 * total

    tape, rolled = _rolled(function, np.array([1e-4, 1e-5, 0.1, 0.85]))
    assert tape.instructions > 4000
    assert rolled.instructions < 8
    (loop,) = _loops(rolled)
    assert loop.shape == (400,)
    assert _shapes(loop) == (((), ()), ((),), ((4,),), ())


def _kalman(z, transition, noise, observation, error):
    x, p, total = np.zeros(4), np.eye(4), 0.0
    for each in z:
        x = transition @ x
        p = transition @ p @ transition.T + noise
        s = observation @ p @ observation.T + error
        y = each - observation @ x
        gain = p @ observation.T @ np.linalg.inv(s)
        x = x + gain @ y
        p = p - gain @ observation @ p
        total = total + y @ np.linalg.inv(s) @ y + np.log(np.linalg.det(s))
    return total


def test_a_filter_of_small_matrices():
    model = np.eye(4) + 0.1 * np.eye(4, k=2), 0.01 * np.eye(4), np.eye(2, 4), 0.1 * np.eye(2)
    tape, rolled = _rolled(_kalman, RNG.standard_normal((40, 2)), *model)
    (loop,) = _loops(rolled)
    assert loop.shape[0] >= 38
    assert rolled.instructions < 80
    assert any(each.kind == FUNCTION for each in loop.body.tape.vectors)
    assert (4,) in loop.body.carries
    assert (16,) in loop.body.carries
    assert len(rolled.guards) == len(tape.guards)
    assert loop.body.tape.guards == ()


def test_guards_of_each_step_are_kept():
    def function(p, x):
        h = p[0]
        for each in x:
            h = h * p[1] + each * p[2]
            if h > 100.0:
                h = h - 1.0
        return h

    tape, rolled = _rolled(function, P, DATA)
    assert len(rolled.guards) == 60
    assert rolled.instructions < 8
    (loop,) = _loops(rolled)
    assert loop.body.writes == ((1,),)
    slots = [guard.slot for guard in rolled.guards]
    assert np.unique(np.diff(slots)).tolist() == [1]
    shifted = evaluate(rolled.changed(outputs=rolled.guard_slots), tape.point + 1e-3)
    np.testing.assert_array_equal(shifted, [guard.outcome for guard in tape.guards])


def test_what_is_read_of_each_step_is_written():
    def function(p, x):
        h, found = p[0], []
        for each in x:
            h = np.sin(h) * p[1] + each
            found.append(h)
        return np.array(found)

    _, rolled = _rolled(function, P, DATA)
    (loop,) = _loops(rolled)
    assert loop.body.writes == ((1,),)
    np.testing.assert_array_equal(np.diff(rolled.outputs), 1)


def test_arrays_of_what_each_step_made_step_evenly():
    def function(p, x):
        h, found = p[0], []
        for each in x:
            g = np.sin(h) * p[1]
            h = g + each
            found += [g, h]
        found = np.array(found).reshape(-1, 2)
        return np.exp(found[:, 0]).sum() + (found * found).sum() + found[-1, 1]

    _, rolled = _rolled(function, P, DATA)
    assert len(_loops(rolled)) == 1
    for each in rolled.vectors:
        assert all(view.table is None for view in each.operands)


def test_tables_are_read_inside_and_after_a_loop():
    order = np.random.default_rng(2).permutation(60)

    def function(p, x):
        h, found = p[0], []
        for each in x:
            h = h * p[1] + np.exp(x[order[:20]] * h * p[3]).mean() + each
            found.append(h)
        return np.sin(np.array(found)[order]).sum() + x[:0].sum()

    _, rolled = _rolled(function, P, DATA)
    (loop,) = _loops(rolled)
    assert (20,) in loop.body.same
    assert any(view.table is not None for each in rolled.vectors for view in each.operands)


def test_what_steps_around_a_loop_stays():
    def function(p, x):
        h = np.exp(p[0]) + p[1]
        for k, each in enumerate(x):
            h = h * each if k == 0 else h + np.sqrt(h * h) if k == 59 else h * p[1] + each
        return np.cos(h)

    _, rolled = _rolled(function, P, DATA)
    assert len(_loops(rolled)) == 1
    names = {name: OPCODE[name] for name in ("exp", "sqrt", "cos")}
    for opcode in names.values():
        assert opcode in rolled.code[:, 0]


def test_loops_one_after_the_other_read_each_other():
    def function(p, x):
        h, found = p[0], []
        for each in x:
            h = h * p[1] + each
            found.append(h)
        for each in found:
            h = np.sin(h) * each
        return h

    _, rolled = _rolled(function, P, DATA)
    first, second = _loops(rolled)
    assert first.body.writes == ((1,),)
    assert second.body.reads == ((),)
    assert all(view.table is None for view in second.operands)


def _read_by_a_product(read, outputs):
    """A tape of 20 steps of three results, and a product of three slots from one on."""
    rows, slot = [], 6  # after 5 inputs
    for step in range(20):
        now, before = slot + 3 * step, slot + 3 * (step - 1)
        rows += [
            (OPCODE["add"], before if step else 1, 2),
            (OPCODE["multiply"], now, 3),
            (OPCODE["add"], before + 2 if step else 4, now + 1),
        ]
    last = slot + 3 * 19
    views = View(last + read, (1, 0)), View(last + read, (0, 1))
    rows.append((VECTOR, 0, 9))
    return FlatTape(
        code=np.array(rows, np.int32),
        vectors=[VectorInstruction(PRODUCT, PRODUCT_OPCODE, (3, 1, 3), views, (3, 3))],
        constants=np.zeros(0),
        inputs=5,
        outputs=np.array([last + each for each in outputs]),
        point=np.linspace(0.1, 0.5, 5),
    )


def test_last_values_are_read_as_an_array():
    rolled = _checked(_read_by_a_product(0, [5]))
    (loop,) = _loops(rolled)
    assert (loop.body.carried, loop.body.written) == (3, 0)


def test_all_is_written_where_last_values_are_read_beside_others():
    # The second result of the step before is read too, and a product may not gather.
    rolled = _checked(_read_by_a_product(0, [-2, 5]))
    (loop,) = _loops(rolled)
    assert loop.body.writes == ((3,),)


def test_what_may_not_gather_keeps_its_stretch_as_it_is():
    # It reads results of two steps, which lie beside each other without the loop alone, where
    # not all that a step makes is read.
    rolled = _checked(_read_by_a_product(-2, [5]))
    loops = _loops(rolled)
    assert loops == [] or loops[0].body.written == 3


def test_a_tape_that_does_not_repeat_itself_is_returned():
    order = np.random.default_rng(1).permutation(60)

    def function(p, x):
        h = p[0]
        for k in order:
            h = h * p[1] + x[k] * x[(k * k) % 60]
        return h

    tape = nt.record(function, P, DATA, roll=False).flat
    assert roll(tape) is tape


def test_short_tapes_are_left_alone(monkeypatch):
    monkeypatch.setattr(rolling, "_LEAST", 1000)
    tape = nt.record(moving_inputs, P, DATA, roll=False).flat
    assert roll(tape) is tape


@pytest.mark.parametrize(("part", "is_rolled"), [(0.3, True), (0.4, False)])
def test_tapes_that_repeat_little_are_left_alone(monkeypatch, part, is_rolled):
    order = np.random.default_rng(1).permutation(60)

    def function(p, x):
        h = moving_inputs(p, x)  # 118 of 340 instructions are saved
        for k in order:
            h = h * p[1] + x[k] * x[(k * k) % 60]
            h = np.sin(h) if k % 3 else h
        return h

    monkeypatch.setattr(rolling, "_LEAST_PART", part)
    tape = nt.record(function, P, DATA, roll=False).flat
    assert (roll(tape) is not tape) == is_rolled


@pytest.mark.parametrize(("steps", "is_rolled"), [(7, False), (9, True)])
def test_few_steps_are_no_loop(steps, is_rolled):
    def function(p, x):
        h = p[0]
        for each in x[:steps]:
            h = np.tanh(np.sin(h * each) + np.cos(h) * p[1])
        return h

    tape = nt.record(function, P, DATA, roll=False).flat
    assert (roll(tape) is not tape) == is_rolled


@pytest.mark.parametrize(("steps", "is_rolled"), [(16, False), (17, True)])
def test_a_loop_that_saves_little_is_none(steps, is_rolled):
    tape = nt.record(lambda p, x: same_slots_of(p, steps), P, DATA, roll=False).flat
    assert (roll(tape) is not tape) == is_rolled


def test_lines_and_places_stay():
    line = [Location("f", k) for k in range(3)]
    rows, slot = [], 3
    for step in range(30):
        rows += [(OPCODE["add"], 1, slot + 3 * step - 1 if step else 2)]
        rows += [(OPCODE["sin"], slot + 3 * step, 0), (OPCODE["negative"], slot + 3 * step + 1, 0)]
    tape = FlatTape(
        code=np.array(rows, np.int32),
        vectors=(),
        constants=np.zeros(0),
        inputs=2,
        outputs=np.array([slot + 89]),
        guards=(Guard(slot + 3, 0.0, line[0]),),
        point=np.zeros(2),
        lines=tuple(line * 30),
    )
    rolled = roll(tape)
    assert len(rolled.lines) == rolled.instructions
    (loop,) = _loops(rolled)
    assert set(loop.body.tape.lines) == set(line)
    assert unrolled(rolled).lines == tape.lines
    assert rolled.guards[0].location == line[0]


def test_loops_that_hand_on_what_they_carry_are_unrolled():
    def function(p, x):
        a, b = p[0], p[1]
        for each in x:
            a, b = b, a * each
        return a + b

    _, rolled = _rolled(function, P, DATA)
    assert len(_loops(rolled)) == 1


def test_loops_that_may_not_be_unrolled_as_they_are_are_recorded():
    # A sum of what is carried, whose values lie in different places after the first step.
    total = VectorInstruction(REDUCE, OPCODE["add"], (9,), (View(1, (1,)),), (), (0,))
    body = FlatTape(
        code=np.array([(VECTOR, 0, 1), (OPCODE["sin"], 10, 0)], np.int32),
        vectors=[total],
        constants=np.zeros(0),
        inputs=9,
        outputs=np.array([2, 3, 4, 5, 6, 7, 8, 9, 11, 10]),
    )
    recorder = Builder(9, NO_RULES)
    loop = Body(body, ((9,),), (), (), ((),))
    slots = recorder.loop(loop, 12, [np.arange(1, 10)])
    tape = recorder.finish(np.asarray(slots), np.linspace(-1.0, 1.0, 9))
    plain = unrolled(tape)
    assert _loops(plain) == []
    assert evaluate(plain, tape.point).tobytes() == evaluate(tape, tape.point).tobytes()


def test_equal_bodies_are_one():
    def function(p, x):
        h = p[0]
        for each in x:
            h = h * p[1] + each
        g = np.sin(h)
        for each in x:
            g = g * p[1] + each
        return g

    _, rolled = _rolled(function, P, DATA)
    first, second = _loops(rolled)
    assert first.body == second.body


@pytest.mark.parametrize("seed", range(300))
def test_random_repetition(seed):
    tape = repeating(seed)
    rolled = roll(tape)
    assert_in_order(rolled)
    assert_same(unrolled(rolled), tape)
    if rolled is not tape and seed % 3 == 0:
        plain, loops = (each.changed(guards=()) for each in (tape, rolled))
        values, expected = (evaluate(each, tape.point) for each in (loops, plain))
        np.testing.assert_array_equal(values, expected)


def test_python_finds_what_machine_code_finds(monkeypatch):
    for seed in range(20):
        items = periods.Items.of(repeating(seed))
        found = []
        for left in (-1, 10**9):
            monkeypatch.setattr(matching.search, "left", left)
            found.append(periods.stretches(items))
        assert found[0] == found[1]
