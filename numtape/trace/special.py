"""SciPy's special functions that are no rows of the table, on traced values.

The ufuncs of one and two operands (`erf`, `gammaln`, `jv`) are rows, others are in
`numtape/ops/special.py`. SciPy's functions written in Python are compositions of rows; each
computes what SciPy's own does, in the same order.
"""

from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.function import Function
from numtape.ops.special import ELEMENTWISE
from numtape.ops.table import OPCODE, ROWS, load_ufunc
from numtape.trace.complexes.pair import as_complex
from numtape.trace.linalg import call_function, constant_part
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    Traced,
    as_computed,
    as_floats,
    as_traced,
    innermost,
    lift,
)
from numtape.trace.ufuncs import apply_row

__all__ = ["multigammaln"]


def _row(name: str, *operands: Any) -> Any:
    return apply_row(ROWS[OPCODE[name]], operands)


def _floats(operand: Any) -> Any:
    return as_traced(innermost(operand), operand)


def _finite_or_zero(x: Any) -> Any:
    return _row("keep", np.isfinite(x), x)


def _without(condition: Any, x: Any) -> Any:
    """Return 0 where the condition holds, else x."""
    return _row("drop", condition, x)


@stands_in_for("scipy.special", "logsumexp")
def _logsumexp(
    a: Any,
    axis: Any = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    if b is not None:
        return _weighted_logsumexp(a, b, axis, keepdims, return_sign)
    a = np.atleast_1d(_floats(a))
    axis = tuple(range(a.ndim)) if axis is None else axis
    if a.size == 0:
        total = np.sum(a, axis=axis, keepdims=keepdims)
        return (total - np.inf, total * 0.0) if return_sign else total - np.inf
    largest = np.max(a, axis=axis, keepdims=True)
    # The largest are counted, and the others summed: their sum may be tiny beside 1. Where
    # the largest are infinite, a - largest is nan for them, and they are masked.
    is_largest = a == largest
    ties = np.sum(is_largest, axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        others = _without(is_largest, np.exp(a - largest))
    rest = np.sum(others, axis=axis, keepdims=True)
    result = np.log1p(rest / ties) + np.log(ties) + largest
    if not keepdims:
        result = np.squeeze(result, axis=axis)
    if not return_sign:
        return result
    return result, as_computed(np.where(result == -np.inf, 0.0, 1.0))


def _weighted_logsumexp(a: Any, b: Any, axis: Any, keepdims: bool, return_sign: bool) -> Any:
    recorder = innermost(a, b)
    a, b = np.broadcast_arrays(as_traced(recorder, a), as_traced(recorder, b))
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    axis = tuple(range(a.ndim)) if axis is None else axis
    counted = np.where(b == 0.0, -np.inf, constant_part(a))
    shift = _finite_or_zero(np.max(counted, axis=axis, keepdims=True))
    # A weight of 0 makes its term 0, even where the other factor overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        terms = _row("scale", b, np.exp(a - shift))
    total = np.sum(terms, axis=axis, keepdims=True)
    sign = np.sign(total)
    result = np.log(abs(total) if return_sign else total) + shift
    if not keepdims:
        result, sign = np.squeeze(result, axis=axis), np.squeeze(sign, axis=axis)
    return (result, sign) if return_sign else result


# A shift of all elements changes nothing, so its derivatives need not be followed.


@stands_in_for("scipy.special", "softmax")
def _softmax(x: Any, axis: Any = None) -> Any:
    x = _floats(x)
    powers = np.exp(x - constant_part(np.max(x, axis=axis, keepdims=True)))
    return powers / np.sum(powers, axis=axis, keepdims=True)


@stands_in_for("scipy.special", "log_softmax")
def _log_softmax(x: Any, axis: Any = None) -> Any:
    x = _floats(x)
    shifted = x - constant_part(_finite_or_zero(np.max(x, axis=axis, keepdims=True)))
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@stands_in_for("scipy.special", "softplus")
def _softplus(x: Any, **options: Any) -> Any:
    if options:
        raise UnsupportedError(
            f"scipy.special.softplus(x, {', '.join(options)}=...) of a traced value at "
            f"{user_location()}: numtape has no rule for these options. Leave them out",
            code="unsupported-option",
        )
    return np.logaddexp(0.0, _floats(x))


@stands_in_for("scipy.special", "zeta")
def _zeta(x: Any, q: Any = None, out: Any = None) -> Any:
    if q is None or out is not None:
        raise UnsupportedError(
            f"scipy.special.zeta of a traced argument at {user_location()}: its derivative by the "
            "order x has no closed form, and out is not supported. Only zeta(x, q) has a rule, by "
            "q; hold x constant with numtape.stop_gradient(x) outside the recorded function",
            code="no-derivative",
        )
    return load_ufunc("scipy.special._ufuncs._zeta")(x, q)


@stands_in_for("scipy.special", "polygamma")
def _polygamma(n: Any, x: Any) -> Any:
    if isinstance(n, Traced):
        raise UnsupportedError(
            f"scipy.special.polygamma(n, x) with a traced n at {user_location()}: the order must "
            "be an integer. Pass an int, or int(n), which is guarded",
            code="unsupported-option",
        )
    order: Any = np.asarray(n)
    x = _floats(x)
    gamma = load_ufunc("scipy.special.gamma")
    digamma = load_ufunc("scipy.special.digamma")
    if not order.any():
        return digamma(np.broadcast_to(x, np.broadcast_shapes(order.shape, np.shape(x))))
    others = (-1.0) ** (order + 1) * gamma(order + 1.0) * _zeta(order + 1, x)
    return others if order.all() else as_computed(np.where(order == 0, digamma(x), others))


@stands_in_for("scipy.special", "multigammaln")
def multigammaln(a: Any, d: Any) -> Any:
    """Return the logarithm of the multivariate gamma function."""
    if isinstance(d, Traced) or np.ndim(d) > 0 or np.floor(d) != d:
        raise InputError(
            f"multigammaln(a, d) got d = {d!r}: d must be a positive integer. Pass an int"
        )
    a, d = _floats(a), int(d)
    if np.any(a <= 0.5 * (d - 1)):
        raise InputError(
            f"multigammaln(a, d) got a = {a} and d = {d}: a must be above (d - 1) / 2, which is "
            f"{0.5 * (d - 1)}. Keep a above that"
        )
    gammaln = load_ufunc("scipy.special.gammaln")
    terms = gammaln(np.stack([a - (j - 1.0) / 2 for j in range(1, d + 1)]))
    return (d * (d - 1) * 0.25) * np.log(np.pi) + np.sum(terms, axis=0)


# SciPy rounds what counts down, and warns of it from within its loops.
_OF_COUNTS = ("nbdtr", "nbdtrc")


def _of_function(function: Function) -> None:
    """Register a ufunc that is one of `ELEMENTWISE`."""
    path = f"scipy.special.{function.name}"

    def implementation(*given: Any) -> Any:
        recorder = innermost(*given)
        if function.name in _OF_COUNTS:
            given = (*(np.trunc(as_traced(recorder, each)) for each in given[:2]), given[2])
        operands = [as_floats(as_traced(recorder, operand)) for operand in given]
        values = load_ufunc(path)(*(lift(recorder, operand)[1] for operand in operands))
        results = values if len(function.results) > 1 else (values,)
        found = call_function(function.name, operands, results)
        return found if len(found) > 1 else found[0]

    NUMPY_FUNCTIONS[path] = implementation


def _binomial(name: str, at_end: float, below: float) -> None:
    """Register the binomial distribution, whose loop of floats warns each time, by that of beta."""

    def implementation(k: Any, n: Any, p: Any) -> Any:
        recorder = innermost(k, n, p)
        k, n, p = (as_floats(as_traced(recorder, each)) for each in (k, n, p))
        k, n = np.floor(k), np.trunc(n)
        trials = np.maximum(n - k, 1.0)
        if name == "bdtr":
            inside = load_ufunc("scipy.special.betainc")(trials, k + 1.0, 1.0 - p)
        else:
            inside = load_ufunc("scipy.special.betainc")(k + 1.0, trials, p)
        result = np.where(k == n, at_end, np.where(k > n, np.nan, inside))
        return as_computed(np.where(k < 0.0, below, result))

    NUMPY_FUNCTIONS[f"scipy.special.{name}"] = implementation
    _of_objects(name)


def _second_kind(name: str, of_reals: str) -> None:
    """Register a Bessel function of integer order, whose loop of floats warns, by real orders."""

    def implementation(n: Any, x: Any) -> Any:
        order = n if isinstance(n, Traced) else np.asarray(n, np.float64)
        return load_ufunc(f"scipy.special.{of_reals}")(np.trunc(order), x)

    NUMPY_FUNCTIONS[f"scipy.special.{name}"] = implementation
    _of_objects(name)


@stands_in_for("scipy.special", "lambertw")
def _lambertw(z: Any, k: Any = 0, tol: float = 1e-8) -> Any:
    """Return a complex value as SciPy's, of imaginary part 0; refuse where it has another."""
    if isinstance(k, Traced) or np.ndim(k) or k not in (0, -1):
        raise UnsupportedError(
            f"scipy.special.lambertw(z, k={k!r}) of a traced value at {user_location()}: the "
            "branches of real values are 0 and -1. Pass one of these",
            code="unsupported-option",
        )
    z = as_floats(as_traced(innermost(z), z))
    outside = z < -1.0 / np.e if k == 0 else np.logical_or(z < -1.0 / np.e, z > 0.0)
    if np.any(outside):
        raise UnsupportedError(
            f"scipy.special.lambertw(z, k={k}) at {user_location()}: some of z is "
            f"{'below -1 / e' if k == 0 else 'below -1 / e or above 0'}, where it is complex, and "
            "numtape differentiates real float64 code. Keep z where the branch is real",
            code="complex-value",
        )
    name = "lambert_lower" if k else "lambert_upper"
    own = load_ufunc(f"numtape.run.elliptic.{name}")
    (real,) = call_function(name, (z,), (own(lift(innermost(z), z)[1]),))
    return as_complex(real)


def _of_objects(name: str) -> None:
    def implementation(*operands: Any, **options: Any) -> Any:
        recorder = innermost(*operands)
        ufunc = load_ufunc(f"scipy.special.{name}")
        return ufunc(*(as_traced(recorder, operand) for operand in operands), **options)

    names = ("digamma", "psi") if name == "digamma" else (name,)
    stands_in_for("scipy.special", *names, only_for_objects=True)(implementation)


for _each in ROWS:
    if (
        _each.ufunc is not None
        and _each.ufunc.startswith("scipy.special.")
        and "._" not in _each.ufunc
    ):
        _of_objects(_each.name)
for _function in ELEMENTWISE:
    if _function.calls[0][0] == f"scipy.special.{_function.name}":
        _of_function(_function)
        _of_objects(_function.name)


_second_kind("yn", "yv")
_second_kind("kn", "kv")
_binomial("bdtr", 1.0, np.nan)
_binomial("bdtrc", 0.0, 1.0)


def _as_numpy(name: str) -> None:
    """Register SciPy's version of a function of NumPy: they differ by one rounding at most."""
    NUMPY_FUNCTIONS[f"scipy.special.{name}"] = getattr(np, name)


for _name in ("log1p", "expm1", "cbrt", "exp2"):
    _as_numpy(_name)
