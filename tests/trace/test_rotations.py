"""Rotations of `scipy.spatial.transform` that are made of traced values, or turn them."""

import numpy as np
import pytest
from checks import assert_first_derivatives, assert_second_derivatives, hessian
from scipy.spatial.transform import Rotation

import numtape as nt


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


VECTOR, STACK, POINTS = _normal(0, 3), _normal(1, 2, 3), _normal(2, 2, 3)
ANGLES = np.array([0.3, -0.5, 1.1])
PLAIN = Rotation.from_rotvec(_normal(3, 3))


def of(vector, **options):
    return Rotation.from_rotvec(vector, **options)


# Of rotation vectors.
USES = {
    "as_quat": lambda v: of(v).as_quat(),
    "as_quat, canonical": lambda v: of(v).as_quat(canonical=True, scalar_first=True),
    "as_matrix": lambda v: of(v, degrees=True).as_matrix(),
    "as_rotvec": lambda v: of(v).as_rotvec(degrees=True),
    "as_mrp": lambda v: of(v).as_mrp(),
    "from_mrp": lambda v: Rotation.from_mrp(v).as_matrix(),
    "inverse": lambda v: of(v).inv().as_quat(),
    "apply": lambda v: of(v).apply(POINTS),
    "apply the inverse": lambda v: of(v).apply(POINTS, inverse=True),
    "apply to itself": lambda v: of(v[..., ::-1]).apply(v),
    "product": lambda v: (of(v) * PLAIN * of(2.0 * v)).as_quat(),
    "product from the left": lambda v: (PLAIN * of(v)).as_matrix(),
    "power": lambda v: (of(v) ** 0.3).as_quat(),
    "inverse by a power": lambda v: (of(v) ** -1).as_quat(),
    "plain applied": lambda v: PLAIN.apply(v),
    "plain to a power": lambda v: (PLAIN ** v.ravel()[0]).as_quat(),
    "through a matrix": lambda v: Rotation.from_matrix(of(v).as_matrix()).as_rotvec(),
}
PLACES = {
    "one": VECTOR,
    "stack": STACK,
    "small": 1e-4 * STACK,
    "none": np.zeros(3),
    "large": np.array([[2.0, -1.5, 1.0], [0.1, 0.2, 3.0]]),
    "stack of stacks": np.stack([STACK, -STACK])[:, :1],
}
# Where shapes do not fit.
WITHOUT = {("apply", "large"), ("apply the inverse", "large")}
WITHOUT |= {(name, "stack of stacks") for name in ("apply", "apply the inverse")}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("place", PLACES)
def test_values_and_derivatives(name, place):
    if (name, place) in WITHOUT:
        return
    function, v = USES[name], PLACES[place]
    tape = nt.record(function, v)
    for point in (v, 1.01 * v):
        expected = function(point)
        assert tape(point).shape == expected.shape
        np.testing.assert_allclose(tape(point), expected, rtol=1e-12, atol=1e-13)
    assert_first_derivatives(function, v)
    assert_second_derivatives(function, _normal(4, *np.shape(expected)), v)


SEQUENCES = ("xyz", "zyx", "ZYX", "zxz", "ZXZ", "YXZ", "yzx", "XYX", "xzy")


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_euler_angles(sequence):
    for function, point in (
        (lambda a: Rotation.from_euler(sequence, a).as_quat(), ANGLES),
        (lambda v: of(v).as_euler(sequence, degrees=True), STACK),
    ):
        expected = function(1.1 * point)
        np.testing.assert_allclose(nt.record(function, point)(1.1 * point), expected, rtol=1e-12)
        assert_first_derivatives(function, point)
        assert_second_derivatives(function, _normal(5, *expected.shape), point)


def test_fewer_angles():
    for function in (
        lambda a: Rotation.from_euler("y", a[0], degrees=True).as_matrix(),
        lambda a: Rotation.from_euler("XZ", a[:2]).as_matrix(),
        lambda a: Rotation.from_euler("z", a[:, None]).as_matrix(),
    ):
        np.testing.assert_allclose(
            nt.record(function, ANGLES)(ANGLES), function(ANGLES), rtol=1e-13
        )
        assert_first_derivatives(function, ANGLES)


def test_quaternions_are_normalized():
    for function in (
        lambda q: Rotation.from_quat(q).as_matrix(),
        lambda q: Rotation.from_quat(q, scalar_first=True).as_rotvec(),
    ):
        q = _normal(6, 3, 4)
        np.testing.assert_allclose(nt.record(function, q)(q), function(q), rtol=1e-12)
        assert_first_derivatives(function, q)
        assert_second_derivatives(function, _normal(7, *function(q).shape), q)


def test_matrices_are_made_orthogonal():
    """Derivatives by a matrix's elements are those of the nearest orthogonal one."""
    orthogonal = of(np.concatenate([STACK, np.pi * np.eye(3), np.zeros((1, 3))])).as_matrix()
    for matrix in (orthogonal[:1], orthogonal[:1] + 0.1 * _normal(8, 1, 3, 3)):
        function = lambda m: Rotation.from_matrix(m).as_matrix()  # noqa: E731
        np.testing.assert_allclose(
            nt.record(function, matrix)(matrix), function(matrix), rtol=1e-12
        )
        assert_first_derivatives(function, matrix)
        assert_second_derivatives(function, _normal(9, *matrix.shape), matrix)
    found = nt.record(lambda m: Rotation.from_matrix(m).as_quat(), orthogonal)(orthogonal)
    np.testing.assert_allclose(found, Rotation.from_matrix(orthogonal).as_quat(), atol=1e-14)
    raw = nt.jacobian(lambda m: Rotation.from_matrix(m, assume_valid=True).as_matrix())
    assert np.isfinite(raw(orthogonal[0])).all()


def test_magnitudes():
    for v in (VECTOR, STACK, PLACES["large"]):
        function = lambda v: of(v).magnitude()  # noqa: E731
        np.testing.assert_allclose(nt.record(function, v)(v), function(v), rtol=1e-14)
        jacobian = nt.jacobian(lambda v: np.sum(of(v).magnitude()))(v)
        np.testing.assert_allclose(jacobian, v / np.linalg.norm(v, axis=-1, keepdims=True))
    # Its square is smooth, at no rotation too.
    found = hessian(lambda v: of(v).magnitude() ** 2, np.zeros(3))
    np.testing.assert_allclose(found, 2.0 * np.eye(3), rtol=1e-13)


def test_high_derivatives_at_no_rotation():
    def along(order):
        function = lambda t: of(np.stack([0.0 * t, 0.0 * t, t])).as_matrix()[0, 0]  # noqa: E731
        for _ in range(order):
            function = nt.grad(function)
        return function(0.0)

    np.testing.assert_allclose([along(k) for k in range(1, 5)], [0.0, -1.0, 0.0, 1.0], atol=1e-12)


def test_stacks():
    for function in (
        lambda v: of(v)[1:].as_quat(),
        lambda v: sum(each.as_quat() for each in of(v)),
        lambda v: of(v)[0].as_quat() * len(of(v)) * of(v).shape[0] * (not of(v).single),
    ):
        np.testing.assert_allclose(nt.record(function, STACK)(STACK), function(STACK), rtol=1e-14)


def test_batches():
    found = nt.vmap(nt.jacobian(lambda v: of(v).apply(POINTS[0])))(STACK)
    for jacobian, v in zip(found, STACK):
        np.testing.assert_allclose(jacobian, nt.jacobian(lambda v: of(v).apply(POINTS[0]))(v))
    tape = nt.record(lambda v: of(v).as_rotvec(), VECTOR)
    points = np.concatenate([STACK, 1e-5 * STACK, np.zeros((1, 3)), PLACES["large"]])
    np.testing.assert_allclose(tape(points), of(points).as_rotvec(), rtol=1e-12, atol=1e-18)


INVALID = {
    "no quaternion": lambda v: Rotation.from_quat(0.0 * np.concatenate([v, v[:1]])),
    "two elements": lambda v: of(v[:2]),
    "no matrix": lambda v: Rotation.from_matrix(v),
    "left-handed": lambda v: Rotation.from_matrix(-np.diag(v)),
    "unknown axes": lambda v: Rotation.from_euler("xxz", v),
    "mixed axes": lambda v: Rotation.from_euler("xYz", v),
    "points": lambda v: of(v).apply(v[:2]),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name):
    with pytest.raises(ValueError, match="Rotation"):
        nt.record(lambda v: INVALID[name](v).as_quat(), np.array([1.0, 2.0, 3.0]))


REFUSED = {
    "gimbal lock": lambda v: Rotation.from_euler("zyx", [v[0], 0.5 * np.pi, v[1]]).as_euler("zyx"),
    "mean": lambda v: of(v[None]).mean().as_quat(),
    "constructor": lambda v: Rotation(v).as_quat(),
    "concatenate": lambda v: Rotation.concatenate([of(v), PLAIN]).as_quat(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises((nt.UnsupportedError, AttributeError)):
        nt.grad(lambda v: np.sum(REFUSED[name](v)))(VECTOR)


def test_single_rotations_have_no_length():
    for function in (lambda v: len(of(v)), lambda v: of(v)[0]):
        with pytest.raises(TypeError, match="single"):
            nt.record(lambda v, f=function: f(v) and v, VECTOR)
