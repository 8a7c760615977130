"""`python -m benchmarks`: sizes, messages, the customers' side; tables, and a JSON file under benchmarks/results/.

Rule: bounded in time, on loopback, and every process it starts is ended.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import trio

from benchmarks.edge import PARTS, SIZE, Edge, edge
from benchmarks.edge_report import edge_report
from benchmarks.report import conditions, table, verdict, write_json
from benchmarks.size import Figures, measure
from benchmarks.talk import Talk, talk
from benchmarks.talk_report import talk_report

RESULTS = Path(__file__).parent / "results"
LIMIT_S = 590.0
MAX_LOAD = 0.5
"""A one-minute load from which a warning is due."""
_LOG_TAIL = 30

Part: TypeAlias = Callable[[int, Path, Callable[[str], None]], Awaitable[None]]


@dataclass(slots=True)
class Results:
    """What was measured so far; `failed` says whether something was not."""

    runs: list[Figures] = field(default_factory=list)
    talk: Talk = field(default_factory=Talk)
    edge: Edge = field(default_factory=Edge)
    failed: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; 0 if all gave figures."""
    options = _parse(arguments)
    facts = conditions()
    print(f"WhatIsUp benchmarks: Python {facts['python']}, {facts['cores']} cores, {facts['transport']},")
    print(f"{facts['store']}; a sandbox as its own process on the same machine;")
    print("pacing of logins and rate limits are off.")
    if facts["load"] > MAX_LOAD:
        print(f"Something else is running here (load {facts['load']:.1f}): do not quote these figures.")
    if options.profile:
        print("tracemalloc is on: only the list of what dominates is to be quoted.")
    results = Results()
    trio.run(_run, options, results)
    _report(results, RESULTS / f"{facts['at'].replace(':', '')}.json", facts)
    return 1 if results.failed else 0


def _report(results: Results, path: Path, facts: Mapping[str, Any]) -> None:
    if results.runs:
        print("\n" + table(results.runs) + "\n\n" + verdict(results.runs))
    if results.talk.flows:
        print("\n" + talk_report(results.talk))
    if results.edge.has_any:
        print("\n" + edge_report(results.edge))
    if results.runs or results.talk.flows or results.edge.has_any:
        write_json(results.runs, path, results.talk, results.edge, facts)
        print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=(1, 50, 200), help="instances, e.g. 1,50,200")
    parser.add_argument("--busy", type=_sizes, default=(1, 50), help="busy instances that messages are measured with")
    parser.add_argument("--only", choices=("sizes", "messages", *PARTS), help="measure one part alone")
    parser.add_argument("--edge", type=int, default=SIZE, help="instances that webhooks, api and sse are measured with")
    parser.add_argument("--idle-s", type=float, default=20.0, help="length of the idle window, seconds")
    parser.add_argument("--profile", action="store_true", help="show what an instance's memory consists of")
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split(",")))


async def _run(options: argparse.Namespace, results: Results) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        results.failed = True
        with trio.move_on_after(LIMIT_S) as limit:
            results.failed = not await _measure(options, results)
        if limit.cancelled_caught:
            print(f"stopped after {LIMIT_S:.0f} s")
        nursery.cancel_scope.cancel()


async def _measure(options: argparse.Namespace, results: Results) -> bool:
    """Everything that is asked for, until something fails."""

    async def idle(size: int, folder: Path, say: Callable[[str], None]) -> None:
        figures = await measure(size, folder, idle_s=options.idle_s, is_profiled=options.profile, say=say)
        results.runs.append(figures)

    async def busy(size: int, folder: Path, say: Callable[[str], None]) -> None:
        await talk(size, folder, results.talk, say)

    async def customers(size: int, folder: Path, say: Callable[[str], None]) -> None:
        await edge(size, folder, results.edge, say, parts=PARTS if options.only is None else (options.only,))

    parts: list[tuple[str, Part, int]] = []
    if options.only in (None, "sizes"):
        parts += [("connected", idle, size) for size in options.sizes]
    if options.only in (None, "messages") and not options.profile:
        parts += [("busy", busy, size) for size in options.busy]
    if options.only in (None, *PARTS) and not options.profile:
        parts.append(("watched", customers, options.edge))
    for what, part, size in parts:
        print(f"\n{size} {what} instance{'s' if size > 1 else ''}", flush=True)
        if not await _one(part, size):
            return False
    return True


async def _one(part: Part, size: int) -> bool:
    """Measure one size of one part; if it fails, say why and show its logs."""
    started_at = time.monotonic()

    def say(text: str) -> None:
        print(f"  [{time.monotonic() - started_at:5.1f} s] {text}", flush=True)

    is_done = False
    with tempfile.TemporaryDirectory(prefix="whatisup-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            await part(size, folder, say)
            is_done = True
        except* Exception as group:
            for error in leaves(group):
                say(f"failed: {type(error).__name__}: {error}")
            _show_logs(folder)
    return is_done


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The errors in a group, however deep."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def _show_logs(folder: Path) -> None:
    for path in (folder / "gateway.log", folder / "sandbox.log"):
        if path.exists():
            print(f"--- the last lines of {path.name}")
            print("\n".join(path.read_text(errors="replace").splitlines()[-_LOG_TAIL:]))


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    """Ctrl-C, SIGTERM and SIGHUP cancel the run, so that it ends its processes on the way out."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            print("interrupted")
            scope.cancel()


if __name__ == "__main__":
    sys.exit(main())
