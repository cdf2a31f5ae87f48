"""`np.einsum`: sums of products, two operands at a time, by matrix products where one fits.

NumPy chooses the order in which operands are contracted (`np.einsum_path`).
"""

from typing import Any

import numpy as np

from numtape.errors import InputError
from numtape.trace.functions.common import implements, move, no_dtype, traced_or_array
from numtape.trace.integers import are_whole, check_type, plainly, typed
from numtape.trace.traced import as_computed, has_traced

__all__: list[str] = []


@implements("einsum")
def _einsum(*operands: Any, optimize: Any = False, dtype: Any = None, **options: Any) -> Any:
    no_dtype(dtype)
    inputs, output, arrays = _parsed(operands)
    if len(arrays) == 1 and set(inputs[0]) == set(output):  # nothing is summed: a view, or a copy
        pattern = f"{inputs[0]}->{output}"
        options["optimize"] = optimize
        return move(lambda elements: np.einsum(pattern, elements, **options), arrays[0])
    kind = np.result_type(*(typed(array) for array in arrays))
    if are_whole(*arrays) and kind not in (bool, np.int64):
        check_type("einsum", kind)
        if kind != np.float64:
            return plainly(lambda *each: _plain(operands, each), *arrays)
    arrays = [array if array.dtype == kind else array.astype(kind) for array in arrays]
    terms = [_distinct(*each) for each in zip(inputs, arrays, strict=True)]
    for pair in _order(inputs, output, arrays, optimize):
        chosen = [terms[k] for k in pair]
        terms = [term for k, term in enumerate(terms) if k not in pair]
        wanted = set(output).union(*(letters for letters, _ in terms))
        terms.append(_contracted(chosen, wanted))
    ((letters, array),) = terms
    summed = tuple(k for k, letter in enumerate(letters) if letter not in output)
    if summed:
        array = _summed(array, summed)
        letters = "".join(letter for letter in letters if letter in output)
    array = np.transpose(array, [letters.index(letter) for letter in output])
    return as_computed(np.copy(array))


def _plain(operands: Any, arrays: Any) -> Any:
    """Return NumPy's own result for other arrays in place of the operands'."""
    if isinstance(operands[0], str):
        return np.einsum(operands[0], *arrays)
    given = list(operands)
    given[0 : len(arrays) * 2 : 2] = arrays
    return np.einsum(*given)


def _summed(array: Any, axes: tuple[int, ...]) -> Any:
    """Return sums along axes; of bools whether any is true, as NumPy adds them."""
    return (np.any if array.dtype == bool else np.sum)(array, axis=axes)


def _parsed(operands: Any) -> tuple[list[str], str, list[Any]]:
    """Return each operand's and the output's letters, ellipses written out, and the arrays."""
    if isinstance(operands[0], str):
        subscripts, *arrays = operands
        subscripts = subscripts.replace(" ", "")
    else:  # an array, its axes as numbers, an array, ..., perhaps the output's axes
        arrays = list(operands[0 : len(operands) // 2 * 2 : 2])
        lists = [_lettered(axes) for axes in operands[1::2]]
        subscripts = ",".join(lists)
        if len(operands) % 2:
            subscripts += "->" + _lettered(operands[-1])
    arrays = [traced_or_array(array) for array in arrays]
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(arrays):
        raise InputError(
            f"np.einsum({subscripts!r}, ...): it names {len(inputs)} operands, and "
            f"{len(arrays)} were given; name each of them once"
        )
    unused = [chr(code) for code in (*range(65, 91), *range(97, 123))]
    unused = [letter for letter in unused if letter not in subscripts]
    rank = max(
        (
            array.ndim - len(each.replace("...", ""))
            for each, array in zip(inputs, arrays)
            if "..." in each
        ),
        default=0,
    )
    dots = "".join(unused[:rank])
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        output = "..." + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
        output = output if "..." in left else output[3:]
    for k, (each, array) in enumerate(zip(inputs, arrays, strict=True)):
        own = array.ndim - len(each.replace("...", "")) if "..." in each else 0
        inputs[k] = each.replace("...", dots[rank - own :])
        if len(inputs[k]) != array.ndim:
            raise InputError(
                f"np.einsum({subscripts!r}, ...): {each!r} names {len(each)} axes of an operand "
                f"of shape {array.shape}; give each axis a letter, or '...' for the rest"
            )
    _check_extents(subscripts, inputs, arrays)
    return inputs, output.replace("...", dots), arrays


def _check_extents(subscripts: str, inputs: list[str], arrays: list[Any]) -> None:
    """Check that axes of the same letter are equally long, or of extent 1."""
    extents: dict[str, int] = {}
    for letters, array in zip(inputs, arrays, strict=True):
        for letter, extent in zip(letters, array.shape, strict=True):
            known = extents.get(letter, 1)
            if extent != known and 1 not in (extent, known):
                shapes = ", ".join(str(each.shape) for each in arrays)
                raise InputError(
                    f"np.einsum({subscripts!r}, ...) of operands of shapes {shapes}: axes of one "
                    f"letter have {known} and {extent} elements. Give them equal lengths, or "
                    "letters of their own"
                )
            extents[letter] = max(extent, known) if extent and known else 0


def _lettered(axes: Any) -> str:
    return "".join("..." if axis is Ellipsis else _LETTERS[int(axis)] for axis in axes)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _distinct(letters: str, array: Any) -> tuple[str, Any]:
    """Return an operand in which no letter is repeated: repeated ones are its diagonal, a view."""
    once = "".join(dict.fromkeys(letters))
    if once != letters:
        pattern = f"{letters}->{once}"
        if has_traced(array):
            array = move(lambda elements: np.einsum(pattern, elements), array)
        else:
            array = np.einsum(pattern, array)
    return once, array


def _order(
    inputs: list[str], output: str, arrays: list[Any], optimize: Any
) -> list[tuple[int, ...]]:
    """Return which operands to contract one after the other; results go to the end."""
    if len(arrays) < 3:
        return [tuple(range(len(arrays)))] if len(arrays) == 2 else []
    if optimize in (False, True):
        optimize = "greedy"
    stand_ins = [np.broadcast_to(0.0, np.shape(array)) for array in arrays]
    path, _ = np.einsum_path(",".join(inputs) + "->" + output, *stand_ins, optimize=optimize)
    pairs: list[tuple[int, ...]] = []
    for step in path[1:]:
        # A step of three and more is made of steps of two.
        first, *rest = sorted(step, reverse=True)
        for k in rest:
            pairs.append((k, first))
            first = len(arrays) - len(pairs) - 1  # the place of the latest result
    return pairs


def _contracted(terms: list[tuple[str, Any]], wanted: set[str]) -> tuple[str, Any]:
    """Return the product of two operands, summed over the letters that are not wanted any more."""
    left, right = (
        _without(letters, array, wanted.union(other))
        for (letters, array), (other, _) in zip(terms, reversed(terms), strict=True)
    )
    (a, x), (b, y) = _stretched(left, right), _stretched(right, left)
    shared = [letter for letter in a if letter in b]
    batch = [letter for letter in shared if letter in wanted]
    summed = [letter for letter in shared if letter not in wanted]
    only_a = [letter for letter in a if letter not in b]
    only_b = [letter for letter in b if letter not in a]
    extents = dict(zip(a, x.shape, strict=True)) | dict(zip(b, y.shape, strict=True))

    def size(letters: list[str]) -> int:
        return int(np.prod([extents[letter] for letter in letters], dtype=np.int64))

    if not summed or (size(only_a) == size(only_b) == 1 and size(batch) > 1):
        order = [*batch, *only_a, *only_b, *summed]
        product = _aligned(a, x, order) * _aligned(b, y, order)
        if summed:
            product = _summed(product, tuple(range(len(order) - len(summed), len(order))))
        return "".join([*batch, *only_a, *only_b]), product
    lead = tuple(extents[letter] for letter in batch)
    x = np.transpose(x, [a.index(letter) for letter in (*batch, *only_a, *summed)])
    y = np.transpose(y, [b.index(letter) for letter in (*batch, *summed, *only_b)])
    x = np.reshape(x, (*lead, size(only_a), size(summed)))
    y = np.reshape(y, (*lead, size(summed), size(only_b)))
    letters = [*batch, *only_a, *only_b]
    return "".join(letters), np.reshape(np.matmul(x, y), [extents[each] for each in letters])


def _without(letters: str, array: Any, wanted: set[str]) -> tuple[str, Any]:
    """Return an operand summed over letters that stand in it alone."""
    summed = tuple(k for k, letter in enumerate(letters) if letter not in wanted)
    if not summed:
        return letters, array
    return "".join(x for x in letters if x in wanted), _summed(array, summed)


def _stretched(term: tuple[str, Any], other: tuple[str, Any]) -> tuple[str, Any]:
    """Return an operand whose axes of extent 1 are as long as those of the other."""
    letters, array = term
    extents = dict(zip(other[0], other[1].shape, strict=True))
    shape = tuple(
        extents.get(letter, 1) if n == 1 else n for letter, n in zip(letters, array.shape)
    )
    return letters, array if shape == array.shape else np.broadcast_to(array, shape)


def _aligned(letters: str, array: Any, order: list[str]) -> Any:
    """Return an operand with its axes in the given order, and of extent 1 for letters it lacks."""
    own = [letter for letter in order if letter in letters]
    array = np.transpose(array, [letters.index(letter) for letter in own])
    missing = tuple(k for k, letter in enumerate(order) if letter not in letters)
    return np.expand_dims(array, missing)
