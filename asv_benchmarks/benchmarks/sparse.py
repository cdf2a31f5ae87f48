"""Sparse Jacobians and Hessians: first calls, and values refreshed in place, beside others.

Rivals have what suits them: asdex the same arrays in JAX, jitted, CasADi scalar symbols, and for
some the nonzeros are filled by a loop written by hand, compiled by Numba or in C++. One thread.
Ratios are the others' seconds over numtape's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

import numtape

from .measure import best_seconds_together, sized
from .problems import JACOBIANS, reprojection

__all__ = ["PROBLEMS", "SparseBesideAsdex", "SparseBesideCasadi", "SparseByHand", "SparseFirst"]

Floats = Any


@dataclass(frozen=True)
class Problem:
    """A sparse derivative.

    Attributes
    ----------
    function : callable
        Of the library's NumPy and a point.
    point : array
    what : str
        "jacobian", or of a number "hessian".
    symbols : callable, optional
        The same for CasADi, of the library and a column of symbols.
    by_hand : callable, optional
        Returns what fills the nonzeros at a point: called with the point and their array.
    """

    function: Callable[[Any, Any], Any]
    point: Floats
    what: str
    symbols: Callable[[Any, Any], Any] | None = None
    by_hand: Callable[[], Callable[[Floats, Floats], Any]] | None = None


# A chain of equations (Broyden's tridiagonal function), written with slices.


def _chain(np: Any, x: Any) -> Any:
    own = (3.0 - 2.0 * x) * x + 1.0
    left = np.concatenate([np.zeros(1), x[:-1]])
    right = np.concatenate([x[1:], np.zeros(1)])
    return own - left - 2.0 * right


def _chain_symbols(casadi: Any, x: Any) -> Any:
    none = casadi.SX.zeros(1)
    left, right = casadi.vertcat(none, x[:-1]), casadi.vertcat(x[1:], none)
    return (3.0 - 2.0 * x) * x + 1.0 - left - 2.0 * right


def _chain_by_hand() -> Callable[[Floats, Floats], Any]:
    def fill(x: Floats, data: Floats) -> None:
        place = 0
        for i in range(len(x)):
            if i > 0:
                data[place] = -1.0
                place += 1
            data[place] = 3.0 - 4.0 * x[i]
            place += 1
            if i < len(x) - 1:
                data[place] = -2.0
                place += 1

    compiled: Any = numba.njit(fill)
    return compiled  # type: ignore[no-any-return]


# Bratu's equation on a square.


def _bratu(np: Any, u: Any) -> Any:
    p, h = np.pad(u, 1), 1.0 / (u.shape[0] + 1)
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    return around - 4.0 * u + 6.0 * h * h * np.exp(u)


def _bratu_symbols(casadi: Any, x: Any) -> Any:
    n = round(x.shape[0] ** 0.5)
    u, h = casadi.reshape(x, n, n), 1.0 / (n + 1)
    row, column = casadi.SX.zeros(1, n), casadi.SX.zeros(n, 1)
    around = casadi.vertcat(row, u[:-1, :]) + casadi.vertcat(u[1:, :], row)
    around += casadi.horzcat(column, u[:, :-1]) + casadi.horzcat(u[:, 1:], column)
    return casadi.vec(around - 4.0 * u + 6.0 * h * h * casadi.exp(u))


def _bratu_by_hand() -> Callable[[Floats, Floats], Any]:
    def fill(u: Floats, data: Floats) -> None:
        n, place = u.shape[0], 0
        h = 1.0 / (n + 1)
        for i in range(n):
            for j in range(n):
                for neighbour in (i > 0, j > 0):
                    if neighbour:
                        data[place] = 1.0
                        place += 1
                data[place] = -4.0 + 6.0 * h * h * np.exp(u[i, j])
                place += 1
                for neighbour in (j < n - 1, i < n - 1):
                    if neighbour:
                        data[place] = 1.0
                        place += 1

    compiled: Any = numba.njit(fill)
    return compiled  # type: ignore[no-any-return]


# The Lagrangian of a cart-pole's optimal control, by collocation: four states and a force a node.

_NODES = sized(2000, 20)
_MULTIPLIERS = np.random.default_rng(3).normal(size=4 * (_NODES - 1))


def _collocation(sin: Any, cos: Any, states: Any, force: Any) -> list[Any]:
    """Return the defects of each state."""
    angle, v, w = states[1], states[2], states[3]
    s, c = sin(angle), cos(angle)
    mass = 1.0 + 0.3 * s * s
    a = (0.15 * s * w * w + force + 0.3 * 9.81 * c * s) / mass
    b = -(0.15 * c * s * w * w + force * c + 1.3 * 9.81 * s) / (0.5 * mass)
    half = 1.0 / (_NODES - 1)
    return [
        x[1:] - x[:-1] - half * (slope[1:] + slope[:-1])
        for x, slope in zip(states, (v, w, a, b), strict=True)
    ]


def _lagrangian(np: Any, x: Any) -> Any:
    nodes = x.reshape(_NODES, 5)
    defects = _collocation(np.sin, np.cos, [nodes[:, k] for k in range(4)], nodes[:, 4])
    cost = np.sum(nodes[:, 4] ** 2)
    return cost + np.sum(_MULTIPLIERS * np.stack(defects, axis=1).ravel())


def _lagrangian_symbols(casadi: Any, x: Any) -> Any:
    nodes = casadi.reshape(x, 5, _NODES).T
    states = [nodes[:, k] for k in range(4)]
    defects = _collocation(casadi.sin, casadi.cos, states, nodes[:, 4])
    laid = casadi.vec(casadi.horzcat(*defects).T)
    return casadi.sumsqr(nodes[:, 4]) + casadi.dot(casadi.DM(_MULTIPLIERS), laid)


# Two sums over many variables: Rosenbrock's chain, and one whose Hessian is an arrow.


def _rosenbrock(np: Any, x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def _rosenbrock_symbols(casadi: Any, x: Any) -> Any:
    return casadi.sum1(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def _arrow(np: Any, x: Any) -> Any:
    return np.sum(x[1:] ** 2 * x[0] ** 2) + np.sum(x**4)


# Bundle adjustment: cameras of 11 numbers, points of 3 and a weight for each observation.

_CAMERAS, _POINTS, _SEEN = sized(49, 3), sized(7776, 20), sized(31_843, 40)
_AT = np.random.default_rng(0).integers(0, (_CAMERAS, _POINTS), (_SEEN, 2)).T


def _adjustment(np: Any, z: Any) -> Any:
    ends = 11 * _CAMERAS, 11 * _CAMERAS + 3 * _POINTS
    cameras, points = z[: ends[0]].reshape(-1, 11), z[ends[0] : ends[1]].reshape(-1, 3)
    chosen = [cameras[_AT[0], k] for k in range(11)] + [points[_AT[1], k] for k in range(3)]
    first, second = reprojection(_Listing(np), [*chosen, z[ends[1] :]])
    return np.stack([first, second], axis=1).ravel()


class _Listing:
    """A NumPy whose `array` leaves a list of two arrays as it is."""

    def __init__(self, np: Any) -> None:
        self._np = np

    def __getattr__(self, name: str) -> Any:
        return getattr(self._np, name)

    def array(self, parts: Any) -> Any:
        return parts


def _adjustment_by_hand() -> Callable[[Floats, Floats], Any]:
    from .rivals.by_cpp import jacobians_of

    cameras = 11 * _AT[0][:, None] + np.arange(11)
    points = 11 * _CAMERAS + 3 * _AT[1][:, None] + np.arange(3)
    weights = 11 * _CAMERAS + 3 * _POINTS + np.arange(_SEEN)[:, None]
    places = np.concatenate([cameras, points, weights], axis=1)
    gathered, blocks = np.empty((_SEEN, 15)), np.empty((_SEEN, 2, 15))
    call = jacobians_of(JACOBIANS["bundle adjustment"], gathered, blocks)

    def fill(z: Floats, data: Floats) -> None:
        np.take(z, places, out=gathered, mode="clip")
        call()

    def check(data: Floats) -> Floats:
        """The nonzeros: no residual depends on the other one's offset."""
        return np.stack([np.delete(blocks[:, k], 8 - k, axis=1) for k in (0, 1)], axis=1).ravel()

    with_check: Any = fill
    with_check.check = check
    return fill


def _adjustment_point() -> Floats:
    random = np.random.default_rng(1)
    single = JACOBIANS["bundle adjustment"].point
    near = single * (1.0 + 0.05 * random.standard_normal((max(_POINTS, _SEEN), 15)))
    parts = near[:_CAMERAS, :11].ravel(), near[:_POINTS, 11:14].ravel(), near[:_SEEN, 14]
    return np.concatenate(parts)


def _uniform(*shape: int) -> Floats:
    return np.random.default_rng(0).uniform(0.1, 1.0, shape)


PROBLEMS = {
    "chain": Problem(
        _chain, _uniform(sized(1_000_000, 50)), "jacobian", _chain_symbols, _chain_by_hand
    ),
    "bratu 100": Problem(
        _bratu, _uniform(*2 * (sized(100, 5),)), "jacobian", _bratu_symbols, _bratu_by_hand
    ),
    "bratu 200": Problem(
        _bratu, _uniform(*2 * (sized(200, 6),)), "jacobian", _bratu_symbols, _bratu_by_hand
    ),
    "bundle adjustment": Problem(
        _adjustment, _adjustment_point(), "jacobian", None, _adjustment_by_hand
    ),
    "rosenbrock": Problem(
        _rosenbrock, _uniform(sized(100_000, 50)), "hessian", _rosenbrock_symbols
    ),
    "arrow": Problem(_arrow, _uniform(sized(100_000, 50)), "hessian"),
    "collocation": Problem(_lagrangian, _uniform(5 * _NODES), "hessian", _lagrangian_symbols),
}


class _OfProblems:
    """Sparse derivatives at a point."""

    params = tuple(PROBLEMS)
    param_names = ("problem",)
    timeout = 900

    def setup(self, name: str) -> None:
        self.problem = PROBLEMS[name]

    def _derivative(self) -> Any:
        made = getattr(numtape, self.problem.what)
        return made(lambda x: self.problem.function(np, x), sparse=True)

    def _over(self, rival: Callable[[], Any]) -> float:
        """Return the rival's seconds over numtape's, values refreshed in place."""
        derivative, point = self._derivative(), self.problem.point
        matrix = derivative(point)

        def mine() -> Any:
            return derivative(point, out=matrix)

        seconds = best_seconds_together({"numtape": mine, "rival": rival})
        return seconds["rival"] / seconds["numtape"]

    def _first(self) -> float:
        """Return the seconds of the first call, recording included; kernels are there."""
        best = float("inf")
        for _ in range(sized(4, 1)):
            derivative = self._derivative()
            start = time.perf_counter()
            derivative(self.problem.point)
            best = min(best, time.perf_counter() - start)
        return best


class SparseFirst(_OfProblems):
    """First calls, and refreshed values beside the function's."""

    def track_first_call(self, name: str) -> float:
        """Return the seconds of the first call."""
        return self._first()

    def track_over_value(self, name: str) -> float:
        """Return how many times the function's own tape refreshing the nonzeros takes."""
        tape = numtape.record(lambda x: self.problem.function(np, x), self.problem.point)
        return 1.0 / self._over(lambda: tape(self.problem.point))


class SparseByHand(_OfProblems):
    """Beside nonzeros filled by hand."""

    params = tuple(name for name, each in PROBLEMS.items() if each.by_hand is not None)

    def track_beside_a_fill(self, name: str) -> float:
        """Return the hand-written fill's seconds over numtape's."""
        problem = self.problem
        assert problem.by_hand is not None
        fill = problem.by_hand()
        matrix = self._derivative()(problem.point)
        data = np.empty(matrix.nnz)
        fill(problem.point, data)
        found = getattr(fill, "check", np.asarray)(data)
        np.testing.assert_allclose(found, matrix.data, rtol=1e-9, atol=1e-9)
        return self._over(lambda: fill(problem.point, data))


class SparseBesideCasadi(_OfProblems):
    """Beside CasADi."""

    params = tuple(name for name, each in PROBLEMS.items() if each.symbols is not None)

    def setup(self, name: str) -> None:
        from .rivals.common import module

        super().setup(name)
        self.casadi = module("casadi")

    def _made(self) -> tuple[Callable[[], Any], Floats]:
        casadi, problem = self.casadi, self.problem
        assert problem.symbols is not None
        point = problem.point.ravel().copy()
        x = casadi.SX.sym("x", len(point))
        value = problem.symbols(casadi, x)
        if problem.what == "hessian":
            matrix = casadi.triu(casadi.hessian(value, x)[0])
        else:
            matrix = casadi.jacobian(value, x)
        function = casadi.Function("f", [x], [matrix])
        buffer, evaluate = function.buffer()
        data = np.empty(matrix.nnz())
        buffer.set_arg(0, point.data)
        buffer.set_res(0, data.data)
        evaluate()
        self.kept = point, buffer, function
        return evaluate, data

    def track_refresh(self, name: str) -> float:
        """Return CasADi's seconds over numtape's, values refreshed; half a Hessian is enough."""
        evaluate, data = self._made()
        mine = self._derivative()(self.problem.point)
        if self.problem.what == "jacobian":
            np.testing.assert_allclose(np.sort(data), np.sort(mine.data), rtol=1e-9, atol=1e-9)
        return self._over(evaluate)

    def track_first_call(self, name: str) -> float:
        """Return CasADi's seconds for a first call over numtape's."""
        start = time.perf_counter()
        self._made()
        return (time.perf_counter() - start) / self._first()


class SparseBesideAsdex(_OfProblems):
    """Beside asdex, which finds patterns and colours of functions in JAX."""

    def setup(self, name: str) -> None:
        from .rivals.by_jax import one_threaded
        from .rivals.common import module

        super().setup(name)
        self.jax = one_threaded()
        self.asdex = module("asdex")

    def _made(self) -> Callable[[], Any]:
        jax, problem = self.jax, self.problem

        def function(x: Any) -> Any:
            return problem.function(jax.numpy, x)

        point = jax.numpy.asarray(problem.point)
        coloured = getattr(self.asdex, f"{problem.what}_coloring")(function, point)
        from_colours = getattr(self.asdex, f"{problem.what}_from_coloring")
        jitted = jax.jit(from_colours(function, coloured))
        jax.block_until_ready(jitted(point))
        return lambda: jax.block_until_ready(jitted(point))

    def track_refresh(self, name: str) -> float:
        """Return asdex' seconds over numtape's, values refreshed."""
        return self._over(self._made())

    def track_first_call(self, name: str) -> float:
        """Return asdex' seconds for a first call over numtape's, compilation included."""
        start = time.perf_counter()
        self._made()
        return (time.perf_counter() - start) / self._first()
