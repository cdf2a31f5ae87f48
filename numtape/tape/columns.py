"""A flat tape as plain arrays: what is saved, and what is pickled.

`columns` takes a tape apart into a *header* (small things, which JSON can hold) and
arrays of numbers; `from_columns` puts them together again, and believes nothing:
what it makes is checked like any tape made by hand. Operations are known by name, so
columns outlive a table of operations that gains rows.

Here is what the arrays mean, and in `docs/reference/tape-format.md`. How they lie in a
file is in `container.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.kinds import KINDS
from numtape.ops.table import OPCODE, ROWS
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location, VectorInstruction, View

__all__ = ["MEMBERS", "columns", "from_columns"]

Arrays = dict[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]

# Every array: its type, and how many columns it has (0 for one of rank 1).
MEMBERS: dict[str, tuple[str, int]] = {
    "code": ("<i4", 3),  # operation, a, b
    "constants": ("<f8", 0),
    "outputs": ("<i8", 0),
    "point": ("<f8", 0),
    "guards": ("<i8", 3),  # slot, file, line
    "outcomes": ("<f8", 0),
    "lines": ("<i4", 2),  # file, line
    "vectors": ("<i8", 6),  # operation, ranks of shape, result and its strides, operands, targets
    "shapes": ("<i8", 0),
    "views": ("<i8", 3),  # base, rank, entries in its table
    "strides": ("<i8", 0),
    "tables": ("<i8", 0),
    "targets": ("<i8", 0),
    "loops": ("<i8", 0),  # the body of each loop
}

# The names of each kind's opcodes.
_NAMES = {name: {code: row for row, code in kind.opcodes.items()} for name, kind in KINDS.items()}

_MOST_LINES = 1 << 31
_BLOCK = 1 << 15  # instructions that are looked at at a time, in the cache

_GROUPS = ("carries", "reads", "same", "writes")  # of a body's inputs and outputs

# In place of a length, for a table or targets that are not there.
_NONE = -1


def columns(tape: FlatTape) -> tuple[dict[str, Any], Arrays]:
    """Return the tape's header and arrays; arrays without elements are left out.

    The header has ``inputs`` (how many), ``operations`` (the names of rows that `code`
    numbers), ``vector_operations`` (kind and name, which `vectors` numbers) and ``files``.
    Where there are loops, it has ``bodies``, a header and shapes of each, and arrays of body n
    are named ``bodyn.code`` and so on. Costs about 10 ns a scalar instruction, 5 µs a vector
    instruction.
    """
    bodies = _Bodies()
    header, arrays = _tape_columns(tape, bodies)
    if bodies.headers:
        header["bodies"] = bodies.headers
    return header, arrays | bodies.arrays


def _tape_columns(tape: FlatTape, bodies: "_Bodies") -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of one tape, whose bodies are numbered."""
    used = tape.opcodes
    numbers = np.full(len(ROWS) + 1, VECTOR, np.int32)  # the last is that of VECTOR
    numbers[used] = np.arange(len(used))
    code = tape.code.copy()
    code[:, 0] = numbers[code[:, 0]]
    files = _Numbered()
    header = {
        "inputs": tape.inputs,
        "operations": [ROWS[opcode].name for opcode in used],
    }
    places = [(files.number(each.location.file), each.location.line) for each in tape.guards]
    arrays = {
        "code": code,
        "constants": tape.constants,
        "outputs": tape.outputs,
        "point": tape.point,
        "guards": [(guard.slot, *place) for guard, place in zip(tape.guards, places, strict=True)],
        "outcomes": [guard.outcome for guard in tape.guards],
        "lines": [(files.number(each.file), each.line) for each in tape.lines or ()],
    }
    if tape.lines is not None:
        header["lines"] = True
    header["vector_operations"], vectors = _vector_columns(tape.vectors, bodies)
    header["files"] = files.all()
    found = {
        name: np.asarray(array, MEMBERS[name][0]).reshape((-1, MEMBERS[name][1] or 1))
        for name, array in (arrays | vectors).items()
    }
    return header, {
        name: array if MEMBERS[name][1] else array.reshape(-1)
        for name, array in found.items()
        if array.size
    }


class _Bodies:
    """The bodies of a tape's loops, numbered: those in a body before it."""

    def __init__(self) -> None:
        self._numbers: dict[Body, int] = {}
        self.headers: list[dict[str, Any]] = []
        self.arrays: Arrays = {}

    def number(self, body: Body) -> int:
        if body not in self._numbers:
            header, arrays = _tape_columns(body.tape, self)
            number = self._numbers[body] = len(self.headers)
            shapes = {name: [*map(list, getattr(body, name))] for name in _GROUPS}
            self.headers.append({"tape": header, **shapes, "recomputes": body.recomputes})
            self.arrays |= {f"body{number}.{name}": array for name, array in arrays.items()}
        return self._numbers[body]


class _Numbered:
    """Things numbered in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, thing: Any) -> int:
        return self._numbers.setdefault(thing, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


def _vector_columns(
    vectors: Sequence[VectorInstruction], bodies: _Bodies
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    operations = _Numbered()
    rows, views = [], []
    shapes: list[int] = []
    strides: list[int] = []
    tables, targets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    loops = []
    for each in vectors:
        rows.append(
            (
                operations.number((each.kind, _NAMES[each.kind][each.opcode])),
                len(each.shape),
                len(each.result),
                len(each.result_strides),
                len(each.operands),
                _NONE if each.targets is None else len(each.targets),
            )
        )
        shapes += (*each.shape, *each.result, *each.result_strides)
        if each.targets is not None:
            targets.append(each.targets)
        if each.body is not None:
            loops.append(bodies.number(each.body))
        for view in each.operands:
            entries = _NONE if view.table is None else len(view.table)
            views.append((view.base, len(view.strides), entries))
            strides += view.strides
            if view.table is not None:
                tables.append(view.table)
    return operations.all(), {
        "vectors": rows,
        "shapes": shapes,
        "views": views,
        "strides": strides,
        "tables": np.concatenate(tables),
        "targets": np.concatenate(targets),
        "loops": loops,
    }


def from_columns(
    header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], limit: float | None = None
) -> FlatTape:
    """Return the tape of a header and arrays, checked.

    Parameters
    ----------
    header, arrays : mapping
        As `columns` gives them. Arrays have the types and ranks of `MEMBERS`.
    limit : float, optional
        How many bytes the tape may need; see `numtape.tape.validate`.

    Raises
    ------
    TapeError
        Where anything is missing, unknown or inconsistent.
    """
    bodies: list[Body] = []
    for number, entry in enumerate(_field({"bodies": [], **header}, "bodies", list)):
        if type(entry) is not dict:
            raise _broken(f"{entry!r} among the bodies in its header")
        groups: dict[str, Any] = {name: _shapes(entry, name) for name in _GROUPS}
        own = _named(arrays, f"body{number}.")
        tape = _tape(_field(entry, "tape", dict), own, bodies, limit)
        recomputes = _field({"recomputes": False, **entry}, "recomputes", bool)
        bodies.append(Body(tape, **groups, recomputes=recomputes))
    return _tape(header, arrays, bodies, limit)


def _named(arrays: Mapping[str, npt.NDArray[Any]], beginning: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays whose names begin so, by what follows."""
    own = (name for name in arrays if name.startswith(beginning))
    return {name.removeprefix(beginning): arrays[name] for name in own}


def _shapes(entry: Mapping[str, Any], name: str) -> tuple[tuple[int, ...], ...]:
    shapes = _field(entry, name, list)
    for shape in shapes:
        if type(shape) is not list or not all(type(n) is int and n > 0 for n in shape):
            raise _broken(f"{shape!r} among the shapes {name!r} of a body")
    return tuple(map(tuple, shapes))


def _tape(
    header: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    bodies: Sequence[Body],
    limit: float | None,
) -> FlatTape:
    """Return a tape, whose loops may have some bodies."""
    inputs = _field(header, "inputs", int)
    operations = _strings(header, "operations")
    files = _strings(header, "files")
    given = {name: arrays.get(name, _nothing(name)) for name in MEMBERS}
    slots, numbers, rows = given["guards"].T
    places = _locations(files, numbers, rows)
    outcomes = given["outcomes"].tolist()
    if len(outcomes) != len(slots):
        raise _broken(f"{len(slots)} guards with {len(outcomes)} outcomes")
    lines = tuple(_locations(files, *given["lines"].T)) if header.get("lines") else None
    return FlatTape.checked(
        limit,
        code=_code(operations, given["code"]),
        vectors=tuple(_vectors(header, given, bodies)),
        constants=given["constants"],
        inputs=inputs,
        outputs=given["outputs"],
        guards=tuple(map(Guard, slots.tolist(), outcomes, places)),
        point=given["point"],
        lines=lines,
    )


def _nothing(name: str) -> npt.NDArray[Any]:
    kind, width = MEMBERS[name]
    return np.zeros((0, width) if width else 0, kind)


def _broken(what: str) -> TapeError:
    return TapeError(
        f"the tape has {what}: it was damaged, or not written by numtape. Save it again from "
        "where it was recorded"
    )


def _field(header: Mapping[str, Any], name: str, kind: type) -> Any:
    value = header.get(name)
    if type(value) is not kind:
        raise _broken(f"{value!r} as {name!r} in its header, where {kind.__name__} belongs")
    return value


def _strings(header: Mapping[str, Any], name: str) -> list[str]:
    found: list[str] = _field(header, name, list)
    if not all(type(each) is str for each in found):
        raise _broken(f"something that is no string among {name!r} in its header")
    return found


def _number_of(codes: Mapping[str, int], what: str, name: str) -> int:
    if name not in codes:
        raise TapeError(
            f"the tape uses the {what} {name!r}, which this numtape does not know: install the "
            "version of numtape that saved it, or a newer one"
        )
    return codes[name]


def _code(operations: Sequence[str], code: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the instructions with this numtape's opcodes."""
    opcodes = [_number_of(OPCODE, "operation", name) for name in operations]
    numbered = np.array([*opcodes, VECTOR], np.int32)
    made = np.empty(code.shape, np.int32)
    for start in range(0, len(code), _BLOCK):
        block, part = code[start : start + _BLOCK], made[start : start + _BLOCK]
        chosen = np.ascontiguousarray(block[:, 0])
        if chosen.min() < VECTOR or chosen.max() >= len(opcodes):
            raise _broken(f"an operation number outside of the {len(opcodes)} in its header")
        part[:, 0] = numbered[chosen]
        part[:, 1:] = block[:, 1:]
    return made


def _locations(files: Sequence[str], numbers: Ints, lines: Ints) -> list[Location]:
    """Return the locations; equal ones are one object."""
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(files)):
        raise _broken(f"a file number outside of the {len(files)} in its header")
    if len(lines) and not (lines.min() >= 0 and lines.max() < _MOST_LINES):
        raise _broken(f"a line outside of 0 to {_MOST_LINES}")
    keys, which = np.unique(numbers.astype(np.int64) * _MOST_LINES + lines, return_inverse=True)
    pairs = [divmod(key, _MOST_LINES) for key in keys.tolist()]
    distinct = [Location(files[number], line) for number, line in pairs]
    return [distinct[k] for k in which.tolist()]


def _vectors(
    header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], bodies: Sequence[Body]
) -> Iterator[VectorInstruction]:
    operations = [_vector_operation(each) for each in _field(header, "vector_operations", list)]
    rows, views = arrays["vectors"], arrays["views"]
    if len(rows) and not (rows[:, 0].min() >= 0 and rows[:, 0].max() < len(operations)):
        raise _broken(f"a vector operation number outside of the {len(operations)} in its header")
    _check_lengths("shapes", rows[:, 1:4], arrays["shapes"])
    _check_lengths("views", rows[:, 4], views)
    _check_lengths("strides", views[:, 1], arrays["strides"])
    for name, counts in (("tables", views[:, 2]), ("targets", rows[:, 5])):
        _check_lengths(name, np.where(counts == _NONE, 0, counts), arrays[name])
    shapes, strides = iter(arrays["shapes"].tolist()), iter(arrays["strides"].tolist())
    tables, targets = _parts(arrays["tables"]), _parts(arrays["targets"])
    next(tables), next(targets)
    loops = iter(arrays["loops"].tolist())
    each_view = iter(views.tolist())
    for operation, rank, result_rank, strided, operands, places in rows.tolist():
        kind, opcode = operations[operation]
        shape, result, result_strides = (
            _taken(shapes, count) for count in (rank, result_rank, strided)
        )
        read = []
        for _ in range(operands):
            base, count, entries = next(each_view)
            table = None if entries == _NONE else tables.send(entries)
            read.append(View(base, _taken(strides, count), table))
        reached = None if places == _NONE else targets.send(places)
        body = None
        if KINDS[kind].has_body:
            number = next(loops, _NONE)
            if not 0 <= number < len(bodies):
                raise _broken(f"a loop of body {number}, with {len(bodies)} before it")
            body = bodies[number]
        yield VectorInstruction(
            kind, opcode, shape, tuple(read), result, result_strides, reached, body
        )


def _vector_operation(entry: Any) -> tuple[str, int]:
    if not (isinstance(entry, list | tuple) and [type(part) for part in entry] == [str, str]):
        raise _broken(f"{entry!r} among the vector operations in its header")
    kind, name = entry
    _number_of(dict.fromkeys(KINDS, 0), "kind of vector instruction", kind)
    return kind, _number_of(KINDS[kind].opcodes, kind, name)


def _check_lengths(name: str, counts: Ints, array: npt.NDArray[Any]) -> None:
    """Check that parts of these lengths make up an array."""
    room = len(array)
    sound = counts.size == 0 or (counts.min() >= 0 and counts.max() <= room)
    if not sound or sum(counts.ravel().tolist()) != room:
        raise _broken(f"{room} {name}, and lengths that do not add up to it")


def _taken(numbers: Iterable[int], count: int) -> tuple[int, ...]:
    return tuple(islice(numbers, count))


def _parts(array: Ints) -> Any:
    """Yield the parts of an array, one after the other, by the lengths that are sent."""
    start = 0
    part = array[:0]
    while True:
        stop = start + (yield part)
        part, start = array[start:stop], stop
