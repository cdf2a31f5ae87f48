"""Every exception numtape raises on purpose.

All of them derive from `NumtapeError`, and each also derives from the built-in
exception a NumPy user would expect in its place. Messages are composed where
the error is noticed; each names the value, the rule it broke and the remedy.
Nothing else lives here, so every other module may import this one.
"""

__all__ = [
    "BranchError",
    "InputError",
    "NumtapeError",
    "OutputError",
    "TapeError",
    "TraceError",
    "UnsupportedError",
]


class NumtapeError(Exception):
    """Base of every exception raised by numtape on purpose.

    Examples
    --------
    >>> import numtape as nt
    >>> try:
    ...     nt.grad(lambda x: [x, x])(1.0)
    ... except nt.NumtapeError as error:
    ...     print(type(error).__name__)
    OutputError
    """


class TraceError(NumtapeError, TypeError):
    """A traced value was used in a way that would lose its derivative.

    Examples
    --------
    >>> import math
    >>> import numtape as nt
    >>> nt.grad(lambda x: math.sin(x))(1.0)  # np.sin is recorded
    Traceback (most recent call last):
    numtape.errors.TraceError: ...
    """


class UnsupportedError(TraceError):
    """A NumPy function (or a form of one) that numtape cannot record.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: np.nextafter(x, 1.0))(0.0)
    Traceback (most recent call last):
    numtape.errors.UnsupportedError: ...
    """


class InputError(NumtapeError, ValueError):
    """An argument has the wrong structure, shape or type.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(np.sum, np.ones(3))
    >>> tape(np.ones(4))
    Traceback (most recent call last):
    numtape.errors.InputError: ...
    """


class OutputError(NumtapeError, ValueError):
    """A recorded function returned something that cannot be differentiated.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: x * x)(np.ones(3))  # nt.jacobian would do
    Traceback (most recent call last):
    numtape.errors.OutputError: ...
    """


class TapeError(NumtapeError, ValueError):
    """A tape is malformed, or was asked for something it does not hold.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.record(lambda x: x * x, 2.0).text(lines=True)
    Traceback (most recent call last):
    numtape.errors.TapeError: ...
    """


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

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(lambda x: x * x if x > 0.0 else -x, 2.0)
    >>> try:
    ...     tape(np.array([2.0, 3.0, -1.0]))
    ... except nt.BranchError as error:
    ...     error.point, error.guard, error.outcome
    (2, 0, 0.0)
    """

    def __init__(self, message: str, guard: int, outcome: float, point: int | None = None) -> None:
        super().__init__(message)
        self.guard = guard
        self.outcome = outcome
        self.point = point
