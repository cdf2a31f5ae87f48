"""A batch of points: cut into chunks, chunks spread over threads.

Kernels run without the interpreter's lock, so plain threads are enough. Each takes
a workspace from those the tape keeps, then one chunk after the other. Memory is that
of inputs, outputs and a workspace a thread, whatever the number of points.
"""

import math
import os
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.jit.compiling import MANY_POINTS, THOROUGH, in_background, is_automatic, may_go_on
from numtape.kinds import KINDS
from numtape.run.blas import one_blas_thread
from numtape.run.lanes import LanePlan, LaneWorkspace
from numtape.tape.flat import FlatTape, View

__all__ = ["Batch", "Failures", "Progress", "thread_count", "untold"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Progress = Callable[[int], None]

# Instructions times points: a chunk takes about a millisecond, and less than a
# fifth of that is not worth a thread more.
_CHUNK = 1 << 22
_WORTH_A_THREAD = 1 << 20


def untold(more: int) -> None:
    """Take no note of progress: nobody asked for it."""


@dataclass(frozen=True)
class Failures:
    """The points at which a guard did not hold.

    Attributes
    ----------
    points : int64 array
        Their numbers.
    guards : int32 array
        The first guard that did not hold.
    outcomes : float64 array
        What it came to.
    """

    points: Ints
    guards: npt.NDArray[np.int32]
    outcomes: Floats


def thread_count(wanted: int | None) -> int:
    """Return how many threads to use: `wanted`, else NUMTAPE_NUM_THREADS, else as many as cores."""
    source: str = "num_threads"
    given: int | str | None = wanted
    if wanted is None:
        source, given = "NUMTAPE_NUM_THREADS", os.environ.get("NUMTAPE_NUM_THREADS")
        if not given:
            if hasattr(os, "sched_getaffinity"):
                return len(os.sched_getaffinity(0))
            return os.cpu_count() or 1
    try:
        count = int(str(given))
    except ValueError:
        count = 0
    if count < 1 or isinstance(wanted, bool):
        raise InputError(
            f"{source}={given!r} was given: it must be a number of threads, 1 or more, or be left "
            "out for as many as there are cores",
            code="wrong-option",
        )
    return count


class Batch:
    """A tape ready to be run at many points.

    Parameters
    ----------
    tape : FlatTape
    shared : bool array
        For each input, whether it has one value for all points.
    exact : frozenset of int
        Opcodes that are to round as at a single point; see `LanePlan`.
    """

    def __init__(
        self,
        tape: FlatTape,
        shared: npt.NDArray[np.bool_],
        exact: frozenset[int] = frozenset(),
    ) -> None:
        self._tape, self._shared, self._exact = tape, shared, exact
        # The plan, and workspaces for it that nobody uses.
        self._ready: tuple[LanePlan, deque[LaneWorkspace]] = (
            LanePlan(tape, shared, exact=exact),
            deque(),
        )
        self._points = 0  # run so far, until there is machine code
        # For each point: scalar instructions, and the elements that vector ones walk.
        arrays = int(tape.vectors.each(lambda each: math.prod(each.shape)).sum())
        self._uses_blas = any(KINDS[form.instruction.kind].by_blas for form in tape.vectors.forms)
        self._work = 8 + tape.instructions + arrays

    @property
    def plan(self) -> LanePlan:
        """How it is run."""
        return self._ready[0]

    def compile(self, effort: int, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Make machine code, which is used from the next run on; see `machine_code`."""
        plan = self.plan
        if plan.machine_code is None:
            if self._tape.is_scalar:
                plan = LanePlan(self._tape, self._shared, True, self._exact)
            plan.compile(effort, may_go_on)
            if plan.machine_code is not None:
                self._ready = plan, deque()

    def _count(self, points: int) -> None:
        """Have machine code made in the background once there were many points."""
        before, self._points = self._points, self._points + points
        if before < MANY_POINTS <= self._points and is_automatic(self._tape.instructions):
            in_background(lambda: self.compile(THOROUGH, may_go_on))

    def run(
        self,
        shared: Floats,
        inputs: Sequence[npt.NDArray[Any]],
        outputs: Sequence[Floats],
        count: int,
        points: Ints | None = None,
        guarded: bool = True,
        num_threads: int = 1,
        progress: Progress = untold,
    ) -> Failures:
        """Evaluate the tape at `count` points.

        Parameters
        ----------
        shared : float64 array
            The values of the shared inputs.
        inputs, outputs : sequence of arrays
            Of the inputs that vary, in order, and of the outputs: arrays whose first
            axis counts the points. Outputs are written in place.
        count : int
            How many points, or how many of `points`.
        points : int64 array, optional
            The numbers of the points to run; all by default.
        guarded : bool
            Whether to look at the guards.
        num_threads : int
        progress : callable, optional
            Told, from time to time and in the thread that calls, how many more points are done.
        """
        self._count(count)
        plan, idle = self._ready
        work = self._work
        threads = max(1, min(num_threads, count * work // _WORTH_A_THREAD))
        chunk = min(_CHUNK // work, math.ceil(count / threads))
        chunk = math.ceil(max(chunk, 1) / plan.lanes) * plan.lanes
        job = _Job(plan, inputs, outputs, points, guarded)

        def take() -> LaneWorkspace:
            workspace = None
            with suppress(IndexError):
                workspace = idle.pop()
            workspace = workspace or LaneWorkspace(plan)
            workspace.share(shared)
            return workspace

        starts = iter(range(0, count, chunk))
        with one_blas_thread() if self._uses_blas else nullcontext():
            _in_threads(
                threads,
                starts,
                take,
                lambda workspace, start: job.run(workspace, start, min(start + chunk, count)),
                idle.append,
                lambda start: progress(min(chunk, count - start)),
            )
        return job.failures()


class _Job:
    """One run of a batch: the tables of addresses that kernels are given."""

    def __init__(
        self,
        plan: LanePlan,
        inputs: Sequence[npt.NDArray[Any]],
        outputs: Sequence[Floats],
        points: Ints | None,
        guarded: bool,
    ) -> None:
        self.plan = plan
        self.inputs, self.points = inputs, points
        self.outputs = _table(plan.outputs, outputs)
        self.guarded = guarded and len(plan.tape.guards) > 0
        self.is_direct = all(_is_direct(array) for array in inputs)
        self.table = _table(plan.varying_places, inputs if self.is_direct else ())
        self.failed: deque[tuple[Ints, npt.NDArray[np.int32], Floats]] = deque()

    def run(self, workspace: LaneWorkspace, start: int, stop: int) -> None:
        size = stop - start if self.guarded else 0
        failed, outcomes = np.empty(size, np.int32), np.empty(size)
        every: Ints = np.zeros(0, np.int64) if self.points is None else self.points
        table, sources, targets, first = self.table, every, every, start
        if not self.is_direct:  # float32, swapped bytes and the like: made float64 by chunks
            here: Any = slice(start, stop) if self.points is None else self.points[start:stop]
            copies = [np.ascontiguousarray(array[here], np.float64) for array in self.inputs]
            table = _table(self.plan.varying_places, copies)
            sources = np.zeros(0, np.int64)
            targets = np.arange(start, stop) if self.points is None else self.points[start:stop]
            first = 0
        failures = self.plan.run(
            workspace.handle,
            table,
            self.outputs,
            sources,
            targets,
            first,
            first + stop - start,
            failed,
            outcomes,
        )
        if failures > 0:
            where = np.flatnonzero(failed >= 0)
            numbers = start + where if self.points is None else self.points[start + where]
            self.failed.append((numbers, failed[where], outcomes[where]))

    def failures(self) -> Failures:
        parts = sorted(self.failed, key=lambda part: int(part[0][0]))
        if not parts:
            return Failures(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))
        numbers, guards, outcomes = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Failures(numbers, guards, outcomes)


def _is_direct(array: npt.NDArray[Any]) -> bool:
    """Return whether a kernel can read the array where it is."""
    return array.dtype == np.float64 and array.dtype.isnative and array.flags.aligned


def _table(places: Ints, arrays: Sequence[npt.NDArray[Any]]) -> Ints:
    """Return for each element of a point its place, its address at point 0, bytes to the next."""
    table = np.zeros((len(places) if arrays else 0, 3), np.int64)
    table[:, 0] = places[: len(table)]
    at = 0
    for array in arrays:
        first = array.__array_interface__["data"][0]
        addresses = View(first, array.strides[1:]).slots(array.shape[1:])
        table[at : at + addresses.size, 1] = addresses.ravel()
        table[at : at + addresses.size, 2] = array.strides[0]
        at += addresses.size
    return table


def _in_threads(
    count: int,
    tasks: Any,
    take: Callable[[], Any],
    work: Callable[[Any, Any], None],
    give: Callable[[Any], None],
    progress: Callable[[Any], None],
) -> None:
    """Do all tasks in `count` threads, this one among them; the first error ends them all.

    This one is told of progress, so that whoever draws a bar need not know of threads.
    The others are new ones: nothing is left over that a fork could break. An
    interruption from the keyboard reaches this thread, and the others stop after
    the chunk that they are at. It may come between any two steps, and within
    `threading.Thread.start` and `join` it may leave a lock shut for ever: hence threads
    that are begun in one step, and a lock for each that is shut until it has ended.
    """
    errors: list[BaseException] = []
    lock = threading.Lock()
    running: list[Any] = []
    done: deque[Any] = deque()

    def serve(tell: Callable[[], None]) -> None:
        tool = None
        try:
            tool = take()
            while not errors:
                with lock:
                    task = next(tasks, None)
                if task is None:
                    break
                work(tool, task)
                done.append(task)
                tell()
        except BaseException as error:
            errors.append(error)
        finally:
            if tool is not None:
                give(tool)

    def begin(ended: Any) -> None:
        # Should the other thread have been interrupted before it made a note of this one,
        # it finds it here, or else this one finds the error, and does nothing.
        running.append(ended)
        try:
            serve(lambda: None)
        finally:
            ended.release()

    def tell() -> None:
        while done:
            progress(done.popleft())

    try:
        for _ in range(count - 1):
            ended = threading.Lock()
            ended.acquire()
            start_new_thread(begin, (ended,))
            running.append(ended)
        serve(tell)
    except BaseException as error:
        errors.append(error)
    waiting = True
    while waiting:
        try:
            for ended in running:
                with ended:  # which can be waited for again after an interruption
                    pass
            waiting = False
        except BaseException as error:  # an interruption: they stop soon
            errors.append(error)
    if errors:
        raise errors[0]
    tell()
