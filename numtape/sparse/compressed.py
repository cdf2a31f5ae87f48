"""Compressed derivatives: a tape of the nonzeros of a Jacobian, by colours.

Columns of one colour have no row in common, so one tangent in their sum has all their nonzeros;
likewise adjoints for rows. The seeds are constants, 0 and 1, and what is zero by structure is no
instruction. Of each tangent only the nonzeros are outputs; what they do not need is removed.
"""

import numpy as np
import numpy.typing as npt

from numtape.tape.flat import FlatTape
from numtape.transform.derivation import Derivation

__all__ = ["by_columns", "by_rows", "finished"]

Ints = npt.NDArray[np.int64]


def by_columns(
    tape: FlatTape, inputs: Ints, colours: Ints, rows: Ints, own: Ints, with_value: bool
) -> FlatTape:
    """Return a tape of nonzeros, forward.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        The numbers of the inputs that are differentiated by.
    colours : int64 array
        Of each of these.
    rows, own : int64 array
        For each nonzero the output and the colour that it is read from.
    with_value : bool
        Whether the tape's own outputs follow.

    Returns
    -------
    FlatTape
        Its outputs are the nonzeros. It takes about as long to make as one tangent for each colour.
    """
    derivation = Derivation(tape, extra_inputs=0)
    tangents = derivation.forward(inputs, _seeds(derivation, colours))
    return finished(derivation, tangents[rows, own], with_value)


def by_rows(
    tape: FlatTape, inputs: Ints, colours: Ints, columns: Ints, own: Ints, with_value: bool
) -> FlatTape:
    """Return a tape of nonzeros, backward.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        The numbers of the inputs that are differentiated by.
    colours : int64 array
        Of each output.
    columns, own : int64 array
        For each nonzero the column, and the colour that it is read from.
    with_value : bool
        Whether the tape's own outputs follow.

    Returns
    -------
    FlatTape
        Its outputs are the nonzeros. It takes about as long to make as one adjoint for each colour.
    """
    derivation = Derivation(tape, extra_inputs=0)
    adjoints = derivation.backward(inputs, _seeds(derivation, colours))
    return finished(derivation, adjoints[columns, own], with_value)


def _seeds(derivation: Derivation, colours: Ints) -> Ints:
    """Return the slots of seeds: in a column for each colour, 1 for all that have it."""
    seeds = np.zeros((len(colours), int(colours.max(initial=-1)) + 1), np.int64)
    seeds[np.arange(len(colours)), colours] = derivation.builder.constant(1.0)
    return seeds


def finished(derivation: Derivation, nonzeros: Ints, with_value: bool) -> FlatTape:
    """Return the tape of some nonzeros, and then the old outputs, if wanted.

    Slots of 0 stand for what the structure has and partials have not.
    """
    missing = nonzeros == 0
    if missing.any():
        nonzeros = np.where(missing, derivation.builder.constant(0.0), nonzeros)
    tape = derivation.finish(nonzeros, with_value)
    return tape.giving(np.roll(tape.outputs, len(nonzeros))) if with_value else tape
