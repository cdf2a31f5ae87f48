"""Distributions of `scipy.stats` on traced values.

What SciPy does around a distribution's formula (arguments, location and scale, the
support) is written here; the formulas are SciPy's own methods (`_logpdf`, `_cdf` and
their like), which are NumPy code and so are recorded. The few that use what cannot be
recorded are in `_FORMULAS`. A method that SciPy finds numerically, by integration or by
a search, is refused.

Whether parameters are valid, and whether all points are inside the support, is guarded:
inside, nothing is masked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import NumtapeError, UnsupportedError
from numtape.ops.table import load_ufunc
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import Traced, as_computed, as_floats, as_traced, innermost, is_traced

__all__ = ["operand_of"]


def _special(name: str, *operands: Any) -> Any:
    return load_ufunc(f"scipy.special.{name}")(*operands)


# formulas

_HALF_LOG_TWO_PI = 0.9189385332046727


def _normal_logpdf(x: Any) -> Any:
    return -(x**2) / 2.0 - _HALF_LOG_TWO_PI


def _t_logpdf(x: Any, df: Any) -> Any:
    if not isinstance(df, Traced) and np.all(np.isinf(df)):
        return _normal_logpdf(x)
    return (
        np.log(_special("poch", 0.5 * df, 0.5))
        - 0.5 * (np.log(df) + np.log(np.pi))
        - (df + 1) / 2 * np.log1p(x * x / df)
    )


def _lognorm_logpdf(x: Any, s: Any) -> Any:
    return -(np.log(x) ** 2) / (2 * s**2) - np.log(s * x * np.sqrt(2 * np.pi))


def _beta_logpdf(x: Any, a: Any, b: Any) -> Any:
    powers = _special("xlog1py", b - 1.0, -x) + _special("xlogy", a - 1.0, x)
    return powers - _special("betaln", a, b)


def _at_edges(is_edge: Any, there: Any, elsewhere: Any) -> Any:
    """Return a density that is a power at the edges, where its logarithm's slope is infinite."""
    return as_computed(np.where(is_edge, there, elsewhere))


def _beta_pdf(x: Any, a: Any, b: Any) -> Any:
    powers = np.power(x, a - 1.0) * np.power(1.0 - x, b - 1.0) / _special("beta", a, b)
    return _at_edges(x * (1.0 - x) == 0.0, powers, np.exp(_beta_logpdf(x, a, b)))


def _gamma_pdf(x: Any, a: Any) -> Any:
    logarithm = _special("xlogy", a - 1.0, x) - x - _special("gammaln", a)
    powers = np.power(x, a - 1.0) * np.exp(-x) * _special("rgamma", a)
    return _at_edges(x == 0.0, powers, np.exp(logarithm))


def _binomial_logpmf(k: Any, n: Any, p: Any) -> Any:
    gammaln = load_ufunc("scipy.special.gammaln")
    ways = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return ways + _special("xlogy", k, p) + _special("xlog1py", n - k, -p)


def _negative_binomial_logpmf(k: Any, n: Any, p: Any) -> Any:
    gammaln = load_ufunc("scipy.special.gammaln")
    ways = gammaln(n + k) - gammaln(k + 1.0) - gammaln(n)
    return ways + n * np.log(p) + _special("xlog1py", k, -p)


def _binomial_cdf(k: Any, n: Any, p: Any) -> Any:
    return np.where(k >= n, 1.0, _special("betaincc", k + 1.0, np.maximum(n - k, 1.0), p))


def _binomial_sf(k: Any, n: Any, p: Any) -> Any:
    return np.where(k >= n, 0.0, _special("betainc", k + 1.0, np.maximum(n - k, 1.0), p))


def _t_moments(df: Any) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        variance = np.where(df > 2.0, df / (df - 2.0), np.where(df > 1.0, np.inf, np.nan))
    return np.where(df > 1.0, 0.0, np.inf), variance


def _negative_binomial_moments(n: Any, p: Any) -> tuple[Any, Any]:
    mean = n * (1.0 - p) / p
    return mean, mean / p


def _beta_entropy(a: Any, b: Any) -> Any:
    if not _all(np.maximum(a, b) < 1e6):
        raise UnsupportedError("shapes of 1e6 and more, where SciPy has expansions")
    psi = load_ufunc("scipy.special.digamma")
    ends = (a - 1.0) * psi(a) + (b - 1.0) * psi(b)
    return _special("betaln", a, b) - ends + (a + b - 2.0) * psi(a + b)


def _exponentiated(logarithm: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *shapes: np.exp(logarithm(x, *shapes))


# By the distribution's name and the method's.
_FORMULAS: dict[tuple[str, str], Callable[..., Any]] = {
    ("t", "_logpdf"): _t_logpdf,
    ("t", "_pdf"): _exponentiated(_t_logpdf),
    ("lognorm", "_logpdf"): _lognorm_logpdf,
    ("lognorm", "_pdf"): _exponentiated(_lognorm_logpdf),
    ("beta", "_entropy"): _beta_entropy,
    ("beta", "_pdf"): _beta_pdf,
    ("gamma", "_pdf"): _gamma_pdf,
    ("erlang", "_pdf"): _gamma_pdf,
    ("chi2", "_pdf"): lambda x, df: 0.5 * _gamma_pdf(0.5 * x, 0.5 * df),
    ("binom", "_logpmf"): _binomial_logpmf,
    ("binom", "_pmf"): _exponentiated(_binomial_logpmf),
    ("nbinom", "_logpmf"): _negative_binomial_logpmf,
    ("nbinom", "_pmf"): _exponentiated(_negative_binomial_logpmf),
    ("binom", "_cdf"): _binomial_cdf,
    ("binom", "_sf"): _binomial_sf,
    ("nbinom", "_cdf"): lambda k, n, p: _special("betainc", n, k + 1.0, p),
    ("nbinom", "_sf"): lambda k, n, p: _special("betaincc", n, k + 1.0, p),
    ("t", "_stats"): _t_moments,
    ("nbinom", "_stats"): _negative_binomial_moments,
    ("bernoulli", "_cdf"): lambda k, p: _binomial_cdf(k, 1.0, p),
    ("bernoulli", "_sf"): lambda k, p: _binomial_sf(k, 1.0, p),
    ("bernoulli", "_logpmf"): lambda k, p: _binomial_logpmf(k, 1.0, p),
    ("bernoulli", "_pmf"): _exponentiated(lambda k, p: _binomial_logpmf(k, 1.0, p)),
}

# Methods that have a default in terms of another one.
_DEFAULTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "_logpdf": ("_pdf", np.log),
    "_logpmf": ("_pmf", np.log),
    "_sf": ("_cdf", lambda p: 1.0 - p),
    "_logcdf": ("_cdf", np.log),
    "_logsf": ("_sf", np.log),
    "_isf": ("_ppf", lambda p: p),
}


def _formula(distribution: Any, method: str) -> Callable[..., Any]:
    """Return SciPy's formula, or one that stands in for it."""
    name = distribution.name
    if (name, method) in _FORMULAS:
        return _FORMULAS[name, method]
    kind = type(distribution)
    owner = next(base for base in kind.__mro__ if method in vars(base))
    if owner.__name__ not in ("rv_continuous", "rv_discrete", "rv_generic"):
        formula: Callable[..., Any] = getattr(distribution, method)
        return formula
    if method in _DEFAULTS:
        other, function = _DEFAULTS[method]
        formula = _formula(distribution, other)
        if method == "_isf":
            return lambda q, *shapes: formula(1.0 - q, *shapes)
        return lambda x, *shapes: function(formula(x, *shapes))
    raise _found_numerically(name, method[1:])


def _found_numerically(name: str, method: str) -> UnsupportedError:
    return UnsupportedError(
        f"scipy.stats.{name}.{method} of a traced value at {user_location()}: SciPy finds it "
        "numerically, so it has no formula to differentiate. Use the density, or a distribution "
        "that has the method in closed form",
        code="no-derivative",
    )


def _computed(distribution: Any, method: str, *operands: Any) -> Any:
    """Compute a formula's value at a point, and shapes."""
    formula = _formula(distribution, method)
    return _recorded(distribution.name, method[1:], lambda: formula(*operands))


def _recorded(name: str, method: str, formula: Callable[[], Any]) -> Any:
    """Record a formula's value; tell what cannot be recorded in it with the method's name."""
    try:
        with np.errstate(all="ignore"):
            return formula()
    except (NumtapeError, TypeError, AttributeError, ValueError) as error:
        if getattr(error, "code", None) == "no-derivative":
            raise
        raise UnsupportedError(
            f"scipy.stats.{name}.{method} of a traced value at {user_location()}: its formula "
            f"uses what numtape cannot record ({error.args[0]}). Write the formula out with "
            "NumPy's functions and those of scipy.special"
        ) from None


@stands_in_for("scipy._lib.array_api_extra", "apply_where")
def _apply_where(
    cond: Any,
    args: Any,
    f1: Callable[..., Any],
    f2: Callable[..., Any] | None = None,
    /,
    *,
    fill_value: Any = None,
    kwargs: Any = None,
    xp: Any = None,
) -> Any:
    """Choose as SciPy's formulas do: a function here, another one there."""
    args = args if isinstance(args, list | tuple) else (args,)
    options = kwargs or {}
    if not is_traced(cond):
        if np.all(cond):
            return f1(*args, **options)
        if not np.any(cond):
            return fill_value if f2 is None else f2(*args, **options)
    with np.errstate(all="ignore"):
        other = fill_value if f2 is None else f2(*args, **options)
        return as_computed(np.where(cond, f1(*args, **options), other))


# arguments


def operand_of(value: Any, recorder: Any) -> Any:
    """Return a parameter or a point: traced where it or an element is, else an array of floats."""
    if is_traced(value) or isinstance(value, list | tuple):
        return as_floats(as_traced(recorder, value))
    return np.asarray(value, np.float64)[()]


def _all(condition: Any) -> bool:
    """Return whether a condition holds throughout: guarded where it is traced."""
    return bool(np.all(condition))


def _either(a: Any, b: Any) -> Any:
    return np.logical_or(a, b)


def _read(distribution: Any, x: Any, arguments: Any, options: Any) -> tuple[Any, ...]:
    """Return point, shapes, location and scale; and where parameters are valid, None throughout."""
    shapes, loc, scale = distribution._parse_args(*arguments, **options)
    recorder = innermost(x, *shapes, loc, scale)
    x, loc, scale, *shapes = (operand_of(value, recorder) for value in (x, loc, scale, *shapes))
    valid = np.logical_and(distribution._argcheck(*shapes), scale > 0)
    return x, tuple(shapes), loc, scale, None if _all(valid) else valid


def _checked(valid: Any, result: Any) -> Any:
    return result if valid is None else as_computed(np.where(valid, result, np.nan))


def _outside(x: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Return where x is below and above the support; None where it nowhere is, which is guarded."""
    below = above = None
    if isinstance(low, Traced) or np.any(np.isfinite(low)):
        condition = x < low
        below = None if _all(np.logical_not(condition)) else condition
    if isinstance(high, Traced) or np.any(np.isfinite(high)):
        condition = x > high
        above = None if _all(np.logical_not(condition)) else condition
    return below, above


def _limited(result: Any, below: Any, at_low: float, above: Any, at_high: float) -> Any:
    if below is not None:
        result = as_computed(np.where(below, at_low, result))
    return result if above is None else as_computed(np.where(above, at_high, result))


# methods of continuous distributions: what they are below and above the support

_CONTINUOUS = {
    "pdf": (0.0, 0.0),
    "logpdf": (-np.inf, -np.inf),
    "cdf": (0.0, 1.0),
    "logcdf": (-np.inf, 0.0),
    "sf": (1.0, 0.0),
    "logsf": (0.0, -np.inf),
}
_DISCRETE = {
    "pmf" if k == "pdf" else "logpmf" if k == "logpdf" else k: v for k, v in _CONTINUOUS.items()
}


def _continuous(name: str) -> None:
    at_low, at_high = _CONTINUOUS[name]

    def method(self: Any, x: Any, *arguments: Any, **options: Any) -> Any:
        x, shapes, loc, scale, valid = _read(self, x, arguments, options)
        y = (x - loc) / scale
        below, above = _outside(y, *self._get_support(*shapes))
        result = _computed(self, f"_{name}", y, *shapes)
        with np.errstate(all="ignore"):
            if name == "pdf":
                result = result / scale
            elif name == "logpdf":
                result = result - np.log(scale)
        return _checked(valid, _limited(result, below, at_low, above, at_high))

    stands_in_for("scipy.stats", f"rv_continuous.{name}")(method)


def _quantile(name: str) -> None:
    def method(self: Any, q: Any, *arguments: Any, **options: Any) -> Any:
        q, shapes, loc, scale, valid = _read(self, q, arguments, options)
        below, above = _outside(q, 0.0, 1.0)
        result = _computed(self, f"_{name}", q, *shapes) * scale + loc
        return _checked(valid, _limited(result, below, np.nan, above, np.nan))

    stands_in_for("scipy.stats", f"rv_continuous.{name}")(method)


def _discrete(name: str) -> None:
    at_low, at_high = _DISCRETE[name]
    is_mass = name in ("pmf", "logpmf")

    def method(self: Any, k: Any, *arguments: Any, **options: Any) -> Any:
        k, shapes, loc, _, valid = _read(self, k, arguments, options)
        k = k - loc
        below, above = _outside(k, *self._get_support(*shapes))
        if is_mass:
            between = np.floor(k) != k
            if not _all(np.logical_not(between)):
                below = between if below is None else _either(below, between)
        result = _computed(self, f"_{name}", k if is_mass else np.floor(k), *shapes)
        return _checked(valid, _limited(result, below, at_low, above, at_high))

    stands_in_for("scipy.stats", f"rv_discrete.{name}")(method)


for _name in _CONTINUOUS:
    _continuous(_name)
for _name in _DISCRETE:
    _discrete(_name)
for _name in ("ppf", "isf"):
    _quantile(_name)


# what a distribution has whatever the point


def _without_point(distribution: Any, arguments: Any, options: Any) -> tuple[Any, ...]:
    """Return shapes, location and scale; and where parameters are valid, or None throughout."""
    _, *read = _read(distribution, 0.0, arguments, options)
    return tuple(read)


def _entropy(self: Any, *arguments: Any, **options: Any) -> Any:
    shapes, _, scale, valid = _without_point(self, arguments, options)
    entropy = _computed(self, "_entropy", *shapes)
    return _checked(valid, as_computed(entropy + np.log(scale)))


_GENERIC = "scipy.stats._distn_infrastructure"
stands_in_for(_GENERIC, "rv_generic.entropy")(_entropy)


def _mean_and_variance(distribution: Any, method: str, shapes: Any) -> tuple[Any, Any]:
    """Return the standard distribution's mean and variance, where SciPy has a closed form."""
    formula = _FORMULAS.get((distribution.name, "_stats"))
    if formula is not None:
        mean, variance = formula(*shapes)
        return mean, variance
    wanted = {"moments": "mv"} if distribution._stats_has_moments else {}
    mean, variance, *_ = distribution._stats(*shapes, **wanted)
    owner = next(base for base in type(distribution).__mro__ if "_munp" in vars(base))
    is_closed = owner.__name__ not in ("rv_continuous", "rv_discrete", "rv_generic")
    if mean is None and is_closed:
        mean = distribution._munp(1, *shapes)
    if variance is None and is_closed and method != "mean":
        variance = distribution._munp(2, *shapes) - mean * mean
    if (mean if method == "mean" else variance) is None:
        raise _found_numerically(distribution.name, method)
    return mean, variance


def _of_moments(name: str, combine: Callable[[Any, Any, Any, Any], Any]) -> None:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        shapes, loc, scale, valid = _without_point(self, arguments, options)
        mean, variance = _recorded(self.name, name, lambda: _mean_and_variance(self, name, shapes))
        return _checked(valid, as_computed(combine(mean, variance, loc, scale)))

    stands_in_for(_GENERIC, f"rv_generic.{name}")(method)


_of_moments("mean", lambda mean, variance, loc, scale: mean * scale + loc)
_of_moments("var", lambda mean, variance, loc, scale: variance * (scale * scale))
_of_moments("std", lambda mean, variance, loc, scale: np.sqrt(variance) * scale)
