"""What a Jacobian's tape would cost, forward and backward, before it is made.

An instruction costs its number of elements for each input that moves it
(forward), or for each output that it moves (backward): what is zero by
structure costs nothing, so the shape of the function decides and not only the
numbers of inputs and outputs.
"""

import numpy as np

from numtape.ops.structured import FLAT_KINDS, MAP
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape
from numtape.trace.recorder import Slots

__all__ = ["jacobian_costs"]


def jacobian_costs(tape: FlatTape, inputs: Slots) -> tuple[int, int]:
    """Element operations of the Jacobian forward, by columns, and backward, by rows.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        The inputs to differentiate by.
    """
    first = tape.first_result
    producers = np.repeat(np.arange(tape.instructions), np.diff(tape.results))
    places = (tape.first_input + inputs).tolist()
    bits = {place: 1 << k for k, place in enumerate(places)}
    moved = [0] * tape.instructions  # for each instruction, a bit for each input that moves it
    read: list[list[int]] = []
    sizes = []
    is_read = np.zeros(first, bool)
    is_used = np.zeros(tape.instructions, bool)
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        if opcode != VECTOR:
            flat, size = ROWS[opcode].is_flat, 1
            early = [slot for slot in (a, b) if slot < first]
            before = [int(producers[slot - first]) for slot in (a, b) if slot >= first]
        else:
            vector = tape.vectors[a]
            flat = vector.kind == MAP and ROWS[vector.opcode].is_flat
            flat, size = flat or vector.kind in FLAT_KINDS, b
            is_read[:], is_used[:] = False, False
            for slots in vector.operand_slots():
                is_read[slots[slots < first]] = True
                is_used[producers[slots[slots >= first] - first]] = True
            early = np.flatnonzero(is_read).tolist()
            before = np.flatnonzero(is_used).tolist()
        sizes.append(size)
        read.append([] if flat else before)
        if not flat:
            for producer in before:
                moved[number] |= moved[producer]
            for slot in early:
                moved[number] |= bits.get(slot, 0)
    moves = [0] * tape.instructions  # for each instruction, a bit for each output that it moves
    for k, output in enumerate(tape.outputs.tolist()):
        if output >= first:
            moves[producers[output - first]] |= 1 << k
    for number in range(tape.instructions - 1, -1, -1):
        for producer in read[number]:
            moves[producer] |= moves[number]
    forward = sum(size * bits.bit_count() for size, bits in zip(sizes, moved, strict=True))
    backward = sum(
        size * bits.bit_count()
        for size, bits, inputs_bits in zip(sizes, moves, moved, strict=True)
        if inputs_bits
    )
    return forward, backward
