"""*Accumulate*: running sums along an axis."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from numtape.kinds.flow import RESULT, Flow
from numtape.kinds.kind import (
    Apply,
    Given,
    Instruction,
    Kind,
    Objects,
    Problem,
    axes_by_result,
    targets_of,
    walk_problems,
)
from numtape.kinds.reduce import WORDS
from numtape.ops.structured import ACCUMULATE
from numtape.ops.table import OPCODE, ROWS

__all__ = ["Accumulate"]


class Accumulate(Kind):
    """Running sums along an axis."""

    name = ACCUMULATE
    opcodes = OPCODE
    has_result_strides = True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if instruction.opcode != OPCODE["add"]:
            yield f"has the opcode {instruction.opcode}", "accumulations are running sums"
        yield from walk_problems(instruction)
        if math.prod(instruction.shape) != math.prod(instruction.result):
            yield (
                f"walks the shape {instruction.shape} to a result of shape {instruction.result}",
                "there is a result for each element",
            )

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return f"cumulative {WORDS[ROWS[instruction.opcode].name]}"

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end."""
        made: Objects = np.empty(instruction.size, object)
        lines = targets_of(instruction).reshape(-1, instruction.shape[-1])
        for line, row in zip(lines, operands[0].reshape(lines.shape), strict=True):
            made[line] = list(accumulate(row, partial(apply, instruction.opcode)))
        return list(made)

    in_order = elements

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        running = recorder.accumulate(ROWS[instruction.opcode].name, operands[0], -1)
        return running.transpose(axes_by_result(instruction)[0])

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on: its own, and those before it."""
        shape, strides = instruction.shape, instruction.result_strides
        yield Flow(shape, 0, to=strides)
        if shape[-1] > 1:
            later = (*shape[:-1], shape[-1] - 1)
            yield Flow(later, RESULT, to=strides, by=strides, target_start=strides[-1])

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        order, _ = axes_by_result(given.instruction)
        running = given.builder.accumulate("add", tangents[0], -1)
        return running.transpose(order).reshape(given.instruction.result)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        order, _ = axes_by_result(given.instruction)
        walked = adjoints.reshape(tuple(given.instruction.shape[axis] for axis in order))
        backward = walked.transpose(np.argsort(order).tolist())[..., ::-1]
        yield places[0], given.builder.accumulate("add", backward, -1)[..., ::-1]

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        (view,), at = instruction.operands, len(encoder.words)
        encoder.words += (encoder.codes.ACCUMULATE, instruction.opcode, instruction.size)
        encoder.words += (len(instruction.shape), view.base)
        encoder.words += (*instruction.shape, *view.strides, *instruction.result_strides)
        return [(0, at)]
