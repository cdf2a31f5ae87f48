"""Flows: which elements an instruction's results depend on, through derivatives that are not zero.

A kind says it of an instruction as a few flows, one after the other. Each walks a shape: what
the element there depends on is added to what its target depends on. Who finds the pattern of a
Jacobian follows them; nothing is said here of values.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["RESULT", "ROOM", "Flow", "row_by_row"]

Shape = tuple[int, ...]

RESULT = -1  # the instruction's results, one after the other
ROOM = -2  # room of its own, in which nothing depends on anything at first


class Flow(NamedTuple):
    """A walk over a shape, from each element to a target.

    Attributes
    ----------
    shape : tuple of int
    source : int
        The number of an operand, `RESULT` or `ROOM`.
    target : int
        `RESULT` or `ROOM`.
    to : tuple of int
        By how much the target moves along each axis.
    by : tuple of int, optional
        By how much the source moves; of an operand, as its view does by default.
    source_start, target_start : int
        Where the walk begins in the results or in the room.
    table : int64 array, optional
        Where in the target each element goes, in the order of the walk, in place of `to`.
    """

    shape: Shape
    source: int
    target: int = RESULT
    to: Shape = ()
    by: Shape | None = None
    source_start: int = 0
    target_start: int = 0
    table: npt.NDArray[np.int64] | None = None


def row_by_row(shape: Shape, axes: tuple[int, ...] | None = None) -> Shape:
    """Return strides that lead through all elements in order; 0 for axes that are not among some.

    Parameters
    ----------
    shape : tuple of int
    axes : tuple of int, optional
        Those that step; all by default.
    """
    strides = [0] * len(shape)
    size = 1
    for axis in reversed(range(len(shape)) if axes is None else axes):
        strides[axis] = size
        size *= shape[axis]
    assert axes is not None or size == math.prod(shape)
    return tuple(strides)
