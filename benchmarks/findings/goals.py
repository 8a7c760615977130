"""What the project wants to reach, as checks over the results of a run.

Rule: a goal that was not measured says so; it is never met by silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from benchmarks.findings.figures import BAILEYS, KIB, MIB, WHATISUP
from benchmarks.findings.fits import exponent
from benchmarks.findings.results import Results

GROWTH: Final = 0.1
"""An exponent of the cost per session up to which noise explains it."""
ANSWERED_MS: Final = 1000.0
"""Our own bound for "requests are still answered" during a storm."""
NEARLY: Final = 0.98
"""What of a rate has to be offered for the times at that rate to count."""
FURTHER_TO: Final = 200
"""A further session's price is that of those from ten up to so many, or to the largest size below that was measured."""


class Verdict(Enum):
    """What became of a goal."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Checked:
    """A goal and what was found; `key` and `size` name the row of the table that it belongs to, if it has one."""

    title: str
    bound: str
    value: str
    verdict: Verdict
    key: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: `value` takes it from the results (None: not measured), `is_met` says whether that is enough.

    Where `size_of` says at which size it was taken, that stands in the title for `{n}`; `size` does until it was.
    """

    title: str
    bound: str
    shown: Callable[[float], str]
    value: Callable[[Results], float | None]
    is_met: Callable[[float], bool]
    key: str = ""
    size: int = 0
    size_of: Callable[[Results], int | None] | None = None

    def check(self, results: Results) -> Checked:
        """Hold the results against it."""
        size = (None if self.size_of is None else self.size_of(results)) or self.size
        title, found = self.title.format(n=size), self.value(results)
        if found is None:
            return Checked(title, self.bound, "–", Verdict.NOT_MEASURED, self.key, size)
        verdict = Verdict.MET if self.is_met(found) else Verdict.MISSED
        return Checked(title, self.bound, self.shown(found), verdict, self.key, size)


def _of(key: str, size: int, scale: float = 1.0) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = results.median(key, WHATISUP, size)
        return None if found is None else found / scale

    return value


def _of_largest(key: str) -> Callable[[Results], float | None]:
    """Of the largest size that has it."""

    def value(results: Results) -> float | None:
        found = results.by_size(key, WHATISUP)
        return found[max(found)].median if found else None

    return value


def _at_rate(key: str, offered: str, per_s: float, size: int) -> Callable[[Results], float | None]:
    """A time that counts only where at least `per_s` was offered."""

    def value(results: Results) -> float | None:
        rate = results.median(offered, WHATISUP, size)
        return None if rate is None or rate < NEARLY * per_s else results.median(key, WHATISUP, size)

    return value


def _ratio(key: str, size: int, over: str, under: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = results.ratio(key, size, over, under)
        return None if found is None else found.median

    return value


def _furthest(results: Results) -> int | None:
    """Up to which size a further session's price is taken."""
    return max((n for n in results.by_size("session_uss", WHATISUP) if n <= FURTHER_TO), default=None)


def _further_session(results: Results) -> float | None:
    size = _furthest(results)
    return None if size is None else _of("session_uss", size, KIB)(results)


def _furthest_of_both(results: Results) -> int | None:
    """The same, of sizes that both subjects were measured at."""
    sizes = (n for n in results.by_size("session_uss", WHATISUP) if n <= FURTHER_TO)
    return max((n for n in sizes if results.ratio("session_uss", n) is not None), default=None)


def _further_session_ratio(results: Results) -> float | None:
    size = _furthest_of_both(results)
    return None if size is None else _ratio("session_uss", size, BAILEYS, WHATISUP)(results)


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost whose growth with N is fitted. `of_one` says what one session, or message, costs.

    It gets the figure at N, N, and the figure at N = 1 where that was measured.
    """

    title: str
    key: str
    of_one: Callable[[float, int, float | None], float]
    is_goal: bool = True

    def costs(self, results: Results, subject: str) -> Mapping[int, float]:
        """The cost of one, by N; those that noise made negative are left out."""
        found = results.by_size(self.key, subject)
        base = found[1].median if 1 in found else None
        ones = ((size, self.of_one(summary.median, size, base)) for size, summary in found.items() if summary.median)
        return {size: cost for size, cost in ones if cost > 0}

    def exponent(self, results: Results, subject: str) -> float | None:
        """The `a` of cost ~ N^a; the cost of all N together goes with N^(1 + a)."""
        return exponent(self.costs(results, subject))


def _same(value: float, _size: int, _base: float | None) -> float:
    return value


def _further(value: float, size: int, base: float | None) -> float:
    """What each further one costs, if the cost of a process with a single one is known."""
    return value / size if base is None else (value - base) / (size - 1) if size > 1 else 0.0


def _inverse(value: float, _size: int, _base: float | None) -> float:
    return 1 / value


COSTS: Final = (
    Cost("memory of a further session", "session_uss", _same),
    Cost("idle CPU of a further session", "idle_cpu_share", _further),
    Cost("time to pair a further session", "connect_s", _further, is_goal=False),
    Cost("CPU to resume a further session", "resume_cpu_s", _further),
    Cost("CPU of a further session in a storm", "storm_cpu_s", _further, is_goal=False),
    Cost("CPU of a message in", "in_per_cpu_s", _inverse),
    Cost("CPU of a message out", "out_per_cpu_s", _inverse),
)


def _number(digits: int, unit: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}{f' {unit}' if unit else ''}"


def _times(value: float) -> str:
    return f"x {value:.2f}"


def _most(bound: float) -> Callable[[float], bool]:
    return lambda value: value <= bound


def _least(bound: float) -> Callable[[float], bool]:
    return lambda value: value >= bound


def _flat(title: str, key: str, unit: str) -> Goal:
    """A slope: met where the 95 % interval does not lie above zero. Its low end is what is checked."""
    bound = "low end of the 95 % interval ≤ 0"
    return Goal(title, bound, _number(1, unit), _of_largest(key), _most(0.0))


def _grows(cost: Cost) -> Goal:
    return Goal(
        f"{cost.title} does not grow with N", f"exponent ≤ {GROWTH:g}", _number(2),
        lambda results: cost.exponent(results, WHATISUP), _most(GROWTH),
    )  # fmt: skip


GOALS: Final = (
    Goal(
        "memory of a further session, idle, N = 10 to {n}", "≤ 150 KiB", _number(0, "KiB"), _further_session,
        _most(150), "session_uss", FURTHER_TO, _furthest,
    ),
    Goal(
        "Baileys' further session over ours, N = 10 to {n}", "≥ x 7", _times, _further_session_ratio, _least(7),
        size=FURTHER_TO, size_of=_furthest_of_both,
    ),
    Goal(
        "whole process at N = 50, RSS over Baileys'", "< x 0.5", _times, _ratio("rss", 50, WHATISUP, BAILEYS),
        lambda v: v < 0.5, "rss", 50,
    ),
    Goal(
        "whole process at N = 1000, RSS", "< 300 MiB", _number(0, "MiB"), _of("rss", 1000, MIB), lambda v: v < 300,
        "rss", 1000,
    ),
    Goal("1000 stored sessions resumed", "≤ 15 s", _number(1, "s"), _of("resume_s", 1000), _most(15), "resume_s", 1000),
    Goal(
        "event loop stall p99 in a storm of 1000", "< 50 ms", _number(1, "ms"), _of("storm_stall_p99_ms", 1000),
        lambda v: v < 50, "storm_stall_p99_ms", 1000,
    ),
    Goal(
        "event loop stall p99 while 1000 resume", "< 50 ms", _number(1, "ms"), _of("resume_stall_p99_ms", 1000),
        lambda v: v < 50, "resume_stall_p99_ms", 1000,
    ),
    Goal(
        "requests answered in a storm of 1000, p99", f"≤ {ANSWERED_MS:g} ms", _number(0, "ms"),
        _of("storm_answer_p99_ms", 1000), _most(ANSWERED_MS), "storm_answer_p99_ms", 1000,
    ),
    Goal(
        "messages in per CPU second, N = 50", "≥ 1500", _number(0), _of("in_per_cpu_s", 50), _least(1500),
        "in_per_cpu_s", 50,
    ),
    Goal(
        "messages in per CPU second over Baileys', N = 50", "≥ x 1", _times,
        _ratio("in_per_cpu_s", 50, WHATISUP, BAILEYS), _least(1),
    ),
    Goal(
        "p99 to durable row, 500/s offered", "≤ 50 ms", _number(1, "ms"),
        _at_rate("in_goal_p99_ms", "in_goal_offered_per_s", 500, 50), _most(50), "in_goal_p99_ms", 50,
    ),
    Goal(
        "messages out per CPU second, N = 50", "≥ 500", _number(0), _of("out_per_cpu_s", 50), _least(500),
        "out_per_cpu_s", 50,
    ),
    Goal(
        "p99 POST to phone, 100/s offered", "≤ 100 ms", _number(1, "ms"),
        _at_rate("out_goal_p99_ms", "out_goal_offered_per_s", 100, 50), _most(100), "out_goal_p99_ms", 50,
    ),
    Goal(
        "1000 idle instances, of a core", "≤ 5 %", _number(1, "%"), _of("idle_cpu_share", 1000, 0.01), _most(5),
        "idle_cpu_share", 1000,
    ),
    _flat("no slope in memory over the soak", "soak_uss_slope_low", "KiB/h"),
    _flat("no slope in file descriptors", "soak_fd_slope_low", "/h"),
    _flat("no slope in tasks", "soak_task_slope_low", "/h"),
    Goal("nothing lost in the soak", "0", _number(0), _of_largest("soak_lost"), _most(0)),
    *(_grows(cost) for cost in COSTS if cost.is_goal),
)  # fmt: skip


def checked(results: Results) -> Sequence[Checked]:
    """All goals held against the results, in the order of the table."""
    return [goal.check(results) for goal in GOALS]
