"""Polynomials by their coefficients, highest power first, as in ``np.poly*``."""

from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import implements, no_options, traced, traced_or_array
from numtape.trace.locations import user_location
from numtape.trace.traced import has_traced

__all__: list[str] = []


@implements("polyval")
def _polyval(p: Any, x: Any) -> Any:
    coefficients = traced_or_array(p)
    x = traced_or_array(x)
    value: Any = np.zeros_like(x)
    for k in range(len(coefficients)):
        value = value * x + coefficients[k]
    return value


@implements("polyder")
def _polyder(p: Any, m: int = 1) -> Any:
    p = traced_or_array(p)
    for _ in range(int(m)):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


@implements("polyint")
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    p = traced_or_array(p)
    constants = np.zeros(m) if k is None else np.broadcast_to(traced_or_array(k), (m,))
    for step in range(int(m)):
        p = np.concatenate([p / np.arange(len(p), 0, -1), constants[step : step + 1]])
    return p


def _sum(name: str, ufunc: Any) -> None:
    @implements(name)
    def implementation(a1: Any, a2: Any) -> Any:
        a1, a2 = np.atleast_1d(traced_or_array(a1)), np.atleast_1d(traced_or_array(a2))
        longest = max(len(a1), len(a2))
        return ufunc(*(np.concatenate([np.zeros(longest - len(a), a.dtype), a]) for a in (a1, a2)))


_sum("polyadd", np.add)
_sum("polysub", np.subtract)


@implements("polymul")
def _polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(_without_zeros(a1), _without_zeros(a2))


def _without_zeros(coefficients: Any) -> Any:
    """Return coefficients from the first that is not 0 on, which is guarded; the last one stays."""
    coefficients = np.atleast_1d(traced_or_array(coefficients))
    while len(coefficients) > 1 and coefficients[0] == 0:
        coefficients = coefficients[1:]
    return coefficients


@implements("polydiv")
def _polydiv(u: Any, v: Any) -> Any:
    u, v = np.atleast_1d(traced_or_array(u)), np.atleast_1d(traced_or_array(v))
    if len(u) < len(v):
        return np.zeros(1), u
    steps, rest, quotient = len(u) - len(v) + 1, 1.0 * u, []
    scale = 1.0 / v[0]
    for k in range(steps):
        factor = scale * rest[k]
        quotient.append(factor)
        rest = np.concatenate([rest[:k], rest[k : k + len(v)] - factor * v, rest[k + len(v) :]])
    # NumPy drops leading zeros of the remainder; which they are depends on the point.
    rest = rest[steps:] if len(v) > 1 else np.zeros(1)
    return np.array(quotient), np.trim_zeros(rest, "f") if has_traced(rest) else rest


@implements("poly")
def _poly(seq_of_zeros: Any) -> Any:
    zeros = traced_or_array(seq_of_zeros)
    if zeros.ndim != 1:
        raise UnsupportedError(
            f"np.poly of a traced array of shape {zeros.shape} at {user_location()}: numtape has "
            "no rule for the characteristic polynomial of a matrix. Give the zeros as a vector"
        )
    result: Any = np.ones(1)
    for k in range(len(zeros)):
        result = np.convolve(result, np.stack([1.0, -zeros[k]]))
    return result


@implements("polyfit")
def _polyfit(
    x: Any,
    y: Any,
    deg: Any,
    rcond: Any = None,
    full: bool = False,
    w: Any = None,
    cov: Any = False,
) -> Any:
    no_options("polyfit", full=full or None, cov=cov or None)
    x, y = traced_or_array(x), traced_or_array(y)
    matrix = np.vander(x, int(deg) + 1)
    if w is not None:
        w = traced_or_array(w)
        matrix = matrix * w[:, None]
        y = y * (w[:, None] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(matrix * matrix, axis=0))
    rcond = len(x) * np.finfo(np.float64).eps if rcond is None else rcond
    if has_traced(matrix):
        coefficients = np.linalg.lstsq(matrix / scale, y, rcond)[0]
    else:  # linear in y
        coefficients = np.linalg.pinv(matrix / scale, rcond) @ y
    return coefficients / (scale[:, None] if y.ndim == 2 else scale)


@implements("vander")
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    x = traced(x)
    if x.ndim != 1:
        raise InputError(
            f"np.vander of an array of shape {x.shape}: it must have one axis. Ravel it"
        )
    columns = [np.ones(x.shape, np.promote_types(x.dtype, int))]
    for _ in range(1, len(x) if N is None else N):
        columns.append(columns[-1] * x)
    columns = columns[: len(x) if N is None else N]
    if not columns:
        return np.zeros_like(x, shape=(len(x), 0))
    return np.stack(columns if increasing else columns[::-1], axis=-1)
