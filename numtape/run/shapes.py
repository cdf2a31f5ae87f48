"""Derivatives of distribution functions by their shapes, which have no closed form.

By the shape a, the derivative of an integral of a density p(t; a) is the integral of p times
its score. That score changes sign where its mean is, and its integral over everything is 0:
so on either side of the mean one integral, over the tail, has an integrand of one sign, and
nothing cancels. The tail is run through by ``t = x exp(-s)`` (or exp(s)), which makes the
integrand entire and decaying, and summed by the trapezoidal rule in v, ``s = scale *
exp(v - exp(-v))``: 150 points, to the last digits or so. Small arguments have a power series.

Second derivatives multiply with the score's square and its derivative, likewise. Densities
of large shapes are written with Stirling's series, so that powers do not cancel.

The functions are asked for by name, as those of SciPy are, and compile then.
"""

import math
from typing import Any

import numpy as np

from numtape.jit.compile import piece, ufuncs

__all__: list[str] = []


# The points of the trapezoidal rule and their weights, for a scale of 1.
_STEP = 0.05
_V = np.arange(-3.75, 4.2, _STEP)
_POINTS = np.exp(_V - np.exp(-_V))
_WEIGHTS = _STEP * _POINTS * (1.0 + np.exp(-_V))

# Of the series of digamma and Stirling's: B(2k) / (2k), and B(2k) / (2k (2k - 1)).
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_DIGAMMA = np.array([b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)])
_STIRLING = np.array([b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1)])
_TRIGAMMA = np.array(_BERNOULLI)
# Of digamma(z + 1/2) - digamma(z) - 1 / (2z), by powers of 1 / (2z).
_HALVES = np.array(
    [b * (2 - 2.0 ** (1 - 2 * k)) / (2 * k) * 4.0**k for k, b in enumerate(_BERNOULLI, 1)]
)
_LARGE = 12.0
_MOST_TERMS = 1000  # of series that need less than a hundred
_HALF_LOG_TWO_PI = 0.9189385332046727


@piece
def _series(coefficients: Any, x: float) -> float:
    """Return x (c0 + x (c1 + ...))."""
    total = 0.0
    for k in range(len(coefficients) - 1, -1, -1):
        total = x * (coefficients[k] + total)
    return total


@piece
def _log_less_digamma(z: float) -> float:
    """Return log(z) - digamma(z)."""
    if z >= _LARGE:
        return 0.5 / z + _series(_DIGAMMA, 1.0 / (z * z))
    less = 0.0
    w = z
    while w < _LARGE:
        less += 1.0 / w
        w += 1.0
    return less + math.log(z / w) + 0.5 / w + _series(_DIGAMMA, 1.0 / (w * w))


@piece
def _trigamma(z: float) -> float:
    more = 0.0
    w = z
    while w < _LARGE:
        more += 1.0 / (w * w)
        w += 1.0
    return more + (1.0 + 0.5 / w + _series(_TRIGAMMA, 1.0 / (w * w))) / w


@piece
def _trigamma_fall(z: float, d: float) -> float:
    """Return trigamma(z) - trigamma(z + d), right for small d too."""
    fall = 0.0
    w = z
    while w < _LARGE or w + d < _LARGE:
        e = w + d
        fall += d / (w * e) * (1.0 / w + 1.0 / e)
        w += 1.0
    e = w + d
    fall += d / (w * e) * (1.0 + 0.5 * (1.0 / w + 1.0 / e))
    return fall + (_series(_TRIGAMMA, 1.0 / (w * w)) / w - _series(_TRIGAMMA, 1.0 / (e * e)) / e)


@piece
def _stirling(z: float) -> float:
    """Return the logarithm of gamma(z) over Stirling's formula for it."""
    if z >= _LARGE:
        return z * _series(_STIRLING, 1.0 / (z * z))
    return math.lgamma(z) - (z - 0.5) * math.log(z) + z - _HALF_LOG_TWO_PI


@piece
def _log_less(r: float, u: float) -> float:
    """Return log(r) - u, where u is r - 1."""
    if abs(u) > 0.4:
        return math.log(r) - u
    r = u / (2.0 + u)
    q = r * r
    total = 0.0
    for k in range(25, 1, -2):
        total = q * (1.0 / k + total)
    return r * (2.0 * total - u)


@piece
def _log_ratio(x: float, mean: float, u: float) -> float:
    """Return log(x / mean), where u is x / mean - 1."""
    return math.log1p(u) if abs(u) < 0.5 else math.log(x / mean)


# the gamma distribution


@piece
def _gamma_density(a: float, x: float) -> float:
    """Return x times the density."""
    if a >= _LARGE:
        u = (x - a) / a
        return math.sqrt(a) * math.exp(a * _log_less(x / a, u) - _stirling(a) - _HALF_LOG_TWO_PI)
    if x < 50.0:
        return a * math.pow(x, a) * math.exp(-x) / math.gamma(a + 1.0)
    return math.exp(a * math.log(x) - x - math.lgamma(a))


@piece
def _gamma_series(a: float, x: float, order: int) -> float:
    term = (
        math.pow(x, a) * math.exp(-x) / math.gamma(a + 1.0)
        if a < 100.0
        else _gamma_density(a, x) / a
    )
    z = a + 1.0
    logarithm = math.log(x) - math.log(z) + _log_less_digamma(z)
    curvature = _trigamma(z) if order == 2 else 0.0
    total = 0.0
    for _ in range(_MOST_TERMS):
        part = term * logarithm
        if order == 2:
            part = part * logarithm - term * curvature
        total += part
        if abs(part) <= 1e-18 * abs(total) and z > x + 1.0:
            break
        term *= x / z
        logarithm -= 1.0 / z
        curvature -= 1.0 / (z * z)
        z += 1.0
        if term == 0.0:
            break
    return total


@piece
def _gamma_derivative(a: float, x: float, order: int) -> float:
    """Differentiate the regularized lower incomplete gamma function by its shape."""
    if math.isnan(a) or math.isnan(x) or a < 0.0 or x < 0.0 or math.isinf(a):
        return math.nan
    if x == 0.0 or math.isinf(x):
        return 0.0
    if x < 1.5:
        return _gamma_series(a, x, order)
    # Of a shape below 1 the density is near 0 and the score near 1 / a: that part is taken out.
    small = a < 1.0
    b = a + 1.0 if small else a
    score = _log_ratio(x, b, (x - b) / b) + _log_less_digamma(b)
    sign = -1.0 if score < 0.0 and not small else 1.0  # to the left, towards 0, or to the right
    density = _gamma_density(b, x) / (x if small else 1.0)
    if density == 0.0:
        return 0.0
    variance = _trigamma(b) if order == 2 else 0.0
    scale = _gamma_scale(a, x, sign)
    total = 0.0
    for k in range(len(_POINTS)):
        s = sign * scale * _POINTS[k]
        lost = x * math.expm1(s) - a * s
        if lost > 750.0:
            break
        moved = score + s
        if small:
            factor = 1.0 + a * moved if order == 1 else moved * (2.0 + a * moved) - a * variance
        else:
            factor = moved if order == 1 else moved * moved - variance
        total += _WEIGHTS[k] * math.exp(-lost) * factor
    return -sign * density * scale * total


@piece
def _gamma_scale(a: float, x: float, sign: float) -> float:
    """Return where the integrand has fallen to about 1 / e."""
    low, high = 1e-20, 1e20
    for _ in range(40):
        middle = math.sqrt(low * high)
        s = sign * middle
        if x * math.expm1(s if s < 700.0 else 700.0) - a * s > 1.0:
            high = middle
        else:
            low = middle
    return low


# the beta distribution


@piece
def _beta_score(a: float, whole: float, x: float, u: float) -> float:
    """Return log(x) - digamma(a) + digamma(whole), less 1 / a where a is below 1."""
    less = _log_less_digamma(whole)
    if a < 1.0:
        return math.log(x) - math.log((a + 1.0) / whole) + (_log_less_digamma(a + 1.0) - less)
    logarithm = math.log1p(u) if abs(u) < 0.5 else math.log(x * (whole / a))
    return logarithm + (_log_less_digamma(a) - less)


@piece
def _beta_density(a: float, b: float, x: float, y: float) -> float:
    """Return x y times the density."""
    whole = a + b
    shift = b * x - a * y
    exponent = a * _log_less(x * (whole / a), shift / a) + b * _log_less(
        y * (whole / b), -shift / b
    )
    exponent += _stirling(whole) - _stirling(a) - _stirling(b) - _HALF_LOG_TWO_PI
    return math.sqrt(a / whole * b) * math.exp(exponent)


@piece
def _beta_tail(a: float, b: float, x: float, y: float, by_a: int, by_b: int) -> float:
    """Integrate from 0 to x the density with the scores by a and b; y is 1 - x."""
    whole = a + b
    shift = b * x - a * y
    u, w = shift / a, -shift / b
    density = _beta_density(a, b, x, y) / y
    if density == 0.0:
        return 0.0
    score_a, score_b = _beta_score(a, whole, x, u), _beta_score(b, whole, y, w)
    more_a, more_b = (1.0 / a if a < 1.0 else 0.0), (1.0 / b if b < 1.0 else 0.0)
    if by_a == 2:
        covariance = _trigamma_fall(a + 1.0, b - 1.0) if a < 1.0 else _trigamma_fall(a, b)
    elif by_b == 2:
        covariance = _trigamma_fall(b + 1.0, a - 1.0) if b < 1.0 else _trigamma_fall(b, a)
    else:
        covariance = -_trigamma(whole)
    ratio = x / y
    scale = 1.0 / a if b <= 1.0 else _beta_scale(a, b, ratio)
    total = 0.0
    for k in range(len(_POINTS)):
        s = scale * _POINTS[k]
        rise = math.log1p(-ratio * math.expm1(-s))
        lost = a * s - (b - 1.0) * rise
        if lost > 750.0:
            break
        first, second = score_a - s, score_b + rise
        if by_a == 2:
            factor = first * (first + 2.0 * more_a) - covariance
        elif by_b == 2:
            factor = second * (second + 2.0 * more_b) - covariance
        elif by_a == by_b:
            factor = (first + more_a) * (second + more_b) - covariance
        else:
            factor = first + more_a if by_a == 1 else second + more_b
        total += _WEIGHTS[k] * math.exp(-lost) * factor
    return density * scale * total


@piece
def _beta_scale(a: float, b: float, ratio: float) -> float:
    low, high = 1e-20, 1e20
    for _ in range(40):
        middle = math.sqrt(low * high)
        if a * middle - (b - 1.0) * math.log1p(-ratio * math.expm1(-middle)) > 1.0:
            high = middle
        else:
            low = middle
    return low


@piece
def _beta_series(a: float, b: float, x: float, y: float, by_a: int, by_b: int) -> float:
    """Sum for small x: x**(a + n) y**b gamma(a + b + n) / gamma(b) / gamma(a + n + 1)."""
    whole, z = a + b, a + 1.0
    c, beyond = (b + 1.0, a - 1.0) if b < 1.0 else (b, a)  # whole is c + beyond
    more = 1.0 / b if b < 1.0 else 0.0  # what is large of a small b
    term = _beta_density(a, b, x, y) / a
    less = _log_less_digamma(whole)
    first = math.log(x) + math.log(whole / z) + (_log_less_digamma(z) - less)
    second = (
        (math.log1p(-x) if x < 0.5 else math.log(y))
        + math.log1p(beyond / c)
        + (_log_less_digamma(c) - less)
    )
    # What the scores' derivatives by the shapes add up to.
    if by_a == 2:
        curvature = -_trigamma_fall(z, b - 1.0)
    elif by_b == 2:
        curvature = -_trigamma_fall(c, beyond)
    else:
        curvature = _trigamma(whole)
    total = 0.0
    for n in range(_MOST_TERMS):
        if by_a == 2:
            part = term * (first * first + curvature)
        elif by_b == 2:
            part = term * (second * (second + 2.0 * more) + curvature)
        elif by_a == by_b:
            part = term * (first * (second + more) + curvature)
        else:
            part = term * (first if by_a == 1 else second + more)
        total += part
        if (n > 2 and abs(part) <= 1e-18 * abs(total)) or term == 0.0:
            break
        term *= x * (whole / z)
        first += 1.0 / whole - 1.0 / z
        second += 1.0 / whole
        curvature -= 1.0 / (whole * whole) - (1.0 / (z * z) if by_a == 2 else 0.0)
        whole, z = whole + 1.0, z + 1.0
    return total


@piece
def _beta_value(a: float, b: float, x: float, y: float, by_a: int, by_b: int) -> float:
    """Differentiate the regularized incomplete beta function by its shapes; y is 1 - x."""
    whole = a + b
    shift = b * x - a * y
    if x < 0.4 and x * whole < 0.4 * (a + 1.0):
        return _beta_series(a, b, x, y, by_a, by_b)
    if y < 0.4 and y * whole < 0.4 * (b + 1.0):
        return -_beta_series(b, a, y, x, by_b, by_a)
    if by_b == 0:
        low = _beta_score(a, whole, x, shift / a) + (1.0 / a if a < 1.0 else 0.0) < 0.0
    elif by_a == 0:
        low = _beta_score(b, whole, y, -shift / b) + (1.0 / b if b < 1.0 else 0.0) > 0.0
    else:
        low = shift < 0.0
    if low:
        return _beta_tail(a, b, x, y, by_a, by_b)
    return -_beta_tail(b, a, y, x, by_b, by_a)


@piece
def _beta_derivative(a: float, b: float, x: float, by_a: int, by_b: int) -> float:
    if not (a > 0.0 and b > 0.0 and 0.0 <= x <= 1.0) or math.isinf(a) or math.isinf(b):
        return math.nan
    if x == 0.0 or x == 1.0:
        return 0.0
    return _beta_value(a, b, x, 1.0 - x, by_a, by_b)


# Student's t distribution


@piece
def _t_derivative(v: float, t: float, order: int) -> float:
    """Differentiate Student's distribution function at t by the degrees of freedom."""
    if math.isnan(v) or math.isnan(t) or v <= 0.0:
        return math.nan
    if t == 0.0 or math.isinf(t) or math.isinf(v):
        return 0.0
    side = 1.0 if t > 0.0 else -1.0
    t = abs(t)
    return side * (_t_by_beta(v, t, order) if v < 5.0 else _t_tail(v, t, order))


@piece
def _t_by_beta(v: float, t: float, order: int) -> float:
    """Go through the incomplete beta function of z = v / (v + t t), by the chain rule."""
    square = t * t
    z, y = v / (v + square), 1.0 / (1.0 + v / square)
    a = 0.5 * v
    along = _beta_density(a, 0.5, z, y) / v  # the density times the derivative of z by v
    by_a = _beta_value(a, 0.5, z, y, 1, 0)
    if order == 1:
        return -0.5 * (0.5 * by_a + along)
    score = _beta_score(a, a + 0.5, z, (0.5 * z - a * y) / a) + (1.0 / a if a < 1.0 else 0.0)
    # The density times z' has itself a derivative, by the shape and by z.
    second = 0.25 * _beta_value(a, 0.5, z, y, 2, 0)
    return -0.5 * (second + along * (score - 1.0 / v + (a * y - 0.5 * z) / v))


@piece
def _t_tail(v: float, t: float, order: int) -> float:
    half = 0.5 * v
    at_half = of_half = 0.0  # digamma(half + 1/2) - digamma(half) - 1 / v, and its derivative
    u = v
    while u < 24.0:
        step = 2.0 / (u * (u + 1.0) * (u + 2.0))
        at_half += step
        of_half -= step * (1.0 / u + 1.0 / (u + 1.0) + 1.0 / (u + 2.0))
        u += 2.0
    for k in range(len(_HALVES)):
        step = _HALVES[k] * u ** (-2.0 * (k + 1))
        at_half += step
        of_half -= 2.0 * (k + 1) / u * step
    w = t * t / v
    share = w / (1.0 + w)
    ratio = math.exp(
        _stirling(half + 0.5) - _stirling(half) + half * _log_less(1.0 + 0.5 / half, 0.5 / half)
    )
    density = t * ratio / math.sqrt(2.0 * math.pi) * math.exp(-(half + 0.5) * math.log1p(w))
    if density == 0.0:
        return 0.0
    sign = -1.0 if _t_score(w, v, at_half) > 0.0 else 1.0  # to the left, towards 0, or to the right
    low, high = 1e-20, 1e20
    for _ in range(40):
        middle = math.sqrt(low * high)
        s = sign * (middle if middle < 300.0 else 300.0)  # (Numba would compile `min` apart)
        if (half + 0.5) * math.log1p(share * math.expm1(2.0 * s)) - s > 1.0:
            high = middle
        else:
            low = middle
    scale = low
    total = 0.0
    for k in range(len(_POINTS)):
        s = sign * scale * _POINTS[k]
        lost = (half + 0.5) * math.log1p(share * math.expm1(2.0 * s)) - s
        if lost > 750.0:
            break
        there = w * math.exp(2.0 * s)
        factor = _t_score(there, v, at_half)
        if order == 2:
            rest = 1.0 / (1.0 + there)
            moved = there * rest * rest * (there - 1.0 / v) / v - there * rest / (v * v)
            factor = factor * factor + 0.5 * (of_half + moved)
        total += _WEIGHTS[k] * math.exp(-lost) * factor
    return -sign * density * scale * total


@piece
def _t_score(w: float, v: float, at_half: float) -> float:
    """Return the derivative of the density's logarithm by v, where w is t t / v."""
    share = w / (1.0 + w)
    # share - log(1 + w), which cancels for small w: log(r) - (r - 1), where r is 1 / (1 + w)
    return 0.5 * (at_half + _log_less(1.0 / (1.0 + w), -share) + share / v)


# as ufuncs, by name


def _gammainc_d1(a: float, x: float) -> float:
    return _gamma_derivative(a, x, 1)


def _gammainc_d2(a: float, x: float) -> float:
    return _gamma_derivative(a, x, 2)


def _stdtr_d1(v: float, t: float) -> float:
    return _t_derivative(v, t, 1)


def _stdtr_d2(v: float, t: float) -> float:
    return _t_derivative(v, t, 2)


def _betainc_a(a: float, b: float, x: float) -> float:
    return _beta_derivative(a, b, x, 1, 0)


def _betainc_b(a: float, b: float, x: float) -> float:
    return _beta_derivative(a, b, x, 0, 1)


def _betainc_aa(a: float, b: float, x: float) -> float:
    return _beta_derivative(a, b, x, 2, 0)


def _betainc_ab(a: float, b: float, x: float) -> float:
    return _beta_derivative(a, b, x, 1, 1)


def _betainc_bb(a: float, b: float, x: float) -> float:
    return _beta_derivative(a, b, x, 0, 2)


__getattr__ = ufuncs(
    *(_gammainc_d1, _gammainc_d2, _stdtr_d1, _stdtr_d2),
    *(_betainc_a, _betainc_b, _betainc_aa, _betainc_ab, _betainc_bb),
)
