"""What an H200-class GPU should reach, and whether a run did."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.harness import Row


class Goal(NamedTuple):
    """A rate to reach.

    Attributes:
        title: What it is about.
        suite: That measures it.
        words: All of them are in the case.
        least: Units of work per second.
    """

    title: str
    suite: str
    words: tuple[str, ...]
    least: float


GOALS = (
    Goal("profile likelihoods of single regions", "kernels",
         ("single region: -2 ln L at mu = 1, profiled",), 1e9),
    Goal("full scores of models with networks", "scores", ("score, networks yields",), 1e6),
)  # fmt: skip


def reached(goal: Goal, rows: Sequence[Row]) -> Row | None:
    """The fastest row that a goal is about; `None` where there is none."""
    found = [
        row
        for row in rows
        if row.suite == goal.suite
        and row.unit == "per s"
        and all(word in row.case for word in goal.words)
        and "gradient" not in row.case
    ]
    return max(found, key=lambda row: row.value.median, default=None)
