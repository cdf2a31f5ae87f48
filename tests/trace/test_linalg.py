"""`numpy.linalg` of traced matrices: values, derivatives to second order, edges, refusals."""

import mpmath
import numpy as np
import pytest
from checks import (
    assert_first_derivatives,
    assert_same_bits,
    assert_second_derivatives,
    central_jacobian,
    derivatives_every_way,
    hessian,
)

import numtape as nt

L = np.linalg


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def _positive(seed, *batch, n=4):
    a = _normal(seed, *batch, n, n)
    return a @ np.swapaxes(a, -1, -2) + np.eye(n)


SQUARE, RIGHT, VECTOR = _normal(0, 4, 4), _normal(1, 4, 3), _normal(2, 4)
TALL, WIDE, POSITIVE = _normal(3, 5, 3), _normal(4, 3, 5), _positive(5)
REAL = np.diag([1.0, 2.0, 3.5, 5.0]) + 0.1 * _normal(6, 4, 4)


def _rebuilt(a):
    w, v = L.eigh(a)
    return (v * w**2) @ v.T


SAME_BITS = {
    "solve": (L.solve, SQUARE, RIGHT),
    "solve for a vector": (L.solve, SQUARE, VECTOR),
    "solve in batches": (L.solve, _normal(7, 2, 1, 3, 3) + 3 * np.eye(3), _normal(8, 3, 3, 2)),
    "inv": (L.inv, SQUARE),
    "det": (L.det, SQUARE),
    "det in batches": (L.det, _normal(9, 2, 3, 3)),
    "slogdet": (lambda a: L.slogdet(a).logabsdet, SQUARE),
    "slogdet in batches": (lambda a: L.slogdet(a)[1], _normal(9, 2, 3, 3)),
    "cholesky": (L.cholesky, POSITIVE),
    "cholesky, upper": (lambda a: L.cholesky(a, upper=True), POSITIVE),
    "cholesky in batches": (L.cholesky, _positive(10, 2, n=3)),
    "eigenvalues": (lambda a: L.eigh(a).eigenvalues, POSITIVE),
    "eigenvectors": (lambda a: L.eigh(a)[1], POSITIVE),
    "eigenvectors of the upper triangle": (lambda a: L.eigh(a, "U")[1], POSITIVE),
    "eigenvectors in batches": (lambda a: L.eigh(a)[1], _positive(11, 2, n=3)),
    "a function of a matrix": (_rebuilt, POSITIVE),
    "eigvalsh": (L.eigvalsh, POSITIVE),
    "eigvalsh of the upper triangle": (lambda a: L.eigvalsh(a, "U"), POSITIVE),
    "eig, values": (lambda a: L.eig(a).eigenvalues, REAL),
    "eig, vectors": (lambda a: L.eig(a).eigenvectors, REAL),
    "eigvals": (L.eigvals, REAL),
    "svd, values": (lambda a: L.svd(a, compute_uv=False), TALL),
    "svdvals": (L.svdvals, TALL),
    "svd, left": (lambda a: L.svd(a, full_matrices=False).U, TALL),
    "svd, right": (lambda a: L.svd(a, full_matrices=False).Vh, TALL),
    "svd, left of wide": (lambda a: L.svd(a, full_matrices=False)[0], WIDE),
    "svd, right of wide": (lambda a: L.svd(a, full_matrices=False)[2], WIDE),
    "svd in batches": (lambda a: L.svd(a, full_matrices=False)[0], _normal(12, 2, 3, 2)),
    "svd with all vectors": (lambda a: L.svd(a)[0][:, :3] * L.svd(a)[1], TALL),
    "svd of square": (lambda a: L.svd(a)[2], SQUARE),
    "qr, Q": (lambda a: L.qr(a).Q, TALL),
    "qr, R": (lambda a: L.qr(a).R, TALL),
    "qr, R alone": (lambda a: L.qr(a, mode="r"), TALL),
    "qr of square": (lambda a: L.qr(a)[0] @ L.qr(a)[1].T, SQUARE),
    "qr in batches": (lambda a: L.qr(a)[0], _normal(13, 2, 3, 2)),
    "matrix_power": (lambda a: L.matrix_power(a, 5), SQUARE),
    "matrix_power, negative": (lambda a: L.matrix_power(a, -2), POSITIVE),
    "multi_dot": (lambda a, b, c: L.multi_dot([a, b, c, b]), WIDE, TALL[:, :2], _normal(14, 2, 5)),
    "norm 2 over axes": (lambda a: L.norm(a, 2, (2, 0), keepdims=True), _normal(15, 3, 2, 4)),
    "norm nuc over axes": (lambda a: L.norm(a, "nuc", (0, 1)), _normal(15, 3, 2, 4)),
    "matrix_norm": (lambda a: L.matrix_norm(a, keepdims=True), _normal(16, 2, 3, 4)),
    "matrix_norm 1": (lambda a: L.matrix_norm(a, ord=1), _normal(16, 2, 3, 4)),
    "vector_norm 3": (lambda a: L.vector_norm(a, axis=0, ord=3), TALL),
    "vector_norm of all": (lambda a: L.vector_norm(a, keepdims=True), TALL),
    "cond": (L.cond, SQUARE),
    "cond 1": (lambda a: L.cond(a, 1), SQUARE),
    "cond -2": (lambda a: L.cond(a, -2), SQUARE),
    "tensorsolve": (L.tensorsolve, _normal(17, 2, 3, 6), _normal(18, 2, 3)),
    "tensorinv": (lambda a: L.tensorinv(a, 1), _normal(19, 6, 2, 3)),
    "trace": (lambda a: L.trace(a, offset=1), _normal(20, 2, 3, 4)),
    "diagonal": (lambda a: L.diagonal(a), _normal(20, 2, 3, 4)),
    "cross": (L.cross, _normal(21, 2, 3), _normal(22, 3)),
    "outer": (L.outer, VECTOR, VECTOR),
    "matmul": (L.matmul, SQUARE, RIGHT),
    "tensordot": (lambda a, b: L.tensordot(a, b, axes=1), SQUARE, RIGHT),
    "tensordot over pairs": (
        lambda a, b: L.tensordot(a, b, axes=([0, 1], [1, 0])), TALL, _normal(23, 3, 5, 2),
    ),
    **{
        f"norm {order}": (lambda a, order=order: L.norm(a, order), TALL)
        for order in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
}  # fmt: skip

# Compositions whose values NumPy finds otherwise.
TO_ROUNDING = {
    "qr of wide": (lambda a: L.qr(a)[1], WIDE),
    "lstsq": (lambda a, b: L.lstsq(a, b)[0], TALL, _normal(24, 5)),
    "lstsq, several": (lambda a, b: L.lstsq(a, b, None)[0], TALL, _normal(24, 5, 2)),
    "lstsq, misfits": (lambda a, b: L.lstsq(a, b)[1], TALL, _normal(24, 5)),
    "lstsq of wide": (lambda a, b: L.lstsq(a, b)[0], WIDE, _normal(24, 3)),
    "pinv": (L.pinv, TALL),
    "pinv of wide": (L.pinv, WIDE),
    "pinv of square": (lambda a: L.pinv(a), SQUARE),
    "pinv in batches": (L.pinv, _normal(25, 2, 3, 2)),
    "vecdot": (lambda a, b: L.vecdot(a, b), RIGHT, RIGHT[:1]),
    "svd of symmetric": (lambda a: L.svd(a, compute_uv=False, hermitian=True), POSITIVE - 3.0),
}

CASES = SAME_BITS | TO_ROUNDING


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    function, *arrays = CASES[name]
    tape = nt.record(function, *arrays)
    for moved in (arrays, [array + 0.01 * array**2 for array in arrays]):
        expected = function(*moved)
        if name in SAME_BITS:
            assert_same_bits(tape(*moved), expected)
        else:
            np.testing.assert_allclose(tape(*moved), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_first_derivatives(name):
    assert_first_derivatives(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(name):
    function, *arrays = CASES[name]
    weights = _normal(26, *np.shape(function(*arrays)))
    assert_second_derivatives(function, weights, *arrays)


def test_the_determinant_of_the_acceptance_list():
    n = 7
    a = np.array([[j / (1.0 + i) + (i == j) for j in range(n)] for i in range(n)])
    value, slope = nt.value_and_grad(L.det)(a)
    assert abs(value - 5.407142857142857) < 1e-13
    expected = [[value * (i == j) - i / (1.0 + j) for j in range(n)] for i in range(n)]
    np.testing.assert_allclose(slope, expected, atol=1e-13)


def test_a_hessian_against_mpmath():
    a = np.array([[2.0, 0.3, 0.1], [0.2, 1.5, -0.4], [0.6, 0.1, 1.0]])

    def logarithm(*entries):
        return mpmath.log(mpmath.det(mpmath.matrix(3, 3) + mpmath.matrix(_rows(entries))))

    def _rows(entries):
        return [list(entries[k : k + 3]) for k in (0, 3, 6)]

    found = hessian(lambda a: L.slogdet(a)[1], a)
    with mpmath.workdps(40):
        for i, j in ((0, 0), (0, 4), (1, 3), (2, 7), (8, 8)):
            orders = np.eye(9, dtype=int)[i] + np.eye(9, dtype=int)[j]
            exact = mpmath.diff(logarithm, tuple(map(mpmath.mpf, a.ravel())), tuple(orders))
            assert abs(found[i, j] - float(exact)) < 1e-13


# edges


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1.0, 2.0], [2.0, 4.0]]),
        np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]]),
        np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [3.0, 1.0, 0.0]]),
        np.zeros((2, 2)),
        np.zeros((3, 3)),
    ],
    ids=range(5),
)
def test_the_determinant_of_a_singular_matrix_has_a_derivative(matrix):
    n = len(matrix)
    cofactors = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        minor = np.delete(np.delete(matrix, i, 0), j, 1)
        cofactors[i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    value, slope = nt.value_and_grad(L.det)(matrix)
    assert value == 0.0
    np.testing.assert_allclose(slope, cofactors, atol=1e-14)
    regular = nt.grad(L.det)
    regular(np.eye(n) + 1.0)
    np.testing.assert_allclose(regular(matrix), cofactors, atol=1e-14)


def test_the_determinant_of_a_singular_matrix_to_second_order():
    a = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])
    expected = central_jacobian(
        lambda flat: np.ravel(nt.grad(L.det)(flat.reshape(3, 3))), a.ravel(), 1e-2
    )
    np.testing.assert_allclose(hessian(L.det, a), expected, atol=1e-9)


def test_equal_eigenvalues():
    """Functions of the values alone have a derivative; vectors have none, and say so."""
    a = np.eye(3)
    for way in derivatives_every_way(lambda a: np.sum(L.eigvalsh(a) ** 2), a):
        np.testing.assert_allclose(way, 2.0 * np.eye(3).reshape(1, -1))
    for way in derivatives_every_way(lambda a: np.sum(L.eigh(a)[0] ** 3), a):
        np.testing.assert_allclose(way, 3.0 * np.eye(3).reshape(1, -1))
    with np.errstate(all="ignore"):
        slope = nt.grad(lambda a: np.sum(L.eigh(a)[1] * np.arange(9.0).reshape(3, 3)))(a)
    assert not np.isfinite(slope).all()


def test_equal_singular_values():
    for way in derivatives_every_way(lambda a: L.norm(a, "nuc"), np.eye(3)):
        np.testing.assert_allclose(way, np.eye(3).reshape(1, -1), atol=1e-15)


def test_only_the_triangle_that_is_read_has_a_derivative():
    for function in (L.eigvalsh, lambda a: L.cholesky(a)):
        jacobian = nt.jacobian(function)(POSITIVE)
        assert (jacobian[..., np.triu_indices(4, 1)[0], np.triu_indices(4, 1)[1]] == 0.0).all()


def test_a_singular_matrix_below_a_mask():
    """As in NumPy: `where` computes both arms, and one of them cannot be."""

    def function(a):
        return np.where(a[0, 0] > 0.5, L.inv(a)[0, 0], a[0, 1] * 2.0)

    tape = nt.record(function, np.eye(2))
    with pytest.raises(nt.BranchError):
        tape.gradient(np.zeros((2, 2)))
    with pytest.raises(L.LinAlgError):
        nt.grad(function)(np.zeros((2, 2)))


TRIED = {
    "cholesky": lambda a: np.sum(L.cholesky(a)),
    "solve": lambda a: np.sum(L.solve(a, np.ones(2))),
    "inv": lambda a: np.sum(L.inv(a)),
}


@pytest.mark.parametrize("name", TRIED)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_what_lapack_refuses_is_another_path(name, shape):
    """In whatever order the points come, and in batches; also where one of several is refused."""

    def function(x):
        a = x * np.ones((*shape, 1, 1)) * np.array([[1.0, 0.0], [0.0, 1.0]])
        try:
            return TRIED[name](a)
        except L.LinAlgError:
            return 7.0 * x

    points = np.array([2.0, 0.0, 3.0])
    expected = [function(x) for x in points]
    assert expected[1] == 0.0
    slopes = [(function(x + 1e-5) - function(x - 1e-5)) / 2e-5 if x else 7.0 for x in points]
    for order in ([0, 1, 2], [1, 0, 2]):
        gradient = nt.value_and_grad(function)
        for k in order:
            value, slope = gradient(float(points[k]))
            np.testing.assert_allclose(value, expected[k], rtol=1e-14)
            np.testing.assert_allclose(slope, slopes[k], rtol=1e-8)
        found = nt.vmap(nt.value_and_grad(function))(points[order])
        np.testing.assert_allclose(found[0], np.array(expected)[order], rtol=1e-14)
        np.testing.assert_allclose(found[1], np.array(slopes)[order], rtol=1e-8)
    with pytest.raises(nt.BranchError, match="isnan"):
        nt.record(function, 2.0)(0.0)


def test_norms_at_zero():
    for order in (None, "fro", 2, 1, np.inf):
        assert np.isfinite(nt.grad(lambda a, o=order: L.norm(a, o))(np.zeros((3, 3)))).all()


def test_rank_and_lstsq_tell_the_rank():
    assert nt.record(lambda a: a[0, 0] * L.matrix_rank(a), TALL)(TALL) == TALL[0, 0] * 3
    x, misfit, rank, s = nt.record(lambda a, b: L.lstsq(a, b), TALL, VECTOR[0] + TALL[:, 0])(
        TALL, VECTOR[0] + TALL[:, 0]
    )
    assert rank == 3
    np.testing.assert_allclose(s, L.svdvals(TALL))
    assert x.shape == (3,)
    assert misfit.shape == (1,)


def test_matrices_of_traced_scalars():
    def function(x, y):
        a = np.array([[x, y], [y * y, 3.0]])
        return L.det(a) + L.solve([[x, 1.0], [y, 2.0]], [1.0, y])[0] + L.norm(a)

    nt.check_derivatives(function, 0.5, 1.5)


# refusals

REFUSED = {
    "complete qr": (lambda a: L.qr(a, mode="complete")[0], TALL, "reduced"),
    "svd of symmetric": (lambda a: L.svd(a, hermitian=True)[0], POSITIVE, "hermitian"),
    "pinv of unequal ranks": (
        lambda a: L.pinv(np.stack([a, np.ones((3, 2))])),
        _normal(28, 3, 2),
        "ranks are",
    ),
    "vectors beyond the rank": (lambda a: L.svd(a)[0][:, 4] * 1.0, TALL, "full_matrices=False"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, a, words = REFUSED[name]
    with pytest.raises(nt.UnsupportedError, match=words):
        nt.grad(lambda a: np.sum(function(a)))(a)


def test_singular_values_of_symmetric_matrices_are_in_order_on_every_path():
    value = nt.value_and_grad(lambda a: L.svd(a, hermitian=True, compute_uv=False)[0])
    for diagonal in ([1.0, -2.0], [2.0, -1.0], [1.0, 3.0]):
        assert value(np.diag(diagonal))[0] == max(np.abs(diagonal))


def test_a_point_with_complex_eigenvalues_takes_another_path():
    gradient = nt.grad(lambda a: np.sum(abs(L.eigvals(a))))
    np.testing.assert_allclose(gradient(np.diag([1.0, 2.0])), np.eye(2))
    # The product of the two absolute values is the determinant.
    np.testing.assert_allclose(gradient(np.array([[0.0, 1.0], [-1.0, 0.0]])), [[0, 1], [-1, 0]])


def test_matrices_of_one_element():
    for function in (
        *(L.inv, L.det, L.cholesky, L.eigvalsh, L.eigvals, L.pinv, L.cond),
        *(lambda a: L.slogdet(a)[1], lambda a: L.eigh(a)[1], lambda a: L.svd(a)[1]),
        *(lambda a: L.qr(a)[1], lambda a: L.norm(a, "nuc"), lambda a: L.lstsq(a, a)[0]),
    ):
        nt.check_derivatives(function, np.array([[2.5]]))


def test_the_likelihood_of_a_gaussian_process_to_second_order():
    points = _normal(27, 20, 2)
    values = np.sin(points[:, 0])

    def function(parameters):
        length, scale, noise = np.exp(parameters)
        distances = ((points[:, None] - points[None]) ** 2).sum(-1)
        kernel = scale * np.exp(-0.5 * distances / length**2) + noise * np.eye(20)
        factor = L.cholesky(kernel)
        weights = L.solve(kernel, values)
        return 0.5 * values @ weights + np.sum(np.log(np.diag(factor)))

    at = np.array([0.0, 0.0, -2.0])
    nt.check_derivatives(function, at)
    expected = central_jacobian(nt.grad(function), at, 1e-3)
    np.testing.assert_allclose(nt.hessian(function)(at), expected, rtol=1e-8)
