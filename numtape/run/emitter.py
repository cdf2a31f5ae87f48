"""From a row's expression to instructions of LLVM, on one number or on a vector of them.

The one place that knows how the two small languages of a row, `primal` and
`vector`, become machine code by way of llvmlite; whoever emits code for rows uses
it. It is also the only module that knows of the GNU C library's vector functions
(libmvec) and how this processor's are called.
"""

import ast
import ctypes
import functools
import platform
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from llvmlite import binding, ir

__all__ = [
    "SINGLE",
    "Form",
    "declaration",
    "emit",
    "functions_called",
    "has_vector_forms",
    "target_machine",
    "vector_form",
    "vector_library",
]

_LIBRARY = "libmvec.so.1"
_DOUBLE = ir.DoubleType()

_EXP_IS_ZERO = -746.0  # from here on downwards, rounded to the nearest

# Operations that are instructions of the processor, and no functions of the library.
_BUILT_IN = ("abs", "copysign", "sqrt", "where")


class Form(NamedTuple):
    """How many elements this processor takes at once, and how libmvec marks functions for it.

    Without a mark functions are the plain ones, called for one element after the other.
    """

    width: int
    mark: str

    def symbol(self, name: str, arity: int) -> str:
        """Return the library's name of a vector function."""
        return f"_ZGV{self.mark}N{self.width}{'v' * arity}_{name}"

    @property
    def kind(self) -> Any:
        """Return the type of what is computed with."""
        return _DOUBLE if self.width == 1 else ir.VectorType(_DOUBLE, self.width)


SINGLE = Form(1, "")


@cache
def vector_form() -> Form:
    """Return the widest this processor has."""
    has = binding.get_host_cpu_features().get
    if platform.machine() not in ("x86_64", "AMD64"):
        return Form(2, "n")
    if has("avx512f") and has("avx512dq"):
        return Form(8, "e")
    return Form(4, "d") if has("avx2") else Form(2, "b")


@cache
def vector_library() -> Any:
    """Return the vector functions; None where there are none."""
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def target_machine(effort: int) -> Any:
    """Return what makes machine code for this processor; `effort` is from 0, quick, to 3.

    A new one each time: an engine that is given one frees it in the end.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    if vector_library() is not None:
        binding.load_library_permanently(_LIBRARY)
    return binding.Target.from_default_triple().create_target_machine(
        opt=effort,
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
    )


def declaration(name: str, kind: Any, operands: Sequence[Any]) -> str:
    """Write how text declares a function that is not in its module.

    All text does so by this, because a module may not hold two declarations of a function, and
    whoever writes one keeps only those that are not the same.
    """
    return f"declare {kind} @{name}({', '.join(map(str, operands))})"


def functions_called(expression: ast.expr) -> set[tuple[str, int]]:
    """Return the library's functions in an expression, with their numbers of operands."""
    calls = [node for node in ast.walk(expression) if isinstance(node, ast.Call)]
    names = {(ast.unparse(call.func), len(call.args)) for call in calls}
    powers = {("pow", 2) for node in ast.walk(expression) if isinstance(node, ast.Pow)}
    return {name for name in names | powers if name[0] not in _BUILT_IN}


def has_vector_forms(expression: ast.expr) -> bool:
    """Return whether the library has all the functions in an expression."""
    form, library = vector_form(), vector_library()
    return all(hasattr(library, form.symbol(*called)) for called in functions_called(expression))


def emit(
    builder: ir.IRBuilder,
    form: Form,
    expression: ast.expr,
    operands: Sequence[Any],
    symbol: Callable[[str, int], str] | None = None,
) -> Any:
    """Write the instructions of an expression of x and y; its value, as the builder knows it.

    `symbol` gives the name of a function on values of the form's kind, from its name in the
    expression and the number of operands; by default those of the form.
    """
    operands_by_name = dict(zip("xy", operands, strict=False))
    return _Emitter(builder, form, operands_by_name, symbol).visit(expression)


class _Emitter(ast.NodeVisitor):
    def __init__(
        self,
        builder: ir.IRBuilder,
        form: Form,
        values: dict[str, Any],
        symbol: Callable[[str, int], str] | None,
    ) -> None:
        self.builder = builder
        self.symbol = symbol or (form.symbol if form.mark else None)
        self.form = form
        self.kind = form.kind
        self.values = values

    def visit(self, node: ast.AST) -> Any:
        text = ast.unparse(node)
        if text not in self.values:  # what stands twice is computed once
            self.values[text] = super().visit(node)
        return self.values[text]

    def visit_Constant(self, node: ast.Constant) -> Any:
        value = float(str(node.value))
        return ir.Constant(self.kind, value if self.form.width == 1 else [value] * self.form.width)

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
            size = "f64" if self.form.width == 1 else f"v{self.form.width}f64"
            symbol = f"llvm.{'fabs' if name == 'abs' else name}.{size}"
        elif self.symbol is not None:
            if name == "exp" and self.symbol == self.form.symbol:
                return self._exp(arguments[0])
            symbol = self.symbol(name, len(arguments))
        else:
            return self._call_for_each(name, arguments)
        return self.builder.call(self._function(symbol, self.kind, len(arguments)), arguments)

    def _exp(self, x: Any) -> Any:
        """Call the library's vector exponential, but not for what is 0 anyway.

        It would call the plain function for each such element, which takes twenty times as long.
        """
        zero, lowest = (
            ir.Constant(self.kind, [value] * self.form.width) for value in (0.0, _EXP_IS_ZERO)
        )
        function = self._function(self.form.symbol("exp", 1), self.kind, 1)
        is_zero = self.builder.fcmp_ordered("<", x, lowest)
        found = self.builder.call(function, [self.builder.select(is_zero, zero, x)])
        return self.builder.select(is_zero, zero, found)

    def _call_for_each(self, name: str, arguments: list[Any]) -> Any:
        """Call the C library's plain function for each element."""
        function = self._function(name, _DOUBLE, len(arguments))
        result = ir.Constant(self.kind, ir.Undefined)
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
    return bool(getattr(value.type, "element", value.type) == ir.IntType(1))
