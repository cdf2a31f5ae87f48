"""What every module here uses: the registering decorator, and checks of options.

NumPy's functions are registered by name, so that one a NumPy release does not
have is passed over.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace.integers import are_whole, plainly
from numtape.trace.locations import user_location
from numtape.trace.recorder import Recorder
from numtape.trace.traced import (
    NUMPY_FUNCTIONS,
    Traced,
    TracedScalar,
    as_floats,
    as_integers,
    as_traced,
    innermost,
    lift,
    moved,
    wrap,
)

__all__ = [
    "LINEAR",
    "axes_of",
    "check_finite",
    "constants_of",
    "implements",
    "in_type",
    "integers_of",
    "is_kept",
    "move",
    "no_dtype",
    "no_options",
    "numpy_function",
    "refuses",
    "traced",
    "traced_or_array",
]


def numpy_function(name: str) -> Any:
    """Return NumPy's function of that name, ``"sum"`` or ``"linalg.norm"``, or None."""
    function: Any = np
    for part in name.split("."):
        function = getattr(function, part, None)
    return function


# Of functions that are linear in some parameters, as moving elements and adding them up is:
# the function, what was registered for it, and these parameters. Of complex numbers they do
# the same to the real and to the imaginary parts.
LINEAR: list[tuple[Any, Callable[..., Any], tuple[str, ...]]] = []


def implements(*names: str, linear: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as what these of NumPy's do, ``"sum"`` or ``"linalg.norm"``.

    `linear` names the parameters that it is linear in, for complex numbers.
    """

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            function = numpy_function(name)
            if function is not None:
                NUMPY_FUNCTIONS[function] = implementation
                if linear:
                    LINEAR.append((function, implementation, tuple(linear.split())))
        return implementation

    return register


def refuses(reason: str, *names: str) -> None:
    """Register functions that have no rule, with the reason or the nearest supported way."""
    for name in names:

        def refusal(*arguments: Any, _name: str = name, **options: Any) -> Any:
            raise UnsupportedError(
                f"np.{_name} was called with a traced value at {user_location()}, and numtape has "
                f"no rule for it: {reason}"
            )

        implements(name)(refusal)


def move(function: Callable[..., Any], *operands: Any) -> Any:
    """Apply `function`, which only moves elements, to the operands' slots and to their values.

    What it returns, an array or a list or tuple of them, is wrapped.
    """
    recorder = innermost(*operands)
    lifted = [_as_numpys(recorder, operand) for operand in operands]
    slots = function(*(slots for slots, _ in lifted))
    values = function(*(values for _, values in lifted))
    given = [pair for pair in zip(operands, lifted, strict=True) if isinstance(pair[0], Traced)]

    def made(slots: Any, values: Any) -> Any:
        for operand, (_, own) in given:
            if values is own:  # NumPy gave what it was given
                return operand
        return moved(recorder, slots, values)

    if isinstance(slots, list | tuple):
        return type(slots)(made(*pair) for pair in zip(slots, values, strict=True))
    return made(slots, values)


def _as_numpys(recorder: Recorder, operand: Any) -> tuple[Any, Any]:
    """Return an operand's slots and values: arrays for an array, NumPy's scalars for a scalar."""
    slots, values = (np.asarray(each) for each in lift(recorder, operand))
    return (slots[()], values[()]) if isinstance(operand, TracedScalar) else (slots, values)


def constants_of(recorder: Recorder, values: Any) -> Any:
    """Return a traced array of constants that may be assigned to, laid out as `values` are."""
    values = np.array(values)
    slots = np.empty_like(values, np.int64)
    slots[...] = recorder.constant_array(values.astype(np.float64))
    return moved(recorder, slots, values)


def integers_of(recorder: Recorder, values: Any) -> Any:
    """Return a traced array of integers that are constants."""
    return wrap(recorder, recorder.constant_array(np.array(values, np.float64)).copy(), values)


def traced(operand: Any, *others: Any) -> Any:
    """Return an operand, a list of traced scalars for example, as a traced value.

    Among several recordings it is that of the innermost of the operand and the others.
    """
    return as_traced(innermost(operand, *others), operand)


def in_type(operand: Any, dtype: Any) -> Any:
    """Return a traced value as ``dtype=`` asks; for other types it is guarded, and plain."""
    if dtype is None:
        return operand
    if np.dtype(dtype) == np.float64:
        return as_floats(operand)
    if not are_whole(operand):
        no_dtype(dtype)
    if np.dtype(dtype) == np.int64:
        return as_integers(operand)
    return plainly(np.asarray, operand)


def traced_or_array(operand: Any) -> Any:
    """Return a traced value as it is, anything else as an array."""
    return operand if isinstance(operand, Traced) else np.asarray(operand)


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Return the axes that `axis` names, in order, counted from the first."""
    if axis is None or (rank == 0 and axis in (0, -1)):
        return tuple(range(rank))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(np.lib.array_utils.normalize_axis_index(int(a), rank) for a in axes))


def is_kept(keepdims: Any) -> bool:
    """Return whether `keepdims` was given, and true."""
    return keepdims is not np._NoValue and bool(keepdims)


def no_dtype(dtype: Any) -> None:
    """Refuse any dtype but float64."""
    if dtype is not None and np.dtype(dtype) != np.float64:
        raise UnsupportedError(
            f"dtype={dtype!r} was asked for, of a traced value at {user_location()}: numtape "
            "computes in float64. Leave dtype out, or convert outside the recorded function",
            code="unsupported-option",
        )


def no_options(function: str, **options: Any) -> None:
    """Refuse options that have no rule, unless they have their default value."""
    for name, value in options.items():
        if (
            value is not np._NoValue
            and value is not None
            and not (name == "where" and value is True)
        ):
            raise UnsupportedError(
                f"np.{function}(..., {name}={value!r}) of a traced value at {user_location()}: "
                f"numtape has no rule for {name}. Select or combine the elements before, for "
                "example with np.where",
                code="unsupported-option",
            )


def check_finite(name: str, array: Any) -> None:
    """Raise where an array holds nan or infinite numbers, and guard whether it does."""
    if not np.all(np.isfinite(np.stack(array) if isinstance(array, list | tuple) else array)):
        raise InputError(
            f"{name} at {user_location()} got {array!r}: it takes no nan and no infinite numbers. "
            "Replace them before, with np.where or np.nan_to_num"
        )
