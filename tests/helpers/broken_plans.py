"""Plans broken on purpose, run where ``NUMBA_BOUNDSCHECK=1``: an IndexError each, never a crash.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python tests/helpers/broken_plans.py

prints the name of each breakage and what came of it. Numba's cache does not know
whether a kernel checks its indices, so checked kernels want a cache of their own.
`run/test_bounds.py` runs this as a process of its own.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
from checks import workspace

import numtape as nt
from numtape.run import _kernels
from numtape.run.lanes import LanePlan, LaneWorkspace
from numtape.run.strips import NO_STRIPS, Strips
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import FlatTape

X = np.linspace(0.1, 2.0, 24)
TWICE = np.arange(30) * 7 % 24
FAR = 10**6  # elements, beyond any memory here


def _places(x, n):
    """Places among n that are found during the run."""
    return np.argsort(x)[:n]


# For each kind of vector instruction a function that records one, the first word of
# its kind, and where its words say at which place an operand begins.
KINDS = {
    "map, in place": (lambda x: np.sin(x[::-1]), _kernels.MAP, (4,)),
    "map, copied": (lambda x: np.sin(x.reshape(4, 6)[:, ::2]), _kernels.MAP, (4,)),
    "map, copied side by side": (lambda x: np.sin(x.reshape(4, 6)[:, :5]), _kernels.MAP, (4,)),
    "map, one element": (lambda x: np.multiply(x, x[3]), _kernels.MAP, (4, 9)),
    "map by rows": (
        lambda x: np.concatenate([x, x]).reshape(2, 24)[:, :20] * x[:20],
        _kernels.MAP_ROWS,
        (6,),
    ),
    "reduce": (lambda x: np.sum(x.reshape(4, 6), axis=0), _kernels.REDUCE, (5,)),
    "accumulate": (lambda x: np.cumsum(x), _kernels.ACCUMULATE, (4,)),
    "order": (lambda x: np.argsort(x) * 1.0, _kernels.ORDER, (4,)),
    "search": (lambda x: np.searchsorted(np.sort(X), x) * 1.0, _kernels.SEARCH, (4, 6)),
    "take": (lambda x: x[_places(x, 9)], _kernels.TAKE, (5, 8)),
    "scatter": (nt.grad(lambda x: np.sum(np.sin(x[TWICE]))), _kernels.SCATTER, (4,)),
    "spread": (nt.grad(lambda x: np.sum(np.sin(x[_places(x, 9)]))), _kernels.SPREAD, (5, 8)),
    "function": (lambda x: x.reshape(4, 6) @ x.reshape(6, 4), _kernels.FUNCTION, (17, 20)),
}


def scalar(x):
    y = np.sin(x[0]) * x[1]
    if y > 0.0:
        y = y + 1.0
    return np.array([y, x[0], y * y])


def breakages() -> Iterator[tuple[str, Callable[[], object]]]:
    """Names, and what runs something broken; `sound` ones are not."""
    tape = nt.record(scalar, X[:2]).flat
    for name, array, place in (
        ("operand", "placed_code", (0, 1)),
        ("opcode", "placed_code", (0, 0)),
        ("output", "outputs", (1,)),
        ("guard", "guard_slots", (0,)),
        (None, None, None),
    ):
        yield f"{name or 'sound'}: scalars", _scalars(tape, array, place)
    for name, place in (("operand", (0, 1)), (None, None)):
        yield f"{name or 'sound'}: sweeps", _sweeps(tape, place)
        yield f"{name or 'sound'}: lanes", _lanes(tape, place)
    for name, (function, kind, bases) in KINDS.items():
        flat = nt.record(function, X).flat
        yield f"sound: {name}", _vector(flat, kind, None)
        yield f"result: {name}", _vector(flat, kind, "result")
        for base in bases:
            yield f"operand {base}: {name}", _vector(flat, kind, base)
    flat, strips = nt.record(lambda x: np.exp(np.sin(x[::-1])), X).flat, Strips((np.arange(2),))
    yield "sound: strips", _vector(flat, _kernels.STRIPS, None, strips)
    for base in (4, 7, 11, 14):  # of an operand and the result, twice
        yield f"operand {base}: strips", _vector(flat, _kernels.STRIPS, base, strips)
    flat = nt.record(KINDS["map, one element"][0], X).flat
    yield "too little memory", _short(flat)


def _scalars(tape: FlatTape, array: str | None, place) -> Callable[[], object]:
    plan = Plan(tape)
    if array is not None:
        getattr(plan, array)[place] += 256 * FAR if place == (0, 0) else FAR
    memory = Workspace(plan)
    return lambda: _kernels.evaluate(memory.handle, X[:2].copy(), np.zeros(len(tape.outputs)))


def _sweeps(tape: FlatTape, place) -> Callable[[], object]:
    plan = Plan(tape, sweeps=True)
    if place is not None:
        plan.code = plan.code.copy()
        plan.code[place] += FAR
    memory = Workspace(plan)
    return lambda: plan.gradient(memory.handle, X[:2].copy(), np.zeros(2))


def _lanes(tape: FlatTape, place) -> Callable[[], object]:
    plan = LanePlan(tape, np.zeros(2, bool))
    if place is not None:
        plan.placed_code[place] += FAR
    memory = LaneWorkspace(plan)
    nothing = np.zeros(0, np.int64)
    table = np.zeros((0, 3), np.int64)
    failed = np.zeros(0, np.int32)
    return lambda: plan.run(
        memory.handle, table, table, nothing, nothing, 0, 8, failed, np.zeros(0)
    )


def _vector(
    tape: FlatTape, kind: int, broken: int | str | None, strips: Strips = NO_STRIPS
) -> Callable[[], object]:
    """Run a tape with the first instruction of a kind broken."""
    plan = Plan(tape, strips=strips)
    starts = [row for row in plan.segments if row[3] >= 0 and plan.words[row[3]] == kind]
    segment = starts[0]
    if broken == "result":
        segment[2] += FAR
    elif broken is not None:
        plan.words[segment[3] + broken] += FAR
    memory = Workspace(plan)
    return lambda: _kernels.evaluate_mixed(memory.handle, X.copy(), np.zeros(len(tape.outputs)))


def _short(tape: FlatTape) -> Callable[[], object]:
    memory = workspace(tape)
    memory._handle[_kernels.SLOTS] -= 1
    return lambda: _kernels.evaluate_mixed(memory.handle, X.copy(), np.zeros(len(tape.outputs)))


def main() -> None:
    ignored = []
    # What a kernel that is called by its address raises, nobody catches.
    sys.unraisablehook = lambda raised: ignored.append(raised.exc_type)
    for name, run in breakages():
        print(name, end=": ", flush=True)
        ignored.clear()
        try:
            run()
        except IndexError:
            print("IndexError", flush=True)
        else:
            print("IndexError" if IndexError in ignored else "ran", flush=True)


if __name__ == "__main__":
    main()
