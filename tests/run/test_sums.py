"""Sums in groups of vector instructions: NumPy's own order, for every length and layout."""

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.specification import TANGENT
from numtape.run import emitter, fusion, traffic
from numtape.run.emitter import Form
from numtape.run.sums import BLOCK, WAITING

IS_OLD = np.lib.NumpyVersion(np.__version__) < "2.3.0"

FORMS = {"avx512f": Form(8, "e"), "avx2": Form(4, "d"), "sse2": Form(2, "b")}


@pytest.fixture(autouse=True)
def _small_groups_too(monkeypatch):
    monkeypatch.setattr(fusion, "_WORTH", 0)
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Each width of vectors that this machine can run."""
    here, wanted = emitter.vector_form(), FORMS[request.param]
    if here.mark in "edb" and wanted.width <= here.width:
        monkeypatch.setattr(emitter, "vector_form", lambda: wanted)


def numbers(size, seed=0):
    """Of many sizes, so that every order of adding them up gives another sum."""
    random = np.random.default_rng(seed)
    return random.normal(size=size) * np.exp2(random.integers(-8, 9, size))


def assert_sums_as_numpy(function, *points):
    """The derivative along x of what is linear in it is the function: sums that may be fused."""
    tape = nt.record(function, points[0])
    tape.compile()
    for point in points:
        value, derivative = tape.jvp(point, point)
        assert_same_bits(derivative, value)
        if IS_OLD and point.size > 8192:  # NumPy itself cuts long runs into pieces, or not
            np.testing.assert_allclose(value, function(point), rtol=1e-13)
        else:
            assert_same_bits(value, function(point))
    plan = tape.derivatives.derived.get(TANGENT).plan()
    program = traffic.Program(plan.tape, plan.places, plan.segments, plan.free)
    members = [m for group in fusion._chosen(program) for m in group.finished(program).members]
    return [member for member in members if member.reduces]


FEW = [9, 15, 16, 17, 100, 128, 129, 255, 300, 1000, 5000]
LENGTHS = [*range(9, 34), 63, 64, 65, 100, 127, 128, 129, 135, 136, 137, 200, 255, 256, 257]
LENGTHS += [300, 511, 512, 513, 519, 520, 1000, 1023, 1024, 1025, 1040, 2049, 5000, 8191, 8192]
LENGTHS += [8193, 10007, 65537, 100_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_run_of_every_length(length):
    sums = assert_sums_as_numpy(lambda x: np.sum(x * 3.0), numbers(length), numbers(length, 1))
    assert [member.run for member in sums] == [length, length]  # the value's, and its derivative's


@pytest.mark.parametrize("length", FEW)
def test_a_run_with_vectors_of_every_width(length, form):
    weights = numbers((5, length), 2)
    assert_sums_as_numpy(lambda x: np.sum(x * 3.0), numbers(length))
    rows = lambda x: np.sum(x.reshape(5, length) * weights, axis=1) * 2.0  # noqa: E731
    assert_sums_as_numpy(rows, numbers(5 * length))


@pytest.mark.parametrize("length", [*range(2, 20), 24, 31, 40, 100, 127, 128, 129, 300, 1500])
@pytest.mark.parametrize("rows", [3, 40])
def test_a_row_of_every_length(length, rows):
    weights = numbers(rows * length, 2).reshape(rows, length)

    def function(x):
        table = x.reshape(rows, length) * weights
        return np.sum(table, axis=1) * 2.0

    sums = assert_sums_as_numpy(function, numbers(rows * length), numbers(rows * length, 1))
    if rows * length > 8:
        assert [member.run for member in sums] == [
            length,
            length,
        ]  # the value's, and its derivative's


ARRANGED = {
    "C": lambda a: a,
    "transposed": lambda a: a.T,
    "turned": lambda a: np.moveaxis(a, 1, 0),
    "broadcast": lambda a: np.broadcast_to(a[:, :1], a.shape),
}


@pytest.mark.parametrize("axes", [None, 0, 1, 2, (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("shape", [(7, 5, 6), (40, 3, 9), (6, 130, 3), (2, 3, 700), (300, 2, 2)])
def test_axes_and_layouts(shape, axes):
    weights = numbers(shape, 2)

    def function(x):
        table = x.reshape(shape) * weights
        sums = [np.sum(each(table) * 0.3, axis=axes) * 2.0 for each in ARRANGED.values()]
        return np.concatenate([np.ravel(each) for each in sums])

    assert_sums_as_numpy(function, numbers(shape).ravel())


def test_two_sums_of_the_same_numbers_in_one_nest_and_in_two(form):
    def function(x):
        table = x.reshape(50, 30) * 1.5
        along = np.sum(table, axis=1)
        every = np.sum(table) + np.sum(table * table[0])
        return along * every + np.sum(table - along[:, None], axis=0)[:1]

    point = numbers(1500)
    plain, tape = nt.record(function, point), nt.record(function, point).compile()
    for mode in ("forward", "reverse"):
        for found, expected in zip(
            tape.value_and_jacobian(point[:1500], mode=mode),
            plain.value_and_jacobian(point[:1500], mode=mode),
            strict=True,
        ):
            assert_same_bits(found, expected)


def test_rows_longer_than_a_piece_of_a_loop():
    weights = numbers((3, 5000), 2)
    assert_sums_as_numpy(
        lambda x: np.sum(x.reshape(3, 5000) * weights, axis=1) * 2.0, numbers(15000)
    )


def test_special_numbers():
    x = numbers(3000)
    points = [x]
    for number in (np.inf, -np.inf, np.nan, -0.0, 1e308, 5e-324):
        points.append(np.where(np.arange(3000) % 700 == 3, number, x))
        points.append(np.where(np.arange(3000) % 700 == 3, number, -0.0))
    with np.errstate(all="ignore"):
        assert_sums_as_numpy(lambda x: np.sum(x * 1.0) * 1.0, *points)
        table = lambda x: np.sum((x * 1.0).reshape(-1, 6), axis=1) * 1.0  # noqa: E731
        assert_sums_as_numpy(table, *points)


def test_products_of_a_row_are_left_to_numpy():
    def function(x):
        return np.sum(np.prod(x.reshape(20, 12) * 1.1, axis=1) * 2.0)

    point = 1.0 + numbers(240) / 1e4
    plain, tape = nt.record(function, point), nt.record(function, point).compile()
    assert_same_bits(tape.gradient(point), plain.gradient(point))


def test_what_the_functions_count_on():
    assert WAITING % BLOCK == 0
    assert BLOCK == 128  # NumPy's
