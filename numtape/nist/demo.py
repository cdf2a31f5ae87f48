"""The main demo: all NIST nonlinear regression problems, fitted with numtape's Jacobian.

Here live the recording of a problem's residual, the timing against SciPy's finite
differences, and the table. This is the only module of the package that imports the
engine of numtape, and the only one that needs rich, which is imported where it is
used because it belongs to an optional extra. How a fit is done is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import median
from timeit import Timer
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import approx_fprime

import numtape as nt
from numtape.errors import InputError
from numtape.nist.fit import Fit, Jacobian, fit
from numtape.nist.problems import MODELS, Problem, load

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Row", "numtape_jacobian", "run"]

# A fit counts as right when every parameter agrees to at least this many digits.
REQUIRED_DIGITS = 6

REPEATS = 5
SECONDS_PER_REPEAT = 2e-3

CAPTION = (
    "Digits: agreement with the certified parameters and standard deviations, of the one that "
    "agrees least; NIST certifies 11. Lanczos1 has residuals near 1e-13, of which float64 holds "
    "some three digits, and so its standard deviations, proportional to them, hold no more.",
    "Evaluations: of the residual + of the Jacobian. Every fit has the same settings: SciPy "
    'least_squares, trust region reflective, x_scale="jac", every tolerance 1e-15; then '
    "Gauss-Newton steps for as long as they shorten the residual's projection onto the columns "
    "of the Jacobian.",
    "Time: one residual and one Jacobian at the start, with numtape and with SciPy's forward "
    "differences (approx_fprime, its own overhead included) of the same NumPy function; best of "
    "5 repeats, in microseconds. Ratio: how many times as long the differences take.",
)


@dataclass(frozen=True)
class Row:
    """One fit and how long a residual and its Jacobian take at its start.

    Attributes
    ----------
    problem : Problem
        The data set.
    start : int
        1 or 2, as NIST numbers the starting points.
    fit : Fit
        Where the fit ended.
    numtape_microseconds, difference_microseconds : float
        Time of one residual and Jacobian with numtape, and with finite differences.
    """

    problem: Problem
    start: int
    fit: Fit
    numtape_microseconds: float
    difference_microseconds: float

    @property
    def ratio(self) -> float:
        """Return how many times as long finite differences take."""
        return self.difference_microseconds / self.numtape_microseconds

    @property
    def succeeded(self) -> bool:
        """Return whether every parameter agrees to `REQUIRED_DIGITS`."""
        return self.fit.digits_parameters >= REQUIRED_DIGITS


def run(console: Console | None = None, limit: int | None = None) -> int:
    """Fit every data set from both of its starts and print how each went.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to print; the terminal by default.
    limit : int, optional
        Fit only this many data sets, in alphabetical order.

    Returns
    -------
    int
        Exit status: 0 if every fit agrees with the certified parameters to
        `REQUIRED_DIGITS`, 1 otherwise.
    """
    if limit is not None and limit < 1:
        raise InputError(
            f"limit is {limit}, but at least one data set must be fitted; pass a positive "
            "number, or None for all of them"
        )
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        raise SystemExit(
            'the demo prints with rich, which is not installed; run: pip install "numtape[cli]"'
        ) from None
    console = console or Console()
    names = list(islice(MODELS, limit))
    rows = []
    # Refreshed by hand, since the thread that would do it disturbs the timing.
    with Progress(console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=2 * len(names))
        for name in names:
            problem = load(name)
            for start in (1, 2):
                progress.update(task, description=f"{name}, start {start}", refresh=True)
                rows.append(_measure(problem, start))
                progress.update(task, advance=1)
    console.print(_table(rows))
    right = sum(row.succeeded for row in rows)
    console.print(
        f"{right} of {len(rows)} fits agree with the certified parameters to at least "
        f"{REQUIRED_DIGITS} digits; finite differences take {median(r.ratio for r in rows):.1f} "
        "times as long (median)."
    )
    return 0 if right == len(rows) else 1


def numtape_jacobian(
    problem: Problem, start: NDArray[np.float64]
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], Jacobian]:
    """Record the residual of a problem once.

    Parameters
    ----------
    problem : Problem
        The data set.
    start : ndarray of shape (p,)
        The parameters at which to record.

    Returns
    -------
    residual, jacobian : callable
        Functions of the parameters alone, of shapes (n,) and (n, p).
    """
    tape = nt.record(problem.residual, start, problem.x, problem.y)

    def residual(b: NDArray[np.float64]) -> NDArray[np.float64]:
        value: NDArray[np.float64] = tape(b, problem.x, problem.y)
        return value

    def jacobian(b: NDArray[np.float64]) -> NDArray[np.float64]:
        derivative: NDArray[np.float64] = tape.jacobian(b, problem.x, problem.y)
        return derivative

    return residual, jacobian


def _measure(problem: Problem, start: int) -> Row:
    """Fit from one start and time a residual and a Jacobian there."""
    b = problem.starts[start - 1]
    residual, jacobian = numtape_jacobian(problem, b)
    # The steps least_squares takes by default. The first of the evaluations made by
    # approx_fprime is the residual itself, so it is not called apart from that.
    steps = np.sqrt(np.finfo(np.float64).eps) * np.abs(b)
    return Row(
        problem=problem,
        start=start,
        fit=fit(problem, b, jacobian),
        numtape_microseconds=_microseconds(lambda: (residual(b), jacobian(b))),
        difference_microseconds=_microseconds(
            lambda: approx_fprime(b, problem.residual, steps, problem.x, problem.y)
        ),
    )


def _microseconds(call: Callable[[], Any]) -> float:
    """Return the time of one call, the best of several short repeats."""
    # Overflow at a far start is part of the problem, not of interest to who reads the table.
    with np.errstate(all="ignore"):
        timer = Timer(call)
        timer.timeit(1)  # The first call may compile.
        calls = max(1, round(SECONDS_PER_REPEAT / timer.timeit(1)))
        return min(timer.repeat(REPEATS, calls)) / calls * 1e6


def _table(rows: list[Row]) -> Table:
    """Return the rows as a table for rich to print."""
    from rich import box
    from rich.table import Table

    # Narrow enough for a terminal of 80 columns.
    table = Table(
        title="NIST StRD nonlinear regression",
        caption="\n".join(CAPTION),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("set")
    table.add_column("level")
    for heading in (
        "start",
        "digits of\nparameters",
        "digits of\ndeviations",
        "evalu-\nations",
        "numtape\n(µs)",
        "SciPy\n(µs)",
        "ratio",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.problem.name,
            row.problem.difficulty,
            str(row.start),
            f"{row.fit.digits_parameters:.1f}",
            f"{row.fit.digits_deviations:.1f}",
            f"{row.fit.residual_evaluations}+{row.fit.jacobian_evaluations}",
            f"{row.numtape_microseconds:.1f}",
            f"{row.difference_microseconds:.1f}",
            f"{row.ratio:.1f}",
            style=None if row.succeeded else "red",
        )
    return table
