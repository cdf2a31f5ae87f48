"""Shared set-up: test modules import this folder and that of `helpers`."""

import signal
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "helpers")]


@pytest.fixture(autouse=True, scope="session")
def machine_code_of_its_own(tmp_path_factory):
    """Machine code is kept in a folder of the tests, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMTAPE_CACHE_DIR", str(tmp_path_factory.mktemp("code")))
        yield


@pytest.fixture(autouse=True, scope="session")
def interruptions_arrive():
    """A shell has what it starts in the background ignore them, and Python keeps to that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def tapes_may_be_compiled(monkeypatch):
    """Benchmarks keep their tapes interpreted, for the whole process, when they are imported."""
    monkeypatch.delenv("NUMTAPE_NATIVE", raising=False)
