"""What a recorded function returned: the tree that a tape's outputs are put back into."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import OutputError
from numtape.functions.selection import cut
from numtape.functions.trees import Structure

__all__ = ["TRACED", "Result", "check_float", "check_scalar"]

Floats = npt.NDArray[np.float64]


class TRACED:
    """Stands among the leaves of an auxiliary result for one that is an output of the tape."""


@dataclass(frozen=True)
class Result:
    """The tree that a recorded function returned.

    Attributes
    ----------
    structure : Structure
    shapes : tuple
        Of each leaf.
    aux : Structure or None
        Of the auxiliary result, whose traced leaves are the last outputs.
    aux_leaves : tuple
        Leaves of the auxiliary result; `TRACED` in the place of a traced one.
    aux_shapes : tuple
        Of its traced leaves.
    counts : bool
        Whether the only leaf is an integer or a bool, and no float.
    """

    structure: Structure
    shapes: tuple[tuple[int, ...], ...]
    aux: Structure | None = None
    aux_leaves: tuple[Any, ...] = ()
    aux_shapes: tuple[tuple[int, ...], ...] = ()
    counts: bool = False

    @property
    def size(self) -> int:
        """Count the outputs, without the auxiliary ones."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def aux_size(self) -> int:
        """Count the auxiliary outputs."""
        return sum(math.prod(shape) for shape in self.aux_shapes)

    def build(self, outputs: Any) -> Any:
        """Build the tree with these outputs."""
        if self.structure.kind is None and self.aux is None:
            shape = self.shapes[0]
            return outputs.reshape(shape) if shape else outputs.item()
        return self.structure.build(cut(outputs, self.shapes))

    def build_aux(self, outputs: Any) -> Any:
        """Build the auxiliary tree with the outputs after the first `size`."""
        assert self.aux is not None
        traced = iter(cut(outputs[self.size :], self.aux_shapes))
        return self.aux.build(next(traced) if leaf is TRACED else leaf for leaf in self.aux_leaves)


def check_scalar(result: Result) -> None:
    """Raise unless a function returns one float."""
    if result.shapes != ((),):
        raise OutputError(
            f"the function returns {result.structure} of shapes {result.shapes}: a "
            "gradient is of a function that returns one number. Use jacobian, or return a sum",
            code="not-a-scalar",
        )
    check_float(result)


def check_float(result: Result) -> None:
    """Raise where what a function returns is an integer or a bool."""
    if result.counts:
        raise OutputError(
            "the function returns an integer or a bool: a gradient is of a float, and what "
            "counts or compares has slope 0 wherever it has one. Return 1.0 * value if zeros "
            "are meant; else compute the result with floats",
            code="not-a-float",
        )
