"""Machine code and Python walk alike: the same instructions, in the same order."""

import numpy as np
import pytest
from checks import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import INPUTS, SCALAR_STEPS, STEPS, random_tape

from numtape.errors import UnsupportedError
from numtape.ops.table import OPCODE
from numtape.tape.text import program
from numtape.trace.recorder import Recorder
from numtape.transform import walk as walking
from numtape.transform.derivative import (
    adjoint,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)
from numtape.transform.passes import fold_constants, optimize, share, simplify

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")

TRANSFORMS = {
    "adjoint": adjoint,
    "tangent": tangent,
    "by rows": lambda tape: jacobian_by_rows(tape, np.arange(0, INPUTS, 2)),
    "by columns": lambda tape: jacobian_by_columns(tape, np.arange(1, INPUTS, 3)),
    "optimize": optimize,
    "fold": fold_constants,
    "simplify": simplify,
    "share": share,
}


def _text(transform, tape):
    try:
        new = transform(tape)
    except UnsupportedError as error:
        return str(error)
    return program(new), new.constants.tobytes()


@pytest.fixture
def walkers(monkeypatch):
    """A function that decides who walks."""

    def choose(is_compiled):
        monkeypatch.setattr(walking.walk, "left", -1 if is_compiled else 1 << 60)

    return choose


@pytest.mark.parametrize("name", TRANSFORMS)
def test_random_tapes(name, walkers):
    @given(st.one_of(STEPS, SCALAR_STEPS), st.integers(0, 1000))
    @settings(max_examples=40)
    def compare(steps, seed):
        tape = random_tape(steps, seed)
        walkers(True)
        compiled = _text(TRANSFORMS[name], tape)
        walkers(False)
        assert _text(TRANSFORMS[name], tape) == compiled

    compare()


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_store_grows(is_compiled, walkers):
    """Instructions, constants and negatives beyond what there is room for at first."""
    walkers(is_compiled)
    steps = [("scalar", k, 3 * k + 1, 7 * k) for k in range(3000)]
    tape = random_tape(steps, 0)
    new = optimize(tape)
    assert program(optimize(new)) == program(new)
    assert new.instructions < tape.instructions


@pytest.mark.parametrize("is_compiled", [False, True])
def test_many_columns(is_compiled, walkers):
    """One instruction makes as many as there are columns, beyond the room there is at first."""
    walkers(is_compiled)
    recorder = Recorder(160)
    slots = [recorder.scalar(OPCODE["sin"], 1 + k, 0) for k in range(160)]
    total = slots[0]
    for slot in slots[1:]:
        total = recorder.scalar(OPCODE["multiply"], total, slot)
    tape = recorder.finish(np.array([total, *slots]), np.ones(160))
    forward = jacobian_by_columns(tape, np.arange(160))
    backward = jacobian_by_rows(tape.changed(outputs=tape.outputs[:40]), np.arange(160))
    for new, rows in ((forward, 161), (backward, 40)):
        values = evaluate(new, np.ones(160))[rows:].reshape(rows, 160)
        np.testing.assert_allclose(values[0], np.cos(1.0) * np.sin(1.0) ** 159)
        np.testing.assert_allclose(values[1:], np.cos(1.0) * np.eye(160)[: rows - 1])
