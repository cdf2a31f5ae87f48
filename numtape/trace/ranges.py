"""Ranges: from where to where the whole numbers in slots go.

Integers are floats in the slots, exact below 2**53. A sum or product that stays below needs no
guard, and neither does a place that is known to be inside. So a recorder notes here what it
knows; by slots alone, whoever has them.
"""

from bisect import bisect_right, insort

import numpy as np
import numpy.typing as npt

from numtape.tape.regular import RegularSlots
from numtape.trace.views import CONSTANTS, RESULTS, Slots, steps_by_one

__all__ = ["EXACT", "Ranges"]

# Whole numbers of magnitudes below this are exact as floats, and so are their sums' tests.
EXACT = 2.0**53

_FEW = 64  # slots that are noted one by one


class Ranges:
    """What is known of the whole numbers in slots."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        # Slots from, to: whole numbers from, to; in order.
        self._noted: list[tuple[int, int, float, float]] = []

    def note(self, slots: Slots, low: float, high: float) -> None:
        """Note that slots hold whole numbers from `low` to `high`.

        Of many slots that do not follow one another it is not noted.
        """
        flat = slots.ravel() if isinstance(slots, RegularSlots) else slots.ravel("K")
        if flat.size and steps_by_one(flat):
            insort(self._noted, (flat.item(0), flat.item(-1), low, high))
        elif flat.size <= _FEW:
            for slot in flat.tolist():
                insort(self._noted, (slot, slot, low, high))

    def of(self, slots: Slots, values: npt.NDArray[np.int64]) -> tuple[float, float]:
        """Return from where to where slots of whole numbers are known to go.

        `values` are those at the recording point.
        """
        if not slots.size:
            return 0.0, 0.0
        first, last = int(slots.min()), int(slots.max())
        if first >= CONSTANTS and last < RESULTS:
            return float(values.min()), float(values.max())
        known = self._around(first, last)
        return (-EXACT, EXACT) if known is None else known

    def are_below(self, slots: Slots, bound: int) -> bool:
        """Return whether slots are known to hold whole numbers from 0 to below `bound`."""
        if not slots.size:
            return True
        known = self._around(int(slots.min()), int(slots.max()))
        return known is not None and known[0] >= 0.0 and known[1] < bound

    def _around(self, first: int, last: int) -> tuple[float, float] | None:
        """Return what is noted of slots from the first to the last; None for nothing."""
        place = bisect_right(self._noted, first, key=lambda noted: noted[0])
        if place and last <= self._noted[place - 1][1]:
            return self._noted[place - 1][2:]
        return None
