"""A bounded dictionary: of too many entries the one used longest ago goes.

For what is made once for each way of calling something. Every operation on the
dictionary inside is one that the interpreter does not interrupt, so it needs no lock.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

Value = TypeVar("Value")

# A tape is asked for few kinds of derivatives; this is for loops over, say, argnums.
_MOST = 64


class Recent(Generic[Value]):
    """Values by key, the `most` that were used last."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """Return what is kept under a key, which counts as a use of it; None if nothing is."""
        value = self._values.get(key)
        if value is not None:
            try:  # noqa: SIM105 (five times as quick)
                self._values.move_to_end(key)
            except KeyError:  # another thread's entry took its place just now
                pass
        return value

    def values(self) -> list[Value]:
        """Return all that is kept."""
        return list(self._values.values())

    def keep(self, key: Hashable, value: Value) -> Value:
        """Keep a value, unless there is one under that key; returns the one that is kept."""
        kept = self._values.setdefault(key, value)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return kept
