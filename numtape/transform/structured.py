"""Derivative rules of the operations with shapes: reductions, products, sums by index, places.

Each kind of vector instruction has a `tangent` rule, from tangents of its
operands to those of its result, and an `adjoint` rule, from adjoints of its
result to contributions to its operands. The rules of `map` are the table's
partials and are applied in `derivative.py`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from numtape.ops.structured import (
    ACCUMULATE,
    FUNCTION,
    PRODUCT,
    REDUCE,
    SAFE_PRODUCT_OPCODE,
    SPREAD,
    TAKE,
)
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.flat import VectorInstruction
from numtape.tape.regular import broadcast_slots
from numtape.trace.recorder import Slots
from numtape.transform.builder import Builder, arranged, in_memory
from numtape.transform.linear_algebra import function_adjoint, function_tangent

__all__ = ["adjoint_rule", "tangent_rule"]


def tangent_rule(
    builder: Builder,
    instruction: VectorInstruction,
    operands: tuple[Slots, ...],
    tangents: tuple[Slots | None, ...],
    result: Slots,
    safe: bool,
) -> Slots:
    """The tangents of a structured instruction's result.

    Parameters
    ----------
    builder : Builder
    instruction : VectorInstruction
    operands, tangents : tuple of ndarray
        Slots of each operand, over the shape its view walks, and of its
        tangents; None for an operand whose tangents are all zero.
    result : ndarray
        Slots of the result, in its own shape.
    safe : bool
        Whether products must be zero-safe, as for `adjoint_rule`.
    """
    if instruction.kind == PRODUCT:
        (a, b), (da, db) = operands, tangents
        safe = safe or instruction.opcode == SAFE_PRODUCT_OPCODE
        parts = []
        if da is not None:
            parts.append(_product(builder, da, b, safe))
        if db is not None:
            parts.append(_product(builder, a, db, safe))
        return parts[0] if len(parts) == 1 else builder.elementwise(OPCODE["add"], parts)
    if instruction.kind == FUNCTION:
        return function_tangent(builder, instruction, operands, tangents, result)
    tangent = tangents[0]
    assert tangent is not None
    if instruction.kind == TAKE:
        return builder.take(tangent, operands[1])
    if instruction.kind == SPREAD:
        return builder.spread(tangent, operands[1], instruction.shape[-1])
    if instruction.kind == REDUCE:
        walk = _Reduction(instruction)
        moved = walk.arrange(in_memory(tangent))
        if walk.name == "add":
            return builder.reduce("add", moved, walk.reduced).reshape(instruction.result)
        share, count = walk.partials(builder, operands[0], result)
        moved = builder.elementwise(OPCODE["scale"], (share, moved))
        total = builder.reduce("add", moved, walk.reduced).reshape(instruction.result)
        return total if count is None else _quotient(builder, total, count)
    if instruction.kind == ACCUMULATE:
        order, _ = arranged(instruction)
        return builder.accumulate("add", tangent, -1).transpose(order).reshape(instruction.result)
    assert instruction.targets is not None
    return builder.scatter(tangent, instruction.targets, instruction.size)


def adjoint_rule(
    builder: Builder,
    instruction: VectorInstruction,
    places: tuple[Slots, ...],
    operands: tuple[Slots, ...],
    wanted: tuple[bool, ...],
    result: Slots,
    adjoints: Slots,
    safe: bool,
) -> Iterator[tuple[Slots, Slots]]:
    """Contributions of a structured instruction to its operands' adjoints.

    Parameters
    ----------
    builder : Builder
    instruction : VectorInstruction
    places, operands : tuple of ndarray
        For each operand, the places of its adjoints and its slots.
    wanted : tuple of bool
        Whether each operand depends on an input.
    result, adjoints : ndarray
        Slots of the result and of its adjoints, in the result's shape.
    safe : bool
        Whether products must be zero-safe: adjoints may be infinite, or exactly 0 where
        operands are infinite or nan.

    Yields
    ------
    targets, contributions : ndarray
        Places of operand elements, and what is to be added to their adjoints.
    """
    if instruction.kind == PRODUCT:
        a, b = operands
        safe = safe or instruction.opcode == SAFE_PRODUCT_OPCODE
        if wanted[0]:
            yield places[0], _product(builder, adjoints, b.swapaxes(-1, -2), safe)
        if wanted[1]:
            yield places[1], _product(builder, a.swapaxes(-1, -2), adjoints, safe)
    elif instruction.kind == FUNCTION:
        yield from function_adjoint(
            builder, instruction, places, operands, wanted, result, adjoints, safe
        )
    elif instruction.kind == TAKE:
        yield places[0], builder.spread(adjoints, operands[1], instruction.shape[1])
    elif instruction.kind == SPREAD:
        yield places[0], builder.take(adjoints, operands[1])
    elif instruction.kind == REDUCE:
        walk = _Reduction(instruction)
        targets, spread = walk.arrange(places[0]), walk.spread(adjoints)
        if walk.name == "add":
            yield targets, broadcast_slots(spread, targets.shape)
        else:
            share, count = walk.partials(builder, operands[0], result)
            if count is not None:
                spread = walk.spread(_quotient(builder, adjoints, count))
            yield targets, builder.elementwise(OPCODE["scale"], (share, spread))
    elif instruction.kind == ACCUMULATE:
        order, _ = arranged(instruction)
        walked = adjoints.reshape(tuple(instruction.shape[axis] for axis in order))
        backward = walked.transpose(np.argsort(order).tolist())[..., ::-1]
        yield places[0], builder.accumulate("add", backward, -1)[..., ::-1]
    else:
        yield places[0], adjoints.ravel()[instruction.targets]


def _product(builder: Builder, left: Any, right: Any, safe: bool) -> Any:
    """A matrix product; where it has one term an element, it is elementwise."""
    if left.shape[-1] == 1:
        return builder.elementwise(OPCODE["scale"], (left, right))
    return builder.product(left, right, safe)


class _Reduction:
    """The axes of a reduction: kept ones first, in the order of the result."""

    def __init__(self, instruction: VectorInstruction) -> None:
        self.order, self.reduced = arranged(instruction)
        kept = self.order[: len(self.order) - len(self.reduced)]
        self.kept_shape = tuple(instruction.shape[axis] for axis in kept)
        self.name = ROWS[instruction.opcode].name

    def arrange(self, slots: Slots) -> Slots:
        """Operand slots with the kept axes first."""
        return slots.transpose(self.order)

    def spread(self, slots: Slots) -> Slots:
        """Result slots with an axis of extent 1 for each reduced one."""
        return slots.reshape(self.kept_shape + (1,) * len(self.reduced))

    def partials(
        self, builder: Builder, operand: Slots, result: Slots
    ) -> tuple[Slots, Slots | None]:
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


def _quotient(builder: Builder, total: Slots, count: Slots) -> Slots:
    return builder.elementwise(OPCODE["divide"], (total, count))


def _exclusive_products(builder: Builder, x: Slots) -> Slots:
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
