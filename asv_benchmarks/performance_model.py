"""A model of how long a tape runs, its constants measured here, against measured times.

    python asv_benchmarks/performance_model.py

predicts the times of the problems in `benchmarks.problems` by counting their tapes'
instructions, measures these times, and writes both into docs/explanation/performance.md,
with what an instruction of each operation takes. That is measured when it is first asked
for. It takes a minute or two, and wants a machine with nothing else to do.
"""

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.problems import ARRAYS, BATCHES, GRADIENTS, JACOBIANS

# After `benchmarks`, which keeps NumPy to one thread.
import numpy as np  # isort: skip

import numtape as nt
from numtape.functions.runner import Runner
from numtape.ops.table import ROWS, load_ufunc, row_named
from numtape.run.workspace import Plan
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
START, END = "<!-- measured:start -->", "<!-- measured:end -->"

LENGTH = 512  # instructions of the operation that is measured
INPUTS = 100
POINTS = 4096
SUM, TIMES_VECTOR, TIMES_MATRIX, OTHER = "sum", "matrix @ vector", "matrix @ matrix", "other"
VALUE, GRADIENT, LANES = "value", "gradient by sweep", "batch, a point"
DERIVATIVE = "on a derivative tape"


def nanoseconds(call: Callable[[], Any], rounds: int = 40) -> float:
    """Nanoseconds of processor time that a call takes, at best.

    Everything is run on one thread. Its own time, over stretches shorter than the
    scheduler's, is what is least disturbed by other work on the machine.
    """
    call()
    repeats = 1
    while (best := thread_time(call, repeats)) < 2e5:
        repeats *= 2
    for _ in range(rounds if repeats > 1 else rounds // 2):
        best = min(best, thread_time(call, repeats))
    return best / repeats


def thread_time(call: Callable[[], Any], repeats: int) -> float:
    turns = range(repeats)
    start = time.thread_time_ns()
    for _ in turns:
        call()
    return float(time.thread_time_ns() - start)


def measured_as(name: str) -> str:
    """The operation that one counts as.

    What no ufunc is recorded as, and comparisons, are a multiplication's work or less.
    """
    row = row_named(name)
    return "multiply" if row.ufunc is None or set(row.partials) == {"0"} else name


def applied(name: str) -> Callable[[Any, Any], Any]:
    """An operation of the table, of x and y."""
    row = row_named(name)
    if row.is_power:
        return (lambda x, y: x**2.0) if name.endswith("constant") else (lambda x, y: x**y)
    function = load_ufunc(str(row.ufunc))
    return function if row.arity == 2 else lambda x, y: function(x)


# Scalar instructions.


def summed(terms: list[Any]) -> Any:
    """Their sum, pair by pair: no addition waits for more than a few others."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=True)
        terms = [x + y for x, y in pairs]
    return terms[0]


def inputs(count: int) -> Any:
    return np.random.default_rng(1).uniform(0.3, 0.9, count)


def of_inputs(terms: Callable[[Any, int], Any], length: int) -> nt.Tape:
    def function(x: Any) -> Any:
        return summed([terms(x, k) for k in range(length)])

    return nt.record(function, inputs(INPUTS))


def run(tape: nt.Tape, way: str) -> float:
    """Nanoseconds of one of the ways of running a tape."""
    x = inputs(tape.flat.inputs)
    if way == LANES:
        points = np.tile(x, (POINTS, 1))
        return nanoseconds(lambda: tape(points, num_threads=1)) / POINTS
    return nanoseconds((lambda: tape(x)) if way == VALUE else (lambda: tape.gradient(x)))


@cache
def sum_of_inputs(way: str, length: int) -> float:
    return run(of_inputs(lambda x, k: x[k % INPUTS], length), way)


@cache
def call_cost(way: str) -> float:
    """What is no instruction's."""
    return run(nt.record(lambda x: x[0] + x[1], inputs(8)), way) - scalar_cost("add", way)


@cache
def scalar_cost(name: str, way: str) -> float:
    """Of a scalar instruction that waits for no other."""
    if name == "add":
        return (sum_of_inputs(way, 4 * LENGTH) - sum_of_inputs(way, 2)) / (4 * LENGTH - 2)
    operation = applied(name)
    tape = of_inputs(lambda x, k: operation(x[k % INPUTS], x[(k + 1) % INPUTS]), LENGTH)
    return max(0.0, (run(tape, way) - sum_of_inputs(way, LENGTH)) / LENGTH)


@cache
def waiting_cost(way: str) -> float:
    """Of a scalar instruction that needs the result of the one before."""

    def function(x: Any) -> Any:
        total = x[0]
        for k in range(LENGTH):
            total = total + x[k % 7]
        return total

    return (run(nt.record(function, inputs(8)), way) - call_cost(way)) / LENGTH


@cache
def number_cost() -> float:
    """Of an input or an output of a point in a batch."""
    size = INPUTS
    tape = nt.record(lambda x: np.stack([x[k] + x[k] for k in range(size)]), np.ones(size))
    points = np.ones((POINTS, size))
    time = nanoseconds(lambda: tape(points, num_threads=1)) / POINTS
    return max(0.0, time / size - scalar_cost("add", LANES)) / 2


# Array instructions.


def a_run(function: Callable[[Any], Any], x: Any, way: str) -> float:
    """Nanoseconds of one array instruction among many."""
    times = []
    for count in (1, 65):

        def repeated(x: Any, count: int = count) -> Any:
            for _ in range(count):
                y = function(x)
            return np.ravel(y)[0]

        flat = nt.record(repeated, x).flat
        free = np.full(flat.instructions, way == DERIVATIVE)
        runner, y = Runner(flat, free), np.empty(1)
        point = np.ravel(x).copy()
        times.append(nanoseconds(lambda runner=runner, point=point, y=y: runner.evaluate(point, y)))
    return (times[1] - times[0]) / 64


@cache
def array_cost() -> float:
    """Of an array instruction, whatever its length."""
    return a_run(lambda x: x + x, np.linspace(0.3, 0.9, 16), VALUE)


@cache
def element_cost(name: str, way: str) -> float:
    """Of an element of an array instruction; of a product, of a multiplication."""
    square = np.random.default_rng(0).standard_normal((100, 100))
    if name == TIMES_VECTOR:
        return (a_run(lambda x: x @ x[0], square, way) - array_cost()) / square.size
    if name == TIMES_MATRIX:
        return (a_run(lambda x: x @ x, square, way) - array_cost()) / 100**3
    size = 4096
    x = np.random.default_rng(0).uniform(0.3, 0.9, size + 1)
    if name in (SUM, OTHER):
        return (a_run(np.sum, x, way) - array_cost()) / size
    operation = applied(name)
    return max(0.0, a_run(lambda x: operation(x[1:], x[:-1]), x, way) - array_cost()) / size


@cache
def far_cost() -> float:
    """Of an element whose operands come from beyond the second-level cache, more than else."""
    x = np.ones(1 << 21)
    near, far = a_run(lambda x: x + x, x[:4096], VALUE) / 4096, a_run(lambda x: x + x, x, VALUE)
    return max(0.0, far / x.size - near)


def second_level_cache() -> int:
    """Its bytes, where the system tells; else a megabyte."""
    name = "SC_LEVEL2_CACHE_SIZE"
    found = os.sysconf(name) if name in getattr(os, "sysconf_names", {}) else 0
    return found if found > 0 else 1 << 20


def counted_as(vector: VectorInstruction) -> str:
    """What an array instruction's elements count as."""
    if vector.kind == "map":
        return measured_as(ROWS[vector.opcode].name)
    if vector.kind == "product":
        return TIMES_VECTOR if 1 in (vector.shape[-3], vector.shape[-1]) else TIMES_MATRIX
    return SUM if vector.kind in ("reduce", "accumulate") else OTHER


# The model.


def depth(tape: FlatTape) -> int:
    """How many scalar instructions wait for each other, at most."""
    depths = np.zeros(tape.slots, np.int64)
    for (opcode, a, b), result in zip(tape.code.tolist(), tape.results.tolist(), strict=False):
        if opcode != VECTOR:
            depths[result] = 1 + max(depths[a], depths[b])
    return int(depths.max())


def predicted(tape: FlatTape, way: str, of_arrays: str = VALUE) -> float:
    """Nanoseconds of a run: by instructions, or where that is longer by how they wait."""
    scalars = 0.0
    for opcode, count in Counter(tape.code[:, 0].tolist()).items():
        if opcode != VECTOR:
            scalars += count * scalar_cost(measured_as(ROWS[opcode].name), way)
    if way == LANES:
        return scalars + number_cost() * (tape.inputs + len(tape.outputs))
    arrays = 0.0
    far = 8 * Plan(tape).size > second_level_cache()
    for vector in tape.vectors:
        name, size = counted_as(vector), int(np.prod(vector.shape))
        arrays += array_cost() + size * element_cost(name, of_arrays)
        if far and vector.kind != "product":
            arrays += size * far_cost()
    return call_cost(way) + max(scalars, depth(tape) * waiting_cost(way)) + arrays


def comparisons() -> list[list[str]]:
    """Predicted and measured times of the problems, as rows of the page's table."""
    rows = []

    def compare(name: str, what: str, tape: FlatTape, guess: float, found: float) -> None:
        micros = (guess / 1000.0, found / 1000.0)
        times = [f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}" for value in micros]
        rows.append([name, what, f"{tape.instructions:,}", *times, f"{guess / found:.2f}"])

    for problem in (GRADIENTS | JACOBIANS | ARRAYS).values():
        x = problem.point
        tape = nt.record(problem.function, x)
        found = nanoseconds(lambda tape=tape, x=x: tape(x))
        compare(problem.name, "value", tape.flat, predicted(tape.flat, VALUE), found)
        if problem.name in JACOBIANS:
            continue
        found = nanoseconds(lambda tape=tape, x=x: tape.gradient(x))
        if tape.derivatives.sweeps:
            guess = predicted(tape.flat, GRADIENT)
            compare(problem.name, "gradient by sweep", tape.flat, guess, found)
        else:
            flat = tape.gradient_tape(0).flat
            guess = predicted(flat, VALUE, DERIVATIVE)
            compare(problem.name, "gradient's tape", flat, guess, found)
    for name, batch in BATCHES.items():
        if batch.wanted != "gradient":
            continue
        tape = nt.record(batch.problem.function, batch.problem.point)
        points = batch.points(POINTS)
        flat = tape.gradient_tape(0).flat
        found = nanoseconds(lambda tape=tape, p=points: tape.gradient(p, num_threads=1)) / POINTS
        compare(name, "gradient's tape, in a batch", flat, predicted(flat, LANES), found)
    return rows


# The page.


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def processor() -> str:
    """The processor's name, where the system tells."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


OPERATIONS = ("add", "multiply", "divide", "sqrt", "pow_constant", "exp", "log", "sin", "tanh")
RARER = ("erf", "pow")


def measured() -> str:
    """The generated part of the page."""
    rows = comparisons()
    ways = (VALUE, GRADIENT, LANES)
    scalars = [
        [f"`{name}`", *(f"{scalar_cost(name, way):.2g}" for way in ways)] for name in OPERATIONS
    ]
    scalars += [
        [f"`{n}`", f"{scalar_cost(n, VALUE):.2g}", "", f"{scalar_cost(n, LANES):.2g}"]
        for n in RARER
    ]
    scalars.append(
        ["each that waits for the last", *(f"{waiting_cost(w):.2g}" for w in ways[:2]), ""]
    )
    scalars.append(["a call", *(f"{call_cost(way):.0f}" for way in ways[:2]), ""])
    scalars.append(["an input or output", "", "", f"{number_cost():.2g}"])
    names = (*OPERATIONS, *RARER, SUM, TIMES_VECTOR, TIMES_MATRIX)
    elements = [
        [
            name if name in (SUM, TIMES_VECTOR, TIMES_MATRIX) else f"`{name}`",
            *(f"{element_cost(name, way):.2g}" for way in (VALUE, DERIVATIVE)),
        ]
        for name in names
    ]
    return f"""
Measured by `asv_benchmarks/performance_model.py` on {processor()} ({os.cpu_count()} cores, one
used), Python {platform.python_version()}, NumPy {np.__version__}. Times are in nanoseconds.

{table(["a scalar instruction", *ways], scalars)}
An array instruction takes {array_cost():.0f} ns, and for each element (for a product, each
multiplication):

{table(["an element", "value", DERIVATIVE], elements)}
Where a run's memory does not fit the second-level cache ({second_level_cache() >> 10} KiB here),
each element of an array instruction but a product takes {far_cost():.2g} ns more.

Predicted and measured, in microseconds:

{table(["problem", "what", "instructions", "predicted", "measured", "ratio"], rows)}"""


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = measured()
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
