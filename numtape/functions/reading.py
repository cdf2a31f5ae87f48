"""What a tape shows of itself: the program, trace tables, graphs, expressions.

`Readable` is the part of `Tape` that is for people. It runs the tape where numbers are
asked for, and leaves how they look to `numtape.show`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.points import read_seeds
from numtape.functions.recorded import Recorded
from numtape.functions.selection import cut
from numtape.functions.traces import adjoints_of_slots, tangents_of_slots
from numtape.show.graph import Graph, graph
from numtape.show.symbolic import expressions, latex, shared_expressions, written_out
from numtape.show.tables import MODES, TraceTable, trace_table
from numtape.show.wengert import WengertList
from numtape.tape.text import program, summary
from numtape.transform.unrolling import unrolled

__all__ = ["Readable"]

Floats = npt.NDArray[np.float64]


Method = TypeVar("Method", bound=Callable[..., Any])


def _of_each_step(method: Method) -> Method:
    """Make a method show a tape with the steps of its loops written out, one by one."""

    @functools.wraps(method)
    def shown(tape: Any, *arguments: Any, **named: Any) -> Any:
        if tape.flat.has_loops:
            tape = type(tape)(unrolled(tape.flat), tape.signature, tape.result)
        return method(tape, *arguments, **named)

    return shown  # type: ignore[return-value]


class Readable(Recorded):
    """Tapes as people read them; what `Tape` inherits."""

    def __str__(self) -> str:
        return program(self.flat, whole=False)

    def text(self, values: bool = False, lines: bool = False, whole: bool = False) -> str:
        """Return the program as a person can read it; `print(tape)` shows it too.

        Parameters
        ----------
        values : bool
            Add what each instruction gave at the recording point.
        lines : bool
            Add the source line each instruction came from; for a tape recorded
            with ``record(..., lines=True)``.
        whole : bool
            Show every instruction. Of a tape of more than 200 there are otherwise the first 20
            and the last 20, with a count between them.

        Returns
        -------
        str
            A line for each instruction and guard. Numbers stand for constants, s1, s2, ...
            for inputs and results in order.

        Raises
        ------
        TapeError
            Where lines are asked for and were not recorded.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x, y: x * np.exp(y), 2.0, 0.0)
        >>> print(tape.text(values=True))
        inputs: s1 s2
        s3 = exp(s2)                          ; 1
        s4 = s1 * s3                          ; 2
        outputs: s4
        """
        slots = None
        if values:
            slots = self.runner.slot_values(self.flat.point)
        return program(self.flat, slots, lines, whole)

    def summary(self) -> str:
        """Count the instructions of each operation, and the memory of a run.

        Returns
        -------
        str
            The most frequent operations first; ``name[]`` is an operation over an array. At the
            end the tests of which both arms were recorded, and those that are guards, and why.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> print(nt.record(lambda x: np.sum(np.exp(x)), np.ones(100)).summary())
        2 instructions (0 scalar, 2 vector), 100 inputs, 1 outputs, 0 constants, 0 guards
        24 bytes of instructions, at most 1616 bytes to evaluate
        exp[]  1
        sum    1
        """
        told = [] if self.choices is None else [self.choices.text()]
        return "\n".join([summary(self.flat), *told])

    @_of_each_step
    def trace_table(
        self, *arguments: Any, mode: str = "primal", seed: Any = None, digits: int = 10
    ) -> TraceTable:
        """Return the Wengert list at a point, with the trace of a run or of a sweep.

        Parameters
        ----------
        *arguments
            As for calling the tape; one point.
        mode : {"primal", "tangent", "adjoint"}
            The values alone, or beside them each variable's derivative along `seed`
            (forward mode), or the derivative of the outputs, weighted with `seed`, by
            each variable (reverse mode).
        seed : optional
            For tangents a tuple with a tangent for each argument, as for `jvp`; by default
            1 where there is one input. For adjoints a tree like the result, as for `vjp`;
            by default 1 where there is one output.
        digits : int
            How many significant digits are printed. The table's rows have all.

        Returns
        -------
        TraceTable
            Prints as text, and as HTML in notebooks. Rows are ``x`` (or ``x1``, ``x2``, ...)
            for the arguments and ``v1``, ``v2``, ... for the instructions;
            ``table["v1"].value`` is a number, or an array of a whole-array instruction.
            Adjoints cost about 1 ms and more a whole-array instruction: this is for
            looking, and `jvp` and `vjp` are for computing.

        Raises
        ------
        InputError
            Where the point or the seed does not fit, or a seed is needed.
        BranchError
            Where a comparison comes out otherwise than at the recording.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x, y: np.log(x) + x * y, 2.0, 5.0)
        >>> tape.trace_table(2.0, 5.0, mode="adjoint")
        variable  expression  value         adjoint  partials
        --------  ----------  ------------  -------  ----------------------
        x1                    2             5.5
        x2                    5             2
        v1        log(x1)     0.6931471806  1        by x1: 1.0 / x1
        v2        x1 * x2     10            1        by x1: x2; by x2: x1
        v3        v1 + v2     10.69314718   1        by v1: 1.0; by v2: 1.0
        outputs: v3
        """
        values, derivatives = self._traces(arguments, mode, seed)
        return trace_table(self._wengert(), mode, values, derivatives, digits)

    def graph(
        self, *arguments: Any, mode: str = "primal", seed: Any = None, digits: int = 6
    ) -> Graph:
        """Return the computational graph, at a point with values and derivatives in the nodes.

        Parameters
        ----------
        *arguments
            As for calling the tape; none for the graph without numbers.
        mode, seed
            As for `trace_table`.
        digits : int
            How many significant digits are written in the nodes.

        Returns
        -------
        Graph
            ``str(graph)`` is Graphviz DOT; ``graph.svg()`` the drawing, where Graphviz is
            installed, which notebooks show by themselves. ``graph.nodes`` and
            ``graph.edges`` are for other programs.

        Raises
        ------
        InputError, BranchError
            As `trace_table`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sin(np.log(x)), 2.0)
        >>> print(tape.graph(2.0, mode="adjoint", digits=4))
        digraph tape {
          rankdir="BT"
          node [fontname="monospace"]
          x [label="x\\nvalue 2\\nadjoint 0.3846" shape=box]
          v1 [label="v1 = log(x)\\nvalue 0.6931\\nadjoint 0.7692" shape=box style=rounded]
          v2 [label="v2 = sin(v1)\\nvalue 0.639\\nadjoint 1" shape=box style=rounded peripheries=2]
          x -> v1
          v1 -> v2
        }
        """
        numbers: list[tuple[str, Floats]] = []
        if arguments:
            values, derivatives = self._traces(arguments, mode, seed)
            numbers.append(("value", values))
            if derivatives is not None:
                numbers.append((mode, derivatives))
        elif mode != "primal" or seed is not None:
            raise InputError(
                f"mode={mode!r} and seed={seed!r} were given without a point: numbers are those of "
                "a run. Pass the arguments to run the tape at, or leave mode and seed out"
            )
        return graph(self._wengert(), numbers, digits)

    @_of_each_step
    def to_sympy(
        self, symbols: Sequence[Any] | None = None, shared: bool = False, limit: int = 10_000
    ) -> Any:
        """Return the tape as expressions of SymPy. Needs the extra ``symbolic``.

        Parameters
        ----------
        symbols : sequence of str or Symbol, optional
            One for each input; by default ``x`` for a float argument (``x1``, ``x2``, ...
            where there are several arguments), and ``x_0``, ``x_1``, ... for the elements
            of an array. They are real.
        shared : bool
            Whether to keep what the tape shares: every result is then a symbol of its
            own, and the expressions are as long as the tape.
        limit : int
            The most operations that the expressions may have; where `shared`, the most
            assignments.

        Returns
        -------
        A tree like the function's result, of expressions and of object arrays of them. Where
        `shared`, a list of pairs (symbol, expression) to be assigned one after the other,
        and that tree. Whole-array instructions are written out element by element.

        Raises
        ------
        TapeError
            Where the tape has guards (see `without_guards`), or the limit is passed.
        UnsupportedError
            Where SymPy is not installed, or an instruction cannot be written out, such as a
            sort or a decomposition.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> tape = nt.record(lambda x: np.sin(x) ** 2 / x, 2.0)
        >>> tape.to_sympy()
        sin(x)**2/x
        >>> tape.adjoint().to_sympy()[1]
        2*sin(x)*cos(x)/x - sin(x)**2/x**2
        >>> tape.to_sympy(shared=True)
        ([(v1, sin(x)), (v2, v1**2), (v3, v2/x)], v3)
        """
        if not shared:
            return self.result.build(expressions(self._wengert(), symbols, limit))
        assignments, outputs = shared_expressions(self._wengert(), symbols, limit)
        return assignments, self.result.build(outputs)

    @_of_each_step
    def to_latex(
        self, symbols: Sequence[Any] | None = None, shared: bool = False, limit: int = 10_000
    ) -> str:
        """Return the tape as LaTeX, by `to_sympy`. Needs the extra ``symbolic``.

        Parameters
        ----------
        symbols, shared, limit
            As for `to_sympy`.

        Returns
        -------
        str
            An expression, for an array a matrix; several results with commas between.
            Where `shared`, the assignments one below the other.

        Raises
        ------
        TapeError, UnsupportedError
            As `to_sympy`.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> print(nt.record(lambda x: np.log(x) / x, 2.0).to_latex())
        \\frac{\\log{\\left(x \\right)}}{x}
        """
        assignments: Sequence[tuple[Any, Any]] = ()
        if shared:
            assignments, outputs = shared_expressions(self._wengert(), symbols, limit)
        else:
            outputs = expressions(self._wengert(), symbols, limit)
        return latex(cut(outputs, self.result.shapes), assignments)

    @_of_each_step
    def expression_size(self) -> int:
        """Count the operations `to_sympy` would write, in which nothing is shared.

        Returns
        -------
        int
            Beside the number of instructions, it says what sharing saves. It is counted, not
            written, so it may have hundreds of digits; counting costs some microseconds an
            instruction.

        Examples
        --------
        >>> import numtape as nt
        >>> def f(x):
        ...     for _ in range(20):
        ...         x = 4.0 * x * (1.0 - x)
        ...     return x
        >>> tape = nt.record(f, 0.2)
        >>> tape.flat.instructions, tape.expression_size()
        (60, 3145725)
        """
        return written_out(self.flat)

    def _wengert(self) -> WengertList:
        return WengertList(self.flat, self.signature.traced_shapes)

    def _traces(
        self, arguments: Sequence[Any], mode: str, seed: Any
    ) -> tuple[Floats, Floats | None]:
        """Return all slots' values at a point, and their tangents or adjoints."""
        if mode not in MODES:
            raise InputError(
                f"mode={mode!r} was given: it must be 'primal' (values), 'tangent' (and "
                "derivatives along a direction) or 'adjoint' (and derivatives of the result by "
                "each variable)"
            )
        x = self._one_point(arguments)
        self.check_branch(x)
        values = self.runner.slot_values(x)
        if mode == "primal":
            if seed is not None:
                raise InputError(
                    f"seed={seed!r} was given, and mode='primal' shows values alone: seeds are "
                    "for derivatives. Pass mode='tangent' or mode='adjoint', or leave seed out"
                )
            return values, None
        if mode == "tangent":
            if seed is None and self.flat.inputs != 1:
                raise InputError(
                    f"mode='tangent' was asked for without a seed, and there are "
                    f"{self.flat.inputs} inputs: a tangent is along a direction. Pass seed=, a "
                    "tuple with a tangent for each argument, such as seed=(1.0, 0.0)"
                )
            direction = np.ones(1) if seed is None else self._one_point(seed, "seed")
            return values, tangents_of_slots(self.flat, x, direction)
        result, tape = self.result, self.derivatives.tape
        if seed is None and result.size != 1:
            raise InputError(
                f"mode='adjoint' was asked for without a seed, and there are {result.size} "
                "outputs: adjoints are derivatives of their weighted sum. Pass seed=, a tree of "
                "weights like the result"
            )
        weights = np.ones(1)
        if seed is not None:
            seeds = read_seeds(result.structure, result.shapes, seed, "seed")
            if any(seeds.varies):
                raise InputError(
                    "seed has leading axes, and a trace is of one point and one seed. Pass a tree "
                    "of weights of the shapes of the result"
                )
            weights = seeds.at(0)
        return values, adjoints_of_slots(tape, values, weights)
