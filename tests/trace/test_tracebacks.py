"""Where errors in a recorded function end, and in whose words they are."""

import json
import math
import statistics
import traceback

import numba
import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import scipy.signal
import scipy.sparse
import scipy.special

import numtape as nt

X = np.array([0.5, 1.5, 2.5])


class Mine(Exception):
    pass


def ended(call, kind=Exception):
    """The error of a call and its traceback's last file and line of source."""
    with pytest.raises(kind) as caught:
        call()
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    return caught.value, last.filename, last.line


def raises_mine(x):
    y = np.sin(x)
    raise Mine("on purpose")
    return y


def shapes(x):
    return np.sum(x * np.ones(4))


def indexed(x):
    return x[7]


def converted(x):
    return math.nextafter(x[0], 2.0)


def refused(x):
    return np.sum(np.nextafter(x, 2.0))


def by_scipy(x):
    return scipy.ndimage.gaussian_filter(x, 1.0)


def called_back(x):
    return scipy.optimize.brentq(lambda t: t - x[0], 0.0, 10.0)


def reduced(x):
    return np.sum(x, axis=5)


def compared(x):
    return x[0] if x > 0.0 else x[1]


def swallowed(x):
    try:
        return np.float32(x[0]) * x[0]
    except TypeError:
        return x[0]


@pytest.mark.parametrize(
    ("function", "line", "kind"),
    [
        (raises_mine, 'raise Mine("on purpose")', Mine),
        (shapes, "return np.sum(x * np.ones(4))", ValueError),
        (indexed, "return x[7]", IndexError),
        (converted, "return math.nextafter(x[0], 2.0)", nt.TraceError),
        (refused, "return np.sum(np.nextafter(x, 2.0))", nt.UnsupportedError),
        (by_scipy, "return scipy.ndimage.gaussian_filter(x, 1.0)", nt.UnsupportedError),
        (called_back, "return scipy.optimize.brentq(lambda t: t - x[0], 0.0, 10.0)", nt.TraceError),
        (reduced, "return np.sum(x, axis=5)", np.exceptions.AxisError),
        (compared, "return x[0] if x > 0.0 else x[1]", nt.InputError),
        (swallowed, "return np.float32(x[0]) * x[0]", nt.TraceError),
    ],
)
def test_tracebacks_end_in_the_users_line(function, line, kind):
    for call in (
        lambda: nt.record(function, X),
        lambda: nt.grad(function)(X),
        lambda: nt.vmap(function)(X[None]),
        lambda: nt.jvp(function, (X,), (X,)),
        lambda: nt.grad(lambda x: np.sum(nt.grad(function)(x)))(X),  # and of an inner one
    ):
        error, file, last = ended(call, kind)
        assert (file, last) == (__file__, line)
        if isinstance(error, nt.NumtapeError):
            assert f"{__file__}:{function.__code__.co_firstlineno + 1}" in str(error) or (
                function is swallowed
            )


def test_nothing_is_cut_where_that_is_wished(monkeypatch):
    monkeypatch.setenv("NUMTAPE_FULL_TRACEBACKS", "1")
    assert ended(lambda: nt.record(shapes, X))[1] != __file__


def test_a_function_without_a_line_of_the_users_keeps_its_traceback():
    error, file, _ = ended(lambda: nt.grad(np.nextafter)(0.5, 1.0), nt.UnsupportedError)
    assert "numtape" in file
    assert "nextafter" in str(error)


def test_no_internal_errors_are_chained():
    """What is shown above an error of ours is the user's, or nothing."""
    bent = nt.grad(lambda x: np.sum(x) if x[0] > 0.0 else 1.0 / np.sum(x) + Mine())
    bent(X)
    for call in (
        lambda: nt.record(converted, X),
        lambda: nt.record(by_scipy, X),
        lambda: nt.grad(lambda x: x, argnums="x")(X),
        lambda: nt.record(lambda x: np.sum(x), X).gradient(X, argnums=[[0]]),
        lambda: nt.grad(lambda n: np.sum(scipy.special.zeta(n, np.ones(20))))(np.full(20, 2.0)),
        lambda: nt.record(lambda n: np.sum(scipy.special.zeta(n, X[0])), X).gradient(X),
        lambda: nt.hvp(3, (X,), (X,)),
        lambda: bent(-X),  # of the path that was left for it
        lambda: nt.record(lambda x: np.dot(x, [[1.0], [2.0, 3.0]]), X),
    ):
        error, _, _ = ended(call)
        while error is not None:
            shown = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            assert shown is None, (error, shown)
            error = shown


# in whose words


@numba.njit
def compiled(x):
    return x * 2.0


FILLED = np.zeros(3)


def assigned(x):
    FILLED[:] = x
    return FILLED


def element(x):
    FILLED[1] = x[1]
    return FILLED


def without_source(text):
    """A function that is recorded as it is, for its calls cannot be rewritten."""
    return eval(f"lambda x: {text}", {"np": np, "X": X, "statistics": statistics})


FOREIGN = {
    "a ufunc of scalars and numbers": (
        without_source("np.sin(np.array([x[0], 1.0]))"),
        "array-of-objects",
    ),
    "one for numbers alone": (
        without_source("np.isnan(np.array([x[0], 1.0]))"),
        "array-of-objects",
    ),
    "a cast of objects": (
        without_source("np.interp(np.array([x[0], 1.0]), X, X)"),
        "array-of-objects",
    ),
    "a function in Python": (
        without_source("np.cov(np.array([x[0], 1.0, 2.0]))"),
        "array-of-objects",
    ),
    "an iterator": (lambda x: list(np.nditer(x)), "array-of-objects"),
    "json": (lambda x: json.dumps(x[0]), "refused-value"),
    "statistics": (without_source("statistics.mean(list(x))"), "refused-value"),
    "numba": (lambda x: compiled(x), "refused-value"),
    "memory": (lambda x: memoryview(x), "refused-value"),
    "a shape": (lambda x: np.zeros(x[0]), "refused-value"),
    "a length": (lambda x: len(x[0]), "refused-value"),
    "an attribute": (lambda x: setattr(x, "shape", (3, 1)), "refused-value"),
    "a missing attribute": (lambda x: x.base, "unsupported-attribute"),
    "none": (lambda x: x + None, "refused-value"),
    "scipy, by value": (lambda x: scipy.signal.savgol_filter(x, 3, 1), "unsupported-function"),
    "scipy, sparse": (lambda x: scipy.sparse.diags_array(x), "unsupported-function"),
    "scipy, filter": (
        lambda x: scipy.signal.filtfilt([1.0], [1.0, 0.5], x),
        "unsupported-function",
    ),
    "a conversion": (without_source("np.asarray(x, dtype=float)"), "escaped-value"),
    "a list of them": (without_source("np.array([x[0], x[1]], dtype=float)"), "escaped-value"),
    "bytes": (lambda x: np.frombuffer(x), "refused-value"),
    "an array assigned into": (assigned, "plain-array"),
    "an element assigned to": (element, "plain-array"),
    "complex": (lambda x: complex(x[0]), "complex-value"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_words_are_put_into_ours(name):
    function, code = FOREIGN[name]
    with pytest.raises(nt.TraceError) as caught:
        nt.record(function, X)
    assert caught.value.code == code, str(caught.value)
    assert f"{function.__code__.co_filename}:" in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_a_user_raises_is_left_as_it_is():
    def checks(x):
        raise TypeError(f"a float is needed, and this is a {type(x).__name__} of dtype('O')")

    with pytest.raises(TypeError, match="a float is needed") as caught:
        nt.record(checks, X)
    assert not isinstance(caught.value, nt.NumtapeError)


def test_a_call_back_of_the_users_is_not_scipys():
    def solves(x):
        def objective(t):
            raise ValueError("no object of mine")

        return scipy.optimize.brentq(objective, 0.0, x[0] * 1.0 if False else 1.0)

    with pytest.raises(ValueError, match="no object of mine") as caught:
        nt.record(solves, X)
    assert not isinstance(caught.value, nt.NumtapeError)


def test_attributes_can_be_asked_for():
    seen = []

    def asks(x):
        seen.append((hasattr(x, "base"), hasattr(x, "__array_interface__"), getattr(x, "q", 7)))
        return np.sum(x)

    nt.record(asks, X)
    assert seen == [(False, False, 7)]
