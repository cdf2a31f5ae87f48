"""Which inputs of a tape are differentiated by, and their derivatives as trees."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.signature import Signature, differentiated, not_differentiable
from numtape.functions.trees import NONE, Structure

__all__ = ["Selection", "as_it_is", "cut", "everything", "select"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The inputs chosen by argnums: the columns of a Jacobian.

    Attributes
    ----------
    inputs : int64 array
        Their places in the point.
    shapes : tuple
        Of the leaves that the columns make up, in order.
    structures : tuple of Structure
        Of the chosen arguments' derivatives.
    alone : bool
        Whether argnums was one number, whose tree is then not put in a tuple.
    """

    inputs: npt.NDArray[np.int64]
    shapes: tuple[tuple[int, ...], ...]
    structures: tuple[Structure, ...]
    alone: bool

    @property
    def is_one_leaf(self) -> bool:
        """Return whether the derivative by them is one array, in no container."""
        return self.alone and self.structures[0].kind is None

    @property
    def structure(self) -> Structure:
        """Return the structure of the derivatives."""
        return self.structures[0] if self.alone else Structure(tuple, (), self.structures)

    @property
    def layout(self) -> Callable[[Floats], Any]:
        """Return what puts a vector of derivatives by the chosen inputs into the tree of `trees`.

        The tree may use the vector's memory.
        """
        if self.is_one_leaf:
            shape = self.shapes[0]
            if len(shape) == 1:
                return as_it_is
            return lambda vector: vector.reshape(shape) if shape else vector.item()
        if any(self.shapes):
            return lambda vector: self.trees(cut(vector, self.shapes))
        only = self.structures[0]
        are_leaves = all(child.kind is None for child in only.children)
        if self.alone and are_leaves and only.kind is list:
            return lambda vector: vector.tolist()
        if self.alone and are_leaves and only.kind is dict:
            return lambda vector: dict(zip(only.names, vector.tolist(), strict=True))
        if not self.alone and all(structure.kind is None for structure in self.structures):
            return lambda vector: tuple(vector.tolist())
        return lambda vector: self.trees(vector.tolist())

    def trees(self, leaves: Sequence[Any]) -> Any:
        """Return the tree, or trees, of the chosen arguments with these leaves."""
        if self.is_one_leaf:
            return leaves[0]
        remaining = iter(leaves)
        trees = tuple(structure.build(remaining) for structure in self.structures)
        return trees[0] if self.alone else trees


def select(signature: Signature, argnums: int | Sequence[int]) -> Selection:
    """Return the selection meant by argnums.

    Raises
    ------
    InputError
        Where an argument does not exist, or holds anything but floats.
    """
    structures = signature.derivative_structures
    numbers = differentiated(argnums, len(structures))
    for number, place, key in signature.leaves():
        if key is not None and number in numbers:
            raise not_differentiable(number, place, key)
    chosen: list[npt.NDArray[np.int64]] = []
    shapes: list[tuple[int, ...]] = []
    for number in numbers:
        start, found = 0, False
        for owner, shape in zip(signature.owners, signature.traced_shapes, strict=True):
            stop = start + math.prod(shape)
            if owner == number:
                chosen.append(np.arange(start, stop))
                shapes.append(shape)
                found = True
            start = stop
        if not found:
            raise InputError(
                f"argument {number} has no float in it, and the derivative by it was asked for: "
                "only floats and float arrays have derivatives. Convert it to float, or choose "
                "other argnums",
                code="not-differentiable",
            )
    return Selection(
        np.concatenate(chosen),
        tuple(shapes),
        tuple(structures[number] for number in numbers),
        isinstance(argnums, int),
    )


def as_it_is(vector: Floats) -> Floats:
    """Return a vector as its own tree."""
    return vector


def everything(signature: Signature) -> Selection:
    """Return the selection of all inputs: a tree for each argument, None for static ones."""
    owners = set(signature.owners)
    structures = signature.derivative_structures
    return Selection(
        np.arange(signature.size),
        signature.traced_shapes,
        tuple(each if k in owners else NONE for k, each in enumerate(structures)),
        False,
    )


def cut(flat: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Cut a flat vector, which may be traced, into arrays; scalars where the shape is ()."""
    leaves: list[Any] = []
    start = 0
    for shape in shapes:
        stop = start + math.prod(shape)
        part = flat[start:stop]
        leaves.append(part.reshape(shape) if shape else part.item())
        start = stop
    return leaves
