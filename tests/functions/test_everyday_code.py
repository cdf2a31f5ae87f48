"""Short programs as users write them, each of which was once silently wrong or refused.

What is right is what the plain call gives, at one point after the other: by `value_and_grad`
in turn, by a batch and by a fresh recording.
"""

import numpy as np
import pytest

import numtape as nt

X = np.array([0.3, 1.2, -0.7, 2.2, 0.9])
PLAIN = np.arange(5.0)
WORDS = {"k0": 1.0, "k1": 2.0, "k2": 3.0, "k3": 4.0, "k4": 5.0}


def caught_conversion(x):
    try:
        return x[0] * int(x[1])
    except (ValueError, OverflowError):
        return -1.0 * x[0]


def caught_index(x):
    try:
        return x[np.searchsorted([0.0, 0.5, 1.0, 1.5, 2.0], x[0])]
    except IndexError:
        return -1.0 * x[1]


def diagonal_by_einsum(x):
    a = np.outer(x, x)
    np.einsum("ii->i", a)[:] += 1.0
    return a.sum()


def same_array(x):
    y = x * 1.0
    z = np.asarray(y)
    y += 1
    return z.sum()


def same_type(x):
    y = x * 1.0
    z = y.astype(float, copy=False)
    z += 1
    return y.sum()


def squeezed(x):
    y = x.copy()
    s = y[:1].squeeze()
    s *= 10
    return y.sum()


def of_rank_0(x):
    y = x.copy()
    s = y[0, ...]
    s *= 10
    return y.sum()


def summed_into_rank_0(x):
    t = np.zeros((), like=x)
    steps = []
    for v in x:
        t += v
        steps.append(t)
    return steps[0] + 0 * steps[1]


def one_assigned(x):
    y = np.array(x)
    y[0] = 1.0
    return y.sum()


def counts_of_masks(x):
    inner = np.inner(x > 0.5, x > 1) * x[2]
    return np.dot(x > 0, x < 1) * x[0] + ((x > 0) @ (x < 1)) * x[1] + inner


PROGRAMS = {
    "a conversion that is caught": caught_conversion,
    "an index that is caught": caught_index,
    "a diagonal by einsum": diagonal_by_einsum,
    "np.asarray": same_array,
    "astype without a copy": same_type,
    "squeeze": squeezed,
    "an array of rank 0": of_rank_0,
    "sums in an array of rank 0": summed_into_rank_0,
    "a copy that is assigned to": one_assigned,
    "a key of text": lambda x: WORDS[f"k{np.argmax(x)}"] * x[0],
    "str": lambda x: x[0] * float(str(np.argmin(x))),
    "percent": lambda x: x[0] * float("%s" % np.argmin(x)),  # noqa: UP031
    "format": lambda x: x[0] * float("{}".format(np.argmin(x))),  # noqa: UP032
    "text of a comparison": lambda x: x[0] * len(str(x[0] > 0)),
    "a number that is shown": lambda x: x[0] + 0 * len("%.3f" % x[0]),  # noqa: UP031
    "counts of masks": counts_of_masks,
    "einsum of masks": lambda x: np.einsum("i,i->", x > 0, x < 1) * x[0],
    "a convolution of masks": lambda x: np.convolve(x > 0, x < 1).sum() * x[0],
    "vdot of masks": lambda x: np.vdot(x > 0, x < 1) * x[0],
    "int8": lambda x: (np.argsort(x) * 100).astype(np.int8).sum() * x[0],
    "uint8": lambda x: (np.argsort(x) * 100).astype(np.uint8).sum() * x[0],
    "int64": lambda x: (np.argmax(x) * 2**61 * 2**2) * x[0],
    "delete": lambda x: np.delete(x, np.argmax(x)).sum(),
    "insert": lambda x: np.insert(x, np.argmax(x), 7.0)[2] * x[0],
    "mean where": lambda x: np.mean(PLAIN, where=x > 0) * x[0],
    "sum where": lambda x: np.sum(PLAIN, where=x > 0) * x[0],
    "reduce where": lambda x: np.add.reduce(PLAIN, where=x > 0) * x[0],
    "max where": lambda x: PLAIN.max(initial=0.0, where=x > 0) * x[0],
    "std where": lambda x: PLAIN.std(where=x > 0) * x[0],
    "a list of comparisons": lambda x: x[np.array([v > 0 for v in x])].sum(),
    "a list of places": lambda x: PLAIN[[np.argmax(x), np.argmin(x)]] @ np.array([1.0, 3.0]) * x[0],
    "a permutation": lambda x: np.random.default_rng(0).permutation(x)[:2].sum(),
}

POINTS = [X, -X, X[::-1].copy(), np.array([5.0, np.nan, 1.0, 0.1, -3.0]), X * 2.0, X]


def _plain(function, x):
    with np.errstate(all="ignore"):
        return function(x.copy())


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_at_one_point_after_the_other(name):
    function = PROGRAMS[name]
    points = POINTS if name.startswith(("a conversion", "an index")) else [*POINTS[:3], X * 2.0, X]
    expected = [_plain(function, x) for x in points]
    pair = nt.value_and_grad(function)
    with np.errstate(all="ignore"):
        for x, value in zip(points, expected):
            np.testing.assert_allclose(pair(x)[0], value, rtol=1e-14)
            np.testing.assert_allclose(nt.record(function, x)(x), value, rtol=1e-14)
        np.testing.assert_allclose(nt.vmap(function)(np.array(points)), expected, rtol=1e-14)
        for x in points[:3]:
            nt.check_derivatives(function, x.copy(), step=1e-4)


def test_the_same_array_twice():
    def function(a, b):
        a += 1
        return np.sum(a * b)

    z = X.copy()
    pair = nt.value_and_grad(function, (0, 1))
    for _ in range(2):
        assert pair(z, z)[0] == pytest.approx(np.sum((X + 1.0) ** 2), rel=1e-15)
        assert pair(z, z.copy())[0] == pytest.approx(np.sum((X + 1.0) * X), rel=1e-15)
    np.testing.assert_array_equal(z, X)


@pytest.mark.parametrize("value", [0.35, 0.25, 2.675, -1.15])
def test_rounding_of_pythons_floats(value):
    found, _ = nt.value_and_grad(lambda t: round(t, 1) * t)(value)
    assert found == round(value, 1) * value


def test_a_root_where_a_mask_is_true():
    def function(x):
        return np.sqrt(PLAIN, out=np.ones(5), where=x > 0).sum() * x[0]

    for x in (X, -X):
        assert nt.value_and_grad(function)(x)[0] == pytest.approx(function(x), rel=1e-15)
