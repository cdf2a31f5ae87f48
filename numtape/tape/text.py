"""Tapes as text: a program a person can read, counts, and explanations of guards."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.kinds import KINDS, call_text
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction

__all__ = ["call_text", "explain_guard", "operation_name", "program", "shape_text", "summary"]

# Of a tape that is longer than the one, so many instructions are shown at both ends.
_LONG, _SHOWN = 200, 20


def program(
    tape: FlatTape,
    values: npt.NDArray[np.float64] | None = None,
    lines: bool = False,
    whole: bool = True,
) -> str:
    """Write the tape as a program: an assignment for each instruction, guards as assertions.

    Parameters
    ----------
    tape : FlatTape
    values : float64 array, optional
        Every slot of a run, to be shown beside the instructions.
    lines : bool
        Whether to show the source line of each instruction.
    whole : bool
        Whether to show all of a long tape, and not only its head and its tail.
    """
    if lines and tape.lines is None:
        raise TapeError(
            "the source lines were asked for, and this tape was recorded without them: record it "
            "with numtape.record(..., lines=True)"
        )
    guards = {guard.slot: guard for guard in tape.guards}
    rows = [f"inputs: {_names(tape, np.arange(tape.first_input, tape.first_result))}"]
    count = tape.instructions
    numbers = [*range(count)]
    if not whole and count > _LONG:
        numbers = [*range(_SHOWN), *range(count - _SHOWN, count)]
    for place, number in enumerate(numbers):
        if place and number > numbers[place - 1] + 1:
            rows.append(f"... {count - len(numbers)} instructions; all: tape.text(whole=True)")
        opcode, a, b = tape.code[number].tolist()
        result = int(tape.results[number])
        if opcode == VECTOR:
            instruction = tape.vectors[a]
            slots = np.arange(result, result + b)
            row = f"{_range(tape, slots)} = {_vector(tape, instruction)}"
            if instruction.result and instruction.body is None:
                row += f"  # shape {shape_text(instruction.result)}"
        else:
            slots = np.array([result])
            operands = [_name(tape, slot) for slot in (a, b)[: ROWS[opcode].arity]]
            row = f"{_name(tape, result)} = {call_text(opcode, operands)}"
        notes = []
        if values is not None:
            notes.append(_shown(values[slots]))
        if lines and tape.lines is not None:
            notes.append(str(tape.lines[number]))
        rows.append(row if not notes else f"{row:<36}  ; {'  '.join(notes)}")
        if opcode == VECTOR and instruction.body is not None:
            rows += ["    " + line for line in _body(instruction.body, whole)]
        if result in guards:
            guard = guards[result]
            outcome = f"{guard.outcome:.17g}"
            rows.append(f"assert {_name(tape, result)} == {outcome}  # {guard.location}")
    rows.append(f"outputs: {_names(tape, tape.outputs)}")
    return "\n".join(rows)


def _body(body: Body, whole: bool) -> list[str]:
    """Write the tape of a loop's body, one line each; inputs and outputs by what they are."""
    tape = body.tape
    inputs = np.arange(tape.first_input, tape.first_result)
    counts = [sum(map(math.prod, each)) for each in (body.carries, body.reads, body.same)]
    ends = np.cumsum([0, *counts])
    named = zip(("carry", "read", "same"), ends[:-1], ends[1:], strict=True)
    given = [f"{name} {_names(tape, inputs[i:j])}" for name, i, j in named if i < j]
    carried, written = tape.outputs[: body.carried], tape.outputs[body.carried :]
    made = [("next", carried), ("write", written)]
    return [
        "; ".join(given),
        *program(tape, whole=whole).split("\n")[1:-1],
        "; ".join(f"{name} {_names(tape, slots)}" for name, slots in made if len(slots)),
    ]


def summary(tape: FlatTape) -> str:
    """Say how often each operation occurs, most frequent first, and the sizes of the tape."""
    counts = Counter(
        operation_name(tape.vectors[a]) if opcode == VECTOR else ROWS[opcode].name
        for opcode, a, _ in tape.code.tolist()
    )
    scalars = tape.instructions - len(tape.vectors)
    rows = [
        f"{tape.instructions} instructions ({scalars} scalar, {len(tape.vectors)} vector), "
        f"{tape.inputs} inputs, {len(tape.outputs)} outputs, {len(tape.constants)} constants, "
        f"{len(tape.guards)} guards",
        f"{12 * tape.instructions} bytes of instructions, at most {8 * tape.slots} bytes to "
        "evaluate" + (f", {32 * tape.instructions} to sweep" if tape.is_scalar else ""),
    ]
    steps = [each.shape[0] for each in tape.vectors if each.body is not None]
    if steps:
        count, every = len(steps), sum(steps)
        rows.append(
            f"{count} {'loop' if count == 1 else 'loops'} of {every} steps in all, "
            f"{tape.in_all} instructions with their bodies, {tape.written_out} written out"
        )
    width = max((len(name) for name in counts), default=0)
    rows += [f"{name:<{width}}  {count}" for name, count in counts.most_common()]
    return "\n".join(rows)


def explain_guard(tape: FlatTape, number: int, value_of: Callable[[int], float]) -> str:
    """Say which comparison of a tape came out otherwise, where, and with which values.

    Parameters
    ----------
    tape : FlatTape
    number : int
        Of the guard.
    value_of : callable
        From a slot to its value in the run in which the guard did not hold.
    """
    guard = tape.guards[number]
    found = value_of(guard.slot)
    slot = _where_taken(tape, guard.slot)
    producer = tape.producer(slot)
    text = "a value"
    comparison = False
    if producer is not None and tape.code[producer, 0] != VECTOR:
        opcode, a, b = tape.code[producer].tolist()
        # (A run keeps the operands of what a guard is on itself.)
        is_kept = slot == guard.slot
        operands = (a, b)[: ROWS[opcode].arity]
        text = call_text(opcode, [repr(value_of(each)) if is_kept else "..." for each in operands])
        comparison = ROWS[opcode].partials == ("0", "0")
    elif producer is not None:
        text = _vector(tape, tape.vectors[int(tape.code[producer, 1])])
        comparison = found in (0.0, 1.0) and guard.outcome in (0.0, 1.0)
    if comparison:
        return f"{guard.location}: {text} is {bool(found)}, and it was {bool(guard.outcome)}"
    return f"{guard.location}: {text} is {found!r}, and it was {guard.outcome!r}"


def _where_taken(tape: FlatTape, slot: int) -> int:
    """Return what a guard within an arm is on, where the arm is taken; else its slot.

    Such a guard is on ``merge(keep(taken, slot), drop(taken, outcome))``.
    """
    producer = tape.producer(slot)
    if producer is not None and tape.code[producer, 0] == OPCODE["merge"]:
        kept = tape.producer(int(tape.code[producer, 1]))
        if kept is not None and tape.code[kept, 0] == OPCODE["keep"]:
            return int(tape.code[kept, 2])
    return slot


def _name(tape: FlatTape, slot: int) -> str:
    """Name a slot as it is printed: constants by value, others numbered from the first input."""
    if slot == 0:
        return "0.0"
    if slot < tape.first_input:
        return repr(float(tape.constants[slot - 1]))
    return f"s{slot - tape.first_input + 1}"


def _names(tape: FlatTape, slots: npt.NDArray[np.int64]) -> str:
    if len(slots) > 8 and (np.diff(slots) == 1).all():
        return _range(tape, slots)
    shown = [_name(tape, slot) for slot in slots[:8].tolist()]
    return " ".join(shown) + (f" ... ({len(slots)} in all)" if len(slots) > 8 else "")


def _range(tape: FlatTape, slots: npt.NDArray[np.int64]) -> str:
    if len(slots) == 1:
        return _name(tape, int(slots[0]))
    return f"{_name(tape, int(slots[0]))}..{_name(tape, int(slots[-1]))}"


def operation_name(instruction: VectorInstruction) -> str:
    """Say what a vector instruction does, in a word."""
    return KINDS[instruction.kind].word(instruction)


def _vector(tape: FlatTape, instruction: VectorInstruction) -> str:
    operands = [_operand(tape, slots) for slots in instruction.operand_slots()]
    return KINDS[instruction.kind].text(instruction, operands)


def _operand(tape: FlatTape, slots: npt.NDArray[np.int64]) -> str:
    low, high = int(np.min(slots, initial=tape.slots)), int(np.max(slots, initial=0))
    if low == high:
        return _name(tape, low)
    if high < tape.first_input:
        return f"constant{shape_text(slots.shape)}"
    first, last = int(slots.flat[0]), int(slots.flat[-1])
    joined = np.array_equal(slots.ravel(), np.arange(first, first + slots.size))
    return f"{_name(tape, first)}{'..' if joined else '~'}{_name(tape, last)}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as Python writes a tuple."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _shown(values: npt.NDArray[np.float64]) -> str:
    shown = " ".join(f"{value:.10g}" for value in values[:4])
    return shown + (" ..." if len(values) > 4 else "")
