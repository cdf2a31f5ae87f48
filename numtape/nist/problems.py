"""The 27 nonlinear regression problems of the NIST Statistical Reference Datasets.

Here live the data sets' models, written as a scientist would write them in plain
NumPy, and the reader of the data files shipped beside this module (works of the
United States government, in the public domain, copied unchanged from
https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml). Each file carries the
observations, two starting points and the parameters and standard deviations that
NIST certifies to eleven figures. Nothing here fits or differentiates anything, and
nothing here imports the engine of numtape: the models must work on ordinary arrays.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numtape.errors import InputError

__all__ = ["MODELS", "RESPONSES", "Model", "Problem", "load", "parse"]

# A model is also called with arguments that only stand for arrays while it is
# recorded, so what goes in and comes out is left open here.
Model = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Problem:
    """One data set with its model and what NIST certifies about the fit.

    Attributes
    ----------
    name : str
        Name of the data set, as NIST spells it.
    difficulty : str
        "Lower", "Average" or "Higher".
    model : callable
        ``model(b, x)`` predicts the responses, shape (n,).
    x : ndarray of shape (n,) or (n, k)
        Predictor, or one column for each of k > 1 predictors.
    y : ndarray of shape (n,)
        Response, on the scale on which the model predicts it.
    starts : ndarray of shape (2, p)
        The two starting points: the first far from the solution, the second near.
    certified, certified_std : ndarray of shape (p,)
        Certified parameters and their standard deviations.
    residual_sum_of_squares : float
        Certified sum of squares at the certified parameters.
    degrees_of_freedom : int
        Observations less parameters.
    """

    name: str
    difficulty: str
    model: Model
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    starts: NDArray[np.float64]
    certified: NDArray[np.float64]
    certified_std: NDArray[np.float64]
    residual_sum_of_squares: float
    degrees_of_freedom: int

    def residual(self, b: Any, x: Any, y: Any) -> Any:
        """Return by how much the model exceeds each response: ``model(b, x) - y``."""
        return self.model(b, x) - y


def load(name: str) -> Problem:
    """Read one of the data sets shipped with the package.

    Parameters
    ----------
    name : str
        One of the keys of `MODELS`, such as "Misra1a".

    Returns
    -------
    Problem
    """
    if name not in MODELS:
        raise InputError(
            f"there is no data set {name!r}: the name must be one that NIST gave, spelled "
            f"as NIST does; choose one of {', '.join(MODELS)}"
        )
    file = resources.files(__package__).joinpath("data", f"{name}.dat")
    return parse(file.read_text(encoding="ascii"))


def parse(text: str) -> Problem:
    """Read a data set from the text of its file.

    The header of each file says on which lines the starting values, the certified
    values and the observations stand; those ranges are followed, and the counts
    the header states are checked against what was read.

    Parameters
    ----------
    text : str
        The whole file, as published by NIST.

    Returns
    -------
    Problem
    """
    name = _stated(text, r"Dataset Name: +(\w+)", "Unnamed data set")
    if name not in MODELS:
        raise InputError(
            f"there is no model for the data set {name!r}: each data set needs its model as a "
            "NumPy function; add one to MODELS"
        )
    parameters = _rows(text, "Starting Values", name)
    starts_and_certified = _floats([row.partition("=")[2] for row in parameters], name)
    if starts_and_certified.shape[1] != 4:
        raise InputError(
            f"{name}: {starts_and_certified.shape[1]} values for each parameter, but there must "
            "be four (two starts, a certified value and its standard deviation); restore the "
            "file as NIST published it"
        )
    observations = _floats(_rows(text, "Data", name), name)
    counts = {
        "parameters": (len(parameters), _stated(text, r"(\d+) Parameters", name)),
        "observations": (len(observations), _stated(text, r"(\d+) Observations", name)),
    }
    for what, (found, stated) in counts.items():
        if found != int(stated):
            raise InputError(
                f"{name}: {found} {what} read, but the header states {stated} and the two must "
                "agree; restore the file as NIST published it"
            )
    response = observations[:, 0]
    if name in RESPONSES:
        response = RESPONSES[name](response)
    predictors = observations[:, 1:]
    return Problem(
        name=name,
        difficulty=_stated(text, r"(\w+) Level of Difficulty", name),
        model=MODELS[name],
        x=(predictors[:, 0] if predictors.shape[1] == 1 else predictors).copy(),
        y=response.copy(),
        starts=starts_and_certified[:, :2].T.copy(),
        certified=starts_and_certified[:, 2].copy(),
        certified_std=starts_and_certified[:, 3].copy(),
        residual_sum_of_squares=float(_stated(text, r"Residual Sum of Squares: +(\S+)", name)),
        # Counted, not read: the header of Rat43 says 9 where its own residual standard
        # deviation follows from 11, which is what the counts give.
        degrees_of_freedom=len(observations) - len(parameters),
    )


def _stated(text: str, pattern: str, name: str) -> str:
    """Return what the header states where `pattern` has its group."""
    match = re.search(pattern, text)
    if match is None:
        raise InputError(
            f"{name}: nothing in the file matches {pattern!r}, but every header must state it; "
            "restore the file as NIST published it"
        )
    return match[1]


def _rows(text: str, section: str, name: str) -> list[str]:
    """Return the lines on which the header says that `section` stands."""
    first = int(_stated(text, rf"{section} +\(lines +(\d+) +to +\d+\)", name))
    last = int(_stated(text, rf"{section} +\(lines +\d+ +to +(\d+)\)", name))
    return text.splitlines()[first - 1 : last]


def _floats(rows: Sequence[str], name: str) -> NDArray[np.float64]:
    """Return the numbers of `rows`, which must be equally many in each."""
    try:
        return np.array([[float(word) for word in row.split()] for row in rows], np.float64)
    except ValueError as error:
        raise InputError(
            f"{name}: lines {rows[0]!r} to {rows[-1]!r} must hold the same count of numbers each "
            f"({error}); restore the file as NIST published it"
        ) from None


def power_of_shifted(b: Any, x: Any) -> Any:
    """Model Bennett5: superconductivity magnetization."""
    b1, b2, b3 = b
    return b1 * (b2 + x) ** (-1 / b3)


def saturating_exponential(b: Any, x: Any) -> Any:
    """Model BoxBOD and Misra1a: growth that levels off exponentially."""
    b1, b2 = b
    return b1 * (1 - np.exp(-b2 * x))


def exponential_over_linear(b: Any, x: Any) -> Any:
    """Model Chwirut1 and Chwirut2: ultrasonic calibration."""
    b1, b2, b3 = b
    return np.exp(-b1 * x) / (b2 + b3 * x)


def power_law(b: Any, x: Any) -> Any:
    """Model DanWood: energy radiated by a carbon filament."""
    b1, b2 = b
    return b1 * x**b2


def three_cycles(b: Any, x: Any) -> Any:
    """Model ENSO: the annual cycle and two of unknown period in atmospheric pressure."""
    b1, b2, b3, b4, b5, b6, b7, b8, b9 = b
    year = 2 * np.pi * x / 12
    second = 2 * np.pi * x / b4
    third = 2 * np.pi * x / b7
    return (
        b1
        + (b2 * np.cos(year) + b3 * np.sin(year))
        + (b5 * np.cos(second) + b6 * np.sin(second))
        + (b8 * np.cos(third) + b9 * np.sin(third))
    )


def gaussian_peak(b: Any, x: Any) -> Any:
    """Model Eckerle4: transmittance around one wavelength."""
    b1, b2, b3 = b
    return (b1 / b2) * np.exp(-0.5 * ((x - b3) / b2) ** 2)


def two_gaussians_on_decay(b: Any, x: Any) -> Any:
    """Model Gauss1, Gauss2 and Gauss3: two peaks on a decaying baseline."""
    b1, b2, b3, b4, b5, b6, b7, b8 = b
    baseline = b1 * np.exp(-b2 * x)
    first_peak = b3 * np.exp(-((x - b4) ** 2) / b5**2)
    second_peak = b6 * np.exp(-((x - b7) ** 2) / b8**2)
    return baseline + first_peak + second_peak


def cubic_over_cubic(b: Any, x: Any) -> Any:
    """Model Hahn1 and Thurber: thermal expansion of copper, electron mobility."""
    b1, b2, b3, b4, b5, b6, b7 = b
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


def quadratic_over_quadratic(b: Any, x: Any) -> Any:
    """Model Kirby2: line widths in scanning electron microscopy."""
    b1, b2, b3, b4, b5 = b
    return (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2)


def three_exponentials(b: Any, x: Any) -> Any:
    """Model Lanczos1, Lanczos2 and Lanczos3: decays that are hard to tell apart."""
    b1, b2, b3, b4, b5, b6 = b
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


def enzyme_rate(b: Any, x: Any) -> Any:
    """Model MGH09: the problem of Kowalik and Osborne."""
    b1, b2, b3, b4 = b
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


def thermistor(b: Any, x: Any) -> Any:
    """Model MGH10: the problem of Meyer."""
    b1, b2, b3 = b
    return b1 * np.exp(b2 / (x + b3))


def two_exponentials_above_constant(b: Any, x: Any) -> Any:
    """Model MGH17: the first problem of Osborne."""
    b1, b2, b3, b4, b5 = b
    return b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5)


def inverse_square_saturation(b: Any, x: Any) -> Any:
    """Model Misra1b: monomolecular adsorption."""
    b1, b2 = b
    return b1 * (1 - (1 + b2 * x / 2) ** (-2))


def inverse_root_saturation(b: Any, x: Any) -> Any:
    """Model Misra1c: monomolecular adsorption."""
    b1, b2 = b
    return b1 * (1 - (1 + 2 * b2 * x) ** (-0.5))


def hyperbolic_saturation(b: Any, x: Any) -> Any:
    """Model Misra1d: monomolecular adsorption."""
    b1, b2 = b
    return b1 * b2 * x * (1 + b2 * x) ** (-1)


def log_breakdown_strength(b: Any, x: Any) -> Any:
    """Model Nelson: the logarithm of dielectric breakdown strength, over time and temperature."""
    b1, b2, b3 = b
    time, temperature = x[:, 0], x[:, 1]
    return b1 - b2 * time * np.exp(-b3 * temperature)


def logistic_growth(b: Any, x: Any) -> Any:
    """Model Rat42: pasture yield."""
    b1, b2, b3 = b
    return b1 / (1 + np.exp(b2 - b3 * x))


def richards_growth(b: Any, x: Any) -> Any:
    """Model Rat43: dry weight of onions."""
    b1, b2, b3, b4 = b
    return b1 / (1 + np.exp(b2 - b3 * x)) ** (1 / b4)


def quantum_defect(b: Any, x: Any) -> Any:
    """Model Roszman1: quantum defects of an atom."""
    b1, b2, b3, b4 = b
    return b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi


MODELS: dict[str, Model] = {
    "Bennett5": power_of_shifted,
    "BoxBOD": saturating_exponential,
    "Chwirut1": exponential_over_linear,
    "Chwirut2": exponential_over_linear,
    "DanWood": power_law,
    "ENSO": three_cycles,
    "Eckerle4": gaussian_peak,
    "Gauss1": two_gaussians_on_decay,
    "Gauss2": two_gaussians_on_decay,
    "Gauss3": two_gaussians_on_decay,
    "Hahn1": cubic_over_cubic,
    "Kirby2": quadratic_over_quadratic,
    "Lanczos1": three_exponentials,
    "Lanczos2": three_exponentials,
    "Lanczos3": three_exponentials,
    "MGH09": enzyme_rate,
    "MGH10": thermistor,
    "MGH17": two_exponentials_above_constant,
    "Misra1a": saturating_exponential,
    "Misra1b": inverse_square_saturation,
    "Misra1c": inverse_root_saturation,
    "Misra1d": hyperbolic_saturation,
    "Nelson": log_breakdown_strength,
    "Rat42": logistic_growth,
    "Rat43": richards_growth,
    "Roszman1": quantum_defect,
    "Thurber": cubic_over_cubic,
}

# Data sets whose model predicts a function of the response that was observed.
RESPONSES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {"Nelson": np.log}
