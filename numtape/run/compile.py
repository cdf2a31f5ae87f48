"""How every kernel is compiled: one decorator, one set of settings.

Kernels compile when first called, and are cached on disk beside their file. With
``NUMBA_DISABLE_JIT=1`` in the environment they are run by Python as they stand, a
thousand times slower, which is how the tests see what lines of them are run.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from numtape.run.compiling import uninterrupted

__all__ = ["kernel"]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call, without the interpreter's lock, and cache it."""
    settings: Any = numba.config
    if settings.DISABLE_JIT:
        return np.errstate(all="ignore")(function)  # kernels warn of nothing
    dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    # What Numba calls where no machine code fits. Interrupted there, it was found to know no
    # attributes of arrays any more, for as long as the process lives.
    compile_for = dispatcher._compile_for_args
    dispatcher._compile_for_args = lambda *arguments, **named: uninterrupted(
        lambda _: compile_for(*arguments, **named)
    )
    return dispatcher
