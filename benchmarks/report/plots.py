"""The plots of a report: what is drawn, by file name. How it is drawn is `svg.py`.

Rule: a plot of which there is nothing to draw is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.findings.figures import BAILEYS, FIGURES, MIB, TITLES, WHATISUP
from benchmarks.findings.results import Results, RunFolder
from benchmarks.report.svg import Axis, Chart, Mark, Point, Series

INKS: Final = {WHATISUP: "a", BAILEYS: "b"}
_SPREAD: Final = "Medians of the rounds; the strokes go from the smallest to the largest."
_ONCE: Final = "One round."
_WARM: Final = 0.2


def _series(
    results: Results,
    key: str,
    subject: str,
    name: str = "",
    *,
    turn: Callable[[float, int], float] | None = None,
    is_dashed: bool = False,
) -> Series:
    """A figure over all sizes; `turn` makes of a value and its size what is drawn."""
    figure, points = FIGURES[key], []
    for size, found in sorted(results.by_size(key, subject).items()):
        if turn is None:
            drawn = [value / figure.scale for value in (found.median, found.low, found.high)]
        else:
            drawn = [turn(value, size) for value in (found.median, found.low, found.high) if value > 0]
        if len(drawn) == 3:
            points.append(Point(size, drawn[0], min(drawn), max(drawn)))
    title = f"{TITLES[subject]}{f', {name}' if name else ''}"
    return Series(title, points, INKS[subject], is_dashed)


def _over_sizes(title: str, y: Axis, series: Sequence[Series], mark: Mark | None = None) -> Chart | None:
    """A chart over N; None where fewer than two sizes were measured."""
    there = [one for one in series if one.points]
    points = [point for one in there for point in one.points]
    sizes = sorted({point.x for point in points})
    if len(sizes) < 2:
        return None
    note = _SPREAD if any(point.low != point.high for point in points) else _ONCE
    axis = Axis("sessions in one process (N)", is_log=True, ticks=sizes)
    return Chart(title, axis, y, there, note, [mark] if mark else [])


def _memory(results: Results) -> Chart | None:
    lines = [_series(results, "uss", subject) for subject in INKS]
    return _over_sizes("Memory with N sessions connected and idle", Axis("USS, MiB", is_log=True), lines)


def _session_memory(results: Results) -> Chart | None:
    lines = [_series(results, "session_uss", subject) for subject in INKS]
    goal = Mark("goal: 150", 150)
    return _over_sizes("Memory of each further session", Axis("USS, KiB a session", is_log=True), lines, goal)


def _inverse_ms(value: float, _size: int) -> float:
    return 1000 / value


def _cpu(way: str, word: str, goal_per_s: float) -> Callable[[Results], Chart | None]:
    def draw(results: Results) -> Chart | None:
        lines = [_series(results, f"{way}_per_cpu_s", subject, turn=_inverse_ms) for subject in INKS]
        axis = Axis("CPU of the subject, ms a message", is_log=True)
        goal = Mark(f"goal: {1000 / goal_per_s:.2g}", 1000 / goal_per_s)
        return _over_sizes(f"CPU for each message {word}, flat out", axis, lines, goal)

    return draw


def _latency(way: str, title: str, goal_ms: float) -> Callable[[Results], Chart | None]:
    def draw(results: Results) -> Chart | None:
        lines = []
        for subject in INKS:
            lines.append(_series(results, f"{way}_p99_ms", subject, "p99"))
            lines.append(_series(results, f"{way}_p50_ms", subject, "p50", is_dashed=True))
        goal = Mark(f"goal p99: {goal_ms:g}", goal_ms)
        return _over_sizes(title, Axis("time of a message, ms", is_log=True), lines, goal)

    return draw


def _resume(results: Results) -> Chart | None:
    lines = []
    for subject in INKS:
        lines.append(_series(results, "resume_s", subject, "killed"))
        lines.append(_series(results, "storm_s", subject, "server killed", is_dashed=True))
    axis = Axis("seconds until all are connected", is_log=True)
    return _over_sizes("Everybody comes back", axis, lines, Mark("goal at 1000: 15", 15))


def _idle(results: Results) -> Chart | None:
    lines = [_series(results, "idle_cpu_share", subject, turn=lambda share, _: 100 * share) for subject in INKS]
    axis = Axis("CPU, % of a core", is_log=True)
    return _over_sizes("CPU of N idle sessions", axis, lines, Mark("goal at 1000: 5", 5))


def _soak(samples: Sequence[dict[str, Any]]) -> Chart | None:
    """Memory over time, and from where on its slope is fitted."""
    if len(samples) < 10:
        return None
    lines = []
    for key, name, ink in (("rss", "RSS", "c"), ("uss", "USS", "a")):
        points = [Point(one["at_s"] / 60, one[key] / MIB) for one in samples]
        lines.append(Series(name, points, ink, has_dots=False))
    warm = samples[-1]["at_s"] * _WARM / 60
    note = (
        f"Traffic both ways, webhooks, API reads and faults at random; the slope is fitted from minute {warm:.0f} on."
    )
    return Chart("Memory of WhatIsUp over the soak", Axis("time, minutes"), Axis("memory, MiB"), lines, note)


DRAWN: Final[Sequence[tuple[str, Callable[[Results], Chart | None]]]] = (
    ("memory", _memory),
    ("memory-of-a-session", _session_memory),
    ("cpu-in", _cpu("in", "in", 1500)),
    ("cpu-out", _cpu("out", "out", 500)),
    ("latency-in", _latency("in", "From the contact's send to the durable row", 50)),
    ("latency-out", _latency("out", "From the request to the contact's phone", 100)),
    ("resume", _resume),
    ("idle", _idle),
)


def draw(folder: RunFolder, target: Path) -> list[tuple[str, str]]:
    """Write the plots into `target`; the file name and the title of each. Those of an earlier report are replaced."""
    results, written = folder.results(), []
    charts = [(name, make(results)) for name, make in DRAWN] + [("soak", _soak(folder.samples()))]
    target.mkdir(parents=True, exist_ok=True)
    for name, chart in charts:
        path = target / f"{name}.svg"
        path.unlink(missing_ok=True)
        if chart is not None:
            path.write_text(chart.svg(), encoding="utf-8")
            written.append((path.name, chart.title))
    return written
