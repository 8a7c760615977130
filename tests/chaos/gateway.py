"""`whatisup serve` on a disk that can fill up, and that says with which durability it writes.

While the file that `CHAOS_FULL` names exists, the SQLite database may not grow by a page (`max_page_count` holds for
one connection only, so nobody else can set it). What the writer's own connection says of its durability is appended to
`CHAOS_DURABILITY` at the first commit. Nothing else differs from the real program.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import trio

from api.cli import main
from whatisup.store.backend import Backend
from whatisup.store.sqlite import SqliteBackend
from whatisup.store.store import Store, Strategy, Written

FULL = Path(os.environ["CHAOS_FULL"])
DURABILITY = Path(os.environ["CHAOS_DURABILITY"])
NO_ROOM, ROOM = 1, 1 << 30  # pages; a database that has more keeps what it has

SQLITE = {"synchronous": "PRAGMA synchronous", "journal_mode": "PRAGMA journal_mode"}
POSTGRES = {name: f"SHOW {name}" for name in ("fsync", "synchronous_commit", "full_page_writes")}


class Watch:
    """Stands before every transaction of the store."""

    def __init__(self) -> None:
        self._write = Store._write
        self._has_asked = False

    def write(self, store: Store, batch: Sequence[Any], strategy: Strategy, **how: bool) -> Written:
        backend = store._backend
        if isinstance(backend, SqliteBackend):
            backend._tell_writer(f"max_page_count={NO_ROOM if FULL.exists() else ROOM}")
        if not self._has_asked:
            self._has_asked = True
            self._ask(backend)
        return self._write(store, batch, strategy, **how)

    def _ask(self, backend: Backend) -> None:
        questions = SQLITE if isinstance(backend, SqliteBackend) else POSTGRES
        with backend.writer.connect() as connection, DURABILITY.open("a") as log:
            answers = {name: connection.exec_driver_sql(sql).scalar_one() for name, sql in questions.items()}
            log.write(" ".join(f"{name}={value}" for name, value in answers.items()) + "\n")


def _is_ours(frame: FrameType) -> bool:
    return "site-packages" not in frame.f_code.co_filename


def show_tasks(*_: object) -> None:
    """Write where every task stands: `kill -USR1` of a gateway that hangs puts it into the log."""
    waiting = [trio.lowlevel.current_root_task()]
    for task in waiting:
        waiting += [child for nursery in getattr(task, "child_nurseries", ()) for child in nursery.child_tasks]
        frames = [] if task is None else [frame for frame, _ in task.iter_await_frames()]
        ours = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in frames if _is_ours(frame)]
        sys.stderr.write(f"--- {task} {' > '.join(ours)}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, show_tasks)
    watch = Watch()
    Store._write = lambda *given, **how: watch.write(*given, **how)  # type: ignore[method-assign]  # the seam below every write
    main()
