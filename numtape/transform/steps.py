"""A stretch of a tape that repeats itself, and the loop that it becomes.

A `Stretch` says of each operand of a step what it is: made in the same step, carried from one
before, a constant, or what was there before, at slots that move or do not. What is read from
outside of the step becomes inputs of the loop's body. Slots that lie side by side and move
alike are one array there, so what reads them as an array may do so as before.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import LOOP
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction, View, contiguous_strides
from numtape.tape.forms import Form
from numtape.trace.recorder import Slots
from numtape.transform.matching import LAGS
from numtape.transform.periods import Items
from numtape.transform.unrolling import apart

__all__ = ["Stretch"]

Bools = npt.NDArray[np.bool_]
Shape = tuple[int, ...]

_RUN = 4  # so many numbers at even distances are read as an array


class Stretch:
    """What a tape does in so many steps.

    Parameters
    ----------
    items : Items
    first, period, steps : int
        The first instruction, how many there are in a step, and how many steps.

    Attributes
    ----------
    end : int
        The first instruction after it.
    begin, stop : int
        The slot of its first result, and the slot after its last.
    is_in_the_way : bool
        Whether results are read in a way in which those of the loop may not be.
    writes_all : bool
        Whether last values, too, are read from what is written: then rows have the same order.
    """

    def __init__(self, items: Items, first: int, period: int, steps: int) -> None:
        self.items, self.tape = items, items.tape
        self.first, self.period, self.steps = first, period, steps
        self.end = first + period * steps
        results = self.tape.results
        self.begin, self.stop = results.item(first), results.item(self.end)
        self.width = (self.stop - self.begin) // steps
        self.is_in_the_way = self.writes_all = False
        self._start = items.starts.item(first)
        count = items.starts.item(first + period) - self._start
        operands = slice(self._start, self._start + count)
        self.read = items.slots[self._start : self._start + count * steps].reshape(steps, count)
        is_scalar = self.tape.is_scalar
        self.low = np.zeros(count, np.int64) if is_scalar else items.low[operands]
        self.reach = np.zeros(count, np.int64) if is_scalar else items.reach[operands]
        self._tell_apart()
        known = {} if is_scalar else dict(self._views())
        self.views = {number: known[number] for number in self.outside if number in known}
        self._written: Slots = np.zeros(0, np.int64)
        self.carries: list[_Carried] = []
        self.slot = 0

    def _views(self) -> Iterator[tuple[int, "_Operand"]]:
        """Yield the operands that read several slots one by one, by their numbers."""
        for item, form in self._vectors():
            start = self.items.starts.item(self.first + item) - self._start
            views = zip(form.instruction.operands, form.shapes, form.reads, strict=True)
            for number, (view, shape, reads) in enumerate(views, start):
                if 0 not in shape and (view.table is not None or not reads[2]):
                    yield number, _Operand(view, shape)

    def _vectors(self) -> Iterator[tuple[int, Form]]:
        """Yield the places in a step and the forms of vector instructions."""
        code = self.tape.code[self.first : self.first + self.period]
        for item in np.flatnonzero(code[:, 0] == VECTOR).tolist():
            yield item, self.tape.vectors.form(code.item(item, 1))

    def _tell_apart(self) -> None:
        """Find out what each operand of a step is."""
        read, low = self.read, self.low
        slot = read[LAGS] + low
        is_own = slot >= self.begin
        step, place = np.divmod(slot - self.begin, self.width)
        self.back = np.where(is_own, LAGS - step, -1)  # made so many steps before
        self.place = place
        is_constant = ~is_own & (slot + self.reach < self.tape.first_input)
        varies = np.zeros(len(slot), bool)
        which = np.flatnonzero(is_constant)
        columns = read.T[which]
        varies[which] = (columns != columns[:, :1]).any(axis=1)
        self.varying = np.flatnonzero(varies).tolist()
        is_number = is_constant & ~varies & (self.reach == 0)
        self.numbers = np.flatnonzero(is_number)  # constants that stay constants
        self.move = slot - read[LAGS - 1] - low
        self.move[is_constant] = 0
        self.outside = np.flatnonzero(~is_own & ~is_number & ~varies).tolist()

    def makes_way(self) -> bool:
        """Return whether it may become a loop, of one that writes all where it is in the way."""
        may = not (self.is_in_the_way and self.writes_all)
        self.writes_all |= self.is_in_the_way
        return may

    def makes(self, slots: Slots) -> bool:
        """Return whether some of these slots are its results."""
        return bool(((slots >= self.begin) & (slots < self.stop)).any())

    def mark(self, read: Bools) -> None:
        """Mark slots that are read from outside."""
        for number in np.flatnonzero(self.back > 0).tolist():
            for step in range(self.back.item(number)):
                slot = self.read.item(step, number) + self.low.item(number)
                read[slot : slot + self.reach.item(number) + 1] = True
        for number in self.outside:
            slots = self.read[:, number] if self.move[number] else self.read[:1, number]
            reach = self.reach.item(number)
            if number in self.views:
                every = np.add.outer(slots, self.views[number].offsets.ravel())
                read[every] = True
                if self.views[number].is_even:  # and stays so
                    read[every.min() : min(every.max() + 1, self.tape.first_input)] = True
            elif reach:
                read[np.add.outer(slots + self.low.item(number), np.arange(reach + 1))] = True
            else:
                read[slots + self.low.item(number)] = True

    def columns(self) -> Iterator[npt.NDArray[np.float64]]:
        """Yield the constants of those operands that read others in each step."""
        self.keys: dict[int, bytes] = {}
        constants = self.tape.constants
        for number in self.varying:
            slots = self.read[:, number] + self.low.item(number)
            if self.reach[number]:
                slots = np.add.outer(slots, np.arange(self.reach.item(number) + 1)).ravel()
            column = np.where(slots > 0, constants[slots - 1], 0.0)
            self.keys[number] = column.tobytes()
            yield column

    # What it carries, and what is read of it.

    def choose_results(self, read: Bools) -> None:
        """Choose what is carried and written, by the slots that are read from outside."""
        self.carries = self._carried()
        box = read[self.begin : self.stop].reshape(self.steps, self.width)
        held = np.zeros((LAGS + 1, self.width), bool)
        for each in self.carries:
            held[each.back, each.place : each.stop] = True
        written = np.zeros(self.width, bool)
        early = self.stop - LAGS * self.width
        written[np.flatnonzero(read[self.begin : early]) % self.width] = True
        for back in range(2, LAGS + 1):
            written |= box[self.steps - back] & ~held[back]
        if self.writes_all:
            written |= box[-LAGS:].any(axis=0)
        self._written = np.flatnonzero(written)
        last = np.flatnonzero(box[self.steps - 1] & ~held[1] & ~written)
        for part in np.split(last, np.flatnonzero(np.diff(last) != 1) + 1):
            if len(part):
                self.carries.append(_Carried((), part.item(0), part.item(-1) + 1))
        taken: set[tuple[int, int]] = set()
        for each in sorted(self.carries, key=lambda each: (each.back, each.place, each.start)):
            each.is_twice = (each.back, each.place) in taken
            taken.add((each.back, each.place))
        self.carries.sort(key=lambda each: (each.back, each.is_twice, each.place, each.start))
        at = 0
        for each in self.carries:
            each.at = at
            at += each.size
        self.carried = at
        self.size = at + self.steps * len(self._written)

    def _carried(self) -> list["_Carried"]:
        """Return what is read of earlier steps, by what it is in the first ones."""
        ranges: dict[Shape, list[tuple[int, int]]] = {}
        for number in np.flatnonzero(self.back > 0).tolist():
            place = self.place.item(number)
            first = self.low.item(number) - place
            start = tuple(
                self.read.item(step, number) + first for step in range(self.back.item(number))
            )
            ranges.setdefault(start, []).append((place, place + self.reach.item(number) + 1))
        found = []
        for back in range(LAGS, 0, -1):
            for start in [each for each in ranges if len(each) == back]:
                parts = _united(ranges[start])
                found += [_Carried(start, *part) for part in parts]
                if back > 1:  # which is what was carried so far in the step before
                    ranges.setdefault(start[1:], []).extend(parts)
        return found

    def number(self, new: Slots, slot: int) -> int:
        """Give its results their new slots, from one on; return the slot after them."""
        new[self.begin : self.stop] = -1
        box = new[self.begin : self.stop].reshape(self.steps, self.width)
        for each in () if self.writes_all else reversed(self.carries):
            box[self.steps - each.back, each.place : each.stop] = (
                slot + each.at + np.arange(each.size)
            )
        count = len(self._written)
        rows = slot + self.carried + count * np.arange(self.steps)
        box[:, self._written] = np.add.outer(rows, np.arange(count))
        return slot + self.size

    # The loop.

    def instruction(
        self,
        new: Slots,
        results: int,
        data: dict[bytes, int],
        rolled: Callable[[FlatTape], FlatTape],
    ) -> VectorInstruction:
        """Return the loop.

        Parameters
        ----------
        new : int64 array
            The new slot of each slot of the tape.
        results : int
            The new slot of the first result.
        data : dict
            Where columns of constants begin, by their bits.
        rolled : callable
            Rolls up the body.
        """
        inputs = _Inputs(self, new, data)
        body = self._body(inputs, rolled)
        views = tuple(apart(slots, results) for group in inputs.groups for _, slots in group)
        return VectorInstruction(LOOP, 0, (self.steps,), views, (self.size,), body=body)

    def _body(self, inputs: "_Inputs", rolled: Callable[[FlatTape], FlatTape]) -> Body:
        """Return what it does in a step."""
        tape = self.tape
        numbers = self.read[0, self.numbers] + self.low[self.numbers]
        used = np.unique(numbers[numbers > 0])
        first = 1 + len(used)
        first_result = first + inputs.size
        slots = np.where(self.back == 0, first_result + self.place, first + inputs.at)
        slots[self.numbers] = np.where(numbers > 0, 1 + np.searchsorted(used, numbers), 0)
        rows = slice(self.first + self.period, self.first + 2 * self.period)
        code = tape.code[rows].astype(np.int64)
        is_scalar = code[:, 0] != VECTOR
        starts = self.items.starts[self.first : self.first + self.period] - self._start
        code[is_scalar, 1] = slots[starts[is_scalar]]
        code[is_scalar, 2] = slots[starts[is_scalar] + 1]
        code[~is_scalar, 1] = np.arange(len(code) - np.count_nonzero(is_scalar))
        vectors = [
            form.instruction.reading(tuple(self._reading(form, starts.item(item), slots)))
            for item, form in self._vectors()
        ]
        following = [
            self._following(each, first, first_result) + np.arange(each.size)
            for each in self.carries
        ]
        body = FlatTape.unchecked(
            code=code.astype(np.int32),
            vectors=vectors,
            constants=tape.constants[used - 1],
            inputs=inputs.size,
            outputs=np.concatenate([*following, first_result + self._written]),
            point=np.zeros(inputs.size),
            lines=None if tape.lines is None else tape.lines[rows],
        )
        carries, reads, same = (tuple(shape for shape, _ in group) for group in inputs.groups)
        writes = ((len(self._written),),) if len(self._written) else ()
        return Body(rolled(body), carries, reads, same, writes)

    def _reading(self, form: Form, number: int, slots: Slots) -> Iterator[View]:
        """Yield the views of an instruction of the body, whose operands begin at a number."""
        for view, shape in zip(form.instruction.operands, form.shapes, strict=True):
            if 0 in shape:
                yield view
            elif number in self.views:
                yield View(slots.item(number), self.views[number].strides)
            else:
                yield View(slots.item(number) - self.low.item(number), view.strides)
            number += 1

    def _following(self, carry: "_Carried", first: int, first_result: int) -> int:
        """Return the body's slot of the next value of what is carried."""
        if carry.back == 1:
            return first_result + carry.place
        before = next(
            each
            for each in self.carries
            if each.start == carry.start[1:] and each.place <= carry.place < each.stop
        )
        return first + before.at + carry.place - before.place


@dataclass
class _Carried:
    """Results of a step that later ones read, which lie side by side.

    Attributes
    ----------
    start : tuple of int
        What is read in the first steps, less the place in the step: a slot for each step that
        lies between. Nothing where only the last values are read.
    place, stop : int
        The places in the step.
    at : int
        Where it is among all that is carried.
    is_twice : bool
        Whether the same is carried from other first values too.
    """

    start: Shape
    place: int
    stop: int
    at: int = 0
    is_twice: bool = False

    @property
    def back(self) -> int:
        """How many steps before it was made."""
        return max(len(self.start), 1)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.stop - self.place

    def initial(self, new: Slots) -> Slots:
        """Return the new slots of its first values."""
        if not self.start:
            return np.zeros(self.size, np.int64)
        return new[self.start[0] + np.arange(self.place, self.stop)]


class _Operand:
    """How an operand reads slots that do not lie side by side.

    Attributes
    ----------
    offsets : int64 array
        The slots that it reads, less its base.
    strides : tuple of int
        How it reads them when they lie in C order.
    is_even : bool
        Whether it reads them without a table.
    """

    def __init__(self, view: View, shape: Shape) -> None:
        self.is_even = view.table is None
        walks = [bool(stride) and n > 1 for stride, n in zip(view.strides, shape, strict=True)]
        read = View(0 if view.table is None else view.base, view.strides, view.table)
        offsets = read.slots(shape)[tuple(slice(None) if each else 0 for each in walks)]
        # What `Items` has of a table is its lowest slot.
        self.offsets = offsets if view.table is None else offsets - view.table.min()
        steps = iter(contiguous_strides(self.offsets.shape))
        self.strides = tuple(next(steps) if each else 0 for each in walks)


@dataclass
class _Block:
    """Slots side by side that are read in the first step, and move alike."""

    move: int
    slot: int
    stop: int
    at: int = 0


class _Inputs:
    """What the body of a loop is given.

    Attributes
    ----------
    groups : three lists of (shape, int64 array)
        What is carried, read and the same: shapes, and the slots that the loop reads.
    at : int64 array
        For each operand that is an input where it begins among the inputs.
    size : int
        How many numbers there are.
    """

    def __init__(self, stretch: Stretch, new: Slots, data: dict[bytes, int]) -> None:
        self.stretch, self.new = stretch, new
        self.groups: tuple[list[tuple[Shape, Slots]], ...] = ([], [], [])
        self.at = np.zeros(len(stretch.back), np.int64)
        self.size = 0
        self._carried()
        sides = [k for k in stretch.outside if k not in stretch.views]
        blocks = self._blocks(sides)
        alone = [k for k in stretch.outside if k in stretch.views]
        steps: Slots = np.arange(stretch.steps)
        self._moving([each for each in blocks if each.move], self.groups[1])
        self._alone([k for k in alone if stretch.move[k]], self.groups[1])
        self._columns(data, steps)
        self._moving([each for each in blocks if not each.move], self.groups[2])
        self._alone([k for k in alone if not stretch.move[k]], self.groups[2])
        self._find(sides, blocks)

    def _carried(self) -> None:
        """Take in what is carried."""
        stretch, group = self.stretch, self.groups[0]
        carries = stretch.carries
        initial = [each.initial(self.new) for each in carries]
        kinds = [each.start == () for each in carries]
        single = [
            (each.back, kind) if each.size == 1 else None
            for each, kind in zip(carries, kinds, strict=True)
        ]
        for start, stop in _runs(single, [each.item(0) for each in initial]):
            slots = np.concatenate(initial[start:stop])
            group.append(_shaped(slots))
        self.size = stretch.carried
        at: dict[Shape, list[_Carried]] = {}
        for each in carries:
            at.setdefault(each.start, []).append(each)
        for number in np.flatnonzero(stretch.back > 0).tolist():
            place, back = stretch.place.item(number), stretch.back.item(number)
            first = stretch.low.item(number) - place
            key = tuple(stretch.read.item(step, number) + first for step in range(back))
            found = next(each for each in at[key] if each.place <= place < each.stop)
            self.at[number] = found.at + place - found.place

    def _blocks(self, operands: list[int]) -> list[_Block]:
        """Return what some operands read, as blocks, in order."""
        stretch = self.stretch
        ranges: dict[int, list[tuple[int, int]]] = {}
        for number in operands:
            slot = stretch.read.item(0, number) + stretch.low.item(number)
            stop = slot + stretch.reach.item(number) + 1
            ranges.setdefault(stretch.move.item(number), []).append((slot, stop))
        return [_Block(move, *part) for move in sorted(ranges) for part in _united(ranges[move])]

    def _moving(self, blocks: list[_Block], group: list[tuple[Shape, Slots]]) -> None:
        """Take in blocks."""
        single = [each.move if each.stop == each.slot + 1 else None for each in blocks]
        for start, stop in _runs(single, [each.slot for each in blocks]):
            slots = np.concatenate([np.arange(e.slot, e.stop) for e in blocks[start:stop]])
            for each in blocks[start:stop]:
                each.at = self.size
                self.size += each.stop - each.slot
            group.append(self._at_each_step(*_shaped(slots), blocks[start].move))

    def _at_each_step(self, shape: Shape, slots: Slots, move: int) -> tuple[Shape, Slots]:
        """Return a shape, and the new slots of what is read of it at each step."""
        if move:
            slots = np.add.outer(move * np.arange(self.stretch.steps), slots)
        return shape, self.new[slots]

    def _alone(self, operands: list[int], group: list[tuple[Shape, Slots]]) -> None:
        """Take in operands whose slots do not lie side by side."""
        stretch = self.stretch
        known: dict[tuple[Any, ...], int] = {}
        for number in operands:
            slots = stretch.read.item(0, number) + stretch.views[number].offsets
            move = stretch.move.item(number)
            key = slots.shape, slots.tobytes(), move
            if key not in known:
                known[key] = self.size
                self.size += slots.size
                group.append(self._at_each_step(slots.shape, slots, move))
            self.at[number] = known[key]

    def _columns(self, data: dict[bytes, int], steps: Slots) -> None:
        """Take in constants that are others at each step."""
        stretch = self.stretch
        known: dict[tuple[bytes, int], int] = {}
        for number, key in stretch.keys.items():
            count = stretch.reach.item(number) + 1
            if (key, count) not in known:
                known[key, count] = self.size
                self.size += count
                shape = (count,) if count > 1 else ()
                slots = data[key] + np.arange(len(steps) * count)
                self.groups[1].append((shape, slots.reshape(len(steps), *shape)))
            self.at[number] = known[key, count]

    def _find(self, operands: list[int], blocks: list[_Block]) -> None:
        """Find operands in blocks."""
        stretch = self.stretch
        keys = [(each.move, each.slot) for each in blocks]
        for number in operands:
            slot = stretch.read.item(0, number) + stretch.low.item(number)
            block = blocks[bisect_right(keys, (stretch.move.item(number), slot)) - 1]
            self.at[number] = block.at + slot - block.slot


def _shaped(slots: Slots) -> tuple[Shape, Slots]:
    """Return the shape of slots, which is a number's where there is one, and slots so shaped."""
    shape = slots.shape if len(slots) > 1 else ()
    return shape, slots.reshape(shape)


def _united(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges that do not touch, which cover the same."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(set(ranges)):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def _runs(keys: list[Any], slots: list[int]) -> Iterator[tuple[int, int]]:
    """Yield from where to where equal keys have slots at even distances; else one by one.

    A key of None is alone.
    """
    start, count = 0, len(keys)
    while start < count:
        stop = start + 1
        if keys[start] is not None and stop < count:
            step = slots[stop] - slots[start]
            while stop < count and keys[stop] == keys[start]:
                if slots[stop] - slots[stop - 1] != step:
                    break
                stop += 1
            stop = stop if stop - start >= _RUN else start + 1
        yield start, stop
        start = stop
