"""What may be called in an arm that may not be taken, see `arms.py`.

What computes and changes nothing may; what changes something in place may where that is noted
first. Whatever else is called, the tests in whose arms we are become guards: printing, random
numbers, code without source, objects of libraries that are not known.
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.trace.branches.arms import Arms
from numtape.trace.branches.effects import touch

__all__ = ["admitted"]

_MODULES = frozenset(
    {"numpy", "scipy", "math", "cmath", "statistics", "functools", "itertools", "operator"}
    | {"_operator", "_functools", "numbers", "fractions", "copy", "collections", "numtape"}
    | {"dataclasses", "typing", "enum", "bisect", "_bisect", "re", "string"}
)
_PARTS = ("numpy.random", "numpy.lib._npyio_impl", "numpy.testing", "scipy.io", "scipy.stats._qmc")
_BUILTINS: frozenset[Any] = frozenset(
    {abs, all, any, ascii, bin, bool, bytes, callable, chr, complex, dict, divmod, enumerate}
    | {filter, float, format, frozenset, getattr, hasattr, hash, hex, id, int, isinstance}
    | {issubclass, iter, len, list, map, max, min, object, oct, ord, pow, range, repr, reversed}
    | {round, set, slice, sorted, str, sum, tuple, type, zip}
)
_FIXED = (str, bytes, int, float, complex, tuple, range, frozenset, type, np.generic)
_WRITING = frozenset({"tofile", "dump"})
# Functions of NumPy's that write to their first argument.
_MUTATING = frozenset({"copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis"})


def admitted(arms: Arms, callee: Any, found: Any, is_copy: bool) -> Any:
    """Return what is called in an arm; have its tests be guards where that is not to be undone.

    Parameters
    ----------
    arms : Arms
        Some of them are open.
    callee, found : callable
        What is written, and what is called instead.
    is_copy : bool
        Whether a function has what it calls looked at, though nothing is called instead.
    """
    kind = type(callee)
    if kind is types.FunctionType:
        if found is callee and not is_copy and not _is_of_pure_module(callee):
            arms.refuse(f"an arm calls {callee.__qualname__}, whose source is not to be had")
        return found
    if kind in (types.BuiltinFunctionType, types.BuiltinMethodType, types.MethodWrapperType):
        return _builtin(arms, callee, found)
    if kind in (types.MethodType, functools.partial, np.vectorize):
        return found  # whose function has been looked at, or will be
    if isinstance(callee, type):
        if not (callee in _BUILTINS or _makes_only(callee, found)):
            arms.refuse(f"an arm makes a {callee.__name__}")
        return found
    if isinstance(callee, np.ufunc | type(np.sum)):
        return _writing(callee, found)
    if found is callee and not _is_of_pure_module(kind):
        name = getattr(callee, "__name__", f"a {kind.__name__}")
        arms.refuse(f"an arm calls {name}")
    return found


def _is_of_pure_module(thing: Any) -> bool:
    module = getattr(thing, "__module__", None) or ""
    return module.partition(".")[0] in _MODULES and not module.startswith(_PARTS)


def _builtin(arms: Arms, callee: Any, found: Any) -> Any:
    """Return a function of C's, or a bound method of one."""
    owner = callee.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        is_pure = callee in _BUILTINS or (
            callee.__module__ != "builtins" and _is_of_pure_module(callee)
        )
        if not is_pure:
            arms.refuse(f"an arm calls {callee.__name__}")
        return _writing(callee, found)
    if isinstance(owner, list | dict | set | np.ndarray):
        if callee.__name__ in _WRITING:
            arms.refuse(f"an arm calls {callee.__name__}")
        touch(owner)
    elif not isinstance(owner, _FIXED):
        arms.refuse(f"an arm calls {type(owner).__name__}.{callee.__name__}")
    return found


def _makes_only(kind: Any, found: Any) -> bool:
    """Return whether calling a class makes an object and does nothing else."""
    if found is not kind:  # its `__init__` is a copy
        return True
    if issubclass(kind, tuple | BaseException | np.generic) or kind.__module__ in ("numpy",):
        return True
    return dataclasses.is_dataclass(kind) and not hasattr(kind, "__post_init__")


def _writing(callee: Any, found: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of NumPy's, which notes what it writes to."""
    count = callee.nin if isinstance(callee, np.ufunc) else None
    is_mutating = getattr(callee, "__name__", "") in _MUTATING

    def call(*arguments: Any, **options: Any) -> Any:
        out = options.get("out")
        written = [*out] if isinstance(out, tuple) else [out]
        if is_mutating:
            written += arguments[:1]
        if count is not None:
            written += arguments[count:]
        for each in written:
            if isinstance(each, np.ndarray):
                touch(each)
        return found(*arguments, **options)

    return call
