"""A slot for every place of a tape, those of whole arrays in one piece.

Replaying and differentiating a tape keep for each of its places a slot of the new one: what
the place has become, its tangent, its adjoint. The places of a vector instruction's results,
of the constants and of the inputs are a *block*. As long as all that happens to a block
happens to it as a whole, its slots are kept as an array that steps evenly (`RegularSlots`),
which costs nothing by the element; else they are written out.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.tape.flat import FlatTape, contiguous_strides
from numtape.tape.reads import is_dense
from numtape.tape.regular import RegularSlots, in_order, slots_of_view

__all__ = ["Blocks", "block_order", "blocks_of", "blocks_under"]

Slots = npt.NDArray[np.int64]


def blocks_of(tape: FlatTape) -> Slots:
    """Return where each block of a tape's slots begins, and at the end how many slots there are.

    Block 0 has the null slot, 1 the constants, 2 the inputs, and then every instruction one.
    """
    return np.concatenate([np.array([0, 1, tape.first_input]), tape.results])


def block_order(places: RegularSlots) -> tuple[int, ...] | None:
    """Return how to transpose some places to have those of a block in order, without gaps.

    None where there is no such order of the axes.
    """
    return _order(places.shape, places.slot_strides())


@lru_cache(maxsize=1 << 14)
def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    in_order = tuple(shape[axis] for axis in order)
    if contiguous_strides(in_order) != tuple(strides[axis] for axis in order):
        return None
    return tuple(order)


def blocks_under(starts: Sequence[int], listed: Slots, places: Any) -> list[int]:
    """Return the blocks that have some places.

    Where blocks begin is given twice, as a list and as an array.
    """
    if places.size == 0:
        return []
    is_regular = isinstance(places, RegularSlots)
    low, high = places.bounds() if is_regular else (int(places.min()), int(places.max()))
    first, last = bisect_right(starts, low) - 1, bisect_right(starts, high) - 1
    if last - first < 2 or (is_regular and is_dense(places.shape, places.slot_strides())):
        return list(range(first, last + 1))
    once = np.asarray(places.once() if is_regular else places).ravel()
    owners = np.searchsorted(listed, once, side="right") - 1
    if last - first > owners.size:
        found: list[int] = np.unique(owners).tolist()
    else:  # counting takes a fifth of the time
        found = (first + np.flatnonzero(np.bincount(owners - first))).tolist()
    return found


class Blocks:
    """A slot for every place; 0 where there is none.

    Parameters
    ----------
    starts : list of int or int64 array
        Where each block begins, and at the end how many places there are.
    listed : int64 array
        The same as an array. A list is quicker, and takes long to make.
    apart : iterable of int
        Blocks that are read or written by single places, and so are always written out.
    flat : int64 array, optional
        Where slots are written out; all zero.
    """

    __slots__ = ("apart", "flat", "listed", "present", "starts", "whole")

    def __init__(
        self,
        starts: Any,
        listed: Slots,
        apart: Iterable[int] = (),
        flat: Slots | None = None,
    ) -> None:
        self.starts, self.listed = starts, listed
        self.apart = apart if isinstance(apart, set) else set(apart)
        self.flat = np.zeros(starts[-1], np.int64) if flat is None else flat
        self.whole: dict[int, RegularSlots] = {}
        self.present: set[int] = set()  # blocks that may have slots written out

    def block(self, places: RegularSlots) -> int:
        """Return the block that has all of some places; -1 where several have."""
        low, high = places.bounds()
        found = bisect_right(self.starts, low) - 1
        return found if high < self.starts[found + 1] else -1

    def _is_written_out(self, block: int) -> bool:
        """Return whether the slots of a block are always kept one by one."""
        return block in self.apart or self.starts[block + 1] - self.starts[block] == 1

    def get(self, places: Any) -> Any:
        """Return the slots of some places, in their shape; None if there are none."""
        if isinstance(places, RegularSlots):
            block = self.block(places)
            if block >= 0 and not self._is_written_out(block):
                whole = self.whole.get(block)
                if whole is not None:
                    found = self._part(whole, places, block)
                    if found is not None:
                        return found
                    self.write_out((block,))
                elif block not in self.present:
                    return None
            else:
                self._write_out_under(places)
            once = np.asarray(places.once())
        else:
            self._write_out_under(places)
            once = places
        found = self.flat[once]
        if found.size and not found.any():
            return None
        if found.size == 1:
            one: Any = RegularSlots(found.item(), in_order(found.shape))
            return one if places.size == 1 else one.broadcast_to(places.shape)
        return found if found.size == places.size else np.broadcast_to(found, places.shape)

    def read(self, places: Any) -> Any:
        """Return the slots of some places, in their shape."""
        found = self.get(places)
        return np.zeros(places.shape, np.int64) if found is None else found

    def moved(self, place: int, block: int, low: int, high: int) -> int | None:
        """Return the slot of a place; None unless all from `low` to `high` moved by the same.

        The block is that of `low`.
        """
        whole = self.whole.get(block)
        if whole is not None:
            is_run = whole.layout.strides == (1,) and high < self.starts[block + 1]
            return place - self.starts[block] + whole.base if is_run else None
        if low == high:
            return int(self.flat[place]) or None
        slots = self.flat[low : high + 1]
        first = slots.item(0)
        if first == 0 or slots.item(-1) - first != high - low:
            return None
        if high - low > 1 and not (slots[1:] - slots[:-1] == 1).all():
            return None
        return place - low + first

    def of_block(self, block: int, shape: tuple[int, ...]) -> Any:
        """Return the slots of all places of a block, in a shape; None if there are none."""
        whole = self.whole.get(block)
        if whole is not None:
            return whole.reshape(shape)
        if block not in self.present and not self._is_written_out(block):
            return None
        start, stop = self.starts[block : block + 2]
        if stop - start == 1:
            slot = self.flat.item(start)
            return RegularSlots(slot, in_order(shape)) if slot else None
        found = self.flat[start:stop]
        return found.reshape(shape) if found.any() else None

    def at(self, places: Slots) -> Slots:
        """Return the slots of some places, written out."""
        self._write_out_under(places)
        found: Slots = self.flat[places]
        return found

    def set_block(self, block: int, slots: Any) -> None:
        """Give all places of a block slots, in order."""
        if isinstance(slots, RegularSlots) and not self._is_written_out(block):
            run = slots.layout.run
            self.whole[block] = slots if run is None else RegularSlots(slots.base, run)
            return
        self.whole.pop(block, None)
        self.flat[self.starts[block] : self.starts[block + 1]] = np.asarray(slots).ravel()
        self.present.add(block)

    def put(self, places: Slots, slots: Any) -> None:
        """Give some places slots, one by one."""
        self._write_out_under(places)
        self.flat[places] = slots
        self.present.update(blocks_under(self.starts, self.listed, places))

    def write_out(self, blocks: Iterable[int]) -> None:
        """Keep the slots of some blocks one by one from now on."""
        for block in blocks:
            whole = self.whole.pop(block, None)
            if whole is not None:
                start, stop = self.starts[block : block + 2]
                self.flat[start:stop] = np.asarray(whole).ravel()
                self.present.add(block)

    def _write_out_under(self, places: Any) -> None:
        if self.whole:
            self.write_out(blocks_under(self.starts, self.listed, places))

    def _part(self, whole: RegularSlots, places: RegularSlots, block: int) -> Any:
        """Return the slots that some places of a block have, where they step evenly again."""
        shape, strides = places.shape, places.slot_strides()
        if places.size == whole.size and strides == contiguous_strides(shape):
            return whole.reshape(shape)
        if whole.ndim == 1:
            step = whole.layout.strides[0]
            base = whole.item(0) + (places.item(0) - self.starts[block]) * step
            return slots_of_view(base, tuple(stride * step for stride in strides), shape)
        order = block_order(places)
        if order is None or places.size != whole.size:
            return None
        inverse = np.argsort(order).tolist()
        return whole.reshape(tuple(shape[axis] for axis in order)).transpose(inverse)
