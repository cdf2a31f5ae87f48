"""`Pattern`: where a sparse matrix may have nonzeros; and its colourings.

A pattern is its arrays in CSR form and nothing else: it is compared, saved and pickled by them.
What it looks like is in `numtape.show.spy`.
"""

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError
from numtape.show.spy import braille, draw, svg
from numtape.sparse.greedy import colour_apart, colour_stars
from numtape.sparse.matrices import csr_array, is_sparse, module

__all__ = ["Colouring", "Pattern"]

Ints = npt.NDArray[np.integer[Any]]

_KINDS = ("columns", "rows", "star")


@dataclass(frozen=True)
class Colouring:
    """Colours of the columns or rows of a pattern.

    Attributes
    ----------
    kind : {"columns", "rows", "star"}
        Columns of one colour have no row in common, rows no column; "star" is of a symmetric
        pattern, where each entry is alone with its colour in its row or in its mirror image's.
    colours : int64 array
        From 0 on.
    count : int
        How many there are.
    """

    kind: str
    colours: npt.NDArray[np.int64]
    count: int


@dataclass(frozen=True, eq=False, repr=False)
class Pattern:
    """Where a matrix may have nonzeros, in CSR order.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    indptr : int array
        Where each row begins in `indices`, and the end.
    indices : int array
        The columns of each row, in ascending order.

    Raises
    ------
    InputError
        Where the arrays are not those of a pattern.

    Notes
    -----
    The arrays cannot be written to. They are of int32 where that does, as SciPy's.

    Examples
    --------
    >>> import numpy as np, numtape as nt
    >>> pattern = nt.Pattern.from_coo([0, 1, 1], [2, 0, 2], (2, 3))
    >>> pattern
    <Pattern: 2 x 3, 3 nonzeros, 50 %>
    >>> print(pattern)
    ⠂⠃
    2 x 3, 3 nonzeros, 50 %
    """

    shape: tuple[int, int]
    indptr: Ints
    indices: Ints

    def __post_init__(self) -> None:
        shape = tuple(int(extent) for extent in self.shape)
        indptr, indices = np.asarray(self.indptr), np.asarray(self.indices)
        problem = _problem(shape, indptr, indices)
        if problem is not None:
            raise InputError(
                f"a pattern of shape {shape} was given {problem}: indptr has one entry more than "
                "there are rows, from 0 to the number of indices, and the columns of each row "
                "ascend. Make it with Pattern.from_coo, which sorts",
                code="wrong-pattern",
            )
        small = max(*shape, len(indices)) < np.iinfo(np.int32).max
        kind = np.int32 if small else np.int64
        for name, array in (("indptr", indptr), ("indices", indices)):
            kept = array.astype(kind)
            kept.flags.writeable = False
            object.__setattr__(self, name, kept)
        object.__setattr__(self, "shape", shape)

    @classmethod
    def from_coo(cls, rows: Any, columns: Any, shape: tuple[int, int]) -> "Pattern":
        """Return the pattern of entries, which may come in any order and more than once.

        Parameters
        ----------
        rows, columns : array of int
            Of each entry.
        shape : tuple of int

        Returns
        -------
        Pattern

        Raises
        ------
        InputError
            Where an entry is outside of the shape.

        Examples
        --------
        >>> import numtape as nt
        >>> nt.Pattern.from_coo([1, 0, 1], [0, 1, 0], (2, 2)).columns
        array([1, 0], dtype=int32)
        """
        rows, columns = np.ravel(rows).astype(np.int64), np.ravel(columns).astype(np.int64)
        for name, numbers, extent in (("row", rows, shape[0]), ("column", columns, shape[1])):
            outside = (numbers < 0) | (numbers >= extent)
            if outside.any():
                raise InputError(
                    f"{name} {numbers[outside][0]} was given for a pattern of shape {shape}: "
                    f"{name}s are from 0 to {extent - 1}. Give a shape that has room for all",
                    code="wrong-pattern",
                )
        return cls.of(module().coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape))

    @classmethod
    def of(cls, matrix: Any) -> "Pattern":
        """Return the pattern of a matrix: one of SciPy's sparse arrays, or an array.

        Parameters
        ----------
        matrix : Pattern, sparse array or array
            Of a sparse one the stored entries count, whatever their values are; of an array those
            that are not zero.

        Returns
        -------
        Pattern

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> nt.Pattern.of(np.eye(3)).rows
        array([0, 1, 2])
        """
        if isinstance(matrix, Pattern):
            return matrix
        if not is_sparse(matrix):
            array = np.asarray(matrix)
            if array.ndim != 2 or array.dtype.kind not in "biuf":
                raise InputError(
                    f"a pattern of {matrix!r} was asked for: it must be a matrix, sparse or an "
                    "array of bools or numbers of two axes. Give one",
                    code="wrong-pattern",
                )
            matrix = module().csr_array(array != 0)
        made = module().csr_array(matrix, copy=True)
        made.data = np.ones(made.nnz, np.int8)
        made.sum_duplicates()
        return cls(made.shape, made.indptr, made.indices)

    @property
    def nnz(self) -> int:
        """How many entries there are."""
        return len(self.indices)

    @property
    def density(self) -> float:
        """The entries' share of the matrix."""
        return self.nnz / max(self.shape[0] * self.shape[1], 1)

    @property
    def rows(self) -> Ints:
        """The row of each entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    @property
    def columns(self) -> Ints:
        """The column of each entry."""
        return self.indices

    @property
    def T(self) -> "Pattern":  # noqa: N802 (NumPy's name)
        """The transposed pattern.

        Examples
        --------
        >>> import numtape as nt
        >>> nt.Pattern.from_coo([0], [1], (2, 3)).T
        <Pattern: 3 x 2, 1 nonzeros, 16.7 %>
        """
        turned = self.to_scipy().T.tocsr()
        return Pattern(turned.shape, turned.indptr, turned.indices)

    def to_scipy(self, data: npt.ArrayLike | None = None) -> Any:
        """Return a ``scipy.sparse.csr_array`` of this pattern.

        Parameters
        ----------
        data : array, optional
            A value for each entry, in order; all ones by default.

        Returns
        -------
        csr_array
            With index arrays of its own.

        Examples
        --------
        >>> import numtape as nt
        >>> nt.Pattern.from_coo([0, 1], [1, 0], (2, 2)).to_scipy([3.0, 4.0]).toarray()
        array([[0., 3.],
               [4., 0.]])
        """
        values = np.ones(self.nnz) if data is None else np.asarray(data)
        return csr_array(values, self.indices.copy(), self.indptr.copy(), self.shape)

    def colouring(self, kind: str) -> Colouring:
        """Return a greedy colouring in natural order; made once.

        Parameters
        ----------
        kind : {"columns", "rows", "star"}
            See `Colouring`. Columns for tangents, rows for adjoints, "star" for the Hessian of
            a function, whose pattern is symmetric.

        Returns
        -------
        Colouring
            It takes some 10 ns for each pair of entries in a row (a column).

        Raises
        ------
        InputError
            For another kind, or "star" of a pattern that is not symmetric.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> pattern = nt.Pattern.of(np.eye(6) + np.eye(6, k=1))
        >>> pattern.colouring("columns").colours
        array([0, 1, 0, 1, 0, 1])
        """
        if kind not in _KINDS:
            raise InputError(
                f"a colouring of kind {kind!r} was asked for: it must be 'columns', 'rows' or, of "
                "a symmetric pattern, 'star'. Give one of these",
                code="wrong-option",
            )
        if kind not in self._colourings:
            self._colourings[kind] = self._coloured(kind)
        return self._colourings[kind]

    @cached_property
    def _colourings(self) -> dict[str, Colouring]:
        return {}

    def _coloured(self, kind: str) -> Colouring:
        turned = self.T
        if kind == "star":
            if self != turned:
                raise InputError(
                    f"a star colouring of {self!r} was asked for, which is not symmetric: it is of "
                    "Hessians. Use 'columns' or 'rows'",
                    code="wrong-option",
                )
            return self._stars()
        own, across = (turned, self) if kind == "columns" else (self, turned)
        size = own.shape[0]
        colours, used = np.full((2, size + 1), -1)
        count = colour_apart(
            np.arange(size),
            *(own.indptr, own.indices, across.indptr, across.indices),
            *(colours, used),
        )
        return Colouring(kind, colours[:size], int(count))

    def _stars(self) -> Colouring:
        size, entries = self.shape[0], self.nnz
        table = 1 << (2 * entries + 1).bit_length()
        colours, used, treated, heads = np.full((4, size + 1), -1)
        seen, keys = np.full((2, size + 1), -1), np.full(table, -1)
        lists = np.empty((2, 2 * entries + 1), np.int64)
        state, firsts = np.zeros(1, np.int64), np.full(table, -2)
        count = colour_stars(
            *(self.indptr, self.indices, colours, used, seen, treated),
            *(heads, *lists, keys, firsts, state),
        )
        return Colouring("star", colours[:size], int(count))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pattern to a file, which ``Pattern.load`` and ``numpy.load`` read.

        Parameters
        ----------
        path : str or path
            Written as it is, without another ending.

        Examples
        --------
        >>> import tempfile, numpy as np, numtape as nt
        >>> pattern = nt.Pattern.of(np.eye(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pattern.save(f"{folder}/eye.npz")
        ...     nt.Pattern.load(f"{folder}/eye.npz") == pattern
        True
        """
        with open(path, "wb") as file:
            np.savez(file, shape=self.shape, indptr=self.indptr, indices=self.indices)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Pattern":
        """Return a pattern from a file that ``save`` has written.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Pattern

        Raises
        ------
        InputError
            Where the file has no pattern.
        OSError
            Where it cannot be read.

        Examples
        --------
        >>> import tempfile, numpy as np, numtape as nt
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     nt.Pattern.of(np.eye(3)).save(f"{folder}/eye.npz")
        ...     nt.Pattern.load(f"{folder}/eye.npz").nnz
        3
        """
        try:
            with open(path, "rb") as file:
                found = np.load(file, allow_pickle=False)
                shape, indptr, indices = (found[name] for name in ("shape", "indptr", "indices"))
        except (ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"the file {os.fspath(path)!r} has no pattern ({error}): it must be one that "
                "Pattern.save has written, with shape, indptr and indices. Write it again",
                code="wrong-pattern",
            ) from None
        if shape.shape != (2,) or shape.dtype.kind not in "iu" or min(shape) < 0:
            raise InputError(
                f"the file {os.fspath(path)!r} has a pattern of shape {shape.tolist()}: it must be "
                "two numbers of 0 or more. Write it again with Pattern.save",
                code="wrong-pattern",
            )
        return cls(tuple(shape.tolist()), indptr, indices)

    def find(self, other: "Pattern") -> tuple[npt.NDArray[np.int64], tuple[int, int] | None]:
        """Return where another pattern's entries are among those of this one.

        Parameters
        ----------
        other : Pattern
            Of the same shape.

        Returns
        -------
        places : int64 array
            For each of the other's entries its number here.
        missing : pair of int, optional
            Row and column of the first that is not here; the places mean nothing then.
        """
        width = max(self.shape[1], 1)
        given, own = (each.rows * width + each.columns for each in (self, other))
        places = np.searchsorted(given, own)
        inside = np.minimum(places, max(len(given) - 1, 0))
        is_here = given[inside] == own if len(given) else np.zeros(len(own), bool)
        if is_here.all():
            return places, None
        row, column = divmod(int(own[np.argmin(is_here)]), width)
        return places, (row, column)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.indices, other.indices)
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.shape, self.indptr.tobytes(), self.indices.tobytes()))

    def __reduce__(self) -> Any:
        return Pattern, (self.shape, self.indptr, self.indices)

    def counts(self) -> str:
        """Return its counts in a line: shape, entries, colours where there are any."""
        rows, columns = self.shape
        parts = [f"{rows} x {columns}", f"{self.nnz} nonzeros", f"{100 * self.density:.3g} %"]
        parts += [f"{each.count} colours of {kind}" for kind, each in self._colourings.items()]
        return ", ".join(parts)

    def spy(self, axes: Any = None, colouring: str | None = None) -> Any:
        """Draw the pattern with Matplotlib.

        Parameters
        ----------
        axes : Axes, optional
            Where to draw; new ones by default.
        colouring : {"columns", "rows", "star"}, optional
            Show each nonzero in the colour of its column, or for "rows" of its row.

        Returns
        -------
        Axes

        Raises
        ------
        InputError
            Where Matplotlib is not installed, or there is no such colouring.

        Examples
        --------
        >>> import numpy as np, numtape as nt
        >>> axes = nt.Pattern.of(np.eye(6)).spy(colouring="columns")
        >>> axes.get_title()
        '6 x 6, 6 nonzeros, 16.7 %, 1 colours of columns'
        """
        colours = None
        if colouring is not None:
            found = self.colouring(colouring).colours
            colours = found[self.rows if colouring == "rows" else self.columns]
        return draw(axes, self.shape, self.rows, self.columns, colours, self.counts())

    def __repr__(self) -> str:
        return f"<Pattern: {self.counts()}>"

    def __str__(self) -> str:
        return f"{braille(self.shape, self.rows, self.columns)}\n{self.counts()}"

    def _repr_html_(self) -> str:
        return svg(self.shape, self.rows, self.columns, self.counts())


def _problem(shape: tuple[int, ...], indptr: Ints, indices: Ints) -> str | None:
    """Return what is wrong with the arrays of a pattern."""
    if len(shape) != 2 or min(shape) < 0:
        return "with other than two extents"
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            return f"with {name} of {array.dtype} and shape {array.shape}"
    if len(indptr) != shape[0] + 1:
        return f"with {len(indptr)} entries of indptr"
    steps = np.diff(indptr.astype(np.int64))
    if indptr[0] != 0 or indptr[-1] != len(indices) or (steps < 0).any():
        return f"with an indptr from {indptr[0]} to {indptr[-1]} for {len(indices)} indices"
    if len(indices) and (indices.min() < 0 or indices.max() >= shape[1]):
        return f"with columns from {indices.min()} to {indices.max()}"
    inside = np.ones(len(indices), bool)
    inside[indptr[:-1][steps > 0]] = False  # where a row begins
    if (np.diff(indices.astype(np.int64), prepend=-1)[inside] <= 0).any():
        return "with columns that do not ascend"
    return None
