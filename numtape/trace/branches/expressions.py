"""Expressions as selections: ``a if c else b``, ``and``, ``or``, ``not``, chained comparisons."""

import ast
from typing import Any

from numtape.trace.branches.trees import (
    Named,
    Names,
    Tested,
    call,
    copied,
    method_call,
    read,
    site_of,
    tuple_of,
    visited,
)

__all__ = ["Expressions"]


class Expressions(ast.NodeTransformer):
    """Makes a copy of an expression with its choices written so that both may run.

    ``a if c else b`` is ``(chosen := choice(c, ...)).chosen(a if choice.first else None, b if
    choice.turned() else None)``: arguments are computed in this order, so no function is needed.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._names = Names()
        self._is_source = 0  # within what a comprehension goes through nothing can be named

    def tested(self, node: ast.expr) -> Any:
        """Return an expression of which only the truth counts."""
        if isinstance(node, Tested):
            return self.tested(node.value)
        if isinstance(node, ast.BoolOp):
            return self._operation(node, True)
        return self.visit(node)

    def visit_Tested(self, node: Tested) -> Any:
        """Write an expression of which only the truth counts."""
        return self.tested(node.value)

    def generic_visit(self, node: ast.AST) -> Any:
        """Copy a node, with what is inside it written."""
        return visited(self, node)

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        """Write a part of a comprehension; nothing can be named in what it goes through."""
        self._is_source += 1
        source = self.visit(node.iter)
        self._is_source -= 1
        tests = [self.visit(each) for each in node.ifs]
        return ast.comprehension(node.target, source, tests, node.is_async)

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        """Write what a lambda returns."""
        inside = Expressions(self._file)
        inside._names = self._names
        return copied(node, args=self.visit(node.args), body=inside.visit(node.body))

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        """Write ``a if c else b``."""
        if self._is_left(node):
            return self.generic_visit(node)
        choice = self._names.new("chosen")
        opened = call("choice", self.tested(node.test), site_of(self._file, node), tuple_of([]))
        return self._expression(
            choice, opened, self.visit(node.body), self.visit(node.orelse), node
        )

    # what belongs to a class of the user's may do anything: it is asked for first

    def _asked(self, node: ast.expr) -> Any:
        own = self.visit(node)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            return self._placed(call("operand", own), node)
        return own

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        """Write an operation."""
        return copied(node, left=self._asked(node.left), right=self._asked(node.right))

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        """Write the reading of a part."""
        return copied(node, value=self._asked(node.value), slice=self.visit(node.slice))

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        """Write the reading of an attribute."""
        return copied(
            node,
            value=self._placed(
                call("owner_of", self.visit(node.value), ast.Constant(node.attr)), node
            ),
        )

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        """Write ``not a``."""
        if not isinstance(node.op, ast.Not):
            return copied(node, operand=self._asked(node.operand))
        return self._placed(call("negated", self.tested(node.operand)), node)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        """Write ``a and b`` or ``a or b``."""
        return self._operation(node, False)

    def visit_Compare(self, node: ast.Compare) -> Any:
        """Write ``a < b < c`` as comparisons joined by ``and``."""
        if len(node.ops) == 1 or self._is_left(node):
            comparators = [self._asked(each) for each in node.comparators]
            return copied(node, left=self._asked(node.left), comparators=comparators)
        left = node.left
        parts: list[ast.expr] = []
        for op, right in zip(node.ops, node.comparators, strict=True):
            kept: ast.expr = right
            if len(parts) < len(node.ops) - 1:
                middle = self._names.new("middle")
                kept, following = Named(name=middle, value=right), read(middle)
            parts.append(ast.Compare(left, [op], [kept]))
            left = following if len(parts) < len(node.ops) else right
        joined = ast.BoolOp(ast.And(), [ast.copy_location(each, node) for each in parts])
        return self._operation(ast.copy_location(joined, node), False)

    def visit_Named(self, node: Named) -> Any:
        """Write an expression that has a name of ours."""
        return ast.NamedExpr(ast.Name(node.name, ast.Store()), self.visit(node.value))

    def _is_left(self, node: ast.expr) -> bool:
        """Return whether an expression stays: it names something, or nothing may be named here."""
        return bool(self._is_source) or any(
            isinstance(each, ast.NamedExpr) for each in ast.walk(node)
        )

    def _operation(self, node: ast.BoolOp, is_tested: bool) -> Any:
        """Return ``a and b``, ``a or b``; of several the first, and the rest as the second."""
        if self._is_left(node):
            return self.generic_visit(node)
        visit = self.tested if is_tested else self.visit
        first, *rest = node.values
        second: Any = rest[0] if len(rest) == 1 else copied(node, values=rest)
        choice = self._names.new("chosen")
        is_and = isinstance(node.op, ast.And)
        opened = call(
            "both" if is_and else "either",
            visit(first),
            site_of(self._file, first),
            ast.Constant(is_tested),
        )
        named = ast.NamedExpr(ast.Name(choice, ast.Store()), opened)
        computed = ast.IfExp(
            ast.Attribute(read(choice), "first", ast.Load()), visit(second), ast.Constant(None)
        )
        joined = ast.Call(ast.Attribute(named, "joined", ast.Load()), [computed], [])
        return self._placed(joined, node)

    def _expression(self, choice: str, opened: Any, then: Any, other: Any, node: Any) -> Any:
        named = ast.NamedExpr(ast.Name(choice, ast.Store()), opened)
        first = ast.IfExp(
            ast.Attribute(read(choice), "first", ast.Load()), then, ast.Constant(None)
        )
        second = ast.IfExp(method_call(choice, "turned"), other, ast.Constant(None))
        made = ast.Call(ast.Attribute(named, "chosen", ast.Load()), [first, second], [])
        return self._placed(made, node)

    def _placed(self, made: Any, node: Any) -> Any:
        ast.copy_location(made, node)
        return ast.fix_missing_locations(made)
