"""The search for programs on which two ways disagree, for pytest and for long runs by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agreement.compare import check, check_branches
from agreement.programs import POINT_KINDS, Program, draw_points, programs

__all__ = ["Found", "cases", "search"]


@dataclass(frozen=True)
class Found:
    """A disagreement, on the smallest program that hypothesis came to."""

    program: Program
    points: list[tuple]
    generic: bool
    error: Exception


@st.composite
def cases(draw, count: int, branchy: bool = False) -> tuple[Program, list[tuple], bool, int]:
    """A program, up to so many points, whether these are generic, and a way."""
    program = draw(programs(branchy=branchy))
    may_be_special = program.exact and not program.sorts
    kind = draw(st.sampled_from(POINT_KINDS if may_be_special else POINT_KINDS[:-1]))
    seed = draw(st.integers(0, 2**20))
    several = draw(st.sampled_from([count, 2]))
    points = draw_points(kind, program.size, several, seed, zeros=not program.sorts)
    return program, points, kind == "normal", draw(st.integers(0, 9))


def search(seed: int, examples: int, count: int, tell: Callable[[int], None]) -> Found | None:
    """Compare so many programs at `count` points each; the first disagreement, shrunk."""
    last: list = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @given(cases(count), st.integers(0, 3))
    def compared(case, branches):
        program, points, generic, _ = case
        last[:] = [program, points, generic]
        tell(check_branches(program, points) if branches == 3 else check(*case))

    try:
        compared()
    except Exception as error:
        return Found(*last, error)
    return None
