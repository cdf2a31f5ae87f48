"""Derivative rules of the elementwise functions among `FUNCTIONS`, from their partials' text.

As with the rows of the table, a partial is evaluated on expressions, and so is recorded and
differentiated again for higher orders. Products are by `scale`: an exact 0 wins.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from numtape.errors import UnsupportedError
from numtape.ops.special import ELEMENTWISE
from numtape.ops.table import UNKNOWN
from numtape.transform.expressions import NAMES, Expression, as_expression, function_call

__all__ = ["ELEMENTWISE_RULES"]

_ORDINALS = ("first", "second", "third", "fourth")
_RESULTS = "fghk"


def _function_of(name: str) -> Callable[..., Expression]:
    """Return an elementwise function of one result, as partials call it."""

    def function(*operands: Any) -> Expression:
        builder = next(each.builder for each in operands if isinstance(each, Expression))
        slots = [as_expression(builder, operand).slots for operand in operands]
        return function_call(
            name, *(Expression(builder, each) for each in np.broadcast_arrays(*slots))
        )[0]

    return function


_NAMES = NAMES | {
    each.name: _function_of(each.name) for each in ELEMENTWISE if len(each.results) == 1
}


@cache
def _partial(name: str, operands: int, result: int, operand: int) -> Callable[..., Any] | None:
    """Return a function of the operands and the results, or None for 0."""
    function = next(each for each in ELEMENTWISE if each.name == name)
    text = function.partials[result][operand]
    if text == "0":
        return None
    if text == UNKNOWN:
        raise UnsupportedError(
            f"the derivative of {name} by its {_ORDINALS[operand]} operand has no closed form. "
            "Differentiate by the others only, or hold this one constant: pass "
            "numtape.stop_gradient(a), or an int",
            code="no-derivative",
        )
    names = [*"xyzw"[:operands], *_RESULTS[: len(function.results)]]
    found: Callable[..., Any] = eval(f"lambda {', '.join(names)}: {text}", dict(_NAMES))
    return found


def _rules(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def part(x: Any, f: Any, result: int, operand: int, seed: Expression) -> Expression | None:
        partial = _partial(name, len(x), result, operand)
        return None if partial is None else seed.apply("scale", partial(*x, *f), seed)

    def total(parts: list[Expression | None]) -> Expression | None:
        present = [each for each in parts if each is not None]
        if not present:
            return None
        whole = present[0]
        for each in present[1:]:
            whole = whole + each
        return whole

    def tangent(x: Any, dx: Any, f: Any) -> Any:
        return [
            total([part(x, f, k, j, seed) for j, seed in enumerate(dx) if seed is not None])
            for k in range(len(f))
        ]

    def adjoint(x: Any, f: Any, w: Any, wanted: Any) -> Any:
        return [
            total([part(x, f, k, j, seed) for k, seed in enumerate(w) if seed is not None])
            if wanted[j]
            else None
            for j in range(len(x))
        ]

    return tangent, adjoint


ELEMENTWISE_RULES = {each.name: _rules(each.name) for each in ELEMENTWISE}
