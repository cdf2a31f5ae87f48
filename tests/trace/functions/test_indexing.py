"""Indices that are traced integers: found during the run, guarded where a plain one is needed."""

import numpy as np
import pytest
from checks import derivatives_every_way, without_source

import numtape as nt

W = np.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5])
W23 = W.reshape(2, 3)
W32 = W.reshape(3, 2)

# Functions of six numbers; one recording serves every ordering of them.
DURING_THE_RUN = {
    "rows by a column": lambda x: (lambda m: m[np.argsort(m[:, 0])] * W32)(x.reshape(3, 2)),
    "columns": lambda x: x.reshape(2, 3)[:, np.argsort(x[:3])] * W23,
    "two arrays": lambda x: x.reshape(2, 3)[np.argsort(x[:2]), np.argsort(x[:2])] * W[:2],
    "number and array": lambda x: x.reshape(2, 3)[1, np.argsort(x[:3])] * W[:3],
    "array and number": lambda x: x.reshape(2, 3)[np.argsort(x[:2]), 1] * W[:2],
    "array and list": lambda x: x.reshape(2, 3)[np.argsort(x[:2]), [0, 2]] * W[:2],
    "array and None": lambda x: x[np.argsort(x), None] * W[:, None],
    "None and array": lambda x: x[None, np.argsort(x)] * W,
    "ellipsis and array": lambda x: x.reshape(1, 2, 3)[..., np.argsort(x[:3])] * W[:3],
    "array and ellipsis": lambda x: x.reshape(3, 1, 2)[np.argsort(x[:3]), ...] * W32[:, None],
    "scalar": lambda x: x[np.argmax(x)] * W,
    "scalar of rows": lambda x: x.reshape(3, 2)[np.argmax(x[:3])] * W[:2],
    "scalar and slice": lambda x: x.reshape(3, 2)[np.argmax(x[:3]), ::-1] * W[:2],
    "two scalars": lambda x: x.reshape(3, 2)[np.argmax(x[:3]), np.argmin(x[:2])] * W,
    "slice and scalar": lambda x: x.reshape(3, 2)[:, np.argmax(x[:2])] * W[:3],
    "apart": lambda x: x.reshape(2, 1, 3)[np.argsort(x[:2]), :, np.argmax(x[:3])] * W[:2, None],
    "list, slice, scalar": lambda x: x.reshape(2, 1, 3)[[0, 1], :, np.argmax(x[:3])] * W[0],
    "array of rank 2": lambda x: x[np.argsort(x.reshape(2, 3), axis=1)] * W23,
    "mask and scalar": lambda x: x.reshape(2, 3)[np.array([True, False]), np.argmax(x[:3])] * W,
    "negative": lambda x: x[np.argsort(x) - 6] * W,
    "negative in a matrix": lambda x: x.reshape(2, 3)[np.argsort(x[:2]) - 2, 1] * W[:2],
    "arithmetic": lambda x: x[(np.argsort(x) * 2 + 1) // 2 % 6] * W,
    "one by one": lambda x: sum(x[i] * W[k] for k, i in enumerate(np.argsort(x))),
    "the three largest": lambda x: x[np.argsort(-x)[:3]] * W[:3],
    "ranks": lambda x: x[np.argsort(np.argsort(x))] * W,
    "sorted places": lambda x: np.sort(np.argsort(x)[:3]) * x[:3],
    "nearest": lambda x: np.sort(np.abs(x[:, None] - x[None]), axis=1)[:, 1:3] * W32[0],
    "table of traced": lambda x: (
        (x * W)[np.clip(np.floor(np.abs(x)).astype(int), 0, 5)] * np.abs(x)
    ),
    "take from plain": lambda x: np.asarray(W, like=x)[np.argsort(x)] * x,
    "quotient": lambda x: (np.argmax(x) + 1) / (np.argmin(x) + 2) * x,
    "power": lambda x: 2.0 ** np.argmax(x) * x,
    "assign a scalar": lambda x: _assigned(x, np.argmax(x), 3.0 * x[0]),
    "assign all": lambda x: _assigned(x, np.argsort(x), x * W),
    "assign some": lambda x: _assigned(x, np.argsort(x)[1:4], x[:3] * W[:3]),
    "assign rows": lambda x: _assigned(
        x.reshape(3, 2), (np.argsort(x[:3]), slice(None)), x.reshape(3, 2) * W32
    ),
    "assign a row": lambda x: _assigned(x.reshape(3, 2), np.argmax(x[:3]), x[:2] * W[:2]),
    "assign a column": lambda x: _assigned(
        x.reshape(3, 2), (slice(None), np.argmax(x[:2])), x[:3] * W[:3]
    ),
    "assign an element": lambda x: _assigned(
        x.reshape(3, 2), (np.argmax(x[:3]) - 3, np.argmin(x[:2])), x[0] ** 2
    ),
    "assign a part of a row": lambda x: _assigned(
        x.reshape(2, 1, 3), (np.argmax(x[:2]), Ellipsis, slice(1, None)), x[0] ** 2
    ),
    "assign with an axis more": lambda x: _assigned(
        x.reshape(3, 2), (None, np.argmax(x[:3])), x[None, :2] * W[0]
    ),
    "assign along the last axis": lambda x: _assigned(
        x.reshape(2, 1, 3), (0, slice(None), np.argmin(x[:3])), x[:1] ** 2
    ),
    "add to a row": lambda x: _increased(x.reshape(3, 2), np.argmax(x[:3]), x[:2] * W[:2]),
    "add to an element": lambda x: _increased(
        x.reshape(3, 2), (np.argmax(x[:3]), np.argmin(x[:2])), x[0] ** 2
    ),
    "add.at": lambda x: _added(x, np.argsort(x), x * W),
    "add.at, some twice": lambda x: _added(x, np.argsort(x) // 2, x * W),
    "bincount": lambda x: np.bincount(np.argsort(x) // 2, x * W, minlength=6),
}


def _assigned(x, key, value):
    y = 2.0 * x
    y[key] = value
    return y


def _increased(x, key, value):
    y = 2.0 * x
    y[key] += value
    return y


def _added(x, key, value):
    y = 2.0 * x
    np.add.at(y, key, value)
    return y


# These need a plain integer: every other one makes another recording.
GUARDED = {
    "plain array": lambda x: W[np.argsort(x)] * x,
    "plain matrix": lambda x: np.eye(6)[np.argsort(x), :] @ x,
    "np.take of a plain array": lambda x: np.take(W, np.argsort(x)) * x,
    "list": lambda x: W.tolist()[np.argmax(x)] * x,
    "slice": lambda x: np.sum(x[np.argmax(x) :] ** 2) * x,
    "range": lambda x: sum(x[k] * k for k in range(np.argmax(x) + 1)) * x,
    "dict": lambda x: dict(enumerate(W))[np.argmax(x)] * x,
    "float without source": without_source(lambda x: float(np.argmax(x)) * x),
    "branch": lambda x: x * 2.0 if np.argmax(x) == 3 else x * 3.0,
    "truth": lambda x: x * 2.0 if np.argmax(x) else x * 3.0,
    "size": lambda x: np.eye(np.argmax(x) + 1).sum() * x,
    "asarray without source": without_source(lambda x: np.asarray(np.argsort(x)) * x),
    "mask of a plain array": lambda x: W[x > 0.0].sum() * x,
    "rows of a plain matrix": lambda x: np.eye(6)[x > 0.0].sum(axis=0) * x,
    "asarray of a mask without source": without_source(lambda x: np.asarray(x > 0.0) * x),
    "assigned twice": lambda x: _assigned(x, np.argsort(x)[[0, 1, 1]], x[:3]),
}


def _points(count):
    rng = np.random.default_rng(3)
    return [rng.uniform(-3.0, 3.0, 6) for _ in range(count)]


@pytest.mark.parametrize("name", DURING_THE_RUN)
def test_during_the_run(name):
    function = DURING_THE_RUN[name]
    first, *others = _points(8)
    tape = nt.record(function, first)
    for x in [first, *others]:
        np.testing.assert_allclose(tape(x), function(x), rtol=1e-13)
    nt.check_derivatives(function, first, step=1e-5)
    for derivative in derivatives_every_way(function, first):
        np.testing.assert_allclose(derivative, tape.jacobian(first).reshape(derivative.shape))


@pytest.mark.parametrize("name", GUARDED)
def test_guarded(name):
    function = GUARDED[name]
    jacobian = nt.jacobian(function)
    for x in _points(4):
        assert nt.record(function, x).flat.guards
        steps = [(function(x + 1e-6 * e) - function(x - 1e-6 * e)) / 2e-6 for e in np.eye(6)]
        np.testing.assert_allclose(jacobian(x), np.array(steps).T, rtol=1e-6, atol=1e-6)


def test_second_derivatives():
    def function(x):
        return np.sum(np.sort(np.sin(x))[1:4] * x[np.argsort(x)][2:5])

    for x in _points(3):
        nt.check_derivatives(nt.grad(function), x, step=1e-4)


def test_outside():
    """An index that leaves the array is noticed, at the recording point and at others."""

    def function(x):
        return x[np.floor(x[0]).astype(int)] * 2.0

    tape = nt.record(function, np.array([1.5, 2.0, 3.0]))
    assert tape(np.array([2.5, 7.0, 8.0])) == 16.0
    with pytest.raises(nt.BranchError):
        tape(np.array([3.5, 7.0, 8.0]))
    gradient = nt.grad(function)
    np.testing.assert_array_equal(gradient(np.array([-1.0, 7.0, 8.0])), [0.0, 0.0, 2.0])
    with pytest.raises(IndexError, match="out of bounds for axis 0 with 3"):
        gradient(np.array([3.5, 7.0, 8.0]))
    with pytest.raises(nt.BranchError):
        tape(np.array([np.nan, 7.0, 8.0]))


def test_outside_of_each_axis():
    def function(x):
        places = np.floor(x[:2]).astype(int)
        return x.reshape(2, 3)[places[0], places[1]]

    tape = nt.record(function, np.array([1.0, 2.0, 0.1, 0.2, 0.3, 0.4]))
    assert tape(np.array([0.0, 2.0, 5.0, 0.2, 0.3, 0.4])) == 5.0
    with pytest.raises(nt.BranchError):
        tape(np.array([2.0, 0.0, 0.1, 0.2, 0.3, 0.4]))  # inside the flat array, outside of axis 0


def test_assigning_twice_is_noticed_at_another_point():
    """What NumPy assigns last stands; where that matters, the places are guarded."""

    def function(x):
        return _assigned(x, np.floor(x[:2]).astype(int), np.array([10.0, 20.0]))

    tape = nt.record(function, np.array([0.0, 1.0, 2.0]))
    with pytest.raises(nt.BranchError):
        tape(np.array([1.0, 1.0, 2.0]))
    jacobian = nt.jacobian(function)
    for x in (np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), np.array([2.0, 0.0, 2.0])):
        expected = np.where(function(x) >= 10.0, 0.0, 2.0)
        np.testing.assert_array_equal(jacobian(x), np.diag(expected))


def test_integers_of_an_outer_recording():
    """A place found outside indexes an array of an inner derivative."""

    def outer(x):
        best = np.argmax(x)
        return np.sum(nt.grad(lambda y: y[best] ** 3 * x[best])(x * 2.0))

    for x in _points(3):
        # d/dx of 3 * (2 x)**2 * x at the largest
        np.testing.assert_allclose(nt.grad(outer)(x), np.where(x == x.max(), 36.0 * x**2, 0.0))


def test_integers_that_numpy_rounds_to_zero():
    """A division of integers by 0 gives 0 in NumPy, and so it does on the tape."""

    def function(x):
        return (7 // np.floor(x).astype(int) + 7 % np.floor(x).astype(int)) * x

    tape = nt.record(function, np.array([1.5, 2.5]))
    for point in (np.array([3.5, 1.5]), np.array([0.5, -1.5])):
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(tape(point), function(point))
    tape = nt.record(lambda x: np.reciprocal(np.argsort(x) + 1) * x, np.array([0.5, 1.5]))
    np.testing.assert_array_equal(tape(np.array([0.5, 2.5])), [0.5, 0.0])


def test_integers_print_and_hash_like_integers():
    def function(x):
        place = np.argmax(x)
        assert f"{place} {place:03d} {place!r}" == f"2 002 {np.int64(2)!r}"
        assert place.dtype == np.int64
        assert {2: 5.0}[place] == 5.0
        assert repr(np.argsort(x)) == "array([0, 1, 2])"
        assert int(place) == 2
        return x * 1.0

    nt.record(function, np.arange(3.0))


def test_assigning_floats_to_integers_truncates():
    def function(x):
        order = np.argsort(x)
        order[0] = 1.7 * x[1]
        mask = x > 0.5
        mask[0] = x[1]
        return order * 1.0, mask * 1.0

    x = np.array([0.1, 1.5, 2.0])
    tape = nt.record(function, x)
    for one, other in zip(tape(x), function(x), strict=True):
        np.testing.assert_array_equal(one, other)


def _random_key(rng, shape):
    """Parts of a key: plain ones, and (shape, extent, shift) for one of traced integers."""
    parts, axis, common = [], 0, tuple(rng.integers(1, 3, rng.integers(0, 3)))
    while axis < len(shape):
        kind = rng.choice(["slice", "number", "list", "array", "scalar", "negative", "none", "..."])
        extent = shape[axis]
        if kind == "none":
            parts.append(None)
            continue
        if kind == "...":
            parts.append(Ellipsis)
            break
        axis += 1
        if kind == "slice":
            parts.append(slice(None, None, int(rng.choice([1, -1, 2]))))
        elif kind == "number":
            parts.append(int(rng.integers(0, extent)))
        elif kind == "list":
            parts.append(rng.integers(0, extent, common))
        else:
            own = () if kind == "scalar" else common
            parts.append((own, extent, extent if kind == "negative" else 0))
    return parts


def _key(parts, numbers):
    key, used = [], 0
    for part in parts:
        if isinstance(part, tuple):
            shape, extent, shift = part
            count = int(np.prod(shape, dtype=int))
            places = np.floor(numbers[used : used + count] * extent).astype(int) - shift
            used += count
            part = places.reshape(shape) if shape else places[0]
        key.append(part)
    return tuple(key)


@pytest.mark.parametrize("seed", range(60))
def test_random_keys(seed):
    """Reading and assigning with any mixture of parts, as NumPy does, where recorded and later."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 4, rng.integers(1, 4)))
    parts = _random_key(rng, shape)
    count = sum(int(np.prod(part[0], dtype=int)) for part in parts if isinstance(part, tuple))
    x = rng.normal(size=shape)

    def read(x, numbers):
        return x[_key(parts, numbers)] * 2.0

    def assign(x, numbers):
        y = x * 1.0
        y[_key(parts, numbers)] = 3.0
        return y

    points = [rng.uniform(0.0, 0.999, count) for _ in range(4)]
    for function in (read, assign):
        tape = nt.record(function, x, points[0])
        for numbers in points:
            try:
                np.testing.assert_array_equal(tape(x, numbers), function(x, numbers))
            except nt.BranchError:
                assert function is assign  # a place is met twice
