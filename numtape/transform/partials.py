"""The partials of scalar instructions, as the arrays that `walk` copies them from.

A partial is made when it is first needed: from its text in the table, by way of a `Template`.
"""

from typing import Any

import numpy as np

from numtape.locks import fresh_lock
from numtape.ops.table import ROWS
from numtape.transform.expressions import Template, template
from numtape.transform.walk import FIRST_FLOAT, LONGEST, NULL, SINGULAR, UNMADE, ZERO, F, X, Y

__all__ = ["PARTIALS", "Partials"]


class Partials:
    """All partials made so far.

    Attributes
    ----------
    table : tuple of arrays
        Of each partial where its instructions are, its result, and whether it is zero or may
        be infinite; instructions; constants. They are only ever added to, in new arrays, so
        that other threads may go on with the old ones.
    """

    def __init__(self) -> None:
        heads = np.zeros((2 * len(ROWS), 4), np.int32)
        heads[:, 3] = UNMADE
        self.table: Any = heads, np.zeros((0, 3), np.int32), np.zeros(0)
        self._numbers: dict[tuple[int, bytes | None], int] = {}
        self._lock = fresh_lock()

    def made(self, key: int, exponent: float | None) -> int:
        """Return the number of a partial, by ``2 * opcode + operand``.

        Parameters
        ----------
        key : int
        exponent : float or None
            The second operand, where that is held constant and known.
        """
        known = None if exponent is None else np.float64(exponent).tobytes()
        found = self._numbers.get((key, known))
        if found is not None:
            return found
        made = template(*divmod(key, 2), exponent)
        with self._lock:
            heads, rows, floats = self.table
            number = key
            if exponent is not None:
                number = len(heads)
                heads = np.concatenate([heads, np.zeros((1, 4), np.int32)])
            else:
                heads = heads.copy()
            if made is None:
                heads[number] = 0, 0, NULL, ZERO
            else:
                constants = floats.tolist()
                own, result = _references(made, constants)
                start = len(rows)
                rows = np.concatenate([rows, own])
                heads[number] = start, len(rows), result, SINGULAR * made.singular
                floats = np.array(constants)
            self.table = heads, rows, floats
            self._numbers[key, known] = number
        return number


def _references(made: Template, constants: list[float]) -> tuple[Any, int]:
    """Return a template's instructions and its result, its constants behind others."""
    assert len(made.instructions) <= LONGEST

    def reference(each: float | int) -> int:
        if isinstance(each, float):
            constants.append(each)
            return FIRST_FLOAT - (len(constants) - 1)
        return each if each >= 0 else (X, Y, F, NULL)[-each - 1]

    rows = [(opcode, reference(a), reference(b)) for opcode, a, b in made.instructions]
    return np.array(rows, np.int32).reshape(-1, 3), reference(made.result)


PARTIALS = Partials()
