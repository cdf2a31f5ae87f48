"""Choosing among elements."""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import implements, no_options
from numtape.trace.recorder import user_location
from numtape.trace.traced import Traced, as_traced, innermost, lift, wrap
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


@implements("where")
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise UnsupportedError(
            f"np.where(condition) of a traced condition at {user_location()}: the indices would "
            "depend on the point. Use np.where(condition, a, b), or index with the mask x[mask], "
            "which is guarded"
        )
    recorder = innermost(condition, x, y)
    (slots_x, values_x), (slots_y, values_y) = lift(recorder, x), lift(recorder, y)
    if not isinstance(condition, Traced):
        condition = np.asarray(condition)
        return wrap(
            recorder,
            np.where(condition, slots_x, slots_y),
            np.where(condition, np.asarray(values_x, float), np.asarray(values_y, float)),
        )
    slots, chosen = lift(recorder, condition)
    keep, drop, merge = (OPCODE[name] for name in ("keep", "drop", "merge"))
    taken = recorder.elementwise(keep, (slots, slots_x))
    other = recorder.elementwise(drop, (slots, slots_y))
    result = recorder.elementwise(merge, (taken, other))
    values = np.where(chosen, np.asarray(values_x, float), np.asarray(values_y, float))
    return wrap(recorder, result, values)


@implements("clip")
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
) -> Any:
    no_options("clip", out=out)
    low = a_min if a_min is not None else min
    high = a_max if a_max is not None else max
    result = as_traced(innermost(a, low, high), a)
    if low is not None:
        result = apply_row(ROWS[OPCODE["clip_low"]], (result, low))
    if high is not None:
        result = apply_row(ROWS[OPCODE["clip_high"]], (result, high))
    return result
