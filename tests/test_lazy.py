"""Kernels that Python runs until there is enough to do."""

import subprocess
import sys

import numpy as np

from numtape.jit.compile import Lazy, is_cached, kernel


def _sum_of(numbers):
    total = 0
    for number in numbers:
        total += number
    return total


def test_python_runs_it_until_there_is_enough_to_do(monkeypatch):
    lazy = Lazy(_sum_of)
    compiled = []
    monkeypatch.setattr(
        lazy, "kernel", lambda *arguments: compiled.append(1) or _sum_of(*arguments)
    )
    lazy.left = 100
    numbers = np.arange(5)
    for expected in ([], [], [1], [1, 1]):
        assert lazy(50, numbers) == 10
        assert compiled == expected


def test_both_give_the_same():
    lazy = Lazy(_sum_of)
    lazy.left = -1
    assert lazy(1, np.arange(5)) == _sum_of(np.arange(5))


def test_what_is_not_compiled_yet_is_not_on_disk():
    assert not is_cached(kernel(lambda x: x))
    assert not is_cached(object())


def test_importing_numtape_imports_what_it_needs():
    """SciPy's sparse arrays and solvers take half as long again to import."""
    code = (
        "import sys, scipy.special; before = set(sys.modules)\n"
        "import numtape; print({'scipy.sparse', 'scipy.optimize'} & set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
