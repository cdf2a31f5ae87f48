"""What the tutorial's pages draw and tabulate with: graphs as SVG, tables of counts, plots.

Graphviz need not be installed: the graphs here are small, so layers with the variables of
each in the order of what they are computed from are a good drawing. Colours are the
theme's, so that pictures serve light and dark pages.
"""

import html
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import numtape
from numtape.show.graph import Graph, Node

# Sizes in pixels: of a character, a line, the space inside a box, and between boxes.
_CHARACTER, _LINE, _INSIDE, _APART, _BETWEEN_LAYERS = 7.3, 17.0, 9.0, 26.0, 44.0

_COLOURS = {
    "value": "var(--color-foreground-primary, #222)",
    "tangent": "var(--color-brand-content, #0a4bff)",
    "adjoint": "#d1495b",
    "guarded:": "#c77700",
}


# The largest integer that is written out.
_READABLE = 10**12


@dataclass(frozen=True)
class Page:
    """Something that shows as HTML."""

    content: str

    def _repr_html_(self) -> str:
        return self.content


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Page:
    """A table of counts and other short things; floats with six digits."""

    def line(cells: Sequence[Any], tag: str) -> str:
        style = 'style="text-align: left; padding-right: 1.5em; white-space: nowrap"'
        return "".join(f"<{tag} {style}>{html.escape(_text(cell))}</{tag}>" for cell in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return Page(f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>")


def _text(cell: Any) -> str:
    if isinstance(cell, int) and abs(cell) < _READABLE:
        return f"{cell:,}"
    return f"{cell:.6g}" if isinstance(cell, int | float) else str(cell)


def draw(graph: Graph) -> Page:
    """A computational graph, from the arguments at the bottom to the outputs at the top."""
    layers: dict[int, list[Node]] = defaultdict(list)
    sources, users = defaultdict(list), defaultdict(list)
    layer_of = {node.name: node.layer for node in graph.nodes}
    for start, end in graph.edges:
        sources[end].append(start)
        users[start].append(layer_of[end])
    for node in graph.nodes:
        # Arguments stand just below what first uses them.
        if node.kind == "argument" and users[node.name]:
            node = replace(node, layer=min(users[node.name]) - 1)
        layers[node.layer].append(node)
    centres: dict[str, float] = {}
    tops: dict[str, float] = {}
    sizes = {node.name: _size(node) for node in graph.nodes}
    width = max(_width(nodes, sizes) for nodes in layers.values())
    bottom = 0.0
    for number in sorted(layers):
        # Each above the middle of what it is computed from; this keeps edges from crossing.
        nodes = sorted(layers[number], key=lambda node: _middle(sources[node.name], centres))
        left = (width - _width(nodes, sizes)) / 2
        for node in nodes:
            w, h = sizes[node.name]
            centres[node.name] = left + w / 2
            tops[node.name] = bottom - h
            left += w + _APART
        bottom -= max(sizes[node.name][1] for node in nodes) + _BETWEEN_LAYERS
    parts = [_edge(start, end, centres, tops, sizes) for start, end in graph.edges]
    parts += [
        _box(node, centres[node.name], tops[node.name], *sizes[node.name]) for node in graph.nodes
    ]
    height = -bottom - _BETWEEN_LAYERS
    view = f"-4 {-height - 4:.0f} {width + 8:.0f} {height + 8:.0f}"
    return Page(
        f'<svg viewBox="{view}" style="max-width: {width + 8:.0f}px; width: 100%; height: auto" '
        'xmlns="http://www.w3.org/2000/svg" role="img" '
        'font-family="var(--font-stack--monospace, monospace)" font-size="12">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0L8,4L0,8z" fill="#888"/></marker></defs>'
        + "".join(parts)
        + "</svg>"
    )


def _size(node: Node) -> tuple[float, float]:
    widest = max(map(len, node.lines))
    return widest * _CHARACTER + 2 * _INSIDE, len(node.lines) * _LINE + 2 * _INSIDE - 4


def _width(nodes: Sequence[Node], sizes: dict[str, tuple[float, float]]) -> float:
    return sum(sizes[node.name][0] for node in nodes) + _APART * (len(nodes) - 1)


def _middle(names: Sequence[str], centres: dict[str, float]) -> float:
    return sum(centres[name] for name in names) / len(names) if names else 0.0


def _edge(
    start: str,
    end: str,
    centres: dict[str, float],
    tops: dict[str, float],
    sizes: dict[str, tuple[float, float]],
) -> str:
    x, y = centres[start], tops[start]
    to_x, to_y = centres[end], tops[end] + sizes[end][1]
    # Past other layers straight up, where there is room, and over in the last gap.
    gap = min(y, to_y + _BETWEEN_LAYERS)
    bend = (gap - to_y) / 2
    path = f"M{x:.0f},{y:.0f} V{gap:.0f} C{x:.0f},{gap - bend:.0f} {to_x:.0f},{to_y + bend:.0f} "
    return (
        f'<path d="{path}{to_x:.0f},{to_y + 1:.0f}" fill="none" stroke="#888" '
        'stroke-width="1.3" marker-end="url(#arrow)"/>'
    )


def _box(node: Node, centre: float, top: float, width: float, height: float) -> str:
    fill = "var(--color-background-secondary, #f4f4f6)"
    rounding = 0 if node.kind == "argument" else 10
    dashes = ' stroke-dasharray="4 3"' if node.kind == "guard" else ""
    stroke = 2.6 if node.is_output else 1.2
    parts = [
        f'<rect x="{centre - width / 2:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="{rounding}" fill="{fill}" stroke="#888" '
        f'stroke-width="{stroke}"{dashes}/>'
    ]
    for number, line in enumerate(node.lines):
        first = line.split()[0]
        weight = ' font-weight="bold"' if number == 0 else ""
        colour = _COLOURS["value"] if number == 0 else _COLOURS.get(first, _COLOURS["value"])
        y = top + _INSIDE + _LINE * (number + 0.6)
        parts.append(
            f'<text x="{centre:.0f}" y="{y:.0f}" text-anchor="middle"{weight} '
            f'style="fill: {colour}">{html.escape(line)}</text>'
        )
    return "".join(parts)


def function(file: str, name: str) -> Page:
    """A function's source, as it is in the package now."""
    text = (Path(numtape.__file__).parent / file).read_text()
    found = re.search(rf"^(@kernel\n)?def {name}\(.*?(?=\n\n\n)", text, re.M | re.S)
    assert found is not None, f"{name} is no function of {file}"
    return _source(file, text[: found.start()].count("\n") + 1, found[0])


def excerpt(file: str, start: str, lines: int) -> Page:
    """Some lines of a file of the package, from the first with this text."""
    text = (Path(numtape.__file__).parent / file).read_text().splitlines()
    first = next(number for number, line in enumerate(text) if start in line)
    return _source(file, first + 1, "\n".join(text[first : first + lines]))


def _source(file: str, line: int, text: str) -> Page:
    # Here and not at the top, so that this module can be imported without what draws.
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    shown = highlight(inspect.cleandoc("\n" + text), PythonLexer(), HtmlFormatter())
    where = f"<small>numtape/{file}, line {line}</small>"
    return Page(f"{where}{shown}")


def plots() -> Any:
    """Matplotlib's pyplot, set to draw sharply and on any background."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    grey = "#7a7a7a"
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.4),
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": grey,
            "axes.labelcolor": grey,
            "axes.titlecolor": grey,
            "xtick.color": grey,
            "ytick.color": grey,
            "text.color": grey,
            "legend.frameon": False,
            "font.size": 10,
            "lines.linewidth": 1.8,
            "svg.hashsalt": "numtape",  # the same picture at every build
        }
    )
    return plt


def _set_up() -> None:
    """In the kernel of a page: floats without their types, cells with names that stay."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        np.set_printoptions(legacy="1.25")
        shell.compile.get_code_name = lambda _, __, number: f"cell-{number}.py"


_set_up()
