"""Random Python programs with loops: over scalars, arrays, data, buffers, with branches.

    python tests/helpers/looping_programs.py 0 1000

compares so many with plain Python, by the number of each (with PYTHONPATH=tests/helpers);
`functions/test_rolled_programs.py` compares some.
"""

import linecache
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtape as nt
from numtape.transform import rolling

__all__ = ["Program", "compare", "look_at_short_tapes"]


class Program:
    """A random function of three numbers.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    source : str
    function : callable
    points : list of float64 array
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.names = ["a", "b", "c", "s", "t", "u"]
        steps = int(rng.integers(9, 60))
        scope: dict[str, Any] = {
            "np": np,
            "steps": steps,
            "data": rng.normal(size=steps).round(int(rng.integers(0, 6))),
            "rows": rng.normal(size=(steps, 3)),
            "matrix": rng.normal(size=(3, 3)) * 0.3,
            "large": rng.normal(size=12),
        }
        self.source = "\n".join(self._lines(steps))
        name = f"<looping program {seed}>"
        lines = [line + "\n" for line in self.source.split("\n")]
        linecache.cache[name] = len(self.source), None, lines, name
        exec(compile(self.source, name, "exec"), scope)
        self.function: Callable[[Any], Any] = scope["f"]
        self.points = [np.array([0.5, 0.8, -0.3]) + 0.2 * rng.normal(size=3) for _ in range(5)]

    def _expression(self, depth: int = 2) -> str:
        rng = self.rng
        if depth == 0 or rng.random() < 0.2:
            if rng.random() < 0.75:
                return self.names[rng.integers(len(self.names))]
            return repr(round(float(rng.normal()), 2))
        x, y = self._expression(depth - 1), self._expression(depth - 1)
        forms = ("np.sin({x})", "np.tanh({x})", "np.exp(-({x})**2)", "({x} + {y})", "({x} - {y})")
        forms += ("({x} * {y})", "({x} / (1.5 + np.sin({y})))")
        return forms[rng.integers(len(forms))].format(x=x, y=y)

    def _lines(self, steps: int) -> list[str]:
        lines = [
            "def f(p):",
            "    a, b, c = p[0], p[1], p[2]",
            "    s, t, u = a, b * 0.5, 0.3",
            "    v = np.array([a, b, c])",
            "    w = large * a",
            "    out, kept, total = np.zeros(steps), [], 0.0",
            "    for k in range(steps):",
            *("        " + line for line in self._step(steps)),
        ]
        result = "total + s + t * u + v[1] + np.sum(w * w) * 0.1 + np.sum(out * out)"
        if self.rng.random() < 0.5:
            result += " + np.dot(out, np.arange(steps)) * 0.01"
        if self.rng.random() < 0.3:
            result += " + out[-1] * out[steps // 2]"
        return [
            *lines,
            f"    result = {result}",
            "    if kept:",
            "        result = result + sum(kept) + np.max(np.array(kept))",
            "    return result",
        ]

    def _step(self, steps: int) -> list[str]:
        rng, found = self.rng, ["x = data[k]"]
        self.names.append("x")

        def sometimes(
            chance: float, *lines: Callable[[], str], names: tuple[str, ...] = ()
        ) -> None:
            if rng.random() < chance:
                found.extend(line() for line in lines)
                self.names.extend(names)

        one = lambda: self._expression(1)  # noqa: E731
        sometimes(0.4, lambda: f"v = np.tanh(matrix @ v + {one()})", names=("v[0]", "v[2]"))
        sometimes(0.3, lambda: f"w = np.tanh(w * {one()})", names=("w[3]",))
        sometimes(0.3, lambda: "v = v + rows[k]")
        sometimes(
            0.3,
            lambda: f"for _ in range({rng.integers(3, 14)}):",
            lambda: f"    t = np.tanh(t * 0.7 + {one()})",
        )
        for _ in range(rng.integers(1, 4)):
            found.append(f"{'stu'[rng.integers(3)]} = np.tanh({self._expression()})")
        sometimes(0.5, lambda: f"total = total + {self._expression()}")
        sometimes(0.4, lambda: f"out[k] = {self._expression()}")
        sometimes(0.3, lambda: f"kept.append({self._expression()})")
        sometimes(0.25, lambda: f"if s > {rng.normal():.2f}:", lambda: "    u = u * 0.5")
        sometimes(0.2, lambda: "if k % 3 == 0:", lambda: "    s = s * 0.9")
        sometimes(0.2, lambda: "s, t = t, s")
        sometimes(0.15, lambda: f"total = total + s if k < {steps // 2} else total - t")
        return found


def compare(program: Program, thorough: bool = False) -> bool:
    """Compare a program's tape with plain Python and the tape that is not rolled up.

    Returns whether there were loops on it; raises AssertionError where it differs.
    """
    function, points = program.function, program.points
    rolled = nt.record(function, points[0])
    plain = nt.record(function, points[0], roll=False)
    for x in points:
        try:
            expected = plain(x)
        except nt.BranchError as error:
            with pytest.raises(nt.BranchError, match=re.escape(str(error))):
                rolled(x)
            continue
        assert rolled(x) == expected == function(x)
        _assert_close(rolled.gradient(x), plain.gradient(x), 1e-8)
    x = points[0]
    if thorough:
        _assert_close(rolled.hessian(x), plain.hessian(x), 1e-6)
        values, gradients = nt.vmap(nt.value_and_grad(function))(np.array(points))
        for k, point in enumerate(points):
            _assert_close(values[k], function(point), 1e-9)
            _assert_close(gradients[k], nt.grad(function)(point), 1e-6)
        rolled.compile()
        assert rolled(x) == function(x)
        _assert_close(rolled.gradient(x), plain.gradient(x), 1e-8)
    return rolled.flat.has_loops


def _assert_close(found: Any, expected: Any, rtol: float) -> None:
    scale = 1.0 + np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-2 * rtol * scale)


def look_at_short_tapes() -> None:
    """Have short tapes rolled up too."""
    rolling._LEAST, rolling._LEAST_BODY, rolling._LEAST_PART = 40, 24, 0.0


def main(first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    look_at_short_tapes()
    rolled = 0
    for seed in range(first, last):
        program = Program(seed)
        try:
            rolled += compare(program, seed % 4 == 0)
        except AssertionError as error:
            print(f"program {seed}: {error}\n{program.source}\n")
    print(f"programs {first} to {last - 1}, {rolled} of them with loops")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
