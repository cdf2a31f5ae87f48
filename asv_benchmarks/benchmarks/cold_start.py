"""What a new process waits for: the import, and the first gradient.

Each number comes from a process of its own. A warm cache has the compiled
kernels on disk from an earlier process; a cold one is an empty directory, as
after an installation.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numtape

__all__ = ["first_gradient_seconds", "import_seconds"]

_IMPORT = """
import time
import numba
start = time.perf_counter()
import numtape
print(time.perf_counter() - start)
"""

# From after the import until the gradient is there.
_FIRST_GRADIENT = """
import time
import numpy as np
import numtape

def scalar_code(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + np.exp(-x[i]) * (x[i + 1] - x[i] ** 2) ** 2
    return total

def array_code(x):
    return np.sum(np.exp(-x[:-1]) * (x[1:] - x[:-1] ** 2) ** 2)

start = time.perf_counter()
numtape.grad({kind}_code)(np.linspace(0.5, 1.5, 10))
print(time.perf_counter() - start)
"""


def import_seconds() -> float:
    """Importing numtape, after Numba has been imported; best of three processes."""
    return min(_run(_IMPORT, None) for _ in range(3))


def first_gradient_seconds(kind: str, cache: str) -> float:
    """The first gradient of a new process, best of three where the cache is warm.

    Parameters
    ----------
    kind : {"scalar", "array"}
    cache : {"warm", "cold"}
    """
    script = _FIRST_GRADIENT.format(kind=kind)
    with tempfile.TemporaryDirectory() as directory:
        seconds = _run(script, directory)
        if cache == "warm":
            seconds = min(_run(script, directory) for _ in range(3))
    return seconds


def _run(script: str, cache_directory: str | None) -> float:
    # The process must find the numtape that is measured here, installed or not.
    environment = os.environ | {"PYTHONPATH": str(Path(numtape.__file__).parents[1])}
    if cache_directory is not None:
        environment["NUMBA_CACHE_DIR"] = cache_directory
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


class Import:
    """The import of numtape beyond that of Numba."""

    def track_seconds(self) -> float:
        return import_seconds()

    track_seconds.unit = "s"


class FirstGradient:
    """The first gradient of a new process, not counting its imports."""

    params = (("scalar", "array"), ("warm", "cold"))
    param_names = ("code", "cache")

    def track_seconds(self, code: str, cache: str) -> float:
        return first_gradient_seconds(code, cache)

    track_seconds.unit = "s"
