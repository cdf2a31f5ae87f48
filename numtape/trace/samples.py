"""Statistics of samples of `scipy.stats` on traced values: moments, means, correlations.

Whether an input is constant, where SciPy gives nan, is guarded. P-values are the exact ones
that SciPy computes, recorded; so they have derivatives too. Samples with missing values
(``nan_policy`` other than ``'propagate'``) are refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import load_ufunc
from numtape.trace.functions.common import no_dtype
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import as_computed, as_floats, as_traced, innermost

__all__: list[str] = []

_EPSILON = float(np.finfo(np.float64).eps)


def _special(name: str, *operands: Any) -> Any:
    return load_ufunc(f"scipy.special.{name}")(*operands)


def _unsupported(name: str, reason: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(
        f"scipy.stats.{name} of a traced value at {user_location()}: {reason}. {remedy}",
        code="unsupported-option",
    )


def _samples(name: str, axis: Any, nan_policy: Any, *operands: Any) -> tuple[Any, ...]:
    """Return samples as arrays of floats, and the one axis that they lie along."""
    if nan_policy != "propagate":
        reason = f"there is no rule for nan_policy={nan_policy!r}"
        raise _unsupported(name, reason, "Leave it out, and select the elements before")
    recorder = innermost(*operands)
    arrays = [as_floats(as_traced(recorder, each)) for each in operands]
    if axis is None:
        arrays, axis = [np.ravel(each) for each in arrays], 0
    arrays = [np.reshape(each, (1,)) if each.ndim == 0 else each for each in arrays]
    return (*arrays, axis)


def _kept(result: Any, axis: Any, keepdims: bool, rank: int) -> Any:
    """Return a result with the axes that were summed over, if they are to be kept."""
    if keepdims:
        return np.expand_dims(result, tuple(range(rank)) if axis is None else axis)
    return as_computed(result)


def _nan_where(condition: Any, result: Any) -> Any:
    """Return a result, nan where a condition holds; whether it does anywhere is guarded."""
    return as_computed(np.where(condition, np.nan, result)) if np.any(condition) else result


# moments


@stands_in_for("scipy.stats", "zmap")
def _zmap(
    scores: Any, compare: Any, axis: Any = 0, ddof: int = 0, nan_policy: str = "propagate"
) -> Any:
    shape = np.shape(scores)
    points, samples, along = _samples("zmap", axis, nan_policy, scores, compare)
    mean = np.mean(samples, axis=along, keepdims=True)
    deviation = np.sqrt(np.var(samples, axis=along, ddof=ddof, keepdims=True))
    with np.errstate(all="ignore"):
        result = (points - mean) / deviation
    if scores is compare:
        result = _nan_where(deviation <= abs(_EPSILON * mean), result)
    return np.reshape(result, shape) if axis is None else result


@stands_in_for("scipy.stats", "zscore")
def _zscore(a: Any, axis: Any = 0, ddof: int = 0, nan_policy: str = "propagate") -> Any:
    return _zmap(a, a, axis, ddof, nan_policy)


def _standardized_moment(name: str, a: Any, axis: Any, nan_policy: Any, order: int) -> Any:
    """Return a central moment in units of the variance; where that is 0; how many there are."""
    a, along = _samples(name, axis, nan_policy, a)
    mean = np.mean(a, axis=along, keepdims=True)
    deviations = a - mean
    squares = deviations * deviations
    variance = np.mean(squares, axis=along)
    powers = squares * (deviations if order == 3 else squares)
    with np.errstate(all="ignore"):
        moment = np.mean(powers, axis=along) / variance ** (order / 2)
    is_zero = variance <= (_EPSILON * np.squeeze(mean, axis=along)) ** 2
    return moment, is_zero, a.shape[along]


@stands_in_for("scipy.stats", "skew")
def _skew(
    a: Any,
    axis: Any = 0,
    bias: bool = True,
    nan_policy: str = "propagate",
    *,
    keepdims: bool = False,
) -> Any:
    result, is_zero, n = _standardized_moment("skew", a, axis, nan_policy, 3)
    if not bias and n > 2:
        result = ((n - 1.0) * n) ** 0.5 / (n - 2.0) * result
    return _kept(_nan_where(is_zero, result), axis, keepdims, np.ndim(a))


@stands_in_for("scipy.stats", "kurtosis")
def _kurtosis(
    a: Any,
    axis: Any = 0,
    fisher: bool = True,
    bias: bool = True,
    nan_policy: str = "propagate",
    *,
    keepdims: bool = False,
) -> Any:
    result, is_zero, n = _standardized_moment("kurtosis", a, axis, nan_policy, 4)
    if not bias and n > 3:
        corrected = (n**2 - 1.0) * result - 3.0 * (n - 1) ** 2.0
        result = 1.0 / (n - 2) / (n - 3) * corrected + 3.0
    result = _nan_where(is_zero, result)
    return _kept(result - 3.0 if fisher else result, axis, keepdims, np.ndim(a))


# means


def _mean_by(name: str, forth: Callable[[Any], Any], back: Callable[[Any], Any]) -> None:
    def mean(
        a: Any,
        axis: Any = 0,
        dtype: Any = None,
        weights: Any = None,
        *,
        nan_policy: str = "propagate",
        keepdims: bool = False,
    ) -> Any:
        no_dtype(dtype)
        rank = np.ndim(a)
        a, along = _samples(name, axis, nan_policy, a)
        if name == "hmean":
            a = _nan_where(a < 0.0, a)
        with np.errstate(all="ignore"):
            if weights is None:
                result = np.mean(forth(a), axis=along)
            else:
                weights = np.ravel(weights) if axis is None else weights
                weights = np.broadcast_to(weights, a.shape)
                result = np.sum(forth(a) * weights, axis=along) / np.sum(weights, axis=along)
            return _kept(back(result), axis, keepdims, rank)

    stands_in_for("scipy.stats", name)(mean)


_mean_by("gmean", np.log, np.exp)
_mean_by("hmean", lambda a: 1.0 / a, lambda mean: 1.0 / mean)


# entropy


@stands_in_for("scipy.stats", "entropy")
def _entropy(
    pk: Any,
    qk: Any = None,
    base: Any = None,
    axis: Any = 0,
    *,
    nan_policy: str = "propagate",
    keepdims: bool = False,
) -> Any:
    rank = max(np.ndim(pk), np.ndim(qk))
    given = [pk] if qk is None else [pk, qk]
    *samples, along = _samples("entropy", axis, nan_policy, *given)
    samples = list(np.broadcast_arrays(*samples))
    shares = [each / np.sum(each, axis=along, keepdims=True) for each in samples]
    result = np.sum(_special("entr" if qk is None else "rel_entr", *shares), axis=along)
    if base is not None:
        if base <= 0.0:
            raise InputError(f"scipy.stats.entropy: base is {base}. Give a positive one, or None")
        result = result / np.log(base)
    return _kept(result, axis, keepdims, rank)


# correlation and regression


def _p_value(name: str, alternative: str, below: Callable[[Any], Any], statistic: Any) -> Any:
    """Return how probable a statistic so extreme is, of a symmetric distribution around 0."""
    if alternative == "less":
        return below(statistic)
    if alternative == "greater":
        return below(-statistic)
    if alternative != "two-sided":
        raise InputError(
            f"scipy.stats.{name}: alternative is {alternative!r}. Give 'two-sided', 'less' or "
            "'greater'"
        )
    return 2.0 * below(-abs(statistic))


@stands_in_for("scipy.stats", "pearsonr")
def _pearsonr(
    x: Any, y: Any, *, alternative: str = "two-sided", method: Any = None, axis: Any = 0
) -> Any:
    from scipy.stats._stats_py import PearsonRResult

    if method is not None:
        reason = "p-values by resampling have no rule"
        raise _unsupported("pearsonr(..., method)", reason, "Leave method out")
    x, y, axis = _samples("pearsonr", axis, "propagate", x, y)
    rank = max(x.ndim, y.ndim)
    x, y = (
        np.moveaxis(np.reshape(each, (1,) * (rank - each.ndim) + each.shape), axis, -1)
        for each in (x, y)
    )
    n = x.shape[-1]
    if n != y.shape[-1] or n < 2:
        raise InputError(
            f"scipy.stats.pearsonr of {n} and {y.shape[-1]} elements: it takes equally many, and "
            "two at least. Give such samples"
        )
    is_constant = np.all(x == x[..., :1], axis=-1) | np.all(y == y[..., :1], axis=-1)
    with np.errstate(all="ignore"):
        x, y = (each - np.mean(each, axis=-1, keepdims=True) for each in (x, y))
        x, y = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (x, y))
        r = np.clip(np.sum(x * y, axis=-1), -1.0, 1.0)
    if n == 2:
        r = np.round(r)
        p = np.ones(np.shape(r))[()] + 0.0 * r
    else:
        half = 0.5 * n - 1.0
        p = _p_value(
            "pearsonr", alternative, lambda r: _special("betainc", half, half, 0.5 * (r + 1.0)), r
        )
    r, p = (_nan_where(is_constant, each) for each in (r, p))
    return PearsonRResult(
        statistic=as_computed(r),
        pvalue=as_computed(p),
        alternative=alternative,
        n=n,
        x=x,
        y=y,
        axis=-1,
    )


@stands_in_for("scipy.stats", "linregress")
def _linregress(
    x: Any, y: Any, alternative: str = "two-sided", *, nan_policy: str = "propagate"
) -> Any:
    from scipy.stats._stats_py import LinregressResult

    x, y, _ = _samples("linregress", 0, nan_policy, x, y)
    n = x.size
    if x.ndim != 1 or x.shape != y.shape or n < 2:
        raise InputError(
            f"scipy.stats.linregress of samples of shapes {x.shape} and {y.shape}: numtape takes "
            "vectors of equally many elements, two at least. Call it for each column"
        )
    if np.max(x) == np.min(x):
        raise InputError(
            "scipy.stats.linregress: all x are equal, so there is no slope. Give different ones"
        )
    x_mean, y_mean = np.mean(x), np.mean(y)
    x_deviations, y_deviations = x - x_mean, y - y_mean
    xx, yy = np.mean(x_deviations * x_deviations), np.mean(y_deviations * y_deviations)
    xy = np.mean(x_deviations * y_deviations)
    r = 0.0 * xy if yy == 0.0 else np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0)
    slope = xy / xx
    if n == 2:
        p = 0.0 * slope + (1.0 if y[0] == y[1] else 0.0)
        slope_error = intercept_error = 0.0 * slope
    else:
        degrees, tiny = n - 2.0, 1e-20
        t = r * np.sqrt(degrees / ((1.0 - r + tiny) * (1.0 + r + tiny)))
        p = _p_value("linregress", alternative, lambda t: _special("stdtr", degrees, t), t)
        slope_error = np.sqrt((1.0 - r**2) * yy / xx / degrees)
        intercept_error = slope_error * np.sqrt(xx + x_mean**2)
    return LinregressResult(
        slope=slope,
        intercept=y_mean - slope * x_mean,
        rvalue=r,
        pvalue=p,
        stderr=slope_error,
        intercept_stderr=intercept_error,
    )
