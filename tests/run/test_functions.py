"""Functions of the last axes, run by LAPACK's loops: equal to NumPy's bit for bit."""

import re

import naive
import numpy as np
import pytest
import scipy.special
from checks import assert_replays, assert_same_bits, evaluate

import numtape as nt
from numtape.ops.structured import FUNCTION_OPCODE, FUNCTIONS, function_of
from numtape.ops.table import UNKNOWN, load_ufunc
from numtape.trace.recorder import Recorder
from numtape.transform.derivative import adjoint, tangent


def _rng(seed):
    return np.random.default_rng(seed)


def _matrix(seed, *shape):
    return _rng(seed).normal(size=shape)


def _positive(seed, *batch, n=4):
    a = _matrix(seed, *batch, n, n)
    return a @ np.swapaxes(a, -1, -2) + np.eye(n)


def _spread(seed, n=4):
    """A matrix of real, distinct eigenvalues that is not symmetric."""
    return np.diag(np.arange(1.0, n + 1)) + 0.05 * _matrix(seed, n, n)


def _turning(seed):
    """A matrix of complex, distinct eigenvalues."""
    return np.kron(np.diag([1.0, 2.0]), [[1.0, 1.5], [-1.5, 1.0]]) + 0.05 * _matrix(seed, 4, 4)


def _counts(seed):
    """Numbers of successes and of trials, and probabilities."""
    k = _rng(seed).integers(0, 4, 4).astype(float)
    return k, k + 3.0, _rng(seed).uniform(0.1, 0.9, 4)


POINTS = {
    "solve": lambda seed: (_matrix(seed, 4, 4), _matrix(seed + 1, 4, 3)),
    "inv": lambda seed: (_matrix(seed, 4, 4),),
    "det": lambda seed: (_matrix(seed, 4, 4),),
    "slogdet": lambda seed: (_matrix(seed, 4, 4),),
    "cholesky_lo": lambda seed: (_positive(seed),),
    "cholesky_up": lambda seed: (_positive(seed),),
    "eigh_lo": lambda seed: (_positive(seed),),
    "eigh_up": lambda seed: (_positive(seed),),
    "eigvalsh_lo": lambda seed: (_positive(seed),),
    "eigvalsh_up": lambda seed: (_positive(seed),),
    "eig": lambda seed: (_spread(seed),),
    "eigvals": lambda seed: (_spread(seed),),
    "svd_s": lambda seed: (_matrix(seed, 5, 3),),
    "svd_f": lambda seed: (_matrix(seed, 5, 3),),
    "svd": lambda seed: (_matrix(seed, 3, 5),),
    "qr": lambda seed: (_matrix(seed, 5, 3),),
    "slogdet_pairs": lambda seed: (_matrix(seed, 4, 4, 2),),
    "eig_pairs": lambda seed: (_turning(seed),),
    "eigh_pairs": lambda seed: (_matrix(seed, 4, 4, 2),),
    "fft": lambda seed: (_matrix(seed, 7, 2), np.array(0.5)),
    "ifft": lambda seed: (_matrix(seed, 6, 2), np.array(0.5)),
    "rfft_n_even": lambda seed: (_matrix(seed, 8), np.array(0.5)),
    "rfft_n_odd": lambda seed: (_matrix(seed, 7), np.array(0.5)),
    "irfft": lambda seed: (_matrix(seed, 4, 2), np.array(0.5)),
    "betainc": lambda seed: tuple(_rng(seed).uniform(0.1, 0.9, (3, 4))),
    "betaincc": lambda seed: tuple(_rng(seed).uniform(0.1, 0.9, (3, 4))),
    **{
        f"betainc_{by}": lambda seed: tuple(_rng(seed).uniform(0.1, 0.9, (3, 4)))
        for by in ("a", "b", "aa", "ab", "bb")
    },
    "fdtr": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (3, 4))),
    "fdtrc": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (3, 4))),
    "sici": lambda seed: (_rng(seed).uniform(0.5, 3.0, 4),),
    "shichi": lambda seed: (_rng(seed).uniform(0.5, 3.0, 4),),
    "struve": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (2, 4))),
    "modstruve": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (2, 4))),
    "owens_t": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (2, 4))),
    "hyp1f1": lambda seed: tuple(_rng(seed).uniform(0.5, 3.0, (3, 4))),
    "hyp2f1": lambda seed: tuple(_rng(seed).uniform(0.1, 0.9, (4, 4))),
    **{
        name: lambda seed: tuple(_rng(seed).uniform(0.1, 0.9, (2, 4)))
        for name in (
            *("ellipkinc", "ellipkinc_m", "ellipkinc_mm"),
            *("ellipeinc", "ellipeinc_m", "ellipeinc_mm", "ellipj"),
        )
    },
    "lambert_upper": lambda seed: (_rng(seed).uniform(-0.3, 3.0, 4),),
    "lambert_lower": lambda seed: (_rng(seed).uniform(-0.3, -0.1, 4),),
    **{name: lambda seed: _counts(seed) for name in ("nbdtr", "nbdtrc")},
}

# Extents that the operands do not tell.
CHOSEN = {"rfft_n_even": {"h": 5}, "rfft_n_odd": {"h": 4}, "irfft": {"n": 7}}

# Parts of results that rules know nothing about: LAPACK's own working values, vectors that
# any rotation of would do, and their lengths and phases. And functions of counts, of which
# SciPy warns between them.
LOOSE = {"qr", "svd_f", "eig_pairs", "eigh_pairs", "nbdtr", "nbdtrc"}


@pytest.fixture(params=FUNCTIONS, ids=lambda function: function.name)
def function(request):
    return request.param


def _record(function, operands):
    """A tape of the function alone, over the sum of all its operands."""

    def run(*arrays):
        recorder = arrays[0].recorder
        chosen = CHOSEN.get(function.name, {})
        slots = recorder.function(function.name, [a.slots for a in arrays], **chosen)
        every = np.concatenate([part.ravel() for part in slots])
        return nt.trace.traced.wrap(recorder, every, np.zeros(every.size))

    return nt.record(run, *operands).flat


def test_there_is_a_point_for_every_function():
    assert list(POINTS) == [function.name for function in FUNCTIONS]


def test_opcodes_and_shapes(function):
    assert function_of(FUNCTION_OPCODE[function.name]) is function
    operands = POINTS[function.name](0)
    chosen = CHOSEN.get(function.name, {})
    extents = function.extents([operand.shape for operand in operands], **chosen)
    core = [len(axes) for axes in function.operands]
    batch = operands[0].shape[: operands[0].ndim - core[0]]
    shapes, _ = function.shapes((*batch, *extents))
    assert shapes == tuple(operand.shape for operand in operands)


def test_the_frame_has_room(function):
    """Its tables hold six pointers, four counts and sixteen steps."""
    for path, _, chosen in function.calls:
        ufunc = load_ufunc(path)
        axes = (ufunc.signature or "").count("(") and re.findall(r"\w+", ufunc.signature)
        dimensions = len(set(axes or []))
        assert len(chosen) == ufunc.nargs <= 6
        assert 1 + dimensions <= 4
        assert len(chosen) + len(axes or []) <= 16


def test_kernels_against_the_naive_interpreter(function):
    first = POINTS[function.name](0)
    flat = _record(function, first)
    for seed in range(3):
        x = np.concatenate([operand.ravel() for operand in POINTS[function.name](seed)])
        assert_same_bits(evaluate(flat, x), naive.run(flat, x))


def test_derivatives_against_the_naive_interpreter(function):
    """Tangents and adjoints of the bare instruction against central differences."""
    if function.name in LOOSE:
        return  # tests/trace has the parts that are known
    operands = POINTS[function.name](3)
    flat = _record(function, operands)
    x, values = flat.point, naive.evaluate(flat, flat.point)
    seeds = [_rng(1).normal(size=flat.inputs), _rng(2).normal(size=len(flat.outputs))]
    if any(UNKNOWN in partials for partials in function.partials):
        return  # tests/trace/test_shapes.py has those that are known
    forward = naive.tangents(flat, values, seeds[0])
    found = evaluate(tangent(flat), np.concatenate([x, seeds[0]]))[len(flat.outputs) :]
    np.testing.assert_allclose(found, forward, rtol=1e-6, atol=1e-8)
    backward = naive.adjoints(flat, values, seeds[1])
    found = evaluate(adjoint(flat), np.concatenate([x, seeds[1]]))[len(flat.outputs) :]
    np.testing.assert_allclose(found, backward, rtol=1e-6, atol=1e-8)


# views


def test_transposed_strided_reversed_and_gathered_operands():
    rows = np.array([3, 0, 2, 1])
    points = [(_matrix(seed, 8, 8), _matrix(seed + 9, 8, 3)) for seed in range(2)]
    for take in (
        lambda a, b: (a.T, b),
        lambda a, b: (a[::2, ::2], b[1::2]),
        lambda a, b: (a[::-1, ::-1], b[::-1]),
        lambda a, b: (a[4:, :4].T, b[:4, 1:]),
        lambda a, b: (a[rows][:, rows], b[rows]),
    ):
        assert_replays(lambda a, b, t=take: np.linalg.solve(*t(a, b)), *points)
        assert_replays(lambda a, b, t=take: np.linalg.inv(t(a, b)[0]), *points)
        assert_replays(lambda a, b, t=take: np.linalg.qr(t(a, b)[0])[0], *points)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 3), (2, 3, 2)),
        ((2, 1, 3, 3), (4, 3, 2)),
        ((3, 3), (4, 3, 2)),
        ((4, 3, 3), (3, 2)),
        ((2, 3, 3), (3,)),
    ],
    ids=str,
)
def test_batches_are_broadcast(shapes):
    points = [tuple(_matrix(seed, *shape) for shape in shapes) for seed in range(2)]
    assert_replays(np.linalg.solve, *points)


def test_results_of_one_feed_another():
    def function(a, b):
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        q, r = np.linalg.qr(u * s @ vt)
        w, v = np.linalg.eigh(r @ r.T)
        return np.linalg.solve(v * w, q.T @ b), np.linalg.det(v), np.linalg.slogdet(r)[1]

    assert_replays(function, *[(_matrix(s, 6, 4), _matrix(s + 5, 6)) for s in range(3)])


def test_betainc_of_scalars_and_arrays():
    points = [tuple(_rng(seed).uniform(0.1, 0.9, (3, 5))) for seed in range(2)]
    assert_replays(scipy.special.betainc, *points)
    assert_replays(scipy.special.betaincc, *points)
    assert_replays(scipy.special.betainc, *[tuple(p[:, 0].tolist()) for p in map(np.array, points)])
    assert_replays(lambda x: scipy.special.betainc(2, np.array([[1.5], [2.5]]), x), (points[0][2],))


# failures of LAPACK


def test_singular_matrices_raise_while_recording_and_give_nan_on_replay():
    """Whether they do is guarded; without its guards a tape finds nan."""
    singular = np.ones((3, 3))
    for function in (np.linalg.inv, lambda a: np.linalg.solve(a, np.ones(3))):
        with pytest.raises(np.linalg.LinAlgError):
            nt.record(function, singular)
        tape = nt.record(function, np.eye(3) + 0.1)
        with pytest.raises(nt.BranchError):
            tape(singular)
        assert np.isnan(tape.without_guards()(singular)).all()
    with pytest.raises(np.linalg.LinAlgError):
        nt.record(np.linalg.cholesky, -np.eye(3))
    tape = nt.record(np.linalg.cholesky, np.eye(3)).without_guards()
    assert np.isnan(tape(-np.eye(3))).any()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3)])
def test_empty_matrices(shape):
    a = np.zeros(shape)
    for function in (np.linalg.inv, np.linalg.det, np.linalg.eigvalsh):
        assert_replays(lambda a, z, f=function: f(a) + z, (a, 1.0))


def test_many_points_at_once():
    a = _matrix(0, 10, 3, 3) + 3.0 * np.eye(3)
    for function in (np.linalg.det, np.linalg.inv, np.linalg.eigvalsh):
        assert_same_bits(nt.vmap(function)(a), [function(each) for each in a])
        slopes = nt.vmap(nt.jacobian(function))(a)
        expected = [nt.jacobian(function)(each) for each in a]
        np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-14)
    x = np.linspace(0.1, 0.9, 50)
    assert_same_bits(
        nt.vmap(lambda x: scipy.special.betainc(1.5, 2.0, x))(x),
        scipy.special.betainc(1.5, 2.0, x),
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 4), (4, 3)])
@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS if f.finite])
def test_what_lapack_cannot_do_with_nan_is_not_asked_of_it(name, shape):
    """General eigenvalues write anywhere then; the sound matrices of a batch are done."""
    rows, columns = shape if name.startswith("svd") else (4, 4)
    recorder = Recorder(3 * rows * columns)
    slots = np.arange(1, 1 + 3 * rows * columns).reshape(3, rows, columns)
    parts = recorder.function(name, (slots,))
    matrices = np.stack([_spread(seed)[:rows, :columns] for seed in range(3)])
    tape = recorder.finish(np.concatenate([part.ravel() for part in parts]), matrices.ravel())
    for bad in (np.nan, np.inf, -np.inf):
        x = matrices.copy()
        x[1, 2, 0] = bad
        found = evaluate(tape, x)
        assert_same_bits(found, naive.run(tape, x.ravel()))
        sound = evaluate(tape, matrices)
        start = 0
        for part in parts:
            each, whole = (v[start : start + part.size].reshape(part.shape) for v in (found, sound))
            assert np.isnan(each[1]).all()
            assert_same_bits(each[::2], whole[::2])
            start += part.size
