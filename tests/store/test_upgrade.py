"""A store of an earlier release becomes one of this release with everything in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text

from tests.conftest import TEST_SECRETS
from tests.store.conversation import Conversation, of, read
from tests.store.hooks import Hooks
from tests.store.world import NOW, World, read_events, told
from whatisup.store import Mode, PutAuth, Store, auth, customers, deliveries, instances

W = TypeVar("W", bound=World)


def to_second(connection: Connection) -> None:
    """Undo 0003, which no release does: it makes what the second release left."""
    for table in ("webhook_endpoints", "webhook_deliveries", "webhook_attempts"):
        connection.execute(text(f"DROP TABLE {table}"))
    for table, column in (
        ("log_head", "floor"), ("log_head", "webhook_revision"), ("customers", "rate_limits"), ("events", "trace"),
        ("messages", "trace"),
    ):  # fmt: skip
        connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))


def to_first(connection: Connection) -> None:
    """Undo 0002."""
    for table in (
        "messages", "message_history", "outbox", "retained", "ciphertexts", "resends", "poison", "jobs"
    ):  # fmt: skip
        connection.execute(text(f"DROP TABLE {table}"))
    connection.execute(text("ALTER TABLE events DROP COLUMN message_id"))
    if connection.dialect.name == "postgresql":
        connection.execute(text('ALTER TABLE auth_state ALTER COLUMN name TYPE text COLLATE "default"'))
    connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))


def undo(connection: Connection, *steps: Callable[[Connection], None]) -> None:
    """Undo revisions, the newest first."""
    for step in steps:
        step(connection)


@pytest.fixture
def first_release(store_url: str) -> str:
    """A store of revision 0001 that a customer has used."""
    with Store.open(store_url, TEST_SECRETS) as store:
        world = World(store)
        world.pair(credentials=b"secret")
        world.write(PutAuth("session", "1000.0", b"old"), told("before"))
        store.call(lambda tx: undo(tx.conn, to_second, to_first))
    return store_url


@pytest.fixture
def second_release(store_url: str) -> str:
    """A store of revision 0002 with messages in it, and one in the outbox."""
    with Store.open(store_url, TEST_SECRETS) as store:
        talk = Conversation(store)
        talk.link()
        talk.write(read("before"))
        talk.accept("3EB0W")
        store.call(lambda tx: undo(tx.conn, to_second))
    return store_url


def test_first_release_is_upgraded_with_what_is_in_it(first_release: str) -> None:
    with Store.open(first_release, TEST_SECRETS) as store:
        instance_id = store.read(lambda conn, _: conn.execute(text("SELECT id FROM instances")).scalar_one())
        assert store.read(auth.load, instance_id, [], [("session", "1000.")]) == {("session", "1000.0"): b"old"}
        customer_id = store.read(lambda conn, _: conn.execute(text("SELECT id FROM customers")).scalar_one())
        assert [event.data for event in read_events(store, customer_id)] == [{"text": "before"}]
        fresh = Conversation(store)
        fresh.link()
        fresh.write(read("after", received_at=NOW))
        assert fresh.names() == ["received"]


def test_second_release_is_upgraded_with_its_messages(second_release: str) -> None:
    with Store.open(second_release, TEST_SECRETS) as store:
        talk = resume(store, Conversation)
        found = sorted((row.wa_id, row.status.value) for row in talk.page())
        assert found == [("3EB0A", "received"), ("3EB0W", "queued")]
        (old,) = talk.events(types=["message.received"])
        assert old.data is not None
        assert (old.data["body"], old.trace) == ({"type": "text", "text": "before"}, None)
        talk.write(read("after", of("3EB0B")))
        assert talk.events()[-1].position > old.position
        assert talk.events()[-1].seq == (old.seq or 0) + 1


def test_second_release_has_webhooks_from_now_on(second_release: str) -> None:
    with Store.open(second_release, TEST_SECRETS) as store:
        hooks = resume(store, Hooks)
        endpoint = hooks.endpoint("instance.*", "message.*")
        hooks.write(told("after"))
        assert [one.event for one in hooks.shown()] == ["instance.status"], "nothing is made of the past"
        done = store.call(lambda tx: deliveries.replay(tx, endpoint.id, after=0, until=99, **hooks.me))
        assert done is not None
        assert done.count == len(hooks.events()) - 1, "unless it is asked for"


def resume(store: Store, kind: type[W]) -> W:
    """The world of a store that is there."""
    world = kind.__new__(kind)
    world.store = store
    (world.customer,) = store.read(customers.list_all)
    (world.instance,), _ = store.read(instances.list_page, world.customer.id, Mode.LIVE)
    return world
