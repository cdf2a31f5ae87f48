"""Python's functions that ask for the truth of traced values, where tests are selections.

`max` and `min` of numbers, `any` and `all` select; `int` of a float is a traced integer, and
`bool` a traced bool. Elsewhere each of these is guarded.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from numtape.trace.branches.arms import truth
from numtape.trace.branches.merging import UnmergedError, land, lor, merged
from numtape.trace.resolve import selects_for
from numtape.trace.running import active_recorder
from numtape.trace.traced import Traced, TracedInteger, TracedScalar

__all__: list[str] = []


def _extreme(is_first: Callable[[Any, Any], Any], plain: Any) -> Callable[..., Any]:
    """Return `max` or `min`; `is_first` says whether the later of two is to be taken."""

    def extreme(*arguments: Any, **options: Any) -> Any:
        items = arguments if len(arguments) > 1 else arguments[:1]
        if options or not arguments:
            return plain(*arguments, **options)
        if len(arguments) == 1:
            if not isinstance(arguments[0], Iterable):
                return plain(*arguments)
            items = tuple(arguments[0])
        if not any(isinstance(each, TracedScalar) for each in items):
            return plain(items)
        try:
            return functools.reduce(later, items)
        except UnmergedError:
            return plain(items)

    def later(found: Any, item: Any) -> Any:
        test = truth(is_first(item, found))
        if isinstance(test, TracedScalar):
            return merged(test, item, found)
        return item if test else found

    return extreme


selects_for(max, functools.partial(_extreme, lambda item, found: item > found))
selects_for(min, functools.partial(_extreme, lambda item, found: item < found))


def _joining(join: Callable[[Any, Any], Any], end: bool, plain: Any) -> Callable[..., Any]:
    """Return `any` or `all`, which look no further where a plain item has decided."""

    def joined(iterable: Any) -> Any:
        found: Any = not end
        for each in iterable:
            test = truth(each)
            found = join(found, test if isinstance(test, Traced) else bool(test))
            if found is end:
                return end
        return found

    return joined


selects_for(any, functools.partial(_joining, lor, True))
selects_for(all, functools.partial(_joining, land, False))


def _integer(plain: Any) -> Callable[..., Any]:
    def integer(*arguments: Any, **options: Any) -> Any:
        x = arguments[0] if len(arguments) == 1 and not options else None
        recorder = active_recorder()
        if isinstance(x, TracedInteger) and x.recorder is recorder:
            return x
        if isinstance(x, TracedScalar) and type(x.primal) is float and math.isfinite(x.primal):
            return np.trunc(x).astype(int).item()
        return plain(*arguments, **options)

    return integer


selects_for(int, _integer)


def _truth(plain: Any) -> Callable[..., Any]:
    def as_bool(*arguments: Any) -> Any:
        test = truth(arguments[0]) if len(arguments) == 1 else None
        return test if isinstance(test, Traced) else plain(*arguments)

    return as_bool


selects_for(bool, _truth)
