"""NumPy's functions with one argument traced and the others plain, whichever it is.

The calls are those that the examples of `surface.py` make. Each of their arguments and
options is traced by itself; what comes out must be NumPy's value, or an error of numtape.
"""

import numpy as np
import pytest
import surface

import numtape as nt
from numtape.functions.trees import flatten
from numtape.trace.integers import typed
from numtape.trace.traced import Traced
from numtape.trace.traced import calls as module

EXAMPLES = surface.EXAMPLES | surface.WORKING


def _plain(value):
    """A value with plain numbers for the traced ones."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return np.copy(typed(value))[()] if isinstance(value, Traced) else value


def _calls(name):
    """The calls of NumPy's functions that the examples of a name make: plain arguments."""
    found = []
    call = module.call_function

    def noting(function, arguments, options):
        found.append((function, _plain(arguments), _plain(options)))
        return call(function, arguments, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "call_function", noting)
        for case in EXAMPLES[name]:
            nt.record(case.function, *case.point(1))
    return found


def _paths(value, path=()):
    """Where numbers stand in nested lists, tuples and dicts: each alone can be traced."""
    if isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from _paths(each, (*path, key))
    elif not isinstance(value, bool | int | float | np.ndarray | np.generic):
        return
    elif np.asarray(value).dtype.kind in "fib" and np.size(value):
        yield path


def _at(value, path):
    for key in path:
        value = value[key]
    return value


def _replaced(value, path, new):
    if not path:
        return new
    if isinstance(value, dict):
        return value | {path[0]: _replaced(value[path[0]], path[1:], new)}
    parts = list(value)
    parts[path[0]] = _replaced(parts[path[0]], path[1:], new)
    return type(value)(parts)


def _point_of(value):
    """Floats from which a traced value of the same kind is made."""
    return np.array(value, np.float64) + (0.25 if np.asarray(value).dtype.kind in "ib" else 0.0)


def _like(point, value):
    kind = np.asarray(value).dtype.kind
    if kind == "b":
        return point > 0.5
    return np.floor(point).astype(int) if kind == "i" else point


def _copied(value):
    if isinstance(value, list | tuple):
        return type(value)(_copied(each) for each in value)
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return np.copy(value) if isinstance(value, np.ndarray) else value


def _numbers(result):
    """The numbers in a result, functions and text left out."""
    leaves = flatten(list(result) if isinstance(result, tuple) else result)[0]
    return [
        leaf for leaf in leaves if isinstance(leaf, Traced | np.ndarray | np.generic | float | int)
    ]


def problem(function, arguments, options, path):
    """What is wrong when the argument at a path alone is traced; None if nothing is."""
    both = (arguments, options)
    value = _at(both, path)

    def recorded(point):
        args, opts = _replaced(_copied(both), path, _like(point, value))
        result = _numbers(function(*args, **opts))
        return [*(1.0 * leaf for leaf in result), 0.0 * np.sum(point)]

    try:
        args, opts = _copied(both)
        expected = _numbers(function(*args, **opts))
    except Exception:
        return None
    try:
        point = _point_of(value)
        actual = nt.record(recorded, point if point.ndim else float(point))(
            point if point.ndim else float(point)
        )[:-1]
    except (nt.NumtapeError, np.exceptions.AxisError):
        return None
    except Exception as error:
        return f"raised {error!r}"
    if len(actual) != len(expected):
        return f"gave {actual} for {expected}"
    for one, other in zip(actual, expected, strict=True):
        if np.shape(one) != np.shape(other) or not np.allclose(
            one, np.asarray(other, float), rtol=1e-9, atol=1e-9, equal_nan=True
        ):
            return f"gave {one} for {other}"
    return None


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "empty_like"])
def test_each_argument_alone(name):
    problems = []
    for function, arguments, options in _calls(name):
        for path in _paths((arguments, options)):
            if function is np.pad and isinstance(_at((arguments, options), path[:2]), dict):
                continue  # nothing tells NumPy of it, which asks for plain integers
            found = problem(function, arguments, options, path)
            if found is not None:
                problems.append(f"{function.__name__}{path}: {found}")
    assert not problems, "\n".join(sorted(set(problems)))
