"""Plain Python on traced values: iteration, unpacking, built-ins, branches and their guards."""

import copy
import functools
import math

import numpy as np
import pytest
from checks import assert_replays

import numtape as nt

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
