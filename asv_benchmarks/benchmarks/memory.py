"""Bytes for each scalar instruction: of the tape itself, and of the memory of a run.

They are counted on the arrays that a prepared tape owns. The marginal cost is
the difference between a long tape and a short one of the same inputs, so that
what a tape costs once is left out.
"""

from typing import Any

import numpy as np

import numtape

from .problems import GRADIENTS

_LOOPS = {name: problem for name, problem in GRADIENTS.items() if problem.scalar_code}


def tape_bytes(tape: numtape.Tape) -> tuple[int, int]:
    """The bytes of a tape's instructions, and of the memory of a gradient sweep."""
    workspace = tape.runner.sweep_workspace()
    shared = {id(value) for value in vars(workspace.plan).values()} | {id(tape.flat.outputs)}
    owned = {id(array): array.nbytes for array in (workspace.values, *workspace._owned)}
    state = sum(size for key, size in owned.items() if key not in shared)
    return workspace.plan.code.nbytes, state


def marginal_bytes() -> tuple[float, float]:
    """Bytes of instruction and of run-time state that one more scalar instruction adds."""
    short, long = (_tape_of(turns) for turns in (1_000, 9_000))
    more = long.flat.instructions - short.flat.instructions
    (code, state), (more_code, more_state) = tape_bytes(short), tape_bytes(long)
    return (more_code - code) / more, (more_state - state) / more


def _tape_of(turns: int) -> numtape.Tape:
    def function(x: Any) -> Any:
        value = x[0]
        for i in range(turns):
            value = value * x[i % 3]
        return value

    return numtape.record(function, np.ones(3))


class MarginalMemory:
    """What one more scalar instruction adds."""

    def track_instruction_bytes(self) -> float:
        return marginal_bytes()[0]

    def track_state_bytes(self) -> float:
        return marginal_bytes()[1]

    track_instruction_bytes.unit = "bytes"
    track_state_bytes.unit = "bytes"


class ProblemMemory:
    """Everything that a problem's tape owns, for each of its instructions."""

    params = tuple(_LOOPS)
    param_names = ("problem",)

    def setup(self, problem: str) -> None:
        self.tape = numtape.record(_LOOPS[problem].function, _LOOPS[problem].point)

    def track_instruction_bytes(self, problem: str) -> float:
        return tape_bytes(self.tape)[0] / self.tape.flat.instructions

    def track_state_bytes(self, problem: str) -> float:
        return tape_bytes(self.tape)[1] / self.tape.flat.instructions

    track_instruction_bytes.unit = "bytes"
    track_state_bytes.unit = "bytes"
