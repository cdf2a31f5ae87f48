"""BLAS keeps to one thread while batches of matrix code run, and gets its own back."""

import threading

import numpy as np
import pytest
import threadpoolctl

import numtape as nt
from numtape.run import blas

MATRICES = np.eye(12) + 0.01 * np.arange(40.0)[:, None, None] * np.ones((12, 12))


CONTROLLER = threadpoolctl.ThreadpoolController()  # of what NumPy has loaded


def _threads() -> list[int]:
    infos = CONTROLLER.select(user_api="blas").info()
    return [info["num_threads"] for info in infos]


@pytest.fixture(autouse=True)
def _same_libraries(monkeypatch):
    """Those that are loaded now, though other tests may load more."""
    monkeypatch.setattr(blas, "_controller", lambda: CONTROLLER)


def _products(a):
    return np.sum((a @ a) @ a)


def test_one_thread_while_a_batch_runs():
    before, during = _threads(), []
    tape = nt.record(_products, MATRICES[0])
    tape(MATRICES, progress=lambda done, total: during.append(_threads()))
    assert during
    assert all(count == 1 for counts in during for count in counts)
    assert _threads() == before


def test_what_needs_no_blas_leaves_it_alone():
    before, during = _threads(), []
    tape = nt.record(lambda x: np.sum(np.sin(x)), np.ones(12))
    tape(np.ones((40, 12)), progress=lambda done, total: during.append(_threads()))
    assert all(counts == before for counts in during)


def test_batches_within_and_beside_each_other():
    """The first one in decides."""
    before = _threads()
    inside, done = threading.Event(), threading.Event()

    def hold():
        with blas.one_blas_thread():
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    with blas.one_blas_thread():
        thread.start()
        inside.wait(60)
        with blas.one_blas_thread():
            assert set(_threads()) == {1}
        assert set(_threads()) == {1}
    assert _threads() == before
    done.set()
    thread.join()
    assert _threads() == before


def test_an_error_inside_gives_the_threads_back():
    before = _threads()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nt.record(_products, MATRICES[0])(MATRICES, progress=stop)
    assert _threads() == before


def test_without_threadpoolctl_nothing_happens(monkeypatch):
    monkeypatch.setattr(blas, "_controller", lambda: None)
    before, during = _threads(), []
    with blas.one_blas_thread():
        during = _threads()
    assert during == before
