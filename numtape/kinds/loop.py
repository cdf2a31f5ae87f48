"""*Loop*: a tape of its own, run for so many steps.

Its operands are the first values of what is carried, arrays of which a part is read at each
step, and what is the same in all steps. `numtape.tape.body.Body` says what its results are.
Derivatives of loops are loops; they are in `numtape.transform.loops`, which rules are handed.
"""

import math
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

from numtape.kinds.kind import Given, Instruction, Kind, Problem, Shape
from numtape.ops.structured import LOOP

__all__ = ["Loop"]

_DEEPEST = 32  # loops in loops: kernels call themselves for each


class Loop(Kind):
    """A tape of its own, run for so many steps."""

    name = LOOP
    opcodes = MappingProxyType({"loop": 0})
    may_gather = True
    has_body = True
    by_blas = True

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Return the shape that each operand's view walks."""
        body = instruction.body
        steps = instruction.shape[0]
        return (*body.carries, *((steps, *shape) for shape in body.reads), *body.same)

    def problems(self, instruction: Instruction) -> Iterator[Problem]:
        """Yield what is wrong with an instruction's opcode, shapes and operands."""
        if instruction.opcode != 0:
            yield f"has the opcode {instruction.opcode}", "there is one kind of loop"
        if len(instruction.shape) != 1:
            yield f"walks the shape {instruction.shape}", "it is the number of steps alone"
        body = instruction.body
        expected = len(body.carries) + len(body.reads) + len(body.same)
        if len(instruction.operands) != expected:
            yield f"has {len(instruction.operands)} operands", f"its body has {expected}"
        inputs = sum(map(math.prod, (*body.carries, *body.reads, *body.same)))
        if body.tape.inputs != inputs:
            yield (
                f"has a body of {body.tape.inputs} inputs",
                f"what it carries and reads has {inputs}",
            )
        outputs = body.carried + body.written
        if len(body.tape.outputs) != outputs:
            yield (
                f"has a body of {len(body.tape.outputs)} outputs",
                f"what it carries and writes has {outputs}",
            )
        if body.depth > _DEEPEST:
            yield f"nests {body.depth} loops", f"at most {_DEEPEST} are nested"
        if body.tape.guards:
            yield "has guards in its body", "a guard is on a slot outside, for each step"
        results = (body.results(instruction.shape[0]),)
        if instruction.result != results:
            yield f"has a result of shape {instruction.result}", f"it is {results}"

    def word(self, instruction: Instruction) -> str:
        """Return what an instruction does, in a word."""
        return f"repeat {instruction.shape[0]}"

    def text(self, instruction: Instruction, operands: Sequence[str]) -> str:
        """Return the loop as Python would write a call."""
        body = instruction.body
        split = len(body.carries), len(body.carries) + len(body.reads)
        parts = (
            ("carry", operands[: split[0]]),
            ("read", operands[split[0] : split[1]]),
            ("same", operands[split[1] :]),
        )
        said = ", ".join(f"{name}=({', '.join(which)})" for name, which in parts if which)
        return f"repeat({instruction.shape[0]}, {said})"

    def again(self, recorder: Any, instruction: Instruction, operands: Any) -> Any:
        """Record an instruction on other operands; return the slots of its results."""
        return recorder.loop(instruction.body, instruction.shape[0], operands)

    def may_be_infinite(self, instruction: Instruction) -> bool:
        """Return whether adjoints may be infinite, or a mask's, after this instruction."""
        return True

    def tangent(self, given: Given, tangents: tuple[Any, ...]) -> Any:
        """Record the tangents of the result."""
        return given.loops.loop_tangent(given, tangents)

    def adjoint(
        self, given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield places, and what is added to the adjoints there."""
        found: Iterator[tuple[Any, Any]] = given.loops.loop_adjoint(given, places, wanted, adjoints)
        return found

    def encode(self, instruction: Instruction, encoder: Any) -> list[tuple[int, int]]:
        """Write words for the kernels."""
        body, at = instruction.body, len(encoder.words)
        steps = instruction.shape[0]
        number = encoder.body(body)
        encoder.words += (encoder.codes.LOOP, number, instruction.size, steps, body.carried)
        groups = (*body.carries, *body.reads, *body.same)
        counts = len(body.carries), len(body.reads), len(body.same)
        encoder.words += (*counts, len(body.writes))
        encoder.words += tuple(map(math.prod, body.writes))
        for group, shape, view in zip(
            groups, self.shapes(instruction), instruction.operands, strict=True
        ):
            encoder.words.append(math.prod(group))
            encoder.view(view, shape)
        return [(0, at)]
