"""Elementwise functions of three operands and more, or of several results, with their partials.

They are rows as those of `table.py` are, but of any number of operands (x, y, z and w) and of
results (f, g, h and k). In tapes they are instructions of the kind *function*. Some are
derivatives of others by a parameter, which have no closed form: those are our own, in
`numtape/run/shapes.py` and `numtape/run/elliptic.py`.
"""

import math
import re

from numtape.ops.function import Function
from numtape.ops.table import UNKNOWN

__all__ = ["ELEMENTWISE"]


def _function(name: str, *partials: tuple[str, ...], ufunc: str | None = None) -> Function:
    operands, results = len(partials[0]), len(partials)
    signature = f"{','.join(['()'] * operands)}->{','.join(['()'] * results)}"
    call = (
        ufunc or f"scipy.special.{name}",
        "d" * operands + "->" + "d" * results,
        tuple(range(operands + results)),
    )
    return Function(name, signature, (call,), partials=partials)


def _own(name: str, *partials: str, module: str = "shapes") -> Function:
    return _function(name, partials, ufunc=f"numtape.run.{module}.{name}")


def _of(text: str, **operands: str) -> str:
    """Return an expression with others in place of its operands."""
    return re.sub(r"\b[xyzw]\b", lambda match: operands.get(match[0], match[0]), text)


# The beta distribution of shapes x and y at z: its density, at the ends itself a power that is
# right to every order, and the derivatives of its logarithm by the shapes.
_DENSITY = (
    "where(equal(z * (1.0 - z), 0.0), power(z, x - 1.0) * power(1.0 - z, y - 1.0) / beta(x, y),"
    " exp(xlogy(x - 1.0, z) + xlog1py(y - 1.0, -z) - betaln(x, y)))"
)
_BY_A = "(log(z) - digamma(x) + digamma(x + y))"
_BY_B = "(log1p(-z) - digamma(y) + digamma(x + y))"
_ABOUT_A = f"{_BY_A} * {_BY_A} - zeta(2.0, x) + zeta(2.0, x + y)"
_ABOUT_B = f"{_BY_B} * {_BY_B} - zeta(2.0, y) + zeta(2.0, x + y)"

# The F distribution is that of beta at x z / (x z + y), which t is the rest of to 1.
_SHARE, _REST = "(1.0 / (1.0 + y / (x * z)))", "(1.0 / (1.0 + x * z / y))"
_F_DENSITY = (  # of that, times the share and the rest
    f"exp(xlogy(0.5 * x, {_SHARE}) + xlogy(0.5 * y, {_REST}) - betaln(0.5 * x, 0.5 * y))"
)
_F_PARTIALS = (
    f"0.5 * betainc_a(0.5 * x, 0.5 * y, {_SHARE}) + {_F_DENSITY} / x",
    f"0.5 * betainc_b(0.5 * x, 0.5 * y, {_SHARE}) - {_F_DENSITY} / y",
    f"where(equal(z, 0.0), power(z, 0.5 * x - 1.0) * power(x / y, 0.5 * x)"
    f" / beta(0.5 * x, 0.5 * y), {_F_DENSITY} / z)",
)

# Of counts, which are rounded down.
_NEGATIVE_BINOMIAL = _of(_DENSITY, x="trunc(y)", y="(trunc(x) + 1.0)")


# sinh(x) / x, by its series near 0.
_SINHC = "1.0"
for _k in range(10, 0, -1):
    _SINHC = f"(1.0 + x * x * {1 / (2 * _k * (2 * _k + 1))!r} * {_SINHC})"
_SINHC = f"where(less(absolute(x), 1.0), {_SINHC}, sinh(x) / x)"

# Of the incomplete elliptic integrals, of amplitude x and parameter y.
_SQUARE = "(sin(x) * sin(x))"
_BELOW = f"(1.0 - y * {_SQUARE})"
_MOVED = "-h * ellipkinc_m(k, y)"  # the derivative of the amplitude by the parameter

_STRUVE_PART = f"{1 / math.sqrt(math.pi)!r} * power(0.5 * y, x) * rgamma(x + 1.5)"


def _negated(partials: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"-({partial})" for partial in partials)


_BETA = ("betainc_a(x, y, z)", "betainc_b(x, y, z)", _DENSITY)

ELEMENTWISE: tuple[Function, ...] = (
    _function("betainc", _BETA),
    _function("betaincc", _negated(_BETA)),
    _own("betainc_a", "betainc_aa(x, y, z)", "betainc_ab(x, y, z)", f"scale({_DENSITY}, {_BY_A})"),
    _own("betainc_b", "betainc_ab(x, y, z)", "betainc_bb(x, y, z)", f"scale({_DENSITY}, {_BY_B})"),
    _own("betainc_aa", UNKNOWN, UNKNOWN, f"scale({_DENSITY}, {_ABOUT_A})"),
    _own(
        "betainc_ab",
        UNKNOWN,
        UNKNOWN,
        f"scale({_DENSITY}, {_BY_A} * {_BY_B} + zeta(2.0, x + y))",
    ),
    _own("betainc_bb", UNKNOWN, UNKNOWN, f"scale({_DENSITY}, {_ABOUT_B})"),
    _function("fdtr", _F_PARTIALS),
    _function("fdtrc", _negated(_F_PARTIALS)),
    _function("sici", ("sinc(0.3183098861837907 * x)",), ("cos(x) / x",)),
    _function("shichi", (_SINHC,), ("cosh(x) / x",)),
    _function(
        "struve",
        (UNKNOWN, f"0.5 * (struve(x - 1.0, y) - struve(x + 1.0, y) + {_STRUVE_PART})"),
    ),
    _function(
        "modstruve",
        (UNKNOWN, f"0.5 * (modstruve(x - 1.0, y) + modstruve(x + 1.0, y) + {_STRUVE_PART})"),
    ),
    _function(
        "owens_t",
        (
            f"{-1 / math.sqrt(8 * math.pi)!r} * exp(-0.5 * (x * x))"
            " * erf(0.7071067811865476 * y * x)",
            f"{1 / (2 * math.pi)!r} * exp(-0.5 * (x * x) * (1.0 + y * y)) / (1.0 + y * y)",
        ),
    ),
    _function("hyp1f1", (UNKNOWN, UNKNOWN, "x / y * hyp1f1(x + 1.0, y + 1.0, z)")),
    _function(
        "hyp2f1",
        (UNKNOWN, UNKNOWN, UNKNOWN, "x * y / z * hyp2f1(x + 1.0, y + 1.0, z + 1.0, w)"),
    ),
    _function("ellipkinc", (f"1.0 / sqrt({_BELOW})", "ellipkinc_m(x, y)")),
    _own(
        "ellipkinc_m",
        f"0.5 * {_SQUARE} / ({_BELOW} * sqrt({_BELOW}))",
        "ellipkinc_mm(x, y)",
        module="elliptic",
    ),
    _own(
        "ellipkinc_mm",
        f"0.75 * {_SQUARE} * {_SQUARE} / ({_BELOW} * {_BELOW} * sqrt({_BELOW}))",
        UNKNOWN,
        module="elliptic",
    ),
    _function("ellipeinc", (f"sqrt({_BELOW})", "ellipeinc_m(x, y)")),
    _own(
        "ellipeinc_m",
        f"-0.5 * {_SQUARE} / sqrt({_BELOW})",
        "ellipeinc_mm(x, y)",
        module="elliptic",
    ),
    _own(
        "ellipeinc_mm",
        f"-0.25 * {_SQUARE} * {_SQUARE} / ({_BELOW} * sqrt({_BELOW}))",
        UNKNOWN,
        module="elliptic",
    ),
    _function(
        "ellipj",
        ("g * h", f"g * ({_MOVED})"),
        ("-f * h", f"-f * ({_MOVED})"),
        ("-y * f * g", f"-0.5 * f * (f + 2.0 * y * g * ({_MOVED})) / h"),
        ("h", _MOVED),
    ),
    _own("lambert_upper", "1.0 / (x + exp(f))", module="elliptic"),
    _own("lambert_lower", "1.0 / (x + exp(f))", module="elliptic"),
    _function("nbdtr", ("0", "0", _NEGATIVE_BINOMIAL)),
    _function("nbdtrc", ("0", "0", f"-{_NEGATIVE_BINOMIAL}")),
)
