"""The tape that users hold: a recording with methods.

A `Tape` wraps a flat tape with what is needed to call it like the function it
was recorded from: the trees of arguments and results. It knows one path only,
and raises `BranchError` where a point would take another.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numtape.errors import BranchError, InputError, OutputError, TapeError
from numtape.functions.batch import BatchedTape, Options
from numtape.functions.derived import (
    derived_by_columns,
    derived_by_rows,
    product_by_columns,
    product_by_rows,
)
from numtape.functions.points import outputs_for, read_points, read_seeds
from numtape.functions.programs import Derivation, Program
from numtape.functions.readers import Reader, reader_of
from numtape.functions.reading import Readable
from numtape.functions.recent import Recent
from numtape.functions.result import Result
from numtape.functions.runner import Failed, Runner
from numtape.functions.saved import read, write
from numtape.functions.selection import Selection, cut, select
from numtape.functions.signature import Signature, argnums_key
from numtape.functions.streams import are_streams, in_blocks
from numtape.functions.trees import Structure, flatten, one_for_each_argument
from numtape.jit.compiling import QUICK, THOROUGH
from numtape.tape.flat import FlatTape
from numtape.tape.text import explain_guard
from numtape.transform.passes import optimize, remove_dead

__all__ = ["Tape", "load"]

Floats = npt.NDArray[np.float64]

_FLOAT64 = np.dtype(np.float64)
_LEAF = Structure(None)
_Progress = bool | Callable[[int, int], None]


class Tape(Readable):
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
        # What an inner recording captures are further inputs.
        if signature.size > flat.inputs or result.size + result.aux_size != len(flat.outputs):
            raise TapeError(
                f"a tape of {flat.inputs} inputs and {len(flat.outputs)} outputs was given trees "
                f"of {signature.size} and {result.size + result.aux_size} numbers: they must "
                "agree. Let numtape.record make it"
            )
        self.flat = flat
        self.signature = signature
        self.result = result
        self.runner = Runner(flat)
        # Auxiliary outputs are evaluated, and not differentiated.
        self.derivatives = self.runner
        if result.aux is not None:
            self.derivatives = Runner(flat.changed(outputs=flat.outputs[: result.size]))
        self._is_scalar_function = result.shapes == ((),) and not result.counts
        self._selections: Recent[Selection] = Recent()
        self._programs: Recent[Program] = Recent()
        self._derived: Recent[Tape] = Recent()
        self._effort: int | None = None  # how hard to try to make machine code of those
        self._modes: Recent[str] = Recent()
        # Where the only argument is one float array, its shape.
        is_simple = signature.is_flat and signature.memory is None and len(signature.shapes) == 1
        self._input_shape = signature.traced_shapes[0] if is_simple else ()
        self._read: Reader | None = None  # made when it is needed

    def __reduce__(self) -> Any:
        return Tape, (self.flat, self.signature, self.result)

    def __copy__(self) -> "Tape":
        return Tape(self.flat, self.signature, self.result)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tape to a file, which `numtape.load` reads.

        Everything is kept but what was made from the tape to run it. Operations are kept
        by name, so newer versions of numtape read the file.

        Parameters
        ----------
        path : str or path
            A file there is replaced at once when all is written; where writing fails, it
            stays as it is.

        Raises
        ------
        TapeError
            Where a static argument cannot be saved, such as a function.
        OSError
            Where the file cannot be written.

        Notes
        -----
        A file has 12 bytes an instruction and 8 a constant, input and output. Writing
        costs about 30 ms for a million instructions, and what the disk takes.

        Examples
        --------
        >>> import tempfile, numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sum(x * x), np.array([1.0, 2.0]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tape.save(f"{folder}/squares.tape")
        ...     again = nt.load(f"{folder}/squares.tape")
        >>> again.gradient(np.array([3.0, 4.0]))
        array([6., 8.])
        """
        write(path, self.flat, self.signature, self.result)

    # running

    def __call__(
        self,
        *arguments: Any,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The function's value; with leading axes, at many points.

        Parameters
        ----------
        *arguments
            As for the function. Where arrays have leading axes before the shapes of the
            recording, these count points; an argument without them is shared by all.
            An iterator in place of an argument gives blocks of points one after
            the other, and the result is then a generator. A Dask array makes the
            result one.
        out : tree of float64 arrays, optional
            Where to write the result.
        num_threads : int, optional
            For many points; by default NUMTAPE_NUM_THREADS, else as many as cores.
        progress : bool or callable
            For many points: True shows a bar, a callable is told ``(done, total)``, in the
            thread that calls.

        Returns
        -------
        tree
            Like the function's result; at many points, of arrays with the leading axes.
            Besides these arrays a batch needs one workspace a thread, whatever its length.
            A call costs one to two microseconds, and 2 to 4 ns a scalar instruction.

        Raises
        ------
        InputError
            Where the arguments are not of the recording's structure and shapes.
        BranchError
            Where a comparison comes out otherwise than at the recording.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x, a: a * np.sum(x * x), np.ones(2), 1.0)
        >>> tape(np.array([[3.0, 4.0], [1.0, 2.0], [0.0, 1.0]]), 0.5)
        array([12.5,  2.5,  0.5])
        """
        x = self._point(arguments)
        if x is None:
            return self._many("value", arguments, Options(out, num_threads, progress))
        y = np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) is not None:
            self._raise_branch(x)
        value = self.result.build(y)
        if self.result.aux is not None:
            return value, self.result.build_aux(y)
        return value if out is None else self._filled(out, value)

    def auxiliary(self, arguments: Sequence[Any]) -> Any:
        """The auxiliary result, for a tape of a function that has one."""
        x, y = self._one_point(arguments), np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) is not None:
            self._raise_branch(x)
        return self.result.build_aux(y)

    def gradient(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The gradient of a scalar function; with leading axes, at many points.

        Parameters
        ----------
        *arguments, out, num_threads, progress
            As for calling the tape.
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        tree
            Like the argument, or a tuple of such trees, with the leading axes of the
            points. Costs about two to four times the function.

        Raises
        ------
        OutputError
            Where the function returns anything but one float.
        InputError, BranchError
            As for calling the tape.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sum(x * x), np.ones(2))
        >>> tape.gradient(np.array([[3.0, 4.0], [1.0, 2.0]]))
        array([[6., 8.],
               [2., 4.]])
        """
        if self._input_shape and argnums == 0 and len(arguments) == 1:
            x = arguments[0]
            if not (
                type(x) is np.ndarray
                and x.shape == self._input_shape
                and x.dtype is _FLOAT64
                and x.flags.carray
            ):
                point = self._point(arguments)
                if point is None:
                    options = Options(out, num_threads, progress)
                    return self._many("gradient", arguments, options)
                x = point.reshape(self._input_shape)
            g = np.empty(self._input_shape) if out is None else out
            if not self._is_scalar_function:
                self.check_scalar()
            if out is not None and not (
                type(g) is np.ndarray
                and g.shape == self._input_shape
                and g.dtype is _FLOAT64
                and g.flags.carray
                and not np.may_share_memory(g, x)
            ):
                outputs_for(_LEAF, (self._input_shape,), (), g, (x,))
            if x.ndim == 1:
                failed = self.derivatives.gradient(x, g)
            else:
                failed = self.derivatives.gradient(x.reshape(-1), g.reshape(-1))
            if failed is not None:
                self._raise_branch(x.reshape(-1))
            return g
        options = Options(out, num_threads, progress)
        return self._derivative("gradient", arguments, options, argnums=argnums)

    def value_and_gradient(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The value of a scalar function, and its gradient as `gradient` gives it.

        Parameters
        ----------
        *arguments, argnums, out, num_threads, progress
            As for `gradient`; `out` is a pair.

        Returns
        -------
        value, gradient
            As calling the tape and `gradient` give them. Costs what `gradient` does.

        Raises
        ------
        OutputError, InputError, BranchError
            As for `gradient`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sum(x * x), np.ones(2))
        >>> tape.value_and_gradient(np.array([3.0, 4.0]))
        (25.0, array([6., 8.]))
        """
        options = Options(out, num_threads, progress)
        return self._derivative("value_and_gradient", arguments, options, argnums=argnums)

    def jacobian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        mode: str | None = None,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The derivatives of all outputs by all inputs; with leading axes, at many points.

        Parameters
        ----------
        *arguments, out, num_threads, progress
            As for calling the tape.
        argnums : int or sequence of int
            Which arguments to differentiate by.
        mode : {"forward", "reverse"}, optional
            One sweep an input, or one an output; the cheaper one by default.

        Returns
        -------
        tree
            Like the result, of trees like the argument, of arrays of shape output shape +
            input shape, after the leading axes of the points. Costs about one function
            for each input (forward), or two for each output (reverse); structural zeros
            cost nothing on the derivative tapes that batches and frequent calls use.

        Raises
        ------
        InputError
            For a mode of another name, and as for calling the tape.
        BranchError
            As for calling the tape.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x * x[0], np.ones(2))
        >>> tape.jacobian(np.array([[2.0, 3.0], [5.0, 7.0]])).shape
        (2, 2, 2)
        """
        options = Options(out, num_threads, progress)
        return self._derivative("jacobian", arguments, options, argnums=argnums, mode=mode)

    def value_and_jacobian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        mode: str | None = None,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The value, and the Jacobian as `jacobian` gives it.

        Parameters
        ----------
        *arguments, argnums, mode, out, num_threads, progress
            As for `jacobian`; `out` is a pair.

        Returns
        -------
        value, jacobian
            As calling the tape and `jacobian` give them. Costs what `jacobian` does.

        Raises
        ------
        InputError, BranchError
            As for `jacobian`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x * x[0], np.ones(2))
        >>> value, jacobian = tape.value_and_jacobian(np.array([2.0, 3.0]))
        >>> value
        array([4., 6.])
        >>> jacobian
        array([[4., 0.],
               [3., 2.]])
        """
        options = Options(out, num_threads, progress)
        return self._derivative(
            "value_and_jacobian", arguments, options, argnums=argnums, mode=mode
        )

    def _derivative(
        self, method: str, arguments: Sequence[Any], options: Options, **choices: Any
    ) -> Any:
        """A method that gives derivatives, and takes `choices` which."""
        x = self._point(arguments)
        if x is None:
            return self._many(method, arguments, options, **choices)
        argnums, mode = argnums_key(choices["argnums"]), choices.get("mode")
        check_mode(mode)
        failed, result = self.program(Derivation(method, argnums, mode)).run(x)
        if failed is not None:
            self._raise_branch(x)
        return result if options.out is None else self._filled(options.out, result)

    def program(self, derivation: Derivation) -> Program:
        """The program of a derivative of this tape; made once."""
        return self._programs.get(derivation) or self._make_program(derivation)

    def _make_program(self, derivation: Derivation) -> Program:
        self.check_result(derivation)
        argnums, is_gradient = derivation.argnums, derivation.is_gradient
        selection = self.select(argnums)
        mode = "reverse" if is_gradient else self.mode(derivation.mode, selection)
        simply = bool(derivation.method == "gradient" and argnums == 0 and self._input_shape)
        runners = self.derivatives, self.runner
        made = Program(*runners, self.result, selection, derivation, mode, simply)
        return self._programs.keep(derivation, made)

    def jvp(
        self,
        arguments: Sequence[Any],
        tangents: Sequence[Any],
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The value, and its derivative along `tangents`; with leading axes, at many points.

        Parameters
        ----------
        arguments, tangents : tuple or list
            The arguments, and a direction of the same structure and shapes. Either
            may have leading axes, and both are broadcast. The only argument may be given
            without a tuple, if it is neither a tuple nor a list itself.
        out, num_threads, progress
            As for calling the tape.

        Returns
        -------
        value, derivative
            Both of the result's structure. Costs about two to three times the function.

        Raises
        ------
        InputError
            Where `tangents` do not fit `arguments`, and as for calling the tape.
        BranchError
            As for calling the tape.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x, y: x * y, 2.0, 5.0)
        >>> tape.jvp((2.0, 5.0), (1.0, 0.0))
        (10.0, 5.0)
        """
        arguments, tangents = map(one_for_each_argument, (arguments, tangents))
        x = self._point(arguments)
        direction = None if x is None else self._point(tangents, "tangents")
        if x is None or direction is None:
            return self._many("jvp", (arguments, tangents), Options(out, num_threads, progress))
        failed, pair = self._jvp(x, direction)
        if failed is not None:
            self._raise_branch(x)
        return pair if out is None else self._filled(out, pair)

    def try_jvp(
        self, x: Floats, arguments: Sequence[Any], tangents: Sequence[Any]
    ) -> tuple[Failed | None, Any]:
        """What `jvp` gives, or the guard that does not hold at x, which `arguments` are."""
        direction = self._point(tangents, "tangents")
        if direction is not None:
            return self._jvp(x, direction)
        failed = self.failed_guard(x)
        return failed, None if failed else self.jvp(arguments, tangents)

    def _jvp(self, x: Floats, direction: Floats) -> tuple[Failed | None, Any]:
        failed, y, derivative = self.derivatives.jvp(x, direction)
        if failed is not None:
            return failed, None
        return None, (self.result.build(y), self.result.build(derivative))

    def vjp(
        self,
        arguments: Sequence[Any],
        cotangents: Any,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The value, and the gradient of its elements' sum weighted with `cotangents`.

        Parameters
        ----------
        arguments : tuple or list
            The arguments; or the only one, as for `jvp`.
        cotangents
            A tree of the result's structure and shapes. Either may have leading
            axes, and both are broadcast.
        out, num_threads, progress
            As for calling the tape.

        Returns
        -------
        value, gradients
            The result's tree, and a tuple of trees like the arguments. Costs about two to
            four times the function.

        Raises
        ------
        InputError
            Where `cotangents` do not fit the result, and as for calling the tape.
        BranchError
            As for calling the tape.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x, y: (x * y, x + y), 2.0, 5.0)
        >>> tape.vjp((2.0, 5.0), (1.0, 0.0))
        ((10.0, 7.0), (5.0, 2.0))
        """
        arguments = one_for_each_argument(arguments)
        x = self._point(arguments)
        weights = None
        if x is not None and not are_streams(cotangents):
            result = self.result
            weights = read_seeds(result.structure, result.shapes, cotangents, "cotangents")
        if x is None or weights is None or any(weights.varies):
            return self._many("vjp", (arguments, cotangents), Options(out, num_threads, progress))
        failed, y, gradient = self.derivatives.vjp(x, weights.at(0))
        if failed is not None:
            self._raise_branch(x)
        pair = self.result.build(y), self.gradients(gradient)
        return pair if out is None else self._filled(out, pair)

    def linearize(self, arguments: Sequence[Any]) -> tuple[Any, Callable[..., Any]]:
        """The value, and the derivative at this point as a function of tangents.

        Parameters
        ----------
        arguments : tuple or list
            One point; or the only argument, as for `jvp`.

        Returns
        -------
        value, push_forward
            ``push_forward(*tangents)`` gives a tree like the result. For a tape of scalar
            instructions the partials are computed once, and a call costs less than the
            function; otherwise two to three times as much.

        Raises
        ------
        InputError
            Where arguments or tangents have leading axes, and as for calling the tape.
        BranchError
            As for calling the tape.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x, y: x * y, 2.0, 5.0)
        >>> value, push_forward = tape.linearize((2.0, 5.0))
        >>> push_forward(1.0, 0.0), push_forward(0.0, 1.0)
        (5.0, 2.0)
        """
        x = self._one_point(one_for_each_argument(arguments)).copy()  # which `push` keeps
        failed, y, push = self.derivatives.linearize(x)
        if failed is not None:
            self._raise_branch(x)

        def push_forward(*tangents: Any) -> Any:
            return self.result.build(push(self._one_point(tangents, "tangents")))

        return self.result.build(y), push_forward

    def _many(self, method: str, arguments: Sequence[Any], options: Options, **choices: Any) -> Any:
        """A method at many points: of arrays, or in blocks."""
        if not are_streams(arguments):
            return getattr(BatchedTape(self, options), method)(*arguments, **choices)
        choices |= {"num_threads": options.num_threads, "progress": options.progress}
        call = partial(_call_method, self, method, choices)
        quiet = {**choices, "progress": False}
        example = partial(_call_method, self.without_guards(), method, quiet)
        shapes = list(self.signature.shapes)
        if method in ("jvp", "hvp"):
            shapes *= 2
        elif method == "vjp":
            shapes += self.result.shapes
        return in_blocks(call, example, arguments, shapes, options.out)

    def _filled(self, out: Any, result: Any) -> Any:
        """`out` with the result of one point written into it."""
        leaves, structure = flatten(result)
        shapes = tuple(np.shape(leaf) for leaf in leaves)
        for target, leaf in zip(outputs_for(structure, shapes, (), out), leaves, strict=True):
            target[...] = leaf
        return out

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

        Raises
        ------
        InputError
            Where an argument of `argnums` is not made of floats.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> print(nt.record(lambda x: x * np.sin(x), 2.0).tangent())
        inputs: s1
        s2 = sin(s1)
        s3 = s1 * s2
        s4 = cos(s1)
        s5 = s1 * s4
        s6 = s2 + s5
        outputs: s3 s6
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

        Raises
        ------
        InputError
            Where an argument of `argnums` is not made of floats.

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

        Values are the same but for the sign of a zero. Derivative tapes are simplified
        without being asked.

        Returns
        -------
        Tape
            Making it costs about 2 µs a scalar instruction.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x: (x + 1.0) * (x + 1.0), 2.0)
        >>> print(tape.optimize())
        inputs: s1
        s2 = s1 + 1.0
        s3 = s2 * s2
        outputs: s3
        """
        return Tape(optimize(self.flat), self.signature, self.result)

    def compile(self, *, quick: bool = False) -> "Tape":
        """Make machine code of the tape now, and of its derivatives when they are first asked for.

        A tape that is run often is compiled without being asked to, in the background;
        ``NUMTAPE_NATIVE=off`` in the environment keeps it from that. Values are the same
        to the bit at single points, and at many points within the vector maths'
        accuracy; derivatives are those of the interpreter to the bit, but for narrow
        products of matrices, which may add up in another order. Code is kept on disk for
        other processes (in ``NUMTAPE_CACHE_DIR``).

        Parameters
        ----------
        quick : bool
            Whether to have the code sooner, at the price of its speed.

        Returns
        -------
        The tape itself. Costs about 40 µs an instruction, 15 µs where `quick`. Where no
        machine code can be made, there is a `NativeCodeWarning`, once, and the tape is
        interpreted as before.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sum(x * x), np.ones(2)).compile()
        >>> tape.gradient(np.array([3.0, 4.0]))
        array([6., 8.])
        """
        self._compile(QUICK if quick else THOROUGH)
        return self

    def _compile(self, effort: int) -> None:
        self._prepare(effort)
        self.runner.compile(effort)
        if self.derivatives is not self.runner:
            self.derivatives.compile(effort)
        for tape in self._derived.values():
            tape._compile(effort)

    def _prepare(self, effort: int) -> None:
        """Have machine code made of whatever is run from now on."""
        self._effort = effort
        self.runner.prepare(effort)
        self.derivatives.prepare(effort)

    def _keep(self, key: Any, tape: "Tape") -> "Tape":
        """Keep a derivative tape under a key; it is compiled if this one was to be."""
        if self._effort is not None:
            tape._prepare(self._effort)
        return self._derived.keep(key, tape)

    def without_guards(self) -> "Tape":
        """The same tape, taking the recorded path everywhere.

        Its results are those of the function only where the function would take that path.

        Returns
        -------
        Tape
            Making it costs nothing to speak of.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x: x * x if x > 0.0 else -x, 2.0)
        >>> tape.without_guards()(-3.0)
        9.0
        """
        return Tape(self.flat.changed(guards=()), self.signature, self.result)

    def _differentiated(self) -> FlatTape:
        return self.derivatives.tape

    def gradient_tape(self, argnums: int | Sequence[int]) -> "Tape":
        """The tape of the gradient alone; made once.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        Tape
            Of the same arguments; its result is that of `gradient`. Making it costs what
            `adjoint` does.

        Raises
        ------
        OutputError
            Where the function returns anything but one float.

        Examples
        --------
        >>> import numtape as nt
        >>> tape = nt.record(lambda x: x * x * x, 2.0)
        >>> print(tape.gradient_tape(0))
        inputs: s1
        s2 = s1 * s1
        s3 = s2 + s2
        s4 = s3 + s2
        outputs: s4
        """
        self.check_scalar()
        key = (argnums_key(argnums), "gradient")
        tape = self._derived.get(key)
        if tape is None:
            jacobian = self.jacobian_tape(argnums, "reverse", False)
            shapes = jacobian.result.shapes
            structure = flatten(self.select(argnums).trees([0] * len(shapes)))[1]
            tape = Tape(jacobian.flat, self.signature, Result(structure, shapes))
            tape = self._keep(key, tape)
        return tape

    def jacobian_tape(self, argnums: int | Sequence[int], mode: str, with_value: bool) -> "Tape":
        """The tape of the Jacobian, alone or in a pair with the value; made once.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.
        mode : {"forward", "reverse"}
            How it is made: by columns, or by rows.
        with_value : bool
            Whether its result is ``(value, jacobian)``.

        Returns
        -------
        Tape
            Of the same arguments; its result is that of `jacobian`, or of
            `value_and_jacobian`. Making it costs what `tangent` or `adjoint` does.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.stack([x[0] * x[1], x[1]]), np.ones(2))
        >>> print(tape.jacobian_tape(0, "reverse", False))
        inputs: s1 s2
        outputs: s2 s1 0.0 1.0
        """
        key = (argnums_key(argnums), mode, with_value)
        tape = self._derived.get(key)
        if tape is None:
            tape = self.adjoint(argnums) if mode == "reverse" else self.tangent(argnums)
            if not with_value:
                _, structure = tape.result.structure.children
                result = Result(structure, tape.result.shapes[len(self.result.shapes) :])
                outputs = tape.flat.outputs[self.result.size :]
                flat = remove_dead(tape.flat.changed(outputs=outputs))
                tape = Tape(flat, tape.signature, result)
            tape = self._keep(key, tape)
        return tape

    def hessian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> Any:
        """The Hessian of a scalar function; with leading axes, at many points.

        Parameters
        ----------
        *arguments, out, num_threads, progress
            As for calling the tape.
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        tree
            Like the argument, of trees like the argument, of arrays of shape first leaf +
            second leaf, after the leading axes of the points. Costs about one gradient
            for each input; the first call makes the gradient's tape.

        Raises
        ------
        OutputError, InputError, BranchError
            As for `gradient`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x[0] ** 2 * x[1], np.ones(2))
        >>> tape.hessian(np.array([1.0, 3.0]))
        array([[6., 2.],
               [2., 0.]])
        """
        return self.gradient_tape(argnums).jacobian(
            *arguments,
            argnums=argnums,
            mode="forward",
            out=out,
            num_threads=num_threads,
            progress=progress,
        )

    def hvp(
        self,
        arguments: Sequence[Any],
        vectors: Sequence[Any],
        out: Any = None,
        num_threads: int | None = None,
        progress: _Progress = False,
    ) -> tuple[Any, ...]:
        """The product of a scalar function's Hessian with a vector; or at many points.

        Parameters
        ----------
        arguments, vectors : tuple or list
            The arguments, and trees of the same structure and shapes; or the only ones, as
            for `jvp`. Either may have leading axes, and both are broadcast.
        out, num_threads, progress
            As for calling the tape.

        Returns
        -------
        tuple
            A tree for each argument, None for a static one. Costs about four to ten times
            the function.

        Raises
        ------
        OutputError, InputError, BranchError
            As for `gradient`; also where `vectors` do not fit `arguments`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x[0] ** 2 * x[1], np.ones(2))
        >>> tape.hvp((np.array([1.0, 3.0]),), (np.array([1.0, 0.0]),))
        (array([6., 2.]),)
        """
        arguments, vectors = map(one_for_each_argument, (arguments, vectors))
        x = self._point(arguments)
        if x is None or self._point(vectors, "vectors") is None:
            options = Options(out, num_threads, progress)
            products: tuple[Any, ...] = self._many("hvp", (arguments, vectors), options)
            return products
        gradient = self.gradient_tape(self.owners)
        result = self.by_argument(flatten(gradient.jvp(arguments, vectors)[1])[0])
        if out is not None:
            self._filled(out, result)
        return result

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
            return chosen or self._modes.keep(key, self.derivatives.cheaper_mode(selection.inputs))
        check_mode(mode)
        return mode

    @property
    def owners(self) -> tuple[int, ...]:
        """The arguments that hold floats."""
        return tuple(sorted(set(self.signature.owners)))

    def gradients(self, gradient: Any) -> tuple[Any, ...]:
        """A gradient by all inputs as a tuple of trees like the arguments; None for static ones."""
        return self.by_argument(cut(gradient, self.signature.traced_shapes))

    def by_argument(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """Leaves for all inputs as a tuple of trees like the arguments; None for static ones."""
        remaining, owners = iter(leaves), self.owners
        structures = self.signature.derivative_structures
        trees = (structure.build(remaining) for structure in structures)
        return tuple(tree if k in owners else None for k, tree in enumerate(trees))

    def select(self, argnums: int | Sequence[int]) -> Selection:
        """The inputs meant by argnums."""
        key = argnums_key(argnums)
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selections.keep(key, select(self.signature, argnums))
        return selection

    def _point(self, arguments: Sequence[Any], what: str = "arguments") -> Floats | None:
        """The arguments end to end, perhaps in their memory; None if they are many points."""
        read = self._read
        if read is None:
            scalars = [float] * len(self.signature.owners)
            read = self._read = reader_of(self.signature, scalars)
        x = read(arguments)
        if x is not None:
            return x
        if are_streams(arguments):
            return None
        points = read_points(self.signature, arguments, what)
        return None if any(points.varies) else points.at(0)

    def _one_point(self, arguments: Sequence[Any], what: str = "arguments") -> Floats:
        x = self._point(arguments, what)
        if x is None:
            raise InputError(
                f"{what} with leading axes were given, and this is for one point. Use jvp, vjp, "
                "gradient or jacobian, which take many",
                code="wrong-structure",
            )
        return x

    def failed_guard(self, x: Floats) -> Failed | None:
        """The first guard that does not hold at a point, and the guarded value there."""
        if not self.flat.guards:
            return None
        return self.runner.evaluate(x, np.empty(len(self.flat.outputs)))

    def check_branch(self, x: Floats, number: int | None = None) -> None:
        """Raise where a point, or one of a batch, takes another path than this tape."""
        if self.failed_guard(x) is not None:
            self._raise_branch(x, number)

    def _raise_branch(self, x: Floats, number: int | None = None) -> NoReturn:
        failed = self.failed_guard(x)
        assert failed is not None
        guard, outcome = failed
        where = "" if number is None else f"point {number} of the batch: "
        raise BranchError(
            f"{where}{explain_guard(self.flat, guard, self.runner.value_of)} when this tape was "
            "recorded: the function would take another path at this point. Record a tape here, or "
            "use numtape.grad and its like, or numtape.vmap, which keep a tape for each path",
            guard,
            outcome,
            number,
        )

    def check_result(self, derivation: Derivation) -> None:
        """Raise where a derivative is not of what the function returns."""
        if derivation.is_gradient:
            self.check_scalar()
        elif derivation.of_floats:
            self.check_float()

    def check_scalar(self) -> None:
        """Raise unless the function returns one float."""
        if self.result.shapes != ((),):
            raise OutputError(
                f"the function returns {self.result.structure} of shapes {self.result.shapes}: a "
                "gradient is of a function that returns one number. Use jacobian, or return a sum",
                code="not-a-scalar",
            )
        self.check_float()

    def check_float(self) -> None:
        """Raise where what the function returns is an integer or a bool."""
        if self.result.counts:
            raise OutputError(
                "the function returns an integer or a bool: a gradient is of a float, and what "
                "counts or compares has slope 0 wherever it has one. Return 1.0 * value if zeros "
                "are meant; else compute the result with floats",
                code="not-a-float",
            )


def load(
    path: str | os.PathLike[str],
    *,
    types: Iterable[type] = (),
    memory_limit: float | None = None,
) -> Tape:
    """Read a tape that `Tape.save` has written.

    A file may come from anyone: no code in it is run, and the tape is checked completely
    before it can be. What it computes is of course up to who has written it.

    Parameters
    ----------
    path : str or path
    types : iterable of classes
        The named tuples and dataclasses among the arguments and results of the function
        that was recorded. Classes are found by name; numtape imports none by itself.
    memory_limit : float, optional
        How many bytes the tape may need to be run. By default NUMTAPE_MEMORY_LIMIT, else
        half of the machine's memory.

    Returns
    -------
    Tape

    Raises
    ------
    TapeError
        Where the file is no tape, is damaged, is of a newer version or holds an unknown
        operation, where the tape in it is malformed or needs too much memory, or where
        a class that it names is not among ``types``.
    OSError
        Where the file cannot be read.

    Notes
    -----
    Costs about 20 ns a scalar instruction and 20 µs a vector instruction beyond reading
    the bytes, and as much memory as the file is long, twice.

    Examples
    --------
    >>> import tempfile, numtape as nt
    >>> tape = nt.record(lambda p: p["a"] * p["b"], {"a": 2.0, "b": 3.0})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tape.save(f"{folder}/product.tape")
    ...     print(nt.load(f"{folder}/product.tape").gradient({"a": 2.0, "b": 3.0}))
    {'a': 3.0, 'b': 2.0}
    """
    return Tape(*read(path, types, memory_limit))


def _call_method(tape: Tape, method: str, choices: dict[str, Any], *arguments: Any) -> Any:
    """A method by name; what is sent to where blocks of points are run."""
    if method == "value":
        return tape(*arguments, **choices)
    return getattr(tape, method)(*arguments, **choices)


def check_mode(mode: Any) -> None:
    """Raise where a mode is none of those that there are."""
    if mode not in (None, "forward", "reverse"):
        raise InputError(
            f"mode={mode!r} was given: it must be 'forward' (a sweep an input), 'reverse' (a "
            "sweep an output) or None (the cheaper one)",
            code="wrong-option",
        )
