"""Nothing is ever silently constant: what would lose a derivative raises, and says what to write.

Every message names the value or the call, the rule, and the remedy.
"""

import cmath
import math

import numpy as np
import pytest
from checks import without_source

import numtape as nt

X = np.array([0.5, 1.5, 2.5])


def _message(function, kind=nt.TraceError, *arguments):
    with pytest.raises(kind) as caught:
        nt.record(function, *(arguments or (X,)))
    return str(caught.value)


def test_float():
    message = _message(lambda x: np.float32(x[0]) * x[1])
    assert "derivative would be lost" in message
    assert "stop_gradient" in message
    assert __file__ in message


def test_math():
    message = _message(without_source(lambda x: math.sin(x[0]) * x[1]))
    assert "into a file" in message
    assert "np.sin(x)" in message


def test_complex():
    message = _message(lambda x: complex(x[0]))
    assert "plain complex number" in message
    assert "x + 0j" in message


def test_cmath():
    assert "derivative would be lost" in _message(lambda x: cmath.sin(x[0]))


def test_complex_result():
    message = _message(lambda x: x * np.array([1j, 2.0, 3.0]))
    assert "result of the function" in message
    assert "np.stack([z.real, z.imag])" in message


def test_hash():
    message = _message(lambda x: {x[0]: 1.0})
    assert "silently constant" in message
    assert "integer or a string" in message


def test_hash_of_an_array():
    assert "hash" in _message(lambda x: {x: 1.0})


def _assigns(x):
    y = np.zeros(3)
    y[1] = x[1]
    return y


def _assigns_array(x):
    y = np.zeros(3)
    y[:] = x
    return y


def _chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("function", [_assigns, _assigns_array])
def test_assignment_into_a_plain_array(function):
    """Whatever NumPy lets through is, or chains, our error with the remedy."""
    with pytest.raises((nt.TraceError, TypeError, ValueError)) as caught:
        nt.record(without_source(function), X)
    ours = [error for error in _chain(caught.value) if isinstance(error, nt.TraceError)]
    assert ours
    assert "np.zeros(n, like=x)" in str(ours[0])


def test_out_is_a_plain_array():
    def f(x):
        y = np.zeros(3)
        np.sin(x, out=y)
        return y

    assert "np.zeros_like(x)" in _message(without_source(f))


def test_in_place_on_a_plain_array():
    def f(x):
        y = np.zeros(3)
        y += x
        return y

    assert "np.zeros_like(x)" in _message(without_source(f))


def test_conversion_with_a_dtype():
    message = _message(without_source(lambda x: np.asarray(x, dtype=float) * 2.0))
    assert "like=x" in message


def test_unsupported_function():
    message = _message(lambda x: np.unravel_index(x, (3, 3)), nt.UnsupportedError)
    assert "unravel_index" in message
    assert "no rule" in message
    assert "Write it with" in message


def test_unsupported_ufunc():
    message = _message(lambda x: np.nextafter(x, 2.0), nt.UnsupportedError)
    assert "nextafter" in message
    assert "no rule" in message


def test_unsupported_ufunc_method():
    message = _message(without_source(lambda x: np.add.at(np.zeros(3), [0], x[0])))
    assert "add.at" in message
    assert "np.zeros_like(x)" in message
    message = _message(lambda x: np.gcd(x, x), nt.UnsupportedError)
    assert "gcd" in message


def test_unsupported_option():
    message = _message(lambda x: np.add(x, 1.0, dtype=np.float32), nt.UnsupportedError)
    assert "add" in message
    message = _message(lambda x: np.sin(x, where=[True, False, True]), nt.UnsupportedError)
    assert "where" in message


def test_unsupported_decomposition():
    message = _message(
        lambda x: np.linalg.qr(np.outer(x, x)[:, :2], mode="complete"), nt.UnsupportedError
    )
    assert "complete" in message
    assert "reduced" in message


def test_adding_two_comparisons():
    message = _message(lambda x: (x[0] > 0) + (x[1] > 0), nt.UnsupportedError)
    assert "1.0 * (x < y)" in message


def test_index_that_is_no_integer():
    message = _message(lambda x: x[x[0]] * 2.0)
    assert "0.5" in message
    assert "index must be an integer" in message
    assert "int(x)" in message


def test_array_of_floats_as_an_index():
    def function(x, places):
        return np.sum(x[places] ** 2)

    x, whole = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    with pytest.raises(nt.TraceError, match=r"0\.5 was used as an index"):
        nt.grad(function)(x, np.array([2.0, 0.5]))
    tape = nt.record(function, x, whole)
    assert tape(x, whole) == 10.0
    with pytest.raises(nt.BranchError):
        tape(x, np.array([2.5, 0.5]))


def test_range_of_a_traced_value():
    assert "int(x)" in _message(lambda x: x[0] * len(range(x[1])))


def test_value_of_another_recording():
    kept = []
    nt.record(lambda x: kept.append(x[0]) or x[0] * 2.0, X)
    message = _message(lambda x: x * kept[0])
    assert "0.5" in message
    assert "of one recording was used in another" in message
    assert "argument" in message


def test_value_of_another_recording_by_scalar_operators():
    kept = []
    nt.record(lambda x: kept.append(x) or x * 2.0, 1.5)
    for function in (
        lambda x: x * kept[0],
        lambda x: kept[0] * x,
        lambda x: np.maximum(x, kept[0]),
    ):
        assert "another" in _message(function, nt.TraceError, 2.0)


def test_value_of_another_recording_returned():
    kept = []
    nt.record(lambda x: kept.append(x) or x * 2.0, 1.5)
    assert "another" in _message(lambda x: kept[0], nt.TraceError, 2.0)


def test_ragged_rows():
    with pytest.raises((nt.TraceError, ValueError)):
        nt.record(lambda x: x * [[x[0]], [x[1], x[2]]], X)


def test_text_among_values():
    message = _message(lambda x: x * np.array([x[0], "a", x[1]], dtype=object))
    assert "'a'" in message
    assert "number" in message


def test_empty_extremes():
    with pytest.raises(ValueError, match="no elements"):
        nt.record(lambda x: np.max(x[:0]), X)


def test_item_of_many():
    with pytest.raises(ValueError, match="one element"):
        nt.record(lambda x: x.item(), X)


def test_index_out_of_bounds_is_the_users_error():
    with pytest.raises(IndexError):
        nt.record(lambda x: x[3], X)


def test_wrong_shapes_are_the_users_error():
    with pytest.raises(ValueError, match="broadcast"):
        nt.record(lambda x: x * np.ones(4), X)


def test_exceptions_propagate_and_the_next_recording_works():
    class Mine(Exception):
        pass

    def f(x, fail):
        y = np.sin(x)
        if fail:
            raise Mine("on purpose")
        return np.sum(y)

    gradient = nt.grad(f)
    with pytest.raises(Mine, match="on purpose"):
        gradient(X, True)
    np.testing.assert_allclose(gradient(X, False), np.cos(X), rtol=1e-15)
    with pytest.raises(Mine):
        gradient(X, True)
    np.testing.assert_allclose(gradient(X, False), np.cos(X), rtol=1e-15)


def test_every_error_is_a_numtape_error_and_a_builtin_one():
    assert issubclass(nt.TraceError, nt.NumtapeError)
    assert issubclass(nt.TraceError, TypeError)
    assert issubclass(nt.UnsupportedError, nt.TraceError)
    for kind in (nt.InputError, nt.OutputError, nt.TapeError):
        assert issubclass(kind, nt.NumtapeError)
        assert issubclass(kind, ValueError)
    assert issubclass(nt.BranchError, RuntimeError)
