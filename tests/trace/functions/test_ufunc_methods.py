"""Methods and options of ufuncs: reduce, accumulate, reduceat, outer, at, out= and where=."""

import numpy as np
import pytest
from checks import assert_replays, without_source

import numtape as nt

BINARY = [
    *("add", "multiply", "maximum", "minimum", "subtract", "divide", "logaddexp", "hypot"),
    *("fmax", "fmin"),
]


def _points(shape):
    rng = np.random.default_rng(7)
    return [(rng.uniform(0.3, 1.7, shape),) for _ in range(2)]


@pytest.mark.parametrize("name", BINARY)
def test_reduce(name):
    ufunc = getattr(np, name)
    functions = [lambda x: ufunc.reduce(x), lambda x: ufunc.reduce(x, axis=1, keepdims=True)]
    if name not in ("subtract", "divide"):
        functions.append(lambda x: ufunc.reduce(x, axis=(0, 1)))
        functions.append(lambda x: ufunc.reduce(x[:1], axis=0, initial=0.5))
    for function in functions:
        assert_replays(function, *_points((3, 4)))
        nt.check_derivatives(function, *_points((3, 4))[0])


@pytest.mark.parametrize("name", BINARY)
def test_accumulate(name):
    ufunc = getattr(np, name)
    for function in (lambda x: ufunc.accumulate(x), lambda x: ufunc.accumulate(x, axis=1)):
        assert_replays(function, *_points((3, 4)))
        nt.check_derivatives(function, *_points((3, 4))[0])


@pytest.mark.parametrize("name", BINARY)
def test_outer(name):
    ufunc = getattr(np, name)

    def function(x):
        return ufunc.outer(x[0], x[:2])

    assert_replays(function, *_points((3, 4)))


@pytest.mark.parametrize("name", ["add", "multiply", "maximum"])
def test_reduceat(name):
    ufunc = getattr(np, name)
    for x, *_ in _points((3, 12)):
        for function in (
            lambda x: ufunc.reduceat(x[0], [0, 4, 1, 5]),
            lambda x: ufunc.reduceat(x, [0, 2], axis=1),
        ):
            np.testing.assert_allclose(nt.record(function, x)(x), function(x), rtol=1e-14)
            nt.check_derivatives(function, x)


@pytest.mark.parametrize("name", [*BINARY, "power"])
def test_at(name):
    ufunc = getattr(np, name)

    def function(x):
        y = x * 1.0
        ufunc.at(y, [0, 2, 2, 5, 2], x[:5])
        return y

    assert_replays(function, *_points((12,)))
    nt.check_derivatives(function, *_points((12,))[0])


def test_at_of_one_operand_and_of_rows():
    def function(x):
        y = x * 1.0
        np.negative.at(y, (slice(None), [0, 3]))
        np.add.at(y, (np.array([0, 0, 1]), slice(1, 3)), x[:, :2])
        np.subtract.at(y, [1, 1], 2.0)
        return y

    assert_replays(function, *_points((3, 4)))
    nt.check_derivatives(function, *_points((3, 4))[0])


def _into(fill):
    def function(x):
        y = np.zeros_like(x)
        result = fill(x, y)
        assert result is y
        return y

    return function


@pytest.mark.parametrize(
    "fill",
    [
        lambda x, y: np.sin(x, out=y),
        lambda x, y: np.add(x, x[0], y),
        lambda x, y: np.add(x, x[0], out=(y,)),
        lambda x, y: np.add(np.ones(4), np.ones(4), out=y),
        lambda x, y: np.sqrt(x, out=y, where=x > 1.0),
        lambda x, y: np.sqrt(x, out=y, where=[True, False, True, False]),
        lambda x, y: np.cumsum(x, axis=0, out=y),
        lambda x, y: np.clip(x, 0.5, 1.0, out=y),
        lambda x, y: np.matmul(x, np.ones((4, 4)), out=y),
        lambda x, y: x.clip(0.5, 1.0, out=y),
        lambda x, y: np.add.accumulate(x, out=y),
        lambda x, y: np.concatenate([x[1:], x[:1]], out=y),
    ],
)
def test_out(fill):
    assert_replays(_into(fill), *_points((3, 4)))


def test_two_outputs():
    def function(x):
        quotient, rest = np.zeros_like(x), np.zeros_like(x)
        np.divmod(x, 0.4, out=(quotient, rest))
        return quotient, rest

    assert_replays(function, *_points((12,)))


def test_out_must_fit():
    x = np.ones(3)
    with pytest.raises(ValueError, match="shape"):
        nt.record(lambda x: np.add(x, 1.0, out=np.zeros(2, like=x)), x)
    for function in map(
        without_source,
        (
            lambda x: np.sum(x, out=np.zeros(())),
            lambda x: np.add(x, 1.0, out=np.zeros(3)),
            lambda x: np.add.at(np.zeros(3), [0], x[:1]),
        ),
    ):
        with pytest.raises(nt.TraceError, match="plain array"):
            nt.record(function, x)


def test_where_without_out():
    with pytest.raises(nt.UnsupportedError, match=r"np\.where"):
        nt.record(lambda x: np.sqrt(x, where=x > 0.0), np.ones(3))


def test_reduce_of_nothing():
    with pytest.raises(ValueError, match="initial="):
        nt.record(lambda x: np.hypot.reduce(x[:0]) + x, np.ones(3))
    with pytest.raises(ValueError, match="initial="):
        nt.record(lambda x: np.max(x[:0]) + x, np.ones(3))
    with pytest.raises(ValueError, match="initial="):
        nt.record(lambda x: np.max(x, where=x > 0.0), np.ones(3))
