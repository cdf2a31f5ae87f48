"""The search for periods, as machine code.

`search` looks at one block of instructions; all else here is part of it. It is called for one
block after the other, see `periods.py`.
"""

import numpy as np
from numba.extending import register_jitable

from numtape.jit.compile import Lazy

STEPS = 8  # fewer are no loop
LAGS = 4  # how many steps before a result may be read
_SAVED = 32  # a loop of fewer instructions less is not worth what it costs to begin it
_NEAR = 32  # slots; results that are farther away are hashed otherwise
_PARTS = 6  # a period may be so many shorter ones, or less
_TRIES = 8  # to begin in the midst of what looks like a step

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
            elif slot < results[0]:
                h = _mixed(h, 1)
            else:
                h = _mixed(h, 3 + near if near <= _NEAR else 2)
        hashed[i] = h


@register_jitable
def _refine(starts, slots, results, constants, first, hashed, context, last):
    """Hash how far operands move that are read from far away.

    `context` has hashes of 16 instructions from each on; those around it say where it is.
    """
    mask = np.uint64(last.size - 1)
    for i in range(hashed.size):
        item = first + i
        around = i - 8 if i > 8 else 0
        h, place = hashed[i], _mixed(context[around], i - around)
        for q in range(starts[item], starts[item + 1]):
            slot = slots[q]
            if slot >= constants and (slot < results[0] or results[item] - slot > _NEAR):
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
def _come_again(hashed, width, following, level, table):
    """Find for each instruction where its window comes again; -1 where it does not."""
    mask = np.uint64(table.size - 1)
    for i in range(table.size):
        table[i] = -1
    for i in range(hashed.size):
        following[level, i] = -1
    for i in range(hashed.size - width, -1, -1):
        at = ((hashed[i] * _OTHER) >> _HIGH) & mask
        j = table[at]
        # One place for a hash: what a collision hides is found from a later instruction on.
        if j >= 0 and hashed[j] == hashed[i]:
            following[level, i] = j
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
                good = good and slot >= constants and last >= constants
                highest = (slot if slot > last else last) + more
                top = highest if highest > top else top
                good = good and highest < begin
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
            if slot + more >= constants and slot + more > top:
                top = slot + more
    return item, item - period, top


@register_jitable
def _cut(starts, slots, low, results, first, period, reached, live):
    """Return after how many instructions the fewest results are read that were made before.

    There steps may well begin. Then how many these are; `live` gets how many after each.
    """
    views = low.size > 1
    begin = results[first]
    for place in range(period + 1):
        reached[place] = live[place] = 0
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
                if item - a > reached[place]:
                    reached[place] = item - a
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
        The slot of the first input, the block, how many sorts of windows, and how much may be
        looked at.
    """
    count = tokens.size
    _hash(tokens, starts, slots, low, reach, results, constants, first, hashed)
    for i in range(size):
        context[i] = hashed[i]
    _widen(context, 1)
    _widen(context, 4)
    _refine(starts, slots, results, constants, first, hashed, context, last)
    _come_again(context, 16, following, 0, table)
    width = 1
    for level in range(1, levels):
        _widen(hashed, width)
        width *= 4
        _come_again(hashed, width, following, level, table)
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
            work += end - item + period
            if end - item < STEPS * period:
                failed[period] = again if again > item else item + 1
            elif end > best_end or (period < best and end - item >= best_end - item - best):
                best, best_end, best_top = period, end, top
        if best == 0:
            item += 1
            continue
        period, end, top = best, best_end, best_top
        part = 2
        while part < _PARTS:
            shorter = period // part
            if shorter * part == period:
                done, _, other_top = _end(
                    tokens, starts, slots, low, reach, results, constants, item, shorter, count
                )
                work += done - item
                if done >= end - shorter:
                    period, end, top = shorter, done, other_top
                    continue
            part += 1
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
            # As many steps are tested as tell what each operand is, and some more.
            limit = other + (STEPS + LAGS) * period
            limit = limit if limit < end else end
            good = other >= 0 and limit >= other + STEPS * period and (stage > 1 or shift > 0)
            if good and (other >= item or results[other] > top):
                done, _, _ = _end(
                    tokens, starts, slots, low, reach, results, constants, other, period, limit
                )
                good = done == limit
                work += limit - other
            else:
                good = False
            if good:
                begin = other
                if stage == 3:
                    break
                stage = 2
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
            failed[period] = end - period if end - period > item else item + 1
            continue
        found[loops, 0] = begin
        found[loops, 1] = period
        found[loops, 2] = steps
        loops += 1
        item = begin + period * steps
    state[0] = item if item > first else first + 1
    state[1], state[2] = loops, work
