"""*Function*: one of `FUNCTIONS` on the last axes of its operands, by LAPACK in most cases.

Its results lie one after the other. What each function does to derivatives is in
`numtape.transform.linear_algebra`, which rules are handed.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from numtape.kinds.flow import ROOM, Flow, row_by_row
from numtape.kinds.kind import Given, Instruction, Kind, Problem, Shape
from numtape.ops.structured import (
    FIRST_FUNCTION,
    FUNCTION,
    FUNCTION_OPCODE,
    FUNCTIONS,
    function_of,
)
from numtape.ops.table import OPCODE

__all__ = ["ApplyFunction"]


@lru_cache(maxsize=4096)
def _shapes(opcode: int, shape: Shape) -> tuple[Shape, ...]:
    return tuple(map(tuple, function_of(opcode).shapes(shape)[0]))


class ApplyFunction(Kind):
    """One of `FUNCTIONS` on the last axes of its operands."""

    name = FUNCTION
    by_blas = True
    opcodes = FUNCTION_OPCODE

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        return _shapes(instruction.opcode, instruction.shape)

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        shape = instruction.shape
        if not 0 <= instruction.opcode - FIRST_FUNCTION < len(FUNCTIONS):
            yield f"has the opcode {instruction.opcode}", "it is that of a function"
        function = function_of(instruction.opcode)
        split = len(shape) - len(function.names)
        if split < 0:
            yield (
                f"applies {function.name!r} to the shape {shape}",
                f"the shape has a batch, and then {', '.join(function.names)}",
            )
        extents = dict(zip(function.names, shape[split:], strict=True))
        if "p" in extents and extents["p"] != min(extents["m"], extents["n"]):
            yield f"has the extents {extents}", "p is the smaller of m and n"
        if "h" in extents and extents["h"] != extents["n"] // 2 + 1:
            yield f"has the extents {extents}", "h is one more than half of n"
        if function.name in ("rfft_n_even", "rfft_n_odd"):
            expected = "rfft_n_odd" if extents["n"] % 2 else "rfft_n_even"
            if function.name != expected:
                yield (
                    f"applies {function.name!r} to {extents['n']} numbers",
                    "its name says how many",
                )
        operands, results = function.shapes(shape)
        size = sum(map(math.prod, results))
        if instruction.result != (size,):
            yield f"has a result of shape {instruction.result}", f"its results lie in ({size},)"
        if len(instruction.operands) != len(operands):
            yield (
                f"has {len(instruction.operands)} operands",
                f"{function.name!r} takes {len(operands)}",
            )
        for view, axes in zip(instruction.operands, function.operands, strict=True):
            if axes[-1:] == ("2",) and view.strides[-1:] != (1,):
                yield (
                    f"reads complex numbers by strides {view.strides}",
                    "the real and the imaginary part of each follow one another",
                )

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return function_of(instruction.opcode).name

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        function = function_of(instruction.opcode)
        extents = instruction.shape[len(instruction.shape) - len(function.names) :]
        chosen = dict(zip(function.names, extents, strict=True))
        parts = recorder.function(function.name, operands, **chosen)
        flat = [part.ravel() for part in parts]
        return flat[0] if len(flat) == 1 else np.concatenate(flat)

    def flows(self, instruction: Instruction) -> Iterator[Flow]:
        """Yield which operand elements each result depends on: all of a matrix.

        An elementwise function's are those at its place by which it has a partial.
        """
        function = function_of(instruction.opcode)
        operands, results = function.shapes(instruction.shape)
        batch = instruction.shape[: len(instruction.shape) - len(function.names)]
        axes, start = tuple(range(len(batch))), 0
        for number, walked in enumerate(operands):
            if not function.partials:
                yield Flow(walked, number, ROOM, row_by_row(walked, axes))
        for place, shape in enumerate(results):
            to = row_by_row(shape)
            if function.partials:
                for number, partial in enumerate(function.partials[place]):
                    if partial != "0":
                        yield Flow(shape, number, to=to, target_start=start)
            else:
                back = row_by_row(shape, axes)
                yield Flow(shape, ROOM, to=to, by=back, target_start=start)
            start += math.prod(shape)

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        return given.functions.function_tangent(given, tangents)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        found: Iterator[tuple[Any, Any]] = given.functions.function_adjoint(
            given, places, wanted, adjoints
        )
        return found

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels: copies that are changed then, and a part for each call."""
        function = function_of(instruction.opcode)
        operand_shapes, result_shapes = function.shapes(instruction.shape)
        rank = len(instruction.shape) - len(function.names)
        # Base, whether relative to the result, shape and strides of each operand and result.
        arguments = [
            (view.base, 0, shape, view.strides)
            for view, shape in zip(instruction.operands, operand_shapes, strict=True)
        ]
        start = 0
        for shape in result_shapes:
            arguments.append((start, 1, shape, encoder.contiguous(shape)))
            start += math.prod(shape)
        encoded = []
        for operand, result in function.starts:
            encoded.append((arguments[result][0], len(encoder.words)))
            shape = operand_shapes[operand]
            encoder.words += (encoder.codes.MAP, OPCODE["positive"], math.prod(shape))
            encoder.view(instruction.operands[operand], shape)
        for place, axes_of, chosen in encoder.calls(instruction.opcode):
            extents: dict[str, int] = {}
            steps: list[int] = []
            taken = [arguments[number] for number in chosen]
            for axes, (_, _, shape, strides) in zip(axes_of, taken, strict=True):
                extents.update(zip(axes, shape[rank:], strict=False))
                steps += strides[rank : rank + len(axes)]
            encoded.append((0, len(encoder.words)))
            encoder.words += (encoder.codes.FUNCTION, place, instruction.size)
            encoder.words += (rank, len(taken), len(extents), len(steps), function.finite)
            encoder.words += (*extents.values(), *steps)
            for base, relative, shape, _ in taken:
                encoder.words += (base, relative, math.prod(shape[rank:]))
            encoder.words += instruction.shape[:rank]
            for _, _, _, strides in taken:
                encoder.words += strides[:rank]
        return encoded
