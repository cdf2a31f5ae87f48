"""The data files are read as NIST wrote them, and every model is the certified one.

Nothing here differentiates or fits: the models are judged by the residual sum of
squares that NIST certifies for the certified parameters.
"""

import re
from importlib import resources

import numpy as np
import pytest

from numtape.nist import problems
from numtape.nist.problems import MODELS, load, parse

# Relative error allowed in the certified sum of squares, which itself has 11 figures.
ROUNDING_OF_CERTIFIED = 1e-10
# The residuals of Lanczos1 are about 1e-13, so rounding the certified parameters to 11
# figures changes them altogether; the sum can only be shown to be as small as that.
LARGEST_SUM_OF_LANCZOS1 = 1e-19


def _text(name: str) -> str:
    file = resources.files("numtape.nist").joinpath("data", f"{name}.dat")
    return file.read_text(encoding="ascii")


def test_every_file_has_a_model() -> None:
    data = resources.files("numtape.nist").joinpath("data")
    assert len(MODELS) == 27
    assert sorted(MODELS) == sorted(file.name.removesuffix(".dat") for file in data.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_counts_agree_with_the_header(name: str) -> None:
    text = _text(name)
    observations = int(re.findall(r"Number of Observations: +(\d+)", text)[0])
    parameters = int(re.findall(r"(\d+) Parameters", text)[0])
    predictors = int(re.findall(r"(\d+) Predictor", text)[0])
    problem = load(name)
    assert problem.name == name
    assert problem.difficulty in ("Lower", "Average", "Higher")
    assert problem.x.shape == ((observations,) if predictors == 1 else (observations, predictors))
    assert problem.y.shape == (observations,)
    assert problem.starts.shape == (2, parameters)
    assert problem.certified.shape == problem.certified_std.shape == (parameters,)
    for array in (problem.x, problem.y, problem.starts, problem.certified, problem.certified_std):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


@pytest.mark.parametrize("name", MODELS)
def test_degrees_of_freedom_are_those_of_the_certified_deviation(name: str) -> None:
    """The header of Rat43 misstates them, so they are judged by what follows from them."""
    problem = load(name)
    certified = float(re.findall(r"Residual Standard Deviation: +(\S+)", _text(name))[0])
    deviation = np.sqrt(problem.residual_sum_of_squares / problem.degrees_of_freedom)
    assert deviation == pytest.approx(certified, rel=ROUNDING_OF_CERTIFIED)


@pytest.mark.parametrize("name", MODELS)
def test_model_reproduces_the_certified_sum_of_squares(name: str) -> None:
    problem = load(name)
    residual = problem.residual(problem.certified, problem.x, problem.y)
    if name == "Lanczos1":
        assert residual @ residual < LARGEST_SUM_OF_LANCZOS1
    else:
        expected = pytest.approx(problem.residual_sum_of_squares, rel=1.5 * ROUNDING_OF_CERTIFIED)
        assert residual @ residual == expected


def test_values_of_one_file() -> None:
    problem = load("Misra1a")
    assert problem.difficulty == "Lower"
    assert problem.x[0] == 77.6
    assert problem.y[0] == 10.07
    assert problem.x[-1] == 760.0
    assert problem.y[-1] == 81.78
    assert problem.starts.tolist() == [[500.0, 0.0001], [250.0, 0.0005]]
    assert problem.certified.tolist() == [2.3894212918e02, 5.5015643181e-04]
    assert problem.certified_std.tolist() == [2.7070075241e00, 7.2668688436e-06]
    assert problem.residual_sum_of_squares == 1.2455138894e-01
    assert problem.degrees_of_freedom == 12


def test_nelson_has_two_predictors_and_a_logarithmic_response() -> None:
    problem = load("Nelson")
    assert problem.x[0].tolist() == [1.0, 180.0]
    assert problem.y[0] == np.log(15.0)


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no data set 'misra1a'.*choose one of Bennett5"):
        load("misra1a")


def test_data_set_without_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _text("Misra1a")
    monkeypatch.delitem(problems.MODELS, "Misra1a")
    with pytest.raises(ValueError, match="no model for the data set 'Misra1a'"):
        parse(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lines 61 to 74", "lines 61 to 73", "Misra1a: 13 observations read.* states 14"),
        ("lines 61 to 74", "lines 60 to 74", "Misra1a: lines .* must hold the same count"),
        ("14 Observations", "15 Observations", "Misra1a: 14 observations read.* states 15"),
        ("2 Parameters", "3 Parameters", "Misra1a: 2 parameters read.* states 3"),
        ("Level of Difficulty", "difficulty", "Misra1a: nothing in the file matches"),
        ("  2.7070075241E+00", "", "Misra1a: lines .* must hold the same count"),
        ("Dataset Name:", "", "Unnamed data set: nothing in the file matches"),
    ],
)
def test_damaged_file_is_refused(old: str, new: str, message: str) -> None:
    text = _text("Misra1a")
    assert old in text
    with pytest.raises(ValueError, match=message):
        parse(text.replace(old, new))


def test_file_without_certified_deviations_is_refused() -> None:
    text = _text("Misra1a").replace("  2.7070075241E+00", "").replace("  7.2668688436E-06", "")
    with pytest.raises(ValueError, match="3 values for each parameter"):
        parse(text)
