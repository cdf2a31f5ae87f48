"""NumPy's functions on traced values, for `__array_function__`; a module for each subject.

Functions that only move elements are NumPy's own, applied to slots and values
alike; they record nothing (`shapes.py`). The others are written with ufuncs,
reductions and products of traced values. A function that is in none of these
modules raises, naming itself (see `Traced.__array_function__`).
"""

from numtape.trace.functions import (  # noqa: F401 (they register what they define)
    calculus,
    creation,
    einsum,
    histograms,
    indexing,
    methods,
    nans,
    numeric,
    order,
    polynomials,
    products,
    quantiles,
    reductions,
    refused,
    searching,
    selection,
    sets,
    shapes,
    statistics,
    ufunc_methods,
)

__all__: list[str] = []
