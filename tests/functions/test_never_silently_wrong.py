"""Ways in which a derivative could be silently wrong, each found once by use.

Every case compares with the plain call or a derivative worked out by hand, or
asserts that numtape refuses.
"""

import dataclasses

import numpy as np
import pytest
import scipy.special
from checks import central_jacobian

import numtape as nt

X = np.arange(9.0).reshape(3, 3) + 1.0


def test_a_tape_that_uses_outer_values_is_refused():
    def outer(x):
        return x * nt.record(lambda y: y * x, 2.0)(3.0)

    with pytest.raises(nt.TraceError, match="uses values of the outer one"):
        nt.grad(outer)(2.0)


def test_iteration_sees_assignments():
    def running_product(x):
        x = x.copy()
        for i, v in enumerate(x):
            if i + 1 < len(x):
                x[i + 1] *= v
        return x[2]

    np.testing.assert_array_equal(nt.grad(running_product)(np.array([1.0, 2.0, 3.0])), [6, 3, 2])


def test_stop_gradient_of_an_object_array():
    def f(x):
        return np.sum(nt.stop_gradient(np.array([x[0], x[1]])) * x)

    np.testing.assert_array_equal(nt.grad(f)(np.array([1.0, 2.0])), [1.0, 2.0])


@pytest.mark.parametrize("keepdims", [1, 2, True])
def test_keepdims_is_any_truth(keepdims):
    def f(x):
        return np.sum((x - np.mean(x, axis=1, keepdims=keepdims)) ** 2)

    assert nt.record(f, X)(X) == f(X)


def _assigned_through_ravel(make):
    def f(x):
        z = make(x)
        w = z.ravel()
        w[0] = 50.0
        w[1] = -50.0
        return np.sum(z * z[0])

    return f


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.where(x.T > -100.0, x.T, 0.0),
        lambda x: np.cumsum(x.T, axis=0),
        lambda x: x.T.astype(float),
        lambda x: x.T * 1.0,
        lambda x: x.copy(),
        lambda x: np.concatenate([x.T, x]),
        lambda x: np.zeros_like(x.T) + x,
    ],
)
def test_views_and_copies_are_numpys(make):
    """Whether `ravel` is a view depends on the layout, which must be NumPy's."""
    f = _assigned_through_ravel(make)
    assert nt.record(f, X)(X) == f(X.copy())


def test_a_fortran_ordered_input_keeps_its_layout():
    def f(x):
        y = x.ravel()
        y[0] = 5.0
        return np.sum(x)

    x = np.asfortranarray(X)
    assert nt.record(f, x)(x) == f(x.copy(order="F"))


def test_flat_assigns_through_transposes():
    def f(x):
        z = x.copy()
        z.T.flat[2] = 5.0
        return np.sum(z * z[0])

    assert nt.record(f, X)(X) == f(X)


def test_writing_into_a_converted_array():
    def f(x):
        a = np.asarray(x)
        a[a < 0] = 0
        return np.sum(x)

    value_and_grad = nt.value_and_grad(f)
    for x, slopes in (([-1.0, 2.0], [0.0, 1.0]), ([1.0, 2.0], [1.0, 1.0])):
        value, gradient = value_and_grad(np.array(x))
        assert value == f(np.array(x))
        np.testing.assert_array_equal(gradient, slopes)


def test_an_escape_that_the_function_catches_is_raised_all_the_same():
    def f(x):
        try:
            factor = np.float32(x)
        except (TypeError, ValueError):
            factor = 7.0
        return factor * x

    with pytest.raises(nt.TraceError, match="would be lost"):
        nt.grad(f)(2.0)


def test_duck_typing_finds_no_plain_numbers():
    def f(x):
        return np.sum(getattr(x, "values", x) * getattr(x, "value", x))

    np.testing.assert_array_equal(nt.grad(f)(np.array([1.0, 2.0])), [2.0, 4.0])


def test_the_order_of_zeta_has_no_derivative():
    with pytest.raises(nt.UnsupportedError):
        nt.grad(lambda s: scipy.special.zeta(s, 1.0))(2.0)


def test_slopes_of_remainders_where_the_quotient_rounds_to_an_integer():
    assert nt.grad(lambda y: 1.0 % y)(0.1) == -(1.0 // 0.1)
    assert nt.grad(lambda y: np.fmod(1.0, y))(0.1) == -9.0


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("make", [np.matrix, np.ma.masked_array])
def test_arrays_that_are_more_than_arrays_are_refused(make):
    with pytest.raises(nt.InputError, match="plain arrays"):
        nt.grad(lambda x: np.sum(x * x))(make([[1.0, 2.0]]))


@dataclasses.dataclass
class Scaled:
    a: float
    b: float = dataclasses.field(init=False)

    def __post_init__(self):
        self.b = self.a * 2.0


def test_the_constructor_of_a_dataclass_does_not_run_again():
    argument = Scaled(1.0)
    argument.b = 10.0
    value, gradient = nt.value_and_grad(lambda p: p.a * p.b)(argument)
    assert value == 10.0
    assert (gradient.a, gradient.b) == (10.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sum(x, dtype=int),
        lambda x: np.mean(x, dtype=int),
        lambda x: np.add.reduce(x, dtype=int),
        lambda x: np.add.accumulate(x, dtype=int)[0],
        lambda x: np.concatenate([x, x], dtype=int, casting="unsafe")[0],
    ],
)
def test_other_types_are_refused(call):
    with pytest.raises(nt.UnsupportedError, match="float64"):
        nt.grad(lambda x: call(x) * 1.0)(np.array([1.5, 2.0]))


def test_counters_made_like_a_traced_array_are_plain():
    def f(x):
        count = np.zeros_like(x, dtype=int)
        count[1] = 2
        return np.sum(x[count])

    np.testing.assert_array_equal(nt.grad(f)(np.array([1.0, 2.0, 3.0])), [2.0, 0.0, 1.0])


def test_joins_that_name_their_own_type():
    def f(x):
        return np.sum(np.stack([x, x[::-1]], dtype=float)[0] * np.full_like(x, 2.7, dtype=int))

    np.testing.assert_array_equal(nt.grad(f)(np.array([1.0, 2.0])), [2.0, 2.0])


def test_the_value_beside_a_gradient_is_the_plain_one():
    """The compiler must not make x*x of the C library's power."""
    both = nt.value_and_grad(lambda x: x**2)
    for x in np.random.default_rng(0).normal(size=5000).tolist():
        assert both(x)[0] == x**2


def test_small_derivatives_are_checked_too():
    with pytest.raises(AssertionError, match="differ"):
        nt.check_derivatives(lambda x: 1e-9 * x * nt.stop_gradient(x), 2.0)


def test_a_function_that_looks_at_types_sees_those_of_the_plain_call():
    def f(x):
        return x * 2.0 if isinstance(x, float) else x * 3.0

    assert nt.value_and_grad(f)(2.0) == (4.0, 2.0)
    np.testing.assert_array_equal(nt.jacobian(f)(np.ones(1)), [[3.0]])


def test_a_masked_norm_contributes_nothing():
    def f(x):
        return np.where(x[0] > 0.0, np.linalg.norm(np.log(x)), np.sum(x * x))

    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(nt.jacrev(f)(np.zeros(12)), np.zeros(12))


def test_a_guard_on_a_whole_array_says_so():
    tape = nt.record(lambda x: x * 2.0 if np.any(x > 1.0) else x, np.zeros(12))
    with pytest.raises(nt.BranchError, match=r"max\(.*\) is True, and it was False"):
        tape(np.full(12, 3.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda y: np.sort(y, axis=0),
        lambda y: np.sort(y.T),
        lambda y: np.zeros_like(y.T),
        lambda y: np.full_like(y.T, 2.0) * y[0, 0],
        lambda y: np.take_along_axis(y, np.argsort(y, axis=0), axis=0),
        lambda y: np.select([y.T > 0.5, y.T > -0.5], [y.T, y.T**2], -0.3),
        lambda y: np.linalg.pinv(y),
    ],
)
def test_results_lie_in_memory_as_numpys_do(make):
    """Whether `ravel` is a view decides what an assignment does."""

    def f(y):
        z = make(y)
        z.ravel()[1] = 50.0
        return np.sum(z) + y[0, 0]

    y = np.array([[0.3, -0.8, 0.9], [0.7, 0.4, -1.2]])
    assert nt.record(f, y)(y) == pytest.approx(f(y.copy()), rel=1e-14)


def test_a_diagonal_is_a_view():
    def f(y):
        d = np.diag(y)
        y[0, 0] = 5.0
        return np.sum(d)

    assert nt.record(f, X)(X) == f(X.copy())


@pytest.mark.parametrize("make", [np.select, np.choose])
def test_what_select_and_choose_give_may_be_assigned_to(make):
    def f(x):
        a = (
            np.select([x > 2.0, x > -9.0], [x, x[0]])
            if make is np.select
            else np.choose(np.argsort(x), [x[0], 2.0, x[1]])
        )
        a[0] *= 3.0
        return np.sum(a)

    x = np.array([1.0, 3.0, 2.0])
    assert nt.record(f, x)(x) == f(x)


def test_negative_zero_is_assigned_at_a_traced_integer():
    def f(x, v):
        x = x.copy()
        x[np.argmax(x)] = v[0]
        x[np.argsort(x)[:2]] = v
        return x

    x, v = np.array([1.0, 3.0, 2.0]), np.array([-0.0, -0.0])
    found = nt.record(f, x, v)(x, v)
    assert np.signbit(found).tolist() == np.signbit(f(x, v)).tolist() == [True, True, False]


def _by_item(row, x):
    row[0] = 5.0


def _in_place(row, x):
    row *= 2.0


def _by_out(row, x):
    np.sin(row, out=row)


def _by_method(row, x):
    row.sort()


def _the_whole(row, x):
    x[2] = 5.0


def _by_flat(row, x):
    x.flat[0] = 5.0


def _by_function(row, x):
    np.fill_diagonal(x, 2.0)


@pytest.mark.parametrize(
    "write", [_by_item, _in_place, _by_out, _by_method, _the_whole, _by_flat, _by_function]
)
def test_a_row_at_a_traced_integer_is_a_view(write):
    """What is written to either is seen in the other, at whatever row."""

    def f(x):
        row = x[np.argmax(x[:, 0])]
        write(row, x)
        x[:, 1] *= 3.0
        return np.sum(x) + row[0] * np.sum(row)

    value = nt.value_and_grad(f)
    for x in (X, X[::-1].copy(), -X, X * X):
        assert value(x)[0] == pytest.approx(f(x.copy()), rel=1e-14)
        with np.errstate(all="ignore"):
            expected = central_jacobian(lambda z: f(z.reshape(X.shape)), x.ravel(), 1e-5)
        np.testing.assert_allclose(value(x)[1].ravel(), expected, rtol=1e-6, atol=1e-7)


def test_rows_of_rows_at_traced_integers_are_views():
    def f(x):
        row = x[np.argmax(x[:, 0])]
        part = row[:2]
        place = x[np.argmin(x[:, 0]), np.argmax(x[0]) :][:1]
        other = x[np.argmax(x[:, 0])]
        part[np.argmax(part)] = 10.0 * row[0]
        other += 1.0
        np.asarray(row)[0] = 2.0
        place *= 3.0
        return x * np.arange(1.0, 1.0 + x.size).reshape(x.shape)

    for x in (X, X[::-1].copy(), -X):
        np.testing.assert_array_equal(nt.record(f, x)(x), f(x.copy()))


def test_a_row_that_is_not_used_any_more_hinders_nothing():
    def f(x):
        for k in range(3):
            x[k] *= np.sum(x[np.argmax(x[:, 0])])
        return np.sum(x)

    assert nt.record(f, X)(X) == f(X.copy())
