"""Derivatives of Bessel functions by their order, which have no closed form.

Schläfli's integrals are differentiated under the sign: of K_v(x), for one, with t sinh(v t) in
place of cosh(v t). Where they would cancel there are other forms: the power series for small x,
and for J with v > x the path of steepest descent, on which the integrand is real and of one
sign; for large x Hankel's expansion, in which each term is a polynomial in v. Results are right
to about 1e-14 of the function's size, of J and Y that of its oscillation. Negative orders are
by reflection. Where J and Y have an order above the root of the argument, and both are beyond a
million, they are nan.

Integrals are summed by Gauss's rule of 16 points, panel by panel, each as wide as the
integrand's exponent lets it. All of a function and its first two derivatives by the order is
`order` 0, 1 and 2. The exponential scaling of `ive` and `kve` is kept.
"""

import math
from typing import Any

import numpy as np

from numtape.jit.compile import piece, ufuncs

__all__: list[str] = []

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES = 0.5 + 0.5 * _NODES
_WEIGHTS = 0.5 * _WEIGHTS
_NEGLIGIBLE = 45.0

# Where both the order and the argument are large, there are as many panels as oscillations.
_LONGEST = 1e6
_MOST_PANELS = 5000  # of an exponential, which has a thousand at 1e-300


# Python's own `min` and `max` Numba compiles as functions apart, not with ``NUMBA_DISABLE_JIT=1``.


@piece
def _least(a: float, b: float) -> float:
    return a if a < b else b


@piece
def _most(a: float, b: float) -> float:
    return a if a > b else b


@piece
def _cos_pi(v: float) -> float:
    r = abs(v) % 2.0
    if r == 0.5 or r == 1.5:
        return 0.0
    return math.cos(math.pi * r)


@piece
def _sin_pi(v: float) -> float:
    r = v - 2.0 * math.floor(0.5 * v + 0.5) if abs(v) < 1e15 else 0.0
    if r == 0.0 or abs(r) == 1.0:
        return 0.0
    return math.sin(math.pi * r)


@piece
def _digamma(z: float) -> float:
    less = 0.0
    while z < 12.0:
        less += 1.0 / z
        z += 1.0
    q = 1.0 / (z * z)
    series = 1 / 132 - q * (691 / 32760 - q / 12)
    series = q * (1 / 12 - q * (1 / 120 - q * (1 / 252 - q * (1 / 240 - q * series))))
    return math.log(z) - 0.5 / z - series - less


@piece
def _trigamma(z: float) -> float:
    more = 0.0
    while z < 12.0:
        more += 1.0 / (z * z)
        z += 1.0
    q = 1.0 / (z * z)
    series = 1 / 30 - q * (5 / 66 - q * (691 / 2730 - q * 7 / 6))
    series = 1.0 / 6.0 - q * (1 / 30 - q * (1 / 42 - q * series))
    return more + (1.0 + 0.5 / z + q * series) / z


@piece
def _differentiated(term: float, score: float, curvature: float, order: int) -> float:
    """Differentiate a term by v, of whose logarithm `score` and `-curvature` are."""
    if order == 1:
        return term * score
    return term * (score * score - curvature) if order == 2 else term


@piece
def _power_series(v: float, x: float, order: int) -> float:
    """Sum the power series of J for v >= 0."""
    half = 0.5 * x
    log = math.log(x) - 0.6931471805599453
    term = (
        math.exp(v * log - math.lgamma(v + 1.0))
        if v > 100.0
        else (math.pow(x, v) * math.pow(0.5, v) / math.gamma(v + 1.0))
    )
    score = log - _digamma(v + 1.0)
    curvature = _trigamma(v + 1.0)
    total = 0.0
    for k in range(1, 1000):
        total += _differentiated(term, score, curvature, order)
        z = v + k
        if (k > 3 and abs(term) * (score * score + 1.0) <= 1e-18 * abs(total)) or term == 0.0:
            break
        term *= -half * half / (k * z)
        score -= 1.0 / z
        curvature -= 1.0 / (z * z)
    return total


@piece
def _turned(t: float, v: float, order: int, imaginary: bool) -> float:
    """Return the real or imaginary part of (-t + i pi)**order exp(i pi v)."""
    c, s = _cos_pi(v), _sin_pi(v)
    a, b = 1.0, 0.0
    for _ in range(order):
        a, b = -t * a - math.pi * b, -t * b + math.pi * a
    return a * s + b * c if imaginary else a * c - b * s


@piece
def _rise(t: float, v: float, x: float, is_modified: bool) -> float:
    """Return the exponent v t - x sinh(t), or v t - x (cosh(t) - 1)."""
    if is_modified:
        half = math.sinh(0.5 * t)
        return v * t - 2.0 * x * half * half
    return v * t - x * math.sinh(t)


@piece
def _width(t: float, v: float, x: float, is_modified: bool) -> float:
    """Return how wide a panel may be that begins at t."""
    c, s = x * math.cosh(t), x * math.sinh(t)
    slope = abs(v - (s if is_modified else c))
    return _least(0.7, _least(4.0 / (slope + 1e-300), 2.0 / math.sqrt(c)))


@piece
def _exponential(v: float, x: float, order: int, kind: int) -> float:
    """Integrate exp(v t - x sinh(t)), and what goes with it, over t from 0.

    Kind 0 is of t**order; 1 and 2 are of the real and the imaginary part of
    (-t + i pi)**order exp(-i pi v), of a negative v; 3 is of K: exp(-x (cosh(t) - 1)) times
    t**order cosh(v t), or sinh.
    """
    is_modified = kind == 3
    peak = 0.0
    if is_modified:
        peak = math.asinh(v / x)
    elif v > x:
        peak = math.acosh(v / x)
    highest = _rise(peak, v, x, is_modified)
    if not highest <= 710.0:
        return math.inf
    t = 0.0
    if _rise(0.0, v, x, is_modified) < highest - _NEGLIGIBLE:
        low, high = 0.0, peak
        for _ in range(50):
            middle = 0.5 * (low + high)
            if _rise(middle, v, x, is_modified) < highest - _NEGLIGIBLE:
                low = middle
            else:
                high = middle
        t = low
    total = 0.0
    for _ in range(_MOST_PANELS):
        width = _width(t, v, x, is_modified)
        for k in range(len(_NODES)):
            u = t + width * _NODES[k]
            factor = 1.0
            if kind == 1 or kind == 2:
                factor = _turned(u, -v, order, kind == 2)
            elif order > 0:
                factor = u if order == 1 else u * u
            if is_modified:
                fall = math.expm1(-2.0 * v * u)
                factor *= -0.5 * fall if order == 1 else 1.0 + 0.5 * fall
            total += width * _WEIGHTS[k] * factor * math.exp(_rise(u, v, x, is_modified))
        t += width
        if t > peak and _rise(t, v, x, is_modified) < highest - _NEGLIGIBLE:
            return total
    return math.nan


@piece
def _oscillating(v: float, x: float, order: int, is_second: bool) -> float:
    """Integrate cos(v s - x sin(s)), or -sin, from 0 to pi, differentiated by v."""
    if x + v > _LONGEST:
        return math.nan
    panels: Any = np.int64((x + v) * math.pi / 8.0) + 2
    width = math.pi / panels
    total = 0.0
    for panel in range(panels):
        for k in range(len(_NODES)):
            s = width * (panel + _NODES[k])
            phase = v * s - x * math.sin(s)
            if order == 1:
                factor = -s * (math.cos(phase) if is_second else math.sin(phase))
            else:
                factor = -math.sin(phase) if is_second else math.cos(phase)
                if order == 2:
                    factor *= -s * s
            total += width * _WEIGHTS[k] * factor
    return total / math.pi


@piece
def _descent(v: float, x: float, order: int) -> float:
    """Return J for v > x: along w(s) + i s the exponent x sinh(w + i s) - v (w + i s) is real."""
    ratio = x / v
    gap = (v - x) / v * (1.0 + ratio)  # 1 - ratio**2
    spread = 1.0 / math.sqrt(_most(v * math.sqrt(gap), math.pow(x, 2.0 / 3.0)))
    end = _least(math.pi, 9.0 * spread)
    total = 0.0
    panels = 10
    width = end / panels
    for panel in range(panels):
        for k in range(len(_NODES)):
            s = width * (panel + _NODES[k])
            sine, cosine = math.sin(s), math.cos(s)
            if s < 0.5:
                q = s * s
                less = (
                    s
                    * q
                    / 6.0
                    * (
                        1.0
                        - q
                        / 20.0
                        * (
                            1.0
                            - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0 * (1.0 - q / 156.0)))
                        )
                    )
                )  # s - sin(s)
                bend = (
                    s
                    * q
                    / 3.0
                    * (
                        1.0
                        - q
                        / 10.0
                        * (1.0 - q / 28.0 * (1.0 - q / 54.0 * (1.0 - q / 88.0 * (1.0 - q / 130.0))))
                    )
                )  # sin(s) - s cos(s)
            else:
                less, bend = s - sine, sine - s * cosine
            root = math.sqrt(less * (s + sine) + gap * sine * sine)
            sinh = root / (ratio * sine)
            w = math.asinh(sinh)
            slope = bend / (sine * root)
            if order == 0:
                factor = 1.0
            elif order == 1:
                factor = -(w + s * slope)
            else:
                factor = w * w - s * s + 2.0 * w * s * slope
            total += width * _WEIGHTS[k] * factor * math.exp(x * sinh * cosine - v * w)
    return total / math.pi


@piece
def _hankel(v: float, x: float, order: int, kind: int) -> float:
    """Return for large x J (kind 0), Y (1) or exp(-x) I (2), or a derivative by v."""
    real = imaginary = 0.0  # of the sum, differentiated by v; and of lower orders
    real1 = imaginary1 = real0 = imaginary0 = 0.0
    a, a1, a2 = 1.0, 0.0, 0.0  # the coefficient over x**k and its derivatives
    size = math.inf
    for k in range(200):
        value = a if order == 0 else a1 if order == 1 else a2
        largest = _most(abs(a), _most(abs(a1), abs(a2)))
        if largest > size or largest < 1e-18:
            break
        size = largest if k > v else math.inf
        # Of J and Y the powers of i alternate, of I the signs.
        if kind == 2:
            real += value if k % 2 == 0 else -value
        else:
            sign = 1.0 if k % 4 < 2 else -1.0
            if k % 2 == 0:
                real, real1, real0 = real + sign * value, real1 + sign * a1, real0 + sign * a
            else:
                imaginary += sign * value
                imaginary1, imaginary0 = imaginary1 + sign * a1, imaginary0 + sign * a
        odd = 2.0 * k + 1.0
        b, b1, b2 = 4.0 * v * v - odd * odd, 8.0 * v, 8.0
        scale = 1.0 / (8.0 * (k + 1) * x)
        a, a1, a2 = (
            scale * a * b,
            scale * (a1 * b + a * b1),
            scale * (a2 * b + 2.0 * a1 * b1 + a * b2),
        )
    if kind == 2:
        return real / math.sqrt(2.0 * math.pi * x)
    # (real + i imaginary) exp(i (x - v pi / 2 - pi / 4)), whose phase has derivatives too.
    turn = -0.5 * math.pi
    if order == 1:
        real, imaginary = real1 - turn * imaginary0, imaginary1 + turn * real0
    elif order == 2:
        real, imaginary = (
            real - 2.0 * turn * imaginary1 - turn * turn * real0,
            imaginary + 2.0 * turn * real1 - turn * turn * imaginary0,
        )
    c, s = math.cos(x), math.sin(x)
    shift = 0.5 * v + 0.25
    d, e = _cos_pi(shift), _sin_pi(shift)
    c, s = c * d + s * e, s * d - c * e
    found = real * s + imaginary * c if kind == 1 else real * c - imaginary * s
    return found * math.sqrt(2.0 / (math.pi * x))


@piece
def _first_kind(v: float, x: float, order: int) -> float:
    """Return J for v >= 0, or a derivative of it by v."""
    if x * x <= 4.0 * (v + 1.0):
        return _power_series(v, x, order)
    if x > 50.0 and x > v * v:
        return _hankel(v, x, order, 0)
    if v > x:
        return _descent(v, x, order)
    # The turned exponential belongs to a negative order: that of exp(-v t - x sinh(t)).
    return _oscillating(v, x, order, False) - _exponential(-v, x, order, 2) / math.pi


@piece
def _second_kind(v: float, x: float, order: int) -> float:
    """Return Y for v >= 0, or a derivative of it by v."""
    if x > 50.0 and x > v * v:
        return _hankel(v, x, order, 1)
    growing = _exponential(v, x, order, 0) + _exponential(-v, x, order, 1)
    return _oscillating(v, x, order, True) - growing / math.pi


@piece
def _ordinary(v: float, x: float, order: int, is_second: bool) -> float:
    if math.isnan(v) or math.isnan(x) or math.isinf(v) or x < 0.0:
        return math.nan
    if math.isinf(x):
        return 0.0
    if x == 0.0:
        return 0.0 if v > 0.0 and not is_second else math.nan
    if v >= 0.0:
        return _second_kind(v, x, order) if is_second else _first_kind(v, x, order)
    # J(-v) = c J(v) - s Y(v) and Y(-v) = s J(v) + c Y(v), where c + i s = exp(i pi v).
    v = -v
    c, s = _cos_pi(v), _sin_pi(v)
    total = 0.0
    for k in range(order + 1):  # Leibniz's rule, in which each derivative of c + i s turns it
        first, second = _first_kind(v, x, order - k), _second_kind(v, x, order - k)
        times = math.pow(math.pi, k) * (2.0 if order == 2 and k == 1 else 1.0)
        part = s * first + c * second if is_second else c * first - s * second
        total += times * part if times * part != 0.0 else 0.0
        c, s = -s, c
    return -total if order == 1 else total


@piece
def _modified(v: float, x: float, order: int) -> float:
    """Return exp(-x) I for v >= 0, or a derivative of it by v."""
    if x <= 2.0 or v * v > 4.0 * x:
        return _power_series_scaled(v, x, order)
    if x > 50.0:
        return _hankel(v, x, order, 2)
    end = math.acos(1.0 - _NEGLIGIBLE / x) if x > _NEGLIGIBLE / 2.0 else math.pi
    panels: Any = np.int64(end * (v + math.sqrt(x)) / 3.0) + 2
    width = end / panels
    total = 0.0
    for panel in range(panels):
        for k in range(len(_NODES)):
            s = width * (panel + _NODES[k])
            half = math.sin(0.5 * s)
            factor = math.cos(v * s) if order != 1 else -s * math.sin(v * s)
            if order == 2:
                factor *= -s * s
            total += width * _WEIGHTS[k] * factor * math.exp(-2.0 * x * half * half)
    small = 0.0
    t = 0.0
    while (
        v * t + x * (math.cosh(t) + 1.0) < 745.0 and v * t + x * (math.cosh(t) - 1.0) < _NEGLIGIBLE
    ):
        bound = _least(4.0 / (v + x * math.sinh(t) + 1e-300), 2.0 / math.sqrt(x * math.cosh(t)))
        width = _least(0.7, bound)
        for k in range(len(_NODES)):
            u = t + width * _NODES[k]
            lost = v * u + x * (math.cosh(u) + 1.0)
            small += width * _WEIGHTS[k] * _turned(u, v, order, True) * math.exp(-lost)
        t += width
    return (total - small) / math.pi


@piece
def _power_series_scaled(v: float, x: float, order: int) -> float:
    """Sum exp(-x) times the power series of I, in which nothing overflows."""
    half = 0.5 * x
    log = math.log(x) - 0.6931471805599453
    # From the largest term on both sides.
    if v + x > 1e12:
        return math.nan
    middle = float(math.floor(0.5 * (math.sqrt(v * v + x * x) - v)))
    start = (2.0 * middle + v) * log - x
    start = math.exp(start - math.lgamma(middle + 1.0) - math.lgamma(middle + v + 1.0))
    total = 0.0
    for side in range(2):
        term, k = start, middle
        z = v + k + 1.0
        score, curvature = log - _digamma(z), _trigamma(z)
        while True:
            if side == 0 or k < middle:
                total += _differentiated(term, score, curvature, order)
            if not term > 1e-19 * start:
                break
            if side == 0:
                k += 1.0
                z = v + k
                term *= half / k * (half / z)
                score -= 1.0 / z
                curvature -= 1.0 / (z * z)
            else:
                if k == 0.0:
                    break
                z = v + k
                term *= k / half * (z / half)
                score += 1.0 / z
                curvature += 1.0 / (z * z)
                k -= 1.0
    return total


@piece
def _scaled_first(v: float, x: float, order: int) -> float:
    if math.isnan(v) or math.isnan(x) or math.isinf(v) or x < 0.0:
        return math.nan
    if math.isinf(x):
        return 0.0
    if x == 0.0:
        return 0.0 if v > 0.0 else math.nan
    if v >= 0.0:
        return _modified(v, x, order)
    # I(-v) = I(v) + 2 / pi sin(pi v) K(v)
    v = -v
    total = _modified(v, x, order)
    c, s = _cos_pi(v), _sin_pi(v)
    small = math.exp(-2.0 * x) if x < 370.0 else 0.0
    for k in range(order + 1):
        times = 2.0 / math.pi * math.pow(math.pi, k) * (2.0 if order == 2 and k == 1 else 1.0)
        part = times * s * small
        total += part * _exponential(v, x, order - k, 3) if part != 0.0 else 0.0
        c, s = -s, c
    return -total if order == 1 else total


@piece
def _scaled_second(v: float, x: float, order: int) -> float:
    if math.isnan(v) or math.isnan(x) or math.isinf(v) or x < 0.0 or x == 0.0:
        return math.nan
    if math.isinf(x):
        return 0.0
    found = _exponential(abs(v), x, order, 3)
    return -found if order == 1 and v < 0.0 else found


# as ufuncs, by name


def _jv_d1(v: float, x: float) -> float:
    return _ordinary(v, x, 1, False)


def _jv_d2(v: float, x: float) -> float:
    return _ordinary(v, x, 2, False)


def _yv_d1(v: float, x: float) -> float:
    return _ordinary(v, x, 1, True)


def _yv_d2(v: float, x: float) -> float:
    return _ordinary(v, x, 2, True)


def _ive_d1(v: float, x: float) -> float:
    return _scaled_first(v, x, 1)


def _ive_d2(v: float, x: float) -> float:
    return _scaled_first(v, x, 2)


def _kve_d1(v: float, x: float) -> float:
    return _scaled_second(v, x, 1)


def _kve_d2(v: float, x: float) -> float:
    return _scaled_second(v, x, 2)


__getattr__: Any = ufuncs(_jv_d1, _jv_d2, _yv_d1, _yv_d2, _ive_d1, _ive_d2, _kve_d1, _kve_d2)
