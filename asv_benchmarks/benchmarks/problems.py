"""The workloads, each written once, with the point at which it is measured.

A workload is plain NumPy code that is given its NumPy as the first argument, so
that a rival with a NumPy of its own can run it unchanged. It comes in one of two
styles: a loop of scalars reads the point element by element and never as a
whole; an array program has no Python loop. Data that a workload closes over are
NumPy's, and go through ``np.asarray`` before they meet what is differentiated.

What takes long or much memory is made small where `measure.SMALL` says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import numpy.typing
import scipy.special

from .measure import sized

__all__ = [
    "ARRAYS",
    "BATCHES",
    "GRADIENTS",
    "JACOBIANS",
    "PROBLEMS",
    "Batch",
    "Problem",
    "determinant",
    "helmholtz",
    "rosenbrock",
    "speelpenning",
]

Floats = numpy.typing.NDArray[numpy.float64]


class _NumPy:
    """NumPy, and of SciPy the error function under the name that it has elsewhere."""

    erf = scipy.special.erf

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)


_NUMPY = _NumPy()


@dataclass(frozen=True)
class Problem:
    """A function and a point.

    Attributes
    ----------
    name : str
    workload : callable
        ``workload(np, x)``: a number, or a vector of numbers.
    point : float64 vector
        Where it is measured.
    scalar_code : bool
        Whether it is a loop of scalars, and not an array program.
    """

    name: str
    workload: Callable[[Any, Any], Any]
    point: Floats
    scalar_code: bool

    def function(self, x: Any) -> Any:
        """The workload with NumPy itself, and SciPy's error function."""
        return self.workload(_NUMPY, x)


# Chained valleys; the function that optimisers are first tried on.


def rosenbrock_loop(np: Any, x: Any) -> Any:
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def rosenbrock_arrays(np: Any, x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


# Speelpenning's product: as cheap as a function of n variables can be, so what is
# measured is the cost of an instruction.


def speelpenning_loop(np: Any, x: Any) -> Any:
    product = x[0]
    for i in range(1, len(x)):
        product = product * x[i]
    return product


# The Helmholtz energy of a mixed fluid after Peng and Robinson, in the form that
# Griewank made a benchmark of; gas constant and temperature are 1.


def helmholtz_loop(np: Any, x: Any) -> Any:
    n = len(x)
    volume = 0.0
    for i in range(n):
        volume = volume + 0.1 * (i + 1) / n * x[i]
    attraction = 0.0
    for i in range(n):
        row = 0.0
        for j in range(n):
            row = row + x[j] / (i + j + 1)
        attraction = attraction + x[i] * row
    entropy = 0.0
    for i in range(n):
        entropy = entropy + x[i] * np.log(x[i] / (1.0 - volume))
    return entropy - _attraction_term(np, attraction, volume)


def helmholtz_arrays(np: Any, x: Any) -> Any:
    n = x.shape[0]
    count = numpy.arange(n)
    volume = np.sum(np.asarray(0.1 * (count + 1) / n) * x)
    attraction = np.sum(x * np.matmul(np.asarray(1.0 / (count[:, None] + count + 1)), x))
    return np.sum(x * np.log(x / (1.0 - volume))) - _attraction_term(np, attraction, volume)


def _attraction_term(np: Any, attraction: Any, volume: Any) -> Any:
    ratio = (1.0 + (1.0 + math.sqrt(2.0)) * volume) / (1.0 + (1.0 - math.sqrt(2.0)) * volume)
    return attraction / (math.sqrt(8.0) * volume) * np.log(ratio)


def _helmholtz_point(n: int) -> Floats:
    return numpy.arange(1.0, n + 1) / (n * (n + 1) / 2)


# A determinant by minors, each expanded along its first row: products and sums alone,
# and more of them than of anything else that is as short to write.


def determinant_by_minors(np: Any, x: Any) -> Any:
    order = math.isqrt(len(x))
    return _minor(x, order, 0, tuple(range(order)))


def _minor(x: Any, order: int, row: int, columns: tuple[int, ...]) -> Any:
    """The determinant of the rows from `row` on, and of some columns."""
    if len(columns) == 1:
        return x[order * row + columns[0]]
    total = 0.0
    for place, column in enumerate(columns):
        others = columns[:place] + columns[place + 1 :]
        term = x[order * row + column] * _minor(x, order, row + 1, others)
        total = total - term if place % 2 else total + term
    return total


# One path of Heston's model of a share whose variance is random too, and what a
# call option pays at its end: a scalar program whose every step needs the last.

STEPS = 50
YEARS = 1.0
NORMALS: list[tuple[float, float]] = [
    (float(first), float(second))
    for first, second in numpy.random.default_rng(1).standard_normal((STEPS, 2))
]
# Price, variance, rate, reversion, mean variance, volatility, correlation, strike.
_HESTON_POINT = numpy.array([100.0, 0.04, 0.03, 1.5, 0.05, 0.4, -0.6, 60.0])


def heston_path(np: Any, x: Any) -> Any:
    price, variance = x[0], x[1]
    for first, second in NORMALS:
        price, variance = heston_step(np, x, price, variance, first, second)
    return heston_payoff(np, x, price)


def heston_step(np: Any, x: Any, price: Any, variance: Any, first: Any, second: Any) -> Any:
    """Price and variance one step later, driven by two normal random numbers."""
    rate, reversion, mean_variance, volatility, correlation = (x[i] for i in range(2, 7))
    step = YEARS / STEPS
    positive = np.maximum(variance, 0.0)
    root = np.sqrt(positive * step)
    shock = correlation * first + np.sqrt(1.0 - correlation * correlation) * second
    return (
        price * np.exp((rate - 0.5 * positive) * step + root * first),
        variance + reversion * (mean_variance - positive) * step + volatility * root * shock,
    )


def heston_payoff(np: Any, x: Any, price: Any) -> Any:
    """What the call option pays at the end, as seen from the start."""
    return np.exp(-x[2] * YEARS) * np.maximum(price - x[7], 0.0)


# Bundle adjustment: how far a point in space lands, seen through a camera, from
# where it was found in the picture. Rotation (3), centre (3), focal length,
# principal point (2) and distortion (2) of the camera; the point (3); a weight.

FOUND = (0.3, -0.2)
_BUNDLE_POINT = numpy.array(
    [0.1, -0.2, 0.3, 0.5, -0.4, -5.0, 1.2, 0.1, -0.05, 0.02, -0.003, 0.6, -0.7, 1.5, 0.9]
)


def reprojection(np: Any, x: Any) -> Any:
    distance = [x[11] - x[3], x[12] - x[4], x[13] - x[5]]
    u, v, w = _rotate(np, [x[0], x[1], x[2]], distance)
    u, v = u / w, v / w
    radius = u * u + v * v
    scale = x[6] * (1.0 + radius * (x[9] + radius * x[10]))
    return np.array([x[14] * (scale * u + x[7] - FOUND[0]), x[14] * (scale * v + x[8] - FOUND[1])])


def _rotate(np: Any, rotation: Any, vector: Any) -> Any:
    """Rodrigues' formula: the rotation's direction is the axis, its length the angle."""
    angle = np.sqrt(rotation[0] ** 2 + rotation[1] ** 2 + rotation[2] ** 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    a, b, c = rotation[0] / angle, rotation[1] / angle, rotation[2] / angle
    x, y, z = vector
    along = (a * x + b * y + c * z) * (1.0 - cosine)
    return [
        x * cosine + (b * z - c * y) * sine + a * along,
        y * cosine + (c * x - a * z) * sine + b * along,
        z * cosine + (a * y - b * x) * sine + c * along,
    ]


# Two fits to data: the loss over 1,000 rows of logistic regression, and of a
# network with one hidden layer of 32.

_random = numpy.random.default_rng(2)
FEATURES = _random.standard_normal((1000, 20))
SIGNS = numpy.where(FEATURES @ _random.standard_normal(20) > 0.0, 1.0, -1.0)
TARGETS = numpy.sin(FEATURES[:, 0]) * FEATURES[:, 1]
HIDDEN = 32
_REGRESSION_POINT = 0.1 * _random.standard_normal(20)
_NETWORK_POINT = 0.1 * _random.standard_normal(20 * HIDDEN + HIDDEN + HIDDEN + 1)


def logistic_regression(np: Any, x: Any) -> Any:
    return _logistic_loss(np, x, FEATURES, SIGNS)


def _logistic_loss(np: Any, x: Any, features: Floats, signs: Floats) -> Any:
    margins = np.asarray(signs) * np.matmul(np.asarray(features), x)
    return np.sum(np.logaddexp(0.0, -margins)) / len(signs) + 0.01 * np.sum(x * x)


def network(np: Any, x: Any) -> Any:
    size = 20 * HIDDEN
    weights = np.reshape(x[:size], (20, HIDDEN))
    hidden = np.tanh(np.matmul(np.asarray(FEATURES), weights) + x[size : size + HIDDEN])
    output = np.matmul(hidden, x[size + HIDDEN : size + 2 * HIDDEN]) + x[size + 2 * HIDDEN]
    return np.sum((output - np.asarray(TARGETS)) ** 2) / len(TARGETS)


def _valley(n: int) -> Floats:
    return numpy.linspace(0.5, 1.5, n)


# Near 1, so that the product of any number of them stays in range.
def _factors(n: int) -> Floats:
    return numpy.exp(numpy.linspace(-0.01, 0.011, n))


# Loops of scalars of any length.


def rosenbrock(n: int) -> Problem:
    """Of n variables: 8 instructions for each."""
    return Problem(f"rosenbrock loop {n}", rosenbrock_loop, _valley(n), True)


def speelpenning(n: int) -> Problem:
    """Of n variables: one instruction for each."""
    return Problem(f"speelpenning loop {n}", speelpenning_loop, _factors(n), True)


def helmholtz(n: int) -> Problem:
    """Of n substances: 2 instructions for each pair."""
    return Problem(f"helmholtz loop {n}", helmholtz_loop, _helmholtz_point(n), True)


def determinant(order: int) -> Problem:
    """Of a matrix that is far from singular: about 3.4 instructions for each permutation."""
    matrix = numpy.eye(order) + numpy.arange(order) / (1.0 + numpy.arange(order)[:, None])
    return Problem(f"determinant by minors {order}", determinant_by_minors, matrix.ravel(), True)


# The price of a call option after Black and Scholes, of price, strike, rate,
# volatility and time.

_OPTION_POINT = numpy.array([100.0, 95.0, 0.03, 0.2, 0.7])


def black_scholes(np: Any, x: Any) -> Any:
    spot, strike, rate, volatility, time = (x[i] for i in range(5))
    deviation = volatility * np.sqrt(time)
    upper = (np.log(spot / strike) + (rate + 0.5 * volatility * volatility) * time) / deviation
    lower = upper - deviation
    return spot * _normal(np, upper) - strike * np.exp(-rate * time) * _normal(np, lower)


def _normal(np: Any, x: Any) -> Any:
    return 0.5 * (1.0 + np.erf(x * math.sqrt(0.5)))


GRADIENTS = {
    problem.name: problem
    for problem in (
        rosenbrock(10),
        rosenbrock(100),
        rosenbrock(1000),
        speelpenning(1000),
        helmholtz(30),
        determinant(6),
        Problem("black scholes", black_scholes, _OPTION_POINT, True),
        Problem("heston path 50", heston_path, _HESTON_POINT, True),
        Problem("rosenbrock arrays 1000", rosenbrock_arrays, _valley(1000), False),
        Problem("helmholtz arrays 100", helmholtz_arrays, _helmholtz_point(100), False),
        Problem("logistic regression", logistic_regression, _REGRESSION_POINT, False),
        Problem("network", network, _NETWORK_POINT, False),
    )
}

JACOBIANS = {
    problem.name: problem
    for problem in (Problem("bundle adjustment", reprojection, _BUNDLE_POINT, True),)
}

PROBLEMS = GRADIENTS | JACOBIANS


@dataclass(frozen=True)
class Batch:
    """A derivative wanted at many points.

    Attributes
    ----------
    problem : Problem
    wanted : str
        "gradient", "jacobian", or "greeks": the value, the gradient, and the second
        derivative by the first variable.
    count : int
        How many points.
    """

    problem: Problem
    wanted: str
    count: int

    def points(self, count: int | None = None) -> Floats:
        """Points near the problem's own, one a row."""
        random = numpy.random.default_rng(3)
        shape = (self.count if count is None else count, len(self.problem.point))
        return self.problem.point * (1.0 + 0.05 * random.standard_normal(shape))


BATCHES = {
    problem.name: Batch(problem, wanted, sized(count, 200))
    for problem, wanted, count in (
        (JACOBIANS["bundle adjustment"], "jacobian", 100_000),
        (GRADIENTS["heston path 50"], "gradient", 100_000),
        (GRADIENTS["rosenbrock loop 100"], "gradient", 10_000),
        (GRADIENTS["black scholes"], "greeks", 1_000_000),
    )
}


# Array programs of the size that people fit: a regression, a network of two hidden layers,
# a mixture of Gaussians, the cost of a clustering, a chain of coupled equations over time,
# and a logarithm of a sum of exponentials.

_many = numpy.random.default_rng(5)
ROWS = _many.standard_normal((sized(10_000, 200), sized(100, 10)))
ROW_SIGNS = numpy.where(_many.standard_normal(len(ROWS)) > 0.0, 1.0, -1.0)
CLOUD = _many.standard_normal((sized(1000, 50), 10))
COMPONENTS = sized(25, 4)
CROWD = _many.standard_normal((sized(10_000, 100), 16))
CENTRES = sized(100, 5)
LAYERS = ((20, 32), (32, 32), (32, 1))


def large_regression(np: Any, x: Any) -> Any:
    return _logistic_loss(np, x, ROWS, ROW_SIGNS)


def deep_network(np: Any, x: Any) -> Any:
    signal, start = np.asarray(FEATURES), 0
    for number, (rows, columns) in enumerate(LAYERS):
        weights = np.reshape(x[start : start + rows * columns], (rows, columns))
        start += rows * columns
        signal = np.matmul(signal, weights) + x[start : start + columns]
        start += columns
        if number < len(LAYERS) - 1:
            signal = np.tanh(signal)
    return np.sum((signal[:, 0] - np.asarray(TARGETS)) ** 2) / len(TARGETS)


def gaussian_mixture(np: Any, x: Any) -> Any:
    size = COMPONENTS * CLOUD.shape[1]
    weights = x[:COMPONENTS]
    means = np.reshape(x[COMPONENTS : COMPONENTS + size], (COMPONENTS, -1))
    scales = np.reshape(x[COMPONENTS + size :], (COMPONENTS, -1))
    distance = (np.asarray(CLOUD)[:, None, :] - means) * np.exp(-scales)
    terms = weights - 0.5 * np.sum(distance * distance, axis=2) - np.sum(scales, axis=1)
    return np.sum(_log_sum_exp(np, terms)) - len(CLOUD) * _log_sum_exp(np, weights)


def clustering(np: Any, x: Any) -> Any:
    centres = np.reshape(x, (CENTRES, -1))
    crowd = np.asarray(CROWD)
    products = np.matmul(crowd, centres.T)
    squares = np.sum(crowd * crowd, axis=1)[:, None] + np.sum(centres * centres, axis=1)
    return np.sum(np.min(squares - 2.0 * products, axis=1))


def chain(np: Any, x: Any) -> Any:
    for _ in range(CHAIN_STEPS):
        x = chain_step(np, x)
    return np.sum(x * x)


CHAIN_STEPS = sized(100, 5)


def chain_step(np: Any, x: Any) -> Any:
    """A step of the classical Runge-Kutta method."""

    def slope(u: Any) -> Any:
        return np.sin(np.roll(u, 1)) - 0.1 * u * u + 0.5 * np.roll(u, -1)

    step = 0.01
    first = slope(x)
    second = slope(x + 0.5 * step * first)
    third = slope(x + 0.5 * step * second)
    fourth = slope(x + step * third)
    return x + step / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)


def log_sum_exp(np: Any, x: Any) -> Any:
    return _log_sum_exp(np, x)


def _log_sum_exp(np: Any, x: Any) -> Any:
    largest = np.max(x, axis=-1, keepdims=True)
    return largest[..., 0] + np.log(np.sum(np.exp(x - largest), axis=-1))


def _normal_point(size: int, scale: float = 1.0) -> Floats:
    return scale * numpy.random.default_rng(6).standard_normal(size)


ARRAYS = {
    problem.name: problem
    for problem in (
        Problem(
            "large logistic regression",
            large_regression,
            _normal_point(ROWS.shape[1], 0.1),
            False,
        ),
        Problem(
            "network of two layers",
            deep_network,
            _normal_point(sum((rows + 1) * columns for rows, columns in LAYERS), 0.2),
            False,
        ),
        Problem(
            "gaussian mixture",
            gaussian_mixture,
            _normal_point(COMPONENTS * (1 + 2 * CLOUD.shape[1]), 0.3),
            False,
        ),
        Problem("k-means", clustering, _normal_point(CENTRES * CROWD.shape[1]), False),
        Problem("runge-kutta chain", chain, _normal_point(sized(1000, 20)), False),
        Problem("log-sum-exp", log_sum_exp, _normal_point(sized(1_000_000, 1000)), False),
    )
}
