"""Pieces of syntax trees: small ones made, names found, and statements between two steps.

Names of ours begin with a dot, as no program's do.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

# The name that code is compiled with in place of what runs arms: a constant that no program has.
ARMS = "\0numtape arms"

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def copied(node: Any, **changed: Any) -> Any:
    """Return a node with some fields changed, where the old one stands."""
    fields = {name: getattr(node, name, None) for name in node._fields} | changed
    return ast.copy_location(type(node)(**fields), node)


def visited(visitor: ast.NodeTransformer, node: ast.AST) -> Any:
    """Return a copy of a node, with what is inside it visited."""
    fields: dict[str, Any] = {}
    for name, each in ast.iter_fields(node):
        if isinstance(each, list):
            each = [visitor.visit(one) if isinstance(one, ast.AST) else one for one in each]
        elif isinstance(each, ast.AST):
            each = visitor.visit(each)
        fields[name] = each
    return copied(node, **fields)


def read(name: str) -> ast.Name:
    """Return the reading of a variable."""
    return ast.Name(name, ast.Load())


def assigned(name: str, value: Any) -> ast.Assign:
    """Return the assignment of a value to a variable."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def call(name: str, *arguments: ast.expr) -> ast.Call:
    """Return a call of what runs arms."""
    return ast.Call(ast.Attribute(ast.Constant(ARMS), name, ast.Load()), list(arguments), [])


def method_call(choice: str, name: str, *arguments: ast.expr) -> ast.Call:
    """Return a call of a method of what a variable holds."""
    return ast.Call(ast.Attribute(read(choice), name, ast.Load()), list(arguments), [])


def tuple_of(names: Sequence[str], context: type = ast.Load) -> ast.Tuple:
    """Return variables as a tuple."""
    return ast.Tuple([ast.Name(name, context()) for name in names], context())


def placed_at(nodes: list[Any], node: Any) -> list[Any]:
    """Return new statements, which stand where an old one does."""
    for each in nodes:
        ast.copy_location(each, node)
        ast.fix_missing_locations(each)
    return nodes


def own_nodes(nodes: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """Yield the nodes of a scope, without those of the functions and classes inside it."""
    for node in nodes:
        yield node
        if not isinstance(node, SCOPES):
            yield from own_nodes(ast.iter_child_nodes(node))


def loaded(*nodes: ast.AST | None) -> set[str]:
    """Return the names that are read, functions inside included."""
    return {
        each.id
        for node in nodes
        if node is not None
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that statements assign in their scope."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        if isinstance(node, COMPREHENSIONS):  # whose variables are their own
            inner = (each for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
            found |= {each.target.id for each in inner}
        elif not isinstance(node, SCOPES):
            found |= stored(ast.iter_child_nodes(node))
    return found


def own_nodes_of_loop(nodes: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """Yield the nodes of a loop's body, without those of loops and functions inside it."""
    for node in nodes:
        yield node
        if not isinstance(node, (*SCOPES, ast.For, ast.While)):
            yield from own_nodes_of_loop(ast.iter_child_nodes(node))


def all_assigned(names: Sequence[str], value: ast.expr) -> ast.stmt:
    """Return the assignment of a tuple to variables."""
    if not names:
        return ast.Expr(value)
    return ast.Assign([tuple_of(names, ast.Store)], value)


def site_of(file: str, node: Any) -> ast.Constant:
    """Return where a test stands, as the code knows it."""
    site: Any = (file, node.lineno, node.col_offset)
    return ast.Constant(site)


class Choice(ast.stmt):
    """A test whose arms may both run."""

    _fields = ("test", "body", "orelse")

    def __init__(self, test: ast.expr, body: list[Any], orelse: list[Any]) -> None:
        super().__init__()
        self.test, self.body, self.orelse = test, body, orelse


class Loop(ast.stmt):
    """A loop that is left where a flag is false; its body asks.

    Parameters
    ----------
    source : expr or None
        What it goes through; None of ``while``.
    body : list of stmt
    go, item : str
        The names of the flag, and of the element.
    head : int
        So many statements of the body come before it is asked whether to go on.
    """

    _fields = ("source", "body")

    def __init__(
        self, source: ast.expr | None, body: list[Any], go: str, item: str, head: int
    ) -> None:
        super().__init__()
        self.source, self.body, self.go, self.item, self.head = source, body, go, item, head


class Tested(ast.expr):
    """An expression of which only the truth counts."""

    _fields = ("value",)

    def __init__(self, value: ast.expr) -> None:
        super().__init__()
        self.value = value


class Named(ast.expr):
    """An expression that is read once more, by a name of ours."""

    _fields = ("name", "value")

    def __init__(self, name: str, value: ast.expr) -> None:
        super().__init__()
        self.name, self.value = name, value


@dataclass
class Names:
    """Names that no program has."""

    counts: dict[str, int] = field(default_factory=dict)

    def new(self, what: str) -> str:
        """Return one more."""
        self.counts[what] = self.counts.get(what, 0) + 1
        return f".{what}{self.counts[what]}"


_TEMPORARY = (".choice", ".loop", ".item", ".chosen", ".middle")  # read at once, in any case


def variables(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that statements assign, and that may be read later."""
    return {name for name in stored(nodes) if not name.startswith(_TEMPORARY)}
