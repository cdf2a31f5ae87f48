"""A tape made ready to run in every way: values, gradients, Jacobians, products.

A `Runner` owns what running its tape takes: plans, machine code, and the only cache of its
derivative tapes. It works on flat points: all inputs in one vector, all outputs in one.
It picks the way. A tape of common scalar instructions is differentiated by sweeps
over stored partials, which need no preparation; a tape with vector instructions or
rarer operations by derivative tapes, made when first needed and kept. Each thread
has its own workspaces.

Results come with the first guard that did not hold and what it came to, in which case they
mean nothing, or with None.
"""

import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.functions.recent import Recent
from numtape.functions.specification import (
    ADJOINT,
    TANGENT,
    SparseSpecification,
    Specification,
    derive,
)
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
from numtape.run.apart import taken_apart
from numtape.run.batch import Batch
from numtape.run.fusion import unfused
from numtape.run.lanes import exact_opcodes, vector_maths_called
from numtape.run.strips import NO_STRIPS, strips_of
from numtape.run.workspace import Plan, Workspace
from numtape.sparse.derivative import SparseDerivative, sparse_jacobian
from numtape.tape.flat import FlatTape
from numtape.transform.cost import jacobian_costs
from numtape.transform.hoist import Hoisted, hoist
from numtape.transform.unrolling import unrolled

__all__ = ["Failed", "Runner", "Way"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# The number of a guard that did not hold, and the guarded value.
Failed = tuple[int, float]

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

# Loops of so many instructions in all are written out for batches: in lanes they take 64 times
# as much memory as at a point.
_LONGEST_WRITTEN_OUT = 500_000

# Arrays of so many elements at most, on average, and so many in all, are taken apart for batches.
_SMALL_ARRAY, _MOST_ELEMENTS = 64, 4_000

# So many runs at least are waited for before machine code is made.
_FEW = 10


class Way(NamedTuple):
    """What one thread runs for a derivative.

    Attributes
    ----------
    kernel, handle : callable and int
        To be called as ``kernel(handle, x, out)``.
    size : int
        How many numbers are written to `out`.
    workspace : Workspace
        Owner of what the handle points to.
    version : int
        Of the runner's ways: where that is another by now, there may be a better way.
    runner : Runner
        Whose workspace it is.
    swept : Specification or None
        What a sweep gives, and a derivative tape may; None where a tape is run.
    has_own_guards : bool
        Whether the guards are numbered as those of the tape: guards on what a derivative tape
        finds to be equal are one guard there.
    """

    kernel: Callable[[int, Floats, Floats], int]
    handle: int
    size: int
    workspace: Workspace
    version: int
    runner: "Runner"
    swept: Specification | None = None
    has_own_guards: bool = True


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

    Attributes
    ----------
    sweeps : bool
        Whether derivatives come by sweeps.
    plans : dict
        The plans made so far, by whether they are for sweeps.
    derived : Recent
        The runners of derivative tapes made so far, by specification.
    batches : Recent
        The tape made ready for many points, by what these share.
    version : int
        Of what a way is chosen by.
    lock : lock
        Taken where plans, batches and derivative tapes are made.
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
        self.sweeps = tape.is_scalar and (tape.is_common or tape.instructions > _LONG)
        self.plans: dict[bool, Plan] = {}
        self._local = threading.local()
        self.lock = fresh_lock()
        self.derived: Recent[Runner] = Recent()
        self._sparse: Recent[tuple[SparseDerivative, Runner]] = Recent()
        self.batches: Recent[Batch] = Recent()
        # What is hoisted, or () where it is not worth it.
        self._hoisted: Recent[tuple[Hoisted, Runner, Runner] | tuple[()]] = Recent()
        self._costs: Recent[tuple[int, int]] = Recent()  # of Jacobians, by their inputs
        self._jacobians = 0  # how many were asked for
        self._products = 0  # likewise, by sweeps
        # How hard to try to make machine code of all that is derived; None for not at all.
        self._effort: int | None = None
        self._by_tape: set[Specification] = set()  # what no longer comes by sweeps
        self.version = 0

    def __reduce__(self) -> Any:
        return Runner, (self.tape,)

    # the tape itself

    def workspace(self) -> Workspace:
        """Return this thread's memory for evaluating."""
        workspace: Workspace | None = getattr(self._local, "workspace", None)
        if workspace is None or workspace.plan is not self.plans[False]:
            workspace = self._local.workspace = Workspace(self.plan())
        return workspace

    def sweep_workspace(self) -> Workspace:
        """Return this thread's memory for sweeping; in it every slot keeps its value."""
        workspace: Workspace | None = getattr(self._local, "sweep_workspace", None)
        if workspace is None:
            workspace = self._local.sweep_workspace = Workspace(self.plan(sweeps=True))
        return workspace

    def plan(self, sweeps: bool = False) -> Plan:
        """Return the plan for evaluating, or for sweeps; made once."""
        with self.lock:
            if sweeps not in self.plans:
                strips = NO_STRIPS if sweeps else strips_of(self.tape)
                plan = Plan(self.tape, sweeps, vector_maths=self._vector_maths, strips=strips)
                plan.notice_after(_pays_after(self.tape))
                if not sweeps:
                    self._compile_now(functools.partial(self._compile_plan, plan))
                self.plans.setdefault(sweeps, plan)
            return self.plans[sweeps]

    def evaluate(self, x: Floats, y: Floats) -> Failed | None:
        """Write the outputs at x into y, or as many of them as it has room for."""
        workspace = self.workspace()
        status = workspace.plan.evaluate(workspace.handle, x, y)
        if status >= 0:
            return status, workspace.guarded_value(status)
        if status == _kernels.NOTICE:
            self._compile_later(self, workspace.plan)
        return None

    def evaluate_as_many(self, x: Floats, y: Floats) -> Failed | None:
        """Write what the outputs at x are among many points.

        What points share is computed once, and is to round as if it were computed at each, if
        something is that is computed by the same function.
        """
        if self._may_run_at_a_point:
            return self.evaluate(x, y)
        batch = self.batch(np.zeros(len(x), bool))
        failures = batch.run(np.zeros(0), [x.reshape(1, -1)], [y.reshape(1, -1)], 1)
        if len(failures.points) == 0:
            return None
        return int(failures.guards[0]), float(failures.outcomes[0])

    # machine code

    def family(self) -> "Iterator[Runner]":
        """Yield this runner, and those of what was made from its tape."""
        yield self
        for runner in self.derived.values():
            yield from runner.family()
        for parts in (*self._hoisted.values(), *self._sparse.values()):
            for runner in parts[1:]:
                yield from runner.family()

    def prepare(self, effort: int) -> None:
        """Have machine code made of what is run from now on, when it is first run."""
        self._effort = effort
        self.sweeps = False  # what a sweep does depends on the run's partials: there is no code
        self.version += 1
        with self.lock:
            for sweeps, plan in self.plans.items():
                plan.notice_after(0 if sweeps else NEVER)

    def compile(self, effort: int) -> None:
        """Make machine code of this tape, and of what is derived from it when that is made."""
        for runner in list(self.family()):
            runner.prepare(effort)
            runner._compile_now(functools.partial(runner._compile_plan, runner.plan()))
            for batch in runner.batches.values():
                runner._compile_now(batch.compile)
        self.version += 1  # there may be other plans

    def _compile_now(self, compile_by: Callable[[int, Callable[[], bool]], None]) -> None:
        """Make machine code of what is about to be run, if it was asked for."""
        if self._effort is not None:
            compile_now = functools.partial(compile_by, self._effort)
            try_to(lambda: uninterrupted(compile_now))

    def _compile_plan(self, plan: Plan, effort: int, may_go_on: Callable[[], bool]) -> None:
        """Make machine code of the plan for evaluating.

        Where that is quicker than strips, another plan without these takes its place.
        """
        strips = unfused(self.tape, plan.strips, self._vector_maths)
        if strips is not plan.strips:
            plan = Plan(self.tape, vector_maths=self._vector_maths, strips=strips)
        plan.compile(effort, may_go_on)
        if plan.machine_code is not None:
            self.plans[False] = plan

    def _compile_later(self, runner: "Runner", plan: Plan) -> None:
        """Make machine code in the background of a plan of some runner's that was run often."""
        plan.notice_after(NEVER)

        def compile_plan() -> None:
            runner._compile_plan(plan, THOROUGH, may_go_on)
            if runner.plans[False] is not plan:
                self.version += 1

        in_background(compile_plan)

    def _take_from_sweeps(self, what: Specification) -> None:
        """Make and compile in the background the tape of a derivative that sweeps give so far."""
        plan = self.plan(sweeps=True)
        plan.notice_after(NEVER)
        if what in self._by_tape or not self.sweeps:
            return

        def prepare() -> None:
            made = self._derive(what).plan()
            made.compile(THOROUGH, may_go_on)
            if made.machine_code is not None:
                self._by_tape.add(what)
                self.version += 1
                plan.notice_after(0)

        in_background(prepare)

    def batch(self, shared: npt.NDArray[np.bool_]) -> Batch:
        """Return the tape made ready for many points; `shared` says which inputs all share."""
        key = shared.tobytes()
        with self.lock:
            found = self.batches.get(key)
            if found is None:
                made = Batch(self.of_batches, shared, self._exact)
                self._compile_now(made.compile)
                found = self.batches.keep(key, made)
            return found

    def hoisted(self, shared: npt.NDArray[np.bool_]) -> "tuple[Hoisted, Runner, Runner] | None":
        """Return what the shared inputs alone decide, and the rest, with a runner for each part."""
        key = shared.tobytes()
        found = self._hoisted.get(key)
        if found is None:
            parts = hoist(self.of_batches, shared)
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

    @functools.cached_property
    def of_batches(self) -> FlatTape:
        """The tape as batches run it.

        Loops of scalar instructions are written out, and instructions over small arrays taken
        apart: so points go through them in lanes, which takes a tenth of the time of one after
        the other. What is computed has the same order, so sums have the same bits.
        """
        tape = self.tape
        if tape.has_loops:
            if tape.written_out > _LONGEST_WRITTEN_OUT:
                return tape
            if not all(body.tape.is_of_scalars for body in tape.bodies):
                return tape
            tape = unrolled(tape)
        if tape.is_scalar:
            return tape
        elements = int(tape.vectors.each(lambda each: math.prod(each.shape)).sum())
        is_small = elements <= _SMALL_ARRAY * len(tape.vectors) and elements <= _MOST_ELEMENTS
        return (taken_apart(tape, in_order=True) if is_small else None) or self.tape

    def value_of(self, slot: int) -> float:
        """Return what an output, guard or operand of a guard was in this thread's last run."""
        workspace: Workspace = self._local.workspace
        return float(workspace.values[workspace.plan.places[slot]])

    def slot_values(self, x: Floats) -> Floats:
        """Return every slot of a run at x."""
        workspace = Workspace(Plan(self.tape, share=False))
        workspace.plan.evaluate(workspace.handle, x, np.empty(len(self.tape.outputs)))
        return workspace.values

    # derivatives

    def derivative(self, what: Specification) -> "Runner":
        """Return the runner of the derivative tape that is meant; made once."""
        found = self.derived.get(what)
        if found is not None:
            return found
        with self.lock:
            return self.derived.get(what) or self._derive(what)

    def _derive(self, what: Specification) -> "Runner":
        tape = derive(self.tape, what)
        if what.is_tape:
            made = Runner(tape)
            self._pass_on(made)
        else:
            made = self._runner_of(tape, what.with_value)
        return self.derived.keep(what, made)

    def _runner_of(self, tape: FlatTape, with_value: bool) -> "Runner":
        """Return the runner of a derivative tape, which may give this tape's outputs at the end."""
        free = None
        if not tape.is_scalar:
            # The outputs of this tape are what it gives to the bit; derivatives need not be.
            values = tape.outputs[len(tape.outputs) - with_value * len(self.tape.outputs) :]
            free = ~tape.needed(np.concatenate([values, tape.guard_slots]))
        made = Runner(tape, free)
        self._pass_on(made)
        return made

    def sparse(self, what: SparseSpecification) -> "tuple[SparseDerivative, Runner]":
        """Return a sparse derivative, and the runner of the tape of its nonzeros; made once."""
        found = self._sparse.get(what)
        if found is None:
            with self.lock:
                found = self._sparse.get(what)
                if found is None:
                    made = sparse_jacobian(
                        self.tape,
                        np.frombuffer(what.inputs, np.int64),
                        what.mode,
                        what.pattern,
                        what.is_symmetric,
                        what.with_value,
                    )
                    pair = made, self._runner_of(made.tape, what.with_value)
                    found = self._sparse.keep(what, pair)
        return found

    def way(self, what: Specification) -> Way | None:
        """Return how this thread computes a derivative without a seed.

        A gradient by a sweep is by all inputs, and leaves the value in the workspace. None where
        `seeded_jacobian` is to be called: where one tape for all would be too long, or is not
        worth it yet. Asking counts as a call.
        """
        version, is_known = self.version, what in self._by_tape
        if self.sweeps and not is_known and what.mode == "reverse" and len(self.tape.outputs) == 1:
            workspace = self.sweep_workspace()
            kernel, size = workspace.plan.gradient, self.tape.inputs
            return Way(kernel, workspace.handle, size, workspace, version, self, what)
        if what.with_value and not (self._has_jacobian_tape(what) or is_known):
            return None
        derived = self.derivative(what)
        workspace, has_own_guards = derived.workspace(), self._has_guards_of(derived)
        kernel, size = workspace.plan.evaluate, len(derived.tape.outputs)
        return Way(
            kernel, workspace.handle, size, workspace, version, derived, None, has_own_guards
        )

    def failure(self, way: Way, status: int, x: Floats) -> Failed | None:
        """Return what a status of a way's kernel says about the run at x."""
        if status >= 0:
            found = status, way.workspace.guarded_value(status)
            return found if way.has_own_guards else self._own_guard(found, x)
        if status == _kernels.NOTICE:
            if way.swept is None:
                self._compile_later(way.runner, way.workspace.plan)
            else:
                self._take_from_sweeps(way.swept)
        return None

    def _has_guards_of(self, derived: "Runner") -> bool:
        return len(derived.tape.guards) == len(self.tape.guards)

    def _own_guard(self, failed: Failed, x: Floats) -> Failed:
        """Return the guard of this tape that fails at x, where one of a derivative tape did."""
        return self.evaluate(x, np.empty(len(self.tape.outputs))) or failed

    def jacobian(self, x: Floats, inputs: Ints, mode: str) -> tuple[Failed | None, Floats, Floats]:
        """Return outputs, and their derivatives by some inputs: one row an output.

        `mode` is "forward" or "reverse".
        """
        rows, columns = len(self.tape.outputs), len(inputs)
        both = np.empty(rows * columns + rows)
        what = Specification(mode, inputs.tobytes())
        way = self.way(what)
        if way is None:
            failed = self.seeded_jacobian(x, what, both)
        elif way.swept is None:
            failed = self.failure(way, way.kernel(way.handle, x, both), x)
        else:
            full = np.empty(way.size)
            failed = self.failure(way, way.kernel(way.handle, x, full), x)
            both[:columns], both[columns:] = full[inputs], way.workspace.gradient_output
        return failed, both[rows * columns :], both[: rows * columns].reshape(rows, columns)

    def seeded_jacobian(self, x: Floats, what: Specification, both: Floats) -> Failed | None:
        """Write the Jacobian, row by row, and the outputs, computed for one seed after another."""
        inputs = what.inputs_of(self.tape)
        rows, columns = len(self.tape.outputs), len(inputs)
        jacobian, value = both[: rows * columns].reshape(rows, columns), both[rows * columns :]
        if self.sweeps:
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            if what.mode == "forward":
                unit = np.zeros((columns, self.tape.inputs))
                unit[np.arange(columns), inputs] = 1.0
                transposed = np.empty((columns, rows))
                _kernels.tangents(workspace.handle, unit, transposed)
                jacobian[...] = transposed.T
            else:
                full = np.empty((rows, self.tape.inputs))
                _kernels.adjoints(workspace.handle, np.eye(rows), full)
                jacobian[...] = full[:, inputs]
            return _failed(workspace, status)
        failed: Failed | None = None
        jacobian[...] = 0.0
        for k in range(what.seeds_of(self.tape)):
            seed = np.zeros(len(x) if what.mode == "forward" else rows)
            if what.mode == "forward":
                seed[inputs[k]] = 1.0
                failed, value[...], jacobian[:, k] = self.jvp(x, seed)
            else:
                seed[k] = 1.0
                failed, value[...], gradient = self.vjp(x, seed)
                jacobian[k] = gradient[inputs]
            if failed is not None:
                break
        return failed

    def cheaper_mode(self, inputs: Ints) -> str:
        """Return the mode in which a Jacobian by these inputs costs less."""
        forward, backward = len(inputs), len(self.tape.outputs)
        if self._may_have_jacobian_tape(min(forward, backward)):
            forward, backward = self._jacobian_costs(inputs)
        return "forward" if forward < backward else "reverse"

    def has_short_jacobian_tape(self, what: Specification) -> bool:
        """Say whether one tape for the whole Jacobian is short enough to be worth making."""
        if not self.tape.is_scalar:
            return what.seeds_of(self.tape) <= _UNROLLED
        costs = self._jacobian_costs(what.inputs_of(self.tape))
        return costs[what.mode == "reverse"] <= _LONGEST

    def _jacobian_costs(self, inputs: Ints) -> tuple[int, int]:
        """Count what a Jacobian costs, forward and backward; once."""
        key = inputs.tobytes()
        costs = self._costs.get(key)
        return costs or self._costs.keep(key, jacobian_costs(self.tape, inputs))

    def _may_have_jacobian_tape(self, seeds: int) -> bool:
        if not self.tape.is_scalar:
            return seeds <= _UNROLLED
        return seeds * self.tape.instructions <= _LONGEST

    def _has_jacobian_tape(self, what: Specification) -> bool:
        self._jacobians += 1
        often = self._jacobians > _OFTEN or not self.sweeps
        return often and self._may_have_jacobian_tape(what.seeds_of(self.tape))

    def _sweeps_product(self) -> bool:
        """Return whether a product with a seed comes by sweeps; after many a tape takes over."""
        self._products += self.sweeps
        return self.sweeps and (
            self._products < OFTEN
            or self.tape.instructions > _LONGEST
            or not is_automatic(self.tape.instructions)
        )

    def jvp(self, x: Floats, direction: Floats) -> tuple[Failed | None, Floats, Floats]:
        """Return outputs, and their derivative along a direction."""
        rows = len(self.tape.outputs)
        value, derivative = np.empty(rows), np.empty((1, rows))
        if self._sweeps_product():
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            _kernels.tangents(workspace.handle, direction.reshape(1, -1), derivative)
            return _failed(workspace, status), value, derivative[0]
        both = np.empty(2 * rows)
        failed = self._run_seeded(TANGENT, x, direction, both)
        return failed, both[rows:], both[:rows]

    def vjp(self, x: Floats, weights: Floats) -> tuple[Failed | None, Floats, Floats]:
        """Return outputs, and the gradient of their weighted sum by all inputs."""
        rows, columns = len(self.tape.outputs), self.tape.inputs
        value, derivative = np.empty(rows), np.empty((1, columns))
        if self._sweeps_product():
            workspace = self.sweep_workspace()
            status = workspace.plan.linearize(workspace.handle, x, value)
            _kernels.adjoints(workspace.handle, weights.reshape(1, -1), derivative)
            return _failed(workspace, status), value, derivative[0]
        both = np.empty(rows + columns)
        failed = self._run_seeded(ADJOINT, x, weights, both)
        return failed, both[columns:], both[:columns]

    def _run_seeded(
        self, what: Specification, x: Floats, seed: Floats, both: Floats
    ) -> Failed | None:
        """Run the derivative tape that takes a seed after the inputs."""
        return self.evaluate_derived(self.derivative(what), np.concatenate([x, seed]), both)

    def evaluate_derived(self, derived: "Runner", x: Floats, out: Floats) -> Failed | None:
        """Write what a derivative tape of this one gives; x begins with the point.

        The guard that does not hold is one of this tape.
        """
        failed = derived.evaluate(x, out)
        if failed is None or self._has_guards_of(derived):
            return failed
        return self._own_guard(failed, x[: self.tape.inputs])

    def linearize(self, x: Floats) -> tuple[Failed | None, Floats, Callable[[Floats], Floats]]:
        """Return outputs, and a function from directions to the outputs' derivatives."""
        rows = len(self.tape.outputs)
        if not self.sweeps:
            value = np.empty(rows)
            return self.evaluate(x, value), value, lambda dx: self.jvp(x, dx)[2]
        # A workspace of its own: others' runs must not overwrite the partials.
        value, workspace = np.empty(rows), Workspace(self.plan(sweeps=True))
        status = workspace.plan.linearize(workspace.handle, x, value)

        def push(direction: Floats) -> Floats:
            derivative = np.empty((1, rows))
            _kernels.tangents(workspace.handle, direction.reshape(1, -1), derivative)
            pushed: Floats = derivative[0]
            return pushed

        return _failed(workspace, status), value, push

    def _pass_on(self, runner: "Runner") -> None:
        """Compile what is derived from this, if this was to be."""
        if self._effort is not None:
            runner.prepare(self._effort)


def _failed(workspace: Workspace, status: int) -> Failed | None:
    """Return what a status of a run that nobody counts says."""
    return (status, workspace.guarded_value(status)) if status >= 0 else None


def _pays_after(tape: FlatTape) -> int:
    """Return after how many runs compiling pays: soon where loops make runs long."""
    if not is_automatic(tape.in_all):
        return NEVER
    return max(_FEW, OFTEN * tape.in_all // max(tape.written_out, 1))
