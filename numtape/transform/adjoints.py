"""Adding to adjoints: contributions to places, which may repeat, lie anywhere, and be many.

What is added to a whole array stays in one piece, elements of few places are added one by one,
and everything else is gathered, added where there is something already, and put back.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.table import OPCODE
from numtape.tape.regular import RegularSlots, broadcast_slots
from numtape.trace.recorder import SMALL, Slots, view_of
from numtape.transform import walk as walking
from numtape.transform.blocks import Blocks, block_order, blocks_under
from numtape.transform.builder import Builder

__all__ = ["Adjoints"]

_ADD, _MULTIPLY = OPCODE["add"], OPCODE["multiply"]


class Adjoints:
    """Adds to the adjoints of places that depend on the chosen inputs.

    Parameters
    ----------
    builder : Builder
    starts, listed
        Where blocks of places begin, see `Blocks`.
    active : uint8 array
        Which blocks depend on a chosen input.
    by : uint8 array
        By place, which inputs are chosen.
    """

    def __init__(
        self,
        builder: Builder,
        starts: Any,
        listed: Slots,
        active: npt.NDArray[np.uint8],
        by: npt.NDArray[np.uint8],
    ) -> None:
        self.builder, self.starts, self.listed = builder, starts, listed
        self.active, self.by = active, by
        self.is_by_all = bool(by[1:].all())

    def add(
        self,
        column: Blocks,
        targets: Any,
        part: Any,
        factor: float = 1.0,
    ) -> None:
        """Add contributions, times a factor, to the adjoints of target places, which may repeat."""
        if part is None or targets is None:
            return
        part = broadcast_slots(part, targets.shape)
        if isinstance(targets, RegularSlots):
            strides, has_table = targets.layout.strides, False
        else:
            view = view_of(targets)
            strides, has_table = view.strides, view.table is not None
        repeated, once, overlaps = _repetition(targets.shape, strides)
        if repeated:  # a broadcast operand: its element gets the sum
            part = self.builder.reduce("add", part, repeated)
            targets = targets[once]
        if factor != 1.0:
            times = np.array(self.builder.constant(factor))
            part = self.builder.elementwise(_MULTIPLY, (times, part))
        is_regular = isinstance(targets, RegularSlots) and isinstance(part, RegularSlots)
        if is_regular and self._add_whole(column, targets, part):
            return
        is_once = not has_table and not overlaps
        if is_once and targets.size <= SMALL:
            self._add_singles(column, targets, part)
            return
        targets, part = np.asarray(targets).ravel(), np.asarray(part).ravel()
        chosen = self.active_at(targets) & (part != 0)
        if not chosen.all():
            targets, part = targets[chosen], part[chosen]
        if not is_once:
            unique, order = np.unique(targets, return_inverse=True)
            if len(unique) < len(targets):
                part, targets = self.builder.scatter(part, order, len(unique)), unique
        if targets.size == 0:
            return
        present = column.get(targets)
        if present is None:
            column.put(targets, part)
            return
        fresh = present == 0
        if fresh.any():
            column.put(targets[fresh], part[fresh])
            present, targets, part = present[~fresh], targets[~fresh], part[~fresh]
        column.put(targets, self.builder.elementwise(_ADD, (present, part)))

    def _add_singles(self, column: Blocks, targets: Any, part: Any) -> None:
        """Add to the adjoints of few places, element by element."""
        blocks = blocks_under(self.starts, self.listed, targets)
        column.write_out(blocks)
        column.present.update(blocks)
        both = np.empty((2, targets.size), np.int64)
        both[0].reshape(targets.shape)[...] = targets
        both[1].reshape(part.shape)[...] = part
        places, parts = both
        if not all(self.active[block] for block in blocks) or (1 in blocks and not self.is_by_all):
            parts[~self.active_at(places)] = 0
        if not column.flat[places].any():  # they are the first
            column.flat[places] = parts
            return
        self.builder.store.walk(
            walking.ADD_TO,
            0,
            targets.size,
            starts=both.reshape(-1),
            columns=column.flat.reshape(1, -1),
        )

    def _add_whole(self, column: Blocks, targets: RegularSlots, part: Any) -> bool:
        """Add to the adjoints of a whole block in one piece; False where that cannot be."""
        block = column.block(targets)
        if block < 1 or targets.size != self.starts[block + 1] - self.starts[block]:
            return False
        if block in column.apart or targets.size == 1 or block in column.present:
            return False
        if block == 1 and not self.is_by_all:
            return False
        order = block_order(targets)
        if order is None:
            return False
        if not self.active[block]:
            return True
        part = part.transpose(order)
        present: Any = column.whole.get(block)
        if present is not None:
            if present.ndim == 1:
                present = present.reshape(part.shape)
            elif present.shape != part.shape:
                return False
            part = self.builder.elementwise(_ADD, (present, part))
        column.set_block(block, part)
        return True

    def active_at(self, places: Slots) -> npt.NDArray[np.bool_]:
        """Return which of some places depend on the chosen inputs."""
        blocks = np.searchsorted(self.listed, places, side="right") - 1
        found = self.active[blocks].astype(bool)
        early = places <= self.builder.inputs
        found[early] = self.by[places[early]]
        return found

    def add_one(self, column: Blocks, place: int, slot: int) -> None:
        """Add a contribution to one adjoint."""
        present = int(column.flat[place])
        column.flat[place] = self.builder.scalar(_ADD, present, slot) if present else slot
        column.present.update(blocks_under(self.starts, self.listed, np.array(place)))


@lru_cache(maxsize=1 << 14)
def _repetition(
    shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[Any, ...], bool]:
    """Return axes of repeated places, how to take each once, and whether places meet otherwise."""
    repeated = tuple(axis for axis, stride in enumerate(strides) if stride == 0 and shape[axis] > 1)
    once = tuple(0 if axis in repeated else slice(None) for axis in range(len(shape)))
    return repeated, once, _overlaps(shape, strides)


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether evenly spaced places may meet, apart from axes that do not step at all."""
    reach = 0
    for stride, extent in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True)):
        if stride and extent > 1:
            if stride <= reach:
                return True
            reach += (extent - 1) * stride
    return False
