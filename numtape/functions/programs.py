"""Programs: a derivative of a tape that was asked for, made ready to be run again and again.

What is asked for is a `Derivation`. A program is made of it once for a tape, and kept there: it
knows the specifications of the derivative tapes that it needs, which the tape's `Runner`
keeps, and how what they give is put into the trees of the result. It is run at a point, all
inputs in one vector, or says what is to be run at many. That a guard does not hold is part of
what a run returns; only a bare `Tape` makes an error of it.
"""

import math
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.points import Points, read_points, read_seeds
from numtape.functions.result import Result, check_float, check_scalar
from numtape.functions.runner import Failed, Runner, Way
from numtape.functions.selection import Selection, as_it_is, cut, everything, select
from numtape.functions.signature import Signature
from numtape.functions.sparse_options import Sparse
from numtape.functions.specification import ADJOINT, TANGENT, Specification, block_order
from numtape.functions.trees import Structure, flatten
from numtape.run._kernels import FINE

__all__ = [
    "Derivation",
    "Evaluation",
    "Many",
    "Product",
    "Program",
    "Run",
    "Value",
    "check_hessian_mode",
    "check_mode",
    "check_result",
    "gradient_runner",
    "jacobian_result",
    "pair_of",
    "product_of",
    "program_of",
    "specified",
]

Floats = npt.NDArray[np.float64]
_Layout = Callable[[Floats], Any]
_empty = np.empty  # looked up in a module each time, it would take half as long again


class Derivation(NamedTuple):
    """Which derivative of a function is meant.

    Attributes
    ----------
    method : str
        "gradient", "value_and_gradient", "jacobian", "value_and_jacobian" or "hessian":
        the method of a tape; "value" for calling it.
    argnums : int or tuple of int
        Which arguments to differentiate by.
    mode : {"forward", "reverse"}, optional
        Of a Jacobian: by columns, or by rows; the cheaper one by default. Sparse ones have one
        more, see `numtape.sparse.derivative`.
    has_aux : bool
        Whether the auxiliary result is given too.
    of_floats : bool
        Whether the function must return a float: a Hessian is the Jacobian of such a Jacobian.
    sparse : Sparse, optional
        How it is to be sparse; by default it is not.
    """

    method: str
    argnums: int | tuple[int, ...] = 0
    mode: str | None = None
    has_aux: bool = False
    of_floats: bool = False
    sparse: Sparse | None = None

    @property
    def is_gradient(self) -> bool:
        """Return whether the derivative is the only row of a Jacobian."""
        return self.method.endswith("gradient")

    @property
    def with_value(self) -> bool:
        """Return whether the value is given too."""
        return self.method.startswith("value")

    def relabelled(self, result: Any, labels: Callable[[Any], Any]) -> Any:
        """Put the gradient in a result under the labels of its arguments; Jacobians have none."""
        if not self.is_gradient:
            return result
        if self.with_value:
            return result[0], labels(result[1])
        return (labels(result[0]), result[1]) if self.has_aux else labels(result)


class Run(NamedTuple):
    """One evaluation at many points.

    Attributes
    ----------
    runner : Runner
    outputs : sequence of arrays
        Where its tape's outputs go; the first axis counts the points.
    unit : pair of int, optional
        Length and place of the unit vector that is the seed at all points, if there is one.
    """

    runner: Runner
    outputs: Sequence[Floats]
    unit: tuple[int, int] | None = None


class Many(Protocol):
    """What can be run at many points."""

    @property
    def answer(self) -> Result:
        """Return the trees of what is computed, but for the auxiliary result."""

    def points(self, signature: Signature, arguments: Sequence[Any]) -> Points:
        """Return the points that arguments are, with the seeds there."""

    def runs(self, leaves: Sequence[Floats]) -> list[Run]:
        """Return what is to be run to fill the leaves of the answer at all points."""


class Evaluation(NamedTuple):
    """The value of a tape, at many points."""

    runner: Runner
    answer: Result

    def points(self, signature: Signature, arguments: Sequence[Any]) -> Points:
        """Return the points that arguments are."""
        return read_points(signature, arguments)

    def runs(self, leaves: Sequence[Floats]) -> list[Run]:
        """Return the only run."""
        return [Run(self.runner, leaves)]


def specified(
    derivation: Derivation, runner: Runner, selection: Selection, result: Result
) -> Specification:
    """Return the specification of a Jacobian with the value, or of its only row."""
    check_mode(derivation.mode)
    if derivation.is_gradient:
        mode = "reverse"
    else:
        mode = derivation.mode or runner.cheaper_mode(selection.inputs)
    rows, columns = (tuple(map(math.prod, each.shapes)) for each in (result, selection))
    is_by_rows = len(columns) == 1 or max(rows, default=0) <= 1
    return Specification(
        mode,
        _places(selection, runner),
        blocks=None if is_by_rows else (rows, columns),
    )


def _places(selection: Selection, runner: Runner) -> bytes | None:
    inputs = selection.inputs
    return None if np.array_equal(inputs, np.arange(runner.tape.inputs)) else inputs.tobytes()


def jacobian_result(result: Result, selection: Selection) -> Result:
    """Return the trees of a Jacobian: like the result, of trees like the arguments."""
    blocks = [selection.trees([0] * len(selection.shapes)) for _ in result.shapes]
    structure = flatten(result.structure.build(blocks))[1]
    shapes = (rows + columns for rows in result.shapes for columns in selection.shapes)
    return Result(structure, tuple(shapes))


def pair_of(result: Result, derivative: Result) -> Result:
    """Return the trees of a value and a derivative."""
    structure = Structure(tuple, (), (result.structure, derivative.structure))
    return Result(structure, result.shapes + derivative.shapes)


def check_mode(mode: Any) -> None:
    """Raise where a mode is none of those that there are."""
    if mode not in (None, "forward", "reverse"):
        raise InputError(
            f"mode={mode!r} was given: it must be 'forward' (a sweep an input), 'reverse' (a "
            "sweep an output) or None (the cheaper one)",
            code="wrong-option",
        )


def check_hessian_mode(mode: Any) -> None:
    """Raise where a dense Hessian is asked for in a mode: it has one."""
    if mode is not None:
        raise InputError(
            f"mode={mode!r} was given for a Hessian that is not sparse: it is always the forward "
            "Jacobian of a gradient made in reverse. Leave mode out, or add sparse=True",
            code="wrong-option",
        )


def check_result(derivation: Derivation, result: Result) -> None:
    """Raise where a derivative is not of what the function returns."""
    if derivation.is_gradient or derivation.method == "hessian":
        check_scalar(result)
    elif derivation.of_floats:
        check_float(result)


def program_of(
    derivation: Derivation, signature: Signature, result: Result, runner: Runner, whole: Runner
) -> "Program":
    """Return the program of a derivative of a tape, of its signature and result.

    `runner` runs what is differentiated, `whole` the tape with its auxiliary outputs.
    """
    check_result(derivation, result)
    selection = select(signature, derivation.argnums)
    if derivation.method == "hessian":
        runner = whole = gradient_runner(runner, selection)
        result = Result(selection.structure, selection.shapes)
        derivation = Derivation("jacobian", derivation.argnums, "forward")
    is_of_array = signature.is_flat and len(signature.shapes) == 1 and signature.memory is None
    is_simple = is_of_array and derivation.argnums == 0 and signature.shapes != ((),)
    alone = is_simple and derivation.method == "gradient"
    return Program(runner, whole, result, selection, derivation, alone)


class Value(NamedTuple):
    """The value of a tape at a point, as a program like those of derivatives."""

    runner: Runner
    result: Result
    array_shape: None = None

    def run(self, x: Floats) -> tuple[Failed | None, Any]:
        """Run at a point: return the guard that does not hold there, or None and the result."""
        y = np.empty(len(self.runner.tape.outputs))
        failed = self.runner.evaluate(x, y)
        return (failed, None) if failed is not None else (None, self.result.build(y))


def gradient_runner(runner: Runner, selection: Selection, is_tape: bool = False) -> Runner:
    """Return the runner of the tape of a gradient alone."""
    places = _places(selection, runner)
    what = Specification("reverse", places, with_value=False, is_tape=is_tape)
    return runner.derivative(what)


class Program:
    """A derivative of a tape, ready to be run.

    Parameters
    ----------
    runner : Runner
        Of what is differentiated.
    whole : Runner
        Of the tape with its auxiliary outputs.
    result : Result
    selection : Selection
        What to differentiate by.
    derivation : Derivation
    alone : bool
        Whether this is the gradient by the only argument, an array. Then its derivative tape
        is without the value; others share that of the derivative with the value.
    """

    def __init__(
        self,
        runner: Runner,
        whole: Runner,
        result: Result,
        selection: Selection,
        derivation: Derivation,
        alone: bool,
    ) -> None:
        self._runner = runner
        self._whole = whole
        self._result = result
        self._selection = selection
        self._derivation = derivation
        self._what = specified(derivation, runner, selection, result)
        if alone:
            self._what = self._what._replace(with_value=False)
        self._has_aux = derivation.has_aux
        self._size = result.size * len(selection.inputs)  # of the Jacobian
        self._lay_out = self._layout()
        self._lay_out_value = self._layout_of_value()
        blocks = self._what.blocks
        self._order = None if blocks is None else block_order(*blocks)
        self._local = threading.local()
        self.array_shape = selection.shapes[0] if alone else None

    @cached_property
    def answer(self) -> Result:
        """Return the trees of what is computed, but for the auxiliary result."""
        selection = self._selection
        if self._derivation.is_gradient:
            derivative = Result(selection.structure, selection.shapes)
        else:
            derivative = jacobian_result(self._result, selection)
        return pair_of(self._result, derivative) if self._derivation.with_value else derivative

    def run(self, x: Floats, out: Floats | None = None) -> tuple[Failed | None, Any]:
        """Run at a point: return the guard that does not hold there, or None and the result.

        A gradient that has an `array_shape` is written into `out`, a vector, if that is given.
        """
        try:
            bound = self._local.bound
        except AttributeError:
            bound = (-1,)
        if bound[0] != self._runner.version:
            way = self._runner.way(self._what)
            if way is None:
                return self._run_for_seeds(x)
            layout, size = self._bound_layout(way)
            lay_out = None if layout is as_it_is else layout
            bound = way.version, way.kernel, way.handle, size, lay_out, way
            self._local.bound = bound
        _, kernel, handle, size, lay_out, way = bound
        if out is None:
            out = _empty(size)
        status = kernel(handle, x, out)
        if status != FINE:
            if status >= 0 and way.has_own_guards:
                return (status, way.workspace.guarded_value(status)), None
            failed = self._runner.failure(way, status, x)
            if failed is not None:
                return failed, None
        result = out if lay_out is None else lay_out(out)
        return self._with_aux(x, result) if self._has_aux else (None, result)

    def _run_for_seeds(self, x: Floats) -> tuple[Failed | None, Any]:
        both = np.empty(self._size + self._result.size)
        failed = self._runner.seeded_jacobian(x, self._what, both)
        if failed is not None:
            return failed, None
        if self._order is not None:
            both[: self._size] = both[self._order]
        with_value = self._derivation.with_value
        result = self._with_value(both) if with_value else self._lay_out(both[: self._size])
        return self._with_aux(x, result) if self._has_aux else (None, result)

    def _with_aux(self, x: Floats, result: Any) -> tuple[Failed | None, Any]:
        outputs = np.empty(len(self._whole.tape.outputs))
        failed = self._whole.evaluate(x, outputs)
        if failed is not None:
            return failed, None
        aux = self._result.build_aux(outputs)
        if self._derivation.with_value:
            value, derivative = result
            return None, ((value, aux), derivative)
        return None, (result, aux)

    # from what a way writes to trees

    def _bound_layout(self, way: Way) -> tuple[_Layout, int]:
        """Return what makes the result of the vector that a way writes, and how long that must be.

        It is a Jacobian and then the outputs, or for a sweep the gradient by all inputs.
        """
        lay_out, with_value, size = self._lay_out, self._derivation.with_value, self._size
        if way.swept is None:
            return (self._with_value, size + self._result.size) if with_value else (lay_out, size)
        value, values = self._lay_out_value, way.workspace.gradient_output
        if self._what.inputs is None:
            if not with_value:
                return lay_out, way.size
            return lambda out: (value(values), lay_out(out)), way.size
        chosen = self._selection.inputs
        if not with_value:
            return lambda out: lay_out(out[chosen]), way.size
        return lambda out: (value(values), lay_out(out[chosen])), way.size

    def _with_value(self, both: Floats) -> Any:
        return self._lay_out_value(both[self._size :]), self._lay_out(both[: self._size])

    def _layout(self) -> _Layout:
        """Return what makes the tree of derivatives of a vector of them, block by block."""
        selection, result = self._selection, self._result
        if self._derivation.is_gradient:
            return selection.layout
        if selection.is_one_leaf and result.structure.kind is None:
            shape = result.shapes[0] + selection.shapes[0]
            return lambda out: out.reshape(shape) if shape else out.item()
        answer = jacobian_result(result, selection)
        return lambda out: answer.structure.build(cut(out, answer.shapes))

    def _layout_of_value(self) -> _Layout:
        result = self._result
        if result.structure.kind is None and not result.shapes[0]:
            return lambda values: values.item(0)
        return lambda values: result.structure.build(cut(values, result.shapes))

    # many points

    def points(self, signature: Signature, arguments: Sequence[Any]) -> Points:
        """Return the points that arguments are."""
        return read_points(signature, arguments)

    def runs(self, leaves: Sequence[Floats]) -> list[Run]:
        """Return what is to be run at many points, to fill the leaves of the answer there.

        Where one tape for the whole Jacobian would be too long, that of one product is run for
        each seed.
        """
        count = len(self._result.shapes) if self._derivation.with_value else 0
        values, parts = leaves[:count], leaves[count:]
        what = self._what._replace(with_value=self._derivation.with_value)
        if self._derivation.is_gradient or self._runner.has_short_jacobian_tape(what):
            return [Run(self._runner.derivative(what), [*parts, *values])]
        of_values = [Run(self._whole, values)] if count else []
        return of_values + (self._by_columns if what.mode == "forward" else self._by_rows)(parts)

    def _by_columns(self, parts: Sequence[Floats]) -> list[Run]:
        shapes, width = self._selection.shapes, len(self._selection.shapes)
        runner = self._runner.derivative(TANGENT._replace(with_value=False))
        runs = []
        for column, place in enumerate(self._selection.inputs.tolist()):
            leaf, k = _leaf_of(shapes, column)
            size = math.prod(shapes[leaf])
            matrices = [_matrix(part, size) for part in parts[leaf::width]]
            unit = self._runner.tape.inputs, place
            runs.append(Run(runner, [matrix[:, :, k] for matrix in matrices], unit))
        return runs

    def _by_rows(self, parts: Sequence[Floats]) -> list[Run]:
        shapes, width = self._selection.shapes, len(self._selection.shapes)
        what = ADJOINT._replace(inputs=self._what.inputs, with_value=False)
        runner, rows = self._runner.derivative(what), self._result.size
        runs = []
        for row in range(rows):
            leaf, k = _leaf_of(self._result.shapes, row)
            several = zip(parts[leaf * width : (leaf + 1) * width], shapes, strict=True)
            outputs = [_matrix(part, math.prod(columns))[:, k] for part, columns in several]
            runs.append(Run(runner, outputs, (rows, row)))
        return runs


def _matrix(part: Floats, columns: int) -> Floats:
    """Return a block of Jacobians with one axis each for points, rows and columns."""
    rows = math.prod(part.shape[1:]) // max(columns, 1)
    return part.reshape(len(part), rows, columns)


def _leaf_of(shapes: Sequence[tuple[int, ...]], place: int) -> tuple[int, int]:
    """Return in which leaf a place is, and where in it."""
    leaf = 0
    while place >= math.prod(shapes[leaf]):
        place -= math.prod(shapes[leaf])
        leaf += 1
    return leaf, place


def product_of(method: str, signature: Signature, result: Result, runner: Runner) -> "Product":
    """Return the program of "jvp", "vjp" or "hvp", of a tape of this signature and result."""
    every = everything(signature)
    by_argument = Result(every.structure, every.shapes)
    if method == "hvp":
        check_scalar(result)
        select(signature, tuple(sorted(set(signature.owners))))  # which may hold static leaves
        gradient = gradient_runner(runner, every)
        return Product(gradient, TANGENT, "vectors", None, by_argument)
    if method == "vjp":
        return Product(runner, ADJOINT, "cotangents", result, by_argument)
    return Product(runner, TANGENT, "tangents", result, result)


class Product:
    """The product of a Jacobian with a seed, ready to be run.

    Parameters
    ----------
    runner : Runner
        Of what is differentiated.
    what : Specification
        `TANGENT` or `ADJOINT`.
    seeds : str
        What errors call the seeds.
    result : Result or None
        Of the value; None where only the derivative is wanted.
    derivative : Result
        The trees of the derivative.
    """

    def __init__(
        self,
        runner: Runner,
        what: Specification,
        seeds: str,
        result: Result | None,
        derivative: Result,
    ) -> None:
        self._seeds = seeds
        self._runner = runner
        self._what = what
        self._result = result
        self._derivative = derivative

    @cached_property
    def answer(self) -> Result:
        """Return the trees of what is computed."""
        return self._derivative if self._result is None else pair_of(self._result, self._derivative)

    def run(self, x: Floats, seed: Floats) -> tuple[Failed | None, Any]:
        """Run at a point: return the guard that does not hold there, or None and the result."""
        product = self._runner.jvp if self._what is TANGENT else self._runner.vjp
        failed, y, derivative = product(x, seed)
        if failed is not None:
            return failed, None
        found = self._derivative.build(derivative)
        return None, found if self._result is None else (self._result.build(y), found)

    def points(self, signature: Signature, arguments: Sequence[Any]) -> Points:
        """Return the points that arguments and seeds are."""
        arguments, seeds = arguments
        points = read_points(signature, arguments)
        if self._what is TANGENT:
            return points.with_more(read_points(signature, seeds, self._seeds))
        assert self._result is not None
        structure, shapes = self._result.structure, self._result.shapes
        return points.with_more(read_seeds(structure, shapes, seeds, self._seeds))

    def runs(self, leaves: Sequence[Floats]) -> list[Run]:
        """Return what is to be run at many points and seeds, to fill the leaves of the answer."""
        count = 0 if self._result is None else len(self._result.shapes)
        runner = self._runner.derivative(self._what._replace(with_value=count > 0))
        return [Run(runner, [*leaves[count:], *leaves[:count]])]
