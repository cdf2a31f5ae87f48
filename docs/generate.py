"""The parts of the documentation that are made of numtape's own tables.

`write` is called at the start of every build; pages include what it writes into
`docs/_generated`, which is not kept. Nothing here may say what an operation does: that
is the table's own business.
"""

import io
import re
import shlex
import textwrap
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from numtape.cli import main
from numtape.ops.structured import FUNCTIONS
from numtape.ops.table import ROWS, UNKNOWN

FOLDER = Path(__file__).parent / "_generated"

# What the page of the command line shows, run where the example is.
EXAMPLES = Path(__file__).parent / "examples"
COMMANDS = {
    "help": "numtape --help",
    "show": 'numtape show drag.py:drag --at "[3.0, 4.0]" 0.5',
    "check": 'numtape check drag.py:drag --at "[3.0, 4.0]" 0.5',
    "wrong": 'numtape show drag.py:drag --at "[3.0, 4.0]"',
}

# Longer formulas are shown below the table.
_WIDE = 48


def write() -> None:
    """Write every generated page anew, where it changed: Sphinx reads what is new."""
    FOLDER.mkdir(exist_ok=True)
    parts = {"operations": operations(), "functions": functions()}
    parts |= {f"command-{name}": session(command) for name, command in COMMANDS.items()}
    for name, text in parts.items():
        page = FOLDER / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def operations() -> str:
    """The rows of the table of operations, and their long formulas below."""
    long: list[str] = []
    rows = []
    for row in ROWS:
        partials = dict(zip("xy", row.partials, strict=False))
        rows.append(
            [
                f"`{row.name}`",
                re.sub(r"([*_<\[|])", r"\\\1", row.synopsis),
                f"`{_short(row.ufunc)}`" if row.ufunc else "",
                _formula(row.name, "value", row.primal, long) if row.primal else "ufunc",
                *(_formula(row.name, name, partials.get(name, ""), long) for name in "xy"),
            ]
        )
    table = _table(["operation", "computes", "ufunc", "value", "∂x", "∂y"], rows)
    return table + "\n## Long formulas\n\n" + "\n".join(long)


def functions() -> str:
    """The functions of the last axes of their operands."""
    rows = [
        [f"`{each.name}`", f"`{each.signature}`", " ".join(f"`{call[0]}`" for call in each.calls)]
        for each in FUNCTIONS
    ]
    return _table(["function", "signature", "computed by"], rows)


def session(command: str) -> str:
    """A command, and what it prints."""
    printed = io.StringIO()
    with (
        chdir(EXAMPLES),
        redirect_stdout(printed),
        redirect_stderr(printed),
        suppress(SystemExit),
    ):
        main(shlex.split(command)[1:])
    output = printed.getvalue().rstrip().replace(f"{EXAMPLES}/", "")
    return f"```console\n$ {command}\n{output}\n```\n"


def _short(path: str) -> str:
    """Where a ufunc lives, with the usual names of the modules."""
    return path.replace("numpy.", "np.").replace("scipy.special.", "special.")


def _formula(operation: str, of: str, text: str, long: list[str]) -> str:
    """A formula in a cell of the table, or a link to where it stands in full."""
    if text == UNKNOWN:
        return "no closed form"
    if len(text) <= _WIDE:
        return f"`{text}`".replace("|", r"\|") if text else ""
    anchor = f"formula-{operation}-{of}".replace("_", "-")
    title = f"`{operation}`, {of if of == 'value' else '∂' + of}"
    lines = textwrap.fill(text, 88, subsequent_indent="    ", break_long_words=False)
    long.append(f"({anchor})=\n{title}:\n\n```python\n{lines}\n```\n")
    return f"[below](#{anchor})"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
