"""A sieve of a batch: which known path each point takes, before any tape is run whole.

The recordings of a function part at some of their guards. What such a guard is of is computed by
a tape of its own, a small part of a recording: it is run at the points that get there, which are
then split by what it came to. So points go through a recording's derivatives once, on the path that
they take, and not through those of other paths before. What a sieve says is a guess: the tape that
a point is given to looks at its guards as ever.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from numtape.functions.runner import Runner
from numtape.functions.tape import Tape
from numtape.run.lanes import exact_opcodes
from numtape.transform.passes import remove_dead

__all__ = ["Decisions", "Sieve"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Runs a decision at the points of some numbers.
Decide = Callable[[Runner, Ints], Floats]

# Fewer points are not split: what a run costs besides is as much as they cost on two tapes.
_FEW = 512

# After so many visits of single points a decision is made ready, which takes a millisecond.
_OFTEN = 4

# A decision that takes more than such a part of a tape's instructions is not worth taking apart.
_SHARE = 0.5


@dataclass
class _Node:
    """Recordings that agree up to some guard, at which they part.

    Attributes
    ----------
    tape : Tape
        One of them: the one made first.
    guard : int
        The number of that guard; -1 where there is one recording.
    children : dict
        By the bits of what the guard is of.
    visits : int
        How many single points came here.
    """

    tape: Tape
    guard: int = -1
    children: dict[int, "_Node"] = field(default_factory=dict)
    visits: int = 0


# What computes a guarded value, by tape and by number of the guard; None where it takes too long.
Decisions = dict[Tape, dict[int, Runner | None]]


class Sieve:
    """A function's recordings of one signature, as a tree of decisions.

    Parameters
    ----------
    tapes : sequence of Tape
        In the order in which they were made.
    decisions : dict
        Those made so far, for this sieve and for others of the same function.

    Attributes
    ----------
    size : int
        How many tapes there are.
    """

    def __init__(self, tapes: Sequence[Tape], decisions: Decisions) -> None:
        self.size = len(tapes)
        self._decisions = decisions
        outcomes = {
            tape: np.array([guard.outcome for guard in tape.flat.guards]).view(np.int64).tolist()
            for tape in tapes
        }
        self._root = _grown(list(tapes), outcomes, 0)

    def _decision(self, node: _Node) -> Runner | None:
        """Return what computes the value at which a node's tapes part; made once.

        None where there is one tape, or where that takes nearly what a tape does.
        """
        made_here = self._decisions.setdefault(node.tape, {})
        if node.guard >= 0 and node.guard not in made_here:
            flat = node.tape.flat
            outputs = np.array([flat.guards[node.guard].slot], np.int64)
            made = remove_dead(flat.changed(outputs=outputs, guards=(), lines=None))
            is_short = made.instructions <= _SHARE * flat.instructions
            runner = Runner(made, exact=exact_opcodes(flat)) if is_short else None
            made_here[node.guard] = runner
        return made_here.get(node.guard)

    def sort(self, numbers: Ints, decide: Decide) -> list[tuple[Tape, Ints]]:
        """Return the tapes to run, with the numbers of the points that are likely to take them.

        Parameters
        ----------
        numbers : int64 array
            Of all points.
        decide : callable
            Given the runner of a decision and numbers of points, returns its output at these.
        """
        found: list[tuple[Tape, Ints]] = []
        pending = [(self._root, numbers)]
        while pending:
            node, here = pending.pop()
            decision = self._decision(node) if len(here) >= _FEW else None
            if decision is None:
                found.append((node.tape, here))
                continue
            bits = decide(decision, here).view(np.int64)
            rest = np.ones(len(here), bool)
            for outcome, child in node.children.items():
                taken = bits == outcome
                if taken.any():
                    pending.append((child, here[taken]))
                    rest &= ~taken
            if rest.any():  # a path that is not known
                found.append((node.tape, here[rest]))
        return found

    def after(self, tape: Tape, guard: int, outcome: float, x: Floats) -> Tape:
        """Return the tape that is likely for a point at which a guard of a tape came out otherwise.

        What came before that guard is known without a run; what comes after it is decided where
        points have come often.
        """
        node, guards = self._root, tape.flat.guards
        while node.guard >= 0:
            if node.guard < guard:
                known = guards[node.guard].outcome
            elif node.guard == guard:
                known = outcome
            else:
                node.visits += 1
                decision = self._decision(node) if node.visits > _OFTEN else None
                if decision is None:
                    break
                y = np.empty(1)
                decision.evaluate(x, y)
                known = y.item()
            child = node.children.get(_bits(known))
            if child is None:
                break
            node = child
        return node.tape


def _bits(value: float) -> int:
    """Return what tells an outcome from others."""
    bits: int = np.float64(value).view(np.int64).item()
    return bits


def _grown(tapes: list[Tape], outcomes: dict[Tape, list[int]], guard: int) -> _Node:
    """Return the tree of tapes that agree on their first guards."""
    first = outcomes[tapes[0]]
    shortest = min(len(outcomes[tape]) for tape in tapes)
    while guard < shortest and all(outcomes[tape][guard] == first[guard] for tape in tapes):
        guard += 1
    if len(tapes) == 1 or guard == shortest:
        return _Node(tapes[0])
    groups: dict[int, list[Tape]] = {}
    for tape in tapes:
        groups.setdefault(outcomes[tape][guard], []).append(tape)
    node = _Node(tapes[0], guard)
    for outcome, group in groups.items():
        node.children[outcome] = _grown(group, outcomes, guard + 1)
    return node
