"""When the database cannot answer: what was committed is known to be, what was not is known not to be."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event as Signal

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.conftest import TEST_SECRETS
from tests.postgres import Postgres
from tests.store.proxy import PATIENCE_S, Proxy, Trap
from tests.store.world import World, make_customer, read_events, told
from whatisup.errors import StoreUnavailable
from whatisup.store import Call, Committed, NewAuth, PutAuth, Store, Tx, WipeAuth


def texts(world: World) -> list[str]:
    return [event.data["text"] for event in world.events() if event.data]


# --- PostgreSQL: a commit whose answer is lost ----------------------------------------------------------------------


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="wiu-", dir=postgres.folder.parent) as folder:
        proxy = Proxy(Path(folder), postgres.folder)
        yield proxy
        proxy.close()


@pytest.fixture
def remote(proxy: Proxy, postgres: Postgres, postgres_url: str) -> Iterator[World]:
    """A world whose store talks through the proxy."""
    url = postgres_url.replace(str(postgres.folder), str(proxy.folder))
    with Store.open(url, TEST_SECRETS) as store:
        yield World(store)


@pytest.mark.parametrize("trap", [Trap.LOSE_REPLY, Trap.LOSE_REQUEST])
def test_lost_commit_is_settled(proxy: Proxy, remote: World, trap: Trap) -> None:
    """Committed or not, the batch ends up there exactly once, and its author learns that it did."""
    proxy.trap = trap
    results = remote.store.commit([remote.unit(told("once")), Call(lambda tx: "value")])
    assert proxy.sprung.is_set()
    assert isinstance(results[0], Committed)
    assert results[1] == "value"
    assert texts(remote) == ["once"]
    assert results.events == tuple(remote.events())


def test_commit_that_arrives_late_is_waited_for(proxy: Proxy, remote: World) -> None:
    """The server has the transaction open still; settling must not take that for "not committed"."""
    proxy.trap = Trap.DELAY_REQUEST
    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(remote.store.commit, [remote.unit(told("once"))])
        assert proxy.sprung.wait(PATIENCE_S)
        _await_waiter(remote)
        assert not committing.done()
        proxy.release.set()
        (result,) = committing.result(PATIENCE_S)
    assert isinstance(result, Committed)
    assert texts(remote) == ["once"]


def _await_waiter(world: World) -> None:
    """Wait until some session waits for a lock of another one."""
    for _ in range(PATIENCE_S * 100):
        waiting = world.store.read(
            lambda conn, _: conn.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'")
            ).scalar_one()
        )
        if waiting:
            return
        Signal().wait(0.01)
    raise AssertionError("nobody waits")


def test_outcome_that_cannot_be_asked_for_is_said_to_be_unknown(proxy: Proxy, remote: World) -> None:
    proxy.trap = Trap.LOSE_SERVER
    with pytest.raises(StoreUnavailable, match="unknown"):
        remote.store.commit([remote.unit(told("once"))])


def test_conflict_that_never_ends_is_given_up(remote: World) -> None:
    tries = []

    def collide(tx: Tx) -> None:
        tries.append(1)
        tx.conn.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    with pytest.raises(StoreUnavailable, match="3 tries"):
        remote.store.commit([remote.unit(told("never")), Call(collide)])
    assert len(tries) == 3
    assert remote.events() == []


def test_connection_that_was_killed_is_replaced(remote: World, postgres: Postgres) -> None:
    name = remote.store.read(lambda conn, _: conn.execute(text("SELECT current_database()")).scalar_one())
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    remote.write(told("after"))
    assert texts(remote) == ["after"]


def test_connection_killed_in_the_middle_fails_the_batch_as_unavailable(remote: World, postgres: Postgres) -> None:
    def suicide(tx: Tx) -> None:
        pid = tx.conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        postgres.execute(f"SELECT pg_terminate_backend({pid})")
        tx.conn.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        remote.store.commit([remote.unit(told("never")), Call(suicide)])
    assert remote.events() == []
    remote.write(told("after"))


def test_deadlock_is_tried_again(remote: World, postgres_url: str) -> None:
    """Somebody else locks rows in the other order; the batch is tried again and nobody hears of it."""
    world = remote
    second = world.another()
    tries = []

    def lock_both(tx: Tx) -> None:
        tries.append(1)
        for update in waiting:
            update.result(PATIENCE_S)  # our first try is undone, so the other one got its row
        tx.conn.execute(text("UPDATE instances SET name = 'a' WHERE id = :id"), {"id": world.id})
        if len(tries) == 1:
            # `other` holds `second` and asks for ours, which makes the circle; the server picks one of us.
            other.execute("UPDATE instances SET name = 'b' WHERE id = %s", (second.id,))
            waiting.append(pool.submit(other.execute, "UPDATE instances SET name = 'b' WHERE id = %s", (world.id,)))
            _await_waiter(world)
        tx.conn.execute(text("UPDATE instances SET name = 'a' WHERE id = :id"), {"id": second.id})

    waiting: list[Future[object]] = []
    with psycopg.connect(postgres_url) as other, ThreadPoolExecutor(2) as pool:
        other.execute("SET deadlock_timeout = '60s'")  # so that it is ours that is chosen
        committing = pool.submit(world.store.call, lock_both)
        for _ in range(PATIENCE_S * 100):
            if len(tries) > 1:
                break
            Signal().wait(0.01)
        other.rollback()
        committing.result(PATIENCE_S)
    assert len(tries) == 2
    assert world.row(second.id).name == "a"


# --- SQLite: a database that cannot be written ----------------------------------------------------------------------


def test_file_locked_by_others_is_unavailable(
    sqlite_store: Store, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(sqlite_store)
    sqlite_store._backend._tell_writer("busy_timeout=50")  # type: ignore[attr-defined] # so as not to wait 5 s
    intruder = sqlite3.connect(sqlite_path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        sqlite_store.commit([world.unit(told("never"))])
    with pytest.raises(StoreUnavailable):
        sqlite_store.probe()
    assert world.events() == [], "reading goes on"
    intruder.execute("ROLLBACK")
    intruder.close()
    world.write(told("after"))


def test_full_disk_is_unavailable_and_loses_nothing(sqlite_store: Store) -> None:
    world = World(sqlite_store)
    world.write(NewAuth(), PutAuth("own", "a", b"1"))
    pages = sqlite_store.call(lambda tx: tx.conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    sqlite_store._backend._tell_writer(f"max_page_count={pages}")  # type: ignore[attr-defined] # a full disk
    with pytest.raises(StoreUnavailable, match="full"):
        sqlite_store.commit([world.unit(PutAuth("own", "big", b"x" * 100_000), told("never"))])
    assert world.auth("a") == b"1"
    assert world.events() == []
    sqlite_store._backend._tell_writer("max_page_count=1073741823")  # type: ignore[attr-defined] # space again
    world.write(told("after"))
    assert texts(world) == ["after"]


def grow(tx: Tx) -> None:
    tx.conn.exec_driver_sql("INSERT INTO settings VALUES ('ballast', hex(zeroblob(100000)), 0)")


def grow_and_shrug(tx: Tx) -> None:
    try:
        grow(tx)
    except DBAPIError:
        raise ValueError("whatever it was") from None


@pytest.mark.parametrize("call", [grow, grow_and_shrug])
def test_disk_that_fills_up_inside_a_call_undoes_the_whole_batch(
    sqlite_store: Store, call: Callable[[Tx], None]
) -> None:
    """SQLite ends the transaction by itself then: what follows in the batch would be written on its own."""
    world = World(sqlite_store)

    def tell(tx: Tx) -> None:
        tx.append_event(world.id, "instance.status", {"text": "never"})

    pages = sqlite_store.call(lambda tx: tx.conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    sqlite_store._backend._tell_writer(f"max_page_count={pages}")  # type: ignore[attr-defined] # a full disk
    with pytest.raises(StoreUnavailable, match="gave up"):
        sqlite_store.commit([Call(tell), Call(call), Call(tell), world.unit(told("never"))])
    assert world.events() == []
    sqlite_store._backend._tell_writer("max_page_count=1073741823")  # type: ignore[attr-defined] # space again
    world.write(told("after"))
    assert [(event.data, event.position, event.seq) for event in world.events()] == [({"text": "after"}, 1, 1)]


# --- SQLite: the log and its checkpoints ----------------------------------------------------------------------------


def log_size(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def test_commits_never_checkpoint_below_the_bound(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    size = sqlite_path.stat().st_size
    for i in range(200):
        world.write(told(f"{i}" * 3000))
    assert sqlite_path.stat().st_size == size
    assert log_size(sqlite_path) > 1000 * 4096, "more than SQLite's own bound, so it is switched off"


def test_checkpoint_moves_the_log_beside_the_writer(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    for i in range(200):
        world.write(told(f"{i}" * 3000))
    size = log_size(sqlite_path)
    sqlite_store.checkpoint()
    assert sqlite_path.stat().st_size > 1_000_000
    world.write(told("next"))
    assert log_size(sqlite_path) == size, "the log starts over instead of growing"


def test_log_above_its_bound_is_cut_between_batches(
    sqlite_store: Store, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whatisup.store.sqlite.MAX_LOG_BYTES", 1 << 20)
    sqlite_store._backend._next_restart_bytes = 1 << 20  # type: ignore[attr-defined] # what a new backend starts with
    world = World(sqlite_store)
    sizes = []
    for i in range(300):
        world.write(told(f"{i}" * 3000))
        sizes.append(log_size(sqlite_path))
    assert max(sizes) < 1.5 * (1 << 20)
    assert 0 in sizes
    assert len(world.events()) == 300


def test_log_grows_on_while_a_reader_is_in_the_way(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    sqlite_store._backend._next_restart_bytes = 1  # type: ignore[attr-defined] # every commit wants to cut

    def read_slowly(conn: object, _vault: object) -> None:
        conn.execute(text("SELECT count(*) FROM events"))  # type: ignore[attr-defined] # a Connection
        world.write(told("meanwhile"))
        assert log_size(sqlite_path) > 0

    sqlite_store.read(read_slowly)
    assert sqlite_store._backend._next_restart_bytes > 16 << 20  # type: ignore[attr-defined] # and not every time


def test_wipe_beside_a_checkpoint_is_no_error(sqlite_store: Store) -> None:
    world = World(sqlite_store)
    for i in range(60):
        world.write(told(f"{i}" * 30_000))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(10):
            chore = pool.submit(sqlite_store.checkpoint)
            world.write(NewAuth(), PutAuth("own", "a", b"1"))
            world.write(WipeAuth())
            chore.result(PATIENCE_S)
    assert len(world.events()) == 60


def test_closed_store_leaves_one_file(sqlite_path: Path) -> None:
    with Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS) as store:
        customer = make_customer(store)
        store.checkpoint()
        assert read_events(store, customer.id) == []
    assert [file.name for file in sqlite_path.parent.iterdir()] == [sqlite_path.name]
