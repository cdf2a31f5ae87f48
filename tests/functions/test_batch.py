"""Leading axes on every method of a Tape: against a loop over single points."""

import _thread
import itertools
import signal
import threading
import time

import numpy as np
import pytest
from checks import assert_same_bits
from functions.interrupted import Interruption

import numtape as nt
from numtape.functions import runner as runner_module
from numtape.functions.trees import flatten
from numtape.jit.compiling import in_background, settle, uninterrupted
from numtape.run import batch as batch_module

N = 3


def scalar_function(p, x, k, a):
    """A tape of scalar instructions, with a tree, an array, a static argument and a float."""
    total = a * p["b"]
    for i in range(k):
        total = total + np.sin(p["w"][i] * x[i]) * np.exp(-a * x[i] ** 2)
    return total


def array_function(p, x, k, a):
    """The same with vector instructions."""
    w = np.concatenate([p["w"]] * 30)  # too long to be taken apart
    y = np.concatenate([x] * 30)
    return a * p["b"] + np.sum(np.sin(w[: 30 * k] * y) * np.exp(-a * y**2))


def vectors_of(function):
    """Of a scalar function one that gives a tree of arrays and a number."""

    def function_of_trees(p, x, k, a):
        value = function(p, x, k, a)
        pair = np.array([value * x[0], np.tanh(value) + a])
        return {"pair": pair, "rest": (p["w"] * value, value)}

    return function_of_trees


def arguments(leading=(), seed=0, which=(True, True, True, True)):
    """Trees of arguments; leading axes where `which` says for w, b, x and a."""
    rng = np.random.default_rng(seed)

    def made(has_axes, *shape):
        shape = (tuple(leading) if has_axes else ()) + shape
        return rng.uniform(0.3, 1.2, shape) if shape else float(rng.uniform(0.3, 1.2))

    w, b, x, a = (
        made(flag, *shape) for flag, shape in zip(which, [(N,), (), (N,), ()], strict=True)
    )
    return {"w": w, "b": b}, x, N, a


_RECORDED = arguments(seed=99)
SCALAR, ARRAY = (nt.record(f, *_RECORDED) for f in (scalar_function, array_function))
TREE, ARRAY_TREE = (nt.record(vectors_of(f), *_RECORDED) for f in (scalar_function, array_function))


def test_kinds():
    assert SCALAR.flat.is_scalar
    assert TREE.flat.is_scalar
    assert not ARRAY.flat.is_scalar
    assert not ARRAY_TREE.flat.is_scalar


def at(tree, shapes, leading, index):
    """One point of a tree of arguments; `shapes` are one point's."""
    leaves, structure = flatten(tree)
    single = []
    for leaf, shape in zip(leaves, shapes, strict=True):
        if shape is None:
            single.append(leaf)
            continue
        array = np.broadcast_to(np.asarray(leaf), _spread(np.shape(leaf), shape, leading) + shape)
        value = np.array(array[index])
        single.append(value if value.ndim else float(value))
    return structure.build(single)


def _spread(full, shape, leading):
    assert full[len(full) - len(shape) :] == shape
    return leading


def assert_loop(found, leading, single, rtol=1e-13):
    """`found` at many points is what `single` gives at each, leaf by leaf."""
    leaves, structure = flatten(found)
    for index in np.ndindex(*leading):
        expected, wanted = flatten(single(index))
        assert structure == wanted
        for leaf, one in zip(leaves, expected, strict=True):
            assert leaf.shape == leading + np.shape(one)
            assert leaf.dtype == np.float64
            scale = np.max(np.abs(one), initial=1e-30)
            np.testing.assert_allclose(leaf[index], one, rtol=rtol, atol=rtol * scale)


ALL = (True, True, True, True)
LEADING = [((5,), ALL), ((2, 3), ALL), ((2, 1, 3), ALL), ((5,), (False, False, True, False))]
LEADING += [((4,), (True, False, False, False)), ((2, 2), (False, True, False, True))]


class Told(list):
    """A progress callable: the pairs that it was told."""

    def __call__(self, done, total):
        self.append((done, total))

    def check(self):
        assert len({total for _, total in self}) == 1
        done = [done for done, _ in self]
        assert all(a < b for a, b in itertools.pairwise(done))
        assert self[-1][0] == self[-1][1]


METHODS = {
    "value": lambda tape, *point, **options: tape(*point, **options),
    "gradient": lambda tape, *point, **options: tape.gradient(*point, **options),
    "gradient by all": lambda tape, *point, **options: tape.gradient(
        *point, argnums=(0, 1, 3), **options
    ),
    "gradient by last": lambda tape, *point, **options: tape.gradient(
        *point, argnums=-1, **options
    ),
    "value_and_gradient": lambda tape, *point, **options: tape.value_and_gradient(
        *point, argnums=[3, 0], **options
    ),
    "jacobian": lambda tape, *point, **options: tape.jacobian(*point, argnums=1, **options),
    "jacobian forward": lambda tape, *point, **options: tape.jacobian(
        *point, argnums=(0, 3), mode="forward", **options
    ),
    "jacobian reverse": lambda tape, *point, **options: tape.jacobian(
        *point, argnums=(0, 3), mode="reverse", **options
    ),
    "value_and_jacobian": lambda tape, *point, **options: tape.value_and_jacobian(
        *point, argnums=(1, 0), **options
    ),
    "hessian": lambda tape, *point, **options: tape.hessian(*point, argnums=(0, 1), **options),
    "hessian by one": lambda tape, *point, **options: tape.hessian(*point, argnums=1, **options),
}
OF_SCALARS = [name for name in METHODS if "gradient" in name or "hessian" in name]
OF_TREES = [name for name in METHODS if name not in OF_SCALARS]


@pytest.mark.parametrize(("leading", "which"), LEADING)
@pytest.mark.parametrize("name", METHODS)
def test_methods(name, leading, which):
    method = METHODS[name]
    for tape in [SCALAR, ARRAY] + ([TREE, ARRAY_TREE] if name in OF_TREES else []):
        point = arguments(leading, which=which)
        shapes = tape.signature.shapes

        def single(index, tape=tape, point=point, shapes=shapes):
            return method(tape, *at(list(point), shapes, leading, index))

        assert_loop(method(tape, *point), leading, single)


def test_leading_axes_are_broadcast():
    p, x, k, a = arguments()
    x, a = np.array([x, 2 * x, 3 * x]), np.array([[0.5], [0.7]])
    for tape in (SCALAR, ARRAY):
        found = tape.gradient(p, x, k, a, argnums=(0, 1))
        assert found[1].shape == (2, 3, N)
        assert_loop(
            found,
            (2, 3),
            lambda index, tape=tape: tape.gradient(
                p, x[index[1]], k, float(a[index[0], 0]), argnums=(0, 1)
            ),
        )


def test_one_leading_axis_of_length_one_is_kept():
    for tape in (SCALAR, ARRAY):
        assert tape(*arguments((1,))).shape == (1,)
        assert tape(*arguments((1, 1))).shape == (1, 1)


# products with vectors: many points, many seeds, or both


@pytest.mark.parametrize("tape", [SCALAR, ARRAY, TREE, ARRAY_TREE])
@pytest.mark.parametrize("many", ["points", "seeds", "both", "crossed"])
def test_jvp(tape, many):
    leading = (2, 3) if many == "crossed" else (4,)
    own = {"seeds": (), "crossed": (3,)}.get(many, (4,))
    others = {"points": (), "crossed": (2, 1)}.get(many, (4,))
    point, seed = arguments(own), arguments(others, seed=1)
    shapes = tape.signature.shapes

    def single(index):
        here, there = (at(list(t), shapes, leading, index) for t in (point, seed))
        return tape.jvp(here, there)

    assert_loop(tape.jvp(point, seed), leading, single)


@pytest.mark.parametrize("tape", [SCALAR, ARRAY])
@pytest.mark.parametrize("many", ["points", "seeds", "both"])
def test_hvp(tape, many):
    point = arguments(() if many == "seeds" else (4,))
    seed = arguments(() if many == "points" else (4,), seed=1)
    shapes = tape.signature.shapes

    def single(index):
        here, there = (at(list(t), shapes, (4,), index) for t in (point, seed))
        return tape.hvp(here, there)

    found = tape.hvp(point, seed)
    assert found[2] is None  # the static argument
    assert_loop(found, (4,), single, rtol=1e-12)
    out = tape.hvp(
        point, seed, out=flatten(found)[1].build(np.empty_like(a) for a in flatten(found)[0])
    )
    for one, other in zip(flatten(out)[0], flatten(found)[0]):
        assert_same_bits(one, other)


@pytest.mark.parametrize("tape", [SCALAR, ARRAY, TREE, ARRAY_TREE])
@pytest.mark.parametrize("many", ["points", "seeds", "both"])
def test_vjp(tape, many):
    rng = np.random.default_rng(3)
    point = arguments(() if many == "seeds" else (4,))
    leading = () if many == "points" else (4,)
    result = tape.result
    seed = result.structure.build(rng.normal(size=leading + shape) for shape in result.shapes)

    def single(index):
        here = at(list(point), tape.signature.shapes, (4,), index)
        return tape.vjp(here, at(seed, result.shapes, (4,), index))

    found = tape.vjp(point, seed)
    assert found[1][2] is None
    assert_loop(found, (4,), single)


def test_adjoint_identity_at_many_points():
    rng = np.random.default_rng(0)
    for tape in (TREE, ARRAY_TREE):
        point, direction = arguments((6,)), arguments((6,), seed=5)
        weights = tape.result.structure.build(rng.normal(size=(6, *s)) for s in tape.result.shapes)
        pushed = flatten(tape.jvp(point, direction)[1])[0]
        pulled = flatten(tape.vjp(point, weights)[1])[0]
        seeds = [leaf for leaf in flatten(list(direction))[0] if not isinstance(leaf, int)]

        def dot(ones, others):
            return sum(
                (a * b).reshape(6, -1).sum(axis=1) for a, b in zip(ones, others, strict=True)
            )

        np.testing.assert_allclose(dot(pushed, flatten(weights)[0]), dot(seeds, pulled), rtol=1e-12)


# Jacobians too long for one tape


@pytest.fixture
def seed_by_seed(monkeypatch):
    monkeypatch.setattr(runner_module, "_UNROLLED", 0)
    monkeypatch.setattr(runner_module, "_LONGEST", -1)


@pytest.mark.usefixtures("seed_by_seed")
@pytest.mark.parametrize(
    "name", ["jacobian", "jacobian forward", "jacobian reverse", "value_and_jacobian"]
)
@pytest.mark.parametrize(("leading", "which"), LEADING[1:4])
def test_jacobians_seed_by_seed(name, leading, which):
    method = METHODS[name]
    for f in (scalar_function, array_function):
        for function in (f, vectors_of(f)):
            tape = nt.record(function, *_RECORDED)
            point, told = arguments(leading, which=which), Told()
            found = method(tape, *point, progress=told)

            def single(index, tape=tape, point=point):
                return method(tape, *at(list(point), tape.signature.shapes, leading, index))

            assert_loop(found, leading, single)
            told.check()


@pytest.mark.usefixtures("seed_by_seed")
def test_seed_by_seed_into_arrays_and_through_branches():
    def f(x):
        return (x * x if x[0] > 0.0 else -x) * np.ones(N)

    tape = nt.record(f, np.ones(N))
    x = np.random.default_rng(0).uniform(0.1, 1, (7, N))
    for mode in ("forward", "reverse"):
        out = np.empty((7, 2 * N, 2 * N))[:, ::2, ::2]
        assert tape.jacobian(x, mode=mode, out=out) is out
        np.testing.assert_allclose(out, [np.diag(2 * row) for row in x], rtol=1e-14)
        bad = x.copy()
        bad[5, 0] = -1.0
        with pytest.raises(nt.BranchError, match=r"point 5 of the batch"):
            tape.jacobian(bad, mode=mode)
        with pytest.raises(nt.BranchError, match=r"point 5 of the batch"):
            tape.value_and_jacobian(bad, mode=mode)


# out=


def _empties(tree, kind=np.empty):
    leaves, structure = flatten(tree)
    return structure.build(kind(np.shape(leaf)) for leaf in leaves)


@pytest.mark.parametrize("leading", [(), (4,), (2, 2)])
@pytest.mark.parametrize("name", METHODS)
def test_out(name, leading):
    for tape in [SCALAR, ARRAY] + ([TREE] if name in OF_TREES else []):
        point = arguments(leading)
        expected = METHODS[name](tape, *point)
        out = _empties(expected)
        found = METHODS[name](tape, *point, out=out)
        for one, given, wanted in zip(flatten(found)[0], flatten(out)[0], flatten(expected)[0]):
            assert one is given
            assert_same_bits(one, wanted)


def test_out_of_products():
    point, seed = arguments((4,)), arguments((4,), seed=1)
    for tape in (SCALAR, ARRAY, TREE):
        expected = tape.jvp(point, seed)
        for one, other in zip(
            flatten(tape.jvp(point, seed, out=_empties(expected)))[0], flatten(expected)[0]
        ):
            assert_same_bits(one, other)
        weights = tape.result.structure.build(np.ones(shape) for shape in tape.result.shapes)
        expected = tape.vjp(point, weights)
        found = tape.vjp(point, weights, out=_empties(expected))
        for one, other in zip(flatten(found)[0], flatten(expected)[0]):
            assert_same_bits(one, other)


def test_out_in_a_strided_array_and_on_disk(tmp_path):
    tape = nt.record(lambda x: np.array([np.sin(x[0]) * x[1], x[0]]), np.ones(2))
    x = np.random.default_rng(0).normal(size=(500, 2))
    expected = tape(x)
    wide = np.full((1000, 4), 5.5)
    assert_same_bits(tape(x, out=wide[::2, 1:3]), expected)
    assert_same_bits(wide[::2, 1:3], expected)
    assert (wide[1::2] == 5.5).all()
    assert (wide[:, [0, 3]] == 5.5).all()

    source = np.memmap(tmp_path / "in", np.float64, "w+", shape=(500, 2))
    source[...] = x
    source.flush()
    source = np.memmap(tmp_path / "in", np.float64, "r", shape=(500, 2))
    target = np.memmap(tmp_path / "out", np.float64, "w+", shape=(500, 2, 2))
    assert tape.jacobian(source, out=target) is target
    target.flush()
    read = np.fromfile(tmp_path / "out").reshape(500, 2, 2)
    assert_same_bits(read, tape.jacobian(x))


def _read_only(shape):
    array = np.empty(shape)
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.empty((4, 3)), r"float64 of \(4, 3\).*np.empty\(\(5, 3\)\)"),
        (lambda: np.empty((5, 3), np.float32), "float32.*float64 array of shape"),
        (lambda: np.empty((5, 3), ">f8"), "float64 array|not contiguous"),
        (lambda: [np.empty((5, 3))], r"structure \[\*\].*Pass a tree"),
        (lambda: 3.0, r"3\.0.*float64 array of shape \(5, 3\)"),
        (lambda: _read_only((5, 3)), "read-only.*Pass a fresh one"),
    ],
)
def test_wrong_out(make, message):
    x = np.ones((5, 3))
    tape = nt.record(lambda x: x * 2.0, np.ones(3))
    with pytest.raises(nt.InputError, match=message):
        tape(x, out=make())
    with pytest.raises(nt.InputError, match=message):
        nt.vmap(lambda x: x * 2.0)(x, out=make())


def test_out_may_not_overlap_the_arguments():
    """A point would be read after another was written over it."""
    tape = nt.record(lambda x: x * 2.0, np.ones(3))
    x = np.arange(30.0).reshape(10, 3)
    for out in (x, x[::-1]):
        with pytest.raises(nt.InputError, match=r"memory an argument uses.*Pass a fresh one"):
            tape(x, out=out)
    single = nt.record(lambda x: np.sum(x * x), np.ones(3))
    with pytest.raises(nt.InputError, match=r"memory an argument uses"):
        single.gradient(x[0], out=x[0])
    table = np.zeros((10, 6))  # side by side in one table is no overlap
    table[:, :3] = x
    tape(table[:, :3], out=table[:, 3:])
    assert_same_bits(table[:, 3:], 2 * x)


def test_out_with_several_leading_axes_is_contiguous():
    tape = nt.record(lambda x: x * 2.0, np.ones(3))
    with pytest.raises(nt.InputError, match=r"not contiguous.*Pass a fresh one"):
        tape(np.ones((2, 5, 3)), out=np.empty((2, 5, 6))[:, :, ::2])


# iterators


def test_blocks_from_iterators():
    tape = nt.record(lambda x, a: np.sum(np.sin(x)) * a, np.ones(2), 1.0)
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(10, 2)), rng.normal(size=10)
    cuts = [slice(0, 4), slice(4, 5), slice(5, 10)]
    found = tape(iter([x[cut] for cut in cuts]), (a[cut] for cut in cuts))
    assert hasattr(found, "__next__")
    assert_same_bits(np.concatenate(list(found)), tape(x, a))
    found = tape.gradient((x[cut] for cut in cuts), 0.5, num_threads=1)
    assert_same_bits(np.concatenate(list(found)), tape.gradient(x, 0.5))
    singles = list(tape.value_and_gradient(iter(x), 0.5))  # blocks of one point
    assert all(isinstance(value, float) for value, _ in singles)
    assert_same_bits([value for value, _ in singles], [tape(row, 0.5) for row in x])
    found = tape.jvp((x, a), (iter([x, 2 * x]), a))
    assert_same_bits(next(found)[1], tape.jvp((x, a), (x, a))[1])
    assert_same_bits(next(found)[1], tape.jvp((x, a), (2 * x, a))[1])
    blocks = list(tape.vjp((x, a), iter([1.0, a])))
    assert_same_bits(blocks[1][1][0], tape.vjp((x, a), a)[1][0])
    assert_same_bits(next(tape.hvp((iter([x]), a), (x, a)))[0], tape.hvp((x, a), (x, a))[0])


def test_blocks_are_asked_for_one_at_a_time():
    tape = nt.record(lambda x: x * 2.0, 1.0)
    asked = []

    def blocks():
        for k in itertools.count():
            asked.append(k)
            yield np.full(3, float(k))

    found = tape(blocks())
    assert asked == []
    assert_same_bits(next(found), np.zeros(3))
    assert_same_bits(next(found), np.full(3, 2.0))
    assert asked == [0, 1]
    found.close()
    assert asked == [0, 1]


def test_iterators_of_unequal_length():
    tape = nt.record(lambda x, y: x * y, 1.0, 1.0)
    for lengths in [(2, 3), (3, 2)]:
        found = tape(*(iter([np.ones(2)] * n) for n in lengths))
        assert len([next(found), next(found)]) == 2
        with pytest.raises(nt.InputError, match=r"ended before another.*Check"):
            next(found)
    with pytest.raises(nt.InputError, match=r"out=.*block by block.*Leave it out"):
        tape(iter([1.0]), 1.0, out=np.empty(1))


# progress, threads, interruptions


@pytest.fixture
def many_chunks(monkeypatch):
    monkeypatch.setattr(batch_module, "_CHUNK", 1 << 9)
    monkeypatch.setattr(batch_module, "_WORTH_A_THREAD", 1 << 9)


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.parametrize("threads", [1, 3])
def test_progress(threads):
    for tape in (SCALAR, ARRAY):
        told = Told()
        tape.gradient(*arguments((2000,)), num_threads=threads, progress=told)
        assert len(told) > 3
        assert told[-1] == (2000, 2000)
        told.check()


def test_a_bar(capsys):
    found = SCALAR(*arguments((300,)), progress=True)
    assert_same_bits(found, SCALAR(*arguments((300,))))
    assert "points" in capsys.readouterr().out


def test_wrong_progress():
    for wrong in ("yes", 1, None):
        with pytest.raises(nt.InputError, match=f"progress={wrong!r}.*must be True for a bar"):
            SCALAR(*arguments((3,)), progress=wrong)


@pytest.mark.usefixtures("many_chunks")
def test_threads_give_the_same_bits(monkeypatch):
    point = arguments((500,))
    for tape in (SCALAR, ARRAY):
        one = tape.gradient(*point, num_threads=1)
        for threads in (2, 5, 64, np.int64(3)):
            found = tape.gradient(*point, num_threads=threads)
            for a, b in zip(flatten(found)[0], flatten(one)[0]):
                assert_same_bits(a, b)


@pytest.mark.usefixtures("many_chunks")
def test_number_of_threads(monkeypatch):
    used, run = set(), batch_module._Job.run

    def note(*arguments):
        used.add(threading.get_ident())
        return run(*arguments)

    def threads(**options):
        used.clear()
        SCALAR(*arguments((3000,)), **options)
        return used

    monkeypatch.setattr(batch_module._Job, "run", note)
    assert 1 <= len(threads(num_threads=3)) <= 3
    assert threads(num_threads=1) == {threading.get_ident()}
    monkeypatch.setenv("NUMTAPE_NUM_THREADS", "1")
    assert threads() == {threading.get_ident()}
    monkeypatch.setenv("NUMTAPE_NUM_THREADS", "")  # as if not set
    assert batch_module.thread_count(None) >= 1
    monkeypatch.setenv("NUMTAPE_NUM_THREADS", "7")
    assert batch_module.thread_count(None) == 7
    assert batch_module.thread_count(2) == 2  # the argument wins
    monkeypatch.setenv("NUMTAPE_NUM_THREADS", "many")
    with pytest.raises(nt.InputError, match=r"NUMTAPE_NUM_THREADS='many'.*number of threads"):
        SCALAR(*arguments((3,)))
    for wrong in (0, -1, True, 1.5, "x"):
        with pytest.raises(nt.InputError, match=f"num_threads={wrong!r}.*1 or more"):
            SCALAR(*arguments((3,)), num_threads=wrong)


def number_running():
    """Threads that run, with those that make machine code, which stay."""
    in_background(lambda: None)
    settle()
    uninterrupted(lambda _: None)
    return _thread._count()


def assert_ended(before):
    """No thread is left running; one that has nothing more to do may not be gone yet."""
    for _ in range(10_000):
        if _thread._count() <= before:
            return
        time.sleep(0.001)
    raise AssertionError(f"left running: {_thread._count() - before}")


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("how", ["from progress", "by a signal"])
def test_an_interruption_leaves_all_in_order(threads, how):
    before, point = number_running(), arguments((20_000,))
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == 3:
            if how == "from progress":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SCALAR(*point, num_threads=threads, progress=interrupt)
    if threads == 1 or how == "from progress":
        assert len(calls) < 20  # of some 80 chunks
    assert_ended(before)
    found = SCALAR(*point, num_threads=threads)
    assert_same_bits(found[:5], SCALAR(*arguments((20_000,)), num_threads=1)[:5])


def _until_struck(delay, work):
    """Interrupt it; again if that was within a destructor, where Python only prints it."""
    signal.setitimer(signal.ITIMER_REAL, delay, 1.0)
    try:
        while True:
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_while_kernels_run():
    """The timer strikes while all threads are in machine code, or between chunks."""
    tape = nt.record(scalar_function, *arguments())
    point = arguments((400_000,))
    expected = tape(*point, num_threads=1)
    before = number_running()

    def strike(number, frame):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, strike)
    try:
        for delay in (0.001, 0.003, 0.005, 0.008):
            with pytest.raises(KeyboardInterrupt):
                _until_struck(delay, lambda: tape(*point, num_threads=3))
            assert_ended(before)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert_same_bits(tape(*point, num_threads=2), expected)


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_wherever_a_function_begins_or_ends():
    """Those of the standard library among them: `threading.Thread` does not bear it."""
    point = arguments((600,))
    expected, before = SCALAR(*point, num_threads=1), number_running()
    for step in itertools.count(1):
        interruption = Interruption(step)
        interruption.during(lambda: SCALAR(*point, num_threads=4))
        assert_ended(before)
        if interruption.steps < step:
            break
    assert step > 100
    assert_same_bits(SCALAR(*point, num_threads=4), expected)


def test_one_tape_from_many_threads_at_once():
    points = [arguments((50,), seed=k) for k in range(8)]
    for tape in (SCALAR, ARRAY):
        expected = [tape.value_and_gradient(*p, num_threads=1) for p in points]
        fresh, found = nt.record(tape_function(tape), *_RECORDED), {}

        def work(k, fresh=fresh, found=found):
            for _ in range(5):
                found[k] = fresh.value_and_gradient(*points[k], num_threads=2)

        workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for k in range(8):
            for a, b in zip(flatten(found[k])[0], flatten(expected[k])[0]):
                assert_same_bits(a, b)


def tape_function(tape):
    return scalar_function if tape is SCALAR else array_function


# branches


def test_a_point_on_another_path_is_named():
    def f(x):
        return np.sum(x * x) if x[0] > 1.0 else np.sum(x)

    tape = nt.record(f, np.full(2, 2.0))
    x = np.full((3, 4, 2), 2.0)
    x[1, 2, 0] = 0.5
    calls = [
        tape,
        tape.gradient,
        tape.value_and_gradient,
        tape.jacobian,
        tape.hessian,
        lambda x: tape.jvp((x,), (np.ones(2),)),
        lambda x: tape.hvp((x,), (x,)),
        lambda x: tape.vjp((x,), 1.0),
    ]
    for call in calls:
        with pytest.raises(
            nt.BranchError, match=r"point 6 of the batch: .*numtape\.vmap"
        ) as caught:
            call(x)
        assert caught.value.point == 6
        assert caught.value.outcome == 0.0
    assert tape.without_guards()(x).shape == (3, 4)
    x[1, 2, 0] = np.nextafter(1.0, 2.0)
    assert tape(x).shape == (3, 4)


def test_a_path_in_a_batch_is_that_of_a_single_point():
    """Also where vector maths would round a guarded value to the other side."""
    rng = np.random.default_rng(0)
    edges = rng.uniform(0.2, 2.0, 200)
    x = np.concatenate([np.nextafter(edges, 0), edges, np.nextafter(edges, 3)])
    for function in (np.sin, np.exp, np.tanh, np.log1p, lambda t: t**2.0, lambda t: t**1.7):
        for edge in edges[:30].tolist():
            limit = float(function(np.float64(edge)))

            def f(t, function=function, limit=limit):
                return t * (2.0 if function(t) > limit else 3.0)

            tape = nt.record(f, 1.9)
            alone = np.array([_raises(tape, t) for t in x.tolist()])
            with pytest.raises(nt.BranchError) as caught:
                tape(x)
            assert caught.value.point == np.flatnonzero(alone)[0]
            assert_same_bits(tape(x[~alone]), [f(t) for t in x[~alone]])


def _raises(tape, x):
    try:
        tape(x)
    except nt.BranchError:
        return True
    return False


# nothing, and what is wrong


@pytest.mark.parametrize("leading", [(0,), (2, 0), (0, 3)])
def test_no_points(leading):
    for tape in (SCALAR, ARRAY):
        point = arguments(leading)
        assert tape(*point).shape == leading
        assert tape.gradient(*point, argnums=1).shape == (*leading, N)
        assert tape.hessian(*point, argnums=1).shape == (*leading, N, N)
        assert tape.jvp(point, point)[1].shape == leading
        tape(*point, progress=(told := Told()))
        assert told == []


def test_leaves_without_elements():
    tape = nt.record(lambda x, y: (x * 2.0, y * 2.0), np.ones(2), np.ones((0, 3)))
    found = tape(np.ones((4, 2)), np.ones((4, 0, 3)))
    assert found[0].shape == (4, 2)
    assert found[1].shape == (4, 0, 3)


POINT = nt.record(lambda x, a: np.sum(x) * a, np.ones(3), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: POINT(np.ones((5, 4)), 1.0), r"shape \(5, 4\), and one point has \(3,\).*Pass"),
        (lambda: POINT(np.ones(4), 1.0), r"shape \(4,\), and one point has \(3,\)"),
        (lambda: POINT(1.0, 1.0), r"shape \(\), and one point has \(3,\)"),
        (
            lambda: POINT(np.ones((5, 3)), np.ones(4)),
            r"leading axes \[\(5,\), \(4,\)\].*do not fit.*Pass as many points",
        ),
        (lambda: POINT(np.ones((5, 3))), r"structure \[\*\].*\[\*, \*\] is needed"),
        (lambda: POINT(np.ones((5, 3), bool), 1.0), "array of bool.*an array of floats is needed"),
        (lambda: SCALAR(*arguments((4,))[:2], 2, 1.0), "static values.*is needed"),
        (lambda: POINT.linearize((np.ones((5, 3)), 1.0)), "leading axes.*one point.*Use jvp"),
        (lambda: POINT.jvp((np.ones((5, 3)), 1.0), (np.ones(2), 1.0)), r"tangents.*\(2,\)"),
        (lambda: POINT.hvp((np.ones((5, 3)), 1.0), (np.ones(2), 1.0)), r"vectors.*\(2,\)"),
        (lambda: POINT.vjp((np.ones((5, 3)), 1.0), np.ones(4)), "do not fit"),
        (lambda: POINT.vjp((np.ones((5, 3)), 1.0), (1.0,)), "cotangents.*tree like"),
        (lambda: POINT.vjp((np.ones((5, 3)), 1.0), 1j), "cotangents hold 1j.*real"),
        (lambda: POINT.vjp((np.ones((5, 3)), 1.0), "w"), "cotangents hold 'w'.*real"),
        (lambda: POINT(np.ones((5, 3)) * 1j, 1.0), "complex"),
        (lambda: POINT.gradient(np.ones((5, 3)), 1.0, argnums=2), "argnums=2"),
        (lambda: POINT.jacobian(np.ones((5, 3)), 1.0, mode="up"), "mode='up'.*must be 'forward'"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(nt.InputError, match=message):
        call()


def test_a_gradient_of_no_scalar_function():
    for call in (TREE.gradient, TREE.value_and_gradient, TREE.hessian):
        with pytest.raises(nt.OutputError, match=r"gradient is of a function that returns one"):
            call(*arguments((3,)))
