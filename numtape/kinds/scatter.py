"""*Scatter*: elements added into places, which a table of the instruction's own says."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numtape.kinds.flow import Flow
from numtape.kinds.kind import Apply, Given, Instruction, Kind, Objects, Problem, Slots, grouped
from numtape.ops.structured import SCATTER
from numtape.ops.table import OPCODE

__all__ = ["Scatter"]


class Scatter(Kind):
    """Elements added into places that a table says."""

    name = SCATTER
    opcodes = {"add": 0}  # noqa: RUF012
    has_targets = True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        targets, size = instruction.targets, math.prod(instruction.result)
        is_line = len(instruction.shape) == 1 and len(instruction.operands) == 1
        if not is_line or instruction.opcode != 0:
            yield (
                f"has the shape {instruction.shape}, {len(instruction.operands)} operands and the "
                f"opcode {instruction.opcode}",
                "it walks one operand of one axis, and its opcode is 0",
            )
        (view,) = instruction.operands
        if view.strides != (1,) and instruction.shape != (1,):
            yield f"reads by strides {view.strides}", "it reads elements that follow one another"
        if targets is None or len(targets) != instruction.shape[0]:
            yield (
                f"has {'no' if targets is None else len(targets)} targets",
                f"it has one for each of {instruction.shape[0]} elements",
            )
        elif targets.min() < 0 or targets.max() >= size:
            yield (
                f"has targets from {targets.min()} to {targets.max()}",
                f"they are places among its {size} results",
            )

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "scatter"

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end."""
        targets = instruction.targets
        assert targets is not None
        return grouped(
            apply, OPCODE["add"], instruction.size, targets, operands[0].ravel().tolist()
        )

    def in_order(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, added one by one."""
        assert instruction.targets is not None
        sums: list[Any] = [0] * instruction.size
        pairs = zip(instruction.targets.tolist(), operands[0].ravel().tolist(), strict=True)
        for target, element in pairs:
            sums[target] = apply(OPCODE["add"], sums[target], element)
        return sums

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.scatter(operands[0], instruction.targets, instruction.size)

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on."""
        yield Flow(instruction.shape, 0, table=instruction.targets)

    def carries(
        self, instruction: Instruction, operand: int, elements: Slots
    ) -> tuple[Slots, Slots | None] | None:
        """Return where elements of the operand go."""
        assert instruction.targets is not None
        return instruction.targets[elements, None], None

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        return self.again(given.builder, given.instruction, tangents)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        yield places[0], adjoints.ravel()[given.instruction.targets]

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        (view,), at = instruction.operands, len(encoder.words)
        table = encoder.gather(instruction.targets)
        encoder.words += (encoder.codes.SCATTER, instruction.opcode, instruction.size)
        encoder.words += (instruction.shape[0], view.base, table)
        return [(0, at)]
