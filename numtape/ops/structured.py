"""Operations with shapes: what a vector instruction may be besides elementwise.

A vector instruction is one of nine kinds. *map* applies a row of the table to
whole arrays. Four combine elements: *reduce* and *accumulate* use a row's ufunc
along axes, *product* is a (batched) matrix product by BLAS, *scatter* adds
elements into places given by a table. The last four find places during the run:
*order* is where the elements of a row would be if sorted and *search* where
points belong among sorted numbers, both as floats without derivatives; *take*
reads elements at such places, and *spread* adds elements into them. What each
does to derivatives is in `numtape.transform.structured`.
"""

from numtape.ops.table import ROWS

__all__ = [
    "ACCUMULATE",
    "FLAT_KINDS",
    "INITIAL",
    "MAP",
    "ORDER",
    "ORDER_OPCODES",
    "PRODUCT",
    "PRODUCT_OPCODE",
    "REDUCE",
    "SCATTER",
    "SEARCH",
    "SPREAD",
    "TAKE",
]

MAP, REDUCE, ACCUMULATE, PRODUCT, SCATTER = "map", "reduce", "accumulate", "product", "scatter"
ORDER, SEARCH, TAKE, SPREAD = "order", "search", "take", "spread"

# What has no derivative: places are whole numbers.
FLAT_KINDS = (ORDER, SEARCH)

# A matrix product has no row; its place in the table of loops is after the rows.
PRODUCT_OPCODE = len(ROWS)

# So have NumPy's ways to sort: the quick one, and the one that keeps ties in order.
ORDER_OPCODES = {"quicksort": PRODUCT_OPCODE + 1, "stable": PRODUCT_OPCODE + 2}

# What a reduction starts from, for each row that may reduce.
INITIAL = {
    "add": 0.0,
    "multiply": 1.0,
    "maximum": float("-inf"),
    "minimum": float("inf"),
}
