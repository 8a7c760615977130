"""The rows that every report shows: a figure at a size, both subjects, their ratio, and the goal it belongs to.

Rule: a ratio says how many times as good we are: above 1 in our favour, whichever way is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.findings.figures import BAILEYS, WHATISUP, Better, Figure, of_scenario
from benchmarks.findings.goals import Checked, Verdict
from benchmarks.findings.results import Results, Summary


@dataclass(frozen=True, slots=True)
class Row:
    """A figure at one size."""

    figure: Figure
    size: int
    ours: Summary | None
    theirs: Summary | None
    ratio: Summary | None
    goal: Checked | None

    @property
    def title(self) -> str:
        """With its unit."""
        return f"{self.figure.title}, {self.figure.unit}" if self.figure.unit else self.figure.title


def rows(results: Results, scenario: str, size: int, goals: Sequence[Checked]) -> list[Row]:
    """The figures of a scenario at a size which anybody measured."""
    found = []
    known = {(one.key, one.size): one for one in goals if one.verdict is not Verdict.NOT_MEASURED}
    for figure in of_scenario(scenario):
        ours = results.summary(figure.key, WHATISUP, size)
        theirs = results.summary(figure.key, BAILEYS, size)
        if ours is not None or theirs is not None:
            goal = known.get((figure.key, size))
            found.append(Row(figure, size, ours, theirs, _ratio(results, figure, size), goal))
    return found


def _ratio(results: Results, figure: Figure, size: int) -> Summary | None:
    """By round, then the median; for figures of which less is better theirs over ours, else ours over theirs."""
    if figure.better is Better.NEITHER:
        return None
    if figure.better is Better.LESS:
        return results.ratio(figure.key, size, BAILEYS, WHATISUP)
    return results.ratio(figure.key, size, WHATISUP, BAILEYS)


def with_spread(figure: Figure, found: Summary | None) -> str:
    """The median, and from where to where it was spread."""
    if found is None:
        return "–"
    if found.rounds < 2:
        return figure.shown(found.median)
    return f"{figure.shown(found.median)} ({figure.shown(found.low)}…{figure.shown(found.high)})"


def times(found: Summary | None) -> str:
    """A ratio."""
    if found is None:
        return ""
    digits = 2 if found.median < 1 else 1 if found.median < 100 else 0
    return f"x {found.median:.{digits}f}"
