"""The flat tape: what a recording leaves behind, as frozen arrays.

A run of a tape has one float64 memory, and a *slot* is a place in it. Slot 0 is
the null slot, always 0.0, which unary instructions name as their unused
operand. Then come the constants, the inputs, and the results in the order of
the instructions. Every slot is assigned once.

An instruction is a row ``(opcode, a, b)`` of `FlatTape.code`. A scalar
instruction reads slots a and b and makes one result. A vector instruction has
the opcode `VECTOR`; a is its number in `FlatTape.vectors` and b the number of
results it makes, which are contiguous.

This module says what a tape is. It does not record, run or transform one.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numtape.ops.table import ROWS
from numtape.tape.forms import Vectors
from numtape.tape.instruction import VectorInstruction, View, contiguous_strides
from numtape.tape.reads import Reads, needed, ranges_of

if TYPE_CHECKING:
    from numtape.tape.body import Body

__all__ = [
    "VECTOR",
    "FlatTape",
    "Guard",
    "Location",
    "VectorInstruction",
    "View",
    "contiguous_strides",
]

VECTOR = -1

# A tape's arrays that nobody may write to; the point is only shown.
_READ_BY_RUNS = ("code", "constants", "outputs")

Slots = npt.NDArray[np.int64]


_DEFAULTS = {"guards": (), "point": np.zeros(0), "lines": None}


@dataclass(frozen=True)
class Location:
    """A line of the user's source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Guard:
    """A comparison whose outcome the recording relied on."""

    slot: int
    outcome: float
    location: Location


@dataclass(frozen=True)
class FlatTape:
    """A recording as flat arrays.

    Making one checks it completely (see `validate.py`) and copies its arrays, which
    cannot be written to: every `FlatTape` can be run. What numtape's own recorder and
    transforms make is right by construction, and is made by ``unchecked``. A tape is
    pickled by the names of its operations, and checked when it is read.

    Attributes
    ----------
    code : int32 array (instructions, 3)
        The instructions: opcode, a, b.
    vectors : Vectors
        The vector instructions, given as a sequence of ``VectorInstruction``, kept as integers.
    constants : float64 array
        What slots 1, 2, ... hold.
    inputs : int
        How many inputs there are.
    outputs : int64 array
        The slots to return.
    guards : tuple of Guard
        In the order of the recording.
    point : float64 array
        The inputs at which it was recorded.
    lines : tuple of Location or None
        Where each instruction came from, if that was recorded.
    """

    code: npt.NDArray[np.int32]
    vectors: Vectors
    constants: npt.NDArray[np.float64]
    inputs: int
    outputs: Slots
    guards: tuple[Guard, ...] = ()
    point: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    lines: tuple[Location, ...] | None = None

    def __post_init__(self) -> None:
        # Imported here, because what checks a tape knows what a tape is.
        from numtape.tape.validate import checked_fields

        self.__dict__.update(checked_fields(self, None))

    @classmethod
    def checked(cls, limit: float | None, **fields: Any) -> "FlatTape":
        """Make a tape of fields that nobody else has, which may need at most so many bytes.

        See `validate.py`.
        """
        from numtape.tape.validate import checked_fields

        tape = object.__new__(cls)
        tape.__dict__.update(_DEFAULTS | fields)  # as they are: forms are made of what is sound
        tape.__dict__.update(checked_fields(tape, limit, copy=False))
        return tape

    @classmethod
    def unchecked(cls, **fields: Any) -> "FlatTape":
        """Make a tape of fields that are known to be right: for what numtape itself has made."""
        tape = object.__new__(cls)
        tape.__dict__.update(_DEFAULTS | fields)
        tape.__dict__["vectors"] = Vectors.of(fields["vectors"])
        for name in _READ_BY_RUNS:
            array = fields[name].view()
            array.flags.writeable = False
            tape.__dict__[name] = array
        return tape

    def changed(self, **fields: Any) -> "FlatTape":
        """Return this tape with other fields, which are known to be right."""
        return FlatTape.unchecked(
            **{name: self.__dict__[name] for name in self.__dataclass_fields__} | fields
        )

    def giving(self, outputs: Slots) -> "FlatTape":
        """Return this tape with other outputs, and all that is known of its instructions."""
        tape = object.__new__(FlatTape)
        tape.__dict__.update(self.__dict__, outputs=outputs.view())
        tape.outputs.flags.writeable = False
        return tape

    def __reduce__(self) -> Any:
        from numtape.tape.columns import columns, from_columns

        return from_columns, columns(self)

    def __copy__(self) -> "FlatTape":
        return self

    def __deepcopy__(self, memo: Any) -> "FlatTape":
        return self

    @property
    def instructions(self) -> int:
        """How many instructions there are; a vector instruction counts as one."""
        return len(self.code)

    @cached_property
    def bodies(self) -> "tuple[Body, ...]":
        """The bodies of its loops, each once for every form of loops that have it."""
        bodies = (form.instruction.body for form in self.vectors.forms)
        return tuple(body for body in bodies if body is not None)

    @property
    def has_loops(self) -> bool:
        """Whether some of the instructions are loops."""
        return bool(self.bodies)

    @cached_property
    def is_of_scalars(self) -> bool:
        """Whether every instruction is a scalar one, or a loop of such."""
        are_all = len(self.bodies) == len(self.vectors.forms)
        return are_all and all(body.tape.is_of_scalars for body in self.bodies)

    @cached_property
    def written_out(self) -> int:
        """How many instructions there are if each step of its loops is counted."""
        loops = self.vectors.each(
            lambda each: each.shape[0] * each.body.tape.written_out - 1 if each.body else 0
        )
        return self.instructions + int(loops.sum())

    @cached_property
    def in_all(self) -> int:
        """How many instructions there are with those in bodies of its loops."""
        return self.instructions + sum(body.tape.in_all for body in set(self.bodies))

    @property
    def first_input(self) -> int:
        """The slot of the first input."""
        return 1 + len(self.constants)

    @property
    def first_result(self) -> int:
        """The slot of the first result."""
        return self.first_input + self.inputs

    @cached_property
    def results(self) -> Slots:
        """The first result slot of each instruction, and at the end the number of slots."""
        sizes = np.where(self.code[:, 0] == VECTOR, self.code[:, 2], 1)
        starts = np.zeros(len(self.code) + 1, np.int64)
        np.cumsum(sizes, out=starts[1:])
        return starts + self.first_result

    @cached_property
    def slots(self) -> int:
        """How many slots there are."""
        return int(self.results[-1])

    @property
    def is_scalar(self) -> bool:
        """Whether every instruction is a scalar one."""
        return not self.vectors

    @cached_property
    def is_common(self) -> bool:
        """Whether all scalar instructions are of the operations marked common."""
        return all(ROWS[opcode].common for opcode in self.opcodes)

    @cached_property
    def opcodes(self) -> list[int]:
        """The opcodes of the scalar instructions, in ascending order."""
        counts = np.bincount(self.code[:, 0] + 1)  # counting is ten times as fast as sorting
        return [opcode - 1 for opcode in np.flatnonzero(counts).tolist() if opcode - 1 != VECTOR]

    @cached_property
    def read_by_vectors(self) -> Reads:
        """What each vector instruction reads, in the order of the code."""
        return ranges_of(self)

    def needed(self, slots: Slots) -> npt.NDArray[np.bool_]:
        """Return for each instruction whether one of some slots depends on it."""
        return needed(self, slots)

    @cached_property
    def guard_slots(self) -> Slots:
        """The slots of the guards."""
        return np.array([guard.slot for guard in self.guards], np.int64)

    def producer(self, slot: int) -> int | None:
        """Return the number of the instruction that makes a slot; None for inputs and constants."""
        if slot < self.first_result:
            return None
        return int(np.searchsorted(self.results, slot, side="right")) - 1
