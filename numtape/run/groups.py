"""Groups of vector instructions, as they are written down as one function.

A group goes through its rows by tiles; in a tile each *nest* of loops does some of its *members*.
What members are is here, and which rows of the table may be members. Which of them make a group
is decided in `fusion.py`, and `nests.py` writes it.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from numtape.ops.table import ROWS
from numtape.run.emitter import functions_called, has_vector_forms

__all__ = ["Group", "Member", "Nest", "Operand", "expression_of", "split"]


@dataclass(frozen=True)
class Operand:
    """What a member reads.

    Attributes
    ----------
    source : int
        The member whose result it is, by its number in the group; -1 for memory.
    base : int
        The place of the first element, or where in a row of the source's result it is.
    strides : tuple of int
        Over the member's extents.
    """

    source: int
    base: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Member:
    """An instruction of a group.

    Attributes
    ----------
    opcode : int
        The row that it applies, or reduces by.
    reduces : bool
    exact : bool
        Whether it rounds as NumPy does.
    extents : tuple of int
        What it iterates over; the rows come first.
    operands : tuple of Operand
    strides : tuple of int
        Where its results are, over the extents; 0 where it reduces.
    width : int
        How many results a row has; 0 where there is one set of results for all rows.
    size : int
        How many results there are.
    place : int
        Where they are kept, if they are.
    run : int
        How many elements one after the other NumPy's loop adds up, for a sum whose last
        axis is one of those that are added up; else 0.
    """

    opcode: int
    reduces: bool
    exact: bool
    extents: tuple[int, ...]
    operands: tuple[Operand, ...]
    strides: tuple[int, ...]
    width: int
    size: int
    place: int
    run: int = 0


@dataclass(frozen=True)
class Nest:
    """Members, by number, that go through the same elements: `inner` are a row's extents."""

    inner: tuple[int, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """What one function does.

    Attributes
    ----------
    rows, tile : int
        How many rows there are, and how many make a tile.
    members : tuple of Member
    nests : tuple of Nest
        In the order in which they run.
    kept : frozenset of int
        The members whose results are to be in memory in the end.
    passed_on : frozenset of int
        Those whose results other nests read.
    """

    rows: int
    tile: int
    members: tuple[Member, ...]
    nests: tuple[Nest, ...]
    kept: frozenset[int]
    passed_on: frozenset[int]


@cache
def expression_of(opcode: int, exact: bool) -> ast.expr | None:
    """Return what a row is in a nest; None where only its ufunc's loop can run it."""
    row = ROWS[opcode]
    text = row.primal if exact else row.vector or row.primal
    expression = None if text is None else ast.parse(text, mode="eval").body
    if expression is None or not functions_called(expression):
        return expression
    return None if exact or not has_vector_forms(expression) else expression


def split(
    extents: Sequence[int], strides: Sequence[int], inner: Sequence[int]
) -> tuple[int, ...] | None:
    """Return strides over finer extents, the given ones cut up; None where they are not."""
    found: list[int] = []
    rest = list(inner)
    for extent, stride in zip(reversed(extents), reversed(strides), strict=True):
        done = 1
        while done < extent:
            if not rest or extent % (done * rest[-1]):
                return None
            found.append(stride * done)
            done *= rest.pop()
    return None if rest else tuple(reversed(found))
