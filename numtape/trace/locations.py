"""Whose code is running: the user's line, which messages and guards name.

Code is the user's unless its module is numtape's, Python's or that of a library.
"""

import os
import re
import sys
from functools import lru_cache
from types import FrameType

from numtape.tape.flat import Location

__all__ = ["end_at_user", "is_library", "is_pythons", "is_users", "user_location"]


_INTERNAL = re.compile(
    r"(numtape\.(ops|tape|trace|run|transform|functions|testing|cli)"
    r"|numpy|scipy|numba|pandas)"
    r"(\.|$)"
)


def user_location() -> Location:
    """Return the innermost line being run that is the user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None and not is_users(frame):
        frame = frame.f_back
    assert frame is not None
    return Location(frame.f_code.co_filename, frame.f_lineno)


def is_users(frame: FrameType) -> bool:
    """Return whether a frame runs the user's code, and not that of Python or a library."""
    return _is_users(frame.f_globals.get("__name__", ""))


@lru_cache(maxsize=1 << 12)
def _is_users(module: str) -> bool:
    return not (_INTERNAL.match(module) or is_pythons(module))


def is_pythons(module: str) -> bool:
    """Return whether a module is of Python's own, as json."""
    return module.partition(".")[0] in sys.stdlib_module_names


def is_library(module: str) -> bool:
    """Return whether a module's functions are called as they are, as Python's and NumPy's."""
    is_ours = bool(_INTERNAL.match(module)) or module == "numtape"
    return is_ours or is_pythons(module) or module.partition(".")[0] in _LIBRARIES


# Whose code does not meet traced values as the user's does, or is too much to read.
_LIBRARIES = {"xarray", "matplotlib", "jax", "torch", "pytest"}


def end_at_user(error: BaseException) -> None:
    """Let an error's traceback end in the line that `user_location` named when it was raised.

    The frames of numtape, NumPy and SciPy below that line say nothing about the user's code. With
    NUMTAPE_FULL_TRACEBACKS set to anything they are kept.
    """
    last, trace = None, error.__traceback__
    while trace is not None:
        if is_users(trace.tb_frame):
            last = trace
        trace = trace.tb_next
    if last is not None and not os.environ.get("NUMTAPE_FULL_TRACEBACKS"):
        last.tb_next = None
