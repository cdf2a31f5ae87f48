"""The drawing of the whole machine, in `docs/_static/machine.svg`.

    python docs/drawings.py

writes it anew. Every box names the part of the source that it stands for;
`tests/test_docs.py` checks that the parts exist, that no package is missing, and that
the file is what this script writes.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

TARGET = Path(__file__).parent / "_static" / "machine.svg"

WIDTH, HEIGHT = 960, 794
INK, LINE, PAPER, FILL, ACCENT = "#1f2933", "#52606d", "#ffffff", "#f0f4f8", "#0b69a3"


@dataclass(frozen=True)
class Box:
    """A part of the machine: where it is drawn, what it does, and where its source is."""

    x: int
    y: int
    width: int
    title: str
    lines: tuple[str, ...]
    source: str = ""
    height: int = 96


@dataclass(frozen=True)
class Arrow:
    """A way through the machine: corners, and a label with its place."""

    corners: tuple[tuple[int, int], ...]
    label: str
    at: tuple[int, int]
    anchor: str = "middle"


BOXES = (
    Box(
        20,
        20,
        920,
        "What you call",
        (
            "grad, jacobian, hessian, jvp, vjp, vmap, record",
            "a call is split into leaves and a signature; a trie of paths finds the tape; "
            "the tape's runner picks the way",
        ),
        "numtape/functions",
        80,
    ),
    Box(20, 190, 150, "Your function", ("plain NumPy: loops,", "branches, arrays")),
    Box(
        230,
        190,
        190,
        "Recording",
        ("slots beside values;", "NumPy works on the slots"),
        "numtape/trace",
    ),
    Box(
        480, 190, 190, "The tape", ("(opcode, a, b) in rows,", "constants, guards"), "numtape/tape"
    ),
    Box(
        740,
        190,
        200,
        "Transforms",
        ("derivatives as tapes,", "folding, sharing"),
        "numtape/transform",
    ),
    Box(
        740,
        380,
        200,
        "Plan and workspace",
        ("a place for each slot;", "the memory of a thread"),
        "numtape/run/workspace.py",
    ),
    Box(
        480,
        380,
        190,
        "Kernels",
        ("evaluate, sweeps, lanes:", "compiled once, by Numba"),
        "numtape/run/_kernels.py",
    ),
    Box(20, 380, 150, "Results", ("values, derivatives,", "or a guard's number")),
    Box(
        20,
        530,
        150,
        "Sparse matrices",
        ("nonzeros as outputs", "of a tape"),
        "numtape/sparse",
    ),
    Box(
        230,
        530,
        190,
        "To read a tape",
        ("tables of traces, graphs,", "formulas"),
        "numtape/show",
        96,
    ),
    Box(
        480,
        530,
        190,
        "Loops",
        ("NumPy's and SciPy's own,", "by address"),
        "numtape/run/loops.py",
        96,
    ),
    Box(
        740,
        530,
        200,
        "Vector mathematics",
        ("exp, sin, ... for lanes", "and derivatives"),
        "numtape/run/vector_maths.py",
        96,
    ),
    Box(
        20,
        654,
        920,
        "One row for each operation",
        ("opcode, kernels, recording, derivatives, printing, tests: all read the table",),
        "numtape/ops",
        54,
    ),
    Box(
        20,
        720,
        920,
        "One module for each kind of array operation",
        ("shapes, checks, text, derivatives, words for the kernels: all ask the kind",),
        "numtape/kinds",
        54,
    ),
)

ARROWS = (
    Arrow(((95, 100), (95, 190)), "at a new signature or path", (104, 150), "start"),
    Arrow(((170, 238), (230, 238)), "once", (200, 230)),
    Arrow(((420, 238), (480, 238)), "writes", (450, 230)),
    Arrow(((670, 226), (740, 226)), "reads", (705, 218)),
    Arrow(((740, 256), (670, 256)), "a tape", (705, 274)),
    Arrow(((575, 286), (575, 330), (840, 330), (840, 380)), "is made ready", (708, 322)),
    Arrow(((740, 428), (670, 428)), "address", (705, 420)),
    Arrow(((480, 428), (170, 428)), "each later point", (325, 420)),
    Arrow(
        ((525, 380), (525, 330), (325, 330), (325, 286)), "a guard fails: record here", (424, 322)
    ),
    Arrow(((575, 476), (575, 530)), "call", (584, 508), "start"),
    Arrow(((640, 476), (640, 502), (840, 502), (840, 530)), "call", (740, 496)),
)


def svg() -> str:
    """The drawing, readable on light and dark pages."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="14" role="img" '
        f'aria-label="How a function becomes a tape and a tape is run">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>',
    ]
    for arrow in ARROWS:
        corners = " ".join(f"{x},{y}" for x, y in arrow.corners)
        parts.append(
            f'<polyline points="{corners}" fill="none" stroke="{LINE}" stroke-width="1.5" '
            'marker-end="url(#head)"/>'
        )
        parts.append(_text(*arrow.at, arrow.label, LINE, 12, arrow.anchor))
    for box in BOXES:
        parts.append(
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
            f'fill="{FILL}" stroke="{LINE}"/>'
        )
        middle = box.x + box.width // 2
        wide = box.width > 400
        parts.append(_text(middle, box.y + 22, box.title, INK, 15, weight="600"))
        for number, line in enumerate(box.lines):
            parts.append(_text(middle, box.y + 42 + 18 * number, line, INK, 13))
        if box.source and wide:
            end = box.x + box.width - 12
            parts.append(_text(end, box.y + 22, box.source, ACCENT, 12, "end"))
        elif box.source:
            parts.append(_text(middle, box.y + box.height - 8, box.source, ACCENT, 12))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(
    x: int,
    y: int,
    text: str,
    color: str,
    size: int,
    anchor: str = "middle",
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{color}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    TARGET.write_text(svg(), encoding="utf-8")
