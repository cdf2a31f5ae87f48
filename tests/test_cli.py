"""The command line: `show` and `check`, and the exit status and message for wrong input."""

import sys

import pytest

import numtape as nt
from numtape.cli import main

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


def escapes(x):
    return float(x) * 2.0


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


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize(
    ("function", "at", "message"),
    [
        ("no_such_module:f", "1.0", "there is no module 'no_such_module'"),
        ("no_such_file.py:f", "1.0", "there is no module 'no_such_file'"),
        ("models_of_cli:nothing", "1.0", "has no function 'nothing'"),
        ("models_of_cli:number", "1.0", "has no function 'number'"),
        ("models_of_cli", "1.0", "write module:function"),
        (":f", "1.0", "write module:function"),
        ("models_of_cli:f", "[1.0,", "is no Python literal"),
        ("models_of_cli:f", "x + 1", "is no Python literal"),
        ("models_of_cli:many", "3", "3.0"),
        ("models_of_cli:many", "'text'", "--at"),
        ("models_of_cli:constant", "1.0", "silently zero"),
        ("models_of_cli:escapes", "1.0", "drop the float"),
        ("models_of_cli:pair", "1.0", "--at"),
    ],
)
def test_wrong_input(command, function, at, message, capsys):
    """Exit status 1, nothing but one message on standard error, the remedy in it."""
    assert main([command, function, "--at", at]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["show"], ["show", "models_of_cli:f"]])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code != 0
    assert "usage: numtape" in capsys.readouterr().err


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
