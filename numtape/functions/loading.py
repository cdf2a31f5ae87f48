"""Tapes read from files, which `Tape.save` has written; `saved.py` knows the format."""

import os
from collections.abc import Iterable

from numtape.functions.saved import read
from numtape.functions.tape import Tape

__all__ = ["load"]


def load(
    path: str | os.PathLike[str],
    *,
    types: Iterable[type] = (),
    memory_limit: float | None = None,
) -> Tape:
    """Read a tape that `Tape.save` has written.

    A file may come from anyone: no code in it is run, and the tape is checked completely
    before it can be. What it computes is of course up to who has written it.

    Parameters
    ----------
    path : str or path
    types : iterable of classes
        The named tuples and dataclasses among the arguments and results of the function
        that was recorded. Classes are found by name; numtape imports none by itself.
    memory_limit : float, optional
        How many bytes the tape may need to be run. By default NUMTAPE_MEMORY_LIMIT, else
        half of the machine's memory.

    Returns
    -------
    Tape

    Raises
    ------
    TapeError
        Where the file is no tape, is damaged, is of a newer version or holds an unknown
        operation, where the tape in it is malformed or needs too much memory, or where
        a class that it names is not among ``types``.
    OSError
        Where the file cannot be read.

    Notes
    -----
    Costs about 20 ns a scalar instruction and 20 µs a vector instruction beyond reading
    the bytes, and as much memory as the file is long, twice.

    Examples
    --------
    >>> import tempfile, numtape as nt
    >>> tape = nt.record(lambda p: p["a"] * p["b"], {"a": 2.0, "b": 3.0})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tape.save(f"{folder}/product.tape")
    ...     print(nt.load(f"{folder}/product.tape").gradient({"a": 2.0, "b": 3.0}))
    {'a': 3.0, 'b': 2.0}
    """
    return Tape(*read(path, types, memory_limit))
