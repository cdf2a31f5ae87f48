"""Operations with shapes: what a vector instruction may be besides elementwise.

A vector instruction is one of ten kinds. *map* applies a row of the table to
whole arrays. Four combine elements: *reduce* and *accumulate* use a row's ufunc
along axes, *product* is a (batched) matrix product by BLAS, *scatter* adds
elements into places given by a table. Four find places during the run:
*order* is where the elements of a row would be if sorted and *search* where
points belong among sorted numbers, both as floats without derivatives; *take*
reads elements at such places, and *spread* adds elements into them. The last,
*function*, applies one of `FUNCTIONS` to the last axes, by LAPACK in most cases.
What each does to derivatives is in `numtape.transform.structured` and
`numtape.transform.linear_algebra`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from numtape.ops.table import ROWS

__all__ = [
    "ACCUMULATE",
    "FIRST_FUNCTION",
    "FLAT_KINDS",
    "FUNCTION",
    "FUNCTIONS",
    "FUNCTION_OPCODE",
    "INITIAL",
    "MAP",
    "ORDER",
    "ORDER_OPCODES",
    "PRODUCT",
    "PRODUCT_OPCODE",
    "REDUCE",
    "SAFE_PRODUCT_OPCODE",
    "SCATTER",
    "SEARCH",
    "SPREAD",
    "TAKE",
    "Function",
    "function_of",
]

MAP, REDUCE, ACCUMULATE, PRODUCT, SCATTER = "map", "reduce", "accumulate", "product", "scatter"
ORDER, SEARCH, TAKE, SPREAD, FUNCTION = "order", "search", "take", "spread", "function"

# What has no derivative: places are whole numbers.
FLAT_KINDS = (ORDER, SEARCH)

# A matrix product has no row; its place in the table of loops is after the rows. Then come
# NumPy's ways to sort, the quick one and the one that keeps ties in order; the product of
# derivatives, in which 0 times anything is 0 (see `scale`); then the functions.
PRODUCT_OPCODE = len(ROWS)
ORDER_OPCODES = {"quicksort": PRODUCT_OPCODE + 1, "stable": PRODUCT_OPCODE + 2}
SAFE_PRODUCT_OPCODE = PRODUCT_OPCODE + 3
FIRST_FUNCTION = PRODUCT_OPCODE + 4

# What a reduction starts from, for each row that may reduce.
INITIAL = {
    "add": 0.0,
    "multiply": 1.0,
    "maximum": float("-inf"),
    "minimum": float("inf"),
}

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
    """

    name: str
    signature: str
    calls: tuple[tuple[str, str, tuple[int, ...]], ...]
    starts: tuple[tuple[int, int], ...] = ()
    finite: bool = False

    @cached_property
    def operands(self) -> tuple[tuple[str, ...], ...]:
        """The names of each operand's last axes."""
        return _axes(self.signature.split("->")[0])

    @cached_property
    def results(self) -> tuple[tuple[str, ...], ...]:
        """The names of each result's last axes."""
        return _axes(self.signature.split("->")[1])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all axes that can have any extent."""
        every = [name for axes in (*self.operands, *self.results) for name in axes]
        return tuple(dict.fromkeys(name for name in every if not name.isdigit()))

    def extents(self, shapes: Sequence[Shape], **chosen: int) -> Shape:
        """The extent of each of `names`, for operands of these shapes; some may be chosen."""
        known: dict[str, int] = dict(chosen)
        for axes, shape in zip(self.operands, shapes, strict=True):
            known.update(zip(axes, shape[len(shape) - len(axes) :], strict=True))
        if "p" in self.names:
            known.setdefault("p", min(known["m"], known["n"]))
        return tuple(known[name] for name in self.names)

    def shapes(self, shape: Shape) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
        """The shapes of operands and results, where ``shape`` is (*batch, *extents)."""
        split = len(shape) - len(self.names)
        extent = {"2": 2} | dict(zip(self.names, shape[split:], strict=True))
        operands, results = (
            tuple((*shape[:split], *(extent[name] for name in axes)) for axes in arguments)
            for arguments in (self.operands, self.results)
        )
        return operands, results


def _axes(arguments: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(re.findall(r"\w+", axes)) for axes in re.findall(r"\((.*?)\)", arguments))


def _linalg(name: str, signature: str, types: str, finite: bool = False) -> Function:
    return _pairs(name, name, signature, types, finite)


def _pairs(name: str, ufunc: str, signature: str, types: str, finite: bool = False) -> Function:
    count = signature.count("(")
    call = (f"numpy.linalg._umath_linalg.{ufunc}", types, tuple(range(count)))
    return Function(name, signature, (call,), finite=finite)


def _fourier(name: str, signature: str, types: str) -> Function:
    call = (f"numpy.fft._pocketfft_umath.{name}", types, (0, 1, 2))
    return Function(name, signature, (call,))


_LINALG = "numpy.linalg._umath_linalg"

FUNCTIONS: tuple[Function, ...] = (
    _linalg("solve", "(m,m),(m,n)->(m,n)", "dd->d"),
    _linalg("inv", "(m,m)->(m,m)", "d->d"),
    _linalg("det", "(m,m)->()", "d->d"),
    _linalg("slogdet", "(m,m)->(),()", "d->dd"),
    _linalg("cholesky_lo", "(m,m)->(m,m)", "d->d"),
    _linalg("cholesky_up", "(m,m)->(m,m)", "d->d"),
    _linalg("eigh_lo", "(m,m)->(m),(m,m)", "d->dd"),
    _linalg("eigh_up", "(m,m)->(m),(m,m)", "d->dd"),
    _linalg("eigvalsh_lo", "(m,m)->(m)", "d->d"),
    _linalg("eigvalsh_up", "(m,m)->(m)", "d->d"),
    # Where LAPACK's dgeev meets a nan, it writes anywhere (NumPy refuses those before), and
    # its dgesdd may go on for ever.
    _linalg("eig", "(m,m)->(m,2),(m,m,2)", "d->DD", finite=True),
    _linalg("eigvals", "(m,m)->(m,2)", "d->D", finite=True),
    _linalg("svd_s", "(m,n)->(m,p),(p),(p,n)", "d->ddd", finite=True),
    _linalg("svd_f", "(m,n)->(m,m),(p),(n,n)", "d->ddd", finite=True),
    _linalg("svd", "(m,n)->(p)", "d->d", finite=True),
    Function(
        "qr",
        "(m,n)->(m,p),(m,n),(p)",
        (
            (f"{_LINALG}.qr_r_raw", "d->d", (2, 3)),
            (f"{_LINALG}.qr_reduced", "dd->d", (2, 3, 1)),
        ),
        starts=((0, 2),),
    ),
    # Of complex matrices; the vectors of these are meant for what does not depend on their
    # lengths and phases.
    _pairs("slogdet_pairs", "slogdet", "(m,m,2)->(2),()", "D->Dd"),
    _pairs("eig_pairs", "eig", "(m,m)->(m,2),(m,m,2)", "d->DD", finite=True),
    _pairs("eigh_pairs", "eigh_lo", "(m,m,2)->(m),(m,m,2)", "D->dD"),
    _fourier("fft", "(n,2),()->(n,2)", "Dd->D"),
    _fourier("ifft", "(n,2),()->(n,2)", "Dd->D"),
    _fourier("rfft_n_even", "(n),()->(h,2)", "dd->D"),
    _fourier("rfft_n_odd", "(n),()->(h,2)", "dd->D"),
    _fourier("irfft", "(h,2),()->(n)", "Dd->d"),
    Function(
        "betainc",
        "(),(),()->()",
        (("scipy.special.betainc", "ddd->d", (0, 1, 2, 3)),),
    ),
    Function(
        "betaincc",
        "(),(),()->()",
        (("scipy.special.betaincc", "ddd->d", (0, 1, 2, 3)),),
    ),
)

FUNCTION_OPCODE = {function.name: FIRST_FUNCTION + k for k, function in enumerate(FUNCTIONS)}


def function_of(opcode: int) -> Function:
    """The function that an instruction's opcode stands for."""
    return FUNCTIONS[opcode - FIRST_FUNCTION]
