"""Derivatives of the incomplete elliptic integrals by their parameter, and Lambert's function.

Of F(phi, m) the first and the second derivatives by m are the integrals of
``sin**2 / (2 D**3)`` and ``3 sin**4 / (4 D**5)``, of E(phi, m) those of ``-sin**2 / (2 D)`` and
``-sin**4 / (4 D**3)``, where ``D**2 = 1 - m sin**2``: of one sign, so nothing cancels. They are
summed by the tanh-sinh rule, whose points crowd at the ends, where the integrand may rise.
"""

import math
from typing import Any

import numpy as np

from numtape.jit.compile import piece, ufuncs

__all__: list[str] = []

# The points of the rule, as shares of the interval, and their weights; from the other end they
# are the same backwards.
_STEP = 1.0 / 64.0
_V = np.arange(-208, 209) * _STEP
_SHARES = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(_V)))
_WEIGHTS = _STEP * math.pi * np.cosh(_V) * _SHARES * _SHARES[::-1]


@piece
def _integral(phi: float, m: float, order: int, power: int) -> float:
    """Integrate sin**(2 order) / D**power from 0 to phi, at most a right angle."""
    rest = 0.5 * math.pi - phi
    total = 0.0
    for k in range(len(_SHARES)):
        theta = phi * _SHARES[k]
        sine = math.sin(theta)
        square = sine * sine
        if theta < 0.8:
            below = 1.0 - m * square
        else:
            cosine = math.sin(rest + phi * _SHARES[len(_SHARES) - 1 - k])
            below = (1.0 - m) + m * cosine * cosine
        if below <= 0.0:
            return math.inf if below == 0.0 else math.nan
        term = _WEIGHTS[k] * square / math.sqrt(below)
        for _ in range(power // 2):
            term /= below
        total += term if order == 1 else term * square
    return phi * total


@piece
def _by_parameter(phi: float, m: float, order: int, power: int) -> float:
    if math.isnan(m) or not abs(phi) < 1e15:  # beyond, it has no digits within a turn
        return math.nan
    turns = float(round(phi / math.pi))
    rest = phi - turns * math.pi
    total = math.copysign(_integral(abs(rest), m, order, power), rest)
    if turns != 0.0:
        total += 2.0 * turns * _integral(0.5 * math.pi, m, order, power)
    return total


@piece
def _lambert(x: float, w: float) -> float:
    """Solve w exp(w) = x by Halley's iteration."""
    for _ in range(20):
        e = math.exp(w)
        off = w * e - x
        step = off / (e * (w + 1.0) - (w + 2.0) * off / (2.0 * w + 2.0))
        if not abs(step) > 1e-16 * abs(w):
            break
        w -= step
        if abs(step) < 1e-9 * abs(w):  # the next one is below rounding
            break
    return w


@piece
def _near_branch(x: float, side: float) -> float:
    # (Not by `max`, which Numba would compile as a function of its own.)
    above = 2.0 * (math.e * x + 1.0)
    p = side * math.sqrt(above if above > 0.0 else 0.0)
    return -1.0 + p * (1.0 + p * (-1.0 / 3.0 + p * (11.0 / 72.0 - p * 43.0 / 540.0)))


# as ufuncs, by name


def _ellipkinc_m(phi: float, m: float) -> float:
    return 0.5 * _by_parameter(phi, m, 1, 3)


def _ellipkinc_mm(phi: float, m: float) -> float:
    return 0.75 * _by_parameter(phi, m, 2, 5)


def _ellipeinc_m(phi: float, m: float) -> float:
    return -0.5 * _by_parameter(phi, m, 1, 1)


def _ellipeinc_mm(phi: float, m: float) -> float:
    return -0.25 * _by_parameter(phi, m, 2, 3)


def _lambert_upper(x: float) -> float:
    """Return the branch of Lambert's function that is 0 at 0."""
    if x == 0.0 or math.isinf(x):
        return x if x > -1.0 else math.nan
    if not x >= -0.36787944117144233:
        return math.nan
    if x < -0.3678794:
        return _near_branch(x, 1.0)
    if x < -0.2:
        return _lambert(x, _near_branch(x, 1.0))
    if x < 2.0:
        return _lambert(x, x / (1.0 + x))
    return _lambert(x, math.log(x) - math.log(math.log(x) + 0.5))


def _lambert_lower(x: float) -> float:
    """Return the branch that falls to -inf at 0."""
    if x == 0.0:
        return -math.inf
    if not -0.36787944117144233 <= x < 0.0:
        return math.nan
    if x < -0.3678794:
        return _near_branch(x, -1.0)
    if x < -0.2:
        return _lambert(x, _near_branch(x, -1.0))
    log = math.log(-x)
    return _lambert(x, log - math.log(-log))


__getattr__: Any = ufuncs(
    *(_ellipkinc_m, _ellipkinc_mm, _ellipeinc_m, _ellipeinc_mm),
    *(_lambert_upper, _lambert_lower),
)
