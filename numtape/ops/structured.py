"""Operations with shapes: what a vector instruction may be besides elementwise.

A vector instruction is one of five kinds. *map* applies a row of the table to
whole arrays. The other four, named here, combine elements: *reduce* and
*accumulate* use a row's ufunc along axes, *product* is a (batched) matrix
product by BLAS, *scatter* adds elements into places given by a table. What each
does to derivatives is in `numtape.transform.structured`.
"""

from numtape.ops.table import ROWS

__all__ = ["ACCUMULATE", "INITIAL", "MAP", "PRODUCT", "PRODUCT_OPCODE", "REDUCE", "SCATTER"]

MAP, REDUCE, ACCUMULATE, PRODUCT, SCATTER = "map", "reduce", "accumulate", "product", "scatter"

# A matrix product has no row; its place in the table of loops is after the rows.
PRODUCT_OPCODE = len(ROWS)

# What a reduction starts from, for each row that may reduce.
INITIAL = {
    "add": 0.0,
    "multiply": 1.0,
    "maximum": float("-inf"),
    "minimum": float("inf"),
}
