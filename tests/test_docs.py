"""The documentation's drawing and links, without building it."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import drawings  # noqa: E402
import generate  # noqa: E402

import numtape  # noqa: E402
from numtape.ops import structured  # noqa: E402
from numtape.ops.table import ROWS  # noqa: E402

PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("[a-z]*/*.md"), ROOT / "README.md"])


def _prose(page):
    """A page without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)


def test_the_drawing_is_fresh():
    assert drawings.TARGET.read_text() == drawings.svg()


def test_the_drawing_shows_parts_that_exist_and_every_package():
    sources = {box.source for box in drawings.BOXES if box.source}
    assert all((ROOT / source).exists() for source in sources)
    packages = {path.parent.name for path in (ROOT / "numtape").glob("*/__init__.py")}
    assert packages - {"nist", "jit"} == {source.split("/")[1] for source in sources}


def test_texts_of_the_drawing_fit_their_boxes():
    for box in drawings.BOXES:
        for line in box.lines:
            assert len(line) * 6.6 < box.width, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if not re.match(r"https?:|#", target):
            path = (page.parent / target.split("#")[0]).resolve()
            assert path.exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_addresses_are_well_formed(page):
    for address in re.findall(r"https?://[^\s)>\]\"`]+", _prose(page)):
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[\w./~%#?=&@-]*)?", address), address


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent != DOCS / "tutorial"], ids=lambda page: page.name
)
def test_python_in_pages_is_run(page):
    """A fence of Python is a doctest, so that it cannot go stale."""
    for fence in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M):
        assert ">>> " in fence or fence.strip() in ALLOWED, fence


# Code that is shown, and not run: the convention for the import, above doctests.
ALLOWED = {"import numtape as nt"}


def test_every_page_has_a_place_in_the_site():
    for folder in ("how-to", "explanation", "reference", "tutorial"):
        index = (DOCS / folder / "index.md").read_text()
        listed = set(re.findall(r"^([\w-]+|\*)$", index, re.M))
        pages = {page.stem for page in (DOCS / folder).glob("*.md")} - {"index"}
        assert "*" in listed or pages <= listed


def test_the_page_of_operations_has_every_row_and_function():
    text = generate.operations()
    assert all(f"| `{row.name}` | " in text for row in ROWS)
    anchors = set(re.findall(r"^\(([\w-]+)\)=$", text, re.M))
    assert anchors == set(re.findall(r"\(#([\w-]+)\)", text))
    text = generate.functions()
    assert all(f"| `{function.name}` | " in text for function in structured.FUNCTIONS)


def test_the_page_of_the_command_line_shows_every_command():
    page = (DOCS / "reference" / "command-line.md").read_text()
    shown = {name: generate.session(command) for name, command in generate.COMMANDS.items()}
    assert set(re.findall(r"_generated/command-(\w+)\.md", page)) == set(shown)
    commands = re.findall(r"^    (\w+) ", shown["help"], re.M)
    assert commands
    assert all(f"\n## {command}\n" in page for command in commands)
    assert "the derivatives agree" in shown["check"]
    assert "gradient = (array([0.3, 0.4]), 5.0)" in shown["show"]
    assert "drag.py:8" in shown["show"]
    assert str(ROOT) not in "".join(shown.values())
    assert "InputError" in shown["wrong"]


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert numtape.__version__ == version
    changelog = (DOCS / "reference" / "changelog.md").read_text()
    assert re.search(r"^## (\S+?),? ", changelog, re.M)[1] == version


def test_the_page_of_operations_has_every_kind():
    page = (DOCS / "reference" / "operations.md").read_text()
    kinds = {structured.MAP, structured.REDUCE, structured.ACCUMULATE, structured.PRODUCT}
    kinds |= {structured.SCATTER, structured.ORDER, structured.SEARCH, structured.TAKE}
    kinds |= {structured.SPREAD, structured.FUNCTION}
    assert all(f"`{kind}`" in page for kind in kinds)
