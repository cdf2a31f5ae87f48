"""Random tapes with loops, and the same tapes with their loops written out.

Bodies have scalar and vector instructions, loops of their own, carries that nobody reads,
outputs that are inputs; operands are inputs, constants, results, and arrays read backward.
"""

import numpy as np

from numtape.ops.table import OPCODE
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape
from numtape.trace.recorder import Recorder
from numtape.transform.builder import replay

__all__ = ["INPUTS", "random_loops", "written_out"]

INPUTS = 14

_UNARY = ["sin", "cos", "tanh", "negative", "exp", "arctan"]
_BINARY = ["add", "subtract", "multiply", "maximum", "add", "multiply"]
_SHAPES = [(), (), (), (2,), (9,), (3, 4)]


class _Pool:
    """Arrays of slots to choose from."""

    def __init__(self, rng: np.random.Generator, recorder: Recorder, products: bool) -> None:
        self.rng, self.recorder, self.products = rng, recorder, products
        self.arrays: list[np.ndarray] = []

    def of_shape(self, shape) -> np.ndarray:
        """Slots in a shape: some that are there, some repeated, or constants."""
        found = [each for each in self.arrays if each.shape == shape]
        if found and self.rng.random() < 0.8:
            return found[self.rng.integers(len(found))]
        scalars = [each for each in self.arrays if each.shape == ()]
        if scalars and self.rng.random() < 0.7:
            return np.broadcast_to(scalars[self.rng.integers(len(scalars))], shape)
        return self.recorder.constant_array(self.rng.normal(size=shape).round(2))

    def grow(self, count: int) -> None:
        """Record so many operations."""
        rng, recorder = self.rng, self.recorder
        for _ in range(count):
            shape = _SHAPES[rng.integers(len(_SHAPES))]
            if rng.random() < 0.15 and shape == (3, 4) and self.products:
                right = self.of_shape((3, 4)).T
                made = recorder.product(self.of_shape(shape), right)
                made = recorder.reduce("add", made, (0, 1))
            elif rng.random() < 0.15 and len(shape) == 1:
                made = recorder.reduce("add", self.of_shape(shape), (0,))
            elif rng.random() < 0.4:
                name = _UNARY[rng.integers(len(_UNARY))]
                if name == "exp":
                    made = recorder.elementwise(OPCODE["tanh"], (self.of_shape(shape),))
                    made = recorder.elementwise(OPCODE["exp"], (made,))
                else:
                    made = recorder.elementwise(OPCODE[name], (self.of_shape(shape),))
            else:
                name = _BINARY[rng.integers(len(_BINARY))]
                pair = self.of_shape(shape), self.of_shape(shape)
                made = recorder.elementwise(OPCODE[name], pair)
            self.arrays.append(np.asarray(made))

    def tamed(self, shape) -> np.ndarray:
        """Slots in a shape whose values stay small from step to step."""
        if self.rng.random() < 0.2:
            return self.of_shape(shape)
        return self.recorder.elementwise(OPCODE["sin"], (self.of_shape(shape),))


def _body(rng: np.random.Generator, depth: int, products: bool) -> Body:
    groups = [
        tuple(_SHAPES[rng.integers(len(_SHAPES))] for _ in range(rng.integers(least, 4)))
        for least in (1, 0, 0)
    ]
    sizes = [int(np.prod(shape, dtype=int)) for group in groups for shape in group]
    recorder = Recorder(sum(sizes))
    pool, start = _Pool(rng, recorder, products), 1
    for shape, size in zip([shape for group in groups for shape in group], sizes, strict=True):
        pool.arrays.append((start + np.arange(size)).reshape(shape))
        start += size
    pool.grow(int(rng.integers(1, 8)))
    if depth and rng.random() < 0.5:
        _loop(pool, depth - 1)
        pool.grow(int(rng.integers(1, 4)))
    writes = tuple(_SHAPES[rng.integers(len(_SHAPES))] for _ in range(rng.integers(0, 3)))
    outputs = [np.asarray(pool.tamed(shape)).ravel() for shape in groups[0]]
    outputs += [np.asarray(pool.of_shape(shape)).ravel() for shape in writes]
    tape = recorder.finish(np.concatenate([np.zeros(0, np.int64), *outputs]), np.zeros(sum(sizes)))
    return Body(tape, *groups, writes)


def _loop(pool: _Pool, depth: int) -> None:
    """Record a loop, and put its results into the pool."""
    rng, body = pool.rng, _body(pool.rng, depth, pool.products)
    steps = int(rng.integers(1, 6))
    operands = [pool.of_shape(shape) for shape in body.carries]
    for shape in body.reads:
        each = [pool.of_shape(shape) for _ in range(steps)]
        operands.append(np.array(each)[:: rng.choice([1, -1])])
    operands += [pool.of_shape(shape) for shape in body.same]
    results = np.asarray(pool.recorder.loop(body, steps, operands))
    start = 0
    for shape in (*body.carries, *((steps, *shape) for shape in body.writes)):
        size = int(np.prod(shape, dtype=int))
        part = results[start : start + size].reshape(shape)
        start += size
        pool.arrays.append(part)
        if len(shape) and shape[0] == steps:
            pool.arrays.append(part[-1])
            pool.arrays.append(np.asarray(pool.recorder.reduce("add", part, (0,))))


def random_loops(seed: int, products: bool = True) -> FlatTape:
    """A random tape of `INPUTS` inputs that has loops.

    Products of matrices round as BLAS likes, by where operands lie: those who compare bits do
    without.
    """
    rng = np.random.default_rng(seed)
    recorder = Recorder(INPUTS)
    pool = _Pool(rng, recorder, products)
    pool.arrays += [*(np.array(k) for k in (1, 2, 3)), np.arange(3, 15).reshape(3, 4)]
    pool.grow(4)
    for _ in range(rng.integers(1, 4)):
        _loop(pool, 2)
        pool.grow(3)
    outputs = [each.ravel() for each in pool.arrays[-5:]]
    return recorder.finish(np.concatenate(outputs), np.zeros(INPUTS))


def written_out(tape: FlatTape) -> FlatTape:
    """The tape with every step of its loops recorded."""
    recorder = Recorder(tape.inputs)
    slots = replay(tape, recorder, range(1, tape.inputs + 1), others=_loops(tape))
    return recorder.finish(slots.at(tape.outputs), tape.point)


def _loops(tape: FlatTape):
    return {number: _steps for number, each in enumerate(tape.vectors) if each.body is not None}


def _steps(recorder, instruction, operands, _):
    body = instruction.body
    carries, reads = len(body.carries), len(body.reads)
    none = np.zeros(0, np.int64)
    flat = [np.asarray(each) for each in operands]
    carried = np.concatenate([none, *(each.ravel() for each in flat[:carries])])
    same = np.concatenate([none, *(each.ravel() for each in flat[carries + reads :])])
    written = [[] for _ in body.writes]
    for step in range(instruction.shape[0]):
        read = [each[step].ravel() for each in flat[carries : carries + reads]]
        inputs = np.concatenate([carried, *read, same])
        slots = replay(body.tape, recorder, inputs, others=_loops(body.tape))
        made = slots.at(body.tape.outputs)
        carried, start = made[: len(carried)], len(carried)
        for shape, rows in zip(body.writes, written, strict=True):
            stop = start + int(np.prod(shape, dtype=int))
            rows.append(made[start:stop])
            start = stop
    return np.concatenate([carried, *(row for rows in written for row in rows)])
