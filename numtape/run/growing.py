"""A group while it grows: whether one more instruction may join it, and where it runs.

What stands between its members is run before or after the group, which has to come to the same:
that is decided by traffic. In a group rows go through all members before the next ones do, so a
member may read another's results of the same row alone, and may overwrite only what nobody reads
later on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from numtape.run.candidates import Candidate
from numtape.run.groups import Group, Member, Nest, Operand
from numtape.run.traffic import NO_TRAFFIC, Program, Traffic, extent_of, overlap
from numtape.tape.flat import contiguous_strides

__all__ = ["Growing"]

# Elements of a tile; bytes of it that other nests read; bytes that may be kept aside at most,
# for rows and for sums over the rows.
_TILE = 1024
_CACHED = 32 << 10
_ASIDE = 64 << 10


@dataclass
class Growing:
    """A group that is still growing.

    Attributes
    ----------
    rows : int
    passing : frozenset of int
        Segments whose results are taken not to outlast the group: they touch no memory.
    candidates : list of Candidate
        The members so far, in the order of the tape.
    members : list of Member
        The same, with operands resolved.
    traffic : list of Traffic
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
    candidates: list[Candidate] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    traffic: list[Traffic] = field(default_factory=list)
    nests: list[tuple[tuple[int, ...], list[int]]] = field(default_factory=list)
    nest_of: list[int] = field(default_factory=list)
    again: list[tuple[Member, int]] = field(default_factory=list)
    spared: set[int] = field(default_factory=set)
    between: list[int] = field(default_factory=list)
    after: int = -1
    before: int = 1 << 62

    @property
    def segments(self) -> list[int]:
        """The segments that are its members."""
        return [candidate.segment for candidate in self.candidates]

    @property
    def position(self) -> int:
        """The segment in whose place it runs."""
        return max(s for s in self.segments if self.after < s < self.before)

    @property
    def work(self) -> int:
        """How many elements it goes through."""
        return sum(candidate.width * self.rows for candidate in self.candidates)

    def leave(self, program: Program, segment: int) -> None:
        """Go on without a segment."""
        traffic = program.traffic[segment]
        if traffic is NO_TRAFFIC:
            return
        self.between.append(segment)
        if self.before > segment and any(each.meets(traffic) for each in self.traffic):
            self.before = segment

    def take(self, program: Program, candidate: Candidate) -> bool:
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

    def _resolved(self, program: Program, candidate: Candidate) -> tuple[Operand, ...] | None:
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
            inner = extent_of(offset, candidate.member.extents[1:], operand.strides[1:])
            if not width or operand.strides[0] != width or inner[0] < 0 or inner[1] >= width:
                return None
            found.append(replace(operand, source=source, base=offset))
        return tuple(found)

    def _traffic(self, program: Program, member: Member, passes: bool) -> Traffic:
        """Return what a member reads and writes beyond the group."""
        reads = []
        for operand in member.operands:
            low, high = extent_of(operand.base, member.extents, operand.strides)
            if operand.source < 0 and high >= program.tape.first_result:
                reads.append((low, high))
        writes = () if passes else ((member.place, member.place + member.size - 1),)
        return Traffic(tuple(reads), writes)

    def _clear_of(self, member: Member, traffic: Traffic) -> int | None:
        """Return the first nest from which on a member overwrites nothing that is still to be read.

        None where there is none, or where it might read what is overwritten by then.
        """
        if any(overlap(traffic.reads, each.writes) for each in self.traffic):
            return None
        if not member.width or not traffic.writes:
            return 0  # written when all has been read, or never
        earliest = 0
        for reader, nest in (*zip(self.members, self.nest_of, strict=True), (member, 0)):
            for operand in reader.operands:
                read = extent_of(operand.base, reader.extents, operand.strides)
                if operand.source < 0 and overlap((read,), traffic.writes):
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
            read = extent_of(operand.base, member.extents, operand.strides)
            for writer, later, each in zip(self.members, self.nest_of, self.traffic, strict=True):
                if overlap((read,), each.writes) and (
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

    def kept(self, program: Program) -> frozenset[int]:
        """Return the members whose results are read by others too, or in the end."""
        inside = set(self.segments)
        return frozenset(
            k
            for k, segment in enumerate(self.segments)
            if k not in self.spared and program.readers_of(segment) - inside
        )

    def finished(self, program: Program) -> Group:
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
