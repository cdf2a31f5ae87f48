"""Whether an exception raised now could be noticed by the function that is being recorded.

Python's floats raise where NumPy's numbers are infinite or nan, and NumPy's raise where they
are told to (``np.errstate``, warnings turned into errors). To the function that is a branch
where it has a handler around: a ``try`` or a ``with``, in whichever of its frames. There, and
nowhere else, operations that may raise are guarded.

Python keeps the handlers of a function in a table beside its code, so that asking costs
nothing where there is none.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dis import opmap
from types import CodeType, FrameType
from typing import Any

import numpy as np
from numpy._core import umath

from numtape.trace.recorder import Recorder
from numtape.trace.running import RUNNING

__all__ = [
    "CALM",
    "RECORDING",
    "errors_set",
    "handled",
    "is_watched",
    "raises_underflow",
    "watches",
]

# The code whose frames are the ends of what is recorded; `record.py` fills it in.
RECORDING: list[CodeType] = []

# By the identity of a function's code: the code, and from where to where it has handlers.
_HANDLERS: dict[int, tuple[CodeType, tuple[tuple[int, int], ...]]] = {}
_MOST = 4096  # of these are kept

_PUSHES = opmap["PUSH_EXC_INFO"]


def handled(recorder: Recorder) -> bool:
    """Return whether a frame of the recorded function has a handler around what it executes."""
    frame: FrameType | None = sys._getframe(2)
    further = None
    while frame is not None:
        code = frame.f_code
        if code.co_exceptiontable:
            if code is RECORDING[0]:  # of this recording, or of one inside it
                if further is None:
                    stack = getattr(RUNNING, "stack", None)
                    further = stack[-1].depth - recorder.depth if stack else 0
                if further <= 0:
                    return False
                further -= 1
            elif _has_handler(code, frame):
                return True
        frame = frame.f_back
    return False


def _has_handler(code: CodeType, frame: FrameType) -> bool:
    found = _HANDLERS.get(id(code))
    if found is None:
        own = frame.f_globals.get("__name__", "").startswith("numtape.")
        if len(_HANDLERS) >= _MOST:
            _HANDLERS.clear()
        found = _HANDLERS[id(code)] = (code, () if own else tuple(_handlers(code)))
    place = frame.f_lasti
    return any(start <= place < stop for start, stop in found[1])


def _handlers(code: CodeType) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a code that have handlers, in bytes.

    The table also has what Python itself cleans up, in comprehensions for example. A
    handler that was written begins with pushing the exception.
    """
    numbers = _numbers(code.co_exceptiontable)
    instructions = code.co_code
    for start in numbers:
        length, target, _ = next(numbers), next(numbers), next(numbers)
        if instructions[2 * target] == _PUSHES:
            yield 2 * start, 2 * (start + length)


def _numbers(table: bytes) -> Iterator[int]:
    """Yield the numbers of a table, written by six bits each, the highest first."""
    number = 0
    for byte in table:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0


# NumPy's floating-point errors


# Something that is the same object as long as NumPy treats errors in the same way: to look at
# it takes 10 ns, and `np.geterr` 500. None of a NumPy that keeps it elsewhere.
_treated = getattr(umath, "_extobj_contextvar", None)
errors_set: Callable[[], Any] = (lambda: None) if _treated is None else _treated.get


class _Calm:
    """What was found last not to raise: how NumPy treats errors, and the filters of warnings.

    Each by itself, so that threads may note them at once.
    """

    __slots__ = ("errors", "filters")

    def __init__(self) -> None:
        self.errors: Any = self  # nothing yet
        self.filters: list[Any] = []


# While neither has changed, no floating-point error of NumPy's can become an exception.
CALM = _Calm()


def watches(recorder: Recorder) -> bool:
    """Return `is_watched`, quickly; where every operation asks, its first line stands there."""
    is_calm = errors_set() is CALM.errors and warnings.filters == CALM.filters
    return not is_calm and is_watched(recorder)


def is_watched(recorder: Recorder) -> bool:
    """Return whether floating-point errors are exceptions that could be noticed."""
    errors, treated = errors_set(), set(np.geterr().values())
    if treated & {"raise", "call"}:
        return True
    if errors is not None:
        CALM.errors = errors
    filters = list(warnings.filters)
    if _are_errors(filters):
        return "warn" in treated and handled(recorder)
    CALM.filters = filters
    return False


def _are_errors(filters: list[Any]) -> bool:
    """Return whether a RuntimeWarning may be turned into an exception."""
    for action, message, category, module, line in filters:
        if issubclass(RuntimeWarning, category):
            if action == "error":
                return True
            if message is None and module is None and not line:
                return False
    return False


def raises_underflow() -> bool:
    """Return whether results that are too small are exceptions."""
    return np.geterr()["under"] != "ignore"
