"""Derivatives as functions: names, argument order and shapes as in JAX.

Each takes a Python function and keeps its recordings: one for each signature
(structure, shapes, static arguments) and each path through its branches. The
first call of a kind records, which costs about a microsecond for each scalar
operation; later ones run the tape. Of too many recordings those used last are kept,
see `paths.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.functions.differentiated import Derivative
from numtape.functions.programs import check_hessian_mode, check_mode
from numtape.functions.sparse_functions import SparseFunction
from numtape.functions.sparse_options import sparse_options
from numtape.functions.trees import flatten
from numtape.ops.table import row_named
from numtape.sparse.derivative import check_sparse_mode
from numtape.trace.complexes import TracedComplex
from numtape.trace.traced import TracedFloat, as_python, is_traced
from numtape.trace.ufuncs import apply_row

__all__ = [
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "stop_gradient",
    "value_and_grad",
]

Floats = npt.NDArray[np.float64]


def grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
    checkpoint: bool | int | None = None,
) -> Derivative:
    """Return the gradient of a scalar function, as a function of the same arguments.

    Where the result does not depend on the arguments it is zero; see `ConstantResultWarning`.

    Parameters
    ----------
    function : callable
        Plain NumPy code that returns one number (or with `has_aux` a pair of one
        number and anything).
    argnums : int or sequence of int
        Which positional arguments to differentiate by; each may be a tree of
        floats and float arrays, or an integer or an array of them, which are taken
        as floats.
    has_aux : bool
        Whether `function` returns ``(value, aux)``; the result is then
        ``(gradient, aux)``.
    branches : {"auto", "select", "paths"}, optional
        How tests on traced values are recorded: see the decorator of this name. By default as the
        function says itself, or "auto".
    checkpoint : bool or int, optional
        Whether derivatives of loops keep little and compute steps again, or from how many bytes
        on; see `scan`.

    Returns
    -------
    callable
        Its result has the structure and shapes of the argument; for several
        argnums it is a tuple. A call costs about two to four times `function`
        run as machine code.

    Raises
    ------
    OutputError
        Where `function` returns anything but one float.
    InputError
        Where an argument to differentiate by is not made of floats, or where one is of a
        type that is not taken.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0, 3.0]))
    array([2., 4., 6.])
    >>> nt.grad(lambda p, x: p["a"] * np.sin(p["b"] * x))({"a": 2.0, "b": 1.0}, 0.0)
    {'a': 0.0, 'b': 0.0}
    """
    return Derivative(
        function, argnums, has_aux, "grad", "gradient", branches=branches, checkpoint=checkpoint
    )


def value_and_grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
    checkpoint: bool | int | None = None,
) -> Derivative:
    """Return the value and the gradient of a scalar function, as a function of its arguments.

    Parameters
    ----------
    function, argnums, has_aux, branches, checkpoint
        As for `grad`.

    Returns
    -------
    callable
        Giving ``(value, gradient)``, or with `has_aux` ``((value, aux), gradient)``. The
        value equals that of calling `function`, bit for bit. A call costs what one of
        `grad` does.

    Raises
    ------
    OutputError, InputError
        As for `grad`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.value_and_grad(np.sin)(0.0)
    (0.0, 1.0)
    """
    return Derivative(
        function,
        argnums,
        has_aux,
        "value_and_grad",
        "value_and_gradient",
        branches=branches,
        checkpoint=checkpoint,
    )


def jacobian(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
    checkpoint: bool | int | None = None,
    mode: str | None = None,
    sparse: Any = False,
    format: str | None = None,  # noqa: A002 (SciPy's name)
    check: bool = False,
) -> Derivative:
    """Return the Jacobian of a function, by the cheaper of forward and reverse mode.

    Parameters
    ----------
    function : callable
        Plain NumPy code that returns a tree of numbers and arrays.
    argnums, has_aux, branches, checkpoint
        As for `grad`.
    mode : {"forward", "reverse", "entries"}, optional
        One sweep an input, or one an output; the cheaper one by default. A sparse one is made by
        a tangent for each colour of columns, an adjoint for each colour of rows, or "entries":
        nonzeros accumulated forward.
    sparse : bool, Pattern or sparse array
        Whether to give arrays of ``scipy.sparse``: of a function that returns one array, for each
        argument one with a row for each number of the result and a column for each number of the
        argument. A pattern says where nonzeros may be; by default it is found, once for each path.
    format : str, optional
        SciPy's name of a format; "csr" by default.
    check : bool
        Whether to compare a sparse one with the derivative along a direction at each call: to be
        sure of a pattern.

    Returns
    -------
    callable
        Its result is a tree like the function's, of trees like the argument, of
        arrays of shape output shape + input shape. A call costs about one
        function for each input (forward), or two for each output (reverse). A sparse one takes
        ``out=``, an earlier result in CSR format, whose values are replaced, which takes about as
        long as to write them by hand; and has a method ``explain``, which says how it is made.

    Raises
    ------
    InputError
        Where an argument to differentiate by is not made of floats, or where one is of a
        type that is not taken.
    OutputError
        Where `function` returns anything but numbers and arrays.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.jacobian(lambda x: x * x[0])(np.array([2.0, 3.0]))
    array([[4., 0.],
           [3., 2.]])
    >>> slopes = nt.jacobian(lambda x: x[1:] * x[:-1], sparse=True)(np.arange(5.0))
    >>> slopes.data
    array([1., 0., 2., 1., 3., 2., 4., 3.])
    """
    options = sparse_options(sparse, format, check)
    (check_mode if options is None else check_sparse_mode)(mode)
    made = Derivative if options is None else SparseFunction
    return made(
        *(function, argnums, has_aux, "jacobian", "jacobian", mode),
        branches=branches,
        checkpoint=checkpoint,
        sparse=options,
    )


def jacfwd(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
) -> Derivative:
    """Return the Jacobian of a function in forward mode: one sweep for each input.

    Parameters
    ----------
    function, argnums, has_aux, branches
        As for `jacobian`.

    Returns
    -------
    callable
        Its result is that of `jacobian`. A call costs about one function for each input.

    Raises
    ------
    InputError, OutputError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.jacfwd(lambda t: np.array([np.cos(t), np.sin(t)]))(0.0)
    array([0., 1.])
    """
    return Derivative(
        function, argnums, has_aux, "jacfwd", "jacobian", "forward", branches=branches
    )


def jacrev(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
    checkpoint: bool | int | None = None,
) -> Derivative:
    """Return the Jacobian of a function in reverse mode: one sweep for each output.

    Parameters
    ----------
    function, argnums, has_aux, branches, checkpoint
        As for `jacobian`.

    Returns
    -------
    callable
        Its result is that of `jacobian`. A call costs about two functions for each output.

    Raises
    ------
    InputError, OutputError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.jacrev(lambda x: x[0] * x[1] * x[2])(np.array([2.0, 3.0, 4.0]))
    array([12.,  8.,  6.])
    """
    return Derivative(
        function,
        argnums,
        has_aux,
        "jacrev",
        "jacobian",
        "reverse",
        branches=branches,
        checkpoint=checkpoint,
    )


def hessian(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    branches: str | None = None,
    checkpoint: bool | int | None = None,
    mode: str | None = None,
    sparse: Any = False,
    format: str | None = None,  # noqa: A002 (SciPy's name)
    check: bool = False,
) -> Derivative:
    """Return the Hessian of a scalar function: the Jacobian of its gradient.

    Parameters
    ----------
    function, argnums, has_aux, branches, checkpoint
        As for `grad`.
    mode, sparse, format, check
        As for `jacobian`: `mode` is of a sparse one alone.

    Returns
    -------
    callable
        Its result is a tree like the argument, of trees like the argument, of
        arrays of shape first leaf + second leaf. A call costs about one gradient
        for each input.

    Raises
    ------
    OutputError, InputError
        As for `grad`.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> nt.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    >>> nt.hessian(lambda x: np.sum(x[1:] * x[:-1] ** 2), sparse=True)(np.arange(4.0)).nnz
    9
    """
    options = sparse_options(sparse, format, check)
    if options is not None:
        check_sparse_mode(mode)
        return SparseFunction(
            *(function, argnums, has_aux, "hessian", "hessian", mode),
            branches=branches,
            checkpoint=checkpoint,
            sparse=options,
        )
    check_hessian_mode(mode)
    # What a Hessian is the Jacobian of is the derivative of a float.
    inner = Derivative(
        function,
        *(argnums, has_aux, "jacrev", "jacobian", "reverse"),
        of_floats=True,
        checkpoint=checkpoint,
    )
    return Derivative(inner, argnums, has_aux, "hessian", "jacobian", "forward", branches=branches)


def stop_gradient(x: Any) -> Any:
    """Return the same value, held constant by every derivative.

    Parameters
    ----------
    x
        A tree of anything; inside a recorded function its traced values lose
        their derivative, outside one it comes back as it is.

    Returns
    -------
    tree
        As `x`, with the same values. Costs an instruction for each traced number, or one
        for each traced array.

    Examples
    --------
    >>> import numtape as nt
    >>> nt.grad(lambda x: x * nt.stop_gradient(x))(3.0)
    3.0
    """
    leaves, structure = flatten(x)
    row = row_named("stop_gradient")

    def hold(leaf: Any) -> Any:
        if isinstance(leaf, TracedComplex):
            return TracedComplex(leaf.recorder, hold(leaf.real), hold(leaf.imag))
        return apply_row(row, (leaf,)) if is_traced(leaf) else leaf

    held = (hold(leaf) for leaf in leaves)
    pairs = zip(held, leaves, strict=True)
    return structure.build(
        as_python(each) if isinstance(leaf, TracedFloat) else each for each, leaf in pairs
    )
