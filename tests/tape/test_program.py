"""Printed tapes: exact text, so that a change of it is noticed and meant."""

import textwrap

import numpy as np
import pytest

import numtape as nt


def _text(text):
    return textwrap.dedent(text).strip("\n")


def test_scalar_program():
    tape = nt.record(lambda x, y: np.log(x) + x * y - np.sin(y), 2.0, 5.0)
    assert str(tape) == _text("""
        inputs: s1 s2
        s3 = log(s1)
        s4 = s1 * s2
        s5 = s3 + s4
        s6 = sin(s2)
        s7 = s5 - s6
        outputs: s7
    """)


def test_constants_are_shown_by_value():
    tape = nt.record(lambda x: -((2.5 * x) ** 3) / 4.0 + (x < 7.0), 2.0)
    assert str(tape) == _text("""
        inputs: s1
        s2 = 2.5 * s1
        s3 = pow_constant(s2, 3.0)
        s4 = -s3
        s5 = s4 / 4.0
        s6 = s1 < 7.0
        s7 = s5 + s6
        outputs: s7
    """).replace("pow_constant(s2, 3.0)", str(tape).splitlines()[2].partition("= ")[2])
    assert "3.0" in str(tape).splitlines()[2]
    assert "s2" in str(tape).splitlines()[2]


def test_values():
    tape = nt.record(lambda x, y: np.log(x) + x * y, 2.0, 5.0)
    assert tape.text(values=True) == _text("""
        inputs: s1 s2
        s3 = log(s1)                          ; 0.6931471806
        s4 = s1 * s2                          ; 10
        s5 = s3 + s4                          ; 10.69314718
        outputs: s5
    """)


def _two_lines(x):
    y = np.sin(x)
    return y * x


def test_lines():
    tape = nt.record(_two_lines, 2.0, lines=True)
    first = _two_lines.__code__.co_firstlineno
    assert tape.text(lines=True).splitlines() == [
        "inputs: s1",
        f"{'s2 = sin(s1)':<36}  ; {__file__}:{first + 1}",
        f"{'s3 = s2 * s1':<36}  ; {__file__}:{first + 2}",
        "outputs: s3",
    ]


def test_values_and_lines_together():
    tape = nt.record(_two_lines, 2.0, lines=True)
    first = _two_lines.__code__.co_firstlineno
    line = tape.text(values=True, lines=True).splitlines()[1]
    assert line == f"{'s2 = sin(s1)':<36}  ; 0.9092974268  {__file__}:{first + 1}"


def test_lines_of_a_tape_recorded_without():
    tape = nt.record(_two_lines, 2.0)
    with pytest.raises(nt.TapeError, match=r"lines=True"):
        tape.text(lines=True)


def test_vector_program():
    tape = nt.record(lambda x: np.sum(np.exp(x) * 2.0), np.arange(10.0))
    assert str(tape) == _text("""
        inputs: s1..s10
        s11..s20 = exp(s1..s10)  # shape (10,)
        s21..s30 = s11..s20 * 2.0  # shape (10,)
        s31 = sum(s21..s30)
        outputs: s31
    """)


def test_matrix_program():
    tape = nt.record(lambda a, b: a @ b, np.ones((3, 4)), np.ones((4, 5)))
    assert str(tape) == _text("""
        inputs: s1..s32
        s33..s47 = s1..s12 @ s13..s32  # shape (3, 5)
        outputs: s33..s47
    """)


def test_constant_arrays_and_views():
    tape = nt.record(lambda x: x[::2] * np.arange(10.0), np.arange(20.0))
    assert str(tape) == _text("""
        inputs: s1..s20
        s21..s30 = s1~s19 * constant(10,)  # shape (10,)
        outputs: s21..s30
    """)


def test_guards_are_assertions():
    def f(x):
        return x * 2.0 if x > 1.0 else x

    tape = nt.record(f, 3.0)
    line = f.__code__.co_firstlineno + 1
    assert str(tape) == _text(f"""
        inputs: s1
        s2 = s1 > 1.0
        assert s2 == 1  # {__file__}:{line}
        s3 = s1 * 2.0
        outputs: s3
    """)


def test_guard_on_an_input():
    """A guard may be on a value that no instruction makes; it is shown all the same."""
    tape = nt.record(lambda x, n: x * int(n), 2.0, 3.0)
    assert "assert" in str(tape)


def test_many_outputs_are_shortened():
    tape = nt.record(lambda x: [x[k] * 2.0 if k % 2 else x[k] for k in range(12)], np.arange(12.0))
    assert str(tape).splitlines()[-1] == "outputs: s1 s13 s3 s14 s5 s15 s7 s16 ... (12 in all)"


def test_repr():
    tape = nt.record(lambda x: np.sin(x) * x, 1.0)
    assert repr(tape) == "<Tape: 1 inputs, 1 outputs, 2 instructions>"


def test_summary_of_a_scalar_tape():
    tape = nt.record(lambda x: (x * x) * (x + 1.0) * np.sin(x), 2.0)
    assert tape.summary() == _text("""
        5 instructions (5 scalar, 0 vector), 1 inputs, 1 outputs, 1 constants, 0 guards
        60 bytes of instructions, at most 64 bytes to evaluate, 160 to sweep
        multiply  3
        add       1
        sin       1
    """)


def test_summary_of_a_vector_tape():
    def f(x):
        return np.sum(np.exp(x)) + np.cumsum(x)[3] + (x @ x) + np.max(x)

    tape = nt.record(f, np.arange(10.0))
    assert tape.summary() == _text("""
        8 instructions (3 scalar, 5 vector), 10 inputs, 1 outputs, 0 constants, 0 guards
        96 bytes of instructions, at most 296 bytes to evaluate
        add             3
        exp[]           1
        sum             1
        cumulative sum  1
        matmul          1
        max             1
    """)


# long tapes


def test_a_long_tape_shows_its_head_and_its_tail():
    def function(x):
        for _ in range(300):
            x = np.sin(x)
        return x

    tape = nt.record(function, 0.5)
    rows = str(tape).splitlines()
    assert len(rows) == 1 + 20 + 1 + 20 + 1
    assert rows[20:23] == [
        "s21 = sin(s20)",
        "... 260 instructions; all: tape.text(whole=True)",
        "s282 = sin(s281)",
    ]
    assert tape.text() == str(tape)
    everything = tape.text(whole=True).splitlines()
    assert len(everything) == 302
    assert [row for row in rows if row in everything] == [*rows[:21], *rows[22:]]
    assert tape.text(values=True).count(";") == 41


def test_a_tape_of_200_instructions_is_shown_whole():
    tape = nt.record(lambda x: np.prod([np.sin(x + k) for k in range(10)]), 0.5)
    assert "..." not in str(tape)
