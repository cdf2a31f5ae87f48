"""A view of an array that is itself a view: views composed.

An array of numbers over some shape may step evenly (`RegularSlots`), and what is read of it may
be given by numbers of elements that step evenly too. Then the result steps evenly, and takes
neither time nor memory by the element, where each step stays within the array's axes.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from numtape.tape.regular import RegularSlots, slots_of_view

__all__ = ["part_of"]

Shape = tuple[int, ...]


def part_of(array: Any, places: Any) -> Any:
    """Return the elements of an array at some places, which are counted row by row.

    Parameters
    ----------
    array : int64 array or RegularSlots
    places : int64 array or RegularSlots

    Returns
    -------
    int64 array or RegularSlots
        In the shape of `places`.

    Examples
    --------
    >>> import numpy as np
    >>> from numtape.tape.regular import RegularSlots
    >>> columns = RegularSlots.contiguous(10, (3, 4))
    >>> every_other = RegularSlots.of(1, (4, 2), (3, 2))
    >>> np.asarray(part_of(columns, every_other))
    array([[11, 13],
           [15, 17],
           [19, 21]])
    """
    if isinstance(array, RegularSlots) and isinstance(places, RegularSlots):
        found = _composed(
            array.shape, array.layout.strides, places.base, places.shape, places.layout.strides
        )
        if found is not None:
            return slots_of_view(array.base + found[0], found[1], places.shape)
    return np.asarray(array).ravel()[np.asarray(places)]


@lru_cache(maxsize=1 << 12)
def _composed(
    shape: Shape, strides: Shape, base: int, walked: Shape, steps: Shape
) -> tuple[int, Shape] | None:
    """Return where a view of a view begins and how it moves; None where it does not step evenly.

    Parameters
    ----------
    shape, strides : tuple of int
        Of the array.
    base, walked, steps : int, tuples of int
        The view of its elements.
    """
    at = [int(k) for k in np.unravel_index(base, shape)]
    first = sum(k * stride for k, stride in zip(at, strides, strict=True))
    low, high = list(at), list(at)
    moved = []
    for extent, step in zip(walked, steps, strict=True):
        along = _along(shape, step)
        if along is None:
            return None
        moved.append(sum(k * stride for k, stride in zip(along, strides, strict=True)))
        for axis, k in enumerate(along):
            reach = k * (extent - 1)
            low[axis] += min(reach, 0)
            high[axis] += max(reach, 0)
    inside = all(a >= 0 and b < n for a, b, n in zip(low, high, shape, strict=True))
    return (first, tuple(moved)) if inside else None


def _along(shape: Shape, step: int) -> tuple[int, ...] | None:
    """Return by how much each index of an array moves where its elements are counted on by a step.

    It is a guess for steps along several axes; whether it holds is seen by where it leads.
    """
    sign, rest = (-1, -step) if step < 0 else (1, step)
    along = []
    for extent in reversed(shape):
        along.append(sign * (rest % extent))
        rest //= extent
    return tuple(reversed(along)) if rest == 0 else None
