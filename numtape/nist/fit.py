"""Least squares from one starting point, and how many certified figures it reaches.

Here live the solver's settings, the same for every data set and both starts, the
standard deviations of the parameters and the count of digits that agree with what
NIST certifies. The Jacobian is handed in, so any way of differentiating can be
judged by the same fit. Certified values are read only after a fit has ended, to
count digits; nothing here knows one data set from another, and nothing here
imports the engine of numtape.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from numtape.errors import InputError
from numtape.nist.problems import Problem

__all__ = ["CERTIFIED_DIGITS", "Fit", "Jacobian", "agreeing_digits", "fit"]

Jacobian = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# NIST gives this many significant figures, so no more can be seen to agree.
CERTIFIED_DIGITS = 11

# Just above the rounding of float64: the solver goes on until it can do no better.
TOLERANCE = 1e-15

# The slowest fit (Bennett5 from its first start) takes some 1400.
MOST_EVALUATIONS = 10_000

# Gauss-Newton gains a steady factor per step where residuals are large; the slowest
# set (ENSO) has gained all that rounding allows before this many.
MOST_POLISHING_STEPS = 50


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit ended, and how well that agrees with the certified values.

    Attributes
    ----------
    parameters, standard_deviations : ndarray of shape (p,)
        Solution, and the standard deviation of each parameter.
    residual_sum_of_squares : float
        Sum of squares at the solution.
    digits_parameters, digits_deviations : float
        Significant digits that agree with the certified values, of the parameter
        that agrees least.
    residual_evaluations, jacobian_evaluations : int
        How often each was called, polishing and standard deviations included.
    success : bool
        Whether the solver met one of its tolerances.
    status : str
        Why the solver stopped, in its own words.
    """

    parameters: NDArray[np.float64]
    standard_deviations: NDArray[np.float64]
    residual_sum_of_squares: float
    digits_parameters: float
    digits_deviations: float
    residual_evaluations: int
    jacobian_evaluations: int
    success: bool
    status: str


def fit(problem: Problem, start: NDArray[np.float64], jacobian: Jacobian) -> Fit:
    """Fit one data set from one starting point.

    The solver is SciPy's trust region reflective least squares, with parameters
    scaled by the columns of the Jacobian and every tolerance at `TOLERANCE`. Its
    answer is then polished by full Gauss-Newton steps, for as long as each brings
    the part of the residual that the Jacobian can explain closer to zero. Both are
    the same for every data set and start.

    Parameters
    ----------
    problem : Problem
        The data set.
    start : ndarray of shape (p,)
        Where to start, usually a row of ``problem.starts``.
    jacobian : callable
        ``jacobian(b)`` returns the derivative of the residuals, shape (n, p).

    Returns
    -------
    Fit
    """
    if np.shape(start) != problem.certified.shape:
        raise InputError(
            f"start has shape {np.shape(start)}, but {problem.name} needs one value for each of "
            f"its {problem.certified.size} parameters; pass a row of problem.starts"
        )

    def residual(b: NDArray[np.float64]) -> NDArray[np.float64]:
        value: NDArray[np.float64] = problem.residual(b, problem.x, problem.y)
        return value

    # A trial step may overflow the model or leave its domain; the solver sees that the
    # residuals are not finite and shortens the step, so no warning is due.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        solution = least_squares(
            residual,
            start,
            jac=jacobian,
            method="trf",
            x_scale="jac",
            ftol=TOLERANCE,
            xtol=TOLERANCE,
            gtol=TOLERANCE,
            max_nfev=MOST_EVALUATIONS,
        )
        parameters, polishing_steps = _polish(residual, jacobian, solution.x)
        last_residual, last_jacobian = residual(parameters), jacobian(parameters)
    sum_of_squares = float(last_residual @ last_residual)
    deviations = _standard_deviations(last_jacobian, sum_of_squares / problem.degrees_of_freedom)
    return Fit(
        parameters=parameters,
        standard_deviations=deviations,
        residual_sum_of_squares=sum_of_squares,
        digits_parameters=agreeing_digits(parameters, problem.certified),
        digits_deviations=agreeing_digits(deviations, problem.certified_std),
        residual_evaluations=int(solution.nfev) + polishing_steps + 1,
        jacobian_evaluations=int(solution.njev) + polishing_steps + 1,
        success=bool(solution.success),
        status=str(solution.message),
    )


def agreeing_digits(found: NDArray[np.float64], certified: NDArray[np.float64]) -> float:
    """Count the significant digits to which values agree with certified ones.

    Parameters
    ----------
    found, certified : ndarray of shape (p,)
        What was computed, and what it ought to be.

    Returns
    -------
    float
        The least, over all values, of minus the decimal logarithm of the relative
        error, from 0 (no digit, or not finite) to `CERTIFIED_DIGITS`.
    """
    worst = float(np.max(np.abs(found - certified) / np.abs(certified)))
    if not worst < 1.0:
        return 0.0
    return min(float(CERTIFIED_DIGITS), -float(np.log10(max(worst, np.finfo(float).tiny))))


def _polish(
    residual: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    jacobian: Jacobian,
    b: NDArray[np.float64],
) -> tuple[NDArray[np.float64], int]:
    """Return `b` after Gauss-Newton steps, and how many points were evaluated.

    The sum of squares is flat around its minimum, so a solver that watches it stops
    with half the digits that float64 has. What vanishes at the minimum is the
    residual's projection onto the columns of the Jacobian; a step is kept only when
    it makes that shorter, which needs no tolerance and cannot drift.
    """
    best, shortest, evaluations = b, np.inf, 0
    while evaluations < MOST_POLISHING_STEPS:
        evaluations += 1
        scaled, scale = _scaled(jacobian(b))
        value = residual(b)
        if not (np.isfinite(scaled).all() and np.isfinite(value).all()):
            break
        step = np.linalg.lstsq(scaled, -value)[0]
        length = float(np.linalg.norm(scaled @ step))
        if not length < shortest:
            break
        best, shortest = b, length
        b = b + step / scale
    return best, evaluations


def _standard_deviations(
    jacobian: NDArray[np.float64], residual_variance: float
) -> NDArray[np.float64]:
    """Return the square roots of the diagonal of ``residual_variance * inv(J.T @ J)``.

    Forming ``J.T @ J`` would square the condition number, so the diagonal comes from
    the singular values of the Jacobian with its columns scaled to equal length. It is
    infinite, or not a number, where the data cannot determine a parameter.
    """
    scaled, scale = _scaled(jacobian)
    if not np.isfinite(scaled).all():
        return np.full(scale.shape, np.nan)
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        spread = np.linalg.norm(directions / singular[:, np.newaxis], axis=0)
    deviations: NDArray[np.float64] = np.sqrt(residual_variance) * spread / scale
    return deviations


def _scaled(jacobian: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Jacobian with columns of length one, and the lengths they had."""
    lengths = np.linalg.norm(jacobian, axis=0)
    scale = np.where(lengths > 0, lengths, 1.0)
    return jacobian / scale, scale
