"""`scipy.signal`'s convolutions and linear filters, on traced values.

A convolution is a sum of products of windows, a filter the recurrence that SciPy runs itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace.linalg import matrix_of
from numtape.trace.locations import user_location
from numtape.trace.substitutes import stands_in_for

__all__: list[str] = []

_BOUNDARIES = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}


def _reversed(a: Any) -> Any:
    return a[(slice(None, None, -1),) * a.ndim]


def _part(a: Any, starts: Sequence[int], shape: tuple[int, ...]) -> Any:
    return a[tuple(slice(start, start + m) for start, m in zip(starts, shape, strict=True))]


def _convolved(name: str, a: Any, v: Any, mode: str, beyond: dict[str, Any] | None = None) -> Any:
    """Convolve arrays of any rank; what is beyond the ends is what `np.pad` gives."""
    a, v = matrix_of(a, v), matrix_of(v, a)
    if mode not in ("full", "same", "valid") or a.ndim != v.ndim or not a.size * v.size:
        raise InputError(
            f"scipy.signal.{name} of arrays of shapes {a.shape} and {v.shape}, mode={mode!r}: they "
            "must have as many axes as each other and elements, and mode must be 'full', 'same' or "
            "'valid'. Reshape one, or give such a mode"
        )
    if a.ndim == 0:
        return a * v
    if mode == "valid" and any(n < m for n, m in zip(a.shape, v.shape, strict=True)):
        if any(n > m for n, m in zip(a.shape, v.shape, strict=True)):
            raise InputError(
                f"scipy.signal.{name} of arrays of shapes {a.shape} and {v.shape}: for "
                "mode='valid' one must be at least as large as the other along each axis. Use "
                "another mode"
            )
        a, v = v, a
    if a.ndim == 1:
        full = np.convolve(a, v, "valid" if mode == "valid" else "full")
    else:
        ends = [(m - 1, m - 1) for m in v.shape]
        padded = a if mode == "valid" else np.pad(a, ends, **(beyond or {}))
        windows = np.lib.stride_tricks.sliding_window_view(padded, v.shape)
        full = np.tensordot(windows, _reversed(v), v.ndim)
    if mode != "same":
        return full
    # The middle, of which there are two where a side is even.
    return _part(
        full, [m // 2 if name == "correlate2d" else (m - 1) // 2 for m in v.shape], a.shape
    )


def _of_any_rank(name: str) -> None:
    def implementation(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
        in2 = matrix_of(in2, in1)
        return _convolved(name, in1, _reversed(in2) if name == "correlate" else in2, mode)

    stands_in_for("scipy.signal", name)(implementation)


def _by_transforms(name: str) -> None:
    def implementation(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
        if axes is not None:
            raise UnsupportedError(
                f"scipy.signal.{name}(..., axes={axes!r}) of a traced value at {user_location()}: "
                "numtape convolves along all axes. Convolve row by row, and stack the rows",
                code="unsupported-option",
            )
        return _convolved(name, in1, in2, mode)

    stands_in_for("scipy.signal", name)(implementation)


def _of_two_axes(name: str) -> None:
    def implementation(
        in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0
    ) -> Any:
        if boundary not in _BOUNDARIES or np.ndim(in1) != 2:
            raise InputError(
                f"scipy.signal.{name} of an array of shape {np.shape(in1)} with "
                f"boundary={boundary!r}: it is of two axes, and boundary one of "
                f"{list(_BOUNDARIES)}. Give these"
            )
        in2 = matrix_of(in2, in1)
        if name == "correlate2d":
            in2 = _reversed(in2)
        beyond: dict[str, Any] = {"mode": _BOUNDARIES[boundary]}
        if boundary == "fill":
            beyond["constant_values"] = fillvalue
        return _convolved(name, in1, in2, mode, beyond)

    stands_in_for("scipy.signal", name)(implementation)


for _name in ("convolve", "correlate"):
    _of_any_rank(_name)
for _name in ("fftconvolve", "oaconvolve"):
    _by_transforms(_name)
for _name in ("convolve2d", "correlate2d"):
    _of_two_axes(_name)


@stands_in_for("scipy.signal", "lfilter")
def _lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    given = (b, a, x) if zi is None else (b, a, x, zi)
    b, a, x, *states = (matrix_of(each, *given) for each in given)
    b, a = np.atleast_1d(b), np.atleast_1d(a)
    if b.ndim != 1 or a.ndim != 1 or not len(a):
        raise InputError(
            f"scipy.signal.lfilter of coefficients of shapes {b.shape} and {a.shape}: each must be "
            "a vector, and a of one element at least. Give such"
        )
    b, a, x = b / a[0], a / a[0], np.moveaxis(x, axis, 0)
    order = max(len(a), len(b)) - 1
    b, a = (np.pad(each, (0, order + 1 - len(each))) for each in (b, a))
    rest = np.moveaxis(states[0], axis, 0) if states else np.zeros((order, *x.shape[1:]))
    rest = np.broadcast_to(rest, (order, *x.shape[1:]))
    state = [rest[k] for k in range(order)]
    results = []
    for sample in x:
        result = b[0] * sample + state[0] if order else b[0] * sample
        state.append(0.0 * result)
        state = [state[k + 1] + b[k + 1] * sample - a[k + 1] * result for k in range(order)]
        results.append(result)
    filtered = np.moveaxis(np.stack(results), 0, axis)
    if zi is None:
        return filtered
    return filtered, np.moveaxis(np.stack(state) if order else rest, 0, axis)
