"""The catalogue of errors and the code say the same: every error has a code, every code a section.

The page's examples are run here section by section: each ends in the error that the
section is about. (That messages are as printed there is checked with all doctests.)
"""

import ast
import builtins
import doctest
import os
import pickle
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import numtape as nt
from numtape import cli, errors
from numtape.run import loops
from numtape.testing import DerivativeError

SOURCES = Path(nt.__file__).parent
PAGE = SOURCES.parent / "docs" / "reference" / "errors.md"
CLASSES = {
    name: value
    for name, value in {**vars(errors), "DerivativeError": DerivativeError}.items()
    if isinstance(value, type) and issubclass(value, nt.NumtapeError | nt.NumtapeWarning)
}
BASES = {"NumtapeError", "NumtapeWarning"}

# Raised as they are, each for a reason.
PLAIN = {
    ("trace/traced/base.py", "AttributeError"),  # Python asks for names with underscores
    ("trace/functions/statistics.py", "ZeroDivisionError"),  # NumPy's, of weights that are none
    ("transform/expressions.py", "TypeError"),  # for who writes a row of the table
    ("kinds/kind.py", "NotImplementedError"),  # for who writes a kind
    ("tape/forms.py", "IndexError"),  # Python asks sequences
    ("jit/compile.py", "AttributeError"),  # Python asks for names
    ("functions/batch.py", "TypeError"),  # Python's, of a keyword that there is not
    ("functions/saved.py", "ValueError"),  # caught inside numtape
    ("run/generate.py", "ValueError"),  # for who changes the template
    ("nist/demo.py", "SystemExit"),  # how a command ends
    ("trace/branches/merging.py", "UnboundLocalError"),  # as Python raises it
}


def sections():
    """The text of each section by its heading."""
    parts = re.split(r"^### (\S+)\n", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections()

# Fragments of each message: the value, the rule, the remedy.
PARTS = {
    "escaped-value": ("np.float32(x)", "derivative would be lost", "numtape.stop_gradient(x)"),
    "plain-array": ("has not made", "changed by this call alone", "np.zeros(n) or y.copy()"),
    "array-of-objects": ("callable sin", "have no rule", "np.stack([x, 1.0])"),
    "refused-value": ("float is not JSON", "does not take traced values", "Write it with"),
    "hashed-value": ("hash(...)", "silently constant", "Use an integer or a string"),
    "selection": ("many paths", "both arms", "branches='paths'"),
    "not-an-index": ("0.5", "must be an integer", "Write int(x)"),
    "not-a-number": ("None of type NoneType", "must be a number", "Leave it out"),
    "ambiguous-truth": ("shape (2,)", "needs one bool", "Write np.all(...)"),
    "bool-arithmetic": ("add of two comparisons", "disagree", "Write 1.0 * (x < y)"),
    "unsupported-dtype": ("float16", "computes in float64", "1.0 * mask"),
    "not-an-integer": ("inf", "must be finite", "Write np.floor(x)"),
    "complex-value": ("complex value", "the result of the function", "np.stack([z.real, z.imag])"),
    "other-recording": ("Traced(2.0)", "live as long as the call", "Return the value"),
    "record-inside": ("values of the outer one", "could not be run elsewhere", "Pass the values"),
    "tape-inside": ("Traced(2.0)", "recorded outside", "call the function itself"),
    "unsupported-function": ("nextafter", "no rule", "write x"),
    "unsupported-option": ("numpy.float32", "computes in float64", "Leave dtype out"),
    "unsupported-attribute": ("'data'", "no rule", "Write np.data(x)"),
    "no-derivative": ("zeta", "no closed form", "hold this one constant"),
    "not-callable": ("np.float64(0.909", "cannot be called", "Pass one, as in grad(f)(x)"),
    "wrong-argnums": ("argnums=2", "has 2 positional arguments", "correct argnums"),
    "not-differentiable": ("3 of type int", "only floats", "Convert it to float"),
    "wrong-type": ("MaskedArray", "works on plain arrays", "Pass x.filled(value)"),
    "labelled-argument": ("gives 1.41", "computes otherwise", "Pass x.to_numpy()"),
    "shared-memory": ("those given lie in memory", "assigns to its arguments", "Pass copies"),
    "wrong-structure": ("(4,)", "one point has (3,)", "record another tape"),
    "wrong-option": ("mode='backward'", "must be 'forward'", "or None"),
    "wrong-out": ("out= holds an array", "written straight into it", "Pass a fresh one"),
    "wrong-pattern": ("row 0 and column 1", "must have all that may be", "give sparse=True"),
    "sparse-of-tree": ("(*, *)", "a row for each number of one array", "Return one array"),
    "sparse-inside": ("jacobian(<lambda>)", "has no traced form", "Use the dense"),
    "no-constraints": ("that has none", "a function of their own", "constraints=g"),
    "wrong-points": ("[3, 4] points", "as many points as the others", "Say None in in_axes"),
    "wrong-argument": ("4 and 4 elements", "must have 2 or 3", "Give such vectors"),
    "out-of-bounds": ("5 to 5", "axis 0 with 3 elements", "Clip it"),
    "command-line": ("'nowhere:f'", "no module 'nowhere'", "Check the spelling"),
    "missing-library": ("progress=True", "rich, which is not installed", "pip install"),
    "constant-result": ("3.0", "derivatives are zero", "return value + 0.0 * x"),
    "not-a-float": ("integer or a bool", "is of a float", "Return 1.0 * value"),
    "not-a-scalar": ("shapes ((2,),)", "returns one number", "Use jacobian"),
    "wrong-result": ("'2.0'", "real float64 results", "Return numbers"),
    "result-varies": ("((2,),)", "must have one structure", "padded if need be"),
    "derivative-mismatch": ("gives", "must be the same", "something outside that changes"),
    "branch-changed": ("-3.0 > 0.0 is False", "another path", "Record a tape here"),
    "native-code": ("no memory", "interpreted as before", "NUMTAPE_NATIVE=off"),
    "endless-paths": ("11 times", "at most 10 are kept", "let it keep more"),
    "tape-too-large": ("slots", "holds at most", "record a smaller piece"),
    "wrong-tape": ("source lines", "recorded without them", "lines=True"),
    "unknown-library": (np.__version__, "does not know", "install a numtape"),
}


def in_code():
    """The codes by the class's name of everything that numtape raises, with where."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                pairs = zip(node.args.args[::-1], node.args.defaults[::-1], strict=False)
                found += [
                    (path, node.lineno, default.value)
                    for argument, default in pairs
                    if argument.arg == "code" and getattr(default, "value", None)
                ]
            if not isinstance(node, ast.Call):
                continue
            codes = [word.value for word in node.keywords if word.arg == "code"]
            kind = CLASSES.get(getattr(node.func, "id", ""))
            found += [
                (path, node.lineno, code.value) for code in codes if isinstance(code, ast.Constant)
            ]
            if kind is not None and not codes:
                found.append((path, node.lineno, kind.code))
    return found


def test_every_code_has_a_section_and_every_section_a_code():
    used = {code for _, _, code in in_code()}
    own = {kind.code for name, kind in CLASSES.items() if name not in BASES}
    assert used | own == set(SECTIONS)
    assert set(PARTS) == set(SECTIONS)
    missing = [f"{path}:{line}: {code}" for path, line, code in in_code() if code not in SECTIONS]
    assert missing == []


def test_nothing_else_is_raised():
    """No exception of Python's own but those that have a reason, so none without a code."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                kind = getattr(builtins, getattr(raised, "id", ""), None)
                if isinstance(kind, type) and issubclass(kind, BaseException):
                    found.add((path.relative_to(SOURCES).as_posix(), kind.__name__))
    assert found == PLAIN


def test_every_class_is_one_of_ours_and_one_of_pythons():
    for name, kind in CLASSES.items():
        assert issubclass(kind, nt.NumtapeWarning if "Warning" in name else nt.NumtapeError)
        others = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert len(others) > 3 or name in BASES, name
    assert set(errors.__all__) == set(CLASSES) - {"DerivativeError"}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - BASES))
def test_errors_travel_and_name_the_documentation(name):
    kind = CLASSES[name]
    details = (3, 2.5, 7) if kind is nt.BranchError else ()
    error = pickle.loads(pickle.dumps(kind("what is wrong", *details)))
    assert type(error) is kind
    assert error.args[0] == "what is wrong"
    assert error.anchor == f"reference/errors.md#{kind.code}"
    assert str(error) == f"what is wrong [docs: {error.anchor}]"
    if details:
        assert (error.guard, error.outcome, error.point) == details
    else:
        given = pickle.loads(pickle.dumps(kind("what is wrong", code="another")))
        assert given.code == "another"


# one section after the other


class _Runner(doctest.DocTestRunner):
    """Keeps the error that an example ends in; it makes lines of examples known, too."""

    error = None

    def report_unexpected_exception(self, out, test, example, info):
        self.error = info[1]


def _by_the_page(code):
    """The error that a section's first example ends in."""
    # What earlier sections left, as in the doctest of the whole page.
    names = {"np": np, "nt": nt, "tape": nt.record(lambda x: np.sum(x * x), np.ones(3))}
    examples = doctest.DocTestParser().get_examples(SECTIONS[code])
    last = next(k for k, example in enumerate(examples) if example.exc_msg is not None)
    examples[last].exc_msg = None  # so that it is reported
    runner = _Runner(verbose=False)
    test = doctest.DocTest(examples[: last + 1], names, code, None, 0, None)
    runner.run(test, out=lambda text: None)
    return runner.error


def _command_line(monkeypatch):
    cli._function("nowhere:f")


def _missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    nt.record(lambda x: x * x, 2.0)(np.ones(3), progress=True)


def _tape_too_large(monkeypatch):
    monkeypatch.setattr("numtape.trace.recorder._MAX_SLOTS", 10)
    nt.record(lambda x: np.sum(np.sin(x)), np.ones(20))


def _unknown_library(monkeypatch):
    monkeypatch.setattr(loops, "_UFunc", type("Other", (), {"from_address": lambda _: Other()}))
    loops.loop_of_types.__wrapped__(np.sin, "d->d")


class Other:
    nin = nout = -1


@pytest.mark.parametrize("code", sorted(SECTIONS))
def test_every_error_can_be_met_and_says_value_rule_and_remedy(code, monkeypatch):
    provoke = {
        "command-line": _command_line,
        "missing-library": _missing_library,
        "tape-too-large": _tape_too_large,
        "unknown-library": _unknown_library,
    }.get(code)
    before = dict(os.environ)
    try:
        with warnings.catch_warnings():
            if provoke is None:
                error = _by_the_page(code)
            else:
                with pytest.raises(nt.NumtapeError) as caught:
                    provoke(monkeypatch)
                error = caught.value
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert isinstance(error, nt.NumtapeError | nt.NumtapeWarning)
    assert error.code == code
    assert f"`{type(error).__name__}`" in SECTIONS[code].partition(". ")[0]
    message = str(error)
    assert message.endswith(f" [docs: reference/errors.md#{code}]")
    for part in PARTS[code]:
        assert part in message
