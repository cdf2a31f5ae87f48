"""Special functions in their tails and at their edges; those of several results and operands."""

import math

import mpmath
import numpy as np
import pytest
import scipy.special as special
from checks import assert_both_orders, assert_every_point_alike, assert_replays

import numtape as nt
from numtape.ops.table import load_ufunc

FUNCTIONS = {
    "sici": (lambda x: special.sici(x)[0] + 2.0 * special.sici(x)[1], (1.3,)),
    "shichi": (lambda x: special.shichi(x)[0] + 2.0 * special.shichi(x)[1], (1.3,)),
    "shichi near 0": (lambda x: special.shichi(x)[0], (0.1,)),
    "ellipkinc": (special.ellipkinc, (1.0, 0.4)),
    "ellipeinc beyond a turn": (special.ellipeinc, (4.0, 0.4)),
    **{f"ellipj {k}": (lambda u, m, k=k: special.ellipj(u, m)[k], (1.2, 0.4)) for k in range(4)},
    "lambertw": (lambda x: special.lambertw(x).real, (1.2,)),
    "lambertw of branch -1": (lambda x: np.real(special.lambertw(x, -1)), (-0.2,)),
    "yn": (lambda x: special.yn(2, x), (1.2,)),
    "kn": (lambda x: special.kn(2, x), (1.2,)),
    "kve": (lambda x: special.kve(1.5, x), (1.2,)),
    "struve": (lambda x: special.struve(1.5, x), (1.2,)),
    "modstruve": (lambda x: special.modstruve(1.5, x), (1.2,)),
    "owens_t": (special.owens_t, (0.5, 0.7)),
    "hyp1f1": (lambda x: special.hyp1f1(1.2, 2.3, x), (0.7,)),
    "hyp2f1": (lambda x: special.hyp2f1(1.2, 2.3, 3.1, x), (0.3,)),
    "nbdtr": (lambda p: special.nbdtr(2, 5, p), (0.3,)),
    "bdtr": (lambda p: special.bdtr(2, 5, p), (0.3,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives(name):
    function, point = FUNCTIONS[name]
    tape = nt.record(function, *point)
    np.testing.assert_allclose(tape(*point), function(*point), rtol=1e-14)
    assert_both_orders(function, point, first=(1e-9, 1e-11), second=(1e-8, 1e-10))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_and_batches(name):
    """Many points at once, and one after the other on one recording."""
    function, point = FUNCTIONS[name]
    operands = [x * np.linspace(0.8, 1.2, 12) for x in point]
    assert_every_point_alike(function, operands)


# far out and where formulas cancel, against mpmath

TAILS = {
    "ellipk": (
        mpmath.ellipk, [-1e5, -3.0, -0.31, -0.29, 0.0, 1e-9, 0.29, 0.31, 0.999, 1 - 1e-9],
    ),
    "ellipe": (
        mpmath.ellipe, [-1e5, -3.0, -0.31, -0.29, 0.0, 1e-9, 0.29, 0.31, 0.999, 1 - 1e-9],
    ),
    "ellipkm1": (
        lambda x: mpmath.ellipk(1 - x), [1e-30, 1e-9, 0.1, 0.69, 0.71, 1.0, 1.29, 1.31, 5.0],
    ),
    "dawsn": (
        lambda x: mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-x * x) * mpmath.erfi(x),
        [-20.0, 1e-9, 0.5, 3.0, 8.9, 9.1, 50.0, 1e6],
    ),
    "spence": (
        lambda x: mpmath.polylog(2, 1 - x), [1e-9, 0.5, 0.74, 0.76, 1.0, 1.24, 1.26, 9.0, 1e5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_far_out(name):
    reference, points = TAILS[name]
    function = getattr(special, name)
    for x in points:
        with mpmath.workdps(50):
            first, second = (float(mpmath.diff(reference, mpmath.mpf(x), n)) for n in (1, 2))
        np.testing.assert_allclose(nt.grad(function)(x), first, rtol=1e-13)
        np.testing.assert_allclose(nt.grad(nt.grad(function))(x), second, rtol=5e-12, atol=1e-17)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("name", "reference"), [("ellipkinc", mpmath.ellipf), ("ellipeinc", mpmath.ellipe)]
)
def test_elliptic_integrals_by_the_parameter(name, reference, order):
    ufunc = load_ufunc(f"numtape.run.elliptic.{name}_{'m' * order}")
    for phi in (1e-3, 1.0, 1.5707, math.pi / 2, 2.0, -10.0):
        for m in (-1e6, -1.0, 0.0, 1e-9, 0.5, 0.999, 1.0 - 1e-6):
            with mpmath.workdps(40):
                expected = mpmath.diff(
                    lambda t, phi=phi: reference(mpmath.mpf(phi), t),
                    mpmath.mpf(m),
                    order,
                    h=mpmath.mpf(10) ** -18,
                )
            np.testing.assert_allclose(ufunc(phi, m), float(expected), rtol=2e-12)


@pytest.mark.parametrize(("name", "branch"), [("upper", 0), ("lower", -1)])
def test_lambert(name, branch):
    ufunc = load_ufunc(f"numtape.run.elliptic.lambert_{name}")
    points = [-1.0 / math.e + 1e-4, -0.25, -0.1, -1e-9, -1e-300]
    points += [1e-300, 1e-5, 0.5, 1.9, 2.1, 1e3, 1e300] if branch == 0 else []
    for x in points:
        expected = float(mpmath.lambertw(mpmath.mpf(x), branch).real)
        np.testing.assert_allclose(ufunc(x), expected, rtol=1e-13)
    assert ufunc(-1.0) != ufunc(-1.0)
    assert ufunc(0.0) == (0.0 if branch == 0 else -np.inf)


def test_lambertw_is_refused_where_it_is_complex():
    with pytest.raises(nt.UnsupportedError, match="below -1 / e, where it is complex"):
        nt.record(lambda x: special.lambertw(x).real, -1.0)
    with pytest.raises(nt.UnsupportedError, match="or above 0"):
        nt.record(lambda x: special.lambertw(x, -1).real, 1.0)
    with pytest.raises(nt.UnsupportedError, match="branches of real values are 0 and -1"):
        nt.record(lambda x: special.lambertw(x, 2).real, 1.0)
    # A point beyond the branch is refused on a recording that was made before it, too.
    function = nt.grad(lambda x: special.lambertw(x).real)
    assert function(0.0) == 1.0
    with pytest.raises(nt.UnsupportedError, match="complex"):
        function(-0.5)


def test_shapes_and_lists():
    points = [(np.array([[0.3, 0.5], [1.0, 2.0]]), np.array([0.2, 0.9]))]
    assert_replays(lambda u, m: special.ellipj(u, m)[2] + special.ellipkinc(u, m), *points)
    assert_replays(lambda u, m: special.fdtr(3.0, m, u), *points)
    assert_replays(lambda u, m: special.owens_t([u[0, 0], u[1, 1]], m), *points)


@pytest.mark.parametrize("name", ["hyp1f1", "struve", "modstruve"])
def test_parameters_without_derivative_are_refused(name):
    function = getattr(special, name)
    others = (2.0, 0.5) if name == "hyp1f1" else (0.5,)
    with pytest.raises(nt.UnsupportedError, match="first operand has no closed form"):
        nt.grad(function)(1.0, *others)
