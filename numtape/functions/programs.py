"""Programs: a derivative of a tape that was asked for, made ready to be run again and again.

What is asked for is a `Derivation`; a program is made of it once for a tape, and kept there.
It runs at a point, all inputs in one vector, and puts what comes out into the trees of the
result. That a guard does not hold is part of what a run returns; only a bare `Tape` makes
an error of it.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numtape.functions.result import Result
from numtape.functions.runner import Failed, Runner, Way
from numtape.functions.selection import Selection, cut
from numtape.run._kernels import FINE

__all__ = ["Derivation", "Program"]

Floats = npt.NDArray[np.float64]
_Layout = Callable[[Floats], Any]


class Derivation(NamedTuple):
    """Which derivative of a function is meant.

    Attributes
    ----------
    method : {"gradient", "value_and_gradient", "jacobian", "value_and_jacobian"}
        The method of a tape.
    argnums : int or tuple of int
        Which arguments to differentiate by.
    mode : {"forward", "reverse"}, optional
        Of a Jacobian: by columns, or by rows; the cheaper one by default.
    has_aux : bool
        Whether the auxiliary result is given too.
    of_floats : bool
        Whether the function must return a float: a Hessian is the Jacobian of such a Jacobian.
    """

    method: str
    argnums: int | tuple[int, ...] = 0
    mode: str | None = None
    has_aux: bool = False
    of_floats: bool = False

    @property
    def is_gradient(self) -> bool:
        """Whether the function must return one float."""
        return self.method.endswith("gradient")

    @property
    def with_value(self) -> bool:
        """Whether the value is given too."""
        return self.method.startswith("value")

    def relabelled(self, result: Any, labels: Callable[[Any], Any]) -> Any:
        """Put the gradient in a result under the labels of its arguments; Jacobians have none."""
        if not self.is_gradient:
            return result
        if self.with_value:
            return result[0], labels(result[1])
        return (labels(result[0]), result[1]) if self.has_aux else labels(result)


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
    mode : {"forward", "reverse"}
    simply : bool
        Whether the gradient alone is asked for, by the only argument, an array.
    """

    def __init__(
        self,
        runner: Runner,
        whole: Runner,
        result: Result,
        selection: Selection,
        derivation: Derivation,
        mode: str,
        simply: bool,
    ) -> None:
        self._runner = runner
        self._whole = whole
        self._result = result
        self._selection = selection
        self._derivation = derivation
        self._mode = mode
        self._simply = simply
        self._has_aux = derivation.has_aux
        self._size = result.size * len(selection.inputs)  # of the Jacobian
        self._local = threading.local()

    def run(self, x: Floats) -> tuple[Failed | None, Any]:
        """Run at a point: the guard that does not hold there, or None and the result."""
        bound = getattr(self._local, "bound", None)
        if bound is None or bound[0] != self._runner.version:
            way = self._way()
            if way is None:
                return self._run_for_seeds(x)
            lay_out, size = self._layout(way)
            bound = way.version, way.kernel, way.handle, size, lay_out, way
            self._local.bound = bound
        _, kernel, handle, size, lay_out, way = bound
        out = np.empty(size)
        status = kernel(handle, x, out)
        if status != FINE:
            if status >= 0 and way.has_own_guards:
                return (status, way.workspace.guarded_value(status)), None
            failed = self._runner.failure(way, status, x)
            if failed is not None:
                return failed, None
        result = lay_out(out)
        return self._with_aux(x, result) if self._has_aux else (None, result)

    def _way(self) -> Way | None:
        """This thread's way; None where it is a Jacobian computed for seeds."""
        if self._simply:
            return self._runner.gradient_way()
        if self._derivation.is_gradient:
            return self._runner.value_way(self._selection.inputs)
        return self._runner.jacobian_way(self._selection.inputs, self._mode)

    def _run_for_seeds(self, x: Floats) -> tuple[Failed | None, Any]:
        both = np.empty(self._size + self._result.size)
        failed = self._runner.seeded_jacobian(x, self._selection.inputs, self._mode, both)
        if failed is not None:
            return failed, None
        lay_out, size = self._layout(None)
        result = lay_out(both[:size])
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

    def _layout(self, way: Way | None) -> tuple[_Layout, int]:
        """What makes the result of the vector that a way writes, and how long that need be.

        It is a Jacobian and then the outputs, or for a gradient by a sweep, or by the tape
        of the gradient alone, the gradient by all inputs.
        """
        with_value, value = self._derivation.with_value, self._value()
        if way is not None and (self._simply or way.key is not None):
            gradient, values = self._gradient_of_all(), way.workspace.gradient_output
            if not with_value:
                return gradient, way.size
            return lambda out: (value(values), gradient(out)), way.size
        size = self._size
        derivative = self._selection.layout if self._derivation.is_gradient else self._jacobian()
        if not with_value:
            return derivative, size
        return lambda out: (value(out[size:]), derivative(out[:size])), size + self._result.size

    def _gradient_of_all(self) -> _Layout:
        inputs, tree = self._selection.inputs, self._selection.layout
        if np.array_equal(inputs, np.arange(self._runner.tape.inputs)):
            return tree
        return lambda gradient: tree(gradient[inputs])

    def _jacobian(self) -> _Layout:
        selection, result = self._selection, self._result
        if selection.is_one_leaf and result.structure.kind is None:
            shape = result.shapes[0] + selection.shapes[0]
            return lambda out: out.reshape(shape) if shape else out.item()
        rows, columns = result.size, len(selection.inputs)

        def lay_out(out: Floats) -> Any:
            blocks = selection.jacobian(out.reshape(rows, columns), result.shapes)
            return result.structure.build(blocks)

        return lay_out

    def _value(self) -> _Layout:
        result = self._result
        if result.structure.kind is None and not result.shapes[0]:
            return lambda values: values.item(0)
        return lambda values: result.structure.build(cut(values, result.shapes))
