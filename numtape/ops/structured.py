"""Operations with shapes: what a vector instruction may be besides elementwise.

A vector instruction is one of eleven kinds. *map* applies a row of the table to
whole arrays. Four combine elements: *reduce* and *accumulate* use a row's ufunc
along axes, *product* is a (batched) matrix product by BLAS, *scatter* adds
elements into places given by a table. Four find places during the run:
*order* is where the elements of a row would be if sorted and *search* where
points belong among sorted numbers, both as floats without derivatives; *take*
reads elements at such places, and *spread* adds elements into them. *function*
applies one of `FUNCTIONS` to the last axes, by LAPACK in most cases, and *loop* runs a tape of its
own for so many steps.
All that is to be known of each is in `numtape.kinds`.
"""

from numtape.ops.function import Function
from numtape.ops.special import ELEMENTWISE
from numtape.ops.table import ROWS

__all__ = [
    "ACCUMULATE",
    "FIRST_FUNCTION",
    "FUNCTION",
    "FUNCTIONS",
    "FUNCTION_OPCODE",
    "INITIAL",
    "LOOP",
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
LOOP = "loop"

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
    *ELEMENTWISE,
)

FUNCTION_OPCODE = {function.name: FIRST_FUNCTION + k for k, function in enumerate(FUNCTIONS)}


def function_of(opcode: int) -> Function:
    """Return the function that an instruction's opcode stands for."""
    return FUNCTIONS[opcode - FIRST_FUNCTION]
