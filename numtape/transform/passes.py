"""Passes: small functions from a tape to a tape of the same values.

Each may be used alone; `optimize` is all of them. Values are the same to the
last bit, but for the sign of a zero and the bits of a nan.
"""

from dataclasses import replace

import numpy as np

from numtape.tape.flat import FlatTape
from numtape.trace.recorder import Recorder
from numtape.transform.builder import ALL_RULES, Builder, Rules, replay

__all__ = ["fold_constants", "optimize", "remove_dead", "share", "simplify"]


def fold_constants(tape: FlatTape) -> FlatTape:
    """Operations on constants alone become constants."""
    return _rebuilt(tape, Rules(fold=True, simplify=False, share=False))


def simplify(tape: FlatTape) -> FlatTape:
    """Identities that are exact in floating point: ``x * 1``, ``x + (-y)``, ``-(-x)`` ..."""
    return _rebuilt(tape, Rules(fold=False, simplify=True, share=False))


def share(tape: FlatTape) -> FlatTape:
    """Equal instructions, scalar or vector, become one."""
    return _rebuilt(tape, Rules(fold=False, simplify=False, share=True))


def optimize(tape: FlatTape) -> FlatTape:
    """All passes: about 2 µs a scalar instruction."""
    return remove_dead(_rebuilt(tape, ALL_RULES))


def _rebuilt(tape: FlatTape, rules: Rules) -> FlatTape:
    builder = Builder(tape.inputs, rules)
    slots = replay(tape, builder, range(1, tape.inputs + 1))
    return builder.finish(np.array(slots, np.int64)[tape.outputs], tape.point)


def remove_dead(tape: FlatTape) -> FlatTape:
    """Instructions that no output and no guard needs are left out."""
    needed = tape.needed(np.concatenate([tape.outputs, tape.guard_slots]))
    if needed.all():
        return tape
    if not tape.is_scalar:
        recorder = Recorder(tape.inputs)
        slots = replay(tape, recorder, range(1, tape.inputs + 1), needed)
        return recorder.finish(slots[tape.outputs], tape.point)
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
        guards=tuple(replace(guard, slot=int(new_slot[guard.slot])) for guard in tape.guards),
        lines=None
        if tape.lines is None
        else tuple(line for line, keep in zip(tape.lines, needed, strict=True) if keep),
    )
