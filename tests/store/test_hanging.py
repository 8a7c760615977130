"""A database that hangs without a word: given up in time, by tasks that live and by tasks that must end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import text

from tests.conftest import TEST_SECRETS
from whatisup.errors import StoreUnavailable
from whatisup.store import Database, Store


class Hanging:
    """A store whose every call hangs until `freed`; it counts who has entered."""

    is_local = False

    def __init__(self) -> None:
        self.freed = threading.Event()
        self.entered = 0

    def hang(self, *_: Any) -> None:
        self.entered += 1
        assert self.freed.wait(30)

    read = commit = probe = hang


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr("whatisup.store.database.READ_S", 0.2)
    monkeypatch.setattr("whatisup.store.database.COMMIT_S", 0.2)
    store = Hanging()
    yield store
    store.freed.set()


async def test_hanging_database_counts_as_unavailable_in_time(store: Hanging) -> None:
    database = Database(store)  # type: ignore[arg-type]  # as much of a Store as is used
    with trio.fail_after(10):
        for ask in (lambda: database.read(print), lambda: database.commit(()), database.probe):
            with pytest.raises(StoreUnavailable, match="has not answered"):
                await ask()


async def test_hanging_threads_do_not_pile_up(store: Hanging) -> None:
    database = Database(store, readers=1)  # type: ignore[arg-type]  # as much of a Store as is used
    with trio.fail_after(10):
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                await database.read(print)
    assert store.entered == 1
    store.freed.set()
    with trio.fail_after(10):
        await database.read(print)


async def test_who_is_cancelled_waits_for_a_hanging_database_no_longer_than_others(store: Hanging) -> None:
    database = Database(store)  # type: ignore[arg-type]  # as much of a Store as is used
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.read, print)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert store.entered == 1


async def test_what_was_begun_is_finished_though_its_author_is_cancelled(store: Hanging) -> None:
    database = Database(store)  # type: ignore[arg-type]  # as much of a Store as is used
    has_answered = False

    async def ask() -> None:
        nonlocal has_answered
        await database.commit(())
        has_answered = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        store.freed.set()
    assert has_answered


def test_read_that_takes_too_long_is_interrupted(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    monkeypatch.setattr("whatisup.store.sqlite.READ_TIMEOUT_S", 0.2)
    with Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS, readers=1) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="INTERRUPT"):
                store.read(lambda conn, _: conn.execute(text(endless)).all())
        assert store.read(lambda conn, _: conn.execute(text("SELECT 1")).scalar_one()) == 1
