"""Trace tables: a Wengert list with its values, tangents or adjoints, as text and as HTML."""

import html
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.show.wengert import Variable, WengertList
from numtape.tape.text import shape_text

__all__ = ["MODES", "TraceRow", "TraceTable", "number_text", "trace_table"]

Floats = npt.NDArray[np.float64]

# What a table shows beside the values.
MODES = ("primal", "tangent", "adjoint")

# Of the cells in notebooks.
_STYLE = "text-align: left; white-space: nowrap; padding-right: 1.5em"

# Longer partials are cut.
_WIDEST = 36


@dataclass(frozen=True)
class TraceRow:
    """One variable of a trace.

    Attributes
    ----------
    name : str
        ``x``, ``x1``, ... for the arguments, ``v1``, ``v2``, ... for what is computed.
    expression : str
        What it is computed by; empty for an argument.
    partials : str
        The derivatives of that by each operand, where the operation is elementwise.
    value : float or array
    tangent, adjoint : float, array or None
        In the table of that mode.
    """

    name: str
    expression: str
    partials: str
    value: float | Floats
    tangent: float | Floats | None = None
    adjoint: float | Floats | None = None


@dataclass(frozen=True)
class TraceTable:
    """A Wengert list with its trace; prints as text, and as HTML in notebooks.

    Attributes
    ----------
    mode : {"primal", "tangent", "adjoint"}
    rows : tuple of TraceRow
        The arguments, then one for each instruction. ``table["v3"]`` is the row of v3.
    notes : tuple of str
        Which variables are outputs, and what is guarded.
    digits : int
        How many significant digits are shown. The rows have all of them.
    """

    mode: str
    rows: tuple[TraceRow, ...]
    notes: tuple[str, ...]
    digits: int = 10

    def __getitem__(self, name: str) -> TraceRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(
            f"{name!r} is no variable of this trace: they are {self.rows[0].name} to "
            f"{self.rows[-1].name}. Print the table to see them"
        )

    def cells(self) -> list[list[str]]:
        """Return the texts of the table, the head first."""
        has_shapes = any(np.shape(row.value) for row in self.rows)
        head = ["variable", "expression"]
        head += ["shape"] if has_shapes else []
        head += ["value"] if self.mode == "primal" else ["value", self.mode, "partials"]
        cells = [head]
        for row in self.rows:
            texts = [row.name, row.expression]
            texts += [shape_text(np.shape(row.value))] if has_shapes else []
            texts.append(number_text(row.value, self.digits))
            if self.mode != "primal":
                derivative = row.tangent if self.mode == "tangent" else row.adjoint
                assert derivative is not None
                texts += [number_text(derivative, self.digits), row.partials]
            cells.append(texts)
        return cells

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()
            for texts in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        head, *body = self.cells()

        def line(texts: list[str], tag: str) -> str:
            cells = "".join(
                f'<{tag} style="{_STYLE}">{html.escape(text)}</{tag}>' for text in texts
            )
            return f"<tr>{cells}</tr>"

        rows = "".join(line(texts, "td") for texts in body)
        notes = "<br>".join(html.escape(note) for note in self.notes)
        return (
            f"<table><thead>{line(head, 'th')}</thead><tbody>{rows}</tbody></table><p>{notes}</p>"
        )


def trace_table(
    wengert: WengertList, mode: str, values: Floats, derivatives: Floats | None, digits: int
) -> TraceTable:
    """Return the table of a trace, from the numbers of all slots of a run."""
    rows = []
    for variable in wengert.variables:
        derivative = None if derivatives is None else _of(derivatives, variable)
        rows.append(
            TraceRow(
                variable.name,
                variable.expression,
                _partials(wengert, variable),
                _of(values, variable),
                derivative if mode == "tangent" else None,
                derivative if mode == "adjoint" else None,
            )
        )
    notes = [f"outputs: {_outputs(wengert)}"]
    for variable in wengert.variables:
        guard = wengert.guard_of(variable)
        if guard is not None:
            notes.append(f"guarded: {variable.name} == {guard.outcome:g} at {guard.location}")
    return TraceTable(mode, tuple(rows), tuple(notes), digits)


def number_text(value: float | Floats, digits: int) -> str:
    """Write a number, or the ends of an array of them, in one line."""
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{float(array):.{digits}g}"
    digits = min(digits, 6)
    text = np.array2string(
        array.ravel(),
        threshold=6,
        edgeitems=2,
        max_line_width=10_000,
        formatter={"float_kind": lambda number: f"{number:.{digits}g}"},
    )
    return text


def _of(numbers: Floats, variable: Variable) -> float | Floats:
    found: Floats = numbers[variable.slots]
    return found if variable.shape else float(found)


def _outputs(wengert: WengertList) -> str:
    outputs = wengert.tape.outputs
    if len(outputs) <= 8:
        return " ".join(wengert.name(slot) for slot in outputs.tolist())
    return wengert.text(outputs)


def _partials(wengert: WengertList, variable: Variable) -> str:
    """Return the partials by operands that are no constants."""
    parts = []
    for slots, partial in zip(variable.operands, variable.partials, strict=False):
        if wengert.owners(slots):
            text = partial if len(partial) <= _WIDEST else partial[: _WIDEST - 3] + "..."
            parts.append(f"by {wengert.text(slots)}: {text}")
    return "; ".join(parts)
