"""The callbacks that Ipopt asks for through `cyipopt`, made of a problem.

Ipopt wants structures before values, and keeps them: those of the path at one point. Where another
path has other nonzeros than these have room for, that is an error.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.sparse.matrices import csr_array, is_sparse
from numtape.sparse.pattern import Pattern

__all__ = ["Ipopt"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]


class _Problem(Protocol):
    """What is asked of a problem, see `problem.py`."""

    def fun(self, *arguments: Any) -> Any: ...
    def jac(self, *arguments: Any) -> Any: ...
    def hess(self, *arguments: Any) -> Any: ...
    def constraints(self, *arguments: Any) -> Any: ...
    def constraints_jac(self, *arguments: Any) -> Any: ...
    def lagrangian_hess(self, *arguments: Any, objective_factor: float = 1.0) -> Any: ...


class Ipopt:
    """What `cyipopt.Problem` takes as ``problem_obj``; `Problem.ipopt` makes it.

    Parameters
    ----------
    problem : Problem
    x : float64 array
        Where structures are found.
    has_constraints : bool

    Attributes
    ----------
    size : int
        How many variables there are.
    constraint_count : int
        How many constraints.
    """

    def __init__(self, problem: _Problem, x: Floats, has_constraints: bool) -> None:
        self._problem = problem
        self._has_constraints = has_constraints
        self.size = len(x)
        self.constraint_count = len(problem.constraints(x)) if has_constraints else 0
        self._jacobian = Pattern.of(_matrix(self._slopes(x)))
        self._hessian = Pattern.of(_lower(self._curvature(x, np.ones(self.constraint_count), 1.0)))

    def objective(self, x: Floats) -> float:
        """Return the objective's value."""
        return float(self._problem.fun(x))

    def gradient(self, x: Floats) -> Floats:
        """Return the objective's gradient."""
        found: Floats = self._problem.jac(x)
        return found

    def constraints(self, x: Floats) -> Floats:
        """Return the constraints' values."""
        return np.ravel(self._problem.constraints(x)) if self._has_constraints else np.zeros(0)

    def jacobianstructure(self) -> tuple[Ints, Ints]:
        """Return rows and columns of the nonzeros of the constraints' Jacobian."""
        return self._jacobian.rows, self._jacobian.columns.astype(np.int64)

    def jacobian(self, x: Floats) -> Floats:
        """Return the nonzeros of the constraints' Jacobian, in the order of their structure."""
        return _values(self._jacobian, _matrix(self._slopes(x)))

    def hessianstructure(self) -> tuple[Ints, Ints]:
        """Return rows and columns of the nonzeros of the Lagrangian's Hessian, half of it."""
        return self._hessian.rows, self._hessian.columns.astype(np.int64)

    def hessian(self, x: Floats, lagrange: Floats, obj_factor: float) -> Floats:
        """Return the nonzeros of the Lagrangian's Hessian, in the order of their structure."""
        return _values(self._hessian, _lower(self._curvature(x, lagrange, obj_factor)))

    def solve(
        self,
        x: npt.ArrayLike,
        bounds: tuple[Any, Any] | None = None,
        constraint_bounds: tuple[Any, Any] = (0.0, 0.0),
        **options: Any,
    ) -> tuple[Floats, dict[str, Any]]:
        """Return the solution that Ipopt finds, and what it says of it.

        Parameters
        ----------
        x : array
            Where to begin.
        bounds, constraint_bounds : pair of float or array
            The lowest and the highest values of variables and of constraints; by default any,
            and 0.
        **options
            Of Ipopt, such as ``tol=1e-9`` or ``print_level=0``.

        Returns
        -------
        x : float64 array
        info : dict
            As `cyipopt.Problem.solve` gives it.

        Raises
        ------
        InputError
            Where `cyipopt` is not installed.
        """
        try:
            import cyipopt
        except ImportError:
            raise InputError(
                "solve() was called: Ipopt is called through cyipopt, which is not installed. Run "
                'pip install "numtape[ipopt]", or use SciPy\'s minimize(method="trust-constr")',
                code="missing-library",
            ) from None
        low, high = (-np.inf, np.inf) if bounds is None else bounds
        ends = (
            np.broadcast_to(np.asarray(end, np.float64), count)
            for end, count in (
                (low, self.size),
                (high, self.size),
                (constraint_bounds[0], self.constraint_count),
                (constraint_bounds[1], self.constraint_count),
            )
        )
        solver = cyipopt.Problem(self.size, self.constraint_count, self, *ends)
        for name, value in options.items():
            solver.add_option(name, value)
        found: tuple[Floats, dict[str, Any]] = solver.solve(np.asarray(x, np.float64))
        return found

    def _slopes(self, x: Floats) -> Any:
        if not self._has_constraints:
            return np.zeros((0, self.size))
        return self._problem.constraints_jac(x)

    def _curvature(self, x: Floats, multipliers: Floats, factor: float) -> Any:
        if self._has_constraints:
            return self._problem.lagrangian_hess(x, multipliers, objective_factor=factor)
        return factor * self._problem.hess(x)


def _matrix(found: Any) -> Any:
    """Return a matrix in CSR form; of a dense one all elements are stored."""
    if is_sparse(found):
        return found
    rows, columns = found.shape
    indptr, indices = np.arange(rows + 1) * columns, np.tile(np.arange(columns), rows)
    return csr_array(found.ravel(), indices, indptr, found.shape)


def _lower(found: Any) -> Any:
    """Return the lower triangle of a matrix in CSR form, with its stored zeros."""
    matrix = _matrix(found)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    kept = matrix.indices <= rows
    counts = np.bincount(rows[kept], minlength=matrix.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_array(matrix.data[kept], matrix.indices[kept], indptr, matrix.shape)


def _values(pattern: Pattern, matrix: Any) -> Floats:
    """Return the values of a matrix where a pattern has entries."""
    if np.array_equal(matrix.indptr, pattern.indptr) and np.array_equal(
        matrix.indices, pattern.indices
    ):
        found: Floats = matrix.data
        return found
    places, missing = pattern.find(Pattern.of(matrix))
    if missing is not None:
        row, column = missing
        raise InputError(
            f"a derivative has a nonzero in row {row} and column {column} here, which the path "
            "that Ipopt's structures are of has not: they stay as they are while it runs. Choose "
            "a point for problem.ipopt(x) on the path with more nonzeros, or write the branch "
            "with np.where",
            code="wrong-pattern",
        )
    values = np.zeros(pattern.nnz)
    values[places] = matrix.data
    return values
