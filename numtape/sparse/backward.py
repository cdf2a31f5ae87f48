"""Sparse backward accumulation: the other end first.

The derivatives of outputs by an instruction's results are a few terms (`entries.py`), found from
the outputs on. This takes fewer operations than forward accumulation where few outputs are made of
many inputs through long chains: residuals of many observations, each of some dozen parameters.
Views of arrays are written to here, so what is not an operand as a whole is listed element by
element.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import MAP
from numtape.sparse.entries import MULTIPLY, SCALE, Accumulation, Entries, NotThisWayError, Term
from numtape.tape.flat import FlatTape, VectorInstruction
from numtape.tape.regular import RegularSlots
from numtape.trace.recorder import view_of

__all__ = ["accumulated_backward"]

Ints = npt.NDArray[np.int64]


def accumulated_backward(
    tape: FlatTape, inputs: Ints, lower: bool = False, with_value: bool = False
) -> Entries:
    """Return the nonzeros of a tape's Jacobian by some inputs, found backward.

    Parameters
    ----------
    tape, inputs, lower, with_value
        As for `accumulated`.

    Raises
    ------
    NotThisWayError
        Where there are too many entries, or there is no rule for an instruction.
    """
    return _Backward(tape, inputs).entries(lower, with_value)


class _Backward(Accumulation):
    """A tape being differentiated backward, entry by entry."""

    def __init__(self, tape: FlatTape, inputs: Ints) -> None:
        super().__init__(tape, inputs)
        self._find_active(inputs)
        outputs = self._places(self.outputs)
        self._push(Term(None, np.arange(len(outputs)), None), outputs, self.blocks_under(outputs))
        for number in reversed(range(self.count)):
            terms = self.terms.pop(2 + number, None)
            if terms:
                self._step(number, terms)

    def entries(self, lower: bool, with_value: bool) -> Entries:
        """Return the nonzeros by the inputs."""
        terms = self.terms.pop(1, [])

        def parts() -> Iterator[tuple[Ints, Ints, Ints | None]]:
            while terms:
                within, rows, slots = terms.pop(0).listed()
                chosen = self.by[1 + within].astype(bool)
                if chosen.all():
                    yield rows, within, slots
                else:
                    slots = None if slots is None else slots[chosen]
                    yield rows[chosen], within[chosen], slots

        count = sum(int(self.by[1 + term.listed()[0]].sum()) for term in terms)
        return self.assembled(parts(), count, with_value, lower)

    def _push(self, term: Term, places: Any, blocks: list[int]) -> None:
        """Add a term to the blocks of some places; its entries are numbered as these are."""
        wanted = [block for block in blocks if block > 0 and self.active[block]]
        if not wanted:
            return
        if len(blocks) == 1:
            self._push_to(blocks[0], term, places)
            return
        within, far, slots = term.listed()
        own = np.asarray(places).ravel()[within]
        owners = np.searchsorted(self.listed, own, side="right") - 1
        for block in wanted:
            here = np.flatnonzero(owners == block)
            if len(here):
                part = Term(None, far[here], None if slots is None else slots[here])
                self._push_to(block, part, own[here])

    def _push_to(self, block: int, term: Term, places: Any) -> None:
        terms = self.terms.setdefault(block, [])
        start, size = self.starts[block], self.starts[block + 1] - self.starts[block]
        if term.within is None and _is_in_order(places, start, size):
            slots = None if term.slots is None else term.slots.reshape(-1)
            self.add(terms, Term(None, term.far.reshape(-1), slots))
            return
        within, far, slots = term.listed()
        self.spend(len(far))
        self.add(terms, Term(np.asarray(places).ravel()[within] - start, far, slots))

    def _step(self, number: int, terms: list[Term]) -> None:
        """Go from an instruction's results to its operands."""
        instruction, operands = self.read_by(number)
        kind, shape = KINDS[instruction.kind], instruction.result
        if kind.is_flat(instruction):
            return
        terms = [
            term
            if term.within is not None
            else Term(None, term.far.reshape(shape), _reshaped(term.slots, shape))
            for term in terms
        ]
        if number in self.roots.readers and self._by_roots(number, terms, shape):
            return
        risky = bool(self.risky[2 + number])
        if instruction.kind == MAP:
            result = self._result(instruction, number)
            for k, (_, places, blocks) in enumerate(operands):
                if places is None or not any(self.active[block] for block in blocks):
                    continue
                partial, is_singular = self.partial(instruction, operands, result, k)
                if partial is None:
                    continue
                if risky or is_singular:
                    self.risky[blocks] = 1
                times = SCALE if risky or is_singular else MULTIPLY
                for term in terms:
                    self._push(self.times(term, partial, times, shape), places, blocks)
            return
        self._unsum(instruction, operands, terms, risky)

    def _unsum(
        self, instruction: VectorInstruction, operands: Any, terms: list[Term], risky: bool
    ) -> None:
        """Go from sums to what they are of."""
        _, places, blocks = operands[0]
        if places is None or len(operands) > 1:
            raise NotThisWayError
        elements = np.arange(places.size)
        found = KINDS[instruction.kind].carries(instruction, 0, elements)
        if found is None or found[1] is not None:
            raise NotThisWayError
        if risky:
            self.risky[blocks] = 1
        targets = found[0].ravel()
        order = np.argsort(targets, kind="stable")
        counts = np.bincount(targets, minlength=instruction.size)
        begins = np.cumsum(counts) - counts
        for term in terms:
            within, far, slots = term.listed()
            each = counts[within]
            total = int(each.sum())
            self.spend(total)
            steps = np.arange(total) - np.repeat(np.cumsum(each) - each, each)
            own = order[np.repeat(begins[within], each) + steps]
            slots = None if slots is None else np.repeat(slots, each)
            self._push(Term(own, np.repeat(far, each), slots), places, blocks)

    def _by_roots(self, number: int, terms: list[Term], shape: tuple[int, ...]) -> bool:
        """Go from an even function of a root to what is under it; False for others."""
        parts = self.roots.terms(number)
        if parts is None:
            return False
        size = self.starts[number + 3] - self.starts[number + 2]
        for slots, factor in parts:
            places = self._places(slots)
            if places is None:
                continue
            blocks = self.blocks_under(places)
            self.risky[blocks] = 1
            for term in terms:
                if places.size == size:
                    self._push(self.times(term, factor.slots, SCALE, shape), places, blocks)
                    continue
                _, far, own = term.listed()  # of a sum of squares
                width = places.size
                self.spend(len(far) * width)
                within = np.tile(np.arange(width), len(far))
                own = None if own is None else np.repeat(own, width)
                spread = Term(within, np.repeat(far, width), own)
                self._push(self.times(spread, factor.slots, SCALE, places.shape), places, blocks)
        return True


def _is_in_order(places: Any, start: int, size: int) -> bool:
    """Return whether some places are those of a block, one after the other."""
    if places.size != size or places.item(0) != start:
        return False
    if isinstance(places, RegularSlots):
        return places.layout.is_contiguous
    view = view_of(places)
    return (
        view.table is None
        and RegularSlots.of(start, view.strides, places.shape).layout.is_contiguous
    )


def _reshaped(slots: Any, shape: tuple[int, ...]) -> Any:
    return None if slots is None else slots.reshape(shape)
