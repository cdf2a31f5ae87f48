"""NumPy's ufuncs and Python's operators of complex numbers: formulas on pairs, applied."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from numtape.errors import TraceError, UnsupportedError
from numtape.trace.complexes.formulas import FORMULAS
from numtape.trace.complexes.pair import TracedComplex, pair, parts
from numtape.trace.escapes import refuse
from numtape.trace.handlers import handled
from numtape.trace.integers import are_whole
from numtape.trace.locations import user_location
from numtape.trace.traced import (
    COMPLEX_FUNCTIONS,
    NUMPY_FUNCTIONS,
    Traced,
    TracedFloat,
    TracedScalar,
    as_python,
    assign_out,
    innermost,
    plain_key,
)

__all__: list[str] = []
# What their methods are by other names.
_REDUCTIONS: dict[Any, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
_RUNNING: dict[Any, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}


def _apply(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do what `__array_ufunc__` does where an operand is complex."""
    out = options.pop("out", (None,))[0]
    where = options.pop("where", True) if method == "__call__" else True
    if options.get("dtype") is not None and np.dtype(options["dtype"]) == np.complex128:
        del options["dtype"]
    options = {name: value for name, value in options.items() if value is not None}
    result = NotImplemented
    if method == "__call__" and ufunc in COMPLEX_FUNCTIONS:
        result = COMPLEX_FUNCTIONS[ufunc](*inputs, **options)
    elif method == "__call__" and ufunc in FORMULAS and not options:
        result = _call(ufunc, inputs)
    elif method == "reduce" and ufunc in _REDUCTIONS:
        array, *axis = inputs
        options.setdefault("axis", axis[0] if axis else 0)
        result = _REDUCTIONS[ufunc](array, **options)
    elif method == "accumulate" and ufunc in _RUNNING:
        array, *axis = inputs
        result = _RUNNING[ufunc](array, axis[0] if axis else options.pop("axis", 0), **options)
    elif method == "at" and ufunc in (np.add, np.subtract):
        return _at(ufunc, *inputs)
    elif method in ("outer", "reduceat") and ufunc in FORMULAS:
        result = NUMPY_FUNCTIONS[method](ufunc, *inputs, **options)
    if result is NotImplemented or (where is not True and out is None):
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        given = "".join(f", {name}={value!r}" for name, value in options.items())
        given += f", where={where!r}" if where is not True else ""
        raise UnsupportedError(
            f"{call}(...{given}) was called with complex numbers beside traced values at "
            f"{user_location()}, and numtape has no rule for that. Write it with z.real, z.imag, "
            "abs(z) or np.angle(z)",
            code="complex-value",
        )
    if where is not True:
        result = np.where(where, result, out)
    return result if out is None else assign_out(ufunc.__name__, out, result)


def _call(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    if ufunc in (np.power, np.float_power) and are_whole(inputs[1]):
        inputs = inputs[0], plain_key(inputs[1])  # a whole number, which is guarded
    operands = [parts(each) for each in inputs]
    result = FORMULAS[ufunc](*operands)
    if not isinstance(result, tuple):
        return result
    found = pair(*result, *operands)
    if found.is_array() and not found.ndim:  # ufuncs give scalars
        return TracedComplex(found.recorder, found.real[()], found.imag[()])
    return found


def _at(ufunc: Any, array: Any, indices: Any, terms: Any) -> None:
    """Add to chosen elements in place."""
    if not isinstance(array, TracedComplex):
        raise TraceError(
            f"{ufunc.__name__}.at(y, ...) at {user_location()}: y is real or plain, and cannot "
            "hold complex traced values. Make it with np.zeros_like(x, dtype=complex)",
            code="plain-array",
        )
    for own, part in zip((array.real, array.imag), parts(terms), strict=True):
        ufunc.at(own, indices, part)


Traced._apply_complex_ufunc = staticmethod(_apply)


# Python's operators


def _operate(ufunc: Any, left: Any, right: Any) -> Any:
    """Apply an operator of which an operand is a complex number, or one of these a traced value."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray) or ufunc not in FORMULAS:
        return ufunc(left, right)
    try:
        if _is_pythons(left) and _is_pythons(right):
            _check_no_element(ufunc, left, right)
            return _operate_as_python(ufunc, left, right)
        _check_no_element(ufunc, left, right)
        return _call(ufunc, (left, right))
    except TraceError as error:
        refuse(innermost(left, right), error)


def _check_no_element(ufunc: Any, *operands: Any) -> None:
    """Refuse what may be an element of an array of objects, and would be complex there.

    To NumPy such an array is real: its imaginary part is 0.
    """
    kinds = [isinstance(each, TracedScalar) and each.recorder.has_objects for each in operands]
    if any(kinds) and not any(isinstance(each, TracedComplex) for each in operands):
        raise UnsupportedError(
            f"{ufunc.__name__} of a traced scalar and a complex number at {user_location()}, after "
            "np.asarray(x) or np.array([...]) made an array of objects: in such an array complex "
            "numbers would lose their imaginary part. Leave the conversion out, for x is an array "
            "already, and write np.stack([x, y]) to make one; or write "
            f"np.{ufunc.__name__}(x, 1j) if x is a scalar",
            code="complex-value",
        )


def _is_pythons(operand: Any) -> bool:
    """Return whether an operand is a number of Python's, and not one of NumPy's."""
    if isinstance(operand, TracedComplex):
        return type(operand.real) is type(operand.imag) is TracedFloat
    return type(operand) in (TracedFloat, float, int, complex)


def _operate_as_python(ufunc: Any, *operands: Any) -> Any:
    """Do the same of Python's numbers: raise where they do, if that could be noticed.

    They raise where a result is not finite and the operands are; that is guarded there.
    """
    recorder = innermost(*operands)
    with np.errstate(all="ignore"):
        result = _call(ufunc, operands)
    if isinstance(result, TracedComplex):
        result = TracedComplex(recorder, as_python(result.real), as_python(result.imag))
    elif type(result) is TracedScalar:
        result = as_python(result)
    may_raise = ufunc in _RAISING and handled(recorder) and not np.isfinite(result)
    if may_raise and all(np.isfinite(each) for each in operands):
        _RAISING[ufunc](*(_plain(each) for each in operands))
    return result


def _plain(operand: Any) -> Any:
    """Return the number that Python has at the recording point."""
    if isinstance(operand, TracedComplex):
        return complex(operand.values())
    return getattr(operand, "primal", operand)


_RAISING: dict[Any, Callable[..., Any]] = {
    np.divide: operator.truediv,
    np.power: operator.pow,
    np.absolute: abs,
}


Traced._operate_complex = staticmethod(_operate)


def _operators(name: str, ufunc: Any) -> None:
    def forward(self: TracedComplex, other: Any) -> Any:
        return _operate(ufunc, self, other) if _is_operand(other) else NotImplemented

    def reflected(self: TracedComplex, other: Any) -> Any:
        return _operate(ufunc, other, self) if _is_operand(other) else NotImplemented

    def into(self: TracedComplex, other: Any) -> Any:
        result = forward(self, other)
        if result is NotImplemented or not self.is_array():
            return result
        self[...] = result
        return self

    setattr(TracedComplex, f"__{name}__", forward)
    setattr(TracedComplex, f"__r{name}__", reflected)
    setattr(TracedComplex, f"__i{name}__", into)


def _absolute(self: TracedComplex) -> Any:
    return _operate_as_python(np.absolute, self) if _is_pythons(self) else np.absolute(self)


def _is_operand(other: Any) -> bool:
    return isinstance(other, Traced | np.ndarray | np.generic | complex | float | int | list)


def _comparison(name: str, ufunc: Any) -> None:
    def compare(self: TracedComplex, other: Any) -> Any:
        return _operate(ufunc, self, other) if _is_operand(other) else NotImplemented

    setattr(TracedComplex, f"__{name}__", compare)


for _name, _ufunc in (
    *(("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("truediv", np.divide)),
    *(("pow", np.power), ("matmul", np.matmul), ("mod", np.remainder)),
    ("floordiv", np.floor_divide),
):
    _operators(_name, _ufunc)
for _name, _compare in (
    *(("eq", np.equal), ("ne", np.not_equal), ("lt", np.less), ("le", np.less_equal)),
    *(("gt", np.greater), ("ge", np.greater_equal)),
):
    _comparison(_name, _compare)
setattr(TracedComplex, "__neg__", lambda self: np.negative(self))  # noqa: B010
setattr(TracedComplex, "__pos__", lambda self: np.positive(self))  # noqa: B010
setattr(TracedComplex, "__abs__", _absolute)  # noqa: B010
setattr(TracedComplex, "__hash__", Traced.__hash__)  # noqa: B010
