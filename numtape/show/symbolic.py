"""A tape as expressions of SymPy, and how large they get.

The expression of an operation is read from its row in the table: `reference`, which
says it in mpmath's words, or `primal`. SymPy has most of mpmath's functions under the
same names; the few others are in `_mpmath_names`. Vector instructions are written out
element by element. SymPy is imported when it is asked for: the extra ``symbolic``.
"""

import ast
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numtape.errors import InputError, TapeError, UnsupportedError
from numtape.kinds import KINDS
from numtape.ops.table import ROWS
from numtape.show.wengert import WengertList
from numtape.tape.flat import VECTOR, FlatTape, VectorInstruction
from numtape.tape.text import operation_name

__all__ = ["expressions", "latex", "shared_expressions", "written_out"]

Objects = npt.NDArray[np.object_]
Apply = Callable[..., Any]

# Floats that are fractions of so small a denominator are written as such.
_DENOMINATOR = 1024


def written_out(tape: FlatTape) -> int:
    """Count the operations of the outputs as expressions, in which nothing is shared."""

    def other(instruction: VectorInstruction, operands: Sequence[Objects]) -> Objects:
        below = 1 + sum(int(operand.sum()) for operand in operands)
        return np.full(instruction.size, below, object)

    zeros = np.zeros(tape.first_result, object)
    counts = _interpret(tape, zeros, lambda _, *operands: 1 + sum(operands), other)
    return int(sum(counts[tape.outputs]))


def expressions(wengert: WengertList, symbols: Sequence[Any] | None, limit: int) -> Objects:
    """Return the outputs as expressions of the inputs' symbols."""
    size = written_out(wengert.tape)
    if size > limit:
        raise TapeError(
            f"the expression has {size} operations, and the limit is {limit}: the tape has "
            f"{wengert.tape.instructions} instructions, and an expression shares none of them. "
            "Pass shared=True for a list of assignments, or a larger limit"
        )
    return _written(wengert, symbols)


def shared_expressions(
    wengert: WengertList, symbols: Sequence[Any] | None, limit: int
) -> tuple[list[tuple[Any, Any]], Objects]:
    """Return assignments to the variables of the tape, as of `sympy.cse`, and the outputs."""
    tape = wengert.tape
    size = tape.slots - tape.first_result
    if size > limit:
        raise TapeError(
            f"the tape has {size} results, and the limit is {limit}: there is an assignment for "
            "each. Pass a larger limit"
        )
    assignments: list[tuple[Any, Any]] = []
    return assignments, _written(wengert, symbols, assignments)


def latex(leaves: Sequence[Any], assignments: Sequence[tuple[Any, Any]] = ()) -> str:
    """Write LaTeX of numbers and arrays of the outputs, and of assignments before them."""
    sympy = _sympy()
    shown = ",\\quad ".join(
        sympy.latex(sympy.Array(leaf) if isinstance(leaf, np.ndarray) else leaf) for leaf in leaves
    )
    if not assignments:
        return shown
    rows = [f"{sympy.latex(symbol)} &= {sympy.latex(made)}" for symbol, made in assignments]
    return "\\begin{aligned}" + " \\\\ ".join([*rows, f"y &= {shown}"]) + "\\end{aligned}"


def _written(
    wengert: WengertList,
    symbols: Sequence[Any] | None,
    assignments: list[tuple[Any, Any]] | None = None,
) -> Objects:
    """Write expressions of the outputs; assignments to all slots are appended to a list."""
    sympy, tape = _sympy(), wengert.tape
    if tape.guards:
        raise TapeError(
            f"the tape has {len(tape.guards)} guards, the first at {tape.guards[0].location}: an "
            "expression would be right on the recorded path alone. Ask for that one by "
            "tape.without_guards().to_sympy()"
        )
    known = np.empty(tape.first_result, object)
    known[0] = sympy.Integer(0)
    known[1 : tape.first_input] = [_number(value) for value in tape.constants.tolist()]
    known[tape.first_input :] = _symbols(wengert, symbols)

    def other(instruction: VectorInstruction, _: Sequence[Objects]) -> Objects:
        raise UnsupportedError(
            f"{operation_name(instruction)} over an array was asked for as an expression: what is "
            "written out element by element are elementwise operations, sums, products, running "
            "ones, extremes and matrix products. Write the function with those, or read the tape "
            "by tape.trace_table(x)"
        )

    name_of: Callable[[int], Any] | None = None
    if assignments is not None:
        taken = {str(symbol) for symbol in known[tape.first_input :]}

        def name_of(slot: int) -> Any:
            name = _symbol_name(wengert.name(slot))
            if name in taken:
                raise InputError(
                    f"the symbol {name} was given, and assignments need that name: v1, v2, ... "
                    "are what the instructions make. Pass another name"
                )
            return sympy.Symbol(name, real=True)

    outputs: Objects = _interpret(tape, known, _apply, other, name_of, assignments)[tape.outputs]
    return outputs


def _interpret(
    tape: FlatTape,
    known: Objects,
    apply: Apply,
    other: Callable[[VectorInstruction, Sequence[Objects]], Objects],
    name_of: Callable[[int], Any] | None = None,
    assignments: list[tuple[Any, Any]] | None = None,
) -> Objects:
    """Run the tape on objects; return all slots.

    Parameters
    ----------
    tape : FlatTape
    known : object array
        What the null slot, constants and inputs hold.
    apply : callable
        From an opcode and operands to the result.
    other : callable
        The results of vector instructions that are not made of rows.
    name_of : callable, optional
        From a slot to what takes its place in what follows.
    assignments : list, optional
        To which the name and the result are appended for each slot.
    """
    values = np.empty(tape.slots, object)
    values[: tape.first_result] = known
    results = tape.results.tolist()
    for number, (opcode, a, b) in enumerate(tape.code.tolist()):
        places = slice(results[number], results[number + 1])
        if opcode == VECTOR:
            instruction = tape.vectors[a]
            operands = [values[slots] for slots in instruction.operand_slots()]
            kind = KINDS[instruction.kind]
            made = kind.elements(instruction, operands, apply)
            values[places] = other(instruction, operands) if made is None else made
        else:
            values[places] = [apply(opcode, *(values[[a, b][: ROWS[opcode].arity]]))]
        if name_of is not None and assignments is not None:
            for slot in range(places.start, places.stop):
                name = name_of(slot)
                assignments.append((name, values[slot]))
                values[slot] = name
    return values


def _sympy() -> Any:
    try:
        import sympy
    except ImportError:
        raise UnsupportedError(
            "an expression was asked for, and SymPy is not installed: it is what expressions are "
            "made of. Install it: pip install 'numtape[symbolic]'"
        ) from None
    return sympy


def _symbols(wengert: WengertList, symbols: Sequence[Any] | None) -> list[Any]:
    """Return a symbol for each input: those given, or named like elements of the arguments."""
    sympy, tape = _sympy(), wengert.tape
    if symbols is None:
        slots = range(tape.first_input, tape.first_result)
        symbols = [_symbol_name(wengert.name(slot)) for slot in slots]
    symbols = [
        sympy.Symbol(symbol, real=True) if isinstance(symbol, str) else symbol for symbol in symbols
    ]
    if len(symbols) != tape.inputs:
        raise InputError(
            f"{len(symbols)} symbols were given, and the tape has {tape.inputs} inputs: each "
            "element of each argument needs one. Pass as many, or leave them out"
        )
    return list(symbols)


def _symbol_name(name: str) -> str:
    """Return ``x2[3, 4]`` as SymPy prints an indexed symbol: ``x2_3_4``."""
    return name.replace("[", "_").replace(", ", "_").replace("]", "")


def _number(value: float) -> Any:
    """Return a float as an exact number where it is a simple one."""
    sympy = _sympy()
    if not math.isfinite(value):
        return sympy.sympify(value)
    numerator, denominator = value.as_integer_ratio()
    if denominator <= _DENOMINATOR and abs(value) < 2**53:
        return sympy.Rational(numerator, denominator)
    return sympy.Float(value)


def _apply(opcode: int, *operands: Any) -> Any:
    """Apply a row to expressions."""
    made = _formula(opcode)(*operands)
    return _merged(made) if made.is_Add and len(made.args) == 2 else made


def _merged(total: Any) -> Any:
    """Return the sum of two arms, each 0 where the other is taken, as one choice."""
    sympy = _sympy()
    if all(isinstance(part, sympy.Piecewise) and len(part.args) == 2 for part in total.args):
        (kept, (zero, _)), ((masked, condition), (other, _)) = sorted(
            (part.args for part in total.args), key=lambda arms: arms[0].expr == 0
        )
        if zero == 0 and masked == 0 and kept.cond == condition:
            return sympy.Piecewise((kept.expr, condition), (other, True))
    return total


@cache
def _formula(opcode: int) -> Callable[..., Any]:
    """Return a row's text as a function of expressions."""
    row = ROWS[opcode]
    text = row.reference or row.primal
    assert text is not None
    tree = ast.fix_missing_locations(_Symbolic().visit(ast.parse(text, mode="eval")))
    code = compile(tree, row.name, "eval")
    names = _names()

    def formula(*operands: Any) -> Any:
        return names["_exact"](eval(code, names | dict(zip("xy", operands, strict=False))))

    return formula


class _Symbolic(ast.NodeTransformer):
    """Rewrites what Python decides by truth into calls that SymPy can hold undecided."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return _call("_choose", node.test, node.body, node.orelse)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        return _call(f"_{type(node.ops[0]).__name__}", node.left, node.comparators[0])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        return _call(f"_{type(node.op).__name__}", *node.values)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return node if isinstance(node.value, str | bool) else _call("_exact", node)


def _call(name: str, *arguments: ast.expr) -> ast.AST:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


@cache
def _names() -> dict[str, Any]:
    """Return what the texts of rows may name."""
    sympy = _sympy()

    def exact(value: Any) -> Any:
        return _number(float(value)) if isinstance(value, int | float) else sympy.sympify(value)

    def truth(value: Any) -> Any:
        """Return whether an expression is not 0; for a comparison written as 1 or 0, that."""
        if isinstance(value, sympy.Piecewise) and [part.expr for part in value.args] == [1, 0]:
            return value.args[0].cond
        return sympy.Ne(value, 0)

    def unequal(left: Any, right: Any) -> Any:
        if left.is_Boolean or right.is_Boolean:
            return sympy.Xor(left, right)
        return truth(left) if right == 0 else sympy.Ne(left, right)

    def equal(left: Any, right: Any) -> Any:
        return sympy.Not(truth(left)) if right == 0 else sympy.Eq(left, right)

    return {
        "__builtins__": {},
        "mp": _Mpmath(),
        "_exact": exact,
        "_choose": lambda test, yes, no: sympy.Piecewise((yes, test), (no, True)),
        "_Lt": sympy.Lt,
        "_LtE": sympy.Le,
        "_Gt": sympy.Gt,
        "_GtE": sympy.Ge,
        "_Eq": equal,
        "_NotEq": unequal,
        "_And": sympy.And,
        "_Or": sympy.Or,
        "abs": sympy.Abs,
        "min": sympy.Min,
        "max": sympy.Max,
        "sqrt": sympy.sqrt,
        "int": lambda x: sympy.sign(x) * sympy.floor(sympy.Abs(x)),
    }


class _Mpmath:
    """SymPy under mpmath's names."""

    def __getattr__(self, name: str) -> Any:
        return _mpmath_names().get(name) or getattr(_sympy(), name)


@cache
def _mpmath_names() -> dict[str, Any]:
    """Return the functions that SymPy writes otherwise."""
    sympy = _sympy()
    half = sympy.Rational(1, 2)

    def nint(x: Any) -> Any:
        up = sympy.floor(x + half)
        odd_tie = sympy.And(sympy.Eq(up, x + half), sympy.Eq(sympy.Mod(up, 2), 1))
        return sympy.Piecewise((up - 1, odd_tie), (up, True))

    def gammainc(order: Any, low: Any, high: Any, regularized: bool) -> Any:
        part = sympy.lowergamma(order, high) if low == 0 else sympy.uppergamma(order, low)
        return part / sympy.gamma(order)

    def diff(function: Any, at: Any, order: int) -> Any:
        symbol = sympy.Dummy()
        return sympy.Subs(sympy.Derivative(function(symbol), (symbol, order)), symbol, at)

    def mpf(value: Any) -> Any:
        # References stand 1e-25 beside an integer order, for mpmath's speed.
        return sympy.Integer(0) if value == "1e-25" else sympy.sympify(value)

    return {
        "betainc": lambda a, b, low, high, regularized: sympy.betainc_regularized(a, b, low, high),
        "cbrt": lambda x: sympy.sign(x) * sympy.Abs(x) ** sympy.Rational(1, 3),
        "ceil": sympy.ceiling,
        "diff": diff,
        "e1": lambda x: sympy.expint(1, x),
        "ei": sympy.Ei,
        "ellipe": sympy.elliptic_e,
        "ellipk": sympy.elliptic_k,
        "expm1": lambda x: sympy.exp(x) - 1,
        "fmod": lambda x, y: sympy.Mod(x, sympy.Abs(y)),
        "gammainc": gammainc,
        "hypot": lambda x, y: sympy.sqrt(x**2 + y**2),
        "inf": sympy.oo,
        "log10": lambda x: sympy.log(x, 10),
        "log1p": lambda x: sympy.log(1 + x),
        "mpf": mpf,
        "ncdf": lambda x: (1 + sympy.erf(x / sympy.sqrt(2))) * half,
        "nint": nint,
        "rgamma": lambda x: 1 / sympy.gamma(x),
        "sincpi": lambda x: sympy.sinc(sympy.pi * x),
    }
