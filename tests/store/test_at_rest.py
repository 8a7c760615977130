"""At rest: possession of the database is not possession of what is in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update

from tests.conftest import TEST_SECRETS
from tests.store.world import NOW, ORIGIN, World, make_customer, read_events, told
from whatisup.errors import SealBroken, SecretsError
from whatisup.store import (
    MarkDeleted,
    Mode,
    NewAuth,
    PutAuth,
    PutPrekeys,
    Secrets,
    Store,
    WipeAuth,
    auth,
    idempotency,
    instances,
    keys,
    rewrap,
    tables,
)
from whatisup.store.handlers.auth import wipe_auth
from whatisup.store.idempotency import Scope
from whatisup.store.migrations import REVISIONS
from whatisup.store.tables import auth_state, canary, data_keys, events, metadata, prekeys
from whatisup.store.transaction import Tx

OTHER_SECRETS = Secrets(key="another key that nobody has set, 1", pepper=TEST_SECRETS.pepper)


def sql(store: Store, *statements: Any) -> None:
    """Do to the rows what only somebody with the database in hands could do."""
    store.call(lambda tx: [tx.conn.execute(statement) for statement in statements])


def scalar(store: Store, query: Any) -> Any:
    return store.read(lambda conn, _: conn.execute(query).scalar_one())


def swap(store: Store, table: Any, column: str, one: Any, other: Any) -> None:
    """Exchange one column of two rows."""
    first, second = (scalar(store, select(table.c[column]).where(at)) for at in (one, other))
    sql(store, update(table).where(one).values({column: second}), update(table).where(other).values({column: first}))


# --- a value opens only in its place --------------------------------------------------------------------------------


def test_row_moved_to_another_instance_does_not_open(world: World) -> None:
    other = world.another()
    world.pair(a=b"mine")
    world.pair(other.id, b=b"theirs")
    sql(world.store, update(auth_state).where(auth_state.c.name == "a").values(instance_id=other.id))
    with pytest.raises(SealBroken):
        world.auth("a", other.id)


def test_row_moved_with_its_data_key_does_not_open(world: World, open_store: Callable[[], Store]) -> None:
    other = world.another()
    world.pair(a=b"mine")
    sql(
        world.store,
        update(data_keys).where(data_keys.c.owner == world.id).values(owner=other.id),
        update(auth_state).values(instance_id=other.id),
    )
    with pytest.raises(SealBroken):
        open_store().read(auth.get, other.id, "own", "a")


def test_two_rows_of_one_instance_swapped_do_not_open(world: World) -> None:
    world.pair(a=b"1", b=b"2")
    swap(world.store, auth_state, "sealed", auth_state.c.name == "a", auth_state.c.name == "b")
    for key in ("a", "b"):
        with pytest.raises(SealBroken):
            world.auth(key)


def test_two_prekeys_swapped_do_not_open(world: World) -> None:
    world.write(NewAuth(), PutPrekeys(((1, b"\x01" * 32), (2, b"\x02" * 32))))
    swap(world.store, prekeys, "private", prekeys.c.prekey_id == 1, prekeys.c.prekey_id == 2)
    with pytest.raises(SealBroken):
        world.store.read(auth.prekey, world.id, 1)


def test_two_events_swapped_do_not_open(world: World) -> None:
    world.write(told("one"), told("two"))
    swap(world.store, events, "data", events.c.position == 1, events.c.position == 2)
    with pytest.raises(SealBroken):
        world.events()


def test_event_given_to_another_customer_does_not_open(world: World) -> None:
    world.write(told("one"))
    other = make_customer(world.store, "Grace")
    key_id = scalar(world.store, select(data_keys.c.id).where(data_keys.c.owner == other.id))
    sql(world.store, update(events).values(customer_id=other.id, data_key_id=key_id))
    with pytest.raises(SealBroken):
        read_events(world.store, other.id)


def test_event_that_keeps_its_key_does_not_open_for_another_customer(world: World) -> None:
    world.write(told("one"))
    other = make_customer(world.store, "Grace")
    sql(world.store, update(events).values(customer_id=other.id))
    with pytest.raises(SealBroken):
        read_events(world.store, other.id)


def test_value_that_was_changed_does_not_open(world: World) -> None:
    world.pair(a=b"1")
    sql(world.store, update(auth_state).values(sealed=b"\0" * 40))
    with pytest.raises(SealBroken):
        world.auth("a")


def test_idempotent_reply_of_another_key_does_not_open(world: World) -> None:
    scope = Scope(world.customer.id, Mode.LIVE, "POST", "/v1/instances")

    def answer(tx: Tx) -> None:
        for key in ("a", "b"):
            idempotency.claim(tx, scope, key, b"h" * 32, NOW)
            idempotency.complete(tx, scope, key, 201, key.encode())

    world.store.call(answer)
    table = tables.idempotency
    swap(world.store, table, "reply", table.c.key == "a", table.c.key == "b")
    with pytest.raises(SealBroken):
        world.store.read(lambda conn, vault: idempotency.look(conn, vault, scope, "a", b"h" * 32, NOW))


def test_nothing_secret_is_in_the_files(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    world.pair(credentials=b"needle-credentials")
    world.write(PutPrekeys(((1, b"needle-prekey-private-0123456789"),)), told("needle-event"))
    _, secret = world.store.call(
        lambda tx: keys.create(
            tx, customer_id=world.customer.id, mode=Mode.LIVE, name="n", origin=ORIGIN, now=NOW, scopes=()
        )
    )
    scope = Scope(world.customer.id, Mode.LIVE, "POST", "/v1/instances")
    world.store.call(idempotency.claim, scope, "k", b"h" * 32, NOW)
    world.store.call(idempotency.complete, scope, "k", 201, b"needle-reply")
    stored = b"".join(file.read_bytes() for file in sqlite_path.parent.iterdir())
    assert b"primary" in stored, "the instance's name is not secret, so this is the right file"
    assert b"needle" not in stored
    assert secret.removeprefix("zpk_live_").encode() not in stored
    assert TEST_SECRETS.key.encode() not in stored
    assert TEST_SECRETS.pepper.encode() not in stored


# --- the wrong key --------------------------------------------------------------------------------------------------


def contents(store: Store) -> dict[str, list[Any]]:
    """Every row of every table."""
    return store.read(
        lambda conn, _: {table.name: sorted(map(repr, conn.execute(select(table)))) for table in metadata.sorted_tables}
    )


@pytest.mark.parametrize(
    "wrong",
    [OTHER_SECRETS, replace(OTHER_SECRETS, previous=("yet another key that is not right",)),
     replace(TEST_SECRETS, pepper="another pepper that is not right")],
    ids=["key", "previous", "pepper"],
)  # fmt: skip
def test_wrong_key_refuses_and_changes_nothing(world: World, store_url: str, wrong: Secrets) -> None:
    world.pair(a=b"1")
    before = contents(world.store)
    with pytest.raises(SecretsError):
        Store.open(store_url, wrong)
    assert contents(world.store) == before


def test_wrong_key_leaves_the_file_alone(sqlite_path: Path) -> None:
    url = f"sqlite:///{sqlite_path}"
    with Store.open(url, TEST_SECRETS) as store:
        World(store).pair(a=b"1")
    before = {file.name: file.read_bytes() for file in sqlite_path.parent.iterdir()}
    with pytest.raises(SecretsError):
        Store.open(url, OTHER_SECRETS)
    after = {file.name: file.read_bytes() for file in sqlite_path.parent.iterdir()}
    assert after[sqlite_path.name] == before[sqlite_path.name]
    assert not after.get(f"{sqlite_path.name}-wal")


def test_wrong_key_does_not_upgrade(world: World, store_url: str) -> None:
    """A store of an older revision is looked at before it is touched."""
    sql(world.store, text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("whatisup.store.schema.REVISIONS", ("0000", *REVISIONS))
        with pytest.raises(SecretsError):
            Store.open(store_url, OTHER_SECRETS)
    assert scalar(world.store, text("SELECT version_num FROM alembic_version")) == "0000"


def test_store_with_keys_but_no_canary_is_refused(world: World, store_url: str) -> None:
    sql(world.store, delete(canary))
    with pytest.raises(SecretsError):
        Store.open(store_url, TEST_SECRETS)
    assert scalar(world.store, select(func.count()).select_from(canary)) == 0


def test_changed_canary_is_refused(world: World, store_url: str) -> None:
    sql(world.store, update(canary).values(sealed=b"\0" * 43))
    with pytest.raises(SecretsError):
        Store.open(store_url, TEST_SECRETS)


# --- rotation -------------------------------------------------------------------------------------------------------

NEW_SECRETS = Secrets(key="the next key that only tests know", pepper=TEST_SECRETS.pepper, previous=(TEST_SECRETS.key,))


def test_previous_key_still_opens(world: World, store_url: str) -> None:
    world.pair(a=b"1")
    with Store.open(store_url, NEW_SECRETS) as store:
        assert store.read(auth.get, world.id, "own", "a") == b"1"


def test_data_keys_under_two_keys_need_both(world: World, store_url: str) -> None:
    with Store.open(store_url, NEW_SECRETS) as store:
        make_customer(store)
    with pytest.raises(SecretsError):
        Store.open(store_url, TEST_SECRETS)
    with pytest.raises(SecretsError):
        Store.open(store_url, replace(NEW_SECRETS, previous=()))
    Store.open(store_url, NEW_SECRETS).close()


def test_rewrap_retires_the_previous_key(world: World, store_url: str) -> None:
    world.pair(a=b"1")
    world.write(told("before"))
    with Store.open(store_url, NEW_SECRETS) as store:
        make_customer(store)
        assert rewrap(store) == 2, "one instance's and one customer's key; the new customer's is current already"
        assert rewrap(store) == 0
    with Store.open(store_url, replace(NEW_SECRETS, previous=())) as store:
        assert store.read(auth.get, world.id, "own", "a") == b"1"
        assert len(read_events(store, world.customer.id)) == 1
    with pytest.raises(SecretsError):
        Store.open(store_url, TEST_SECRETS)


def test_rewrap_while_another_process_runs(world: World, store_url: str) -> None:
    """The data keys stay the same, so a server with both keys goes on reading and writing."""
    world.pair(a=b"1")
    with Store.open(store_url, NEW_SECRETS) as running, Store.open(store_url, NEW_SECRETS) as rotating:
        assert running.read(auth.get, world.id, "own", "a") == b"1"
        rewrap(rotating)
        running.commit([world.unit(PutAuth("own", "b", b"2"), told("after"))])
        assert rotating.read(auth.get, world.id, "own", "b") == b"2"


# --- wiping ---------------------------------------------------------------------------------------------------------


def in_files(path: Path, needle: bytes) -> list[str]:
    """Which of the database's files hold these bytes."""
    return [file.name for file in path.parent.iterdir() if needle in file.read_bytes()]


def wrapped_key(store: Store, owner: str) -> bytes:
    blob: bytes = scalar(store, select(data_keys.c.wrapped).where(data_keys.c.owner == owner))
    return blob


def test_wipe_leaves_no_copy_of_the_data_key(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    others = [world.another(name=str(i)) for i in range(40)]
    for other in others[:20]:
        world.pair(other.id, a=b"x" * 300)
    world.pair(a=b"1")
    for other in others[20:]:
        world.pair(other.id, a=b"x" * 300)
    needle = wrapped_key(world.store, world.id)
    log = f"{sqlite_path.name}-wal"
    assert in_files(sqlite_path, needle) == [log]
    sqlite_store._backend.after_commit(wiped=True)
    assert in_files(sqlite_path, needle) == [sqlite_path.name]
    world.write(told("somebody writes the page again"), NewAuth(), instance_id=others[3].id)
    world.write(WipeAuth())
    assert in_files(sqlite_path, needle) == []
    assert world.auth("a", others[0].id) == b"x" * 300


def test_wipe_completes_once_a_slow_reader_is_gone(sqlite_store: Store, sqlite_path: Path) -> None:
    world = World(sqlite_store)
    world.pair(a=b"1")
    needle = wrapped_key(world.store, world.id)

    def read_slowly(conn: Connection, _vault: object) -> None:
        conn.execute(select(data_keys)).all()
        world.write(WipeAuth())
        assert in_files(sqlite_path, needle), "the reader's snapshot still needs the log"

    sqlite_store.read(read_slowly)
    world.write(told("the next commit, whatever it is"))
    assert in_files(sqlite_path, needle) == []


def test_wipe_that_a_crash_cut_short_completes_after_the_restart(
    sqlite_store: Store, sqlite_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(sqlite_store)
    world.pair(a=b"1")
    needle = wrapped_key(world.store, world.id)
    monkeypatch.setattr(sqlite_store._backend, "after_commit", lambda wiped: None)
    world.write(WipeAuth())
    crashed = tmp_path / "crashed" / "store.db"
    crashed.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{sqlite_path}{suffix}", f"{crashed}{suffix}")
    assert in_files(crashed, needle)
    with Store.open(f"sqlite:///{crashed}", TEST_SECRETS) as restarted:
        restarted.probe()
        assert not in_files(crashed, needle)
        assert restarted.read(instances.get, world.id) is not None


def test_rewrap_leaves_no_copy_under_the_old_key(sqlite_path: Path) -> None:
    url = f"sqlite:///{sqlite_path}"
    with Store.open(url, TEST_SECRETS) as store:
        customer = make_customer(store)
        needle = wrapped_key(store, customer.id)
    with Store.open(url, NEW_SECRETS) as store:
        assert in_files(sqlite_path, needle)
        rewrap(store)
        assert not in_files(sqlite_path, needle)


def test_wiped_key_leaves_the_cache(world: World) -> None:
    world.pair(a=b"1")
    key_id = scalar(world.store, select(data_keys.c.id).where(data_keys.c.owner == world.id))
    assert world.auth("a") == b"1"
    assert world.store.read(lambda _, vault: vault.cached(key_id)) is not None
    world.write(WipeAuth(), MarkDeleted(NOW))
    assert world.store.read(lambda _, vault: vault.cached(key_id)) is None


def test_copy_of_wiped_rows_opens_for_nobody(world: World) -> None:
    """Rows that come back (from a backup) find no data key, even under the right SECRETS_KEY."""
    world.pair(a=b"1")
    rows = world.store.read(lambda conn, _: [dict(row._mapping) for row in conn.execute(select(auth_state))])
    world.write(WipeAuth())
    sql(world.store, insert(auth_state).values(rows))
    with pytest.raises(SealBroken):
        world.auth("a")
    world.pair()
    sql(world.store, insert(auth_state).values(rows))
    with pytest.raises(SealBroken):
        world.auth("a")


def test_instance_survives_reading_after_rollback_of_a_wipe(world: World, open_store: Callable[[], Store]) -> None:
    world.pair(a=b"1")

    def half(tx: Tx) -> None:
        wipe_auth(tx, [world.id])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.store.call(half)
    assert world.auth("a") == b"1"
    assert open_store().read(auth.get, world.id, "own", "a") == b"1"
    assert world.store.read(instances.get, world.id) is not None
