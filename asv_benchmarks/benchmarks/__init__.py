"""What numtape costs: benchmarks for asv, one module for each subject.

`problems` holds the workloads, `rivals` how each library differentiates them,
`measure` the stopwatch. Names that begin with ``time_`` or ``track_`` are what
asv runs. Everything runs on one thread: on a machine with other work, a matrix
product split over threads waits milliseconds for the one that is not scheduled.
"""

import importlib.util
import os
import sys
from pathlib import Path

# A checkout that is not installed is measured in place: asv ignores PYTHONPATH.
if importlib.util.find_spec("numtape") is None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))

# Read when NumPy is first imported, hence here. asv has imported it by now: there the
# variable comes from asv.conf.json, and with --python=same from the shell.
for _library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# Tapes are interpreted unless a benchmark compiles them, and code is made anew each time.
os.environ["NUMTAPE_NATIVE"] = "off"
os.environ["NUMTAPE_CACHE_DIR"] = ""
