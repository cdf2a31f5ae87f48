"""What a Jacobian's tape would cost, forward and backward, before it is made.

An instruction costs its number of elements for each input that moves it
(forward), or for each output that it moves (backward): what is zero by
structure costs nothing, so the shape of the function decides and not only the
numbers of inputs and outputs.
"""

from bisect import bisect_left, bisect_right

import numpy as np

from numtape.kinds import KINDS
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.reads import nodes, reads_of
from numtape.trace.recorder import Slots

__all__ = ["jacobian_costs"]


def jacobian_costs(tape: FlatTape, inputs: Slots) -> tuple[int, int]:
    """Return element operations of the Jacobian forward, by columns, and backward, by rows.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        The inputs to differentiate by.
    """
    reads = reads_of(tape)
    starts = reads.starts.tolist()
    ranges = list(zip(reads.first.tolist(), reads.last.tolist(), strict=True))
    single = 1 + tape.inputs  # the node of the first instruction
    chosen = np.sort(1 + inputs).tolist()
    moved = [0] * tape.instructions  # for each instruction, a bit for each input that moves it
    read: list[list[int]] = []
    sizes = np.diff(tape.results)
    steps = tape.vectors.each(lambda each: each.shape[0] if each.body else 0)
    each_step = tape.vectors.each(lambda each: each.body.tape.written_out if each.body else 0)
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)
    sizes[rows] = np.maximum(sizes[rows], steps * each_step)
    sizes = sizes.tolist()
    for number in range(tape.instructions):
        before: list[int] = []
        if not _is_flat(tape, number):
            for low, high in ranges[starts[number] : starts[number + 1]]:
                if low < single:
                    start, stop = bisect_left(chosen, low), bisect_right(chosen, high)
                    moved[number] |= ((1 << (stop - start)) - 1) << start
                before += range(max(low, single) - single, high + 1 - single)
        for producer in before:
            moved[number] |= moved[producer]
        read.append(before)
    moves = [0] * tape.instructions  # for each instruction, a bit for each output that it moves
    for k, node in enumerate(nodes(tape, tape.outputs, tape.results).tolist()):
        if node >= single:
            moves[node - single] |= 1 << k
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


def _is_flat(tape: FlatTape, number: int) -> bool:
    """Return whether an instruction has no derivative."""
    opcode, vector = tape.code[number, :2].tolist()
    if opcode != VECTOR:
        return bool(ROWS[opcode].is_flat)
    instruction = tape.vectors.form(vector).instruction
    return KINDS[instruction.kind].is_flat(instruction)
