"""Formulas of complex numbers: for each ufunc what it computes of real and imaginary parts.

A formula takes a pair for each operand, whose parts are traced or plain, and gives a
pair, or a real value. Terms with an imaginary part of 0.0 are computed like others,
because NumPy does: they have the sign of zero that decides about branch cuts.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.ops.table import OPCODE, ROWS
from numtape.trace.traced import as_computed, has_traced
from numtape.trace.ufuncs import apply_row

__all__ = ["FORMULAS"]

_Pair = tuple[Any, Any]

_LN2 = math.log(2.0)
_SMALLEST = 5e-324
_LARGEST_POWER = 100  # above, NumPy computes powers by logarithms


# of parts: what is exact is left out


def _is(a: Any, number: float) -> bool:
    """Return whether a part is that plain number, sign of zero included."""
    return type(a) is float and a == number and math.copysign(1.0, a) == math.copysign(1.0, number)


def _plus(a: Any, b: Any) -> Any:
    return a if _is(b, -0.0) else b if _is(a, -0.0) else a + b


def _minus(a: Any, b: Any) -> Any:
    return a if _is(b, 0.0) else a - b


def _times(a: Any, b: Any) -> Any:
    return a if _is(b, 1.0) else b if _is(a, 1.0) else a * b


def _as_part(number: Any) -> Any:
    """Return what NumPy computed of plain numbers, as a float where it is one."""
    return number if np.ndim(number) else float(number)


# arithmetic


def _add(a: _Pair, b: _Pair) -> _Pair:
    return _plus(a[0], b[0]), _plus(a[1], b[1])


def _subtract(a: _Pair, b: _Pair) -> _Pair:
    return _minus(a[0], b[0]), _minus(a[1], b[1])


def _multiply(a: _Pair, b: _Pair) -> _Pair:
    (p, q), (r, s) = a, b
    return _minus(_times(p, r), _times(q, s)), _plus(_times(p, s), _times(q, r))


def _divide(a: _Pair, b: _Pair) -> _Pair:
    """Divide by Smith's algorithm, as NumPy does; dividing r and s by the larger replaces branches.

    That number is held constant, for the quotient does not depend on it.
    """
    (p, q), (r, s) = a, b
    if not has_traced(r, s):
        with np.errstate(all="ignore"):
            u, v, inverse = (_as_part(each) for each in _reduced(np.asarray(r), np.asarray(s)))
    elif _is(s, 0.0):  # by a real number
        u, v, inverse = 1.0, np.copysign(0.0, r), 1.0 / (r + 0.0)  # of -0.0 too it is inf
    else:
        u, v, inverse = _reduced(r, s)
    real = _plus(_times(p, u), _times(q, v))
    imag = _minus(_times(q, u), _times(p, v))
    return _times(real, inverse), _times(imag, inverse)


def _reduced(r: Any, s: Any) -> tuple[Any, Any, Any]:
    """Divide r and s by the larger of them; return them and what is to be multiplied with then."""
    larger = as_computed(np.where(np.abs(r) >= np.abs(s), r, s))
    is_zero = 1.0 * (larger == 0.0)  # then both parts are divided by 0.0
    larger = larger - is_zero  # (a difference, which keeps -0.0)
    if has_traced(larger):
        larger = apply_row(ROWS[OPCODE["stop_gradient"]], (larger,))
    u, v = (r - is_zero) / larger, s / larger
    return u, v, 1.0 / (r * u + s * v + 0.0)


def _negative(a: _Pair) -> _Pair:
    return -a[0], -a[1]


def _conjugate(a: _Pair) -> _Pair:
    return a[0], -a[1]


def _size(a: _Pair) -> Any:
    return np.hypot(*a)


def _angle(a: _Pair) -> Any:
    return np.arctan2(a[1], a[0])


def _sign(a: _Pair) -> _Pair:
    size = _size(a)
    size = size + 1.0 * (size == 0.0)
    return a[0] / size, a[1] / size


# exponentials, logarithms, powers


def _exp(a: _Pair) -> _Pair:
    root = np.exp(0.5 * a[0])  # in two factors, of which none is infinite before both parts are
    return root * (root * np.cos(a[1])), root * (root * np.sin(a[1]))


def _expm1(a: _Pair) -> _Pair:
    half = np.sin(0.5 * a[1])
    return np.expm1(a[0]) * np.cos(a[1]) - 2.0 * half * half, _exp(a)[1]


def _log_size(a: _Pair) -> Any:
    """Return the logarithm of |z|, without cancellation where z is near 1."""
    above = (a[0] - 1.0) * (a[0] + 1.0) + a[1] * a[1]  # |z|**2 - 1
    near = 0.5 * np.log1p(np.maximum(above, -0.5))
    return as_computed(np.where(np.abs(above) < 0.5, near, np.log(_size(a))))


def _log(a: _Pair) -> _Pair:
    if not has_traced(*a):
        logarithm = np.log(_joined(*a))
        return _as_part(logarithm.real), _as_part(logarithm.imag)
    return _log_size(a), _angle(a)


def _joined(real: Any, imag: Any) -> Any:
    """Return plain parts as complex numbers."""
    numbers = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imag)), np.complex128)
    numbers.real, numbers.imag = real, imag
    return numbers


def _log1p(a: _Pair) -> _Pair:
    above = a[0] + 1.0  # as NumPy, which takes no care of small numbers
    return np.log(np.hypot(above, a[1])), np.arctan2(a[1], above)


def _over(logarithm: float) -> Callable[[_Pair], _Pair]:
    def formula(a: _Pair) -> _Pair:
        real, imag = _log(a)
        return real / logarithm, imag / logarithm

    return formula


def _exp2(a: _Pair) -> _Pair:
    return _exp((a[0] * _LN2, a[1] * _LN2))


def _sqrt(a: _Pair) -> _Pair:
    is_left = a[0] < 0.0  # the signs of parts are held constant: at 0 they say which side it is
    root = np.sqrt(0.5 * np.where(is_left, -a[0], a[0]) + 0.5 * _size(a))
    sign = np.copysign(1.0, a[1])
    # (In the denominator, the smallest float makes 0 of 0 / 0, with an infinite slope.)
    other = a[1] / (2.0 * root + _SMALLEST)
    pairs = ((sign * other, root), (sign * root, other))
    return tuple(as_computed(np.where(is_left, left, right)) for left, right in pairs)


def _power(a: _Pair, b: _Pair) -> _Pair:
    exponent, turned = b
    if not _is(turned, 0.0):
        return _general_power(a, b)
    if has_traced(exponent):
        return _real_power(a, exponent)
    is_whole = (exponent == np.rint(exponent)) & (np.abs(exponent) <= _LARGEST_POWER)
    if np.all(is_whole):
        return _whole_power(a, exponent)
    if np.ndim(exponent) == 0:
        return _sqrt(a) if exponent == 0.5 else _real_power(a, exponent)
    whole = _whole_power(a, np.where(is_whole, exponent, 0.0))
    others = _real_power(a, exponent)
    return tuple(np.where(is_whole, *each) for each in zip(whole, others, strict=True))


def _real_power(a: _Pair, exponent: Any) -> _Pair:
    size, angle = np.power(_size(a), exponent), exponent * _angle(a)
    return size * np.cos(angle), size * np.sin(angle)


def _whole_power(a: _Pair, exponent: Any) -> _Pair:
    """Compute a whole power by squares and products."""
    if np.ndim(exponent) == 0 and exponent == 0.0:
        return np.ones(np.shape(a[0])), np.zeros(np.shape(a[0]))
    left = np.abs(np.asarray(exponent)).astype(np.int64)
    square, result = a, None
    while True:
        is_odd = left % 2 == 1
        if np.any(is_odd):
            taken = square if result is None else _multiply(result, square)
            before: _Pair = (1.0, 0.0) if result is None else result
            result = taken if np.all(is_odd) else _chosen(is_odd, taken, before)
        left = left // 2
        if not np.any(left):
            break
        square = _square(square)
    assert result is not None
    is_below = np.asarray(exponent) < 0
    if not np.any(is_below):
        return result
    inverse = _divide((1.0, 0.0), result)
    return inverse if np.all(is_below) else _chosen(is_below, inverse, result)


def _chosen(mask: Any, a: _Pair, b: _Pair) -> _Pair:
    """Return one pair where a plain mask is true, another elsewhere."""
    return np.where(mask, a[0], b[0]), np.where(mask, a[1], b[1])


def _general_power(a: _Pair, b: _Pair) -> _Pair:
    """Return the exponential of b log a; powers of 0 are 0, nan in NumPy if b is not real."""
    real, imag = _exp(_multiply(_log(a), b))
    is_zero = _both(a[0] == 0.0, a[1] == 0.0)
    above = _both(b[0] > 0.0, b[1] == 0.0)
    none = _both(b[0] == 0.0, b[1] == 0.0)
    real = np.where(none, 1.0, np.where(is_zero, np.where(above, 0.0, np.nan), real))
    imag = np.where(none, 0.0, np.where(is_zero, np.where(above, 0.0, np.nan), imag))
    return as_computed(real), as_computed(imag)


def _square(a: _Pair) -> _Pair:
    p, q = a
    return p * p - q * q, p * q + q * p


# circular and hyperbolic functions


def _hyperbolic(q: Any, by_cosh: Any, by_sinh: Any) -> _Pair:
    """Return products with cosh(q) and sinh(q), in factors as those of `_exp`."""
    c, s = np.cosh(0.5 * q), np.sinh(0.5 * q)
    return c * (c * by_cosh) + s * (s * by_cosh), 2.0 * s * (c * by_sinh)


def _sin(a: _Pair) -> _Pair:
    return _hyperbolic(a[1], np.sin(a[0]), np.cos(a[0]))


def _cos(a: _Pair) -> _Pair:
    real, imag = _hyperbolic(a[1], np.cos(a[0]), np.sin(a[0]))
    return real, -imag


def _sinh(a: _Pair) -> _Pair:
    imag, real = _sin((a[1], a[0]))
    return real, imag


def _cosh(a: _Pair) -> _Pair:
    return _cos((-a[1], a[0]))


def _tanh(a: _Pair) -> _Pair:
    real, imag, one = np.tanh(a[0]), np.tan(a[1]), 1.0 / np.cosh(a[0])
    size = 1.0 + (real * imag) ** 2
    return real * (1.0 + imag * imag) / size, imag * (one * one) / size


def _tan(a: _Pair) -> _Pair:
    imag, real = _tanh((a[1], a[0]))
    return real, imag


# their inverses

# By Kahan's formulas ("Branch cuts for complex elementary functions"): products of square
# roots, whose signs say on which side of a cut a number is.


def _roots(a: _Pair) -> tuple[_Pair, _Pair]:
    """Return the square roots of 1 - z and of 1 + z."""
    return _sqrt((1.0 - a[0], -a[1])), _sqrt((1.0 + a[0], a[1]))


def _arcsin(a: _Pair) -> _Pair:
    below, above = _roots(a)
    real = np.arctan2(a[0], _multiply(below, above)[0])
    return real, np.arcsinh(_multiply(_conjugate(below), above)[1])


def _arccos(a: _Pair) -> _Pair:
    below, above = _roots(a)
    real = 2.0 * np.arctan2(below[0], above[0])
    return real, np.arcsinh(_multiply(_conjugate(above), below)[1])


def _arccosh(a: _Pair) -> _Pair:
    below, above = _sqrt((a[0] - 1.0, a[1])), _sqrt((a[0] + 1.0, a[1]))
    real = np.arcsinh(_multiply(_conjugate(below), above)[0])
    return real, 2.0 * np.arctan2(below[1], above[0])


def _arctanh(a: _Pair) -> _Pair:
    is_left = a[0] < 0.0  # the logarithm below is of an odd function
    size = as_computed(np.where(is_left, -a[0], a[0]))
    rest = 1.0 - size
    half = 0.25 * np.log1p(4.0 * size / (rest * rest + a[1] * a[1]))
    angle = np.arctan2(2.0 * a[1], rest * (1.0 + size) - a[1] * a[1])
    return as_computed(np.where(is_left, -half, half)), 0.5 * angle


def _turned(formula: Callable[[_Pair], _Pair]) -> Callable[[_Pair], _Pair]:
    """Return -i f(i z), which makes of circular functions hyperbolic ones, and the other way."""

    def turned(a: _Pair) -> _Pair:
        imag, real = formula((-a[1], a[0]))
        return real, -imag

    return turned


# comparisons


def _both(a: Any, b: Any) -> Any:
    return np.logical_and(a, b)


def _either(a: Any, b: Any) -> Any:
    return np.logical_or(a, b)


def _truth(a: _Pair) -> Any:
    return _either(a[0] != 0.0, a[1] != 0.0)


def _of_both(test: Any, combine: Callable[[Any, Any], Any]) -> Callable[[_Pair], Any]:
    return lambda a: combine(test(a[0]), test(a[1]))


def _of_truths(ufunc: Any) -> Callable[..., Any]:
    return lambda *operands: ufunc(*(_truth(each) for each in operands))


FORMULAS: dict[Any, Callable[..., Any]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.power: _power,
    np.float_power: _power,
    np.negative: _negative,
    np.positive: lambda a: a,
    np.conjugate: _conjugate,
    np.absolute: _size,
    np.square: _square,
    np.reciprocal: lambda a: _divide((1.0, 0.0), a),
    np.sign: _sign,
    np.exp: _exp,
    np.exp2: _exp2,
    np.expm1: _expm1,
    np.log: _log,
    np.log2: _over(_LN2),
    np.log10: _over(math.log(10.0)),
    np.log1p: _log1p,
    np.sqrt: _sqrt,
    np.sin: _sin,
    np.cos: _cos,
    np.tan: _tan,
    np.sinh: _sinh,
    np.cosh: _cosh,
    np.tanh: _tanh,
    np.arcsin: _arcsin,
    np.arccos: _arccos,
    np.arctan: _turned(_arctanh),
    np.arcsinh: _turned(_arcsin),
    np.arccosh: _arccosh,
    np.arctanh: _arctanh,
    np.equal: lambda a, b: _both(a[0] == b[0], a[1] == b[1]),
    np.not_equal: lambda a, b: _either(a[0] != b[0], a[1] != b[1]),
    np.isfinite: _of_both(np.isfinite, _both),
    np.isnan: _of_both(np.isnan, _either),
    np.isinf: _of_both(np.isinf, _either),
    np.logical_not: _of_truths(np.logical_not),
    np.logical_and: _of_truths(np.logical_and),
    np.logical_or: _of_truths(np.logical_or),
    np.logical_xor: _of_truths(np.logical_xor),
}
