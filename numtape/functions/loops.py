"""Loops and choices as functions, with the names and the order of arguments that JAX has.

Outside of a recording they are what they say in plain Python. Inside of one, `scan` and `map`
record a step once, as the body of a loop; where a step cannot stand for all (it counts by
integers, or a comparison in it comes out otherwise in another step), each is recorded, as in a
loop that Python runs, and what they repeat is found later (`numtape.transform.rolling`).
"""

import contextlib
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, OutputError
from numtape.functions.inner import InnerTape, plain_values
from numtape.functions.runner import Runner
from numtape.functions.selection import cut
from numtape.functions.trees import Structure, flatten, map_leaves, shown
from numtape.tape.body import Body
from numtape.trace.record import active_recorder
from numtape.trace.recorder import Recorder
from numtape.trace.resolve import resolved
from numtape.trace.traced import Traced, is_traced, lift, wrap
from numtape.transform.pruning import parts_of

__all__ = ["checkpoint", "cond", "fori_loop", "map", "scan", "while_loop"]

map_ = map  # Python's: the name is taken by JAX's

Floats = npt.NDArray[np.float64]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: bool | int | None = None,
) -> tuple[Any, Any]:
    """Carry something along the first axis of arrays, and stack what each step gives.

    Parameters
    ----------
    f : callable
        From what is carried and the elements of `xs` at a step (None without `xs`) to a pair:
        what is carried on, of the same structure and shapes, and a tree.
    init : tree
        What is carried into the first step.
    xs : tree of arrays, optional
        Their first axes have the same length, which is the number of steps.
    length : int, optional
        The number of steps, where there is no `xs`.
    reverse : bool
        Whether to begin with the last elements. Results stand where the elements do.
    checkpoint : bool or int, optional
        Whether derivatives keep what is carried every so many steps alone, about the square
        root of their number, and compute the steps in between again: that takes one more run of
        the loop, and the memory of two such square roots in place of all steps. A number of
        bytes asks for it only if keeping all steps would need more.

    Returns
    -------
    carry, ys
        What is carried out of the last step, and the trees that steps gave, each leaf with a
        first axis for the steps.

    Raises
    ------
    InputError
        Where the number of steps is not known, or told differently.
    OutputError
        Where `f` returns no pair, or something else to carry than it was given.

    Notes
    -----
    In a recording a step is recorded once if it can be. The tape, its derivatives and its
    machine code are then as long as one step, and its guards are asked at each.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> def step(level, x):
    ...     level = 0.9 * level + x
    ...     return level, level**2
    >>> nt.scan(step, 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(5.61), array([ 1.    ,  8.41  , 31.4721]))
    >>> nt.grad(lambda x: nt.scan(step, 0.0, x)[0])(np.array([1.0, 2.0, 3.0]))
    array([0.81, 0.9 , 1.  ])
    """
    steps = _steps(xs, length)
    _bytes(checkpoint)
    if steps == 0:
        return init, _nothing(f, init, xs)
    recorder = active_recorder()
    if recorder is not None:
        found = _recorded_once(recorder, f, init, xs, steps, reverse, _bytes(checkpoint))
        if found is not None:
            return found
    call = resolved(f)
    carry, rows, structure = init, [], Structure(None)
    order = range(steps - 1, -1, -1) if reverse else range(steps)
    for step in order:
        carry, y = _pair(call(carry, _at(xs, step)), carry)
        leaves, structure = flatten(y)
        rows.append(leaves)
    if reverse:
        rows.reverse()
    return carry, structure.build(np.stack(column) for column in zip(*rows, strict=True))


def fori_loop(lower: int, upper: int, body: Callable[[int, Any], Any], init: Any) -> Any:
    """Carry something through the steps from one integer to before another.

    Parameters
    ----------
    lower, upper : int
        The first step, and the one after the last.
    body : callable
        From the number of a step and what is carried to what is carried on, of the same
        structure and shapes.
    init : tree
        What is carried into the first step.

    Returns
    -------
    tree
        What is carried out of the last step; `init` where there is none.

    Raises
    ------
    InputError
        Where a bound is no integer.
    OutputError
        Where `body` returns something else to carry than it was given.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.fori_loop(0, 3, lambda k, x: x + k * x, 2.0)
    12.0
    >>> nt.grad(lambda x: nt.fori_loop(0, 3, lambda k, x: x + k * x, x))(2.0)
    6.0
    """
    first, stop = _integer(lower, "lower"), _integer(upper, "upper")
    call, carry = resolved(body), init
    for step in range(first, stop):
        carry = _carried(call(step, carry), carry, "body")
    return carry


def while_loop(
    cond: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    max_steps: int | None = None,
) -> Any:
    """Carry something on while a condition holds.

    In a recording each step is recorded, and each outcome of the condition is guarded: another
    number of steps is another path, which `grad` and its like record when they come to it.

    Parameters
    ----------
    cond : callable
        From what is carried to whether to go on.
    body : callable
        From what is carried to what is carried on, of the same structure and shapes.
    init : tree
        What is carried into the first step.
    max_steps : int, optional
        How many steps there may be.

    Returns
    -------
    tree
        What is carried when the condition does not hold.

    Raises
    ------
    InputError
        Where the condition still holds after `max_steps` steps.
    OutputError
        Where `body` returns something else to carry than it was given.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.while_loop(lambda x: x < 10.0, lambda x: x * x, 2.0)
    16.0
    >>> nt.grad(lambda x: nt.while_loop(lambda y: y < 10.0, lambda y: y * y, x))(2.0)
    32.0
    """
    bound = None if max_steps is None else _integer(max_steps, "max_steps")
    holds, call, carry, step = resolved(cond), resolved(body), init, 0
    while holds(carry):
        if step == bound:
            raise InputError(
                f"while_loop has made max_steps={bound} steps and its condition still holds, of "
                f"{shown(map_leaves(plain_values, carry))}: it may make no more. Allow more steps, "
                "or look why the condition does not come to an end"
            )
        carry = _carried(call(carry), carry, "body")
        step += 1
    return carry


def map(f: Callable[[Any], Any], xs: Any) -> Any:  # noqa: A001 - JAX's name
    """Apply a function along the first axis of arrays, one element after the other.

    Parameters
    ----------
    f : callable
        From the elements at a step to a tree.
    xs : tree of arrays
        Their first axes have the same length.

    Returns
    -------
    tree
        What `f` gave, each leaf with a first axis for the steps.

    Raises
    ------
    InputError
        Where arrays are of different lengths.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.map(lambda x: x * np.sum(x), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[ 3.,  6.],
           [21., 28.]])
    """
    call = resolved(f)
    return scan(lambda _, x: (None, call(x)), None, xs)[1]


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """Apply one of two functions, by whether something is true.

    In a recording, of a traced `pred` both are recorded and one result is selected: later
    points may go either way, and in a loop each step. What only the one that is not chosen
    warns of is not told.

    Parameters
    ----------
    pred : bool or number
    true_fun, false_fun : callable
        From the operands to trees of the same structure and shapes.
    *operands
        What they are given.

    Returns
    -------
    tree

    Raises
    ------
    InputError
        Where `pred` is an array of several elements.
    OutputError
        Where the functions return trees of different structures or shapes.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.cond(True, np.sin, np.cos, 0.0)
    np.float64(0.0)
    >>> nt.grad(lambda x: nt.cond(x > 0.0, lambda y: y * y, lambda y: -y, x))(3.0)
    6.0
    """
    if np.shape(pred) != ():
        raise InputError(
            f"cond was given a pred of shape {np.shape(pred)}: it is one bool. Select element by "
            "element, by np.where(pred, a, b)"
        )
    if not is_traced(pred):
        return (true_fun if pred else false_fun)(*operands)
    made = []
    for f, is_chosen in ((true_fun, bool(pred.primal)), (false_fun, not pred.primal)):
        with np.errstate() if is_chosen else np.errstate(all="ignore"):
            made.append(resolved(f)(*operands))
    taken, other = made
    (left, structure), (right, found) = flatten(taken), flatten(other)
    shapes = [[np.shape(leaf) for leaf in leaves] for leaves in (left, right)]
    if structure != found or shapes[0] != shapes[1]:
        raise OutputError(
            f"the functions of cond returned {structure} of shapes {shapes[0]} and {found} of "
            f"shapes {shapes[1]}: one is selected, so they must be alike. Return the same "
            "structure and shapes from both"
        )
    pairs = zip(left, right, strict=True)
    return structure.build(np.where(pred, x, y)[()] for x, y in pairs)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of which derivatives keep nothing but its arguments.

    What they need of its values they compute again: once more the time of `f`, and the memory
    of its results alone.

    Parameters
    ----------
    f : callable

    Returns
    -------
    callable
        Gives what `f` gives.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> smooth = nt.checkpoint(lambda x: np.sum(np.exp(np.sin(x)) ** 2))
    >>> nt.grad(smooth)(np.zeros(3))
    array([2., 2., 2.])
    """

    @functools.wraps(f)
    def run(*arguments: Any) -> Any:
        recorder = active_recorder()
        if recorder is None:
            return f(*arguments)
        inner = InnerTape(recorder, f, list(arguments))
        slots, values = lift(recorder, inner.point)
        flat, result = inner.tape.flat, inner.tape.result
        if np.size(values) == 0 or len(flat.outputs) == 0:
            return resolved(f)(*arguments)
        outputs = np.concatenate([flat.outputs, flat.guard_slots])
        tape = flat.changed(outputs=outputs, guards=(), point=np.zeros(0))
        body = Body(tape, (), (), (np.shape(values),), (outputs.shape,), recomputes=True)
        found = _run(body, 1, [values])
        made = recorder.loop(body, 1, [slots])
        for guard, slot in zip(flat.guards, made[len(flat.outputs) :].tolist(), strict=True):
            recorder.guard(slot, guard.outcome, guard.location)
        count = len(flat.outputs)
        return result.build(wrap(recorder, made[:count], found[:count]))

    return run


# Arguments and results.


def _integer(given: Any, name: str) -> int:
    if not is_traced(given):
        with contextlib.suppress(TypeError):
            return operator.index(given)
    raise InputError(
        f"{name}={shown(map_leaves(plain_values, given))} was given: the number of steps is part "
        "of what is recorded, so it must be an integer that is no traced value. Pass a Python int, "
        "or use while_loop"
    )


def _steps(xs: Any, length: int | None) -> int:
    """Return the number of steps."""
    lengths = {}
    for number, leaf in enumerate(flatten(xs)[0]):
        if np.ndim(leaf) == 0:
            raise InputError(
                f"xs has {shown(map_leaves(plain_values, leaf))} as leaf {number}, which has no "
                "axes: a step reads one element along the first axis. Pass arrays, and what is "
                "the same in all steps through the function"
            )
        lengths[number] = np.shape(leaf)[0]
    told = set(lengths.values())
    if length is not None:
        steps = _integer(length, "length")
        if steps < 0:
            raise InputError(f"length={steps} was given: there are 0 steps or more. Pass 0 or more")
        told.add(steps)
    if len(told) != 1:
        what = f"arrays of the lengths {[*lengths.values()]} and length={length}"
        raise InputError(
            f"scan was given {what}: these say how many steps there are, so they must agree, and "
            "there must be one. Pass xs of one length, or length=n without xs"
        )
    return int(told.pop())


def _bytes(checkpoint: bool | int | None) -> float:
    """Return how many bytes may be kept for derivatives."""
    if checkpoint is None or checkpoint is False:
        return math.inf
    if checkpoint is True:
        return 0.0
    room = _integer(checkpoint, "checkpoint")
    if room < 0:
        raise InputError(
            f"checkpoint={room} was given: it is a number of bytes, or a bool. Pass True to keep "
            "as little as possible"
        )
    return float(room)


def _at(xs: Any, step: int) -> Any:
    """Return the elements at a step."""
    return map_leaves(lambda leaf: leaf[step], xs)


def _pair(returned: Any, carry: Any) -> tuple[Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise OutputError(
            f"the function of scan returned {shown(map_leaves(plain_values, returned))}: it "
            "returns a pair, what is carried on and what the step gives. Return (carry, y), with y "
            "None for nothing"
        )
    return _carried(returned[0], carry, "function of scan"), returned[1]


def _carried(new: Any, old: Any, who: str) -> Any:
    """Return what is carried on, if it is like what was carried in."""
    (leaves, structure), (before, expected) = flatten(new), flatten(old)
    if structure != expected:
        raise OutputError(
            f"the {who} was given {expected} to carry and returned {structure}: what is carried "
            "keeps its structure from step to step. Return the same structure, or begin with it"
        )
    for number, (leaf, other) in enumerate(zip(leaves, before, strict=True)):
        if np.shape(leaf) != np.shape(other):
            raise OutputError(
                f"the {who} was given leaf {number} of shape {np.shape(other)} to carry and "
                f"returned it of shape {np.shape(leaf)}: what is carried keeps its shape from "
                "step to step. Return the same shape, or begin with it, for example by "
                "np.broadcast_to"
            )
    return new


def _nothing(f: Callable[..., Any], init: Any, xs: Any) -> Any:
    """Return what no steps give: arrays without elements, shaped as one step would have them."""
    blank = map_leaves(lambda leaf: np.zeros(np.shape(leaf)[1:])[()], xs)
    with np.errstate(all="ignore"):
        _, y = _pair(f(map_leaves(plain_values, init), blank), map_leaves(plain_values, init))
    return map_leaves(lambda leaf: np.zeros((0, *np.shape(leaf))), y)


# A step recorded once.


def _recorded_once(
    recorder: Recorder,
    f: Callable[..., Any],
    init: Any,
    xs: Any,
    steps: int,
    reverse: bool,
    room: float,
) -> tuple[Any, Any] | None:
    """Record a loop; return what scan gives, or None where each step is to be recorded."""
    if not all(map_(_is_float, flatten((init, xs))[0])):
        return None
    guards, writes = len(recorder.guards), recorder.writes
    inner = InnerTape(
        recorder,
        lambda carry, x: _pair(f(carry, x), carry),
        [init, _at(xs, steps - 1 if reverse else 0)],
    )
    if len(recorder.guards) != guards or recorder.writes != writes:
        return None  # it assigned to what it was given, or met an error
    return _looped(recorder, inner, init, xs, steps, reverse, room)


def _is_float(leaf: Any) -> bool:
    """Return whether a leaf is of floats: what counts is another number in each step."""
    kind = leaf.dtype if isinstance(leaf, Traced) else np.result_type(leaf)
    return bool(kind == np.float64)


def _looped(
    recorder: Recorder,
    inner: InnerTape,
    init: Any,
    xs: Any,
    steps: int,
    reverse: bool,
    room: float,
) -> tuple[Any, Any] | None:
    """Record a loop of a step that was recorded at the first one's values.

    None where the step does not stand for all: where a comparison comes out otherwise. `room` is
    how many bytes may be kept for derivatives.
    """
    flat, result = inner.tape.flat, inner.tape.result
    carried, structure = flatten(init)
    slots, values = inner.captured
    turn = slice(None, None, -1) if reverse else slice(None)
    operands = [lift(recorder, leaf) for leaf in carried]
    for leaf in flatten(xs)[0]:
        read, numbers = lift(recorder, leaf)
        operands.append((read[turn], np.asarray(numbers)[turn]))
    operands += [(np.array(slot), value) for slot, value in zip(slots, values, strict=True)]
    shapes = [np.shape(numbers) for _, numbers in operands]
    split = len(operands) - len(slots)
    body = Body(
        flat.changed(
            outputs=np.concatenate([flat.outputs, flat.guard_slots]), guards=(), point=np.zeros(0)
        ),
        tuple(shapes[: len(carried)]),
        tuple(shape[1:] for shape in shapes[len(carried) : split]),
        ((),) * len(slots),
        (*result.shapes[len(carried) :], *((),) * len(flat.guards)),
    )
    found = _run(body, steps, [numbers for _, numbers in operands])
    parts = parts_of(body, steps)[1:]
    split = len(parts) - len(flat.guards)
    written, compared = parts[:split], parts[split:]
    for guard, (begin, rows, _) in zip(flat.guards, compared, strict=True):
        outcomes = found[begin : begin + rows]
        if not np.array_equal(outcomes, np.full(rows, guard.outcome), equal_nan=True):
            return None
    rows_of = _recorded_rows(recorder, body, steps, [each for each, _ in operands], room)
    last = 1 + len(written)
    for step in range(steps):
        for guard, slots in zip(flat.guards, rows_of[last:], strict=True):
            recorder.guard(slots.item(step), guard.outcome, guard.location)
    carry = wrap(recorder, rows_of[0], found[: body.carried])
    ys = [  # which lie in memory as if they had been stacked
        wrap(recorder, slots, found[begin : begin + rows * width].reshape(slots.shape))[turn].copy()
        for slots, (begin, rows, width) in zip(rows_of[1:last], written, strict=True)
    ]
    return structure.build(cut(carry, body.carries)), result.structure.children[1].build(ys)


def _recorded_rows(
    recorder: Recorder, body: Body, steps: int, operands: list[Any], room: float
) -> list[Any]:
    """Record a loop; return the slots of what is carried out, and the rows of what is written."""
    length = math.isqrt(steps)
    if 8 * steps * (body.carried + body.tape.slots - body.tape.first_result) <= room or length < 2:
        return _results(body, steps, recorder.loop(body, steps, operands))
    # A loop of stretches, of which what is carried in is kept; and what steps are left.
    carries, split = len(body.carries), len(body.carries) + len(body.reads)
    count = steps // length
    whole = count * length
    reads = [
        each[:whole].reshape(count, length, *each.shape[1:]) for each in operands[carries:split]
    ]
    stretch = _stretch(body, length)
    made = recorder.loop(stretch, count, [*operands[:carries], *reads, *operands[split:]])
    carried, *written = _results(stretch, count, made)
    rows = [each.reshape(whole, *each.shape[2:]) for each in written]
    if whole < steps:
        ends = np.cumsum([0, *(math.prod(shape) for shape in body.carries)]).tolist()
        first = [
            carried[start:stop].reshape(shape)
            for start, stop, shape in zip(ends, ends[1:], body.carries, strict=False)
        ]
        rest = [each[whole:] for each in operands[carries:split]]
        left = [*first, *rest, *operands[split:]]
        carried, *more = _recorded_rows(recorder, body, steps - whole, left, math.inf)
        rows = [
            np.concatenate([np.asarray(each), np.asarray(other)])
            for each, other in zip(rows, more, strict=True)
        ]
    return [carried, *rows]


def _results(body: Body, steps: int, made: Any) -> list[Any]:
    """Return the slots of what is carried out of a loop, and the rows of what is written."""
    parts = parts_of(body, steps)[1:]
    return [
        made[: body.carried],
        *(
            made[begin : begin + rows * width].reshape(rows, *shape)
            for shape, (begin, rows, width) in zip(body.writes, parts, strict=True)
        ),
    ]


def _stretch(body: Body, length: int) -> Body:
    """Return the body that makes so many steps, and is computed again for derivatives."""
    groups = body.carries, tuple((length, *shape) for shape in body.reads), body.same
    shapes = [shape for group in groups for shape in group]
    ends = np.cumsum([0, *map_(math.prod, shapes)]).tolist()
    recorder = Recorder(ends[-1])
    operands = [
        np.arange(1 + start, 1 + stop).reshape(shape)
        for shape, start, stop in zip(shapes, ends, ends[1:], strict=False)
    ]
    made = recorder.loop(body, length, operands)
    tape = recorder.finish(np.asarray(made), np.zeros(ends[-1]))
    writes = tuple((length, *shape) for shape in body.writes)
    return Body(tape, *groups, writes, recomputes=True)


def _run(body: Body, steps: int, numbers: list[Any]) -> Floats:
    """Return the results of a loop of these operands."""
    sizes = [np.size(each) for each in numbers]
    recorder = Recorder(sum(sizes))
    ends = np.cumsum([0, *sizes])
    slots = [
        np.arange(1 + start, 1 + stop).reshape(np.shape(each))
        for each, start, stop in zip(numbers, ends, ends[1:], strict=False)
    ]
    made = recorder.loop(body, steps, slots)
    flat = recorder.finish(np.asarray(made), np.zeros(sum(sizes)))
    results = np.empty(len(flat.outputs))
    Runner(flat).evaluate(np.concatenate([np.zeros(0), *map_(np.ravel, numbers)]), results)
    return results
