"""Functions of matrices of `scipy.linalg` on traced values: exponential, logarithm, roots, sines.

They are written with products and solutions of systems, which have derivatives wherever the
function has, equal eigenvalues or not. How often a matrix is scaled, and how many steps an
iteration takes, is guarded.
"""

from typing import Any

import numpy as np

from numtape.trace import linalg
from numtape.trace.linalg import matrix_of
from numtape.trace.scipy_linalg import implements, unsupported

__all__: list[str] = []

# The Padé approximant of order 13 to exp, and up to which 1-norm it is exact to rounding
# (Higham, "The scaling and squaring method for the matrix exponential revisited").
_PADE = (
    *(64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0),
    *(129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0),
    *(40840800.0, 960960.0, 16380.0, 182.0, 1.0),
)
_PADE_REACH = 4.25


@implements("expm")
def _expm(A: Any) -> Any:  # noqa: N803 (SciPy's name)
    a = matrix_of(A)
    if a.shape[-1] <= 1:
        return np.exp(a)
    size = np.max(np.linalg.norm(a, 1, axis=(-2, -1)))
    squarings = 0
    while size > _PADE_REACH * 2.0**squarings:  # guarded: other sizes take another path
        squarings += 1
    a = a * 2.0**-squarings
    identity = np.eye(a.shape[-1])
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    c = _PADE
    odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2)
    odd = a @ (odd + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * identity)
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2)
    even = even + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * identity
    result = np.linalg.solve(even - odd, even + odd)
    for _ in range(squarings):
        result = result @ result
    return result


@implements("sqrtm")
def _sqrtm(A: Any, disp: Any = None, blocksize: Any = None) -> Any:  # noqa: N803 (SciPy's name)
    if isinstance(disp, bool) and not disp:
        raise unsupported("sqrtm(A, disp=False)", "there is no rule for it", "Leave disp out")
    a = matrix_of(A)
    eigenvalues = np.linalg.eigvals(np.asarray(a.primals))
    if np.any((np.imag(eigenvalues) == 0.0) & (np.real(eigenvalues) < 0.0)):
        raise unsupported(
            "sqrtm(A)",
            f"A has a negative eigenvalue ({np.min(np.real(eigenvalues)):.6g}), so its root is "
            "complex, and numtape differentiates real code",
            "Use it for matrices whose eigenvalues are positive",
        )
    # Denman and Beavers' iteration, scaled by determinants at first; each step doubles the
    # number of right digits, of the root and of its derivatives.
    n = a.shape[-1]
    x, y = a, matrix_of(np.broadcast_to(np.eye(n), a.shape).copy(), a)
    for step in range(40):
        if step < 4:
            size = abs(
                np.linalg.det(linalg.constant_part(x)) * np.linalg.det(linalg.constant_part(y))
            ) ** (-0.5 / n)
            size = np.reshape(size, (*np.shape(size), 1, 1))
            x, y = size * x, size * y
        before = x
        x, y = 0.5 * (x + np.linalg.inv(y)), 0.5 * (y + np.linalg.inv(x))
        change = np.max(abs(x - before))
        if step >= 4 and change <= 1e-9 * np.max(abs(x)):  # guarded
            break
    else:
        raise np.linalg.LinAlgError("sqrtm: the iteration did not converge; is A singular?")
    for _ in range(2):  # derivatives lag one step behind for each order
        x, y = 0.5 * (x + np.linalg.inv(y)), 0.5 * (y + np.linalg.inv(x))
    return x


# Gauss and Legendre's nodes and weights from 0 to 1. With them the integral of
# x / (1 + t x) over t is the Padé approximant of order 16 to log(1 + x), and up to which
# 1-norm of x it is exact to rounding (Higham, "Functions of Matrices", table 11.1).
_NODES, _WEIGHTS = (0.5 * part for part in np.polynomial.legendre.leggauss(16))
_LOG_REACH = 0.7


@implements("logm")
def _logm(A: Any, disp: Any = None) -> Any:  # noqa: N803 (SciPy's name)
    if isinstance(disp, bool) and not disp:
        raise unsupported("logm(A, disp=False)", "there is no rule for it", "Leave disp out")
    a = matrix_of(A)
    if a.shape[-1] == 1 and np.all(a > 0.0):
        return np.log(a)
    identity = np.eye(a.shape[-1])
    roots = 0
    while np.max(np.linalg.norm(a - identity, 1, axis=(-2, -1))) > _LOG_REACH:  # guarded
        if roots == 60:
            raise np.linalg.LinAlgError("logm: the roots do not come near 1; is A singular?")
        a = _sqrtm(a)
        roots += 1
    x = a - identity
    parts = [w * np.linalg.solve(identity + (0.5 + t) * x, x) for t, w in zip(_NODES, _WEIGHTS)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total * 2.0**roots


def _cosine_and_sine(a: Any) -> tuple[Any, Any]:
    # The exponential of i A, written with real matrices.
    a = matrix_of(a)
    n = a.shape[-1]
    zeros = np.zeros_like(a)
    both = _expm(np.block([[zeros, -a], [a, zeros]]))
    return both[..., :n, :n], both[..., n:, :n]


def _hyperbolic(a: Any, sign: float) -> Any:
    a = matrix_of(a)
    return 0.5 * (_expm(a) + sign * _expm(-a))


@implements("cosm")
def _cosm(A: Any) -> Any:  # noqa: N803 (SciPy's name, as below)
    return _cosine_and_sine(A)[0]


@implements("sinm")
def _sinm(A: Any) -> Any:  # noqa: N803
    return _cosine_and_sine(A)[1]


@implements("tanm")
def _tanm(A: Any) -> Any:  # noqa: N803
    return np.linalg.solve(*_cosine_and_sine(A))


@implements("coshm")
def _coshm(A: Any) -> Any:  # noqa: N803
    return _hyperbolic(A, 1.0)


@implements("sinhm")
def _sinhm(A: Any) -> Any:  # noqa: N803
    return _hyperbolic(A, -1.0)


@implements("tanhm")
def _tanhm(A: Any) -> Any:  # noqa: N803
    return np.linalg.solve(_hyperbolic(A, 1.0), _hyperbolic(A, -1.0))
