"""A recorded function: its flat tape, and the trees of its arguments and results.

`Recorded` is what `Tape` is at the bottom: it reads arguments into points and tells which guard
does not hold there. Who runs the tape, and how, is its `Runner`.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numtape.errors import BranchError, InputError, TapeError
from numtape.functions.points import read_points
from numtape.functions.readers import Reader, reader_of
from numtape.functions.result import Result
from numtape.functions.runner import Failed, Runner
from numtape.functions.signature import Signature
from numtape.functions.streams import are_streams
from numtape.tape.flat import FlatTape
from numtape.tape.text import explain_guard
from numtape.trace.branches.choices import Choices
from numtape.transform.unrolling import unrolled

__all__ = ["Recorded"]

Floats = npt.NDArray[np.float64]


class Recorded:
    """Tapes that know their trees; what `Tape` inherits.

    Parameters
    ----------
    flat : FlatTape
    signature : Signature
        Of the arguments.
    result : Result
    runner : Runner, optional
        The flat tape made ready to run, if it is already.
    """

    def __init__(
        self, flat: FlatTape, signature: Signature, result: Result, runner: Runner | None = None
    ) -> None:
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
        self.runner = runner or Runner(flat)
        # Auxiliary outputs are evaluated, and not differentiated.
        self.derivatives = self.runner
        if result.aux is not None:
            self.derivatives = Runner(flat.giving(flat.outputs[: result.size]))
        self.choices: Choices | None = None  # where both arms of tests were recorded
        self._read: Reader = self._first_read

    def __reduce__(self) -> Any:
        return type(self), (self.flat, self.signature, self.result)

    def __copy__(self) -> Any:
        return type(self)(self.flat, self.signature, self.result)

    def _first_read(self, arguments: Sequence[Any]) -> Floats | None:
        """Make the reader, and read by it."""
        self._read = reader_of(self.signature, [float] * len(self.signature.owners))
        return self._read(arguments)

    def _point(self, arguments: Sequence[Any], what: str = "arguments") -> Floats | None:
        """Return the arguments end to end, maybe in their memory; None if they are many points."""
        x = self._read(arguments)
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
        """Return the first guard that does not hold at a point, and the guarded value there."""
        if not self.flat.guards:
            return None
        return self.runner.evaluate(x, np.empty(len(self.flat.outputs)))

    def check_branch(self, x: Floats, number: int | None = None) -> None:
        """Raise where a point, or one of a batch, takes another path than this tape."""
        if self.failed_guard(x) is not None:
            self._raise_branch(x, number)

    def _raise_branch(self, x: Floats, number: int | None = None) -> NoReturn:
        """Raise for a point, or for one of a batch, that takes another path."""
        failed = self.failed_guard(x)
        assert failed is not None
        guard, outcome = failed
        flat, value_of = self.flat, self.runner.value_of
        if self.flat.has_loops:  # in which what was compared is not kept
            flat = unrolled(self.flat)
            runner = Runner(flat)
            runner.evaluate(x, np.empty(len(flat.outputs)))
            value_of = runner.value_of
        where = "" if number is None else f"point {number} of the batch: "
        raise BranchError(
            f"{where}{explain_guard(flat, guard, value_of)} when this tape was "
            "recorded: the function would take another path at this point. Record a tape here, or "
            "use numtape.grad and its like, or numtape.vmap, which keep a tape for each path",
            guard,
            outcome,
            number,
        )
