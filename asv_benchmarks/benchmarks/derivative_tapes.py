"""Derivative tapes: what building one costs, how long it is, and what running it costs.

Costs of running are ratios to the tape of the value itself, in the same
process and the same rounds: so they say how good the derivative tape is and
nothing about the machine. They are followed over three functions as n grows.
"""

from typing import Any

import numpy as np

import numtape
from numtape.run.memory import addresses
from numtape.tape.flat import VECTOR, FlatTape
from numtape.transform.derivative import jacobian_by_rows

from .measure import best_seconds, best_seconds_together
from .problems import GRADIENTS, PROBLEMS, Problem, helmholtz, rosenbrock, speelpenning
from .tapes import Tapes, tapes_of

__all__ = [
    "build_microseconds",
    "counts",
    "growing",
    "layers_memory",
    "ratios",
]

_LOOPS = [name for name, problem in GRADIENTS.items() if problem.scalar_code]

# Each from a tape of about a hundred instructions to one of some ten thousand.
_GROWING = {
    "helmholtz": (helmholtz, (5, 20, 60)),
    "rosenbrock": (rosenbrock, (20, 200, 1500)),
    "speelpenning": (speelpenning, (100, 1000, 10_000)),
}


def growing() -> dict[str, Problem]:
    """The functions that the cost ratios are followed over, by name and n."""
    return {f"{name} {n}": make(n) for name, (make, sizes) in _GROWING.items() for n in sizes}


# building


def build_microseconds(tape: numtape.Tape) -> float:
    """Microseconds to make the value-and-gradient tape, for each instruction of the new tape."""
    flat = tape.flat
    inputs = np.arange(flat.inputs)
    derived = jacobian_by_rows(flat, inputs)
    return best_seconds(lambda: jacobian_by_rows(flat, inputs)) * 1e6 / derived.instructions


class Building:
    """Making derivative tapes of loops of scalars, passes included."""

    params = tuple(_LOOPS)
    param_names = ("problem",)

    def setup_cache(self) -> Tapes:
        return tapes_of({name: GRADIENTS[name] for name in _LOOPS})

    def time_adjoint(self, tapes: Tapes, problem: str) -> None:
        tapes[problem].adjoint()

    def time_tangent_seeded(self, tapes: Tapes, problem: str) -> None:
        tapes[problem].tangent(seeded=True)

    def time_optimize(self, tapes: Tapes, problem: str) -> None:
        tapes[problem].optimize()

    def track_microseconds_per_instruction(self, tapes: Tapes, problem: str) -> float:
        return build_microseconds(tapes[problem])

    track_microseconds_per_instruction.unit = "µs"


# running


def ratios(tape: numtape.Tape, point: Any, rounds: int = 9) -> dict[str, float]:
    """Costs as multiples of the value's.

    The gradient as the user gets it (by a sweep for scalar code), the gradient by
    its derivative tape, and the product of the Hessian with a vector.
    """
    both = tape.adjoint()
    out = np.empty_like(point)
    vector = np.cos(np.arange(float(len(point))))
    y, z = np.empty(1), np.empty(1 + len(point))
    seconds = best_seconds_together(
        {
            "value": lambda: tape.runner.evaluate(point, y),
            "gradient": lambda: tape.gradient(point, out=out),
            "gradient by tape": lambda: both.runner.evaluate(point, z),
            "product": lambda: tape.hvp((point,), (vector,)),
        },
        rounds,
    )
    value = seconds.pop("value")
    return {name: found / value for name, found in seconds.items()}


class Running:
    """Gradients and products with the Hessian over the value, by function and n."""

    params = tuple(growing())
    param_names = ("problem",)

    def setup_cache(self) -> Tapes:
        return tapes_of(growing())

    def track_gradient_ratio(self, tapes: Tapes, problem: str) -> float:
        return self._ratio(tapes, problem, "gradient")

    def track_gradient_tape_ratio(self, tapes: Tapes, problem: str) -> float:
        return self._ratio(tapes, problem, "gradient by tape")

    def track_product_ratio(self, tapes: Tapes, problem: str) -> float:
        return self._ratio(tapes, problem, "product")

    def _ratio(self, tapes: Tapes, problem: str, of: str) -> float:
        return ratios(tapes[problem], growing()[problem].point)[of]


# sizes


def counts(tape: numtape.Tape) -> tuple[int, int]:
    """Instructions of the value, and of value and gradient (or full Jacobian)."""
    return tape.flat.instructions, tape.adjoint().flat.instructions


class Counts:
    """Instructions of derivative tapes: these are exact, so a change is a change of the passes."""

    params = tuple(PROBLEMS)
    param_names = ("problem",)

    def setup_cache(self) -> Tapes:
        return tapes_of(PROBLEMS)

    def track_value(self, tapes: Tapes, problem: str) -> int:
        return counts(tapes[problem])[0]

    def track_derivative(self, tapes: Tapes, problem: str) -> int:
        return counts(tapes[problem])[1]


# memory


def layered(x: Any, count: int = 100) -> Any:
    for _ in range(count):
        x = np.tanh(x) + 0.1 * x[::-1]
    return np.sum(x * x)


def layers_memory(size: int = 1000) -> float:
    """The places of the gradient's tape of a hundred layers over the least that liveness allows."""
    flat = numtape.record(layered, np.linspace(-1.0, 1.0, size)).flat
    both = jacobian_by_rows(flat, np.arange(size))
    return addresses(both)[1] / _least(both)


def _least(tape: FlatTape) -> int:
    """Inputs, constants, and the most results that are live at once."""
    last = np.zeros(tape.slots, np.int64)
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        for slots in ((a, b),) if opcode != VECTOR else tape.vectors[a].operand_slots():
            last[slots] = number
    last[tape.outputs] = tape.instructions
    dying = np.bincount(last[tape.first_result :], minlength=tape.instructions + 1)
    live = peak = 0
    for number, made in enumerate(np.diff(tape.results).tolist()):
        live += made
        peak = max(peak, live)
        live -= int(dying[number])
    return tape.first_result + peak


class Memory:
    """Of evaluating derivative tapes."""

    def track_layers_ratio(self) -> float:
        return layers_memory()

    def track_layers_bytes(self) -> int:
        flat = numtape.record(layered, np.linspace(-1.0, 1.0, 1000)).flat
        return 8 * addresses(jacobian_by_rows(flat, np.arange(1000)))[1]

    track_layers_bytes.unit = "bytes"
