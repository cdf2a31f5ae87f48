"""Vector maths: loops over lanes for exp, sin, pow, erf and their like.

The GNU C library brings vector forms of its mathematical functions (libmvec):
about half a nanosecond an element, within 4 units in the last place (but for sin and
cos of arguments beyond 10**12 that are nearly 0: right to 27 decimal places). From a
row's `vector` expression this module makes a machine-code loop that calls them
on as many elements at once as the processor takes. The loop has the signature of
a ufunc's inner loop, so a kernel runs either by its address alike.

This is the only module that knows of libmvec. Where there is none (or not for
this processor), or where a row names no `vector`, the answer is None, and lanes
are run by the row's own ufunc.
"""

import ast
import ctypes
import platform
import threading
from functools import cache
from typing import Any

from llvmlite import binding, ir

from numtape.ops.table import ROWS

__all__ = ["MULTIPLE", "vector_loop"]

# A loop takes so many elements at a time, or a divisor of it.
MULTIPLE = 8

_LIBRARY = "libmvec.so.1"
_DOUBLE, _WORD, _BYTE = ir.DoubleType(), ir.IntType(64), ir.IntType(8)
_LANE = ir.Constant(ir.IntType(32), 0)
_LOCK = threading.Lock()


@cache
def _vector_form() -> tuple[str, int] | None:
    """How libmvec marks the functions for this processor, and how many elements they take."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    machine, has = platform.machine(), binding.get_host_cpu_features().get
    if machine in ("x86_64", "AMD64"):
        if has("avx512f") and has("avx512dq"):
            return "e", 8
        return ("d", 4) if has("avx2") else ("b", 2)
    return ("n", 2) if machine == "aarch64" else None


@cache
def _engine() -> Any:
    """Where the loops live, for as long as the process does."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.load_library_permanently(_LIBRARY)
    target = binding.Target.from_default_triple().create_target_machine(
        opt=2,
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
    )
    return binding.create_mcjit_compiler(binding.parse_assembly(""), target)


@cache
def vector_loop(opcode: int) -> int | None:
    """The address of a row's loop over lanes; None where its ufunc's own loop has to do.

    The loop takes a multiple of `MULTIPLE` elements, operands with a step of 8
    bytes or of 0, and writes a contiguous result, which may be an operand. Every
    element comes out the same wherever it stands. Making one takes about 4 ms.
    """
    form, text = _vector_form(), ROWS[opcode].vector
    if form is None or text is None:
        return None
    expression = ast.parse(text, mode="eval").body
    mark, width = form
    for name, arity in _functions(expression):
        if not hasattr(ctypes.CDLL(_LIBRARY), _symbol(mark, width, name, arity)):
            return None
    name = f"lanes_{ROWS[opcode].name}"
    with _LOCK:
        engine = _engine()
        source = _loop(name, expression, ROWS[opcode].arity, mark, width)
        module = binding.parse_assembly(str(source))
        engine.add_module(module)
        engine.finalize_object()
        address: int = engine.get_function_address(name)
    return address


def _symbol(mark: str, width: int, name: str, arity: int) -> str:
    return f"_ZGV{mark}N{width}{'v' * arity}_{name}"


def _functions(expression: ast.expr) -> set[tuple[str, int]]:
    """The library's functions in an expression, with their numbers of operands."""
    return {
        (node.func.id, len(node.args))
        for node in ast.walk(expression)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id not in ("abs", "where")
    }


def _loop(name: str, expression: ast.expr, arity: int, mark: str, width: int) -> ir.Module:
    """The code of a loop: `width` elements at a time, by the expression."""
    module = ir.Module(name)
    vector, double_pointer = ir.VectorType(_DOUBLE, width), _DOUBLE.as_pointer()
    words, bytes_ = _WORD.as_pointer(), _BYTE.as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [bytes_.as_pointer(), words, words, bytes_])
    function = ir.Function(module, signature, name)
    addresses, counts, steps, _ = function.args
    entry, body, end = (function.append_basic_block(label) for label in ("entry", "body", "end"))

    builder = ir.IRBuilder(entry)
    count = builder.load(counts)
    pointers = [
        builder.bitcast(builder.load(builder.gep(addresses, [_WORD(k)])), double_pointer)
        for k in range(arity + 1)
    ]
    operands = []
    for number, source in enumerate(pointers[:-1]):
        # An operand with a step of 0 is read again and again from a vector full of it.
        copies = builder.alloca(vector)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), builder.load(source), _LANE)
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        builder.store(builder.shuffle_vector(one, one, chosen), copies)
        step = builder.load(builder.gep(steps, [_WORD(number)]))
        is_one = builder.icmp_signed("==", step, _WORD(0))
        source = builder.select(is_one, builder.bitcast(copies, double_pointer), source)
        operands.append((source, builder.select(is_one, _WORD(0), _WORD(1))))
    builder.branch(body)

    builder.position_at_end(body)
    index = builder.phi(_WORD)

    def at(pointer: Any, position: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [position]), vector.as_pointer())

    emit = _Emitter(builder, vector, mark)
    for letter, (source, moves) in zip("xy", operands, strict=False):
        start = at(source, builder.mul(index, moves))
        emit.values[letter] = builder.load(start, align=8)
    builder.store(emit.visit(expression), at(pointers[-1], index), align=8)
    following = builder.add(index, _WORD(width))
    index.add_incoming(_WORD(0), entry)
    index.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, count), body, end)

    ir.IRBuilder(end).ret_void()
    return module


class _Emitter(ast.NodeVisitor):
    """Emits an expression of x and y: arithmetic, comparisons, `where`, `abs`, library calls."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType, mark: str) -> None:
        self.builder = builder
        self.vector = vector
        self.mark = mark
        self.values: dict[str, Any] = {}

    def visit(self, node: ast.AST) -> Any:
        text = ast.unparse(node)
        if text not in self.values:  # what stands twice is computed once
            self.values[text] = super().visit(node)
        return self.values[text]

    def visit_Constant(self, node: ast.Constant) -> Any:
        return ir.Constant(self.vector, [float(str(node.value))] * self.vector.count)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self.builder.fneg(self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        emit = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}[type(node.op)]
        return getattr(self.builder, emit)(self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        left, right = self.visit(node.left), self.visit(node.comparators[0])
        if isinstance(node.ops[0], ast.NotEq):
            return self.builder.fcmp_unordered("!=", left, right)
        sign = {ast.Lt: "<", ast.Gt: ">", ast.Eq: "=="}[type(node.ops[0])]
        return self.builder.fcmp_ordered(sign, left, right)

    def visit_Call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        arguments = [self.visit(argument) for argument in node.args]
        if node.func.id == "where":
            return self.builder.select(*arguments)
        if node.func.id == "abs":
            name = f"llvm.fabs.v{self.vector.count}f64"
        else:
            name = _symbol(self.mark, self.vector.count, node.func.id, len(arguments))
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(self.vector, [self.vector] * len(arguments))
            function = ir.Function(module, kind, name)
        return self.builder.call(function, arguments)
