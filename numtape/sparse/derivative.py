"""Sparse derivatives of a tape: which way is taken, and why.

A sparse derivative is a tape whose outputs are the nonzeros in CSR order. There are three ways to
make one. *Entries* are accumulated, without colours, forward (`accumulated.py`) or backward
(`backward.py`): for tapes of arrays. Tangents or adjoints of colours (`compressed.py`), *forward*
or *reverse*, do for all tapes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.sparse.accumulated import accumulated
from numtape.sparse.backward import accumulated_backward
from numtape.sparse.compressed import by_columns, by_rows
from numtape.sparse.dependencies import dependencies
from numtape.sparse.entries import Entries, NotThisWayError
from numtape.sparse.pattern import Colouring, Pattern
from numtape.tape.flat import VECTOR, FlatTape
from numtape.transform.derivative import adjoint, tangent
from numtape.transform.unrolling import unrolled

__all__ = [
    "MODES",
    "Seeds",
    "SparseDerivative",
    "check_sparse_mode",
    "jacobian_pattern",
    "sparse_jacobian",
]

Ints = npt.NDArray[np.int64]

MODES = ("entries", "forward", "reverse")

# Beyond so many scalar instructions, which accumulation walks one by one, colours are better.
_MOST_SCALARS = 2000

# Nonzeros that take so many times the function's own work are accumulated the other way too, to
# see which is cheaper.
_LITTLE = 2.5

# Loops of so many instructions in all are written out: then their steps' zeros cost nothing.
_LONGEST = 300_000

# Beyond so many slots for all colours, vector instructions, or colours of a loop, one tape of all
# nonzeros takes too long to make; that of one colour is run for each.
_MOST_SLOTS, _MOST_VECTORS, _FEW_COLOURS = 50_000_000, 20_000, 16

# An adjoint costs about so many tangents.
_REVERSE = 1.5


@dataclass(frozen=True)
class Seeds:
    """The seeds that a tape is run for, and where nonzeros are in what it gives.

    Attributes
    ----------
    seeds : float64 array (colours, size)
    places : int64 array
        For each nonzero, its place in the results of all colours, one after the other.
    """

    seeds: npt.NDArray[np.float64]
    places: Ints


@dataclass(frozen=True)
class SparseDerivative:
    """A Jacobian or Hessian as a tape of its nonzeros.

    Attributes
    ----------
    pattern : Pattern
    tape : FlatTape
        Its outputs are the nonzeros in the order of the pattern; or, with `seeds`, a derivative
        along a seed, which it takes after the inputs.
    mode : {"entries", "forward", "reverse"}
        Which way it was made.
    colouring : Colouring or None
        What the seeds were, but for "entries".
    reason : str
        Why this way, in a line.
    seeds : Seeds, optional
        What the tape is run for, where one tape of all nonzeros would be too long.
    """

    pattern: Pattern
    tape: FlatTape
    mode: str
    colouring: Colouring | None
    reason: str
    seeds: Seeds | None = None

    def __str__(self) -> str:
        rows, columns = self.pattern.shape
        return (
            f"{rows} x {columns}, {self.pattern.nnz} nonzeros, {self.tape.instructions} "
            f"instructions, mode {self.mode!r}: {self.reason}"
        )


def check_sparse_mode(mode: str | None) -> None:
    """Raise where a mode is none of those that there are."""
    if mode is not None and mode not in MODES:
        raise InputError(
            f"mode={mode!r} was given with sparse: it must be 'entries' (nonzeros accumulated "
            "forward), 'forward' (a tangent for each colour of columns), 'reverse' (an adjoint for "
            "each colour of rows) or None (the cheapest)",
            code="wrong-option",
        )


def jacobian_pattern(tape: FlatTape, inputs: Ints) -> Pattern:
    """Return the structure of a tape's Jacobian, with a column for each of some inputs."""
    indptr, indices = dependencies(tape)
    shape = len(tape.outputs), len(inputs)
    if np.array_equal(inputs, np.arange(tape.inputs)):
        return Pattern(shape, indptr, indices)
    rows = np.repeat(np.arange(len(tape.outputs)), np.diff(indptr))
    place = np.full(tape.inputs, -1)
    place[inputs] = np.arange(len(inputs))
    kept = place[indices] >= 0
    return Pattern.from_coo(rows[kept], place[indices[kept]], shape)


def sparse_jacobian(
    tape: FlatTape,
    inputs: Ints,
    mode: str | None = None,
    pattern: Pattern | None = None,
    is_symmetric: bool = False,
    with_value: bool = False,
) -> SparseDerivative:
    """Return a tape's Jacobian by some inputs as a tape of its nonzeros.

    Parameters
    ----------
    tape : FlatTape
    inputs : int64 array
        In ascending order.
    mode : str, optional
        One of `MODES`; by default "entries" where that can be, else the one of fewer colours.
    pattern : Pattern, optional
        The structure, where it is known; else it is found.
    is_symmetric : bool
        Whether the Jacobian is: that of a gradient by the same inputs.
    with_value : bool
        Whether the tape's own outputs follow the nonzeros.
    """
    check_sparse_mode(mode)
    if pattern is not None and pattern.shape != (len(tape.outputs), len(inputs)):
        raise InputError(
            f"a pattern of shape {pattern.shape} was given for a derivative of shape "
            f"{(len(tape.outputs), len(inputs))}: it must have a row for each output and a column "
            "for each input. Give that of this function, or sparse=True to have it found",
            code="wrong-pattern",
        )
    if tape.has_loops and tape.written_out <= _LONGEST:
        tape = unrolled(tape)
    if mode in (None, "entries"):
        entries, how = _entries(tape, inputs, is_symmetric, with_value)
        if entries is not None:
            shape = len(tape.outputs), len(inputs)
            return _of_entries(entries, how, pattern, is_symmetric, shape)
        if mode is not None:
            raise InputError(
                "mode='entries' was given: it is for functions of arrays, of which each number "
                "depends on few others, and this one has loops, many scalar operations, functions "
                "of matrices or long rows. Leave mode out to have colours used",
                code="wrong-option",
            )
    if pattern is None:
        pattern = jacobian_pattern(tape, inputs)
    return _by_colours(tape, inputs, mode, pattern, is_symmetric, with_value)


def _entries(
    tape: FlatTape, inputs: Ints, is_symmetric: bool, with_value: bool
) -> tuple[Entries | None, str]:
    """Return the nonzeros accumulated in the cheaper direction, and which that is.

    None where there is no rule for an instruction, or there are too many of them.
    """
    scalars = int((tape.code[:, 0] != VECTOR).sum())
    if scalars > _MOST_SCALARS or tape.has_loops:
        return None, ""
    options = inputs, is_symmetric, with_value
    best, how = None, ""
    for name, accumulate in (("forward", accumulated), ("backward", accumulated_backward)):
        try:
            found = accumulate(tape, *options)
        except NotThisWayError:
            continue
        if best is None or found.work < best.work:
            best, how = found, name
        if best.work <= _LITTLE * (tape.slots - tape.first_result):
            break
    return best, how


def _of_entries(
    entries: Entries,
    how: str,
    pattern: Pattern | None,
    is_symmetric: bool,
    shape: tuple[int, int],
) -> SparseDerivative:
    nonzeros = len(entries.columns)
    outputs, values = entries.tape.outputs[:nonzeros], entries.tape.outputs[nonzeros:]
    indptr, columns = entries.indptr, entries.columns
    if is_symmetric:
        rows, below = entries.rows, entries.rows != columns
        rows, columns, outputs = (
            np.concatenate([one, other[below]])
            for one, other in ((rows, columns), (columns, rows), (outputs, outputs))
        )
        order = np.argsort(rows * shape[1] + columns, kind="stable")
        columns, outputs = columns[order], outputs[order]
        indptr = np.searchsorted(rows[order], np.arange(shape[0] + 1))
    found = Pattern(shape, indptr, columns)
    if pattern is not None:
        found, outputs = pattern, _into(pattern, found, outputs)
    if is_symmetric or pattern is not None:
        tape = entries.tape.giving(np.concatenate([outputs, values]))
    else:
        tape = entries.tape
    return SparseDerivative(
        found,
        tape,
        "entries",
        None,
        f"operations are over arrays, so nonzeros are accumulated {how}, without colours",
    )


def _into(pattern: Pattern, found: Pattern, outputs: Ints) -> Ints:
    """Return the slots of the nonzeros of a given pattern; 0 where nothing was found."""
    places, missing = pattern.find(found)
    if missing is not None:
        raise InputError(
            f"the pattern that was given has no entry in row {missing[0]} and column "
            f"{missing[1]}, where the derivative is not zero: it must have all that may be "
            "nonzero. Add it, or give sparse=True to have the pattern found",
            code="wrong-pattern",
        )
    slots = np.zeros(pattern.nnz, np.int64)
    slots[places] = outputs
    return slots


def _by_colours(
    tape: FlatTape,
    inputs: Ints,
    mode: str | None,
    pattern: Pattern,
    is_symmetric: bool,
    with_value: bool,
) -> SparseDerivative:
    rows, columns = pattern.rows, pattern.columns
    if is_symmetric and mode != "reverse":
        mode, colouring = "forward", pattern.colouring("star")
        colours = colouring.colours
        # An entry is read from its own row, unless another of its column's colour is there.
        key = rows * max(colouring.count, 1) + colours[columns]
        is_alone = np.bincount(key, minlength=1)[key] == 1
        reason = f"a tangent of the gradient for each of {colouring.count} star colours"
        across = np.where(is_alone, rows, columns)
        own = colours[np.where(is_alone, columns, rows)]
    else:
        mode = mode or _fewer_colours(pattern)
        colouring = pattern.colouring("columns" if mode == "forward" else "rows")
        if mode == "forward":
            reason = f"a tangent for each of {colouring.count} colours of columns"
            across, own = rows, colouring.colours[columns]
        else:
            reason = f"an adjoint for each of {colouring.count} colours of rows"
            across, own = columns, colouring.colours[rows]
    parts = tape, inputs, colouring.colours
    if not _is_too_long(tape, colouring.count):
        make = by_columns if mode == "forward" else by_rows
        made = make(*parts, across, own, with_value)
        return SparseDerivative(pattern, made, mode, colouring, reason)
    made, seeds = _seeded(*parts, mode, with_value)
    if mode == "forward":
        places = own * len(tape.outputs) + across
    else:
        places = own * tape.inputs + inputs[across]
    reason += ", run one after the other"
    return SparseDerivative(pattern, made, mode, colouring, reason, Seeds(seeds, places))


def _fewer_colours(pattern: Pattern) -> str:
    """Return the mode that takes less: "forward" by colours of columns, or "reverse" by rows."""
    # There are as many colours as the longest row (column) has entries, or more; they are not
    # looked for where that is too many, since long rows take long to colour.
    least = int(np.diff(pattern.indptr).max(initial=0))
    across = int(np.bincount(pattern.columns, minlength=1).max())
    if least <= _REVERSE * across:
        forward = pattern.colouring("columns").count
        if forward <= _REVERSE * across:
            return "forward"
        return "forward" if forward <= _REVERSE * pattern.colouring("rows").count else "reverse"
    reverse = pattern.colouring("rows").count
    if least > _REVERSE * reverse:
        return "reverse"
    return "forward" if pattern.colouring("columns").count <= _REVERSE * reverse else "reverse"


def _is_too_long(tape: FlatTape, colours: int) -> bool:
    """Return whether one tape of the derivatives for all colours is not worth making."""
    return (
        colours * tape.slots > _MOST_SLOTS
        or colours * len(tape.vectors) > _MOST_VECTORS
        or (tape.has_loops and colours > _FEW_COLOURS)
    )


def _seeded(
    tape: FlatTape, inputs: Ints, colours: Ints, mode: str, with_value: bool
) -> tuple[FlatTape, npt.NDArray[np.float64]]:
    """Return the tape of a derivative along a seed, and a seed for each colour.

    The tape gives the derivative, and then its own outputs, if wanted.
    """
    if mode == "forward":
        made, size, places = tangent(tape, with_value), tape.inputs, inputs
    else:
        made, size, places = (
            adjoint(tape, None, with_value),
            len(tape.outputs),
            np.arange(len(colours)),
        )
    seeds = np.zeros((int(colours.max(initial=-1)) + 1, size))
    seeds[colours, places] = 1.0
    count = len(tape.outputs) if with_value else 0
    return made.giving(np.roll(made.outputs, -count)), seeds
