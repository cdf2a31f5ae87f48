"""Complex numbers inside recorded functions: NumPy's values, derivatives, batches, refusals."""

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from checks import central_jacobian, hessian, without_source

import numtape as nt
from numtape.trace.complexes import TracedComplex

RNG = np.random.default_rng(1)
X = np.array([0.7, -1.3, 0.45])
C = RNG.normal(size=(3, 3)) + 1j * RNG.normal(size=(3, 3))
M = RNG.normal(size=(3, 3))
c = C[0]


def _both(z):
    """The parts of complex numbers as one real vector."""
    return np.concatenate([np.ravel(z.real), np.ravel(z.imag)])


def _z(x):
    """Complex numbers that depend on x in a way that is not linear."""
    return x * (1.3 - 0.4j) + 1j * x[::-1] ** 2


def _table(x):
    return C * x + 0.1j * np.outer(x, x)


def _sum_of_parts(*values):
    return sum(value.real + 0.3 * value.imag for value in values)


UFUNCS = (
    *("sqrt", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "expm1", "square"),
    *("reciprocal", "sign", "log10", "log2", "log1p", "exp2", "negative", "positive", "conjugate"),
    *("arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh"),
    *("absolute", "angle", "real", "imag"),
)


def _assigned(x):
    z = np.zeros_like(x, dtype=complex)
    z[0] = x[1] * 1j
    z[1:] = _z(x)[1:]
    w = z[1:]
    w[0] = x[0]  # a view
    z.real[2] += x[0]
    z.imag = z.imag * 2
    z *= 2 + 1j
    z[0] += 1
    return _both(z)


def _parts_assigned(x):
    z = x.astype(complex)
    z.imag[:] = x[::-1]
    y = z.T
    y += x
    r = z.real
    r[0] = 5 * x[1]
    return _both(z)


CASES = {
    **{f"np.{name}": lambda x, name=name: _both(getattr(np, name)(_z(x)) + 0j) for name in UFUNCS},
    "exp(1j x)": lambda x: _both(np.exp(1j * x)),
    "x + 1j y": lambda x: _both(x + 1j * x[::-1]),
    "x - 1j": lambda x: _both(x - 1j) + _both(1j - x),
    "abs": lambda x: abs(_z(x)),
    "abs squared": lambda x: abs(_z(x)) ** 2,
    "scalars": lambda x: _both(
        np.stack(
            [
                x[0] * 1j + x[1],
                (2 - 1j) / (x[0] + 1j * x[1]),
                (x[0] + 1j) ** 2,
                (x[0] + 1j) ** 0.5,
                (x[1] - 2j) ** -2,
                (x[1] - 2j) ** 1.7,
                2.0 ** (1j * x[0]),
                (1 + 2j) ** (x[1] + 1j),
                (x[0] + 1j * x[1]) ** (x[2] + 1j),
                (1.0 + x[2] ** 2) ** (1 + 1j),
            ]
        )
    ),
    "quotient": lambda x: _both(_z(x) / _z(x[::-1] + 1.5)),
    "by a traced real": lambda x: _both(_z(x) / x),
    "by a constant": lambda x: _both(x / c) + _both(_z(x) / 2.5),
    "powers": lambda x: _both(_z(x) ** np.array([0, 1, -3])),
    "all kinds of powers": lambda x: _both(_z(x) ** np.array([2, 0.5, -1.5])),
    "whole powers": lambda x: _both(_z(x) ** 3) + _both(_z(x) ** 5) + _both(_z(x) ** -1),
    "a traced power": lambda x: _both(_z(x) ** x),
    "a root on the cut": lambda x: _both(np.sqrt(-(x**2) + 0j)),
    "a logarithm on the cut": lambda x: _both(np.log(-(x**2) + 0j)),
    "an other side of the cut": lambda x: _both(np.sqrt(np.conj(-(x**2) + 0j))),
    "C @ x": lambda x: _both(C @ x),
    "x @ C": lambda x: _both(x @ C),
    "C @ z": lambda x: _both(C @ _z(x)),
    "z @ C": lambda x: _both(_z(x) @ C),
    "M @ z": lambda x: _both(M @ _z(x)),
    "z @ z": lambda x: _both(_z(x) @ _z(x)),
    "dot": lambda x: _both(np.dot(C, _z(x))) + _both(x.dot(C)),
    "vdot": lambda x: _both(np.vdot(_z(x), c * x)),
    "vdot of a constant": lambda x: _both(np.vdot(c, x)) + _both(np.vdot(x, c)),
    "vecdot": lambda x: _both(np.vecdot(C, _z(x))),
    "inner": lambda x: _both(np.inner(c, _z(x))),
    "outer": lambda x: _both(np.outer(x, _z(x))) + _both(np.multiply.outer(c, x)),
    "kron": lambda x: _both(np.kron(x, c)),
    "einsum": lambda x: _both(np.einsum("ij,j,i->j", C, x, _z(x))),
    "einsum of one": lambda x: _both(np.einsum("i->", _z(x))),
    "einsum by lists": lambda x: _both(np.einsum(C, [0, 1], x, [1], [0])),
    "tensordot": lambda x: _both(np.tensordot(C, np.outer(x, _z(x)), axes=([0], [1]))),
    "trace": lambda x: _both(np.trace(np.outer(_z(x), x))),
    "cross": lambda x: _both(np.cross(c, _z(x))),
    "convolve": lambda x: _both(np.convolve(_z(x), c)),
    "correlate": lambda x: _both(np.correlate(c, _z(x), "full")),
    "sum": lambda x: _both(np.sum(_table(x), axis=0)) + _both(np.add.reduce(_table(x))),
    "prod": lambda x: _both(np.prod(_table(x), axis=1)) + _both(_table(x).prod(0)),
    "mean": lambda x: _both(_table(x).mean(0)),
    "average": lambda x: _both(np.average(_table(x), axis=0, weights=[1.0, 2.0, 3.0])),
    "cumsum": lambda x: _both(np.cumsum(_table(x))),
    "cumprod": lambda x: _both(np.cumprod(_table(x), 1)),
    "var": lambda x: np.var(_table(x), axis=1),
    "std": lambda x: _table(x).std(axis=0, ddof=1),
    "stack": lambda x: _both(np.stack([x, c, _z(x)])),
    "concatenate": lambda x: _both(np.concatenate([x, [1.0, 2j], _z(x)])),
    "append": lambda x: _both(np.append(_z(x), x)) + _both(np.hstack([x, _z(x)])),
    "insert": lambda x: _both(np.insert(_z(x), 1, x[0])),
    "block": lambda x: _both(np.block([[_table(x), np.zeros((3, 1))]])),
    "where": lambda x: _both(np.where(x > 0, _z(x), x)) + _both(np.where(x > 0, 1j, x)),
    "where of plain": lambda x: _both(np.where([True, False, True], C, x)),
    "select": lambda x: _both(np.select([x > 0, x < -1], [_z(x), x], 1j)),
    "reshape": lambda x: _both(_table(x).T.reshape(-1)[::2]),
    "axes": lambda x: _both(_table(x).swapaxes(0, 1)[:, None].squeeze()),
    "index": lambda x: _both(_table(x)[1, [0, 2]]) + _both(_table(x).flat[2:4]),
    "mask": lambda x: _both(_table(x)[np.eye(3, dtype=bool)]),
    "traced index": lambda x: _both(_z(x)[np.argsort(x)]),
    "take": lambda x: _both(np.take(_z(x), [2, 0])),
    "assigned": _assigned,
    "parts assigned": _parts_assigned,
    "out": lambda x: _both(np.add(_z(x), 1, out=x.astype(complex))),
    "elements": lambda x: _both(sum(z * k for k, z in enumerate(_z(x)))),
    "item": lambda x: _both(_z(x)[:1].item() * (1 + 1j)),
    "fft": lambda x: _both(np.fft.fft(_z(x))) + _both(np.fft.ifft(np.fft.fftshift(_z(x)))),
    "fft2": lambda x: _both(np.fft.ifft2(np.fft.fft2(_table(x)) * C)),
    "polyval": lambda x: _both(np.polyval(c, x)) + _both(np.polyval([1, 2.0, x[0]], _z(x))),
    "diff": lambda x: _both(np.diff(_z(x))) + _both(np.ediff1d(_z(x))),
    "gradient": lambda x: _both(np.gradient(_z(x))),
    "trapezoid": lambda x: _both(np.trapezoid(_z(x), x)),
    "linspace": lambda x: _both(np.linspace(x[0] * 1j, 1.0, 4)),
    "interp": lambda x: _both(np.interp(x, [-2.0, 0.1, 1.0], [1j, 2.0, 3.0])),
    "meshgrid": lambda x: _both(np.meshgrid(_z(x), x)[0]),
    "broadcast_to": lambda x: _both(np.broadcast_to(_z(x), (2, 3))),
    "tril": lambda x: _both(np.tril(_table(x))) + _both(np.triu(_table(x)).T),
    "diag": lambda x: _both(np.diag(_z(x))),
    "roll": lambda x: _both(np.roll(_z(x), 1)),
    "tile": lambda x: _both(np.tile(_z(x), 2)),
    "pad": lambda x: _both(np.pad(_z(x), 1, constant_values=1j)) + _both(np.pad(_z(x), 1, "wrap")),
    "nan_to_num": lambda x: _both(np.nan_to_num(_z(x))),
    "round": lambda x: _both(np.round(_z(x), 0) + _z(x)),
    "full_like": lambda x: _both(np.full_like(x, 1j, dtype=complex) * x),
    "ones_like": lambda x: _both(np.ones_like(_z(x)) * x),
    "apply_along_axis": lambda x: _both(np.apply_along_axis(lambda r: r * r, 0, _table(x))),
    "copies": lambda x: _both(np.copy(_z(x)).conj().copy()),
    "tests": lambda x: (
        np.isclose(_z(x), _z(x) + 1e-9) * x
        + np.isfinite(_z(x)) * x
        + (_z(x) == _z(x)) * x
        + (_z(x) != 1) * x
        + np.isnan(_z(x)) * x
        + np.any(_z(x)) * np.count_nonzero(_z(x)) * x
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    _check(CASES[name], 3e-15)


def _check(function, tolerance):
    tape = nt.record(function, X)
    for x in (X, X + 0.1 * X**2):
        found, expected = tape(x), function(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    expected = central_jacobian(lambda x: np.ravel(function(x)), X, 1e-3)
    for way in (nt.jacrev, nt.jacfwd):
        found = way(function)(X).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)
    weights = np.cos(np.arange(float(np.size(function(X)))))

    def total(x):
        return np.sum(np.ravel(function(x)) * weights)

    expected = central_jacobian(nt.grad(total), X, 1e-3)
    np.testing.assert_allclose(hessian(total, X), expected, rtol=1e-6, atol=1e-7)
    points = np.stack([X, X + 0.1, X * 1.1])
    np.testing.assert_allclose(
        nt.vmap(function)(points),
        [function(x) for x in points],
        rtol=10 * tolerance,
        atol=10 * tolerance,
    )


def _matrix(x):
    return (M + 3 * np.eye(3)) * np.outer(x, [1, 1, 1]) * (1 + 0.5j) + 1j * C


def _hermitian(x):
    return _matrix(x) + _matrix(x).conj().T


R = RNG.normal(size=(4, 4))


def _turning(x):
    """A real matrix whose eigenvalues are complex."""
    return R + np.outer(np.concatenate([x, x[:1]]), np.arange(4.0))


L = np.linalg
MATRICES = {
    "inv": lambda x: _both(L.inv(_matrix(x))),
    "inv of several": lambda x: _both(L.inv(np.stack([_matrix(x), C]))),
    "solve": lambda x: _both(L.solve(_matrix(x), _z(x))) + _both(L.solve(C, x)),
    "solve for several": lambda x: _both(L.solve(_matrix(x), C)),
    "solve a real one": lambda x: _both(L.solve(M + np.diag(x), c)),
    "det": lambda x: _both(L.det(_matrix(x))),
    "det of several": lambda x: _both(L.det(np.stack([_matrix(x), C]))),
    "slogdet": lambda x: _both(L.slogdet(_matrix(x))[0]) * L.slogdet(_matrix(x))[1],
    "norm": lambda x: L.norm(_matrix(x)) + L.norm(_z(x)) + L.norm(_matrix(x), axis=0),
    "other norms": lambda x: L.norm(_matrix(x), 1) + L.norm(_z(x), 3) * L.norm(_z(x), np.inf),
    "matrix_power": lambda x: _both(L.matrix_power(_matrix(x), 3)),
    "a negative power": lambda x: _both(L.matrix_power(_matrix(x), -2)),
    "multi_dot": lambda x: _both(L.multi_dot([_matrix(x), C, _z(x)])),
    "eigvals": lambda x: _both(L.eigvals(_turning(x))),
    "eig": lambda x: _both(L.eig(_turning(x))[0]) * L.norm(x),
    "eigenvectors": lambda x: _both(L.eig(_turning(x))[1]),
    "eigvalsh": lambda x: L.eigvalsh(_hermitian(x)) + L.eigvalsh(_hermitian(x), "U"),
    "eigh": lambda x: _both(L.eigh(_hermitian(x))[1] * L.eigh(_hermitian(x))[0]),
    "pinv": lambda x: _both(L.pinv(_matrix(x)[:, :2])) + _both(L.pinv(_matrix(x)[:2])),
    "lstsq": lambda x: _both(L.lstsq(_matrix(x)[:, :2], _z(x))[0]) * L.lstsq(C[:, :2], x)[1],
    "eigvalsh of a triangle": lambda x: L.eigvalsh(_matrix(x)),
    "expm": lambda x: _both(scipy.linalg.expm(0.3 * _matrix(x))),
    "scipy": lambda x: _both(scipy.linalg.solve(_matrix(x), _z(x)) * scipy.linalg.det(_matrix(x))),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name):
    _check(lambda x: np.atleast_1d(MATRICES[name](x)), 1e-12)


# values: the plane, branch cuts, extremes


def _of_parts(function):
    """A function of complex numbers as one of their parts."""

    def of_parts(real, imag):
        z = real.astype(complex)
        z.imag = imag
        w = function(z)
        return np.stack([w.real, w.imag])

    return of_parts


NAMES = [name for name in UFUNCS if name not in ("real", "imag", "positive")]


@pytest.mark.parametrize("name", NAMES)
def test_values_agree_to_a_few_units_in_the_last_place(name):
    rng = np.random.default_rng(3)
    size = 10 ** rng.uniform(-3.0, 2.0, 2000)
    real, imag = rng.normal(size=2000) * size, rng.normal(size=2000) * size[::-1]
    function = _of_parts(getattr(np, name))
    found = nt.record(function, real, imag)(real, imag)
    expected = function(real, imag)
    _assert_close(found, expected, 5 * np.finfo(float).eps)


def _assert_close(found, expected, tolerance):
    """Equal up to a share of the magnitude; where one part is not finite, both alike."""
    with np.errstate(all="ignore"):
        size = np.hypot(*expected)
        near = abs(found - expected) <= tolerance * np.where(np.isfinite(size), size, abs(expected))
    near |= (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert near.all(), (found[~near], expected[~near])


EDGES = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -0.3, 1e-150, 709.9, 800.0, -800.0])
GRID = [grid.ravel() for grid in np.meshgrid(EDGES, EDGES)]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("reciprocal", "sign", "expm1")]
)
def test_branch_cuts_and_signs_of_zeros_are_numpys(name):
    function = _of_parts(getattr(np, name))
    with np.errstate(all="ignore"):
        found, expected = nt.record(function, *GRID)(*GRID), function(*GRID)
    _assert_close(found, expected, 1e-14)
    zeros = (found == 0.0) & (expected == 0.0)
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


OPERATIONS = {
    "+": lambda z, w: z + w,
    "-": lambda z, w: z - w,
    "*": lambda z, w: z * w,
    "/": lambda z, w: z / w,
    "real *": lambda z, w: z.real * w,
    "/ real": lambda z, w: z / w.real,
    "constant -": lambda z, w: (2.0 - 0.0j) - w,
    "constant *": lambda z, w: (-1.0 + 0.0j) * w * 1j,
    "/ constant": lambda z, w: z / -1j,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operators_have_numpys_signs_of_zeros(name):
    edges = np.array([0.0, -0.0, 1.0, -0.3, 1e-150, -1e150])
    four = [grid.ravel() for grid in np.meshgrid(*[edges] * 4)]

    def function(a, b, c, d):
        z, w = a.astype(complex), c.astype(complex)
        z.imag, w.imag = b, d
        result = OPERATIONS[name](z, w)
        return np.stack([result.real, result.imag])

    with np.errstate(all="ignore"):
        found, expected = nt.record(function, *four)(*four), function(*four)
    _assert_close(found, expected, 1e-14)
    zeros = (found == 0.0) & (expected == 0.0) & np.hypot(*four[2:]).astype(bool)
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


def test_large_and_small_quotients_do_not_overflow():
    for size in (1e300, 1e-300):
        found = nt.record(lambda x, s=size: abs((x * s * (1 + 2j)) / (s * (2 - 1j) * x)), 1.5)(2.5)
        assert found == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize(
    "name", ["log", "sqrt", "tanh", "tan", "expm1", "arcsin", "arccos", "arctan", "arccosh"]
)
def test_derivatives_against_mpmath(name):
    """Of a function of z by x = Re z it is the complex derivative; by y, i times that."""
    numpys, exact = getattr(np, name), getattr(mpmath, name.replace("arc", "a"))
    for z in (1.0 + 1e-3j, -2.0 + 0.5j, 0.3 - 3.0j, 1e-3 + 1e-3j, 0.7j + 0.0, -0.5j + 0.0):
        slope = complex(mpmath.diff(exact, z))
        found = nt.jacobian(
            lambda x, y, f=numpys: np.stack([f(x + 1j * y).real, f(x + 1j * y).imag]), (0, 1)
        )(z.real, z.imag)
        np.testing.assert_allclose(found[0], [slope.real, slope.imag], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found[1], [-slope.imag, slope.real], rtol=1e-12, atol=1e-15)


def test_the_logarithm_near_one_does_not_cancel():
    found = nt.record(lambda x: np.log(x + 1e-9j).real, 1.0)(1.0)
    assert found == pytest.approx(np.log(1.0 + 1e-9j).real, rel=1e-9)


# kinks


def test_the_square_of_a_magnitude_is_smooth_at_zero():
    two = 2.0 * np.eye(2)
    for function in (
        lambda x: abs(x[0] + 1j * x[1]) ** 2,
        lambda x: np.abs(x[0] + 1j * x[1]) * np.abs(x[0] + 1j * x[1]),
        lambda x: ((x[0] + 1j * x[1]) * np.conj(x[0] + 1j * x[1])).real,
        lambda x: np.sum(abs(x * np.array([1.0, 1j]))) * 0.0 + np.sum(abs(1j * x) ** 2),
        lambda x: np.vdot(x * 1j, x * 1j).real,
        lambda x: np.linalg.norm(x * 1j) ** 2,
    ):
        np.testing.assert_array_equal(nt.grad(function)(np.zeros(2)), np.zeros(2))
        np.testing.assert_array_equal(nt.hessian(function)(np.zeros(2)), two)


def test_kinks():
    assert nt.grad(lambda x: abs(x * (3 + 4j)))(0.0) == 0.0
    assert nt.grad(lambda x: np.angle(x * (1 + 1j)))(0.0) == 0.0
    assert nt.grad(lambda x: ((x + 0j) ** 2).real)(0.0) == 0.0
    np.testing.assert_array_equal(
        nt.jacobian(lambda x: ((x + 0j) ** np.arange(4)).real)(0.0), [0.0, 1.0, 0.0, 0.0]
    )
    np.testing.assert_array_equal(
        nt.jacobian(lambda x: np.where(x > 0, abs(np.sqrt(x + 0j)), 0.0))(np.zeros(1)), [[0.0]]
    )


# what functions see


def test_what_a_complex_value_is():
    def function(x):
        z = x * (1 + 2j)
        assert (z.shape, z.ndim, z.size, len(z), z.nbytes, z.itemsize) == ((3,), 1, 3, 3, 48, 16)
        assert z.dtype == complex
        assert np.iscomplexobj(z)
        assert not np.isrealobj(z)
        assert np.result_type(z) is np.dtype(complex)
        assert (np.shape(z), np.ndim(z), np.size(z)) == ((3,), 1, 3)
        assert str(z[0]) == str(0.7 * (1 + 2j))
        assert f"{z[0]:.1f}" == "0.7+1.4j"
        assert isinstance(z[0], TracedComplex)
        assert z[0].ndim == 0
        assert z.flags.c_contiguous
        assert z.astype(complex, copy=False) is z
        assert np.zeros(2, complex, like=x).dtype == complex
        assert np.array([z[0], z[1]], like=x).shape == (2,)
        return np.sum(z.imag) + (x + 0j)[0].imag

    np.testing.assert_array_equal(nt.grad(function)(X), [2.0, 2.0, 2.0])


def test_views_and_copies():
    def function(x):
        z = np.zeros((2, 3), complex, like=x)
        z[0] = x * 1j
        row, parts, copy = z[0], z.imag, z.copy()
        z[0, 0] = 5.0
        other = x + 0j
        other.real[0] = 9.0  # not x's
        same = np.positive(z)
        same[...] = 0.0
        return np.stack([row[0].real, parts[0, 0], copy[0, 0].imag, x[0], z[0, 1].imag])

    np.testing.assert_array_equal(nt.record(function, X)(X), [5.0, 0.0, 0.7, 0.7, -1.3])


def test_a_derivative_inside():
    def outer(x):
        turn = np.exp(1j * x)
        return nt.grad(lambda y: abs(turn * y + 1.0) ** 2)(2.0)  # 2 y + 2 cos x

    assert nt.grad(outer)(0.7) == pytest.approx(-2.0 * np.sin(0.7), rel=1e-14)


def test_branches_are_guarded():
    function = nt.vmap(lambda x: abs(x + 1j) if (x * 1j).imag > 0 else np.angle(x + 1j))
    expected = np.where(X > 0, abs(X + 1j), np.angle(X + 1j))
    np.testing.assert_allclose(function(X), expected, rtol=1e-15)
    assert nt.grad(lambda x: 3.0 * x if x * 1j else x)(1.0) == 3.0


def test_pythons_numbers_raise_where_that_is_caught():
    def quotient(x):
        try:
            return abs((1 + 1j) / (x * 1j))
        except ZeroDivisionError:
            return 5.0 * x

    def power(x):
        try:
            return abs((x * 1j) ** -1.5)
        except ZeroDivisionError:
            return 7.0 * x

    for function, other in ((quotient, 5.0), (power, 7.0)):
        gradient = nt.grad(function)
        for x in (2.0, 0.0, 3.0, 0.0):
            expected = other if not x else (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
            assert gradient(x) == pytest.approx(expected, rel=1e-8)


def test_eigenvectors_whose_first_component_is_zero():
    def function(x):
        h = np.array([[5.0, 0, 0], [0, 1.0, 1j], [0, -1j, 2.0]]) * x
        vectors = np.linalg.eigh(h)[1]
        return np.sum(abs(vectors) ** 2 * np.arange(9.0).reshape(3, 3))

    found = nt.value_and_grad(function)(1.5)
    assert found[0] == pytest.approx(function(1.5), rel=1e-14)
    assert found[1] == pytest.approx(0.0, abs=1e-14)  # scaling does not turn vectors


def test_arrays_of_objects_are_refused_and_what_is_none_is_not():
    def function(x):
        np.sum([x[0], x[1]])
        turned = np.multiply(x[0], 1j) + x[1]
        return abs(turned) ** 2 + np.sum(abs(1j * x) ** 2) + abs(np.asarray(x) @ (x * 1j)) ** 2

    expected = central_jacobian(function, X, 1e-3)
    np.testing.assert_allclose(nt.grad(function)(X), expected, rtol=1e-9)


def test_what_is_held_constant():
    found = nt.grad(lambda x: np.sum(abs(nt.stop_gradient(x * 1j) * x)))(X)
    np.testing.assert_allclose(found, abs(X) * np.sign(X), rtol=1e-15)


def test_adding_at_places():
    def function(x):
        z = np.zeros(2, complex, like=x)
        np.add.at(z, [0, 0, 1], x * 1j)
        return np.sum(abs(z) ** 2)

    np.testing.assert_allclose(nt.grad(function)(X), [-1.2, -1.2, 0.9], rtol=1e-14)


def test_assigning_functions():
    def function(x):
        z = np.zeros_like(x, dtype=complex)
        np.copyto(z, x)
        np.put(z, [1], x[0] * 2j)
        np.putmask(z, [False, False, True], 1j)
        return np.sum(abs(z) ** 2)

    np.testing.assert_allclose(nt.grad(function)(X), [10.0 * X[0], 0.0, 0.0], rtol=1e-15)


REFUSED = {
    "a result": (lambda x: x * 1j, "np.stack"),
    "less": (lambda x: 1.0 * (x + 1j < x + 2j), "less.*complex"),
    "maximum": (lambda x: np.maximum(x + 1j, 2.0).real, "maximum"),
    "a maximum of all": (lambda x: (x + 1j).max().real, "max"),
    "sorting": (lambda x: np.sort(x * 1j).real, "sort"),
    "remainders": (lambda x: (x * 1j % 2).real, "remainder"),
    "rint": (lambda x: np.rint(x * 1j).real, "rint"),
    "a method of a ufunc": (lambda x: np.maximum.reduce(x * 1j).real, "maximum.reduce"),
    "float": (lambda x: float(x[0] * 1j), "z.real"),
    "int": (lambda x: int(x[0] * 1j), "z.real"),
    "complex": (lambda x: complex(x[0] * 1j).real, "plain complex number"),
    "np.array": (without_source(lambda x: np.array([x[0] * 1j, x[1]]).real), "np.stack"),
    "a real array": (lambda x: x.__setitem__(0, x[1] * 1j), "dtype=complex"),
    "a plain array": (
        without_source(lambda x: np.zeros(3, complex).__setitem__(0, x[1] * 1j)),
        "dtype=complex",
    ),
    "into a real array": (lambda x: np.copyto(x, x * 1j), "cannot hold"),
    "inserting": (lambda x: np.insert(x, 0, 1j).real, "real array"),
    "in place": (lambda x: x.__iadd__(1j), "complex128"),
    "astype": (lambda x: (x * 1j).astype(float), "discard"),
    "an attribute": (lambda x: (x * 1j).data, "data"),
    "view": (lambda x: (x * 1j).view(float), "side by side"),
    "digits": (lambda x: abs(x * np.ones(3, np.clongdouble)), "complex"),
    "scipy.special": (lambda x: scipy.special.erf(x * 1j).real, "erf"),
    "scipy's functions": (lambda x: scipy.special.logsumexp(x * 1j).real, "logsumexp"),
    "singular values": (lambda x: np.linalg.norm(C * x[0], 2), "eigvalsh"),
    "eigh of the other triangle": (lambda x: np.linalg.eigh(C * x[0], "U")[1].real, "UPLO"),
    "arrays of objects": (without_source(lambda x: np.sum((np.asarray(x) * 1j).imag)), "np.stack"),
    "other arrays of objects": (
        without_source(lambda x: np.sum((1j - np.array([x[0], x[1]])).imag)),
        "np.stack",
    ),
    "svd": (lambda x: np.linalg.svd(C * x[0])[1], "svd"),
    "full_like": (lambda x: np.full_like(x, 1j), "real numbers"),
    "padding by maxima": (lambda x: np.pad(x * 1j, 1, "maximum").real, "no order"),
    "weights": (lambda x: np.average(x * 1j, weights=x * 1j).real, "complex weights"),
    "options of scipy": (
        lambda x: scipy.linalg.solve(C * x[0], x, assume_a="sym").real,
        "Leave them out",
    ),
    "a dtype": (lambda x: np.prod(x * 1j, dtype=np.complex64).real, "complex128"),
    "rows of several lengths": (
        without_source(lambda x: np.array([[x[0] * 1j], x], like=x).real),
        "one shape",
    ),
}


def test_refused_where_a_ufunc_has_a_substitute():
    point = np.array([0.5, 1.5])
    nt.record(lambda x: np.sum(scipy.special.gamma(np.array([x[0], x[1]]))), point)  # has one now
    with pytest.raises(nt.UnsupportedError, match=r"gamma.*complex"):
        nt.record(lambda x: np.sum(scipy.special.gamma(x * 1j).real), X)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, words = REFUSED[name]
    with pytest.raises((nt.TraceError, nt.InputError), match=words):
        nt.record(lambda x: np.sum(x) + function(x), X)
