"""What arms do besides computing: what they change, make, enter and read, before it is done.

What can be undone is noted (`saved.py`); for what cannot, the tests in whose arms we are become
guards. Classes of the user's may do anything where Python looks for an operator or a property.
"""

import contextlib
import functools
import inspect
import types
import warnings
from functools import partial
from typing import Any

import numpy as np

from numtape.trace.branches.arms import arms_now, memory_of
from numtape.trace.branches.merging import MISSING
from numtape.trace.branches.saved import saved_attribute, saved_container, saved_plain
from numtape.trace.fresh import Fresh, become_traced
from numtape.trace.locations import is_library
from numtape.trace.traced import Traced, TracedArray, TracedScalar, owner

__all__ = [
    "context",
    "made",
    "opaque",
    "operand",
    "owner_of",
    "refuse",
    "touch",
    "touch_attribute",
]


def touch(thing: Any) -> Any:
    """Note that something is about to be changed in place; return it."""
    arms = arms_now()
    if arms is None or isinstance(thing, Traced):  # (`write` tells of these)
        return thing
    kind = type(thing)
    if arms.selected and isinstance(thing, np.ndarray):
        for each in arms.selected:
            each.look_at(memory_of(thing))
    if not arms.open or kind in _FIXED:
        return thing
    if kind is Fresh and thing.dtype == np.float64 and thing.home is arms.recorder.home:
        return become_traced(thing)
    if kind in _CONTAINERS:
        arms.save(id(thing), thing, partial(saved_container, thing))
    elif kind in (np.ndarray, Fresh):
        memory = owner(thing)
        arms.save(id(memory), memory, partial(saved_plain, memory))
    elif not isinstance(thing, np.generic):
        arms.refuse(f"an arm may change a {kind.__name__} in place")
    return thing


_CONTAINERS = (list, dict, set)
_FIXED = frozenset(
    {float, int, bool, complex, str, bytes, tuple, frozenset, type(None), type(MISSING)}
)


def touch_attribute(thing: Any, name: str) -> Any:
    """Note that an attribute is about to be assigned; return the object."""
    arms = arms_now()
    if arms is None or not arms.open:
        return thing
    kind = type(thing)
    setting: Any = kind.__setattr__
    is_plain = setting is object.__setattr__ and not isinstance(thing, type | types.ModuleType)
    is_private = name.startswith("__") and not name.endswith("__")
    if not is_plain or is_private or isinstance(getattr(kind, name, None), property):
        arms.refuse(f"an arm assigns to {kind.__name__}.{name}")
    arms.save((id(thing), name), thing, partial(saved_attribute, thing, name))
    return thing


def operand(thing: Any) -> Any:
    """Return an operand, if what its class makes of the operation may be done in an arm."""
    kind: Any = type(thing)
    if kind in _KNOWN or not _is_users_class(kind):
        return thing
    arms = arms_now()
    if arms is not None and arms.open and not _computes_by_itself(kind):
        arms.refuse(f"an arm computes with a {kind.__name__}")
    return thing


def owner_of(thing: Any, name: str) -> Any:
    """Return an object of which an attribute is read, if that runs no code of its class."""
    kind: Any = type(thing)
    if kind in _KNOWN or not _is_users_class(kind):
        return thing
    arms = arms_now()
    if arms is not None and arms.open:
        own = inspect.getattr_static(kind, name, None)
        if hasattr(kind, "__getattr__") or isinstance(own, property | functools.cached_property):
            arms.refuse(f"an arm reads {kind.__name__}.{name}")
    return thing


_KNOWN = frozenset(
    {float, int, bool, str, tuple, list, dict, np.ndarray, np.float64, types.ModuleType}
    | {TracedArray, TracedScalar, Fresh, type(None), type}
)


@functools.cache
def _is_users_class(kind: Any) -> bool:
    return not (issubclass(kind, Traced | np.generic) or is_library(kind.__module__))


@functools.cache
def _computes_by_itself(kind: Any) -> bool:
    """Return whether operators on a class are not written in Python."""
    return not any(isinstance(getattr(kind, name, None), types.FunctionType) for name in _OPERATORS)


_OPERATORS = [
    f"__{prefix}{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or")
    for prefix in ("", "r")
]
_OPERATORS += [f"__{name}__" for name in ("neg", "pos", "abs", "lt", "le", "gt", "ge", "eq", "ne")]
_OPERATORS += ["__getitem__", "__contains__", "__bool__", "__len__", "__iter__", "__array__"]


def made(thing: Any) -> Any:
    """Note that something was made just now; return it."""
    arms = arms_now()
    if arms is not None and arms.open:
        arms.open[-1].made[id(thing)] = thing
    return thing


def refuse(why: str) -> None:
    """Have the tests be guards in whose arms we are, if any."""
    arms = arms_now()
    if arms is not None:
        arms.refuse(why)


def opaque() -> None:
    """Say that code follows which runs as it is written."""
    refuse("an arm has a statement that is not run either way: try, match, class, del, import")


def context(manager: Any) -> Any:
    """Return what ``with`` is given, if entering it in an arm does no harm."""
    if not isinstance(manager, np.errstate | contextlib.nullcontext | warnings.catch_warnings):
        refuse(f"an arm enters a {type(manager).__name__}")
    return manager
