"""Loops as code of LLVM: what is carried stays in registers, and nothing is copied.

A loop whose body has scalar instructions alone becomes one function: it reads and writes the
memory of the tape that the loop is on, where the kernels run the body in a memory of its own.
Everything rounds as at a single point. Other loops are left to the kernels, which run what
there is of their bodies' machine code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from numtape.run.memory import Places
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape, VectorInstruction

__all__ = ["Steps", "native_loops", "runs_natively"]

Ints = npt.NDArray[np.int64]

# LLVM's time for one function grows faster than its length from about here on.
_LONGEST = 1000

# So many loops of a tape become functions: each takes LLVM some milliseconds.
_MOST = 64


def runs_natively(body: Body) -> bool:
    """Return whether loops of a body can be such functions."""
    return body.tape.is_scalar and body.tape.instructions <= _LONGEST


@dataclass(frozen=True)
class Steps:
    """Where a loop reads and writes, as places of the tape that it is on.

    Attributes
    ----------
    number : int
        Of its segment.
    body : Body
    steps : int
    result : int
        The place of its first result.
    first : int64 array
        The places of the first values of what is carried.
    reads : list of pairs
        For each number read at a step, its place at the first one, and how far the next is.
    same : int64 array
        The places of what is the same in all steps.
    """

    number: int
    body: Body
    steps: int
    result: int
    first: Ints
    reads: list[tuple[int, int]]
    same: Ints

    def writes(self) -> list[tuple[int, int]]:
        """Return the same as `reads` of what is written."""
        widths = [math.prod(shape) for shape in self.body.writes]
        start = self.result + self.body.carried
        starts = [start + self.steps * before for before in accumulate(widths, initial=0)]
        return [
            (start + k, width)
            for start, width in zip(starts, widths, strict=False)
            for k in range(width)
        ]


def native_loops(
    tape: FlatTape, places: Places, segments: Ints, write: Callable[[str, Steps], str]
) -> tuple[list[str], dict[int, str]]:
    """Return modules, and the names of functions by segment, of the loops that can be such.

    `write` makes the text of a function of that name.
    """
    modules: list[str] = []
    functions: dict[int, str] = {}
    for number in np.flatnonzero(segments[:, 3] >= 0).tolist():
        row = int(segments[number, 0])
        instruction = tape.vectors[int(tape.code[row, 1])]
        body = instruction.body
        if body is None or not runs_natively(body) or len(functions) == _MOST:
            continue
        found = _steps(number, instruction, body, int(segments[number, 2]), places)
        if found is not None:
            functions[number] = f"loop{number}"
            modules.append(write(functions[number], found))
    return modules, functions


def _steps(
    number: int, instruction: VectorInstruction, body: Body, result: int, places: Places
) -> Steps | None:
    """Return where a loop reads; None where that follows a table from step to step."""
    views = list(zip(instruction.operands, instruction.operand_shapes(), strict=True))
    carries, reads = len(body.carries), len(body.reads)
    none = np.zeros(0, np.int64)
    first = [places[view.slots(shape)].ravel() for view, shape in views[:carries]]
    same = [places[view.slots(shape)].ravel() for view, shape in views[carries + reads :]]
    each_read: list[tuple[int, int]] = []
    for view, shape in views[carries : carries + reads]:
        if view.table is not None:
            return None
        step = view.strides[0]
        row = type(view)(0, view.strides[1:]).slots(shape[1:]).ravel()
        each_read += [(k, step) for k in (places[view.base] + row).tolist()]
    return Steps(
        number,
        body,
        instruction.shape[0],
        result,
        np.concatenate([none, *first]),
        each_read,
        np.concatenate([none, *same]),
    )
