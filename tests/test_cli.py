"""The command line: `show` and `check`, and the exit status and message for wrong input."""

import re
import sys

import numpy as np
import pytest

import numtape as nt
from numtape.cli import _argument, main

SOURCE = """
import numpy as np


def f(x):
    return np.log(x[0]) + x[0] * x[1] - np.sin(x[1])


def pair(x, y):
    return x * y


def many(x):
    return x * 2.0


def power(x, n):
    return x**n


def constant(x):
    return 3.0


def kink(x):
    return np.maximum(x, 0.0)


def mixed(p):
    return p["k"] ** p["a"]


def helper(x):
    return x[7] * 2.0


def indexed(x):
    return helper(x)


def raises(x):
    raise RuntimeError("on purpose")


def divides(x):
    return np.sum(1.0 / x)


def recursive(x):
    return recursive(x)


def escapes(x):
    return np.float32(x) * 2.0


number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A file `models_of_cli.py` in the current folder."""
    path = tmp_path / "models_of_cli.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "models_of_cli"
    sys.modules.pop("models_of_cli", None)


def test_show(module, capsys):
    assert main(["show", f"{module}:f", "--at", "[2.0, 5.0]"]) == 0
    out = capsys.readouterr().out
    assert "s3 = log(s1)" in out
    assert "0.6931471806" in out
    assert "models_of_cli.py:6" in out
    assert "5 instructions (5 scalar, 0 vector)" in out
    assert "value    = 11.652071455223084" in out
    assert "gradient = array([5.5       , 1.71633781])" in out


def test_show_by_path(module, capsys, tmp_path):
    assert main(["show", f"{tmp_path}/{module}.py:f", "--at", "[2.0, 5.0]"]) == 0
    assert "11.652071455223084" in capsys.readouterr().out


def test_show_several_arguments(module, capsys):
    assert main(["show", f"{module}:pair", "--at", "2.0", "--at", "5.0"]) == 0
    assert "gradient = (5.0, 2.0)" in capsys.readouterr().out


def test_show_static_argument(module, capsys):
    assert main(["show", f"{module}:power", "--at", "2.0", "--at", "3"]) == 0
    assert "gradient = 12.0" in capsys.readouterr().out


def test_show_a_jacobian(module, capsys):
    assert main(["show", f"{module}:many", "--at", "[1.0, 2.0]"]) == 0
    out = capsys.readouterr().out
    assert "jacobian = array([[2., 0.]," in out


def test_check(module, capsys):
    assert main(["check", f"{module}:f", "--at", "[2.0, 5.0]"]) == 0
    out = capsys.readouterr().out
    assert "the derivatives agree" in out
    assert "central differences" in out


def test_check_finds_a_kink(module, capsys):
    assert main(["check", f"{module}:kink", "--at", "1e-4"]) == 1
    assert "kink" in capsys.readouterr().err


def test_a_constant(module, capsys):
    with pytest.warns(nt.ConstantResultWarning):
        assert main(["show", f"{module}:constant", "--at", "1.0"]) == 0
    assert "gradient = 0.0" in capsys.readouterr().out
    with pytest.warns(nt.ConstantResultWarning):
        assert main(["check", f"{module}:constant", "--at", "1.0"]) == 0
    assert "the derivatives agree" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize(
    ("function", "at", "message"),
    [
        ("no_such_module:f", "1.0", "there is no module 'no_such_module'"),
        ("no_such_file.py:f", "1.0", "there is no file no_such_file.py"),
        ("no/such/file:f", "1.0", "there is no file no/such/file"),
        ("./:f", "1.0", "is a folder"),
        ("..:f", "1.0", "there is no module '..'"),
        ("models_of_cli:nothing", "1.0", "has no function 'nothing'"),
        ("models_of_cli:number", "1.0", "has no function 'number'"),
        ("models_of_cli", "1.0", "write module:function"),
        (":f", "1.0", "write module:function"),
        ("models_of_cli:f", "[1.0,", "cannot be read"),
        ("models_of_cli:f", "x + 1", "cannot be read"),
        ("models_of_cli:f", "np.zeros(10**9)", "cannot be read"),
        ("models_of_cli:many", "3", "3.0"),
        ("models_of_cli:many", "'text'", "--at"),
        ("models_of_cli:escapes", "1.0", "keep the traced value"),
        ("models_of_cli:pair", "1.0", "--at"),
    ],
)
def test_wrong_input(command, function, at, message, capsys):
    """Exit status 1, nothing but one message on standard error, the remedy in it."""
    assert main([command, function, "--at", at]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["unknown"], ["show"], ["show", "models_of_cli:f"], ["show", "--at", "1.0", "2.0"]],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code != 0
    assert "usage: numtape" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize(
    ("function", "lines"),
    [
        (
            "indexed",
            [
                "in indexed",
                "return helper(x)",
                "in helper",
                "return x[7] * 2.0",
                "IndexError: index 7",
            ],
        ),
        ("raises", ["in raises", 'raise RuntimeError("on purpose")', "RuntimeError: on purpose"]),
        ("recursive", ["in recursive", "more times", "RecursionError"]),
    ],
)
def test_an_exception_of_the_function_shows_its_own_lines(command, function, lines, capsys):
    assert main([command, f"models_of_cli:{function}", "--at", "[1.0, 2.0]"]) == 1
    err = capsys.readouterr().err
    places = [err.index(line) for line in lines]
    assert places == sorted(places)
    assert err.startswith("Traceback (most recent call last):")
    ours = [line for line in err.splitlines() if line.lstrip().startswith("File ")]
    assert all("models_of_cli.py" in line for line in ours)
    assert len(err.splitlines()) < 12


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def f(x)\n    return x\n", "SyntaxError"),
        ("import no_module_of_this_name\n", "No module named 'no_module_of_this_name'"),
        ("y = 1 / 0\n", "ZeroDivisionError"),
        ("def f(x):\n  return x\n    return x\n", "IndentationError"),
    ],
)
@pytest.mark.parametrize("name", ["wrong_file.py", "./wrong_file.py", "wrong_file"])
def test_an_exception_in_the_file_shows_its_own_lines(source, error, name, capsys, tmp_path):
    (tmp_path / "wrong_file.py").write_text(source)
    assert main(["show", f"{name}:f", "--at", "1.0"]) == 1
    err = capsys.readouterr().err
    sys.modules.pop("wrong_file", None)
    assert error in err
    assert "wrong_file.py" in err
    assert "numtape" not in err.replace(str(tmp_path), "")
    assert "importlib" not in err


def test_a_file_whose_name_is_a_module_of_python(capsys, tmp_path):
    (tmp_path / "ast.py").write_text("def f(x):\n    return 2.0 * x\n")
    assert main(["show", "ast.py:f", "--at", "3.0"]) == 0
    assert "value    = 6.0" in capsys.readouterr().out
    sys.modules.pop("ast (file)")


def test_a_division_by_zero_gives_no_warning(capsys):
    # Warnings are errors in the tests.
    assert main(["show", "models_of_cli:divides", "--at", "[0.0, 1.0]"]) == 0
    captured = capsys.readouterr()
    assert "value    = inf" in captured.out
    assert "gradient = array([-inf,  -1.])" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["models_of_cli:pair", "--at", "2.0", "-5.0"],
        ["models_of_cli:pair", "--at", "2.0", "--at", "-5.0"],
        ["--at", "2.0", "-5.0", "models_of_cli:pair"],
        ["models_of_cli:pair", "--at=2.0", "--at=-5.0"],
        ["models_of_cli:pair", "--at", "+2.0", "-(10/2)"],
    ],
)
def test_several_values(arguments, capsys):
    assert main(["show", *arguments]) == 0
    assert "gradient = (-5.0, 2.0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[nan, 1.0]", np.array([np.nan, 1.0])),
        ("inf", np.inf),
        ("-inf", -np.inf),
        ("np.pi", np.pi),
        ("-np.pi / 2", -np.pi / 2),
        ("[0, pi]", np.array([0.0, np.pi])),
        ("numpy.nan", np.nan),
        ("math.pi", np.pi),
        ("float('nan')", np.nan),
        ("np.linspace(0, 1, 5)", np.linspace(0, 1, 5)),
        ("np.linspace(0, 1, num=5)", np.linspace(0, 1, 5)),
        ("2 * np.ones((2, 3)) - 1", np.ones((2, 3))),
        ("np.arange(6.0).reshape(2, 3)", np.arange(6.0).reshape(2, 3)),
        ("np.array([1, 2], dtype=float)", np.array([1.0, 2.0])),
        ("np.full(3, 0.5)", np.full(3, 0.5)),
        ("{'a': [1.0, 2.0], 'b': -0.5}", {"a": [1.0, 2.0], "b": -0.5}),
        ("(1.0, 'x', None, True, 3)", (1.0, "x", None, True, 3)),
        ("[[1, 2], [3, 4]]", np.array([[1.0, 2.0], [3.0, 4.0]])),
        ("[[1.0, 2.0], [3.0]]", [[1.0, 2.0], [3.0]]),
    ],
)
def test_what_a_value_may_be(text, value):
    found = _argument(text)
    assert type(found) is type(value)
    np.testing.assert_equal(found, value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "open('x')",
        "np.load('x')",
        "np.ones.__class__",
        "np.linspace",
        "np.fromfile('x')",
        "os.sep",
        "(lambda: 1.0)()",
        "[x for x in (1.0,)]",
        "f'{1}'",
        "np.ones(*[3])",
        "np.ones(3, **{'dtype': float})",
        "np.zeros(10000000000)",
        "np.zeros((100000, 100000))",
        "'a' * 3",
        "[1.0] * 3",
        "1.0 / 0",
        "9 ** 9 ** 9",
        "np.array('x').reshape",
        "np.linspace(0)",
        "{**{}}",
        "np.array([1.0], dtype=object)",
        "1.0; 2.0",
        "",
        "(" * 300 + ")" * 300,
    ],
)
def test_what_a_value_may_not_be(text):
    with pytest.raises(nt.InputError, match="cannot be read") as caught:
        _argument(text)
    assert len(str(caught.value)) < 1000


def test_check_says_what_it_compared(capsys):
    assert main(["check", "models_of_cli:f", "--at", "[2.0, 5.0]"]) == 0
    out = capsys.readouterr().out
    assert "1 outputs by 2 inputs" in out
    found = re.findall(r"output 0 by input (\d): (\S+) forward, (\S+) by differences", out)
    for (k, forward, by_differences), exact in zip(found, [5.5, 2.0 - np.cos(5.0)], strict=True):
        assert float(forward) == pytest.approx(exact, rel=1e-14)
        assert float(by_differences) == pytest.approx(exact, rel=1e-9)
        assert by_differences != forward, k
    assert re.search(r"central differences: \d\.\de-\d\d of the row's largest", out)


def test_check_of_many_shows_the_worst(capsys):
    assert main(["check", "models_of_cli:many", "--at", "np.linspace(0.1, 1.0, 10)"]) == 0
    out = capsys.readouterr().out
    assert "10 outputs by 10 inputs" in out
    assert "and 92 more" in out


def test_a_leaf_that_is_no_float(capsys):
    at = "{'a': 2, 'k': 0.5}"
    assert main(["show", "models_of_cli:mixed", "--at", at]) == 1
    assert "argument 0['a'] holds 2 of type int" in capsys.readouterr().err
    assert main(["show", "models_of_cli:mixed", "--at", "{'a': 2.0, 'k': 0.5}"]) == 0
    assert main(["check", "models_of_cli:mixed", "--at", at]) == 0
    assert "1 outputs by 1 inputs" in capsys.readouterr().out


def test_interrupted(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(nt, "record", interrupted)
    assert main(["show", "models_of_cli:f", "--at", "[2.0, 5.0]"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("numtape ")


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for command in ("demo", "show", "check"):
        assert command in out


def test_cache(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", str(tmp_path / "code"))
    nt.record(lambda x: x * x, 2.0).compile()
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("1 files of machine code, 0.0 MB, in ")
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.startswith("1 files of machine code deleted from ")
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 files of machine code")
    monkeypatch.setenv("NUMTAPE_CACHE_DIR", "")
    assert main(["cache", "--clear"]) == 0
    assert "NUMTAPE_CACHE_DIR is empty" in capsys.readouterr().out
