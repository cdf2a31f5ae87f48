"""Bools and integers under trace against NumPy itself: values and types, operation by operation.

Each cell of the tables is an operation and the types of its operands. It must give what the
plain call gives, of the same type, at every point; or raise: what NumPy raises, or an
error of numtape that says what to write.
"""

import operator
import warnings

import numpy as np
import pytest

import numtape as nt
from numtape.functions.trees import flatten

POINTS = (
    np.array([0.3, 1.2, -0.7, 2.2, 0.9]),
    np.array([1.3, -1.2, 0.7, 0.2, 0.0]),
    np.array([-0.3, -2.2, -0.7, -1.6, -5.0]),
    np.array([9.3, 7.2, 8.7, 12.2, 3.9]),
)

# Operands that depend on the point, by type.
TRACED = {
    "bool": lambda x: x > 0.5,
    "int": lambda x: np.floor(x).astype(int),
    "place": lambda x: np.argsort(x),
    "float": lambda x: x * 1.0,
    "bool scalar": lambda x: x[1] > 0.5,
    "int scalar": lambda x: np.floor(x).astype(int)[0],
    "place scalar": lambda x: np.argmax(x),
    "float scalar": lambda x: x[0],
}
PLAIN = {
    "True": True,
    "3": 3,
    "0": 0,
    "2.5": 2.5,
    "np.int8": np.int8(100),
    "np.float32": np.float32(0.1),
    "bools": np.array([True, False, True, True, False]),
    "ints": np.array([2, 0, -1, 3, 5]),
    "int8s": np.array([100, 27, -128, 3, 5], np.int8),
    "uint8s": np.array([200, 100, 0, 3, 5], np.uint8),
    "uint64s": np.array([2, 0, 1, 3, 5], np.uint64),
    "float32s": np.array([0.1, 2.7, -1.1, 0.0, 3.3], np.float32),
    "floats": np.array([0.1, 2.7, -1.1, 0.0, 3.3]),
    "large": np.array([2**40, 2**52, -(2**51), 1, 3]),
}
WHOLE = [name for name in TRACED if "float" not in name]


def _outcome(call):
    """What a call gives: leaves, or its error."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return flatten(call())[0], None
    except Exception as error:
        return None, error


def _recorded(function):
    """The leaves' types while recording, and for each point their values, or an error."""
    found = []

    def floats(x):
        with np.errstate(all="ignore"):
            leaves = flatten(function(x))[0]
            found[:] = [np.dtype(getattr(leaf, "dtype", type(leaf))) for leaf in leaves]
            return [*(np.float64(1.0) * leaf for leaf in leaves), 0.0 * x[0]]

    results, tape = [], None
    for point in POINTS:
        try:
            if tape is None:
                tape = nt.record(floats, point)
                kinds = list(found)
            try:
                results.append((kinds, tape(point)[:-1]))
            except nt.BranchError:
                value = nt.record(floats, point)(point)[:-1]
                results.append((list(found), value))
        except Exception as error:
            results.append((None, error))
    return results


def _agree(one, other, exactly):
    """Whether a value is NumPy's: to the bit if it is whole, or is to be exact."""
    expected = np.asarray(other, np.float64)
    if exactly or np.asarray(other).dtype.kind in "iub":
        return np.array_equal(one, expected, equal_nan=True) and np.array_equal(
            np.signbit(one), np.signbit(expected)
        )
    return np.shape(one) == expected.shape and np.allclose(one, expected, 1e-12, 1e-13, True)


def disagreement(function, exactly=True):
    """What is wrong with a function of the point, or None; and whether it is refused."""
    refused = False
    for point, (kinds, actual) in zip(POINTS, _recorded(function), strict=True):
        expected, raised = _outcome(lambda p=point: function(p))
        if raised is not None:
            if not isinstance(actual, nt.NumtapeError | type(raised) | ValueError):
                return f"gave {actual!r} at {point}, and NumPy raises {raised!r}", False
        elif isinstance(actual, nt.NumtapeError):
            refused = True
        elif isinstance(actual, Exception):
            return f"raised {actual!r} at {point}", False
        elif kinds != [np.asarray(leaf).dtype for leaf in expected]:
            return f"has the types {kinds}, and {expected} is NumPy's", False
        else:
            for one, other in zip(actual, expected, strict=True):
                if not _agree(one, other, exactly):
                    return f"gave {one} for {other!r} at {point}", False
    return None, refused


UFUNCS = {
    ufunc.__name__: ufunc
    for ufunc in (getattr(np, name) for name in sorted(np.__all__))
    if isinstance(ufunc, np.ufunc) and ufunc.signature is None
}
UNARY = {name: ufunc for name, ufunc in UFUNCS.items() if ufunc.nin == 1} | {
    "-": operator.neg,
    "+": operator.pos,
    "~": operator.invert,
    "abs": abs,
}
BINARY = (
    {name: ufunc for name, ufunc in UFUNCS.items() if ufunc.nin == 2}
    | {
        symbol: getattr(operator, name)
        for symbol, name in (
            *(("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "truediv"), ("//", "floordiv")),
            *(("%", "mod"), ("**", "pow"), ("&", "and_"), ("|", "or_"), ("^", "xor"), ("<", "lt")),
            *(("<<", "lshift"), (">>", "rshift"), ("==", "eq"), (">=", "ge")),
            *(("+=", "iadd"), ("*=", "imul"), ("/=", "itruediv"), ("//=", "ifloordiv")),
            *(("&=", "iand"), ("|=", "ior"), ("-=", "isub"), ("%=", "imod"), ("**=", "ipow")),
        )
    }
    | {"divmod": divmod}
)

ROWS = np.array([[0, 2, 1, 2, 0], [1, 1, 0, 4, 3]])

# Functions of one array of 5 elements.
OF_ONE = {
    "sum": np.sum,
    "sum, keepdims": lambda a: np.sum(a, keepdims=True),
    "sum, int8": lambda a: np.sum(a, dtype=np.int8),
    "sum, float": lambda a: np.sum(a, dtype=float),
    "sum, int": lambda a: np.sum(a, dtype=int),
    "sum, initial": lambda a: np.sum(a, initial=3),
    "sum, where": lambda a: np.sum(a, where=[True, False, True, True, True]),
    "prod": np.prod,
    "prod, int16": lambda a: np.prod(a + 100, dtype=np.int16),
    "prod, initial": lambda a: np.prod(a, initial=2),
    "max": np.max,
    "max, initial": lambda a: np.max(a, initial=1),
    "min": np.min,
    "ptp": np.ptp,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "median": np.median,
    "average": lambda a: np.average(a, weights=[1, 2, 1, 1, 3]),
    "average, returned": lambda a: np.average(a, returned=True),
    "quantile": lambda a: np.quantile(a, 0.3),
    "quantile, nearest": lambda a: np.quantile(a, 0.3, method="nearest"),
    "percentile, lower": lambda a: np.percentile(a, [10, 70], method="lower"),
    "any": np.any,
    "all": np.all,
    "count_nonzero": np.count_nonzero,
    "cumsum": np.cumsum,
    "cumsum, int8": lambda a: np.cumsum(a, dtype=np.int8),
    "cumprod": np.cumprod,
    "cumulative_sum": lambda a: np.cumulative_sum(a, include_initial=True),
    "nansum": np.nansum,
    "nanprod": np.nanprod,
    "nanmean": np.nanmean,
    "nanmax": np.nanmax,
    "nanmedian": np.nanmedian,
    "nancumsum": np.nancumsum,
    "nan_to_num": np.nan_to_num,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "argsort": lambda a: np.argsort(a, kind="stable"),
    "sort": np.sort,
    "unique": np.unique,
    "unique, counts": lambda a: np.unique(a, return_counts=True),
    "diff": np.diff,
    "diff, twice": lambda a: np.diff(a, 2),
    "ediff1d": np.ediff1d,
    "gradient": np.gradient,
    "trapezoid": np.trapezoid,
    "round": np.round,
    "round, -1": lambda a: np.round(7 * a, -1),
    "fix": np.fix,
    "real": np.real,
    "imag": np.imag,
    "angle": np.angle,
    "sinc": np.sinc,
    "i0": np.i0,
    "clip": lambda a: np.clip(a, 0, 1),
    "clip, low": lambda a: np.clip(a, 0.5, None),
    "clip method": lambda a: a.clip(0, 1),
    "nonzero": lambda a: np.nonzero(a)[0],
    "zeros_like": np.zeros_like,
    "ones_like": np.ones_like,
    "full_like": lambda a: np.full_like(a, 2.7),
    "full_like, int": lambda a: np.full_like(1.5 * a, 2.5 * a[0], dtype=int),
    "array, like": lambda a: np.array([1, 2, 3], like=a),
    "full, like": lambda a: np.full(3, 2, like=a),
    "result_type": lambda a: np.zeros(2, np.result_type(a, np.int8)),
    "reshape": lambda a: np.reshape(a, (5, 1)),
    "roll": lambda a: np.roll(a, 1),
    "repeat": lambda a: np.repeat(a, 2),
    "tile": lambda a: np.tile(a, 2),
    "pad": lambda a: np.pad(a, 1),
    "pad, mean": lambda a: np.pad(a, 2, "mean"),
    "pad, ramp": lambda a: np.pad(a, 2, "linear_ramp"),
    "pad, maximum": lambda a: np.pad(a, 2, "maximum"),
    "diag": np.diag,
    "tril": lambda a: np.tril(np.outer(a, a)),
    "vander": lambda a: np.vander(a, 3),
    "insert": lambda a: np.insert(a, 1, 1.7),
    "insert, int": lambda a: np.insert(a, 1, 1),
    "delete": lambda a: np.delete(a, 1),
    "append": lambda a: np.append(a, 1),
    "append, float": lambda a: np.append(a, 1.5),
    "trim_zeros": np.trim_zeros,
    "resize": lambda a: np.resize(a, 7),
    "select": lambda a: np.select([a > 0], [a]),
    "select, default": lambda a: np.select([a > 0], [a], 1.5),
    "where, floats": lambda a: np.where(a, 1.5, 2),
    "where, ints": lambda a: np.where(a, 1, 2),
    "where, int8s": lambda a: np.where(a, np.int8(1), np.int8(2)),
    "where, itself": lambda a: np.where([True, False, True, True, False], a, 2),
    "piecewise": lambda a: np.piecewise(a, [a > 0], [lambda v: v, 1.7]),
    "choose": lambda a: np.choose(np.abs(1 * a) % 2, [a, 7]),
    "isin": lambda a: np.isin(a, [0, 2]),
    "isclose": lambda a: np.isclose(a, 1),
    "allclose": lambda a: np.allclose(a, a),
    "array_equal": lambda a: np.array_equal(a, [True, False, True, True, False]),
    "cov": lambda a: np.cov(a) + 0,
    "interp": lambda a: np.interp(a, [0, 1, 2], [1, 5, 2]),
    "searchsorted": lambda a: np.searchsorted([0, 1, 2], a),
    "digitize": lambda a: np.digitize(a, [0, 1, 2]),
    "histogram": lambda a: np.histogram(a, [0, 1, 2, 5])[0],
    "histogram, weights": lambda a: np.histogram(a, [0, 1, 2], weights=[1, 2, 3, 4, 5])[0],
    "bincount": np.bincount,
    "bincount, weights": lambda a: np.bincount(a, [1, 2, 3, 4, 5]),
    "polyval": lambda a: np.polyval([1, 2, 3], a),
    "polyval, coefficients": lambda a: np.polyval(a, 2),
    "polyadd": lambda a: np.polyadd(a, [1, 2]),
    "polymul": lambda a: np.polymul(a, [1, 2]),
    "polyder": np.polyder,
    "polyint": np.polyint,
    "trace": lambda a: np.trace(np.outer(a, a)),
    "einsum, sum": lambda a: np.einsum("i->", a),
    "einsum, diagonal": lambda a: np.einsum("ii->i", np.outer(a, a)),
    "norm": np.linalg.norm,
    "norm, 1": lambda a: np.linalg.norm(a, 1),
    "matrix_power": lambda a: np.linalg.matrix_power(np.outer(a, a), 2),
    "fftshift": np.fft.fftshift,
    "linspace": lambda a: np.linspace(a, 3, 4),
    "logspace": lambda a: np.logspace(0, a, 3, base=2),
    "unwrap": np.unwrap,
    "unwrap, int": lambda a: np.unwrap(a, period=4),
    "apply_along_axis": lambda a: np.apply_along_axis(np.sum, 0, a),
    "add.reduce": np.add.reduce,
    "add.reduce, where": lambda a: np.add.reduce(a, where=a > 0),
    "add.accumulate": np.add.accumulate,
    "multiply.accumulate": np.multiply.accumulate,
    "maximum.accumulate": np.maximum.accumulate,
    "logical_and.reduce": np.logical_and.reduce,
    "logical_xor.reduce": np.logical_xor.reduce,
    "bitwise_and.reduce": np.bitwise_and.reduce,
    "subtract.reduce": np.subtract.reduce,
    "add.reduceat": lambda a: np.add.reduceat(a, [0, 2]),
    "astype float": lambda a: a.astype(float),
    "astype bool": lambda a: a.astype(bool),
    "astype int": lambda a: a.astype(int),
    "astype int8": lambda a: (100 * a).astype(np.int8),
    "astype uint8": lambda a: a.astype(np.uint8),
    "astype uint64": lambda a: a.astype(np.uint64),
    "astype float32": lambda a: a.astype(np.float32),
    "np.astype": lambda a: np.astype(a, np.int16),
    "asarray": lambda a: np.asarray(a),
    "nbytes": lambda a: np.array([a.nbytes, a.itemsize]),
    "tolist": lambda a: np.array([int(v) for v in a.tolist()]),
    "iterate": lambda a: sum(v for v in a),
    "len": lambda a: np.float64(len(a)),
    "element": lambda a: a[1],
    "flat": lambda a: a.flat[2],
    "mean method": lambda a: a.mean(),
    "prod method": lambda a: a.prod(),
    "round method": lambda a: a.round(1),
    "add, float": lambda a: np.add(a, a, dtype=float),
    "add, int8": lambda a: np.add(a, a, dtype=np.int8),
    "overflow": lambda a: (a + 2**31) * (2**33 + a),
    "overflow, sum": lambda a: np.sum(2**62 * a + 2**62),
    "overflow, power": lambda a: (a + 9) ** 21,
    "overflow, cumprod": lambda a: np.cumprod(a + 2**20),
    "overflow, product": lambda a: (a + 2**31) @ (a + 2**33),
    "beyond 2**53": lambda a: (a + 2**53) % 10,
    "negative zero": lambda a: 1.0 / (-(1 * a)),
    "negative zero, product": lambda a: 1.0 / ((1 * a) * -3),
    "negative zero, quotient": lambda a: 1.0 / ((1 * a) // -7),
    "negative zero, remainder": lambda a: 1.0 / ((1 * a) % -7),
}

# Functions of two arrays of 5 elements.
OF_TWO = {
    "dot": np.dot,
    "@": operator.matmul,
    "inner": np.inner,
    "vdot": np.vdot,
    "vecdot": np.vecdot,
    "outer": np.outer,
    "kron": np.kron,
    "tensordot": lambda a, b: np.tensordot(a, b, 1),
    "matmul, matrices": lambda a, b: np.outer(a, a) @ np.outer(b, b),
    "matmul, vector": lambda a, b: np.outer(a, a) @ b,
    "matmul, out": lambda a, b: np.matmul(np.outer(a, a), b, out=np.zeros_like(a * b)),
    "dot, matrices": lambda a, b: np.dot(np.outer(a, b), np.outer(b, a)),
    "einsum": lambda a, b: np.einsum("i,i", a, b),
    "einsum, outer": lambda a, b: np.einsum("i,j->ij", a, b),
    "einsum, matrices": lambda a, b: np.einsum("ij,jk->ik", np.outer(a, a), np.outer(b, b)),
    "einsum, alone": lambda a, b: np.einsum("i,j->j", a, b),
    "einsum, elements": lambda a, b: np.einsum("i,i->i", a, b),
    "convolve": np.convolve,
    "convolve, same": lambda a, b: np.convolve(a, b[:3], "same"),
    "correlate": np.correlate,
    "correlate, full": lambda a, b: np.correlate(a, b, "full"),
    "cross": lambda a, b: np.cross(a[:3], b[:3]),
    "where": lambda a, b: np.where(a > 0, a, b),
    "where, plain": lambda a, b: np.where([True, False, True, True, False], a, b),
    "where, masks": lambda a, b: np.where(a, b, a),
    "concatenate": lambda a, b: np.concatenate([a, b]),
    "concatenate, int8": lambda a, b: np.concatenate([a, b], dtype=np.int8, casting="unsafe"),
    "concatenate, float": lambda a, b: np.concatenate([a, b], dtype=float),
    "stack": lambda a, b: np.stack([a, b]),
    "hstack": lambda a, b: np.hstack([a, b]),
    "append": np.append,
    "block": lambda a, b: np.block([a, b]),
    "stack, elements": lambda a, b: np.stack([a[0], b[0]]),
    "insert": lambda a, b: np.insert(a, 1, b[0]),
    "isin": np.isin,
    "array_equal": np.array_equal,
    "union1d": np.union1d,
    "intersect1d": np.intersect1d,
    "searchsorted": lambda a, b: np.searchsorted(np.sort(a), b),
    "lexsort": lambda a, b: np.lexsort((a, b)),
    "average": lambda a, b: np.average(a, weights=b + 9),
    "histogram": lambda a, b: np.histogram(a, [0, 1, 2], weights=b)[0],
    "polyval": np.polyval,
    "polyadd": np.polyadd,
    "polymul": np.polymul,
    "select": lambda a, b: np.select([a > 0, b > 0], [a, b], 3),
    "choose": lambda a, b: np.choose(np.abs(1 * a) % 2, [a, b]),
    "clip": lambda a, b: np.clip(a, b, 3),
    "full_like": lambda a, b: np.full_like(a, b[0]),
    "minimum.outer": np.minimum.outer,
    "meshgrid": lambda a, b: np.meshgrid(a, b)[0],
    "broadcast_arrays": lambda a, b: np.broadcast_arrays(a, b[0])[1],
    "result_type": lambda a, b: np.zeros(2, np.result_type(a, b)),
    "add, out": lambda a, b: np.add(a, b, out=1 * a),
    "add, where": lambda a, b: np.add(a, b, out=a + b, where=a > 0),
    "trapezoid": np.trapezoid,
    "interp": lambda a, b: np.interp(1.5, np.sort(a), b),
}


def _assigned(change):
    def function(a, b):
        y = a.copy()
        change(y, b)
        return y

    return function


def _item(y, b):
    y[0] = b[1]


def _slice(y, b):
    y[1:] = b[1:]


def _mask(y, b):
    y[y > 0] = b[0]


def _place(y, b):
    y[np.argmax(b)] = b[2]


def _flat(y, b):
    y.flat[1] = b[1]


ASSIGNED = {
    "item": _item,
    "slice": _slice,
    "mask": _mask,
    "at a place": _place,
    "flat": _flat,
    "fill": lambda y, b: y.fill(b[0]),
    "put": lambda y, b: np.put(y, [0, 2], b[:2]),
    "place": lambda y, b: np.place(y, y > 0, b),
    "putmask": lambda y, b: np.putmask(y, y > 0, b),
    "copyto": lambda y, b: np.copyto(y, b),
    "copyto, where": lambda y, b: np.copyto(y, b, where=y > 0),
    "put_along_axis": lambda y, b: np.put_along_axis(y, np.array([0, 2]), b[:2], 0),
    "add.at": lambda y, b: np.add.at(y, [0, 0, 3], b[0]),
    "maximum.at": lambda y, b: np.maximum.at(y, [0, 0, 3], b[0]),
    "sort": lambda y, b: y.sort(),
}
OF_TWO |= {f"assigned: {name}": _assigned(change) for name, change in ASSIGNED.items()}


def _operand(name, x):
    return TRACED[name](x) if name in TRACED else PLAIN[name]


def _check(cells, is_refused, exactly=True):
    """See that each cell, a key and a function of the point, agrees or is refused as it should."""
    problems = []
    for key, function in cells:
        problem, refused = disagreement(function, exactly)
        if problem is not None:
            problems.append(f"{key}: {problem}")
        elif refused and not is_refused(*key):
            problems.append(f"{key}: refused")
    assert not problems, "\n".join(problems)


# Of bools NumPy computes these in float16, and with float32 numbers in float32.
_IN_FLOAT16 = {ufunc.__name__ for ufunc in UFUNCS.values() if "e->e" in ufunc.types}
_IN_FLOAT16 |= {ufunc.__name__ for ufunc in UFUNCS.values() if ufunc.types[0].startswith("ee")}
_WITHOUT_RULE = {"nextafter", "spacing", "frexp", "modf", "fabs", "ldexp"}


def _are_few_digits(*names):
    """Whether operands are bools and floats of less than double precision."""
    return any("bool" in name for name in names) and any("float32" in name for name in names)


@pytest.mark.parametrize("name", UNARY)
def test_of_one(name):
    """Ufuncs and operators of bools and integers."""
    cells = [((a,), lambda x, a=a: UNARY[name](TRACED[a](x))) for a in WHOLE]
    _check(
        cells,
        lambda a: name in _WITHOUT_RULE or ("bool" in a and (name in _IN_FLOAT16 or name == "~")),
    )


@pytest.mark.parametrize("name", BINARY)
def test_of_two(name):
    """Ufuncs and operators of bools and integers, with each other, floats and plain numbers."""
    function = BINARY[name]
    pairs = [(a, b) for a in TRACED for b in TRACED if a in WHOLE or b in WHOLE]
    pairs += [(a, b) for a in WHOLE for b in PLAIN]
    if "=" not in name or name in ("==", ">="):
        pairs += [(b, a) for a in WHOLE for b in PLAIN]

    def is_refused(a, b):
        if name in _WITHOUT_RULE or _are_few_digits(a, b):
            return True
        are_bools = all("bool" in each or each in ("True", "np.int8") for each in (a, b))
        are_bools |= {"bool", "int8s"} >= {a.split()[0], b.split()[0]}
        small = {"bool", "bools", "True", "np.int8", "int8s", "uint8s"}
        is_small = {a.removesuffix(" scalar"), b.removesuffix(" scalar")} <= small
        # Python and NumPy disagree on sums and products of two bools.
        is_ambiguous = are_bools and name in ("+", "*", "+=", "*=")
        return is_ambiguous or (is_small and name in _IN_FLOAT16)

    cells = [
        ((a, b), lambda x, a=a, b=b: function(_operand(a, x), _operand(b, x))) for a, b in pairs
    ]
    _check(cells, is_refused)


@pytest.mark.parametrize("name", OF_ONE)
def test_functions_of_one(name):
    cells = [((a,), lambda x, a=a: OF_ONE[name](TRACED[a](x))) for a in ("bool", "int", "place")]
    _check(cells, lambda a: name == "round" and a == "bool", exactly=False)  # it is in float16


@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two(name):
    whole = ("bool", "int", "place")
    plain = [each for each in PLAIN if each.endswith("s")]
    pairs = [
        (a, b) for a in (*whole, "float") for b in (*whole, "float") if a in whole or b in whole
    ]
    pairs += [(a, b) for a in whole for b in plain]
    if not name.startswith("assigned"):  # a plain array cannot hold traced values
        pairs += [(b, a) for a in whole for b in plain]
    cells = [
        ((a, b), lambda x, a=a, b=b: OF_TWO[name](_operand(a, x), _operand(b, x))) for a, b in pairs
    ]

    def is_refused(a, b):
        into_plain = name == "add, out" and a in PLAIN
        is_weight = name == "histogram" and b == "float32s"
        return (
            _are_few_digits(a, b)
            or is_weight
            or ("float" in f"{a} {b}" and (into_plain or "int8" in name))
        )

    _check(cells, is_refused, exactly=False)
