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
    indptr, indices, colours, used, seen, treated, heads, following, forbidden, keys, firsts, state
):
    """Colour the rows of a symmetric pattern so that each path of four has three colours.

    So two colours together make stars, and every entry is alone with its colour in its row, or in
    that of its mirror image.

    Parameters
    ----------
    indptr, indices : int array
        The pattern.
    colours, used
        As for `colour_apart`.
    seen : int64 array (2, colours)
        By colour: the row that was coloured when it was seen last, and at which neighbour.
    treated : int64 array
        For each row that which was coloured when its neighbours' colours were forbidden.
    heads : int64 array
        For each row with a colour the last of those that are forbidden for its neighbours: the
        colours of neighbours that have another neighbour of its own colour; -1 at first.
    following, forbidden : int64 array
        Of these the next, and the colour: two for each entry.
    keys, firsts : int64 array
        A table by row and colour of the first neighbour of that colour, -1 where there are more;
        they are -1 and -2 at first, and of more than twice the entries, a power of two.
    state : int64 array
        How many colours were forbidden: 0 at first.

    Returns
    -------
    int
        How many colours there are.

    Notes
    -----
    What is kept is that of the greedy star colouring of Gebremedhin, Tarafdar, Manne and Pothen
    (SIAM J. Sci. Comput. 29, 2007), by other means.
    """
    count = 0
    for vertex in range(indptr.size - 1):
        for k in range(indptr[vertex], indptr[vertex + 1]):
            near = np.int64(indices[k])
            colour = colours[near]
            if near == vertex or colour < 0:
                continue
            used[colour] = vertex
            entry = heads[near]
            while entry >= 0:  # near's neighbours that are hubs of stars with near's colour
                used[forbidden[entry]] = vertex
                entry = following[entry]
            if seen[0, colour] != vertex:
                seen[0, colour], seen[1, colour] = vertex, near
                continue
            for one in (seen[1, colour], near):  # two neighbours of one colour: a hub itself
                if treated[one] != vertex:
                    treated[one] = vertex
                    for j in range(indptr[one], indptr[one + 1]):
                        far = colours[indices[j]]
                        if far >= 0:
                            used[far] = vertex
        colour = _first_free(used, vertex)
        colours[vertex] = colour
        count = max(count, colour + 1)
        for k in range(indptr[vertex], indptr[vertex + 1]):
            near = np.int64(indices[k])
            if near == vertex:
                continue
            place = _place_of(keys, near, colour)
            is_first = firsts[place] == -2
            if is_first:
                firsts[place] = vertex
            if colours[near] < 0:
                continue
            if not is_first:  # near is a hub of this colour
                if firsts[place] >= 0:
                    _forbid(heads, following, forbidden, state, firsts[place], colours[near])
                    firsts[place] = -1
                _forbid(heads, following, forbidden, state, vertex, colours[near])
            own = _place_of(keys, vertex, colours[near])
            if treated[near] == vertex:  # and so is this vertex, of near's
                firsts[own] = -1
                _forbid(heads, following, forbidden, state, near, colour)
    return count
