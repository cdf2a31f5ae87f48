"""Loops and choices as functions, with the names and the order of arguments that JAX has.

Outside of a recording they are what they say in plain Python. Inside of one, a step is
recorded once, as the body of a loop; where it cannot stand for all (it needs plain integers, or a
comparison in it comes out otherwise in another step), each is recorded, as in a loop that Python
runs, and what they repeat is found later (`numtape.transform.rolling`).
"""

import contextlib
import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError, OutputError
from numtape.functions.inner import plain_values
from numtape.functions.searches import recorded_search
from numtape.functions.steps import recorded_again, recorded_once
from numtape.functions.trees import Structure, flatten, map_leaves, shown
from numtape.trace.record import active_recorder
from numtape.trace.resolve import resolved
from numtape.trace.traced import is_traced
from numtape.transform.checkpoints import room_of

__all__ = ["checkpoint", "cond", "fori_loop", "map", "scan", "while_loop"]


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
    ...     level = 0.5 * level + x
    ...     return level, level**2
    >>> nt.scan(step, 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(4.25), array([ 1.    ,  6.25  , 18.0625]))
    >>> nt.grad(lambda x: nt.scan(step, 0.0, x)[0])(np.array([1.0, 2.0, 3.0]))
    array([0.25, 0.5 , 1.  ])
    """
    steps = _steps(xs, length)
    room_of(checkpoint)
    if steps == 0:
        return init, _nothing(f, init, xs)
    recorder = active_recorder()
    if recorder is not None:
        first = _at(xs, steps - 1 if reverse else 0)
        found = recorded_once(
            recorder,
            lambda carry, x: _pair(resolved(f)(carry, x), carry),
            *(init, first, xs, steps, reverse, room_of(checkpoint)),
        )
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
    recorder = active_recorder()
    if recorder is not None and stop - first > 1:
        found = recorded_once(
            recorder,
            lambda carry, step: (_carried(resolved(body)(step, carry), carry, "body"), None),
            *(init, first, np.arange(first, stop), stop - first, False, math.inf),
        )
        if found is not None:
            return found[0]
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

    In a recording a step is recorded once if it can be, and the number of steps is found during
    the run. A recording has room for 7 steps, or twice as many and one as often as it takes; a
    point that needs other room is recorded by `grad` and its like when they come to it. Where a
    step cannot stand for all, each is recorded, and another number of steps is another path.

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
        Where the condition still holds after `max_steps` steps, or that is no integer.
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
    if bound is not None and bound < 0:
        raise InputError(
            f"max_steps={bound} was given: there are 0 steps or more. Pass 0 or more, or None"
        )

    def endless(carry: Any) -> InputError:
        return InputError(
            f"while_loop has made max_steps={bound} steps and its condition still holds, of "
            f"{shown(map_leaves(plain_values, carry))}{_place(cond)}: it may make no more. Allow "
            "more steps, or look why the condition does not come to an end"
        )

    recorder = active_recorder()
    if recorder is not None:
        found = recorded_search(
            recorder,
            cond,
            lambda carry: _carried(resolved(body)(carry), carry, "body"),
            *(init, bound, endless),
        )
        if found is not None:
            return found[0]
    holds, call, carry, step = resolved(cond), resolved(body), init, 0
    while holds(carry):
        if step == bound:
            raise endless(carry)
        carry = _carried(call(carry), carry, "body")
        step += 1
    return carry


def _place(function: Callable[..., Any]) -> str:
    """Say where a function stands."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f" at {code.co_filename}:{code.co_firstlineno}"


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
    made, chosen = [], bool(plain_values(pred))
    for f, is_chosen in ((true_fun, chosen), (false_fun, not chosen)):
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
        return f(*arguments) if recorder is None else recorded_again(recorder, f, arguments)

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
