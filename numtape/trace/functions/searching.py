"""Where points lie among sorted numbers, and interpolation there."""

from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.trace.functions.common import implements, integers_of, traced_or_array
from numtape.trace.functions.indexing import clipped, take_along
from numtape.trace.functions.order import argsort
from numtape.trace.traced import as_floats, as_traced, innermost, wrap

__all__: list[str] = []


@implements("searchsorted")
def _searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    recorder = innermost(a, v, sorter)
    numbers, points = as_floats(as_traced(recorder, a)), as_floats(as_traced(recorder, v))
    if side not in ("left", "right"):
        raise InputError(
            f"np.searchsorted(..., side={side!r}): it must be 'left' or 'right'. Give one of these"
        )
    if sorter is not None:
        numbers = numbers[sorter]
    flat = np.ravel(np.atleast_1d(points))
    values = np.searchsorted(numbers.primals, points.primals, side)
    if not numbers.size or not flat.size:
        return integers_of(recorder, values)
    slots = recorder.search(numbers.slots, flat.slots, side == "right")
    return wrap(recorder, slots.reshape(points.shape), values)


@implements("digitize")
def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    bins = traced_or_array(bins)
    if np.all(bins[:-1] <= bins[1:]):
        return np.searchsorted(bins, x, side="left" if right else "right")
    if not np.all(bins[:-1] >= bins[1:]):
        raise InputError(
            f"np.digitize with bins {bins}: they must rise or fall all the way. Sort them before"
        )
    return len(bins) - np.searchsorted(bins[::-1], x, side="right" if right else "left")


@implements("interp", linear="fp left right")
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    recorder = innermost(x, xp, fp, left, right, period)
    x, xp, fp = (as_floats(as_traced(recorder, each)) for each in (x, xp, fp))
    n = len(xp)
    if n != len(fp) or n == 0:
        raise InputError(
            f"np.interp: xp has {n} elements and fp {len(fp)}; give as many of both, at least one"
        )
    if period is not None:
        if period == 0:
            raise InputError("np.interp with period = 0: it must not be 0. Leave it out for none")
        period = abs(period)
        x, xp = x % period, xp % period
        order = argsort(xp)
        xp, fp = (take_along(each, order, 0, checked=True) for each in (xp, fp))
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
        left = right = None
        n += 2
    points = np.ravel(np.atleast_1d(x))
    # The knot at or before each point; the slope of the last interval serves the last knot too.
    found = np.searchsorted(xp, points, side="right")
    knot = clipped(found - 1, n)
    left, right = (
        end if given is None else given for given, end in ((left, fp[0]), (right, fp[-1]))
    )
    result = take_along(fp, knot, 0, checked=True)
    if n > 1:
        with np.errstate(divide="ignore", invalid="ignore"):  # knots that are equal
            slopes = (fp[1:] - fp[:-1]) / (xp[1:] - xp[:-1])
        slope = take_along(slopes, clipped(knot, n - 1), 0, checked=True)
        before = take_along(xp, knot, 0, checked=True)
        rise = slope * (points - before)
        # At a knot the value is its own, also where the slope is infinite.
        result = np.where(np.isnan(rise) & (points == before), result, rise + result)
    result = np.where(points < xp[0], left, result)
    result = np.where(points > xp[-1], right, result)
    return np.reshape(result, x.shape) if np.ndim(x) else result[0]
