"""The Wengert list of a tape: a variable for each argument and each instruction.

`numtape.tape.text` prints a tape slot by slot, as the kernels see it. Here it is as a
textbook writes it, and as the user's code does: an argument is ``x`` (``x1``, ``x2``
where there are several), element 3 of an array is ``x[3]``, and the instructions make
``v1``, ``v2`` and so on, whole arrays in the case of vector instructions. Trace tables
and graphs are drawn from this.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from numtape.kinds import KINDS, call_text
from numtape.ops.structured import MAP
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape, Guard
from numtape.tape.text import shape_text

__all__ = ["Variable", "WengertList"]

Slots = npt.NDArray[np.int64]

# Of values stacked from several variables, so many are named at each end.
_NAMED = 2

# Among so many numbers a set finds the different ones soonest.
_FEW = 16


@dataclass(frozen=True)
class Variable:
    """An argument, or what one instruction makes.

    Attributes
    ----------
    name : str
    start : int
        Its first slot; the others follow, row by row.
    shape : tuple of int
    expression : str
        What it is made by; empty for an argument.
    operands : tuple of int64 arrays
        The slots it is made of.
    partials : tuple of str
        The derivative by each operand, in the table's words; empty where the operation
        is not elementwise.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    expression: str = ""
    operands: tuple[Slots, ...] = ()
    partials: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Return how many slots it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def slots(self) -> Slots:
        """Return its slots, in its shape."""
        return np.arange(self.start, self.start + self.size).reshape(self.shape)

    def element(self, slot: int) -> str:
        """Return the name of one of its elements."""
        if not self.shape:
            return self.name
        place = np.unravel_index(slot - self.start, self.shape)
        return f"{self.name}[{', '.join(str(int(k)) for k in place)}]"

    def part(self, slots: Slots) -> str:
        """Return what to write for an array of its slots: all, a slice, or ``[...]``."""
        own = self.slots
        walked = _once(slots)
        if np.array_equal(walked.ravel(), own.ravel()):
            return self.name
        if own.ndim == 2 and np.array_equal(walked.ravel(), own.T.ravel()):
            return f"{self.name}.T"
        if walked.size and self.shape:
            places = np.unravel_index(walked.ravel() - self.start, self.shape)
            keys = [_key(place, extent) for place, extent in zip(places, self.shape, strict=True)]
            index = tuple(key if key is not None else slice(0) for key in keys)
            if np.array_equal(own[index].ravel(), walked.ravel()):
                parts = list(map(_key_text, index, self.shape))
                while parts[-1] == ":":
                    parts.pop()
                return f"{self.name}[{', '.join(parts)}]"
        return f"{self.name}[...]"


@dataclass(frozen=True)
class WengertList:
    """The variables of a tape.

    Attributes
    ----------
    tape : FlatTape
    arguments : tuple
        The shape of each float argument, in the order of the tape's inputs.
    """

    tape: FlatTape
    arguments: tuple[tuple[int, ...], ...]

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Return the arguments, and then a variable for each instruction."""
        tape = self.tape
        variables = list(self.inputs)
        results = tape.results.tolist()
        for number, (opcode, a, b) in enumerate(tape.code.tolist()):
            name, start = f"v{number + 1}", results[number]
            if opcode == VECTOR:
                instruction = tape.vectors[a]
                operands = instruction.operand_slots()
                texts = [self.text(slots) for slots in operands]
                partials: tuple[str, ...] = ()
                expression = KINDS[instruction.kind].text(instruction, texts)
                if instruction.kind == MAP:
                    partials = _partials(instruction.opcode, texts, name)
                shape = instruction.result
            else:
                operands = tuple(np.array(slot) for slot in (a, b)[: ROWS[opcode].arity])
                texts = [self.text(slots) for slots in operands]
                expression, shape = call_text(opcode, texts), ()
                partials = _partials(opcode, texts, name)
            variables.append(Variable(name, start, shape, expression, operands, partials))
        return tuple(variables)

    @cached_property
    def inputs(self) -> tuple[Variable, ...]:
        """Return the arguments."""
        start, variables = self.tape.first_input, []
        for number, shape in enumerate(self.arguments, 1):
            name = "x" if len(self.arguments) == 1 else f"x{number}"
            variables.append(Variable(name, start, shape))
            start += variables[-1].size
        return tuple(variables)

    @cached_property
    def _starts(self) -> Slots:
        """Return the first slots of all variables, to find the one that a slot is of."""
        inputs = [variable.start for variable in self.inputs]
        return np.concatenate([inputs, self.tape.results[:-1]]).astype(np.int64)

    def owners(self, slots: Slots) -> list[int]:
        """Return the numbers of the variables that slots are of, each once; none for constants."""
        found = slots[slots >= self.tape.first_input]
        return _present(np.searchsorted(self._starts, found, side="right") - 1)

    def name(self, slot: int) -> str:
        """Name a slot: a constant by its value, an element of a variable otherwise."""
        if slot < self.tape.first_input:
            return repr(float(self.tape.constants[slot - 1])) if slot else "0.0"
        return self._named(self.owners(np.array(slot))[0]).element(slot)

    def _named(self, number: int) -> Variable:
        """Return a variable's name, slots and shape, which need no others' expressions."""
        if number < len(self.inputs):
            return self.inputs[number]
        number -= len(self.inputs)
        opcode, a, _ = self.tape.code[number].tolist()
        shape = self.tape.vectors[a].result if opcode == VECTOR else ()
        return Variable(f"v{number + 1}", int(self._starts[number + len(self.inputs)]), shape)

    def text(self, slots: Slots) -> str:
        """Return what to write for an array of slots."""
        if slots.ndim == 0:
            return self.name(int(slots))
        if slots.size == 0:
            return f"empty{shape_text(slots.shape)}"
        lowest, highest = int(slots.min()), int(slots.max())
        if lowest == highest:
            return self.name(lowest)
        if highest < self.tape.first_input:
            return f"constant{shape_text(slots.shape)}"
        owners = self.owners(np.array([lowest, highest]))
        if len(owners) == 1 and lowest >= self.tape.first_input:
            return self._named(owners[0]).part(slots)
        walked = _once(slots).ravel().tolist()
        names = [self.name(slot) for slot in walked[:_NAMED]]
        if len(walked) > 2 * _NAMED:
            names.append("...")
        names += [self.name(slot) for slot in walked[max(_NAMED, len(walked) - _NAMED) :]]
        return f"[{', '.join(names)}]"

    def guard_of(self, variable: Variable) -> Guard | None:
        """Return the guard on a variable, if there is one."""
        return self._guards.get(variable.start)

    @cached_property
    def _guards(self) -> dict[int, Guard]:
        return {guard.slot: guard for guard in self.tape.guards}

    @cached_property
    def outputs(self) -> frozenset[int]:
        """Return the numbers of the variables that outputs are of."""
        return frozenset(self.owners(self.tape.outputs))


def _once(slots: Slots) -> Slots:
    """Return an array of slots without the axes along which it is broadcast."""
    for axis, extent in enumerate(slots.shape):
        first = slots.take([0], axis) if extent > 1 else slots
        if extent > 1 and (slots == first).all():
            slots = first
    return slots


def _present(numbers: Slots) -> list[int]:
    """Return the numbers that occur, in order."""
    if numbers.size <= _FEW:
        return sorted(set(numbers.ravel().tolist()))
    # Hundreds of times quicker than np.unique, which hashes.
    lowest = int(numbers.min())
    return (lowest + np.flatnonzero(np.bincount(numbers.ravel() - lowest))).tolist()


def _key(places: Slots, extent: int) -> int | slice | None:
    """Return the index or slice that names places along an axis, whatever their order."""
    present = _present(places)
    if len(present) == 1:
        return present[0]
    step = present[1] - present[0]
    if present != list(range(present[0], present[-1] + 1, step)):
        return None
    return slice(present[0], min(present[-1] + step, extent), step)


def _key_text(key: int | slice, extent: int) -> str:
    if isinstance(key, int):
        return str(key)
    start = "" if key.start == 0 else str(key.start)
    stop = "" if key.stop == extent else str(key.stop)
    return f"{start}:{stop}" + ("" if key.step == 1 else f":{key.step}")


def _partials(opcode: int, operands: Sequence[str], result: str) -> tuple[str, ...]:
    """Return a row's partials, with the names of its operands and its result in them."""
    names = dict(zip("xy", operands, strict=False)) | {"f": result}
    return tuple(
        re.sub(r"\b[xyf]\b", lambda match: names[match[0]], partial)
        for partial in ROWS[opcode].partials
    )
