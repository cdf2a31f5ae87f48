"""`scipy.linalg` on traced values: compositions of `numpy.linalg`'s.

Options that only save work (`overwrite_a`, drivers) are accepted and change nothing, and
`check_finite` counts where a handler is around that could catch what it raises. Where
SciPy reads one triangle or a few diagonals of a matrix, so do
these functions, and the rest of it has no derivative. The signs of eigenvectors are
NumPy's, whose routine is another than SciPy's. Structures are not exploited:
banded systems are solved as dense ones, and refused where that is too large.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace import linalg
from numtape.trace.functions.common import check_finite as refuse_infinite
from numtape.trace.handlers import handled
from numtape.trace.linalg import matrix_of
from numtape.trace.locations import user_location
from numtape.trace.pseudoinverse import pseudoinverse
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import has_traced, innermost

__all__ = ["implements", "solve_triangular", "symmetric", "unsupported"]

# A dense matrix of so many rows takes 32 MB.
_LARGEST = 2000

_EPSILON = float(np.finfo(np.float64).eps)


def implements(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as what these of `scipy.linalg` do."""
    register = stands_in_for("scipy.linalg", *names)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        checks = "check_finite" in signature(function).parameters
        return register(_checking_finite(function) if checks else function)

    return decorate


def _checking_finite(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checking(*arguments: Any, check_finite: bool = True, **options: Any) -> Any:
        given = [each for each in arguments if has_traced(each)]
        if check_finite and given and handled(innermost(*given)):
            for each in given:
                refuse_infinite(f"scipy.linalg.{function.__name__.lstrip('_')}", each)
        return function(*arguments, **options)

    return checking


def unsupported(
    call: str, reason: str, remedy: str, code: str = "unsupported-option"
) -> UnsupportedError:
    """Return the error for a function of `scipy.linalg` that has no rule."""
    return UnsupportedError(
        f"scipy.linalg.{call} of a traced value at {user_location()}: {reason}. {remedy}", code=code
    )


def _only_defaults(call: str, **options: Any) -> None:
    """Refuse options that change the result."""
    for name, (value, default) in options.items():
        is_default = value is default or (type(value) is type(default) and value == default)
        if not is_default:
            raise unsupported(
                f"{call}(..., {name}={value!r})", "there is no rule for it", f"Leave {name} out"
            )


def _transposed(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _kept(a: Any, mask: Any, other: Any = 0.0) -> Any:
    """Return elements where a fixed mask is true, and others elsewhere."""
    return np.where(mask, a, other)


def _triangle(a: Any, lower: bool) -> Any:
    return np.tril(a) if lower else np.triu(a)


def symmetric(a: Any, lower: bool) -> Any:
    """Return the symmetric matrix of which one triangle is given."""
    mask = np.tri(a.shape[-1], dtype=bool)
    return _kept(a, mask if lower else mask.T, _transposed(a))


# solving

_ROLES = {
    "gen": "general",
    "sym": "symmetric",
    "her": "symmetric",
    "hermitian": "symmetric",
    "pos": "symmetric",
    "positive definite": "symmetric",
    "symmetric": "symmetric",
    "general": "general",
    "diagonal": "diagonal",
    "tridiagonal": "tridiagonal",
    "banded": "general",
    "upper triangular": "upper",
    "lower triangular": "lower",
    None: "general",
}


def _as_assumed(a: Any, assume_a: Any, lower: bool) -> Any:
    """Return what SciPy reads of a matrix."""
    if assume_a not in _ROLES:
        raise InputError(
            f"{assume_a!r} is no structure that scipy.linalg.solve knows: it must be one of "
            f"{list(_ROLES)}. Give one of these"
        )
    role, n = _ROLES[assume_a], a.shape[-1]
    if role == "symmetric":
        return symmetric(a, lower)
    if role in ("upper", "lower"):
        return _triangle(a, role == "lower")
    if role in ("diagonal", "tridiagonal"):
        distance = abs(np.subtract.outer(np.arange(n), np.arange(n)))
        return _kept(a, distance <= (1 if role == "tridiagonal" else 0))
    return a


@implements("solve")
def _solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: Any = None,
    transposed: bool = False,
) -> Any:
    a, b = matrix_of(a, b), matrix_of(b, a)
    a = _as_assumed(a, assume_a, lower)
    return np.linalg.solve(_transposed(a) if transposed else a, b)


@implements("inv")
def _inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: Any = None,
    lower: bool = False,
) -> Any:
    return np.linalg.inv(_as_assumed(matrix_of(a), assume_a, lower))


@implements("det")
def _det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return np.linalg.det(matrix_of(a))


def _solve_lower(a: Any, b: Any) -> Any:
    # Turned upside down it is upper triangular, where elimination has nothing to do.
    return np.linalg.solve(a[..., ::-1, ::-1], b[..., ::-1, :])[..., ::-1, :]


@implements("solve_triangular")
def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """Solve a triangular system, as `scipy.linalg.solve_triangular` does."""
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise InputError(
            f"trans is {trans!r}: it must be 0, 1, 2, 'N', 'T' or 'C'. Give one of these"
        )
    a, b = matrix_of(a, b), matrix_of(b, a)
    a = _triangle(a, lower)
    if unit_diagonal:
        a = _kept(a, ~np.eye(a.shape[-1], dtype=bool), 1.0)
    if trans not in (0, "N"):
        a, lower = _transposed(a), not lower
    columns = b[..., None] if b.ndim == 1 else b
    x = _solve_lower(a, columns) if lower else np.linalg.solve(a, columns)
    return x[..., 0] if b.ndim == 1 else x


@implements("cholesky")
def _cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    return np.linalg.cholesky(matrix_of(a), upper=not lower)


@implements("cho_factor")
def _cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    a = matrix_of(a)
    mask = np.tri(a.shape[-1], dtype=bool)
    return _kept(_cholesky(a, lower), mask if lower else mask.T, a), lower


@implements("cho_solve")
def _cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    factor, lower = c_and_lower
    first, second = (0, 1) if lower else (1, 0)
    x = solve_triangular(factor, b, trans=first, lower=lower)
    return solve_triangular(factor, x, trans=second, lower=lower)


def _dense(call: str, ab: Any, below: int, above: int) -> Any:
    """Return a banded matrix, its diagonals given as rows, as an ordinary one."""
    n = ab.shape[-1]
    if n > _LARGEST:
        raise unsupported(
            f"{call} of {n} equations",
            f"it is solved as a dense matrix, of at most {_LARGEST} rows",
            "For a tridiagonal matrix write the elimination as a loop over arrays",
        )
    rows = np.subtract.outer(np.arange(n), np.arange(n)) + above
    inside = (rows >= 0) & (rows <= above + below)
    columns = np.broadcast_to(np.arange(n), (n, n))
    return _kept(ab[np.where(inside, rows, 0), columns], inside)


@implements("solve_banded")
def _solve_banded(
    l_and_u: Any,
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    below, above = l_and_u
    ab, b = matrix_of(ab, b), matrix_of(b, ab)
    if ab.shape[0] != below + above + 1:
        raise InputError(
            f"ab has {ab.shape[0]} rows: it must have l + u + 1 = {below + above + 1}. Give it one "
            "row for each diagonal"
        )
    return np.linalg.solve(_dense("solve_banded", ab, below, above), b)


@implements("solveh_banded")
def _solveh_banded(
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    lower: bool = False,
    check_finite: bool = True,
) -> Any:
    ab, b = matrix_of(ab, b), matrix_of(b, ab)
    width = ab.shape[0] - 1
    below, above = (width, 0) if lower else (0, width)
    return np.linalg.solve(symmetric(_dense("solveh_banded", ab, below, above), lower), b)


def _columns_stacked(a: Any) -> Any:
    return np.ravel(a.T)


def _of_columns(x: Any, shape: tuple[int, int]) -> Any:
    return np.reshape(x, shape[::-1]).T


def _kronecker(a: Any, b: Any) -> Any:
    (m, n), (p, q) = a.shape, b.shape
    return np.reshape(a[:, None, :, None] * b[None, :, None, :], (m * p, n * q))


@implements("solve_sylvester")
def _solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    a, b, q = matrix_of(a, b, q), matrix_of(b, a, q), matrix_of(q, a, b)
    m, n = a.shape[0], b.shape[0]
    if m * n > _LARGEST:
        raise unsupported(
            f"solve_sylvester of {m} by {n} unknowns",
            f"it is solved as one dense system, of at most {_LARGEST} unknowns",
            "For symmetric a and b use np.linalg.eigh of both",
        )
    system = _kronecker(np.eye(n), a) + _kronecker(b.T, np.eye(m))
    return _of_columns(np.linalg.solve(system, _columns_stacked(q)), (m, n))


@implements("solve_continuous_lyapunov", "solve_lyapunov")
def _solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    a, q = matrix_of(a, q), matrix_of(q, a)
    return _solve_sylvester(a, a.T, q)


@implements("solve_discrete_lyapunov")
def _solve_discrete_lyapunov(a: Any, q: Any, method: Any = None) -> Any:
    a, q = matrix_of(a, q), matrix_of(q, a)
    n = a.shape[0]
    if n * n > _LARGEST:
        raise unsupported(
            f"solve_discrete_lyapunov of {n} rows",
            f"it is solved as one dense system, of at most {_LARGEST} unknowns",
            "Iterate x = a @ x @ a.T + q instead",
        )
    system = np.eye(n * n) - _kronecker(a, a)
    return np.reshape(np.linalg.solve(system, np.ravel(q)), (n, n))


@implements("lstsq")
def _lstsq(
    a: Any,
    b: Any,
    cond: Any = None,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    lapack_driver: Any = None,
) -> Any:
    b = matrix_of(b, a)
    x, misfits, rank, s = np.linalg.lstsq(matrix_of(a, b), b, _EPSILON if cond is None else cond)
    return x, misfits[0] if b.ndim == 1 and len(misfits) else misfits, rank, s


@implements("pinv")
def _pinv(
    a: Any,
    *,
    atol: Any = None,
    rtol: Any = None,
    return_rank: bool = False,
    check_finite: bool = True,
) -> Any:
    _only_defaults("pinv", atol=(atol, None))
    a = matrix_of(a)
    if rtol is None:
        rtol = max(a.shape) * _EPSILON
    inverse, rank = pseudoinverse(a, rtol)
    return (inverse, rank) if return_rank else inverse


# decompositions


@implements("eigh")
def _eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    type: int = 1,  # noqa: A002 (SciPy's name)
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    **options: Any,
) -> Any:
    _only_defaults(
        "eigh",
        b=(b, None),
        subset_by_index=(subset_by_index, None),
        subset_by_value=(subset_by_value, None),
    )
    uplo: Any = "L" if lower else "U"
    if eigvals_only:
        return np.linalg.eigvalsh(matrix_of(a), uplo)
    w, v = np.linalg.eigh(matrix_of(a), uplo)
    return w, v


@implements("eigvalsh")
def _eigvalsh(a: Any, b: Any = None, **options: Any) -> Any:
    return _eigh(a, b, eigvals_only=True, **options)


@implements("eig")
def _eig(a: Any, b: Any = None, left: bool = False, right: bool = True, **options: Any) -> Any:
    _only_defaults("eig", b=(b, None), left=(left, False))
    w, v = np.linalg.eig(matrix_of(a))
    return (w, v) if right else w


@implements("eigvals")
def _eigvals(a: Any, b: Any = None, **options: Any) -> Any:
    _only_defaults("eigvals", b=(b, None))
    return np.linalg.eigvals(matrix_of(a))


@implements("svd")
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, **options: Any) -> Any:
    if not compute_uv:
        return linalg.singular_values(matrix_of(a))
    u, s, vt = np.linalg.svd(matrix_of(a), full_matrices)
    return u, s, vt


@implements("svdvals")
def _svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return linalg.singular_values(matrix_of(a))


@implements("qr")
def _qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    _only_defaults("qr", pivoting=(pivoting, False))
    a = matrix_of(a)
    m, n = a.shape[-2:]
    if mode not in ("full", "r", "economic") or (mode != "economic" and m > n):
        raise unsupported(
            f"qr(a, mode={mode!r}) of shape {a.shape}",
            "only the first vectors of Q have a derivative",
            "Use mode='economic'",
        )
    q, r = np.linalg.qr(a)
    return (r,) if mode == "r" else (q, r)


@implements("norm")
def _norm(
    a: Any,
    ord: Any = None,  # noqa: A002 (SciPy's name)
    axis: Any = None,
    keepdims: bool = False,
    check_finite: bool = True,
) -> Any:
    return np.linalg.norm(matrix_of(a), ord, axis, keepdims)


# matrices made of others


@implements("block_diag")
def _block_diag(*arrs: Any) -> Any:
    blocks = [np.atleast_2d(matrix_of(array, *arrs)) for array in arrs]
    rows, columns = (sum(block.shape[k] for block in blocks) for k in (0, 1))
    result = matrix_of(np.zeros((rows, columns)), *arrs)
    row = column = 0
    for block in blocks:
        m, n = block.shape
        result[row : row + m, column : column + n] = block
        row, column = row + m, column + n
    return result


@implements("toeplitz")
def _toeplitz(c: Any, r: Any = None) -> Any:
    r = c if r is None else r
    c, r = np.atleast_1d(matrix_of(c, r)), np.atleast_1d(matrix_of(r, c))
    both = np.concatenate([r[..., :0:-1], c], axis=-1)
    places = np.subtract.outer(np.arange(c.shape[-1]), np.arange(r.shape[-1])) + r.shape[-1] - 1
    return both[..., places]


@implements("circulant")
def _circulant(c: Any) -> Any:
    c = np.atleast_1d(matrix_of(c))
    n = c.shape[-1]
    return c[..., np.subtract.outer(np.arange(n), np.arange(n)) % n]


@implements("hankel")
def _hankel(c: Any, r: Any = None) -> Any:
    c = np.ravel(matrix_of(c, r))
    r = matrix_of(np.zeros(len(c)), c) if r is None else np.ravel(matrix_of(r, c))
    both = np.concatenate([c, r[1:]])
    return both[np.add.outer(np.arange(len(c)), np.arange(len(r)))]


@implements("companion")
def _companion(a: Any) -> Any:
    a = np.atleast_1d(matrix_of(a))
    n = a.shape[-1]
    if n < 2 or np.any(a[..., 0] == 0.0):
        raise InputError(
            f"scipy.linalg.companion of {n} coefficients at {user_location()}: it takes two at "
            "least, the first of which must not be 0. Leave leading zeros out"
        )
    first = -a[..., 1:] / a[..., :1]
    below = np.broadcast_to(np.eye(n - 2, n - 1), (*a.shape[:-1], n - 2, n - 1))
    return np.concatenate([first[..., None, :], below], axis=-2)


@implements("leslie")
def _leslie(f: Any, s: Any) -> Any:
    f, s = np.atleast_1d(matrix_of(f, s)), np.atleast_1d(matrix_of(s, f))
    n = f.size
    if f.ndim != 1 or s.shape != (n - 1,) or n < 2:
        raise InputError(
            f"scipy.linalg.leslie of vectors of shapes {f.shape} and {s.shape}: s must have one "
            "element less than f, and one at least. Give such vectors"
        )
    return np.concatenate([f[None], np.eye(n - 1, n) * s[:, None]])


@implements("fiedler")
def _fiedler(a: Any) -> Any:
    a = np.atleast_1d(matrix_of(a))
    return abs(a[..., :, None] - a[..., None, :])


for _name in ("funm", "schur", "signm"):

    def _refuse(*arguments: Any, _name: str = _name, **options: Any) -> Any:
        raise unsupported(
            f"{_name}(...)",
            "numtape has no rule for it",
            "Nearest are eig, eigh, svd, qr, lu, expm, logm and sqrtm",
        )

    implements(_name)(_refuse)
