"""SciPy's Python functions on traced values: found by standing in for them while recording.

NumPy's functions, and all ufuncs, ask their arguments how to be computed
(`__array_function__`, `__array_ufunc__`). SciPy's functions that are written in
Python do not: they convert their arguments to arrays of numbers, which a traced
value refuses, for its derivative would be lost. So that code which calls
`scipy.special.logsumexp` or `scipy.stats.norm.logpdf` is recorded unchanged, these
names are bound to substitutes *while a function is being recorded*. A substitute
calls numtape's version where an argument is traced, and the original otherwise, so
other threads notice nothing; when the last recording ends, the originals are back.

What was considered instead:

- SciPy's array-API mode asks for `__array_namespace__`, but only where an
  environment variable is set before SciPy is imported.
- Replacing a function's code object would reach every reference to it, and change
  SciPy itself for everyone.
- Functions to import from numtape would work, and users would have to rewrite.

A name that a module imported (``from scipy.special import logsumexp``) is another
reference to the original. Where a recording fails, `learn` looks through the modules
whose functions were running for such names; those are then bound to substitutes
too, and the function is recorded again. Methods (of distributions, of splines) are
found through their class, however their object was imported.

A function that is reached in neither way (kept in a container or a closure under
another name) meets a traced value and raises; `explained` says which and what to do.
Nothing is ever computed from the bare numbers.

Here is the mechanism. The functions are in `special.py`, `linalg.py` and their like.
"""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from numtape.errors import NumtapeError, UnsupportedError
from numtape.trace.recorder import user_location
from numtape.trace.traced import innermost

__all__ = ["PairOfTraced", "explained", "learn", "stands_in_for", "substitute_of", "substituted"]


class PairOfTraced:
    """Base of what holds traced values and is none itself: complex numbers."""


# By module, then by name ("logsumexp", or "Class.method").
_SUBSTITUTES: dict[str, dict[str, Callable[..., Any]]] = {}

_FOREIGN = re.compile(r"(numtape\.(trace|functions|transform|run)|numpy|scipy|functools)(\.|$)")


def stands_in_for(module: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function to be called where SciPy's of that name gets a traced argument."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _SUBSTITUTES.setdefault(module, {})[name] = function
        return function

    return register


class _Bindings:
    """Which names are bound to substitutes, and to what they are bound back."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.recordings = 0
        self.loaded: set[str] = set()  # modules whose names are in `places`
        self.places: list[tuple[Any, str, Any, Any]] = []  # owner, name, original, substitute
        self.seen: set[tuple[int, str]] = set()  # of `places`, those that `learn` found
        self.by_original: dict[int, tuple[Any, Any]] = {}  # original and substitute by identity

    def load(self) -> bool:
        """Find the names of modules that were imported meanwhile; whether there were any."""
        found = False
        for module_name, functions in _SUBSTITUTES.items():
            module = sys.modules.get(module_name)
            if module is None or module_name in self.loaded:
                continue
            self.loaded.add(module_name)
            found = True
            for name, function in functions.items():
                self._find(module, name, function)
        return found

    def _find(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        owner = module
        *path, name = name.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        original = vars(owner).get(name) if owner is not None else None
        if original is None:
            return  # a SciPy that does not have it
        substitute = _dispatching(original, function)
        self.by_original[id(original)] = original, substitute
        self.places.append((owner, name, original, substitute))

    def bind(self) -> None:
        for owner, name, _, substitute in self.places:
            _set(owner, name, substitute)

    def unbind(self) -> None:
        for owner, name, original, substitute in self.places:
            if _get(owner, name) is substitute:
                _set(owner, name, original)


_BINDINGS = _Bindings()


def _get(owner: Any, name: str) -> Any:
    return owner.get(name) if isinstance(owner, dict) else vars(owner).get(name)


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


def _dispatching(original: Any, function: Callable[..., Any]) -> Any:
    @wraps(original)
    def substitute(*arguments: Any, **options: Any) -> Any:
        try:
            innermost(*arguments, *options.values())
        except LookupError:
            if not any(isinstance(argument, PairOfTraced) for argument in arguments):
                return original(*arguments, **options)
        return function(*arguments, **options)

    return substitute


@contextmanager
def substituted() -> Iterator[None]:
    """Have the substitutes in place; of nested and simultaneous ones the last restores."""
    bindings = _BINDINGS
    with bindings.lock:
        bindings.recordings += 1
        if bindings.recordings == 1:
            bindings.load()
            bindings.bind()
    try:
        yield
    finally:
        with bindings.lock:
            bindings.recordings -= 1
            if bindings.recordings == 0:
                bindings.unbind()


def substitute_of(function: Any) -> Any:
    """What stands in for a function that is to be recorded itself, as in ``grad(logsumexp)``."""
    with _BINDINGS.lock:
        _BINDINGS.load()
        _, substitute = _BINDINGS.by_original.get(id(function), (None, function))
        return substitute


def learn(error: Exception) -> bool:
    """Look for further references to the originals in the modules that an error passed through.

    Returns
    -------
    bool
        Whether any were found, so that recording again is worth it.
    """
    bindings = _BINDINGS
    with bindings.lock:
        found = bindings.load()
        if found and bindings.recordings:
            bindings.bind()
        trace = error.__traceback__
        while trace is not None:
            names = trace.tb_frame.f_globals
            trace = trace.tb_next
            if _FOREIGN.match(names.get("__name__", "")):
                continue
            for name, value in list(names.items()):
                known = bindings.by_original.get(id(value))
                if known is None or known[0] is not value or (id(names), name) in bindings.seen:
                    continue
                bindings.seen.add((id(names), name))
                bindings.places.append((names, name, *known))
                found = True
                if bindings.recordings:
                    names[name] = known[1]
        return found


def explained(error: Exception) -> Exception:
    """An error about a SciPy function that has no substitute, or the error itself."""
    if isinstance(error, NumtapeError) or not isinstance(error, TypeError | AttributeError):
        return error
    name, caller, trace = "", "", error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        module = frame.f_globals.get("__name__", "")
        if module.startswith("scipy.") and not name:
            name = f"{module}.{frame.f_code.co_qualname}"
        elif not name and not _FOREIGN.match(module):
            caller = f"{frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    if not name:
        return error
    return UnsupportedError(
        f"{name} was called with a traced value at {caller or user_location()}, and numtape has "
        f"no rule for it ({error}). Write it with operations that are recorded (NumPy's functions, "
        "ufuncs, indexing), or apply it to numtape.stop_gradient(x) values outside the recorded "
        "function; if numtape has the function, call it through its module, as in "
        "scipy.special.logsumexp(x)"
    )
