"""A store of an earlier release becomes one of this release with everything in it."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from tests.conftest import TEST_SECRETS
from tests.store.conversation import Conversation, read
from tests.store.world import NOW, World, read_events, told
from whatisup.store import PutAuth, Store, auth


@pytest.fixture
def first_release(store_url: str) -> str:
    """A store of revision 0001 that a customer has used."""
    with Store.open(store_url, TEST_SECRETS) as store:
        world = World(store)
        world.pair(credentials=b"secret")
        world.write(PutAuth("session", "1000.0", b"old"), told("before"))
        store.call(lambda tx: downgrade(tx.conn))
    return store_url


def downgrade(connection: Connection) -> None:
    """Undo 0002, which no release does: it makes what the first release left."""
    for table in (
        "messages", "message_history", "outbox", "retained", "ciphertexts", "resends", "poison", "jobs"
    ):  # fmt: skip
        connection.execute(text(f"DROP TABLE {table}"))
    connection.execute(text("ALTER TABLE events DROP COLUMN message_id"))
    if connection.dialect.name == "postgresql":
        connection.execute(text('ALTER TABLE auth_state ALTER COLUMN name TYPE text COLLATE "default"'))
    connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))


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
