"""Sparse Jacobians and Hessians: every way against the dense ones and against differences."""

import pickle
from contextlib import suppress

import numpy as np
import pytest
import scipy.sparse
from checks import central_jacobian, evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from random_loops import random_loops
from random_tapes import POINTS, STEPS, point, random_tape

import numtape as nt
from numtape.sparse import derivative as ways
from numtape.sparse.accumulated import accumulated
from numtape.sparse.backward import accumulated_backward
from numtape.sparse.derivative import MODES, sparse_jacobian
from numtape.sparse.entries import NotThisWayError
from numtape.transform.derivative import jacobian_by_columns, jacobian_by_rows
from numtape.transform.unrolling import unrolled

RNG = np.random.default_rng(5)
X, M = RNG.uniform(0.5, 1.5, 30), RNG.uniform(0.5, 1.5, (6, 5))


def every_way(tape):
    """Yield a sparse derivative made in each way that there is: its mode, and what was made."""
    inputs = np.arange(tape.inputs)
    for mode in ("forward", "reverse"):
        made = sparse_jacobian(tape, inputs, mode)
        yield mode, made.pattern.rows, made.pattern.columns, made.tape
    flat = unrolled(tape)
    for accumulate in (accumulated, accumulated_backward):
        with suppress(NotThisWayError):
            made = accumulate(flat, inputs)
            mode = "forward" if accumulate is accumulated else "reverse"
            yield mode, made.rows, made.columns, made.tape


def assert_sparse_is_dense(tape, x):
    """Compare in every way; return in how many there is one."""
    rows, columns = len(tape.outputs), tape.inputs
    forward, reverse = (
        evaluate(make(tape, np.arange(columns), False), x).reshape(rows, columns)
        for make in (jacobian_by_columns, jacobian_by_rows)
    )
    found = 0
    for mode, *places, made in every_way(tape):
        found += 1
        matrix = np.zeros((rows, columns))
        matrix[tuple(places)] = evaluate(made, x)
        dense = reverse if mode == "reverse" else forward  # which may differ where one is nan
        # 0 times nan is nan where zeros are no longer those of the structure, as behind a running
        # sum; there one colour's nan is all rows'.
        finite = np.isfinite(dense).all(axis=0) if mode == "reverse" else np.isfinite(dense)
        finite = np.broadcast_to(finite, dense.shape)
        # Where a dense one is nan all over a row, a sparse one is 0 outside of the structure.
        np.testing.assert_allclose(matrix[finite], dense[finite], rtol=1e-9, atol=1e-12)
        assert not matrix[~np.isfinite(dense) & np.isfinite(matrix)].any()
    return found


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 10**6), st.sampled_from(POINTS))
def test_random_tapes(steps, seed, kind):
    tape = random_tape(steps, seed).changed(guards=())
    try:
        assert_sparse_is_dense(tape, point(kind, seed))
    except nt.UnsupportedError:  # a partial without a closed form
        return


@pytest.mark.parametrize("seed", range(12))
def test_random_loops(seed):
    tape = random_loops(seed).changed(guards=())
    assert_sparse_is_dense(tape, np.random.default_rng(seed).uniform(0.2, 1.0, tape.inputs))


def loop(x):
    out = np.zeros(2 * len(x) - 2)
    for i in range(len(x) - 1):
        out[2 * i] = 10.0 * (x[i + 1] - x[i] ** 2)
        out[2 * i + 1] = 1.0 - x[i]
    return out


def padded(x):
    p = np.pad(x, 1)
    return p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4.0 * x + np.exp(x)


JACOBIANS = {
    "shifted": (lambda x: x[1:] * x[:-1] - np.sin(x[1:]), X),
    "padded": (padded, M),
    "loop": (loop, X),
    "running sum": (lambda x: np.cumsum(x) * 2.0, X),
    "product": (lambda x: x @ x.T, M),
    "constant product": (lambda x: np.sin(x) @ np.arange(10.0).reshape(5, 2), M),
    "systems": (
        lambda x: np.linalg.solve(np.stack([x[:2, :2] + 2.0, x[2:4, 2:4]]), np.ones((2, 2, 1))),
        M,
    ),
    "sorted": (np.sort, X),
    "sums of columns": (lambda x: x.sum(0) * x, M),
    "sums of few": (lambda x: (x.T[::-1] ** 2).sum(1) * 2.0, M),
    "sums of many": (lambda x: np.sum(np.outer(x, x), axis=0), X),
    "gathered": (lambda x: x[np.arange(30) % 7] * x, X),
    "scattered": (lambda x: np.add.reduceat(x**2, [0, 4, 9]), X),
    "norms": (lambda x: np.linalg.norm(x, axis=1) ** 2 * x[:, 0], M),
    "one norm": (lambda x: np.linalg.norm(x) * x, X),
    "chosen": (lambda x: np.where(x > 1.0, x**2, np.sqrt(x)) * x[::-1], X),
    "concatenated": (
        lambda x: np.concatenate([x[1:] * x[:-1], x[::-1]]).T.reshape(5, -1)[:, ::2] ** x[0, 0],
        M,
    ),
    "extremes": (lambda x: x.max(1) * x.min(0).sum(), M),
    "a number": (lambda x: np.sum(x[:4]) * x[5], X),
    "of a number": (lambda x: x * np.ones(3), 2.0),
}


@pytest.mark.parametrize("mode", [None, *MODES])
@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobians(name, mode):
    function, x = JACOBIANS[name]
    tape = nt.record(function, x)
    shape = len(tape.flat.outputs), tape.flat.inputs
    try:
        found = tape.jacobian(x, sparse=True, mode=mode)
    except nt.InputError:
        assert mode == "entries"
        return
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.shape == shape
    dense = np.reshape(tape.jacobian(x), shape)
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-13, atol=1e-13)
    flat = central_jacobian(lambda z: np.ravel(function(z.reshape(np.shape(x)))), np.ravel(x))
    np.testing.assert_allclose(found.toarray(), flat, rtol=1e-6, atol=1e-6)
    pattern = tape.jacobian_pattern()
    assert not (dense[~(pattern.to_scipy().toarray() != 0)]).any()


HESSIANS = {
    "Rosenbrock": (lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2), X),
    "Rosenbrock in a loop": (lambda x: np.sum(loop(x) ** 2), X),
    "an arrow": (lambda x: np.sum(x[1:] ** 2 * x[0] ** 2) + np.sum(x**4), X),
    "a dense part": (lambda x: np.sum(np.cos(x)) * x[0] + x[1] * x[2], X),
    "of a matrix": (
        lambda x: np.sum((x[1:] - x[:-1]) ** 4) + np.sum(np.exp(x[:, 1:] * x[:, :-1])),
        M,
    ),
    "a norm": (lambda x: np.linalg.norm(x[:5]) ** 2 + np.sum(x[5:] ** 3), X),
    "linear": (np.sum, X),
}


@pytest.mark.parametrize("mode", [None, *MODES])
@pytest.mark.parametrize("name", HESSIANS)
def test_hessians(name, mode):
    function, x = HESSIANS[name]
    tape = nt.record(function, x)
    try:
        found = tape.hessian(x, sparse=True, mode=mode)
    except nt.InputError:
        assert mode == "entries"
        return
    dense = tape.hessian(x).reshape(x.size, x.size)
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-12, atol=1e-12)
    slopes = nt.grad(function)
    flat = central_jacobian(lambda z: slopes(z.reshape(x.shape)).ravel(), x.ravel())
    np.testing.assert_allclose(found.toarray(), flat, rtol=1e-6, atol=1e-5)
    pattern = tape.hessian_pattern()
    assert not dense[~(pattern.to_scipy().toarray() != 0)].any()


def test_seeds_one_after_the_other(monkeypatch):
    monkeypatch.setattr(ways, "_MOST_SLOTS", 0)
    weights = np.linspace(1.0, 2.0, 29)

    def function(x, a):
        return np.cumsum(np.sin(x[1:])) * x[:-1] * a + weights

    x = X.copy()
    tape = nt.record(function, x, 2.0)
    dense = tape.jacobian(x, 2.0, argnums=(1, 0))
    for mode in (None, "forward", "reverse"):
        value, (by_a, by_x) = tape.value_and_jacobian(
            x, 2.0, argnums=(1, 0), sparse=True, mode=mode
        )
        np.testing.assert_array_equal(value, function(x, 2.0))
        np.testing.assert_allclose(by_x.toarray(), dense[1], rtol=1e-13)
        np.testing.assert_allclose(by_a.toarray()[:, 0], dense[0], rtol=1e-13)
        points = np.stack([x, 2 * x]).reshape(2, 1, -1)
        many = tape.value_and_jacobian(points, 2.0, sparse=True, mode=mode)
        np.testing.assert_array_equal(many[0][1, 0], function(2 * x, 2.0))
        assert many[1].data.shape[:2] == (2, 1)
        np.testing.assert_allclose(many[1][1, 0].toarray(), tape.jacobian(2 * x, 2.0), rtol=1e-13)
    assert "one after the other" in nt.jacobian(function, sparse=True).explain(x, 2.0)


def test_seeds_and_branches(monkeypatch):
    monkeypatch.setattr(ways, "_MOST_SLOTS", 0)

    def function(x):
        return np.cumsum(x**2) if x[0] > 0.0 else x * x[1]

    slopes, dense = nt.jacobian(function, sparse=True), nt.jacobian(function)
    for x in (X, -X, 2 * X):
        np.testing.assert_allclose(slopes(x).toarray(), dense(x), rtol=1e-13)
    tape = nt.record(function, X)
    with pytest.raises(nt.BranchError):
        tape.jacobian(-X, sparse=True)
    with pytest.raises(nt.BranchError):
        tape.jacobian(np.stack([X, -X]), sparse=True)


def branching(x):
    return x[1:] * np.sin(x[:-1]) if x[0] > 0.0 else x[1:] ** 2


def test_each_path_has_its_own_structure():
    slopes, dense = nt.jacobian(branching, sparse=True), nt.jacobian(branching)
    for x in (X, -X, 2 * X):
        np.testing.assert_allclose(slopes(x).toarray(), dense(x), rtol=1e-13)
    assert slopes(X).nnz == 58
    assert slopes(-X).nnz == 29
    again = pickle.loads(pickle.dumps(slopes))
    np.testing.assert_array_equal(again(X).data, slopes(X).data)
    with pytest.raises(nt.BranchError):
        nt.record(branching, X).jacobian(-X, sparse=True)


def test_results_are_written_into_earlier_ones():
    slopes, dense = nt.jacobian(branching, sparse=True), nt.jacobian(branching)
    first = slopes(X)
    data = first.data
    assert slopes(2 * X, out=first) is first
    assert first.data is data
    np.testing.assert_allclose(first.toarray(), dense(2 * X), rtol=1e-13)
    own = scipy.sparse.csr_array(first)  # of the same structure, and not made here
    assert slopes(X, out=own) is own
    np.testing.assert_allclose(own.toarray(), dense(X), rtol=1e-13)
    tape = nt.record(branching, X)
    assert tape.jacobian(3 * X, sparse=True, out=own) is own
    np.testing.assert_allclose(own.toarray(), dense(3 * X), rtol=1e-13)


@pytest.mark.parametrize(
    "out",
    [np.zeros((29, 30)), scipy.sparse.csr_array((29, 30)), scipy.sparse.eye_array(29, 30), [1, 2]],
    ids=["dense", "empty", "diagonal", "list"],
)
def test_out_must_have_the_structure(out):
    with pytest.raises(nt.InputError, match="earlier call"):
        nt.jacobian(branching, sparse=True)(X, out=out)


def test_results_do_not_share_what_users_may_change():
    slopes = nt.jacobian(branching, sparse=True)
    first = slopes(X)
    before = slopes(X).toarray()
    first.data[:] = 0.0
    first.eliminate_zeros()
    np.testing.assert_array_equal(slopes(X).toarray(), before)
    with pytest.raises(nt.InputError, match="earlier call"):
        slopes(X, out=first)


def test_trees_of_arguments_give_blocks():
    def function(p, scale):
        return np.concatenate([p["a"] * p["b"][:3] ** 2, p["b"] * scale])

    p = {"b": np.arange(4.0) + 1.0, "a": np.ones(3)}
    slopes, dense = nt.jacobian(function, (1, 0), sparse=True), nt.jacobian(function, (1, 0))
    by_scale, tree = slopes(p, 2.0)
    expected = dense(p, 2.0)
    np.testing.assert_array_equal(by_scale.toarray()[:, 0], expected[0])
    assert list(tree) == ["b", "a"]
    for name, matrix in tree.items():
        np.testing.assert_array_equal(matrix.toarray(), expected[1][name])
    out = slopes(p, 3.0)
    assert slopes(p, 2.0, out=out) is out
    np.testing.assert_array_equal(out[1]["b"].toarray(), expected[1]["b"])
    tape = nt.record(lambda p: np.sum(function(p, 2.0) ** 3), p)
    blocks, whole = tape.hessian(p, sparse=True), tape.hessian(p)
    for row, column in [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]:
        np.testing.assert_allclose(blocks[row][column].toarray(), whole[row][column], rtol=1e-13)
    many = {"b": np.stack([p["b"], 2 * p["b"]]), "a": p["a"]}
    batch = tape.hessian(many, sparse=True)["b"]["a"]
    second = {"b": 2 * p["b"], "a": p["a"]}
    np.testing.assert_allclose(batch[1].toarray(), tape.hessian(second)["b"]["a"], rtol=1e-12)


def test_batches_share_the_structure():
    tape = nt.record(branching, X)
    points = np.stack([X, 2 * X, 3 * X])
    batch = tape.jacobian(points, sparse=True)
    assert batch.data.shape == (3, 58)
    assert len(batch) == 3
    assert isinstance(batch, nt.SparseBatch)
    for k in range(3):
        np.testing.assert_allclose(batch[k].toarray(), tape.jacobian(points[k]), rtol=1e-13)
    assert batch[1:].data.shape == (2, 58)
    assert repr(batch).startswith("<SparseBatch of (3,) points")
    value, again = tape.value_and_jacobian(points, sparse=True)
    np.testing.assert_allclose(value, np.stack([branching(x) for x in points]), rtol=1e-15)
    np.testing.assert_array_equal(again.data, batch.data)


def test_formats():
    for name in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
        found = nt.jacobian(branching, sparse=True, format=name)(X)
        assert found.format == name
        np.testing.assert_allclose(found.toarray(), nt.jacobian(branching)(X), rtol=1e-13)


def test_auxiliary_results():
    def function(x):
        return x[1:] * x[:-1], {"last": x[-1]}

    matrix, aux = nt.jacobian(function, has_aux=True, sparse=True)(X)
    np.testing.assert_array_equal(matrix.toarray(), nt.jacobian(function, has_aux=True)(X)[0])
    assert aux == {"last": X[-1]}
    hessian, aux = nt.hessian(lambda x: (np.sum(x**3), x[0]), has_aux=True, sparse=True)(X)
    np.testing.assert_allclose(hessian.toarray(), np.diag(6 * X))
    assert aux == X[0]


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
def test_patterns_by_the_user(mode):
    dense = nt.jacobian(branching)(X)
    wide = scipy.sparse.diags_array(np.ones((3, 29)), offsets=[0, 1, 2], shape=(29, 30))
    for known in (dense != 0, scipy.sparse.csr_array(dense), wide, nt.Pattern.of(wide)):
        slopes = nt.jacobian(branching, sparse=known, mode=mode, check=True)
        np.testing.assert_allclose(slopes(X).toarray(), dense, rtol=1e-13)
    assert slopes(X).nnz == wide.nnz
    missing = dense != 0
    missing[7, 8] = False
    with pytest.raises(nt.InputError, match="row 7 and column 8"):
        nt.jacobian(branching, sparse=missing, mode=mode, check=True)(X)
    with pytest.raises(nt.InputError, match=r"shape \(3, 30\)"):
        nt.jacobian(branching, sparse=np.ones((3, 30), bool), mode=mode)(X)


def test_explained():
    slopes = nt.jacobian(branching, sparse=True)
    assert slopes.explain(X).startswith("29 x 30, 58 nonzeros, 4 instructions, mode 'entries'")
    for mode, what in (("forward", "a tangent for each"), ("reverse", "an adjoint for each")):
        assert what in nt.jacobian(branching, sparse=True, mode=mode).explain(X)
    curved = nt.hessian(lambda x: np.sum(np.cumsum(x[:5]) ** 3), sparse=True, mode="forward")
    assert "star colours" in curved.explain(X)


def test_constant_jacobians_and_empty_ones():
    with pytest.warns(nt.ConstantResultWarning):
        assert nt.jacobian(lambda x: np.ones(3), sparse=True)(X).nnz == 0
    assert nt.jacobian(np.round, sparse=True)(X).nnz == 0
    found = nt.jacobian(lambda x: x[:0], sparse=True)(X)
    assert found.shape == (0, 30)


def test_values_round_alike_in_batches_and_compiled():
    tape = nt.record(padded, M)
    expected = tape.jacobian(M, sparse=True).data
    batch = tape.jacobian(np.stack([M, M]), sparse=True)
    np.testing.assert_allclose(batch.data[1], expected, rtol=1e-14)
    compiled = nt.record(padded, M).compile()
    np.testing.assert_allclose(compiled.jacobian(M, sparse=True).data, expected, rtol=1e-14)


@pytest.mark.parametrize("name", JACOBIANS)
def test_every_way_to_a_jacobian(name):
    function, x = JACOBIANS[name]
    tape = nt.record(function, x)
    assert assert_sparse_is_dense(tape.flat, np.ravel(x).astype(float)) >= 2


def test_residuals_of_many_parameters_are_accumulated_backward():
    cameras = np.arange(40) % 3

    def residuals(z):
        c, p = z[:27].reshape(3, 9)[cameras], z[27:].reshape(40, 3)
        r = np.linalg.norm(c[:, :3], axis=1)
        turned = p * np.cos(r)[:, None] + c[:, 3:6] * np.sin(r)[:, None]
        u = turned[:, 0] / turned[:, 2]
        return u * c[:, 6] * (1.0 + c[:, 7] * u**2 + c[:, 8] * u**4)

    z = np.random.default_rng(1).uniform(0.5, 1.5, 27 + 120)
    slopes = nt.jacobian(residuals, sparse=True)
    assert "accumulated backward" in slopes.explain(z)
    np.testing.assert_allclose(slopes(z).toarray(), nt.jacobian(residuals)(z), rtol=1e-11)
