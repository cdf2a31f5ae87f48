"""Specifications: which derivative of a flat tape is meant, and the tape of it.

Arguments and trees are not known here: inputs are places in a point, and outputs are numbers
one after the other. What users ask for is a `Derivation`, see `programs.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.sparse.pattern import Pattern
from numtape.tape.flat import FlatTape
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent

__all__ = [
    "ADJOINT",
    "GRADIENT",
    "TANGENT",
    "SparseSpecification",
    "Specification",
    "block_order",
    "derive",
]

Ints = npt.NDArray[np.int64]


class Specification(NamedTuple):
    """Which derivative of a flat tape is meant.

    Attributes
    ----------
    mode : {"forward", "reverse"}
    inputs : bytes, optional
        The places of the inputs to differentiate by, as int64; all of them by default.
    seeded : bool
        Whether it is the product of the Jacobian with a seed, which the derivative tape takes
        after its inputs; else it is the Jacobian, row by row.
    with_value : bool
        Whether the derivative tape gives the tape's outputs too, after the derivatives.
    blocks : pair of tuples of int, optional
        Of the Jacobian the rows of each leaf of the result, and the columns of each leaf that
        is differentiated by, where it is given block by block.
    is_tape : bool
        Whether users are to hold the derivative tape: it gives the tape's outputs first, and
        its derivatives are values of its own, which round as NumPy's do.
    """

    mode: str
    inputs: bytes | None = None
    seeded: bool = False
    with_value: bool = True
    blocks: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    is_tape: bool = False

    def inputs_of(self, tape: FlatTape) -> Ints:
        """Return the places of the inputs of a tape that are meant."""
        if self.inputs is None:
            return np.arange(tape.inputs)
        return np.frombuffer(self.inputs, np.int64)

    def seeds_of(self, tape: FlatTape) -> int:
        """Return how many seeds the Jacobian of a tape is computed for."""
        return len(self.inputs_of(tape)) if self.mode == "forward" else len(tape.outputs)


class SparseSpecification(NamedTuple):
    """Which sparse derivative of a flat tape is meant.

    Attributes
    ----------
    inputs : bytes
        The numbers of the inputs to differentiate by, as int64, in ascending order.
    mode : str, optional
        See `numtape.sparse.derivative`.
    pattern : Pattern, optional
        The structure, where it is known.
    is_symmetric : bool
        Whether the derivative is: the tape is that of a gradient.
    with_value : bool
        Whether the derivative tape gives the tape's outputs too, after the nonzeros.
    """

    inputs: bytes
    mode: str | None = None
    pattern: Pattern | None = None
    is_symmetric: bool = False
    with_value: bool = False


TANGENT = Specification("forward", seeded=True)
ADJOINT = Specification("reverse", seeded=True)
GRADIENT = Specification("reverse", with_value=False)  # of a tape of one output


def derive(tape: FlatTape, what: Specification) -> FlatTape:
    """Return the derivative tape that a specification means."""
    inputs, is_forward = what.inputs_of(tape), what.mode == "forward"
    if what.seeded and is_forward:
        derived = tangent(tape, what.with_value)
    else:
        backward = adjoint if what.seeded else jacobian_by_rows
        derived = (jacobian_by_columns if is_forward else backward)(tape, inputs, what.with_value)
    rows = len(tape.outputs) if what.with_value else 0
    values, derivatives = derived.outputs[:rows], derived.outputs[rows:]
    if what.blocks is not None:
        derivatives = derivatives[block_order(*what.blocks)]
    parts = (values, derivatives) if what.is_tape else (derivatives, values)
    return derived.giving(np.concatenate(parts))


def block_order(rows: Sequence[int], columns: Sequence[int]) -> Ints:
    """Return where the elements of a matrix, taken block by block, are in it row by row."""
    places = np.arange(sum(rows) * sum(columns)).reshape(sum(rows), sum(columns))
    bands = np.split(places, np.cumsum(rows)[:-1])
    parts = [np.split(band, np.cumsum(columns)[:-1], axis=1) for band in bands]
    return np.concatenate([np.zeros(0, np.int64), *(block.ravel() for p in parts for block in p)])
