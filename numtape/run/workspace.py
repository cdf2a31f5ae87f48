"""Workspaces: a flat tape made ready for the kernels, with the memory of a run.

A `Plan` is what all runs of one tape share: its vector instructions encoded as
words, its segments, its table of loops. A `Workspace` adds the memory that one
run at a time needs, so each thread has its own. Both own the arrays whose
addresses the kernels are given.
"""

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.jit.compile import address_of
from numtape.jit.compiling import NEVER
from numtape.locks import fresh_lock
from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS
from numtape.run import _kernels
from numtape.run.encoding import Encoded, segments_of
from numtape.run.loops import loop_table
from numtape.run.machine_code import MachineCode, digest, machine_code
from numtape.run.memory import addresses, unshared
from numtape.run.native import Code, point_code
from numtape.run.strips import NO_STRIPS, Strips
from numtape.run.vector_maths import array_loops
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape

__all__ = ["Plan", "Workspace", "check_places"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOTHING = np.zeros(0, np.int64)

# An opcode and the place of a result share 32 bits.
_MAX_PLACES = 1 << 23


def check_places(places: Ints, room: int) -> None:
    """Raise where scalar results are at places that do not fit beside their opcode."""
    most = int(np.max(places, initial=0))
    if most >= room:
        raise TapeError(
            f"the tape keeps {most} scalar results alive at once, and a run has room for {room}: "
            "record a smaller piece, for example one step of the loop"
        )


class Plan:
    """Everything about running a tape that does not change from run to run.

    Parameters
    ----------
    tape : FlatTape
    sweeps : bool
        Whether it is for sweeps, which need every slot at a place of its own,
        and cannot evaluate; else places are used again, see `memory.py`.
    share : bool
        False keeps every slot at a place of its own all the same.
    apart : bool
        Whether results are kept away from the operands of their own instruction.
    vector_maths : bool array, optional
        For each instruction, whether it may round unlike NumPy if it is one over
        arrays: by vector maths, or in products of matrices. None for none.
    body : Body, optional
        That of the loop which runs it, whose tape it is.
    strips : Strips
        What runs strip by strip; nothing by default.
    """

    def __init__(
        self,
        tape: FlatTape,
        sweeps: bool = False,
        share: bool = True,
        apart: bool = False,
        vector_maths: npt.NDArray[np.bool_] | None = None,
        body: Body | None = None,
        strips: Strips = NO_STRIPS,
    ) -> None:
        self.tape = tape
        self.body = body
        self.strips = strips
        self.sweeps = sweeps
        shared = share and not sweeps
        self.places, self.size = addresses(tape, apart, strips) if shared else unshared(tape)
        self.code = np.ascontiguousarray(tape.code)
        self.placed_code = np.zeros((0, 3), np.int32) if sweeps else self._placed_code()
        self.loops = loop_table(_opcodes_reached(tape, sweeps))
        self._make_missing_loops()
        self.free = vector_maths
        encoded = Encoded(tape, self.places, self._vector_maths(vector_maths), strips)
        self.words, self.gathers = encoded.words, encoded.gathers
        self.loop_bodies = encoded.bodies
        self.bodies = [Plan(body.tape, body=body) for body in encoded.bodies]
        self.segments = segments_of(tape, self.places, encoded, strips)
        self.outputs = self.places[tape.outputs]
        self.guard_slots = self.places[tape.guard_slots]
        self.guard_outcomes = np.array([guard.outcome for guard in tape.guards], np.float64)
        # Runs until somebody wants to know, the code of each segment (of the first one, also
        # where there is none), and in the end whether that is complete; see `compile`.
        self.native = np.zeros(3 + len(self.segments), np.int64)
        self.native[0] = NEVER
        self.machine_code: MachineCode | None = None
        self._compiling = fresh_lock()
        common = tape.is_scalar and tape.is_common
        self.linearize: Callable[[int, Floats, Floats], int] = (
            _kernels.linearize_common if common else _kernels.linearize
        )
        self.gradient: Callable[[int, Floats, Floats], int] = (
            _kernels.gradient_common if common else _kernels.gradient
        )
        self.evaluate: Callable[[int, Floats, Floats], int] = (
            _kernels.evaluate if tape.is_scalar else _kernels.evaluate_mixed
        )

    def notice_after(self, runs: int) -> None:
        """Let kernels return `NOTICE` once a workspace has been run so often."""
        self.native[0] = runs

    def compile(self, effort: int, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Make machine code, which every workspace then runs; see `machine_code`."""
        with self._compiling:  # code that is in use must not be replaced
            if self.machine_code is None:
                key = digest(*self._decisive())
                self.machine_code = machine_code(key, self._native_code, effort, may_go_on)
                if self.machine_code is not None:
                    for segment, address in self.machine_code.functions.items():
                        self.native[1 + segment] = address
                    self.native[-1] = True  # for runs that begin from now on
        for plan in self._left_to_kernels():
            plan.compile(effort, may_go_on)

    def _left_to_kernels(self) -> "list[Plan]":
        """Return the plans of the bodies of loops that are no functions of their own."""
        if not self.bodies:
            return []
        made = self.machine_code.functions if self.machine_code is not None else {}
        left = set()
        for number in np.flatnonzero(self.segments[:, 3] >= 0).tolist():
            vector = int(self.code[self.segments[number, 0], 1])
            body = self.tape.vectors.form(vector).instruction.body
            if body is not None and number not in made:
                left.add(self.loop_bodies.index(body))
        return [self.bodies[number] for number in sorted(left)]

    def _native_code(self) -> Code:
        is_body = self.body is not None
        return point_code(self.tape, self.places, self.segments, self.free, is_body, self.strips)

    def _decisive(self) -> list[Any]:
        """Return all that decides the machine code."""
        tape = self.tape
        outcomes = np.array([guard.outcome for guard in tape.guards])
        parts = [
            b"body" if self.body is not None else b"point",
            tape.code,
            tape.constants,
            tape.outputs,
            tape.guard_slots,
            outcomes,
        ]
        free = b"" if self.free is None else self.free
        return [
            *parts,
            self.places.heads,
            self.places.starts,
            self.segments,
            self.words,
            self.gathers,
            *(body.digest for body in self.loop_bodies),
            free,
        ]

    def _make_missing_loops(self) -> None:
        """Add loops for elementwise instructions over arrays whose row has no ufunc's."""
        vectors = self.tape.vectors
        maps = {form.instruction.opcode for form in vectors.forms if form.instruction.kind == MAP}
        for opcode, loop in array_loops(maps, exact=True).items():
            self.loops[opcode, :2] = loop, 0

    def _vector_maths(self, wanted: npt.NDArray[np.bool_] | None) -> Ints:
        """Return the opcode of each vector instruction; some name a loop of vector maths.

        Those loops make a second half of the table of loops.
        """
        vectors = self.tape.vectors
        opcodes = vectors.each(lambda each: each.opcode)
        if wanted is None:
            return opcodes
        may = wanted[self.tape.code[:, 0] == VECTOR] & vectors.are(MAP)
        found = array_loops(set(opcodes[may].tolist()))
        second = len(self.loops)
        if found:
            self.loops = np.concatenate([self.loops, self.loops])
            for opcode, loop in found.items():
                self.loops[second + opcode, :2] = loop, 0
        may &= np.isin(opcodes, list(found))
        return np.where(may, second + opcodes, opcodes)

    def _placed_code(self) -> npt.NDArray[np.int32]:
        """Return the code with operands by place, and each scalar result's place by its opcode."""
        code = self.tape.code
        scalars = code[:, 0] != VECTOR
        results = np.zeros(len(code), np.int64)
        results[scalars] = self.places[self.tape.results[:-1][scalars]]
        check_places(results, _MAX_PLACES)
        placed = np.zeros(code.shape, np.int32)
        placed[scalars, 0] = code[scalars, 0] + 256 * results[scalars]
        placed[scalars, 1:] = self.places[code[scalars, 1:]]
        return placed


class Workspace:
    """The memory of one run at a time, and the handle that kernels are given.

    The partials and the sweep's memory are only allocated for a plan for sweeps:
    8 bytes for a place to evaluate, 32 for an instruction to sweep.
    """

    def __init__(self, plan: Plan) -> None:
        tape = plan.tape
        self.plan = plan
        self.values = np.zeros(plan.size)
        self.values[1 : tape.first_input] = tape.constants
        self.gradient_output = np.zeros(len(tape.outputs) if plan.sweeps else 0)
        frame = np.zeros(_kernels.FRAME_SIZE, np.int64)
        frame[_kernels.FRAME_ONE_COUNT] = 1  # and steps of 0, as NumPy has them for one element
        self._handle = np.zeros(_kernels.HANDLE_SIZE, np.int64)
        self._owned: list[npt.NDArray[Any]] = []
        self.handle: int = self._handle.ctypes.data
        self._set(_kernels.SLOTS, plan.size, _kernels.VALUES, self.values)
        self._set(_kernels.INSTRUCTIONS, len(plan.code), _kernels.CODE, plan.code)
        self._set(_kernels.PLACED_CODE, None, _kernels.PLACED_CODE, plan.placed_code)
        self._set(_kernels.FIRST_INPUT, tape.first_input)
        self._set(_kernels.FIRST_RESULT, tape.first_result)
        self._set(_kernels.OPERATIONS, len(plan.loops), _kernels.LOOPS, plan.loops)
        self._set(_kernels.OUTPUTS, len(tape.outputs), _kernels.OUTPUT_SLOTS, plan.outputs)
        self._set(_kernels.OUTPUTS_RUN, bool((np.diff(plan.outputs) == 1).all()))
        self._set(_kernels.GUARDS, len(tape.guards), _kernels.GUARD_SLOTS, plan.guard_slots)
        self._set(_kernels.GUARDS, len(tape.guards), _kernels.GUARD_OUTCOMES, plan.guard_outcomes)
        self._set(_kernels.SEGMENTS, len(plan.segments), _kernels.SEGMENT_TABLE, plan.segments)
        self._set(_kernels.WORDS, len(plan.words), _kernels.WORD_TABLE, plan.words)
        self._set(_kernels.GATHERS, len(plan.gathers), _kernels.GATHER_TABLE, plan.gathers)
        self._set(_kernels.FRAME, None, _kernels.FRAME, frame)
        self._set(None, None, _kernels.NATIVE, plan.native)
        self._set(_kernels.SCRATCH, None, _kernels.SCRATCH, np.zeros(4))
        self._set(_kernels.GRADIENT_OUTPUT, None, _kernels.GRADIENT_OUTPUT, self.gradient_output)
        self._bodies = [Workspace(body) for body in plan.bodies]
        handles = np.array([body.handle for body in self._bodies], np.int64)
        self._set(_kernels.BODIES, len(handles), _kernels.BODY_HANDLES, handles)
        if plan.body is not None:
            copies, shifts = copies_of(plan.body, plan.outputs)
            self._set(_kernels.COPIES, len(copies), _kernels.COPY_TABLE, copies)
            self._set(_kernels.SHIFTS, shifts)
        if tape.vectors or plan.body is not None:
            self._set(_kernels.RUN, address_of(_kernels.run_tape))
        if tape.vectors:
            self._set(_kernels.BUFFER, None, _kernels.BUFFER, np.zeros(2 * _kernels.CHUNK))
        if plan.sweeps:
            partials = np.zeros((len(plan.code), 2))
            self._set(_kernels.PARTIALS, None, _kernels.PARTIALS, partials)
            self._set(_kernels.SWEPT, None, _kernels.SWEPT, np.zeros(tape.slots))

    def guarded_value(self, guard: int) -> float:
        """Return what a guarded slot was in the last run."""
        value: float = self.values.item(self.plan.guard_slots.item(guard))
        return value

    def _set(
        self,
        count_field: int | None,
        count: int | None,
        address_field: int | None = None,
        array: npt.NDArray[Any] | None = None,
    ) -> None:
        if count_field is not None and count is not None:
            self._handle[count_field] = count
        if address_field is not None and array is not None:
            self._owned.append(array)
            self._handle[address_field] = array.ctypes.data


def copies_of(body: Body, places: Ints) -> tuple[Ints, bool]:
    """Return the runs of places that the outputs of a body are, and if it carries on its inputs.

    A run has the number of its first output, the place of that, and how many there are. What is
    carried and each of what is written has runs of its own.
    """
    tape = body.tape
    widths = [body.carried, *(math.prod(shape) for shape in body.writes)]
    is_first = np.diff(places, prepend=-2) != 1
    is_first[np.cumsum([0, *widths])[: len(widths)][np.array(widths) > 0]] = True
    first = np.flatnonzero(is_first)
    runs = np.column_stack([first, places[first], np.diff(first, append=len(places))])
    carried = tape.outputs[: body.carried]
    shifts = (carried >= tape.first_input) & (carried < tape.first_result)
    return np.ascontiguousarray(runs, np.int64), bool(shifts.any())


def _opcodes_on(tape: FlatTape) -> set[int]:
    """Return the opcodes on a tape and in the bodies of its loops."""
    codes = set(tape.opcodes)
    for form in tape.vectors.forms:
        body = form.instruction.body
        codes |= {form.instruction.opcode} if body is None else _opcodes_on(body.tape)
    return codes


def _opcodes_reached(tape: FlatTape, sweeps: bool) -> Ints:
    """Return the opcodes on a tape and those that they call; in sweeps, their partials do too."""
    codes = _opcodes_on(tape)
    todo = [opcode for opcode in codes if opcode < len(ROWS)]
    while todo:
        called = _called(todo.pop(), sweeps) - codes
        codes |= called
        todo += called
    return np.array(sorted(codes), np.int64)


@cache
def _called(opcode: int, sweeps: bool) -> frozenset[int]:
    """Return the opcodes that an operation calls, in sweeps with those of its partials."""
    row = ROWS[opcode]
    texts = (row.primal or "", *(row.partials if sweeps else ()))
    names = re.findall(r"([a-z]\w*)\(", " ".join(texts))
    return frozenset(OPCODE[name] for name in names if name in OPCODE)
