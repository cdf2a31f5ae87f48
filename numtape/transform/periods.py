"""Where a tape repeats itself: stretches of instructions that do the same again and again.

A *stretch* is a first instruction, a period and a number of steps. In each step the same
instructions are made, and each of their operands is one of

- a result of the same step, or of one of the few steps before: then in the first steps
  anything that there was before;
- what was there before the stretch, at slots that move on by the same number at each step, or
  by none;
- a constant, whichever it is.

Instructions are hashed so that those that do the same in each step come out alike: what is
near is hashed by how near it is, and what is far by how far it is from what was read last
where instructions around were like these. Where windows of 4, 16, 64, ... hashes come again a
period is proposed. It is then tested exactly, so a collision costs time alone. Hashing is done
block by block, testing goes on as far as the stretch does.

This module finds stretches; `rolling.py` makes loops of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from numtape.jit.compile import Lazy
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.forms import Form

__all__ = ["LAGS", "Items", "stretches"]

Ints = npt.NDArray[np.int64]

STEPS = 8  # fewer are no loop
LAGS = 4  # how many steps before a result may be read
_SAVED = 32  # a loop of fewer instructions less is not worth what it costs to begin it

_NEAR = 64  # slots; what is read from farther away is hashed otherwise
_BLOCK, _LARGEST_BLOCK = 1 << 12, 1 << 18
_WORK = 100  # tests look at so many instructions for each that there is, and then give up
_TRIES = 8  # to begin in the midst of what looks like a step
_CONTEXTS = 1 << 12  # what is remembered of what was read last
_FORM = 1 << 12  # added to the numbers of forms, which are opcodes otherwise
_LOOP = 32  # what a loop counts, in instructions


@dataclass(frozen=True)
class Items:
    """A tape's instructions, scalar ones and vector ones alike.

    Attributes
    ----------
    tape : FlatTape
    tokens : int64 array
        What each does, but for where it reads: its opcode or its form.
    starts : int64 array
        Where the operands of each begin, and at the end how many there are.
    slots : int64 array
        What each operand reads: a slot, the base of a view, or the lowest slot of a table.
    low, reach : int64 array
        How far the lowest slot that it reads is from there, and the highest from the lowest.
        One number, which is 0, where all instructions are scalar.
    """

    tape: FlatTape
    tokens: Ints
    starts: Ints
    slots: Ints
    low: Ints
    reach: Ints

    @classmethod
    def of(cls, tape: FlatTape) -> "Items":
        """Return the instructions of a tape."""
        code = tape.code
        if tape.is_scalar:
            slots = code[:, 1:].astype(np.int64).ravel()
            starts = np.arange(0, 2 * len(code) + 1, 2)
            zero = np.zeros(1, np.int64)
            return cls(tape, code[:, 0].astype(np.int64), starts, slots, zero, zero)
        vectors, is_vector = tape.vectors, code[:, 0] == VECTOR
        tokens = code[:, 0].astype(np.int64)
        tokens[is_vector] = _FORM + vectors.which
        counts = np.full(len(code), 2)
        counts[is_vector] = vectors.operands
        starts = np.zeros(len(code) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        slots, low, reach = np.zeros((3, starts[-1]), np.int64)
        scalars = starts[:-1][~is_vector]
        slots[scalars], slots[scalars + 1] = code[~is_vector, 1], code[~is_vector, 2]
        of_vectors = np.repeat(is_vector, counts)
        every = np.array([each for form in vectors.forms for each in _ranges(form)], np.int64)
        sizes = np.array([len(form.shapes) for form in vectors.forms])
        begins = (np.cumsum(sizes) - sizes)[vectors.which]
        views = np.arange(len(vectors.bases)) + np.repeat(
            begins - vectors.starts[:-1], vectors.operands
        )
        first, low[of_vectors], reach[of_vectors] = every.reshape(-1, 3)[views].T
        slots[of_vectors] = vectors.bases + first
        return cls(tape, tokens, starts, slots, low, reach)

    @property
    def worth(self) -> Ints:
        """How many instructions there are before each, counting a loop as more than one."""
        sizes = np.ones(len(self.tokens), np.int64)
        if not self.tape.is_scalar:
            loops = self.tape.vectors.each(lambda each: each.body is not None)
            sizes[self.tape.code[:, 0] == VECTOR] += loops * (_LOOP - 1)
        return np.concatenate([[0], np.cumsum(sizes)])


def _ranges(form: Form) -> list[tuple[int, int, int]]:
    """Return of each view what is added to its base, then what `Items` says of it."""
    found = []
    for view, shape, reads in zip(form.instruction.operands, form.shapes, form.reads, strict=True):
        if 0 in shape:
            found.append((0, 0, 0))
        elif view.table is None:
            found.append((0, reads[0], reads[1] - reads[0]))
        else:
            first = int(view.table.min())
            found.append((first, 0, int(view.table.max()) - first))
    return found


def stretches(items: Items) -> list[tuple[int, int, int]]:
    """Return where a tape repeats itself: first instructions, periods and numbers of steps.

    In order, without overlaps.
    """
    tape = items.tape
    count = len(items.tokens)
    found: Ints = np.zeros((count // STEPS + 1, 3), np.int64)
    failed: Ints = np.full(count // STEPS + 2, -1)
    scratch = np.zeros((2, count // STEPS + 2), np.int64)
    state = np.zeros(3, np.int64)  # where it is, how many there are, the work that was done
    block, worth = _BLOCK, items.worth
    known = (items.tokens, items.starts, items.slots, items.low, items.reach, tape.results)
    room = np.zeros(0, np.uint64)
    while state[0] < count - STEPS and state[2] < _WORK * count + 1000:
        first, before = int(state[0]), int(state[1])
        size = min(block, count - first)
        levels = 1
        while 4 ** (levels + 1) * 2 < size:
            levels += 1
        if len(room) < size:
            room = np.zeros(size, np.uint64)
            refined, following = np.zeros(size, np.uint64), np.zeros((16, size), np.int32)
            table = np.zeros(1 << max(4, (size - 1).bit_length()), np.int32)
        last: Ints = np.zeros(_CONTEXTS, np.int64)
        parts = room[:size], refined[:size], following[:levels], table, last
        numbers = tape.first_input, first, size, levels, _WORK * count + 1000
        search(size, *known, worth, *parts, failed, *scratch, found, state, *numbers)
        if state[1] == before and first + size < count and block < _LARGEST_BLOCK:
            state[0] = first
            block *= 4
    return [tuple(each) for each in found[: state[1]].tolist()]


# Machine code. All that is below is part of `search`.

_ODD = np.uint64(0x9E3779B97F4A7C15)
_OTHER = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT, _HIGH = np.uint64(29), np.uint64(20)


@register_jitable
def _mixed(hashed, number):
    """Return a hash of a hash and a number."""
    hashed = (hashed ^ (np.uint64(number) * _OTHER)) * _ODD
    return hashed ^ (hashed >> _SHIFT)


@register_jitable
def _hash(tokens, starts, slots, low, reach, results, constants, first, hashed):
    """Hash what each instruction does, and near operands."""
    views = low.size > 1
    for i in range(hashed.size):
        item = first + i
        h = _mixed(_ODD, tokens[item])
        for q in range(starts[item], starts[item + 1]):
            slot = slots[q] + low[q] if views else slots[q]
            end = slot + reach[q] if views else slot
            near = results[item] - slot
            if end < constants:
                h = _mixed(h, 0)
            elif near <= _NEAR:
                h = _mixed(h, 3 + near)
            else:
                h = _mixed(h, 1 if slot < results[0] else 2)
        hashed[i] = h


@register_jitable
def _refine(starts, slots, results, constants, first, hashed, context, last):
    """Hash how far operands move that are read from far away.

    `context` has hashes of 16 instructions from each on; those around it say where it is.
    """
    mask = np.uint64(last.size - 1)
    for i in range(hashed.size):
        item = first + i
        h, place = hashed[i], context[max(i - 8, 0)]
        for q in range(starts[item], starts[item + 1]):
            slot = slots[q]
            if slot >= constants and results[item] - slot > _NEAR:
                place = _mixed(place, q - starts[item])
                at = place & mask
                h = _mixed(h, slot - last[at])
                last[at] = slot
        hashed[i] = h


@register_jitable
def _widen(hashed, width):
    """Make hashes of `width` instructions from each on hashes of four times as many."""
    size = hashed.size
    for i in range(size):
        h = hashed[i]
        for part in range(1, 4):
            j = i + part * width
            h = _mixed(h, hashed[j]) if j < size else _mixed(h, part)
        hashed[i] = h


@register_jitable
def _come_again(hashed, width, following, table):
    """Find for each instruction where its window comes again; -1 where it does not."""
    mask = np.uint64(table.size - 1)
    table[:] = -1
    following[:] = -1
    for i in range(hashed.size - width, -1, -1):
        at = ((hashed[i] * _OTHER) >> _HIGH) & mask
        j = table[at]
        # One place for a hash: what a collision hides is found from a later instruction on.
        if j >= 0 and hashed[j] == hashed[i]:
            following[i] = j
        table[at] = i


@register_jitable
def _begins(starts, slots, low, reach, results, constants, first, period):
    """Test the operands of the first steps.

    Returns
    -------
    item : int
        The first instruction that has an operand that does not do; -1 where all do.
    top : int
        The highest slot that is read at fixed places, or at some that move.
    """
    views = low.size > 1
    begin = results[first]
    size = results[first + period] - begin
    step = starts[first + period] - starts[first]
    top = 0
    for item in range(first, first + period):
        for q in range(starts[item], starts[item + 1]):
            offset = low[q] if views else 0
            more = reach[q] if views else 0
            last = slots[q + LAGS * step] + offset
            good = True
            if last >= begin:
                back = LAGS - (last - begin) // size
                if (last + more - begin) // size != LAGS - back:
                    good = False
                for k in range(LAGS):
                    slot = slots[q + k * step] + offset
                    if k >= back:
                        good = good and slot == last - (LAGS - k) * size
                    else:
                        good = good and slot + more < begin
            elif last + more < constants:
                for k in range(LAGS):
                    good = good and slots[q + k * step] + offset + more < constants
            else:
                move = last - offset - slots[q + (LAGS - 1) * step]
                for k in range(LAGS):
                    slot = slots[q + k * step] + offset
                    good = good and slot == last - (LAGS - k) * move
                slot = slots[q] + offset
                good = good and min(slot, last) >= constants
                top = max(top, max(slot, last) + more)
                good = good and top < begin
            if not good:
                return item, top
    return -1, top


@register_jitable
def _end(tokens, starts, slots, low, reach, results, constants, first, period, stop):
    """Test how far a period goes.

    Returns
    -------
    end : int
        The first instruction that does not belong to it any more.
    again : int
        Where it does not go far enough, from where on it may be worth another try.
    top : int
        See `_begins`.
    """
    begin = results[first]
    size = results[first + period] - begin
    step = starts[first + period] - starts[first]
    if size <= 0:
        return first, first + period, 0
    for item in range(first + period, first + STEPS * period):
        if tokens[item] != tokens[item - period]:
            return first, item - period + 1, 0
    item, top = _begins(starts, slots, low, reach, results, constants, first, period)
    if item >= 0:
        return first, item + 1, top
    views = low.size > 1
    item = first + (LAGS + 1) * period
    good = True
    while item < stop and good:
        good = tokens[item] == tokens[item - period]
        if not good:
            break
        for q in range(starts[item], starts[item + 1]):
            slot, before = slots[q], slots[q - step]
            offset = low[q] if views else 0
            more = reach[q] if views else 0
            if before + offset >= begin:
                good = good and slot - before == size
            elif before + offset + more < constants:
                good = good and slot + offset + more < constants
            else:
                good = good and slot - before == before - slots[q - 2 * step]
                good = good and slot + offset >= constants and slot + offset + more < begin
        if good:
            item += 1
    for q in range(starts[item - period], starts[item]):
        slot = slots[q] + low[q] if views else slots[q]
        if slot < begin:
            more = reach[q] if views else 0
            if slot + more >= constants:
                top = max(top, slot + more)
    return item, item - period, top


@register_jitable
def _cut(starts, slots, low, results, first, period, reached, live):
    """Return after how many instructions the fewest results are read that were made before.

    There steps may well begin. Then how many these are; `live` gets how many after each.
    """
    views = low.size > 1
    begin = results[first]
    reached[: period + 1] = 0
    live[: period + 1] = 0
    later = first + (LAGS + 1) * period
    for item in range(later, later + period):
        for q in range(starts[item], starts[item + 1]):
            slot = slots[q] + low[q] if views else slots[q]
            if slot >= begin:
                a, b = first, item  # the instruction that makes it is among these
                while b - a > 1:
                    middle = (a + b) // 2
                    if results[middle] <= slot:
                        a = middle
                    else:
                        b = middle
                place = (a - first) % period
                reached[place] = max(reached[place], item - a)
    around = 0  # what is read by all later steps
    for place in range(period):
        size = results[first + place + 1] - results[first + place]
        around += reached[place] // period * size
        left = place + reached[place] % period  # the last boundary that it is read beyond
        if left > place:
            live[place + 1] += size
            if left < period:
                live[left + 1] -= size
            else:
                live[0] += size
                live[left - period + 1] -= size
    best, least, now = 0, 0, around
    for place in range(period):
        now += live[place]
        live[place] = now
        if place == 0 or now < least:
            best, least = place, now
    return best, least


@register_jitable
def _may_begin(
    tokens, starts, slots, low, reach, results, constants, first, period, known, stop, top
):
    """Return whether what repeats from `known` on may as well begin at `first`."""
    if first < 0 or (first < known and results[first] <= top):
        return False
    limit = min(stop, first + (STEPS + LAGS) * period)
    if limit < first + STEPS * period:
        return False
    end, _, other = _end(
        tokens, starts, slots, low, reach, results, constants, first, period, limit
    )
    return end == limit and results[first] > other


@Lazy
def search(
    tokens,
    starts,
    slots,
    low,
    reach,
    results,
    worth,
    hashed,
    context,
    following,
    table,
    last,
    failed,
    reached,
    live,
    found,
    state,
    constants,
    first,
    size,
    levels,
    most,
):
    """Find the stretches that begin in a block of instructions.

    Parameters
    ----------
    tokens, starts, slots, low, reach, results : arrays
        See `Items` and `FlatTape`.
    worth : int64 array
        What the instructions before each are worth.
    hashed, context, following, table, last : arrays
        Room for a block's hashes, where windows come again, and what was read last.
    failed : int64 array
        For each period up to where it is not to be tried.
    reached, live : int64 array
        Room for a period.
    found : int64 array (stretches, 3)
    state : int64 array
        Where to begin, how many stretches there are, and how much was looked at.
    constants, first, size, levels, most : int
        The slot of the first input, the block, how many widths of windows, and how much may be
        looked at.
    """
    count = tokens.size
    _hash(tokens, starts, slots, low, reach, results, constants, first, hashed)
    context[:] = hashed
    _widen(context, 1)
    _widen(context, 4)
    _refine(starts, slots, results, constants, first, hashed, context, last)
    width = 1
    for level in range(levels):
        _widen(hashed, width)
        width *= 4
        _come_again(hashed, width, following[level], table)
    work = state[2] + size * levels
    item, loops = state[0], state[1]
    # In the second half windows end too soon; it is looked at with the next block.
    stop = first + size if first + size == count else first + size // 2
    while item < stop and work < most:
        best, best_end, best_top, tried = 0, item, 0, 0
        for level in range(levels - 1, -1, -1):
            period = following[level, item - first] - (item - first)
            if period <= 0 or period == tried or STEPS * period > count - item:
                continue
            if failed[period] > item:
                continue
            tried = period
            end, again, top = _end(
                tokens, starts, slots, low, reach, results, constants, item, period, count
            )
            work += max(end - item, period)
            if end - item < STEPS * period:
                failed[period] = max(again, item + 1)
            elif end > best_end or (period < best and end - item >= best_end - item - best):
                best, best_end, best_top = period, end, top
        if best == 0:
            item += 1
            continue
        period, end, top = best, best_end, best_top
        # Where least is carried, then as many steps sooner as may be, then part of a step.
        shift, least = _cut(starts, slots, low, results, item, period, reached, live)
        begin, stage, back, tries = item, 0, period - 1, 0
        while stage < 4:
            if stage == 0:
                other = item + shift - period
            elif stage == 1:
                other = item + shift
            elif stage == 2:
                other = begin - period
            else:
                while back > 0 and live[(begin - item - back) % period] != least:
                    back -= 1
                other = begin - back
                if back == 0 or tries == _TRIES:
                    break
                tries += 1
            good = stage > 1 or shift > 0
            good = good and _may_begin(
                tokens, starts, slots, low, reach, results, constants, other, period, item, end, top
            )
            work += (STEPS + LAGS) * period
            if good:
                begin = other
                stage = max(stage, 2) if stage < 3 else 4
            elif stage == 3:
                back -= 1
            else:
                stage += 1
        # What was found before and lies inside is part of it.
        while loops and found[loops - 1, 0] >= begin:
            loops -= 1
        if loops:
            over = found[loops - 1, 0] + found[loops - 1, 1] * found[loops - 1, 2] - begin
            if over > 0:
                begin += (over + period - 1) // period * period
        steps = (end - begin) // period
        saved = (worth[begin + period] - worth[begin]) * (steps - 1) if steps > 0 else 0
        if steps < STEPS or saved < _SAVED:
            failed[period] = max(end - period, item + 1)
            continue
        found[loops, 0] = begin
        found[loops, 1] = period
        found[loops, 2] = steps
        loops += 1
        item = begin + period * steps
    state[0], state[1], state[2] = max(item, first + 1), loops, work
