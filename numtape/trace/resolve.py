"""What calls become while a function is recorded: what rewritten code asks for each of them.

Code meets NumPy, Python and SciPy where no protocol asks: ``np.zeros(n)`` makes an array that
cannot hold a traced value, `math.sin` and `float` want a number, SciPy's functions convert what
they are given. So the function that is recorded, and the Python that it calls, run as copies
whose calls are resolved (`source.py` makes them). Here a callee is looked up by its identity:

- what has a stand-in (`constructors.py`, `pythons.py`, SciPy's functions of `substitutes.py`) is
  replaced by it, whatever it was reached by: an import, an attribute, a container, a partial, a
  bound method;
- a Python function outside of NumPy, SciPy and the standard library is replaced by its copy;
- arrays that NumPy's functions make of plain ones come as fresh ones (`fresh.py`);
- anything else is called as it is.

Nothing is exchanged for anyone: other threads, and the function outside of recordings, run what
was written. Two things are not seen in this way: arrays of outside, from which operators make new
ones, and operators and properties of classes, which reach their methods without a call. A
recording that fails is therefore tried once more by *thorough* copies, which look at attributes,
elements and results of operators too, and cost more; and there the special methods and properties
of the user's classes are given such code for good, which outside of recordings does what it did.
"""

import functools
import sys
import types
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from numtape.locks import fresh_lock
from numtape.trace.branches import called
from numtape.trace.branches.admission import admitted
from numtape.trace.branches.effects import made as made_in_arm
from numtape.trace.fresh import fresh, viewed
from numtape.trace.lists import with_arrays
from numtape.trace.locations import is_library
from numtape.trace.recorder import Recorder
from numtape.trace.running import RUNNING, active_recorder
from numtape.trace.source import Hooks, rewritten
from numtape.trace.substitutes import BINDINGS

__all__ = [
    "OF_TYPES",
    "callback",
    "is_thorough",
    "made",
    "note_thorough",
    "resolved",
    "selects_for",
    "stands_for",
]

# By identity: what was registered, and what stands for it.
_STAND_INS: dict[int, tuple[Any, Any]] = {}

# The same for code whose tests are selections: what makes the stand-in of the usual one.
_SELECTING: dict[int, tuple[Any, Callable[[Any], Any]]] = {}

# The codes of functions inside rewritten ones, and what these were before, by identity.
_ORIGINALS: dict[int, tuple[types.CodeType, types.CodeType]] = {}

# By type: what makes a stand-in of a callable object.
OF_TYPES: dict[type, Callable[[Any], Any]] = {}


def stands_for(*originals: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function to be called where rewritten code calls one of these."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for original in originals:
            _STAND_INS[id(original)] = original, function
        return function

    return register


def selects_for(original: Any, make: Callable[[Any], Any]) -> None:
    """Register what makes a function to be called where tests are selections.

    It is given the function that is called elsewhere.
    """
    _SELECTING[id(original)] = original, make


# arrays that were made


def _count(array: Any) -> int:
    return sys.getrefcount(array)


def _is_new(array: Any, callers: int) -> bool:
    """Return whether nobody else has an array, or the memory that it is a view of.

    The caller and further ones have it, of whom each holds a reference.
    """
    if _count(array) - callers > _ALONE[0]:
        return False
    base = array.base
    if base is None:
        return bool(array.flags.owndata)  # an iterator's views have no base, and no memory either
    return type(base) is np.ndarray and base.flags.owndata and _count(base) <= _ALONE[1]


def _calibrated() -> tuple[int, int]:
    """Return what is counted of an array, and of the base of a view, that nobody else has."""
    counts: list[int] = []

    def outer(array: Any) -> None:
        inner(array)

    def inner(array: Any) -> None:
        base = array.base
        counts.append(_count(array) if base is None else _count(base))

    outer(np.zeros(1))
    outer(np.zeros(2)[1:])
    return counts[0], counts[1]


def _calibrated_in_a_tuple() -> int:
    arrays = (np.zeros(1),)
    return _count(arrays[0])


_ALONE = _calibrated()
_ALONE_IN_A_TUPLE = _calibrated_in_a_tuple()


def made(result: Any, callers: int = 0) -> Any:
    """Return what a call gave: an array of floats as one that takes traced values.

    `callers` of the caller's have it too.
    """
    kind = type(result)
    if kind is np.ndarray:
        return fresh(result) if _is_new(result, callers) else viewed(result)
    if (kind is list or kind is tuple) and all(type(each) is np.ndarray for each in result):
        return kind(_made_element(result, k) for k in range(len(result)))
    return result


def _made_element(arrays: Any, k: int) -> Any:
    """Return the same of an array in a list or tuple."""
    is_alone = _count(arrays[k]) <= _ALONE_IN_A_TUPLE and arrays[k].flags.owndata
    return fresh(arrays[k]) if is_alone else viewed(arrays[k])


def _making(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of NumPy's, whose arrays may be written to."""

    def call(*arguments: Any, **options: Any) -> Any:
        return made(function(*arguments, **options))

    return call


def _taking_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same, and have lists of traced values given as arrays."""

    def call(*arguments: Any, **options: Any) -> Any:
        return made(function(*with_arrays(arguments), **options))

    return call


# These take sequences of arrays, which NumPy looks into.
_OF_SEQUENCES = frozenset(
    {"concatenate", "stack", "vstack", "hstack", "dstack", "column_stack", "block", "select"}
    | {"choose", "einsum", "multi_dot", "lexsort", "histogramdd", "broadcast_arrays", "piecewise"}
)


# copies of functions


class _Copy(NamedTuple):
    """A function's copy, and what it was made of."""

    copy: types.FunctionType
    code: types.CodeType
    defaults: Any
    kwdefaults: Any
    function: "weakref.ref[Any]"

    def is_of(self, function: types.FunctionType) -> bool:
        """Return whether a function still is what was copied: notebooks exchange its code."""
        return (
            self.function() is function
            and self.code is function.__code__
            and self.defaults is function.__defaults__
            and self.kwdefaults is function.__kwdefaults__
        )


class _Resolver:
    """Copies and stand-ins, of one thoroughness.

    Parameters
    ----------
    is_thorough : bool
    selects : bool
        Whether copies run both arms of tests on traced values.

    Attributes
    ----------
    resolve : callable
        Given what is to be called, returns what is called instead.
    """

    def __init__(self, is_thorough: bool, selects: bool) -> None:
        self._is_thorough, self._selects = is_thorough, selects
        self._known: dict[int, Any] = {}  # what is called instead, by identity
        self._kept: dict[int, Any] = {}  # the originals, so that no other has their identity
        self._version = -1
        self._codes: dict[int, tuple[types.CodeType, types.CodeType | None, bool]] = {}
        self._copies: dict[int, _Copy] = {}
        self._looked_at: list[int] = []  # the functions whose copies are among what is known
        self._lock = fresh_lock()  # of the last two
        found, find = self._known.get, self._find

        def resolve(callee: Any) -> Any:
            return found(id(callee)) or find(callee)

        def resolve_in_arms(callee: Any) -> Any:
            result = resolve(callee)
            recorder = active_recorder()
            if recorder is not None and recorder.arms is not None and recorder.arms.open:
                return admitted(recorder.arms, callee, result, self._is_inside(callee))
            return result

        self.resolve = resolve_in_arms if selects else resolve
        self._hooks = Hooks(
            self.resolve, self._value if is_thorough else None, called if selects else None
        )
        # Code that stays where it was put is run outside of recordings too.
        self._lasting = Hooks(_while_recording(resolve), _while_recording(self._value))
        self._prepared: WeakSet[type] = WeakSet()

    def update(self) -> None:
        """Take over what was registered, and what has changed since the last recording."""
        with self._lock:  # whether a copy still is good is looked at where it is used again
            for key in self._looked_at:
                self._known.pop(key, None)
            self._looked_at.clear()
        version = BINDINGS.load()
        if version == self._version:
            return
        with BINDINGS.lock:
            for original, substitute in list(BINDINGS.by_original.values()):
                self._keep(original, substitute)
        if self._version < 0:
            for each in _numpys():
                takes_sequence = each.__name__ in _OF_SEQUENCES
                self._keep(each, (_making if takes_sequence else _taking_lists)(each))
            for original, stand_in in _STAND_INS.values():
                self._keep(original, stand_in)
            for original, make in _SELECTING.values() if self._selects else ():
                self._keep(original, make(self._known.get(id(original), original)))
        self._version = version

    def _is_inside(self, callee: Any) -> bool:
        """Return whether a function stands in one whose copy runs, and so is a copy itself."""
        known = self._codes.get(id(getattr(callee, "__code__", None)))
        return known is not None and known[2] and not is_library(callee.__module__ or "")

    def _keep(self, original: Any, stand_in: Any) -> None:
        self._kept[id(original)] = original
        self._known[id(original)] = stand_in

    def _find(self, callee: Any) -> Any:
        """Find what is called instead of something that has no stand-in of its own."""
        kind = type(callee)
        if kind is types.BuiltinMethodType:
            return _making(callee) if type(callee.__self__) is np.ndarray else callee
        if kind is types.FunctionType:
            return self._copy_of(callee)
        if kind is types.MethodType:
            function = self.resolve(callee.__func__)
            same = function is callee.__func__
            return callee if same else types.MethodType(function, callee.__self__)
        if kind is np.ufunc:
            return _taking_lists(callee) if self._is_thorough else callee
        if kind is functools.partial:
            function = self.resolve(callee.func)
            if function is callee.func:
                return callee
            return functools.partial(function, *callee.args, **callee.keywords)
        if kind in OF_TYPES:
            return OF_TYPES[kind](callee)
        if isinstance(callee, type):
            return self._class(callee)
        call = getattr(kind, "__call__", None)  # noqa: B004 (what it is, is asked)
        if type(call) is types.FunctionType:
            function = self.resolve(call)
            return callee if function is call else types.MethodType(function, callee)
        return callee

    def _copy_of(self, function: types.FunctionType) -> Any:
        """Return the copy of a Python function; itself where it is to be called as it is."""
        key, copies, known = id(function), self._copies, self._known
        made_of = copies.get(key)
        if made_of is not None and made_of.is_of(function):
            return self._look_up(key, made_of)
        code, closure = self._code_of(function), function.__closure__ or ()
        if code is None:
            if function.__globals__.get("__name__") not in _OF_DECORATORS:
                return function
            if hasattr(function, "dispatch"):
                return self._dispatching(function)
            code, closure = function.__code__, self._resolved_cells(function)
        cells = dict(zip(function.__code__.co_freevars, closure, strict=True))
        copy = types.FunctionType(
            *(code, function.__globals__, function.__name__, function.__defaults__),
            tuple(cells[name] for name in code.co_freevars),
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__qualname__ = function.__qualname__
        copy.__dict__.update(function.__dict__)

        def forget(_: Any) -> None:  # as soon as the function is gone another may be this one's key
            known.pop(key, None)
            copies.pop(key, None)

        made_of = _Copy(
            *(copy, function.__code__, function.__defaults__, function.__kwdefaults__),
            weakref.ref(function, forget),
        )
        copies[key] = made_of
        return self._look_up(key, made_of)

    def _look_up(self, key: int, made_of: _Copy) -> Any:
        """Find a function's copy, from now until the next recording by its identity alone."""
        with self._lock:
            self._looked_at.append(key)
            self._known[key] = made_of.copy
        return made_of.copy

    def _resolved_cells(self, function: types.FunctionType) -> tuple[types.CellType, ...]:
        """Return what a decorator of the standard library closes over, with copies of functions."""
        contents = [each.cell_contents for each in function.__closure__ or ()]
        return tuple(
            types.CellType(self._copy_of(each) if type(each) is types.FunctionType else each)
            for each in contents
        )

    def _dispatching(self, function: Any) -> Any:
        """Return a function that chooses others by the class of its argument."""

        def call(*arguments: Any, **options: Any) -> Any:
            chosen = function.dispatch(arguments[0].__class__)
            return self.resolve(chosen)(*arguments, **options)

        return call

    def _code_of(self, function: types.FunctionType) -> types.CodeType | None:
        code = function.__code__
        if self._selects:  # of one inside a copy that does not, as it was written
            _, code = _ORIGINALS.get(id(code), (code, code))
        known = self._codes.get(id(code))
        if known is None:
            is_called_as_it_is = is_library(function.__globals__.get("__name__") or "")
            new = None if is_called_as_it_is else rewritten(code, function.__globals__, self._hooks)
            known = self._codes[id(code)] = code, new, is_called_as_it_is
            for each in () if new is None else _inner(new):
                self._codes[id(each)] = each, None, True  # it has its calls resolved already
            if new is not None and not self._selects:
                for each, original in zip(_inner(new), _inner(code), strict=True):
                    _ORIGINALS[id(each)] = each, original
        code, new, is_called_as_it_is = known
        if new is None and not is_called_as_it_is:
            bind_names()
        return new

    def _class(self, kind: Any) -> Any:
        """Return a class, whose `__init__` is reached by no call of the function's."""
        if self._is_thorough:
            self._prepare(kind)
            return kind
        initialize = getattr(kind, "__init__", None)
        if type(initialize) is not types.FunctionType or kind.__new__ is not object.__new__:
            return kind
        if type(kind).__call__ is not type.__call__ or kind.__flags__ & _ABSTRACT:
            return kind
        own = self.resolve(initialize)
        if own is initialize:
            return kind

        def construct(*arguments: Any, **options: Any) -> Any:
            instance = made_in_arm(object.__new__(kind))
            own(instance, *arguments, **options)
            return instance

        return construct

    # of thorough copies

    def _value(self, value: Any) -> Any:
        """Return a value that was there or was computed: an array may be written to."""
        kind = type(value)
        if kind is np.ndarray:
            return made(value, 1)
        if kind.__flags__ & _HEAP and kind not in self._prepared:
            self._prepare(kind)
        return value

    def _prepare(self, kind: Any) -> None:
        """Have what is reached by no call done thoroughly: a class's properties and operators.

        There is no call to be resolved, so the functions get other code, which does the same
        outside of recordings; it stays.
        """
        for base in (*kind.__mro__, *type(kind).__mro__):
            if base in self._prepared or not base.__flags__ & _HEAP:
                continue
            self._prepared.add(base)
            if is_library(base.__module__):
                continue
            for name, member in list(vars(base).items()):
                for function in _functions_of(name, member):
                    self._exchange(function)

    def _exchange(self, function: types.FunctionType) -> None:
        old = function.__code__
        new = rewritten(old, function.__globals__, self._lasting)
        if new is not None and new.co_freevars == old.co_freevars:
            for each in (new, *_inner(new)):
                self._codes[id(each)] = each, None, True
            function.__code__ = new


def _while_recording(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        return hook(value) if getattr(RUNNING, "stack", None) else value

    return apply


def _functions_of(name: str, member: Any) -> list[types.FunctionType]:
    """Return the functions of a class's member that are called by Python alone."""
    if isinstance(member, property):
        functions = [member.fget, member.fset, member.fdel]
    elif isinstance(member, functools.cached_property):
        functions = [member.func]
    elif name.startswith("__") and name.endswith("__"):
        functions = [getattr(member, "__func__", member)]
    else:
        functions = []
    return [each for each in functions if type(each) is types.FunctionType]


# Modules whose functions return others, which call the user's.
_OF_DECORATORS = {"contextlib", "functools"}

_HEAP, _ABSTRACT = 1 << 9, 1 << 20  # bits of a class's flags: it was made by Python code; abstract


def _inner(code: types.CodeType) -> list[types.CodeType]:
    """Return the code objects of the functions inside a function, at any depth."""
    found = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return found + [inner for each in found for inner in _inner(each)]


def _numpys() -> list[Any]:
    """Return NumPy's functions that are given arrays, and may return some."""
    modules = (np, np.linalg, np.fft)
    return [
        each
        for module in modules
        for name, each in vars(module).items()
        if isinstance(each, type(np.sum)) and not name.startswith("_")
    ]


_RESOLVERS = {
    (is_thorough, selects): _Resolver(is_thorough, selects)
    for is_thorough in (False, True)
    for selects in (False, True)
}


def _resolver_of(recorder: Recorder | None) -> _Resolver:
    if recorder is None:
        return _RESOLVERS[False, False]
    return _RESOLVERS[recorder.is_thorough, recorder.arms is not None]


def resolved(function: Any) -> Any:
    """Return what is called in place of a function that is to be recorded."""
    resolver = _resolver_of(active_recorder())
    resolver.update()
    return resolver.resolve(function)


# What was recorded by thorough copies, so that it is again.
_THOROUGH: WeakSet[Any] = WeakSet()


def is_thorough(function: Any) -> bool:
    """Return whether recording a function took thorough copies before."""
    try:
        return getattr(function, "__func__", function) in _THOROUGH
    except TypeError:  # an object of a class without a hash, or without weak references
        return False


def note_thorough(function: Any) -> None:
    """Note that it did."""
    with suppress(TypeError):
        _THOROUGH.add(getattr(function, "__func__", function))


def bind_names() -> None:
    """Have SciPy's functions found by their names: for code that has no source, or SciPy's own."""
    recorder = active_recorder()
    if recorder is not None:
        BINDINGS.begin(recorder)


def callback(function: Any) -> Any:
    """Return a function that is handed to another one, which calls it, resolved likewise."""
    recorder = active_recorder()
    if recorder is None or function is None:
        return function
    return _resolver_of(recorder).resolve(function)
