"""The loops over scalar instructions, as machine code: replaying, simplifying, differentiating.

What a `Builder` has recorded lies in its *store*: one int32 array, whose first fields say how
much there is and where its parts begin, and the constants. Slots are numbered there without
gaps: the null slot, the inputs and the results from 0 on, constants from `CONSTANT` on.

`walk` does one of the things below for a range of instructions. It allocates nothing. Where it
needs what only Python can give it says what and stops before the instruction, and is called
again when that is there: more room, the value of an operation on constants, or the code of a
partial. It is one function, because what it calls would be compiled again for every other.
"""

import numpy as np
from numba.extending import register_jitable

from numtape.jit.compile import Lazy

# What `walk` does.
EMIT = 0  # record instructions: an opcode and two operands in, the result out
REPLAY = 1  # record a tape's instructions
ACTIVE = 2  # find what depends on the chosen inputs
BACKWARD = 3
FORWARD = 4
ROOTS = 5  # find the instructions that `kinks.py` has to look at
REHASH = 6  # find instructions again after the store has grown
POOLED = 7  # find constants again
KNOW = 8  # record constants: their bits in, their slots out
ADD_TO = 9  # add to derivatives: in `starts` the places and then the slots that are added

# The fields of a store.
COUNT = 0  # how many instructions there are
NEXT = 1  # the slot of the next result
CONSTANTS = 2  # how many
ROOM = 3  # for instructions
CONSTANT_ROOM = 4
INPUTS = 5
FOLDS = 6  # the builder's rules
SIMPLIFIES = 7
SHARES = 8
CODE = 9  # where the instructions are: opcode, a, b
STARTS = 10  # where the slots of their first results are
SHARED = 11  # where a table is that finds equal instructions, by number + 1
SHARED_MASK = 12
POOL = 13  # where a table is that finds equal constants, by number + 1
POOL_MASK = 14
NEGATED = 15  # where a table is of pairs: a negative, and what it is the negative of
NEGATED_MASK = 16
NEGATIVES = 17  # how many
MEMO = 18  # where a table is of what Python has found: three keys and a number
MEMO_MASK = 19
TRAITS = 20  # where the traits of each opcode are
MADE = 21  # where the results of a partial's instructions are put
WANTED = 22  # three fields: what Python is asked for
STATUS = 25  # how `walk` has ended
ADD = 26  # opcodes that are recorded
SUBTRACT = 27
MULTIPLY = 28
SCALE = 29
NEGATIVE = 30
FIELDS = 32

# How `walk` ends.
DONE = 0
NEEDS_VALUE = 1  # of the operation WANTED on two constants
NEEDS_PARTIAL = 2  # by an operand of an opcode, where the second operand is a constant or 0
NEEDS_ROOM = 3

CONSTANT = 1 << 30
MARGIN = 128  # the most that one instruction makes, but for
MARGIN_EACH = 8  # so much more for every column
LONGEST = 96  # instructions of a partial

# Slots as the rest of numtape numbers them while recording.
_CONSTANTS = 1 << 40
_RESULTS = 1 << 41

# Traits of an opcode: which identities it has, and bits.
IS_ADD, IS_SUBTRACT, IS_MULTIPLY, IS_SCALE, IS_DIVIDE, IS_NEGATIVE = 1, 2, 3, 4, 5, 6
IS_POSITIVE, IS_POWER, IS_KEEP, IS_DROP, IS_MERGE = 7, 8, 9, 10, 11
IDENTITIES = 15
COMMUTES = 16
FLAT = 32  # it has no derivative
HOLDS = 64  # its second operand is held constant
MAKES_ROOTS = 128
PASSES_ROOTS = 256

# Bits of a partial.
ZERO = 1
SINGULAR = 2
UNMADE = 4

# References of a partial's instructions: made before, from 0 on; these; and constants below.
X, Y, F, NULL, FIRST_FLOAT = -1, -2, -3, -4, -5

PARTIALS = 1 << 16  # added to what tells a partial: its key in the memo
_VECTOR = -1
_NEAR = 16


@register_jitable
def encoded(w, slot):
    """Return the store's number of a slot."""
    if slot >= _RESULTS:
        return slot - _RESULTS + np.int64(w[INPUTS]) + 1
    return slot - _CONSTANTS + CONSTANT if slot >= _CONSTANTS else slot


@register_jitable
def decoded(w, slot):
    """Return the slot that the store has by a number."""
    if slot >= CONSTANT:
        return np.int64(slot) - CONSTANT + _CONSTANTS
    first = np.int64(w[INPUTS]) + 1
    return slot - first + _RESULTS if slot >= first else np.int64(slot)


@register_jitable
def constant(w, f, bits, value):
    """Return the slot of a constant; equal bits share one. `bits` is the memory of `f`."""
    number = np.int64(w[CONSTANTS])
    f[number] = value
    found = pooled(w, bits, number)
    if found == number:
        w[CONSTANTS] = number + 1
    return CONSTANT + found


@register_jitable
def pooled(w, bits, number):
    """Return the number of a constant with the same bits, from now on the constant itself."""
    pattern = bits[number]
    pool, mask = np.int64(w[POOL]), np.int64(w[POOL_MASK])
    place = (((pattern ^ (pattern >> 32)) * 0x1E3779B97F4A7C15) >> 24) & mask
    while w[pool + place] != 0:
        known = np.int64(w[pool + place]) - 1
        if bits[known] == pattern:
            return known
        place = (place + 1) & mask
    w[pool + place] = number + 1
    return number


@register_jitable
def remembered(w, kind, a, b):
    """Return what Python has found under three keys; -1 for nothing."""
    memo, mask = np.int64(w[MEMO]), np.int64(w[MEMO_MASK])
    place = (kind * 40503 + a * 9973 + b * 31) & mask
    while w[memo + 4 * place] != 0:
        at = memo + 4 * place
        if w[at] == kind + 1 and w[at + 1] == a and w[at + 2] == b:
            return np.int64(w[at + 3])
        place = (place + 1) & mask
    return np.int64(-1)


@register_jitable
def negated(w, slot):
    """Return what a slot is the negative of; 0 for nothing."""
    table, mask = np.int64(w[NEGATED]), np.int64(w[NEGATED_MASK])
    place = (slot * 0x9E3779B1) & mask
    while w[table + 2 * place] != 0:
        if w[table + 2 * place] == slot:
            return np.int64(w[table + 2 * place + 1])
        place = (place + 1) & mask
    return np.int64(0)


@register_jitable
def note_negative(w, slot, of):
    """Note that a slot is the negative of another."""
    table, mask = np.int64(w[NEGATED]), np.int64(w[NEGATED_MASK])
    place = (slot * 0x9E3779B1) & mask
    while w[table + 2 * place] != 0:
        place = (place + 1) & mask
    w[table + 2 * place] = slot
    w[table + 2 * place + 1] = of
    w[NEGATIVES] += 1


@register_jitable
def place_of(w, opcode, a, b, step):
    """Return where to look for an instruction, at first beside those on operands nearby.

    Instructions that follow each other so share lines of the cache. What finds no room
    there goes anywhere.
    """
    late, early = (a, b) if a < CONSTANT else (np.int64(0), b)
    if b < CONSTANT and (a >= CONSTANT or b > a):
        late, early = b, a
    mixed = (late * 0x2545F4914F6CDD1D) ^ (early * 0x1E3779B97F4A7C15) ^ (opcode * 0x7FEB352D1)
    if step < _NEAR:
        return (2 * late + ((mixed >> 40) & 15) + step) & np.int64(w[SHARED_MASK])
    return ((mixed >> 24) + step) & np.int64(w[SHARED_MASK])


@register_jitable
def append(w, opcode, a, b):
    """Return the slot of an equal instruction, else of a new one."""
    code, starts, shared = np.int64(w[CODE]), np.int64(w[STARTS]), np.int64(w[SHARED])
    number, slot = np.int64(w[COUNT]), np.int64(w[NEXT])
    if w[SHARES]:
        turns = w[w[TRAITS] + opcode] & COMMUTES
        step = 0
        place = place_of(w, opcode, a, b, step)
        while w[shared + place] != 0:
            known = np.int64(w[shared + place]) - 1
            at = code + 3 * known
            if w[at] == opcode:
                left, right = w[at + 1], w[at + 2]
                if (left == a and right == b) or (turns and left == b and right == a):
                    return np.int64(w[starts + known])
            step += 1
            place = place_of(w, opcode, a, b, step)
        w[shared + place] = number + 1
    at = code + 3 * number
    w[at], w[at + 1], w[at + 2] = opcode, a, b
    w[starts + number] = slot
    w[COUNT] = number + 1
    w[NEXT] = slot + 1
    if opcode == w[NEGATIVE]:
        note_negative(w, slot, a)
    return slot


@register_jitable
def folded(w, f, bits, opcode, a, b):
    """Return the slot of the value of an operation on constants; -1 where Python is asked."""
    x = f[a - CONSTANT] if a else 0.0
    y = f[b - CONSTANT] if b else 0.0
    rule = w[w[TRAITS] + opcode] & IDENTITIES
    if rule == IS_ADD:
        return constant(w, f, bits, x + y)
    if rule == IS_SUBTRACT:
        return constant(w, f, bits, x - y)
    if rule == IS_MULTIPLY or rule == IS_SCALE:
        is_zero = rule == IS_SCALE and (x == 0.0 or y == 0.0)
        return constant(w, f, bits, 0.0 if is_zero else x * y)
    if rule == IS_NEGATIVE:
        return constant(w, f, bits, -x)
    found = remembered(w, opcode, a, b)
    if found < 0:
        w[STATUS] = NEEDS_VALUE
        w[WANTED], w[WANTED + 1], w[WANTED + 2] = opcode, a, b
    return found


@register_jitable
def emit(w, f, bits, opcode, a, b):
    """Return the slot of an operation: folded, simplified, shared, else recorded.

    It is -1 where a value is asked for. Identities give the same number, but for the sign of
    a zero or the bits of a nan. Signs move outwards, where sums take them up.
    """
    turns = False  # whether the result's sign is to be turned
    while True:
        slot = np.int64(-1)
        a_known, b_known = a == 0 or a >= CONSTANT, b == 0 or b >= CONSTANT
        x = f[a - CONSTANT] if a >= CONSTANT else 0.0
        y = f[b - CONSTANT] if b >= CONSTANT else 0.0
        rule = w[w[TRAITS] + opcode] & IDENTITIES
        if a_known and b_known and w[FOLDS]:
            slot = folded(w, f, bits, opcode, a, b)
            if slot < 0:
                return slot
        elif rule and w[SIMPLIFIES]:
            not_a = np.int64(0) if a_known else negated(w, a)
            not_b = np.int64(0) if b_known else negated(w, b)
            if rule == IS_MULTIPLY or rule == IS_SCALE:
                if a_known or b_known:
                    number, known, other, not_other = (
                        (x, a, b, not_b) if a_known else (y, b, a, not_a)
                    )
                    if number == 1.0:
                        slot = other
                    elif number == -1.0:
                        opcode, a, b = np.int64(w[NEGATIVE]), other, np.int64(0)
                        continue
                    elif not_other:
                        a, b = constant(w, f, bits, -number), not_other
                        continue
                    elif rule == IS_SCALE and number == 0.0:
                        slot = constant(w, f, bits, 0.0)
                    elif rule == IS_SCALE and np.isfinite(number):
                        opcode, a, b = np.int64(w[MULTIPLY]), known, other
                        continue
                elif not_a or not_b:
                    turns ^= (not_a != 0) != (not_b != 0)
                    a, b = not_a if not_a else a, not_b if not_b else b
                    continue
            elif rule == IS_ADD:
                if not_b:
                    opcode, b = np.int64(w[SUBTRACT]), not_b
                    continue
                if not_a:
                    opcode, a, b = np.int64(w[SUBTRACT]), b, not_a
                    continue
            elif rule == IS_SUBTRACT:
                if not_b:
                    opcode, b = np.int64(w[ADD]), not_b
                    continue
                if b_known and is_plus_zero(y):
                    slot = a
            elif rule == IS_DIVIDE:
                if b_known and y == 1.0:
                    slot = a
                elif b_known and y == -1.0:
                    opcode, b = np.int64(w[NEGATIVE]), np.int64(0)
                    continue
                elif not_a:
                    turns ^= not_b == 0
                    a, b = not_a, not_b if not_b else b
                    continue
            elif rule == IS_NEGATIVE:
                slot = not_a if not_a else slot
            elif rule == IS_POSITIVE:
                slot = a
            elif rule == IS_POWER:
                if b_known and y == 1.0:
                    slot = a
                elif b_known and y == 0.0:
                    slot = constant(w, f, bits, 1.0)
            elif rule == IS_MERGE:
                if a_known and is_plus_zero(x):
                    slot = b
                elif b_known and is_plus_zero(y):
                    slot = a
            elif a_known:  # keep and drop
                slot = b if (x != 0.0) == (rule == IS_KEEP) else constant(w, f, bits, 0.0)
        if slot < 0:
            slot = append(w, opcode, a, b)
        if not turns:
            return slot
        opcode, a, b, turns = np.int64(w[NEGATIVE]), slot, np.int64(0), False


@register_jitable
def is_plus_zero(x):
    """Return whether a number is 0.0 and not -0.0."""
    return x == 0.0 and not np.signbit(x)


@register_jitable
def partial(w, f, bits, table, head, x, y, result):
    """Return the slot of a recorded partial; 0 where it is zero, -1 where a value is asked for."""
    heads, rows, floats = table
    made, start = np.int64(w[MADE]), np.int64(heads[head, 0])
    slot = np.int64(0)
    last = np.int64(heads[head, 1])
    for row in range(start, last + 1):  # the last is the partial itself, not an instruction
        a = b = np.int64(0)
        for side in range(1 if row == last else 2):
            reference = np.int64(heads[head, 2] if row == last else rows[row, 1 + side])
            if reference >= 0:
                slot = np.int64(w[made + reference])
            elif reference == X:
                slot = x
            elif reference == Y:
                slot = y
            elif reference == F:
                slot = result
            elif reference == NULL:
                slot = np.int64(0)
            else:
                slot = constant(w, f, bits, floats[FIRST_FLOAT - reference])
            a, b = (slot, b) if side == 0 else (a, slot)
        if row < last:
            slot = emit(w, f, bits, np.int64(rows[row, 0]), a, b)
            if slot < 0:
                return slot
            w[made + row - start] = slot
    is_zero = slot == 0 or (slot >= CONSTANT and f[slot - CONSTANT] == 0.0)
    return np.int64(0) if is_zero else slot


@register_jitable
def head_of(w, table, opcode, operand, b):
    """Return the number of a partial by an operand, -1 where Python is asked for it."""
    heads = table[0]
    key = 2 * opcode + operand
    head = key
    held = np.int64(0)
    if w[w[TRAITS] + opcode] & HOLDS and b >= CONSTANT:
        held = b
        head = remembered(w, PARTIALS + key, held, np.int64(0))
    if head < 0 or heads[head, 3] & UNMADE:
        w[STATUS] = NEEDS_PARTIAL
        w[WANTED], w[WANTED + 1], w[WANTED + 2] = key, held, 0
        return np.int64(-1)
    return head


@register_jitable
def has_room(w, columns):
    """Return whether there is room for all that one more instruction makes."""
    margin = MARGIN + MARGIN_EACH * columns
    return (
        w[COUNT] + margin <= w[ROOM]
        and w[CONSTANTS] + margin <= w[CONSTANT_ROOM]
        and 2 * (w[NEGATIVES] + margin) <= w[NEGATED_MASK]
    )


@register_jitable
def derive(w, f, bits, table, i, is_backward, columns, marks, owners, is_seeded):
    """Add what an instruction gives to the derivatives; False where Python is asked for something.

    Backward that is its adjoints times its partials, to the adjoints of its operands; forward
    its operands' tangents times its partials, to its own.
    """
    active, risky, by = marks
    heads = table[0]
    at = np.int64(w[CODE]) + 3 * i
    opcode, slot = np.int64(w[at]), np.int64(w[w[STARTS] + i])
    x, y = np.int64(w[at + 1]), np.int64(w[at + 2])
    one = constant(w, f, bits, 1.0)
    # Both partials first: nothing is to be done twice if one of them is asked for.
    slopes = (np.int64(0), np.int64(0))
    singular = (False, False)
    for operand in range(2):
        place = x if operand == 0 else y
        if place == 0 or place >= CONSTANT:
            continue
        if is_backward:
            if not (by[place] if place <= w[INPUTS] else active[owners[i, operand]]):
                continue
        else:
            moves = False
            for column in range(len(columns)):
                moves = moves or columns[column, place] != 0
            if not moves:
                continue
        head = head_of(w, table, opcode, np.int64(operand), y)
        if head < 0:
            return False
        if heads[head, 3] & ZERO:
            continue
        slope = partial(w, f, bits, table, head, x, y, slot)
        if slope < 0:
            return False
        is_singular = heads[head, 3] & SINGULAR != 0
        slopes = (slope, slopes[1]) if operand == 0 else (slopes[0], slope)
        singular = (is_singular, singular[1]) if operand == 0 else (singular[0], is_singular)
    for operand in range(2):
        slope = slopes[0] if operand == 0 else slopes[1]
        if slope == 0:
            continue
        place = x if operand == 0 else y
        owner, own = np.int64(owners[i, operand]), np.int64(2 + i)
        is_risky = singular[operand] or risky[own if is_backward else owner] != 0
        source, target = (slot, place) if is_backward else (place, slot)
        if is_risky:
            risky[owner if is_backward else own] = 1
        times = np.int64(w[SCALE] if is_risky or is_seeded else w[MULTIPLY])
        for column in range(len(columns)):
            if columns[column, source] == 0:
                continue
            weight = encoded(w, columns[column, source])
            part = weight if slope == one else emit(w, f, bits, times, slope, weight)
            if columns[column, target]:
                present = encoded(w, columns[column, target])
                part = emit(w, f, bits, np.int64(w[ADD]), present, part)
            columns[column, target] = decoded(w, part)
    return True


@Lazy
def walk(mode, w, f, bits, table, code, starts, first, last, columns, marks, owners, is_seeded):
    """Do one of the things above for instructions `first` to `last`; return where it has stopped.

    Parameters
    ----------
    mode : int
    w : int32 array
        The store.
    f, bits : float64 array, int64 array
        The constants, twice the same memory.
    table : tuple of arrays
        The partials: heads, rows, constants.
    code : int32 array (instructions, 3)
        Of the tape that is replayed.
    starts : int64 array
        Where its results are.
    columns : int64 array (seeds, places)
        A tangent or adjoint for every place, or when replaying the new slot of every old one.
    marks : tuple of uint8 arrays
        By block, what is active and what is risky; by place, the chosen inputs. When replaying,
        the first has the needed instructions.
    owners : int32 array (instructions, 2)
        The blocks of each instruction's operands.
    is_seeded : bool
    """
    w[STATUS] = DONE
    active, risky, by = marks
    if mode == BACKWARD:
        for i in range(last - 1, first - 1, -1):
            slot = w[w[STARTS] + i]
            is_live = False
            for column in range(len(columns)):
                is_live = is_live or columns[column, slot] != 0
            if not is_live or not active[2 + i]:
                continue
            if not has_room(w, len(columns)):
                w[STATUS] = NEEDS_ROOM
                return i + 1
            if not derive(w, f, bits, table, i, True, columns, marks, owners, is_seeded):
                return i + 1
        return first
    for i in range(first, last):
        at = np.int64(w[CODE]) + 3 * i
        if mode == REPLAY or mode == EMIT or mode == FORWARD or mode == ADD_TO:
            if not has_room(w, len(columns)):
                w[STATUS] = NEEDS_ROOM
                return i
        if mode == REPLAY:
            if active[i]:
                a, b = columns[0, code[i, 1]], columns[0, code[i, 2]]
                slot = emit(w, f, bits, np.int64(code[i, 0]), encoded(w, a), encoded(w, b))
                if slot < 0:
                    return i
                columns[0, starts[i]] = decoded(w, slot)
        elif mode == EMIT:
            a, b = encoded(w, columns[1, i]), encoded(w, columns[2, i])
            slot = emit(w, f, bits, columns[0, i], a, b)
            if slot < 0:
                return i
            columns[0, i] = decoded(w, slot)
        elif mode == ADD_TO:
            part, present = starts[last + i], columns[0, starts[i]]
            if part != 0 and present != 0:
                slot = emit(w, f, bits, np.int64(w[ADD]), encoded(w, present), encoded(w, part))
                part = decoded(w, slot)
            if part != 0:
                columns[0, starts[i]] = part
        elif mode == FORWARD:
            is_flat = w[w[TRAITS] + w[at]] & FLAT
            if not is_flat and not derive(
                w, f, bits, table, i, False, columns, marks, owners, is_seeded
            ):
                return i
        elif mode == POOLED:
            pooled(w, bits, starts[i])
        elif mode == KNOW:
            number = np.int64(w[CONSTANTS])
            bits[number] = columns[0, i]
            found = pooled(w, bits, number)
            w[CONSTANTS] = max(number, found + 1)
            columns[0, i] = found + _CONSTANTS
        elif mode == REHASH:
            if w[at] != _VECTOR:
                opcode, a, b = np.int64(w[at]), np.int64(w[at + 1]), np.int64(w[at + 2])
                step = 0
                while w[w[SHARED] + place_of(w, opcode, a, b, step)] != 0:
                    step += 1
                w[w[SHARED] + place_of(w, opcode, a, b, step)] = i + 1
                if opcode == w[NEGATIVE]:
                    note_negative(w, np.int64(w[w[STARTS] + i]), a)
        else:
            traits = w[w[TRAITS] + w[at]]
            concerned = False
            for operand in range(2):
                place = np.int64(w[at + 1 + operand])
                if place == 0 or place >= CONSTANT:
                    continue
                if place <= w[INPUTS]:
                    concerned = concerned or (mode == ACTIVE and by[place] != 0)
                else:
                    concerned = concerned or active[owners[i, operand]] != 0
            if mode == ACTIVE:
                active[2 + i] = concerned and not traits & FLAT
            else:  # who may be a root, in `active`; who has to be looked at, in `risky`
                risky[2 + i] = concerned or traits & MAKES_ROOTS != 0
                active[2 + i] = traits & MAKES_ROOTS != 0 or (
                    concerned and traits & PASSES_ROOTS != 0
                )
    return last
