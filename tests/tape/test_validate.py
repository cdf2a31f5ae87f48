"""A tape made by hand is checked completely: each rule, broken once."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits, evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import STEPS, random_tape

import numtape as nt
from numtape.ops.structured import FIRST_FUNCTION, FUNCTION_OPCODE, FUNCTIONS, PRODUCT_OPCODE
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location, VectorInstruction, View
from numtape.tape.validate import memory_limit, memory_needed
from numtape.trace.recorder import Recorder

HERE = Location("here", 1)


def scalar(code=((OPCODE["add"], 2, 3), (OPCODE["sin"], 4, 0)), **fields):
    """One constant in slot 1, inputs in 2 and 3, results from 4 on."""
    made = {"constants": np.ones(1), "inputs": 2, "outputs": [5], "vectors": ()} | fields
    return FlatTape(code=np.array(code, np.int32), **made)


def vector(kind, opcode, shape, operands, result, **fields):
    """A tape of twelve inputs, in slots 1 to 12, and one vector instruction."""
    instruction = VectorInstruction(kind, opcode, shape, tuple(operands), result, **fields)
    size = int(np.prod(result, dtype=object))
    return FlatTape(
        code=np.array([[VECTOR, 0, min(size, 2**31 - 1)]], np.int32),
        vectors=(instruction,),
        constants=np.zeros(0),
        inputs=12,
        outputs=[13],
    )


def view(*strides, base=1, table=None):
    return View(base, strides, None if table is None else np.array(table))


def row(*, opcode=OPCODE["exp"], shape=(12,), operands=None, result=(12,), **fields):
    return vector("map", opcode, shape, operands or [view(1)], result, **fields)


def reduction(*, kind="reduce", opcode=OPCODE["add"], shape=(3, 4), strides=(4, 1), into=(0, 1)):
    size = 12 if kind == "accumulate" else 4
    return vector(kind, opcode, shape, [view(*strides)], (size,), result_strides=into)


def scatter(*, strides=(1,), targets=(0, 1, 0), size=2, opcode=0, operands=1):
    views = [view(*strides)] * operands
    return vector("scatter", opcode, (3,), views, (size,), targets=np.array(targets))


def loop(*, shape=(4,), operands=None, result=(5,), opcode=0, body=None, **others):
    """Four steps that carry a number, read one, have one the same, and write one."""
    views = [view(), view(3), view(base=12)] if operands is None else operands
    given = step(**others) if body is None else body
    return vector("loop", opcode, shape, views, result, body=given)


def step(
    *, carries=((),), reads=((),), same=((),), writes=((),), outputs=(4, 5), guards=(), nested=0
):
    code = [(OPCODE["add"], 1, 2), (OPCODE["multiply"], 4, 3)]
    vectors = []
    if nested:
        inner = step(nested=nested - 1)
        views = (View(1, ()), View(1, (0,)), View(1, ()))
        vectors = [VectorInstruction("loop", 0, (2,), views, (3,), body=inner)]
        code.append((VECTOR, 0, 3))
    tape = FlatTape.unchecked(
        code=np.array(code, np.int32),
        vectors=vectors,
        constants=np.zeros(0),
        inputs=3,
        outputs=np.array(outputs),
        guards=guards,
    )
    return Body(tape, carries, reads, same, writes)


def take(*, kind="take", shape=(3, 4, 2), result=(3, 2), opcode=0):
    second = shape[1] if kind == "spread" else shape[2]
    return vector(kind, opcode, shape, [view(second, 1), view(second, 1)], result)


def function(name, shape, operands, size):
    return vector("function", FUNCTION_OPCODE[name], shape, operands, (size,))


MALFORMED = {
    "an opcode beyond the table": (lambda: scalar([(len(ROWS), 2, 3)], outputs=[4]), "of opcode"),
    "an opcode below -1": (lambda: scalar([(-2, 2, 3)], outputs=[4]), "of opcode"),
    "an operand that is not made yet": (lambda: scalar([(0, 4, 2)], outputs=[4]), "slots 4 and 2"),
    "a negative operand": (lambda: scalar([(0, 2, -1)], outputs=[4]), "slots 2 and -1"),
    "a second operand of one": (lambda: scalar([(OPCODE["sin"], 2, 3)], outputs=[4]), "slot 0"),
    "an output beyond the slots": (lambda: scalar(outputs=[6]), "output slot 6"),
    "a negative output": (lambda: scalar(outputs=[-1]), "output slot -1"),
    "outputs that are floats": (lambda: scalar(outputs=[5.0]), "of type float64"),
    "outputs in a matrix": (lambda: scalar(outputs=[[5]]), "rank 2"),
    "outputs that int64 cannot hold": (lambda: scalar(outputs=[2**63]), "out of range"),
    "two columns": (lambda: scalar([(0, 2)], outputs=[4]), "three columns"),
    "a number of inputs below 0": (lambda: scalar(inputs=-1), "-1 inputs"),
    "a number of inputs beyond int32": (lambda: scalar(inputs=2**31), "inputs"),
    "as many inputs as slots": (lambda: scalar(inputs=2**31 - 2), "slots"),
    "inputs that are no integer": (lambda: scalar(inputs=2.0), "inputs 2.0"),
    "constants that are complex": (lambda: scalar(constants=np.ones(1) * 1j), "complex128"),
    "a point of another length": (lambda: scalar(point=np.zeros(3)), "a point of 3"),
    "a guard beyond the slots": (lambda: scalar(guards=[Guard(6, 1.0, HERE)]), "a guard of slot 6"),
    "a guard without a line": (lambda: scalar(guards=[Guard(5, 1.0, None)]), "Location"),
    "a guard's outcome that is no number": (lambda: scalar(guards=[Guard(5, "a", HERE)]), "'a'"),
    "lines for some": (lambda: scalar(lines=[HERE]), "1 lines"),
    "a line below 0": (lambda: scalar(lines=[HERE, Location("here", -1)]), "another type"),
    "rows of different lengths": (lambda: scalar(outputs=[[5], [4, 5]]), "different lengths"),
    "lines of another type": (lambda: scalar(lines=["a", "b"]), "another type"),
    "a vector instruction that is not there": (
        lambda: scalar([(VECTOR, 0, 3)], outputs=[4]),
        "there are none",
    ),
    "something else as vector instruction": (lambda: scalar(vectors=["map"]), "VectorInstruction"),
    "a vector instruction that is not named": (
        lambda: replace(row(), code=np.zeros((0, 3), np.int32)),
        "is named once",
    ),
    "a vector instruction named twice": (
        lambda: replace(row(), code=[[VECTOR, 0, 12]] * 2),
        "in order",
    ),
    "fewer results than the shape says": (
        lambda: replace(row(), code=[[VECTOR, 0, 11]]),
        "11 results",
    ),
    "no results": (lambda: replace(row(), code=[[VECTOR, 0, 0]]), "of 0 results"),
    "negative results": (lambda: replace(row(), code=[[VECTOR, 0, -12]]), "of -12 results"),
    "a loop without a body": (
        lambda: vector("loop", 0, (4,), [view(), view(3), view()], (5,)),
        "has no body",
    ),
    "a body of something else": (lambda: row(body=step()), "has a body"),
    "a body that is none": (lambda: loop(body="twice"), "as a loop's body"),
    "a loop of another opcode": (lambda: loop(opcode=1), "opcode 1"),
    "a loop of two axes": (lambda: loop(shape=(2, 2)), "number of steps alone"),
    "a loop of no steps": (lambda: loop(shape=(0,), result=(1,)), "extent"),
    "an operand of a loop too few": (lambda: loop(operands=[view(), view(3)]), "2 operands"),
    "a body of other inputs": (lambda: loop(same=((2,),)), "3 inputs"),
    "a body of other outputs": (lambda: loop(outputs=(4, 5, 5)), "3 outputs"),
    "a body with guards": (lambda: loop(guards=(Guard(4, 1.0, HERE),)), "guards in its body"),
    "another result than a loop has": (lambda: loop(result=(6,)), r"shape \(6,\)"),
    "a loop that reads beyond the inputs": (
        lambda: loop(operands=[view(), view(4), view()]),
        "slots 1 to 13",
    ),
    "loops nested too deep": (lambda: loop(nested=32), "nests 33 loops"),
    "an unknown kind": (lambda: vector("sum", 0, (12,), [view(1)], (12,)), "is unknown"),
    "an empty array": (lambda: row(shape=(0,), result=(0,)), "of 0 results"),
    "a negative extent": (lambda: row(shape=(-3, -4), operands=[view(4, 1)], result=(-3, -4)), "1"),
    "sizes that overflow": (
        lambda: row(shape=(2**33, 2**31, 12), operands=[view(0, 0, 1)], result=(2**33, 2**31, 12)),
        "slots",
    ),
    "sizes that overflow to what is there": (
        lambda: vector("reduce", 0, (2**32, 2**32, 12), [view(0, 0, 1)], (12,)),
        "every extent",
    ),
    "too many axes": (
        lambda: row(shape=(1,) * 70, operands=[view(*(0,) * 70)], result=(1,) * 70),
        "70 axes",
    ),
    "a stride missing": (lambda: row(shape=(3, 4), result=(3, 4)), "2 axes by 1 strides"),
    "a stride beyond everything": (
        lambda: row(shape=(1,), operands=[view(2**40)], result=(1,)),
        "strides",
    ),
    "a view beyond the inputs": (lambda: row(operands=[view(1, base=2)]), "slots 2 to 13"),
    "a view before slot 0": (lambda: row(operands=[view(-1, base=10)]), "slots -1 to 10"),
    "a view of its own result": (lambda: row(operands=[view(0, base=13)]), "slots 13 to 13"),
    "a table that is too short": (
        lambda: row(operands=[view(1, base=0, table=range(11))]),
        "has 11",
    ),
    "a place before the table": (lambda: row(operands=[view(1, base=-1, table=range(12))]), "-1"),
    "a slot in a table that is not made yet": (
        lambda: row(operands=[view(0, base=0, table=[13])]),
        "slots 13 to 13",
    ),
    "a negative slot in a table": (lambda: row(operands=[view(0, base=0, table=[-1])]), "slots -1"),
    "a table of floats": (lambda: row(operands=[view(0, base=0, table=[1.0])]), "gather table"),
    "an operand too many": (lambda: row(operands=[view(1)] * 2), "2 operands"),
    "a row that is none": (lambda: row(opcode=len(ROWS)), "opcode"),
    "a negative row": (lambda: row(opcode=-1), "opcode -1"),
    "another result than the shape": (lambda: row(result=(3, 4)), r"result of shape \(3, 4\)"),
    "targets of a map": (lambda: row(targets=np.zeros(12, int)), "has targets"),
    "a result's strides of a map": (lambda: row(result_strides=(1,)), "strides of its result"),
    "shapes of floats": (lambda: row(shape=(12.0,)), "shape"),
    "a reduction by sine": (lambda: reduction(opcode=OPCODE["sin"]), "reductions are by"),
    "a reduction of no axes": (
        lambda: vector("reduce", OPCODE["add"], (), [view()], ()),
        "one axis or more",
    ),
    "a reduction by a table": (
        lambda: vector(
            "reduce",
            OPCODE["add"],
            (4,),
            [view(1, base=0, table=range(4))],
            (),
            result_strides=(0,),
        ),
        "gather table",
    ),
    "a reduction beyond its result": (lambda: reduction(into=(0, 2)), "fill the 4 results"),
    "a reduction backwards": (lambda: reduction(into=(0, -1)), "fill the 4 results"),
    "a reduction of another rank": (lambda: reduction(into=(0, 1, 0)), "fill the 4 results"),
    "a reduction of less than its result": (lambda: reduction(into=(0, 0)), "fill the 4 results"),
    "a running product": (
        lambda: reduction(kind="accumulate", opcode=OPCODE["multiply"], into=(4, 1)),
        "running sums",
    ),
    "a running sum into less": (
        lambda: vector(
            "accumulate", OPCODE["add"], (3, 4), [view(4, 1)], (4,), result_strides=(0, 1)
        ),
        "for each element",
    ),
    "a product of two axes": (
        lambda: vector("product", PRODUCT_OPCODE, (3, 4), [view(4, 1)] * 2, (3, 4)),
        "batch, m, n, p",
    ),
    "a product of another opcode": (
        lambda: vector("product", 0, (3, 4, 3), [view(4, 1), view(1, 4)], (3, 3)),
        "has the opcode 0",
    ),
    "a product of another result": (
        lambda: vector("product", PRODUCT_OPCODE, (3, 4, 3), [view(4, 1), view(1, 4)], (4, 3)),
        r"it is \(3, 3\)",
    ),
    "a product of one operand": (
        lambda: vector("product", PRODUCT_OPCODE, (3, 4, 3), [view(4, 1)], (3, 3)),
        "1 operands",
    ),
    "a scatter by strides": (lambda: scatter(strides=(2,)), "follow one another"),
    "a scatter beyond its result": (lambda: scatter(targets=(0, 2, 0)), "targets from 0 to 2"),
    "a scatter before its result": (lambda: scatter(targets=(0, -1, 0)), "targets from -1"),
    "a scatter without a target": (lambda: scatter(targets=(0, 1)), "2 targets"),
    "a scatter of two operands": (lambda: scatter(operands=2), "2 operands"),
    "a scatter of another opcode": (lambda: scatter(opcode=1), "opcode"),
    "an order by an unknown sort": (
        lambda: vector("order", PRODUCT_OPCODE, (3, 4), [view(4, 1)], (3, 4)),
        "quicksort",
    ),
    "an order of columns": (
        lambda: vector("order", PRODUCT_OPCODE + 1, (4, 3), [view(1, 4)], (4, 3)),
        "follow one another",
    ),
    "an order of a vector": (
        lambda: vector("order", PRODUCT_OPCODE + 1, (12,), [view(1)], (12,)),
        "rows, n",
    ),
    "a search to a third side": (
        lambda: vector("search", 2, (6, 6), [view(1), view(1)], (6,)),
        "left",
    ),
    "a search with another result": (
        lambda: vector("search", 0, (6, 4), [view(1), view(1)], (6,)),
        r"it is \(4,\)",
    ),
    "a take of another result": (lambda: take(result=(3, 4)), r"it is \(3, 2\)"),
    "a take of another opcode": (lambda: take(opcode=1), "opcode 1"),
    "a take of two axes": (
        lambda: vector("take", 0, (3, 4), [view(4, 1)] * 2, (3, 4)),
        "rows, n, m",
    ),
    "a take from none": (lambda: take(shape=(3, 0, 2)), "every extent"),
    "a spread of another result": (lambda: take(kind="spread", result=(3, 4)), r"it is \(3, 2\)"),
    "a function that is none": (
        lambda: vector("function", FIRST_FUNCTION + len(FUNCTIONS), (3,), [view(3, 1)], (9,)),
        "that of a function",
    ),
    "a function of too few axes": (lambda: function("solve", (3,), [view(3, 1)] * 2, 9), "batch"),
    "a function of another result": (lambda: function("inv", (3,), [view(3, 1)], 8), r"\(9,\)"),
    "a function of two operands": (lambda: function("inv", (3,), [view(3, 1)] * 2, 9), "takes 1"),
    "a factorization of extents that disagree": (
        lambda: function("svd", (3, 4, 4), [view(4, 1)], 4),
        "smaller of m and n",
    ),
    "complex numbers in two places": (
        lambda: function("fft", (3, 2), [view(1, 6), view()], 12),
        "takes|complex|batch|result",
    ),
    "a transform of too few points": (
        lambda: function("rfft_n_even", (4, 1), [view(1), view()], 2),
        "half of n",
    ),
    "a transform of an odd number": (
        lambda: function("rfft_n_even", (5, 3), [view(1), view()], 6),
        "to 5 numbers",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(what):
    make, message = MALFORMED[what]
    with pytest.raises(nt.TapeError, match=message) as caught:
        make()
    assert "malformed" in str(caught.value)
    assert "numtape.record" in str(caught.value)


def test_what_the_table_of_malformed_tapes_begins_from_is_sound():
    """So that each of them is refused for the one thing that is wrong with it."""
    makers = [scalar, row, reduction, scatter, take, loop]
    for make in makers:
        make()
    reduction(kind="accumulate", into=(4, 1))
    take(kind="spread")
    vector("product", PRODUCT_OPCODE, (3, 4, 3), [view(4, 1), view(1, 4)], (3, 3))
    vector("order", PRODUCT_OPCODE + 1, (3, 4), [view(4, 1)], (3, 4))
    vector("search", 0, (6, 4), [view(1), view(1)], (4,))
    function("inv", (3,), [view(3, 1)], 9)
    function("svd", (3, 4, 3), [view(4, 1)], 3)
    function("fft", (6,), [view(2, 1), view()], 12)
    function("rfft_n_even", (4, 3), [view(1), view()], 6)
    row(operands=[view(1, base=0, table=range(12))])


def test_a_view_is_of_inputs_or_of_results():
    """A run keeps results elsewhere, so a view by strides cannot go over from one to the other."""
    tape = row()
    both = VectorInstruction("map", OPCODE["exp"], (4,), (view(1, base=11),), (4,))
    code = [[VECTOR, 0, 12], [VECTOR, 1, 4]]
    with pytest.raises(nt.TapeError, match="slots 11 to 14 by strides"):
        replace(tape, code=np.array(code), vectors=(*tape.vectors, both))
    by_table = replace(both, operands=(view(1, base=0, table=range(11, 15)),))
    made = replace(
        tape, code=np.array(code), vectors=(*tape.vectors, by_table), outputs=range(25, 29)
    )
    x = np.linspace(0.0, 1.0, 12)
    expected = np.exp(np.concatenate([x[-2:], np.exp(x[:2])]))
    assert_same_bits(evaluate(made, x), expected)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**16))
def test_what_the_recorder_makes_is_sound(steps, seed):
    tape = random_tape(steps, seed)
    fields = {name: getattr(tape, name) for name in FlatTape.__dataclass_fields__}
    again = FlatTape(**fields)
    assert_same_bits(evaluate(again, tape.point.copy()), evaluate(tape, tape.point.copy()))


def test_nothing_is_recorded_of_arrays_without_elements():
    recorder = Recorder(3)
    none, some = np.zeros(0, np.int64), np.arange(1, 4)
    assert recorder.elementwise(OPCODE["power"], (none, none)).shape == (0,)
    assert recorder.search(some, none, False).shape == (0,)
    assert recorder.order(none.reshape(2, 0)).shape == (2, 0)
    assert recorder.take(some[None], none[None]).shape == (1, 0)
    zeros = [
        recorder.scatter(none, none, 2),
        recorder.search(none, some, False),
        recorder.spread(none[None], none[None], 4).ravel(),
    ]
    tape = recorder.finish(np.concatenate(zeros), np.ones(3))
    assert tape.instructions == 0
    assert_same_bits(evaluate(tape, np.ones(3)), np.zeros(9))


def test_a_power_of_an_empty_array():
    x = np.ones((0, 20))
    tape = nt.record(lambda x: np.sum(x**2.5) + np.sum(np.power(x, x)) + 0.0 * np.sum(x), x)
    assert tape(x) == 0.0


# What a checked tape is.


def test_its_arrays_are_its_own_and_cannot_be_written_to():
    constants, table = np.ones(1), np.arange(1, 13)
    made = scalar(constants=constants)
    constants[0] = 2.0
    assert made.constants.tolist() == [1.0]
    gathered = row(operands=[View(0, (1,), table)])
    table[0] = 1000
    assert gathered.vectors[0].operands[0].table[0] == 1
    for array in (made.code, made.constants, made.outputs, gathered.vectors[0].operands[0].table):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_numbers_of_numpy_are_fine():
    instruction = VectorInstruction(
        "map", np.int64(OPCODE["exp"]), [np.int32(12)], (View(np.int64(1), [1]),), np.array([12])
    )
    tape = FlatTape(
        code=[[VECTOR, 0, 12]],
        vectors=[instruction],
        constants=[],
        inputs=np.int16(12),
        outputs=list(range(13, 25)),
        guards=[Guard(np.int64(13), np.float32(1.0), Location("f", 3))],
    )
    assert_same_bits(evaluate(tape, np.zeros(12)), np.ones(12))
    assert tape.vectors[0].shape == (12,)


def test_unpickling_checks():
    """A pickle names operations, and what it holds is checked as if made by hand."""
    tape = scalar()
    make, (header, arrays) = tape.__reduce__()
    assert header["operations"] == ["add", "sin"]
    assert_same_bits(pickle.loads(pickle.dumps(tape)).code, tape.code)
    arrays["code"][0, 1] = 99
    with pytest.raises(nt.TapeError, match="slots 99 and 3"):
        make(header, arrays)


# Memory.


def test_a_tape_may_need_so_much_memory(monkeypatch):
    monkeypatch.setenv("NUMTAPE_MEMORY_LIMIT", "1e6")
    assert memory_limit() == 1_000_000
    big = lambda: row(shape=(40_000,), operands=[view(0)], result=(40_000,))  # noqa: E731
    with pytest.raises(nt.TapeError, match=r"40013 slots.*at most 1000000.*NUMTAPE_MEMORY_LIMIT"):
        big()
    monkeypatch.setenv("NUMTAPE_MEMORY_LIMIT", str(memory_needed(40_013, 1, 40_000)))
    big()


def test_operands_that_are_walked_need_memory_too(monkeypatch):
    monkeypatch.setenv("NUMTAPE_MEMORY_LIMIT", "1e6")
    with pytest.raises(nt.TapeError, match="operands of up to 1000000 elements"):
        vector("reduce", OPCODE["add"], (1000, 1000), [view(0, 0)], (), result_strides=(0, 0))


@pytest.mark.parametrize("given", ["much", "-1", "0", "nan", "inf"])
def test_a_limit_that_is_none(monkeypatch, given):
    monkeypatch.setenv("NUMTAPE_MEMORY_LIMIT", given)
    with pytest.raises(nt.InputError, match="number of bytes"):
        memory_limit()


def test_without_a_limit_there_is_half_of_the_machine(monkeypatch):
    monkeypatch.delenv("NUMTAPE_MEMORY_LIMIT", raising=False)
    assert memory_limit() > 2**28
