"""Random tapes that repeat themselves, and whether two tapes are the same up to numbering."""

import numpy as np

from numtape.kinds import KINDS
from numtape.ops.structured import MAP, REDUCE
from numtape.ops.table import OPCODE
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location, VectorInstruction, View

_OPCODES = [OPCODE[name] for name in ("add", "subtract", "multiply", "maximum", "negative")]
_LENGTH = 9  # of arrays: shorter ones are recorded as scalars
_KINDS = ("same", "moving", "inside", "carried", "constant", "odd")
_ODDS = (0.2, 0.25, 0.2, 0.25, 0.08, 0.02)


class _Program:
    """A tape that is drawn."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.constants = self.rng.standard_normal(self.integer(0, 30)).round(1)
        self.inputs = self.integer(_LENGTH, 60)
        self.first_input = 1 + len(self.constants)
        self.first_result = self.next = self.first_input + self.inputs
        self.code, self.vectors, self.guards, self.outputs = [], [], [], []
        self.has_vectors = self.rng.random() < 0.4

    def integer(self, low, high):
        """A number from `low` to before `high`."""
        return int(self.rng.integers(low, high))

    def slot(self):
        """Any slot there is."""
        return self.integer(0, self.next)

    def emit(self, opcode, a, b):
        """Write a scalar instruction; return its slot."""
        if opcode == OPCODE["negative"]:
            b = 0
        self.code.append((opcode, min(max(a, 0), self.next - 1), min(max(b, 0), self.next - 1)))
        self.next += 1
        return self.next - 1

    def emit_vector(self, a, b, strides, reduces):
        """Write an instruction over arrays; return its first slot."""
        views = []
        for base, stride in zip((a, b), strides, strict=True):
            # All that is read has to be there: no null slot, and all of it given or computed.
            low, high = 1, self.first_result
            if base >= self.first_result:
                low, high = high, self.next
            top = high - 1 - stride * (_LENGTH - 1)
            views.append(View(min(max(base, low), max(top, low)), (stride if top >= low else 0,)))
        if reduces:
            made = VectorInstruction(REDUCE, OPCODE["add"], (_LENGTH,), tuple(views[:1]), (), (0,))
        else:
            made = VectorInstruction(MAP, OPCODE["add"], (_LENGTH,), tuple(views), (_LENGTH,))
        self.code.append((VECTOR, len(self.vectors), made.size))
        self.vectors.append(made)
        self.next += made.size
        return self.next - made.size

    def block(self, depth):
        """Draw some instructions, or some steps of the same."""
        if self.rng.random() < 0.35 or depth > 2:
            for _ in range(self.integer(1, 4)):
                self.emit(self.rng.choice(_OPCODES), self.slot(), self.slot())
            return
        size = self.integer(1, 7)
        body = [self.instruction(size) for _ in range(size)]
        nested = depth < 2 and self.rng.random() < 0.35
        inner = self.integer(2, 20)
        guarded, kept = self.rng.random(2) < (0.2, 0.3)
        states = [[self.slot() for _ in range(size)] for _ in range(6)]
        for step in range(self.integer(2, 24)):
            states.insert(0, {})
            for number, (opcode, operands, vector) in enumerate(body):
                slots = [self.operand(step, states, *each) for each in operands]
                if vector is None:
                    states[0][number] = self.emit(opcode, *slots)
                else:
                    states[0][number] = self.emit_vector(*slots, *vector)
            if nested:
                for _ in range(inner):
                    new = self.emit(_OPCODES[0], states[0][0], states[1][0])
                    states[0][0] = self.emit(_OPCODES[2], new, 1)
            if guarded:
                self.guards.append(Guard(states[0][0], 1.0, Location("f", step)))
            if kept:
                self.outputs.append(states[0][size - 1])
            if self.rng.random() < 0.01:
                self.emit(self.rng.choice(_OPCODES), self.slot(), self.slot())

    def instruction(self, size):
        """Draw what a step does, how each operand is found, and how arrays are walked."""
        operands = [
            (
                self.rng.choice(_KINDS, p=_ODDS),
                self.slot(),
                self.integer(-2, 4),
                self.integer(0, size),
                self.integer(1, 4) if self.rng.random() < 0.3 else 1,
            )
            for _ in range(2)
        ]
        vector = None
        if self.has_vectors and self.rng.random() < 0.4:
            vector = self.rng.choice([0, 1, 1, 2], 2).tolist(), self.rng.random() < 0.5
        return self.rng.choice(_OPCODES), operands, vector

    def operand(self, step, states, kind, base, stride, place, back):
        """The slot of an operand in a step."""
        if kind == "same":
            return base
        if kind == "moving":
            return base + step * stride
        if kind == "inside":
            return states[0].get(place, base)
        if kind == "carried":
            return states[back][place]
        return self.integer(0, self.first_input) if kind == "constant" else self.slot()

    def tape(self):
        """The tape."""
        for _ in range(self.integer(1, 5)):
            self.block(0)
        self.outputs += [self.slot() for _ in range(self.integer(1, 5))]
        return FlatTape(
            code=np.array(self.code, np.int32).reshape(-1, 3),
            vectors=self.vectors,
            constants=self.constants,
            inputs=self.inputs,
            outputs=np.array(self.outputs, np.int64),
            guards=tuple(self.guards),
            point=self.rng.standard_normal(self.inputs),
            lines=tuple(Location("g", k) for k in range(len(self.code))),
        )


def repeating(seed):
    """A random nest of loops, as it would be recorded."""
    return _Program(seed).tape()


def assert_same(one, other):
    """Two tapes do the same in the same order; constants may have other slots."""
    assert one.inputs == other.inputs
    assert [(g.outcome, g.location) for g in one.guards] == [
        (g.outcome, g.location) for g in other.guards
    ]
    for mine, others in zip(_columns(one), _columns(other), strict=True):
        np.testing.assert_array_equal(mine, others)


def _columns(tape):
    """All that a tape does, with constants by their values."""
    values = np.concatenate([[0.0], tape.constants]).view(np.int64)

    def named(slots):
        slots = np.asarray(slots, np.int64)
        known = slots < tape.first_input
        return known, np.where(known, values[slots * known], slots - tape.first_input)

    is_scalar = tape.code[:, 0] != VECTOR
    yield tape.code[:, 0]
    yield from named(tape.code[is_scalar, 1:])
    yield from named(tape.outputs)
    yield from named(tape.guard_slots)
    for each in tape.vectors:
        yield np.array([each.opcode, *each.shape, *each.result, *each.result_strides])
        for slots in each.operand_slots():
            yield from named(slots)


def assert_in_order(tape):
    """A tape reads what is there, and so do the bodies of its loops."""
    for row, (opcode, a, b) in enumerate(tape.code.tolist()):
        read = [np.array([a, b])]
        if opcode == VECTOR:
            each = tape.vectors[a]
            assert each.size == b
            for view, slots in zip(each.operands, each.operand_slots(), strict=True):
                if view.table is None and slots.size:
                    given = (slots < tape.first_result).ravel()
                    assert given.all() or not given.any()
            assert not list(KINDS[each.kind].problems(each))
            if each.body is not None:
                assert_in_order(each.body.tape)
            read = each.operand_slots()
        for slots in read:
            assert slots.size == 0 or 0 <= slots.min() <= slots.max() < tape.results[row]
    for slots in (tape.outputs, tape.guard_slots):
        assert slots.size == 0 or 0 <= slots.min() <= slots.max() < tape.slots
    assert tape.lines is None or len(tape.lines) == tape.instructions
