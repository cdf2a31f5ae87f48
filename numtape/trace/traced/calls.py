"""NumPy's functions and ufuncs called with traced values: its two protocols.

What each function does is registered by the package `functions`; where an argument is complex,
by `complexes`. Ufuncs are in `ufuncs.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import InputError, TraceError, UnsupportedError
from numtape.trace.escapes import refuse
from numtape.trace.locations import user_location
from numtape.trace.traced.arrays import TracedArray
from numtape.trace.traced.base import Traced, TracedPair
from numtape.trace.traced.operands import PLAIN, guarded, has_traced, is_object_array
from numtape.trace.traced.scalars import TracedBool, TracedFloat, TracedInteger, TracedScalar

__all__ = [
    "COMPLEX_FUNCTIONS",
    "LIKE_FUNCTIONS",
    "NUMPY_FUNCTIONS",
    "assign_out",
    "call_complex",
    "call_function",
    "check_casting",
    "has_complex",
    "writable",
]

# Filled by `functions`: what to do for each NumPy function given a traced value;
# a ufunc's method is found under (ufunc, name of the method).
NUMPY_FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# The same for functions called as ``np.zeros(n, like=x)``.
LIKE_FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# What NumPy's functions do where an argument is complex, and which of our own do it as they
# stand; filled by `complexes`.
COMPLEX_FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def _array_ufunc(self: Traced, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    try:
        return self._apply_ufunc(ufunc, method, inputs, options)
    except TraceError as error:
        if error.code != "complex-value" or not has_complex(*inputs):
            refuse(self.recorder, error)
    try:  # a complex operand was met on the way: from the beginning, by the rules for these
        return self._apply_complex_ufunc(ufunc, method, inputs, options)
    except TraceError as error:
        refuse(self.recorder, error)


def _array_function(
    self: Traced, function: Any, types: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    like = LIKE_FUNCTIONS.get(function)
    try:
        if like is not None:
            return like(self, function, arguments, options)
        return call_function(function, arguments, options)
    except TraceError as error:
        refuse(self.recorder, error)


Traced.__array_ufunc__ = _array_ufunc
Traced.__array_function__ = _array_function


def call_function(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do what one of NumPy's functions does given traced values: what was registered for it."""
    implementation = NUMPY_FUNCTIONS.get(function)
    if has_complex(*arguments) or (options and has_complex(*options.values())):
        return call_complex(function, implementation, arguments, options)
    if implementation is None:
        name = f"{function.__module__}.{function.__name__}"
        raise UnsupportedError(
            f"{name} was called with a traced value, and numtape has no rule for it. Write it "
            "with operations that are recorded (arithmetic, ufuncs, indexing, sums, products), "
            f"or apply it to numtape.stop_gradient(x) values outside the recorded function; "
            f"at {user_location()}"
        )
    out = options.get("out")
    if out is None:
        return implementation(*arguments, **options)
    del options["out"]
    if not has_traced(*arguments, *options.values()):
        return assign_out(function.__name__, out, function(*arguments, **options))
    return assign_out(function.__name__, out, implementation(*arguments, **options))


def call_complex(
    function: Any, implementation: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Do what a function does of complex arguments, and `implementation` of real ones."""
    rule = COMPLEX_FUNCTIONS.get(function) or COMPLEX_FUNCTIONS.get(implementation)
    if rule is None:
        module = getattr(function, "__module__", "numpy")  # ufuncs have none
        raise UnsupportedError(
            f"{module}.{function.__name__} was called with complex numbers beside "
            f"traced values at {user_location()}, and numtape has no rule for that. Write it with "
            "the real and the imaginary part, z.real and z.imag, or with operations that take "
            "complex numbers: arithmetic, exp, log, powers, sums, products, np.fft",
            code="complex-value",
        )
    out = options.get("out")
    if out is None:
        return rule(*arguments, **options)
    del options["out"]
    return assign_out(function.__name__, out, rule(*arguments, **options))


def has_complex(*operands: Any) -> bool:
    """Return whether any of the operands is complex, traced or plain, or a list that holds one."""
    for operand in operands:
        kind = type(operand)
        if kind is TracedArray or kind in _REAL:
            continue
        if kind is list or kind is tuple:
            if has_complex(*operand):
                return True
        elif isinstance(operand, np.ndarray):
            if operand.dtype.kind == "c" or (
                operand.dtype.kind == "O" and has_complex(*operand.flat)
            ):
                return True
        elif isinstance(operand, TracedPair | complex | np.complexfloating):
            return True
    return False


# The types of most arguments, none of which is complex.
_REAL = PLAIN | {TracedScalar, TracedFloat, TracedBool, TracedInteger}


# results that are assigned


def assign_out(name: str, out: Any, result: Any) -> Any:
    """Put a result into the array given as ``out=``, which must be able to hold traced values."""
    if is_object_array(out):
        out[...] = np.asarray(result)
        return out
    out = writable(out, result)
    if not isinstance(out, TracedArray | TracedPair):
        plain = result if not isinstance(result, Traced) else None
        if isinstance(result, Traced) and result.dtype.kind in "ib":
            plain = guarded(result)
        if isinstance(out, np.ndarray) and plain is not None and not has_traced(plain):
            np.copyto(out, plain)
            return out
        raise TraceError(
            f"{name}(..., out=y) at {user_location()}: y is a plain array, which cannot "
            "hold traced values. Make it with np.zeros_like(x), or with like=x: "
            "np.array(y, like=x)",
            code="plain-array",
        )
    extents = zip(reversed(np.shape(result)), reversed(out.shape), strict=False)
    if np.ndim(result) > out.ndim or any(a not in (1, b) for a, b in extents):
        raise InputError(
            f"{name}(..., out=y) at {user_location()}: the result has shape {np.shape(result)} "
            f"and y has {out.shape}; give y the shape of the result"
        )
    check_casting(name, result, out)
    out[...] = result
    return out


def writable(array: Any, *values: Any) -> Any:
    """Return an array to be written to: a fresh one is traced from now on if the values are."""
    become_traced = getattr(array, "become_traced", None)  # see `fresh.py`
    if become_traced is not None and has_traced(*values):
        become_traced(*values)
    return array


def check_casting(name: str, result: Any, out: Any, casting: Any = "same_kind") -> None:
    """Raise where NumPy would not put a result of its type into an array of another."""
    kind = np.dtype(result.dtype if isinstance(result, Traced) else np.asarray(result).dtype)
    if kind.kind != "O" and not np.can_cast(kind, out.dtype, casting):
        raise UnsupportedError(
            f"{name} at {user_location()} gives {kind}, which NumPy does not put into an array "
            f"of {out.dtype}. Make that y.astype({kind}) before, or write y = y + ... for y += ...",
            code="unsupported-dtype",
        )
