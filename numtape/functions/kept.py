"""What is kept for functions given to `jvp` and its like, which have no callable to keep it."""

import math
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from numtape.functions.paths import Recordings
from numtape.locks import fresh_lock
from numtape.trace.resolve import callback

__all__ = ["KEPT", "KEPT_LOCK", "kept", "recordings_of"]

KEPT: WeakKeyDictionary[Callable[..., Any], dict[Any, Any]] = WeakKeyDictionary()
KEPT_LOCK = fresh_lock()


def kept(function: Callable[..., Any], key: Any, make: Callable[[Callable[..., Any]], Any]) -> Any:
    """Return what `make` gives for a function, made once and kept as long as the function lives."""
    own = None
    with KEPT_LOCK, suppress(TypeError):  # where there are no weak references to it
        own = KEPT.setdefault(function, {})
    if own is None:
        return make(function)
    if key not in own:
        # It calls the function through a weak reference, or it would keep it alive.
        own[key] = make(_Weakly(function))
    return own[key]


def recordings_of(
    function: Callable[..., Any], has_aux: bool, room: float = math.inf
) -> Recordings:
    """Return the recordings of a function, made once."""
    recordings: Recordings = kept(
        function, ("recordings", has_aux, room), lambda f: Recordings(f, has_aux, room=room)
    )
    return recordings


class _Weakly:
    """Calls a function without keeping it alive."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._reference = weakref.ref(function)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        function = self._reference()
        assert function is not None  # whoever calls the recordings holds it
        return function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return callback(self.__wrapped__)(*arguments, **named)
