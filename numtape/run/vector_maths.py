"""Loops over lanes: machine code for one operation on many numbers side by side.

From a row's `vector` expression, or else its `primal`, this module emits a loop
that takes as many numbers at once as the processor does. Functions in `vector` are
called in the GNU C library's vector form (libmvec): about half a nanosecond an
element, within 4 units in the last place (but for sin and cos of arguments beyond
10**12 that are nearly 0: right to 27 decimal places). A loop has the signature of a
ufunc's inner loop, so a kernel runs either by its address alike.

This is the only module that knows of libmvec. Where there is none, or not that
function, or where a row has no expression, lanes are run by the row's own ufunc; a
row without one calls the C library's plain functions, element by element.
"""

import ast
import ctypes
import functools
import itertools
import platform
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from llvmlite import binding, ir

from numtape.locks import held_across_forks
from numtape.ops.table import ROWS
from numtape.run.loops import has_double_loop

__all__ = ["MULTIPLE", "array_loops", "lane_loops"]

# So many elements at a time, or a divisor of it: loops are quickest on multiples of this.
MULTIPLE = 8

_LIBRARY = "libmvec.so.1"
_UNROLLED = 4  # vectors that the main loop takes at a time
_DOUBLE, _WORD, _BYTE = ir.DoubleType(), ir.IntType(64), ir.IntType(8)
_LANE = ir.Constant(ir.IntType(32), 0)
_LOCK = threading.RLock()
held_across_forks(_LOCK)  # a child has the same memory, with the code that is in it

# Operations that are instructions of the processor, and no functions of the library.
_BUILT_IN = ("abs", "copysign", "sqrt", "where")


class Form(NamedTuple):
    """How many elements this processor takes at once, and how libmvec marks functions for it.

    Without a mark functions are the plain ones, called for one element after the other.
    """

    width: int
    mark: str

    def symbol(self, name: str, arity: int) -> str:
        """The library's name of a vector function."""
        return f"_ZGV{self.mark}N{self.width}{'v' * arity}_{name}"


@cache
def _form() -> Form:
    has = binding.get_host_cpu_features().get
    if platform.machine() not in ("x86_64", "AMD64"):
        return Form(2, "n")
    if has("avx512f") and has("avx512dq"):
        return Form(8, "e")
    return Form(4, "d") if has("avx2") else Form(2, "b")


@cache
def _library() -> Any:
    """The vector functions; None where there are none."""
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


@cache
def _engine() -> Any:
    """Where the loops live, for as long as the process does."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    if _library() is not None:
        binding.load_library_permanently(_LIBRARY)
    target = binding.Target.from_default_triple().create_target_machine(
        opt=2,
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
    )
    return binding.create_mcjit_compiler(binding.parse_assembly(""), target)


_LOOPS: dict[tuple[int, bool, bool], int] = {}
_NUMBERS = itertools.count()


def lane_loops(opcodes: Iterable[int], exact: bool = False) -> dict[int, int]:
    """The addresses of loops over lanes, for those of some rows that can have one.

    A loop takes a multiple of `MULTIPLE` elements, operands with a step of 8 bytes
    or of 0, and writes a contiguous result. An element comes out the same
    wherever it stands. Where `exact` is true, results are those of single points to
    the bit. Making a loop takes a few milliseconds, once a process.
    """
    return _loops(list(opcodes), exact, False)


def array_loops(opcodes: Iterable[int], exact: bool = False) -> dict[int, int]:
    """The addresses of loops for any number of elements, at any steps.

    For those of some rows that have vector maths, or with `exact` for those that have
    no ufunc's loop. Results are as in lanes.
    """
    if exact:
        return _loops([opcode for opcode in opcodes if not has_double_loop(opcode)], True, True)
    if _library() is None:
        return {}
    return _loops([opcode for opcode in opcodes if ROWS[opcode].vector is not None], False, True)


def _loops(opcodes: list[int], exact: bool, any_step: bool) -> dict[int, int]:
    with _LOCK:
        wanted = sorted({(opcode, exact, any_step) for opcode in opcodes} - set(_LOOPS))
        module, names = ir.Module("loops"), {}
        for key in wanted:
            row = ROWS[key[0]]
            text = row.primal if exact else row.vector or row.primal
            if text is None:
                continue
            expression = ast.parse(text, mode="eval").body
            vectors = not exact and _has_vector_forms(expression)
            if vectors or not _functions(expression) or not has_double_loop(key[0]):
                names[key] = f"{row.name}.{next(_NUMBERS)}"
                form = _form() if vectors else _form()._replace(mark="")
                _loop(module, names[key], expression, row.arity, form, any_step)
        if names:
            engine = _engine()
            engine.add_module(binding.parse_assembly(str(module)))
            engine.finalize_object()
        for key in wanted:
            _LOOPS[key] = engine.get_function_address(names[key]) if key in names else 0
        found = {opcode: _LOOPS[opcode, exact, any_step] for opcode in opcodes}
        return {opcode: loop for opcode, loop in found.items() if loop}


def _functions(expression: ast.expr) -> set[tuple[str, int]]:
    """The library's functions in an expression, with their numbers of operands."""
    calls = [node for node in ast.walk(expression) if isinstance(node, ast.Call)]
    names = {(ast.unparse(call.func), len(call.args)) for call in calls}
    powers = {("pow", 2) for node in ast.walk(expression) if isinstance(node, ast.Pow)}
    return {name for name in names | powers if name[0] not in _BUILT_IN}


def _has_vector_forms(expression: ast.expr) -> bool:
    """Whether the library has all the functions in an expression."""
    return all(
        hasattr(_library(), _form().symbol(name, arity)) for name, arity in _functions(expression)
    )


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

    def value(loaded: list[Any]) -> Any:
        return _Emitter(builder, form, dict(zip("xy", loaded, strict=False))).visit(expression)

    def whole_vector(index: Any) -> None:
        loaded = [
            builder.load(address(source, index, stride, vector), align=8)
            for source, stride in operands
        ]
        builder.store(value(loaded), address(pointers[-1], index, _WORD(8), vector), align=8)

    def by_elements(index: Any) -> None:
        """A vector put together of elements; beyond the last one that is repeated."""
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
        result = value(loaded)
        for k, place in enumerate(places):
            element = builder.extract_element(result, ir.Constant(_LANE.type, k))
            builder.store(element, address(pointers[-1], place, strides[-1], _DOUBLE))

    def loop(start: Any, end: Any, step: int, body: Callable[[Any], None]) -> Any:
        """Run `body` at every `step` from `start`, up to `end`; returns the index after that."""
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


class _Emitter(ast.NodeVisitor):
    """Emits an expression of x and y on vectors: the language of a row's `vector` and `primal`."""

    def __init__(self, builder: ir.IRBuilder, form: Form, values: dict[str, Any]) -> None:
        self.builder = builder
        self.vector = ir.VectorType(_DOUBLE, form.width)
        self.form = form
        self.values = values

    def visit(self, node: ast.AST) -> Any:
        text = ast.unparse(node)
        if text not in self.values:  # what stands twice is computed once
            self.values[text] = super().visit(node)
        return self.values[text]

    def visit_Constant(self, node: ast.Constant) -> Any:
        return ir.Constant(self.vector, [float(str(node.value))] * self.form.width)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self.builder.fneg(self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        emit = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}[type(node.op)]
        return getattr(self.builder, emit)(self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        left, right = self.visit(node.left), self.visit(node.comparators[0])
        if isinstance(node.ops[0], ast.NotEq):
            emit = self.builder.icmp_unsigned if _is_truth(left) else self.builder.fcmp_unordered
            return emit("!=", left, right)
        return self.builder.fcmp_ordered(_SIGNS[type(node.ops[0])], left, right)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        emit = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
        return functools.reduce(emit, map(self.visit, node.values))

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.builder.select(*map(self.visit, (node.test, node.body, node.orelse)))

    def visit_Call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        arguments = [self.visit(argument) for argument in node.args]
        if name == "where":
            return self.builder.select(*arguments)
        if name in _BUILT_IN:
            symbol = f"llvm.{'fabs' if name == 'abs' else name}.v{self.form.width}f64"
        elif self.form.mark:
            symbol = self.form.symbol(name, len(arguments))
        else:
            return self._call_for_each(name, arguments)
        return self.builder.call(self._function(symbol, self.vector, len(arguments)), arguments)

    def _call_for_each(self, name: str, arguments: list[Any]) -> Any:
        """A call of the C library's plain function for each element."""
        function = self._function(name, _DOUBLE, len(arguments))
        result = ir.Constant(self.vector, ir.Undefined)
        for k in range(self.form.width):
            place = ir.Constant(ir.IntType(32), k)
            elements = [self.builder.extract_element(vector, place) for vector in arguments]
            value = self.builder.call(function, elements)
            result = self.builder.insert_element(result, value, place)
        return result

    def _function(self, name: str, kind: Any, arity: int) -> Any:
        module = self.builder.module
        if name not in module.globals:
            ir.Function(module, ir.FunctionType(kind, [kind] * arity), name)
        return module.globals[name]


_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=="}


def _is_truth(value: Any) -> bool:
    return bool(value.type.element == ir.IntType(1))
