"""vmap: against a loop over single points, on every path."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.trees import flatten
from numtape.run import batch as batch_module

RNG = np.random.default_rng(11)
X = RNG.uniform(0.2, 2.0, (20, 3))


class Counted:
    """A function that counts its calls."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *arguments, **named):
        self.calls += 1
        return self.function(*arguments, **named)


def assert_loop(found, singles, rtol=1e-13):
    """`found` at many points, leaf by leaf, is what the list of single results has."""
    leaves, structure = flatten(found)
    for number, single in enumerate(singles):
        expected, wanted = flatten(single)
        assert structure == wanted
        for leaf, one in zip(leaves, expected, strict=True):
            assert leaf.shape == (len(singles), *np.shape(one))
            scale = np.max(np.abs(one), initial=1e-30)
            np.testing.assert_allclose(leaf[number], one, rtol=rtol, atol=rtol * scale)


def scalar(x, a=0.7):
    return np.sin(x[0]) * x[1] + np.exp(-a * x[2]) / x[0]


def long(x, a=0.7):
    y = np.concatenate([x] * 5)
    return np.sum(np.sin(y) * np.exp(-a * y)) * x[0]


def vector(x, a=0.7):
    return np.array([x[0] * x[1], np.tanh(x[2]) * a])


# derivatives of every kind


@pytest.mark.parametrize("function", [scalar, long])
@pytest.mark.parametrize(
    "make", [lambda f: f, nt.grad, nt.value_and_grad, nt.jacobian, nt.jacfwd, nt.jacrev, nt.hessian]
)
def test_functions_and_derivatives(make, function):
    single = make(function)
    assert_loop(nt.vmap(single)(X), [single(x) for x in X])
    assert_loop(nt.vmap(single, in_axes=(0, None))(X, 0.3), [single(x, 0.3) for x in X])


@pytest.mark.parametrize("make", [nt.jacobian, nt.jacfwd, nt.jacrev])
def test_jacobians_of_vectors(make):
    single = make(vector, argnums=(0, 1))
    a = RNG.uniform(0.5, 1, 20)
    assert_loop(nt.vmap(single)(X, a), [single(x, float(b)) for x, b in zip(X, a)])


def test_products_inside():
    def push(x, dx):
        return nt.jvp(vector, (x,), (dx,))

    def pull(x, w):
        value, pull_back = nt.vjp(vector, x)
        return value, pull_back(w)

    dx, w = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2))
    assert_loop(nt.vmap(push)(X, dx), [push(*p) for p in zip(X, dx)])
    assert_loop(nt.vmap(pull, in_axes=(None, 0))(X[0], w), [pull(X[0], p) for p in w])
    products = nt.vmap(lambda x, v: nt.hvp(scalar, (x,), (v,)))(X, dx)
    assert_loop(products, [nt.hvp(scalar, (x,), (v,)) for x, v in zip(X, dx)])


def test_aux():
    single = nt.grad(lambda x: (np.sum(x * x), {"half": x / 2}), has_aux=True)
    assert_loop(nt.vmap(single)(X), [single(x) for x in X])


def test_nested():
    def f(x, y):
        return np.sin(x) * y if x > y else x - y**2

    x, y = RNG.normal(size=7), RNG.normal(size=5)
    table = nt.vmap(nt.vmap(f, in_axes=(None, 0)), in_axes=(0, None))
    assert_loop(table(x, y), [np.array([f(a, b) for b in y]) for a in x])
    slopes = nt.vmap(nt.vmap(nt.grad(f), in_axes=(0, None)), in_axes=(None, 0))
    expected = np.array([[nt.grad(f)(float(a), float(b)) for a in x] for b in y])
    np.testing.assert_allclose(slopes(x, y), expected, rtol=1e-13)


def test_inside_derivatives():
    def total(c):
        values = nt.vmap(lambda x, c: np.sin(c * x) if x > 1.0 else c * x, in_axes=(0, None))
        return np.sum(values(X[:, 0], c))

    above = X[:, 0] > 1.0
    expected = np.sum(np.where(above, np.cos(0.7 * X[:, 0]) * X[:, 0], X[:, 0]))
    np.testing.assert_allclose(nt.grad(total)(0.7), expected, rtol=1e-13)
    curved = np.sum(np.where(above, -np.sin(0.7 * X[:, 0]) * X[:, 0] ** 2, 0.0))
    np.testing.assert_allclose(nt.grad(nt.grad(total))(0.7), curved, rtol=1e-12)

    def over_traced(x):
        return np.sum(nt.vmap(nt.grad(scalar))(x)[:, 1])

    step, x = 1e-6, X[:4]
    for place in np.ndindex(4, 3):
        moved = np.zeros((4, 3))
        moved[place] = step
        rise = (over_traced(x + moved) - over_traced(x - moved)) / (2 * step)
        np.testing.assert_allclose(nt.grad(over_traced)(x)[place], rise, rtol=1e-6, atol=1e-8)


def test_closures_are_read_when_recorded():
    scale = np.array([1.0, 2.0, 3.0])
    found = nt.vmap(lambda x: np.sum(scale * x))(X)
    np.testing.assert_allclose(found, X @ scale, rtol=1e-14)


def test_recursion():
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    found = nt.vmap(nt.grad(power), in_axes=(0, None))(X[:, 0], 5)
    np.testing.assert_allclose(found, 5 * X[:, 0] ** 4, rtol=1e-13)


# axes


@dataclass
class Model:
    weights: np.ndarray
    offset: float


def test_in_axes():
    def f(x, y):
        return np.sum(x * x) * y

    y = RNG.normal(size=20)
    expected = np.sum(X * X, axis=1) * y
    for x, axes in [(X, 0), (X.T, (1, 0)), (X.T, (-1, 0)), (X.T, [1, -1]), (X, (-2, 0))]:
        np.testing.assert_allclose(nt.vmap(f, in_axes=axes)(x, y), expected, rtol=1e-14)
    shared = nt.vmap(f, in_axes=(None, 0))(X[0], y)
    np.testing.assert_allclose(shared, np.sum(X[0] ** 2) * y, rtol=1e-14)


def test_in_axes_of_trees():
    def f(p, x):
        model, extra = p["model"], p["extra"][0]
        return np.sum(model.weights * x) + model.offset * extra

    weights, offset, extra = RNG.normal(size=(3, 20)), RNG.normal(size=20), RNG.normal(size=20)
    expected = np.sum(weights.T * X, axis=1) + offset * extra
    axes = ({"model": Model(1, 0), "extra": (0,)}, 0)
    found = nt.vmap(f, in_axes=axes)({"model": Model(weights, offset), "extra": (extra,)}, X)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    axes = ({"model": Model(None, None), "extra": None}, 0)
    found = nt.vmap(f, in_axes=axes)({"model": Model(weights[:, 0], 0.5), "extra": (2.0,)}, X)
    np.testing.assert_allclose(found, X @ weights[:, 0] + 1.0, rtol=1e-13)
    gradients = nt.vmap(nt.grad(f), in_axes=axes)(
        {"model": Model(weights[:, 0], 0.5), "extra": (2.0,)}, X
    )
    assert_same_bits(gradients["model"].weights, X)
    assert_same_bits(gradients["extra"][0], np.full(20, 0.5))


def test_named_arguments_are_counted_along_their_first_axis():
    def f(x, *, a, b=None):
        return np.sum(x) * a + (0.0 if b is None else b["c"])

    a = RNG.normal(size=20)
    np.testing.assert_allclose(nt.vmap(f)(X, a=a), X.sum(axis=1) * a, rtol=1e-13)
    found = nt.vmap(f)(X, a=a, b={"c": 2 * a})
    np.testing.assert_allclose(found, X.sum(axis=1) * a + 2 * a, rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_out_axes(axis):
    def f(x):
        return np.outer(x, x[:2])

    wanted = np.moveaxis(np.array([f(x) for x in X]), 0, axis)
    assert_same_bits(nt.vmap(f, out_axes=axis)(X), wanted)
    out = np.full(wanted.shape, 5.5)
    found = nt.vmap(f, out_axes=axis)(X, out=out)
    assert np.shares_memory(found, out)
    assert_same_bits(out, wanted)
    # Inside a recorded function too.
    tape = nt.record(lambda x: nt.vmap(f, out_axes=axis)(x), X)
    assert_same_bits(tape(X), wanted)


def test_numbers_of_any_kind_are_counted_along():
    for values in [
        np.arange(5),
        np.arange(5, dtype=np.uint8),
        np.array([True, False, True]),
        np.linspace(0, 1, 4).astype(np.float32),
        np.linspace(0, 1, 4).astype(">f8"),
        np.linspace(0, 1, 9)[::-2],
    ]:
        found = nt.vmap(lambda x: x * x + 1.0)(values)
        assert_same_bits(found, values.astype(float) ** 2 + 1.0)
    # Shared ones stay what they are.
    found = nt.vmap(lambda x, n, name: x[n] if name == "one" else x[0], in_axes=(0, None, None))
    assert_same_bits(found(X, 2, "one"), X[:, 2])
    assert_same_bits(found(X, 2, "other"), X[:, 0])


def test_no_points():
    assert nt.vmap(scalar)(np.zeros((0, 3))).shape == (0,)
    assert nt.vmap(nt.jacobian(vector))(np.zeros((0, 3))).shape == (0, 2, 3)
    assert nt.vmap(lambda x, n: x * n)(np.zeros(0), np.zeros(0, int)).shape == (0,)


# paths


def nested(x, y):
    if x > 0.0:
        if y > 0.0:
            return x * y
        return np.sin(x) - y
    if x + y > 1.0:
        return x / y
    return np.exp(x)


def test_nested_branches():
    x, y = RNG.normal(size=(2, 4000)) * 2
    function = Counted(nested)
    mapped = nt.vmap(function, branches="paths")
    singles = [nested(a, b) for a, b in zip(x.tolist(), y.tolist())]
    np.testing.assert_allclose(mapped(x, y), singles, rtol=1e-14)
    assert function.calls == 4  # each path once
    np.testing.assert_allclose(mapped(x[::-1], y[::-1]), singles[::-1], rtol=1e-14)
    assert function.calls == 4
    slopes = nt.vmap(nt.grad(nested, argnums=(0, 1), branches="paths"))(x, y)
    single = nt.grad(nested, argnums=(0, 1))
    expected = [single(a, b) for a, b in zip(x[:300].tolist(), y[:300].tolist())]
    assert_loop((slopes[0][:300], slopes[1][:300]), expected)


def newton(a):
    """A square root, by as many steps as it takes."""
    x = a
    while abs(x * x - a) > 1e-12 * a:
        x = 0.5 * (x + a / x)
    return x


def test_loops_of_varying_length():
    a = np.geomspace(1e-8, 1e8, 3001)
    function = Counted(newton)
    found = nt.vmap(function, branches="paths")(a)
    assert_same_bits(found, [newton(v) for v in a.tolist()])
    steps = len({_steps(v) for v in a.tolist()})
    assert steps > 10
    assert function.calls == steps
    slope = nt.grad(newton, branches="paths")
    slopes = nt.vmap(slope)(a[::50])
    assert_loop(slopes, [slope(v) for v in a[::50].tolist()])
    inside = a[::50] != 1.0  # there it takes no step at all
    np.testing.assert_allclose(slopes[inside], 0.5 / np.sqrt(a[::50][inside]), rtol=1e-6)


def _steps(a):
    x, count = a, 0
    while abs(x * x - a) > 1e-12 * a:
        x, count = 0.5 * (x + a / x), count + 1
    return count


def test_integers_of_traced_values():
    table = np.array([3.0, 1.0, 4.0, 1.5])

    def f(x):
        k = int(x)
        return table[k] * (1 - (x - k)) + table[k + 1] * (x - k)

    x = RNG.uniform(0, 3, 1000)
    function = Counted(f)
    assert_same_bits(nt.vmap(function)(x), [f(v) for v in x.tolist()])
    assert function.calls == 3
    assert_same_bits(nt.vmap(nt.grad(f))(x), np.diff(table)[x.astype(int)])


def test_rare_paths():
    x = RNG.uniform(0.0, 1.0, 100_000)
    rare = [17, 50_000, 99_999]
    x[rare] = [-1.0, 2.0, -3.0]

    def f(x):
        if x < 0.0:
            return -x
        return x * x if x > 1.0 else 3.0 * x

    function = Counted(f)
    mapped = nt.vmap(function)
    expected = 3.0 * x
    expected[rare] = [1.0, 4.0, 3.0]
    assert_same_bits(mapped(x), expected)
    assert function.calls == 3
    out = np.empty(100_000)
    mapped(x, out=out)
    assert_same_bits(out, expected)
    assert function.calls == 3


def test_one_point_on_each_path():
    """The first point of a batch takes a path of its own each time."""
    function = Counted(lambda x: x * float(round(np.floor(x))) if x > 3.0 else x)
    x = np.arange(40.0) + 0.5
    expected = np.where(x > 3.0, x * np.floor(x), x)
    mapped = nt.vmap(function, branches="paths")
    assert_same_bits(mapped(x), expected)
    calls = function.calls
    for shift in (1, 7, 39):
        assert_same_bits(mapped(np.roll(x, shift)), np.roll(expected, shift))
    assert function.calls == calls


def test_nan_and_infinity_take_the_paths_that_python_takes():
    def f(x):
        return x * 2.0 if x > 1.5 else (x - 1.0 if x == x else x)

    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 2.0, np.nan, 1.5])
    assert_same_bits(nt.vmap(f)(x), [f(v) for v in x.tolist()])


@pytest.mark.parametrize("function", [np.exp, np.sin, np.tanh, np.log, lambda x: x**2.0, np.cbrt])
def test_the_edge_of_a_guard(function):
    """A point exactly at the edge, and its neighbours, take the path they take alone.

    Vector maths rounds about every other one of these functions' values otherwise.
    """
    edges = RNG.uniform(0.3, 2.5, 100).tolist()
    for edge in edges:
        limit = float(function(np.float64(edge)))

        def f(x, limit=limit):
            value = function(x)
            if value > limit:
                return x * 2.0
            return x * 3.0 if value == limit else x * 5.0

        x = np.array([edge, np.nextafter(edge, 0), np.nextafter(edge, 9), edge + 1, edge / 2, edge])
        assert_same_bits(nt.vmap(f)(x), [f(v) for v in x.tolist()])


def test_the_edge_of_a_guard_with_another_behind_it():
    """Once this went back and forth between two recordings for ever."""
    for edge in RNG.uniform(0.3, 2.5, 100).tolist():
        limit = float(np.sin(edge))

        def f(x, edge=edge, limit=limit):
            if np.sin(x) > limit:
                return x * 3.0 if abs(x - edge) > 1e-9 else x * 4.0
            return x * 2.0

        x = np.array([edge + 1e-3, edge - 1e-3, edge])
        mapped = nt.vmap(f)
        mapped(x[:2])
        assert_same_bits(mapped(x), [f(v) for v in x.tolist()])


# threads, blocks, progress, errors


@pytest.fixture
def many_chunks(monkeypatch):
    monkeypatch.setattr(batch_module, "_CHUNK", 1 << 9)
    monkeypatch.setattr(batch_module, "_WORTH_A_THREAD", 1 << 9)


@pytest.mark.filterwarnings("ignore::numtape.SelectionWarning")
@pytest.mark.usefixtures("many_chunks")
def test_many_threads_at_once():
    x, y = RNG.normal(size=(2, 8, 700)) * 2
    for _ in range(3):
        mapped = nt.vmap(nested)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(mapped, x, y))
        for one, a, b in zip(found, x, y):
            assert_same_bits(one, nt.vmap(nested, num_threads=1)(a, b))


@pytest.mark.filterwarnings("ignore::numtape.SelectionWarning")
@pytest.mark.usefixtures("many_chunks")
def test_number_of_threads_does_not_matter():
    x, y = RNG.normal(size=(2, 3000)) * 2
    one = nt.vmap(nested, num_threads=1)(x, y)
    for threads in (2, 7):
        assert_same_bits(nt.vmap(nested, num_threads=threads)(x, y), one)
    for size in (1, 2, 9, 300):
        assert_same_bits(nt.vmap(nested)(x[:size], y[:size]), one[:size])
    with pytest.raises(nt.InputError, match=r"num_threads=0.*1 or more"):
        nt.vmap(nested, num_threads=0)(x, y)


@pytest.mark.filterwarnings("ignore::numtape.SelectionWarning")
@pytest.mark.usefixtures("many_chunks")
def test_progress():
    told = []
    x, y = RNG.normal(size=(2, 3000))
    nt.vmap(nested, progress=lambda done, total: told.append((done, total)))(x, y)
    assert {total for _, total in told} == {3000}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (3000, 3000)
    assert len(told) > 3


def test_blocks():
    mapped = nt.vmap(nested)
    x, y = RNG.normal(size=(2, 30))
    whole = mapped(x, y)
    found = mapped(iter(np.split(x, 3)), iter(np.split(y, 3)))
    assert hasattr(found, "__next__")
    assert_same_bits(np.concatenate(list(found)), whole)
    shared = nt.vmap(nested, in_axes=(0, None))(iter([x, 2 * x]), 0.5)
    assert_same_bits(next(shared), nt.vmap(nested, in_axes=(0, None))(x, 0.5))
    with pytest.raises(nt.InputError, match="ended before another"):
        list(mapped(iter([x, x]), iter([y])))
    named = list(nt.vmap(nested)(iter([x, x]), y=iter([y, 2 * y])))
    assert_same_bits(named[1], mapped(x, 2 * y))
    rows = list(nt.vmap(vector, out_axes=1)(iter([X])))
    assert_same_bits(rows[0], nt.vmap(vector)(X).T)
    columns = nt.vmap(scalar, in_axes=1)(iter([X.T, X.T[:, :4]]))
    assert [block.shape for block in columns] == [(20,), (4,)]


def test_an_error_in_the_function_comes_out():
    class OwnError(Exception):
        pass

    def f(x):
        if x > 2.0:
            raise OwnError(x)
        return x * 2.0

    mapped = nt.vmap(f)
    before = threading.active_count()
    with pytest.raises(OwnError):
        mapped(np.array([1.0, 3.0, 0.5]))
    assert threading.active_count() == before
    assert_same_bits(mapped(np.array([1.0, 0.5])), [2.0, 1.0])
    with pytest.raises(nt.OutputError, match="on another path"):
        nt.vmap(lambda x: x if x > 0.0 else x * np.ones(2))(np.array([1.0, -1.0]))


def test_out_may_not_overlap_the_arguments():
    x = np.linspace(-1.0, 1.0, 11)
    with pytest.raises(nt.InputError, match=r"memory an argument uses.*Pass a fresh one"):
        nt.vmap(lambda x: x if x > 0.0 else -x)(x, out=x)
    assert_same_bits(x, np.linspace(-1.0, 1.0, 11))


def test_a_vmap_looks_like_its_function():
    mapped = nt.vmap(nested)
    assert repr(mapped) == "<vmap(nested)>"
    assert mapped.__wrapped__ is nested


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nt.vmap(3.0), r"vmap was given 3\.0.*cannot be called.*Pass one, as in vmap"),
        (lambda: nt.vmap(scalar, out_axes="a"), "out_axes='a'.*number of an axis"),
        (lambda: nt.vmap(scalar, out_axes=1)(X), r"out_axes=1.*0 axes.*from -1 to 0"),
        (lambda: nt.vmap(scalar, in_axes=(0, 0, 0))(X), r"in_axes=\(0, 0, 0\) has 3 entries"),
        (lambda: nt.vmap(scalar, in_axes="a")(X), "in_axes holds 'a'.*number, None"),
        (lambda: nt.vmap(scalar, in_axes=True)(X), "in_axes holds True"),
        (lambda: nt.vmap(scalar, in_axes=2)(X), "no axis 2 to count points along.*Say None"),
        (lambda: nt.vmap(scalar, in_axes=({"a": 0},))(X), r"in_axes holds \{'a': 0\}"),
        (lambda: nt.vmap(nested)(X[:3, 0], X[:4, 0]), r"\[3, 4\] points.*Say None"),
        (lambda: nt.vmap(nested, in_axes=None)(1.0, 2.0), "no array of points"),
        (lambda: nt.vmap(nested)(1.0, X[:, 0]), r"1\.0, which has no axis 0.*Say None"),
        (lambda: nt.vmap(lambda x, s: x)(X, np.array(["a"] * 20)), "ndarray of <U1.*real"),
        (lambda: nt.vmap(lambda x: x)(X[:, 0] * 1j), "complex128.*x.real and x.imag"),
        (lambda: nt.vmap(lambda x: x)(X[:, 0].astype(object)), r"object.*astype\(float\)"),
        (lambda: nt.vmap(lambda x: x)(np.ma.array(X[:, 0])), "MaskedArray.*plain arrays"),
        (lambda: nt.vmap(scalar)(X, out=np.empty(3)), r"float64 array of shape \(20,\)"),
        (lambda: nt.vmap(scalar)(X, out=None, a=1.0), r"1\.0, which has no axis 0"),
        (
            lambda: nt.grad(lambda c: np.sum(nt.vmap(lambda x: c * x)(np.zeros(0))))(1.0),
            "no points inside a function that is being recorded.*at least one",
        ),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(nt.InputError, match=message):
        call()


def test_a_tape_takes_many_points_by_itself():
    with pytest.raises(nt.InputError, match=r"takes many points by itself.*leading axes"):
        nt.vmap(nt.record(np.sin, 1.0))


def test_an_error_of_the_function_tells_the_point():
    def refuse(x):
        if x < 0:
            raise ValueError("below 0")
        return x

    with pytest.raises(ValueError, match="below 0") as caught:
        nt.vmap(refuse)(np.array([1.0, 2.0, -1.0]))
    assert "point 2" in caught.value.__notes__[0]


# Small arrays in lanes

SUMS = {
    "all": np.sum,
    "columns": lambda x: np.sum(x, axis=0),
    "rows": lambda x: np.sum(x, axis=-1),
    "running": np.cumsum,
    "product": np.prod,
    "largest": lambda x: np.max(x) - np.mean(x),
    "transposed": lambda x: np.sum(x.T * x.T, axis=0) * 2.0,
    "cancelling": lambda x: np.sum(x * 1e3) - np.sum(x[..., ::-1] * 1e3),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("size", [9, 17, 40, 64])
def test_small_arrays_are_added_up_in_lanes_as_alone(name, size):
    for shape in ((size,), (3, size // 3), (size // 3, 3)):
        exponents = RNG.integers(-8, 8, size=(20, *shape))
        points = RNG.normal(size=(20, *shape)) * 10.0**exponents
        function = SUMS[name]
        single = np.array([function(x) for x in points])
        assert_same_bits(nt.vmap(function)(points), single)
        tape = nt.record(function, points[0])
        assert tape.runner.of_batches.is_scalar


def test_an_array_of_exponents_and_long_arrays_stay_whole():
    for function, x in (
        (lambda x: np.sum(x ** np.arange(20.0)), np.ones(20)),
        (lambda x: np.sum(np.exp(x)), np.ones(100)),
        (lambda x: np.sum(x.reshape(4, 5) @ x.reshape(5, 4)), np.ones(20)),
        (lambda x: np.sort(x)[3], np.arange(20.0)),
    ):
        tape = nt.record(function, x)
        assert not tape.runner.of_batches.is_scalar
        points = RNG.uniform(0.5, 1.5, size=(5, x.size))
        np.testing.assert_allclose(nt.vmap(function)(points), [function(p) for p in points])
