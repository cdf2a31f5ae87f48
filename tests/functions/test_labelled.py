"""Series, frames and labelled arrays: by their values, where the function agrees."""

import numpy as np
import pytest
from labels import Frame, Labelled, Series

import numtape as nt

X = np.array([0.5, 1.5, 2.5])
S = Series(X, "abc", "rates")
FRAME = Frame(np.stack([X, 2.0 * X + 1.0], axis=1), "abc", ["t", "u"])
W = np.array([0.5, -1.0])


def cubes(x):
    return (x**3).sum()


def product(a, b):
    return (a * b).sum()


def misfit(w, x, y):
    return np.sum(np.square(np.asarray(x @ w) - np.asarray(y)))


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def refused(call):
    with pytest.raises(nt.InputError, match=r"Pass x\.") as caught:
        call()
    assert caught.value.code == "labelled-argument"
    return str(caught.value)


def test_gradients_have_the_labels():
    found = nt.grad(cubes)(S)
    assert type(found) is Series
    assert (found.index, found.name) == (["a", "b", "c"], "rates")
    same(found, 3.0 * X**2)
    value, found = nt.value_and_grad(cubes)(S)
    assert type(found) is Series
    same([value, *found.values], [np.sum(X**3), *(3.0 * X**2)])
    found = nt.grad(lambda p: cubes(p["s"]) * p["a"])({"s": S, "a": 2.0})
    assert found["s"].index == S.index
    same([*found["s"].values, found["a"]], [*(6.0 * X**2), np.sum(X**3)])
    (found, aux) = nt.grad(lambda s: (cubes(s), [s.sum(), "text"]), has_aux=True)(S)
    assert (type(found), aux) == (Series, [4.5, "text"])
    assert nt.grad(product)(S, X).index == S.index
    assert type(nt.grad(product, argnums=1)(S, X)) is np.ndarray
    assert nt.grad(lambda v, *, s: (s * v).sum())(2.0, s=S) == 4.5


def test_frames_and_least_squares():
    y = Series([1.0, 2.0, 4.0], "abc")
    matrix = FRAME.to_numpy()
    residual = matrix @ W - y.values
    same(nt.grad(misfit)(W, FRAME, y), 2.0 * matrix.T @ residual)
    by_frame, by_data = nt.grad(misfit, argnums=(1, 2))(W, FRAME, y)
    assert (by_frame.index, by_frame.columns) == (FRAME.index, FRAME.columns)
    same(by_frame, 2.0 * np.outer(residual, W))
    same(by_data, -2.0 * residual)
    exact = Series(matrix @ W, "abc")  # where the residuals are 0, or what is rounded of it
    np.testing.assert_allclose(nt.grad(misfit)(W, FRAME, exact), 0.0, atol=1e-14)


def test_labelled_arrays():
    given = Labelled(np.outer(X, W), ("x", "y"), {"x": [1, 2, 3]})
    found = nt.grad(cubes)(given)
    assert (type(found), found.dims, found.coords) == (Labelled, given.dims, given.coords)
    same(found, 3.0 * given.values**2)
    number = Labelled(2.0, (), {})
    assert nt.grad(lambda a: a**2)(number).values == 4.0


def test_other_derivatives_are_plain():
    same(nt.jacobian(lambda s: s**3)(S), np.diag(3.0 * X**2))
    same(nt.hessian(cubes)(S), np.diag(6.0 * X))
    same(nt.jacobian(nt.grad(cubes))(S), np.diag(6.0 * X))
    same(nt.jvp(cubes, (S,), (S,))[1], np.sum(3.0 * X**3))
    same(nt.vjp(cubes, S)[1](1.0)[0], 3.0 * X**2)
    same(nt.hvp(cubes, (S,), (S,))[0], 6.0 * X**2)
    same(nt.linearize(cubes, S)[1](S), np.sum(3.0 * X**3))
    same(nt.vmap(lambda x: x**3)(S), X**3)
    same(nt.vmap(nt.grad(lambda x: x**3))(S), 3.0 * X**2)
    same(nt.record(cubes, S).gradient(S), 3.0 * X**2)


def test_integers_and_other_floats():
    counts = Series(np.array([1, 2, 3]))
    same(nt.grad(cubes)(counts), [3.0, 12.0, 27.0])
    same(nt.hvp(cubes, (counts,), (counts,))[0], [6.0, 24.0, 54.0])
    same(nt.grad(product)(S, Series(np.array([1, 2, 3]), "abc")), [1.0, 2.0, 3.0])
    short = X.astype(np.float32)
    same(nt.grad(cubes)(Series(short)), 3.0 * short.astype(float) ** 2)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda s: s.std(), (S,)),
        (lambda s: s.std() + s.sum(), (Series(np.ones(3)),)),  # at equal numbers all are 0
        (lambda s: (s.sum(), s.std()), (S,)),
        (lambda s: np.array([1e9 * s.sum(), s.std()]), (S,)),
        (lambda s: np.array([1e-300, np.inf, np.nan, s.std()]) * np.ones(4), (S,)),
        (lambda x: x.mean(), (FRAME,)),
        (product, (S, Series(X, "cba"))),
        (product, (Series(np.ones(3)), Series(np.ones(3), [2, 1, 0]))),
        (lambda s: [s[0], s[2]], (Series(X, [2, 1, 0]),)),
        (lambda s: s[0] * s[2], (S,)),  # raises
        (lambda s: s if type(s) is Series else [s], (S,)),  # another structure
    ],
)
def test_what_the_library_computes_otherwise(function, arguments):
    assert "computes otherwise" in refused(lambda: nt.jacobian(function)(*arguments))
    refused(lambda: nt.record(function, *arguments))
    refused(lambda: nt.vjp(function, *arguments))
    plain = tuple(each.to_numpy() for each in arguments)
    nt.jacobian(function)(*plain)
    nt.vjp(function, *plain)


def test_each_path_is_checked():
    slope = nt.grad(lambda s: s.sum() if s.sum() > 0.0 else s.std())
    same(slope(S), np.ones(3))
    refused(lambda: slope(Series(-X, "abc")))
    slope(-X)
    refused(lambda: slope(Series(-X, "abc")))
    same(slope(S), np.ones(3))


def test_a_recording_of_arrays_is_checked_too():
    slope = nt.grad(lambda s: s.std())
    slope(X)
    refused(lambda: slope(S))
    slope(X)


def test_labels_are_no_part_of_the_signature():
    calls = []

    def counted(a, b):
        calls.append(type(a))
        return product(a, b)

    slope = nt.grad(counted)
    slope(S, S)
    slope(S, Series(-X, "abc"))
    slope(S, S)
    assert calls.count(Series) == 2  # at the point and near it, once for these labels
    recorded = len(calls) - 2
    same(slope(Series(X, "xyz"), Series(X, "xyz")), X)
    assert calls.count(Series) == 4
    refused(lambda: slope(S, Series(X, "cba")))  # on the same recording
    assert len(calls) - calls.count(Series) == recorded
    same(slope(S, S), X)


def test_flags_stay_where_a_path_pins_them():
    flags = Series([1.0, 0.0, 1.0], "abc")
    same(nt.grad(lambda s, f: s[f == 1.0].sum())(S, flags), [1.0, 0.0, 1.0])
    only = nt.grad(lambda s: s.sum() if s.sum() == 0.0 else 2.0 * s.sum())
    assert "cannot be seen" in refused(lambda: only(Series(np.zeros(2))))
    same(only(np.zeros(2)), np.ones(2))


def test_missing_values():
    slope = nt.grad(cubes)
    slope(S)
    missing = Series([0.5, np.nan, 2.5], "abc")
    assert "missing values" in refused(lambda: slope(missing))
    assert "missing values" in refused(lambda: nt.jvp(cubes, (missing,), (S,)))
    same(slope(np.nan_to_num(missing.to_numpy())), [0.75, 0.0, 18.75])


def test_what_is_given_is_not_written_to():
    def assigns(s):
        s[0] = 2.0
        return cubes(s)

    given = Series(X.copy())
    same(nt.grad(assigns)(given), 3.0 * X**2 * [0.0, 1.0, 1.0])
    same(given, X)


def test_labels_that_the_function_asks_for():
    remedy = r"pass a dict, x\.to_dict\(\) or \{name: x\[name\]\.to_numpy\(\) for name in"
    for function in (lambda s: s["a"], lambda s: s.loc["a"], lambda s: s.t):
        with pytest.raises((IndexError, nt.UnsupportedError), match=remedy):
            nt.grad(function)(S)
    assert nt.grad(lambda p: p["a"] ** 2)(S.to_dict()) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_where_only_values_are_taken():
    """Inside a recording, and where points are counted, there is nothing to compare with."""
    for call in (
        lambda s: nt.grad(lambda y: y * nt.value_and_grad(cubes)(s)[0])(2.0),
        lambda s: nt.vmap(lambda y, s: y * cubes(s), in_axes=(0, None))(X, s),
    ):
        with pytest.raises(nt.InputError, match=r"Pass x\.to_numpy\(\)"):
            call(S)
        call(S.to_numpy())
    with pytest.raises(nt.InputError, match=r"Pass x\.to_numpy\(\)"):
        nt.vmap(np.sum)(FRAME)
    same(nt.vmap(np.sum)(FRAME.to_numpy()), np.sum(FRAME.values, axis=1))
