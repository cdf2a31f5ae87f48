"""PyTorch: `torch.func`, on tensors that share the points' memory, and on one thread."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..problems import Batch, Problem
from .common import Call, Floats, composed, module, wanted

__all__ = ["batch", "single"]


@functools.cache
def _one_threaded() -> Any:
    torch = module("torch")
    torch.set_num_threads(1)
    return torch


def _numpy(torch: Any) -> Any:
    """PyTorch's functions under NumPy's names."""

    def tensor(x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64)

    def of_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, y: function(tensor(x), tensor(y))

    def largest(x: Any, axis: int, keepdims: bool = False) -> Any:
        return torch.amax(x, dim=axis, keepdim=keepdims)

    return SimpleNamespace(
        array=torch.stack,
        asarray=tensor,
        cos=torch.cos,
        erf=torch.erf,
        exp=torch.exp,
        log=torch.log,
        logaddexp=of_tensors(torch.logaddexp),
        matmul=torch.matmul,
        max=largest,
        maximum=of_tensors(torch.maximum),
        min=lambda x, axis: torch.amin(x, dim=axis),
        reshape=torch.reshape,
        roll=torch.roll,
        sin=torch.sin,
        sqrt=torch.sqrt,
        sum=torch.sum,
        tanh=torch.tanh,
    )


def _function(torch: Any, problem: Problem) -> Callable[[Any], Any]:
    torch_numpy = _numpy(torch)
    return lambda x: problem.workload(torch_numpy, x)


def single(problem: Problem, point: Floats) -> Call:
    torch = _one_threaded()
    by = torch.func.jacrev if wanted(problem) == "jacobian" else torch.func.grad
    derivative = by(_function(torch, problem))
    memory = torch.from_numpy(point)
    return lambda: derivative(memory)


def batch(batch: Batch, points: Floats) -> Call:
    torch = _one_threaded()

    def value_and_grad(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
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
    each = composed(library, _function(torch, batch.problem), batch.wanted)
    mapped = torch.func.vmap(each)
    memory = torch.from_numpy(points)
    return lambda: mapped(memory)
