"""Sparse forward accumulation: a tape of the nonzeros of a Jacobian, without colours.

The derivatives of an instruction's results by inputs are a few terms (`entries.py`). Terms whose
entries lie alike are added element by element; others stay apart until the matrix is put together.
So what is zero by structure costs nothing, arrays stay arrays, and sums and scatters of elements
only move entries. What a shifted view of an array is, is a shifted view of its columns and of its
slots.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import MAP
from numtape.sparse.entries import MULTIPLY, SCALE, Accumulation, Entries, NotThisWayError, Term
from numtape.sparse.parts import part_of
from numtape.tape.flat import FlatTape, VectorInstruction
from numtape.tape.regular import RegularSlots

__all__ = ["accumulated"]

Ints = npt.NDArray[np.int64]

# A sum over so few elements for each result is so many terms that lie like the results.
_FEW = 16


def accumulated(
    tape: FlatTape, inputs: Ints, lower: bool = False, with_value: bool = False
) -> Entries:
    """Return the nonzeros of a tape's Jacobian by some inputs, found forward.

    Parameters
    ----------
    tape : FlatTape
        Without loops.
    inputs : int64 array
        The numbers of the inputs, in ascending order. They are the columns.
    lower : bool
        Whether entries above the diagonal are left out: of a matrix known to be symmetric.
    with_value : bool
        Whether the tape's own outputs follow the nonzeros.

    Returns
    -------
    Entries
        It takes about 50 µs for each vector instruction, and for arrays whose views have no
        tables little for each element but of the outputs.

    Raises
    ------
    NotThisWayError
        Where there are too many entries, or there is no rule for an instruction.
    """
    return _Forward(tape, inputs).entries(lower, with_value)


class _Forward(Accumulation):
    """A tape being differentiated forward, entry by entry."""

    def __init__(self, tape: FlatTape, inputs: Ints) -> None:
        super().__init__(tape, inputs)
        self.is_by_all = len(inputs) == tape.inputs
        self.chosen = np.zeros(tape.inputs + 1, bool)
        self.chosen[1 + inputs] = True
        for number in range(self.count):
            found = self._terms_of(number)
            if found:
                self.terms[2 + number] = found

    def entries(self, lower: bool, with_value: bool) -> Entries:
        """Return the nonzeros of the outputs."""
        outputs = self._places(self.outputs)
        terms = self._read(outputs, self.blocks_under(outputs))
        self.terms.clear()

        def parts() -> Iterator[tuple[Ints, Ints, Ints | None]]:
            while terms:
                rows, places, slots = terms.pop(0).listed()
                yield rows, places - 1, slots

        size = sum(term.far.size for term in terms)
        return self.assembled(parts(), size, with_value, lower)

    # what an operand's elements depend on

    def _read(self, places: Any, blocks: Sequence[int]) -> list[Term]:
        """Return the terms of what is at some places, a result for each."""
        if len(blocks) == 1:
            return self._read_block(places, blocks[0])
        found: list[Term] = []
        every = np.asarray(places).ravel()
        owners = np.searchsorted(self.listed, every, side="right") - 1
        for block in blocks:
            if block > 1 and block not in self.terms:
                continue
            rows = np.flatnonzero(owners == block)
            for term in self._read_block(every[rows], block):
                own = rows if term.within is None else rows[term.within]
                found.append(Term(own, term.far, term.slots))
        return found

    def _read_block(self, places: Any, block: int) -> list[Term]:
        if block == 0:
            return []
        if block == 1:
            return self._of_inputs(places)
        local = places - self.starts[block]
        return [
            part
            for term in self.terms.get(block, ())
            if (part := self._part(term, local, block)) is not None
        ]

    def _of_inputs(self, places: Any) -> list[Term]:
        if self.is_by_all:
            return [Term(None, places, None)]
        every = np.asarray(places).ravel()
        rows = np.flatnonzero(self.chosen[every])
        if len(rows) == len(every):
            return [Term(None, places, None)]
        return [Term(rows, every[rows], None)] if len(rows) else []

    def _part(self, term: Term, local: Any, block: int) -> Term | None:
        """Return the entries of some of a block's results, which are given by their numbers."""
        if term.within is None:
            slots = None if term.slots is None else part_of(term.slots, local)
            return Term(None, part_of(term.far, local), slots)
        size = self.starts[block + 1] - self.starts[block]
        if local.size == size and isinstance(local, RegularSlots) and local.layout.is_contiguous:
            return term
        wanted = np.asarray(local).ravel()
        order = np.argsort(term.within, kind="stable")
        counts = np.bincount(term.within, minlength=size)
        begins = np.cumsum(counts) - counts
        each = counts[wanted]
        total = int(each.sum())
        if total == 0:
            return None
        self.spend(total)
        within = np.arange(total) - np.repeat(np.cumsum(each) - each, each)
        entries = order[np.repeat(begins[wanted], each) + within]
        slots = None if term.slots is None else np.asarray(term.slots)[entries]
        rows = np.repeat(np.arange(len(wanted)), each)
        return Term(rows, np.asarray(term.far)[entries], slots)

    # instructions

    def _terms_of(self, number: int) -> list[Term]:
        """Return the terms of an instruction."""
        instruction, operands = self.read_by(number)
        kind = KINDS[instruction.kind]
        if kind.is_flat(instruction):
            return []
        moving = len(operands) - kind.places
        read = [
            [] if places is None else self._read(places, blocks)
            for _, places, blocks in operands[:moving]
        ]
        if not any(read):
            return []
        result = self._result(instruction, number)
        if number in self.roots.readers:
            terms = self._by_roots(number, instruction.result)
            if terms is not None:
                return terms
        risky = any(self.risky[blk] for _, _, blocks in operands[:moving] for blk in blocks)
        self.risky[2 + number] = risky
        if instruction.kind == MAP:
            return self._map(number, instruction, operands, result, read, risky)
        return self._linear(instruction, operands, read)

    def _map(
        self,
        number: int,
        instruction: VectorInstruction,
        operands: Any,
        result: Any,
        read: Sequence[Sequence[Term]],
        risky: bool,
    ) -> list[Term]:
        terms: list[Term] = []
        for k, own in enumerate(read):
            if not own:
                continue
            partial, is_singular = self.partial(instruction, operands, result, k)
            if partial is None:
                continue
            self.risky[2 + number] |= is_singular
            times = SCALE if is_singular or risky else MULTIPLY
            for term in own:
                self.add(terms, self.times(term, partial, times, result.shape))
        return terms

    def _by_roots(self, number: int, shape: tuple[int, ...]) -> list[Term] | None:
        """Return the terms of an even function of a root, by what is under it; None of others."""
        parts = self.roots.terms(number)
        if parts is None:
            return None
        size = self.starts[number + 3] - self.starts[number + 2]
        found: list[Term] = []
        for slots, factor in parts:
            places = self._places(slots)
            if places is None:
                continue
            is_sum = places.size != size  # of squares
            for term in self._read(places, self.blocks_under(places)):
                made = self.times(term, factor.slots, SCALE, places.shape)
                if is_sum:
                    _, far, own = made.listed()
                    self.add(found, Term(np.zeros(len(far), np.int64), far, own))
                elif made.within is None:
                    laid = made.slots if made.slots is None else made.slots.reshape(shape)
                    self.add(found, Term(None, made.far.reshape(shape), laid))
                else:
                    self.add(found, made)
        self.risky[2 + number] = 1
        return found

    def _linear(
        self,
        instruction: VectorInstruction,
        operands: Any,
        read: Sequence[Sequence[Term]],
    ) -> list[Term]:
        """Return the terms of what is linear in each operand."""
        kind = KINDS[instruction.kind]
        terms: list[Term] = []
        for k, own in enumerate(read):
            for term in own:
                apart = self._apart(instruction, term) if len(operands) == 1 else None
                if apart is not None:
                    for each in apart:
                        self.add(terms, each)
                    continue
                elements, far, slots = term.listed()
                found = kind.carries(instruction, k, elements)
                if found is None:
                    raise NotThisWayError
                targets, factors = found
                width = targets.shape[1]
                self.spend(targets.size)
                slots = None if slots is None else np.repeat(slots, width)
                if factors is not None:
                    other = np.asarray(operands[1 - k][0]).ravel()[factors.ravel()]
                    # Like the product of derivatives: 0 times anything is 0.
                    slots = (
                        other if slots is None else self.builder.elementwise(SCALE, (other, slots))
                    )
                self.add(terms, Term(targets.ravel(), np.repeat(far, width), slots))
        return terms

    def _apart(self, instruction: VectorInstruction, term: Term) -> list[Term] | None:
        """Return a term of a sum over few elements as terms that lie like the results.

        None of other sums, and of entries that are listed by rows.
        """
        strides = instruction.result_strides
        if (
            term.within is not None
            or not strides
            or KINDS[instruction.kind].carries(instruction, 0, np.zeros(1, np.int64)) is None
        ):
            return None
        reduced = [axis for axis, step in enumerate(strides) if step == 0]
        kept = sorted(
            (axis for axis, step in enumerate(strides) if step), key=lambda k: -strides[k]
        )
        count = int(np.prod([instruction.shape[axis] for axis in reduced]))
        if count > _FEW:
            return None
        slots = term.slots

        def laid(array: Any, at: tuple[int, ...]) -> Any:
            chosen: list[Any] = [slice(None)] * len(strides)
            for axis, k in zip(reduced, at, strict=True):
                chosen[axis] = slice(k, k + 1)
            moved = array[tuple(chosen)].transpose((*kept, *reduced))
            return moved.reshape(instruction.result)

        return [
            Term(None, laid(term.far, at), None if slots is None else laid(slots, at))
            for at in np.ndindex(*(instruction.shape[axis] for axis in reduced))
        ]
