"""Running tapes: the generated kernels, and the workspaces that call them.

`template` is the kernels' hand-written part, `generate.py` writes
`_kernels.py` from it and the table of operations, `loops.py` finds the inner
loops of NumPy's and SciPy's ufuncs, and `workspace.py` prepares a tape for its
kernels. Nothing here knows how tapes are recorded or differentiated.
"""
