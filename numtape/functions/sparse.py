"""Sparse Jacobians and Hessians as programs: what is run, and SciPy's matrices made of it.

The flat side, which tape gives the nonzeros, is in `numtape.sparse`. Here arguments are chosen,
rows and columns become blocks for each argument, and nonzeros are put into matrices. As with other
programs, a guard that does not hold is part of what a run returns.
"""

import math
import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, OutputError
from numtape.functions.batch import Options, evaluate_many
from numtape.functions.points import Points, read_points
from numtape.functions.programs import Derivation, Run, check_result, gradient_runner, pair_of
from numtape.functions.result import Result
from numtape.functions.runner import Failed, Runner
from numtape.functions.selection import Selection, cut, select
from numtape.functions.signature import Signature
from numtape.functions.specification import SparseSpecification
from numtape.functions.trees import flatten
from numtape.run.batch import untold
from numtape.sparse.derivative import SparseDerivative
from numtape.sparse.matrices import is_sparse
from numtape.sparse.pattern import Pattern

__all__ = ["SparseBatch", "SparseProgram", "sparse_program_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# How many results are known again by their index arrays.
_MOST_KNOWN = 32


class SparseBatch:
    """Sparse matrices of one structure, one for each of many points.

    Parameters
    ----------
    data : float64 array
        Of shape points + (nonzeros,), in CSR order.
    pattern : Pattern
        The structure that all have.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(lambda x: x[1:] * x[:-1], np.ones(3))
    >>> slopes = tape.jacobian(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), sparse=True)
    >>> slopes.data
    array([[2., 1., 3., 2.],
           [5., 4., 6., 5.]])
    >>> slopes[1].toarray()
    array([[5., 4., 0.],
           [0., 6., 5.]])
    """

    def __init__(self, data: Floats, pattern: Pattern) -> None:
        self.data = data
        self.pattern = pattern

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, point: Any) -> Any:
        """Return the matrix of one point as a ``scipy.sparse.csr_array``."""
        data = self.data[point]
        if data.ndim != 1:
            return SparseBatch(data, self.pattern)
        return self.pattern.to_scipy(data)

    def __repr__(self) -> str:
        rows, columns = self.pattern.shape
        return f"<SparseBatch of {self.data.shape[:-1]} points, each {rows} x {columns}>"


class _Block(NamedTuple):
    """The columns of a matrix that belong to one leaf of the arguments.

    Attributes
    ----------
    pattern : Pattern
    places : int64 array or None
        Of its nonzeros among those of the whole matrix; None for all.
    """

    pattern: Pattern
    places: Ints | None


def sparse_program_of(
    derivation: Derivation, signature: Signature, result: Result, runner: Runner, whole: Runner
) -> "SparseProgram":
    """Return the program of a sparse derivative of a tape, of its signature and result.

    `runner` runs what is differentiated, `whole` the tape with its auxiliary outputs.
    """
    check_result(derivation, result)
    selection = select(signature, derivation.argnums)
    own, is_hessian = result, derivation.method == "hessian"
    if is_hessian:
        runner = gradient_runner(runner, selection)
        own = Result(selection.structure, selection.shapes)
    return SparseProgram(runner, whole, own, result, selection, derivation, is_hessian)


class SparseProgram:
    """A sparse derivative of a tape, ready to be run.

    Parameters
    ----------
    runner : Runner
        Of what is differentiated: the function, or its gradient.
    whole : Runner
        Of the tape with its auxiliary outputs.
    own, result : Result
        Of what is differentiated, and of the function, which has the auxiliary result.
    selection : Selection
        What to differentiate by.
    derivation : Derivation
    is_symmetric : bool
        Whether the matrix is: a Hessian.

    Attributes
    ----------
    derivative : SparseDerivative
        The flat derivative, by all inputs of the selection in ascending order.
    """

    array_shape = None  # results are no arrays

    def __init__(
        self,
        runner: Runner,
        whole: Runner,
        own: Result,
        result: Result,
        selection: Selection,
        derivation: Derivation,
        is_symmetric: bool,
    ) -> None:
        if not is_symmetric and own.structure.kind is not None:
            raise OutputError(
                f"the function returns {own.structure}, and its sparse Jacobian was asked for: "
                "that is one matrix for each argument, with a row for each number of one array. "
                "Return one array, such as np.concatenate of the parts, or leave sparse out",
                code="sparse-of-tree",
            )
        options = derivation.sparse
        assert options is not None
        self._runner, self._whole, self._own, self._result = runner, whole, own, result
        self._selection, self._options = selection, options
        self._with_value, self._has_aux = derivation.with_value, derivation.has_aux
        order = np.argsort(selection.inputs, kind="stable")
        self._what = SparseSpecification(
            selection.inputs[order].tobytes(),
            derivation.mode,
            options.pattern,
            is_symmetric,
            self._with_value,
        )
        self.derivative: SparseDerivative
        self.derivative, self._derived = runner.sparse(self._what)
        self._blocks = self._cut(selection, order, is_symmetric)
        # Whether all that is computed is the nonzeros of one matrix.
        self._is_plain = self._blocks[0].places is None and not (
            self._with_value or self._has_aux or options.check
        )
        self._made: dict[int, weakref.ref[Any]] = {}  # index arrays of some results, by identity

    def _cut(self, selection: Selection, order: Ints, is_symmetric: bool) -> list[_Block]:
        """Return a block for each leaf that is differentiated by, or for each pair of leaves."""
        pattern = self.derivative.pattern
        if selection.is_one_leaf:
            return [_Block(pattern, None)]
        rows, columns = pattern.rows, pattern.columns
        place = np.empty(len(order), np.int64)  # of each column in the order of the selection
        place[np.arange(len(order))] = order
        columns = place[columns]
        rows = place[rows] if is_symmetric else rows
        sizes = [math.prod(shape) for shape in selection.shapes]
        bands = [(0, pattern.shape[0])]
        if is_symmetric:
            bands = [
                (stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes), strict=True)
            ]
        blocks = []
        for top, bottom in bands:
            for size, stop in zip(sizes, np.cumsum(sizes).tolist(), strict=True):
                here = (columns >= stop - size) & (columns < stop) & (rows >= top) & (rows < bottom)
                places = np.flatnonzero(here)
                key = (rows[places] - top) * size + (columns[places] - (stop - size))
                places = places[np.argsort(key, kind="stable")]
                own = rows[places] - top, columns[places] - (stop - size)
                blocks.append(_Block(Pattern.from_coo(*own, (bottom - top, size)), places))
        return blocks

    @property
    def nonzeros(self) -> int:
        """Return how many nonzeros there are."""
        return self.derivative.pattern.nnz

    def run(self, x: Floats, out: Any = None) -> tuple[Failed | None, Any]:
        """Run at a point: return the guard that does not hold there, or None and the result.

        Parameters
        ----------
        x : float64 array
        out : sparse array or tree of them, optional
            An earlier result, whose values are replaced.
        """
        if out is not None and self._is_plain and self._is_ours(out, self._blocks[0].pattern):
            return self._evaluate(x, out.data), out
        data = np.empty(self.nonzeros + self._with_value * self._own.size)
        failed = self._evaluate(x, data)
        if failed is not None:
            return failed, None
        if self._options.check:
            self._check(x, data[: self.nonzeros])
        matrices = self._matrices(data[: self.nonzeros], out)
        result = self._tree(matrices) if out is None else out
        if not (self._with_value or self._has_aux):
            return None, result
        value = self._own.build(data[self.nonzeros :]) if self._with_value else None
        if self._has_aux:
            outputs = np.empty(len(self._whole.tape.outputs))
            failed = self._whole.evaluate(x, outputs)
            if failed is not None:
                return failed, None
            aux = self._result.build_aux(outputs)
            return None, (((value, aux), result) if self._with_value else (result, aux))
        return None, (value, result)

    def _evaluate(self, x: Floats, data: Floats) -> Failed | None:
        """Write the nonzeros at a point, and then the value, if wanted."""
        seeds = self.derivative.seeds
        if seeds is None:
            return self._runner.evaluate_derived(self._derived, x, data)
        count, size = len(seeds.seeds), len(self._derived.tape.outputs)
        found = np.empty((count, size))
        points = Points((count,), (x, seeds.seeds), (False, True))
        failures = evaluate_many(self._derived, points, [found], Options(), untold)
        if len(failures.points):
            failed = int(failures.guards[0]), float(failures.outcomes[0])
            return self._runner.evaluate(x, np.empty(len(self._runner.tape.outputs))) or failed
        width = size - (len(data) - self.nonzeros)
        data[: self.nonzeros] = found[:, :width].ravel()[seeds.places]
        data[self.nonzeros :] = found[:1, width:]
        return None

    def _is_ours(self, matrix: Any, pattern: Pattern) -> bool:
        """Return whether a matrix has the structure of this derivative, and room for its values."""
        if not (getattr(matrix, "format", None) == "csr" and is_sparse(matrix)):
            return False
        data = matrix.data
        if not (
            matrix.shape == pattern.shape
            and data.dtype == np.float64
            and data.shape == (pattern.nnz,)
            and data.flags.carray
        ):
            return False
        known = self._made.get(id(matrix.indices))
        if known is not None and known() is matrix.indices:  # comparing takes longer than a run
            return True
        return np.array_equal(matrix.indptr, pattern.indptr) and np.array_equal(
            matrix.indices, pattern.indices
        )

    def _matrices(self, data: Floats, out: Any) -> list[Any]:
        parts = [data if each.places is None else data[each.places] for each in self._blocks]
        if out is None:
            pairs = zip(self._blocks, parts, strict=True)
            return [self._matrix(block.pattern, part) for block, part in pairs]
        given = [out] if self._selection.is_one_leaf else flatten(out)[0]
        if len(given) != len(parts):
            raise _wrong_out(f"{len(given)} matrices", f"{len(parts)} of them")
        for block, part, matrix in zip(self._blocks, parts, given, strict=True):
            if not self._is_ours(matrix, block.pattern):
                raise _wrong_out(_shown(matrix), f"one like {_shown(block.pattern.to_scipy())}")
            matrix.data[...] = part
        return list(given)

    def _matrix(self, pattern: Pattern, data: Floats) -> Any:
        made = pattern.to_scipy(data)
        if self._options.format != "csr":
            return made.asformat(self._options.format)
        if len(self._made) >= _MOST_KNOWN:
            self._made.clear()
        self._made[id(made.indices)] = weakref.ref(made.indices)
        return made

    def _tree(self, matrices: Sequence[Any]) -> Any:
        selection = self._selection
        if selection.is_one_leaf:
            return matrices[0]
        if len(matrices) == len(selection.shapes):
            return selection.trees(matrices)
        width = len(selection.shapes)
        bands = [selection.trees(matrices[k : k + width]) for k in range(0, len(matrices), width)]
        return selection.trees(bands)

    def _check(self, x: Floats, data: Floats) -> None:
        """Raise where the matrix differs from the derivative along a random direction."""
        pattern, inputs = self.derivative.pattern, np.frombuffer(self._what.inputs, np.int64)
        direction = np.zeros(len(x))
        direction[inputs] = np.random.default_rng(len(x)).uniform(0.5, 1.5, len(inputs))
        _, _, exact = self._runner.jvp(x, direction)
        product = pattern.to_scipy(data) @ direction[inputs]
        size = pattern.to_scipy(np.abs(data)) @ direction[inputs] + np.abs(exact)
        wrong = np.abs(product - exact) > 1e-9 * size
        wrong &= np.isfinite(exact)
        if not wrong.any():
            return
        row = int(np.flatnonzero(wrong)[0])
        unit = np.zeros(pattern.shape[0])
        unit[row] = 1.0
        dense = self._runner.vjp(x, unit)[2][inputs]
        dense[pattern.indices[pattern.indptr[row] : pattern.indptr[row + 1]]] = 0.0
        column = int(np.argmax(np.abs(dense)))
        raise InputError(
            f"the pattern that was given has no entry in row {row} and column {column}, where the "
            f"derivative is {dense[column]:g}: it must have all that may be nonzero. Add it, or "
            "give sparse=True to have the pattern found",
            code="wrong-pattern",
        )

    # many points

    @cached_property
    def answer(self) -> Result:
        """Return the trees of the values at many points."""
        selection = self._selection
        leaves: list[Any] = [0] * len(selection.shapes)
        tree = selection.trees(leaves)
        if len(self._blocks) > len(leaves):
            tree = selection.trees([tree] * len(leaves))
        shapes = tuple((block.pattern.nnz,) for block in self._blocks)
        derivative = Result(flatten(tree)[1], shapes)
        return pair_of(self._own, derivative) if self._with_value else derivative

    def points(self, signature: Signature, arguments: Sequence[Any]) -> Points:
        """Return the points that arguments are."""
        return read_points(signature, arguments)

    def runs(self, leaves: Sequence[Floats]) -> list[Run]:
        """Return the only run that fills the leaves of the answer at many points."""
        count = len(self._own.shapes) if self._with_value else 0
        values, parts = leaves[:count], leaves[count:]
        if self._blocks[0].places is None:
            return [Run(self._derived, [*parts, *values])]
        order = np.concatenate([block.places for block in self._blocks if block.places is not None])
        outputs = self._derived.tape.outputs
        ordered = np.concatenate([outputs[: self.nonzeros][order], outputs[self.nonzeros :]])
        return [Run(Runner(self._derived.tape.giving(ordered)), [*parts, *values])]

    def run_each(self, points: Points) -> tuple[Failed | None, Any]:
        """Return the tree of an answer at many points, one after the other."""
        shapes = self.answer.shapes
        leaves = [np.empty((points.count, *shape)) for shape in shapes]
        data = np.empty(self.nonzeros + self._with_value * self._own.size)
        count = len(self._own.shapes) if self._with_value else 0
        for number in range(points.count):
            failed = self._evaluate(points.at(number), data)
            if failed is not None:
                return failed, number
            values = cut(data[self.nonzeros :], self._own.shapes) if count else []
            nonzeros = data[: self.nonzeros]
            parts = [nonzeros if b.places is None else nonzeros[b.places] for b in self._blocks]
            for leaf, value in zip(leaves, (*values, *parts), strict=True):
                leaf[number] = value
        laid = [
            leaf.reshape((*points.leading, *shape))
            for leaf, shape in zip(leaves, shapes, strict=True)
        ]
        return None, self.batches(self.answer.structure.build(laid))

    def batches(self, values: Any) -> Any:
        """Return the tree of an answer at many points, with a `SparseBatch` for each block."""
        patterns = iter([block.pattern for block in self._blocks])
        if self._with_value:
            return values[0], self._batches(values[1], patterns)
        return self._batches(values, patterns)

    def _batches(self, tree: Any, patterns: Any) -> Any:
        leaves, structure = flatten(tree)
        return structure.build(
            [SparseBatch(leaf, pattern) for leaf, pattern in zip(leaves, patterns, strict=True)]
        )


def _wrong_out(given: str, rule: str) -> InputError:
    return InputError(
        f"out= holds {given}: it must be what an earlier call returned on this path, in CSR "
        f"format: {rule}, with the same structure. Pass such a result, or leave out= away",
        code="wrong-out",
    )


def _shown(matrix: Any) -> str:
    if not is_sparse(matrix):
        return f"{type(matrix).__name__}"
    return f"a {matrix.format} array of shape {matrix.shape} with {matrix.nnz} nonzeros"
