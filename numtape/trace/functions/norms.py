"""Norms of vectors and matrices."""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import axes_of, implements, traced
from numtape.trace.recorder import user_location
from numtape.trace.traced import as_floats
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


@implements("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    array = as_floats(traced(x))
    root = ROWS[OPCODE["norm_root"]]
    if axis is None and (ord is None or (ord == 2 and array.ndim == 1) or ord in ("f", "fro")):
        flat = np.ravel(array)
        result = apply_row(root, (np.dot(flat, flat),))
        return np.reshape(result, (1,) * array.ndim) if keepdims else result
    axes = axes_of(axis, array.ndim)
    if len(axes) == 1 or ord is None:
        if ord is None or ord == 2:
            return apply_row(root, (np.sum(array * array, axis=axes, keepdims=keepdims),))
        if ord == 1:
            return np.sum(abs(array), axis=axes, keepdims=keepdims)
        if ord == np.inf:
            return np.max(abs(array), axis=axes, keepdims=keepdims)
        if ord == -np.inf:
            return np.min(abs(array), axis=axes, keepdims=keepdims)
        if isinstance(ord, int | float) and ord != 0:
            powers = np.sum(abs(array) ** ord, axis=axes, keepdims=keepdims)
            return powers ** (1.0 / ord)
    raise UnsupportedError(
        f"np.linalg.norm(x, ord={ord!r}, axis={axis!r}) of a traced value of shape {array.shape} "
        f"at {user_location()}: numtape has no rule for this norm. Use the default, 1, 2, inf, "
        "-inf or a power for vectors, and the default or 'fro' for matrices"
    )
