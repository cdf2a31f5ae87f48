"""Nests of loops over arrays: the machine code of a group of vector instructions.

A group goes through its rows (the axis that all its instructions share) by tiles,
small enough that what a tile makes on the way stays in the first-level cache. In a
tile each nest of loops runs once: it does several instructions element by element,
on as many elements at a time as the processor takes, and what one of them makes
another has in a register. Sums along the rows end in a place of the same tile, for
the nests after it; sums over the rows are kept aside until the last tile. All are added
up in NumPy's order (`sums.py`).

Which instructions make a group (`groups.py`), and which a nest, is decided in `fusion.py`. Here
they are written down, with what their rows say (`emitter.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from numtape.ops.structured import INITIAL
from numtape.ops.table import ROWS
from numtape.run.emitter import SINGLE, emit, functions_called
from numtape.run.functions import FunctionWriter, Value
from numtape.run.groups import Group, Member, Nest, Operand, expression_of, split
from numtape.run.sums import BLOCK, SIDE_BY_SIDE, STATE, WAITING, add_across

__all__ = ["write_group"]

_DOUBLE, _WORD, _BIT, _I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.IntType(32)

# So many vectors are written out, without a loop, and so many go through a loop at a time.
_WRITTEN_OUT = 8
_UNROLLED = 4
_PIECE = 1024  # elements that go through a loop before what is to be summed is added up
_MUCH = 12  # instructions in a nest from which on one vector at a time is enough


@dataclass(frozen=True)
class _Access:
    """A walk through memory: where the tile's first element is, and steps over a nest's axes."""

    pointer: Value
    steps: tuple[int, ...]


def write_group(module: ir.Module, name: str, group: Group) -> None:
    """Write the function of a group into a module."""
    _Writer(module, name, group).write()


class _Writer(FunctionWriter):
    """Writes the function of a group."""

    def __init__(self, module: ir.Module, name: str, group: Group) -> None:
        super().__init__(module, name)
        self.group = group
        self.aside: dict[int, Value] = {}  # where members' results are, if not in memory
        self.streams: dict[int, _Stream] = {}  # of sums that are not made in registers

    def write(self) -> None:
        group, builder = self.group, self.builder
        sums = [k for k, member in enumerate(group.members) if not member.width]
        for k, member in enumerate(group.members):
            if not member.width:
                self.aside[k] = self.room(member.size)
            elif k not in group.kept and (k in group.passed_on or member.reduces):
                self.aside[k] = self.room(member.width * group.tile)
        for k in sums:
            self.fill(self.aside[k], group.members[k].size, _initial(group.members[k]))
        if group.tile >= group.rows:
            self.tile(0, group.rows)
        else:

            def body(start: Value) -> None:
                rows: Value = group.tile
                if group.rows % group.tile:
                    left = builder.sub(_WORD(group.rows), start)
                    is_whole = builder.icmp_signed("<", _WORD(group.tile), left)
                    rows = builder.select(is_whole, _WORD(group.tile), left)
                self.tile(start, rows)

            self.loop(0, group.rows, group.tile, body)
        for k in sums:
            member = group.members[k]
            self.copy(self.aside[k], self.at(self.memory, member.place), member.size)
        builder.ret(_WORD(-1))

    def tile(self, start: Value, rows: Value) -> None:
        for nest in self.group.nests:
            _NestWriter(self, nest, start, rows).write()

    def stream(self, k: int) -> "_Stream":
        """Return where the numbers of a member's sums wait until a block of them is there."""
        if k not in self.streams:
            with self.builder.goto_entry_block():
                made = _Stream(self.room(STATE), self.room(_PIECE + WAITING + self.form.width))
                self.call("sum_begin", [made.state, _WORD(self.group.members[k].run)])
            self.streams[k] = made
        return self.streams[k]

    def call(self, name: str, arguments: Sequence[Value]) -> None:
        """Call one of the functions of `PAIRWISE`."""
        if name not in self.module.globals:
            kinds = [argument.type for argument in arguments]
            ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.builder.call(self.module.globals[name], arguments)


@dataclass(frozen=True)
class _Stream:
    """The state of a run that is being added up, and the numbers that wait."""

    state: Value
    numbers: Value


def _initial(member: Member) -> float:
    return INITIAL[ROWS[member.opcode].name]


class _NestWriter:
    """Writes one nest, for a tile that begins at the row `start`."""

    def __init__(self, writer: _Writer, nest: Nest, start: Value, rows: Value) -> None:
        self.writer, self.builder, self.form = writer, writer.builder, writer.form
        self.nest, self.start, self.rows = nest, start, rows
        self.members = {k: writer.group.members[k] for k in nest.members}
        self.operands: dict[tuple[int, int], Any] = {}  # of which access each operand is
        self.stored: set[int] = set()  # members whose results are in memory, here or aside
        accesses: dict[Any, tuple[Value, tuple[int, ...]]] = {}
        for k, member in self.members.items():
            for place, operand in enumerate(member.operands):
                if operand.source not in self.members:
                    steps = self.steps(member, operand.strides)
                    key = operand.source, operand.base, steps
                    if key not in accesses:
                        accesses[key] = self.origin(operand), steps
                    self.operands[k, place] = key
            if member.reduces or k in writer.group.kept or k in writer.aside:
                self.stored.add(k)
                accesses[k] = self.home(k, 0), self.steps(member, member.strides)
        self.counts, joined = _joined(nest.inner, [steps for _, steps in accesses.values()])
        self.accesses = {
            key: _Access(pointer, steps)
            for (key, (pointer, _)), steps in zip(accesses.items(), joined, strict=True)
        }

    def steps(self, member: Member, strides: tuple[int, ...]) -> tuple[int, ...]:
        finer = split(member.extents[1:], strides[1:], self.nest.inner)
        assert finer is not None
        return (strides[0], *finer)

    def origin(self, operand: Operand) -> Value:
        """Return where an operand begins in this tile."""
        if operand.source >= 0:
            return self.home(operand.source, operand.base)
        first = self.writer.times(self.start, operand.strides[0])
        return self.writer.at(self.writer.memory, self.writer.add(first, operand.base))

    def home(self, k: int, offset: int) -> Value:
        """Return where a member's results of this tile are, in memory or aside."""
        if k in self.writer.aside:
            return self.writer.at(self.writer.aside[k], offset)
        member = self.writer.group.members[k]
        first = self.writer.times(self.start, member.width)
        place = self.writer.add(first, member.place + offset)
        return self.writer.at(self.writer.memory, place)

    def write(self) -> None:
        for k, member in self.members.items():
            if member.reduces and member.width and not self.is_whole(k):
                size = self.writer.times(self.rows, member.width)
                self.writer.fill(self.accesses[k].pointer, size, _initial(member))
        self.walk(0, {key: access.pointer for key, access in self.accesses.items()})

    def is_whole(self, k: int) -> bool:
        """Return whether the innermost loop makes a result of a reduction from start to end."""
        *outer, innermost = self.accesses[k].steps
        is_theirs = self.members[k].width > 0 and innermost == 0 and 0 not in outer
        return is_theirs and not self.is_streamed(k)

    def is_streamed(self, k: int) -> bool:
        """Return whether a sum's numbers wait aside: the innermost loop is no block of them."""
        run, count = self.members[k].run, self.count(len(self.counts) - 1)
        return run > 0 and not (isinstance(count, int) and count == run <= BLOCK)

    def count(self, axis: int) -> Value:
        extent = self.counts[axis]
        return extent if axis else self.writer.times(self.rows, extent)

    def walk(self, axis: int, pointers: dict[Any, Value]) -> None:
        """Write the loops from an axis on."""
        count, builder = self.count(axis), self.builder
        if axis < len(self.counts) - 1:
            self.writer.loop(
                0, count, 1, lambda i: self.walk(axis + 1, self.moved(axis, pointers, i))
            )
        elif self.is_short(axis) or not any(map(self.is_streamed, self.members)):
            _Innermost(self, pointers, count).write()
        else:

            def piece(start: Value) -> None:
                left = builder.sub(self.writer.word(count), self.writer.word(start))
                is_whole = builder.icmp_signed("<", _WORD(_PIECE), left)
                some = builder.select(is_whole, _WORD(_PIECE), left)
                _Innermost(self, self.moved(axis, pointers, start), some).write()

            self.writer.loop(0, count, _PIECE, piece)

    def is_short(self, axis: int) -> bool:
        """Return whether so many elements at most are in an axis that numbers may wait aside."""
        return self.counts[axis] * (1 if axis else self.writer.group.tile) <= _PIECE

    def moved(self, axis: int, pointers: dict[Any, Value], index: Value) -> dict[Any, Value]:
        """Return the pointers so far along an axis."""
        steps = {key: access.steps[axis] for key, access in self.accesses.items()}
        return {
            key: self.writer.at(pointer, self.writer.times(index, steps[key]))
            for key, pointer in pointers.items()
        }


def _joined(
    inner: Sequence[int], strides: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Join neighbouring axes that step as one, of extents and strides.

    The first extent is a factor of the number of rows, which only the run knows.
    """
    axes: list[tuple[int, tuple[int, ...]]] = [(1, tuple(steps[0] for steps in strides))]
    for axis, extent in enumerate(inner):
        steps = tuple(each[1 + axis] for each in strides)
        if axes[-1][1] == tuple(step * extent for step in steps):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    return [extent for extent, _ in axes], list(zip(*(steps for _, steps in axes), strict=True))


class _Innermost:
    """Writes the innermost loop of a nest."""

    def __init__(self, nest: _NestWriter, pointers: dict[Any, Value], count: Value) -> None:
        self.nest, self.writer, self.builder = nest, nest.writer, nest.builder
        self.form, self.vector = nest.form, nest.form.kind
        self.pointers, self.count = pointers, count
        self.step = {key: access.steps[-1] for key, access in nest.accesses.items()}
        self.broadcast: dict[Any, Value] = {}
        reduced = [k for k, member in nest.members.items() if member.reduces and not self.step[k]]
        self.streams = {k: self.writer.stream(k) for k in reduced if nest.is_streamed(k)}
        self.sums = [k for k in reduced if k not in self.streams]
        self.blocks = [k for k in self.sums if nest.members[k].run]  # added up in NumPy's order
        much = len(nest.members) > _MUCH or any(
            functions_called(expression)
            for member in nest.members.values()
            if (expression := expression_of(member.opcode, member.exact)) is not None
        )
        # A block has eight sums, which may take several vectors.
        self.together = SIDE_BY_SIDE // self.form.width if self.blocks else 1
        self.unrolled = self.together if much else max(_UNROLLED, self.together)

    def write(self) -> None:
        for key in set(self.nest.operands.values()):
            if self.step[key] == 0:
                self.broadcast[key] = self.writer.splat(
                    self.builder.load(self.pointers[key], align=8)
                )
        for k, stream in self.streams.items():
            held = self.builder.load(self.held(stream))
            self.pointers[k, "numbers"] = self.writer.at(stream.numbers, held)
        parts = [
            [self.constant(_initial(self.nest.members[k]))] * self.side_by_side(k)
            for k in self.sums
        ]
        rest: list[list[Value]] = [[] for _ in self.sums]
        count, width = self.count, self.form.width
        if isinstance(count, int) and count <= width * _WRITTEN_OUT:
            self.several(0, range(0, count, width), count, parts, rest)
        else:
            parts = self.loops(parts, rest)
        for number, k in enumerate(self.sums):
            self.finish(k, parts[number], rest[number])
        for k, stream in self.streams.items():
            numbers = self.writer.add(self.builder.load(self.held(stream)), count)
            arguments = [stream.state, stream.numbers, numbers, self.pointers[k]]
            self.writer.call("sum_more", arguments)

    def held(self, stream: _Stream) -> Value:
        words = self.builder.bitcast(stream.state, _WORD.as_pointer())
        return self.writer.at(words, 3)

    def side_by_side(self, k: int) -> int:
        """Return how many vectors a sum is kept in."""
        if k in self.blocks:
            return self.together
        vectors = (
            -(-self.count // self.form.width) if isinstance(self.count, int) else self.unrolled
        )
        return max(1, min(self.unrolled, vectors))

    def several(
        self,
        start: Value,
        steps: Sequence[int],
        known: Value,
        parts: list[list[Value]],
        rest: list[list[Value]],
    ) -> None:
        """Return vectors of elements, at these steps from an index on, of so many in all.

        What is reduced is added to the parts of its sum, or to the rest of a block.
        """
        width = self.form.width
        for number, step in enumerate(steps):
            index = self.writer.add(start, step)
            mask = None
            if known is not None:
                is_known = isinstance(index, int) and isinstance(known, int)
                mask = self.known_mask(index) if is_known else self.mask(index)
            values = self.elements(index, mask)
            for k, mine, left in zip(self.sums, parts, rest, strict=True):
                if k in self.blocks and known is not None:
                    assert isinstance(known, int)
                    if index >= known // SIDE_BY_SIDE * SIDE_BY_SIDE:
                        lanes = range(min(width, known - index))
                        left += [self.builder.extract_element(values[k], _I32(j)) for j in lanes]
                        continue
                part = number % len(mine)
                more = self.apply(self.nest.members[k], [mine[part], values[k]])
                mine[part] = more if mask is None else self.builder.select(mask, more, mine[part])

    def loops(self, parts: list[list[Value]], rest: list[list[Value]]) -> list[list[Value]]:
        """Write loops over several vectors at a time, then one (or a block's), then the rest."""
        width = self.form.width

        def nested(flat: Sequence[Value]) -> list[list[Value]]:
            values = iter(flat)
            return [[next(values) for _ in mine] for mine in parts]

        def flat(nest: Sequence[Sequence[Value]]) -> list[Value]:
            return [value for mine in nest for value in mine]

        def vectors(count: int, masked: bool = False) -> Callable[..., list[Value]]:
            def body(index: Value, *carried: Value) -> list[Value]:
                found = nested(carried)
                steps = range(0, count * width, width)
                self.several(index, steps, self.count if masked else None, found, rest)
                return flat(found)

            return body

        index: Value = 0
        carried = flat(parts)
        for count in dict.fromkeys((self.unrolled, self.together)):
            stop = self.writer.add(self.count, 1 - count * width)
            index, carried = self.writer.loop(index, stop, count * width, vectors(count), carried)
        if not isinstance(self.count, int):
            _, carried = self.writer.loop(index, self.count, width, vectors(1, True), carried)
        else:
            done = self.count // (self.together * width) * self.together * width
            left = -(-(self.count - done) // width)
            carried = vectors(left, True)(done, *carried)
        return nested(carried)

    def elements(self, index: Value, mask: Value) -> dict[int, Value]:
        """Return a vector of elements from an index on: what is reduced of them in registers.

        A mask has the lanes that there are elements for, and is None where that is all.
        """
        values: dict[int, Value] = {}
        loaded: dict[Any, Value] = {}
        reduced: dict[int, Value] = {}
        for k, member in self.nest.members.items():
            operands = []
            for place, operand in enumerate(member.operands):
                if operand.source in self.nest.members:
                    operands.append(values[operand.source])
                else:
                    key = self.nest.operands[k, place]
                    if key not in loaded:
                        loaded[key] = self.load(key, index, mask)
                    operands.append(loaded[key])
            if k in self.streams:
                self.store((k, "numbers"), index, mask, operands[0])
            elif k in self.sums:
                reduced[k] = operands[0]
            elif member.reduces:
                so_far = self.load(k, index, mask)
                self.store(k, index, mask, self.apply(member, [so_far, *operands]))
            else:
                values[k] = self.apply(member, operands)
                if k in self.nest.stored:
                    self.store(k, index, mask, values[k])
        return reduced

    def apply(self, member: Member, operands: list[Value]) -> Value:
        expression = expression_of(member.opcode, member.exact)
        assert expression is not None
        return emit(self.builder, self.form, expression, operands)

    def finish(self, k: int, parts: list[Value], rest: list[Value]) -> None:
        """Add up what a reduction has in its lanes, to what its result is so far."""
        member, builder = self.nest.members[k], self.builder
        if k in self.blocks:
            few = isinstance(self.count, int) and self.count < SIDE_BY_SIDE
            number = add_across(builder, () if few else parts, rest)
        else:
            number = self.combined(member, parts)
        so_far: Value = ir.Constant(_DOUBLE, _initial(member))
        if not self.nest.is_whole(k):
            so_far = builder.load(self.pointers[k], align=8)
        expression = expression_of(member.opcode, member.exact)
        assert expression is not None
        builder.store(
            emit(builder, SINGLE, expression, [so_far, number]), self.pointers[k], align=8
        )

    def combined(self, member: Member, parts: list[Value]) -> Value:
        """Return what parts and lanes come to, in any order."""
        builder, width = self.builder, self.form.width
        while len(parts) > 1:
            parts = [
                self.apply(member, parts[j : j + 2]) if j + 1 < len(parts) else parts[j]
                for j in range(0, len(parts), 2)
            ]
        (total,) = parts
        distance = width // 2
        while distance:
            turned = [(lane + distance) % width for lane in range(width)]
            order = ir.Constant(ir.VectorType(_I32, width), turned)
            total = self.apply(member, [total, builder.shuffle_vector(total, total, order)])
            distance //= 2
        return builder.extract_element(total, _I32(0))

    # Vectors.

    def constant(self, value: float) -> Value:
        return ir.Constant(self.vector, [value] * self.form.width)

    def known_mask(self, index: int) -> Value:
        width = self.form.width
        if index + width <= self.count:
            return None
        inside = [int(index + lane < self.count) for lane in range(width)]
        return ir.Constant(ir.VectorType(_BIT, width), inside)

    def mask(self, index: Value) -> Value:
        words = ir.VectorType(_WORD, self.form.width)
        lanes = ir.Constant(words, list(range(self.form.width)))
        left = self.builder.sub(self.writer.word(self.count), index)
        return self.builder.icmp_signed("<", lanes, self.writer.splat(left, words))

    def load(self, key: Any, index: Value, mask: Value) -> Value:
        if key in self.broadcast:
            return self.broadcast[key]
        if self.step[key] != 1:
            return self.gather(key, index, mask)
        return self.writer.load(self.writer.at(self.pointers[key], index), mask)

    def store(self, key: Any, index: Value, mask: Value, value: Value) -> None:
        self.writer.store(value, self.writer.at(self.pointers[key], index), mask)

    def gather(self, key: Any, index: Value, mask: Value) -> Value:
        """Gather elements apart from each other; beyond the last one that is repeated."""
        found = ir.Constant(self.vector, ir.Undefined)
        for lane in range(self.form.width):
            place = self.writer.add(index, lane)
            if mask is not None:
                place = self.at_most_last(place)
            pointer = self.writer.at(self.pointers[key], self.writer.times(place, self.step[key]))
            number = self.builder.load(pointer, align=8)
            found = self.builder.insert_element(found, number, _I32(lane))
        return found

    def at_most_last(self, place: Value) -> Value:
        if isinstance(place, int) and isinstance(self.count, int):
            return min(place, self.count - 1)
        last = self.writer.word(self.writer.add(self.count, -1))
        place = self.writer.word(place)
        return self.builder.select(self.builder.icmp_signed("<", place, last), place, last)
