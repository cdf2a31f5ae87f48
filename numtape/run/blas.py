"""One thread for BLAS while a batch runs in threads of its own.

A matrix product or a factorisation of one point is too small to share out, and BLAS's
threads and ours would fight for the cores: batches were measured to take up to a hundred
times as long. threadpoolctl knows how to tell each BLAS; where it is not installed,
BLAS is left as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numtape.locks import fresh_lock

__all__ = ["one_blas_thread"]

_BUSY = fresh_lock()


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread.

    Of several batches at a time the first one sets that and takes it back: some BLAS
    want both from one thread. Another that runs on is then slower, and no less right.
    """
    controller = _controller()
    if controller is None or not _BUSY.acquire(blocking=False):
        yield
        return
    try:
        with controller.limit(limits=1, user_api="blas"):
            yield
    finally:
        _BUSY.release()
