"""Programs that once disagreed, kept as files of ``tests/regressions``, one each.

A file says what it is in its first line, and holds a program's source and the points
at which it was compared, as Python.
"""

from hashlib import blake2b
from pathlib import Path

import numpy as np

from agreement.programs import Program

__all__ = ["FOLDER", "read", "write"]

FOLDER = Path(__file__).parents[1] / "regressions"


def write(program: Program, points: list[tuple], generic: bool, error: Exception) -> Path:
    """Keep a program; the name of the file says what was wrong."""
    name = blake2b(program.source.encode(), digest_size=4).hexdigest()
    path = FOLDER / f"program_{name}.py"
    first = str(error).splitlines()[0].replace('"', "'")[:80] if str(error) else ""
    with np.printoptions(precision=17, floatmode="unique", threshold=10**6):
        shown = "\n".join(f"    {point!r}," for point in points)
    path.write_text(
        f'"""{type(error).__name__}: {first}"""\n\n'
        "import numpy as np\nimport scipy.special\n"
        "from numpy import array, inf, nan\n\n"
        f"SIZE, EXACT, GENERIC = {program.size}, {program.exact}, {generic}\n\n"
        f"POINTS = [\n{shown}\n]\n\n\n{program.source}"
    )
    return path


def read(path: Path) -> tuple[Program, list[tuple], bool]:
    """A program that was kept, its points, and whether these are generic."""
    text = path.read_text()
    names: dict = {}
    exec(compile(text, str(path), "exec"), names)
    source = text[text.index("def program(") :]
    program = Program(source, names["SIZE"], names["EXACT"])
    return program, names["POINTS"], names["GENERIC"]
