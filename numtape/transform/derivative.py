"""Derivative tapes: a tape walked forward or backward, its rules recorded as a new tape.

The new tape begins with the old one's instructions, so it gives the value as well, unless
`with_value` is false. Whatever turns out not to be needed is removed at the end. How it is done
is in `derivation.py`.
"""

import numpy as np

from numtape.tape.flat import FlatTape
from numtape.trace.recorder import Slots
from numtape.transform.derivation import Derivation

__all__ = ["adjoint", "jacobian_by_columns", "jacobian_by_rows", "tangent"]


def tangent(tape: FlatTape, with_value: bool = True) -> FlatTape:
    """Return a tape from ``(x, dx)`` to ``(y, dy)``: the value and its derivative along dx.

    Its cost is about two to three times that of `tape`.
    """
    derivation = Derivation(tape, extra_inputs=tape.inputs)
    seeds = np.arange(tape.inputs + 1, 2 * tape.inputs + 1)
    tangents = derivation.forward(np.arange(tape.inputs), seeds[:, None])
    return derivation.finish(tangents[:, 0], with_value)


def adjoint(tape: FlatTape, inputs: Slots | None = None, with_value: bool = True) -> FlatTape:
    """Return a tape from ``(x, w)`` to ``(y, w J)``: the value and the outputs' weighted gradient.

    That is by all inputs unless some are chosen. It costs about two to four times what `tape` does.
    """
    derivation = Derivation(tape, extra_inputs=len(tape.outputs))
    seeds = np.arange(tape.inputs + 1, tape.inputs + 1 + len(tape.outputs))
    adjoints = derivation.backward(
        np.arange(tape.inputs) if inputs is None else inputs, seeds[:, None]
    )
    return derivation.finish(adjoints[:, 0], with_value)


def jacobian_by_columns(tape: FlatTape, inputs: Slots, with_value: bool = True) -> FlatTape:
    """Return a tape from x to ``(y, J)``, forward: J by the chosen inputs, row by row.

    Costs about one tape for each input, less what is zero by structure.
    """
    derivation = Derivation(tape, extra_inputs=0)
    one = derivation.builder.constant(1.0)
    tangents = derivation.forward(inputs, np.eye(len(inputs), dtype=np.int64) * one)
    return derivation.finish(tangents.ravel(), with_value)


def jacobian_by_rows(tape: FlatTape, inputs: Slots, with_value: bool = True) -> FlatTape:
    """Return a tape from x to ``(y, J)``, backward: J by the chosen inputs, row by row.

    Costs about one to three tapes for each output. With one output, this is
    the tape of value and gradient.
    """
    derivation = Derivation(tape, extra_inputs=0)
    one = derivation.builder.constant(1.0)
    adjoints = derivation.backward(inputs, np.eye(len(tape.outputs), dtype=np.int64) * one)
    return derivation.finish(adjoints.T.ravel(), with_value)
