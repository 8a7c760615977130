"""`python -m benchmarks`: WhatIsUp and Baileys do the same work; a table, JSON, and a report with plots.

Rule: on loopback, bounded in time, and every process it starts is ended, also by Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from benchmarks.extras.extra import EXTRAS, extra
from benchmarks.extras.profiling import PROFILE_SIZE, profile
from benchmarks.findings.figures import SCENARIO_TITLES, SUBJECTS
from benchmarks.findings.machine import described, machine
from benchmarks.findings.results import RunFolder, newest_unfinished
from benchmarks.laps import lap
from benchmarks.live import Options
from benchmarks.report.data import as_json
from benchmarks.report.markdown import write
from benchmarks.report.terminal import terminal
from benchmarks.run.plan import Plan
from benchmarks.run.progress import Progress
from benchmarks.run.runner import Runner, leaves, ticking
from whatisup.errors import SettingsError
from whatisup.store.location import PostgresServer, locate

HERE = Path(__file__).parent
RESULTS = HERE / "results"
QUICK_SIZES, FULL_SIZES = (1, 50), (1, 10, 50, 200, 1000, 2000)
QUICK_ROUNDS, FULL_ROUNDS = 5, 3
LIMIT_S = 585.0
"""A quick run ends by then, whatever is still missing."""
PLANNED_S = 560.0
"""No repetition is begun in it that would not be over by then."""
QUICK = Options(is_full=False, idle_s=8.0, paced_s=6.0, flood_out=1000)
MAX_LOAD = 0.5
"""A one-minute load from which a warning is due."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if all of it gave figures."""
    options = _parse(arguments)
    if options.database and (options.profile or options.only in EXTRAS):
        print("--database is for the scenarios; profile and extras are about SQLite alone")
        return 2
    if options.report is not None:
        return _rewrite(RunFolder(options.report))
    if options.profile or options.only in EXTRAS:
        return _text(options)
    return _run(options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more sizes, three rounds, growth, and the soak")
    parser.add_argument("--sizes", type=_sizes, help="sessions, e.g. 1,50,200")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, at most")
    parser.add_argument("--subject", choices=SUBJECTS, help="one subject alone")
    parser.add_argument("--only", choices=(*SCENARIO_TITLES, *EXTRAS), help="one scenario alone")
    parser.add_argument("--database", type=_server, metavar="URL", help="WhatIsUp on that PostgreSQL server")
    parser.add_argument("--idle-s", type=float, help="length of the idle window, seconds")
    parser.add_argument("--soak-s", type=float, default=1800.0, help="length of the soak, seconds")
    parser.add_argument("--seed", type=int, default=1, help="what the soak's faults are drawn from")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with that run")
    parser.add_argument("--fresh", action="store_true", help="do not go on with an unfinished full run")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write RESULTS.md from that run, measure nothing")
    parser.add_argument("--profile", action="store_true", help="what a session's memory consists of (tracemalloc)")
    return parser.parse_args(arguments)


def _server(text: str) -> str:
    """The URL of a PostgreSQL server."""
    try:
        location = locate(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(f"postgresql://…: {error}") from error
    if not isinstance(location, PostgresServer):
        raise argparse.ArgumentTypeError("postgresql://… is meant; SQLite is what is measured without this option")
    return text


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split(",")}))


def planned(options: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    base = Options(is_full=True) if options.full else QUICK
    return Plan(
        sizes=options.sizes or (FULL_SIZES if options.full else QUICK_SIZES),
        rounds=options.rounds or (FULL_ROUNDS if options.full else QUICK_ROUNDS),
        subjects=SUBJECTS if options.subject is None else (options.subject,),
        only=() if options.only is None else (options.only,),
        is_full=options.full,
        limit_s=None if options.full or options.only == "soak" else PLANNED_S,
        options=Options(
            is_full=base.is_full,
            idle_s=options.idle_s or base.idle_s,
            paced_s=base.paced_s,
            flood_out=base.flood_out,
            soak_s=options.soak_s,
            seed=options.seed,
            database=options.database or "",
        ),
    )


def _as_begun(options: argparse.Namespace) -> argparse.Namespace:
    """What is asked for; of a run that is gone on with, what was asked for when it began."""
    begun = {} if options.resume is None else RunFolder(options.resume).plan()
    if not begun:
        return options
    if begun.get("database", "sqlite") != Plan.database_of(options.database):
        raise SystemExit(f"that run is about {begun.get('database', 'sqlite')}: give --database as it was given then")
    words = vars(options) | {name: begun[name] for name in ("rounds", "soak_s", "idle_s", "seed")}
    words |= {"full": begun["is_full"], "sizes": tuple(begun["sizes"]), "only": next(iter(begun["only"]), None)}
    words["subject"] = begun["subjects"][0] if len(begun["subjects"]) == 1 else None
    return argparse.Namespace(**words)


def _run(options: argparse.Namespace) -> int:
    plan = planned(_as_begun(options))
    folder = _folder(options, plan.as_json())
    folder.path.mkdir(parents=True, exist_ok=True)
    found = machine(folder.path)
    folder.begin(plan.as_json(), found)
    for name, text in described(found):
        print(f"{name}: {text}")
    if found["load_1min"] > MAX_LOAD:
        print(f"Something else is running here (load {found['load_1min']:.1f}): do not quote these figures.")
    print(f"{', '.join(plan.subjects)}; N = {', '.join(map(str, plan.sizes))}; results in {_shown(folder.path)}")
    progress = Progress()
    runner = Runner(plan, folder, lap, progress)
    is_over = trio.run(_bounded, runner.run, progress, None if plan.limit_s is None else LIMIT_S)
    print("\n" + terminal(folder))
    (folder.path / "results.json").write_text(as_json(folder), encoding="utf-8")
    target = HERE if plan.is_full and folder.is_finished else folder.path
    print(f"\nwritten to {_shown(folder.path / 'results.json')} and {_shown(write(folder, target))}")
    return 0 if is_over and runner.is_whole else 1


def _folder(options: argparse.Namespace, plan: Mapping[str, Any]) -> RunFolder:
    """Where the run goes on, or a new one."""
    if options.resume is not None:
        return RunFolder(options.resume)
    found = newest_unfinished(RESULTS, lambda there: there == plan) if options.full and not options.fresh else None
    if found is not None:
        print(f"going on with {_shown(found.path)} (--fresh begins anew)")
        return found
    return RunFolder(RESULTS / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ"))


def _rewrite(folder: RunFolder) -> int:
    """The reports of a run that is there."""
    if not folder.results().records:
        print(f"no figures in {_shown(folder.path)}")
        return 1
    print(terminal(folder))
    print(f"\nwritten to {_shown(write(folder, HERE))}")
    return 0


def _text(options: argparse.Namespace) -> int:
    """An extra, or the profile: text alone."""
    size = max(options.sizes) if options.sizes else None
    found: list[str] = []
    progress = Progress()

    async def work() -> None:
        with tempfile.TemporaryDirectory(prefix="whatisup-bench-", ignore_cleanup_errors=True) as name:
            progress.begin(options.only or "profile")
            if options.profile:
                found.append(await profile(size or PROFILE_SIZE, Path(name), progress.say))
            else:
                found.append(await extra(options.only, size, Path(name), progress.say))

    try:
        trio.run(_bounded, work, progress, LIMIT_S)
    except* Exception as group:
        found = [f"failed: {type(error).__name__}: {error}" for error in leaves(group)] + [""]
    print("\n".join(found))
    return 0 if len(found) == 1 else 1


async def _bounded(work: Callable[[], Awaitable[None]], progress: Progress, limit_s: float | None) -> bool:
    """Do it until it is over, the time is up, or somebody interrupts; whether it is over."""
    is_over = False
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope, progress)
        nursery.start_soon(ticking, progress)
        with trio.move_on_after(float("inf") if limit_s is None else limit_s) as limit:
            await work()
            is_over = True
        if limit.cancelled_caught:
            progress.tell(f"stopped after {limit_s:.0f} s")
        nursery.cancel_scope.cancel()
    progress.end()
    return is_over


async def _cancel_on_signal(scope: trio.CancelScope, progress: Progress, *, task_status: trio.TaskStatus[None]) -> None:
    """Ctrl-C, SIGTERM and SIGHUP cancel the run, so that it ends its processes on the way out."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            progress.tell("interrupted: ending what runs")
            scope.cancel()


def _shown(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
