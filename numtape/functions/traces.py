"""Tangents and adjoints of every slot of a tape: what trace tables and graphs show.

A run keeps what its outputs need. Here everything is kept: this is for looking at a
tape, not for running it, and goes instruction by instruction.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from numtape.functions.runner import Runner
from numtape.ops.table import ROWS
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction, View, contiguous_strides
from numtape.tape.forms import Vectors

__all__ = ["adjoints_of_slots", "tangents_of_slots"]

Floats = npt.NDArray[np.float64]
Slots = npt.NDArray[np.int64]


def tangents_of_slots(tape: FlatTape, x: Floats, direction: Floats) -> Floats:
    """Return the derivative of every slot along a direction of the inputs."""
    every = np.arange(tape.first_input, tape.slots)
    tangents = np.zeros(tape.slots)
    tangents[every] = Runner(tape.changed(outputs=every, guards=())).jvp(x, direction)[2]
    return tangents


def adjoints_of_slots(tape: FlatTape, values: Floats, weights: Floats) -> Floats:
    """Return the derivative of the outputs' weighted sum by every slot.

    Parameters
    ----------
    tape : FlatTape
    values : float64 array
        Every slot of a run.
    weights : float64 array
        One for each output.
    """
    adjoints = np.zeros(tape.slots)
    np.add.at(adjoints, tape.outputs, weights)
    partials = _scalar_partials(tape, values)
    results = tape.results.tolist()
    for number in range(tape.instructions - 1, -1, -1):
        opcode, a, b = tape.code[number].tolist()
        weight = adjoints[results[number] : results[number + 1]]
        if not weight.any():
            continue
        if opcode != VECTOR:
            for slot, partial in zip((a, b), partials[number].tolist(), strict=True):
                if partial:
                    adjoints[slot] += partial * weight[0]
            continue
        instruction = tape.vectors[a]
        operands = instruction.operand_slots()
        moving = [bool((slots >= tape.first_input).any()) for slots in operands]
        if not any(moving):
            continue
        parts = _contributions(instruction, [values[slots] for slots in operands], moving, weight)
        for slots, part in zip(operands, parts, strict=True):
            np.add.at(adjoints, slots, part)
    adjoints[: tape.first_input] = 0.0  # of constants, which stand still
    return adjoints


def _scalar_partials(tape: FlatTape, values: Floats) -> Floats:
    """Return both partials of each scalar instruction; 0 by constants and of vector ones.

    From one tape with these instructions side by side, each on inputs of its own.
    """
    rows = np.flatnonzero(tape.code[:, 0] != VECTOR)
    operands = tape.code[rows, 1:].astype(np.int64)
    moving = operands >= tape.first_input
    arity = np.array([ROWS[opcode].arity for opcode in tape.code[rows, 0].tolist()], np.int64)
    moving[arity == 1, 1] = False
    code = tape.code[rows].copy()
    code[:, 1:][moving] = tape.first_input + np.arange(int(moving.sum()))
    inputs = int(moving.sum())
    outputs = tape.first_input + inputs + np.arange(len(rows))
    side_by_side = FlatTape(code, Vectors.of(()), tape.constants, inputs, outputs)
    partials = np.zeros((tape.instructions, 2))
    found = np.zeros((len(rows), 2))
    if len(rows):
        x = values[operands[moving]]
        found[moving] = Runner(side_by_side).vjp(x, np.ones(len(rows)))[2]
    partials[rows] = found
    return partials


def _contributions(
    instruction: VectorInstruction,
    operands: Sequence[Floats],
    moving: Sequence[bool],
    weights: Floats,
) -> list[Floats]:
    """Return what a vector instruction adds to the adjoints of each operand's elements."""
    # What is constant stays so: some operations have no derivative by such an operand.
    fixed = [operand for operand, moves in zip(operands, moving, strict=True) if not moves]
    inputs = [operand for operand, moves in zip(operands, moving, strict=True) if moves]
    places = {False: 1, True: 1 + sum(operand.size for operand in fixed)}
    views = []
    for operand, moves in zip(operands, moving, strict=True):
        views.append(View(places[moves], contiguous_strides(operand.shape)))
        places[moves] += operand.size
    alone = FlatTape(
        np.array([[VECTOR, 0, instruction.size]], np.int32),
        Vectors.of([instruction.reading(tuple(views))]),
        np.concatenate([np.zeros(0), *(operand.ravel() for operand in fixed)]),
        sum(operand.size for operand in inputs),
        places[True] + np.arange(instruction.size),
    )
    x = np.concatenate([operand.ravel() for operand in inputs])
    gradient = Runner(alone).vjp(x, weights)[2]
    ends = np.cumsum([operand.size for operand in inputs])[:-1]
    parts = iter(np.split(gradient, ends))
    return [
        next(parts).reshape(operand.shape) if moves else np.zeros(operand.shape)
        for operand, moves in zip(operands, moving, strict=True)
    ]
