"""What is a view in NumPy is one under recording, and what is a copy is one: tried, not listed.

Every function of NumPy and every method of its arrays that takes one array is called with
arrays of rank 0 to 3, in C and in Fortran order and with gaps. What it returns is written to,
and then the array that it was given: the same elements must change as in the plain call.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import surface

import numtape as nt
from numtape.functions.trees import flatten
from numtape.trace.complexes import TracedComplex
from numtape.trace.traced import Traced, TracedArray

LAYOUTS = {
    "C": lambda x: x.copy(),
    "F": lambda x: x.copy(order="F"),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x.copy()[..., ::-1],
    "transposed": lambda x: x.copy().T,
}
SHAPES = [(), (1,), (4,), (1, 1), (3, 3), (2, 3), (2, 2, 2), (2, 1, 4)]

# Calls with more than the array; each is tried with every array that NumPy takes.
FORMS = {
    **{
        f"np.einsum({pattern!r}, x)": lambda x, p=pattern: np.einsum(p, x)
        for pattern in (
            *("ii->i", "ij->ji", "ij->ij", "ij", "ji", "ij->", "ii", "...->...", "i...->...i"),
            *(
                "i->i",
                "i",
                "ijk->kji",
                "iij->ij",
                "iij->ji",
                "iii->i",
                "ijk->ij",
                "->",
                "...ii->...i",
            ),
        )
    },
    "np.einsum(x, [0, 0], [0])": lambda x: np.einsum(x, [0, 0], [0]),
    "np.einsum(x, [0, 1], [1, 0])": lambda x: np.einsum(x, [0, 1], [1, 0]),
    "np.einsum(x, [0, 1])": lambda x: np.einsum(x, [0, 1]),
    "np.einsum(x, [..., 0], [0, ...])": lambda x: np.einsum(x, [..., 0], [0, ...]),
    "np.einsum(optimize)": lambda x: np.einsum("ij->ji", x, optimize=True),
    "np.array(copy=None)": lambda x: np.array(x, copy=None),
    "np.array(copy=False)": lambda x: np.array(x, copy=False),
    "np.array(ndmin=3)": lambda x: np.array(x, ndmin=3),
    "np.array(copy=None, ndmin=3)": lambda x: np.array(x, copy=None, ndmin=3),
    "np.array(order=F)": lambda x: np.array(x, order="F", copy=None),
    "np.asarray(order=F)": lambda x: np.asarray(x, order="F"),
    "np.asarray(order=C)": lambda x: np.asarray(x, order="C"),
    "np.asarray(like=x)": lambda x: np.asarray(x, like=x),
    "np.asarray(order=F, like=x)": lambda x: np.asarray(x, order="F", like=x),
    "np.asanyarray(like=x)": lambda x: np.asanyarray(x, like=x),
    "np.ascontiguousarray(like=x)": lambda x: np.ascontiguousarray(x, like=x),
    "np.asfortranarray(like=x)": lambda x: np.asfortranarray(x, like=x),
    "np.array(like=x)": lambda x: np.array(x, like=x),
    "np.array(copy=None, like=x)": lambda x: np.array(x, copy=None, like=x),
    "np.array(copy=False, like=x)": lambda x: np.array(x, copy=False, like=x),
    "np.array(copy=None, ndmin=2, like=x)": lambda x: np.array(x, copy=None, ndmin=2, like=x),
    **{
        f"np.require({flags!r})": lambda x, f=flags: np.require(x, requirements=f)
        for flags in (None, "C", "F", "W", ["C", "W"], ["F", "A", "W"])
    },
    "astype(float, copy=False)": lambda x: x.astype(float, copy=False),
    "astype(float)": lambda x: x.astype(float),
    "astype(order=F, copy=False)": lambda x: x.astype(float, order="F", copy=False),
    "astype(C, unsafe, True, False)": lambda x: x.astype("d", "C", "unsafe", True, False),
    "np.astype(copy=False)": lambda x: np.astype(x, float, copy=False),
    **{
        f"reshape {order}": lambda x, o=order: [
            np.reshape(x, -1, order=o),
            np.reshape(x, (x.size, 1), order=o),
            x.reshape(1, x.size, order=o),
            np.ravel(x, o),
            x.ravel(o),
            x.flatten(o),
            x.copy(o),
            np.copy(x, o),
        ]
        for order in "CFA"
    },
    "ravel K": lambda x: [np.ravel(x, "K"), x.ravel("K"), x.flatten("K"), x.copy("K")],
    "reshape(copy)": lambda x: [np.reshape(x, -1, copy=True), x.reshape(x.shape)],
    "reshape of one": lambda x: [x[:1].reshape(()), np.reshape(x[:1], ()), x[:1].squeeze()],
    "keys of one element": lambda x: [x[0, ...], x[..., 0], x[()], x[...], x[0]],
    "keys": lambda x: [x[0, 1, ...], x[None], x[..., None], x[::2], x[1:], x[:, 0], x[:0], x[::-1]],
    "fancy keys": lambda x: [x[[0, 1]], x[np.array([True, False])], x[np.array(0)], x[[0]]],
    "of rank 0": lambda x: [x[()], x[...], x[None], x.reshape(()), x.reshape(1), x.ravel()],
    "take": lambda x: [np.take(x, 0), np.take(x, [0]), x.take(0, axis=-1), np.take(x, 0, axis=0)],
    "swapaxes": lambda x: [np.swapaxes(x, 0, -1), x.swapaxes(0, -1), np.moveaxis(x, 0, -1)],
    "axes": lambda x: [np.rollaxis(x, -1), np.expand_dims(x, 0), np.expand_dims(x, (0, -1))],
    "transpose": lambda x: [x.transpose(), np.transpose(x), x.T, np.permute_dims(x)],
    "transpose(axes)": lambda x: [x.transpose(1, 0), x.transpose((1, 0)), np.transpose(x, (1, 0))],
    "mT": lambda x: [x.mT, np.matrix_transpose(x), np.linalg.matrix_transpose(x)],
    "flips": lambda x: [np.flip(x), np.flip(x, 0), np.rot90(x), np.rot90(x, 2)],
    "rot90": lambda x: [np.rot90(x, 0), np.rot90(x, 3), np.fliplr(x), np.flipud(x)],
    "diagonal": lambda x: [
        np.diagonal(x),
        x.diagonal(1),
        np.diagonal(x, -1),
        np.linalg.diagonal(x),
    ],
    "diag": lambda x: [np.diag(x), np.diag(x, 1)],
    "splits": lambda x: [np.split(x, 1), np.array_split(x, 2), np.array_split(x, 3, axis=-1)],
    "more splits": lambda x: [np.hsplit(x, 2), np.vsplit(x, 2)],
    "unstack": lambda x: [np.unstack(x), np.unstack(x, axis=-1)],
    "broadcast_to": lambda x: [np.broadcast_to(x, x.shape), np.broadcast_to(x, (2, *x.shape))],
    "atleast": lambda x: [np.atleast_1d(x), np.atleast_2d(x), np.atleast_3d(x)],
    "atleast of two": lambda x: [np.atleast_1d(x, 1.0)[0], np.atleast_2d(x, x)],
    "meshgrid": lambda x: [np.meshgrid(x, [1.0, 2.0])[0], np.meshgrid(x, copy=False)[0]],
    "sliding windows": lambda x: [
        np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1),
        np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1, writeable=True),
    ],
    "as_strided": lambda x: np.lib.stride_tricks.as_strided(x),
    "as_strided(shape)": lambda x: np.lib.stride_tricks.as_strided(x, x.shape[:1], x.strides[:1]),
    "as_strided(diagonal)": lambda x: np.lib.stride_tricks.as_strided(
        x, (min(x.shape),), (sum(x.strides),)
    ),
    "ix_": lambda x: np.ix_(x),
    "nan_to_num(copy=False)": lambda x: np.nan_to_num(x, copy=False),
    "parts": lambda x: [x.real, np.real(x), np.real_if_close(x), x.conj(), x.conjugate()],
    "zeros": lambda x: [x.imag, np.imag(x)],
    "view": lambda x: [x.view(), x.view(np.float64), x.view(np.ndarray), x.view(type=np.ndarray)],
    "squeeze": lambda x: [np.squeeze(x), x.squeeze(), np.squeeze(x, 0)],
    "flat": lambda x: [x.flat[:], x.flat[0], x.flat[0:1], x.flat.copy()],
    "copies": lambda x: [
        x.copy(),
        np.copy(x),
        +x,
        x + 0.0,
        x[:].copy(),
        x.repeat(1),
        np.tile(x, 1),
    ],
    "likes": lambda x: [np.zeros_like(x), np.full_like(x, 2.0), np.empty_like(x), np.ones_like(x)],
    "with like": lambda x: [np.zeros((), like=x), np.ones(2, like=x), np.full((), 3.0, like=x)],
    "joined": lambda x: [np.concatenate([x]), np.stack([x]), np.hstack([x]), np.vstack([x])],
    "joined at the end": lambda x: [np.dstack([x]), np.column_stack([x]), np.block([x])],
    "chosen": lambda x: [np.where(True, x, 0.0), np.where(x > -9, x, 0.0), np.clip(x, -9, 9)],
    "selected": lambda x: [np.select([x > 9], [x], x), np.choose(0, [x]), np.compress([True], x)],
    "reduced over nothing": lambda x: [np.sum(x, axis=()), np.max(x, axis=()), np.any(x, axis=())],
    "reduced": lambda x: [np.sum(x), x.sum(0), np.max(x), x.max(-1), np.mean(x), np.sum(x, 0)],
    "kept": lambda x: [np.sum(x, keepdims=True), x.max(axis=0, keepdims=True), x.mean(0)],
    "rolled": lambda x: [np.roll(x, 0), np.roll(x, 1, 0), np.pad(x, 0), np.tril(x), np.triu(x)],
    "sorted": lambda x: [np.sort(x), np.sort(x, axis=None), np.partition(x, 0), np.unique(x)],
    "deleted": lambda x: [
        np.delete(x, []),
        np.insert(x, 0, 1.0),
        np.append(x, []),
        np.resize(x, 1),
    ],
    "rounded": lambda x: [np.round(x), np.round(x, 2), x.round(1), np.trunc(x), np.fix(x)],
    "running": lambda x: [np.cumsum(x), np.cumprod(x), np.diff(x, 0), np.diff(x), np.ediff1d(x)],
    "matrices": lambda x: [np.linalg.matrix_power(x, 1), np.linalg.multi_dot([x, x]), x @ x],
    "of bools": lambda x: [(x > 0).T, (x > 0)[...], np.asarray(x > 0), (x > 0).astype(bool)],
    "broadcast with": lambda x: np.broadcast_arrays(x, np.ones((2, 1)))[0],
    "item": lambda x: [x.item(0), x.tolist(), x.copy().item(0)],
    "out": lambda x: [np.add(x, 1.0, out=x), np.sin(x, x)],
    "out of a sum": lambda x: np.sum(x[None], axis=0, out=x),
}


def _public() -> Iterator[tuple[str, Any]]:
    skipped = {"test", "info", "show_config", "show_runtime", "set_printoptions", "from_dlpack"}
    skipped |= {"asmatrix", "bmat"}  # matrices are refused
    for module in (np, np.linalg, np.fft, np.lib.stride_tricks):
        names = getattr(module, "__all__", None) or dir(module)
        for name in names:
            function = getattr(module, name)
            if callable(function) and not isinstance(function, type) and name not in skipped:
                yield f"{module.__name__}.{name}", function


def _methods() -> Iterator[tuple[str, Any]]:
    for name in dir(np.ndarray):
        if name.startswith("_") and name not in ("__copy__", "__pos__", "__abs__"):
            continue
        if callable(getattr(np.ndarray, name)):
            yield f"x.{name}()", lambda x, n=name: getattr(x, n)()
        elif name not in ("base", "ctypes", "data", "device", "flags"):
            yield f"x.{name}", lambda x, n=name: getattr(x, n)


IS_OLD = np.lib.NumpyVersion(np.__version__) < "2.3.0"


def _is_otherwise(name: str, shape: tuple[int, ...]) -> bool:
    """Whether this NumPy does not do what later ones do: 2.2 trims arrays of rank 0 to scalars."""
    return IS_OLD and name == "numpy.trim_zeros" and not shape


CALLS = {**dict(_public()), **dict(_methods()), **FORMS}

ARRAYS = [
    (shape, layout)
    for shape in SHAPES
    for layout in LAYOUTS
    if len(shape) > 1 or layout == "C" or (shape == (4,) and layout in ("strided", "reversed"))
]


def _array(shape: tuple[int, ...], layout: str) -> Any:
    values = np.linspace(0.2, 0.9, int(np.prod(shape))).reshape(shape)
    return LAYOUTS[layout](values) if shape else values.copy()


def _leaves(result: Any) -> list[Any]:
    return flatten(list(result) if isinstance(result, tuple) else result)[0]


def _values(array: Any) -> Any:
    if isinstance(array, TracedComplex):
        return np.array(array.values())
    if isinstance(array, Traced):
        return np.array(array.primals)
    if isinstance(array, np.ndarray) and array.dtype == object:
        return np.array([getattr(each, "primal", each) for each in array.flat]).reshape(array.shape)
    return np.array(array)


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, TracedComplex):
        return leaf.is_array()
    return isinstance(leaf, np.ndarray | TracedArray)


def _fate(x: Any, leaf: Any) -> list[Any]:
    """What is seen of a result and its argument: kinds, identity, and what writing changes."""
    seen: list[Any] = [_is_array(leaf), leaf is x]
    if not _is_array(leaf):
        return seen
    if leaf.dtype != bool:
        before = _values(x)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy warns of what it will make read-only
                leaf[...] = 7.0
        except ValueError as error:
            seen.append(str(error))
        seen.append((_values(x) != before).tolist())
    before = _values(leaf)
    x[...] = 9.0
    seen.append((_values(leaf) != before).tolist())
    return seen


def _count(call: Any, shape: tuple[int, ...], layout: str) -> int:
    """How many results there are; 0 where NumPy does not take the array, or gives no numbers."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            leaves = _leaves(call(_array(shape, layout)))
    except Exception:
        return 0
    numbers = [
        isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "fb" for leaf in leaves
    ]
    return len(leaves) if all(numbers) else 0


def _try(call: Any, shape: tuple[int, ...], layout: str, number: int) -> tuple[Any, Any]:
    plain = _array(shape, layout)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = _fate(plain, _leaves(call(plain))[number])
    found: list[Any] = []

    def f(x):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            leaf = _leaves(call(x))[number]
            found.append(_fate(x, leaf))
            if isinstance(leaf, np.ndarray) and leaf.dtype == object:
                found[-1][1] = expected[1]  # what np.asarray(x) is cannot be x itself
        return np.sum(x)

    nt.record(f, _array(shape, layout))
    return expected, found[-1]


@pytest.mark.parametrize("name", CALLS)
def test_views_are_views_and_copies_are_copies(name):
    wrong = []
    for shape, layout in ARRAYS:
        if _is_otherwise(name, shape):
            continue
        for number in range(_count(CALLS[name], shape, layout)):
            try:
                expected, found = _try(CALLS[name], shape, layout, number)
            except nt.TraceError:
                continue  # refused
            if expected != found:
                wrong.append(f"{shape} {layout} {number}: {expected} and not {found}")
    assert not wrong, "\n".join(wrong)


EXAMPLES = surface.EXAMPLES | surface.WORKING


@pytest.mark.parametrize("name", EXAMPLES)
def test_arrays_of_rank_0_and_scalars(name):
    """A function gives an array where NumPy's gives one, and a scalar where it gives a scalar."""
    wrong = []
    for number, case in enumerate(EXAMPLES[name]):
        found: list[Any] = []

        def f(*arguments, case=case, found=found):
            leaves = _leaves(case.function(*arguments))
            found[:] = [_is_array(leaf) for leaf in leaves]
            return sum(np.sum(leaf) for leaf in leaves) + 0.0 * np.sum(arguments[0])

        plain = [np.copy(x) if np.ndim(x) else np.float64(x) for x in case.point(1)]
        try:
            expected = [_is_array(leaf) for leaf in _leaves(case.function(*plain))]
        except TypeError:  # an option that this NumPy does not have
            continue
        nt.record(f, *plain)
        if name == "einsum" and number == 17:
            continue  # by its way through `tensordot`, NumPy gives an array of rank 0
        if found != expected:
            wrong.append((number, expected, found))
    assert not wrong


# of complex arrays

_SOME_ARRAYS = [
    (shape, layout)
    for shape in ((), (4,), (2, 3), (3, 3), (2, 1, 4))
    for layout in ("C", "F")
    if len(shape) > 1 or layout == "C"
]
# They write to what they are given, or to memory that nobody has written to.
_NOT_OF_COMPLEX = {"numpy.fill_diagonal", "numpy.random.shuffle", "numpy.empty_like", "likes"}


def _complex(x):
    """A complex array laid out as a real one."""
    imag = 0.5 * x * x - 0.3
    if isinstance(x, Traced):
        return TracedComplex(x.recorder, np.copy(x, "K"), np.copy(np.asarray(imag, like=x), "K"))
    z = x.astype(complex, order="K")
    z.imag = imag
    return z


@pytest.mark.parametrize("name", CALLS)
def test_views_of_computed_arrays_replay_as_views(name):
    """Of what a vector instruction has made, whose slots are not written out yet."""
    call = CALLS[name]
    for shape in ((12,), (4, 3), (3, 2, 2)):
        for number in range(_count(call, shape, "C")):

            def written(x, number=number):
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    y = np.exp(x)
                    leaf = _leaves(call(y))[number]
                    if _is_array(leaf) and leaf.dtype != bool and leaf.flags.writeable:
                        leaf[...] = 7.0
                    after = np.array([np.sum(leaf), np.sum(y)])
                    y[...] = 0.5 * y
                    return np.concatenate([after, np.ravel(y), np.ravel(leaf)])

            point = _array(shape, "C")
            try:
                tape = nt.record(written, point)
            except nt.NumtapeError:
                continue  # refused
            try:
                found = tape(1.25 * point)
            except nt.BranchError:
                continue
            np.testing.assert_allclose(found, written(1.25 * point), rtol=1e-12, atol=1e-13)


def _complex_fate(z, leaf):
    """What is seen of a result and its argument: kinds, identity, and what writing changes."""
    seen = [_is_array(leaf), leaf is z, np.dtype(leaf.dtype).kind, _values(leaf)]
    if not _is_array(leaf):
        return seen
    if leaf.dtype != bool:
        before = _values(z)
        try:
            leaf[...] = 7.0
        except ValueError as error:
            seen.append(str(error))
        seen.append((_values(z) != before).tolist())
    before = _values(leaf)
    z[...] = 9.0
    seen.append((_values(leaf) != before).tolist())
    return seen


def _complex_count(call, x):
    """How many results there are; 0 where NumPy refuses, or gives no numbers."""
    try:
        leaves = _leaves(call(_complex(x)))
    except Exception:
        return 0
    numbers = [isinstance(leaf, np.ndarray | np.generic) for leaf in leaves]
    return len(leaves) if all(numbers) and all(leaf.dtype.kind in "fbci" for leaf in leaves) else 0


@pytest.mark.parametrize("name", sorted(set(CALLS) - _NOT_OF_COMPLEX))
def test_complex_arrays_go_the_way_of_numpys(name):
    call = CALLS[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for shape, layout in _SOME_ARRAYS:
            if _is_otherwise(name, shape):
                continue
            for number in range(_complex_count(call, _array(shape, layout))):
                z = _complex(_array(shape, layout))
                expected = _complex_fate(z, _leaves(call(z))[number])
                found = []

                def function(x, number=number, found=found):
                    z = _complex(x)
                    found.extend(_complex_fate(z, _leaves(call(z))[number]))
                    return np.sum(x)

                try:
                    nt.record(function, _array(shape, layout))
                except nt.TraceError:
                    continue  # refused
                assert found[:3] == expected[:3]
                assert found[4:] == expected[4:]
                np.testing.assert_allclose(found[3], expected[3], rtol=1e-10, atol=1e-12)
