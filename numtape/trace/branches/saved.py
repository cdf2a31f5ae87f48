"""What an arm may have changed in place, as it was before: to be put back, and merged.

Traced arrays by their memory, plain ones, lists, dicts and sets by what they hold, objects by their
attributes.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from numtape.trace.branches.merging import MISSING, UnmergedError, merged
from numtape.trace.traced import TracedArray, TracedScalar, lift, owner, write

__all__ = ["Saved", "saved_array", "saved_attribute", "saved_container", "saved_plain"]


class Saved(Protocol):
    """Something that was changed in place.

    Attributes
    ----------
    before : object
        What it held before.
    comes_first : bool
        Whether it is merged before the others, which may hold it.
    """

    before: Any
    comes_first: bool

    def content(self) -> Any:
        """Return what it holds now."""

    def put(self, content: Any) -> None:
        """Have it hold that."""

    def merged(self, test: TracedScalar, first: Any, second: Any) -> Any:
        """Return what it holds in the end, given what it held after either arm."""


class _Array:
    """The memory of a traced array."""

    comes_first = True

    def __init__(self, whole: TracedArray) -> None:
        self._whole = whole
        self.before = self.content()

    def content(self) -> Any:
        return self._whole._slots.copy(), self._whole._primals.copy()

    def put(self, content: Any) -> None:
        slots, values = content
        write(self._whole, lambda elements, each: elements.__setitem__(..., each), (slots, values))

    def merged(self, test: TracedScalar, first: Any, second: Any) -> Any:
        differs = first[0] != second[0]
        if not differs.any():
            return first
        recorder = self._whole.recorder
        one, two = (
            TracedArray(recorder, slots[differs], values[differs])
            for slots, values in (first, second)
        )
        chosen, values = lift(recorder, np.where(test, one, two))
        slots, primals = first[0].copy(), first[1].copy()
        slots[differs], primals[differs] = chosen, values
        return slots, primals


class _Plain:
    """A plain array, which must be the same after both arms."""

    comes_first = False

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.before = self.content()

    def content(self) -> Any:
        return self._array.copy()

    def put(self, content: Any) -> None:
        self._array[...] = content

    def merged(self, test: TracedScalar, first: Any, second: Any) -> Any:
        if first.tobytes() != second.tobytes():
            raise UnmergedError("an arm writes to a plain array")
        return first


class _Container:
    """A list, a dict or a set."""

    comes_first = False

    def __init__(self, container: Any) -> None:
        self._container = container
        self.before = self.content()

    def content(self) -> Any:
        return self._container.copy()

    def put(self, content: Any) -> None:
        if isinstance(self._container, list):
            self._container[:] = content
        else:
            self._container.clear()
            self._container.update(content)

    def merged(self, test: TracedScalar, first: Any, second: Any) -> Any:
        if isinstance(first, list) and len(first) == len(second):
            return [merged(test, a, b) for a, b in zip(first, second, strict=True)]
        if isinstance(first, dict) and list(first) == list(second):
            return {key: merged(test, each, second[key]) for key, each in first.items()}
        if isinstance(first, set) and first == second:
            return first
        kind = type(first).__name__
        raise UnmergedError(f"the arms leave a {kind} of different lengths or keys")


class _Attribute:
    """An attribute of an object."""

    comes_first = False

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name
        self.before = self.content()

    def content(self) -> Any:
        return getattr(self._owner, self._name, MISSING)

    def put(self, content: Any) -> None:
        if content is not MISSING:
            setattr(self._owner, self._name, content)
        elif hasattr(self._owner, self._name):
            delattr(self._owner, self._name)

    def merged(self, test: TracedScalar, first: Any, second: Any) -> Any:
        return merged(test, first, second)


saved_plain, saved_container, saved_attribute = _Plain, _Container, _Attribute


def saved_array(array: TracedArray) -> Saved | None:
    """Return the memory of a traced array, which may be a view.

    None where its values do not lie in their memory as its slots do in theirs.
    """
    slots, primals = owner(array._slots), owner(array._primals)
    scale = primals.itemsize
    place = _offset(array._slots, slots) * scale == _offset(array._primals, primals) * 8
    if not place or slots.size != primals.size:
        return None
    slots, primals = (each.ravel("K") for each in (slots, primals))
    return _Array(TracedArray(array.recorder, slots, primals))


def _offset(view: npt.NDArray[Any], memory: npt.NDArray[Any]) -> int:
    starts = [each.__array_interface__["data"][0] for each in (view, memory)]
    return int(starts[0] - starts[1])
