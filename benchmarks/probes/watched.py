"""`python -m benchmarks.probes.watched serve`: the gateway, and beside it notes of its commits and of its event loop.

Rule: nothing of the gateway's own is changed or slowed: one small append for each group commit, none for a message, and
less than a microsecond for each turn of the loop.

What is noted, in the working folder: `durability.json`, what the connection of the first commit says of its settings;
`commits`, a record for each commit that appended events: unix nanoseconds, first and last position of those events; and
on request (`read_loop`) `loop.json`, how late the event loop has been (`benchmarks.probes.lateness`).
"""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import trio
from sqlalchemy import Connection

from benchmarks.probes.lateness import Lateness, LoopWatch
from whatisup.store.store import Results, Store, Written

DURABILITY = "durability.json"
COMMITS = "commits"
LOOP = "loop.json"
LOOP_S = 30.0
WANTED: Mapping[str, Mapping[str, object]] = {
    "sqlite": {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0},
    "postgresql": {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"},
}
"""By database, what a connection says of itself whose commits are durable when they return."""
ASKING: Mapping[str, str] = {"sqlite": "PRAGMA", "postgresql": "SHOW"}
"""How it is asked for such a setting."""
_WORDS: Mapping[tuple[str, object], str] = {("synchronous", 2): "FULL", ("journal_mode", "wal"): "WAL"}
"""Settings as the documentation of their database writes them."""
_RECORD = struct.Struct("<QQQ")


@dataclass(slots=True)
class Commits:
    """When the events of a gateway's log became durable."""

    _lasts: list[int] = field(default_factory=list)
    _firsts: list[int] = field(default_factory=list)
    _ns: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Commits:
        """Read what a watched gateway has noted so far."""
        raw = (folder / COMMITS).read_bytes()
        found = cls()
        for at_ns, first, last in _RECORD.iter_unpack(raw[: len(raw) // _RECORD.size * _RECORD.size]):
            found._ns.append(at_ns)
            found._firsts.append(first)
            found._lasts.append(last)
        return found

    def at_ms(self, position: int) -> float | None:
        """When the event at that position was durable, in unix milliseconds; None if no commit is known to hold it."""
        index = bisect_left(self._lasts, position)
        is_known = index < len(self._lasts) and self._firsts[index] <= position
        return self._ns[index] / 1e6 if is_known else None


def durability(folder: Path) -> str:
    """What the writer's connection of a watched gateway said, as text.

    Raises:
        RuntimeError: a commit would not be durable when it returns.
    """
    database, said = json.loads((folder / DURABILITY).read_text())
    if said != dict(WANTED[database]):
        raise RuntimeError(f"the gateway's writer is not durable: {database}: {said}")
    words = " ".join(f"{name}={_WORDS.get((name, value), value)}" for name, value in said.items())
    return f"{database}: {words} (asked of the writer's connection)"


def restart_loop(pid: int) -> None:
    """Let the watched gateway `pid` forget how late its loop has been."""
    os.kill(pid, signal.SIGUSR2)


async def read_loop(pid: int, folder: Path) -> dict[str, float]:
    """How late the loop of the watched gateway `pid`, which runs in `folder`, has been: see `Lateness.said`."""
    path = folder / LOOP
    path.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    with trio.fail_after(LOOP_S):
        while not path.exists():
            await trio.sleep(0.01)
    found: dict[str, float] = json.loads(path.read_text())
    return found


def _watch_loop() -> None:
    """Have Trio tell of each turn of its loop, and answer signals."""
    lateness, run = Lateness(), trio.run

    def say(_signal: int, _frame: FrameType | None) -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        Path(f"{LOOP}.part").write_text(json.dumps({**lateness.said(), "tasks": tasks}))
        os.replace(f"{LOOP}.part", LOOP)

    signal.signal(signal.SIGUSR1, say)
    signal.signal(signal.SIGUSR2, lambda _signal, _frame: lateness.restart())
    setattr(trio, "run", partial(run, instruments=[LoopWatch(lateness)]))  # noqa: B010 -- a plain assignment does not type


def _said(connection: Connection) -> dict[str, object]:
    """What a connection says of its settings; a database that is not known here ends the gateway."""
    database = connection.dialect.name
    names = WANTED[database]
    return {name: connection.exec_driver_sql(f"{ASKING[database]} {name}").scalar_one() for name in names}


def _watch_commits() -> None:
    """Have the store tell of each commit once it has returned, and of the connection that made the first."""
    conclude = Store._conclude
    log = os.open(COMMITS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asked: list[dict[str, object]] = []

    def watched(store: Store, written: Written) -> Results:
        if not asked:
            asked.append(_said(written.conn))
            Path(DURABILITY).write_text(json.dumps([written.conn.dialect.name, asked[0]]))
        results = conclude(store, written)
        if results.events:
            os.write(log, _RECORD.pack(time.time_ns(), results.events[0].position, results.events[-1].position))
        return results

    # Before any store is opened; what returns from `_conclude` is committed.
    setattr(Store, "_conclude", watched)  # noqa: B010 -- a plain assignment does not type


def main() -> None:
    """Run the command line, watched."""
    Path(DURABILITY).unlink(missing_ok=True)
    _watch_loop()
    _watch_commits()
    from api.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
