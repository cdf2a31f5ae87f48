"""What an installed wheel must hold and do; run in the folder of the wheel, beside the README."""

import doctest
import zipfile
from pathlib import Path

import numpy as np

import numtape as nt

(wheel,) = Path().glob("*.whl")
names = zipfile.ZipFile(wheel).namelist()
folders = {name.split("/")[0] for name in names}
metadata = {name for name in folders if name.endswith(".dist-info")}
assert folders == {"numtape"} | metadata, f"the wheel has {sorted(folders)}"
kinds = {Path(name).suffix for name in names if name.startswith("numtape/")}
assert kinds == {".py", ".typed", ".dat"}, f"the wheel has files of the kinds {sorted(kinds)}"
data = [name for name in names if name.endswith(".dat")]
assert len(data) == 27, f"the wheel has {len(data)} of the 27 data sets of the demo"
assert "site-packages" in nt.__file__, f"this is not the installed numtape: {nt.__file__}"

failed, tried = doctest.testfile("README.md", module_relative=False, optionflags=doctest.ELLIPSIS)
assert tried > 10, "the README has lost its examples"
assert failed == 0, f"{failed} of the README's {tried} examples fail"


def energy(x: np.ndarray) -> np.ndarray:
    """A bit of everything: elementwise, products, orders, decompositions."""
    y = np.sort(np.exp(-x)) @ np.outer(x, x) + np.linalg.solve(np.diag(1.0 + x), np.cumsum(x))
    return np.sum(np.where(y > 1.0, np.sqrt(y), y)) + np.median(x)


x = np.linspace(0.2, 1.5, 12)
nt.check_derivatives(energy, x)
nt.check_derivatives(nt.grad(energy), x)
tape = nt.record(energy, x)
assert np.allclose(tape.gradient(np.stack([x, x])), nt.grad(energy)(x), rtol=1e-12)
print(f"{wheel} holds {len(names)} files; {tried} examples of the README run")
