"""Kernels of whole tapes: segment by segment, and loops, which run other tapes."""

import numpy as np

from numtape.jit.compile import kernel
from numtape.run.template.addresses import (
    ACCUMULATE,
    BODIES,
    BODY_HANDLES,
    COPIES,
    COPY_TABLE,
    FINE,
    FIRST_INPUT,
    FUNCTION,
    HANDLE_SIZE,
    LOOP,
    LOOPS,
    MAP,
    MAP_ROWS,
    NATIVE,
    ORDER,
    REDUCE,
    REPAIR,
    RUN,
    SCATTER,
    SEARCH,
    SEGMENT_TABLE,
    SEGMENTS,
    SHIFTS,
    SLOTS,
    STRIPS,
    TAKE,
    UNFINISHED,
    VALUES,
    WORD_TABLE,
    WORDS,
    ZERO,
    float64_array,
    int64_array,
    run_code,
)
from numtape.run.template.arrays import (
    copy_run,
    fill,
    reach,
    run_accumulate,
    run_function,
    run_map,
    run_map_rows,
    run_order,
    run_reduce,
    run_repair,
    run_scatter,
    run_search,
    run_spread,
    run_strips,
    run_take,
)
from numtape.run.template.scalars import run_scalars

# <part>


@kernel
def read_step(h, words, view, step, size, target):
    """Copy what is read at a step, of an array over all steps, to the address `target`."""
    if size == 1 and words[view] == 1 and words[view + 2] < 0:
        v = float64_array(h[VALUES], (h[SLOTS],))
        float64_array(target, (1,))[0] = v[words[view + 1] + step * words[view + 4]]
    else:
        fill(h, words, view, step * size, target, size)


@kernel
def copy_carried(b, carried, target):
    """Copy what a body carries on to an address."""
    copies = int64_array(b[COPY_TABLE], (b[COPIES], 3))
    for k in range(b[COPIES]):
        if copies[k, 0] < carried:
            copy_run(target + 8 * copies[k, 0], b[VALUES] + 8 * copies[k, 1], copies[k, 2])


@kernel
def write_step(h, b, words, at, r, step):
    """Copy what a body has written at a step to the results of its loop."""
    copies = int64_array(b[COPY_TABLE], (b[COPIES], 3))
    steps = words[at + 3]
    first = words[at + 4]
    start = r + first
    group = at + 9
    for k in range(b[COPIES]):
        if copies[k, 0] >= words[at + 4]:
            while copies[k, 0] >= first + words[group]:
                first += words[group]
                start += steps * words[group]
                group += 1
            place = start + step * words[group] + copies[k, 0] - first
            reach(h, h[VALUES] + 8 * place, 8, copies[k, 2])
            copy_run(h[VALUES] + 8 * place, b[VALUES] + 8 * copies[k, 1], copies[k, 2])


@kernel
def run_loop_steps(h, words, at, r):
    """Run a loop: the tape of its body, for so many steps.

    Its words are the body, sizes, counts of operands and writes, the sizes of writes, and for
    each operand how many numbers a step reads of it, and its view. The results, from place `r`
    on, begin with what is carried out of the last step.
    """
    body = int64_array(h[BODY_HANDLES], (h[BODIES],))[words[at + 1]]
    b = int64_array(body, (HANDLE_SIZE,))
    values = b[VALUES]
    steps = words[at + 3]
    carried = words[at + 4]
    reads = words[at + 6]
    writes = words[at + 8]
    reach(h, h[VALUES] + 8 * r, 8, words[at + 2])
    view = at + 9 + writes
    place = b[FIRST_INPUT]
    first_read = view
    first_place = place
    for operand in range(words[at + 5] + reads + words[at + 7]):
        if operand == words[at + 5]:
            first_read = view
            first_place = place
        size = words[view]
        if operand < words[at + 5] or operand >= words[at + 5] + reads:
            fill(h, words, view + 1, steps - steps, values + 8 * place, size)
        place += size
        view += 4 + 2 * words[view + 1]
    for step in range(steps):
        view = first_read
        place = first_place
        for _ in range(reads):
            size = words[view]
            read_step(h, words, view + 1, step, size, values + 8 * place)
            place += size
            view += 4 + 2 * words[view + 1]
        run_code(b[RUN], body, b[ZERO], b[ZERO], b[ZERO])
        write_step(h, b, words, at, r, step)
        # What is carried on goes by way of the results where it may be what was carried in.
        is_last = step == steps - 1
        if is_last or b[SHIFTS] != 0:
            copy_carried(b, carried, h[VALUES] + 8 * r)
        if not is_last and b[SHIFTS] != 0:
            copy_run(values + 8 * b[FIRST_INPUT], h[VALUES] + 8 * r, carried)
        elif not is_last:
            copy_carried(b, carried, values + 8 * b[FIRST_INPUT])


@kernel
def run_vector(h, at, r):
    """Run the vector instruction whose words start at `at`."""
    words = int64_array(h[WORD_TABLE], (h[WORDS],))
    kind = words[at]
    if kind == MAP:
        run_map(h, words, at, r)
    elif kind == MAP_ROWS:
        run_map_rows(h, words, at, r)
    elif kind == REDUCE:
        run_reduce(h, words, at, r)
    elif kind == ACCUMULATE:
        run_accumulate(h, words, at, r)
    elif kind == FUNCTION:
        run_function(h, words, at, r)
    elif kind == REPAIR:
        run_repair(h, words, at, r)
    elif kind == SCATTER:
        run_scatter(h, words, at, r)
    elif kind == ORDER:
        run_order(h, words, at, r)
    elif kind == SEARCH:
        run_search(h, words, at, r)
    elif kind == TAKE:
        run_take(h, words, at, r)
    elif kind == STRIPS:
        run_strips(h, words, at)
    elif kind == LOOP:
        run_loop_steps(h, words, at, r)
    else:
        run_spread(h, words, at, r)


@kernel
def run_tape(handle, _first, _second, _third):
    """Run all segments of a tape, those that have machine code by that.

    The code of one segment may do others' work, so it is used from the start or not at all:
    another thread may be putting it in place. It is called by its address, since Numba cannot
    keep functions on disk that call each other in a circle, and as machine code is called.
    """
    h = int64_array(handle, (HANDLE_SIZE,))
    segments = int64_array(h[SEGMENT_TABLE], (h[SEGMENTS], 4))
    native = int64_array(h[NATIVE], (3 + h[SEGMENTS],))
    is_complete = native[2 + h[SEGMENTS]] != 0
    for s in range(h[SEGMENTS]):
        code = native[1 + s]
        status = np.int64(UNFINISHED)
        if is_complete and code != 0:
            status = run_code(code, h[VALUES], h[ZERO], h[LOOPS], h[ZERO])
        if status != UNFINISHED:
            continue
        if segments[s, 3] < 0:
            run_scalars(handle, segments[s, 0], segments[s, 1])
        else:
            run_vector(h, segments[s, 3], segments[s, 2])
    return FINE
