"""Files of tapes, mutated and random: each is refused, or gives a tape that runs.

    python -m tests.fuzz --cases 100000 --seed 0

A worker process does the cases, so that a crash or a hang is seen and reported with its
number; ``--only`` runs one case again. Memory of runs lies between two fences, a megabyte
each that may not be touched, and what is left before it is looked at after each run. With
NUMBA_BOUNDSCHECK=1 in the environment (and NUMBA_CACHE_DIR elsewhere) kernels check every
index of their own too; what they hand to the loops of NumPy and LAPACK by address, the
fences alone see.

A case is one of: random bytes; a good file with bytes changed; a good file with numbers in
its arrays or its header changed, and its checksums right again, so that they reach what
checks tapes. Where a tape comes of it, it is evaluated with places used again and without,
which must agree, differentiated by every way, run at many points, printed and saved.
"""

import argparse
import ctypes
import faulthandler
import io
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # as pytest's conftest does
sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))

from random_loops import random_loops
from random_tapes import INPUTS, random_tape

import numtape as nt
from numtape.errors import NumtapeError
from numtape.functions.result import Result
from numtape.functions.saved import read
from numtape.functions.signature import read_call
from numtape.functions.specification import GRADIENT
from numtape.functions.trees import Structure
from numtape.ops.structured import FUNCTION_OPCODE, FUNCTIONS
from numtape.ops.table import ROWS
from numtape.run import _kernels, lanes, workspace
from numtape.run.workspace import Plan, Workspace
from numtape.tape import container
from numtape.tape.text import operation_name
from numtape.tape.validate import MEMORY_LIMIT
from numtape.trace.recorder import Recorder
from numtape.transform.derivative import jacobian_by_rows

__all__ = ["Report", "fuzz"]

# Small, so that a case with big numbers is refused and not slow.
_LIMIT = "4e6"

# Where files are in memory, if there is such a folder.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# A case that takes longer than so many seconds hangs; among the first ones kernels compile.
_HANG, _WARM, _COMPILING = 60.0, 100, 300.0


_MOST_INSTRUCTIONS = 10**6


# Good files.


def corpus() -> list[tuple[str, bytes]]:
    """Tapes of every kind of instruction, as files."""
    tapes = {}
    rng = np.random.default_rng(0)
    kinds = ("map", "view", "reduce", "accumulate", "scatter", "order", "search", "take", "spread")
    for seed in range(6):
        steps = [("scalar", *rng.integers(0, 2**16, 3).tolist()) for _ in range(12)]
        tapes[f"scalar {seed}"] = _tape(random_tape(steps, seed))
    for seed, kind in enumerate(kinds * 2):
        steps = [("map", *rng.integers(0, 2**16, 3).tolist())]
        for each in (kind, "scalar", kind, "map"):
            steps.append((each, *rng.integers(0, 2**16, 3).tolist()))
        tapes[f"{kind} {seed}"] = _tape(random_tape(steps, seed))
    for function in FUNCTIONS:
        tapes[function.name] = _tape(_function_tape(function.name))
    x = np.linspace(0.5, 2.0, INPUTS)
    tapes["product"] = nt.record(lambda x: x.reshape(2, 2, 3) @ x.reshape(1, 3, 4), x)
    tapes["lines"] = nt.record(lambda x: np.sum(x * x) if x[0] > 0 else x[0], x, lines=True)
    tapes["gathered"] = nt.record(lambda x: np.exp(x[np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])]), x)
    tapes["tree"] = nt.record(
        lambda p, n, name: {"a": [p["x"] * n, p["y"]], "b": (p["x"],)},
        {"x": 2.0, "y": np.ones((2, 3))},
        np.arange(3),
        "name",
    )
    tapes["adjoint"] = nt.record(lambda x: np.sum(np.tanh(x) * x[::-1]), x).adjoint()
    tapes["tangent"] = nt.record(lambda x: np.sort(x), x).tangent(seeded=True)
    for seed in range(6):
        flat = random_loops(seed)
        tapes[f"loops {seed}"] = _tape(flat)
        tapes[f"loops backward {seed}"] = _tape(jacobian_by_rows(flat, np.arange(flat.inputs)))
    return [(name, _packed(tape)) for name, tape in tapes.items()]


# Extents of results that operands do not tell.
_CHOSEN = {"irfft": {"n": 4}, "rfft_n_even": {"h": 3}, "rfft_n_odd": {"h": 2}}


def _function_tape(name: str):
    """A tape of one function, of batches of two."""
    recorder = Recorder(INPUTS * 6)
    operands, start = [], 1
    function = FUNCTIONS[FUNCTION_OPCODE[name] - FUNCTION_OPCODE[FUNCTIONS[0].name]]
    extents = {"m": 3, "n": 4 if name == "rfft_n_even" else 3, "h": 3, "2": 2}
    for axes in function.operands:
        shape = (2, *(extents[axis] for axis in axes))
        size = int(np.prod(shape))
        operands.append(np.arange(start, start + size).reshape(shape))
        start += size
    chosen = _CHOSEN.get(name, {})
    parts = recorder.function(name, operands, **chosen)
    outputs = np.concatenate([part.ravel() for part in parts])
    return recorder.finish(outputs, np.linspace(-1.0, 2.0, INPUTS * 6))


def _tape(flat) -> nt.Tape:
    signature = read_call((np.zeros(flat.inputs),)).signature
    return nt.Tape(flat, signature, Result(Structure(None), ((len(flat.outputs),),)))


def _packed(tape: nt.Tape) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tape.save(Path(folder) / "tape")
        return (Path(folder) / "tape").read_bytes()


# Bad files.


def mutated(rng: np.random.Generator, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """One case: what it is, and its bytes."""
    name, data = files[rng.integers(len(files))]
    kind = rng.random()
    if kind < 0.05:
        start = [b"", b"PK\x03\x04", data[: rng.integers(400)]][rng.integers(3)]
        return "random bytes", start + rng.bytes(int(rng.integers(2000)))
    if kind < 0.25:
        return f"{name}: bytes", _with_other_bytes(rng, data)
    header, arrays = container.unpack(data, name)
    header.pop("format"), header.pop("version")
    if kind < 0.4:
        header = _with_other_values(rng, header)
    if kind > 0.33:
        arrays = _with_other_numbers(rng, header, arrays)
    file = io.BytesIO()
    container.pack(file, header, arrays)
    return f"{name}: numbers", file.getvalue()


def _with_other_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.geometric(0.5)):
        at = int(rng.integers(len(changed) + 1))
        match rng.integers(5):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + int(rng.geometric(0.1))]
            case 2:
                changed[at:at] = rng.bytes(int(rng.geometric(0.1)))
            case 3:
                changed[at : at + 1] = bytes([rng.integers(256)])
            case _:  # a field of a directory: lengths, offsets, checksums
                at = data.rfind(b"PK\x01\x02", 0, at + 4) if rng.random() < 0.7 else at
                at = max(at, 0) + int(rng.integers(46))
                width = int(rng.choice([1, 2, 4, 8]))
                number = int(rng.choice([0, 1, 0xFF, 0xFFFF, 0xFFFFFFFF, len(data)]))
                changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(changed)


def _with_other_numbers(rng: np.random.Generator, header, arrays):
    arrays = {name: array.copy() for name, array in arrays.items()}
    slots = int(arrays["code"][:, 2].max(initial=0)) + int(np.size(arrays.get("constants", ())))
    for _ in range(rng.geometric(0.6)):
        names = [name for name in arrays if arrays[name].size]
        if not names:
            break
        name = names[rng.integers(len(names))]
        array = arrays[name]
        how = rng.random()
        if how < 0.08:
            arrays[name] = np.delete(array, rng.integers(len(array)), axis=0)
        elif how < 0.16:
            row = array[rng.integers(len(array))]
            arrays[name] = np.insert(array, rng.integers(len(array) + 1), row, axis=0)
        elif how < 0.24:
            i, j = rng.integers(len(array), size=2)
            array[[i, j]] = array[[j, i]]
        else:
            place = tuple(rng.integers(array.shape))
            array[place] = _other_number(rng, array, array[place], slots)
    if rng.random() < 0.15:
        operations = header.get("operations")
        if isinstance(operations, list) and operations:
            operations[rng.integers(len(operations))] = ROWS[rng.integers(len(ROWS))].name
    return arrays


def _other_number(rng: np.random.Generator, array, old, slots: int):
    if array.dtype.kind == "f":
        return rng.choice([0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1e308, 5e-324, rng.normal()])
    limits = np.iinfo(array.dtype)
    big = [limits.min, limits.max, 2**31 - 1, -(2**31), slots, slots + 1, 10**6, 10**9, 2**20]
    small = [0, 1, -1, 2, 3, int(rng.integers(-9, 40)), int(rng.choice(array.ravel()))]
    near = [int(old) + step for step in (-2, -1, 1, 2)] + [-int(old), 2 * int(old)]
    several = [small, near, big][rng.choice(3, p=[0.4, 0.4, 0.2])]
    number = several[rng.integers(len(several))]
    return min(max(number, limits.min), limits.max)


def _with_other_values(rng: np.random.Generator, header):
    """A header with a value changed, somewhere in it."""
    header = json.loads(json.dumps(header))
    place = header
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return header
        key = keys[rng.integers(len(keys))]
        if not isinstance(place[key], dict | list) or rng.random() < 0.3:
            break
        place = place[key]
    values = [None, True, 0, -1, 1, 3, 12, 2**31, 2**64, 0.5, "", "*", "add", "reduce", [], {}]
    values += ["traced", ["list", [], []], ["dict", ["a"], ["*"]], {"float": "nan"}, [[1], [2]]]
    values += [
        {"array": ["<i8", [2], "AAAAAAAAAAA="]},
        {"scalar": ["|O", [], ""]},
        [12],
        ["x", "y"],
    ]
    match rng.integers(3):
        case 0:
            del place[key]
        case 1 if isinstance(place, list):
            place.insert(key, values[rng.integers(len(values))])
        case _:
            place[key] = values[rng.integers(len(values))]
    return header


# Running what was read.


def exercise(tape: nt.Tape, rng: np.random.Generator, folder: Path) -> None:
    """Run a tape in every way; raises an error of numtape's, or the run is as it must be."""
    flat = tape.flat
    x = rng.normal(size=flat.inputs)
    if rng.random() < 0.3:
        # SciPy's hypergeometric functions of very large numbers go on for ever.
        large = 10.0 if any("hyp" in operation_name(each) for each in flat.vectors) else 1e300
        x[rng.random(len(x)) < 0.3] = rng.choice([0.0, np.inf, -np.inf, np.nan, large])
    elif len(flat.point) and rng.random() < 0.5:
        x = flat.point.copy()
    y, again = np.empty(len(flat.outputs)), np.empty(len(flat.outputs))
    shared, apart = tape.runner.workspace(), Workspace(Plan(flat, share=False))
    status = shared.plan.evaluate(shared.handle, x, y)
    if apart.plan.evaluate(apart.handle, x, again) != status:
        raise AssertionError("guards come out otherwise where places are used again")
    if not np.array_equal(y, again, equal_nan=True):
        raise AssertionError(f"{y} where places are used again, and {again} where they are not")
    _check_fences()
    actions = [_print, _save, _many_points, _forward, _backward, _jacobian]
    for action in rng.choice(actions, 2, replace=False):
        action(tape, x, rng, folder)
        _check_fences()


def _print(tape, x, rng, folder):
    str(tape), tape.summary(), tape.text(values=True)


def _save(tape, x, rng, folder):
    tape.save(folder / "again")
    other = nt.load(folder / "again")
    y, again = (np.empty(len(tape.flat.outputs)) for _ in range(2))
    tape.runner.evaluate(x, y)
    other.runner.evaluate(x, again)
    assert np.array_equal(y, again, equal_nan=True)


def _many_points(tape, x, rng, folder):
    shared = rng.random(tape.flat.inputs) < 0.3
    points = np.tile(x, (11, 1)) * rng.normal(size=(11, 1))
    varying = np.ascontiguousarray(points[:, ~shared])
    out = np.empty((11, len(tape.flat.outputs)))
    tape.runner.batch(shared).run(x[shared], [varying], [out], 11)


def _forward(tape, x, rng, folder):
    tape.derivatives.jvp(x, rng.normal(size=len(x)))


def _backward(tape, x, rng, folder):
    tape.derivatives.vjp(x, rng.normal(size=len(tape.derivatives.tape.outputs)))
    if len(tape.derivatives.tape.outputs) == 1:
        way = tape.derivatives.way(GRADIENT)
        way.kernel(way.handle, x, np.empty(len(x)))


def _jacobian(tape, x, rng, folder):
    inputs = np.arange(min(3, tape.flat.inputs))
    if len(inputs) and len(tape.derivatives.tape.outputs):
        tape.derivatives.jacobian(x, inputs, str(rng.choice(["forward", "reverse"])))


# Fences around the memory of runs.

_PAGE = mmap.PAGESIZE
_FENCE = 256 * _PAGE
_CANARY = 0x7FF8BADC0DEBADC0
_FENCED: list[np.ndarray] = []


def _fenced(array: np.ndarray) -> np.ndarray:
    """A copy of an array between two fences; it ends where the second begins."""
    body = -(-max(array.nbytes, 1) // _PAGE) * _PAGE
    memory = mmap.mmap(-1, body + 2 * _FENCE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for fence in (address, address + _FENCE + body):
        if protect(ctypes.c_void_p(fence), ctypes.c_size_t(_FENCE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    whole = np.frombuffer(memory, np.uint8)[_FENCE : _FENCE + body]
    before = whole[: body - array.nbytes].view(np.int64)
    before[:] = _CANARY
    _FENCED.append(before)
    copy = whole[body - array.nbytes :].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _check_fences() -> None:
    if not all((before == _CANARY).all() for before in _FENCED):
        raise AssertionError("a run wrote before its memory")


def _raise_fences() -> None:
    """Give every workspace memory with fences."""
    plain, aligned = workspace.Workspace.__init__, lanes.LaneWorkspace._aligned

    def make(self, plan):
        plain(self, plan)
        self.values = _fenced(self.values)
        self._set(None, None, _kernels.VALUES, self.values)
        if plan.tape.vectors:
            buffer = _fenced(np.zeros(2 * _kernels.CHUNK))
            self._set(None, None, _kernels.BUFFER, buffer)

    workspace.Workspace.__init__ = make
    lanes.LaneWorkspace._aligned = lambda self, places: _fenced(aligned(self, places))


# Workers and their overseer.


def run_case(seed: int, case: int, files: list[tuple[str, bytes]], folder: Path) -> str:
    """One case; returns what became of it, raises where that is a bug."""
    rng = np.random.default_rng([seed, case])
    _, data = mutated(rng, files)
    (folder / "case").write_bytes(data)
    _FENCED.clear()
    try:
        tape = nt.Tape(*read(folder / "case"))
    except NumtapeError:
        return "refused"
    if tape.flat.written_out > _MOST_INSTRUCTIONS:  # a loop may go on for as long as it says
        return "long"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            exercise(tape, rng, folder)
    except NumtapeError:
        return "refused while running"
    return "run"


def work(seed: int, first: int, cases: int, progress: str) -> None:
    """Do cases; prints a line of JSON for each bug, and at the end the counts."""
    faulthandler.enable()
    os.environ[MEMORY_LIMIT] = _LIMIT
    _raise_fences()
    files = corpus()
    ignored: list[BaseException | None] = []  # raised where nobody catches
    sys.unraisablehook = lambda raised: ignored.append(raised.exc_value)
    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY) as name,
        open(progress, "r+b", buffering=0) as log,
    ):
        for case in range(first, first + cases):
            log.seek(0)
            log.write(case.to_bytes(8, "little"))
            ignored.clear()
            try:
                counts[run_case(seed, case, files, Path(name))] += 1
                assert not ignored, ignored
            except Exception:
                counts["bug"] += 1
                print(json.dumps({"case": case, "bug": traceback.format_exc()}), flush=True)
    print(json.dumps(counts), flush=True)


class Report(Counter):
    """How many cases came to what, and the bugs found."""

    def __init__(self) -> None:
        super().__init__()
        self.bugs: list[tuple[int, str]] = []


def fuzz(seed: int, first: int, cases: int) -> Report:
    """Do cases in worker processes, a new one after each crash."""
    report = Report()
    stop = first + cases
    with tempfile.NamedTemporaryFile() as progress:
        while first < stop and len(report.bugs) < 20:
            reached, status, lines = _worker(seed, first, stop - first, progress.name)
            for line in lines:  # LAPACK prints too
                entry = json.loads(line) if line.startswith("{") else {}
                if "case" in entry:
                    report.bugs.append((entry["case"], entry["bug"]))
                else:
                    report.update(entry)
            if status == "":
                break
            report.bugs.append((reached, status))
            report["crash"] += 1
            first = reached + 1
    return report


def _worker(seed: int, first: int, cases: int, progress: str) -> tuple[int, str, list[str]]:
    """The case that a worker came to, how it ended (empty where all is well), what it printed."""
    Path(progress).write_bytes(first.to_bytes(8, "little"))
    command = [sys.executable, "-m", "tests.fuzz", "--work", progress]
    command += ["--seed", str(seed), "--first", str(first), "--cases", str(cases)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=out, stderr=errors, cwd=Path(__file__).resolve().parents[1]
        )
        reached, since, status = first, time.monotonic(), ""
        while process.poll() is None:
            time.sleep(0.1)
            now = int.from_bytes(Path(progress).read_bytes(), "little")
            if now != reached:
                reached, since = now, time.monotonic()
            patience = _HANG if now - first > _WARM else _COMPILING
            if time.monotonic() - since > patience:
                process.kill()
                process.wait()
                status = f"it hangs for more than {patience} s"
        reached = int.from_bytes(Path(progress).read_bytes(), "little")
        out.seek(0), errors.seek(0)
        if process.returncode and not status:
            status = f"the process ended with {process.returncode}: {errors.read()[-1000:]}"
        return reached, status, out.read().splitlines()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this one case here, and show what it does")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.seed, options.first, options.cases, options.work)
        return 0
    if options.only is not None:
        os.environ[MEMORY_LIMIT] = _LIMIT
        _raise_fences()
        with tempfile.TemporaryDirectory() as name:
            print(run_case(options.seed, options.only, corpus(), Path(name)))
        return 0
    begun = time.monotonic()
    report = fuzz(options.seed, options.first, options.cases)
    for case, bug in report.bugs:
        print(f"seed {options.seed}, case {case}:\n{bug}")
    print(f"seed {options.seed}: {dict(report)} in {time.monotonic() - begun:.0f} s")
    return bool(report.bugs)


if __name__ == "__main__":
    sys.exit(main())
