"""A function's code with its calls written otherwise, made from its source.

``f(x)`` becomes ``resolve(f)(x)``: what is called is looked up when it is called, whatever
name, attribute or container it came from, and nothing of NumPy or Python is exchanged for
anyone. In a *thorough* copy all that arrays come from goes through functions as well: names
of outside, attributes, elements, results of operators and calls.

Here is how the source of a code object is found and rewritten, and how a code object comes of
it that has the same name, lines, variables and free variables. What calls resolve to is the
subject of `resolve.py`.

A function has no such copy where its source is not to be had: code given to ``exec`` or to
``python -c``, a file that was changed since it was imported.
"""

import __future__

import ast
import builtins
import linecache
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from numtape.trace.branches.lowering import lowered
from numtape.trace.branches.trees import ARMS, copied, visited
from numtape.trace.traced import settled

__all__ = ["Hooks", "rewritten"]


@dataclass(frozen=True)
class Hooks:
    """What rewritten code calls.

    Attributes
    ----------
    resolve : callable
        Given what is to be called, returns what is called instead.
    value : callable, optional
        Given a value that was there or was computed, returns it or what stands for it; of a
        thorough copy.
    arms : module, optional
        What runs both arms of tests on traced values; of copies that select (`lowering.py`).
    settled : callable
        Given what is compared with True or False by identity, returns it with plain bools.
    """

    resolve: Callable[[Any], Any]
    value: Callable[[Any], Any] | None = None
    arms: Any = None
    settled: Callable[[Any], Any] = settled


# Names that code is compiled with, in place of the hooks: constants that no program has.
_MARKS = {name: f"\0numtape {name}" for name in ("resolve", "value", "settled")}
_MARKS["arms"] = ARMS

# To call these is to ask the interpreter about the frame, or never to meet an array.
_LEFT_ALONE = frozenset(
    {"super", "locals", "globals", "vars", "dir", "isinstance", "issubclass", "hasattr", "range"}
    | {"len", "print", "zip", "enumerate", "list", "tuple", "dict", "set", "frozenset", "id"}
    | {"iter", "next", "slice", "callable", "repr", "str", "format", "hash"}
)
# Methods of lists, dicts and strings; of a user's class they may be more: to a thorough copy.
_PLAIN_METHODS = frozenset(
    {"append", "extend", "items", "keys", "values", "join", "split", "strip", "lower", "upper"}
)
_BUILTINS = frozenset(dir(builtins))
_LAMBDA = "<lambda>"
_FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_NESTED = 0x10  # the bit of a code's flags that says whether it is in another function's


def rewritten(code: CodeType, names: Mapping[str, Any], hooks: Hooks) -> CodeType | None:
    """Return a function's code with its calls resolved.

    Parameters
    ----------
    code : code
        The function's.
    names : mapping
        Its globals, by which files in archives are found.
    hooks : Hooks

    Returns
    -------
    code or None
        None where there is no source that compiles to `code`.

    Notes
    -----
    Reading and compiling takes some milliseconds.
    """
    try:
        file = _file(code.co_filename, names)
    except (SyntaxError, ValueError, RecursionError):
        return None
    found = _find(code, file)
    if found is None:
        return None
    node, owner = found
    inner = list(_all_codes(code))
    used = {name for each in inner for name in (*each.co_names, *each.co_freevars)}
    # Python compiles calls of methods of what a module imports otherwise, and goes by names
    # alone: a parameter `np` counts.
    own_names = {name for each in inner for name in (*each.co_varnames, *each.co_cellvars)}
    imported = sorted((used | own_names) & file.imported)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of ours, or seen before
        own = _compiled(node, owner, code, imported)
        if own is None or not (_is_same(own, code) or _has_assertions(node)):
            return None
        outer = frozenset(used) - _BUILTINS
        tree = node if hooks.arms is None else lowered(node, code.co_filename)
        made = _compiled(_Rewriter(hooks, outer).function(tree), owner, code, imported)
    if made is None:
        return None
    marks = {mark: getattr(hooks, name) for name, mark in _MARKS.items()}
    return _filled(made, marks).replace(co_qualname=code.co_qualname, co_flags=code.co_flags)


# finding the source

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _File:
    """A file that was read.

    Attributes
    ----------
    lines : list of str
    functions : dict
        By line, the functions that begin there, each with the name of the class that it is in.
    imported : set of str
        Names that the module imports, of which Python compiles calls in a way of its own.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.functions: dict[int, list[tuple[_Function, str]]] = {}
        self.imported: set[str] = set()
        self._read(ast.parse("".join(lines)), "", True)

    def _read(self, node: ast.AST, owner: str, is_top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            own, top = owner, is_top
            if isinstance(child, _Function):
                first = [child, *getattr(child, "decorator_list", ())]
                for line in {each.lineno for each in first[:2]}:
                    self.functions.setdefault(line, []).append((child, owner))
                top = False
            elif isinstance(child, ast.ClassDef):
                own, top = child.name, False
            elif is_top and isinstance(child, ast.Import | ast.ImportFrom):
                self.imported |= {
                    each.asname or each.name.partition(".")[0] for each in child.names
                }
            self._read(child, own, top)


_FILES: dict[str, _File] = {}  # the last ones, by name
_MOST = 16


def _file(name: str, names: Mapping[str, Any]) -> _File:
    linecache.checkcache(name)
    lines = linecache.getlines(name, dict(names))
    file = _FILES.get(name)
    if file is None or file.lines != lines:
        while len(_FILES) >= _MOST:
            _FILES.pop(next(iter(_FILES)), None)
        file = _FILES[name] = _File(lines)
    return file


def _find(code: CodeType, file: _File) -> tuple[_Function, str] | None:
    """Find the function's part of the tree of its file, and the class that it is in."""
    functions = file.functions
    if code.co_name != _LAMBDA:
        candidates = [
            found
            for found in functions.get(code.co_firstlineno, ())
            if getattr(found[0], "name", None) == code.co_name
        ]
    else:
        # Several may begin in a line. The one whose body has all of the code's places in it, and
        # is inside of others that have.
        places = [place for place in code.co_positions() if _is_somewhere(place)]
        candidates = [
            (node, owner)
            for node, owner in functions.get(code.co_firstlineno, ())
            if isinstance(node, ast.Lambda) and all(_is_in(node.body, each) for each in places)
        ]
        if len(candidates) > 1:
            candidates = [max(candidates, key=lambda found: _place(found[0].body)[::2])]
    return candidates[0] if len(candidates) == 1 else None


def _is_somewhere(place: tuple[int | None, ...]) -> bool:
    """Return whether an instruction has a place; those that begin and end a function have none."""
    return None not in place and place[::2] != place[1::2]


def _is_in(node: Any, place: Any) -> bool:
    line, last_line, column, last_column = _place(node)
    is_after = (place[0], place[2]) >= (line, column)
    return is_after and (place[1], place[3]) <= (last_line, last_column)


def _place(node: Any) -> tuple[int, int, int, int]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


# compiling

_NO_PARAMETERS: dict[str, Any] = (
    {"type_params": []} if "type_params" in ast.FunctionDef._fields else {}
)


def _compiled(
    node: _Function, owner: str, code: CodeType, imported: Sequence[str]
) -> CodeType | None:
    """Return the code object of a function's tree, compiled where its free variables exist."""
    statement: ast.stmt
    if isinstance(node, ast.Lambda):
        bare = ast.copy_location(ast.Lambda(_without_defaults(node.args), node.body), node)
        statement = ast.copy_location(ast.Expr(bare), node)
    else:
        fields: dict[str, Any] = {name: getattr(node, name, None) for name in node._fields}
        fields |= {"args": _without_defaults(node.args), "returns": None}
        fields["decorator_list"] = [  # a function begins at its first decorator's line
            ast.copy_location(ast.Constant(None), each) for each in node.decorator_list
        ]
        if "type_params" in fields:
            fields["type_params"] = []
        statement = ast.copy_location(type(node)(**fields), node)
    if owner:  # for names that are private to it, and `super`
        inside = ast.ClassDef(owner, [], [], [statement], [], **_NO_PARAMETERS)
        statement = ast.copy_location(inside, node)
    body: list[ast.stmt] = [statement]
    bound = getattr(statement, "name", None)  # a name of outside that the function may use
    if bound and bound not in code.co_freevars:
        body.insert(0, ast.copy_location(ast.Global([bound]), node))
    free = [name for name in code.co_freevars if name != "__class__" or not owner]
    arguments = ast.arguments([], [ast.arg(name) for name in free], None, [], [], None, [])
    outside = ast.FunctionDef("outside", arguments, body, [], None, **_NO_PARAMETERS)
    imports = [ast.Import([ast.alias(name)], lineno=1, col_offset=0) for name in imported]
    module = ast.Module([*imports, ast.copy_location(outside, node)], [])
    ast.fix_missing_locations(module)
    try:
        top = compile(module, code.co_filename, "exec", code.co_flags & _FUTURE, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    made = _inside(top, "outside")
    if made is not None and owner:
        made = _inside(made, owner)
    if made is not None:
        made = _inside(made, code.co_name)
    if made is None or not set(made.co_freevars) <= set(code.co_freevars):
        return None
    return made


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_codes(constant)


def _inside(code: CodeType, name: str) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_name == name:
            return constant
    return None


def _without_defaults(arguments: ast.arguments) -> ast.arguments:
    """Return arguments as they are, with nothing in them that would be code of its own."""

    def bare(argument: ast.arg | None) -> ast.arg | None:
        return argument and ast.copy_location(ast.arg(argument.arg), argument)

    none = ast.Constant(None)
    return ast.arguments(
        [bare(each) for each in arguments.posonlyargs],  # type: ignore[misc]
        [bare(each) for each in arguments.args],  # type: ignore[misc]
        bare(arguments.vararg),
        [bare(each) for each in arguments.kwonlyargs],  # type: ignore[misc]
        [each and none for each in arguments.kw_defaults],
        bare(arguments.kwarg),
        [none for _ in arguments.defaults],
    )


def _is_same(one: CodeType, other: CodeType) -> bool:
    """Return whether two code objects do the same, wherever they stand."""
    plain = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars")
    if any(getattr(one, name) != getattr(other, name) for name in plain):
        return False
    if (one.co_flags ^ other.co_flags) & ~_NESTED:
        return False
    pairs = list(zip(one.co_consts, other.co_consts, strict=False))
    return len(one.co_consts) == len(other.co_consts) and all(
        _is_same(a, b)
        if isinstance(a, CodeType) and isinstance(b, CodeType)
        else repr(a) == repr(b)
        for a, b in pairs
    )


def _has_assertions(node: _Function) -> bool:
    """Return whether there is something in it that pytest writes otherwise."""
    return any(isinstance(each, ast.Assert) for each in ast.walk(node))


def _filled(code: CodeType, marks: Mapping[str, Any]) -> CodeType:
    """Return the code with the hooks in place of their marks."""
    constants = tuple(
        _filled(each, marks)
        if isinstance(each, CodeType)
        else marks.get(each, each)
        if type(each) is str
        else each
        for each in code.co_consts
    )
    return code.replace(co_consts=constants)


# rewriting


def _is_ours(node: ast.expr) -> bool:
    """Return whether it is what runs arms, or a choice, of a name that no program has."""
    if isinstance(node, ast.NamedExpr):
        node = node.target
    if isinstance(node, ast.Name):
        return node.id.startswith(".")
    return isinstance(node, ast.Constant) and node.value == ARMS


class _Rewriter(ast.NodeTransformer):
    """Makes a copy of a tree with its calls resolved, and leaves the tree as it is."""

    def __init__(self, hooks: Hooks, outer: frozenset[str]) -> None:
        self._is_thorough = hooks.value is not None
        self._selects = hooks.arms is not None  # what is done in an arm is looked at
        self._outer = outer  # names of outside, but Python's own

    def function(self, node: _Function) -> Any:
        """Return the function, with the body rewritten."""
        if isinstance(node, ast.Lambda):
            return ast.copy_location(ast.Lambda(node.args, self.visit(node.body)), node)
        return copied(node, body=[self.visit(each) for each in node.body])

    def generic_visit(self, node: ast.AST) -> Any:
        return visited(self, node)

    def _call(self, hook: str, node: ast.expr) -> Any:
        function = ast.copy_location(ast.Constant(_MARKS[hook]), node)
        return ast.copy_location(ast.Call(function, [node], []), node)

    def _value(self, node: Any) -> Any:
        return self._call("value", node) if self._is_thorough else node

    def visit_Call(self, node: ast.Call) -> Any:
        arguments = [self.visit(each) for each in node.args]
        keywords = [self.visit(each) for each in node.keywords]
        function = node.func
        if isinstance(function, ast.Attribute) and _is_ours(function.value):
            return copied(node, func=self.generic_visit(function), args=arguments)
        if isinstance(function, ast.Name):
            is_left = function.id in _LEFT_ALONE and not (self._selects and function.id == "print")
            called: Any = function if is_left else self._call("resolve", function)
        elif isinstance(function, ast.Attribute):
            if isinstance(function.value, ast.Name):
                called = function
            else:
                called = copied(function, value=self.visit(function.value))
            is_looked_at = self._is_thorough or self._selects
            if is_looked_at or function.attr not in _PLAIN_METHODS:
                called = self._call("resolve", called)
        else:
            called = self._call("resolve", self.visit(function))
        return self._value(copied(node, func=called, args=arguments, keywords=keywords))

    def visit_Name(self, node: ast.Name) -> Any:
        if isinstance(node.ctx, ast.Load) and node.id in self._outer:
            return self._value(node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        own = self.generic_visit(node)
        return self._value(own) if isinstance(node.ctx, ast.Load) else own

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        own = self.generic_visit(node)
        return self._value(own) if isinstance(node.ctx, ast.Load) else own

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return self._value(self.generic_visit(node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self._value(self.generic_visit(node))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        value = node.value and self.visit(node.value)
        return copied(node, target=self.visit(node.target), value=value)

    def visit_arg(self, node: ast.arg) -> Any:
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        own = self.generic_visit(node)
        if any(isinstance(op, ast.Is | ast.IsNot) for op in own.ops) and any(
            isinstance(each, ast.Constant) and type(each.value) is bool
            for each in (own.left, *own.comparators)
        ):
            own.left = self._call("settled", own.left)
            own.comparators = [self._call("settled", each) for each in own.comparators]
        return own

    def visit_Match(self, node: ast.Match) -> Any:
        own = self.generic_visit(node)
        own.subject = self._call("settled", own.subject)  # of patterns, True is one by identity
        return own

    def visit_match_case(self, node: ast.match_case) -> Any:
        guard = node.guard and self.visit(node.guard)  # patterns are no expressions
        return ast.match_case(node.pattern, guard, [self.visit(each) for each in node.body])
