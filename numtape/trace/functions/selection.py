"""Choosing among elements, and assigning to chosen ones.

A mask or an index that depends on the point and decides how many elements there
are is guarded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError, TraceError, UnsupportedError
from numtape.ops.table import OPCODE, ROWS
from numtape.trace.functions.common import implements, move, no_options, traced, traced_or_array
from numtape.trace.integers import are_whole, range_of, typed
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced import (
    TracedArray,
    TracedBool,
    TracedFloat,
    TracedScalar,
    TracedTruth,
    as_computed,
    as_traced,
    check_casting,
    guarded,
    has_traced,
    innermost,
    is_object_array,
    lift,
    moved,
    plain_key,
    read,
    wrap,
    writable,
    write,
)
from numtape.trace.ufuncs import apply_row, apply_to_scalars

__all__ = ["choice_of_floats", "clip_of_floats"]


@implements("where")
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        return _nonzero(condition)
    chosen = choice_of_floats(condition, x, y)
    if chosen is not None:
        return chosen
    recorder = innermost(condition, x, y)
    condition, x, y = (
        as_traced(recorder, each) if has_traced(each) else each for each in (condition, x, y)
    )
    values = np.where(typed(condition), typed(x), typed(y))
    (slots_x, _), (slots_y, _) = read(recorder, x), read(recorder, y)
    if not has_traced(condition):
        return moved(recorder, np.where(np.asarray(condition), slots_x, slots_y), values)
    slots, _ = read(recorder, condition)
    taken = recorder.elementwise(_KEEP, (slots, slots_x))
    other = recorder.elementwise(_DROP, (slots, slots_y))
    result = recorder.elementwise(_MERGE, (taken, other))
    if values.dtype.kind == "i":
        ends = [range_of(x), range_of(y)]
        recorder.ranges.note(result, min(low for low, _ in ends), max(high for _, high in ends))
    return moved(recorder, result, values)


_KEEP, _DROP, _MERGE = (OPCODE[name] for name in ("keep", "drop", "merge"))


def choice_of_floats(condition: Any, x: Any, y: Any) -> TracedArray | None:
    """Return the choice between two floats, quickly; None where it is none of the usual kinds."""
    if type(condition) not in _TRUTHS or condition.recorder.mirrors:
        return None
    recorder = condition.recorder
    is_own = type(x) is TracedScalar and x.recorder is recorder  # the most usual kind
    first = (x.slot, x.primal) if is_own else _float_of(recorder, x)
    is_own = type(y) is TracedScalar and y.recorder is recorder
    second = (y.slot, y.primal) if is_own else _float_of(recorder, y)
    if first is None or second is None:
        return None
    (slot_x, value_x), (slot_y, value_y) = first, second
    chosen, slot = condition.slot, recorder.next_slot
    recorder.code.extend((_KEEP, chosen, slot_x, _DROP, chosen, slot_y, _MERGE, slot, slot + 1))
    recorder.next_slot = slot + 3
    if recorder.keep_lines:
        recorder.lines += [user_location()] * 3
    value = value_x if condition.primal else value_y
    return TracedArray(recorder, np.array(slot + 2), np.array(value))


_TRUTHS = frozenset({TracedBool, TracedTruth})
_TRACED = frozenset({TracedScalar, TracedFloat, TracedArray})


def _float_of(recorder: Recorder, operand: Any) -> tuple[int, float] | None:
    """Return the slot and the value of a float, plain or traced; None of anything else."""
    kind = type(operand)
    if kind is float:
        return recorder.constant(operand), operand
    if kind not in _TRACED or operand.recorder is not recorder:
        return None
    if kind is not TracedArray:
        return operand.slot, operand.primal
    if operand.ndim or operand.dtype.char != "d":
        return None
    return int(operand.slots), operand.primals.item()


@implements("select", linear="choicelist default")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) != len(choicelist):
        raise InputError(
            f"np.select: {len(condlist)} conditions and {len(choicelist)} choices; give one choice "
            "for each condition"
        )
    shape = np.broadcast_shapes(*(np.shape(each) for each in (*condlist, *choicelist, default)))
    result = default
    if not has_traced(default):  # of the type that it is to have, which is that of all
        kinds = (each if type(each) in (int, float) else typed(each) for each in choicelist)
        result = np.asarray(default, np.result_type(*kinds, default))
    result = np.broadcast_to(result, shape)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return np.copy(result, order="C")


@implements("piecewise")
def _piecewise(x: Any, condlist: Any, funclist: Any, *arguments: Any, **options: Any) -> Any:
    x = as_traced(innermost(x, condlist), x)
    if not isinstance(condlist, list | tuple) or np.ndim(condlist[0]) == 0 != np.ndim(x):
        condlist = [condlist]
    conditions = [traced_or_array(condition) for condition in condlist]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        rest = conditions[0]
        for condition in conditions[1:]:
            rest = np.logical_or(rest, condition)
        conditions.append(np.logical_not(rest))
    elif len(functions) != len(conditions):
        raise InputError(
            f"np.piecewise: {len(conditions)} conditions and {len(functions)} functions; give one "
            "function for each condition, and perhaps one more for the rest"
        )
    result: Any = 0.0
    for condition, function in zip(conditions, functions, strict=True):
        if not callable(function):
            result = np.where(condition, function, result)
        elif _is_elementwise(function, x, arguments, options):
            result = np.where(condition, function(x, *arguments, **options), result)
        else:  # it looks at more than one element, so it must be given its own alone
            result = np.copy(np.broadcast_to(as_traced(x.recorder, result), x.shape))
            result[condition] = function(x[condition], *arguments, **options)
    return result.astype(x.dtype) if are_whole(x) else result


def _is_elementwise(function: Callable[..., Any], x: Any, arguments: Any, options: Any) -> bool:
    """Return whether each element of what a function gives depends on the same element alone.

    It is recorded on a tape of its own, for eight numbers and for four of them: what it
    reads there does not depend on the numbers, so the answer holds at every point.
    """
    values = np.asarray(x.primals, np.float64)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    numbers = np.linspace(low, high if high > low else low + 0.01 * (1.0 + abs(low)), 8)
    some = [0, 2, 3, 6]
    every = _of_elements_alone(function, x.recorder, numbers, arguments, options)
    of_some = _of_elements_alone(function, x.recorder, numbers[some], arguments, options)
    if every is None or of_some is None:
        return False
    return np.array_equal(every[some], of_some, equal_nan=True)


def _of_elements_alone(
    function: Callable[..., Any], outer: Recorder, numbers: Any, arguments: Any, options: Any
) -> Any:
    """Return what a function gives for numbers; None where it looks at more than each by itself."""
    recorder = Recorder(len(numbers), parent=outer)
    inputs = 1 + np.arange(len(numbers))
    with np.errstate(all="ignore"):
        result = function(wrap(recorder, inputs, numbers.copy()), *arguments, **options)
    slots, values = lift(recorder, result)
    if np.shape(values) not in ((), numbers.shape):
        return None
    point = np.concatenate([numbers, recorder.captured_values])
    tape = recorder.finish(np.ravel(slots), point)
    if tape.guards or not tape.is_scalar:
        return None
    for number, slot in enumerate(tape.outputs.tolist()):
        read = {slot, *tape.code[tape.needed(np.array([slot])), 1:].ravel().tolist()}
        own = {tape.first_input + number} if np.ndim(values) else set()
        if read.intersection(range(tape.first_input, tape.first_input + len(numbers))) - own:
            return None
    return np.broadcast_to(values, numbers.shape)


@implements("choose", linear="choices")
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    no_options("choose", out=out)
    choices = [traced_or_array(choice) for choice in choices]
    if has_traced(a):
        a = traced(a)
        count = len(choices)
        if not are_whole(a):
            raise UnsupportedError(
                f"np.choose of {a.dtype} at {user_location()}: NumPy chooses by integers alone. "
                "Write a.astype(int)",
                code="unsupported-dtype",
            )
        if mode == "wrap":
            a = a % count
        elif mode == "clip":
            a = np.clip(a, 0, count - 1)
        else:
            _no_index_outside(a, count)
        result = choices[-1]
        for k in range(count - 2, -1, -1):
            result = np.where(a == k, choices[k], result)
        shape = np.broadcast_shapes(a.shape, np.shape(result))
        return as_computed(np.copy(np.broadcast_to(result, shape)))
    return move(lambda *each: np.choose(a, each, mode=mode), *choices)


def _no_index_outside(a: Any, count: int) -> None:
    if not np.all((a >= 0) & (a < count)):
        raise InputError(
            f"np.choose: the indices go from {np.min(a)} to {np.max(a)}, and there are {count} "
            "choices; give indices below that, or mode='clip' or 'wrap'"
        )


@implements("clip")
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
) -> Any:
    if out is not None:
        no_options("clip", out=out)
    low = a_min if a_min is not None and a_min is not np._NoValue else min
    high = a_max if a_max is not None and a_max is not np._NoValue else max
    low, high = (None if bound is np._NoValue else bound for bound in (low, high))
    is_float = type(a) is TracedScalar or type(a) is TracedFloat
    if not is_float and not any(
        has_traced(x) and not are_whole(x) for x in (a, low, high) if x is not None
    ):
        result = a if low is None else np.maximum(a, low)
        return result if high is None else np.minimum(result, high)
    result = as_traced(innermost(a, low, high), a)
    if low is high is None:
        return as_computed(np.copy(result))
    if low is not None:
        result = _bounded(_CLIP_LOW, _at_least, result, low)
    if high is not None:
        result = _bounded(_CLIP_HIGH, _at_most, result, high)
    return result


def clip_of_floats(x: Any, low: Any, high: Any) -> Any:
    """Return a clipped float, quickly; None where it is not one of the usual kinds."""
    if type(x) is not TracedScalar and type(x) is not TracedFloat:
        return None
    recorder = x.recorder
    least, most = _float_of(recorder, low), _float_of(recorder, high)
    if least is None or most is None or recorder.mirrors:
        return None
    slot = recorder.scalar(_CLIP_LOW, x.slot, least[0])
    slot = recorder.scalar(_CLIP_HIGH, slot, most[0])
    return TracedScalar(recorder, slot, _at_most(_at_least(x.primal, least[1]), most[1]))


def _bounded(opcode: int, compute: Callable[[Any, Any], Any], x: Any, bound: Any) -> Any:
    result = apply_to_scalars(opcode, compute, x, bound)
    return apply_row(ROWS[opcode], (x, bound)) if result is None else result


_CLIP_LOW, _CLIP_HIGH = OPCODE["clip_low"], OPCODE["clip_high"]


def _at_least(x: float, low: float) -> float:
    return x if x >= low or x != x else low


def _at_most(x: float, high: float) -> float:
    return x if x <= high or x != x else high


# chosen by masks, which are guarded


def _mask(condition: Any) -> Any:
    """Return a mask as plain bools, guarded if it is traced."""
    if not has_traced(condition):
        return np.asarray(condition, bool)
    condition = traced(condition)
    return guarded(condition if condition.dtype == bool else condition != 0.0)


@implements("nonzero")
def _nonzero(a: Any) -> Any:
    return np.nonzero(_mask(a))


@implements("flatnonzero")
def _flatnonzero(a: Any) -> Any:
    return np.flatnonzero(_mask(a))


@implements("argwhere")
def _argwhere(a: Any) -> Any:
    return np.argwhere(_mask(a))


@implements("compress", linear="a")
def _compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    no_options("compress", out=out)
    mask = _mask(condition)
    if not has_traced(a):
        return np.compress(mask, a, axis)
    return move(lambda elements: np.compress(mask, elements, axis), a)


@implements("extract", linear="arr")
def _extract(condition: Any, arr: Any) -> Any:
    mask = _mask(condition)
    if not has_traced(arr):
        return np.extract(mask, arr)
    return move(lambda elements: np.extract(mask, elements), arr)


# assigning


def _assigns(function: Callable[..., Any], array: Any, *values: Any) -> None:
    """Apply a function that assigns `values` into an array, to slots and to values."""
    if is_object_array(array):
        function(array, *(np.asarray(value, object) for value in values))
        return
    array = writable(array, *values)
    if not isinstance(array, TracedArray):
        if not any(has_traced(value) and not are_whole(value) for value in values):
            function(array, *(np.asarray(value) for value in values))  # which guards them
            return
        raise TraceError(
            f"traced values were assigned into a plain array at {user_location()}, which cannot "
            "hold them. Make it with np.zeros_like(x), or with like=x: np.array(y, like=x)",
            code="plain-array",
        )
    if array.dtype != np.float64:
        values = tuple(as_traced(array.recorder, value).astype(array.dtype) for value in values)
    write(array, function, *(lift(array.recorder, value) for value in values))


@implements("put")
def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    ind = plain_key(ind)
    _assigns(lambda array, values: np.put(array, ind, values, mode), a, v)


@implements("place")
def _place(arr: Any, mask: Any, vals: Any) -> None:
    mask = _mask(mask)
    check_casting("place", traced_or_array(vals), arr, "safe")
    _assigns(lambda array, values: np.place(array, mask, np.atleast_1d(values)), arr, vals)


@implements("putmask")
def _putmask(a: Any, mask: Any, values: Any) -> None:
    check_casting("putmask", traced_or_array(values), a, "safe")
    a = writable(a, values, mask)
    if np.shape(values) in ((), np.shape(a)) and isinstance(a, TracedArray):
        a[...] = np.where(mask, values, a)
        return
    mask = _mask(mask)
    _assigns(lambda array, each: np.putmask(array, mask, each), a, values)


@implements("copyto")
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    dst = writable(dst, src, where)
    if is_object_array(dst):  # np.full(n, x) makes one
        every = np.broadcast_to(np.asarray(src, object), dst.shape)
        dst[...] = np.where(where, every, dst)
    elif not isinstance(dst, TracedArray):
        where = plain_key(where)
        _assigns(lambda array, each: np.copyto(array, each, casting, where), dst, src)
    else:
        check_casting("copyto", src, dst)
        dst[...] = src if where is True else np.where(where, src, dst)


@implements("fill_diagonal")
def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:  # (NumPy's name)
    _assigns(lambda array, values: np.fill_diagonal(array, values, wrap), a, val)


@implements("put_along_axis")
def _put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    indices = plain_key(indices)
    _assigns(lambda array, each: np.put_along_axis(array, indices, each, axis), arr, values)
