"""How arrays of slots are read and walked: the simplest views, and shapes of results.

What is asked again and again of small arrays, as in a loop over small matrices, is remembered.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import function_of
from numtape.tape.flat import View, contiguous_strides
from numtape.tape.regular import Layout, RegularSlots, in_order, reach

__all__ = [
    "CAPTURES",
    "CONSTANTS",
    "RESULTS",
    "SMALL",
    "Shape",
    "Slots",
    "broadcast_shape",
    "broadcast_view",
    "column",
    "evenly",
    "following",
    "function_shapes",
    "reduces_by_scalars",
    "steps_by_one",
    "view_of",
    "walked",
]

Slots = npt.NDArray[np.int64]
Shape = tuple[int, ...]

# Where the regions of slots begin, see `recorder.py`.
CAPTURES = 1 << 39
CONSTANTS = 1 << 40
RESULTS = 1 << 41


# Array operations over at most so many elements are recorded as scalar
# instructions: cheaper to run one by one (4 ns each) than as a vector
# instruction (20 to 40 ns), and they keep a tape of small arrays sweepable.
SMALL = 8

# So few slots are compared as bytes, which is quicker than to ask NumPy.
_FEW = 64


def view_of(slots: Slots) -> View:
    """Return the simplest view that reads these slots, over their own shape."""
    if isinstance(slots, RegularSlots):
        layout = slots.layout
        return View(slots.base if layout.size else 0, layout.strides)
    size = slots.size
    if size == 0:
        return View(0, (0,) * slots.ndim)
    first = slots.item(0)
    if size == 1:
        return View(first, (0,) * slots.ndim)
    core = slots
    if size <= _FEW:
        found = _strides_of(slots.shape, (slots - first).tobytes())
    elif slots.flags.c_contiguous and slots.item(-1) - first == size - 1 and steps_by_one(slots):
        found = contiguous_strides(slots.shape), 0, size - 1
    else:
        core = _once(slots)
        found = _even_strides(core)
    if found is not None:
        strides, low, high = found
        low, high = first + low, first + high
        if _region(low) == _region(high) and (low > 0 or high == 0):
            return View(first, strides)
    core = _once(core)
    # A copy: a traced array's own slots change when it is assigned to.
    return View(0, contiguous_strides(core.shape), core.flatten())


def _region(slot: int) -> int:
    return (slot >= CAPTURES) + (slot >= CONSTANTS) + (slot >= RESULTS)


@lru_cache(maxsize=1 << 12)
def _strides_of(shape: Shape, steps: bytes) -> tuple[Shape, int, int] | None:
    """Return `_even_strides` of few slots, given how far they are from the first."""
    return _even_strides(np.frombuffer(steps, np.int64).reshape(shape))


def _even_strides(slots: Slots) -> tuple[Shape, int, int] | None:
    """Return the strides of slots that step evenly, and how far these lead down and up.

    None where they do not.
    """
    strides: list[int] = []
    rest = slots
    for extent in slots.shape:
        stride = 0
        if extent > 1:
            steps = rest[1:] - rest[:-1]
            stride = steps.item(0)
            if (steps != stride).any():
                return None
        strides.append(stride)
        rest = rest[0]  # all along this axis are like the first
    return tuple(strides), *reach(slots.shape, tuple(strides))


def steps_by_one(slots: Slots) -> bool:
    """Return whether slots follow one another; looked at in pieces that stay in the cache."""
    if isinstance(slots, RegularSlots):
        return slots.size == 1 or slots.slot_strides() == (1,)
    slots, piece = slots.reshape(-1), 1 << 15
    for start in range(0, slots.size, piece):
        part = slots[start : start + piece + 1]
        if not (part[1:] - part[:-1] == 1).all():
            return False
    return True


def _once(slots: Slots) -> Slots:
    """Return one element of each axis that NumPy itself walks with stride 0: a broadcast."""
    if 0 not in slots.strides:
        return slots
    return slots[tuple([slice(0, 1) if stride == 0 else slice(None) for stride in slots.strides])]


def broadcast_shape(*shapes: Shape) -> Shape:
    """Return the shape that some broadcast to; quick where it is that of all."""
    first = shapes[0]
    if shapes[-1] == first and (len(shapes) < 3 or shapes.count(first) == len(shapes)):
        return first
    return np.broadcast_shapes(*shapes)


def broadcast_view(slots: Slots, shape: Shape) -> View:
    """Return a view over `shape` of slots that broadcast to it."""
    view = view_of(slots)
    if slots.shape == shape:
        return view
    # (Views do not step along axes of one element.)
    return View(view.base, (0,) * (len(shape) - slots.ndim) + view.strides, view.table)


def reduces_by_scalars(name: str, operand: Slots, axes: Shape) -> bool:
    """Return whether a reduction is small enough for scalar instructions that give the same.

    NumPy adds eight and more elements in another order than one by one, and
    adds up each innermost run by itself; and a tie of three or more extremes is
    shared evenly only by the reduction's own rule.
    """
    if operand.size > SMALL:
        return False
    extents = [operand.shape[axis] for axis in axes if operand.shape[axis] > 1]
    each = math.prod(extents)
    if name in ("maximum", "minimum") and each > 2:
        return False
    return name != "add" or (each < 8 and len(extents) <= 1)


@lru_cache(maxsize=1 << 12)
def walked(shape: Shape, strides: Shape, kept: Shape, order: Shape) -> tuple[Shape, ...]:
    """Return what a reduction walks: extents, strides of the operand, and those of the result."""
    into = dict.fromkeys(range(len(shape)), 0)
    stride = 1
    for axis in reversed(kept):
        into[axis] = stride
        stride *= shape[axis]
    return _merge_axes(*(tuple(each[axis] for axis in order) for each in (shape, strides, into)))


def _merge_axes(shape: Shape, *strides: Shape) -> tuple[Shape, ...]:
    """Drop axes of extent 1 and join neighbours that step as one."""
    axes: list[list[int]] = []
    for extent, *steps in zip(shape, *strides, strict=True):
        if extent == 1:
            continue
        if axes and all(
            before == step * extent for before, step in zip(axes[-1][1:], steps, strict=True)
        ):
            axes[-1] = [axes[-1][0] * extent, *steps]
        else:
            axes.append([extent, *steps])
    if not axes:
        axes = [[1] + [0] * len(strides)]
    return tuple(tuple(column) for column in zip(*axes, strict=True))


@lru_cache(maxsize=1 << 12)
def function_shapes(
    opcode: int, shapes: tuple[Shape, ...], chosen: tuple[tuple[str, int], ...]
) -> tuple[Shape, list[tuple[int, bool]], tuple[Shape, ...], list[int]]:
    """Return what a function of operands of these shapes iterates over, and makes.

    Returns
    -------
    shape : tuple of int
        As an instruction has it.
    operands : list of (int, bool)
        The rank of each operand's view, and whether it is of complex numbers.
    results : tuple of tuple of int
        The shapes of the results.
    ends : list of int
        Where each result begins and, at the end, how many elements there are.
    """
    function = function_of(opcode)
    batch = np.broadcast_shapes(
        *(
            shape[: len(shape) - len(axes)]
            for shape, axes in zip(shapes, function.operands, strict=True)
        )
    )
    shape = (*batch, *function.extents(shapes, **dict(chosen)))
    operands = [(len(batch) + len(axes), axes[-1:] == ("2",)) for axes in function.operands]
    _, results = function.shapes(shape)
    return shape, operands, results, list(accumulate(map(math.prod, results), initial=0))


def evenly(operands: Sequence[Any]) -> tuple[tuple[Layout, ...], Shape]:
    """Return operands' layouts and first slots; nothing where some do not step evenly."""
    layouts, bases = [], []
    for slots in operands:
        if type(slots) is RegularSlots:
            layouts.append(slots.layout)
            bases.append(slots.base)
        elif slots.size == 1:
            layouts.append(in_order(slots.shape))
            bases.append(slots.item())
        else:
            return (), ()
    return tuple(layouts), tuple(bases)


def following(start: int, shape: Shape) -> Slots:
    """Return slots that follow one another."""
    slots: Any = RegularSlots.contiguous(start, shape)
    return slots  # type: ignore[no-any-return]


def column(slots: Slots, shape: Shape, size: int) -> list[int]:
    """Return slots, broadcast to a shape, one after the other."""
    if slots.shape != shape:
        if slots.size == 1:
            return [slots.item()] * size
        slots = np.broadcast_to(slots, shape)
    if isinstance(slots, RegularSlots):
        return [slots.base + step for step in slots.layout.listed]
    found: list[int] = slots.ravel().tolist()
    return found
