"""NumPy's whole surface: an example of each public function, and the page of the docs made of them.

`EXAMPLES` has functions of arrays for each name that works; they are checked by
`trace/test_surface.py`. `REFUSED` has calls that raise, `NOT_NUMERIC` what has
nothing to differentiate. Every public name of NumPy stands in one of these, or
the tests fail: that is how a new release of NumPy shows its gaps.

    python tests/surface.py     # writes docs/reference/numpy.md anew
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numtape as nt
from numtape.ops.table import row_of_ufunc

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "numpy.md"


@dataclass
class Case:
    """A function of arrays, and where it is tried.

    `bits` says whether the value must be NumPy's own to the last bit, `order`
    up to which derivative it is checked.
    """

    function: Any
    shapes: tuple
    low: float = -1.5
    high: float = 1.5
    bits: bool = True
    order: int = 2

    def point(self, seed: int) -> list:
        """Arrays of random numbers, floats for the shape ()."""
        rng = np.random.default_rng(seed)
        return [
            rng.uniform(self.low, self.high, shape) if shape else rng.uniform(self.low, self.high)
            for shape in self.shapes
        ]


def of(function, *shapes, low=-1.5, high=1.5, bits=True, order=2) -> Case:
    return Case(function, shapes, low, high, bits, order)


def near(function, *shapes, **options) -> Case:
    """A case whose value agrees with NumPy's to rounding."""
    return of(function, *shapes, bits=False, **options)


def _with(change, name="y"):
    """A function that assigns into a copy of its first argument."""

    def function(x, *rest):
        y = x.copy()
        change(y, *rest)
        return y

    return function


def _filled(y, x):
    for k, value in enumerate(x):
        y[k] = value * value
    return y


MASK = np.array([True, False, True, True, False])
INDEX = np.array([3, 1, 1, 0])
FORTRAN = {"order": "F"}

EXAMPLES: dict[str, list[Case]] = {
    # reductions
    "sum": [
        of(lambda x: np.sum(x), (3, 4)),
        of(lambda x: np.sum(x, axis=0), (3, 4)),
        of(lambda x: np.sum(x, axis=(0, -1), keepdims=True), (2, 3, 4)),
        of(lambda x: np.sum(x, -1, keepdims=True), (3, 4)),
        of(lambda x: np.sum(x, axis=()) + 0.0 * x, (3,)),
        of(lambda x: np.sum(x) * 2.0, ()),
        of(lambda x: np.sum(x[:0]) + x, (3,)),
        of(lambda x: np.sum(x[:, :0], axis=1) + x[:, 0], (3, 2)),
        near(lambda x: np.sum(x, where=x > 0.0), (12,)),
        near(lambda x: np.sum(x, axis=1, where=[True, False, True, True]), (3, 4)),
        of(lambda x: np.sum(x, initial=3.0), (12,)),
        near(lambda x: np.sum(x, initial=3.0, where=x > 0.0), (12,)),
        of(lambda x: x.sum(axis=1), (3, 4)),
    ],
    "mean": [
        of(lambda x: np.mean(x, axis=0), (3, 4)),
        of(lambda x: np.mean(x, (0, 2), keepdims=True), (2, 3, 4)),
        near(lambda x: np.mean(x, axis=1, where=x > -0.5), (3, 12)),
        of(lambda x: np.mean(x), ()),
    ],
    "prod": [
        of(lambda x: np.prod(x), (4,)),
        of(lambda x: np.prod(x, axis=-2, keepdims=True), (3, 4)),
        of(lambda x: np.prod(x, axis=0, where=x > 0.0), (3, 4)),
        of(lambda x: np.prod(x, initial=2.0), (12,)),
        near(lambda x: np.prod(x, initial=2.0, where=x > 0.0), (12,)),
        of(lambda x: np.prod(x[:0]) * x, (3,)),
    ],
    "var": [
        of(lambda x: np.var(x), (12,)),
        of(lambda x: np.var(x, axis=1, ddof=1, keepdims=True), (3, 4)),
        of(lambda x: np.var(x, axis=0, correction=1), (3, 4)),
        near(lambda x: np.var(x, axis=1, where=x > -0.7), (2, 12)),
        of(lambda x: np.var(x, axis=0, mean=np.mean(x, axis=0, keepdims=True)), (3, 4)),
    ],
    "std": [
        of(lambda x: np.std(x), (12,)),
        of(lambda x: np.std(x, (0, 1), ddof=1), (3, 4)),
        of(lambda x: x.std(axis=-1), (3, 4)),
    ],
    "max": [
        of(lambda x: np.max(x), (12,)),
        of(lambda x: np.max(x, axis=0), (3, 4)),
        of(lambda x: np.max(x, (0, -1), keepdims=True), (2, 3, 4)),
        of(lambda x: np.max(x, initial=0.3), (12,)),
        of(lambda x: np.max(x, initial=-9.0, where=x < 0.2), (12,)),
        of(lambda x: np.max(x), ()),
        of(lambda x: np.max(x[:0], initial=2.0) * x, (3,)),
    ],
    "min": [
        of(lambda x: np.min(x, axis=1), (3, 4)),
        of(lambda x: x.min(), (12,)),
        of(lambda x: np.min(x, axis=0, initial=0.1), (3, 4)),
    ],
    "amax": [of(lambda x: np.amax(x, axis=0), (3, 4))],
    "amin": [of(lambda x: np.amin(x, axis=0), (3, 4))],
    "ptp": [
        of(lambda x: np.ptp(x), (12,)),
        of(lambda x: np.ptp(x, axis=1, keepdims=True), (3, 4)),
    ],
    "average": [
        of(lambda x: np.average(x), (12,)),
        of(lambda x, w: np.average(x, axis=1, weights=w), (3, 4), (4,), low=0.2),
        of(lambda x, w: np.average(x, weights=w), (3, 4), (3, 4), low=0.2),
        of(lambda x: np.average(x, 0, weights=[1.0, 2.0, 3.0], keepdims=True), (3, 4)),
        of(lambda x, w: np.average(x, axis=0, weights=w, returned=True), (3, 4), (3,), low=0.2),
        of(lambda x: np.average(x, returned=True), (3, 4)),
        near(lambda x, w: np.average(x, (0, 1), weights=w), (3, 4, 2), (3, 4), low=0.2),
    ],
    "median": [
        of(lambda x: np.median(x), (7,)),
        of(lambda x: np.median(x), (12,)),
        of(lambda x: np.median(x, axis=1), (3, 4)),
        of(lambda x: np.median(x, axis=(0, 2), keepdims=True), (2, 3, 4)),
        of(lambda x: np.median(x), ()),
    ],
    "quantile": [
        of(lambda x: np.quantile(x, 0.3), (12,)),
        of(lambda x: np.quantile(x, [0.0, 0.25, 0.8, 1.0], axis=0), (7, 2)),
        of(lambda x: np.quantile(x, 0.7, axis=(0, 1), keepdims=True), (3, 4)),
        of(lambda x, q: np.quantile(x, q), (7,), (), low=0.1, high=0.9),
        near(lambda x, q: np.quantile(x, q, axis=1), (3, 7), (2,), low=0.1, high=0.9),
        of(lambda x: np.quantile(x, [[0.2, 0.5], [0.6, 0.9]], axis=-1, keepdims=True), (3, 7)),
        *(
            of(lambda x, m=m: np.quantile(x, [0.2, 0.37, 0.5], method=m), (11,))
            for m in (
                *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "hazen"),
                *("interpolated_inverted_cdf", "weibull", "median_unbiased", "nearest", "lower"),
                *("normal_unbiased", "higher", "midpoint"),
            )
        ),
    ],
    "percentile": [
        of(lambda x: np.percentile(x, 30.0), (12,)),
        of(lambda x: np.percentile(x, [10, 50], axis=1), (3, 7)),
        of(lambda x, q: np.percentile(x, 100.0 * q), (7,), (), low=0.1, high=0.9),
    ],
    "nanmedian": [
        of(lambda x: np.nanmedian(np.where(x > 1.0, np.nan, x)), (12,)),
        of(lambda x: np.nanmedian(np.where(x > 1.0, np.nan, x), axis=1, keepdims=True), (4, 9)),
    ],
    "nanquantile": [
        of(lambda x: np.nanquantile(np.where(x > 1.0, np.nan, x), 0.3), (12,)),
        near(lambda x: np.nanquantile(np.where(x > 1.0, np.nan, x), [0.3, 0.9], axis=0), (9, 2)),
    ],
    "nanpercentile": [of(lambda x: np.nanpercentile(np.where(x > 1, np.nan, x), 30), (12,))],
    "nansum": [
        of(lambda x: np.nansum(np.where(x > 1.0, np.nan, x), axis=0), (9, 2)),
        of(lambda x: np.nansum(x, axis=(0, 1), keepdims=True), (3, 4)),
    ],
    "nanprod": [of(lambda x: np.nanprod(np.where(x > 1.0, np.nan, x), axis=0), (5, 2))],
    "nanmean": [
        of(lambda x: np.nanmean(np.where(x > 1.0, np.nan, x)), (12,)),
        of(lambda x: np.nanmean(np.where(x > 1.0, np.nan, x), axis=1, keepdims=True), (2, 9)),
    ],
    "nanvar": [
        of(lambda x: np.nanvar(np.where(x > 1.0, np.nan, x), axis=1, ddof=1), (2, 9)),
    ],
    "nanstd": [of(lambda x: np.nanstd(np.where(x > 1.0, np.nan, x)), (12,))],
    "nanmax": [
        of(lambda x: np.nanmax(np.where(x > 1.0, np.nan, x)), (12,)),
        of(lambda x: np.nanmax(np.where(x > 1.0, np.nan, x), axis=1, keepdims=True), (2, 9)),
    ],
    "nanmin": [of(lambda x: np.nanmin(np.where(x > 1.0, np.nan, x), axis=0), (9, 2))],
    "cumsum": [
        of(lambda x: np.cumsum(x), (3, 4)),
        of(lambda x: np.cumsum(x, axis=-2), (3, 4)),
        of(lambda x: np.cumsum(x), ()),
        of(lambda x: np.cumsum(x[:0]).sum() + x, (3,)),
    ],
    "cumprod": [
        of(lambda x: np.cumprod(x), (3, 2)),
        of(lambda x: np.cumprod(x, axis=1), (3, 4)),
    ],
    "nancumsum": [of(lambda x: np.nancumsum(np.where(x > 1.0, np.nan, x)), (12,))],
    "nancumprod": [of(lambda x: np.nancumprod(np.where(x > 1.0, np.nan, x)), (6,))],
    "cumulative_sum": [
        of(lambda x: np.cumulative_sum(x, include_initial=True), (5,)),
        of(lambda x: np.cumulative_sum(x, axis=1), (3, 4)),
    ],
    "cumulative_prod": [of(lambda x: np.cumulative_prod(x, axis=0, include_initial=True), (3, 2))],
    "trace": [of(lambda x: np.trace(x), (4, 4)), of(lambda x: np.trace(x, 1, 1, 2), (2, 3, 4))],
    "count_nonzero": [
        of(lambda x: np.count_nonzero(x > 0.0) * x, (12,)),
        of(lambda x: np.count_nonzero(x > 0.0, axis=1, keepdims=True) * x, (3, 4)),
    ],
    "any": [of(lambda x: np.any(x > 1.0, axis=0) * x, (3, 4)), of(lambda x: np.any(x) * x, (3,))],
    "all": [
        of(lambda x: np.all(x > -1.0, axis=-1, keepdims=True) * x, (3, 4)),
        of(lambda x: np.all(x[:0]) * x, (3,)),
        of(lambda x: np.all(x > -1.0, where=MASK) * x, (5,)),
    ],
    "argmax": [
        of(lambda x: x[np.argmax(x)], (12,)),
        of(lambda x: np.argmax(x, axis=1) * x[:, 0], (3, 4)),
        of(lambda x: np.argmax(x, axis=0, keepdims=True) * x, (3, 4)),
        of(lambda x: np.argmax(x, keepdims=True) * x, (3, 4)),
    ],
    "argmin": [of(lambda x: x[x.argmin()], (12,)), of(lambda x: np.argmin(x, 0) * x, (3, 4))],
    "nanargmax": [of(lambda x: x[np.nanargmax(np.where(x > 1.0, np.nan, x))], (12,))],
    "nanargmin": [of(lambda x: np.nanargmin(x, axis=1) * x[:, 0], (3, 4))],
    "cov": [
        near(lambda x: np.cov(x), (3, 5)),
        near(lambda x: np.cov(x, rowvar=False, bias=True), (5, 3)),
        near(lambda x, y: np.cov(x, y), (5,), (5,)),
        near(lambda x, w: np.cov(x, aweights=w), (3, 5), (5,), low=0.2),
        near(lambda x: np.cov(x, fweights=[1, 2, 1, 3, 2]), (3, 5)),
        near(lambda x: np.cov(x), (5,)),
    ],
    "corrcoef": [
        near(lambda x: np.corrcoef(x)[0, 1:], (3, 6)),
        near(lambda x, y: np.corrcoef(x, y)[0, 1], (6,), (6,)),
    ],
    # shapes
    "reshape": [
        of(lambda x: np.reshape(x, (4, -1)) * 2.0, (3, 4)),
        of(lambda x: np.reshape(x, -1, order="F") * 2.0, (3, 4)),
        of(lambda x: x.reshape((6, 2)).reshape(2, -1) * 2.0, (3, 4)),
    ],
    "ravel": [of(lambda x: np.ravel(x, "F") * 2.0, (3, 4)), of(lambda x: x.ravel() * 2.0, (3, 4))],
    "transpose": [of(lambda x: np.transpose(x, (2, 0, 1)) * 2.0, (2, 3, 4))],
    "permute_dims": [of(lambda x: np.permute_dims(x, (1, 0)) * 2.0, (3, 4))],
    "matrix_transpose": [of(lambda x: np.matrix_transpose(x) * 2.0, (2, 3, 4))],
    "swapaxes": [of(lambda x: np.swapaxes(x, 0, -1) * 2.0, (2, 3, 4))],
    "moveaxis": [of(lambda x: np.moveaxis(x, (0, 1), (-1, 0)) * 2.0, (2, 3, 4))],
    "rollaxis": [of(lambda x: np.rollaxis(x, 2) * 2.0, (2, 3, 4))],
    "expand_dims": [of(lambda x: np.expand_dims(x, (0, 2)) * 2.0, (3, 4))],
    "squeeze": [of(lambda x: np.squeeze(x, -1) * 2.0, (3, 1))],
    "broadcast_to": [of(lambda x: np.broadcast_to(x, (3, 4)) * 2.0, (4,))],
    "broadcast_arrays": [of(lambda x, y: np.multiply(*np.broadcast_arrays(x, y)), (3, 1), (4,))],
    "atleast_1d": [of(lambda x: np.atleast_1d(x) * 2.0, ())],
    "atleast_2d": [of(lambda x, y: [z * 2.0 for z in np.atleast_2d(x, y)], (), (3,))],
    "atleast_3d": [of(lambda x: np.atleast_3d(x) * 2.0, (3, 4))],
    "concatenate": [
        of(lambda x, y: np.concatenate([x, y], axis=1) * 2.0, (3, 2), (3, 4)),
        of(lambda x: np.concatenate((x, x, np.ones(2)), axis=None) * 2.0, (4,)),
    ],
    "concat": [of(lambda x, y: np.concat([x, y]) * 2.0, (3,), (2,))],
    "stack": [of(lambda x, y: np.stack([x, y], axis=-1) * 2.0, (3,), (3,))],
    "hstack": [of(lambda x, y: np.hstack([x, y]) * 2.0, (3, 2), (3, 1))],
    "vstack": [of(lambda x, y: np.vstack([x, y]) * 2.0, (3,), (3,))],
    "dstack": [of(lambda x, y: np.dstack([x, y]) * 2.0, (2, 3), (2, 3))],
    "column_stack": [of(lambda x, y: np.column_stack([x, y]) * 2.0, (3,), (3, 2))],
    "split": [of(lambda x: [2.0 * y for y in np.split(x, [1, 3])], (5,))],
    "array_split": [of(lambda x: [2.0 * y for y in np.array_split(x, 3, axis=1)], (2, 5))],
    "hsplit": [of(lambda x: [2.0 * y for y in np.hsplit(x, 2)], (2, 4))],
    "vsplit": [of(lambda x: [2.0 * y for y in np.vsplit(x, 2)], (4, 2))],
    "dsplit": [of(lambda x: [2.0 * y for y in np.dsplit(x, 2)], (2, 2, 4))],
    "unstack": [of(lambda x: [2.0 * y for y in np.unstack(x, axis=1)], (2, 3))],
    "tile": [of(lambda x: np.tile(x, (2, 1, 3)) * 2.0, (2, 2))],
    "repeat": [
        of(lambda x: np.repeat(x, [1, 2, 3], axis=0) * 2.0, (3, 2)),
        of(lambda x: x.repeat(3) * 2.0, (2, 2)),
    ],
    "roll": [of(lambda x: np.roll(x, (1, -2), axis=(0, 1)) * x, (3, 4))],
    "rot90": [of(lambda x: np.rot90(x, 3) * 2.0, (3, 4))],
    "flip": [of(lambda x: np.flip(x, 0) * x, (3, 4))],
    "fliplr": [of(lambda x: np.fliplr(x) * x, (3, 4))],
    "flipud": [of(lambda x: np.flipud(x) * x, (3, 4))],
    "pad": [
        of(lambda x: np.pad(x, 2) * 2.0, (4,)),
        of(lambda x, c: np.pad(x, ((1, 2), (0, 1)), constant_values=c) * x[0, 0], (3, 4), ()),
        of(lambda x: np.pad(x, ((1, 2), (3, 0)), "constant", constant_values=(1, 2)) * 2.0, (3, 4)),
        *(
            of(lambda x, m=m: np.pad(x, ((1, 2), (2, 1)), m) * 2.0, (4, 5))
            for m in ("edge", "reflect", "symmetric", "wrap", "maximum", "minimum", "median")
        ),
        near(lambda x: np.pad(x, ((1, 2), (2, 1)), "mean") * 2.0, (4, 5)),
        near(lambda x: np.pad(x, (3, 2), "linear_ramp", end_values=(0.5, -1)) * 2.0, (4,)),
        near(lambda x: np.pad(x, ((2, 1), (0, 2)), "linear_ramp") * 2.0, (3, 4)),
        of(lambda x: np.pad(x, 2, "maximum", stat_length=2) * 2.0, (5,)),
        of(lambda x: np.pad(x, {-1: (1, 2)}) * 2.0, (3, 4)),
    ],
    "diag": [of(lambda x: np.diag(x, 1) * 2.0, (3,)), of(lambda x: np.diag(x, -1) * 2.0, (3, 4))],
    "diagonal": [of(lambda x: np.diagonal(x, 1, 0, 2) * 2.0, (3, 2, 4))],
    "diagflat": [of(lambda x: np.diagflat(x, 1) * 2.0, (2, 2))],
    "tril": [of(lambda x: np.tril(x, -1) * 2.0, (3, 4))],
    "triu": [of(lambda x: np.triu(x) * 2.0, (3, 4))],
    "meshgrid": [
        of(lambda x, y: np.multiply(*np.meshgrid(x, y)), (3,), (4,)),
        of(lambda x, y: np.add(*np.meshgrid(x, y, indexing="ij", sparse=True)) ** 2, (3,), (4,)),
    ],
    "ix_": [of(lambda x, y: np.multiply(*np.ix_(x, y)), (3,), (4,))],
    "insert": [
        of(lambda x, v: np.insert(x, 2, v) * 2.0, (4,), ()),
        of(lambda x, v: np.insert(x, [1, 3], v, axis=1) * 2.0, (2, 4), (2, 2)),
    ],
    "delete": [of(lambda x: np.delete(x, [0, 2], axis=1) * 2.0, (2, 4))],
    "append": [
        of(lambda x, y: np.append(x, y) * 2.0, (2, 2), (3,)),
        of(lambda x, y: np.append(x, y, axis=0) * 2.0, (2, 2), (1, 2)),
    ],
    "resize": [of(lambda x: np.resize(x, (2, 5)) * 2.0, (3,))],
    "block": [
        of(lambda x, y: np.block([[x, y], [y, x]]) * 2.0, (2, 2), (2, 2)),
        of(lambda x: np.block([x, 1.0, x]) * 2.0, (2,)),
    ],
    "trim_zeros": [of(lambda x: np.trim_zeros(np.concatenate([[0.0], x, [0.0]])) * 2.0, (3,))],
    "copy": [of(lambda x: np.copy(x) * 2.0, (3,))],
    "astype": [of(lambda x: np.astype(x, float) * 2.0, (3,))],
    # selection
    "where": [
        of(lambda x, y: np.where(x > y, x * y, y), (3, 4), (4,)),
        of(lambda x: np.where(MASK, x, 2.0 * x), (5,)),
        of(lambda x: x[np.where(x > 0.0)] * 2.0, (12,)),
    ],
    "select": [
        of(lambda x: np.select([x < -0.5, x < 0.5], [x**2, np.sin(x)], x**3), (12,)),
        of(lambda x: np.select([x < 0.5], [x]), (12,)),
        of(lambda x, y: np.select([x < 0.5], [x**2], y), (4,), (3, 4)),
    ],
    "piecewise": [
        of(lambda x: np.piecewise(x, [x < 0.0, x >= 0.0], [np.exp, lambda v: v**2 + 1.0]), (12,)),
        of(lambda x: np.piecewise(x, [x < 0.0], [lambda v: -v, 3.0]) * x, (12,)),
        of(lambda x: np.piecewise(x, [x < 0.0], [lambda v: v - np.mean(v), np.sin]), (12,)),
        of(lambda x: np.piecewise(x, [x < 0.0, x > 1.0], [1.0, 2.0]) * x, ()),
    ],
    "choose": [
        of(lambda x, y: np.choose([0, 1, 1, 0], [x, y]) * 2.0, (4,), (4,)),
        of(lambda x, y: np.choose((x > 0.0).astype(int), [x, y * y]), (4,), (4,)),
    ],
    "clip": [
        of(lambda x: np.clip(x, -0.5, 0.7), (12,)),
        of(lambda x, a, b: np.clip(x, a - 2.0, b + 2.0), (3, 4), (4,), ()),
        of(lambda x: np.clip(x, max=0.2), (12,)),
    ],
    "take": [
        of(lambda x: np.take(x, INDEX) * 2.0, (4,)),
        of(lambda x: np.take(x, [[0, 2]], axis=1) * 2.0, (3, 4)),
        of(lambda x: np.take(x, [5, -7], mode="wrap") * 2.0, (3,)),
        of(lambda x: np.take(x, np.argsort(x[0]), axis=1) * 2.0, (3, 4)),
        of(lambda x: np.take(x, np.floor(2.0 * x).astype(int), mode="clip") * x, (4,)),
    ],
    "take_along_axis": [
        of(lambda x: np.take_along_axis(x, np.array([[1], [0], [3]]), 1) * 2.0, (3, 4)),
        of(lambda x: np.take_along_axis(x, np.argsort(x, axis=0), 0) * x, (3, 4)),
        of(lambda x: np.take_along_axis(x, np.argsort(x, axis=None), None) ** 2, (3, 4)),
    ],
    "compress": [
        of(lambda x: np.compress(MASK, x, axis=1) * 2.0, (2, 5)),
        of(lambda x: np.compress(x > 0.0, x) * 2.0, (12,)),
    ],
    "extract": [of(lambda x: np.extract(x > 0.0, x) * 2.0, (12,))],
    "sort": [
        of(lambda x: np.sort(x) ** 2, (12,)),
        of(lambda x: np.sort(x, axis=0) ** 2, (5, 3)),
        of(lambda x: np.sort(x, axis=None, kind="stable") ** 2, (3, 4)),
        of(lambda x: np.sort(x[:, ::-2]) ** 2, (3, 6)),
        of(lambda x: np.sort(x[:0]).sum() + x, (3,)),
        of(_with(lambda y: y.sort()), (4,)),
    ],
    "argsort": [
        of(lambda x: x[np.argsort(x)] * x, (12,)),
        of(lambda x: np.argsort(x, axis=0) * x, (3, 4)),
        of(lambda x: x[np.argsort(np.argsort(x))] * x, (6,)),
    ],
    "partition": [near(lambda x: np.sort(np.partition(x, 3)[:3]) ** 2, (12,))],
    "argpartition": [near(lambda x: np.sort(x[np.argpartition(x, 3)[:3]]) ** 2, (12,))],
    "lexsort": [of(lambda x, y: x[np.lexsort((x, np.floor(y)))] * x, (6,), (6,))],
    "unique": [
        of(lambda x: np.unique(x) ** 2, (6,)),
        of(lambda x: np.unique(np.concatenate([x, x])) ** 2, (4,)),
        of(lambda x: np.unique(np.append(x, x[:2]), True, True, True), (4,)),
    ],
    "unique_values": [of(lambda x: np.unique_values(x), (6,))],
    "unique_counts": [of(lambda x: tuple(np.unique_counts(x)), (6,))],
    "unique_inverse": [of(lambda x: tuple(np.unique_inverse(x)), (6,))],
    "unique_all": [of(lambda x: tuple(np.unique_all(x)), (6,))],
    "union1d": [of(lambda x, y: np.union1d(x, y) ** 2, (3,), (4,))],
    "intersect1d": [of(lambda x: np.intersect1d(x, x[1:]) ** 2, (4,))],
    "setdiff1d": [of(lambda x: np.setdiff1d(x, x[1:]) ** 2, (4,))],
    "setxor1d": [of(lambda x: np.setxor1d(x[:3], x[1:]) ** 2, (5,))],
    "isin": [of(lambda x: np.isin(x, x[:2]) * x, (4,))],
    "searchsorted": [
        of(lambda x: np.searchsorted(np.linspace(-1.0, 1.0, 7), x) * x, (12,)),
        of(lambda x, v: np.searchsorted(np.sort(x), v, side="right") * v, (7,), (3, 2)),
        of(lambda x, v: np.searchsorted(x, v, sorter=np.argsort(x)) * v, (7,), (3,)),
        of(lambda x, v: np.searchsorted(np.sort(x), v) * v, (7,), ()),
    ],
    "interp": [
        of(lambda x: np.interp(x, np.linspace(-1.0, 1.0, 5), np.arange(5.0) ** 2), (12,)),
        of(lambda x, y: np.interp(x, np.linspace(-1.0, 1.0, 5), y), (3, 4), (5,)),
        of(lambda x, k, y: np.interp(x, np.sort(k), y, left=-1.0, right=2.0), (7,), (5,), (5,)),
        of(lambda x, y: np.interp(x, [0.3, 0.6, 0.9], y, period=1.0), (7,), (3,)),
        of(lambda x, y: np.interp(x, np.linspace(-1.0, 1.0, 5), y), (), (5,)),
        of(lambda y: np.interp(0.4, [0.0, 1.0], y), (2,)),
    ],
    "digitize": [
        of(lambda x: np.digitize(x, [-1.0, 0.0, 1.0]) * x, (12,)),
        of(lambda x: np.digitize(x, [1.0, 0.0, -1.0], right=True) * x, (12,)),
    ],
    "bincount": [
        of(lambda x: np.bincount([0, 1, 1, 3], weights=x) * 2.0, (4,)),
        of(lambda x: np.bincount(np.floor(x + 2.0).astype(int), x, minlength=5) * 2.0, (6,)),
    ],
    "histogram": [
        of(lambda x: np.histogram(x, [-1.0, 0.0, 1.0])[0] * x[:2], (12,)),
        near(lambda x, w: np.histogram(x, 4, (-2, 2), weights=w)[0], (12,), (12,)),
        near(lambda x: np.histogram(x, 3, density=True), (12,)),
    ],
    "histogram2d": [
        of(lambda x, y, w: np.histogram2d(x, y, 3, [(-2, 2), (-2, 2)], weights=w), *[(9,)] * 3),
        near(lambda x, y, w: np.histogram2d(x, y, (2, 3), weights=w)[0], *[(9,)] * 3),
        near(
            lambda x, w: np.histogram2d(x, x, [-2, 0, 2], density=True, weights=w),
            (9,),
            (9,),
            low=0.1,
        ),
    ],
    "histogramdd": [
        of(lambda x, w: np.histogramdd(x, [[-1, 0, 1]] * 3, weights=w)[0], (9, 3), (9,)),
        of(lambda x: np.histogramdd(x, 2, [(-2, 2)] * 2)[0] * x[:2], (9, 2)),
    ],
    "nonzero": [of(lambda x: x[np.nonzero(x > 0.0)] * 2.0, (12,))],
    "flatnonzero": [of(lambda x: x[np.flatnonzero(x > 0.0)] * 2.0, (12,))],
    "argwhere": [of(lambda x: x[np.argwhere(x > 0.0)[:, 0]] * 2.0, (12,))],
    "put_along_axis": [
        of(
            _with(lambda y, v: np.put_along_axis(y, np.array([[1], [0]]), v, 1)),
            (2, 3),
            (2, 1),
        )
    ],
    "put": [of(_with(lambda y, v: np.put(y, [1, 3], v)), (4,), (2,))],
    "place": [of(_with(lambda y, v: np.place(y, y > 0.0, v)), (6,), (2,))],
    "putmask": [
        of(_with(lambda y, v: np.putmask(y, y > 0.0, v)), (6,), (6,)),
        of(_with(lambda y, v: np.putmask(y, y > 0.0, v)), (6,), (2,)),
    ],
    "copyto": [
        of(_with(lambda y, v: np.copyto(y, v, where=y > 0.0)), (6,), ()),
        of(_with(lambda y, v: np.copyto(y, v)), (2, 3), (3,)),
    ],
    "fill_diagonal": [of(_with(lambda y, v: np.fill_diagonal(y, v)), (3, 3), (3,))],
    # products
    "dot": [
        near(lambda x, y: np.dot(x, y), (3, 4), (4, 2)),
        of(lambda x, y: np.dot(x, y), (4,), (4,)),
        near(lambda x, y: np.dot(x, y), (2, 3, 4), (5, 4, 2)),
        of(lambda x, y: np.dot(x, y), (), (3,)),
    ],
    "vdot": [near(lambda x, y: np.vdot(x, y), (3, 4), (3, 4))],
    "inner": [
        near(lambda x, y: np.inner(x, y), (3, 4), (2, 4)),
        of(lambda x, y: np.inner(x, y), (), (3, 4)),
    ],
    "outer": [of(lambda x, y: np.outer(x, y), (3,), (2, 2))],
    "matmul": [
        near(lambda x, y: np.matmul(x, y), (2, 3, 4), (4, 2)),
        near(lambda x, y: x @ y, (4,), (3, 4, 2)),
    ],
    "vecdot": [
        near(lambda x, y: np.vecdot(x, y), (3, 4), (4,)),
        near(lambda x, y: np.vecdot(x, y, axis=0), (3, 4), (3, 4)),
    ],
    "matvec": [near(lambda x, y: np.matvec(x, y), (2, 3, 4), (4,))],
    "vecmat": [near(lambda x, y: np.vecmat(x, y), (3,), (2, 3, 4))],
    "tensordot": [
        near(lambda x, y: np.tensordot(x, y), (2, 3, 4), (3, 4, 2)),
        near(lambda x, y: np.tensordot(x, y, axes=([1, 0], [0, 1])), (2, 3, 4), (3, 2, 2)),
        near(lambda x, y: np.tensordot(x, y, axes=0), (2,), (3,)),
    ],
    "einsum": [
        near(lambda x, y: np.einsum("ij,jk->ik", x, y), (3, 4), (4, 2)),
        near(lambda x, y: np.einsum("ij,jk", x, y, optimize=True), (3, 4), (4, 2)),
        near(lambda x: np.einsum("ii", x), (4, 4)),
        near(lambda x: np.einsum("ii->i", x), (4, 4)),
        near(lambda x: np.einsum("iij->ji", x), (3, 3, 2)),
        near(lambda x: np.einsum("ij->", x), (3, 4)),
        near(lambda x: np.einsum("ij->j", x), (3, 4)),
        near(lambda x: np.einsum("...ij->...ji", x), (2, 3, 4)),
        near(lambda x, y: np.einsum("i,i", x, y), (4,), (4,)),
        near(lambda x, y: np.einsum("i,j->ij", x, y), (4,), (3,)),
        near(lambda x, y: np.einsum("...ij,...jk", x, y), (2, 3, 4), (4, 2)),
        near(lambda x, y: np.einsum("bij, bjk -> bik", x, y), (2, 3, 4), (2, 4, 2)),
        near(lambda x, y: np.einsum("bi,bi->b", x, y), (5, 3), (5, 3)),
        near(lambda x, y: np.einsum("ij,ij", x, y), (3, 4), (3, 4)),
        near(lambda x, y: np.einsum("ii,ij->j", x, y), (3, 3), (3, 2)),
        near(lambda x, y: np.einsum("i...,i...", x, y), (3, 2), (3, 1)),
        near(lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z), (2, 3), (3, 4), (4, 2)),
        near(lambda x, y, z: np.einsum("i,ij,j", x, y, z, optimize=True), (3,), (3, 4), (4,)),
        near(lambda x, y, z: np.einsum("a,b,c->abc", x, y, z), (2,), (3,), (2,)),
        near(lambda x, y, z: np.einsum("ai,bi,ci->abc", x, y, z), (2, 4), (3, 4), (2, 4)),
        near(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [0, 2]), (3, 4), (4, 2)),
        near(lambda x: np.einsum("ij,jk,kl,li", x, x, x, x), (3, 3)),
        near(lambda x, y: np.einsum(",i->i", x, y), (), (3,)),
        near(lambda x: np.einsum("ij,j", np.ones((2, 3)), x), (3,)),
    ],
    "kron": [
        of(lambda x, y: np.kron(x, y), (2, 3), (3, 2)),
        of(lambda x, y: np.kron(x, y), (2,), (2, 3)),
    ],
    "cross": [
        of(lambda x, y: np.cross(x, y), (4, 3), (3,)),
        of(lambda x, y: np.cross(x, y, axis=0), (3, 2), (3, 2)),
    ],
    "convolve": [
        near(lambda x, y, m=m: np.convolve(x, y, m), (9,), (4,)) for m in ("full", "same", "valid")
    ]
    + [near(lambda x, y: np.convolve(x, y), (4,), (9,))],
    "correlate": [
        *(near(lambda x, y, m=m: np.correlate(x, y, m), (9,), (4,)) for m in ("full", "valid")),
        near(lambda x, y: np.correlate(x, y, "same"), (9,), (5,)),
        near(lambda x, y: np.correlate(x, y, "full"), (4,), (9,)),
        near(lambda x, y: np.correlate(x, y), (50,), (40,)),
        near(lambda x, y: np.correlate(x, y, "same"), (45,), (40,)),
    ],
    "roots": [
        near(lambda x: np.roots(np.stack([1.0 + 0.1 * x[0], x[1], 0.1 * x[2] - 2.0])), (3,)),
    ],
    "polyval": [
        of(lambda p, x: np.polyval(p, x), (4,), (3,)),
        of(lambda x: np.polyval([1.0, 2.0, 3.0], x), (12,)),
        of(lambda p, x: np.polyval(p, x), (4,), ()),
    ],
    "polyder": [of(lambda p: np.polyder(p, 2), (5,)), of(lambda p: np.polyder(p), (1,))],
    "polyint": [
        of(lambda p: np.polyint(p, 2), (3,)),
        of(lambda p, k: np.polyint(p, 2, k), (3,), (2,)),
    ],
    "polyadd": [of(lambda p, q: np.polyadd(p, q), (3,), (5,))],
    "polysub": [of(lambda p, q: np.polysub(p, q), (3,), (5,))],
    "polymul": [near(lambda p, q: np.polymul(p, q), (3,), (5,))],
    "polydiv": [near(lambda p, q: np.polydiv(p, q), (5,), (3,), low=0.5)],
    "poly": [near(lambda z: np.poly(z), (4,))],
    "polyfit": [
        near(lambda y: np.polyfit(np.arange(5.0), y, 2), (5,)),
        near(lambda y: np.polyfit(np.arange(5.0), y, 1, w=[1, 2, 1, 2, 1]), (5, 2)),
    ],
    "vander": [
        of(lambda x: np.vander(x, 4), (3,)),
        of(lambda x: np.vander(x, increasing=True), (3,)),
    ],
    # calculus
    "diff": [
        of(lambda x: np.diff(x), (5,)),
        of(lambda x: np.diff(x, 2, axis=0), (5, 2)),
        of(lambda x, a: np.diff(x, prepend=a, append=[[1.0, 2.0], [3.0, 4.0]]), (2, 4), ()),
    ],
    "ediff1d": [
        of(lambda x: np.ediff1d(x), (3, 2)),
        of(lambda x, a: np.ediff1d(x, to_end=a, to_begin=[1.0, 2.0]), (5,), ()),
    ],
    "gradient": [
        of(lambda x: np.gradient(x), (6,)),
        of(lambda x: np.gradient(x, 0.3, edge_order=2), (6,)),
        of(lambda x: np.gradient(x), (3, 4)),
        of(lambda x, h: np.gradient(x, h, axis=1), (3, 4), ()),
        of(lambda x, t: np.gradient(x, np.append(0.0, np.cumsum(t))), (6,), (5,), low=0.3),
        of(
            lambda x, t: np.gradient(x, np.append(0.0, np.cumsum(t)), edge_order=2),
            (6,),
            (5,),
            low=0.3,
        ),
        of(lambda x: np.gradient(x, 0.2, [0.0, 0.1, 0.4, 0.5]), (3, 4)),
        of(lambda x: np.gradient(x, [0.0, 1.0, 2.0, 3.0], axis=-1), (3, 4)),
    ],
    "trapezoid": [
        of(lambda y: np.trapezoid(y), (12,)),
        of(lambda y, x: np.trapezoid(y, x), (3, 4), (4,)),
        of(lambda y, x: np.trapezoid(y, x, axis=0), (3, 4), (3, 4)),
        of(lambda y, h: np.trapezoid(y, dx=h, axis=0), (3, 4), ()),
        of(lambda y, x: np.trapezoid(y, x), (3,), (2, 3)),
    ],
    "unwrap": [
        of(lambda x: np.unwrap(4.0 * x), (12,)),
        of(lambda x: np.unwrap(4.0 * x, axis=0, period=3.0), (5, 2)),
    ],
    "apply_along_axis": [
        of(lambda x: np.apply_along_axis(lambda v: np.sort(v) * v[0], 0, x), (3, 4)),
        of(lambda x: np.apply_along_axis(np.sum, 1, x), (3, 4)),
        of(lambda x: np.apply_along_axis(lambda v: np.outer(v, v), 1, x), (2, 3, 2)),
    ],
    "apply_over_axes": [of(lambda x: np.apply_over_axes(np.sum, x, [0, 2]), (2, 3, 4))],
    # numbers
    "nan_to_num": [
        of(lambda x: np.nan_to_num(np.where(x > 1.0, np.nan, x), nan=2.0), (12,)),
        of(lambda x: np.nan_to_num(x), ()),
    ],
    "real": [of(lambda x: np.real(x) * 2.0, (3,))],
    "imag": [of(lambda x: np.imag(x) + x, (3,))],
    "angle": [of(lambda x: np.angle(x) * x, (12,)), of(lambda x: np.angle(x, True) * x, ())],
    "real_if_close": [of(lambda x: np.real_if_close(x) * 2.0, (3,))],
    "iscomplexobj": [of(lambda x: np.iscomplexobj(x) + x, (3,))],
    "isrealobj": [of(lambda x: np.isrealobj(x) * x, (3,))],
    "iscomplex": [of(lambda x: np.iscomplex(x) + x, (3,))],
    "isreal": [of(lambda x: np.isreal(x) * x, (3,))],
    "isposinf": [of(lambda x: np.isposinf(x) + x, (3,))],
    "isneginf": [of(lambda x: np.isneginf(x) + x, (3,))],
    "isclose": [of(lambda x: np.isclose(x, x[0], atol=0.5) * x, (12,))],
    "allclose": [of(lambda x: x * 2.0 if np.allclose(x, x + 1e-12) else x, (3,))],
    "array_equal": [of(lambda x: x * 2.0 if np.array_equal(x, x) else x, (3,))],
    "array_equiv": [of(lambda x: x * 2.0 if np.array_equiv(x, x[0]) else x, (3,))],
    "i0": [of(lambda x: np.i0(x), (12,)), of(lambda x: np.i0(x), ())],
    "kaiser": [near(lambda x: np.kaiser(12, x), ())],
    "sinc": [of(lambda x: np.sinc(x), (12,)), of(lambda x: np.sinc(x), ())],
    "round": [
        of(lambda x: np.round(x) * x, (12,)),
        of(lambda x: np.round(10.0 * x, 1) * x, (12,)),
        of(lambda x: (100.0 * x).round(-1) * x, (12,)),
    ],
    "around": [of(lambda x: np.around(x, 2) * x, (12,))],
    "fix": [of(lambda x: np.fix(2.0 * x) * x, (12,))],
    # making arrays
    "zeros_like": [of(lambda x: np.zeros_like(x) + x, (3,))],
    "ones_like": [of(lambda x: np.ones_like(x) * x, (3,))],
    "empty_like": [of(_with(lambda y: np.copyto(np.empty_like(y), y)), (3,))],
    "full_like": [of(lambda x, v: np.full_like(x, v) * x, (3,), ())],
    "full": [
        of(lambda x: np.full((2, 3), x) * 2.0, ()),
        of(lambda x: np.full(3, x[0], like=x), (2,)),
    ],
    "zeros": [
        of(lambda x: np.zeros(3, like=x) + x, (3,)),
        of(lambda x: _filled(np.zeros(3), x), (3,)),
    ],
    "fromiter": [of(lambda x: np.fromiter((v * v for v in x), float), (3,))],
    "float64": [of(lambda x: np.float64(x[0]) * np.float64(x), (3,))],
    "ones": [of(lambda x: np.ones(3, like=x) * x, (3,))],
    "empty": [of(lambda x: np.empty(0, like=x).sum() + x, (3,))],
    "eye": [of(lambda x: np.eye(3, like=x) * x, (3,))],
    "identity": [of(lambda x: np.identity(3, like=x) * x, (3,))],
    "tri": [of(lambda x: np.tri(3, like=x) * x, (3,))],
    "array": [of(lambda x: np.array([x[0], x[1] * 2.0, x[2]]) * 2.0, (3,))],
    "asarray": [of(lambda x: np.asarray([x[0], x[1]], like=x) * 2.0, (3,))],
    "asanyarray": [of(lambda x: np.asanyarray(x) * 2.0, (3,))],
    "ascontiguousarray": [of(lambda x: np.ascontiguousarray(x) * 2.0, (3,))],
    "asarray_chkfinite": [of(lambda x: np.asarray_chkfinite(x) * 2.0, (3,))],
    "asfortranarray": [of(lambda x: np.asfortranarray(x) * 2.0, (3,))],
    "require": [of(lambda x: np.require(x) * 2.0, (3,))],
    "linspace": [
        of(lambda a, b: np.linspace(a, b, 7), (), ()),
        of(lambda a: np.linspace(a, 1.0, 5, endpoint=False, retstep=True), (3,)),
        of(lambda b: np.linspace(0.0, b, 5, axis=-1), (3,)),
        of(lambda b: np.linspace(0.5, b, 1), ()),
    ],
    "logspace": [
        of(lambda a, b: np.logspace(a, b, 5), (), ()),
        of(lambda a, b: np.logspace(a, 2.0, 5, base=b), (), (), low=0.5),
    ],
    "geomspace": [
        near(lambda a, b: np.geomspace(a, b, 5), (), (), low=0.5),
        near(lambda a, b: np.geomspace(-a, -b, 5, endpoint=False), (2,), (2,), low=0.5),
    ],
    # shapes of arrays, their text
    "shape": [of(lambda x: np.shape(x)[0] * x, (3, 4))],
    "ndim": [of(lambda x: np.ndim(x) * x, (3, 4))],
    "size": [of(lambda x: (np.size(x) + np.size(x, 1)) * x, (3, 4))],
    "iterable": [of(lambda x: np.iterable(x) * x, (3,))],
    "isscalar": [of(lambda x: np.isscalar(x[0]) * x, (3,))],
    "result_type": [of(lambda x: x.astype(np.result_type(x, 1.0)) * 2.0, (3,))],
    "common_type": [of(lambda x: x.astype(np.common_type(x)) * 2.0, (3,))],
    "tril_indices_from": [of(lambda x: x[np.tril_indices_from(x)] * 2.0, (3, 3))],
    "triu_indices_from": [of(lambda x: x[np.triu_indices_from(x, 1)] * 2.0, (3, 3))],
    "diag_indices_from": [of(lambda x: x[np.diag_indices_from(x)] * 2.0, (3, 3))],
    "may_share_memory": [of(lambda x: np.may_share_memory(x, x[1:]) * x, (3,))],
    "shares_memory": [of(lambda x: np.shares_memory(x, x[1:]) * x, (3,))],
    "array2string": [of(lambda x: len(np.array2string(x)) * 0.0 + x, (3,))],
    "array_repr": [of(lambda x: len(np.array_repr(x)) * 0.0 + x, (3,))],
    "array_str": [of(lambda x: len(np.array_str(x)) * 0.0 + x, (3,))],
    # ufuncs that are other ufuncs put together
    "fabs": [of(np.fabs, (12,))],
    "radians": [of(np.radians, (12,))],
    "degrees": [of(np.degrees, (12,))],
    "conjugate": [of(lambda x: np.conjugate(x) * 2.0, (3,))],
    "conj": [of(lambda x: np.conj(x) * 2.0, (3,))],
    "divmod": [of(lambda x: np.divmod(x, 0.7), (12,)), of(lambda x: divmod(x, 0.7), ())],
    "modf": [of(lambda x: np.modf(3.0 * x), (12,)), of(lambda x: np.modf(x)[0], ())],
    "signbit": [of(lambda x: np.signbit(x) * x, (12,))],
    "ldexp": [
        of(lambda x: np.ldexp(x, 3), (3,)),
        of(lambda x: np.ldexp(x, np.array([1, -2, 3])), (3,)),
    ],
    "bitwise_and": [of(lambda x: np.bitwise_and(x > 0.0, x < 1.0) * x, (12,))],
    "bitwise_or": [of(lambda x: np.bitwise_or(x > 0.0, x < -1.0) * x, (12,))],
    "bitwise_xor": [of(lambda x: np.bitwise_xor(x > 0.0, x < 1.0) * x, (12,))],
    "invert": [of(lambda x: np.invert(x > 0.0) * x, (12,))],
    "bitwise_invert": [of(lambda x: np.bitwise_invert(x > 0.0) * x, (12,))],
    "bitwise_not": [of(lambda x: np.bitwise_not(x > 0.0) * x, (12,))],
    # classes that are called like functions
    "vectorize": [
        of(lambda x: np.vectorize(lambda v: v**2 if v > 0.0 else -v)(x), (5,)),
        of(lambda x, y: np.vectorize(lambda v, w: v * w)(x, y), (2, 3), (3,)),
    ],
    "frompyfunc": [of(lambda x: np.stack(list(np.frompyfunc(lambda v: v**2, 1, 1)(x))), (3,))],
    "fromfunction": [of(lambda x: np.fromfunction(lambda i: x * (i + 1.0), (3,)), (3,))],
    "ndenumerate": [of(lambda x: sum(v * (i + j) for (i, j), v in np.ndenumerate(x)), (2, 3))],
    "poly1d": [of(lambda x: np.poly1d([1.0, 2.0, 3.0])(x), (5,))],
}

# What an older NumPy does not have yet.
EXAMPLES = {name: cases for name, cases in EXAMPLES.items() if hasattr(np, name)}

# Ufuncs that are rows of the table are tried where the table says.
for _name in np.__all__:
    _ufunc = getattr(np, _name)
    if isinstance(_ufunc, np.ufunc) and _name not in EXAMPLES:
        _row = row_of_ufunc(_ufunc)
        if _row is not None:
            _ranges = _row.domain[: _row.arity]
            _low, _high = max(a for a, _ in _ranges), min(b for _, b in _ranges)
            EXAMPLES[_name] = [
                of(_ufunc, *[shape] * _row.arity, low=_low, high=_high)
                for shape in ((), (2, 3), (12,))
            ]
            if _row.arity == 2:
                EXAMPLES[_name].append(of(_ufunc, (3, 1), (4,), low=_low, high=_high))


def _of_matrix(function, *shapes, **options) -> Case:
    """A case of symmetric, positive definite matrices far from having equal eigenvalues."""

    def on(x, *rest):
        return function(x @ np.swapaxes(x, -1, -2) + np.diag([1.0, 3.0, 6.0]), *rest)

    return near(on, (3, 3), *shapes, **options)


# The namespaces below NumPy's own: one example each; which of them work is found by trying.
NAMESPACES: dict[str, list[Case]] = {
    "linalg.matrix_power": [_of_matrix(lambda m: np.linalg.matrix_power(m, 3))],
    "linalg.solve": [_of_matrix(lambda m, b: np.linalg.solve(m, b), (3,))],
    "linalg.tensorsolve": [_of_matrix(lambda m, b: np.linalg.tensorsolve(m, b), (3,))],
    "linalg.tensorinv": [_of_matrix(lambda m: np.linalg.tensorinv(m, ind=1))],
    "linalg.inv": [_of_matrix(lambda m: np.linalg.inv(m))],
    "linalg.cholesky": [_of_matrix(lambda m: np.linalg.cholesky(m))],
    "linalg.eigvals": [_of_matrix(lambda m: np.sort(np.linalg.eigvals(m)))],
    "linalg.eigvalsh": [_of_matrix(lambda m: np.linalg.eigvalsh(m))],
    "linalg.pinv": [_of_matrix(lambda m: np.linalg.pinv(m))],
    "linalg.slogdet": [_of_matrix(lambda m: np.linalg.slogdet(m)[1])],
    "linalg.det": [_of_matrix(lambda m: np.linalg.det(m))],
    "linalg.svd": [_of_matrix(lambda m: np.linalg.svd(m)[1])],
    "linalg.svdvals": [_of_matrix(lambda m: np.linalg.svdvals(m))],
    "linalg.eig": [_of_matrix(lambda m: np.sort(np.linalg.eig(m)[0]))],
    "linalg.eigh": [_of_matrix(lambda m: np.linalg.eigh(m)[0])],
    "linalg.lstsq": [_of_matrix(lambda m, b: np.linalg.lstsq(m[:, :2], b)[0], (3,))],
    "linalg.norm": [_of_matrix(lambda m: np.linalg.norm(m))],
    "linalg.qr": [_of_matrix(lambda m: np.abs(np.linalg.qr(m)[1]))],
    "linalg.cond": [_of_matrix(lambda m: np.linalg.cond(m))],
    "linalg.matrix_rank": [_of_matrix(lambda m: np.linalg.matrix_rank(m) * m)],
    "linalg.multi_dot": [_of_matrix(lambda m, b: np.linalg.multi_dot([m, m, b]), (3,))],
    "linalg.trace": [_of_matrix(lambda m: np.linalg.trace(m))],
    "linalg.diagonal": [_of_matrix(lambda m: np.linalg.diagonal(m) * 2.0)],
    "linalg.cross": [near(lambda x, y: np.linalg.cross(x, y), (4, 3), (4, 3))],
    "linalg.outer": [near(lambda x, y: np.linalg.outer(x, y), (3,), (4,))],
    "linalg.tensordot": [near(lambda x, y: np.linalg.tensordot(x, y, axes=1), (3, 4), (4, 2))],
    "linalg.matmul": [near(lambda x, y: np.linalg.matmul(x, y), (3, 4), (4, 2))],
    "linalg.matrix_transpose": [near(lambda x: np.linalg.matrix_transpose(x) * 2.0, (2, 3))],
    "linalg.matrix_norm": [_of_matrix(lambda m: np.linalg.matrix_norm(m))],
    "linalg.vector_norm": [near(lambda x: np.linalg.vector_norm(x, axis=1), (3, 4))],
    "linalg.vecdot": [near(lambda x, y: np.linalg.vecdot(x, y), (3, 4), (3, 4))],
    "fft.fft": [near(lambda x: np.abs(np.fft.fft(x)), (6,))],
    "fft.ifft": [near(lambda x: np.abs(np.fft.ifft(x)), (6,))],
    "fft.rfft": [near(lambda x: np.abs(np.fft.rfft(x)), (6,))],
    "fft.irfft": [near(lambda x: np.fft.irfft(x), (4,))],
    "fft.hfft": [near(lambda x: np.fft.hfft(x), (4,))],
    "fft.ihfft": [near(lambda x: np.abs(np.fft.ihfft(x)), (6,))],
    "fft.rfftn": [near(lambda x: np.abs(np.fft.rfftn(x)), (3, 4))],
    "fft.irfftn": [near(lambda x: np.fft.irfftn(x), (3, 4))],
    "fft.rfft2": [near(lambda x: np.abs(np.fft.rfft2(x)), (3, 4))],
    "fft.irfft2": [near(lambda x: np.fft.irfft2(x), (3, 4))],
    "fft.fft2": [near(lambda x: np.abs(np.fft.fft2(x)), (3, 4))],
    "fft.ifft2": [near(lambda x: np.abs(np.fft.ifft2(x)), (3, 4))],
    "fft.fftn": [near(lambda x: np.abs(np.fft.fftn(x)), (3, 4))],
    "fft.ifftn": [near(lambda x: np.abs(np.fft.ifftn(x)), (3, 4))],
    "fft.fftshift": [near(lambda x: np.fft.fftshift(x) * 2.0, (3, 4))],
    "fft.ifftshift": [near(lambda x: np.fft.ifftshift(x, axes=1) * 2.0, (3, 4))],
}


def works(case: Case) -> bool:
    """Whether a case is recorded, rather than refused."""
    try:
        nt.record(case.function, *case.point(1))
    except nt.TraceError:
        return False
    return True


WORKING = {name: cases for name, cases in NAMESPACES.items() if all(map(works, cases))}

# Calls that raise; of these, what has a derivative, that numtape has no rule for yet ...
WITHOUT_RULE: dict[str, Any] = {}

# ... and what has none, or asks for plain numbers.
WITHOUT_DERIVATIVE: dict[str, Any] = {
    "arange": lambda x: np.arange(x[0], x[1]),
    "bitwise_count": lambda x: np.bitwise_count(x),
    "bitwise_left_shift": lambda x: np.bitwise_left_shift(x, 1),
    "bitwise_right_shift": lambda x: np.bitwise_right_shift(x, 1),
    "frexp": lambda x: np.frexp(x),
    "gcd": lambda x: np.gcd(x, x),
    "histogram_bin_edges": lambda x: np.histogram_bin_edges(x),
    "isnat": lambda x: np.isnat(x),
    "lcm": lambda x: np.lcm(x, x),
    "left_shift": lambda x: np.left_shift(x, 1),
    "nextafter": lambda x: np.nextafter(x, 1.0),
    "packbits": lambda x: np.packbits(x),
    "right_shift": lambda x: np.right_shift(x, 1),
    "sort_complex": lambda x: np.sort_complex(x),
    "spacing": lambda x: np.spacing(x),
    "save": lambda x: np.save("f", x),
    "savetxt": lambda x: np.savetxt("f", x),
    "savez": lambda x: np.savez("f", x),
    "savez_compressed": lambda x: np.savez_compressed("f", x),
    "unpackbits": lambda x: np.unpackbits(x),
}

REFUSED = WITHOUT_RULE | WITHOUT_DERIVATIVE

# What has nothing to differentiate, by what it is about.
NOT_NUMERIC = {
    "types of data": """
        can_cast dtype finfo iinfo isdtype issubdtype min_scalar_type mintypecode promote_types
        typename bool bool_ byte bytes_ cdouble character clongdouble complex64 complex128
        complex256 complexfloating csingle datetime64 double flexible float16 float32 float128
        floating generic half inexact int8 int16 int32 int64 int_ intc integer intp long longdouble
        longlong number object_ short signedinteger single str_ timedelta64 ubyte uint uint8 uint16
        uint32 uint64 uintc uintp ulong ulonglong unsignedinteger ushort void
        isfortran""",
    "classes": """
        ndarray ufunc broadcast flatiter matrix memmap nditer ndindex recarray record errstate
        busdaycalendar __array_namespace_info__""",
    "files, bytes and text": """
        base_repr binary_repr format_float_positional format_float_scientific from_dlpack
        frombuffer fromfile fromregex fromstring genfromtxt load loadtxt""",
    "settings and documentation": """
        get_include get_printoptions getbufsize geterr geterrcall info printoptions
        set_printoptions setbufsize seterr seterrcall show_config show_runtime test""",
    "dates": """
        busday_count busday_offset datetime_as_string datetime_data is_busday""",
    "whole numbers and shapes": """
        bartlett blackman broadcast_shapes diag_indices einsum_path hamming hanning indices
        mask_indices nested_iters ravel_multi_index tril_indices triu_indices unravel_index""",
    "matrix classes": """
        asmatrix bmat""",
    "older names, warned of by NumPy": """
        row_stack""",
}


def public_names() -> list[str]:
    """The names of NumPy that can be called, in order."""
    return sorted(name for name in np.__all__ if callable(getattr(np, name)))


def without_numbers() -> dict[str, str]:
    """For each name that is not numeric, what it is about."""
    return {name: about for about, names in NOT_NUMERIC.items() for name in names.split()}


def refusal(name: str) -> nt.TraceError:
    """The error that a refused function raises."""
    try:
        nt.record(REFUSED[name], np.array([0.5, 1.5, 2.5]))
    except nt.TraceError as error:
        return error
    raise AssertionError(f"np.{name} is recorded, and is listed as refused")


def page() -> str:
    """The page of the documentation about NumPy's surface."""
    names = public_names()
    works = [name for name in names if name in EXAMPLES]
    missing = [name for name in names if name in WITHOUT_RULE]
    none = [name for name in names if name in WITHOUT_DERIVATIVE]
    rest = without_numbers()
    share = 100.0 * len(works) / (len(works) + len(missing))
    others = len(names) - len(works) - len(missing) - len(none)
    rows = [
        "# NumPy",
        "",
        f"What NumPy {'.'.join(np.__version__.split('.')[:2])} offers, and what becomes of it in a "
        "recorded function. This page is written",
        "by `python tests/surface.py`; the tests try every example, to the second derivative.",
        "",
        f"{len(works)} functions work, {len(missing)} with a derivative have no rule yet: "
        f"{share:.1f} % work. {len(none)} are refused",
        f"because they have no derivative or want plain numbers, {others} are not numeric.",
        "",
        "## Functions that work",
        "",
        *_wrapped(works),
        "",
        "## Functions that are refused",
        "",
        "They raise, naming the line and the remedy.",
        "",
        "| function | error | derivative |",
        "|---|---|---|",
    ]
    for name in names:
        if name in REFUSED:
            kind = type(refusal(name)).__name__
            rows.append(
                f"| `{name}` | `{kind}` | {'no rule yet' if name in WITHOUT_RULE else 'none'} |"
            )
    for module in ("linalg", "fft"):
        own = [name for name in NAMESPACES if name.startswith(module)]
        rows += ["", f"## `np.{module}`", "", "Work:", ""]
        rows += _wrapped([name for name in own if name in WORKING])
        rows += ["", "No rule yet:", ""]
        rows += _wrapped([name for name in own if name not in WORKING])
    rows += ["", "## Not numeric", ""]
    for about in NOT_NUMERIC:
        own = [name for name in names if rest.get(name) == about and name not in REFUSED]
        if own:
            rows += [f"**{about.capitalize()}**", "", *_wrapped(own), ""]
    rows += ["## Array methods and attributes", "", *_methods(), ""]
    return "\n".join(rows)


def _methods() -> list[str]:
    names = [name for name in dir(np.ndarray) if not name.startswith("_")]
    x = _traced_array()
    works = [name for name in names if hasattr(x, name) and not _is_refused(x, name)]
    return [
        "Work:",
        "",
        *_wrapped(works),
        "",
        "Refused:",
        "",
        *_wrapped([name for name in names if name not in works]),
    ]


def _traced_array() -> Any:
    found = []

    def keep(x):
        found.append(x)
        return x

    nt.record(keep, np.ones((2, 2)))
    return found[0]


def _is_refused(x: Any, name: str) -> bool:
    return (getattr(getattr(x, name), "__doc__", None) or "").startswith("Refused")


def _wrapped(names: list[str]) -> list[str]:
    """Names in lines of at most 96 characters."""
    return textwrap.wrap(" ".join(f"`{name}`" for name in names), 96, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
