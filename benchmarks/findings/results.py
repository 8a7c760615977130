"""What a run found, in a folder of its own: a line of JSON for each scenario of each lap, as soon as it is there.

Rule: the folder is the only truth: a run that was interrupted goes on from it, and every report is made from it.

    plan.json       what was asked for; a run is resumed only by the same plan
    machine.json    what it ran on
    records.jsonl   the figures: one line for each scenario, subject, size and round
    failures.jsonl  laps that failed, and why
    notes.json      what was asserted while it ran, by name
    soak.jsonl      the samples of the soak
    finished        there once everything that was planned is measured
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.findings.figures import BAILEYS, WHATISUP

PLAN = "plan.json"
MACHINE = "machine.json"
RECORDS = "records.jsonl"
FAILURES = "failures.jsonl"
NOTES = "notes.json"
SAMPLES = "soak.jsonl"
FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a set of figures belongs."""

    scenario: str
    subject: str
    size: int
    round: int


@dataclass(frozen=True, slots=True)
class Record:
    """The figures of one scenario of one lap."""

    place: Place
    figures: Mapping[str, float]
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over rounds: the median, and from the smallest to the largest of `rounds` values."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary | None:
        """The summary of these; None for none."""
        found = [value for value in values if math.isfinite(value)]
        return cls(median(found), min(found), max(found), len(found)) if found else None


@dataclass(slots=True)
class Results:
    """All records, and what can be asked of them."""

    records: list[Record] = field(default_factory=list)

    def sizes(self, scenario: str | None = None) -> list[int]:
        """The sizes that were measured."""
        return sorted({r.place.size for r in self.records if scenario in (None, r.place.scenario)})

    def by_round(self, key: str, subject: str, size: int) -> dict[int, float]:
        """A figure's value in each round."""
        return {
            record.place.round: record.figures[key]
            for record in self.records
            if record.place.subject == subject and record.place.size == size and key in record.figures
        }

    def summary(self, key: str, subject: str, size: int) -> Summary | None:
        """A figure over all rounds."""
        return Summary.of(self.by_round(key, subject, size).values())

    def median(self, key: str, subject: str, size: int) -> float | None:
        """The median of a figure."""
        found = self.summary(key, subject, size)
        return None if found is None else found.median

    def ratio(self, key: str, size: int, over: str = BAILEYS, under: str = WHATISUP) -> Summary | None:
        """A figure of `over` for one of `under`: by round, then the median of the rounds that have both."""
        above, below = self.by_round(key, over, size), self.by_round(key, under, size)
        return Summary.of(above[number] / below[number] for number in above.keys() & below.keys() if below[number] > 0)

    def by_size(self, key: str, subject: str) -> dict[int, Summary]:
        """A figure over all sizes that have it."""
        found = ((size, self.summary(key, subject, size)) for size in self.sizes())
        return {size: summary for size, summary in found if summary is not None}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder."""

    path: Path

    def begin(self, plan: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Make it, unless it is there: a resumed run keeps what it began with."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name, content in ((PLAN, plan), (MACHINE, machine)):
            if not (self.path / name).exists():
                self._write(name, content)

    def plan(self) -> dict[str, Any]:
        """What was asked for; empty if that is not known."""
        return self._read(PLAN)

    def machine(self) -> dict[str, Any]:
        """What it ran on."""
        return self._read(MACHINE)

    def keep(self, record: Record) -> None:
        """Write a record down, whole or not at all as far as a reader can tell."""
        self._append(RECORDS, {**asdict(record.place), "took_s": record.took_s, "figures": dict(record.figures)})

    def fail(self, subject: str, size: int, number: int, scenarios: Sequence[str], why: Sequence[str]) -> None:
        """Write down that a lap failed, and which of its scenarios are missing for it."""
        lost = {"subject": subject, "size": size, "round": number, "scenarios": list(scenarios), "why": list(why)}
        self._append(FAILURES, lost)

    def failures(self) -> list[dict[str, Any]]:
        """The laps that failed and were not made up for since."""
        there = {record.place for record in self.results().records}

        def is_made_up(row: Mapping[str, Any]) -> bool:
            places = (Place(name, row["subject"], row["size"], row["round"]) for name in row["scenarios"])
            return all(place in there for place in places)

        return [row for row in self._lines(FAILURES) if not is_made_up(row)]

    def note(self, name: str, text: str) -> None:
        """Remember what was asserted; the same name again replaces it."""
        notes = self._read(NOTES)
        if notes.get(name) != text:
            self._write(NOTES, {**notes, name: text})

    def notes(self) -> dict[str, str]:
        """What was asserted, by name."""
        return {str(name): str(text) for name, text in self._read(NOTES).items()}

    def results(self) -> Results:
        """All records; of two for one place the later holds. A line that was cut off is left out."""
        found: dict[Place, Record] = {}
        for row in self._lines(RECORDS):
            place = Place(row["scenario"], row["subject"], row["size"], row["round"])
            found[place] = Record(place, row["figures"], row["took_s"])
        return Results(list(found.values()))

    def samples(self) -> list[dict[str, Any]]:
        """The samples of the soak."""
        return self._lines(SAMPLES)

    def finish(self) -> None:
        """Say that nothing is missing."""
        (self.path / FINISHED).touch()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is missing."""
        return (self.path / FINISHED).exists()

    def _append(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.path / name
        is_cut_off = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if is_cut_off else "") + json.dumps(content) + "\n")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        found: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:  # the run was killed in the middle of it
                continue
        return found

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return content

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def newest_unfinished(folder: Path, is_wanted: Callable[[Mapping[str, Any]], bool]) -> RunFolder | None:
    """The newest run in that folder which is not finished and whose plan is wanted."""
    runs = sorted((path.parent for path in folder.glob(f"*/{PLAN}")), reverse=True)
    return next((run for path in runs if not (run := RunFolder(path)).is_finished and is_wanted(run.plan())), None)
