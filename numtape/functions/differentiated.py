"""Functions that were differentiated: `Derivative`, which `numtape.grad` and its like make."""

from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.branching import branches as note_branches
from numtape.functions.paths import Paths, Recordings
from numtape.functions.programs import Derivation, Program
from numtape.functions.recording import check_callable
from numtape.functions.runner import Failed
from numtape.functions.signature import differentiated
from numtape.functions.sparse_options import Sparse
from numtape.functions.tape import Tape
from numtape.trace.record import active_recorder
from numtape.trace.recorder import Recorder
from numtape.transform.checkpoints import room_of

__all__ = ["Derivative"]

Floats = npt.NDArray[np.float64]


class Derivative:
    """A function's derivative as a callable, with its recordings.

    Made by `grad`, `value_and_grad`, `jacobian`, `jacfwd` and `jacrev`.

    Attributes
    ----------
    recordings : Recordings
        Of the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        argnums: int | Sequence[int],
        has_aux: bool,
        name: str,
        method: str,
        mode: str | None = None,
        of_floats: bool = False,
        branches: str | None = None,
        checkpoint: bool | int | None = None,
        sparse: Sparse | None = None,
    ) -> None:
        check_callable(function, name, f"{name}(f)(x)")
        self.recordings = Recordings(function, has_aux, branches=branches, room=room_of(checkpoint))
        if branches is not None:  # `vmap` of it does the same
            note_branches(branches)(self)
        self._argnums = tuple(argnums) if np.iterable(argnums) else argnums
        self._derivation = Derivation(method, 0, mode, has_aux, of_floats, sparse)
        # By types or shape of the arguments what such a call ran last; good for as long as
        # there were so many recordings.
        self._ran: dict[Any, _Ran] = {}
        self._made = 0
        self.__wrapped__ = function
        self.__name__ = f"{name}({getattr(function, '__name__', repr(function))})"
        self.__doc__ = f"`{name}` of {getattr(function, '__name__', 'a function')}."
        options = of_floats, branches, checkpoint, sparse
        self._parts = function, self._argnums, has_aux, name, method, mode, *options

    def __reduce__(self) -> Any:
        return type(self), self._parts  # recordings are made again where they are needed

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # as functions do

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the derivative at these arguments."""
        outer = active_recorder()
        if outer is not None:
            return self._inside(outer, arguments, named)
        if not named and self._made == self.recordings.made:
            ran = self._ran.get(_kind_of(arguments))
            if ran is not None:
                x, tape = ran.paths.read(arguments), ran.paths.latest
                if x is not None and tape is not None:
                    failed, result = ran.run(tape, x)
                    if failed is None:
                        return result
                    found, result = ran.paths.run_after(tape, failed, x, ran.run)
                    if found is not None:
                        return result
        return self._look_and_run(arguments, named)

    def _known(self, arguments: tuple[Any, ...]) -> "_Ran | None":
        """Return what a call of this kind ran last."""
        return self._ran.get(_kind_of(arguments)) if self._made == self.recordings.made else None

    def _look_and_run(self, arguments: tuple[Any, ...], named: dict[str, Any], *out: Any) -> Any:
        """Look at the arguments, and run the derivative there."""
        by, derivation = self._derivation_of(arguments)
        paths, call = self.recordings.paths(arguments, named, by)
        x = None if named else paths.read(arguments)
        result = paths.run(call, lambda tape, x: tape.program(derivation).run(x, *out), x)
        if call.labelled:
            return derivation.relabelled(result, partial(call.with_labels, numbers=by))
        if self._made != self.recordings.made:
            self._ran.clear()
            self._made = self.recordings.made
        if x is not None:
            self._ran[_kind_of(arguments)] = _Ran(paths, derivation)
        return result

    def _derivation_of(self, arguments: tuple[Any, ...]) -> tuple[tuple[int, ...], Derivation]:
        """Return the arguments to differentiate by, and what is asked for with these."""
        by = differentiated(self._argnums, len(arguments))
        argnums = by if isinstance(self._argnums, tuple) else by[0]
        return by, self._derivation._replace(argnums=argnums)

    def _inside(self, outer: Recorder, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Record the derivative as part of the function that is being recorded."""
        by, derivation = self._derivation_of(arguments)
        return self.recordings.inner(outer, arguments, named, by).derivative(derivation)

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


class _Ran:
    """What calls of one kind ran."""

    def __init__(self, paths: Paths, derivation: Derivation) -> None:
        self.paths = paths
        self._derivation = derivation
        self._programs: dict[Tape, Program] = {}

    def run(self, tape: Tape, x: Floats, *out: Any) -> tuple[Failed | None, Any]:
        """Run the derivative of a tape of those paths."""
        program = self._programs.get(tape)
        if program is None:
            program = self._programs[tape] = tape.program(self._derivation)
        return program.run(x, *out)


def _kind_of(arguments: tuple[Any, ...]) -> Any:
    """Return what is the same of calls that are likely to be alike."""
    if len(arguments) == 1:
        x = arguments[0]
        return x.shape if type(x) is np.ndarray else type(x)
    types = tuple(map(type, arguments))
    if np.ndarray not in types:
        return types
    return tuple([x.shape if type(x) is np.ndarray else type(x) for x in arguments])
