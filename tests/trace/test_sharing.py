"""Memory that several arrays share: views, arrays of rank 0, ``np.asarray(x)``, aliased arguments.

Right values are those of the plain function, derivatives those of differences.
"""

import copy

import numpy as np
import pytest
from checks import assert_first_derivatives, assert_second_derivatives

import numtape as nt

X = np.array([0.3, 1.2, -0.7, 2.2, 0.9])
Y = np.array([1.3, 0.2, 0.6, -2.2, 0.4])


def einsum_diagonal(x):
    a = np.outer(x, x)
    np.einsum("ii->i", a)[:] += 1.0
    np.einsum(a, [0, 0], [0])[:2] *= x[0]
    np.einsum("ij->ji", a)[0] = x
    return a.sum() + a[1, 0]


def strided_diagonal(x):
    a = np.outer(x, x)
    np.lib.stride_tricks.as_strided(a, (len(x),), (a.strides[0] + a.strides[1],))[1:] = x[0]
    return np.sum(a * a)


def as_array(x):
    y = x * 1.0
    z = np.asarray(y)
    y += 1.0
    return z.sum() * y[0]


def as_array_through_views(x):
    y = x * 1.0
    z = np.asarray(y[1:])[::2]
    w = np.ascontiguousarray(y)[1:]
    y *= x[0]
    y[3] = 7.0
    return z.sum() + z[1] * y[2] + w[0]


def writing_into_a_conversion(x):
    y = x * 1.0
    z = np.asarray(y)
    z[0] = 5.0 * x[1]
    y[1] += z[0]
    w = z[1:]
    y *= 2.0
    w[2] = x[2]
    return y.sum() + w[0] * z[1] + y[3]


def writing_into_a_temporary(x):
    y = x * 1.0
    np.asarray(y)[:2] = 7.0 * x[3]
    np.asanyarray(y[2:]).sort()
    np.require(y, requirements=["C", "W"])[-1] += 1.0
    return np.sum(y * x)


def two_conversions(x):
    y = x * 1.0
    whole, part = np.asarray(y), np.asarray(y[1:3])
    part[0] = x[0] * 4.0
    whole[2] = x[1]
    return whole[1] * part[1] + y[1] + y[2]


def conversions_of_matrices(x):
    a = np.outer(x, x)
    b = np.asarray(a.T)
    np.fill_diagonal(b, x[0])
    c = np.asfortranarray(a)  # a copy: a is in C order
    c[0, 0] = 100.0
    return np.sum(a * x) + c[0, 0]


def copies_are_copies(x):
    y = x * 1.0
    z = np.array(y)
    z[0] = x[1]
    y[1] = 3.0
    return np.sum(y) + z[0] * z[1]


def masks_too(x):
    y = x > 0.0
    z = np.asarray(y)
    z[0] = False
    y[1] = False
    return np.sum(np.where(y, x, 2.0 * x)) + np.sum(z) * x[0]


def types_that_stay(x):
    y = x * 1.0
    z = y.astype(float, copy=False)
    z += 1.0
    np.nan_to_num(y, copy=False)[0] = x[1]
    y.view()[1] = x[0]
    return y.sum() + (y.astype(float) is not y) + (z is y)


def rank_0_views(x):
    y = x.copy()
    s, t, u = y[:1].squeeze(), y[1, ...], y[2:3].reshape(())
    s *= 10.0
    t += s
    u[...] = t * u
    y[0] += 1.0
    return y.sum() * s


def rank_0_sum(x):
    t = np.zeros((), like=x)
    seen = []
    for v in x:
        t += v
        seen.append(t)
    return seen[0] + 0.0 * seen[1] + t[()] ** 2


def rank_0_where(x):
    y = np.where(x[0] > 0.0, x[1], x[2])
    z = y
    y += 1.0
    return z * x[0]


def rank_0_of_many_kinds(x):
    t = np.array(x[0], like=x)
    scalar = t[()]
    t[()] = x[1]
    t.fill(t * 2.0)
    np.add(t, x[2], out=t)
    np.copyto(t.reshape(1), t * x[3])
    back = 0.0 + t if t > -100.0 else 0.0 * t
    return scalar * t + np.sum(t) + t.item() + np.sqrt(t * t) + abs(t) + back + int(t * 0.0)


def rank_0_into_others(x):
    t = np.asarray(x[:1].sum(), like=x)
    y = np.stack([t, x[1], t])
    y[0] = t
    pair = np.concatenate([y[1:2], t[None], np.atleast_1d(t)])
    t *= 3.0
    return np.sum(y * pair) + t


def sorting_views(x):
    y = np.concatenate([x, x * 0.5]).reshape(2, -1)
    y[:, ::2].sort(axis=1)
    y.T[0].partition(1)
    y.flat[1:3] = x[:2]
    y.ravel()[-1] *= x[0]
    np.put(y[1], [0, 1], x[3])
    np.place(y[:, 1:3], [[True, False], [False, True]], x[:2])
    np.putmask(y[0], np.arange(5) == 4, x)
    np.fill_diagonal(y[:, 3:], x[2])
    np.copyto(y[:, :1], x[4])
    return np.sum(y * np.arange(10.0).reshape(2, 5))


def splits_are_views(x):
    y = np.outer(x, x)
    for part in np.split(y, [2], axis=1):
        part[0] *= 2.0
    first, *_ = np.unstack(y, axis=1)
    first += x
    np.expand_dims(y, 0)[0, 1, 1] = x[0]
    np.moveaxis(y, 0, 1)[2, 3] = x[1]
    np.meshgrid(y[0], copy=False)[0][2] = x[2]
    np.atleast_3d(y)[4, 4] *= x[3]
    np.flip(y)[0, 1] = x[4]
    np.lib.stride_tricks.sliding_window_view(y, (2, 2), writeable=True)[3, 3, 0, 0] = x[1]
    y.flat = np.sin(y)
    y.real[2, 2] = x[0] ** 3
    return np.sum(y * y)


def shuffled(x):
    y = np.random.default_rng(3).permutation(x)
    y[0] *= 2.0
    return np.sum(y * np.arange(5.0)) + x[0]


PROGRAMS = [
    *(einsum_diagonal, strided_diagonal, as_array, as_array_through_views),
    *(writing_into_a_conversion, writing_into_a_temporary, two_conversions),
    *(conversions_of_matrices, copies_are_copies, types_that_stay, rank_0_views, rank_0_sum),
    *(rank_0_where, rank_0_of_many_kinds, rank_0_into_others, sorting_views, splits_are_views),
    *(shuffled, masks_too),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_programs(program):
    """Values at two points, first and second derivatives, at one point and at many."""
    value = nt.record(program, X.copy())(X)
    np.testing.assert_allclose(value, program(X.copy()), rtol=1e-15)
    expected = [program(X.copy()), program(Y.copy())]
    np.testing.assert_allclose(nt.vmap(program)(np.stack([X, Y])), expected, rtol=1e-14)
    assert_first_derivatives(program, X)
    assert_second_derivatives(program, 1.0, X)


def test_shuffling():
    """Of code without source, through ``np.asarray(x)``: the array itself is refused there."""

    def through(x):
        y = np.outer(x, x)
        np.random.default_rng(5).shuffle(np.asarray(y))
        np.random.RandomState(5).shuffle(np.asarray(y[0]))
        return np.sum(y * np.arange(25.0).reshape(5, 5))

    def itself(x):
        y = np.outer(x, x)
        np.random.default_rng(5).shuffle(y)
        np.random.default_rng(5).shuffle(y, axis=1)
        np.random.RandomState(5).shuffle(y[0])
        return np.sum(y * np.arange(25.0).reshape(5, 5))

    names = {"np": np, "__name__": "somebody"}
    text = "def through(x):\n    y = np.outer(x, x)\n    shuffle(y)\n    return np.sum(y)"
    for function in (through, itself):
        assert nt.record(function, X)(X) == pytest.approx(function(X), rel=1e-14)
        assert_first_derivatives(function, X)
    exec(text.replace("shuffle", "np.random.default_rng(5).shuffle"), names)
    with pytest.raises(nt.UnsupportedError, match=r"shuffle\(np.asarray\(x\)\)"):
        nt.grad(names["through"])(X)


def test_what_numpy_refuses_is_refused():
    for write in (
        lambda x: np.diagonal(np.outer(x, x)).__setitem__(0, 1.0),
        lambda x: np.broadcast_to(x, (2, 5)).__setitem__(0, 1.0),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 2).__setitem__(0, 1.0),
        lambda x: x.imag.__setitem__(0, 1.0),
        lambda x: np.asarray(np.diagonal(np.outer(x, x))).__setitem__(0, 1.0),
        lambda x: np.asarray(np.broadcast_to(x, (2, 5)))[0].__setitem__(0, 1.0),
    ):
        for call in (write, nt.grad(write)):
            with pytest.raises(ValueError, match="read-only"):
                call(X.copy())


@pytest.mark.parametrize("wrong", [len, list, iter, lambda t: t[0], lambda t: t[:1]])
def test_rank_0_arrays_are_no_sequences(wrong):
    t = np.array(2.0)
    with pytest.raises((TypeError, IndexError)) as plain:
        wrong(t)
    with pytest.raises(plain.type):
        nt.record(wrong, t)


def test_arguments_of_rank_0():
    def f(t, v):
        u = t
        u += v
        return t * v

    t = np.array(2.0)
    assert nt.value_and_grad(f, (0, 1))(t, 3.0) == (15.0, (3.0, 8.0))
    assert nt.value_and_grad(f, (0, 1))(2.0, 3.0) == (6.0, (3.0, 2.0))
    g = nt.value_and_grad(f, (0, 1))
    for _ in range(2):  # a number and an array of rank 0 are two kinds of arguments
        assert g(2.0, 3.0)[0] == 6.0
        assert g(t, 3.0)[0] == f(t.copy(), 3.0) == 15.0
        assert g(t, t)[0] == 16.0
    assert t == 2.0


def test_memory_is_asked_for():
    """`np.shares_memory` and `np.may_share_memory` answer as of the plain arrays."""

    def answers(x):
        y = x * 1.0
        z = np.asarray(y)
        pairs = [
            (y, y[1:]),
            (y, x),
            (y[:2], y[2:]),
            (y, z),
            (z[1:], y[:1]),
            (y, np.array(y)),
            (x, x),
        ]
        both = (np.shares_memory, np.may_share_memory)
        return [bool(ask(*pair)) for pair in pairs for ask in both]

    seen = []
    nt.record(lambda x: seen.extend(answers(x)) or np.sum(x), X)
    assert seen == answers(X.copy())


# arguments that share memory


def adds(a, b):
    a += 1.0
    return np.sum(a * b)


def writes_both(a, b):
    a[0] = b[1] * 2.0
    b[-1] += a[0]
    a *= b[0]
    return np.sum(a * b) + a[1]


def writes_views(a, b):
    a[1:][:2] = b[:2] ** 2
    b.sort()
    return np.sum(a * np.arange(len(a))) + b[0] * a[-1]


def writes_conversions(a, b):
    c = np.asarray(b)
    a[0] = 7.0
    c[1] = a[2]
    return c[0] * a[1] + np.sum(b)


def _pairs(x):
    return [
        (x, x),
        (x.copy(), x),
        (x[:3], x[1:4]),
        (x[1:4], x[:3]),
        (x[::2], x[:3]),
        (x[::-1], x),
        (x[:3], x[2:]),
    ]


def _copy_of(pair):
    """The same arrays in other memory: they share it as before."""
    return copy.deepcopy(_Kept(pair)).arrays


class _Kept:
    """Arrays that are copied with the memory that they are views of."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __deepcopy__(self, memo):
        owners = {id(_owner(a)): _owner(a) for a in self.arrays}
        copies = {key: owner.copy() for key, owner in owners.items()}
        return _Kept(tuple(_placed(a, copies[id(_owner(a))]) for a in self.arrays))


def _owner(array):
    return array if array.base is None else array.base


def _placed(array, memory):
    start = array.__array_interface__["data"][0] - _owner(array).__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, memory, start, array.strides)


@pytest.mark.parametrize("f", [adds, writes_both, writes_views, writes_conversions])
def test_the_same_array_given_twice(f):
    """One function meets all ways of sharing, in any order, and leaves the arguments alone."""
    value_and_grad = nt.value_and_grad(f, (0, 1))
    x = X.copy()
    for _ in range(2):
        for pair in _pairs(x):
            value, gradients = value_and_grad(*pair)
            assert value == pytest.approx(f(*_copy_of(pair)), rel=1e-14)
            tape = nt.record(f, *pair)
            assert tape(*pair) == value
            for one, other in zip(gradients, tape.gradient(*pair, argnums=(0, 1)), strict=True):
                np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(x, X)


def test_derivatives_by_arguments_that_share_memory():
    """Together they are the derivative by the memory that is shared."""

    def along(f, pair, step):
        moved = _copy_of(pair)
        for array in {id(a): a for a in map(_owner, moved)}.values():
            array += step * np.cos(np.arange(array.size))
        return f(*moved)

    for f in (adds, writes_both, writes_views, writes_conversions):
        for pair in _pairs(X.copy()):
            expected = (along(f, pair, 1e-6) - along(f, pair, -1e-6)) / 2e-6
            directions = [_placed(a, np.cos(np.arange(_owner(a).size))) for a in pair]
            by = nt.grad(f, (0, 1))(*pair)
            found = sum(np.sum(g * d) for g, d in zip(by, directions, strict=True))
            assert found == pytest.approx(expected, rel=1e-7)


def test_whose_derivative_it_is():
    """Each argument has inputs of its own; what is assigned to one is the others' from then on."""
    z = X.copy()
    ones, zeros = np.ones(5), np.zeros(5)
    by = nt.grad(lambda a, b: np.sum(a * b), (0, 1))(z, z)
    np.testing.assert_array_equal(by, [z, z])
    np.testing.assert_array_equal(nt.grad(adds, (0, 1))(z, z), [2.0 * (z + 1.0), zeros])

    def first_alone(a, b):
        a[0] = 3.0 * a[0]
        return np.sum(b)

    np.testing.assert_array_equal(
        nt.grad(first_alone, (0, 1))(z, z), [3.0 * np.eye(5)[0], ones - np.eye(5)[0]]
    )


def test_three_arguments_of_one_array():
    def f(a, b, t):
        t *= np.sum(a)
        b[0] += t
        a[1, 0] *= b[1]
        t -= a[0, 1]
        return np.sum(a * a) + 3.0 * np.sum(b * b) + 5.0 * t

    def given():
        x = np.linspace(0.3, 1.7, 6)
        return x.reshape(2, 3), x[1:4], x[1, ...]

    g = nt.value_and_grad(f, (0, 1, 2))
    for _ in range(2):
        for arguments in (given(), [x.copy() for x in given()]):
            assert g(*arguments)[0] == pytest.approx(f(*copy.deepcopy(_Kept(arguments)).arrays))


def test_leaves_of_a_tree_and_other_floats():
    def f(p):
        p["a"] += 1.0
        return np.sum(p["a"] * p["b"][0])

    for x in (X.copy(), X.astype(np.float32)):
        value = nt.value_and_grad(f)({"a": x, "b": [x]})[0]
        y = x.copy()
        assert value == pytest.approx(f({"a": y, "b": [y]}), rel=1e-6)


def test_tapes_know_how_their_arguments_lie(tmp_path):
    tape = nt.record(adds, X, X)
    tape.save(tmp_path / "adds.tape")
    for each in (tape, nt.load(tmp_path / "adds.tape")):
        assert each(Y, Y) == adds(*[Y.copy()] * 2)
        assert each(*[np.stack([X, Y])] * 2)[1] == each(Y, Y)
        for other in ((X, Y), (X[::-1], X), (np.stack([X, Y]), np.stack([X, Y]))):
            with pytest.raises(nt.InputError, match="lie in memory otherwise"):
                each(*other)
            with pytest.raises(nt.InputError, match="lie in memory otherwise"):
                each.gradient(*other)
    apart = nt.record(adds, X, Y)
    assert apart(X, X.copy()) == adds(X.copy(), X)
    with pytest.raises(nt.InputError, match="Pass copies"):
        apart(X, X)


def test_how_an_argument_lies_in_memory():
    """Where the function assigns, a view and a copy of an argument are told apart."""

    def f(x):
        y = x.ravel()
        y += 1.0
        return np.sum(x * x)

    g = nt.value_and_grad(f)
    matrix = np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        for change in (
            lambda m: m,
            np.asfortranarray,
            lambda m: np.repeat(m, 2, axis=1)[:, ::2],
            lambda m: np.repeat(m, 2, axis=0)[::2],
        ):
            assert g(change(matrix.copy()))[0] == f(change(matrix.copy()))


def test_points_have_arguments_of_their_own():
    points = np.stack([X, Y])
    expected = [adds(*[x.copy()] * 2) for x in points]
    for _ in range(2):
        np.testing.assert_allclose(nt.vmap(adds)(points, points), expected, rtol=1e-14)
    apart = nt.vmap(adds)(points, points.copy())
    np.testing.assert_allclose(apart, [adds(x.copy(), x) for x in points], rtol=1e-14)
    by = nt.vmap(nt.grad(adds))(points, points)
    np.testing.assert_allclose(by, 2.0 * (points + 1.0), rtol=1e-14)
    np.testing.assert_array_equal(points, [X, Y])
    with pytest.raises(nt.InputError, match="otherwise"):
        nt.vmap(adds)(points, points[::-1])
    with pytest.raises(nt.InputError, match="otherwise"):
        nt.vmap(lambda a, b: adds(a, b[0]), (0, None))(points, points)


def test_derivatives_inside_know_too():
    def f(x):
        y = x * 1.0
        return np.sum(nt.grad(adds)(y, y)) + np.sum(nt.grad(adds)(y, y.copy())) + np.sum(y)

    def whole(a, b):
        return np.sum(nt.grad(adds)(a, b) * a)

    np.testing.assert_allclose(nt.grad(f)(X), 4.0)  # 2 (y + 1), then y, then y
    g = nt.value_and_grad(whole)
    for _ in range(2):
        assert g(X, X)[0] == pytest.approx(np.sum(2.0 * (X + 1.0) * X))
        assert g(X, X.copy())[0] == pytest.approx(np.sum(X * X))


def test_an_array_that_the_function_closes_over():
    z = X.copy()

    def f(a):
        a += 1.0
        return np.sum(a * z)

    assert nt.value_and_grad(f)(Y)[0] == pytest.approx(np.sum((Y + 1.0) * X))
    with pytest.raises(nt.InputError, match="shares memory with an argument"):
        nt.grad(f)(z)
    assert nt.value_and_grad(lambda a, b: adds(a, b))(z, z)[0] == adds(*[z.copy()] * 2)
    np.testing.assert_array_equal(z, X)


def test_assignments_meanwhile_are_seen_by_parts_at_traced_integers():
    def f(a, b):
        row = a[np.argmax(b[0])]
        b[0, 0] = 5.0
        row[1] = 7.0
        return np.sum(row * np.arange(1.0, 1.0 + row.size)) + np.sum(b[0])

    matrix = np.outer(X, Y)
    value = nt.value_and_grad(f)
    shared = matrix.copy()
    expected = f(shared, shared)
    assert value(matrix, matrix)[0] == pytest.approx(expected)
    assert value(matrix, matrix.copy())[0] == pytest.approx(f(matrix.copy(), matrix.copy()))
