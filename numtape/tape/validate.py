"""What makes a tape sound: every rule that the kernels rely on, checked in one place.

Kernels look at no bounds. They may do so because no malformed `FlatTape` exists: its
constructor comes here, and so do loading and unpickling. What numtape's own recorder
and transforms make is not looked at again.

The rules. Every slot that is read lies before the result of the instruction that reads
it, and vector instructions come in order, each once. A view lies wholly before the first
result or wholly among the results, because a run keeps the two apart (a gather table may
read both). No array is empty. The shapes of each kind of vector instruction agree, as the
module of that kind says. Sizes are added up as Python's integers, which do not
overflow, and what the tape would need in memory is held against a limit.

Scalar instructions are checked by NumPy, all at a time; vector instructions one by one.
"""

import math
import os
from collections.abc import Iterator
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, TapeError
from numtape.kinds import KINDS, Problem
from numtape.ops.table import ROWS
from numtape.tape.body import Body
from numtape.tape.flat import VECTOR, FlatTape, Guard, Location
from numtape.tape.forms import Vectors
from numtape.tape.instruction import VectorInstruction, View

__all__ = ["MEMORY_LIMIT", "checked_fields", "memory_limit", "memory_needed"]

Ints = npt.NDArray[np.int64]
Shape = tuple[int, ...]

# The environment variable with the limit, in bytes.
MEMORY_LIMIT = "NUMTAPE_MEMORY_LIMIT"

_MOST_SLOTS = 2**31 - 1  # operands of scalar instructions are 32-bit integers
_MOST_AXES = 64  # of an array of NumPy's
_IS_UNARY = np.array([*(row.arity == 1 for row in ROWS), False])  # the last is that of VECTOR
_CODE_BLOCK = 1 << 15  # instructions that are checked at a time, in the cache


def memory_limit(given: float | None = None) -> int:
    """Return how many bytes a tape that is read may need, if it is not given.

    That is NUMTAPE_MEMORY_LIMIT, or half of what the machine has; where neither is known
    there is no limit but that of slots.
    """
    wanted: float | str | None = given
    source = "memory_limit"
    if given is None:
        source, wanted = MEMORY_LIMIT, os.environ.get(MEMORY_LIMIT)
        if not wanted:
            names = getattr(os, "sysconf_names", {})
            if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
                return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
            return 2**62
    try:
        limit = int(float(wanted or 0))
    except (TypeError, ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise InputError(
            f"{source}={wanted!r} was given: it must be a number of bytes, such as 4e9, or be left "
            "out for half of the machine's memory"
        )
    return limit


def memory_needed(slots: int, instructions: int, walked: int) -> int:
    """Return about how many bytes a tape needs to be made ready and evaluated.

    `walked` is the most elements that one operand of an instruction has: making a tape
    ready lists their slots, and LAPACK copies them.
    """
    return 32 * (slots + instructions) + 16 * walked


def checked_fields(tape: FlatTape, limit: float | None, copy: bool = True) -> dict[str, Any]:
    """Return the fields of a tape made by hand or read, as they must be to be run.

    Parameters
    ----------
    tape : FlatTape
        With whatever it was given.
    limit : float, optional
        How many bytes it may need; `memory_limit` by default.
    copy : bool
        Whether to copy arrays that need not be converted; false if nobody else has them.

    Returns
    -------
    dict
        All fields. Arrays cannot be written to, numbers are Python's.

    Raises
    ------
    TapeError
        Which names the instruction, the rule and the remedy.

    Notes
    -----
    Costs about 5 ns a scalar instruction and 15 µs a vector instruction.
    """
    code = _array(tape.code, np.int32, "code", 2, copy)
    constants = _array(tape.constants, np.float64, "constants", 1, copy)
    outputs = _array(tape.outputs, np.int64, "outputs", 1, copy)
    point = _array(tape.point, np.float64, "point", 1, copy)
    if code.shape[1] != 3:
        raise _malformed(f"code of shape {code.shape}", "it has three columns: opcode, a and b")
    inputs = _integer(tape.inputs, "inputs")
    if not 0 <= inputs <= _MOST_SLOTS:
        raise _malformed(f"{inputs} inputs", f"there are at least 0 and at most {_MOST_SLOTS}")
    vectors = tuple(_plain_vector(each, number) for number, each in enumerate(tape.vectors))
    first_input = 1 + len(constants)
    first_result = first_input + inputs
    rows, slots = _check_rows(code, len(vectors), first_result)
    walked = within = 0
    for instruction, (row, start) in zip(vectors, rows, strict=True):
        for what, rule in _problems(instruction, int(code[row, 2]), start, first_result):
            raise _malformed(f"instruction {row}, of kind {instruction.kind!r}, that {what}", rule)
        walked = max(walked, *map(math.prod, instruction.operand_shapes()))
        within += 0 if instruction.body is None else instruction.body.needed
    limit = memory_limit(limit)
    needed = memory_needed(slots + within, len(code), walked)
    if needed > limit:
        raise TapeError(
            f"the tape needs about {needed} bytes to be run, for {slots} slots and operands of up "
            f"to {walked} elements, and at most {limit} are allowed: if you trust where it comes "
            f"from, allow more by memory_limit or by {MEMORY_LIMIT}"
        )
    _check_slots("output", outputs, slots)
    guards = tuple(_plain_guard(each, slots) for each in tape.guards)
    if len(point) not in (0, inputs):
        raise _malformed(
            f"a point of {len(point)} numbers", f"it has one for each of {inputs} inputs, or none"
        )
    lines = None if tape.lines is None else tuple(tape.lines)
    if lines is not None and len(lines) != len(code):
        raise _malformed(
            f"{len(lines)} lines", f"it has one for each of {len(code)} instructions, or None"
        )
    if not all(map(_is_location, lines or ())):
        raise _malformed("lines of another type", f"they are {_A_LOCATION}")
    for array in (code, constants, outputs):
        array.flags.writeable = False
    return {
        "code": code,
        "vectors": Vectors.of(vectors),
        "constants": constants,
        "inputs": inputs,
        "outputs": outputs,
        "guards": guards,
        "point": point,
        "lines": lines,
    }


def _malformed(what: str, rule: str) -> TapeError:
    return TapeError(
        f"the tape is malformed, with {what}: {rule}. Let numtape.record make it, or if it was "
        "loaded, save it again from where it was recorded"
    )


# Plain types: what is given may be any Python object.


def _array(given: Any, dtype: Any, name: str, rank: int, copy: bool = True) -> npt.NDArray[Any]:
    """Return a contiguous array of that type, if nothing is lost."""
    try:
        found = np.asarray(given)
    except ValueError:
        raise _malformed(f"{name} in rows of different lengths", f"it has rank {rank}") from None
    fits = found.size == 0 or np.can_cast(found.dtype, dtype, "same_kind")  # [] is of floats
    if found.ndim != rank or not fits:
        raise _malformed(
            f"{name} of type {found.dtype} and rank {found.ndim}",
            f"it is an array of rank {rank} of {np.dtype(dtype)}",
        )
    if found.dtype != dtype and found.dtype.kind in "iu" and found.size:
        bounds = np.iinfo(dtype)
        if found.min() < bounds.min or found.max() > bounds.max:
            raise _malformed(f"{name} out of range", f"its numbers fit into {np.dtype(dtype)}")
    if copy or not found.flags.aligned:
        return np.array(found, dtype, order="C")
    return np.ascontiguousarray(found, dtype)


def _integer(given: Any, name: str) -> int:
    try:
        return index(given)
    except TypeError:
        raise _malformed(f"{name} {given!r}", "it is an integer") from None


def _integers(given: Any, name: str) -> Shape:
    if type(given) is tuple and all(type(number) is int for number in given):
        return given
    try:
        return tuple(index(number) for number in given)
    except TypeError:
        raise _malformed(f"{name} {given!r}", "it is a tuple of integers") from None


def _table(given: Any, name: str) -> Ints | None:
    if given is None:
        return None
    table = _array(given, np.int64, name, 1)
    table.flags.writeable = False
    return table


def _plain_vector(given: Any, number: int) -> VectorInstruction:
    if not isinstance(given, VectorInstruction) or not all(
        isinstance(view, View) for view in given.operands
    ):
        raise _malformed(
            f"{given!r} as vector instruction {number}",
            "it is a VectorInstruction, and its operands are Views",
        )
    shape = _integers(given.shape, "shape")
    result = _integers(given.result, "the shape of a result")
    if len(shape) > _MOST_AXES + 1 or len(result) > _MOST_AXES:
        raise _malformed(
            f"{max(len(shape), len(result))} axes of vector instruction {number}",
            f"it has at most {_MOST_AXES}",
        )
    return VectorInstruction(
        str(given.kind),
        _integer(given.opcode, "opcode"),
        shape,
        tuple(
            View(
                _integer(view.base, "the base of a view"),
                _integers(view.strides, "strides"),
                _table(view.table, "a gather table"),
            )
            for view in given.operands
        ),
        result,
        _integers(given.result_strides, "result_strides"),
        _table(given.targets, "targets"),
        _plain_body(given.body),
    )


def _plain_body(given: Any) -> Body | None:
    """Return a loop's body, whose tape has been checked when it was made."""
    if given is None:
        return None
    if not isinstance(given, Body) or not isinstance(given.tape, FlatTape):
        raise _malformed(f"{given!r} as a loop's body", "it is a Body with a FlatTape")
    groups: dict[str, Any] = {
        name: tuple(_integers(shape, f"a shape of {name}") for shape in getattr(given, name))
        for name in ("carries", "reads", "same", "writes")
    }
    return Body(given.tape, **groups, recomputes=bool(given.recomputes))


def _plain_guard(given: Any, slots: int) -> Guard:
    if not isinstance(given, Guard) or not _is_location(given.location):
        raise _malformed(f"{given!r} as a guard", f"it is a Guard with {_A_LOCATION}")
    slot = _integer(given.slot, "a guard's slot")
    if not 0 <= slot < slots:
        raise _malformed(f"a guard of slot {slot}", f"slots are from 0 to {slots - 1}")
    try:
        outcome = float(given.outcome)
    except (TypeError, ValueError, OverflowError):
        raise _malformed(f"a guard with the outcome {given.outcome!r}", "it is a number") from None
    return Guard(slot, outcome, given.location)


_A_LOCATION = f"Locations, of a str and an int from 0 to {_MOST_SLOTS}"


def _is_location(given: Any) -> bool:
    return (
        type(given) is Location
        and type(given.file) is str
        and type(given.line) is int
        and 0 <= given.line <= _MOST_SLOTS
    )


# Instructions.


def _check_rows(
    code: npt.NDArray[np.int32], vectors: int, first_result: int
) -> tuple[list[tuple[int, int]], int]:
    """Check all scalar instructions.

    Returns
    -------
    rows, slots
        For each vector instruction its row and the first slot of its result; and the
        number of slots.
    """
    rows: list[tuple[int, int]] = []
    slots = first_result
    one_each = np.arange(_CODE_BLOCK, dtype=np.int64)
    for begin in range(0, len(code), _CODE_BLOCK):
        opcode, a, b = np.ascontiguousarray(code[begin : begin + _CODE_BLOCK].T)
        if opcode.min() < VECTOR or opcode.max() >= len(ROWS):
            row = begin + int(np.flatnonzero((opcode < VECTOR) | (opcode >= len(ROWS)))[0])
            raise _malformed(
                f"instruction {row} of opcode {code[row, 0]}", f"they are below {len(ROWS)}"
            )
        starts = slots + one_each[: len(opcode)]
        stop = slots + len(opcode)
        if vectors:
            is_vector = opcode == VECTOR
            sizes = np.where(is_vector, b, 1).astype(np.int64)
            if sizes.min() < 1:
                row = begin + int(np.flatnonzero(sizes < 1)[0])
                raise _malformed(f"instruction {row} of {code[row, 2]} results", "it has 1 or more")
            ends = slots + np.cumsum(sizes)
            starts, stop = ends - sizes, int(ends[-1])
            found = np.flatnonzero(is_vector)
            numbers = np.arange(len(rows), len(rows) + len(found))
            if not np.array_equal(a[found], numbers):
                raise _malformed(
                    f"instructions from {begin + int(found[0])} on that name vector instructions "
                    "otherwise than in order",
                    "each is named once, the first by the first",
                )
            rows += zip((begin + found).tolist(), starts[found].tolist(), strict=True)
        elif opcode.min() == VECTOR:
            row = begin + int(np.argmin(opcode))
            raise _malformed(f"instruction {row} of a vector instruction", "there are none")
        if stop > _MOST_SLOTS:
            raise _malformed(f"{stop} slots or more", f"there are at most {_MOST_SLOTS}")
        # As unsigned numbers, negative ones are beyond every slot.
        highest = np.maximum(a.view(np.uint32), b.view(np.uint32))
        is_bad = highest >= starts.astype(np.uint32)
        is_bad |= (b != 0) & _IS_UNARY[opcode]
        is_bad &= opcode != VECTOR
        if is_bad.any():
            place = int(np.flatnonzero(is_bad)[0])
            row = begin + place
            raise _malformed(
                f"instruction {row}, {ROWS[code[row, 0]].name!r} of slots {code[row, 1]} and "
                f"{code[row, 2]}",
                f"it reads slots before its own, which is {starts[place]}, and slot 0 in place of "
                "an operand that it does not have",
            )
        slots = stop
    if len(rows) != vectors:
        raise _malformed(
            f"{vectors} vector instructions of which {len(rows)} are named", "each is named once"
        )
    return rows, slots


def _check_slots(what: str, found: Ints, slots: int) -> None:
    if len(found) and not (found.min() >= 0 and found.max() < slots):
        wrong = found[(found < 0) | (found >= slots)][0]
        raise _malformed(f"{what} slot {wrong}", f"slots are from 0 to {slots - 1}")


def _problems(
    instruction: VectorInstruction, size: int, start: int, first_result: int
) -> Iterator[Problem]:
    """Yield what is wrong with a vector instruction of so many results, from slot `start` on."""
    kind = KINDS.get(instruction.kind)
    if kind is None:
        yield "is unknown", f"the kinds are {', '.join(KINDS)}"
        return
    if not all(0 < extent <= _MOST_SLOTS for extent in (*instruction.shape, *instruction.result)):
        yield (
            f"walks the shape {instruction.shape} to a result of shape {instruction.result}",
            f"every extent is from 1 to {_MOST_SLOTS}",
        )
    if math.prod(instruction.result) != size:
        yield (
            f"has a result of shape {instruction.result} and {size} results",
            "there are as many as its shape says",
        )
    if (instruction.body is not None) != kind.has_body:
        yield "has a body" if instruction.body else "has no body", "loops have one, and no other"
        return
    if instruction.targets is not None and not kind.has_targets:
        yield "has targets", "only a scatter has"
    if instruction.result_strides and not kind.has_result_strides:
        yield "has strides of its result", "only a reduction or accumulation has"
    # What this has found right, kernels and derivative rules rely on.
    yield from kind.problems(instruction)
    shapes = instruction.operand_shapes()
    if len(shapes) != len(instruction.operands):
        yield f"has {len(instruction.operands)} operands", f"it has {len(shapes)}"
    for view, shape in zip(instruction.operands, shapes, strict=True):
        yield from _view_problems(view, shape, start, first_result)
        if view.table is not None and not kind.may_gather:
            yield "has a gather table", "only elementwise operations read by one: copy it first"


def _view_problems(view: View, shape: Shape, start: int, first_result: int) -> Iterator[Problem]:
    """Yield what is wrong with a view over a shape, where slots before `start` may be read."""
    if len(shape) > _MOST_AXES or len(view.strides) != len(shape):
        yield (
            f"reads {len(shape)} axes by {len(view.strides)} strides",
            f"there is a stride for each axis, and at most {_MOST_AXES}",
        )
    if any(abs(stride) > _MOST_SLOTS for stride in view.strides):
        yield f"has the strides {view.strides}", f"they are at most {_MOST_SLOTS} in size"
    ends = [(extent - 1) * stride for extent, stride in zip(shape, view.strides, strict=True)]
    low = view.base + sum(end for end in ends if end < 0)
    high = view.base + sum(end for end in ends if end > 0)
    if view.table is not None:
        if low < 0 or high >= len(view.table):
            yield (
                f"reads the places {low} to {high} of a gather table",
                f"the table has {len(view.table)}",
            )
        if view.table.min() < 0 or view.table.max() >= start:
            yield (
                f"gathers the slots {view.table.min()} to {view.table.max()}",
                f"it reads slots before its own, which begin at {start}",
            )
    elif low < 0 or high >= start:
        yield (
            f"reads the slots {low} to {high}",
            f"it reads slots before its own, which begin at {start}",
        )
    elif low < first_result <= high:
        yield (
            f"reads the slots {low} to {high} by strides",
            f"a run keeps inputs and constants, below {first_result}, and results apart: use a "
            "gather table, or two operations",
        )
