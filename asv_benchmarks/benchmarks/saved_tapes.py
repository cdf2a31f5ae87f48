"""What a tape costs that was not just recorded: reading it from a file, and checking it."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import numtape
from numtape.functions.result import Result
from numtape.functions.signature import read_call
from numtape.functions.trees import Structure
from numtape.ops.table import OPCODE
from numtape.tape.flat import FlatTape
from numtape.tape.forms import Vectors
from numtape.tape.validate import checked_fields

from .measure import best_seconds

_INPUTS = 10


def scalar_tape(instructions: int) -> numtape.Tape:
    """A tape of common operations on slots near and far, longer than one would record here."""
    rng = np.random.default_rng(0)
    code = np.zeros((instructions, 3), np.int32)
    unary = [OPCODE[name] for name in ("sin", "exp")]
    code[:, 0] = rng.choice([OPCODE["add"], OPCODE["multiply"], *unary], instructions)
    results = 1 + _INPUTS + np.arange(instructions)
    code[:, 1] = np.maximum(1, results - rng.integers(1, 20, instructions))
    code[:, 2] = rng.integers(0, results)
    code[np.isin(code[:, 0], unary), 2] = 0
    flat = FlatTape(code, Vectors.of(()), np.zeros(0), _INPUTS, np.array([results[-1]]))
    signature = read_call((np.zeros(_INPUTS),)).signature
    return numtape.Tape(flat, signature, Result(Structure(None), ((),)))


def array_tape(instructions: int) -> numtape.Tape:
    """A tape of about so many vector instructions."""

    def f(x: Any) -> Any:
        for _ in range(instructions // 2):
            x = np.sin(x) * x[::-1]
        return np.sum(x)

    return numtape.record(f, np.linspace(0.1, 1.0, 20))


class Scalars:
    """A million scalar instructions."""

    count = 1_000_000

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "big.tape"
        self.tape = self.made()
        self.tape.save(self.path)

    def made(self) -> numtape.Tape:
        return scalar_tape(self.count)

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_save(self) -> None:
        self.tape.save(self.path)

    def time_read_bytes(self) -> None:
        self.path.read_bytes()

    def time_load(self) -> None:
        numtape.load(self.path)

    def time_validate(self) -> None:
        checked_fields(self.tape.flat, None)

    def track_load_beyond_bytes(self) -> float:
        loading = best_seconds(lambda: numtape.load(self.path))
        return (loading - best_seconds(self.path.read_bytes)) * 1e3

    track_load_beyond_bytes.unit = "ms"

    def track_validate_an_instruction(self) -> float:
        seconds = best_seconds(lambda: checked_fields(self.tape.flat, None))
        return seconds * 1e9 / self.tape.flat.instructions

    track_validate_an_instruction.unit = "ns"


class Arrays(Scalars):
    """Ten thousand vector instructions."""

    count = 10_000

    def made(self) -> numtape.Tape:
        return array_tape(self.count)
