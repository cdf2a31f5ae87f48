"""The kernels: everything of numtape that runs as machine code.

Only this file (through its generated copy `_kernels.py`) looks at an opcode.
Kernels take addresses, arrays and numbers, allocate nothing and raise nothing;
they return a status: FINE, or the index of the first guard that did not hold.

This file is a template: `generate.py` puts the operations' branches in place
of the lines ``# <...>`` and copies the rest. What stands between ``# <for tapes
of common operations too>`` and ``# <end>`` is written twice: a second time, with
names ending in ``_common``, for the operations marked common in the table alone.
Those compile in a quarter of the time, and are all that most tapes need.

A cached kernel must not use a symbol of another file (Numba would not notice an
edit there), hence everything is here.

A workspace is handed over as one integer, the address of its *handle*: a small
int64 table of addresses and sizes, whose fields are the constants below.

An operation without a branch of its own is run by the inner loop of its NumPy
or SciPy ufunc (see `loops.py`), one element at a time. In vector instructions every
operation is run by a loop: its ufunc's, or one made for it (`vector_maths.py`). A
loop takes three tables, of pointers, counts and steps in bytes, which kernels write
into the workspace's *frame*.
"""

import ctypes
import math
from fractions import Fraction

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

from numtape.jit.compile import kernel

sqrt = np.sqrt

# Fields of a workspace's handle.
SLOTS = 0  # how many places for slots
VALUES = 1  # float64[slots]
INSTRUCTIONS = 2  # how many
CODE = 3  # int32[instructions, 3]: opcode, a, b; results follow one another
FIRST_INPUT = 4  # slot
FIRST_RESULT = 5  # slot
OPERATIONS = 6  # how many
LOOPS = 7  # int64[operations, 3]: address of the loop, of its data, its arity
OUTPUTS = 8  # how many
OUTPUT_SLOTS = 9  # int64[outputs]
GUARDS = 10  # how many
GUARD_SLOTS = 11  # int64[guards]
GUARD_OUTCOMES = 12  # float64[guards]
PARTIALS = 13  # float64[instructions, 2]
SWEPT = 14  # float64[slots]: the adjoints or tangents of a sweep
SEGMENTS = 15  # how many
SEGMENT_TABLE = 16  # int64[segments, 4]: rows from, to, place of the result, words
WORDS = 17  # how many
WORD_TABLE = 18  # int64[words]: the vector instructions, encoded
GATHERS = 19  # how many
GATHER_TABLE = 20  # int64[gathers]: all gather tables, end to end
BUFFER = 21  # float64[2 * CHUNK]: operands made contiguous
FRAME = 22  # int64[FRAME_SIZE]
SCRATCH = 23  # float64[4]: operands and results of loops inside expressions
GRADIENT_OUTPUT = 24  # float64[outputs]: the values found by the last gradient
ZERO = 25  # always 0, which the compiler does not know
PLACED_CODE = 26  # int32[instructions, 3]: opcode + 256 (512 for lanes) * result's place, a, b
LANES = 27  # how many points are run at once
UNIFORMS = 28  # places below this hold one value for all lanes
LANE_VALUES = 29  # float64[slots - uniforms, lanes]: the places from there on
OUTPUTS_RUN = 30  # whether the outputs' slots follow one another
NATIVE = 31  # int64[3 + segments]: runs until NOTICE, codes of segments or 0, 0, if complete
RUNS = 32  # how many there were
TURN = 33  # address of a function that turns rows into columns (see `rows.py`)
HANDLE_SIZE = 34

# Statuses besides the number of a guard that does not hold.
FINE = -1
NOTICE = -2  # fine too, and there were so many runs that the caller wants to know
UNFINISHED = -3  # of machine code: the segment is to be run by the kernel

CHUNK = 1024  # elements: two operands and a result stay in the first-level cache

# Kinds of vector instruction: the first word of each.
MAP = 0
REDUCE = 1
ACCUMULATE = 2
SCATTER = 4
ORDER = 5
SEARCH = 6
TAKE = 7
SPREAD = 8
MAP_ROWS = 9
FUNCTION = 10
REPAIR = 11

# Operations from this opcode on have no expression of their own, only a loop.
FIRST_LOOP = 0  # <first loop>
POW = 0  # <pow>

# The frame: three tables for loops over one element (its counts and steps never
# change), then three for loops over many.
FRAME_ONE_COUNT = 3
FRAME_ONE_STEPS = 4
FRAME_MANY = 8
FRAME_MANY_COUNTS = 14
FRAME_MANY_STEPS = 18
FRAME_SIZE = 40


# Memory by address, and loops by address. Each has a body in plain Python and
# one that Numba compiles.


def float64_array(address, shape):
    """The float64 array of that shape at an address."""
    return _array(address, shape, ctypes.c_double)


def int64_array(address, shape):
    """The int64 array of that shape at an address."""
    return _array(address, shape, ctypes.c_int64)


def int32_array(address, shape):
    """The int32 array of that shape at an address."""
    return _array(address, shape, ctypes.c_int32)


def _array(address, shape, kind):
    return np.ctypeslib.as_array(ctypes.cast(int(address), ctypes.POINTER(kind)), shape)


def run_loop(loop, data, pointers, counts, steps):
    """Call a ufunc's inner loop: its address, its data, the addresses of its three tables."""
    void = ctypes.c_void_p
    ctypes.CFUNCTYPE(None, void, void, void, void)(int(loop))(
        int(pointers), int(counts), int(steps), int(data)
    )


def run_code(code, values, lanes, loops, count):
    """Call a tape's machine code (see `native.py`)."""
    word = ctypes.c_int64
    function = ctypes.CFUNCTYPE(word, word, word, word, word)(int(code))
    return function(int(values), int(lanes), int(loops), int(count))


def turn_rows(function, source, source_step, target, target_step, rows, columns):
    """Write the columns of some rows one after the other (see `rows.py`)."""
    words = [ctypes.c_int64] * 6
    address = int(function)
    ctypes.CFUNCTYPE(None, *words)(address)(
        int(source), int(source_step), int(target), int(target_step), int(rows), int(columns)
    )


def is_clear_square(x):
    """Whether x*x, exactly, is less than 0.45 units in the last place from its rounding."""
    square = float(x * x)
    if not (math.isfinite(square) and square >= 2.0**-1022):
        return False
    remainder = abs(Fraction(float(x)) ** 2 - Fraction(square))
    return remainder < Fraction(0.45) * Fraction(math.ulp(square))


@intrinsic
def _float64_pointer(typing_context, address):
    return types.CPointer(types.float64)(types.int64), _as_pointer


@intrinsic
def _int64_pointer(typing_context, address):
    return types.CPointer(types.int64)(types.int64), _as_pointer


@intrinsic
def _int32_pointer(typing_context, address):
    return types.CPointer(types.int32)(types.int64), _as_pointer


def _as_pointer(context, builder, signature, arguments):
    return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))


@intrinsic
def _run_loop(typing_context, loop, data, pointers, counts, steps):
    def emit(context, builder, signature, arguments):
        byte_pointer = ir.IntType(8).as_pointer()
        loop_type = ir.FunctionType(ir.VoidType(), [byte_pointer] * 4)
        function = builder.inttoptr(arguments[0], loop_type.as_pointer())
        data, pointers, counts, steps = (
            builder.inttoptr(argument, byte_pointer) for argument in arguments[1:]
        )
        builder.call(function, [pointers, counts, steps, data])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def _run_code(typing_context, code, values, lanes, loops, count):
    def emit(context, builder, signature, arguments):
        word = ir.IntType(64)
        code_type = ir.FunctionType(word, [word] * 4)
        return builder.call(builder.inttoptr(arguments[0], code_type.as_pointer()), arguments[1:])

    return types.int64(*[types.int64] * 5), emit


@intrinsic
def _turn_rows(typing_context, function, source, source_step, target, target_step, rows, columns):
    def emit(context, builder, signature, arguments):
        function_type = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 6)
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit


@intrinsic
def _is_clear_square(typing_context, x):
    def emit(context, builder, signature, arguments):
        (x,) = arguments
        double, word = ir.DoubleType(), ir.IntType(64)
        square = builder.fmul(x, x)
        remainder = builder.fma(x, x, builder.fneg(square))
        exponent = builder.and_(builder.bitcast(square, word), word(0x7FF0000000000000))
        unit = builder.fmul(builder.bitcast(exponent, double), double(0.45 * 2.0**-52))
        size = builder.call(builder.module.declare_intrinsic("llvm.fabs", [double]), [remainder])
        return builder.fcmp_ordered("<", size, unit)

    return types.boolean(types.float64), emit


@overload(float64_array)
def _compiled_float64_array(address, shape):
    return lambda address, shape: carray(_float64_pointer(address), shape)


@overload(int64_array)
def _compiled_int64_array(address, shape):
    return lambda address, shape: carray(_int64_pointer(address), shape)


@overload(int32_array)
def _compiled_int32_array(address, shape):
    return lambda address, shape: carray(_int32_pointer(address), shape)


@overload(run_loop)
def _compiled_run_loop(loop, data, pointers, counts, steps):
    return lambda loop, data, pointers, counts, steps: _run_loop(
        loop, data, pointers, counts, steps
    )


@overload(run_code)
def _compiled_run_code(code, values, lanes, loops, count):
    return lambda code, values, lanes, loops, count: _run_code(code, values, lanes, loops, count)


@overload(turn_rows)
def _compiled_turn_rows(function, source, source_step, target, target_step, rows, columns):
    return lambda function, source, source_step, target, target_step, rows, columns: _turn_rows(
        function, source, source_step, target, target_step, rows, columns
    )


@overload(is_clear_square)
def _compiled_is_clear_square(x):
    return lambda x: _is_clear_square(x)


# Scalar instructions.


@kernel
def loop_of_one(h, opcode, x, y):
    """The value of an operation at one point, by its ufunc's loop."""
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
    """The C library's power, which Python's and NumPy's scalars use.

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
    """The index of the first guard that does not hold, or -1."""
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
    """The status of a run, which is counted."""
    h[RUNS] += 1
    if status == FINE and h[RUNS] >= int64_array(h[NATIVE], (1,))[0]:
        return NOTICE
    return status


# Sweeps: they know partials, and no opcode. A zero partial or a zero seed
# contributes exactly 0, even where the other factor is infinite or nan: that is
# what keeps the arm of a `where` that was not taken out of the derivative.


@kernel
def sweep_adjoints(h, seeds, x_adjoints):
    """One reverse sweep over the stored partials: outputs' seeds in, inputs' adjoints out."""
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
    """One forward sweep over the stored partials: inputs' seeds in, outputs' tangents out."""
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
    """Where the `row`-th innermost run of a view starts, relative to its base."""
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
    """An elementwise operation; the result is contiguous.

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
    """An elementwise operation, a row of the last axis at a time; the result is contiguous.

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
    """A reduction: every element of a view is combined into its result element.

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
    """A running sum or product along the last axis of a view.

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
    """Sums by index: each element of a contiguous source is added to its target.

    Words: size of the result, number of elements, their base, their gather table.
    """
    v = float64_array(h[VALUES], (h[SLOTS],))
    gathers = int64_array(h[GATHER_TABLE], (h[GATHERS],))
    v[r : r + words[at + 2]] = 0.0
    for i in range(words[at + 3]):
        v[r + gathers[words[at + 5] + i]] += v[words[at + 4] + i]


@kernel
def run_order(h, words, at, r):
    """The places of each row's elements in ascending order, by NumPy's own sorting.

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
    """How many of ascending numbers are before each point; nan is after all numbers.

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
    """The place that a float names among n; 0 where it names none."""
    if not (x >= -n and x < n):
        return n - n
    place = np.int64(x)
    if place < 0:
        place += n
    return place


@kernel
def run_take(h, words, at, r):
    """Elements of each row at places found during the run.

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
    """Sums of each row's elements at places found during the run.

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
    """Whether all elements of a matrix are finite."""
    total = 0.0
    for i in range(m):
        for j in range(n):
            total += 0.0 * v[base + i * down + j * across]
    return total == 0.0


@kernel
def run_function(h, words, at, r):
    """An operation on the last axes, batched over leading ones, by a generalized ufunc's loop.

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
    else:
        run_spread(h, words, at, r)


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
    """Where the lanes of a place start."""
    reach(h, h[VALUES] + 8 * place, 8, 1)
    return h[LANE_VALUES] + (place - h[UNIFORMS]) * 8 * h[LANES]


@kernel
def are_rows(table):
    """Whether the elements of a point follow one another in memory, as their places do."""
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
    """For each lane the first guard that does not hold, or -1, and what it came to.

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


# What a workspace calls. Points, seeds and results are contiguous float64.


@kernel
def evaluate(handle, x, y):
    """Evaluate a tape of scalar instructions."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    code = int64_array(h[NATIVE], (2,))[1]
    status = np.int64(UNFINISHED)
    if code != 0:
        status = run_code(code, h[VALUES], h[ZERO], h[LOOPS], h[ZERO])
    if status == UNFINISHED:
        run_scalars(handle, np.int64(0), h[INSTRUCTIONS])
        status = np.int64(check_guards(h))
    store_outputs(h, y)
    return noticed(h, status)


@kernel
def run_segments(handle):
    """Run all segments, those that have machine code by that.

    The code of one segment may do others' work, so it is used from the start or not at all:
    another thread may be putting it in place.
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


@kernel
def evaluate_mixed(handle, x, y):
    """Evaluate a tape that has vector instructions."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    run_segments(handle)
    store_outputs(h, y)
    return noticed(h, np.int64(check_guards(h)))


@kernel
def evaluate_lanes(handle, inputs, outputs, sources, targets, first, stop, failed, outcomes):
    """Evaluate a tape of scalar instructions at the points `first` to `stop`, by lanes.

    See `load_lanes` and `store_lanes` for the tables, and `check_lanes` for `failed`
    and `outcomes`, which have an entry for each of these points, or none where the
    guards are not to be looked at. Returns how many points failed.
    """
    h = int64_array(handle, (HANDLE_SIZE,))
    failures = 0
    for start in range(first, stop, h[LANES]):
        count = min(h[LANES], stop - start)
        width = (count + 7) // 8 * 8
        load_lanes(h, inputs, sources, start, count, width)
        code = int64_array(h[NATIVE], (2,))[1]
        if code != 0:
            run_code(code, h[VALUES], h[LANE_VALUES], h[LOOPS], width)
        else:
            run_lanes(handle, width)
        store_lanes(h, outputs, targets, start, count)
        if failed.size != 0:
            begin = start - first
            end = begin + count
            failures += check_lanes(h, count, failed[begin:end], outcomes[begin:end])
    return failures


@kernel
def evaluate_points(handle, inputs, outputs, sources, targets, first, stop, failed, outcomes):
    """What `evaluate_lanes` does, for a tape with vector instructions: point by point."""
    h = int64_array(handle, (HANDLE_SIZE,))
    v = float64_array(h[VALUES], (h[SLOTS],))
    guarded = int64_array(h[GUARD_SLOTS], (h[GUARDS],))
    failures = 0
    for k in range(first, stop):
        source = k if sources.size == 0 else sources[k]
        for i in range(inputs.shape[0]):
            v[inputs[i, 0]] = float64_array(inputs[i, 1] + source * inputs[i, 2], (1,))[0]
        run_segments(handle)
        target = k if targets.size == 0 else targets[k]
        for i in range(outputs.shape[0]):
            float64_array(outputs[i, 1] + target * outputs[i, 2], (1,))[0] = v[outputs[i, 0]]
        if failed.size != 0:
            guard = check_guards(h)
            failed[k - first] = guard
            if guard >= 0:
                outcomes[k - first] = v[guarded[guard]]
                failures += 1
    return failures


@kernel
def tangents(handle, seeds, y_tangents):
    """Forward sweeps after `linearize`: a row of `y_tangents` for each row of `seeds`."""
    h = int64_array(handle, (HANDLE_SIZE,))
    for k in range(seeds.shape[0]):
        sweep_tangents(h, seeds[k], y_tangents[k])
    return -1


@kernel
def adjoints(handle, seeds, x_adjoints):
    """Reverse sweeps after `linearize`: a row of `x_adjoints` for each row of `seeds`."""
    h = int64_array(handle, (HANDLE_SIZE,))
    for k in range(seeds.shape[0]):
        sweep_adjoints(h, seeds[k], x_adjoints[k])
    return -1


# <for tapes of common operations too>
@kernel
def linearize(handle, x, y):
    """Evaluate a tape of scalar instructions, and keep the partials for sweeps."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    linearize_scalars(handle)
    store_outputs(h, y)
    return check_guards(h)


@kernel
def gradient(handle, x, g):
    """The gradient of a scalar tape's first output; its value goes to GRADIENT_OUTPUT."""
    h = int64_array(handle, (HANDLE_SIZE,))
    load_inputs(h, x)
    linearize_scalars(handle)
    scratch = float64_array(h[SCRATCH], (4,))
    scratch[3] = 1.0
    sweep_adjoints(h, scratch[3:4], g)
    store_outputs(h, float64_array(h[GRADIENT_OUTPUT], (h[OUTPUTS],)))
    return noticed(h, np.int64(check_guards(h)))


# <end>
