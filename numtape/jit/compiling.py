"""When tapes are compiled: on request, or behind the scenes once they have run often.

One thread, started when there is something to do, compiles in the background, so
that no call waits for it; another does what the main thread waits for. Compiling costs
about 45 µs an instruction, once, and saves 2 ns an instruction of a run at one point, 0.03
to 0.2 ns of a point in a batch: it pays after about 20,000 runs, or a million points, and
begins at half of that. With ``NUMTAPE_NATIVE=off`` in the environment tapes are not
compiled unless they are asked to be; nothing else is different then.
"""

import atexit
import functools
import os
import queue
import sys
import threading
import warnings
from _thread import start_new_thread
from collections.abc import Callable
from typing import TypeVar

from numtape.errors import NativeCodeWarning
from numtape.locks import mend

T = TypeVar("T")

__all__ = [
    "MANY_POINTS",
    "NEVER",
    "OFTEN",
    "QUICK",
    "THOROUGH",
    "in_background",
    "is_automatic",
    "may_go_on",
    "settle",
    "try_to",
    "uninterrupted",
]

# So many runs at single points, or points in batches, and compiling pays.
OFTEN = 10_000
MANY_POINTS = 500_000
NEVER = 1 << 62

# How hard LLVM tries: quick code takes a third of the time to make, and up to twice to run.
# Beyond these its time is no longer in proportion to a tape's length, and nothing is gained.
QUICK, THOROUGH = 0, 1

_LONGEST_WAIT = 10.0  # seconds, at the end of the process

# Longer tapes are compiled on request alone: it would take the background a minute.
_LONGEST = 1 << 20


def is_automatic(instructions: int) -> bool:
    """Whether a tape of this length may be compiled without being asked to."""
    return instructions <= _LONGEST and os.environ.get("NUMTAPE_NATIVE", "").lower() != "off"


class _Worker:
    """A thread and its jobs; a process that was forked off begins with a new one.

    An interruption from the keyboard may come between any two steps of a caller, or another
    thread. So nothing is counted, no lock is taken, and the thread is noted only once it has
    begun: at worst there are two, which take turns.
    """

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.at_work = threading.Lock()
        self.has_begun = False
        self.ends = False

    def later(self, job: Callable[[], object]) -> None:
        mend()  # or it would wait for this thread
        self.jobs.put(job)
        if not self.has_begun:
            start_new_thread(self._begin, ())  # in one step, as `threading.Thread` does not
            self.has_begun = True

    def _begin(self) -> None:
        try:
            # This one has a name, and what traces threads sees it.
            threading.Thread(target=self._work, name="numtape", daemon=True).start()
        except RuntimeError:  # there can be no more threads
            self._work()

    def _work(self) -> None:
        while True:
            job = self.jobs.get()
            with self.at_work:
                try:
                    if not self.ends:
                        job()
                except Exception:  # is told of, and the next job is done all the same
                    what = threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                    threading.excepthook(what)
                finally:
                    del job  # with it what it would keep alive

    def now(self, job: Callable[[], object]) -> None:
        done = threading.Lock()
        done.acquire()

        def tell() -> None:
            try:
                job()
            finally:
                done.release()

        self.later(tell)
        with done:
            pass

    def settle(self) -> None:
        if self.has_begun and not self.ends:
            self.now(lambda: None)

    def end(self) -> None:
        self.ends = True
        mend()
        if self.at_work.acquire(timeout=_LONGEST_WAIT):  # it is a matter of milliseconds
            self.at_work.release()


# What nobody waits for; and what the main thread does.
_background, _foreground = _Worker(), _Worker()


def _begin_anew() -> None:
    global _background, _foreground
    _background, _foreground = _Worker(), _Worker()


def _end() -> None:
    """At the end of the process LLVM must not be at work any more."""
    _background.end()
    _foreground.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_end)


def in_background(job: Callable[[], None]) -> None:
    """Do something that needs LLVM without keeping anyone waiting."""
    _background.later(functools.partial(try_to, job))


def uninterrupted(job: Callable[[Callable[[], bool]], T]) -> T:
    """What a job gives that needs LLVM; an interruption reaches the caller, and not the job.

    Objects of llvmlite that are left half made are freed twice. Only the main thread is
    interrupted, so for that one the job is done in another. It is given a function
    that says whether it may go on.
    """
    if threading.get_ident() != threading.main_thread().ident or _foreground.ends:
        return job(may_go_on)
    results: list[T] = []
    errors: list[BaseException] = []
    stopped: list[bool] = []

    def work() -> None:
        try:
            results.append(job(lambda: not stopped and may_go_on()))
        except BaseException as error:
            errors.append(error)

    try:
        _foreground.now(work)
    except BaseException:
        stopped.append(True)
        raise
    if errors:
        raise errors[0]
    return results[0]


def settle() -> None:
    """Wait until everything is done that was left for later."""
    _background.settle()


def may_go_on() -> bool:
    """Whether work may: not when the process is about to end."""
    return not _background.ends


def try_to(job: Callable[[], None]) -> bool:
    """Do something that needs LLVM; where that fails, warn and go on without.

    Python shows one warning of the kind; whoever filters them sees them all.
    """
    try:
        job()
    except (RuntimeError, MemoryError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f"no machine code could be made for a tape ({reason[0]}): it is interpreted as "
            "before, several times slower; NUMTAPE_NATIVE=off stops further attempts",
            NativeCodeWarning,
            stacklevel=1,  # one place, so Python shows it once
        )
        return False
    return True
