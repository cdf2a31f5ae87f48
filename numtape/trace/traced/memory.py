"""Memory of traced arrays: how it is laid out, and who has to be told when it is written to.

All assigning goes through `write`, because some share an array's memory and are no views of its
slots: `sharing.py` says who.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.trace.recorder import Recorder
from numtape.trace.views import Slots

__all__ = [
    "laid_out",
    "note_arguments",
    "owner",
    "same_layout",
    "settle",
    "write",
]

_Values = npt.NDArray[Any]


def settle(recorder: Recorder) -> None:
    """Take over what was written to arrays that NumPy made of traced ones, see `sharing.py`."""
    mirrors, recorder.mirrors = recorder.mirrors, []
    for mirror in mirrors:
        mirror.settle()
    # Those that nobody has any more cannot be written to again.
    recorder.mirrors += [mirror for mirror in mirrors if mirror.is_alive()]


def write(array: Any, change: Callable[..., None], *lifted: tuple[Any, Any]) -> None:
    """Change an array in place: ``change(elements, *operands)`` for values, and for slots.

    All assigning comes here, because of those who share the memory and are no views of it.
    """
    recorder = array.recorder
    slots = array.slots
    if recorder.sharers:
        recorder.sharers = [each for each in recorder.sharers if each.is_alive()]
        for each in recorder.sharers:
            each.expect(array)
    if recorder.arguments and not recorder.writes:
        note_arguments(recorder, slots)
    change(array._primals, *(values for _, values in lifted))
    change(slots, *(slots for slots, _ in lifted))
    for each in recorder.sharers:
        each.update()


def owner(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array whose memory a view is of."""
    base: Any = array
    while (base := getattr(base, "base", None)) is not None:
        if isinstance(base, np.ndarray):  # (what `as_strided` puts between them is none)
            array = base
    return array


def note_arguments(recorder: Recorder, slots: Slots) -> None:
    """Note whether what is assigned to is an argument's memory."""
    base = slots.base  # as a rule the owner, but this is quicker
    root = slots if base is None else base if type(base) is np.ndarray else owner(slots)
    recorder.writes = id(root) in recorder.arguments


def same_layout(slots: Slots, values: _Values) -> tuple[Slots, _Values]:
    """Return slots and values with equal layouts in memory, so that views of both are alike."""
    # (Those of float64 with equal strides do not come here.)
    if all(
        a * values.itemsize == b * slots.itemsize or n == 1
        for a, b, n in zip(slots.strides, values.strides, slots.shape, strict=True)
    ):
        return slots, values
    return laid_out(slots, values), laid_out(values, values)


def laid_out(elements: _Values, like: _Values) -> _Values:
    """Return a copy that lies in memory as another array does, with its gaps: viewed alike."""
    if like.flags.forc or 0 in like.strides:
        copy = np.empty_like(like, elements.dtype)
    else:
        low, high = np.lib.array_utils.byte_bounds(like)
        offset = like.__array_interface__["data"][0] - low
        # Steps in elements: of a field of a structure several times what they are.
        unit = math.gcd(like.itemsize, *like.strides)
        memory = np.empty((high - low) // unit, elements.dtype)
        size = elements.itemsize
        strides = [stride // unit * size for stride in like.strides]
        copy = np.ndarray(like.shape, elements.dtype, memory, offset // unit * size, strides)
    copy[...] = elements
    return copy
