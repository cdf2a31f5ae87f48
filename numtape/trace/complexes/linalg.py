"""`numpy.linalg` and `scipy.linalg` of complex matrices.

A complex matrix A + iB computes as the real matrix [[A, -B], [B, A]] of twice the size does:
inverses and power series are those of that matrix, and its first columns are the parts of the
result. Determinants and eigenvalues are not, and have functions of their own. Whether all
eigenvalues of a real matrix are real decides the type of the result, and is guarded.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

import numtape.trace.matrix_functions
import numtape.trace.pseudoinverse
import numtape.trace.scipy_linalg  # noqa: F401 (whose functions are used)
from numtape.errors import UnsupportedError
from numtape.trace.complexes.functions import complex_rule
from numtape.trace.complexes.pair import TracedComplex, as_complex, pair
from numtape.trace.linalg import call_function, implements, matrix_of
from numtape.trace.locations import user_location
from numtape.trace.substitutes import registered
from numtape.trace.traced import COMPLEX_FUNCTIONS, as_computed

__all__: list[str] = []


def _embedded(z: TracedComplex) -> Any:
    """Return the real matrix of twice the size."""
    above = np.concatenate([z.real, -z.imag], axis=-1)
    return np.concatenate([above, np.concatenate([z.imag, z.real], axis=-1)], axis=-2)


def _columns(parts: Any, count: int) -> TracedComplex:
    """Return the complex matrix that has its real part above its imaginary one."""
    n = parts.shape[-2] // 2
    return TracedComplex(
        parts.recorder, np.copy(parts[..., :n, :count]), np.copy(parts[..., n:, :count])
    )


def _square(a: Any) -> Any:
    z = as_complex(a)
    if z.ndim < 2 or z.shape[-1] != z.shape[-2]:
        np.linalg.inv(np.zeros(z.shape))  # which refuses this shape
    return z


def _of_embedded(function: Callable[[Any], Any], a: Any) -> TracedComplex:
    z = _square(a)
    return _columns(function(_embedded(z)), z.shape[-1])


@complex_rule("linalg.inv")
def _inv(a: Any) -> Any:
    return _of_embedded(np.linalg.inv, a)


@complex_rule("linalg.solve")
def _solve(a: Any, b: Any) -> Any:
    z, right = _square(a), as_complex(b)
    is_vector = right.ndim == 1
    right = right[:, None] if is_vector else right
    both = np.concatenate([right.real, right.imag], axis=-2)
    x = _columns(np.linalg.solve(_embedded(z), both), right.shape[-1])
    return x[..., 0] if is_vector else x


@complex_rule("linalg.pinv")
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    z = as_complex(a)
    found = np.linalg.pinv(_embedded(z), rcond, hermitian, rtol=rtol)
    return _columns(found, z.shape[-2])


@complex_rule("linalg.lstsq")
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    z, right = as_complex(a), as_complex(b)
    is_vector = right.ndim == 1
    right = right[:, None] if is_vector else right
    both = np.concatenate([right.real, right.imag])
    found, left_over, rank, sizes = np.linalg.lstsq(_embedded(z), both, rcond)
    x = _columns(found, right.shape[-1])
    return (x[:, 0] if is_vector else x), left_over, rank // 2, sizes[::2]


@complex_rule("linalg.slogdet")
def _slogdet(a: Any) -> Any:
    z = _square(a)
    values = np.linalg.slogdet(z.values())
    found = (_as_pairs(values[0]), values[1])
    sign, logabsdet = call_function("slogdet_pairs", (_paired(z),), found)
    return type(values)(_of_pairs(sign), logabsdet)


@complex_rule("linalg.det")
def _det(a: Any) -> Any:
    sign, logabsdet = np.linalg.slogdet(as_complex(a))
    return sign * np.exp(logabsdet)


def _paired(z: TracedComplex) -> Any:
    return np.stack([z.real, z.imag], axis=-1)


def _of_pairs(pairs: Any) -> Any:
    return pair(as_computed(np.copy(pairs[..., 0])), as_computed(np.copy(pairs[..., 1])))


@implements("eigvals")
def _eigvals(a: Any) -> Any:
    a = matrix_of(a)
    values = np.linalg.eigvals(np.asarray(a.primals))
    (parts,) = call_function("eigvals", (a,), (_as_pairs(values),))
    return parts[..., 0] if _are_real(parts) else _complex_eig(a)[0]


@implements("eig")
def _eig(a: Any) -> Any:
    a = matrix_of(a)
    values = np.linalg.eig(np.asarray(a.primals))
    parts = call_function("eig", (a,), [_as_pairs(value) for value in values])
    if _are_real(parts[0]):
        return type(values)(*(part[..., 0] for part in parts))
    eigenvalues, vectors = _complex_eig(a)
    # As LAPACK has them: of length 1, and real where they are largest.
    size = vectors.real * vectors.real + vectors.imag * vectors.imag
    places = np.argmax(size, axis=-2, keepdims=True)
    largest: Any = np.take_along_axis(vectors, places, axis=-2)
    turn = np.conjugate(largest) / (np.abs(largest) * np.copysign(1.0, largest.real))
    length = np.linalg.norm(vectors, axis=-2, keepdims=True)
    return type(values)(eigenvalues, vectors * (turn / length))


def _as_pairs(values: Any) -> Any:
    return np.stack([np.real(values), np.imag(values)], axis=-1)


def _are_real(pairs: Any) -> bool:
    return bool(np.all(pairs[..., 1] == 0.0))


def _complex_eig(a: Any) -> tuple[Any, Any]:
    """Return eigenvalues, and vectors for what does not depend on their length and phase."""
    values = np.linalg.eig(np.asarray(a.primals))
    found = call_function("eig_pairs", (a,), [_as_pairs(value) for value in values])
    return _of_pairs(found[0]), _of_pairs(found[1])


@complex_rule("linalg.eigvalsh")
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    z = _square(a)
    if UPLO.upper() == "U":
        z = np.conjugate(np.swapaxes(z, -1, -2))
    return _hermitian_eig(z)[0]


@complex_rule("linalg.eigh")
def _eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    if UPLO.upper() != "L":
        raise UnsupportedError(
            f"np.linalg.eigh(a, UPLO={UPLO!r}) of complex matrices at {user_location()}: there is "
            "no rule for the phases of its vectors. Leave UPLO out, or write "
            "np.linalg.eigh(a.conj().T)",
            code="complex-value",
        )
    z = _square(a)
    eigenvalues, vectors = _hermitian_eig(z)
    # As LAPACK has them: the first component is real.
    first = vectors[..., :1, :]
    size = np.abs(first)
    is_zero = size == 0.0
    turn = (np.conjugate(first) + is_zero) / (size + is_zero)
    found = vectors * (turn * np.copysign(1.0, first.real))
    length = np.linalg.norm(found, axis=-2, keepdims=True)
    return type(np.linalg.eigh(np.eye(1)))(eigenvalues, found / length)


def _hermitian_eig(z: Any) -> tuple[Any, Any]:
    """Return eigenvalues, and vectors for what does not depend on their length and phase."""
    values, vectors = np.linalg.eigh(z.values())
    found = call_function("eigh_pairs", (_paired(z),), (values, _as_pairs(vectors)))
    return found[0], _of_pairs(found[1])


@complex_rule("linalg.matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    z = _square(a)
    if n == 0:
        return np.zeros_like(z) + np.eye(z.shape[-1])
    if n < 0:
        z, n = np.linalg.inv(z), -n
    square, result = z, None
    while True:
        n, is_odd = divmod(n, 2)
        if is_odd:
            result = square if result is None else result @ square
        if not n:
            return result
        square = square @ square


@complex_rule("linalg.multi_dot")
def _multi_dot(arrays: Any) -> Any:
    return reduce(np.dot, arrays)


@complex_rule("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    z = as_complex(x)
    is_of_matrices = np.size(axis) == 2 or (axis is None and z.ndim == 2 and ord is not None)
    if is_of_matrices and ord in (2, -2, "nuc"):
        raise UnsupportedError(
            f"np.linalg.norm(z, {ord!r}) of complex matrices at {user_location()}: there is no "
            "rule for singular values. Write np.sqrt(np.linalg.eigvalsh(z.conj().T @ z)), largest "
            "last",
            code="complex-value",
        )
    if ord is None or ord in ("fro", "f") or (ord == 2 and not is_of_matrices):
        return np.hypot(*(np.linalg.norm(part, ord, axis, keepdims) for part in (z.real, z.imag)))
    return np.linalg.norm(np.abs(z), ord, axis, keepdims)


@complex_rule("linalg.vector_norm")
def _vector_norm(
    x: Any,
    /,
    *,
    axis: Any = None,
    keepdims: bool = False,
    ord: Any = 2,  # noqa: A002
) -> Any:
    return np.linalg.vector_norm(np.abs(x), axis=axis, keepdims=keepdims, ord=ord)


@complex_rule("linalg.matrix_norm")
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    return _norm(x, ord, (-2, -1), keepdims)


@complex_rule("linalg.trace")
def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(as_complex(x), offset, -2, -1)


@complex_rule("linalg.diagonal")
def _diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(as_complex(x), offset, -2, -1)


@complex_rule("linalg.matrix_transpose")
def _matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(as_complex(x), -1, -2)


# SciPy's, by other names and with options that only save work


def _scipys(name: str, function: Callable[..., Any]) -> None:
    def rule(*arguments: Any, **options: Any) -> Any:
        for option in ("overwrite_a", "overwrite_b", "check_finite"):
            options.pop(option, None)
        if options.get("assume_a") in (None, "gen", "general"):
            options.pop("assume_a", None)
        if len(arguments) > _POSITIONAL[name] or not set(options) <= {"ord", "axis", "keepdims"}:
            raise UnsupportedError(
                f"scipy.linalg.{name} of complex values with {options or arguments[1:]!r} at "
                f"{user_location()}: there is no rule for these. Leave them out, or write it with "
                "np.linalg",
                code="complex-value",
            )
        return function(*arguments, **options)

    COMPLEX_FUNCTIONS[registered("scipy.linalg", name)] = rule


_POSITIONAL = {"expm": 1, "inv": 1, "pinv": 1, "det": 1, "eigvalsh": 1, "solve": 2, "norm": 4}
_expm = registered("scipy.linalg", "expm")
_scipys("expm", lambda a: _of_embedded(_expm, a))
for _name in ("inv", "pinv", "det", "eigvalsh", "solve", "norm"):
    _scipys(_name, getattr(np.linalg, _name))
