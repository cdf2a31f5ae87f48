"""Vector instructions as a tape keeps them: a form, and where its operands begin.

A *form* is all of an instruction but the bases of its views: kind, operation, shapes, strides,
gather tables. The instructions of a tape have few: what a loop does in each step is the same
at other slots. So a tape has its forms once, and for each instruction the number of its form
and the bases, as arrays. What depends on the form alone is found out once for each; what is
done with all instructions is arithmetic on these arrays.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numtape.tape.instruction import VectorInstruction, View
from numtape.tape.reads import is_dense
from numtape.tape.regular import Layout, RegularSlots

if TYPE_CHECKING:
    from numtape.tape.body import Body

__all__ = ["Form", "Forms", "Survey", "Vectors", "bases_of"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NOTHING = np.zeros(0, np.int64)
_NO_COLUMNS = np.zeros((6, 0), np.int64)


class Form:
    """An instruction without the bases of its views.

    Parameters
    ----------
    instruction : VectorInstruction
        With base 0 of each view that has no table. A table's base stays: it is a place in it.

    Attributes
    ----------
    shapes : tuple of shapes
        What each view walks.
    has_table : tuple of bool
        Whether each view reads by a table, and so has no base of its own.
    is_plain : bool
        Whether it has neither tables nor a body.
    """

    __slots__ = ("__dict__", "has_table", "instruction", "is_plain", "shapes")

    def __init__(self, instruction: VectorInstruction) -> None:
        self.instruction = instruction
        self.shapes = instruction.operand_shapes()
        self.has_table = tuple(view.table is not None for view in instruction.operands)
        self.is_plain = (
            instruction.targets is None and instruction.body is None and True not in self.has_table
        )

    def at(self, bases: Iterable[int]) -> VectorInstruction:
        """Return the instruction with these bases."""
        own = self.instruction
        views = tuple(
            view if view.table is not None else View(base, view.strides)
            for view, base in zip(own.operands, bases, strict=True)
        )
        return own.reading(views)

    @cached_property
    def layouts(self) -> tuple[Layout | None, ...]:
        """How what each view reads follows its base; None by tables, and where it is far apart."""
        slots = (
            None if view.table is not None else view.arranged(shape)
            for view, shape in zip(self.instruction.operands, self.shapes, strict=True)
        )
        return tuple(each.layout if isinstance(each, RegularSlots) else None for each in slots)

    @cached_property
    def reads(self) -> tuple[tuple[int, int, bool, bool, bool], ...]:
        """What each view reads, see `Survey`: low and high less the base, and the last three."""
        return tuple(map(_reads, self.instruction.operands, self.shapes))

    @cached_property
    def surveyed(self) -> Ints:
        """For each view a column: low, high, whether it has a table, and the last three."""
        rows = [(low, high, 0, *rest) for low, high, *rest in self.reads]
        columns = np.array(rows, np.int64).reshape(-1, 6).T
        columns[2] = self.has_table
        return columns


def _reads(view: View, shape: tuple[int, ...]) -> tuple[int, int, bool, bool, bool]:
    low, high = view.reach(shape)
    walked = [(n, stride) for n, stride in zip(shape, view.strides, strict=True) if n > 1]
    in_order, size = True, 1
    for extent, stride in reversed(walked):
        in_order = in_order and stride == size
        size *= extent
    return low, high, is_dense(shape, view.strides), any(stride for _, stride in walked), in_order


class Forms:
    """Forms by number; equal ones are one.

    Parameters
    ----------
    known : sequence of Form
        Those that there are, which are different.
    """

    def __init__(self, known: Sequence[Form] = ()) -> None:
        self.all = list(known)
        self._numbers = {_key(form.instruction): number for number, form in enumerate(known)}

    def number(self, instruction: VectorInstruction) -> int:
        """Return the number of an instruction's form."""
        key = _key(instruction)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.all)
            has_tables = instruction.targets is not None or any(
                view.table is not None for view in instruction.operands
            )
            self.all.append(_gathering(instruction) if has_tables else _regular(*key))
        return number


def _gathering(instruction: VectorInstruction) -> Form:
    """Return the form of an instruction that has tables."""
    blank = (
        view if view.table is not None else View(0, view.strides) for view in instruction.operands
    )
    return Form(instruction.reading(tuple(blank)))


@lru_cache(maxsize=1 << 12)
def _regular(
    kind: str,
    opcode: int,
    shape: tuple[int, ...],
    result: tuple[int, ...],
    result_strides: tuple[int, ...],
    targets: None,
    body: "Body | None",
    *strides: tuple[int, ...],
) -> Form:
    """Return the form of an instruction without tables: one for all tapes."""
    views = tuple(View(0, each) for each in strides)
    return Form(
        VectorInstruction(kind, opcode, shape, views, result, result_strides, targets, body)
    )


def bases_of(instruction: VectorInstruction) -> tuple[int, ...]:
    """Return what an instruction has besides its form: the bases of views, 0 for gathers."""
    return tuple([0 if view.table is not None else view.base for view in instruction.operands])


def _key(instruction: VectorInstruction) -> tuple[Any, ...]:
    """Return all that tells a form from others."""
    key: list[Any] = [instruction.kind, instruction.opcode, instruction.shape, instruction.result]
    key += instruction.result_strides, _digest(instruction.targets), instruction.body
    for view in instruction.operands:
        key.append(view.strides)
        if view.table is not None:
            key += view.base, _digest(view.table)
    return tuple(key)


def _digest(table: Ints | None) -> bytes | None:
    if table is None:
        return None
    return blake2b(np.ascontiguousarray(table).data.cast("B"), digest_size=16).digest()


class Survey:
    """What the views of some instructions read, an entry each, in order.

    Parameters
    ----------
    owner, base : int64 array
        See below.
    surveyed : int64 array
        The columns of `Form.surveyed`, one for each view.

    Attributes
    ----------
    owner : int64 array
        The number of its instruction.
    base : int64 array
        Its base; 0 where it reads by a table.
    has_table : bool array
        Whether it reads by a table.
    low, high : int64 array
        The lowest and the highest place that it reads.
    is_dense : bool array
        Whether it reads every place between these.
    steps : bool array
        Whether it steps at all.
    in_order : bool array
        Whether it reads from its base on, place by place in order.
    """

    def __init__(self, owner: Ints, base: Ints, surveyed: Ints) -> None:
        self.owner, self.base, self._surveyed = owner, base, surveyed
        self.low, self.high = surveyed[:2] + base
        self.has_table, self.is_dense, self.steps, self.in_order = surveyed[2:] != 0

    @classmethod
    def of(cls, vectors: "Vectors") -> "Survey":
        """Return what the views of some instructions read."""
        counts, every = vectors.operands, [form.surveyed for form in vectors.forms]
        owner = np.repeat(np.arange(len(counts)), counts)
        begins = np.cumsum([0, *(each.shape[1] for each in every)])  # of each form's views
        views = np.arange(len(owner)) + (begins[vectors.which] - vectors.starts[:-1])[owner]
        surveyed = np.concatenate([_NO_COLUMNS, *every], axis=1)
        return cls(owner, vectors.bases, surveyed[:, views])

    def moved(self, base: Ints) -> "Survey":
        """Return what the same views read at other bases."""
        return Survey(self.owner, base, self._surveyed)


class Vectors(Sequence[VectorInstruction]):
    """The vector instructions of a tape.

    As a sequence it makes an instruction when asked for one.

    Parameters
    ----------
    forms : sequence of Form
    which : int64 array
        The number of each instruction's form.
    bases : int64 array
        The bases of all views, in order; 0 for those that read by a table.
    """

    def __init__(self, forms: Sequence[Form], which: Ints, bases: Ints) -> None:
        which.flags.writeable = bases.flags.writeable = False
        self.forms, self.which, self.bases = tuple(forms), which, bases

    @classmethod
    def of(cls, instructions: Iterable[VectorInstruction]) -> "Vectors":
        """Return instructions as a tape keeps them; those of a tape are that already."""
        if isinstance(instructions, Vectors):
            return instructions
        forms = Forms()
        which: list[int] = []
        bases: list[int] = []
        for each in instructions:
            which.append(forms.number(each))
            bases += bases_of(each)
        return cls(forms.all, np.array(which, np.int64), np.array(bases, np.int64))

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return tuple(self[k] for k in range(*number.indices(len(self))))
        if not -len(self) <= number < len(self):
            raise IndexError(f"vector instruction {number} of {len(self)}")
        start, stop = self.starts[number % len(self) :][:2].tolist()
        return self.form(number).at(self.bases[start:stop].tolist())

    def __iter__(self) -> Iterator[VectorInstruction]:
        bases, start = self.bases.tolist(), 0
        for number in self.which.tolist():
            form = self.forms[number]
            stop = start + len(form.shapes)
            yield form.at(bases[start:stop])
            start = stop

    def form(self, number: int) -> Form:
        """Return the form of an instruction."""
        return self.forms[self.which.item(number)]

    def each(self, function: Callable[[VectorInstruction], int]) -> Ints:
        """Return for each instruction what a function says of it without its bases."""
        said: Ints = np.array([function(form.instruction) for form in self.forms], np.int64)
        return said[self.which]

    def are(self, kind: str) -> Bools:
        """Return for each instruction whether it is of a kind."""
        return self.each(lambda each: each.kind == kind) > 0

    @cached_property
    def operands(self) -> Ints:
        """How many operands each instruction has."""
        return self.each(lambda each: len(each.operands))

    @cached_property
    def starts(self) -> Ints:
        """Where the bases of each instruction begin, and at the end how many there are."""
        starts = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.operands, out=starts[1:])
        return starts

    @cached_property
    def survey(self) -> Survey:
        """What the views read."""
        return Survey.of(self)

    def slots_read(self, view: int) -> Ints:
        """Return the slots that a view reads, by its number among those of all instructions."""
        number = int(self.survey.owner[view])
        place = view - int(self.starts[number])
        form = self.form(number)
        layout = form.layouts[place]
        if layout is not None:
            return np.asarray(RegularSlots(self.bases.item(view), layout))
        slots: Ints = self[number].operands[place].slots(form.shapes[place])
        return slots

    def chosen(self, kept: Bools) -> "Vectors":
        """Return the instructions that are kept, in order."""
        if kept.all():
            return self
        bases = self.bases[np.repeat(kept, self.operands)]
        return Vectors(self.forms, self.which[kept], bases)._used()

    def based(self, bases: Ints) -> "Vectors":
        """Return the same instructions with other bases of their views."""
        survey = self.survey
        moved = Vectors(self.forms, self.which, np.where(survey.has_table, 0, bases))
        moved.__dict__["survey"] = survey.moved(moved.bases)
        return moved

    def with_others(self, others: Mapping[int, VectorInstruction]) -> "Vectors":
        """Return these instructions, some in place of those by the same number.

        They have as many operands.
        """
        if not others:
            return self
        forms, which, bases = Forms(self.forms), self.which.copy(), self.bases.copy()
        for number, each in others.items():
            which[number] = forms.number(each)
            bases[self.starts[number] : self.starts[number + 1]] = bases_of(each)
        return Vectors(forms.all, which, bases)._used()

    def _used(self) -> "Vectors":
        """Return the same instructions, without forms that none of them has."""
        numbers, which = np.unique(self.which, return_inverse=True)
        return Vectors([self.forms[number] for number in numbers.tolist()], which, self.bases)
