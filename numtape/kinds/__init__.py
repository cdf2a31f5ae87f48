"""The kinds of vector instructions, a module each; see `numtape.kinds.kind`."""

from numtape.kinds.accumulate import Accumulate
from numtape.kinds.function import ApplyFunction
from numtape.kinds.kind import Given, Kind, Problem, axes_by_result
from numtape.kinds.loop import Loop
from numtape.kinds.map import Map, call_text
from numtape.kinds.places import Order, Search, Spread, Take
from numtape.kinds.product import Product
from numtape.kinds.reduce import Reduce
from numtape.kinds.scatter import Scatter

__all__ = ["KINDS", "Given", "Kind", "Problem", "axes_by_result", "call_text"]

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(Map(), Reduce(), Accumulate(), Product(), Scatter()),
        *(Order(), Search(), Take(), Spread(), ApplyFunction(), Loop()),
    )
}
