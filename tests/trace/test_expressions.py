"""The promise that a recorded function's value equals the plain call's, bit for bit.

A long list of NumPy expressions of scalars, of short arrays (which record
scalar instructions) and of long ones (vector instructions), at the recording
point and by replay at others.
"""

import numpy as np
import pytest
import scipy.special
from checks import assert_replays, assert_same_bits

import numtape as nt

SCALARS = {
    "arithmetic": lambda x, y: (x + y) * (x - y) / (1.5 + x * x) - 3,
    "reflected": lambda x, y: 2 + x,
    "reflected subtract": lambda x, y: 2 - x * y,
    "reflected divide": lambda x, y: 1 / (y + 10.0),
    "reflected multiply": lambda x, y: 3 * x,
    "negative": lambda x, y: -x + +y,
    "abs": lambda x, y: abs(x) + abs(-y),
    "square": lambda x, y: x**2,
    "cube": lambda x, y: x**3,
    "to the 0": lambda x, y: x**0,
    "to the 1": lambda x, y: x**1,
    "inverse": lambda x, y: (x + 10.0) ** -1,
    "root": lambda x, y: abs(x) ** 0.5,
    "power 2.7": lambda x, y: abs(x) ** 2.7,
    "variable power": lambda x, y: abs(x) ** y,
    "number to a power": lambda x, y: 2.5**y,
    "np.power": lambda x, y: np.power(abs(x), y),
    "np.power 2": lambda x, y: np.power(x, 2),
    "np.power 0.5": lambda x, y: np.power(abs(x), 0.5),
    "np.power -1": lambda x, y: np.power(abs(x) + 0.1, -1.0),
    "np.float_power": lambda x, y: np.float_power(abs(x), y),
    "mod": lambda x, y: x % 0.7 + y % 1.3,
    "mod of numbers": lambda x, y: 7.0 % (abs(y) + 0.3),
    "floor division": lambda x, y: x // 0.7 + y,
    "divmod": lambda x, y: sum(divmod(x, 0.7)),
    "np.divmod": lambda x, y: sum(np.divmod(x, 0.7)),
    "comparison as a number": lambda x, y: (x < y) * 2.0 + x,
    "where": lambda x, y: np.where(x < y, x, y * 2),
    "and": lambda x, y: ((x < y) & (x > 0.0)) * y,
    "or": lambda x, y: ((x < y) | (x > 0.0)) * y,
    "not": lambda x, y: np.logical_not(x < y) * y,
    "xor": lambda x, y: ((x < y) ^ (x > 0.0)) * y,
    "maximum": lambda x, y: np.maximum(x, y) - np.minimum(x, y),
    "fmax": lambda x, y: np.fmax(x, y) * np.fmin(x, 2.0),
    "clip": lambda x, y: np.clip(x, -0.5, 0.5) + y,
    "clip by traced": lambda x, y: np.clip(0.3, x, y + 5.0),
    "sinc": lambda x, y: np.sinc(x) + np.sinc(0.0 * y),
    "hypot": np.hypot,
    "arctan2": np.arctan2,
    "logaddexp": np.logaddexp,
    "copysign": np.copysign,
    "heaviside": lambda x, y: np.heaviside(x, y),
    "float64 operands": lambda x, y: np.float64(1.5) * x + y / np.float64(3.0),
    "int64 operands": lambda x, y: np.int64(3) * x + y * np.int32(2),
    "bool operand": lambda x, y: x * True + y,
    "constant array": lambda x, y: np.array([1.0, 2.0]) * x + y,
    "list operand": lambda x, y: x * np.array([1, 2, 3]) - y,
    "deep": lambda x, y: np.exp(np.sin(x) * np.cos(y)) / np.sqrt(1 + x * x + y * y),
    "erf": lambda x, y: scipy.special.erf(x) * scipy.special.erfc(y),
    "expit": lambda x, y: scipy.special.expit(x) * y,
    "gammaln": lambda x, y: scipy.special.gammaln(abs(x) + 0.2),
    "xlogy": lambda x, y: scipy.special.xlogy(x, abs(y)),
    "psi": lambda x, y: scipy.special.psi(abs(x) + 0.2) * y,
    "logit": lambda x, y: scipy.special.logit(abs(x) / 5.0),
    "np.array": lambda x, y: np.array([x, y, 1.0]) * 2.0,
    "np.stack": lambda x, y: np.stack([x, y, x]),
    "isnan": lambda x, y: np.where(np.isnan(x), 1.0, y),
    "isfinite": lambda x, y: np.isfinite(x) * y,
    "stacked": lambda x, y: np.concatenate([np.array([x, 1.0]), np.array([y])]),
    "reshape": lambda x, y: (
        x.reshape(1, 1) * y if hasattr(x, "reshape") else np.reshape(x, (1, 1)) * y
    ),
    "round trip": lambda x, y: np.radians(np.degrees(x)) * np.fabs(y),
    "norm of pair": lambda x, y: np.linalg.norm(np.array([x, y])),
    "dot of pair": lambda x, y: np.dot(np.array([x, y]), np.array([y, 2.0])),
    "python sum": lambda x, y: sum([x, y, 2.0]),
    "sum of generator": lambda x, y: sum(x * k for k in range(4)) + y,
}
SCALAR_CALLS = [(0.7, 1.3), (-0.4, 0.9), (2.5, -1.1), (1e-3, 1e-3), (-2.0, -2.0)]

UNARY = [
    "absolute",
    "sqrt",
    "cbrt",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "deg2rad",
    "rad2deg",
    "floor",
    "ceil",
    "trunc",
    "rint",
    "sign",
    "square",
    "reciprocal",
    "negative",
    "positive",
    "sinc",
    "fabs",
    "radians",
    "degrees",
    "isnan",
    "isfinite",
    "isinf",
    "logical_not",
]

ARRAYS = {
    "arithmetic": lambda x: (x + 1.0) * (x - 2.0) / (1.5 + x * x),
    "reflected": lambda x: 1.0 / (3.0 + x) - (2 - x),
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "to the 0.5": lambda x: abs(x) ** 0.5,
    "to the -1": lambda x: abs(x) ** -1,
    "to the 1": lambda x: x**1,
    "to the 0": lambda x: x**0,
    "to the 2.7": lambda x: abs(x) ** 2.7,
    "to the -2": lambda x: abs(x) ** -2.0,
    "np.power 2": lambda x: np.power(x, 2),
    "np.power 0.5": lambda x: np.power(abs(x), 0.5),
    "np.power -1": lambda x: np.power(abs(x), -1.0),
    "np.power of arrays": lambda x: np.power(abs(x), x),
    "variable power": lambda x: abs(x) ** x,
    "number to a power": lambda x: 1.7**x,
    "array to a power": lambda x: np.linspace(0.5, 2.0, x.shape[-1]) ** x,
    "mod": lambda x: x % 0.7,
    "floor division": lambda x: x // 0.7,
    "mod of arrays": lambda x: x % (abs(x[::-1]) + 0.1),
    "divmod": lambda x: divmod(x, 0.3)[1],
    "hypot": lambda x: np.hypot(x, x[..., ::-1]),
    "comparison": lambda x: (x > 0.2) * x,
    "comparison as value": lambda x: (x > 0.2) + x,
    "where": lambda x: np.where(x > 0.2, x, -x),
    "where with number": lambda x: np.where(x > 0.0, np.sqrt(abs(x)), 0.0),
    "where constant condition": lambda x: np.where(
        np.arange(x.size).reshape(x.shape) % 2 == 0, x, 2 * x
    ),
    "logical": lambda x: (
        np.logical_and(x > 0, x < 1) * x + np.logical_not(x > 0) + np.logical_or(x > 0, x < -1)
    ),
    "bitwise": lambda x: ((x > 0) & (x < 1) | ~(x > -1)) * x,
    "sum of bools": lambda x: np.sum(x > 0) + x[0],
    "mean of bools": lambda x: np.mean(x > 0) + x[0],
    "max of bools": lambda x: np.max(x > 0.0) * x,
    "bools plus bools": lambda x: ((x > 0) + (x < 1)) * x,
    "bools times bools": lambda x: ((x > 0) * (x < 1)) * x,
    "maximum": lambda x: np.maximum(x, 0.1) + np.minimum(x, x[::-1]),
    "clip": lambda x: np.clip(x, -0.5, 0.7),
    "clip method": lambda x: x.clip(-0.5, 0.7),
    "clip one side": lambda x: np.clip(x, None, 0.2) + np.clip(x, -0.1, None),
    "clip by arrays": lambda x: np.clip(x, -abs(x[::-1]), 0.3),
    "abs": abs,
    "ptp": lambda x: np.ptp(x) * x,
    "norm": lambda x: np.linalg.norm(x),
    "norm 1": lambda x: np.linalg.norm(np.ravel(x), 1),
    "norm inf": lambda x: np.linalg.norm(np.ravel(x), np.inf),
    "norm 3": lambda x: np.linalg.norm(np.ravel(x), 3),
    "norm axis": lambda x: np.linalg.norm(x, axis=-1),
    "norm keepdims": lambda x: np.linalg.norm(x, keepdims=True),
    "norm axis 0": lambda x: np.linalg.norm(x, axis=0),
    "mean": lambda x: np.mean(x),
    "mean axis": lambda x: x.mean(axis=-1),
    "any": lambda x: np.any(x > 1) * x,
    "all": lambda x: np.all(x > -9) * x,
    "logsumexp": lambda x: np.log(np.sum(np.exp(x - np.max(x)))) + np.max(x),
    "softmax": lambda x: np.exp(x) / np.sum(np.exp(x)),
    "cumsum": lambda x: np.cumsum(x),
    "cumsum method": lambda x: x.cumsum(axis=0),
    "sum method": lambda x: x.sum(axis=0),
    "add.reduce": lambda x: np.add.reduce(x),
    "multiply.reduce": lambda x: np.multiply.reduce(x),
    "outer": lambda x: np.outer(x, x),
    "subtract.outer": lambda x: np.subtract.outer(x, x),
    "inner": lambda x: np.inner(x, x),
    "vdot": lambda x: np.vdot(x, x),
    "dot": lambda x: np.dot(np.ravel(x), np.ravel(x)),
    "matmul": lambda x: x.T @ x,
    "reshape": lambda x: x.reshape(-1, 1) * 2,
    "ravel F": lambda x: np.ravel(x.reshape(2, -1), order="F") * 2,
    "flatten": lambda x: x.reshape(2, -1).flatten() * 2,
    "T": lambda x: x.reshape(2, -1).T * 2,
    "transpose": lambda x: np.transpose(x.reshape(2, 1, -1), (2, 0, 1)) * 2,
    "swapaxes": lambda x: x.reshape(2, -1).swapaxes(0, 1) * 2,
    "moveaxis": lambda x: np.moveaxis(x.reshape(2, 1, -1), 0, -1) * 2,
    "expand_dims": lambda x: np.expand_dims(x, 0) * 2,
    "squeeze": lambda x: np.squeeze(x[None]) * 2,
    "None index": lambda x: x[:, None] * x[None],
    "ellipsis": lambda x: x[..., 0] * x[..., -1],
    "flip": lambda x: np.flip(x) * x,
    "roll": lambda x: np.roll(x, 2) - x,
    "repeat": lambda x: np.repeat(x, 3) * 2,
    "tile": lambda x: np.tile(x, 2) * 2,
    "rot90": lambda x: np.rot90(x.reshape(2, -1)) * 2,
    "take": lambda x: np.take(np.ravel(x), [0, 3, 1]) * 2,
    "delete": lambda x: np.delete(np.ravel(x), 2) * 2,
    "split": lambda x: np.split(np.ravel(x), 2)[1] * 2,
    "array_split": lambda x: np.array_split(np.ravel(x), 3)[0] * 2,
    "concatenate": lambda x: np.concatenate([x, 2 * x, np.ones(x.shape)]),
    "stack": lambda x: np.stack([x, x * 2], axis=-1),
    "hstack": lambda x: np.hstack([x, x]) * 2,
    "vstack": lambda x: np.vstack([x, x]) * 2,
    "column_stack": lambda x: np.column_stack([np.ravel(x), np.ravel(x) * 2]),
    "append": lambda x: np.append(x, 1.0) * 2,
    "append array": lambda x: np.append(x, x, axis=0) * 2,
    "atleast_2d": lambda x: np.atleast_2d(x) * 2,
    "broadcast_to": lambda x: np.broadcast_to(x, (2, *x.shape)) * 2,
    "diag": lambda x: np.diag(np.ravel(x)) * 2,
    "diagonal": lambda x: np.diagonal(np.outer(x, x)) * 2,
    "diag of matrix": lambda x: np.diag(np.outer(x, x)) * 2,
    "tril": lambda x: np.tril(np.outer(x, x)),
    "triu": lambda x: np.triu(np.outer(x, x), 1),
    "r_": lambda x: np.r_[x[0], x[0]] * 2,
    "zeros_like": lambda x: np.zeros_like(x) + x,
    "ones_like": lambda x: np.ones_like(x) * x,
    "full_like": lambda x: np.full_like(x, 3.0) * x,
    "full_like traced": lambda x: np.full_like(x, x.ravel()[0]) + x,
    "copy": lambda x: x.copy() * 2,
    "astype": lambda x: x.astype(float) * 2,
    "real": lambda x: np.real(x) * 2,
    "conjugate": lambda x: np.conjugate(x) * 2,
    "nested": lambda x: np.sum(np.sin(x) * np.cos(x[::-1])) * np.tanh(x),
    "horner": lambda x: ((2.0 * x + 1.0) * x - 3.0) * x,
    "einsum-free quadratic": lambda x: np.ravel(x) @ np.eye(x.size) @ np.ravel(x),
    "finite differences": lambda x: np.ravel(x)[2:] - 2 * np.ravel(x)[1:-1] + np.ravel(x)[:-2],
    "fancy": lambda x: np.ravel(x)[[3, 1, 1, 0]] * 2,
    "boolean constant mask": lambda x: np.ravel(x)[np.arange(x.size) % 2 == 0] * 2,
    "negative step": lambda x: x[::-2] * 2,
    "float32 constant": lambda x: np.arange(x.shape[-1], dtype=np.float32) * x,
    "int constant": lambda x: np.arange(x.shape[-1]) * x,
    "shape and size": lambda x: x * x.size + x.ndim + np.size(x) + np.ndim(x) + len(x),
}
# Those that are for vectors alone.
VECTORS = {
    "outer",
    "subtract.outer",
    "inner",
    "diag",
    "tril",
    "triu",
    "diagonal",
    "diag of matrix",
    "r_",
    "mean of bools",
    "sum of bools",
}
SHAPES = [(4,), (6,), (20,), (1030,), (4, 6), (8, 40)]


@pytest.mark.parametrize("name", SCALARS)
def test_scalars(name):
    assert_replays(SCALARS[name], *SCALAR_CALLS)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("size", [None, 4, 20, 1030])
def test_unary(name, size):
    """np.name(x) where it is defined, near its edges, and far outside."""
    function = getattr(np, name)
    rng = np.random.default_rng(4)
    calls = []
    for low, high in ((1.1, 2.0), (0.05, 0.95), (-0.95, 0.95), (-30.0, 30.0)):
        x = rng.uniform(low, high, size)
        calls.append((x if size else float(x),))
    with np.errstate(all="ignore"):
        assert_replays(lambda x: function(x) * 1.0, *calls)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, shape):
    if len(shape) > 1 and name in VECTORS:
        shape = (shape[0],)
    if name in ("outer", "subtract.outer", "diag", "tril", "triu", "diagonal", "diag of matrix"):
        shape = (min(shape[0], 30),)
    rng = np.random.default_rng(5)
    assert_replays(ARRAYS[name], *[(rng.uniform(-1.5, 1.5, shape),) for _ in range(3)])


# choices between floats


@pytest.mark.parametrize("y", [-1.5, 1.5, np.nan, np.inf], ids=str)
def test_where_of_floats(y):
    """Of scalars of every kind: values, the array that NumPy makes, and derivatives."""

    def choices(x, y):
        rank_0 = np.where(x > y, x, y)
        return [
            rank_0,
            np.where(x > y, x * y, 2.0),
            np.where(y > 0.0, -1.0, np.exp(x)),
            np.where(rank_0 > x, rank_0, x * x),
            np.where(x > 0.0, 3, y),
        ]

    expected = choices(0.5, y)
    tape = nt.record(choices, 0.7, 0.25)
    with np.errstate(all="ignore"):
        for found, each in zip(tape(0.5, y), expected):
            assert_same_bits(np.asarray(found), np.asarray(each, np.float64))
    shapes = []
    nt.record(lambda x: shapes.append([np.shape(c) for c in choices(x, 0.3)]) or x, 0.7)
    assert shapes == [[()] * 5]
    if np.isfinite(y):
        slopes = nt.jacobian(choices, argnums=1)(0.5, y)
        taken = [y >= 0.5, 0.5 if y < 0.5 else 0.0, 0.0, y > 0.5, 0.0]
        np.testing.assert_allclose([float(each) for each in slopes], np.float64(taken))
