"""Greedy colourings as machine code. Vertices are coloured in a given order, each with the first
colour that it may have. Patterns come in CSR form.
"""

import numpy as np
from numba.extending import register_jitable

from numtape.jit.compile import kernel

__all__ = ["colour_apart", "colour_stars"]

_ODD = np.uint64(0x9E3779B97F4A7C15)


@register_jitable
def _first_free(used, vertex):
    """Return the first colour that is not marked by a vertex."""
    colour = 0
    while used[colour] == vertex:
        colour += 1
    return colour


@kernel
def colour_apart(order, indptr, indices, across_indptr, across_indices, colours, used):
    """Colour columns so that no two of one colour have a row in common.

    Parameters
    ----------
    order : int64 array
        The columns.
    indptr, indices : int array
        The rows of each column.
    across_indptr, across_indices : int array
        The columns of each row.
    colours : int64 array
        Of each column, -1 at first.
    used : int64 array
        Room for as many colours as there are columns, and one; -1 at first.

    Returns
    -------
    int
        How many colours there are.
    """
    count = 0
    for place in range(order.size):
        vertex = order[place]
        for k in range(indptr[vertex], indptr[vertex + 1]):
            row = indices[k]
            for other in range(across_indptr[row], across_indptr[row + 1]):
                colour = colours[across_indices[other]]
                if colour >= 0:
                    used[colour] = vertex
        colour = _first_free(used, vertex)
        colours[vertex] = colour
        count = max(count, colour + 1)
    return count


@register_jitable
def _place_of(keys, vertex, colour):
    """Return where a pair is in a table, or where it may be put."""
    key = np.int64(vertex) << 32 | np.int64(colour)
    mask = keys.size - 1
    place = np.int64((np.uint64(key) * _ODD) >> np.uint64(20)) & mask
    while keys[place] >= 0 and keys[place] != key:
        place = (place + 1) & mask
    keys[place] = key
    return place


@register_jitable
def _forbid(heads, following, forbidden, state, vertex, colour):
    """Forbid a colour for those that become neighbours of a vertex."""
    new = state[0]
    state[0] = new + 1
    forbidden[new], following[new] = colour, heads[vertex]
    heads[vertex] = new


@kernel
def colour_stars(
    order, indptr, indices, colours, used, heads, following, forbidden, keys, firsts, state
):
    """Colour the rows of a symmetric pattern so that each path of four has three colours.

    So two colours together make stars, and every entry is alone with its colour in its row, or in
    that of its mirror image.

    Parameters
    ----------
    order : int64 array
        The rows.
    indptr, indices : int array
        The pattern.
    colours, used
        As for `colour_apart`.
    heads : int64 array
        For each vertex the last colour that is forbidden for its neighbours; -1 at first. While it
        has no colour these are its neighbours' colours; then those of neighbours that have
        another neighbour of its own colour.
    following, forbidden : int64 array
        Of these the next, and the colour: three for each entry.
    keys, firsts : int64 array
        A table by vertex and colour of the first neighbour of that colour, -1 where there are more;
        `keys` are -1 at first, and twice the entries, a power of two.
    state : int64 array
        How many colours were forbidden: 0 at first.

    Returns
    -------
    int
        How many colours there are.
    """
    count = 0
    for at in range(order.size):
        vertex = order[at]
        for k in range(indptr[vertex], indptr[vertex + 1]):
            near = indices[k]
            if near == vertex:
                continue
            if colours[near] >= 0:
                used[colours[near]] = vertex
            entry = heads[near]
            while entry >= 0:
                used[forbidden[entry]] = vertex
                entry = following[entry]
        colour = _first_free(used, vertex)
        colours[vertex] = colour
        count = max(count, colour + 1)
        heads[vertex] = -1
        for k in range(indptr[vertex], indptr[vertex + 1]):
            near = indices[k]
            if near == vertex:
                continue
            place = _place_of(keys, near, colour)
            is_first = firsts[place] == -2
            if is_first:
                firsts[place] = vertex
            if colours[near] < 0:
                _forbid(heads, following, forbidden, state, near, colour)
            elif not is_first:
                if firsts[place] >= 0:
                    other = firsts[place]
                    firsts[place] = -1
                    _forbid(heads, following, forbidden, state, other, colours[near])
                _forbid(heads, following, forbidden, state, vertex, colours[near])
    return count
