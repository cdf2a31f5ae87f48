"""What of a call is recorded and what is fixed.

A call's arguments are a tree. Its floats and float arrays are *traced*: they
are inputs of the tape, and new values need no new recording. Everything else
(ints, bools, strings, None, integer arrays, functions) is *static*: part of the
signature under which a recording is kept.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.trees import Structure, flatten, places, shown, without
from numtape.trace.sharing import overlapping
from numtape.trace.traced import Traced

__all__ = [
    "Call",
    "Signature",
    "argnums_key",
    "differentiated",
    "memory_key",
    "not_differentiable",
    "read_call",
    "static_key",
    "static_text",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Signature:
    """Everything about a call but the values of its traced leaves.

    Attributes
    ----------
    structure : Structure
        Of the tuple of arguments.
    shapes : tuple
        For each leaf the shape of a traced one, None for a static one.
    statics : tuple
        The keys of the static leaves.
    owners : tuple of int
        For each traced leaf, which argument it is in.
    points : tuple of int
        The traced leaves that are arrays of rank 0, and no numbers.
    memory : tuple, optional
        Which traced leaves share memory, and how those lie in it that do not lie row by row;
        None unless the function assigns to them.
    """

    structure: Structure
    shapes: tuple[tuple[int, ...] | None, ...]
    statics: tuple[Any, ...]
    owners: tuple[int, ...]
    points: tuple[int, ...] = ()
    memory: tuple[Any, ...] | None = None

    @property
    def traced_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the traced leaves."""
        return tuple(shape for shape in self.shapes if shape is not None)

    @property
    def size(self) -> int:
        """How many numbers the traced leaves hold."""
        return sum(map(math.prod, self.traced_shapes))

    def has_statics_of(self, other: "Signature") -> bool:
        """Whether the same leaves are static as in another signature, and have the same keys."""
        mine, others = ([shape is None for shape in each.shapes] for each in (self, other))
        return mine == others and self.statics == other.statics

    def leaves(self) -> Iterator[tuple[int, str, Any]]:
        """Each leaf: the number of its argument, its place in that, and its key; None if traced."""
        shapes, statics = iter(self.shapes), iter(self.statics)
        for number, structure in enumerate(self.structure.children):
            for place in places(structure):
                yield number, place, next(statics) if next(shapes) is None else None

    @property
    def derivative_structures(self) -> tuple[Structure, ...]:
        """The structures of the arguments' derivatives: None in the place of a static leaf."""
        is_traced = (shape is not None for shape in self.shapes)
        return tuple(without(structure, is_traced) for structure in self.structure.children)

    @property
    def is_flat(self) -> bool:
        """Whether every argument is one float or float array."""
        return None not in self.shapes and all(
            child.kind is None for child in self.structure.children
        )


@dataclass(frozen=True)
class Call:
    """One call: its signature, and the values that fill it.

    Attributes
    ----------
    signature : Signature
    inputs : list of float64 arrays
        The traced leaves.
    statics : list
        The static leaves.
    given : list
        The traced leaves as they were given.
    pythons : tuple of bool
        For each traced leaf whether it is a float of Python's, and not one of NumPy's. A tape
        takes either for the other; of functions there is a recording for each.
    """

    signature: Signature
    inputs: list[Floats]
    statics: list[Any]
    given: list[Any]
    pythons: tuple[bool, ...] = ()

    def with_memory(self) -> "Call":
        """The same call with a signature that says how the leaves lie in memory."""
        memory = memory_key(self.given, [0] * len(self.given))
        return replace(self, signature=replace(self.signature, memory=memory))

    def arguments(self, traced: Sequence[Any]) -> list[Any]:
        """The arguments with other values in the places of the traced leaves."""
        values, statics = iter(traced), iter(self.statics)
        leaves = [
            next(statics) if shape is None else next(values) for shape in self.signature.shapes
        ]
        built: list[Any] = list(self.signature.structure.build(leaves))
        return built

    def point(self) -> Floats:
        """The traced leaves' values, end to end."""
        if len(self.inputs) == 1:
            return self.inputs[0].reshape(-1)
        return np.concatenate([np.zeros(0), *(value.reshape(-1) for value in self.inputs)])


def read_call(
    arguments: Sequence[Any], differentiated: Sequence[int] = (), keep_types: bool = False
) -> Call:
    """Sort the leaves of a call's arguments into traced and static ones.

    With `keep_types`, float arrays of another type than float64 are not converted.

    Raises
    ------
    InputError
        Where a leaf is complex or an array of objects, or where a leaf of a
        differentiated argument is not a float.
    """
    inputs: list[Floats] = []
    given: list[Any] = []
    points: list[int] = []
    statics: list[Any] = []
    keys: list[Any] = []
    shapes: list[tuple[int, ...] | None] = []
    owners: list[int] = []
    pythons: list[bool] = []
    structures = []
    for number, argument in enumerate(arguments):
        leaves, structure = flatten(argument)
        structures.append(structure)
        if number in differentiated and not leaves:
            raise InputError(
                f"argument {number} is {shown(argument)}, and the derivative by it was asked for: "
                "there is no float in it. Pass floats or float arrays, or leave it out of argnums",
                code="not-differentiable",
            )
        for count, leaf in enumerate(leaves):
            value = _as_floats(leaf, number, keep_types)
            if value is not None:
                if not value.shape and isinstance(leaf, np.ndarray):
                    points.append(len(inputs))
                inputs.append(value)
                given.append(leaf)
                shapes.append(value.shape)
                owners.append(number)
                pythons.append(isinstance(leaf, float) and not isinstance(leaf, np.floating))
                continue
            if number in differentiated:
                place = list(places(structure))[count]
                key = (type(leaf), leaf) if isinstance(leaf, set) else static_key(leaf, number)
                raise not_differentiable(number, place, key)
            statics.append(leaf)
            keys.append(static_key(leaf, number))
            shapes.append(None)
    signature = Signature(
        *(Structure(list, (), tuple(structures)), tuple(shapes), tuple(keys), tuple(owners)),
        tuple(points),
    )
    return Call(signature, inputs, statics, given, tuple(pythons))


def not_differentiable(number: int, place: str, key: Any) -> InputError:
    """The error where the derivative by an argument with a static leaf is asked for."""
    is_set = key[0] in (set, frozenset)
    remedy = "Make it a list" if is_set else "Convert it to float"
    return InputError(
        f"argument {number}{place} holds {static_text(key)}, and the derivative by argument "
        f"{number} was asked for: only floats and float arrays have derivatives. {remedy}, or "
        "make it an argument of its own that argnums leaves out",
        code="not-differentiable",
    )


def static_text(key: Any) -> str:
    """A static leaf as a message tells of it, by its key."""
    if len(key) == 3:
        return f"an array of {np.dtype(key[0])} of shape {key[1]}"
    kind, leaf = key
    return f"{shown(leaf)} of type {kind.__name__}"


def _type_name(leaf: Any) -> str:
    if isinstance(leaf, np.ndarray):
        return f"array of {leaf.dtype}"
    return type(leaf).__name__


def _as_floats(leaf: Any, number: int, keep_type: bool) -> Floats | None:
    """A traced leaf as a float64 array; None for a static leaf."""
    if isinstance(leaf, Traced):
        raise InputError(
            f"argument {number} holds the traced value {leaf!r}, and this tape was recorded "
            "outside the function that is being recorded. Inside it, call the function itself, or "
            "numtape.grad and its like of it",
            code="tape-inside",
        )
    if isinstance(leaf, float | np.floating):
        return np.array(leaf, np.float64)
    if isinstance(leaf, np.matrix | np.ma.MaskedArray):
        raise InputError(
            f"argument {number} holds a {type(leaf).__name__}: numtape works on plain arrays, and "
            "would lose what it adds to them. Pass np.asarray(x), or the data and the mask",
            code="wrong-type",
        )
    if isinstance(leaf, np.ndarray):
        if leaf.dtype.kind == "f":
            return np.asarray(leaf, None if keep_type else np.float64)
        if leaf.dtype.kind in "cO":
            raise InputError(
                f"argument {number} holds an {_type_name(leaf)}: numtape differentiates real "
                "float64 code. Convert it with .astype(float), or pass the real and the imaginary "
                "part as two arrays",
                code="wrong-type",
            )
    if isinstance(leaf, complex):
        raise InputError(
            f"argument {number} holds the complex number {leaf!r}: numtape differentiates real "
            "float64 code. Pass the real and the imaginary part as two floats",
            code="wrong-type",
        )
    return None


def static_key(leaf: Any, number: int) -> Any:
    """What stands for a static leaf in a signature."""
    if isinstance(leaf, np.ndarray):
        return (leaf.dtype.str, leaf.shape, leaf.tobytes())
    try:
        hash(leaf)
    except TypeError:
        raise InputError(
            f"argument {number} holds {shown(leaf)} of type {_type_name(leaf)}: an argument that "
            "is not float is part of the key under which a recording is kept, so it must be "
            "hashable. Make it a tuple or a frozen dataclass, or close over it instead of passing "
            "it",
            code="wrong-type",
        ) from None
    return (type(leaf), leaf)


def memory_key(leaves: Sequence[Any], ranks: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    """How leaves lie in memory, as far as it shows where they are assigned to.

    Of leaves that do not lie row by row the steps; of those that share memory how far apart
    they are. `ranks` are the numbers of leading axes that count points: what is said is of
    the first point, and of all where the leaves step alike.
    """
    firsts = [
        leaf[(0,) * rank] if isinstance(leaf, np.ndarray) and leaf.size else leaf
        for leaf, rank in zip(leaves, ranks, strict=True)
    ]
    memory: list[tuple[Any, ...]] = [
        (number, first.strides)
        for number, first in enumerate(firsts)
        if isinstance(first, np.ndarray) and not first.flags.c_contiguous
    ]
    for one, other in overlapping(firsts):
        places = (firsts[k].__array_interface__["data"][0] for k in (one, other))
        memory.append((one, other, next(places) - next(places)))
    for one, other in overlapping(leaves):
        steps = [leaves[k].strides[: ranks[k]] for k in (one, other)]
        if steps[0] != steps[1] and np.shares_memory(leaves[one], leaves[other]):
            memory.append((one, other))  # differently at each point
    return tuple(memory)


def argnums_key(argnums: int | Sequence[int]) -> int | tuple[int, ...]:
    """What was given as `argnums`, with its sequence, if it is one, as a tuple of integers."""
    if type(argnums) is int:
        return argnums
    try:
        key = tuple(map(index, argnums)) if np.iterable(argnums) else index(argnums)
    except TypeError:
        key = ()
    if key == () or isinstance(argnums, bool):
        raise InputError(
            f"argnums={argnums!r} names no argument: it must be an integer, or a sequence of them. "
            "Pass 0 for the first argument",
            code="wrong-argnums",
        )
    return key


def differentiated(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """The argument numbers meant by `argnums`, counted from the front."""
    key = argnums_key(argnums)
    numbers = key if isinstance(key, tuple) else (key,)
    for number in numbers:
        if not -count <= number < count:
            raise InputError(
                f"argnums={argnums!r} names argument {number}, but the call has {count} positional "
                "arguments. Pass that argument by position, or correct argnums",
                code="wrong-argnums",
            )
    return tuple(number % count for number in numbers)
