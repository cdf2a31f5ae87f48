"""Arrays of slots that step evenly, by a few integers.

The slots that a regular view reads could be written out, element by element: then whatever
is done with an array would take time and memory by the number of its elements. A
`RegularSlots` has its first slot and its `Layout` instead. To the code that arranges slots
it is like an array of integers: it is sliced, transposed, reshaped and broadcast, and what
cannot be said by strides, as a choice by an array of places, gives a plain array.

There is one object for each layout, which knows what has been done with it: loops do the same
with other slots over and over. What arranging does, NumPy says, of arrays that have no memory.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Layout",
    "RegularSlots",
    "broadcast_slots",
    "by_parts",
    "in_order",
    "reach",
    "slots_of_view",
    "written_out",
]

Slots = npt.NDArray[np.int64]
Shape = tuple[int, ...]

_ITEM = 8
_NEAR = 1 << 16
_MOST = 1 << 14  # what is kept of layouts and what was done with them
_FEW = 64  # elements that are also kept written out
_PART = 1 << 18  # of what is changed in parts: it stays in the cache

_counting: Slots = np.arange(1 << 12)


def _counted(size: int) -> Slots:
    """Return the shared array that counts from 0, of at least that size."""
    global _counting
    if size > len(_counting):
        _counting = np.arange(1 << (size - 1).bit_length())
    return _counting


@lru_cache(maxsize=_MOST)
def _walk(shape: Shape, strides: Shape) -> tuple[int, int, int, bool]:
    """Return how far strides lead down and up, how many elements there are, and if without gaps."""
    low = high = 0
    size = 1
    is_contiguous = True
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        reach = (extent - 1) * stride
        if reach < 0:
            low += reach
        else:
            high += reach
        is_contiguous = is_contiguous and (stride == size or extent == 1)
        size *= extent
    return low, high, size, is_contiguous


class Layout:
    """How slots follow one another, wherever they begin. Made by `layout_of`, one of a kind.

    Attributes
    ----------
    shape : tuple of int
    size : int
    strides : tuple of int
        How far apart slots are along each axis, 0 along those of one element.
    raw, memory : tuple of int
        Strides in bytes: of the slots, along every axis; and how the slots would lie in memory
        if they were written out. A sum of them walks its axes in that order, whatever slots it
        reads.
    low, high, last : int
        The least, the greatest and the last slot, less the first.
    is_contiguous : bool
        Whether each slot follows the one before.
    is_one : bool
        Whether there is one slot only, over and over.
    """

    __slots__ = (
        *("shape", "size", "strides", "raw", "memory"),
        *("low", "high", "last", "is_contiguous", "is_one", "__dict__"),
    )

    def __init__(self, shape: Shape, raw: Shape, memory: Shape) -> None:
        self.shape, self.raw, self.memory = shape, raw, memory
        self.strides = tuple(
            0 if extent == 1 else stride // _ITEM for extent, stride in zip(shape, raw, strict=True)
        )
        self.low, self.high, self.size, self.is_contiguous = _walk(shape, self.strides)
        self.last = self.low + self.high
        self.is_one = not any(self.strides)

    @cached_property
    def run(self) -> "Layout | None":
        """The layout in one axis, of slots that step by the same from the first to the last."""
        if len(self.shape) == 1:
            return self
        found = _arranged(self, "reshape", (-1,)) if self.size else None
        return found and found[1]

    @cached_property
    def few(self) -> Slots:
        """The slots less the first: for those of few elements."""
        found: Slots = np.asarray(self.counted() + self.low)
        return found

    @cached_property
    def listed(self) -> list[int]:
        """The slots less the first, one after the other: for those of few elements."""
        found: list[int] = self.few.ravel().tolist()
        return found

    def counted(self) -> Slots:
        """Return slots of this layout of which the first is `-low`, as a view of shared memory."""
        counting = _counted(max(self.high - self.low + 1, 1))
        counted: Slots = np.ndarray(
            self.shape, np.int64, counting, -_ITEM * self.low if self.size else 0, self.raw
        )
        return counted


@lru_cache(maxsize=_MOST)
def layout_of(shape: Shape, raw: Shape, memory: Shape) -> Layout:
    """Return the layout of a shape and strides in bytes."""
    return Layout(shape, raw, memory)


@lru_cache(maxsize=_MOST)
def in_order(shape: Shape) -> Layout:
    """Return the layout of slots that follow one another."""
    strides, step = [], _ITEM
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    raw = tuple(reversed(strides))
    return layout_of(shape, raw, raw)


@lru_cache(maxsize=_MOST)
def _of_view(shape: Shape, strides: Shape) -> Layout:
    """Return the layout of what a view without a table reads."""
    whole = in_order(shape)
    if _walk(shape, strides)[3]:
        return whole
    return layout_of(shape, tuple(_ITEM * stride for stride in strides), whole.memory)


_ANCHOR = np.zeros(1, np.int64)
_START = _ANCHOR.__array_interface__["data"][0]


@lru_cache(maxsize=_MOST)
def _arranged(layout: Layout, name: str, key: Any) -> tuple[int, Layout] | None:
    """Return how far the first slot moves by an arrangement, and the new layout.

    None where the slots would have to be copied.
    """
    arrange = _ARRANGEMENTS[name]
    new = arrange(_virtual(layout.shape, layout.raw), key)
    if new is None:
        return None
    memory = new
    if layout.raw != layout.memory:
        memory = arrange(_virtual(layout.shape, layout.memory), key)
        if memory is None:  # it is copied there, and so lies in order
            memory = _virtual(new.shape, in_order(new.shape).memory)
    moved = (new.__array_interface__["data"][0] - _START) // _ITEM if new.size else 0
    return moved, layout_of(new.shape, new.strides, memory.strides)


def _virtual(shape: Shape, strides: Shape) -> Any:
    """Return an array of that shape and those strides, which must not be read or written."""
    return np.lib.stride_tricks.as_strided(_ANCHOR, shape, strides)


def _reshaped(array: Any, shape: Shape) -> Any:
    try:
        return array.reshape(shape, copy=False)
    except ValueError:
        return None


def _broadcast(array: Any, shape: Shape) -> Any:
    missing = len(shape) - array.ndim
    strides = [0] * missing + [
        0 if extent == 1 else stride
        for extent, stride in zip(array.shape, array.strides, strict=True)
    ]
    return _virtual(shape, tuple(strides))


def _indexed(array: Any, key: Any) -> Any:
    found = tuple(slice(*each[1:]) if type(each) is tuple else each for each in key)
    return array[found if Ellipsis in key else (*found, ...)]  # an array in any case


def _once(array: Any, _: None) -> Any:
    return array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]


_ARRANGEMENTS: dict[str, Any] = {
    "once": _once,
    "transpose": lambda array, axes: array.transpose(axes),
    "swapaxes": lambda array, axes: array.swapaxes(*axes),
    "reshape": _reshaped,
    "broadcast": _broadcast,
    "index": _indexed,
}


def _basic(key: Any) -> tuple[Any, ...] | None:
    """Return an index as something to look up; None if it has arrays."""
    found: list[Any] = []
    for each in key if type(key) is tuple else (key,):
        kind = type(each)
        if kind is int or each is None or each is Ellipsis:
            found.append(each)
        elif kind is slice:
            found.append((slice, each.start, each.stop, each.step))
        elif isinstance(each, np.integer):
            found.append(index(each))
        else:
            return None
    return tuple(found)


class RegularSlots:
    """An array of slots, the first and how the others follow.

    Parameters
    ----------
    base : int
        The first slot.
    layout : Layout
    """

    __slots__ = ("base", "layout")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, base: int, layout: Layout) -> None:
        self.base = base
        self.layout = layout

    @classmethod
    def contiguous(cls, start: int, shape: Shape) -> "RegularSlots":
        """Return slots that follow one another from `start` on."""
        return cls(start, in_order(shape))

    @classmethod
    def of(cls, base: int, strides: Shape, shape: Shape) -> "RegularSlots":
        """Return the slots that a view without a table reads, of a shape that is not empty."""
        return cls(base, _of_view(shape, strides))

    # as an array

    @property
    def shape(self) -> Shape:
        """The extents."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.layout.shape)

    @property
    def size(self) -> int:
        """The number of slots."""
        return self.layout.size

    @property
    def strides(self) -> Shape:
        """The strides in bytes that the slots would have in memory."""
        return self.layout.memory

    @property
    def dtype(self) -> np.dtype[np.int64]:
        """The type of slots."""
        return _ANCHOR.dtype

    @property
    def flat(self) -> Any:
        """The slots one after the other, written out."""
        return np.asarray(self).flat

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        layout = self.layout
        if layout.size <= _FEW:
            array = np.asarray(layout.few + self.base)
        else:
            array = np.asarray(layout.counted() + (self.base + layout.low))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.layout.shape[0]

    def __int__(self) -> int:
        return self.item()

    def item(self, place: int = 0) -> int:
        """Return one slot; of several, the first or the last or the one at a place in order."""
        if place == 0:
            return self.base
        layout = self.layout
        if place == -1:
            return self.base + layout.last
        at = np.unravel_index(place % layout.size, layout.shape)
        return self.base + sum(
            int(k) * stride for k, stride in zip(at, layout.strides, strict=True)
        )

    def slot_strides(self) -> Shape:
        """Return how far apart the slots are along each axis, 0 along those of one element."""
        return self.layout.strides

    def bounds(self) -> tuple[int, int]:
        """Return the least and the greatest slot; of an empty array, those of nothing: 0 and -1."""
        layout = self.layout
        if layout.size == 0:
            return 0, -1
        return self.base + layout.low, self.base + layout.high

    def min(self) -> int:
        """Return the least slot."""
        return self.bounds()[0]

    def max(self) -> int:
        """Return the greatest slot."""
        return self.bounds()[1]

    def any(self) -> bool:
        """Return whether there is a slot that is not the null slot, which none of these is."""
        return self.layout.size > 0

    def all(self) -> bool:
        """Return whether no slot is the null slot."""
        return True

    def _by(self, name: str, key: Any) -> Any:
        """Return the slots arranged; written out where that takes a copy."""
        found = _arranged(self.layout, name, key)
        if found is None:  # only another shape takes a copy
            return np.asarray(self).reshape(key)
        return RegularSlots(self.base + found[0], found[1])

    def reshape(self, *shape: Any) -> Any:
        """Return the slots in another shape, in order."""
        if len(shape) == 1 and isinstance(shape[0], tuple):
            (shape,) = shape
        return self if shape == self.layout.shape else self._by("reshape", shape)

    def ravel(self) -> Any:
        """Return the slots one after the other."""
        return self.reshape((-1,))

    def transpose(self, axes: Sequence[int]) -> Any:
        """Return the slots with their axes in another order."""
        return self._by("transpose", tuple(axes))

    @property
    def T(self) -> Any:  # noqa: N802 (NumPy's name)
        """The slots with their axes reversed."""
        return self.transpose(range(self.ndim)[::-1])

    def swapaxes(self, one: int, other: int) -> Any:
        """Return the slots with two axes exchanged."""
        return self._by("swapaxes", (one, other))

    def broadcast_to(self, shape: Shape) -> "RegularSlots":
        """Return the slots repeated along further axes, or along those of one element."""
        if shape == self.layout.shape:
            return self
        found: RegularSlots = self._by("broadcast", shape)
        return found

    def once(self) -> "RegularSlots":
        """Return the slots without repetition: one element of each axis that does not step."""
        found: RegularSlots = self if 0 not in self.layout.strides else self._by("once", None)
        return found

    def shifted(self, by: int) -> "RegularSlots":
        """Return the slots plus a number."""
        return RegularSlots(self.base + by, self.layout)

    def tolist(self) -> Any:
        """Return the slots as lists of integers."""
        return np.asarray(self).tolist()

    def copy(self, order: Any = "C") -> Slots:
        """Return the slots written out, to be written to."""
        return np.asarray(self).copy(order)

    def __getitem__(self, key: Any) -> Any:
        basic = _basic(key)
        if basic is None:
            layout = self.layout
            return layout.counted()[key] + (self.base + layout.low)
        found = self._by("index", basic)
        return found if found.ndim or Ellipsis in basic else np.int64(found.base)

    # what arrays of integers can do besides, slot by slot

    def __sub__(self, other: int) -> "RegularSlots":
        return self.shifted(-other)

    def __add__(self, other: int) -> "RegularSlots":
        return self.shifted(other)

    def __lt__(self, other: Any) -> Any:
        return np.asarray(self) < other

    def __le__(self, other: Any) -> Any:
        return np.asarray(self) <= other

    def __gt__(self, other: Any) -> Any:
        return np.asarray(self) > other

    def __ge__(self, other: Any) -> Any:
        return np.asarray(self) >= other

    def __eq__(self, other: Any) -> Any:
        return np.asarray(self) == other

    def __ne__(self, other: Any) -> Any:
        return np.asarray(self) != other


def by_parts(change: Callable[[Slots], Slots], slots: Slots) -> Slots:
    """Return what a change makes of slots one by one; of many in parts, which takes less memory."""
    if slots.size <= _PART:
        return change(slots)
    flat, found = slots.reshape(-1), np.empty(slots.size, np.int64)
    for start in range(0, slots.size, _PART):
        found[start : start + _PART] = change(flat[start : start + _PART])
    return found.reshape(slots.shape)


def slots_of_view(
    base: int, strides: tuple[int, ...], shape: tuple[int, ...]
) -> "RegularSlots | Slots":
    """Return the slots that a view without a table reads, of a shape that is not empty.

    Few slots far apart are written out: counting as far as they reach would take more memory.
    """
    low, high, size, _ = _walk(shape, strides)
    if high - low <= 2 * size + _NEAR:
        return RegularSlots.of(base, strides, shape)
    return written_out(base, strides, shape)


def written_out(base: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> Slots:
    """Return what strides lead to from a base, one by one."""
    positions = np.full(shape, base, np.int64)
    for axis, (extent, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = np.arange(extent, dtype=np.int64) * stride
        positions += steps.reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return positions


def reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """Return how far strides lead down and up."""
    return _walk(shape, strides)[:2]


def broadcast_slots(slots: Any, shape: tuple[int, ...]) -> Any:
    """Return slots, regular or not, repeated to a shape."""
    if isinstance(slots, RegularSlots):
        return slots.broadcast_to(shape)
    return np.broadcast_to(slots, shape)
