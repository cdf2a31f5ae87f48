"""The oldest releases that pyproject.toml admits, as pip wants them: of what numtape runs on."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
optional = project["optional-dependencies"]
run_on = [*project["dependencies"], *optional["cli"], *optional["dask"], *optional["blas"]]
print(*(requirement.replace(">=", "==") for requirement in run_on))
