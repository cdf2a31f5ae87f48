"""Wrong calls are told the value, the rule and the remedy, by a code of their own."""

import numpy as np
import pytest

import numtape as nt

X = np.array([0.5, 1.5, 2.5])
POINTS = np.ones((4, 3))


def f(x):
    return np.sum(x * x)


def pair(x):
    return x * 2.0, x * 3.0


TAPE = nt.record(f, X)
PAIR = nt.record(pair, X)
VECTOR = nt.record(lambda x: x * x, X)

CALLS = {
    "not-callable": [
        lambda: nt.grad(3),
        lambda: nt.record(3, X),
        lambda: nt.vmap(None),
        lambda: nt.vmap(TAPE),
        lambda: nt.jvp("f", (X,), (X,)),
        lambda: nt.vjp(3, X),
        lambda: nt.hvp(3, (X,), (X,)),
        lambda: nt.linearize(3, X),
        lambda: nt.check_derivatives(3, X),
    ],
    "wrong-argnums": [
        lambda: nt.grad(f, argnums=1)(X),
        lambda: nt.grad(f, argnums=-2)(X),
        lambda: nt.grad(f, argnums="x")(X),
        lambda: nt.grad(f, argnums=0.0)(X),
        lambda: nt.grad(f, argnums=())(X),
        lambda: nt.grad(f, argnums=True)(X),
        lambda: TAPE.gradient(X, argnums=1),
        lambda: TAPE.gradient(X, argnums=None),
        lambda: TAPE.gradient(POINTS, argnums=None),
        lambda: TAPE.jacobian(X, argnums=[[0]]),
        lambda: TAPE.hessian(X, argnums=2),
        lambda: TAPE.tangent(argnums="x"),
    ],
    "not-differentiable": [
        lambda: nt.grad(f)(True),
        lambda: nt.grad(f)(X > 1.0),
        lambda: nt.grad(f)([1.0, 2]),
        lambda: nt.jvp(lambda x, n: x**n, (2.0, 3), (0.0, 1.0)),
        lambda: nt.grad(f)("text"),
        lambda: nt.grad(f)(None),
        lambda: nt.grad(f)({}),
    ],
    "wrong-type": [
        lambda: nt.grad(f)(1.0j),
        lambda: nt.grad(f)(X * 1.0j),
        lambda: nt.grad(f)(np.array([1.0, None])),
        lambda: nt.grad(f)(np.ma.array(X)),
        lambda: nt.grad(lambda x, s: x)(1.0, {1, 2}),
        lambda: nt.vjp(f, X)[1]("text"),
        lambda: nt.vmap(f)(np.array(["a", "b"])),
    ],
    "wrong-structure": [
        lambda: TAPE(np.ones(4)),
        lambda: TAPE(),
        lambda: TAPE(X, X),
        lambda: TAPE("text"),
        lambda: TAPE(None),
        lambda: TAPE([0.5, 1.5, 2.5]),
        lambda: TAPE.gradient(np.ones(4)),
        lambda: nt.record(lambda d: d["a"], {"a": 1.0})({"b": 1.0}),
        lambda: nt.jvp(f, (X,), (X, X)),
        lambda: nt.jvp(f, (X,), (np.ones(4),)),
        lambda: nt.vjp(f, X)[1]((1.0,)),
        lambda: nt.hvp(f, (X,), (np.ones(2),)),
        lambda: nt.linearize(f, X)[1](np.ones(2)),
        lambda: TAPE.linearize((POINTS,)),
    ],
    "wrong-argument": [lambda: nt.grad(lambda x: np.sum(np.cross(x, x)))(np.ones(4))],
    "wrong-option": [
        lambda: TAPE.jacobian(X, mode="fwd"),
        lambda: TAPE(POINTS, num_threads=0),
        lambda: TAPE(POINTS, num_threads="many"),
        lambda: TAPE(POINTS, progress=3),
        lambda: nt.vmap(f, num_threads=-1)(POINTS),
        lambda: nt.vmap(f, out_axes="a"),
        lambda: nt.vmap(f, out_axes=7)(POINTS),
    ],
    "wrong-points": [
        lambda: nt.vmap(lambda a, b: a + b)(np.ones(3), np.ones(4)),
        lambda: nt.vmap(f, in_axes=None)(POINTS),
        lambda: nt.vmap(f, in_axes=5)(POINTS),
        lambda: nt.vmap(f)(1.0),
        lambda: nt.vmap(f, in_axes="a")(POINTS),
        lambda: nt.vmap(f, in_axes=(0, 0))(POINTS),
        lambda: nt.vmap(f)(),
    ],
    "not-a-scalar": [
        lambda: nt.grad(lambda x: x * x)(X),
        lambda: nt.value_and_grad(lambda x: x * x)(X),
        lambda: nt.hvp(lambda x: x * x, (X,), (X,)),
        lambda: VECTOR.gradient(X),
        lambda: VECTOR.gradient(POINTS),
        lambda: VECTOR.hessian(X),
    ],
    "wrong-result": [
        lambda: nt.grad(f, has_aux=True)(X),
        lambda: nt.grad(lambda x: (1.0, 2.0, 3.0), has_aux=True)(X),
        lambda: nt.jacobian(lambda x: {"a": "b"})(X),
        lambda: nt.jacobian(lambda x: None)(X),
        lambda: nt.record(lambda x: [], X),
        lambda: nt.vmap(lambda x: None)(POINTS),
        lambda: nt.jacobian(lambda x: (v for v in x))(X),
        lambda: nt.jacobian(lambda x: 10**30)(X),
    ],
    "not-a-float": [
        lambda: nt.grad(np.argmax)(X),
        lambda: nt.value_and_grad(lambda x: np.sum(x > 1.0))(X),
        lambda: nt.hessian(lambda x: x[0] > 1.0)(X),
        lambda: nt.hvp(np.argmin, (X,), (X,)),
        lambda: nt.vmap(nt.grad(np.argmax))(POINTS),
        lambda: nt.record(np.argmax, X).gradient(X),
        lambda: nt.record(np.argmax, X).value_and_gradient(POINTS),
        lambda: nt.record(np.argmax, X).hessian(X),
        lambda: nt.record(np.argmax, X).hvp(X, X),
        lambda: nt.grad(lambda x: nt.grad(np.argmax)(x)[0])(X),
    ],
}


@pytest.mark.parametrize("code", CALLS)
def test_wrong_calls(code):
    for call in CALLS[code]:
        with pytest.raises(nt.NumtapeError) as caught:
            call()
        assert caught.value.code == code, caught.value
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def _same(shape):
    array = np.empty(shape)
    return array, array


def _overlapping():
    array = np.empty(5)
    return array[:3], array[2:]


def _read_only():
    array = np.empty(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "call",
    [
        lambda: PAIR(X, out=_same(3)),
        lambda: PAIR(X, out=_overlapping()),
        lambda: PAIR(POINTS, out=_same((4, 3))),
        lambda: nt.vmap(pair)(POINTS, out=_same((4, 3))),
        lambda: TAPE.gradient(
            POINTS, out=np.lib.stride_tricks.as_strided(np.empty(6), (4, 3), (8, 8))
        ),
        lambda: TAPE.gradient(POINTS, out=np.broadcast_to(np.empty(3), (4, 3))),
        lambda: TAPE.gradient(X, out=X),
        lambda: TAPE.gradient(X, out=np.empty(4)),
        lambda: TAPE.gradient(X, out=np.empty(3, np.float32)),
        lambda: TAPE.gradient(X, out=_read_only()),
        lambda: TAPE(X, out=[1.0]),
        lambda: TAPE(iter([X]), out=np.empty(1)),
    ],
)
def test_wrong_out(call):
    with pytest.raises(nt.InputError, match=r"out=.*\. ?(Pass|Leave)") as caught:
        call()
    assert caught.value.code == "wrong-out"


def test_parts_of_one_array_are_separate_outputs():
    """Columns, rows and transposes: no two elements share memory."""
    whole = np.zeros((4, 2, 3))
    PAIR(POINTS, out=(whole[:, 0], whole[:, 1]))
    np.testing.assert_array_equal(whole[:, 0], POINTS * 2)
    np.testing.assert_array_equal(whole[:, 1], POINTS * 3)
    turned = np.zeros((3, 4))
    TAPE.gradient(POINTS, out=turned.T)
    np.testing.assert_array_equal(turned, 2 * POINTS.T)
    backward = np.zeros((4, 3))
    TAPE.gradient(POINTS * np.arange(4.0)[:, None], out=backward[::-1])
    np.testing.assert_array_equal(backward[:, 0], [6.0, 4.0, 2.0, 0.0])
    assert TAPE.gradient(np.ones((0, 3)), out=np.empty((0, 3))).shape == (0, 3)


def test_a_keyword_that_there_is_not():
    for method, arguments in {"gradient": (X,), "jvp": ((X,), (X,)), "hessian": (POINTS,)}.items():
        with pytest.raises(TypeError, match=rf"Tape\.{method}\(\) got .* argument 'threads'"):
            getattr(TAPE, method)(*arguments, threads=2)
    with pytest.raises(TypeError, match=r"Tape\.__call__\(\) got .* argument 'outt'"):
        TAPE(X, outt=np.empty(()))
