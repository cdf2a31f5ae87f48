"""`scipy.spatial.transform.Rotation` of traced values: one rotation, or a stack of them.

SciPy's constructors return a `TracedRotation` where their argument is traced, and SciPy's own
rotations do where they meet one. It is a unit quaternion, scalar last, as in SciPy.

At rotations by a small angle the formulas divide 0 by 0. There they are power series of the
squared angle, which have all derivatives, at no rotation too; both are computed, and one is
chosen by `np.where`, so that nothing is guarded.

SciPy's class is written in Python since version 1.17. Before that its methods cannot be
substituted, and refuse traced values themselves.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

from numtape.errors import InputError, UnsupportedError
from numtape.trace.functions.common import constants_of
from numtape.trace.locations import user_location
from numtape.trace.substitutes import HoldsTraced, stands_in_for
from numtape.trace.traced import as_computed, as_floats, as_integers, as_traced, innermost

__all__ = ["TracedRotation"]

_MODULE = "scipy.spatial.transform._rotation"
_HAS_PYTHON_CLASS = tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 17)
_DEGREES = 180.0 / math.pi

# Of sin(a / 2) / a and cos(a / 2) in powers of a squared, exact to rounding for a up to 1.
_HALF_SINE = [(-1.0) ** k / (2.0 ** (2 * k + 1) * math.factorial(2 * k + 1)) for k in range(9)]
_HALF_COSINE = [(-1.0) ** k / (4.0**k * math.factorial(2 * k)) for k in range(9)]
# Of 2 arctan(r) / r in powers of r squared, for r up to an eighth.
_ARCTANGENT = [2.0 * (-1.0) ** k / (2 * k + 1) for k in range(10)]


def _series(coefficients: Sequence[float], x: Any) -> Any:
    total = coefficients[-1] * x
    for coefficient in coefficients[-2:0:-1]:
        total = (total + coefficient) * x
    return total + coefficients[0]


def _traced(value: Any, *others: Any) -> Any:
    return as_floats(as_traced(innermost(value, *others), value))


def _check_last(name: str, value: Any, count: int) -> None:
    if value.ndim == 0 or value.shape[-1] != count:
        raise InputError(
            f"scipy.spatial.transform.Rotation.{name} of an array of shape {value.shape}: its "
            f"last axis must have {count} elements. Give it that shape"
        )


def _norm(x: Any) -> Any:
    return np.linalg.norm(x, axis=-1, keepdims=True)


def _normalized(quaternion: Any) -> Any:
    size = _norm(quaternion)
    if not np.all(size > 0.0):
        raise InputError(
            "scipy.spatial.transform.Rotation: a quaternion is 0, and so no rotation. Give one "
            "that is not"
        )
    return quaternion / size


def _of_rotation_vector(vector: Any) -> Any:
    square = np.sum(vector * vector, axis=-1, keepdims=True)
    is_small = square <= 1.0
    angle = np.sqrt(np.where(is_small, 1.0, square))
    near = np.where(is_small, square, 0.0)
    sine = np.where(is_small, _series(_HALF_SINE, near), np.sin(0.5 * angle) / angle)
    cosine = np.where(is_small, _series(_HALF_COSINE, near), np.cos(0.5 * angle))
    return np.concatenate([vector * sine, cosine], axis=-1)


def _canonical(quaternion: Any) -> Any:
    """Return the one of a rotation's two quaternions that has the positive scalar part."""
    x, y, z, w = (quaternion[..., k : k + 1] for k in range(4))
    is_negative = (y < 0.0) | ((y == 0.0) & (z < 0.0))
    is_negative = (x < 0.0) | ((x == 0.0) & is_negative)
    is_negative = (w < 0.0) | ((w == 0.0) & is_negative)
    return np.where(is_negative, -quaternion, quaternion)


def _composed(p: Any, q: Any) -> Any:
    (a, b, c, d), (x, y, z, w) = ([each[..., k] for k in range(4)] for each in (p, q))
    parts = [
        d * x + w * a + (b * z - c * y),
        d * y + w * b + (c * x - a * z),
        d * z + w * c + (a * y - b * x),
        d * w - a * x - b * y - c * z,
    ]
    return np.stack(parts, axis=-1)


def _axes(sequence: str, counts: str) -> tuple[list[int], bool]:
    """Return the axes of a sequence such as 'zyx', and whether they turn with the body."""
    is_known = re.fullmatch(f"[xyz]{{{counts}}}|[XYZ]{{{counts}}}", sequence)
    if not is_known or any(a == b for a, b in itertools.pairwise(sequence)):
        raise InputError(
            f"scipy.spatial.transform.Rotation: {sequence!r} is no sequence of axes. Give letters "
            "of 'xyz' or of 'XYZ', no two neighbours alike"
        )
    return ["xyz".index(each) for each in sequence.lower()], sequence.isupper()


def _of_angles(sequence: str, angles: Any) -> Any:
    axes, is_intrinsic = _axes(sequence, "1,3")
    angles = np.reshape(angles, (1,)) if angles.ndim == 0 else angles
    _check_last(f"from_euler({sequence!r}, ...)", angles, len(axes))
    quaternion = None
    for place, axis in enumerate(axes):
        half = 0.5 * angles[..., place]
        turn = constants_of(angles.recorder, np.zeros((*half.shape, 4)))
        turn[..., axis], turn[..., 3] = np.sin(half), np.cos(half)
        if quaternion is None:
            quaternion = turn
        else:
            pair = (quaternion, turn) if is_intrinsic else (turn, quaternion)
            quaternion = _composed(*pair)
    return quaternion


def _angles_of(quaternion: Any, sequence: str) -> Any:
    axes, is_intrinsic = _axes(sequence, "3")
    i, j, k = axes[::-1] if is_intrinsic else axes
    is_symmetric = i == k
    k = 3 - i - j if is_symmetric else k
    sign = (i - j) * (j - k) * (k - i) // 2
    a, b, c, d = quaternion[..., 3], quaternion[..., i], quaternion[..., j], quaternion[..., k]
    d = sign * d
    if not is_symmetric:
        a, b, c, d = a - c, b + d, c + a, d - b
    middle = 2.0 * np.arctan2(np.hypot(c, d), np.hypot(a, b))
    if np.any(np.minimum(abs(middle), abs(middle - np.pi)) <= 1e-7):
        raise UnsupportedError(
            f"Rotation.as_euler({sequence!r}) at {user_location()}: the axes of the first and the "
            "last turn are parallel (gimbal lock), where these angles have no derivative. Use "
            "another sequence, or as_quat, as_rotvec or as_matrix",
            code="no-derivative",
        )
    half_sum, half_difference = np.arctan2(b, a), np.arctan2(d, c)
    first, last = half_sum - half_difference, half_sum + half_difference
    if not is_symmetric:
        middle = middle - 0.5 * np.pi
        last = last * sign
    angles = [last, middle, first] if is_intrinsic else [first, middle, last]
    return (np.stack(angles, axis=-1) + np.pi) % (2.0 * np.pi) - np.pi


def _of_matrix(matrix: Any) -> Any:
    """Return the quaternion of an orthogonal matrix, by the largest of its four elements."""
    m = [[matrix[..., row, column] for column in range(3)] for row in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    choice = np.argmax(np.stack([m[0][0], m[1][1], m[2][2], trace], axis=-1), axis=-1)
    x, y, z = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[2][0] + m[0][2], m[2][1] + m[1][2]
    candidates = (
        (1.0 - trace + 2.0 * m[0][0], xy, xz, x),
        (xy, 1.0 - trace + 2.0 * m[1][1], yz, y),
        (xz, yz, 1.0 - trace + 2.0 * m[2][2], z),
        (x, y, z, 1.0 + trace),
    )
    result = np.stack(candidates[3], axis=-1)
    for number, candidate in enumerate(candidates[:3]):
        is_chosen = np.reshape(as_integers(choice) == number, (*np.shape(trace), 1))
        result = np.where(is_chosen, np.stack(candidate, axis=-1), result)
    return _normalized(result)


def _nearest_orthogonal(matrix: Any) -> Any:
    """Return SciPy's reading of a matrix: the nearest orthogonal one, by values and derivatives."""
    if not np.all(np.linalg.det(matrix) > 0.0):
        raise InputError(
            "scipy.spatial.transform.Rotation.from_matrix: a determinant is not positive, so the "
            "matrix is near no rotation. Give a right-handed one"
        )
    transposed = np.swapaxes(matrix, -1, -2)
    misfit = abs(matrix @ transposed - np.eye(3))
    if not np.all(misfit <= 1e-12 + 1e-5 * np.eye(3)):
        from scipy.linalg import polar

        return polar(matrix)[0]
    for _ in range(2):  # of Newton's steps to it, which make three orders of derivatives right
        matrix = 1.5 * matrix - 0.5 * matrix @ (np.swapaxes(matrix, -1, -2) @ matrix)
    return matrix


class TracedRotation(HoldsTraced):
    """A rotation under trace, or a stack of them along leading axes.

    Parameters
    ----------
    quaternion : TracedArray of shape (..., 4)
        Of length 1, the scalar last.
    """

    def __init__(self, quaternion: Any) -> None:
        self._quaternion = quaternion

    @property
    def single(self) -> bool:
        """Whether it is one rotation, and not a stack."""
        return bool(self._quaternion.ndim == 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the stack."""
        shape: tuple[int, ...] = self._quaternion.shape[:-1]
        return shape

    def __len__(self) -> int:
        self._refuse_single("len(r)")
        return len(self._quaternion)

    def _refuse_single(self, call: str) -> None:
        if self.single:
            raise UnsupportedError(
                f"{call} of a single rotation at {user_location()}: only a stack of rotations has "
                "a length and elements. Make one of an array with an axis more"
            )

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> "TracedRotation":
        self._refuse_single("r[...]")
        return TracedRotation(self._quaternion[key])

    def as_quat(self, canonical: bool = False, *, scalar_first: bool = False) -> Any:
        """Return quaternions as SciPy's method does; the following ones also do as SciPy's."""
        quaternion = _canonical(self._quaternion) if canonical else self._quaternion
        return np.roll(quaternion, 1, axis=-1) if scalar_first else quaternion.copy()

    def as_matrix(self) -> Any:
        """Return matrices of shape (..., 3, 3)."""
        x, y, z, w = (self._quaternion[..., k] for k in range(4))
        xx, yy, zz, ww = x * x, y * y, z * z, w * w
        elements = [
            *(xx - yy - zz + ww, 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)),
            *(2.0 * (x * y + z * w), -xx + yy - zz + ww, 2.0 * (y * z - x * w)),
            *(2.0 * (x * z - y * w), 2.0 * (y * z + x * w), -xx - yy + zz + ww),
        ]
        return np.reshape(np.stack(elements, axis=-1), (*self.shape, 3, 3))

    def as_rotvec(self, degrees: bool = False) -> Any:
        """Return vectors along the axis, of the angle's length."""
        quaternion = _canonical(self._quaternion)
        vector, w = quaternion[..., :3], quaternion[..., 3:]
        square = np.sum(vector * vector, axis=-1, keepdims=True)
        is_small = square <= w * w / 64.0
        cosine = np.where(is_small, w, 1.0)
        near = np.where(is_small, square, 0.0) / (cosine * cosine)
        sine = np.sqrt(np.where(is_small, 1.0, square))
        scale = np.where(
            is_small, _series(_ARCTANGENT, near) / cosine, 2.0 * np.arctan2(sine, w) / sine
        )
        return vector * (scale * _DEGREES if degrees else scale)

    def as_mrp(self) -> Any:
        """Return modified Rodrigues parameters."""
        vector, w = self._quaternion[..., :3], self._quaternion[..., 3:]
        sign = np.where(w < 0.0, -1.0, 1.0)
        return sign * vector / (1.0 + sign * w)

    def as_euler(self, seq: str, degrees: bool = False, *, suppress_warnings: bool = False) -> Any:
        """Return the angles of three turns one after the other."""
        angles = _angles_of(self._quaternion, seq)
        return angles * _DEGREES if degrees else angles

    def magnitude(self) -> Any:
        """Return the angle."""
        # A root, so that its square is smooth where it is 0.
        return as_computed(np.linalg.norm(self.as_rotvec(), axis=-1))

    def inv(self) -> "TracedRotation":
        """Return the inverse rotation."""
        return TracedRotation(self._quaternion * np.array([-1.0, -1.0, -1.0, 1.0]))

    def apply(self, vectors: Any, inverse: bool = False) -> Any:
        """Turn vectors along the last axis."""
        vectors = _traced(vectors, self._quaternion)
        _check_last("apply", vectors, 3)
        matrix = self.as_matrix()
        matrix = np.swapaxes(matrix, -1, -2) if inverse else matrix
        return np.sum(matrix * vectors[..., None, :], axis=-1)

    def __mul__(self, other: Any) -> Any:
        other = _rotation_of(other, self)
        if other is NotImplemented:
            return NotImplemented
        return TracedRotation(_normalized(_composed(self._quaternion, other._quaternion)))

    def __rmul__(self, other: Any) -> Any:
        other = _rotation_of(other, self)
        return other if other is NotImplemented else other * self

    def __pow__(self, n: Any, modulus: None = None) -> "TracedRotation":
        if isinstance(n, int | float) and n == -1:
            return self.inv()
        return TracedRotation(_of_rotation_vector(n * self.as_rotvec()))


def _rotation_of(rotation: Any, *others: Any) -> Any:
    """Return a rotation of SciPy's as a traced one; others must be traced."""
    if isinstance(rotation, TracedRotation):
        return rotation
    if type(rotation).__module__ != _MODULE:
        return NotImplemented
    values = [each._quaternion if isinstance(each, TracedRotation) else each for each in others]
    return TracedRotation(_traced(rotation.as_quat(), *values))


# substitutes for the methods of SciPy's class


def _substitute(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if _HAS_PYTHON_CLASS:
            stands_in_for(_MODULE, f"Rotation.{name}")(function)
        return function

    return register


@_substitute("from_quat")
def _from_quat(quat: Any, *, scalar_first: bool = False) -> TracedRotation:
    quat = _traced(quat)
    _check_last("from_quat", quat, 4)
    return TracedRotation(_normalized(np.roll(quat, -1, axis=-1) if scalar_first else quat))


@_substitute("from_matrix")
def _from_matrix(matrix: Any, *, assume_valid: bool = False) -> TracedRotation:
    matrix = _traced(matrix)
    if matrix.ndim < 2 or matrix.shape[-2:] != (3, 3):
        raise InputError(
            f"scipy.spatial.transform.Rotation.from_matrix of an array of shape {matrix.shape}: "
            "its last axes must have 3 elements each. Give matrices"
        )
    return TracedRotation(_of_matrix(matrix if assume_valid else _nearest_orthogonal(matrix)))


@_substitute("from_rotvec")
def _from_rotvec(rotvec: Any, degrees: bool = False) -> TracedRotation:
    rotvec = _traced(rotvec)
    _check_last("from_rotvec", rotvec, 3)
    return TracedRotation(_of_rotation_vector(rotvec / _DEGREES if degrees else rotvec))


@_substitute("from_mrp")
def _from_mrp(mrp: Any) -> TracedRotation:
    mrp = _traced(mrp)
    _check_last("from_mrp", mrp, 3)
    square = np.sum(mrp * mrp, axis=-1, keepdims=True)
    return TracedRotation(np.concatenate([2.0 * mrp, 1.0 - square], axis=-1) / (1.0 + square))


@_substitute("from_euler")
def _from_euler(seq: str, angles: Any, degrees: bool = False) -> TracedRotation:
    angles = _traced(angles)
    return TracedRotation(_of_angles(seq, angles / _DEGREES if degrees else angles))


@_substitute("apply")
def _apply(self: Any, vectors: Any, inverse: bool = False) -> Any:
    return _rotation_of(self, vectors).apply(vectors, inverse)


@_substitute("__mul__")
def _times(self: Any, other: Any) -> Any:
    return (
        _rotation_of(self, other) * other if isinstance(other, TracedRotation) else NotImplemented
    )


@_substitute("__pow__")
def _power(self: Any, n: Any, modulus: None = None) -> Any:
    return _rotation_of(self, n) ** n
