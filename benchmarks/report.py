"""The figures of a run as a table for people and as JSON for programs.

Rule: every figure stands with its unit and with what it was measured on.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.edge import Edge
from benchmarks.size import Figures
from benchmarks.talk import Talk

GOAL_KIB = 300
_LIBRARIES = ("trio", "trio-websocket", "cryptography", "SQLAlchemy", "hypercorn")
_KIB, _MIB = 1024, 1024 * 1024


def _kib(value: float | None) -> str:
    return "–" if value is None else f"{value / _KIB:.0f}"


def _resumed_per_further(figures: Figures, base: Figures) -> float | None:
    """Bytes per further instance between two gateways that only resumed; needs a run of size 1 beside it."""
    if base.instances != 1 or figures.instances < 2:
        return None
    return (figures.uss_all_resumed - base.uss_all_resumed) / (figures.instances - 1)


def _cpu_per_instance_hour(figures: Figures, base: Figures) -> float | None:
    """CPU seconds that a further idle instance costs in an hour; for size 1, what the whole process costs."""
    per_hour = 3600 / figures.idle_window_s
    if figures.instances == 1 or base.instances != 1:
        return figures.idle_cpu_s * per_hour / figures.instances
    return (figures.idle_cpu_s - base.idle_cpu_s) * per_hour / (figures.instances - 1)


_ROWS: tuple[tuple[str, Callable[[Figures, Figures], str]], ...] = (
    ("connect all (create, QR, scan), s", lambda f, _: f"{f.connect_all_s:.1f}"),
    ("USS before the first, MiB", lambda f, _: f"{f.uss_idle / _MIB:.1f}"),
    ("USS with all connected, MiB", lambda f, _: f"{f.uss_all / _MIB:.1f}"),
    ("USS per further instance, KiB", lambda f, _: _kib(f.uss_per_further)),
    ("  the same, only resumed, KiB", lambda f, base: _kib(_resumed_per_further(f, base))),
    ("CPU of the idle process, % of a core", lambda f, _: f"{100 * f.idle_cpu_s / f.idle_window_s:.1f}"),
    ("CPU per further idle instance-hour, s", lambda f, base: f"{_cpu_per_instance_hour(f, base):.1f}"),
    ("gateway killed: serving again after, s", lambda f, _: f"{f.gateway_serving_s:.1f}"),
    ("gateway killed: all resumed after, s", lambda f, _: f"{f.gateway_resume_s:.1f}"),
    ("sandbox killed: all resumed after, s", lambda f, _: f"{f.sandbox_resume_s:.1f}"),
)


def table(runs: Sequence[Figures]) -> str:
    """The figures, a column for each size."""
    base = runs[0]
    lines = [f"{'connected instances':<40}" + "".join(f"{run.instances:>9}" for run in runs)]
    lines += [f"{title:<40}" + "".join(f"{cell(run, base):>9}" for run in runs) for title, cell in _ROWS]
    return "\n".join(lines)


def verdict(runs: Sequence[Figures]) -> str:
    """The largest size against the goal, and what dominates if that was looked at."""
    last = runs[-1]
    if last.uss_per_further is None:
        return "no size above 1: nothing to compare with the goal"
    kib = last.uss_per_further / _KIB
    lines = [
        f"goal: at most {GOAL_KIB} KiB per further instance; here {kib:.0f}: {'met' if kib <= GOAL_KIB else 'MISSED'}"
    ]
    if last.growth is not None:
        seen = sum(last.growth.values())
        native = last.uss_per_further - seen
        lines.append(f"what a further instance holds ({last.instances} instances, tracemalloc on), KiB:")
        lines += [f"  {size / _KIB:>7.1f}  {name}" for name, size in last.growth.items() if size >= 0.25 * _KIB]
        lines.append(f"  {native / _KIB:>7.1f}  not Python's: OpenSSL, SQLite, allocator, tracemalloc's own")
    return "\n".join(lines)


def conditions() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "transport": "wss on loopback",
        "store": "SQLite, default settings",
        "pacing": "off",
        "rate limits": "off",
        "load": os.getloadavg()[0],
    }


def write_json(runs: Sequence[Figures], path: Path, found: Talk, edge: Edge, facts: Mapping[str, Any]) -> None:
    """Write all figures to `path`, with the `facts` that they were measured under."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "conditions": dict(facts),
        "runs": [asdict(run) for run in runs],
        "messages": asdict(found),
        "edge": asdict(edge),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
