"""Which vector instructions run together, as one function with loops of its own.

Run one by one, instructions over arrays pass everything through memory. Here those
that go through the same rows are put into groups, and a group becomes one function
(`nests.py` writes it). Neighbours on the tape need not be: the function runs where
one of its members was, the others do nothing, and what stands in between is run
before or after it, which has to come to the same.

That is decided by what segments read and write (`traffic.py`). Which instructions may be members
is found in `candidates.py`, and whether one may join a group in `growing.py`.

Members that have to round as NumPy does are elementwise operations that call no function of
the C library, and sums, which are added up in NumPy's order everywhere (`sums.py`). Where
nothing but derivatives needs it, functions are those of vector maths, as in the kernels,
and a narrow product of matrices is not BLAS's (`products.py`). What does not fit in here is
left to the kernels, and so is what they run strip by strip (`strips.py`). A plan that is to have
code has strips only where some member has none.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from numtape.ops.structured import MAP, PRODUCT, REDUCE
from numtape.run.candidates import Candidate, candidate_of, walk_of
from numtape.run.emitter import functions_called, vector_form
from numtape.run.groups import Member, expression_of
from numtape.run.growing import Growing
from numtape.run.memory import Places
from numtape.run.nests import write_group
from numtape.run.products import Product, is_narrow, write_product
from numtape.run.strips import NO_STRIPS, Strips
from numtape.run.sums import PAIRWISE
from numtape.run.traffic import NO_TRAFFIC, Program, Traffic, overlap
from numtape.tape.flat import FlatTape, VectorInstruction, contiguous_strides

__all__ = ["Fused", "fuse", "unfused"]

Ints = npt.NDArray[np.int64]

# How large a group may grow, how far ahead its next member may be, and its last.
_MEMBERS = 48
_AHEAD = 32
_WINDOW = 96

# From so many elements on it is quicker to compute a result again than to keep it.
_LARGE = 1 << 15

# A group begins with an instruction over so many elements: what is smaller stays in the
# first-level cache in between, and compiling would cost much and gain nothing.
_WORTH = 1 << 12

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
    program = Program(tape, places, segments, free, strips)
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


def _chosen(program: Program) -> list[Growing]:
    """Return all groups of a program."""
    groups = list(_groups(program))
    _recompute(program, groups)
    return groups


def _groups(program: Program) -> Iterator[Growing]:
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
            program.traffic[member] = NO_TRAFFIC
        program.traffic[group.position] = Traffic(
            tuple(each for traffic in group.traffic for each in traffic.reads),
            tuple(each for traffic in group.traffic for each in traffic.writes),
        )
        yield group


def _recompute(program: Program, groups: list[Growing]) -> None:
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
    program: Program, source: Growing, k: int, owners: dict[int, Growing]
) -> list[tuple[Growing, list[tuple[int, int]]]]:
    """Return the operands that are a member's results, by group: the member and its operand.

    There are none where not all of them are those results element by element, in groups that
    run later and while what they are computed of is still there.
    """
    candidate, traffic = source.candidates[k], source.traffic[k]
    found: dict[int, tuple[Growing, list[tuple[int, int]]]] = {}
    for segment in program.readers_of(candidate.segment) - set(source.segments):
        group = owners.get(segment)
        if group is None or not source.position < group.position:
            return []
        between = program.traffic[source.position + 1 : group.position]
        between += source.traffic[:k] + source.traffic[k + 1 :]  # its own result is not kept
        if any(overlap(traffic.reads, each.writes) for each in between):
            return []
        number = group.segments.index(segment)
        if not group.may_read(source.members[k], group.nest_of[number]):
            return []
        reader = group.candidates[number]
        whole = (candidate.first, candidate.first + candidate.member.size - 1)
        for place, read in enumerate(reader.reads):
            if overlap((read,), (whole,)):
                walk = reader.member.operands[place].strides
                if (
                    read != whole
                    or reader.member.extents != candidate.member.extents
                    or walk != contiguous_strides(reader.member.extents)
                ):
                    return []
                found.setdefault(id(group), (group, []))[1].append((number, place))
    return list(found.values())


def _grown(program: Program, segment: int, rows: int, taken: set[int]) -> Growing:
    """Return the group of so many rows that grows from a segment on.

    What a member makes for others of the group alone never gets to memory; but that it
    does is known only once the group is there. So that is taken for granted of all that
    might, and where it turns out wrong the group grows again without it.
    """
    found = {
        ahead: candidate
        for ahead in range(segment, min(segment + _WINDOW, len(program.numbers)))
        if ahead not in taken and (candidate := candidate_of(program, ahead, rows))
    }
    passing = {ahead for ahead in found if program.readers_of(ahead) <= found.keys()}
    while True:
        group = _grown_once(program, segment, rows, found, passing)
        kept = {group.segments[k] for k in group.kept(program)}
        if passing.isdisjoint(kept):
            return group
        passing -= kept


def _grown_once(
    program: Program,
    segment: int,
    rows: int,
    candidates: dict[int, Candidate],
    passing: set[int],
) -> Growing:
    """Return the same, where it is taken for known what passes."""
    group = Growing(rows, frozenset(passing))
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


def _rows(program: Program, segment: int, taken: set[int]) -> list[int]:
    """Return what the rows of a group from a segment on might be."""
    vector = program.vector(segment)
    if vector.kind not in (MAP, REDUCE) or 0 in vector.shape or not (axes := walk_of(vector)):
        return []
    found = {axes[0][0]: None}
    for ahead in range(segment, min(segment + _AHEAD, len(program.numbers))):
        if program.is_vector(ahead) and ahead not in taken:
            extents = [extent for extent in program.vector(ahead).shape if extent > 1]
            if extents and axes[0][0] % extents[0] == 0:
                found[extents[0]] = None
    return sorted(found, reverse=True)[:3]


def _products(program: Program) -> Iterator[tuple[int, Product]]:
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
