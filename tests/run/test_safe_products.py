"""Matrix products in which 0 times anything is 0, and the kernel that repairs those of BLAS."""

import naive
import numpy as np
import pytest
from checks import evaluate

from numtape.trace.recorder import Recorder

SHAPES = {
    "matrices": ((3, 4), (4, 2)),
    "a row": ((1, 5), (5, 3)),
    "a column": ((4, 6), (6, 1)),
    "a batch": ((2, 3, 4), (2, 4, 5)),
    "a broadcast batch": ((2, 1, 3, 4), (5, 4, 2)),
    "one term": ((3, 1), (1, 4)),
}


def _tape(left, right, transposed):
    """A safe product as a tape of its own; its operands may lie transposed."""
    recorder = Recorder(int(np.prod(left) + np.prod(right)))
    slots = np.arange(1, recorder.inputs + 1)
    a, b = np.split(slots, [int(np.prod(left))])
    if transposed:
        a = a.reshape(*left[:-2], left[-1], left[-2]).swapaxes(-1, -2)
        b = b.reshape(*right[:-2], right[-1], right[-2]).swapaxes(-1, -2)
    product = recorder.product(a.reshape(left), b.reshape(right), safe=True)
    return recorder.finish(product.ravel(), np.zeros(recorder.inputs))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_as_the_naive_interpreter_has_it(name, transposed):
    tape = _tape(*SHAPES[name], transposed)
    random = np.random.default_rng(len(name))
    odd = [0.0, -0.0, np.inf, -np.inf, np.nan]
    for share in (0.0, 0.1, 0.5, 0.9):
        x = random.normal(size=tape.inputs)
        x = np.where(random.random(tape.inputs) < share, random.choice(odd, tape.inputs), x)
        with np.errstate(all="ignore"):
            expected = naive.run(tape, x)
            found = evaluate(tape, x)
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_zeros_win():
    tape = _tape((2, 2), (2, 2), False)
    a = np.array([[0.0, 1.0], [np.inf, 2.0]])
    b = np.array([[np.nan, 3.0], [4.0, 0.0]])
    found = evaluate(tape, np.concatenate([a.ravel(), b.ravel()])).reshape(2, 2)
    np.testing.assert_array_equal(found, [[4.0, 0.0], [np.nan, np.inf]])
