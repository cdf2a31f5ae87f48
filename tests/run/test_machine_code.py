"""Machine code on disk and in memory: kept, shared, bounded, freed."""

import gc
import multiprocessing
import resource
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from checks import assert_same_bits
from llvmlite import binding

import numtape as nt
from numtape.jit.compiling import QUICK
from numtape.run import machine_code
from numtape.run.workspace import Plan

X = np.array([0.3, 0.7])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder for each test; it does not exist yet."""
    folder = tmp_path / "cache" / "of" / "code"
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", str(folder))
    return folder


def function(x):
    return np.exp(x[0]) * x[1] - x[0] / x[1]


def tape_with(constant: float):
    return nt.record(lambda x: function(x) + constant * x[0], X)


@pytest.fixture
def made(monkeypatch):
    """Counts the modules that LLVM is given."""
    parse, texts = binding.parse_assembly, []

    def counting(text, *more):
        if text:
            texts.append(text)
        return parse(text, *more)

    monkeypatch.setattr(binding, "parse_assembly", counting)
    return texts


def test_code_is_kept_for_the_next_process(folder, made):
    first = tape_with(1.0).compile()
    expected = first(X), first.gradient(X)
    count = len(made)
    assert count > 0
    assert list(folder.iterdir())
    second = tape_with(1.0).compile()
    assert second(X) == expected[0]
    assert_same_bits(second.gradient(X), expected[1])
    assert len(made) == count


def test_code_is_named_by_all_that_decides_it(folder, made):
    tape_with(1.0).compile()
    files, count = set(folder.iterdir()), len(made)
    tape_with(2.0).compile()
    assert len(made) > count
    tape_with(1.0).compile(quick=True)
    assert len(set(folder.iterdir())) == 3 > len(files)


@pytest.mark.parametrize("damage", ["", "cut", "turned", "another"])
def test_files_that_are_not_whole_are_made_again(folder, made, damage):
    tape_with(1.0).compile()
    count = len(made)
    (file,) = folder.iterdir()
    data = file.read_bytes()
    turned = data[:200] + bytes([data[200] ^ 1]) + data[201:]
    file.write_bytes({"": b"", "cut": data[:-1], "turned": turned, "another": b"x" * 500}[damage])
    assert tape_with(1.0).compile()(X) == tape_with(1.0)(X)
    assert len(made) == 2 * count
    assert file.read_bytes() == data


def test_a_folder_that_cannot_be_written_is_done_without(folder, made):
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where a folder should be")
    assert tape_with(1.0).compile()(X) == tape_with(1.0)(X)


def test_an_empty_name_is_for_no_folder(monkeypatch, made):
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")
    assert machine_code.cache_folder() is None
    assert tape_with(1.0).compile()(X) == tape_with(1.0)(X)
    assert machine_code.clear_cache() == 0


def test_the_usual_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMTAPE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine_code.cache_folder() == tmp_path / "numtape"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert machine_code.cache_folder() == tmp_path / ".cache" / "numtape"


def test_the_oldest_go_when_there_is_too_much(folder, monkeypatch):
    import os

    for k in range(4):
        tape_with(float(k + 1)).compile()
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    for age, file in enumerate(reversed(files)):
        os.utime(file, (1e9 - age, 1e9 - age))
    size = files[0].stat().st_size
    monkeypatch.setattr(machine_code, "LIMIT", 4 * size)
    tape_with(1.0).compile()  # used now, and so the youngest
    tape_with(9.0).compile()
    left = set(folder.iterdir())
    assert files[0] in left
    assert files[1] not in left
    assert sum(file.stat().st_size for file in left) <= 4 * size


def test_clearing(folder):
    tape = tape_with(1.0).compile()
    (folder / "of the user.txt").write_text("stays")
    assert machine_code.clear_cache() == 1
    assert [file.name for file in folder.iterdir()] == ["of the user.txt"]
    assert tape(X) == tape_with(1.0)(X)


def _compile_all(start) -> None:
    start.wait()
    for k in range(6):
        tape = tape_with(float(k))
        expected = tape(X)
        if tape.compile(quick=True)(X) != expected:
            sys.exit(1)


def test_processes_share_the_folder(folder):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=_compile_all, args=(start,)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(list(folder.iterdir())) == 6


def test_code_is_freed_with_its_tape():
    tape = tape_with(1.0).compile()
    tape.gradient(X)
    codes = [weakref.ref(each.plan().machine_code) for each in tape.runner.family()]
    assert len(codes) == 2
    assert all(code() is not None for code in codes)
    del tape
    gc.collect()
    assert all(code() is None for code in codes)


def test_many_tapes_leave_no_memory_behind(monkeypatch):
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")
    flat = tape_with(1.0).flat

    def compile_and_drop(times: int) -> int:
        for _ in range(times):
            Plan(flat).compile(QUICK)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = compile_and_drop(40)
    assert compile_and_drop(120) - before < 120 * 30  # kilobytes; a tape that is kept takes 56


def test_threads_compile_at_once():
    tapes = [tape_with(float(k)) for k in range(8)]
    expected = [tape(X) for tape in tapes]
    found: dict[int, float] = {}
    start = threading.Barrier(8)

    def work(k: int) -> None:
        start.wait()
        found[k] = tapes[k].compile(quick=True)(X)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(8)] == expected
