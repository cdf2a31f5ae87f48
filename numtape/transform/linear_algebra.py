"""Derivative rules of `FUNCTIONS`: linear algebra and Fourier transforms.

The rules are matrix calculus on slots: each is written with products and with the
functions themselves, so it is differentiated again for higher orders. With x' for a
tangent and x_ for an adjoint,

- solve, X = A⁻¹ B:  X' = A⁻¹ (B' − A' X);  B_ = A⁻ᵀ X_,  A_ = −B_ Xᵀ
- inv, F = A⁻¹:  F' = −F A' F;  A_ = −Fᵀ F_ Fᵀ
- det:  d' = d tr(A⁻¹ A'),  and slogdet without the factor d
- cholesky, A = L Lᵀ:  L' = L Φ(L⁻¹ A' L⁻ᵀ), where Φ keeps the lower triangle and half
  of the diagonal (Murray, arXiv:1602.07527)
- eigh, A V = V w, with P = Vᵀ A' V:  w' = diag P,  V' = V (F ∘ P),  F_ij = 1 / (w_j − w_i)
- eig: the same with V⁻¹ for Vᵀ, and V kept at unit length
- svd and qr as in Townsend, "Differentiating the singular value decomposition", and
  Walter and Lehmann, arXiv:1009.6112.

Only the triangle that the function reads has a derivative: the other's is 0, as
central differences would find it. Where eigenvalues or singular values are equal,
their vectors have no derivative: F is infinite there, and so is what depends on it;
what does not (an exact 0 beside it) is not touched. After LAPACK failed, results are
nan and derivatives with them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.kinds import Given
from numtape.ops.structured import function_of
from numtape.tape.regular import broadcast_slots
from numtape.trace.recorder import Slots
from numtape.transform.complex_matrices import COMPLEX_RULES
from numtape.transform.elementwise import ELEMENTWISE_RULES
from numtape.transform.expressions import Expression, function_call

__all__ = ["function_adjoint", "function_tangent"]

# Operands, tangents and results in; tangents of the results out.
_Tangents = Sequence[Expression | None]
_TangentRule = Callable[[Sequence[Expression], _Tangents, Sequence[Expression]], Any]

# Operands, results, adjoints of the results (None where none is needed) and which
# operands are wanted in; an adjoint, or None, for each operand out.
_AdjointRule = Callable[
    [Sequence[Expression], Sequence[Expression], _Tangents, Sequence[bool]], Any
]


def function_tangent(given: Given, tangents: tuple[Any, ...]) -> Slots:
    """Record the tangents of a function's results, end to end; see `numtape.kinds.function`."""
    builder, instruction = given.builder, given.instruction
    function = function_of(instruction.opcode)
    rule, _ = _RULES[function.name]
    values = [Expression(builder, slots) for slots in given.operands]
    moving = [None if slots is None else Expression(builder, slots) for slots in tangents]
    shapes = function.shapes(instruction.shape)[1]
    results = [Expression(builder, part) for part in _parts(given.result, shapes)]
    found = rule(values, moving, results)
    columns = [
        np.zeros(shape, np.int64) if part is None else broadcast_slots(part.slots, shape)
        for part, shape in zip(found, shapes, strict=True)
    ]
    flat = [column.ravel() for column in columns]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def function_adjoint(
    given: Given, places: tuple[Any, ...], wanted: tuple[bool, ...], adjoints: Slots
) -> Iterator[tuple[Slots, Slots]]:
    """Yield what a function adds to its operands' adjoints; see `numtape.kinds.function`."""
    builder, instruction = given.builder, given.instruction
    function = function_of(instruction.opcode)
    _, rule = _RULES[function.name]
    values = [Expression(builder, slots) for slots in given.operands]
    shapes = function.shapes(instruction.shape)[1]
    results = [Expression(builder, part) for part in _parts(given.result, shapes)]
    weights = [
        Expression(builder, part) if part.any() else None for part in _parts(adjoints, shapes)
    ]
    batch = len(instruction.shape) - len(function.names)
    is_live = _is_live(weights, batch) if given.safe else None
    for target, found in zip(places, rule(values, results, weights, wanted), strict=True):
        if found is None:
            continue
        if is_live is not None:
            own = is_live.slots.reshape(is_live.slots.shape + (1,) * (target.ndim - batch))
            found = found.apply("keep", Expression(builder, own), found)
        yield target, found.slots


def _parts(slots: Slots, shapes: Sequence[tuple[int, ...]]) -> list[Slots]:
    """Return the results of a function, each in its shape."""
    ends = list(accumulate(map(math.prod, shapes), initial=0))
    flat = slots.ravel()
    return [
        flat[start:stop].reshape(shape)
        for start, stop, shape in zip(ends, ends[1:], shapes, strict=False)
    ]


def _is_live(weights: _Tangents, batch: int) -> Expression:
    """Return for each element of the batch whether any adjoint there is not exactly 0."""
    live: Expression | None = None
    for weight in weights:
        if weight is None:
            continue
        some = weight.apply("not_equal", weight, 0.0)
        axes = tuple(range(batch, some.slots.ndim))
        if axes:
            some = Expression(some.builder, some.builder.reduce("maximum", some.slots, axes))
        live = some if live is None else live.apply("maximum", live, some)
    assert live is not None
    return live


# pieces of rules


def _inverse(a: Expression) -> Expression:
    return function_call("inv", a)[0]


def _total(*terms: Expression | None) -> Expression | None:
    total: Expression | None = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _diagonal(a: Expression) -> Expression:
    return Expression(a.builder, np.diagonal(a.slots, axis1=-2, axis2=-1))


def _masked(a: Expression, mask: Any) -> Expression:
    """Return 0 by structure where the mask is false."""
    return Expression(a.builder, np.where(mask, a.slots, 0))


def _strictly_lower(a: Expression) -> Expression:
    rows, columns = a.slots.shape[-2:]
    return _masked(a, np.tri(rows, columns, -1, dtype=bool))


def _with_diagonal(a: Expression, diagonal: Expression) -> Expression:
    slots = a.slots.copy()
    n = slots.shape[-1]
    slots[..., np.arange(n), np.arange(n)] = diagonal.slots
    return Expression(a.builder, slots)


def _half_lower(a: Expression) -> Expression:
    """Return the lower triangle, with half of the diagonal: Φ."""
    return _with_diagonal(_strictly_lower(a), 0.5 * _diagonal(a))


def _mirrored(a: Expression) -> Expression:
    """Return the symmetric matrix whose lower triangle this is."""
    n = a.slots.shape[-1]
    lower = np.tri(n, dtype=bool)
    return Expression(a.builder, np.where(lower, a.slots, a.slots.swapaxes(-1, -2)))


def _folded(a: Expression) -> Expression:
    """Return the adjoint of `_mirrored`: what falls on both triangles is due to the lower one."""
    return _with_diagonal(_strictly_lower(a + a.T), _diagonal(a))


def _inverse_differences(w: Expression) -> Expression:
    """Return F: 1 / (w_j − w_i), infinite for equal ones; 1 on the diagonal."""
    difference = w[..., None, :] - w[..., :, None]
    n = w.slots.shape[-1]
    one = difference.builder.constant(1.0)
    slots = np.where(np.eye(n, dtype=bool), one, difference.slots)
    return 1.0 / Expression(w.builder, slots)


def _off_diagonal_times(factor: Expression, a: Expression) -> Expression:
    """Return F ∘ a off the diagonal, 0 on it; an exact 0 stays 0 where F is infinite."""
    n = a.slots.shape[-1]
    return _masked(a.apply("scale", factor, a), ~np.eye(n, dtype=bool))


# solve, inv, det


def _solve_tangent(x: Any, dx: Any, f: Any) -> Any:
    a, _ = x
    da, db = dx
    right: Any = _total(db, None if da is None else -(da @ f[0]))
    return function_call("solve", a, right)


def _solve_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    (back,) = function_call("solve", x[0].T, w[0])
    return -(back @ f[0].T) if wanted[0] else None, back if wanted[1] else None


def _inv_tangent(x: Any, dx: Any, f: Any) -> Any:
    return (-(f[0] @ dx[0] @ f[0]),)


def _inv_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    return (-(f[0].T @ w[0] @ f[0].T),)


def _det_tangent(x: Any, dx: Any, f: Any) -> Any:
    return (f[0] * (_inverse(x[0]).T * dx[0]).sum((-1, -2)),)


def _det_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    return ((w[0] * f[0])[..., None, None] * _inverse(x[0]).T,)


def _slogdet_tangent(x: Any, dx: Any, f: Any) -> Any:
    return None, (_inverse(x[0]).T * dx[0]).sum((-1, -2))


def _slogdet_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    return (None if w[1] is None else w[1][..., None, None] * _inverse(x[0]).T,)


# cholesky


def _cholesky_tangent(x: Any, dx: Any, f: Any) -> Any:
    inverse = _inverse(f[0])
    moved = f[0] @ _half_lower(inverse @ _mirrored(dx[0]) @ inverse.T)
    n = moved.slots.shape[-1]
    return (_masked(moved, np.tri(n, dtype=bool)),)


def _cholesky_adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
    inverse = _inverse(f[0])
    n = w[0].slots.shape[-1]
    lower = _masked(w[0], np.tri(n, dtype=bool))
    return (_folded(inverse.T @ _half_lower(f[0].T @ lower) @ inverse),)


# eigenvalues


def _eigh_tangent(x: Any, dx: Any, f: Any) -> Any:
    w, v = f
    turned = v.T @ _mirrored(dx[0]) @ v
    return _diagonal(turned), v @ _off_diagonal_times(_inverse_differences(w), turned)


def _eigh_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    w, v = f
    parts = []
    if weights[0] is not None:
        parts.append((v * weights[0][..., None, :]) @ v.T)
    if weights[1] is not None:
        parts.append(v @ _off_diagonal_times(_inverse_differences(w), v.T @ weights[1]) @ v.T)
    total = _total(*parts)
    assert total is not None
    return (_folded(total),)


def _eigvalsh_tangent(x: Any, dx: Any, f: Any) -> Any:
    return (_diagonal_of_congruence(function_call("eigh_lo", x[0])[1], _mirrored(dx[0])),)


def _diagonal_of_congruence(v: Expression, a: Expression) -> Expression:
    """Return diag(vᵀ a v)."""
    return (v * (a @ v)).sum((-2,))


def _eigvalsh_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    v = function_call("eigh_lo", x[0])[1]
    return (_folded((v * weights[0][..., None, :]) @ v.T),)


def _eig_tangent(x: Any, dx: Any, f: Any) -> Any:
    w, v = f[0][..., 0], f[1][..., 0]
    (turned,) = function_call("solve", v, dx[0] @ v)
    moved = v @ _off_diagonal_times(_inverse_differences(w), turned)
    moved = moved - v * (v * moved).sum((-2,))[..., None, :]  # vectors keep their length
    return _as_real(_diagonal(turned)), _as_real(moved)


def _eig_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    w, v = f[0][..., 0], f[1][..., 0]
    parts = []
    if weights[0] is not None:
        parts.append(function_call("solve", v.T, weights[0][..., 0][..., :, None] * v.T)[0])
    if weights[1] is not None:
        seed = weights[1][..., 0]
        along = (v * seed).sum((-2,))
        turned = v.T @ (seed - v * along[..., None, :])
        turned = _off_diagonal_times(_inverse_differences(w), turned)
        parts.append(function_call("solve", v.T, turned @ v.T)[0])
    return (_total(*parts),)


def _as_real(a: Expression) -> Expression:
    """Return complex numbers without imaginary part."""
    return Expression(a.builder, np.stack([a.slots, np.zeros_like(a.slots)], axis=-1))


def _eigvals_tangent(x: Any, dx: Any, f: Any) -> Any:
    values = function_call("eig", x[0])
    return (_eig_tangent(x, dx, values)[0],)


def _eigvals_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    return _eig_adjoint(x, function_call("eig", x[0]), (weights[0], None), wanted)


# singular values


def _svd_tangent(x: Any, dx: Any, f: Any) -> Any:
    u, s, vt = f
    a, v = dx[0], vt.T
    m, n = a.slots.shape[-2:]
    p = u.T @ a @ v
    factor = _inverse_differences(s * s)
    columns, rows = s[..., None, :], s[..., :, None]
    du = u @ _off_diagonal_times(factor, p * columns + rows * p.T)
    dv = v @ _off_diagonal_times(factor, rows * p + p.T * columns)
    if m > n:
        rest = a @ v
        du = du + (rest - u @ (u.T @ rest)) / columns
    if n > m:
        rest = a.T @ u
        dv = dv + (rest - v @ (v.T @ rest)) / columns
    return du, _diagonal(p), dv.T


def _svd_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    u, s, vt = f
    v = vt.T
    m, n = x[0].slots.shape[-2:]
    factor = _inverse_differences(s * s)
    columns, rows = s[..., None, :], s[..., :, None]
    core, outer = [], []
    if weights[0] is not None:
        turned = u.T @ weights[0]
        core.append(_off_diagonal_times(factor, turned - turned.T) * columns)
        if m > n:
            outer.append((weights[0] - u @ turned) / columns @ vt)
    if weights[2] is not None:
        seed = weights[2].T
        turned = v.T @ seed
        core.append(rows * _off_diagonal_times(factor, turned - turned.T))
        if n > m:
            outer.append((u / columns) @ (seed - v @ turned).T)
    total = _total(*core)
    if weights[1] is not None:
        if total is None:
            outer.append((u * weights[1][..., None, :]) @ vt)
        else:
            total = _with_diagonal(total, _diagonal(total) + weights[1])
    if total is not None:
        outer.append(u @ total @ vt)
    return (_total(*outer),)


def _svd_values_tangent(x: Any, dx: Any, f: Any) -> Any:
    u, _, vt = function_call("svd_s", x[0])
    return ((u * (dx[0] @ vt.T)).sum((-2,)),)


def _svd_values_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    u, _, vt = function_call("svd_s", x[0])
    return ((u * weights[0][..., None, :]) @ vt,)


def _full_svd_tangent(x: Any, dx: Any, f: Any) -> Any:
    u, s, vt = f
    m, n = x[0].slots.shape[-2:]
    p = min(m, n)
    du, ds, dvt = _svd_tangent(x, dx, (u[..., :, :p], s, vt[..., :p, :]))
    unknown = s.builder.constant(float("nan"))
    return (
        _widened(du, unknown, (m, m)),
        ds,
        _widened(dvt, unknown, (n, n)),
    )


def _widened(a: Expression, unknown: int, shape: tuple[int, int]) -> Expression:
    """Add rows or columns of unknown derivatives after those that are known."""
    slots = np.full((*a.slots.shape[:-2], *shape), unknown, np.int64)
    rows, columns = a.slots.shape[-2:]
    slots[..., :rows, :columns] = a.slots
    return Expression(a.builder, slots)


def _full_svd_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    u, s, vt = f
    p = s.slots.shape[-1]
    for weight, extra in ((weights[0], np.s_[..., :, p:]), (weights[2], np.s_[..., p:, :])):
        if weight is not None and weight[extra].slots.any():
            raise UnsupportedError(
                "the derivative of np.linalg.svd(a, full_matrices=True) was needed by the vectors "
                f"beyond the first {p}: any basis of that space would do, so they have none. Use "
                "full_matrices=False, or the first vectors alone",
                code="no-derivative",
            )
    first = None if weights[0] is None else weights[0][..., :, :p]
    last = None if weights[2] is None else weights[2][..., :p, :]
    return _svd_adjoint(x, (u[..., :, :p], s, vt[..., :p, :]), (first, weights[1], last), wanted)


# qr of at least as many rows as columns: results are Q, and R with what LAPACK keeps below it


def _upper(a: Expression) -> Expression:
    """Return R, of what LAPACK keeps."""
    n = a.slots.shape[-1]
    return _masked(a[..., :n, :], ~np.tri(n, k=-1, dtype=bool))


def _qr_tangent(x: Any, dx: Any, f: Any) -> Any:
    q, r = f[0], _upper(f[1])
    moved = function_call("solve", r.T, dx[0].T)[0].T  # A' R⁻¹
    turned = q.T @ moved
    lower = _strictly_lower(turned)
    rotation = lower - lower.T
    upper = (turned - rotation) @ r
    dq = q @ rotation + moved - q @ turned
    slots = np.zeros_like(f[1].slots)
    n = slots.shape[-1]
    slots[..., :n, :] = _masked(upper, ~np.tri(n, k=-1, dtype=bool)).slots
    return dq, Expression(q.builder, slots), None


def _qr_adjoint(x: Any, f: Any, weights: Any, wanted: Any) -> Any:
    q, r = f[0], _upper(f[1])
    middle = []
    if weights[1] is not None and _upper(weights[1]).slots.any():
        middle.append(r @ _upper(weights[1]).T)
    if weights[0] is not None:
        middle.append(-(weights[0].T @ q))
    total = _total(*middle)
    if total is None:
        return (None,)
    back = q @ _mirrored(total)
    if weights[0] is not None:
        back = back + weights[0]
    return (function_call("solve", r, back.T)[0].T,)


# Fourier transforms: linear in the numbers, and in the factor


def _transform_tangent(name: str) -> _TangentRule:
    def tangent(x: Any, dx: Any, f: Any) -> Any:
        part = by_factor = None
        if dx[0] is not None:
            chosen = {"h": f[0].slots.shape[-2]} if name.startswith("rfft") else {}
            chosen |= {"n": f[0].slots.shape[-1]} if name == "irfft" else {}
            (part,) = function_call(name, dx[0], x[1], **chosen)
        if dx[1] is not None:
            axes = (None,) if name == "irfft" else (None, None)
            by_factor = f[0] * (dx[1] / x[1])[(..., *axes)]
        return (_total(part, by_factor),)

    return tangent


def _transform_adjoint(transposed: Callable[[Any, Any, Any], Expression]) -> _AdjointRule:
    def adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
        part = transposed(x, f, w[0]) if wanted[0] else None
        by_factor = None
        if wanted[1]:
            rank = x[1].slots.ndim
            axes = tuple(range(rank - f[0].slots.ndim, 0))
            by_factor = (f[0] * w[0]).sum(axes) / x[1]
        return part, by_factor

    return adjoint


def _transposed_real(x: Any, f: Any, w: Expression) -> Expression:
    """Transpose the transform of real numbers: go back from the coefficients there are."""
    n, h = x[0].slots.shape[-1], w.slots.shape[-2]
    padded = np.zeros((*w.slots.shape[:-2], n, 2), np.int64)
    padded[..., :h, :] = w.slots
    return function_call("ifft", Expression(w.builder, padded), x[1])[0][..., 0]


def _transposed_to_real(x: Any, f: Any, w: Expression) -> Expression:
    """Transpose the transform back to real numbers."""
    n, h = f[0].slots.shape[-1], x[0].slots.shape[-2]
    (back,) = function_call(f"rfft_n_{'odd' if n % 2 else 'even'}", w, x[1], h=h)
    # All but the first and, of an even number, the last stand for two coefficients.
    twice = np.full((h, 1), 2.0)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    return back * Expression(back.builder, back.builder.constant_array(twice))


_FOURIER: dict[str, Callable[[Any, Any, Any], Expression]] = {
    "fft": lambda x, f, w: function_call("ifft", w, x[1])[0],
    "ifft": lambda x, f, w: function_call("fft", w, x[1])[0],
    "rfft_n_even": _transposed_real,
    "rfft_n_odd": _transposed_real,
    "irfft": _transposed_to_real,
}


def _of_upper(rules: tuple[_TangentRule, _AdjointRule], transposed: bool) -> Any:
    """Return the rules of a function of the upper triangle; `transposed` if it gives one too."""

    def tangent(x: Any, dx: Any, f: Any) -> Any:
        if transposed:
            return tuple(part.T for part in rules[0]([x[0].T], [dx[0].T], [f[0].T]))
        return rules[0]([x[0].T], [dx[0].T], f)

    def adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
        if transposed:
            return (rules[1]([x[0].T], [f[0].T], [w[0].T], wanted)[0].T,)
        return (rules[1]([x[0].T], f, w, wanted)[0].T,)

    return tangent, adjoint


_CHOLESKY = (_cholesky_tangent, _cholesky_adjoint)
_EIGH = (_eigh_tangent, _eigh_adjoint)
_EIGVALSH = (_eigvalsh_tangent, _eigvalsh_adjoint)

_RULES: dict[str, tuple[_TangentRule, _AdjointRule]] = {
    "solve": (_solve_tangent, _solve_adjoint),
    "inv": (_inv_tangent, _inv_adjoint),
    "det": (_det_tangent, _det_adjoint),
    "slogdet": (_slogdet_tangent, _slogdet_adjoint),
    "cholesky_lo": _CHOLESKY,
    "cholesky_up": _of_upper(_CHOLESKY, True),
    "eigh_lo": _EIGH,
    "eigh_up": _of_upper(_EIGH, False),
    "eigvalsh_lo": _EIGVALSH,
    "eigvalsh_up": _of_upper(_EIGVALSH, False),
    "eig": (_eig_tangent, _eig_adjoint),
    "eigvals": (_eigvals_tangent, _eigvals_adjoint),
    "svd_s": (_svd_tangent, _svd_adjoint),
    "svd_f": (_full_svd_tangent, _full_svd_adjoint),
    "svd": (_svd_values_tangent, _svd_values_adjoint),
    "qr": (_qr_tangent, _qr_adjoint),
    **{
        name: (_transform_tangent(name), _transform_adjoint(transposed))
        for name, transposed in _FOURIER.items()
    },
    **COMPLEX_RULES,
    **ELEMENTWISE_RULES,
}
