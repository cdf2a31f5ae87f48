"""*Product*: a matrix product, or one for each element of a batch, by BLAS.

In a safe one, for derivatives, 0 times anything is 0.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from numtape.kinds.flow import ROOM, Flow, row_by_row
from numtape.kinds.kind import (
    Apply,
    Given,
    Instruction,
    Kind,
    Objects,
    Problem,
    Shape,
    Slots,
    combined,
)
from numtape.ops.structured import PRODUCT, PRODUCT_OPCODE, SAFE_PRODUCT_OPCODE
from numtape.ops.table import OPCODE

__all__ = ["Product"]


class Product(Kind):
    """A matrix product, or one for each element of a batch."""

    name = PRODUCT
    by_blas = True
    opcodes = {"matmul": PRODUCT_OPCODE, "safe_matmul": SAFE_PRODUCT_OPCODE}  # noqa: RUF012

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        *batch, m, n, p = instruction.shape
        return ((*batch, m, n), (*batch, n, p))

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if len(instruction.shape) < 3:
            yield f"has the shape {instruction.shape}", "it is (*batch, m, n, p)"
        if instruction.opcode not in (PRODUCT_OPCODE, SAFE_PRODUCT_OPCODE):
            yield (
                f"has the opcode {instruction.opcode}",
                f"a product has {PRODUCT_OPCODE} or {SAFE_PRODUCT_OPCODE}",
            )
        *batch, m, _, p = instruction.shape
        if instruction.result != (*batch, m, p):
            yield f"has a result of shape {instruction.result}", f"it is {(*batch, m, p)}"

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return "matmul"

    def text(self, instruction: Instruction, operands: Sequence[str]) -> str:
        """Return an instruction as Python would write it."""
        return " @ ".join(operands)

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end."""
        left, right = operands
        times = OPCODE["scale" if instruction.opcode == SAFE_PRODUCT_OPCODE else "multiply"]
        elements = []
        for *batch, row, column in np.ndindex(*left.shape[:-1], right.shape[-1]):
            pairs = zip(left[(*batch, row)], right[(*batch, slice(None), column)], strict=True)
            terms = [apply(times, x, y) for x, y in pairs]
            elements.append(combined(apply, OPCODE["add"], terms))
        return elements

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        left, right = operands
        before = [view.base for view in instruction.operands]
        if not self.moves(instruction, before, (left.item(0), right.item(0))):
            left = recorder.copy(left)
        return recorder.product(left, right, instruction.opcode == SAFE_PRODUCT_OPCODE)

    def moves(self, instruction: Instruction, before: Sequence[int], now: Any) -> bool:
        """Return whether operands are one only if they were.

        BLAS rounds otherwise for a matrix and its own transpose than for a copy.
        """
        return bool(now[0] != now[1] or before[0] == before[1])

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on: those of a row and of a column."""
        *batch, m, n, p = instruction.shape
        axes, shape = tuple(range(len(batch))), (*batch, m, p)
        row, column = len(batch), len(batch) + 1
        lines = math.prod((*batch, m))
        for number, walked, kept in ((0, (*batch, m, n), row), (1, (*batch, n, p), column)):
            start = number * lines
            strides = row_by_row(walked, (*axes, kept))
            yield Flow(walked, number, ROOM, strides, target_start=start)
            back = row_by_row(shape, (*axes, kept))
            yield Flow(shape, ROOM, to=row_by_row(shape), by=back, source_start=start)

    def carries(
        self, instruction: Instruction, operand: int, elements: Slots
    ) -> tuple[Slots, Slots | None] | None:
        """Return where elements of an operand go, and by what they are multiplied there."""
        *_, m, n, p = instruction.shape
        if operand == 0:  # (i, j) goes to all (i, k), times (j, k)
            batch, i, j = elements // (m * n), elements // n % m, elements % n
            others = np.arange(p)
            own, partner = (batch * m + i) * p, (batch * n + j) * p
            return own[:, None] + others, partner[:, None] + others
        batch, j, k = elements // (n * p), elements // p % n, elements % p
        others = np.arange(m)  # (j, k) goes to all (i, k), times (i, j)
        own, partner = batch * m * p + k, batch * m * n + j
        return own[:, None] + others * p, partner[:, None] + others * n

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        (a, b), (da, db) = given.operands, tangents
        parts = []
        if da is not None:
            parts.append(_product(given, da, b))
        if db is not None:
            parts.append(_product(given, a, db))
        return parts[0] if len(parts) == 1 else given.builder.elementwise(OPCODE["add"], parts)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        a, b = given.operands
        if wanted[0]:
            yield places[0], _product(given, adjoints, b.swapaxes(-1, -2))
        if wanted[1]:
            yield places[1], _product(given, a.swapaxes(-1, -2), adjoints)

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels: a call of a function, and for a safe one its repair."""
        at = len(encoder.words)
        *batch, m, n, p = instruction.shape
        left, right = instruction.operands
        whole = encoder.contiguous((*batch, m, p))
        strides = (left.strides, right.strides, whole)
        encoder.words += (encoder.codes.FUNCTION, instruction.opcode, instruction.size)
        encoder.words += (len(batch), 3, 3, 6, False, m, n, p)  # arguments, dimensions, steps
        for each in strides:
            encoder.words += each[-2:]
        encoder.words += (left.base, 0, m * n, right.base, 0, n * p, 0, 1, m * p)
        encoder.words += batch
        for each in strides:
            encoder.words += each[:-2]
        if instruction.opcode != SAFE_PRODUCT_OPCODE:
            return [(0, at)]
        repair = len(encoder.words)
        encoder.words += (encoder.codes.REPAIR, *encoder.words[at + 1 :])
        return [(0, at), (0, repair)]


def _product(given: Given, left: Any, right: Any) -> Any:
    """A matrix product; where it has one term an element, it is elementwise."""
    if left.shape[-1] == 1:
        return given.builder.elementwise(OPCODE["scale"], (left, right))
    safe = given.safe or given.instruction.opcode == SAFE_PRODUCT_OPCODE
    return given.builder.product(left, right, safe)
