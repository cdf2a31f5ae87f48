"""Functions whose derivatives are sparse matrices: what `jacobian` and `hessian` make if asked."""

from typing import Any

from numtape.errors import UnsupportedError
from numtape.functions.differentiated import Derivative
from numtape.trace.locations import user_location
from numtape.trace.record import active_recorder

__all__ = ["SparseFunction"]


class SparseFunction(Derivative):
    """A function's sparse derivative as a callable, with its recordings.

    Each path through the function has a structure of its own, found when it is first taken.
    """

    def __call__(self, *arguments: Any, out: Any = None, **named: Any) -> Any:
        """Return the derivative at these arguments; `out` is an earlier result to write to."""
        if active_recorder() is not None:
            raise UnsupportedError(
                f"{self.__name__} was called on traced values at {user_location()}: a sparse "
                "matrix has no traced form. Use the dense numtape.jacobian there, or products with "
                "it by numtape.jvp and vjp; at many points, pass leading axes to a tape's method",
                code="sparse-inside",
            )
        if out is None:
            return super().__call__(*arguments, **named)
        if not named and (ran := self._known(arguments)) is not None:
            x, tape = ran.paths.read(arguments), ran.paths.latest
            if x is not None and tape is not None and ran.run(tape, x, out)[0] is None:
                return out
        return self._look_and_run(arguments, named, out)

    def explain(self, *arguments: Any, **named: Any) -> str:
        """Return in a line how the derivative at these arguments is computed, and why.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.jacobian(lambda x: x[1:] * x[:-1], sparse=True).explain(np.ones(100)).split(":")[0]
        "99 x 100, 198 nonzeros, 0 instructions, mode 'entries'"
        """
        by, derivation = self._derivation_of(arguments)
        paths, call = self.recordings.paths(arguments, named, by)
        return str(paths.tape_at(call).program(derivation).derivative)
