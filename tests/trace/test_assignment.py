"""Assignment into traced arrays, views that share memory, and making arrays to assign into."""

import numpy as np
import pytest
from checks import assert_replays, derivatives_every_way

import numtape as nt

CALLS = [(np.linspace(0.2, 2.0, 6),), (np.linspace(-1.0, 1.0, 6),)]
LONG = [(np.linspace(0.2, 2.0, 30),), (np.linspace(-1.0, 1.0, 30),)]


def element(x):
    y = np.zeros_like(x)
    for i in range(len(x)):
        y[i] = x[i] ** 2
    return y


def zeros_with_like(x):
    y = np.zeros(len(x) + 1, like=x) if hasattr(x, "slots") else np.zeros(len(x) + 1)
    y[0] = x[1] * x[2]
    y[1:] = np.sin(x)
    return y


def slices(x):
    y = np.ones_like(x)
    y[::2] = x[::2] * 3.0
    y[-1] = 7.0
    return y


def recurrence(x):
    y = x.copy()
    for i in range(1, len(y)):
        y[i] = y[i] + 0.5 * y[i - 1]
    return y


def in_place(x):
    y = x * 1.0
    y += x
    y *= 2.0
    y[1:] -= y[:-1]
    y /= 3.0
    y[0] **= 2
    return y


def view_writes_through(x):
    y = x * 2.0
    part = y[1:4]
    part[:] = 0.5
    part[0] = x[0]
    return y


def transposed_view(x):
    y = (x * 1.0).reshape(2, -1)
    t = y.T
    t[0] = x[:2] * 9.0
    return y


def views_before_the_first_assignment(x):
    y = (x * 1.0).reshape(2, -1)
    t, back, flat = y.T[1:], y[:, ::-1], y.ravel()
    y[0, 1] = x[-1] * x[0]
    back[1, 0] = 5.0
    flat[2] = x[1]
    t[0, 1] = x[0] + 1.0
    return np.concatenate([np.ravel(part) for part in (y, t, back, flat, y.T[0])])


def view_of_what_is_frozen_later(x):
    y = x * 2.0
    part, other = y[1:], y[:3]
    part[0] = x[0]
    y.setflags(write=False)
    other[2] = x[1] * 3.0
    return y + np.sum(other)


def copy_does_not_write_through(x):
    y = x * 2.0
    part = y[1:4].copy()
    part[:] = 0.5
    return y + np.sum(part)


def fancy_assignment(x):
    y = np.zeros_like(x)
    y[[0, 3, 1]] = x[:3] * 2.0
    y[np.arange(len(x)) % 5 == 4] = -1.0
    return y


def fancy_in_place(x):
    y = x * 1.0
    y[[0, 2, 2]] += 5.0
    return y


def swap(x):
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    y[[2, 3]] = y[[3, 2]]
    return y


def fill(x):
    y = np.zeros_like(x)
    y.fill(x[0])
    y[2:] = x[1]
    return y + x


def broadcast_assignment(x):
    y = np.zeros((3, len(x)), like=x) if hasattr(x, "slots") else np.zeros((3, len(x)))
    y[:] = x
    y[1] = 2.0
    y[:, 0] = x[:3]
    return y * x


def mask_assignment(x):
    y = x * 1.0
    y[y > 0.5] = 0.5
    return y * 2.0


def out_argument(x):
    y = np.zeros_like(x)
    np.sin(x, out=y)
    np.multiply(y, 2.0, out=y)
    return y


def object_array(x):
    y = np.empty(2, dtype=object)
    y[0] = x[0] * x[1]
    y[1] = x[2] + 1.0
    return np.sum(x) * y


def accumulate_list(x):
    values = []
    for value in x:
        values.append(value * (values[-1] if values else 1.0))
    return np.array(values)


PROGRAMS = [
    element,
    zeros_with_like,
    slices,
    recurrence,
    in_place,
    view_writes_through,
    transposed_view,
    views_before_the_first_assignment,
    view_of_what_is_frozen_later,
    copy_does_not_write_through,
    fancy_assignment,
    fancy_in_place,
    swap,
    fill,
    broadcast_assignment,
    out_argument,
    accumulate_list,
]
named = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)


@named
def test_values(program):
    assert_replays(program, *CALLS)


@named
def test_values_of_long_arrays(program):
    assert_replays(program, *LONG)


@named
@pytest.mark.parametrize("x", [CALLS[0][0], LONG[0][0][:12]], ids=["short", "long"])
def test_derivatives(program, x):
    """Against central differences, by every way."""
    from checks import central_jacobian

    expected = central_jacobian(lambda x: np.ravel(program(x)).astype(float), x)
    for way in derivatives_every_way(program, x):
        np.testing.assert_allclose(way, expected, rtol=1e-9, atol=1e-9)


def test_mask_assignment_of_arrays_is_guarded():
    """How many elements are assigned depends on the point."""

    def function(x):
        y = x * 2.0
        y[x > 0.5] = x[x > 0.5]
        return y

    x, y = CALLS[0][0], CALLS[1][0]
    tape = nt.record(function, x)
    np.testing.assert_array_equal(tape(x), function(x))
    with pytest.raises(nt.BranchError):
        tape(y)
    jacobian = nt.jacobian(function)
    for point in (x, y, x):
        np.testing.assert_array_equal(jacobian(point), np.diag(np.where(point > 0.5, 1.0, 2.0)))


def test_mask_assignment():
    x, y = CALLS[0][0], CALLS[1][0]
    tape = nt.record(mask_assignment, x)
    for point in (x, y):
        np.testing.assert_array_equal(tape(point), mask_assignment(point))
    function = nt.jacobian(mask_assignment)
    for point in (x, y, x):
        np.testing.assert_array_equal(function(point), np.diag(np.where(point > 0.5, 0.0, 2.0)))


def test_the_callers_array_is_left_alone():
    def f(x):
        x[0] = 0.0
        x *= 2.0
        return np.sum(x * x)

    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(nt.grad(f)(x), [0.0, 16.0, 24.0])
    np.testing.assert_array_equal(nt.grad(f)(x), [0.0, 16.0, 24.0])
    np.testing.assert_array_equal(x, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "make",
    {
        "zeros": lambda x: np.zeros(3, like=x),
        "zeros of shape": lambda x: np.zeros((2, 3), like=x),
        "ones": lambda x: np.ones(3, like=x),
        "empty_like": lambda x: np.empty_like(x),
        "full": lambda x: np.full(3, 2.5, like=x),
        "full of traced": lambda x: np.full(3, x[1], like=x),
        "eye": lambda x: np.eye(3, like=x),
        "identity": lambda x: np.identity(3, like=x),
        "array": lambda x: np.array([1.0, 2.0, 3.0], like=x),
        "array of traced": lambda x: np.array([x[0], x[1], 1.0], like=x),
        "zeros_like shape": lambda x: np.zeros_like(x, shape=(2, 3)),
    }.items(),
    ids=lambda item: item[0],
)
def test_arrays_to_assign_into(make):
    """Each can be assigned into, and assigning leaves an equal array made later alone."""

    def f(x):
        first = make[1](x)
        first[..., 0] = x[0] * 4.0
        second = make[1](x)
        second[..., 1] = x[1]
        return np.sum(first * first) + np.sum(second)

    x = np.array([1.5, 2.5, 3.5])
    nt.check_derivatives(f, x) if make[0] != "empty_like" else nt.grad(f)(x)


def test_zeros_from_like_a_scalar():
    def f(t):
        y = np.zeros(3, like=t)
        y[1] = t * t
        return np.sum(y)

    assert nt.grad(f)(3.0) == 6.0


def test_object_arrays_meet_traced_values():
    def f(x):
        pair = np.empty(2, object)
        pair[:] = x[0], x[1]
        return np.sum(np.sin(pair) * x) + np.sum(np.sqrt(np.exp(pair))) + pair @ x

    x = np.array([0.3, 0.7])

    def plain(x):
        return np.sum(np.sin(x) * x) + np.sum(np.sqrt(np.exp(x))) + x @ x

    assert nt.record(f, x)(x) == pytest.approx(plain(x), rel=1e-15)
    np.testing.assert_allclose(nt.grad(f)(x), nt.grad(plain)(x), rtol=1e-14)


def test_object_array_as_operand_and_result():
    x = np.array([0.3, 0.7, 1.1])
    tape = nt.record(object_array, x)
    y = np.array([x[0] * x[1], x[2] + 1.0])
    np.testing.assert_allclose(tape(x), np.sum(x) * y, rtol=1e-15)


def test_a_number_where_a_mask_is_true_needs_no_guard():
    """One recording serves every mask."""

    def function(x):
        y = x * 1.0
        y[x < 0.0] = 0.0
        rows = y.reshape(3, 4)
        rows[rows[:, 0] > 1.0] = x[1]
        return y * x

    rng = np.random.default_rng(0)
    points = [(rng.normal(size=12),) for _ in range(5)]
    tape = assert_replays(function, *points)
    assert not tape.flat.guards
    nt.check_derivatives(function, *points[0])


def test_in_place_operations_on_an_object_array_of_traced_scalars():
    def f(x):
        a = np.array([x[0], x[1]])
        a += x[0]
        a *= x
        np.maximum(a, 0.3, out=a)
        return a

    assert_replays(f, (np.array([0.5, 2.0]),), (np.array([-0.5, 3.0]),))


@pytest.mark.parametrize(
    "assign",
    [
        lambda a, x: np.put(a, [0, -1], x[1]),
        lambda a, x: np.put(a, [3, 1, 0], x * x),
        lambda a, x: np.place(a, [[True, False], [False, True]], x[:2]),
        lambda a, x: np.putmask(a, [[True, False], [False, True]], x[0]),
        lambda a, x: np.putmask(a, np.array([[True, False], [True, True]]), x),
        lambda a, x: np.copyto(a, x[:2]),
        lambda a, x: np.fill_diagonal(a, x[2]),
        lambda a, x: np.put_along_axis(a, np.array([[1], [0]]), x[1], 1),
        lambda a, x: np.add.at(a, ([0, 0, 1], [1, 1, 0]), x),
        lambda a, x: np.multiply.at(a, 1, x[0]),
        lambda a, x: np.exp.at(a, (0, [0, 1])),
    ],
)
def test_assigning_into_an_object_array_of_traced_scalars(assign):
    def f(x):
        a = np.array([[x[0], x[1]], [x[2], x[0] * x[1]]])
        assign(a, x)
        return a * x[2]

    assert_replays(f, (np.array([0.5, 2.0, 0.7]),), (np.array([-0.5, 3.0, 0.2]),))
    nt.check_derivatives(f, np.array([0.5, 2.0, 0.7]))
