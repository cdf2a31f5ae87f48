"""`numpy.linalg` on traced values.

Values are NumPy's own, so what NumPy refuses (a singular matrix to be inverted) is
refused here with NumPy's `LinAlgError` while recording. Whether it is refused is
guarded, so a matrix of the other kind is another path. Some functions are one of `FUNCTIONS` in
`numtape.ops.structured`; the others are compositions of those.

Lists and object arrays of traced scalars count as matrices too: NumPy's protocol does
not see into those, so the functions are also substituted while recording.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import numtape.trace.functions  # noqa: F401 (what is built on here)
from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.handlers import handled
from numtape.trace.integers import are_whole
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    Traced,
    as_computed,
    as_floats,
    as_traced,
    guarded,
    innermost,
    read,
    wrap,
)
from numtape.trace.ufuncs import apply_row
from numtape.trace.views import broadcast_shape

__all__ = ["call_function", "constant_part", "implements", "matrix_of", "singular_values"]


def implements(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as what one of `numpy.linalg` does."""
    function = getattr(np.linalg, name, None)

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        if function is not None:
            NUMPY_FUNCTIONS[function] = implementation
            stands_in_for("numpy.linalg", name)(implementation)
        return implementation

    return register


def call_function(
    name: str, operands: Sequence[Any], values: Sequence[Any], **chosen: int
) -> tuple[Any, ...]:
    """Record one of `FUNCTIONS`, with the values that it has at the recording point."""
    recorder = innermost(*operands)
    arrays = [np.asarray(value, np.float64) for value in values]
    slots = [read(recorder, operand)[0] for operand in operands]
    if any(array.size == 0 for array in slots):
        parts = tuple(recorder.constant_array(array).copy() for array in arrays)
    else:
        parts = recorder.function(name, slots, **chosen)
    return tuple(wrap(recorder, part, array) for part, array in zip(parts, arrays, strict=True))


def _unless_refused(
    name: str, operands: Sequence[Any], shape: tuple[int, ...], compute: Callable[[], Any]
) -> Any:
    """Record a function of matrices that NumPy may refuse; whether it did is guarded.

    Where LAPACK fails, a replay finds nan in all elements. `shape` is the result's.
    """
    refusal = None
    try:
        value = compute()
    except np.linalg.LinAlgError as error:
        refusal, value = error, np.full(shape, np.nan)
    (result,) = call_function(name, operands, (value,))
    if result.size:
        corners = result[0, 0] if result.ndim == 2 else result[..., 0, 0]
        if np.isnan(np.max(corners) if corners.ndim else corners):
            for operand in operands:  # of which nan may come too
                bool(np.all(np.isfinite(operand)))
            if refusal is not None:
                raise refusal
    return result


def matrix_of(operand: Any, *others: Any) -> Any:
    """Return any operand as a traced array of floats; LAPACK looks at whether they are finite."""
    matrix = as_floats(as_traced(innermost(operand, *others), operand))
    if handled(matrix.recorder) and not np.all(np.isfinite(matrix)):
        guarded(np.isfinite(matrix))
    return matrix


def _values(operand: Any) -> Any:
    return np.asarray(operand.primals, np.float64)


def constant_part(x: Any) -> Any:
    """Return the value, with no derivative."""
    return apply_row(ROWS[OPCODE["stop_gradient"]], (x,))


def _with_value_of(value: Any, composition: Any) -> Any:
    """Return a value that another operation found, with the derivatives of a composition."""
    return constant_part(value) + (composition - constant_part(composition))


def _transposed(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _unsupported(
    call: str, reason: str, remedy: str, code: str = "unsupported-option"
) -> UnsupportedError:
    return UnsupportedError(
        f"np.linalg.{call} of a traced value at {user_location()}: {reason}. {remedy}", code=code
    )


# solving


@implements("solve")
def _solve(a: Any, b: Any) -> Any:
    a, b = matrix_of(a, b), matrix_of(b, a)
    is_vector = b.ndim == 1
    b = b[:, None] if is_vector else b
    if a.ndim < 2 or a.shape[-2:] != (b.shape[-2],) * 2:
        np.linalg.solve(_values(a), _values(b))  # which refuses these shapes
    shape = broadcast_shape(a.shape[:-2], b.shape[:-2]) + b.shape[-2:]
    x = _unless_refused("solve", (a, b), shape, lambda: np.linalg.solve(_values(a), _values(b)))
    return x[..., 0] if is_vector else x


def _check_square(function: Callable[..., Any], a: Any) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        function(_values(a))  # which refuses this shape


@implements("inv")
def _inv(a: Any) -> Any:
    a = matrix_of(a)
    _check_square(np.linalg.inv, a)
    return _unless_refused("inv", (a,), a.shape, lambda: np.linalg.inv(_values(a)))


@implements("det")
def _det(a: Any) -> Any:
    a = matrix_of(a)
    values = np.linalg.det(_values(a))
    (result,) = call_function("det", (a,), (values,))
    # Where a determinant is 0 its derivative is not found by an inverse, but it has one:
    # such points take another path, on which it is a product of singular values.
    is_zero = result == 0.0
    if np.size(values) == 0 or not (np.any(is_zero) if is_zero.ndim else is_zero):
        return result
    u, s, vt = _svd(a, full_matrices=False)
    handedness = np.rint(_det_of_rotation(u) * _det_of_rotation(vt))
    return _with_value_of(result, handedness * np.prod(s, axis=-1))


def _det_of_rotation(u: Any) -> Any:
    u = constant_part(u)
    return call_function("det", (u,), (np.linalg.det(_values(u)),))[0]


@implements("slogdet")
def _slogdet(a: Any) -> Any:
    a = matrix_of(a)
    values = np.linalg.slogdet(_values(a))
    return type(values)(*call_function("slogdet", (a,), values))


@implements("cholesky")
def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    a = matrix_of(a)
    _check_square(np.linalg.cholesky, a)
    name = "cholesky_up" if upper else "cholesky_lo"
    return _unless_refused(name, (a,), a.shape, lambda: np.linalg.cholesky(_values(a), upper=upper))


@implements("tensorsolve")
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = matrix_of(a, b), matrix_of(b, a)
    if axes is not None:
        order = [k for k in range(a.ndim) if k not in axes] + list(axes)
        a = np.transpose(a, order)
    rest = a.shape[-(a.ndim - b.ndim) :]
    return np.reshape(_solve(np.reshape(a, (b.size, -1)), np.ravel(b)), rest)


@implements("tensorinv")
def _tensorinv(a: Any, ind: int = 2) -> Any:
    a = matrix_of(a)
    first, last = a.shape[:ind], a.shape[ind:]
    return np.reshape(_inv(np.reshape(a, (int(np.prod(first)), -1))), last + first)


@implements("matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    if isinstance(n, Traced):
        raise _unsupported("matrix_power(a, n)", "n is traced", "Pass an int")
    a = a if are_whole(a) and n >= 0 else matrix_of(a)
    if n == 0:
        return as_traced(a.recorder, np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape))
    if n < 0:
        a, n = _inv(a), -n
    if n <= 3:  # in NumPy's order
        return a if n == 1 else (a @ a if n == 2 else (a @ a) @ a)
    square = result = None
    while n > 0:
        square = a if square is None else square @ square
        n, bit = divmod(n, 2)
        if bit:
            result = square if result is None else result @ square
    return result


@implements("multi_dot")
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    if out is not None:
        raise _unsupported("multi_dot(..., out)", "there is no rule for out", "Leave it out")
    arrays = [matrix_of(array, *arrays) for array in arrays]
    if len(arrays) == 1:
        raise InputError(
            f"np.linalg.multi_dot of {len(arrays)} array: it needs two or more. Give them in one "
            "list"
        )
    if len(arrays) == 2:
        return np.dot(*arrays)
    is_row, is_column = arrays[0].ndim == 1, arrays[-1].ndim == 1
    outer = (is_row or arrays[0].ndim == 2) and (is_column or arrays[-1].ndim == 2)
    if not outer or any(array.ndim != 2 for array in arrays[1:-1]):
        np.linalg.multi_dot([_values(array) for array in arrays])  # which refuses these ranks
    if is_row:
        arrays[0] = arrays[0][None, :]
    if is_column:
        arrays[-1] = arrays[-1][:, None]
    result = _chain(arrays, _best_splits([a.shape[0] for a in arrays] + [arrays[-1].shape[1]]))
    result = result[0] if is_row else result
    return as_computed(result[..., 0]) if is_column else result


def _best_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Find where to split the product of matrices i to j, for the least multiplications."""
    cost = {(k, k): 0 for k in range(len(sizes) - 1)}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, len(sizes) - 1):
        for i in range(len(sizes) - 1 - length):
            j = i + length
            costs = [
                cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            ]
            cost[i, j] = min(costs)
            splits[i, j] = i + costs.index(cost[i, j])
    return splits


def _chain(arrays: list[Any], splits: dict[tuple[int, int], int]) -> Any:
    def product(i: int, j: int) -> Any:
        if i == j:
            return arrays[i]
        split = splits[i, j]
        return product(i, split) @ product(split + 1, j)

    return product(0, len(arrays) - 1)


# decompositions


def _triangle(name: str, uplo: str) -> str:
    if uplo.upper() not in ("L", "U"):
        raise InputError(f"UPLO is {uplo!r}: it must be 'L' or 'U'. Give one of these")
    return f"{name}_{'lo' if uplo.upper() == 'L' else 'up'}"


@implements("eigh")
def _eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    a = matrix_of(a)
    uplo: Any = UPLO
    values = np.linalg.eigh(_values(a), uplo)
    return type(values)(*call_function(_triangle("eigh", UPLO), (a,), values))


@implements("eigvalsh")
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    a = matrix_of(a)
    uplo: Any = UPLO
    values = np.linalg.eigvalsh(_values(a), uplo)
    return call_function(_triangle("eigvalsh", UPLO), (a,), (values,))[0]


@implements("svd")
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    a = matrix_of(a)
    if hermitian:
        if compute_uv:
            raise _unsupported(
                "svd(a, hermitian=True)",
                "numtape has no rule for this form",
                "Leave hermitian out, or use np.linalg.eigh",
            )
        return np.sort(abs(_eigvalsh(a)), axis=-1)[..., ::-1]
    if not compute_uv:
        return singular_values(a)
    values = np.linalg.svd(_values(a), full_matrices)
    name = "svd_f" if full_matrices and a.shape[-2] != a.shape[-1] else "svd_s"
    return type(values)(*call_function(name, (a,), values))


def singular_values(a: Any) -> Any:
    """Return the singular values of matrices, largest first."""
    values = np.linalg.svd(_values(a), compute_uv=False)
    return call_function("svd", (a,), (values,))[0]


@implements("svdvals")
def _svdvals(x: Any, /) -> Any:
    return singular_values(matrix_of(x))


@implements("qr")
def _qr(a: Any, mode: str = "reduced") -> Any:
    a = matrix_of(a)
    m, n = a.shape[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise _unsupported(
            f"qr(a, mode={mode!r}) of shape {a.shape}",
            "only the first vectors of Q have a derivative",
            "Use mode='reduced' or 'r'",
        )
    values = np.linalg.qr(_values(a))
    if m < n:  # of the first m columns; the others are turned alike
        q, r = _tall_qr(a[..., :m])
        r = np.concatenate([r, _transposed(q) @ a[..., m:]], axis=-1)
    else:
        q, r = _tall_qr(a)
    return r if mode == "r" else type(values)(q, r)


def _tall_qr(a: Any) -> tuple[Any, Any]:
    plain = _values(a)
    q = np.linalg.qr(plain)[0]
    if plain.size == 0:
        raw, scales = plain, np.zeros((*plain.shape[:-2], min(plain.shape[-2:])))
    else:
        raw, scales = np.linalg.qr(plain, mode="raw")
        raw = np.swapaxes(raw, -1, -2)
    q, raw, _ = call_function("qr", (a,), (q, raw, scales))
    n = a.shape[-1]
    return q, np.triu(raw[..., :n, :])


# ranks and conditions


@implements("matrix_rank")
def _matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:  # noqa: N803
    a = matrix_of(A)
    if a.ndim < 2:
        return int(bool(np.any(a != 0.0)))
    s = _svd(a, compute_uv=False, hermitian=hermitian)
    if tol is None:
        relative = max(a.shape[-2:]) * np.finfo(np.float64).eps if rtol is None else rtol
        tol = s[..., :1] * np.asarray(relative)[..., None]
    else:
        tol = np.asarray(tol)[..., None]
    counted = s > tol
    flags = np.array([bool(flag) for flag in np.ravel(counted)]).reshape(counted.shape)
    return np.count_nonzero(flags, axis=-1)


# norms


def _root_of_squares(x: Any, axes: Any, keepdims: bool) -> Any:
    # The root of a sum of squares is flat where all are 0.
    squares = np.sum(x * x, axis=axes, keepdims=keepdims)
    return apply_row(ROWS[OPCODE["norm_root"]], (squares,))


def _of_vectors(x: Any, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    options: dict[str, Any] = {"axis": axes, "keepdims": keepdims}
    if order is None or order == 2:
        return _root_of_squares(x, axes, keepdims)
    if isinstance(order, str):
        raise InputError(
            f"norm order {order!r} is for matrices, and this is of vectors. Give a number, or two "
            "axes"
        )
    if order == 1:
        return np.sum(abs(x), **options)
    if order == np.inf:
        return np.max(abs(x), **options)
    if order == -np.inf:
        return np.min(abs(x), **options)
    if order == 0:
        return np.sum(1.0 * (x != 0.0), **options)
    return np.sum(abs(x) ** order, **options) ** np.reciprocal(float(order))


def _of_matrices(x: Any, order: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    if order is None or order in ("fro", "f"):
        return _root_of_squares(x, axes, keepdims)
    moved = np.moveaxis(x, axes, (-2, -1))
    if order in (2, -2, "nuc"):
        s = singular_values(moved)
        result = (
            np.sum(s, axis=-1) if order == "nuc" else as_computed(s[..., 0 if order == 2 else -1])
        )
    elif order in (1, -1):
        result = _extreme(np.sum(abs(moved), axis=-2), order)
    elif order in (np.inf, -np.inf):
        result = _extreme(np.sum(abs(moved), axis=-1), order)
    else:
        raise InputError(
            f"norm order {order!r} is not one of those for matrices. Give 1, 2, -1, -2, np.inf, "
            "-np.inf, 'fro' or 'nuc'"
        )
    if keepdims:
        shape = list(x.shape)
        shape[axes[0]] = shape[axes[1]] = 1
        result = np.reshape(result, shape)
    return result


def _extreme(x: Any, order: float) -> Any:
    return np.max(x, axis=-1) if order > 0 else np.min(x, axis=-1)


@implements("norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    x = matrix_of(x)
    if isinstance(ord, Traced):
        raise _unsupported("norm(x, ord)", "ord is traced", "Pass a number")
    rank = x.ndim
    is_plain = ord is None or (ord in ("f", "fro") and rank == 2) or (ord == 2 and rank == 1)
    if axis is None and is_plain:
        flat = np.ravel(x)
        result = apply_row(ROWS[OPCODE["norm_root"]], (np.dot(flat, flat),))
        return np.reshape(result, (1,) * rank) if keepdims else result
    axes: Any = tuple(range(rank)) if axis is None else axis
    axes = tuple(int(k) for k in axes) if isinstance(axes, tuple) else (int(axes),)
    axes = tuple(np.lib.array_utils.normalize_axis_index(k, rank) for k in axes)
    if len(axes) == 1:
        return _of_vectors(x, ord, axes, keepdims)
    if len(axes) != 2 or axes[0] == axes[1]:
        raise InputError(
            f"norm over the axes {axes}: it is taken over one axis, or over two. Give axis=k or "
            "axis=(i, j)"
        )
    return _of_matrices(x, ord, axes, keepdims)


@implements("matrix_norm")
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    return _norm(x, ord, (-2, -1), keepdims)


@implements("vector_norm")
def _vector_norm(
    x: Any,
    /,
    *,
    axis: Any = None,
    keepdims: bool = False,
    ord: Any = 2,  # noqa: A002
) -> Any:
    x = matrix_of(x)
    shape = x.shape
    axes: Any = (0,)
    if axis is None:
        x = np.ravel(x)
    else:
        axes = axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(np.lib.array_utils.normalize_axis_index(int(k), x.ndim) for k in axes)
    result = _of_vectors(x, ord, axes, False)
    if keepdims:
        kept = [1 if axis is None or k in axes else n for k, n in enumerate(shape)]
        result = np.reshape(result, kept)
    return result


@implements("cond")
def _cond(x: Any, p: Any = None) -> Any:
    x = matrix_of(x)
    if p is None or p in (2, -2):
        s = singular_values(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return _norm(x, p, (-2, -1)) * _norm(_inv(x), p, (-2, -1))


# by other names


@implements("trace")
def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    if dtype is not None and np.dtype(dtype) != np.float64:
        raise _unsupported(f"trace(x, dtype={dtype!r})", "numtape has float64", "Leave dtype out")
    return np.sum(np.diagonal(matrix_of(x), offset, -2, -1), axis=-1)


@implements("diagonal")
def _diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(matrix_of(x), offset, -2, -1)


@implements("matrix_transpose")
def _matrix_transpose(x: Any, /) -> Any:
    return _transposed(matrix_of(x))


# The products have a rule for the functions of the same name outside `numpy.linalg`; here
# they are only made to see matrices of traced scalars.
for _name in ("cross", "matmul", "outer", "tensordot", "vecdot"):
    _function = getattr(np.linalg, _name, None)
    if _function in NUMPY_FUNCTIONS:
        stands_in_for("numpy.linalg", _name)(NUMPY_FUNCTIONS[_function])
