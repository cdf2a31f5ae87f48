"""*Reduce*: a row's ufunc along axes, which go from the result."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from numtape.kinds.flow import Flow
from numtape.kinds.kind import (
    Apply,
    Given,
    Instruction,
    Kind,
    Objects,
    Problem,
    Slots,
    axes_by_result,
    grouped,
    targets_of,
    walk_problems,
)
from numtape.ops.structured import INITIAL, REDUCE
from numtape.ops.table import OPCODE, ROWS

__all__ = ["WORDS", "Reduce"]

# Rows that reduce, as Python calls what they do along axes.
WORDS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}

# Reductions whose partials are masks.
_CHOICES = (OPCODE["maximum"], OPCODE["minimum"])


class Reduce(Kind):
    """A row's ufunc along axes, which go from the result."""

    name = REDUCE
    opcodes = OPCODE
    has_result_strides = True

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        names = [OPCODE[name] for name in INITIAL]
        if instruction.opcode not in names:
            yield f"has the opcode {instruction.opcode}", f"reductions are by {', '.join(INITIAL)}"
        yield from walk_problems(instruction)

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return WORDS[ROWS[instruction.opcode].name]

    def elements(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects, end to end."""
        targets = targets_of(instruction)
        return grouped(
            apply, instruction.opcode, instruction.size, targets, operands[0].ravel().tolist()
        )

    def in_order(
        self, instruction: Instruction, operands: Sequence[Objects], apply: Apply
    ) -> Sequence[Any] | None:
        """Return the results on objects; each run along the last axis is added up by itself."""
        is_sum = ROWS[instruction.opcode].name == "add"
        add = partial(apply, instruction.opcode)
        made: list[Any] = [0 if is_sum else None] * instruction.size
        width = instruction.shape[-1]
        runs = targets_of(instruction).reshape(-1, width).tolist()
        along = instruction.result_strides[-1] == 0
        for targets, row in zip(runs, operands[0].reshape(-1, width).tolist(), strict=True):
            if is_sum and along:
                row = [_pairwise(add, row)]
            for target, element in zip(targets, row, strict=False):
                before = made[target]
                made[target] = element if before is None else add(before, element)
        return made

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        order, reduced = axes_by_result(instruction)
        laid = _in_memory(operands[0]).transpose(order)
        return recorder.reduce(ROWS[instruction.opcode].name, laid, reduced)

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on."""
        yield Flow(instruction.shape, 0, to=instruction.result_strides)

    def carries(
        self, instruction: Instruction, operand: int, elements: Slots
    ) -> tuple[Slots, Slots | None] | None:
        """Return where elements of the operand go, in a sum."""
        if instruction.opcode != OPCODE["add"]:
            return None
        return targets_of(instruction).ravel()[elements, None], None

    def may_be_infinite(self, instruction: Instruction) -> bool:
        """Return whether adjoints may be infinite, or a mask's, after this instruction."""
        return instruction.opcode in _CHOICES

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        builder, instruction, walk = given.builder, given.instruction, _Walk(given.instruction)
        moved = walk.arrange(_in_memory(tangents[0]))
        if walk.name == "add":
            return builder.reduce("add", moved, walk.reduced).reshape(instruction.result)
        share, count = walk.partials(builder, given.operands[0], given.result)
        moved = builder.elementwise(OPCODE["scale"], (share, moved))
        total = builder.reduce("add", moved, walk.reduced).reshape(instruction.result)
        return total if count is None else _quotient(builder, total, count)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        builder, walk = given.builder, _Walk(given.instruction)
        targets, spread = walk.arrange(places[0]), walk.spread(adjoints)
        if walk.name == "add":
            yield targets, spread
            return
        share, count = walk.partials(builder, given.operands[0], given.result)
        if count is not None:
            spread = walk.spread(_quotient(builder, adjoints, count))
        yield targets, builder.elementwise(OPCODE["scale"], (share, spread))

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        (view,), at, opcode = instruction.operands, len(encoder.words), instruction.opcode
        initial = int(np.float64(INITIAL[ROWS[opcode].name]).view(np.int64))
        encoder.words += (encoder.codes.REDUCE, opcode, instruction.size, initial)
        encoder.words += (len(instruction.shape), view.base)
        encoder.words += (*instruction.shape, *view.strides, *instruction.result_strides)
        return [(0, at)]


def _pairwise(add: Callable[[Any, Any], Any], run: list[Any]) -> Any:
    """Add up a run as NumPy does: in halves, down to blocks that have eight sums side by side."""
    if len(run) > _BLOCK:
        half = len(run) // 2 // _SUMS * _SUMS
        return add(_pairwise(add, run[:half]), _pairwise(add, run[half:]))
    whole = len(run) // _SUMS * _SUMS
    sums = run[:_SUMS] if whole else run[:1]
    rest = run[max(whole, 1) :]
    for start in range(_SUMS, whole, _SUMS):
        sums = [add(a, b) for a, b in zip(sums, run[start : start + _SUMS], strict=True)]
    while len(sums) > 1:
        sums = [add(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return reduce(add, rest, sums[0])


_BLOCK, _SUMS = 128, 8  # of `pairwise_sum` in NumPy's ``loops_utils.h.src``


class _Walk:
    """The axes of a reduction: kept ones first, in the order of the result."""

    def __init__(self, instruction: Instruction) -> None:
        self.order, self.reduced = axes_by_result(instruction)
        kept = self.order[: len(self.order) - len(self.reduced)]
        self.kept_shape = tuple(instruction.shape[axis] for axis in kept)
        self.name = ROWS[instruction.opcode].name

    def arrange(self, slots: Any) -> Any:
        """Operand slots with the kept axes first."""
        return slots.transpose(self.order)

    def spread(self, slots: Any) -> Any:
        """Result slots with an axis of extent 1 for each reduced one."""
        return slots.reshape(self.kept_shape + (1,) * len(self.reduced))

    def partials(self, builder: Any, operand: Any, result: Any) -> tuple[Any, Any]:
        """The result's derivative by each operand element, arranged, and what to divide it by.

        The divisor is in the result's shape; None for 1.
        """
        x = self.arrange(operand)
        if self.name == "multiply":
            flat = x.reshape(*self.kept_shape, -1)
            return _exclusive_products(builder, flat).reshape(x.shape), None
        # 1 for each of the extremes, which share evenly.
        chosen = builder.elementwise(OPCODE["equal"], (x, self.spread(result)))
        return chosen, builder.reduce("add", chosen, self.reduced).reshape(result.shape)


def _in_memory(slots: Any) -> Any:
    """Slots that lie in memory row by row, as what an instruction reads does."""
    return np.ascontiguousarray(slots) if isinstance(slots, np.ndarray) else slots


def _quotient(builder: Any, total: Any, count: Any) -> Any:
    return builder.elementwise(OPCODE["divide"], (total, count))


def _exclusive_products(builder: Any, x: Any) -> Any:
    """For each element along the last axis, the product of all others; right for zeros.

    Pairs are multiplied, the problem of half the size is solved for the pairs,
    and each element's answer is its pair's times its partner.
    """
    n = x.shape[-1]
    if n == 1:
        return np.full(x.shape, builder.constant(1.0), np.int64)
    multiply = OPCODE["multiply"]
    half = n // 2
    left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    pairs = np.concatenate([builder.elementwise(multiply, (left, right)), rest], axis=-1)
    others = _exclusive_products(builder, pairs)
    both = others[..., :half]
    parts = [
        builder.elementwise(multiply, (both, right)),
        builder.elementwise(multiply, (both, left)),
        others[..., half:],
    ]
    return np.concatenate(parts, axis=-1)
