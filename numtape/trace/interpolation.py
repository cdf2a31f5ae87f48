"""Interpolants of `scipy.interpolate` at traced points.

They are piecewise polynomials with fixed coefficients. Which piece a point is in is
searched at each run, and its coefficients are taken: nothing is guarded as points move
from piece to piece. At a breakpoint the derivative is that of the piece that SciPy
evaluates, the one to the right.
"""

import math
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.ops.table import load_ufunc
from numtape.trace.linalg import matrix_of
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import is_traced

__all__: list[str] = []


def _unsupported(what: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} at {user_location()}: numtape has no rule for it. {remedy}",
        code="unsupported-option",
    )


def _evaluated(
    breaks: Any, coefficients: Any, x: Any, order: int, axis: int, extrapolate: Any
) -> Any:
    """Evaluate a piecewise polynomial, or its derivative of an order, at points of any shape.

    Coefficients are SciPy's: by power from the highest, then by piece, then by whatever
    else is interpolated.
    """
    if is_traced(coefficients) or is_traced(breaks):
        raise _unsupported(
            "an interpolant of traced values, evaluated", "Only the points may be traced"
        )
    if breaks[0] > breaks[-1]:
        raise _unsupported("a piecewise polynomial with falling breakpoints", "Turn them round")
    x = matrix_of(x)
    shape, x = x.shape, np.reshape(x, (-1,))
    if extrapolate == "periodic":
        x = breaks[0] + np.remainder(x - breaks[0], breaks[-1] - breaks[0])
    rest = coefficients.shape[2:]
    pieces = coefficients.shape[1]
    table = np.concatenate(
        [
            coefficients.reshape(-1, pieces, int(np.prod(rest)))
            .transpose(1, 0, 2)
            .reshape(pieces, -1),
            breaks[:-1, None],
        ],
        axis=1,
    )
    chosen = matrix_of(table, x)[np.searchsorted(breaks[1:-1], x, side="right")]
    distance = (x - chosen[:, -1])[:, None]
    powers = np.reshape(chosen[:, :-1], (x.size, coefficients.shape[0], -1))
    result: Any = 0.0 * distance if order >= coefficients.shape[0] else None
    factor: Any = 1.0
    # From the lowest power upwards, as SciPy does.
    for power in range(order, coefficients.shape[0]):
        falling = float(np.prod([power - k for k in range(order)]))
        term = powers[:, coefficients.shape[0] - 1 - power] * falling
        term = term * factor if power > order else term
        result = term if result is None else result + term
        factor = factor * distance if power > order else distance
    result = np.broadcast_to(result, (x.size, int(np.prod(rest))))
    if extrapolate is False or extrapolate == 0:
        inside = np.logical_and(x >= breaks[0], x <= breaks[-1])
        if not np.all(inside):
            result = np.where(inside[:, None], result, np.nan)
    result = np.reshape(result, shape + rest)
    if axis:
        places = list(range(len(shape) + len(rest)))
        rank = len(shape)
        places = places[rank : rank + axis] + places[:rank] + places[rank + axis :]
        result = np.transpose(result, places)
    return result


@stands_in_for("scipy.interpolate._interpolate", "_PPolyBase.__call__")
def _polynomial(self: Any, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
    polynomials: Any = load_ufunc("scipy.interpolate.PPoly")
    if not isinstance(self, polynomials):
        raise _unsupported(
            f"scipy.interpolate.{type(self).__name__} at a traced point", "Use a PPoly"
        )
    extrapolate = self.extrapolate if extrapolate is None else extrapolate
    if nu < 0:
        return _polynomial(self.antiderivative(-nu), x, 0, extrapolate)
    return _evaluated(np.asarray(self.x), np.asarray(self.c), x, nu, self.axis, extrapolate)


def _spline_at(
    evaluate: Any, knots: Any, degree: int, x: Any, order: int, axis: int, extrapolate: Any
) -> Any:
    """Evaluate a spline, from its own derivatives at its knots."""
    breaks = np.unique(knots[degree : len(knots) - degree])
    coefficients = [
        np.moveaxis(evaluate(breaks[:-1], power), axis, 0) / math.factorial(power)
        for power in range(degree, -1, -1)
    ]
    return _evaluated(breaks, np.stack(coefficients), x, order, axis, extrapolate)


@stands_in_for("scipy.interpolate", "BSpline.__call__")
def _spline(self: Any, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
    extrapolate = self.extrapolate if extrapolate is None else extrapolate
    return _spline_at(self, np.asarray(self.t), self.k, x, nu, self.axis, extrapolate)


@stands_in_for("scipy.interpolate", "splev")
def _splev(x: Any, tck: Any, der: int = 0, ext: int = 0) -> Any:
    if ext != 0:
        raise _unsupported(f"scipy.interpolate.splev(x, tck, ext={ext})", "Leave ext out")
    knots, _, degree = tck.tck if hasattr(tck, "tck") else tck
    splev = load_ufunc("scipy.interpolate.splev")
    return _spline_at(lambda at, power: splev(at, tck, power), knots, degree, x, der, 0, True)


@stands_in_for("scipy.interpolate", "UnivariateSpline.__call__")
def _univariate_spline(self: Any, x: Any, nu: int = 0, ext: Any = None) -> Any:
    ext = self.ext if ext is None else ext
    if ext not in (0, "extrapolate"):
        raise _unsupported(f"a UnivariateSpline with ext={ext!r}", "Leave ext out")
    knots, _, degree = self._eval_args
    return _spline_at(self, knots, degree, x, nu, 0, True)


@stands_in_for("scipy.interpolate._polyint", "_Interpolator1D.__call__")
def _one_dimensional(self: Any, x: Any) -> Any:
    name = type(self).__name__
    kind = getattr(self, "_kind", None)
    if kind is None or kind in ("nearest", "nearest-up", "previous", "next"):
        shown = name if kind is None else f"{name}(kind={kind!r})"
        raise _unsupported(
            f"scipy.interpolate.{shown} at a traced point",
            "Use CubicSpline, PchipInterpolator, make_interp_spline or interp1d(kind='linear')",
        )
    x = matrix_of(x)
    low, high = self.x[0], self.x[-1]
    if hasattr(self, "_spline"):
        values = _spline(self._spline, x, 0, True)
    else:
        steps = np.diff(self.x).reshape((-1,) + (1,) * (self._y.ndim - 1))
        slopes = np.diff(self._y, axis=0) / steps
        values = _evaluated(self.x, np.stack([slopes, self._y[:-1]]), x, 0, 0, True)
    # Outside: refused, filled, or extrapolated, as the interpolant was made.
    below, above = x < low, x > high
    is_outside = not np.all(np.logical_not(np.logical_or(below, above)))
    if is_outside and self.bounds_error:
        raise InputError(
            f"a traced point is outside the range of an interp1d, {low} to {high}: make it with "
            "bounds_error=False, or with fill_value='extrapolate'"
        )
    if is_outside and not self._extrapolate:
        fill_below, fill_above = self._fill_value_below, self._fill_value_above
        values = np.reshape(values, (x.size, -1))
        values = np.where(np.reshape(below, (-1, 1)), np.ravel(fill_below), values)
        values = np.where(np.reshape(above, (-1, 1)), np.ravel(fill_above), values)
    values = np.reshape(values, (x.size, *self._y_extra_shape))
    values = np.reshape(values, x.shape + self._y_extra_shape)
    axis = self._y_axis
    if axis and self._y_extra_shape:
        places = list(range(values.ndim))
        places = places[x.ndim : x.ndim + axis] + places[: x.ndim] + places[x.ndim + axis :]
        values = np.transpose(values, places)
    return values
