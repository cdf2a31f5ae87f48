"""With ``NUMBA_BOUNDSCHECK=1`` a plan that leaves its memory raises, whatever leaves it.

That needs kernels compiled anew, so it is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "helpers" / "broken_plans.py"


def test_every_broken_plan_is_seen(tmp_path):
    own = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_DISABLE_JIT": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | own,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = dict(line.rsplit(": ", 1) for line in run.stdout.splitlines())
    sound = {name for name, outcome in found.items() if outcome == "ran"}
    assert sound == {name for name in found if name.startswith("sound")}
    assert len(sound) == 17
    assert len(found) == 59
