"""Programs at many points, of arguments with leading axes.

All come down to one thing: a tape, if need be a derivative tape made for
it, is evaluated at all points, and its outputs are written straight into the arrays
of the result.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.points import Points, outputs_for
from numtape.functions.programs import Many
from numtape.functions.runner import Runner
from numtape.functions.streams import in_blocks
from numtape.run.batch import Failures, Progress, thread_count, untold

__all__ = [
    *("How", "Options"),
    *("evaluate_many", "names_options", "options_of", "run_blocks", "run_many"),
]

Floats = npt.NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])


class How(TypedDict, total=False):
    """The keywords of every method of a tape that takes many points; see `Options`."""

    out: Any
    num_threads: int | None
    progress: bool | Callable[[int, int], None]


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
        """Return what a batch of so many points is to tell its progress to."""
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


def names_options(method: F) -> F:
    """Name the keywords of `How` in a method's signature, for those who look at it."""
    own = inspect.signature(method)
    first = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for (name, default), kind in zip(
            Options()._asdict().items(), How.__annotations__.values(), strict=True
        )
    ]
    named: Any = method
    named.__signature__ = own.replace(parameters=[*first, *options])
    return method


def options_of(method: str, how: How) -> Options:
    """Return the options that a method of a tape was given by keyword."""
    try:
        return Options(**how)
    except TypeError:
        name = next(name for name in how if name not in Options._fields)
        message = f"Tape.{method}() got an unexpected keyword argument {name!r}"
        raise TypeError(message) from None


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


def run_many(
    program: Many, points: Points, options: Options, check_branch: Callable[[int], None]
) -> Any:
    """Return the tree of a program's answer at many points.

    `check_branch` raises where the point of some number takes another path than the tape.
    """
    answer = program.answer
    leaves = outputs_for(
        answer.structure, answer.shapes, points.leading, options.out, points.leaves
    )
    pairs = zip(leaves, answer.shapes, strict=True)
    runs = program.runs([leaf.reshape((points.count, *shape)) for leaf, shape in pairs])
    with options.reporting(points.count * len(runs)) as progress:
        for runner, outputs, unit in runs:
            seeded = points if unit is None else points.with_more(_unit_seed(*unit))
            failures = evaluate_many(runner, seeded, outputs, options, progress)
            if not len(failures.points):
                continue
            for number in failures.points.tolist():
                check_branch(number)
            # A loop over many rounded a guarded value otherwise than one of a single point
            # does (NumPy's power may), which says that all these points take this path.
            evaluate_many(runner, seeded, outputs, options, untold, failures.points, False)
    return answer.structure.build(leaves)


def run_blocks(
    tape: Any,
    free: Any,
    method: str,
    arguments: Sequence[Any],
    shapes: Sequence[tuple[int, ...] | None],
    options: Options,
    choices: dict[str, Any],
) -> Any:
    """Return what a method of a tape gives of points that come in blocks.

    `free` is the tape without guards, `shapes` are those of one point; see `in_blocks`.
    """
    choices = {**choices, "num_threads": options.num_threads, "progress": options.progress}
    call = partial(_call_method, tape, method, choices)
    example = partial(_call_method, free, method, {**choices, "progress": False})
    return in_blocks(call, example, arguments, shapes, options.out)


def _call_method(tape: Any, method: str, choices: dict[str, Any], *arguments: Any) -> Any:
    """Call a method by name; what is sent to where blocks of points are run."""
    if method == "value":
        return tape(*arguments, **choices)
    return getattr(tape, method)(*arguments, **choices)


def _unit_seed(size: int, place: int) -> Points:
    seed = np.zeros(size)
    seed[place] = 1.0
    return Points((), (seed,), (False,))
