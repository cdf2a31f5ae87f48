"""Derivative rules of `FUNCTIONS` that compute with complex matrices, pairs on slots.

An adjoint of a complex number z is a pair g with L' = Re(conj(g) z'). With x' for a tangent,
x_ for an adjoint and T = A⁻¹ A',

- slogdet_pairs:  (log |det A|)' = Re tr T,  sign' = i sign Im tr T
- eig_pairs, A V = V w, of a real A, with P = V⁻¹ A' V:  w' = diag P,  V' = V (F ∘ P);
  F_ij = 1 / (w_j − w_i) off the diagonal. So the vectors have no length and no phase of their
  own: what uses them must not depend on either.
- eigh_pairs: the same with Vᴴ for V⁻¹, of the Hermitian matrix whose lower triangle is read.
"""

from typing import Any

import numpy as np

from numtape.transform.expressions import Expression, function_call

__all__ = ["COMPLEX_RULES"]


class _Complex:
    """A complex matrix or vector: expressions of its parts."""

    def __init__(self, real: Expression, imag: Expression) -> None:
        self.real = real
        self.imag = imag

    @property
    def T(self) -> "_Complex":  # noqa: N802 (NumPy's name)
        return _Complex(self.real.T, self.imag.T)

    @property
    def conj(self) -> "_Complex":
        return _Complex(self.real, -self.imag)

    def __add__(self, other: "_Complex") -> "_Complex":
        return _Complex(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: "_Complex") -> "_Complex":
        """Multiply by elements; an exact 0 stays 0 where the other is infinite."""
        apply = self.real.apply
        return _Complex(
            apply("scale", self.real, other.real) - apply("scale", self.imag, other.imag),
            apply("scale", self.real, other.imag) + apply("scale", self.imag, other.real),
        )

    def __matmul__(self, other: "_Complex | Expression") -> "_Complex":
        if isinstance(other, Expression):
            return _Complex(self.real @ other, self.imag @ other)
        return _Complex(
            self.real @ other.real - self.imag @ other.imag,
            self.real @ other.imag + self.imag @ other.real,
        )

    def __getitem__(self, key: Any) -> "_Complex":
        return _Complex(self.real[key], self.imag[key])

    def masked(self, mask: Any) -> "_Complex":
        """Return 0 by structure where the mask is false."""
        parts = (self.real, self.imag)
        return _Complex(*(Expression(x.builder, np.where(mask, x.slots, 0)) for x in parts))

    def diagonal(self) -> "_Complex":
        parts = (self.real, self.imag)
        return _Complex(
            *(Expression(x.builder, np.diagonal(x.slots, axis1=-2, axis2=-1)) for x in parts)
        )

    def inverse(self) -> "_Complex":
        """Invert by the real matrix of twice the size that multiplies real and imaginary parts."""
        real, imag = self.real.slots, self.imag.slots
        rows = [np.concatenate([real, (-self.imag).slots], -1), np.concatenate([imag, real], -1)]
        whole = Expression(self.real.builder, np.concatenate(rows, -2))
        (found,) = function_call("inv", whole)
        n = real.shape[-1]
        return _Complex(found[..., :n, :n], found[..., n:, :n])

    def pairs(self) -> Expression:
        """Return real and imaginary part side by side."""
        slots = np.stack(np.broadcast_arrays(self.real.slots, self.imag.slots), axis=-1)
        return Expression(self.real.builder, slots)


def _of(pairs: Expression) -> _Complex:
    return _Complex(pairs[..., 0], pairs[..., 1])


def _off_diagonal(n: int) -> Any:
    return ~np.eye(n, dtype=bool)


def _inverse_differences(w: _Complex) -> _Complex:
    """Return F; where eigenvalues are equal it is not finite."""
    real = w.real[..., None, :] - w.real[..., :, None]
    imag = w.imag[..., None, :] - w.imag[..., :, None]
    size = real * real + imag * imag
    one = size.builder.constant(1.0)
    slots = np.where(_off_diagonal(size.slots.shape[-1]), size.slots, one)
    size = Expression(size.builder, slots)
    return _Complex(real / size, -(imag / size))


def _times_differences(w: _Complex, a: _Complex) -> _Complex:
    """Return F ∘ a off the diagonal, 0 on it."""
    found = _inverse_differences(w) * a
    return found.masked(_off_diagonal(found.real.slots.shape[-1]))


# log |det| and sign


def _slogdet_tangent(x: Any, dx: Any, f: Any) -> Any:
    inverse, moving, sign = _of(x[0]).inverse().T, _of(dx[0]), _of(f[0])
    real = (inverse.real * moving.real - inverse.imag * moving.imag).sum((-1, -2))
    imag = (inverse.real * moving.imag + inverse.imag * moving.real).sum((-1, -2))
    return _Complex(-(sign.imag * imag), sign.real * imag).pairs(), real


def _slogdet_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    back = _of(x[0]).inverse().T.conj
    parts = []
    if w[1] is not None:
        by_size = w[1][..., None, None]
        parts.append(_Complex(by_size * back.real, by_size * back.imag))
    if w[0] is not None:
        sign, weight = _of(f[0]), _of(w[0])
        by_angle = (weight.imag * sign.real - weight.real * sign.imag)[..., None, None]
        parts.append(_Complex(-(by_angle * back.imag), by_angle * back.real))
    total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return (total.pairs(),)


# eigenvalues


def _eig_tangent(x: Any, dx: Any, f: Any) -> Any:
    w, v = _of(f[0]), _of(f[1])
    turned = v.inverse() @ dx[0] @ v
    return turned.diagonal().pairs(), (v @ _times_differences(w, turned)).pairs()


def _eig_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    w, v = _of(f[0]), _of(f[1])
    inner = _weighted(w, v.conj.T, weights, conjugated=True)
    back = v.inverse().T @ inner @ v.T
    return (back.real,)


def _weighted(w: _Complex, vh: _Complex, weights: Any, conjugated: bool) -> _Complex:
    """Return the adjoint of P: the values' on the diagonal, the vectors' elsewhere."""
    diagonal = total = None
    if weights[0] is not None:
        values = _of(weights[0]) if conjugated else _Complex(weights[0], 0.0 * weights[0])
        values = values.conj if conjugated else values
        n = values.real.slots.shape[-1]
        spread = _Complex(values.real[..., None, :], values.imag[..., None, :])
        diagonal = _Complex(
            *(
                Expression(x.builder, np.where(np.eye(n, dtype=bool), x.slots, 0))
                for x in (spread.real, spread.imag)
            )
        )
    if weights[1] is not None:
        seed = vh @ _of(weights[1])
        total = _times_differences(w, seed.conj if conjugated else seed)
    found = total if diagonal is None else diagonal if total is None else diagonal + total
    assert found is not None
    return found


def _hermitian(lower: _Complex) -> _Complex:
    """Return the Hermitian matrix of which the lower triangle is read."""
    mask = np.tri(lower.real.slots.shape[-1], dtype=bool)
    strictly = np.tri(lower.real.slots.shape[-1], k=-1, dtype=bool)
    real = np.where(mask, lower.real.slots, lower.real.slots.swapaxes(-1, -2))
    above = (-lower.imag).slots.swapaxes(-1, -2)
    imag = np.where(strictly, lower.imag.slots, np.where(strictly.T, above, 0))
    return _Complex(Expression(lower.real.builder, real), Expression(lower.real.builder, imag))


def _eigh_tangent(x: Any, dx: Any, f: Any) -> Any:
    v = _of(f[1])
    turned = v.conj.T @ _hermitian(_of(dx[0])) @ v
    return turned.diagonal().real, (v @ _times_differences(_real(f[0]), turned)).pairs()


def _real(w: Expression) -> _Complex:
    return _Complex(w, Expression(w.builder, np.zeros_like(w.slots)))


def _eigh_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    v = _of(f[1])
    inner = _weighted(_real(f[0]), v.conj.T, weights, conjugated=False)
    back = v @ inner @ v.conj.T
    both = back + back.conj.T  # of which the diagonal counts once
    n = back.real.slots.shape[-1]
    strictly = np.tri(n, k=-1, dtype=bool)
    real = np.where(strictly, both.real.slots, np.where(np.eye(n, dtype=bool), back.real.slots, 0))
    imag = np.where(strictly, both.imag.slots, 0)
    builder = back.real.builder
    return (_Complex(Expression(builder, real), Expression(builder, imag)).pairs(),)


COMPLEX_RULES = {
    "slogdet_pairs": (_slogdet_tangent, _slogdet_adjoint),
    "eig_pairs": (_eig_tangent, _eig_adjoint),
    "eigh_pairs": (_eigh_tangent, _eigh_adjoint),
}
