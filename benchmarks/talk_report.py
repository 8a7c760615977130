"""The figures of messages as tables.

Rule: a ratio stands beside what it is a ratio of, and beside its bar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.fairness import COST_GOAL, HAMMERS, P99_GOAL, Bursty, Hammered
from benchmarks.latency import Spread
from benchmarks.messages import Flow
from benchmarks.talk import Talk

ENOUGH = 100
"""Messages below which a p99 says nothing."""
_WAYS = {"in": "in: contact's send to durable row", "out": "out: POST to the contact's phone"}


def milliseconds(value: float) -> str:
    """With one decimal where that says something."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def p50_and_p99(spread: Spread | None) -> str:
    """Both, of times in milliseconds."""
    return "–" if spread is None or not spread.count else f"{milliseconds(spread.p50)}/{milliseconds(spread.p99)}"


_COLUMNS: tuple[tuple[str, int, Callable[[Flow], str]], ...] = (
    ("busy", 6, lambda flow: str(flow.instances)),
    ("offered/s", 11, lambda flow: "flat out" if flow.offered_per_s is None else f"{flow.offered_per_s:g}"),
    ("messages", 10, lambda flow: str(flow.messages)),
    ("got/s", 8, lambda flow: f"{flow.per_s:.0f}"),
    ("per CPU s", 11, lambda flow: f"{flow.per_cpu_s:.0f}"),
    ("CPU ms", 8, lambda flow: f"{1000 * flow.gateway_cpu_s / flow.messages:.2f}"),
    ("sandbox's", 11, lambda flow: f"{1000 * flow.sandbox_cpu_s / flow.messages:.2f}"),
    ("way p50/p99", 14, lambda flow: p50_and_p99(flow.way)),
    ("202 p50/p99", 14, lambda flow: p50_and_p99(flow.accepted)),
)


def flows_table(flows: Sequence[Flow]) -> str:
    """A line for each flow, by direction; times in milliseconds."""
    lines: list[str] = []
    for direction, title in _WAYS.items():
        rows = [flow for flow in flows if flow.direction == direction]
        if rows:
            lines += [title, "".join(f"{name:>{width}}" for name, width, _ in _COLUMNS)]
            lines += ["".join(f"{cell(flow):>{width}}" for _, width, cell in _COLUMNS) for flow in rows]
    return "\n".join(lines)


def _bursty_lines(found: Bursty) -> list[str]:
    """One direction: the others' p99, calm and during the bursts of one."""
    calm, disturbed = found.calm, found.disturbed
    word = "met" if found.factor <= P99_GOAL else "MISSED"
    if min(calm.count, disturbed.count) < ENOUGH:
        word = "too few messages to tell"
    return [
        f"{found.direction}: one of {found.instances} bursts at {found.burst_per_s:.0f}/s; p99 of the others"
        f" {milliseconds(calm.p99)} ms calm ({calm.count}), {milliseconds(disturbed.p99)} ms meanwhile"
        f" ({disturbed.count}): x {found.factor:.2f}, bar x {P99_GOAL:g}: {word}"
    ]


def _hammered_lines(found: Hammered) -> list[str]:
    """One direction: the others' throughput, calm and hammered, and how far that can be trusted."""
    calm, hammered = found.calm, found.hammered
    word = "met" if found.cost < COST_GOAL else "MISSED"
    if found.noise > COST_GOAL:
        word = "too noisy to tell"
    return [
        f"{found.direction}: {HAMMERS} equal Idempotency-Keys at once, {found.waves} times, beside {found.instances}"
        f" instances flat out: {mean(w.per_s for w in calm):.0f}/s in calm,"
        f" {mean(w.per_s for w in hammered):.0f}/s hammered:"
        f" cost {_share(found.cost)}, bar {_share(COST_GOAL)}: {word}",
        f"   (of the gateway's CPU {_share(found.cpu_cost)}; calm windows differ by {_share(found.noise)}; in calm the"
        f" gateway used {_share(mean(w.gateway_share for w in calm))} of a core; each time one message came of it)",
    ]


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def talk_report(found: Talk) -> str:
    """All of it, with what it was measured under."""
    lines = [f"messages: limits and pacing off; {found.durability}", flows_table(found.flows)]
    for bursty in found.bursty:
        lines += _bursty_lines(bursty)
    for hammered in found.hammered:
        lines += _hammered_lines(hammered)
    return "\n".join(lines)
