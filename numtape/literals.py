"""Arguments as they are written on the command line: ``[2.0, inf]``, ``np.linspace(0, 1, 5)``.

Python's literals, and a bit more: nan, inf and pi, sums and products of numbers, and calls of
the functions of NumPy that make an array of numbers. Nothing else is evaluated, so a text can
run no code.
"""

import ast
import operator
from typing import Any, NoReturn

import numpy as np

from numtape.errors import InputError

__all__ = ["read_literal"]

_NAMES = ("nan", "inf", "pi")
_MODULES = ("np", "numpy", "math")
_TYPES = {"float": float, "int": int, "bool": bool}
_MAKERS = (
    "arange",
    "array",
    "asarray",
    "diag",
    "eye",
    "float64",
    "full",
    "geomspace",
    "identity",
    "int64",
    "linspace",
    "logspace",
    "ones",
    "zeros",
)
_MOST = 1 << 27  # elements of an array
_SIGNS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def read_literal(text: str) -> Any:
    """The value of a text.

    Raises
    ------
    InputError
        Where it is anything but what this module reads.
    """
    try:
        return _Reader(text).visit(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        _refuse(text)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, InputError):
            raise
        _refuse(text, f" ({type(error).__name__}: {error})")


def _refuse(text: str, why: str = "") -> NoReturn:
    raise InputError(
        f"--at {text!r} cannot be read{why}: write a number, a list or another Python literal, in "
        "which nan, inf, pi, sums, products and calls such as np.linspace(0, 1, 5) may stand, for "
        'example --at 2.0 or --at "[2.0, 5.0]"',
        code="command-line",
    )


class _Reader(ast.NodeVisitor):
    def __init__(self, text: str) -> None:
        self.text = text

    def generic_visit(self, node: ast.AST) -> NoReturn:
        _refuse(self.text)

    def visit_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def visit_List(self, node: ast.List) -> Any:
        return [self.visit(item) for item in node.elts]

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.visit(item) for item in node.elts)

    def visit_Dict(self, node: ast.Dict) -> Any:
        if None in node.keys:
            _refuse(self.text)
        pairs = zip(node.keys, node.values, strict=True)
        return {self.visit(key): self.visit(value) for key, value in pairs if key is not None}

    def visit_Name(self, node: ast.Name) -> Any:
        return self.number(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if not isinstance(node.value, ast.Name) or node.value.id not in _MODULES:
            _refuse(self.text)
        return self.number(node.attr)

    def number(self, name: str) -> float:
        if name not in _NAMES:
            _refuse(self.text)
        return float(getattr(np, name))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self.combined(node.op, node.operand)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return self.combined(node.op, node.left, node.right)

    def combined(self, sign: ast.AST, *operands: ast.expr) -> Any:
        values = [self.visit(operand) for operand in operands]
        is_number = (isinstance(v, int | float | np.ndarray | np.generic) for v in values)
        if type(sign) not in _SIGNS or not all(is_number):
            _refuse(self.text)
        return _SIGNS[type(sign)](*values)

    def visit_Call(self, node: ast.Call) -> Any:
        called, arguments = node.func, [self.visit(argument) for argument in node.args]
        named = {each.arg: self.option(each) for each in node.keywords if each.arg is not None}
        if len(named) < len(node.keywords):
            _refuse(self.text)
        if isinstance(called, ast.Name) and called.id in _TYPES:
            return _TYPES[called.id](*arguments, **named)
        if not isinstance(called, ast.Attribute):
            _refuse(self.text)
        if called.attr == "reshape":
            array = self.visit(called.value)
            if isinstance(array, np.ndarray):
                return array.reshape(*arguments, **named)
        is_numpy = isinstance(called.value, ast.Name) and called.value.id in _MODULES[:2]
        if not is_numpy or called.attr not in _MAKERS:
            _refuse(self.text)
        sizes = [v for v in (*arguments, *named.values()) if isinstance(v, int | float | tuple)]
        if any(np.prod(size, dtype=float) > _MOST for size in sizes if size == size):
            _refuse(self.text, f" (an array has {_MOST} elements at most)")
        return getattr(np, called.attr)(*arguments, **named)

    def option(self, keyword: ast.keyword) -> Any:
        if keyword.arg == "dtype":
            if isinstance(keyword.value, ast.Name) and keyword.value.id in _TYPES:
                return _TYPES[keyword.value.id]
            _refuse(self.text)
        return self.visit(keyword.value)
