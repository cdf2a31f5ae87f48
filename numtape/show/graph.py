"""Computational graphs: what is computed from what, as Graphviz DOT and as SVG."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.errors import UnsupportedError
from numtape.show.tables import number_text
from numtape.show.wengert import WengertList
from numtape.tape.text import shape_text

__all__ = ["Graph", "Node", "graph"]

Floats = npt.NDArray[np.float64]

_SHAPES = {
    "argument": "shape=box",
    "operation": "shape=box style=rounded",
    "guard": 'shape=box style="rounded,dashed"',
}


@dataclass(frozen=True)
class Node:
    """A variable of a graph.

    Attributes
    ----------
    name : str
        ``x``, ``x1``, ... for the arguments, ``v1``, ``v2``, ... for what is computed.
    kind : {"argument", "operation", "guard"}
    lines : tuple of str
        What is written in it: the variable and its expression, and below it the numbers
        that were asked for.
    is_output : bool
    layer : int
        The length of the longest way to it from an argument.
    location : str
        Of a guard, where in the source.
    """

    name: str
    kind: str
    lines: tuple[str, ...]
    is_output: bool
    layer: int
    location: str = ""


@dataclass(frozen=True)
class Graph:
    """A computational graph; ``str(graph)`` is DOT text, and notebooks show the drawing.

    Attributes
    ----------
    nodes : tuple of Node
        The arguments, then one for each instruction.
    edges : tuple of (str, str)
        From an operand's name to the name of what is computed from it, each once.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = ["digraph tape {", '  rankdir="BT"', '  node [fontname="monospace"]']
        for node in self.nodes:
            label = "\\n".join(_escaped(line) for line in node.lines)
            marks = " peripheries=2" if node.is_output else ""
            marks += f' tooltip="{_escaped(node.location)}"' if node.location else ""
            lines.append(f'  {node.name} [label="{label}" {_SHAPES[node.kind]}{marks}]')
        lines += [f"  {start} -> {end}" for start, end in self.edges]
        return "\n".join([*lines, "}"])

    def __repr__(self) -> str:
        return f"<Graph: {len(self.nodes)} nodes, {len(self.edges)} edges>"

    def svg(self) -> str:
        """Return the drawing, made by Graphviz' program ``dot``.

        Raises
        ------
        UnsupportedError
            Where that program is not installed.

        Examples
        --------
        >>> import numtape as nt
        >>> graph = nt.record(lambda x: x * x, 2.0).graph()
        >>> drawing = graph.svg() if shutil.which("dot") else "<svg></svg>"
        >>> "</svg>" in drawing
        True
        """
        program = shutil.which("dot")
        if program is None:
            raise UnsupportedError(
                "an SVG drawing was asked for, and the program 'dot' is not on the PATH: Graphviz "
                "lays graphs out. Install it (Debian: apt-get install graphviz), or pass the text "
                "str(graph) to any program that reads DOT"
            )
        drawn = subprocess.run(
            [program, "-Tsvg"], input=str(self), capture_output=True, text=True, check=True
        )
        return drawn.stdout

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return for notebooks the drawing where it can be made, and the DOT text."""
        shown = {"text/plain": str(self)}
        if shutil.which("dot"):
            shown["image/svg+xml"] = self.svg()
        return shown


def graph(wengert: WengertList, numbers: Sequence[tuple[str, Floats]], digits: int) -> Graph:
    """Return the graph of a Wengert list.

    Parameters
    ----------
    wengert : WengertList
    numbers : sequence of (label, array)
        What to write in the nodes: numbers of all slots.
    digits : int
    """
    variables = wengert.variables
    layers: list[int] = []
    nodes, edges = [], []
    for number, variable in enumerate(variables):
        every = [owner for slots in variable.operands for owner in wengert.owners(slots)]
        owners = list(dict.fromkeys(every))
        layers.append(max((layers[owner] + 1 for owner in owners), default=0))
        edges += [(variables[owner].name, variable.name) for owner in owners]
        guard = wengert.guard_of(variable)
        title = variable.name + (f" = {variable.expression}" if variable.expression else "")
        lines = [title] + ([shape_text(variable.shape)] if variable.shape else [])
        if guard is not None:
            lines.append(f"guarded: {guard.outcome:g}")
        for label, values in numbers:
            found = values[variable.slots] if variable.shape else float(values[variable.start])
            lines.append(f"{label} {number_text(found, digits)}")
        kind = "argument" if number < len(wengert.inputs) else "operation"
        nodes.append(
            Node(
                variable.name,
                "guard" if guard is not None else kind,
                tuple(lines),
                number in wengert.outputs,
                layers[-1],
                "" if guard is None else str(guard.location),
            )
        )
    return Graph(tuple(nodes), tuple(edges))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
