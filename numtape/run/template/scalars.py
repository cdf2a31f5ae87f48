"""Kernels of scalar instructions: their values, their partials, and sweeps over these.

The branches of operations stand where the lines ``# <...>`` are.
"""

import numpy as np

from numtape.jit.compile import kernel
from numtape.run.template.addresses import (
    CODE,
    FINE,
    FIRST_INPUT,
    FIRST_LOOP,
    FIRST_RESULT,
    FRAME,
    FRAME_ONE_COUNT,
    FRAME_ONE_STEPS,
    FRAME_SIZE,
    GUARD_OUTCOMES,
    GUARD_SLOTS,
    GUARDS,
    HANDLE_SIZE,
    INSTRUCTIONS,
    LOOPS,
    NATIVE,
    NOTICE,
    OPERATIONS,
    OUTPUT_SLOTS,
    OUTPUTS,
    OUTPUTS_RUN,
    PARTIALS,
    PLACED_CODE,
    POW,
    RUNS,
    SCRATCH,
    SLOTS,
    SWEPT,
    VALUES,
    ZERO,
    float64_array,
    int32_array,
    int64_array,
    is_clear_square,
    run_loop,
)

# <part>

# Scalar instructions.


@kernel
def loop_of_one(h, opcode, x, y):
    """Return the value of an operation at one point, by its ufunc's loop."""
    loops = int64_array(h[LOOPS], (h[OPERATIONS], 3))
    frame = int64_array(h[FRAME], (FRAME_SIZE,))
    scratch = float64_array(h[SCRATCH], (4,))
    scratch[0] = x
    scratch[1] = y
    frame[0] = h[SCRATCH]
    frame[1] = h[SCRATCH] + 8 * (3 - loops[opcode, 2])
    frame[2] = h[SCRATCH] + 16
    run_loop(
        loops[opcode, 0],
        loops[opcode, 1],
        h[FRAME],
        h[FRAME] + 8 * FRAME_ONE_COUNT,
        h[FRAME] + 8 * FRAME_ONE_STEPS,
    )
    return scratch[2]


@kernel
def libm_pow(h, x, y):
    """Return the C library's power, which Python's and NumPy's scalars use.

    Most powers are squares. The C library rounds x**2 unlike x*x at times, but
    only where the exact square is almost half way between two floats (its error
    is below 0.54 units in the last place); elsewhere x*x is ten times as fast.
    It is called through NumPy's loop, because of a power with a known exponent
    the compiler itself would make x*x.
    """
    if y == 2.0 and is_clear_square(x):
        return x * x
    return loop_of_one(h, h[ZERO] + POW, x, y)


@kernel
def run_scalars(handle, start, stop):
    """Run the scalar instructions of rows `start` to `stop`."""
    h = int64_array(handle, (HANDLE_SIZE,))
    v = float64_array(h[VALUES], (h[SLOTS],))
    code = int32_array(h[PLACED_CODE], (h[INSTRUCTIONS], 3))
    for i in range(start, stop):
        opcode = code[i, 0] & 255
        x = v[code[i, 1]]
        y = v[code[i, 2]]
        if opcode < 0:  # <primals>
            f = 0.0
        else:
            f = loop_of_one(h, np.int64(opcode), x, y)
        v[code[i, 0] >> 8] = f


# <for tapes of common operations too>
@kernel
def linearize_scalars(handle):
    """Run a tape of scalar instructions and store the partials of each."""
    h = int64_array(handle, (HANDLE_SIZE,))
    v = float64_array(h[VALUES], (h[SLOTS],))
    code = int32_array(h[CODE], (h[INSTRUCTIONS], 3))
    partials = float64_array(h[PARTIALS], (h[INSTRUCTIONS], 2))
    r = h[FIRST_RESULT]
    for i in range(h[INSTRUCTIONS]):
        opcode = code[i, 0]
        x = v[code[i, 1]]
        y = v[code[i, 2]]
        f = 0.0
        if opcode >= FIRST_LOOP:
            f = loop_of_one(h, np.int64(opcode), x, y)
        dx = 0.0
        dy = 0.0
        if opcode < 0:  # <primals and partials>
            f = 0.0
        v[r] = f
        partials[i, 0] = dx
        partials[i, 1] = dy
        r += 1


# <end>
@kernel
def load_inputs(h, x):
    """Copy a point into the input slots."""
    inputs = float64_array(h[VALUES] + 8 * h[FIRST_INPUT], (h[SLOTS] - h[FIRST_INPUT],))
    for i in range(x.size):
        inputs[i] = x[i]


@kernel
def store_outputs(h, y):
    """Copy the output slots out."""
    v = float64_array(h[VALUES], (h[SLOTS],))
    slots = int64_array(h[OUTPUT_SLOTS], (h[OUTPUTS],))
    if h[OUTPUTS_RUN] != 0 and y.size > 0:
        run = float64_array(h[VALUES] + 8 * slots[0], (h[SLOTS] - slots[0],))
        for i in range(y.size):
            y[i] = run[i]
    else:
        for i in range(y.size):
            y[i] = v[slots[i]]


@kernel
def check_guards(h):
    """Return the index of the first guard that does not hold, or -1."""
    v = float64_array(h[VALUES], (h[SLOTS],))
    slots = int64_array(h[GUARD_SLOTS], (h[GUARDS],))
    outcomes = float64_array(h[GUARD_OUTCOMES], (h[GUARDS],))
    for i in range(slots.size):
        # A value that is nan has the outcome nan.
        if v[slots[i]] != outcomes[i] and (
            v[slots[i]] == v[slots[i]] or outcomes[i] == outcomes[i]
        ):
            return i
    return -1


@kernel
def noticed(h, status):
    """Count a run, and return its status."""
    h[RUNS] += 1
    if status == FINE and h[RUNS] >= int64_array(h[NATIVE], (1,))[0]:
        return NOTICE
    return status


# Sweeps: they know partials, and no opcode. A zero partial or a zero seed
# contributes exactly 0, even where the other factor is infinite or nan: that is
# what keeps the arm of a `where` that was not taken out of the derivative.


@kernel
def sweep_adjoints(h, seeds, x_adjoints):
    """Sweep backward over the stored partials: outputs' seeds in, inputs' adjoints out."""
    adjoints = float64_array(h[SWEPT], (h[SLOTS],))
    code = int32_array(h[CODE], (h[INSTRUCTIONS], 3))
    partials = float64_array(h[PARTIALS], (h[INSTRUCTIONS], 2))
    slots = int64_array(h[OUTPUT_SLOTS], (h[OUTPUTS],))
    adjoints[:] = 0.0
    for i in range(seeds.size):
        adjoints[slots[i]] += seeds[i]
    r = h[FIRST_RESULT] + h[INSTRUCTIONS]
    for i in range(h[INSTRUCTIONS] - 1, -1, -1):
        r -= 1
        w = adjoints[r]
        if w != 0.0:
            dx = partials[i, 0]
            dy = partials[i, 1]
            if dx != 0.0:
                adjoints[code[i, 1]] += dx * w
            if dy != 0.0:
                adjoints[code[i, 2]] += dy * w
    for i in range(x_adjoints.size):
        x_adjoints[i] = adjoints[h[FIRST_INPUT] + i]


@kernel
def sweep_tangents(h, seeds, y_tangents):
    """Sweep forward over the stored partials: inputs' seeds in, outputs' tangents out."""
    tangents = float64_array(h[SWEPT], (h[SLOTS],))
    code = int32_array(h[CODE], (h[INSTRUCTIONS], 3))
    partials = float64_array(h[PARTIALS], (h[INSTRUCTIONS], 2))
    slots = int64_array(h[OUTPUT_SLOTS], (h[OUTPUTS],))
    tangents[: h[FIRST_RESULT]] = 0.0
    for i in range(seeds.size):
        tangents[h[FIRST_INPUT] + i] = seeds[i]
    r = h[FIRST_RESULT]
    for i in range(h[INSTRUCTIONS]):
        dx = partials[i, 0]
        dy = partials[i, 1]
        tx = tangents[code[i, 1]]
        ty = tangents[code[i, 2]]
        t = 0.0
        if dx != 0.0 and tx != 0.0:
            t += dx * tx
        if dy != 0.0 and ty != 0.0:
            t += dy * ty
        tangents[r] = t
        r += 1
    for i in range(y_tangents.size):
        y_tangents[i] = tangents[slots[i]]
