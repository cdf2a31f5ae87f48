"""The nonzeros of a Jacobian while they are made: entries, the terms that they are in, their sums.

What forward and backward accumulation share. An entry says that an output's, or a result's,
derivative is what is in a slot of the new tape. A *term* has entries whose slots, rows and columns
are arrays of one shape, so that one vector instruction does for all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS
from numtape.sparse.compressed import finished
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.regular import RegularSlots, broadcast_slots
from numtape.transform.blocks import blocks_under
from numtape.transform.derivation import Derivation

__all__ = ["MULTIPLY", "SCALE", "Accumulation", "Entries", "NotThisWayError", "Term"]

Ints = npt.NDArray[np.int64]

_ADD, MULTIPLY, SCALE = OPCODE["add"], OPCODE["multiply"], OPCODE["scale"]

# Entries for each slot of the tape, beyond which colours are better.
_MOST_ENTRIES = 40


class NotThisWayError(Exception):
    """There is no rule for an instruction, or there are too many entries."""


@dataclass(frozen=True)
class Entries:
    """The nonzeros of a Jacobian, and a tape of their values.

    Attributes
    ----------
    indptr, columns : int array
        Where each row begins, and the columns in the order of rows and of themselves.
    tape : FlatTape
        Its outputs are the values in the same order, and then perhaps those of the old tape.
    work : int
        How many elements the tape computes.
    """

    indptr: Ints
    columns: npt.NDArray[np.integer[Any]]
    tape: FlatTape

    @property
    def rows(self) -> Ints:
        """The row of each."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    @property
    def work(self) -> int:
        """Count the elements that the tape computes."""
        return self.tape.slots - self.tape.first_result


@dataclass(frozen=True)
class Term:
    """Derivatives of, or by, a block of results, one an entry.

    Attributes
    ----------
    within : int64 array, optional
        The number of each entry's result in the block; None for an entry for each, in their shape.
    far : slots
        What is at the other end: forward the places of inputs, their numbers from 1 on; backward
        the numbers of outputs.
    slots : slots, optional
        Of the derivatives; None where all are 1.
    """

    within: Ints | None
    far: Any
    slots: Any

    def listed(self) -> tuple[Ints, Ints, Ints | None]:
        """Return numbers of results, far ends and slots, written out one by one."""
        far = np.asarray(self.far).ravel()
        within = np.arange(len(far)) if self.within is None else self.within
        return within, far, None if self.slots is None else np.asarray(self.slots).ravel()


class Accumulation(Derivation):
    """A tape being differentiated, entry by entry.

    Parameters
    ----------
    tape : FlatTape
        Without loops.
    inputs : int64 array
        The numbers of the inputs to differentiate by, in ascending order.

    Attributes
    ----------
    terms : dict
        By block.
    """

    def __init__(self, tape: FlatTape, inputs: Ints) -> None:
        super().__init__(tape, 0)
        self.inputs = inputs
        self.instructions = self.builder.instructions()
        self.one = self.builder.constant(1.0)
        self.risky = np.zeros(len(self.starts), np.uint8)
        self.terms: dict[int, list[Term]] = {}
        self.left = _MOST_ENTRIES * (tape.slots + len(tape.outputs))

    def blocks_under(self, places: Any) -> list[int]:
        """Return the blocks that have some places."""
        return blocks_under(self.starts, self.listed, places)

    def spend(self, entries: int) -> None:
        """Note that so many more entries are made."""
        self.left -= entries
        if self.left < 0:
            raise NotThisWayError

    def read_by(self, number: int) -> tuple[VectorInstruction, Any]:
        """Return an instruction, and its operands: slots, places and blocks of each.

        A scalar one is given as a map over one element.
        """
        opcode, a, b = self.instructions[number].tolist()
        if opcode == VECTOR:
            return self._instruction(number), self._operands_of(a)
        operands = []
        for slot in (a, b)[: ROWS[opcode].arity]:
            slots = np.array([slot])
            places = self._places(slots)
            operands.append((slots, places, self.blocks_under(places)))
        if number in self.norms:
            opcode = OPCODE["norm_root"]
        return VectorInstruction(MAP, opcode, (1,), (), (1,)), tuple(operands)

    def times(self, term: Term, partial: Any, times: int, shape: tuple[int, ...]) -> Term:
        """Return a term times a partial, which is given over the shape of the results."""
        builder = self.builder
        if partial.ndim == 0 and builder.known(int(partial)) == 1.0:
            return term
        if term.within is not None and partial.ndim:
            partial = np.asarray(broadcast_slots(partial, shape)).ravel()[term.within]
        if term.slots is None:
            slots = partial
        else:
            self.spend(term.far.size)
            slots = builder.elementwise(times, (partial, term.slots))
        return Term(term.within, term.far, broadcast_slots(slots, term.far.shape))

    def add(self, terms: list[Term], new: Term) -> None:
        """Add a term to others: to one whose entries lie alike, else as one more."""
        for number, term in enumerate(terms):
            if _are_same(term.within, new.within) and _are_same(term.far, new.far):
                shape, one = new.far.shape, np.array(self.one)
                a, b = (one if each.slots is None else each.slots for each in (term, new))
                total = self.builder.elementwise(_ADD, (a, b))
                terms[number] = Term(term.within, term.far, broadcast_slots(total, shape))
                return
        terms.append(new)

    def assembled(
        self,
        parts: Iterable[tuple[Ints, Ints, Ints | None]],
        size: int,
        with_value: bool,
        lower: bool,
    ) -> Entries:
        """Return all nonzeros: `size` of them, in parts of rows, numbers of inputs, and slots."""
        width = max(len(self.inputs), 1)
        is_by_all = len(self.inputs) == self.tape.inputs
        # What there is of each entry takes 8 MB a million: so little is kept at one time.
        self._operands.clear()
        key, slot = np.empty(size, np.int64), np.empty(size, np.int64)
        done = 0
        for rows, inputs, slots in parts:
            part = slice(done, done + len(inputs))
            key[part] = inputs if is_by_all else np.searchsorted(self.inputs, inputs)
            key[part] += width * rows
            slot[part] = self.one if slots is None else slots
            done = part.stop
        if lower:
            kept = np.flatnonzero(key % width <= key // width)
            key, slot = key[kept], slot[kept]
        order = np.argsort(key, kind="stable")  # merges what is in order already
        key = key[order]
        slot = slot[order]
        del order, parts
        is_first = np.ones(len(key), bool)
        np.not_equal(key[1:], key[:-1], out=is_first[1:])
        if not is_first.all():
            begins = np.flatnonzero(is_first)
            key, slot = key[begins], self._added_up(slot, begins)
        indptr = np.searchsorted(key, width * np.arange(len(self.outputs) + 1))
        key %= width
        columns: npt.NDArray[np.integer[Any]] = key
        if width < np.iinfo(np.int32).max:
            columns = key.astype(np.int32)
        del key
        return Entries(indptr, columns, finished(self, slot, with_value))

    def _added_up(self, slots: Ints, begins: Ints) -> Ints:
        """Record the sums of slots that follow one another; return a slot for each."""
        totals, counts = slots[begins], np.diff(begins, append=len(slots))
        for k in range(1, int(counts.max())):
            several = np.flatnonzero(counts > k)
            more = slots[begins[several] + k]
            totals[several] = self.builder.elementwise(_ADD, (totals[several], more))
        return totals


def _are_same(a: Any, b: Any) -> bool:
    """Return whether two arrays of numbers, regular or not, are equal."""
    if a is b:
        return True
    if a is None or b is None or a.shape != b.shape:
        return False
    if isinstance(a, RegularSlots) and isinstance(b, RegularSlots):
        return a.base == b.base and a.layout.strides == b.layout.strides
    if a.size and (a.item(0) != b.item(0) or a.item(-1) != b.item(-1)):
        return False
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))
