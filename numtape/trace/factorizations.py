"""Factorizations of `scipy.linalg` that decide as they go: LU, LDL and the polar one.

Which rows are exchanged is decided by comparisons, each of them guarded: another order is
another path, and on one path the permutation is constant. The rules are LAPACK's, so only
where two pivots are equal but for rounding may its choice be another one. The elimination is
recorded a column at a time. Stacked matrices are factorized one after the other.

The polar factors are found by singular values and vectors, and have other derivatives than
these, which equal singular values do not disturb: the positive one solves a quadratic
equation, by an iteration each step of which makes one more order of derivatives right.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.trace.functions.common import constants_of
from numtape.trace.linalg import constant_part, matrix_of, singular_values
from numtape.trace.scipy_linalg import implements, solve_triangular, symmetric, unsupported

__all__: list[str] = []

_EPSILON = float(np.finfo(np.float64).eps)


def _zeros(a: Any, *shape: int) -> Any:
    return constants_of(a.recorder, np.zeros(shape))


def _stacked(function: Callable[[Any], tuple[Any, ...]], a: Any) -> tuple[Any, ...]:
    """Apply a function to each of stacked matrices, and stack its results."""
    if a.ndim == 2:
        return function(a)
    results = [_stacked(function, each) for each in a]
    return tuple(np.stack(parts) for parts in zip(*results, strict=True))


# LU


def _exchanged(n: int, first: int, second: int) -> Any:
    """Return the order of n rows of which two are exchanged."""
    order = np.arange(n)
    order[[first, second]] = second, first
    return order


def _order_of_pivots(pivots: Any, n: int) -> Any:
    """Return the order of rows after the exchanges of each with another one."""
    order = np.arange(n)
    for row, other in enumerate(np.asarray(pivots)):
        order = order[_exchanged(n, row, other)]
    return order


def _lu_of_one(a: Any) -> tuple[Any, Any, Any, Any]:
    """Return packed factors, LAPACK's exchanges, and both factors."""
    m, n = a.shape
    k = min(m, n)
    lower, upper = _zeros(a, m, k), _zeros(a, k, n)
    pivots = np.arange(k, dtype=np.int32)
    for j in range(k):
        pivot = int(np.argmax(abs(a[:, 0])))  # guarded
        if pivot:
            pivots[j] = j + pivot
            exchange = _exchanged(m - j, 0, pivot)
            a, lower[j:, :j] = a[exchange], lower[j:, :j][exchange]
        lower[j, j], upper[j, j:] = 1.0, a[0]
        first, below, a = a[0], a[1:, 0], a[1:, 1:]
        if first[0] != 0.0:
            lower[j + 1 :, j] = factors = below / first[0]
            a = a - factors[:, None] * first[1:]
    packed = _zeros(a, m, n)
    packed[:, :k] = np.where(np.tri(m, k, -1, dtype=bool), lower, 0.0)
    packed[:k] = np.where(np.tri(k, n, -1, dtype=bool), packed[:k], upper)
    return packed, pivots, lower, upper


@implements("lu_factor")
def _lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return _stacked(lambda each: _lu_of_one(each)[:2], matrix_of(a))


@implements("lu")
def _lu(
    a: Any,
    permute_l: bool = False,
    overwrite_a: bool = False,
    check_finite: bool = True,
    p_indices: bool = False,
) -> Any:
    def factors(a: Any) -> tuple[Any, ...]:
        _, pivots, lower, upper = _lu_of_one(a)
        places = np.argsort(_order_of_pivots(pivots, len(a)))
        if permute_l:
            return lower[places], upper
        return (places if p_indices else np.eye(len(a))[places]), lower, upper

    return _stacked(factors, matrix_of(a))


@implements("lu_solve")
def _lu_solve(
    lu_and_piv: Any, b: Any, trans: Any = 0, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    lu, pivots = lu_and_piv
    lu, b = matrix_of(lu, b), matrix_of(b, lu)
    if lu.ndim != 2 or b.shape[:1] != lu.shape[:1]:
        raise InputError(
            f"scipy.linalg.lu_solve of factors of shape {lu.shape} and b of shape {b.shape}: b "
            "must have as many rows as one matrix has. Solve stacked ones one after the other"
        )
    order = _order_of_pivots(pivots, len(lu))
    if trans in (0, "N"):
        b = solve_triangular(lu, b[order], lower=True, unit_diagonal=True)
        return solve_triangular(lu, b)
    b = solve_triangular(lu, b, trans=1)
    b = solve_triangular(lu, b, trans=1, lower=True, unit_diagonal=True)
    return b[np.argsort(order)]


# LDL


_BUNCH_KAUFMAN = (1.0 + 17.0**0.5) / 8.0


def _ldl_of_one(a: Any, last: bool) -> tuple[Any, Any, Any]:
    """Return the factors by Bunch and Kaufman's pivots, as LAPACK's dsytf2 finds them.

    Of equal elements the first is taken for the largest, or the last.
    """
    n = len(a)
    order = np.arange(n)
    lower, middle = _zeros(a, n, n), _zeros(a, n, n)
    k = 0
    while k < n:
        pivot, step = _pivot(a, last)
        kept = k + step - 1
        if pivot != step - 1:
            exchange = _exchanged(n - k, step - 1, pivot)
            a = a[exchange][:, exchange]
            order[k:] = order[k:][exchange]
            lower[k:, :k] = lower[k:, :k][exchange]
        block, below, a = a[:step, :step], a[step:, :step], a[step:, step:]
        lower[k : kept + 1, k : kept + 1] = np.eye(step)
        middle[k : kept + 1, k : kept + 1] = block
        if step == 2 or block[0, 0] != 0.0:
            factors = below / block[0, 0] if step == 1 else np.linalg.solve(block, below.T).T
            lower[kept + 1 :, k : kept + 1] = factors
            a = a - factors @ below.T
        k += step
    return lower, middle, order


def _pivot(a: Any, last: bool) -> tuple[int, int]:
    """Return which row to exchange with the last one of the next pivot, and the pivot's size.

    All decisions are guarded.
    """
    if len(a) == 1:
        return 0, 1
    corner, column = abs(a[0, 0]), abs(a[1:, 0])
    row = len(a) - 1 - int(np.argmax(column[::-1])) if last else 1 + int(np.argmax(column))
    largest = np.max(column)
    if (corner == 0.0 and largest == 0.0) or corner >= _BUNCH_KAUFMAN * largest:
        return 0, 1
    others = abs(np.concatenate([a[row, :row], a[row + 1 :, row]]))
    width = np.max(others)
    if corner >= _BUNCH_KAUFMAN * largest * (largest / width):
        return 0, 1
    return row, 1 if abs(a[row, row]) >= _BUNCH_KAUFMAN * width else 2


@implements("ldl")
def _ldl(
    A: Any,  # noqa: N803 (SciPy's name)
    lower: bool = True,
    hermitian: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
) -> Any:
    def factors(a: Any) -> tuple[Any, ...]:
        n = len(a)
        a = symmetric(a, lower)
        turn: Sequence[int] | slice = slice(None) if lower else slice(None, None, -1)
        triangle, middle, order = _ldl_of_one(a[turn, turn], not lower)
        order = order if lower else n - 1 - order[::-1]
        triangle, middle = triangle[turn, turn], middle[turn, turn]
        return triangle[np.argsort(order)], middle, order

    a = matrix_of(A)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise InputError(
            f"scipy.linalg.ldl of an array of shape {a.shape}: it takes square matrices. Give one"
        )
    return _stacked(factors, a)


# the polar factorization

_ORDERS = 4


def _with_change(value: Any, change: Any) -> Any:
    """Return a constant value, with the derivatives of a change from it that is 0."""
    return value + (change - constant_part(change))


def _polar_of_tall(a: Any) -> tuple[Any, Any]:
    """Return the factors u and h of u @ h, for a matrix with at least as many rows as columns."""
    w, s, vt = (constant_part(part) for part in np.linalg.svd(a, full_matrices=False))
    v = vt.T
    change = a - constant_part(a)
    turned = change @ v
    mixed = s[:, None] * (w.T @ turned)
    right = mixed + mixed.T + turned.T @ turned
    # h is v (s + x) v.T, where s x + x s = right - x x.
    sums = s[:, None] + s
    x = right / sums
    for _ in range(_ORDERS - 1):
        x = (right - x @ x) / sums
    h = _with_change((v * s) @ vt, v @ x @ vt)
    u_change = np.linalg.solve(h, (change - w @ x @ vt).T).T
    return _with_change(w @ vt, u_change), h


@implements("polar")
def _polar(a: Any, side: str = "right") -> Any:
    if side not in ("right", "left"):
        raise InputError(f"scipy.linalg.polar: side is {side!r}. Give 'right' or 'left'")
    return _stacked(lambda each: _polar_of_one(each, side), matrix_of(a))


def _polar_of_one(a: Any, side: str) -> tuple[Any, ...]:
    m, n = a.shape
    s = singular_values(a)
    if not s[-1] > max(m, n) * _EPSILON * s[0]:
        raise unsupported(
            "polar(a)",
            "a is not of full rank, where its orthogonal factor jumps",
            "Use svd, whose singular values have derivatives",
            "no-derivative",
        )
    u, h = _polar_of_tall(a if m >= n else a.T)
    if m < n:
        u = u.T
    if (side == "right") == (m >= n):
        return u, h
    p = u.T @ a if side == "right" else a @ u.T
    return u, 0.5 * (p + p.T)
