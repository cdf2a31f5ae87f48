"""``python -m tests.agreement --cases N --seed S``: the comparison by hand, as long as you like.

Programs are drawn in rounds of 100, each from a seed of its own (S, S + 1, ...), so runs
with other seeds can go on beside each other. A case is one program at one point, compared
in all ways. A disagreement is shrunk, printed with the seed of its round, and kept as a
file in ``tests/regressions``, which pytest runs from then on.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from agreement import regressions
from agreement.search import search

_PROGRAMS = 100


def main() -> int:
    """Run until there are as many cases as asked for; the number of disagreements."""
    parser = argparse.ArgumentParser(prog="python -m tests.agreement", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many to compare")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--points", type=int, default=100, help="of each program")
    options = parser.parse_args()
    done, failures, seed, start = 0, 0, options.seed, time.monotonic()

    def tell(more: int) -> None:
        nonlocal done
        done += more

    while done < options.cases:
        found = search(seed, _PROGRAMS, options.points, tell)
        if found is not None:
            failures += 1
            path = regressions.write(found.program, found.points, found.generic, found.error)
            print(f"seed {seed}: {type(found.error).__name__}: {found.error}\nkept as {path}\n")
        seed += 1
        seconds = time.monotonic() - start
        print(
            f"{done} cases, seeds {options.seed} to {seed - 1}, {failures} disagreements, "
            f"{seconds:.0f} s",
            flush=True,
        )
    return failures


if __name__ == "__main__":
    sys.exit(main() > 0)
