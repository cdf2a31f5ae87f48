"""What does not vary over a batch, computed once: a tape cut in two.

Where points share some inputs, everything that follows from those alone (and from
constants) is the same at all points. `hoist` moves it to a tape of its own, whose
outputs become further shared inputs of the rest.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.jit.compile import Lazy
from numtape.tape.flat import FlatTape, Guard
from numtape.tape.reads import reads_of, slots_read
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
    """Return the tape in two parts, or None where nothing can be moved.

    Parameters
    ----------
    tape : FlatTape
    shared : bool array
        For each input, whether all points share it.
    """
    is_uniform, moved = _uniform(tape, shared)
    if not moved.any():
        return None
    # What stays reads, and what is put out or guarded, of the results that move.
    wanted = np.zeros(tape.slots, bool)
    for slots in slots_read(tape, ~moved):
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
    """Return which slots are the same at all points, and which instructions move."""
    reads = reads_of(tape)
    single = 1 + tape.inputs
    uniform = np.ones(single + tape.instructions, np.uint8)  # by node
    uniform[1:single] = shared
    _find_uniform(tape.instructions // 8, uniform, reads.starts, reads.first, reads.last, single)
    moved = uniform[single:].astype(bool)
    early = np.concatenate([np.ones(tape.first_input, bool), shared])
    return np.concatenate([early, np.repeat(moved, np.diff(tape.results))]), moved


@Lazy
def _find_uniform(uniform, starts, first, last, single):  # type: ignore[no-untyped-def]
    """Write for each instruction whether all that it reads is the same at all points."""
    for number in range(len(starts) - 1):
        is_uniform = True
        for k in range(starts[number], starts[number + 1]):
            for node in range(first[k], last[k] + 1):
                if not uniform[node]:
                    is_uniform = False
                    break
        uniform[single + number] = is_uniform
