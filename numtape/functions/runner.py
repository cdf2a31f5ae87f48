"""Running one tape in every way: values, gradients, Jacobians, products.

A `Runner` works on flat points: all inputs in one vector, all outputs in one.
It picks the way. A tape of common scalar instructions is differentiated by sweeps
over stored partials, which need no preparation; a tape with vector instructions or
rarer operations by derivative tapes, made when first needed and kept. Each thread
has its own workspaces.

Results come with a status: -1, or the number of the first guard that did not
hold, in which case the result means nothing.
"""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.recent import Recent
from numtape.jit.compiling import (
    NEVER,
    OFTEN,
    THOROUGH,
    in_background,
    is_automatic,
    may_go_on,
    try_to,
    uninterrupted,
)
from numtape.locks import fresh_lock
from numtape.run import _kernels
from numtape.run.batch import Batch
from numtape.run.lanes import exact_opcodes, vector_maths_called
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import FlatTape
from numtape.transform.cost import jacobian_costs
from numtape.transform.derivative import (
    adjoint,
    gradient,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)
from numtape.transform.hoist import Hoisted, hoist

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
    exact : frozenset of int
        Opcodes that are to round at many points as they do at one, besides those that the
        tape's own guards need.
    """

    def __init__(
        self,
        tape: FlatTape,
        vector_maths: npt.NDArray[np.bool_] | None = None,
        exact: frozenset[int] = frozenset(),
    ) -> None:
        self.tape = tape
        self._exact = exact
        # Whether what rounds otherwise at many points than at one matters to nobody.
        self._may_run_at_a_point = True
        self._vector_maths = vector_maths
        # Whether derivatives come by sweeps.
        self.sweeps = tape.is_scalar and (tape.is_common or tape.instructions > _LONG)
        self._plans: dict[bool, Plan] = {}  # by whether for sweeps
        self._local = threading.local()
        self._lock = fresh_lock()
        self._derived: Recent[Runner] = Recent()
        self._batches: Recent[Batch] = Recent()
        # What is hoisted, or () where it is not worth it.
        self._hoisted: Recent[tuple[Hoisted, Runner, Runner] | tuple[()]] = Recent()
        self._costs: Recent[tuple[int, int]] = Recent()  # of Jacobians, by their inputs
        self._jacobians = 0  # how many were asked for
        self._products = 0  # likewise, by sweeps
        # How hard to try to make machine code of all that is derived; None for not at all.
        self._effort: int | None = None
        self._by_tape: set[Hashable] = set()  # derivatives that no longer come by sweeps

    def __reduce__(self) -> Any:
        return Runner, (self.tape,)

    # the tape itself

    def workspace(self) -> Workspace:
        """This thread's memory for evaluating."""
        workspace: Workspace | None = getattr(self._local, "workspace", None)
        if workspace is None:
            workspace = self._local.workspace = Workspace(self._plan(False))
        return workspace

    def sweep_workspace(self) -> Workspace:
        """This thread's memory for sweeping; in it every slot keeps its value."""
        workspace: Workspace | None = getattr(self._local, "sweep_workspace", None)
        if workspace is None:
            workspace = self._local.sweep_workspace = Workspace(self._plan(True))
        return workspace

    def _plan(self, sweeps: bool) -> Plan:
        with self._lock:
            if sweeps not in self._plans:
                plan = Plan(self.tape, sweeps, vector_maths=self._vector_maths)
                plan.notice_after(OFTEN if is_automatic(self.tape.instructions) else NEVER)
                if not sweeps:
                    self._compile_now(plan)
                self._plans[sweeps] = plan
            return self._plans[sweeps]

    def evaluate(self, x: Floats, y: Floats) -> int:
        """Write the outputs at x into y, or as many of them as it has room for."""
        workspace = self.workspace()
        status = workspace.plan.evaluate(workspace.handle, x, y)
        if status == _kernels.NOTICE:
            _compile_later(workspace.plan)
        return status

    def evaluate_as_many(self, x: Floats, y: Floats) -> tuple[int, float]:
        """Write what the outputs at x are among many points; a failed guard, and its outcome.

        What points share is computed once, and is to round as if it were computed at each, if
        something is that is computed by the same function.
        """
        if self._may_run_at_a_point:
            failed = self.evaluate(x, y)
            return failed, self.value_of(self.tape.guards[failed].slot) if failed >= 0 else 0.0
        batch = self.batch(np.zeros(len(x), bool))
        failures = batch.run(np.zeros(0), [x.reshape(1, -1)], [y.reshape(1, -1)], 1)
        if len(failures.points) == 0:
            return -1, 0.0
        return int(failures.guards[0]), float(failures.outcomes[0])

    # machine code

    def prepare(self, effort: int) -> None:
        """Have machine code made of what is run from now on, when it is first run."""
        self._effort = effort
        self.sweeps = False  # what a sweep does depends on the run's partials: there is no code
        with self._lock:
            for sweeps, plan in self._plans.items():
                plan.notice_after(0 if sweeps else NEVER)

    def compile(self, effort: int) -> None:
        """Make machine code of this tape, and of what is derived from it when that is made."""
        self.prepare(effort)
        self._compile_now(self._plan(False))
        for runner in self._derived.values():
            runner.compile(effort)
        for parts in self._hoisted.values():
            for runner in parts[1:]:
                runner.compile(effort)
        for batch in self._batches.values():
            self._compile_now(batch)

    def _compile_now(self, runs: Plan | Batch) -> None:
        """Make machine code of what is about to be run, if it was asked for."""
        if self._effort is not None:
            compile_now = functools.partial(runs.compile, self._effort)
            try_to(lambda: uninterrupted(compile_now))

    def _take_from_sweeps(self, key: Hashable, make: Callable[[], "Runner"]) -> None:
        """In the background make and compile the tape of a derivative that sweeps give so far."""
        plan = self._plan(True)
        plan.notice_after(NEVER)
        if key in self._by_tape or not self.sweeps:
            return

        def prepare() -> None:
            made = make()._plan(False)
            made.compile(THOROUGH, may_go_on)
            if made.machine_code is not None:
                self._by_tape.add(key)
                plan.notice_after(0)

        in_background(prepare)

    def batch(self, shared: npt.NDArray[np.bool_]) -> Batch:
        """The tape made ready for many points; `shared` says of each input if all share it."""
        key = shared.tobytes()
        with self._lock:
            found = self._batches.get(key)
            if found is None:
                made = Batch(self.tape, shared, self._exact)
                self._compile_now(made)
                found = self._batches.keep(key, made)
            return found

    def hoisted(self, shared: npt.NDArray[np.bool_]) -> "tuple[Hoisted, Runner, Runner] | None":
        """What the shared inputs alone decide, and the rest, with a runner for each part."""
        key = shared.tobytes()
        found = self._hoisted.get(key)
        if found is None:
            parts = hoist(self.tape, shared)
            made: tuple[Hoisted, Runner, Runner] | tuple[()] = ()
            if parts is not None:
                exact = exact_opcodes(self.tape)
                head, rest = (Runner(part, exact=exact) for part in (parts.head, parts.rest))
                called = (vector_maths_called(part, exact) for part in (parts.head, parts.rest))
                head._may_run_at_a_point = frozenset.isdisjoint(*called)
                made = parts, head, rest
            for runner in made[1:]:
                self._pass_on(runner)
            found = self._hoisted.keep(key, made)
        return found or None

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
        run = getattr(local, "gradient", None)
        if run is None:
            if self.sweeps and "gradient" not in self._by_tape:
                workspace = self.sweep_workspace()
                run = workspace.plan.gradient
            else:
                workspace = self.derivative("gradient", gradient, 0).workspace()
                run = workspace.plan.evaluate
            local.gradient_workspace = workspace  # owns what the handle points to
            local.gradient_handle = workspace.handle
            local.gradient = run
        status: int = run(local.gradient_handle, x, g)
        if status == _kernels.NOTICE:
            plan = local.gradient_workspace.plan
            if plan.sweeps:
                self._take_from_sweeps("gradient", lambda: self._derive("gradient", gradient, 0))
                local.gradient = None  # chosen again at the next call
            else:
                _compile_later(plan)
        return status

    def sweeps_gradient(self, inputs: Ints) -> bool:
        """Whether the value and the gradient by some inputs come from `swept_gradient`."""
        if not self._by_tape:
            return self.sweeps
        return self.sweeps and ("reverse", inputs.tobytes()) not in self._by_tape

    def swept_gradient(self, x: Floats, g: Floats, inputs: Ints) -> tuple[int, Floats]:
        """Write the gradient by all inputs into g; the outputs are good until the next call.

        `inputs` are those that the caller wants it by.
        """
        workspace = self.sweep_workspace()
        status = workspace.plan.gradient(workspace.handle, x, g)
        if status == _kernels.NOTICE:
            key = ("reverse", inputs.tobytes())
            self._take_from_sweeps(key, lambda: self._derive_jacobian(key, inputs))
        return status, workspace.gradient_output

    def jacobian(self, x: Floats, inputs: Ints, mode: str) -> tuple[int, Floats, Floats]:
        """Outputs, and their derivatives by some inputs: one row an output.

        `mode` is "forward" or "reverse".
        """
        rows, columns = len(self.tape.outputs), len(inputs)
        seeds = columns if mode == "forward" else rows
        if self._has_jacobian_tape(seeds) or (mode, inputs.tobytes()) in self._by_tape:
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
        costs = self._costs.get(key)
        return costs or self._costs.keep(key, jacobian_costs(self.tape, inputs))

    def _may_have_jacobian_tape(self, seeds: int) -> bool:
        if not self.tape.is_scalar:
            return seeds <= _UNROLLED
        return seeds * self.tape.instructions <= _LONGEST

    def _has_jacobian_tape(self, seeds: int) -> bool:
        self._jacobians += 1
        often = self._jacobians > _OFTEN or not self.sweeps
        return often and self._may_have_jacobian_tape(seeds)

    def _sweeps_product(self) -> bool:
        """Whether a product with a seed comes by sweeps; after many a tape takes over."""
        self._products += self.sweeps
        return self.sweeps and (
            self._products < OFTEN
            or self.tape.instructions > _LONGEST
            or not is_automatic(self.tape.instructions)
        )

    def jvp(self, x: Floats, direction: Floats) -> tuple[int, Floats, Floats]:
        """Outputs, and their derivative along a direction."""
        rows = len(self.tape.outputs)
        value, derivative = np.empty(rows), np.empty((1, rows))
        if self._sweeps_product():
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
        if self._sweeps_product():
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
        found = self._derived.get(key)
        if found is not None:
            return found
        with self._lock:
            return self._derived.get(key) or self._derive_jacobian(key, inputs)

    def _derive_jacobian(self, key: tuple[str, bytes], inputs: Ints) -> "Runner":
        by = jacobian_by_columns if key[0] == "forward" else jacobian_by_rows
        rows = len(self.tape.outputs)

        def derive(tape: FlatTape) -> FlatTape:
            derived = by(tape, inputs)
            return derived.changed(outputs=np.roll(derived.outputs, -rows))

        return self._derive(key, derive, -rows)

    def derivative(
        self, key: Hashable, derive: Callable[[FlatTape], FlatTape], values: int
    ) -> "Runner":
        """Of a tape made of this one, which is kept under a key.

        So many of its first outputs (of its last, where negative) are values of this tape:
        they are what this tape gives to the bit, and derivatives need not be.
        """
        with self._lock:
            return self._derived.get(key) or self._derive(key, derive, values)

    def _derive(
        self, key: Hashable, derive: Callable[[FlatTape], FlatTape], values: int
    ) -> "Runner":
        tape = derive(self.tape)
        exact = tape.outputs[:values] if values >= 0 else tape.outputs[values:]
        free = ~tape.needed(np.concatenate([exact, tape.guard_slots]))
        made = Runner(tape, None if tape.is_scalar else free)
        self._pass_on(made)
        return self._derived.keep(key, made)

    def _pass_on(self, runner: "Runner") -> None:
        """Compile what is derived from this, if this was to be."""
        if self._effort is not None:
            runner.prepare(self._effort)


def _compile_later(plan: Plan) -> None:
    """Make machine code in the background of a plan that was run often."""
    plan.notice_after(NEVER)
    in_background(lambda: plan.compile(THOROUGH, may_go_on))
