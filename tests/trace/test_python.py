"""Plain Python on traced values: iteration, unpacking, built-ins, branches and their guards."""

import bisect
import collections
import copy
import dataclasses
import functools
import itertools
import math
import numbers
import operator

import numpy as np
import pytest
from checks import assert_replays, without_source

import numtape as nt
from numtape.functions.trees import flatten

X = np.array([0.7, -1.2, 2.3, 0.1])


@pytest.mark.parametrize(
    "function",
    {
        "unpacking": lambda x: (lambda a, b, *rest: a * b + rest[0])(*x),
        "for": lambda x: functools.reduce(lambda s, v: s * v + 1.0, x),
        "sum": lambda x: sum(x),
        "sum with start": lambda x: sum(x, 2.0),
        "enumerate": lambda x: sum(i * v for i, v in enumerate(x)),
        "zip": lambda x: sum(a * b for a, b in zip(x, x[::-1])),
        "reversed": lambda x: [v * 2.0 for v in reversed(x)],
        "list": lambda x: [v * 2.0 for v in list(x)],
        "tolist": lambda x: [v * 2.0 for v in x.tolist()],
        "item": lambda x: x[1].item() * x.item(2),
        "math.prod": lambda x: math.prod(list(x)),
        "rows": lambda x: [row * 2.0 for row in x.reshape(2, 2)],
        "nested unpacking": lambda x: (lambda ab, cd: ab[0] * cd[1])(*x.reshape(2, 2)),
        "negative index": lambda x: x[-1] * x[-4],
        "np.int64 index": lambda x: x[np.int64(2)] * 2.0,
        "tuple index": lambda x: x.reshape(2, 2)[1, 0] * 2.0,
        "deepcopy": lambda x: copy.deepcopy(x) * 2.0,
        "copy": lambda x: copy.copy(x) * 2.0,
        "conditional on length": lambda x: x * 2.0 if len(x) > 3 else x,
        "float64 scalar first": lambda x: np.float64(2.0) * x[0],
        "array times scalar": lambda x: np.arange(3.0) * x[0],
        "default comparison": lambda x: x * 1.0 if x is not None else x,
    }.items(),
    ids=lambda item: item[0],
)
def test_values(function):
    assert_replays(function[1], (X,), (X * 2.0 - 0.3,))


BRANCHES = {
    "if": lambda x: x[0] * 2.0 if x[0] > x[1] else x[1] * 3.0,
    "elif": lambda x: x[0] if x[0] < -1.0 else x[0] ** 2 if x[0] < 1.0 else x[0] ** 3,
    "and": lambda x: x[0] * (2.0 if x[0] > 0.0 and x[1] > 0.0 else 5.0),
    "or": lambda x: x[0] * (2.0 if x[0] > 0.0 or x[1] > 0.0 else 5.0),
    "not": lambda x: x[0] * (2.0 if not x[0] > 0.0 else 5.0),
    "chained": lambda x: x[0] * (2.0 if 0.0 < x[1] < 1.0 else 5.0),
    "truth of a float": lambda x: x[0] * (2.0 if x[1] else 5.0),
    "max": lambda x: max(x) * 1.0,
    "min": lambda x: min(x[0], x[1]) * 1.0,
    "max with key": lambda x: max(x, key=abs) * 1.0,
    "sorted": lambda x: sorted(x)[1] * 1.0,
    "any": lambda x: x[0] * (2.0 if any(v > 1.0 for v in x) else 5.0),
    "all": lambda x: x[0] * (2.0 if all(v > -1.0 for v in x) else 5.0),
    "np.any": lambda x: x[0] * (2.0 if np.any(x > 1.0) else 5.0),
    "np.all": lambda x: x[0] * (2.0 if np.all(x > -1.0) else 5.0),
    "int": lambda x: x[0] * int(x[1]),
    "round": lambda x: x[0] * round(x[1]),
    "math.floor": lambda x: x[0] * math.floor(x[1]),
    "math.ceil": lambda x: x[0] * math.ceil(x[1]),
    "math.trunc": lambda x: x[0] * math.trunc(x[1]),
    "index": lambda x: x[int(abs(x[1]))] * 2.0,
    "loop bound": lambda x: sum(x[0] * k for k in range(int(abs(x[2])) + 1)),
    "boolean mask": lambda x: np.sum(x[x > 0.0] ** 2),
    "astype int": lambda x: np.sum(x * x.astype(int)),
    "integer array as index": lambda x: np.sum(x[abs(x).astype(int) % 4] * 2.0),
    "equality": lambda x: x[0] * (2.0 if x[0] == x[1] else 5.0),
    "inequality": lambda x: x[0] * (2.0 if x[0] != x[1] else 5.0),
    "while": lambda x: halve(x[0]),
    "argument of range": lambda x: x[0] * len(range(int(abs(x[3] * 10.0)))),
}


def halve(x):
    count = 1.0
    while abs(x) > 0.3:
        x = x * 0.5
        count += 1.0
    return x * count


@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name):
    """A function of the point's own path: values and gradients right wherever it is called."""
    function = BRANCHES[name]
    value_and_grad = nt.value_and_grad(function)
    rng = np.random.default_rng(2)
    points = [X, -X, X[::-1].copy(), np.abs(X) + 0.2, np.full(4, 0.5)]
    points += [rng.uniform(-3.0, 3.0, 4) for _ in range(15)]
    for x in points + points:
        value, gradient = value_and_grad(x)
        assert value == function(x)
        # Each path is smooth: differences of a tape at this very point see one path only.
        flat = nt.record(function, x)
        differences = [
            (flat(x + 1e-6 * e) - flat(x - 1e-6 * e)) / 2e-6 if _same_path(flat, x, e) else g
            for e, g in zip(np.eye(4), gradient)
        ]
        np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-6)


def _same_path(tape, x, direction):
    try:
        tape(x + 1e-6 * direction)
        tape(x - 1e-6 * direction)
    except nt.BranchError:
        return False
    return True


def test_a_bare_tape_notices_each_branch():
    for name, function in BRANCHES.items():
        tape = nt.record(function, X)
        assert tape.flat.guards or name == "astype int", name
        assert tape(X) == function(X)


def test_printing_shows_numbers():
    seen = []

    def f(x):
        seen.extend([str(x[0]), f"{x[0]:.3f}", repr(x[0]), str(x)])
        return x[0] * 2.0

    nt.record(f, np.array([1.5, 2.0]))
    assert seen == ["1.5", "1.500", "Traced(1.5)", "[1.5 2. ]"]


def test_shape_queries():
    def f(x):
        assert x.shape == np.shape(x) == (2, 3)
        assert x.ndim == np.ndim(x) == 2
        assert x.size == np.size(x) == 6
        assert len(x) == 2
        assert x.dtype == np.float64
        assert x[0, 0].shape == ()
        assert (x > 0).dtype == bool
        return np.sum(x)

    nt.record(f, np.ones((2, 3)))


def test_truth_of_an_array_is_ambiguous():
    with pytest.raises(ValueError, match=r"ambiguous.*np\.all"):
        nt.record(lambda x: x if x > 0 else -x, np.ones(3))


def test_a_constant_comparison_needs_no_guard():
    def f(x):
        zeros = np.zeros_like(x)
        return x * 2.0 if zeros[0] == 0.0 else x

    x = np.ones(3)
    tape = nt.record(f, x)
    np.testing.assert_array_equal(tape(x * 5.0), x * 10.0)


# Python as people write it around arrays


@dataclasses.dataclass
class Decay:
    amplitude: object
    rate: object

    def __call__(self, t):
        return self.amplitude * np.exp(-self.rate * t)


Pair = collections.namedtuple("Pair", "first second")


def _fibonacci(x, n):
    return x if n == 0 else x * x if n == 1 else _fibonacci(x, n - 1) + _fibonacci(x, n - 2)


def _squares(x):
    for v in x:
        yield v * v


def _appended(x):
    values = []
    for v in x:
        values.append(v * 2.0)
    return values


def _filled(x):
    y = np.empty_like(x)
    y.fill(x[0])
    return y


PYTHON = {
    "dataclass": lambda x: Decay(x[0], x[1])(np.arange(3.0)),
    "dataclasses.replace": lambda x: dataclasses.replace(Decay(x[0], x[1]), rate=x[2])(1.0),
    "namedtuple": lambda x: Pair(x[0], x[1]).first * 2.0,
    "nested containers": lambda x: (lambda d: d["a"][0] * d["b"]["c"])(
        {"a": [x[0]], "b": {"c": x[1]}}
    ),
    "list comprehension": lambda x: np.array([v**2 for v in x]),
    "list of rows": lambda x: np.array([row * 2.0 for row in x.reshape(2, 2)]),
    "list of arrays": lambda x: np.array([x, x * 2.0]),
    "lists with numbers": lambda x: np.array([[x[0], 1.0], [x[1], x[2]]]) * 2.0,
    "comprehension of comprehensions": lambda x: np.array(
        [[np.sin(x[i] * x[j]) for i in range(3)] for j in range(3)]
    ),
    "appended": lambda x: np.array(_appended(x)) * x,
    "sum of arrays": lambda x: sum([x, x * 2.0]),
    "sum and mean of a list": lambda x: np.sum([x[0], x[1]]) * np.mean([x[2], x[3]]),
    "var and std of a list": lambda x: np.var([x[0], x[1]]) + np.std(np.array([x[2], x[3]])),
    "reduce": lambda x: functools.reduce(operator.mul, x),
    "accumulate": lambda x: list(itertools.accumulate(x)),
    "recursion": lambda x: _fibonacci(x[0], 6),
    "generator": lambda x: sum(_squares(x)),
    "array of a generator": lambda x: np.array(list(_squares(x))) * 2.0,
    "format": lambda x: x * len(f"{x[0]:.2f} {x[1]!r} {x}"[:3]),
    "deepcopy of an object": lambda x: copy.deepcopy(Decay(x[0], x[1]))(2.0),
    "deepcopy of a dict": lambda x: copy.deepcopy({"x": x})["x"] * 2.0,
    "vectorize": lambda x: np.vectorize(lambda v: v * v if v > 0.0 else v)(x),
    "vectorize with a signature": lambda x: np.vectorize(lambda v: v.sum(), signature="(n)->()")(
        x.reshape(2, 2)
    ),
    "asarray": lambda x: np.sin(np.asarray(x)) * 2.0,
    "asarray and methods": lambda x: np.asarray(x).reshape(2, 2).T.sum(axis=0) * 2.0,
    "asarray and mean": lambda x: np.mean(np.asarray(x).reshape(2, 2), axis=0) * 2.0,
    "array copies": lambda x: np.array(x) * 2.0,
    "norm of asarray": lambda x: np.sqrt(np.asarray(x) @ np.asarray(x)),
    "r_": lambda x: np.r_[x, 1.0, x[0], 0:2] * 2.0,
    "c_": lambda x: np.c_[x, x * x],
    "mgrid": lambda x: np.mgrid[0:2, 0:2].sum(0) * x.reshape(2, 2),
    "sliding windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 3).sum(-1),
    "ndenumerate": lambda x: sum(i[0] * v for i, v in np.ndenumerate(x)),
    "ndindex": lambda x: sum(x[i] for i in np.ndindex(x.shape)),
    "flat": lambda x: sum(v * v for v in x.reshape(2, 2).flat),
    "sorted": lambda x: [v * 2.0 for v in sorted(x, key=abs)],
    "min with key": lambda x: max(x) - min(x, key=lambda v: -v),
    "round to digits": lambda x: round(x[0], 2) + x[0],
    "abs, pow, divmod": lambda x: abs(x[0]) + pow(x[1], 2) + divmod(x[2], 0.3)[1],
    "Real": lambda x: x * 2.0 if isinstance(x[0], numbers.Real) else x,
    "itemgetter": lambda x: operator.itemgetter(2)(x) * 2.0,
    "bisect": lambda x: bisect.bisect([-1.0, 0.0, 1.0], x[0]) * x,
    "dtype": lambda x: np.zeros(4, dtype=x.dtype) + x * (x[0].dtype == np.float64),
    "fill": lambda x: _filled(x) * 2.0,
    "methods of scalars": lambda x: x[0].sum() + x[1].mean() + x[2].max() + x[3].astype(float),
    "object array": lambda x: np.stack(list(np.frompyfunc(lambda v: v * v, 1, 1)(x))),
    "full of a scalar": lambda x: np.full((2, 2), x[0]) * 2.0,
    "polynomial": lambda x: np.polynomial.polynomial.polyval(x, [1.0, 2.0, 3.0]),
    "polynomial, traced coefficients": lambda x: np.polynomial.polynomial.polyval(0.5, x),
    "Polynomial": lambda x: np.polynomial.Polynomial([1.0, 2.0, 3.0])(x),
    "Chebyshev": lambda x: np.polynomial.Chebyshev([1.0, 2.0, 3.0])(x),
    "chebval": lambda x: np.polynomial.chebyshev.chebval(x, [1.0, 2.0, 3.0]),
    "legval": lambda x: np.polynomial.legendre.legval(x, [1.0, 2.0, 3.0]),
    "hermval": lambda x: np.polynomial.hermite.hermval(x, [1.0, 2.0, 3.0]),
    "lagval": lambda x: np.polynomial.laguerre.lagval(x, [1.0, 2.0, 3.0]),
    "poly1d": lambda x: np.poly1d([1.0, 2.0, 3.0])(x),
}


@pytest.mark.parametrize("name", PYTHON)
def test_python(name):
    function = PYTHON[name]
    for x in (X, X * 1.7 - 0.3):
        actual, _ = flatten(nt.record(function, x)(x))
        expected, _ = flatten(function(x.copy()))
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14)

    def as_floats(x):  # NumPy makes object arrays of some of these
        leaves, _ = flatten(function(x))
        return [np.multiply(1.0, leaf) for leaf in leaves]

    if name != "object array":
        nt.check_derivatives(as_floats, X)


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (lambda x: np.float32(x[0]), "stop_gradient"),
        (without_source(lambda x: np.asarray(x, float)), "into a file"),
        (lambda x: np.arange(x[0]), "np.linspace"),
        (lambda x: np.arange(np.argmax(x)), "np.arange(int(n))"),
        (lambda x: x.tobytes(), "Keep the values"),
        (lambda x: x.view(np.int64), "x.astype(float)"),
        (lambda x: np.savetxt("f", x), "what the function returns"),
        (lambda x: np.roots(x), "Newton"),
        (lambda x: np.histogram_bin_edges(x), "np.histogram"),
    ],
)
def test_refused_with_a_remedy(function, remedy):
    with pytest.raises(nt.TraceError) as caught:
        nt.record(function, X)
    assert remedy in str(caught.value)
