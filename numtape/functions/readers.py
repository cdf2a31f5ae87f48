"""Readers: what turns the arguments of a call into the input vector of a tape at once.

A reader is made for one signature, and knows which types each of its leaves has. It takes
calls of exactly these, which are nearly all, in a few operations of Python; of any other
call it says so, and `read_call` and `read_points` look at that one.
"""

import itertools
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.signature import Signature
from numtape.functions.trees import Structure

__all__ = ["Reader", "reader_of"]

Floats = npt.NDArray[np.float64]

# From the arguments to their traced leaves end to end, which may be the memory of the only
# argument; None where they are not of the types and shapes that the reader knows.
Reader = Callable[[Sequence[Any]], Floats | None]

# Adds the traced leaves of a tree to a list; false where one is not as expected.
_Collector = Callable[[Any, list[Any]], bool]

_FLOAT64 = np.dtype(np.float64)
_STATICS = (int, bool, str)  # exactly these: equal ones of them are the same to any function


def _read_nothing(arguments: Sequence[Any]) -> Floats | None:
    """Take no call: of a signature whose calls must all be looked at."""
    return None


def reader_of(signature: Signature, scalars: Sequence[type | None]) -> Reader:
    """Return the reader of calls of a signature.

    Parameters
    ----------
    signature : Signature
    scalars : sequence of types
        For each traced leaf the type that it has where its shape is (); None for one that
        there is no reader of.
    """
    if signature.memory is not None:  # where leaves lie in memory matters
        return _read_nothing
    shapes = signature.traced_shapes
    only = signature.structure.children
    if len(only) == 1 and only[0].kind is None and shapes and shapes[0]:
        return _reader_of_array(shapes[0])
    expected = _expected(signature, scalars)
    if expected is None:
        return _read_nothing
    if signature.is_flat:
        if not any(shapes):
            return _reader_of_numbers([kind for kind, _ in expected])
        return _reader_of_parts(expected)
    collect = _collector(signature.structure, iter(expected))
    return _read_nothing if collect is None else _reader_of_tree(collect, shapes)


def _expected(
    signature: Signature, scalars: Sequence[type | None]
) -> list[tuple[type, Any]] | None:
    """Return for each leaf its type, and its shape or its value if it is static."""
    kinds, statics = iter(scalars), iter(signature.statics)
    expected: list[tuple[type, Any]] = []
    for shape in signature.shapes:
        if shape is None:
            key = next(statics)
            if len(key) != 2 or key[0] not in _STATICS:
                return None
            expected.append(key)
            continue
        kind = next(kinds)
        if shape:
            expected.append((np.ndarray, shape))
        elif kind is None:
            return None
        else:
            expected.append((kind, ()))
    return expected


def _reader_of_array(shape: tuple[int, ...]) -> Reader:
    """Return the reader of one array."""
    is_vector = len(shape) == 1

    def read(arguments: Sequence[Any]) -> Floats | None:
        if len(arguments) != 1:
            return None
        x = arguments[0]
        if type(x) is not np.ndarray or x.dtype is not _FLOAT64 or x.shape != shape:
            return None
        if not x.flags.carray:  # all that kernels take
            x = x.copy("C")
        return x if is_vector else x.reshape(-1)

    return read


def _reader_of_numbers(kinds: list[Any]) -> Reader:
    """Return the reader of arguments that are numbers."""
    count = len(kinds)
    write: Any = struct.Struct(f"{count}d").pack_into
    numbers = range(count)

    def read_one(arguments: Sequence[Any]) -> Floats | None:
        number: Any = arguments[0] if len(arguments) == 1 else None
        if type(number) is not kinds[0]:
            return None
        x = np.empty(1)
        x[0] = number
        return x

    def read(arguments: Sequence[Any]) -> Floats | None:
        if len(arguments) != count:
            return None
        for k in numbers:
            if type(arguments[k]) is not kinds[k]:
                return None
        x = np.empty(count)
        write(x, 0, *arguments)
        return x

    return read_one if count == 1 else read


def _reader_of_parts(expected: list[tuple[type, Any]]) -> Reader:
    """Return the reader of arguments that are numbers and arrays."""
    count = len(expected)
    places = _places([shape for _, shape in expected])
    size = places[-1].stop
    parts: list[tuple[Any, Any, slice]]
    parts = [(*each, place) for each, place in zip(expected, places, strict=True)]

    def read(arguments: Sequence[Any]) -> Floats | None:
        if len(arguments) != count:
            return None
        x = np.empty(size)
        for argument, (kind, shape, place) in zip(arguments, parts, strict=True):
            if type(argument) is not kind:
                return None
            if not shape:
                x[place.start] = argument
                continue
            if argument.dtype is not _FLOAT64 or argument.shape != shape:
                return None
            x[place] = argument if len(shape) == 1 else argument.reshape(-1)
        return x

    return read


def _reader_of_tree(collect: _Collector, shapes: Sequence[tuple[int, ...]]) -> Reader:
    """Return the reader of arguments that are trees, or static ones among others."""
    count, places = len(shapes), _places(shapes)
    size = places[-1].stop if places else 0
    write: Any = struct.Struct(f"{count}d").pack_into

    def read(arguments: Sequence[Any]) -> Floats | None:
        leaves: list[Any] = []
        if not collect(list(arguments), leaves):
            return None
        x = np.empty(count)
        write(x, 0, *leaves)
        return x

    def read_arrays(arguments: Sequence[Any]) -> Floats | None:
        leaves: list[Any] = []
        if not collect(list(arguments), leaves):
            return None
        x = np.empty(size)
        for leaf, place in zip(leaves, places, strict=True):
            x[place] = leaf.reshape(-1) if type(leaf) is np.ndarray else leaf
        return x

    return read_arrays if any(shapes) else read


def _places(shapes: Sequence[tuple[int, ...]]) -> list[slice]:
    """Return where leaves are in the vector."""
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]


def _collector(structure: Structure, expected: Any) -> _Collector | None:
    """Return what collects the leaves of trees of a structure; None where nothing does."""
    kind, names = structure.kind, list(structure.names)
    if kind is None:
        return _collector_of_leaf(*next(expected))
    if kind is type(None):
        return lambda tree, leaves: tree is None
    if kind not in (list, tuple, dict):
        return None
    count = len(structure.children)
    if count and all(child.kind is None for child in structure.children):
        those = [next(expected) for _ in range(count)]
        kinds = [each for each, _ in those]
        if kind is not dict and not any(each in _STATICS or what for each, what in those):

            def collect_numbers(tree: Any, leaves: list[Any]) -> bool:
                # Of a copy: another thread may change the list meanwhile.
                own = tuple(tree) if type(tree) is kind else ()
                if list(map(type, own)) != kinds:
                    return False
                leaves += own
                return True

            return collect_numbers
        expected = iter(those)
    collectors = [_collector(child, expected) for child in structure.children]
    if None in collectors:
        return None
    every: Any = collectors

    def collect(tree: Any, leaves: list[Any]) -> bool:
        if type(tree) is not kind or len(tree) != count:
            return False
        if kind is dict:
            if list(tree) != names:
                return False
            tree = tree.values()
        children = tuple(tree)
        if len(children) != count:  # changed meanwhile
            return False
        return all(each(child, leaves) for each, child in zip(every, children, strict=True))

    return collect


def _collector_of_leaf(kind: type, what: Any) -> _Collector:
    if kind is np.ndarray:

        def collect_array(leaf: Any, leaves: list[Any]) -> bool:
            if type(leaf) is not kind or leaf.dtype is not _FLOAT64 or leaf.shape != what:
                return False
            leaves.append(leaf)
            return True

        return collect_array
    if kind in _STATICS:
        return lambda leaf, leaves: type(leaf) is kind and leaf == what

    def collect_number(leaf: Any, leaves: list[Any]) -> bool:
        if type(leaf) is not kind:
            return False
        leaves.append(leaf)
        return True

    return collect_number
