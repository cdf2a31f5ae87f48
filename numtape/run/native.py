"""A tape as straight-line code of LLVM: no opcode is looked at during the run.

Each instruction becomes the instructions of its row's own expression, emitted once
a row and then written out with the names of the operands. Inside a function
results have no place in memory; only what is read later on has. Long runs of
instructions are cut into functions, so that LLVM's time stays in proportion.

This module writes text. Turning that into machine code is `machine_code.py`'s part,
and when to do so is `compiling.py`'s.
"""

import ast
import math
import re
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir

from numtape.ops.table import OPCODE, ROWS
from numtape.run import _kernels, emitter
from numtape.run.emitter import (
    SINGLE,
    Form,
    declaration,
    emit,
    functions_called,
    has_vector_forms,
)
from numtape.run.fusion import fuse
from numtape.run.memory import Places, unshared
from numtape.run.native_loops import Steps, native_loops
from numtape.tape.flat import VECTOR, FlatTape

__all__ = ["Code", "lane_code", "point_code"]

Ints = npt.NDArray[np.int64]

# So many instructions make a function, and a module: LLVM's time for one grows faster than its
# length from about here on, and other users of LLVM wait for one module at most.
_CHUNK = 500

_SCALE = OPCODE["scale"]
_SUSPECTS = 8  # sums that take turns to watch the products of `scale`; see `_PointWriter`

# Of every function: the addresses of the places, of the lanes' places (see `lane_code`) and
# of the table of loops, and how many lanes to run.
_PARAMETERS = "ptr %v, ptr %lanes, ptr %loops, i64 %count"


@dataclass(frozen=True)
class Code:
    """The text of modules, and the functions that a kernel calls: names by segment."""

    modules: tuple[str, ...]
    functions: dict[int, str]


@dataclass(frozen=True)
class _Lines:
    """What a row becomes: text with {x}, {y} for operands and {n} for a number of its own."""

    text: str
    result: str
    declarations: tuple[str, ...] = field(default=())


@cache
def _lines(opcode: int, form: Form, exact: bool) -> _Lines:
    """Return the instructions of a row, or a call of its ufunc's loop where it has no expression.

    Where `exact` is true they round as at a single point, and what an expression calls are
    loops of the rows so named.
    """
    row = ROWS[opcode]
    text = row.primal if exact or row.vector is None else row.vector
    expression = None if text is None else ast.parse(text, mode="eval").body
    if expression is None or (row.is_power and exact):
        return _call_of_loop(opcode, form)
    if not exact and not has_vector_forms(expression):
        return _lines(opcode, form, exact=True)
    called = (
        {}
        if not exact
        else {name: _call_of_loop(OPCODE[name], form) for name, _ in functions_called(expression)}
    )
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(form.kind, [form.kind] * row.arity), "row")
    builder = ir.IRBuilder(function.append_basic_block())
    symbol = (lambda name, _: _loop_symbol(OPCODE[name], form)) if exact else None
    result = emit(builder, form, expression, function.args, symbol)
    names = {f'%"{operand.name}"': "{" + "xy"[k] + "}" for k, operand in enumerate(function.args)}

    def renamed(text: str) -> str:
        text = re.sub(r'@"(loop[^"]+)"\(', r"@\1(ptr %loops, ", text)
        return re.sub(r'%"([^"]+)"', lambda match: names.get(match[0], "%v{n}" + match[1]), text)

    declarations = [each for lines in called.values() for each in lines.declarations]
    for each in module.globals.values():
        if each is not function and not each.name.startswith("loop."):
            kinds = [argument.type for argument in each.args]
            declarations.append(declaration(each.name, each.ftype.return_type, kinds))
    return _Lines(
        "\n".join(renamed(str(instruction)) for instruction in builder.block.instructions),
        renamed(result.get_reference()),
        tuple(declarations),
    )


def _loop_symbol(opcode: int, form: Form) -> str:
    return f"loop.{opcode}.{form.width}"


def _is_libm_power(opcode: int) -> bool:
    """Return whether it is x**y as the C library has it, and not NumPy's loop `power`."""
    return ROWS[opcode].is_power and ROWS[opcode].primal is not None


def _call_of_loop(opcode: int, form: Form) -> _Lines:
    """Write a row run by its ufunc's loop, which is found by address in the kernels' table."""
    kind, width, row = str(form.kind), form.width, ROWS[opcode]
    operands = [f"{kind} %{name}" for name in "xy"[: row.arity]]
    name = f"@{_loop_symbol(opcode, form)}"
    step = 0 if width == 1 else 8  # NumPy has steps of 0 for one element
    lines = [
        f"define internal {kind} {name}(ptr %loops, {', '.join(operands)}) noinline {{",
        f"%numbers = alloca [3 x {kind}], align 64",
        "%pointers = alloca [3 x ptr]\n%steps = alloca [3 x i64]\n%count = alloca i64",
        f"store i64 {width}, ptr %count",
    ]
    for k in range(row.arity + 1):
        lines += [
            f"%n{k} = getelementptr {kind}, ptr %numbers, i64 {k}",
            f"%p{k} = getelementptr ptr, ptr %pointers, i64 {k}",
            f"%s{k} = getelementptr i64, ptr %steps, i64 {k}",
            f"store ptr %n{k}, ptr %p{k}\nstore i64 {step}, ptr %s{k}",
        ]
        if k < row.arity:
            lines.append(f"store {kind} %{'xy'[k]}, ptr %n{k}")
    reached = OPCODE["pow"] if _is_libm_power(opcode) else opcode
    lines += [
        f"%entry = getelementptr ptr, ptr %loops, i64 {3 * reached}",
        f"%more = getelementptr ptr, ptr %loops, i64 {3 * reached + 1}",
        "%loop = load ptr, ptr %entry\n%data = load ptr, ptr %more",
        "call void %loop(ptr %pointers, ptr %count, ptr %steps, ptr %data)",
        f"%f = load {kind}, ptr %n{row.arity}\nret {kind} %f\n}}",
    ]
    call = f"call {kind} {name}(ptr %loops, "
    call += ", ".join(f"{kind} {{{name}}}" for name in "xy"[: row.arity]) + ")"
    return _Lines(f"%v{{n}} = {call}", "%v{n}", ("\n".join(lines),))


_SQUARE = """define internal double @square.{opcode}(ptr %loops, double %x) {{
%f = fmul double %x, %x
%n = fneg double %f
%r = call double @llvm.fma.f64(double %x, double %x, double %n)
%w = bitcast double %f to i64
%e = and i64 %w, 9218868437227405312
%u = bitcast i64 %e to double
%l = fmul double %u, {limit}
%a = call double @llvm.fabs.f64(double %r)
%c = fcmp olt double %a, %l
br i1 %c, label %clear, label %close
clear:
ret double %f
close:
%g = call double @loop.{opcode}.1(ptr %loops, double %x, double 0x4000000000000000)
ret double %g
}}"""
_FMA = declaration("llvm.fma.f64", "double", ["double"] * 3)
_FABS = declaration("llvm.fabs.f64", "double", ["double"])


def _exact_square(opcode: int) -> _Lines:
    """Write x**2 as the kernel `libm_pow` has it: a product where that surely rounds the same."""
    loop = _call_of_loop(opcode, SINGLE)
    square = _SQUARE.format(opcode=opcode, limit=_literal(0.45 * 2.0**-52))
    call = f"%v{{n}} = call double @square.{opcode}(ptr %loops, double {{x}})"
    return _Lines(call, "%v{n}", (*loop.declarations, square, _FMA, _FABS))


def _point_lines(opcode: int, constant: float | None) -> _Lines:
    """Write a row at one point, whose second operand may be a known number."""
    if _is_libm_power(opcode) and constant == 2.0:
        return _exact_square(opcode)
    return _lines(opcode, SINGLE, exact=True)


def _literal(value: float) -> str:
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _last_reads(tape: FlatTape) -> Ints:
    """Return for each slot the number of the last instruction that reads it.

    It is beyond all of them for what is read at the end, outputs and guards and with a
    guard the operands that explain it, and for what vector instructions read.
    """
    last = np.full(tape.slots, -1, np.int64)
    scalars = np.flatnonzero(tape.code[:, 0] != VECTOR)
    for column in (1, 2):
        np.maximum.at(last, tape.code[scalars, column], scalars)
    last[tape.outputs] = last[tape.guard_slots] = tape.instructions
    for slot in tape.guard_slots.tolist():
        number = tape.producer(slot)
        if number is not None and tape.code[number, 0] != VECTOR:
            last[tape.code[number, 1:]] = tape.instructions
    for vector in tape.vectors:
        for view, shape in zip(vector.operands, vector.operand_shapes(), strict=True):
            if view.table is None:
                low, high = view.reach(shape)
                last[low : high + 1] = tape.instructions
            else:
                last[view.table] = tape.instructions
    return last


def _chunks(start: int, stop: int) -> list[tuple[int, int]]:
    """Return where functions begin and end; there is one at least."""
    starts = range(start, max(stop, start + 1), _CHUNK)
    return [(first, min(first + _CHUNK, stop)) for first in starts]


def _guards_to_check(tape: FlatTape) -> dict[int, list[int]]:
    """Return the guards that can be looked at after each instruction, each after all before it."""
    found: dict[int, list[int]] = {}
    latest = 0
    for guard, slot in enumerate(tape.guard_slots.tolist()):
        latest = max(latest, tape.producer(slot) or 0)
        found.setdefault(latest, []).append(guard)
    return found


class _Source:
    """What all writers for a tape read."""

    def __init__(self, tape: FlatTape, places: Places) -> None:
        self.tape = tape
        self.code = tape.code
        # Lists are quick to read one by one, and slow to make where there are arrays.
        self.places = np.asarray(places).tolist() if tape.is_scalar else places
        self.constants = [0.0, *tape.constants.tolist()]
        self.results = tape.results.tolist()
        last = _last_reads(tape)
        self.last = last.tolist() if tape.is_scalar else last
        self.guards = _guards_to_check(tape) if tape.is_scalar else {}

    def outputs_of(self, places: Ints) -> dict[int, list[int]]:
        """Return where outputs go, for each slot that is one."""
        found: dict[int, list[int]] = {}
        for slot, place in zip(self.tape.outputs.tolist(), places.tolist(), strict=True):
            found.setdefault(slot, []).append(place)
        return found


class _Writer(ABC):
    """Writes the body of a function that runs scalar instructions."""

    def __init__(self, source: _Source, form: Form) -> None:
        self.source, self.form = source, form
        self.places, self.constants = source.places, source.constants
        self.kind = str(form.kind)
        self.declarations: dict[str, None] = {}
        self.names: dict[int, str] = {}
        self.lines: list[str] = []

    def operand(self, slot: int) -> str:
        """Load a slot's value where this function has not made it; return its name."""
        if slot not in self.names:
            if slot < len(self.constants):
                literal = _literal(self.constants[slot])
                each = ", ".join([f"double {literal}"] * self.form.width)
                self.names[slot] = literal if self.form.width == 1 else f"<{each}>"
            else:
                self.names[slot] = self.load(slot)
        return self.names[slot]

    @abstractmethod
    def load(self, slot: int) -> str:
        """Write the loading of a slot's value; its name."""

    def add(self, lines: _Lines, slot: int, x: str, y: str) -> None:
        self.declarations.update(dict.fromkeys(lines.declarations))
        self.lines.append(lines.text.format(n=slot, x=x, y=y))
        self.names[slot] = lines.result.format(n=slot, x=x, y=y)


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
) -> Code:
    """Return code that does what segments of a plan do at one point.

    Its functions return -1, or the number of the first guard that does not hold, or
    `UNFINISHED`: the kernel then has to run the segment itself. `free` says of each
    instruction over arrays whether it may round unlike NumPy. `is_body` says whether the tape is
    run by a loop.
    """
    source, fused = _Source(tape, places), fuse(tape, places, segments, free)
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
    loops, named = native_loops(tape, places, segments, free, _loop_module)
    return Code((*modules, *loops), functions | named)


def _calls(name: str, count: int) -> str:
    """Write a function that calls others one by one, until one says that all is not well."""
    lines = [f"declare i64 @{name}.{k}({_PARAMETERS})" for k in range(count)]
    lines.append(f"define i64 @{name}({_PARAMETERS}) {{")
    for k in range(count):
        lines += [
            f"%s{k} = call i64 @{name}.{k}({_PARAMETERS})",
            f"%c{k} = icmp eq i64 %s{k}, -1",
            f"br i1 %c{k}, label %after{k}, label %out{k}",
            f"out{k}:\nret i64 %s{k}",
            f"after{k}:",
        ]
    return "\n".join([*lines, "ret i64 -1", "}"])


class _PointWriter(_Writer):
    """Products by `scale` are the delicate part: 0 times anything is 0 there.

    Written out that is two comparisons, and a quarter of the speed. Added to 0 in the
    same instruction, a product is what `scale` gives unless it is nan; and then the
    kernel runs the segment instead. To notice that, 0 times every such product goes into
    one of some sums, which are looked at in the end. Not so on tapes with vector
    instructions: there the segment may have written over what it was given.
    """

    def __init__(self, source: _Source) -> None:
        super().__init__(source, SINGLE)
        has_fma = bool(binding.get_host_cpu_features().get("fma"))
        self.fused = has_fma and source.tape.is_scalar
        self.suspects = 0

    def load(self, slot: int) -> str:
        place = self.places[slot]
        self.lines.append(
            f"%a{slot} = getelementptr double, ptr %v, i64 {place}\n"
            f"%v{slot} = load double, ptr %a{slot}"
        )
        return f"%v{slot}"

    def store(self, slot: int) -> None:
        place = self.places[slot]
        self.lines.append(
            f"%b{slot} = getelementptr double, ptr %v, i64 {place}\n"
            f"store double {self.names[slot]}, ptr %b{slot}"
        )

    def instruction(self, number: int) -> None:
        opcode, a, b = self.source.code[number].tolist()
        slot = self.source.results[number]
        x, y = self.operand(a), self.operand(b)
        if opcode == _SCALE and self.fused:
            self.scale(slot, x, y)
        else:
            known = self.constants[b] if b < len(self.constants) else None
            self.add(_point_lines(opcode, known), slot, x, y)

    def scale(self, slot: int, x: str, y: str) -> None:
        self.declarations[_FMA] = None
        zero, count = _literal(0.0), self.suspects
        before = f"%t{count - _SUSPECTS}" if count >= _SUSPECTS else zero
        call = "call double @llvm.fma.f64"
        self.lines.append(
            f"%v{slot} = {call}(double {x}, double {y}, double {zero})\n"
            f"%t{count} = {call}(double %v{slot}, double {zero}, double {before})"
        )
        self.names[slot], self.suspects = f"%v{slot}", count + 1

    def finish(self, status: str, label: str) -> None:
        """Return a status, unless a product was nan."""
        watched = range(max(0, self.suspects - _SUSPECTS), self.suspects)
        total = _literal(0.0)
        for k in watched:
            self.lines.append(f"%{label}.{k} = fadd double {total}, %t{k}")
            total = f"%{label}.{k}"
        self.lines.append(
            f"%{label}.c = fcmp uno double {total}, {total}\n"
            f"%{label}.s = select i1 %{label}.c, i64 {_kernels.UNFINISHED}, i64 {status}\n"
            f"ret i64 %{label}.s"
        )


def _point_module(source: _Source, start: int, stop: int, name: str) -> str:
    writer, tape = _PointWriter(source), source.tape
    for number in range(start, stop):
        writer.instruction(number)
        slot = source.results[number]
        if source.last[slot] >= stop:
            writer.store(slot)
        for guard in source.guards.get(number, ()):
            value = writer.operand(tape.guards[guard].slot)
            outcome = tape.guards[guard].outcome
            differs = f"ord double {value}, {value}"  # from nan
            if not math.isnan(outcome):
                differs = f"une double {value}, {_literal(outcome)}"
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
            f"define i64 @{name}({_PARAMETERS}) {{",
            *writer.lines,
            "}",
        ]
    )


# Loops.


class _LoopWriter(_Writer):
    """Writes one step of a loop."""

    def __init__(self, source: _Source) -> None:
        super().__init__(source, SINGLE)

    def load(self, slot: int) -> str:
        raise AssertionError(f"slot {slot} of a body is read before it is made")

    def instruction(self, number: int) -> None:
        opcode, a, b = self.source.code[number].tolist()
        x, y = self.operand(a), self.operand(b)
        lines = _point_lines(opcode, self.constants[b] if b < len(self.constants) else None)
        self.add(lines, self.source.results[number], x, y)


def _loop_module(name: str, loop: Steps) -> str:
    """Write a function that runs a loop."""
    body, tape = loop.body, loop.tape
    writer = _LoopWriter(_Source(tape, unshared(tape)[0]))
    inputs = range(tape.first_input, tape.first_result)
    writer.names |= {slot: f"%v{slot}" for slot in inputs}
    carried, read = body.carried, len(loop.reads)

    def load(name: str, index: str) -> str:
        return f"%a.{name} = {_at(index)}\n%{name} = load double, ptr %a.{name}"

    before, reads = [], []
    for slot, place in zip(inputs[:carried], loop.first.tolist(), strict=True):
        before.append(load(f"i{slot}", str(place)))
    for slot, place in zip(inputs[carried + read :], loop.same.tolist(), strict=True):
        before.append(load(f"v{slot}", str(place)))
    for slot, (place, step) in zip(inputs[carried : carried + read], loop.reads, strict=True):
        reads += [_moving(f"r{slot}", place, step), load(f"v{slot}", f"%r{slot}")]
    for number in range(tape.instructions):
        writer.instruction(number)
    outputs = [writer.operand(slot) for slot in tape.outputs.tolist()]
    writes = []
    for k, (place, step) in enumerate(loop.writes()):
        writes += [
            _moving(f"w{k}", place, step),
            f"%o{k} = {_at(f'%w{k}')}\nstore double {outputs[carried + k]}, ptr %o{k}",
        ]
    phis = [
        f"%v{slot} = phi double [%i{slot}, %entry], [{output}, %body]"
        for slot, output in zip(inputs[:carried], outputs, strict=False)
    ]
    last = [
        f"%l{k} = {_at(str(loop.result + k))}\nstore double {outputs[k]}, ptr %l{k}"
        for k in range(carried)
    ]
    return "\n".join(
        [
            *writer.declarations,
            f"define i64 @{name}({_PARAMETERS}) {{\nentry:",
            *before,
            "br label %body\nbody:",
            "%step = phi i64 [0, %entry], [%next, %body]",
            *phis,
            *reads,
            *writer.lines,
            *writes,
            "%next = add i64 %step, 1",
            f"%more = icmp slt i64 %next, {loop.steps}",
            "br i1 %more, label %body, label %done\ndone:",
            *last,
            "ret i64 -1\n}",
        ]
    )


def _at(index: str) -> str:
    return f"getelementptr double, ptr %v, i64 {index}"


def _moving(name: str, place: int, step: int) -> str:
    """Write the index of a place that moves from step to step."""
    return f"%m.{name} = mul i64 %step, {step}\n%{name} = add i64 %m.{name}, {place}"


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
    source = _Source(tape, places)
    wanted = source.outputs_of(outputs)
    modules = [
        _lane_module(
            _LaneWriter(source, uniforms, lanes, wanted), opcodes, exact, first, last, f"lanes.{k}"
        )
        for k, (first, last) in enumerate(_chunks(0, tape.instructions))
    ]
    return Code((*modules, _calls("lanes", len(modules))), {0: "lanes"})


class _LaneWriter(_Writer):
    def __init__(
        self, source: _Source, uniforms: int, lanes: int, outputs: dict[int, list[int]]
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
    for number in range(start, stop):
        slot = results[number]
        _, a, b = code[number].tolist()
        if slot not in writer.names:  # else it came with its sine or cosine
            x, y = writer.operand(a), writer.operand(b)
            if number in pairs:
                _write_pair(writer, pairs[number], x)
            else:
                lines = _lines(int(opcodes[number]), writer.form, bool(exact[number]))
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
            f"define i64 @{name}({_PARAMETERS}) {{\nentry:",
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
