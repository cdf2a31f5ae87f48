"""`scipy.interpolate` at traced points, and `scipy.integrate`'s rules for samples."""

import numpy as np
import pytest
import scipy.integrate as integrate
import scipy.interpolate as interpolate
from checks import central_jacobian, derivatives_every_way, hessian

import numtape as nt

KNOTS = np.array([0.0, 0.5, 1.2, 2.0, 2.7, 3.5, 4.0])
RNG = np.random.default_rng(0)
Y, MANY = RNG.normal(size=7), RNG.normal(size=(7, 2))
X = np.array([-0.3, 0.1, 0.9, 2.5, 3.9, 4.2, 1.7, 2.1, 3.0])
INNER = np.clip(X, 0.1, 3.9)

REPRESENTATION = interpolate.splrep(KNOTS, Y)

INTERPOLANTS = {
    "CubicSpline": interpolate.CubicSpline(KNOTS, Y),
    "CubicSpline, natural": interpolate.CubicSpline(KNOTS, Y, bc_type="natural"),
    "CubicSpline, periodic": interpolate.CubicSpline(
        KNOTS, np.append(Y[:-1], Y[0]), bc_type="periodic"
    ),
    "CubicSpline of two": interpolate.CubicSpline(KNOTS, MANY),
    "CubicSpline along the last axis": interpolate.CubicSpline(KNOTS, MANY.T, axis=1),
    "PchipInterpolator": interpolate.PchipInterpolator(KNOTS, Y),
    "Akima1DInterpolator": interpolate.Akima1DInterpolator(KNOTS, Y),
    "PPoly": interpolate.PPoly(RNG.normal(size=(3, 6)), KNOTS),
    "BSpline": interpolate.make_interp_spline(KNOTS, Y),
    "BSpline of degree 2": interpolate.make_interp_spline(KNOTS, MANY, k=2),
    "BSpline without extrapolation": interpolate.BSpline(
        interpolate.make_interp_spline(KNOTS, Y).t, Y, 3, extrapolate=False
    ),
    "UnivariateSpline": interpolate.UnivariateSpline(KNOTS, Y, s=0.1),
    "interp1d": interpolate.interp1d(KNOTS, Y, fill_value="extrapolate"),
    "interp1d, filled": interpolate.interp1d(KNOTS, Y, bounds_error=False, fill_value=(1.0, 2.0)),
    "interp1d, cubic": interpolate.interp1d(KNOTS, Y, kind="cubic", fill_value="extrapolate"),
    "interp1d of two": interpolate.interp1d(KNOTS, MANY, axis=0, fill_value="extrapolate"),
    "splev": lambda x: interpolate.splev(x, REPRESENTATION),
}


@pytest.mark.parametrize("name", INTERPOLANTS)
def test_interpolants(name):
    interpolant = INTERPOLANTS[name]

    def function(x):
        return interpolant(x)

    tape = nt.record(function, X)
    for x in (X, X[::-1].copy(), np.linspace(-0.1, 4.1, 9)):
        inside = x if "Akima" not in name and "without" not in name else np.clip(x, 0.0, 4.0)
        if inside is x:
            np.testing.assert_allclose(tape(x), function(x), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            nt.record(function, inside)(inside), function(inside), rtol=1e-12, atol=1e-13
        )
    assert np.shape(nt.record(function, 1.3)(1.3)) == np.shape(function(1.3))
    expected = central_jacobian(lambda x: np.ravel(function(x)), INNER)
    for way in derivatives_every_way(function, INNER):
        np.testing.assert_allclose(way, expected, rtol=1e-8, atol=1e-9)


def test_derivatives_of_interpolants():
    spline, other = INTERPOLANTS["CubicSpline"], INTERPOLANTS["BSpline"]
    for each in (spline, other):
        slope = nt.grad(lambda x: each(x))  # noqa: B023
        for x in INNER:
            np.testing.assert_allclose(slope(x), each(x, 1), rtol=1e-12, atol=1e-13)
        second = nt.grad(nt.grad(lambda x: each(x)))(0.9)  # noqa: B023
        np.testing.assert_allclose(second, each(0.9, 2), rtol=1e-12)
        found = nt.grad(lambda x: each(x, 1))(0.9)  # noqa: B023
        np.testing.assert_allclose(found, each(0.9, 2), rtol=1e-12)
    area = nt.grad(lambda x: spline(x, -1))(0.9)
    np.testing.assert_allclose(area, spline(0.9), rtol=1e-12)


def test_points_may_change_pieces():
    tape = nt.record(lambda x: INTERPOLANTS["PchipInterpolator"](x), 0.1)
    for x in np.linspace(0.0, 4.0, 41):
        np.testing.assert_allclose(tape(x), INTERPOLANTS["PchipInterpolator"](x), rtol=1e-12)


def test_outside_without_extrapolation():
    spline = INTERPOLANTS["BSpline without extrapolation"]
    values = nt.record(lambda x: spline(x), X)(X)
    np.testing.assert_allclose(values, spline(X), rtol=1e-12)
    bounded = interpolate.interp1d(KNOTS, Y)
    with pytest.raises(ValueError, match="outside"):
        nt.grad(lambda x: bounded(x))(5.0)


REFUSED = {
    "nearest": (interpolate.interp1d(KNOTS, Y, kind="nearest"), "nearest"),
    "barycentric": (interpolate.BarycentricInterpolator(KNOTS, Y), "Barycentric"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    interpolant, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(lambda x: interpolant(x))(0.5)


# sampled integrals

SAMPLES, TABLE = RNG.normal(size=9), RNG.normal(size=(3, 8))
PLACES = np.sort(RNG.uniform(0.0, 5.0, 9))

INTEGRALS = {
    "trapezoid": (lambda y: integrate.trapezoid(y), SAMPLES),
    "trapezoid at places": (lambda y, x: integrate.trapezoid(y, x), SAMPLES, PLACES),
    "trapezoid of rows": (lambda y: integrate.trapezoid(y, dx=0.2), TABLE),
    "trapezoid of columns": (lambda y: integrate.trapezoid(y, PLACES[:3], axis=0), TABLE),
    "cumulative_trapezoid": (lambda y, x: integrate.cumulative_trapezoid(y, x), SAMPLES, PLACES),
    "cumulative_trapezoid from 0": (
        lambda y: integrate.cumulative_trapezoid(y, dx=0.3, axis=0, initial=0), TABLE,
    ),
    "simpson": (lambda y: integrate.simpson(y), SAMPLES),
    "simpson of an even number": (lambda y: integrate.simpson(y, dx=0.1), TABLE),
    "simpson of columns": (lambda y: integrate.simpson(y, x=PLACES[:3], axis=0), TABLE),
    "simpson at places": (lambda y, x: integrate.simpson(y, x=x), SAMPLES, PLACES),
    "simpson at an even number of places": (
        lambda y, x: integrate.simpson(y, x=x), TABLE, PLACES[:8],
    ),
    "simpson of two": (lambda y, x: integrate.simpson(y, x=x), SAMPLES[:2], PLACES[:2]),
    "romb": (lambda y: integrate.romb(y, dx=0.5), SAMPLES),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGRALS)
def test_integrals(name):
    function, *arrays = INTEGRALS[name]
    np.testing.assert_allclose(
        nt.record(function, *arrays)(*arrays), function(*arrays), rtol=1e-13, atol=1e-14
    )
    ends = np.cumsum([array.size for array in arrays])[:-1]

    def flat(z):
        parts = [p.reshape(a.shape) for p, a in zip(np.split(z, ends), arrays)]
        return np.ravel(function(*parts))

    point = np.concatenate([array.ravel() for array in arrays])
    expected = central_jacobian(flat, point)
    for way in derivatives_every_way(function, *arrays):
        np.testing.assert_allclose(way, expected, rtol=1e-8, atol=1e-9)


def test_second_derivatives_of_an_integral_by_its_places():
    found = hessian(lambda y, x: integrate.simpson(y, x=x), SAMPLES, PLACES)

    def gradient(z):
        slopes = nt.grad(lambda y, x: integrate.simpson(y, x=x), argnums=(0, 1))(z[:9], z[9:])
        return np.concatenate(slopes)

    expected = central_jacobian(gradient, np.concatenate([SAMPLES, PLACES]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
