"""Kernels of vector instructions, a function for each kind but loops; see `segments.py`."""

import numpy as np

from numtape.jit.compile import kernel
from numtape.run.template.addresses import (
    BUFFER,
    CHUNK,
    FRAME,
    FRAME_MANY,
    FRAME_MANY_COUNTS,
    FRAME_MANY_STEPS,
    FRAME_SIZE,
    GATHER_TABLE,
    GATHERS,
    LOOPS,
    OPERATIONS,
    SLOTS,
    STRIP,
    VALUES,
    WORD_TABLE,
    ZERO,
    float64_array,
    int64_array,
    run_loop,
)

# <part>

# Vector instructions.


@kernel
def reach(h, address, step, count):
    """Read both ends of what is about to be used by its address, a step in bytes apart.

    So a plan that leaves the memory is seen where ``NUMBA_BOUNDSCHECK=1`` has indices
    checked; elsewhere nothing uses what is read, and the compiler leaves it out.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    first = (address - h[VALUES]) // 8
    last = first + step // 8 * (count - 1)
    lowest = min(first, last)  # an index below 0 would count from the end
    return v[max(first, last)] + v[lowest if lowest >= 0 else h[SLOTS]]


@kernel
def view_position(words, shape, strides, rank, row):
    """Return where the `row`-th innermost run of a view starts, relative to its base."""
    position = 0
    for axis in range(rank - 2, -1, -1):
        extent = words[shape + axis]
        position += (row % extent) * words[strides + axis]
        row //= extent
    return position


@kernel
def copy_run(target, source, count):
    """Copy elements that follow one another, from address to address."""
    x = float64_array(source, (count,))
    y = float64_array(target, (count,))
    for i in range(count):
        y[i] = x[i]


@kernel
def fill(h, words, view, start, target, size):
    """Copy `size` elements of a view, from `start` on, to the address `target`.

    A view is encoded as rank (1 or more), base, gather table (or -1), shape, strides.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    gathers = int64_array(h[GATHER_TABLE], (h[GATHERS],))
    values = h[VALUES]
    y = float64_array(target, (size,))
    rank = words[view]
    base = words[view + 1]
    table = words[view + 2]
    shape = view + 3
    strides = shape + rank
    run = words[shape + rank - 1]
    step = words[strides + rank - 1]
    column = start % run
    # Rows side by side, and then the rest of the axes: a division for each row is too much.
    rows = size + start
    apart = rows - rows
    if rank > 1:
        rows = words[shape + rank - 2]
        apart = words[strides + rank - 2]
    row = start // run % rows
    block = start // run // rows
    first = base + view_position(words, shape, strides, rank - 1, block)
    done = size - size
    while done < size:
        position = first + row * apart + column * step
        count = min(run - column, size - done)
        if table >= 0:
            for i in range(count):
                y[done + i] = v[gathers[table + position + i * step]]
        elif step == 1:
            reach(h, values + 8 * position, 8, count)
            copy_run(target + 8 * done, values + 8 * position, count)
        elif step == 0:
            y[done : done + count] = v[position]
        else:
            for i in range(count):
                y[done + i] = v[position + i * step]
        done += count
        if apart == 0 and count == run:  # the rows that follow are the same: ever longer copies
            again = min((rows - 1 - row) * run, size - done)
            made = again - again
            while made < again:
                more = min(run + made, again - made)
                copy_run(target + 8 * (done + made), target + 8 * (done - run), more)
                made += more
            done += again
            row += (again + run - 1) // run
        column = run - run
        row += 1
        if row == rows:
            row = rows - rows
            block += 1
            first = base + view_position(words, shape, strides, rank - 1, block)


@kernel
def run_map(h, words, at, r):
    """Run an elementwise operation; the result is contiguous.

    Operands that step evenly are read in place, others are made contiguous in chunks.
    """
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    opcode = words[at + 1]
    size = words[at + 2]
    arity = loops[opcode, 2]
    chunk = size
    view = at + 3
    for _ in range(arity):
        rank = words[view]
        if rank > 1 or words[view + 2] >= 0:
            chunk = CHUNK
        view += 3 + 2 * rank
    start = size - size  # an int64 variable: a literal would compile `fill` a second time
    while start < size:
        count = min(chunk, size - start)
        view = at + 3
        for operand in range(arity):
            rank = words[view]
            if rank > 1 or words[view + 2] >= 0:
                address = h[BUFFER] + 8 * CHUNK * operand
                fill(h, words, view, start, address, count)
                step = 1
            else:
                step = words[view + 4]
                address = h[VALUES] + 8 * (words[view + 1] + start * step)
                reach(h, address, 8 * step, count)
            frame[FRAME_MANY + operand] = address
            frame[FRAME_MANY_STEPS + operand] = 8 * step
            view += 3 + 2 * rank
        address = h[VALUES] + 8 * (r + start)
        reach(h, address, 8, count)
        frame[FRAME_MANY + arity] = address
        frame[FRAME_MANY_STEPS + arity] = 8
        frame[FRAME_MANY_COUNTS] = count
        run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])
        start += count


@kernel
def run_map_rows(h, words, at, r):
    """Run an elementwise operation, a row of the last axis at a time.

    Words: size of the result, rank, shape, then for each operand its base and strides.
    """
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    opcode = words[at + 1]
    size = words[at + 2]
    rank = words[at + 3]
    shape = at + 4
    left = shape + rank
    arity = loops[opcode, 2]
    right = left + (1 + rank) * (arity - 1)
    run = words[shape + rank - 1]
    rows = words[shape + rank - 2]
    left_apart = 8 * words[left + rank - 1]
    right_apart = 8 * words[right + rank - 1]
    frame[FRAME_MANY_COUNTS] = run
    frame[FRAME_MANY_STEPS] = 8 * words[left + rank]
    frame[FRAME_MANY_STEPS + arity - 1] = 8 * words[right + rank]
    frame[FRAME_MANY_STEPS + arity] = 8
    result = h[VALUES] + 8 * r
    for block in range(size // (run * rows)):
        x = words[left] + view_position(words, shape, left + 1, rank - 1, block)
        y = words[right] + view_position(words, shape, right + 1, rank - 1, block)
        x = h[VALUES] + 8 * x
        y = h[VALUES] + 8 * y
        for _ in range(rows):
            reach(h, x, frame[FRAME_MANY_STEPS], run)
            reach(h, y, frame[FRAME_MANY_STEPS + arity - 1], run)
            reach(h, result, 8, run)
            frame[FRAME_MANY] = x
            frame[FRAME_MANY + arity - 1] = y
            frame[FRAME_MANY + arity] = result
            run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])
            x += left_apart
            y += right_apart
            result += 8 * run


@kernel
def run_strips(h, words, at):
    """Run elementwise operations strip by strip: all of them for one, then for the next.

    Words: how many elements, how many operations; for each its opcode, and for each operand
    and the result a base, a step, and what the base moves by from element to element: 0 where
    there is room for a strip alone.
    """
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    size = words[at + 1]
    for start in range(0, size, STRIP):
        count = min(STRIP, size - start)
        frame[FRAME_MANY_COUNTS] = count
        word = at + 3
        for _ in range(words[at + 2]):
            opcode = words[word]
            word += 1
            for k in range(loops[opcode, 2] + 1):
                address = h[VALUES] + 8 * (words[word] + start * words[word + 2])
                step = 8 * words[word + 1]
                reach(h, address, step, count)
                frame[FRAME_MANY + k] = address
                frame[FRAME_MANY_STEPS + k] = step
                word += 3
            run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])


@kernel
def run_loop_of_many(h, loop, data):
    """Call a loop on the tables that the frame holds for loops over many elements."""
    run_loop(
        loop,
        data,
        h[FRAME] + 8 * FRAME_MANY,
        h[FRAME] + 8 * FRAME_MANY_COUNTS,
        h[FRAME] + 8 * FRAME_MANY_STEPS,
    )


@kernel
def run_reduce(h, words, at, r):
    """Run a reduction: every element of a view is combined into its result element.

    Words: size of the result, initial value, rank, base, shape, the operand's
    strides, the result's strides (0 on reduced axes). The axes come in the
    order in which NumPy would walk them, so that roundings agree with it.
    """
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    opcode = words[at + 1]
    reach(h, h[VALUES] + 8 * r, 8, words[at + 2])
    result = float64_array(h[VALUES] + 8 * r, (words[at + 2],))
    result[:] = float64_array(h[WORD_TABLE] + 8 * (at + 3), (1,))[0]
    rank = words[at + 4]
    base = words[at + 5]
    shape = at + 6
    strides = shape + rank
    result_strides = strides + rank
    blocks = 1
    for axis in range(rank - 2):
        blocks *= words[shape + axis]
    rows = 1
    apart = 0
    result_apart = 0
    if rank > 1:
        rows = words[shape + rank - 2]
        apart = 8 * words[strides + rank - 2]
        result_apart = 8 * words[result_strides + rank - 2]
    frame[FRAME_MANY_COUNTS] = words[shape + rank - 1]
    frame[FRAME_MANY_STEPS] = 8 * words[result_strides + rank - 1]
    frame[FRAME_MANY_STEPS + 1] = 8 * words[strides + rank - 1]
    frame[FRAME_MANY_STEPS + 2] = 8 * words[result_strides + rank - 1]
    for block in range(blocks):
        target = r + view_position(words, shape, result_strides, rank - 1, block)
        source = base + view_position(words, shape, strides, rank - 1, block)
        target = h[VALUES] + 8 * target
        source = h[VALUES] + 8 * source
        for _ in range(rows):
            reach(h, target, frame[FRAME_MANY_STEPS], frame[FRAME_MANY_COUNTS])
            reach(h, source, frame[FRAME_MANY_STEPS + 1], frame[FRAME_MANY_COUNTS])
            frame[FRAME_MANY] = target
            frame[FRAME_MANY + 1] = source
            frame[FRAME_MANY + 2] = target
            run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])
            target += result_apart
            source += apart


@kernel
def run_accumulate(h, words, at, r):
    """Run a running sum or product along the last axis of a view.

    Words: size of the result, rank, base, shape, the operand's strides, the result's.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    opcode = words[at + 1]
    rank = words[at + 3]
    base = words[at + 4]
    shape = at + 5
    strides = shape + rank
    result_strides = strides + rank
    rows = 1
    for axis in range(rank - 1):
        rows *= words[shape + axis]
    step = words[strides + rank - 1]
    result_step = words[result_strides + rank - 1]
    frame[FRAME_MANY_COUNTS] = words[shape + rank - 1] - 1
    frame[FRAME_MANY_STEPS] = 8 * result_step
    frame[FRAME_MANY_STEPS + 1] = 8 * step
    frame[FRAME_MANY_STEPS + 2] = 8 * result_step
    for row in range(rows):
        target = r + view_position(words, shape, result_strides, rank, row)
        source = base + view_position(words, shape, strides, rank, row)
        reach(h, h[VALUES] + 8 * target, 8 * result_step, words[shape + rank - 1])
        reach(h, h[VALUES] + 8 * source, 8 * step, words[shape + rank - 1])
        v[target] = v[source]
        frame[FRAME_MANY] = h[VALUES] + 8 * target
        frame[FRAME_MANY + 1] = h[VALUES] + 8 * (source + step)
        frame[FRAME_MANY + 2] = h[VALUES] + 8 * (target + result_step)
        run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])


@kernel
def run_scatter(h, words, at, r):
    """Sum by index: each element of a contiguous source is added to its target.

    Words: size of the result, number of elements, their base, their gather table.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    gathers = int64_array(h[GATHER_TABLE], (h[GATHERS],))
    v[r : r + words[at + 2]] = 0.0
    for i in range(words[at + 3]):
        v[r + gathers[words[at + 5] + i]] += v[words[at + 4] + i]


@kernel
def run_order(h, words, at, r):
    """Order each row's elements by places, ascending, by NumPy's own sorting.

    Words: rows, elements in a row, base, step from row to row; elements follow
    one another. Places are sorted as integers where the result will be.
    """
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    opcode = words[at + 1]
    n = words[at + 3]
    for row in range(words[at + 2]):
        source = h[VALUES] + 8 * (words[at + 4] + row * words[at + 5])
        target = h[VALUES] + 8 * (r + row * n)
        reach(h, source, 8, n)
        reach(h, target, 8, n)
        places = int64_array(target, (n,))
        for i in range(n):
            places[i] = i
        run_loop(loops[opcode, 0], h[ZERO], source, target, n)
        result = float64_array(target, (n,))
        for i in range(n):
            result[i] = places[i]


@kernel
def run_search(h, words, at, r):
    """Count the ascending numbers before each point; nan is after all numbers.

    Words: whether equal numbers are before, how many numbers, how many points,
    then for both: base, step.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    right = words[at + 1] != 0
    for i in range(words[at + 3]):
        x = v[words[at + 6] + i * words[at + 7]]
        low = words[at + 2] - words[at + 2]
        high = words[at + 2]
        while low < high:
            middle = (low + high) // 2
            y = v[words[at + 4] + middle * words[at + 5]]
            if y < x or (x != x and y == y) or (right and (y == x or x != x)):
                low = middle + 1
            else:
                high = middle
        v[r + i] = low


@kernel
def place_of(x, n):
    """Return the place that a float names among n; 0 where it names none."""
    if not (x >= -n and x < n):
        return n - n
    place = np.int64(x)
    if place < 0:
        place += n
    return place


@kernel
def run_take(h, words, at, r):
    """Take elements of each row at places found during the run.

    Words: rows, elements in a row, how many to take, then for elements and
    places: base, two strides.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    n = words[at + 3]
    m = words[at + 4]
    for row in range(words[at + 2]):
        source = words[at + 5] + row * words[at + 6]
        places = words[at + 8] + row * words[at + 9]
        for i in range(m):
            place = place_of(v[places + i * words[at + 10]], n)
            v[r + row * m + i] = v[source + place * words[at + 7]]


@kernel
def run_spread(h, words, at, r):
    """Sum each row's elements at places found during the run.

    Words: rows, elements in a row, how many sums, then for elements and
    places: base, two strides.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    m = words[at + 3]
    n = words[at + 4]
    v[r : r + words[at + 2] * n] = 0.0
    for row in range(words[at + 2]):
        source = words[at + 5] + row * words[at + 6]
        places = words[at + 8] + row * words[at + 9]
        for i in range(m):
            place = place_of(v[places + i * words[at + 10]], n)
            v[r + row * n + place] += v[source + i * words[at + 7]]


@kernel
def is_finite_matrix(v, base, m, n, down, across):
    """Return whether all elements of a matrix are finite."""
    total = 0.0
    for i in range(m):
        for j in range(n):
            total += 0.0 * v[base + i * down + j * across]
    return total == 0.0


@kernel
def run_function(h, words, at, r):
    """Run an operation on the last axes, batched over leading ones, by a gufunc's loop.

    A matrix product is one: NumPy's own loop for it, and so BLAS.

    Words: size of the result, batch rank, numbers of arguments, dimensions and steps,
    whether the first argument must be a matrix of finite numbers; the dimensions, the
    steps; for each argument its base, whether that is relative to the result, and its
    size without the batch; the batch shape, and the batch strides of each argument.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    opcode = words[at + 1]
    rank = words[at + 3]
    arguments = words[at + 4]
    dimensions = words[at + 5]
    steps = at + 8 + dimensions
    bases = steps + words[at + 6]
    shape = bases + 3 * arguments
    batches = 1
    for axis in range(rank):
        batches *= words[shape + axis]
    frame[FRAME_MANY_COUNTS] = 1
    for k in range(dimensions):
        frame[FRAME_MANY_COUNTS + 1 + k] = words[at + 8 + k]
    for k in range(arguments):
        frame[FRAME_MANY_STEPS + k] = 0
    for k in range(words[at + 6]):
        frame[FRAME_MANY_STEPS + arguments + k] = 8 * words[steps + k]
    reach(h, h[VALUES] + 8 * r, 8, words[at + 2])
    for batch in range(batches):
        is_sound = True
        for argument in range(arguments):
            position = words[bases + 3 * argument] + r * words[bases + 3 * argument + 1]
            rest = batch
            for axis in range(rank - 1, -1, -1):
                extent = words[shape + axis]
                position += (rest % extent) * words[shape + (1 + argument) * rank + axis]
                rest //= extent
            reach(h, h[VALUES] + 8 * position, 8, 1)
            frame[FRAME_MANY + argument] = h[VALUES] + 8 * position
            if words[at + 7] != 0 and argument == 0:
                m = words[at + 8]
                n = words[bases + 2] // m
                is_sound = is_finite_matrix(v, position, m, n, words[steps], words[steps + 1])
            elif not is_sound:
                v[position : position + words[bases + 3 * argument + 2]] = np.nan
        if is_sound:
            run_loop_of_many(h, loops[opcode, 0], loops[opcode, 1])


@kernel
def run_repair(h, words, at, r):
    """Make a matrix product zero-safe: its elements that came out as nan, term by term.

    A product of 0 and an infinity or nan makes its whole sum nan, so no other needs it.
    The words are those of the product; see `run_function`.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    rank = words[at + 3]
    m = words[at + 8]
    n = words[at + 9]
    p = words[at + 10]
    steps = at + 11
    bases = steps + 6
    shape = bases + 9
    for element in range(words[at + 2]):
        if v[r + element] == v[r + element]:
            continue
        batch = element // (m * p)
        row = element // p % m
        x = words[bases] + row * words[steps]
        y = words[bases + 3] + element % p * words[steps + 3]
        for axis in range(rank - 1, -1, -1):
            extent = words[shape + axis]
            x += (batch % extent) * words[shape + rank + axis]
            y += (batch % extent) * words[shape + 2 * rank + axis]
            batch //= extent
        total = 0.0
        for _ in range(n):
            if v[x] != 0.0 and v[y] != 0.0:
                total += v[x] * v[y]
            x += words[steps + 1]
            y += words[steps + 2]
        v[r + element] = total
