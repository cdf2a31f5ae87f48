"""Tapes as expressions: every row against the kernels' values, whole tapes against runs."""

import mpmath
import naive
import numpy as np
import pytest
import sympy

import numtape as nt
from numtape.ops.table import ROWS
from numtape.show.symbolic import _apply


def _evaluated(expression):
    """Derivatives at points that SymPy leaves as they are, numerically."""

    def value(subs):
        (symbol,), (point,) = subs.variables, subs.point
        function = sympy.lambdify(symbol, subs.expr.expr, "mpmath")
        return sympy.Float(mpmath.diff(function, point, int(subs.expr.derivative_count)))

    return expression.replace(lambda part: isinstance(part, sympy.Subs), value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_as_expressions(row):
    """What a row is to SymPy is what it is to NumPy and SciPy."""
    symbols = sympy.symbols("x y", real=True)[: row.arity]
    expression = _apply(ROWS.index(row), *symbols)
    random = np.random.default_rng(0)
    for _ in range(2):
        point = [random.uniform(*row.domain[k]) for k in range(row.arity)]
        values = dict(zip(symbols, map(sympy.Float, point)))
        found = float(_evaluated(expression.xreplace(values)).evalf(20))
        np.testing.assert_allclose(found, naive.row_value(row, *point), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("point", [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1.2, -1.7])
@pytest.mark.parametrize("name", ["rint", "trunc", "floor", "ceil", "sign", "cbrt", "absolute"])
def test_rows_at_ties_and_below_zero(name, point):
    row = next(row for row in ROWS if row.name == name)
    found = _apply(ROWS.index(row), sympy.Rational(point))
    np.testing.assert_allclose(float(found), naive.row_value(row, point), rtol=1e-14)


# whole tapes


def at_points(tape, expressions, arguments):
    """Expressions evaluated where their symbols have the arguments' elements."""
    wanted = tape.to_sympy(limit=10**9) if expressions is None else expressions
    names = sorted(set().union(*(sympy.sympify(e).free_symbols for e in np.ravel(wanted))), key=str)
    values = {}
    for number, argument in enumerate(arguments, 1):
        name = "x" if len(arguments) == 1 else f"x{number}"
        for index, element in np.ndenumerate(argument):
            values["_".join([name, *map(str, index)])] = element
    function = sympy.lambdify(names, list(np.ravel(wanted)), "numpy")
    return function(*(values[str(name)] for name in names))


def rational(x, y):
    return np.log(x) + x * y - np.sin(y) ** 2 / (1.0 + x**2) + 0.1 * np.exp(-x)


def small(x):
    return np.sqrt(x @ x) * np.cumsum(x)[1] + x[::-1].prod() + np.maximum(x, 1.0).sum()


def whole(x):
    y = np.tanh(np.outer(x, x)[:3]) @ x
    return np.sum(y * y) + np.cumsum(x)[4:].prod() + np.max(x) + np.sum(x.reshape(2, 5) ** 2, 0)[2]


def shaped(x):
    y = np.exp(x).reshape(3, 4)
    batch = np.stack([y, y * y]) @ y.T
    return np.cumsum(y, axis=0) + np.cumprod(y, axis=1) + batch[1, 0, 0] + y.max(axis=0)


CASES = [
    (shaped, (np.linspace(-0.5, 0.4, 12),)),
    (lambda x: np.sum(x[[0, 3, 3, 9]] * x[[1, 3, 5, 9]] ** 2), (np.linspace(0.1, 1.0, 10),)),
    (rational, (2.0, 5.0)),
    (small, (np.array([0.5, 2.0, 1.5]),)),
    (whole, (np.linspace(0.2, 1.1, 10),)),
    (lambda x: np.where(x > 1.0, np.log(x), x * x) * x[::-1], (np.array([0.5, 2.0]),)),
    (lambda x: np.clip(x, 0.0, 1.0) + np.hypot(x, 2.0) + np.arctan2(x, 3.0), (0.3,)),
]


@pytest.mark.parametrize(("function", "arguments"), CASES)
def test_values(function, arguments):
    tape = nt.record(function, *arguments)
    moved = [argument * 0.95 for argument in arguments]
    found = at_points(tape, tape.to_sympy(), moved)
    np.testing.assert_allclose(found, np.ravel(tape(*moved)), rtol=1e-12)


@pytest.mark.parametrize(("function", "arguments"), CASES[1:5])
def test_derivative_tapes(function, arguments):
    """The expression of a gradient's tape is the gradient."""
    tape = nt.record(function, *arguments)
    _, gradient = tape.adjoint().to_sympy(limit=10**6)
    expected = np.ravel(tape.gradient(*arguments))
    np.testing.assert_allclose(at_points(tape, gradient, arguments), expected, rtol=1e-11)


def test_derivatives_by_sympy_agree():
    tape = nt.record(rational, 2.0, 5.0)
    x1, x2 = sympy.symbols("x1 x2", real=True)
    value, (by_x1, by_x2) = tape.adjoint(argnums=(0, 1)).to_sympy()
    assert value == tape.to_sympy()
    for found, symbol in ((by_x1, x1), (by_x2, x2)):
        difference = found - sympy.diff(value, symbol)
        assert abs(difference.evalf(30, subs={x1: 1.3, x2: 0.7})) < 1e-15


def test_trees_and_arrays_keep_their_structure():
    def f(p):
        return {"a": p["t"] * p["x"], "b": (p["t"], p["x"].sum())}

    tape = nt.record(f, {"t": 2.0, "x": np.ones((2, 2))})
    found = tape.to_sympy()
    assert found["a"].shape == (2, 2)
    assert str(found["a"][1, 0]) == "x1*x2_1_0"
    assert str(found["b"][0]) == "x1"


def test_symbols_may_be_given():
    tape = nt.record(lambda x: x[0] * x[1], np.ones(2))
    omega = sympy.Symbol("omega", positive=True)
    assert tape.to_sympy([omega, "t"]) == omega * sympy.Symbol("t", real=True)
    with pytest.raises(nt.InputError, match=r"1 symbols.*2 inputs"):
        tape.to_sympy(["t"])
    with pytest.raises(nt.InputError, match=r"symbol v1 was given.*another name"):
        tape.to_sympy(["v1", "t"], shared=True)


def test_simple_numbers_are_exact():
    expression = nt.record(lambda x: 2.0 * x**3 + 0.25 / x + 0.1, 2.0).to_sympy()
    x = sympy.Symbol("x", real=True)
    assert expression == 2 * x**3 + 1 / (4 * x) + sympy.Float(0.1)


def test_arms_of_where_are_one_piecewise():
    expression = nt.record(lambda x: np.where(x < 1.0, x, x * x), 2.0).to_sympy()
    x = sympy.Symbol("x", real=True)
    assert expression == sympy.Piecewise((x, x < 1), (x * x, True))


# sharing


def chain(x, steps=20):
    for _ in range(steps):
        x = 4.0 * x * (1.0 - x)
    return x


def test_sharing_keeps_expressions_short():
    tape = nt.record(chain, 0.2)
    assert tape.expression_size() == 3 * (2**20 - 1)
    assignments, output = tape.to_sympy(shared=True)
    assert len(assignments) == tape.flat.instructions == 60
    values = {sympy.Symbol("x", real=True): sympy.Float(0.3, 60)}
    for name, made in assignments:
        values[name] = made.xreplace(values)
    exact = chain(sympy.Float(0.3, 60))
    assert abs(values[output] - exact) < 1e-40


def test_sizes_count_the_expression_written():
    """Counted on a tree whose operations SymPy neither merges nor sorts away."""

    def f(x):
        y = np.exp(x)
        z = np.sin(y) / y
        return z**y

    tape = nt.record(f, 0.5)
    assert tape.expression_size() == 6
    x = np.linspace(0.1, 0.9, 12)
    tape = nt.record(lambda x: np.sum(np.exp(x) * x), x)
    assert tape.expression_size() == 12 * 2 + 11
    a = np.ones((9, 10))
    assert nt.record(lambda a: a @ a.T, a).expression_size() == 81 * (10 + 9)
    assert nt.record(lambda x: np.sort(x), x).expression_size() > 12


def test_long_expressions_are_refused():
    with pytest.raises(nt.TapeError, match=r"3145725 operations.*10000.*60 instructions.*shared"):
        nt.record(chain, 0.2).to_sympy()
    with pytest.raises(nt.TapeError, match="60 results, and the limit is 59"):
        nt.record(chain, 0.2).to_sympy(shared=True, limit=59)


# LaTeX


def test_latex():
    assert nt.record(lambda x: np.log(x) / x, 2.0).to_latex() == sympy.latex(
        sympy.log(sympy.Symbol("x")) / sympy.Symbol("x")
    )
    array = nt.record(lambda x: 2.0 * x, np.ones(2)).to_latex()
    assert "2 x_{0} & 2 x_{1}" in array
    several = nt.record(lambda x: (x * x, np.exp(x)), 2.0).to_latex()
    assert several == "x^{2},\\quad e^{x}"
    shared = nt.record(lambda x: np.exp(x) * x, 2.0).to_latex(shared=True)
    assert shared == (
        "\\begin{aligned}v_{1} &= e^{x} \\\\ v_{2} &= v_{1} x \\\\ y &= v_{2}\\end{aligned}"
    )


# errors


def test_guards_are_not_forgotten():
    tape = nt.record(lambda x: x * x if x > 0 else x, 2.0)
    with pytest.raises(nt.TapeError, match=r"1 guards.*without_guards"):
        tape.to_sympy()
    assert str(tape.without_guards().to_sympy()) == "x**2"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda a: np.sort(a[0]), "argsort over an array"),
        (lambda a: np.linalg.inv(a), "inv over an array"),
    ],
)
def test_what_cannot_be_written_out(function, name):
    tape = nt.record(function, np.eye(9) + 0.1).without_guards()
    with pytest.raises(nt.UnsupportedError, match=f"{name}.*trace_table"):
        tape.to_sympy()


def test_without_sympy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sympy", None)
    with pytest.raises(nt.UnsupportedError, match=r"pip install 'numtape\[symbolic\]'"):
        nt.record(lambda x: x * x, 2.0).to_sympy()
