"""Traced scalars and arrays: what a function sees in place of floats and arrays.

A traced value holds slots, its value at the recording point, and the recorder
that its operations write to. A traced array's `slots` is an integer array of
the array's own shape: whatever only moves elements about (indexing, slicing,
transposing, assigning) is done by NumPy on `slots` and `values` alike, and
records nothing. Only arithmetic records.

Each module imports from those before it: `base.py` has what all traced values are, `memory.py`
who shares an array's memory, `scalars.py` and `arrays.py` the classes, `operands.py` how operands
of any type become slots, `keys.py` indices, `calls.py` NumPy's protocols. What NumPy does with
traced values is added by `ufuncs.py`, `operators.py` and `functions`.
"""

from numtape.trace.traced.arrays import (
    TracedArray,
    as_computed,
    as_floats,
    as_integers,
    as_traced,
    moved,
    wrap,
)
from numtape.trace.traced.base import (
    Traced,
    TracedPair,
    mend_attributes,
)
from numtape.trace.traced.calls import (
    COMPLEX_FUNCTIONS,
    LIKE_FUNCTIONS,
    NUMPY_FUNCTIONS,
    assign_out,
    call_complex,
    call_function,
    check_casting,
    has_complex,
    writable,
)
from numtape.trace.traced.keys import (
    has_places,
    plain_key,
)
from numtape.trace.traced.memory import (
    laid_out,
    owner,
    settle,
    write,
)
from numtape.trace.traced.operands import (
    guarded,
    has_traced,
    innermost,
    is_object_array,
    is_traced,
    lift,
    read,
    shown,
)
from numtape.trace.traced.scalars import (
    TracedBool,
    TracedFloat,
    TracedInt,
    TracedInteger,
    TracedScalar,
    TracedTruth,
    as_python,
    scalar_of,
    settled,
)

__all__ = [
    "COMPLEX_FUNCTIONS",
    "LIKE_FUNCTIONS",
    "NUMPY_FUNCTIONS",
    "Traced",
    "TracedArray",
    "TracedBool",
    "TracedFloat",
    "TracedInt",
    "TracedInteger",
    "TracedPair",
    "TracedScalar",
    "TracedTruth",
    "as_computed",
    "as_floats",
    "as_integers",
    "as_python",
    "as_traced",
    "assign_out",
    "call_complex",
    "call_function",
    "check_casting",
    "guarded",
    "has_complex",
    "has_places",
    "has_traced",
    "innermost",
    "is_object_array",
    "is_traced",
    "laid_out",
    "lift",
    "mend_attributes",
    "moved",
    "owner",
    "plain_key",
    "read",
    "scalar_of",
    "settle",
    "settled",
    "shown",
    "wrap",
    "writable",
    "write",
]
