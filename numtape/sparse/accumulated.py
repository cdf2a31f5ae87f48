"""Sparse forward accumulation: a tape of the nonzeros of a Jacobian, without colours.

The derivatives of an instruction's results are a few *terms*. An entry of a term says that a
result's derivative by an input is what is in a slot of the new tape. Terms whose entries lie alike
are added element by element; others stay apart until the matrix is put together. So entries that
are zero by structure cost nothing, arrays stay arrays, and sums and scatters of elements only move
entries. What a shifted view of an array is, is a shifted view of its columns and of its slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS
from numtape.sparse.compressed import finished
from numtape.sparse.parts import part_of
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.regular import RegularSlots, broadcast_slots
from numtape.transform.blocks import blocks_under
from numtape.transform.derivation import Derivation

__all__ = ["Entries", "accumulated"]

Ints = npt.NDArray[np.int64]

_ADD, _MULTIPLY, _SCALE = OPCODE["add"], OPCODE["multiply"], OPCODE["scale"]

# A sum over so few elements for each result is so many terms that lie like the results.
_FEW = 16

# How many scalar instructions are walked one by one.
_MOST_SCALARS = 2000

# Entries for each slot of the tape, beyond which colours are better.
_MOST_ENTRIES = 40


@dataclass(frozen=True)
class Entries:
    """The nonzeros of a Jacobian, and a tape of their values.

    Attributes
    ----------
    rows, columns : int64 array
        In the order of rows and, within these, of columns.
    tape : FlatTape
        Its outputs are the values in the same order, and then perhaps those of the old tape.
    """

    rows: Ints
    columns: Ints
    tape: FlatTape


@dataclass(frozen=True)
class _Term:
    """Derivatives of an instruction's results, one an entry.

    Attributes
    ----------
    rows : int64 array, optional
        The number of each entry's result; None for an entry for each result, in their shape.
    places : slots
        The places of the inputs: their numbers, from 1 on.
    slots : slots, optional
        Of the derivatives; None where all are 1.
    """

    rows: Ints | None
    places: Any
    slots: Any


def accumulated(
    tape: FlatTape, inputs: Ints, lower: bool = False, with_value: bool = False
) -> Entries | None:
    """Return the nonzeros of a tape's Jacobian by some inputs.

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
    Entries or None
        None where this is not the way: too many entries, or an instruction for which there is
        no rule. It takes about 50 µs for each vector instruction, and for arrays whose views have no
        tables little for each element but of the outputs.
    """
    scalars = int((tape.code[:, 0] != VECTOR).sum())
    if scalars > _MOST_SCALARS or tape.has_loops:
        return None
    try:
        return _Accumulation(tape, inputs).entries(lower, with_value)
    except _NotThisWayError:
        return None


class _NotThisWayError(Exception):
    """There is no rule for an instruction, or there are too many entries."""


class _Accumulation(Derivation):
    """A tape being differentiated, entry by entry."""

    def __init__(self, tape: FlatTape, inputs: Ints) -> None:
        super().__init__(tape, 0)
        self.inputs = inputs
        self.is_by_all = len(inputs) == tape.inputs
        self.chosen = np.zeros(tape.inputs + 1, bool)
        self.chosen[1 + inputs] = True
        self.instructions = self.builder.instructions()
        self.one = self.builder.constant(1.0)
        self.risky = np.zeros(len(self.starts), np.uint8)
        self.terms: dict[int, list[_Term]] = {}  # by block
        self.left = _MOST_ENTRIES * (tape.slots + len(tape.outputs))
        for number in range(self.count):
            found = self._terms_of(number)
            if found:
                self.terms[2 + number] = found

    def entries(self, lower: bool, with_value: bool) -> Entries:
        """Return the nonzeros of the outputs."""
        rows, places, slots = [], [], []
        outputs = self._places(self.outputs)
        for term in self._read(outputs, self._blocks_under(outputs)):
            own = np.asarray(term.places).ravel()
            rows.append(np.arange(len(outputs)) if term.rows is None else term.rows)
            places.append(own)
            slots.append(self._slots_of(term))
        empty = np.zeros(0, np.int64)
        row, place, slot = (np.concatenate([empty, *each]) for each in (rows, places, slots))
        column = place - 1 if self.is_by_all else np.searchsorted(self.inputs, place - 1)
        if lower:
            kept = np.flatnonzero(column <= row)
            row, column, slot = row[kept], column[kept], slot[kept]
        width = max(len(self.inputs), 1)
        key = row * width + column
        order = np.argsort(key, kind="stable")  # merges what is in order already
        key, slot = key[order], slot[order]
        is_first = np.ones(len(key), bool)
        np.not_equal(key[1:], key[:-1], out=is_first[1:])
        if not is_first.all():
            begins = np.flatnonzero(is_first)
            key, slot = key[begins], self._added_up(slot, begins)
        row = key // width
        return Entries(row, key - row * width, finished(self, slot, with_value))

    def _added_up(self, slots: Ints, begins: Ints) -> Ints:
        """Record the sums of slots that follow one another; return a slot for each."""
        totals, counts = slots[begins], np.diff(begins, append=len(slots))
        for k in range(1, int(counts.max())):
            several = np.flatnonzero(counts > k)
            more = slots[begins[several] + k]
            totals[several] = self.builder.elementwise(_ADD, (totals[several], more))
        return totals

    def _slots_of(self, term: _Term) -> Ints:
        """Return the slot of each entry, written out."""
        if term.slots is None:
            return np.full(term.places.size, self.one)
        return np.asarray(term.slots).ravel()

    def _blocks_under(self, places: Any) -> list[int]:
        return blocks_under(self.starts, self.listed, places)

    # what an operand's elements depend on

    def _read(self, places: Any, blocks: Sequence[int]) -> list[_Term]:
        """Return the terms of what is at some places, a result for each."""
        if len(blocks) == 1:
            return self._read_block(places, blocks[0])
        found: list[_Term] = []
        every = np.asarray(places).ravel()
        owners = np.searchsorted(self.listed, every, side="right") - 1
        for block in blocks:
            if block > 1 and block not in self.terms:
                continue
            rows = np.flatnonzero(owners == block)
            for term in self._read_block(every[rows], block):
                own = rows if term.rows is None else rows[term.rows]
                found.append(_Term(own, term.places, term.slots))
        return found

    def _read_block(self, places: Any, block: int) -> list[_Term]:
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

    def _of_inputs(self, places: Any) -> list[_Term]:
        if self.is_by_all:
            return [_Term(None, places, None)]
        every = np.asarray(places).ravel()
        rows = np.flatnonzero(self.chosen[every])
        if len(rows) == len(every):
            return [_Term(None, places, None)]
        return [_Term(rows, every[rows], None)] if len(rows) else []

    def _part(self, term: _Term, local: Any, block: int) -> _Term | None:
        """Return the entries of some of a block's results, which are given by their numbers."""
        if term.rows is None:
            slots = None if term.slots is None else part_of(term.slots, local)
            return _Term(None, part_of(term.places, local), slots)
        size = self.starts[block + 1] - self.starts[block]
        if local.size == size and isinstance(local, RegularSlots) and local.layout.is_contiguous:
            return term
        wanted = np.asarray(local).ravel()
        order = np.argsort(term.rows, kind="stable")
        counts = np.bincount(term.rows, minlength=size)
        begins = np.cumsum(counts) - counts
        each = counts[wanted]
        total = int(each.sum())
        if total == 0:
            return None
        self._spend(total)
        within = np.arange(total) - np.repeat(np.cumsum(each) - each, each)
        entries = order[np.repeat(begins[wanted], each) + within]
        slots = None if term.slots is None else np.asarray(term.slots)[entries]
        rows = np.repeat(np.arange(len(wanted)), each)
        return _Term(rows, np.asarray(term.places)[entries], slots)

    def _spend(self, entries: int) -> None:
        """Note that so many more entries are made."""
        self.left -= entries
        if self.left < 0:
            raise _NotThisWayError

    # instructions

    def _terms_of(self, number: int) -> list[_Term]:
        """Return the terms of an instruction."""
        opcode, a, b = self.instructions[number].tolist()
        if opcode != VECTOR:
            return self._scalar(number, opcode, (a, b)[: ROWS[opcode].arity])
        instruction = self._instruction(number)
        kind = KINDS[instruction.kind]
        if kind.is_flat(instruction):
            return []
        operands = self._operands_of(a)
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
        return self._linear(instruction, operands, read, risky)

    def _map(
        self,
        number: int,
        instruction: VectorInstruction,
        operands: Any,
        result: Any,
        read: Sequence[Sequence[_Term]],
        risky: bool,
    ) -> list[_Term]:
        terms: list[_Term] = []
        for k, own in enumerate(read):
            if not own:
                continue
            partial, is_singular = self.partial(instruction, operands, result, k)
            if partial is None:
                continue
            self.risky[2 + number] |= is_singular
            times = _SCALE if is_singular or risky else _MULTIPLY
            for term in own:
                self._add(terms, self._times(term, partial, times, result.shape))
        return terms

    def _scalar(self, number: int, opcode: int, operands: Sequence[int]) -> list[_Term]:
        """Return the terms of a scalar instruction."""
        if ROWS[opcode].is_flat:
            return []
        known = []
        for slot in operands:
            slots = np.array([slot])
            places = self._places(slots)
            known.append((slots, places, self._blocks_under(places)))
        read = [self._read(places, blocks) for _, places, blocks in known]
        if not any(read):
            return []
        shape = (1,)
        if number in self.roots.readers:
            terms = self._by_roots(number, shape)
            if terms is not None:
                return terms
        if number in self.norms:
            opcode = OPCODE["norm_root"]
        as_array = VectorInstruction(MAP, opcode, shape, (), shape)
        risky = any(self.risky[block] for _, _, blocks in known for block in blocks)
        self.risky[2 + number] = risky
        return self._map(number, as_array, known, self._result(as_array, number), read, risky)

    def _by_roots(self, number: int, shape: tuple[int, ...]) -> list[_Term] | None:
        """Return the terms of an even function of a root, by what is under it; None of others."""
        parts = self.roots.terms(number)
        if parts is None:
            return None
        size = self.starts[number + 3] - self.starts[number + 2]
        found: list[_Term] = []
        for slots, factor in parts:
            places = self._places(slots)
            if places is None:
                continue
            is_sum = places.size != size  # of squares
            for term in self._read(places, self._blocks_under(places)):
                made = self._times(term, factor.slots, _SCALE, places.shape)
                if is_sum:
                    own = np.asarray(made.places).ravel()
                    self._add(found, _Term(np.zeros(len(own), np.int64), own, self._slots_of(made)))
                elif made.rows is None:
                    laid = made.slots if made.slots is None else made.slots.reshape(shape)
                    self._add(found, _Term(None, made.places.reshape(shape), laid))
                else:
                    self._add(found, made)
        self.risky[2 + number] = 1
        return found

    def _times(self, term: _Term, partial: Any, times: int, shape: tuple[int, ...]) -> _Term:
        """Return a term times a partial, which is given over the shape of the results."""
        builder = self.builder
        if partial.ndim == 0 and builder.known(int(partial)) == 1.0:
            return term
        if term.rows is not None and partial.ndim:
            partial = np.asarray(broadcast_slots(partial, shape)).ravel()[term.rows]
        if term.slots is None:
            slots = partial
        else:
            self._spend(term.places.size)
            slots = builder.elementwise(times, (partial, term.slots))
        return _Term(term.rows, term.places, broadcast_slots(slots, term.places.shape))

    def _linear(
        self,
        instruction: VectorInstruction,
        operands: Any,
        read: Sequence[Sequence[_Term]],
        risky: bool,
    ) -> list[_Term]:
        """Return the terms of what is linear in each operand."""
        kind, terms = KINDS[instruction.kind], []  # type: ignore[var-annotated]
        for k, own in enumerate(read):
            places = operands[k][1]
            for term in own:
                apart = self._apart(instruction, term) if len(operands) == 1 else None
                if apart is not None:
                    for each in apart:
                        self._add(terms, each)
                    continue
                elements = np.arange(places.size) if term.rows is None else term.rows
                found = kind.carries(instruction, k, elements)
                if found is None:
                    raise _NotThisWayError
                targets, factors = found
                width = targets.shape[1]
                self._spend(targets.size)
                own_places = np.repeat(np.asarray(term.places).ravel(), width)
                slots = None if term.slots is None else np.repeat(self._slots_of(term), width)
                moved = _Term(targets.ravel(), own_places, slots)
                if factors is not None:
                    other = np.asarray(operands[1 - k][0]).ravel()[factors.ravel()]
                    times = _SCALE if risky or slots is not None else _MULTIPLY
                    if slots is not None:
                        other = self.builder.elementwise(times, (other, slots))
                    moved = _Term(moved.rows, moved.places, other)
                self._add(terms, moved)
        return terms

    def _apart(self, instruction: VectorInstruction, term: _Term) -> list[_Term] | None:
        """Return a term of a sum over few elements as terms that lie like the results.

        None of other sums, and of entries that are listed by rows.
        """
        strides = instruction.result_strides
        if (
            term.rows is not None
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
            _Term(None, laid(term.places, at), None if slots is None else laid(slots, at))
            for at in np.ndindex(*(instruction.shape[axis] for axis in reduced))
        ]

    def _add(self, terms: list[_Term], new: _Term) -> None:
        """Add a term to others: to one whose entries lie alike, else as one more."""
        for number, term in enumerate(terms):
            if _are_same(term.rows, new.rows) and _are_same(term.places, new.places):
                shape, one = new.places.shape, np.array(self.one)
                a, b = (one if each.slots is None else each.slots for each in (term, new))
                total = self.builder.elementwise(_ADD, (a, b))
                terms[number] = _Term(term.rows, term.places, broadcast_slots(total, shape))
                return
        terms.append(new)


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
