"""The numbers of the acceptance list: known functions with known values and derivatives.

Values and derivatives to a relative 1e-13, by every way there is; Hessians by
two derivative tapes.
"""

import naive
import numpy as np
import pytest
from checks import central_jacobian, derivatives_every_way, hessian

import numtape as nt

RTOL = 1e-13


def close(actual, expected, atol=0.0):
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=atol)


def check_gradient(function, x, expected, atol=0.0):
    for way in derivatives_every_way(function, x):
        close(way, np.reshape(expected, (1, -1)), atol)


# ln x1 + x1 x2 - sin x2


def wengert(x1, x2):
    return np.log(x1) + x1 * x2 - np.sin(x2)


def test_wengert_value_and_gradient():
    value, gradient = nt.value_and_grad(wengert, argnums=(0, 1))(2.0, 5.0)
    close(value, 11.652071455223084)
    close(gradient, [5.5, 1.7163378145367738])
    for way in derivatives_every_way(wengert, 2.0, 5.0):
        close(way, [[5.5, 1.7163378145367738]])


def test_wengert_primal_trace():
    flat = nt.record(wengert, 2.0, 5.0).flat
    assert flat.instructions == 5
    trace = naive.evaluate(flat, [2.0, 5.0])[flat.first_result :]
    expected = [0.6931471805599453, 10, 10.693147180559945, -0.9589242746631385, 11.652071455223084]
    close(trace, expected)


def test_wengert_tangent_trace():
    """The tangents of v1..v5 for a unit seed of x1, seen by making each of them an output."""

    def trace(x1, x2):
        v1, v2, v3 = np.log(x1), x1 * x2, np.sin(x2)
        v4 = v1 + v2
        return v1, v2, v3, v4, v4 - v3

    close(nt.jvp(trace, (2.0, 5.0), (1.0, 0.0))[1], [0.5, 5.0, 0.0, 5.5, 5.5])


def test_wengert_hessian():
    close(hessian(wengert, 2.0, 5.0), [[-0.25, 1.0], [1.0, -0.9589242746631385]])


# small functions


def test_sine_and_cosine_of_a_product():
    def f(x, y):
        return np.sin(x * y) + np.cos(x * y)

    value, gradient = nt.value_and_grad(f, (0, 1))(2.0, 3.0)
    close(value, 0.6807547884514401)
    slope = np.cos(6.0) - np.sin(6.0)
    close(gradient, [3 * slope, 2 * slope])
    np.testing.assert_allclose(gradient, [3.7187573, 2.4791716], atol=5e-8)


@pytest.mark.parametrize("x", [-2.0, 0.0, 0.5, 3.0])
def test_square_plus_one(x):
    close(nt.grad(lambda x: x**2 + 1)(x), 2 * x)


def test_sine_of_logarithm():
    close(nt.grad(lambda x: np.sin(np.log(x)))(2.0), 0.38461945068198605)
    close(nt.grad(lambda x: 5 * np.sin(np.log(x)))(2.0), 5 * np.cos(np.log(2.0)) / 2.0)


def polynomial(x):
    return 3 * x**2 + (2 * x + 1)


def test_polynomial_to_third_order():
    from numtape.transform.derivative import jacobian_by_rows

    tape = nt.record(polynomial, 0.5)
    assert tape.flat.instructions == 5
    only = np.arange(1)
    flat = tape.flat
    for order, expected in ((1, 5.0), (2, 6.0), (3, 0.0)):
        count = len(flat.outputs)
        flat = jacobian_by_rows(flat, only)
        y = naive.run(flat, [0.5])
        close(y[-1], expected)
        assert len(y) == 2 * count == 2**order


def test_rational_function():
    def f(x):
        return x / (1 + x**2)

    value, slope = nt.value_and_grad(f)(5.0)
    close(value, 0.19230769230769231)
    close(slope, -0.035502958579881657)
    assert nt.record(f, 5.0).flat.instructions == 3


# loops and branches


def logistic(x):
    for _ in range(3):
        x = 4 * x * (1 - x)
    return x


def test_logistic_map():
    value, slope = nt.value_and_grad(logistic)(0.2)
    close(value, 0.28901376)
    close(slope, 9.0660864)


def power(x, n):
    """x to the power n by repeated squaring."""
    result = 1.0
    while n > 0:
        if n % 2 == 1:
            result = result * x
        x = x * x
        n //= 2
    return result


@pytest.mark.parametrize(("n", "slope"), [(3, 75.0), (5, 3125.0)])
def test_power_by_repeated_squaring(n, slope):
    close(nt.grad(power)(5.0, n), slope)


def sine_series(x):
    total, term = 0.0, x
    for k in range(6):
        total = total + term
        term = -term * x * x / ((2 * k + 2) * (2 * k + 3))
    return total


def test_sine_by_its_series():
    """Six terms of the series at 0.5; the first derivative leaves out x**12/12!, about 5e-13."""
    close(nt.grad(sine_series)(0.5), 0.8775825618898637)
    close(hessian(sine_series, 0.5), [[-0.4794255386164159]])


# Speelpenning's product


def speelpenning_loop(x):
    product = 1.0
    for value in x:
        product = product * value
    return product


@pytest.mark.parametrize("function", [speelpenning_loop, np.prod], ids=["loop", "np.prod"])
def test_speelpenning(function):
    x = (np.arange(7) + 1.0) / (np.arange(7) + 2.0)
    expected = np.array([1 / 4, 3 / 16, 1 / 6, 5 / 32, 3 / 20, 7 / 48, 1 / 7])
    close(nt.record(function, x)(x), 1 / 8)
    check_gradient(function, x, expected)
    second = expected[:, None] / x[None, :]
    np.fill_diagonal(second, 0.0)
    close(hessian(function, x), second)


@pytest.mark.parametrize("function", [speelpenning_loop, np.prod], ids=["loop", "np.prod"])
def test_speelpenning_of_many(function):
    x = (np.arange(30) + 1.0) / (np.arange(30) + 2.0)
    close(nt.grad(function)(x), 1 / 31 / x)


# Helmholtz energy


def helmholtz(x, sums=np.sum):
    """The Helmholtz energy of a mixed fluid by Peng and Robinson, at R = T = 1."""
    n = len(x)
    index = np.arange(n)
    b = 0.1 * (index + 1) / n
    A = 1.0 / (index[:, None] + index[None, :] + 1)
    bx = np.dot(b, x)
    root = np.sqrt(2.0)
    ideal = sums(x * np.log(x / (1.0 - bx)))
    attraction = np.dot(x, A @ x) / (2.0 * root * bx)
    return ideal - attraction * np.log((1 + (1 + root) * bx) / (1 + (1 - root) * bx))


def helmholtz_loops(x):
    n = len(x)
    bx = 0.0
    for i in range(n):
        bx = bx + 0.1 * (i + 1) / n * x[i]
    ideal = 0.0
    quadratic = 0.0
    for i in range(n):
        ideal = ideal + x[i] * np.log(x[i] / (1.0 - bx))
        for j in range(n):
            quadratic = quadratic + x[i] * x[j] / (i + j + 1)
    root = 2.0**0.5
    bracket = np.log((1 + (1 + root) * bx) / (1 + (1 - root) * bx))
    return ideal - quadratic / (2 * root * bx) * bracket


@pytest.mark.parametrize("function", [helmholtz, helmholtz_loops], ids=["arrays", "loops"])
def test_helmholtz(function):
    x = (np.arange(3) + 1.0) / 6.0
    value, gradient = nt.value_and_grad(function)(x)
    close(value, -1.2183792743752648)
    expected = [-1.59761927666744, -0.524002205193358, 0.0757174656985827]
    close(gradient, expected)
    # 0.0757... is a difference of terms of size 1, given to 15 digits: 1e-15 absolute besides.
    check_gradient(function, x, expected, atol=1e-15)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_helmholtz_by_arrays_equals_loops(n):
    x = (np.arange(n) + 1.0) / (n * (n + 1.0))
    np.testing.assert_allclose(
        nt.grad(helmholtz)(x), nt.grad(helmholtz_loops)(x), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("function", [helmholtz, helmholtz_loops], ids=["arrays", "loops"])
def test_helmholtz_hessian(function):
    """Symmetric, and the central differences of the gradient."""
    x = (np.arange(3) + 1.0) / 6.0
    second = hessian(function, x)
    np.testing.assert_allclose(second, second.T, rtol=1e-13, atol=1e-14)
    differences = central_jacobian(nt.grad(function), x)
    np.testing.assert_allclose(second, differences, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_cost_of_the_helmholtz_gradient_stays_flat(n):
    """The adjoint tape has a fixed multiple of the function's instructions, whatever n is."""
    from numtape.transform.derivative import adjoint

    flat = nt.record(helmholtz_loops, (np.arange(n) + 1.0) / (n * (n + 1.0))).flat
    assert adjoint(flat).instructions <= 4 * flat.instructions


# determinant


def determinant(a):
    """By Gaussian elimination, written in loops."""
    a = a.copy()
    n = len(a)
    det = 1.0
    for k in range(n):
        det = det * a[k, k]
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            for j in range(k, n):
                a[i, j] = a[i, j] - factor * a[k, j]
    return det


def determinant_by_rows(a):
    a = a.copy()
    det = 1.0
    for k in range(len(a)):
        det = det * a[k, k]
        a[k + 1 :] -= np.outer(a[k + 1 :, k] / a[k, k], a[k])
    return det


@pytest.mark.parametrize("function", [determinant, determinant_by_rows], ids=["loops", "arrays"])
def test_determinant(function):
    i, j = np.indices((7, 7))
    a = j / (1 + i) + np.eye(7)
    det = 5.407142857142857
    value, gradient = nt.value_and_grad(function)(a)
    close(value, det)
    # A zero entry and elimination's cancellations: absolute in the scale of det.
    close(gradient, det * np.eye(7) - i / (1 + j), atol=1e-13 * det)


def test_determinant_given_as_a_table_by_rows_and_columns():
    """d det/d a_ij is the cofactor, det times the inverse transposed: an independent reference."""
    i, j = np.indices((7, 7))
    a = j / (1 + i) + np.eye(7)
    expected = np.linalg.det(a) * np.linalg.inv(a).T
    np.testing.assert_allclose(nt.grad(determinant)(a), expected, rtol=1e-12, atol=1e-12)


# rules that always hold


def test_perturbations_are_not_confused():
    """D(x -> x D(y -> x + y, 1), 1) = 1 and D(x -> x D(y -> x y, 1), 4) = 8."""
    assert nt.grad(lambda x: x * nt.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert nt.grad(lambda x: x * nt.grad(lambda y: x * y)(1.0))(4.0) == 8.0


@pytest.mark.parametrize("size", [None, 3, 12])
def test_a_derivative_inside_a_recorded_function(size):
    """Gradients of gradients, by calls within calls, equal those by two derivative tapes."""

    def f(x):
        return np.sum(np.sin(x) * x**3)

    x = np.linspace(0.3, 1.4, size) if size else 0.7
    inner = nt.grad(f)
    found = nt.grad(lambda x: np.sum(inner(x)))(x)
    close(found, np.sum(hessian(f, x), axis=0).reshape(np.shape(x)))
