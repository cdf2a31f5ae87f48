"""Forms that Python code takes, each around something that has to be recorded as it is written."""

import collections
import contextlib
import functools
import itertools
import math

import numba
import numpy as np

__all__ = ["FORMS"]

FORMS = {}


def form(function):
    FORMS[function.__name__] = function
    return function


def squared(value):
    return math.pow(value, 2)


def factorial(n, value):
    return value if n <= 1 else math.sin(value) * factorial(n - 1, value)


def nested():
    def recursive(n, value):
        return value if n == 0 else math.cos(value) * recursive(n - 1, value)

    return recursive


RECURSIVE = nested()


def doubled(function):
    @functools.wraps(function)
    def wrapper(*arguments, **options):
        result = function(*arguments, **options)
        return float(result) * 2

    return wrapper


@functools.lru_cache
def nodes(n):
    return tuple(np.linspace(0.0, 1.0, n))


@contextlib.contextmanager
def scaled(value):
    z = np.zeros(1)
    z[0] = value * 2
    yield z


@functools.singledispatch
def by_type(value):
    return 0.0


@by_type.register(np.ndarray)
def _(value):
    z = np.zeros(len(value))
    z[0] = value[0]
    return z.sum()


@by_type.register
def _(value: float):
    return math.sin(value)


@numba.njit
def compiled(value):
    return value * 2.0


Point = collections.namedtuple("Point", "a b")


class Base:
    __slots__ = ("buffer", "value")

    def __init__(self, value):
        self.value = value
        self.buffer = np.zeros(3)

    def __getitem__(self, k):
        return self.buffer[k]

    def __len__(self):
        return 3

    def __iter__(self):
        return iter(self.buffer)

    def go(self):
        self.buffer[0] = self.value
        return self

    @property
    def total(self):
        return math.fsum(self.buffer)

    @total.setter
    def total(self, value):
        self.buffer[1] = math.sin(value)


class Derived(Base):
    def __init__(self, value, last):
        super().__init__(value)
        self.buffer[2] = last

    def go(self):
        return super().go()


class Methods:
    @staticmethod
    def static(value):
        return math.sin(value)

    @classmethod
    def of_class(cls, value):
        return cls.static(value) * 2

    def __private(self, n, value):
        return value if n == 0 else math.sin(value) * self.__private(n - 1, value)

    def public(self, n, value):
        return self.__private(n, value)

    @functools.cached_property
    def cached(self):
        return np.zeros(2)


class Meta(type):
    def __call__(cls, *arguments):
        made = super().__call__(*arguments)
        made.extra = np.zeros(1)
        made.extra[0] = arguments[0]
        return made


class WithMeta(metaclass=Meta):
    def __init__(self, value):
        self.z = np.zeros(2)
        self.z[0] = value


class WithNew:
    def __new__(cls, value):
        made = super().__new__(cls)
        made.w = np.zeros(1)
        made.w[0] = value
        return made

    def __init__(self, value):
        self.z = np.zeros(2)
        self.z[0] = value


class Special:
    def __init__(self, value):
        self.value = value

    def __iter__(self):
        for k in range(3):
            yield math.exp(self.value * k)

    def __enter__(self):
        self.z = np.zeros(1)
        self.z[0] = self.value
        return self.z

    def __exit__(self, *arguments):
        pass

    def __getitem__(self, k):
        return math.sin(self.value * k)

    def __lt__(self, other):
        return math.sin(self.value) < math.sin(other.value)

    def __neg__(self):
        return Special(math.sin(self.value))

    def __contains__(self, item):
        return math.sin(self.value) > 0

    def __matmul__(self, other):
        z = np.zeros(1)
        z[0] = self.value * other
        return z


@form
def generators(x):
    def squares():
        for value in x:
            y = squared(value)
            yield y

    return sum(squares()) + sum(math.exp(value) for value in x)


@form
def recursion(x):
    return factorial(4, x[0]) * RECURSIVE(3, x[1])


@form
@doubled
def decorated(x):
    z = np.zeros(2)
    z[0] = x[0]
    return z.sum()


@form
def outer_names(x):
    k = 0

    def increment():
        nonlocal k
        k += 1
        return k

    increment()
    increment()
    return math.exp(x[0]) * k


@form
def cached_plainly(x):
    return sum(math.cos(node * x[0]) for node in nodes(4))


@form
def context_managers(x):
    with scaled(x[0]) as z, Special(x[1]) as w, np.errstate(all="ignore"):
        return z[0] * w[0] + np.log(x[2])


@form
def slots_super_and_properties(x):
    each = Derived(x[0], x[1]).go()
    each.total = x[2]
    return each.total + each[0] * sum(each) + len(each)


@form
def compiled_with_plain_arguments(x):
    w = np.zeros(3)
    for k in range(3):
        w[k] = compiled(float(k))
    w = compiled(w)
    return x[:3] @ w


@form
def lists_and_stars(x):
    if (n := len(x)) > 3:
        y = [0.0] * n
    for k, value in enumerate(x):
        y[k] = value * k
    return np.array(y).sum() + np.array([*y, 1.0]).sum()


@form
def keywords(x):
    def inner(*arguments, scale=1.0, **more):
        return math.hypot(*arguments) * scale * more.get("q", 1.0)

    return inner(*x[:3], scale=x[3], q=2.0)


@form
def named_tuples(x):
    pair = np.array(Point(math.sin(x[0]), x[1]))
    return pair @ pair


@form
def errors_of_indices(x):
    try:
        z = np.zeros(2)
        z[5] = x[0]
    except IndexError as error:
        return x[1] * len(error.args)


@form
def products_of_lists(x):
    return sum(math.prod(each) for each in itertools.product([1.0, 2.0], x[:2]))


@form
def dicts(x):
    found = {name: np.full(2, value) for name, value in zip("abc", x)}
    return sum(value.sum() for value in found.values())


@form
def patterns(x):
    match x:
        case np.ndarray(ndim=1) if math.sin(x[0]) < 2.0:
            return np.array([x[0], 2.0]).sum()
        case _:
            return 0.0 * x[0]


@form
def methods_of_plain_arrays(x):
    y = np.zeros(5)
    np.put(y, [0, 1], [1.0, 2.0])
    y.put(np.argmax(x), 3.0)
    y.fill(2.0)
    y.flat[1] = 4.0
    y.flat = 1.5
    y.real[0] = 2.5
    y.sort()
    y.partition(2)
    return (y * x).sum() + y.copy()[0] + float(y[1]) + y.tolist()[2] + y.dot(x) + y.argmax()


@form
def other_types_stay_plain(x):
    table = np.zeros(4, dtype=np.float32)
    table[0] = 1.5
    return x[0] * table[0] + x[1] * float(table.sum())


@form
def triangles(x):
    A = np.zeros((3, 3))
    A[np.triu_indices(3)] = np.concatenate([x, x[:1]])
    A = A + A.T
    return np.linalg.eigvalsh(A)[0]


@form
def rows_in_place(x):
    z = np.zeros((2, 3))
    z[0] = x[:3]
    for row in z:
        row *= 2
    z[..., 1] += 1
    z.sort(axis=1)
    z.T[0] = 0
    return (z**2).sum() + np.sum(z, axis=0)[1] + z.max() + z.mean(axis=1)[0]


@form
def every_operator(x):
    y = np.zeros(5)
    y += x
    y /= 2
    y **= 2
    y -= 1
    total = np.linalg.norm(y) + abs(y).sum() + (y @ y) + np.dot(y, x) + (x - y).sum()
    return total + (1 - y).sum() + (y > 0).sum() * x[0] + (-y)[1] + (y // 1)[2] + divmod(y, 2)[1][0]


@form
def one_array_by_many_names(x):
    y = np.zeros(5)
    z, w = y, y[:]
    y[0], z[1], w[2] = x[0], x[1], x[2]
    assert z is y
    return z.sum()


@form
def fresh_into_fresh(x):
    a = np.zeros(3)
    a[0] = x[0]
    b = np.zeros(3)
    b[:] = a
    c = np.ones(3)
    c -= a
    d = np.array(a)
    d[1] = x[1]
    e = a.copy()
    e[2] = x[2]
    f = np.asarray(a, dtype=float)
    f[1] = x[3]
    return (a + b + c + d + e).sum() + np.array([a, x[:3], [1.0, x[1], 2.0]]).sum()


@form
def joined(x):
    y = np.zeros(3)
    y[0] = x[0]
    parts = np.stack([y, y]), np.concatenate([y, x]), np.vstack((y, x[:3])), np.hstack([y, 1.0])
    return sum(each.sum() for each in parts)


@form
def a_path(x):
    state, path = np.array([1.0, 2.0]), []
    for _ in range(3):
        state = state + 0.1 * np.array([state[1], -x[0] * state[0]])
        path.append(state.copy())
    return np.array(path)[:, 0] @ np.asarray(path)[:, 1]


@form
def relaxation(x):
    u = np.zeros((6, 6))
    u[0, :] = x[0]
    for _ in range(3):
        new = u.copy()
        new[1:-1, 1:-1] = 0.25 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2])
        u = new
    return u[1:3].sum()


@form
def checks_of_arguments(x):
    if isinstance(x, np.ndarray) and x.ndim == 1:
        x = x[:, None]
    if not isinstance(x, list | tuple):
        x = np.atleast_2d(x)
    if np.isscalar(x[0, 0]) and not np.isnan(x).any():
        return (x * x).sum()
    return 0.0 * x.sum()


@form
def dispatched(x):
    return by_type(x) * by_type(x[1]) * by_type(float(x[2]))


@form
def methods(x):
    each = Methods()
    each.cached[0] = x[3]
    mapped = [*map(each.public, [1, 2], x)][1]
    return (
        each.of_class(x[0]) * Methods.static(x[1]) * each.public(2, x[2]) + each.cached[0] + mapped
    )


@form
def partials(x):
    return functools.partial(math.pow, x[0])(2) + functools.partial(Methods.static)(x[1])


@form
def made_in_other_ways(x):
    each = WithMeta(x[0])
    other = WithNew(x[1])
    return each.z.sum() * each.extra[0] + other.z.sum() * other.w[0]


@form
def special_methods(x):
    each = Special(x[0])
    chosen = x[0] if each < Special(x[1]) and 3 in each else x[1]
    return sum(each) + each[2] + chosen + (-each).value + (each @ x[2])[0] + max(each)


@form
def parameter_named_like_an_import(x, np=np):
    filled = np.zeros(len(x))
    for k, each in enumerate(x):
        filled[k] = math.sin(each) * 2
    return np.sum(filled)
