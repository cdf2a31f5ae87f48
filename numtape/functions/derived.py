"""Derivative tapes of tapes that have trees of arguments and results.

The transforms work on flat tapes; here their outputs are ordered as the leaves
of a tree, and a signature and result are found for them. Each function gives
what a `Tape` is made of.
"""

import numpy as np

from numtape.errors import InputError
from numtape.functions.result import Result
from numtape.functions.selection import Selection
from numtape.functions.signature import Signature, static_text
from numtape.functions.trees import Structure, flatten
from numtape.tape.flat import FlatTape
from numtape.transform.derivative import (
    adjoint,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)

__all__ = ["derived_by_columns", "derived_by_rows", "product_by_columns", "product_by_rows"]

Parts = tuple[FlatTape, Signature, Result]


def derived_by_columns(
    flat: FlatTape, signature: Signature, result: Result, selection: Selection
) -> Parts:
    """The tape of value and Jacobian, forward."""
    return _jacobian(jacobian_by_columns(flat, selection.inputs), signature, result, selection)


def derived_by_rows(
    flat: FlatTape, signature: Signature, result: Result, selection: Selection
) -> Parts:
    """The tape of value and Jacobian, backward."""
    return _jacobian(jacobian_by_rows(flat, selection.inputs), signature, result, selection)


def _jacobian(
    derived: FlatTape, signature: Signature, result: Result, selection: Selection
) -> Parts:
    rows, columns = result.size, len(selection.inputs)
    values, matrix = derived.outputs[:rows], derived.outputs[rows:].reshape(rows, columns)
    blocks = selection.jacobian(matrix, result.shapes)
    leaves, structure = flatten(result.structure.build(blocks))
    outputs = np.concatenate([values, *(np.ravel(leaf) for leaf in leaves)])
    pair = Structure(tuple, (), (result.structure, structure))
    shapes = (*result.shapes, *(np.shape(leaf) for leaf in leaves))
    return derived.changed(outputs=outputs.astype(np.int64)), signature, Result(pair, shapes)


def product_by_columns(flat: FlatTape, signature: Signature, result: Result) -> Parts:
    """The tape from arguments and tangents to value and derivative."""
    _only_floats(signature)
    count = len(signature.structure.children)
    twice = Signature(
        Structure(list, (), signature.structure.children * 2),
        signature.shapes * 2,
        (),
        (*signature.owners, *(owner + count for owner in signature.owners)),
    )
    pair = Structure(tuple, (), (result.structure,) * 2)
    return tangent(flat), twice, Result(pair, result.shapes * 2)


def product_by_rows(flat: FlatTape, signature: Signature, result: Result) -> Parts:
    """The tape from arguments and cotangents to value and gradients."""
    _only_floats(signature)
    children = signature.structure.children
    more = Signature(
        Structure(list, (), (*children, result.structure)),
        signature.shapes + result.shapes,
        (),
        signature.owners + (len(children),) * len(result.shapes),
    )
    pair = Structure(tuple, (), (result.structure, Structure(tuple, (), children)))
    return adjoint(flat), more, Result(pair, result.shapes + signature.traced_shapes)


def _only_floats(signature: Signature) -> None:
    for number, place, key in signature.leaves():
        if key is not None:
            raise InputError(
                f"argument {number}{place} is {static_text(key)}, which is static, and a seeded "
                "derivative tape takes a seed for each argument: all must be floats. Close over "
                "the static ones with a lambda or functools.partial, and record that",
                code="not-differentiable",
            )
