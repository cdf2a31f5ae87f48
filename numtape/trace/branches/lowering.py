"""Tests on traced values as selections: a function's tree, rewritten so that both arms run.

Where a test turns out to be traced, ``if``, loops, ``a if c else b``, ``and``, ``or`` and ``not``
run either way from the same state, and what the arms leave behind is selected element by element
(`arms.py` does that while a function is recorded). A test on plain values is a branch as ever. A
statement becomes, in place and without inner functions::

    choice = choice(test, site, (x, y))
    if choice.first: <then>
    x, y = choice.turn((x, y))
    if choice.second: <else>
    x, y = choice.end((x, y), (True, False))

for the names that the arms assign, and whether each is read later. Jumps become flags first:
``return``, ``break`` and ``continue`` in an arm set one, and what follows is in the other arm, or
asks the flag; a loop that is left by a flag goes on with a test of it.

Here is the tree alone: nothing is executed. What may not be written otherwise is left as it is,
and its tests are guarded: generators, functions that assign to globals, ``try`` and ``match``,
loops with an ``else``. Where such code would run in an arm, it says so first (`opaque`).
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numtape.trace.branches.expressions import Expressions
from numtape.trace.branches.flow import Flows
from numtape.trace.branches.trees import (
    SCOPES,
    Choice,
    Loop,
    Names,
    Tested,
    all_assigned,
    assigned,
    call,
    copied,
    method_call,
    own_nodes,
    own_nodes_of_loop,
    placed_at,
    read,
    site_of,
    stored,
    tuple_of,
    variables,
)

__all__ = ["lowered"]

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# What runs as it is written.
_OPAQUE: tuple[Any, ...] = (ast.Try, ast.Match, ast.ClassDef, ast.AsyncFunctionDef, ast.Delete)
_OPAQUE += (ast.Import, ast.ImportFrom, ast.AsyncFor, ast.AsyncWith)
_OPAQUE += (ast.TryStar,) if hasattr(ast, "TryStar") else ()

_RESULT, _RETURNED = ".result", ".returned"


def lowered(node: Function, file: str) -> Any:
    """Return a function's tree with its tests on traced values as selections.

    Parameters
    ----------
    node : function or lambda of a tree
        It is left as it is.
    file : str
        By which sites are known.

    Returns
    -------
    tree
    """
    if isinstance(node, ast.Lambda):
        return copied(node, body=Expressions(file).visit(node.body))
    left_alone = (ast.Yield, ast.YieldFrom, ast.Await, ast.Global)
    if isinstance(node, ast.AsyncFunctionDef) or any(
        isinstance(each, left_alone) for each in own_nodes(node.body)
    ):
        return copied(node, body=[*placed_at([ast.Expr(call("opaque"))], node.body[0]), *node.body])
    return _Lowering(node, file).function()


@dataclass(frozen=True)
class _Jumps:
    """Where ``break`` and ``continue`` lead: the flags of the loop, or real jumps."""

    leave: str | None = None
    skip: str | None = None


class _Lowering:
    """One function: first jumps become flags (`_block`), then tests become choices (`_written`)."""

    def __init__(self, node: ast.FunctionDef, file: str) -> None:
        self._node = node
        self._file = file
        self._names = Names()
        self._flows = Flows()
        inner = [
            each
            for part in node.body
            for each in ast.walk(part)
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ]
        own = list(own_nodes(node.body))
        outer = {n for each in own if isinstance(each, ast.Nonlocal) for n in each.names}
        self._outer = frozenset(outer)
        # What functions inside read may be read whenever one is called; what they assign, too.
        read_inside = {each.id for f in inner for each in ast.walk(f) if isinstance(each, ast.Name)}
        self._always = frozenset(read_inside | outer)
        given = {
            n
            for f in inner
            for each in ast.walk(f)
            if isinstance(each, ast.Nonlocal)
            for n in each.names
        }
        self._assigned_inside = frozenset(given & stored(node.body))
        self._expressions = Expressions(file)

    def function(self) -> Any:
        """Return the function, rewritten."""
        node = self._node
        body, _ = self._block(node.body, _Jumps())
        written = self._written_block(body, frozenset({_RESULT, _RETURNED}) | self._outer)
        parameters = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        own = variables(written) - parameters - self._outer
        start: list[ast.stmt] = [
            assigned(name, ast.Constant(False) if name == _RETURNED else call("unset"))
            for name in sorted(own)
        ]
        first = [each for each in written if isinstance(each, ast.Nonlocal)]
        rest = [each for each in written if not isinstance(each, ast.Nonlocal)]
        end: list[ast.stmt] = []
        if _RESULT in own:
            end = [ast.Return(call("result", read(_RESULT), read(_RETURNED)))]
        where = node.body[0]
        made = copied(
            node, body=[*first, *placed_at(start, where), *rest, *placed_at(end, node.body[-1])]
        )
        ast.fix_missing_locations(made)
        return made

    # jumps as flags: statements, and the flags that they may set

    def _block(self, statements: Sequence[ast.stmt], jumps: _Jumps) -> tuple[list[Any], set[str]]:
        done: list[Any] = []
        flags: set[str] = set()
        for number, each in enumerate(statements):
            rest = statements[number + 1 :]
            made, found, is_end = self._statement(each, rest, jumps)
            done += made
            flags |= found
            if is_end:
                return done, flags
            if found and rest:
                following, more = self._block(rest, jumps)
                if following:
                    test = call("none", *map(read, sorted(found)))
                    if _stays(rest, jumps):
                        done += placed_at([ast.If(test, following, [])], rest[0])
                    else:
                        done.append(self._choice(test, following, [], rest[0]))
                return done, flags | more
        return done, flags

    def _statement(
        self, node: Any, rest: Sequence[ast.stmt], jumps: _Jumps
    ) -> tuple[list[Any], set[str], bool]:
        """Return a statement's own, the flags it may set, and whether it is the block's last."""
        if isinstance(node, ast.Return):
            value = node.value or ast.Constant(None)
            made = [assigned(_RESULT, value), assigned(_RETURNED, ast.Constant(True))]
            return placed_at(made, node), {_RETURNED}, True
        if isinstance(node, ast.Break | ast.Continue):
            flag = jumps.leave if isinstance(node, ast.Break) else jumps.skip
            if flag is None:
                return [node], set(), True
            return placed_at([assigned(flag, ast.Constant(True))], node), {flag}, True
        if isinstance(node, ast.If):
            return self._if(node, rest, jumps)
        if isinstance(node, ast.For | ast.While):
            return *self._loop(node, jumps), False
        if isinstance(node, ast.With):
            body, flags = self._block(node.body, jumps)
            return [copied(node, body=body)], flags, False
        return [node], set(), False

    def _if(
        self, node: ast.If, rest: Sequence[ast.stmt], jumps: _Jumps
    ) -> tuple[list[Any], set[str], bool]:
        ends = _always_jumps(node.body), _always_jumps(node.orelse)
        takes_rest = bool(rest) and ends[0] != ends[1]
        if _stays([*node.body, *node.orelse, *(rest if takes_rest else ())], jumps):
            then, first = self._block(node.body, jumps)
            other, second = self._block(node.orelse, jumps)
            made = copied(node, body=then or [ast.Pass()], orelse=other)
            return [made], first | second, False
        if takes_rest:  # what follows is in the arm that goes on
            then, first = self._block([*node.body, *(() if ends[0] else rest)], jumps)
            other, second = self._block([*node.orelse, *(() if ends[1] else rest)], jumps)
        else:
            then, first = self._block(node.body, jumps)
            other, second = self._block(node.orelse, jumps)
        choice = self._choice(node.test, then, other, node)
        return [choice], first | second, takes_rest or all(ends)

    def _choice(self, test: ast.expr, then: list[Any], other: list[Any], at: ast.AST) -> Choice:
        made = Choice(test, then or [ast.Pass()], other)
        ast.copy_location(made, at)
        for each in (*made.body, *made.orelse):
            if not hasattr(each, "lineno"):
                ast.copy_location(each, at)
        return made

    def _loop(self, node: ast.For | ast.While, outer: _Jumps) -> tuple[list[Any], set[str]]:
        if node.orelse or _has_real_jumps(node.body):
            body, flags = self._block(node.body, _Jumps())
            other, more = self._block(node.orelse, outer)
            if flags:  # a return inside, which is real there
                return [node], set()
            return [copied(node, body=body, orelse=other)], more
        leave, skip, go = (self._names.new(what) for what in ("leave", "skip", "go"))
        body, flags = self._block(node.body, _Jumps(leave, skip))
        before = [assigned(flag, ast.Constant(False)) for flag in (leave,) if flag in flags]
        begin: list[Any] = [
            assigned(flag, ast.Constant(False)) for flag in (skip,) if flag in flags
        ]
        ending = flags - {skip}
        item, head, source = self._names.new("item"), [], None
        if isinstance(node, ast.While):
            tested = [assigned(go, call("truth", Tested(node.test)))]
            head = [self._choice(read(go), placed_at(tested, node), [], node)]
        elif ending:
            source = node.iter
            begin.append(ast.Assign([node.target], read(item)))
        else:
            return [copied(node, body=[*placed_at(begin, node), *body])], set()
        end = [assigned(go, call("none", *map(read, sorted(ending))))] if ending else []
        step = self._choice(
            read(go), [*placed_at(begin, node), *body, *placed_at(end, node)], [], node
        )
        loop = Loop(source, [*head, step], go, item, len(head))
        ast.copy_location(loop, node)
        return [*placed_at([*before, assigned(go, ast.Constant(True))], node), loop], ending - {
            leave
        }

    # tests as choices

    def _written_block(self, statements: Sequence[Any], later: frozenset[str]) -> list[Any]:
        after = [later]
        for each in reversed(statements):
            after.append(self._flows.of(each).before(after[-1]))
        after.reverse()
        made: list[Any] = []
        for each, following in zip(statements, after[1:], strict=True):
            made += placed_at(self._written(each, following), each)
        return made

    def _written(self, node: Any, later: frozenset[str]) -> list[Any]:
        """Return what a statement becomes, given the names that are read afterwards."""
        if isinstance(node, Choice):
            return self._written_choice(node, later)
        if isinstance(node, Loop):
            return self._written_loop(node, later)
        expression = self._expressions.visit
        if isinstance(node, ast.For | ast.While):
            around = later | self._flows.of(node).reads
            inside = around | self._flows.of_all(node.body).reads
            other = self._written_block(node.orelse, later)
            body = self._written_block(node.body, inside)
            if isinstance(node, ast.While):
                return [copied(node, test=expression(node.test), body=body, orelse=other)]
            target, source = self._target(node.target), expression(node.iter)
            return [copied(node, target=target, iter=source, body=body, orelse=other)]
        if isinstance(node, ast.If):
            then, other = (self._written_block(arm, later) for arm in (node.body, node.orelse))
            return [copied(node, test=expression(node.test), body=then, orelse=other)]
        if isinstance(node, ast.With):
            items = [
                copied(each, context_expr=call("context", expression(each.context_expr)))
                for each in node.items
            ]
            return [copied(node, items=items, body=self._written_block(node.body, later))]
        if isinstance(node, ast.FunctionDef):
            return [lowered(node, self._file)]
        if isinstance(node, ast.Assign):
            targets = [self._target(each) for each in node.targets]
            return [copied(node, targets=targets, value=expression(node.value))]
        if isinstance(node, ast.AnnAssign):
            value = node.value and expression(node.value)
            return [copied(node, target=self._target(node.target), value=value)]
        if isinstance(node, ast.AugAssign):
            made = copied(node, target=self._target(node.target), value=expression(node.value))
            if isinstance(node.target, ast.Name):  # what it names may be changed in place
                return [ast.Expr(call("touch", read(node.target.id))), made]
            return [made]
        if isinstance(node, _OPAQUE):
            return [ast.Expr(call("opaque")), node]
        return [expression(node)]

    def _target(self, node: Any) -> Any:
        """Return what is assigned to; of parts of something, that is told first."""
        if isinstance(node, ast.Subscript):
            value = self._expressions.visit(node.value)
            key = self._expressions.visit(node.slice)
            return copied(node, value=call("touch", value), slice=key)
        if isinstance(node, ast.Attribute):
            value = self._expressions.visit(node.value)
            return copied(node, value=call("touch_attribute", value, ast.Constant(node.attr)))
        if isinstance(node, ast.Tuple | ast.List):
            return copied(node, elts=[self._target(each) for each in node.elts])
        if isinstance(node, ast.Starred):
            return copied(node, value=self._target(node.value))
        return node

    def _written_choice(self, node: Choice, later: frozenset[str]) -> list[Any]:
        choice = self._names.new("choice")
        names = sorted(variables([*node.body, *node.orelse]) | self._assigned_inside)
        then = self._written_block(node.body, later)
        other = self._written_block(node.orelse, later)
        test = self._expressions.tested(node.test)
        state = tuple_of(names)
        made: list[Any] = [
            assigned(choice, call("choice", test, site_of(self._file, node), state)),
            ast.If(ast.Attribute(read(choice), "first", ast.Load()), then, []),
        ]
        if other:
            turned = method_call(choice, "turn", state)
            made += [
                all_assigned(names, turned),
                ast.If(ast.Attribute(read(choice), "second", ast.Load()), other, []),
            ]
        always = self._always | self._assigned_inside
        # (Whether there is a result is told by a flag.)
        is_read: list[ast.expr] = [
            ast.Constant(None if name == _RESULT else name in later or name in always)
            for name in names
        ]
        ended = method_call(choice, "end", state, ast.Tuple(is_read, ast.Load()))
        return [*made, all_assigned(names, ended)]

    def _written_loop(self, node: Loop, later: frozenset[str]) -> list[Any]:
        inside = later | self._flows.of_all(node.body).reads | {node.go}
        loop = self._names.new("loop")
        is_kept = isinstance(node.source, ast.Name | ast.Attribute | ast.Subscript)
        site = site_of(self._file, node)
        head = self._written_block(
            node.body[: node.head],
            inside | self._flows.of_all(node.body[node.head :]).reads,
        )
        rest = self._written_block(node.body[node.head :], inside)
        leave = ast.If(method_call(loop, "is_over", read(node.go)), [ast.Break()], [])
        if node.source is None:
            begin = assigned(loop, call("loop", site))
            return [begin, ast.While(ast.Constant(True), [*head, leave, *rest], [])]
        items = self._expressions.visit(node.source)
        begin = assigned(loop, call("loop", site, items, ast.Constant(is_kept)))
        target = ast.Name(node.item, ast.Store())
        source = ast.Attribute(read(loop), "items", ast.Load())
        # (It is asked before the next element is taken.)
        return [begin, ast.For(target, source, [*rest, leave], [])]


def _stays(arms: Sequence[ast.stmt], jumps: _Jumps) -> bool:
    """Return whether a test is no selection: an arm raises, or has what runs as it is written."""
    if any(isinstance(each, (ast.Raise, *_OPAQUE)) for each in arms) or _has_real_jumps(arms):
        return True
    if jumps.leave is not None:
        return False
    return any(isinstance(each, ast.Break | ast.Continue) for each in own_nodes_of_loop(arms))


def _has_real_jumps(statements: Sequence[ast.stmt]) -> bool:
    """Return whether there are jumps that flags do not replace."""
    return any(
        (isinstance(each, _OPAQUE) and _has_own_jump(ast.iter_child_nodes(each)))
        or (
            isinstance(each, ast.For | ast.While)
            and bool(each.orelse)
            and _has_own_jump(ast.iter_child_nodes(each), True)
        )
        for each in own_nodes(statements)
    )


def _has_own_jump(nodes: Iterable[ast.AST], in_loop: bool = False) -> bool:
    """Return whether statements leave what they are in by a jump."""
    for node in nodes:
        if isinstance(node, ast.Return):
            return True
        if isinstance(node, ast.Break | ast.Continue) and not in_loop:
            return True
        if isinstance(node, SCOPES):
            continue
        inside = in_loop or isinstance(node, ast.For | ast.While)
        if _has_own_jump(ast.iter_child_nodes(node), inside):
            return True
    return False


def _always_jumps(statements: Sequence[ast.stmt]) -> bool:
    return any(
        isinstance(each, ast.Return | ast.Break | ast.Continue)
        or (isinstance(each, ast.If) and _always_jumps(each.body) and _always_jumps(each.orelse))
        for each in statements
    )
