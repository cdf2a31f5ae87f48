"""Options in all their combinations: the value is NumPy's, and what NumPy refuses is refused."""

import warnings
from itertools import product

import numpy as np
import pytest

import numtape as nt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
MASK = RNG.random((3, 4)) > 0.3

REFUSALS = ValueError, TypeError, IndexError, ZeroDivisionError


def _flat(value):
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


def _check(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = function(*arguments)
        except REFUSALS:
            with pytest.raises(REFUSALS):
                nt.record(function, *arguments)
            return
        found = []
        nt.record(lambda *x: found.append(function(*x)) or 1.0 * x[0], *arguments)
    for one, other in zip(_flat(found[0]), _flat(expected), strict=True):
        one = getattr(one, "primals", one)
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


OPTIONS = {"initial": (0.5, -5.0), "where": (MASK, MASK[0], MASK[:, :1]), "ddof": (1,)}
TAKES = {
    "sum": ("initial", "where"),
    "prod": ("initial", "where"),
    "max": ("initial", "where"),
    "min": ("initial", "where"),
    "mean": ("where",),
    "var": ("where", "ddof"),
    "std": ("where", "ddof"),
    "any": ("where",),
    "all": ("where",),
    "median": (),
    "ptp": (),
}


@pytest.mark.parametrize("name", [*TAKES, *(f"nan{name}" for name in list(TAKES)[:7]), "nanmedian"])
def test_reductions(name):
    takes = TAKES[name.removeprefix("nan")]
    x = np.where(X > 0.8, np.nan, X) if name.startswith("nan") else X
    choices = [[{}, *({option: value} for value in OPTIONS[option])] for option in takes]
    for axis, kept, *chosen in product((None, 0, -1, (0, 1), (), (1, 0)), (False, True), *choices):
        options = {"axis": axis, "keepdims": kept}
        for each in chosen:
            options |= each
        _check(lambda y, options=options: getattr(np, name)(y, **options), x)


@pytest.mark.parametrize("method", ["linear", "hazen", "nearest", "inverted_cdf"])
def test_quantiles(method):
    for axis, q, kept in product(
        (None, 0, 1, (0, 1)), (0.0, 1.0, 0.5, [0.1, 0.9], [[0.2], [0.4]]), (False, True)
    ):
        _check(lambda y, o=(q, axis, kept): np.quantile(y, *o[:2], method=method, keepdims=o[2]), X)


@pytest.mark.parametrize(
    "subscripts",
    [
        *("ij->ji", "ij->i", "ij->", "ij", "...j", "i...->...", "ji", "ij,ij->ij", "ij,ij->i"),
        *("ij,ij", "ij,kj->ik", "ij,kj->ki", "ij,kl->ijkl", "...,...", "...j,...j->..."),
        *("ij,ij,ij->j", "ij,kj,lj->ikl", "ij,kj,lj->j", "i...,...j", "ij,ij,kj,kl->l"),
    ],
)
def test_einsum(subscripts):
    operands = [X] * (subscripts.split("->")[0].count(",") + 1)
    for optimize in (False, True, "optimal"):
        _check(lambda *x, o=optimize: np.einsum(subscripts, *x, optimize=o), *operands)


@pytest.mark.parametrize(
    "mode",
    [
        *("constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum", "reflect"),
        *("symmetric", "wrap"),
    ],
)
def test_pad(mode):
    for width in (0, 1, 3, (1, 2), ((1, 2), (0, 3)), ((0, 0), (2, 2)), ((1,), (2,)), 6):
        _check(lambda y, w=width: np.pad(y, w, mode), X)


@pytest.mark.parametrize("sizes", [(5, 3), (3, 5), (1, 1), (4, 4), (6, 2), (2, 6)])
def test_convolutions(sizes, monkeypatch):
    from numtape.trace.functions import products

    u, v = (RNG.normal(size=size) for size in sizes)
    for few in (400, 1):  # as a sum of shifted arrays, and as a product of windows
        monkeypatch.setattr(products, "_FEW_WEIGHTS", few)
        for mode in ("full", "same", "valid"):
            _check(lambda u, v, m=mode: np.convolve(u, v, m), u, v)
            _check(lambda u, v, m=mode: np.correlate(u, v, m), u, v)
        nt.check_derivatives(lambda u, v: np.convolve(u, v), u, v)


def test_insert_delete_and_take():
    for axis in (None, 0, 1):
        for where in (0, [0, 2], np.array([True, False, True]), slice(0, 2)):
            _check(lambda y, w=where, a=axis: np.insert(y, w, 9.0, axis=a), X)
            _check(lambda y, w=where, a=axis: np.delete(y, w, axis=a), X)
        for where, mode in product((1, [0, 2], [[0], [-1]], [5, -7]), ("raise", "wrap", "clip")):
            _check(lambda y, w=where, a=axis, m=mode: np.take(y, w, axis=a, mode=m), X)


def test_evenly_spaced():
    for name, count, ends in product(("linspace", "logspace", "geomspace"), (0, 1, 2, 5), (0, 1)):
        function = getattr(np, name)
        _check(lambda a, b, f=function, o=(count, bool(ends)): f(a, b, *o), 1.0, 3.0)


OF_TWO = {
    **{
        name: getattr(np, name)
        for name in (
            *("dot", "inner", "outer", "vdot", "kron", "matmul", "vecdot", "cross", "convolve"),
            *("correlate", "append", "trapezoid", "cov"),
        )
    },
    **{
        f"linalg.{name}": getattr(np.linalg, name) for name in ("outer", "matmul", "cross", "solve")
    },
    **{name: getattr(np, name) for name in ("matvec", "vecmat") if hasattr(np, name)},
    "tensordot": lambda a, b: np.tensordot(a, b, 1),
    "tensordot over no axis": lambda a, b: np.tensordot(a, b, 0),
    "trapezoid by steps": lambda a, b: np.trapezoid(a, dx=b, axis=0),
    "average": lambda a, b: np.average(a, weights=b),
    "average by an axis": lambda a, b: np.average(a, 0, b),
    "average by two axes": lambda a, b: np.average(a, (1, 0), b),
    "select": lambda a, b: np.select([a > 0.0], [a], b),
    "select of two": lambda a, b: np.select([a > 0.0, b > 0.0], [b, 2.0]),
    "vander": lambda a, b: np.vander(a) * np.sum(b),
    "einsum": lambda a, b: np.einsum("...i,...i", a, b),
    "stack": lambda a, b: np.stack([a, b]),
    "column_stack": lambda a, b: np.column_stack([a, b]),
    "int64": lambda a, b: np.int64(10.0 * a) * b,
}


@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two_arrays_of_any_shapes(name):
    shapes = ((), (1,), (3,), (2, 3), (3, 2), (1, 3), (3, 3), (2, 3, 3), (0,), (2, 0))
    for one, other in product(shapes, shapes):
        a, b = (RNG.uniform(0.2, 1.0, shape) for shape in (one, other))
        _check(OF_TWO[name], a, b)
        if not one or not other:  # a number is one of NumPy's or an array
            _check(OF_TWO[name], a[()], b[()])
