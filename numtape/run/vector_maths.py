"""Loops over lanes: machine code for one operation on many numbers side by side.

From a row's `vector` expression, or else its `primal`, this module emits a loop
that takes as many numbers at once as the processor does. Functions in `vector` are
called in the GNU C library's vector form (libmvec): about half a nanosecond an
element, within 4 units in the last place (but for sin and cos of arguments beyond
10**12 that are nearly 0: right to 27 decimal places). A loop has the signature of a
ufunc's inner loop, so a kernel runs either by its address alike.

Where there is no libmvec, or not that function, or where a row has no expression,
lanes are run by the row's own ufunc; a row without one calls the C library's plain
functions, element by element. What an expression becomes is in `emitter.py`.
"""

import ast
import itertools
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from llvmlite import binding, ir

from numtape.jit.compiling import uninterrupted
from numtape.locks import held_across_forks
from numtape.ops.table import ROWS
from numtape.run import emitter
from numtape.run.emitter import Form, emit, functions_called, has_vector_forms
from numtape.run.loops import has_double_loop

__all__ = ["MULTIPLE", "array_loops", "lane_loops"]

# So many elements at a time, or a divisor of it: loops are quickest on multiples of this.
MULTIPLE = 8

_UNROLLED = 4  # vectors that the main loop takes at a time
_DOUBLE, _WORD, _BYTE = ir.DoubleType(), ir.IntType(64), ir.IntType(8)
_LANE = ir.Constant(ir.IntType(32), 0)
_LOCK = threading.RLock()
held_across_forks(_LOCK)  # a child has the same memory, with the code that is in it


@cache
def _engine() -> Any:
    """Return where the loops live, for as long as the process does."""
    return binding.create_mcjit_compiler(binding.parse_assembly(""), emitter.target_machine(2))


_LOOPS: dict[tuple[int, bool, bool], int] = {}
_NUMBERS = itertools.count()


def lane_loops(opcodes: Iterable[int], exact: bool = False) -> dict[int, int]:
    """Return the addresses of loops over lanes, for those of some rows that can have one.

    A loop takes a multiple of `MULTIPLE` elements, operands with a step of 8 bytes
    or of 0, and writes a contiguous result. An element comes out the same
    wherever it stands. Where `exact` is true, results are those of single points to
    the bit. Making a loop takes a few milliseconds, once a process.
    """
    return _loops(list(opcodes), exact, False)


def array_loops(opcodes: Iterable[int], exact: bool = False) -> dict[int, int]:
    """Return the addresses of loops for any number of elements, at any steps.

    For those of some rows that have no ufunc's loop, and if not `exact` for those that have
    vector maths too. Results are as in lanes.
    """
    has_maths = not exact and emitter.vector_library() is not None
    wanted = [
        opcode
        for opcode in opcodes
        if not has_double_loop(opcode) or (has_maths and ROWS[opcode].vector is not None)
    ]
    return _loops(wanted, exact, True)


def _loops(opcodes: list[int], exact: bool, any_step: bool) -> dict[int, int]:
    keys = {opcode: (opcode, exact, any_step) for opcode in opcodes}
    if not _LOOPS.keys() >= set(keys.values()):
        uninterrupted(lambda _: _make(set(keys.values())))
    return {opcode: _LOOPS[key] for opcode, key in keys.items() if _LOOPS[key]}


def _make(keys: set[tuple[int, bool, bool]]) -> None:
    with _LOCK:
        wanted = sorted(keys - set(_LOOPS))
        module, names = ir.Module("loops"), {}
        for key in wanted:
            opcode, exact, any_step = key
            row = ROWS[opcode]
            text = row.primal if exact else row.vector or row.primal
            if text is None:
                continue
            expression = ast.parse(text, mode="eval").body
            vectors = not exact and has_vector_forms(expression)
            if vectors or not functions_called(expression) or not has_double_loop(opcode):
                names[key] = f"{row.name}.{next(_NUMBERS)}"
                form = emitter.vector_form() if vectors else emitter.vector_form()._replace(mark="")
                _loop(module, names[key], expression, row.arity, form, any_step)
        if names:
            engine = _engine()
            engine.add_module(binding.parse_assembly(str(module)))
            engine.finalize_object()
        for key in wanted:
            _LOOPS[key] = engine.get_function_address(names[key]) if key in names else 0


def _loop(
    module: ir.Module, name: str, expression: ast.expr, arity: int, form: Form, any_step: bool
) -> None:
    """Write the code of a loop into a module."""
    vector, double_pointer = ir.VectorType(_DOUBLE, form.width), _DOUBLE.as_pointer()
    words, bytes_ = _WORD.as_pointer(), _BYTE.as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [bytes_.as_pointer(), words, words, bytes_])
    function = ir.Function(module, signature, name)
    addresses, counts, steps, _ = function.args

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    count = builder.load(counts)
    pointers = [builder.load(builder.gep(addresses, [_WORD(k)])) for k in range(arity + 1)]
    strides = [builder.load(builder.gep(steps, [_WORD(k)])) for k in range(arity + 1)]
    # Whole vectors are read and written where all is side by side; an operand with a step
    # of 0 is read again and again from a vector full of it.
    is_even = builder.icmp_signed("==", strides[-1], _WORD(8))
    operands = []
    for pointer, stride in zip(pointers[:-1], strides[:-1], strict=True):
        is_one = builder.icmp_signed("==", stride, _WORD(0))
        is_next = builder.icmp_signed("==", stride, _WORD(8))
        is_even = builder.and_(is_even, builder.or_(is_one, is_next))
        copies = builder.alloca(vector)
        first = builder.load(builder.bitcast(pointer, double_pointer))
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), first, _LANE)
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), form.width), [0] * form.width)
        builder.store(builder.shuffle_vector(one, one, chosen), copies)
        source = builder.select(is_one, builder.bitcast(copies, bytes_), pointer)
        operands.append((source, builder.select(is_one, _WORD(0), _WORD(8))))

    def address(pointer: Any, position: Any, stride: Any, kind: Any) -> Any:
        place = builder.gep(pointer, [builder.mul(position, stride)])
        return builder.bitcast(place, kind.as_pointer())

    def whole_vector(index: Any) -> None:
        loaded = [
            builder.load(address(source, index, stride, vector), align=8)
            for source, stride in operands
        ]
        builder.store(
            emit(builder, form, expression, loaded),
            address(pointers[-1], index, _WORD(8), vector),
            align=8,
        )

    def by_elements(index: Any) -> None:
        """Put a vector together of elements; beyond the last one that is repeated."""
        last = builder.sub(count, _WORD(1))
        places = []
        for k in range(form.width):
            place = builder.add(index, _WORD(k))
            is_inside = builder.icmp_signed("<", place, count)
            places.append(builder.select(is_inside, place, last))
        loaded = []
        for pointer, stride in zip(pointers[:-1], strides[:-1], strict=True):
            operand = ir.Constant(vector, ir.Undefined)
            for k, place in enumerate(places):
                element = builder.load(address(pointer, place, stride, _DOUBLE))
                operand = builder.insert_element(operand, element, ir.Constant(_LANE.type, k))
            loaded.append(operand)
        result = emit(builder, form, expression, loaded)
        for k, place in enumerate(places):
            element = builder.extract_element(result, ir.Constant(_LANE.type, k))
            builder.store(element, address(pointers[-1], place, strides[-1], _DOUBLE))

    def loop(start: Any, end: Any, step: int, body: Callable[[Any], None]) -> Any:
        """Run `body` at every `step` from `start`, up to `end`; return the index after that."""
        before = builder.block
        test, inside, after = (function.append_basic_block() for _ in range(3))
        builder.branch(test)
        builder.position_at_end(test)
        index = builder.phi(_WORD)
        builder.cbranch(builder.icmp_signed("<", index, end), inside, after)
        builder.position_at_end(inside)
        body(index)
        following = builder.add(index, _WORD(step))
        back = builder.block
        builder.branch(test)
        index.add_incoming(start, before)
        index.add_incoming(following, back)
        builder.position_at_end(after)
        return index

    def several(index: Any) -> None:
        for k in range(_UNROLLED):
            whole_vector(builder.add(index, _WORD(form.width * k)))

    index = _WORD(0)
    even = builder.select(is_even, count, _WORD(0)) if any_step else count
    for vectors, body in ((_UNROLLED, several), (1, whole_vector)):
        step = form.width * vectors
        index = loop(index, builder.sub(even, _WORD(step - 1)), step, body)
    if any_step:
        loop(index, count, form.width, by_elements)
    builder.ret_void()
