"""What a loop does in one step: a tape, and what its inputs and outputs are.

A loop is a vector instruction (`numtape.kinds.loop`), and its body a tape of its own, so a
body may have loops. This module says what a body is; it runs and transforms none.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from numtape.tape.flat import FlatTape

__all__ = ["Body"]

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Body:
    """One step of a loop.

    Bodies that do the same are equal, so loops of equal bodies have one form.

    Attributes
    ----------
    tape : FlatTape
        Without guards. Its inputs are what is carried, then what is read at this step, then
        what is the same in all steps: arrays one after the other, each in C order. Its outputs
        are the next values of what is carried, and then what is written at this step.
    carries, reads, same : tuple of shapes
        The shapes of these inputs; () is a number.
    writes : tuple of shapes
        The shapes of what is written. The results of a loop are the last values of what is
        carried and then, for each of these, an array ``(steps, *shape)``.
    keeps_all : bool
        Whether the last of `writes` has what is carried into the step and then all results of
        `tape` but for itself: what derivatives may ask for.
    recomputes : bool
        Whether derivatives compute a step again from what is carried into it, so that nothing
        else is kept; the last of `writes` has no more then either.
    """

    tape: FlatTape
    carries: tuple[Shape, ...]
    reads: tuple[Shape, ...]
    same: tuple[Shape, ...]
    writes: tuple[Shape, ...]
    keeps_all: bool = False
    recomputes: bool = False

    @cached_property
    def carried(self) -> int:
        """How many numbers are carried."""
        return sum(map(math.prod, self.carries))

    @cached_property
    def written(self) -> int:
        """How many numbers are written at each step."""
        return sum(map(math.prod, self.writes))

    @cached_property
    def depth(self) -> int:
        """How deep loops are nested, this one included."""
        return 1 + max((body.depth for body in self.tape.bodies), default=0)

    @cached_property
    def needed(self) -> int:
        """How many slots a run of it needs, with those of loops in it."""
        within = sum(body.needed for body in self.tape.bodies)
        return self.tape.slots + self.tape.instructions + within

    def results(self, steps: int) -> int:
        """Return how many results a loop of so many steps has."""
        return self.carried + steps * self.written

    @cached_property
    def digest(self) -> bytes:
        """What tells bodies apart that do not do the same."""
        from numtape.tape.columns import columns  # which knows of bodies

        header, arrays = columns(self.tape)
        kept = blake2b(repr((sorted(header.items()), self._shapes)).encode(), digest_size=16)
        for name, array in arrays.items():
            kept.update(name.encode())
            kept.update(np.ascontiguousarray(array).data.cast("B"))
        return kept.digest()

    @property
    def _shapes(self) -> tuple[object, ...]:
        groups = self.carries, self.reads, self.same, self.writes
        return (*groups, self.keeps_all, self.recomputes)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Body) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)
