"""Bytes for each scalar instruction, and the most memory that a process needs at once.

Bytes of the tape itself and of a run are counted on the arrays that a prepared tape owns.
The marginal cost is the difference between a long tape and a short one of the same
inputs, so that what a tape costs once is left out. Peaks are those of a whole process,
what it imports included: `Peak.peakmem_import` says how much that is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import numtape

from .derivative_tapes import layered
from .measure import sized
from .problems import BATCHES, GRADIENTS, Problem, speelpenning
from .rivals import BATCH_RIVALS, points_for
from .tapes import Tapes, tape_of, tapes_of

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

    def setup_cache(self) -> Tapes:
        return tapes_of(_LOOPS)

    def track_instruction_bytes(self, tapes: Tapes, problem: str) -> float:
        return tape_bytes(tapes[problem])[0] / tapes[problem].flat.instructions

    def track_state_bytes(self, tapes: Tapes, problem: str) -> float:
        return tape_bytes(tapes[problem])[1] / tapes[problem].flat.instructions

    track_instruction_bytes.unit = "bytes"
    track_state_bytes.unit = "bytes"


class Peak:
    """Of a long recording and its gradient, and of the gradient of a hundred layers."""

    problem: Problem

    def setup(self) -> None:
        self.problem = speelpenning(sized(300_000, 1000))

    def peakmem_import(self) -> None:
        pass

    def peakmem_record(self) -> None:
        tape_of(self.problem)

    def peakmem_gradient(self) -> None:
        tape_of(self.problem).gradient(self.problem.point)

    def peakmem_layers_gradient(self) -> None:
        point = np.linspace(-1.0, 1.0, sized(100_000, 100))
        numtape.record(layered, point).gradient(point)


class PeakBatch:
    """Of derivatives at many points, their points and results included, by rival."""

    params = (
        ["heston path 50", "bundle adjustment"],
        [rival for rival in BATCH_RIVALS if not rival.endswith("loop") or rival == "c++ loop"],
    )
    param_names = ("problem", "rival")
    timeout = 300

    call: Callable[[], Any]

    def setup(self, problem: str, rival: str) -> None:
        batch = BATCHES[problem]
        self.call = BATCH_RIVALS[rival](batch, points_for(rival, batch))

    def peakmem_derivatives(self, problem: str, rival: str) -> None:
        self.call()
