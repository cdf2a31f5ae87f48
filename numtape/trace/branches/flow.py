"""What statements read before they assign it: which variables are read later.

Loops may run not at all, so they assign nothing for sure.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numtape.trace.branches.trees import Choice, Loop, loaded, stored

__all__ = ["Flow", "Flows"]


@dataclass(frozen=True)
class Flow:
    """What a statement reads before it assigns it, and what it assigns in any case."""

    reads: frozenset[str] = frozenset()
    assigns: frozenset[str] = frozenset()

    def before(self, later: frozenset[str]) -> frozenset[str]:
        """Return the names that are read from here on, given those read afterwards."""
        return self.reads | (later - self.assigns)


class Flows:
    """The flow of statements, each found once."""

    def __init__(self) -> None:
        self._known: dict[Any, Flow] = {}

    def of(self, node: Any) -> Flow:
        """Return that of a statement."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._found(node)
        return found

    def _found(self, node: Any) -> Flow:
        if isinstance(node, Choice | ast.If):
            then, other = self.of_all(node.body), self.of_all(node.orelse)
            found = frozenset(loaded(node.test)) | then.reads | other.reads
            return Flow(found, then.assigns & other.assigns)
        if isinstance(node, Loop):
            inside = self.of_all(node.body)
            return Flow(inside.reads | loaded(node.source) - {node.item} | {node.go})
        if isinstance(node, ast.For):
            inside = self.of_all(node.body)
            own = stored([node.target])
            reads = loaded(node.iter, node.target) | (inside.reads - own)
            return Flow(frozenset(reads | self.of_all(node.orelse).reads))
        if isinstance(node, ast.With):
            inside = self.of_all(node.body)
            return Flow(frozenset(loaded(*node.items)) | inside.reads)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigns = stored(targets) if node.value is not None else set()
            return Flow(frozenset(loaded(node)), frozenset(assigns))
        if isinstance(node, ast.AugAssign):
            return Flow(frozenset(loaded(node) | stored([node.target])))
        return Flow(frozenset(loaded(node) | _read_within(node)))

    def of_all(self, statements: Sequence[Any]) -> Flow:
        """Return that of statements one after the other."""
        reads: frozenset[str] = frozenset()
        assigns: frozenset[str] = frozenset()
        for each in reversed(statements):
            flow = self.of(each)
            reads = flow.before(reads)
            assigns |= flow.assigns
        return Flow(reads, assigns)


def _read_within(node: ast.AST) -> set[str]:
    """Return what augmented assignments in a statement read."""
    return {
        each.target.id
        for each in ast.walk(node)
        if isinstance(each, ast.AugAssign) and isinstance(each.target, ast.Name)
    }
