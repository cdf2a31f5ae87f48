"""Exact derivatives of ordinary numeric Python, at machine speed.

Write NumPy; it is recorded once on a flat tape; every later point runs as
machine code, and a branch that would go the other way is noticed.
"""

from numtape.errors import (
    BranchError,
    ConstantResultWarning,
    InputError,
    NativeCodeWarning,
    NumtapeError,
    NumtapeWarning,
    OutputError,
    PathsWarning,
    SelectionWarning,
    TapeError,
    TraceError,
    UnsupportedError,
)
from numtape.functions.api import (
    grad,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    stop_gradient,
    value_and_grad,
)
from numtape.functions.branching import branches
from numtape.functions.loading import load
from numtape.functions.loops import (
    checkpoint,
    cond,
    fori_loop,
    map,  # noqa: A004
    scan,
    while_loop,
)
from numtape.functions.problem import Problem, problem
from numtape.functions.recording import record
from numtape.functions.seeded import hvp, jvp, linearize, vjp
from numtape.functions.sparse import SparseBatch
from numtape.functions.tape import Tape
from numtape.functions.vmap import vmap
from numtape.sparse.pattern import Pattern
from numtape.testing import check_derivatives

__version__ = "0.1.0"

__all__ = [
    "BranchError",
    "ConstantResultWarning",
    "InputError",
    "NativeCodeWarning",
    "NumtapeError",
    "NumtapeWarning",
    "OutputError",
    "PathsWarning",
    "Pattern",
    "Problem",
    "SelectionWarning",
    "SparseBatch",
    "Tape",
    "TapeError",
    "TraceError",
    "UnsupportedError",
    "__version__",
    "branches",
    "check_derivatives",
    "checkpoint",
    "cond",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "load",
    "map",
    "problem",
    "record",
    "scan",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
