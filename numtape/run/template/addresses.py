"""The kernels' constants, and memory and loops by their addresses.

A workspace is handed over as one integer, the address of its *handle*: a small
int64 table of addresses and sizes, whose fields are constants here. Nothing here runs an
instruction.
"""

import ctypes
import math
from fractions import Fraction

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

# <part>

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
BODIES = 34  # how many bodies of loops
BODY_HANDLES = 35  # int64[bodies]: the address of each one's handle
RUN = 36  # address of `run_tape`, which is compiled once for all that call it
COPIES = 37  # of a body: how many runs of places its outputs are
COPY_TABLE = 38  # int64[copies, 3]: the first one's number, its place, how many there are
SHIFTS = 39  # whether it carries on what was carried in
HANDLE_SIZE = 40

# Statuses besides the number of a guard that does not hold.
FINE = -1
NOTICE = -2  # fine too, and there were so many runs that the caller wants to know
UNFINISHED = -3  # of machine code: the segment is to be run by the kernel

CHUNK = 1024  # elements: two operands and a result stay in the first-level cache
STRIP = 1024  # elements: of a group that runs strip by strip

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
LOOP = 12
STRIPS = 13

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
    """Return the float64 array of that shape at an address."""
    return _array(address, shape, ctypes.c_double)


def int64_array(address, shape):
    """Return the int64 array of that shape at an address."""
    return _array(address, shape, ctypes.c_int64)


def int32_array(address, shape):
    """Return the int32 array of that shape at an address."""
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
    """Return whether x*x, exactly, is less than 0.45 units in the last place off its rounding."""
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
