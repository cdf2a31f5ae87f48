"""Trees: nested containers as flat lists of leaves and a hashable structure.

Dicts, lists, tuples, named tuples and dataclasses are branches; anything else
is a leaf, and None is a branch without leaves. A structure rebuilds a tree from
any leaves of the same number. (JAX's conventions, but that dicts keep the
order of their entries.)
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "NONE",
    "Structure",
    "flatten",
    "map_leaves",
    "one_for_each_argument",
    "places",
    "shown",
    "without",
]

_SHOWN = 8  # children of a container that a message tells of
_LINE = 100  # and characters of a value


@dataclass(frozen=True)
class Structure:
    """The shape of a tree.

    Attributes
    ----------
    kind : type or None
        The container's type; None for a leaf.
    names : tuple
        Keys of a dict, field names of a dataclass.
    children : tuple of Structure
    """

    kind: Any
    names: tuple[Any, ...] = ()
    children: tuple["Structure", ...] = ()

    def build(self, leaves: Iterable[Any]) -> Any:
        """Build the tree of this structure with these leaves."""
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        if self.kind is type(None):
            return None
        children = [child._build(leaves) for child in self.children]
        if issubclass(self.kind, dict):
            return self.kind(zip(self.names, children, strict=True))
        if dataclasses.is_dataclass(self.kind):
            return _make_dataclass(self.kind, self.names, children)
        if hasattr(self.kind, "_fields"):
            return self.kind(*children)
        return self.kind(children)

    def __str__(self) -> str:
        if self.kind is None:
            return "*"
        if self.kind is type(None):
            return "None"
        children = [str(child) for child in self.children[:_SHOWN]]
        if self.names:
            children = [f"{n}: {c}" for n, c in zip(self.names, children, strict=False)]
        if len(self.children) > _SHOWN:
            children.append(f"... {len(self.children)} in all")
        inside = ", ".join(children)
        if self.kind is list:
            return f"[{inside}]"
        if self.kind is tuple:
            return f"({inside},)" if len(children) == 1 else f"({inside})"
        return f"{self.kind.__name__}({inside})"


_LEAF = Structure(None)
NONE = Structure(type(None))


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of a tree, from left to right, and its structure."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    names: Sequence[Any] = ()
    children: Iterable[Any]
    if tree is None:
        return NONE
    if isinstance(tree, dict):
        names = list(tree)
        children = [tree[name] for name in names]
    elif isinstance(tree, list | tuple):
        children = tree
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [field.name for field in dataclasses.fields(tree)]
        children = [getattr(tree, name) for name in names]
    else:
        leaves.append(tree)
        return _LEAF
    return Structure(type(tree), tuple(names), tuple(_flatten(child, leaves) for child in children))


def _make_dataclass(kind: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """Make a dataclass with these fields; its constructor ran once, for the original."""
    made: Any = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def one_for_each_argument(values: Any) -> tuple[Any, ...]:
    """Return trees by argument; what is no tuple and no list is meant as the only one."""
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def map_leaves(function: Any, tree: Any) -> Any:
    """Apply `function` to each leaf of a tree."""
    leaves, structure = flatten(tree)
    return structure.build([function(leaf) for leaf in leaves])


def places(structure: Structure) -> Iterator[str]:
    """Return how each leaf is reached, as Python writes it: ``["a"][0]``, ``.name``."""
    if structure.kind is None:
        yield ""
    for k, child in enumerate(structure.children):
        name = structure.names[k] if structure.names else k
        is_dataclass = structure.names and not issubclass(structure.kind, dict)
        key = f".{name}" if is_dataclass else f"[{name!r}]"
        yield from (key + place for place in places(child))


def without(structure: Structure, stays: Iterator[bool]) -> Structure:
    """Return a structure with None in the places of those leaves that do not stay."""
    if structure.kind is None:
        return structure if next(stays) else NONE
    children = tuple(without(child, stays) for child in structure.children)
    return Structure(structure.kind, structure.names, children)


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not all of a long one."""
    if isinstance(value, np.ndarray) and value.size > _SHOWN:
        return f"an array of {value.dtype} of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LINE else f"{text[: _LINE - 20]} ... {text[-15:]}"
