"""Every exception and warning that numtape raises on purpose.

All exceptions derive from `NumtapeError`, and each also from the built-in exception
that a NumPy user would expect in its place; all warnings derive from `NumtapeWarning`.
Messages are composed where the error is noticed: each names the value, the rule it
broke and the remedy. Each error has a `code`, under which the catalogue in
``docs/reference/errors.md`` explains it with an example; a class has one of its own for
the errors that are given none, and here is the only place where the reference to the
catalogue is put into messages. Nothing else lives here, so every other module may
import this one.
"""

__all__ = [
    "AttributeUnsupportedError",
    "BoundsError",
    "BranchError",
    "CompatibilityError",
    "ConstantResultWarning",
    "InputError",
    "NativeCodeWarning",
    "NumtapeError",
    "NumtapeWarning",
    "OutputError",
    "PathsWarning",
    "SelectionWarning",
    "TapeError",
    "TraceError",
    "UnsupportedError",
]

_CATALOGUE = "reference/errors.md"


class _Catalogued:
    """What errors and warnings share: a code, and the reference to its explanation."""

    args: tuple[object, ...]
    code = ""

    def __init__(self, message: str, *details: object, code: str | None = None) -> None:
        self.args = (message, *details)
        if code is not None:
            self.code = code

    @property
    def anchor(self) -> str:
        """Where the documentation explains this error."""
        return f"{_CATALOGUE}#{self.code}"

    def __str__(self) -> str:
        return f"{self.args[0]} [docs: {self.anchor}]"


class NumtapeError(_Catalogued, Exception):
    """Base of every exception raised by numtape on purpose.

    Parameters
    ----------
    message : str
        The value, the rule it broke, and the remedy; ``error.args[0]`` later on.
    code : str, optional
        The heading in the catalogue of errors; by default that of the class.

    Notes
    -----
    ``error.code`` is that heading, and ``error.anchor`` where the documentation explains
    the error, from the root of the docs.

    Examples
    --------
    >>> import numtape as nt
    >>> try:
    ...     nt.grad(lambda x: [x, x])(1.0)
    ... except nt.NumtapeError as error:
    ...     print(type(error).__name__)
    OutputError
    """

    code = "numtape-error"


class TraceError(NumtapeError, TypeError):
    """A traced value was used in a way that would lose its derivative.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: np.float32(x))(1.0)
    Traceback (most recent call last):
    numtape.errors.TraceError: ...
    """

    code = "escaped-value"


class UnsupportedError(TraceError):
    """A NumPy function (or a form of one) that numtape cannot record.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: np.nextafter(x, 1.0))(0.0)
    Traceback (most recent call last):
    numtape.errors.UnsupportedError: ...
    """

    code = "unsupported-function"


class AttributeUnsupportedError(UnsupportedError, AttributeError):
    """An attribute or method of arrays that traced values do not have."""

    code = "unsupported-attribute"


class InputError(NumtapeError, ValueError):
    """An argument has the wrong structure, shape, type or value.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> tape = nt.record(np.sum, np.ones(3))
    >>> tape(np.ones(4))
    Traceback (most recent call last):
    numtape.errors.InputError: ...
    """

    code = "wrong-argument"


class BoundsError(InputError, IndexError):
    """An index is outside of the axis that it is for."""

    code = "out-of-bounds"


class OutputError(NumtapeError, ValueError):
    """A recorded function returned something that cannot be differentiated.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: x * x)(np.ones(3))  # nt.jacobian would do
    Traceback (most recent call last):
    numtape.errors.OutputError: ...
    """

    code = "wrong-result"


class TapeError(NumtapeError, ValueError):
    """A tape is malformed, or was asked for something it does not hold.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.record(lambda x: x * x, 2.0).text(lines=True)
    Traceback (most recent call last):
    numtape.errors.TapeError: ...
    """

    code = "wrong-tape"


class CompatibilityError(NumtapeError, RuntimeError):
    """A library that numtape builds on is not laid out as it was when numtape was written."""

    code = "unknown-library"


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

    code = "branch-changed"

    def __init__(self, message: str, guard: int, outcome: float, point: int | None = None) -> None:
        # All of them are `args`, of which a process makes another's error again.
        super().__init__(message, guard, outcome, point)
        self.guard = guard
        self.outcome = outcome
        self.point = point


class NumtapeWarning(_Catalogued, UserWarning):
    """Base of every warning given by numtape.

    Has a ``code`` and an ``anchor``, as errors have.

    Examples
    --------
    >>> import warnings
    >>> import numtape as nt
    >>> warnings.simplefilter("ignore", nt.NumtapeWarning)
    """

    code = "numtape-warning"


class PathsWarning(NumtapeWarning):
    """A function is recorded again and again, on ever new paths or for ever new shapes.

    Given once for a function, when it has more recordings than are kept: 1000, or as many
    as the environment variable NUMTAPE_MAX_PATHS says.

    Examples
    --------
    >>> import os, warnings
    >>> import numtape as nt
    >>> os.environ["NUMTAPE_MAX_PATHS"] = "3"
    >>> power = nt.grad(lambda x, n: x**n)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     slopes = [power(1.0, n) for n in range(1, 9)]
    >>> [warning.category.__name__ for warning in caught]
    ['PathsWarning']
    >>> slopes
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    >>> del os.environ["NUMTAPE_MAX_PATHS"]
    """

    code = "endless-paths"


class SelectionWarning(NumtapeWarning):
    """A function's tests on traced values are selections from now on, or no more.

    Given once for a function and a signature, when the paths through its branches become many:
    both arms of each test are computed then, and each point selects one. Given also where that was
    asked for and the plain call gives another value.

    Examples
    --------
    >>> import warnings
    >>> import numtape as nt
    >>> warnings.simplefilter("ignore", nt.SelectionWarning)  # not to see it
    """

    code = "selection"


class ConstantResultWarning(NumtapeWarning):
    """Nothing that a recorded function returned depends on its arguments.

    Its derivatives are zero. Given once for each recording.

    Examples
    --------
    >>> import warnings
    >>> import numtape as nt
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", nt.ConstantResultWarning)  # it is meant
    ...     nt.grad(lambda x: 3.0)(2.0)
    0.0
    """

    code = "constant-result"


class NativeCodeWarning(NumtapeWarning):
    """No machine code could be made for a tape, which is interpreted instead.

    Examples
    --------
    >>> import warnings
    >>> import numtape as nt
    >>> warnings.simplefilter("ignore", nt.NativeCodeWarning)  # not to see it
    """

    code = "native-code"
