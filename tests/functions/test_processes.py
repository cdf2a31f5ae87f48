"""Forked and spawned processes: no lock stays shut, tapes, functions and errors travel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("processes.py")


@pytest.mark.parametrize("method", ["fork", "spawn"] if hasattr(os, "fork") else ["spawn"])
def test_processes(method):
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), method], capture_output=True, text=True, timeout=300
    )
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert lines[-1] == "end", ran.stderr
    assert len(lines) == (17 if method == "fork" else 6)
    assert [line for line in lines[:-1] if not line.startswith("right ")] == []
