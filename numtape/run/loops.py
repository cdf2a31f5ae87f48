"""The inner loops of NumPy's and SciPy's ufuncs, found by address.

A ufunc is a table of compiled loops, one for each combination of types, laid
out in a struct that NumPy's C header ``ufuncobject.h`` publishes. Calling the
float64 loop directly gives exactly NumPy's result at NumPy's speed, without
NumPy's dispatch. Sorting is found likewise, in the table of functions that NumPy
keeps for a dtype (``ndarraytypes.h``). This module reads those structs, and knows
nothing else.
"""

import ctypes
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import CompatibilityError
from numtape.ops.structured import (
    FIRST_FUNCTION,
    FUNCTIONS,
    ORDER_OPCODES,
    PRODUCT_OPCODE,
    SAFE_PRODUCT_OPCODE,
)
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
    """Return the address of a ufunc's float64 loop and of its data; zeros if it has none."""
    return loop_of_types(ufunc, "d" * ufunc.nin + "->" + "d" * ufunc.nout)


@cache
def loop_of_types(ufunc: Any, types: str) -> tuple[int, int]:
    """Return the same of the loop for given types, such as ``"d->dd"``."""
    struct = _UFunc.from_address(id(ufunc))
    if (struct.nin, struct.nout) != (ufunc.nin, ufunc.nout):
        raise CompatibilityError(
            f"numtape cannot read the ufunc {ufunc.__name__!r}: NumPy {np.__version__} lays out "
            "ufuncs in a way this numtape does not know; install a numtape that supports it"
        )
    if types not in ufunc.types:
        return 0, 0
    position = ufunc.types.index(types)
    data = struct.data[position] if struct.data else None
    return struct.functions[position] or 0, data or 0


def has_double_loop(opcode: int) -> bool:
    """Return whether the row at `opcode` can be run by its ufunc's loop."""
    path = ROWS[opcode].ufunc
    return path is not None and double_loop(load_ufunc(path))[0] != 0


def loop_table(opcodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return loop, data and arity for every opcode.

    Only SciPy's rows among `opcodes` are looked up, so that a tape without them
    does not import SciPy.
    """
    table = _numpy_loops().copy()
    for opcode in opcodes[opcodes < len(ROWS)]:
        path = ROWS[opcode].ufunc
        if path is not None and not path.startswith("numpy."):
            table[opcode, :2] = double_loop(load_ufunc(path))
    reached = set((opcodes[opcodes >= FIRST_FUNCTION] - FIRST_FUNCTION).tolist())
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
    table[[PRODUCT_OPCODE, SAFE_PRODUCT_OPCODE], :2] = double_loop(np.matmul)
    for opcode, address in zip(ORDER_OPCODES.values(), _argsorts(), strict=True):
        table[opcode, 0] = address
    return table


# Where the C interface keeps the function that finds a dtype's table of functions
# (`PyDataType_GetArrFuncs` in ``__multiarray_api.h``), and where in that table the
# functions are that sort places: after 21 casts, 12 others and 3 that sort numbers.
_GET_FUNCTIONS = 365
_FIRST_ARGSORT = 36


@cache
def _argsorts() -> tuple[int, int]:
    """Return the addresses of NumPy's quick and stable argsort of float64.

    They take the address of the numbers, that of the places, how many there are,
    and an array that numbers do not need.
    """
    of_capsule = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = of_capsule(import_module("numpy._core._multiarray_umath")._ARRAY_API, None)
    pointers = ctypes.POINTER(ctypes.c_void_p)
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(
        ctypes.cast(table, pointers)[_GET_FUNCTIONS] or 0
    )
    functions = ctypes.cast(get(np.dtype(np.float64)), pointers)
    quick, _, stable = (functions[_FIRST_ARGSORT + k] or 0 for k in range(3))
    if not quick or not stable:
        raise CompatibilityError(
            f"numtape cannot find how NumPy {np.__version__} sorts: it keeps these functions in a "
            "way this numtape does not know; install a numtape that supports it"
        )
    return quick, stable
