"""Kernels of many points at once: scalar instructions in lanes, and what goes in and out."""

import numpy as np

from numtape.jit.compile import kernel
from numtape.run.template.addresses import (
    FRAME,
    FRAME_MANY,
    FRAME_MANY_COUNTS,
    FRAME_MANY_STEPS,
    FRAME_SIZE,
    GUARD_OUTCOMES,
    GUARD_SLOTS,
    GUARDS,
    HANDLE_SIZE,
    INSTRUCTIONS,
    LANE_VALUES,
    LANES,
    LOOPS,
    OPERATIONS,
    PLACED_CODE,
    SLOTS,
    TURN,
    UNIFORMS,
    VALUES,
    float64_array,
    int32_array,
    int64_array,
    run_loop,
    turn_rows,
)
from numtape.run.template.arrays import reach

# <part>

# Lanes: many points at once. The memory is laid out place by place, the lanes of a
# place side by side, so an instruction is one call of a loop over lanes, and every
# operation has one (see `vector_maths.py`). Places below UNIFORMS (constants, and
# inputs that all points share) hold one value, which loops read with a step of 0.


@kernel
def run_lanes(handle, width):
    """Run the scalar instructions of a tape for `width` lanes, a multiple of 8."""
    h = int64_array(handle, (HANDLE_SIZE,))
    code = int32_array(h[PLACED_CODE], (h[INSTRUCTIONS], 3))
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    # In variables, because a write to the frame might change the handle for all the
    # compiler knows.
    values = h[VALUES]
    uniforms = h[UNIFORMS]
    apart = 8 * h[LANES]
    first = h[LANE_VALUES] - uniforms * apart
    pointers = h[FRAME] + 8 * FRAME_MANY
    counts = h[FRAME] + 8 * FRAME_MANY_COUNTS
    steps = h[FRAME] + 8 * FRAME_MANY_STEPS
    for i in range(h[INSTRUCTIONS]):
        opcode = np.int64(code[i, 0] & 511)
        arity = loops[opcode, 2]
        for operand in range(arity):
            place = np.int64(code[i, 1 + operand])
            reach(h, values + 8 * place, 8, 1)
            if place >= uniforms:
                frame[FRAME_MANY + operand] = first + place * apart
                frame[FRAME_MANY_STEPS + operand] = 8
            else:
                frame[FRAME_MANY + operand] = values + 8 * place
                frame[FRAME_MANY_STEPS + operand] = 0
        place = np.int64(code[i, 0] >> 9)
        reach(h, values + 8 * place, 8, 1)
        frame[FRAME_MANY + arity] = first + place * apart
        frame[FRAME_MANY_STEPS + arity] = 8
        frame[FRAME_MANY_COUNTS] = width
        run_loop(loops[opcode, 0], loops[opcode, 1], pointers, counts, steps)


@kernel
def lane_address(h, place):
    """Return where the lanes of a place start."""
    reach(h, h[VALUES] + 8 * place, 8, 1)
    return h[LANE_VALUES] + (place - h[UNIFORMS]) * 8 * h[LANES]


@kernel
def are_rows(table):
    """Return whether the elements of a point follow one another in memory, like their places."""
    for i in range(1, table.shape[0]):
        if (
            table[i, 0] != table[0, 0] + i
            or table[i, 1] != table[0, 1] + 8 * i
            or table[i, 2] != table[0, 2]
        ):
            return False
    return table.shape[0] > 1


@kernel
def load_lanes(h, inputs, sources, start, count, width):
    """Copy points into the lanes of the inputs that vary; lanes too many repeat the last point.

    `inputs` has for each of them its place, the address at point 0, and the bytes
    to the next point. `sources` lists the points' numbers; where it is empty they
    are counted up.
    """
    rows = sources.size == 0 and are_rows(inputs)
    if rows:
        first = inputs[0, 1] + start * inputs[0, 2]
        lane = lane_address(h, inputs[0, 0])
        turn_rows(h[TURN], first, inputs[0, 2], lane, 8 * h[LANES], count, inputs.shape[0])
    for i in range(inputs.shape[0]):
        lanes = float64_array(lane_address(h, inputs[i, 0]), (width,))
        address = inputs[i, 1]
        step = inputs[i, 2]
        if rows:
            pass
        elif sources.size == 0:
            address += start * step
            for lane in range(count):
                lanes[lane] = float64_array(address, (1,))[0]
                address += step
        else:
            for lane in range(count):
                lanes[lane] = float64_array(address + sources[start + lane] * step, (1,))[0]
        for lane in range(count, width):
            lanes[lane] = lanes[count - 1]


@kernel
def store_lanes(h, outputs, targets, start, count):
    """Copy the outputs' lanes out.

    `outputs` has for each its place, the address at point 0, and the bytes to the
    next point; `targets` is like `sources` of `load_lanes`.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    if targets.size == 0 and are_rows(outputs) and outputs[0, 0] >= h[UNIFORMS]:
        first = outputs[0, 1] + start * outputs[0, 2]
        lane = lane_address(h, outputs[0, 0])
        turn_rows(h[TURN], lane, 8 * h[LANES], first, outputs[0, 2], outputs.shape[0], count)
        return
    for i in range(outputs.shape[0]):
        place = outputs[i, 0]
        address = outputs[i, 1]
        step = outputs[i, 2]
        lanes = v[place : place + 1]
        stride = 0
        if place >= h[UNIFORMS]:
            lanes = float64_array(lane_address(h, place), (count,))
            stride = 1
        if targets.size == 0:
            address += start * step
            for lane in range(count):
                float64_array(address, (1,))[0] = lanes[lane * stride]
                address += step
        else:
            for lane in range(count):
                target = address + targets[start + lane] * step
                float64_array(target, (1,))[0] = lanes[lane * stride]


@kernel
def check_lanes(h, count, failed, outcomes):
    """Find for each lane the first guard that does not hold, or -1, and what it came to.

    Returns how many lanes have one.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    places = int64_array(h[GUARD_SLOTS], (h[GUARDS],))
    wanted = float64_array(h[GUARD_OUTCOMES], (h[GUARDS],))
    failed[:] = -1
    failures = 0
    for guard in range(h[GUARDS]):
        lanes = v[places[guard] : places[guard] + 1]
        stride = 0
        if places[guard] >= h[UNIFORMS]:
            lanes = float64_array(lane_address(h, places[guard]), (count,))
            stride = 1
        for lane in range(count):
            value = lanes[lane * stride]
            differs = value != wanted[guard] and (value == value or wanted[guard] == wanted[guard])
            if differs and failed[lane] < 0:
                failed[lane] = guard
                outcomes[lane] = value
                failures += 1
    return failures
