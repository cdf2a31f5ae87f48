"""A tape laid out for many points, and the memory that one thread runs them in.

Points are run a block at a time, as many *lanes* side by side as the cache has room
for, so each instruction is dispatched once a block. A tape with vector instructions
is run one point after the other: its loops are over the elements of its arrays.
"""

import ast
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import MAP, PRODUCT
from numtape.ops.table import OPCODE, ROWS
from numtape.run import _kernels
from numtape.run.emitter import functions_called
from numtape.run.native import Code, lane_code
from numtape.run.rows import turning_loop
from numtape.run.vector_maths import MULTIPLE, lane_loops
from numtape.run.workspace import Plan, Workspace, check_places
from numtape.tape.flat import VECTOR, FlatTape

__all__ = ["LanePlan", "LaneWorkspace", "exact_opcodes", "vector_maths_called"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_LANES = 512
_NATIVE_LANES = 72  # nothing is dispatched; not a power of two, so that places share no cache line
_MOST_PLACES = 1 << 22  # a table of loops twice as long leaves a bit less beside the opcode
_LINE = 64  # bytes of a cache line, and of the widest vector


def _cache_bytes() -> int:
    """Return the part of the last-level cache that one thread may count on."""
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
    native : bool
        Whether it is for machine code, which must then be made before it is run.
    exact : frozenset of int
        The opcodes that are to round as at a single point, besides those that guards need.

    Attributes
    ----------
    lanes : int
        How many points make a block; 1 for a tape with vector instructions.
    shared_places, varying_places : int64 array
        Where the two kinds of inputs are kept.
    """

    def __init__(
        self,
        tape: FlatTape,
        shared: npt.NDArray[np.bool_],
        native: bool = False,
        exact: frozenset[int] = frozenset(),
    ) -> None:
        if tape.is_scalar:
            tape, shared = _shared_first(tape, shared)
        exact |= exact_opcodes(tape)
        self.is_free = ~np.isin(_opcodes(tape), list(exact))
        super().__init__(tape, apart=True, vector_maths=None if tape.is_scalar else self.is_free)
        self.shared_places = tape.first_input + np.flatnonzero(shared)
        self.varying_places = tape.first_input + np.flatnonzero(~shared)
        self.run: Callable[..., int] = _kernels.evaluate_points
        self.lanes = 1
        self.uniforms = tape.first_input + len(self.shared_places)
        if tape.is_scalar:
            self.run = _kernels.evaluate_lanes
            if native:
                self.outputs = self.size + np.arange(len(tape.outputs))
                self.size += len(tape.outputs)
            self.lanes = _NATIVE_LANES if native else self._lanes_in_cache()
            self._use_vector_maths()

    def _lanes_in_cache(self) -> int:
        fitting = _CACHE // (8 * max(1, self.size - self.uniforms))
        return min(max(fitting // MULTIPLE, 1) * MULTIPLE, _MOST_LANES)

    def _use_vector_maths(self) -> None:
        """Choose loops over lanes for all instructions, and products for squares written as powers.

        The table of loops is there twice: with vector maths in the second half.
        """
        code, constants = self.tape.code, np.append(0.0, self.tape.constants)
        is_free = self.is_free
        is_power = np.isin(code[:, 0], [k for k, row in enumerate(ROWS) if row.is_power])
        exponents = np.where(is_power & (code[:, 2] < len(constants)), code[:, 2], 0)
        is_square = is_free & (constants[exponents] == 2.0)
        self.opcodes = opcodes = np.where(is_square, OPCODE["square"], code[:, 0])
        second = len(self.loops)
        self.loops = np.concatenate([self.loops, self.loops])
        for exact, used, half in ((True, ~is_free, 0), (False, is_free, second)):
            for opcode, loop in lane_loops(np.unique(opcodes[used]).tolist(), exact).items():
                self.loops[half + opcode, :2] = loop, 0
        places = self.placed_code[:, 0] >> 8
        check_places(places, _MOST_PLACES)
        self.placed_code[:, 0] = opcodes + second * is_free + 512 * places

    def _native_code(self) -> Code:
        if not self.tape.is_scalar:
            return super()._native_code()
        return lane_code(
            self.tape,
            self.places,
            self.opcodes,
            ~self.is_free,
            self.uniforms,
            self.lanes,
            self.outputs,
        )

    def _decisive(self) -> list[Any]:
        parts = super()._decisive()
        if self.tape.is_scalar:
            parts += [
                b"lanes",
                self.opcodes,
                self.is_free,
                np.array([self.uniforms, self.lanes]),
                self.outputs,
            ]
        return parts


def exact_opcodes(tape: FlatTape) -> frozenset[int]:
    """Return the operations that have to round at many points as they do at one.

    They are those that a guard depends on anywhere, so that a point takes the same path in a
    batch as alone; and on tapes of scalars those that a comparison depends on, so that it takes the
    same arm where what is compared lies on the boundary. Elsewhere on the tape they round so too:
    where one exp is subtracted from another that it equals, nothing is left.
    """
    opcodes = _opcodes(tape)
    decisive = tape.guard_slots
    if tape.is_scalar:
        compared = tape.results[:-1][np.isin(opcodes, _COMPARISONS)]
        decisive = np.concatenate([decisive, compared])
    return frozenset(opcodes[tape.needed(decisive)].tolist())


_COMPARISONS = [opcode for opcode, row in enumerate(ROWS) if row.is_flat and row.symbol]


def vector_maths_called(tape: FlatTape, exact: frozenset[int]) -> frozenset[str]:
    """Return the functions that round at many points unlike at one, where some opcodes do not."""
    used = set(_opcodes(tape).tolist()) - exact
    texts = [ROWS[opcode].vector or ROWS[opcode].primal for opcode in used if opcode >= 0]
    expressions = [ast.parse(text, mode="eval").body for text in texts if text is not None]
    found = {name for expression in expressions for name, _ in functions_called(expression)}
    return frozenset(found | {"product"} if -1 in used else found)


def _opcodes(tape: FlatTape) -> Ints:
    """Return for each instruction what it applies: a row, by opcode; or a number below 0.

    That is -1 for a product, and one of its own for what rounds the same in any case.
    """
    opcodes = tape.code[:, 0].astype(np.int64)
    vectors = np.flatnonzero(opcodes == VECTOR)
    for number, vector in zip(vectors.tolist(), tape.code[vectors, 1].tolist(), strict=True):
        instruction = tape.vectors[vector]
        own = -1 if instruction.kind == PRODUCT else -2 - number
        opcodes[number] = instruction.opcode if instruction.kind == MAP else own
    return opcodes


def _shared_first(
    tape: FlatTape, shared: npt.NDArray[np.bool_]
) -> tuple[FlatTape, npt.NDArray[np.bool_]]:
    """Return a tape of scalar instructions with its shared inputs before the others."""
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
            self._set(_kernels.TURN, turning_loop())
            self._set(None, None, _kernels.LANE_VALUES, self._aligned(plan.size - plan.uniforms))

    def _aligned(self, places: int) -> Floats:
        """Return lanes for so many places, beginning on a cache line."""
        memory = np.zeros(places * self.plan.lanes + _LINE // 8)
        start = -memory.ctypes.data % _LINE // 8
        lanes: Floats = memory[start : start + places * self.plan.lanes]
        return lanes

    def share(self, values: Floats) -> None:
        """Set the inputs that all points share."""
        self.values[self.plan.shared_places] = values
