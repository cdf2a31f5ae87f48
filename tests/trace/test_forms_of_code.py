"""Whatever form the code takes, calls in it are resolved, and it is the same code."""

import dis
import inspect
import linecache
import sys
import traceback
from types import FunctionType

import numpy as np
import pytest
from checks import assert_first_derivatives, assert_replays, without_source

import numtape as nt
from numtape.trace.source import Hooks, rewritten
from tests.trace import forms_of_code
from tests.trace.forms_of_code import FORMS

X = np.array([0.3, 1.2, 0.7, 2.2, 0.9])


@pytest.mark.parametrize("name", FORMS)
def test_recorded(name):
    function = FORMS[name]
    value = nt.record(function, X)(X)
    np.testing.assert_allclose(value, function(X), rtol=1e-14)
    assert_first_derivatives(function, X)
    np.testing.assert_allclose(nt.record(function, X)(X), value, rtol=0.0)


def _functions(module):
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            members = (getattr(each, "__func__", each) for each in vars(value).values())
            yield from (each for each in members if isinstance(each, FunctionType))
        if isinstance(value, FunctionType) and value.__globals__ is vars(module):
            yield value


def _same(value):
    return value


@pytest.mark.parametrize("hooks", [Hooks(_same), Hooks(_same, _same)], ids=["quick", "thorough"])
def test_rewritten_code_is_the_same_but_for_its_calls(hooks):
    count = 0
    for function in _functions(forms_of_code):
        code = function.__code__
        names = [each for each in code.co_consts if isinstance(each, str) and "\0" in each]
        if names or code.co_filename != forms_of_code.__file__:
            continue
        made = rewritten(code, function.__globals__, hooks)
        if made is None:  # its class has other code by now, see `resolve.py`
            assert any(each is _same or callable(each) for each in code.co_consts)
            continue
        count += 1
        assert made.co_filename == code.co_filename
        assert made.co_firstlineno == code.co_firstlineno
        assert made.co_flags == code.co_flags
        assert made.co_qualname == code.co_qualname
        assert made.co_varnames[: made.co_argcount] == code.co_varnames[: code.co_argcount]
        assert set(made.co_freevars) == set(code.co_freevars)
        # (The line that a decorated function begins with is that of its decorator, or its own.)
        lines = [[line for _, line in dis.findlinestarts(each)] for each in (made, code)]
        assert set(lines[0][1:]) == set(lines[1][1:])
    assert count > 40


def test_a_file_that_was_changed_is_not_believed(tmp_path):
    path = tmp_path / "changing.py"
    path.write_text(
        "import numpy as np\ndef f(x):\n    y = np.zeros(3)\n    y[0] = x[0]\n    return y\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import changing
    finally:
        sys.path.remove(str(tmp_path))
    linecache.clearcache()
    path.write_text(
        "import numpy as np\ndef f(x):\n    y = np.ones(3)\n    y[0] = x[0]\n    return y\n\n"
    )
    with pytest.raises(nt.TraceError, match="derivative would be lost"):
        nt.record(changing.f, X)


def test_tracebacks_show_the_users_lines():
    def inner(value):
        return np.linalg.solve(np.zeros((2, 2)), value)  # singular

    def function(x):
        return inner(np.array([x[0], 1.0]))

    with pytest.raises(np.linalg.LinAlgError) as caught:
        nt.record(function, X)
    lines = [each.line for each in traceback.extract_tb(caught.value.__traceback__)]
    assert "return inner(np.array([x[0], 1.0]))" in lines
    assert lines[-1] == "return np.linalg.solve(np.zeros((2, 2)), value)  # singular"


def test_frames_are_the_users():
    seen = []

    def function(x):
        frame = inspect.currentframe()
        seen.append((frame.f_code.co_name, frame.f_lineno, sorted(frame.f_locals)))
        return x * 1.0

    nt.record(function, X)
    function(X)
    assert seen[0][:2] == seen[1][:2]
    assert set(seen[1][2]) - {"__class__"} == set(seen[0][2])


def test_lambdas_of_one_line():
    first, second = lambda x: np.array([x[0], 1.0]), lambda x: np.array([x[1], 2.0])
    assert_replays(first, (X,))
    assert_replays(second, (X,))
    assert_replays(lambda x: (lambda y: np.array([y[0], 1.0]))(x), (X,))


def test_what_has_no_source_goes_by_protocols():
    assert_replays(without_source(lambda x: np.zeros(5, like=x) + np.sin(x)), (X,))
    with pytest.raises(nt.TraceError, match="into a file"):
        nt.record(without_source(lambda x: float(x[0]) * x), X)
