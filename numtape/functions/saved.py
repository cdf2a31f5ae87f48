"""Tapes in files: the trees of arguments and results, as JSON beside the flat tape.

A tree's containers are named by their types. Dicts, lists and tuples are rebuilt by
themselves; named tuples, dataclasses and other containers are found by name among the
types that the caller of `read` gives, because to import them would run code.
"""

import base64
import dataclasses
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np

from numtape.errors import TapeError
from numtape.functions.result import TRACED, Result
from numtape.functions.signature import Signature, static_key
from numtape.functions.trees import Structure
from numtape.tape import container
from numtape.tape.columns import columns, from_columns
from numtape.tape.flat import FlatTape

__all__ = ["read", "write"]

_CONTAINERS: dict[str, type] = {
    kind.__name__: kind for kind in (dict, list, tuple, OrderedDict, type(None))
}
_LEAF = "*"
_TRACED = "traced"
_KINDS = "biufcSU"  # of types of arrays: numbers and strings, no objects


def write(
    path: str | os.PathLike[str], flat: FlatTape, signature: Signature, result: Result
) -> None:
    """Write a tape to a file, all or nothing."""
    header, arrays = columns(flat)
    header["arguments"] = {
        "tree": _tree(signature.structure),
        "shapes": signature.shapes,
        "statics": [_static(key) for key in signature.statics],
    }
    if signature.memory is not None:
        header["arguments"]["memory"] = signature.memory
    header["result"] = {"tree": _tree(result.structure), "shapes": result.shapes}
    if result.counts:
        header["result"]["counts"] = True
    if result.aux is not None:
        header["aux"] = {
            "tree": _tree(result.aux),
            "shapes": result.aux_shapes,
            "leaves": [
                _TRACED if leaf is TRACED else [_value(leaf, "the auxiliary result")]
                for leaf in result.aux_leaves
            ],
        }
    container.write(path, header, arrays)


def read(
    path: str | os.PathLike[str], types: Iterable[type] = (), limit: float | None = None
) -> tuple[FlatTape, Signature, Result]:
    """Return what a file holds, checked; see `numtape.load`."""
    header, arrays = container.read(path)
    try:
        return _read(header, arrays, _Types(types), limit)
    except RecursionError:
        raise _broken("trees that are nested too deeply") from None


def _read(
    header: Mapping[str, Any], arrays: Mapping[str, Any], types: "_Types", limit: float | None
) -> tuple[FlatTape, Signature, Result]:
    flat = from_columns(header, arrays, limit)
    arguments, result = _part(header, "arguments"), _part(header, "result")
    structure = _structure(arguments.get("tree"), types)
    if structure.kind is not list:
        raise _broken("arguments that are no list")
    shapes = _shapes(arguments, structure)
    statics = tuple(_static_key(each) for each in _entries(arguments, "statics"))
    if len(statics) != shapes.count(None):
        raise _broken(f"{len(statics)} static arguments for {shapes.count(None)} places")
    counts = [_leaves(child) for child in structure.children]
    argument = [number for number, count in enumerate(counts) for _ in range(count)]
    owners = tuple(a for a, shape in zip(argument, shapes, strict=True) if shape is not None)
    memory = _memory(arguments["memory"]) if "memory" in arguments else None
    signature = Signature(structure, shapes, statics, owners, memory=memory)
    outputs = _structure(result.get("tree"), types)
    output_shapes = _traced(_shapes(result, outputs))
    made = Result(outputs, output_shapes, counts=bool(result.get("counts")))
    if "aux" in header:
        made = Result(outputs, output_shapes, *_aux(header, types), made.counts)
    held = signature.size, made.size + made.aux_size
    if held != (flat.inputs, len(flat.outputs)):
        raise _broken(
            f"trees of {held[0]} and {held[1]} numbers for {flat.inputs} inputs and "
            f"{len(flat.outputs)} outputs"
        )
    return flat, signature, made


def _memory(entries: Any) -> tuple[tuple[Any, ...], ...]:
    """Return how arguments lie in memory: only compared with how those of a call do."""
    try:
        return tuple(
            tuple(tuple(map(index, x)) if isinstance(x, list) else index(x) for x in entry)
            for entry in entries
        )
    except TypeError:
        raise _broken(f"arguments that lie in memory as {entries!r}") from None


def _aux(
    header: Mapping[str, Any], types: "_Types"
) -> tuple[Structure, tuple[Any, ...], tuple[tuple[int, ...], ...]]:
    """Return the auxiliary result's tree, leaves and shapes."""
    aux = _part(header, "aux")
    tree = _structure(aux.get("tree"), types)
    leaves = [_aux_leaf(entry) for entry in _entries(aux, "leaves")]
    aux_shapes = _traced(tuple(_shape(entry) for entry in _entries(aux, "shapes")))
    traced = sum(leaf is TRACED for leaf in leaves)
    if len(leaves) != _leaves(tree) or len(aux_shapes) != traced:
        raise _broken(f"an auxiliary result of {len(leaves)} leaves, {traced} of them traced")
    return tree, tuple(leaves), aux_shapes


def _broken(what: str) -> TapeError:
    return TapeError(
        f"the file has {what}: it was damaged, or not written by numtape. Save the tape again from "
        "where it was recorded"
    )


def _part(header: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = header.get(name)
    if not isinstance(part, dict):
        raise _broken(f"{part!r} as {name!r} in its header")
    return part


def _entries(part: Mapping[str, Any], name: str) -> list[Any]:
    entries = part.get(name)
    if not isinstance(entries, list):
        raise _broken(f"{entries!r} as {name!r} in its header")
    return entries


def _shape(entry: Any) -> tuple[int, ...] | None:
    """Return the shape of a traced leaf; None for a static one."""
    if entry is None:
        return None
    if not isinstance(entry, list) or not all(type(n) is int and 0 <= n < 2**31 for n in entry):
        raise _broken(f"{entry!r} as a shape")
    if len(entry) > 64:
        raise _broken(f"a shape of {len(entry)} axes")
    return tuple(entry)


def _shapes(part: Mapping[str, Any], structure: Structure) -> tuple[tuple[int, ...] | None, ...]:
    shapes = tuple(_shape(entry) for entry in _entries(part, "shapes"))
    if len(shapes) != _leaves(structure):
        raise _broken(f"{len(shapes)} shapes for {_leaves(structure)} leaves")
    return shapes


def _traced(shapes: tuple[tuple[int, ...] | None, ...]) -> tuple[tuple[int, ...], ...]:
    found = tuple(shape for shape in shapes if shape is not None)
    if len(found) != len(shapes):
        raise _broken("an output without a shape")
    return found


def _leaves(structure: Structure) -> int:
    if structure.kind is None:
        return 1
    return sum(map(_leaves, structure.children))


# Trees.


def _tree(structure: Structure) -> Any:
    """Write a tree as JSON: ``"*"`` for a leaf, else the type's name, names and children."""
    if structure.kind is None:
        return _LEAF
    names = [_value(name, "a key") for name in structure.names]
    return [structure.kind.__name__, names, [_tree(child) for child in structure.children]]


def _structure(entry: Any, types: "_Types") -> Structure:
    if entry == _LEAF:
        return Structure(None)
    if not (isinstance(entry, list) and [type(part) for part in entry] == [str, list, list]):
        raise _broken(f"{entry!r} as a tree")
    name, keys, entries = entry
    names = tuple(_decoded(key) for key in keys)
    children = tuple(_structure(child, types) for child in entries)
    kind = types.find(name, names, len(children))
    return Structure(kind, names, children)


class _Types:
    """The types of containers that a file may name."""

    def __init__(self, given: Iterable[type]) -> None:
        self._given: dict[str, type] = {}
        for kind in given:
            if not isinstance(kind, type):
                raise TapeError(f"types holds {kind!r}, which is no class: give the classes")
            if self._given.setdefault(kind.__name__, kind) is not kind:
                raise TapeError(
                    f"types holds two classes of the name {kind.__name__!r}: a file names a class "
                    "by its name alone. Give the one that the tape was recorded with"
                )

    def find(self, name: str, names: tuple[Any, ...], children: int) -> type:
        """Return the type of a name, if it fits these keys or fields and number of children."""
        kind = _CONTAINERS.get(name) or self._given.get(name)
        if kind is None:
            raise TapeError(
                f"the tape was recorded with the class {name!r} among its arguments or results, "
                "and to import it could run code: pass the class itself, as in "
                f"numtape.load(path, types=[{name}])"
            )
        if issubclass(kind, dict):
            expected: tuple[Any, ...] | None = names
            fits = len(set(names)) == children == len(names)
        elif dataclasses.is_dataclass(kind):
            expected = tuple(field.name for field in dataclasses.fields(kind))
            fits = names == expected and len(names) == children
        else:
            expected = getattr(kind, "_fields", None)
            fits = not names and children == (children if expected is None else len(expected))
            fits = fits and issubclass(kind, list | tuple | type(None))
            fits = fits and not (kind is type(None) and children)
        if not fits:
            raise TapeError(
                f"the tape was recorded with {children} entries {names or ''} of {name!r}, and the "
                f"class of that name has {expected}: load it with the class as it was then"
            )
        return kind


# Static arguments, keys and auxiliary leaves: values that JSON can say, without code.


def _value(value: Any, what: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if kind is bytes:
        return {"bytes": _text(value)}
    if kind is tuple:
        return {"tuple": [_value(each, what) for each in value]}
    is_array = kind is np.ndarray
    if (is_array or isinstance(value, np.generic)) and value.dtype.kind in _KINDS:
        content = [value.dtype.str, list(value.shape), _text(value.tobytes())]
        return {"array" if is_array else "scalar": content}
    raise TapeError(
        f"{what} holds {value!r} of type {kind.__name__}, which cannot be saved: files hold "
        "numbers, strings, bytes, tuples and arrays, no code. Close over it in the function "
        "instead of passing it, or pickle the tape"
    )


def _decoded(entry: Any) -> Any:
    if entry is None or type(entry) in (bool, int, str):
        return entry
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, content),) = entry.items()
        try:
            if name == "float":
                return float.fromhex(content)
            if name == "complex":
                real, imaginary = content
                return complex(float.fromhex(real), float.fromhex(imaginary))
            if name == "bytes":
                return base64.b64decode(content, validate=True)
            if name == "tuple" and isinstance(content, list):
                return tuple(_decoded(each) for each in content)
            if name in ("array", "scalar"):
                array = _array(*content)
                return array if name == "array" else array[()]
        except TapeError:
            raise
        except (TypeError, ValueError, OverflowError):
            pass
    raise _broken(f"{entry!r} as a value")


def _array(kind: str, shape: Sequence[int], text: str) -> Any:
    if np.dtype(kind).kind not in _KINDS:
        raise ValueError(kind)
    return np.frombuffer(base64.b64decode(text, validate=True), kind).reshape(shape).copy()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _static(key: Any) -> Any:
    """Return the value of a static argument from its key in a signature."""
    if len(key) == 2:
        return _value(key[1], "a static argument")
    dtype, shape, data = key
    return _value(np.frombuffer(data, dtype).reshape(shape), "a static argument")


def _static_key(entry: Any) -> Any:
    return static_key(_decoded(entry), 0)


def _aux_leaf(entry: Any) -> Any:
    if entry == _TRACED:
        return TRACED
    if not isinstance(entry, list) or len(entry) != 1:
        raise _broken(f"{entry!r} among its auxiliary leaves")
    return _decoded(entry[0])
