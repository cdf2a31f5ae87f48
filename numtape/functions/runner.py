"""Running one tape in every way: values, gradients, Jacobians, products.

A `Runner` works on flat points: all inputs in one vector, all outputs in one.
It picks the way. A tape of common scalar instructions is differentiated by sweeps
over stored partials, which need no preparation; a tape with vector instructions or
rarer operations by derivative tapes, made when first needed and kept. Each thread
has its own workspaces.

Results come with a status: -1, or the number of the first guard that did not
hold, in which case the result means nothing.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.run import _kernels
from numtape.run.batch import Batch
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import FlatTape
from numtape.transform.cost import jacobian_costs
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent
from numtape.transform.hoist import Hoisted, hoist
from numtape.transform.passes import remove_dead

__all__ = ["Runner"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Up to so many columns (or rows), a Jacobian of a tape with vector instructions is
# one tape with a derivative for each; beyond, the tape of one product is run for each.
_UNROLLED = 24

# The kernel that stores partials of all operations takes 7 s to compile, that of the
# common ones 2 s, evaluating 1.5 s. So up to this length a tape with other operations
# is differentiated by derivative tape.
_LONG = 100_000

# A tape of scalar instructions gives its first Jacobians by sweeps, and by a
# derivative tape after so many calls, if that tape would not be longer than this.
# Making one takes about 6 µs an instruction and seed, a call saves about 4 µs.
# Gradients stay with sweeps: one sweep is as quick as the derivative tape.
_OFTEN = 250
_LONGEST = 50_000


class Runner:
    """All ways of running a tape.

    Parameters
    ----------
    tape : FlatTape
    vector_maths : bool array, optional
        For each instruction, whether it may be run by vector maths; none by default.
    """

    def __init__(self, tape: FlatTape, vector_maths: npt.NDArray[np.bool_] | None = None) -> None:
        self.tape = tape
        self._vector_maths = vector_maths
        # Whether derivatives come by sweeps.
        self.sweeps = tape.is_scalar and (tape.is_common or tape.instructions > _LONG)
        self._plans: dict[bool, Plan] = {}  # by whether for sweeps
        self._local = threading.local()
        self._lock = threading.Lock()
        self._derived: dict[Hashable, Runner] = {}
        self._batches: dict[bytes, Batch] = {}
        self._hoisted: dict[bytes, tuple[Hoisted, Runner, Runner] | None] = {}
        self._costs: dict[bytes, tuple[int, int]] = {}  # of Jacobians, by their inputs
        self._jacobians = 0  # how many were asked for

    def __reduce__(self) -> Any:
        return Runner, (self.tape,)

    # the tape itself

    def workspace(self) -> Workspace:
        """This thread's memory for evaluating."""
        try:
            workspace: Workspace = self._local.workspace
        except AttributeError:
            workspace = self._local.workspace = Workspace(self._plan(False))
        return workspace

    def sweep_workspace(self) -> Workspace:
        """This thread's memory for sweeping; in it every slot keeps its value."""
        try:
            workspace: Workspace = self._local.sweep_workspace
        except AttributeError:
            workspace = self._local.sweep_workspace = Workspace(self._plan(True))
        return workspace

    def _plan(self, sweeps: bool) -> Plan:
        with self._lock:
            if sweeps not in self._plans:
                self._plans[sweeps] = Plan(self.tape, sweeps, vector_maths=self._vector_maths)
            return self._plans[sweeps]

    def evaluate(self, x: Floats, y: Floats) -> int:
        """Write the outputs at x into y, or as many of them as it has room for."""
        workspace = self.workspace()
        return workspace.plan.evaluate(workspace.handle, x, y)

    def batch(self, shared: npt.NDArray[np.bool_]) -> Batch:
        """The tape made ready for many points; `shared` says of each input if all share it."""
        key = shared.tobytes()
        with self._lock:
            if key not in self._batches:
                self._batches[key] = Batch(self.tape, shared)
            return self._batches[key]

    def hoisted(self, shared: npt.NDArray[np.bool_]) -> "tuple[Hoisted, Runner, Runner] | None":
        """What the shared inputs alone decide, and the rest, with a runner for each part."""
        key = shared.tobytes()
        if key not in self._hoisted:
            parts = hoist(self.tape, shared)
            self._hoisted[key] = (
                None if parts is None else (parts, Runner(parts.head), Runner(parts.rest))
            )
        return self._hoisted[key]

    def value_of(self, slot: int) -> float:
        """What an output, guard or operand of a guard was in this thread's last `evaluate`."""
        workspace = self.workspace()
        return float(workspace.values[workspace.plan.places[slot]])

    def slot_values(self, x: Floats) -> Floats:
        """Every slot of a run at x."""
        workspace = Workspace(Plan(self.tape, share=False))
        workspace.plan.evaluate(workspace.handle, x, np.empty(len(self.tape.outputs)))
        return workspace.values

    # derivatives

    def gradient(self, x: Floats, g: Floats) -> int:
        """Write the gradient of the first output by all inputs into g."""
        local = self._local
        try:
            status: int = local.gradient(local.gradient_handle, x, g)
        except AttributeError:
            if self.sweeps:
                workspace = self.sweep_workspace()
                local.gradient = workspace.plan.gradient
            else:
                workspace = self.derivative("gradient", _gradient, 0).workspace()
                local.gradient = workspace.plan.evaluate
            local.gradient_handle = workspace.handle
            status = local.gradient(local.gradient_handle, x, g)
        return status

    def jacobian(self, x: Floats, inputs: Ints, mode: str) -> tuple[int, Floats, Floats]:
        """Outputs, and their derivatives by some inputs: one row an output.

        `mode` is "forward" or "reverse".
        """
        rows, columns = len(self.tape.outputs), len(inputs)
        seeds = columns if mode == "forward" else rows
        if self._has_jacobian_tape(seeds):
            both = np.empty(rows * columns + rows)
            status = self._jacobian_runner(inputs, mode).evaluate(x, both)
            return status, both[rows * columns :], both[: rows * columns].reshape(rows, columns)
        value, jacobian = np.empty(rows), np.zeros((rows, columns))
        if self.sweeps:
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            if mode == "forward":
                unit = np.zeros((columns, self.tape.inputs))
                unit[np.arange(columns), inputs] = 1.0
                transposed = np.empty((columns, rows))
                _kernels.tangents(workspace.handle, unit, transposed)
                jacobian = np.ascontiguousarray(transposed.T)
            else:
                full = np.empty((rows, self.tape.inputs))
                _kernels.adjoints(workspace.handle, np.eye(rows), full)
                jacobian = np.ascontiguousarray(full[:, inputs])
            return status, value, jacobian
        status = -1
        for k in range(seeds):
            seed = np.zeros(len(x) if mode == "forward" else rows)
            if mode == "forward":
                seed[inputs[k]] = 1.0
                status, value, jacobian[:, k] = self.jvp(x, seed)
            else:
                seed[k] = 1.0
                status, value, gradient = self.vjp(x, seed)
                jacobian[k] = gradient[inputs]
            if status >= 0:
                break
        return status, value, jacobian

    def cheaper_mode(self, inputs: Ints) -> str:
        """The mode in which a Jacobian by these inputs costs less."""
        forward, backward = len(inputs), len(self.tape.outputs)
        if self._may_have_jacobian_tape(min(forward, backward)):
            forward, backward = self._jacobian_costs(inputs)
        return "forward" if forward < backward else "reverse"

    def has_short_jacobian_tape(self, inputs: Ints, mode: str) -> bool:
        """Whether one tape for the whole Jacobian is short enough to be worth making."""
        if not self.tape.is_scalar:
            return (len(inputs) if mode == "forward" else len(self.tape.outputs)) <= _UNROLLED
        return self._jacobian_costs(inputs)[mode == "reverse"] <= _LONGEST

    def _jacobian_costs(self, inputs: Ints) -> tuple[int, int]:
        """Forward and backward; counted once."""
        key = inputs.tobytes()
        if key not in self._costs:
            self._costs[key] = jacobian_costs(self.tape, inputs)
        return self._costs[key]

    def _may_have_jacobian_tape(self, seeds: int) -> bool:
        if not self.tape.is_scalar:
            return seeds <= _UNROLLED
        return seeds * self.tape.instructions <= _LONGEST

    def _has_jacobian_tape(self, seeds: int) -> bool:
        self._jacobians += 1
        often = self._jacobians > _OFTEN or not self.sweeps
        return often and self._may_have_jacobian_tape(seeds)

    def jvp(self, x: Floats, direction: Floats) -> tuple[int, Floats, Floats]:
        """Outputs, and their derivative along a direction."""
        rows = len(self.tape.outputs)
        value, derivative = np.empty(rows), np.empty((1, rows))
        if self.sweeps:
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            _kernels.tangents(workspace.handle, direction.reshape(1, -1), derivative)
            return status, value, derivative[0]
        both = np.empty(2 * rows)
        status = self.derivative("tangent", tangent, rows).evaluate(
            np.concatenate([x, direction]), both
        )
        return status, both[:rows], both[rows:]

    def vjp(self, x: Floats, weights: Floats) -> tuple[int, Floats, Floats]:
        """Outputs, and the gradient of their weighted sum by all inputs."""
        rows, columns = len(self.tape.outputs), self.tape.inputs
        value, derivative = np.empty(rows), np.empty((1, columns))
        if self.sweeps:
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            _kernels.adjoints(workspace.handle, weights.reshape(1, -1), derivative)
            result = derivative[0]
        else:
            both = np.empty(rows + columns)
            runner = self.derivative("adjoint", adjoint, rows)
            status = runner.evaluate(np.concatenate([x, weights]), both)
            value, result = both[:rows], both[rows:]
        return status, value, result

    def linearize(self, x: Floats) -> tuple[int, Floats, Callable[[Floats], Floats]]:
        """Outputs, and a function from directions to the outputs' derivatives."""
        rows = len(self.tape.outputs)
        if not self.sweeps:
            value = np.empty(rows)
            return self.evaluate(x, value), value, lambda dx: self.jvp(x, dx)[2]
        # A workspace of its own: others' runs must not overwrite the partials.
        value, workspace = np.empty(rows), Workspace(self._plan(True))
        status = workspace.plan.linearize(workspace.handle, x, value)

        def push(direction: Floats) -> Floats:
            derivative = np.empty((1, rows))
            _kernels.tangents(workspace.handle, direction.reshape(1, -1), derivative)
            pushed: Floats = derivative[0]
            return pushed

        return status, value, push

    def _jacobian_runner(self, inputs: Ints, mode: str) -> "Runner":
        """Of the tape of Jacobian and outputs, in this order."""
        key = (mode, inputs.tobytes())
        if key in self._derived:
            return self._derived[key]
        by = jacobian_by_columns if mode == "forward" else jacobian_by_rows
        rows = len(self.tape.outputs)

        def derive(tape: FlatTape) -> FlatTape:
            derived = by(tape, inputs)
            return derived.changed(outputs=np.roll(derived.outputs, -rows))

        return self.derivative(key, derive, -rows)

    def derivative(
        self, key: Hashable, derive: Callable[[FlatTape], FlatTape], values: int
    ) -> "Runner":
        """Of a tape made of this one, which is kept under a key.

        So many of its first outputs (of its last, where negative) are values of this tape:
        they are what this tape gives to the bit, and derivatives need not be.
        """
        with self._lock:
            if key not in self._derived:
                tape = derive(self.tape)
                exact = tape.outputs[:values] if values >= 0 else tape.outputs[values:]
                free = ~tape.needed(np.concatenate([exact, tape.guard_slots]))
                self._derived[key] = Runner(tape, None if tape.is_scalar else free)
            return self._derived[key]


def _gradient(tape: FlatTape) -> FlatTape:
    """The tape of the gradient of the first output by all inputs."""
    first = tape.changed(outputs=tape.outputs[:1])
    both = jacobian_by_rows(first, np.arange(tape.inputs))
    return remove_dead(both.changed(outputs=both.outputs[1:]))
