"""`vmap`: any function at many points, each on the path that it takes.

The function is recorded at the first point and run at all of them. Points at which
a guard does not hold are put together by what it came to: for each such group the
trie of paths knows a tape, or the function is recorded at one of its points. So a
path is recorded once, however many points take it, and results come in order.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.batch import Options, evaluate_many
from numtape.functions.labels import is_labelled, plain_values
from numtape.functions.paths import Paths, Recordings
from numtape.functions.points import Points, check_memory, outputs_for
from numtape.functions.recording import check_callable
from numtape.functions.runner import Runner
from numtape.functions.signature import Call, check_plain
from numtape.functions.streams import are_streams, in_blocks, is_lazy
from numtape.functions.tape import Tape
from numtape.functions.trees import Structure, flatten, map_leaves, shown
from numtape.run.batch import Failures, untold
from numtape.trace.record import active_recorder
from numtape.trace.resolve import callback
from numtape.trace.traced import TracedArray, is_traced

__all__ = ["vmap"]

Floats = npt.NDArray[np.float64]

# So many points are sorted by their paths before these are run.
_MANY = 2048
Ints = npt.NDArray[np.int64]


def vmap(
    function: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: int = 0,
    num_threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
    branches: str | None = None,
) -> "Vectorized":
    """Return a function of one point as a function of many.

    Parameters
    ----------
    function : callable
        Plain NumPy code, or anything made by numtape, such as ``nt.grad(f)``.
    in_axes : int, None, or a sequence of them
        For each argument the axis that counts points; None for an argument that all
        points share. In place of a number may stand a tree of them, for the tree that
        the argument is. Named arguments are counted along their first axis.
    out_axes : int
        The axis of the results that counts points.
    num_threads : int, optional
        By default NUMTAPE_NUM_THREADS, else as many as there are cores.
    progress : bool or callable
        True shows a bar, a callable is told ``(done, total)``, in the thread that calls.
    branches : {"auto", "select", "paths"}, optional
        How tests on traced values are recorded, see the decorator `branches`.

    Returns
    -------
    callable
        Takes arguments with one more axis and gives results with one more. ``out=``
        is where to write them. Iterators among the arguments give blocks of points,
        and the result is then a generator of results; Dask arrays make it a tree of
        Dask arrays.

    Raises
    ------
    InputError
        Where arguments have not as many points as each other.

    Notes
    -----
    The function is recorded once for each path that points take, and may take
    branches freely. Integers and booleans that are counted along become numbers
    under trace. Points run in SIMD lanes, where exp, sin and their like are within
    4 units in the last place, and a result does not depend on the number of points,
    of threads, or on its place among them. Memory is that of arguments and results,
    and of one workspace a thread.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> slope = nt.vmap(nt.grad(lambda x, a: a * x**2 if x > 0.0 else -x), in_axes=(0, None))
    >>> slope(np.array([1.0, 2.0, -3.0]), 0.5)
    array([ 1.,  2., -1.])
    """
    check_callable(function, "vmap", "vmap(f)(points)")
    if isinstance(function, Tape):
        raise InputError(
            f"vmap was given {function!r}: a tape takes many points by itself. Pass arrays with "
            "leading axes to it or to its methods, as in tape.gradient(points)",
            code="not-callable",
        )
    if not isinstance(out_axes, int) or isinstance(out_axes, bool):
        raise InputError(
            f"out_axes={out_axes!r} was given: it must be the number of an axis. Give an int",
            code="wrong-option",
        )
    return Vectorized(function, in_axes, out_axes, num_threads, progress, branches)


class Vectorized:
    """What `vmap` makes."""

    def __init__(
        self,
        function: Callable[..., Any],
        in_axes: Any,
        out_axes: int,
        num_threads: int | None,
        progress: bool | Callable[[int, int], None],
        branches: str | None = None,
    ) -> None:
        self._recordings = Recordings(function, optimized=True, branches=branches)
        self._branches = branches
        self._in_axes = in_axes
        self._out_axes = out_axes
        self._num_threads = num_threads
        self._progress = progress
        self.__wrapped__ = function
        self.__name__ = f"vmap({getattr(function, '__name__', repr(function))})"
        self.__doc__ = f"`vmap` of {getattr(function, '__name__', 'a function')}."

    def __reduce__(self) -> Any:
        parts = self._in_axes, self._out_axes, self._num_threads, self._progress, self._branches
        return vmap, (self.__wrapped__, *parts)

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # as functions do

    def __call__(self, *arguments: Any, out: Any = None, **named: Any) -> Any:
        every = [*arguments, named] if named else list(arguments)
        leaves, structure = flatten(every)
        axes = _axes(self._in_axes, structure, bool(named))
        if active_recorder() is not None:
            return self._inside(leaves, structure, axes, bool(named))
        if are_streams(every):
            return self._streamed(leaves, structure, axes, bool(named), out)
        batch = _Batch(leaves, structure, axes, bool(named))
        paths = self._recordings.paths(*batch.arguments_at(0))[0]
        latest = self._latest(paths, batch)
        if latest.signature.memory is not None:  # where the recordings are that hold for it
            paths = self._recordings.paths(*batch.arguments_at(0))[0]
        result = latest.result
        place = self._out_axes
        for shape in result.shapes:
            _check_out_axis(place, len(shape))
        if out is not None:
            out = map_leaves(lambda leaf: _counted_first(leaf, place), out)
        points = batch.points(self._call_at(batch, 0))
        floats = [leaf if leaf.dtype.kind == "f" else None for leaf in points.leaves]
        if batch.count:
            check_memory(latest.signature, floats)
        leading = (batch.count,)
        outputs = outputs_for(result.structure, result.shapes, leading, out, points.leaves)
        if batch.count:
            self._run(paths, batch, points, outputs)
        return result.structure.build(np.moveaxis(output, 0, place) for output in outputs)

    def _latest(self, paths: Paths, batch: "_Batch") -> Tape:
        """Return the tape to try first."""
        return paths.latest or self._tape_at(paths, batch, 0)

    def _call_at(self, batch: "_Batch", number: int) -> Call:
        return self._recordings.paths(*batch.arguments_at(number))[1]

    def _tape_at(self, paths: Paths, batch: "_Batch", number: int) -> Tape:
        """Return the tape of a point's path; an error of the user's function is told the point."""
        try:
            return paths.tape_at(self._call_at(batch, number))
        except Exception as error:
            error.add_note(f"numtape.vmap was recording the function at point {number}")
            raise

    def _run(
        self, paths: Paths, batch: "_Batch", points: Points, outputs: Sequence[Floats]
    ) -> None:
        """Run every point on the tape of its path."""
        options = Options(None, self._num_threads, self._progress)
        pending = self._sorted(paths, batch, points, options)
        # Points that a first tape is not right for are counted once.
        first = len(pending)
        with options.reporting(batch.count) as progress:
            while pending:
                tape, numbers = pending.pop()
                told = progress if len(pending) < first else untold
                first = min(first, len(pending))
                failures = evaluate_many(tape.runner, points, outputs, options, told, numbers)
                groups = _groups(failures)
                paths.foreseen = max(paths.foreseen, len(paths.walks) + len(groups))
                for group, guard, outcome in groups:
                    for place, number in enumerate(group.tolist()):
                        single = None
                        if paths.following(tape, guard, outcome) is None:
                            single = self._tape_at(paths, batch, number)
                        other = paths.following(tape, guard, outcome)
                        if tape not in paths.walks and single in paths.walks:
                            other = single  # it took the place of the others, see `branching.py`
                        if other is not None:
                            pending.append((other, group[place:]))
                            break
                        # A guarded value came out otherwise than in a run of this one point,
                        # which decides.
                        assert single is not None
                        where = np.array([number])
                        evaluate_many(single.runner, points, outputs, options, untold, where, False)
                        if single is not tape and single.flat.guards:
                            # Its tape was forgotten meanwhile; the others may take this path.
                            pending.append((single, group[place + 1 :]))
                            break

    def _sorted(
        self, paths: Paths, batch: "_Batch", points: Points, options: Options
    ) -> list[tuple[Tape, Ints | None]]:
        """Return the tapes to run at first, with the numbers of points for each; None for all."""
        latest = self._latest(paths, batch)
        sieve = paths.sieve() if batch.count >= _MANY else None
        if sieve is None:
            return [(latest, None)]

        def decide(runner: Runner, numbers: Ints) -> Floats:
            found = np.empty((batch.count,))
            evaluate_many(runner, points, [found], options, untold, numbers)
            return found[numbers]

        return list(sieve.sort(np.arange(batch.count), decide))

    def _inside(
        self, leaves: Sequence[Any], structure: Structure, axes: Sequence[int | None], named: bool
    ) -> Any:
        """Run as part of a function that is being recorded: once for each point."""
        # Copies, as everywhere what the function does to its arguments is not the caller's.
        own = {id(leaf): np.copy(leaf) for leaf in leaves if isinstance(leaf, TracedArray)}
        batch = _Batch([own.get(id(leaf), leaf) for leaf in leaves], structure, axes, named)
        function, results = callback(self.__wrapped__), []
        for number in range(batch.count):
            arguments, by_name = batch.arguments_at(number)
            results.append(flatten(function(*arguments, **by_name)))
        if not results:
            raise InputError(
                "vmap was given no points inside a function that is being recorded: what it would "
                "return is not known. Give it at least one",
                code="wrong-points",
            )
        columns = zip(*(found for found, _ in results), strict=True)
        return results[0][1].build([np.stack(list(c), axis=self._out_axes) for c in columns])

    def _streamed(
        self,
        leaves: Sequence[Any],
        structure: Structure,
        axes: Sequence[int | None],
        named: bool,
        out: Any,
    ) -> Any:
        """Run in blocks. Those of Dask arrays are counted along their first axes."""
        is_array = [isinstance(getattr(leaf, "shape", None), tuple) for leaf in leaves]
        are_lazy = list(map(is_lazy, leaves))
        pairs = list(zip(are_lazy, is_array, strict=True))
        by_arrays = any(are_lazy) and all(array for lazy, array in pairs if lazy)
        shapes: list[tuple[int, ...] | None] = [None] * len(leaves)
        leaves, axes = list(leaves), list(axes)
        for k, (lazy, array) in enumerate(pairs):
            axis = axes[k]
            if by_arrays and array and axis is not None:
                leaves[k], axes[k] = _moved(leaves[k], axis), 0
                shapes[k] = leaves[k].shape[1:]
            elif by_arrays and lazy:
                shapes[k] = leaves[k].shape
        in_axes, every = structure.build(axes), structure.build(leaves)
        if named:
            in_axes.pop()
        place = 0 if by_arrays else self._out_axes
        options = self._num_threads, self._progress, self._branches
        call = Vectorized(self.__wrapped__, in_axes, place, *options)
        example = Vectorized(self.__wrapped__, in_axes, 0, 1, False, self._branches)
        results = in_blocks(
            partial(_call, call, named), partial(_call, example, named), every, shapes, out
        )
        if not by_arrays or not self._out_axes:
            return results
        return map_leaves(lambda leaf: _placed(leaf, self._out_axes), results)


def _placed(leaf: Any, place: int) -> Any:
    """Return an array with its first axis, which counts points, where out_axes wants it."""
    _check_out_axis(place, leaf.ndim - 1)
    return np.moveaxis(leaf, 0, place)


def _call(function: Vectorized, named: bool, *arguments: Any) -> Any:
    """Call with arguments whose last may be the named ones; sent to where blocks are run."""
    if named:
        *positional, by_name = arguments
        return function(*positional, **by_name)
    return function(*arguments)


class _Batch:
    """The arguments of a call, and how to take points out of them.

    Parameters
    ----------
    leaves, structure
        Of the list of arguments.
    axes : sequence
        For each leaf the axis that counts points, or None.
    named : bool
        Whether the last argument is the dict of named ones.
    """

    def __init__(
        self, leaves: Sequence[Any], structure: Structure, axes: Sequence[int | None], named: bool
    ) -> None:
        self._structure = structure
        self._named = named
        self._varies = [axis is not None for axis in axes]
        for leaf, axis in zip(leaves, axes, strict=True):
            if axis is None and is_labelled(leaf):
                check_plain(leaf, "arguments hold")
        self._leaves = [
            leaf if axis is None else _moved(leaf, axis)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        counts = [
            leaf.shape[0] for leaf, varies in zip(self._leaves, self._varies, strict=True) if varies
        ]
        if len(set(counts)) != 1:
            given = f"{counts} points" if counts else "no array of points"
            raise InputError(
                f"vmap was given {given} in its arguments: each array that in_axes counts along "
                "must have as many points as the others. Say None in in_axes for what all share",
                code="wrong-points",
            )
        self.count = counts[0]

    def arguments_at(self, number: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the named arguments of one point."""
        pairs = zip(self._leaves, self._varies, strict=True)
        point = self._structure.build(
            [_element(leaf, number) if varies else leaf for leaf, varies in pairs]
        )
        return (tuple(point[:-1]), point[-1]) if self._named else (tuple(point), {})

    def points(self, call: Call) -> Points:
        """Return the traced leaves of all points; `call` is that of one of them."""
        values = iter(call.inputs)
        leaves, kept = [], []
        for leaf, varies, shape in zip(
            self._leaves, self._varies, call.signature.shapes, strict=True
        ):
            if shape is not None:
                value = next(values)
                leaves.append(leaf if varies else value)
                kept.append(varies)
        return Points((self.count,), tuple(leaves), tuple(kept))


def _moved(leaf: Any, axis: int) -> Any:
    """Move the axis of an array that counts points to the front."""
    if not is_traced(leaf) and not is_lazy(leaf):
        if getattr(leaf, "ndim", 0) == 1:  # whose points are numbers, without labels
            leaf = plain_values(leaf)
        check_plain(leaf, "arguments hold")
    rank = getattr(leaf, "ndim", 0)
    if not -rank <= axis < rank:
        raise InputError(
            f"arguments hold {shown(leaf)}, which has no axis {axis} to count points along: "
            "in_axes says which axis that is. Say None there for what all points share",
            code="wrong-points",
        )
    if not is_traced(leaf) and leaf.dtype.kind not in "fiub":
        raise InputError(
            f"arguments hold a {type(leaf).__name__} of {leaf.dtype} to count points along: points "
            "are taken from plain arrays of real numbers. Pass such an array, or call the function "
            "in a loop",
            code="wrong-type",
        )
    return np.moveaxis(leaf, axis, 0) if axis else leaf


def _counted_first(leaf: Any, place: int) -> Any:
    """Return a leaf of `out` with the axis that counts points first, if it has one."""
    fits = isinstance(leaf, np.ndarray) and -leaf.ndim <= place < leaf.ndim
    return np.moveaxis(leaf, place, 0) if fits else leaf


def _check_out_axis(place: int, rank: int) -> None:
    if not -rank - 1 <= place <= rank:
        raise InputError(
            f"out_axes={place} was given, and a result has {rank} axes at one point: the axis that "
            f"counts points can be from {-rank - 1} to {rank}",
            code="wrong-option",
        )


def _element(leaf: Any, number: int) -> Any:
    """Return one point's leaf. Of no points the first is all ones: only its shape counts."""
    if is_traced(leaf):
        return leaf[number]
    element = leaf[number] if len(leaf) else np.ones(leaf.shape[1:], leaf.dtype)
    return element.astype(np.float64) if leaf.dtype.kind in "iub" else element


def _axes(in_axes: Any, structure: Structure, named: bool) -> list[int | None]:
    """Return for each leaf of the arguments the axis that counts points, or None."""
    children = structure.children
    positional = children[:-1] if named else children
    if isinstance(in_axes, list | tuple):
        if len(in_axes) != len(positional):
            raise InputError(
                f"in_axes={in_axes!r} has {len(in_axes)} entries, and {len(positional)} positional "
                "arguments were given: it must have one for each",
                code="wrong-points",
            )
        given = list(in_axes)
    else:
        given = [in_axes] * len(positional)
    every = [*given, 0] if named else given
    axes: list[int | None] = []
    for entry, child in zip(every, children, strict=True):
        axes += _spread(entry, child)
    return axes


def _spread(entry: Any, structure: Structure) -> list[int | None]:
    """Spread an entry of in_axes over a tree: one number for all leaves, or a tree of them."""
    leaves = structure.build(itertools.repeat(0))
    count = len(flatten(leaves)[0])
    if entry is None or (isinstance(entry, int) and not isinstance(entry, bool)):
        return [entry] * count
    axes: list[int | None] = []
    parts, names = _children(entry)
    if structure.kind is None or len(parts) != len(structure.children) or names != structure.names:
        raise InputError(
            f"in_axes holds {entry!r} for an argument of structure {structure}: it must be a "
            "number, None, or a tree of them like the argument. Correct it",
            code="wrong-points",
        )
    for part, child in zip(parts, structure.children, strict=True):
        axes += _spread(part, child)
    return axes


def _children(entry: Any) -> tuple[list[Any], tuple[Any, ...]]:
    """Return the parts of a tree of axes, where None is a leaf, and their names."""
    if isinstance(entry, dict):
        return list(entry.values()), tuple(entry)
    if isinstance(entry, list | tuple):
        return list(entry), ()
    if dataclasses.is_dataclass(entry):
        names = tuple(field.name for field in dataclasses.fields(entry))
        return [getattr(entry, name) for name in names], names
    return [], ()


def _groups(failures: Failures) -> list[tuple[Ints, int, float]]:
    """Group the points that failed, by the guard and by what it came to."""
    groups = []
    for guard in np.unique(failures.guards).tolist():
        here = failures.guards == guard
        bits = failures.outcomes[here].view(np.int64)
        for outcome in np.unique(bits):
            numbers = failures.points[here][bits == outcome]
            groups.append((numbers, guard, float(outcome.view(np.float64))))
    return groups
