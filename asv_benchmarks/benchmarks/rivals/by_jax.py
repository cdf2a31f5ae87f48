"""JAX: compiled, and awaited.

It unrolls Python loops, and compiling a long one takes minutes (40 s for a determinant by
minors of 2,500 operations). So a loop whose steps repeat is given as JAX wants it, a scan
over the steps, and longer ones are left out.
"""

import functools
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import numtape

from ..measure import sized
from ..problems import (
    CHAIN_STEPS,
    NORMALS,
    Batch,
    Problem,
    chain,
    chain_step,
    heston_path,
    heston_payoff,
    heston_step,
)
from .common import Call, Floats, composed, module, wanted

__all__ = ["batch", "one_threaded", "single"]

# Beyond so many instructions, or variables read one by one, compiling the unrolled loop
# takes minutes.
_INSTRUCTIONS, _VARIABLES = sized(3000, 1000), 200


@functools.cache
def one_threaded() -> Any:
    """JAX on one thread: it takes as many as it finds cores when it first computes."""
    jax = module("jax")
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


class _NumPy:
    """jax.numpy, and the error function under the name that it has elsewhere."""

    def __init__(self, jax: Any) -> None:
        self.erf = jax.scipy.special.erf
        self._numpy = jax.numpy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)


def _function(jax: Any, problem: Problem) -> Callable[[Any], Any]:
    if problem.workload is heston_path:
        return lambda x: _path(jax, x)
    if problem.workload is chain:
        return lambda x: _chain(jax, x)
    if problem.scalar_code:
        length = numtape.record(problem.function, problem.point).flat.instructions
        if length > _INSTRUCTIONS or len(problem.point) > _VARIABLES:
            raise NotImplementedError(f"compiling a loop of {length} operations takes minutes")
    jax_numpy = _NumPy(jax)
    return lambda x: problem.workload(jax_numpy, x)


def _path(jax: Any, x: Any) -> Any:
    def one_step(state: Any, normals: Any) -> Any:
        price, variance = state
        after = heston_step(jax.numpy, x, price, variance, normals[0], normals[1])
        return after, None

    (price, _), _ = jax.lax.scan(one_step, (x[0], x[1]), np.array(NORMALS))
    return heston_payoff(jax.numpy, x, price)


def _chain(jax: Any, x: Any) -> Any:
    def one_step(state: Any, _: Any) -> Any:
        return chain_step(jax.numpy, state), None

    x, _ = jax.lax.scan(one_step, x, None, length=CHAIN_STEPS)
    return jax.numpy.sum(x * x)


def single(problem: Problem, point: Floats) -> Call:
    jax = one_threaded()
    by = jax.jacrev if wanted(problem) == "jacobian" else jax.grad
    derivative = jax.jit(by(_function(jax, problem)))
    return lambda: derivative(point).block_until_ready()


def batch(batch: Batch, points: Floats) -> Call:
    jax = one_threaded()
    library = SimpleNamespace(
        value_and_grad=jax.value_and_grad,
        grad=jax.grad,
        jacrev=jax.jacrev,
        jvp=jax.jvp,
        first=lambda x: jax.numpy.eye(1, x.shape[0])[0],
        hstack=jax.numpy.hstack,
    )
    each = composed(library, _function(jax, batch.problem), batch.wanted)
    mapped = jax.jit(jax.vmap(each))
    return lambda: mapped(points).block_until_ready()
