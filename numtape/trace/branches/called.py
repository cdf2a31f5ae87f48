"""What rewritten code calls, by the names that `lowering.py` writes: this module stands in it."""

from numtape.trace.branches.arms import (
    both,
    choice,
    either,
    loop,
    negated,
    none,
    result,
    truth,
    unset,
)
from numtape.trace.branches.effects import (
    context,
    opaque,
    operand,
    owner_of,
    touch,
    touch_attribute,
)

__all__ = [
    "both",
    "choice",
    "context",
    "either",
    "loop",
    "negated",
    "none",
    "opaque",
    "operand",
    "owner_of",
    "result",
    "touch",
    "touch_attribute",
    "truth",
    "unset",
]
