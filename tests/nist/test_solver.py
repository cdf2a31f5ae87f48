"""The solver and the count of digits, judged without the engine of numtape.

Jacobians here come from complex steps, which have no truncation error and share no
code with numtape. The fits of all data sets with numtape's Jacobian are in
`test_fit.py`.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from numtape.nist.fit import Jacobian, agreeing_digits, fit
from numtape.nist.problems import Problem, load

RELATIVE_STEP = 1e-30


def _complex_step_jacobian(problem: Problem) -> Jacobian:
    def jacobian(b: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = []
        for index, value in enumerate(b):
            step = RELATIVE_STEP * abs(value)
            shifted = b.astype(np.complex128)
            shifted[index] += 1j * step
            columns.append(problem.model(shifted, problem.x).imag / step)
        return np.stack(columns, axis=1)

    return jacobian


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("name", ["BoxBOD", "DanWood", "Lanczos3", "MGH09", "Misra1d", "Thurber"])
def test_fit_reaches_the_certified_values(name: str, start: int) -> None:
    problem = load(name)
    found = fit(problem, problem.starts[start - 1], _complex_step_jacobian(problem))
    assert found.success
    assert found.digits_parameters > 9
    assert found.digits_deviations > 9
    assert found.residual_sum_of_squares == pytest.approx(problem.residual_sum_of_squares, rel=1e-9)
    assert found.residual_evaluations >= found.jacobian_evaluations > 1


def test_fit_does_not_read_certified_values() -> None:
    problem = load("Misra1a")
    doubled = Problem(**{**vars(problem), "certified": 2 * problem.certified})
    jacobian = _complex_step_jacobian(problem)
    found = fit(problem, problem.starts[0], jacobian)
    blind = fit(doubled, problem.starts[0], jacobian)
    assert blind.parameters.tolist() == found.parameters.tolist()
    assert blind.standard_deviations.tolist() == found.standard_deviations.tolist()
    assert blind.digits_parameters == pytest.approx(np.log10(2))


def test_fit_that_fails_counts_no_digits() -> None:
    """With every derivative zero, any point looks like a minimum."""
    problem = load("Misra1a")
    found = fit(problem, problem.starts[0], lambda _: np.zeros((14, 2)))
    assert found.parameters.tolist() == problem.starts[0].tolist()
    assert found.digits_parameters == 0.0
    assert found.digits_deviations == 0.0


def test_polishing_that_overflows_keeps_the_solution() -> None:
    """With a Jacobian far too small the solver stops at once and the first step is huge."""
    problem = load("MGH17")
    accurate = _complex_step_jacobian(problem)
    found = fit(problem, problem.starts[1], lambda b: 1e-100 * accurate(b))
    assert found.parameters.tolist() == problem.starts[1].tolist()
    assert found.digits_parameters < 1.0


def test_data_that_determine_nothing_give_no_deviation() -> None:
    problem = load("Misra1a")
    found = fit(problem, problem.starts[0], lambda _: np.ones((14, 2)))
    assert found.standard_deviations.min() > 1e6
    assert found.digits_deviations == 0.0


def test_wrong_start_is_refused() -> None:
    problem = load("Misra1a")
    with pytest.raises(ValueError, match=r"start has shape \(2, 2\).*pass a row"):
        fit(problem, problem.starts, _complex_step_jacobian(problem))


@pytest.mark.parametrize(
    ("found", "digits"),
    [
        ([1.0, 200.0], 11.0),
        ([1.0 + 1e-14, 200.0], 11.0),
        ([1.001, 200.0], 3.0),
        ([1.001, 202.0], 2.0),
        ([1.0, -200.0], 0.0),
        ([1.0, np.inf], 0.0),
        ([np.nan, 200.0], 0.0),
    ],
)
def test_agreeing_digits(found: list[float], digits: float) -> None:
    assert agreeing_digits(np.array(found), np.array([1.0, 200.0])) == pytest.approx(digits)
