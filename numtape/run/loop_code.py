"""The function of a loop: what is carried stays in registers.

Functions that only NumPy's loops compute take ten times as long for one element as for each of
many. Where what such a call computes is not needed before the next step (a logarithm that is
summed up, say), the loop goes in blocks of steps and in *stages*: in one, all steps of the block
compute operands; then there is one call for all; in the next stage steps go on from there. What a
later stage reads lies in a buffer of the block. The operations are the same, and so are the bits.
"""

from dataclasses import dataclass, field
from functools import cached_property

from numtape.ops.table import ROWS
from numtape.run import _kernels
from numtape.run.memory import unshared
from numtape.run.native_loops import Steps
from numtape.run.writers import PARAMETERS, PointWriter, Source, has_fma, literal, many_elements

__all__ = ["loop_module"]

_BLOCK = 64  # steps: buffers of many values stay in the first-level cache
_MOST_BUFFERS = 256
_MOST_CALLS = 64


def loop_module(name: str, loop: Steps) -> str:
    """Write a function that runs a loop."""
    return _Function(name, loop).text()


@dataclass(frozen=True)
class _Stages:
    """When each instruction of a body runs.

    Attributes
    ----------
    of_slot : list of int
        The stage in which the value of each slot is there.
    late : frozenset of int
        The instructions that are run for a block of steps, between two stages.
    count : int
    """

    of_slot: list[int]
    late: frozenset[int]
    count: int


def _stages(loop: Steps) -> _Stages:
    tape = loop.tape
    late = _late(loop)
    code, first = tape.code.tolist(), tape.first_result
    carried = range(tape.first_input, tape.first_input + loop.body.carried)
    outputs = tape.outputs.tolist()
    stages = [0] * tape.slots
    while True:
        before = list(stages)
        for number, (_, a, b) in enumerate(code):
            stages[first + number] = max(stages[a], stages[b]) + (number in late)
        for slot, output in zip(carried, outputs, strict=False):
            stages[slot] = max(stages[slot], stages[output])
        if stages == before:
            return _Stages(stages, late, 1 + max(stages))


def _late(loop: Steps) -> frozenset[int]:
    """Return the instructions that call NumPy's loops, and whose operands need no result of theirs.

    Neither in the same step nor by what is carried to later ones.
    """
    tape = loop.tape
    code, first = tape.code.tolist(), tape.first_result
    calls = [number for number, (opcode, _, _) in enumerate(code) if ROWS[opcode].primal is None]
    if loop.steps < 2 * _BLOCK or len(calls) > _MOST_CALLS:
        return frozenset()
    carried = range(tape.first_input, tape.first_input + loop.body.carried)
    outputs = tape.outputs.tolist()
    late = []
    for call in calls:
        reached = [False] * tape.slots
        reached[first + call] = True
        found = 0
        while found != (found := sum(reached)):
            for number, (_, a, b) in enumerate(code):
                reached[first + number] |= reached[a] or reached[b]
            for slot, output in zip(carried, outputs, strict=False):
                reached[slot] |= reached[output]
        if not (reached[code[call][1]] or reached[code[call][2]]):
            late.append(call)
    return frozenset(late)


class _StageWriter(PointWriter):
    """Writes what a stage does in one step.

    Its results never lie where its operands do, so the kernel can run the loop again.

    Parameters
    ----------
    source : Source
    function : _Function
    stage : int
    """

    def __init__(self, source: Source, function: "_Function", stage: int) -> None:
        super().__init__(source)
        self.fused = has_fma()
        self.tag = f"{stage}."
        self.function, self.stage = function, stage
        self.carries: list[tuple[int, str]] = []  # slots, and their next values

    def load(self, slot: int) -> str:
        """Write the loading of what is read at this step, or was made by an earlier stage."""
        name = f"%v{self.tag}{slot}"
        place = self.function.places_read.get(slot)
        if place is not None:
            index = f"%r{self.tag}{slot}"
            self.lines += [_moving(index, f"%step{self.tag}", *place), _loaded(name, "%v", index)]
        else:
            self.function.buffered[slot] = None
            self.lines.append(_loaded(name, f"%buffer{slot}", f"%k{self.tag}"))
        return name

    def keep(self, slot: int) -> None:
        """Write the storing of a value that a later stage reads."""
        value, address = self.operand(slot), f"%k{self.tag}{slot}"
        self.lines.append(_stored(value, address, f"%buffer{slot}", f"%k{self.tag}"))


@dataclass
class _Function:
    """A function being written.

    Attributes
    ----------
    name : str
    loop : Steps
    buffered : dict
        The slots whose values lie in buffers.
    fixed : dict
        The names of what is the same at all steps, by slot.
    cells : list of str
        What makes room for such numbers as calls read.
    """

    name: str
    loop: Steps
    buffered: dict[int, None] = field(default_factory=dict)
    fixed: dict[int, str] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)

    @cached_property
    def places_read(self) -> dict[int, tuple[int, int]]:
        """For what is read at a step, by slot, its place at the first and how far the next is."""
        start = self.loop.tape.first_input + self.loop.body.carried
        return dict(enumerate(self.loop.reads, start))

    def _stage(self, writer: _StageWriter, stages: _Stages) -> None:
        """Write what one stage computes, writes and carries."""
        loop, stage, tag = self.loop, writer.stage, writer.tag
        tape = loop.tape
        outputs, carried = tape.outputs.tolist(), loop.body.carried
        carries = [
            (tape.first_input + k, outputs[k])
            for k in range(carried)
            if stages.of_slot[tape.first_input + k] == stage
        ]
        writer.names |= {slot: f"%v{tag}{slot}" for slot, _ in carries}
        for number in range(tape.instructions):
            slot = tape.first_result + number
            if stages.of_slot[slot] == stage and number not in stages.late:
                writer.instruction(number)
        for k, place in enumerate(loop.writes()):
            slot = outputs[carried + k]
            if stages.of_slot[slot] == stage:
                value, index = writer.operand(slot), f"%w{tag}{k}"
                writer.lines.append(_moving(index, f"%step{tag}", *place))
                writer.lines.append(_stored(value, f"%o{tag}{k}", "%v", index))
        writer.carries = [(slot, writer.operand(output)) for slot, output in carries]

    def _loop_of(self, writer: _StageWriter) -> list[str]:
        """Write the loop of a stage over the steps of a block."""
        stage, tag = writer.stage, writer.tag
        total = writer.watched(f"%watched{tag}", f"t{tag}")
        before = [f"%i{tag}{slot} = load double, ptr %cell{slot}" for slot, _ in writer.carries]
        phis = [
            f"%v{tag}{slot} = phi double [%i{tag}{slot}, %stage{stage}], [{value}, %body{stage}]"
            for slot, value in writer.carries
        ]
        return [
            f"stage{stage}:\n%before{tag} = load double, ptr %cell",
            *before,
            f"br label %body{stage}\nbody{stage}:",
            f"%k{tag} = phi i64 [0, %stage{stage}], [%next{tag}, %body{stage}]",
            f"%watched{tag} = phi double [%before{tag}, %stage{stage}], [{total}, %body{stage}]",
            *phis,
            f"%step{tag} = add i64 %base, %k{tag}",
            *writer.lines,
            f"%next{tag} = add i64 %k{tag}, 1",
            f"%more{tag} = icmp slt i64 %next{tag}, %n",
            f"br i1 %more{tag}, label %body{stage}, label %done{stage}\ndone{stage}:",
            f"store double {total}, ptr %cell",
            *(f"store double {value}, ptr %cell{slot}" for slot, value in writer.carries),
        ]

    def _calls(self, stage: int, stages: _Stages, declarations: dict[str, None]) -> list[str]:
        """Write the calls after a stage, and the way to the next one."""
        tape, lines = self.loop.tape, []
        for number in sorted(stages.late):
            slot = tape.first_result + number
            if stages.of_slot[slot] != stage + 1:
                continue
            opcode, *operands = tape.code[number].tolist()
            declarations[many_elements(opcode)] = None
            given = []
            for operand in operands[: ROWS[opcode].arity]:
                if operand in self.buffered:
                    given.append(f"ptr %buffer{operand}, i64 8")
                else:
                    cell = f"%one{slot}.{operand}"
                    lines.append(f"store double {self.fixed[operand]}, ptr {cell}")
                    self.cells.append(f"{cell} = alloca double")
                    given.append(f"ptr {cell}, i64 0")
            lines.append(
                f"call void @many.{opcode}(ptr %loops, {', '.join(given)}, "
                f"ptr %buffer{slot}, i64 %n)"
            )
        if stage + 1 < stages.count:
            lines.append(f"br label %stage{stage + 1}")
        return lines

    def text(self) -> str:
        """Write the whole function."""
        loop, tape = self.loop, self.loop.tape
        stages, source = _stages(loop), Source(tape, unshared(tape)[0])
        carried, read = loop.body.carried, len(loop.reads)
        inputs = range(tape.first_input, tape.first_result)
        same = dict.fromkeys(inputs[carried + read :])
        before = [
            _loaded(f"%v{slot}", "%v", str(place))
            for slot, place in zip(same, loop.same.tolist(), strict=True)
        ]
        for slot, place in zip(inputs[:carried], loop.first.tolist(), strict=True):
            before += [
                f"%cell{slot} = alloca double",
                _loaded(f"%i{slot}", "%v", str(place)),
                f"store double %i{slot}, ptr %cell{slot}",
            ]
        before.append(f"%cell = alloca double\nstore double {literal(0.0)}, ptr %cell")
        block = _BLOCK if stages.count > 1 else loop.steps
        # What is the same in all steps, or a constant.
        names = [literal(0.0), *map(literal, tape.constants.tolist())]
        self.fixed = dict(enumerate(names)) | {slot: f"%v{slot}" for slot in same}
        writers = [_StageWriter(source, self, stage) for stage in range(stages.count)]
        for writer in writers:
            writer.names |= self.fixed
            self._stage(writer, stages)
        for number in stages.late:
            slot = tape.first_result + number
            read_late = tape.code[number, 1 : 1 + ROWS[tape.code[number, 0]].arity].tolist()
            self.buffered |= dict.fromkeys((slot, *(k for k in read_late if k not in self.fixed)))
        declarations: dict[str, None] = {}
        parts: list[str] = []
        for writer in writers:
            for slot in self.buffered:
                is_late = slot - tape.first_result in stages.late
                if stages.of_slot[slot] == writer.stage and not is_late:
                    writer.keep(slot)
            declarations |= writer.declarations
            parts += self._loop_of(writer)
            parts += self._calls(writer.stage, stages, declarations)
        buffers = [f"%buffer{slot} = alloca [{block} x double], align 64" for slot in self.buffered]
        last = []
        for k, slot in enumerate(inputs[:carried]):
            last += [
                f"%l{k} = load double, ptr %cell{slot}",
                _stored(f"%l{k}", f"%p{k}", "%v", str(loop.result + k)),
            ]
        return "\n".join(
            [
                *declarations,
                f"define i64 @{self.name}({PARAMETERS}) {{\nentry:",
                *buffers,
                *self.cells,
                *before,
                "br label %block\nblock:",
                f"%base = phi i64 [0, %entry], [%next, %done{stages.count - 1}]",
                f"%left = sub i64 {loop.steps}, %base",
                f"%few = icmp slt i64 %left, {block}",
                f"%n = select i1 %few, i64 %left, i64 {block}",
                "br label %stage0",
                *parts,
                "%next = add i64 %base, %n",
                f"%more = icmp slt i64 %next, {loop.steps}",
                "br i1 %more, label %block, label %end\nend:",
                *last,
                "%watched = load double, ptr %cell",
                "%nan = fcmp uno double %watched, %watched",
                f"%status = select i1 %nan, i64 {_kernels.UNFINISHED}, i64 -1",
                "ret i64 %status\n}",
            ]
        )


def _loaded(name: str, base: str, index: str) -> str:
    """Write the loading of a number of an array."""
    return (
        f"{name}.a = getelementptr double, ptr {base}, i64 {index}\n"
        f"{name} = load double, ptr {name}.a"
    )


def _stored(value: str, address: str, base: str, index: str) -> str:
    """Write the storing of a number into an array."""
    return (
        f"{address} = getelementptr double, ptr {base}, i64 {index}\n"
        f"store double {value}, ptr {address}"
    )


def _moving(name: str, step: str, place: int, apart: int) -> str:
    """Write the index of a place that moves from step to step."""
    return f"{name}.m = mul i64 {step}, {apart}\n{name} = add i64 {name}.m, {place}"
