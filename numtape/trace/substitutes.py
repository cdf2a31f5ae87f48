"""SciPy's Python functions on traced values: what stands in for which.

NumPy's functions, and all ufuncs, ask their arguments how to be computed
(`__array_function__`, `__array_ufunc__`). SciPy's functions that are written in
Python do not: they convert their arguments to arrays of numbers, which a traced
value refuses, for its derivative would be lost. A substitute calls numtape's version where an
argument is traced, and the original otherwise. Code that is being recorded calls substitutes in
place of the originals, by whatever reference it reached them (`resolve.py`).

Code that has no source cannot be rewritten so. While it runs, SciPy's names are bound to the
substitutes for everyone, and when the last such recording ends, the originals are back. What was
considered instead:

- SciPy's array-API mode asks for `__array_namespace__`, but only where an
  environment variable is set before SciPy is imported.
- Replacing a function's code object would reach every reference to it, and change
  SciPy itself for everyone.

A name that such a module imported (``from scipy.special import logsumexp``) is another
reference to the original. Where a recording fails, `learn` looks through the modules
whose functions were running for such names; those are then bound to substitutes
too, and the function is recorded again. Methods (of distributions, of splines) are
found through their class. A function that is reached in neither way meets a traced value and
raises; `explained` says which and what to do. Nothing is ever computed from the bare numbers.

Here is the mechanism. The functions are in `special.py`, `linalg.py` and their like.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from dis import opmap
from functools import wraps
from types import TracebackType
from typing import Any
from weakref import WeakSet

from numtape.errors import NumtapeError, TraceError, UnsupportedError
from numtape.locks import fresh_lock
from numtape.trace.locations import is_pythons, is_users, user_location
from numtape.trace.recorder import Recorder
from numtape.trace.running import RUNNING
from numtape.trace.traced import call_complex, has_complex, has_traced

__all__ = [
    "BINDINGS",
    "HoldsTraced",
    "explained",
    "learn",
    "machine_code_refused",
    "registered",
    "stands_in_for",
]


class HoldsTraced:
    """Base of what holds traced values and is none itself, as a rotation does."""


# By module, then by name ("logsumexp", or "Class.method").
_SUBSTITUTES: dict[str, dict[str, Callable[..., Any]]] = {}

# The same for SciPy's ufuncs. They need a substitute only for arrays of objects, as
# np.array([x, y]) makes of traced scalars: then the protocol of ufuncs is not asked.
_OF_OBJECTS: dict[str, dict[str, Callable[..., Any]]] = {}


def stands_in_for(
    module: str, *names: str, only_for_objects: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function to be called where SciPy's of that name gets a traced argument.

    With `only_for_objects` it is bound once an array of objects was seen to need it.
    """
    table = _OF_OBJECTS if only_for_objects else _SUBSTITUTES

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            table.setdefault(module, {})[name] = function
        return function

    return register


def registered(module: str, name: str) -> Callable[..., Any]:
    """Return the function that was registered to be called for SciPy's of that name."""
    return _SUBSTITUTES[module][name]


class _Names:
    """Names of one module or class, and what each is bound to: as it was, and while recording."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner  # the names of a module, or a class
        self.originals: dict[str, Any] = {}
        self.substitutes: dict[str, Any] = {}

    def bind(self) -> None:
        if isinstance(self.owner, dict):
            self.owner.update(self.substitutes)
        else:
            for name, substitute in self.substitutes.items():
                setattr(self.owner, name, substitute)

    def unbind(self) -> None:
        """Bind the originals again, but not what was bound to something else meanwhile."""
        owner = self.owner
        present = owner if isinstance(owner, dict) else vars(owner)
        for name, substitute in self.substitutes.items():
            if present.get(name) is substitute:
                if present is owner:
                    present[name] = self.originals[name]
                else:
                    setattr(owner, name, self.originals[name])


class _Bindings:
    """All names that are bound to substitutes while at least one function is being recorded."""

    def __init__(self) -> None:
        self.lock = fresh_lock()
        self.running: WeakSet[Recorder] = WeakSet()  # those that functions are recorded by
        self.version = 0  # how many times something was found
        self.tables = [_SUBSTITUTES]
        self.loaded: set[tuple[int, str]] = set()  # of each table, the modules whose names it has
        self.names: dict[int, _Names] = {}  # by the identity of the owner
        self.by_original: dict[int, tuple[Any, Any]] = {}  # original and substitute by identity
        self.by_name: dict[tuple[str, str], tuple[Any, Any]] = {}  # the same by module and name

    def load(self) -> int:
        """Find the names of modules that were imported meanwhile; return the version."""
        with self.lock:
            for number, table in enumerate(self.tables):
                for module_name, functions in table.items():
                    module = sys.modules.get(module_name)
                    if module is None or (number, module_name) in self.loaded:
                        continue
                    if _is_being_imported(module):
                        continue
                    self.loaded.add((number, module_name))
                    self.version += 1
                    for path, function in functions.items():
                        self._find(module, path, function)
            return self.version

    def _find(self, module: Any, path: str, function: Callable[..., Any]) -> None:
        owner = module
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        original = vars(owner).get(name) if owner is not None else None
        if original is None:
            return  # a SciPy that does not have it
        substitute = _dispatching(original, function)
        self.by_original[id(original)] = original, substitute
        self.by_name[module.__name__, path] = original, substitute
        self.add(owner if parents else vars(owner), name, original, substitute)

    def add(self, owner: Any, name: str, original: Any, substitute: Any) -> None:
        """Add one more name to bind, at once if a function is being recorded."""
        names = self.names.setdefault(id(owner), _Names(owner))
        if name in names.originals:
            return
        names.originals[name] = original
        names.substitutes[name] = substitute
        self.version += 1
        if len(self.running):
            names.bind()

    def begin(self, recorder: Recorder) -> None:
        """Have the substitutes in place while this recorder is used, at least."""
        if recorder in self.running:
            return
        with self.lock:
            self.load()
            is_first = not len(self.running)
            self.running.add(recorder)
            if is_first:
                for names in self.names.values():
                    names.bind()

    def end(self, recorder: Recorder) -> None:
        """End one of nested and simultaneous recordings; the last one restores the originals."""
        if recorder not in self.running:
            return
        with self.lock:
            self.running.discard(recorder)
            if not len(self.running):
                for names in self.names.values():
                    names.unbind()

    def restart(self, running: Iterable[Recorder]) -> None:
        """Start again, as if these alone had begun."""
        with self.lock:
            self.running = WeakSet(running)
            for names in self.names.values():
                if len(self.running):
                    names.bind()
                else:
                    names.unbind()


BINDINGS = _Bindings()


def _is_being_imported(module: Any) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _dispatching(original: Any, function: Callable[..., Any]) -> Any:
    @wraps(original)
    def substitute(*arguments: Any, **options: Any) -> Any:
        is_traced = has_traced(*arguments, *options.values()) or any(
            isinstance(argument, HoldsTraced) for argument in arguments
        )
        if not is_traced:
            return original(*arguments, **options)
        try:
            if has_complex(*arguments, *options.values()):
                return call_complex(original, function, arguments, options)
            return function(*arguments, **options)
        except TraceError as error:
            for recorder in getattr(RUNNING, "stack", ())[-1:]:
                recorder.escaped = error
            raise

    substitute.stands_in_for = original  # type: ignore[attr-defined]
    return substitute


def learn(error: Exception, known: int) -> bool:
    """Look for further references to the originals in the modules that an error passed through.

    Parameters
    ----------
    error : Exception
    known : int
        The `version` of what was known when the recording began that it ended.

    Returns
    -------
    bool
        Whether more is known now, found here or by another thread meanwhile, so that
        recording again is worth it.
    """
    bindings = BINDINGS
    with bindings.lock:
        if len(bindings.tables) == 1 and isinstance(error, TypeError) and "ufunc" in str(error):
            bindings.tables.append(_OF_OBJECTS)
        bindings.load()
        trace = error.__traceback__
        while trace is not None:
            names = trace.tb_frame.f_globals
            for name, value in list(names.items()) if is_users(trace.tb_frame) else ():
                original, substitute = bindings.by_original.get(id(value), (None, None))
                if original is not None and original is value:
                    bindings.add(names, name, original, substitute)
            trace = trace.tb_next
        return bindings.version > known


def explained(error: Exception) -> Exception:
    """Return what to raise instead of an error that a traced value made where it has no rule.

    SciPy's functions, and compiled ones, refuse what they do not know in words of their
    own. The error itself is returned where it is not about a traced value.
    """
    users, trace = None, error.__traceback__
    while trace is not None:  # the user's last line, perhaps called back by SciPy
        if is_users(trace.tb_frame):
            users = trace
        trace = trace.tb_next
    where: Any = user_location()
    called = error.__traceback__
    if users is not None:
        where, called = f"{users.tb_frame.f_code.co_filename}:{users.tb_lineno}", users.tb_next
        while called is not None and _module(called) in _STAND_INS:
            called = called.tb_next
    scipys = _first_of("scipy", called)
    if scipys is not None and (_is_refusal(error) or _is_given_traced(scipys)):
        return _refused_by_scipy(scipys, where, error)
    if isinstance(error, NumtapeError):
        return error
    if isinstance(error, UserWarning) and re.match(_SHUFFLES, str(error)):
        return UnsupportedError(
            f"shuffle of a traced array at {where} ({error}): NumPy exchanges elements one by one "
            "there, and rows that are views would come out twice. Write "
            "rng.shuffle(np.asarray(x)), which shares memory with x, or x = rng.permutation(x)",
            code="refused-value",
        )
    is_numbas = type(error).__module__.startswith("numba.") and "pyobject" in str(error)
    if is_numbas or (isinstance(error, TypeError) and "can't unbox" in str(error)):
        return machine_code_refused("a function compiled by Numba", where)
    if called is None or is_pythons(_module(called)):  # in the user's line, or compiled code
        raised = called is None and users is not None and _is_raised(users)
        is_refused = users is not None and not raised
        is_refused = is_refused and (_says_traced(error) or _meets_traced(called, error))
        name = "what is called"
    else:
        is_refused = _is_refusal(error) and _first_of("numpy", called) is called
        is_refused = is_refused and _is_given_traced(called)
        name = f"{_module(called)}.{called.tb_frame.f_code.co_qualname}"
    if not is_refused:
        return error
    if re.search(_OBJECTS, str(error)):
        return UnsupportedError(
            f"NumPy refused what it was given at {where} ({error}): of traced scalars beside plain "
            "numbers np.array makes an array of objects, and the numbers in it have no rule. Make "
            "a traced array of them: np.stack([x, 1.0]), or np.array([x, 1.0], like=x)",
            code="array-of-objects",
        )
    return UnsupportedError(
        f"{name} at {where} does not take traced values ({error}): they stand for the floats and "
        "arrays of the recorded function, and only NumPy's and SciPy's functions know them. Write "
        "it with operations that are recorded (arithmetic, ufuncs, indexing, sums, products), or "
        "apply it to values that do not depend on the arguments",
        code="refused-value",
    )


def machine_code_refused(called: str, where: Any) -> UnsupportedError:
    """Return the error where what Numba has compiled is given a traced value."""
    return UnsupportedError(
        f"{called} was called with a traced value at {where}: machine code cannot be recorded. "
        "Call the Python function that it was made of, f.py_func(x), while recording",
        code="refused-value",
    )


# Where what stands in for NumPy's and Python's functions calls the originals.
_STAND_INS = {f"numtape.trace.{name}" for name in ("resolve", "constructors", "pythons")}


def _refused_by_scipy(trace: TracebackType, where: Any, error: Exception) -> UnsupportedError:
    name = f"{_module(trace)}.{trace.tb_frame.f_code.co_qualname}"
    known = _known_by_code(trace.tb_frame.f_code)
    if known is not None:
        return UnsupportedError(
            f"{name} was called with a traced value at {where}, by a reference that numtape does "
            "not find in code that has no source, as it is given to exec or python -c. Write the "
            f"function into a file, or {known}"
        )
    words = error.args[0] if isinstance(error, NumtapeError) else error
    return UnsupportedError(
        f"{name} was called with a traced value at {where}, and numtape has no rule for it "
        f"({words}). Write it with operations that are recorded (NumPy's functions, ufuncs, "
        "indexing), or apply it to numtape.stop_gradient(x) values outside the recorded function"
    )


# NumPy warns of what is no array and may come out with rows twice: traced arrays would.
_SHUFFLES = "you are shuffling a 'Traced"
warnings.filterwarnings("error", _SHUFFLES, UserWarning)

_TRACED = r"\bTraced(Scalar|Array|Float|Integer|Int|Bool|Complex)?\b"

# How NumPy and others speak of arrays of objects, which np.array makes of traced scalars.
_OBJECTS = r"ufunc|object arr|object_|dtype\('O'\)|holds references|data types in|'float' object"


def _module(trace: TracebackType) -> str:
    name: str = trace.tb_frame.f_globals.get("__name__", "")
    return name


def _first_of(package: str, trace: TracebackType | None) -> TracebackType | None:
    """Return the first frame of a package, from some frame on."""
    while trace is not None and _module(trace).partition(".")[0] != package:
        trace = trace.tb_next
    return trace


def _is_given_traced(trace: TracebackType) -> bool:
    """Return whether a function that was running has a traced value among its arguments."""
    return has_traced(*trace.tb_frame.f_locals.values())


def _meets_traced(trace: TracebackType | None, error: Exception) -> bool:
    """Return whether a function of Python's own did not know the type of a traced value."""
    while trace is not None:
        if trace.tb_next is None:
            return isinstance(error, TypeError) and _is_given_traced(trace)
        trace = trace.tb_next
    return False


def _is_refusal(error: Exception) -> bool:
    """Return whether it is of a kind that is raised for what a function cannot take."""
    if isinstance(error, TypeError | AttributeError):
        return True
    return isinstance(error, ValueError | RuntimeError | SystemError) and _says_traced(error)


def _says_traced(error: Exception) -> bool:
    """Return whether it speaks of a traced value, or of the array of objects that it becomes."""
    return bool(re.search(rf"{_TRACED}|{_OBJECTS}", str(error)))


def _is_raised(trace: TracebackType) -> bool:
    """Return whether a line ended in a raise statement, and not in a call."""
    return bool(trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"])


def _known_by_code(code: Any) -> str | None:
    """Say how to call the function with that code, if it has a substitute and no namesakes."""
    names = [
        (module, name)
        for (module, name), (original, _) in BINDINGS.by_name.items()
        if getattr(original, "__code__", None) is code
    ]
    if len(names) != 1:
        return None
    ((module, name),) = names
    kind, _, method = name.rpartition(".")
    if kind:
        return f"call the method of an object that is made inside, as in y.{method}(x)"
    return f"call it by the name of its module: {module}.{name}(x)"
