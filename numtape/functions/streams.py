"""Points that come in blocks: from iterators, and from Dask collections.

A call with an iterator among its arguments is made for each of its items, and
gives a generator. A call with a Dask array is made for each of its blocks, when and
where Dask runs it, and gives Dask arrays. Dask is imported only where one is given.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.functions.trees import flatten

__all__ = ["are_streams", "in_blocks", "is_lazy"]


def are_streams(arguments: Any) -> bool:
    """Return whether a tree holds an iterator or a Dask collection."""
    return any(_is_iterator(leaf) or is_lazy(leaf) for leaf in flatten(arguments)[0])


def _is_iterator(leaf: Any) -> bool:
    return hasattr(leaf, "__next__")


def is_lazy(leaf: Any) -> bool:
    """Return whether a leaf is a Dask collection; arrays of xarray may hold one."""
    return hasattr(leaf, "__dask_graph__") and getattr(leaf, "chunks", ()) is not None


def in_blocks(
    call: Callable[..., Any],
    example: Callable[..., Any],
    arguments: Sequence[Any],
    shapes: Sequence[tuple[int, ...] | None],
    out: Any = None,
) -> Any:
    """Make a call block by block.

    Parameters
    ----------
    call : callable
        Takes the arguments of a block; what Dask sends to its workers.
    example : callable
        Takes the same arguments, of one point, and tells the result's shapes.
    arguments : sequence
        Trees with iterators or Dask collections in them.
    shapes : sequence
        For each leaf the shape of one point; None for a static one.
    """
    leaves, structure = flatten(list(arguments))
    if out is not None:
        raise InputError(
            "out= was given with points that come in blocks: the result is made block by block. "
            "Leave it out, and store each block as it comes",
            code="wrong-out",
        )
    lazy = [leaf for leaf in leaves if is_lazy(leaf)]
    if not lazy:
        return _in_turn(call, leaves, structure)
    if len(lazy) < sum(is_lazy(leaf) or _is_iterator(leaf) for leaf in leaves):
        raise InputError(
            "an iterator and a Dask collection were given in one call: one is run at once, the "
            "other later. Make both the same",
            code="wrong-points",
        )
    from dask import array, delayed

    if not all(isinstance(leaf, array.Array) for leaf in lazy):
        return delayed(call, pure=True, traverse=False)(*arguments)
    if len(leaves) != len(shapes):
        raise InputError(
            f"arguments with {len(leaves)} leaves were given, and {len(shapes)} are needed: their "
            "structure must be that of the recording. Pass such arguments",
            code="wrong-points",
        )
    # An array of many points beside a Dask array is cut into the same blocks.
    leaves = [
        array.from_array(leaf, chunks=-1)
        if isinstance(leaf, np.ndarray) and shape is not None and leaf.ndim > len(shape)
        else leaf
        for leaf, shape in zip(leaves, shapes, strict=True)
    ]
    leading = _leading_axes(leaves, shapes)
    if not any(leading):
        return delayed(call, pure=True, traverse=False)(*arguments)
    return _lazily(call, example, leaves, structure, leading)


def _leading_axes(leaves: Sequence[Any], shapes: Sequence[tuple[int, ...] | None]) -> list[int]:
    """Return for each leaf how many axes count points: those before one point's."""
    leading = []
    for leaf, shape in zip(leaves, shapes, strict=True):
        count = 0
        if is_lazy(leaf):
            own = () if shape is None else shape
            count = leaf.ndim - len(own)
            if shape is None or count < 0 or leaf.shape[count:] != own:
                raise InputError(
                    f"a Dask array of shape {leaf.shape} was given, and one point has {shape} "
                    "there: many points have leading axes before that shape. Pass such an array",
                    code="wrong-points",
                )
        leading.append(count)
    if len({leaf.shape[:count] for leaf, count in zip(leaves, leading) if count}) > 1:
        raise InputError(
            f"Dask arrays with {leading} leading axes of different lengths were given: they count "
            "the same points. Pass arrays of as many points",
            code="wrong-points",
        )
    return leading


def _in_turn(call: Callable[..., Any], leaves: Sequence[Any], structure: Any) -> Iterator[Any]:
    streams = [leaf for leaf in leaves if _is_iterator(leaf)]
    end = object()
    for items in itertools.zip_longest(*streams, fillvalue=end):
        if any(item is end for item in items):
            raise InputError(
                "one of the iterators given as arguments ended before another: they must give "
                "as many blocks. Check where they come from",
                code="wrong-points",
            )
        given = iter(items)
        block = [next(given) if _is_iterator(leaf) else leaf for leaf in leaves]
        yield call(*structure.build(block))


def _lazily(
    call: Callable[..., Any],
    example: Callable[..., Any],
    leaves: Sequence[Any],
    structure: Any,
    leading: Sequence[int],
) -> Any:
    """Return Dask arrays of the result: one task for each block of points."""
    from dask import array, delayed

    first, depth = next(pair for pair in zip(leaves, leading, strict=True) if pair[1])
    chunks = first.chunks[:depth]
    blocks, one = [], []
    for leaf, count in zip(leaves, leading, strict=True):
        if count:
            whole = dict.fromkeys(range(count, leaf.ndim), -1)
            parts = leaf.rechunk({**dict(enumerate(chunks)), **whole}).to_delayed()
            blocks.append(parts.reshape(parts.shape[:count]))
        else:
            blocks.append(delayed(leaf, pure=True, traverse=False))
        one.append(np.ones((1,) * count + leaf.shape[count:]) if is_lazy(leaf) else leaf)
    found, tree = flatten(example(*structure.build(one)))
    run = delayed(_run_block, nout=len(found), pure=True)
    # The call is a value of its own in the graph: each worker unpickles it once, and
    # what it records and compiles serves all blocks there.
    call = delayed(call, pure=True, traverse=False)
    grids = [np.empty([len(sizes) for sizes in chunks], object) for _ in found]
    for index in np.ndindex(*grids[0].shape):
        here = [
            block[index] if count else block for block, count in zip(blocks, leading, strict=True)
        ]
        results = run(call, structure, here)
        size = tuple(sizes[k] for sizes, k in zip(chunks, index, strict=True))
        for grid, result, leaf in zip(grids, results, found, strict=True):
            grid[index] = array.from_delayed(result, size + np.shape(leaf)[depth:], np.float64)
    return tree.build([_joined(grid) for grid in grids])


def _run_block(call: Callable[..., Any], structure: Any, leaves: list[Any]) -> list[Any]:
    """Run a block, on a worker."""
    return flatten(call(*structure.build(leaves)))[0]


def _joined(grid: Any, axis: int = 0) -> Any:
    """Join blocks in a grid into one Dask array."""
    from dask import array

    parts = [_joined(part, axis + 1) if grid.ndim > 1 else part for part in grid]
    return array.concatenate(parts, axis=axis, allow_unknown_chunksizes=True)
