"""Pictures of where a sparse matrix may have nonzeros: in braille, as SVG, by Matplotlib.

A large matrix is divided into cells, and a cell is shown where it has a nonzero: nothing is lost
that is there, and no picture grows with the matrix.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError

__all__ = ["braille", "draw", "svg"]

Ints = npt.NDArray[np.integer[Any]]
Shape = tuple[int, int]

_WIDE, _HIGH = 60, 24  # characters: two by four cells each
_CELLS = 160  # of a picture's longer side
_MARKERS = 300  # rows and columns of a pattern of which each nonzero is drawn
_PIXELS = 400  # cells of an image's longer side

# Where the dots of a character are, by row and column.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])

_COLOURS = "tab20"


def _cells(shape: Shape, rows: Ints, columns: Ints, most: Shape) -> npt.NDArray[np.bool_]:
    """Return which cells have a nonzero, of at most so many; square ones, if there are too many."""
    size = max(1.0, shape[0] / most[0], shape[1] / most[1])
    high, wide = (max(1, int(np.ceil(extent / size))) for extent in shape)
    cells = np.zeros((high, wide), bool)
    cells[(rows // size).astype(np.int64), (columns // size).astype(np.int64)] = True
    return cells


def braille(shape: Shape, rows: Ints, columns: Ints) -> str:
    """Return a picture in braille characters, of at most 60 by 24.

    Parameters
    ----------
    shape : tuple of int
    rows, columns : int array
        Of the nonzeros.

    Returns
    -------
    str
        A dot says that there is a nonzero at least where it stands.
    """
    cells = _cells(shape, rows, columns, (4 * _HIGH, 2 * _WIDE))
    high, wide = (
        -(-extent // step) * step for extent, step in zip(cells.shape, (4, 2), strict=True)
    )
    padded = np.zeros((high, wide), bool)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    blocks = padded.reshape(high // 4, 4, wide // 2, 2)
    codes = 0x2800 + np.einsum("iajb,ab->ij", blocks.astype(np.int64), _DOTS)
    return "\n".join("".join(map(chr, line)) for line in codes.tolist())


def svg(shape: Shape, rows: Ints, columns: Ints, text: str) -> str:
    """Return a picture as SVG, with a line of text below; it follows the page's colours."""
    cells = _cells(shape, rows, columns, (_CELLS, _CELLS))
    high, wide = cells.shape
    unit = 320 / max(high, wide)
    width, height = wide * unit, high * unit
    paths = []
    for row in range(high):  # neighbours in a row are one rectangle
        edges = np.flatnonzero(np.diff(cells[row].astype(np.int8), prepend=0, append=0))
        for start, stop in edges.reshape(-1, 2).tolist():
            place = f"M{start * unit:.6g} {row * unit:.6g}"
            paths.append(f"{place}h{(stop - start) * unit:.6g}v{unit:.6g}H{start * unit:.6g}z")
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escaped}" '
        f'width="{width + 2:.6g}" height="{height + 24:.6g}" '
        f'viewBox="-1 -1 {width + 2:.6g} {height + 24:.6g}">'
        f'<rect width="{width:.6g}" height="{height:.6g}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.4"/>'
        f'<path d="{"".join(paths)}" fill="currentColor"/>'
        f'<text x="0" y="{height + 16:.6g}" font-size="12" fill="currentColor" '
        f'font-family="sans-serif">{escaped}</text></svg>'
    )


def draw(
    axes: Any, shape: Shape, rows: Ints, columns: Ints, colours: Ints | None, title: str
) -> Any:
    """Draw a picture with Matplotlib, and return the axes.

    Parameters
    ----------
    axes : Axes or None
        Where to draw; None for new ones.
    shape : tuple of int
    rows, columns : int array
        Of the nonzeros.
    colours : int array, optional
        The colour of each.
    title : str
    """
    try:
        from matplotlib import colormaps, pyplot
    except ImportError:
        raise InputError(
            "spy was called: the picture is drawn with Matplotlib, which is not installed. Run "
            'pip install "numtape[plot]", or print the pattern',
            code="missing-library",
        ) from None
    if axes is None:
        _, axes = pyplot.subplots(layout="constrained")
    if colours is None and max(shape) > _MARKERS:
        cells = _cells(shape, rows, columns, (_PIXELS, _PIXELS))
        extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
        axes.imshow(cells, cmap="Greys", extent=extent, interpolation="nearest")
    else:
        size = 72 * max(axes.figure.get_size_inches()) * 0.6 / max(*shape, 1)
        shown = "black" if colours is None else colormaps[_COLOURS](np.asarray(colours) % 20)
        axes.scatter(columns, rows, s=max(1.5, 0.9 * size) ** 2, c=shown, marker="s", linewidths=0)
        axes.set_xlim(-0.5, shape[1] - 0.5)
        axes.set_ylim(shape[0] - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize="medium")
    return axes
