"""Every exception numtape raises on purpose.

All of them derive from `NumtapeError`, and each also derives from the built-in
exception a NumPy user would expect in its place. Messages are composed where
the error is noticed; each names the value, the rule it broke and the remedy.
Nothing else lives here, so every other module may import this one.
"""

__all__ = [
    "BranchError",
    "InputError",
    "NativeCodeWarning",
    "NumtapeError",
    "OutputError",
    "TapeError",
    "TraceError",
    "UnsupportedError",
]


class NumtapeError(Exception):
    """Base of every exception raised by numtape on purpose."""


class TraceError(NumtapeError, TypeError):
    """A traced value was used in a way that would lose its derivative."""


class UnsupportedError(TraceError):
    """A NumPy function (or a form of one) that numtape cannot record."""


class InputError(NumtapeError, ValueError):
    """An argument has the wrong structure, shape or type."""


class OutputError(NumtapeError, ValueError):
    """A recorded function returned something that cannot be differentiated."""


class TapeError(NumtapeError, ValueError):
    """A tape is malformed, or was asked for something it does not hold."""


class BranchError(NumtapeError, RuntimeError):
    """A comparison came out otherwise than when the tape was recorded.

    Attributes
    ----------
    guard : int
        Index of the first guard of the tape that did not hold.
    outcome : float
        What the guarded value is at this point.
    point : int or None
        The number of the first such point in a batch.
    """

    def __init__(self, message: str, guard: int, outcome: float, point: int | None = None) -> None:
        super().__init__(message)
        self.guard = guard
        self.outcome = outcome
        self.point = point


class NativeCodeWarning(RuntimeWarning):
    """No machine code could be made for a tape, which is interpreted instead."""
