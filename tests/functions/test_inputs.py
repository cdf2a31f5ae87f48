"""What may be given: layouts, dtypes, nan, and the errors for what may not."""

import numpy as np
import pytest

import numtape as nt


def f(x):
    return np.sum(np.sin(x) * x)


def df(x):
    return np.cos(x) * x + np.sin(x)


X = np.linspace(0.1, 2.0, 12)

LAYOUTS = {
    "contiguous": X.copy(),
    "strided": np.repeat(X, 2)[::2],
    "reversed": X[::-1],
    "broadcast": np.broadcast_to(0.7, (12,)),
    "fortran": np.asfortranarray(X.reshape(3, 4)),
    "transposed": X.reshape(3, 4).T,
    "rank 3": X.reshape(2, 3, 2).swapaxes(0, 2),
    "big endian": X.astype(">f8"),
    "unaligned": np.frombuffer(b"x" + X.tobytes(), offset=1, dtype=float),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x = LAYOUTS[layout]
    expected = df(np.array(x, float))
    tape = nt.record(f, x)
    for _ in range(2):
        np.testing.assert_allclose(nt.grad(f)(x), expected, rtol=1e-14)
        np.testing.assert_allclose(tape.gradient(x), expected, rtol=1e-14)
        np.testing.assert_allclose(tape.jacobian(x), expected, rtol=1e-14)
        assert tape(x) == pytest.approx(f(x), rel=1e-15)


def test_layouts_after_a_contiguous_recording():
    gradient = nt.grad(f)
    for name in ("contiguous", "strided", "reversed", "broadcast", "contiguous"):
        x = LAYOUTS[name]
        np.testing.assert_allclose(gradient(x), df(x), rtol=1e-14)


def test_read_only():
    x = X.copy()
    x.flags.writeable = False
    gradient = nt.grad(f)
    tape = nt.record(f, x)
    for _ in range(2):
        np.testing.assert_allclose(gradient(x), df(x), rtol=1e-14)
        np.testing.assert_allclose(tape.gradient(x), df(x), rtol=1e-14)
        tape(x)
        tape.jvp((x,), (x,))
        tape.vjp((x,), 1.0)


def test_read_only_with_branches():
    def g(x):
        return np.sum(x * x) if x[0] > 0.5 else np.sum(x)

    gradient = nt.grad(g)
    for start in (1.0, 0.0, 1.0):
        x = X + start
        x.flags.writeable = False
        np.testing.assert_array_equal(gradient(x), 2 * x if start else np.ones(12))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", ">f2"])
def test_other_floats_are_converted(dtype):
    x = X.astype(dtype)
    found = nt.grad(f)(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, df(x.astype(float)), rtol=1e-14)


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_scalars(kind):
    assert nt.grad(lambda x: x * x)(kind(1.5)) == 3.0


def test_rank_zero_array():
    assert nt.grad(lambda x: x * x)(np.array(1.5)) == 3.0


def test_subnormal_and_huge_values_pass_through():
    for x in (5e-324, 1e308, -1e-310):
        value, slope = nt.value_and_grad(lambda x: x * 0.5)(x)
        assert (value, slope) == (x * 0.5, 0.5)


@pytest.mark.parametrize("size", [3, 30])
def test_nan_passes_through(size):
    gradient = nt.value_and_grad(lambda x: np.sum(x * x))
    x = np.ones(size)
    gradient(x)
    x[1] = np.nan
    value, slope = gradient(x)
    assert np.isnan(value)
    assert np.isnan(slope[1])
    assert slope[0] == 2.0


def test_nan_at_the_recording():
    value, slope = nt.value_and_grad(lambda x: np.sin(x) * 2.0)(np.nan)
    assert np.isnan(value)
    assert np.isnan(slope)


# out=


def test_gradient_into_out():
    tape = nt.record(f, X)
    out = np.full(12, np.nan)
    assert tape.gradient(X, out=out) is out
    np.testing.assert_array_equal(out, tape.gradient(X))


@pytest.mark.parametrize(
    "out", [np.empty(11), np.empty((12, 1)), np.empty(12, np.float32), [0.0] * 12], ids=repr
)
def test_out_of_the_wrong_kind(out):
    with pytest.raises(nt.InputError, match=r"float64 array of shape \(12,\)"):
        nt.record(f, X).gradient(X, out=out)


def test_out_that_cannot_be_written():
    tape = nt.record(f, X)
    fixed = np.empty(12)
    fixed.flags.writeable = False
    for out in (fixed, np.empty(24)[::2]):
        with pytest.raises(nt.InputError, match="read-only or not contiguous"):
            tape.gradient(X, out=out)


def test_out_for_several_arguments():
    tape = nt.record(lambda x, y: x * y, 2.0, 3.0)
    with pytest.raises(nt.InputError, match=r"float64 array of shape \(\)"):
        tape.gradient(2.0, 3.0, out=np.empty(2))
    out = np.empty(()), np.empty(())
    assert tape.gradient(2.0, 3.0, argnums=(0, 1), out=out) is out
    assert (out[0][()], out[1][()]) == (3.0, 2.0)


# wrong arguments


@pytest.mark.parametrize(
    "argument",
    [1j, np.complex128(1j), np.array([1j]), np.array([1.0, "a"], dtype=object)],
    ids=repr,
)
def test_complex_and_objects(argument):
    with pytest.raises(nt.InputError, match=r"argument 0 holds .*numtape differentiates real"):
        nt.grad(f)(argument)


@pytest.mark.parametrize("argument", [True, "text", np.True_, np.array([True])], ids=repr)
def test_differentiating_by_what_is_no_float(argument):
    with pytest.raises(nt.InputError, match="only floats and float arrays have derivatives"):
        nt.grad(f)(argument)


def test_unhashable_static_argument():
    class Odd:
        __hash__ = None

    with pytest.raises(nt.InputError, match=r"must be hashable.*frozen dataclass"):
        nt.grad(lambda x, odd: x)(1.0, Odd())


@pytest.mark.parametrize("name", ["__call__", "gradient", "jacobian", "value_and_gradient"])
def test_wrong_shape_for_a_tape(name):
    tape = nt.record(f, X)
    with pytest.raises(nt.InputError, match=r"shape \(11,\), and one point has \(12,\)"):
        getattr(tape, name)(X[:11])


def test_wrong_number_of_arguments_for_a_tape():
    tape = nt.record(lambda x, y: x * y, 2.0, 3.0)
    with pytest.raises(nt.InputError, match="structure"):
        tape(2.0)


def test_wrong_static_argument_for_a_tape():
    tape = nt.record(lambda x, n: x**n, 2.0, 3)
    with pytest.raises(nt.InputError, match=r"static values .* Record another tape"):
        tape(2.0, 4)


def test_integers_given_where_floats_were_recorded():
    tape = nt.record(lambda x: x * 2.0, 2.0)
    assert tape(2) == 4.0
    np.testing.assert_array_equal(tape(np.arange(3)), [0.0, 2.0, 4.0])
    assert tape.gradient(2) == 2.0
    with pytest.raises(nt.InputError, match="argument 0 is True of type bool, and a float"):
        tape(True)


def test_wrong_seeds():
    tape = nt.record(lambda x: x * 2.0, X)
    with pytest.raises(nt.InputError, match="tangents"):
        tape.jvp((X,), (X[:3],))
    with pytest.raises(nt.InputError, match="cotangents"):
        tape.vjp((X,), X[:3])
    with pytest.raises(nt.InputError, match="tangents"):
        nt.jvp(np.sin, 2.0, (1.0, 1.0))


def test_wrong_mode():
    with pytest.raises(nt.InputError, match=r"'forward'.*'reverse'"):
        nt.record(f, X).jacobian(X, mode="sideways")


@pytest.mark.parametrize("make", [nt.grad, nt.value_and_grad, nt.jacobian, nt.jacfwd, nt.jacrev])
def test_not_a_function(make):
    with pytest.raises(nt.InputError, match="cannot be called"):
        make(3.0)


# wrong results


def test_gradient_of_many_outputs():
    with pytest.raises(nt.OutputError, match=r"one number.*jacobian"):
        nt.grad(lambda x: x * 2.0)(X)
    with pytest.raises(nt.OutputError, match="one number"):
        nt.record(lambda x: x * 2.0, X).gradient(X)


@pytest.mark.parametrize("result", [None, "text", 1j, {}, object()])
def test_result_that_is_no_number(result):
    with pytest.raises(nt.OutputError):
        nt.jacobian(lambda x: result)(X)


def test_complex_result():
    with pytest.raises(nt.OutputError, match=r"real float64 results"):
        nt.jacobian(lambda x: [x, 1j])(2.0)
