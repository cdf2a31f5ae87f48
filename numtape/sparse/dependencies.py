"""Which inputs each output of a tape depends on: the structure of its Jacobian.

One pass over the tape, in machine code: each slot has a set of inputs (`sets.py`), and an
instruction's results have those of the elements that its kind says they depend on (`Kind.flows`).
The structure holds wherever the tape does. It may have entries that happen to be zero.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.kinds.flow import RESULT, ROOM, Flow
from numtape.ops.table import ROWS
from numtape.sparse.matrices import csr_array
from numtape.sparse.sets import COUNT, FIELDS, LIMIT, TOP, follow, members, over_scalars
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.transform.unrolling import unrolled

__all__ = ["dependencies"]

Ints = npt.NDArray[np.int64]

_NO_TABLE = np.zeros(0, np.int64)

# Whether a scalar instruction's result moves with each operand, by opcode.
_MOVES = np.array([[row.partials[k : k + 1] not in ((), ("0",)) for k in (0, 1)] for row in ROWS])


def dependencies(tape: FlatTape) -> tuple[Ints, Ints]:
    """Return the inputs that each output depends on, in the order of the outputs.

    Parameters
    ----------
    tape : FlatTape
        Its loops are unrolled for it.

    Returns
    -------
    indptr, indices : int64 array
        As of a matrix in CSR form; the inputs of a row are in ascending order. It takes 10 to
        40 ns for each element that the tape computes, and about 10 µs for a vector instruction.
    """
    tape = unrolled(tape)
    sets = _Sets(tape)
    done = 0
    for number in (*np.flatnonzero(tape.code[:, 0] == VECTOR).tolist(), tape.instructions):
        sets.scalars(done, number)
        done = number + 1
        if number < tape.instructions:
            sets.vector(tape.vectors[tape.code.item(number, 1)], tape.results.item(number))
    indptr, indices = sets.rows(tape.outputs)
    shape = len(tape.outputs), tape.inputs
    matrix = csr_array(np.ones(len(indices), np.int8), indices, indptr, shape)
    matrix.sort_indices()
    return indptr, matrix.indices.astype(np.int64)


class _Sets:
    """The set of inputs of each slot of a tape.

    Parameters
    ----------
    tape : FlatTape
        Without loops.
    """

    def __init__(self, tape: FlatTape) -> None:
        self.tape = tape
        self.nodes = np.zeros(tape.slots, np.int32)
        inputs = np.arange(tape.inputs, dtype=np.int32)
        self.nodes[tape.first_input : tape.first_result] = inputs + 1
        self.firsts = np.zeros(tape.inputs + 1, np.int64)
        self.sizes = np.zeros(tape.inputs + 1, np.int64)
        self.firsts[1:], self.sizes[1:] = inputs, 1
        self.pool = inputs
        self.state = np.zeros(FIELDS, np.int64)
        self.state[COUNT], self.state[TOP] = tape.inputs + 1, tape.inputs
        self.grow()

    def grow(self) -> None:
        """Make room for more sets."""
        count = 2 * len(self.firsts) + 64
        self.firsts, self.sizes = np.resize(self.firsts, count), np.resize(self.sizes, count)
        self.pool = np.resize(self.pool, 2 * len(self.pool) + 16 * LIMIT)

    @property
    def parts(self) -> Any:
        """Return what kernels are given of these."""
        return self.nodes, self.firsts, self.sizes, self.pool, self.state

    def scalars(self, first: int, last: int) -> None:
        """Find the sets of scalar instructions that follow one another."""
        tape = self.tape
        while first < last:
            first = over_scalars(tape.code, first, last, tape.results, _MOVES, *self.parts)
            if first < last:
                self.grow()

    def vector(self, instruction: VectorInstruction, start: int) -> None:
        """Find the sets of a vector instruction's results, whose first slot is `start`."""
        kind = KINDS[instruction.kind]
        if kind.is_flat(instruction):
            return
        flows = list(kind.flows(instruction))
        rooms = [flow.target_start + _reach(flow) for flow in flows if flow.target == ROOM]
        if rooms:  # behind the slots, for now
            self.nodes = np.concatenate([self.nodes, np.zeros(max(rooms) + 1, np.int32)])
        places = {RESULT: start, ROOM: self.tape.slots}
        for flow in flows:
            self._follow(flow, instruction, places)
        self.nodes = self.nodes[: self.tape.slots]

    def _follow(self, flow: Flow, instruction: VectorInstruction, places: dict[int, int]) -> None:
        reads = _NO_TABLE
        if flow.source >= 0:
            view = instruction.operands[flow.source]
            source, by = view.base, view.strides
            reads = reads if view.table is None else view.table
        else:
            assert flow.by is not None
            source, by = places[flow.source] + flow.source_start, flow.by
        to = flow.to or (0,) * len(flow.shape)
        shape, steps, targets = (np.array(each, np.int64) for each in (flow.shape, by, to))
        target = places[flow.target] + flow.target_start
        table = _NO_TABLE if flow.table is None else flow.table
        done, count = 0, int(np.prod(shape))
        while done < count:
            done = follow(done, shape, source, steps, reads, target, targets, table, *self.parts)
            if done < count:
                self.grow()

    def rows(self, slots: Ints) -> tuple[Ints, npt.NDArray[np.int32]]:
        """Return the sets of some slots written out, a row for each."""
        nodes = self.nodes[slots]
        count = int(self.state[COUNT])
        seen, marks = np.full(count, -1, np.int32), np.full(self.tape.inputs, -1, np.int32)
        stack, ends = np.zeros(count + 1, np.int64), np.zeros(len(slots) + 1, np.int64)
        known = np.maximum(self.sizes[nodes], 0)
        out = np.empty(int(known.sum()) + 64, np.int32)
        row = 0
        while True:
            row = members(
                row, nodes, self.firsts, self.sizes, self.pool, seen, marks, stack, ends, out
            )
            if row == len(slots):
                return ends, out[: ends[-1]]
            out = np.resize(out, 2 * len(out) + self.tape.inputs)


def _reach(flow: Flow) -> int:
    """Return how far a flow's targets go."""
    return sum((extent - 1) * step for extent, step in zip(flow.shape, flow.to, strict=True))
