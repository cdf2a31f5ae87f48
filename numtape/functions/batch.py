"""Tapes at many points: every method of a `Tape`, for arguments with leading axes.

All of them come down to one thing: a tape, if need be a derivative tape made for
it, is evaluated at all points, and its outputs are written straight into the arrays
of the result.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.points import Points, outputs_for, read_points, read_seeds
from numtape.functions.runner import Runner
from numtape.functions.selection import Selection
from numtape.functions.trees import Structure, flatten
from numtape.run.batch import Failures, Progress, thread_count, untold
from numtape.transform.derivative import adjoint, tangent
from numtape.transform.passes import remove_dead

if TYPE_CHECKING:
    from numtape.functions.tape import Tape

__all__ = ["BatchedTape", "Options", "evaluate_many"]

Floats = npt.NDArray[np.float64]


class Options(NamedTuple):
    """How a batch is run.

    Attributes
    ----------
    out
        A tree of arrays for the result; None for new ones.
    num_threads : int or None
        None for NUMTAPE_NUM_THREADS, or as many as there are cores.
    progress : bool or callable
        True shows a bar; a callable is told how many points are done, and of how many, in the
        thread that called.
    """

    out: Any = None
    num_threads: int | None = None
    progress: bool | Callable[[int, int], None] = False

    @contextmanager
    def reporting(self, total: int) -> Iterator[Progress]:
        """What a batch of so many points is to tell its progress to."""
        if self.progress is True:
            with _bar(total) as report:
                yield report
        elif callable(self.progress):
            done, tell = 0, self.progress

            def report_sum(more: int) -> None:
                nonlocal done
                done += more
                tell(done, total)

            yield report_sum
        elif self.progress is False:
            yield untold
        else:
            raise InputError(
                f"progress={self.progress!r} was given: it must be True for a bar, or a function "
                "progress(done, total), or False",
                code="wrong-option",
            )


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    try:
        from rich.progress import Progress as Bar
    except ImportError:
        raise InputError(
            "progress=True was given: the bar is drawn with rich, which is not installed. Run "
            'pip install "numtape[cli]", or pass a function progress(done, total)',
            code="missing-library",
        ) from None
    with Bar() as bar:
        task = bar.add_task("points", total=total)
        yield lambda more: bar.update(task, advance=more)


def evaluate_many(
    runner: Runner,
    points: Points,
    outputs: Sequence[Floats],
    options: Options,
    progress: Progress,
    numbers: npt.NDArray[np.int64] | None = None,
    guarded: bool = True,
) -> Failures:
    """Evaluate a tape at points, or those of some numbers.

    `outputs` are arrays whose first axis counts the points.
    """
    count = points.count if numbers is None else len(numbers)
    is_shared, shared = points.shared_inputs(), points.shared()
    hoisted = runner.hoisted(is_shared)
    if hoisted is not None:
        parts, head, runner = hoisted
        x, y = np.zeros(len(is_shared)), np.empty(len(parts.head.outputs))
        x[is_shared] = shared
        failed = head.evaluate_as_many(x, y)
        if failed is not None and guarded:
            every = np.arange(points.count) if numbers is None else numbers
            guard = np.full(count, parts.head_guards[failed[0]], np.int32)
            return Failures(every, guard, np.full(count, failed[1]))
        is_shared = np.concatenate([is_shared, np.ones(len(y), bool)])
        shared = np.concatenate([shared, y])
    failures = runner.batch(is_shared).run(
        shared,
        points.varying(),
        outputs,
        count,
        numbers,
        guarded,
        thread_count(options.num_threads),
        progress,
    )
    if hoisted is not None and len(failures.points):
        guards = hoisted[0].rest_guards[failures.guards].astype(np.int32)
        return replace(failures, guards=guards)
    return failures


class BatchedTape:
    """The methods of a `Tape`, for many points.

    Parameters
    ----------
    tape : Tape
    options : Options
    """

    def __init__(self, tape: "Tape", options: Options) -> None:
        self._tape = tape
        self._options = options

    def value(self, *arguments: Any) -> Any:
        """The values."""
        points = read_points(self._tape.signature, arguments)
        result = self._tape.result
        return self._evaluate(self._tape.runner, points, result.structure, result.shapes)

    def gradient(self, *arguments: Any, argnums: int | Sequence[int] = 0) -> Any:
        """The gradients."""
        return BatchedTape(self._tape.gradient_tape(argnums), self._options).value(*arguments)

    def value_and_gradient(self, *arguments: Any, argnums: int | Sequence[int] = 0) -> Any:
        """The values and the gradients."""
        self._tape.check_scalar()
        both = self._tape.jacobian_tape(argnums, "reverse", True)
        return BatchedTape(both, self._options).value(*arguments)

    def jacobian(
        self, *arguments: Any, argnums: int | Sequence[int] = 0, mode: str | None = None
    ) -> Any:
        """The Jacobians."""
        return self._jacobian(arguments, argnums, mode, False)

    def value_and_jacobian(
        self, *arguments: Any, argnums: int | Sequence[int] = 0, mode: str | None = None
    ) -> Any:
        """The values and the Jacobians."""
        return self._jacobian(arguments, argnums, mode, True)

    def hessian(self, *arguments: Any, argnums: int | Sequence[int] = 0) -> Any:
        """The Hessians."""
        gradient = BatchedTape(self._tape.gradient_tape(argnums), self._options)
        return gradient.jacobian(*arguments, argnums=argnums, mode="forward")

    def jvp(self, arguments: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """The values and their derivatives along tangents."""
        signature, result = self._tape.signature, self._tape.result
        points = read_points(signature, arguments)
        both = points.with_more(read_points(signature, tangents, "tangents"))
        pair = Structure(tuple, (), (result.structure,) * 2)
        runner = self._tape.derivatives.derivative("tangent", tangent, result.size)
        return self._evaluate(runner, both, pair, result.shapes * 2)

    def vjp(self, arguments: Sequence[Any], cotangents: Any) -> Any:
        """The values, and the gradients of their sums weighted with cotangents."""
        signature, result = self._tape.signature, self._tape.result
        points = read_points(signature, arguments)
        weights = read_seeds(result.structure, result.shapes, cotangents, "cotangents")
        gradients = self._tape.by_argument([0] * len(signature.traced_shapes))
        pair = Structure(tuple, (), (result.structure, flatten(gradients)[1]))
        runner = self._tape.derivatives.derivative("adjoint", adjoint, result.size)
        shapes = result.shapes + signature.traced_shapes
        return self._evaluate(runner, points.with_more(weights), pair, shapes)

    def hvp(self, arguments: Sequence[Any], vectors: Sequence[Any]) -> Any:
        """The products of the Hessians with vectors."""
        gradient, signature = self._tape.gradient_tape(self._tape.owners), self._tape.signature
        points = read_points(signature, arguments)
        both = points.with_more(read_points(signature, vectors, "vectors"))
        trees = self._tape.by_argument([0] * len(signature.traced_shapes))
        alone = BatchedTape(gradient, self._options)
        return alone._evaluate(
            alone._tangent_alone(), both, flatten(trees)[1], signature.traced_shapes
        )

    def _evaluate(
        self,
        runner: Runner,
        points: Points,
        structure: Structure,
        shapes: Sequence[tuple[int, ...]],
    ) -> Any:
        """The tree of a tape's outputs."""
        out, inputs = self._options.out, points.leaves
        leaves = outputs_for(structure, shapes, points.leading, out, inputs)
        pairs = zip(leaves, shapes, strict=True)
        outputs = [leaf.reshape((points.count, *shape)) for leaf, shape in pairs]
        with self._options.reporting(points.count) as progress:
            self._run(runner, points, outputs, progress)
        return structure.build(leaves)

    def _run(
        self,
        runner: Runner,
        points: Points,
        outputs: Sequence[Floats],
        progress: Progress,
    ) -> None:
        failures = evaluate_many(runner, points, outputs, self._options, progress)
        if not len(failures.points):
            return
        arguments = points.first(len(self._tape.signature.traced_shapes))  # without seeds
        for number in failures.points.tolist():
            self._tape.check_branch(arguments.at(number), number)
        # A loop over many rounded a guarded value otherwise than one of a single point
        # does (NumPy's power may), which says that all these points take this path.
        evaluate_many(runner, points, outputs, self._options, untold, failures.points, False)

    def _jacobian(
        self,
        arguments: Sequence[Any],
        argnums: int | Sequence[int],
        mode: str | None,
        with_value: bool,
    ) -> Any:
        tape = self._tape
        selection = tape.select(argnums)
        mode = tape.mode(mode, selection)
        if tape.derivatives.has_short_jacobian_tape(selection.inputs, mode):
            derived = tape.jacobian_tape(argnums, mode, with_value)
            return BatchedTape(derived, self._options).value(*arguments)
        points = read_points(tape.signature, arguments)
        blocks = [selection.trees([0] * len(selection.shapes)) for _ in tape.result.shapes]
        structure = flatten(tape.result.structure.build(blocks))[1]
        pairs = [(rows, columns) for rows in tape.result.shapes for columns in selection.shapes]
        shapes = [rows + columns for rows, columns in pairs]
        values: tuple[tuple[int, ...], ...] = ()
        if with_value:
            values = tape.result.shapes
            structure = Structure(tuple, (), (tape.result.structure, structure))
        every, out = [*values, *shapes], self._options.out
        leaves = outputs_for(structure, every, points.leading, out, points.leaves)
        matrices = [
            leaf.reshape((points.count, math.prod(rows), math.prod(columns)))
            for leaf, (rows, columns) in zip(leaves[len(values) :], pairs, strict=True)
        ]
        seeds = len(selection.inputs) if mode == "forward" else tape.result.size
        with self._options.reporting(points.count * (seeds + with_value)) as progress:
            if with_value:
                several = zip(leaves, values, strict=False)
                outputs = [leaf.reshape((points.count, *shape)) for leaf, shape in several]
                self._run(tape.runner, points, outputs, progress)
            by = self._by_columns if mode == "forward" else self._by_rows
            by(points, selection, matrices, progress)
        return structure.build(leaves)

    def _tangent_alone(self) -> Runner:
        """Of the derivative along a tangent, without the value."""
        rows = self._tape.result.size
        return self._tape.derivatives.derivative(
            "tangent alone",
            lambda flat: remove_dead(_with_outputs(tangent(flat), slice(rows, None))),
            0,
        )

    # A Jacobian whose tape would be too long: a tape of one product, run for each seed.

    def _by_columns(
        self,
        points: Points,
        selection: Selection,
        matrices: Sequence[Floats],
        progress: Progress,
    ) -> None:
        tape, runner = self._tape, self._tangent_alone()
        width = len(selection.shapes)
        for column, place in enumerate(selection.inputs.tolist()):
            leaf, k = _leaf_of(selection.shapes, column)
            seeds = _unit_seed(tape.flat.inputs, place)
            outputs = [matrix[:, :, k] for matrix in matrices[leaf::width]]
            self._run(runner, points.with_more(seeds), outputs, progress)

    def _by_rows(
        self,
        points: Points,
        selection: Selection,
        matrices: Sequence[Floats],
        progress: Progress,
    ) -> None:
        tape, rows = self._tape, self._tape.result.size
        runner = tape.derivatives.derivative(
            ("adjoint alone", selection.inputs.tobytes()),
            lambda flat: remove_dead(_with_outputs(adjoint(flat), rows + selection.inputs)),
            0,
        )
        width = len(selection.shapes)
        for row in range(rows):
            leaf, k = _leaf_of(tape.result.shapes, row)
            seeds = _unit_seed(rows, row)
            outputs = [matrix[:, k] for matrix in matrices[leaf * width : (leaf + 1) * width]]
            self._run(runner, points.with_more(seeds), outputs, progress)


def _with_outputs(flat: Any, chosen: Any) -> Any:
    return flat.changed(outputs=flat.outputs[chosen])


def _unit_seed(size: int, place: int) -> Points:
    seed = np.zeros(size)
    seed[place] = 1.0
    return Points((), (seed,), (False,))


def _leaf_of(shapes: Sequence[tuple[int, ...]], place: int) -> tuple[int, int]:
    """In which leaf a place is, and where in it."""
    leaf = 0
    while place >= math.prod(shapes[leaf]):
        place -= math.prod(shapes[leaf])
        leaf += 1
    return leaf, place
