"""What a module of this package says of its kind of vector instruction.

A `Kind` answers for all instructions of one kind: which shapes belong together, what is wrong
with one, how it is called and written, how it is recorded again, what its derivatives are, how
the kernels read it. Whoever meets an instruction asks its kind, and nobody else knows of any.

The package knows operations and integers. Recorders, builders and encoders are handed to it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from numtape.kinds.flow import Flow

__all__ = [
    *("Apply", "Given", "Instruction", "Kind", "Objects", "Problem", "Shape", "Slots"),
    *("axes_by_result", "combined", "grouped", "shape_problem", "targets_of", "walk_problems"),
]

Shape = tuple[int, ...]
Problem = tuple[str, str]  # what is wrong, and the rule
Slots = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]
Apply = Callable[..., Any]


class _View(Protocol):
    """How an operand is read, as far as kinds ask; see `numtape.tape.instruction.View`."""

    @property
    def base(self) -> int: ...
    @property
    def strides(self) -> Shape: ...
    @property
    def table(self) -> Slots | None: ...


class Instruction(Protocol):
    """What kinds ask of an instruction; see `numtape.tape.instruction.VectorInstruction`."""

    @property
    def opcode(self) -> int: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def operands(self) -> Sequence[_View]: ...
    @property
    def result(self) -> Shape: ...
    @property
    def result_strides(self) -> Shape: ...
    @property
    def targets(self) -> Slots | None: ...
    @property
    def body(self) -> Any: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class Given:
    """What a derivative rule is given.

    Attributes
    ----------
    builder : Builder
        What they record to.
    instruction : Instruction
        Without the bases of its views.
    operands : tuple of int64 array
        The slots of each operand, over the shape that its view walks.
    result : int64 array
        The slots of the result, in its shape.
    safe : bool
        Whether products are to be zero-safe: what is multiplied may be infinite, or exactly 0
        where operands are infinite or nan.
    functions, loops : module
        The rules of functions and of loops, in `numtape.transform`.
    """

    builder: Any
    instruction: Instruction
    operands: tuple[Any, ...]
    result: Any
    safe: bool
    functions: Any
    loops: Any


class Kind:
    """A kind of vector instruction.

    Attributes
    ----------
    name : str
    opcodes : mapping
        The opcodes that its instructions may have, by the names that files have for them.
    may_gather : bool
        Whether its operands may be read by tables.
    has_targets, has_result_strides : bool
        Whether its instructions have targets, and strides of their results.
    has_body : bool
        Whether its instructions have bodies.
    by_blas : bool
        Whether it may be computed by BLAS or LAPACK.
    places : int
        How many of its operands, from the last, have places and no derivative.
    """

    name: ClassVar[str]
    opcodes: ClassVar[Mapping[str, int]]
    may_gather: ClassVar[bool] = False
    has_targets: ClassVar[bool] = False
    has_result_strides: ClassVar[bool] = False
    has_body: ClassVar[bool] = False
    by_blas: ClassVar[bool] = False
    places: ClassVar[int] = 0

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        return (instruction.shape,) * len(instruction.operands)

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        raise NotImplementedError

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        raise NotImplementedError

    def text(self, instruction: Instruction, operands: Sequence[str]) -> str:
        """Return an instruction as Python would write it."""
        return f"{self.word(instruction)}({', '.join(operands)})"

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end; None for what is not made of rows.

        `apply` makes an object of an opcode and operands.
        """
        return None

    def in_order(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return what `elements` does, combined in the order in which kernels do, to the bit.

        None where there is no such order. An `apply` to 0 and an object adds to the null slot.
        """
        return None

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        raise NotImplementedError

    def moves(self, instruction: Instruction, before: Sequence[int], now: Any) -> bool:
        """Return whether an instruction may be recorded as it is, with other bases."""
        return True

    def is_flat(self, instruction: Instruction) -> bool:
        """Return whether an instruction has no derivative."""
        return False

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on; nothing where it is flat."""
        raise NotImplementedError

    def carries(
        self, instruction: Instruction, operand: int, elements: Slots
    ) -> tuple[Slots, Slots | None] | None:
        """Return where elements of an operand go, if results are linear in each.

        Parameters
        ----------
        instruction : Instruction
        operand : int
        elements : int64 array
            Places in what the operand's view walks.

        Returns
        -------
        targets : int64 array (elements, width)
            The results to which each element is added.
        factors : int64 array (elements, width) or None
            The places in what the other operand's view walks that it is multiplied by; None for 1.

        None where results are not linear, or that is said otherwise.
        """
        return None

    def may_be_infinite(self, instruction: Instruction) -> bool:
        """Return whether adjoints may be infinite, or a mask's, after this instruction."""
        return False

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result.

        `tangents` has those of each operand, None where all are zero.
        """
        raise NotImplementedError

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there.

        Parameters
        ----------
        given : Given
        places : tuple of int64 array
            The places of the adjoints of each operand.
        wanted : tuple of bool
            Whether each operand depends on an input.
        adjoints : int64 array
            The slots of the result's adjoints, in its shape.
        """
        raise NotImplementedError

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels, see their docstrings.

        Returns
        -------
        list of pairs
            Where in the result each part writes, and where its words are.
        """
        raise NotImplementedError


def axes_by_result(instruction: Instruction) -> tuple[Shape, Shape]:
    """Return the axes of a walk in the order of its result, reduced ones last.

    Returns
    -------
    order, reduced : tuple of int
        How to transpose the walked axes, and which of the transposed are reduced.
    """
    strides = instruction.result_strides
    axes = range(len(strides))
    kept = sorted((k for k in axes if strides[k]), key=lambda k: -strides[k])
    dropped = [k for k in axes if not strides[k]]
    return (*kept, *dropped), tuple(range(len(kept), len(strides)))


def targets_of(instruction: Instruction) -> Slots:
    """Return for each element that is walked its place in the result."""
    index = np.indices(instruction.shape)
    strides = np.array(instruction.result_strides, np.int64)
    places: Slots = np.tensordot(strides, index, 1)
    return places


def combined(apply: Apply, opcode: int, parts: list[Any]) -> Any:
    """Return many combined by a row, in pairs; none, which only sums can be of, make 0."""
    if not parts:
        return 0
    while len(parts) > 1:
        pairs = [apply(opcode, x, y) for x, y in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + ([parts[-1]] if len(parts) % 2 else [])
    return parts[0]


def grouped(
    apply: Apply, opcode: int, size: int, targets: Slots, elements: Sequence[Any]
) -> list[Any]:
    """Return the elements that go to each of so many places, combined by a row."""
    groups: list[list[Any]] = [[] for _ in range(size)]
    for target, element in zip(targets.ravel().tolist(), elements, strict=True):
        groups[target].append(element)
    return [combined(apply, opcode, group) for group in groups]


def walk_problems(instruction: Instruction) -> Iterator[Problem]:
    """Yield what is wrong where the axes kept are to fill the result, each element once."""
    shape, strides = instruction.shape, instruction.result_strides
    if not shape or len(instruction.operands) != 1:
        yield (
            f"walks the shape {shape} of {len(instruction.operands)} operands",
            "it walks one operand of one axis or more",
        )
    step = 1
    agree = len(strides) == len(shape)
    for stride, extent in sorted((s, n) for s, n in zip(strides, shape, strict=False) if s != 0):
        agree = agree and stride == step
        step *= extent
    if not agree or step != math.prod(instruction.result):
        yield (
            f"walks the shape {shape} by the strides {strides} of its result",
            f"the axes with a stride fill the {math.prod(instruction.result)} results, one "
            "element each, and others have the stride 0",
        )


def shape_problem(
    instruction: Instruction, axes: str, result: Shape, operands: int
) -> Iterator[Problem]:
    """Yield what is wrong with the number of axes, the result's shape, the operands."""
    rank = axes.count(",") + 1
    if len(instruction.shape) != rank or len(instruction.operands) != operands:
        yield (
            f"has the shape {instruction.shape} and {len(instruction.operands)} operands",
            f"its shape is ({axes}), and it has {operands}",
        )
    if instruction.result != result:
        yield f"has a result of shape {instruction.result}", f"it is {result}"
