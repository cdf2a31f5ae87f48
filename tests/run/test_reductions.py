"""Sums, products and extremes over every subset of axes, laid out every way.

Replays must equal NumPy bit for bit, so they have to add in NumPy's order,
which depends on how the operand lies in memory. One case is out of reach: the
sum over all axes of an operand with gaps, or over several of one with reversed
axes. NumPy copies such an operand through a buffer whose size and use differ
between its versions, and so do the roundings; there the sum is compared to
rounding. Before 2.3, NumPy did so too along a single axis longer than its buffer.
"""

import itertools

import naive
import numpy as np
import pytest
from checks import assert_replays, assert_same_bits

import numtape as nt

SHAPES = [(9,), (300,), (5, 7), (40, 30), (3, 4, 5), (7, 11, 13), (2, 3, 4, 5)]
FUNCTIONS = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "mean": np.mean}


def _subsets(rank):
    every = range(rank)
    return [s for n in range(1, rank + 1) for s in itertools.combinations(every, n)]


CASES = [(shape, axes) for shape in SHAPES for axes in _subsets(len(shape))]
LAYOUTS = {
    "C": lambda x: x,
    "transposed": lambda x: x.T,
    "computed": lambda x: x * 1.5,
    "computed transposed": lambda x: (x * 1.5).T,
    "reversed": lambda x: x[..., ::-1],
    "strided": lambda x: x[::2],
    "permuted": lambda x: np.moveaxis(x, 0, -1),
    "copied transposed": lambda x: x.T.copy(),  # without gaps, and its slots are not
}


BUFFER = 8192  # elements


def _is_buffered(layout, axes, shape):
    """Whether NumPy copies such an operand of a sum through its buffer."""
    gaps = layout in ("strided", *GAPS)
    if np.lib.NumpyVersion(np.__version__) < "2.3.0" and gaps and max(shape) > BUFFER:
        return True
    every = axes is None or len(axes) == len(shape)
    several = axes is None or len(axes) > 1
    return (every and gaps) or (several and layout == "reversed")


def _assert_sums(function, layout, axes, *points):
    """As `assert_replays`, to rounding for the sums that NumPy buffers."""
    if not _is_buffered(layout, axes, points[0][0].shape):
        return assert_replays(function, *points)
    tape = nt.record(function, *points[0])
    for call in points:
        # A sum of n terms of one size is off by at most n units in the last place.
        np.testing.assert_allclose(tape(*call), function(*call), rtol=1e-14)
    return tape


def _points(shape):
    rng = np.random.default_rng(sum(shape))
    return [(rng.normal(1.0, 0.3, shape),), (rng.normal(-0.9, 0.3, shape),)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_reduction(name, shape, axes, layout):
    reduce, arrange = FUNCTIONS[name], LAYOUTS[layout]
    points = _points(shape)
    tape = _assert_sums(lambda x: reduce(arrange(x), axis=axes), layout, axes, *points)
    for (x,) in points:
        assert_same_bits(naive.run(tape.flat, x.ravel()), np.ravel(tape(x)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(9,), (6, 7), (3, 4, 5)])
def test_fortran_order_within_the_function(name, shape):
    """A C array that the function itself puts in Fortran order, plainly and traced."""
    reduce = FUNCTIONS[name]
    for axes in _subsets(len(shape)):
        assert_replays(lambda x, axes=axes: reduce((x.T + 1.0).T, axis=axes), *_points(shape))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keepdims_and_default_axes(name):
    reduce = FUNCTIONS[name]
    assert_replays(lambda x: reduce(x), *_points((6, 7)))
    assert_replays(lambda x: reduce(x, keepdims=True), *_points((6, 7)))
    assert_replays(lambda x: reduce(x, axis=-1, keepdims=True), *_points((6, 7)))
    assert_replays(lambda x: getattr(x, name)(axis=0), *_points((6, 7)))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 127, 128, 129, 1000, 5000])
def test_long_sums(size):
    """Pairwise summation changes its shape at 8 and at 128 elements."""
    for function in (np.sum, np.mean, np.prod, np.max, np.min):
        assert_replays(lambda x, f=function: f(x * 1.1), *_points((size,)))


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 200])
def test_sums_of_rows_and_columns(rows):
    for axis in (0, 1):
        assert_replays(lambda x, axis=axis: np.sum(x, axis=axis), *_points((rows, 150)))
        assert_replays(lambda x, axis=axis: np.sum(x.T, axis=axis), *_points((rows, 150)))


SMALL_LAYOUTS = {
    "C": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[..., ::-1],
    "computed transposed": lambda x: (x * 1.5).T,
}


@pytest.mark.parametrize("layout", SMALL_LAYOUTS)
@pytest.mark.parametrize("shape", [(2,), (5,), (7,), (8,), (2, 3), (3, 2), (2, 4), (2, 2, 2)])
@pytest.mark.parametrize("name", ["sum", "prod", "mean"])
def test_reductions_recorded_as_scalar_instructions(name, shape, layout):
    """Up to 8 elements, of very different sizes, so that another order of adding shows."""
    rng = np.random.default_rng(0)
    points = [(rng.normal(size=shape) * 10.0 ** rng.uniform(-2, 2, shape),) for _ in range(20)]
    reduce, arrange = FUNCTIONS[name], SMALL_LAYOUTS[layout]
    for axes in [None, *_subsets(len(shape))]:
        _assert_sums(lambda x, axes=axes: reduce(arrange(x), axis=axes), layout, axes, *points)


GAPS = {
    "every other row": lambda x: x[::2],
    "transposed": lambda x: x[::2].T,
    "columns cut": lambda x: x[:, :50],
    "reversed": lambda x: x[:, ::-1],
}


@pytest.mark.parametrize("view", GAPS)
@pytest.mark.parametrize("shape", [(400, 90), (8, 9000)])
def test_large_operands_with_gaps(shape, view):
    """More than NumPy's buffer of 8192 elements holds."""
    for axis in (None, 0, 1):
        axes = None if axis is None else (axis,)
        _assert_sums(
            lambda x, axis=axis: np.sum(GAPS[view](x), axis=axis), view, axes, *_points(shape)
        )


@pytest.mark.parametrize("size", [3, 20])
def test_sum_of_negative_zeros(size):
    assert_replays(lambda x: np.sum(x), (np.full(size, -0.0),), (np.full(size, 0.0),))


@pytest.mark.parametrize("size", [3, 20])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_nan_and_infinity(name, size):
    point = np.linspace(-1.0, 1.0, size)
    bad = []
    for special in (np.nan, np.inf, -np.inf):
        other = point.copy()
        other[1] = special
        bad.append((other,))
    assert_replays(lambda x: FUNCTIONS[name](x), (point,), *bad)


@pytest.mark.parametrize("shape", [(5,), (30,), (4, 6), (3, 5, 7)])
def test_cumsum(shape):
    points = _points(shape)
    assert_replays(lambda x: np.cumsum(x), *points)
    for axis in range(-1, len(shape)):
        tape = assert_replays(lambda x, axis=axis: np.cumsum(x, axis=axis), *points)
        for (x,) in points:
            assert_same_bits(naive.run(tape.flat, x.ravel()), np.cumsum(x, axis=axis).ravel())
        assert_replays(lambda x, axis=axis: np.cumsum(x[::-1].T, axis=axis), *points)
        assert_replays(lambda x, axis=axis: np.add.accumulate(x, axis=axis), *points)
