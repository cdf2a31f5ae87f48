"""Arrays of slots that step evenly, by a few integers.

The slots that a regular view reads could be written out, element by element: then whatever
is done with an array would take time and memory by the number of its elements. A
`RegularSlots` has its first slot and its strides instead. To the code that arranges slots
it is like an array of integers: it is sliced, transposed, reshaped and broadcast, and what
cannot be said by strides, as a choice by an array of places, gives a plain array.

The arrangement is done by NumPy, on views of one array that counts from 0, which all share.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RegularSlots", "broadcast_slots", "reach", "slots_of_view", "written_out"]

Slots = npt.NDArray[np.int64]

_ITEM = 8
_NEAR = 1 << 16

_counting: Slots = np.arange(1 << 12)


def _counted(size: int) -> Slots:
    """The shared array that counts from 0, of at least that size."""
    global _counting
    if size > len(_counting):
        _counting = np.arange(1 << (size - 1).bit_length())
    return _counting


@lru_cache(maxsize=1 << 14)
def _walk(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int, int, bool]:
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


@lru_cache(maxsize=1 << 14)
def _slot_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Return strides in slots for those in bytes, 0 along axes of one element."""
    return tuple(
        0 if extent == 1 else stride // _ITEM for extent, stride in zip(shape, strides, strict=True)
    )


class RegularSlots:
    """An array of slots, ``offset + steps``.

    Parameters
    ----------
    offset : int
    steps : int64 array
        A view of the shared array that counts from 0.
    layout : int64 array
        Another one, of the same shape: how the slots would lie in memory if they were written
        out. A sum of them walks its axes in that order, whatever slots it reads.
    """

    __slots__ = ("layout", "offset", "steps")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, offset: int, steps: Slots, layout: Slots) -> None:
        self.offset = offset
        self.steps = steps
        self.layout = layout

    @classmethod
    def contiguous(cls, start: int, shape: tuple[int, ...], size: int) -> "RegularSlots":
        """Return slots that follow one another from `start` on."""
        steps = _counted(size)[:size].reshape(shape)
        return cls(start, steps, steps)

    @classmethod
    def of(cls, base: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> "RegularSlots":
        """Return the slots that a view without a table reads, of a shape that is not empty."""
        low, high, size, is_contiguous = _walk(shape, strides)
        if is_contiguous:
            return cls.contiguous(base, shape, size)
        counting = _counted(max(high - low + 1, size))
        bytewise = [_ITEM * stride for stride in strides]
        steps: Slots = np.ndarray(shape, np.int64, counting, -_ITEM * low, bytewise)
        return cls(base + low, steps, counting[:size].reshape(shape))

    # as an array

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return self.steps.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.steps.ndim

    @property
    def size(self) -> int:
        """The number of slots."""
        return self.steps.size

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides in bytes that the slots would have in memory."""
        return self.layout.strides

    @property
    def dtype(self) -> np.dtype[np.int64]:
        """The type of slots."""
        return self.steps.dtype

    @property
    def flat(self) -> Any:
        """The slots one after the other, written out."""
        return np.asarray(self).flat

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = np.asarray(self.steps + self.offset)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        return len(self.steps)

    def __int__(self) -> int:
        return self.item()

    def item(self, *place: int) -> int:
        """Return one slot; of several, the one at a place in order."""
        return int(self.steps.item(*place)) + self.offset

    def slot_strides(self) -> tuple[int, ...]:
        """Return how far apart the slots are along each axis, 0 along those of one element."""
        return _slot_strides(self.steps.shape, self.steps.strides)

    def bounds(self) -> tuple[int, int]:
        """Return the least and the greatest slot; of an empty array, those of nothing: 0 and -1."""
        steps = self.steps
        if steps.size == 0:
            return 0, -1
        low, high = reach(steps.shape, self.slot_strides())
        first = int(steps.item(0)) + self.offset
        return first + low, first + high

    def min(self) -> int:
        """Return the least slot."""
        return self.bounds()[0]

    def max(self) -> int:
        """Return the greatest slot."""
        return self.bounds()[1]

    def any(self) -> bool:
        """Return whether there is a slot that is not the null slot, which none of these is."""
        return self.steps.size > 0

    def all(self) -> bool:
        """Return whether no slot is the null slot."""
        return True

    def _arranged(self, steps: Slots, layout: Slots) -> Any:
        """Return what an operation on both views gave; plain slots where it had to copy."""
        if steps.base is not self.steps.base:
            return np.asarray(steps + self.offset)
        return RegularSlots(self.offset, steps, layout)

    def reshape(self, *shape: Any) -> Any:
        """Return the slots in another shape, in order."""
        if len(shape) == 1 and isinstance(shape[0], tuple):
            (shape,) = shape
        try:
            steps = self.steps.reshape(shape, copy=False)
        except ValueError:  # it takes a copy
            return np.asarray(self).reshape(shape)
        return self._arranged(steps, _same(self, steps, lambda layout: layout.reshape(shape)))

    def ravel(self) -> Any:
        """Return the slots one after the other."""
        return self.reshape((-1,))

    def transpose(self, axes: Sequence[int]) -> Any:
        """Return the slots with their axes in another order."""
        steps = self.steps.transpose(axes)
        return self._arranged(steps, _same(self, steps, lambda layout: layout.transpose(axes)))

    @property
    def T(self) -> Any:  # noqa: N802 (NumPy's name)
        """The slots with their axes reversed."""
        return self.transpose(range(self.ndim)[::-1])

    def swapaxes(self, one: int, other: int) -> Any:
        """Return the slots with two axes exchanged."""
        steps = self.steps.swapaxes(one, other)
        return self._arranged(steps, _same(self, steps, lambda layout: layout.swapaxes(one, other)))

    def broadcast_to(self, shape: tuple[int, ...]) -> "RegularSlots":
        """Return the slots repeated along further axes, or along those of one element."""
        if shape == self.steps.shape:
            return self
        steps = _broadcast(self.steps, shape)
        layout = steps if self.layout is self.steps else _broadcast(self.layout, shape)
        return RegularSlots(self.offset, steps, layout)

    def once(self) -> "RegularSlots":
        """Return the slots without repetition: one element of each axis that does not step."""
        strides = self.slot_strides()
        if 0 not in strides:
            return self
        return self[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]  # type: ignore[no-any-return]

    def shifted(self, by: int) -> "RegularSlots":
        """Return the slots plus a number."""
        return RegularSlots(self.offset + by, self.steps, self.layout)

    def tolist(self) -> Any:
        """Return the slots as lists of integers."""
        return np.asarray(self).tolist()

    def copy(self, order: Any = "C") -> Slots:
        """Return the slots written out, to be written to."""
        return np.asarray(self).copy(order)

    def __getitem__(self, key: Any) -> Any:
        steps = self.steps[key]
        if not isinstance(steps, np.ndarray):
            return np.int64(self.offset) + steps
        return self._arranged(steps, _same(self, steps, lambda layout: layout[key]))

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


def _same(whole: RegularSlots, steps: Slots, arrange: Any) -> Slots:
    """Return the layout of a part: the part itself, where the whole's is the whole itself."""
    if whole.layout is whole.steps:
        return steps
    layout: Slots = arrange(whole.layout)
    return layout


def _broadcast(array: Slots, shape: tuple[int, ...]) -> Slots:
    missing = len(shape) - array.ndim
    strides = [0] * missing + [
        0 if extent == 1 else stride
        for extent, stride in zip(array.shape, array.strides, strict=True)
    ]
    first = int(array[(0,) * array.ndim])  # which is where it is in the array that counts
    result: Slots = np.ndarray(shape, np.int64, array.base, _ITEM * first, strides)
    return result


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
