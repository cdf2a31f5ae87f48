"""From instructions to text of LLVM: what machine code for points, lanes and loops shares.

Each instruction becomes the instructions of its row's own expression, emitted once a row and
then written out with the names of the operands. A `Writer` knows how the values of slots are
called in a function, and loads those that the function has not made.
"""

import ast
import re
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir

from numtape.ops.table import OPCODE, ROWS
from numtape.run import _kernels
from numtape.run.emitter import (
    SINGLE,
    Form,
    declaration,
    emit,
    functions_called,
    has_vector_forms,
)
from numtape.run.memory import Places
from numtape.tape.flat import VECTOR, FlatTape

__all__ = [
    *("PARAMETERS", "PointWriter", "Source", "Writer"),
    *("has_fma", "lines_of", "literal", "many_elements"),
]

Ints = npt.NDArray[np.int64]

_SCALE = OPCODE["scale"]
_SUSPECTS = 8  # sums that take turns to watch the products of `scale`; see `PointWriter`

# Of every function: the addresses of the places, of the lanes' places (see `lane_code`) and
# of the table of loops, and how many lanes to run.
PARAMETERS = "ptr %v, ptr %lanes, ptr %loops, i64 %count"


@dataclass(frozen=True)
class _Lines:
    """What a row becomes: text with {x}, {y} for operands and {n} for a number of its own."""

    text: str
    result: str
    declarations: tuple[str, ...] = field(default=())


@cache
def lines_of(opcode: int, form: Form, exact: bool) -> _Lines:
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
        return lines_of(opcode, form, exact=True)
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
    lines += _running(opcode)
    lines.append(f"%f = load {kind}, ptr %n{row.arity}\nret {kind} %f\n}}")
    call = f"call {kind} {name}(ptr %loops, "
    call += ", ".join(f"{kind} {{{name}}}" for name in "xy"[: row.arity]) + ")"
    return _Lines(f"%v{{n}} = {call}", "%v{n}", ("\n".join(lines),))


def many_elements(opcode: int) -> str:
    """Write a function that runs a row by its ufunc's loop, for as many elements as it is told.

    It is given the table of loops, address and step in bytes of each operand, the address of the
    results, and how many there are.
    """
    arity = ROWS[opcode].arity
    operands = "".join(f", ptr %x{k}, i64 %d{k}" for k in range(arity))
    lines = [
        f"define internal void @many.{opcode}(ptr %loops{operands}, ptr %f, i64 %n) noinline {{",
        "%pointers = alloca [3 x ptr]\n%steps = alloca [3 x i64]\n%count = alloca i64",
        "store i64 %n, ptr %count",
    ]
    for k in range(arity + 1):
        address, step = (f"%x{k}", f"%d{k}") if k < arity else ("%f", "8")
        lines += [
            f"%p{k} = getelementptr ptr, ptr %pointers, i64 {k}",
            f"%s{k} = getelementptr i64, ptr %steps, i64 {k}",
            f"store ptr {address}, ptr %p{k}\nstore i64 {step}, ptr %s{k}",
        ]
    return "\n".join([*lines, *_running(opcode), "ret void\n}"])


def _running(opcode: int) -> list[str]:
    """Write the call of a row's loop, whose tables are ready."""
    reached = OPCODE["pow"] if _is_libm_power(opcode) else opcode
    return [
        f"%entry = getelementptr ptr, ptr %loops, i64 {3 * reached}",
        f"%more = getelementptr ptr, ptr %loops, i64 {3 * reached + 1}",
        "%loop = load ptr, ptr %entry\n%data = load ptr, ptr %more",
        "call void %loop(ptr %pointers, ptr %count, ptr %steps, ptr %data)",
    ]


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
    square = _SQUARE.format(opcode=opcode, limit=literal(0.45 * 2.0**-52))
    call = f"%v{{n}} = call double @square.{opcode}(ptr %loops, double {{x}})"
    return _Lines(call, "%v{n}", (*loop.declarations, square, _FMA, _FABS))


def _point_lines(opcode: int, constant: float | None) -> _Lines:
    """Write a row at one point, whose second operand may be a known number."""
    if _is_libm_power(opcode) and constant == 2.0:
        return _exact_square(opcode)
    return lines_of(opcode, SINGLE, exact=True)


def literal(value: float) -> str:
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


def _guards_to_check(tape: FlatTape) -> dict[int, list[int]]:
    """Return the guards that can be looked at after each instruction, each after all before it."""
    found: dict[int, list[int]] = {}
    latest = 0
    for guard, slot in enumerate(tape.guard_slots.tolist()):
        latest = max(latest, tape.producer(slot) or 0)
        found.setdefault(latest, []).append(guard)
    return found


class Source:
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


class Writer(ABC):
    """Writes the body of a function that runs scalar instructions."""

    def __init__(self, source: Source, form: Form) -> None:
        self.source, self.form = source, form
        self.places, self.constants = source.places, source.constants
        self.kind = str(form.kind)
        self.declarations: dict[str, None] = {}
        self.names: dict[int, str] = {}
        self.lines: list[str] = []
        self.tag = ""  # of names, where several writers write for a function

    def operand(self, slot: int) -> str:
        """Load a slot's value where this function has not made it; return its name."""
        if slot not in self.names:
            if slot < len(self.constants):
                one = literal(self.constants[slot])
                each = ", ".join([f"double {one}"] * self.form.width)
                self.names[slot] = one if self.form.width == 1 else f"<{each}>"
            else:
                self.names[slot] = self.load(slot)
        return self.names[slot]

    @abstractmethod
    def load(self, slot: int) -> str:
        """Write the loading of a slot's value; its name."""

    def add(self, lines: _Lines, slot: int, x: str, y: str) -> None:
        self.declarations.update(dict.fromkeys(lines.declarations))
        number = f"{self.tag}{slot}"
        self.lines.append(lines.text.format(n=number, x=x, y=y))
        self.names[slot] = lines.result.format(n=number, x=x, y=y)


def has_fma() -> bool:
    """Return whether the processor multiplies and adds in one instruction."""
    return bool(binding.get_host_cpu_features().get("fma"))


class PointWriter(Writer):
    """Products by `scale` are the delicate part: 0 times anything is 0 there.

    Written out that is two comparisons, and a quarter of the speed. Added to 0 in the
    same instruction, a product is what `scale` gives unless it is nan; and then the
    kernel runs the segment instead. To notice that, 0 times every such product goes into
    one of some sums, which are looked at in the end. Not so on tapes with vector
    instructions: there the segment may have written over what it was given.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source, SINGLE)
        self.fused = has_fma() and source.tape.is_scalar
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
        zero, count = literal(0.0), self.suspects
        made, sums = f"%v{self.tag}{slot}", f"%t{self.tag}"
        before = f"{sums}{count - _SUSPECTS}" if count >= _SUSPECTS else zero
        call = "call double @llvm.fma.f64"
        self.lines.append(
            f"{made} = {call}(double {x}, double {y}, double {zero})\n"
            f"{sums}{count} = {call}(double {made}, double {zero}, double {before})"
        )
        self.names[slot], self.suspects = made, count + 1

    def watched(self, total: str, label: str) -> str:
        """Write the sum of something and of what watches the products; return its name."""
        for k in range(max(0, self.suspects - _SUSPECTS), self.suspects):
            self.lines.append(f"%{label}.{k} = fadd double {total}, %t{self.tag}{k}")
            total = f"%{label}.{k}"
        return total

    def finish(self, status: str, label: str) -> None:
        """Return a status, unless a product was nan."""
        total = self.watched(literal(0.0), label)
        self.lines.append(
            f"%{label}.c = fcmp uno double {total}, {total}\n"
            f"%{label}.s = select i1 %{label}.c, i64 {_kernels.UNFINISHED}, i64 {status}\n"
            f"ret i64 %{label}.s"
        )
