"""Random Python programs with branches: nested, with early returns, breaks, state of Python's.

    python tests/helpers/branching_programs.py 0 1000

compares so many with plain Python, by the number of each (with PYTHONPATH=tests/helpers);
`functions/test_selections.py` compares some.
"""

import collections
import linecache
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import numtape as nt

__all__ = ["Program", "compare"]


class Program:
    """A random function of an array of three numbers.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    source : str
    function : callable
    points : (16, 3) float64 array
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._loops = 0
        self.source = "\n".join(self._lines())
        name = f"<branching program {seed}>"
        lines = [line + "\n" for line in self.source.split("\n")]
        linecache.cache[name] = len(self.source), None, lines, name
        scope: dict[str, Any] = {"np": np, "data": self._rng.normal(size=5).round(2)}
        exec(compile(self.source, name, "exec"), scope)
        self.function: Callable[[Any], Any] = scope["f"]
        self.points = self._rng.normal(size=(16, 3))

    def _one_of(self, *options: Any) -> Any:
        return options[self._rng.integers(len(options))]

    def _chance(self, chance: float) -> bool:
        return bool(self._rng.random() < chance)

    # expressions

    def _float(self, depth: int = 2) -> str:
        if depth == 0 or self._chance(0.2):
            return str(
                self._one_of("u", "v", "w", "x[0]", "x[1]", "x[2]", "a[0]", "a[2]", "held[0]")
                if self._chance(0.8)
                else self._one_of("0.5", "-1.25", "n", "held[m % 2]", "x[m % 3]", "thing.y")
            )
        one, two = self._float(depth - 1), self._float(depth - 1)
        return str(
            self._one_of(
                f"({one} + {two})",
                f"({one} - {two})",
                f"(0.5 * {one} * np.cos({two}))",
                f"np.tanh({one})",
                f"({one} if {self._test(depth - 1)} else {two})",
                f"{self._one_of('max', 'min')}({one}, {two})",
                f"abs({one})",
                f"bent({one})",
                f"({one} / (1.0 + {two} ** 2))",
                f"np.where({one} > 0.1, {one}, {two})",
            )
        )

    def _integer(self) -> str:
        return str(
            self._one_of("n", "m", "1", "3", "(n + 1)", "(m * 2) % 5", "n // 2", "(m - n)")
            if self._chance(0.8)
            else f"({self._one_of('n', '2')} if {self._test(1)} else m)"
        )

    def _test(self, depth: int = 2) -> str:
        inner = min(depth, 1)
        simple = self._one_of(
            f"{self._float(inner)} < {self._float(0)}",
            f"{self._float(0)} >= {self._float(inner)}",
            "p",
            "q",
            f"n {self._one_of('<', '==', '!=')} {self._one_of('m', '2')}",
            f"-0.4 < {self._float(inner)} <= {self._float(0)}",
            "any(e > 0.8 for e in x)",
        )
        if depth == 0 or self._chance(0.5):
            return str(simple)
        one, two = self._test(depth - 1), self._test(depth - 1)
        return str(self._one_of(f"({one} and {two})", f"({one} or {two})", f"not ({one})"))

    # statements

    def _statement(self, depth: int, in_loop: bool) -> list[str]:
        if depth and self._chance(0.45):
            return self._nested(depth, in_loop)
        simple = self._one_of(
            lambda: f"{self._one_of('u', 'v', 'w')} = {self._float()}",
            lambda: f"{self._one_of('u', 'v')} {self._one_of('+=', '-=')} {self._float(1)}",
            lambda: f"u, v = v, {self._float(1)}",
            lambda: f"{self._one_of('n', 'm')} = ({self._integer()}) % 7",
            lambda: f"n += {self._integer()}",
            lambda: f"{self._one_of('p', 'q')} = {self._one_of('True', 'False', self._test(1))}",
            lambda: (
                f"a[{self._one_of('0', '1', 'm % 3')}] {self._one_of('=', '+=')} {self._float()}"
            ),
            lambda: (
                f"held[{self._one_of('0', 'n % 2')}] {self._one_of('=', '-=')} {self._float(1)}"
            ),
            lambda: f"a = a * 0.5 + {self._one_of('x', self._float(1))}",
            lambda: f"a[1:] *= {self._float(0)}",
            lambda: f"zeros[{self._one_of('0', '2')}] = {self._one_of('1.5', self._float(1))}",
            lambda: f"thing.y = {self._float(1)}",
            lambda: f"w = thing.moved({self._float(1)})",
            lambda: f"v = stepped({self._float(1)}, {self._integer()})",
            lambda: f"pair = ({self._float(1)}, {self._integer()})",
            lambda: "w = w + 0.1 * pair[0]",
            lambda: f"parts = [{self._float(1)}, {self._float(0)}]; w = w + parts[1]",
            lambda: "b = a; b[0] = b[0] * 0.5" if self._chance(0.3) else "n = n + 1",
        )
        return [simple()]

    def _nested(self, depth: int, in_loop: bool) -> list[str]:
        kind = self._one_of("if", "if", "if", "if", "for", "while", "jump", "return", "try")
        if kind == "if":
            lines = [f"if {self._test()}:", *self._block(depth - 1, in_loop)]
            if self._chance(0.3):
                lines += [f"elif {self._test()}:", *self._block(depth - 1, in_loop)]
            if self._chance(0.5):
                lines += ["else:", *self._block(depth - 1, in_loop)]
            return lines
        if kind == "for":
            self._loops += 1
            name = f"k{self._loops}"
            source = self._one_of("range(3)", "range(n % 4)", "x", "data", "enumerate(x)")
            lines = [f"for {name} in {source}:", *self._block(depth - 1, True)]
            if self._chance(0.2) and "enumerate" not in source:
                lines += [f"    u = u + 0.1 * {name}"]
            if self._chance(0.15):
                lines += ["else:", "    w = w - 0.3"]
            return lines
        if kind == "while":
            self._loops += 1
            name = f"i{self._loops}"
            head = f"while {name} < {self._one_of(2, 4)} and {self._test(1)}:"
            return [f"{name} = 0", head, f"    {name} += 1", *self._block(depth - 1, True)]
        if kind == "jump" and in_loop:
            return [f"if {self._test(1)}:", f"    {self._one_of('break', 'continue')}"]
        if kind == "try" and self._chance(0.3):
            return ["try:", *self._block(depth - 1, in_loop), "except KeyError:", "    u = 0.5"]
        return [f"if {self._test(1)}:", f"    return {self._float()} + u"]

    def _block(self, depth: int, in_loop: bool) -> list[str]:
        lines = [
            line
            for _ in range(self._rng.integers(1, 4))
            for line in self._statement(depth, in_loop)
        ]
        return ["    " + line for line in lines]

    def _lines(self) -> list[str]:
        body = [line for _ in range(self._rng.integers(4, 9)) for line in self._statement(3, False)]
        return [
            "class Thing:",
            "    def __init__(self, y):",
            "        self.y = y",
            "    def moved(self, t):",
            f"        if t {self._one_of('>', '<')} self.y:",
            "            self.y = self.y * 0.5 + t",
            "            return self.y",
            "        self.y += 0.25",
            "        return t - self.y",
            "def bent(t):",
            f"    if t {self._one_of('<', '>')} {self._one_of('0.2', '-0.3')}:",
            f"        return t * {self._one_of('0.5', '1.5')}",
            f"    return {self._one_of('0.1', 't - 0.2', 'abs(t)')}",
            "def stepped(t, count):",
            "    s = t",
            "    while count > 0 and s < 2.0:",
            "        s = s + 0.5 * t + 0.3",
            "        count -= 1",
            "    return s",
            "def f(x):",
            "    u, v, w = x[0], x[1] * x[2], 0.0",
            "    n, m, p, q = 1, 2, True, False",
            "    a, zeros, held = x * 1.5, np.zeros(3), [x[0], 1.0]",
            "    thing, pair = Thing(x[1]), (0.5, 1)",
            *("    " + line for line in body),
            "    result = u + 2.0 * v - w + 0.1 * n + (0.7 if p else x[2]) + m * thing.y",
            "    if q:",
            "        result = result * 0.5",
            "    return result + np.sum(a * a) + held[0] - held[1] * 0.5 + zeros[0] - zeros[2]",
        ]


def compare(program: Program) -> nt.Tape:
    """Compare a program's selections with plain Python, and its derivatives with its paths'.

    Returns the recording at the first point; raises AssertionError where it differs.
    """
    function, points = program.function, program.points
    expected = np.array([float(function(x)) for x in points])
    by_paths = nt.value_and_grad(nt.branches("paths")(_copy(function)))
    slopes = np.array([by_paths(x)[1] for x in points])
    selecting = nt.branches("select")(_copy(function))
    single = nt.value_and_grad(selecting)
    for _ in range(2):
        found = [single(x) for x in points]
        _assert_same_bits(np.array([value for value, _ in found]), expected)
        _assert_close(np.array([slope for _, slope in found]), slopes, 1e-9)
    values, gradients = nt.vmap(single)(points)
    _assert_close(values, expected, 1e-9)
    _assert_close(gradients, slopes, 1e-6)
    tape = nt.record(selecting, points[0])
    assert tape.choices is not None, "the plain call gives another value"
    return tape


def _copy(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    copy = type(function)(function.__code__, function.__globals__, function.__name__)
    return copy


def _assert_same_bits(found: Any, expected: Any) -> None:
    same = (found.view(np.int64) == expected.view(np.int64)) | (
        np.isnan(found) & np.isnan(expected)
    )
    assert same.all(), f"values: {found[~same]}, where the call gives {expected[~same]}"


def _assert_close(found: Any, expected: Any, rtol: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def main(first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    guards = free = 0
    reasons: collections.Counter[str] = collections.Counter()
    for seed in range(first, last):
        program = Program(seed)
        try:
            tape = compare(program)
        except Exception as error:
            print(f"program {seed}: {type(error).__name__} {error}\n{program.source}\n", flush=True)
            continue
        guards += len(tape.flat.guards)
        free += not tape.flat.guards
        reasons.update(why for _, why in tape.choices.told())
    print(f"programs {first} to {last - 1}: {free} without a guard, {guards} guards in all")
    for why, count in reasons.most_common(20):
        print(f"{count:6} {why}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
