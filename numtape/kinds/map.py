"""*Map*: a row of the table over whole arrays. Its derivatives are the table's partials."""

from collections.abc import Iterator, Sequence
from typing import Any

from numtape.kinds.flow import Flow, row_by_row
from numtape.kinds.kind import Apply, Instruction, Kind, Objects, Problem
from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS

__all__ = ["Map", "call_text"]

# Operands that do not step evenly are read in place from rows of this length on: a call
# for each row takes 12 ns, copying an element half a nanosecond.
_ROW = 16


class Map(Kind):
    """A row of the table over whole arrays."""

    name = MAP
    opcodes = OPCODE
    may_gather = True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if not 0 <= instruction.opcode < len(ROWS):
            yield f"has the opcode {instruction.opcode}", f"operations are below {len(ROWS)}"
        if instruction.result != instruction.shape:
            yield (
                f"has a result of shape {instruction.result}",
                f"it is the shape walked, {instruction.shape}",
            )
        arity = ROWS[instruction.opcode].arity
        if len(instruction.operands) != arity:
            yield (
                f"applies {ROWS[instruction.opcode].name!r} to {len(instruction.operands)} "
                "operands",
                f"it takes {arity}",
            )

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return f"{ROWS[instruction.opcode].name}[]"

    def text(self, instruction: Instruction, operands: Sequence[str]) -> str:
        """Return an instruction as Python would write it."""
        return call_text(instruction.opcode, operands)

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end."""
        columns = (operand.ravel().tolist() for operand in operands)
        return [apply(instruction.opcode, *point) for point in zip(*columns, strict=True)]

    def in_order(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, but of powers to arrays, which NumPy rounds otherwise."""
        is_power = ROWS[instruction.opcode].is_power
        if is_power and any(instruction.operands[1].strides):
            return None
        return self.elements(instruction, operands, apply)

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on."""
        shape, row = instruction.shape, ROWS[instruction.opcode]
        for number, partial in enumerate(row.partials):
            if partial != "0":
                yield Flow(shape, number, to=row_by_row(shape))

    def is_flat(self, instruction: Instruction) -> bool:
        """Return whether an instruction has no derivative."""
        return ROWS[instruction.opcode].is_flat

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.elementwise(instruction.opcode, operands)

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels; rows of even operands are read in place."""
        at = len(encoder.words)
        opcode, size = instruction.opcode, instruction.size
        views, shape = instruction.operands, instruction.shape
        axes = encoder.joined(shape, [view.strides for view in views])
        by_rows = len(axes) > 1 and axes[-1][0] >= _ROW
        if by_rows and all(view.table is None for view in views):
            encoder.words += (encoder.codes.MAP_ROWS, opcode, size, len(axes))
            encoder.words += [extent for extent, _ in axes]
            for number, view in enumerate(views):
                encoder.words += (view.base, *(strides[number] for _, strides in axes))
            return [(0, at)]
        encoder.words += (encoder.codes.MAP, opcode, size)
        for view in views:
            encoder.view(view, shape)
        return [(0, at)]


def call_text(opcode: int, operands: Sequence[str]) -> str:
    """Return a row applied to operands, as Python would write it."""
    row = ROWS[opcode]
    if row.symbol is None:
        return f"{row.name}({', '.join(operands)})"
    if len(operands) == 1:
        return f"{row.symbol}{operands[0]}"
    return f"{operands[0]} {row.symbol} {operands[1]}"
