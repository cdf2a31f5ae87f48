"""Derivative tapes: a tape walked forward or backward, its rules recorded as a new tape.

The new tape begins with the old one's instructions, so it gives the value as
well. Tangents and adjoints are slots of the new tape, one list for each seed;
slot 0, the null slot, marks a derivative that is zero by structure and costs
nothing. A rule's partials are recorded when the first seed needs them and
shared by all. Whatever turns out not to be needed is removed at the end.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import FLAT_KINDS, MAP, REDUCE, SPREAD, TAKE
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.trace.recorder import RESULTS, Slots, view_of
from numtape.transform.builder import Builder, replay
from numtape.transform.expressions import Expression, is_flat, partial_of, template
from numtape.transform.kinks import Roots
from numtape.transform.passes import remove_dead
from numtape.transform.structured import adjoint_rule, tangent_rule

__all__ = ["adjoint", "jacobian_by_columns", "jacobian_by_rows", "tangent"]

_ADD, _MULTIPLY, _SCALE = OPCODE["add"], OPCODE["multiply"], OPCODE["scale"]
_NORM = OPCODE["norm_root"]

# Reductions whose partials are masks.
_CHOICES = (OPCODE["maximum"], OPCODE["minimum"])

# Rows without any derivative, and rows whose second operand is held constant.
_FLAT = [is_flat(opcode) for opcode in range(len(ROWS))]
_HOLDS_CONSTANT = [row.name.endswith("_constant") for row in ROWS]


def tangent(tape: FlatTape) -> FlatTape:
    """A tape from ``(x, dx)`` to ``(y, dy)``: the value and its derivative along dx.

    Its cost is about two to three times that of `tape`.
    """
    derivation = _Derivation(tape, extra_inputs=tape.inputs)
    seeds = np.arange(tape.inputs + 1, 2 * tape.inputs + 1)
    tangents = derivation.forward(np.arange(tape.inputs), seeds[:, None])
    return derivation.finish(tangents[:, 0], np.zeros(tape.inputs))


def adjoint(tape: FlatTape) -> FlatTape:
    """A tape from ``(x, w)`` to ``(y, w J)``: the value and the outputs' weighted gradient.

    Its cost is about two to four times that of `tape`.
    """
    derivation = _Derivation(tape, extra_inputs=len(tape.outputs))
    seeds = np.arange(tape.inputs + 1, tape.inputs + 1 + len(tape.outputs))
    adjoints = derivation.backward(np.arange(tape.inputs), seeds[:, None])
    return derivation.finish(adjoints[:, 0], np.zeros(len(tape.outputs)))


def jacobian_by_columns(tape: FlatTape, inputs: Slots) -> FlatTape:
    """A tape from x to ``(y, J)``, forward: J by the chosen inputs, row by row.

    Costs about one tape for each input, less what is zero by structure.
    """
    derivation = _Derivation(tape, extra_inputs=0)
    one = derivation.builder.constant(1.0)
    tangents = derivation.forward(inputs, np.eye(len(inputs), dtype=np.int64) * one)
    return derivation.finish(tangents.ravel(), np.zeros(0))


def jacobian_by_rows(tape: FlatTape, inputs: Slots) -> FlatTape:
    """A tape from x to ``(y, J)``, backward: J by the chosen inputs, row by row.

    Costs about one to three tapes for each output. With one output, this is
    the tape of value and gradient.
    """
    derivation = _Derivation(tape, extra_inputs=0)
    one = derivation.builder.constant(1.0)
    adjoints = derivation.backward(inputs, np.eye(len(tape.outputs), dtype=np.int64) * one)
    return derivation.finish(adjoints.T.ravel(), np.zeros(0))


class _Derivation:
    """A tape being differentiated into a new one.

    The tape is first written, simplified, to a builder; then those instructions
    are walked, and the rules written after them. Tangents and adjoints are slots
    by *place*: inputs from 1, then results in order; place 0 is for the null
    slot and for constants, and stays zero. They are lists for tapes of scalar
    instructions, where Python integers are quicker, and arrays for others.

    A place is *risky* where its tangent or adjoint may be infinite, because a slope on
    the way was, or 0 where operands are infinite or nan, because an arm is not taken.
    From there on every product is zero-safe: 0 times anything is 0.
    """

    def __init__(self, tape: FlatTape, extra_inputs: int) -> None:
        self.tape = tape
        # Seeds that are inputs may be 0 where a partial is infinite.
        self.is_seeded = extra_inputs > 0
        self.builder = builder = Builder(tape.inputs + extra_inputs)
        slots = replay(tape, builder, range(1, tape.inputs + 1))
        self.outputs = np.array(slots, np.int64)[tape.outputs]
        self.is_scalar = not builder.vectors
        code = np.array(builder.code, np.int64).reshape(-1, 3)
        self.code = code.tolist()
        is_vector = code[:, 0] == VECTOR
        starts = np.zeros(len(code) + 1, np.int64)
        np.cumsum(np.where(is_vector, code[:, 2], 1), out=starts[1:])
        self.results = (starts + 1 + tape.inputs).tolist()
        self.places = np.where(is_vector[:, None], 0, self._places(code[:, 1:])).tolist()
        self.operands = [
            tuple((slots, self._places(slots)) for slots in instruction.operand_slots())
            for instruction in builder.vectors
        ]
        self.vectors = list(builder.vectors)
        self.roots = Roots(builder, code, starts)
        for number in self.roots.norms:  # `sqrt` where it is a norm
            opcode, vector, _ = self.code[number]
            if opcode == VECTOR:
                self.vectors[vector] = replace(self.vectors[vector], opcode=_NORM)
            else:
                self.code[number][0] = _NORM

    def _places(self, slots: Slots) -> Slots:
        """The places of slots."""
        inputs = self.tape.inputs
        early = np.where(slots <= inputs, slots, 0)
        return np.where(slots >= RESULTS, slots - (RESULTS - 1 - inputs), early)

    def finish(self, derivatives: Slots, extra_point: npt.NDArray[np.float64]) -> FlatTape:
        """The new tape, with the old outputs and then the derivatives' slots."""
        point = np.concatenate([self.tape.point, extra_point])
        outputs = np.concatenate([self.outputs, derivatives])
        return remove_dead(self.builder.finish(outputs, point))

    def _column(self) -> Any:
        """A tangent or adjoint for every place, all zero."""
        count = self.results[-1]
        return [0] * count if self.is_scalar else np.zeros(count, np.int64)

    # forward

    def forward(self, inputs: Slots, seeds: Slots) -> Slots:
        """The tangents of the outputs, a column for each column of `seeds`."""
        columns = [self._column() for _ in range(seeds.shape[1])]
        for column, seed in zip(columns, seeds.T, strict=True):
            for place, slot in zip((1 + inputs).tolist(), seed.tolist(), strict=True):
                column[place] = slot
        risky: Any = self._column()
        scalar, one = self.builder.scalar, self.builder.constant(1.0)
        for number, (opcode, vector, _) in enumerate(self.code):
            result = self.results[number]
            if number in self.roots.readers and self._forward_terms(number, columns, risky):
                continue
            if opcode == VECTOR:
                for column in columns:
                    self._forward_vector(vector, result, column, risky)
                continue
            if _FLAT[opcode]:
                continue
            for k, place in enumerate(self.places[number]):
                moving = [column for column in columns if column[place]]
                partial = self._partial(number, k) if moving else None
                if partial is None:
                    continue
                slot, is_singular = partial
                times = _SCALE if is_singular or risky[place] or self.is_seeded else _MULTIPLY
                if is_singular or risky[place]:
                    risky[result] = 1
                for column in moving:
                    seed = int(column[place])
                    part = seed if slot == one else scalar(times, slot, seed)
                    present = int(column[result])
                    column[result] = scalar(_ADD, present, part) if present else part
        return _collected(columns, self._places(self.outputs))

    def _forward_vector(self, number: int, start: int, column: Slots, risky: Any) -> None:
        instruction, operands = self.vectors[number], self.operands[number]
        moving = [column[places] for _, places in operands]
        seeds = tuple(slots if slots.any() else None for slots in moving)
        if instruction.kind in (TAKE, SPREAD):
            seeds = seeds[:1]  # places have no derivative, whatever they were made of
        if all(seed is None for seed in seeds) or instruction.kind in FLAT_KINDS:
            return
        places, result = self._result(instruction, start)
        is_risky = any(
            seed is not None and bool(risky[at].any())
            for seed, (_, at) in zip(seeds, operands, strict=False)
        )
        if is_risky:
            risky[places] = 1
        if instruction.kind != MAP:
            slots = tuple(slots for slots, _ in operands)
            safe = is_risky or self.is_seeded
            column[places] = tangent_rule(self.builder, instruction, slots, seeds, result, safe)
            return
        total: Slots | None = None
        for k, seed in enumerate(seeds):
            if seed is None:
                continue
            part, is_singular = self._array_product(
                instruction, operands, result, k, seed, is_risky
            )
            if is_singular:
                risky[places] = 1
            if part is not None:
                total = part if total is None else self._sum(total, part)
        if total is not None:
            column[places] = total

    def _forward_terms(self, number: int, columns: Sequence[Any], risky: Any) -> bool:
        """The tangents of an even function of a root, by its terms; False if it has none."""
        terms = self.roots.terms(number)
        if terms is None:
            return False
        places = np.arange(self.results[number], self.results[number + 1])
        for column in columns:
            total = np.zeros(len(places), np.int64)
            for slots, factor in terms:
                part = self._products(_SCALE, factor.slots, _at(column, self._places(slots)))
                if part.size != places.size:  # a sum of squares
                    part = self._summed(part)
                total = self._sum(total, part.reshape(-1))
            _put(column, places, total)
        _put(risky, places, 1)
        return True

    def _summed(self, parts: Slots) -> Slots:
        """The sum of those that are not zero by structure."""
        live = parts[parts != 0]
        return self.builder.reduce("add", live, (0,)).reshape(1) if live.size else np.zeros(1, int)

    def _sum(self, a: Slots, b: Slots) -> Slots:
        """Sums of derivatives, where only one is not zero by structure that one."""
        total = np.where(a == 0, b, a)
        both = (a != 0) & (b != 0)
        if both.all():
            return self.builder.elementwise(_ADD, (a, b))
        if both.any():
            total[both] = self.builder.elementwise(_ADD, (a[both], b[both]))
        return total

    def _result(self, instruction: VectorInstruction, start: int) -> tuple[Slots, Slots]:
        """Places and slots of a vector instruction's result, in its shape."""
        places = np.arange(start, start + instruction.size).reshape(instruction.result)
        return places, places - (1 + self.tape.inputs) + RESULTS

    # backward

    def backward(self, inputs: Slots, seeds: Slots) -> Slots:
        """The adjoints of the chosen inputs, a column for each column of `seeds`."""
        active = self._active(inputs)
        risky: Any = self._column()
        columns = [self._column() for _ in range(seeds.shape[1])]
        outputs = self._places(self.outputs).tolist()
        for column, seed in zip(columns, seeds.T, strict=True):
            for output, slot in zip(outputs, seed.tolist(), strict=True):
                if slot and active[output]:
                    self._add(column, output, slot)
        scalar, one = self.builder.scalar, self.builder.constant(1.0)
        for number in range(len(self.code) - 1, -1, -1):
            opcode, vector, _ = self.code[number]
            result = self.results[number]
            if number in self.roots.readers and self._backward_terms(
                number, columns, active, risky
            ):
                continue
            if opcode == VECTOR:
                for column in columns:
                    self._backward_vector(vector, result, column, active, risky)
                continue
            live = [column for column in columns if column[result]]
            if not live or not active[result]:
                continue
            for k, place in enumerate(self.places[number]):
                partial = self._partial(number, k) if active[place] else None
                if partial is None:
                    continue
                slot, is_singular = partial
                times = _SCALE if is_singular or risky[result] or self.is_seeded else _MULTIPLY
                if is_singular or risky[result]:
                    risky[place] = 1
                for column in live:
                    weight = int(column[result])
                    part = weight if slot == one else scalar(times, slot, weight)
                    present = int(column[place])
                    column[place] = scalar(_ADD, present, part) if present else part
        return _collected(columns, 1 + inputs)

    def _backward_terms(self, number: int, columns: Sequence[Any], active: Any, risky: Any) -> bool:
        """The adjoints by the terms of an even function of a root; False if it has none."""
        terms = self.roots.terms(number)
        if terms is None:
            return False
        places = np.arange(self.results[number], self.results[number + 1])
        for column in columns:
            weights = _at(column, places)
            if not weights.any():
                continue
            for slots, factor in terms:
                targets = self._places(slots)
                is_sum = slots.size != weights.size  # of squares
                own = weights if is_sum else weights.reshape(slots.shape)
                own = np.broadcast_to(own, slots.shape)
                part = self._products(_SCALE, factor.slots, own)
                _put(risky, targets, 1)
                if self.is_scalar:
                    if active[int(targets)] and int(part):
                        self._add(column, int(targets), int(part))
                else:
                    self._accumulate(column, targets, part, active)
        return True

    def _active(self, inputs: Slots) -> Any:
        """Which places depend, through derivatives that are not zero, on the chosen inputs."""
        count = self.results[-1]
        active: Any = [False] * count if self.is_scalar else np.zeros(count, bool)
        for place in (1 + inputs).tolist():
            active[place] = True
        for number, (opcode, vector, _) in enumerate(self.code):
            result = self.results[number]
            if opcode != VECTOR:
                a, b = self.places[number]
                active[result] = (active[a] or active[b]) and not _FLAT[opcode]
                continue
            instruction = self.vectors[vector]
            has_none = instruction.kind == MAP and _FLAT[instruction.opcode]
            if not has_none and instruction.kind not in FLAT_KINDS:
                active[result : self.results[number + 1]] = any(
                    active[places].any() for _, places in self.operands[vector]
                )
        return active

    def _add(self, column: Any, place: int, slot: int) -> None:
        """Add a contribution to one adjoint."""
        present = int(column[place])
        column[place] = self.builder.scalar(_ADD, present, slot) if present else slot

    def _backward_vector(
        self, number: int, start: int, column: Slots, active: Any, risky: Any
    ) -> None:
        instruction, operands = self.vectors[number], self.operands[number]
        places, result = self._result(instruction, start)
        weights = column[places]
        if not weights.any() or not active[places].any():
            return
        wanted = tuple(bool(active[places].any()) for _, places in operands)
        is_risky = bool(risky[places].any())
        if instruction.kind == MAP:
            for k, (_, targets) in enumerate(operands):
                if wanted[k]:
                    rule = partial_of(instruction.opcode, k)
                    if isinstance(rule, float) and weights.all():
                        # A constant factor goes on the sum over a broadcast operand's uses.
                        if is_risky:
                            risky[targets] = 1
                        self._accumulate(column, targets, weights, active, rule)
                        continue
                    part, is_singular = self._array_product(
                        instruction, operands, result, k, weights, is_risky
                    )
                    if is_singular or is_risky:
                        risky[targets] = 1
                    self._accumulate(column, targets, part, active)
            return
        chooses = instruction.kind == REDUCE and instruction.opcode in _CHOICES
        if is_risky or chooses or instruction.kind == TAKE:
            for _, targets in operands:
                risky[targets] = 1
        for targets, part in adjoint_rule(
            self.builder,
            instruction,
            tuple(targets for _, targets in operands),
            tuple(slots for slots, _ in operands),
            wanted,
            result,
            weights,
            is_risky or self.is_seeded,
        ):
            self._accumulate(column, targets, part, active)

    def _accumulate(
        self,
        column: Slots,
        targets: Slots,
        part: Slots | None,
        active: Any,
        factor: float = 1.0,
    ) -> None:
        """Add contributions, times a factor, to the adjoints of target places, which may repeat."""
        if part is None:
            return
        part = np.broadcast_to(part, targets.shape)
        view, shape = view_of(targets), targets.shape
        repeated = tuple(
            axis
            for axis, stride in enumerate(view.strides)
            if stride == 0 and targets.shape[axis] > 1
        )
        if repeated:  # a broadcast operand: its element gets the sum
            part = self.builder.reduce("add", part, repeated)
            once = tuple(0 if axis in repeated else slice(None) for axis in range(targets.ndim))
            targets = targets[once]
        if factor != 1.0:
            times = np.array(self.builder.constant(factor))
            part = self.builder.elementwise(_MULTIPLY, (times, part))
        targets, part = targets.ravel(), part.ravel()
        chosen = active[targets] & (part != 0)
        if not chosen.all():
            targets, part = targets[chosen], part[chosen]
        if view.table is not None or _overlaps(shape, view.strides):
            unique, order = np.unique(targets, return_inverse=True)
            if len(unique) < len(targets):
                part, targets = self.builder.scatter(part, order, len(unique)), unique
        present = column[targets]
        fresh = present == 0
        column[targets[fresh]] = part[fresh]
        if not fresh.all():
            rest = slice(None) if not fresh.any() else ~fresh
            column[targets[rest]] = self.builder.elementwise(_ADD, (present[rest], part[rest]))

    # partials times seeds

    def _partial(self, number: int, k: int) -> tuple[int, bool] | None:
        """The k-th partial of a scalar instruction, recorded; None where it is 0.

        Returns
        -------
        slot, is_singular
            Of the partial, and whether it may be infinite or a mask.
        """
        opcode, a, b = self.code[number]
        builder = self.builder
        rule = template(opcode, k, builder.known(b) if _HOLDS_CONSTANT[opcode] else None)
        if rule is None:
            return None
        slots = (a, b, self.results[number] - 1 - self.tape.inputs + RESULTS, 0)
        made: list[int] = []
        for operation, left, right in rule.instructions:
            x, y = _slot(builder, left, slots, made), _slot(builder, right, slots, made)
            made.append(builder.scalar(operation, x, y))
        slot = _slot(builder, rule.result, slots, made)
        if builder.known(slot) == 0.0:
            return None
        return slot, rule.singular

    def _array_product(
        self,
        instruction: VectorInstruction,
        operands: tuple[tuple[Slots, Slots], ...],
        result: Slots,
        k: int,
        seeds: Slots,
        risky: bool,
    ) -> tuple[Slots | None, bool]:
        """The k-th partial of an elementwise instruction times seeds; None where that is 0.

        The builder shares the partial with other seeds. `risky` says whether the seeds may
        be infinite or a mask's; the second result, whether the partial may.
        """
        builder, opcode = self.builder, instruction.opcode
        rule = partial_of(opcode, k)
        if rule is None:
            return None, False
        exponent = None
        if isinstance(rule, float):
            partial = np.array(builder.constant(rule))
        else:
            x, y = (Expression(builder, _once(slots)) for slots, _ in (operands[0], operands[-1]))
            exponent = y.constant if _HOLDS_CONSTANT[opcode] else None
            found = rule(x, y, Expression(builder, result))
            if isinstance(found, Expression):
                if found.constant == 0.0:
                    return None, False
                partial = found.slots
            else:
                partial = np.array(builder.constant(float(found)))
        known = template(opcode, k, exponent)
        assert known is not None
        times = _SCALE if known.singular or risky or self.is_seeded else _MULTIPLY
        if partial.ndim == 0 and builder.known(int(partial)) == 1.0:
            return seeds, known.singular
        return self._products(times, partial, seeds), known.singular

    def _products(self, times: int, factor: Slots, seeds: Slots) -> Slots:
        """Products by one of the two opcodes, where seeds are not zero by structure."""
        live = seeds != 0
        if live.all():
            return self.builder.elementwise(times, (factor, seeds))
        # There is nothing to compute elsewhere.
        product = np.zeros(seeds.shape, np.int64)
        if live.any():
            factor = np.broadcast_to(factor, seeds.shape)[live]
            product[live] = self.builder.elementwise(times, (factor, seeds[live]))
        return product


def _collected(columns: Sequence[Any], places: Slots) -> Slots:
    """The slots at some places, a row for each place and a column for each column."""
    slots = np.empty((len(places), len(columns)), np.int64)
    for k, column in enumerate(columns):
        slots[:, k] = _at(column, places)
    return slots


def _at(column: Any, places: Slots) -> Slots:
    """What a list or an array has at some places."""
    if isinstance(column, np.ndarray):
        found: Slots = column[places]
        return found
    flat = [column[place] for place in places.ravel().tolist()]
    return np.array(flat, np.int64).reshape(places.shape)


def _put(column: Any, places: Slots, values: Any) -> None:
    """Assign to some places of a list or an array."""
    if isinstance(column, np.ndarray):
        column[places] = values
        return
    every = np.broadcast_to(values, places.shape)
    for place, value in zip(places.ravel().tolist(), every.ravel().tolist(), strict=True):
        column[place] = value


def _slot(
    builder: Builder, reference: float | int, slots: Sequence[int], made: Sequence[int]
) -> int:
    """The slot that a template's reference stands for."""
    if isinstance(reference, float):
        return builder.constant(reference)
    return made[reference] if reference >= 0 else slots[-reference - 1]


def _once(slots: Slots) -> Slots:
    """The slots of a broadcast operand without its repetitions."""
    if slots.size == 0:
        return slots
    strides = view_of(slots).strides
    return slots[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether evenly spaced places may meet, apart from axes that do not step at all."""
    reach = 0
    for stride, extent in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True)):
        if stride and extent > 1:
            if stride <= reach:
                return True
            reach += (extent - 1) * stride
    return False
