"""Sphinx configuration. Build with ``sphinx-build -W --keep-going docs docs/_build/html``.

What is generated at build time is made by `docs/generate.py`; pages with
``{code-cell}`` are executed by myst-nb, and an error in one fails the build.
"""

import re
import sys
from pathlib import Path
from typing import Any

import numtape

project = "numtape"
copyright = "numtape contributors"
release = version = numtape.__version__

extensions = [
    "myst_nb",  # pages are Markdown, and their code cells are executed
    "numpydoc",  # reads the docstrings
    "sphinx.ext.autodoc",  # writes the reference from them
    "sphinx.ext.autosummary",  # its tables of names
    "sphinx.ext.mathjax",  # formulas
    "sphinx-mathjax-offline",  # whose script is part of the site: nothing is fetched
    "sphinx_copybutton",  # copies examples without their prompts
]
exclude_patterns = ["_build", "_generated", "**/.ipynb_checkpoints"]
nitpicky = True  # a name in a docstring that leads nowhere is a warning

# Markdown
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3  # headings can be linked to as page.md#heading
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# The reference
autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # the docstrings say more
autosummary_generate = False
default_role = "autolink"  # `grad` in a docstring is a link, if there is such a name
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_validation_checks = {  # of every docstring in the reference
    "EX01",  # has an example
    "GL06",  # has sections of known names
    "GL07",  # in the usual order
    "PR01",  # all parameters are documented
    "PR02",  # and no others
    "PR10",  # their colons stand apart
    "RT01",  # the result is documented
    "SS03",  # the summary is a sentence
}
# Not made by users, so that their parameters are of no interest; that they have examples
# is tested by tests/test_public_names.py.
numpydoc_validation_exclude = {
    r"(Error|Warning)$",
    r"\.Tape$",
    r"FlatTape",
    r"DerivativeCheck$",
    r"\.show\.",
}

# What it looks like
html_theme = "furo"
html_title = f"numtape {version}"
html_static_path = ["_static"]
html_css_files = ["numtape.css"]
html_copy_source = False
pygments_style = "friendly"
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _without_last_line(app: Any, page: str, source: list[str]) -> None:
    """Doctests end with an empty line, for pytest; readers need not see it."""
    source[0] = re.sub(r"(^```python\n.*?)\n\n```$", r"\1\n```", source[0], flags=re.S | re.M)


def setup(app: Any) -> None:
    """What is done at the start of a build, and with the source of each page."""
    sys.path.insert(0, str(Path(__file__).parent))
    import generate

    generate.write()
    app.connect("source-read", _without_last_line)
