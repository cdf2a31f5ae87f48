"""Vector instructions as the kernels read them, form by form.

The words of each kind are written by its module in `numtape/kinds`; here is what they have in
common, and how the words of all instructions are put together: those of a form are copied for
each instruction, and the places of its views are put in.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS
from numtape.ops.structured import FIRST_FUNCTION
from numtape.ops.table import load_ufunc
from numtape.run import _kernels
from numtape.run.loops import CALLS
from numtape.run.memory import Places
from numtape.run.strips import Strips
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape
from numtape.tape.forms import Form
from numtape.tape.instruction import View, contiguous_strides, joined

__all__ = ["Encoded", "segments_of"]

Ints = npt.NDArray[np.int64]

_NOTHING = np.zeros(0, np.int64)

# Opcodes are below, also of vector maths, which has twice as many.
_OPCODES = 1 << 20


class Encoded:
    """Vector instructions as the kernels read them.

    Instructions that differ in the bases of their views only are encoded once.

    Attributes
    ----------
    words, gathers : int64 array
        See the kernels' docstrings for the order of the words of each kind.
    parts : int64 array
        How many encoded instructions each makes: a function may need several, and what runs
        strip by strip has none of its own.
    offsets, starts : int64 array
        Of each of these where in the result it writes, and where its words are.
    groups : int64 array
        Where the words of each group are that runs strip by strip.
    bodies : list of Body
        Those of loops, as words number them.
    """

    def __init__(self, tape: FlatTape, places: Places, opcodes: Ints, strips: Strips) -> None:
        encoder = _Encoder(places)
        is_vector = tape.code[:, 0] == VECTOR
        is_alone = strips.group_of(tape.instructions)[is_vector] < 0
        vectors = tape.vectors.chosen(is_alone)
        each = vectors.which * _OPCODES + opcodes[is_alone]
        keys, which = np.unique(each, return_inverse=True)
        forms = [
            encoder.form(vectors.forms[number], opcode)
            for number, opcode in (divmod(key, _OPCODES) for key in keys.tolist())
        ]
        self.gathers = np.concatenate([_NOTHING, *encoder.gathers])
        self.bodies = list(encoder.bodies)
        self.words, sizes = _strung([form.words for form in forms], which)
        self.parts = np.zeros(len(is_alone), np.int64)
        self.offsets, self.parts[is_alone] = _strung([form.offsets for form in forms], which)
        self.starts, _ = _strung([form.starts for form in forms], which)
        begins = np.cumsum(sizes) - sizes
        self.starts += np.repeat(begins, self.parts[is_alone])
        at, bases = _strung([form.bases for form in forms], which)
        views, _ = _strung([form.views for form in forms], which)
        views += np.repeat(vectors.starts[:-1], bases)
        self.words[at + np.repeat(begins, bases)] = places[vectors.bases[views]]
        groups = [self.words, *(_group(tape, rows, places, opcodes) for rows in strips.groups)]
        self.groups = np.cumsum([len(words) for words in groups])[:-1]
        self.words = np.concatenate(groups)


def _group(tape: FlatTape, rows: Ints, places: Places, opcodes: Ints) -> Ints:
    """Return the words of a group that runs strip by strip; see `run_strips`."""
    words = [_kernels.STRIPS, int(tape.code[rows[0], 2]), len(rows)]
    for row in rows.tolist():
        number = int(tape.code[row, 1])
        vector = tape.vectors[number]
        words.append(int(opcodes[number]))
        steps = [joined(vector.shape, [view.strides])[0][1][0] for view in vector.operands]
        bases = [view.base for view in vector.operands]
        for slot, step in zip([*bases, int(tape.results[row])], [*steps, 1], strict=True):
            place = int(places[slot])
            words += place, step, step if place < places.strips else 0
    return np.array(words, np.int64)


def _strung(parts: Sequence[Ints], which: Ints) -> tuple[Ints, Ints]:
    """Return chosen arrays one after the other, and the size of each."""
    every = np.concatenate([_NOTHING, *parts])
    each = np.array([len(part) for part in parts], np.int64)
    sizes = each[which.ravel()]
    begins = np.cumsum(each) - each
    ends = np.cumsum(sizes)
    shift = np.repeat(begins[which.ravel()] - (ends - sizes), sizes)
    return every[np.arange(len(shift)) + shift], sizes


def segments_of(tape: FlatTape, places: Places, encoded: Encoded, strips: Strips) -> Ints:
    """Return what runs one after the other, as kernels read it.

    That is runs of scalar instructions, vector instructions, and groups that run strip by strip.
    Each row has the first instruction and the one after the last, of a group its first alone,
    the place of the first result, and where the words of a vector instruction or a group are,
    or -1.
    """
    rows = np.flatnonzero(tape.code[:, 0] == VECTOR)
    runs = np.column_stack([np.append(0, rows + 1), np.append(rows, len(tape.code))])
    is_run = runs[:, 0] < runs[:, 1]
    counts = is_run + np.append(encoded.parts, 0)
    ends = np.cumsum(counts)
    segments = np.empty((int(ends[-1]), 4), np.int64)
    is_vector = np.ones(len(segments), bool)
    heads = (ends - counts)[is_run]
    is_vector[heads] = False
    segments[heads, :2], segments[heads, 3] = runs[is_run], -1
    row = np.repeat(rows, encoded.parts)
    segments[is_vector] = np.column_stack([row, row + 1, row, encoded.starts])
    segments[:, 2] = places[tape.results[segments[:, 0]]] if len(segments) else 0
    segments[is_vector, 2] += encoded.offsets
    if strips.groups:
        row = np.array([members[0] for members in strips.groups])
        first = places[tape.results[row]]
        segments = np.concatenate(
            [segments, np.column_stack([row, row + 1, first, encoded.groups])]
        )
        turns = np.argsort(strips.order(tape.instructions), kind="stable")
        segments = segments[np.argsort(turns[segments[:, 0]], kind="stable")]
    return segments


@dataclass(frozen=True)
class _Form:
    """What instructions that are the same but for their bases are encoded as.

    Attributes
    ----------
    words : int64 array
    offsets, starts : int64 array
        See `Encoded`.
    bases, views : int64 array
        Where places of views go, and the numbers of these.
    """

    words: Ints
    offsets: Ints
    starts: Ints
    bases: Ints
    views: Ints


_NO_PLACES = Places(_NOTHING, _NOTHING, 0)

# In place of the base of view k stands this less k: no other word is anywhere near.
_BLANK = -(1 << 40)


class _Encoder:
    """Vector instructions as words, with blanks for bases.

    Their kinds write to `words`, by what there is here.
    """

    codes = _kernels
    contiguous = staticmethod(contiguous_strides)
    joined = staticmethod(joined)

    def __init__(self, places: Places) -> None:
        self.places = places
        self.words: list[int] = []
        self.gathers: list[Ints] = []
        self.bodies: dict[Body, int] = {}
        self._gather_entries = 0

    def form(self, form: Form, opcode: int) -> _Form:
        """Encode a form, with an opcode of vector maths or its own."""
        return _regular(form, opcode) if form.is_plain else self.encode(form, opcode)

    def encode(self, form: Form, opcode: int) -> _Form:
        """Encode a form, which may have tables."""
        instruction = replace(form.instruction, opcode=opcode)
        views = tuple(
            View(_BLANK - k, view.strides) if view.table is None else view
            for k, view in enumerate(instruction.operands)
        )
        self.words = []
        read = instruction.reading(views)
        parts = KINDS[instruction.kind].encode(read, self)
        made = np.array(self.words, np.int64)
        bases = np.flatnonzero((made <= _BLANK) & (made > _BLANK - len(views)))
        offsets, starts = np.array(parts, np.int64).T
        return _Form(made, offsets, starts, bases, _BLANK - made[bases])

    def calls(self, opcode: int) -> Iterator[tuple[int, list[list[str]], Sequence[int]]]:
        """Yield a function's calls: the place in the table of loops, axes and arguments."""
        for place, (k, (path, _, chosen)) in enumerate(CALLS):
            if k == opcode - FIRST_FUNCTION:
                yield FIRST_FUNCTION + place, _core_axes(path), chosen

    def view(self, view: View, shape: tuple[int, ...]) -> None:
        """Write rank, base, table, shape, strides; axes are joined to neighbours they step with."""
        axes = self.joined(shape, [view.strides]) or [(1, (0,))]
        if view.table is None:
            self.words += (len(axes), view.base, -1)
        else:
            self.words += (len(axes), view.base, self.gather(self.places[view.table]))
        self.words += [extent for extent, _ in axes]
        self.words += [stride for _, (stride,) in axes]

    def body(self, body: Body) -> int:
        """Return the number of a loop's body."""
        return self.bodies.setdefault(body, len(self.bodies))

    def gather(self, table: Ints) -> int:
        """Note a table; return where it begins among all."""
        start = self._gather_entries
        self.gathers.append(table)
        self._gather_entries += len(table)
        return start


@lru_cache(maxsize=1 << 12)
def _regular(form: Form, opcode: int) -> _Form:
    """Encode a form without tables, which is the same in all plans."""
    return _Encoder(_NO_PLACES).encode(form, opcode)


def _core_axes(path: str) -> list[list[str]]:
    """Return the last axes of each argument of a generalized ufunc, by name."""
    ufunc: Any = load_ufunc(path)
    signature = ufunc.signature or ",".join(["()"] * ufunc.nargs)
    return [re.findall(r"\w+", axes) for axes in re.findall(r"\((.*?)\)", signature)]
