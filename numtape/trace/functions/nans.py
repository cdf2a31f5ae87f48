"""Reductions that leave nan out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.trace.functions.common import implements, is_kept, no_dtype, no_options, traced
from numtape.trace.functions.reductions import is_given, masks
from numtape.trace.integers import are_whole
from numtape.trace.traced import as_computed, as_floats

__all__: list[str] = []


def _filled(a: Any, value: float) -> tuple[Any, Any]:
    """Return an array with its nan replaced, and where they were."""
    array = as_floats(traced(a))
    missing = np.isnan(array)
    return np.where(missing, value, array), missing


def _ignoring_nan(name: str, function: Callable[..., Any], value: float) -> None:
    @implements(name)
    def implementation(a: Any, *arguments: Any, **options: Any) -> Any:
        if are_whole(a):
            return function(a, *arguments, **options)
        filled, _ = _filled(a, value)
        return function(filled, *arguments, **options)


_ignoring_nan("nansum", np.sum, 0.0)
_ignoring_nan("nanprod", np.prod, 1.0)
_ignoring_nan("nancumsum", np.cumsum, 0.0)
_ignoring_nan("nancumprod", np.cumprod, 1.0)


def _nan_extreme(name: str, function: Callable[..., Any], value: float) -> None:
    @implements(name)
    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = np._NoValue,
        initial: Any = np._NoValue,
        where: Any = np._NoValue,
    ) -> Any:
        no_options(name, out=out)
        options = {"keepdims": is_kept(keepdims), "initial": initial, "where": where}
        if are_whole(a):
            return function(a, axis, **options)
        filled, missing = _filled(a, value)
        result = function(filled, axis, **options)
        if is_given(initial):
            return result
        none = np.all(missing, axis=axis, keepdims=is_kept(keepdims), where=where)
        return as_computed(np.where(none, np.nan, result))


_nan_extreme("nanmax", np.max, -np.inf)
_nan_extreme("nanmin", np.min, np.inf)


def _valid(missing: Any, where: Any) -> Any:
    """Return where elements are that count."""
    valid = np.logical_not(missing)
    return np.logical_and(valid, where) if masks(where) else valid


@implements("nanmean")
def _nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = np._NoValue,
    *,
    where: Any = np._NoValue,
) -> Any:
    no_options("nanmean", out=out)
    no_dtype(dtype)
    filled, missing = _filled(a, 0.0)
    options = {"axis": axis, "keepdims": is_kept(keepdims), "where": where}
    return np.sum(filled, **options) / np.sum(1.0 * np.logical_not(missing), **options)


def _nan_spread(name: str, function: Callable[..., Any]) -> None:
    @implements(name)
    def implementation(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: Any = np._NoValue,
        *,
        where: Any = np._NoValue,
        mean: Any = np._NoValue,
        correction: Any = np._NoValue,
    ) -> Any:
        no_options(name, out=out)
        filled, missing = _filled(a, 0.0)
        valid = _valid(missing, where)
        options = {"keepdims": keepdims, "where": valid, "mean": mean, "correction": correction}
        return function(filled, axis, dtype, ddof=ddof, **options)


_nan_spread("nanvar", np.var)
_nan_spread("nanstd", np.std)
