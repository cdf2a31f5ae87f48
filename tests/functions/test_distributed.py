"""Beyond one process: Dask, pickle, pools of processes, forks. All optional but pickle."""

import concurrent.futures
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from checks import assert_same_bits

import numtape as nt
from numtape.functions.trees import flatten
from numtape.run import batch as batch_module

RNG = np.random.default_rng(2)
X = RNG.uniform(0.2, 2.0, (24, 3))
A = RNG.uniform(0.5, 1.5, 24)


def scalar(x, a):
    return np.sin(x[0]) * x[1] + np.exp(-a * x[2])


def tree(p, a):
    return {"sum": np.sum(p["x"]) * a, "all": (p["x"] * a, p["b"])}


def branchy(x):
    if x > 1.0:
        return np.sin(x)
    return x * x if x > 0.0 else -x


SCALAR = nt.record(scalar, np.ones(3), 1.0)
TREE = nt.record(tree, {"x": np.ones(3), "b": 2.0}, 1.0)


def assert_same(found, expected) -> None:
    """Equal trees of arrays, those of `found` computed."""
    ones, structure = flatten(found)
    others, wanted = flatten(expected)
    assert structure == wanted
    for one, other in zip(ones, others, strict=True):
        assert hasattr(one, "__dask_graph__")
        assert one.shape == other.shape
        assert one.dtype == np.float64
        assert_same_bits(one.compute(scheduler="synchronous"), other)


# Dask, without a cluster


@pytest.mark.parametrize("chunks", [24, 7, 1])
def test_tapes_on_dask_arrays(chunks):
    from dask import array

    x, a = array.from_array(X, chunks=(chunks, 2)), array.from_array(A, chunks=5)
    assert_same(SCALAR(x, a), SCALAR(X, A))
    assert_same(SCALAR(x, 0.7), SCALAR(X, 0.7))
    assert_same(SCALAR(X[0], a), SCALAR(X[0], A))
    assert_same(SCALAR.gradient(x, a, argnums=(0, 1)), SCALAR.gradient(X, A, argnums=(0, 1)))
    assert_same(SCALAR.value_and_gradient(x, a), SCALAR.value_and_gradient(X, A))
    assert_same(SCALAR.hessian(x, a), SCALAR.hessian(X, A))
    assert_same(SCALAR.jvp((x, a), (X[0], 1.0)), SCALAR.jvp((X, A), (X[0], 1.0)))
    assert_same(SCALAR.jvp((X[0], 1.0), (x, a)), SCALAR.jvp((X[0], 1.0), (X, A)))
    assert_same(SCALAR.vjp((x, 0.5), a), SCALAR.vjp((X, 0.5), A))
    assert_same(SCALAR.hvp((x, a), (X[0], 1.0)), SCALAR.hvp((X, A), (X[0], 1.0)))
    point = {"x": x, "b": a}
    assert_same(TREE(point, 0.5), TREE({"x": X, "b": A}, 0.5))
    assert_same(TREE.jacobian(point, 0.5), TREE.jacobian({"x": X, "b": A}, 0.5))


def test_two_leading_axes():
    from dask import array

    points, weights = X.reshape(4, 6, 3), A.reshape(4, 6)
    x, a = array.from_array(points, chunks=(3, 4, 3)), array.from_array(weights, chunks=2)
    assert_same(SCALAR(x, a), SCALAR(points, weights))
    found = SCALAR.jacobian(x, 0.5)
    assert found.chunks == ((3, 1), (4, 2), (3,))
    assert_same(found, SCALAR.jacobian(points, 0.5))


def test_arrays_beside_dask_arrays():
    """What all points share goes to every block; an array of many points is cut up."""
    from dask import array

    for chunks in (24, 7, 1):
        x = array.from_array(X, chunks=chunks)
        assert_same(SCALAR(x, A), SCALAR(X, A))
        assert_same(nt.vmap(scalar)(x, A), nt.vmap(scalar)(X, A))
        assert_same(nt.vmap(scalar, in_axes=(1, 0))(x.T, A), nt.vmap(scalar)(X, A))
    shared = array.from_array(X[0], chunks=2)  # a Dask array that all points share
    assert_same(SCALAR(shared, array.from_array(A, chunks=6)), SCALAR(X[0], A))
    one = SCALAR(shared, 0.5)  # one point: not an array
    assert one.compute(scheduler="synchronous") == SCALAR(X[0], 0.5)
    found = nt.vmap(scalar, in_axes=(None, 0))(shared, array.from_array(A, chunks=6))
    assert_same(found, nt.vmap(scalar, in_axes=(None, 0))(X[0], A))


def test_vmap_on_dask_arrays():
    from dask import array

    values = RNG.normal(size=1000) * 2
    x = array.from_array(values, chunks=300)
    assert_same(nt.vmap(branchy)(x), nt.vmap(branchy)(values))
    assert_same(nt.vmap(nt.grad(branchy))(x), nt.vmap(nt.grad(branchy))(values))
    rows = array.from_array(X, chunks=(10, 3))
    mapped = nt.vmap(nt.value_and_grad(scalar), in_axes=(0, None))
    assert_same(mapped(rows, 0.5), mapped(X, 0.5))
    assert_same(nt.vmap(scalar, in_axes=(1, None))(rows.T, 0.5), mapped(X, 0.5)[0])
    for place in (0, 1, -1):
        moved = nt.vmap(nt.grad(scalar), in_axes=(0, None), out_axes=place)
        assert_same(moved(rows, 0.5), moved(X, 0.5))
    named = nt.vmap(lambda x, a: scalar(x, a))
    assert_same(named(rows, a=array.from_array(A, chunks=4)), named(X, a=A))


def test_nothing_is_computed_before_it_is_asked_for():
    from dask import array, delayed

    asked = []

    def load():
        asked.append(1)
        return X

    x = array.from_delayed(delayed(load)(), X.shape, float)
    found = SCALAR.gradient(x, 0.5)
    mapped = nt.vmap(scalar, in_axes=(0, None))(x, 0.5)
    assert asked == []
    assert_same(found, SCALAR.gradient(X, 0.5))
    assert_same(mapped, SCALAR(X, 0.5))
    assert len(asked) == 2


def test_delayed_points():
    from dask import delayed

    points = delayed(lambda: X)()
    found = SCALAR(points, 0.5)
    assert_same_bits(found.compute(scheduler="synchronous"), SCALAR(X, 0.5))
    for axis, given in [(0, points), (1, delayed(lambda: X.T)())]:
        mapped = nt.vmap(nt.grad(scalar), in_axes=(axis, None), out_axes=1)
        found = mapped(given, 0.5).compute(scheduler="synchronous")
        assert_same_bits(found, SCALAR.gradient(X, 0.5).T)


def test_branches_in_blocks():
    from dask import array

    tape = nt.record(branchy, 2.0)
    found = tape(array.from_array(np.array([2.0, 3.0, -1.0]), chunks=2))
    with pytest.raises(nt.BranchError, match="point 0 of the batch"):
        found.compute(scheduler="synchronous")


def test_what_does_not_fit():
    from dask import array

    x = array.from_array(X, chunks=7)
    wrong = [
        (lambda: SCALAR(x), "structure|leaves"),
        (lambda: SCALAR(x[:, :2], 0.5), r"Dask array of shape \(24, 2\).*\(3,\)"),
        (lambda: SCALAR(x, A[:5]), "different lengths.*Pass arrays of as many"),
        (lambda: SCALAR(x, array.from_array(A[:5])), "different lengths"),
        (lambda: SCALAR(x, iter([1.0])), "iterator and a Dask collection.*Make both the same"),
        (lambda: SCALAR(x, 0.5, out=np.empty(24)), r"out=.*block by block.*Leave it out"),
        (lambda: nt.vmap(scalar)(x, A[:5]), "different lengths"),
        (lambda: nt.vmap(branchy, in_axes=1)(array.from_array(A)), "no axis 1"),
        (lambda: nt.vmap(branchy, out_axes=1)(array.from_array(A)), "out_axes=1.*0 axes"),
    ]
    for call, message in wrong:
        with pytest.raises(nt.InputError, match=message):
            call()


# a cluster


@pytest.fixture(scope="module")
def cluster():
    """Two processes on this machine."""
    with warnings.catch_warnings():
        # distributed's own, about ports and sockets that it is about to close
        for kind in (UserWarning, ResourceWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        from dask import config
        from distributed import Client, LocalCluster

        with (
            config.set({"distributed.worker.memory.terminate": False}),
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=50,
            ) as cluster,
            Client(cluster, timeout="60s", set_as_default=False) as client,
        ):
            yield client


def test_a_cluster_of_two_processes(cluster):
    from dask import array

    x, a = array.from_array(X, chunks=(5, 3)), array.from_array(A, chunks=5)
    values = RNG.normal(size=2000) * 2
    many = array.from_array(values, chunks=500)
    graphs = [
        SCALAR(x, a),
        SCALAR.gradient(x, 0.5),
        SCALAR.jvp((x, a), (X[0], 1.0))[1],
        nt.vmap(branchy)(many),
        nt.vmap(nt.grad(lambda x: branchy(x) * 2.0))(many),  # of a lambda: by cloudpickle
    ]
    expected = [
        SCALAR(X, A),
        SCALAR.gradient(X, 0.5),
        SCALAR.jvp((X, A), (X[0], 1.0))[1],
        nt.vmap(branchy)(values),
        2.0 * nt.vmap(nt.grad(branchy))(values),
    ]
    futures = cluster.compute(graphs)
    for found, wanted in zip(cluster.gather(futures), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
    pids = set(cluster.run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_plain_tasks_on_a_cluster(cluster):
    future = cluster.submit(SCALAR.gradient, X, 0.5, num_threads=2)
    assert_same_bits(future.result(timeout=120), SCALAR.gradient(X, 0.5))


# pickle


def test_tapes_can_be_pickled():
    for tape in (SCALAR, TREE):
        copy = pickle.loads(pickle.dumps(tape))
        assert str(copy) == str(tape)
    assert_same_bits(pickle.loads(pickle.dumps(SCALAR)).hessian(X, A), SCALAR.hessian(X, A))
    SCALAR(X, A)  # with workspaces, batches and derivative tapes made
    assert len(pickle.dumps(SCALAR)) < 5000


@pytest.mark.parametrize(
    "make",
    [
        nt.grad,
        nt.value_and_grad,
        nt.jacobian,
        nt.jacfwd,
        nt.jacrev,
        nt.hessian,
        lambda f, argnums: nt.vmap(nt.grad(f, argnums), in_axes=(None, 0), num_threads=1),
    ],
)
def test_derivatives_and_vmaps_can_be_pickled(make):
    single = make(scalar, argnums=(1, 0))
    point = (X[0], A if "vmap" in repr(single) else 0.5)
    expected = flatten(single(*point))[0]
    text = pickle.dumps(single)  # after it was recorded
    copy = pickle.loads(text)
    assert repr(copy) == repr(single)
    for one, other in zip(flatten(copy(*point))[0], expected, strict=True):
        assert_same_bits(one, other)
    assert len(text) < 1000  # recordings do not travel


def with_aux(x):
    return np.sum(x * x), {"x": x}


def test_options_travel():
    copy = pickle.loads(pickle.dumps(nt.grad(with_aux, has_aux=True)))
    gradient, aux = copy(X[0])
    assert_same_bits(gradient, 2 * X[0])
    assert_same_bits(aux["x"], X[0])
    mapped = nt.vmap(scalar, in_axes=(1, None), out_axes=-1, num_threads=3)
    assert_same_bits(pickle.loads(pickle.dumps(mapped))(X.T, 0.5), SCALAR(X, 0.5))


# processes


def run_batch(tape, threads):
    """A batch by several threads, in whatever process."""
    batch_module._WORTH_A_THREAD = batch_module._CHUNK = 1 << 9
    try:
        return tape.gradient(np.tile(X, (100, 1)), 0.5, num_threads=threads)
    finally:
        batch_module._WORTH_A_THREAD, batch_module._CHUNK = 1 << 20, 1 << 22


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pools_of_processes(method):
    expected = run_batch(SCALAR, 2)  # threads were used here before a fork
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        futures = [pool.submit(run_batch, SCALAR, 2) for _ in range(3)]
        for future in futures:
            assert_same_bits(future.result(timeout=120), expected)
        gradient = pool.submit(nt.grad(scalar), X[0], 0.5).result(timeout=120)
        assert_same_bits(gradient, nt.grad(scalar)(X[0], 0.5))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_threads_were_used():
    expected = run_batch(SCALAR, 4)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if np.array_equal(run_batch(SCALAR, 4), expected) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_numtape_does_not_import_dask():
    """Nor do batches."""
    text = (
        "import sys, numpy as np, numtape as nt\n"
        "assert nt.vmap(lambda x: x * x)(np.ones(3)).sum() == 3.0\n"
        "list(nt.vmap(lambda x: x * x)(iter([np.ones(3)])))\n"
        "assert not {'dask', 'distributed', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=120)
