"""Counting: sums over the elements that fall into the same bin, found during the run."""

from typing import Any

import numpy as np

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import implements, traced_or_array
from numtape.trace.functions.indexing import add_at, clipped
from numtape.trace.integers import typed
from numtape.trace.locations import user_location
from numtape.trace.traced import Traced, as_integers, as_traced, has_traced, innermost

__all__: list[str] = []


@implements("bincount")
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    recorder = innermost(x, weights)
    places = as_traced(recorder, x) if has_traced(x) else np.asarray(x)
    numbers = np.asarray(typed(places))
    if isinstance(places, Traced):
        if numbers.dtype.kind not in "ib":
            raise UnsupportedError(
                f"np.bincount of {numbers.dtype} at {user_location()}: NumPy counts integers "
                "alone. Write x.astype(int)",
                code="unsupported-dtype",
            )
        # With a negative number among them NumPy raises.
        recorder.guard(np.all(places >= 0).slot, float(np.all(numbers >= 0)))
    if (numbers < 0).any():
        raise InputError(
            f"np.bincount at {user_location()}: {numbers.min()} is among the numbers, and it "
            "counts those from 0 on. Clip them before, or add what makes them positive"
        )
    size = max(int(minlength), int(numbers.max()) + 1 if numbers.size else 0)
    if isinstance(places, Traced):
        # How long the result is, is fixed by the recording.
        largest = np.max(places)
        fits = largest < size if size == minlength else largest == size - 1
        recorder.guard(fits.slot, 1.0)
    terms = np.ones(numbers.size) if weights is None else as_traced(recorder, weights)
    sums = add_at(terms, as_traced(recorder, places), size)
    return as_integers(sums) if weights is None else sums


@implements("histogram")
def _histogram(
    a: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002 (NumPy's name)
    density: Any = None,
    weights: Any = None,
) -> Any:
    points = np.ravel(as_traced(innermost(a, bins, range, weights), a))
    kind = np.dtype(int) if weights is None else np.asarray(typed(traced_or_array(weights))).dtype
    if kind.kind == "b":
        raise UnsupportedError(
            f"np.histogram(..., weights=...) of bools at {user_location()}: NumPy does not add "
            "them up. Write 1 * weights, or 1.0 * weights",
            code="unsupported-dtype",
        )
    if isinstance(bins, str):
        raise UnsupportedError(
            f"np.histogram(..., bins={bins!r}) of a traced value at {user_location()}: how many "
            "bins there are would depend on the point. Give their number or their edges"
        )
    if np.ndim(bins) == 0:
        low, high = (np.min(points), np.max(points)) if range is None else range
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise InputError(
                f"np.histogram of points from {low} to {high}: the range of the bins must be "
                "finite, and not fall. Replace nan and inf before, or give range="
            )
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, int(bins) + 1)
    else:
        edges = traced_or_array(bins)
        if np.any(edges[:-1] > edges[1:]):
            raise InputError(
                f"np.histogram with bins {edges}: the edges must not fall. Sort them before"
            )
    count = len(edges) - 1
    recorder = points.recorder
    inside = (points >= edges[0]) & (points <= edges[-1])
    found = np.searchsorted(edges, points, side="right") - 1
    places = clipped(found, count)
    terms = np.ones(points.size) if weights is None else np.ravel(traced_or_array(weights))
    sums = add_at(np.where(inside, terms, 0.0), places, count)
    sums = as_traced(recorder, sums)
    if density:
        return sums / np.diff(edges) / np.sum(sums), edges
    return as_integers(sums).astype(kind) if kind.kind in "iu" else sums, edges


@implements("histogramdd")
def _histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002
    density: Any = None,
    weights: Any = None,
) -> Any:
    if isinstance(sample, list | tuple):
        sample = np.atleast_2d(np.stack([traced_or_array(each) for each in sample])).T
    points = as_traced(innermost(sample, weights), sample)
    points = np.atleast_2d(points).T if points.ndim < 2 else points
    count, rank = points.shape
    bins = [bins] * rank if np.ndim(bins) == 0 else list(bins)
    ranges = [None] * rank if range is None else list(range)
    edges, inside, place = [], None, None
    for k, (own, ends) in enumerate(zip(bins, ranges, strict=True)):
        column = points[:, k]
        _, own_edges = np.histogram(column, own, ends)
        edges.append(own_edges)
        found = np.searchsorted(own_edges, column, side="right") - 1
        found = clipped(found, len(own_edges) - 1)
        within = (column >= own_edges[0]) & (column <= own_edges[-1])
        place = found if place is None else place * (len(own_edges) - 1) + found
        inside = within if inside is None else inside & within
    shape = [len(each) - 1 for each in edges]
    terms = np.ones(count) if weights is None else traced_or_array(weights)
    sums = np.reshape(add_at(np.where(inside, terms, 0.0), place, int(np.prod(shape))), shape)
    if density:
        total = np.sum(sums)
        for k, each in enumerate(edges):
            sums = sums / np.expand_dims(
                np.diff(each), tuple(j for j, _ in enumerate(edges) if j != k)
            )
        sums = sums / total
    return sums, edges


@implements("histogram2d")
def _histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002
    density: Any = None,
    weights: Any = None,
) -> Any:
    if np.ndim(bins) == 1 and len(bins) not in (1, 2):
        bins = [bins, bins]
    sample = np.stack([traced_or_array(x), traced_or_array(y)], axis=-1)
    sums, (x_edges, y_edges) = np.histogramdd(sample, bins, range, density, weights)
    return sums, x_edges, y_edges
