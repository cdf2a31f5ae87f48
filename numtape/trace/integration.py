"""`scipy.integrate`'s rules for sampled functions, on traced samples.

Each is a weighted sum of the samples.
"""

from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.ops.table import load_ufunc
from numtape.trace.integers import typed
from numtape.trace.linalg import matrix_of
from numtape.trace.substitutes import stands_in_for
from numtape.trace.traced import is_traced

__all__: list[str] = []


def _last(a: Any, axis: int, rank: int) -> Any:
    """Return the samples, or their abscissae, along the last axis."""
    return a if a.ndim < rank or rank == 1 else np.moveaxis(a, axis, -1)


def _samples(y: Any, x: Any, axis: int) -> tuple[Any, Any]:
    y = matrix_of(y, x)
    rank = y.ndim
    if x is None:
        return _last(y, axis, rank), None
    x = matrix_of(x, y) if is_traced(x) or isinstance(x, list | tuple) else np.asarray(x, float)
    return _last(y, axis, rank), _last(x, axis, rank)


def _panels(y: Any, x: Any, dx: Any, axis: int) -> Any:
    y, x = _samples(y, x, axis)
    steps = dx if x is None else x[..., 1:] - x[..., :-1]
    return steps * (y[..., 1:] + y[..., :-1]) / 2.0


def _check(name: str, y: Any, x: Any, dx: Any, axis: int) -> None:
    """Let SciPy raise its error, of shapes that do not fit."""
    y = np.asarray(typed(matrix_of(y, x)))
    x = None if x is None else np.asarray(typed(matrix_of(x, y)))
    load_ufunc(f"scipy.integrate.{name}")(y, x=x, dx=typed(dx), axis=axis)


@stands_in_for("scipy.integrate", "trapezoid")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = matrix_of(y, x)
    if x is not None:
        x = matrix_of(x, y)
        x = x if x.ndim == 1 else np.broadcast_to(x, y.shape)
    return np.trapezoid(y, x, dx, axis)


@stands_in_for("scipy.integrate", "cumulative_trapezoid")
def _cumulative_trapezoid(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    if initial not in (None, 0):
        raise InputError(
            f"cumulative_trapezoid(..., initial={initial!r}): it must be 0 or None. Add the value "
            "to the result instead"
        )
    _check("cumulative_trapezoid", y, x, dx, axis)
    running = np.cumsum(_panels(y, x, dx, axis), axis=-1)
    if initial is not None:
        running = np.concatenate([0.0 * running[..., :1], running], axis=-1)
    return np.moveaxis(running, -1, axis)


@stands_in_for("scipy.integrate", "simpson")
def _simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Any:
    _check("simpson", y, x, dx, axis)
    if not is_traced(x) and not is_traced(dx) and (x is None or np.ndim(x) == 1):
        # With fixed abscissae the weights are what SciPy makes of unit samples.
        y, _ = _samples(y, None, axis)
        weights = load_ufunc("scipy.integrate.simpson")(np.eye(y.shape[-1]), x, dx=dx)
        return np.sum(y * weights, axis=-1)
    y, x = _samples(y, x, axis)
    n = y.shape[-1]
    steps = dx * np.ones(n - 1) if x is None else x[..., 1:] - x[..., :-1]
    if n == 2:
        return 0.5 * steps[..., -1] * (y[..., -1] + y[..., -2])
    pairs = n - 2 if n % 2 else n - 3
    before, after = steps[..., 0:pairs:2], steps[..., 1 : pairs + 1 : 2]
    both, ratio = before + after, before / after
    areas = y[..., 0:pairs:2] * (2.0 - 1.0 / ratio)
    areas = areas + y[..., 1 : pairs + 1 : 2] * (both * (both / (before * after)))
    areas = areas + y[..., 2 : pairs + 2 : 2] * (2.0 - ratio)
    total = np.sum(both / 6.0 * areas, axis=-1)
    if n % 2 == 0:  # the last panel, by the parabola through the last three samples
        h, k = steps[..., -2], steps[..., -1]
        total = total + y[..., -1] * (2 * k**2 + 3 * h * k) / (6 * (k + h))
        total = total + y[..., -2] * (k**2 + 3.0 * h * k) / (6 * h)
        total = total - y[..., -3] * k**3 / (6 * h * (h + k))
    return total


@stands_in_for("scipy.integrate", "romb")
def _romb(y: Any, dx: Any = 1.0, axis: int = -1, show: bool = False) -> Any:
    y, _ = _samples(y, None, axis)
    weights = load_ufunc("scipy.integrate.romb")(np.eye(y.shape[-1]))
    return np.sum(y * (dx * weights), axis=-1)
