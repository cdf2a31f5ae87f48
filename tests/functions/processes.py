"""What `test_processes.py` runs in an interpreter of its own: ``python processes.py fork``.

Prints a line for each thing that came out right. A child that does not end is ended by
an alarm, so a lock that stays shut fails and does not hang.
"""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from types import FunctionType

import numpy as np
import scipy.special
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

import numtape as nt
from numtape.functions.kept import KEPT_LOCK
from numtape.run import blas, vector_maths
from numtape.trace.record import active_recorder
from numtape.trace.substitutes import BINDINGS

SECONDS = 60
X = np.linspace(0.2, 1.0, 12)


def bent(x):
    return np.sum(np.sin(x) * x) if x[0] > 0.0 else np.sum(x * x)


def slope(x):
    return np.cos(x) * x + np.sin(x) if x[0] > 0.0 else 2 * x


def everything():
    """Records, differentiates, runs many points: whether it comes out right."""
    gradient, points = nt.grad(bent), X * np.arange(1.0, 50.0)[:, None]
    tape = nt.record(bent, X)
    right = [
        np.allclose(gradient(X), slope(X), rtol=1e-13),
        np.allclose(gradient(-X), slope(-X), rtol=1e-13),
        np.allclose(nt.hvp(bent, (-X,), (X,))[0], 2 * X, rtol=1e-13),
        np.allclose(tape.gradient(points), [slope(x) for x in points], rtol=1e-12),
        np.allclose(nt.grad(scipy.special.logsumexp)(X), scipy.special.softmax(X), rtol=1e-13),
        np.allclose(tape(points, num_threads=4), [bent(x) for x in points], rtol=1e-12),
    ]
    return all(right)


def in_child(check):
    """Fork; whether the child says that the check holds."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0


def held(lock, check):
    """`in_child`, while another thread holds a lock."""
    taken, over = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            over.wait(SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(SECONDS)
    result = in_child(check)
    over.set()
    thread.join()
    return result


def report(name, right):
    print("right" if right else "WRONG", name, flush=True)


def forks():
    assert everything()
    report("fork", in_child(everything))

    tape, gradient = nt.record(bent, X), nt.grad(bent)
    tape.gradient(X)
    gradient(X)
    report("fork, tape's lock", held(tape.runner.lock, lambda: tape.hessian(X) is not None))
    report(
        "fork, recordings' lock",
        held(gradient.recordings.lock, lambda: np.allclose(gradient(-X), -2 * X)),
    )
    report("fork, substitutes' lock", held(BINDINGS.lock, everything))
    report("fork, kept functions' lock", held(KEPT_LOCK, everything))
    report("fork, BLAS's lock", held(blas._BUSY, everything))

    # A fork waits for those who write machine code; they go on when it is under way.
    over = threading.Event()
    os.register_at_fork(before=over.set)  # the last one registered is called first
    for name, lock in (
        ("vector loops'", vector_maths._LOCK),
        ("the compiler's", global_compiler_lock),
        ("LLVM's", ffi.lib._lock._lock),
    ):
        over.clear()
        taken = threading.Event()

        def hold(lock=lock, taken=taken):
            with lock:
                taken.set()
                over.wait(SECONDS)

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait(SECONDS)
        report(f"fork, {name} lock", in_child(everything))
        thread.join()

    # While another thread records.
    original = scipy.special.logsumexp
    inside, over = threading.Event(), threading.Event()

    def waits(x):
        inside.set()
        over.wait(SECONDS)
        return np.sum(x * x)

    # (The names of SciPy are bound to substitutes for code that has no source.)
    code = waits.__code__.replace(co_filename="<without source>")
    waits = FunctionType(code, globals(), "waits", None, waits.__closure__)
    thread = threading.Thread(target=lambda: nt.record(waits, X))
    thread.start()
    inside.wait(SECONDS)
    assert scipy.special.logsumexp is not original

    def untouched():
        return (
            active_recorder() is None
            and scipy.special.logsumexp is original
            and everything()
            and scipy.special.logsumexp is original
        )

    report("fork, while a thread records", in_child(untouched))
    over.set()
    thread.join()

    # By a function that is being recorded: the child's recording goes on there.
    def forking(x):
        forked.append(os.fork())
        if forked[0] == 0:
            signal.alarm(SECONDS)
        return np.sum(np.sin(x)) + scipy.special.logsumexp(x)

    forked = []
    found = nt.grad(forking)(X)
    right = np.allclose(found, np.cos(X) + scipy.special.softmax(X), rtol=1e-13)
    if forked[0] == 0:
        os._exit(0 if right and everything() and scipy.special.logsumexp is original else 1)
    report("fork, while recording", right and os.waitpid(forked[0], 0)[1] == 0)
    pools("fork")


def pools(method):
    context = multiprocessing.get_context(method)
    tape = nt.record(bent, X)
    points = [X * k for k in (1.0, 2.0, 3.0)]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(tape.gradient, points))
        report(f"{method}, a tape's method", np.allclose(found, [slope(x) for x in points]))
        found = list(pool.map(nt.grad(bent), [*points, -X]))
        report(f"{method}, grad", np.allclose(found, [slope(x) for x in [*points, -X]]))
        found = pool.submit(nt.hessian(bent), -X).result(SECONDS)
        report(f"{method}, hessian", np.allclose(found, 2 * np.eye(12)))
        found = pool.submit(nt.vmap(nt.grad(bent)), np.array([X, -X])).result(SECONDS)
        report(f"{method}, vmap", np.allclose(found, [slope(X), slope(-X)]))
        error = pool.submit(tape.gradient, -X).exception(SECONDS)
        right = isinstance(error, nt.BranchError) and error.guard == 0 and error.outcome == 0.0
        report(f"{method}, an error", right and error.code == "branch-changed")


if __name__ == "__main__":
    pools("spawn") if sys.argv[1] == "spawn" else forks()
    print("end")
