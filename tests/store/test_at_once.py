"""SQLite on the loop: what waits for nothing is done at once, what would wait is done in a thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from tests.store.world import World, boom, told
from whatisup.errors import SealBroken, StoreError, StoreUnavailable
from whatisup.store import Call, Committed, Database, SetStatus, Store, Tx, WipeAuth, instances
from whatisup.store.backend import LOOP_S
from whatisup.store.sqlite import READ_TIMEOUT_S, _Kept

ENDLESS = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 30000000) SELECT max(x) FROM n")


@pytest.fixture
def here(sqlite_store: Store) -> World:
    """A world in a file of ours."""
    return World(sqlite_store)


@pytest.fixture
def places(here: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each commit waited for the disk."""
    found: list[str] = []
    commit = here.store._backend.commit

    def noted(connection: Connection) -> None:
        found.append(place())
        commit(connection)

    monkeypatch.setattr(here.store._backend, "commit", noted)
    return found


def place(*_: object) -> str:
    return "loop" if threading.current_thread() is threading.main_thread() else "thread"


def texts(world: World) -> list[str]:
    return [event.data["text"] for event in world.events() if event.data]


async def test_statements_run_on_the_loop_and_the_commit_does_not(here: World, places: list[str]) -> None:
    results = await Database(here.store).commit([here.unit(told("a")), Call(place)])
    assert (type(results[0]), results[1], places) == (Committed, "loop", ["thread"])
    assert texts(here) == ["a"]
    assert [event.data for event in results.events] == [{"text": "a"}]


async def test_wipe_is_made_in_a_thread(here: World) -> None:
    results = await Database(here.store).commit([here.unit(WipeAuth()), Call(place)])
    assert results[1] == "thread"


async def test_busy_file_is_waited_for_in_a_thread(here: World, sqlite_path: Path, places: list[str]) -> None:
    with sqlite3.connect(sqlite_path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def commit() -> None:
                answers.extend(await Database(here.store).commit([here.unit(told("late")), Call(place)]))

            nursery.start_soon(commit)
            await trio.testing.wait_all_tasks_blocked()
            assert not answers
            other.execute("ROLLBACK")
    other.close()
    assert (answers[1], texts(here)) == ("thread", ["late"])
    assert (await Database(here.store).commit([Call(place)]))[0] == "loop", "the next one need not wait"


async def test_what_takes_long_is_undone_and_done_in_a_thread(here: World) -> None:
    tried: list[str] = []

    def long(tx: Tx) -> str:
        tried.append(place())
        if tried == ["loop"]:
            tx.conn.execute(ENDLESS)
        return place()

    results = await Database(here.store).commit([here.unit(told("once")), Call(long)])
    assert (tried, results[1]) == (["loop", "thread"], "thread")
    assert texts(here) == ["once"]


async def test_batch_that_would_keep_the_loop_for_long_is_written_in_a_thread(here: World) -> None:
    database = Database(here.store)
    before = database.quick_items
    for _ in range(4):
        await database.commit([Call(lambda _tx: threading.Event().wait(0.002))] * 16)
    after = database.quick_items
    assert after < before / 2
    assert set(await database.commit([Call(place)] * after)) == {"loop"}
    assert set(await database.commit([Call(place)] * (before + 1))) == {"thread"}


async def test_poison_harms_nobody_else(here: World) -> None:
    poison = SetStatus(here.instance.status, has_account=True)
    results = await Database(here.store).commit([here.unit(told("a")), here.unit(poison), Call(boom), Call(place)])
    assert isinstance(results[0], Committed)
    assert isinstance(results[1], StoreError)
    assert isinstance(results[2], Exception)
    assert texts(here) == ["a"]


async def test_commit_that_did_not_happen_is_made_again(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, failures = here.store._backend, [OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O"))]
    commit = backend.commit

    def fail_once(connection: Connection) -> None:
        if failures:
            raise failures.pop()
        commit(connection)

    monkeypatch.setattr(backend, "commit", fail_once)
    (result,) = await Database(here.store).commit([here.unit(told("once"))])
    assert (type(result), texts(here)) == (Committed, ["once"])


async def test_commit_that_failed_after_it_happened_is_settled(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, failures = here.store._backend, [OperationalError("COMMIT", None, sqlite3.OperationalError("lost"))]
    commit = backend.commit

    def fail_once(connection: Connection) -> None:
        commit(connection)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(backend, "commit", fail_once)
    (result,) = await Database(here.store).commit([here.unit(told("once"))])
    assert (type(result), texts(here)) == (Committed, ["once"])


async def test_what_was_begun_is_finished_though_its_author_is_cancelled(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, is_committing, commit = threading.Event(), threading.Event(), here.store._backend.commit
    answers: list[Any] = []

    def slow(connection: Connection) -> None:
        is_committing.set()
        assert may_end.wait(30)
        commit(connection)

    async def author() -> None:
        answers.extend(await Database(here.store).commit([here.unit(told("once"))]))

    monkeypatch.setattr(here.store._backend, "commit", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(author)
        while not is_committing.is_set():
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
        may_end.set()
    assert isinstance(answers[0], Committed)
    assert texts(here) == ["once"]


async def test_disk_that_hangs_is_given_up_and_its_transaction_is_nobody_else_s(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whatisup.store.database.COMMIT_S", 0.1)
    may_end, commit = threading.Event(), here.store._backend.commit

    def slow(connection: Connection) -> None:
        assert may_end.wait(30)
        commit(connection)

    monkeypatch.setattr(here.store._backend, "commit", slow)
    database = Database(here.store)
    for word in ("first", "second"):
        with pytest.raises(StoreUnavailable, match="has not answered"):
            await database.commit([here.unit(told(word))])
    may_end.set()
    with trio.fail_after(10):
        monkeypatch.setattr("whatisup.store.database.COMMIT_S", 10)
        await database.commit([here.unit(told("third"))])
    assert texts(here)[0] == "first"
    assert texts(here)[-1] == "third"


async def test_whoever_commits_without_the_loop_takes_their_turn(here: World) -> None:
    """A synchronous commit between the begin and the end of one on the loop waits, and neither is stuck."""
    database = Database(here.store)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(database.commit, [here.unit(told(f"a{n}"))])
                await trio.sleep(0)
                here.write(told(f"b{n}"))
    assert sorted(texts(here)) == sorted([f"{who}{n}" for who in "ab" for n in range(20)])


# --- reading --------------------------------------------------------------------------------------------------------


async def test_look_reads_on_the_loop_what_was_committed_last(here: World) -> None:
    database = Database(here.store)
    assert await database.look(lambda _conn, _vault: place()) == "loop"
    for status in ("one", "two"):
        here.write(told(status))
        assert await database.look(instances.get, here.id) == here.row()


async def test_look_that_takes_long_goes_on_in_a_thread(here: World) -> None:
    asked: list[str] = []

    def long(conn: Connection, _vault: object) -> str:
        asked.append(place())
        if asked == ["loop"]:
            conn.execute(ENDLESS)
        return place()

    assert await Database(here.store).look(long) == "thread"
    assert await Database(here.store).look(instances.get, here.id) == here.row()


async def test_look_that_took_long_keeps_away_from_the_loop_for_a_while(here: World) -> None:
    """A queue of a hundred thousand behind a chat that waits kept the loop for 25 ms at each ack of another chat."""
    database, places = Database(here.store), []

    def long(conn: Connection, _vault: object, whose: str) -> None:
        places.append((whose, place()))
        if whose == "busy" and place() == "loop":
            conn.execute(ENDLESS)

    for _ in range(3):
        await database.look(long, "busy")
        await database.look(long, "other")
    busy, other = ([where for name, where in places if name == whose] for whose in ("busy", "other"))
    assert busy == ["loop", "thread", "thread", "thread"]
    assert other == ["loop"] * 3
    database._long = dict.fromkeys(database._long, 0.0)  # later
    await database.look(long, "busy")
    assert [where for name, where in places if name == "busy"][4:] == ["loop", "thread"]


async def test_look_that_fails_leaves_the_connection_as_it_was(here: World) -> None:
    database = Database(here.store)

    def broken(_conn: Connection, _vault: object) -> None:
        raise SealBroken("x")

    with pytest.raises(SealBroken):
        await database.look(broken)
    here.write(told("later"))
    assert await database.look(instances.get, here.id) == here.row()


async def test_look_cannot_write(here: World) -> None:
    with pytest.raises(StoreError):
        await Database(here.store).look(lambda conn, _vault: conn.execute(text("DELETE FROM events")))


# --- what a batch leaves behind on its connection -------------------------------------------------------------------


@pytest.fixture
def looks_often(here: World) -> None:
    """SQLite looks at the clock after a few instructions, which it counts over all executions of a statement."""
    kept = cast("Any", here.store._backend)._kept
    kept._driver.set_progress_handler(lambda: time.monotonic() > kept.until, 16)


@pytest.mark.usefixtures("looks_often")
async def test_patience_of_the_loop_is_over_with_its_batch(here: World) -> None:
    """Some hours' worth of batches in threads: the PRAGMA before one of them was interrupted, and that was the end."""
    database = Database(here.store)
    for _ in range(8):
        await database.commit([Call(place)])
        await trio.sleep(1.2 * LOOP_S)
        assert (await database.commit([here.unit(WipeAuth()), Call(place)]))[1] == "thread"


@pytest.mark.usefixtures("looks_often")
async def test_commit_that_takes_long_is_not_interrupted(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commits, run = [], _Kept.run

    def slow(kept: _Kept, statement: str) -> None:
        if statement == "COMMIT":
            threading.Event().wait(1.2 * LOOP_S)
            commits.append(statement)
        run(kept, statement)

    monkeypatch.setattr(_Kept, "run", slow)
    database = Database(here.store)
    for _ in range(10):
        await database.commit([Call(place)])
    assert len(commits) == 10, "none had to be made again"


async def test_log_that_starts_over_leaves_no_patience_to_the_loop(here: World, sqlite_path: Path) -> None:
    """The loop waited five seconds for another process's transaction from then on."""
    database, backend = Database(here.store), cast("Any", here.store._backend)
    for _ in range(2):
        backend._truncate_wanted = True
        await database.commit([Call(place)])
    with sqlite3.connect(sqlite_path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        begun_at = time.monotonic()
        assert here.store.start([Call(place)]) is None
        assert time.monotonic() - begun_at < 1
        other.execute("ROLLBACK")
    other.close()


async def test_batches_that_take_too_long_are_learnt_from(here: World) -> None:
    """Each was begun on the loop for 25 ms and done again in a thread, for ever."""
    database, tried = Database(here.store), []

    def long(tx: Tx) -> None:
        tried.append(place())
        if place() == "loop":
            tx.conn.execute(ENDLESS)

    def short(_tx: Tx) -> None:
        """Take no time."""

    before = database.quick_items
    await database.commit([Call(long), *[Call(short)] * (before - 1)])
    assert tried == ["loop", "thread"]
    assert database.quick_items < before


async def test_lost_connection_is_made_anew_where_waiting_harms_nobody(here: World, sqlite_path: Path) -> None:
    backend = cast("Any", here.store._backend)
    backend._kept.connection.close()
    backend._kept = None
    with sqlite3.connect(sqlite_path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        begun_at = time.monotonic()
        assert here.store.start([Call(place)]) is None
        assert time.monotonic() - begun_at < 1
        other.execute("ROLLBACK")
    other.close()
    database = Database(here.store)
    assert [(await database.commit([Call(place)]))[0] for _ in range(2)] == ["thread", "loop"]


def test_read_is_not_interrupted_for_what_the_last_one_took(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("whatisup.store.sqlite._LOOK_EVERY", 16)
    monkeypatch.setattr("whatisup.store.sqlite.time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in range(20):
        assert here.row() is not None
        now[0] += 2 * READ_TIMEOUT_S
