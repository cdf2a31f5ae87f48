"""Vector maths: every row with a `vector` against mpmath and NumPy, at every width there is."""

import ctypes
from functools import cache

import numpy as np
import pytest
from checks import assert_same_bits
from mpmath import mp

import numtape as nt
from numtape.ops.table import OPCODE, ROWS, load_ufunc
from numtape.run import emitter, vector_maths
from numtape.run.emitter import Form
from numtape.run.loops import has_double_loop
from numtape.run.vector_maths import MULTIPLE, lane_loops

NAMES = [row.name for row in ROWS if row.vector is not None]
FORMS = {"avx512f": Form(8, "e"), "avx2": Form(4, "d"), "sse2": Form(2, "b")}

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0]
SPECIAL += [5e-324, -5e-324, 2.2250738585072014e-308, 1e-310, -1e-310]
SPECIAL += [np.finfo(float).max, -np.finfo(float).max]
# Where exp and its like overflow, become denormal, and become zero.
SPECIAL += [709.782712893384, 709.7827128933841, 710.4758600739439, 710.475860073944]
SPECIAL += [-708.3964185322641, -744.4400719213812, -746.0, 1023.999, 1024.0, -1022.0, -1074.5]

SMALLEST_NORMAL = np.finfo(float).tiny

REFERENCES = {
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "pow": lambda x, y: x**y,
    "pow_constant": lambda x, y: x**y,
    "erfc": lambda x: mp.erfc(x) if abs(x) < 1000 else mp.mpf(1 - mp.sign(x)),
    # The table's are right for moderate operands alone.
    "logaddexp": lambda x, y: max(x, y) + mp.log1p(mp.exp(-abs(x - y))),
    "logaddexp2": lambda x, y: max(x, y) + mp.log1p(mp.mpf(2) ** -abs(x - y)) / mp.log(2),
}

# libmvec reduces arguments so far from 0 by pi to about 28 decimal places.
FAR, FAR_ERROR = 1e12, 2e-28

LN2 = np.log(2.0)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Each width of vectors that this machine can run, by libmvec's functions for it."""
    here, wanted = emitter.vector_form(), FORMS[request.param]
    if here.mark in "edb" and wanted.width <= here.width:
        monkeypatch.setattr(emitter, "vector_form", lambda: wanted)
    monkeypatch.setattr(vector_maths, "_LOOPS", {})


def run_loop(opcode: int, *operands, out=None) -> np.ndarray:
    """A loop on arrays, or on numbers that are operands with a step of 0."""
    count = max(np.size(operand) for operand in operands) if out is None else out.size
    arrays = [np.atleast_1d(np.asarray(operand, np.float64)) for operand in operands]
    out = np.empty(count) if out is None else out
    address, data = lane_loops([opcode]).get(opcode), 0
    if address is None:
        with np.errstate(all="ignore"):
            out[:] = load_ufunc(ROWS[opcode].ufunc)(*arrays)
        return out
    pointers = np.array([array.ctypes.data for array in (*arrays, out)])
    steps = np.array([8 * (array.size > 1) for array in (*arrays, out)])
    counts = np.array([count])
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address)(
        pointers.ctypes.data, counts.ctypes.data, steps.ctypes.data, data
    )
    return out


@cache
def operands(name: str) -> tuple[np.ndarray, ...]:
    """Operands over the whole range of floats, most where something happens."""
    rng = np.random.default_rng(sum(map(ord, name)))
    n = 40

    def spread() -> np.ndarray:
        signs = rng.choice([-1.0, 1.0], (6, n))
        tiny = 2.0 ** rng.uniform(-53, 0, (4, n))
        return np.concatenate(
            [
                rng.normal(size=n),
                rng.uniform(-30, 30, n),
                rng.uniform(-750, 750, n),
                rng.uniform(-1100, 1100, n),
                rng.uniform(0, 1, n),
                signs[0] * 2.0 ** rng.uniform(-1074, 1024, n),  # all magnitudes
                signs[1] * 2.0 ** rng.uniform(-1074, -1022, n),  # denormal ones
                signs[2] * 2.0 ** rng.uniform(-60, 2, n),
                1.0 + signs[3] * tiny[0],  # next to poles and ends of domains
                -1.0 + signs[4] * tiny[1],
                0.5 + signs[5] * tiny[2] / 2,
                rng.integers(-300, 300, n) * (np.pi / 2),
                # Of all floats the nearest to one of these, and others near.
                [6381956970095103.0 * 2.0**797, 1.7352682257830175e211, 1.9279533298731694e174],
                SPECIAL,
            ]
        )

    x = spread()
    if ROWS[OPCODE[name]].arity == 1:
        every = [x]
    else:
        y = rng.permutation(spread())
        near = x * (1.0 - rng.uniform(size=x.size) * 2.0 ** rng.uniform(-50, 0, x.size))
        moderate = rng.uniform(-4, 4, x.size)
        pairs = np.array(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
        every = [
            np.concatenate([x, x, x, np.abs(x), pairs[0]]),
            np.concatenate([y, near, moderate, moderate, pairs[1]]),
        ]
    size = -(-every[0].size // MULTIPLE) * MULTIPLE
    return tuple(np.resize(array, size) for array in every)


@cache
def references(name: str) -> list:
    """The true results; NumPy's where there is a convention about infinity or signs of zeros."""
    row = ROWS[OPCODE[name]]
    function = REFERENCES.get(name) or eval(
        f"lambda x, y=None: {row.reference}", {"mp": mp, "abs": abs}
    )
    with np.errstate(all="ignore"):
        numpy = load_ufunc(row.ufunc)(*operands(name)).tolist()
    results = []
    with mp.workprec(160):  # 48 digits
        for value, *point in zip(numpy, *(array.tolist() for array in operands(name))):
            by_convention = not np.isfinite([value, *point]).all() or point[0] == 0.0
            by_convention |= name == "copysign"  # exact, and of signs of zeros
            results.append(value if by_convention else function(*map(mp.mpf, point)))
    return results


def _unit(size) -> float:
    """The unit in the last place of floats of that size."""
    return 2.0 ** (max(mp.frexp(size)[1], -1021) - 53)


@pytest.mark.parametrize("name", NAMES)
def test_within_4_units_in_the_last_place(form, name):
    """Denormal results are within one unit of theirs, which is the smallest denormal.

    Those of logaddexp are units of its largest term: it is the sum of the larger operand
    and a logarithm, which may cancel, and takes the exponential of a difference d, whose
    rounding weighs d * exp(-d). (NumPy's is no better.) sin and cos of arguments beyond
    10**12 that are nearly 0 are right to 27 decimal places.
    """
    points = operands(name)
    found = run_loop(OPCODE[name], *points)
    with np.errstate(all="ignore"):
        numpy = load_ufunc(ROWS[OPCODE[name]].ufunc)(*points)
    for place, true in enumerate(references(name)):
        point = [float(array[place]) for array in points]
        if not mp.isfinite(true):
            assert found[place] == true or (np.isnan(found[place]) and np.isnan(true)), point
            assert np.isnan(true) or np.signbit(found[place]) == np.signbit(true), point
            continue
        size = abs(true)
        if name.startswith("logaddexp"):
            d, larger = abs(point[0] - point[1]), max(point)
            rounding = d * mp.exp(-d if name == "logaddexp" else -d * LN2)
            size = max(size, abs(larger), abs(true - larger), rounding)
        allowed = (4 if size >= SMALLEST_NORMAL else 1) * _unit(size)
        if name in ("sin", "cos") and abs(point[0]) > FAR:
            allowed += FAR_ERROR
        error = abs(mp.mpf(float(found[place])) - true)
        assert error <= allowed, (point, found[place], float(true), float(error / _unit(size)))
        if found[place] == numpy[place]:
            assert np.signbit(found[place]) == np.signbit(numpy[place]), point


def test_special_values_are_as_numpy_has_them(form):
    """All pairs of them, for which mpmath has no convention, or too little range."""
    for name in NAMES:
        row = ROWS[OPCODE[name]]
        points = np.meshgrid(*[SPECIAL] * row.arity)
        points = [np.resize(array, 1024 if row.arity == 2 else 32) for array in points]
        found = run_loop(OPCODE[name], *points)
        with np.errstate(all="ignore"):
            numpy = load_ufunc(row.ufunc)(*points)
        for *point, one, other in zip(*points, found, numpy):
            if not np.isfinite(other):
                assert one == other or (np.isnan(one) and np.isnan(other)), (name, point)
            elif other == 0.0 and abs(one) < SMALLEST_NORMAL:  # SciPy's expit is 0 too soon
                assert name == "expit" or one == 0.0, (name, point)
                assert np.signbit(one) == np.signbit(other), (name, point)
            else:
                assert abs(one - other) <= 8 * _unit(abs(other)), (name, point)


@pytest.mark.parametrize("name", NAMES)
def test_an_element_comes_out_the_same_wherever_it_stands(form, name):
    points = operands(name)
    whole = run_loop(OPCODE[name], *points)
    shift = 3 + MULTIPLE
    moved = run_loop(OPCODE[name], *(np.roll(array, shift) for array in points))
    assert_same_bits(np.roll(moved, -shift), whole)
    for size in (MULTIPLE, 3 * MULTIPLE):
        part = slice(2 * MULTIPLE + 1, 2 * MULTIPLE + 1 + size)  # not aligned either
        assert_same_bits(run_loop(OPCODE[name], *(array[part] for array in points)), whole[part])


@pytest.mark.parametrize("name", NAMES)
def test_operands_with_a_step_of_0_and_results_over_operands(form, name):
    opcode, points = OPCODE[name], operands(name)
    whole = run_loop(opcode, *points)
    for which, operand in enumerate(points):
        over = operand.copy()
        others = [over if k == which else points[k] for k in range(len(points))]
        assert_same_bits(run_loop(opcode, *others, out=over), whole)
        for value in (0.5, 2.0, -0.0, np.inf, -3.25):
            mixed, filled = list(points), list(points)
            mixed[which], filled[which] = value, np.full(operand.size, value)
            out = np.empty(operand.size)
            assert_same_bits(run_loop(opcode, *mixed, out=out), run_loop(opcode, *filled))


def test_this_platform_has_its_vector_maths():
    """Where the C library has vector forms, every row that names one gets a loop."""
    loops = lane_loops(range(len(ROWS)))
    with_vector = {OPCODE[name] for name in NAMES}
    if emitter.vector_library() is not None:
        assert with_vector <= set(loops)
    # Whatever has no ufunc's loop for floats must have one of these.
    assert set(loops) >= {k for k in range(len(ROWS)) if not has_double_loop(k)}
    assert OPCODE["gammaln"] not in loops


def _many(x, y):
    values = [np.exp(-x), np.log(x), np.sin(y), np.tanh(y), x**y, np.arctan2(x, y), np.hypot(x, y)]
    return np.sum(np.array(values)) * np.expm1(y)


def test_without_the_library_lanes_run_numpys_loops(monkeypatch):
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0.2, 3, 1000), rng.normal(size=1000)
    fast = nt.record(_many, 1.0, 1.0)(x, y)
    monkeypatch.setattr(emitter, "vector_library", lambda: None)
    monkeypatch.setattr(vector_maths, "_LOOPS", {})
    tape = nt.record(_many, 1.0, 1.0)
    plain = tape(x, y)
    gradients = tape.value_and_gradient(x, y, argnums=(0, 1))[1]
    singles = [tape(a, b) for a, b in zip(x.tolist(), y.tolist())]
    assert_same_bits(plain, singles)  # NumPy's loops: bit for bit what single points give
    np.testing.assert_allclose(fast, plain, rtol=1e-13, atol=1e-14)
    for k in range(0, 1000, 100):
        expected = tape.gradient(float(x[k]), float(y[k]), argnums=(0, 1))
        for found, wanted in zip(gradients, expected):
            np.testing.assert_allclose(found[k], wanted, rtol=1e-12)
