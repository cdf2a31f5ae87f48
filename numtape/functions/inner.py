"""Derivatives taken inside a function that is being recorded.

The inner function is recorded at its values on a tape of its own, its arguments
fresh inputs of that tape, so one derivative's perturbation cannot be mistaken
for another's. The derivative tape is then written into the outer recording, on
the slots that the arguments and the captured values have there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.programs import Derivation, check_result, jacobian_result, specified
from numtape.functions.recording import record_call_inside
from numtape.functions.runner import Runner
from numtape.functions.selection import cut, everything, select
from numtape.functions.signature import check_static_seeds, read_call
from numtape.functions.specification import ADJOINT, TANGENT, derive
from numtape.functions.trees import Structure, flatten, map_leaves, shown
from numtape.tape.flat import FlatTape
from numtape.trace.branches.choices import Choices
from numtape.trace.recorder import Recorder, Slots
from numtape.trace.sharing import memory_of
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedFloat,
    as_traced,
    innermost,
    is_traced,
    lift,
    wrap,
)
from numtape.transform.builder import replay

__all__ = ["InnerTape", "plain_values"]

Floats = npt.NDArray[np.float64]


class InnerTape:
    """A tape recorded inside another recording, and what is derived from it there.

    Results are traced values of the outer recording. The point is that of the
    recording, so the arguments that methods take are not looked at again.

    Parameters
    ----------
    outer : Recorder
    function : callable
    arguments : sequence
        Trees that may hold traced values.
    has_aux : bool
    by : sequence of int
        The arguments to differentiate by, if it is said which.
    choices : Choices, optional
        As for `record_flat`.
    room : float
        As for `record_call_inside`.
    """

    def __init__(
        self,
        outer: Recorder,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        has_aux: bool = False,
        by: Sequence[int] = (),
        choices: Choices | None = None,
        room: float = math.inf,
    ) -> None:
        arguments = map_leaves(
            lambda leaf: as_traced(outer, leaf) if is_traced(leaf) else leaf, list(arguments)
        )
        leaves, _ = flatten(arguments)
        call = read_call(map_leaves(plain_values, arguments), by)
        memory = [
            memory_of(leaf) if isinstance(leaf, TracedArray) else leaf
            for leaf, shape in zip(leaves, call.signature.shapes, strict=True)
            if shape is not None
        ]
        call = replace(call, given=memory)
        inputs = [
            lift(outer, leaf)[0].ravel()
            for leaf, shape in zip(leaves, call.signature.shapes, strict=True)
            if shape is not None
        ]

        def failed(recorded: FlatTape, captured: list[int]) -> None:
            """Have the outer recording guard what led to an error, which it may catch."""
            replay(recorded, outer, np.concatenate([*inputs, captured]).astype(np.int64))

        self.tape, captured = record_call_inside(
            function, call, has_aux, failed=failed, choices=choices, room=room
        )
        outer.writes |= self.tape.signature.memory is not None  # which is that of its arguments
        self._outer = outer
        self._captured = np.array(captured, np.int64)
        slots = np.concatenate([*inputs, self._captured])
        self._point = TracedArray(outer, slots, self.tape.flat.point)

    @property
    def point(self) -> Any:
        """What the tape's inputs are in the outer recording, as one traced array."""
        return self._point

    @property
    def captured(self) -> tuple[Slots, Floats]:
        """The slots of values of the outer recording that the function used, and the values."""
        count = len(self._captured)
        return self._captured, self.tape.flat.point[len(self.tape.flat.point) - count :]

    def _run(self, flat: FlatTape, seeds: Any = ()) -> Any:
        """Write a tape into the outer recording; its outputs as one traced array.

        The tape's inputs are the point, the captured values, and the seeds.
        """
        # The seeds may belong to a recording further in: then it is written there.
        recorder = innermost(self._point, seeds)
        slots, values = lift(recorder, np.ravel(seeds) if len(seeds) else np.zeros(0))
        own, point = lift(recorder, self._point)
        inputs: Slots = np.concatenate([np.ravel(own), np.ravel(slots)])
        outputs = np.empty(len(flat.outputs))
        Runner(flat).evaluate(np.concatenate([np.ravel(point), np.ravel(values)]), outputs)
        written = replay(flat, recorder, inputs).at(flat.outputs)
        return wrap(recorder, written, outputs)

    # the methods of a tape

    def __call__(self, *arguments: Any) -> Any:
        """Return the value."""
        return self.tape.result.build(self._run(self.tape.flat))

    def auxiliary(self) -> Any:
        """Return the auxiliary result."""
        return self.tape.result.build_aux(self._run(self.tape.flat))

    def derivative(self, derivation: Derivation) -> Any:
        """Return the gradient or the Jacobian, with value and auxiliary result if asked for.

        A gradient of one float is the only row of its Jacobian.
        """
        runner, result = self.tape.derivatives, self.tape.result
        check_result(derivation, result)
        selection = select(self.tape.signature, derivation.argnums)
        outputs = self._run(derive(runner.tape, specified(derivation, runner, selection, result)))
        trees = jacobian_result(result, selection)
        derivative = trees.structure.build(cut(outputs, trees.shapes))
        value = result.build(outputs[trees.size :])
        if not derivation.has_aux:
            return (value, derivative) if derivation.with_value else derivative
        aux = self.auxiliary()
        return ((value, aux), derivative) if derivation.with_value else (derivative, aux)

    def jvp(self, arguments: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """Return the value and its derivative along tangents, which may be traced."""
        flat, result = self.tape.derivatives.tape, self.tape.result
        signature = self.tape.signature
        seeds, structure = flatten(list(tangents))
        if structure == signature.structure:
            check_static_seeds(signature, seeds)
        leaves = self._seeds(
            list(tangents), "tangents", signature.structure, signature.shapes, "arguments"
        )
        still = [np.zeros(len(self._captured))]  # captured values do not move
        outputs = self._run(derive(flat, TANGENT), np.concatenate([*leaves, *still]))
        derivative, value = outputs[: result.size], outputs[result.size :]
        return result.build(value), result.build(derivative)

    def vjp(self, arguments: Sequence[Any], cotangents: Any) -> Any:
        """Return the value and the gradients of its elements times cotangents, traced or not."""
        flat, result = self.tape.derivatives.tape, self.tape.result
        leaves = self._seeds(
            cotangents, "cotangents", result.structure, result.shapes, "the result"
        )
        outputs = self._run(derive(flat, ADJOINT), np.concatenate(leaves))
        every = everything(self.tape.signature)
        gradients = every.trees(cut(outputs, every.shapes))
        return result.build(outputs[flat.inputs :]), gradients

    def _seeds(
        self, tree: Any, what: str, structure: Structure, shapes: tuple[Any, ...], of: str
    ) -> list[Any]:
        """Return seeds as flat traced values, checked against the tree that they are for."""
        leaves, found = flatten(tree)
        if found != structure:
            given: Any = None
        else:
            pairs = zip(leaves, shapes, strict=True)
            seeds = [leaf for leaf, shape in pairs if shape is not None]  # static ones have none
            traced = [
                seed if isinstance(seed, Traced) else as_traced(self._outer, seed) for seed in seeds
            ]
            given = tuple(seed.shape for seed in traced)
        if given != tuple(shape for shape in shapes if shape is not None):
            raise InputError(
                f"{what} of structure {found} and shapes {shown(given)} were given for {of} of "
                f"structure {structure} and shapes {shown(shapes)}: they must be the same. Pass "
                "such a tree",
                code="wrong-structure",
            )
        return [np.ravel(seed) for seed in traced]


def plain_values(leaf: Any) -> Any:
    """Return a traced leaf's value at the recording point; other leaves as they are."""
    if not isinstance(leaf, Traced):
        return leaf
    if isinstance(leaf, TracedFloat):
        return float(leaf.primal)
    values = np.array(leaf.primals, np.float64)
    return values if isinstance(leaf, TracedArray) else values[()]
