"""The kernels: everything of numtape that runs as machine code.

Only these look at an opcode, in the generated file `_kernels.py`.
Kernels take addresses, arrays and numbers, allocate nothing and raise nothing;
they return a status: FINE, or the index of the first guard that did not hold.

They are written in the package `template`, by subject. `generate.py` joins its parts, and puts
the operations' branches in place of the lines ``# <...>``. What stands between ``# <for tapes
of common operations too>`` and ``# <end>`` is written twice: a second time, with
names ending in ``_common``, for the operations marked common in the table alone.
Those compile in a quarter of the time, and are all that most tapes need.

A cached kernel must not use a symbol of another file (Numba would not notice an
edit there), hence everything is in one file.

A workspace is handed over as one integer, the address of its *handle*: a small
int64 table of addresses and sizes, whose fields are constants.

An operation without a branch of its own is run by the inner loop of its NumPy
or SciPy ufunc (see `loops.py`), one element at a time. In vector instructions every
operation is run by a loop: its ufunc's, or one made for it (`vector_maths.py`). A
loop takes three tables, of pointers, counts and steps in bytes, which kernels write
into the workspace's *frame*.
"""
