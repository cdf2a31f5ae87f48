"""How kernels and our own ufuncs are compiled: one decorator for each, one set of settings.

Kernels compile when first called, and are cached on disk beside their file. With
``NUMBA_DISABLE_JIT=1`` in the environment they are run by Python as they stand, a
thousand times slower, which is how the tests see what lines of them are run.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.registry import CPUDispatcher

from numtape.jit.compiling import uninterrupted

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Lazy", "address_of", "is_cached", "kernel", "piece", "ufuncs"]


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


@cache
def address_of(function: Any) -> int:
    """Return the address of a kernel of four integers to an integer, compiled if need be.

    Kernels that call each other in a circle do so by address: Numba loses track of them on disk.
    """
    if isinstance(function, CPUDispatcher):
        integer = numba.types.int64
        signature = integer(*[integer] * 4)
        uninterrupted(lambda _: function.compile(signature))
        compiled: Any = function.overloads[signature.args]
        name = compiled.fndesc.llvm_cfunc_wrapper_name
        return int(compiled.library.get_pointer_to_function(name))
    callback = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)(function)
    _CALLBACKS.append(callback)
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


_CALLBACKS: list[Any] = []  # which live as long as their addresses are known


class Lazy:
    """A kernel that Python runs as long as there is so little to do that compiling would not pay.

    Compiling takes seconds, once for a machine, in which Python does some ten thousand steps.
    So it begins when that many have been done. Loading what is on disk takes less, and begins
    earlier.

    Parameters
    ----------
    function : callable
        What is to be a kernel.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.kernel = kernel(function)
        self.function = np.errstate(all="ignore")(function)
        self.left = _BEFORE_LOADING if is_cached(self.kernel) else _BEFORE_COMPILING

    def __call__(self, steps: int, *arguments: Any) -> Any:
        """Run it; `steps` says how much there is to do, in steps of some 20 µs in Python."""
        if self.left < 0:
            return self.kernel(*arguments)
        self.left -= steps
        return self.kernel(*arguments) if self.left < 0 else self.function(*arguments)


_BEFORE_LOADING, _BEFORE_COMPILING = 5_000, 50_000


def is_cached(function: Any) -> bool:
    """Return whether machine code of a kernel lies on disk, as far as can be told."""
    try:
        cache = function._cache
        return (Path(cache.cache_path) / f"{cache._impl.filename_base}.nbi").exists()
    except Exception:  # Numba's own affair, and another one's names
        return False


def piece(function: F) -> F:
    """A function that ufuncs of ours call: compiled with them, and cached.

    It is compiled with ``NUMBA_DISABLE_JIT=1`` too, since a ufunc's loop is called by address.
    """
    options = {"nopython": True, "nogil": True, "error_model": "numpy"}
    dispatcher: Any = CPUDispatcher(function, targetoptions=options)
    dispatcher.enable_caching()
    compiled: F = dispatcher
    return compiled


def ufuncs(*functions: Callable[..., float]) -> Callable[[str], Any]:
    """The `__getattr__` of a module: ufuncs of functions ``_f``, compiled when ``f`` is asked for.

    Functions are of floats, and use no symbol of another file but for `piece`.
    """
    by_name = {function.__name__[1:]: function for function in functions}

    @cache
    def made(name: str) -> Any:
        function: Any = by_name[name]
        kind = numba.types.float64
        types = [kind(*[kind] * function.__code__.co_argcount)]
        vectorize: Any = numba.vectorize
        return uninterrupted(lambda _: vectorize(types, cache=True)(function)).ufunc

    def get(name: str) -> Any:
        if name not in by_name:
            raise AttributeError(name)
        return made(name)

    return get
