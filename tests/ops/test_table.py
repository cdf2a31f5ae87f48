"""The table itself: names, arities, and what finds a row."""

import ast

import numpy as np
import pytest
import scipy.special

from numtape.ops.table import OPCODE, ROWS, UNKNOWN, load_ufunc, row_named, row_of_ufunc

ROW_NAMES = {row.name for row in ROWS}


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request):
    return request.param


def test_names_are_unique():
    assert len(ROW_NAMES) == len(ROWS)


def test_rows_with_a_primal_come_first():
    written = [row.primal is not None for row in ROWS]
    assert written == sorted(written, reverse=True)


def test_row_is_complete(row):
    assert row.arity in (1, 2)
    assert len(row.partials) == row.arity
    assert row.primal is not None or row.ufunc is not None
    assert row.synopsis
    assert len(row.domain) >= row.arity


def test_opcode_is_the_position(row):
    assert ROWS[OPCODE[row.name]] is row
    assert row_named(row.name) is row


def test_ufunc_takes_as_many_operands(row):
    if row.ufunc is not None:
        assert load_ufunc(row.ufunc).nin == row.arity


def test_partials_name_only_rows(row):
    for partial in row.partials:
        names = {n.id for n in ast.walk(ast.parse(partial, mode="eval")) if isinstance(n, ast.Name)}
        assert names <= ROW_NAMES | {"x", "y", "f", "where", UNKNOWN}


def test_row_of_ufunc():
    assert row_of_ufunc(np.sin).name == "sin"
    assert row_of_ufunc(np.mod).name == "remainder"
    assert row_of_ufunc(np.true_divide).name == "divide"
    assert row_of_ufunc(scipy.special.psi).name == "digamma"
    assert row_of_ufunc(scipy.special.expit).name == "expit"
    assert row_of_ufunc(np.bitwise_and) is None


def test_a_foreign_ufunc_of_the_same_name_is_not_ours():
    foreign = np.frompyfunc(lambda x: x, 1, 1)
    assert row_of_ufunc(foreign) is None


def test_every_operation_of_the_plan_is_there():
    wanted = """add subtract multiply divide negative positive power square reciprocal absolute sign
    sqrt cbrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan arctan2 sinh cosh
    tanh arcsinh arccosh arctanh hypot maximum minimum fmax fmin logaddexp logaddexp2 remainder fmod
    floor_divide floor ceil trunc rint copysign heaviside sinc deg2rad rad2deg less less_equal
    greater greater_equal equal not_equal erf erfc gammaln expit logit xlogy"""
    assert set(wanted.split()) <= ROW_NAMES
