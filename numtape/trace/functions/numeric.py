"""Elementwise functions that are no ufuncs, and what depends on shapes alone."""

from typing import Any

import numpy as np

from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import implements
from numtape.trace.traced import Traced
from numtape.trace.ufuncs import apply_row

__all__: list[str] = []


@implements("sinc")
def _sinc(x: Any) -> Any:
    return apply_row(ROWS[OPCODE["sinc"]], (x,))


# what does not depend on values


@implements("shape")
def _shape_of(a: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = a.shape if isinstance(a, Traced) else np.shape(a)
    return shape


@implements("ndim")
def _ndim(a: Any) -> int:
    return len(_shape_of(a))


@implements("size")
def _size(a: Any, axis: int | None = None) -> int:
    shape = _shape_of(a)
    return int(np.prod(shape, dtype=np.int64)) if axis is None else shape[axis]


@implements("iscomplexobj")
def _iscomplexobj(x: Any) -> bool:
    return False


@implements("isrealobj")
def _isrealobj(x: Any) -> bool:
    return True


@implements("real")
def _real(x: Any) -> Any:
    return x


@implements("result_type")
def _result_type(*arrays: Any) -> np.dtype[Any]:
    return np.dtype(np.float64)
