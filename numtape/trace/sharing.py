"""Who shares memory with a traced array, and is no view of its slots.

What is a view in NumPy is one here, because NumPy makes views of slots and values alike. Three
things share memory with a traced array in another way, and must know when it is assigned to:

- `Row`: a part of it at a traced integer, which is taken during the run. It is kept equal while
  both are in use: what is assigned to it is put back, and it is taken again where the array is
  assigned to.
- `Mirror`: the array of traced scalars that ``np.asarray(x)`` gives. It is kept equal: at once
  where `x` is assigned to, and before `x` is read again where the mirror was.
- `Arguments`: arguments that share memory with each other in the plain call. Each has inputs of
  its own; what is assigned to one is assigned to the others.

`write` (`traced/memory.py`) tells them, in this order: `expect` before, `update` after assigning.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.trace.locations import user_location
from numtape.trace.traced import Traced, TracedArray, lift, owner, scalar_of, write
from numtape.trace.views import Slots

__all__ = ["Row", "memories", "memory_of", "overlapping", "share"]

_Array = npt.NDArray[Any]


def _address(array: _Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class _Memory:
    """Memory as NumPy asks for it; arrays made of it keep it, and so do their views."""

    def __init__(
        self, base: _Array, typestr: str, shape: Any, strides: Any, offset: int = 0
    ) -> None:
        self._base = base
        self.__array_interface__: dict[str, Any] = {
            "data": (_address(base) + offset, False),
            "typestr": typestr,
            "shape": shape,
            "strides": strides,
            "version": 3,
        }


class Row:
    """A part taken at a place found during the run, where NumPy gives a view, and of what.

    Parameters
    ----------
    row : TracedArray
        With memory of its own.
    source : TracedArray
    key : object
        The index, as it was given.
    take, put : callable
        ``take(source, key)`` and ``put(source, key, row)``.
    """

    def __init__(
        self,
        row: TracedArray,
        source: TracedArray,
        key: Any,
        take: Callable[[TracedArray, Any], TracedArray],
        put: Callable[[TracedArray, Any, Any], Any],
    ) -> None:
        self._row, self._primals = weakref.ref(row.slots), row.primals
        self._source, self._key = source, key
        self._take, self._put = take, put
        self._before: tuple[Slots, Slots] | None = None  # both as they were, while one changes
        self._is_busy = False

    def is_alive(self) -> bool:
        """Return whether the part is still in use."""
        return self._row() is not None

    def holds(self, value: Any, source: TracedArray, key: Any) -> bool:
        """Return whether a value is this part itself, so that it needs not be put there."""
        is_row = isinstance(value, TracedArray) and value._slots is self._row()
        return is_row and source is self._source and key is self._key

    def expect(self, array: TracedArray) -> None:
        """Note what both are like before one of them is written to."""
        row, source, slots = self._row(), self._source.slots, array._slots
        if row is None or self._is_busy:
            return
        if np.may_share_memory(slots, row) or np.may_share_memory(slots, source):
            self._before = row.copy(), source.copy()

    def update(self) -> None:
        """Put the part back if it has changed, or take it again if the array has."""
        row, before, self._before = self._row(), self._before, None
        if row is None or before is None or self._is_busy:
            return
        part = TracedArray(self._source.recorder, row, self._primals)
        self._is_busy = True
        try:
            if (row != before[0]).any():
                self._put(self._source, self._key, part)
            elif (self._source.slots != before[1]).any():
                lifted = lift(part.recorder, self._take(self._source, self._key))
                write(part, lambda elements, each: elements.__setitem__(..., each), lifted)
        finally:
            self._is_busy = False


class Mirror:
    """A traced array as an array that NumPy knows, the two being kept equal.

    Floats are mirrored as an array of traced scalars; integers and bools as plain ones, each
    of them guarded. The memory is laid out like that of the slots, so NumPy makes views and
    copies of a mirror where it would of the array; all mirrors of the same memory are one.
    """

    def __init__(self, array: TracedArray) -> None:
        self.recorder = array.recorder
        self.root = owner(array.slots)
        is_float = array.dtype.kind == "f"
        self.dtype = np.dtype(object) if is_float else array.dtype
        # None of these is touched but where an array was asked for.
        self._elements = np.empty(self.root.size, self.dtype)
        self._seen = np.empty(self.root.size, self.dtype)  # what was there when both were equal
        self._known = np.zeros(self.root.size, np.int64)  # 1 + the slots at that time
        self._parts: dict[Any, tuple[_Array, ...]] = {}
        self._given: list[weakref.ref[_Memory]] = []

    def view(self, array: TracedArray) -> _Array:
        """Return the mirror of an array of this memory."""
        slots, primals = array.slots, array.primals
        key = _address(slots), slots.shape, slots.strides
        if key not in self._parts:
            own = (self.place(slots, each) for each in (self._elements, self._seen, self._known))
            self._parts[key] = (slots, primals, *(np.asarray(each) for each in own))
            self.update()
        memory = self.place(slots, self._elements)
        self._given.append(weakref.ref(memory))
        view = np.asarray(memory)
        # Not by `flags`, which warns of what `np.broadcast_arrays` made.
        if primals.__array_interface__["data"][1]:
            view.flags.writeable = False
        return view

    def place(self, slots: Slots, target: _Array) -> _Memory:
        """Return where in an array of the root's size the elements of a view of the root are."""
        size = target.itemsize
        offset = (_address(slots) - _address(self.root)) // 8 * size
        strides = tuple(stride // 8 * size for stride in slots.strides)
        return _Memory(target, target.dtype.str, slots.shape, strides, offset)

    def elements(self, slots: Slots) -> _Array:
        """Return the mirror's elements for a view of the root."""
        return np.asarray(self.place(slots, self._elements))

    def is_alive(self) -> bool:
        """Return whether anyone has the mirror, or a view of it."""
        self._given = [each for each in self._given if each() is not None]
        return bool(self._given)

    def expect(self, array: TracedArray) -> None:
        """Do nothing: reading the slots has taken over what was written here."""

    def update(self) -> None:
        """Put new elements where slots have changed."""
        for slots, primals, elements, seen, known in self._parts.values():
            changed = known != slots + 1
            if changed.any():
                new = self._made(slots[changed], primals[changed])
                elements[changed] = seen[changed] = new
                known[changed] = slots[changed] + 1

    def _made(self, slots: Slots, primals: _Array) -> _Array:
        pairs = list(zip(slots.tolist(), primals.tolist(), strict=True))
        if self.dtype == object:
            scalars = (scalar_of(self.recorder, slot, value) for slot, value in pairs)
            return np.fromiter(scalars, object, len(pairs))
        location = user_location()
        for slot, value in pairs:
            self.recorder.guard(slot, float(value), location)
        return primals

    def settle(self) -> None:
        """Take over what was written to the mirror."""
        for slots, primals, elements, seen, _ in list(self._parts.values()):
            if self.dtype == object:
                written = _pointers(elements) != _pointers(seen)
            else:
                written = elements != seen
            if written.any():
                part = TracedArray(self.recorder, slots, primals)
                lifted = lift(self.recorder, elements[written])
                write(part, lambda target, each, at=written: target.__setitem__(at, each), lifted)
                seen[written] = elements[written]


def _pointers(elements: _Array) -> npt.NDArray[np.int64]:
    """Return the identities of an object array's elements."""
    return np.asarray(_Memory(elements, "<i8", elements.shape, elements.strides))


def _mirror(array: TracedArray) -> Mirror | None:
    """Return the mirror that there is of an array's memory."""
    root = owner(array.slots)
    for each in array.recorder.mirrors:
        if each.root is root and each.dtype.kind in ("O", array.dtype.kind):
            mirror: Mirror = each
            return mirror
    return None


def _mirror_of(array: TracedArray) -> _Array:
    """Return what ``np.asarray(array)`` is."""
    mirror = _mirror(array)
    if mirror is not None:
        return mirror.view(array)
    mirror = Mirror(array)
    view = mirror.view(array)
    array.recorder.mirrors.append(mirror)  # (one that nobody has is dropped)
    array.recorder.sharers.append(mirror)
    return view


Traced._mirror_of = staticmethod(_mirror_of)


def memories(operand: Any) -> list[_Array]:
    """Return all memory that an operand's elements are in."""
    if not isinstance(operand, TracedArray):
        return [] if isinstance(operand, Traced) else [np.asarray(operand)]
    mirror = _mirror(operand)
    mirrored = [] if mirror is None else [mirror.elements(operand.slots)]
    return [operand.slots, memory_of(operand), *mirrored]


def memory_of(array: TracedArray) -> _Array:
    """Return an array in the plain call's memory, as far as that is an argument's."""
    slots, given = array.recorder.arguments.get(id(owner(array.slots)), (array.slots, None))
    if given is None or 0 in given.strides:
        return array.primals
    offset = (_address(array.slots) - _address(slots)) // 8 * given.itemsize
    strides = tuple(stride // 8 * given.itemsize for stride in array.slots.strides)
    return np.asarray(_Memory(given, given.dtype.str, array.shape, strides, offset))


# arguments


def overlapping(arrays: Sequence[Any]) -> list[tuple[int, int]]:
    """Return the pairs of arrays whose memory overlaps."""
    bounds = []
    for number, array in enumerate(arrays):
        if isinstance(array, np.ndarray) and array.size:
            bounds.append((*np.lib.array_utils.byte_bounds(array), number))
    bounds.sort()
    pairs = []
    for k, (_, end, first) in enumerate(bounds):
        for start, _, second in bounds[k + 1 :]:
            if start >= end:
                break
            pairs.append((min(first, second), max(first, second)))
    return sorted(pairs)


class _Link:
    """Elements of two arguments that are in the same places of memory."""

    def __init__(self, arrays: Sequence[TracedArray], places: Sequence[_Array]) -> None:
        self.arrays, self._places = arrays, places
        self._seen = [array.slots.flat[at] for array, at in zip(arrays, places, strict=True)]

    def update(self) -> bool:
        """Assign to the other what was assigned to one; return whether anything was."""
        has_changed = False
        for this, other in ((0, 1), (1, 0)):
            one, two = self.arrays[this], self.arrays[other]
            slots = one.slots.flat[self._places[this]]
            changed = slots != self._seen[this]
            if changed.any():
                at, to = (self._places[k][changed] for k in (this, other))
                two.slots.flat[to] = slots[changed]
                two.primals.flat[to] = one.primals.flat[at]
                self._seen[this][changed] = self._seen[other][changed] = slots[changed]
                has_changed = True
        return has_changed


class Arguments:
    """Arguments that share memory with each other: what is assigned to one, all of them see."""

    def __init__(self, links: Sequence[_Link]) -> None:
        self._links = links

    def is_alive(self) -> bool:
        """Return true always: the arguments may be assigned to at any time."""
        return True

    def expect(self, array: TracedArray) -> None:
        """Have those know who share memory with the others."""
        slots = array._slots
        for link in self._links:
            for one, two in (link.arrays, link.arrays[::-1]):
                if np.may_share_memory(slots, one.slots):
                    for each in two.recorder.sharers:
                        if each is not self:
                            each.expect(two)

    def update(self) -> None:
        """Assign to the others as well, and to those that share memory with these."""
        while any(link.update() for link in self._links):
            pass


def share(arrays: Sequence[TracedArray], memory: Sequence[_Array]) -> None:
    """Have the arguments of a recorded function share memory as in the plain call.

    Parameters
    ----------
    arrays : sequence of TracedArray
    memory : sequence of arrays
        Those that the function was called with.
    """
    for array, given in zip(arrays, memory, strict=True):
        array.recorder.arguments[id(owner(array.slots))] = array.slots, given
    links = list(_links(arrays, memory))
    if links:
        arrays[0].recorder.sharers.append(Arguments(links))


def _links(arrays: Sequence[TracedArray], memory: Sequence[_Array]) -> Iterator[_Link]:
    for pair in overlapping(memory):
        one, two = (_addresses(memory[k]) for k in pair)
        shared, *places = np.intersect1d(one, two, return_indices=True)
        if shared.size:
            yield _Link([arrays[k] for k in pair], places)


def _addresses(array: _Array) -> npt.NDArray[np.int64]:
    """Return where each element is."""
    address = np.full(array.shape, _address(array))
    for axis, (extent, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        steps = stride * np.arange(extent)
        address += steps.reshape((-1,) + (1,) * (array.ndim - axis - 1))
    return address.ravel()
