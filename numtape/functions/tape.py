"""The tape that users hold: a recording with methods.

A `Tape` wraps a flat tape with what is needed to call it like the function it
was recorded from: the trees of arguments and results. It knows one path only,
and raises `BranchError` where a point would take another.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from numtape.functions.batch import How, names_options
from numtape.functions.programmed import Programmed
from numtape.functions.programs import check_hessian_mode, gradient_runner
from numtape.functions.result import check_scalar
from numtape.functions.saved import write
from numtape.functions.selection import select
from numtape.functions.sparse_options import sparse_options
from numtape.functions.trees import one_for_each_argument
from numtape.jit.compiling import QUICK, THOROUGH
from numtape.sparse.derivative import jacobian_pattern
from numtape.sparse.pattern import Pattern

__all__ = ["Tape"]


class Tape(Programmed):
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

    @names_options
    def __call__(
        self,
        *arguments: Any,
        **how: Unpack[How],
    ) -> Any:
        """Return the function's value; with leading axes, at many points.

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
        return self._value(arguments, how)

    @names_options
    def gradient(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        **how: Unpack[How],
    ) -> Any:
        """Return the gradient of a scalar function; with leading axes, at many points.

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
        return self._derivative("gradient", arguments, argnums, None, how)

    @names_options
    def value_and_gradient(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        **how: Unpack[How],
    ) -> Any:
        """Return the value of a scalar function, and its gradient as `gradient` gives it.

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
        return self._derivative("value_and_gradient", arguments, argnums, None, how)

    @names_options
    def jacobian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        mode: str | None = None,
        sparse: Any = False,
        format: str | None = None,  # noqa: A002 (SciPy's name)
        check: bool = False,
        **how: Unpack[How],
    ) -> Any:
        """Return the derivatives of all outputs by all inputs; with leading axes, at many points.

        Parameters
        ----------
        *arguments, out, num_threads, progress
            As for calling the tape.
        argnums : int or sequence of int
            Which arguments to differentiate by.
        mode : {"forward", "reverse"}, optional
            One sweep an input, or one an output; the cheaper one by default. A sparse one is
            made by a tangent for each colour of columns, an adjoint for each colour of rows,
            or "entries": nonzeros accumulated forward.
        sparse : bool, Pattern or sparse array
            Whether to give arrays of ``scipy.sparse``: for each argument one with a row for each
            number of the result, which is one array, and a column for each number of the
            argument. At many points it is a `SparseBatch` of values ``(points, nonzeros)``.
            A pattern says where nonzeros may be; by default it is found, once.
        format : str, optional
            SciPy's name of a format; "csr" by default.
        check : bool
            Whether to compare a sparse one with the derivative along a direction at each
            point: to be sure of a pattern.

        Returns
        -------
        tree
            Like the result, of trees like the argument, of arrays of shape output shape +
            input shape, after the leading axes of the points. Costs about one function
            for each input (forward), or two for each output (reverse); structural zeros
            cost nothing on the derivative tapes that batches and frequent calls use. Values of
            a sparse one take about as long as writing them by hand; `out` may be an earlier
            result in CSR format, whose values are then replaced.

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
        options = sparse_options(sparse, format, check)
        if options is not None:
            return self._sparse_derivative("jacobian", arguments, argnums, mode, options, how)
        return self._derivative("jacobian", arguments, argnums, mode, how)

    @names_options
    def value_and_jacobian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        mode: str | None = None,
        sparse: Any = False,
        format: str | None = None,  # noqa: A002 (SciPy's name)
        check: bool = False,
        **how: Unpack[How],
    ) -> Any:
        """Return the value, and the Jacobian as `jacobian` gives it.

        Parameters
        ----------
        *arguments, argnums, mode, sparse, format, check, out, num_threads, progress
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
        options = sparse_options(sparse, format, check)
        if options is not None:
            return self._sparse_derivative(
                "value_and_jacobian", arguments, argnums, mode, options, how
            )
        return self._derivative("value_and_jacobian", arguments, argnums, mode, how)

    @names_options
    def hessian(
        self,
        *arguments: Any,
        argnums: int | Sequence[int] = 0,
        mode: str | None = None,
        sparse: Any = False,
        format: str | None = None,  # noqa: A002 (SciPy's name)
        check: bool = False,
        **how: Unpack[How],
    ) -> Any:
        """Return the Hessian of a scalar function; with leading axes, at many points.

        Parameters
        ----------
        *arguments, out, num_threads, progress
            As for calling the tape.
        argnums : int or sequence of int
            Which arguments to differentiate by.
        mode : {"entries", "forward", "reverse"}, optional
            How a sparse one is made.
        sparse, format, check
            As for `jacobian`.

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
        options = sparse_options(sparse, format, check)
        if options is not None:
            return self._sparse_derivative("hessian", arguments, argnums, mode, options, how)
        check_hessian_mode(mode)
        return self._derivative("hessian", arguments, argnums, None, how)

    def jacobian_pattern(self, argnums: int | Sequence[int] = 0) -> Pattern:
        """Return where the Jacobian may be nonzero, on this tape's path.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        Pattern
            A row for each number of the result, and a column for each number of the chosen
            arguments, all in order. It holds at every point that takes this path. Finding it takes
            10 to 40 ns for each element that the tape computes.

        Raises
        ------
        InputError
            Where an argument of `argnums` is not made of floats.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: x[1:] * x[:-1], np.ones(5))
        >>> tape.jacobian_pattern().columns
        array([0, 1, 1, 2, 2, 3, 3, 4], dtype=int32)
        """
        inputs = select(self.signature, argnums).inputs
        return jacobian_pattern(self.derivatives.tape, inputs)

    def hessian_pattern(self, argnums: int | Sequence[int] = 0) -> Pattern:
        """Return where the Hessian of a scalar function may be nonzero, on this tape's path.

        Parameters
        ----------
        argnums : int or sequence of int
            Which arguments to differentiate by.

        Returns
        -------
        Pattern
            A row and a column for each number of the chosen arguments, in order. It holds at every
            point that takes this path. Finding it takes a gradient's tape and 10 to 40 ns
            for each element that this computes.

        Raises
        ------
        OutputError, InputError
            As for `gradient`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sum(x[1:] * x[:-1]), np.ones(4))
        >>> tape.hessian_pattern().to_scipy().toarray()
        array([[0., 1., 0., 0.],
               [1., 0., 1., 0.],
               [0., 1., 0., 1.],
               [0., 0., 1., 0.]])
        """
        check_scalar(self.result)
        selection = select(self.signature, argnums)
        gradient = gradient_runner(self.derivatives, selection).tape
        return jacobian_pattern(gradient, selection.inputs)

    @names_options
    def jvp(
        self,
        arguments: Sequence[Any],
        tangents: Sequence[Any],
        **how: Unpack[How],
    ) -> Any:
        """Return the value, and its derivative along `tangents`; with leading axes, at many points.

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
        return self._product("jvp", arguments, tangents, "tangents", how)

    @names_options
    def vjp(
        self,
        arguments: Sequence[Any],
        cotangents: Any,
        **how: Unpack[How],
    ) -> Any:
        """Return the value, and the gradient of its elements' sum weighted with `cotangents`.

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
        return self._weighted(arguments, cotangents, how)

    @names_options
    def hvp(
        self,
        arguments: Sequence[Any],
        vectors: Sequence[Any],
        **how: Unpack[How],
    ) -> tuple[Any, ...]:
        """Return the product of a scalar function's Hessian with a vector; or at many points.

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
        product: tuple[Any, ...] = self._product("hvp", arguments, vectors, "vectors", how)
        return product

    def linearize(self, arguments: Sequence[Any]) -> tuple[Any, Callable[..., Any]]:
        """Return the value, and the derivative at this point as a function of tangents.

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
        effort = QUICK if quick else THOROUGH
        self.runner.compile(effort)
        if self.derivatives is not self.runner:
            self.derivatives.compile(effort)
        return self

    def __repr__(self) -> str:
        return (
            f"<Tape: {self.flat.inputs} inputs, {len(self.flat.outputs)} outputs, "
            f"{self.flat.instructions} instructions>"
        )
