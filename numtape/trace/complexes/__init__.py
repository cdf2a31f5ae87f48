"""Complex numbers inside recorded functions: pairs of traced values.

A tape has real numbers alone. What a function computes in between may be complex: a
`TracedComplex` holds two traced values, the real and the imaginary part, and what NumPy
does with complex numbers is done with these by operations that are recorded already.
`pair.py` has the class, `formulas.py` a formula for each ufunc, which `ufuncs.py` applies,
`functions.py` NumPy's functions: those that move elements or add them up do so to both
parts, those that multiply are expanded. `linalg.py` has matrices, the Fourier transforms are
in `numtape.trace.fourier`.

Values agree with NumPy's to rounding, signs of zeros included, which decide on which side
of a branch cut a number is.
"""

from numtape.trace.complexes import functions, linalg, ufuncs  # noqa: F401 (they register rules)
from numtape.trace.complexes.pair import TracedComplex

__all__ = ["TracedComplex"]
