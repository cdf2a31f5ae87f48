"""SciPy's special functions that are no rows of the table, on traced values.

The ufuncs of one and two operands (`erf`, `gammaln`, `jv`) are rows, those of three
are `FUNCTIONS`. SciPy's functions written in Python are compositions of rows; each
computes what SciPy's own does, in the same order.
"""

from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS, load_ufunc
from numtape.trace.linalg import call_function, constant_part
from numtape.trace.recorder import user_location
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
    """0 where the condition holds, else x."""
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
    """The logarithm of the multivariate gamma function."""
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


# Bessel functions of integer order, which SciPy computes by recurrence from orders 0 and 1.


def _of_order(name: str, of_any_order: str) -> None:
    def implementation(n: Any, x: Any) -> Any:
        return load_ufunc(f"scipy.special.{of_any_order}")(n, x)

    NUMPY_FUNCTIONS[f"scipy.special.{name}"] = implementation


_of_order("yn", "yv")
_of_order("kn", "kv")


def _gammasgn(x: Any) -> Any:
    x = _floats(x)
    # What it is at its poles is not the same in all of SciPy's versions.
    pole, minus_zero = load_ufunc("scipy.special.gammasgn")(np.array([-1.0, -0.0]))
    below = np.floor(x)
    of_negative = np.where(x == below, pole, 1.0 - 2.0 * (below % 2.0))
    of_zero = np.where(np.signbit(x), minus_zero, 1.0)
    return as_computed(np.where(x > 0.0, 1.0, np.where(x == 0.0, of_zero, of_negative)))


NUMPY_FUNCTIONS["scipy.special.gammasgn"] = _gammasgn


def _of_three(name: str) -> None:
    path = f"scipy.special.{name}"

    def implementation(a: Any, b: Any, x: Any) -> Any:
        recorder = innermost(a, b, x)
        operands = [as_floats(as_traced(recorder, operand)) for operand in (a, b, x)]
        values = [lift(recorder, operand)[1] for operand in operands]
        return call_function(name, operands, (load_ufunc(path)(*values),))[0]

    NUMPY_FUNCTIONS[path] = implementation


_of_three("betainc")
_of_three("betaincc")


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
_of_objects("betainc")
_of_objects("betaincc")


def _as_numpy(name: str) -> None:
    """SciPy's own version of a function of NumPy: they differ by one rounding at most."""
    NUMPY_FUNCTIONS[f"scipy.special.{name}"] = getattr(np, name)


for _name in ("log1p", "expm1", "cbrt", "exp2"):
    _as_numpy(_name)
