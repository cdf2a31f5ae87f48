"""Random flat tapes: instructions of every kind on slots picked by numbers that hypothesis draws.

They are written straight to a recorder, so that they hold what no recorded
program would: unused results, operations on constants alone, views of any slots
whatsoever, infinities and nans. `reads` is a plain account of what an
instruction reads, for tests that need liveness.
"""

from dataclasses import replace

import naive
import numpy as np
from hypothesis import strategies as st

from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location
from numtape.trace.recorder import Recorder

__all__ = [
    "INPUTS",
    "PLAIN",
    "POINTS",
    "SCALAR_STEPS",
    "STEPS",
    "assert_valid",
    "long_point",
    "long_tape",
    "point",
    "random_tape",
    "reads",
]

# More than the eight elements up to which array operations are recorded as scalar ones.
INPUTS = 12

CONSTANTS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.25, np.inf, -np.inf, np.nan]

# Every row but `scale`, whose simplification may change the sign of a zero, and those
# of which NumPy gives another last digit or sign of zero for one element than for several.
PLAIN = [
    opcode
    for opcode, row in enumerate(ROWS)
    if row.name not in ("scale", "power", "power_constant", "fmax", "fmin")
]

_KINDS = ["scalar"] * 6 + ["map"] * 4 + ["view"] * 2 + ["reduce", "accumulate", "scatter"]
_KINDS += ["order", "search", "take", "spread"]
_NUMBER = st.integers(0, 2**16)

STEPS = st.lists(
    st.tuples(st.sampled_from(_KINDS), _NUMBER, _NUMBER, _NUMBER), min_size=4, max_size=30
)
SCALAR_STEPS = st.lists(
    st.tuples(st.just("scalar"), _NUMBER, _NUMBER, _NUMBER), min_size=4, max_size=40
)

POINTS = ["normal", "zeros", "special"]


def point(name: str, seed: int) -> np.ndarray:
    """Ordinary numbers, zeros of both signs, or those with infinities and nans."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=INPUTS)
    if name == "zeros":
        x[rng.random(INPUTS) < 0.7] = 0.0
        x[rng.random(INPUTS) < 0.3] = -0.0
    elif name == "special":
        x = np.where(rng.random(INPUTS) < 0.5, rng.choice(CONSTANTS, INPUTS), x)
    return x


def random_tape(steps, seed: int, opcodes=PLAIN) -> FlatTape:
    """A tape of these steps, recorded at an ordinary point, with a few guards."""
    recorder = Recorder(INPUTS)
    scalars = list(range(1, INPUTS + 1)) + [recorder.constant(value) for value in CONSTANTS]
    arrays = [np.arange(1, INPUTS + 1), recorder.constant_array(np.array(CONSTANTS))]
    for kind, operation, first, second in steps:
        if kind == "scalar":
            opcode = opcodes[operation % len(opcodes)]
            a, b = scalars[first % len(scalars)], scalars[second % len(scalars)]
            scalars.append(recorder.scalar(opcode, a, b if ROWS[opcode].arity == 2 else 0))
            if operation % 7 == 0:  # an array of scalars' slots
                arrays.append(np.array(scalars[-INPUTS:]))
            continue
        a, b = arrays[first % len(arrays)], arrays[second % len(arrays)]
        array = _array_step(recorder, kind, operation, a, b, opcodes)
        arrays.append(array)
        scalars += array.ravel()[:2].tolist()
    rng = np.random.default_rng(seed)
    outputs = [*scalars[-3:], *arrays[-1].ravel()[:5].tolist(), scalars[seed % len(scalars)]]
    tape = recorder.finish(np.array(outputs), point("normal", seed))
    with np.errstate(all="ignore"):
        values = naive.evaluate(tape, tape.point)
    candidates = [s for s in range(tape.first_result, tape.slots) if values[s] == values[s]]
    chosen = sorted(rng.permutation(candidates)[:4].tolist())
    guards = [
        Guard(slot, float(values[slot]), Location("f", line)) for line, slot in enumerate(chosen)
    ]
    return replace(tape, guards=tuple(guards))


def _array_step(recorder, kind, operation, a, b, opcodes):
    if kind == "map":
        opcode = opcodes[operation % len(opcodes)]
        operands = [a, np.resize(b, a.shape)][: ROWS[opcode].arity]
        if operation % 5 == 0:  # broadcast: along rows, or down columns
            operands[-1] = operands[-1].ravel()[:1].reshape((1,) * a.ndim)
        return recorder.elementwise(opcode, operands)
    if kind == "view":
        views = [
            lambda: a[::-1],
            lambda: np.concatenate([a.ravel(), b.ravel()])[:20],
            lambda: a.ravel()[np.arange(len(a.ravel()) + 3) * 5 % a.size],
            lambda: np.resize(a, (3, 4)),
            lambda: np.broadcast_to(a.ravel()[:6], (2, min(6, a.size))).T,
            lambda: a.T[::2],
        ]
        return views[operation % len(views)]()
    if kind == "reduce":
        name = ["add", "multiply", "maximum", "minimum"][operation % 4]
        axes = (0,) if operation % 8 < 4 else tuple(range(a.ndim))
        return np.atleast_1d(recorder.reduce(name, a, axes))
    if kind == "accumulate":
        return recorder.accumulate("add", a, operation % a.ndim)
    rows = a.reshape(-1, a.shape[-1])
    if kind == "order":
        return recorder.order(rows, ["quicksort", "stable"][operation % 2])
    if kind == "search":
        numbers = recorder.constant_array(np.sort(CONSTANTS))
        return recorder.search(numbers, a.ravel(), right=bool(operation % 2))
    if kind in ("take", "spread"):
        places = np.resize(b, (len(rows), rows.shape[1] if kind == "spread" else 1 + operation % 9))
        if kind == "take":
            return recorder.take(rows, places)
        return recorder.spread(rows, places, 1 + operation % 7)
    flat = a.ravel()
    targets = np.arange(flat.size) * (1 + operation % 3) % (1 + flat.size // 2)
    return recorder.scatter(flat, targets, 1 + flat.size // 2)


def long_point(seed: int, size: int) -> np.ndarray:
    """The inputs of a `long_tape`: two arrays."""
    return np.random.default_rng(seed).normal(size=2 * size)


def long_tape(steps, seed: int, size: int, opcodes=PLAIN) -> FlatTape:
    """A tape of these steps over arrays of one size, most of them elementwise.

    A result that is an output, and a guard, may be anywhere.
    """
    recorder = Recorder(2 * size)
    arrays = [np.arange(1, size + 1), np.arange(size + 1, 2 * size + 1)]
    scalars = [1, 2 * size, recorder.constant(0.5)]
    for kind, operation, first, second in steps:
        a, b = arrays[-1 - first % min(6, len(arrays))], arrays[second % len(arrays)]
        opcode = opcodes[operation % len(opcodes)]
        if kind == "scalar":
            one, other = scalars[first % len(scalars)], scalars[second % len(scalars)]
            scalars.append(recorder.scalar(opcode, one, other if ROWS[opcode].arity == 2 else 0))
        elif kind == "map":
            if operation % 5 == 0:
                b = np.full(size, scalars[second % len(scalars)])
            arrays.append(recorder.elementwise(opcode, [a, b][: ROWS[opcode].arity]))
        elif kind == "view":
            arrays.append([a[::-1], np.resize(np.append(a, b)[::2], size)][operation % 2])
        elif kind == "gather":
            arrays.append(a[np.arange(size) * 5 % size])
        else:
            scalars.append(int(recorder.reduce(["add", "maximum"][operation % 2], a, (0,))))
    kept = [array[-1:] for array in arrays[seed % 3 :: 3]]
    outputs = np.concatenate([arrays[-1], *kept, scalars])
    tape = recorder.finish(outputs, long_point(seed, size))
    return tape if seed % 2 else _guarded(tape)


def _guarded(tape: FlatTape) -> FlatTape:
    """The same tape with a guard on some element of a result in the middle, if it is a number."""
    with np.errstate(all="ignore"):
        values = naive.evaluate(tape, tape.point)
    slot = (tape.first_result + tape.slots) // 2
    if not tape.first_result <= slot < tape.slots or np.isnan(values[slot]):
        return tape
    return replace(tape, guards=(Guard(slot, float(values[slot]), Location("f", 1)),))


def reads(tape: FlatTape, number: int) -> set[int]:
    """The slots that an instruction reads."""
    opcode, a, b = tape.code[number].tolist()
    if opcode != VECTOR:
        return {a, b} - {0}
    return {int(slot) for slots in tape.vectors[a].operand_slots() for slot in slots.ravel()} - {0}


def assert_valid(tape: FlatTape) -> None:
    """Every instruction reads what is there before it; outputs and guards name slots."""
    assert (np.diff(tape.results) >= 0).all()
    for number, result in enumerate(tape.results[:-1].tolist()):
        assert all(0 <= slot < result for slot in reads(tape, number))
    for slot in [*tape.outputs.tolist(), *(guard.slot for guard in tape.guards)]:
        assert 0 <= slot < tape.slots
    numbers = [a for opcode, a, _ in tape.code.tolist() if opcode == VECTOR]
    assert numbers == list(range(len(tape.vectors)))
