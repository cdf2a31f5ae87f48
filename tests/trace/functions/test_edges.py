"""Empty arrays, single numbers and axes of length 1: where NumPy gives a value, it is ours."""

import warnings

import numpy as np
import pytest

import numtape as nt

SHAPES = [(), (0,), (1,), (3,), (0, 3), (3, 0), (1, 1), (2, 3), (2, 0, 3), (2, 1, 2)]

_ONE = """
    sum mean prod var std max min ptp average median nanmedian nansum nanmean nanprod nanvar nanstd
    nanmax nanmin cumsum cumprod nancumsum nancumprod trace count_nonzero any all argmax argmin
    nanargmax argsort sort ravel transpose squeeze atleast_1d atleast_2d atleast_3d flip diag
    diagonal diagflat tril triu unique diff ediff1d gradient trapezoid unwrap nan_to_num real imag
    angle sinc round fix zeros_like ones_like vander flatnonzero nonzero argwhere copy modf sin
    matrix_transpose cov corrcoef polyint fliplr flipud rot90 isnan square"""
_BY_AXIS = """
    sum mean prod var std max min ptp median nanmedian nansum nanmean nanmax any all"""
_ALONG = "cumsum cumprod argmax argmin sort argsort count_nonzero"

FUNCTIONS = {name: getattr(np, name) for name in _ONE.split()}


def _with_options(name, *arguments, **options):
    label = " ".join(map(str, (name, *arguments, *options.values())))
    FUNCTIONS[label] = lambda x: getattr(np, name)(x, *arguments, **options)


for _axis in (0, -1, 1, (0, 1)):
    for _name in _BY_AXIS.split():
        _with_options(_name, axis=_axis)
        _with_options(_name, axis=_axis, keepdims=True)
for _axis in (0, -1, 1, None):
    for _name in _ALONG.split():
        _with_options(_name, axis=_axis)
    for _q in (0.3, [0.2, 0.5]):
        for _name in ("quantile", "nanquantile"):
            _with_options(_name, _q, axis=_axis, keepdims=True)
FUNCTIONS |= {
    "reshape": lambda x: np.reshape(x, -1),
    "expand_dims": lambda x: np.expand_dims(x, 0),
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([x, x]),
    "hstack": lambda x: np.hstack([x, x]),
    "vstack": lambda x: np.vstack([x, x]),
    "block": lambda x: np.block([x, x]),
    "meshgrid": lambda x: np.meshgrid(x, x),
    "tile": lambda x: np.tile(x, 2),
    "repeat": lambda x: np.repeat(x, 2),
    "roll": lambda x: np.roll(x, 1),
    "pad": lambda x: np.pad(x, 1),
    "resize": lambda x: np.resize(x, (2, 2)),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, *np.shape(x))),
    "where": lambda x: np.where(x > 0.0, x, 1.0),
    "clip": lambda x: np.clip(x, 0.0, 1.0),
    "select": lambda x: np.select([x > 0.0], [x]),
    "piecewise": lambda x: np.piecewise(x, [x > 0.0], [lambda v: v * 2.0, 0.0]),
    "take": lambda x: np.take(x, [0, 0]),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x), -1),
    "insert": lambda x: np.insert(x, 0, 2.0),
    "append": lambda x: np.append(x, 1.0),
    "delete": lambda x: np.delete(x, 0),
    "extract": lambda x: np.extract(x > 0.0, x),
    "compress": lambda x: np.compress([True], x),
    "searchsorted": lambda x: np.searchsorted([0.0, 1.0], x),
    "digitize": lambda x: np.digitize(x, [0.0, 1.0]),
    "interp": lambda x: np.interp(x, [0.0, 1.0], [0.0, 2.0]),
    "histogram": lambda x: np.histogram(x, [0.0, 1.0, 2.0]),
    "isin": lambda x: np.isin(x, [0.0]),
    "outer": lambda x: np.outer(x, x),
    "inner": lambda x: np.inner(x, x),
    "dot": lambda x: np.dot(x, x.T),
    "matmul": lambda x: x @ x.T,
    "vdot": lambda x: np.vdot(x, x),
    "kron": lambda x: np.kron(x, x),
    "tensordot": lambda x: np.tensordot(x, x, 0),
    "einsum": lambda x: np.einsum("...->...", x),
    "convolve": lambda x: np.convolve(x, [1.0, 2.0]),
    "cross": lambda x: np.cross(x, x),
    "polyval": lambda x: np.polyval([1.0, 2.0], x),
    "linspace": lambda x: np.linspace(x, 1.0, 3),
    "geomspace": lambda x: np.geomspace(np.abs(x) + 1.0, 2.0, 3),
    "add.reduce": np.add.reduce,
    "multiply.accumulate": np.multiply.accumulate,
    "apply_along_axis": lambda x: np.apply_along_axis(np.sum, 0, x),
    "isclose": lambda x: np.isclose(x, 0.1),
    "array_equal": lambda x: np.array_equal(x, x),
    "sum method": lambda x: x.sum(),
    "mean method": lambda x: x.mean(),
    "tolist": lambda x: x.tolist(),
    "iteration": lambda x: list(x),
}


def _flat(value):
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_numpy_gives_a_value(name):
    function = FUNCTIONS[name]
    for shape in SHAPES:
        x = np.asarray(np.random.default_rng(1).uniform(-1.0, 1.0, shape))[()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = _flat(function(x))
            except (ValueError, IndexError, TypeError, ZeroDivisionError):
                continue
            actual = []
            nt.record(lambda x: actual.append(function(x)) or 1.0 * x, x)  # noqa: B023
        found = _flat(actual[0])
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            one = getattr(one, "primals", one)
            assert np.shape(one) == np.shape(other), shape
            assert np.asarray(one).dtype.kind == np.asarray(other).dtype.kind, shape
            np.testing.assert_allclose(one, other, rtol=1e-13)


def test_whether_a_function_of_piecewise_is_elementwise_is_no_matter_of_the_point():
    """Its sum is read only above 5, where no number of the recording is."""

    def f(x):
        return np.piecewise(x, [x > 0.0], [lambda v: np.where(v > 5.0, v * np.sum(v), v), np.cos])

    at = np.array([1.0, 2.0, 3.0, -1.0])
    tape = nt.record(f, at)
    np.testing.assert_array_equal(tape(at * 4.0), f(at * 4.0))


def test_functions_of_piecewise_are_tried_on_a_tape_of_their_own():
    tape = nt.record(lambda x: np.piecewise(x, [x > 0.0], [np.sin, 0.0]), np.arange(3.0))
    assert tape.text().count("sin") == 3
