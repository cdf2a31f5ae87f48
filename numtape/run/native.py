"""A tape as straight-line code of LLVM: no opcode is looked at during the run.

Each instruction becomes the instructions of its row's own expression, emitted once
a row and then written out with the names of the operands. Inside a function
results have no place in memory; only what is read later on has. Long runs of
instructions are cut into functions, so that LLVM's time stays in proportion.

This module writes text. Turning that into machine code is `machine_code.py`'s part,
and when to do so is `compiling.py`'s.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numtape.ops.table import OPCODE
from numtape.run import emitter
from numtape.run.emitter import Form, declaration
from numtape.run.fusion import fuse
from numtape.run.loop_code import loop_module
from numtape.run.memory import Places
from numtape.run.native_loops import native_loops
from numtape.run.strips import NO_STRIPS, Strips
from numtape.run.writers import PARAMETERS, PointWriter, Source, Writer, lines_of, literal
from numtape.tape.flat import FlatTape

__all__ = ["Code", "lane_code", "point_code"]

Ints = npt.NDArray[np.int64]

# So many instructions make a function, and a module: LLVM's time for one grows faster than its
# length from about here on, and other users of LLVM wait for one module at most.
_CHUNK = 500


@dataclass(frozen=True)
class Code:
    """The text of modules, and the functions that a kernel calls: names by segment."""

    modules: tuple[str, ...]
    functions: dict[int, str]


def _chunks(start: int, stop: int) -> list[tuple[int, int]]:
    """Return where functions begin and end; there is one at least."""
    starts = range(start, max(stop, start + 1), _CHUNK)
    return [(first, min(first + _CHUNK, stop)) for first in starts]


# A point.

# A function takes LLVM several milliseconds, and saves 2 ns an instruction. Where many runs of
# scalar instructions lie between vector instructions, shorter ones are left to the kernel.
_MANY, _SHORTEST, _SHORTEST_OF_BODY = 64, 128, 32


def point_code(
    tape: FlatTape,
    places: Places,
    segments: Ints,
    free: npt.NDArray[np.bool_] | None = None,
    is_body: bool = False,
    strips: Strips = NO_STRIPS,
) -> Code:
    """Return code that does what segments of a plan do at one point.

    Its functions return -1, or the number of the first guard that does not hold, or
    `UNFINISHED`: the kernel then has to run the segment itself. `free` says of each
    instruction over arrays whether it may round unlike NumPy. `is_body` says whether the tape is
    run by a loop.
    """
    source, fused = Source(tape, places), fuse(tape, places, segments, free, strips)
    modules, functions = list(fused.modules), dict(fused.functions)
    shortest = _SHORTEST if np.count_nonzero(segments[:, 3] < 0) > _MANY else 0
    if is_body and not tape.is_scalar:
        shortest = max(shortest, _SHORTEST_OF_BODY)
    for number, (start, stop, _, words) in enumerate(segments.tolist()):
        if words < 0 and stop - start >= shortest:
            name = functions[number] = f"segment{number}"
            parts = [
                _point_module(source, first, last, f"{name}.{k}")
                for k, (first, last) in enumerate(_chunks(start, stop))
            ]
            modules += [*parts, _calls(name, len(parts))]
    loops, named = native_loops(tape, places, segments, free, loop_module)
    return Code((*modules, *loops), functions | named)


def _calls(name: str, count: int) -> str:
    """Write a function that calls others one by one, until one says that all is not well."""
    lines = [f"declare i64 @{name}.{k}({PARAMETERS})" for k in range(count)]
    lines.append(f"define i64 @{name}({PARAMETERS}) {{")
    for k in range(count):
        lines += [
            f"%s{k} = call i64 @{name}.{k}({PARAMETERS})",
            f"%c{k} = icmp eq i64 %s{k}, -1",
            f"br i1 %c{k}, label %after{k}, label %out{k}",
            f"out{k}:\nret i64 %s{k}",
            f"after{k}:",
        ]
    return "\n".join([*lines, "ret i64 -1", "}"])


def _point_module(source: Source, start: int, stop: int, name: str) -> str:
    writer, tape = PointWriter(source), source.tape
    choices = _choices(source, start, stop)
    for number in range(start, stop):
        slot = source.results[number]
        if number in choices:
            _write_choice(writer, slot, *choices[number])
        else:
            writer.instruction(number)
        if source.last[slot] >= stop:
            writer.store(slot)
        for guard in source.guards.get(number, ()):
            value = writer.operand(tape.guards[guard].slot)
            outcome = tape.guards[guard].outcome
            differs = f"ord double {value}, {value}"  # from nan
            if not math.isnan(outcome):
                differs = f"une double {value}, {literal(outcome)}"
            writer.lines.append(
                f"%g{guard} = fcmp {differs}\n"
                f"br i1 %g{guard}, label %fail{guard}, label %hold{guard}\nfail{guard}:"
            )
            writer.finish(str(guard), f"f{guard}")
            writer.lines.append(f"hold{guard}:")
    writer.finish("-1", "end")
    return "\n".join(
        [
            *writer.declarations,
            f"define i64 @{name}({PARAMETERS}) {{",
            *writer.lines,
            "}",
        ]
    )


_KEEP, _DROP, _MERGE = OPCODE["keep"], OPCODE["drop"], OPCODE["merge"]


def _choices(source: Source, start: int, stop: int) -> dict[int, tuple[int, int, int]]:
    """Return the merges of what one mask keeps and drops: by number the mask, and the two arms.

    As one choice they take a third of the operations. The arms as they were are left to LLVM, which
    leaves out what nobody reads.
    """
    arms: dict[int, tuple[int, int, int]] = {}  # by slot the opcode, the mask and the arm
    found = {}
    for number in range(start, stop):
        opcode, a, b = source.code[number].tolist()
        if opcode in (_KEEP, _DROP):
            arms[source.results[number]] = opcode, a, b
        elif opcode == _MERGE and a in arms and b in arms:
            (one, mask, x), (other, same, y) = arms[a], arms[b]
            if mask == same and one != other:
                found[number] = (mask, x, y) if one == _KEEP else (mask, y, x)
    return found


def _write_choice(writer: Writer, slot: int, mask: int, kept: int, other: int) -> None:
    """Write a choice between two arms."""
    kind, width = writer.kind, writer.form.width
    bits = "i1" if width == 1 else f"<{width} x i1>"
    chosen, left = writer.operand(kept), writer.operand(other)
    writer.lines.append(
        f"%q{slot} = fcmp une {kind} {writer.operand(mask)}, zeroinitializer\n"
        f"%v{slot} = select {bits} %q{slot}, {kind} {chosen}, {kind} {left}"
    )
    writer.names[slot] = f"%v{slot}"


# Lanes.


def lane_code(
    tape: FlatTape,
    places: Places,
    opcodes: Ints,
    exact: npt.NDArray[np.bool_],
    uniforms: int,
    lanes: int,
    outputs: Ints,
) -> Code:
    """Return code that runs a tape of scalar instructions for lanes.

    Parameters
    ----------
    tape, places
        The tape, and the place of each slot.
    opcodes : int64 array
        What to run in place of each instruction's own operation.
    exact : bool array
        Whether it is to round as at a single point.
    uniforms : int
        Places below this hold one value for all lanes.
    lanes : int
        How far places are apart.
    outputs : int64 array
        Where to put each output's lanes.
    """
    source = Source(tape, places)
    wanted = source.outputs_of(outputs)
    modules = [
        _lane_module(
            _LaneWriter(source, uniforms, lanes, wanted), opcodes, exact, first, last, f"lanes.{k}"
        )
        for k, (first, last) in enumerate(_chunks(0, tape.instructions))
    ]
    return Code((*modules, _calls("lanes", len(modules))), {0: "lanes"})


class _LaneWriter(Writer):
    def __init__(
        self, source: Source, uniforms: int, lanes: int, outputs: dict[int, list[int]]
    ) -> None:
        super().__init__(source, emitter.vector_form())
        self.uniforms, self.lanes = uniforms, lanes
        self.outputs = outputs  # places by slot
        self.before: list[str] = []  # what is done once, before the loop over lanes

    def load(self, slot: int) -> str:
        place = self.places[slot]
        if place < self.uniforms:
            zeros = f"<{self.form.width} x i32> zeroinitializer"
            self.before.append(
                f"%a{slot} = getelementptr double, ptr %v, i64 {place}\n"
                f"%u{slot} = load double, ptr %a{slot}\n"
                f"%w{slot} = insertelement {self.kind} poison, double %u{slot}, i32 0\n"
                f"%v{slot} = shufflevector {self.kind} %w{slot}, {self.kind} poison, {zeros}"
            )
        else:
            self.lines.append(
                f"%a{slot} = {self.address(place)}\n"
                f"%v{slot} = load {self.kind}, ptr %a{slot}, align {8 * self.form.width}"
            )
        return f"%v{slot}"

    def store(self, slot: int, place: int) -> None:
        self.lines.append(
            f"%b{slot}.{place} = {self.address(place)}\n"
            f"store {self.kind} {self.operand(slot)}, ptr %b{slot}.{place}, "
            f"align {8 * self.form.width}"
        )

    def address(self, place: int) -> str:
        return f"getelementptr double, ptr %here, i64 {(place - self.uniforms) * self.lanes}"


def _lane_module(
    writer: _LaneWriter,
    opcodes: Ints,
    exact: npt.NDArray[np.bool_],
    start: int,
    stop: int,
    name: str,
) -> str:
    code, results = writer.source.code, writer.source.results
    pairs = _sines_with_cosines(code, opcodes, exact, start, stop)
    choices = _choices(writer.source, start, stop)
    for number in range(start, stop):
        slot = results[number]
        _, a, b = code[number].tolist()
        if number in choices:
            _write_choice(writer, slot, *choices[number])
        elif slot not in writer.names:  # else it came with its sine or cosine
            x, y = writer.operand(a), writer.operand(b)
            if number in pairs:
                _write_pair(writer, pairs[number], x)
            else:
                lines = lines_of(int(opcodes[number]), writer.form, bool(exact[number]))
                writer.add(lines, slot, x, y)
        if writer.source.last[slot] >= stop:
            writer.store(slot, writer.places[slot])
        for place in writer.outputs.get(slot, ()):
            writer.store(slot, place)
    if stop == len(code):
        for slot in writer.outputs.keys() - set(range(results[0], results[-1])):
            for place in writer.outputs[slot]:
                writer.store(slot, place)
    return "\n".join(
        [
            *writer.declarations,
            f"define i64 @{name}({PARAMETERS}) {{\nentry:",
            *writer.before,
            "br label %test\ntest:",
            "%lane = phi i64 [0, %entry], [%next, %body]",
            "%more = icmp slt i64 %lane, %count",
            "br i1 %more, label %body, label %done\nbody:",
            "%here = getelementptr double, ptr %lanes, i64 %lane",
            *writer.lines,
            f"%next = add i64 %lane, {writer.form.width}",
            "br label %test\ndone:\nret i64 -1\n}",
        ]
    )


_SIN, _COS = OPCODE["sin"], OPCODE["cos"]


def _sines_with_cosines(
    code: npt.NDArray[np.int32], opcodes: Ints, exact: npt.NDArray[np.bool_], start: int, stop: int
) -> dict[int, tuple[int, int]]:
    """Return the instructions whose sine or cosine goes with another's of the same operand.

    The first one's number of each pair leads to the numbers of the sine and the cosine.
    """
    if not hasattr(emitter.vector_library(), _sincos(emitter.vector_form())):
        return {}
    seen: dict[tuple[int, int], int] = {}
    pairs = {}
    for number in range(start, stop):
        opcode = int(opcodes[number])
        if opcode in (_SIN, _COS) and not exact[number]:
            operand = int(code[number, 1])
            other = seen.get((_COS if opcode == _SIN else _SIN, operand))
            seen[opcode, operand] = number
            if other is not None:
                pairs[other] = (number, other) if opcode == _SIN else (other, number)
    return pairs


def _sincos(form: Form) -> str:
    """Name the library's function for both; it writes them to two addresses."""
    return f"_ZGV{form.mark}N{form.width}vl8l8_sincos"


def _write_pair(writer: _LaneWriter, pair: tuple[int, int], x: str) -> None:
    kind, name = writer.kind, _sincos(writer.form)
    writer.declarations[declaration(name, "void", [kind, "ptr", "ptr"])] = None
    slots = [writer.source.results[number] for number in pair]
    for slot in slots:
        writer.before.append(f"%m{slot} = alloca {kind}, align 64")
    addresses = ", ".join(f"ptr %m{slot}" for slot in slots)
    writer.lines.append(f"call void @{name}({kind} {x}, {addresses})")
    for slot in slots:
        writer.lines.append(f"%v{slot} = load {kind}, ptr %m{slot}, align 64")
        writer.names[slot] = f"%v{slot}"
