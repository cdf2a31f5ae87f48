"""What does not vary over a batch, computed once: a tape cut in two.

Where points share some inputs, everything that follows from those alone (and from
constants) is the same at all points. `hoist` moves it to a tape of its own, whose
outputs become further shared inputs of the rest.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.tape.flat import VECTOR, FlatTape, Guard
from numtape.trace.recorder import Slots
from numtape.transform.builder import NO_RULES, Builder, replay
from numtape.transform.passes import remove_dead

__all__ = ["Hoisted", "hoist"]


@dataclass(frozen=True)
class Hoisted:
    """A tape in two parts.

    Attributes
    ----------
    head : FlatTape
        From the inputs (of which it reads the shared ones) to what the rest needs.
    rest : FlatTape
        Its inputs are those of the whole tape, and then the outputs of `head`.
    head_guards, rest_guards : int64 array
        The numbers in the whole tape of each part's guards.
    """

    head: FlatTape
    rest: FlatTape
    head_guards: Slots
    rest_guards: Slots


def hoist(tape: FlatTape, shared: npt.NDArray[np.bool_]) -> Hoisted | None:
    """The tape in two parts, or None where nothing can be moved.

    Parameters
    ----------
    tape : FlatTape
    shared : bool array
        For each input, whether all points share it.
    """
    is_uniform, moved = _uniform(tape, shared)
    if not moved.any():
        return None
    wanted = np.zeros(tape.slots, bool)
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        if not moved[number]:
            operands = [a, b] if opcode != VECTOR else tape.vectors[a].operand_slots()
            for slots in operands:
                wanted[slots] = True
    guarded = is_uniform[tape.guard_slots]
    wanted[tape.outputs] = True
    wanted[: tape.first_result] = False
    carried = np.flatnonzero(wanted & is_uniform)
    head = remove_dead(
        tape.changed(outputs=carried, guards=_chosen(tape.guards, guarded), lines=None)
    )
    recorder = Builder(tape.inputs + len(carried), NO_RULES)
    inputs = 1 + np.arange(tape.inputs + len(carried))
    varying = tape.changed(guards=_chosen(tape.guards, ~guarded), lines=None)
    made = carried, inputs[tape.inputs :]
    slots = replay(varying, recorder, inputs[: tape.inputs], ~moved, made)
    rest = remove_dead(recorder.finish(slots.at(tape.outputs), np.zeros(len(inputs))))
    return Hoisted(head, rest, np.flatnonzero(guarded), np.flatnonzero(~guarded))


def _chosen(guards: tuple[Guard, ...], which: npt.NDArray[np.bool_]) -> tuple[Guard, ...]:
    return tuple(guard for guard, take in zip(guards, which, strict=True) if take)


def _uniform(
    tape: FlatTape, shared: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For each slot whether it is the same at all points; for each instruction whether it moves."""
    uniform = bytearray(tape.slots)
    uniform[: tape.first_input] = b"\1" * tape.first_input
    uniform[tape.first_input : tape.first_result] = shared.astype(np.uint8).tobytes()
    moved = bytearray(tape.instructions)
    results = tape.results.tolist()
    view = np.frombuffer(uniform, np.uint8)
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        if opcode != VECTOR:
            if uniform[a] and uniform[b]:
                moved[number] = uniform[results[number]] = 1
        elif all(view[slots].all() for slots in tape.vectors[a].operand_slots()):
            moved[number] = 1
            view[results[number] : results[number + 1]] = 1
    return view.astype(bool), np.frombuffer(moved, np.uint8).astype(bool)
