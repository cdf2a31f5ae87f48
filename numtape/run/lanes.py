"""A tape laid out for many points, and the memory that one thread runs them in.

Points are run a block at a time, as many *lanes* side by side as the cache has room
for, so each instruction is dispatched once a block. A tape with vector instructions
is run one point after the other: its loops are over the elements of its arrays.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from numtape.ops.table import OPCODE, ROWS
from numtape.run import _kernels
from numtape.run.vector_maths import MULTIPLE, lane_loops
from numtape.run.workspace import Plan, Workspace, check_places
from numtape.tape.flat import FlatTape

__all__ = ["LanePlan", "LaneWorkspace"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_LANES = 512
_MOST_PLACES = 1 << 22  # a table of loops twice as long leaves a bit less beside the opcode
_LINE = 64  # bytes of a cache line, and of the widest vector


def _cache_bytes() -> int:
    """The part of the last-level cache that one thread may count on."""
    for name in ("SC_LEVEL3_CACHE_SIZE", "SC_LEVEL2_CACHE_SIZE"):
        if name in getattr(os, "sysconf_names", {}) and os.sysconf(name) > 0:
            return os.sysconf(name) // 4
    return 1 << 21


_CACHE = _cache_bytes()


class LanePlan(Plan):
    """A tape made ready for batches.

    Parameters
    ----------
    tape : FlatTape
    shared : bool array
        For each input, whether it has one value for all points.

    Attributes
    ----------
    lanes : int
        How many points make a block; 1 for a tape with vector instructions.
    shared_places, varying_places : int64 array
        Where the two kinds of inputs are kept.
    """

    def __init__(self, tape: FlatTape, shared: npt.NDArray[np.bool_]) -> None:
        if tape.is_scalar:
            tape, shared = _shared_first(tape, shared)
        free = None if tape.is_scalar else ~tape.needed(tape.guard_slots)
        super().__init__(tape, apart=True, vector_maths=free)
        self.shared_places = tape.first_input + np.flatnonzero(shared)
        self.varying_places = tape.first_input + np.flatnonzero(~shared)
        self.run: Callable[..., int] = _kernels.evaluate_points
        self.lanes = 1
        self.uniforms = tape.first_input + len(self.shared_places)
        if tape.is_scalar:
            self.run = _kernels.evaluate_lanes
            self.lanes = self._lanes_in_cache()
            self._use_vector_maths()

    def _lanes_in_cache(self) -> int:
        fitting = _CACHE // (8 * max(1, self.size - self.uniforms))
        return min(max(fitting // MULTIPLE, 1) * MULTIPLE, _MOST_LANES)

    def _use_vector_maths(self) -> None:
        """Loops over lanes for all instructions, and products for squares written as powers.

        What guards depend on is run by loops that round as single points do, so that a
        point takes the same path in a batch as alone. The table of loops is there twice:
        with vector maths in the second half.
        """
        code, constants = self.tape.code, np.append(0.0, self.tape.constants)
        is_free = ~self.tape.needed(self.tape.guard_slots)
        is_power = np.isin(code[:, 0], [k for k, row in enumerate(ROWS) if row.is_power])
        exponents = np.where(is_power & (code[:, 2] < len(constants)), code[:, 2], 0)
        is_square = is_free & (constants[exponents] == 2.0)
        opcodes = np.where(is_square, OPCODE["square"], code[:, 0])
        second = len(self.loops)
        self.loops = np.concatenate([self.loops, self.loops])
        for exact, used, half in ((True, ~is_free, 0), (False, is_free, second)):
            for opcode, loop in lane_loops(np.unique(opcodes[used]).tolist(), exact).items():
                self.loops[half + opcode, :2] = loop, 0
        places = self.placed_code[:, 0] >> 8
        check_places(places, _MOST_PLACES)
        self.placed_code[:, 0] = opcodes + second * is_free + 512 * places


def _shared_first(
    tape: FlatTape, shared: npt.NDArray[np.bool_]
) -> tuple[FlatTape, npt.NDArray[np.bool_]]:
    """A tape of scalar instructions with its shared inputs before the others."""
    order = np.argsort(~shared, kind="stable")
    slots = np.arange(tape.slots)
    slots[tape.first_input + order] = tape.first_input + np.arange(tape.inputs)
    code = tape.code.copy()
    code[:, 1:] = slots[code[:, 1:]]
    guards = tuple(replace(guard, slot=int(slots[guard.slot])) for guard in tape.guards)
    point = tape.point[order] if len(tape.point) else tape.point
    moved = tape.changed(code=code, outputs=slots[tape.outputs], guards=guards, point=point)
    return moved, shared[order]


class LaneWorkspace(Workspace):
    """What one thread needs to run batches: one block's memory."""

    plan: LanePlan

    def __init__(self, plan: LanePlan) -> None:
        super().__init__(plan)
        self._set(_kernels.UNIFORMS, plan.uniforms)
        self._set(_kernels.LANES, plan.lanes)
        if plan.tape.is_scalar:
            self._set(None, None, _kernels.LANE_VALUES, self._aligned(plan.size - plan.uniforms))

    def _aligned(self, places: int) -> Floats:
        """Lanes for so many places, beginning on a cache line."""
        memory = np.zeros(places * self.plan.lanes + _LINE // 8)
        start = -memory.ctypes.data % _LINE // 8
        lanes: Floats = memory[start : start + places * self.plan.lanes]
        return lanes

    def share(self, values: Floats) -> None:
        """Set the inputs that all points share."""
        self.values[self.plan.shared_places] = values
