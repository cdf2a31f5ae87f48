"""Stand-ins for functions of Python's own: `math`, `statistics`, those that call functions.

They are called in place of the originals by code that is being recorded, see `resolve.py`. The
functions of `math` take floats and give floats; what they raise, they raise where the recorded
function has a handler around, as Python's floats do (`exceptions.py`).
"""

import builtins
import functools
import math
import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.special
from numba.core.registry import CPUDispatcher

from numtape.trace.exceptions import check_domain
from numtape.trace.handlers import handled
from numtape.trace.lists import gathered
from numtape.trace.locations import user_location
from numtape.trace.resolve import OF_TYPES, callback, made, stands_for
from numtape.trace.substitutes import machine_code_refused
from numtape.trace.traced import (
    Traced,
    TracedArray,
    TracedScalar,
    as_floats,
    as_python,
    as_traced,
    has_traced,
    innermost,
)

__all__: list[str] = []


# math


def _number(value: Any) -> Any:
    """Return an argument as a float, traced or not."""
    if isinstance(value, TracedArray):
        if value.ndim:
            float(value.primals)  # what NumPy says of it
        value = value.ravel()[0]
    if isinstance(value, TracedScalar):
        return as_python(as_floats(value))
    return value


def _elementary(name: str, compute: Callable[..., Any]) -> None:
    """Register a function of `math` of one or more floats."""
    original = getattr(math, name, None)
    if original is None:  # of a later Python
        return

    @stands_for(original)
    def function(*arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, Traced):
                return _recorded(original, compute, arguments)
        return original(*arguments)


def _recorded(original: Any, compute: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    numbers = tuple(map(_number, arguments))
    recorder = innermost(*numbers)
    if not handled(recorder):
        result = compute(*numbers)
        return as_python(result) if isinstance(result, TracedScalar) else result
    with np.errstate(all="ignore"):
        result = compute(*numbers)
    if not isinstance(result, TracedScalar):
        return result
    check_domain(original, numbers, result)
    return as_python(result)


def _log(x: Any, base: Any = None) -> Any:
    return np.log(x) if base is None else np.log(x) / np.log(base)


def _hypot(*coordinates: Any) -> Any:
    return functools.reduce(np.hypot, coordinates) if coordinates[1:] else np.abs(*coordinates)


def _remainder(x: Any, y: Any) -> Any:
    return x - y * np.rint(x / y)


def _isclose(a: Any, b: Any, rel_tol: Any = 1e-9, abs_tol: Any = 0.0) -> Any:
    near = abs(a - b) <= max(rel_tol * max(abs(a), abs(b)), abs_tol)
    return bool(near)


_SAME = "sin cos tan sinh cosh tanh exp expm1 log1p log2 log10 sqrt exp2 cbrt fmod copysign degrees"
for _name in f"{_SAME} radians isnan isinf isfinite".split():
    _elementary(_name, getattr(np, _name))
for _name, _ufunc in {
    "fabs": np.absolute,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "atan2": np.arctan2,
    "pow": np.power,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "gamma": scipy.special.gamma,
    "lgamma": scipy.special.gammaln,
    "log": _log,
    "hypot": _hypot,
    "remainder": _remainder,
    "fma": lambda x, y, z: x * y + z,
}.items():
    _elementary(_name, _ufunc)


@stands_for(math.ldexp)
def _ldexp(x: Any, i: Any) -> Any:
    if not isinstance(x, Traced):
        return math.ldexp(x, i)
    return as_python(np.ldexp(_number(x), int(i)))


@stands_for(math.modf)
def _modf(x: Any) -> Any:
    if not isinstance(x, Traced):
        return math.modf(x)
    return tuple(map(as_python, np.modf(_number(x))))


@stands_for(math.isclose)
def _close(a: Any, b: Any, **tolerances: Any) -> Any:
    if not has_traced(a, b, *tolerances.values()):
        return math.isclose(a, b, **tolerances)
    return _isclose(_number(a), _number(b), **tolerances)


@stands_for(math.fsum)
def _fsum(seq: Iterable[Any]) -> Any:
    terms = list(seq)
    if not has_traced(terms):
        return math.fsum(terms)
    return as_python(as_floats(sum(map(_number, terms), 0.0)))


@stands_for(math.prod)
def _prod(iterable: Iterable[Any], *, start: Any = 1) -> Any:
    factors = [start, *iterable]
    if not has_traced(factors):
        return math.prod(factors[1:], start=start)
    return functools.reduce(lambda a, b: a * b, factors)


@stands_for(math.dist)
def _dist(p: Iterable[Any], q: Iterable[Any]) -> Any:
    p, q = list(p), list(q)
    if not has_traced(p, q) or len(p) != len(q):
        return math.dist(p, q)
    distance: Any = np.linalg.norm(
        np.stack([_number(a) - _number(b) for a, b in zip(p, q, strict=True)])
    )
    return as_python(distance)


_SUMPROD: Any = getattr(math, "sumprod", None)  # of Python 3.12 and later

if _SUMPROD is not None:

    @stands_for(_SUMPROD)
    def _sumprod(p: Iterable[Any], q: Iterable[Any]) -> Any:
        p, q = list(p), list(q)
        if not has_traced(p, q) or len(p) != len(q):
            return _SUMPROD(p, q)
        return sum(a * b for a, b in zip(p, q, strict=True))


# statistics


def _of_data(original: Callable[..., Any], compute: Callable[..., Any]) -> None:
    """Register a function of `statistics`, of a sample."""

    @stands_for(original)
    def function(data: Iterable[Any], *arguments: Any, **options: Any) -> Any:
        sample = list(data)
        if not has_traced(sample, *arguments, *options.values()):
            return original(sample, *arguments, **options)
        array = np.stack([as_traced(innermost(sample, *arguments), each) for each in sample])
        return _of_sample(compute(array, *arguments, **options))


def _of_sample(result: Any) -> Any:
    return as_python(as_floats(result)) if isinstance(result, TracedScalar) else result


def _fmean(sample: Any, weights: Any = None) -> Any:
    return (
        np.mean(sample) if weights is None else np.average(sample, weights=np.stack(list(weights)))
    )


def _variance(ddof: int, root: bool) -> Callable[..., Any]:
    def variance(sample: Any, mean: Any = None) -> Any:
        if mean is None:
            return (np.std if root else np.var)(sample, ddof=ddof)
        result = np.sum((sample - mean) ** 2) / (len(sample) - ddof)
        return np.sqrt(result) if root else result

    return variance


for _original, _compute in (
    (statistics.mean, np.mean),
    (statistics.fmean, _fmean),
    (statistics.median, np.median),
    (statistics.geometric_mean, lambda sample: np.exp(np.mean(np.log(sample)))),
    (statistics.harmonic_mean, lambda sample: len(sample) / np.sum(1.0 / sample)),
    (statistics.variance, _variance(1, False)),
    (statistics.pvariance, _variance(0, False)),
    (statistics.stdev, _variance(1, True)),
    (statistics.pstdev, _variance(0, True)),
):
    _of_data(_original, _compute)


# those that call what they are given


@stands_for(map)
def _map(function: Any, *iterables: Any, **options: Any) -> Any:
    return map(callback(function), *iterables, **options)


@stands_for(filter)
def _filter(function: Any, iterable: Any) -> Any:
    return filter(callback(function), iterable)


@stands_for(functools.reduce)
def _reduce(function: Any, *arguments: Any) -> Any:
    return functools.reduce(callback(function), *arguments)


_ORDERING: tuple[Any, ...] = builtins.sorted, builtins.min, builtins.max
_APPLYING: list[Any] = [np.apply_along_axis, np.apply_over_axes, np.fromfunction, np.frompyfunc]

for _each in _ORDERING:

    @stands_for(_each)
    def _by_key(*arguments: Any, _original: Any = _each, **options: Any) -> Any:
        if options.get("key") is not None:
            options["key"] = callback(options["key"])
        return _original(*arguments, **options)


for _each in _APPLYING:

    @stands_for(_each)
    def _calling(function: Any, *arguments: Any, _original: Any = _each, **options: Any) -> Any:
        return made(_original(callback(function), *arguments, **options))


@stands_for(np.piecewise)
def _piecewise(x: Any, condlist: Any, funclist: Any, *arguments: Any, **options: Any) -> Any:
    functions = [callback(each) if callable(each) else each for each in funclist]
    return made(np.piecewise(x, condlist, functions, *arguments, **options))


# np.vectorize


def _vectorized(vectorize: Any) -> Callable[..., Any]:
    """Return what calling an `np.vectorize` does: its function called once for each element."""

    def call(*arguments: Any, **options: Any) -> Any:
        function = callback(vectorize.pyfunc)
        names = [name for name in options if name not in vectorize.excluded]
        places = [k for k in range(len(arguments)) if k not in vectorize.excluded]
        inputs = [*(arguments[k] for k in places), *(options[name] for name in names)]
        ranks, results = _core_ranks(vectorize.signature, len(inputs))
        inputs = [np.asarray(each) if not isinstance(each, Traced) else each for each in inputs]
        shape = np.broadcast_shapes(
            *(
                np.shape(each)[: np.ndim(each) - rank]
                for each, rank in zip(inputs, ranks, strict=True)
            )
        )
        inputs = [
            np.broadcast_to(each, shape + np.shape(each)[np.ndim(each) - rank :])
            for each, rank in zip(inputs, ranks, strict=True)
        ]
        found = []
        for index in np.ndindex(shape):
            own, named = list(arguments), dict(options)
            parts = [each[index] for each in inputs]
            for place, part in zip(places, parts, strict=False):
                own[place] = part
            named |= dict(zip(names, parts[len(places) :], strict=True))
            found.append(function(*own, **named))
        if not found:
            return vectorize(*arguments, **options)
        several = isinstance(found[0], tuple)
        columns = list(zip(*found, strict=True)) if several else [tuple(found)]
        arrays = [
            _typed(_stacked(each, shape), vectorize.otypes, k) for k, each in enumerate(columns)
        ]
        return tuple(arrays) if several or results > 1 else arrays[0]

    return call


def _core_ranks(signature: str | None, count: int) -> tuple[list[int], int]:
    """Return the ranks of what the function is given, and how many results it has."""
    if signature is None:
        return [0] * count, 1
    inputs, outputs = signature.split("->")
    groups = re.findall(r"\(([^)]*)\)", inputs)
    ranks = [len([name for name in group.split(",") if name.strip()]) for group in groups]
    return ranks, outputs.count("(")


def _stacked(values: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Return the results at all elements as one array."""
    array = gathered(list(values)) if has_traced(values) else np.array(values)
    stacked = array.reshape(shape + np.shape(values[0]))
    return stacked if isinstance(stacked, Traced) else made(stacked)


def _typed(array: Any, types: str | None, number: int) -> Any:
    return array if types is None else array.astype(types[number])


OF_TYPES[np.vectorize] = _vectorized


# functions that Numba has compiled


def _compiled(dispatcher: Any) -> Callable[..., Any]:
    """Return what calling one does: machine code takes plain numbers and arrays."""

    def call(*arguments: Any, **options: Any) -> Any:
        if has_traced(*arguments, *options.values()):
            called = f"{dispatcher.__name__}, which Numba has compiled,"
            raise machine_code_refused(called, user_location())
        return made(dispatcher(*map(_plain, arguments), **options))

    return call


def _plain(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.ndarray) else value


OF_TYPES[CPUDispatcher] = _compiled


# random orders


_SHUFFLES: tuple[Any, ...] = np.random.Generator.shuffle, np.random.RandomState.shuffle

for _each in _SHUFFLES:

    @stands_for(_each)
    def _shuffle(
        generator: Any, x: Any, *arguments: Any, _original: Any = _each, **options: Any
    ) -> None:
        """Put the rows of a traced array into the order of places, shuffled likewise."""
        if not isinstance(x, TracedArray):
            _original(generator, x, *arguments, **options)
            return
        axis = arguments[0] if arguments else options.get("axis", 0)
        places = np.arange(x.shape[axis])
        _original(generator, places)
        x[...] = np.take(x, places, axis)
