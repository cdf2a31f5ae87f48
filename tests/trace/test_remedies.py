"""What works where a mask, an index or an option alone is traced; and errors whose remedy works."""

import decimal
import math
from fractions import Fraction

import numpy as np
import pytest
from checks import without_source

import numtape as nt

X = np.array([0.3, 1.2, -0.7, 2.2, 0.9])
Y = np.array([-1.3, 0.2, 1.7, 3.2, -0.1])
PLAIN = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def _into(out, function):
    function(out)
    return out


WORKING = {
    "delete at a place": lambda x: np.delete(x, np.argmax(x)),
    "delete at places": lambda x: np.delete(x, [np.argmax(x), np.argmin(x)]),
    "delete from plain": lambda x: np.delete(PLAIN, np.argmax(x)) * x[0],
    "insert at a place": lambda x: np.insert(x, np.argmax(x), 7.0),
    "insert traced into plain": lambda x: np.insert(PLAIN, np.argmax(x), x[0]),
    "roll by a place": lambda x: np.roll(x, np.argmax(x)),
    "repeat as often": lambda x: np.repeat(PLAIN, np.argsort(x)) * x[0],
    "mean of plain": lambda x: np.mean(PLAIN, where=x > 0) * x[0],
    "sum of plain": lambda x: np.sum(PLAIN, where=x > 0) * x[0],
    "prod of plain": lambda x: np.prod(PLAIN, where=x > 0) * x[0],
    "std of plain": lambda x: np.std(PLAIN, where=x > 0) * x[0],
    "any of plain": lambda x: np.any(PLAIN > 3, where=x > 0) * x[0],
    "max of plain": lambda x: np.max(PLAIN, initial=0.0, where=x > 0) * x[0],
    "nansum of plain": lambda x: np.nansum(PLAIN, where=x > 0) * x[0],
    "add.reduce": lambda x: np.add.reduce(PLAIN, where=x > 0) * x[0],
    "maximum.reduce": lambda x: np.maximum.reduce(PLAIN, initial=0.0, where=x > 0) * x[0],
    "method sum": lambda x: PLAIN.sum(where=x > 0) * x[0],
    "method mean": lambda x: PLAIN.mean(where=x > 0) * x[0],
    "method std": lambda x: np.arange(5.0).std(where=x > 0) * x[0],
    "method var": lambda x: PLAIN.var(where=x > 0, ddof=1) * x[0],
    "method max": lambda x: PLAIN.max(initial=0.0, where=x > 0) * x[0],
    "method any": lambda x: (PLAIN > 3).any(where=x > 0) * x[0],
    "method, axis": lambda x: np.outer(PLAIN, PLAIN).mean(axis=1, where=x > 0) * x,
    "out= of plain": lambda x: (
        _into(np.zeros(5), lambda y: np.sqrt(PLAIN, out=y, where=x > 0)) * x[0]
    ),
    "out= of plain, traced places": lambda x: (
        _into(np.zeros(5, int), lambda y: np.add(np.argsort(x), 1, out=y)) * x
    ),
    "out= of traced": lambda x: (
        _into(np.zeros_like(x), lambda y: np.log(x, out=y, where=x > 0)) + 0.0 * x
    ),
    "copyto, where": lambda x: _into(PLAIN.copy(), lambda y: np.copyto(y, 7, where=x > 0)) * x,
    "put places": lambda x: _into(np.zeros(5), lambda y: np.put(y, [0, 1], np.argsort(x)[:2])) * x,
    "mask of a list": lambda x: np.sum(x[np.array([v > 0 for v in x])]),
    "mask of plain": lambda x: np.sum(PLAIN[np.array([v > 0 for v in x])]) * x[0],
    "places in a list": lambda x: PLAIN[[np.argmax(x), np.argmin(x)]] * x[:2],
    "places in an array": lambda x: PLAIN[np.array([np.argmax(x), np.argmin(x)])] * x[:2],
    "bools in a list": lambda x: np.sum([v > 0 for v in x]) * x,
    "mean of bools in a list": lambda x: np.array([v > 0 for v in x]).mean() * x,
    "axis": lambda x: np.sum(np.outer(x, x), axis=np.argmax(x) % 2),
    "hypot of objects": lambda x: np.stack(list(np.hypot(np.array([x[0], x[1]]), 2.0))),
    "arctan2 of objects": lambda x: np.stack(list(np.arctan2(np.array([x[0], x[1]]), x[2]))),
    "fmod of objects": lambda x: np.stack(list(np.fmod(np.array([x[0], x[1]]), 0.5))),
    "a fraction": lambda x: x * Fraction(1, 3) + Fraction(1, 7) - x[0] / Fraction(2, 3),
    "a fraction before": lambda x: Fraction(1, 3) * x[0] - Fraction(1, 3) * x,
    "powers with fractions": lambda x: Fraction(3, 2) ** x[1] + abs(x[1]) ** Fraction(1, 2),
    "sum from a fraction": lambda x: sum(x, Fraction(1, 2)),
    "an integer overflows": lambda x: (np.argsort(x) + 2**62) * 3 * x,
    "bits": lambda x: (np.argsort(x) & 3 | 4) * x,
    "shifts": lambda x: (np.argsort(x) << 2 >> 1) * x,
    "small integers": lambda x: (np.argsort(x) * 100).astype(np.int8) * x,
    "gcd": lambda x: np.gcd(np.argsort(x), 6) * x,
    "in place, masks": lambda x: _into(x > 0, lambda mask: mask.__iand__(x < 1)) * x,
}


@pytest.mark.parametrize("name", WORKING)
def test_works(name):
    """Values are NumPy's at every point, on one path or another; derivatives are right."""
    function = WORKING[name]

    def total(x):
        value = function(x)
        return np.sum(1.0 * np.asarray(value, float) if isinstance(x, np.ndarray) else 1.0 * value)

    gradient = nt.value_and_grad(total)
    for point in (X, Y, X[::-1].copy(), X):
        value, slope = gradient(point)
        np.testing.assert_allclose(value, total(point), rtol=1e-13)
        steps = np.eye(5) * 1e-6
        differences = [(total(point + step) - total(point - step)) / 2e-6 for step in steps]
        np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6)


BUFFER = np.zeros(5)


def _fill(buffer, x):
    buffer[0] = x[0]
    return buffer.sum()


def _in_place(change):
    def function(x):
        y = np.argsort(x)
        return np.sum(change(y) * x)

    return function


def _half(y):
    y += 0.5
    return y


# What is refused, a part of the remedy, and the program with the remedy followed.
REMEDIES = {
    "a buffer of outside": (
        lambda x: _fill(BUFFER, x),
        "y.copy()",
        lambda x: _fill(BUFFER.copy(), x),
    ),
    "a buffer without source": (
        without_source(_fill, np.zeros(5)),
        "np.zeros(n, like=x)",
        lambda x: _fill(np.zeros(5, like=x), x),
    ),
    "out= of outside": (
        lambda x: np.sqrt(np.abs(x), out=BUFFER),
        "y.copy()",
        lambda x: np.sqrt(np.abs(x), out=BUFFER.copy()),
    ),
    "initial": (
        lambda x: np.max(PLAIN[:2], initial=x[3]),
        "np.maximum(np.max(y), x)",
        lambda x: np.maximum(np.max(PLAIN[:2]), x[3]),
    ),
    "math without source": (
        without_source(lambda _, x: math.sqrt(x[1]), None),
        "np.sin(x)",
        lambda x: np.sqrt(x[1]),
    ),
    "Decimal": (
        lambda x: x[0] if x[0] < decimal.Decimal("0.5") else x[1],
        "float(y)",
        lambda x: x[0] if x[0] < float(decimal.Decimal("0.5")) else x[1],
    ),
    "a fraction compared": (
        lambda x: x[0] if x[0] < Fraction(1, 2) else x[1],
        "float(y)",
        lambda x: x[0] if x[0] < float(Fraction(1, 2)) else x[1],
    ),
    "difference of masks": (
        lambda x: np.sum(((x > 0) ^ ((x > 1) - (x > 2))) * x),
        "np.logical_xor(a, b)",
        lambda x: np.sum(((x > 0) ^ np.logical_xor(x > 1, x > 2)) * x),
    ),
    "root of a mask": (
        lambda x: np.sum(np.sqrt(x > 0) * x),
        "1.0 * mask",
        lambda x: np.sum(np.sqrt(1.0 * (x > 0)) * x),
    ),
    "floats into integers": (
        _in_place(_half),
        "y.astype(float64) before",
        _in_place(lambda y: _half(y.astype("float64"))),
    ),
    "infinite integer": (
        lambda x: np.sum((x / 0.0).astype(int)) + x[0],
        "np.clip(x, low, high)",
        lambda x: np.sum(np.clip(x / 0.0, -9, 9).astype(int)) + x[0],
    ),
    "choose by floats": (
        lambda x: np.sum(np.choose(np.floor(np.abs(x)), [x, 2.0 * x, 3.0 * x])),
        "a.astype(int)",
        lambda x: np.sum(np.choose(np.floor(np.abs(x)).astype(int), [x, 2.0 * x, 3.0 * x])),
    ),
    "histogram of masks": (
        lambda x: np.sum(np.histogram(PLAIN, [0, 3, 9], weights=x > 0)[0]) * x[0],
        "1 * weights",
        lambda x: np.sum(np.histogram(PLAIN, [0, 3, 9], weights=1 * (x > 0))[0]) * x[0],
    ),
    "longdouble": (
        lambda x: np.sum(x * np.ones(5, np.longdouble)),
        "y.astype(float)",
        lambda x: np.sum(x * np.ones(5, np.longdouble).astype(float)),
    ),
}


@pytest.mark.parametrize("name", REMEDIES)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_remedies(name):
    """The error names a remedy, and with it the program works and gives NumPy's value."""
    refused, remedy, remedied = REMEDIES[name]
    with pytest.raises(nt.TraceError) as caught:
        nt.record(refused, X)
    assert remedy in str(caught.value)
    np.testing.assert_allclose(nt.record(remedied, X)(X), remedied(X), rtol=1e-13)


def test_a_set_as_an_argument():
    with pytest.raises(nt.InputError, match="Make it a list"):
        nt.grad(lambda s: sum(s))({1.5, 2.5})
    assert nt.grad(lambda s: sum(s))([1.5, 2.5]) == [1.0, 1.0]
    second = nt.grad(lambda s, x: sum(s) * x, argnums=1)
    with pytest.raises(nt.InputError, match="tuple"):
        second({1.5, 2.5}, 2.0)
    assert second((1.5, 2.5), 2.0) == 4.0


def test_integers_are_exact_or_other_paths():
    """Where an integer passes 2**53 at a later point, NumPy's own arithmetic is recorded."""

    def function(x):
        n = np.floor(x).astype(int)
        return (n * n * n + 1) % 1000 * 1.0

    value = nt.vmap(function)
    points = np.array([3.0, 1e4 + 0.5, 208_064.0, 208_065.0, 3e6, 1e9, -1e12])
    np.testing.assert_array_equal(value(points), function(points))
    tape = nt.record(function, 3.0)
    with pytest.raises(nt.BranchError):
        tape(1e9)


def test_counts_need_no_guards():
    """What is known to be small is recorded without a guard: one path for all points."""

    def function(x):
        order = np.argsort(x)
        count = np.sum(x > 0) + 2 * np.count_nonzero(x > 1) - np.argmax(x)
        return np.sum(x * (order * 3 + 1)) * count + ((x > 0) @ (x < 1)) * np.sum(order * order)

    tape = nt.record(function, X)
    assert not tape.flat.guards
    np.testing.assert_allclose(tape(Y), function(Y), rtol=1e-13)


def test_masks_of_matrices_are_logical():
    a, b = X[:, None] > X[None], X[:, None] < Y[None]

    def function(x):
        return np.sum(((x[:, None] > x[None]) @ (x[:, None] < Y[None])) * 1.0) + 0.0 * x[0]

    assert nt.record(function, X)(X) == np.sum(1.0 * (a @ b))


def test_bincount_of_negative_numbers_raises_as_numpy_does():
    def function(x):
        try:
            return np.bincount(np.floor(x).astype(int)).sum() * x[0]
        except ValueError:
            return -x[0]

    gradient = nt.value_and_grad(function)
    for point in (np.abs(X), X, np.abs(Y), Y, np.abs(X)):
        assert gradient(point)[0] == function(point)


def test_floats_are_rounded_as_their_kind_does_it():
    """Python rounds the exact value, NumPy the product with a power of ten."""
    rng = np.random.default_rng(7)
    numbers = [0.35, 0.25, 2.675, -0.05, -0.04, 1e300, 5e-324, 498755946359.96484]
    numbers += [float(number) for number in rng.uniform(-99.0, 99.0, 20)]
    numbers += [(2.0 * float(k) + 1.0) / 200.0 for k in rng.integers(-999, 999, 20)]
    for digits in (-2, -1, 0, 1, 2, 5):
        tape = nt.record(lambda x, digits=digits: round(x, digits), 0.1)
        of_array = nt.record(lambda x, digits=digits: round(x[0], digits), np.array([0.1]))
        for number in numbers:
            assert tape(number) == round(number, digits), (number, digits)
            expected = round(np.float64(number), digits)
            assert of_array(np.array([number])) == expected, (number, digits)
