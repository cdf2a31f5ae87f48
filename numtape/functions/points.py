"""Arguments of many points: which leaves have leading axes, and which all points share.

A leaf of a call varies where its shape is some leading axes and then the shape of
one point's leaf; where it has one point's shape, all points share it. The leading
axes of all leaves are broadcast against each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.signature import (
    Signature,
    is_foreign,
    is_integer,
    memory_key,
    read_call,
    static_text,
)
from numtape.functions.trees import Structure, flatten, shown
from numtape.trace.traced import Traced

__all__ = ["Points", "check_memory", "filled", "outputs_for", "read_points", "read_seeds"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Inputs of a tape at many points.

    Attributes
    ----------
    leading : tuple of int
        The leading axes.
    leaves : tuple of arrays
        For each traced leaf all its values: ``(count, *shape)`` where it varies.
    varies : tuple of bool
    """

    leading: tuple[int, ...]
    leaves: tuple[npt.NDArray[Any], ...]
    varies: tuple[bool, ...]

    @property
    def count(self) -> int:
        """Count the points."""
        return math.prod(self.leading)

    def shared_inputs(self) -> npt.NDArray[np.bool_]:
        """Return for each input of the tape whether all points share it."""
        pairs = zip(self.leaves, self.varies, strict=True)
        sizes = [math.prod(leaf.shape[varies:]) for leaf, varies in pairs]
        return np.repeat(~np.array(self.varies, bool), sizes)

    def shared(self) -> Floats:
        """Return the values of the shared inputs."""
        pairs = zip(self.leaves, self.varies, strict=True)
        parts = [np.ravel(leaf) for leaf, varies in pairs if not varies]
        return np.concatenate([np.zeros(0), *parts])

    def varying(self) -> list[npt.NDArray[Any]]:
        """Return the leaves that vary."""
        return [leaf for leaf, varies in zip(self.leaves, self.varies, strict=True) if varies]

    def at(self, number: int) -> Floats:
        """Return one point, as a vector."""
        pairs = zip(self.leaves, self.varies, strict=True)
        parts = [np.ravel(leaf[number] if varies else leaf) for leaf, varies in pairs]
        return np.concatenate([np.zeros(0), *parts]).astype(np.float64)

    def first(self, leaves: int) -> "Points":
        """Return the same points of the first leaves alone."""
        return Points(self.leading, self.leaves[:leaves], self.varies[:leaves])

    def with_more(self, other: "Points") -> "Points":
        """Return these inputs and then others, at the same points."""
        leading = _broadcast([self.leading, other.leading], "arguments and seeds")
        mine, others = self._spread(leading), other._spread(leading)
        return Points(leading, mine.leaves + others.leaves, mine.varies + others.varies)

    def _spread(self, leading: tuple[int, ...]) -> "Points":
        if leading == self.leading or not any(self.varies):
            return Points(leading, self.leaves, self.varies)
        pairs = zip(self.leaves, self.varies, strict=True)
        leaves = [
            _flat(leaf.reshape(self.leading + leaf.shape[1:]), self.leading, leading)
            if varies
            else leaf
            for leaf, varies in pairs
        ]
        return Points(leading, tuple(leaves), self.varies)


def read_points(signature: Signature, arguments: Sequence[Any], what: str = "arguments") -> Points:
    """Return the leaves of a call as points of a tape recorded under `signature`.

    Raises
    ------
    InputError
        Where structure, static values or shapes do not fit.
    """
    call = read_call(_with_floats(signature, arguments), keep_types=True)
    given, wanted = call.signature, signature
    if given.structure != wanted.structure:
        rule = (
            f"of structure {given.structure} were given, and {wanted.structure} is needed, an "
            f"entry for each argument, of shapes {shown(wanted.shapes)}"
        )
    elif given.has_statics_of(wanted):
        points = _points(call.inputs, wanted.traced_shapes, what)
        if points.count and wanted.memory is not None:
            leaves = zip(flatten(list(arguments))[0], wanted.shapes, strict=True)
            check_memory(wanted, [leaf for leaf, shape in leaves if shape is not None])
        return points
    else:
        pairs = zip(given.leaves(), wanted.leaves(), strict=True)
        number, place, got, key = next((*a, b) for a, (*_, b) in pairs if a[2] != b)
        rule = (
            f"with other static values were given: argument {number}{place} is {_text(got)}, and "
            f"{_text(key)} is needed"
        )
    if what != "arguments":
        raise InputError(
            f"{what} {rule}: they must be like the arguments. Pass a tuple with one for each, made "
            "of floats and arrays in the same way; static values stay as they are",
            code="wrong-structure",
        )
    raise InputError(
        f"{what} {rule}: a tape keeps the structure, shapes and static arguments of its "
        "recording, and takes leading axes for many points. Record another tape for these, or use "
        "numtape.grad and its like, which do so by themselves",
        code="wrong-structure",
    )


def _text(key: Any) -> str:
    return "a float or an array of floats" if key is None else static_text(key)


def check_memory(signature: Signature, leaves: Sequence[Any]) -> None:
    """Raise unless leaves, perhaps of many points, lie in memory as those of the recording did."""
    shapes = signature.traced_shapes
    ranks = [np.ndim(leaf) - len(shape) for leaf, shape in zip(leaves, shapes, strict=True)]
    if signature.memory is not None and memory_key(leaves, ranks) != signature.memory:
        raise InputError(
            "the function assigns to its arguments, and those given lie in memory otherwise than "
            "when it was recorded: other elements would change with them. Pass copies, x.copy(), "
            "where the recording had separate arrays in C order, or record at such arguments",
            code="shared-memory",
        )


def _with_floats(signature: Signature, arguments: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments with floats for integers, and values for labelled arrays."""
    leaves, structure = flatten(list(arguments))
    if structure != signature.structure:
        return arguments
    pairs = zip(leaves, signature.shapes, strict=True)
    made: list[Any] = structure.build(
        leaf if shape is None else _as_floats(leaf) for leaf, shape in pairs
    )
    return made


def _as_floats(leaf: Any) -> Any:
    if type(leaf) is float:
        return leaf
    if is_foreign(leaf):
        leaf = np.asarray(leaf)
    return np.asarray(leaf, np.float64) if is_integer(leaf) else leaf


def read_seeds(
    structure: Structure, shapes: Sequence[tuple[int, ...]], tree: Any, what: str
) -> Points:
    """Return a tree of seeds, of one shape a leaf or with leading axes."""
    leaves, found = flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Traced) and np.asarray(leaf).dtype.kind not in "fiub":
            raise InputError(
                f"{what} hold {shown(leaf)}: numtape differentiates real float64 code, and a seed "
                "must be a real number or an array of them. Convert it with .astype(float)",
                code="wrong-type",
            )
    if any(isinstance(leaf, Traced) for leaf in leaves):
        raise InputError(
            f"{what} {shown(tree)} hold traced values, and this point was recorded outside the "
            "function that is being recorded. Call numtape.vjp inside it",
            code="tape-inside",
        )
    if found != structure:
        raise InputError(
            f"{what} of structure {found} were given, and {structure} is needed: they must be a "
            "tree like the function's result. Pass one",
            code="wrong-structure",
        )
    return _points([np.asarray(leaf) for leaf in leaves], shapes, what)


def _points(
    leaves: Sequence[npt.NDArray[Any]], shapes: Sequence[tuple[int, ...]], what: str
) -> Points:
    axes: list[tuple[int, ...]] = []
    for leaf, shape in zip(leaves, shapes, strict=True):
        if leaf.shape[leaf.ndim - len(shape) :] != shape:
            raise InputError(
                f"{what} hold an array of shape {leaf.shape}, and one point has {shape} there: "
                "many points have leading axes before that shape. Pass such an array, or record "
                "another tape for this shape",
                code="wrong-structure",
            )
        axes.append(leaf.shape[: leaf.ndim - len(shape)])
    leading = _broadcast(axes, what)
    every = [
        _flat(leaf, own, leading) if own else leaf for leaf, own in zip(leaves, axes, strict=True)
    ]
    return Points(leading, tuple(every), tuple(bool(own) for own in axes))


def _broadcast(axes: Sequence[tuple[int, ...]], what: str) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*axes)
    except ValueError:
        raise InputError(
            f"{what} have the leading axes {axes}, which do not fit each other: they count the "
            "points. Pass as many points everywhere; what all points share needs no leading axes",
            code="wrong-structure",
        ) from None


def _flat(
    leaf: npt.NDArray[Any], own: tuple[int, ...], leading: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return a leaf with its leading axes broadcast, and made one; a view if possible."""
    shape = leaf.shape[len(own) :]
    if own != leading:
        leaf = np.broadcast_to(
            leaf.reshape((1,) * (len(leading) - len(own)) + leaf.shape), leading + shape
        )
    return leaf if len(leading) == 1 else leaf.reshape((math.prod(leading), *shape))


def outputs_for(
    structure: Structure,
    shapes: Sequence[tuple[int, ...]],
    leading: tuple[int, ...],
    out: Any,
    inputs: Sequence[npt.NDArray[Any]] = (),
) -> list[Floats]:
    """Return an array for each leaf of the result at all points: new, or of `out`, checked.

    `inputs` are read while these are written, so none of `out` may overlap them, or another.
    """
    wanted = [leading + shape for shape in shapes]
    if out is None:
        return [np.empty(shape) for shape in wanted]
    leaves, found = flatten(out)
    if found != structure:
        raise InputError(
            f"out= has the structure {found}, and the result has {structure}: it is written "
            f"straight into the arrays, each a float64 array of shape {wanted[0]} and so on. Pass "
            "a tree of arrays like the result",
            code="wrong-out",
        )
    for number, (leaf, shape) in enumerate(zip(leaves, wanted, strict=True)):
        fits = isinstance(leaf, np.ndarray) and leaf.shape == shape and leaf.dtype == np.float64
        if not fits:
            given = f"{leaf.dtype} of {leaf.shape}" if isinstance(leaf, np.ndarray) else repr(leaf)
            raise InputError(
                f"out= holds {given}, and the result there is a float64 array of shape {shape}: it "
                f"is written straight into it. Pass one, for example np.empty({shape})",
                code="wrong-out",
            )
        evenly = leaf.flags.c_contiguous or len(leading) == 1
        if not (evenly and leaf.flags.behaved and leaf.dtype.isnative):
            raise InputError(
                "out= holds an array that is read-only or not contiguous: the result is written "
                "straight into it. Pass a fresh one, or leave it out and assign the result",
                code="wrong-out",
            )
        shared = any(np.shares_memory(leaf, other) for other in leaves[:number])
        if shared or _meets_itself(leaf):
            raise InputError(
                f"out= holds an array of shape {shape} that shares memory with another, or has "
                "elements that share it: each part of the result is written straight into its "
                "place, and would overwrite another. Pass separate ones",
                code="wrong-out",
            )
        if any(np.shares_memory(leaf, array) for array in inputs):
            raise InputError(
                "out= holds an array whose memory an argument uses: the result is written straight "
                "into it, while arguments are still read. Pass a fresh one, or leave it out and "
                "assign the result",
                code="wrong-out",
            )
    return leaves


def filled(out: Any, result: Any) -> Any:
    """Return `out` with the result of one point written into it; the result where it is None."""
    if out is None:
        return result
    leaves, structure = flatten(result)
    targets = outputs_for(structure, tuple(map(np.shape, leaves)), (), out)
    for target, leaf in zip(targets, leaves, strict=True):
        target[...] = leaf
    return out


def _meets_itself(array: Floats) -> bool:
    """Return whether elements may share memory: a long step within the reach of shorter ones."""
    reach = 0
    pairs = zip(array.strides, array.shape, strict=True)
    for step, extent in sorted((abs(step), extent) for step, extent in pairs if extent > 1):
        if step < reach + array.itemsize:
            return array.size > 0
        reach += step * (extent - 1)
    return False
