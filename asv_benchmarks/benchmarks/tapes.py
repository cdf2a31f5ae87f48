"""Tapes of the workloads: recorded once, in `setup_cache`, for all benchmarks of a class."""

from collections.abc import Mapping

import numtape

from .problems import Problem

__all__ = ["Tapes", "tape_of", "tapes_of"]

Tapes = dict[str, numtape.Tape]


def tape_of(problem: Problem) -> numtape.Tape:
    """The tape of a workload at its point."""
    return numtape.record(problem.function, problem.point)


def tapes_of(problems: Mapping[str, Problem]) -> Tapes:
    """The tapes of several workloads, by name."""
    return {name: tape_of(problem) for name, problem in problems.items()}
