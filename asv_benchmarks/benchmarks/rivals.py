"""How each library is made to differentiate a workload, in the way its own users would.

`prepare` returns a call without arguments: the derivative at a point in memory
that the caller may change. Everything a library does only once (recording,
building its graph, compiling) has then been done. Libraries that are not
installed, and workloads that a library cannot take, raise `NotImplementedError`,
which asv understands as "skip".
"""

import importlib
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import numtape

from .problems import (
    CHAIN_STEPS,
    FEATURES,
    HIDDEN,
    NORMALS,
    TARGETS,
    Batch,
    Problem,
    chain,
    chain_step,
    heston_path,
    heston_payoff,
    heston_step,
    network,
)

__all__ = [
    "BATCH_LIMITS",
    "BATCH_RIVALS",
    "RIVALS",
    "TOLERANCE",
    "Prepared",
    "prepare",
    "prepare_batch",
]

Floats = npt.NDArray[np.float64]


class Prepared(NamedTuple):
    """A derivative ready to be called.

    Attributes
    ----------
    point : float64 vector
        Where `call` differentiates; write into it to move.
    call : callable
        The gradient, or the Jacobian of a workload that returns a vector.
    """

    point: Floats
    call: Callable[[], Any]


def prepare(rival: str, problem: Problem) -> Prepared:
    """A rival's derivative of a problem, called once so that everything is compiled."""
    point = problem.point.copy()
    prepared = Prepared(point, RIVALS[rival](problem, point))
    prepared.call()
    return prepared


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotImplementedError(f"{name} is not installed") from None


def _has_vector_result(problem: Problem) -> bool:
    return np.ndim(problem.function(problem.point)) > 0


# numtape, in three ways: a tape whose result is a new array, a tape that writes
# into an array it is given, and the function that keeps its tapes by itself.


def _numtape(problem: Problem, point: Floats) -> Callable[[], Any]:
    tape = numtape.record(problem.function, point)
    if _has_vector_result(problem):
        return lambda: tape.jacobian(point)
    return lambda: tape.gradient(point)


def _numtape_out(problem: Problem, point: Floats) -> Callable[[], Any]:
    if _has_vector_result(problem):
        raise NotImplementedError("Tape.jacobian has no out=")
    tape = numtape.record(problem.function, point)
    out = np.empty_like(point)
    return lambda: tape.gradient(point, out=out)


def _numtape_function(problem: Problem, point: Floats) -> Callable[[], Any]:
    by = numtape.jacobian if _has_vector_result(problem) else numtape.grad
    derivative = by(problem.function)
    return lambda: derivative(point)


# CasADi: scalar symbols (SX) for loops of scalars, matrix symbols (MX) for array
# programs, each of which is the faster one there. A function is called with an
# array, or, without any conversion, on memory that it was given beforehand.


def _casadi_numpy(casadi: Any) -> Any:
    """CasADi's functions under NumPy's names."""

    def logaddexp(x: Any, y: Any) -> Any:
        return casadi.fmax(x, y) + casadi.log1p(casadi.exp(-casadi.fabs(x - y)))

    return SimpleNamespace(
        sqrt=casadi.sqrt,
        exp=casadi.exp,
        log=casadi.log,
        sin=casadi.sin,
        cos=casadi.cos,
        tanh=casadi.tanh,
        maximum=casadi.fmax,
        logaddexp=logaddexp,
        sum=casadi.sum1,
        matmul=casadi.mtimes,
        erf=casadi.erf,
        array=lambda parts: casadi.vertcat(*parts),
    )


def _casadi_network(casadi: Any, x: Any) -> Any:
    """The network, for a library that stores matrices by columns and broadcasts no rows."""
    size = 20 * HIDDEN
    weights = casadi.reshape(x[:size], HIDDEN, 20).T
    bias = casadi.repmat(x[size : size + HIDDEN].T, len(TARGETS), 1)
    hidden = casadi.tanh(casadi.mtimes(FEATURES, weights) + bias)
    output = casadi.mtimes(hidden, x[size + HIDDEN : size + 2 * HIDDEN]) + x[size + 2 * HIDDEN]
    return casadi.sum1((output - TARGETS) ** 2) / len(TARGETS)


def _casadi_derivative(problem: Problem, wanted: str) -> Any:
    casadi = _module("casadi")
    size = len(problem.point)
    symbol = (casadi.SX if problem.scalar_code else casadi.MX).sym("x", size)
    given = [symbol[i] for i in range(size)] if problem.scalar_code else symbol
    if problem.workload is network:
        result = _casadi_network(casadi, given)
    else:
        result = problem.workload(_casadi_numpy(casadi), given)
    if wanted == "jacobian":
        derivative = casadi.densify(casadi.jacobian(result, symbol))
    else:
        derivative = casadi.densify(casadi.gradient(result, symbol))
    if wanted == "greeks":
        second = casadi.jacobian(derivative[0], symbol[0])
        derivative = casadi.densify(casadi.vertcat(result, derivative, second))
    return casadi.Function("derivative", [symbol], [derivative])


def _wanted(problem: Problem) -> str:
    return "jacobian" if _has_vector_result(problem) else "gradient"


def _casadi(problem: Problem, point: Floats) -> Callable[[], Any]:
    derivative = _casadi_derivative(problem, _wanted(problem))
    return lambda: derivative(point)


def _casadi_buffer(problem: Problem, point: Floats) -> Callable[[], Any]:
    derivative = _casadi_derivative(problem, _wanted(problem))
    buffer, evaluate = derivative.buffer()
    result = np.zeros(derivative.size_out(0), order="F")  # CasADi stores matrices by columns
    buffer.set_arg(0, memoryview(point))
    buffer.set_res(0, memoryview(result.T))

    # CasADi keeps bare addresses: what they lead to must live as long as the call.
    def call(keep: Any = (buffer, point)) -> Floats:
        evaluate()
        return result

    return call


def _autograd(problem: Problem, point: Floats) -> Callable[[], Any]:
    autograd = _module("autograd")
    autograd_numpy = _module("autograd.numpy")
    by = autograd.jacobian if _has_vector_result(problem) else autograd.grad
    derivative = by(lambda x: problem.workload(autograd_numpy, x))
    return lambda: derivative(point)


def _scipy(problem: Problem, point: Floats) -> Callable[[], Any]:
    """Forward differences: one evaluation of plain NumPy code for each variable."""
    optimize = _module("scipy.optimize")
    if len(point) > 100:
        raise NotImplementedError("one evaluation for each of so many variables takes too long")
    # Python floats make a loop of scalars several times faster than NumPy's do.
    if problem.scalar_code:
        return lambda: optimize.approx_fprime(point, lambda x: problem.function(x.tolist()))
    return lambda: optimize.approx_fprime(point, problem.function)


# JAX: compiled. It unrolls Python loops, and compiling the path that way takes more
# than four minutes, so it gets the path as JAX wants it: a scan over the steps.


def _jax_path(jax: Any, x: Any) -> Any:
    def one_step(state: Any, normals: Any) -> Any:
        price, variance = state
        after = heston_step(jax.numpy, x, price, variance, normals[0], normals[1])
        return after, None

    (price, _), _ = jax.lax.scan(one_step, (x[0], x[1]), np.array(NORMALS))
    return heston_payoff(jax.numpy, x, price)


def _jax_chain(jax: Any, x: Any) -> Any:
    def one_step(state: Any, _: Any) -> Any:
        return chain_step(jax.numpy, state), None

    x, _ = jax.lax.scan(one_step, x, None, length=CHAIN_STEPS)
    return jax.numpy.sum(x * x)


def _one_threaded_jax() -> Any:
    """JAX on one thread: it takes as many as it finds cores when it first computes."""
    jax = _module("jax")
    jax.config.update("jax_enable_x64", True)
    if not hasattr(os, "sched_setaffinity"):
        return jax
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        jax.numpy.zeros(1).block_until_ready()
    finally:
        os.sched_setaffinity(0, cores)
    return jax


def _jax(problem: Problem, point: Floats) -> Callable[[], Any]:
    jax = _one_threaded_jax()
    if problem.scalar_code and len(point) > 200:
        raise NotImplementedError("compiling a loop that long takes minutes")
    by = jax.jacrev if _has_vector_result(problem) else jax.grad
    if problem.workload is heston_path:
        derivative = jax.jit(by(lambda x: _jax_path(jax, x)))
    elif problem.workload is chain:
        derivative = jax.jit(by(lambda x: _jax_chain(jax, x)))
    else:
        derivative = jax.jit(by(lambda x: problem.workload(jax.numpy, x)))
    return lambda: derivative(point).block_until_ready()


def _torch_numpy(torch: Any) -> Any:
    """PyTorch's functions under NumPy's names."""

    def tensor(x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64)

    return SimpleNamespace(
        sqrt=torch.sqrt,
        exp=torch.exp,
        log=torch.log,
        sin=torch.sin,
        cos=torch.cos,
        tanh=torch.tanh,
        maximum=lambda x, y: torch.maximum(tensor(x), tensor(y)),
        logaddexp=lambda x, y: torch.logaddexp(tensor(x), tensor(y)),
        sum=torch.sum,
        matmul=lambda x, y: torch.matmul(tensor(x), tensor(y)),
        reshape=torch.reshape,
        erf=torch.erf,
        array=torch.stack,
    )


def _torch(problem: Problem, point: Floats) -> Callable[[], Any]:
    torch = _module("torch")
    torch_numpy = _torch_numpy(torch)
    by = torch.func.jacrev if _has_vector_result(problem) else torch.func.grad
    derivative = by(lambda x: problem.workload(torch_numpy, x))
    memory = torch.from_numpy(point)
    try:
        derivative(memory)
    except TypeError as error:  # an array program whose constants are NumPy's
        raise NotImplementedError(f"PyTorch does not take it as it is: {error}") from None
    return lambda: derivative(memory)


# Many points. What is wanted of each is a row of the result (a matrix, for a Jacobian).


def prepare_batch(rival: str, batch: Batch, points: Floats) -> Callable[[], Any]:
    """A rival's derivatives at points, called once so that everything is compiled."""
    call = BATCH_RIVALS[rival](batch, points)
    call()
    return call


def _derivative(library: Any, function: Callable[[Any], Any], wanted: str) -> Callable[[Any], Any]:
    """What is wanted, written with a library's own grad, jvp and jacobian."""
    if wanted == "jacobian":
        return library.jacrev(function)
    if wanted == "gradient":
        return library.grad(function)

    def greeks(x: Any) -> Any:
        price, slopes = library.value_and_grad(function)(x)
        _, bend = library.jvp(library.grad(function), (x,), (library.first(x),))
        return library.hstack([price, slopes, bend[0]])

    return greeks


def _numtape_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    function = batch.problem.function
    if batch.wanted != "greeks":
        tape = numtape.record(function, points[0])
        by = tape.jacobian if batch.wanted == "jacobian" else tape.gradient
        return lambda: by(points, num_threads=1)
    library = SimpleNamespace(
        value_and_grad=numtape.value_and_grad,
        grad=numtape.grad,
        jvp=numtape.jvp,
        first=lambda x: np.eye(1, len(x))[0],
        hstack=np.hstack,
    )
    mapped = numtape.vmap(_derivative(library, function, "greeks"), num_threads=1)
    return lambda: mapped(points)


def _casadi_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    """CasADi's own map, whose call converts its argument and its result."""
    mapped = _casadi_derivative(batch.problem, batch.wanted).map(len(points))
    each = mapped.size_out(0)[1] // len(points)

    def call() -> Any:
        result = mapped(points.T)
        return result if each == 1 else (result, each)

    return call


def _casadi_buffer_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    """The same on memory given to it beforehand, without any conversion."""
    mapped = _casadi_derivative(batch.problem, batch.wanted).map(len(points))
    buffer, evaluate = mapped.buffer()
    rows, columns = mapped.size_out(0)
    result = np.zeros((columns, rows))  # by columns, and so point by point
    buffer.set_arg(0, memoryview(points))
    buffer.set_res(0, memoryview(result))
    each = columns // len(points)

    def call(keep: Any = (buffer, points)) -> Floats:
        evaluate()
        if each == 1:
            return result
        return result.reshape(len(points), each, rows).swapaxes(1, 2)

    return call


def _jax_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    jax = _one_threaded_jax()
    jax_numpy = SimpleNamespace(
        sqrt=jax.numpy.sqrt,
        exp=jax.numpy.exp,
        log=jax.numpy.log,
        sin=jax.numpy.sin,
        cos=jax.numpy.cos,
        maximum=jax.numpy.maximum,
        erf=jax.scipy.special.erf,
        array=jax.numpy.array,
    )
    library = SimpleNamespace(
        value_and_grad=jax.value_and_grad,
        grad=jax.grad,
        jacrev=jax.jacrev,
        jvp=jax.jvp,
        first=lambda x: jax.numpy.eye(1, x.shape[0])[0],
        hstack=jax.numpy.hstack,
    )
    workload = batch.problem.workload

    def function(x: Any) -> Any:
        return _jax_path(jax, x) if workload is heston_path else workload(jax_numpy, x)

    mapped = jax.jit(jax.vmap(_derivative(library, function, batch.wanted)))
    return lambda: mapped(points).block_until_ready()


def _torch_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    torch = _module("torch")
    torch.set_num_threads(1)

    def value_and_grad(function: Any) -> Any:
        both = torch.func.grad_and_value(function)
        return lambda x: both(x)[::-1]

    library = SimpleNamespace(
        value_and_grad=value_and_grad,
        grad=torch.func.grad,
        jacrev=torch.func.jacrev,
        jvp=torch.func.jvp,
        first=lambda x: torch.eye(1, x.shape[0], dtype=torch.float64)[0],
        hstack=lambda parts: torch.cat([torch.atleast_1d(part) for part in parts]),
    )
    torch_numpy = _torch_numpy(torch)
    workload = batch.problem.workload
    derivative = _derivative(library, lambda x: workload(torch_numpy, x), batch.wanted)
    mapped = torch.func.vmap(derivative)
    memory = torch.from_numpy(points)
    return lambda: mapped(memory)


def _autograd_batch(batch: Batch, points: Floats) -> Callable[[], Any]:
    """A loop over the points: the library has no other way."""
    if batch.wanted == "greeks":
        raise NotImplementedError("its error function is in a namespace of its own")
    autograd = _module("autograd")
    autograd_numpy = _module("autograd.numpy")
    by = autograd.jacobian if batch.wanted == "jacobian" else autograd.grad
    derivative = by(lambda x: batch.problem.workload(autograd_numpy, x))
    return lambda: np.array([derivative(point) for point in points])


BATCH_RIVALS: dict[str, Callable[[Batch, Floats], Callable[[], Any]]] = {
    "numtape": _numtape_batch,
    "casadi map": _casadi_batch,
    "casadi map buffer": _casadi_buffer_batch,
    "jax vmap": _jax_batch,
    "torch vmap": _torch_batch,
    "autograd loop": _autograd_batch,
}

# Points that a rival is measured at, where all of them would take minutes.
BATCH_LIMITS = {"autograd loop": 20, "torch vmap": 10_000}

RIVALS: dict[str, Callable[[Problem, Floats], Callable[[], Any]]] = {
    "numtape": _numtape,
    "numtape out=": _numtape_out,
    "numtape function": _numtape_function,
    "casadi": _casadi,
    "casadi buffer": _casadi_buffer,
    "autograd": _autograd,
    "scipy differences": _scipy,
    "jax": _jax,
    "torch": _torch,
}

# How far a rival may be from the others, relative to the derivative's largest element:
# rounding for the exact ones, the step's error for differences.
TOLERANCE = dict.fromkeys(RIVALS, 1e-8) | {"scipy differences": 1e-4}
