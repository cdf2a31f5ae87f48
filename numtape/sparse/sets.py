"""Sets of inputs as machine code: each slot of a tape has the number of one.

A set is a node. Small ones are sorted lists in one pool; a union of more than `LIMIT` members
is only noted as that of two nodes, and written out where an output needs it. Most instructions make
no new set: one operand moves, or both depend on the same. Node 0 is the empty set.

A kernel that finds no room for what one more element may need stops before it and says where;
it is called again with more.
"""

import numpy as np
from numba.extending import register_jitable

from numtape.jit.compile import kernel

__all__ = ["COUNT", "FIELDS", "LIMIT", "TOP", "follow", "members", "over_scalars"]

LIMIT = 128  # members of a list; what is longer is a union of two nodes

# The fields of a state.
COUNT = 0  # how many nodes there are
TOP = 1  # how much of the pool is used
FIELDS = 2


@register_jitable
def _union(a, b, firsts, sizes, pool, state):
    """Return the node of a union of two."""
    if a == b or b == 0:
        return a
    if a == 0:
        return b
    new = state[COUNT]
    if sizes[a] < 0 or sizes[b] < 0 or sizes[a] + sizes[b] > LIMIT:
        state[COUNT] = new + 1
        firsts[new], sizes[new] = a, -b
        return new
    start = top = state[TOP]
    i, j = firsts[a], firsts[b]
    end_i, end_j = i + sizes[a], j + sizes[b]
    while i < end_i or j < end_j:
        if j == end_j or (i < end_i and pool[i] <= pool[j]):
            pool[top] = pool[i]
            j += j < end_j and pool[i] == pool[j]
            i += 1
        else:
            pool[top] = pool[j]
            j += 1
        top += 1
    size = top - start
    if size == sizes[a]:
        return a
    if size == sizes[b]:
        return b
    firsts[new], sizes[new] = start, size
    state[COUNT], state[TOP] = new + 1, top
    return new


@register_jitable
def _has_room(firsts, pool, state):
    return state[COUNT] < firsts.size and state[TOP] + LIMIT <= pool.size


@kernel
def over_scalars(code, first, last, results, moves, nodes, firsts, sizes, pool, state):
    """Find the sets of scalar instructions that follow one another.

    `moves` says for each opcode whether its result moves with each operand. Returns the
    instruction before which there was no room, or `last`.
    """
    for number in range(first, last):
        if not _has_room(firsts, pool, state):
            return number
        opcode = code[number, 0]
        a = nodes[code[number, 1]] if moves[opcode, 0] else np.int32(0)
        b = nodes[code[number, 2]] if moves[opcode, 1] else np.int32(0)
        nodes[results[number]] = _union(a, b, firsts, sizes, pool, state)
    return last


@kernel
def follow(done, shape, source, by, reads, target, to, writes, nodes, firsts, sizes, pool, state):
    """Add the sets that a walk reads to those at its targets.

    Parameters
    ----------
    done : int
        How many elements are done.
    shape : int64 array
    source, by : int, int64 array
        Where the walk begins to read and how it moves: slots, or places in the table `reads`,
        unless that is empty.
    target, to : int, int64 array
        The same of where it writes; where the table `writes` is not empty, the element's number
        is a place in that, and `target` is added to what is there.

    Returns
    -------
    int
        The element before which there was no room, or their number.
    """
    rank = shape.size
    index = np.zeros(rank, np.int64)
    count, rest = 1, done
    for axis in range(rank - 1, -1, -1):
        index[axis] = rest % shape[axis]
        rest //= shape[axis]
        count *= shape[axis]
    for axis in range(rank):
        source += index[axis] * by[axis]
        target += index[axis] * to[axis] if writes.size == 0 else 0
    for element in range(done, count):
        if not _has_room(firsts, pool, state):
            return element
        slot = reads[source] if reads.size else source
        place = target + writes[element] if writes.size else target
        found = nodes[slot]
        if found != 0:
            nodes[place] = _union(nodes[place], found, firsts, sizes, pool, state)
        axis = rank - 1
        while axis >= 0:
            index[axis] += 1
            source += by[axis]
            if writes.size == 0:
                target += to[axis]
            if index[axis] < shape[axis]:
                break
            source -= index[axis] * by[axis]
            if writes.size == 0:
                target -= index[axis] * to[axis]
            index[axis] = 0
            axis -= 1
    return count


@kernel
def members(row, rows, firsts, sizes, pool, seen, marks, stack, ends, out):
    """Write out the sets of rows, one after the other, from one of them on.

    Parameters
    ----------
    row : int
        The first row to write.
    rows : int32 array
        The node of each row.
    seen, marks : int32 array
        For each node and each member the last row that had it; -1 at first.
    stack : int64 array
        Room for as many nodes as there are, and one.
    ends : int64 array
        Where each row begins in `out`, and one more; those before `row` are there.

    Returns
    -------
    int
        The row for which there was no room in `out`, or the number of rows.
    """
    for each in range(row, rows.size):
        top = ends[each]
        stack[0] = rows[each]
        depth = 1
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if node == 0 or seen[node] == each:
                continue
            seen[node] = each
            if sizes[node] < 0:
                stack[depth], stack[depth + 1] = firsts[node], -sizes[node]
                depth += 2
                continue
            if top + sizes[node] > out.size:
                for k in range(seen.size):  # what was seen is to be written anew
                    seen[k] = -1
                for k in range(marks.size):
                    marks[k] = -1
                return each
            for k in range(firsts[node], firsts[node] + sizes[node]):
                member = pool[k]
                if marks[member] != each:
                    marks[member] = each
                    out[top] = member
                    top += 1
        ends[each + 1] = top
    return rows.size
