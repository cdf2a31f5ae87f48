"""Derivative tapes: a tape walked forward or backward, its rules recorded as a new tape.

The new tape begins with the old one's instructions, so it gives the value as
well. Tangents and adjoints are kept as slots of the new tape, one column for
each seed; slot 0, the null slot, marks a derivative that is zero by structure
and costs nothing. A rule's partials are recorded when the first seed needs them
and shared by all.
"""

from typing import Any

import numpy as np

from numtape.ops.structured import MAP
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape
from numtape.trace.recorder import Recorder, Slots, view_of
from numtape.transform.expressions import Algebra, Expression, partial_of
from numtape.transform.structured import adjoint_rule, tangent_rule

__all__ = ["adjoint", "jacobian_by_columns", "jacobian_by_rows", "tangent"]


def tangent(tape: FlatTape) -> FlatTape:
    """A tape from ``(x, dx)`` to ``(y, dy)``: the value and its derivative along dx.

    Its cost is about two to three times that of `tape`.
    """
    derivation = _Derivation(tape, extra_inputs=tape.inputs)
    seeds = np.arange(tape.inputs + 1, 2 * tape.inputs + 1)
    tangents = derivation.forward(np.arange(tape.inputs), seeds[:, None])
    return derivation.finish(tangents[tape.outputs, 0], np.zeros(tape.inputs))


def adjoint(tape: FlatTape) -> FlatTape:
    """A tape from ``(x, w)`` to ``(y, w J)``: the value and the outputs' weighted gradient.

    Its cost is about two to four times that of `tape`.
    """
    derivation = _Derivation(tape, extra_inputs=len(tape.outputs))
    seeds = np.arange(tape.inputs + 1, tape.inputs + 1 + len(tape.outputs))
    adjoints = derivation.backward(np.arange(tape.inputs), tape.outputs, seeds[:, None])
    return derivation.finish(adjoints[:, 0], np.zeros(len(tape.outputs)))


def jacobian_by_columns(tape: FlatTape, inputs: Slots) -> FlatTape:
    """A tape from x to ``(y, J)``, forward: J by the chosen inputs, row by row.

    Costs about one tape for each input, less what is zero by structure.
    """
    derivation = _Derivation(tape, extra_inputs=0)
    one = derivation.algebra.recorder.constant(1.0)
    tangents = derivation.forward(inputs, np.eye(len(inputs), dtype=np.int64) * one)
    return derivation.finish(tangents[tape.outputs].ravel(), np.zeros(0))


def jacobian_by_rows(tape: FlatTape, inputs: Slots) -> FlatTape:
    """A tape from x to ``(y, J)``, backward: J by the chosen inputs, row by row.

    Costs about one to three tapes for each output. With one output, this is
    the tape of value and gradient.
    """
    derivation = _Derivation(tape, extra_inputs=0)
    count = len(tape.outputs)
    one = derivation.algebra.recorder.constant(1.0)
    seeds = np.eye(count, dtype=np.int64) * one
    adjoints = derivation.backward(inputs, tape.outputs, seeds)
    return derivation.finish(adjoints.T.ravel(), np.zeros(0))


class _Derivation:
    """A tape being differentiated into a new one."""

    def __init__(self, tape: FlatTape, extra_inputs: int) -> None:
        self.tape = tape
        self.recorder = Recorder(tape.inputs + extra_inputs)
        self.primal = self.recorder.adopt(tape)
        self.algebra = Algebra(self.recorder)
        self.operands = [instruction.operand_slots() for instruction in tape.vectors]

    def finish(self, derivatives: Slots, extra_point: Any) -> FlatTape:
        """The new tape, with the old outputs and then the derivatives' slots."""
        outputs = np.concatenate([self.primal[self.tape.outputs], derivatives])
        return self.recorder.finish(outputs, np.concatenate([self.tape.point, extra_point]))

    def _active(self, inputs: Slots) -> Any:
        """Which slots depend, through derivatives that are not zero, on the chosen inputs."""
        tape = self.tape
        active = np.zeros(tape.slots, bool)
        active[tape.first_input + inputs] = True
        flat = [row.partials == ("0",) * row.arity for row in ROWS]
        results = tape.results.tolist()
        for (opcode, a, b), result, end in zip(
            tape.code.tolist(), results, results[1:], strict=False
        ):
            if opcode != VECTOR:
                active[result] = (active[a] or active[b]) and not flat[opcode]
                continue
            instruction = tape.vectors[a]
            if instruction.kind != MAP or not flat[instruction.opcode]:
                active[result:end] = any(active[slots].any() for slots in self.operands[a])
        return active

    # forward

    def forward(self, inputs: Slots, seeds: Slots) -> Slots:
        """The tangents of every slot of the tape, a column for each column of `seeds`."""
        tape = self.tape
        tangents = np.zeros((tape.slots, seeds.shape[1]), np.int64)
        tangents[tape.first_input + inputs] = seeds
        results = tape.results.tolist()
        for (opcode, a, b), result, end in zip(
            tape.code.tolist(), results, results[1:], strict=False
        ):
            if opcode == VECTOR:
                instruction = tape.vectors[a]
                operands = self.operands[a]
                slots = np.arange(result, end).reshape(instruction.result)
            else:
                instruction = None
                operands = (np.array(a), np.array(b))[: ROWS[opcode].arity]
                slots = np.array(result)
            moving = [tangents[operand] for operand in operands]
            columns = np.any([m.any(axis=tuple(range(m.ndim - 1))) for m in moving], axis=0)
            if not columns.any():
                continue
            opcode = opcode if instruction is None else instruction.opcode
            is_map = instruction is None or instruction.kind == MAP
            partials = _Partials(self, opcode, operands, slots) if is_map else None
            for column in np.flatnonzero(columns).tolist():
                seeded = tuple(m[..., column] if m[..., column].any() else None for m in moving)
                if partials is not None:
                    tangents[slots, column] = partials.tangent(seeded)
                else:
                    assert instruction is not None
                    tangents[slots, column] = tangent_rule(
                        self.algebra,
                        instruction,
                        tuple(self.primal[operand] for operand in operands),
                        seeded,
                        self.primal[slots],
                    )
        return tangents

    # backward

    def backward(self, inputs: Slots, outputs: Slots, seeds: Slots) -> Slots:
        """The adjoints of the chosen inputs, a column for each column of `seeds`."""
        tape = self.tape
        active = self._active(inputs)
        adjoints = np.zeros((tape.slots, seeds.shape[1]), np.int64)
        for output, row in zip(outputs.tolist(), seeds, strict=True):
            if active[output]:
                for column in np.flatnonzero(row).tolist():
                    self._add(adjoints[:, column], np.array(output), np.array(row[column]))
        code = tape.code.tolist()
        results = tape.results.tolist()
        for number in range(len(code) - 1, -1, -1):
            opcode, a, b = code[number]
            result, end = results[number], results[number + 1]
            columns = np.flatnonzero(adjoints[result:end].any(axis=0)).tolist()
            if not columns:
                continue
            if opcode == VECTOR:
                self._backward_vector(a, np.arange(result, end), active, adjoints, columns)
                continue
            operands = (np.array(a), np.array(b))[: ROWS[opcode].arity]
            partials = _Partials(self, opcode, operands, np.array(result))
            for column in columns:
                weight = np.array(adjoints[result, column])
                for k, operand in enumerate(operands):
                    if active[operand]:
                        self._add(adjoints[:, column], operand, partials.product(k, weight))
        return adjoints[tape.first_input + inputs]

    def _backward_vector(
        self, number: int, result: Slots, active: Any, adjoints: Slots, columns: list[int]
    ) -> None:
        instruction = self.tape.vectors[number]
        operands = self.operands[number]
        result = result.reshape(instruction.result)
        wanted = tuple(bool(active[operand].any()) for operand in operands)
        is_map = instruction.kind == MAP
        partials = _Partials(self, instruction.opcode, operands, result) if is_map else None
        new_operands = tuple(self.primal[operand] for operand in operands)
        for column in columns:
            weights = adjoints[result, column]
            if partials is not None:
                for k, operand in enumerate(operands):
                    if wanted[k]:
                        contribution = partials.product(k, weights)
                        self._accumulate(adjoints[:, column], operand, contribution, active)
                continue
            for targets, contribution in adjoint_rule(
                self.algebra, instruction, new_operands, wanted, self.primal[result], weights
            ):
                self._accumulate(adjoints[:, column], self._original(targets), contribution, active)

    def _original(self, slots: Slots) -> Slots:
        """The old tape's slots for copies of them in the new one; `primal` the other way."""
        order = np.argsort(self.primal)
        originals: Slots = order[np.searchsorted(self.primal, slots, sorter=order)]
        return originals

    def _accumulate(
        self, adjoints: Slots, targets: Slots, contribution: Slots | None, active: Any
    ) -> None:
        """Add contributions to the adjoints of target slots, which may repeat."""
        if contribution is None:
            return
        if contribution.ndim < targets.ndim or contribution.shape != targets.shape:
            contribution = np.broadcast_to(contribution, targets.shape)
        repeated = tuple(
            axis
            for axis, (extent, stride) in enumerate(
                zip(targets.shape, view_of(targets).strides, strict=True)
            )
            if stride == 0 and extent > 1
        )
        if repeated:  # a broadcast operand: its element gets the sum
            contribution = self.recorder.reduce("add", contribution, repeated)
            targets = targets[
                tuple(0 if k in repeated else slice(None) for k in range(targets.ndim))
            ]
        targets, contribution = targets.ravel(), contribution.ravel()
        chosen = active[targets]
        if not chosen.all():
            targets, contribution = targets[chosen], contribution[chosen]
        unique, places = np.unique(targets, return_inverse=True)
        if len(unique) < len(targets):
            contribution = self.recorder.scatter(contribution, places, len(unique))
            targets = unique
        self._add(adjoints, targets, contribution)

    def _add(self, adjoints: Slots, targets: Slots, contribution: Slots | None) -> None:
        """Add contributions to the adjoints of distinct target slots."""
        if contribution is None:
            return
        present = adjoints[targets]
        fresh = (present == 0) | (contribution == 0)
        if targets.ndim == 0 or not fresh.any():
            if not fresh.all():
                total = self.algebra.slots(present) + self.algebra.slots(contribution)
                adjoints[targets] = total.slots
            else:
                adjoints[targets] = np.where(present == 0, contribution, present)
            return
        adjoints[targets[fresh]] = np.where(present == 0, contribution, present)[fresh]
        rest = ~fresh
        if rest.any():
            total = self.algebra.slots(present[rest]) + self.algebra.slots(contribution[rest])
            adjoints[targets[rest]] = total.slots


class _Partials:
    """The partials of one elementwise instruction, recorded when first asked for."""

    def __init__(
        self, derivation: _Derivation, opcode: int, operands: tuple[Slots, ...], result: Slots
    ) -> None:
        self.derivation = derivation
        self.opcode = opcode
        self.operands = operands
        self.result = result
        self._recorded: dict[int, Expression] = {}

    def _partial(self, operand: int) -> Expression | None:
        """The partial by an operand, or None where it is 0."""
        rule = partial_of(self.opcode, operand)
        if rule is None:
            return None
        if operand not in self._recorded:
            algebra = self.derivation.algebra
            if isinstance(rule, float):
                self._recorded[operand] = algebra.constant(rule)
            else:
                primal = self.derivation.primal
                arguments = [
                    algebra.slots(primal[_unrepeated(slots)])
                    for slots in (self.operands[0], self.operands[-1])
                ]
                partial = rule(*arguments, algebra.slots(primal[self.result]))
                if not isinstance(partial, Expression):
                    partial = algebra.constant(float(partial))
                self._recorded[operand] = partial
        return self._recorded[operand]

    def product(self, operand: int, seeds: Slots) -> Slots | None:
        """The partial times seeds, None where that is 0 by structure."""
        partial = self._partial(operand)
        if partial is None or partial.constant == 0.0 or not seeds.any():
            return None
        algebra = self.derivation.algebra
        name = "scale" if ROWS[self.opcode].singular else "multiply"
        return algebra.apply(name, partial, algebra.slots(seeds)).slots

    def tangent(self, seeds: tuple[Slots | None, ...]) -> Any:
        """The tangent of the result: the sum of the operands' products."""
        products = [
            self.product(operand, seeded)
            for operand, seeded in enumerate(seeds)
            if seeded is not None
        ]
        parts = [part for part in products if part is not None]
        if not parts:
            return 0
        algebra = self.derivation.algebra
        if len(parts) == 2:
            return (algebra.slots(parts[0]) + algebra.slots(parts[1])).slots
        return parts[0]


def _unrepeated(slots: Slots) -> Slots:
    """The slots of a broadcast operand without its repetitions."""
    if slots.ndim == 0 or slots.size == 0:
        return slots
    strides = view_of(slots).strides
    return slots[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]
