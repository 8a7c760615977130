"""The figures of webhooks, API and event stream as tables.

Rule: a ratio stands beside what it is a ratio of, and a figure that noise could have made says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.asking import Asking
from benchmarks.edge import Edge
from benchmarks.sse import Fanout, slower
from benchmarks.talk_report import ENOUGH, milliseconds, p50_and_p99
from benchmarks.webhooks import Hooked

NOISY = 0.15
"""Calm windows that differ by more than this share say nothing of a difference."""

_FANOUT: tuple[tuple[str, int, Callable[[Fanout], str]], ...] = (
    ("subscribers", 11, lambda one: str(one.subscribers)),
    ("refused", 9, lambda one: str(one.refused)),
    ("events", 8, lambda one: str(one.events)),
    ("read", 9, lambda one: str(one.frames)),
    ("missing", 9, lambda one: str(one.missing)),
    ("read/s", 8, lambda one: f"{one.per_s:.0f}"),
    ("lag p50/p99", 14, lambda one: p50_and_p99(one.lag)),
    ("CPU, % of a core", 18, lambda one: f"{100 * one.share:.0f}"),
    ("way in p50/p99", 16, lambda one: p50_and_p99(one.way)),
)


def _hooked_lines(found: Hooked) -> list[str]:
    """One endpoint for all instances."""
    bare, hooked = (mean(load.cpu_ms for load in loads) for loads in (found.bare, found.hooked))
    trust = "" if found.noise <= NOISY else " (too noisy to tell)"
    return [
        f"webhooks: one endpoint, {found.instances} instances, a receiver that never fails;"
        f" {found.duplicates} came twice",
        f"   commit to arrival of the first attempt, {found.offered_per_s:g} events/s: p50/p99"
        f" {p50_and_p99(found.way)} ms ({found.way.count}{'' if found.way.count >= ENOUGH else ': too few for a p99'})",
        f"   a message in, CPU ms: {bare:.2f} without, {hooked:.2f} with a delivery: x {found.factor:.2f}, so"
        f" {found.added_cpu_ms:.2f} for a delivery{trust}; windows without differ by {100 * found.noise:.0f} %",
        f"   replay of {found.drained}, nothing else going on: {found.per_cpu_s:.0f} deliveries per CPU s of the"
        f" gateway, {found.per_s:.0f}/s",
    ]


def _asked_lines(found: Sequence[Asking]) -> list[str]:
    """A line for each number of clients, and what each kind of request took."""
    lines: list[str] = []
    for one in found:
        kinds = ", ".join(f"{kind} {p50_and_p99(spread)}" for kind, spread in sorted(one.kinds.items()))
        lines.append(
            f"api: {one.clients} client{'s' if one.clients > 1 else ''}, mixed requests: {one.per_s:.0f}/s,"
            f" {one.per_cpu_s:.0f} per CPU s of the gateway; p50/p99 {p50_and_p99(one.times)} ms"
            f" ({one.times.count}; the clients used {100 * one.clients_cpu_s / one.wall_s:.0f} % of a core)"
        )
        lines.append(f"   p50/p99 by kind, ms: {kinds}")
    if len(found) > 1 and found[0].times.p99 > 0:
        first, last = found[0], found[-1]
        lines.append(
            f"   {last.clients} clients instead of {first.clients}: x {last.per_s / first.per_s:.2f} requests/s,"
            f" p99 x {last.times.p99 / first.times.p99:.1f} ({milliseconds(first.times.p99)} to"
            f" {milliseconds(last.times.p99)} ms)"
        )
    return lines


def _streamed_lines(found: Sequence[Fanout]) -> list[str]:
    """A line for each number of subscribers; times in milliseconds."""
    head = "sse: the same events to more and more subscribers"
    lines = [head, "".join(f"{name:>{width}}" for name, width, _ in _FANOUT) + "   p99 of it"]
    for one in found:
        factor = slower(found, one)
        cells = "".join(f"{cell(one):>{width}}" for _, width, cell in _FANOUT)
        lines.append(cells + ("" if factor is None else f"{f'x {factor:.2f}':>12}"))
    return lines


def edge_report(found: Edge) -> str:
    """All of it, with what it was measured under."""
    lines = [f"customers' side: rate limits, pacing and budgets off; {found.durability}"]
    for hooked in found.hooked:
        lines += _hooked_lines(hooked)
    lines += _asked_lines(found.asked)
    if found.streamed:
        lines += _streamed_lines(found.streamed)
    return "\n".join(lines)
