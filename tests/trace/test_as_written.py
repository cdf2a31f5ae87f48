"""Everyday code that meets NumPy, Python and SciPy where no protocol asks, recorded as written."""

import copy
import functools
import itertools
import math
import numbers
import operator
import statistics
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.special as sp
from checks import (
    assert_first_derivatives,
    assert_replays,
    assert_second_derivatives,
)
from scipy import stats

import numtape as nt
from tests.trace import as_written
from tests.trace.as_written import Filter, Kernel, Vector, by_default, closed_over, filled

X = np.array([0.3, 1.2, -0.7, 2.2, 0.9])
Y = np.array([-1.3, 0.2, 1.7, 3.2, -0.1])
POSITIVE = np.array([0.3, 1.2, 0.7, 2.2, 0.9])
TABLE = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 0.25, 0.75, 0.1, 0.2]])
DATA = {"weights": np.linspace(1.0, 2.0, 5)}


# arrays that a function makes and fills


def _loop(x):
    y = np.zeros(5)
    for k in range(5):
        y[k] = x[k] ** 2
    return y


def _empty(x):
    y = np.empty((5, 2))
    y[:, 0] = x
    y[:, 1] = 2.0
    return y * y


def _views_before(x):
    y = np.zeros((3, 2))
    row, transposed, flat = y[1], y.T, y.reshape(-1)
    y[0, 0] = x[0]
    row[1] = x[1]
    transposed[0, 2] = 5.0
    flat[1] = x[2] * x[0]
    return np.concatenate([y.ravel(), transposed.ravel(), row, flat])


def _views_of_views(x):
    y = np.zeros(8)
    a = y[1:7]
    b = a[::-1][::2]
    b[0] = x[0]
    a += x[1]
    return y * np.arange(8.0) + b.sum()


def _rotation(x):
    R = np.eye(3)
    c, s = np.cos(x[0]), np.sin(x[0])
    R[:2, :2] = [[c, -s], [s, c]]
    return R @ R @ np.array([x[1], 1.0, x[2]])


def _in_place(x):
    g = np.zeros(3)
    g[0] += x[0]
    g[1] -= x[1] * 2
    g *= x[2]
    g[:2] /= 1.0 + x[3] ** 2
    return g


def _methods(x):
    y = np.ones(6)
    y.put([0, 2], x[:2])
    np.put(y, [1], x[2])
    np.add.at(y, [3, 3], x[3])
    y.flat[4] = x[4]
    np.copyto(y[5:], x[:1])
    z = np.ones((2, 2))
    np.fill_diagonal(z, x[:2])
    w = np.ones(2)
    w.fill(x[0])
    v = np.zeros(5)
    np.multiply(x, 2.0, out=v)
    u = np.zeros(2)
    np.place(u, [True, False], [x[1] * x[1]])
    return np.concatenate([y, z.ravel(), w, v, u])


def _masks(x):
    y = np.zeros(5)
    y[x > 0.5] = 1.0
    z = np.full(5, 2.0)
    z[x <= 0.5] = x[x <= 0.5] ** 2
    return y * x + z


def _gram(x):
    n = len(x)
    K = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            K[i, j] = K[j, i] = math.exp(-((x[i] - x[j]) ** 2))
    K += 1e-2 * np.eye(n)
    return np.log(np.diag(np.linalg.cholesky(K)))


def _rank_0(x):
    total = np.zeros(())
    for value in x:
        total += value * value
    return total


def _made_of_plain(x):
    y = np.linspace(0.0, 1.0, 5)
    z = TABLE[0].copy()
    w = np.arange(5.0)
    v = np.concatenate([TABLE[1], [1.0]])
    y[1], z[2], w[3], v[4] = x[1], x[2], x[3], x[4] * x[0]
    return np.concatenate([y, z, w, v])


def _computed_of_outside(x):
    y = DATA["weights"] * 2.0
    z = np.sqrt(Kernel.offsets)
    w = -TABLE[0]
    y[1], z[2], w[0] = x[1] * x[0], x[2], x[3] * x[3]
    return np.concatenate([y, z, w])


def _of_other_functions(x):
    y = np.random.default_rng(3).normal(size=3)
    z = MADE_WITHOUT_SOURCE()
    w = Kernel.offsets * Kernel.offsets[::-1]
    y[0], z[1], w[2] = x[0], x[1], x[2] * x[3]
    return np.concatenate([y, z, w])


MADE_WITHOUT_SOURCE = eval("lambda: np.ones(2)", {"np": np})


def _rk4(x):
    def slope(y):
        return np.array([y[0] * y[1], x[2] - y[1]])

    y, path = x[:2], np.empty((4, 2))
    for k in range(4):
        a = slope(y)
        b = slope(y + 0.05 * a)
        y = y + 0.1 * b
        path[k] = y
    return path


def _meshes(x):
    u, v = np.meshgrid(np.arange(2.0), np.arange(3.0))
    u[0, 0] = x[0]
    v[1] = x[1]
    return u * v


def _integers_stay_plain(x):
    order = np.zeros(5, int)
    chosen = np.zeros(5, bool)
    for k in range(5):
        order[k] = np.argmax(x) + k
        chosen[k] = x[k] > 0
    return x[order % 5] * chosen


def _counted(x):
    onehot = np.zeros(5)
    onehot[np.argmax(x)] = 1.0
    return onehot * x


def _complex_filled(x):
    z = np.zeros(5, complex)
    for k in range(5):
        z[k] = np.exp(1j * x[k])
    return np.stack([z.real, z.imag, abs(z) ** 2])


def _complex_views(x):
    z = np.zeros((2, 2), dtype=complex)
    row, real, imag, transposed = z[1], z.real, z.imag, z.T
    z[0, 0] = x[0] * 1j
    row[0] = x[1]
    real[0, 1] = x[2]
    imag[1, 1] = x[3]
    transposed[0, 1] += 2.0
    w = np.empty(2, complex)
    w.real = x[:2]
    w.imag = 0.0
    product = z @ z @ w
    return np.concatenate([product.real, product.imag, real.ravel(), imag.ravel(), row.real])


def _complex_conversions(x):
    z = np.array([np.exp(1j * x[0]), 1.0, x[1]])
    w = np.asarray(x[:3], dtype=complex) * complex(1.0, 2.0)
    v = np.full(3, x[2] * 1j)
    both = np.array([z, w * v])
    return np.stack([both.real, both.imag])


def _hermitian(x):
    return np.linalg.eigvalsh(np.array([[x[0], 1j * x[1]], [-1j * x[1], x[2]]]))


ARRAYS = {
    name: function
    for name, function in globals().items()
    if name.startswith("_") and not name.startswith("__") and callable(function)
}
ARRAYS |= {
    "a helper in another module": filled,
    "a method of a class": lambda x: Kernel(3)(x),
    "a state in attributes": lambda x: sum(filter_.step() for filter_ in [Filter(x[0])] * 3),
    "an operator of a class": lambda x: (2.0 * (Vector(x[:2]) + Vector(x[2:4]))).parts,
    "given to a function": lambda x: _fill(np.zeros(5), x),
    "zeros_like of plain": lambda x: _fill(np.zeros_like(TABLE[0]), x),
    "full": lambda x: np.full(3, x[0] * x[1]),
    "full of two axes": lambda x: np.full((2, 2), fill_value=x[1] ** 2, dtype=float),
    "diag": lambda x: np.diag([x[0], 1.0, x[1] * x[0]]),
    "identity": lambda x: _fill(np.identity(5)[0], x),
    "ones": lambda x: _fill(np.ones(5, dtype=np.float64), x),
    "Fortran order": lambda x: _fill(np.zeros((5, 1), order="F"), x[:, None]),
    "tile": lambda x: _fill(np.tile(np.array([1.0, 2.0]), 4), x),
    "concatenate with a type": lambda x: np.concatenate([x * x, [1.0]], dtype=float),
    "where of plain": lambda x: _fill(np.where(TABLE[0] > 2.0, TABLE[0], 0.0), x),
}


def _fill(buffer, x):
    for k, value in enumerate(x):
        buffer[k] = value * value
    return buffer


# arrays of what is given

CONVERSIONS = {
    "a list": lambda x: np.array([x[0] * x[1], 1.0]),
    "rows": lambda x: np.array([[x[0], 0.0], [1.0, x[1] ** 2]]),
    "rows of arrays": lambda x: np.array([x, 2.0 * x, TABLE[0]]),
    "tuples": lambda x: np.array(((x[0], x[1]), (x[2], x[3]))) ** 2,
    "a type": lambda x: np.array([x[0], x[1]], dtype=np.float64) ** 2,
    "a type by its name": lambda x: np.asarray(x, "float64") ** 2,
    "asarray": lambda x: np.asarray(x, dtype=float) ** 2,
    "asarray of scalars": lambda x: np.asarray([x[0], x[1]]) ** 2,
    "asanyarray": lambda x: np.asanyarray(x, dtype=x.dtype) ** 2,
    "ascontiguousarray": lambda x: np.ascontiguousarray(x[::2]) ** 2,
    "asfortranarray": lambda x: np.asfortranarray([x, x]) ** 2,
    "require": lambda x: np.require(x, float, ["C", "W", "O"]) ** 2,
    "ndmin": lambda x: np.array(x, ndmin=3) ** 2,
    "ndmin of a list": lambda x: np.array([x[0]], ndmin=2) ** 2,
    "a scalar": lambda x: np.array(x[0]) ** 2,
    "atleast_1d": lambda x: np.atleast_1d(x[0] * x[1]),
    "copy": lambda x: _set(np.array(x), 0) + x,
    "no copy": lambda x: _set(np.array(1.0 * x, copy=False), 0),
    "asarray is no copy": lambda x: _aliased(1.0 * x),
    "like": lambda x: np.array([x[0], 2.0], like=x) ** 2,
    "a generator": lambda x: np.fromiter((v * v for v in x), dtype=float),
    "a generator, counted": lambda x: np.fromiter((v * v for v in x), float, count=3),
    "float64": lambda x: np.float64(x[0]) * np.float64(x[1]),
    "float": lambda x: float(x[0]) * float(np.sum(x)) + 1.0,
    "float in return position": lambda x: float(np.sum(x * x)),
    "float, mapped": lambda x: sum(map(float, x * x)),
    "float of a count": lambda x: float(np.argmax(x)) * x[0] + float(x[1] > 0) * x[2],
    "lists given to functions": lambda x: (
        np.mean([x[0], x[1] ** 2, 1.0])
        + np.linalg.norm([x[0], x[1]])
        + np.dot([x[0], 1.0], [2.0, x[1]])
        + np.exp([x[0], x[1]]).sum()
        + np.max([x[0], x[1]])
        + np.sum([[x[0], x[1]], [x[1], x[0]]], axis=0)[0]
    ),
}


def _set(y, k):
    y[k] = y[k] * y[k]
    return y


def _aliased(y):
    z = np.asarray(y)
    y += 1.0
    return z * z


# types


def _is_as_in_the_plain_call(x):
    r = np.array([x[0], x[1]])
    found = (
        *(isinstance(x, np.ndarray), isinstance(r, np.ndarray), type(x) is np.ndarray),
        *(isinstance(x[0], float), isinstance(x[0], np.floating), isinstance(x[0], numbers.Real)),
        *(isinstance(x[0], int), isinstance(x[0], np.ndarray), isinstance(x, float)),
        *(type(x[0]) is np.float64, type(x[0]) is float, type(x[0].item()) is float),
        *(isinstance(np.argmax(x), np.integer), isinstance(x[0] > 0, np.bool_)),
        *(r.dtype == np.float64, np.issubdtype(r.dtype, np.floating), r.dtype.kind == "f"),
        *(np.issubdtype(x[0].dtype, np.floating), x.dtype == float, x.dtype is r.dtype),
        *(np.result_type(r, np.float32) == np.float64, np.can_cast(x.dtype, np.float64)),
        *(np.finfo(x.dtype).eps < 1e-10, np.finfo(x[0].dtype).eps < 1e-10),
        *(hasattr(x, "shape"), hasattr(x, "append"), hasattr(x[0], "__len__"), np.isscalar(x[0])),
        *(np.ndim(x[0]) == 0, np.iscomplexobj(x), np.isrealobj(x), callable(x)),
        *(isinstance(np.zeros(2), np.ndarray), type(np.zeros(2)) is np.ndarray),
        *(isinstance(r, list | tuple), x.__class__ is np.ndarray, _kind(x), _kind(x[0]), _kind(1)),
    )
    weights = 2.0 ** np.arange(len(found))
    return np.sum(weights * np.array([bool(each) for each in found])) * x * x


@functools.singledispatch
def _kind(value):
    return False


@_kind.register(np.ndarray)
@_kind.register(float)
def _(value):
    return True


# Python's own


def _decay(value):
    return math.exp(-value)


PYTHONS = {
    "elementary": lambda x: sum(
        getattr(math, name)(x[0])
        for name in [
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "exp",
            "expm1",
            "log1p",
            "log2",
            "log10",
            "sqrt",
            "exp2",
            "cbrt",
        ]
    ),
    "inverse": lambda x: (
        math.asin(x[0])
        + math.acos(x[0])
        + math.atan(x[1])
        + math.asinh(x[1])
        + math.acosh(1.0 + x[1])
        + math.atanh(x[0])
        + math.atan2(x[0], x[1])
    ),
    "of two": lambda x: (
        math.pow(x[0], x[1])
        + math.fmod(x[3], x[0])
        + math.copysign(x[0], -1.0)
        + math.remainder(x[3], x[1])
        + math.ldexp(x[0], 3)
        + math.hypot(x[0], x[1])
    ),
    "logarithms": lambda x: math.log(x[0]) + math.log(x[1], 2) + math.log(x[3], x[1]),
    "angles": lambda x: math.degrees(x[0]) * 1e-2 + math.radians(x[1]) + math.fabs(x[2]),
    "special": lambda x: math.erf(x[0]) + math.erfc(x[1]) + math.gamma(x[2]) + math.lgamma(x[3]),
    "of several": lambda x: (
        math.hypot(*x)
        + math.prod(x)
        + math.prod(x, start=2.0)
        + math.dist(x[:2], x[2:4])
        + math.dist([x[0], 1.0], [x[1], 2.0])
        + math.fsum(x)
        + math.fsum(v * v for v in x)
    ),
    "tests": lambda x: (
        (x[0] if not math.isnan(x[0]) and math.isfinite(x[0]) and not math.isinf(x[0]) else 0.0)
        * (x[1] if not math.isclose(x[0], x[1], rel_tol=1e-3) else 0.0)
    ),
    "parts": lambda x: math.modf(x[3])[0] * x[0] + math.floor(x[3]) * x[1] + math.trunc(x[1]),
    "of arrays of rank 0": lambda x: math.sin(x[:1].sum()) * math.cos(np.array(x[1])),
    "Python's float": lambda x: math.exp(x[0].item()) / x[1].item(),
    "statistics": lambda x: (
        statistics.mean(x)
        + statistics.fmean(list(x))
        + statistics.fmean(x, weights=[1.0, 2.0, 3.0, 1.0, 1.0])
        + statistics.median(x)
        + statistics.geometric_mean(x)
        + statistics.harmonic_mean(x)
        + statistics.stdev(x)
        + statistics.pstdev(x)
        + statistics.variance(x)
        + statistics.pvariance(v * v for v in x)
        + statistics.variance(x, x[0])
    ),
    "ordering": lambda x: (
        sorted(x, key=lambda v: -v)[0] * max(x, key=math.cos) + min(*x, key=abs) * sorted(x)[1]
    ),
    "sums": lambda x: (
        sum(x)
        + sum([x[0], x[1]], x[2])
        + functools.reduce(lambda a, b: a * math.cos(b), x)
        + functools.reduce(operator.mul, x)
        + list(itertools.accumulate(x, operator.mul))[-1]
    ),
    "mapping": lambda x: sum(map(_decay, x)) + sum(filter(lambda v: v > 0.5, x)),
    "rounding": lambda x: round(x[3], 1) * x[0] + divmod(x[3], 1.0)[1] * x[1] + abs(-x[2]),
    "starmap": lambda x: sum(map(operator.mul, x, x[1:])),
    "itemgetter": lambda x: operator.itemgetter(1)(x) * operator.methodcaller("sum")(x),
    "shown": lambda x: [x[0] * x[0], f"{x[1]:.2e}", str(x[2])][0],
}


@np.vectorize
def _relu(value, slope=1.0):
    return slope * value * value if value > 0.5 else 0.0


CALLBACKS = {
    "vectorize": lambda x: _relu(x),
    "vectorize by name": lambda x: _relu(x, slope=x[0]),
    "vectorize inside": lambda x: np.vectorize(lambda a, b: math.exp(a) * b)(x[:2, None], x[1:4]),
    "vectorize, excluded": lambda x: np.vectorize(np.polyval, excluded=[0])(
        np.array([x[0], 1.0]), x
    ),
    "vectorize, two results": lambda x: sum(np.vectorize(lambda a: (a * a, math.sin(a)))(x)),
    "vectorize, a type": lambda x: np.vectorize(lambda a: a * a, otypes=[float])(x),
    "vectorize, a signature": lambda x: np.vectorize(lambda row: row @ row, signature="(n)->()")(
        np.array([x, 2.0 * x])
    ),
    "vectorize of plain": lambda x: np.vectorize(lambda k: x[k] * x[k])(np.arange(5)),
    "apply_along_axis": lambda x: np.apply_along_axis(
        lambda row: filled(row), 1, np.array([x, 2.0 * x])
    ),
    "piecewise": lambda x: np.piecewise(x, [x > 0.5], [lambda v: np.asarray(v) ** 2, 0.25]),
}


# SciPy's functions, by any reference


class _Model:
    reduce = staticmethod(sp.logsumexp)
    average = functools.partial(sp.logsumexp, axis=0)

    def __init__(self):
        self.density = stats.norm.pdf
        self.functions = {"lse": [sp.logsumexp]}

    def __call__(self, x):
        return self.density(x) * self.functions["lse"][0](x) + _Model.average(x)


REFERENCES = {
    "in a dict of another module": lambda x: as_written.table["lse"](x),
    "a partial in a dict": lambda x: as_written.table["partial"](np.array([x, x * x])),
    "a default argument": by_default,
    "a closure of a closure": closed_over(sp.logsumexp),
    "attributes, bound methods, containers": _Model(),
    "a static method": lambda x: _Model.reduce(x) * x,
    "the function itself": sp.logsumexp,
    "a bound method itself": stats.norm.pdf,
    "a partial itself": functools.partial(sp.logsumexp, b=TABLE[0]),
    "a name of the moment": lambda x: (lambda f: f(x, 0))(sp.logsumexp),
    "a method of a frozen distribution": lambda x: stats.gamma(2.5).logpdf(x * x + 0.1),
    "mapped": lambda x: sum(map(sp.softmax, [x, 2.0 * x])),
}


@dataclass
class _Data:
    n: int

    def __post_init__(self):
        self.buffer = np.zeros(self.n)


def _dataclass(x):
    data = _Data(3)
    data.buffer[0] = x[0] * x[0]
    assert type(data) is _Data
    return data.buffer


PROGRAMS = {
    **{name: (function, X, Y) for name, function in ARRAYS.items()},
    **{name: (function, X, Y) for name, function in CONVERSIONS.items()},
    **{name: (function, POSITIVE, POSITIVE[::-1].copy()) for name, function in PYTHONS.items()},
    **{name: (function, X, Y) for name, function in CALLBACKS.items()},
    **{name: (function, X, Y) for name, function in REFERENCES.items()},
    "types": (_is_as_in_the_plain_call, X, Y),
    "a dataclass": (_dataclass, X, Y),
}
# Recorded with one order of additions, exact in Python; and magnitudes of complex numbers.
ROUNDED = {
    "_complex_filled",
    "of several",
    "statistics",
    "parts",
    "elementary",
    "inverse",
    "special",
    "logarithms",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_recorded_as_written(name):
    function, first, second = PROGRAMS[name]
    tape = nt.record(function, first)
    for x in (first, second, 0.9 * first):
        try:
            found = tape(x)
        except nt.BranchError:
            found = nt.record(function, x)(x)
        np.testing.assert_allclose(found, function(x), rtol=1e-13 if name in ROUNDED else 4e-16)
    assert_first_derivatives(function, first)
    assert_second_derivatives(function, np.cos(np.ones_like(function(first))), first)
    np.testing.assert_allclose(
        nt.vmap(nt.jacobian(function))(np.array([first, second])),
        [nt.jacobian(function)(x) for x in (first, second)],
        rtol=1e-13,
    )


def _filled(x, scale=2.0):
    y = np.zeros(2)
    y[0] = math.sin(x) * scale
    y[1] = x
    return np.sum(y * y)


def _squared(x, scale=2.0):
    return np.sin(x) ** 2 * scale**2 + x * x


@pytest.mark.parametrize(
    "take",
    [
        lambda f: nt.jvp(f, (0.4,), (3.0,)),
        lambda f: nt.vjp(f, 0.4)[1](3.0),
        lambda f: nt.hvp(f, (0.4,), (3.0,)),
        lambda f: nt.linearize(f, 0.4)[1](3.0),
        lambda f: nt.grad(f)(0.4, scale=0.5),
        lambda f: nt.vmap(f)(np.array([0.4, 1.4]), scale=np.array([0.5, 1.5])),
        lambda f: nt.grad(lambda x: nt.jvp(f, (x,), (x,))[1])(0.4),
        lambda f: nt.grad(lambda x: nt.grad(f)(x, scale=x))(0.4),
        lambda f: nt.grad(lambda x: np.sum(nt.vmap(f)(x) * x))(np.array([0.4, 1.4])),
    ],
)
def test_whichever_way_a_derivative_is_taken(take):
    for found, expected in zip(np.ravel(take(_filled)), np.ravel(take(_squared)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


# what is refused


BUFFER = np.zeros(5)


def _fill_the_buffer(x):
    BUFFER[0] = x[0]
    return BUFFER


def _kept():
    kept = []

    def function(x):
        if not kept:
            kept.append(np.zeros(5))
        kept[0][1] = x[1]
        return kept[0] * x

    return function


OUTSIDE = {
    "a buffer": _fill_the_buffer,
    "a row": lambda x: _fill(TABLE[0], x),
    "a view": lambda x: _fill(TABLE[0][::-1], x),
    "reshaped": lambda x: _fill(np.reshape(TABLE, -1), x),
    "a method": lambda x: _fill(TABLE.reshape(-1), x),
    "transposed": lambda x: _fill(TABLE.T, x[:, None]),
    "converted": lambda x: _fill(np.asarray(BUFFER), x),
    "copied if needed": lambda x: _fill(np.array(BUFFER, copy=None), x),
    "of the same type": lambda x: _fill(BUFFER.astype(float, copy=False), x),
    "parts": lambda x: _fill(np.split(TABLE[0], [5])[0], x),
    "the diagonal": lambda x: _fill(np.diagonal(SQUARE).view(), x),
    "broadcast": lambda x: _fill(np.broadcast_arrays(BUFFER, np.zeros(1))[0], x),
    "at least": lambda x: _fill(np.atleast_1d(BUFFER), x),
    "in a dict": lambda x: _fill(DATA["weights"], x),
    "of a class": lambda x: _fill(Kernel.offsets, x[:3]),
    "an iterator": lambda x: _fill(next(iter(TABLE)), x),
    "out=": lambda x: np.multiply(x, 2.0, out=BUFFER),
    "in place": lambda x: operator.iadd(BUFFER, x),
    "put": lambda x: np.put(BUFFER, [0], x[0]),
    "its flat": lambda x: BUFFER.flat.__setitem__(0, x[0]),
    "given to a function": lambda x: _fill(np.ravel(BUFFER), x),
}
SQUARE = np.arange(25.0).reshape(5, 5)


@pytest.mark.parametrize("function", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.filterwarnings("ignore:Numpy has detected:DeprecationWarning")
def test_an_array_of_outside_is_not_filled(function):
    arrays = [BUFFER, TABLE, SQUARE, DATA["weights"], Kernel.offsets]
    before = copy.deepcopy(arrays)
    with pytest.raises((nt.TraceError, ValueError), match=r"has not made|plain|read-only"):
        nt.grad(lambda x: np.sum(function(x)))(X)
    for array, unchanged in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, unchanged)


def test_an_array_of_another_recording_is_not_filled():
    function = _kept()
    tape = nt.record(function, X)
    np.testing.assert_array_equal(tape(Y), [0.0, Y[1] ** 2, 0.0, 0.0, 0.0])
    with pytest.raises(nt.NumtapeError):
        nt.record(function, X)


def test_nothing_reads_an_array_that_has_become_traced():
    seen = []

    def function(x):
        y = np.zeros(3)
        seen.append(memoryview(y))
        y[0] = x[0]
        seen.append(y)
        return y

    nt.record(function, X)
    assert np.isnan(np.asarray(seen[0])).all()
    assert np.asarray(seen[1]).dtype.kind == "V"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.array([[x[0]], [x[1], x[2]]]),
        lambda x: np.zeros(2)[[x[0]]],
        lambda x: np.concatenate([x, np.zeros((2, 2))]),
        lambda x: np.zeros(3).reshape(2, 2) * x[0],
        lambda x: float(x) * x[0],
        lambda x: math.sin(x) * x[0],
        lambda x: {}.get("no function")(x),
    ],
)
def test_errors_are_those_of_the_plain_call(function):
    kinds = (ValueError, IndexError, TypeError)
    with pytest.raises(kinds) as plain:
        function(X)
    with pytest.raises(plain.type):
        nt.record(function, X)


@pytest.mark.parametrize("shape", [lambda x: x[0], lambda x: (2, x[0]), lambda x: np.sum(x)])
def test_a_shape_is_no_float(shape):
    with pytest.raises((nt.NumtapeError, TypeError)):
        nt.record(lambda x: np.zeros(shape(x)) + x[0], X)


# exceptions


def _safe_root(x):
    try:
        return math.sqrt(x[0]) + math.log(x[1])
    except ValueError:
        return x[0] * x[1]


def _safe_exponential(x):
    try:
        return math.exp(x[0])
    except OverflowError:
        return 2.0 * x[1]


@pytest.mark.parametrize("function", [_safe_root, _safe_exponential])
def test_what_math_raises_is_a_branch(function):
    gradient = nt.value_and_grad(function)
    points = [
        [1.0, 2.0],
        [-1.0, 2.0],
        [2.0, 3.0],
        [4.0, -1.0],
        [4.0, 0.0],
        [800.0, 1.0],
        [1.0, 5.0],
    ]
    for x in map(np.array, points):
        value, slope = gradient(x)
        assert value == pytest.approx(float(function(x)), rel=1e-14)
        near = [float(function(x + h)) - float(function(x - h)) for h in 1e-6 * np.eye(2)]
        if x[1] != 0.0:
            np.testing.assert_allclose(slope, np.array(near) / 2e-6, rtol=1e-6, atol=1e-8)


# who else is there


def test_nothing_is_exchanged():
    names = [(np, "zeros"), (np, "array"), (math, "sin"), (np, "sum"), (np.linalg, "det")]
    before = [getattr(*name) for name in names]
    seen = []

    def function(x):
        seen.append([getattr(*name) for name in names])
        return np.zeros(3) + math.sin(x[0])

    nt.record(function, X)
    assert [*map(id, seen[0])] == [*map(id, before)]
    assert function.__code__.co_names == ("append", "np", "zeros", "math", "sin")


def test_other_threads_see_plain_numpy():
    inside, done, found = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        y = np.zeros(3)
        y[0] = math.sin(1.0)
        found.append((type(y), filled(X)))
        done.set()

    def function(x):
        inside.set()
        done.wait()
        return filled(x)

    thread = threading.Thread(target=other)
    thread.start()
    nt.record(function, X)
    thread.join()
    assert found[0][0] is np.ndarray
    np.testing.assert_array_equal(found[0][1], filled(X))


def test_a_function_that_changes_is_read_again():
    def function(x, k=2.0):
        return k * math.sin(x[0])

    def other(x, k=2.0):
        return k * math.cos(x[0])

    assert nt.record(function, X)(X) == 2.0 * math.sin(X[0])
    function.__defaults__ = (3.0,)
    assert nt.record(function, X)(X) == 3.0 * math.sin(X[0])
    function.__code__ = other.__code__
    assert nt.record(function, X)(X) == 3.0 * math.cos(X[0])


def test_without_source_what_protocols_reach_is_recorded():
    names = {"np": np, "sp": sp, "__name__": "somebody"}
    exec("def function(x): return sp.logsumexp(np.sin(x))", names)
    assert_replays(names["function"], (X,), (Y,))
    exec("def filled(x):\n    y = np.zeros(3)\n    y[0] = x[0]\n    return y", names)
    with pytest.raises(nt.TraceError, match="traced value"):
        nt.record(names["filled"], X)


def test_constants_stay_plain():
    def function(x):
        scale = np.zeros(3)
        for k in range(3):
            scale[k] = math.cos(k)
        index = np.array([2, 0])
        return x[index] * scale[index] + float(scale[1]) * x[: int(scale[0])]

    tape = assert_replays(function, (X,), (Y,))
    assert "cos" not in str(tape)


def test_lambdas_whose_body_has_no_place_of_its_own():
    import math

    functions = [
        lambda x, flag=True: math.sin(x) if flag else x, lambda x: (lambda y: y and math.cos(y))(x),
        lambda x: x and math.exp(x), lambda x: -1.0 if x < 0.0 else math.sin(x) or 2.0,
    ]  # fmt: skip
    for function in functions:
        value, slope = nt.value_and_grad(function)(0.7)
        assert value == function(0.7)
        difference = (function(0.7 + 1e-6) - function(0.7 - 1e-6)) / 2e-6
        np.testing.assert_allclose(slope, difference, rtol=1e-8)
