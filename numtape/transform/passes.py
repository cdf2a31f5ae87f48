"""Passes: small functions from a tape to a tape of the same values.

Each may be used alone; `optimize` is all of them. Values are the same to the
last bit, but for the sign of a zero and the bits of a nan.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.forms import Vectors
from numtape.tape.instruction import View
from numtape.tape.reads import without
from numtape.tape.regular import by_parts
from numtape.trace.recorder import Slots, view_of
from numtape.transform.blocks import blocks_of
from numtape.transform.builder import ALL_RULES, NO_RULES, Builder, Rules, replay
from numtape.transform.pruning import prune

__all__ = ["fold_constants", "optimize", "remove_dead", "share", "simplify"]


def fold_constants(tape: FlatTape) -> FlatTape:
    """Turn operations on constants alone into constants."""
    return _rebuilt(tape, Rules(fold=True, simplify=False, share=False))


def simplify(tape: FlatTape) -> FlatTape:
    """Apply identities that are exact in floating point: ``x * 1``, ``x + (-y)``, ``-(-x)`` ..."""
    return _rebuilt(tape, Rules(fold=False, simplify=True, share=False))


def share(tape: FlatTape) -> FlatTape:
    """Merge equal instructions, scalar or vector."""
    return _rebuilt(tape, Rules(fold=False, simplify=False, share=True))


def optimize(tape: FlatTape) -> FlatTape:
    """Run all passes: about 2 µs a scalar instruction."""
    return remove_dead(_rebuilt(tape, ALL_RULES))


def _rebuilt(tape: FlatTape, rules: Rules) -> FlatTape:
    builder = Builder(tape.inputs, rules)
    slots = replay(tape, builder, range(1, tape.inputs + 1))
    return builder.finish(slots.at(tape.outputs), tape.point)


def remove_dead(tape: FlatTape) -> FlatTape:
    """Leave out instructions, also in loops, that no output and no guard needs."""
    left = _without_dead_instructions(tape)
    pruned = prune(left, remove_dead)
    return left if pruned is left else remove_dead(pruned)


def _without_dead_instructions(tape: FlatTape) -> FlatTape:
    needed = tape.needed(np.concatenate([tape.outputs, tape.guard_slots]))
    if needed.all():
        return tape
    return _without_dead_scalars(tape, needed) if tape.is_scalar else _without_dead(tape, needed)


def _without_dead(tape: FlatTape, needed: npt.NDArray[np.bool_]) -> FlatTape:
    """Return a tape with vector instructions, without those that are not needed."""
    new_slots = _Renumbering(tape, needed)
    is_vector = tape.code[:, 0] == VECTOR
    which = needed[is_vector]
    vectors = new_slots.vectors(tape.vectors.chosen(which))
    if vectors is None:
        return _rewritten(tape, needed)
    code = tape.code[needed].astype(np.int64)
    is_vector = is_vector[needed]
    code[is_vector, 1] = np.arange(len(vectors))
    code[~is_vector, 1:] = new_slots.at(code[~is_vector, 1:])
    left = tape.changed(
        code=code.astype(np.int32),
        vectors=vectors,
        outputs=new_slots.at(tape.outputs),
        **_guards_and_lines(tape, needed, new_slots.at(tape.guard_slots)),
    )
    left.__dict__["read_by_vectors"] = without(tape.read_by_vectors, tape.inputs, needed, which)
    return left


class _Renumbering:
    """Slots of a tape in the numbering of what is left of it.

    Parameters
    ----------
    tape : FlatTape
    needed : bool array
        Which instructions are left.
    """

    def __init__(self, tape: FlatTape, needed: npt.NDArray[np.bool_]) -> None:
        self.starts = blocks_of(tape)
        self.removed = np.zeros(len(self.starts), np.int64)  # how many slots before each block's
        np.cumsum(np.where(needed, 0, np.diff(self.starts)[3:]), out=self.removed[4:])

    def before(self, slots: Slots) -> Slots:
        """Return how many slots before each of some are gone."""
        found: Slots = self.removed[np.searchsorted(self.starts, slots, side="right") - 1]
        return found

    def at(self, slots: Slots) -> Slots:
        """Return the new slots of some that are left."""
        return by_parts(lambda part: part - self.before(part), slots)

    def vectors(self, kept: Vectors) -> Vectors | None:
        """Return instructions that read the new slots; None where one may not gather but has to."""
        survey = kept.survey
        low, high = (np.where(survey.has_table, 0, each) for each in (survey.low, survey.high))
        before = self.before(low)
        others = {}
        is_split = before != self.before(high)
        for number in np.unique(survey.owner[survey.has_table | is_split]).tolist():
            instruction = kept[number]
            views = tuple(map(self._view, instruction.operands, instruction.operand_shapes()))
            has_table = any(view.table is not None for view in views)
            if has_table and not KINDS[instruction.kind].may_gather:
                return None
            others[number] = instruction.reading(views)
        return kept.based(survey.base - before).with_others(others)

    def _view(self, view: View, shape: tuple[int, ...]) -> View:
        """Return the view that reads the new slots of what a view reads."""
        if view.table is not None:
            return View(view.base, view.strides, self.at(view.table))
        low, high = self.before(np.array(view.reach(shape))).tolist()
        if low == high:
            return View(view.base - low, view.strides)
        return view_of(self.at(view.slots(shape)))


def _rewritten(tape: FlatTape, needed: npt.NDArray[np.bool_]) -> FlatTape:
    """Record the needed instructions again: where arrays do not step evenly any more."""
    recorder = Builder(tape.inputs, NO_RULES)
    slots = replay(tape, recorder, range(1, tape.inputs + 1), needed)
    return recorder.finish(slots.at(tape.outputs), tape.point)


def _without_dead_scalars(tape: FlatTape, needed: npt.NDArray[np.bool_]) -> FlatTape:
    """Return a tape of scalar instructions, without those and the constants that are not needed."""
    kept = tape.code[needed]
    is_kept = np.ones(tape.slots, bool)
    is_kept[tape.first_result :] = needed
    used = np.zeros(tape.slots, bool)
    for column in (kept[:, 1], kept[:, 2], tape.outputs, [g.slot for g in tape.guards]):
        used[np.asarray(column, np.int64)] = True
    is_kept[1 : tape.first_input] = used[1 : tape.first_input]
    new_slot = np.cumsum(is_kept) - 1
    code = np.column_stack([kept[:, 0], new_slot[kept[:, 1]], new_slot[kept[:, 2]]])
    return tape.changed(
        code=code.astype(np.int32).reshape(-1, 3),
        constants=tape.constants[is_kept[1 : tape.first_input]],
        outputs=new_slot[tape.outputs],
        **_guards_and_lines(tape, needed, new_slot[tape.guard_slots]),
    )


def _guards_and_lines(tape: FlatTape, needed: npt.NDArray[np.bool_], slots: Slots) -> Any:
    """Return the guards at new slots, and the lines of the needed instructions."""
    guards = zip(tape.guards, slots.tolist(), strict=True)
    lines = tape.lines
    if lines is not None:
        lines = tuple(line for line, keep in zip(lines, needed, strict=True) if keep)
    return {"guards": tuple(replace(guard, slot=slot) for guard, slot in guards), "lines": lines}
