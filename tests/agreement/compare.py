"""Every way of running a program, compared with plain NumPy and with each other.

`check` takes a program and points. Of every *case*, which is one program at one point,
it compares the plain value, the tape that the trie of paths finds, a fresh recording
there (which must be the same tape, instruction for instruction), single calls, batches
on one thread and two, `vmap`, `value_and_grad`, forward and reverse derivatives single
and batched. Of every program it compares once, at a point or two of some paths, what
is slow: the naive interpreter, every pass on and off, derivative tapes of simplified and
of other tapes, copies that were written and read back, shared inputs, differences of
the plain function, and second derivatives.

What may differ, and why: values of lanes by vector maths (4 units in the last place),
derivatives by rounding, and where a partial derivative is infinite or nan
(`docs/explanation/kinks.md`) everything but the value.
"""

import copy
import pickle
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from unittest import mock

import naive
import numpy as np
from checks import evaluate

import numtape as nt
from agreement.programs import Program
from numtape.functions.paths import Recordings
from numtape.functions.trees import flatten
from numtape.ops.structured import FUNCTION, PRODUCT
from numtape.run import fusion
from numtape.tape.flat import FlatTape, VectorInstruction
from numtape.transform.derivative import adjoint, jacobian_by_columns, jacobian_by_rows, tangent
from numtape.transform.passes import fold_constants, optimize, remove_dead, share, simplify

__all__ = ["Disagreement", "check", "check_branches", "check_quickly"]

PASSES = [fold_constants, simplify, share, remove_dead, optimize]
_EVERY = (0, 1, 2)


class Disagreement(AssertionError):
    """Two ways of running a program gave different answers."""


@dataclass(frozen=True)
class _Text:
    """A tape, shown as its program."""

    tape: nt.Tape

    def __repr__(self) -> str:
        return f"\n{self.tape}\n"


@dataclass(frozen=True)
class _Outcome:
    """What the plain function did at a point: its value's numbers, or the error it raised."""

    leaves: tuple = ()
    error: Exception | None = None

    @cached_property
    def value(self) -> np.ndarray:
        """All numbers, end to end."""
        return numbers(self.leaves)


def check(program: Program, points: list[tuple], generic: bool = True, way: int = 0) -> int:
    """Compare all ways; the number of cases compared. Raises `Disagreement`.

    At points that are not generic (with ties, infinities ...) a derivative is a chosen one,
    so it is not compared with differences, and second derivatives need not be symmetric.
    Of the passes one is tried, which `way` chooses; all of them where it is negative.
    """
    return _counted(_Check(program, points, generic, way), _Check.run)


def check_quickly(program: Program, points: list[tuple]) -> int:
    """The path, the value, and that forward and reverse derivatives belong together."""
    return _counted(_Check(program, points, False, 0), _Check.run_quickly)


def check_branches(program: Program, points: list[tuple]) -> int:
    """At each point in turn, functions that keep recordings give what a fresh one gives."""
    return _counted(_Check(program, points, False, 0), _Check.run_branches)


def _counted(checked: "_Check", run: Callable[["_Check"], None]) -> int:
    """How many cases were compared: none where numtape says that it cannot record the program."""
    with _quietly():
        checked.prepare()
        try:
            run(checked)
        except nt.UnsupportedError:
            return 0
        except nt.TraceError as error:
            # Constructors make plain arrays, which cannot hold traced values; numtape says so.
            if "to NumPy that part is a view" in str(error) or error.code == "plain-array":
                return 0
            raise
    return len(checked.points)


@contextmanager
def _quietly():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def numbers(tree) -> np.ndarray:
    """All leaves of a result, end to end."""
    return np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in flatten(tree)[0])])


class _Check:
    def __init__(self, program: Program, points: list[tuple], generic: bool, way: int) -> None:
        self.program = program
        self.points = points
        self.exact = program.exact
        self.generic = generic
        self.passes = PASSES if way < 0 else [PASSES[way % len(PASSES)]]
        self.recordings = Recordings(program.function)

    def prepare(self) -> None:
        """Call the plain function at all points."""
        self.outcomes = [self._plain(point) for point in self.points]
        # Elements of arrays are NumPy's floats, which raise nothing where Python's do.
        self.of_arrays = [self._plain((x, y, np.float64(t))) for x, y, t in self.points]

    def run_quickly(self) -> None:
        for number, outcome in enumerate(self.outcomes):
            tape = self._tape_at(number, outcome, every=1)
            if tape is not None:
                self._transposes(tape, number)

    def _transposes(self, tape: nt.Tape, number: int) -> None:
        rng = np.random.default_rng(0)
        v, w = rng.normal(size=tape.flat.inputs), rng.normal(size=len(tape.flat.outputs))
        x = _packed(self.points[number])
        _, _, along = tape.derivatives.jvp(x, v)
        _, _, gradient = tape.derivatives.vjp(x, w)
        size = 1.0 + np.max(np.abs(along), initial=0.0) + np.max(np.abs(gradient))
        both = np.array([w @ along, gradient @ v]) / size
        self.derivative("vjp and jvp", number, both[0], both[1])

    def run(self) -> None:
        tapes: dict[nt.Tape, list[int]] = {}
        for number, outcome in enumerate(self.outcomes):
            tape = self._tape_at(number, outcome)
            if tape is not None:
                tapes.setdefault(tape, []).append(number)
        chosen = sorted(number for numbers in tapes.values() for number in numbers)
        if not chosen:
            return
        good = [number for number in chosen if self.of_arrays[number].error is None]
        if good:
            self._vmapped(good)
            self._functions(good)
        self._aliased(chosen[:2])
        by_use = sorted(tapes.items(), key=lambda item: -len(item[1]))
        for tape, chosen in by_use[:4]:
            self._batches(tape, chosen)
        for tape, chosen in by_use[:1]:
            self._values(tape, chosen[0])
            self._compiled(tape, chosen[0])
            self._derivatives(tape, chosen[0])
            if self.generic:
                self._differences(tape, chosen[0])
                self._second(tape, chosen[-1])

    def run_branches(self) -> None:
        program, size = self.program.function, self.program.size
        function = partial(_packed_total, program, size)
        pair, slopes = nt.value_and_grad(function), nt.jacobian(function)
        good = [
            n
            for n, (one, other) in enumerate(zip(self.outcomes, self.of_arrays))
            if one.error is None and other.error is None
        ]
        if not good:
            return
        found, packed = [], np.array([_packed(self.points[number]) for number in good])
        for number, z in zip(good, packed):
            self._tape_at(number, self.outcomes[number], every=1)
            fresh = nt.record(function, z)
            value, gradient = fresh.value_and_gradient(z)
            for way, each in (("first", pair(z)), ("again", pair(z))):
                if not _same_bits(each[0], value) or not _same_bits(each[1], gradient):
                    self.fail(f"value_and_grad, {way}", number, each, (value, gradient))
            self.derivative("jacobian", number, slopes(z), gradient)
            found.append((value, gradient))
        for way, many in (
            ("vmap", nt.vmap(function)(packed)),
            ("vmap of value_and_grad", nt.vmap(pair)(packed)),
            ("vmap of grad", nt.vmap(nt.grad(function))(packed)),
            ("vmap of a Hessian times ones", nt.vmap(_hessian_times_ones(function))(packed)),
        ):
            for row, number in enumerate(good):
                value, gradient = found[row]
                if way == "vmap":
                    self.close(way, number, many[row], value, 1e-11)
                elif way == "vmap of grad":
                    self.derivative(way, number, many[row], gradient)
                elif way == "vmap of value_and_grad":
                    self.close(way, number, many[0][row], value, 1e-11)
                    self.derivative(way, number, many[1][row], gradient)
                elif row % 8 == 0:
                    ones = np.ones(len(packed[row]))
                    (alone,) = nt.record(function, packed[row]).hvp((packed[row],), (ones,))
                    self.derivative(way, number, many[row], alone)

    # what is compared

    def fail(self, way: str, number: int, found, expected) -> None:
        raise Disagreement(
            f"{way} gave {found!r}, and {expected!r} was expected, at point {number}: "
            f"{self.points[number]!r}\n{self.program.source}"
        )

    def same(self, way: str, number: int, found, expected) -> None:
        """Bit for bit, where the program promises it."""
        if not self.exact:
            self.close(way, number, found, expected)
        elif not _same_bits(found, expected):
            self.fail(way, number, found, expected)

    def equal(self, way: str, number: int, found, expected) -> None:
        """Equal numbers: signs of zeros may differ."""
        if not np.array_equal(found, expected, equal_nan=True):
            self.fail(way, number, found, expected)

    def close(self, way: str, number: int, found, expected, rtol: float = 1e-10) -> None:
        """Equal to rounding, relative to the largest number beside it.

        Where a partial derivative is large, so is what it makes of rounding: the root of a
        difference that rounds to 0 in one way and to 1e-17 in another is 0 or 3e-9.
        """
        found, expected = np.asarray(found), np.asarray(expected)
        if found.shape != expected.shape:
            self.fail(way, number, found.shape, expected.shape)
        if _is_close(found, expected, rtol):
            return
        if not _is_close(found, expected, rtol * self._steepest(number)):
            self.fail(way, number, found, expected)

    # values

    def _arguments(self, number: int) -> tuple:
        return copy.deepcopy(self.points[number])

    def _plain(self, point: tuple) -> _Outcome:
        try:
            return _Outcome(self.program.function(*copy.deepcopy(point)))
        except Exception as error:
            return _Outcome(error=error)

    def _tape_at(self, number: int, outcome: _Outcome, every: int = 8) -> nt.Tape | None:
        """The tape that the trie finds; a fresh recording must be the same, and give the value.

        (With selections, fewer tests may be guards than where other points had some refused.)
        """
        if outcome.error is not None:
            self._raises(number, outcome.error)
            return None
        paths, call = self.recordings.paths(self._arguments(number), {})
        tape = paths.tape_at(call)
        if number % every == 0 and tape.flat.guards and tape.choices is None:
            fresh = nt.record(self.program.function, *self._arguments(number))
            if not same_recording(tape.flat, fresh.flat):
                self.fail("the path found", number, _Text(tape), _Text(fresh))
        value = numbers(tape(*self.points[number]))
        self.same("the tape of the path", number, value, outcome.value)
        return tape

    def _raises(self, number: int, error: Exception) -> None:
        """Where the plain function raises, so does recording."""
        try:
            tape = nt.record(self.program.function, *self._arguments(number))
        except Exception:
            return
        if not isinstance(error, ZeroDivisionError | OverflowError):  # NumPy's numbers give inf
            self.fail("recording", number, str(tape), error)

    def _vmapped(self, chosen: list[int]) -> None:
        columns = _stacked([self.points[number] for number in chosen])
        several = [nt.vmap(self.program.function, num_threads=n)(*columns) for n in (1, 2)]
        one, two = (_by_point(found, len(chosen)) for found in several)
        for row, number in enumerate(chosen):
            self.close("vmap", number, one[row], self.of_arrays[number].value, 1e-11)
            if not _same_bits(one[row], two[row]):
                self.fail("vmap on two threads", number, two[row], one[row])

    def _functions(self, chosen: list[int]) -> None:
        """`value_and_grad` and the like of one array, which keep a tape for each path."""
        function = partial(_packed_total, self.program.function, self.program.size)
        pair, one = nt.value_and_grad(function), nt.grad(function)
        packed = np.array([_packed(self.points[number]) for number in chosen])
        found = np.empty_like(packed)
        for row, number in enumerate(chosen):
            value, gradient = pair(packed[row])
            self.same("value_and_grad", number, value, _sum_of(self.of_arrays[number].leaves))
            found[row] = one(packed[row])
            self.derivative("grad and value_and_grad", number, found[row], gradient)
        many = nt.vmap(one)(packed)
        for row, number in enumerate(chosen):
            self.derivative("vmap of grad", number, many[row], found[row])

    def _aliased(self, chosen: list[int]) -> None:
        """Where x is a row of y: in turn with calls where it is not."""

        def total(x, y, t):
            return _sum_of(self.program.function(x, y, t))

        pair = nt.value_and_grad(total, (0, 1, 2))
        for number in chosen:
            x, y, t = self._arguments(number)
            for one, other in ((x, y), (y[0], y), (x, y)):
                shares = one is not x
                mine, theirs = _twice(one, other), _twice(one, other)
                outcome = self._plain_sum(total, mine, t)
                if outcome is None:
                    continue
                value, _ = pair(*theirs, t)
                way = "value_and_grad of overlapping arrays" if shares else "beside them"
                self.same(way, number, value, outcome)

    def _plain_sum(self, total: Callable, arrays: tuple, t: float):
        try:
            return total(*arrays, t)
        except Exception:
            return None

    def _batches(self, tape: nt.Tape, chosen: list[int]) -> None:
        """A tape at all points of its path at once; and where they share y."""
        points = [self.points[number] for number in chosen]
        columns, count = _stacked(points), len(chosen)
        values = [_by_point(tape(*columns, num_threads=n), count) for n in (1, 2)]
        rng = np.random.default_rng(0)
        v, w = rng.normal(size=tape.flat.inputs), rng.normal(size=len(tape.flat.outputs))
        tangents = _unpacked(v, self.program.size)
        pushed = _by_point(tape.jvp(columns, tangents)[1], count)
        pulled = _by_point(tape.vjp(columns, _seeds(tape, w))[1], count)
        for row, number in enumerate(chosen):
            x = _packed(points[row])
            self.close("a batch", number, values[0][row], self.outcomes[number].value, 1e-11)
            if not _same_bits(values[0][row], values[1][row]):
                self.fail("a batch on two threads", number, values[1][row], values[0][row])
            _, _, along = tape.derivatives.jvp(x, v)
            _, _, gradient = tape.derivatives.vjp(x, w)
            self.derivative("jvp of a batch", number, pushed[row], along)
            self.derivative("vjp of a batch", number, pulled[row], gradient)
            self._transposes(tape, number)
        few = _stacked(points[:3])
        inputs = np.arange(tape.flat.inputs)
        for mode in ("forward", "reverse"):
            batch = tape.jacobian(*few, argnums=_EVERY, mode=mode)
            for row, matrix in enumerate(_matrices(batch, points[:3])):
                single = tape.derivatives.jacobian(_packed(points[row]), inputs, mode)[2]
                self.derivative(f"jacobian of a batch, {mode}", chosen[row], matrix, single)
                along = tape.derivatives.jvp(_packed(points[row]), v)[2]
                self.derivative(f"jacobian, {mode}", chosen[row], single @ v, along)
        free = tape.without_guards()
        y = points[0][1]
        shared = _by_point(free(columns[0], y, columns[2]), count)
        for row, number in enumerate(chosen):
            alone = numbers(free(points[row][0], y, points[row][2]))
            self.close("a batch with a shared input", number, shared[row], alone, 1e-11)

    def _values(self, tape: nt.Tape, number: int) -> None:
        flat, x = tape.flat, _packed(self.points[number])
        expected = numbers(tape(*self.points[number]))
        self.close("the naive interpreter", number, naive.run(flat, x), expected)
        for each in self.passes:
            self.equal(f"the pass {each.__name__}", number, _evaluate(each(flat), x), expected)
        for way, kept in _copies(tape):
            if not same_recording(kept.flat, flat):
                self.fail(way, number, _Text(kept), _Text(tape))
            self.same(way, number, numbers(kept(*self.points[number])), expected)

    # derivatives

    def _compiled(self, tape: nt.Tape, number: int) -> None:
        """Machine code has the interpreter's bits, and so what cancels in one does in the other.

        Derivatives of scalars come by sweeps otherwise, which add up in another order, and
        those of products of matrices by BLAS.
        """
        x, native = _packed(self.points[number]), copy.copy(tape)
        rng = np.random.default_rng(1)
        v, w = rng.normal(size=tape.flat.inputs), rng.normal(size=len(tape.flat.outputs))
        is_same = not tape.flat.is_scalar and all(
            vector.kind not in (PRODUCT, FUNCTION) for vector in tape.flat.vectors
        )
        compare = self.same if is_same else self.derivative
        with mock.patch.object(fusion, "_WORTH", 0):
            native.compile(quick=True)
            found = [native.derivatives.jvp(x, v), native.derivatives.vjp(x, w)]
        expected = [tape.derivatives.jvp(x, v), tape.derivatives.vjp(x, w)]
        for way, mine, other in zip(("jvp", "vjp"), found, expected, strict=True):
            self.same(f"the value beside a compiled {way}", number, mine[1], other[1])
            compare(f"compiled {way}", number, mine[2], other[2])

    def derivative(self, way: str, number: int, found, expected, rtol: float = 1e-9) -> None:
        """To rounding, where all partial derivatives are finite."""
        try:
            self.close(way, number, found, expected, rtol)
        except Disagreement:
            if self._is_singular(number):
                return
            raise

    def _is_singular(self, number: int) -> bool:
        """Whether some partial derivative at a point is infinite or nan, or nearly so."""
        return self._steepest(number) >= 1e6

    def _steepest(self, number: int) -> float:
        """The size of the largest value and partial derivative at a point; inf for nan."""
        flat = nt.record(self.program.function, *self._arguments(number)).flat
        values = naive.evaluate(flat, _packed(self.points[number]))
        partials = [part for row in naive.linearize(flat, values) for part in row]
        every = np.concatenate([np.abs(np.ravel(part)) for part in [values, *partials]])
        return np.inf if np.isnan(every).any() else float(np.max(every, initial=1.0))

    def _derivatives(self, tape: nt.Tape, number: int) -> None:
        """Products and derivative tapes, of this tape and of simplified ones, and naive sweeps."""
        flat, x = tape.flat, _packed(self.points[number])
        rng = np.random.default_rng(0)
        rows, inputs = len(flat.outputs), np.arange(flat.inputs)
        v, w = rng.normal(size=flat.inputs), rng.normal(size=rows)
        matrix = tape.derivatives.jacobian(x, inputs, "reverse")[2]
        values = naive.evaluate(flat, x)
        close = partial(self.derivative, number=number)
        has_matrix = any(vector.kind == "function" for vector in flat.vectors)
        rtol = 1e-6 if has_matrix else 1e-9  # the naive matrix functions are by differences
        for name, sweep, seed, along in (
            ("naive tangents", naive.tangents, v, matrix @ v),
            ("naive adjoints", naive.adjoints, w, w @ matrix),
        ):
            close(name, found=sweep(flat, values, seed), expected=along, rtol=rtol)
        close("jvp", found=tape.derivatives.jvp(x, v)[2], expected=matrix @ v)
        close("vjp", found=tape.derivatives.vjp(x, w)[2], expected=w @ matrix)
        close("linearize", found=tape.derivatives.linearize(x)[2](v), expected=matrix @ v)
        for each in [_as_it_is, *self.passes]:
            other = each(flat)
            for derive in (jacobian_by_columns, jacobian_by_rows):
                made = _evaluate(derive(other, inputs), x)[rows:].reshape(rows, len(x))
                close(f"{derive.__name__} of {each.__name__}", found=made, expected=matrix)
        for each in self.passes:
            made = _evaluate(each(tangent(flat)), np.concatenate([x, v]))[rows:]
            close(f"{each.__name__} of the tangent tape", found=made, expected=matrix @ v)
            made = _evaluate(each(adjoint(flat)), np.concatenate([x, w]))[rows:]
            close(f"{each.__name__} of the adjoint tape", found=made, expected=w @ matrix)

    def _differences(self, tape: nt.Tape, number: int) -> None:
        """Along a direction, by differences of the plain function, where it is smooth."""
        x = _packed(self.points[number])
        v = np.random.default_rng(1).normal(size=len(x))

        def plain(z):
            return numbers(self.program.function(*_unpacked(z, self.program.size)))

        smooth, slope = _slope(plain, x, v)
        found = tape.derivatives.jvp(x, v)[2]
        wrong = smooth & ~(np.abs(found - slope) <= 1e-5 * (1.0 + np.abs(slope)))
        if wrong.any() and not self._is_singular(number):
            self.fail("the derivative along a direction", number, found, slope)

    def _second(self, tape: nt.Tape, number: int) -> None:
        """Products with the Hessian of the sum of all outputs, forward and reverse."""
        if tape.flat.inputs > 25:
            return
        program, size = self.program.function, self.program.size
        x, n = _packed(self.points[number]), tape.flat.inputs
        function = partial(_packed_total, program, size)
        total = nt.record(function, x)
        v = np.random.default_rng(2).normal(size=n)
        matrix = total.hessian(x)
        self.derivative("the Hessian's transpose", number, matrix.T, matrix, 1e-8)
        (product,) = total.hvp((x,), (v,))
        self.derivative("the product with the Hessian", number, product, matrix @ v, 1e-8)
        (batched,) = total.hvp((np.array([x, x]),), (v,))
        self.derivative("such products of a batch", number, batched[1], matrix @ v, 1e-8)
        twice = jacobian_by_rows(jacobian_by_rows(total.flat, np.arange(n)), np.arange(n))
        reverse = _evaluate(twice, x)[1 + n :].reshape(1 + n, n)[1:]
        self.derivative("the Hessian, reverse", number, reverse, matrix, 1e-8)
        smooth, slope = _slope(nt.grad(function), x, v)
        allowed = 1e-4 * (1.0 + np.max(np.abs(matrix), initial=0.0))
        wrong = smooth & ~(np.abs(product - slope) <= allowed)
        if wrong.any() and not self._is_singular(number):
            self.fail("the second derivative", number, product, slope)


def _copies(tape: nt.Tape) -> list[tuple[str, nt.Tape]]:
    """What is written and read back; reading a file checks the tape completely."""
    with tempfile.TemporaryDirectory() as folder:
        tape.save(f"{folder}/program.tape")
        saved = nt.load(f"{folder}/program.tape")
    return [("a copy by pickle", pickle.loads(pickle.dumps(tape))), ("a saved copy", saved)]


def same_recording(one: FlatTape, other: FlatTape) -> bool:
    """Whether two recordings are the same, but for the point."""
    return (
        np.array_equal(one.code, other.code)
        and _same_bits(one.constants, other.constants)
        and np.array_equal(one.outputs, other.outputs)
        and [guard.slot for guard in one.guards] == [guard.slot for guard in other.guards]
        and np.array_equal(*([g.outcome for g in each.guards] for each in (one, other)), True)
        and len(one.vectors) == len(other.vectors)
        and all(map(_same_vector, one.vectors, other.vectors))
    )


def _same_vector(one: VectorInstruction, other: VectorInstruction) -> bool:
    parts = [(v.kind, v.opcode, v.shape, v.result, v.result_strides) for v in (one, other)]
    return (
        parts[0] == parts[1]
        and all(map(np.array_equal, one.operand_slots(), other.operand_slots()))
        and np.array_equal(one.targets, other.targets)
    )


def _as_it_is(tape: FlatTape) -> FlatTape:
    return tape


def _evaluate(flat: FlatTape, x) -> np.ndarray:
    return evaluate(replace(flat, guards=()), x)


def _same_bits(found, expected) -> bool:
    found = np.ascontiguousarray(found, np.float64).reshape(-1)
    expected = np.ascontiguousarray(expected, np.float64).reshape(-1)
    if len(found) != len(expected):
        return False
    same = found.view(np.int64) == expected.view(np.int64)
    return bool(np.all(same | (np.isnan(found) & np.isnan(expected))))


def _is_close(found: np.ndarray, expected: np.ndarray, rtol: float) -> bool:
    finite = np.isfinite(expected)
    scale = 1.0 + np.max(np.abs(expected[finite]), initial=0.0)
    good = np.abs(found - expected) <= rtol * scale
    good |= (found == expected) | (np.isnan(found) & np.isnan(expected))
    return bool(good.all())


def _twice(one, other) -> tuple:
    """Copies of two arrays that share memory as they do."""
    copied = other.copy()
    return (copied[0] if np.shares_memory(one, other) else one.copy()), copied


def _packed(point: tuple) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in point])


def _unpacked(z, size: int) -> tuple:
    z = z.copy()
    return z[:size], z[size : 3 * size].reshape(2, size), z[3 * size]


def _packed_total(program, size: int, z):
    """The sum of all numbers of the result, as a function of one vector."""
    return _sum_of(program(*_unpacked(z, size)))


def _sum_of(leaves: tuple):
    return sum(np.sum(leaf) for leaf in leaves)


def _hessian_times_ones(function):
    slope = nt.grad(function)
    return nt.grad(lambda z: np.sum(slope(z)))


def _seeds(tape: nt.Tape, w) -> tuple:
    """Weights of all outputs as a tree like the result."""
    ends = np.cumsum([int(np.prod(shape)) for shape in tape.result.shapes])
    parts = zip(np.split(w, ends[:-1]), tape.result.shapes)
    return tuple(part.reshape(shape) if shape else float(part[0]) for part, shape in parts)


def _stacked(points: list[tuple]) -> list[np.ndarray]:
    return [np.array([point[k] for point in points]) for k in _EVERY]


def _by_point(tree, count: int) -> np.ndarray:
    """A batch's result, a row for each point."""
    return np.concatenate([leaf.reshape(count, -1) for leaf in flatten(tree)[0]], axis=1)


def _matrices(tree: tuple, points: list[tuple]) -> np.ndarray:
    """A batch's Jacobians (points, outputs, inputs)."""
    count, rows = len(points), []
    for blocks in tree:
        outputs = int(np.prod(blocks[2].shape[1:]))  # t has no axes of its own
        pairs = zip(blocks, points[0])
        parts = [block.reshape(count, outputs, np.size(part)) for block, part in pairs]
        rows.append(np.concatenate(parts, axis=2))
    return np.concatenate(rows, axis=1)


def _slope(function, x, v) -> tuple[np.ndarray, np.ndarray]:
    """Where a function is smooth along v at x, and its derivative there by differences."""
    h = 1e-4
    at = {k: function(x + k * h * v) for k in (-4, -2, -1, 0, 1, 2, 4)}
    fine = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
    coarse = (8 * (at[2] - at[-2]) - (at[4] - at[-4])) / (24 * h)
    right = (4 * at[1] - at[2] - 3 * at[0]) / (2 * h)
    left = -(4 * at[-1] - at[-2] - 3 * at[0]) / (2 * h)
    allowed = 1e-6 * (1.0 + np.abs(fine))
    is_smooth = np.abs(fine - coarse) <= allowed
    is_smooth &= np.abs(right - left) <= 100 * allowed
    return is_smooth, fine
