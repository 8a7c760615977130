"""`python -m benchmarks`: all sizes, a table, and a JSON file under benchmarks/results/.

Rule: bounded in time, on loopback, and every process it starts is ended.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from benchmarks.report import conditions, table, verdict, write_json
from benchmarks.size import Figures, measure

RESULTS = Path(__file__).parent / "results"
LIMIT_S = 590.0
_LOG_TAIL = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; 0 if all sizes gave figures."""
    options = _parse(arguments)
    facts = conditions()
    print(f"WhatIsUp benchmarks: Python {facts['python']}, {facts['cores']} cores, {facts['transport']},")
    print(f"{facts['store']}; a sandbox as its own process on the same machine; pacing of logins is off.")
    if options.profile:
        print("tracemalloc is on: only the list of what dominates is to be quoted.")
    runs: list[Figures] = []
    trio.run(_run, options, runs)
    if runs:
        print("\n" + table(runs) + "\n\n" + verdict(runs))
        path = RESULTS / f"{facts['at'].replace(':', '')}.json"
        write_json(runs, path)
        print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0 if len(runs) == len(options.sizes) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=(1, 50, 200), help="instances, e.g. 1,50,200")
    parser.add_argument("--idle-s", type=float, default=60.0, help="length of the idle window, seconds")
    parser.add_argument("--profile", action="store_true", help="show what an instance's memory consists of")
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split(",")))


async def _run(options: argparse.Namespace, runs: list[Figures]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        with trio.move_on_after(LIMIT_S) as limit:
            for size in options.sizes:
                figures = await _one(size, options)
                if figures is None:
                    break
                runs.append(figures)
        if limit.cancelled_caught:
            print(f"stopped after {LIMIT_S:.0f} s")
        nursery.cancel_scope.cancel()


async def _one(size: int, options: argparse.Namespace) -> Figures | None:
    """Measure one size; if it fails, say why and show its logs."""
    started_at = time.monotonic()

    def say(text: str) -> None:
        print(f"  [{time.monotonic() - started_at:5.1f} s] {text}", flush=True)

    print(f"\n{size} instance{'s' if size > 1 else ''}", flush=True)
    with tempfile.TemporaryDirectory(prefix="whatisup-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        figures: Figures | None = None
        try:
            figures = await measure(size, folder, idle_s=options.idle_s, is_profiled=options.profile, say=say)
        except* Exception as group:
            for error in group.exceptions:
                say(f"failed: {type(error).__name__}: {error}")
            _show_logs(folder)
        return figures


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
