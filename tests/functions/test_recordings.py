"""When a function is recorded again and when it is not: its calls are counted."""

import numpy as np
import pytest

import numtape as nt


class Counted:
    """A function that counts its calls."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *arguments, **named):
        self.calls += 1
        return self.function(*arguments, **named)


def test_new_values_need_no_recording():
    f = Counted(lambda x: np.sum(x * x))
    gradient = nt.grad(f)
    for k in range(10):
        np.testing.assert_array_equal(gradient(np.full(3, float(k))), np.full(3, 2.0 * k))
    assert f.calls == 1


def test_new_data_need_no_recording():
    """Data arguments are inputs too, whether or not they are differentiated by."""
    f = Counted(lambda p, x, y: np.sum((p * x - y) ** 2))
    gradient = nt.grad(f)
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, x, y = 2.0, rng.normal(size=12), rng.normal(size=12)
        np.testing.assert_allclose(gradient(p, x, y), np.sum(2 * (p * x - y) * x), rtol=1e-13)
    assert f.calls == 1


def test_other_shapes():
    f = Counted(lambda x: np.sum(x * x))
    gradient = nt.grad(f)
    for shape in [(3,), (4,), (2, 3), (3,), (), (2, 3), (4,)]:
        x = np.full(shape, 1.5) if shape else 1.5
        np.testing.assert_array_equal(gradient(x), np.full(shape, 3.0))
    assert f.calls == 4


def test_static_arguments():
    f = Counted(lambda x, n, mode: x**n if mode == "power" else n * x)
    gradient = nt.grad(f)
    for _ in range(2):
        assert gradient(3.0, 2, "power") == 6.0
        assert gradient(3.0, 3, "power") == 27.0
        assert gradient(3.0, 3, "times") == 3.0
    assert f.calls == 3


def test_a_bool_is_not_the_integer_it_equals():
    f = Counted(lambda x, flag: x * 2.0 if flag is True else x * 5.0)
    gradient = nt.grad(f)
    assert [gradient(1.0, True), gradient(1.0, 1), gradient(1.0, True)] == [2.0, 5.0, 2.0]


def test_integer_arrays_are_static():
    f = Counted(lambda x, index: np.sum(x[index] ** 2))
    gradient = nt.grad(f)
    x = np.array([1.0, 2.0, 3.0])
    for _ in range(2):
        np.testing.assert_array_equal(gradient(x, np.array([0, 0])), [4.0, 0.0, 0.0])
        np.testing.assert_array_equal(gradient(x, np.array([1, 2])), [0.0, 4.0, 6.0])
    assert f.calls == 2


def test_trees_of_another_structure():
    f = Counted(lambda p: sum(p.values()) * 2.0)
    gradient = nt.grad(f)
    assert gradient({"a": 1.0}) == {"a": 2.0}
    assert gradient({"a": 1.0, "b": 2.0}) == {"a": 2.0, "b": 2.0}
    assert gradient({"a": 3.0}) == {"a": 2.0}
    assert f.calls == 2


def test_branches_are_remembered():
    f = Counted(lambda x: x * x if x > 0.0 else -3.0 * x)
    gradient = nt.grad(f)
    for _ in range(3):
        assert gradient(2.0) == 4.0
        assert gradient(-2.0) == -3.0
    assert f.calls == 2


def test_branches_of_one_array():
    """One array goes the short way through `grad`, which must notice branches as well."""
    f = Counted(lambda x: x[0] * x[1] if x[0] > x[1] else x[1] ** 2)
    gradient = nt.grad(f)
    for _ in range(3):
        np.testing.assert_array_equal(gradient(np.array([2.0, 1.0])), [1.0, 2.0])
        np.testing.assert_array_equal(gradient(np.array([1.0, 2.0])), [0.0, 4.0])
    assert f.calls == 2


def test_many_paths():
    """All the orders in which a function of three comparisons can go, visited again and again."""

    def plain(x):
        a = x[0] * 2.0 if x[0] > 0 else x[0] * 3.0
        b = x[1] * 5.0 if x[1] > 0 else x[1] * 7.0
        c = x[2] * 11.0 if x[2] > 0 else x[2] * 13.0
        return a + b + c

    f = Counted(plain)
    gradient = nt.grad(f)
    rng = np.random.default_rng(0)
    for _ in range(100):
        x = rng.normal(size=3)
        expected = np.where(x > 0, [2.0, 5.0, 11.0], [3.0, 7.0, 13.0])
        np.testing.assert_array_equal(gradient(x), expected)
    assert f.calls == 8


def test_paths_of_integers():
    f = Counted(lambda x: x ** int(x))
    gradient = nt.grad(f)
    for x in [1.5, 2.5, 3.5, 2.25, 1.75]:
        assert gradient(x) == pytest.approx(int(x) * x ** (int(x) - 1), rel=1e-14)
    assert f.calls == 3


def test_paths_by_data():
    """A branch on data is a branch too."""
    f = Counted(lambda x, d: x * 2.0 if d > 0.0 else x * 5.0)
    gradient = nt.grad(f)
    assert [gradient(1.0, d) for d in (1.0, -1.0, 2.0, -2.0)] == [2.0, 5.0, 2.0, 5.0]
    assert f.calls == 2


def test_nan_takes_the_path_that_nan_takes():
    f = Counted(lambda x: x * 2.0 if x > 0.0 else x * 5.0)
    gradient = nt.grad(f)
    assert [gradient(x) for x in (1.0, np.nan, -1.0)] == [2.0, 5.0, 5.0]
    assert f.calls == 2


def test_integer_of_nan_is_the_users_error_and_leaves_no_trace():
    gradient = nt.grad(lambda x: x * int(x))
    assert gradient(2.5) == 2.0
    with pytest.raises(ValueError, match="NaN"):
        gradient(np.nan)
    assert gradient(3.5) == 3.0


def test_recordings_of_jvp_and_vjp_are_kept_with_the_function():
    f = Counted(lambda x: x * x)
    for x in (1.0, 2.0, 3.0):
        assert nt.jvp(f, (x,), (1.0,)) == (x * x, 2 * x)
        value, pull_back = nt.vjp(f, x)
        assert (value, pull_back(1.0)) == (x * x, (2 * x,))
    assert f.calls == 1


def test_a_pull_back_keeps_its_point():
    f = Counted(lambda x: x * x if x > 0 else -x)
    _, first = nt.vjp(f, 3.0)
    _, second = nt.vjp(f, -3.0)
    assert [first(1.0), second(1.0), first(2.0)] == [(6.0,), (-1.0,), (12.0,)]


def test_a_pull_back_of_an_array_changed_later():
    x = np.array([1.0, 2.0])
    _, pull_back = nt.vjp(lambda x: np.sum(x * x), x)
    x[:] = 100.0
    np.testing.assert_array_equal(pull_back(1.0)[0], [2.0, 4.0])


def test_result_structure_that_changes_by_branch():
    def f(x):
        return x * 2.0 if x > 0 else (x, x)

    gradient = nt.jacobian(f)
    assert gradient(1.0) == 2.0
    with pytest.raises(nt.OutputError, match=r"one structure.*Return the same on every path"):
        gradient(-1.0)
    assert gradient(2.0) == 2.0


def test_result_shape_that_changes_by_branch():
    function = nt.jacobian(lambda x: x if x[0] > 0 else x[:1])
    function(np.ones(3))
    with pytest.raises(nt.OutputError, match="one structure"):
        function(-np.ones(3))


def test_two_results_of_one_call_do_not_share_memory():
    gradient = nt.grad(lambda x: np.sum(x * x))
    first = gradient(np.ones(20))
    second = gradient(2.0 * np.ones(20))
    np.testing.assert_array_equal(first, np.full(20, 2.0))
    np.testing.assert_array_equal(second, np.full(20, 4.0))
    jacobian = nt.jacobian(lambda x: x * x)
    first = jacobian(np.ones(20))
    jacobian(2.0 * np.ones(20))
    np.testing.assert_array_equal(first, 2.0 * np.eye(20))
