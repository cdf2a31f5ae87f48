"""The kinds that find places during the run, and those that read and add at such places.

*Order* is where the elements of a row would be if sorted, and *search* where points belong
among sorted numbers: both as floats, without derivatives. *Take* reads elements at places, and
*spread* adds elements into them: each is the other's adjoint, and so they stand together.
"""

from collections.abc import Iterator
from typing import Any

from numtape.kinds.flow import ROOM, Flow, row_by_row
from numtape.kinds.kind import Given, Instruction, Kind, Problem, Shape, shape_problem
from numtape.ops.structured import ORDER, ORDER_OPCODES, SEARCH, SPREAD, TAKE

__all__ = ["Order", "Search", "Spread", "Take"]


class Order(Kind):
    """Where the elements of each row would be if sorted."""

    name = ORDER
    opcodes = ORDER_OPCODES

    def is_flat(self, instruction: Instruction) -> bool:
        """Return whether an instruction has no derivative."""
        return True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if instruction.opcode not in ORDER_OPCODES.values():
            yield f"has the opcode {instruction.opcode}", f"orders are {', '.join(ORDER_OPCODES)}"
        yield from shape_problem(instruction, "rows, n", instruction.shape, 1)
        (view,) = instruction.operands
        if len(view.strides) == 2 and view.strides[1] != 1 and instruction.shape[1] > 1:
            yield f"reads by strides {view.strides}", "the elements of a row follow one another"

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "argsort"

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        names = {opcode: name for name, opcode in ORDER_OPCODES.items()}
        return recorder.order(operands[0], names[instruction.opcode])

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        (view,), at = instruction.operands, len(encoder.words)
        encoder.words += (encoder.codes.ORDER, instruction.opcode, *instruction.shape)
        encoder.words += (view.base, view.strides[0])
        return [(0, at)]


class Search(Kind):
    """Where points belong among sorted numbers, left or right of equal ones."""

    name = SEARCH
    opcodes = {"left": 0, "right": 1}  # noqa: RUF012

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        n, m = instruction.shape
        return ((n,), (m,))

    def is_flat(self, instruction: Instruction) -> bool:
        """Return whether an instruction has no derivative."""
        return True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if instruction.opcode not in (0, 1):
            yield f"has the opcode {instruction.opcode}", "it is 0 (left) or 1 (right)"
        yield from shape_problem(instruction, "n, m", instruction.shape[1:], 2)

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "searchsorted"

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.search(operands[0], operands[1], right=bool(instruction.opcode))

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        return _encode(instruction, encoder, encoder.codes.SEARCH)


class _AtPlaces(Kind):
    """What reads or adds at places, which are its second operand."""

    places = 1

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on: any of its row, by the point."""
        rows = instruction.shape[0]
        yield Flow(self.shapes(instruction)[0], 0, ROOM, (1, 0))
        shape = (rows, instruction.size // rows)
        yield Flow(shape, ROOM, to=row_by_row(shape), by=(1, 0))

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if instruction.opcode != 0:
            yield f"has the opcode {instruction.opcode}", "it is 0"
        expected = (instruction.shape[:1], instruction.shape[-1:])
        yield from shape_problem(instruction, "rows, n, m", sum(expected, ()), 2)

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        return self.again(given.builder, given.instruction, (tangents[0], given.operands[1]))


class Take(_AtPlaces):
    """Elements of each row at places that were found during the run."""

    name = TAKE
    opcodes = {"take": 0}  # noqa: RUF012

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        rows, n, m = instruction.shape
        return ((rows, n), (rows, m))

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "take"

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.take(operands[0], operands[1])

    def may_be_infinite(self, instruction: Instruction) -> bool:
        """Return whether adjoints may be infinite, or a mask's, after this instruction."""
        return True

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        n = given.instruction.shape[1]
        yield places[0], given.builder.spread(adjoints, given.operands[1], n)

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        return _encode(instruction, encoder, encoder.codes.TAKE)


class Spread(_AtPlaces):
    """Elements of each row added into places that were found during the run."""

    name = SPREAD
    opcodes = {"add": 0}  # noqa: RUF012

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        rows, m, _ = instruction.shape
        return ((rows, m), (rows, m))

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "spread"

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.spread(operands[0], operands[1], instruction.shape[-1])

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        yield places[0], given.builder.take(adjoints, given.operands[1])

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        return _encode(instruction, encoder, encoder.codes.SPREAD)


def _encode(instruction: Instruction, encoder: Any, code: int) -> list[tuple[int, int]]:
    at = len(encoder.words)
    encoder.words += (code, instruction.opcode, *instruction.shape)
    for view in instruction.operands:
        encoder.words += (view.base, *view.strides)
    return [(0, at)]
