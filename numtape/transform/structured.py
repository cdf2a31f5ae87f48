"""Derivative rules of the operations with shapes: reductions, products, sums by index.

Each kind of vector instruction has a `tangent` rule, from tangents of its
operands to those of its result, and an `adjoint` rule, from adjoints of its
result to contributions to its operands. The rules of `map` are the table's
partials and are applied in `derivative.py`.
"""

from collections.abc import Iterator

import numpy as np

from numtape.ops.structured import ACCUMULATE, PRODUCT, REDUCE
from numtape.ops.table import ROWS
from numtape.tape.flat import VectorInstruction
from numtape.trace.recorder import Slots
from numtape.transform.expressions import Algebra, Expression

__all__ = ["adjoint_rule", "tangent_rule"]


def tangent_rule(
    algebra: Algebra,
    instruction: VectorInstruction,
    operands: tuple[Slots, ...],
    tangents: tuple[Slots | None, ...],
    result: Slots,
) -> Slots:
    """The tangents of a structured instruction's result.

    Parameters
    ----------
    algebra : Algebra
    instruction : VectorInstruction
    operands, tangents : tuple of ndarray
        Slots of each operand, over the shape its view walks, and of its
        tangents; None for an operand whose tangents are all zero.
    result : ndarray
        Slots of the result, in its own shape.
    """
    recorder = algebra.recorder
    if instruction.kind == PRODUCT:
        (a, b), (da, db) = operands, tangents
        parts = []
        if da is not None:
            parts.append(algebra.slots(recorder.product(da, b)))
        if db is not None:
            parts.append(algebra.slots(recorder.product(a, db)))
        return (parts[0] if len(parts) == 1 else parts[0] + parts[1]).slots
    (tangent,) = tangents
    assert tangent is not None
    if instruction.kind == REDUCE:
        walk = _Reduction(instruction)
        moved = walk.arrange(tangent)
        if ROWS[instruction.opcode].name != "add":
            share = walk.partials(algebra, operands[0], result)
            moved = algebra.apply("scale", share, algebra.slots(moved)).slots
        return recorder.reduce("add", moved, walk.reduced).reshape(instruction.result)
    if instruction.kind == ACCUMULATE:
        running = recorder.accumulate("add", tangent, -1)
        return _placed(instruction, running)
    assert instruction.targets is not None
    return recorder.scatter(tangent, instruction.targets, instruction.size)


def adjoint_rule(
    algebra: Algebra,
    instruction: VectorInstruction,
    operands: tuple[Slots, ...],
    wanted: tuple[bool, ...],
    result: Slots,
    adjoints: Slots,
) -> Iterator[tuple[Slots, Slots]]:
    """Contributions of a structured instruction to its operands' adjoints.

    Parameters as for `tangent_rule`; `wanted` says which operands depend on an
    input, `adjoints` are the slots of the result's adjoints.

    Yields
    ------
    targets, contributions : ndarray
        Slots of operand elements, and what is to be added to their adjoints.
    """
    recorder = algebra.recorder
    if instruction.kind == PRODUCT:
        a, b = operands
        if wanted[0]:
            yield a, recorder.product(adjoints, b.swapaxes(-1, -2))
        if wanted[1]:
            yield b, recorder.product(a.swapaxes(-1, -2), adjoints)
    elif instruction.kind == REDUCE:
        walk = _Reduction(instruction)
        moved = walk.arrange(operands[0])
        spread = walk.spread(adjoints)
        if ROWS[instruction.opcode].name == "add":
            yield moved, np.broadcast_to(spread, moved.shape)
        else:
            share = walk.partials(algebra, operands[0], result)
            yield moved, algebra.apply("scale", share, algebra.slots(spread)).slots
    elif instruction.kind == ACCUMULATE:
        backward = _walked(instruction, adjoints)[..., ::-1]
        yield operands[0], recorder.accumulate("add", backward, -1)[..., ::-1]
    else:
        yield operands[0], adjoints.ravel()[instruction.targets]


class _Reduction:
    """The axes of a reduction: kept ones first, in the order of the result."""

    def __init__(self, instruction: VectorInstruction) -> None:
        strides = instruction.result_strides
        axes = range(len(strides))
        kept = sorted((k for k in axes if strides[k]), key=lambda k: -strides[k])
        self.order = (*kept, *(k for k in axes if not strides[k]))
        self.kept_shape = tuple(instruction.shape[k] for k in kept)
        self.reduced = tuple(range(len(kept), len(strides)))
        self.name = ROWS[instruction.opcode].name

    def arrange(self, slots: Slots) -> Slots:
        """Operand slots with the kept axes first."""
        return slots.transpose(self.order)

    def spread(self, slots: Slots) -> Slots:
        """Result slots with an axis of extent 1 for each reduced one."""
        return slots.reshape(self.kept_shape + (1,) * len(self.reduced))

    def partials(self, algebra: Algebra, operand: Slots, result: Slots) -> Expression:
        """The result's derivative by each operand element, arranged."""
        x = algebra.slots(self.arrange(operand))
        if self.name == "multiply":
            flat = x.slots.reshape(*self.kept_shape, -1)
            return algebra.slots(_exclusive_products(algebra, flat).reshape(x.slots.shape))
        f = algebra.slots(self.spread(result))
        chosen = algebra.apply("equal", x, f)  # 1 for each of the extremes, which share evenly
        count = algebra.sum(chosen, self.reduced)
        return chosen / algebra.slots(self.spread(count.slots))


def _exclusive_products(algebra: Algebra, x: Slots) -> Slots:
    """For each element along the last axis, the product of all others; right for zeros.

    Pairs are multiplied, the problem of half the size is solved for the pairs,
    and each element's answer is its pair's times its partner.
    """
    n = x.shape[-1]
    if n == 1:
        return np.broadcast_to(algebra.constant(1.0).slots, x.shape)
    half = n // 2
    left, right = algebra.slots(x[..., :half]), algebra.slots(x[..., half : 2 * half])
    pairs = np.concatenate([(left * right).slots, x[..., 2 * half :]], axis=-1)
    others = _exclusive_products(algebra, pairs)
    both = algebra.slots(others[..., :half])
    parts = [(both * right).slots, (both * left).slots, others[..., half:]]
    return np.concatenate(parts, axis=-1)


def _placed(instruction: VectorInstruction, walked: Slots) -> Slots:
    """Slots in walking order put in the result's own order."""
    placed = np.empty(instruction.size, np.int64)
    placed[_places(instruction)] = walked
    return placed.reshape(instruction.result)


def _walked(instruction: VectorInstruction, result: Slots) -> Slots:
    """Slots in the result's own order put in walking order."""
    return result.ravel()[_places(instruction)]


def _places(instruction: VectorInstruction) -> Slots:
    places = np.zeros(instruction.shape, np.int64)
    for axis, stride in enumerate(instruction.result_strides):
        extent = instruction.shape[axis]
        steps = np.arange(extent) * stride
        places = places + steps.reshape((-1,) + (1,) * (len(instruction.shape) - axis - 1))
    return places
