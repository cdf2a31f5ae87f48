"""Values that would escape: what is refused, whatever the function does about the refusal.

A conversion to a plain number loses the derivative, so it raises; and should the function
catch that, the recording ends with it all the same. The message names the user's line and
what to write instead. A number that is only shown to a person may go.
"""

import linecache
import sys
from collections.abc import Iterator
from dis import get_instructions, opmap
from types import FrameType
from typing import NoReturn

from numtape.errors import TraceError
from numtape.trace.locations import is_users, user_location
from numtape.trace.recorder import Recorder

__all__ = ["escaped", "is_formatting", "refuse"]


def escaped(recorder: Recorder, what: str) -> NoReturn:
    """Raise for a conversion that would lose the derivative, naming the line and the remedy."""
    location = user_location()
    source = linecache.getline(location.file, location.line).strip()
    if any(module.startswith("pandas.") for module in _libraries()):
        remedy = (
            "take the values of series and frames before they meet it, with s.to_numpy(): pandas "
            "computes by labels, and makes plain numbers of the results"
        )
    elif not source:
        remedy = (
            "write the function into a file: of code that has no source, as it is given to exec or "
            "to python -c, np.zeros(n), math.sin(x) and float(x) are plain. Or write it with what "
            "is recorded there too, where x is an argument: np.zeros(n, like=x), np.sin(x), "
            "np.array(values, like=x)"
        )
    elif "initial=" in source:
        remedy = "combine it afterwards: np.maximum(np.max(y), x) for np.max(y, initial=x)"
    elif "arange(" in source:
        remedy = (
            "write np.arange(int(n)) for a count, which is guarded; else start + step * "
            "np.arange(n), or np.linspace(start, stop, n)"
        )
    else:
        remedy = "keep the traced value, or write numtape.stop_gradient(x) if it is to be constant"
    where = f" (in `{source}`, {location})" if source else f" ({location})"
    error = TraceError(
        f"{what} would turn a traced value into a plain number{where}: its derivative would be "
        f"lost. Instead, {remedy}",
        code="escaped-value",
    )
    refuse(recorder, error)


def _libraries() -> Iterator[str]:
    """Yield the modules of libraries that are running below the user's line."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame):
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back


def refuse(recorder: Recorder, error: TraceError) -> NoReturn:
    """Raise what the plain call does not, and again at the end should the function catch it."""
    recorder.escaped = error
    raise error


def is_formatting(frame: FrameType) -> bool:
    """Return whether a frame is at ``text % values``: the number is for a person to read.

    The operator of a traced number and a float is never that, for it does not ask for a float.
    """
    code, place = frame.f_code.co_code, frame.f_lasti
    return code[place] == opmap["BINARY_OP"] and code[place + 1] in _REMAINDERS


# The two arguments of the instruction that stand for % and for %=.
_REMAINDERS = {
    instruction.arg
    for instruction in get_instructions(compile("x % y; x %= y", "", "exec"))
    if instruction.opname == "BINARY_OP"
}
