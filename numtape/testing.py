"""Checking derivatives against what needs no derivative rule.

For users who test their own functions, and for numtape's own tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, NumtapeError
from numtape.functions.api import jacfwd, jacrev
from numtape.functions.recording import check_callable, record_call
from numtape.functions.signature import read_call
from numtape.functions.trees import flatten

__all__ = ["DerivativeCheck", "DerivativeError", "check_derivatives"]

Floats = npt.NDArray[np.float64]


class DerivativeError(NumtapeError, AssertionError):
    """Derivatives disagree with differences of the function, or with each other.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.check_derivatives(lambda x: abs(x), 0.0001)  # a kink within a step of the point
    Traceback (most recent call last):
    numtape.testing.DerivativeError: ...
    """

    code = "derivative-mismatch"


@dataclass(frozen=True)
class DerivativeCheck:
    """What `numtape.check_derivatives` found.

    Attributes
    ----------
    jacobian : float64 array (outputs, inputs)
        By numtape, forward.
    differences : float64 array (outputs, inputs)
        By extrapolated central differences.
    error : float
        Largest difference of the two beyond what rounding of the function
        explains, relative to the largest entry of its row.
    modes : float
        Largest difference of forward and reverse mode, likewise.
    second : float
        Largest difference of second derivatives from differences of the first, relative to
        the largest second derivative of the same output; 0 where they were not asked for.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.check_derivatives(lambda x, y: x * y, 2.0, 5.0).jacobian
    array([[5., 2.]])
    """

    jacobian: Floats
    differences: Floats
    error: float
    modes: float
    second: float = 0.0


def check_derivatives(
    function: Callable[..., Any],
    *arguments: Any,
    rtol: float = 1e-6,
    step: float = 1e-3,
    order: int = 1,
) -> DerivativeCheck:
    """Compare a function's derivatives with central differences, and forward with reverse.

    Parameters
    ----------
    function : callable
        Plain NumPy code.
    *arguments
        Where to compare. All floats in them are differentiated by.
    rtol : float
        The relative error allowed against differences; forward and reverse mode
        must agree to 1e-9.
    step : float
        Largest relative step. Central differences at this step, a half and a
        quarter of it are extrapolated to step 0, which leaves errors of about
        1e-9 for smooth functions.
    order : 1 or 2
        With 2, second derivatives are compared too, with differences of the first ones that
        numtape gives. That notices a kink that smooths out unseen; see
        :doc:`/explanation/kinks`.

    Returns
    -------
    DerivativeCheck

    Raises
    ------
    DerivativeError
        Where they disagree; it names the worst entry, both numbers and the usual causes.
    InputError
        Where `order` is neither 1 nor 2.

    Notes
    -----
    Costs six calls of the function for each input; second derivatives cost six Jacobians for
    each.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> bool(nt.check_derivatives(lambda x: np.sin(x) * x[0], np.array([1.0, 2.0])).error < 1e-8)
    True
    """
    check_callable(function, "check_derivatives", "check_derivatives(f, x)")
    if order not in (1, 2):
        raise InputError(
            f"check_derivatives(..., order={order!r}): first and second derivatives can be "
            "compared. Write order=1 or order=2"
        )
    call = read_call(arguments)
    tape = record_call(function, call)
    point = call.point().copy()
    inputs = np.arange(len(point))
    _, _, forward = tape.runner.jacobian(point, inputs, "forward")
    _, _, reverse = tape.runner.jacobian(point, inputs, "reverse")

    def joined(x: Any) -> Any:
        """All outputs as a vector, of all inputs as a vector."""
        leaves = []
        start = 0
        for value in call.inputs:
            leaves.append(x[start : start + value.size].reshape(value.shape))
            start += value.size
        leaves = [leaf if np.ndim(leaf) else leaf.item() for leaf in leaves]
        outputs, _ = flatten(function(*call.arguments(leaves)))
        return np.concatenate([np.zeros(0), *(np.ravel(output) for output in outputs)])

    def plain(x: Floats) -> Floats:
        return np.asarray(joined(x))

    value, recorded = plain(point), np.empty(len(tape.flat.outputs))
    tape.runner.evaluate(point, recorded)
    if not np.allclose(value, recorded, rtol=1e-12, atol=0.0, equal_nan=True):
        raise DerivativeError(
            f"the function gives {value!r}, and {recorded!r} when recorded: both must be the same. "
            "It looks at more than the numbers it is given: their type (isinstance), random "
            "numbers, the clock, or something outside that changes"
        )
    differences, noise = _differences(plain, point, value, step)
    error, place = _worst(forward, differences, noise)
    modes, _ = _worst(forward, reverse, np.zeros_like(noise))
    if not modes <= 1e-9:
        raise DerivativeError(
            f"forward and reverse mode differ by {modes:.3g}, relatively: they must agree to "
            "1e-9. This is an error in numtape; please report the function"
        )
    if not error <= rtol:
        row, column = place
        found, expected = float(forward[place]), float(differences[place])
        raise DerivativeError(
            f"the derivative of output {row} by input {column} is {found!r}, and central "
            f"differences give {expected!r}: they differ by {error:.3g}, relatively, and "
            f"must agree to rtol={rtol}. Where the function has a kink or noise near the point, "
            "move the point or change step; a function that depends on anything but its "
            "arguments (random numbers, the clock) cannot be recorded"
        )
    second = _second_order(joined, point, rtol, step) if order == 2 else 0.0
    return DerivativeCheck(forward, differences, error, modes, second)


def _second_order(function: Callable[[Any], Any], point: Floats, rtol: float, step: float) -> float:
    """Compare second derivatives with differences of the first; the largest error."""
    first = jacrev(function)
    found: Floats = np.asarray(jacfwd(first)(point))
    outputs = len(found)
    differences, noise = _differences(
        lambda x: np.ravel(first(x)), point, np.ravel(first(point)), step
    )
    by_output = (
        each.reshape(outputs, len(point) ** 2)
        for each in (found, differences, noise * np.ones(len(point)))
    )
    error, (output, place) = _worst(*by_output)
    if not error <= rtol:
        i, j = divmod(place, len(point))
        expected = float(differences.reshape(found.shape)[output, i, j])
        raise DerivativeError(
            f"the second derivative of output {output} by inputs {i} and {j} is "
            f"{float(found[output, i, j])!r}, and differences of the first derivative give "
            f"{expected!r}: they differ by {error:.3g}, relatively, and must agree "
            f"to rtol={rtol}. At a kink that smooths out, write the function with "
            "r**2 in place of the root r (the page on kinks says which forms are seen); where "
            "it has a kink beside the point, move the point or change step"
        )
    return error


def _differences(
    function: Callable[[Floats], Floats], x: Floats, value: Floats, step: float
) -> tuple[Floats, Floats]:
    """Central differences by each input at three steps, extrapolated to step 0 (Richardson).

    `value` is the function's at x. The second result, a column, is what its rounding can make
    of a derivative.
    """
    columns = []
    largest = np.abs(value)
    for column in range(len(x)):
        estimates = []
        for k in range(3):
            h = step * max(1.0, abs(x[column])) / 2**k
            above, below = x.copy(), x.copy()
            above[column] += h
            below[column] -= h
            ends = function(above), function(below)
            largest = np.maximum(largest, np.abs(ends).max(axis=0))
            estimates.append((ends[0] - ends[1]) / (above[column] - below[column]))
        once = [(4 * b - a) / 3 for a, b in pairwise(estimates)]
        columns.append((16 * once[1] - once[0]) / 15)
    differences = np.array(columns).reshape(len(x), len(largest)).T
    return differences, np.finfo(float).eps * largest[:, None] / (step / 4) * 100


def _worst(a: Floats, b: Floats, noise: Floats) -> tuple[float, tuple[int, int]]:
    """The largest difference beyond noise, relative to the scale of its row, and its place."""
    if a.size == 0:
        return 0.0, (0, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.maximum(np.abs(a), np.abs(b)).max(axis=1, keepdims=True)
        excess = np.maximum(np.abs(a - b) - noise, 0.0)
        relative = np.where(excess == 0.0, 0.0, excess / scale)
    relative[(np.isnan(a) & np.isnan(b)) | (a == b)] = 0.0
    relative[np.isnan(relative)] = np.inf
    place = np.unravel_index(int(np.argmax(relative)), relative.shape)
    return float(relative[place]), (int(place[0]), int(place[1]))
