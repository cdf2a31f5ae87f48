"""A tape being differentiated: its instructions walked, their rules recorded as a new tape.

The new tape begins with the old one's instructions, simplified. Tangents and adjoints are
slots of it, by place (see `Blocks`), for each seed; slot 0, the null slot, marks a derivative
that is zero by structure and costs nothing. Scalar instructions that follow one another are
walked by machine code (`walk.py`); vector instructions, and what `kinks.py` has terms for, one
by one here. A rule's partials are recorded when the first seed needs them and shared by all.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS, Given
from numtape.ops.structured import MAP
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.regular import Layout, RegularSlots, broadcast_slots
from numtape.trace.recorder import CONSTANTS, RESULTS, Slots, view_of
from numtape.transform import linear_algebra
from numtape.transform import walk as walking
from numtape.transform.adjoints import Adjoints
from numtape.transform.blocks import Blocks, blocks_under
from numtape.transform.builder import Builder, regular, replay
from numtape.transform.expressions import Expression, partial_of, template
from numtape.transform.kinks import Roots
from numtape.transform.loops import Rules, as_written, keeping
from numtape.transform.merging import merge_loops
from numtape.transform.partials import PARTIALS
from numtape.transform.passes import remove_dead
from numtape.transform.walk import CONSTANT

__all__ = ["Derivation"]

_ADD, _MULTIPLY, _SCALE = OPCODE["add"], OPCODE["multiply"], OPCODE["scale"]
_NORM = OPCODE["norm_root"]

_NONE = np.zeros(0, np.int64)

# Slots, their places (None for constants), and the blocks of these.
_Operand = tuple[Any, Any, list[int]]


class Derivation:
    """A tape being differentiated into a new one.

    The tape is first written, simplified, to a builder; then those instructions
    are walked, and the rules written after them. Tangents and adjoints are slots
    by *place*: inputs from 1, then results in order; place 0 is for the null
    slot and for constants, and stays zero.

    A place is *risky* where its tangent or adjoint may be infinite, because a slope on
    the way was, or 0 where operands are infinite or nan, because an arm is not taken.
    From there on every product is zero-safe: 0 times anything is 0. That is kept by block.

    Parameters
    ----------
    tape : FlatTape
    extra_inputs : int
        How many further inputs the new tape has, for seeds.
    kept : int64 array
        Slots of the tape that are asked for besides its outputs.

    Attributes
    ----------
    kept : int64 array
        These in the new tape, as its builder numbers them.
    count : int
        How many instructions of the new tape are the old one's.
    risky : uint8 array
        By block, whether derivatives of it may be infinite or a mask's.
    """

    def __init__(self, tape: FlatTape, extra_inputs: int, kept: Slots = _NONE) -> None:
        self.tape = tape
        # Seeds that are inputs may be 0 where a partial is infinite.
        self.is_seeded = extra_inputs > 0
        self.builder = builder = Builder(tape.inputs + extra_inputs)
        slots = replay(tape, builder, range(1, tape.inputs + 1), others=keeping(tape))
        self.outputs, self.kept = slots.at(tape.outputs), slots.at(kept)
        self.is_scalar = not builder.which
        self.code = code = builder.store.code().copy()
        self.count = len(code)
        is_vector = code[:, 0] == VECTOR
        # Where each block begins: the null slot, the inputs, the results of each instruction.
        first = 1 + builder.inputs
        self.listed = np.empty(3 + self.count, np.int64)
        self.listed[:2], self.listed[2:-1] = (0, 1), builder.store.starts()
        self.listed[-1] = builder.next_slot - RESULTS + first
        self.starts: Any = self.listed if self.is_scalar else self.listed.tolist()
        # Of each operand of a scalar instruction, the block; and those blocks that are arrays.
        places = np.where(is_vector[:, None] | (code[:, 1:] >= CONSTANT), 0, code[:, 1:])
        if self.is_scalar:
            self.owners = np.where(places < first, places > 0, places - (first - 2))
        else:
            self.owners = np.searchsorted(self.listed, places, side="right") - 1
        self.owners = self.owners.astype(np.int32)
        arrays = np.flatnonzero(np.diff(self.listed) > 1)
        self.apart = set(np.intersect1d(self.owners[~is_vector], arrays).tolist())
        self.vectors = builder.vectors
        self.first_views = self.vectors.starts.tolist()
        self._find_blocks()
        self._operands: dict[int, tuple[_Operand, ...]] = {}
        self.roots = Roots(builder, self.owners)
        self.norms = set(self.roots.norms)  # `sqrt` where it is a norm
        # What Python looks at: vector instructions, and what reads roots.
        self.numbers = np.flatnonzero(is_vector).tolist()  # of each vector instruction
        self.special = sorted({*self.numbers, *self.norms, *self.roots.readers})

    def _find_blocks(self) -> None:
        """Find the first and the last block of what each view reads; -1 where they are looked up.

        That is where it has a table, or skips over blocks.
        """
        survey = self.vectors.survey
        shift = self.builder.inputs + 1 - RESULTS
        first, last = (
            np.searchsorted(
                self.listed,
                np.where(ends >= RESULTS, ends + shift, np.where(ends < CONSTANTS, ends, 0)),
                side="right",
            )
            - 1
            for ends in (survey.low, survey.high)
        )
        skips = survey.has_table | ((last - first > 1) & ~survey.is_dense)
        self.blocks = list(zip(np.where(skips, -1, first).tolist(), last.tolist(), strict=True))
        self.bases = survey.base.tolist()

    def _instruction(self, number: int) -> VectorInstruction:
        """Return a vector instruction, but for the bases of its views; a norm as one."""
        instruction = self.vectors.form(int(self.code[number, 1])).instruction
        return replace(instruction, opcode=_NORM) if number in self.norms else instruction

    def _operands_of(self, vector: int) -> tuple[_Operand, ...]:
        """Return the slots of each operand of a vector instruction, their places and blocks."""
        found = self._operands.get(vector)
        if found is None:
            first, form = self.first_views[vector], self.vectors.form(vector)
            found = self._operands[vector] = tuple(
                [
                    self._operand(vector, k, first + k, layout)
                    for k, layout in enumerate(form.layouts)
                ]
            )
        return found

    def _operand(self, vector: int, operand: int, view: int, layout: Layout | None) -> _Operand:
        first, last = self.blocks[view]
        if layout is not None:
            slots: Any = RegularSlots(self.bases[view], layout)
        else:
            shape = self.vectors.form(vector).shapes[operand]
            slots = self.vectors[vector].operands[operand].slots(shape)
        places = self._places(slots)
        if places is None or places.size == 0:
            return slots, places, []
        if first < 0:
            return slots, places, blocks_under(self.starts, self.listed, places)
        return slots, places, list(range(first, last + 1))

    def _places(self, slots: Any) -> Any:
        """Return the places of slots; None for an array of constants alone."""
        shift = self.builder.inputs + 1 - RESULTS
        if isinstance(slots, RegularSlots):
            if slots.base >= RESULTS:
                return slots.shifted(shift)
            return slots if 0 < slots.base < CONSTANTS else None
        early = np.where(slots < CONSTANTS, slots, 0)
        return np.where(slots >= RESULTS, slots + shift, early)

    def passes_roots(self) -> bool:
        """Return whether roots (see `kinks.py`) go into a loop, or are among the outputs."""
        loops = (each for each in self.vectors if each.body is not None)
        return self.roots.among(self.outputs) or any(
            self.roots.among(slots) for each in loops for slots in each.operand_slots()
        )

    def finish(self, derivatives: Slots, with_value: bool = True) -> FlatTape:
        """Return the new tape, with the old outputs, if wanted, and then the derivatives' slots."""
        seeds = self.builder.inputs - self.tape.inputs
        point = np.concatenate([self.tape.point, np.zeros(seeds)])
        outputs = np.concatenate([self.outputs, derivatives]) if with_value else derivatives
        return merge_loops(as_written(remove_dead(self.builder.finish(outputs, point))))

    def _columns(self, count: int) -> list[Blocks]:
        """Return a tangent or adjoint for every place, all zero, as often as is asked for."""
        self.flats = np.zeros((count, self.starts[-1]), np.int64)
        return [Blocks(self.starts, self.listed, self.apart, flat) for flat in self.flats]

    def _walk(self, mode: int, first: int, last: int) -> None:
        """Walk over scalar instructions that follow one another."""
        if first < last:
            self.builder.store.walk(
                mode,
                first,
                last,
                columns=self.flats,
                marks=(self.active, self.risky, self.by),
                owners=self.owners,
                is_seeded=self.is_seeded,
                partials=PARTIALS,
            )

    def _walk_alone(self, mode: int, number: int) -> None:
        """Walk over one scalar instruction; a norm is differentiated as one."""
        if number in self.norms:
            self.builder.store.code()[number, 0] = _NORM
        self._walk(mode, number, number + 1)
        self.builder.store.code()[number, 0] = self.code[number, 0]

    # forward

    def forward(self, inputs: Slots, seeds: Slots, risky: bool = False) -> Slots:
        """Record the tangents of the outputs, a column for each column of `seeds`.

        Where `risky` is true, seeds may be infinite or a mask's.
        """
        self.by = self.active = np.zeros(0, np.uint8)  # who moves is told by the tangents
        self.risky = np.full(len(self.starts), risky, np.uint8)
        columns = self._columns(seeds.shape[1])
        for column, seed in zip(columns, seeds.T, strict=True):
            self._seed(column, inputs, seed)
        done = 0
        for number in (*self.special, self.count):
            self._walk(walking.FORWARD, done, number)
            done = number + 1
            if number == self.count:
                break
            if number in self.roots.readers and self._forward_terms(number, columns):
                continue
            if self.code[number, 0] != VECTOR:
                self._walk_alone(walking.FORWARD, number)
                continue
            for column in columns:
                self._forward_vector(number, column)
        return self._collected(columns, self._places(self.outputs))

    def _seed(self, column: Blocks, inputs: Slots, seed: Slots) -> None:
        """Give the chosen inputs their tangents."""
        if len(inputs) == self.builder.inputs:
            tangents = np.zeros(len(inputs), np.int64)
            tangents[inputs] = seed
            column.set_block(1, regular(tangents))
            return
        column.put(1 + inputs, seed)

    def _forward_vector(self, number: int, column: Blocks) -> None:
        vector, risky = int(self.code[number, 1]), self.risky
        instruction, operands = self._instruction(number), self._operands_of(vector)
        seeds: tuple[Any, ...] = tuple(
            None if places is None else column.get(places) for _, places, _ in operands
        )
        kind = KINDS[instruction.kind]
        # Places have no derivative, whatever they were made of.
        seeds = seeds[: len(seeds) - kind.places]
        if all(seed is None for seed in seeds) or kind.is_flat(instruction):
            return
        result = self._result(instruction, number)
        is_risky = kind.has_body or any(
            seed is not None and any(risky[block] for block in blocks)
            for seed, (_, _, blocks) in zip(seeds, operands, strict=False)
        )
        if is_risky:
            risky[2 + number] = 1
        if instruction.kind != MAP:
            given = self._given(instruction, operands, result, is_risky)
            column.set_block(2 + number, kind.tangent(given, seeds))
            return
        total: Any = None
        for k, seed in enumerate(seeds):
            if seed is None:
                continue
            part, is_singular = self._array_product(
                instruction, operands, result, k, seed, is_risky
            )
            if is_singular:
                risky[2 + number] = 1
            if part is not None:
                part = broadcast_slots(part, instruction.result)
                total = part if total is None else self._sum(total, part)
        if total is not None:
            column.set_block(2 + number, total)

    def _forward_terms(self, number: int, columns: Sequence[Blocks]) -> bool:
        """Record the tangents of an even function of a root, by its terms; False if it has none."""
        terms = self.roots.terms(number)
        if terms is None:
            return False
        size = self.starts[number + 3] - self.starts[number + 2]
        for column in columns:
            total: Any = None
            for slots, factor in terms:
                places = self._places(slots)
                tangents = None if places is None else column.get(places)
                if tangents is None:
                    continue
                part = self._products(_SCALE, factor.slots, tangents)
                if part.size != size:  # a sum of squares
                    part = self._summed(np.asarray(part))
                part = part.reshape(-1)
                total = part if total is None else self._sum(total, part)
            if total is not None:
                column.set_block(2 + number, total)
        self.risky[2 + number] = 1
        return True

    def _summed(self, parts: Slots) -> Slots:
        """Record the sum of those that are not zero by structure; return its slot."""
        live = parts[parts != 0]
        return self.builder.reduce("add", live, (0,)).reshape(1) if live.size else np.zeros(1, int)

    def _sum(self, a: Any, b: Any) -> Any:
        """Record sums of derivatives; where only one is not zero by structure, return that one."""
        if _is_everywhere(a) and _is_everywhere(b):
            return self.builder.elementwise(_ADD, (a, b))
        a, b = np.asarray(a), np.asarray(b)
        total = np.where(a == 0, b, a)
        both = (a != 0) & (b != 0)
        if both.any():
            total[both] = self.builder.elementwise(_ADD, (a[both], b[both]))
        return total

    def _result(self, instruction: VectorInstruction, number: int) -> Any:
        """Return the slots of a vector instruction's results, in their shape."""
        start = self.starts[2 + number] - (1 + self.builder.inputs) + RESULTS
        return RegularSlots.contiguous(start, instruction.result)

    # backward

    def active_outputs(self, inputs: Slots) -> npt.NDArray[np.bool_]:
        """Return which outputs depend, through derivatives that are not zero, on some inputs."""
        self.risky = np.zeros(len(self.starts), np.uint8)
        self._find_active(inputs)
        return self.adjoints.active_at(self._places(self.outputs))

    def backward(
        self,
        inputs: Slots,
        seeds: Slots,
        parts: Sequence[slice] = (slice(None),),
        risky: bool = False,
    ) -> Slots:
        """Record the adjoints of the chosen inputs, a column for each column of `seeds`.

        Seeds of each of some parts of the outputs may be an array in one piece. Where `risky`
        is true, they may be infinite or a mask's.
        """
        self.risky = np.full(len(self.starts), risky, np.uint8)
        self._find_active(inputs)
        columns = self._columns(seeds.shape[1])
        every = self._places(self.outputs)
        for part in parts:
            outputs = every[part]
            if len(np.unique(outputs)) == len(outputs):
                for column, seed in zip(columns, seeds.T, strict=True):
                    self.adjoints.add(column, regular(outputs), regular(seed[part]))
                continue
            wanted = self.adjoints.active_at(outputs)
            for column, seed in zip(columns, seeds[part].T, strict=True):
                for output in np.flatnonzero((seed != 0) & wanted).tolist():
                    column.write_out(blocks_under(self.starts, self.listed, outputs[output]))
                    self.adjoints.add_one(column, int(outputs[output]), int(seed[output]))
        done = self.count
        for number in (*reversed(self.special), -1):
            self._walk(walking.BACKWARD, number + 1, done)
            done = number
            if number < 0:
                break
            if number in self.roots.readers and self._backward_terms(number, columns):
                continue
            if self.code[number, 0] != VECTOR:
                self._walk_alone(walking.BACKWARD, number)
                continue
            for column in columns:
                self._backward_vector(number, column)
        return self._collected(columns, 1 + inputs)

    def _backward_terms(self, number: int, columns: Sequence[Blocks]) -> bool:
        """Record the adjoints by the terms of an even function of a root; False if it has none."""
        terms = self.roots.terms(number)
        if terms is None:
            return False
        start, stop = self.starts[number + 2 : number + 4]
        own = RegularSlots.contiguous(start, (stop - start,))
        for column in columns:
            weights = column.get(own)
            if weights is None:
                continue
            for slots, factor in terms:
                targets = self._places(slots)
                if targets is None:
                    continue
                is_sum = slots.size != own.size  # of squares
                each = weights if is_sum else weights.reshape(slots.shape)
                part = self._products(_SCALE, factor.slots, broadcast_slots(each, slots.shape))
                self.risky[blocks_under(self.starts, self.listed, targets)] = 1
                self.adjoints.add(column, targets, part)
        return True

    def _find_active(self, inputs: Slots) -> None:
        """Find which blocks depend, through derivatives that are not zero, on the chosen inputs.

        Which inputs are chosen is in `by`, and of the block of inputs only whether any is.
        """
        self.by = np.zeros(1 + self.builder.inputs, np.uint8)  # by place
        self.by[1 + inputs] = 1
        self.active = np.zeros(len(self.starts), np.uint8)
        self.active[1] = len(inputs) > 0
        self.adjoints = Adjoints(self.builder, self.starts, self.listed, self.active, self.by)
        self.flats = np.zeros((0, 0), np.int64)
        done = 0
        for number in (*self.numbers, self.count):
            self._walk(walking.ACTIVE, done, number)
            done = number + 1
            if number == self.count:
                break
            vector = int(self.code[number, 1])
            instruction = self.vectors.form(vector).instruction
            if not KINDS[instruction.kind].is_flat(instruction):
                views = range(self.first_views[vector], self.first_views[vector + 1])
                self.active[2 + number] = any(self._is_active(vector, view) for view in views)

    def _is_active(self, vector: int, view: int) -> bool:
        """Return whether an operand depends on the chosen inputs."""
        first, last = self.blocks[view]
        if first == last != 1:
            return bool(self.active[first])
        _, places, blocks = self._operands_of(vector)[view - self.first_views[vector]]
        if any(self.active[block] for block in blocks if block != 1):
            return True
        if 1 not in blocks:
            return False
        if self.adjoints.is_by_all:
            return True
        written = np.asarray(places)
        return bool(self.by[written[written <= self.builder.inputs]].any())

    def _backward_vector(self, number: int, column: Blocks) -> None:
        vector, risky = int(self.code[number, 1]), self.risky
        if not self.active[2 + number]:
            return
        instruction = self._instruction(number)
        weights = column.of_block(2 + number, instruction.result)
        if weights is None:
            return
        operands = self._operands_of(vector)
        result = self._result(instruction, number)
        first = self.first_views[vector]
        wanted = tuple([self._is_active(vector, first + k) for k in range(len(operands))])
        is_risky = bool(risky[2 + number])
        if instruction.kind == MAP:
            for k, (_, targets, blocks) in enumerate(operands):
                if wanted[k]:
                    rule = partial_of(instruction.opcode, k)
                    if isinstance(rule, float) and _is_everywhere(weights):
                        # A constant factor goes on the sum over a broadcast operand's uses.
                        if is_risky:
                            risky[blocks] = 1
                        self.adjoints.add(column, targets, weights, rule)
                        continue
                    part, is_singular = self._array_product(
                        instruction, operands, result, k, weights, is_risky
                    )
                    if is_singular or is_risky:
                        risky[blocks] = 1
                    self.adjoints.add(column, targets, part)
            return
        kind = KINDS[instruction.kind]
        if is_risky or kind.may_be_infinite(instruction):
            for _, _, blocks in operands:
                risky[blocks] = 1
        given = self._given(instruction, operands, result, is_risky)
        places = tuple(places for _, places, _ in operands)
        for targets, part in kind.adjoint(given, places, wanted, weights):
            self.adjoints.add(column, targets, part)

    def _given(
        self,
        instruction: VectorInstruction,
        operands: tuple[_Operand, ...],
        result: Slots,
        is_risky: bool,
    ) -> Given:
        """Return what the rules of an instruction's kind are given."""
        slots = tuple(slots for slots, _, _ in operands)
        safe = is_risky or self.is_seeded
        return Given(
            self.builder, instruction, slots, result, safe, linear_algebra, Rules(Derivation)
        )

    # partials times seeds

    def _array_product(
        self,
        instruction: VectorInstruction,
        operands: tuple[_Operand, ...],
        result: Slots,
        k: int,
        seeds: Slots,
        risky: bool,
    ) -> tuple[Slots | None, bool]:
        """Record the k-th partial of an elementwise instruction times seeds; None where that is 0.

        The builder shares the partial with other seeds. `risky` says whether the seeds may
        be infinite or a mask's; the second result, whether the partial may.
        """
        partial, is_singular = self.partial(instruction, operands, result, k)
        if partial is None:
            return None, False
        times = _SCALE if is_singular or risky or self.is_seeded else _MULTIPLY
        if partial.ndim == 0 and self.builder.known(int(partial)) == 1.0:
            return seeds, is_singular
        return self._products(times, partial, seeds), is_singular

    def partial(
        self,
        instruction: VectorInstruction,
        operands: tuple[_Operand, ...],
        result: Slots,
        k: int,
    ) -> tuple[Any, bool]:
        """Record the k-th partial of an elementwise instruction, and tell if it may be infinite.

        The builder shares it with other seeds. It is None where it is 0.
        """
        builder, opcode = self.builder, instruction.opcode
        rule = partial_of(opcode, k)
        if rule is None:
            return None, False
        exponent = None
        if isinstance(rule, float):
            partial: Any = np.array(builder.constant(rule))
        else:
            x, y = (
                Expression(builder, _once(slots)) for slots, _, _ in (operands[0], operands[-1])
            )
            exponent = y.constant if ROWS[opcode].holds_constant else None
            found = rule(x, y, Expression(builder, result))
            if isinstance(found, Expression):
                if found.constant == 0.0:
                    return None, False
                partial = found.slots
            else:
                partial = np.array(builder.constant(float(found)))
        known = template(opcode, k, exponent)
        assert known is not None
        return partial, known.singular

    def _collected(self, columns: Sequence[Blocks], places: Slots) -> Slots:
        """Return the slots at some places, a row for each place and a column for each column."""
        slots = np.empty((len(places), len(columns)), np.int64)
        for k, column in enumerate(columns):
            slots[:, k] = column.at(places)
        return slots

    def _products(self, times: int, factor: Slots, seeds: Slots) -> Slots:
        """Record products by one of the two opcodes, where seeds are not zero by structure."""
        if _is_everywhere(seeds):
            return self.builder.elementwise(times, (factor, seeds))
        live = seeds != 0
        # There is nothing to compute elsewhere.
        product = np.zeros(seeds.shape, np.int64)
        if live.any():
            factor = np.broadcast_to(factor, seeds.shape)[live]
            product[live] = self.builder.elementwise(times, (factor, seeds[live]))
        return product


def _is_everywhere(slots: Any) -> bool:
    """Return whether no derivative is zero by structure."""
    return isinstance(slots, RegularSlots) or bool(slots.all())


def _once(slots: Any) -> Any:
    """Return the slots of a broadcast operand without its repetitions."""
    if isinstance(slots, RegularSlots):
        return slots.once()
    if slots.size == 0:
        return slots
    strides = view_of(slots).strides
    return slots[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]
