"""Whether a function does with labelled arguments what it does with their values.

A recording sees the values of series, frames and labelled arrays alone, and their library may
compute otherwise: by labels, without missing values, dividing by n - 1. So the plain function
is called with them and compared with the recording: at the point, and at one near it, for at
one alone they may agree by chance, as standard deviations of equal numbers do.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, NumtapeError
from numtape.functions.labels import plain_values, told, with_values
from numtape.functions.result import TRACED
from numtape.functions.selection import cut
from numtape.functions.signature import Call
from numtape.functions.tape import Tape
from numtape.functions.trees import Structure, flatten, shown

__all__ = ["arguments_at", "check_agreement"]

Floats = npt.NDArray[np.float64]

# How far values are moved, and which way: towards 0 first, which leaves fewer domains.
_STEPS = (-0.1, 0.1, -1e-3, 1e-3, -1e-6, 1e-6)
_RULE = "its library computes otherwise than NumPy does with the values"
# Libraries add up in other orders: how far results may differ, of an element at either point,
# and of the largest element, for those that cancel at both.
_TOLERANCE, _ROUNDING = 1e-11, 1e-13


def check_agreement(tape: Tape, function: Callable[..., Any], call: Call) -> None:
    """Raise unless the plain function gives what a tape of it does, near a call.

    Parameters
    ----------
    tape : Tape
        On whose path the call is.
    function : callable
        Of the call's arguments.
    call : Call
        One with labelled leaves.
    """
    point = call.point().copy()
    near = _near(tape, call, point)
    if near is None:
        _refuse(
            call,
            "whose values the function compares so that no others are known to take this path",
            "whether its library computes as NumPy does with the values cannot be seen",
        )
    recorded = [_leaves(tape, each) for each in (point, near)]
    for where, moved, number in (("here", point, 0), ("near here", near, 1)):
        pairs = zip(_plain(tape, function, call, moved), recorded[number], strict=True)
        for k, (plain, own) in enumerate(pairs):
            sizes = _sizes(recorded[0][k], recorded[1][k])
            allowed = _TOLERANCE * sizes + _ROUNDING * np.max(sizes, initial=0.0)
            if plain.shape != own.shape or np.any(_distance(plain, own) > allowed):
                given, taken = _differing(plain, own)
                _refuse(
                    call,
                    f"with which the function gives {given} {where}, and {taken} with its values",
                    f"{_RULE}, by labels, without missing values or with other defaults (of std "
                    "and var)",
                )


def _refuse(call: Call, what: str, rule: str) -> NoReturn:
    assert call.labelled is not None
    place, leaf = next(iter(call.labelled.items()))
    number = list(call.signature.leaves())[place][0]
    raise InputError(
        f"argument {number} holds a {type(leaf).__name__}, {what}: {rule}. Pass {told(leaf)}",
        code="labelled-argument",
    )


def _differing(plain: Floats, own: Floats) -> tuple[str, str]:
    """Return two results as a message shows them: numbers that differ, or shapes that do."""
    if plain.shape != own.shape:
        return f"a result of shape {plain.shape}", f"one of shape {own.shape}"
    size = _sizes(plain, own) + np.finfo(float).tiny
    with np.errstate(over="ignore"):
        place = np.unravel_index(np.argmax(_distance(plain, own) / size), plain.shape)
    return repr(float(plain[place])), repr(float(own[place]))


def _distance(one: Floats, other: Floats) -> Floats:
    """Return how far results are apart, by elements: infinitely where only one is finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(one - other)
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(equal, 0.0, np.where(np.isnan(apart), np.inf, apart))


def _sizes(one: Floats, other: Floats) -> Floats:
    """Return the larger of two magnitudes, by elements; 0 for what is not finite."""
    finite = [np.where(np.isfinite(each), np.abs(each), 0.0) for each in (one, other)]
    return np.maximum(*finite)


# the recording


def _leaves(tape: Tape, point: Floats) -> list[Floats]:
    """Return the leaves of the result, and then the traced ones of the auxiliary result."""
    outputs = np.empty(len(tape.flat.outputs))
    tape.runner.evaluate(point, outputs)
    leaves = cut(outputs, (*tape.result.shapes, *tape.result.aux_shapes))
    return list(map(np.asarray, leaves))


def _near(tape: Tape, call: Call, point: Floats) -> Floats | None:
    """Return a point near another on the same path, with as many other values as can be.

    None where none can. Values that a path pins, such as those of flags, stay.
    """
    outputs = np.empty(len(tape.flat.outputs))
    tape.runner.evaluate(point, outputs)
    undefined = np.isnan(outputs)

    def holds(moved: Floats) -> bool:
        if tape.runner.evaluate(moved, outputs) is not None:
            return False
        return not np.any(np.isnan(outputs) & ~undefined)

    sizes = np.where(point == 0.0, -1.0, np.where(np.isfinite(point), point, 0.0))
    by = sizes * np.random.default_rng(0).uniform(0.5, 1.0, point.size)
    trials = [point + step * by for step in _STEPS]
    for trial in trials:
        if holds(trial):
            return trial
    near, start = point, 0
    for value in call.inputs:
        part = slice(start, start + value.size)
        start += value.size
        for trial in trials:
            moved = near.copy()
            moved[part] = trial[part]
            if holds(moved):
                near = moved
                break
    return None if near is point else near


# the plain function


def _plain(tape: Tape, function: Callable[..., Any], call: Call, point: Floats) -> list[Any]:
    """Return the leaves of what the plain function gives, ordered as those of the recording."""
    result = tape.result
    kinds: list[Any] = [TRACED] * len(result.shapes)
    structure = result.structure
    if result.aux is not None:
        kinds += result.aux_leaves
        structure = Structure(tuple, (), (result.structure, result.aux))
    try:
        with np.errstate(all="ignore"):
            leaves, found = flatten(function(*arguments_at(call, point)))
            if found != structure:
                _refuse(
                    call,
                    f"with which the function gives a result of structure {found}, and one of "
                    f"{structure} with its values",
                    _RULE,
                )
            pairs = zip(leaves, kinds, strict=True)
            return [
                np.asarray(plain_values(leaf), np.float64) for leaf, kind in pairs if kind is TRACED
            ]
    except NumtapeError:
        raise
    except Exception as error:
        _refuse(
            call,
            f"with which the function raises {type(error).__name__} ({shown(str(error))}), and "
            "gives a result with its values",
            _RULE,
        )


def arguments_at(call: Call, point: Floats) -> list[Any]:
    """Copy all arguments of a call, labelled ones too, with the values of a point."""
    labels = call.labelled or {}
    leaves: list[Any] = []
    start = traced = static = 0
    for place, shape in enumerate(call.signature.shapes):
        if shape is None:
            leaf = call.statics[static]
            static += 1
        else:
            stop = start + call.inputs[traced].size
            leaf = point[start:stop].reshape(shape).copy()
            if not isinstance(call.given[traced], np.ndarray):
                leaf = float(leaf) if call.pythons[traced] else leaf[()]
            start = stop
            traced += 1
        labelled = labels.get(place)
        leaves.append(leaf if labelled is None else with_values(labelled, leaf))
    built: list[Any] = call.signature.structure.build(leaves)
    return built
