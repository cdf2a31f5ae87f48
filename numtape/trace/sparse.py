"""Sparse matrices of `scipy.sparse` that are constant, times traced vectors and matrices.

A product is written with what there is: each stored element times the element of the
vector that it meets (read where it is, by a gather table), and a sum by rows (a scatter).
Both cost as much as there are stored elements, and so do their derivatives. Terms are added
up in the order in which SciPy's own loops add them.

A system with a constant sparse matrix is solved by SuperLU's factors, as SciPy solves it:
factorized while recording, and recorded as the two substitutions. Unknowns that do not
depend on each other are a *level*, and are found together.

Linear operators call what they were made of with the traced vector.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import constants_of
from numtape.trace.integers import are_whole, plainly
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import Traced, as_floats, as_traced, innermost, wrap

__all__: list[str] = []

# Products of at most so many elements are recorded as scalar instructions, which run in lanes.
_FEW = 64

_BASE = "scipy.sparse._base"


class _Elements(NamedTuple):
    """The stored elements of a matrix, in the order in which SciPy adds up their products."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    data: npt.NDArray[Any]


def _elements_of(matrix: Any) -> _Elements:
    if matrix.ndim > 2:
        raise UnsupportedError(
            f"a sparse array of rank {matrix.ndim} times a traced value at {user_location()}: "
            "numtape has a rule for matrices and vectors. Reshape it to a matrix",
            code="unsupported-option",
        )
    if matrix.dtype.kind == "c":
        raise UnsupportedError(
            f"a complex sparse matrix times a traced value at {user_location()}: numtape "
            "differentiates real float64 code. Multiply by its real and its imaginary part",
            code="complex-value",
        )
    if matrix.format == "dia":
        return _elements_of_diagonals(matrix)
    places = (matrix.tocsr() if matrix.format == "lil" else matrix).tocoo()
    *rows, columns = (np.asarray(each, np.int64) for each in places.coords)
    return _Elements(rows[0] if rows else np.zeros_like(columns), columns, places.data)


def _elements_of_diagonals(matrix: Any) -> _Elements:
    """Return the elements by diagonals, with zeros that are stored (`tocoo` leaves them out)."""
    columns = np.arange(matrix.data.shape[1])
    rows = columns - np.asarray(matrix.offsets, np.int64)[:, None]
    columns = np.broadcast_to(columns, rows.shape)
    m, n = matrix.shape
    inside = (rows >= 0) & (rows < m) & (columns < n)
    return _Elements(rows[inside], columns[inside], matrix.data[inside])


def _products(elements: _Elements, x: Any, rows: int, start: Any = None) -> Any:
    """Return the product with a traced matrix, of `rows` rows; added to `start` if one is given."""
    recorder, k = x.recorder, x.shape[1]
    terms: Any = np.ravel(elements.data[:, None] * x[elements.columns])
    targets = np.ravel(elements.rows[:, None] * k + np.arange(k))
    if terms.size <= _FEW:
        start = constants_of(recorder, np.zeros((rows, k))) if start is None else start
        sums = np.ravel(start).copy()
        for place, term in zip(targets.tolist(), terms, strict=True):
            sums[place] += term
        return np.reshape(sums, (rows, k))
    values = np.zeros(rows * k)
    np.add.at(values, targets, terms.primals)
    sums = np.reshape(
        wrap(recorder, recorder.scatter(terms.slots, targets, rows * k), values), (rows, k)
    )
    return sums if start is None else start + sums


def _times(matrix: Any, other: Any) -> Any:
    """Compute ``matrix @ other`` for a dense traced operand."""
    other = as_traced(innermost(other), other)
    if not other.ndim:
        return _scaled(matrix, other)
    n = matrix.shape[-1]
    if other.ndim > 2 or other.shape[0] != n:
        return matrix @ np.zeros(other.shape)  # SciPy says what is wrong with this shape
    if are_whole(other) and matrix.dtype.kind in "biu":
        return plainly(lambda plain: matrix @ plain, other)
    x = as_floats(other)
    rows = matrix.shape[0] if matrix.ndim == 2 else 1
    result = _products(_elements_of(matrix), x[:, None] if x.ndim == 1 else x, rows)
    result = result[:, 0] if other.ndim == 1 else result
    return result if matrix.ndim == 2 else result[0]


def _times_from_left(matrix: Any, other: Any) -> Any:
    """Compute ``other @ matrix`` for a dense traced operand."""
    other = as_traced(innermost(other), other)
    return _times(matrix.T, other.T).T


def _scaled(matrix: Any, other: Any, **options: Any) -> Any:
    raise UnsupportedError(
        f"a sparse matrix multiplied elementwise by a traced value at {user_location()}: the "
        "elements of a sparse matrix are constants to numtape. Scale the product instead: "
        "t * (A @ x), or w * (A @ x) for a factor of each row and A @ (w * x) of each column"
    )


# As methods, so that what SciPy refuses of plain vectors too is refused in its words.
stands_in_for(_BASE, "_spbase.__matmul__", "_spbase._matmul_dispatch", "_spbase.dot")(_times)
stands_in_for(_BASE, "_spbase.__rmatmul__", "_spbase._rmatmul_dispatch")(_times_from_left)
stands_in_for("scipy.sparse._coo", "_coo_base._matmul_dispatch", "_coo_base.dot")(_times)
stands_in_for("scipy.sparse._coo", "_coo_base._rmatmul_dispatch")(_times_from_left)
stands_in_for("scipy.sparse._matrix", "spmatrix.__mul__")(_times)
stands_in_for("scipy.sparse._matrix", "spmatrix.__rmul__")(_times_from_left)
for _module, _class in (
    (_BASE, "_spbase"),
    ("scipy.sparse._data", "_data_matrix"),
    ("scipy.sparse._dia", "_dia_base"),
    ("scipy.sparse._lil", "_lil_base"),
    ("scipy.sparse._dok", "_dok_base"),
):
    for _name in ("_mul_scalar", "multiply", "_divide", "__truediv__"):
        stands_in_for(_module, f"{_class}.{_name}")(_scaled)


# systems of equations


class _Level(NamedTuple):
    """Unknowns that depend only on those of the levels before."""

    unknowns: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]  # of each element, the place of its row among the unknowns
    columns: npt.NDArray[np.int64]
    data: npt.NDArray[np.float64]


def _levels(triangle: Any, order: Any) -> Iterator[_Level]:
    """Yield the levels of a triangular matrix in CSR form, to substitute in that order of rows."""
    starts, columns, data = triangle.indptr, triangle.indices, triangle.data
    n = triangle.shape[0]
    depth = np.zeros(n, np.int64)
    for row in order:
        behind = depth[columns[starts[row] : starts[row + 1]]]
        depth[row] = behind.max() + 1 if behind.size else 0
    by_depth = np.argsort(depth, kind="stable")
    counts = np.diff(starts).astype(np.int64)
    ends = np.cumsum(np.bincount(depth))
    for unknowns in np.split(by_depth, ends[:-1]):
        count = counts[unknowns]
        rows = np.repeat(np.arange(unknowns.size), count)
        first = np.cumsum(count) - count
        places = np.arange(rows.size) - first[rows] + starts[unknowns][rows]
        yield _Level(unknowns, rows, columns[places].astype(np.int64), data[places])


def _substituted(triangle: Any, diagonal: Any, b: Any, backwards: bool) -> Any:
    """Return the solution of a triangular system: b has a column for each right-hand side.

    `triangle` is without its diagonal, which is given apart.
    """
    x = b.copy()
    n, k = x.shape
    divides = not np.all(diagonal == 1.0)
    for level in _levels(triangle, range(n - 1, -1, -1) if backwards else range(n)):
        if level.data.size * k <= _FEW and level.unknowns.size <= _FEW:
            _find_one_by_one(level, np.reshape(x, n * k), k, diagonal if divides else None)
            continue
        known = x[level.unknowns]
        if level.data.size:
            elements = _Elements(level.rows, level.columns, -level.data)
            known = _products(elements, x, level.unknowns.size, known)
        if divides:
            known = known / diagonal[level.unknowns, None]
        x[level.unknowns] = known
    return x


def _find_one_by_one(level: _Level, x: Any, k: int, diagonal: Any) -> None:
    """Find a few unknowns likewise, by scalar instructions; x is flat."""
    unknowns = level.unknowns.tolist()
    elements = list(zip(level.rows.tolist(), level.columns.tolist(), level.data.tolist()))
    for column in range(k):
        known = [x[unknown * k + column] for unknown in unknowns]
        for row, other, factor in elements:
            known[row] = known[row] + -factor * x[other * k + column]
        for unknown, value in zip(unknowns, known, strict=True):
            divisor = 1.0 if diagonal is None else float(diagonal[unknown])
            x[unknown * k + column] = value if divisor == 1.0 else value / divisor


@stands_in_for("scipy.sparse.linalg", "spsolve")
def _spsolve(A: Any, b: Any, permc_spec: Any = None, use_umfpack: bool = True) -> Any:  # noqa: N803
    if isinstance(A, Traced) or not hasattr(A, "tocsc"):
        raise UnsupportedError(
            f"scipy.sparse.linalg.spsolve of a traced matrix at {user_location()}: numtape solves "
            "systems whose sparse matrix is constant. Write np.linalg.solve(A, b) for a traced one"
        )
    from scipy.sparse import tril, triu
    from scipy.sparse.linalg import MatrixRankWarning, splu

    b = as_floats(as_traced(innermost(b), b))
    columns = b[:, None] if b.ndim == 1 else b
    n = A.shape[0]
    if A.ndim != 2 or A.shape != (n, n) or b.ndim > 2 or b.shape[0] != n:
        raise InputError(
            f"scipy.sparse.linalg.spsolve of a matrix of shape {A.shape} and b of shape {b.shape}: "
            "these do not match. Give a square matrix, and b as many rows"
        )
    matrix = A.tocsc()
    if matrix.dtype.kind == "c":
        _elements_of(matrix)  # which refuses it
    try:
        factors = splu(matrix.astype(np.float64), permc_spec or "COLAMD")
    except RuntimeError:
        warnings.warn("Matrix is exactly singular", MatrixRankWarning, stacklevel=2)
        return b * np.nan
    rows_in_order = np.argsort(factors.perm_r)
    upper = factors.U.tocsr()
    y = _substituted(tril(factors.L, -1, "csr"), np.ones(n), columns[rows_in_order], False)
    x = _substituted(triu(upper, 1, "csr"), upper.diagonal(), y, True)[factors.perm_c]
    return x[:, 0] if b.ndim == 1 or b.shape[1] == 1 else x


# linear operators


def _applied(name: str, transposed: bool) -> Callable[..., Any]:
    """Return an operator's method for vectors, or for matrices, that makes no plain arrays."""
    is_matrix = name.endswith("matmat")

    def method(self: Any, x: Any) -> Any:
        x = as_traced(innermost(x), x)
        m, n = self.shape[::-1] if transposed else self.shape
        fits = x.ndim == 2 and len(x) == n if is_matrix else x.shape in ((n,), (n, 1))
        if not fits:
            raise InputError(
                f"a linear operator of shape {self.shape} was applied by {name} to a traced value "
                f"of shape {x.shape}: these do not match. Give it {n} rows"
            )
        result = getattr(self, f"_{name}")(x)
        return result if is_matrix else np.reshape(result, (m, *x.shape[1:]))

    return method


_OPERATORS = "scipy.sparse.linalg._interface"
for _name in ("matvec", "matmat", "rmatvec", "rmatmat"):
    _method = _applied(_name, _name.startswith("r"))
    stands_in_for(_OPERATORS, f"LinearOperator.{_name}")(_method)


@stands_in_for(
    _OPERATORS, "LinearOperator.dot", "LinearOperator.__matmul__", "LinearOperator.__mul__"
)
def _operator_times(self: Any, x: Any) -> Any:
    x = as_traced(innermost(x), x)
    if not x.ndim:
        raise UnsupportedError(
            f"a linear operator scaled by a traced value at {user_location()}: numtape has no rule "
            "for it. Scale the product instead: t * (A @ x)"
        )
    is_vector = x.ndim == 1 or (x.ndim == 2 and x.shape[1] == 1)
    return self.matvec(x) if is_vector else self.matmat(x)


@stands_in_for(_OPERATORS, "LinearOperator.__rmatmul__", "LinearOperator.__rmul__")
def _operator_times_from_left(self: Any, x: Any) -> Any:
    x = as_traced(innermost(x), x)
    return _operator_times(self.T, x.T).T if x.ndim else _operator_times(self, x)
