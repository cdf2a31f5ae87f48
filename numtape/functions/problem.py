"""`problem`: a function, its constraints and their derivatives, in the shapes that solvers ask for.

A solver asks for the value, the gradient and the Hessian at one point in calls of their own. A
`Problem` remembers the last point: what was computed there is not computed again, and the value and
the derivative come together once it was seen that both are asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.functions.differentiated import Derivative
from numtape.functions.ipopt import Ipopt
from numtape.functions.paths import Recordings
from numtape.functions.recording import check_callable
from numtape.functions.runner import Failed
from numtape.functions.selection import select
from numtape.functions.sparse_functions import SparseFunction
from numtape.functions.sparse_options import Sparse
from numtape.functions.tape import Tape

__all__ = ["Problem", "problem"]

Floats = npt.NDArray[np.float64]

# At so many points one after the other a derivative is asked for before it is computed with the
# value: line searches and integrators ask for values alone at most points.
_OFTEN = 2


def problem(
    objective: Callable[..., Any],
    constraints: Callable[..., Any] | None = None,
    *,
    argnum: int = 0,
    sparse: bool = False,
    branches: str | None = None,
) -> "Problem":
    """Return an object whose methods are what solvers ask for: values, gradients, Hessians.

    Parameters
    ----------
    objective : callable
        Plain NumPy code. It returns a number to minimize, or an array: residuals, equations, the
        right-hand side of a differential equation.
    constraints : callable, optional
        Of the same arguments; returns an array.
    argnum : int
        Which argument the solver changes, an array of one axis. For ``f(t, y)`` it is 1.
    sparse : bool
        Whether Jacobians and Hessians are ``scipy.sparse.csr_array``. The gradient of a number is
        an array in any case.
    branches : {"auto", "select", "paths"}, optional
        As for `grad`.

    Returns
    -------
    Problem

    Raises
    ------
    InputError
        Where the functions cannot be called.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> from scipy.optimize import minimize
    >>> p = nt.problem(lambda x: np.sum((x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2))
    >>> found = minimize(p.fun, np.zeros(4), jac=p.jac, hess=p.hess, method="trust-exact")
    >>> found.x.round(6)
    array([1., 1., 1., 1.])
    """
    return Problem(objective, constraints, argnum, sparse, branches)


class Problem:
    """A function and its constraints as solvers take them; `problem` makes one.

    Methods take the arguments of the functions. Results are the caller's own: changing one changes
    nothing here.

    Parameters
    ----------
    objective, constraints, argnum, sparse, branches
        As for `problem`.

    Attributes
    ----------
    counts : Counter
        How often each method computed something; what was remembered does not count.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> p = nt.problem(lambda x: np.sum(x**2), lambda x: x[:1] * x[1:])
    >>> x = np.array([1.0, 2.0])
    >>> p.fun(x), p.jac(x), p.constraints_jac(x)
    (5.0, array([2., 4.]), array([[2., 1.]]))
    >>> p.lagrangian_hess(x, [10.0])
    array([[ 2., 10.],
           [10.,  2.]])
    """

    def __init__(
        self,
        objective: Callable[..., Any],
        constraints: Callable[..., Any] | None,
        argnum: int,
        sparse: bool,
        branches: str | None,
    ) -> None:
        check_callable(objective, "problem", "problem(f)")
        self._argnum = argnum
        self._objective = _Function(objective, argnum, sparse, branches)
        self._constraints = None
        if constraints is not None:
            check_callable(constraints, "problem", "problem(f, constraints=g)")
            self._constraints = _Function(constraints, argnum, sparse, branches)
            self._lagrangian = _Function(
                _lagrangian(objective, constraints), argnum, sparse, branches
            )
        self._point = _Point(None, {})
        self.counts: Counter[str] = Counter()

    def fun(self, *arguments: Any) -> Any:
        """Return the objective's value: a float, or an array.

        Parameters
        ----------
        *arguments
            As for the objective.

        Returns
        -------
        float or array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(lambda x: np.sum(x**2)).fun(np.array([1.0, 2.0]))
        5.0
        """
        return self._value("fun", self._objective, "jac", arguments)

    def jac(self, *arguments: Any) -> Any:
        """Return the gradient of a number, the Jacobian of an array.

        Parameters
        ----------
        *arguments
            As for the objective.

        Returns
        -------
        array or csr_array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(lambda x: np.sum(x**2)).jac(np.array([1.0, 2.0]))
        array([2., 4.])
        """
        return self._slopes("fun", self._objective, "jac", arguments)

    def hess(self, *arguments: Any) -> Any:
        """Return the Hessian of an objective that is a number.

        Parameters
        ----------
        *arguments
            As for the objective.

        Returns
        -------
        array or csr_array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(lambda x: x[0] * x[1]).hess(np.array([1.0, 2.0]))
        array([[0., 1.],
               [1., 0.]])
        """
        known = self._at(arguments).known
        if "hess" not in known:
            self.counts["hess"] += 1
            known["hess"] = self._objective.hessian(*arguments)
        return _copied(known["hess"])

    def hessp(self, *arguments: Any) -> Floats:
        """Return the product of the Hessian with a vector.

        Parameters
        ----------
        *arguments
            As for the objective, but for a vector after the one that is differentiated by, as
            SciPy's solvers pass it.

        Returns
        -------
        array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(lambda x: x[0] * x[1]).hessp(np.ones(2), np.array([3.0, 4.0]))
        array([4., 3.])
        """
        place = self._argnum + 1
        point, vector = arguments[:place] + arguments[place + 1 :], arguments[place]
        self.counts["hessp"] += 1
        found: Floats = self._objective.product(point, vector)
        return found

    def constraints(self, *arguments: Any) -> Any:
        """Return the values of the constraints.

        Parameters
        ----------
        *arguments
            As for the constraints.

        Returns
        -------
        array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(np.sum, lambda x: x[1:] - x[:-1]).constraints(np.array([1.0, 4.0]))
        array([3.])
        """
        return self._value("constraints", self._known(), "constraints_jac", arguments)

    def constraints_jac(self, *arguments: Any) -> Any:
        """Return the Jacobian of the constraints.

        Parameters
        ----------
        *arguments
            As for the constraints.

        Returns
        -------
        array or csr_array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.problem(np.sum, lambda x: x[1:] * x[:-1]).constraints_jac(np.array([1.0, 4.0]))
        array([[4., 1.]])
        """
        return self._slopes("constraints", self._known(), "constraints_jac", arguments)

    def lagrangian_hess(self, *arguments: Any, objective_factor: float = 1.0) -> Any:
        """Return the Hessian of ``objective_factor * objective + multipliers @ constraints``.

        Parameters
        ----------
        *arguments
            Those of the functions, then the multipliers, an array, and if wanted the factor.
        objective_factor : float
            By name, or as the last argument.

        Returns
        -------
        array or csr_array

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> p = nt.problem(lambda x: x[0] ** 2, lambda x: x[1:] * x[:-1])
        >>> p.lagrangian_hess(np.ones(2), [5.0])
        array([[2., 5.],
               [5., 0.]])
        """
        self._known()
        count = self._objective.arguments or len(arguments) - 1
        if len(arguments) == count + 2:
            *arguments, objective_factor = arguments  # type: ignore[assignment]
        *point, multipliers = arguments
        weights = np.asarray(multipliers, np.float64)
        self.counts["lagrangian_hess"] += 1
        return self._lagrangian.hessian(*point, weights, float(objective_factor))

    def scipy_constraint(self, lower: Any, upper: Any) -> Any:
        """Return the constraints as SciPy's ``minimize(method="trust-constr")`` takes them.

        Parameters
        ----------
        lower, upper : float or array
            Bounds of the constraints; equal ones for an equality.

        Returns
        -------
        scipy.optimize.NonlinearConstraint
            With exact Jacobian and Hessian.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> from scipy.optimize import minimize
        >>> p = nt.problem(lambda x: np.sum(x**4), lambda x: np.array([x[0] + x[1]]))
        >>> on_a_line = p.scipy_constraint(2.0, 2.0)
        >>> found = minimize(
        ...     p.fun, [0.0, 3.0], jac=p.jac, hess=p.hess, method="trust-constr",
        ...     constraints=[on_a_line],
        ... )
        >>> found.x.round(4)
        array([1., 1.])
        """
        from scipy.optimize import NonlinearConstraint  # which takes long to import

        return NonlinearConstraint(
            self.constraints,
            lower,
            upper,
            jac=self.constraints_jac,
            hess=lambda x, multipliers: self.lagrangian_hess(x, multipliers, objective_factor=0.0),
        )

    def ipopt(self, x: npt.ArrayLike) -> Ipopt:
        """Return the callbacks that `cyipopt.Problem` asks for, with their structures.

        Parameters
        ----------
        x : array
            A point, such as the first one: structures are those of the path that it takes.

        Returns
        -------
        Ipopt
            Its method ``solve`` runs Ipopt.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> p = nt.problem(lambda x: x[0] * x[1], lambda x: np.array([x @ x]), sparse=True)
        >>> callbacks = p.ipopt(np.ones(2))
        >>> callbacks.hessianstructure()
        (array([0, 1, 1]), array([0, 0, 1]))
        """
        return Ipopt(self, np.asarray(x, np.float64), self._constraints is not None)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show a line with the counts and the last value, as long as a solver runs.

        Raises
        ------
        InputError
            Where `rich`, which draws it, is not installed.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> p = nt.problem(lambda x: np.sum(x**2))
        >>> with p.progress():  # doctest: +SKIP
        ...     minimize(p.fun, np.ones(3), jac=p.jac)
        """
        try:
            from rich.live import Live
            from rich.text import Text
        except ImportError:
            raise InputError(
                "progress() was called: the line is drawn with rich, which is not installed. Run "
                'pip install "numtape[cli]", or look at counts',
                code="missing-library",
            ) from None

        def line() -> Text:
            value = self._point.known.get("fun")
            counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
            shown = f"{value:.6g}" if isinstance(value, float) else ""
            return Text(f"{shown}  {counts}".strip())

        with Live(get_renderable=line, refresh_per_second=8):
            yield

    # what is remembered

    def _known(self) -> "_Function":
        if self._constraints is None:
            raise InputError(
                "the constraints of a problem were asked for that has none: they are a function of "
                "their own. Make it with problem(objective, constraints=g)",
                code="no-constraints",
            )
        return self._constraints

    def _at(self, arguments: tuple[Any, ...]) -> "_Point":
        """Return what is known at these arguments."""
        key, point = _key(arguments), self._point
        if point.key != key:
            asked = point.asked
            point = self._point = _Point(key, {name: asked[name] + 1 for name in asked})
        return point

    def _value(
        self, name: str, function: "_Function", slopes: str, arguments: tuple[Any, ...]
    ) -> Any:
        point = self._at(arguments)
        known = point.known
        if name not in known:
            self.counts[name] += 1
            if point.before.get(slopes, 0) >= _OFTEN:  # it is likely to be asked for here too
                self.counts[slopes] += 1
                known[name], known[slopes] = function.value_and_slopes(*arguments)
            else:
                known[name] = function.value(*arguments)
        return _copied(known[name])

    def _slopes(
        self, name: str, function: "_Function", slopes: str, arguments: tuple[Any, ...]
    ) -> Any:
        point = self._at(arguments)
        known = point.known
        point.asked[slopes] = point.before.get(slopes, 0)
        if slopes not in known:
            self.counts[slopes] += 1
            value, known[slopes] = function.value_and_slopes(*arguments)
            if name not in known:
                self.counts[name] += 1
                known[name] = value
        return _copied(known[slopes])


class _Point:
    """What is known at a point.

    Attributes
    ----------
    key
        The arguments, as something that can be compared.
    known : dict
        By method.
    before : dict
        At how many points before this one, without a gap, derivatives were asked for.
    asked : dict
        Likewise, of those that were asked for here.
    """

    __slots__ = ("asked", "before", "key", "known")

    def __init__(self, key: Any, before: dict[str, int]) -> None:
        self.key = key
        self.known: dict[str, Any] = {}
        self.before = before
        self.asked: dict[str, int] = {}


class _Function:
    """A function, its value and derivatives, of one set of recordings.

    Attributes
    ----------
    arguments : int
        How many it was last called with; 0 before.
    """

    def __init__(
        self, function: Callable[..., Any], argnum: int, sparse: bool, branches: str | None
    ) -> None:
        options = Sparse() if sparse else None
        self._argnum = argnum
        self.arguments = 0

        def derivative(name: str, method: str, options: Sparse | None = None) -> Derivative:
            kind = Derivative if options is None else SparseFunction
            made = kind(*(function, argnum, False, name, method), branches=branches, sparse=options)
            made.recordings = self.recordings
            return made

        self.recordings = Recordings(function, branches=branches)
        self.value = derivative("value", "value")
        self._with_gradient = derivative("value_and_grad", "value_and_gradient")
        self._with_jacobian = derivative("value_and_jacobian", "value_and_jacobian", options)
        self.hessian = derivative("hessian", "hessian", options)
        self._is_number: bool | None = None

    def value_and_slopes(self, *arguments: Any) -> tuple[Any, Any]:
        """Return the value, and the gradient of a number or the Jacobian of an array."""
        if self._is_number is None:
            self._is_number = np.ndim(self.value(*arguments)) == 0
        self.arguments = len(arguments)
        both = (self._with_gradient if self._is_number else self._with_jacobian)(*arguments)
        return both  # type: ignore[no-any-return]

    def product(self, arguments: Sequence[Any], vector: Any) -> Any:
        """Return the product of the Hessian with a vector."""
        paths, call = self.recordings.paths(tuple(arguments), {}, (self._argnum,))
        own = np.asarray(vector, np.float64).ravel()

        def run(tape: Tape, x: Floats) -> tuple[Failed | None, Any]:
            direction = np.zeros(len(x))
            direction[select(tape.signature, self._argnum).inputs] = own
            failed, products = tape.product("hvp").run(x, direction)
            return failed, None if failed is not None else products[self._argnum]

        return paths.run(call, run)


def _lagrangian(
    objective: Callable[..., Any], constraints: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the function of arguments, multipliers and a factor whose Hessian solvers want."""

    def lagrangian(*arguments: Any) -> Any:
        *point, multipliers, factor = arguments
        return factor * objective(*point) + np.sum(multipliers * np.ravel(constraints(*point)))

    return lagrangian


def _key(arguments: tuple[Any, ...]) -> Any:
    """Return arguments as something that can be compared, and that does not change with them."""
    if len(arguments) == 1 and type(arguments[0]) is np.ndarray:
        x = arguments[0]
        return x.shape, x.dtype.char, x.tobytes()
    return tuple([_part_of_key(each) for each in arguments])


def _part_of_key(argument: Any) -> Any:
    if isinstance(argument, float | int | str | bytes | None):
        return type(argument), argument
    array = np.asarray(argument)
    if array.dtype.kind not in "biuf":
        return object()  # equal to nothing: what is given is not remembered
    return array.shape, array.dtype.char, array.tobytes()


def _copied(value: Any) -> Any:
    return value if type(value) is float else value.copy()
