"""Constant sparse matrices of `scipy.sparse` with traced vectors, matrices and systems."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as L
from checks import assert_first_derivatives, assert_same_bits, assert_second_derivatives
from scipy.sparse.linalg import aslinearoperator, spsolve

import numtape as nt

FORMATS = ("csr", "csc", "coo", "dia", "bsr", "lil", "dok")
CLASSES = [f"{name}_{kind}" for name in FORMATS for kind in ("matrix", "array")]


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def _sparse(seed, m, n):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.3)


def _laplacian(n):
    line = sp.diags_array([-1.0, 2.1, -0.9], offsets=[-1, 0, 1], shape=(n, n))
    return sp.csr_array(sp.kron(line, sp.eye_array(n)) + sp.kron(sp.eye_array(n), line))


# Of a matrix A of 5 rows and 7 columns, with x of 7 elements and y of 5.
PRODUCTS = {
    "A @ x": (lambda A, x: A @ x, (7,)),
    "A.dot(x)": (lambda A, x: A.dot(x), (7,)),
    "y @ A": (lambda A, y: y @ A, (5,)),
    "A.T @ y": (lambda A, y: A.T @ y, (5,)),
    "A @ X": (lambda A, x: A @ x, (7, 3)),
    "A @ column": (lambda A, x: A @ x, (7, 1)),
    "Y @ A": (lambda A, y: y @ A, (2, 5)),
    "A @ list": (lambda A, x: A @ [x[k] for k in range(7)], (7,)),
    "operator": (lambda A, x: aslinearoperator(A) @ x, (7,)),
    "operator of X": (lambda A, x: aslinearoperator(A) @ x, (7, 3)),
    "operator's transpose": (lambda A, y: aslinearoperator(A).T @ y, (5,)),
    "operator's adjoint": (lambda A, y: aslinearoperator(A).H @ y, (5, 2)),
    "operator from the left": (lambda A, y: y @ aslinearoperator(A), (5,)),
    "operator.matvec": (lambda A, x: aslinearoperator(A).matvec(x), (7, 1)),
    "operator.rmatmat": (lambda A, y: aslinearoperator(A).rmatmat(y), (5, 2)),
    "operators combined": (
        lambda A, x: (2.0 * aslinearoperator(A) - aslinearoperator(0.5 * A)) @ x, (7,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_have_scipys_bits(kind, name):
    function, shape = PRODUCTS[name]
    for times in (1, 8):  # recorded as scalar instructions, and as vectors
        A = getattr(sp, kind)(np.tile(_sparse(0, 5, 7), (times, times)))
        x = _normal(1, *(times * n if n in (5, 7) else n for n in shape))
        if name == "A @ list" and times > 1:
            continue
        tape = nt.record(lambda x, A=A: function(A, x), x)
        for point in (x, x**2 - 3.0):
            assert_same_bits(tape(point), function(A, point))


@pytest.mark.parametrize("name", PRODUCTS)
def test_derivatives_of_products(name):
    function, shape = PRODUCTS[name]
    A = sp.csr_array(_sparse(0, 5, 7))
    assert_first_derivatives(lambda x: function(A, x**2), _normal(1, *shape))
    weights = _normal(2, *np.shape(function(A, np.ones(shape))))
    assert_second_derivatives(lambda x: function(A, x**2), weights, _normal(1, *shape))


def test_the_derivative_of_a_large_product_is_the_transposed_one():
    A, x = sp.csr_matrix(_sparse(0, 50, 70)), _normal(1, 70)
    tape, weights = nt.record(lambda x: A @ x, x), _normal(2, 50)
    np.testing.assert_allclose(tape.vjp(x, weights)[1][0], A.T @ weights, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(tape.jvp(x, x + 1.0)[1], A @ (x + 1.0), rtol=1e-13, atol=1e-14)
    hessian = nt.hessian(lambda x: np.sum((A @ x) ** 3))(x)
    expected = A.T @ np.diag(6.0 * (A @ x)) @ A
    np.testing.assert_allclose(hessian, expected, rtol=1e-12, atol=1e-12)


def test_what_a_product_costs_is_in_proportion_to_the_stored_elements():
    A = _laplacian(40)
    tape = nt.record(lambda x: A @ x, np.ones(1600))
    derivatives = nt.record(
        lambda x, w: nt.grad(lambda x: w @ (A @ x))(x), np.ones(1600), np.ones(1600)
    )
    for each, limit in ((tape, 4), (derivatives, 20)):
        assert each.flat.slots < limit * A.nnz


def test_special_elements():
    """Elements stored twice are added, and stored zeros meet what is not finite."""
    twice = sp.coo_array(([1.0, 2.0, 4.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    zeros = sp.dia_matrix((np.array([[1.0, 0.0, 2.0]]), [0]), shape=(3, 3))
    empty = sp.csr_array((3, 2))
    row = sp.coo_array(np.array([1.0, 0.0, 3.0]))
    for A in (twice, zeros, empty, row, twice.astype(int), twice.astype(bool)):
        x = np.array([np.inf, 2.0, np.nan])[: A.shape[-1]]
        tape = nt.record(lambda x, A=A: A @ x, np.ones(A.shape[-1]))
        assert_same_bits(tape(x), A @ x)


def test_integers_stay_integers():
    A = sp.csr_array(np.array([[1, 2], [0, 3]]))
    tape = nt.record(lambda x: (A @ np.argsort(x)) * x, np.array([2.0, 1.0]))
    np.testing.assert_array_equal(tape(np.array([2.0, 1.0])), [2.0, 0.0])


def test_batches():
    A, points = sp.csc_array(_sparse(0, 5, 7)), _normal(1, 6, 7)
    tape = nt.record(lambda x: A @ np.sin(x), points[0])
    np.testing.assert_allclose(tape(points), np.sin(points) @ A.T.toarray(), rtol=1e-13)
    jacobians = nt.vmap(nt.jacobian(lambda x: A @ np.sin(x)))(points)
    np.testing.assert_allclose(
        jacobians, A.toarray() * np.cos(points)[:, None, :], rtol=1e-13, atol=1e-15
    )


def test_user_defined_operators():
    operator = L.LinearOperator((3, 3), matvec=lambda v: np.cumsum(v), rmatvec=lambda v: v[::-1])
    assert_first_derivatives(lambda x: operator @ x**2, _normal(0, 3))
    assert_first_derivatives(lambda x: operator.rmatvec(x**2), _normal(0, 3))
    assert_first_derivatives(lambda x: operator @ x**2, _normal(0, 3, 2))


# systems of equations

SYSTEMS = {
    "small": sp.csr_matrix(_sparse(3, 6, 6) + 2.0 * np.eye(6)),
    "banded": sp.diags_array([-1.0, 2.5, 0.5], offsets=[-1, 0, 2], shape=(40, 40)),
    "laplacian": _laplacian(7),
    "pivots": sp.coo_array(_sparse(4, 30, 30) + np.eye(30)[::-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_solutions(name, columns):
    A = SYSTEMS[name].tocsc()
    b = _normal(5, A.shape[0], *columns)
    tape = nt.record(lambda b: spsolve(A, b), b)
    for point in (b, b**2 - 1.0):
        expected = spsolve(A, point)
        found = tape(point)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * abs(expected).max())
    weights = _normal(6, *np.shape(expected))
    slope = nt.grad(lambda b: np.sum(weights * spsolve(A, b)))(b)
    np.testing.assert_allclose(A.T @ slope, weights.reshape(b.shape), rtol=1e-9, atol=1e-11)


def test_derivatives_of_solutions():
    A = SYSTEMS["small"].tocsc()
    assert_first_derivatives(lambda b: spsolve(A, b**2), _normal(0, 6))
    assert_second_derivatives(lambda b: spsolve(A, b**2), _normal(1, 6), _normal(0, 6))
    points = _normal(2, 4, 6)
    found = nt.vmap(nt.jacobian(lambda b: spsolve(A, b**2)))(points)
    expected = np.linalg.inv(A.toarray()) * (2.0 * points[:, None, :])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_a_singular_system_is_nan_as_in_scipy():
    A = sp.csc_array(np.array([[1.0, 0.0], [2.0, 0.0]]))
    with pytest.warns(L.MatrixRankWarning):
        assert np.isnan(nt.record(lambda b: spsolve(A, b), np.ones(2))(np.ones(2))).all()


def test_wrong_shapes_are_refused_in_scipys_words():
    A = sp.csr_array(np.eye(3))
    for function in (
        lambda x: A @ x,
        lambda x: x @ A,
        lambda x: aslinearoperator(A) @ x,
        lambda x: spsolve(A, x),
    ):
        with pytest.raises(ValueError, match=r"dimension|match"):
            nt.record(function, np.ones(4))


A = sp.csr_array(np.eye(3))
REFUSED = {
    "scaled": (lambda x: (x[0] * A) @ x, "Scale the product"),
    "divided": (lambda x: (A / x[0]) @ x, "Scale the product"),
    "elementwise": (lambda x: A.multiply(x) @ x, "Scale the product"),
    "elementwise, dia": (lambda x: A.todia().multiply(x) @ x, "Scale the product"),
    "elements are traced": (lambda x: sp.csr_array((x, (range(3), range(3)))) @ x, "no rule"),
    "scaled operator": (lambda x: (aslinearoperator(A) * x[0]) @ x, "Scale the product"),
    "complex": (lambda x: (1j * A) @ x, "complex"),
    "complex system": (lambda x: spsolve(1j * A.tocsc(), x), "complex"),
    "traced system": (lambda x: spsolve(np.eye(3) * x, np.ones(3)), "np.linalg.solve"),
    "rank 3": (lambda x: sp.coo_array(np.ones((2, 2, 3))).dot(x), "rank 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(lambda x: np.sum(function(x)))(np.ones(3))
