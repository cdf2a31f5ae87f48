"""CasADi: scalar symbols (SX) for loops of scalars, matrix symbols (MX) for array programs.

Each is the faster one there. A function is called with an array, or, without any
conversion, on memory that it was given beforehand. Matrices are stored by columns, have
two axes, and broadcast no rows: array programs that need more are written for it below.
"""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..problems import (
    CENTRES,
    CHAIN_STEPS,
    CLOUD,
    COMPONENTS,
    CROWD,
    FEATURES,
    HIDDEN,
    LAYERS,
    TARGETS,
    Batch,
    Problem,
    chain,
    chain_step,
    clustering,
    deep_network,
    gaussian_mixture,
    log_sum_exp,
    network,
)
from .common import Call, Floats, module, wanted

__all__ = ["batch", "batch_buffer", "single", "single_buffer"]


def _numpy(casadi: Any) -> Any:
    """CasADi's functions under NumPy's names."""

    def logaddexp(x: Any, y: Any) -> Any:
        return casadi.fmax(x, y) + casadi.log1p(casadi.exp(-casadi.fabs(x - y)))

    return SimpleNamespace(
        array=lambda parts: casadi.vertcat(*parts),
        asarray=casadi.DM,
        cos=casadi.cos,
        erf=casadi.erf,
        exp=casadi.exp,
        log=casadi.log,
        logaddexp=logaddexp,
        matmul=casadi.mtimes,
        maximum=casadi.fmax,
        roll=lambda x, by: casadi.vertcat(x[-by:], x[:-by]),
        sin=casadi.sin,
        sqrt=casadi.sqrt,
        sum=casadi.sum1,
        tanh=casadi.tanh,
    )


# Array programs


def _rows(casadi: Any, x: Any, rows: int, columns: int) -> Any:
    """A matrix whose elements follow one another by rows."""
    return casadi.reshape(x, columns, rows).T


def _each(casadi: Any, row: Any, count: int) -> Any:
    """A vector as each row of a matrix."""
    return casadi.repmat(row.T, count, 1)


def _network(casadi: Any, x: Any) -> Any:
    size = 20 * HIDDEN
    bias = _each(casadi, x[size : size + HIDDEN], len(TARGETS))
    hidden = casadi.tanh(casadi.mtimes(FEATURES, _rows(casadi, x[:size], 20, HIDDEN)) + bias)
    output = casadi.mtimes(hidden, x[size + HIDDEN : size + 2 * HIDDEN]) + x[size + 2 * HIDDEN]
    return casadi.sum1((output - TARGETS) ** 2) / len(TARGETS)


def _deep_network(casadi: Any, x: Any) -> Any:
    signal, start = FEATURES, 0
    for number, (rows, columns) in enumerate(LAYERS):
        weights = _rows(casadi, x[start : start + rows * columns], rows, columns)
        start += rows * columns
        bias = _each(casadi, x[start : start + columns], len(TARGETS))
        start += columns
        signal = casadi.mtimes(signal, weights) + bias
        if number < len(LAYERS) - 1:
            signal = casadi.tanh(signal)
    return casadi.sum1((signal - TARGETS) ** 2) / len(TARGETS)


def _mixture(casadi: Any, x: Any) -> Any:
    count, axes = CLOUD.shape
    size = COMPONENTS * axes
    weights = x[:COMPONENTS]
    terms = []
    for component in range(COMPONENTS):
        start = COMPONENTS + component * axes
        mean = _each(casadi, x[start : start + axes], count)
        scales = x[start + size : start + size + axes]
        distance = (CLOUD - mean) * _each(casadi, casadi.exp(-scales), count)
        squares = casadi.sum2(distance * distance)
        terms.append(weights[component] - 0.5 * squares - casadi.sum1(scales))
    largest = functools.reduce(casadi.fmax, terms)
    exponentials = sum(casadi.exp(term - largest) for term in terms)
    likelihood = casadi.sum1(largest + casadi.log(exponentials))
    return likelihood - count * casadi.logsumexp(weights)


def _clustering(casadi: Any, x: Any) -> Any:
    centres = _rows(casadi, x, CENTRES, CROWD.shape[1])
    squares = _each(casadi, casadi.sum2(centres * centres), len(CROWD))
    distances = squares - 2.0 * casadi.mtimes(CROWD, centres.T)
    nearest = functools.reduce(casadi.fmin, casadi.horzsplit(distances))
    return casadi.sum1(nearest + np.sum(CROWD * CROWD, axis=1))


def _chain(casadi: Any, x: Any) -> Any:
    state = casadi.MX.sym("u", x.shape[0])
    step = casadi.Function("step", [state], [chain_step(_numpy(casadi), state)])
    last = step.fold(CHAIN_STEPS)(x)
    return casadi.sum1(last * last)


def _log_sum_exp(casadi: Any, x: Any) -> Any:
    return casadi.logsumexp(x)


_WRITTEN: dict[Callable[..., Any], Callable[[Any, Any], Any]] = {
    network: _network,
    deep_network: _deep_network,
    gaussian_mixture: _mixture,
    clustering: _clustering,
    chain: _chain,
    log_sum_exp: _log_sum_exp,
}


# Derivatives


def _derivative(problem: Problem, what: str) -> Any:
    casadi = module("casadi")
    size = len(problem.point)
    symbol = (casadi.SX if problem.scalar_code else casadi.MX).sym("x", size)
    if problem.workload in _WRITTEN:
        result = _WRITTEN[problem.workload](casadi, symbol)
    else:
        given = [symbol[i] for i in range(size)] if problem.scalar_code else symbol
        result = problem.workload(_numpy(casadi), given)
    if what == "jacobian":
        derivative = casadi.densify(casadi.jacobian(result, symbol))
    else:
        derivative = casadi.densify(casadi.gradient(result, symbol))
    if what == "greeks":
        second = casadi.jacobian(derivative[0], symbol[0])
        derivative = casadi.densify(casadi.vertcat(result, derivative, second))
    return casadi.Function("derivative", [symbol], [derivative])


def single(problem: Problem, point: Floats) -> Call:
    derivative = _derivative(problem, wanted(problem))
    return lambda: derivative(point)


def single_buffer(problem: Problem, point: Floats) -> Call:
    derivative = _derivative(problem, wanted(problem))
    buffer, evaluate = derivative.buffer()
    result = np.zeros(derivative.size_out(0), order="F")  # by columns
    buffer.set_arg(0, point.data)
    buffer.set_res(0, result.T.data)

    # CasADi keeps bare addresses: what they lead to must live as long as the call.
    def call(keep: Any = (buffer, point)) -> Floats:
        evaluate()
        return result

    return call


def batch(batch: Batch, points: Floats) -> Call:
    """CasADi's own map, whose call converts its argument and its result."""
    mapped = _derivative(batch.problem, batch.wanted).map(len(points))
    return lambda: mapped(points.T)


def batch_buffer(batch: Batch, points: Floats) -> Call:
    """The same on memory given to it beforehand, without any conversion."""
    mapped = _derivative(batch.problem, batch.wanted).map(len(points))
    buffer, evaluate = mapped.buffer()
    rows, columns = mapped.size_out(0)
    result = np.zeros((columns, rows))  # by columns, and so point by point
    buffer.set_arg(0, points.data)
    buffer.set_res(0, result.data)
    each = columns // len(points)

    def call(keep: Any = (buffer, points)) -> Floats:
        evaluate()
        if each == 1:
            return result
        return result.reshape(len(points), each, rows).swapaxes(1, 2)

    return call
