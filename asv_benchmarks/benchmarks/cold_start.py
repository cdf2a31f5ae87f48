"""What a new process waits for: the import, and the first gradient.

Each number comes from a process of its own. A warm cache has the compiled
kernels on disk from an earlier process; a cold one is an empty directory, as
after an installation.
"""

import subprocess
import sys
from pathlib import Path

import numtape

__all__ = ["first_gradient_seconds", "import_seconds"]

# The process must find the numtape that is measured here, installed or not.
_FINDING = f"""
import sys
sys.path.append({str(Path(numtape.__file__).parents[1])!r})
"""

_EMPTY_CACHE = """
import os, tempfile
directory = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = directory.name
"""

_FUNCTIONS = """
import numpy as np
import numtape

def scalar_code(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + np.exp(-x[i]) * (x[i + 1] - x[i] ** 2) ** 2
    return total

def array_code(x):
    return np.sum(np.exp(-x[:-1]) * (x[1:] - x[:-1] ** 2) ** 2)
"""

_GRADIENT = "numtape.grad({code}_code)(np.linspace(0.5, 1.5, 10))"


def import_seconds() -> float:
    """Importing numtape, after Numba has been imported; best of three processes."""
    return min(_seconds("import numtape", f"{_FINDING}\nimport numba") for _ in range(3))


def first_gradient_seconds(code: str, cache: str) -> float:
    """The first gradient of a new process, best of three where the cache is warm.

    Parameters
    ----------
    code : {"scalar", "array"}
    cache : {"warm", "cold"}
    """
    statement, before = _GRADIENT.format(code=code), f"{_FINDING}\n{_FUNCTIONS}"
    if cache == "cold":
        return _seconds(statement, f"{_EMPTY_CACHE}\n{before}")
    return min(_seconds(statement, before) for _ in range(4))


def _seconds(statement: str, before: str) -> float:
    """Seconds of a statement in a process of its own."""
    script = f"{before}\nimport time\nstart = time.perf_counter()\n{statement}\n"
    script += "print(time.perf_counter() - start)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


class Import:
    """The import of numtape beyond that of Numba."""

    number = 1
    rounds = 1
    repeat = (3, 10, 20.0)

    def timeraw_import(self) -> tuple[str, str]:
        return "import numtape", f"{_FINDING}\nimport numba"


class FirstGradient:
    """The first gradient of a new process, not counting its imports."""

    params = (("scalar", "array"), ("warm", "cold"))
    param_names = ("code", "cache")
    number = 1
    rounds = 1
    repeat = (2, 5, 20.0)

    def setup(self, code: str, cache: str) -> None:
        if cache == "warm":  # as left by an earlier process
            statement, before = self.timeraw_first_gradient(code, cache)
            subprocess.run([sys.executable, "-c", f"{before}\n{statement}"], check=True)

    def timeraw_first_gradient(self, code: str, cache: str) -> tuple[str, str]:
        empty = _EMPTY_CACHE if cache == "cold" else ""
        return _GRADIENT.format(code=code), f"{empty}\n{_FINDING}\n{_FUNCTIONS}"
