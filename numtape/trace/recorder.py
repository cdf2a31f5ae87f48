"""The recorder: turns operations on slots into the instructions of a tape.

This is the lower half of tracing. It knows slots and shapes, and neither
values nor Python functions: `traced` puts values and NumPy's interface on
top, and the transforms use it directly to write derivative tapes.

While recording, slots are numbered in four regions far apart (inputs from 1,
captures, constants and results from the bases below), because how many there
are is not known before the end; `finish` moves the regions together. Slot 0 is
the null slot, always 0.0, in every numbering.

A recording made inside another (a derivative taken in a function that is being
recorded) may use values of the outer one. Those are *captured*: they become
further inputs, after its own.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import TapeError
from numtape.ops.structured import (
    ACCUMULATE,
    FUNCTION,
    FUNCTION_OPCODE,
    INITIAL,
    LOOP,
    MAP,
    ORDER,
    ORDER_OPCODES,
    PRODUCT,
    PRODUCT_OPCODE,
    REDUCE,
    SAFE_PRODUCT_OPCODE,
    SCATTER,
    SEARCH,
    SPREAD,
    TAKE,
)
from numtape.ops.table import OPCODE
from numtape.tape.body import Body
from numtape.tape.flat import (
    VECTOR,
    FlatTape,
    Guard,
    Location,
    VectorInstruction,
    View,
    contiguous_strides,
)
from numtape.tape.forms import Form, Forms, Vectors, bases_of
from numtape.tape.regular import Layout, RegularSlots, by_parts, in_order
from numtape.trace.locations import user_location
from numtape.trace.ranges import Ranges
from numtape.trace.views import (
    CAPTURES,
    CONSTANTS,
    RESULTS,
    SMALL,
    Slots,
    broadcast_shape,
    broadcast_view,
    column,
    evenly,
    following,
    function_shapes,
    reduces_by_scalars,
    view_of,
    walked,
)

__all__ = [
    "CONSTANTS",
    "RESULTS",
    "SMALL",
    "Recorder",
    "Slots",
    "contiguous_strides",
    "user_location",
    "view_of",
]


_MAX_SLOTS = 2**31 - 1

# Where slots that are not the null slot begin: inputs, captures, constants, results.
_REGIONS = np.array([1, CAPTURES, CONSTANTS, RESULTS])

# Arrays of constants of up to so many elements are known by their bytes, others by a digest,
# of a length that the bytes of floats do not have.
_FEW, _DIGEST = 64, 20

_POWER = OPCODE["power"]


class Recorder:
    """Writes one tape.

    Parameters
    ----------
    inputs : int
        How many input slots the tape has.
    keep_lines : bool
        Whether to note the user's source line of every instruction.
    parent : Recorder, optional
        The recording that this one is made inside of.
    """

    __slots__ = (
        "__weakref__",
        "_constant_count",
        "_constant_parts",
        "_known",
        "arguments",
        "arms",
        "bases",
        "captured",
        "captured_values",
        "code",
        "constants",
        "depth",
        "escaped",
        "forms",
        "guarded",
        "guards",
        "has_objects",
        "home",
        "inputs",
        "is_thorough",
        "keep_lines",
        "lines",
        "mirrors",
        "next_slot",
        "parent",
        "ranges",
        "rooms",
        "sharers",
        "which",
        "writes",
    )

    def __init__(
        self, inputs: int, keep_lines: bool = False, parent: "Recorder | None" = None
    ) -> None:
        self.inputs = inputs
        self.keep_lines = keep_lines
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.captured: dict[int, int] = {}  # slots here by the parent's slots
        self.captured_values: list[float] = []
        self.is_thorough: bool = parent is not None and parent.is_thorough  # see `resolve.py`
        # For how many steps a loop has room that ends when a condition does, see `searches.py`.
        self.rooms: int = 0 if parent is None else parent.rooms
        self.home = object()  # what fresh arrays know it by, without keeping it
        self.escaped: Exception | None = None  # a conversion that lost a derivative
        self.arms: Any = None  # where both arms of a test run, see `arms.py`
        self.code: list[int] = []
        # Vector instructions: the number of each one's form, and the bases of all their views.
        self.forms = Forms()
        self.which: list[int] = []
        self.bases: list[int] = []
        # Of operations on slots of known layouts, the form and the layout of the result.
        self._known: dict[Any, tuple[int, Layout]] = {}
        self.guards: list[Guard] = []
        self.guarded: set[int] = set()
        self.lines: list[Location] = []
        # Who shares memory with traced arrays, see `sharing.py`; of these, who is written to.
        self.sharers: list[Any] = []
        self.mirrors: list[Any] = []
        # By the identity of their memory, the slots of arguments and the arrays that were given;
        # and whether any was assigned to.
        self.arguments: dict[int, tuple[Slots, npt.NDArray[np.generic]]] = {}
        self.writes = False
        self.has_objects = False  # whether NumPy made an array of objects of traced scalars
        self.constants: dict[float | bytes, int] = {}
        self.ranges = Ranges()
        self._begin()

    def _begin(self) -> None:
        """Begin to count results and constants."""
        self.next_slot = RESULTS
        self._constant_parts: list[npt.NDArray[np.float64]] = []
        self._constant_count = 0

    # captures

    def capture(self, slots: Slots, values: npt.NDArray[np.float64]) -> Slots:
        """Return slots here for values of the parent, as further inputs."""
        captured = self.captured
        for slot, value in zip(slots.ravel().tolist(), values.ravel().tolist(), strict=True):
            if slot not in captured:
                captured[slot] = CAPTURES + len(captured)
                self.captured_values.append(value)
        found = [captured[slot] for slot in slots.ravel().tolist()]
        return np.array(found, np.int64).reshape(slots.shape)

    # constants

    def constant(self, value: float) -> int:
        """Return the slot of a constant; equal bits share one."""
        slot = self.constants.get(value)
        if slot is None:
            # 0.0 equals -0.0, and nan nothing: these go by their bits.
            key = value if value and value == value else struct.pack("d", value)
            slot = self.constants.get(key)
            if slot is None:
                slot = self.constants[key] = self._append_constants(np.array([value], np.float64))
        return slot

    def constant_array(self, values: npt.NDArray[np.float64], is_own: bool = False) -> Slots:
        """Return slots for an array of constants: contiguous, or one slot if all are the same.

        Arrays of equal contents share their slots, so that data used in a loop
        are stored once. An array that is the recorder's own will not be written to.
        """
        size = values.size
        if size == 0:
            return np.zeros(values.shape, np.int64)
        if size <= _FEW:
            key = values.tobytes()
            start = self.constants.get(key)
            if start is not None and size > 1:
                return following(start, values.shape)
        if size == 1 or _all_same_bits(values):
            return np.full(values.shape, self.constant(float(values.flat[0])), np.int64)
        flat = np.ascontiguousarray(values, np.float64).ravel()
        if size > _FEW:
            key = blake2b(flat.data.cast("B"), digest_size=_DIGEST).digest()
            start = self.constants.get(key)
        if start is None:
            is_shared = not is_own and np.may_share_memory(flat, values)
            start = self.constants[key] = self._append_constants(flat.copy() if is_shared else flat)
        return following(start, values.shape)

    def _append_constants(self, values: npt.NDArray[np.float64]) -> int:
        start = CONSTANTS + self._constant_count
        self._constant_parts.append(values)
        self._constant_count += values.size
        return start

    # instructions

    def scalar(self, opcode: int, a: int, b: int) -> int:
        """Record a scalar instruction; return its result's slot."""
        slot = self.next_slot
        self.code += (opcode, a, b)
        self.next_slot = slot + 1
        if self.keep_lines:
            self.lines.append(user_location())
        return slot

    def elementwise(self, opcode: int, operands: Sequence[Slots]) -> Slots:
        """Record a row over arrays of slots, broadcast together; return the result's slots."""
        layouts, bases = evenly(operands)
        if layouts and (known := self._known.get((opcode, layouts))):
            return self._append_vector(*known, bases)
        shape = broadcast_shape(*[operand.shape for operand in operands])
        size = math.prod(shape)
        # NumPy's power rounds otherwise for an array of exponents than for one.
        if size <= SMALL and opcode != _POWER:
            return self._scalars(opcode, operands, shape, size)
        views = tuple([broadcast_view(operand, shape) for operand in operands])
        instruction = VectorInstruction(MAP, opcode, shape, views, shape)
        return self._vector(instruction, layouts and (opcode, layouts))

    def _scalars(
        self, opcode: int, operands: Sequence[Slots], shape: tuple[int, ...], size: int
    ) -> Slots:
        """Record a row over small arrays, element by element."""
        columns = [column(operand, shape, size) for operand in operands]
        if len(columns) == 1:
            columns.append([0] * size)
        start = self.next_slot
        self.code.extend(chain.from_iterable(zip(repeat(opcode, size), *columns, strict=True)))
        self.next_slot = start + size
        if self.keep_lines:
            self.lines += [user_location()] * size
        return following(start, shape)

    def reduce(self, name: str, operand: Slots, axes: tuple[int, ...]) -> Slots:
        """Record a reduction by the ufunc `name` over `axes`; return the kept axes' slots."""
        layouts, bases = evenly((operand,))
        if layouts and (known := self._known.get((name, axes, layouts))):
            return self._append_vector(*known, bases)
        kept = tuple(axis for axis in range(operand.ndim) if axis not in axes)
        result = tuple(operand.shape[axis] for axis in kept)
        initial = INITIAL[name]
        if operand.size == 0:
            return np.full(result, self.constant(initial), np.int64)
        opcode = OPCODE[name]
        # NumPy walks memory in order: the axis of the largest stride goes outermost. How
        # `operand` lies in memory is how the array does, wherever its slots are.
        memory = operand.strides
        order = sorted(range(operand.ndim), key=lambda axis: -abs(memory[axis]))
        if reduces_by_scalars(name, operand, axes):
            axes = tuple(axis for axis in order if axis in axes)
            flat = operand.transpose(kept + axes).reshape(*result, -1)
            total = np.full(result, self.constant(initial), np.int64)
            if initial in (1.0, float("-inf"), float("inf")):  # combining with these is exact
                total, flat = flat[..., 0], flat[..., 1:]
            for k in range(flat.shape[-1]):
                total = self.elementwise(opcode, (total, flat[..., k]))
            return total
        view = self._affine_view(operand)
        shape, strides, into = walked(operand.shape, view.strides, kept, tuple(order))
        views = (View(view.base, strides),)
        instruction = VectorInstruction(REDUCE, opcode, shape, views, result, into)
        return self._vector(instruction, layouts and (name, axes, layouts))

    def accumulate(self, name: str, operand: Slots, axis: int) -> Slots:
        """Record running sums or products along an axis."""
        opcode = OPCODE[name]
        if operand.size <= SMALL:
            moved = np.moveaxis(np.asarray(operand), axis, 0)
            rows = [moved[0]] if len(moved) else []
            for row in moved[1:]:
                rows.append(self.elementwise(opcode, (rows[-1], row)))
            return np.moveaxis(np.array(rows, np.int64).reshape(moved.shape), 0, axis)
        axis %= operand.ndim
        order = (*(k for k in range(operand.ndim) if k != axis), axis)
        view = self._affine_view(operand)
        strides = contiguous_strides(operand.shape)
        instruction = VectorInstruction(
            ACCUMULATE,
            opcode,
            tuple(operand.shape[k] for k in order),
            (View(view.base, tuple(view.strides[k] for k in order)),),
            operand.shape,
            tuple(strides[k] for k in order),
        )
        return self._vector(instruction)

    def product(self, left: Slots, right: Slots, safe: bool = False) -> Slots:
        """Record ``left @ right`` for operands of rank 2 or more, batches broadcast.

        In a safe one, for derivatives, 0 times anything is 0.
        """
        layouts, bases = evenly((left, right))
        if layouts and (known := self._known.get((PRODUCT, safe, layouts))):
            return self._append_vector(*known, bases)
        batch = broadcast_shape(left.shape[:-2], right.shape[:-2])
        (m, n), p = left.shape[-2:], right.shape[-1]
        result = (*batch, m, p)
        if 0 in (*batch, m, n, p):
            return np.full(result, self.constant(0.0), np.int64)
        rank = len(batch) + 2
        views = self._batch_view(left, rank), self._batch_view(right, rank)
        opcode = SAFE_PRODUCT_OPCODE if safe else PRODUCT_OPCODE
        instruction = VectorInstruction(PRODUCT, opcode, (*batch, m, n, p), views, result)
        return self._vector(instruction, layouts and (PRODUCT, safe, layouts))

    def function(self, name: str, operands: Sequence[Slots], **chosen: int) -> tuple[Slots, ...]:
        """Record one of `FUNCTIONS` on operands that are not empty, batches broadcast.

        An extent that the operands do not tell must be chosen.
        """
        opcode = FUNCTION_OPCODE[name]
        shapes = tuple([operand.shape for operand in operands])
        shape, walked, results, ends = function_shapes(opcode, shapes, tuple(chosen.items()))
        layouts, bases = evenly(operands)
        key = layouts and (FUNCTION, opcode, shape, layouts)
        if key and (known := self._known.get(key)):
            made = self._append_vector(*known, bases)
        else:
            views = tuple(
                self._batch_view(operand, rank, pairs)
                for operand, (rank, pairs) in zip(operands, walked, strict=True)
            )
            instruction = VectorInstruction(FUNCTION, opcode, shape, views, (ends[-1],))
            # (What was copied is read elsewhere.)
            made = self._vector(instruction, key if bases == bases_of(instruction) else None)
        if len(results) == 1:
            return (made.reshape(results[0]),)
        return tuple(
            made[start:stop].reshape(result)
            for start, stop, result in zip(ends, ends[1:], results, strict=False)
        )

    def _batch_view(self, operand: Slots, rank: int, pairs: bool = False) -> View:
        """Return a view over `rank` axes, to which operands of fewer are broadcast.

        Of complex numbers, real and imaginary part must lie side by side.
        """
        view = self._affine_view(operand)
        if pairs and view.strides[-1] != 1:
            view = view_of(self.copy(operand))
        missing = rank - operand.ndim
        # (Views do not step along axes of one element.)
        return View(view.base, (0,) * missing + view.strides) if missing else view

    def scatter(self, operand: Slots, targets: Slots, size: int) -> Slots:
        """Record sums by index: element i is added into place ``targets[i]`` of `size` places."""
        flat = operand.ravel()
        if flat.size == 0:
            return np.full(size, self.constant(0.0), np.int64)
        view = view_of(flat)
        if view.table is not None or (view.strides != (1,) and flat.size > 1):
            flat = self.copy(flat)
            view = view_of(flat)
        return self._vector(
            VectorInstruction(SCATTER, 0, flat.shape, (view,), (size,), (), targets.ravel())
        )

    # places found during the run

    def order(self, operand: Slots, kind: str = "quicksort") -> Slots:
        """Record, for each row of a matrix, the places of its elements in ascending order."""
        view = self._affine_view(operand)
        if operand.shape[-1] > 1 and view.strides[-1] != 1:
            view = view_of(self.copy(operand))
        opcode = ORDER_OPCODES[kind]
        slots = self._vector(
            VectorInstruction(ORDER, opcode, operand.shape, (view,), operand.shape)
        )
        self.ranges.note(slots, 0.0, operand.shape[-1] - 1.0)
        return slots

    def search(self, numbers: Slots, points: Slots, right: bool) -> Slots:
        """Record how many of ascending numbers are below each point (or, to the right, equal)."""
        if numbers.size == 0:
            return np.full(points.shape, self.constant(0.0), np.int64)
        views = (self._affine_view(numbers), self._affine_view(points))
        slots = self._vector(
            VectorInstruction(SEARCH, int(right), numbers.shape + points.shape, views, points.shape)
        )
        self.ranges.note(slots, 0.0, float(numbers.size))
        return slots

    def take(self, source: Slots, places: Slots) -> Slots:
        """Record the elements of each row of a matrix at places given by slots.

        Places count from the end where they are negative. A run does not check
        them (what is outside reads the first element): record a guard for that.
        """
        shape = (*source.shape, places.shape[1])
        views = (self._affine_view(source), self._affine_view(places))
        return self._vector(VectorInstruction(TAKE, 0, shape, views, places.shape))

    def spread(self, elements: Slots, places: Slots, size: int) -> Slots:
        """Record, for each row, `size` sums: of the elements at equal places. See `take`."""
        if elements.size == 0:
            return np.full((len(elements), size), self.constant(0.0), np.int64)
        shape = (*elements.shape, size)
        views = (self._affine_view(elements), self._affine_view(places))
        result = (shape[0], size)
        return self._vector(VectorInstruction(SPREAD, 0, shape, views, result))

    def loop(self, body: Body, steps: int, operands: Sequence[Slots]) -> Slots:
        """Record a loop of a body; return the slots of its results, see `Body`."""
        views = tuple([view_of(operand) for operand in operands])
        size = (body.results(steps),)
        return self._vector(VectorInstruction(LOOP, 0, (steps,), views, size, body=body))

    def _vector(self, instruction: VectorInstruction, key: Any = None) -> Slots:
        """Record a vector instruction; return its result's slots.

        `key` tells the operation and the layouts of its operands, whose first slots are the
        bases of its views; None where that is not so.
        """
        if instruction.size == 0:  # nothing to compute, and kernels may rely on elements
            return np.zeros(instruction.result, np.int64)
        known = self.forms.number(instruction), in_order(instruction.result)
        if key:
            self._known[key] = known
        return self._append_vector(*known, bases_of(instruction))

    def again(self, form: int, layout: Layout, bases: tuple[int, ...]) -> Slots:
        """Record an instruction that cannot be simplified, by its form; return its slots."""
        return self._append_vector(form, layout, bases)

    def _append_vector(self, form: int, layout: Layout, bases: tuple[int, ...]) -> Slots:
        """Note a vector instruction by its form; return its result's slots, of that layout."""
        start = self.next_slot
        self.code += (VECTOR, len(self.which), layout.size)
        self.which.append(form)
        self.bases += bases
        self.next_slot = start + layout.size
        if self.keep_lines:
            self.lines.append(user_location())
        slots: Any = RegularSlots(start, layout)
        return slots  # type: ignore[no-any-return]

    @property
    def vectors(self) -> Vectors:
        """The vector instructions so far, with slots as numbered while recording."""
        which, bases = np.array(self.which, np.int64), np.array(self.bases, np.int64)
        return Vectors(self.forms.all, which, bases)

    def copy(self, operand: Slots) -> Slots:
        """Record contiguous copies of slots, always as one vector instruction, and return them."""
        view = broadcast_view(operand, operand.shape)
        return self._vector(
            VectorInstruction(MAP, OPCODE["positive"], operand.shape, (view,), operand.shape)
        )

    def _affine_view(self, operand: Slots) -> View:
        """Return a view without a gather table, copying the operand first if it needs one."""
        view = view_of(operand)
        if view.table is not None:
            view = view_of(self.copy(operand))
        return view

    # guards

    def guard(self, slot: int, outcome: float, location: Location | None = None) -> None:
        """Note that the recording relies on the value of a slot, by default at the user's line."""
        if slot in self.guarded or CONSTANTS <= slot < RESULTS:
            return
        if self.arms is not None and self.arms.open:
            slot = self.arms.where_taken(slot, outcome)
            if slot is None:
                return
        self.guarded.add(slot)
        self.guards.append(Guard(slot, outcome, location or user_location()))

    # the end

    def finish(self, outputs: Slots, point: npt.NDArray[np.float64]) -> FlatTape:
        """Return the tape recorded so far, with the given output slots."""
        inputs = self.inputs + len(self.captured)
        total = 1 + self._constant_count + inputs + (self.next_slot - RESULTS)
        if total > _MAX_SLOTS:
            raise TapeError(
                f"the recording needs {total} slots, and a tape holds at most {_MAX_SLOTS}; "
                "record a smaller piece, for example one step of the loop",
                code="tape-too-large",
            )
        guarded = self._final([guard.slot for guard in self.guards])
        return FlatTape.unchecked(
            code=self._final_code(),
            vectors=self._final_vectors(),
            constants=self._constants(),
            inputs=inputs,
            outputs=self._final(outputs.ravel()),
            guards=tuple(
                Guard(slot, guard.outcome, guard.location)
                for slot, guard in zip(guarded.tolist(), self.guards, strict=True)
            ),
            point=point,
            lines=tuple(self.lines) if self.keep_lines else None,
        )

    def _final_code(self) -> npt.NDArray[np.int32]:
        """Return the instructions in the final numbering."""
        code = np.array(self.code, np.int64).reshape(-1, 3)
        is_scalar = code[:, 0] != VECTOR
        code[:, 1:] = np.where(is_scalar[:, None], self._final(code[:, 1:]), code[:, 1:])
        return code.astype(np.int32)

    def _constants(self) -> npt.NDArray[np.float64]:
        """Return all constants, in order."""
        return np.concatenate([np.zeros(0), *self._constant_parts])

    def _final(self, slots: npt.ArrayLike) -> Slots:
        """Return slots in the final numbering: null, constants, inputs, captures, results."""
        slots = np.asarray(slots, np.int64)
        constants = self._constant_count
        first_capture = 1 + constants + self.inputs
        first_result = first_capture + len(self.captured)
        if slots.size and slots.min() >= RESULTS:
            return slots + (first_result - RESULTS)
        shifts = np.array(
            [0, constants, first_capture - CAPTURES, 1 - CONSTANTS, first_result - RESULTS]
        )
        return by_parts(
            lambda part: part + shifts[np.searchsorted(_REGIONS, part, side="right")], slots
        )

    def _final_vectors(self) -> Vectors:
        """Return the vector instructions with slots in the final numbering."""
        recorded = self.vectors
        forms = [
            form if True not in form.has_table else Form(self._final_gather(form.instruction))
            for form in recorded.forms
        ]
        return Vectors(forms, recorded.which, self._final(recorded.bases))

    def _final_gather(self, instruction: VectorInstruction) -> VectorInstruction:
        """Return an instruction with its tables in the final numbering."""
        return instruction.reading(
            tuple(
                view if view.table is None else replace(view, table=self._final(view.table))
                for view in instruction.operands
            )
        )


def _all_same_bits(values: npt.NDArray[np.float64]) -> bool:
    bits = np.ascontiguousarray(values).reshape(-1).view(np.int64)
    return bool((bits == bits[0]).all())
