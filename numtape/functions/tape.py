"""The tape that users hold: a recording with methods.

A `Tape` wraps a flat tape with what is needed to call it like the function it
was recorded from: the trees of arguments and results. It knows one path only,
and raises `BranchError` where a point would take another.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numtape.errors import BranchError, InputError, OutputError
from numtape.functions.derived import (
    derived_by_columns,
    derived_by_rows,
    product_by_columns,
    product_by_rows,
)
from numtape.functions.result import Result
from numtape.functions.runner import Runner
from numtape.functions.selection import Selection, select
from numtape.functions.signature import Call, Signature, read_call
from numtape.tape.flat import FlatTape
from numtape.tape.text import explain_guard, program, summary
from numtape.transform.passes import optimize

__all__ = ["Tape"]

Floats = npt.NDArray[np.float64]

_FLOAT64 = np.dtype(np.float64)


class Tape:
    """A recorded function: flat arrays, and every way of running them.

    Made by `numtape.record`. All methods take the arguments that the recorded
    function takes, with the shapes and static arguments of the recording.

    Attributes
    ----------
    flat : FlatTape
        The instructions.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(lambda x: np.sum(x * x), np.array([1.0, 2.0]))
    >>> tape(np.array([3.0, 4.0]))
    25.0
    >>> tape.gradient(np.array([3.0, 4.0]))
    array([6., 8.])
    """

    def __init__(self, flat: FlatTape, signature: Signature, result: Result) -> None:
        self.flat = flat
        self.signature = signature
        self.result = result
        self.runner = Runner(flat)
        # Auxiliary outputs are evaluated, and not differentiated.
        self.derivatives = self.runner
        if result.aux is not None:
            self.derivatives = Runner(replace(flat, outputs=flat.outputs[: result.size]))
        self._is_scalar_function = result.shapes == ((),)
        self._selections: dict[Any, Selection] = {}
        self._gradient_tapes: dict[Any, Tape] = {}
        self._modes: dict[bytes, str] = {}
        # Calls of floats and arrays alone need no sorting of arguments.
        self._shapes = signature.traced_shapes if signature.is_flat else ()
        self._input_shape = self._shapes[0] if self.is_simple else ()

    @property
    def is_simple(self) -> bool:
        """Whether the only argument is one float array."""
        return len(self._shapes) == 1 and self._shapes[0] != ()

    # running

    def __call__(self, *arguments: Any) -> Any:
        """The function's value.

        Raises
        ------
        InputError
            Where the arguments are not of the recording's structure and shapes.
        BranchError
            Where a comparison comes out otherwise than at the recording.
        """
        x = self._point(arguments)
        y = np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) >= 0:
            self._raise_branch(x)
        value = self.result.build(y)
        return value if self.result.aux is None else (value, self.result.build_aux(y))

    def auxiliary(self, arguments: Sequence[Any]) -> Any:
        """The auxiliary result, for a tape of a function that has one."""
        x, y = self._point(arguments), np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) >= 0:
            self._raise_branch(x)
        return self.result.build_aux(y)

    def gradient(
        self, *arguments: Any, argnums: int | Sequence[int] = 0, out: Floats | None = None
    ) -> Any:
        """The gradient of a scalar function.

        Parameters
        ----------
        *arguments
            As for the function.
        argnums : int or sequence of int
            Which arguments to differentiate by.
        out : float64 array, optional
            For a function of one array: where to write the gradient.

        Returns
        -------
        A tree like the argument, or a tuple of them. Costs about two to four
        times the function.
        """
        if self._input_shape and argnums == 0 and len(arguments) == 1:
            x = arguments[0]
            if not (
                type(x) is np.ndarray
                and x.shape == self._input_shape
                and x.dtype is _FLOAT64
                and x.flags.carray
            ):
                x = self._point(arguments).reshape(self._input_shape)
            g = np.empty(self._input_shape) if out is None else out
            if not self._is_scalar_function or out is not None:
                self.check_scalar()
                self._check_out(g)
            if x.ndim == 1:
                status = self.derivatives.gradient(x, g)
            else:
                status = self.derivatives.gradient(x.reshape(-1), g.reshape(-1))
            if status >= 0:
                self._raise_branch(x.reshape(-1))
            return g
        if out is not None:
            raise InputError(
                "out= was given for a function of more than one array: it is only for functions of "
                "one. Leave it out"
            )
        return self.value_and_gradient(*arguments, argnums=argnums)[1]

    def value_and_gradient(self, *arguments: Any, argnums: int | Sequence[int] = 0) -> Any:
        """The value of a scalar function, and its gradient as `gradient` gives it."""
        self.check_scalar()
        x = self._point(arguments)
        selection = self.select(argnums)
        if self.derivatives.sweeps:  # one sweep gives the gradient by all inputs
            g = np.empty(self.flat.inputs)
            status = self.derivatives.gradient(x, g)
            y = self.derivatives.sweep_workspace().gradient_output
            gradient = selection.gradient(g)
        else:
            status, y, matrix = self.derivatives.jacobian(x, selection.inputs, "reverse")
            (gradient,) = selection.jacobian(matrix, ((),))
        if status >= 0:
            self._raise_branch(x)
        return self.result.structure.build([float(y[0])]), gradient

    def jacobian(
        self, *arguments: Any, argnums: int | Sequence[int] = 0, mode: str | None = None
    ) -> Any:
        """The derivatives of all outputs by all inputs.

        Parameters
        ----------
        *arguments
            As for the function.
        argnums : int or sequence of int
            Which arguments to differentiate by.
        mode : {"forward", "reverse"}, optional
            One sweep an input, or one an output; the cheaper one by default.

        Returns
        -------
        A tree like the result, of trees like the argument, of arrays of shape
        output shape + input shape.
        """
        return self.value_and_jacobian(*arguments, argnums=argnums, mode=mode)[1]

    def value_and_jacobian(
        self, *arguments: Any, argnums: int | Sequence[int] = 0, mode: str | None = None
    ) -> Any:
        """The value, and the Jacobian as `jacobian` gives it."""
        x = self._point(arguments)
        selection = self.select(argnums)
        mode = self.mode(mode, selection)
        status, y, matrix = self.derivatives.jacobian(x, selection.inputs, mode)
        if status >= 0:
            self._raise_branch(x)
        blocks = selection.jacobian(matrix, self.result.shapes)
        return self.result.build(y), self.result.structure.build(blocks)

    def jvp(self, arguments: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """The value, and its derivative along `tangents`.

        Parameters
        ----------
        arguments, tangents : sequence
            The arguments, and a direction of the same structure and shapes.

        Returns
        -------
        value, derivative
            Both of the result's structure.
        """
        x = self._point(arguments)
        direction = self._call_like(tangents, "tangents").point()
        status, y, derivative = self.derivatives.jvp(x, direction)
        if status >= 0:
            self._raise_branch(x)
        return self.result.build(y), self.result.build(derivative)

    def vjp(self, arguments: Sequence[Any], cotangents: Any) -> Any:
        """The value, and the gradient of the sum of its elements times `cotangents`.

        Parameters
        ----------
        arguments : sequence
            The arguments.
        cotangents
            A tree of the result's structure and shapes.

        Returns
        -------
        value, gradients
            The result's tree, and a tuple of trees like the arguments.
        """
        x = self._point(arguments)
        status, y, gradient = self.derivatives.vjp(x, self.result.flat(cotangents))
        if status >= 0:
            self._raise_branch(x)
        return self.result.build(y), self.gradients(gradient)

    def linearize(self, arguments: Sequence[Any]) -> tuple[Any, Callable[..., Any]]:
        """The value, and the derivative at this point as a function of tangents."""
        x = self._point(arguments)
        status, y, push = self.derivatives.linearize(x)
        if status >= 0:
            self._raise_branch(x)

        def push_forward(*tangents: Any) -> Any:
            return self.result.build(push(self._call_like(tangents, "tangents").point()))

        return self.result.build(y), push_forward

    # tapes made of this one

    def tangent(self, argnums: int | Sequence[int] = 0, seeded: bool = False) -> "Tape":
        """A tape of the value and the derivatives, made forward.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.
        seeded : bool
            If false, the tape takes the same arguments and gives
            ``(value, jacobian)``, the Jacobian column by column. If true, it
            takes the arguments and then a tangent for each, and gives
            ``(value, derivative)``.

        Returns
        -------
        Tape
            It keeps this one's guards, and may be differentiated again. Making
            it costs about 6 µs for each scalar instruction and seed.
        """
        if seeded:
            return Tape(*product_by_columns(self._differentiated(), self.signature, self.result))
        selection = self.select(argnums)
        return Tape(
            *derived_by_columns(self._differentiated(), self.signature, self.result, selection)
        )

    def adjoint(self, argnums: int | Sequence[int] = 0, seeded: bool = False) -> "Tape":
        """A tape of the value and the derivatives, made backward.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.
        seeded : bool
            If false, the tape takes the same arguments and gives
            ``(value, jacobian)``, the Jacobian row by row; of a scalar function
            that is value and gradient. If true, it takes the arguments and then
            a tree of cotangents, and gives ``(value, gradients)``.

        Returns
        -------
        Tape
            It keeps this one's guards, and may be differentiated again. Making
            it costs about 6 µs for each scalar instruction and seed.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x[0] * x[1], np.array([2.0, 5.0]))
        >>> print(tape.adjoint())
        inputs: s1 s2
        s3 = s1 * s2
        outputs: s3 s2 s1
        >>> tape.adjoint().tangent()(np.array([2.0, 5.0]))[1][1]
        array([[0., 1.],
               [1., 0.]])
        """
        if seeded:
            return Tape(*product_by_rows(self._differentiated(), self.signature, self.result))
        selection = self.select(argnums)
        return Tape(
            *derived_by_rows(self._differentiated(), self.signature, self.result, selection)
        )

    def optimize(self) -> "Tape":
        """The same function on a simpler tape: constants folded, equal instructions shared.

        Values are the same but for the sign of a zero. Costs about 2 µs a scalar
        instruction. Derivative tapes are simplified without being asked.
        """
        return Tape(optimize(self.flat), self.signature, self.result)

    def without_guards(self) -> "Tape":
        """The same tape, taking the recorded path everywhere."""
        return Tape(replace(self.flat, guards=()), self.signature, self.result)

    def _differentiated(self) -> FlatTape:
        return self.derivatives.tape

    def _gradient_tape(self, argnums: int | tuple[int, ...]) -> "Tape":
        """Of the gradient alone."""
        tape = self._gradient_tapes.get(argnums)
        if tape is None:
            self.check_scalar()
            both = self.adjoint(argnums)
            _, structure = both.result.structure.children
            tape = Tape(
                replace(both.flat, outputs=both.flat.outputs[1:]),
                both.signature,
                Result(structure, both.result.shapes[1:]),
            )
            self._gradient_tapes[argnums] = tape
        return tape

    def hessian(self, *arguments: Any, argnums: int | Sequence[int] = 0) -> Any:
        """The Hessian of a scalar function.

        Parameters
        ----------
        *arguments
            As for the function.
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        A tree like the argument, of trees like the argument. Costs about one
        gradient for each input; the first call makes the gradient's tape.
        """
        key = argnums if isinstance(argnums, int) else tuple(argnums)
        return self._gradient_tape(key).jacobian(*arguments, argnums=argnums, mode="forward")

    def hvp(self, arguments: Sequence[Any], vectors: Sequence[Any]) -> tuple[Any, ...]:
        """The product of a scalar function's Hessian with a vector.

        Parameters
        ----------
        arguments, vectors : sequence
            The arguments, and trees of the same structure and shapes.

        Returns
        -------
        tuple
            A tree for each argument. Costs about four to ten times the function.
        """
        owners = tuple(sorted(set(self.signature.owners)))
        products = iter(self._gradient_tape(owners).jvp(arguments, vectors)[1])
        count = len(self.signature.structure.children)
        return tuple(next(products) if k in owners else None for k in range(count))

    # reading

    def __str__(self) -> str:
        return program(self.flat)

    def text(self, values: bool = False, lines: bool = False) -> str:
        """The program a person can read; also what `print(tape)` shows.

        Parameters
        ----------
        values : bool
            Add what each instruction gave at the recording point.
        lines : bool
            Add the source line each instruction came from; for a tape recorded
            with ``record(..., lines=True)``.
        """
        slots = None
        if values:
            slots = self.runner.slot_values(self.flat.point)
        return program(self.flat, slots, lines)

    def summary(self) -> str:
        """How many instructions there are of each operation, and the memory of a run."""
        return summary(self.flat)

    def __repr__(self) -> str:
        return (
            f"<Tape: {self.flat.inputs} inputs, {len(self.flat.outputs)} outputs, "
            f"{self.flat.instructions} instructions>"
        )

    # arguments, and checks

    def mode(self, mode: str | None, selection: Selection) -> str:
        """The mode asked for, or where that is None the cheaper one."""
        if mode is None:
            key = selection.inputs.tobytes()
            chosen = self._modes.get(key)
            if chosen is None:
                chosen = self._modes[key] = self.derivatives.cheaper_mode(selection.inputs)
            return chosen
        if mode not in ("forward", "reverse"):
            raise InputError(
                f"mode={mode!r} was given: it must be 'forward' (a sweep an input), 'reverse' (a "
                "sweep an output) or None (the cheaper one)"
            )
        return mode

    def gradients(self, gradient: Any) -> tuple[Any, ...]:
        """A gradient by all inputs as a tuple of trees like the arguments; None for static ones."""
        owners = tuple(sorted(set(self.signature.owners)))
        by_owner = iter(self.select(owners).gradient(gradient))
        count = len(self.signature.structure.children)
        return tuple(next(by_owner) if k in owners else None for k in range(count))

    def select(self, argnums: int | Sequence[int]) -> Selection:
        """The inputs meant by argnums."""
        key = argnums if isinstance(argnums, int) else tuple(argnums)
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selections[key] = select(self.signature, argnums)
        return selection

    def _point(self, arguments: Sequence[Any]) -> Floats:
        """The arguments end to end, in an array of their own."""
        if len(arguments) == len(self._shapes):
            x = np.empty(self.flat.inputs)
            start = 0
            for argument, shape in zip(arguments, self._shapes, strict=True):
                if type(argument) is float and shape == ():
                    x[start] = argument
                    start += 1
                elif (
                    type(argument) is np.ndarray
                    and argument.dtype is _FLOAT64
                    and argument.shape == shape
                ):
                    stop = start + argument.size
                    x[start:stop] = argument if argument.ndim == 1 else argument.reshape(-1)
                    start = stop
                else:
                    break
            else:
                return x
        return self._call_like(arguments, "arguments").point().copy()

    def _call_like(self, arguments: Sequence[Any], what: str) -> Call:
        """Arguments read and compared with the recording's signature."""
        call = read_call(arguments)
        if call.signature == self.signature:
            return call
        wanted, given = self.signature, call.signature
        if given.structure != wanted.structure:
            rule = f"of structure {given.structure} were given, and {wanted.structure} is needed"
        elif given.shapes != wanted.shapes:
            rule = f"of shapes {given.shapes} were given, and {wanted.shapes} are needed"
        else:
            rule = f"with static values {given.statics} were given, and {wanted.statics} are needed"
        raise InputError(
            f"{what} {rule}: a tape keeps the structure, shapes and static arguments of its "
            "recording. Record another tape for these, or use numtape.grad and its like, which do "
            "so by themselves"
        )

    def failed_guard(self, x: Floats) -> tuple[int, float] | None:
        """The first guard that does not hold at a point, and the guarded value there."""
        guard = self.runner.evaluate(x, np.empty(len(self.flat.outputs)))
        if guard < 0:
            return None
        return guard, self.runner.value_of(self.flat.guards[guard].slot)

    def _raise_branch(self, x: Floats) -> NoReturn:
        failed = self.failed_guard(x)
        assert failed is not None
        guard, outcome = failed
        raise BranchError(
            f"{explain_guard(self.flat, guard, self.runner.value_of)} when this tape was "
            "recorded: the function would take another path at this point. Record a tape here, or "
            "use numtape.grad and its like, which keep a tape for each path",
            guard,
            outcome,
        )

    def _check_out(self, out: Any) -> None:
        shape = self._input_shape
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != _FLOAT64:
            raise InputError(
                f"out={out!r} was given, and the gradient is a float64 array of shape {shape}: "
                f"pass one, for example np.empty({shape})"
            )
        if not out.flags.carray:
            raise InputError(
                "out was given an array that is read-only or not contiguous: the gradient is "
                "written straight into it. Pass a fresh one, or leave it out and assign the result"
            )

    def check_scalar(self) -> None:
        """Raise unless the function returns one number."""
        if self.result.shapes != ((),):
            raise OutputError(
                f"the function returns {self.result.structure} of shapes {self.result.shapes}: a "
                "gradient is of a function that returns one number. Use jacobian, or return a sum"
            )
