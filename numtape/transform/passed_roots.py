"""Whether a root, or a sum of squares that one may be made of, goes into a loop or out of one.

What is an even function of a root is differentiated by what is under the root (`kinks.py`). To a
body what is carried into it is an input like any other, and to the rest of a tape the results of
a loop are. Where more is to be known of them, a tape is not rolled up.
"""

import numpy as np
import numpy.typing as npt

from numtape.ops.table import OPCODE
from numtape.tape.body import Body
from numtape.tape.flat import FlatTape
from numtape.transform.builder import NO_RULES, Builder, replay
from numtape.transform.derivation import Derivation
from numtape.transform.kinks import MAKES_ROOTS

__all__ = ["passes_roots"]

_MULTIPLY, _SQRT = OPCODE["multiply"], OPCODE["sqrt"]


def passes_roots(tape: FlatTape) -> bool:
    """Return whether some loop of a tape hides what a root is made of, or that it is one."""
    opcodes = _opcodes(tape)
    none = tape.giving(tape.outputs[:0])
    if not MAKES_ROOTS.isdisjoint(opcodes) and Derivation(none, 0).passes_roots():
        return True
    return any(_hides(body, _SQRT in opcodes) for body in tape.bodies)


def _hides(body: Body, roots_outside: bool) -> bool:
    """Return whether a body hides something; `roots_outside`, whether there are some around it."""
    opcodes = _opcodes(body.tape)
    within = Derivation(body.tape, 0) if not MAKES_ROOTS.isdisjoint(opcodes) else None
    if within is not None and within.passes_roots():
        return True
    if roots_outside or _SQRT in opcodes:
        carried, of_squares = _sums_of_squares(body)
        if roots_outside and of_squares.any():
            return True
        if within is not None and carried.any():
            assumed = Derivation(_squared(body, carried), 0)
            if len(assumed.roots.norms) > len(within.roots.norms):
                return True
    return any(_hides(each, _SQRT in opcodes) for each in body.tape.bodies)


def _sums_of_squares(body: Body) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return what of the carried and what of all outputs are sums of squares, if they begin so."""
    carried = np.ones(body.carried, bool)
    while True:
        made = Derivation(_squared(body, carried), 0)
        found = np.array([made.roots.is_sum_of_squares(slot) for slot in made.outputs.tolist()])
        still = carried & found[: body.carried].astype(bool)
        if (still == carried).all():
            return carried, found.astype(bool)
        carried = still


def _squared(body: Body, which: npt.NDArray[np.bool_]) -> FlatTape:
    """Return the tape of a body with squares in place of some of what is carried."""
    tape = body.tape
    recorder = Builder(tape.inputs, NO_RULES)
    inputs = 1 + np.arange(tape.inputs)
    for number in np.flatnonzero(which).tolist():
        inputs[number] = recorder.scalar(_MULTIPLY, number + 1, number + 1)
    slots = replay(tape, recorder, inputs)
    return recorder.finish(slots.at(tape.outputs), np.zeros(tape.inputs))


def _opcodes(tape: FlatTape) -> set[int]:
    """Return the operations of a tape, also those over arrays."""
    return {*tape.opcodes, *(form.instruction.opcode for form in tape.vectors.forms)}
