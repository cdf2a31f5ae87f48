"""One vector instruction, and how it reads its operands, as objects to be looked at.

A tape keeps its instructions as integers (`words.py`). What is rarely asked, and by one
instruction at a time, asks these objects: rules, checks, text, drawings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.tape.regular import RegularSlots, reach, slots_of_view, written_out

if TYPE_CHECKING:
    from numtape.tape.body import Body

__all__ = ["VectorInstruction", "View", "contiguous_strides", "joined"]

Slots = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """How a vector instruction reads one operand.

    Element ``(i, j, ...)`` is at position ``base + i*strides[0] + ...``: that is
    its slot, or, where there is a gather table, the place of its slot in it.
    """

    base: int
    strides: tuple[int, ...]
    table: Slots | None = None

    def reach(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the lowest and the highest position read, of a shape that is not empty."""
        low, high = reach(shape, self.strides)
        return self.base + low, self.base + high

    def slots(self, shape: tuple[int, ...]) -> Slots:
        """Return the slots read, as an array of that shape."""
        positions = written_out(self.base, self.strides, shape)
        return positions if self.table is None else self.table[positions]

    def arranged(self, shape: tuple[int, ...]) -> "Slots | RegularSlots":
        """Return the slots read, by strides where there is no table."""
        if self.table is None and 0 not in shape:
            return slots_of_view(self.base, self.strides, shape)
        return self.slots(shape)


@lru_cache(maxsize=1 << 14)
def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array that lies row by row; 0 for axes of extent 1: no steps."""
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(0 if extent == 1 else step)
        step *= extent
    return tuple(reversed(strides))


def joined(
    shape: tuple[int, ...], strides: Sequence[tuple[int, ...]]
) -> list[tuple[int, tuple[int, ...]]]:
    """Return extents, and the strides of some views, with axes joined that step as one."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        steps = tuple(each[axis] for each in strides)
        if axes and axes[-1][1] == tuple(step * extent for step in steps):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    return axes


@dataclass(frozen=True, slots=True)
class VectorInstruction:
    """One operation over whole arrays.

    Attributes
    ----------
    kind : str
        One of the kinds of `numtape.kinds`.
    opcode : int
        The row it applies, `PRODUCT_OPCODE`, one of `ORDER_OPCODES` or a function's; for a
        search 0 to be left of equal numbers, 1 to be right of them.
    shape : tuple of int
        What it iterates over: for a map the shape of the result, for a
        reduction or accumulation the axes in walking order, for a product
        ``(*batch, m, n, p)``, for a scatter the number of elements, for an order
        ``(rows, n)``, for a search of m points among n numbers ``(n, m)``, for
        a take of m out of n elements in each row ``(rows, n, m)``, for a spread
        of m elements over n ``(rows, m, n)``, for a function ``(*batch, *extents)``:
        its results lie one after the other, for a loop ``(steps,)``.
    operands : tuple of View
        One view an operand, all over `shape`; those of a product over
        ``(*batch, m, n)`` and ``(*batch, n, p)``, and of the last four kinds
        over what `operand_shapes` says. Of a take and a spread the second has
        the places.
    result : tuple of int
        The result's own shape.
    result_strides : tuple of int
        For reductions and accumulations: where element ``(i, j, ...)`` of
        `shape` goes, relative to the first result; 0 on reduced axes.
    targets : ndarray or None
        For a scatter: the place in the result of each element.
    body : Body or None
        For a loop: what it does in one step.
    """

    kind: str
    opcode: int
    shape: tuple[int, ...]
    operands: tuple[View, ...]
    result: tuple[int, ...]
    result_strides: tuple[int, ...] = ()
    targets: Slots | None = None
    body: "Body | None" = None

    @property
    def size(self) -> int:
        """How many results it makes."""
        return math.prod(self.result)

    def reading(self, operands: "tuple[View, ...]") -> "VectorInstruction":
        """Return this instruction with other operands."""
        return VectorInstruction(
            self.kind,
            self.opcode,
            self.shape,
            operands,
            self.result,
            self.result_strides,
            self.targets,
            self.body,
        )

    def operand_slots(self) -> tuple[Slots, ...]:
        """Return the slots that each operand reads."""
        return tuple(
            view.slots(shape)
            for view, shape in zip(self.operands, self.operand_shapes(), strict=True)
        )

    def operands_read(self) -> "tuple[Slots | RegularSlots, ...]":
        """Return the slots that each operand reads, by strides where there is no table."""
        return tuple(
            view.arranged(shape)
            for view, shape in zip(self.operands, self.operand_shapes(), strict=True)
        )

    def operand_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shape that each operand's view walks."""
        return KINDS[self.kind].shapes(self)
