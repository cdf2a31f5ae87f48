"""A row's value at floats and arrays, as NumPy computes it.

Where a row has a ufunc, that is it; where it has only a `primal` expression,
that expression is evaluated by NumPy.
"""

import ast
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from numtape.ops.table import ROWS, Row, load_ufunc

__all__ = ["value_of_row"]


def value_of_row(row: Row, values: Sequence[Any]) -> Any:
    """Apply a row to the given operands: floats, bools or arrays of them."""
    if row.ufunc is not None:
        return load_ufunc(row.ufunc)(*values)
    # NumPy's scalars, not its arrays of rank 0, round `**` as the kernels do.
    floats = [np.asarray(value, np.float64)[()] for value in values]
    return _evaluator(row)(*floats, *floats[: 2 - len(floats)])


@cache
def _evaluator(row: Row) -> Callable[[Any, Any], Any]:
    assert row.primal is not None
    expression = ast.fix_missing_locations(_ToNumpy().visit(ast.parse(row.primal, mode="eval")))
    names = {"where": np.where, "sqrt": np.sqrt, "abs": np.absolute, "both": np.logical_and}
    names |= {"either": np.logical_or}
    names |= {row.name: load_ufunc(row.ufunc) for row in ROWS if _is_numpy(row)}
    body = compile(ast.fix_missing_locations(_lambda(expression.body)), row.name, "eval")
    function: Callable[[Any, Any], Any] = eval(body, names)
    return function


def _is_numpy(row: Row) -> bool:
    return row.ufunc is not None and row.ufunc.startswith("numpy.")


def _lambda(body: ast.expr) -> ast.Expression:
    function = ast.parse("lambda x, y: 0", mode="eval")
    assert isinstance(function.body, ast.Lambda)
    function.body.body = body
    return function


class _ToNumpy(ast.NodeTransformer):
    """Choices and logic as NumPy functions, which take arrays."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        parts = [self.visit(part) for part in (node.test, node.body, node.orelse)]
        return ast.Call(ast.Name("where", ast.Load()), parts, [])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        name = "both" if isinstance(node.op, ast.And) else "either"
        first, *rest = [self.visit(value) for value in node.values]
        for value in rest:
            first = ast.Call(ast.Name(name, ast.Load()), [first, value], [])
        result: ast.expr = first
        return result
