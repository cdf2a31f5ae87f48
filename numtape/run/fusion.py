"""Which vector instructions run together, as one function with loops of its own.

Run one by one, instructions over arrays pass everything through memory. Here those
that go through the same rows are put into groups, and a group becomes one function
(`nests.py` writes it). Neighbours on the tape need not be: the function runs where
one of its members was, the others do nothing, and what stands in between is run
before or after it, which has to come to the same.

That is decided by *traffic*, the places that a segment reads and writes; places are
used again, so it tells of more than slots do. Inside a group rows go through all
members before the next ones do, so a member may read another's results of the same
row alone, and may overwrite only what nobody reads later on.

Members that have to round as NumPy does are elementwise operations that call no function of
the C library, and sums, which are added up in NumPy's order everywhere (`sums.py`). Where
nothing but derivatives needs it, functions are those of vector maths, as in the kernels,
and a narrow product of matrices is not BLAS's (`products.py`). What does not fit in here is
left to the kernels, and so is what they run strip by strip (`strips.py`). A plan that is to have
code has strips only where some member has none.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from numtape.ops.structured import MAP, PRODUCT, REDUCE
from numtape.ops.table import ROWS
from numtape.run.emitter import functions_called, vector_form
from numtape.run.memory import Places
from numtape.run.nests import Group, Member, Nest, Operand, expression_of, write_group
from numtape.run.products import Product, is_narrow, write_product
from numtape.run.strips import NO_STRIPS, Strips
from numtape.run.sums import PAIRWISE
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction, contiguous_strides

__all__ = ["Fused", "fuse", "unfused"]

Ints = npt.NDArray[np.int64]
Range = tuple[int, int]  # the first and the last

# Elements of a tile; bytes of it that other nests read; bytes that may be kept aside at most,
# for rows and for sums over the rows.
_TILE = 1024
_CACHED = 32 << 10
_ASIDE = 64 << 10

# How large a group may grow, how far ahead its next member may be, and its last.
_MEMBERS = 48
_AHEAD = 32
_WINDOW = 96

# From so many elements on it is quicker to compute a result again than to keep it.
_LARGE = 1 << 15

# A group begins with an instruction over so many elements: what is smaller stays in the
# first-level cache in between, and compiling would cost much and gain nothing.
_WORTH = 1 << 12

_RANGES = 64  # traffic in more pieces than these is taken for one
_PER_MODULE = 8  # groups


@dataclass(frozen=True)
class Fused:
    """The text of modules, and the names of functions by segment."""

    modules: tuple[str, ...]
    functions: dict[int, str]


def unfused(tape: FlatTape, strips: Strips, free: npt.NDArray[np.bool_] | None) -> Strips:
    """Return the groups that kernels are to run strip by strip even where there is machine code.

    They have a member that has no code here. `free` says of each instruction whether it may
    round unlike NumPy.
    """

    def has_code(row: int) -> bool:
        opcode = tape.vectors.form(int(tape.code[row, 1])).instruction.opcode
        return expression_of(opcode, free is None or not free[row]) is not None

    left = tuple(rows for rows in strips.groups if not all(map(has_code, rows.tolist())))
    return strips if len(left) == len(strips.groups) else Strips(left)


def fuse(
    tape: FlatTape,
    places: Places,
    segments: Ints,
    free: npt.NDArray[np.bool_] | None,
    strips: Strips = NO_STRIPS,
) -> Fused:
    """Return functions for those segments of a plan that can be run in groups.

    `free` says of each instruction whether it may round unlike NumPy.
    """
    if not any(map(_may_have_code, tape.vectors)):
        return Fused((), {})
    program = _Program(tape, places, segments, free, strips)
    functions: dict[int, str] = {}
    modules: list[str] = []
    groups = _chosen(program)
    for start in range(0, len(groups), _PER_MODULE):
        module = ir.Module("groups")
        for number, group in enumerate(groups[start : start + _PER_MODULE], start):
            name = f"group{number}"
            write_group(module, name, group.finished(program))
            functions.update(dict.fromkeys(group.segments, "nothing"))
            functions[group.position] = name
        modules.append(str(module))
    if any("sum_begin" in module for module in modules):
        modules.append(PAIRWISE)
    products = list(_products(program))
    for start in range(0, len(products), _PER_MODULE):
        module = ir.Module("products")
        for segment, product in products[start : start + _PER_MODULE]:
            functions[segment] = f"product{segment}"
            write_product(module, functions[segment], product)
        modules.append(str(module))
    if groups:
        modules.append("define i64 @nothing(ptr %v, ptr %a, ptr %b, i64 %c) {\nret i64 -1\n}")
    return Fused(tuple(modules), functions)


def _may_have_code(vector: VectorInstruction) -> bool:
    """Return whether an instruction may begin a group, or may be a product of this module's."""
    is_wide = vector.kind == PRODUCT and vector.shape[-1] >= vector_form().width
    return is_wide or math.prod(vector.shape) >= _WORTH


# What there is.


@dataclass(frozen=True)
class _Traffic:
    """The places that are read and written, beyond those that are never written."""

    reads: tuple[Range, ...]
    writes: tuple[Range, ...]

    def meets(self, other: "_Traffic") -> bool:
        """Return whether the order of the two matters."""
        return (
            _overlap(self.writes, other.reads)
            or _overlap(self.reads, other.writes)
            or _overlap(self.writes, other.writes)
        )


_NONE = _Traffic((), ())


def _overlap(left: tuple[Range, ...], right: tuple[Range, ...]) -> bool:
    return any(a <= d and c <= b for a, b in left for c, d in right)


class _Program:
    """A plan's segments, with their traffic and with who reads what."""

    def __init__(
        self,
        tape: FlatTape,
        places: Places,
        segments: Ints,
        free: npt.NDArray[np.bool_] | None,
        strips: Strips = NO_STRIPS,
    ) -> None:
        self.tape, self.places = tape, places
        self.vectors: list[VectorInstruction] = list(tape.vectors)  # they are looked at often
        self.free = np.zeros(tape.instructions, bool) if free is None else free
        self.results = tape.results.tolist()
        self.numbers = [int(start) for start in segments[:, 0]]
        self.candidates: dict[tuple[int, int], _Candidate | None] = {}
        # For each instruction the segments that read it; those of scalars and the end are -1.
        self.readers: dict[int, set[int]] = {}
        self.traffic: list[_Traffic] = []
        groups = {int(rows[0]): rows.tolist() for rows in strips.groups}
        self.in_strips = {segment for segment, n in enumerate(self.numbers) if n in groups}
        self.segment_of: dict[int, int] = {}  # of each instruction the last one
        for segment, (start, stop, _, words) in enumerate(segments.tolist()):
            numbers = groups.get(start, range(start, stop))
            self.segment_of.update(dict.fromkeys(numbers, segment))
            self.traffic.append(
                self._of_scalars(start, stop) if words < 0 else self._of_vectors(segment, numbers)
            )
        explaining = [tape.producer(slot) for slot in tape.guard_slots.tolist()]
        explained = [
            tape.code[number, 1:]
            for number in explaining
            if number is not None and tape.code[number, 0] != VECTOR
        ]
        ends = np.concatenate([tape.outputs, tape.guard_slots, *explained]).astype(np.int64)
        self._note(ends, -1)

    def vector(self, segment: int) -> VectorInstruction:
        return self.vectors[int(self.tape.code[self.numbers[segment], 1])]

    def readers_of(self, segment: int) -> set[int]:
        """Return the segments that read a segment's result; -1 for scalars and for the end."""
        return self.readers.get(self.numbers[segment], set())

    def candidate(self, segment: int, rows: int) -> "_Candidate | None":
        """Return a segment's instruction with so many rows; None where that is not possible."""
        key = segment, rows
        if key not in self.candidates:
            self.candidates[key] = _candidate(self, segment, rows)
        return self.candidates[key]

    def producer(self, operand: Operand) -> int | None:
        """Return the segment that makes what an operand, by its slot, begins with."""
        number = self.tape.producer(operand.base)
        return None if number is None else self.segment_of[number]

    def is_vector(self, segment: int) -> bool:
        """Return whether a segment is a vector instruction by itself."""
        is_vector = self.tape.code[self.numbers[segment], 0] == VECTOR
        return bool(is_vector) and segment not in self.in_strips

    def _of_scalars(self, start: int, stop: int) -> _Traffic:
        operands = self.tape.code[start:stop, 1:].astype(np.int64).ravel()
        operands = operands[operands >= self.tape.first_result]
        self._note(operands, -1)
        results = np.arange(self.results[start], self.results[stop])
        return _Traffic(_ranges(self.places[operands]), _ranges(self.places[results]))

    def _of_vectors(self, segment: int, numbers: Sequence[int]) -> _Traffic:
        """Return the traffic of a vector instruction, or of all that run strip by strip."""
        first, strips = self.tape.first_result, self.places.strips
        reads: list[Range] = []
        writes: list[Range] = []
        for number in numbers:
            vector = self.vectors[int(self.tape.code[number, 1])]
            for view, shape in zip(vector.operands, vector.operand_shapes(), strict=True):
                if view.table is not None:
                    slots = view.table[view.table >= first]
                    self._note(slots, segment)
                    reads += _ranges(self.places[slots])
                    continue
                low, high = view.reach(shape)
                if high >= first:
                    low = max(low, first)
                    self._note_run(low, high, segment)
                    reads.append((int(self.places[low]), int(self.places[high])))
            if vector.size:
                place = int(self.places[self.results[number]])
                writes.append((place, place + vector.size - 1))
        # What is private to strips meets nothing else.
        reads = [each for each in reads if each[0] < strips]
        return _Traffic(tuple(reads), tuple(each for each in writes if each[0] < strips))

    def _note(self, slots: Ints, segment: int) -> None:
        for low, high in _runs(slots[slots >= self.tape.first_result]):
            self._note_run(low, high, segment)

    def _note_run(self, low: int, high: int, segment: int) -> None:
        first = bisect_right(self.results, low) - 1
        for number in range(first, bisect_right(self.results, high)):
            self.readers.setdefault(number, set()).add(segment)


def _extent(base: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Range:
    ends = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    return base + sum(min(end, 0) for end in ends), base + sum(max(end, 0) for end in ends)


def _ranges(places: Ints) -> tuple[Range, ...]:
    """Return places as ranges, or as one range where they are scattered."""
    runs = _runs(places)
    return tuple(runs) if len(runs) <= _RANGES else ((runs[0][0], runs[-1][1]),)


def _runs(numbers: Ints) -> list[Range]:
    """Return numbers as ranges."""
    if not len(numbers):
        return []
    steps = np.diff(numbers)
    if (steps < 0).any():
        numbers = np.sort(numbers)
        steps = np.diff(numbers)
    breaks = np.flatnonzero(steps > 1)
    starts = numbers[np.concatenate([[0], breaks + 1])]
    ends = numbers[np.concatenate([breaks, [len(numbers) - 1]])]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


# An instruction as one over rows.


@dataclass(frozen=True)
class _Candidate:
    """An instruction whose first axis has been made the rows; operands are still slots."""

    segment: int
    first: int  # its first result's slot
    member: Member
    reads: tuple[Range, ...]  # the slots of each operand

    @property
    def width(self) -> int:
        """How many elements it goes through in a row."""
        return math.prod(self.member.extents[1:])


def _candidate(program: _Program, segment: int, rows: int) -> _Candidate | None:
    if not program.is_vector(segment):
        return None
    vector, number = program.vector(segment), program.numbers[segment]
    exact = not program.free[number]
    if vector.kind not in (MAP, REDUCE):
        return None
    if expression_of(vector.opcode, exact) is None:
        return None
    run = 0
    if vector.kind == REDUCE:
        name = ROWS[vector.opcode].name
        if name in ("add", "multiply") and vector.result_strides[-1] == 0:
            run = vector.shape[-1]
        # Of zeros and nans NumPy's largest may be another one; a product along a run goes one
        # after the other; and a run is not to vanish where axes of 1 do.
        in_order = name == "add" or (name == "multiply" and not run)
        if run == 1 or not (in_order or (name in ("maximum", "minimum") and not exact)):
            return None
    if not vector.size or 0 in vector.shape or any(v.table is not None for v in vector.operands):
        return None
    found = _by_rows(vector, rows)
    if found is None:
        return None
    extents, (*operands, results) = found
    width = _width(extents, results)
    if width is None:
        return None
    first = program.results[number]
    member = Member(
        vector.opcode,
        vector.kind == REDUCE,
        exact,
        extents,
        tuple(
            Operand(-1, view.base, strides)
            for view, strides in zip(vector.operands, operands, strict=True)
        ),
        results,
        width,
        vector.size,
        int(program.places[first]),
        run,
    )
    reads = tuple(_extent(each.base, extents, each.strides) for each in member.operands)
    return _Candidate(segment, first, member, reads)


def _walk(vector: VectorInstruction) -> list[tuple[int, tuple[int, ...]]]:
    """Return extents, with the strides of operands and result, joined where even.

    Of the largest or smallest the longer steps come first. Sums are walked as NumPy does.
    """
    results = vector.result_strides if vector.kind == REDUCE else contiguous_strides(vector.shape)
    views = [*(view.strides for view in vector.operands), results]
    order = list(range(len(vector.shape)))
    is_sum = vector.kind == REDUCE and ROWS[vector.opcode].name in ("add", "multiply")
    if vector.kind == REDUCE and not is_sum:
        order.sort(key=lambda axis: -abs(views[0][axis]))
    axes: list[tuple[int, tuple[int, ...]]] = []
    for axis in order:
        extent, steps = vector.shape[axis], tuple(each[axis] for each in views)
        if extent == 1:
            continue
        if axes and not is_sum and axes[-1][1] == tuple(step * extent for step in steps):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    return axes


def _by_rows(
    vector: VectorInstruction, rows: int
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Return extents that begin with the rows, and the strides of each operand and the result."""
    axes = _walk(vector)
    if not axes or axes[0][0] % rows or not _are_rows(vector.shape, rows):
        return None
    (extent, steps), *rest = axes
    each = extent // rows
    axes = [(rows, tuple(step * each for step in steps))]
    axes += [(each, steps), *rest] if each > 1 else rest
    strides = list(zip(*(steps for _, steps in axes), strict=True))
    return tuple(extent for extent, _ in axes), strides


def _are_rows(shape: tuple[int, ...], rows: int) -> bool:
    """Return whether some leading axes are the rows, or a part of the first one is."""
    size = 1
    for extent in shape:
        if extent > 1:
            if size == 1 and extent % rows == 0:
                return True
            size *= extent
            if size >= rows:
                break
    return size == rows


def _width(extents: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """Return a row's number of results, 0 for sums over the rows; None for results out of order."""
    width = 1
    for extent, stride in zip(reversed(extents[1:]), reversed(strides[1:]), strict=True):
        if stride:
            if stride != width:
                return None
            width *= extent
    if strides[0] == 0:
        return 0
    return width if strides[0] == width else None


# Groups.


@dataclass
class _Growing:
    """A group that is still growing.

    Attributes
    ----------
    rows : int
    passing : frozenset of int
        Segments whose results are taken not to outlast the group: they touch no memory.
    candidates : list of _Candidate
        The members so far, in the order of the tape.
    members : list of Member
        The same, with operands resolved.
    traffic : list of _Traffic
        What each of them reads and writes beyond the group.
    nests : list
        For each nest the extents within a row and its members.
    nest_of : list of int
    again : list of (Member, int)
        What others make and this group computes for itself, with the nest that it is for.
    spared : set of int
        Members whose results others compute for themselves.
    between : list of int
        Segments that stand among them and are no members.
    after, before : int
        The group has to run after one segment and before another.
    """

    rows: int
    passing: frozenset[int] = frozenset()
    candidates: list[_Candidate] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    traffic: list[_Traffic] = field(default_factory=list)
    nests: list[tuple[tuple[int, ...], list[int]]] = field(default_factory=list)
    nest_of: list[int] = field(default_factory=list)
    again: list[tuple[Member, int]] = field(default_factory=list)
    spared: set[int] = field(default_factory=set)
    between: list[int] = field(default_factory=list)
    after: int = -1
    before: int = 1 << 62

    @property
    def segments(self) -> list[int]:
        return [candidate.segment for candidate in self.candidates]

    @property
    def position(self) -> int:
        """The segment in whose place it runs."""
        return max(s for s in self.segments if self.after < s < self.before)

    @property
    def work(self) -> int:
        """How many elements it goes through."""
        return sum(candidate.width * self.rows for candidate in self.candidates)

    def leave(self, program: _Program, segment: int) -> None:
        """Go on without a segment."""
        traffic = program.traffic[segment]
        if traffic is _NONE:
            return
        self.between.append(segment)
        if self.before > segment and any(each.meets(traffic) for each in self.traffic):
            self.before = segment

    def take(self, program: _Program, candidate: _Candidate) -> bool:
        """Make a candidate a member, if it can be one."""
        segment, number = candidate.segment, len(self.members)
        operands = self._resolved(program, candidate)
        if operands is None or not self._has_room(candidate.member):
            return False
        member = replace(candidate.member, operands=operands)
        traffic = self._traffic(program, member, segment in self.passing)
        meeting = (q for q in self.between if program.traffic[q].meets(traffic))
        after = max(self.after, *meeting, -1)
        if not any(after < s < self.before for s in (*self.segments, segment)):
            return False
        earliest = self._clear_of(member, traffic)
        if earliest is None:
            return False
        nest = self._nest(member, max(earliest, self._earliest(member)))
        if nest is None:
            return False
        self.after = after
        self.candidates.append(candidate)
        self.members.append(member)
        self.traffic.append(traffic)
        self.nest_of.append(nest)
        self.nests[nest][1].append(number)
        return True

    def _has_room(self, member: Member) -> bool:
        """Return whether sums over the rows can be kept aside, if it makes some."""
        sizes = (each.size for each in (*self.members, member) if not each.width)
        return member.width > 0 or 8 * sum(sizes) <= _ASIDE

    def _resolved(self, program: _Program, candidate: _Candidate) -> tuple[Operand, ...] | None:
        """Return operands by member or by place; None where one is not of the same row."""
        found = []
        for operand, (low, high) in zip(candidate.member.operands, candidate.reads, strict=True):
            source = -1
            for k, other in enumerate(self.candidates):
                if low < other.first + other.member.size and other.first <= high:
                    source = k
            if source < 0:
                found.append(replace(operand, base=int(program.places[operand.base])))
                continue
            other = self.candidates[source]
            width, offset = other.member.width, operand.base - other.first
            inner = _extent(offset, candidate.member.extents[1:], operand.strides[1:])
            if not width or operand.strides[0] != width or inner[0] < 0 or inner[1] >= width:
                return None
            found.append(replace(operand, source=source, base=offset))
        return tuple(found)

    def _traffic(self, program: _Program, member: Member, passes: bool) -> _Traffic:
        """Return what a member reads and writes beyond the group."""
        reads = []
        for operand in member.operands:
            low, high = _extent(operand.base, member.extents, operand.strides)
            if operand.source < 0 and high >= program.tape.first_result:
                reads.append((low, high))
        writes = () if passes else ((member.place, member.place + member.size - 1),)
        return _Traffic(tuple(reads), writes)

    def _clear_of(self, member: Member, traffic: _Traffic) -> int | None:
        """Return the first nest from which on a member overwrites nothing that is still to be read.

        None where there is none, or where it might read what is overwritten by then.
        """
        if any(_overlap(traffic.reads, each.writes) for each in self.traffic):
            return None
        if not member.width or not traffic.writes:
            return 0  # written when all has been read, or never
        earliest = 0
        for reader, nest in (*zip(self.members, self.nest_of, strict=True), (member, 0)):
            for operand in reader.operands:
                read = _extent(operand.base, reader.extents, operand.strides)
                if operand.source < 0 and _overlap((read,), traffic.writes):
                    if member.reduces or not _is_same_walk(reader, operand, member):
                        return None
                    earliest = max(earliest, nest)
        return earliest

    def _earliest(self, member: Member) -> int:
        """Return the first nest in which its operands are there."""
        earliest = 0
        for operand in member.operands:
            if operand.source >= 0:
                source = self.members[operand.source]
                nest = self.nest_of[operand.source]
                earliest = max(earliest, nest if _in_step(member, operand, source) else nest + 1)
        return earliest

    def _nest(self, member: Member, earliest: int) -> int | None:
        """Return the nest for a member, from a certain one on; a new one if need be."""
        inner = member.extents[1:]
        for nest in range(earliest, len(self.nests)):
            finer = _common(self.nests[nest][0], inner)
            if finer is not None:
                self.nests[nest] = (finer, self.nests[nest][1])
                return nest
        if self.nests and 8 * sum(m.width for m in (*self.members, member)) > _ASIDE:
            return None
        self.nests.append((inner, []))
        return len(self.nests) - 1

    def may_read(self, member: Member, nest: int) -> bool:
        """Return whether in a nest what another group's member reads has not been overwritten."""
        for operand in member.operands:
            read = _extent(operand.base, member.extents, operand.strides)
            for writer, later, each in zip(self.members, self.nest_of, self.traffic, strict=True):
                if _overlap((read,), each.writes) and (
                    later < nest or writer.reduces or not _is_same_walk(member, operand, writer)
                ):
                    return False
        return True

    def compute(self, member: Member, readers: list[tuple[int, int]]) -> None:
        """Compute again what some members, each with one of its operands, read in memory."""
        for nest in {self.nest_of[k] for k, _ in readers}:
            number = len(self.members) + len(self.again)
            self.again.append((member, nest))
            for k, place in readers:
                if self.nest_of[k] == nest:
                    operands = list(self.members[k].operands)
                    operands[place] = replace(operands[place], source=number, base=0)
                    self.members[k] = replace(self.members[k], operands=tuple(operands))

    def _nests(self) -> Iterator[Nest]:
        """Yield the nests, each with what it computes again before all else."""
        for number, (inner, members) in enumerate(self.nests):
            again = [len(self.members) + k for k, (_, n) in enumerate(self.again) if n == number]
            yield Nest(inner, (*again, *members))

    def kept(self, program: _Program) -> frozenset[int]:
        """Return the members whose results are read by others too, or in the end."""
        inside = set(self.segments)
        return frozenset(
            k
            for k, segment in enumerate(self.segments)
            if k not in self.spared and program.readers_of(segment) - inside
        )

    def finished(self, program: _Program) -> Group:
        """Return the group as it is written."""
        kept = self.kept(program)
        passed_on = frozenset(
            operand.source
            for k, member in enumerate(self.members)
            for operand in member.operands
            if 0 <= operand.source < len(self.members)
            and self.nest_of[operand.source] != self.nest_of[k]
        )
        aside = 8 * sum(self.members[k].width for k in passed_on - kept)
        return Group(
            self.rows,
            _tile(self.rows, max(candidate.width for candidate in self.candidates), aside),
            (*self.members, *(member for member, _ in self.again)),
            tuple(self._nests()),
            kept,
            passed_on,
        )


def _is_same_walk(reader: Member, operand: Operand, member: Member) -> bool:
    """Return whether an operand is read just as a member's results are written."""
    whole = contiguous_strides(reader.extents)
    return (
        operand.base == member.place
        and operand.strides == whole
        and (math.prod(reader.extents) == member.size)
    )


def _in_step(member: Member, operand: Operand, source: Member) -> bool:
    """Return whether an operand is, element by element, what another member makes."""
    return (
        not source.reduces
        and operand.base == 0
        and operand.strides == contiguous_strides(member.extents)
        and math.prod(member.extents) == source.size
    )


def _common(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the coarsest extents that both can be cut up into."""
    sizes = []
    for extents in (left, right):
        products, size = set(), 1
        for extent in reversed(extents):
            size *= extent
            products.add(size)
        sizes.append((size, products))
    if sizes[0][0] != sizes[1][0]:
        return None
    finer, before = [], 1
    for size in sorted(sizes[0][1] | sizes[1][1]):
        if size % before:
            return None
        finer.append(size // before)
        before = size
    return tuple(reversed(finer))


def _tile(rows: int, width: int, aside: int) -> int:
    """Return how many rows make a tile: a divisor of all rows, if one is near."""
    most = max(1, min(rows, _TILE // max(width, 1), _CACHED // max(aside, 1)))
    divisors = (tile for tile in range(most, most // 2, -1) if rows % tile == 0)
    return next(divisors, most)


def _chosen(program: _Program) -> list[_Growing]:
    """Return all groups of a program."""
    groups = list(_groups(program))
    _recompute(program, groups)
    return groups


def _groups(program: _Program) -> Iterator[_Growing]:
    """Yield groups, from the start of the tape to its end."""
    taken: set[int] = set()
    for segment in range(len(program.numbers)):
        if segment in taken or not program.is_vector(segment):
            continue
        if math.prod(program.vector(segment).shape) < _WORTH:
            continue
        grown = [_grown(program, segment, rows, taken) for rows in _rows(program, segment, taken)]
        group = max((g for g in grown if g.members), key=lambda g: g.work, default=None)
        if group is None:
            continue
        taken.update(group.segments)
        # From now on all of it is done in one place.
        for member in group.segments:
            program.traffic[member] = _NONE
        program.traffic[group.position] = _Traffic(
            tuple(each for traffic in group.traffic for each in traffic.reads),
            tuple(each for traffic in group.traffic for each in traffic.writes),
        )
        yield group


def _recompute(program: _Program, groups: list[_Growing]) -> None:
    """Let groups compute for themselves what takes longer to read than to compute.

    That is a cheap result of an earlier group, of one large operand that is still there.
    """
    owners = {segment: group for group in groups for segment in group.segments}
    gone: set[int | None] = set()  # segments whose results are no longer in memory
    needed: set[int | None] = set()  # and those whose results have to be
    for source in groups:
        for k, candidate in enumerate(source.candidates):
            makers = {program.producer(operand) for operand in candidate.member.operands}
            if candidate.segment in needed or makers & gone or not _is_cheap(source.members[k]):
                continue
            uses = _uses(program, source, k, owners)
            if uses:
                source.spared.add(k)
                gone.add(candidate.segment)
                needed |= makers - {None}
                for group, places in uses:
                    group.compute(source.members[k], places)


def _is_cheap(member: Member) -> bool:
    """Return whether a result is quickly computed of one large operand in memory."""
    expression = expression_of(member.opcode, member.exact)
    assert expression is not None
    return (
        not member.reduces
        and member.size >= _LARGE
        and not functions_called(expression)
        and all(operand.source < 0 for operand in member.operands)
        and sum(any(operand.strides) for operand in member.operands) == 1
    )


def _uses(
    program: _Program, source: _Growing, k: int, owners: dict[int, _Growing]
) -> list[tuple[_Growing, list[tuple[int, int]]]]:
    """Return the operands that are a member's results, by group: the member and its operand.

    There are none where not all of them are those results element by element, in groups that
    run later and while what they are computed of is still there.
    """
    candidate, traffic = source.candidates[k], source.traffic[k]
    found: dict[int, tuple[_Growing, list[tuple[int, int]]]] = {}
    for segment in program.readers_of(candidate.segment) - set(source.segments):
        group = owners.get(segment)
        if group is None or not source.position < group.position:
            return []
        between = program.traffic[source.position + 1 : group.position]
        between += source.traffic[:k] + source.traffic[k + 1 :]  # its own result is not kept
        if any(_overlap(traffic.reads, each.writes) for each in between):
            return []
        number = group.segments.index(segment)
        if not group.may_read(source.members[k], group.nest_of[number]):
            return []
        reader = group.candidates[number]
        whole = (candidate.first, candidate.first + candidate.member.size - 1)
        for place, read in enumerate(reader.reads):
            if _overlap((read,), (whole,)):
                walk = reader.member.operands[place].strides
                if (
                    read != whole
                    or reader.member.extents != candidate.member.extents
                    or walk != contiguous_strides(reader.member.extents)
                ):
                    return []
                found.setdefault(id(group), (group, []))[1].append((number, place))
    return list(found.values())


def _grown(program: _Program, segment: int, rows: int, taken: set[int]) -> _Growing:
    """Return the group of so many rows that grows from a segment on.

    What a member makes for others of the group alone never gets to memory; but that it
    does is known only once the group is there. So that is taken for granted of all that
    might, and where it turns out wrong the group grows again without it.
    """
    found = {
        ahead: candidate
        for ahead in range(segment, min(segment + _WINDOW, len(program.numbers)))
        if ahead not in taken and (candidate := program.candidate(ahead, rows))
    }
    passing = {ahead for ahead in found if program.readers_of(ahead) <= found.keys()}
    while True:
        group = _grown_once(program, segment, rows, found, passing)
        kept = {group.segments[k] for k in group.kept(program)}
        if passing.isdisjoint(kept):
            return group
        passing -= kept


def _grown_once(
    program: _Program,
    segment: int,
    rows: int,
    candidates: dict[int, _Candidate],
    passing: set[int],
) -> _Growing:
    """Return the same, where it is taken for known what passes."""
    group = _Growing(rows, frozenset(passing))
    last = segment
    for ahead in range(segment, min(segment + _WINDOW, len(program.numbers))):
        if ahead > last + _AHEAD or len(group.members) == _MEMBERS:
            break
        if ahead in candidates and group.take(program, candidates[ahead]):
            last = ahead
        elif ahead == segment:
            break
        else:
            group.leave(program, ahead)
    return group


def _rows(program: _Program, segment: int, taken: set[int]) -> list[int]:
    """Return what the rows of a group from a segment on might be."""
    vector = program.vector(segment)
    if vector.kind not in (MAP, REDUCE) or 0 in vector.shape or not (axes := _walk(vector)):
        return []
    found = {axes[0][0]: None}
    for ahead in range(segment, min(segment + _AHEAD, len(program.numbers))):
        if program.is_vector(ahead) and ahead not in taken:
            extents = [extent for extent in program.vector(ahead).shape if extent > 1]
            if extents and axes[0][0] % extents[0] == 0:
                found[extents[0]] = None
    return sorted(found, reverse=True)[:3]


def _products(program: _Program) -> Iterator[tuple[int, Product]]:
    """Yield the products of matrices that have code of their own, by segment."""
    places = program.places
    for segment, number in enumerate(program.numbers):
        if segment and program.numbers[segment - 1] == number:
            continue  # what makes it zero-safe afterwards
        if program.is_vector(segment) and program.free[number]:
            vector = program.vector(segment)
            if vector.kind == PRODUCT and len(vector.shape) == 3:
                left, right = vector.operands
                product = Product(
                    *vector.shape,
                    int(places[left.base]),
                    (left.strides[0], left.strides[1]),
                    int(places[right.base]),
                    (right.strides[0], right.strides[1]),
                    int(places[program.results[number]]),
                )
                if left.table is right.table is None and is_narrow(product):
                    yield segment, product
