"""Roots of polynomials: `np.roots` of traced coefficients, where all of them are real.

The values are NumPy's, eigenvalues of the companion matrix. Derivatives are those of Newton's
steps from there, which do not depend on how well conditioned that matrix is: each step
doubles the orders that are right. Where roots are equal they have none: inf or nan.
"""

from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.trace.functions.common import constants_of, implements
from numtape.trace.linalg import call_function, constant_part, matrix_of
from numtape.trace.locations import user_location

__all__: list[str] = []

_STEPS = 3


@implements("roots")
def _roots(p: Any) -> Any:
    p = np.atleast_1d(matrix_of(p))
    if p.ndim != 1:
        np.roots(p.primals)  # which refuses this shape
    first, last = 0, len(p)
    while first < last and p[first] == 0.0:  # guarded
        first += 1
    while last > first and p[last - 1] == 0.0:
        last -= 1
    zeros = constants_of(p.recorder, np.zeros(len(p) - last if first < last else 0))
    p = p[first:last]
    if len(p) < 2:
        return zeros
    return np.concatenate([_simple_roots(p), zeros]) if len(zeros) else _simple_roots(p)


def _simple_roots(p: Any) -> Any:
    n = len(p) - 1
    companion: Any = np.concatenate([(-p[1:] / p[0])[None], np.eye(n - 1, n)])
    values = np.linalg.eigvals(companion.primals)
    pairs = np.stack([np.real(values), np.imag(values)], axis=-1)
    (found,) = call_function("eigvals", (constant_part(companion),), (pairs,))
    if not np.all(found[:, 1] == 0.0):
        raise UnsupportedError(
            f"np.roots at {user_location()}: some roots are complex, and numtape differentiates "
            "real code. Find the root that you need by Newton's method, from a start that "
            "numtape.stop_gradient gives",
            code="complex-value",
        )
    start = constant_part(found[:, 0])
    x = start
    for _ in range(_STEPS):
        x = x - np.polyval(p, x) / np.polyval(np.polyder(p), x)
    return start + (x - constant_part(x))
