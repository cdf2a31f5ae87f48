"""Products of derivatives with seeds, at one point: `jvp`, `vjp`, `hvp`, `linearize`.

These give results and no functions, as in JAX. A function's recordings are kept as long as it
lives, see `kept.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.differentiated import Derivative
from numtape.functions.inner import InnerTape
from numtape.functions.kept import kept, recordings_of
from numtape.functions.labels import plain_values
from numtape.functions.recording import check_callable, check_no_named
from numtape.functions.runner import Failed
from numtape.functions.signature import Call, check_static_seeds, is_integer
from numtape.functions.tape import Tape
from numtape.functions.trees import flatten, map_leaves, one_for_each_argument
from numtape.trace.record import active_recorder
from numtape.trace.traced import Traced, is_traced
from numtape.transform.checkpoints import room_of

__all__ = ["hvp", "jvp", "linearize", "vjp"]

Floats = npt.NDArray[np.float64]


def jvp(
    function: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> Any:
    """Return the value of a function and its derivative along a direction.

    Parameters
    ----------
    function : callable
        Plain NumPy code. Its recordings are kept as long as it lives.
    primals : tuple or list
        The arguments: trees of floats and float arrays. The only one may be given without
        a tuple, if it is neither a tuple nor a list itself.
    tangents : tuple or list
        The direction, of the same structure and shapes.
    has_aux : bool
        Whether `function` returns ``(output, aux)``.

    Returns
    -------
    value, derivative
        Trees like the function's result; with `has_aux`, aux is third. Costs
        about two to three times the function.

    Raises
    ------
    InputError
        Where `tangents` do not fit `primals`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.jvp(lambda x, y: x * y, (2.0, 5.0), (1.0, 0.0))
    (10.0, 5.0)
    """
    check_callable(function, "jvp", "jvp(f, (x,), (dx,))")
    primals, tangents = one_for_each_argument(primals), one_for_each_argument(tangents)
    outer = active_recorder()
    if outer is not None:
        inner = InnerTape(outer, function, primals, has_aux)
        pair = inner.jvp(primals, tangents)
        return (*pair, inner.auxiliary()) if has_aux else pair
    paths, call = recordings_of(function, has_aux).paths(primals, {})
    primals = tuple(call.values()) if call.labelled else primals
    floats = _float_seeds(call, tangents)

    def run(tape: Tape, x: Floats) -> tuple[Failed | None, Any]:
        failed, pair = tape.try_jvp(x, primals, floats)
        if has_aux and failed is None:
            return None, (*pair, tape.auxiliary(primals))
        return failed, pair

    return paths.run(call, run)


def vjp(
    function: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    checkpoint: bool | int | None = None,
    **named: Any,
) -> Any:
    """Return the value of a function, and a function from cotangents to gradients.

    Parameters
    ----------
    function : callable
        Plain NumPy code. Its recordings are kept as long as it lives.
    *primals
        The arguments: trees of floats and float arrays.
    has_aux : bool
        Whether `function` returns ``(output, aux)``.
    checkpoint
        As for `grad`.
    **named
        Refused: arguments are taken by position.

    Returns
    -------
    value, pull_back
        ``pull_back(w)`` takes a tree like the result and gives a tuple with a
        tree for each argument; with `has_aux`, aux is third. A call of it costs
        about two to four times the function.

    Raises
    ------
    InputError
        From ``pull_back``, where cotangents do not fit the result.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> value, pull_back = nt.vjp(lambda x, y: x * y, 2.0, 5.0)
    >>> value, pull_back(1.0)
    (10.0, (5.0, 2.0))
    """
    check_callable(function, "vjp", "vjp(f, x)")
    check_no_named("vjp", named)
    outer, room = active_recorder(), room_of(checkpoint)
    if outer is not None:
        inner = InnerTape(outer, function, primals, has_aux, room=room)
        value = inner(*primals)
        aux = (inner.auxiliary(),) if has_aux else ()
        return value, lambda cotangents: inner.vjp(primals, cotangents)[1], *aux
    paths, call = recordings_of(function, has_aux, room).paths(primals, {})
    tape = paths.tape_at(call)
    point = tuple(call.copies())

    def pull_back(cotangents: Any) -> Any:
        return tape.vjp(point, map_leaves(_as_float_leaf, cotangents))[1]

    result = tape(*point)
    if has_aux:
        value, aux = result
        return value, pull_back, aux
    return result, pull_back


def hvp(
    function: Callable[..., Any], primals: Sequence[Any], vectors: Sequence[Any]
) -> tuple[Any, ...]:
    """Return the product of a scalar function's Hessian with a vector.

    Parameters
    ----------
    function : callable
        As for `grad`. Its recordings are kept as long as it lives.
    primals : tuple or list
        The arguments: trees of floats and float arrays; or the only one, as for `jvp`.
    vectors : tuple or list
        Trees of the same structure and shapes.

    Returns
    -------
    tuple
        A tree for each argument, None for a static one. Costs about four to ten
        times the function.

    Raises
    ------
    OutputError
        Where `function` returns anything but one float.
    InputError
        Where `vectors` do not fit `primals`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.hvp(lambda x: x[0] ** 2 * x[1], (np.array([1.0, 3.0]),), (np.array([1.0, 0.0]),))
    (array([6., 2.]),)
    """
    check_callable(function, "hvp", "hvp(f, (x,), (v,))")
    primals = one_for_each_argument(primals)
    if active_recorder() is None:
        direct = _hvp_of_floats(function, primals, one_for_each_argument(vectors))
        if direct is not None:
            return direct
    owners = _owners(primals)
    gradient = kept(
        function, ("gradient", owners), lambda f: Derivative(f, owners, False, "grad", "gradient")
    )
    products = iter(jvp(gradient, primals, vectors)[1])
    return tuple(next(products) if k in owners else None for k in range(len(primals)))


def _hvp_of_floats(
    function: Callable[..., Any], primals: tuple[Any, ...], vectors: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    """Return what `hvp` gives for float64 leaves alone, from the function's own recording.

    None for others. At first it takes half as long as recording the gradient to differentiate it.
    """
    for leaf in (*flatten(primals)[0], *flatten(vectors)[0]):
        is_array = type(leaf) is np.ndarray and leaf.dtype == np.float64
        if not (is_array or type(leaf) is float):
            return None
    paths, call = recordings_of(function, False).paths(primals, {})
    products: tuple[Any, ...] = paths.run(call, lambda tape, x: tape.try_hvp(x, vectors))
    return products


def _owners(primals: Sequence[Any]) -> tuple[int, ...]:
    """Return which arguments hold floats; if none, which are integers, or else all of them."""
    numbers = range(len(primals))
    floats = tuple(number for number in numbers if _holds_floats(primals[number]))
    integers = tuple(number for number in numbers if is_integer(plain_values(primals[number])))
    return floats or integers or tuple(numbers)


def _holds_floats(tree: Any) -> bool:
    """Return whether there is a leaf to differentiate by."""
    return any(
        isinstance(leaf, float | np.floating)
        or is_traced(leaf)
        or (isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f")
        for leaf in map(plain_values, flatten(tree)[0])
    )


def linearize(
    function: Callable[..., Any], *primals: Any, **named: Any
) -> tuple[Any, Callable[..., Any]]:
    """Return the value of a function, and its derivative there as a linear function.

    Parameters
    ----------
    function : callable
        Plain NumPy code. Its recordings are kept as long as it lives.
    *primals
        The arguments: trees of floats and float arrays.
    **named
        Refused: arguments are taken by position.

    Returns
    -------
    value, push_forward
        ``push_forward(dx, ...)`` takes a tree for each argument and gives one like the
        result. For a tape of scalar instructions the partials are computed once, and
        a call costs less than the function; otherwise two to three times as much.

    Raises
    ------
    InputError
        From ``push_forward``, where tangents do not fit `primals`.

    Examples
    --------
    >>> import numtape as nt
    >>> value, push_forward = nt.linearize(lambda x, y: x * y, 2.0, 5.0)
    >>> value, push_forward(1.0, 0.0)
    (10.0, 5.0)
    """
    check_callable(function, "linearize", "linearize(f, x)")
    check_no_named("linearize", named)
    outer = active_recorder()
    if outer is not None:
        inner = InnerTape(outer, function, primals)
        return inner(*primals), lambda *tangents: inner.jvp(primals, tangents)[1]
    paths, call = recordings_of(function, False).paths(primals, {})
    return paths.tape_at(call).linearize(call.copies())


def _float_seeds(call: Call, tangents: tuple[Any, ...]) -> list[Any]:
    """Return seeds as floats; for static leaves, which have none, the leaves themselves."""
    seeds, structure = flatten(list(tangents))
    if structure != call.signature.structure:  # refused where both are compared
        return list(map_leaves(_as_float_leaf, list(tangents)))
    check_static_seeds(call.signature, seeds)
    pairs = zip(seeds, call.signature.shapes, strict=True)
    return call.arguments([_as_float_leaf(seed) for seed, shape in pairs if shape is not None])


def _as_float_leaf(leaf: Any) -> Any:
    """Return a seed as floats; it may be given as integers."""
    if isinstance(leaf, Traced):
        return leaf
    if isinstance(leaf, int | np.integer):
        return float(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iub":
        return leaf.astype(np.float64)
    return leaf
