"""Vector instructions as forms and bases, against the instructions one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tapes import STEPS, random_tape

import numtape as nt
from numtape.tape.forms import Forms, Vectors
from numtape.tape.instruction import VectorInstruction, View, contiguous_strides

settings.register_profile("numtape", deadline=None, derandomize=True, database=None)
settings.load_profile("numtape")


def _assert_same(one, other):
    assert (one.kind, one.opcode, one.shape) == (other.kind, other.opcode, other.shape)
    assert (one.result, one.result_strides) == (other.result, other.result_strides)
    np.testing.assert_array_equal(one.targets, other.targets)
    for mine, others in zip(one.operand_slots(), other.operand_slots(), strict=True):
        np.testing.assert_array_equal(mine, others)


def _positions(view, shape):
    """What a view walks: slots, or places in its table."""
    return View(view.base, view.strides).slots(shape)


@given(STEPS, st.integers(0, 1000))
def test_a_survey_says_what_each_view_reads(steps, seed):
    vectors = random_tape(steps, seed).vectors
    survey = vectors.survey
    views = [
        (number, view, shape)
        for number, each in enumerate(vectors)
        for view, shape in zip(each.operands, each.operand_shapes(), strict=True)
    ]
    assert survey.owner.tolist() == [number for number, _, _ in views]
    assert survey.has_table.tolist() == [view.table is not None for _, view, _ in views]
    for k, (_, view, shape) in enumerate(views):
        read = _positions(view, shape)
        assert (survey.low[k], survey.high[k]) == (read.min(), read.max())
        assert survey.steps[k] == (read.min() != read.max())
        assert survey.is_dense[k] == (len(np.unique(read)) == read.max() - read.min() + 1)
        assert survey.in_order[k] == bool((read.ravel() == view.base + np.arange(read.size)).all())
        if view.table is None:
            assert survey.base[k] == view.base
        np.testing.assert_array_equal(vectors.slots_read(k), view.slots(shape))


@given(STEPS, st.integers(0, 1000))
def test_instructions_come_back_as_they_were(steps, seed):
    vectors = random_tape(steps, seed).vectors
    again = Vectors.of(list(vectors))
    assert len(again) == len(vectors)
    for number, each in enumerate(vectors):
        _assert_same(again[number], each)
        _assert_same(vectors[number - len(vectors)], each)


@given(STEPS, st.integers(0, 1000), st.data())
def test_some_are_chosen_moved_and_exchanged(steps, seed, data):
    vectors = random_tape(steps, seed).vectors
    kept = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(vectors), max_size=len(vectors))), bool
    )
    chosen = vectors.chosen(kept)
    assert len(chosen) == kept.sum()
    for mine, number in zip(chosen, np.flatnonzero(kept).tolist(), strict=True):
        _assert_same(mine, vectors[number])
    assert {id(form) for form in chosen.forms} == {id(chosen.form(k)) for k in range(len(chosen))}
    moved = vectors.based(vectors.survey.base + 7)
    for mine, each in zip(moved, vectors, strict=True):
        for new, old in zip(mine.operands, each.operands, strict=True):
            assert new.base == old.base + 7 * (old.table is None)
    if len(vectors) > 1:
        exchanged = vectors.with_others({0: vectors[0]})
        _assert_same(exchanged[0], vectors[0])
        _assert_same(exchanged[1], vectors[1])


def _map(base, shape=(12,), table=None):
    view = View(base, contiguous_strides(shape), table)
    return VectorInstruction("map", 0, shape, (view, view), shape)


def test_equal_instructions_at_other_slots_are_one_form():
    forms = Forms()
    assert forms.number(_map(5)) == forms.number(_map(50)) == 0
    assert forms.number(_map(5, (13,))) == 1
    table = np.arange(20)
    assert forms.number(_map(0, table=table)) == forms.number(_map(0, table=table.copy())) == 2
    assert forms.number(_map(1, table=table)) == 3  # a place in the table is of the form
    assert forms.number(_map(0, table=table + 1)) == 4


def test_a_loop_has_few_forms():
    def filtered(x):
        spread, total = np.eye(4), 0.0
        for _ in range(20):
            spread = np.outer(x, x) @ spread @ np.outer(x, x).T + spread
            total = total + np.sum(np.exp(-spread))
        return total

    flat = nt.record(filtered, np.linspace(0.1, 0.4, 4)).flat
    assert len(flat.vectors) > 100
    assert len(flat.vectors.forms) < 15


def test_forms_are_one_for_all_tapes():
    one, other = (nt.record(lambda x: np.sum(np.exp(x)), np.ones(20)).flat for _ in range(2))
    assert set(map(id, one.vectors.forms)) == set(map(id, other.vectors.forms))


def test_no_instruction_by_another_number():
    vectors = nt.record(lambda x: np.exp(x), np.ones(20)).flat.vectors
    with pytest.raises(IndexError, match="vector instruction 1 of 1"):
        vectors[1]
    assert len(vectors[:5]) == 1
