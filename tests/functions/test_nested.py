"""Derivatives of derivatives: calls within calls, inside recorded functions, and tapes of tapes.

References are closed forms, mpmath, and central differences of first
derivatives. Guards are looked for at every level.
"""

from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from checks import central_jacobian

import numtape as nt


def close(actual, expected, rtol=1e-12, atol=1e-13):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


# grad of grad, and the functions made of it


def test_grad_to_fifth_order():
    def f(x):
        return np.exp(np.sin(x)) / x

    derivative = f
    for order in range(1, 6):
        derivative = nt.grad(derivative)
        with mpmath.workdps(60):
            expected = float(mpmath.diff(lambda x: mpmath.exp(mpmath.sin(x)) / x, 0.7, order))
        close(derivative(0.7), expected, rtol=1e-12)
        assert derivative(0.9) != derivative(0.7)


def smooth(x):
    """A scalar function of a vector, with products, a matrix and a reduction."""
    a = np.outer(np.sin(x), x[::-1]) @ x
    return np.sum(a * a) / (1.0 + np.sum(x * x)) + np.prod(1.0 + 0.1 * x) + np.exp(-x[0] * x[-1])


def _columns_by_tape(tape, x):
    return np.array([tape.hvp((x,), (u,))[0] for u in np.eye(len(x))])


SLOPE = nt.grad(smooth)

SIZES = [3, 9]
WAYS = {
    "hessian": nt.hessian,
    "jacobian of grad": lambda f: nt.jacobian(nt.grad(f)),
    "forward over reverse": lambda f: nt.jacfwd(nt.jacrev(f)),
    "forward over grad": lambda f: nt.jacfwd(nt.grad(f)),
    "reverse over reverse": lambda f: nt.jacrev(nt.jacrev(f)),
    "reverse over forward": lambda f: nt.jacrev(nt.jacfwd(f)),
    "forward over forward": lambda f: nt.jacfwd(nt.jacfwd(f)),
    "grad of each": lambda f: (
        lambda x: np.array([nt.grad(lambda x, k=k: nt.grad(f)(x)[k])(x) for k in range(len(x))])
    ),
    "products": lambda f: lambda x: np.array([nt.hvp(f, (x,), (u,))[0] for u in np.eye(len(x))]),
    "jvp of grad": lambda f: (
        lambda x: np.array([nt.jvp(nt.grad(f), (x,), (u,))[1] for u in np.eye(len(x))])
    ),
    "grad of jvp": lambda f: (
        lambda x: np.array(
            [nt.grad(lambda x, u=u: nt.jvp(f, (x,), (u,))[1])(x) for u in np.eye(len(x))]
        )
    ),
    "grad of vjp": lambda f: (
        lambda x: np.array(
            [nt.grad(lambda x, u=u: np.dot(nt.vjp(f, x)[1](1.0)[0], u))(x) for u in np.eye(len(x))]
        )
    ),
    "vjp of grad": lambda f: (
        lambda x: np.array([nt.vjp(nt.grad(f), x)[1](u)[0] for u in np.eye(len(x))])
    ),
    "linearized grad": lambda f: (
        lambda x: np.array([nt.linearize(nt.grad(f), x)[1](u) for u in np.eye(len(x))])
    ),
    "grad of linearize": lambda f: (
        lambda x: np.array(
            [nt.grad(lambda x, u=u: nt.linearize(f, x)[1](u))(x) for u in np.eye(len(x))]
        )
    ),
    "value_and_grad inside": lambda f: nt.jacobian(lambda x: nt.value_and_grad(f)(x)[1]),
    "tape": lambda f: lambda x: nt.record(f, x).hessian(x),
    "tape's products": lambda f: lambda x: _columns_by_tape(nt.record(f, x), x),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives(way, size):
    x = np.linspace(0.3, 1.1, size)
    found = WAYS[way](smooth)(x)
    assert found.shape == (size, size)
    close(found, found.T, rtol=1e-11, atol=1e-12)
    close(found, central_jacobian(SLOPE, x, 1e-3), rtol=1e-8, atol=1e-8)
    if way != "hessian":
        close(found, nt.hessian(smooth)(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [2, 9])
def test_third_derivatives(size):
    """Symmetric in its three indices, and the differences of the Hessian."""
    x = np.linspace(0.3, 1.1, size)
    second, slope = nt.hessian(smooth), nt.grad(smooth)
    chosen = [nt.hessian(lambda x, k=k: slope(x)[k])(x) for k in (0, size - 1)]
    ways = [nt.jacfwd(second)(x), nt.jacrev(nt.jacfwd(slope))(x)]
    close(chosen, ways[0][[0, -1]], rtol=1e-10, atol=1e-11)
    for way in ways:
        close(way, ways[0], rtol=1e-10, atol=1e-11)
        close(way, np.moveaxis(way, 0, 2), rtol=1e-10, atol=1e-11)
    differences = central_jacobian(lambda x: second(x).ravel(), x, 1e-3)
    close(ways[0].reshape(size * size, size), differences, rtol=1e-7, atol=1e-7)


def test_derivative_of_a_map_from_vectors_to_matrices():
    def f(x):
        return np.outer(x, np.sin(x)) * x[0]

    x = np.linspace(0.3, 1.1, 4)
    first = nt.jacobian(f)
    found = nt.jacobian(first)(x)
    assert found.shape == (4, 4, 4, 4)
    flat = central_jacobian(lambda x: first(x).ravel(), x)
    close(found.reshape(64, 4), flat, rtol=1e-8, atol=1e-8)


# perturbations are not confused


def D(f, x):
    return nt.grad(f)(x)


def J(f, x):
    return nt.jvp(f, (x,), (1.0,))[1]


def L(f, x):
    return nt.linearize(f, x)[1](1.0)


def V(f, x):
    return nt.vjp(f, x)[1](1.0)[0]


def F(f, x):
    return nt.jacfwd(f)(x)


KINDS = {"grad": D, "jvp": J, "linearize": L, "vjp": V, "jacfwd": F}

CONFUSING = {
    # x D(y -> x + y): 1
    "sum": (lambda A, B: A(lambda x: x * B(lambda y: x + y, 1.0), 1.0), 1.0),
    # x D(y -> x y): x x, 2x
    "product": (lambda A, B: A(lambda x: x * B(lambda y: x * y, 1.0), 4.0), 8.0),
    # the point of the inner one is the outer variable: x * 2xx, 6xx
    "point": (lambda A, B: A(lambda x: x * B(lambda y: x * y * y, x), 2.0), 24.0),
    # the inner function does not depend on its own argument
    "inner constant": (lambda A, B: A(lambda x: x * B(lambda y: x * x + 0.0 * y, 3.0), 2.0), 0.0),
    # the outer does not reach the inner one
    "outer constant": (lambda A, B: A(lambda x: x * B(lambda y: y * y, 3.0), 2.0), 6.0),
    # three levels: D_x x D_y (y D_z(x y z z)) = x D_y(y x y 2z) = x x 2y 2z; at y=z=x: 4 x^4
    "three": (
        lambda A, B: A(lambda x: x * B(lambda y: y * A(lambda z: x * y * z * z, x), x), 1.5),
        16 * 1.5**3,
    ),
    # only the outermost is captured, through two levels: D_y D_z (x x y z) = x x; x^3
    "through two": (
        lambda A, B: A(lambda x: x * B(lambda y: A(lambda z: x * x * y * z, 5.0), 7.0), 2.0),
        12.0,
    ),
    # two inner ones, one at the derivative by the other: g = 2xy at y = x; D(y->x y^2, g) = 2x g
    "in sequence": (
        lambda A, B: A(
            lambda x: B(lambda y: x * y * y, B(lambda y: x * y * y, x)),  # 2x * 2xx = 4x^3
            2.0,
        ),
        48.0,
    ),
    # the same function, at both levels
    "itself": (lambda A, B: A(lambda x: B(lambda x: x**4, x) * x, 2.0), 16 * 8.0),
    # an inner function made by a function: f(x)(y) = x y; d/dx d/dy (x y)^2 = 4 x y
    "curried": (
        lambda A, B: A(lambda x: B((lambda a: lambda y: (a * y) ** 2)(x), 3.0), 2.0),
        4 * 2.0 * 3.0,
    ),
}


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize("name", CONFUSING)
def test_perturbations_are_not_confused(name, outer, inner):
    make, expected = CONFUSING[name]
    close(make(KINDS[outer], KINDS[inner]), expected)


def test_the_shift_of_amazing_bug():
    """Manzyuk and others: the derivative of a shifted derivative, applied twice, at zero shift."""

    def s(u):
        return lambda f: lambda x: f(x + u)

    def hat(f):  # D u: s u f at 0, as a function of x
        return lambda x: D(lambda u: s(u)(f)(x), 0.0)

    close(hat(hat(np.exp))(1.0), np.e)
    close(hat(hat(hat(np.sin)))(0.4), -np.cos(0.4))


# inside loops and branches, closing over values


def test_newton_steps_in_a_loop():
    """The root of x**3 = a by Newton's steps with an inner derivative; d/da of it."""

    def root(a):
        x = 1.0
        for _ in range(8):
            x = x - (x**3 - a) / nt.grad(lambda x: x**3 - a)(x)
        return x

    for a in (2.0, 3.0):
        close(root(a), a ** (1 / 3))
        close(nt.grad(root)(a), a ** (-2 / 3) / 3)
    close(nt.grad(nt.grad(root))(2.0), -2 / 9 * 2.0 ** (-5 / 3), rtol=1e-11)


def test_newton_until_it_stands_still():
    """A while loop around inner derivatives: other points take other numbers of steps."""
    steps = []

    def root(a):
        x, count = a, 0
        while abs(x * x - a) > 1e-14 * a:
            x = x - (x * x - a) / nt.grad(lambda y: y * y - a)(x)
            count += 1
        steps.append(count)
        return x

    derivative = nt.grad(root)
    for a in (2.0, 2.1, 50.0, 0.01, 2.0, 1e4):
        close(derivative(a), 0.5 / np.sqrt(a), rtol=1e-10)
    assert len(set(steps)) > 2


def test_implicit_newton():
    """The minimum of a function of (x, p) by Newton with the inner Hessian; its derivative by p."""

    def energy(x, p):
        return np.sum(np.cosh(x - p)) + 0.5 * np.sum(x * x) + 0.1 * x[0] * x[1]

    def minimum(p):
        x = p * 0.0
        for _ in range(7):
            g = nt.grad(energy)(x, p)
            h = nt.hessian(energy)(x, p)
            det = h[0, 0] * h[1, 1] - h[0, 1] * h[1, 0]
            step = np.array([h[1, 1] * g[0] - h[0, 1] * g[1], h[0, 0] * g[1] - h[1, 0] * g[0]])
            x = x - step / det
        return x

    p = np.array([0.7, -0.4])
    x = minimum(p)
    close(nt.grad(energy)(x, p), [0.0, 0.0], atol=1e-14)
    hessian = nt.hessian(energy)(x, p)
    cross = nt.jacobian(nt.grad(energy), 1)(x, p)
    implicit = -np.linalg.solve(hessian, cross)
    close(nt.jacfwd(minimum)(p), implicit, rtol=1e-11)
    close(nt.jacrev(minimum)(p), implicit, rtol=1e-11)


def test_inner_gradient_descent_on_arrays():
    """What was learnt by gradient steps, differentiated by the rate and by the data."""
    matrix = np.cos(np.arange(24.0)).reshape(2, 12) * 0.3

    def learnt(rate, data):
        w = data * 0.0
        for _ in range(5):
            w = w - rate * nt.grad(lambda w: np.sum((matrix @ w - matrix @ data) ** 2))(w)
        return np.sum((w - data) ** 2)

    rate, data = 0.1, np.linspace(-1.0, 1.0, 12)

    def flat(v):
        return np.atleast_1d(learnt(v[0], v[1:]))

    found = np.concatenate([np.ravel(g) for g in nt.grad(learnt, (0, 1))(rate, data)])
    close(found, central_jacobian(flat, np.r_[rate, data], 1e-3)[0], rtol=1e-8, atol=1e-9)


def test_in_a_branch():
    def f(x, way):
        if way == "first":
            return nt.grad(lambda y: y**3 * x)(x)
        if x > 1.0:
            return nt.jvp(lambda y: y**2 * x, (x,), (x,))[1]
        return x

    derivative = nt.grad(f)
    close(derivative(2.0, "first"), 9 * 4.0)
    close(derivative(2.0, "second"), 6 * 4.0)
    close(derivative(0.5, "second"), 1.0)
    close(derivative(3.0, "second"), 6 * 9.0)


def test_closing_over_arrays_of_the_outer_one():
    def f(x):
        w = np.exp(x)
        inner = nt.grad(lambda y: np.sum(w * y[::-1] ** 3 * x))(x * 2.0)
        return np.sum(inner)

    for size in (3, 12):
        x = np.linspace(0.2, 0.9, size)

        # d/dy_k = 3 w_j x_j y_k^2 with j = n-1-k, at y = 2x
        def plain(x):
            return np.sum(12.0 * (np.exp(x) * x)[::-1] * x**2)

        close(nt.record(f, x)(x), plain(x))
        close(nt.grad(f)(x), nt.grad(plain)(x))
        close(nt.hessian(f)(x), nt.hessian(plain)(x), rtol=1e-11, atol=1e-12)


def test_captured_through_two_levels():
    def f(x, t):
        def middle(y):
            def inner(z):
                return np.sum(np.sin(z * x) * t) + z[0] * y[1] * x[2] * t

            return np.sum(nt.grad(inner)(y) ** 2)

        return np.sum(nt.grad(middle)(x * t))

    x = np.linspace(0.2, 0.9, 10)

    def flat(v):
        return np.atleast_1d(f(v[:-1], v[-1]))

    found = np.concatenate([np.ravel(g) for g in nt.grad(f, (0, 1))(x, 1.3)])
    close(found, central_jacobian(flat, np.r_[x, 1.3], 1e-3)[0], rtol=1e-8, atol=1e-8)


def test_an_inner_function_that_assigns_into_arrays():
    def f(x):
        def inner(y):
            z = np.zeros_like(y)
            z[::2] = y[::2] ** 2 * x[0]
            z[1] += y[0] * x[1]
            return np.sum(z * z)

        return np.sum(nt.grad(inner)(x) * x)

    for size in (4, 12):
        x = np.linspace(0.2, 0.9, size)
        close(nt.grad(f)(x), central_jacobian(lambda x: np.atleast_1d(f(x)), x)[0], rtol=1e-8)


# the functions, inside


def test_jvp_with_traced_tangents():
    def f(x):
        return nt.jvp(lambda y: np.sin(y) * x, (x * x,), (x**3,))[1]  # x^4 cos(x^2)

    x = 0.8
    close(nt.grad(f)(x), 4 * x**3 * np.cos(x**2) - 2 * x**5 * np.sin(x**2))


def test_vjp_with_traced_cotangents():
    def f(x):
        value, pull = nt.vjp(lambda y: np.stack([y[0] * y[1], np.sin(y[1])]), x)
        (g,) = pull(value * 2.0)
        return np.sum(g * x)

    x = np.array([0.4, 0.9])
    close(nt.grad(f)(x), central_jacobian(lambda x: np.atleast_1d(f(x)), x)[0], rtol=1e-8)


def test_hvp_inside():
    """v' H v for v = x of sum x^4: 12 sum x^4; its gradient 48 x^3."""
    for size in (3, 12):
        x = np.linspace(0.2, 0.9, size)
        found = nt.grad(lambda x: np.sum(nt.hvp(lambda y: np.sum(y**4), (x,), (x,))[0] * x))(x)
        close(found, 48 * x**3)


def test_value_and_grad_inside():
    def f(x):
        value, slope = nt.value_and_grad(lambda y: y**3 * x)(x)
        return value * slope  # x^4 * 3 x^3

    close(nt.value_and_grad(f)(1.1), (3 * 1.1**7, 21 * 1.1**6))


def test_aux_inside():
    def f(x):
        slope, aux = nt.grad(lambda y: (y**3 * x, {"y2": y * y, "n": 3}), has_aux=True)(x)
        (value, more), again = nt.value_and_grad(lambda y: (y * x, y + x), has_aux=True)(x)
        assert aux["n"] == 3
        return slope * aux["y2"] + value * more + again  # 3x^5 + 2x^3 + x

    close(nt.grad(f)(1.1), 15 * 1.1**4 + 6 * 1.1**2 + 1)


def test_aux_of_the_outer_one_holds_inner_derivatives():
    def f(x):
        slope = nt.grad(lambda y: np.sum(y**3))(x)
        return np.sum(slope), slope

    gradient, slope = nt.grad(f, has_aux=True)(np.array([1.0, 2.0]))
    close(gradient, [6.0, 12.0])
    close(slope, [3.0, 12.0])
    assert type(slope) is np.ndarray


def test_jvp_and_vjp_with_aux_inside():
    def f(x):
        value, slope, aux = nt.jvp(lambda y: (y**3, y * x), (x,), (1.0,), has_aux=True)
        again, pull, more = nt.vjp(lambda y: (y**2, y * x), x, has_aux=True)
        return value * slope + aux + pull(again)[0] * more  # 3x^5 + x^2 + 2x^5

    close(nt.grad(f)(1.2), 25 * 1.2**4 + 2 * 1.2)


def test_several_argnums_inside():
    def f(x):
        a, b = nt.grad(lambda p, q, n: p**n * q * x, (0, 1))(x, x * x, 2)
        return a + b  # 2x * x^2 * x + x^2 * x

    close(nt.grad(f)(1.3), 8 * 1.3**3 + 3 * 1.3**2)


class Pair(NamedTuple):
    a: object
    b: object


def test_trees_inside():
    def f(p):
        g = nt.grad(lambda q: q["u"] ** 2 * np.sum(q["v"].a * q["v"].b[0]) * p["u"])(p)
        assert list(g) == ["u", "v"]
        assert isinstance(g["v"], Pair)
        return g["u"] + np.sum(g["v"].a) + np.sum(g["v"].b[0] * p["v"].a)

    for size in (2, 10):
        a, b = np.linspace(0.3, 0.9, size), np.linspace(1.0, 2.0, size)
        found = nt.grad(f)({"u": 1.5, "v": Pair(a, [b])})
        # f = 2 u^2 s + u^3 sum b + u^3 sum a^2, s = sum a b
        s, u = np.sum(a * b), 1.5
        close(found["u"], 4 * u * s + 3 * u**2 * (np.sum(b) + np.sum(a * a)))
        close(found["v"].a, 2 * u**2 * b + 2 * u**3 * a)
        close(found["v"].b[0], 2 * u**2 * a + u**3)


def test_jacobians_of_trees_inside():
    def f(x):
        j = nt.jacobian(lambda y: {"s": np.sum(y * x), "p": (y**2, y[0] * x)})(x)
        return np.sum(j["s"]) + np.sum(j["p"][0]) + np.sum(j["p"][1] @ x)

    for size in (2, 10):
        x = np.linspace(0.3, 0.9, size)
        close(nt.grad(f)(x), central_jacobian(lambda x: np.atleast_1d(f(x)), x)[0], rtol=1e-8)


def test_named_arguments_inside():
    def f(x):
        return nt.grad(lambda y, scale, n=2: y**n * scale)(x, scale=x, n=3)

    close(nt.grad(f)(1.3), 9 * 1.3**2)


def test_stop_gradient_inside():
    def f(x):
        held = nt.grad(lambda y: y**2 * nt.stop_gradient(x) * nt.stop_gradient(y))(x)
        return held * nt.stop_gradient(x)

    # The inner derivative by y is 2 y * held * held = 2x(x)(x); held: only y's own x counts.
    close(nt.grad(f)(2.0), 2 * 2.0 * 2.0 * 2.0)


@pytest.mark.parametrize("first", [False, True])
def test_static_arguments_of_jvp_inside(first):
    """An exponent among the arguments, whose tangent is not one."""

    def function(x):  # 2x * x^2
        if first:
            return nt.jvp(lambda n, y: y**n, (2, x), (0, x * x))[1]
        return nt.jvp(lambda y, n: y**n, (x, 2), (x * x, 0))[1]

    try:
        found = nt.grad(function)(3.0)
    except nt.InputError:  # as outside a recorded function
        return
    close(found, 54.0)


def test_integers_as_tangents_inside():
    close(nt.grad(lambda x: nt.jvp(lambda y: y**3, (x,), (1,))[1])(3.0), 18.0)
    close(nt.grad(lambda x: nt.vjp(lambda y: y**3, x)[1](1)[0])(3.0), 18.0)


WRONG = {
    "too short": lambda x: nt.jvp(np.sin, (x,), (x[:2],))[1],
    "one number": lambda x: nt.jvp(np.sin, (x,), (x[0],))[1],
    "too many": lambda x: nt.jvp(np.sin, (x,), (x, x))[1],
    "none": lambda x: nt.jvp(np.sin, (x,), ())[1],
    "of a list": lambda x: nt.jvp(np.sin, (x,), ([x[0], x[1], x[2]],))[1],
    "cotangents too short": lambda x: nt.vjp(np.sin, x)[1](x[:2])[0],
    "cotangents in a list": lambda x: nt.vjp(np.sin, x)[1]([x])[0],
    "pushed too short": lambda x: nt.linearize(np.sin, x)[1](x[:2]),
}


@pytest.mark.parametrize("name", WRONG)
def test_seeds_of_a_wrong_shape_inside(name):
    """The error is the one that is raised outside."""
    x = np.array([0.1, 0.2, 0.3])
    with pytest.raises((nt.InputError, nt.OutputError)) as outside:
        WRONG[name](x)
    with pytest.raises(type(outside.value)):
        nt.jacobian(WRONG[name])(x)


def test_gradients_of_what_is_no_number_inside():
    with pytest.raises(nt.OutputError, match="one number"):
        nt.grad(lambda x: np.sum(nt.grad(lambda y: y * x)(x)))(np.ones(3))


@pytest.mark.parametrize("make", ["linearize", "vjp"])
def test_pushing_forward_traced_values(make):
    """A linear function made outside, used inside another recording: right, or refused."""
    if make == "linearize":
        push = nt.linearize(lambda x: x**3, 2.0)[1]
    else:
        pull = nt.vjp(lambda x: x**3, 2.0)[1]
        push = lambda w: pull(w)[0]  # noqa: E731
    try:
        found = nt.grad(lambda v: push(v * v))(3.0)
    except (nt.InputError, nt.TraceError):
        return
    close(found, 2 * 3.0 * 12.0)


@pytest.mark.parametrize("make", ["linearize", "vjp"])
def test_pushing_forward_one_level_deeper(make):
    """A linear function of the outer recording, differentiated by its seed in an inner one."""

    def f(x):
        if make == "linearize":
            push = nt.linearize(lambda y: y**3, x)[1]
        else:
            pull = nt.vjp(lambda y: y**3, x)[1]
            push = lambda w: pull(w)[0]  # noqa: E731
        return nt.grad(lambda w: push(w * w))(x)  # 2x * 3 x^2

    close(nt.grad(f)(2.0), 18 * 2.0**2)


def test_a_tape_inside_a_recording_is_refused():
    tape = nt.record(lambda x: x**2, 3.0)
    for method in (tape, tape.gradient, lambda x: tape.jvp((x,), (x,))[1]):
        with pytest.raises((nt.InputError, nt.TraceError), match="traced"):
            nt.grad(lambda x, method=method: method(x) * 2.0)(3.0)


# guards


def inner_value(x):
    """A branch inside the inner function, on its own value."""
    return nt.grad(lambda y: y**3 * x if y > 1.0 else y * x)(x)


def outer_value(x):
    """A branch inside the inner function, on the outer value that it closes over."""
    return nt.grad(lambda y: y**3 if x > 1.0 else y * x)(x)


def inner_derivative(x):
    """A branch of the outer function, on an inner derivative."""
    slope = nt.grad(lambda y: y * y)(x)
    return slope * x if slope > 2.0 else x


def in_an_integer(x):
    return nt.jvp(lambda y: y ** int(y) * x, (x,), (1.0,))[1]


def in_a_loop(x):
    total = x
    while total < 3.0:
        total = total + nt.grad(lambda y, total=total: y * y * total)(x) + 0.1
    return total


def at_a_maximum(x):
    return nt.grad(lambda y: max(y * y, x) * y)(x)


BRANCHING = [inner_value, outer_value, inner_derivative, in_an_integer, in_a_loop, at_a_maximum]


@pytest.mark.parametrize("function", BRANCHING, ids=lambda f: f.__name__)
def test_flipped_guards_are_noticed(function):
    """A bare tape raises; grad and its like equal a fresh recording at every point."""
    points = [1.7, 0.6, 2.4, 1.7, 0.9]
    tape = nt.record(function, points[0])
    tapes = [tape, tape.optimize(), tape.adjoint(), tape.tangent(), tape.adjoint().tangent()]
    for each in tapes:
        each(points[0])
        with pytest.raises(nt.BranchError):
            each(points[1])
    for method in (tape.gradient, lambda x: tape.hessian(x), lambda x: tape.hvp((x,), (1.0,))):
        with pytest.raises(nt.BranchError):
            method(points[1])
    kept = [nt.grad(function), nt.hessian(function), nt.grad(nt.grad(function))]
    for x in points:
        fresh = [nt.grad(lambda x: function(x))(x), nt.hessian(lambda x: function(x))(x)]
        assert kept[0](x) == fresh[0]
        close(kept[1](x), fresh[1])
        close(kept[2](x), fresh[1])


@pytest.mark.parametrize("size", [3, 12])
def test_flipped_guards_of_arrays(size):
    def f(x):
        def inner(y):
            return np.sum(y**3 * x) if np.sum(y) > 0.0 else np.sum(y * x)

        return np.sum(nt.grad(inner)(x))

    x = np.linspace(0.2, 0.9, size)
    derivative = nt.grad(f)
    close(derivative(x), 9 * x**2)
    close(derivative(-x), np.ones(size))
    close(derivative(x), 9 * x**2)
    with pytest.raises(nt.BranchError):
        nt.record(f, x).adjoint()(-x)


def test_the_message_names_the_line_in_the_inner_function():
    line = inner_value.__code__.co_firstlineno + 2
    with pytest.raises(nt.BranchError, match=f"test_nested.py:{line}"):
        nt.record(inner_value, 1.7).adjoint()(0.5)


# derivative tapes


def f2(x, y):
    return np.sin(x * y) + x**3 / y


def f2_slopes(x, y):
    c = np.cos(x * y)
    return y * c + 3 * x**2 / y, x * c - x**3 / y**2


def test_tangent_and_adjoint_of_scalars():
    tape = nt.record(f2, 0.7, 1.3)
    dx, dy = f2_slopes(0.9, 1.1)
    for way in ("tangent", "adjoint"):
        make = getattr(tape, way)
        value, slope = make()(0.9, 1.1)
        assert value == f2(0.9, 1.1)
        close(slope, dx)
        assert isinstance(slope, float)
        close(make(argnums=1)(0.9, 1.1)[1], dy)
        close(make(argnums=(0, 1))(0.9, 1.1)[1], (dx, dy))
        close(make(argnums=(1, 0))(0.9, 1.1)[1], (dy, dx))


def test_seeded_tapes_of_scalars():
    tape = nt.record(f2, 0.7, 1.3)
    dx, dy = f2_slopes(0.9, 1.1)
    close(tape.tangent(seeded=True)(0.9, 1.1, 0.5, -2.0), (f2(0.9, 1.1), 0.5 * dx - 2.0 * dy))
    value, (gx, gy) = tape.adjoint(seeded=True)(0.9, 1.1, 3.0)
    assert value == f2(0.9, 1.1)
    close((gx, gy), (3.0 * dx, 3.0 * dy))


def tree(p, data):
    a = p["a"] * np.sin(p["b"].a * data) + p["b"].b[0]
    return {"sum": np.sum(a), "parts": (a[::2], a * p["a"])}


@pytest.mark.parametrize("size", [3, 12])
def test_derivative_tapes_of_trees(size):
    data = np.linspace(0.5, 1.5, size)
    p = {"a": 1.3, "b": Pair(data[::-1].copy(), [0.4])}
    q = {"a": 1.1, "b": Pair(data * 0.7, [0.2])}
    tape = nt.record(tree, p, data)
    value, expected = tape(q, data), nt.jacobian(tree)(q, data)
    for way in (tape.tangent(), tape.adjoint()):
        found, jacobian = way(q, data)
        np.testing.assert_equal(found, value)
        assert isinstance(jacobian["sum"]["b"], Pair)
        close(jacobian["sum"]["a"], expected["sum"]["a"])
        close(jacobian["sum"]["b"].a, expected["sum"]["b"].a)
        close(jacobian["parts"][0]["b"].a, expected["parts"][0]["b"].a)
        close(jacobian["parts"][1]["b"].b[0], expected["parts"][1]["b"].b[0])
    tangents = ({"a": 0.3, "b": Pair(data**2, [1.0])}, -data)
    found, pushed = tape.tangent(seeded=True)(q, data, *tangents)
    reference = nt.jvp(tree, (q, data), tangents)
    np.testing.assert_equal(found, value)
    close(pushed["sum"], reference[1]["sum"])
    close(pushed["parts"][1], reference[1]["parts"][1])
    cotangents = {"sum": 2.0, "parts": (data[::2], -data)}
    found, (gp, gdata) = tape.adjoint(seeded=True)(q, data, cotangents)
    rp, rdata = nt.vjp(tree, q, data)[1](cotangents)
    np.testing.assert_equal(found, value)
    close(gp["a"], rp["a"])
    close(gp["b"].a, rp["b"].a)
    close(gdata, rdata)


def test_derivative_tapes_with_static_arguments():
    def f(x, n, name):
        return x**n * (2.0 if name == "twice" else 1.0)

    tape = nt.record(f, 1.5, 3, "twice")
    for way in (tape.tangent(), tape.adjoint()):
        close(way(2.0, 3, "twice"), (16.0, 24.0))
        with pytest.raises(nt.InputError):
            way(2.0, 2, "twice")
    for way in (tape.tangent, tape.adjoint):
        with pytest.raises(nt.InputError, match=r"argument 1 is 3 of type int.*lambda"):
            way(seeded=True)
    close(tape.hessian(2.0, 3, "twice"), 24.0)


def test_hessian_with_argnums():
    def f(x, y):
        return np.sum(x**2) * y["k"] ** 3

    x, y = np.array([1.0, 2.0]), {"k": 2.0}
    tape = nt.record(f, x, y)
    close(tape.hessian(x, y), 16.0 * np.eye(2))
    close(tape.hessian(x, y, argnums=1)["k"]["k"], 6 * 2.0 * 5.0)
    for hessian in (tape.hessian(x, y, argnums=(0, 1)), nt.hessian(f, (0, 1))(x, y)):
        (xx, xy), of_y = hessian
        yx, yy = of_y["k"]
        close(xx, 16.0 * np.eye(2))
        close(xy["k"], 24.0 * x)
        close(yx, 24.0 * x)
        close(yy["k"], 60.0)
    hx, hy = tape.hvp((x, y), (np.array([1.0, -1.0]), {"k": 0.5}))
    close(hx, 16.0 * np.array([1.0, -1.0]) + 12.0 * x)
    close(hy["k"], 24.0 * (1.0 - 2.0) + 30.0)
    ax, ay = nt.hvp(f, (x, y), (np.array([1.0, -1.0]), {"k": 0.5}))
    close(ax, hx)
    close(ay["k"], hy["k"])


@pytest.mark.parametrize("first", ["tangent", "adjoint"])
@pytest.mark.parametrize("second", ["tangent", "adjoint"])
@pytest.mark.parametrize("third", ["tangent", "adjoint"])
def test_tapes_of_tapes_of_tapes(first, second, third):
    """(((f, f'), (f', f'')), ((f', f''), (f'', f''')))"""
    tape = nt.record(lambda x: np.exp(2.0 * x) / x, 0.7)
    for way in (first, second, third):
        tape = getattr(tape, way)()
    with mpmath.workdps(50):
        orders = [
            float(mpmath.diff(lambda x: mpmath.exp(2 * x) / x, mpmath.mpf(0.9), n))
            for n in range(4)
        ]
    y = tape(0.9)
    for path in np.ndindex(2, 2, 2):
        found = y
        for place in path:
            found = found[place]
        close(found, orders[sum(path)], rtol=1e-13)


def test_seeded_tapes_of_seeded_tapes():
    """A product with the Hessian in both orders: the tangent of an adjoint, and vice versa."""
    for size in (3, 12):
        x, v = np.linspace(0.3, 1.1, size), np.cos(np.arange(float(size)))
        expected = nt.hvp(smooth, (x,), (v,))[0]
        tape = nt.record(smooth, x)
        over = tape.adjoint(seeded=True).tangent(seeded=True)
        close(over(x, 1.0, v, 0.0)[1][1][0], expected, rtol=1e-11, atol=1e-12)
        under = tape.tangent(seeded=True).adjoint(seeded=True)
        close(under(x, v, (0.0, 1.0))[1][0], expected, rtol=1e-11, atol=1e-12)


def test_derivative_tapes_keep_their_guards():
    def f(x):
        return np.sum(x**3) if x[0] > x[1] else np.sum(x)

    for size in (2, 12):
        x = np.linspace(1.0, 0.2, size)
        tape = nt.record(f, x)
        for way in (tape.adjoint(), tape.tangent(), tape.adjoint().optimize()):
            close(way(x * 2.0)[1], 12 * x**2)
            with pytest.raises(nt.BranchError, match=r"test_nested.py:\d+.*it was True"):
                way(x[::-1].copy())
            with pytest.raises(nt.BranchError):
                way.tangent()(x[::-1].copy())
        with pytest.raises(nt.BranchError):
            tape.tangent(seeded=True)(x[::-1].copy(), x)
        with pytest.raises(nt.BranchError):
            tape.adjoint(seeded=True)(x[::-1].copy(), 1.0)
        with pytest.raises(nt.BranchError):
            tape.hessian(x[::-1].copy())
        with pytest.raises(nt.BranchError):
            tape.hvp((x[::-1].copy(),), (x,))


def test_the_gradient_tape_is_made_once():
    tape = nt.record(smooth, np.linspace(0.3, 1.1, 12))
    x = np.linspace(0.4, 1.0, 12)
    tape.hessian(x)
    made = list(tape.derivatives.family())
    assert len(made) == 3  # the tape, its gradient, and the Jacobian of that
    for _ in range(3):
        tape.hessian(x)
    assert list(tape.derivatives.family()) == made


def test_derivatives_of_a_function_with_aux():
    def f(x):
        return np.sum(x**3), {"half": x / 2.0}

    for size in (2, 12):
        x = np.linspace(0.3, 1.1, size)
        second, aux = nt.hessian(f, has_aux=True)(x)
        close(second, np.diag(6 * x))
        close(aux["half"], x / 2.0)
        third, aux = nt.jacfwd(nt.hessian(f, has_aux=True), has_aux=True)(x)
        close(np.einsum("iii->i", third), 6.0)
        close(aux["half"], x / 2.0)


def test_linearize_of_grad_after_other_calls():
    """The linear function keeps its point, whatever runs in between."""
    for size in (3, 12):
        x = np.linspace(0.3, 1.1, size)
        derivative = nt.grad(smooth)
        value, push = nt.linearize(derivative, x)
        before = push(x)
        nt.linearize(derivative, x * 2.0)[1](x)
        derivative(x * 3.0)
        x_kept = x.copy()
        x[:] = 7.0
        close(push(x_kept), before, rtol=0, atol=0)
        close(value, nt.grad(smooth)(x_kept), rtol=1e-14)
