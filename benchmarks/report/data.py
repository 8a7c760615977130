"""The report as JSON: for programs.

Rule: everything that the other reports show, with nothing rounded.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from benchmarks.findings.figures import FIGURES, SUBJECTS
from benchmarks.findings.goals import COSTS, checked
from benchmarks.findings.results import RunFolder


def as_json(folder: RunFolder) -> str:
    """The machine, each figure by scenario, size and subject, the ratios' parts, the goals and the exponents."""
    results = folder.results()
    figures: list[dict[str, Any]] = []
    for key, figure in FIGURES.items():
        for size in results.sizes(figure.scenario):
            for subject in SUBJECTS:
                found = results.summary(key, subject, size)
                if found is not None:
                    by_round = results.by_round(key, subject, size)
                    where = {"scenario": figure.scenario, "figure": key, "n": size, "subject": subject}
                    figures.append(where | asdict(found) | {"by_round": by_round})
    goals = [{**asdict(one), "verdict": one.verdict.value} for one in checked(results)]
    content = {
        "plan": folder.plan(),
        "machine": folder.machine(),
        "notes": folder.notes(),
        "figures": figures,
        "goals": goals,
        "exponents": {cost.key: {who: cost.exponent(results, who) for who in SUBJECTS} for cost in COSTS},
        "failures": folder.failures(),
    }
    return json.dumps(content, indent=2) + "\n"
