"""Least squares and pseudoinverses on traced values, at a constant rank.

Both jump where the rank does. It is found by singular values, as in NumPy, and guarded, so
a matrix of another rank is another path.

Of full rank they are solved by a factorization QR. Below that, with the singular values S and
vectors U, V that count, taken as constants of each run: C = A V / S has orthonormal columns,
B = C⁺ A / S orthonormal rows, and A⁺ = B⁺ C⁺ / S for every matrix of that rank nearby. The
pseudoinverses of C and B, whose rank is full, are solutions of systems with matrices that
are the identity at the point. So derivatives are right to every order along matrices of
equal rank, and equal singular values do no harm.
"""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.linalg import constant_part, implements, matrix_of, singular_values
from numtape.trace.locations import user_location
from numtape.trace.traced import Traced

__all__ = ["pseudoinverse"]

_EPSILON = float(np.finfo(np.float64).eps)


def _transposed(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _rank(call: str, a: Any, s: Any, tolerance: Any) -> int:
    """Return how many singular values are above a share of the largest; comparisons are guarded."""
    counts = np.sum(s > np.asarray(tolerance)[..., None] * s[..., :1], axis=-1)
    ranks = [int(count) for count in np.ravel(np.atleast_1d(counts))]
    if len(set(ranks)) > 1:
        raise UnsupportedError(
            f"np.linalg.{call} of stacked matrices at {user_location()} whose ranks are {ranks}: "
            "numtape has a rule for equal ranks. Call it for one matrix after the other",
            code="unsupported-option",
        )
    return ranks[0]


def _of_full_rank(a: Any) -> Any:
    m, n = a.shape[-2:]
    if m == n:
        return np.linalg.inv(a)
    q, r = np.linalg.qr(a if m > n else _transposed(a))
    result = np.linalg.solve(r, _transposed(q))
    return result if m > n else np.copy(_transposed(result), order="C")


def _of_rank(a: Any, rank: int) -> Any:
    _, s, vt = (constant_part(part) for part in np.linalg.svd(a, full_matrices=False))
    s = s[..., :rank]
    c = a @ (_transposed(vt[..., :rank, :]) / s[..., None, :])
    left = np.linalg.solve(_transposed(c) @ c, _transposed(c))
    b = (left @ a) / s[..., :, None]
    right = _transposed(np.linalg.solve(b @ _transposed(b), b))
    return right @ (left / s[..., :, None])


def pseudoinverse(a: Any, tolerance: Any) -> tuple[Any, int]:
    """Return a traced matrix's pseudoinverse, and its rank by a share of the largest value."""
    rank = _rank("pinv", a, singular_values(a), tolerance) if a.size else 0
    if rank == 0:
        return np.copy(_transposed(a) * 0.0, order="C"), 0
    return (_of_full_rank(a) if rank == min(a.shape[-2:]) else _of_rank(a, rank)), rank


@implements("pinv")
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    a = matrix_of(a)
    if rcond is None and rtol is not np._NoValue:
        rcond = max(a.shape[-2:]) * _EPSILON if rtol is None else rtol
    tolerance = 1e-15 if rcond is None else rcond
    if isinstance(tolerance, Traced):
        raise UnsupportedError(
            f"np.linalg.pinv(a, rcond) at {user_location()}: rcond is traced, and only decides "
            "the rank. Pass a float",
            code="unsupported-option",
        )
    if hermitian:
        a = np.where(np.tri(a.shape[-1], dtype=bool), a, _transposed(a))
    return pseudoinverse(a, tolerance)[0]


@implements("lstsq")
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    a, b = matrix_of(a, b), matrix_of(b, a)
    m, n = a.shape
    if not a.size or a.ndim != 2 or b.shape[:1] != (m,):
        np.linalg.lstsq(a.primals, b.primals, rcond)  # which refuses these shapes
    if rcond is None:
        rcond = max(m, n) * _EPSILON
    s = singular_values(a)
    rank = _rank("lstsq", a, s, _EPSILON if rcond < 0 else rcond)
    if rank < min(m, n):
        x = (_of_rank(a, rank) if rank else _transposed(a) * 0.0) @ b
    elif m >= n:
        q, r = np.linalg.qr(a)
        x = np.linalg.solve(r, q.T @ b)
    else:
        q, r = np.linalg.qr(a.T)
        x = q @ np.linalg.solve(r.T, b)
    has_misfits = m > n and rank == n
    misfits = np.atleast_1d(np.sum((b - a @ x) ** 2, axis=0)) if has_misfits else np.zeros(0)
    return x, misfits, rank, s
