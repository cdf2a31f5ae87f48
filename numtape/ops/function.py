"""What a *function* instruction applies: a `Function`, by loops of NumPy, SciPy or our own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Function", "Shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Function:
    """An operation on the last axes of its operands, by loops of NumPy or SciPy.

    Attributes
    ----------
    name : str
    signature : str
        The last axes of operands and results, as NumPy writes them for generalized
        ufuncs. ``p`` is the smaller of m and n, ``h`` one more than half of n. A last
        axis of 2 is for complex numbers: real and imaginary part.
    calls : tuple of (ufunc, types, arguments)
        The loops to call, one after the other: where the ufunc lives, its types,
        and which of the operands and results are its arguments.
    starts : tuple of (operand, result)
        Results that are copies of operands at first; a call then changes them.
    finite : bool
        Whether the call is only made for a matrix of finite numbers; else all results
        are nan.
    partials : tuple of tuple of str
        Of an elementwise function, for each result the partial by each operand, in the
        language of the table of rows: operands are x, y, z and w, results f, g, h and k, and
        elementwise functions of one result may be called too. Empty for other functions,
        whose rules are in `numtape.transform.linear_algebra`.
    """

    name: str
    signature: str
    calls: tuple[tuple[str, str, tuple[int, ...]], ...]
    starts: tuple[tuple[int, int], ...] = ()
    finite: bool = False
    partials: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def operands(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of each operand's last axes."""
        return _axes(self.signature.split("->")[0])

    @cached_property
    def results(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of each result's last axes."""
        return _axes(self.signature.split("->")[1])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of all axes that can have any extent."""
        every = [name for axes in (*self.operands, *self.results) for name in axes]
        return tuple(dict.fromkeys(name for name in every if not name.isdigit()))

    def extents(self, shapes: Sequence[Shape], **chosen: int) -> Shape:
        """Return the extent of each of `names`, for operands of these shapes."""
        known: dict[str, int] = dict(chosen)
        for axes, shape in zip(self.operands, shapes, strict=True):
            known.update(zip(axes, shape[len(shape) - len(axes) :], strict=True))
        if "p" in self.names:
            known.setdefault("p", min(known["m"], known["n"]))
        return tuple(known[name] for name in self.names)

    def shapes(self, shape: Shape) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
        """Return the shapes of operands and results, where ``shape`` is (*batch, *extents)."""
        split = len(shape) - len(self.names)
        extent = {"2": 2} | dict(zip(self.names, shape[split:], strict=True))
        operands, results = (
            tuple((*shape[:split], *(extent[name] for name in axes)) for axes in arguments)
            for arguments in (self.operands, self.results)
        )
        return operands, results


def _axes(arguments: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(re.findall(r"\w+", axes)) for axes in re.findall(r"\((.*?)\)", arguments))
