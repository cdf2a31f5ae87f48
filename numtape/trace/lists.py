"""Nested lists of traced values and numbers as traced arrays: what `np.array` makes of them."""

from typing import Any

import numpy as np

from numtape.trace.traced import Traced, TracedScalar, has_traced, innermost, lift, moved

__all__ = ["LISTS", "gathered", "is_of_numbers", "with_arrays"]

LISTS = (list, tuple)


def gathered(values: Any) -> Any:
    """A nested list of traced values and numbers as one traced array, of NumPy's type for them.

    Rows of different lengths are NumPy's own error. Costs about 0.5 µs an element.
    """
    recorder = innermost(values)

    def parts(element: Any) -> tuple[Any, Any]:
        if isinstance(element, TracedScalar) and element.recorder is recorder:
            return element.slot, element.primal
        if type(element) in LISTS:
            pairs = [parts(each) for each in element]
            numbers = np.array([value for _, value in pairs])
            return np.array([slots for slots, _ in pairs], np.int64), numbers
        return lift(recorder, element)

    slots, numbers = parts(values)
    return moved(recorder, slots, numbers)


def is_of_numbers(values: Any) -> bool:
    """Whether nested lists have nothing but real numbers and arrays of them inside."""
    if type(values) in LISTS:
        return all(map(is_of_numbers, values))
    if isinstance(values, Traced):
        return True
    return np.asarray(values).dtype.kind in "fiub"


def with_arrays(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of one of NumPy's functions, with lists of traced floats as arrays.

    NumPy asks a list for nothing, so such a list would become an array of objects.
    """
    if not any(type(each) in LISTS for each in arguments):
        return arguments
    return tuple(
        gathered(each) if type(each) in LISTS and _has_floats(each) else each for each in arguments
    )


def _has_floats(values: Any) -> bool:
    """Whether a nested list of numbers has a traced float in it."""
    if not has_traced(values) or not is_of_numbers(values):
        return False
    return _kind(values) == "f"


def _kind(values: Any) -> str:
    if type(values) in LISTS:
        return "f" if any(_kind(each) == "f" for each in values) else "i"
    return "f" if isinstance(values, Traced) and values.dtype == np.float64 else "i"
