"""What of a call is recorded and what is fixed.

A call's arguments are a tree. Its floats and float arrays are *traced*: they
are inputs of the tape, and new values need no new recording. Everything else
(ints, bools, strings, None, integer arrays, functions) is *static*: part of the
signature under which a recording is kept. An integer to differentiate by that is
an argument of its own is taken as a float.
"""

import array
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.labels import labelled_values, plain_values, told, with_values
from numtape.functions.trees import Structure, flatten, places, shown, without
from numtape.trace.running import active_recorder
from numtape.trace.sharing import overlapping
from numtape.trace.traced import Traced

__all__ = [
    "Call",
    "Signature",
    "argnums_key",
    "check_plain",
    "check_static_seeds",
    "differentiated",
    "is_foreign",
    "is_integer",
    "memory_key",
    "not_differentiable",
    "read_call",
    "static_key",
    "static_text",
]

Floats = npt.NDArray[np.float64]

# Types of leaves, made once; every call looks at each of its leaves.
_COMMON = frozenset({int, bool, str})  # static, and nothing to look at
_UNLABELLED = frozenset({np.ndarray, float, int, bool, str})  # likewise, for labels
_ELEMENTS = frozenset("efd?bBhHiIlLqQ")  # of arrays, likewise
_FLOATS = float | np.floating
_INTEGERS = int | np.integer
_NO_INTEGERS = bool | np.timedelta64  # though they are derived from one of these
_PYTHONS = float | int
_OURS = np.ndarray | np.generic | Traced
_BUFFERS = (array.array, memoryview)
_PLAIN = (np.ndarray, np.memmap)  # classes of arrays that add nothing


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
        """Return the shapes of the traced leaves."""
        return tuple(shape for shape in self.shapes if shape is not None)

    @property
    def size(self) -> int:
        """Return how many numbers the traced leaves hold."""
        return sum(map(math.prod, self.traced_shapes))

    def has_statics_of(self, other: "Signature") -> bool:
        """Return whether the same leaves are static as in another signature, with the same keys."""
        mine, others = ([shape is None for shape in each.shapes] for each in (self, other))
        return mine == others and self.statics == other.statics

    def leaves(self) -> Iterator[tuple[int, str, Any]]:
        """Yield the argument's number, the place in that, and the key, if static, of each leaf."""
        shapes, statics = iter(self.shapes), iter(self.statics)
        for number, structure in enumerate(self.structure.children):
            for place in places(structure):
                yield number, place, next(statics) if next(shapes) is None else None

    @property
    def derivative_structures(self) -> tuple[Structure, ...]:
        """Return the structures of the arguments' derivatives: None for a static leaf."""
        is_traced = (shape is not None for shape in self.shapes)
        return tuple(without(structure, is_traced) for structure in self.structure.children)

    @property
    def is_flat(self) -> bool:
        """Return whether every argument is one float or float array."""
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
    labelled : dict, optional
        The series, frames and labelled arrays by their places among the leaves; None where
        there are none.
    """

    signature: Signature
    inputs: list[Floats]
    statics: list[Any]
    given: list[Any]
    pythons: tuple[bool, ...] = ()
    labelled: Mapping[int, Any] | None = None

    def with_memory(self) -> "Call":
        """Return the same call with a signature that says how the leaves lie in memory."""
        memory = memory_key(self.given, [0] * len(self.given))
        return replace(self, signature=replace(self.signature, memory=memory))

    def arguments(self, traced: Sequence[Any]) -> list[Any]:
        """Return the arguments with other values in the places of the traced leaves."""
        values, statics = iter(traced), iter(self.statics)
        leaves = [
            next(statics) if shape is None else next(values) for shape in self.signature.shapes
        ]
        built: list[Any] = list(self.signature.structure.build(leaves))
        return built

    def copies(self) -> list[Any]:
        """Copy the arguments' traced leaves, and return the arguments with these."""
        return self.arguments([x.copy() if x.shape else x.item() for x in self.inputs])

    def values(self) -> list[Any]:
        """Return the arguments, of labelled leaves the values."""
        return self.arguments(self.inputs)

    def with_labels(self, tree: Any, numbers: Sequence[int]) -> Any:
        """Return a tree like some of the arguments, with the labels that those have."""
        labelled = self.labelled or {}
        owners = [number for number, *_ in self.signature.leaves()]
        chosen = [k for number in numbers for k, owner in enumerate(owners) if owner == number]
        leaves, structure = flatten(tree)
        return structure.build(
            with_values(labelled[k], leaf) if k in labelled else leaf
            for k, leaf in zip(chosen, leaves, strict=True)
        )

    def point(self) -> Floats:
        """Return the traced leaves' values, end to end, as kernels take them."""
        if len(self.inputs) == 1:
            x = self.inputs[0].reshape(-1)
            return x if x.flags.carray else x.copy()
        return np.concatenate([np.zeros(0), *(value.reshape(-1) for value in self.inputs)])


def read_call(
    arguments: Sequence[Any], differentiated: Sequence[int] = (), keep_types: bool = False
) -> Call:
    """Sort the leaves of a call's arguments into traced and static ones.

    A differentiated argument that is an integer, or an array of them, is taken as floats; so
    is each such argument of a call in which nothing is differentiated and nothing is a float.
    With `keep_types`, float arrays of another type than float64 are not converted.

    Raises
    ------
    InputError
        Where a leaf is of a type that is not taken, or where a leaf of a differentiated
        argument is not a float.
    """
    inputs: list[Floats] = []
    given: list[Any] = []
    points: list[int] = []
    statics: list[Any] = []
    keys: list[Any] = []
    shapes: list[tuple[int, ...] | None] = []
    owners: list[int] = []
    pythons: list[bool] = []
    labelled: dict[int, Any] = {}
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
            if type(leaf) not in _UNLABELLED:
                values = labelled_values(leaf)
                if values is not None:
                    _check_labelled(leaf, values, number)
                    labelled[len(shapes)] = leaf
                    leaf = values
            is_meant = number in differentiated and structure.kind is None and is_integer(leaf)
            value = _as_floats(leaf, number, keep_types, is_meant)
            if value is not None:
                if not value.shape and isinstance(leaf, np.ndarray):
                    points.append(len(inputs))
                inputs.append(value)
                given.append(leaf)
                shapes.append(value.shape)
                owners.append(number)
                pythons.append(isinstance(leaf, _PYTHONS) and not isinstance(leaf, np.floating))
                continue
            if number in differentiated:
                place = list(places(structure))[count]
                is_array = isinstance(leaf, np.ndarray)
                key = static_key(leaf, number) if is_array else (type(leaf), leaf)
                raise not_differentiable(number, place, key)
            statics.append(leaf)
            keys.append(static_key(leaf, number))
            shapes.append(None)
    if not inputs and not differentiated:
        integers = [
            number
            for number, argument in enumerate(arguments)
            if is_integer(plain_values(argument))
        ]
        if integers:
            return read_call(arguments, integers, keep_types)
    signature = Signature(
        *(Structure(list, (), tuple(structures)), tuple(shapes), tuple(keys), tuple(owners)),
        tuple(points),
    )
    return Call(signature, inputs, statics, given, tuple(pythons), labelled or None)


def _check_labelled(leaf: Any, values: npt.NDArray[Any], number: int) -> None:
    """Raise where values are missing, or inside a recording."""
    if active_recorder() is not None:
        check_plain(leaf, f"argument {number} holds")
    if np.isnan(values).any():
        raise InputError(
            f"argument {number} holds a {type(leaf).__name__} with missing values (nan): its "
            "library leaves them out where NumPy computes with them. Pass x.dropna(), "
            "x.fillna(value), or its values with them, x.to_numpy()",
            code="labelled-argument",
        )


def is_integer(leaf: Any) -> bool:
    """Return whether a leaf is an integer or an array of them, and no bool."""
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in "iu"
    return isinstance(leaf, _INTEGERS) and not isinstance(leaf, _NO_INTEGERS)


def not_differentiable(number: int, place: str, key: Any) -> InputError:
    """Return the error for a derivative by an argument that has a static leaf."""
    rule = "only floats and float arrays have derivatives"
    if place and _is_integer_of(key):
        rule += ", and an integer in a tree stays one"
    return InputError(
        f"argument {number}{place} holds {static_text(key)}, and the derivative by argument "
        f"{number} was asked for: {rule}. {_as_float(key)}, or make it an argument of its own "
        "that argnums leaves out",
        code="not-differentiable",
    )


def _as_float(key: Any) -> str:
    """Return how something static, known by its key, becomes one float or several."""
    is_array, kind = len(key) == 3, ""
    if is_array or issubclass(key[0], np.generic):
        kind = np.dtype(key[0]).kind
    if kind in ("m", "M"):
        return "Make a number of it, as in (x - start) / np.timedelta64(1, 's')"
    if kind == "V":
        return "Pass the fields as a dict, {name: x[name] for name in x.dtype.names}"
    if is_array or not isinstance(key[1], Iterable) or isinstance(key[1], str | bytes):
        return "Convert it to float"
    if isinstance(key[1], set | frozenset):
        return "Make it a list"
    if isinstance(key[1], Mapping):
        return "Make it a dict, dict(x)"
    return "Make it an array, np.array(list(x), float)"


def _is_integer_of(key: Any) -> bool:
    """Return whether a static leaf, known by its key, is an integer or an array of them."""
    return np.dtype(key[0]).kind in "iu" if len(key) == 3 else is_integer(key[1])


def static_text(key: Any) -> str:
    """Return a static leaf as a message tells of it, by its key."""
    if len(key) == 3:
        return f"an array of {np.dtype(key[0])} of shape {key[1]}"
    kind, leaf = key
    return f"{shown(leaf)} of type {kind.__name__}"


def _as_floats(leaf: Any, number: int, keep_type: bool, is_meant: bool) -> Floats | None:
    """Return a traced leaf as a float64 array; None for a static leaf.

    `is_meant` says that an integer is meant as a float.
    """
    kind = type(leaf)
    if kind is float:
        return np.array(leaf, np.float64)
    if kind not in _COMMON and (kind is not np.ndarray or leaf.dtype.char not in _ELEMENTS):
        check_plain(leaf, f"argument {number} holds")
    if is_meant:
        try:
            return np.asarray(leaf, np.float64)
        except OverflowError:
            raise InputError(
                f"argument {number} holds {shown(leaf)}, and the derivative by it was asked for: "
                "no float64 is as large. Pass a smaller one, its logarithm for example",
                code="wrong-type",
            ) from None
    if isinstance(leaf, np.ndarray):
        is_float = leaf.dtype.kind == "f"
        return np.asarray(leaf, None if keep_type else np.float64) if is_float else None
    return np.array(leaf, np.float64) if isinstance(leaf, _FLOATS) else None


def check_plain(leaf: Any, holds: str) -> None:
    """Raise for a leaf of a type that is neither traced nor static; `holds` begins the message."""
    if isinstance(leaf, Traced):
        raise InputError(
            f"{holds} the traced value {leaf!r}, and this tape was recorded "
            "outside the function that is being recorded. Inside it, call the function itself, or "
            "numtape.grad and its like of it",
            code="tape-inside",
        )
    if isinstance(leaf, np.ndarray | np.generic):
        reason = _not_plain(leaf)
    elif isinstance(leaf, complex):
        reason = (
            f"the complex number {leaf!r}: numtape differentiates real float64 code. Pass the real "
            "and the imaginary part as two floats"
        )
    elif is_foreign(leaf):
        library = type(leaf).__module__.partition(".")[0]
        reason = (
            f"a value of the type {library}.{type(leaf).__name__}: a recorded function computes "
            "with plain arrays, and would lose what such a type adds to them, labels and their "
            f"arithmetic for example. Pass {told(leaf)}"
        )
    elif hasattr(leaf, "__next__"):
        reason = (
            f"{shown(leaf)}, an iterator: a recording would use it up. Pass list(x); many points "
            "that come in blocks are for numtape.vmap and for tapes"
        )
    else:
        return
    if reason:
        raise InputError(f"{holds} {reason}", code="wrong-type")


def _not_plain(leaf: Any) -> str:
    """Tell why an array or a number of NumPy's is not taken; nothing if it is."""
    name, kind = type(leaf).__name__, leaf.dtype.kind
    what = f"an array of {leaf.dtype}" if isinstance(leaf, np.ndarray) else repr(leaf)
    if isinstance(leaf, np.ma.MaskedArray):
        return (
            f"a {name}: numtape works on plain arrays, and would lose the mask. Pass "
            "x.filled(value) or x.compressed(), or x.filled(value) and np.ma.getmaskarray(x) as "
            "two arguments"
        )
    if isinstance(leaf, np.matrix):
        return (
            f"a {name}: numtape works on plain arrays, where * is by elements. Pass "
            "np.asarray(x), and write @ for *"
        )
    if kind == "c":
        return (
            f"{what}: numtape differentiates real float64 code. Pass x.real and x.imag "
            "as two arguments"
        )
    if kind == "O":
        return f"{what}: numtape differentiates real float64 code. Convert it with .astype(float)"
    if kind == "f" and leaf.dtype.itemsize > 8:
        return (
            f"{what}: numtape computes in float64, which has fewer digits. Convert it "
            "with .astype(float)"
        )
    if kind in "fiu" and isinstance(leaf, np.ndarray) and leaf.__class__ not in _PLAIN:
        return (
            f"an array of the class {name}: numtape works on plain arrays, and would lose what "
            "this class adds to them. Pass np.asarray(x)"
        )
    return ""


def is_foreign(leaf: Any) -> bool:
    """Return whether a leaf is an array of another library than NumPy, or a buffer."""
    if isinstance(leaf, _OURS):
        return False
    if isinstance(leaf, _BUFFERS):
        return True
    return hasattr(type(leaf), "__array__") and hasattr(type(leaf), "shape")


def static_key(leaf: Any, number: int) -> Any:
    """Return what stands for a static leaf in a signature."""
    if isinstance(leaf, np.ndarray):
        return (leaf.dtype.str, leaf.shape, leaf.tobytes())
    try:
        hash(leaf)
    except (TypeError, ValueError):
        raise InputError(
            f"argument {number} holds {shown(leaf)} of type {type(leaf).__name__}: an argument "
            "that is not float is part of the key under which a recording is kept, so it must be "
            "hashable. Make it a tuple or a frozen dataclass, or close over it instead of passing "
            "it",
            code="wrong-type",
        ) from None
    return (type(leaf), leaf)


def check_static_seeds(signature: Signature, seeds: Sequence[Any]) -> None:
    """Raise where a static leaf is given a seed that would be left out unseen.

    It may be zero, or the leaf itself; but an integer that is an argument of its own may be
    meant as a float.
    """
    for seed, (number, place, key) in zip(seeds, signature.leaves(), strict=True):
        if key is None:
            continue
        if not isinstance(seed, Traced):
            if _is_number(seed) and not np.any(seed):
                continue
            if (place or not _is_integer_of(key)) and static_key(seed, number) == key:
                continue
        raise InputError(
            f"tangents hold {shown(seed)} for argument {number}{place}, which is "
            f"{static_text(key)}: beside floats such an argument is static, and has no derivative. "
            f"{_as_float(key)}, or give 0 as its tangent",
            code="not-differentiable",
        )


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float | np.number | np.bool_ | np.ndarray)


def memory_key(leaves: Sequence[Any], ranks: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    """Return how leaves lie in memory, as far as it shows where they are assigned to.

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
    """Return what was given as `argnums`: an integer, or a tuple of them."""
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
    """Return the argument numbers meant by `argnums`, counted from the front."""
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
