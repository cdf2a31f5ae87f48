"""How every kernel is compiled: one decorator, one set of settings.

Kernels compile when first called, and are cached on disk beside their file.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock

from numtape.locks import held_across_forks

__all__ = ["kernel"]

# A kernel may be compiling in one thread while another forks.
held_across_forks(global_compiler_lock)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call, without the interpreter's lock, and cache it."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
