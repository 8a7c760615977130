"""What is measured, as one table: each figure's name, unit, which way is better, and how it is taken.

Rule: a figure that is not in this table is kept but not shown; one that is here has one sentence that says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

WHATISUP: Final = "whatisup"
BAILEYS: Final = "baileys"
SUBJECTS: Final = (WHATISUP, BAILEYS)
TITLES: Final[Mapping[str, str]] = {WHATISUP: "WhatIsUp", BAILEYS: "Baileys"}

KIB: Final = 1024
MIB: Final = 1024 * 1024


class Better(Enum):
    """Which way is better; with neither the figure is a condition."""

    LESS = "less"
    MORE = "more"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. What is kept is divided by `scale` to be shown in `unit`, with so many `digits`."""

    key: str
    scenario: str
    title: str
    unit: str
    better: Better
    how: str
    scale: float = 1.0
    digits: int = 1

    def shown(self, value: float | None) -> str:
        """The number as people read it, without its unit."""
        return "–" if value is None else f"{value / self.scale:,.{self.digits}f}"


_LESS, _MORE, _NEITHER = Better.LESS, Better.MORE, Better.NEITHER


def _flow(way: str, scenario: str, end: str) -> tuple[Figure, ...]:
    """The figures that both directions have."""
    return (
        Figure(
            f"{way}_offered_per_s", scenario, "offered", "/s", _NEITHER, "messages a second while times are taken",
            1, 0,
        ),
        Figure(f"{way}_p50_ms", scenario, "p50", "ms", _LESS, f"{end}, at the offered rate"),
        Figure(f"{way}_p99_ms", scenario, "p99", "ms", _LESS, f"{end}, at the offered rate"),
        Figure(
            f"{way}_goal_offered_per_s", scenario, "offered, as in the goal", "/s", _NEITHER,
            "messages a second while the times below are taken", 1, 0,
        ),
        Figure(f"{way}_goal_p50_ms", scenario, "p50 at that rate", "ms", _LESS, end),
        Figure(f"{way}_goal_p99_ms", scenario, "p99 at that rate", "ms", _LESS, end),
        Figure(f"{way}_goal_per_s", scenario, "got at that rate", "/s", _MORE, "by the clock on the wall", 1, 0),
        Figure(
            f"{way}_cpu_ms_paced", scenario, "CPU per message, paced", "ms", _LESS,
            "CPU of the subject's processes for each message at the offered rate", 1, 2,
        ),
        Figure(
            f"{way}_per_cpu_s", scenario, "messages per CPU second", "", _MORE,
            "flat out: messages for each CPU second of the subject's processes, receipts dealt with", 1, 0,
        ),
        Figure(
            f"{way}_per_s", scenario, "messages per second", "/s", _MORE, "flat out, by the clock on the wall", 1, 0,
        ),
        Figure(
            f"{way}_sandbox_cpu_ms", scenario, "sandbox's CPU per message", "ms", _NEITHER,
            "what the other side of the same message costs, which shares the cores", 1, 2,
        ),
        Figure(
            f"{way}_growth_bytes_per_1000", scenario, "memory growth per 1,000 messages", "KiB", _LESS,
            "USS after all messages of the growth run, less that before, for each 1,000", KIB,
        ),
    )  # fmt: skip


def _restart(prefix: str, scenario: str, whole: str) -> tuple[Figure, ...]:
    """The figures that both restarts have."""
    return (
        Figure(f"{prefix}_s", scenario, "all connected again", "s", _LESS, whole, 1, 2),
        Figure(f"{prefix}_cpu_s", scenario, "CPU of it", "s", _LESS, "CPU of the subject's processes meanwhile", 1, 2),
        Figure(
            f"{prefix}_stall_p99_ms", scenario, "event loop stall p99", "ms", _LESS,
            "how late the event loop wakes a sleeper, sampled inside the process meanwhile",
        ),
        Figure(f"{prefix}_stall_max_ms", scenario, "longest stall", "ms", _LESS, "the longest of them"),
    )  # fmt: skip


_TABLE: Final = (
    Figure(
        "connect_s", "connect", "pair all, until connected", "s", _LESS, "first request to the last connected", 1, 2,
    ),
    Figure("uss_before", "connect", "USS before the first", "MiB", _LESS, "memory freed if the process ended", MIB),
    Figure("uss_at_10", "connect", "USS with ten", "MiB", _LESS, "the same, read once the CPU is quiet", MIB),
    Figure("uss", "connect", "USS with all", "MiB", _LESS, "the same, with all connected and idle", MIB),
    Figure("rss", "connect", "RSS with all", "MiB", _LESS, "resident memory, shared pages counted whole", MIB),
    Figure("pss", "connect", "PSS with all", "MiB", _LESS, "resident memory, shared pages counted by share", MIB),
    Figure(
        "session_uss", "connect", "USS of each further session", "KiB", _LESS,
        "(USS with all − USS with ten) / (N − 10), freshly paired, idle", KIB, 0,
    ),
    Figure(
        "idle_cpu_share", "connect", "CPU while idle, of a core", "%", _LESS, "default heartbeat, all idle", 0.01, 2,
    ),
    Figure(
        "idle_cpu_s_per_session_hour", "connect", "CPU per idle session-hour", "s", _LESS,
        "CPU seconds in the idle window, for each session and hour", 1, 2,
    ),
    Figure(
        "idle_switches_per_s", "connect", "voluntary switches while idle", "/s", _LESS,
        "how often the idle process wakes up",
    ),
    *_flow("in", "inbound", "contact's send to durable row (Baileys: to its event, auth state saved)"),
    Figure(
        "in_goal_own_p50_ms", "inbound", "p50 at that rate, the gateway's part", "ms", _LESS,
        "the last part of it: from when it had read the message (whole milliseconds) to the durable row",
    ),
    Figure("in_goal_own_p99_ms", "inbound", "p99 at that rate, the gateway's part", "ms", _LESS, "the same"),
    *_flow("out", "outbound", "request to the contact's phone"),
    Figure(
        "api_per_s", "api", "requests per second", "/s", _MORE, "mixed requests of 50 clients, one under way each",
        1, 0,
    ),
    Figure(
        "api_per_cpu_s", "api", "requests per CPU second", "", _MORE, "the same, for each CPU second of the gateway",
        1, 0,
    ),
    Figure("api_p50_ms", "api", "p50", "ms", _LESS, "request written to answer read, 50 clients"),
    Figure("api_p99_ms", "api", "p99", "ms", _LESS, "the same"),
    Figure("api_one_p50_ms", "api", "p50, one client", "ms", _LESS, "the same with one client: no queue"),
    Figure("api_one_p99_ms", "api", "p99, one client", "ms", _LESS, "the same with one client: no queue"),
    Figure("api_read_cpu_ms", "api", "CPU per read", "ms", _LESS, "one client reading instances only", 1, 2),
    Figure("api_read_p50_ms", "api", "p50 of a read", "ms", _LESS, "the same: one client reading an instance", 1, 2),
    Figure("hook_p50_ms", "webhook", "p50", "ms", _LESS, "contact's send to the receiver having read the request"),
    Figure("hook_p99_ms", "webhook", "p99", "ms", _LESS, "the same"),
    Figure("hook_commit_p50_ms", "webhook", "p50 from the commit", "ms", _LESS, "commit of the event to the receiver"),
    Figure("hook_commit_p99_ms", "webhook", "p99 from the commit", "ms", _LESS, "the same"),
    Figure(
        "hook_cpu_ms", "webhook", "CPU per delivery", "ms", _LESS, "what deliveries add, windows with and without",
        1, 2,
    ),
    Figure(
        "hook_per_cpu_s", "webhook", "deliveries per CPU second", "", _MORE,
        "replay of the log, nothing else going on", 1, 0,
    ),
    Figure("soak_s", "soak", "length", "s", _NEITHER, "from the first to the last sample", 1, 0),
    Figure("soak_messages", "soak", "messages", "", _NEITHER, "both ways, offered meanwhile", 1, 0),
    Figure("soak_webhooks", "soak", "webhooks", "", _NEITHER, "events that arrived at the receiver", 1, 0),
    Figure("soak_reads", "soak", "API reads", "", _NEITHER, "answered well meanwhile", 1, 0),
    Figure("soak_faults", "soak", "faults", "", _NEITHER, "armed at random from the seed", 1, 0),
    Figure("soak_lost", "soak", "lost", "", _LESS, "messages and webhooks that did not arrive", 1, 0),
    Figure(
        "soak_uss_slope_kib_per_h", "soak", "USS slope", "KiB/h", _LESS, "least squares behind the first fifth", 1,
        0,
    ),
    Figure("soak_uss_slope_low", "soak", "  low end", "KiB/h", _LESS, "of the 95 % interval", 1, 0),
    Figure("soak_uss_slope_high", "soak", "  high end", "KiB/h", _LESS, "of the 95 % interval", 1, 0),
    Figure("soak_stall_p99_ms", "soak", "event loop stall p99", "ms", _LESS, "over all of it"),
    Figure("soak_stall_max_ms", "soak", "longest stall", "ms", _LESS, "over all of it"),
    Figure(
        "soak_fd_slope_per_h", "soak", "file descriptors' slope", "/h", _LESS,
        "least squares behind the first fifth",
    ),
    Figure("soak_fd_slope_low", "soak", "  low end", "/h", _LESS, "of the 95 % interval"),
    Figure("soak_task_slope_per_h", "soak", "tasks' slope", "/h", _LESS, "least squares behind the first fifth"),
    Figure("soak_task_slope_low", "soak", "  low end", "/h", _LESS, "of the 95 % interval"),
    Figure("soak_wal_mib_max", "soak", "largest WAL", "MiB", _LESS, "of all samples"),
    *_restart("resume", "resume", "subject killed and started: from its start until all are connected"),
    Figure("resume_serving_s", "resume", "serving again", "s", _LESS, "from its start until it answers", 1, 2),
    Figure("resume_uss", "resume", "USS afterwards", "MiB", _LESS, "with all connected and idle", MIB),
    *_restart("storm", "storm", "sandbox killed and started: from its listening until all are connected"),
    Figure(
        "storm_answer_p99_ms", "storm", "API answers meanwhile, p99", "ms", _LESS,
        "a request, its answer, a tenth of a second, the next",
    ),
)  # fmt: skip

FIGURES: Final[Mapping[str, Figure]] = {figure.key: figure for figure in _TABLE}
SCENARIO_TITLES: Final[Mapping[str, str]] = {
    "connect": "Connected and idle",
    "inbound": "Messages in",
    "outbound": "Messages out",
    "api": "API, mixed requests",
    "webhook": "Webhooks",
    "soak": "Soak",
    "resume": "Subject killed: resume",
    "storm": "Server killed: reconnect storm",
}
"""In the order in which they are shown."""


def of_scenario(scenario: str) -> tuple[Figure, ...]:
    """The figures of one scenario, in the order of the table."""
    return tuple(figure for figure in _TABLE if figure.scenario == scenario)
