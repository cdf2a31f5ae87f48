"""What raises because of a value is a branch: where the function catches it, another path.

Right values are those of the plain call, derivatives those of central differences. Points go
back and forth between what raises and what does not, so that each is met by the recordings
of the others.
"""

import contextlib
import math
import operator
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.linalg
from scipy.special import logsumexp as aliased

import numtape as nt

NAN, INF = float("nan"), float("inf")


def plain(function, point):
    """The plain call's value, or the type of what it raises; without NumPy's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return float(function(point))
        except (ArithmeticError, ValueError, LookupError, AssertionError) as error:
            return type(error)


def recorded(call, point):
    try:
        return call(point)
    except (ArithmeticError, ValueError, LookupError, AssertionError) as error:
        return next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")


def assert_same(found, right):
    if isinstance(right, type):
        assert issubclass(found, right) or issubclass(right, found), (found, right)
    else:
        np.testing.assert_array_equal(found, right)


def slope(function, point):
    """Central differences of a function of one float or one array; nan where they say nothing."""
    start, point = point, np.asarray(point, np.float64)
    result = np.empty(point.shape)
    for place in np.ndindex(point.shape):
        step = np.zeros(point.shape)
        step[place] = 1e-6 * max(1.0, abs(point[place]))
        ends = [point + step, point - step]
        if point.ndim == 0:
            ends = [float(end) for end in ends]
        above, here, below = (plain(function, each) for each in (ends[0], start, ends[1]))
        sides = (above - here) / step[place], (here - below) / step[place]
        jumps = abs(above - here) + abs(below - here) > 1e-3 * (1.0 + abs(here))
        smooth = not jumps and np.isclose(*sides, rtol=1e-3, atol=1e-3)
        lost = abs(here) > 1e5 or np.any(abs(point) > 1e5)  # digits
        result[place] = np.mean(sides) if smooth and not lost else NAN
    return result


def check(function, points):
    """Every way of calling a function of one argument agrees with the plain call."""
    count = len(points)
    points = [*points, *reversed(points), *points[::2], *points[1::2]]
    expected = [plain(function, point) for point in points]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gradient = nt.value_and_grad(function)
        for point, right in zip(points, expected, strict=True):
            found = recorded(gradient, point)
            assert_same(found[0] if isinstance(found, tuple) else found, right)
            if isinstance(found, tuple) and np.isfinite(right) and np.all(np.isfinite(point)):
                slopes = slope(function, point)
                compared = np.isfinite(slopes)
                np.testing.assert_allclose(
                    np.asarray(found[1])[compared], slopes[compared], 1e-5, 1e-8
                )
        check_tapes(function, points[:count], expected[:count])
        check_modes(function, points[:count], expected[:count])


def check_tapes(function, points, expected):
    """A tape says that the path is another, or gives what is right."""
    for start, value in zip(points, expected, strict=True):
        if isinstance(value, type):
            continue
        tape = nt.record(function, start)
        for point, right in zip(points, expected, strict=True):
            try:
                found = tape(point)
            except nt.BranchError:
                assert not np.array_equal(point, start, equal_nan=True)
            else:
                assert_same(found, right)


def check_modes(function, points, expected):
    """Many points, second derivatives, derivatives of derivatives."""
    fine = [k for k, value in enumerate(expected) if not isinstance(value, type)]
    points, expected = [points[k] for k in fine], [expected[k] for k in fine]
    if np.ndim(points[0]):  # of numbers vmap gives NumPy's
        np.testing.assert_array_equal(nt.vmap(function)(np.array(points * 2)), expected * 2)
    hessian = nt.hessian(function)
    inner = nt.value_and_grad(lambda x: nt.value_and_grad(function)(x)[0])
    for point, right in zip(points, expected, strict=True):
        afresh = nt.hessian(function)
        np.testing.assert_array_equal(hessian(point), afresh(point))
        np.testing.assert_array_equal(inner(point)[0], right)


def conversion(convert):
    def f(x):
        try:
            return x[0] * convert(x[1])
        except (ValueError, OverflowError):
            return -1.0 * x[0]

    return f


@pytest.mark.parametrize(
    "convert",
    [int, math.trunc, math.floor, math.ceil, round, lambda v: len(range(int(v) + 1))],
    ids=["int", "trunc", "floor", "ceil", "round", "range"],
)
def test_conversions(convert):
    check(conversion(convert), [np.array([2.0, v]) for v in (3.0, NAN, INF, 4.2, -INF, 1.5)])


def indexed(take):
    def f(x):
        try:
            return take(x, np.searchsorted([1.0, 2.0, 3.0], x[0]))
        except IndexError:
            return -1.0 * x[1]

    return f


def _taken_along(x, k):
    return np.take_along_axis(x, np.stack([k, k]), 0)[0]


def _added(x, k):
    y = 2.0 * x
    np.add.at(y, [k], x[:1])
    return np.sum(y**2)


def _put(x, k):
    y = 2.0 * x
    np.put(y, k, x[2])
    return np.sum(y**2)


def _assigned(x, k):
    y = 2.0 * x
    y[k] = x[2]
    return np.sum(y**2)


def _popped(x, k):
    values = list(x)
    return values.pop(k)


@pytest.mark.parametrize(
    "take",
    {
        "array": lambda x, k: x[k],
        "plain array": lambda x, k: x[0] * np.array([2.0, 3.0, 5.0])[k],
        "list": lambda x, k: [*x][k],
        "tuple": lambda x, k: tuple(x)[k],
        "take": lambda x, k: np.take(x, k),
        "take of several": lambda x, k: np.sum(np.take(x, np.stack([k, k - 1]))),
        "rows": lambda x, k: np.sum(np.outer(x, x)[k]),
        "columns": lambda x, k: np.sum(np.outer(x, x)[:, k]),
        "take_along_axis": _taken_along,
        "add.at": _added,
        "put": _put,
        "assignment": _assigned,
        "pop": _popped,
        "negative": lambda x, k: x[1 - 2 * k],
    }.items(),
    ids=operator.itemgetter(0),
)
def test_places(take):
    check(indexed(take[1]), [np.array([v, 5.0, 7.0]) for v in (0.5, 3.5, 1.5, 2.5, 9.0)])


def test_choices():
    def f(x):
        try:
            return np.choose(np.searchsorted([1.0, 2.0, 3.0], x[0]), [x[0], 2.0 * x[1], x[2]])
        except ValueError:
            return -1.0 * x[1]

    check(f, [np.array([v, 5.0, 7.0]) for v in (0.5, 3.5, 1.5, 2.5, 9.0)])


def _named(x):
    try:
        return {0: x[1], 1: 2.0 * x[1]}[np.argmax(x)]
    except KeyError:
        return x[0] * x[1]


def _unpacked(x):
    try:
        a, b = x[x > 1.0]
    except ValueError:
        return np.sum(x)
    return a * b


def _found(x):
    try:
        return x[1] * [0, 1, 2].index(int(x[0]))
    except ValueError:
        return x[1] ** 2


def _asserted(x):
    try:
        assert x[0] < x[1], "must rise"
    except AssertionError:
        return x[2]
    return x[0] * x[1]


def _tested(x):
    try:
        np.testing.assert_array_less(x[0], x[1])
    except AssertionError:
        return x[2]
    return x[0] * x[1]


def _removed(x):
    values = [0, 1, 2, 3]
    try:
        values.remove(int(x[0]))
    except ValueError:
        return -x[1]
    return x[1] * sum(values)


def _reshaped(x):
    try:
        return np.sum(x[x > 1.0].reshape(2, -1)[0])
    except ValueError:
        return x[1] ** 2


def _sliced(x):
    try:
        return x[: int(x[0])].max()
    except ValueError:
        return -x[1]


def _suppressed(x):
    result = x[0]
    with contextlib.suppress(IndexError):
        result = x[int(x[1])]
    return result


def _finally(x):
    result = [x[0]]
    try:
        try:
            result.append(x[int(x[1])])
        finally:
            result.append(x[2])
    except IndexError:
        pass
    return sum(result)


@pytest.mark.parametrize(
    "function",
    [
        *(_named, _unpacked, _found, _asserted, _tested, _removed, _reshaped, _sliced),
        *(_suppressed, _finally),
    ],
    ids=lambda function: function.__name__[1:],
)
def test_pythons_own(function):
    rows = [(1.5, 2.5, 0.5), (2.5, 1.5, 3.5), (0.5, 2.0, 3.0), (5.0, 4.0, 3.0), (1.2, 7.0, 2.0)]
    check(function, [np.array(row) for row in rows])


# Python's floats


def caught(compute, *kinds):
    def f(x):
        try:
            return compute(x)
        except kinds:
            return 1.0 + 3.0 * x

    return f


@pytest.mark.parametrize(
    "compute",
    {
        "1 / x": lambda x: 1.0 / x,
        "x / x": lambda x: 2.0 * x / x,
        "int / x": lambda x: 2 / x,
        "7 % x": lambda x: 7.0 % x,
        "7 // x": lambda x: x + 7.0 // x,
        "divmod": lambda x: divmod(7.0, x)[1],
        "x**-1": lambda x: x**-1,
        "x**-1.5": lambda x: abs(x) ** -1.5,
        "negated": lambda x: 1.0 / -x,
        "of an expression": lambda x: 1.0 / (2.0 * x + 0.0),
        "in place": lambda x: operator.itruediv(1.0, x),
        "in a comprehension": lambda x: sum([1.0 / v for v in (x, 2.0 * x)]),
        "in a generator": lambda x: sum(1.0 / v for v in (x, 2.0 * x)),
        "in a lambda": lambda x: (lambda v: 1.0 / v)(x),
        "of an element": lambda x: 1.0 / np.stack([x, x])[0].item(),
        "of a list": lambda x: 1.0 / np.stack([x, x]).tolist()[0],
        "rounded": lambda x: x / round(x, 1),
        "of a derivative": lambda x: 1.0 / nt.grad(lambda y: y * y)(x),
        "in a derivative": lambda x: nt.grad(lambda y: (1.0 + y) / x)(x),
        "of a derivative's argument": lambda x: nt.grad(lambda y: 1.0 / y)(x),
    }.items(),
    ids=operator.itemgetter(0),
)
def test_divisions_of_pythons_floats(compute):
    check(caught(compute[1], ZeroDivisionError), [2.0, 0.0, 4.5, -0.0, -3.25])


@pytest.mark.parametrize(
    "compute",
    {
        "10**x": lambda x: 10.0**x,
        "(-10)**int": lambda x: x + (-10.0) ** int(x),
        "x**100": lambda x: x**100,
        "x**x": lambda x: (1.0 + x * x) ** x,
        "x**-200": lambda x: (x * 1e-3) ** -200,
    }.items(),
    ids=operator.itemgetter(0),
)
def test_powers_of_pythons_floats(compute):
    points = [2.0, 400.0, 3.5, 1e4, 1e-3, 0.0, 401.0, INF, -2.0, 2.0]
    check(caught(compute[1], OverflowError, ZeroDivisionError), points)


def test_numpys_floats_do_not_raise():
    def f(x):
        try:
            return 1.0 / x[0] + 7.0 % x[1] + x[1] ** -1
        except ZeroDivisionError:
            return 3.0 * x[0]

    points = [np.array(row) for row in ((2.0, 3.0), (0.0, 3.0), (2.0, 0.0), (1.0, 1.5))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gradient = nt.value_and_grad(f)
        for point in points:
            np.testing.assert_array_equal(gradient(point)[0], f(point))


def test_floats_of_both_kinds_have_recordings_of_their_own():
    f = caught(lambda x: 1.0 / x, ZeroDivisionError)
    gradient = nt.value_and_grad(f)
    with np.errstate(divide="ignore"):
        for x in (2.0, np.float64(2.0), 0.0, np.float64(0.0), 0.0, np.float64(4.0)):
            assert gradient(x)[0] == f(x)


def test_a_constant_copy_is_pythons_too():
    gradient = nt.value_and_grad(caught(lambda x: x / nt.stop_gradient(x), ZeroDivisionError))
    assert [gradient(x) for x in (4.0, 0.0, 2.0)] == [(1.0, 0.25), (1.0, 3.0), (1.0, 0.5)]


def test_without_a_handler_floats_are_as_numpys():
    gradient = nt.value_and_grad(lambda x: 1.0 / x + 10.0**x)
    assert gradient(0.0)[0] == INF  # ZeroDivisionError in Python
    assert gradient(2.0) == (100.5, -0.25 + 100.0 * math.log(10.0))
    assert gradient(0.0)[0] == INF
    assert gradient(400.0)[0] == INF
    assert not nt.record(lambda x: 1.0 / x, 2.0).flat.guards


def test_complex_powers_are_refused_where_the_function_would_notice():
    gradient = nt.grad(caught(lambda x: x**0.5, ZeroDivisionError))
    for _ in range(2):
        assert gradient(4.0) == 0.25
        with pytest.raises(nt.UnsupportedError, match=r"-4.0 \*\* 0.5.*complex"):
            gradient(-4.0)
    assert np.isnan(nt.grad(lambda x: x**0.5)(-4.0))  # elsewhere as of NumPy
    assert nt.grad(lambda x: np.where(x > 0.0, x**0.5, 3.0 * x))(-4.0) == 3.0
    assert nt.grad(caught(lambda x: x**3.0, ZeroDivisionError))(-2.0) == 12.0
    with np.errstate(invalid="ignore"):
        powers = nt.grad(caught(lambda x: np.power(x, 0.5), ZeroDivisionError))
        assert np.isnan(powers(-4.0))  # the remedy


# NumPy's floating-point errors


def raising(compute, **errors):
    def f(x):
        try:
            with np.errstate(**(errors or {"all": "raise"})):
                return compute(x)
        except FloatingPointError:
            return 5.0 + 3.0 * np.sum(np.where(np.isfinite(x), x, 0.0))

    return f


def warning(compute):
    def f(x):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return compute(x)
        except RuntimeWarning:
            return 5.0 + 3.0 * np.sum(np.where(np.isfinite(x), x, 0.0))

    return f


COMPUTED = {
    "division": lambda x: x[0] / x[1],
    "division of numbers": lambda x: 1.0 / x[1] + x[0],
    "division of arrays": lambda x: np.sum(1.0 / x),
    "sum": lambda x: np.sum(x * 1e4) * 1e-4,
    "add": lambda x: x[0] + x[1],
    "product": lambda x: x[0] * x[1] * x[2],
    "of all": lambda x: np.prod(x),
    "exp": lambda x: np.exp(x[0]) * 1.0,
    "exp of arrays": lambda x: np.sum(np.exp(x)),
    "log": lambda x: np.log(x[1]) + 1.0,
    "root": lambda x: np.sqrt(x[1]) * np.sqrt(x[2]),
    "power": lambda x: (x[1] + 1.0) ** x[0] + x[1] ** 2,
    "running": lambda x: np.cumsum(x * 1e4)[-1],
    "matrix product": lambda x: np.outer(x, x)[0] @ x,
    "difference": lambda x: x[0] - x[2],
}
ROWS = [
    *((2.0, 3.0, 1.5), (2.0, 0.0, 1.0), (900.0, 2.0, 1.0), (1e305, 1e305, 1.0), (1.0, -2.0, 3.0)),
    *((INF, 1.0, INF), (NAN, 1.0, 2.0), (0.0, 0.0, 0.0), (1.0, 2.0, 4.0), (-1e307, -1e306, -1.0)),
]


@pytest.mark.parametrize("name", COMPUTED)
def test_errors_that_raise(name):
    check(raising(COMPUTED[name], over="raise", divide="raise", invalid="raise"), POINTS)


@pytest.mark.parametrize("name", ["division", "product", "exp", "exp of arrays", "power"])
def test_numbers_that_are_too_small(name):
    rows = [(-800.0, 1e200, 1e200), (1e-200, 1e-200, 1e-200), (1e-310, 1.0, 1.0), (1.0, 2.0, 0.5)]
    check(raising(COMPUTED[name]), [*map(np.array, rows), *POINTS[:4]])


@pytest.mark.parametrize("name", COMPUTED)
def test_warnings_that_are_errors(name):
    check(warning(COMPUTED[name]), POINTS)


POINTS = [np.array(row) for row in ROWS]


def test_errors_set_outside():
    """With seterr they reach the caller, wherever the function was recorded."""
    f = COMPUTED["division of numbers"]
    gradient = nt.value_and_grad(f)
    with np.errstate(divide="raise"):
        for x in (np.array([2.0, 4.0]), np.array([2.0, 0.0])) * 2:
            assert_same(recorded(lambda x: gradient(x)[0], x), plain(f, x))


@pytest.mark.filterwarnings("error")
def test_without_a_handler_warnings_leave_no_guards():
    tape = nt.record(lambda x: np.sum(np.exp(x) / x[0]), np.array([2.0, 3.0]))
    assert not tape.flat.guards


# What only numtape raises


@pytest.mark.parametrize(
    "refused",
    {
        "a ufunc": lambda x: np.nextafter(x[0], 9.0),
        "a function": lambda x: np.histogram_bin_edges(x)[0],
        "a method": lambda x: x.astype(np.float32)[0],
        "bytes": lambda x: x.tobytes(),
        "complex": lambda x: complex(x[0]).real,
        "a complex number": lambda x: float(x[0] * 1j),
        "a complex power": lambda x: (x[0].item() - 9.0) ** 0.5,
        "a key": lambda x: {x[0]: 1.0}[x[0]],
        "SciPy": lambda x: scipy.linalg.sqrtm(np.diag(x), disp=False)[0],
    }.items(),
    ids=operator.itemgetter(0),
)
def test_a_refusal_that_the_function_catches_is_raised_all_the_same(refused):
    def f(x):
        try:
            return refused[1](x)
        except (TypeError, AttributeError):
            return 2.0 * x[0]

    with pytest.raises(nt.TraceError):
        nt.grad(f)(np.array([2.0, 3.0]))


def test_names_of_scipy_are_learnt_from_refusals_that_are_caught():
    def f(x):
        try:
            return aliased(x)
        except TypeError:
            return 2.0 * x[0]

    x = np.array([2.0, 3.0])
    assert nt.value_and_grad(f)(x)[0] == f(x)


# derivatives inside, threads, trees


def _derivative_of_an_int(x):
    try:
        return nt.grad(lambda y: y * int(y * x))(x)
    except ValueError:
        return 1.0 + 2.0 * np.where(np.isnan(x), 0.0, x)


def test_what_raises_inside_a_derivative_is_guarded_outside():
    check(_derivative_of_an_int, [2.5, NAN, 3.25, -1.5])


def _derivatives_of_a_list(x):
    try:
        return nt.vmap(nt.grad(lambda y: y * [1, 2, 3][int(y)]))(x).sum()
    except IndexError:
        return -x[0]


def test_what_raises_at_a_point_of_vmap_is_guarded_outside():
    rows = [(0.5, 1.5), (1.5, 5.5), (2.5, 2.5), (7.5, 1.5)]
    check(_derivatives_of_a_list, [np.array(row) for row in rows])


def test_what_raises_in_another_thread_counts():
    def f(x):
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(lambda: 1.0 / x)
        try:
            return found.result()
        except ZeroDivisionError:
            return 1.0 + 3.0 * x

    gradient = nt.value_and_grad(f)
    assert [gradient(x) for x in (2.0, 0.0, 4.0)] == [(0.5, -0.25), (1.0, 3.0), (0.25, -0.0625)]


def test_handlers_of_the_caller_do_not_count():
    gradient = nt.value_and_grad(lambda x: 1.0 / x)
    try:
        assert gradient(0.0)[0] == INF
    except ZeroDivisionError:  # pragma: no cover
        pytest.fail("the caller's handler is outside of the function")
    assert not nt.record(lambda x: 1.0 / x, 2.0).flat.guards


def test_floats_in_trees_are_pythons():
    def f(parameters):
        try:
            return parameters["a"] / parameters["b"] + parameters["c"][0] / parameters["c"][1]
        except ZeroDivisionError:
            return 1.0 + parameters["a"]

    value = nt.value_and_grad(f)
    with np.errstate(divide="ignore"):
        for b, c in ((2.0, 1.0), (0.0, 1.0), (2.0, 0.0), (np.float64(0.0), 1.0), (4.0, 1.0)):
            tree = {"a": 3.0, "b": b, "c": np.array([1.0, c])}
            assert value(tree)[0] == f(tree)


def test_casts_that_raise():
    def f(x):
        try:
            with np.errstate(all="raise"):
                return x[0] * x.astype(int)[1]
        except FloatingPointError:
            return 1.0 - x[0]

    check(f, [np.array([2.0, v]) for v in (3.5, NAN, 4.5, INF, 1.5)])


def test_an_exception_that_reaches_the_caller_is_that_of_the_plain_call():
    def f(x):
        return x[int(x[1])] * np.sqrt(x[0])

    rows = [(2.0, 1.0), (2.0, NAN), (2.0, 0.0), (2.0, 7.0), (3.0, INF), (4.0, 1.0)]
    check(f, [np.array(row) for row in rows])


REFUSED = {
    "weights": lambda x: np.average([1.0, 2.0, 4.0], weights=x - 1.0),
    "aweights": lambda x: np.sum(np.cov(np.outer(x, x + 1.0), aweights=x)),
    "edges": lambda x: np.sum(np.histogram([1.0, 2.0, 3.0], x, weights=[1.0, 2.0, 3.0])[0]),
    "bins": lambda x: x[0] * np.digitize(1.5, x),
    "period": lambda x: np.interp(0.5, [0.0, 1.0, 2.0], x, period=x[2]),
    "quantile": lambda x: np.quantile([1.0, 2.0, 5.0], x[0]),
    "nanquantile": lambda x: np.nanquantile([1.0, 2.0, 5.0], x[0]),
    "percentile": lambda x: np.percentile([1.0, 2.0, 5.0], 100.0 * x[0]),
    "finite": lambda x: np.sum(np.asarray_chkfinite(x)),
    "linspace": lambda x: np.sum(np.linspace(0.0, x[0], int(x[1]))),
    "inverse": lambda x: np.sum(np.linalg.inv(np.diag(x))),
    "solve": lambda x: np.sum(np.linalg.solve(np.diag(x), x)),
    "cholesky": lambda x: np.sum(np.linalg.cholesky(np.diag(x))),
    "eigvalsh": lambda x: np.sum(np.linalg.eigvalsh(np.diag(x))),
    "SciPy's solve": lambda x: np.sum(scipy.linalg.solve(np.diag(x)[:, ::-1], x)),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::scipy.linalg.LinAlgWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_numpy_and_scipy_refuse(name):
    def f(x):
        try:
            return REFUSED[name](x)
        except (ValueError, ZeroDivisionError):
            return -7.0 - np.sum(np.where(np.isfinite(x), x, 0.0))

    rows = [(2.0, 3.0, 1.5), (1.0, 2.0, 4.0), (0.5, -1.5, 0.0), (0.2, 0.5, 0.7), (0.0, 1.0, 2.0)]
    unordered = [(NAN, 1.0, 2.0), (INF, 1.0, 2.0)] if name not in ("edges", "bins") else []
    check(f, [np.array(row) for row in rows + unordered])
