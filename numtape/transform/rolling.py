"""Rolling up: what a tape does again and again becomes a loop.

`periods.py` finds where a tape repeats itself. Here each such stretch becomes one instruction,
whose body is a step of it; loops of loops are found when the shorter tape, and bodies, are
looked at again. All that is computed is computed as before, in the same order, so results have
the same bits. `unrolled` is the way back.

What is in many steps is looked at by NumPy; Python looks at what is left, and at one step.
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.tape.flat import VECTOR, FlatTape, Guard, VectorInstruction, View
from numtape.tape.forms import Forms, Vectors, bases_of
from numtape.trace.recorder import Slots, view_of
from numtape.transform.matching import STEPS
from numtape.transform.passed_roots import passes_roots
from numtape.transform.periods import Items, stretches
from numtape.transform.steps import Stretch

__all__ = ["roll"]

Bools = npt.NDArray[np.bool_]

# Instructions of a tape that is looked at: rolling up costs some milliseconds, in which a first
# gradient of fewer is there without. Those over arrays count as many: they take longer to derive.
_LEAST, _ARRAY = 4000, 16
_LEAST_BODY = 64  # and of a body
_LEAST_PART = 0.125  # of a tape that has to be saved: what little is repeated is no gain


def roll(tape: FlatTape) -> FlatTape:
    """Return a tape with loops in place of what it repeats; the same where it repeats nothing.

    Short tapes are left alone, and those where a root would go into a loop or out of one:
    derivatives of its squares have to see what is under it, see `passed_roots.py`.
    """
    if tape.instructions + (_ARRAY - 1) * len(tape.vectors) < _LEAST:
        return tape
    rolled = _rolled(tape)
    return tape if rolled is not tape and passes_roots(rolled) else rolled


def _rolled(tape: FlatTape) -> FlatTape:
    """Return a tape of any length with loops, and loops of loops."""
    while tape.instructions > STEPS:
        items = Items.of(tape)
        found = stretches(items)
        saved = sum(period * (steps - 1) for _, period, steps in found)
        if not found or saved < _LEAST_PART * tape.instructions:
            break
        left = _Rolling(items, [Stretch(items, *each) for each in found]).tape()
        if left is tape:
            break
        tape = left
    return tape


def _rolled_body(tape: FlatTape) -> FlatTape:
    return _rolled(tape) if tape.instructions >= _LEAST_BODY else tape


class _Rolling:
    """A tape whose stretches become loops.

    Parameters
    ----------
    items : Items
    stretches : list of Stretch
        In order.
    """

    def __init__(self, items: Items, stretches: list[Stretch]) -> None:
        self.items, self.old, self.stretches = items, items.tape, stretches
        self.stays = np.ones(self.old.instructions, bool)
        for each in stretches:
            self.stays[each.first : each.end] = False
        self.is_vector = self.old.code[:, 0] == VECTOR
        self.kept = self.stays[self.is_vector]  # which vector instructions

    def tape(self) -> FlatTape:
        """Return the tape."""
        read = self._read()
        for each in self.stretches:
            each.choose_results(read)
        self._number(read)
        others = self._gathering()
        if others is None:  # some loops are in the way
            return self._without_some()
        known = self.new, self.first_result, self.data
        loops = [each.instruction(*known, _rolled_body) for each in self.stretches]
        old = self.old
        guards = zip(old.guards, self.new[old.guard_slots].tolist(), strict=True)
        return FlatTape.unchecked(
            code=self._code(),
            vectors=self._vectors(others, loops),
            constants=np.concatenate([*self.columns, old.constants[self.used]]),
            inputs=old.inputs,
            outputs=self.new[old.outputs],
            guards=tuple([Guard(slot, each.outcome, each.location) for each, slot in guards]),
            point=old.point,
            lines=self._lines(),
        )

    def _without_some(self) -> FlatTape:
        """Return the tape where those in the way write all, or stay as they are if they do."""
        left = [each for each in self.stretches if each.makes_way()]
        if not left or not any(each.is_in_the_way for each in self.stretches):
            return self.old
        for each in left:
            each.is_in_the_way = False
        return _Rolling(self.items, left).tape()

    def _read(self) -> Bools:
        """Return which slots are read other than by the stretch that makes them."""
        old = self.old
        read = np.zeros(old.slots, bool)
        read[old.outputs] = True
        read[old.guard_slots] = True
        scalars = old.code[self.stays & ~self.is_vector, 1:]
        read[scalars] = True
        if self.kept.any():
            survey, starts = old.vectors.survey, old.vectors.starts.tolist()
            constants = old.first_input
            for number in np.flatnonzero(self.kept).tolist():
                for view in range(starts[number], starts[number + 1]):
                    low, high = survey.low.item(view), survey.high.item(view)
                    if survey.has_table[view]:
                        form, place = old.vectors.form(number), view - starts[number]
                        read[form.instruction.operands[place].table] = True
                    elif survey.is_dense[view]:
                        read[low : high + 1] = True
                    else:
                        read[old.vectors.slots_read(view)] = True
                        read[low : min(high + 1, constants)] = True  # constants stay together
        for each in self.stretches:
            each.mark(read)
        return read

    def _number(self, read: Bools) -> None:
        """Give all that is left its new slot."""
        old = self.old
        first = 1
        self.data: dict[bytes, int] = {}  # where columns of constants begin, by their bits
        self.columns: list[npt.NDArray[np.float64]] = []
        for each in self.stretches:
            for column in each.columns():
                key = column.tobytes()
                if key not in self.data:
                    self.data[key] = first
                    self.columns.append(column)
                    first += len(column)
        self.new: Slots = np.full(old.slots, -1)
        self.new[0] = 0
        # Those that stay come after these: an array may have constants and inputs.
        self.used = np.flatnonzero(read[1 : old.first_input])
        self.new[1 + self.used] = first + np.arange(len(self.used))
        first += len(self.used)
        self.new[old.first_input : old.first_result] = first + np.arange(old.inputs)
        before, slot = old.first_result, first + old.inputs
        self.first_result = slot
        for each in self.stretches:
            slot = self._plain(before, each.begin, slot)
            slot = each.number(self.new, slot)
            before = each.stop
        self._plain(before, old.slots, slot)

    def _plain(self, start: int, stop: int, slot: int) -> int:
        """Number results that stay as they are; return the slot after them."""
        self.new[start:stop] = slot + np.arange(stop - start)
        return slot + stop - start

    def _gathering(self) -> dict[int, VectorInstruction] | None:
        """Return, by number, instructions that read otherwise than before; None where none may."""
        if not self.kept.any():
            return {}
        old, new, survey = self.old, self.new, self.old.vectors.survey
        breaks = np.zeros(old.slots, np.int64)
        np.cumsum(np.diff(new) != 1, out=breaks[1:])
        of_tables = survey.has_table
        low, high = (np.where(of_tables, 0, each) for each in (survey.low, survey.high))
        differs = (of_tables | (breaks[low] != breaks[high])) & self.kept[survey.owner]
        others: dict[int, VectorInstruction] = {}
        works = True
        for number in np.unique(survey.owner[differs]).tolist():
            each = old.vectors[number]
            views = tuple(map(self._view, each.operands, each.operand_shapes()))
            gathers = any(view.table is not None for view in views)
            if gathers and not KINDS[each.kind].may_gather:
                works = False
                for slots in each.operand_slots():
                    for stretch in self.stretches:
                        stretch.is_in_the_way |= stretch.makes(slots)
            others[number] = each.reading(views)
        return others if works else None

    def _view(self, view: View, shape: tuple[int, ...]) -> View:
        if 0 in shape:
            return view
        if view.table is not None:
            return View(view.base, view.strides, self.new[view.table])
        return view_of(self.new[view.slots(shape)])

    def _code(self) -> npt.NDArray[np.int32]:
        """Return the instructions."""
        rows = self.stays.copy()
        for each in self.stretches:
            rows[each.first] = True
        code = self.old.code[rows].astype(np.int64)
        numbers = np.cumsum(rows) - 1
        is_vector = self.is_vector[rows]
        scalars = code[~is_vector, 1:]
        code[~is_vector, 1:] = self.new[scalars]
        for each in self.stretches:
            code[numbers[each.first]] = VECTOR, 0, each.size
            is_vector[numbers[each.first]] = True
        code[is_vector, 1] = np.arange(np.count_nonzero(is_vector))
        return code.astype(np.int32)

    def _vectors(
        self, others: dict[int, VectorInstruction], loops: list[VectorInstruction]
    ) -> Vectors:
        """Return the vector instructions, loops among them."""
        old = self.old.vectors
        survey = old.survey if len(old) else None
        bases = old.bases
        if survey is not None:
            low = np.where(survey.has_table, 0, survey.low)
            bases = np.where(survey.has_table, 0, self.new[low] + survey.base - low)
        plain = old.based(bases).with_others(others) if len(old) else old
        forms = Forms(plain.forms)
        numbers = np.cumsum(self.is_vector)
        which: list[Any] = []
        parts: list[Any] = []
        done = 0
        for stretch, loop in zip(self.stretches, loops, strict=True):
            start = int(numbers[stretch.first] - self.is_vector[stretch.first])
            which += plain.which[done:start], [forms.number(loop)]
            parts += plain.bases[plain.starts[done] : plain.starts[start]], bases_of(loop)
            done = int(numbers[stretch.end - 1])
        which.append(plain.which[done:])
        parts.append(plain.bases[plain.starts[done] :])
        together = [np.concatenate(each).astype(np.int64) for each in (which, parts)]
        used, which_used = np.unique(together[0], return_inverse=True)
        return Vectors([forms.all[k] for k in used.tolist()], which_used, together[1])

    def _lines(self) -> Any:
        if self.old.lines is None:
            return None
        rows = self.stays.copy()
        for each in self.stretches:
            rows[each.first] = True
        return tuple(itertools.compress(self.old.lines, rows.tolist()))
