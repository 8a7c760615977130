"""The report as text for a terminal.

Rule: one row for each figure, with what it is compared with beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.findings.figures import BAILEYS, SCENARIO_TITLES, TITLES, WHATISUP
from benchmarks.findings.goals import COSTS, Checked, Verdict, checked
from benchmarks.findings.results import Results, RunFolder
from benchmarks.report.rows import Row, rows, times, with_spread

_TITLE, _VALUE, _RATIO = 36, 26, 9


def terminal(folder: RunFolder) -> str:
    """Everything that was measured, the goals, and what failed."""
    results = folder.results()
    goals = checked(results)
    parts = [_tables(results, goals), _goals(goals), _exponents(results)]
    parts += [f"{name}: {text}" for name, text in sorted(folder.notes().items())]
    parts += [_failure(row) for row in folder.failures()]
    return "\n\n".join(part for part in parts if part)


def _tables(results: Results, goals: Sequence[Checked]) -> str:
    lines: list[str] = []
    for scenario, title in SCENARIO_TITLES.items():
        for size in results.sizes(scenario):
            found = rows(results, scenario, size, goals)
            if found:
                rounds = max(s.rounds for row in found for s in (row.ours, row.theirs) if s is not None)
                head = f"{title}, N = {size}"
                lines += ["", f"{head} ({rounds} round{'s' if rounds > 1 else ''})", _head(), *map(_line, found)]
    return "\n".join(lines).lstrip("\n")


def _head() -> str:
    return f"  {'':<{_TITLE}}{TITLES[WHATISUP]:>{_VALUE}}{TITLES[BAILEYS]:>{_VALUE}}{'ratio':>{_RATIO}}  goal"


def _line(row: Row) -> str:
    goal = "" if row.goal is None else f"  {row.goal.bound}: {row.goal.verdict.value}"
    ours, theirs = with_spread(row.figure, row.ours), with_spread(row.figure, row.theirs)
    return f"  {row.title:<{_TITLE}}{ours:>{_VALUE}}{theirs:>{_VALUE}}{times(row.ratio):>{_RATIO}}{goal}".rstrip()


def _goals(goals: Sequence[Checked]) -> str:
    """What was measured, in full; of the rest their number, which would bury the others in a run of one scenario."""
    there = [one for one in goals if one.verdict is not Verdict.NOT_MEASURED]
    lines = [f"  {one.verdict.value:<8}{one.title:<56}{one.bound:<34}{one.value:>12}" for one in there]
    left = len(goals) - len(there)
    lines += [f"  {left} not measured here: they need other sizes, other scenarios or a full run"] if left else []
    return "\n".join(("Goals", *lines))


def _exponents(results: Results) -> str:
    lines = ["Cost of one session, or message, against N: the a of N^a (0: it does not depend on N)"]
    for cost in COSTS:
        found = [(TITLES[subject], cost.exponent(results, subject)) for subject in (WHATISUP, BAILEYS)]
        shown = [f"{title} {value:+.2f}" for title, value in found if value is not None]
        if shown:
            lines.append(f"  {cost.title:<36}{', '.join(shown)}")
    return "\n".join(lines) if len(lines) > 1 else ""


def _failure(row: dict[str, object]) -> str:
    why = row["why"]
    reasons = "; ".join(map(str, why)) if isinstance(why, list) else str(why)
    return f"FAILED: {row['subject']}, {row['size']} sessions, round {row['round']}: {reasons}"
