"""Kernels for common operations alone give what the kernels for all operations give, to the bit."""

import numpy as np
import pytest
from checks import assert_same_bits, workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import POINTS, SCALAR_STEPS, point, random_tape

import numtape as nt
from numtape.ops.table import ROWS
from numtape.run import _kernels
from numtape.trace.ufuncs import apply_row

COMMON = [opcode for opcode, row in enumerate(ROWS) if row.common]
PAIRS = (
    (_kernels.linearize, _kernels.linearize_common),
    (_kernels.gradient, _kernels.gradient_common),
)


def _assert_kernels_agree(tape, x):
    for pair in PAIRS:
        found = []
        for kernel in pair:
            memory = workspace(tape, sweeps=True)
            size = tape.inputs if kernel in PAIRS[1] else len(tape.outputs)
            result = np.zeros(size)
            status = kernel(memory.handle, x, result)
            forward, reverse = np.empty((1, len(tape.outputs))), np.empty((1, tape.inputs))
            _kernels.tangents(memory.handle, np.ones((1, tape.inputs)), forward)
            _kernels.adjoints(memory.handle, np.ones((1, len(tape.outputs))), reverse)
            found.append([result, forward, reverse, memory.gradient_output, np.array(status)])
        for one, other in zip(*found, strict=True):
            assert_same_bits(one, other)


@pytest.mark.parametrize("opcode", COMMON, ids=[ROWS[opcode].name for opcode in COMMON])
def test_each_operation(opcode):
    row = ROWS[opcode]
    tape = nt.record(lambda v: apply_row(row, tuple(v)), np.full(row.arity, 0.75)).flat
    for x in ((0.75, -1.5), (0.0, 2.0), (-0.0, 0.0), (3.0, 3.0), (np.inf, np.nan)):
        _assert_kernels_agree(tape, np.array(x[: row.arity]))


@pytest.mark.parametrize("name", POINTS)
@settings(max_examples=20, deadline=None)
@given(steps=SCALAR_STEPS, seed=st.integers(0, 2**16))
def test_random_tapes(name, steps, seed):
    tape = random_tape(steps, seed, COMMON)
    _assert_kernels_agree(tape, point(name, seed))


def test_what_is_common_uses_them():
    tape = nt.record(lambda x: x[0] * x[1], np.ones(2)).flat
    assert workspace(tape, sweeps=True).plan.gradient is _kernels.gradient_common
    row = next(row for row in ROWS if not row.common and row.arity == 1)
    rare = nt.record(lambda v: apply_row(row, tuple(v)), np.ones(1)).flat
    assert workspace(rare, sweeps=True).plan.gradient is _kernels.gradient
