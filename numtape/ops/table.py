"""The table of elementwise operations: one row per operation, and nothing twice.

From a row come its opcode (its position), its code in the kernels, its tracing,
its derivative rule, its printing, its documentation and its tests. Adding an
operation is adding a row, then `python -m numtape.run.generate`.

Two small languages are used in a row.

`primal` is a Python expression of ``x`` and ``y`` that only the kernels
evaluate: arithmetic, comparisons, ``a if c else b``, ``sqrt``. Where it is
None, the kernels call the inner loop of the row's own ufunc, so that a replay
gives bit for bit what NumPy or SciPy gives.

`partials` are expressions of ``x``, ``y`` and the result ``f`` made of ``+ - *
/``, numbers and *names of rows*. They are evaluated on floats by the kernels
and on recorded values by the transforms, which differentiate them again for
higher orders; so they must be right at the kinks, and must not make inf or nan
that the true derivative does not have. ``where(c, a, b)`` may be used: the arm
not taken counts for nothing, at every order. The one word `unknown` stands for a
derivative that exists and has no closed form: who asks for it gets an error.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["OPCODE", "ROWS", "UNKNOWN", "Row", "row_named", "row_of_ufunc"]

# The partial by an operand that there is no closed form for, such as the order of `jv`.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One elementwise operation.

    Attributes
    ----------
    name : str
        The name in programs, printouts and partials.
    arity : int
        1 or 2 operands.
    partials : tuple of str
        One expression an operand; ``"0"`` marks a derivative that is zero
        everywhere it exists, `UNKNOWN` one that has no closed form.
    synopsis : str
        One line for the documentation's table of operations.
    ufunc : str or None
        Where NumPy's or SciPy's own version lives, ``"module.name"``.
    primal : str or None
        The kernels' expression; None calls the ufunc's inner loop.
    symbol : str or None
        The sign to print between (or before) the operands.
    reference : str or None
        The value as an mpmath expression, for the tests; None reads `primal`.
    vector : str or None
        For lanes: an expression of x and y that calls the C library's functions
        by their names there (see `run/emitter.py`); ``where(c, a, b)`` and
        comparisons may stand in it too. None means `primal`, or the ufunc's loop.
    even : str or None
        For an even function of one operand: its derivative by the square of x, as an
        expression of x. Functions of |x| and of norms are smooth by it; see
        `transform/kinks.py`.
    domain : tuple of (low, high)
        Where the tests sample each operand.
    finite : bool
        Whether it is finite for operands of moderate size, and no mask. A partial
        made of such operations is multiplied with a seed as it is; any other
        by the zero-safe `scale`.
    common : bool
        Whether it is among the operations that most scalar code is made of:
        tapes of these alone use kernels that compile sooner.
    commutes : bool
        Whether its operands may be exchanged.
    roots : str or None
        For `transform/kinks.py`: "makes" where its result may be a root, "passes" where it
        may be one if an operand is.
    """

    name: str
    arity: int
    partials: tuple[str, ...]
    synopsis: str
    ufunc: str | None = None
    primal: str | None = None
    symbol: str | None = None
    reference: str | None = None
    vector: str | None = None
    even: str | None = None
    domain: tuple[tuple[float, float], ...] = ((-3.0, 3.0), (-3.0, 3.0))
    finite: bool = False
    common: bool = False
    commutes: bool = False
    roots: str | None = None

    @property
    def is_flat(self) -> bool:
        """Return whether it has no derivative at all: comparisons, rounding."""
        return self.partials == ("0",) * self.arity

    @property
    def holds_constant(self) -> bool:
        """Return whether its second operand is held constant."""
        return self.name.endswith("_constant")

    @property
    def is_power(self) -> bool:
        """Return whether it is one of the forms of x**y, which round differently."""
        return self.name.startswith("pow")


def _unary(name: str, partial: str, synopsis: str, **fields: Any) -> Row:
    return Row(name, 1, (partial,), synopsis, **fields)


def _binary(name: str, left: str, right: str, synopsis: str, **fields: Any) -> Row:
    return Row(name, 2, (left, right), synopsis, **fields)


_PI = "3.141592653589793"
_LN2 = "0.6931471805599453"
_LN10 = "2.302585092994046"
_LOG2E = "1.4426950408889634"
_RADIAN = "0.017453292519943295"
_DEGREE = "57.29577951308232"
_TWO_OVER_SQRT_PI = "1.1283791670955126"
_ONE_OVER_SQRT_PI = "0.5641895835477563"
_HALF_SQRT_PI = "0.886226925452758"
_ONE_OVER_SQRT_TWO_PI = "0.3989422804014327"
_SQRT_TWO_PI = "2.5066282746310002"

_POSITIVE = ((0.05, 4.0), (0.05, 4.0))
_BASE_AND_EXPONENT = ((0.05, 4.0), (-3.0, 3.0))
_INSIDE_ONE = ((-0.95, 0.95),)
_ORDER = ((0.0, 3.0), (0.2, 4.0))

# d(x**y)/dx; x**0 is flat even at 0, where the general formula is 0 * inf. `scale` says so
# and no more: where y is 0 the slope changes with y, which a constant there would hide.
_POWER_SLOPE = "scale(y, {name}(x, y - 1.0))"
_CONSTANT_POWER_SLOPE = (
    "where(equal(y, 2.0), 2.0 * x, where(equal(y, 0.0), 0.0, y * {name}(x, y - 1.0)))"
)
_POWER_LOG = "where(equal(x, 0.0), 0.0, f * log(x))"


def _power(name: str, **fields: Any) -> Row:
    synopsis = "x to the power y"
    slope, log = _POWER_SLOPE, _POWER_LOG
    if name.endswith("constant"):  # mostly a square, whose slope needs no power
        synopsis += ", y held constant"
        slope, log = _CONSTANT_POWER_SLOPE, "0"
    slope = slope.format(name=name)
    domain, vector = _BASE_AND_EXPONENT, "pow(x, y)"
    return _binary(name, slope, log, synopsis, domain=domain, vector=vector, **fields)


def _comparison(name: str, symbol: str, synopsis: str) -> Row:
    return _binary(
        name,
        "0",
        "0",
        synopsis,
        ufunc=f"numpy.{name}",
        primal=f"1.0 if x {symbol} y else 0.0",
        symbol=symbol,
        common=True,
        commutes=name in ("equal", "not_equal"),
    )


# What the larger of two has as its partial: 1 for the larger, a half for each of
# a tie. Written with the result, so that it serves the nan-ignoring forms too.
_CHOSEN_LEFT = "equal(f, x) * (1.0 - 0.5 * equal(x, y))"
_CHOSEN_RIGHT = "equal(f, y) * (1.0 - 0.5 * equal(x, y))"


def _choice(name: str, reference: str, synopsis: str, **fields: Any) -> Row:
    return _binary(
        name,
        _CHOSEN_LEFT,
        _CHOSEN_RIGHT,
        synopsis,
        ufunc=f"numpy.{name}",
        reference=reference,
        **fields,
    )


# sinc'(x): the direct formula cancels near 0, so there its own series is used.
_SINC_SERIES = "1.0"
for _k in range(9, 1, -1):
    _ratio = math.pi**2 * _k / ((2 * _k) * (2 * _k + 1) * (_k - 1))
    _SINC_SERIES = f"(1.0 - {_ratio!r} * (x * x) * {_SINC_SERIES})"
_SINC_SLOPE = (
    f"where(less(absolute(x), 0.25), {-(math.pi**2) / 3!r} * x * {_SINC_SERIES},"
    f" (cos({_PI} * x) - f) / x)"
)

# exp(x - f) of logaddexp; where f equals x the other term is negligible, or
# both are infinite and the difference would be nan.
_LOGADDEXP_LEFT = "where(equal(f, x), 0.0, x - f)"
_LOGADDEXP_RIGHT = "where(equal(f, y), 0.0, y - f)"

# A third faster than the library's own.
_TANH_LANES = "copysign(expm1(-2.0 * abs(x)) / (-2.0 - expm1(-2.0 * abs(x))), x)"

_LOGADDEXP_LANES = (
    "where(x == y, x + {one}, where(x > y, x, y) + {unit} * log1p({exp}(-abs(x - y))))"
)

# erfcx'(x): the direct formula cancels for large x, so there its asymptotic series is used.
_ERFCX_SERIES = "1.0"
for _k in range(6, 0, -1):
    _ERFCX_SERIES = f"(1.0 - {_k + 0.5!r} / (x * x) * {_ERFCX_SERIES})"
_ERFCX_SLOPE = (
    f"where(greater(x, 30.0), -0.5641895835477563 / (x * x) * {_ERFCX_SERIES},"
    f" 2.0 * x * f - {_TWO_OVER_SQRT_PI})"
)

# The derivative of (exp(u) - 1) / u, divided by x where u = x y; a series where it cancels.
_BOXCOX_SERIES = "0.0"
for _k in range(12, -1, -1):
    _BOXCOX_SERIES = f"({(_k + 1) / math.factorial(_k + 2)!r} + u * {_BOXCOX_SERIES})"
_BOXCOX_SLOPE = f"where(less(absolute(u), 0.25), l * l * {_BOXCOX_SERIES}, (p - f) / y)"
# The derivative of log1p(x y) / y by y, and a series where that cancels.
_UNBOXCOX_SERIES = "0.0"
for _k in range(16, -1, -1):
    _UNBOXCOX_SERIES = f"({-(_k + 1) / (_k + 2)!r} - u * {_UNBOXCOX_SERIES})"
_UNBOXCOX_SLOPE = (
    f"where(less(absolute(u), 0.1), x * x * {_UNBOXCOX_SERIES.replace('u', '(x * y)')},"
    " (x / (1.0 + x * y) - log1p(x * y) / y) / y)"
).replace("absolute(u)", "absolute(x * y)")


def _boxcox_slope(logarithm: str) -> str:
    """Return the derivative of ``(exp(l y) - 1) / y`` by y, where l is the logarithm given."""
    product = "xlogy" if logarithm == "log(x)" else "xlog1py"
    names = {"u": f"({logarithm} * y)", "l": logarithm, "p": f"{product}(1.0 + y * f, x)"}
    return re.sub(r"\b[ulp]\b", lambda match: names[match[0]], _BOXCOX_SLOPE)


# The densities of the gamma distribution (of shape x, at y) and of Student's t (of x
# degrees of freedom, at y). Near 0 the power itself is right to every order.
_GAMMA_DENSITY = (
    "where(less(y, 1.0), power(y, x - 1.0) * exp(-y) * rgamma(x),"
    " where(isinf(y), 0.0, exp(xlogy(x - 1.0, y) - y - gammaln(x))))"
)
_CHI_SQUARE_DENSITY = "0.5 * " + re.sub(
    r"\b[xy]\b", lambda match: f"(0.5 * {match[0]})", _GAMMA_DENSITY
)
# The derivatives of their logarithms by the shape.
_GAMMA_SCORE = "(log(y) - digamma(x))"
_T_SERIES = "0.0"  # of digamma(x / 2 + 1 / 2) - digamma(x / 2) - 1 / x, by powers of 1 / x**2
for _k, _b in ((7, 7 / 6), (6, -691 / 2730), (5, 5 / 66), (4, -1 / 30), (3, 1 / 42), (2, -1 / 30)):
    _T_SERIES = f"({_b * (2 - 2.0 ** (1 - 2 * _k)) / (2 * _k) * 4.0**_k!r} + {_T_SERIES}) / (x * x)"
_T_SERIES = f"(0.5 + {_T_SERIES}) / (x * x)"
_T_CONSTANT = (
    f"where(greater(x, 30.0), {_T_SERIES}, digamma(0.5 * x + 0.5) - digamma(0.5 * x) - 1.0 / x)"
)
_T_SHARE = "(y * y / (x + y * y))"
_T_SCORE = (
    (  # log(1 + u) is u + log1pmx(u), u the share over the rest to 1
        "(0.5 * ({c} - log1pmx(y * y / x) - y * y / x * {s} + {s} / x))"
    )
    .replace("{c}", _T_CONSTANT)
    .replace("{s}", _T_SHARE)
)
_T_SLOPE = "0.0"  # of that series, by x
for _k, _b in ((7, 7 / 6), (6, -691 / 2730), (5, 5 / 66), (4, -1 / 30), (3, 1 / 42), (2, -1 / 30)):
    _T_SLOPE = f"({-_b * (2 - 2.0 ** (1 - 2 * _k)) * 4.0**_k!r} + {_T_SLOPE}) / (x * x)"
_T_CURVATURE = (  # the derivative of the score by x
    f"0.5 * (where(greater(x, 30.0), (-1.0 + {_T_SLOPE}) / (x * x * x),"
    " 0.5 * zeta(2.0, 0.5 * x + 0.5) - 0.5 * zeta(2.0, 0.5 * x) + 1.0 / (x * x))"
    f" + {_T_SHARE} * {_T_SHARE} / x - {_T_SHARE} * (2.0 - {_T_SHARE}) / (x * x))"
)
# References: hypergeometric series.
_GAMMA_LOW = "mp.gammainc(x, 0, y, regularized=True)"
_GAMMA_LOG = "(mp.log(y) - mp.digamma(x))"
_GAMMA_HYPER = "y**x / mp.gamma(x) / x**{n} * mp.hyper([x] * {n}, [x + 1] * {n}, -y)"
_GAMMA_FIRST = f"{_GAMMA_LOG} * {_GAMMA_LOW} - {_GAMMA_HYPER.format(n=2)}"
_GAMMA_SECOND = (
    f"({_GAMMA_LOG}**2 - mp.zeta(2, x)) * {_GAMMA_LOW}"
    f" - 2 * {_GAMMA_LOG} * {_GAMMA_HYPER.format(n=2)} + 2 * {_GAMMA_HYPER.format(n=3)}"
)
_T_POINT, _T_HALF = "(x / (x + y * y))", "mp.mpf(1) / 2"  # by the beta distribution, for y > 0
_T_LOG = f"(mp.log({_T_POINT}) - mp.digamma(x / 2) + mp.digamma(x / 2 + {_T_HALF}))"
_T_POWER = f"{_T_POINT}**(x / 2) / mp.beta(x / 2, {_T_HALF})"
_T_HYPER = (
    f"{_T_POWER} / (x / 2)**{{n}} * mp.hyper([x / 2] * {{n}} + [{_T_HALF}], [x / 2 + 1] * {{n}},"
    f" {_T_POINT})"
)
_T_LOW = f"mp.betainc(x / 2, {_T_HALF}, 0, {_T_POINT}, regularized=True)"
_T_ALONG = f"{_T_POWER} * mp.sqrt(1 - {_T_POINT}) / x"
_T_FIRST = f"-({_T_LOG} * {_T_LOW} - {_T_HYPER.format(n=2)}) / 4 - {_T_ALONG} / 2"
_T_SECOND = (
    f"-(({_T_LOG}**2 - mp.zeta(2, x / 2) + mp.zeta(2, x / 2 + {_T_HALF})) * {_T_LOW}"
    f" - 2 * {_T_LOG} * {_T_HYPER.format(n=2)} + 2 * {_T_HYPER.format(n=3)}) / 8"
    f" - {_T_ALONG} / 2 * ({_T_LOG} - 1 / x + (x / 2 - {_T_POINT} * (x + 1) / 2) / x)"
)
_T_REFERENCE = (
    "mp.betainc(x / 2, x / 2, 0, (y + mp.sqrt(y * y + x)) / (2 * mp.sqrt(y * y + x)),"
    " regularized=True)"
)
_POISSON_MASS = "exp(xlogy(floor(x), y) - y - gammaln(floor(x) + 1.0))"
_T_DENSITY = (  # poch is gamma(x / 2 + 1 / 2) / gamma(x / 2), without their difference's rounding
    f"where(isinf(x), {_ONE_OVER_SQRT_TWO_PI} * exp(-0.5 * (y * y)),"
    f" {_ONE_OVER_SQRT_PI} * poch(0.5 * x, 0.5) / sqrt(x)"
    " * exp(-(0.5 * x + 0.5) * log1p(y * y / x)))"
)


def _by_order(name: str, slope: str, reference: str) -> tuple[Row, Row]:
    """Return the derivatives of a Bessel function by its order, which are our own."""
    first, second = (
        _binary(
            f"{name}_d{n}",
            partial,
            slope.format(n=n),
            f"{words} of {name}(x, y) by x",
            ufunc=f"numtape.run.bessel.{name}_d{n}",
            reference=f"mp.diff(lambda t, y=y: {reference}, x, {n})",
            domain=((0.1, 3.0), (0.3, 4.0)),
        )
        for n, partial, words in (
            (1, f"{name}_d2(x, y)", "derivative"),
            (2, UNKNOWN, "second derivative"),
        )
    )
    return first, second


def _polynomial(coefficients: Sequence[float], x: str) -> str:
    """Write c0 + x * (c1 + x * (c2 + ...)) as text."""
    text = "0.0"
    for coefficient in reversed(coefficients):
        text = f"({coefficient!r} + {x} * {text})"
    return text


# Slopes of the complete elliptic integrals: where the formulas cancel, near 0, their series.
_SQUARES = [1.0]  # of the binomial coefficients that they have
for _k in range(1, 36):
    _SQUARES.append(_SQUARES[-1] * ((2 * _k - 1) / (2 * _k)) ** 2)
_K_SLOPES = [math.pi / 2 * _k * _SQUARES[_k] for _k in range(1, 36)]
_E_SLOPES = [-math.pi / 2 * _k * _SQUARES[_k] / (2 * _k - 1) for _k in range(1, 36)]
_ELLIPK_SLOPE = (
    f"where(less(absolute(x), 0.3), {_polynomial(_K_SLOPES, 'x')},"
    " (ellipe(x) / (1.0 - x) - f) / (2.0 * x))"
)
_ELLIPE_SLOPE = (
    f"where(less(absolute(x), 0.3), {_polynomial(_E_SLOPES, 'x')}, (f - ellipk(x)) / (2.0 * x))"
)
_ELLIPKM1_SLOPE = (  # the integral of E is flat to all digits where x is below the rounding of 1
    f"where(less(absolute(1.0 - x), 0.3), -{_polynomial(_K_SLOPES, '(1.0 - x)')},"
    " -(ellipe(1.0 - maximum(x, 1.2e-16)) / x - f) / (2.0 * (1.0 - x)))"
)

# 1 - 2 x dawsn(x) cancels for large x, so there its asymptotic series is used.
_DAWSN_SERIES = "1.0"
for _k in range(22, 0, -1):
    _DAWSN_SERIES = f"(1.0 + {_k + 0.5!r} / (x * x) * {_DAWSN_SERIES})"
_DAWSN_SLOPE = (
    f"where(greater(absolute(x), 9.0), -0.5 / (x * x) * {_DAWSN_SERIES}, 1.0 - 2.0 * x * f)"
)
_SPENCE_SERIES = _polynomial([(-1.0) ** (_k + 1) / (_k + 1) for _k in range(30)], "(x - 1.0)")
_SPENCE_SLOPE = f"where(less(absolute(x - 1.0), 0.25), {_SPENCE_SERIES}, log(x) / (1.0 - x))"

_ROWS: tuple[Row, ...] = (
    # arithmetic
    _binary(
        "add",
        "1.0",
        "1.0",
        "x + y",
        ufunc="numpy.add",
        primal="x + y",
        symbol="+",
        finite=True,
        common=True,
        commutes=True,
    ),
    _binary(
        "subtract",
        "1.0",
        "-1.0",
        "x - y",
        ufunc="numpy.subtract",
        primal="x - y",
        symbol="-",
        finite=True,
        common=True,
    ),
    _binary(
        "multiply",
        "y",
        "x",
        "x * y",
        ufunc="numpy.multiply",
        primal="x * y",
        symbol="*",
        finite=True,
        common=True,
        commutes=True,
        roots="passes",
    ),
    _binary(
        "divide",
        "1.0 / y",
        "-f / y",
        "x / y",
        ufunc="numpy.divide",
        primal="x / y",
        symbol="/",
        domain=((-3.0, 3.0), (0.2, 3.0)),
        common=True,
        roots="passes",
    ),
    _unary(
        "negative",
        "-1.0",
        "-x",
        ufunc="numpy.negative",
        primal="-x",
        symbol="-",
        finite=True,
        common=True,
        roots="passes",
    ),
    _unary(
        "positive",
        "1.0",
        "x itself, copied",
        ufunc="numpy.positive",
        primal="x",
        finite=True,
        common=True,
        roots="passes",
    ),
    _unary(
        "square",
        "2.0 * x",
        "x * x",
        ufunc="numpy.square",
        primal="x * x",
        even="1.0",
        finite=True,
        common=True,
    ),
    _unary(
        "reciprocal",
        "-f * f",
        "1 / x",
        ufunc="numpy.reciprocal",
        primal="1.0 / x",
        domain=((0.2, 3.0),),
    ),
    # NumPy's power loop and the power operator of Python and NumPy scalars
    # round differently in the last place; each is replayed as it was recorded.
    _power("power", ufunc="numpy.power", reference="x ** y"),
    _power("power_constant", ufunc="numpy.power", reference="x ** y"),
    _power("pow", ufunc="numpy.float_power", primal="x ** y", symbol="**"),
    _power("pow_constant", ufunc="numpy.float_power", primal="x ** y", symbol="**", common=True),
    _unary(
        "absolute",
        "sign(x)",
        "absolute value",
        ufunc="numpy.absolute",
        primal="abs(x)",
        reference="abs(x)",
        common=True,
        roots="makes",
    ),
    _unary(
        "sign",
        "0",
        "-1, 0 or 1; nan for nan",
        ufunc="numpy.sign",
        primal="1.0 if x > 0.0 else (-1.0 if x < 0.0 else (0.0 if x == 0.0 else x))",
        reference="mp.sign(x)",
    ),
    _binary(
        "copysign",
        "sign(x) * copysign(1.0, y)",
        "0",
        "|x| with the sign of y",
        ufunc="numpy.copysign",
        reference="abs(x) * mp.sign(y)",
        finite=True,
        vector="copysign(x, y)",
    ),
    # roots, exponentials, logarithms
    _unary(
        "sqrt",
        "0.5 / f",
        "square root",
        ufunc="numpy.sqrt",
        primal="sqrt(x)",
        domain=((0.05, 4.0),),
        common=True,
        roots="makes",
    ),
    _unary(
        "norm_root",
        "norm_slope(f)",
        "square root of a sum of squares: flat at 0",
        primal="sqrt(x)",
        domain=((0.05, 4.0),),
        roots="makes",
    ),
    _unary(
        "norm_slope",
        "-2.0 * f * f",
        "1 / (2 x), 0 where x is 0: the slope of a norm",
        primal="0.5 / x if x != 0.0 else 0.0",
        reference="0.5 / x",
        domain=((0.2, 3.0),),
    ),
    _unary(
        "cbrt",
        "1.0 / (3.0 * f * f)",
        "cube root",
        ufunc="numpy.cbrt",
        reference="mp.cbrt(x)",
        domain=((0.05, 4.0),),
        vector="cbrt(x)",
    ),
    _unary(
        "exp",
        "f",
        "e to the power x",
        ufunc="numpy.exp",
        reference="mp.exp(x)",
        finite=True,
        common=True,
        vector="exp(x)",
    ),
    _unary(
        "exp2",
        f"{_LN2} * f",
        "2 to the power x",
        ufunc="numpy.exp2",
        reference="mp.mpf(2)**x",
        finite=True,
        vector="exp2(x)",
    ),
    _unary(
        "expm1",
        "exp(x)",
        "exp(x) - 1",
        ufunc="numpy.expm1",
        reference="mp.expm1(x)",
        common=True,
        vector="expm1(x)",
    ),
    _unary(
        "log",
        "1.0 / x",
        "natural logarithm",
        ufunc="numpy.log",
        reference="mp.log(x)",
        domain=_POSITIVE,
        common=True,
        vector="log(x)",
    ),
    _unary(
        "log2",
        f"1.0 / ({_LN2} * x)",
        "logarithm to base 2",
        ufunc="numpy.log2",
        reference="mp.log(x, 2)",
        domain=_POSITIVE,
        vector="log2(x)",
    ),
    _unary(
        "log10",
        f"1.0 / ({_LN10} * x)",
        "logarithm to base 10",
        ufunc="numpy.log10",
        reference="mp.log10(x)",
        domain=_POSITIVE,
        vector="log10(x)",
    ),
    _unary(
        "log1p",
        "1.0 / (1.0 + x)",
        "log(1 + x)",
        ufunc="numpy.log1p",
        reference="mp.log1p(x)",
        domain=((-0.9, 4.0),),
        common=True,
        vector="log1p(x)",
    ),
    _binary(
        "logaddexp",
        f"exp({_LOGADDEXP_LEFT})",
        f"exp({_LOGADDEXP_RIGHT})",
        "log(exp(x) + exp(y))",
        ufunc="numpy.logaddexp",
        reference="mp.log(mp.exp(x) + mp.exp(y))",
        vector=_LOGADDEXP_LANES.format(one=_LN2, unit="1.0", exp="exp"),
    ),
    _binary(
        "logaddexp2",
        f"exp2({_LOGADDEXP_LEFT})",
        f"exp2({_LOGADDEXP_RIGHT})",
        "log2(2**x + 2**y)",
        ufunc="numpy.logaddexp2",
        reference="mp.log(mp.mpf(2)**x + mp.mpf(2)**y, 2)",
        vector=_LOGADDEXP_LANES.format(one="1.0", unit=_LOG2E, exp="exp2"),
    ),
    # circular and hyperbolic functions
    _unary(
        "sin",
        "cos(x)",
        "sine",
        ufunc="numpy.sin",
        reference="mp.sin(x)",
        finite=True,
        common=True,
        vector="sin(x)",
    ),
    _unary(
        "cos",
        "-sin(x)",
        "cosine",
        ufunc="numpy.cos",
        reference="mp.cos(x)",
        even="-0.5 * sinc(0.3183098861837907 * x)",
        finite=True,
        common=True,
        vector="cos(x)",
    ),
    _unary(
        "tan",
        "1.0 + f * f",
        "tangent",
        ufunc="numpy.tan",
        reference="mp.tan(x)",
        domain=((-1.4, 1.4),),
        common=True,
        vector="tan(x)",
    ),
    _unary(
        "arcsin",
        "1.0 / sqrt((1.0 - x) * (1.0 + x))",
        "inverse sine",
        ufunc="numpy.arcsin",
        reference="mp.asin(x)",
        domain=_INSIDE_ONE,
        vector="asin(x)",
    ),
    _unary(
        "arccos",
        "-1.0 / sqrt((1.0 - x) * (1.0 + x))",
        "inverse cosine",
        ufunc="numpy.arccos",
        reference="mp.acos(x)",
        domain=_INSIDE_ONE,
        vector="acos(x)",
    ),
    _unary(
        "arctan",
        "1.0 / (1.0 + x * x)",
        "inverse tangent",
        ufunc="numpy.arctan",
        reference="mp.atan(x)",
        finite=True,
        common=True,
        vector="atan(x)",
    ),
    _binary(
        "arctan2",
        "where(equal(hypot(x, y), 0.0), 0.0, y / hypot(x, y) / hypot(x, y))",
        "where(equal(hypot(x, y), 0.0), 0.0, -x / hypot(x, y) / hypot(x, y))",
        "angle of the point (y, x)",
        ufunc="numpy.arctan2",
        reference="mp.atan2(x, y)",
        common=True,
        vector="atan2(x, y)",
    ),
    _binary(
        "hypot",
        "x / (f + equal(f, 0.0))",
        "y / (f + equal(f, 0.0))",
        "sqrt(x*x + y*y) without overflow",
        ufunc="numpy.hypot",
        reference="mp.hypot(x, y)",
        common=True,
        vector="hypot(x, y)",
        roots="makes",
    ),
    _unary(
        "sinh",
        "cosh(x)",
        "hyperbolic sine",
        ufunc="numpy.sinh",
        reference="mp.sinh(x)",
        finite=True,
        common=True,
        vector="sinh(x)",
    ),
    _unary(
        "cosh",
        "sinh(x)",
        "hyperbolic cosine",
        ufunc="numpy.cosh",
        reference="mp.cosh(x)",
        even="where(equal(x, 0.0), 0.5, 0.5 * sinh(x) / x)",
        finite=True,
        common=True,
        vector="cosh(x)",
    ),
    _unary(
        "tanh",
        "1.0 / (cosh(x) * cosh(x))",
        "hyperbolic tangent",
        ufunc="numpy.tanh",
        reference="mp.tanh(x)",
        finite=True,
        common=True,
        vector=_TANH_LANES,
    ),
    _unary(
        "arcsinh",
        "1.0 / hypot(x, 1.0)",
        "inverse hyperbolic sine",
        ufunc="numpy.arcsinh",
        reference="mp.asinh(x)",
        vector="asinh(x)",
    ),
    _unary(
        "arccosh",
        "1.0 / sqrt((x - 1.0) * (x + 1.0))",
        "inverse hyperbolic cosine",
        ufunc="numpy.arccosh",
        reference="mp.acosh(x)",
        domain=((1.1, 4.0),),
        vector="acosh(x)",
    ),
    _unary(
        "arctanh",
        "1.0 / ((1.0 - x) * (1.0 + x))",
        "inverse hyperbolic tangent",
        ufunc="numpy.arctanh",
        reference="mp.atanh(x)",
        domain=_INSIDE_ONE,
        vector="atanh(x)",
    ),
    _unary(
        "sinc",
        _SINC_SLOPE,
        "sin(pi x) / (pi x), 1 at 0",
        primal=f"sin({_PI} * (x if x != 0.0 else 1e-20)) / ({_PI} * (x if x != 0.0 else 1e-20))",
        reference="mp.sincpi(x)",
    ),
    _unary(
        "deg2rad",
        _RADIAN,
        "degrees to radians",
        ufunc="numpy.deg2rad",
        reference="x * mp.pi / 180",
        vector=f"x * {_RADIAN}",
    ),
    _unary(
        "rad2deg",
        _DEGREE,
        "radians to degrees",
        ufunc="numpy.rad2deg",
        reference="x * 180 / mp.pi",
        vector=f"x * {_DEGREE}",
    ),
    # choices and rounding
    # Of two zeros these are the second, as with NumPy's loops on x86.
    _choice(
        "maximum",
        "max(x, y)",
        "the larger; nan if either is nan",
        primal="x if (x > y or x != x) else y",
        common=True,
        roots="makes",
    ),
    _choice(
        "minimum",
        "min(x, y)",
        "the smaller; nan if either is nan",
        primal="x if (x < y or x != x) else y",
        common=True,
        roots="makes",
    ),
    _choice("fmax", "max(x, y)", "the larger; nan only if both are nan"),
    _choice("fmin", "min(x, y)", "the smaller; nan only if both are nan"),
    _binary(
        "clip_low",
        "greater_equal(x, y)",
        "less(x, y)",
        "x, but not below y; at the bound the derivative is x's",
        primal="x if (x >= y or x != x) else y",
        reference="max(x, y)",
    ),
    _binary(
        "clip_high",
        "less_equal(x, y)",
        "greater(x, y)",
        "x, but not above y; at the bound the derivative is x's",
        primal="x if (x <= y or x != x) else y",
        reference="min(x, y)",
    ),
    # `where(c, a, b)` is merge(keep(c, a), drop(c, b)): each arm is masked to an
    # exact 0 where it is not taken, and exactly one of the two is not masked.
    _binary(
        "keep",
        "0",
        "not_equal(x, 0.0)",
        "y where x is true, else 0",
        primal="y if x != 0.0 else 0.0",
    ),
    _binary(
        "drop",
        "0",
        "equal(x, 0.0)",
        "y where x is false, else 0",
        primal="0.0 if x != 0.0 else y",
    ),
    _binary(
        "merge",
        "1.0",
        "1.0",
        "x + y where one of them is masked: keeps the sign of a zero",
        primal="y if (x == 0.0 and copysign(1.0, x) > 0.0) else x",
        reference="x + y",
        domain=((0.0, 0.0), (-3.0, 3.0)),
    ),
    _binary(
        "scale",
        "y",
        "x",
        "x * y, but 0 where either is 0, even if the other is inf or nan",
        primal="x * y if (x != 0.0 and y != 0.0) else 0.0",
        reference="x * y",
        commutes=True,
    ),
    _unary("floor", "0", "round down", ufunc="numpy.floor", reference="mp.floor(x)"),
    _unary("ceil", "0", "round up", ufunc="numpy.ceil", reference="mp.ceil(x)"),
    _unary(
        "trunc",
        "0",
        "round towards 0",
        ufunc="numpy.trunc",
        reference="mp.mpf(int(x))",
        common=True,
    ),
    _unary("rint", "0", "round to the nearest", ufunc="numpy.rint", reference="mp.nint(x)"),
    _binary(
        "remainder",
        "1.0",
        "-floor_divide(x, y)",
        "x modulo y, with the sign of y",
        ufunc="numpy.remainder",
        symbol="%",
        reference="x - y * mp.floor(x / y)",
        domain=((-3.0, 3.0), (0.3, 2.0)),
    ),
    _binary(
        "fmod",
        "1.0",
        "-rint((x - f) / y)",
        "remainder of x / y, with the sign of x",
        ufunc="numpy.fmod",
        reference="mp.fmod(x, abs(y)) if x >= 0 else -mp.fmod(-x, abs(y))",
        domain=((-3.0, 3.0), (0.3, 2.0)),
    ),
    _binary(
        "floor_divide",
        "0",
        "0",
        "x / y rounded down",
        ufunc="numpy.floor_divide",
        symbol="//",
        reference="mp.floor(x / y)",
        domain=((-3.0, 3.0), (0.3, 2.0)),
    ),
    _binary(
        "heaviside",
        "0",
        "equal(x, 0.0)",
        "0 below 0, 1 above, y at 0",
        ufunc="numpy.heaviside",
        reference="(0 if x < 0 else 1)",
        vector="where(x < 0.0, 0.0, where(x > 0.0, 1.0, where(x == x, y, x)))",
    ),
    # comparisons and logic, as 0 or 1
    _comparison("less", "<", "x < y"),
    _comparison("less_equal", "<=", "x <= y"),
    _comparison("greater", ">", "x > y"),
    _comparison("greater_equal", ">=", "x >= y"),
    _comparison("equal", "==", "x == y"),
    _comparison("not_equal", "!=", "x != y"),
    _binary(
        "logical_and",
        "0",
        "0",
        "x and y",
        ufunc="numpy.logical_and",
        primal="1.0 if (x != 0.0 and y != 0.0) else 0.0",
        commutes=True,
    ),
    _binary(
        "logical_or",
        "0",
        "0",
        "x or y",
        ufunc="numpy.logical_or",
        primal="1.0 if (x != 0.0 or y != 0.0) else 0.0",
    ),
    _binary(
        "logical_xor",
        "0",
        "0",
        "either x or y, not both",
        ufunc="numpy.logical_xor",
        primal="1.0 if ((x != 0.0) != (y != 0.0)) else 0.0",
    ),
    _unary(
        "logical_not",
        "0",
        "not x",
        ufunc="numpy.logical_not",
        primal="1.0 if x == 0.0 else 0.0",
    ),
    _unary("isnan", "0", "x is nan", ufunc="numpy.isnan", primal="1.0 if x != x else 0.0"),
    _unary(
        "isfinite",
        "0",
        "x is neither infinite nor nan",
        ufunc="numpy.isfinite",
        primal="1.0 if x - x == 0.0 else 0.0",
    ),
    _unary(
        "isinf",
        "0",
        "x is infinite",
        ufunc="numpy.isinf",
        primal="1.0 if (x == x and x - x != 0.0) else 0.0",
    ),
    # special functions
    _unary(
        "erf",
        f"{_TWO_OVER_SQRT_PI} * exp(-(x * x))",
        "error function",
        ufunc="scipy.special.erf",
        reference="mp.erf(x)",
        common=True,
        vector="erf(x)",
    ),
    _unary(
        "erfc",
        f"-{_TWO_OVER_SQRT_PI} * exp(-(x * x))",
        "1 - erf(x)",
        ufunc="scipy.special.erfc",
        reference="mp.erfc(x)",
        vector="erfc(x)",
    ),
    _unary(
        "gammaln",
        "digamma(x)",
        "logarithm of |gamma(x)|",
        ufunc="scipy.special.gammaln",
        reference="mp.log(abs(mp.gamma(x)))",
        domain=((0.1, 6.0),),
    ),
    _unary(
        "digamma",
        "zeta(2.0, x)",
        "derivative of gammaln",
        ufunc="scipy.special.digamma",
        reference="mp.digamma(x)",
        domain=((0.1, 6.0),),
    ),
    _binary(
        "zeta",
        UNKNOWN,
        "-x * zeta(x + 1.0, y)",
        "Hurwitz zeta function of y, the order x held constant",
        ufunc="scipy.special._ufuncs._zeta",
        reference="mp.zeta(x, y)",
        domain=((2.0, 2.0), (0.2, 6.0)),
    ),
    _unary(
        "expit",
        "f * expit(-x)",
        "1 / (1 + exp(-x))",
        ufunc="scipy.special.expit",
        reference="1 / (1 + mp.exp(-x))",
        finite=True,
        common=True,
        vector="where(x < 0.0, exp(-abs(x)), 1.0) / (1.0 + exp(-abs(x)))",
    ),
    _unary(
        "logit",
        "1.0 / (x * (1.0 - x))",
        "log(x / (1 - x))",
        ufunc="scipy.special.logit",
        reference="mp.log(x / (1 - x))",
        domain=((0.05, 0.95),),
        # Near 1/2 the logarithm of a quotient near 1 has lost its digits; 2x - 1 is exact there.
        vector="where(abs(x - 0.5) < 0.2, log1p((x + x - 1.0) / (1.0 - x)), log(x / (1.0 - x)))",
    ),
    _binary(
        "xlogy",
        "log(y)",
        "where(logical_and(equal(x, 0.0), equal(y, 0.0)), 0.0, x / y)",
        "x * log(y), 0 where x is 0",
        ufunc="scipy.special.xlogy",
        reference="x * mp.log(y)",
        domain=_POSITIVE,
        vector="where(x == 0.0, where(y == y, 0.0, y), x * log(y))",
    ),
    _unary(
        "erfcx",
        _ERFCX_SLOPE,
        "exp(x*x) * erfc(x)",
        ufunc="scipy.special.erfcx",
        reference="mp.exp(x*x) * mp.erfc(x)",
    ),
    _unary(
        "erfinv",
        f"{_HALF_SQRT_PI} * exp(f * f)",
        "inverse of erf",
        ufunc="scipy.special.erfinv",
        reference="mp.erfinv(x)",
        domain=_INSIDE_ONE,
    ),
    _unary(
        "erfcinv",
        f"-{_HALF_SQRT_PI} * exp(f * f)",
        "inverse of erfc",
        ufunc="scipy.special.erfcinv",
        reference="mp.erfinv(1 - x)",
        domain=((0.05, 1.95),),
    ),
    _unary(
        "ndtr",
        f"{_ONE_OVER_SQRT_TWO_PI} * exp(-0.5 * (x * x))",
        "cumulative normal distribution",
        ufunc="scipy.special.ndtr",
        reference="mp.ncdf(x)",
        common=True,
    ),
    _unary(
        "ndtri",
        f"{_SQRT_TWO_PI} * exp(0.5 * (f * f))",
        "inverse of ndtr",
        ufunc="scipy.special.ndtri",
        reference="mp.sqrt(2) * mp.erfinv(2 * x - 1)",
        domain=((0.05, 0.95),),
    ),
    _unary(
        "log_ndtr",
        "0.7978845608028654 / erfcx(-0.7071067811865476 * x)",
        "logarithm of ndtr",
        ufunc="scipy.special.log_ndtr",
        reference="mp.log(mp.ncdf(x))",
    ),
    _unary(
        "gamma",
        "f * digamma(x)",
        "gamma function",
        ufunc="scipy.special.gamma",
        reference="mp.gamma(x)",
        domain=((0.1, 6.0),),
    ),
    _unary(
        "loggamma",
        "where(less(x, 0.0), f, digamma(x))",
        "logarithm of gamma(x), nan below 0",
        ufunc="scipy.special.loggamma",
        reference="mp.loggamma(x)",
        domain=((0.1, 6.0),),
    ),
    _unary(
        "rgamma",
        f"where(less(x, 0.5), gamma(1.0 - x) * (cos({_PI} * x)"
        f" - sin({_PI} * x) * digamma(1.0 - x) / {_PI}), -digamma(x) * f)",
        "1 / gamma(x)",
        ufunc="scipy.special.rgamma",
        reference="mp.rgamma(x)",
    ),
    _binary(
        "beta",
        "f * (digamma(x) - digamma(x + y))",
        "f * (digamma(y) - digamma(x + y))",
        "beta function",
        ufunc="scipy.special.beta",
        reference="mp.beta(x, y)",
        domain=((0.2, 6.0), (0.2, 6.0)),
    ),
    _binary(
        "betaln",
        "digamma(x) - digamma(x + y)",
        "digamma(y) - digamma(x + y)",
        "logarithm of |beta(x, y)|",
        ufunc="scipy.special.betaln",
        reference="mp.log(abs(mp.beta(x, y)))",
        domain=((0.2, 6.0), (0.2, 6.0)),
    ),
    _binary(
        "poch",
        "f * (digamma(x + y) - digamma(x))",
        "f * digamma(x + y)",
        "gamma(x + y) / gamma(x)",
        ufunc="scipy.special.poch",
        reference="mp.rf(x, y)",
        domain=((0.2, 4.0), (0.2, 4.0)),
    ),
    _binary(
        "binom",
        "f * (digamma(x + 1.0) - digamma(x - y + 1.0))",
        "f * (digamma(x - y + 1.0) - digamma(y + 1.0))",
        "binomial coefficient of real x and y",
        ufunc="scipy.special.binom",
        reference="mp.binomial(x, y)",
        domain=((4.2, 6.0), (0.2, 4.0)),
    ),
    _binary(
        "gammainc",
        "gammainc_d1(x, y)",
        _GAMMA_DENSITY,
        "regularized lower incomplete gamma function of y, of order x",
        ufunc="scipy.special.gammainc",
        reference="mp.gammainc(x, 0, y, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "gammaincc",
        "-gammainc_d1(x, y)",
        f"-{_GAMMA_DENSITY}",
        "regularized upper incomplete gamma function of y, of order x",
        ufunc="scipy.special.gammaincc",
        reference="mp.gammainc(x, y, mp.inf, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "chdtr",
        "0.5 * gammainc_d1(0.5 * x, 0.5 * y)",
        _CHI_SQUARE_DENSITY,
        "cumulative chi-square distribution of x degrees of freedom at y",
        ufunc="scipy.special.chdtr",
        reference="mp.gammainc(x / 2, 0, y / 2, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "chdtrc",
        "-0.5 * gammainc_d1(0.5 * x, 0.5 * y)",
        f"-{_CHI_SQUARE_DENSITY}",
        "1 - chdtr(x, y)",
        ufunc="scipy.special.chdtrc",
        reference="mp.gammainc(x / 2, y / 2, mp.inf, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "pdtr",
        "0",
        f"-{_POISSON_MASS}",
        "cumulative Poisson distribution of mean y at x",
        ufunc="scipy.special.pdtr",
        reference="mp.gammainc(mp.floor(x) + 1, y, mp.inf, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "pdtrc",
        "0",
        _POISSON_MASS,
        "1 - pdtr(x, y)",
        ufunc="scipy.special.pdtrc",
        reference="mp.gammainc(mp.floor(x) + 1, 0, y, regularized=True)",
        domain=_POSITIVE,
    ),
    _binary(
        "stdtr",
        "stdtr_d1(x, y)",
        _T_DENSITY,
        "cumulative Student's t distribution of x degrees of freedom at y",
        ufunc="scipy.special.stdtr",
        reference=_T_REFERENCE,
        domain=((0.5, 5.0), (-3.0, 3.0)),
    ),
    # Derivatives by a shape have no closed form: they are our own.
    _binary(
        "gammainc_d1",
        "gammainc_d2(x, y)",
        f"scale({_GAMMA_DENSITY}, {_GAMMA_SCORE})",
        "derivative of gammainc(x, y) by x",
        ufunc="numtape.run.shapes.gammainc_d1",
        reference=_GAMMA_FIRST,
        domain=_POSITIVE,
    ),
    _binary(
        "gammainc_d2",
        UNKNOWN,
        f"scale({_GAMMA_DENSITY}, {_GAMMA_SCORE} * {_GAMMA_SCORE} - zeta(2.0, x))",
        "second derivative of gammainc(x, y) by x",
        ufunc="numtape.run.shapes.gammainc_d2",
        reference=_GAMMA_SECOND,
        domain=_POSITIVE,
    ),
    _binary(
        "stdtr_d1",
        "stdtr_d2(x, y)",
        f"where(isinf(x), 0.0, {_T_DENSITY} * {_T_SCORE})",
        "derivative of stdtr(x, y) by x",
        ufunc="numtape.run.shapes.stdtr_d1",
        reference=_T_FIRST,
        domain=((0.5, 9.0), (0.8, 3.0)),
    ),
    _binary(
        "stdtr_d2",
        UNKNOWN,
        f"where(isinf(x), 0.0, {_T_DENSITY} * ({_T_SCORE} * {_T_SCORE} + {_T_CURVATURE}))",
        "second derivative of stdtr(x, y) by x",
        ufunc="numtape.run.shapes.stdtr_d2",
        reference=_T_SECOND,
        domain=((0.5, 9.0), (0.8, 3.0)),
    ),
    _unary(
        "log1pmx",
        "-x / (1.0 + x)",
        "log(1 + x) - x",
        ufunc="scipy.special._ufuncs._log1pmx",
        reference="mp.log1p(x) - x",
        domain=((-0.9, 4.0),),
    ),
    _unary(
        "cosm1",
        "-sin(x)",
        "cos(x) - 1",
        ufunc="scipy.special.cosm1",
        reference="mp.cos(x) - 1",
    ),
    _unary(
        "log_expit",
        "expit(-x)",
        "logarithm of expit(x)",
        ufunc="scipy.special.log_expit",
        reference="-mp.log(1 + mp.exp(-x))",
    ),
    _binary(
        "xlog1py",
        "log1p(y)",
        "where(logical_and(equal(x, 0.0), equal(y, -1.0)), 0.0, x / (1.0 + y))",
        "x * log(1 + y), 0 where x is 0",
        ufunc="scipy.special.xlog1py",
        reference="x * mp.log(1 + y)",
        domain=_POSITIVE,
    ),
    _unary(
        "entr",
        "-log(x) - 1.0",
        "-x * log(x), 0 at 0",
        ufunc="scipy.special.entr",
        reference="-x * mp.log(x)",
        domain=_POSITIVE,
    ),
    _binary(
        "rel_entr",
        "where(logical_and(equal(x, 0.0), equal(y, 0.0)), 0.0, log(x) - log(y) + 1.0)",
        "where(logical_and(equal(x, 0.0), equal(y, 0.0)), 0.0, -x / y)",
        "x * log(x / y), 0 where x is 0",
        ufunc="scipy.special.rel_entr",
        reference="x * mp.log(x / y)",
        domain=_POSITIVE,
    ),
    _binary(
        "kl_div",
        "where(logical_and(equal(x, 0.0), equal(y, 0.0)), 0.0, log(x) - log(y))",
        "where(logical_and(equal(x, 0.0), equal(y, 0.0)), 1.0, 1.0 - x / y)",
        "x * log(x / y) - x + y",
        ufunc="scipy.special.kl_div",
        reference="x * mp.log(x / y) - x + y",
        domain=_POSITIVE,
    ),
    # Bessel functions: neighbours in the order instead of divisions, which would be 0/0 at 0.
    # (mpmath takes ten times as long for y and k of an integer order as for one beside it.)
    _unary(
        "i0",
        "i1(x)",
        "modified Bessel function of order 0",
        ufunc="scipy.special.i0",
        reference="mp.besseli(0, x)",
    ),
    _unary(
        "i1",
        "0.5 * (i0(x) + iv(2.0, x))",
        "modified Bessel function of order 1",
        ufunc="scipy.special.i1",
        reference="mp.besseli(1, x)",
    ),
    _unary(
        "i0e",
        "i1e(x) - sign(x) * f",
        "exp(-|x|) * i0(x)",
        ufunc="scipy.special.i0e",
        reference="mp.exp(-abs(x)) * mp.besseli(0, x)",
    ),
    _unary(
        "i1e",
        "0.5 * (i0e(x) + ive(2.0, x)) - sign(x) * f",
        "exp(-|x|) * i1(x)",
        ufunc="scipy.special.i1e",
        reference="mp.exp(-abs(x)) * mp.besseli(1, x)",
    ),
    _binary(
        "iv",
        "exp(absolute(y)) * ive_d1(x, y)",
        "0.5 * (iv(x - 1.0, y) + iv(x + 1.0, y))",
        "modified Bessel function of order x at y",
        ufunc="scipy.special.iv",
        reference="mp.besseli(x, y)",
        domain=_ORDER,
    ),
    _binary(
        "ive",
        "ive_d1(x, y)",
        "0.5 * (ive(x - 1.0, y) + ive(x + 1.0, y)) - sign(y) * f",
        "exp(-|y|) * iv(x, y)",
        ufunc="scipy.special.ive",
        reference="mp.exp(-abs(y)) * mp.besseli(x, y)",
        domain=_ORDER,
    ),
    _unary(
        "j0",
        "-j1(x)",
        "Bessel function of order 0",
        ufunc="scipy.special.j0",
        reference="mp.besselj(0, x)",
    ),
    _unary(
        "j1",
        "0.5 * (j0(x) - jv(2.0, x))",
        "Bessel function of order 1",
        ufunc="scipy.special.j1",
        reference="mp.besselj(1, x)",
    ),
    _binary(
        "jv",
        "jv_d1(x, y)",
        "0.5 * (jv(x - 1.0, y) - jv(x + 1.0, y))",
        "Bessel function of order x at y",
        ufunc="scipy.special.jv",
        reference="mp.besselj(x, y)",
        domain=_ORDER,
    ),
    _unary(
        "y0",
        "-y1(x)",
        "Bessel function of the second kind of order 0",
        ufunc="scipy.special.y0",
        reference="mp.bessely(0 + mp.mpf('1e-25'), x)",
        domain=((0.2, 4.0),),
    ),
    _unary(
        "y1",
        "0.5 * (y0(x) - yv(2.0, x))",
        "Bessel function of the second kind of order 1",
        ufunc="scipy.special.y1",
        reference="mp.bessely(1 + mp.mpf('1e-25'), x)",
        domain=((0.2, 4.0),),
    ),
    _binary(
        "yv",
        "yv_d1(x, y)",
        "0.5 * (yv(x - 1.0, y) - yv(x + 1.0, y))",
        "Bessel function of the second kind of order x at y",
        ufunc="scipy.special.yv",
        reference="mp.bessely(x, y)",
        domain=_ORDER,
    ),
    _unary(
        "k0",
        "-k1(x)",
        "modified Bessel function of the second kind of order 0",
        ufunc="scipy.special.k0",
        reference="mp.besselk(0 + mp.mpf('1e-25'), x)",
        domain=((0.2, 4.0),),
    ),
    _unary(
        "k1",
        "-0.5 * (k0(x) + kv(2.0, x))",
        "modified Bessel function of the second kind of order 1",
        ufunc="scipy.special.k1",
        reference="mp.besselk(1 + mp.mpf('1e-25'), x)",
        domain=((0.2, 4.0),),
    ),
    _binary(
        "kv",
        "exp(-y) * kve_d1(x, y)",
        "-0.5 * (kv(x - 1.0, y) + kv(x + 1.0, y))",
        "modified Bessel function of the second kind of order x at y",
        ufunc="scipy.special.kv",
        reference="mp.besselk(x, y)",
        domain=_ORDER,
    ),
    _unary(
        "expi",
        "exp(x) / x",
        "exponential integral Ei",
        ufunc="scipy.special.expi",
        reference="mp.ei(x)",
        domain=((0.2, 4.0),),
    ),
    _unary(
        "exp1",
        "-exp(-x) / x",
        "exponential integral E1",
        ufunc="scipy.special.exp1",
        reference="mp.e1(x)",
        domain=((0.2, 4.0),),
    ),
    _binary(
        "kve",
        "kve_d1(x, y)",
        "f - 0.5 * (kve(x - 1.0, y) + kve(x + 1.0, y))",
        "exp(y) * kv(x, y)",
        ufunc="scipy.special.kve",
        reference="mp.exp(y) * mp.besselk(x, y)",
        domain=_ORDER,
    ),
    *_by_order("jv", "0.5 * (jv_d{n}(x - 1.0, y) - jv_d{n}(x + 1.0, y))", "mp.besselj(t, y)"),
    *_by_order("yv", "0.5 * (yv_d{n}(x - 1.0, y) - yv_d{n}(x + 1.0, y))", "mp.bessely(t, y)"),
    *_by_order(
        "ive",
        "0.5 * (ive_d{n}(x - 1.0, y) + ive_d{n}(x + 1.0, y)) - f",
        "mp.exp(-y) * mp.besseli(t, y)",
    ),
    *_by_order(
        "kve",
        "f - 0.5 * (kve_d{n}(x - 1.0, y) + kve_d{n}(x + 1.0, y))",
        "mp.exp(y) * mp.pi / 2 * (mp.besseli(-t, y) - mp.besseli(t, y)) / mp.sin(mp.pi * t)",
    ),
    _unary(
        "ellipk",
        _ELLIPK_SLOPE,
        "complete elliptic integral of the first kind, of parameter x",
        ufunc="scipy.special.ellipk",
        reference="mp.ellipk(x)",
        domain=((-4.0, 0.95),),
    ),
    _unary(
        "ellipkm1",
        _ELLIPKM1_SLOPE,
        "ellipk(1 - x)",
        ufunc="scipy.special.ellipkm1",
        reference="mp.ellipk(1 - x)",
        domain=((0.05, 3.0),),
    ),
    _unary(
        "ellipe",
        _ELLIPE_SLOPE,
        "complete elliptic integral of the second kind, of parameter x",
        ufunc="scipy.special.ellipe",
        reference="mp.ellipe(x)",
        domain=((-4.0, 0.95),),
    ),
    _unary(
        "dawsn",
        _DAWSN_SLOPE,
        "Dawson's integral: exp(-x*x) times the integral of exp(t*t) from 0 to x",
        ufunc="scipy.special.dawsn",
        reference="mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)",
    ),
    _unary(
        "spence",
        _SPENCE_SLOPE,
        "Spence's integral: the dilogarithm of 1 - x",
        ufunc="scipy.special.spence",
        reference="mp.polylog(2, 1 - x)",
        domain=((0.05, 4.0),),
    ),
    _unary(
        "gammasgn",
        "0",
        "sign of gamma(x)",
        ufunc="scipy.special.gammasgn",
        reference="mp.sign(mp.gamma(x))",
    ),
    _binary(
        "boxcox",
        "power(x, y - 1.0)",
        _boxcox_slope("log(x)"),
        "(x**y - 1) / y, log(x) where y is 0",
        ufunc="scipy.special.boxcox",
        reference="(x**y - 1) / y",
        domain=_BASE_AND_EXPONENT,
    ),
    _binary(
        "boxcox1p",
        "power(1.0 + x, y - 1.0)",
        _boxcox_slope("log1p(x)"),
        "((1 + x)**y - 1) / y, log1p(x) where y is 0",
        ufunc="scipy.special.boxcox1p",
        reference="((1 + x)**y - 1) / y",
        domain=((-0.5, 4.0), (-3.0, 3.0)),
    ),
    _binary(
        "inv_boxcox",
        "power(f, 1.0 - y)",
        f"f * {_UNBOXCOX_SLOPE}",
        "inverse of boxcox: (1 + x y)**(1 / y), exp(x) where y is 0",
        ufunc="scipy.special.inv_boxcox",
        reference="(1 + x * y)**(1 / y)",
        domain=((0.05, 3.0), (0.05, 3.0)),
    ),
    _binary(
        "inv_boxcox1p",
        "power(1.0 + f, 1.0 - y)",
        f"(1.0 + f) * {_UNBOXCOX_SLOPE}",
        "inverse of boxcox1p",
        ufunc="scipy.special.inv_boxcox1p",
        reference="(1 + x * y)**(1 / y) - 1",
        domain=((0.05, 3.0), (0.05, 3.0)),
    ),
    _unary(
        "stop_gradient",
        "0",
        "x, with no derivative",
        primal="x",
        reference="x",
    ),
)

# Rows that the kernels write out come first, so that one comparison tells them
# from those run by a loop.
ROWS: tuple[Row, ...] = tuple(sorted(_ROWS, key=lambda row: row.primal is None))

OPCODE: dict[str, int] = {row.name: opcode for opcode, row in enumerate(ROWS)}


def row_named(name: str) -> Row:
    """Return the row called `name`."""
    return ROWS[OPCODE[name]]


@cache
def load_ufunc(path: str) -> Callable[..., Any]:
    """Return the ufunc, or function, at ``"module.name"``; SciPy is imported when asked for."""
    module, _, name = path.rpartition(".")
    ufunc: Callable[..., Any] = getattr(import_module(module), name)
    # While a function is being recorded, something may stand in for it.
    return getattr(ufunc, "stands_in_for", ufunc)


_ROW_OF_UFUNC_NAME = {
    row.ufunc.rpartition(".")[2]: row for row in reversed(ROWS) if row.ufunc is not None
}


def row_of_ufunc(ufunc: Any) -> Row | None:
    """Return the row that a ufunc records as, or None where there is none.

    Rows are found by the ufunc's name and confirmed by identity, so that a
    foreign ufunc that happens to share a name is not mistaken for ours.
    """
    row = _ROW_OF_UFUNC_NAME.get({"psi": "digamma"}.get(ufunc.__name__, ufunc.__name__))
    if row is None or row.ufunc is None or load_ufunc(row.ufunc) is not ufunc:
        return None
    return row
