"""What many tests compare: bits, trees, recorded against plain functions, higher derivatives."""

import copy
from dataclasses import replace
from types import FunctionType

import numpy as np

import numtape as nt
from numtape.functions.runner import Runner
from numtape.functions.trees import flatten
from numtape.run import _kernels
from numtape.run.workspace import Plan, Workspace
from numtape.tape.flat import FlatTape
from numtape.transform.derivative import (
    adjoint,
    jacobian_by_columns,
    jacobian_by_rows,
    tangent,
)

__all__ = [
    "SEEDED",
    "WAYS",
    "assert_both_orders",
    "assert_every_point_alike",
    "assert_first_derivatives",
    "assert_replays",
    "assert_same_bits",
    "assert_second_derivatives",
    "central_jacobian",
    "derivatives_every_way",
    "evaluate",
    "evaluation",
    "hessian",
    "hessian_by",
    "sweep",
    "without_source",
    "workspace",
]


def assert_same_bits(actual, expected) -> None:
    """Equal shapes and equal float64 bits; any nan equals any nan."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    a = np.ascontiguousarray(actual, np.float64).reshape(-1)
    e = np.ascontiguousarray(expected, np.float64).reshape(-1)
    same = (a.view(np.int64) == e.view(np.int64)) | (np.isnan(a) & np.isnan(e))
    assert same.all(), f"bits differ at {np.flatnonzero(~same)}: {a[~same]} against {e[~same]}"


def assert_replays(function, *calls) -> nt.Tape:
    """Record at the first call; there and at the others the tape equals the plain function."""
    tape = nt.record(function, *copy.deepcopy(calls[0]))
    for call in calls:
        expected, structure = flatten(function(*copy.deepcopy(call)))
        actual, found = flatten(tape(*call))
        assert found == structure
        for one, other in zip(actual, expected):
            assert_same_bits(one, other)
    return tape


def without_source(function, *first):
    """A function of x that calls another with some arguments before; of neither is there source."""
    code = function.__code__.replace(co_filename="<without source>")
    closure = function.__closure__
    called = FunctionType(code, function.__globals__, function.__name__, None, closure)
    names = {"called": called, "first": first}
    return eval("lambda x: called(*first, x)", names)


# running flat tapes


def workspace(tape: FlatTape, sweeps: bool = False) -> Workspace:
    """Fresh memory for a tape."""
    return Workspace(Plan(tape, sweeps))


def evaluation(tape: FlatTape):
    """A function that gives the outputs at x, by the kernels."""
    runner = Runner(tape)

    def at(x) -> np.ndarray:
        y = np.empty(len(tape.outputs))
        assert runner.evaluate(np.array(x, np.float64).reshape(-1), y) is None
        return y

    return at


def evaluate(tape: FlatTape, x) -> np.ndarray:
    """The outputs at x, by the kernels."""
    return evaluation(tape)(x)


def sweep(tape: FlatTape, x) -> tuple[np.ndarray, np.ndarray]:
    """The Jacobian of a scalar tape by tangent sweeps and by adjoint sweeps."""
    memory = workspace(tape, sweeps=True)
    y = np.empty(len(tape.outputs))
    assert _kernels.linearize(memory.handle, np.array(x, np.float64).reshape(-1), y) == -1
    forward = np.empty((tape.inputs, len(y)))
    reverse = np.empty((len(y), tape.inputs))
    _kernels.tangents(memory.handle, np.eye(tape.inputs), forward)
    _kernels.adjoints(memory.handle, np.eye(len(y)), reverse)
    return forward.T, reverse


def derivatives_every_way(function, *arguments) -> list[np.ndarray]:
    """The Jacobian of a function by all its floats, by every way there is to compute it."""
    tape = nt.record(function, *arguments)
    flat, runner = tape.flat, tape.runner
    x, inputs, rows = flat.point, np.arange(flat.inputs), len(flat.outputs)
    ways = [runner.jacobian(x, inputs, mode)[2] for mode in ("forward", "reverse")]
    for by in (jacobian_by_columns, jacobian_by_rows):
        ways.append(evaluate(by(flat, inputs), x)[rows:].reshape(rows, flat.inputs))
    columns = [runner.jvp(x, unit)[2] for unit in np.eye(flat.inputs)]
    ways.append(np.array(columns).reshape(flat.inputs, rows).T)
    ways.append(np.array([runner.vjp(x, unit)[2] for unit in np.eye(rows)]))
    if flat.is_scalar:
        ways += sweep(flat, x)
    return ways


def hessian(function, *arguments) -> np.ndarray:
    """The second derivatives of a scalar function by all its floats, by two derivative tapes."""
    flat = nt.record(function, *arguments).flat
    n = flat.inputs
    inputs = np.arange(n)
    first = jacobian_by_rows(flat, inputs)  # outputs: value, gradient
    second = jacobian_by_rows(first, inputs)  # outputs: those, then their rows
    y = evaluate(second, flat.point)[1 + n :].reshape(1 + n, n)
    return y[1:]


def _by_tapes(outer, inner):
    def prepare(flat):
        inputs = np.arange(flat.inputs)
        first = inner(flat, inputs)
        second = outer(replace(first, outputs=first.outputs[1:]), inputs)
        y = evaluate(second, flat.point)[flat.inputs :]
        return lambda direction: y.reshape(flat.inputs, flat.inputs) @ direction

    return prepare


def _forward_over_reverse(flat):
    n, x = flat.inputs, flat.point
    at = evaluation(tangent(adjoint(flat)))  # of (x, w, dx, dw): (y, g, dy, H dx)
    return lambda direction: at(np.concatenate([x, [1.0], direction, [0.0]]))[n + 2 :]


def _reverse_over_reverse(flat):
    n, x = flat.inputs, flat.point
    at = evaluation(adjoint(adjoint(flat)))  # of (x, w, weights of (y, g)): (y, g, by x, by w)
    return lambda direction: at(np.concatenate([x, [1.0, 0.0], direction]))[n + 1 : 2 * n + 1]


def _reverse_over_forward(flat):
    n, x = flat.inputs, flat.point
    at = evaluation(adjoint(tangent(flat)))  # of (x, dx, weights of (y, dy)): (y, dy, by x, by dx)
    return lambda direction: at(np.concatenate([x, direction, [0.0, 1.0]]))[2 : n + 2]


# Ways to second derivatives. Of a flat tape: the function of a direction that gives the
# Hessian's product with it.
SEEDED = {
    "forward over reverse": _forward_over_reverse,
    "reverse over reverse": _reverse_over_reverse,
    "reverse over forward": _reverse_over_forward,
}
WAYS = SEEDED | {
    "rows of rows": _by_tapes(jacobian_by_rows, jacobian_by_rows),
    "columns of rows": _by_tapes(jacobian_by_columns, jacobian_by_rows),
    "rows of columns": _by_tapes(jacobian_by_rows, jacobian_by_columns),
    "columns of columns": _by_tapes(jacobian_by_columns, jacobian_by_columns),
}


def hessian_by(way, flat) -> np.ndarray:
    """The second derivatives of a flat tape by one of `WAYS`."""
    return np.array(list(map(way(flat), np.eye(flat.inputs))))


def central_jacobian(function, x, step: float = 1e-4) -> np.ndarray:
    """Fourth-order central differences of a function from a vector to a vector."""
    columns = []
    for unit in np.eye(len(x)):
        h = step * unit
        rise = 8 * (function(x + h) - function(x - h)) - (function(x + 2 * h) - function(x - 2 * h))
        columns.append(rise / (12 * step))
    return np.array(columns).T


def assert_first_derivatives(function, *arrays) -> None:
    """Every way to the derivatives by all arrays gives what differences give."""
    expected = central_jacobian(
        lambda flat: np.ravel(function(*_split(flat, arrays))), _joined(arrays), 1e-3
    )
    size = abs(expected).max()
    for way in derivatives_every_way(function, *arrays):
        np.testing.assert_allclose(way, expected, rtol=1e-7, atol=1e-8 * size)


def assert_second_derivatives(function, weights, *arrays) -> None:
    """The Hessian of the result's weighted sum is what differences of gradients give."""

    def total(*arrays):
        return np.sum(function(*arrays) * weights)

    gradient = nt.grad(total, argnums=tuple(range(len(arrays))))
    expected = central_jacobian(
        lambda flat: _joined(gradient(*_split(flat, arrays))), _joined(arrays), 1e-3
    )
    found = hessian(total, *arrays)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * (1 + abs(expected).max()))


def assert_both_orders(function, point, first, second) -> None:
    """Both orders, every way, of a function of floats are what differences give.

    `first` and `second` are the relative and absolute tolerances.
    """
    expected = central_jacobian(lambda v: np.array([function(*v)]), np.array(point), 1e-3)
    for way in derivatives_every_way(function, *point):
        np.testing.assert_allclose(way, expected, rtol=first[0], atol=first[1])
    slopes = central_jacobian(
        lambda v: np.ravel(nt.jacobian(lambda v: function(*v))(v)), np.array(point), 1e-3
    )
    np.testing.assert_allclose(hessian(function, *point), slopes, rtol=second[0], atol=second[1])


def assert_every_point_alike(function, operands) -> None:
    """Gradients at many points: one after the other on one recording, at once, of arrays."""
    every = tuple(range(len(operands)))
    single = nt.grad(function, argnums=every)
    one = np.array([single(*map(float, point)) for point in zip(*operands)]).T
    many = nt.vmap(nt.grad(function, argnums=every))(*operands)
    whole = nt.grad(lambda *v: np.sum(function(*v)), argnums=every)(*operands)
    for k in every:
        np.testing.assert_allclose(many[k], one[k], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(whole[k], one[k], rtol=1e-12, atol=1e-15)


def _split(flat, arrays):
    ends = np.cumsum([array.size for array in arrays])
    parts = np.split(flat, ends[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays)]


def _joined(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])
