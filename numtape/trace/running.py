"""Which functions each thread is recording; what a recorder does is not known here."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numtape.trace.recorder import Recorder

__all__ = ["RUNNING", "active_recorder"]

RUNNING = threading.local()  # its `stack` has the recorders of the functions being recorded


def active_recorder() -> "Recorder | None":
    """Return the recorder of the function that this thread is recording, the innermost one."""
    stack = getattr(RUNNING, "stack", None)
    return stack[-1] if stack else None
