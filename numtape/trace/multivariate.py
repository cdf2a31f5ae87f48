"""Multivariate distributions of `scipy.stats` on traced values.

The formulas are written anew: SciPy's convert what they are given to plain arrays. A
distribution is an object of a class here, made of traced parameters or of a frozen one
of SciPy's that is asked at traced points. Whether parameters and points are valid is
guarded.

A covariance is used through its Cholesky factor. Where it may be singular, its rank is
found by SciPy's rule for the smallest eigenvalue that counts, and guarded; then it is
used through its pseudoinverse of that rank.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.ops.table import load_ufunc
from numtape.trace.locations import user_location
from numtape.trace.special import multigammaln
from numtape.trace.statistics import operand_of
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import as_computed, innermost

__all__: list[str] = []

_LOG_TWO_PI = 1.8378770664093453
_MODULE = "scipy.stats._multivariate"


def _gammaln(x: Any) -> Any:
    return load_ufunc("scipy.special.gammaln")(x)


def _digamma(x: Any) -> Any:
    return load_ufunc("scipy.special.digamma")(x)


def _xlogy(x: Any, y: Any) -> Any:
    return load_ufunc("scipy.special.xlogy")(x, y)


def _squeezed(result: Any) -> Any:
    return as_computed(np.squeeze(result))


def _require(condition: Any, name: str, rule: str, remedy: str) -> None:
    """Raise where a condition does not hold throughout; guarded where it is traced."""
    if not np.all(condition):
        raise InputError(f"scipy.stats.{name} at {user_location()}: {rule}. {remedy}")


def _lower_solve(factor: Any, b: Any) -> Any:
    # Turned upside down the factor is upper triangular, and solved without elimination.
    return np.linalg.solve(factor[..., ::-1, ::-1], b[..., ::-1, :])[..., ::-1, :]


def _log_diagonal(factor: Any) -> Any:
    """Return the logarithm of the determinant of the matrix with that Cholesky factor."""
    return 2.0 * np.sum(np.log(np.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


# covariances


class _Covariance:
    """A covariance matrix: its rank, the logarithm of its determinant, and what it scales.

    Parameters
    ----------
    matrix : traced array of shape (n, n)
        Of which the lower triangle is read.
    may_be_singular : bool
    """

    def __init__(self, matrix: Any, may_be_singular: bool) -> None:
        self.size = self.rank = matrix.shape[-1]
        self.outside: Any = None  # the projection to the directions without variance
        if may_be_singular:
            lower = np.tri(self.size, dtype=bool)
            matrix = np.where(lower, matrix, matrix.T)
            sizes = np.linalg.eigvalsh(matrix)
            least = 1e6 * np.finfo(np.float64).eps * np.max(abs(sizes))
            self.rank = int(np.sum(sizes > least))
            self.reach = 1e3 * least
            _require(
                sizes >= -least,
                "multivariate_normal",
                "a covariance must be positive semidefinite",
                "Give a matrix without negative eigenvalues, such as a @ a.T",
            )
        if self.rank == self.size:
            self.factor = np.linalg.cholesky(matrix)
            self.log_det = _log_diagonal(self.factor)
        else:
            self.inverse = np.linalg.pinv(matrix, 1e6 * np.finfo(np.float64).eps, hermitian=True)
            self.outside = np.eye(self.size) - matrix @ self.inverse
            self.log_det = np.linalg.slogdet(matrix + self.outside)[1]

    def squares(self, deviations: Any) -> Any:
        """Return the squared length of each row of deviations, in units of the covariance."""
        if self.outside is not None:
            return np.sum((deviations @ self.inverse) * deviations, axis=-1)
        scaled = _lower_solve(self.factor, np.transpose(deviations))
        return np.sum(scaled * scaled, axis=0)

    def is_outside(self, deviations: Any) -> Any:
        """Return for each row of deviations whether it has no density; None if all have one."""
        if self.outside is None:
            return None
        return np.linalg.norm(deviations @ self.outside, axis=-1) >= self.reach


def _location_and_matrix(location: Any, matrix: Any, *others: Any) -> tuple[Any, Any]:
    """Return a vector and a square matrix of equal size, of what SciPy takes for them."""
    recorder = innermost(*(each for each in (location, matrix, *others) if each is not None))
    matrix = operand_of(1.0 if matrix is None else matrix, recorder)
    if location is not None:
        location = np.ravel(np.atleast_1d(operand_of(location, recorder)))
    n = location.shape[0] if location is not None else np.shape(matrix)[0] if np.ndim(matrix) else 1
    if np.ndim(matrix) < 2:
        matrix = np.eye(n) * matrix
    return np.zeros(n) if location is None else location, matrix


def _points(x: Any, size: int, *others: Any) -> tuple[Any, tuple[int, ...]]:
    """Return points as rows, and the shape of one number for each point."""
    x = operand_of(x, innermost(x, *others))
    if np.ndim(x) == 0:
        x = np.reshape(x, (1,))
    elif np.ndim(x) == 1 and size == 1:
        x = x[:, None]
    return x, np.shape(x)[:-1]


class _Normal:
    """A multivariate normal distribution."""

    def __init__(
        self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
    ) -> None:
        cov = cov.covariance if hasattr(cov, "covariance") else cov
        self.mean, cov = _location_and_matrix(mean, cov, x)
        self.covariance = _Covariance(cov, allow_singular)

    @classmethod
    def of_frozen(cls, x: Any, frozen: Any) -> "_Normal":
        return cls(x, frozen.mean, frozen.cov_object.covariance, frozen.allow_singular)

    def logpdf(self, x: Any) -> Any:
        """Return the logarithm of the density, at points along the last axis."""
        covariance = self.covariance
        x, shape = _points(x, covariance.size, self.mean, covariance.log_det)
        deviations = np.reshape(x - self.mean, (-1, covariance.size))
        squares = covariance.squares(deviations)
        result = -0.5 * (covariance.rank * _LOG_TWO_PI + covariance.log_det + squares)
        is_outside = covariance.is_outside(deviations)
        if is_outside is not None and np.any(is_outside):
            result = np.where(is_outside, -np.inf, result)
        return _squeezed(np.reshape(result, shape))

    def pdf(self, x: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x))

    def entropy(self) -> Any:
        """Return the differential entropy."""
        return 0.5 * (self.covariance.rank * (_LOG_TWO_PI + 1.0) + self.covariance.log_det)


class _StudentT:
    """A multivariate t-distribution."""

    def __init__(
        self, x: Any, loc: Any = None, shape: Any = 1, df: Any = 1, allow_singular: bool = False
    ) -> None:
        self.loc, shape = _location_and_matrix(loc, shape, x, df)
        self.covariance = _Covariance(shape, allow_singular)
        self.df = operand_of(1.0 if df is None else df, innermost(loc, shape, x, df))
        _require(self.df > 0.0, "multivariate_t", "df must be positive", "Give a positive one")
        self.is_normal = bool(np.isinf(self.df))

    @classmethod
    def of_frozen(cls, x: Any, frozen: Any) -> "_StudentT":
        # (Before SciPy 1.16 it does not tell, and a singular shape is refused.)
        allow_singular = getattr(frozen, "allow_singular", False)
        return cls(x, frozen.loc, frozen.shape, frozen.df, allow_singular)

    def logpdf(self, x: Any) -> Any:
        """Return the logarithm of the density, at points along the last axis."""
        covariance, df, n = self.covariance, self.df, self.covariance.size
        x, shape = _points(x, n, self.loc, covariance.log_det, df)
        squares = covariance.squares(np.reshape(x - self.loc, (-1, n)))
        if self.is_normal:
            result = -0.5 * (covariance.rank * _LOG_TWO_PI + covariance.log_det + squares)
        else:
            half = 0.5 * (df + n)
            constant = _gammaln(half) - _gammaln(0.5 * df) - 0.5 * n * np.log(df * np.pi)
            result = constant - 0.5 * covariance.log_det - half * np.log1p(squares / df)
        return _squeezed(np.reshape(result, shape))

    def pdf(self, x: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x))


class _Dirichlet:
    """A Dirichlet distribution."""

    def __init__(self, x: Any, alpha: Any) -> None:
        self.alpha = operand_of(alpha, innermost(alpha, x))
        words = "the parameters must be one vector of positive numbers", "Give such a vector"
        _require(np.ndim(self.alpha) == 1, "dirichlet", *words)
        _require(self.alpha > 0.0, "dirichlet", *words)
        self.total = np.sum(self.alpha)

    @classmethod
    def of_frozen(cls, x: Any, frozen: Any) -> "_Dirichlet":
        return cls(x, frozen.alpha)

    @property
    def log_beta(self) -> Any:
        return np.sum(_gammaln(self.alpha)) - _gammaln(self.total)

    def logpdf(self, x: Any) -> Any:
        """Return the logarithm of the density, at points with components along the first axis."""
        x = self._completed(x)
        powers = _xlogy(self.alpha - 1.0, np.transpose(x))
        return _squeezed(np.sum(powers, axis=-1) - self.log_beta)

    def _completed(self, x: Any) -> Any:
        """Return a point with its last component, which may be left out; valid ones pass."""
        x = operand_of(x, innermost(x, self.alpha))
        n = self.alpha.shape[0]
        words = "points must lie in the simplex: components from 0 to 1 that add up to 1"
        remedy = f"Give {n} of them along the first axis, or {n - 1} for the last one to be found"
        _require(np.ndim(x) in (1, 2) and x.shape[0] in (n - 1, n), "dirichlet", words, remedy)
        if x.shape[0] == n - 1:
            last = np.reshape(1.0 - np.sum(x, axis=0), (1, *x.shape[1:]))
            x = np.concatenate([x, last])
        _require((x >= 0.0) & (x <= 1.0), "dirichlet", words, remedy)
        _require(abs(np.sum(x, axis=0) - 1.0) <= 10e-10, "dirichlet", words, remedy)
        if np.any(x == 0.0):
            alpha = np.reshape(self.alpha, (n,) + (1,) * (np.ndim(x) - 1))
            rule = "a component must be positive where its parameter is below 1"
            _require((x > 0.0) | (alpha >= 1.0), "dirichlet", rule, "Give positive components")
        return x

    def pdf(self, x: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x))

    def mean(self) -> Any:
        """Return the mean."""
        return self.alpha / self.total

    def var(self) -> Any:
        """Return the variance of each component."""
        total = self.total
        return (self.alpha * (total - self.alpha)) / ((total * total) * (total + 1.0))

    def cov(self) -> Any:
        """Return the covariance matrix."""
        mean = self.mean()
        return (np.diag(mean) - np.outer(mean, mean)) / (self.total + 1.0)

    def entropy(self) -> Any:
        """Return the differential entropy."""
        ends = np.sum((self.alpha - 1.0) * _digamma(self.alpha))
        return self.log_beta + (self.total - self.alpha.shape[0]) * _digamma(self.total) - ends


class _Wishart:
    """A Wishart distribution."""

    name = "wishart"

    def __init__(self, x: Any, df: Any = None, scale: Any = None) -> None:
        recorder = innermost(*(each for each in (x, df, scale) if each is not None))
        _, scale = _location_and_matrix(None, scale, x, df)
        self.factor = np.linalg.cholesky(scale)
        self.size = self.factor.shape[-1]
        self.df = operand_of(float(self.size) if df is None else df, recorder)
        rule = f"df must be greater than {self.size - 1}, one less than the rows of the scale"
        _require(self.df > self.size - 1, self.name, rule, "Give more degrees of freedom")

    @classmethod
    def of_frozen(cls, x: Any, frozen: Any) -> "_Wishart":
        return cls(x, frozen.df, frozen.scale)

    def logpdf(self, x: Any) -> Any:
        """Return the logarithm of the density at matrices, stacked along a third axis."""
        n = self.size
        x = operand_of(x, innermost(x, self.df, self.factor))
        if np.ndim(x) == 0:
            x = x * np.eye(n)
        elif np.ndim(x) == 1:
            x = x[None, None, :] if n == 1 else np.diag(x)
        shape = np.shape(x)
        is_stack = shape[:2] == (n, n) and len(shape) in (2, 3)
        _require(is_stack, self.name, f"points must be {n} by {n} matrices", "Give such")
        x = np.moveaxis(np.reshape(x, (n, n, -1)), -1, 0)
        root = np.linalg.cholesky(x)
        return _squeezed(self._of_roots(root) - multigammaln(0.5 * self.df, n))

    def _of_roots(self, root: Any) -> Any:
        n, df = self.size, self.df
        # The trace of inv(scale) @ x is the sum of the squares of inv(factor) @ root.
        scaled = _lower_solve(self.factor, root)
        trace = np.sum(scaled * scaled, axis=(-2, -1))
        constant = 0.5 * df * (n * np.log(2.0) + _log_diagonal(self.factor))
        return 0.5 * ((df - n - 1.0) * _log_diagonal(root) - trace) - constant

    def pdf(self, x: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x))


class _InverseWishart(_Wishart):
    """An inverse Wishart distribution."""

    name = "invwishart"

    def _of_roots(self, root: Any) -> Any:
        n, df = self.size, self.df
        scaled = _lower_solve(root, np.broadcast_to(self.factor, np.shape(root)))
        trace = np.sum(scaled * scaled, axis=(-2, -1))
        constant = 0.5 * df * (_log_diagonal(self.factor) - n * np.log(2.0))
        return constant - 0.5 * (trace + (df + n + 1.0) * _log_diagonal(root))


# registration


def _stand_in(kind: Any, name: str, at_points: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Have a class take the place of a distribution of SciPy's, and of its frozen one."""

    def make(self: Any, *arguments: Any, seed: Any = None, **options: Any) -> Any:
        return kind(None, *arguments, **options)

    stands_in_for(_MODULE, f"{name}_gen.__call__")(make)
    for method in at_points:
        stands_in_for(_MODULE, f"{name}_gen.{method}")(_at_points(kind, method))
        stands_in_for(_MODULE, f"{name}_frozen.{method}")(_of_frozen(kind, method))
    for method in others:
        stands_in_for(_MODULE, f"{name}_gen.{method}")(_without_points(kind, method))


def _at_points(kind: Any, method: str) -> Callable[..., Any]:
    def function(self: Any, x: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(kind(x, *arguments, **options), method)(x)

    return function


def _of_frozen(kind: Any, method: str) -> Callable[..., Any]:
    def function(self: Any, x: Any) -> Any:
        return getattr(kind.of_frozen(x, self), method)(x)

    return function


def _without_points(kind: Any, method: str) -> Callable[..., Any]:
    def function(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(kind(None, *arguments, **options), method)()

    return function


_DENSITIES = ("logpdf", "pdf")
_stand_in(_Normal, "multivariate_normal", _DENSITIES, ())
_stand_in(_StudentT, "multivariate_t", ("pdf",), ())
_stand_in(_Dirichlet, "dirichlet", _DENSITIES, ("mean", "var", "cov", "entropy"))
_stand_in(_Wishart, "wishart", _DENSITIES, ())
_stand_in(_InverseWishart, "invwishart", _DENSITIES, ())


# These allow singular matrices without being asked.


@stands_in_for(_MODULE, "multivariate_normal_gen.entropy")
def _normal_entropy(self: Any, mean: Any = None, cov: Any = 1) -> Any:
    return _Normal(None, mean, cov, True).entropy()


@stands_in_for(_MODULE, "multivariate_t_gen.logpdf")
def _t_logpdf(self: Any, x: Any, loc: Any = None, shape: Any = 1, df: Any = 1) -> Any:
    return _StudentT(x, loc, shape, df, True).logpdf(x)


stands_in_for(_MODULE, "multivariate_t_frozen.logpdf")(_of_frozen(_StudentT, "logpdf"))
