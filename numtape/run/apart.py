"""Tapes whose array instructions are taken apart into scalar ones, element by element."""

from dataclasses import replace

import numpy as np

from numtape.kinds import KINDS
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape

__all__ = ["taken_apart"]


def taken_apart(tape: FlatTape, in_order: bool = False) -> FlatTape | None:
    """Return a tape of scalar instructions; None where one is of a kind that has no elements.

    Sums come in another order than in kernels, unless it is to be in order; then, what has none
    is not taken apart.
    """
    return _Apart(tape, in_order).tape()


class _Apart:
    """A tape whose vector instructions are taken apart into scalar ones.

    Parameters
    ----------
    tape : FlatTape
    in_order : bool
    """

    def __init__(self, tape: FlatTape, in_order: bool) -> None:
        self.source, self._in_order = tape, in_order
        self.code: list[tuple[int, int, int]] = []

    def tape(self) -> FlatTape | None:
        """Return the tape; None where an instruction is of a kind that has no elements."""
        source = self.source
        slots = np.zeros(source.slots, object)
        slots[: source.first_result] = range(source.first_result)
        results = source.results.tolist()
        for number, (opcode, a, b) in enumerate(source.code.tolist()):
            if opcode != VECTOR:
                slots[results[number]] = self.apply(opcode, slots[a], slots[b])
                continue
            instruction = source.vectors[a]
            operands = [slots[read] for read in instruction.operand_slots()]
            kind = KINDS[instruction.kind]
            take = kind.in_order if self._in_order else kind.elements
            made = take(instruction, operands, self.apply)
            if made is None:
                return None
            slots[results[number] : results[number + 1]] = made
        code = np.array(self.code, np.int32).reshape(-1, 3)
        outputs = slots[source.outputs].astype(np.int64)
        guards = tuple(replace(each, slot=int(slots[each.slot])) for each in source.guards)
        return source.changed(code=code, vectors=(), outputs=outputs, guards=guards, lines=None)

    def apply(self, opcode: int, x: int, y: int = 0) -> int:
        """Write an instruction; return its slot."""
        self.code.append((opcode, x, y if ROWS[opcode].arity == 2 else 0))
        return self.source.first_result + len(self.code) - 1
