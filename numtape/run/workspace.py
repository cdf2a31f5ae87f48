"""Workspaces: a flat tape made ready for the kernels, with the memory of a run.

A `Plan` is what all runs of one tape share: its vector instructions encoded as
words, its segments, its table of loops. A `Workspace` adds the memory that one
run at a time needs, so each thread has its own. Both own the arrays whose
addresses the kernels are given.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.jit.compiling import NEVER
from numtape.kinds import KINDS
from numtape.locks import fresh_lock
from numtape.ops.structured import FIRST_FUNCTION, MAP
from numtape.ops.table import OPCODE, ROWS, load_ufunc
from numtape.run import _kernels
from numtape.run.loops import CALLS, loop_table
from numtape.run.machine_code import MachineCode, digest, machine_code
from numtape.run.memory import Places, addresses, unshared
from numtape.run.native import Code, point_code
from numtape.run.vector_maths import array_loops
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.forms import Vectors
from numtape.tape.instruction import VectorInstruction, View, contiguous_strides

__all__ = ["Plan", "Workspace", "check_places"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOTHING = np.zeros(0, np.int64)

# Opcodes are below, also of vector maths, which has twice as many.
_OPCODES = 1 << 20

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
    """

    def __init__(
        self,
        tape: FlatTape,
        sweeps: bool = False,
        share: bool = True,
        apart: bool = False,
        vector_maths: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.tape = tape
        self.sweeps = sweeps
        shared = share and not sweeps
        self.places, self.size = addresses(tape, apart) if shared else unshared(tape)
        self.code = np.ascontiguousarray(tape.code)
        self.placed_code = np.zeros((0, 3), np.int32) if sweeps else self._placed_code()
        self.loops = loop_table(_opcodes_reached(tape, sweeps))
        self._make_missing_loops()
        self.free = vector_maths
        encoded = _Encoded(tape.vectors, self.places, self._vector_maths(vector_maths))
        self.words, self.gathers = encoded.words, encoded.gathers
        self.segments = _segments(tape, self.places, encoded)
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

    def _native_code(self) -> Code:
        return point_code(self.tape, self.places, self.segments, self.free)

    def _decisive(self) -> list[Any]:
        """Return all that decides the machine code."""
        tape = self.tape
        outcomes = np.array([guard.outcome for guard in tape.guards])
        parts = [b"point", tape.code, tape.constants, tape.outputs, tape.guard_slots, outcomes]
        free = b"" if self.free is None else self.free
        return [
            *parts,
            self.places.heads,
            self.places.starts,
            self.segments,
            self.words,
            self.gathers,
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
        if tape.vectors:
            self._set(_kernels.BUFFER, None, _kernels.BUFFER, np.zeros(2 * _kernels.CHUNK))
        if plan.sweeps:
            partials = np.zeros((len(plan.code), 2))
            self._set(_kernels.PARTIALS, None, _kernels.PARTIALS, partials)
            self._set(_kernels.SWEPT, None, _kernels.SWEPT, np.zeros(tape.slots))
        self.handle = self._handle.ctypes.data

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


class _Encoded:
    """Vector instructions as the kernels read them.

    Instructions that differ in the bases of their views only are encoded once.

    Attributes
    ----------
    words, gathers : int64 array
        See the kernels' docstrings for the order of the words of each kind.
    parts : int64 array
        How many encoded instructions each makes: a function may need several.
    offsets, starts : int64 array
        Of each of these where in the result it writes, and where its words are.
    """

    def __init__(self, vectors: Vectors, places: Places, opcodes: Ints) -> None:
        encoder = _Encoder(places)
        keys, which = np.unique(vectors.which * _OPCODES + opcodes, return_inverse=True)
        forms = [
            encoder.form(replace(vectors.forms[number].instruction, opcode=opcode))
            for number, opcode in (divmod(key, _OPCODES) for key in keys.tolist())
        ]
        self.gathers = np.concatenate([_NOTHING, *encoder.gathers])
        self.words, sizes = _strung([form.words for form in forms], which)
        self.offsets, self.parts = _strung([form.offsets for form in forms], which)
        self.starts, _ = _strung([form.starts for form in forms], which)
        begins = np.cumsum(sizes) - sizes
        self.starts += np.repeat(begins, self.parts)
        at, bases = _strung([form.bases for form in forms], which)
        views, _ = _strung([form.views for form in forms], which)
        views += np.repeat(vectors.starts[:-1], bases)
        self.words[at + np.repeat(begins, bases)] = places[vectors.bases[views]]


def _strung(parts: Sequence[Ints], which: Ints) -> tuple[Ints, Ints]:
    """Return chosen arrays one after the other, and the size of each."""
    every = np.concatenate([_NOTHING, *parts])
    each = np.array([len(part) for part in parts], np.int64)
    sizes = each[which.ravel()]
    begins = np.cumsum(each) - each
    ends = np.cumsum(sizes)
    shift = np.repeat(begins[which.ravel()] - (ends - sizes), sizes)
    return every[np.arange(len(shift)) + shift], sizes


def _segments(tape: FlatTape, places: Places, encoded: _Encoded) -> Ints:
    """Return runs of scalar instructions, and vector instructions one by one, as kernels read them.

    Each row has the first and the last instruction, the place of the first result, and where
    the words of a vector instruction are, or -1.
    """
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)
    runs = np.column_stack([np.append(0, rows + 1), np.append(rows, len(tape.code))])
    is_run = runs[:, 0] < runs[:, 1]
    counts = is_run + np.append(encoded.parts, 0)
    ends = np.cumsum(counts)
    segments = np.empty((int(ends[-1]), 4), np.int64)
    is_vector = np.ones(len(segments), bool)
    heads = (ends - counts)[is_run]
    is_vector[heads] = False
    segments[heads, :2], segments[heads, 3] = runs[is_run], -1
    row = np.repeat(rows, encoded.parts)
    segments[is_vector] = np.column_stack([row, row + 1, row, encoded.starts])
    segments[:, 2] = places[tape.results[segments[:, 0]]] if len(segments) else 0
    segments[is_vector, 2] += encoded.offsets
    return segments


@dataclass(frozen=True)
class _Form:
    """What instructions that are the same but for their bases are encoded as.

    Attributes
    ----------
    words : int64 array
    offsets, starts : int64 array
        See `_Encoded`.
    bases, views : int64 array
        Where places of views go, and the numbers of these.
    """

    words: Ints
    offsets: Ints
    starts: Ints
    bases: Ints
    views: Ints


def _joined(
    shape: tuple[int, ...], strides: Sequence[tuple[int, ...]]
) -> list[tuple[int, tuple[int, ...]]]:
    """Return extents, and the strides of some views, with axes joined that step as one."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        steps = tuple(each[axis] for each in strides)
        if axes and axes[-1][1] == tuple(step * extent for step in steps):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    return axes


# In place of the base of view k stands this less k: no other word is anywhere near.
_BLANK = -(1 << 40)


class _Encoder:
    """Vector instructions as words, with blanks for bases.

    Their kinds write to `words`, by what there is here.
    """

    codes = _kernels
    contiguous = staticmethod(contiguous_strides)
    joined = staticmethod(_joined)

    def __init__(self, places: Places) -> None:
        self.places = places
        self.words: list[int] = []
        self.gathers: list[Ints] = []
        self._gather_entries = 0

    def form(self, instruction: VectorInstruction) -> _Form:
        """Encode an instruction."""
        views = tuple(
            View(_BLANK - k, view.strides) if view.table is None else view
            for k, view in enumerate(instruction.operands)
        )
        self.words = []
        read = instruction.reading(views)
        parts = KINDS[instruction.kind].encode(read, self)
        made = np.array(self.words, np.int64)
        bases = np.flatnonzero((made <= _BLANK) & (made > _BLANK - len(views)))
        offsets, starts = np.array(parts, np.int64).T
        return _Form(made, offsets, starts, bases, _BLANK - made[bases])

    def calls(self, opcode: int) -> Iterator[tuple[int, list[list[str]], Sequence[int]]]:
        """Yield a function's calls: the place in the table of loops, axes and arguments."""
        for place, (k, (path, _, chosen)) in enumerate(CALLS):
            if k == opcode - FIRST_FUNCTION:
                yield FIRST_FUNCTION + place, _core_axes(path), chosen

    def view(self, view: View, shape: tuple[int, ...]) -> None:
        """Write rank, base, table, shape, strides; axes are joined to neighbours they step with."""
        axes = self.joined(shape, [view.strides]) or [(1, (0,))]
        if view.table is None:
            self.words += (len(axes), view.base, -1)
        else:
            self.words += (len(axes), view.base, self.gather(self.places[view.table]))
        self.words += [extent for extent, _ in axes]
        self.words += [stride for _, (stride,) in axes]

    def gather(self, table: Ints) -> int:
        """Note a table; return where it begins among all."""
        start = self._gather_entries
        self.gathers.append(table)
        self._gather_entries += len(table)
        return start


def _core_axes(path: str) -> list[list[str]]:
    """Return the last axes of each argument of a generalized ufunc, by name."""
    ufunc: Any = load_ufunc(path)
    signature = ufunc.signature or ",".join(["()"] * ufunc.nargs)
    return [re.findall(r"\w+", axes) for axes in re.findall(r"\((.*?)\)", signature)]


def _opcodes_reached(tape: FlatTape, sweeps: bool) -> Ints:
    """Return the opcodes on a tape and those that they call; in sweeps, their partials do too."""
    codes = {*tape.opcodes, *(form.instruction.opcode for form in tape.vectors.forms)}
    todo = [opcode for opcode in codes if opcode < len(ROWS)]
    while todo:
        row = ROWS[todo.pop()]
        texts = (row.primal or "", *(row.partials if sweeps else ()))
        for name in re.findall(r"([a-z]\w*)\(", " ".join(texts)):
            opcode = OPCODE.get(name)
            if opcode is not None and opcode not in codes:
                codes.add(opcode)
                todo.append(opcode)
    return np.array(sorted(codes), np.int64)
