"""The inner loops of NumPy's and SciPy's ufuncs, found by address.

A ufunc is a table of compiled loops, one for each combination of types, laid
out in a struct that NumPy's C header ``ufuncobject.h`` publishes. Calling the
float64 loop directly gives exactly NumPy's result at NumPy's speed, without
NumPy's dispatch. This module reads that struct, and knows nothing else.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.ops.structured import FIRST_FUNCTION, FUNCTIONS, PRODUCT_OPCODE
from numtape.ops.table import ROWS, load_ufunc

__all__ = ["CALLS", "double_loop", "has_double_loop", "loop_of_types", "loop_table"]

# The calls of all functions, end to end; their loops come after the product's.
CALLS = tuple((k, call) for k, function in enumerate(FUNCTIONS) for call in function.calls)


class _UFunc(ctypes.Structure):
    _fields_ = (
        ("reference_count", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
    )


@cache
def double_loop(ufunc: Any) -> tuple[int, int]:
    """The address of a ufunc's float64 loop and of the data it wants; zeros if it has none."""
    return loop_of_types(ufunc, "d" * ufunc.nin + "->" + "d" * ufunc.nout)


@cache
def loop_of_types(ufunc: Any, types: str) -> tuple[int, int]:
    """The same of the loop for given types, such as ``"d->dd"``."""
    struct = _UFunc.from_address(id(ufunc))
    if (struct.nin, struct.nout) != (ufunc.nin, ufunc.nout):
        raise RuntimeError(
            f"numtape cannot read the ufunc {ufunc.__name__!r}: NumPy {np.__version__} lays out "
            "ufuncs in a way this numtape does not know; install a numtape that supports it"
        )
    if types not in ufunc.types:
        return 0, 0
    position = ufunc.types.index(types)
    data = struct.data[position] if struct.data else None
    return struct.functions[position] or 0, data or 0


def has_double_loop(opcode: int) -> bool:
    """Whether the row at `opcode` can be run by its ufunc's loop."""
    path = ROWS[opcode].ufunc
    return path is not None and double_loop(load_ufunc(path))[0] != 0


def loop_table(opcodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Loop, data and arity for every opcode.

    Only SciPy's rows among `opcodes` are looked up, so that a tape without them
    does not import SciPy.
    """
    table = _numpy_loops().copy()
    for opcode in opcodes[opcodes < len(ROWS)]:
        path = ROWS[opcode].ufunc
        if path is not None and not path.startswith("numpy."):
            table[opcode, :2] = double_loop(load_ufunc(path))
    reached = opcodes[opcodes >= FIRST_FUNCTION] - FIRST_FUNCTION
    for place, (k, (path, types, arguments)) in enumerate(CALLS):
        if k in reached:
            loop = loop_of_types(load_ufunc(path), types)
            table[FIRST_FUNCTION + place] = *loop, len(arguments)
    return table


@cache
def _numpy_loops() -> npt.NDArray[np.int64]:
    table = np.zeros((FIRST_FUNCTION + len(CALLS), 3), np.int64)
    for opcode, row in enumerate(ROWS):
        table[opcode, 2] = row.arity
        if row.ufunc is not None and row.ufunc.startswith("numpy."):
            table[opcode, :2] = double_loop(load_ufunc(row.ufunc))
    table[PRODUCT_OPCODE, :2] = double_loop(np.matmul)
    return table
