"""All 27 data sets from both starts, with the Jacobian that numtape records.

This is the claim of the main demo: every certified parameter is reached from every
start that NIST gives.
"""

import numpy as np
import pytest

from numtape.nist.demo import numtape_jacobian
from numtape.nist.fit import fit
from numtape.nist.problems import MODELS, load


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_fit_reaches_the_certified_values(name: str, start: int) -> None:
    problem = load(name)
    b = problem.starts[start - 1]
    residual, jacobian = numtape_jacobian(problem, b)
    np.testing.assert_allclose(
        residual(b), problem.residual(b, problem.x, problem.y), rtol=1e-12, atol=1e-12
    )
    assert jacobian(b).shape == (problem.y.size, b.size)
    found = fit(problem, b, jacobian)
    assert found.success
    assert found.digits_parameters >= 6
    # The residuals of Lanczos1 are near 1e-13, of which float64 holds some three digits.
    assert found.digits_deviations >= (2 if name == "Lanczos1" else 6)
