"""What a Jacobian's tape would cost, forward and backward, before it is made.

An instruction costs its number of elements for each input that moves it
(forward), or for each output that it moves (backward): what is zero by
structure costs nothing, so the shape of the function decides and not only the
numbers of inputs and outputs.
"""

import numpy as np

from numtape.ops.structured import MAP
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape
from numtape.trace.recorder import Slots

__all__ = ["jacobian_costs"]

_FLAT = [row.partials == ("0",) * row.arity for row in ROWS]


def jacobian_costs(tape: FlatTape, inputs: Slots) -> tuple[int, int]:
    """Element operations of the Jacobian forward, by columns, and backward, by rows.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        The inputs to differentiate by.
    """
    first = tape.first_result
    producers = np.repeat(np.arange(tape.instructions), np.diff(tape.results)).tolist()
    moved = [0] * tape.instructions  # for each instruction, a bit for each input that moves it
    bit_of_input = {
        int(tape.first_input + place): 1 << k for k, place in enumerate(inputs.tolist())
    }
    read: list[list[int]] = []
    sizes = []
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        if opcode != VECTOR:
            slots, flat, size = [a, b], _FLAT[opcode], 1
        else:
            vector = tape.vectors[a]
            slots = np.unique(np.concatenate([s.ravel() for s in vector.operand_slots()])).tolist()
            flat, size = vector.kind == MAP and _FLAT[vector.opcode], b
        sizes.append(size)
        before = [] if flat else sorted({producers[s - first] for s in slots if s >= first})
        read.append(before)
        if not flat:
            bits = 0
            for producer in before:
                bits |= moved[producer]
            for slot in slots:
                bits |= bit_of_input.get(slot, 0)
            moved[number] = bits
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
