"""Tapes made of tapes that have trees of arguments and results.

`Derivable` is the part of `Tape` that makes others: derivative tapes, simpler ones, and ones
without guards. What is to be derived is said by specifications; here a signature and a
result are found for what comes out.
"""

from collections.abc import Sequence
from typing import Self

from numtape.errors import InputError
from numtape.functions.programs import (
    Derivation,
    gradient_runner,
    jacobian_result,
    pair_of,
    specified,
)
from numtape.functions.reading import Readable
from numtape.functions.result import Result, check_scalar
from numtape.functions.selection import select
from numtape.functions.signature import Signature, argnums_key, static_text
from numtape.functions.specification import ADJOINT, TANGENT, Specification, derive
from numtape.functions.trees import Structure
from numtape.transform.passes import optimize

__all__ = ["Derivable"]


class Derivable(Readable):
    """Tapes that others are made of; what `Tape` inherits."""

    def tangent(self, argnums: int | Sequence[int] = 0, seeded: bool = False) -> Self:
        """Return a tape of the value and the derivatives, made forward.

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
        return self._seeded(TANGENT) if seeded else self._unseeded("forward", argnums)

    def adjoint(self, argnums: int | Sequence[int] = 0, seeded: bool = False) -> Self:
        """Return a tape of the value and the derivatives, made backward.

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
        return self._seeded(ADJOINT) if seeded else self._unseeded("reverse", argnums)

    def gradient_tape(self, argnums: int | Sequence[int]) -> Self:
        """Return the tape of the gradient alone; it is made once.

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
        check_scalar(self.result)
        selection = select(self.signature, argnums)
        runner = gradient_runner(self.derivatives, selection, is_tape=True)
        result = Result(selection.structure, selection.shapes)
        return type(self)(runner.tape, self.signature, result, runner)

    def jacobian_tape(self, argnums: int | Sequence[int], mode: str, with_value: bool) -> Self:
        """Return the tape of the Jacobian, alone or in a pair with the value; it is made once.

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
        what, result = self._jacobian(mode, argnums)
        runner = self.derivatives.derivative(what._replace(with_value=with_value))
        if with_value:
            result = pair_of(self.result, result)
        return type(self)(runner.tape, self.signature, result, runner)

    def optimize(self) -> Self:
        """Return the same function on a simpler tape: constants folded, equal instructions shared.

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
        optimized = type(self)(optimize(self.flat), self.signature, self.result)
        optimized.choices = self.choices
        return optimized

    def without_guards(self) -> Self:
        """Return the same tape, taking the recorded path everywhere.

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
        return type(self)(self.flat.changed(guards=()), self.signature, self.result)

    def _jacobian(self, mode: str, argnums: int | Sequence[int]) -> tuple[Specification, Result]:
        """Return the specification of the tape of a Jacobian, and the trees of that."""
        selection = select(self.signature, argnums)
        derivation = Derivation("jacobian", argnums_key(argnums), mode)
        what = specified(derivation, self.derivatives, selection, self.result)
        return what._replace(is_tape=True), jacobian_result(self.result, selection)

    def _unseeded(self, mode: str, argnums: int | Sequence[int]) -> Self:
        what, result = self._jacobian(mode, argnums)
        flat = derive(self.derivatives.tape, what)
        return type(self)(flat, self.signature, pair_of(self.result, result))

    def _seeded(self, what: Specification) -> Self:
        for number, place, key in self.signature.leaves():
            if key is not None:
                raise InputError(
                    f"argument {number}{place} is {static_text(key)}, which is static, and a "
                    "seeded derivative tape takes a seed for each argument: all must be floats. "
                    "Close over the static ones with a lambda or functools.partial, and record "
                    "that",
                    code="not-differentiable",
                )
        flat, own = derive(self.derivatives.tape, what._replace(is_tape=True)), self.signature
        count, children = len(own.structure.children), own.structure.children
        if what is TANGENT:
            seeds, shapes = children, own.shapes
            owners = tuple(owner + count for owner in own.owners)
            derivative = Result(self.result.structure, self.result.shapes)
        else:
            seeds, shapes = (self.result.structure,), self.result.shapes
            owners = (count,) * len(shapes)
            derivative = Result(Structure(tuple, (), children), own.traced_shapes)
        structure = Structure(list, (), children + seeds)
        signature = Signature(structure, own.shapes + shapes, (), own.owners + owners)
        return type(self)(flat, signature, pair_of(self.result, derivative))
