"""A slow, obvious interpreter of flat tapes: the reference of every kernel.

One slot at a time, in plain Python and NumPy, straight from the definitions in
`numtape.tape.flat` and the expressions in the table of operations. It shares no
code with the kernels, the workspaces or the transforms.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from types import CodeType

import numpy as np

from numtape.ops.structured import INITIAL, ORDER_OPCODES, SAFE_PRODUCT_OPCODE, function_of
from numtape.ops.table import ROWS, Row, load_ufunc
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction

__all__ = [
    "Batch",
    "adjoints",
    "evaluate",
    "evaluate_batch",
    "failed_guard",
    "jacobian",
    "linearize",
    "row_partial",
    "row_value",
    "run",
    "tangents",
]


@cache
def _compiled(text: str) -> CodeType:
    return compile(text, text, "eval")


def _expression(text: str, x: float, y: float, f: float = 0.0) -> float:
    names = {"x": np.float64(x), "y": np.float64(y), "f": np.float64(f)}
    with np.errstate(all="ignore"):
        return float(eval(_compiled(text), _NAMES, names))


def row_value(row: Row, x: float, y: float = 0.0) -> float:
    """A row at one point: by its `primal`, or by its ufunc where it has none."""
    if row.primal is not None:
        return _expression(row.primal, x, y)
    with np.errstate(all="ignore"):
        return float(load_ufunc(row.ufunc)(*(x, y)[: row.arity]))


def row_partial(row: Row, operand: int, x: float, y: float, f: float) -> float:
    """A row's partial by an operand at one point, where its value is f."""
    return _expression(row.partials[operand], x, y, f)


def _function(row: Row):
    return lambda *operands: np.float64(row_value(row, *operands))


_NAMES = {row.name: _function(row) for row in ROWS}
_NAMES |= {
    "__builtins__": {},
    "sqrt": np.sqrt,
    "abs": abs,
    "unknown": np.nan,
    "where": lambda condition, taken, other: taken if condition != 0.0 else other,
}


# values


def evaluate(tape: FlatTape, x) -> np.ndarray:
    """Every slot of a run at x."""
    values = np.zeros(tape.slots)
    values[1 : tape.first_input] = tape.constants
    values[tape.first_input : tape.first_result] = x
    for (opcode, a, b), result in zip(tape.code.tolist(), tape.results.tolist()):
        if opcode == VECTOR:
            instruction = tape.vectors[a]
            assert instruction.size == b
            values[result : result + b] = _vector(instruction, values)
        else:
            values[result] = row_value(ROWS[opcode], values[a], values[b])
    return values


def run(tape: FlatTape, x) -> np.ndarray:
    """The outputs at x."""
    return evaluate(tape, x)[tape.outputs]


def failed_guard(tape: FlatTape, values: np.ndarray) -> int:
    """The first guard that does not hold, or -1."""
    for number, guard in enumerate(tape.guards):
        if not np.array_equal(values[guard.slot], guard.outcome, equal_nan=True):
            return number
    return -1


@dataclass
class Batch:
    """What a batch comes to: outputs by point, and the points at which a guard does not hold."""

    outputs: np.ndarray
    points: list[int]
    guards: list[int]
    outcomes: list[float]


def evaluate_batch(tape: FlatTape, points) -> Batch:
    """The outputs at many points; the first guard that fails at each, and what it came to."""
    found = Batch(np.empty((len(points), len(tape.outputs))), [], [], [])
    for number, x in enumerate(points):
        with np.errstate(all="ignore"):
            values = evaluate(tape, x)
        found.outputs[number] = values[tape.outputs]
        guard = failed_guard(tape, values)
        if guard >= 0:
            found.points.append(number)
            found.guards.append(guard)
            found.outcomes.append(values[tape.guards[guard].slot])
    return found


def _vector(instruction: VectorInstruction, values: np.ndarray) -> np.ndarray:
    """The results of a vector instruction, end to end."""
    operands = [values[slots] for slots in instruction.operand_slots()]
    if instruction.kind == "map":
        row = ROWS[instruction.opcode]
        columns = [operand.ravel().tolist() for operand in operands]
        return np.array([row_value(row, *point) for point in zip(*columns)])
    if instruction.kind == "product":
        left, right = operands
        if instruction.opcode == SAFE_PRODUCT_OPCODE:
            return _products(left[..., None], right[..., None, :, :]).sum(axis=-2).ravel()
        return np.matmul(left, right).ravel()
    if instruction.kind == "function":
        return _function_value(instruction, operands)
    if instruction.kind == "loop":
        return _loop(instruction, operands)
    if instruction.kind in ("take", "spread"):
        elements, places = operands
        result = np.zeros(instruction.result)
        for row in range(len(elements)):
            for i, place in enumerate(places[row].tolist()):
                if instruction.kind == "take":
                    result[row, i] = elements[row, _place(place, elements.shape[1])]
                else:
                    result[row, _place(place, instruction.result[1])] += elements[row, i]
        return result.ravel()
    if instruction.kind == "search":
        side = "right" if instruction.opcode else "left"
        return np.searchsorted(*operands, side=side).astype(float)
    (operand,) = operands
    if instruction.kind == "order":
        kinds = {opcode: kind for kind, opcode in ORDER_OPCODES.items()}
        operand = np.ascontiguousarray(operand)
        return np.argsort(operand, kind=kinds[instruction.opcode]).astype(float).ravel()
    if instruction.kind == "scatter":
        result = np.zeros(instruction.size)
        for target, value in zip(instruction.targets.tolist(), operand.tolist()):
            result[target] += value
        return result
    ufunc = getattr(np, ROWS[instruction.opcode].name)
    places = _places(instruction)
    if instruction.kind == "accumulate":
        result = np.zeros(instruction.size)
        result[places] = ufunc.accumulate(operand, axis=-1)
        return result
    result = np.full(instruction.size, INITIAL[ROWS[instruction.opcode].name])
    inner_is_reduced = instruction.result_strides[-1] == 0
    for row in np.ndindex(instruction.shape[:-1]):
        target = places[row]
        if inner_is_reduced and ufunc is np.add:  # NumPy adds up such a row pairwise
            result[target[0]] += np.add.reduce(np.ascontiguousarray(operand[row]))
        else:
            for place, value in zip(target.tolist(), operand[row].tolist()):
                result[place] = ufunc(result[place], value)
    return result


def _loop(instruction: VectorInstruction, operands) -> np.ndarray:
    """A loop's results: its body run step by step."""
    body, steps = instruction.body, instruction.shape[0]
    carries, reads = len(body.carries), len(body.reads)
    none = np.zeros(0)
    carried = np.concatenate([none, *(each.ravel() for each in operands[:carries])])
    same = np.concatenate([none, *(each.ravel() for each in operands[carries + reads :])])
    written = [np.zeros((steps, *shape)) for shape in body.writes]
    for step in range(steps):
        read = [each[step].ravel() for each in operands[carries : carries + reads]]
        made = run(body.tape, np.concatenate([carried, *read, same]))
        carried, start = made[: len(carried)], len(carried)
        for array in written:
            stop = start + array[step].size
            array[step] = made[start:stop].reshape(array[step].shape)
            start = stop
    return np.concatenate([carried, *(array.ravel() for array in written)])


def _place(x: float, n: int) -> int:
    """The place among n that x names; the first where it names none."""
    return int(x) % n if -n <= x < n else 0


def _function_value(instruction: VectorInstruction, operands) -> np.ndarray:
    """The results of a function, end to end, by its ufuncs themselves."""
    function = function_of(instruction.opcode)
    if function.finite and not np.isfinite(operands[0]).all():
        return _finite_parts(instruction, operands)
    arguments = [*operands, *[None] * len(function.results)]
    for operand, result in function.starts:
        arguments[result] = operands[operand].copy()
    with np.errstate(all="ignore"):
        for path, types, chosen in function.calls:
            ufunc = load_ufunc(path)
            given = [arguments[k] for k in chosen[: ufunc.nin]]
            if types[0] == "D" and "fft" not in path:  # complex operands are pairs
                given = [np.ascontiguousarray(each).view(complex)[..., 0] for each in given]
            if "fft" in path:
                found = _transform(ufunc, given, types, instruction)
            else:
                found = ufunc(*given, signature=types)
            for k, value in zip(chosen[ufunc.nin :], found if ufunc.nout > 1 else (found,)):
                arguments[k] = np.asarray(value)
    parts = [np.ravel(part) for part in arguments[len(operands) :]]
    return np.concatenate([p.view(float) if np.iscomplexobj(p) else p for p in parts])


def _finite_parts(instruction: VectorInstruction, operands) -> np.ndarray:
    """The same where matrices of a batch that are not finite have results of nan."""
    rank = len(instruction.shape) - len(function_of(instruction.opcode).names)
    results = [np.full(shape, np.nan) for shape in _result_shapes(instruction)]
    for batch in np.ndindex(instruction.shape[:rank]):
        if np.isfinite(operands[0][batch]).all():
            one = replace(instruction, shape=instruction.shape[rank:])
            parts = _function_value(one, [operand[batch] for operand in operands])
            start = 0
            for result in results:
                size = result[batch].size
                result[batch] = parts[start : start + size].reshape(result[batch].shape)
                start += size
    return np.concatenate([result.ravel() for result in results])


def _result_shapes(instruction: VectorInstruction):
    return function_of(instruction.opcode).shapes(instruction.shape)[1]


def _transform(ufunc, given, types: str, instruction: VectorInstruction) -> np.ndarray:
    """A Fourier transform's ufunc: complex operands are pairs, and it wants to be given room."""
    (shape,) = _result_shapes(instruction)
    numbers, factor = given
    if types[0] == "D":
        numbers = np.ascontiguousarray(numbers).view(complex)[..., 0]
    out = np.empty(shape) if types[-1] == "d" else np.empty(shape[:-1], complex)
    return ufunc(numbers, factor, signature=types, out=out)


def _places(instruction: VectorInstruction) -> np.ndarray:
    """Which result each element of `shape` goes to."""
    places = np.zeros(instruction.shape, np.int64)
    for index in np.ndindex(instruction.shape):
        places[index] = sum(i * s for i, s in zip(index, instruction.result_strides))
    return places


# partials


def linearize(tape: FlatTape, values: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """For each instruction, the partials of an elementwise one by each operand."""
    partials = []
    for (opcode, a, b), result in zip(tape.code.tolist(), tape.results.tolist()):
        if opcode != VECTOR:
            row = ROWS[opcode]
            point = values[a], values[b], values[result]
            partials.append(tuple(np.array(row_partial(row, k, *point)) for k in range(row.arity)))
            continue
        instruction = tape.vectors[a]
        if instruction.kind != "map":
            partials.append(())
            continue
        row = ROWS[instruction.opcode]
        operands = [values[slots].ravel() for slots in instruction.operand_slots()]
        x, y, f = operands[0], operands[-1], values[result : result + b]
        columns = [
            np.array([row_partial(row, k, *point) for point in zip(x, y, f)])
            for k in range(row.arity)
        ]
        partials.append(tuple(column.reshape(instruction.shape) for column in columns))
    return partials


# sweeps


def _times(partial: float, seed: float) -> float:
    """A product in which a zero wins against inf and nan."""
    return 0.0 if partial == 0.0 or seed == 0.0 else partial * seed


_products = np.vectorize(_times, otypes=[float])


def tangents(tape: FlatTape, values: np.ndarray, seeds) -> np.ndarray:
    """The outputs' tangents for the inputs' seeds."""
    with np.errstate(all="ignore"):
        return _tangents(tape, values, seeds)


def _tangents(tape: FlatTape, values: np.ndarray, seeds) -> np.ndarray:
    moving = np.zeros(tape.slots)
    moving[tape.first_input : tape.first_result] = seeds
    partials = linearize(tape, values)
    results = tape.results.tolist()
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        result = results[number]
        if opcode != VECTOR:
            for partial, operand in zip(partials[number], (a, b)):
                moving[result] += _times(float(partial), moving[operand])
            continue
        instruction = tape.vectors[a]
        slots = instruction.operand_slots()
        if instruction.kind == "map":
            total = np.zeros(instruction.shape)
            for partial, operand in zip(partials[number], slots):
                total = total + _products(partial, moving[operand])
            moving[result : result + b] = total.ravel()
            continue
        for k, operand in enumerate(slots):
            matrix = _structured_jacobian(instruction, [values[s] for s in slots], k)
            moving[result : result + b] += _products(matrix, moving[operand].ravel()).sum(axis=1)
    return moving[tape.outputs]


def adjoints(tape: FlatTape, values: np.ndarray, seeds) -> np.ndarray:
    """The inputs' adjoints for the outputs' seeds."""
    with np.errstate(all="ignore"):
        return _adjoints(tape, values, seeds)


def _adjoints(tape: FlatTape, values: np.ndarray, seeds) -> np.ndarray:
    weights = np.zeros(tape.slots)
    for output, seed in zip(tape.outputs.tolist(), seeds):
        weights[output] += seed
    partials = linearize(tape, values)
    results = tape.results.tolist()
    for number in reversed(range(tape.instructions)):
        opcode, a, b = tape.code[number].tolist()
        result = results[number]
        if opcode != VECTOR:
            for partial, operand in zip(partials[number], (a, b)):
                weights[operand] += _times(float(partial), weights[result])
            continue
        instruction = tape.vectors[a]
        slots = instruction.operand_slots()
        own = weights[result : result + b].copy()
        for k, operand in enumerate(slots):
            if instruction.kind == "map":
                contribution = _products(partials[number][k].ravel(), own)
            else:
                matrix = _structured_jacobian(instruction, [values[s] for s in slots], k)
                contribution = _products(own[:, None], matrix).sum(axis=0)
            for slot, part in zip(operand.ravel().tolist(), contribution.tolist()):
                weights[slot] += part
    return weights[tape.first_input : tape.first_result]


def jacobian(tape: FlatTape, x) -> np.ndarray:
    """The outputs' derivatives by the inputs, a column at a time."""
    values = evaluate(tape, x)
    columns = [tangents(tape, values, unit) for unit in np.eye(tape.inputs)]
    return np.array(columns).reshape(tape.inputs, len(tape.outputs)).T


def _structured_jacobian(instruction: VectorInstruction, operands, k: int) -> np.ndarray:
    """The matrix of a structured operation's derivatives by operand k, element by element."""
    operand = operands[k]
    matrix = np.zeros((instruction.size, operand.size))
    if instruction.kind == "product":
        for column in range(operand.size):
            unit = np.zeros(operand.size)
            unit[column] = 1.0
            pair = list(operands)
            pair[k] = unit.reshape(operand.shape)
            matrix[:, column] = np.matmul(*pair).ravel()
        return matrix
    if instruction.kind == "function":
        for column in range(operand.size):
            step = np.zeros(operand.size)
            step[column] = 1e-4
            rises = []
            for times in (1, 2):
                ends = []
                for sign in (1, -1):
                    moved = list(operands)
                    moved[k] = operand + sign * times * step.reshape(operand.shape)
                    ends.append(_function_value(instruction, moved))
                rises.append(ends[0] - ends[1])
            matrix[:, column] = (8 * rises[0] - rises[1]) / 12e-4
        return matrix
    if instruction.kind in ("order", "search") or (instruction.kind in ("take", "spread") and k):
        return matrix
    if instruction.kind in ("take", "spread"):
        places = operands[1]
        n = instruction.shape[1] if instruction.kind == "take" else instruction.shape[2]
        m = places.shape[1]
        for row, i in np.ndindex(places.shape):
            place = _place(places[row, i], n)
            if instruction.kind == "take":
                matrix[row * m + i, row * n + place] = 1.0
            else:
                matrix[row * n + place, row * m + i] = 1.0
        return matrix
    if instruction.kind == "scatter":
        for element, target in enumerate(instruction.targets.tolist()):
            matrix[target, element] = 1.0
        return matrix
    places = _places(instruction).ravel()
    flat = operand.ravel()
    name = ROWS[instruction.opcode].name
    if instruction.kind == "accumulate":
        assert name == "add"
        columns = np.arange(flat.size).reshape(instruction.shape)
        for index in np.ndindex(instruction.shape):
            for before in range(index[-1] + 1):
                place = places.reshape(instruction.shape)[index]
                matrix[place, columns[(*index[:-1], before)]] = 1.0
        return matrix
    for target in range(instruction.size):
        (members,) = np.nonzero(places == target)
        for member in members.tolist():
            others = [flat[m] for m in members.tolist() if m != member]
            if name == "add":
                slope = 1.0
            elif name == "multiply":
                slope = math.prod(others)
            else:
                best = (max if name == "maximum" else min)(flat[members])
                slope = float(flat[member] == best) / np.count_nonzero(flat[members] == best)
            matrix[target, member] = slope
    return matrix
