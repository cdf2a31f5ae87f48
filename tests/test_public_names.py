"""Every public name is in the reference, with an example that the doctests run."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import numtape
import numtape.testing
from numtape.tape.flat import FlatTape

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"

# Members of `Tape` that other modules of numtape use, and that users have no need of.
INTERNAL = {
    "auxiliary",
    "check_branch",
    "failed_guard",
    "product",
    "program",
    "try_hvp",
    "try_jvp",
}


def _public_names():
    names = {name: getattr(numtape, name) for name in numtape.__all__ if name != "__version__"}
    names |= {
        f"numtape.testing.{name}": getattr(numtape.testing, name)
        for name in numtape.testing.__all__
        if name not in names
    }
    return names


def _methods():
    methods = {
        name: member
        for name, member in inspect.getmembers(numtape.Tape)
        if not name.startswith("_") and name not in INTERNAL
    }
    return methods | {"__call__": numtape.Tape.__call__}


def _documented(directive):
    return set(re.findall(rf"\.\. auto{directive}:: (\S+)", PAGE.read_text()))


def test_reference_lists_every_public_name():
    listed = _documented("function") | _documented("class") | _documented("exception")
    held = {name for name in listed if name.startswith(("numtape.tape.", "numtape.show."))}
    assert listed - held == set(_public_names())


def test_reference_lists_every_method_of_a_tape():
    assert _documented("method") == set(_methods())


def test_internal_members_exist():
    assert set(dir(numtape.Tape)) >= INTERNAL


@pytest.mark.parametrize("name", [*_public_names(), *(f"Tape.{name}" for name in _methods())])
def test_every_public_name_has_an_example(name):
    method = name.startswith("Tape.")
    public = _methods()[name.removeprefix("Tape.")] if method else _public_names()[name]
    text = inspect.getdoc(public)
    assert doctest.DocTestParser().get_examples(text), f"{name} has no example"
    assert "Examples\n--------\n" in text
    signature = None if isinstance(public, type) else inspect.signature(public)
    if signature is not None and signature.return_annotation not in (None, "None"):
        assert "Returns\n-------\n" in text


def test_doctests_are_collected(pytestconfig):
    """Of the package, the README and the docs: the examples cannot be left out by accident."""
    assert {"numtape", "README.md", "docs"} <= set(pytestconfig.getini("testpaths"))
    assert "--doctest-modules" in pytestconfig.getini("addopts")
    assert "--doctest-glob=*.md" in pytestconfig.getini("addopts")
    modules = {inspect.getmodule(public).__name__ for public in _public_names().values()}
    assert all(module.startswith("numtape.") for module in modules)


def test_flat_tape_in_the_reference_exists():
    members = re.search(r"FlatTape\n +:members: (.*)", PAGE.read_text())[1].split(", ")
    assert all(hasattr(FlatTape, member) for member in members)
