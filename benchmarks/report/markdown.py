"""The report as Markdown: what it ran on, the goals, the tables with their spread, and the plots.

Rule: made from a run's folder alone, and the same again from the same folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.findings.figures import BAILEYS, SCENARIO_TITLES, TITLES, WHATISUP, of_scenario
from benchmarks.findings.goals import COSTS, Checked, Verdict, checked
from benchmarks.findings.machine import described
from benchmarks.findings.results import Results, RunFolder
from benchmarks.report.plots import draw
from benchmarks.report.rows import Row, rows, times, with_spread

_INTRO = """\
# Results

Made by `python -m benchmarks --report` from one run of `make bench{full}`; do not edit. Both subjects did the same work
against the same sandbox, a process of its own over wss, on the same machine in the same run, lap by lap in turn. Each
figure is the median of the rounds, with the smallest and the largest behind it. A ratio is taken within each round, and
above 1 it is in favour of WhatIsUp.
How each figure is taken stands at the end; what limits them in [README.md](README.md)."""


def write(folder: RunFolder, target: Path) -> Path:
    """Write `RESULTS.md` and `plots/` into `target`; the path of the former."""
    plots = draw(folder, target / "plots")
    path = target / "RESULTS.md"
    path.write_text(markdown(folder, plots), encoding="utf-8")
    return path


def markdown(folder: RunFolder, plots: Sequence[tuple[str, str]] = ()) -> str:
    """The whole text; `plots` are file names and titles."""
    results = folder.results()
    goals = checked(results)
    parts = [
        _INTRO.format(full="-full" if folder.plan().get("is_full") else ""),
        _conditions(folder),
        _goals(goals),
        *[f"![{title}](plots/{name})" for name, title in plots],
        *_tables(results, goals),
        _exponents(results),
        _failures(folder),
        _how(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    rule = ["---:" if index in right else "---" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _conditions(folder: RunFolder) -> str:
    lines = [list(pair) for pair in described(folder.machine())]
    lines += [[name.capitalize(), text] for name, text in sorted(folder.notes().items())]
    lines.append(["Limits and pacing", "off: rate limits, pacing of sends and of logins, budgets"])
    return "## What it ran on\n\n" + _table(["", ""], lines)


def _goals(goals: Sequence[Checked]) -> str:
    counts = ", ".join(f"{sum(one.verdict is verdict for one in goals)} {verdict.value}" for verdict in Verdict)
    words = {Verdict.MET: "met", Verdict.MISSED: "**missed**", Verdict.NOT_MEASURED: "not measured"}
    lines = [[one.title, one.bound, one.value, words[one.verdict]] for one in goals]
    return f"## Goals\n\n{counts}.\n\n" + _table(["goal", "bound", "here", ""], lines, right=(2,))


def _tables(results: Results, goals: Sequence[Checked]) -> list[str]:
    parts = []
    for scenario, title in SCENARIO_TITLES.items():
        found = [row for size in results.sizes(scenario) for row in rows(results, scenario, size, goals)]
        order = [figure.key for figure in of_scenario(scenario)]
        lines = [_line(row) for row in sorted(found, key=lambda row: (order.index(row.figure.key), row.size))]
        if lines:
            head = ["", "N", TITLES[WHATISUP], TITLES[BAILEYS], "ratio", "rounds", "goal"]
            parts.append(f"## {title}\n\n" + _table(head, lines, right=(1, 2, 3, 4, 5)))
    return parts


def _line(row: Row) -> list[str]:
    goal = "" if row.goal is None else f"{row.goal.bound}: {row.goal.verdict.value}"
    rounds = max(found.rounds for found in (row.ours, row.theirs) if found is not None)
    values = [with_spread(row.figure, row.ours), with_spread(row.figure, row.theirs)]
    return [row.title, str(row.size), *values, times(row.ratio), str(rounds), goal]


def _exponents(results: Results) -> str:
    lines = []
    for cost in COSTS:
        cells = [cost.title]
        for subject in (WHATISUP, BAILEYS):
            found, sizes = cost.exponent(results, subject), cost.costs(results, subject)
            cells.append("–" if found is None else f"{found:+.2f} (N = {', '.join(map(str, sorted(sizes)))})")
        if cells[1:] != ["–", "–"]:
            lines.append(cells)
    if not lines:
        return ""
    words = (
        "Least squares of log(cost of one) on log(N): the cost of one goes with N to the power of this, that of all N"
        " together with one more. At 0 it does not depend on N. What a further session costs is reckoned from N = 1 on;"
        " sizes below 50 are left out where two larger ones are there."
    )
    head = ["cost of one", TITLES[WHATISUP], TITLES[BAILEYS]]
    return f"## How costs grow\n\n{words}\n\n" + _table(head, lines, right=(1, 2))


def _failures(folder: RunFolder) -> str:
    lines = []
    for row in folder.failures():
        why = "; ".join(map(str, row["why"])).replace("|", "\\|").replace("\n", " ")
        lines.append([str(row["subject"]), str(row["size"]), str(row["round"]), ", ".join(row["scenarios"]), why])
    return "## What failed\n\n" + _table(["subject", "N", "round", "missing", "why"], lines) if lines else ""


def _how(results: Results) -> str:
    there = {key for record in results.records for key in record.figures}
    lines = [
        [SCENARIO_TITLES[scenario].lower(), figure.title.strip(), figure.how]
        for scenario in SCENARIO_TITLES
        for figure in of_scenario(scenario)
        if figure.key in there
    ]
    return "## How each figure is taken\n\n" + _table(["", "figure", "how"], lines) if lines else ""
