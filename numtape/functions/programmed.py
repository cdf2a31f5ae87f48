"""What the methods of `Tape` that run it have in common: one way for each kind of method.

A method reads its arguments. Of one point it runs the program of the derivative that it means;
of many it has the program run at all of them, see `batch.py`. Programs are made once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.batch import How, options_of, run_blocks, run_many
from numtape.functions.derived import Derivable
from numtape.functions.points import filled, outputs_for, read_seeds
from numtape.functions.programs import (
    Derivation,
    Evaluation,
    Many,
    Product,
    Program,
    Value,
    check_mode,
    product_of,
    program_of,
)
from numtape.functions.recent import Recent
from numtape.functions.result import Result
from numtape.functions.runner import Failed, Runner
from numtape.functions.signature import Signature, argnums_key
from numtape.functions.sparse import SparseProgram, sparse_program_of
from numtape.functions.sparse_options import Sparse
from numtape.functions.streams import are_streams
from numtape.functions.trees import Structure, one_for_each_argument
from numtape.tape.flat import FlatTape

__all__ = ["Programmed"]

Floats = npt.NDArray[np.float64]

_FLOAT64 = np.dtype(np.float64)
_LEAF = Structure(None)


class Programmed(Derivable):
    """Tapes that are run by programs; what `Tape` inherits."""

    def __init__(
        self, flat: FlatTape, signature: Signature, result: Result, runner: Runner | None = None
    ) -> None:
        super().__init__(flat, signature, result, runner)
        self._programs: Recent[Program | SparseProgram | Value] = Recent()
        self._products: dict[str, Product] = {}
        self._latest: tuple[Any, Any, Any, Any] = (None,) * 4  # what was asked for, its program

    def _value(self, arguments: Sequence[Any], how: How) -> Any:
        """Return what calling the tape gives."""
        x = self._point(arguments)
        if x is None:
            return self._many("value", arguments, how)
        y = np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) is not None:
            self._raise_branch(x)
        value = self.result.build(y)
        if self.result.aux is not None:
            return value, self.result.build_aux(y)
        return filled(options_of("__call__", how).out, value) if how else value

    def _derivative(
        self, method: str, arguments: Sequence[Any], argnums: Any, mode: str | None, how: How
    ) -> Any:
        """Return what a method gives whose derivative has no seed."""
        x = self._read(arguments)
        if x is None:
            x = self._point(arguments)
            if x is None:
                choices = {} if mode is None else {"mode": mode}
                return self._many(method, arguments, how, argnums=argnums_key(argnums), **choices)
        latest = self._latest
        if latest[0] is method and latest[1] is argnums and latest[2] is mode:
            program = latest[3]
        else:
            check_mode(mode)
            program = self.program(Derivation(method, argnums_key(argnums), mode))
            if type(argnums) in (int, tuple):  # what cannot change
                self._latest = method, argnums, mode, program
        if how:
            return self._into(program, x, method, how)
        failed, result = program.run(x)
        if failed is not None:
            self._raise_branch(x)
        return result

    def _into(self, program: Program, x: Floats, method: str, how: How) -> Any:
        """Return `out` with the result at a point; what fits there is written straight into it."""
        out, shape = how.get("out"), program.array_shape
        if out is None or shape is None or len(how) > 1:
            failed, result = program.run(x)
        else:
            if not (
                type(out) is np.ndarray
                and out.shape == shape
                and out.dtype is _FLOAT64
                and out.flags.carray
                and not np.may_share_memory(out, x)
            ):
                outputs_for(_LEAF, (shape,), (), out, (x,))
            failed, result = program.run(x, out if out.ndim == 1 else out.reshape(-1))[0], out
        if failed is not None:
            self._raise_branch(x)
        return result if result is out else filled(options_of(method, how).out, result)

    def _many(self, method: str, arguments: Sequence[Any], how: How, **choices: Any) -> Any:
        """Return what a method gives at many points: of arrays, or in blocks."""
        options = options_of("__call__" if method == "value" else method, how)
        program: Many
        if are_streams(arguments):
            shapes = self.signature.shapes
            if method in ("jvp", "vjp", "hvp"):
                shapes += self.result.shapes if method == "vjp" else shapes
            free = self.without_guards()
            return run_blocks(self, free, method, arguments, shapes, options, choices)
        if method == "value":
            program = Evaluation(self.runner, self.result)
        elif method in ("jvp", "vjp", "hvp"):
            program = self.product(method)
        else:
            check_mode(choices.get("mode"))
            program = self.program(Derivation(method, **choices))
        return self._many_of(program, method, arguments, how)

    def _many_of(self, program: Many, method: str, arguments: Sequence[Any], how: How) -> Any:
        """Return what a program gives at many points, of arrays."""
        options = options_of(method, how)
        points = program.points(self.signature, arguments)
        traced = points.first(len(self.signature.traced_shapes))  # without seeds
        return run_many(
            program, points, options, lambda number: self.check_branch(traced.at(number), number)
        )

    def program(self, derivation: Derivation) -> Any:
        """Return the program of a derivative of this tape; made once."""
        program = self._programs.get(derivation)
        if program is None:
            program = self._programs.keep(derivation, self._program_of(derivation))
        return program

    def _program_of(self, derivation: Derivation) -> Any:
        if derivation.method == "value":
            return Value(self.runner, self.result)
        make = program_of if derivation.sparse is None else sparse_program_of
        return make(derivation, self.signature, self.result, self.derivatives, self.runner)

    def _sparse_derivative(
        self,
        method: str,
        arguments: Sequence[Any],
        argnums: Any,
        mode: str | None,
        options: Sparse,
        how: How,
    ) -> Any:
        """Return what a method gives whose derivative is sparse."""
        derivation = Derivation(method, argnums_key(argnums), mode, sparse=options)
        program = self.program(derivation)
        x = self._point(arguments)
        if x is None:
            if program.derivative.seeds is None:
                return program.batches(self._many_of(program, method, arguments, how))
            points = program.points(self.signature, arguments)
            failed, result = program.run_each(points)
            if failed is not None:
                self.check_branch(points.at(result), result)
            return result
        out = options_of(method, how).out
        failed, result = program.run(x, out)
        if failed is not None:
            self._raise_branch(x)
        return result

    def product(self, method: str) -> Product:
        """Return the program of "jvp", "vjp" or "hvp"; made once."""
        product = self._products.get(method)
        if product is None:
            made = product_of(method, self.signature, self.result, self.derivatives)
            product = self._products.setdefault(method, made)
        return product

    def _weighted(self, arguments: Any, cotangents: Any, how: How) -> Any:
        """Return what `vjp` gives."""
        arguments = one_for_each_argument(arguments)
        x = self._point(arguments)
        weights = None
        if x is not None and not are_streams(cotangents):
            result = self.result
            weights = read_seeds(result.structure, result.shapes, cotangents, "cotangents")
        if x is None or weights is None or any(weights.varies):
            return self._many("vjp", (arguments, cotangents), how)
        failed, pair = self.product("vjp").run(x, weights.at(0))
        if failed is not None:
            self._raise_branch(x)
        return filled(options_of("vjp", how).out, pair) if how else pair

    def _product(self, method: str, arguments: Any, seeds: Any, what: str, how: How) -> Any:
        """Return what a method gives whose seeds are like the arguments."""
        arguments, seeds = one_for_each_argument(arguments), one_for_each_argument(seeds)
        x = self._point(arguments)
        direction = None if x is None else self._point(seeds, what)
        if x is None or direction is None:
            return self._many(method, (arguments, seeds), how)
        failed, product = self.product(method).run(x, direction)
        if failed is not None:
            self._raise_branch(x)
        return filled(options_of(method, how).out, product) if how else product

    def try_jvp(
        self, x: Floats, arguments: Sequence[Any], tangents: Sequence[Any]
    ) -> tuple[Failed | None, Any]:
        """Return what `jvp` gives, or the guard that does not hold at x, which `arguments` are."""
        direction = self._point(tangents, "tangents")
        if direction is not None:
            return self.product("jvp").run(x, direction)
        failed = self.failed_guard(x)
        if failed is not None:
            return failed, None
        return None, self._product("jvp", arguments, tangents, "tangents", {})

    def try_hvp(self, x: Floats, vectors: Sequence[Any]) -> tuple[Failed | None, Any]:
        """Return what `hvp` gives at x, or the guard that does not hold there."""
        return self.product("hvp").run(x, self._one_point(vectors, "tangents"))

    def auxiliary(self, arguments: Sequence[Any]) -> Any:
        """Return the auxiliary result, for a tape of a function that has one."""
        x, y = self._one_point(arguments), np.empty(len(self.flat.outputs))
        if self.runner.evaluate(x, y) is not None:
            self._raise_branch(x)
        return self.result.build_aux(y)
