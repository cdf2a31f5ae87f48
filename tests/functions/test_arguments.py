"""Arguments of every kind, and functions of every kind: values and derivatives, or a remedy."""

import array
import collections
import dataclasses
import enum
import functools
import operator
import types
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import numtape as nt

X = np.array([0.5, 1.5, 2.5])
N = np.array([1, 2, 3])


def cubes(x):
    return np.sum(x**3)


def product(x, y):
    return x**3 * y


def same(found, wanted):
    """Equal to rounding, and of float64 or Python's float."""
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert isinstance(found, float) or found.dtype == np.float64


# Integers to differentiate by.

INTEGERS = [
    3,
    np.int64(3),
    np.uint8(3),
    np.array(3),
    N,
    N.astype(np.uint8),
    N.astype(np.int32),
    N.astype(">i8"),
    np.arange(6).reshape(2, 3).T,
    np.arange(9)[::-3],
]


@pytest.mark.parametrize("n", INTEGERS, ids=repr)
def test_integers_are_floats_where_they_are_differentiated_by(n):
    x = np.asarray(n, float)
    first, second = 3.0 * x**2, np.multiply.outer(6.0 * x, np.ones_like(x))
    second = np.einsum("...,...->...", second, np.eye(x.size).reshape(x.shape * 2))
    gradient, both = nt.grad(cubes), nt.value_and_grad(cubes)
    for _ in range(2):
        same(gradient(n), first)
        value, slope = both(n)
        same(value, np.sum(x**3))
        same(slope, first)
    for derive in (nt.jacobian, nt.jacfwd, nt.jacrev):
        same(derive(cubes)(n), first)
    same(nt.hessian(cubes)(n), second)
    same(nt.hvp(cubes, n, n)[0], 6.0 * x * x)
    same(nt.jvp(cubes, (n,), (n,))[1], np.sum(first * x))
    same(nt.vjp(cubes, n)[1](2)[0], 2.0 * first)
    same(nt.linearize(cubes, n)[1](n), np.sum(first * x))
    same(nt.check_derivatives(cubes, n).jacobian, [np.ravel(first)])
    tape = nt.record(cubes, n)
    same(tape.gradient(n), first)
    same(tape.hessian(n), second)
    same(tape.gradient(x + 0.5), 3.0 * (x + 0.5) ** 2)


@pytest.mark.parametrize("n", INTEGERS, ids=repr)
def test_integers_inside_a_recorded_function(n):
    x = np.asarray(n, float)
    derivatives = [
        lambda y: np.sum(nt.grad(lambda x: cubes(x * y))(n)),
        lambda y: np.sum(nt.jacobian(lambda x: cubes(x * y))(n)),
        lambda y: np.sum(nt.vjp(lambda x: cubes(x * y), n)[1](1)[0]),
        lambda y: nt.jvp(lambda x: cubes(x * y), n, np.ones_like(n))[1],
    ]
    for derivative in derivatives:
        same(nt.grad(derivative)(2.0), np.sum(9.0 * x**2 * 2.0**2))
    same(
        nt.grad(lambda y: np.sum(nt.hvp(lambda x: cubes(x * y), n, n)[0]))(2.0), 72.0 * np.sum(x**2)
    )


def test_integers_elsewhere_stay_integers():
    def power(x, n):
        assert type(n) is int
        return sum(x for _ in range(n)) * x ** (n - 1)

    for x in (2, 2.0, np.array(2), np.array([2.0])):
        same(nt.grad(lambda x, n: np.sum(power(x, n)))(x, 3), 36.0 * np.ones(np.shape(x)))
    same(nt.grad(lambda x, *, n: power(x, n))(2, n=3), 36.0)
    same(nt.hessian(power)(2, 3), 36.0)
    same(nt.jvp(power, (2.0, 3), (1.0, 0))[1], 36.0)
    same(nt.hvp(power, (2.0, 3), (1.0, 0))[0], 36.0)
    assert nt.vjp(power, 2.0, 3)[1](1.0) == (36.0, None)
    same(nt.grad(lambda y: nt.jvp(power, (y, 3), (1.0, 0))[1])(2.0), 36.0)
    same(nt.record(power, 2.0, 3).gradient(2, 3), 36.0)
    same(nt.vmap(nt.grad(power), in_axes=(0, None))(N, 3), 9.0 * N**2)
    by_both = nt.grad(product, argnums=(0, 1))(2, 5)
    assert by_both == (60.0, 8.0)


def test_a_float_and_an_integer_share_a_recording():
    calls = []
    gradient = nt.grad(lambda x: calls.append(1) or x * x)
    assert (gradient(3), gradient(3.0), gradient(-1)) == (6.0, 6.0, -2.0)
    assert len(calls) == 1


def test_integers_that_share_memory():
    def scaled(a, b):
        a += 1
        return np.sum(a * b)

    for kind in (float, int, np.uint8, np.float32):
        z = np.array([1, 2, 5, 3], kind)
        of_both = nt.value_and_grad(scaled, argnums=(0, 1))
        for _ in range(2):
            value, (by_a, by_b) = of_both(z[:3], z[1:])
            # a is z[:3] + 1, and what of b lies in it has become that.
            assert value == 2 * 3 + 3 * 6 + 6 * 3
            np.testing.assert_array_equal(by_a, [3.0, 8.0, 6.0])
            np.testing.assert_array_equal(by_b, [0.0, 0.0, 6.0])
        np.testing.assert_array_equal(z, [1, 2, 5, 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda tangent: nt.jvp(product, (2.0, 3), (1.0, tangent)),
        lambda tangent: nt.grad(lambda x: nt.jvp(product, (x, 3), (1.0, tangent))[1])(2.0),
        lambda tangent: nt.hvp(product, (2.0, 3), (1.0, tangent)),
        lambda tangent: nt.grad(
            lambda x: nt.jvp(product, (x, 3), (1.0, tangent * x if np.any(tangent) else 0))[1]
        )(2.0),
    ],
)
@pytest.mark.parametrize("tangent", [1.0, 1, 3, np.array(2.0)])
def test_a_tangent_of_a_static_integer_is_not_left_out_unseen(call, tangent):
    with pytest.raises(nt.InputError, match=r"tangents hold .* argument 1, which is 3 of type int"):
        call(tangent)
    for zero in (0, 0.0, np.zeros(())):
        call(zero)


def test_tangents_of_other_static_leaves():
    def f(x, how):
        return x * x if how == "square" else x

    assert nt.jvp(f, (3.0, "square"), (1.0, "square")) == (9.0, 6.0)
    assert nt.jvp(f, (3.0, "square"), (1.0, 0.0)) == (9.0, 6.0)
    with pytest.raises(nt.InputError, match="tangents hold 'linear'"):
        nt.jvp(f, (3.0, "square"), (1.0, "linear"))
    tree = {"x": 3.0, "n": 2}
    assert nt.jvp(lambda p: p["x"] ** p["n"], tree, tree) == (9.0, 18.0)
    with pytest.raises(nt.InputError, match=r"argument 0\['n'\], which is 2"):
        nt.jvp(lambda p: p["x"] ** p["n"], tree, {"x": 3.0, "n": 1.0})


def test_an_integer_that_no_float_can_be():
    with pytest.raises(nt.InputError, match="no float64 is as large"):
        nt.grad(lambda x: x)(10**400)
    assert nt.grad(lambda x: x * x)(2**60) == 2.0**61


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize("n", [True, np.True_, np.array([True]), np.timedelta64(3, "s")], ids=repr)
def test_bools_and_times_are_no_numbers(n):
    for derive in (nt.grad, nt.jacobian, nt.hessian):
        with pytest.raises(nt.InputError, match="only floats and float arrays"):
            derive(cubes)(n)


# Floats of every kind and layout.


def _mapped(tmp_path, dtype):
    mapped = np.memmap(tmp_path / "x", dtype, "w+", shape=(3,))
    mapped[:] = X
    return mapped


KINDS = {
    "float16": lambda path: X.astype(np.float16),
    "float32": lambda path: X.astype(np.float32),
    "big endian": lambda path: X.astype(">f8"),
    "big endian float32": lambda path: X.astype(">f4"),
    "mapped": lambda path: _mapped(path, float),
    "mapped float32": lambda path: _mapped(path, np.float32),
    "mapped integers": lambda path: _mapped(path, int),
    "field of a structure": lambda path: np.array([(1, x) for x in X], "i1,f8")["f1"],
    "another": lambda path: np.array([(x, 2) for x in X], "f8,i4")["f0"][::-1],
    "fortran": lambda path: np.asfortranarray(np.outer(X, X)),
    "gaps": lambda path: np.outer(X, X)[::2, ::-2],
    "read-only": lambda path: np.broadcast_to(X, (2, 3)),
    "empty": lambda path: np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_floats(kind, tmp_path):
    given = KINDS[kind](tmp_path)
    x, before = np.array(given, float), given.copy()
    gradient, tape = nt.value_and_grad(cubes), nt.record(cubes, given)
    for _ in range(2):
        for value, slope in (gradient(given), tape.value_and_gradient(given)):
            same(value, cubes(x))
            same(slope, 3.0 * x**2)
    same(nt.hvp(cubes, given, given)[0], 6.0 * x * x)
    np.testing.assert_array_equal(given, before)


def test_views_of_a_field_of_a_structure():
    """It steps by 12 bytes, which are no whole number of floats."""

    def mixed(x):
        y = np.asarray(x)
        x[1:] *= 2.0
        return np.sum(y[::2] * x[::-2]) + np.sum(x.reshape(1, 3)[:, 1:] ** 2)

    x = np.array([(1, x) for x in X], "i4,f8")["f1"]
    for _ in range(2):
        found = nt.value_and_grad(mixed)(x), nt.value_and_grad(mixed)(X)
        same(found[0][0], mixed(X.copy()))
        same(found[0][1], found[1][1])
    assert nt.check_derivatives(lambda x: mixed(1.0 * x), X).error < 1e-8


def test_scalars_of_numpy():
    for kind in (np.float16, np.float32, np.float64):
        same(nt.grad(lambda x: x**3)(kind(1.5)), 6.75)
        same(nt.hessian(lambda x: x**3)(np.array(1.5, kind)), 9.0)


# What is refused: each with what the message says to pass instead.


class Units(np.ndarray):
    """As arrays with units are."""


class Series:
    """As a series of pandas looks, if its labels are not known: see test_labelled.py."""

    iloc = None

    def __init__(self, values, labels):
        self._values, self._labels = values, labels

    @property
    def shape(self):
        return self._values.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype)

    def to_numpy(self):
        return self._values

    def to_dict(self):
        return dict(zip(self._labels, self._values.tolist(), strict=True))


class Frame(Series):
    """As one of its frames does: columns of a matrix."""

    @property
    def columns(self):
        return self._labels

    def __getitem__(self, name):
        return Series(self._values[:, self._labels.index(name)], [])


class Tensor:
    """As an array of another library does."""

    shape = property(lambda self: (3,))

    def __array__(self, dtype=None, copy=None):
        return np.array(X, dtype)


SERIES = Series(X, ["a", "b", "c"])
FRAME = Frame(np.outer(X, [1.0, 2.0]), ["t", "y"])
STRUCTURE = np.array([(0.5, 1.5)], [("a", float), ("b", float)])
TIMES = np.array(["2020-01-01", "2020-01-03"], "M8[D]")
MASKED = np.ma.array(X, mask=[False, True, False])

REFUSED = [
    (MASKED, "x.filled(value)", lambda x: x.filled(0.0)),
    (MASKED, "x.compressed()", lambda x: x.compressed()),
    (np.ma.array(N, mask=[True, False, False]), "x.filled(value)", lambda x: x.filled(1)),
    (np.ma.masked, "x.filled(value)", lambda x: x.filled(1.0)),
    (np.ones((1, 2)).view(np.matrix), "np.asarray(x)", np.asarray),
    (np.ones((1, 2), int).view(np.matrix), "np.asarray(x)", np.asarray),
    (X.view(Units), "np.asarray(x)", np.asarray),
    (N.view(Units), "np.asarray(x)", np.asarray),
    (X + 1j, "x.real and x.imag", lambda x: x.real),
    (1.5 + 1j, "the imaginary part as two floats", lambda x: x.real),
    (np.complex64(1.5), "x.real and x.imag", lambda x: x.real),
    (X.astype(object), ".astype(float)", lambda x: x.astype(float)),
    (X.astype(np.longdouble), ".astype(float)", lambda x: x.astype(float)),
    (np.longdouble(1.5), ".astype(float)", lambda x: x.astype(float)),
    (SERIES, "x.to_numpy()", lambda x: x.to_numpy()),
    (FRAME, "x.to_numpy()", lambda x: x.to_numpy()),
    (Tensor(), "np.asarray(x)", np.asarray),
    (array.array("d", [1.0, 2.0]), "np.asarray(x)", np.asarray),
    (memoryview(X), "np.asarray(x)", np.asarray),
]


@pytest.mark.parametrize(("given", "remedy", "follow"), REFUSED)
def test_refused_wherever_it_stands(given, remedy, follow):
    calls = [
        lambda x: nt.grad(cubes)(x),
        lambda x: nt.value_and_grad(cubes)(x),
        lambda x: nt.jacobian(cubes)(x),
        lambda x: nt.hessian(cubes)(x),
        lambda x: nt.jvp(cubes, (x,), (x,)),
        lambda x: nt.vjp(cubes, x),
        lambda x: nt.hvp(cubes, (x,), (x,)),
        lambda x: nt.record(cubes, x),
        lambda x: nt.grad(lambda p: cubes(p["x"]))({"x": x}),
        lambda x: nt.grad(lambda y: y * nt.grad(cubes)(x).sum())(2.0),
        lambda x: nt.grad(lambda y, x: y * cubes(x))(2.0, x),
        lambda x: nt.grad(lambda y, x: y * cubes(x))(2.0, x=x),
        lambda x: nt.vmap(lambda y, x: y * cubes(x), in_axes=(0, None))(X, x),
    ]
    if np.ndim(given):
        calls.append(lambda x: nt.vmap(cubes)(x))
    for call in calls:
        with pytest.raises(nt.InputError) as caught:
            call(given)
        assert caught.value.code == "wrong-type", caught.value
        assert remedy in str(caught.value)
    x = follow(given)
    same(nt.grad(cubes)(x), 3.0 * np.asarray(x, float) ** 2)
    same(nt.grad(lambda y, x: y * cubes(x))(2.0, x), cubes(np.asarray(x, float)))


DIFFERENTIATED = [
    (
        STRUCTURE,
        "{name: x[name] for name in x.dtype.names}",
        lambda x: {name: x[name] for name in x.dtype.names},
        {"a": [0.75], "b": [6.75]},
    ),
    (TIMES, "np.timedelta64(1, 's')", lambda x: (x - x[0]) / np.timedelta64(1, "D"), [0.0, 12.0]),
    (np.timedelta64(3, "s"), "np.timedelta64(1, 's')", lambda x: x / np.timedelta64(1, "s"), 27.0),
    (Fraction(1, 2), "Convert it to float", float, 0.75),
    (Decimal("1.5"), "Convert it to float", float, 6.75),
    ("1.5", "Convert it to float", float, 6.75),
    (True, "Convert it to float", float, 3.0),
    (X > 1.0, "Convert it to float", lambda x: x.astype(float), [0.0, 3.0, 3.0]),
    ({1.5}, "Make it a list", list, [6.75]),
    (frozenset([1.5]), "Make it a list", list, [6.75]),
    (range(3), "np.array(list(x), float)", lambda x: np.array(list(x), float), [0.0, 3.0, 12.0]),
    (types.MappingProxyType({"a": 1.5}), "Make it a dict, dict(x)", dict, {"a": 6.75}),
    (
        collections.deque([1.5]),
        "np.array(list(x), float)",
        lambda x: np.array(list(x), float),
        [6.75],
    ),
]


def total(p):
    leaves = p.values() if isinstance(p, dict) else p if isinstance(p, list) else [p]
    return sum(cubes(leaf) for leaf in leaves)


@pytest.mark.parametrize(("given", "remedy", "follow", "wanted"), DIFFERENTIATED)
def test_what_has_no_derivative_says_how_to_make_a_float_of_it(given, remedy, follow, wanted):
    for derive in (nt.grad, nt.jacobian, nt.hessian):
        with pytest.raises(nt.InputError) as caught:
            derive(total)(given)
        assert remedy in str(caught.value)
        assert caught.value.code in ("not-differentiable", "wrong-type")
    np.testing.assert_equal(nt.grad(total)(follow(given)), wanted)


def test_static_arguments_of_every_kind():
    """What has no derivative is passed on as it is, to whoever does not ask for one."""
    statics = (3, True, np.int64(3), N, X > 1.0, "text", b"text", None, Level.HIGH, Fraction(1, 2))
    statics += (Decimal("1.5"), STRUCTURE, TIMES, np.timedelta64(3, "s"), range(3), len, int)
    for static in statics:

        def scaled(x, given, static=static):
            assert given is static
            return 2.0 * x * x

        assert nt.grad(scaled)(3.0, static) == 12.0
        assert nt.grad(lambda x, *, given, f=scaled: f(x, given))(3.0, given=static) == 12.0


@pytest.mark.parametrize("make", [iter, lambda x: (v for v in x), lambda x: map(abs, x)])
def test_iterators_are_not_used_up(make):
    for call in (
        lambda x: nt.grad(lambda y, x: y * sum(x))(2.0, x),
        lambda x: nt.grad(sum)(x),
        lambda x: nt.record(lambda y, x: y * sum(x), 2.0, x),
    ):
        given = make([1.0, 2.0])
        with pytest.raises(nt.InputError, match=r"iterator.*Pass list\(x\)"):
            call(given)
        assert list(given) == [1.0, 2.0]
        call(list(make([1.0, 2.0])))
    blocks = nt.vmap(cubes)(make([X[None], X[None]]))  # points in blocks
    np.testing.assert_allclose(np.concatenate(list(blocks)), cubes(X), rtol=1e-15)


def test_labels_as_dicts():
    """What the messages say of series and frames: the function goes on using names."""
    with pytest.raises(nt.InputError, match=r"Series: .*x\.to_dict\(\) to keep its labels"):
        nt.grad(lambda p: p["a"] * p["b"])(SERIES)
    assert nt.grad(lambda p: p["a"] * p["b"])(SERIES.to_dict()) == {"a": 1.5, "b": 0.5, "c": 0.0}

    def misfit(rate, data):
        return np.sum((rate * data["t"] - data["y"]) ** 2)

    columns = r"\{name: x\[name\]\.to_numpy\(\) for name in x\.columns\}"
    with pytest.raises(nt.InputError, match=columns):
        nt.grad(misfit)(1.0, FRAME)
    data = {name: FRAME[name].to_numpy() for name in FRAME.columns}
    same(nt.grad(misfit)(1.0, data), -2.0 * np.sum(X * X))


def test_a_tape_takes_values():
    tape = nt.record(cubes, X)
    same(tape.gradient(SERIES), 3.0 * X**2)
    same(tape(FRAME.to_numpy().T), [np.sum(X**3), 8.0 * np.sum(X**3)])
    same(tape.jvp(SERIES, SERIES)[1], np.sum(3.0 * X**3))
    same(nt.jvp(cubes, X, SERIES)[1], np.sum(3.0 * X**3))
    same(nt.vjp(lambda x: x**3, X)[1](SERIES)[0], 3.0 * X**3)
    assert nt.record(lambda x: x**3, 2.0).gradient(SERIES).shape == (3,)


def test_pandas_meets_a_traced_value():
    """A conversion in its modules is told of at the user's line, with a remedy."""
    pandas = {"__name__": "pandas.core.arithmetic", "np": np}
    exec("def scaled(s, x): return np.asarray(s * x, dtype=float)", pandas)
    with pytest.raises(nt.TraceError, match=r"test_arguments\.py.*with s\.to_numpy\(\)") as caught:
        nt.grad(lambda x: np.sum(pandas["scaled"](X, x)))(X)
    assert caught.traceback[-1].path.name == "test_arguments.py"
    same(nt.grad(lambda x: np.sum(SERIES.to_numpy() * x))(X), X)


# Functions of every kind.


class Model:
    factor = 3.0

    def method(self, x):
        return self.factor * x**3

    @classmethod
    def of_class(cls, x):
        return cls.factor * x**3

    @staticmethod
    def static(x):
        return 3.0 * x**3

    def __call__(self, x):
        return self.factor * x**3

    @functools.partial(nt.grad, argnums=1)
    def slope(self, x):
        return self.factor * x**3

    @functools.partial(nt.vmap, in_axes=(None, 0))
    def many(self, x):
        return self.factor * x**3

    @staticmethod
    @nt.grad
    def static_slope(x):
        return 3.0 * x**3

    @classmethod
    @functools.partial(nt.grad, argnums=1)
    def class_slope(cls, x):
        return cls.factor * x**3


@dataclasses.dataclass
class Values:
    factor: float

    @functools.partial(nt.grad, argnums=1)
    def slope(self, x):
        return self.factor * x**3


class Unhashable(Model):
    __hash__ = None

    def __eq__(self, other):
        return self is other


class Slotted:
    __slots__ = ()

    def __call__(self, x):
        return 3.0 * x**3


def keyword_only(x, *, k=3.0):
    return k * x**3


def flexible(*arguments, **options):
    return options.get("k", 3.0) * arguments[0] ** 3


@functools.wraps(keyword_only)
def wrapped(*arguments, **options):
    return keyword_only(*arguments, **options)


FUNCTIONS = {
    "lambda in a dict": {"f": lambda x: 3.0 * x**3}["f"],
    "method": Model().method,
    "class method": Model.of_class,
    "class method of an instance": Model().of_class,
    "static method": Model.static,
    "instance": Model(),
    "unhashable instance": Unhashable(),
    "instance with slots": Slotted(),
    "partial": functools.partial(lambda k, x: k * x**3, 3.0),
    "partial by name": functools.partial(keyword_only, k=3),
    "partial of a method": functools.partial(Model().method),
    "keyword-only": keyword_only,
    "flexible": flexible,
    "default": lambda x, k=3.0: k * x**3,
    "wrapped": wrapped,
    "single dispatch": functools.singledispatch(lambda x: 3.0 * x**3),
    "vectorize": np.vectorize(lambda x: 3.0 * x**3 if x > 1.0 else x),
    "frompyfunc": np.frompyfunc(lambda x: 3.0 * x**3, 1, 1),
    "derivative": nt.grad(lambda x: 0.75 * x**4),
    "many points": lambda x: nt.vmap(lambda x: 3.0 * x**3)(np.stack([x]))[0],
    "method caller": operator.methodcaller("__mul__", 4.0),
    "ufunc": np.sin,
    "builtin": abs,
}
WANTED = {  # value, first and second derivative at 2; of the others, those of 3 x**3
    "method caller": (8.0, 4.0, 0.0),
    "ufunc": (np.sin(2.0), np.cos(2.0), -np.sin(2.0)),
    "builtin": (2.0, 1.0, 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function = FUNCTIONS[name]
    value, first, second = WANTED.get(name, (24.0, 36.0, 36.0))
    tape, twice = nt.record(function, 2.0), np.array([2.0, 2.0])
    found = [
        (nt.grad(function)(2.0), first),
        (nt.value_and_grad(function)(2.0), (value, first)),
        (nt.jacobian(function)(2.0), first),
        (nt.hessian(function)(2.0), second),
        (nt.grad(nt.grad(function))(2.0), second),
        (nt.jvp(function, 2.0, 1.0), (value, first)),
        (nt.vjp(function, 2.0)[1](1.0), (first,)),
        (nt.hvp(function, 2.0, 1.0), (second,)),
        (nt.vmap(function)(twice), [value] * 2),
        (nt.vmap(nt.grad(function))(twice), [first] * 2),
        (tape(2.0), value),
        (tape.gradient(2.0), first),
        (tape.hessian(2.0), second),
    ]
    for result, wanted in found:
        np.testing.assert_allclose(result, wanted, rtol=1e-14)


def test_vectorize_of_arrays():
    cases = [
        (np.vectorize(lambda x: x**3 if x > 1.0 else x), np.where(X > 1.0, 3.0 * X**2, 1.0)),
        (np.vectorize(lambda x, n: x**n, excluded=[1]), 3.0 * X**2),
    ]
    for function, wanted in cases:
        more = (3,) if function.excluded else ()
        same(nt.jacobian(function)(X, *more), np.diag(wanted))
        same(nt.grad(lambda x, f=function, more=more: np.sum(f(x, *more)))(X), wanted)
    rows = np.vectorize(lambda x: np.sum(x**3), signature="(n)->()")
    same(nt.grad(lambda x: np.sum(rows(x)))(np.outer(X, X)), 3.0 * np.outer(X, X) ** 2)


def test_a_cached_function_has_the_function_itself():
    cached = functools.lru_cache(lambda x: x**3)
    with pytest.raises(nt.TraceError, match=r"with a cache call f\.__wrapped__"):
        nt.grad(cached)(2.0)
    assert nt.grad(cached.__wrapped__)(2.0) == 12.0


def test_methods_that_are_derivatives():
    model = Model()
    assert model.slope(2.0) == Model.slope(model, 2.0) == 36.0
    model.factor = 1.0
    assert model.slope(2.0) == 36.0  # the attribute is a constant of the recording
    assert Model.slope(Model(), 2.0) == Model().static_slope(2.0) == Model.static_slope(2.0) == 36.0
    assert Model.class_slope(2.0) == Model().class_slope(2.0) == 36.0
    same(Model().many(X), 3.0 * X**3)
    values = Values(3.0)
    assert values.slope(2.0) == 36.0
    values.factor = 1.0
    assert values.slope(2.0) == 12.0  # a dataclass is a tree


@pytest.mark.parametrize(
    ("function", "arguments", "named", "argnums", "wanted"),
    [
        (keyword_only, (2.0,), {}, 0, 36.0),
        (keyword_only, (2.0,), {"k": 5.0}, 0, 60.0),
        (keyword_only, (2,), {"k": 5}, 0, 60.0),
        (keyword_only, (2,), {"k": 5}, -1, 60.0),
        (wrapped, (2.0,), {"k": 5.0}, 0, 60.0),
        (flexible, (2.0, 7.0), {"k": 5.0, "other": None}, 0, 60.0),
        (flexible, (2.0, 7.0), {}, (0, 1), (36.0, 0.0)),
        (product, (2.0, 5.0), {}, 1, 8.0),
        (product, (2.0, 5.0), {}, -1, 8.0),
        (product, (2.0, 5.0), {}, (-1, 0), (8.0, 60.0)),
        (product, (2.0, 5.0), {}, [0, 1], (60.0, 8.0)),
        (product, (2.0, 5.0), {}, (0, 0), (60.0, 60.0)),
        (product, (2.0, 5.0), {}, np.int64(1), 8.0),
        (product, (2.0,), {"y": 5.0}, 0, 60.0),
        (Model.method, (Model(), 2.0), {}, 1, 36.0),
        (
            lambda a, /, b=2.0, *c, d, **e: a * b * c[0] * d * e["f"],
            (2.0, 3.0, 5.0),
            {"d": 7.0, "f": 11.0},
            (0, 1, 2),
            (1155.0, 770.0, 462.0),
        ),
    ],
)
def test_arguments_by_place_and_by_name(function, arguments, named, argnums, wanted):
    same_ = np.testing.assert_allclose
    gradient = nt.grad(function, argnums=argnums)
    for _ in range(2):
        same_(gradient(*arguments, **named), wanted, rtol=1e-14)
    value, slope = nt.value_and_grad(function, argnums=argnums)(*arguments, **named)
    same_(value, function(*arguments, **named), rtol=1e-14)
    same_(slope, wanted, rtol=1e-14)
    same_(nt.jacobian(function, argnums=argnums)(*arguments, **named), wanted, rtol=1e-14)
    fixed = nt.grad(lambda *arguments: function(*arguments, **named), argnums=argnums)
    second = nt.hessian(function, argnums=argnums)(*arguments, **named)
    same_(second, nt.jacobian(fixed, argnums=argnums)(*arguments), rtol=1e-14)


def test_named_arguments_where_there_are_only_places():
    for call in (nt.record, nt.vjp, nt.linearize):
        with pytest.raises(nt.InputError, match=r"functools\.partial\(f, k=5\.0\)"):
            call(keyword_only, 2.0, k=5.0)
    fixed = functools.partial(keyword_only, k=5.0)
    assert nt.record(fixed, 2.0).gradient(2.0) == 60.0
    assert nt.vjp(fixed, 2.0)[1](1.0) == (60.0,)
    assert nt.linearize(fixed, 2.0)[1](1.0) == 60.0
    tape = nt.record(lambda x, k: keyword_only(x, k=k), 2.0, 5.0)
    assert tape.gradient(2.0, 3.0, argnums=(0, 1)) == (36.0, 8.0)
    with pytest.raises(nt.InputError, match="Pass that argument by position"):
        nt.grad(product)(x=2.0, y=5.0)
    with pytest.raises(nt.InputError, match="Pass that argument by position"):
        nt.grad(lambda x, y=5.0: x * y, argnums=(0, 1))(2.0)
