"""Loops as code of LLVM: what is carried stays in registers, and nothing is copied.

A loop whose body has scalar instructions alone becomes one function: it reads and writes the
memory of the tape that the loop is on, where the kernels run the body in a memory of its own.
Everything rounds as at a single point. Where nothing but derivatives follows from a loop, so
that it may round unlike NumPy, small arrays in its body are taken apart into such instructions
first. Other loops are left to the kernels, which run what there is of their bodies' machine code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from numtape.run.apart import taken_apart
from numtape.run.memory import Places
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape, VectorInstruction

__all__ = ["Steps", "native_loops", "scalars_of"]

Ints = npt.NDArray[np.int64]

# LLVM's time for one function grows faster than its length from about here on.
_LONGEST = 4000

# So many loops of a tape become functions: each takes LLVM some milliseconds.
_MOST = 64


@lru_cache(maxsize=1 << 8)
def scalars_of(body: Body, is_free: bool) -> FlatTape | None:
    """Return the tape of a body as scalar instructions; None where it cannot or should not be.

    `is_free` says whether it may round unlike NumPy.
    """
    tape = body.tape
    if not tape.is_scalar:
        sizes = tape.vectors.each(lambda each: math.prod(each.shape))
        few = tape.instructions + int(sizes.sum()) <= _LONGEST
        taken = taken_apart(tape) if is_free and few else None
        if taken is None:
            return None
        tape = taken
    return tape if tape.instructions <= _LONGEST else None


@dataclass(frozen=True)
class Steps:
    """Where a loop reads and writes, as places of the tape that it is on.

    Attributes
    ----------
    number : int
        Of its segment.
    body : Body
    tape : FlatTape
        That of the body, as scalar instructions.
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
    tape: FlatTape
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
    tape: FlatTape,
    places: Places,
    segments: Ints,
    free: npt.NDArray[np.bool_] | None,
    write: Callable[[str, Steps], str],
) -> tuple[list[str], dict[int, str]]:
    """Return modules, and the names of functions by segment, of the loops that can be such.

    `free` says of each instruction whether it may round unlike NumPy; `write` makes the text of
    a function of a name.
    """
    modules: list[str] = []
    functions: dict[int, str] = {}
    for number in np.flatnonzero(segments[:, 3] >= 0).tolist():
        row = int(segments[number, 0])
        instruction = tape.vectors[int(tape.code[row, 1])]
        body = instruction.body
        if body is None or len(functions) == _MOST:
            continue
        scalars = scalars_of(body, free is not None and bool(free[row]))
        if scalars is None:
            continue
        found = _steps(number, instruction, scalars, int(segments[number, 2]), places)
        if found is not None:
            functions[number] = f"loop{number}"
            modules.append(write(functions[number], found))
    return modules, functions


def _steps(
    number: int, instruction: VectorInstruction, scalars: FlatTape, result: int, places: Places
) -> Steps | None:
    """Return where a loop reads; None where that follows a table from step to step."""
    body = instruction.body
    assert body is not None
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
        scalars,
        instruction.shape[0],
        result,
        np.concatenate([none, *first]),
        each_read,
        np.concatenate([none, *same]),
    )
