"""Locks that survive a fork.

A process that is forked while another of its threads holds a lock starts with that lock
shut, and with nobody to open it. So numtape's locks are of two kinds. `fresh_lock` makes
one that is open in the child: it guards dictionaries whose entries are put in whole, so
the child finds each there or not. `held_across_forks` is for what must not be
copied half done, such as a compiler's memory: a fork waits for it.

Neither is held while a user's function runs.
"""

import os
import threading
from typing import Any
from weakref import WeakSet

from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["fresh_lock", "held_across_forks", "mend"]

_FRESH: WeakSet[Any] = WeakSet()


def fresh_lock() -> Any:
    """A reentrant lock that is open in a forked process."""
    # The lock itself and no wrapper: `with` of it cannot be interrupted between taking it
    # and being sure to give it back.
    lock = threading.RLock()
    _FRESH.add(lock)
    return lock


def held_across_forks(lock: Any) -> None:
    """Have forks wait until no other thread holds a lock, which must be reentrant."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


def _open_all() -> None:
    for lock in list(_FRESH):
        lock._at_fork_reinit()  # what the standard library's own locks are given in a child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)

# LLVM may be at work in one thread while another forks: within one of its calls llvmlite's lock
# is shut, which has no public name, and between them Numba's may be. Forks take locks in
# reverse order, so these come first: whoever compiles takes LLVM's last.
_LLVM: Any = getattr(ffi.lib, "_lock", None)
_COMPILERS: list[Any] = [
    lock._lock for lock in (_LLVM, global_compiler_lock) if hasattr(lock, "_lock")
]
for _lock in _COMPILERS:
    held_across_forks(_lock)


def mend() -> None:
    """Open compilers' locks that an interruption from the keyboard left shut in this thread.

    Python enters their `with` by a function of Python's, and an interruption may come at its
    end: other threads would wait for ever. To be called where this thread does not compile.
    """
    for lock in _COMPILERS:
        while lock._is_owned():
            lock.release()
